"""
What a run may leave behind, and a loop that says how many steps it made and does something at one of them.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from antichain.tasks import _DISOWNED
from antichain.testing import VirtualLoop


class Steps(VirtualLoop):
    """A virtual loop that counts its turns. Each turn is a point at which something awaits, and can be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.actions: dict[int, Callable[[], object]] = {}
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def _run_once(self) -> None:
        self.turns += 1
        action = self.actions.pop(self.turns, None)
        if action is not None:
            action()
        super()._run_once()  # type: ignore[misc]


def run_in_steps(
    main: Callable[[], Coroutine[Any, Any, Any]], cancel_at: tuple[int, ...] = ()
) -> tuple[Any, BaseException | None, Steps, float]:
    """
    Run *main* and cancel it at those turns; returns its value, its error, the loop, and the seconds from the first
    cancel to the end.
    """
    loop = Steps()
    cancelled_at: list[float] = []
    try:
        task = loop.create_task(main())

        def cancel() -> None:
            if not task.done():
                cancelled_at.append(loop.time())
                task.cancel()

        loop.actions = dict.fromkeys(cancel_at, cancel)
        value, error = None, None
        try:
            value = loop.run_until_complete(task)
        except BaseException as raised:
            error = raised
        took = loop.time() - cancelled_at[0] if cancelled_at else 0.0
        tasks = asyncio.all_tasks(loop)
        assert not tasks, f"tasks are left: {tasks}"
        assert not _DISOWNED, f"tasks were parted with: {_DISOWNED}"
        open_generators = [each for each in loop._asyncgens if each.ag_frame is not None]  # type: ignore[attr-defined]
        assert not open_generators, f"generators are left: {open_generators}"
        assert not loop.complaints, f"the loop was told of {loop.complaints}"
        return value, error, loop, took
    finally:
        loop.close()


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("antichain")]


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


@contextmanager
def nothing_left(*, threads: int = 0) -> Iterator[None]:
    """Assert that no file descriptor and no thread of ours is left, but for so many abandoned ones."""
    before = len(os.listdir("/proc/self/fd"))
    known = set(our_threads())
    yield
    assert wait_until(lambda: len(set(our_threads()) - known) <= threads), our_threads()
    after = len(os.listdir("/proc/self/fd"))
    assert after <= before, f"{after - before} file descriptors are left"
