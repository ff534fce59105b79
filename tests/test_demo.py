"""
`antichain demo`: what it claims is what the provider saw, and whatever goes wrong is one clear sentence.
"""

import ast
import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import antichain
from antichain.demo import chat, command, corpus, graph
from antichain.demo.pretend import pretend
from antichain.testing import FakeProvider

DEMO = [sys.executable, "-m", "antichain", "demo"]
ROOT = Path(__file__).parents[1]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTICHAIN_"))}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder), "NO_COLOR": "", "COLUMNS": "100"}


def chats(provider: FakeProvider) -> list[object]:
    return [entry for entry in provider.log if entry.path.endswith("/chat/completions")]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of three files and a provider in a hurry: what a test is about when it is not about the whole."""
    files = [corpus.LIBRARY / name for name in ("difflib.py", "heapq.py", "shlex.py")]
    monkeypatch.setattr(graph, "sources_of", lambda: files)
    monkeypatch.setattr(command, "LATENCY", (0.02, 0.08))
    monkeypatch.setattr(command, "RETRY_AFTER", 0.05)
    for name in ("OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


# -- the whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], str, Path]:
    """The demo as a stranger runs it: a folder that cannot be written to, an empty home, output to a pipe."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("empty")
    folder.chmod(0o555)
    done = subprocess.run(
        [*DEMO, "--json"], cwd=folder, env=environment(home), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout), done.stderr, home


@pytest.mark.slow
def test_calls_were_refused_and_none_was_lost(whole: tuple[dict, str, Path]) -> None:
    calls = whole[0]["calls"]
    assert calls["refused"] > 0
    assert calls["lost"] == 0
    assert calls["most_in_flight"] == command.ALLOWED
    assert calls["calls"] == 2 * len(graph.QUESTIONS) + 1 + calls["refused"]


@pytest.mark.slow
def test_the_flaky_tool_failed_and_the_run_went_on(whole: tuple[dict, str, Path]) -> None:
    desk = whole[0]["help_desk"]
    assert 0 < desk["gave_up"] < len(graph.QUESTIONS)
    assert desk["failures"] > 3 * desk["gave_up"]


@pytest.mark.slow
def test_answers_name_what_exists_and_where_it_stands(whole: tuple[dict, str, Path]) -> None:
    answers = whole[0]["answers"]
    assert [answer["question"] for answer in answers] == graph.QUESTIONS
    names = {answer["source"]["name"] for answer in answers}
    assert {"difflib.get_close_matches", "graphlib.TopologicalSorter", "heapq.merge", "statistics.median"} <= names
    assert {"help('yield')", "help('try')"} <= names
    for answer in answers:
        name, place = answer["source"]["name"], answer["source"]["place"]
        if place == "help":
            continue
        file, _, line = place.rpartition(":")
        module = ast.parse(Path(file).read_text(encoding="utf-8"))
        found = [node for node in ast.walk(module) if getattr(node, "name", None) == name.rpartition(".")[2]]
        assert int(line) in [node.lineno for node in found], answer
        text = " ".join((ast.get_docstring(next(node for node in found if node.lineno == int(line))) or "").split())
        assert answer["answer"] in text
        assert answer["supported"]


@pytest.mark.slow
def test_the_whole_library_was_read_and_nothing_is_left_of_it(whole: tuple[dict, str, Path]) -> None:
    report, _, home = whole
    assert report["docstrings"] > 3_500
    assert report["has_sources"]
    assert not list(home.glob("antichain-*"))


@pytest.mark.slow
def test_parallel_is_faster_than_one_after_the_other(whole: tuple[dict, str, Path]) -> None:
    report = whole[0]
    parts = report["computing_seconds"] + report["calls"]["seconds"] + report["help_desk"]["seconds"]
    assert report["serial_seconds"] == pytest.approx(parts, abs=0.01)
    # At least: on a machine that does nothing else it is three times.
    assert report["serial_seconds"] > 1.2 * report["seconds"]


@pytest.mark.slow
def test_progress_goes_to_standard_error_without_escapes(whole: tuple[dict, str, Path]) -> None:
    assert whole[1].strip()
    assert "\x1b" not in whole[1]
    assert "Traceback" not in whole[1]


# -- another model


