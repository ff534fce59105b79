"""
The same calls to a provider, made in three ways: all at once, so many at once, and as many as it turns out to allow.

Meant to be read, and free of HTTP: `call` is any function of an item that raises when the provider has no room.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeAlias

from antichain import Adaptive, Retry, amap

__all__ = ["Answers", "Call", "adaptive", "fixed", "unbounded"]

Call: TypeAlias = Callable[[int], Awaitable[str]]
# In the order of the items; in the place of what was lost, its last error.
Answers: TypeAlias = list[str | BaseException]


async def unbounded(call: Call, items: Sequence[int], retry: Retry, seed: int = 0) -> Answers:
    """
    Make all calls at once, by hand; each is tried as often, and after such pauses, as *retry* says.
    """
    chance = Random(seed)

    async def tried(item: int) -> str:
        for attempt in range(1, retry.attempts):
            try:
                return await call(item)
            except Exception as error:
                if not retry.retryable(error):
                    raise
                asked = float(getattr(error, "retry_after", None) or 0)
                await asyncio.sleep(max(asked, retry.backoff.delay(attempt, chance)))
        return await call(item)

    return await asyncio.gather(*map(tried, items), return_exceptions=True)


async def fixed(call: Call, items: Sequence[int], retry: Retry, size: int, seed: int = 0) -> Answers:
    """
    Make *size* calls at once, by hand; a call that pauses before another attempt does not count.
    """
    gate = asyncio.Semaphore(size)

    async def gated(item: int) -> str:
        async with gate:
            return await call(item)

    return await unbounded(gated, items, retry, seed)


async def adaptive(call: Call, items: Sequence[int], retry: Retry, limit: Adaptive, seed: int = 0) -> Answers:
    """
    Make as many calls at once as *limit* finds out that the provider allows.
    """
    outcomes = await amap(call, items, uses="llm", limits={"llm": limit}, retry=retry, seed=seed, outcomes=True)
    return [outcome.value if outcome.error is None else outcome.error for outcome in outcomes]
