"""
Where a run's progress is shown: live on a terminal, in a notebook, else in plain lines; and these lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

from antichain.core.facts import NodeAsks, NodeEnded, NodeRetrying
from antichain.printable import printable
from antichain.views.figures import time_text
from antichain.views.frame import UNICODE, cause_text, clock, count_text, limit_text, plain, question_text
from antichain.views.look import Look
from antichain.views.summary import Summary, summary_lines
from antichain.views.watch import Display, Watch

# Seconds between two lines that only say how far the run is: a tenth of what has passed, within bounds.
LEAST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
# Failures and retries with a line of their own; later ones are only counted.
SHOWN_NOTES: Final = 20
# The same for questions.
SHOWN_QUESTIONS: Final = 20
PLAIN_COLUMNS: Final = 110


def open_progress(stream: TextIO | None = None) -> Watch:
    """
    Return a listener that shows how a run goes, on *stream* or standard error.

    It is a live display where that is a terminal, unless ``TERM`` is dumb or ``CI`` is set; the same rows in a
    notebook; else plain lines. ``NO_COLOR`` takes the colours away, ``FORCE_COLOR`` gives plain lines some.
    """
    return Watch(_display(stream))


def _display(stream: TextIO | None) -> Display:
    given, stream = stream, sys.stderr if stream is None else stream
    if stream is not None and is_live(stream, os.environ):
        from antichain.views.terminal import Terminal

        return Terminal(stream, has_color=has_color(os.environ, is_terminal=True))
    if given is None and "IPython" in sys.modules:
        from antichain.views.notebook import notebook

        display = notebook()
        if display is not None:
            return display
    return PlainLines(stream, has_color=has_color(os.environ, is_terminal=False))


def is_live(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """
    Tell whether a display that moves makes sense on *stream*.
    """
    if environment.get("TERM", "dumb") in ("dumb", "") or _is_set(environment.get("CI")):
        return False
    try:
        return stream.isatty()
    except (AttributeError, OSError, ValueError):
        # No stream of files, or closed.
        return False


def has_color(environment: Mapping[str, str], *, is_terminal: bool) -> bool:
    """
    Tell whether colours are wanted.
    """
    if environment.get("NO_COLOR"):
        return False
    return is_terminal or _is_set(environment.get("FORCE_COLOR"))


def _is_set(value: str | None) -> bool:
    return bool(value) and str(value).lower() not in ("0", "false", "no")


class PlainLines:
    """
    Print what happens, in lines that read well in a log file; a display.
    """

    every = LEAST_SECONDS

    def __init__(self, stream: TextIO | None, *, has_color: bool = False) -> None:
        # None once it cannot be written to any more: the run goes on.
        self._stream = stream
        self._has_color = has_color
        self._started_at = 0.0
        self._printed_at = 0.0
        self._notes = 0
        self._questions = 0

    def begin(self, look: Look) -> None:
        """
        Say which run it is.
        """
        nodes = f"{look.head.known:,} node{'s' * (look.head.known != 1)}"
        self._started_at = look.time
        self._print(0.0, f"{printable(look.head.label)}: run {printable(look.run_id)}, {nodes}")

    def note(self, event: NodeAsks | NodeRetrying | NodeEnded) -> None:
        """
        Say that a node asks, or that an attempt failed.
        """
        if isinstance(event, NodeAsks):
            self._note_question(event)
            return
        self._notes += 1
        if self._notes > SHOWN_NOTES:
            return
        name, cause = printable(event.node), cause_text(event.error, getattr(event, "reason", ""))
        passed = event.time - self._started_at
        if isinstance(event, NodeRetrying):
            self._print(passed, f"{name}: {cause}; attempt {event.attempt + 1} in {time_text(event.delay)}")
        else:
            self._print(passed, f"{name}: failed ({printable(event.reason)}): {cause}", "31")
        if self._notes == SHOWN_NOTES:
            self._print(passed, "further failures and retries are only counted")

    def _note_question(self, event: NodeAsks) -> None:
        self._questions += 1
        if self._questions <= SHOWN_QUESTIONS:
            asked = question_text(event.text)
            self._print(event.time - self._started_at, f"{printable(event.node)} asks: {asked}", "33")
            if self._questions == SHOWN_QUESTIONS:
                self._print(event.time - self._started_at, "further questions are only counted")

    def draw(self, look: Look) -> None:
        """
        Say how far the run is, the less often the longer it goes on.
        """
        passed = look.head.seconds
        if passed - self._printed_at >= min(MOST_SECONDS, max(LEAST_SECONDS, passed / 10)):
            self._print(passed, standing_text(look))

    def end(self, look: Look) -> None:
        """
        Say how the run ended.
        """
        style = "32" if look.status == "succeeded" else "31"
        self._print(look.head.seconds, f"{look.status}: {standing_text(look)}", style)

    def conclude(self, summary: Summary) -> None:
        """
        Print the closing summary.
        """
        self._write("\n".join(plain(line) for line in summary_lines(summary, PLAIN_COLUMNS, UNICODE)))

    def close(self) -> None:
        """
        Nothing to give back.
        """

    def _print(self, passed: float, text: str, style: str = "") -> None:
        self._printed_at = passed
        line = f"[{passed:7.1f} s] {text}"
        self._write(f"\x1b[{style}m{line}\x1b[0m" if style and self._has_color else line)

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None or not text:
            return
        try:
            _write_line(stream, text)
        except (OSError, ValueError):
            # Closed: nobody looks any more, and the run goes on.
            self._stream = None


def _write_line(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    line = f"{text}\n".encode(encoding, "backslashreplace")
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        # Not a file of the system's.
        print(line.decode(encoding), end="", file=stream, flush=True)
        return
    # Past the stream's buffer: what cannot be written must not stay there, or it fails once more when Python ends.
    stream.flush()
    left = memoryview(line)
    while left:
        left = left[os.write(descriptor, left) :]


def standing_text(look: Look) -> str:
    """
    Say in one line how far a run is.
    """
    head = look.head
    parts = [f"{count_text(head)} ended"]
    parts += [f"{count:,} {state}" for state, count in look.states.items() if state != "succeeded"]
    if head.running:
        parts.append(f"{head.running:,} running")
    if look.asking_count:
        parts.append(f"{look.asking_count:,} waiting for an answer")
    for wait in look.waits:
        why = f" ({wait.why})" if wait.why else ""
        parts.append(f"{wait.nodes:,} waiting for {limit_text(wait.limit)}{why}")
    if look.retrying is not None:
        parts.append(f"{look.retrying.so_far:,} retried")
    if look.abandoned:
        parts.append(f"{look.abandoned:,} abandoned")
    if head.left is not None and look.status is None:
        parts.append(f"about {clock(head.left + 0.999)} left")
    oldest = look.longest
    if oldest is not None and oldest.seconds is not None and oldest.seconds >= MOST_SECONDS and look.status is None:
        parts.append(f"{printable(oldest.label)} runs for {clock(oldest.seconds)}")
    return ", ".join(parts)
