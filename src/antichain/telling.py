"""
Let others know what a run that is kept waits for: about once a second, while it goes on, its store is told. What is
told is advice: nothing waits for it, nothing follows from it, and it is gone when the run ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from antichain.core.standing import lines, open_capacities, running
from antichain.stores.standing import VERSION, digest_of

if TYPE_CHECKING:
    from antichain.driver import Driver
    from antichain.journal import RunJournal

__all__ = ["Telling", "standing_of"]

logger = logging.getLogger("antichain.journal")

# Seconds between two looks, and after which a store is told again although nothing has changed: whoever reads sees by
# it that the run is alive.
INTERVAL: Final = 1.0
REPEATED: Final = 2.0
# Nodes that are named, of those that run and of those that wait.
MOST_NAMES: Final = 256
# Demands of planned nodes, each of which is a number of one byte, and bytes that these take together.
MOST_DEMANDS: Final = 256
MOST_BYTES: Final = 65_536
# A clock that differs from the wall clock's pace by more seconds since the last look was set anew, or slept.
ANOTHER_CLOCK: Final = 0.5


class Telling:
    """
    Tell the store of one run, from its event loop.

    A run that ends within a second tells nothing.
    """

    def __init__(self, driver: Driver, journal: RunJournal) -> None:
        self._driver = driver
        self._journal = journal
        self._handle: asyncio.TimerHandle | None = None
        # What was told last, and when; and how far the wall clock is ahead of the run's.
        self._told: dict[str, Any] | None = None
        self._told_at = -math.inf
        self._ahead = math.nan

        # What the planned nodes want, once somebody has to be told.
        self._planned: list[Any] | None = None

    def start(self) -> None:
        """
        Look in a second, and then every second; on a clock that is not the real one, never.
        """
        # Where time jumps from timer to timer, one more would keep it from standing still where all wait for nothing.
        if self._journal.can_tell and abs(self._driver.clock() - time.monotonic()) < INTERVAL:
            self._handle = self._driver.loop.call_later(INTERVAL, self._look)

    def stop(self) -> None:
        """
        Look no more; may be called twice.
        """
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def _look(self) -> None:
        if self._handle is None:
            return
        try:
            self.tell()
        except Exception as error:  # noqa: BLE001  # a store of somebody's, or a limit: the run goes on without being told of
            logger.debug("run %r: what it waits for is not told: %s", self._driver.run_id, error)
            self._handle = None
            return
        self._handle = self._driver.loop.call_later(INTERVAL, self._look)

    def tell(self) -> None:
        """
        Tell what the run waits for now, if that has changed, or was told long ago.

        Raises:
            Exception: whatever the store, or a limit of somebody's, raises.
        """
        now, wall = self._driver.clock(), time.time()
        if not abs(wall - now - self._ahead) < ANOTHER_CLOCK:
            self._ahead = wall - now
        told = standing_of(self._driver, now, self._ahead)
        if sum([count > len(first) for _, count, first in told["waiting"]]) > 1:
            # Of a node that is not named it could not be told for which of them it waits.
            if self._planned is None:
                self._planned = _demands_of(self._driver)
            told["planned"] = self._planned
        if told == self._told and now - self._told_at < REPEATED:
            return
        self._journal.tell({**told, "at": wall})
        self._told, self._told_at = told, now


def standing_of(driver: Driver, now: float, ahead: float) -> dict[str, Any]:  # Any: plain data
    """
    Say what the nodes of a run wait for, as `stores.standing` reads it: all but when that was. By so many seconds is
    the wall clock *ahead* of the run's.
    """
    core, name_of = driver.core, driver.name_of
    waiting = lines(core, MOST_NAMES)
    names = dict.fromkeys(name for line in waiting for name, _ in line.uses)
    count, nodes = running(core, MOST_NAMES)

    def instant(at: float | None) -> float | None:
        return None if at is None or not math.isfinite(at) else round(at + ahead, 3)

    return {
        "version": VERSION,
        "planned": None,
        "limits": [
            [
                each.name,
                each.kind,
                each.used,
                each.size,
                instant(each.paused_until),
                instant(each.opens_at),
                each.per,
                [list(unit) for unit in each.units],
            ]
            for each in open_capacities(core, list(names), now)
        ],
        "waiting": [
            [
                [list(use) for use in line.uses],
                line.number,
                [[name_of(node), instant(core.ready_at[node]) or 0.0] for node in line.first],
            ]
            for line in waiting
        ],
        "running": [
            count,
            [[name_of(node), core.attempts[node], instant(core.attempt_started_at(node)) or 0.0] for node in nodes],
        ],
    }


def _demands_of(driver: Driver) -> list[Any]:
    """
    Say what each planned node wants, if that takes little room: their numbers, the demands, a digest of their names.
    """
    plan = driver.plan
    demands = plan.shape.demands
    numbers = b"" if len(demands) > MOST_DEMANDS else b64encode(zlib.compress(bytes(plan.shape.demand), 1))
    if not numbers or len(numbers) > MOST_BYTES:
        return []
    return [numbers.decode(), [[list(use) for use in uses] for uses in demands], digest_of(plan.ids)]
