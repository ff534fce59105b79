"""
A limit that finds its size by itself, shared by runs and threads: the rule of `policies.adaptive` behind a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from antichain.limit import Watchers
from antichain.policies.adaptive import AdaptiveSize
from antichain.policies.limits import as_size

__all__ = ["Adaptive"]


class Adaptive:
    """
    Limit the calls under way at once to what the other side turns out to bear.

    It begins with *initial* slots, gives more while all is well, and fewer after an overload (429, 503, 529, a
    timeout; see `overload_of`). A ``Retry-After`` pauses everyone on this limit once. It stays from *minimum* to
    *maximum*, and may be shared by several runs and threads, which then learn together.

    With *latency* it also looks for a queue: where no overload says that it is too much, but calls take longer the more
    are under way, it goes down to where they began to. Calls that become longer for another reason, in the very time
    in which it grows, are mistaken for that until a trial of fewer calls shows it.

    Raises:
        GraphError: the three are not whole numbers from 1, in the order minimum, initial, maximum.

    Example:
        >>> llm = Adaptive(initial=2, maximum=64)
        >>> llm.acquire(), llm.acquire(), llm.acquire(), llm.used
        (True, True, False, 2)
    """

    __slots__ = ("_initial", "_latency", "_lock", "_rule", "_used", "_watchers")

    def __init__(self, initial: int = 4, minimum: int = 1, maximum: int = 1024, *, latency: bool = False) -> None:
        self._initial = initial
        self._latency = latency
        # Guarded by _lock.
        self._rule = AdaptiveSize(initial, minimum, maximum, latency=latency)
        # Slots given and not yet given back, over all runs that share this limit. Guarded by _lock.
        self._used = 0
        self._watchers = Watchers()
        self._lock = Lock()

    @property
    def size(self) -> int:
        """
        The number of slots in all, as it is now.
        """
        return self._rule.size

    @property
    def used(self) -> int:
        """
        The number of slots that are taken now.
        """
        return self._used

    @property
    def minimum(self) -> int:
        """
        The fewest slots that an overload leaves.
        """
        return self._rule.minimum

    @property
    def maximum(self) -> int:
        """
        The most slots that success leads to.
        """
        return self._rule.maximum

    @property
    def paused_until(self) -> float:
        """
        The instant of the runs' clock before which nobody starts; in the past, or minus infinity, without a pause.
        """
        return self._rule.paused_until

    def resize(self, size: int) -> None:
        """
        Set the number of slots now, from *minimum* to *maximum*; it goes on adapting from there.

        Raises:
            GraphError: *size* is not a whole number above zero.
        """
        checked = as_size("Adaptive", size)
        with self._lock:
            self._rule.resize(checked)
        self._watchers.tell()

    def fits(self, weight: int, now: float) -> bool:
        """
        Say whether *weight* slots could be taken at *now*.
        """
        with self._lock:
            return self._rule.fits(weight, self._used, now)

    def opens_at(self, now: float, weight: int = 1) -> float:
        """
        Return the earliest instant, from *now* on, at which a pause, and the ramp after it, let *weight* more start;
        free slots are another question.
        """
        with self._lock:
            return self._rule.opens_at(self._used, now, weight)

    def acquire(self, weight: int = 1, now: float | None = None) -> bool:
        """
        Take *weight* slots, together or not at all, and say whether they were taken; never wait. Without *now*, a
        pause does not count.
        """
        with self._lock:
            if now is None:
                fits = self._used + weight <= self._rule.size or self._used == 0
            else:
                fits = self._rule.fits(weight, self._used, now)
            if fits:
                self._used += weight
                if now is not None:
                    self._rule.started(self._used, now, weight)
            return fits

    def release(self, weight: int = 1) -> None:
        """
        Give *weight* slots back.
        """
        with self._lock:
            if weight > self._used:
                raise ValueError(f"{weight} slots given back to a limit of which {self._used} were taken")
            self._used -= weight
        self._watchers.tell()

    def succeeded(self, started_at: float, now: float) -> None:
        """
        Learn that a call that began at *started_at* has succeeded; its slots are still taken.
        """
        with self._lock:
            changed = self._rule.succeeded(started_at, now, self._used)
        if changed:
            self._watchers.tell()

    def overloaded(self, started_at: float, now: float, retry_after: float | None = None) -> None:
        """
        Learn that a call that began at *started_at* met an overload, and how many seconds the other side asks to wait;
        its slots are still taken.
        """
        with self._lock:
            changed = self._rule.overloaded(started_at, now, self._used, retry_after)
        if changed:
            self._watchers.tell()

    def fresh(self) -> Adaptive:
        """
        Return one with the same bounds that has learned what this one has, and of which nothing is taken.
        """
        with self._lock:
            other = Adaptive(self._initial, self._rule.minimum, self._rule.maximum, latency=self._latency)
            other._rule = self._rule.fresh()
            return other

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time slots came back, the size changed or a pause began.
        """
        self._watchers.add(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        self._watchers.remove(callback)

    def __repr__(self) -> str:
        return f"Adaptive(size={self.size}, used={self._used}, minimum={self.minimum}, maximum={self.maximum})"
