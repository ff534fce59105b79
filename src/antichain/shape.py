"""
What a plan hands to the core: a graph as integers, without names, functions or values.

Lists indexed by node, so that arrays can grow while a run goes on. Nothing here decides anything about a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag

from antichain.policies.failure import Join
from antichain.policies.retry import Retry
from antichain.policies.timeout import Timeout

__all__ = ["INDEX_MASK", "Flag", "Shape", "order", "order_key", "rank", "shape_of"]

INDEX_BITS = 32
SUCCESSOR_BITS = 24
REMAINING_BITS = 50
INDEX_MASK = (1 << INDEX_BITS) - 1
SUCCESSOR_MAX = (1 << SUCCESSOR_BITS) - 1
REMAINING_MAX = (1 << REMAINING_BITS) - 1
PRIORITY_SHIFT = REMAINING_BITS + SUCCESSOR_BITS + INDEX_BITS
REMAINING_SHIFT = SUCCESSOR_BITS + INDEX_BITS
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
    # Direct neighbours, each once, in definition order. Invariant: v in downstream[u] exactly if u in upstream[v].
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
    # Start edges: leader -> nodes that may start once it has started (a mapped stage over a mapped stage).
    followers: dict[int, list[int]] = field(default_factory=dict)


def order_key(priority: int, remaining: float, successors: int, index: int) -> int:
    """
    Pack the order among ready nodes into one integer; smaller starts first, and the low 32 bits are the node.

    From high to low: priority, longest remaining path in microseconds, number of successors, definition order.
    """
    left = int(remaining * 1e6) if remaining < REMAINING_MAX / 1e6 else REMAINING_MAX
    after = min(successors, SUCCESSOR_MAX)
    return (
        (-priority << PRIORITY_SHIFT)
        | ((REMAINING_MAX - left) << REMAINING_SHIFT)
        | ((SUCCESSOR_MAX - after) << INDEX_BITS)
        | index
    )


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
    keys = [
        order_key(urgency, left, len(after), node)
        for node, (urgency, left, after) in enumerate(zip(priority, remaining, downstream, strict=True))
    ]
    for leader, nodes in followers.items():
        keys[leader] = order_key(priority[leader], remaining[leader], len(downstream[leader]) + len(nodes), leader)
    return keys


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
    for node in shape.timeout:
        shape.flags[node] |= Flag.TIMED
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
