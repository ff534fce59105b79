"""
Between a run and a display: fold events where they are told, and have the display draw, now and then, in a thread of
its own. The run never waits for a screen.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from antichain.core.facts import (
    Event,
    NodeAsks,
    NodeEnded,
    NodeRetrying,
    RunEnded,
    RunStarted,
)
from antichain.record import NodeRecord, RunResult
from antichain.views.board import Board
from antichain.views.look import Look
from antichain.views.summary import MOST_NODES, TELLING_SECONDS, Summary, summarize

_log = logging.getLogger("antichain.progress")


class Display(Protocol):
    """
    Show looks of a run. What goes wrong while writing ends the display, and raises nothing.
    """

    # Seconds between two looks.
    every: float

    def begin(self, look: Look) -> None:
        """
        The run has begun.
        """
        ...

    def note(self, event: NodeAsks | NodeRetrying | NodeEnded) -> None:
        """
        A node asks a person, or an attempt has failed.
        """
        ...

    def draw(self, look: Look) -> None:
        """
        Show how the run goes.
        """
        ...

    def end(self, look: Look) -> None:
        """
        Show how the run ended, and give back what belongs to others.
        """
        ...

    def conclude(self, summary: Summary) -> None:
        """
        Show what is to be said of the whole run.
        """
        ...

    def close(self) -> None:
        """
        Give back what belongs to others: nobody will tell how the run ended.
        """
        ...


class Watch:
    """
    Watch one run for a display; a listener.
    """

    def __init__(
        self, display: Display, clock: Callable[[], float] = time.monotonic, *, has_thread: bool = True
    ) -> None:
        self._display = display
        self._clock = clock
        self._has_thread = has_thread
        self._board = Board()
        self._folds: dict[type, Callable[[Any], bool | None]] = self._board.folds  # Any: an event of that type
        # Held while an event is folded in or a look is taken, never while anything is written.
        self._lock = threading.Lock()
        # What to add to our clock to get the run's.
        self._offset = 0.0
        self._is_over = threading.Event()
        # A run that broke tells no end: then this object goes, and the terminal is to be left in order all the same.
        self._closing = weakref.finalize(self, _close, display, self._is_over)

    def __call__(self, event: Event) -> None:
        """
        Fold *event* in.
        """
        fold = self._folds.get(type(event))
        if fold is None:
            return
        with self._lock:
            is_telling = fold(event)
        if is_telling:
            self._follow(event)

    def _follow(self, event: Event) -> None:
        match event:
            case NodeEnded() | NodeRetrying() | NodeAsks():
                self._display.note(event)
            case RunStarted():
                self._offset = event.time - self._clock()
                self._display.begin(self.look())
                if self._has_thread:
                    arguments = (weakref.ref(self), self._is_over, self._display.every)
                    threading.Thread(target=_refresh, args=arguments, name="antichain-progress", daemon=True).start()
            case RunEnded():
                self._is_over.set()
                self._closing.detach()
                self._display.end(self.look())
            case _:
                return

    def look(self) -> Look:
        """
        Return how the run looks now.
        """
        now = self._clock() + self._offset
        with self._lock:
            return self._board.look(now)

    def tick(self) -> None:
        """
        Have the display draw.
        """
        self._display.draw(self.look())

    def conclude(self, result: RunResult) -> None:
        """
        Show what is to be said of the whole run, once it is over.
        """
        try:
            self._display.conclude(self._summary(result))
        except Exception:  # noqa: BLE001  # whatever is wrong with a display
            # The run is over and has its result: nothing that is said of it may take that away.
            _log.exception("the summary of run %r could not be shown", result.run_id)

    def _summary(self, result: RunResult) -> Summary:
        board = self._board
        is_short = board.is_smooth and result.makespan < TELLING_SECONDS
        if not is_short and board.known <= MOST_NODES:
            return summarize(result, board.sizes, board.timed)
        # Of so short a run there is nothing else to say, and the records of so many nodes take seconds to read.
        last = board.look(result.ended_at).failures
        failed = [NodeRecord(each.node, "failed", each.reason, error=each.error) for each in last]
        return Summary(result.status, result.makespan, Counter(board.states), retries=board.retries, failed=failed)


def _close(display: Display, is_over: threading.Event) -> None:
    is_over.set()
    display.close()


def _refresh(watch: weakref.ref[Watch], is_over: threading.Event, every: float) -> None:
    """
    Draw until the run is over or nobody holds the watch any more.
    """
    while not is_over.wait(every):
        held = watch()
        if held is None:
            return
        held.tick()
        del held
