"""
What is wrong with a graph as a whole: limits, resources, ids that collide, and cycles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from antichain.errors import SHOWN_FAULTS, Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.plan.blueprint import Blueprint
from antichain.policies import as_size
from antichain.policies.limits import is_limit
from antichain.runnable import EMPTY, describe

__all__ = ["graph_faults", "cycle_faults"]

# A cycle's path is shown up to so many names.
SHOWN_CYCLE: Final = 20


def graph_faults(blueprint: Blueprint, nodes: Sequence[Node[..., Any]], index: dict[str, int]) -> Iterator[Fault]:
    """
    Say what is wrong beside the nodes themselves, where *nodes* are those of a plan.
    """
    yield from _size_faults(blueprint)
    yield from _collisions(blueprint, nodes, index)
    yield from _resource_faults(blueprint)


def _size_faults(blueprint: Blueprint) -> Iterator[Fault]:
    for name, size in blueprint.limits.items():
        if not _is_name(name):
            why = "is not the name of a limit: names are texts, and not empty"
            yield Fault("bad-limit", f"limits= of graph {blueprint.name!r}: {shown(name)} {why}.")
        elif not is_limit(size):
            try:
                as_size(name, size)
            except GraphError as error:
                yield from error.faults


def _is_name(given: object) -> bool:
    return isinstance(given, str) and bool(given)


def _collisions(blueprint: Blueprint, nodes: Sequence[Node[..., Any]], index: dict[str, int]) -> Iterator[Fault]:
    # Ids are never parsed, so that what a container brings in could collide only with what looks the same.
    suspects: list[str] | None = None
    for node in nodes:
        if node.mapped is not None:
            if suspects is None:
                suspects = [name for name in index if name.endswith("]")]
            for other in suspects:
                if other.startswith(f"{node.id}["):
                    yield _collision(other, node.id, f"an instance of the map {node.id!r} may have that id")
        elif isinstance(node.runnable, Graph):
            subplan = blueprint.subplans.get(id(node.runnable))
            for name in subplan.ids if subplan is not None else ():
                other = f"{node.id}/{name}"
                if other in index:
                    yield _collision(other, node.id, f"node {name!r} inside {node.id!r} has that id")


def _collision(name: str, container: str, why: str) -> Fault:
    text = f"node {name!r} collides: {why}. Give one of them another id."
    return Fault("id-collision", text, name, (name, container))


def _resource_faults(blueprint: Blueprint) -> Iterator[Fault]:
    for name, function in blueprint.resources.items():
        described = describe(function)
        for parameter in described.parameters if described is not None else ():
            if parameter.default is EMPTY:
                why = "but a resource is opened without arguments: give the parameter a default, or remove it"
                text = f"resource {name!r} has the parameter {parameter.name!r}, {why}."
                yield Fault("unbound-parameter", text)


# -- cycles


def cycle_faults(
    nodes: Sequence[Node[..., Any]],
    upstream: Sequence[Sequence[int]],
    downstream: Sequence[Sequence[int]],
    sequence: Sequence[int],
) -> Iterator[Fault]:
    """
    Show cycles among the nodes that are missing in *sequence*, in which each node comes after its upstream.
    """
    left = bytearray(b"\x01") * len(nodes)
    for node in sequence:
        left[node] = 0
    for cycle in _cycles(upstream, downstream, left):
        names = [nodes[node].id for node in cycle]
        path = " → ".join(repr(name) for name in [*names, names[0]][:SHOWN_CYCLE])
        more = f" → … ({len(names)} nodes)" if len(names) >= SHOWN_CYCLE else ""
        text = f"these nodes wait for each other: {path}{more}. Remove one of the dependencies."
        yield Fault("cycle", text, names[0], tuple(names))


def _cycles(
    upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]], left: bytearray
) -> Iterator[list[int]]:
    """
    Yield short cycles that share no node, until the nodes that are *left* have none, or enough were shown.
    """
    start = 0
    for _ in range(SHOWN_FAULTS):
        _peel(upstream, downstream, left)
        start = left.find(1, start)
        if start < 0:
            return
        cycle = _shortest_cycle(downstream, left, _on_cycle(upstream, left, start))
        yield cycle
        for node in cycle:
            left[node] = 0


def _peel(upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]], left: bytearray) -> None:
    """
    Clear the nodes in *left* that are on no cycle because nothing left comes before them.
    """
    missing = {node: sum(left[before] for before in upstream[node]) for node, is_left in enumerate(left) if is_left}
    free = [node for node, number in missing.items() if not number]
    for node in free:
        left[node] = 0
        for after in downstream[node]:
            if left[after]:
                missing[after] -= 1
                if not missing[after]:
                    free.append(after)


def _on_cycle(upstream: Sequence[Sequence[int]], left: bytearray, node: int) -> int:
    # Each node left has one left before it: going back long enough comes round.
    seen = set()
    while node not in seen:
        seen.add(node)
        node = next(before for before in upstream[node] if left[before])
    return node


def _shortest_cycle(downstream: Sequence[Sequence[int]], left: bytearray, start: int) -> list[int]:
    came_from = {start: start}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for after in downstream[node]:
            if after == start:
                path = [node]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if left[after] and after not in came_from:
                came_from[after] = node
                queue.append(after)
    raise AssertionError("a node on a cycle comes round")
