"""
A provider in this process, for statistics in virtual time: it knows nothing of the limits that are measured against it,
and tests/test_capacity_provider.py holds it against `antichain.testing.FakeProvider`, which is slower and real.
"""

import asyncio
import math
from dataclasses import dataclass, field
from random import Random


class TooMany(Exception):  # noqa: N818  # reads as a state
    """
    A 429, in the form in which a client's error says it.
    """

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("429: too many requests in flight")
        self.status = 429
        self.retry_after = retry_after


@dataclass
class SimulatedProvider:
    """
    Serve *allowed* calls at once and refuse whoever comes on top, fast; write down what happened.

    How long a call is served is log-normal with the mean *latency*, a function of the seed and the item: the same for
    every strategy that is measured, whatever the order. On its way, there and back, a call is for *trip* seconds.
    """

    allowed: int
    retry_after: float | None = None
    seed: int = 0
    latency: float = 0.2
    spread: float = 0.5
    trip: float = 0.01
    # Calls that have arrived, and when those were refused that were.
    calls: int = 0
    refused: list[float] = field(default_factory=list)
    # Calls that are served now; invariant: at most `allowed`. And whenever that changed, what it became.
    in_flight: int = 0
    changes: list[tuple[float, int]] = field(default_factory=list)

    async def call(self, item: int) -> str:
        """
        Be called by a client: return an answer.

        Raises:
            TooMany: as many as are allowed are being served.
        """
        await asyncio.sleep(self.trip / 2)
        self.calls += 1
        if self.in_flight >= self.allowed:
            self.refused.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self.trip / 2)
            raise TooMany(self.retry_after)
        self._serve(+1)
        try:
            await asyncio.sleep(self.seconds(item))
        finally:
            self._serve(-1)
        await asyncio.sleep(self.trip / 2)
        return f"answer {item}"

    def seconds(self, item: int) -> float:
        """
        Return how long the call with that item is served.
        """
        drawn = Random(f"{self.seed}/{item}").gauss(-(self.spread**2) / 2, self.spread)
        return self.latency * math.exp(drawn)

    def _serve(self, change: int) -> None:
        self.in_flight += change
        self.changes.append((asyncio.get_running_loop().time(), self.in_flight))
