"""
A run that was played to its end, as one graph of nodes with seconds, whatever it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from antichain.core.scheduler import Scheduler
from antichain.policies import Amounts, Join
from antichain.shape import Flag, order

__all__ = ["Points", "points_of"]

Demand = tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Points:
    """
    A run in which nothing failed, with all that came while it went on, as one graph of nodes with seconds.

    A container is two points that take no time and no slot: its start, and (behind the nodes of the run) its end. So is
    what an `any` node waits for.
    """

    # The nodes of the run come first, by their index there.
    upstream: list[Sequence[int]]
    seconds: list[float]
    demand: list[Demand]
    # What a node takes of rates, where units are named.
    amounts: Mapping[int, Amounts]
    # Charges no slot.
    is_free: bytearray
    # One of its upstream is enough.
    is_any: bytearray
    downstream: list[list[int]] = field(default_factory=list)
    sequence: Sequence[int] = ()
    # When each could start at the earliest, and what is at least to come after its end.
    head: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)

    def add(self, upstream: Sequence[int], *, is_any: bool = False) -> int:
        """
        Add a point without time and slot.
        """
        self.upstream.append(upstream)
        self.seconds.append(0.0)
        self.demand.append(())
        self.is_free.append(1)
        self.is_any.append(is_any)
        return len(self.upstream) - 1

    def finish(self) -> None:
        """
        Fill what follows from the rest.
        """
        upstream, seconds = self.upstream, self.seconds
        downstream: list[list[int]] = [[] for _ in upstream]
        for point, before in enumerate(upstream):
            for each in before:
                downstream[each].append(point)
        self.sequence = order(upstream, downstream)
        head, tail = [0.0] * len(upstream), [0.0] * len(upstream)
        for point in self.sequence:
            before = upstream[point]
            if before:
                ends = [head[each] + seconds[each] for each in before]
                head[point] = min(ends) if self.is_any[point] else max(ends)
        for point in reversed(self.sequence):
            if self.is_any[point]:  # none of those before it is needed for sure
                continue
            left = seconds[point] + tail[point]
            for each in upstream[point]:
                if tail[each] < left:
                    tail[each] = left
        self.downstream, self.head, self.tail = downstream, head, tail


def points_of(scheduler: Scheduler, seconds: Callable[[int], float]) -> Points:
    """
    Return the graph of a run that *scheduler* has played to its end; *seconds* says how long each node took.
    """
    flags, count = scheduler.flags, len(scheduler.state)
    nodes = range(count)
    # What has not run took nothing either.
    is_free = bytearray(flags[node] & Flag.CONTAINER != 0 or not scheduler.attempts[node] for node in nodes)
    points = Points(
        upstream=list(scheduler.upstream),
        seconds=[0.0 if is_free[node] else seconds(node) for node in nodes],
        demand=[scheduler.demand_of(scheduler.demand[node]) for node in nodes],
        amounts=scheduler.amounts,
        is_free=is_free,
        is_any=bytearray(count),
    )
    if 1 in is_free:
        _add_ends(scheduler, points, count)
    for node in nodes:
        if scheduler.join[node] == Join.ANY and len(scheduler.upstream[node]) > 1:
            enough = len(scheduler.upstream[node])
            first = points.add(points.upstream[node][:enough], is_any=True)
            points.upstream[node] = [first, *points.upstream[node][enough:]]
    points.finish()
    return points


def _add_ends(scheduler: Scheduler, points: Points, count: int) -> None:
    """
    Let what follows a container follow its end, and what is in it its start. A stage over a stage needs no more: its
    instances follow those that feed them.
    """
    members: dict[int, list[int]] = {node: [] for node in range(count) if scheduler.flags[node] & Flag.CONTAINER}
    for node, group in scheduler.group_of.items():
        if group.owner >= 0:
            members[group.owner].append(node)
    ends = {container: points.add(()) for container in members}
    for node in range(count):
        points.upstream[node] = [ends.get(each, each) for each in scheduler.upstream[node]]
    for container, inside in members.items():
        points.upstream[ends[container]] = [container, *(ends.get(each, each) for each in inside)]
        for node in inside:
            points.upstream[node] = [*points.upstream[node], container]
