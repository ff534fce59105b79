"""
What a run that is kept waits for outside of its nodes' ends: that something is durable before it happens, and that all
of it is at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from antichain.errors import StoreError
from antichain.tasks import in_thread

if TYPE_CHECKING:
    from antichain.driver import Driver

__all__ = ["announce", "close_journal", "told"]

# What somebody may say of an attempt of which nobody knows what became; see `journal`.
GIVE_UP: Final = "fail"


async def announce(driver: Driver, node: int, attempt: int) -> None:
    """
    Make sure that it is known that an attempt has started, before it has.
    """
    keeping = driver.keeping
    assert keeping is not None
    verdict = keeping.verdict(node)
    if verdict is None:
        driver.lending.leave_open(node, attempt, keeping.doubt(node))
        raise asyncio.CancelledError
    if verdict == GIVE_UP:
        raise keeping.given_up(node)
    await told(driver, partial(keeping.announce, node, attempt))


async def told(driver: Driver, ask: Callable[[Callable[[BaseException | None], object]], object]) -> None:
    """
    Wait for what the store says to *ask*.
    """
    said: asyncio.Future[None] = driver.loop.create_future()

    def tell(error: BaseException | None) -> None:
        if error is not None:
            driver.store_failed(error)
        if not said.done():
            if error is None:
                said.set_result(None)
            else:
                said.set_exception(error)

    ask(tell)
    await said


async def close_journal(driver: Driver, status: str) -> None:
    """
    Wait until all that has happened is durable, and let others have the run.
    """
    keeping = driver.keeping
    assert keeping is not None
    if keeping.telling is not None:
        keeping.telling.stop()
    done: asyncio.Future[None] = driver.loop.create_future()

    def end(error: BaseException | None) -> None:
        driver.store_error = driver.store_error or error
        if not done.done():
            done.set_result(None)

    if driver.store_error is None:
        keeping.conclude(status, end)
        await done
    try:
        await in_thread(driver.loop, keeping.journal.release)
    except StoreError as error:
        driver.store_error = driver.store_error or error
