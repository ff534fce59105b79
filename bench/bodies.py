"""
What the nodes do: the same bodies for antichain and for the hand-written runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.workloads import Workload


class Gauge:
    """
    Counts how many bodies are in flight, and the most there ever were.
    """

    def __init__(self) -> None:
        self.now = self.most = 0


async def nothing() -> None:
    return None


def nothing_sync() -> None:
    return None


async def suspend_once() -> None:
    await asyncio.sleep(0)


def sleeper(seconds: float, gauge: Gauge) -> Callable[[], Awaitable[None]]:
    async def body() -> None:
        gauge.now += 1
        gauge.most = max(gauge.most, gauge.now)
        await asyncio.sleep(seconds)
        gauge.now -= 1

    return body


def sleeper_sync(seconds: float) -> Callable[[], None]:
    def body() -> None:
        time.sleep(seconds)

    return body


def bodies(work: Workload, gauge: Gauge) -> list[Callable[..., Any]]:
    if work.sleeps is None:
        return [nothing] * len(work)
    if not any(work.sleeps):
        return [suspend_once] * len(work)
    return [sleeper(seconds, gauge) for seconds in work.sleeps]


def bodies_sync(work: Workload) -> list[Callable[..., Any]]:
    if work.sleeps is None:
        return [nothing_sync] * len(work)
    return [sleeper_sync(seconds) for seconds in work.sleeps]
