"""
Calls in daemon threads that outlive whoever waits for them: for wrappers, which make calls of their own inside a node.

The threads of a run are in `threads`; there, the core decides how many there are. Here a room does, one for each loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from types import CoroutineType
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["Count", "DetachedCall", "Place", "Room", "room_of"]


class Count:
    """
    Count, in several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, number: int) -> None:
        """
        Change the value by *number*.
        """
        with self._lock:
            self.value += number


class Room:
    """
    Hold as many places as there may be threads; who comes first is served first. For the loop's thread.
    """

    def __init__(self, size: int) -> None:
        # Places that nobody has. Invariant: 0 while anybody waits.
        self.free = size
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> Place:
        """
        Wait for a place and take it.
        """
        loop = asyncio.get_running_loop()
        if self.free:
            self.free -= 1
            return Place(self, loop)
        turn = loop.create_future()
        self.waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It was given the place and cancelled in one moment.
                self.leave()
            else:
                self.waiting.remove(turn)
            raise
        return Place(self, loop)

    def leave(self) -> None:
        """
        Give a place to whoever has waited longest.
        """
        for turn in self.waiting:
            if not turn.done():
                self.waiting.remove(turn)
                turn.set_result(None)
                return
        self.free += 1


class Place:
    """
    Be one taken place of a room.
    """

    def __init__(self, room: Room, loop: asyncio.AbstractEventLoop) -> None:
        self._room = room
        self._loop = loop

    def leave(self) -> None:
        """
        Give it back, once; from any thread.
        """
        try:
            self._loop.call_soon_threadsafe(self._room.leave)
        except RuntimeError:
            # The loop is closed, and its room has gone with it.
            return


_ROOMS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Room]] = WeakKeyDictionary()


def room_of(loop: asyncio.AbstractEventLoop) -> Room:
    """
    Return the room of *loop*, which is as large as a run's limit of threads.
    """
    room = _ROOMS.get(loop)
    if room is None:
        room = _ROOMS[loop] = Room(min(32, (os.cpu_count() or 1) + 4))
    return room


class DaemonThreads(Executor):
    """
    Call each function in a daemon thread of its own, which, unlike one of asyncio's executor, never keeps the
    interpreter alive.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """
        Start the call, which must not raise.
        """
        future: Future[Any] = Future()
        # From here on nobody can cancel it, but only stop listening.
        future.set_running_or_notify_cancel()

        def work() -> None:
            future.set_result(fn(*args, **kwargs))

        threading.Thread(target=work, name="antichain-detached", daemon=True).start()
        return future


_THREADS: Final = DaemonThreads()


class DetachedCall:
    """
    Be a call in a thread, which goes on when nobody waits for it any more.
    """

    def __init__(self, abandoned: Count, place: Place) -> None:
        self._abandoned = abandoned
        # Given back once the thread is back.
        self._place = place
        self._lock = threading.Lock()
        # Guarded by the lock: which of the two came first.
        self._is_back = False
        self._is_abandoned = False
        self._value: Any = None  # Any: what the user's function returned
        self._error: BaseException | None = None

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """
        Call *function* and return its value; a cancellation does not wait for the thread.
        """
        context = copy_context()

        def work() -> None:
            context.run(self._work, function, args, kwargs)

        try:
            # By the loop, because a virtual clock stands still while a call is out in this way.
            returning = asyncio.get_running_loop().run_in_executor(_THREADS, work)
        except RuntimeError:
            # The system gives no thread.
            self._place.leave()
            raise
        try:
            await returning
        except BaseException:
            self._abandon()
            raise
        self._place.leave()
        if self._error is not None:
            raise self._error
        return self._value

    def _work(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._value = function(*args, **kwargs)
        # StopIteration and SystemExit too: whatever it raises is the call's failure, and no thread's.
        except BaseException as error:
            self._error = error
        with self._lock:
            self._is_back = True
            if self._is_abandoned:
                self._let_go()
                self._abandoned.add(-1)

    def _abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            if self._is_back:
                self._let_go()
            else:
                self._abandoned.add(1)

    def _let_go(self) -> None:
        self._place.leave()
        if isinstance(self._value, CoroutineType):
            # Of a plain function that gave a coroutine: nobody will await it.
            self._value.close()
