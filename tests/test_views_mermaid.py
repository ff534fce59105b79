"""
Flowcharts in the real Mermaid, drawn by a real browser: not part of every run, because both are large.

    npm install mermaid     # anywhere
    ANTICHAIN_MERMAID=node_modules/mermaid/dist/mermaid.min.js python -m pytest tests/test_views_mermaid.py
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from antichain.printable import printable
from antichain.views.diagram import to_mermaid
from antichain.views.folding import cut
from tests.support import viewed
from tests.support.viewed import HOSTILE, read_mermaid
from tests.test_views_diagram import BIG

SCRIPT = os.environ.get("ANTICHAIN_MERMAID", "")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not (SCRIPT and BROWSER), reason="ANTICHAIN_MERMAID is not set, or no Chromium")

PAGE = """<!doctype html><meta charset="utf-8"><body><script src="SCRIPT"></script><pre id="out"></pre><script>
const texts = TEXTS, found = [];
mermaid.initialize({startOnLoad: false});
const read = (element) => {
  const label = element.querySelector(".nodeLabel") || element;
  label.querySelectorAll("br").forEach((line) => line.replaceWith("\\n"));
  return label.textContent;
};
(async () => {
  for (const [number, text] of texts.entries()) {
    try {
      const {svg} = await mermaid.render("d" + number, text);
      const place = document.createElement("div");
      place.innerHTML = svg;
      document.body.appendChild(place);
      found.push({
        boxes: [...place.querySelectorAll("g.node")].map(read),
        groups: [...place.querySelectorAll("g.cluster")].map(read),
        edges: place.querySelectorAll("path.flowchart-link").length,
        title: (place.querySelector(".flowchartTitleText") || {}).textContent,
        foreign: place.querySelectorAll("script, iframe, img, a, b, i").length + (window.pwned ? 1 : 0),
      });
      place.remove();
    } catch (error) { found.push({error: String(error)}); }
  }
  document.getElementById("out").textContent = JSON.stringify(found);
})();
</script></body>"""


def drawn(texts: list[str], folder: Path) -> list[dict[str, Any]]:
    page = folder / "page.html"
    script = Path(SCRIPT).resolve().as_uri()
    page.write_text(PAGE.replace("SCRIPT", script, 1).replace("TEXTS", json.dumps(texts).replace("</", "<\\/"), 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [BROWSER, *options, profile, "--virtual-time-budget=600000", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found
    return json.loads(html.unescape(found[1]))  # type: ignore[no-any-return]


def words(text: str) -> list[str]:
    return text.replace("\u2060", "").replace("\u00a0", " ").split()


def test_mermaid_shows_ids_and_errors_as_they_are(tmp_path: Path) -> None:
    texts = [to_mermaid(viewed.hostile(text)) for text in HOSTILE]
    for text, seen in zip(HOSTILE, drawn(texts, tmp_path), strict=True):
        assert "error" not in seen, (text, seen)
        shown = [printable(cut(each, 60), None) for each in (text, f"{text}G", f"{text}G[0]")]
        firsts = [words(box.split("\n")[0]) for box in seen["boxes"]]
        assert sorted(firsts) == sorted([words(shown[0]), words(shown[2])]), text
        assert words(seen["groups"][0]) == words(f"{shown[1]} · succeeded · 1 s")
        title = words(shown[0].replace("<", "\u2039").replace(">", "\u203a"))
        assert words(seen["title"])[: len(title)] == title
        assert (seen["edges"], seen["foreign"]) == (1, 0), text


def test_mermaid_draws_large_runs(tmp_path: Path) -> None:
    texts = [to_mermaid(viewed.sample()[0]), *(to_mermaid(make()) for make in BIG.values())]
    for text, seen in zip(texts, drawn(texts, tmp_path), strict=True):
        expected = read_mermaid(text)
        assert "error" not in seen, seen
        assert (len(seen["boxes"]), len(seen["groups"]), seen["edges"]) == (
            len(expected.boxes),
            len(expected.groups),
            len(expected.edges),
        )
