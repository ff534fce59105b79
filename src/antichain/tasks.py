"""
The tasks of one run: who keeps them alive, and how each of them ends, even one that does not want to.
"""

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, TypeVar

T = TypeVar("T")

# How long tasks may take to end after the last node has, and how often one looks at those that were told to.
SWEEP_SECONDS: Final = 0.5
SWEEP_TICK: Final = 0.05


class GivenUp(BaseException):
    """
    Thrown into a body that has swallowed its cancellation: something that it does not expect.
    """


class Tasks:
    """
    Own the tasks of a run. Any: what they return is nobody's business here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        # Nothing else keeps them alive.
        self.alive: set[asyncio.Task[Any]] = set()
        # Told to end in a way that cannot be caught as a cancellation.
        self._killed: set[asyncio.Task[Any]] = set()

    def open(self, work: Coroutine[Any, Any, Any], context: Context | None = None) -> "asyncio.Task[Any]":
        """
        Start a task in the caller's context, not in that of whoever happens to run now. Who starts it says when it is
        over.
        """
        # Not `loop.create_task`: with an eager factory it would run the task in the middle of what we are doing.
        task = asyncio.Task(work, loop=self._loop, context=context or self._context.copy(), name="antichain")
        self.alive.add(task)
        return task

    def spawn(self, work: Coroutine[Any, Any, Any], context: Context | None = None) -> "asyncio.Task[Any]":
        """
        Start a task that is forgotten by itself once it is over; in *context*, if one is given.
        """
        task = self.open(work, context)
        task.add_done_callback(self.alive.discard)
        return task

    def drop_done(self) -> None:
        """
        Forget the tasks that are over and did not say so, because they were cancelled before their first step.
        """
        self.alive = {task for task in self.alive if not task.done()}

    def cancel(self) -> None:
        """
        Cancel all of them.
        """
        for task in self.alive:
            task.cancel()

    def kill(self, task: "asyncio.Task[Any]") -> None:
        """
        End a body that swallows its cancellation: throw what it does not expect into it, then cancel what it awaits in
        the end.
        """
        self._killed.add(task)
        body = getattr(task.get_coro(), "cr_await", None)
        if isinstance(body, CoroutineType) and inspect.getcoroutinestate(body) == inspect.CORO_SUSPENDED:
            try:
                # Not `close`: that orphans what awaits something in its `finally`.
                body.throw(GivenUp())
            except (GivenUp, asyncio.CancelledError, StopIteration):
                # It has ended, which its task will find out.
                pass
            except BaseException as error:
                # A `finally` of the user's raised; the node has its verdict already.
                message = "a node raised while it was given up"
                self._loop.call_exception_handler({"message": message, "exception": error})
        task.cancel()

    async def sweep(self, grace: float, on_cancel: Callable[[], object]) -> None:
        """
        Wait a moment for tasks that are about to end, then end them, and part with those that even swallow that.
        """
        stop_at = self._loop.time() + min(grace, SWEEP_SECONDS)
        is_late = False
        while waiting := [task for task in self.alive if not task.done()]:
            await undisturbed(functools.partial(asyncio.wait, waiting, timeout=SWEEP_TICK), on_cancel)
            waiting = [task for task in waiting if not task.done()]
            if is_late:
                for task in waiting:
                    disown(task)
                break
            is_late = self._loop.time() >= stop_at
            for task in waiting:
                if is_late or task in self._killed:
                    self.kill(task)


# What is with a disk, in whatever thread: a clock that jumps does not jump over it.
OUT: set[object] = set()


async def in_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """
    Call something that may wait for a disk in a thread of its own, which is gone afterwards, and return its value.
    """
    done: asyncio.Future[T] = loop.create_future()

    def tell(outcome: Callable[[], object]) -> None:
        if not done.done():
            outcome()

    def execute() -> None:
        try:
            value = call()
        except BaseException as error:
            outcome = functools.partial(done.set_exception, error)
        else:
            outcome = functools.partial(done.set_result, value)
        try:
            loop.call_soon_threadsafe(tell, outcome)
        finally:
            OUT.discard(done)

    OUT.add(done)
    thread = threading.Thread(target=execute, name="antichain-store", daemon=True)
    thread.start()
    try:
        return await done
    finally:
        thread.join()


async def undisturbed(work: Callable[[], Coroutine[Any, Any, T]], on_cancel: Callable[[], object]) -> T:
    """
    Do *work* to its end even if the caller is cancelled meanwhile; *on_cancel* is told so. Where somebody cancels all
    tasks of the loop, and so the work too, it is done again.
    """
    while True:
        task = asyncio.ensure_future(work())
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                on_cancel()
        if not task.cancelled():
            return task.result()


# Held, because to be forgotten is one more `GeneratorExit` for them.
_DISOWNED: set["asyncio.Task[Any]"] = set()


def disown(task: "asyncio.Task[Any]") -> None:
    """
    Let whoever closes the loop not wait for a task that nothing can end: its coroutine swallows even `GeneratorExit`.
    """
    _DISOWNED.add(task)
    task.add_done_callback(_DISOWNED.discard)
    asyncio.tasks._unregister_task(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
