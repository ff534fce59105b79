"""
A limit that runs share: the one value that several of them change, in several threads, and so the one with a lock.

What a limit decides is in `core.capacity`, which knows its form only (`policies.SharedLimit`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from antichain.policies import as_size

__all__ = ["Limit", "Watchers"]


class Watchers:
    """
    Keep who wants to be told that a shared limit gives more, or less, than before; in any thread.
    """

    __slots__ = ("_lock", "_watchers")

    def __init__(self) -> None:
        # Guarded by _lock.
        self._watchers: list[Callable[[], object]] = []
        self._lock = Lock()

    def add(self, callback: Callable[[], object]) -> None:
        """
        Call *callback* from now on.
        """
        with self._lock:
            self._watchers.append(callback)

    def remove(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        with self._lock:
            if callback in self._watchers:
                self._watchers.remove(callback)

    def tell(self) -> None:
        """
        Call them all; never with the lock of the limit held, for they may look at it, or take of it, at once.
        """
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher()


class Limit:
    """
    Count the slots of one named capacity; may be shared by several runs and threads, and resized while they run.

    Example:
        >>> llm = Limit(4)
        >>> llm.acquire(3), llm.acquire(2), llm.used
        (True, False, 3)
    """

    __slots__ = ("_lock", "_size", "_used", "_watchers")

    def __init__(self, size: int) -> None:
        # Slots in all. After a resize it may be smaller than what is used: nothing is given until enough came back.
        self._size = as_size("Limit", size)
        # Slots given and not yet given back, over all runs that share this limit. Guarded by _lock.
        self._used = 0
        self._watchers = Watchers()
        self._lock = Lock()

    @property
    def size(self) -> int:
        """
        The number of slots in all.
        """
        return self._size

    @property
    def used(self) -> int:
        """
        The number of slots that are taken now.
        """
        return self._used

    def resize(self, size: int) -> None:
        """
        Change the number of slots; what is taken stays taken.

        Raises:
            GraphError: *size* is not a whole number above zero.
        """
        checked = as_size("Limit", size)
        with self._lock:
            self._size = checked
        self._watchers.tell()

    def acquire(self, weight: int = 1) -> bool:
        """
        Take *weight* slots, together or not at all, and say whether they were taken; never wait.
        """
        with self._lock:
            if self._used + weight > self._size:
                return False
            self._used += weight
            return True

    def release(self, weight: int = 1) -> None:
        """
        Give *weight* slots back.
        """
        with self._lock:
            if weight > self._used:
                raise ValueError(f"{weight} slots given back to a limit of which {self._used} were taken")
            self._used -= weight
        self._watchers.tell()

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time slots came back or the size changed.
        """
        self._watchers.add(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        self._watchers.remove(callback)

    def __repr__(self) -> str:
        return f"Limit(size={self._size}, used={self._used})"
