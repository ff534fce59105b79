"""
Bodies for nodes that remember when they ran, and two executors that do it wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from antichain.testing import virtual_time

T = TypeVar("T")
# name -> (seconds, upstream names)
Work = dict[str, tuple[float, list[str]]]


class Probe:
    """What ran when, on the clock of the loop; seconds count from the first look at it."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.in_flight = 0
        self.most = 0
        self.most_tasks = 0
        self._zero: float | None = None

    def now(self) -> float:
        time = asyncio.get_running_loop().time()
        if self._zero is None:
            self._zero = time
        return round(time - self._zero, 6)

    def body(self, name: str, seconds: float = 0.0, *, fails: BaseException | None = None) -> Callable[..., Any]:
        """A body that takes what it gets by name, and returns its own name with that."""

        async def body(**outputs: Any) -> Any:
            self.started[name] = self.now()
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
            try:
                await asyncio.sleep(seconds)
                if fails is not None:
                    raise fails
            except asyncio.CancelledError:
                if fails is None:
                    self.cancelled.append(name)
                raise
            finally:
                self.in_flight -= 1
                self.ended[name] = self.now()
            return (name, outputs) if outputs else name

        return body

    def overlap(self, first: str, second: str) -> bool:
        return self.started[first] < self.ended[second] and self.started[second] < self.ended[first]

    @property
    def order(self) -> list[str]:
        return list(self.started)

    @property
    def makespan(self) -> float:
        return max(self.ended.values())


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* on a loop whose clock jumps."""
    with virtual_time() as clock:
        return clock.run(main)


Bodies = dict[str, tuple[Callable[..., Awaitable[Any]], list[str]]]


async def one_by_one(bodies: Bodies, limit: int | None) -> dict[str, Any]:
    """Planted: correct, and not parallel at all."""
    outputs: dict[str, Any] = {}
    while len(outputs) < len(bodies):
        for name, (body, upstream) in bodies.items():
            if name not in outputs and all(each in outputs for each in upstream):
                outputs[name] = await body(**{each: outputs[each] for each in upstream})
    return outputs


async def in_waves(bodies: Bodies, limit: int | None) -> dict[str, Any]:
    """Planted: what the recipes did. Everything that is ready, then a barrier; a failure waits for its wave."""
    outputs: dict[str, Any] = {}
    slots = asyncio.Semaphore(limit or len(bodies))

    async def run(name: str) -> Any:
        body, upstream = bodies[name]
        async with slots:
            return await body(**{each: outputs[each] for each in upstream})

    while len(outputs) < len(bodies):
        wave = [
            name
            for name, (_, upstream) in bodies.items()
            if name not in outputs and all(each in outputs for each in upstream)
        ]
        values = await asyncio.gather(*map(run, wave), return_exceptions=True)
        for value in values:
            if isinstance(value, BaseException):
                raise value
        outputs.update(zip(wave, values, strict=True))
    return outputs


def chains() -> Work:
    """100+300 ms beside 300+100 ms: 400 ms, in waves 600."""
    return {"a1": (0.1, []), "b1": (0.3, []), "a2": (0.3, ["a1"]), "b2": (0.1, ["b1"])}


def lattice() -> Work:
    """8 chains of 8 nodes of 5 ms, one of 100 ms at another depth in each: 135 ms, in waves 800."""
    return {
        f"{chain}.{depth}": (0.1 if chain == depth else 0.005, [f"{chain}.{depth - 1}"] if depth else [])
        for chain in range(8)
        for depth in range(8)
    }
