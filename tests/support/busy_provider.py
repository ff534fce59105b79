"""
A provider that allows so many calls at once, and a client with a limit: a discrete-event model in a heap of its own,
which knows nothing of the library but the five methods of a limit.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol


class ModelLimit(Protocol):
    """What the client asks before it starts a call, and tells after one has ended."""

    def acquire(self, weight: int, now: float) -> bool: ...
    def opens_at(self, now: float) -> float: ...
    def succeeded(self, started_at: float, now: float) -> None: ...
    def overloaded(self, started_at: float, now: float, retry_after: float | None) -> None: ...
    def release(self, weight: int = 1) -> None: ...


class Semaphore:
    """Allow so many calls, whatever happens: with the provider's own number, the oracle."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def acquire(self, weight: int, now: float) -> bool:
        if self.used + weight > self.size:
            return False
        self.used += weight
        return True

    def opens_at(self, now: float) -> float:
        return now

    def succeeded(self, started_at: float, now: float) -> None:
        pass

    def overloaded(self, started_at: float, now: float, retry_after: float | None) -> None:
        pass

    def release(self, weight: int = 1) -> None:
        self.used -= weight


@dataclass(frozen=True)
class Provider:
    """Serve at most `allowed` calls at once, and refuse the others at once."""

    # How many at an instant.
    allowed: Callable[[float], int]
    # What a refusal asks to wait, in seconds.
    retry_after: float | None = None
    # Latency: log-normal around the mean, cut off on both sides.
    mean: float = 0.2
    sigma: float = 0.5
    shortest: float = 0.05
    longest: float = 0.5
    # Seconds from the client to the provider, and back.
    way: float = 0.005

    def latencies(self, calls: int, seed: int) -> list[float]:
        """How long each call takes, whoever makes it and however often."""
        rng = Random(f"latency {seed}")
        middle = math.log(self.mean) - self.sigma**2 / 2
        drawn = (rng.lognormvariate(middle, self.sigma) for _ in range(calls))
        return [min(self.longest, max(self.shortest, latency)) for latency in drawn]


@dataclass
class Ended:
    """What became of all calls."""

    seconds: float = 0.0
    refusals: int = 0
    lost: int = 0
    # The most refusals in any tenth of a second.
    refused_at: list[float] = field(default_factory=list)
    started_at: list[float] = field(default_factory=list)


ARRIVES, LEAVES, ANSWERED, REFUSED, READY, OPENS = range(6)


def play(
    limit: ModelLimit,
    provider: Provider,
    calls: int = 400,
    seed: int = 0,
    attempts: int = 8,
    backoff: Callable[[int, Random], float] = lambda attempt, rng: rng.uniform(0, min(60.0, 0.1 * 2 ** (attempt - 1))),
) -> Ended:
    """
    Make all calls, each up to *attempts* times, as one client that is held back by *limit* alone.
    """
    latencies = provider.latencies(calls, seed)
    rng = Random(f"backoff {seed}")
    ended = Ended()
    ready = list(range(calls))
    tries = [0] * calls
    begun = [0.0] * calls
    events: list[tuple[float, int, int, int]] = []
    served = 0
    sequence = 0
    now = 0.0
    alarm = math.inf

    def at(instant: float, kind: int, call: int) -> None:
        nonlocal sequence
        sequence += 1
        heapq.heappush(events, (instant, sequence, kind, call))

    def start() -> None:
        nonlocal alarm
        while ready:
            if not limit.acquire(1, now):
                opens = limit.opens_at(now)
                if now < opens < alarm:
                    alarm = opens
                    at(opens, OPENS, -1)
                return
            call = heapq.heappop(ready)
            tries[call] += 1
            begun[call] = now
            ended.started_at.append(now)
            at(now + provider.way, ARRIVES, call)

    start()
    while events:
        now, _, kind, call = heapq.heappop(events)
        if kind == ARRIVES:
            if served < provider.allowed(now):
                served += 1
                at(now + latencies[call], LEAVES, call)
            else:
                at(now + provider.way, REFUSED, call)
        elif kind == LEAVES:
            served -= 1
            at(now + provider.way, ANSWERED, call)
        elif kind == ANSWERED:
            limit.succeeded(begun[call], now)
            limit.release(1)
            ended.seconds = now
        elif kind == REFUSED:
            ended.refusals += 1
            ended.refused_at.append(now)
            limit.overloaded(begun[call], now, provider.retry_after)
            limit.release(1)
            if tries[call] == attempts:
                ended.lost += 1
            else:
                at(now + max(provider.retry_after or 0.0, backoff(tries[call], rng)), READY, call)
        elif kind == READY:
            heapq.heappush(ready, call)
        else:
            alarm = math.inf
        start()
    assert not ready, "calls wait for a limit that never opens"
    return ended


def steady(allowed: int) -> Callable[[float], int]:
    """Always allow so many."""
    return lambda now: allowed


def changing(steps: Sequence[tuple[float, int]]) -> Callable[[float], int]:
    """Allow so many from an instant on."""
    return lambda now: next(allowed for since, allowed in reversed(steps) if since <= now)
