"""
The live display in a notebook: told by IPython's modules if they are there, and never importing them.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from antichain.core.facts import NodeEnded, RunStarted
from antichain.views.frame import Span
from antichain.views.notebook import Notebook, as_html, notebook
from antichain.views.progress import PlainLines, open_progress
from antichain.views.watch import Watch
from tests.support.watched import three


class Handle:
    def __init__(self, shown: list[Any]) -> None:
        self._shown = shown

    def update(self, what: Any) -> None:
        self._shown.append(what)


class Cell:
    """IPython's `display`, and what a cell shows of it."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.places = 0

    def __call__(self, what: Any, *, display_id: bool = False) -> Handle:
        assert display_id
        self.places += 1
        self.shown.append(what)
        return Handle(self.shown)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A notebook's kernel around this process."""
    cell = Cell()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = cell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return cell


def test_rows_are_replaced_in_one_place(cell: Cell) -> None:
    display = notebook()
    assert display is not None
    watch = Watch(display, lambda: 0.0, has_thread=False)
    for event in three().events:
        watch(event)
        watch.tick()
    watch.conclude(three().result)
    assert cell.places == 1
    assert len(cell.shown) > 5
    first, last = cell.shown[0]._repr_html_(), cell.shown[-1]._repr_html_()
    assert "0/3" in first
    assert "3/3" in last
    assert "3 succeeded</span> in 19.2 s" in last
    assert "\x1b" not in last
    assert "3/3" in repr(cell.shown[-1])


def test_nothing_is_drawn_after_the_end(cell: Cell) -> None:
    display = notebook()
    assert display is not None
    watch = Watch(display, lambda: 0.0, has_thread=False)
    for event in three().events:
        watch(event)
    count = len(cell.shown)
    watch.tick()
    assert len(cell.shown) == count


def test_foreign_text_is_escaped(cell: Cell) -> None:
    display = notebook()
    assert display is not None
    watch = Watch(display, lambda: 0.0, has_thread=False)
    watch(RunStarted(1, 0.0, "r", "<script>alert(1)</script>", 20))
    error = ValueError("<img src=x onerror=alert(1)>")
    watch(NodeEnded(2, 0.0, "r", "a&b", 1, "failed", "error", error, None))
    watch.tick()
    page = cell.shown[-1]._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "a&amp;b: " in page


def test_a_kernel_that_goes_away_ends_the_display_and_nothing_else() -> None:
    calls = []

    def publish(shown: Any, *, display_id: bool) -> Any:
        calls.append(shown)
        raise RuntimeError("the kernel has gone")

    watch = Watch(Notebook(publish), lambda: 0.0, has_thread=False)
    for event in three().events:
        watch(event)
        watch.tick()
    watch.conclude(three().result)
    assert len(calls) == 1


def test_open_progress_finds_the_notebook(cell: Cell) -> None:
    assert isinstance(open_progress()._display, Notebook)


def test_a_stream_that_is_given_comes_first(cell: Cell) -> None:
    assert isinstance(open_progress(sys.stderr)._display, PlainLines)


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["no shell", "a shell in a terminal"])
def test_ipython_without_a_kernel_is_no_notebook(cell: Cell, shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert notebook() is None
    assert isinstance(open_progress()._display, PlainLines)


def test_html_has_the_styles_of_the_spans() -> None:
    page = as_html([(Span("ok", "good"), Span(" < plain")), (Span("second"),)])
    assert '<span style="color:#2e9e4f">ok</span> &lt; plain\nsecond' in page
