"""Named capacities, and how many units of them a node takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from antichain.errors import Fault, GraphError, shown

__all__ = ["Limit", "as_size", "as_uses"]


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
        # Called without the lock after slots came back or the size changed. Guarded by _lock.
        self._watchers: list[Callable[[], object]] = []
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
        self._tell()

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
        self._tell()

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time slots came back or the size changed.
        """
        with self._lock:
            self._watchers.append(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        with self._lock:
            if callback in self._watchers:
                self._watchers.remove(callback)

    def _tell(self) -> None:
        # Outside the lock: a watcher may look at this limit, or take slots, at once.
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher()

    def __repr__(self) -> str:
        return f"Limit(size={self._size}, used={self._used})"


def as_size(name: str, value: object) -> int:
    """
    Check that *value* is a size of a limit: a whole number above zero.

    Raises:
        GraphError: it is not.
    """
    if type(value) is int and value > 0:
        return value
    why = "a limit must be at least 1, else nothing that uses it could ever start"
    if type(value) is not int:
        why = "a limit must be a whole number above zero, or a Limit"
    raise GraphError(Fault("bad-limit", f"limit {name!r} is {shown(value)}: {why}."))


def as_uses(value: object) -> tuple[tuple[str, int], ...]:
    """
    Read which limits a node takes: a name, or a mapping from names to weights; sorted by name.

    Raises:
        GraphError: *value* is neither, or a weight is not a whole number above zero.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return ((value, 1),)
    if not isinstance(value, Mapping):
        why = "use the name of a limit, or a dict from names to weights"
        raise GraphError(Fault("bad-policy", f"uses={shown(value)}: {why}, e.g. uses={{'llm': 1}}."))
    for name, weight in value.items():
        if not isinstance(name, str):
            raise GraphError(Fault("bad-policy", f"uses={shown(value)}: {shown(name)} is not the name of a limit."))
        if type(weight) is not int or weight < 1:
            why = "a weight is a whole number of slots, at least 1"
            raise GraphError(
                Fault("bad-policy", f"uses={shown(value)}: limit {name!r} is taken {shown(weight)} times: {why}.")
            )
    return tuple(sorted(value.items()))
