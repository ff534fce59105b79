"""
Whether the other side lets calls wait: what an `Adaptive` with ``latency=True`` learns from how long they take.

A provider that queues refuses nobody, so no overload says that it has enough. But calls take longer the more are under
way: as long as ever up to what it serves at once, the *knee*, and in proportion beyond it. Calls of unequal length look
like that too, so a queue is believed in only

1. while the size grows, and no overload has told what is too much: then calls with few and with many others under way
   are made soon after one another;
2. if the latencies of those calls, over how many were under way when each began, are told much better by a knee than by
   a constant (a ratio of likelihoods; calls count as log-normal), and better than by one step in time, which is what
   longer calls look like that come after shorter ones;
3. on trial: the size goes down to the knee, and if the calls that begin then are not much shorter, all is as before,
   and more evidence is asked for the next time.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

__all__ = ["Latencies"]

# Calls that are looked back at: so many times the slots that there are, but some in any case.
ROUNDS: Final = 4
LEAST: Final = 64
# A test after each round, divided by this.
TESTS: Final = 8
# Calls are put together whose number of others differs by less than this power of e.
STEP: Final = 0.25
# Logarithms of whole numbers, and what they come to again, are rounded by less.
ROUNDING: Final = 1e-9
# How many calls are asked for in all, and from well above the knee (at least twice as many under way).
ENOUGH: Final = 8
ABOVE: Final = 4
WELL_ABOVE: Final = math.log(2.0) - ROUNDING
# By how many standard errors the knee has to be better than a constant, and how much more after an alarm in vain.
EVIDENCE: Final = 3.0
IN_VAIN: Final = 1.5
# The least variance of a logarithm: calls of a hundredth of difference are as good as equal.
VARIANCE: Final = 1e-3
# How much better than the knee a step in time has to be, to be the cause.
BETTER: Final = 0.5
# The part of the rise that a queue makes, which must be gone again on trial.
GONE: Final = 0.3
# Calls on trial at most.
TRIAL: Final = 16


class Knee:
    """
    Where latency begins to rise with the number of calls under way, and by how much it has.
    """

    __slots__ = ("latency", "rise", "size")

    def __init__(self, size: float, rise: float, latency: float) -> None:
        self.size = size
        # Logarithms: how much longer a queue makes the calls well above, in the mean; and how long they took.
        self.rise = rise
        self.latency = latency


class Latencies:
    """
    Remember how long calls took, and say which size that speaks for. Pure, without a lock; time is an argument.
    """

    __slots__ = ("_began", "_calls", "_evidence", "_in_vain", "_old_size", "_since", "_trial", "_untested")

    def __init__(self) -> None:
        # How many were under way when a call began at that instant, itself included.
        self._began: dict[float, int] = {}
        # Of calls that have succeeded, in that order: the logarithms of that number, and of the seconds.
        self._calls: deque[tuple[float, float]] = deque()
        self._untested = 0
        self._evidence = EVIDENCE
        # A queue that is believed in on trial: since when, the size before, and what the calls took since then.
        self._trial: Knee | None = None
        self._since = -math.inf
        self._old_size = 0
        self._in_vain: list[float] = []

    def fresh(self) -> Latencies:
        """
        Return one for another clock: what calls took is as true there.
        """
        other = Latencies()
        other._calls.extend(self._calls)
        other._evidence = self._evidence
        return other

    def forget(self) -> None:
        """
        Forget all calls, and a trial: how many may be under way was told by something else.
        """
        self._calls.clear()
        self._trial = None

    def started(self, in_flight: int, now: float) -> None:
        """
        Take in that a call begins at *now*, the last of *in_flight*.
        """
        self._began[now] = in_flight
        # Of calls that failed nobody tells; their instants are the oldest ones.
        while len(self._began) > 2 * in_flight + LEAST:
            del self._began[next(iter(self._began))]

    def succeeded(self, started_at: float, now: float, size: int, *, may_fall: bool) -> int | None:
        """
        Take in that a call has succeeded while there were *size* slots; return the size that there should be, if it is
        another one: less, if a queue was found and it *may_fall*; more, if there was none after all.
        """
        in_flight = self._began.get(started_at)
        if in_flight is None or now <= started_at:
            return None
        latency = math.log(now - started_at)
        if self._trial is not None:
            return self._judged(self._trial, started_at, latency, size)
        self._calls.append((math.log(in_flight), latency))
        while len(self._calls) > max(LEAST, ROUNDS * size):
            self._calls.popleft()
        self._untested += 1
        if not may_fall or self._untested < max(2, size // TESTS):
            return None
        self._untested = 0
        knee = self._knee()
        if knee is None or int(knee.size) >= size:
            return None
        self._trial, self._since, self._old_size = knee, now, size
        self._in_vain = []
        self._calls = deque(call for call in self._calls if call[0] <= math.log(knee.size))
        return max(2, int(knee.size))

    def _judged(self, knee: Knee, started_at: float, latency: float, size: int) -> int | None:
        if started_at <= self._since:
            return None
        self._in_vain.append(latency)
        if len(self._in_vain) < max(ABOVE, min(size, TRIAL)):
            return None
        self._trial = None
        if knee.latency - sum(self._in_vain) / len(self._in_vain) >= GONE * knee.rise:
            return None
        self._calls.clear()
        self._evidence *= IN_VAIN
        return self._old_size if self._old_size > size else None

    def _knee(self) -> Knee | None:
        """
        Return the knee that tells the latencies best, if it tells them well enough.
        """
        number = len(self._calls)
        groups = self._groups()
        if number < ENOUGH or len(groups) < 2:
            return None
        total = sum(latency for _, latency in self._calls)
        squares = sum(latency * latency for _, latency in self._calls)
        best = math.inf
        at = 0.0
        for place, _, _ in groups[:-1]:
            # What is left of each latency, less the rise that a knee here tells.
            left, rest = total, squares
            for where, count, latency in groups:
                if (rise := where - place) > 0:
                    left -= count * rise
                    rest += rise * (count * rise - 2 * latency)
            if (error := rest - left * left / number) < best:
                best, at = error, place
        constant = squares - total * total / number
        if constant - best < self._evidence**2 * max(VARIANCE, best / (number - 2)):
            return None
        above = [group for group in groups if group[0] > at + WELL_ABOVE]
        many = sum(count for _, count, _ in above)
        few = sum(count for where, count, _ in groups if where <= at + STEP)
        if many < ABOVE or few < 2 or self._error_of_a_step(total, squares) < BETTER * max(best, VARIANCE * number):
            return None
        latency = sum(group[2] for group in above) / many
        rise = sum(where * count for where, count, _ in above) / many - at
        return Knee(math.exp(at + ROUNDING), rise, latency)

    def _groups(self) -> list[tuple[float, int, float]]:
        """
        Return calls of about as many under way, put together: the mean logarithm of that number, how many they are, and
        the sum of the logarithms of their seconds.
        """
        sums: dict[int, tuple[float, int, float]] = {}
        for where, latency in self._calls:
            step = round(where / STEP)
            all_where, count, all_latency = sums.get(step, (0.0, 0, 0.0))
            sums[step] = (all_where + where, count + 1, all_latency + latency)
        return [(where / count, count, latency) for _, (where, count, latency) in sorted(sums.items())]

    def _error_of_a_step(self, total: float, squares: float) -> float:
        """
        Return what is left unexplained of the latencies if they rose or fell once, between two calls.
        """
        number, before, best = len(self._calls), 0.0, math.inf
        for count, (_, latency) in enumerate(self._calls):
            if count:
                after = total - before
                best = min(best, squares - before * before / count - after * after / (number - count))
            before += latency
        return best
