"""
What always holds of limits that open by time, checked against the core: who comes first passes first, nobody waits who
could start, and time is never waited for without a timer. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from antichain.core.capacity import AdaptiveSlots
from antichain.core.timers import LIMIT_OPENS

if TYPE_CHECKING:
    from antichain.core.scheduler import Scheduler

__all__ = ["Line"]


class Line:
    """
    Keep books of who waits for rates since when, looking at every node that could start.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        # Since when each ready node waits, from what the signals said.
        self.since: dict[int, float] = {}
        # Nodes of which nobody has said what they take.
        self.unweighed: set[int] = set()

    def amounts(self, node: int, name: str, weight: int) -> Mapping[str, float]:
        """
        Return what an attempt of *node* takes of the rate *name*.
        """
        given = self._scheduler.amounts.get(node, {})
        return given[name] if name in given else self._scheduler.rates[name].limit.plain(weight)

    def rates_of(self, node: int) -> list[tuple[str, int]]:
        """
        List the rates that an attempt of *node* passes, with its weights.
        """
        scheduler = self._scheduler
        demand = scheduler.demand_of(scheduler.demand[node])
        return [(name, weight) for name, weight in demand if name in scheduler.rates]

    def first(self, nodes: Collection[int]) -> dict[str, int]:
        """
        Find who has waited longest for each rate among *nodes*, whose count limits fit.
        """
        scheduler = self._scheduler
        found: dict[str, tuple[float, int, int]] = {}
        for node in nodes:
            place = (self.since[node], scheduler.key[node], node)
            for name, _ in self.rates_of(node):
                if name not in found or place < found[name]:
                    found[name] = place
        return {name: node for name, (_, _, node) in found.items()}

    def may_pass(self, node: int, first: Mapping[str, int], now: float) -> bool:
        """
        Tell whether *node* may start as far as rates go.
        """
        for name, weight in self.rates_of(node):
            if first[name] != node or self._opens_at(node, name, weight, now) > now:
                return False
        return True

    def _opens_at(self, node: int, name: str, weight: int, now: float) -> float:
        rate = self._scheduler.rates[name]
        return rate.opens_at(self.since[node], self.amounts(node, name, weight), now)

    def is_open(self, name: str, weight: int, now: float) -> bool:
        """
        Tell whether an adaptive limit lets attempts start that fit; True of any other.
        """
        slots = self._scheduler.limits[name]
        return not isinstance(slots, AdaptiveSlots) or slots.adaptive.opens_at(now, weight) <= now

    def unwatched(self, first: Mapping[str, int], paused: Collection[str], now: float) -> str | None:
        """
        Name a limit that will open by time, for which somebody waits and no timer is set in time.
        """
        scheduler = self._scheduler
        watched = set(scheduler.timers_of(LIMIT_OPENS))
        for name, node in first.items():
            rate = scheduler.rates[name]
            opens_at = self._opens_at(node, name, dict(self.rates_of(node))[name], now)
            if now < opens_at < float("inf") and (rate.number not in watched or rate.alarm_at > opens_at):
                return name
        for name in paused:
            slots = scheduler.limits[name]
            if isinstance(slots, AdaptiveSlots) and slots.number not in watched:
                return name
        return None
