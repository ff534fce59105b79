"""
Reading a plan to its end where nothing has to be waited for.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from antichain.agents.plans.formats import read_steps


def read(source: Any, *args: Any, **options: Any) -> list[Any]:
    """All that is found in a source that never waits; no loop is needed for that."""

    async def collect() -> list[Any]:
        return [found async for found in read_steps(source, *args, **options)]

    reading = collect()
    while True:
        try:
            reading.send(None)
        except StopIteration as end:
            found: list[Any] = end.value
            return found


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is run in a loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run
