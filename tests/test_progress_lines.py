"""
Plain progress lines, which display is chosen where, and foreign text in all of them.
"""

import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from types import SimpleNamespace
from typing import Any

import pytest

from antichain.core.facts import NodeAsks, NodeEnded, NodeRetrying, NodeStarted, RunEnded, RunStarted
from antichain.views.board import Board
from antichain.views.frame import ASCII, columns, cut, cut_middle, fit, frame, plain
from antichain.views.progress import SHOWN_NOTES, SHOWN_QUESTIONS, PlainLines, has_color, is_live, open_progress
from antichain.views.summary import summarize, summary_lines
from antichain.views.terminal import signs_for
from antichain.views.watch import Watch
from tests.support.watched import three, three_hundred


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def played(events: Any, stream: Any, every: float = 1.0, **more: Any) -> Watch:
    """Let a watch on plain lines see events, and tick between them as its thread would."""
    clock = Clock()
    watch = Watch(PlainLines(stream, **more), clock, has_thread=False)
    due = every
    for event in events:
        while event.time > due:
            clock.now = due
            watch.tick()
            due += every
        clock.now = event.time
        watch(event)
    return watch


def test_lines_of_three_nodes() -> None:
    out = io.StringIO()
    played(three().events, out).conclude(three().result)
    assert out.getvalue().splitlines()[:6] == [
        "[    0.0 s] briefing: run simulated, 3 nodes",
        "[    1.0 s] 0/3 ended, 1 running",
        "[    2.0 s] 1/3 ended, 1 running",
        "[    3.0 s] 1/3 ended, 1 running",
        "[    3.8 s] embed: TimeoutError: no answer; attempt 2 in 1 s",
        "[    5.0 s] 1/3 ended, 1 running, 1 retried",
    ]
    assert "[   19.2 s] succeeded: 3/3 ended, 1 retried" in out.getvalue()
    assert "    nodes  3 succeeded in 19.2 s" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_lines_become_rarer() -> None:
    out = io.StringIO()
    events = [RunStarted(1, 0.0, "r", "slow", 1), NodeStarted(2, 0.0, "r", "a", 1), RunEnded(3, 3600.0, "r", "failed")]
    played(events, out)
    lines = out.getvalue().splitlines()
    assert 100 < len(lines) < 200
    assert re.search(r"1 running, a runs for 0:3\d\n", out.getvalue())
    assert "a runs for 59:" in lines[-2]


def test_many_failures_are_counted_only() -> None:
    out = io.StringIO()
    events: list[Any] = [RunStarted(1, 0.0, "r", "bad", 1000)]
    events += [
        NodeEnded(2, 0.0, "r", f"n{number}", 1, "failed", "error", ValueError(number), None) for number in range(1000)
    ]
    played([*events, RunEnded(3, 0.5, "r", "partial")], out)
    lines = out.getvalue().splitlines()
    assert len(lines) == SHOWN_NOTES + 3
    assert lines[1] == "[    0.0 s] n0: failed (error): ValueError: 0"
    assert lines[-2] == "[    0.0 s] further failures and retries are only counted"
    assert lines[-1] == "[    0.5 s] partial: 1,000/1,000 ended, 1,000 failed"


def test_a_question_is_told_and_who_waits_is_counted() -> None:
    out = io.StringIO()
    events: list[Any] = [RunStarted(1, 0.0, "r", "clean", 2), NodeStarted(2, 0.0, "r", "approved", 1)]
    events += [NodeAsks(3, 0.5, "r", "approved", 1, "Delete\n3 branches?", 1), RunEnded(4, 2.5, "r", "cancelled")]
    played(events, out)
    assert out.getvalue().splitlines() == [
        "[    0.0 s] clean: run r, 2 nodes",
        "[    0.5 s] approved asks: Delete 3 branches?",
        "[    2.0 s] 0/2 ended, 1 waiting for an answer",
        "[    2.5 s] cancelled: 0/2 ended, 1 waiting for an answer",
    ]


def test_many_questions_are_counted_only() -> None:
    out = io.StringIO()
    events = [NodeAsks(2, 0.0, "r", f"n{number}", 1, "Go?", number) for number in range(1000)]
    played([RunStarted(1, 0.0, "r", "bad", 1000), *events], out)
    lines = out.getvalue().splitlines()
    assert (len(lines), lines[-1]) == (SHOWN_QUESTIONS + 2, "[    0.0 s] further questions are only counted")


