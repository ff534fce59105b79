"""
How many calls may be under way at once where nobody has said it: the rule of an `Adaptive` limit.
"""

from __future__ import annotations

import math
from typing import Final

from antichain.errors import Fault, GraphError, shown

__all__ = ["AdaptiveSize"]

# What an overload leaves of the size.
DECREASE: Final = 0.8
# The part of the mean duration that the newest call makes up.
NEWEST: Final = 0.2


class AdaptiveSize:
    """
    Find the number of calls that may be under way at once: additive increase, multiplicative decrease, fast start.
    """

    __slots__ = ("_duration", "_epoch", "_exact", "_full_at", "_is_starting", "maximum", "minimum", "paused_until")

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        for name, value in (("initial", initial), ("minimum", minimum), ("maximum", maximum)):
            if type(value) is not int or value < 1:
                text = f"Adaptive({name}={shown(value)}): must be a whole number, at least 1."
                raise GraphError(Fault("bad-limit", text))
        if not minimum <= initial <= maximum:
            text = f"Adaptive(initial={initial}): must be from minimum={minimum} to maximum={maximum}."
            raise GraphError(Fault("bad-limit", text))
        self.minimum = minimum
        self.maximum = maximum
        # Nobody starts before this instant.
        self.paused_until = -math.inf
        self._exact = float(initial)
        self._is_starting = True
        # When the size was last decreased: what began before does not decrease it again.
        self._epoch = -math.inf
        # When the limit was last full.
        self._full_at = -math.inf
        # The mean duration of calls that succeeded, weighted to the newest; None before the first.
        self._duration: float | None = None

    @property
    def size(self) -> int:
        """
        The number of slots in all, without regard to a pause.
        """
        return int(self._exact)

    def resize(self, size: int) -> None:
        """
        Set the size now; it goes on adapting from there, without a fast start.
        """
        self._exact = float(min(self.maximum, max(self.minimum, size)))
        self._is_starting = False

    def fits(self, weight: int, in_flight: int, now: float) -> bool:
        """
        Say whether *weight* slots may be taken at *now* while *in_flight* are.

        What is heavier than the size may go alone: else it could never go.
        """
        allowed = self.allowed(now)
        return in_flight + weight <= allowed or (in_flight == 0 < allowed)

    def allowed(self, now: float) -> int:
        """
        Return how many slots there are at *now*: none in a pause, and after it more and more up to the size.
        """
        if now < self.paused_until:
            return 0
        size = self.size
        step = self._step()
        if now >= self.paused_until + size * step:
            return size
        allowed = min(size, 1 + int((now - self.paused_until) / step))
        while allowed < size and self._opens(allowed + 1) <= now:
            allowed += 1
        while allowed > 1 and self._opens(allowed) > now:
            allowed -= 1
        return allowed

    def opens_at(self, in_flight: int, now: float, weight: int = 1) -> float:
        """
        Return the earliest instant, from *now* on, at which pause and ramp let *weight* more start; whether slots are
        free by then is another question.
        """
        wanted = 1 if in_flight == 0 else min(in_flight + weight, self.size)
        return max(now, self._opens(wanted))

    def _opens(self, slots: int) -> float:
        return self.paused_until + (slots - 1) * self._step()

    def _step(self) -> float:
        return (self._duration or 0.0) / self.size

    def started(self, in_flight: int, now: float) -> None:
        """
        Take in that *in_flight* slots are taken now: a limit that is not used up does not grow.
        """
        if in_flight >= self.size:
            self._full_at = now

    def succeeded(self, started_at: float, now: float, in_flight: int) -> bool:
        """
        Take in that a call begun at *started_at* has succeeded; return whether the size is another one.
        """
        took = now - started_at
        self._duration = took if self._duration is None else self._duration + NEWEST * (took - self._duration)
        if self._full_at < started_at and in_flight < self.size:
            return False
        before = self.size
        self._exact = min(self.maximum, self._exact + (1.0 if self._is_starting else 1.0 / self._exact))
        return self.size != before

    def overloaded(self, started_at: float, now: float, in_flight: int, retry_after: float | None) -> bool:
        """
        Take in that a call begun at *started_at* met an overload; return whether the size is another one, or a pause
        has begun.
        """
        if started_at < self._epoch:
            return False
        before = self.size
        self._is_starting = False
        self._epoch = now
        self._exact = max(self.minimum, min(self._exact, in_flight) * DECREASE)
        if retry_after:
            self.paused_until = max(self.paused_until, now + retry_after)
        return self.size != before or bool(retry_after)
