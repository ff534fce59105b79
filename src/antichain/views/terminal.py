"""
The live display on a terminal: frames painted over each other, and what others print meanwhile above them.

Nothing of it needs to be undone: between two frames the cursor stands, visible, in the empty line below the frame. A
process that is killed leaves the terminal as it was.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TextIO

from antichain.core.facts import NodeAsks, NodeEnded, NodeRetrying
from antichain.views.frame import ASCII, UNICODE, Line, Signs, columns, frame
from antichain.views.look import Look
from antichain.views.summary import Summary, summary_lines

# Seconds between two frames.
EVERY: Final = 0.125
# After which all lines are painted anew, also those that are as they were: somebody else may have written over them.
ANEW_SECONDS: Final = 1.0
# Between two paintings for the sake of what others print, and how much of that is kept until then.
PRINT_SECONDS: Final = 0.04
PRINT_CHARACTERS: Final = 1 << 16
# Where a terminal does not say how large it is.
USUAL_SIZE: Final = (80, 24)

SGR: Final = {"name": "1", "good": "32", "bad": "31", "warn": "33", "bar": "36", "dim": "2"}

# One frame is one write: hidden cursor, no wrapping (a terminal may shrink between two frames), and, where the terminal
# knows it, shown at once when it is complete.
_BEFORE: Final = "\x1b[?2026h\x1b[?25l\x1b[?7l"
_AFTER: Final = "\x1b[?7h\x1b[?25h\x1b[?2026l"

# The terminal that shows a live display now. One is enough: a run beside or inside another one prints its summary only.
taken = threading.Lock()


class Terminal:
    """
    Paint a run on a terminal; a display.
    """

    every = EVERY

    def __init__(
        self,
        stream: TextIO,
        *,
        has_color: bool = True,
        size: Callable[[], tuple[int, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._has_color = has_color
        self._size = size or (lambda: _size_of(stream))
        self._clock = clock
        self._signs = signs_for(stream)
        self._reflows = _reflows(os.environ)
        # Others print from their threads and from signal handlers, in the middle of whatever we do.
        self.lock = threading.RLock()
        self._is_live = False
        # The terminal has gone away.
        self._is_gone = False
        self._captured: list[Captured] = []
        # What others have printed and is not on the screen yet.
        self._printed: list[str] = []
        self._printed_characters = 0
        self._painted_at = 0.0
        self._painted_anew_at = 0.0
        # The last frame: its lines as they were written, and how many columns each of them takes.
        self._lines: list[str] = []
        self._widths: list[int] = []
        self._at_size = (0, 0)
        self._memory: dict[str, int] = {}

    # -- what a watch asks for

    def begin(self, look: Look) -> None:
        """
        Take the terminal, unless another run has it. The first frame comes with the first tick.
        """
        if not taken.acquire(blocking=False):
            return
        with self.lock:
            self._is_live = True
            self._captured = capture(self._stream, self)

    def note(self, event: NodeAsks | NodeRetrying | NodeEnded) -> None:
        """
        Questions and failures are part of the frame.
        """

    def draw(self, look: Look) -> None:
        """
        Paint a frame, and above it what others have printed.
        """
        with self.lock:
            if not self._is_live:
                return
            if not _is_in_front(self._stream):
                # Somebody else writes there now: what is above the cursor is not ours any more.
                self._lines, self._widths = [], []
                return
            width, height = self._measure()
            lines = frame(look, width - 1, height - 1, self._signs, self._memory)
            # It never gets lower, so that what is above it stands still.
            blank = min(len(self._lines), height - 1) - len(lines)
            self._guarded(lambda: self._paint([*lines, *[()] * blank]))

    def end(self, look: Look) -> None:
        """
        Paint the last frame and let the terminal go.
        """
        with self.lock:
            if not self._is_live:
                return
            width, height = self._measure()
            lines = frame(look, width - 1, max(1, height - 1), self._signs)
            self._guarded(lambda: self._paint(lines, is_last=True))
            self.close()

    def conclude(self, summary: Summary) -> None:
        """
        Print the closing summary.
        """
        with self.lock:
            width = min(self._size()[0] - 1, 120)
            lines = summary_lines(summary, width, self._signs)
            text = "".join(f"{self._styled(line)}\r\n" for line in lines)
            self._guarded(lambda: self._send(text))

    def close(self) -> None:
        """
        Stop painting; what others have printed is shown, and they print by themselves again.
        """
        with self.lock:
            if not self._is_live:
                return
            self._is_live = False
            rest = [captured.release() for captured in self._captured]
            text = "".join([*self._printed, *rest])
            self._captured, self._printed, self._lines = [], [], []
            taken.release()
            if text:
                self._guarded(lambda: self._send(text))

    # -- what others print

    def above(self, text: str) -> None:
        """
        Show complete lines above the frame, soon.
        """
        with self.lock:
            self._printed.append(text)
            self._printed_characters += len(text)
            is_soon = self._clock() - self._painted_at < PRINT_SECONDS
            if not is_soon or self._printed_characters > PRINT_CHARACTERS:
                self._guarded(self._repaint)

    # -- painting

    def _measure(self) -> tuple[int, int]:
        size = self._size()
        if size[0] != self._at_size[0]:
            self._memory.clear()
        return size

    def _guarded(self, act: Callable[[], None]) -> None:
        """
        Paint; a terminal that has gone away ends the display, and nothing else.
        """
        try:
            act()
        except (OSError, ValueError):
            self._is_gone = True
            self.close()

    def _send(self, text: str) -> None:
        if self._is_gone:
            return
        # While others are caught there, around that.
        own = [captured.original for captured in self._captured if captured.stream is self._stream]
        (own[0] if own else self._stream.write)(text)
        self._stream.flush()

    def _repaint(self) -> None:
        """
        Paint the last frame once more, below what has been printed since.
        """
        self._put(self._lines, self._widths)

    def _paint(self, lines: Sequence[Line], *, is_last: bool = False) -> None:
        texts = [self._styled(line) for line in lines]
        is_old = self._clock() - self._painted_anew_at >= ANEW_SECONDS
        if texts == self._lines and self._size() == self._at_size and not (self._printed or is_old or is_last):
            return
        self._put(texts, [sum(columns(span.text) for span in line) for line in lines])

    def _put(self, lines: list[str], widths: list[int]) -> None:
        size = self._size()
        up = self._rows_up(size)
        parts = [_BEFORE, "\r", f"\x1b[{up}A" if up else ""]
        now = self._clock()
        is_anew = size != self._at_size or now - self._painted_anew_at >= ANEW_SECONDS
        if self._printed:
            # Their lines may be as long as they like: the rows of the old frame are emptied first. One by one, because
            # some terminals keep in their history what is cleared from the first row on.
            parts += ["\x1b[K\r\n" * up, f"\x1b[{up}A" if up else "", "\x1b[?7h", *self._printed, "\x1b[?7l"]
            self._printed, self._printed_characters = [], 0
            is_anew = True
        for at, line in enumerate(lines):
            is_same = not is_anew and at < len(self._lines) and self._lines[at] == line
            parts.append("\r\n" if is_same else f"{line}\x1b[K\r\n")
        parts += ["\x1b[J", _AFTER]
        self._lines, self._widths, self._at_size = lines, widths, size
        self._painted_at = now
        if is_anew:
            self._painted_anew_at = now
        self._send("".join(parts))

    def _rows_up(self, size: tuple[int, int]) -> int:
        """
        Count the rows from the first line of the last frame to the cursor.

        A terminal that has become narrower has broken the lines that do not fit any more, if it is one that does that.
        """
        width, height = size
        if self._reflows and width < self._at_size[0]:
            rows = sum(max(1, -(-each // width)) for each in self._widths)
        else:
            rows = len(self._lines)
        return min(rows, height - 1)

    def _styled(self, line: Line) -> str:
        if not self._has_color:
            return "".join(span.text for span in line).rstrip()
        return "".join(f"\x1b[{SGR[style]}m{text}\x1b[0m" if style and text.strip() else text for text, style in line)


class Captured:
    """
    Stand between a stream and those that print to it, whatever references they hold: complete lines go above the frame.
    """

    def __init__(self, stream: Any, terminal: Terminal) -> None:  # Any: its method is replaced
        self.stream = stream
        self.original = stream.write
        self._terminal = terminal
        self._process = os.getpid()
        # By thread, the line that is not complete yet: `print` writes its text and the end of the line one by one.
        self._rests: dict[int, str] = {}
        self._is_caught = True
        stream.write = self.write

    def write(self, text: str) -> int:
        """
        Keep *text* until its lines are complete, and have those shown.
        """
        if os.getpid() != self._process:
            # A fork of ours has no display.
            return self.original(text)  # type: ignore[no-any-return]
        with self._terminal.lock:
            if not self._is_caught:
                # Somebody has kept this method.
                return self.original(text)  # type: ignore[no-any-return]
            thread = threading.get_ident()
            lines, newline, rest = (self._rests.pop(thread, "") + text).rpartition("\n")
            # Of a line that is written over and over only the last version counts.
            rest = rest[rest.rfind("\r", 0, -1) + 1 :]
            if len(rest) > PRINT_CHARACTERS:
                lines, newline, rest = lines + newline + rest, "\n", ""
            if rest:
                self._rests[thread] = rest
            if newline:
                self._terminal.above(lines.replace("\n", "\r\n") + "\r\n")
        return len(text)

    def release(self) -> str:
        """
        Let the stream write by itself again; returns what is not complete yet.
        """
        self._is_caught = False
        if self.stream.__dict__.get("write") == self.write:
            del self.stream.write
        rests = [*self._rests.values()]
        self._rests.clear()
        return "\r\n".join(rests)


def capture(stream: TextIO, terminal: Terminal) -> list[Captured]:
    """
    Catch what is printed to the terminal of *stream* through it, standard output or standard error.
    """
    found: list[Captured] = []
    streams = {id(each): each for each in (stream, sys.stdout, sys.stderr) if each is not None}
    for each in streams.values():
        if each is stream or _is_same_terminal(each, stream):
            try:
                each.flush()
                found.append(Captured(each, terminal))
            except (AttributeError, TypeError, OSError, ValueError):
                # A stream that cannot be caught, or is closed: it prints as it always does.
                continue
    return found


def _is_same_terminal(one: TextIO, other: TextIO) -> bool:
    try:
        return one.isatty() and os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
    except (AttributeError, OSError, ValueError):
        return False


def _size_of(stream: TextIO) -> tuple[int, int]:
    try:
        width, height = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return USUAL_SIZE
    return (width or USUAL_SIZE[0], height or USUAL_SIZE[1])


def _is_in_front(stream: TextIO) -> bool:
    """
    Tell whether the terminal is ours now; a shell may have taken it back (`&`, `bg`).
    """
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):
        # No terminal of a shell's.
        return True


def _reflows(environment: Mapping[str, str]) -> bool:
    """
    Tell whether the terminal breaks lines anew when its width changes. Most do.
    """
    kind = environment.get("TERM", "")
    return "XTERM_VERSION" not in environment and not kind.startswith(("linux", "vt", "rxvt", "ansi"))


def signs_for(stream: TextIO) -> Signs:
    """
    Choose characters that *stream* can show.
    """
    try:
        "".join((UNICODE.full, UNICODE.head, UNICODE.ellipsis, *UNICODE.states.values())).encode(
            stream.encoding or "ascii"
        )
    except (AttributeError, LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE
