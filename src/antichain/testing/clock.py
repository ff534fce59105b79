"""
An asyncio event loop whose clock jumps to the next timer when every task waits, so that a test of an hour takes no
time.

The clock never jumps over real work: while a call is out in a thread (a plain node, `asyncio.to_thread`,
`run_in_executor`, what is being written to a store) it stands still, and the loop waits for the thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from antichain.resources import Owner
from antichain.runners.threads import Threads
from antichain.tasks import OUT

__all__ = ["Stuck", "VirtualClock", "VirtualLoop", "virtual_time"]

T = TypeVar("T")

# Seconds that asyncio's clocks can tell apart.
RESOLUTION: Final = 1e-9
# Seconds of real time between two looks at whether the calls that are out have come back.
PATIENCE: Final = 0.02


class Stuck(RuntimeError):  # noqa: N818  # reads as a state
    """
    Say that every task waits for something that cannot happen: no timer is set, and no call is out.
    """


def _is_any_out() -> bool:
    if OUT:
        return True
    return any(threads.is_busy for threads in Threads.everywhere) or any(owner.is_busy for owner in Owner.everywhere)


class VirtualSelector(selectors.SelectSelector):
    """
    Jump instead of waiting.
    """

    def __init__(self) -> None:
        super().__init__()
        # Seconds since the loop was made.
        self.now = 0.0
        # Calls in executors that have not come back.
        self.out = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """
        Return what is ready; if nothing is, let the clock reach the next timer.

        Raises:
            Stuck: nothing is ready, and nothing ever will be.
        """
        # Asked first: a call wakes the loop before it is no longer out, so what is ready afterwards is complete.
        is_busy = self.out > 0 or _is_any_out()
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if is_busy:
            return super().select(PATIENCE if timeout is None else min(timeout, PATIENCE))
        if timeout is None:
            raise Stuck(
                "every task waits, and there is neither a timer nor a thread that could wake one: a deadlock, or"
                " something waits for an event that nobody sets"
            )
        self.now += timeout
        if self.now + RESOLUTION == self.now:
            # After months the loop would not see that the timer's instant is here: it asks for more than equality.
            self.now = math.nextafter(self.now, math.inf)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    Keep virtual time: `loop.time()` starts at 0 and moves only when every task waits.
    """

    _selector: VirtualSelector

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """
        Return the seconds since the loop was made.
        """
        return self._virtual.now

    # Any: whatever the function takes and returns.
    def run_in_executor(  # type: ignore[override]
        self, executor: concurrent.futures.Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """
        Run a function in a thread; until it comes back, the clock stands still.
        """
        self._virtual.out += 1
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._virtual.out -= 1
            raise
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """
        Wait for the threads of `run_in_executor` to end, in real time.
        """
        self._virtual.out += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._virtual.out -= 1

    def _came_back(self, future: asyncio.Future[Any]) -> None:
        self._virtual.out -= 1


class VirtualClock:
    """
    Run coroutines one after another on one virtual clock.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    @property
    def now(self) -> float:
        """
        Seconds of virtual time so far.
        """
        return self._runner.get_loop().time()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """
        Run *main* to its end and return its value, as `asyncio.run` does.

        Raises:
            Stuck: everything waits, and nothing can happen any more.
        """
        return self._runner.run(main)


@contextmanager
def virtual_time() -> Iterator[VirtualClock]:
    """
    Give a clock that runs coroutines without waiting; `asyncio.Runner(loop_factory=VirtualLoop)` does it by hand.

    Example:
        >>> with virtual_time() as clock:
        ...     clock.run(asyncio.sleep(3600))
        ...     clock.now
        3600.0
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield VirtualClock(runner)