def test_a_row_shows_the_question_and_how_long_it_waits() -> None:
    board = Board()
    board(RunStarted(1, 0.0, "r", "clean", 20))
    for at in range(8):
        board(NodeStarted(2, 0.0, "r", f"n{at}", 1))
    board(NodeStarted(3, 0.0, "r", "approved", 2))
    board(NodeAsks(4, 0.0, "r", "approved", 2, "Delete 3 branches, " * 10, 1))
    for width in (50, 80):
        lines = [plain(line) for line in frame(board.look(12.0), width, 4)]
        assert re.match(r" asks     approved: Delete 3 .*… +0:12", lines[1]), lines[1]
        assert all(columns(line) <= width for line in lines)
    for at in range(8):
        board(NodeAsks(4, 0.0, "r", f"n{at}", 1, "Well?", 1))
    shown = [plain(line) for line in frame(board.look(12.0), 80, 20)]
    assert shown[2:7] == [*(f"          n{at}: Well?  0:12" for at in range(4)), "          and 4 more"]


class Closed(io.StringIO):
    """Closed by whoever read it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.writes = 0
        self._error = error

    def write(self, text: str) -> int:
        self.writes += 1
        raise self._error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError("full"), ValueError("closed")])
def test_a_closed_stream_ends_the_lines_and_nothing_else(error: Exception) -> None:
    closed = Closed(error)
    played(three().events, closed).conclude(three().result)
    assert closed.writes == 1


def test_a_stream_of_few_characters_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    events = [
        RunStarted(1, 0.0, "r", "größe", 1),
        NodeEnded(2, 0.0, "r", "日本", 1, "failed", "error", ValueError("…"), None),
        RunEnded(3, 0.0, "r", "failed"),
    ]
    played(events, stream)
    assert b"gr\\xf6\\xdfe" in raw.getvalue()
    assert raw.getvalue().isascii()


def test_no_stream_at_all() -> None:
    played(three().events, None).conclude(three().result)


def test_a_summary_that_fails_does_not_take_the_result_away(caplog: pytest.LogCaptureFixture) -> None:
    out = io.StringIO()
    watch = played(three().events, out)
    watch.conclude(SimpleNamespace(run_id="r", makespan=5.0))  # type: ignore[arg-type]
    assert [record.message for record in caplog.records] == ["the summary of run 'r' could not be shown"]


def test_of_a_huge_run_only_what_was_counted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the records of a million nodes would take seconds."""
    monkeypatch.setattr("antichain.views.watch.MOST_NODES", 2)

    class Unread(SimpleNamespace):
        @property
        def nodes(self) -> None:
            raise AssertionError

    result = Unread(run_id="r", status="failed", makespan=19.25, started_at=0.0, ended_at=19.25)
    out = io.StringIO()
    events = list(three().events)
    failed = NodeEnded(8, 19.25, "r", "report", 1, "failed", "error", ValueError("no"), None)
    events = [failed if isinstance(event, NodeEnded) and event.node == "report" else event for event in events]
    played(events, out).conclude(result)  # type: ignore[arg-type]
    assert [line.strip() for line in out.getvalue().splitlines()[-4:]] == [
        "nodes  2 succeeded, 1 failed in 19.2 s",
        "retries  1 attempt made again",
        "failed  report: ValueError: no",
        "next  Look at report first; antichain run --debug shows its traceback.",
    ]


def test_colored_lines() -> None:
    out = io.StringIO()
    played(three().events, out, has_color=True)
    assert "\x1b[32m[   19.2 s] succeeded" in out.getvalue()


# -- where


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "xterm", "CI": ""}, True),
        ({"TERM": "xterm", "CI": "false"}, True),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": ""}, False),
        ({}, False),
    ],
)
def test_where_a_display_is_live(environment: dict[str, str], expected: bool) -> None:
    assert is_live(Terminal(), environment) is expected
    assert not is_live(io.StringIO(), environment)


def test_a_closed_stream_is_no_terminal() -> None:
    stream = Terminal()
    stream.close()
    stream.isatty = stream.fileno  # type: ignore[method-assign]
    assert not is_live(stream, {"TERM": "xterm"})