@pytest.mark.usefixtures("small")
def test_another_endpoint_is_asked_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is what that endpoint saw, although only this side could count."""
    with FakeProvider(
        reply=lambda request: pretend(request.prompt),
        latency=(0.05, 0.1),
        allowed=3,
        retry_after=0.05,
        models=["tiny-1"],
    ) as provider:
        assert command.demo(provider.url, None, 0, True, None) == 0
        report, log = json.loads(capsys.readouterr().out), chats(provider)
        assert report["model"] == "tiny-1"
        assert {entry.model for entry in log} == {"tiny-1"}
        assert report["calls"]["calls"] == len(log)
        assert report["calls"]["refused"] == provider.count(429) > 0
        assert report["calls"]["lost"] == 0
        assert provider.peak == 3


def test_an_answer_that_never_came_is_counted_as_lost() -> None:
    with FakeProvider() as fake:
        assert command.Provider(fake.url, "", chat.Tally(), fake).figures(expected=2)["lost"] == 2
    elsewhere = command.Provider("http://elsewhere/v1", "", chat.Tally(calls=4, statuses={200: 1, 429: 3}))
    assert elsewhere.figures(expected=3) == {
        "calls": 4,
        "refused": 3,
        "lost": 2,
        "most_in_flight": 0,
        "seconds": 0.0,
    }


@pytest.mark.usefixtures("small")
def test_key_and_model_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    monkeypatch.setenv("OPENAI_MODEL", "grande")
    with FakeProvider(reply="yes", api_key="sesame", models=["tiny-1", "grande"]) as provider:
        assert command.demo(provider.url, ["What is a close match?"], 0, True, None) == 0
        assert json.loads(capsys.readouterr().out)["model"] == "grande"
        assert {entry.model for entry in chats(provider)} == {"grande"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_key_that_is_refused_is_said_before_anything_is_asked(
    key: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with FakeProvider(api_key="sesame") as provider:
        assert command.demo(provider.url, None, 0, False, None) == 1
        assert chats(provider) == []
    told = capsys.readouterr()
    assert told.out == ""
    assert "answered 401" in told.err
    assert "OPENAI_API_KEY" in told.err
    assert "Traceback" not in told.err


@pytest.mark.usefixtures("small")
def test_a_url_that_is_not_the_base_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeProvider() as provider:
        assert command.demo(provider.url.removesuffix("/v1"), None, 0, False, None) == 1
    told = capsys.readouterr().err
    assert "answered 404" in told
    assert "end in /v1" in told


@pytest.mark.usefixtures("small")
def test_nobody_at_the_url_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert command.demo(url, None, 0, False, None) == 1
    told = capsys.readouterr()
    assert f"nothing answers at {url}" in told.err
    assert told.out == ""


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x/v1", "http://", "http://x:99999/v1", "http://[x/v1", ""])
def test_what_is_no_url_is_said_before_the_run(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.demo(url, None, 0, False, None) == 2
    assert f"--model {url!r} is no URL" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_a_model_that_never_has_time_is_one_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "Retry", lambda **_: antichain.Retry(attempts=2, backoff=antichain.Backoff(initial=0)))
    with FakeProvider(allowed=0) as provider:
        assert command.demo(provider.url, None, 0, False, None) == 1
    told = capsys.readouterr().err
    assert "the demo failed:" in told
    assert "the model answered 429" in told


class Picky(BaseHTTPRequestHandler):
    """An endpoint that knows no max_tokens, as the newest of some models do."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "max_tokens" in body:
            self.answer(400, {"error": {"message": "Unsupported parameter: 'max_tokens'."}})
        elif "say nothing" in body["messages"][0]["content"]:
            self.answer(200, {"choices": []})
        else:
            self.answer(200, {"choices": [{"message": {"content": " fine "}}]})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def picky() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Picky) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_an_endpoint_that_knows_no_max_tokens_is_asked_without(picky: str) -> None:
    async def ask() -> str:
        async with chat.open_chat(picky, "m") as session:
            return await session.ask("how are you?")

    assert asyncio.run(ask()) == "fine"


def test_an_answer_that_is_none_is_said(picky: str) -> None:
    async def ask() -> str:
        async with chat.open_chat(picky, "m") as session:
            return await session.ask("say nothing")

    with pytest.raises(chat.Refused, match="not with a chat completion"):
        asyncio.run(ask())


# -- on the terminal


