"""
The live display on a terminal: what a whole run does to it, recorded from a pseudo-terminal and played to a terminal
emulator, and what others print meanwhile.
"""

import contextlib
import fcntl
import io
import logging
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyte
import pytest
from pyte import modes

from antichain.core.facts import NodeEnded, NodeStarted, RunEnded, RunStarted
from antichain.views.frame import columns
from antichain.views.terminal import Terminal, taken
from antichain.views.watch import Watch
from tests.support.watched import three

ROOT = Path(__file__).resolve().parent.parent
# What a frame may be made of besides text.
ALLOWED = re.compile(r"\x1b\[\?(?:2026|25|7)[hl]|\x1b\[\d+A|\x1b\[[JK]|\x1b\[(?:0|1|2|3[1236])m|\r\n|\r")


class Glass(pyte.Screen):
    """A screen that remembers what must not happen to it."""

    def __init__(self, width: int, height: int) -> None:
        self.overflows: list[str] = []
        self.scrolls = 0
        super().__init__(width, height)

    def draw(self, data: str) -> None:
        if self.cursor.x + columns(data) > self.columns:
            self.overflows.append(data)
        super().draw(data)

    def index(self) -> None:
        self.scrolls += self.cursor.y == self.lines - 1
        super().index()

    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.display]


@dataclass
class Recording:
    """What a run wrote to its terminal, piece by piece, and where the terminal was resized."""

    size: tuple[int, int]
    pieces: list[bytes | tuple[int, int]] = field(default_factory=list)
    code: int = 0

    @property
    def output(self) -> bytes:
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))

    def play(self, step: int = 97) -> Iterator[Glass]:
        """Show it in small steps: a terminal may be looked at at any time."""
        glass = Glass(*self.size)
        stream = pyte.ByteStream(glass)
        for piece in self.pieces:
            if isinstance(piece, tuple):
                glass.resize(lines=piece[1], columns=piece[0])
                continue
            for start in range(0, len(piece), step):
                stream.feed(piece[start : start + step])
                yield glass


def record(
    program: str, width: int, height: int, resize: tuple[int, int] | None = None, stop: int | None = None
) -> Recording:
    """Run *program* on a terminal of its own; once the display has been seen, resize that or send a signal."""
    master, slave = pty.openpty()
    set_size(slave, width, height)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    # A terminal that does not break lines anew when it is resized, as pyte does not.
    environment |= {"TERM": "linux", "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(slave)
        recording = Recording((width, height))
        until = time.monotonic() + 60
        with contextlib.suppress(OSError):  # the other side has gone
            while time.monotonic() < until:
                if not select.select([master], [], [], 1)[0]:
                    continue
                piece = os.read(master, 65536)
                if not piece:
                    break
                recording.pieces.append(piece)
                if recording.output.count(b"2026l") > 1:
                    if resize:
                        recording.pieces.append(resize)
                        set_size(master, *resize)
                        resize = None
                    if stop:
                        process.send_signal(stop)
                        stop = None
        recording.code = process.wait(30)
    os.close(master)
    return recording


def set_size(descriptor: int, width: int, height: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


PROGRAMS = {
    3: """
import asyncio
from antichain import Graph
graph = Graph("the_run")
async def load(): await asyncio.sleep(0.4)
async def embed(load): await asyncio.sleep(0.4)
async def report(embed): await asyncio.sleep(0.4)
for each in (load, embed, report): graph.add(each.__name__, each)
graph.run(progress=True)
""",
    300: """
import asyncio
from antichain import Graph
graph = Graph("the_run", limits={"llm": 20})
async def load(): return list(range(148))
async def page(x): await asyncio.sleep(0.05); return x
async def summary(x):
    await asyncio.sleep(0.1)
    if x % 40 == 3: raise ValueError("page is empty")
async def answer(summaries): await asyncio.sleep(0.2)
graph.add("load", load)
graph.map("pages", page, over="load", max_concurrent=12)
graph.map("summaries", summary, over="pages", uses="llm", outcomes=True)
graph.add("answer", answer)
graph.run(progress=True)
""",
    20_000: """
import asyncio
from antichain import Graph
graph = Graph("the_run", limits={"web": 64})
async def fetch(): pass
async def slow(): await asyncio.sleep(1.5)
for number in range(20_000): graph.add(f"fetch-{number}", slow if number % 5000 == 1 else fetch, uses="web")
graph.run(progress=True)
""",
}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("nodes", PROGRAMS)
def test_a_run_is_shown_in_place(nodes: int, width: int) -> None:
    """No line wraps, nothing scrolls while it goes on, no frame is seen blank, and the terminal is left as it was."""
    recording = record(PROGRAMS[nodes], width, 40)
    assert recording.code == 0, recording.output[-2000:]
    glass, heads = None, set()
    # Rows that say something throughout the run: the head, and those of single nodes and stages.
    steady = {3: 4, 300: 5, 20_000: 1}[nodes]
    is_seen = False
    for glass in recording.play(step=31):
        rows = glass.rows()
        is_seen = is_seen or all(rows[:steady])
        assert not is_seen or all(rows[:steady]), rows
        assert sum(row.startswith("the_run") for row in rows) <= 1, rows
        heads.add(rows[0])
    assert glass is not None
    assert len(heads) > 3
    assert glass.overflows == []
    assert glass.scrolls == 0
    assert_in_order(glass)
    rows = glass.rows()
    assert f"{nodes:,}/{nodes:,}" in rows[0]
    assert any(row.strip().startswith("nodes") and "succeeded" in row for row in rows), rows


@pytest.mark.parametrize("size", [(60, 40), (120, 40), (20, 5), (40, 12)])
def test_a_terminal_is_resized_in_the_middle(size: tuple[int, int]) -> None:
    recording = record(PROGRAMS[300], 80, 40, resize=size)
    assert recording.code == 0
    is_resized = False
    glass = None
    for glass in recording.play():
        if glass.columns == size[0] and not is_resized:
            # A frame may have been on its way when it happened.
            is_resized, glass.overflows = True, []
    assert glass is not None
    assert is_resized
    assert_in_order(glass)
    if size[1] > 20:
        assert sum(row.startswith("the_run") for row in glass.rows()) == 1, glass.rows()


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (5, 2), (80, 1)])
def test_a_very_small_terminal(size: tuple[int, int]) -> None:
    recording = record(PROGRAMS[300], *size)
    assert recording.code == 0
    for glass in recording.play():
        assert_in_order(glass, is_end=False)
    before_summary = recording.output.split(b"nodes  ")[0]
    assert b"the" in before_summary or size[1] == 1