@pytest.mark.parametrize(
    ("environment", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_where_there_are_colors(environment: dict[str, str], on_terminal: bool, elsewhere: bool) -> None:
    assert has_color(environment, is_terminal=True) is on_terminal
    assert has_color(environment, is_terminal=False) is elsewhere


def test_open_progress_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    live = Terminal()
    watch = open_progress(live)
    for event in three().events:
        watch(event)
    assert "\x1b[?25l" in live.getvalue()
    out = io.StringIO()
    watch = open_progress(out)
    for event in three().events:
        watch(event)
    assert out.getvalue().startswith("[    0.0 s] briefing")


def test_characters_fit_the_encoding() -> None:
    assert signs_for(io.TextIOWrapper(io.BytesIO(), encoding="ascii")) is ASCII
    assert signs_for(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) is not ASCII


PROGRAM = """
import sys, time
from antichain import Graph
graph = Graph("g")
graph.add("a", lambda: time.sleep(0.2))
graph.add("b", lambda a: "value")
{before}
result = graph.run(progress=True)
print(result["b"])
"""


def run(before: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    environment["TERM"] = "xterm"
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return subprocess.run(command, text=True, env=environment, stdout=subprocess.PIPE, **more)


def test_a_real_run_into_a_pipe() -> None:
    done = run(stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, "value\n")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("[    0.0 s] g: run ")
    assert re.match(r"\[ +\d\.\d s\] succeeded: 2/2 ended", lines[1])
    assert lines[2].strip().startswith("nodes  2 succeeded in ")


@pytest.mark.parametrize("before", ["sys.stderr.close()", "sys.stderr = None", "import os; os.close(2)"])
def test_a_real_run_without_standard_error(before: str) -> None:
    done = run(before, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, "value\n"), done.stderr


def test_a_real_run_whose_reader_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(stderr=writing)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, "value\n")


# -- foreign text

HOSTILE = [
    *(chr(code) for code in range(0x20)),
    "\x7f",
    *(chr(code) for code in (0x80, 0x84, 0x85, 0x90, 0x9B, 0x9C, 0x9D, 0x9F)),
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\link",
    "\x1b[?1049h",
    "\x1bc",
    "\x9b31m",
    "a\rb",
    "a\nb\r\nc",
    "\u202eevil\u202c",
    "\u2066x\u2069\u200f\u200b\u2060",
    "\u2028\u2029",
    "\ufeff\ud800",
    "日本語" * 60,
    "e\u0301" * 200,
    "👩\u200d👩\u200d👧" * 50,
    "\ufe0f☎\ufe0f",
    "\U000e0041tag",
    "a\tb",
    "x" * 5000,
]


class Told(Exception):
    """Says something hostile."""


def hostile_events(text: str) -> list[Any]:
    error = Told(text)
    return [
        RunStarted(1, 0.0, text, text, 20),
        NodeStarted(2, 0.0, text, text, 1),
        NodeStarted(3, 0.0, text, f"{text}2", 1),
        NodeRetrying(4, 1.0, text, f"{text}2", 1, 5.0, error),
        NodeStarted(5, 0.0, text, f"{text}3", 1),
        NodeAsks(5, 0.0, text, f"{text}3", 1, text, 1),
        NodeStarted(5, 0.0, text, f"{text}4", 1),
        NodeAsks(5, 0.0, text, f"{text}4", 1, text, 2),
        NodeEnded(6, 2.0, text, f"{text}3", 1, "failed", "error", error, None),
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: json.dumps(text)[:30])
def test_foreign_text_drives_nothing(text: str) -> None:
    out = io.StringIO()
    board = Board()
    events = [*hostile_events(text), RunEnded(7, 9.0, text, "failed")]
    for event in events:
        board(event)
        for width in (20, 79, 199):
            for line in frame(board.look(9.0), width, 24):
                assert_harmless(plain(line))
                assert columns("".join(span.text for span in line)) <= width
    played(events, out)
    for line in out.getvalue().split("\n"):
        assert_harmless(line)
    from antichain.record import fold

    for line in summary_lines(summarize(fold(events)), 100):
        assert_harmless(plain(line))
        assert columns(plain(line)) <= 100


def assert_harmless(text: str) -> None:
    for character in text:
        assert unicodedata.category(character)[0] != "C", ascii(text)
        assert unicodedata.category(character) not in ("Zl", "Zp"), ascii(text)


def test_an_error_that_cannot_be_shown() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    out = io.StringIO()
    played(
        [
            RunStarted(1, 0.0, "r", "g", 1),
            NodeEnded(2, 0.0, "r", "a", 1, "failed", "error", Silent(), None),
            RunEnded(3, 0.0, "r", "failed"),
        ],
        out,
    )
    assert "a: failed (error): Silent: <its str raises RuntimeError>" in out.getvalue()


# -- widths


def test_columns_of_text() -> None:
    assert columns("abc") == 3
    assert columns("日本") == 4
    assert columns("e\u0301") == 1
    assert columns("ｶﾅ") == 2


@pytest.mark.parametrize("width", range(12))
@pytest.mark.parametrize("text", ["", "abc", "abcdefghijklmnop", "日本語日本語日本", "a日b本c語d", "e\u0301" * 20])
def test_cut_text_fits(text: str, width: int) -> None:
    for cutting in (cut, cut_middle):
        found = cutting(text, width)
        assert columns(found) <= width
        if columns(text) <= width:
            assert found == text
        elif width:
            assert "…" in found


def test_middle_of_an_id_is_cut() -> None:
    assert cut_middle("summaries-of-the-pages[1234]", 16) == "summari…es[1234]"


def test_fitted_line() -> None:
    from antichain.views.frame import Span

    assert plain(fit((Span("ab"), Span("cdef", "dim"), Span("g")), 4)) == "abc…"
    assert plain(fit((Span("ab"), Span("cd")), 4)) == "abcd"


def test_the_large_runs_are_what_they_are_called() -> None:
    assert len(three_hundred().result.nodes) == 300
