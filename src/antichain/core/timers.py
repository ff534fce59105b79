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

# (instant, sequence number, kind, node, attempt)
Timer = tuple[float, int, int, int, int]


class Timers:
    """
    Keep timers by instant; equal instants fire in the order in which they were set.
    """

    __slots__ = ("_heap", "_is_alive", "_sequence")

    def __init__(self, is_alive: Callable[[Timer], bool]) -> None:
        # A timer is never removed when its reason goes away: it is dead from then on, and dropped when it surfaces.
        self._heap: list[Timer] = []
        self._is_alive = is_alive
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, at: float, kind: int, node: int, attempt: int, alive: int) -> None:
        """
        Add a timer; *alive* is an upper bound of the timers that can still matter, so that dead ones never outnumber
        them for long.
        """
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, kind, node, attempt))
        if len(self._heap) > 64 + 4 * alive:
            self._heap = [timer for timer in self._heap if self._is_alive(timer)]
            heapify(self._heap)

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