@pytest.mark.usefixtures("small")
def test_the_text_says_what_happened_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/somewhere/antichain/__main__.py"])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(command, "LATENCY", (0.2, 0.2))  # so that calls meet
    monkeypatch.setattr(command, "ALLOWED", 2)
    assert command.demo(None, None, 0, False, None) == 0
    text = capsys.readouterr().out
    assert "difflib.get_close_matches, difflib.py:" in text
    flat = " ".join(text.split())
    assert re.search(r"\d+ calls, \d+ of them 429 and retried, none lost; most in flight: \d", flat)
    assert re.search(r"took [\d.]+ s; one after the other would have been [\d.]+ s", flat)
    assert "\x1b" not in text
    head, _, tries = text.partition("\n  next  ")
    assert max(map(len, head.splitlines())) <= 80
    plan = tries.partition("\n")[0].partition("   # ")[0]
    assert " plan " in plan
    done = subprocess.run(shlex.split(plan), capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo: 10 nodes")


@pytest.mark.usefixtures("small")
def test_colours_are_for_terminals_that_want_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert command.demo(None, ["What is a close match?"], 0, False, None) == 0
    assert "\x1b[1mWhat is a close match?\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert command.demo(None, ["What is a close match?"], 0, False, None) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_foreign_text_does_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeProvider(reply="[1] \x1b[2J\u202eyes\r", models=["\x1b]0;m\x07"]) as provider:
        assert command.demo(provider.url, ["merge \x1b[31m sorted"], 0, False, None) == 0
    assert not {"\x1b", "\r", "\u202e", "\x07"} & {*capsys.readouterr().out}


@pytest.mark.usefixtures("small")
def test_a_question_that_nothing_answers_is_answered_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.demo(None, ["xyzzy plugh", "what is it?"], 0, True, None) == 0
    report = json.loads(capsys.readouterr().out)
    assert [answer["answer"] for answer in report["answers"]] == ["Nothing was found."] * 2
    assert report["calls"]["calls"] == 0
    assert report["calls"]["lost"] == 0


@pytest.mark.usefixtures("small")
def test_the_same_seed_has_the_same_luck(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for seed in (0, 0, 1):
        assert command.demo(None, graph.QUESTIONS[:5], seed, True, None) == 0
        report = json.loads(capsys.readouterr().out)
        told.append((report["answers"], report["digest"], report["help_desk"]["failures"]))
    assert told[0] == told[1]
    assert told[0] != told[2]


@pytest.mark.usefixtures("small")
def test_a_trace_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "trace.json"
    assert command.demo(None, ["merge sorted"], 0, False, file) == 0
    assert "answers[0]" in file.read_text(encoding="utf-8")
    json.loads(file.read_text(encoding="utf-8"))
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "nowhere/trace.json"])
def test_a_trace_that_cannot_be_written_is_said_before_the_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.demo(None, None, 0, False, tmp_path / name) == 2
    told = capsys.readouterr()
    assert "--trace" in told.err
    assert told.out == ""


# -- what may be missing


def test_without_aiohttp_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "aiohttp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "antichain.demo.chat", raising=False)
    assert command.demo(None, None, 0, False, None) == 2
    why = "the demo talks HTTP with aiohttp, which is not installed"
    assert capsys.readouterr().err == f"antichain: {why}. Install it: pip install 'antichain[demo]'\n"


def test_a_library_without_sources_is_asked_for_its_docstrings(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "python313.zip"):
        assert corpus.sources_of(folder) == list(corpus.MODULES)
    found = {name for module in corpus.MODULES for name, _, _ in corpus.read_docstrings(module)}
    assert {"json", "json.dumps", "difflib.get_close_matches", "asyncio.tasks.gather", "tempfile.mkdtemp"} <= found
    assert len(found) > 1_000


@pytest.mark.usefixtures("small")
def test_a_library_without_sources_answers_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "sources_of", lambda: ["difflib", "heapq"])
    assert command.demo(None, ["How do I merge several sorted inputs?"], 0, False, None) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "which came without sources" in text
    assert "Merge multiple sorted inputs into a single sorted output. heapq.merge" in text


def test_help_has_the_language_itself() -> None:
    (page,) = corpus.help_topic("What happens in a try statement?")
    assert page.name == "help('try')"
    assert page.text.startswith("The ")
    assert "****" not in page.text
    assert corpus.help_topic("Where is the money?") == []


# -- killed and resumed


