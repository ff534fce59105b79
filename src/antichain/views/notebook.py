"""
The live display in a notebook: the same rows as on a terminal, as HTML that is replaced in place.

IPython is never imported: in a notebook it is there already.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from antichain.core.facts import NodeAsks, NodeEnded, NodeRetrying
from antichain.views.frame import Line, frame
from antichain.views.look import Look
from antichain.views.summary import Summary, summary_lines

# Seconds between two looks: each is a message to the browser.
EVERY: Final = 0.5
WIDTH: Final = 110
HEIGHT: Final = 24

# Colours that are read on white and on black.
CSS: Final = {
    "name": "font-weight:bold",
    "good": "color:#2e9e4f",
    "bad": "color:#d6453d",
    "warn": "color:#b8860b",
    "bar": "color:#2b8fb8",
    "dim": "opacity:.6",
}

Publish = Callable[..., Any]  # IPython's `display`


def notebook() -> Notebook | None:
    """
    Return a display for the notebook that this program runs in, or None if it is none.
    """
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    # A shell in a terminal has no kernel.
    if shell is None or not hasattr(shell, "kernel"):
        return None
    module = sys.modules.get("IPython.display") or sys.modules.get("IPython.core.display_functions")
    publish = getattr(module, "display", None)
    return Notebook(publish) if publish is not None else None


class Shown:
    """
    Something with an HTML form and a plain one.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = list(lines)

    def _repr_html_(self) -> str:
        return as_html(self._lines)

    def __repr__(self) -> str:
        return "\n".join("".join(span.text for span in line).rstrip() for line in self._lines)


class Notebook:
    """
    Show a run below the cell that it runs in; a display.
    """

    every = EVERY

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._handle: Any = None  # IPython's DisplayHandle
        self._memory: dict[str, int] = {}
        self._is_over = False
        # What stays at the end: the rows, and below them the summary.
        self._last: list[Line] = []

    def begin(self, look: Look) -> None:
        """
        Make the place that is drawn to, in the cell that runs now.
        """
        self._show(frame(look, WIDTH, HEIGHT, memory=self._memory))

    def note(self, event: NodeAsks | NodeRetrying | NodeEnded) -> None:
        """
        Questions and failures are part of the frame.
        """

    def draw(self, look: Look) -> None:
        """
        Replace what is shown.
        """
        if not self._is_over:
            self._show(frame(look, WIDTH, HEIGHT, memory=self._memory))

    def end(self, look: Look) -> None:
        """
        Show how the run ended.
        """
        self._is_over = True
        self._last = frame(look, WIDTH, HEIGHT)
        self._show(self._last)

    def conclude(self, summary: Summary) -> None:
        """
        Add the closing summary.
        """
        self._last = [*self._last, *summary_lines(summary, WIDTH)]
        self._show(self._last)

    def close(self) -> None:
        """
        Leave what is shown.
        """
        self._is_over = True

    def _show(self, lines: Iterable[Line]) -> None:
        shown = Shown(lines)
        try:
            if self._handle is None:
                self._handle = self._publish(shown, display_id=True)
            else:
                self._handle.update(shown)
        except Exception:  # noqa: BLE001  # foreign code: a kernel that goes away ends the display, never the run
            self._is_over = True
            self._handle = _Gone()


class _Gone:
    def update(self, shown: Shown) -> None:
        """
        Show nothing: the kernel has gone.
        """


def as_html(lines: Iterable[Line]) -> str:
    """
    Return lines as HTML; foreign text in them is escaped.
    """
    rows = []
    for line in lines:
        spans = (
            f'<span style="{CSS[span.style]}">{html.escape(span.text)}</span>' if span.style else html.escape(span.text)
            for span in line
        )
        rows.append("".join(spans))
    style = "font-family:monospace;line-height:1.3;margin:0;overflow-x:auto"
    return f'<pre style="{style}">' + "\n".join(rows) + "</pre>"
