"""
What a plan hands to the core: a graph as integers, without names, functions or values.

Lists indexed by node, so that arrays can grow while a run goes on. Nothing here decides anything about a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from itertools import pairwise
from typing import NamedTuple

from antichain.policies.failure import Join
from antichain.policies.limits import Amounts
from antichain.policies.retry import Retry
from antichain.policies.timeout import Timeout

__all__ = [
    "INDEX_MASK",
    "NO_PLACE",
    "Flag",
    "Place",
    "Shape",
    "after_of",
    "critical_path_of",
    "depth_of",
    "item_order",
    "levels_of",
    "order",
    "order_key",
    "packed_key",
    "rank",
    "shape_of",
    "waiting_of",
    "width_of",
    "with_start_edges",
]

INDEX_BITS = 32
TIE_BITS = 38
REMAINING_BITS = 50
INDEX_MASK = (1 << INDEX_BITS) - 1
TIE_MAX = (1 << TIE_BITS) - 1
SUCCESSOR_MAX = (1 << 24) - 1
REMAINING_MAX = (1 << REMAINING_BITS) - 1
PRIORITY_SHIFT = REMAINING_BITS + TIE_BITS + INDEX_BITS
REMAINING_SHIFT = TIE_BITS + INDEX_BITS
# Of the tie of what belongs to an item of a mapped stage: the low bits say how far along in its item it is.
ITEM_BITS = 14
ITEM_MAX = (1 << ITEM_BITS) - 1
# What a node without cost= counts for: with no costs at all, the remaining path is the number of hops.
DEFAULT_COST = 1.0


class Flag(IntFlag):
    """
    Tell the core what kinds of nodes it deals with.
    """

    # Asks a predicate before it starts.
    WHEN = 1
    # A nested graph or a map: charges no slot, its children do.
    CONTAINER = 2
    # An attempt cannot be interrupted.
    THREAD = 4
    FALLBACK = 8
    # An attempt of unknown outcome may run again.
    REPEAT_SAFE = 16
    # Has a timeout.
    TIMED = 32
    RETRY = 64


@dataclass(slots=True)
class Shape:
    """
    Hold a graph as the core sees it; every list is indexed by node.
    """

    count: int = 0
    # Direct neighbours, each once: upstream as written, downstream in definition order.
    # Invariant: v in downstream[u] exactly if u in upstream[v].
    upstream: list[Sequence[int]] = field(default_factory=list)
    downstream: list[list[int]] = field(default_factory=list)
    # Endings (and starts of leaders) that must come before the join rule holds.
    waiting: list[int] = field(default_factory=list)
    join: bytearray = field(default_factory=bytearray)
    # Index into demands. Containers have 0.
    demand: list[int] = field(default_factory=list)
    # Each distinct set of (limit name, weight), names sorted. Invariant: demands[0] == ().
    demands: list[tuple[tuple[str, int], ...]] = field(default_factory=lambda: [()])
    flags: bytearray = field(default_factory=bytearray)
    # order_key(...) of each node: smaller starts first.
    key: list[int] = field(default_factory=list)
    # Effective: at least that of every descendant.
    priority: list[int] = field(default_factory=list)
    # Seconds on the longest path from the start of the node to the end of the graph.
    remaining: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    # Only the nodes that have one.
    retry: dict[int, Retry] = field(default_factory=dict)
    timeout: dict[int, Timeout] = field(default_factory=dict)
    # Whether one of those limits how long a node waits for its slots.
    limits_waits: bool = False
    # What nodes take of rates, where that is more than a number of calls; and the nodes whose inputs tell.
    amounts: dict[int, Amounts] = field(default_factory=dict)
    weighed: frozenset[int] = frozenset()
    # Start edges: leader -> nodes that may start once it has started (a mapped stage over a mapped stage).
    followers: dict[int, list[int]] = field(default_factory=dict)


def order_key(priority: int, remaining: float, successors: int, index: int) -> int:
    """
    Pack the order among ready nodes into one integer; smaller starts first, and the low 32 bits are the node.

    From high to low: priority, longest remaining path in microseconds, number of successors, definition order.
    """
    return packed_key(priority, remaining, TIE_MAX - min(successors, SUCCESSOR_MAX), index)


def packed_key(priority: int, remaining: float, tie: int, index: int) -> int:
    """
    Pack the same for a node that came while the run went on, whose *tie* (smaller first) is said by who brought it.

    Nodes of a plan have the highest ties: what has begun goes on before something new begins.
    """
    left = int(remaining * 1e6) if remaining < REMAINING_MAX / 1e6 else REMAINING_MAX
    return (
        (-priority << PRIORITY_SHIFT)
        | ((REMAINING_MAX - left) << REMAINING_SHIFT)
        | ((tie if tie < TIE_MAX else TIE_MAX) << INDEX_BITS)
        | index
    )


def item_order(position: int, remaining: float, line: float) -> int:
    """
    Return the tie of a node that belongs to the item at *position*: earlier items first, so that what has begun is
    finished before something new begins; and in one item, what has the longer *remaining* path.

    Args:
        position: of the item in its stage.
        remaining: seconds on the longest path from the start of the node.
        line: seconds on the longest path of a whole item.
    """
    done = 0 if remaining >= line else int((1 - remaining / line) * ITEM_MAX)
    return position << ITEM_BITS | done


class Place(NamedTuple):
    """
    Say how urgent is what a container brings, beside what else there is to do.
    """

    # Seconds of path that follow the container.
    after: float = 0.0
    # Of what belongs to an item of a mapped stage: the path of a whole item, and where this one comes among the others.
    line: float = 0.0
    position: int = 0

    def of(self, remaining: float, local: int) -> tuple[float, int]:
        """
        Return the remaining path of node *local*, behind whose start there are *remaining* seconds in the container,
        and its tie.
        """
        remaining += self.after
        line = self.line
        if not line:
            return remaining, local
        # All nodes of all items are equally urgent, so that the item decides: an earlier one is finished first.
        done = 0 if remaining >= line else int((1 - remaining / line) * ITEM_MAX)  # see item_order
        return line, self.position << ITEM_BITS | done


# That of what no container has brought.
NO_PLACE = Place()


def order(upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]) -> Sequence[int]:
    """
    List the nodes so that each comes after its upstream; nodes on a cycle, and what follows them, are left out.
    """
    if _is_sorted(upstream):
        return range(len(upstream))
    missing = [len(nodes) for nodes in upstream]
    found = [node for node, number in enumerate(missing) if not number]
    for node in found:  # grows while it is read
        for after in downstream[node]:
            missing[after] -= 1
            if not missing[after]:
                found.append(after)
    return found


def _is_sorted(upstream: Sequence[Sequence[int]]) -> bool:
    # Most graphs are written in an order that works: then nothing needs sorting.
    for node, nodes in enumerate(upstream):
        for before in nodes:
            if before >= node:
                return False
    return True


def rank(shape: Shape, sequence: Sequence[int]) -> None:
    """
    Fill ``priority`` (inherited from descendants), ``remaining`` and ``key``; *sequence* lists the nodes in order.

    ``priority`` must hold each node's own priority, and ``cost`` its cost.
    """
    upstream, downstream, cost, priority = shape.upstream, shape.downstream, shape.cost, shape.priority
    leaders = _leaders(shape)
    # Until a node is reached, the longest path behind it.
    remaining = [0.0] * shape.count
    has_priorities = any(priority)
    for node in reversed(sequence):
        remaining[node] = left = remaining[node] + cost[node]
        before_node = upstream[node]
        if leaders and node in leaders:
            before_node = [*before_node, *leaders[node]]
        for before in before_node:
            if remaining[before] < left:
                remaining[before] = left
        if has_priorities:
            urgency = priority[node]
            for before in before_node:
                if priority[before] < urgency:
                    priority[before] = urgency
    shape.remaining = remaining
    shape.key = _keys(priority, remaining, downstream, shape.followers)


def _leaders(shape: Shape) -> dict[int, list[int]]:
    leaders: dict[int, list[int]] = {}
    for leader, nodes in shape.followers.items():
        for node in nodes:
            leaders.setdefault(node, []).append(leader)
    return leaders


def _keys(
    priority: Sequence[int],
    remaining: Sequence[float],
    downstream: Sequence[Sequence[int]],
    followers: dict[int, list[int]],
) -> list[int]:
    # order_key of each node, written out: a call for each of a million nodes takes a tenth of the time to plan them.
    most = REMAINING_MAX / 1e6
    keys = [
        (
            (
                (-urgency << REMAINING_BITS | REMAINING_MAX - (int(left * 1e6) if left < most else REMAINING_MAX))
                << TIE_BITS
            )
            | (TIE_MAX - (len(after) if len(after) < SUCCESSOR_MAX else SUCCESSOR_MAX))
        )
        << INDEX_BITS
        | node
        for node, (urgency, left, after) in enumerate(zip(priority, remaining, downstream, strict=True))
    ]
    for leader, nodes in followers.items():
        keys[leader] = order_key(priority[leader], remaining[leader], len(downstream[leader]) + len(nodes), leader)
    return keys


def after_of(shape: Shape, node: int) -> float:
    """
    Return the seconds of path that follow a node: what it contains is at least as urgent.
    """
    following = [*shape.downstream[node], *shape.followers.get(node, ())]
    return max((shape.remaining[after] for after in following), default=0.0)


def waiting_of(join: int, upstream: int, leaders: int = 0) -> int:
    """
    Count what must come before the join rule holds, for a node with that many *upstream* nodes and *leaders*.
    """
    return (min(1, upstream) if join == Join.ANY else upstream) + leaders


def shape_of(
    upstream: Sequence[Sequence[int]],
    *,
    join: Sequence[int] | None = None,
    demand: Sequence[tuple[tuple[str, int], ...]] | None = None,
    flags: Sequence[int] | None = None,
    priority: Sequence[int] | None = None,
    cost: Sequence[float] | None = None,
    retry: dict[int, Retry] | None = None,
    timeout: dict[int, Timeout] | None = None,
    followers: dict[int, list[int]] | None = None,
    amounts: dict[int, Amounts] | None = None,
    weighed: frozenset[int] = frozenset(),
) -> Shape:
    """
    Make a complete shape from the neighbours and the policies of its nodes, for tests and simulations.

    Raises:
        ValueError: there is a cycle.
    """
    count = len(upstream)
    shape = Shape(
        count=count,
        upstream=[tuple(dict.fromkeys(nodes)) for nodes in upstream],
        downstream=[[] for _ in range(count)],
        join=bytearray(join or count),
        flags=bytearray(flags or count),
        priority=list(priority or [0] * count),
        cost=list(cost or [DEFAULT_COST] * count),
        retry=dict(retry or {}),
        timeout=dict(timeout or {}),
        followers=dict(followers or {}),
        amounts=dict(amounts or {}),
        weighed=weighed,
    )
    for node, nodes in enumerate(shape.upstream):
        for before in nodes:
            shape.downstream[before].append(node)
    known: dict[tuple[tuple[str, int], ...], int] = {(): 0}
    for wanted in demand or [()] * count:
        shape.demand.append(known.setdefault(wanted, len(known)))
    shape.demands = list(known)
    leaders = _leaders(shape)
    for node in range(count):
        shape.waiting.append(waiting_of(shape.join[node], len(shape.upstream[node]), len(leaders.get(node, ()))))
    for node in shape.retry:
        shape.flags[node] |= Flag.RETRY
    for node, policy in shape.timeout.items():
        shape.flags[node] |= Flag.TIMED
        shape.limits_waits = shape.limits_waits or policy.queue is not None
    before_all, after_all = with_start_edges(shape)
    sequence = order(before_all, after_all)
    if len(sequence) < count:
        raise ValueError("the graph has a cycle")
    rank(shape, sequence)
    return shape


def with_start_edges(shape: Shape) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
    """
    Return the upstream and downstream lists of *shape* with the start edges among them, for what only needs the order.
    """
    if not shape.followers:
        return shape.upstream, shape.downstream
    upstream: list[Sequence[int]] = list(shape.upstream)
    downstream: list[Sequence[int]] = list(shape.downstream)
    for leader, nodes in shape.followers.items():
        downstream[leader] = [*downstream[leader], *nodes]
        for node in nodes:
            upstream[node] = [*upstream[node], leader]
    return upstream, downstream


# -- what a shape says about its graph


def levels_of(shape: Shape) -> list[int]:
    """
    Return the level of each node: the longest distance from a source, in edges.
    """
    upstream, downstream = with_start_edges(shape)
    levels = [0] * shape.count
    for node in order(upstream, downstream):
        for before in upstream[node]:
            if levels[before] >= levels[node]:
                levels[node] = levels[before] + 1
    return levels


def depth_of(shape: Shape) -> int:
    """
    Return the number of nodes on the longest path.
    """
    return max(levels_of(shape), default=-1) + 1


def critical_path_of(shape: Shape) -> list[int]:
    """
    Return the nodes on the longest path by cost; among equals the first by definition.
    """
    if not shape.count:
        return []
    remaining = shape.remaining
    _, downstream = with_start_edges(shape)
    node = max(range(shape.count), key=lambda each: (remaining[each], -each))
    path = [node]
    while downstream[node]:
        node = max(downstream[node], key=lambda each: (remaining[each], -each))
        path.append(node)
    return path


# Up to so many nodes and edges the width is exact.
EXACT_WIDTH = 20_000


def width_of(shape: Shape) -> int:
    """
    Return the size of the largest antichain; in graphs above EXACT_WIDTH, that of the largest level, which is one.
    """
    if not shape.count:
        return 0
    sizes: dict[int, int] = {}
    for level in levels_of(shape):
        sizes[level] = sizes.get(level, 0) + 1
    at_least = max(sizes.values())
    if shape.count + sum(map(len, shape.upstream)) > EXACT_WIDTH:
        return at_least
    return _Cover(shape).shrink(at_least)


class _Cover:
    """
    Cover all nodes with as few chains as possible: by Dilworth's theorem, as many as the largest antichain has nodes.

    Chains are a flow through the graph, at least 1 through each node. One chain less is a way, in the residual graph,
    from where a chain ends to where one begins.
    """

    def __init__(self, shape: Shape) -> None:
        self.upstream = shape.upstream
        self.downstream = shape.downstream
        # Chains along each edge, by its end and its start; through each node; that begin and that end there.
        self.flow: list[dict[int, int]] = [{} for _ in range(shape.count)]
        self.through = [1] * shape.count
        self.begins = [1] * shape.count
        self.ends = [1] * shape.count
        self.chains = shape.count
        for node in order(self.upstream, self.downstream):
            for before in self.upstream[node]:
                if self.ends[before]:
                    self.ends[before] = self.begins[node] = 0
                    self.flow[node][before] = 1
                    self.chains -= 1
                    break

    def shrink(self, at_least: int) -> int:
        """
        Remove chains until there is no way to, or only *at_least* are left; return how many that are.
        """
        improved = True
        while improved and self.chains > at_least:
            improved = False
            # A state is 2 * node (before the node) or 2 * node + 1 (behind it). What led nowhere in this pass still
            # leads nowhere: the last pass, which improves nothing, sees every state afresh.
            seen = bytearray(2 * len(self.through))
            for node, ends in enumerate(self.ends):
                if ends and not seen[2 * node + 1] and self._improve(2 * node + 1, seen):
                    improved = True
        return self.chains

    def _improve(self, start: int, seen: bytearray) -> bool:
        seen[start] = 1
        path = [(start, iter(self._next(start)))]
        while path:
            state, following = path[-1]
            if not state & 1 and self.begins[state >> 1]:
                self._apply([each for each, _ in path])
                return True
            for after in following:
                if not seen[after]:
                    seen[after] = 1
                    path.append((after, iter(self._next(after))))
                    break
            else:
                path.pop()
        return False

    def _next(self, state: int) -> list[int]:
        node = state >> 1
        if state & 1:
            found = [2 * after for after in self.downstream[node]]
            if self.through[node] > 1:
                found.append(2 * node)
            return found
        return [2 * node + 1, *(2 * before + 1 for before, flow in self.flow[node].items() if flow)]

    def _apply(self, path: list[int]) -> None:
        self.ends[path[0] >> 1] -= 1
        self.begins[path[-1] >> 1] -= 1
        self.chains -= 1
        for state, after in pairwise(path):
            here, there = state >> 1, after >> 1
            if here == there:
                self.through[here] += 1 if after & 1 else -1
            elif state & 1:
                self.flow[there][here] = self.flow[there].get(here, 0) + 1
            else:
                self.flow[here][there] -= 1