def test_killed_half_way_it_goes_on_from_its_journal(full: bool, tmp_path: Path) -> None:
    if not full:
        pytest.skip("at full size: it reads the library twice")
    done = subprocess.run(
        [*DEMO, "--kill", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "killed by SIGKILL after" in done.stderr
    report = json.loads(done.stdout)
    killed = report["killed"]
    assert killed["reused"] > 100
    assert 0 < killed["run"] < killed["reused"]
    assert killed["run_again"] == 0
    assert report["calls"]["lost"] == 0
    assert all(answer["supported"] for answer in report["answers"])
    assert not list(tmp_path.glob("antichain-*"))


def test_what_is_said_of_a_killed_run_is_what_its_journal_says(tmp_path: Path) -> None:
    """Two of three had ended, one of these with an output that is not kept; one of the two is a mapped stage's."""
    store, calls = tmp_path / "runs.db", []
    made = antichain.Graph("killed")
    made.add("index", lambda: calls.append("index"), persist=False)
    made.map("pages", lambda item: calls.append(item) or item, over=["a", "b"], depends_on=["index"])
    made.add("last", lambda pages, index: 1 // len(calls[5:]), inputs={"pages": made["pages"], "index": made["index"]})
    with pytest.raises(antichain.RunFailed):
        made.run(store=store, run_id="demo")
    ended = frozenset(fact.node for fact in command._ended(store, "demo"))
    stored = frozenset(fact.node for fact in command._ended(store, "demo", payloads=True) if fact.payload is not None)
    assert (ended, stored) == ({"index", "pages[0]", "pages[1]"}, {"pages[0]", "pages[1]"})
    killed = command.Killed(store, "demo", ended, stored, 1.5)
    calls += ["x", "y"]
    result = made.resume("demo", store=store, listeners=[killed])
    assert killed.figures(result) == {"seconds": 1.5, "reused": 2, "run": 1, "made_again": 1, "run_again": 0}
    assert command._ended(tmp_path / "nowhere.db", "demo") == []


# -- Ctrl-C


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """In the middle: while calls are in flight that would never end."""
    called = threading.Event()

    def answer(request: object) -> str:
        called.set()
        return pretend(request.prompt)

    with FakeProvider(reply=answer, latency=3600) as provider:
        demo = subprocess.Popen(
            [*DEMO, "--model", provider.url],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert called.wait(60)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=30)
        assert demo.returncode == 130, err
        assert out == ""
        assert "interrupted" in err
        assert "Traceback" not in err
        provider.wait_idle()
        assert {entry.outcome for entry in chats(provider)} == {"client left"}
    assert not list(tmp_path.glob("antichain-*"))


# -- what stands in for a model


def test_the_stand_in_picks_the_passage_and_its_sentence() -> None:
    passages = [
        "[1] json.load\nRead JSON from a file.",
        "[2] heapq.merge\nMerge sorted inputs.\n\nIt is lazy, you know.",
    ]
    assert pretend("\n\n".join([graph.ANSWER, "Question: How do I merge inputs?", *passages])) == (
        "[2] Merge sorted inputs."
    )


def test_the_stand_in_checks_by_looking() -> None:
    prompt = f"{graph.CHECK}\n\nAnswer: {{}}\n\nPassage:\nMerge sorted\n  inputs. It is lazy."
    assert pretend(prompt.format("Merge sorted inputs.")) == "yes"
    assert pretend(prompt.format("Sort merged inputs.")) == "no"


def test_the_stand_in_names_the_modules() -> None:
    lines = ["- heapq.merge: Merge.", "- json.loads: Read.", "- help('try'): Try."]
    assert pretend("\n".join([f"{graph.DIGEST}\n", *lines])) == (
        "The 3 answers are in heapq, json and the language reference."
    )
    assert pretend(f"{graph.DIGEST}\n\n- heapq.merge: Merge.") == "The answer is in heapq."


def test_the_picture_of_the_documentation_shows_what_the_demo_asks_and_how_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is a recording, with times of its own: what it says is compared, not how long that took."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "called", lambda: "antichain")
    # Wherever it is installed.
    monkeypatch.setattr(command, "__file__", str(ROOT / "src" / "antichain" / "demo" / "command.py"))
    last = list(ET.parse(ROOT / "docs" / "images" / "demo.svg").getroot())[-1]
    seen = " ".join(" ".join(text for element in last for text in element.itertext()).split())
    ends = " ".join(" ".join(command._next(None, 110, killed=False)).split())
    assert seen.endswith(ends), "record it anew: see docs/images/make_demo_svg.py"
    assert [question for question in graph.QUESTIONS if question not in seen] == []


def test_the_source_of_the_graph_can_be_read_in_one_go() -> None:
    lines = Path(graph.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
