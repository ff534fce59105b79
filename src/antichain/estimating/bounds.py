"""
How short a run could be at best: what no order of starts can beat.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from antichain.estimating.points import Points
from antichain.policies import SharedRate

__all__ = ["Bound", "Bounds"]

# Instants at which heads and tails are looked at: up to so many of each, so that a bound takes time in proportion to
# the number of nodes.
GRID: Final = 150
# Sums of the same seconds in another order differ in the last digits.
ROUNDING: Final = 1e-9
NO_RATES: Final[Mapping[str, SharedRate]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Bound:
    """
    Say what no order of starts can beat, and why: None for the longest path, "max_concurrent", or the name of a limit.
    """

    seconds: float
    by: str | None


class Bounds:
    """
    Answer how short a run could be with so many slots and limits of these sizes.

    The largest of: the longest path; and of all attempts together, and of those that use each limit: what could start
    at *head* at the earliest and leaves at least *tail* to come runs between them, so that the run takes at least head
    + tail + its work / size. For all heads and tails (head and tail 0 give work / size). Of a rate that lets so much
    pass in so many seconds, what needs k times as much starts over (k - 1) times as long.
    """

    def __init__(self, points: Points) -> None:
        head, tail, seconds = points.head, points.tail, points.seconds
        self.longest_path = max(map(sum, zip(head, seconds, tail, strict=True)), default=0.0)
        charged = [point for point in range(len(head)) if not points.is_free[point]]
        self._slots = _profile([head[i] for i in charged], [tail[i] for i in charged], [seconds[i] for i in charged])
        self._points = points
        # Nodes with their weights, by limit.
        self._users = users = dict[str, list[tuple[int, int]]]()
        for point in charged:
            for name, weight in points.demand[point]:
                users.setdefault(name, []).append((point, weight))
        self._limits = {
            name: _profile(
                [head[i] for i, _ in of_limit],
                [tail[i] for i, _ in of_limit],
                [weight * seconds[i] for i, weight in of_limit],
            )
            for name, of_limit in users.items()
        }

    def of(self, slots: int | None, sizes: Mapping[str, int], rates: Mapping[str, SharedRate] = NO_RATES) -> Bound:
        """
        Return the bound; limits that neither *sizes* nor *rates* names count for nothing.
        """
        found = [*self._candidates(slots, sizes), *self._of_rates(rates)]
        seconds = max(each.seconds for each in found)
        by = next(each.by for each in found if each.seconds >= seconds * (1 - ROUNDING))
        return Bound(seconds, by)

    def _candidates(self, slots: int | None, sizes: Mapping[str, int]) -> Iterator[Bound]:
        yield Bound(self.longest_path, None)
        if slots is not None:
            yield Bound(_most(self._slots, slots), "max_concurrent")
        for name, profile in self._limits.items():
            if name in sizes:
                yield Bound(_most(profile, sizes[name]), name)

    def _of_rates(self, rates: Mapping[str, SharedRate]) -> Iterator[Bound]:
        head, tail, seconds = self._points.head, self._points.tail, self._points.seconds
        for name, users in self._users.items():
            rate = rates.get(name)
            if rate is None:
                continue
            total = dict.fromkeys(rate.units, 0.0)
            for point, weight in users:
                given = self._points.amounts.get(point, {})
                amounts = given[name] if name in given else rate.plain(weight)
                for unit, amount in amounts.items():
                    total[unit] += amount
            windows = max(math.ceil(total[unit] / rate.units[unit] * (1 - ROUNDING)) for unit in total)
            first = min(head[point] for point, _ in users)
            last = min(seconds[point] + tail[point] for point, _ in users)
            yield Bound(first + (windows - 1) * rate.per + last, name)


def _most(profile: Sequence[tuple[float, float]], size: int) -> float:
    return max((around + work / size for around, work in profile), default=0.0)


def _profile(head: Sequence[float], tail: Sequence[float], work: Sequence[float]) -> list[tuple[float, float]]:
    """
    Return (head + tail, work of what starts no earlier and leaves no less) for pairs of heads and tails; without those
    that say less than another.
    """
    heads, tails = _grid(head), _grid(tail)
    # First the work at exactly this place of the grid, then that of all places behind it as well.
    sums = [[0.0] * (len(tails) + 1) for _ in range(len(heads) + 1)]
    for before, after, amount in zip(head, tail, work, strict=True):
        sums[bisect_right(heads, before) - 1][bisect_right(tails, after) - 1] += amount
    for row in range(len(heads) - 1, -1, -1):
        here, behind = sums[row], sums[row + 1]
        so_far = 0.0
        for column in range(len(tails) - 1, -1, -1):
            so_far += here[column]
            here[column] = so_far + behind[column]
    pairs = [
        (before + after, sums[row][column]) for row, before in enumerate(heads) for column, after in enumerate(tails)
    ]
    pairs.sort(reverse=True)
    front: list[tuple[float, float]] = []
    most = 0.0
    for around, amount in pairs:
        if amount > most:
            front.append((around, amount))
            most = amount
    return front


def _grid(instants: Sequence[float]) -> list[float]:
    distinct = sorted(set(instants))
    if len(distinct) <= GRID:
        return distinct
    last = len(distinct) - 1
    return sorted({distinct[step * last // (GRID - 1)] for step in range(GRID)})
