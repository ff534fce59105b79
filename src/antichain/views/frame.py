"""
The lines of a live display: a `Look` laid out for a width and a height. No terminal: a line is a list of spans, each a
text without any control character and the name of a style.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from antichain.printable import printable
from antichain.views.figures import time_text
from antichain.views.look import Bar, Failure, Look, Retrying, Single, Wait

# Lines and columns beyond which a display is no easier to read, however large the terminal.
MOST_LINES: Final = 24
MOST_COLUMNS: Final = 160
LABEL_COLUMNS: Final = 40
BAR_COLUMNS: Final = 60
# Characters of an error's text that are looked at.
SHOWN_CAUSE: Final = 1000
# Characters of a question that are looked at.
SHOWN_QUESTION: Final = 1000
# What a bar needs to say something.
LEAST_BAR: Final = 12


class Span(NamedTuple):
    """
    Text of one style: "", "name", "good", "bad", "warn", "bar" or "dim".
    """

    text: str
    style: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Signs:
    """
    The characters that a display is made of.
    """

    full: str
    head: str
    rest: str
    unknown: str
    dot: str
    states: dict[str, str]
    ellipsis: str = "…"


UNICODE: Final = Signs(
    full="━",
    head="╸",
    rest="─",
    unknown="╌",
    dot=" · ",
    states={
        "pending": "·",
        "waiting": "○",
        "running": "●",
        "asking": "?",
        "backing off": "↻",
        "succeeded": "✓",
        "failed": "✗",
        "skipped": "-",
        "cancelled": "⊘",
        "paused": "?",
        "partial": "✗",
    },
)
ASCII: Final = Signs(
    full="#",
    head="#",
    rest="-",
    unknown=".",
    dot=", ",
    states={
        "pending": ".",
        "waiting": "o",
        "running": ">",
        "asking": "?",
        "backing off": "~",
        "succeeded": "+",
        "failed": "x",
        "skipped": "-",
        "cancelled": "/",
        "paused": "?",
        "partial": "x",
    },
    ellipsis="~",
)
STATE_STYLES: Final = {
    "pending": "dim",
    "waiting": "warn",
    "running": "bar",
    "asking": "warn",
    "backing off": "warn",
    "succeeded": "good",
    "failed": "bad",
    "skipped": "dim",
    "cancelled": "warn",
    "paused": "warn",
    "partial": "bad",
}


# -- widths


def columns(text: str) -> int:
    """
    Count the columns that a terminal gives *text*, which has no control characters.
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """
    Cut *text* to *width* columns, and show that it was.
    """
    if columns(text) <= width:
        return text
    if width < len(ellipsis):
        return ""
    used = accumulate(map(_columns, text), initial=len(ellipsis))
    return text[: sum(1 for each in used if each <= width) - 1] + ellipsis


