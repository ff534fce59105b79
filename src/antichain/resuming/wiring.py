"""
What the header of a run says of its graph: enough to say later, in words, what has changed.

It is read from a store, so nothing in it is believed before it has been checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from antichain.errors import StoreDamaged
from antichain.plan import Plan
from antichain.policies import Join
from antichain.resuming.wired import is_keyed, is_mapped, subplan_of, version_of, wired
from antichain.runnable import CallKind
from antichain.shape import Flag, with_start_edges

__all__ = ["Level", "describe_wiring", "read_wiring"]

# Nodes and edges, and characters of ids, up to which a graph is described; of larger ones only the name is.
DESCRIBED: Final = 60_000
CHARACTERS: Final = 800_000
# What each letter stands for.
KINDS: Final = {"n": "a plain node", "g": "a graph", "p": "a map", "k": "a map with key="}
JOINS: Final = tuple(join.name.lower() for join in Join)


class Line(NamedTuple):
    """
    One node, as a graph had it.
    """

    upstream: tuple[str, ...]
    # See KINDS.
    kind: str
    # See `wired`.
    how: str
    join: str
    has_condition: bool
    version: str
    # The graph inside.
    inside: Level | None


class Level:
    """
    One graph, as a run had it; nodes by id.
    """

    __slots__ = ("_downstream", "nodes")

    def __init__(self, nodes: dict[str, Line]) -> None:
        self.nodes = nodes
        self._downstream: dict[str, set[str]] | None = None

    def downstream(self, name: str) -> set[str]:
        """
        Return the ids of the nodes right behind a node.
        """
        if self._downstream is None:
            self._downstream = {}
            for after, line in self.nodes.items():
                for before in line.upstream:
                    self._downstream.setdefault(before, set()).add(after)
        return self._downstream.get(name, set())


def describe_wiring(plan: Plan) -> dict[str, Any]:
    """
    Return how the nodes of *plan* are wired, as plain data for the header of a run: about 30 bytes a node and its id.

    Of a graph with more than 60,000 nodes and edges only the name is told.
    """
    plans = _all_plans(plan)
    size = sum(each.shape.count + sum(map(len, each.shape.upstream)) for each in plans)
    if size > DESCRIBED or sum(map(_characters, plans)) > CHARACTERS:
        return {"name": plan.name}
    number = {id(each): index for index, each in enumerate(plans)}
    return {"name": plan.name, "graphs": [_described(each, number) for each in plans]}


def _characters(plan: Plan) -> int:
    return sum(map(len, plan.ids)) + sum([len(node.policies.version) for node in plan.nodes if node.policies.version])


def _all_plans(plan: Plan) -> list[Plan]:
    found, seen = [plan], {id(plan)}
    for each in found:  # grows while it is read
        for node in range(each.shape.count) if CallKind.GENERAL in each.kinds else ():
            inside = subplan_of(each, node)
            if inside is not None and id(inside) not in seen:
                seen.add(id(inside))
                found.append(inside)
    return found


def _described(plan: Plan, number: Mapping[int, int]) -> list[Any]:
    shape, how = plan.shape, wired(plan)
    before_all, _ = with_start_edges(shape)
    wires = [list(before) for before in before_all]
    if _is_ordinary(plan):
        return [list(plan.ids), wires, "n" * shape.count, " ".join(how), []]
    kinds, special = [], []
    for node in range(shape.count):
        inside = subplan_of(plan, node)
        kinds.append("k" if is_keyed(plan, node) else "p" if is_mapped(plan, node) else "g" if inside else "n")
        what = [
            JOINS[shape.join[node]],
            bool(shape.flags[node] & _WHEN),
            version_of(plan, node),
            -1 if inside is None else number[id(inside)],
        ]
        if what != _ORDINARY:
            special.append([node, *what])
    return [list(plan.ids), wires, "".join(kinds), " ".join(how), special]


def _is_ordinary(plan: Plan) -> bool:
    """
    Tell whether a plan has nothing but nodes of which nothing special has to be told: they are not looked at one by
    one.
    """
    shape = plan.shape
    if CallKind.GENERAL in plan.kinds or any(shape.join) or shape.flags.translate(None, _WITHOUT_CONDITION):
        return False
    special = [node for node in plan.nodes if node.policies.version or node.mapped]
    return not special


_ORDINARY: Final = [JOINS[0], False, "", -1]
# A plain number: flags are looked at for every node.
_WHEN: Final = int(Flag.WHEN)
# Flag bytes of nodes without a condition.
_WITHOUT_CONDITION: Final = bytes(flags for flags in range(256) if not flags & _WHEN)


def read_wiring(wiring: object) -> tuple[str, Level | None]:
    """
    Return the name of a graph and how its nodes were wired, if that was told.

    Raises:
        StoreDamaged: *wiring* is nothing that describe_wiring() made.
    """
    if wiring in (None, {}):
        return "", None
    try:
        if not isinstance(wiring, Mapping):
            raise TypeError
        name = _text(wiring.get("name", ""))
        return name, _read_graphs(wiring["graphs"]) if "graphs" in wiring else None
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        text = "how the graph of this run was wired cannot be read: it is damaged, or was not written by this library"
        raise StoreDamaged(f"{text}. Start a new run.") from error


def _read_graphs(graphs: Any) -> Level:  # Any: whatever was in the store
    levels = [Level({}) for _ in graphs]
    for level, (ids, upstream, kinds, how, special) in zip(levels, graphs, strict=True):
        digests = how.split(" ") if ids else []
        others = {node: what for node, *what in special}
        for node, (name, before, kind, digest) in enumerate(zip(ids, upstream, kinds, digests, strict=True)):
            join, has_condition, version, inside = others.get(node, _ORDINARY)
            if join not in JOINS or kind not in KINDS or _text(name) in level.nodes or min(before, default=0) < 0:
                raise ValueError
            level.nodes[name] = Line(
                tuple([ids[each] for each in before]),
                kind,
                digest,
                join,
                bool(has_condition),
                _text(version),
                # Not negative by accident: -1 says that there is none.
                levels[inside] if inside >= 0 else None,
            )
    return levels[0]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
