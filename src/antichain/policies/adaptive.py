"""
How many calls may be under way at once where nobody has said it: the rule of an `Adaptive` limit.

The rule is additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms
for Congestion Avoidance in Computer Networks", 1989), begun by a fast start (Jacobson, "Congestion Avoidance and
Control", 1988), with a memory of where the last overload was (as in BIC and CUBIC: Ha, Rhee and Xu, 2008):

1. *Fast start.* Until the first overload, each success adds two slots: the size triples in the time of a call. They
   open one by one, at five times the pace at which a full limit starts calls, so that calls which end together are not
   followed by three times as many at once: a refusal comes back before all of them are on their way.
2. *Decrease.* An overload takes a tenth of what was under way, a fifth if it ended a fast growth, half if the last
   decrease did not help. A burst of them is one: what began before the decrease says nothing of how things are after
   it. It only says how many had been let in, those under way less those refused: the size goes down to that, at most to
   half of what was under way. Where fewer than half of the slots were in use, half of the slots are counted.
3. *Increase.* Each round (as many successes as there are slots) adds one slot, or half of what is missing to the
   ceiling: the size that was too much.
4. *Hold.* Just below the ceiling the size stays for a round, and for as many times what the overload cost as there are
   slots, at most ten; then the ceiling is tried. Each time that it is still too much, the hold doubles. If all goes
   well there, the ceiling is forgotten, and what a round adds doubles with each round. An overload of a limit that was
   not used up leaves no ceiling: it speaks of something else than of how many there were.

A limit that was not used up while a call was under way does not grow by it. A ``Retry-After`` pauses everyone once;
then the slots open one by one, at twice the pace at which a full limit starts calls, so that no herd comes.

On request, calls that take longer the more are under way count too (`policies.latency`): where no overload has told
what is too much, the size goes down to where they began to, which is then just below a ceiling, as in 4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from antichain.errors import Fault, GraphError, shown

if TYPE_CHECKING:
    from antichain.policies.latency import Latencies

__all__ = ["AdaptiveSize"]

# Slots that a success adds until the first overload.
FAST_START: Final = 2.0
# Slots that fast growth has added open one after another, at so many times the pace at which a full limit starts calls.
PACE: Final = 5.0
# What an overload leaves of the slots that were in use: in general, after a fast growth, and if the last decrease did
# not help.
GENTLY: Final = 0.9
AFTER_FAST_GROWTH: Final = 0.8
ONCE_MORE: Final = 0.5
# It did not help if, since then, fewer calls succeeded than there are slots, divided by this.
NOT_HELPED: Final = 8
# After a fast growth, calls are on their way that will be refused too: one in so many is not counted into the ceiling.
ON_THE_WAY: Final = 16
# Rounds just below the ceiling before it is tried, and at the ceiling before it is forgotten.
HOLD_ROUNDS: Final = 1
TRY_ROUNDS: Final = 2
# The hold is at least as many times as long as the overload cost (the pause, or how much longer than a call it took) as
# there are slots, for so much a slot more would gain; and no more than so many times.
HOLD_PER_COST: Final = 10.0
# How often the hold may double.
DOUBLINGS: Final = 7
# The part of the mean duration that the newest call makes up.
NEWEST: Final = 0.2
# A ramp takes this part of the mean duration of a call.
RAMP: Final = 0.5
# A clock that goes back by more seconds is another one; threads that look at one clock differ by less.
ANOTHER_CLOCK: Final = 1.0


class AdaptiveSize:
    """
    Find the number of calls that may be under way at once; see above for the rule. Pure, without a lock; time is an
    argument, and the calls under way are counted by whoever asks.

    Raises:
        GraphError: the three are not whole numbers from 1, in the order minimum, initial, maximum.

    Example:
        >>> rule = AdaptiveSize(initial=2, minimum=1, maximum=64)
        >>> rule.started(2, now=0.0)
        >>> rule.succeeded(started_at=0.0, now=0.5, in_flight=2), rule.size
        (True, 4)
        >>> rule.overloaded(started_at=0.5, now=0.6, in_flight=4, retry_after=1.0), rule.size, rule.paused_until
        (True, 3, 1.6)
    """

    __slots__ = (
        "_ceiling",
        "_doublings",
        "_duration",
        "_epoch",
        "_exact",
        "_first_pause",
        "_full_at",
        "_gain",
        "_held",
        "_hold_until",
        "_latencies",
        "_latest",
        "_least",
        "_open",
        "_open_at",
        "_successes",
        "maximum",
        "minimum",
        "paused_until",
    )

    def __init__(self, initial: int, minimum: int, maximum: int, *, latency: bool = False) -> None:
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
        # The size with its fraction. Invariant: minimum <= _exact <= maximum.
        self._exact = float(initial)
        # The slots in use at the last overload, which were too many; None if more may be all right. Invariant: above
        # the size, except while it is tried, when the size is just that.
        self._ceiling: int | None = None
        # Slots that a round adds while no ceiling is known, at most as many as there are; None in the fast start.
        self._gain: float | None = None
        # In the fast start: slots that were open at that instant, and more and more up to the size since.
        self._open = self._exact
        self._open_at = -math.inf
        # The size that the last burst of overloads leaves at least.
        self._least = minimum
        # When the size was last decreased: what began before belongs to the same burst.
        self._epoch = -math.inf
        # Successes of calls that began since then.
        self._successes = 0
        # Successes at the present size, below or at the ceiling; the ceiling is not tried before the instant.
        self._held = 0
        self._hold_until = -math.inf
        # How often in a row the ceiling was tried in vain.
        self._doublings = 0
        # When the limit was last used up.
        self._full_at = -math.inf
        # The mean seconds of calls that succeeded, weighted to the newest; None before the first.
        self._duration: float | None = None
        # The seconds of the first pause: what is known before any call has succeeded.
        self._first_pause = 0.0
        # The latest instant that anybody gave.
        self._latest = -math.inf
        # What is known of a queue; None if nobody asked to look for one.
        self._latencies: Latencies | None = None
        if latency:
            from antichain.policies.latency import Latencies

            self._latencies = Latencies()

    @property
    def size(self) -> int:
        """
        The number of slots in all, without regard to a pause.
        """
        return int(self._exact)

    def resize(self, size: int) -> None:
        """
        Set the size now, from *minimum* to *maximum*; it goes on adapting from there.
        """
        self._exact = float(min(self.maximum, max(self.minimum, size)))
        self._ceiling, self._gain, self._doublings, self._held = None, 1.0, 0, 0
        if self._latencies is not None:
            self._latencies.forget()

    def fresh(self) -> AdaptiveSize:
        """
        Return one that has learned what this one has, on another clock, without a pause.
        """
        other = AdaptiveSize(self.minimum, self.minimum, self.maximum)
        other._exact, other._ceiling, other._gain = self._exact, self._ceiling, self._gain
        other._open = self._exact
        other._doublings, other._duration, other._first_pause = self._doublings, self._duration, self._first_pause
        other._latencies = None if self._latencies is None else self._latencies.fresh()
        return other

    def fits(self, weight: int, in_flight: int, now: float) -> bool:
        """
        Say whether *weight* slots may be taken at *now* while *in_flight* are.

        What is heavier than the size may go alone: else it could never go.
        """
        allowed = self.allowed(now)
        return in_flight + weight <= allowed or in_flight == 0 < allowed

    def allowed(self, now: float) -> int:
        """
        Return how many slots there are at *now*: none in a pause, and after it, and in a fast start, more and more up
        to the size.
        """
        self._look_at(now)
        size = self.size
        if now < self.paused_until:
            return 0
        if now >= self._opens(size):
            return size
        allowed = int(self._opened(now))
        if now < self.paused_until + (size - 1) * self._step():
            allowed = min(allowed, 1 + int((now - self.paused_until) / self._step()))
        # Rounding may have put it one off what `opens_at` says.
        if now >= self._opens(allowed + 1):
            return allowed + 1
        return allowed if now >= self._opens(allowed) else allowed - 1

    def opens_at(self, in_flight: int, now: float, weight: int = 1) -> float:
        """
        Return the earliest instant, from *now* on, at which pause and pace let *weight* more start while *in_flight*
        are under way; whether slots are free by then is another question.
        """
        self._look_at(now)
        wanted = min(in_flight + weight, self.size) if in_flight else 1
        return max(now, self._opens(wanted))

    def started(self, in_flight: int, now: float, weight: int = 1) -> None:
        """
        Take in that *weight* slots were taken, of which now *in_flight* are.
        """
        if in_flight + weight > self.size:
            self._full_at = now
        if self._latencies is not None:
            self._latencies.started(in_flight, now)

    def succeeded(self, started_at: float, now: float, in_flight: int) -> bool:
        """
        Take in that a call begun at *started_at* has succeeded, whose slots still count as *in_flight*; return whether
        the size is another one.
        """
        self._look_at(now)
        if self._gain is None:
            self._open, self._open_at = self._opened(now), now
        took = max(0.0, now - started_at)
        self._duration = took if self._duration is None else self._duration + NEWEST * (took - self._duration)
        if started_at > self._epoch:
            self._successes += 1
        before = self.size
        if self._full_at >= started_at or in_flight >= before:
            self._exact = min(float(self.maximum), self._grown(started_at, now))
        if self._latencies is not None:
            self._heed(self._latencies, started_at, now)
        return self.size != before

    def overloaded(self, started_at: float, now: float, in_flight: int, retry_after: float | None) -> bool:
        """
        Take in that a call begun at *started_at* met an overload and was asked to come back *retry_after* seconds
        later; its slots still count as *in_flight*. Return whether the size or the pause is another one.
        """
        self._look_at(now)
        if self._latencies is not None:
            self._latencies.forget()
        before = (self.size, self.paused_until)
        if started_at > self._epoch:
            self._decrease(started_at, now, in_flight, retry_after or 0.0)
        else:
            self._add_to_the_last(now, retry_after or 0.0)
        return (self.size, self.paused_until) != before

    def _decrease(self, started_at: float, now: float, in_flight: int, pause: float) -> None:
        is_used_up = self._full_at >= started_at or in_flight >= self.size
        # Where few are under way, the overload says little of how many may be: half of the slots stay in any case.
        used = min(self.size, max(in_flight, (self.size + 1) // 2))
        was_fast = self._ceiling is None and (self._gain is None or self._gain >= self._exact / 2)
        if self._gain is not None and self._successes * NOT_HELPED < self.size:
            kept = ONCE_MORE
        else:
            kept = AFTER_FAST_GROWTH if was_fast else GENTLY
        is_tried_in_vain = self._ceiling is not None and used >= self._ceiling
        self._doublings = min(DOUBLINGS, self._doublings + 1) if is_tried_in_vain else 0
        ceiling = max(self.minimum + 1, used - used // ON_THE_WAY if was_fast else used)
        self._ceiling = ceiling if is_used_up else None
        self._exact = max(float(self.minimum), min(self._exact, used) * kept)
        self._least = max(self.minimum, used // 2)
        self._gain = 1.0
        self._epoch, self._successes, self._held = now, 0, 0
        wasted = now - started_at - (self._duration or 0.0)
        self._hold_until = now + min(HOLD_PER_COST, self.size) * max(pause, wasted) * 2**self._doublings
        if pause:
            self.paused_until = max(self.paused_until, now + pause)
            self._first_pause = self._first_pause or pause

    def _heed(self, latencies: Latencies, started_at: float, now: float) -> None:
        """
        Set the size that the duration of calls speaks for, if it is another one.
        """
        may_fall = self._ceiling is None and self._full_at >= started_at and self.size > self.minimum
        size = latencies.succeeded(started_at, now, self.size, may_fall=may_fall)
        if size is None:
            return
        if size > self.size:
            # There was no queue: it goes on from where it was.
            self._exact = self._open = float(min(self.maximum, size))
            self._ceiling, self._gain, self._doublings = None, None, 0
            return
        self._exact = float(max(self.minimum, size))
        self._ceiling, self._gain, self._doublings = self.size + 1, 1.0, 1
        # What began before is in the queue, and overloads of that say nothing more.
        self._least = self.size
        self._epoch, self._successes, self._held, self._hold_until = now, 0, 0, now

    def _add_to_the_last(self, now: float, pause: float) -> None:
        """
        Take in one more overload of those that were under way at the last decrease.
        """
        # It is the same pause, as long as that lasts: nothing begins in it, so that it cannot go on for ever.
        if now < self.paused_until:
            self.paused_until = max(self.paused_until, now + pause)
        if self._ceiling is not None and self._ceiling - 1 > self._least:
            self._ceiling -= 1
            self._exact = min(self._exact, float(self._ceiling - 1))

    def _grown(self, started_at: float, now: float) -> float:
        """
        Return the size, with its fraction, after one more success of a full limit.
        """
        size = self._exact
        if self._ceiling is None:
            if self._gain is None:
                return size + FAST_START
            gain = self._gain / size
            # Twice as much after as many successes as there are slots.
            self._gain = min(size, self._gain * 2 ** (1 / size))
            return size + gain
        highest = self._ceiling - 1
        if size < highest:
            self._held = 0
            return min(float(highest), size + max(1.0, (highest - size) / 2) / size)
        if started_at <= self._epoch:
            return size
        self._held += 1
        if size < self._ceiling:
            if self._held >= HOLD_ROUNDS * 2**self._doublings * size and now >= self._hold_until:
                self._held = 0
                return float(self._ceiling)
        elif self._held >= TRY_ROUNDS * size:
            self._ceiling, self._gain, self._doublings = None, 1.0, 0
        return size

    def _opens(self, slots: int) -> float:
        opens_at = self.paused_until + (slots - 1) * self._step()
        if self._gain is None and slots > self._open:
            opens_at = max(opens_at, self._open_at + (slots - self._open) * self._pause_between())
        return opens_at

    def _opened(self, now: float) -> float:
        """
        Return how many slots the fast start has opened by *now*, with the fraction; all of them after it.
        """
        between = self._pause_between()
        if self._gain is not None or not between or self._open >= self._exact:
            return self._exact
        return min(self._exact, self._open + (now - self._open_at) / between)

    def _pause_between(self) -> float:
        """
        Return the seconds between two slots that the fast start opens.
        """
        return (self._duration or 0.0) / (PACE * self._exact)

    def _step(self) -> float:
        duration = self._first_pause if self._duration is None else self._duration
        return RAMP * duration / self.size

    def _look_at(self, now: float) -> None:
        """
        Forget all instants, which are those of another clock, if time went back.
        """
        if now < self._latest - ANOTHER_CLOCK:
            self.paused_until = now + max(0.0, self.paused_until - self._latest)
            self._epoch = self._full_at = self._hold_until = self._open_at = -math.inf
            self._open = self._exact
            self._latest = now
            self._latencies = None if self._latencies is None else self._latencies.fresh()
        elif now > self._latest:
            self._latest = now