def cut_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """
    Cut *text* in its middle: of ids the end tells as much as the beginning.
    """
    if columns(text) <= width or width < 8:
        return cut(text, width, ellipsis)
    tail = cut(text[::-1], width // 2, "")[::-1]
    return cut(text, width - columns(tail), ellipsis) + tail


def fit(line: Iterable[Span], width: int, ellipsis: str = "…") -> Line:
    """
    Cut a line to *width* columns.
    """
    out: list[Span] = []
    for span in line:
        wide = columns(span.text)
        if wide > width:
            out.append(Span(cut(span.text, width, ellipsis), span.style))
            break
        out.append(span)
        width -= wide
    return tuple(out)


def plain(line: Line) -> str:
    """
    Return the text of a line.
    """
    return "".join(span.text for span in line).rstrip()


# -- words


def clock(seconds: float) -> str:
    """
    Show a time that goes on, in whole seconds.
    """
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def cause_text(error: BaseException | None, reason: str = "") -> str:
    """
    Say in one line why an attempt failed.
    """
    if error is None:
        return printable(reason)
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001  # foreign code, and here only a text to show
        text = f"<its str raises {type(problem).__name__}>"
    first = " ".join(text[:SHOWN_CAUSE].split())
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def question_text(text: str) -> str:
    """
    Show a question in one line.
    """
    return printable(" ".join(text.split()), SHOWN_QUESTION)


def _pace_text(pace: float) -> str:
    if pace >= 100:
        return f"{pace:,.0f}/s"
    return f"{pace:.1f}/s" if pace >= 0.95 else f"{pace * 60:.1f}/min"


def count_text(row: Bar) -> str:
    """
    Say how many of a row's nodes have ended; a plus is for those that may still come.
    """
    return f"{row.ended:,}/{row.known:,}+" if row.total is None else f"{row.ended:,}/{row.total:,}"


def limit_text(name: str) -> str:
    """
    Name a limit; the one that `max_concurrent` of a map is has a name of its own.
    """
    stage, _, last = name.rpartition(".")
    return f"max_concurrent of {printable(stage)}" if stage and last == "max_concurrent" else printable(name)


# -- the frame


def frame(
    look: Look, width: int, height: int, signs: Signs = UNICODE, memory: dict[str, int] | None = None
) -> list[Line]:
    """
    Lay *look* out in at most *height* lines of *width* columns. What is left of a run that is over is its rows.

    Args:
        memory: how wide each column was, so that none moves from one frame to the next.
    """
    width, height = min(width, MOST_COLUMNS), min(height, MOST_LINES)
    room = height - 1
    below = [] if look.status else _below(look, width, max(room - len(look.rows), room // 2), signs)
    rows = _most_telling(look.rows, room - len(below))
    lines = _table([look.head, *rows], width, signs, {} if memory is None else memory)
    hidden = len(look.rows) - len(rows)
    if hidden and room > len(below):
        lines.append((Span(f"  {signs.ellipsis} and {hidden} more", "dim"),))
    return [fit(line, width, signs.ellipsis) for line in [*lines, *below][: max(0, height)]]


def _most_telling(rows: Sequence[Bar | Single], room: int) -> list[Bar | Single]:
    """
    Choose the rows for which there is room: what waits for a person, what goes on, what failed, then the last ones; in
    their order.
    """
    if len(rows) <= room:
        return list(rows)

    def rank(at: int) -> tuple[int, int]:
        state = rows[at].state
        if state == "asking":
            return (-1, at)
        if state in ("", "running", "waiting", "backing off"):
            return (0, at)
        return (1 if state == "failed" else 2, -at)

    # One line is to say how many there are besides.
    chosen = sorted(sorted(range(len(rows)), key=rank)[: max(0, room - 1)])
    return [rows[at] for at in chosen]


# -- the table: the run, its groups with their bars, and its own nodes while they are few


_COLUMNS: Final = ("count", "running", "failed", "time", "pace", "left")
# What is left out of every row if there is no room, first things first.
_SPARED: Final = ("pace", "running", "left", "time", "failed")


def _table(rows: Sequence[Bar | Single], width: int, signs: Signs, memory: dict[str, int]) -> list[Line]:
    cells = [_cells(row, is_head=not at) for at, row in enumerate(rows)]
    labels = [_label(row, signs, is_head=not at) for at, row in enumerate(rows)]
    for name in _COLUMNS:
        for cell in cells:
            if name in cell:
                memory[name] = max(columns(cell[name].text), memory.get(name, 0))
    names = [name for name in _COLUMNS if name in memory]
    longest = max(sum(columns(span.text) for span in label) for label in labels)
    label = memory["label"] = max(min(longest, LABEL_COLUMNS, max(8, width // 3)), memory.get("label", 0))

    def room() -> int:
        return width - label - sum(memory[name] + 2 for name in names)

    for name in _SPARED:
        if name in names and room() < LEAST_BAR + 2:
            names.remove(name)
    bar = min(BAR_COLUMNS, room() - 2)
    if bar < LEAST_BAR:
        bar = 0
        label = max(6, min(label, label + room()))
    out = []
    for row, cell, spans in zip(rows, cells, labels, strict=True):
        line = _padded(spans, label, signs)
        if isinstance(row, Single):
            out.append((*line, Span("  "), *_state(row, width - label - 2, signs)))
            continue
        if bar:
            line += (Span("  "), *_bar(row, bar, signs))
        for name in names:
            span = cell.get(name, Span(""))
            line += (Span(" " * (2 + memory[name] - columns(span.text))), span)
        out.append(line)
    return out


def _padded(spans: Line, width: int, signs: Signs) -> Line:
    *signed, name = spans
    room = width - sum(columns(span.text) for span in signed)
    text = cut_middle(name.text, room, signs.ellipsis)
    return (*signed, Span(text, name.style), Span(" " * (room - columns(text))))


def _label(row: Bar | Single, signs: Signs, *, is_head: bool) -> Line:
    text = printable(row.label)
    if is_head:
        return (Span(text, "name"),)
    depth = 0
    state = row.state
    if isinstance(row, Bar):
        depth, state = row.depth, row.state or ("running" if row.running else "pending")
    sign = Span(f"{'  ' * depth} {signs.states.get(state, ' ')} ", STATE_STYLES.get(state, ""))
    return (sign, Span(text, "dim" if state == "pending" and isinstance(row, Single) else ""))


def _cells(row: Bar | Single, *, is_head: bool) -> dict[str, Span]:
    if isinstance(row, Single):
        return {}
    cells = {"count": Span(count_text(row))}
    if row.running:
        cells["running"] = Span(f"{row.running:,} running", "bar")
    if row.failed:
        cells["failed"] = Span(f"{row.failed:,} failed", "bad")
    if row.state:
        cells["time"] = Span(time_text(row.seconds))
    elif is_head:
        cells["time"] = Span(clock(row.seconds))
    if row.pace is not None and not row.state:
        cells["pace"] = Span(_pace_text(row.pace), "dim")
    if row.left is not None and not row.state:
        # Rounded up: it never says that nothing is left.
        cells["left"] = Span(f"{clock(row.left + 0.999)} left")
    return cells


def _bar(row: Bar, width: int, signs: Signs) -> Line:
    if row.total is None:
        return (Span(signs.unknown * width, "dim"),)
    halves = 2 * width * row.ended // row.total if row.total else 0
    full, half = divmod(min(halves, 2 * width), 2)
    style = "bad" if row.failed and row.state else "good" if row.state or row.ended == row.total else "bar"
    filled = signs.full * full + signs.head * half
    return (Span(filled, style), Span(signs.rest * (width - full - half), "dim"))


def _state(row: Single, width: int, signs: Signs) -> Line:
    """
    Say what a single node does.
    """
    if row.state == "asking":
        return _asked(row, width, signs)
    parts: list[Span] = []
    if row.state == "backing off":
        parts.append(Span(f"attempt {row.attempt} in {clock((row.seconds or 0.0) + 0.999)}", "warn"))
    elif row.state == "waiting":
        if row.waits_for:
            parts.append(Span(f"waits for {', '.join(map(limit_text, row.waits_for))}", "dim"))
    elif row.state == "running":
        parts.append(Span(clock(row.seconds or 0.0)))
    elif row.seconds is not None:
        parts.append(Span(time_text(row.seconds), "dim"))
    if row.attempt > 1 and row.state != "backing off":
        parts.append(Span(f"attempt {row.attempt}", "warn"))
    if row.error is not None and row.state != "succeeded":
        parts.append(Span(cause_text(row.error), "bad" if row.state == "failed" else "dim"))
    elif row.state in ("skipped", "cancelled", "paused"):
        parts.append(Span(row.state, "dim"))
    if row.asks:
        parts.append(Span(question_text(row.asks), "warn"))
    return tuple(each for part in parts for each in (part, Span("  ")))


def _asked(row: Single, width: int, signs: Signs) -> Line:
    """
    Say what a node asks, and how long it has waited for the answer.
    """
    since = clock(row.seconds or 0.0)
    tried = f"  attempt {row.attempt}" if row.attempt > 1 else ""
    asked = cut(question_text(row.asks), max(0, width - len(since) - len(tried) - 2), signs.ellipsis)
    return (Span(asked, "warn"), Span(f"  {since}"), Span(tried, "warn"))


# -- what is below: who asks, who waits, what is tried again, what failed, what runs


def _below(look: Look, width: int, room: int, signs: Signs) -> list[Line]:
    fixed: list[Line] = []
    if look.waits:
        fixed.append(_heading("waiting", _waits(look.waits, signs), "warn"))
    if look.retrying is not None:
        fixed.append(_heading("retries", _retrying(look.retrying, signs), "warn"))
    asking = [_heading("asks", line, "warn") for line in _asking(look, width - 10, signs)]
    failed = [_heading("failed", text, "bad") for text in map(_failure, look.failures)]
    running = _running(look.running, width, signs)
    while len(asking) + len(fixed) + len(failed) + len(running) > room and len(running) > 1:
        running.pop()
    while len(asking) + len(fixed) + len(failed) + len(running) > room and len(failed) > 1:
        failed.pop(0)
    sections = [*_once(asking), *fixed, *_once(failed), *_once(running)]
    return sections[:room]


def _heading(name: str, rest: Line, style: str) -> Line:
    return (Span(f" {name:<8} ", style), *rest)


def _once(lines: list[Line]) -> list[Line]:
    """
    Name a section in its first line only.
    """
    return [line if not at else (Span(" " * len(line[0].text)), *line[1:]) for at, line in enumerate(lines)]


def _asking(look: Look, width: int, signs: Signs) -> list[Line]:
    out: list[Line] = []
    for each in look.asking:
        name = cut_middle(printable(each.label), max(8, width // 3), signs.ellipsis)
        out.append((Span(f"{name}: "), *_asked(each, width - columns(name) - 2, signs)))
    shown = sum(isinstance(row, Single) and row.state == "asking" for row in look.rows) + len(look.asking)
    if look.asking_count > shown:
        out.append((Span(f"and {look.asking_count - shown:,} more", "dim"),))
    return out


def _waits(waits: Sequence[Wait], signs: Signs) -> Line:
    out: list[Span] = []
    for wait in sorted(waits, key=lambda wait: -wait.nodes):
        size = "" if wait.size is None else f" ({min(wait.used, wait.size):,}/{wait.size:,})"
        size = f" ({wait.why})" if wait.why else size
        out += [Span(signs.dot)] if out else []
        out += [Span(f"{wait.nodes:,} for {limit_text(wait.limit)}"), Span(size, "dim")]
    return tuple(out)


def _retrying(retrying: Retrying, signs: Signs) -> Line:
    parts = [f"{retrying.so_far:,} so far"]
    if retrying.now:
        parts.insert(0, f"{retrying.now:,} now")
    if retrying.next_in is not None:
        parts.append(f"next in {clock(retrying.next_in + 0.999)}")
    last = f"{signs.dot}{printable(retrying.node)}: {cause_text(retrying.error, 'failed')}"
    return (Span(signs.dot.join(parts)), Span(last, "dim"))


def _failure(failure: Failure) -> Line:
    return (Span(f"{printable(failure.node)}: "), Span(cause_text(failure.error, failure.reason), "dim"))


def _running(running: Sequence[Single], width: int, signs: Signs) -> list[Line]:
    names = [printable(each.label) for each in running]
    wide = min(max(map(columns, names), default=0), max(8, width // 2))
    out: list[Line] = []
    for name, each in zip(names, running, strict=True):
        shown = cut_middle(name, wide, signs.ellipsis)
        pad = " " * (wide - columns(shown))
        tried = (Span(f"  attempt {each.attempt}", "warn"),) if each.attempt > 1 else ()
        time = Span(f"  {clock(each.seconds or 0.0):>5}", "dim")
        out.append(_heading("running", (Span(f"{shown}{pad}"), time, *tried), "bar"))
    return out
