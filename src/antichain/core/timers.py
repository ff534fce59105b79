"""
Instants at which the scheduler has to decide something: a heap with lazy deletion. No clock: time is what the caller
says it is.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

BACKOFF_ENDS: Final = 0
ATTEMPT_EXPIRES: Final = 1
GRACE_ENDS: Final = 2
DEADLINE_PASSES: Final = 3
STARVATION_ENDS: Final = 4
# Its node is the number of a limit.
LIMIT_OPENS: Final = 5

# A ready node has waited long enough for its slots; a running one has been silent for long enough.
QUEUE_EXPIRES: Final = 6
IDLE_EXPIRES: Final = 7

# Fewer timers than this are never worth a purge.
FEW: Final = 64

# (instant, sequence number, kind, node, attempt)
Timer = tuple[float, int, int, int, int]


class Timers:
    """
    Keep timers by instant; equal instants fire in the order in which they were set.
    """

    __slots__ = ("_heap", "_is_alive", "_purge_above", "_sequence")

    def __init__(self, is_alive: Callable[[Timer], bool]) -> None:
        # A timer is never removed when its reason goes away: it is dead from then on, and dropped when it surfaces.
        self._heap: list[Timer] = []
        self._is_alive = is_alive
        self._sequence = 0
        # Invariant: at most twice what was alive at the last purge, so that dead timers cost no more than live ones.
        self._purge_above = FEW

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, at: float, kind: int, node: int, attempt: int) -> int:
        """
        Add a timer and return its sequence number, which is never 0.
        """
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, kind, node, attempt))
        if len(self._heap) > self._purge_above:
            self._purge()
        return self._sequence

    def _purge(self) -> None:
        newest = self._sequence
        # The newest is being set: whoever sets it has not said yet that it matters.
        self._heap = [timer for timer in self._heap if timer[1] == newest or self._is_alive(timer)]
        heapify(self._heap)
        self._purge_above = max(FEW, 2 * len(self._heap))

    def next_at(self) -> float | None:
        """
        Return the instant of the first timer that still matters.
        """
        heap = self._heap
        while heap:
            if self._is_alive(heap[0]):
                return heap[0][0]
            heappop(heap)
        return None

    def pop_due(self, now: float) -> Timer | None:
        """
        Remove and return the first timer that is due and still matters.
        """
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heappop(heap)
            if self._is_alive(timer):
                return timer
        return None

    def nodes(self, kind: int) -> list[int]:
        """
        Return the nodes that have a timer of that kind which still matters.
        """
        return [timer[3] for timer in self._heap if timer[2] == kind and self._is_alive(timer)]