def assert_in_order(glass: Glass, *, is_end: bool = True) -> None:
    """Nobody would notice that a display was there."""
    if is_end:
        assert not glass.cursor.hidden
        assert modes.DECAWM in glass.mode
        assert glass.cursor.attrs == glass.default_char
        assert glass.cursor.x == 0


STOPPED = """
import asyncio, os, signal, sys
from antichain import Graph
graph = Graph("the_run")
async def forever(): await asyncio.sleep(60)
async def fail():
    await asyncio.sleep(1)
    raise ValueError("on purpose")
graph.add("forever", forever)
graph.add("other", {other})
try:
    graph.run(progress=True)
except (KeyboardInterrupt, ExceptionGroup) as error:
    print("stopped:", type(error).__name__)
"""


@pytest.mark.parametrize(
    ("other", "stop", "expected"),
    [
        ("forever", signal.SIGINT, "stopped: KeyboardInterrupt"),
        ("fail", None, "stopped: RunFailed"),
        ("forever", signal.SIGTERM, "cancelled"),
    ],
)
def test_a_run_that_is_stopped_leaves_the_terminal_in_order(other: str, stop: int | None, expected: str) -> None:
    recording = record(STOPPED.format(other=other), 80, 30, stop=stop)
    assert recording.code == (-signal.SIGTERM if stop == signal.SIGTERM else 0)
    *_, glass = recording.play()
    assert_in_order(glass)
    assert any(expected in row for row in glass.rows()), glass.rows()
    assert glass.rows()[0].startswith("the_run")


PRINTING = """
import asyncio, logging, sys, threading
from antichain import Graph
logging.basicConfig(format="logged %(message)s", level=logging.WARNING)
graph = Graph("the_run", limits={"thread": 8})
def body(number):
    def run():
        import time
        for line in range(5):
            print(f"out {number} {line}")
            print(f"err {number} {line}", file=sys.stderr)
            time.sleep(0.02)
        logging.warning("%s", number)
        if number == 3:
            print("a long line " + "x" * 200)
    return run
for number in range(30): graph.add(f"n{number}", body(number))
print("before")
graph.run(progress=True)
print("after")
"""


def test_what_others_print_stands_above_the_frame() -> None:
    recording = record(PRINTING, 80, 400)
    assert recording.code == 0
    *_, glass = recording.play(step=4096)
    rows = glass.rows()
    for number in range(30):
        lines = [f"{kind} {number} {line}" for line in range(5) for kind in ("out", "err")] + [f"logged {number}"]
        assert [row for row in rows if row in lines] == lines, rows
    assert rows[0] == "before"
    assert "a long line " + "x" * 68 in rows
    assert "x" * 80 in rows
    assert sum(row.startswith("the_run") for row in rows) == 1
    head = next(at for at, row in enumerate(rows) if row.startswith("the_run"))
    assert not [row for row in rows[head:] if row.startswith(("out", "err", "logged"))]
    assert [row for row in rows if row][-1] == "after"


def test_nothing_is_caught_once_the_run_is_over() -> None:
    program = PROGRAMS[3] + "import sys; print('write' in vars(sys.stdout), 'write' in vars(sys.stderr))"
    *_, glass = record(program, 80, 40).play()
    assert "False False" in glass.rows()


# -- without a terminal, in this process


@pytest.fixture(autouse=True)
def _free_terminal() -> Iterator[None]:
    yield
    is_free = taken.acquire(blocking=False)
    taken.release()
    assert is_free, "the test has left its display open"


