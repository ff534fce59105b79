"""
An asyncio event loop whose clock jumps to the next timer when every task waits, so that a test of an hour takes no time.

The clock never jumps over real work: while a thread is out, it stands still and the loop waits for the thread. Threads
are seen when they are started after the loop, as those of `run_in_executor`, `asyncio.to_thread` and a run's own are.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")

# Seconds of real time between two looks at whether the threads that are out have come back.
PATIENCE: Final = 0.02


class Stuck(RuntimeError):  # noqa: N818  # reads as a state
    """
    Say that every task waits for something that cannot happen: no timer, no thread, no file is left.
    """


class VirtualSelector(selectors.DefaultSelector):  # type: ignore[valid-type,misc,unused-ignore]
    """
    Jump instead of waiting.
    """

    def __init__(self) -> None:
        super().__init__()
        # Seconds since the loop was made.
        self.now = 0.0
        # Threads and the like that were asked for something and have not answered.
        self.out = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """
        Return what is ready; if nothing is, let the clock reach the next timer.

        Raises:
            Stuck: nothing is ready, and nothing ever will be.
        """
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.out:
            return super().select(PATIENCE if timeout is None else min(timeout, PATIENCE))
        if timeout is None:
            raise Stuck(
                "every task waits, and there is no timer, no thread and no file that could wake one: a deadlock, or"
                " something waits for an event that nobody sets"
            )
        self.now += timeout
        return []