class Paper(io.StringIO):
    """A terminal of 80 columns."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Broken(Paper):
    """A terminal that has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def watch_on(stream: Any, **more: Any) -> Watch:
    terminal = Terminal(stream, size=lambda: (80, 24), **more)
    return Watch(terminal, clock=lambda: 0.0, has_thread=False)


def test_output_is_made_of_a_few_sequences_only() -> None:
    paper = Paper()
    watch = watch_on(paper)
    for event in three().events:
        watch(event)
        if not isinstance(event, RunEnded):
            watch.tick()
    watch.conclude(three().result)
    assert ALLOWED.sub("", paper.getvalue()).isprintable()
    assert "\x1b[36m" in paper.getvalue()


def test_without_color_there_is_none() -> None:
    paper = Paper()
    watch = watch_on(paper, has_color=False)
    for event in three().events:
        watch(event)
    watch.conclude(three().result)
    assert not re.search(r"\x1b\[\d*m", paper.getvalue())


def test_a_frame_that_says_nothing_new_is_written_once_a_second() -> None:
    """Not eight times; but somebody else may have written over it."""
    paper = Paper()
    now = [100.0]
    terminal = Terminal(paper, size=lambda: (80, 24), clock=lambda: now[0])
    watch = Watch(terminal, clock=lambda: 0.0, has_thread=False)
    watch(three().events[0])
    watch.tick()
    written = [paper.getvalue().count("briefing")]
    for at in (100.125, 100.25, 100.875, 101.0, 101.125):
        now[0] = at
        watch.tick()
        written.append(paper.getvalue().count("briefing"))
    assert written == [1, 1, 1, 1, 2, 2]
    watch(three().events[-1])


def test_a_terminal_that_has_gone_ends_the_display_and_nothing_else() -> None:
    broken = Broken()
    watch = watch_on(broken)
    for event in three().events:
        watch(event)
        watch.tick()
    watch.conclude(three().result)
    assert "write" not in vars(broken)
    # The next run has the terminal.
    paper = Paper()
    watch = watch_on(paper)
    watch(three().events[0])
    watch.tick()
    assert "briefing" in paper.getvalue()
    watch(three().events[-1])


def test_only_one_run_has_the_terminal() -> None:
    """A run inside or beside another one says nothing until it ends."""
    outer, inner = Paper(), Paper()
    first, second = watch_on(outer), watch_on(inner)
    events = three().events
    first(events[0])
    for event in events:
        second(event)
        second.tick()
    assert inner.getvalue() == ""
    second.conclude(three().result)
    assert "3 succeeded" in inner.getvalue()
    first.tick()
    assert "briefing" in outer.getvalue()
    first(events[-1])


def test_a_run_that_breaks_without_an_end_lets_the_terminal_go() -> None:
    paper = Paper()
    watch = watch_on(paper)
    watch(three().events[0])
    watch.tick()
    assert "write" in vars(paper)
    print("kept until the line is complete", end="", file=paper)
    del watch
    assert "write" not in vars(paper)
    assert paper.getvalue().endswith("kept until the line is complete")


def test_who_has_kept_the_way_to_print_is_heard_after_the_run() -> None:
    paper = Paper()
    watch = watch_on(paper)
    watch(three().events[0])
    kept = paper.write
    watch(three().events[-1])
    kept("late")
    assert paper.getvalue().endswith("late")


def test_of_a_line_that_is_written_over_only_the_last_version_is_kept() -> None:
    paper = Paper()
    watch = watch_on(paper)
    watch(three().events[0])
    for percent in range(0, 101, 10):
        print(f"\r{percent}%", end="", file=paper)
    print(file=paper)
    watch.tick()
    assert "100%" in paper.getvalue()
    assert "90%" not in paper.getvalue()
    watch(three().events[-1])


def test_the_thread_ends_with_the_run() -> None:
    paper = Paper()
    watch = Watch(Terminal(paper, size=lambda: (80, 24)))
    start = time.monotonic()
    watch(RunStarted(1, start, "r", "run", 1))
    [thread] = [each for each in threading.enumerate() if each.name == "antichain-progress"]
    watch(NodeStarted(2, start, "r", "a", 1))
    watch(NodeEnded(3, start, "r", "a", 1, "succeeded", "output", None, None))
    watch(RunEnded(4, start, "r", "succeeded"))
    thread.join(10)
    assert not thread.is_alive()


def test_progress_off_costs_no_import() -> None:
    program = (
        "import sys; from antichain import Graph; graph = Graph('g'); graph.add('a', print); graph.run();"
        " print(*[name for name in sys.modules if name.startswith('antichain.views')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_logging_that_was_set_up_before_is_caught_as_well() -> None:
    paper = Paper()
    handler = logging.StreamHandler(paper)
    watch = watch_on(paper)
    watch(three().events[0])
    watch.tick()
    handler.emit(logging.LogRecord("x", logging.WARNING, "", 1, "a warning", (), None))
    watch.tick()
    frame_after = paper.getvalue().rpartition("a warning")[2]
    assert "briefing" in frame_after
    watch(three().events[-1])
