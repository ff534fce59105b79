"""
The same plan with expected seconds for its nodes: only the order among ready nodes, and estimates, come out otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from antichain.binding import Binding
from antichain.errors import Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.plan.plan import Plan
from antichain.policies.timeout import seconds
from antichain.shape import Flag, order, rank, with_start_edges

__all__ = ["with_costs"]


# An unknown node counts as long as that part of the known ones take less. On published graphs of which a tenth of the
# nodes were unknown, the runs took 1.8 (rgpos) and 2.6 % (wfcommons) longer than the optimum or a bound of it with it,
# 2.4 and 5.0 % with the mean, 3.5 and 5.7 % with the median: what is started too early costs less than what is started
# too late.
UNKNOWN: Final = 0.9


def with_costs(plan: Plan, durations: Mapping[str, float]) -> Plan:
    """
    Return *plan* with expected seconds for its nodes; see Plan.with_costs.
    """
    _check(plan, durations)
    parts = _parts(plan, durations)
    known = sorted(each for part in parts for each in part.known())
    filling = known[int(UNKNOWN * len(known))] if any(part.own for part in parts) else None
    # Each comes after the plans inside it: graphs may be nested deeper than Python recurses.
    for part in parts:
        part.make(filling)
    made = parts[-1].made
    made._redraw = partial(_redraw, plan, dict(durations))
    return made


def _parts(plan: Plan, durations: Mapping[str, float]) -> list[_Part]:
    """
    Return the plan and all plans inside it, each after those inside it; one that stands in several places, and of which
    nothing is known, once.
    """
    found: list[_Part] = []
    blank: dict[int, _Part] = {}
    stack = [_Part(plan, durations)]
    while stack:
        part = stack[-1]
        if part.is_listed:
            stack.pop()
            continue
        inside = []
        for local in part.containers:
            if local not in part.inside:
                subplan, known = _subplan(part.plan, local), part.known_inside.get(local)
                if known:
                    part.inside[local] = _Part(subplan, known)
                else:
                    part.inside[local] = blank.setdefault(id(subplan), _Part(subplan, {}))
            if not part.inside[local].is_listed:
                inside.append(part.inside[local])
        if inside:
            stack += inside
        else:
            part.is_listed = True
            found.append(stack.pop())
    return found


def _check(plan: Plan, durations: Mapping[str, float]) -> None:
    faults = []
    for name, given in durations.items():
        try:
            seconds("cost", given, zero=True)
        except GraphError:
            text = f"durations has {shown(given)} for {name!r}: give seconds as a number, not below 0."
            faults.append(Fault("bad-policy", text, name, (name,)))
    if faults:
        raise GraphError(faults, plan.name)


class _Part:
    """
    The plan of one graph, what is known of its nodes, and of those of the graphs inside it.
    """

    def __init__(self, plan: Plan, durations: Mapping[str, float]) -> None:
        self.plan = plan
        self.made = plan
        # What is known of its own nodes, and of those inside, by the id there.
        self.own: dict[int, float] = {}
        self.known_inside: dict[int, dict[str, float]] = {}
        # Nodes that are graphs, or maps of graphs.
        self.containers: list[int] = [
            local
            for local, flags in enumerate(plan.shape.flags)
            if flags & Flag.CONTAINER and _inner(plan, local) is not None
        ]
        self.inside: dict[int, _Part] = {}
        self.is_listed = False
        for name, expected in durations.items():
            local = plan.index.get(name)
            if local is None:
                self._look_inside(name, expected)
            else:
                self.own[local] = float(expected)
        for local in self.containers:
            # How long it took counts what waited inside it; what it contains is known better.
            self.own.pop(local, None)

    def _look_inside(self, name: str, expected: float) -> None:
        # Ids may have slashes themselves.
        at = name.rfind("/")
        while at > 0:
            local = self.plan.index.get(name[:at])
            if local is not None and isinstance(self.plan.nodes[local].runnable, Graph):
                self.known_inside.setdefault(local, {})[name[at + 1 :]] = expected
                return
            at = name.rfind("/", 0, at)

    def known(self) -> Iterator[float]:
        """
        Yield the seconds of nodes that are known, or that their author expects.
        """
        for local, node in enumerate(self.plan.nodes):
            expected = self.own.get(local, node.policies.cost)
            if expected is not None and local not in self.inside:
                yield float(expected)

    def make(self, filling: float | None) -> None:
        """
        Make the plan, once those inside it are made; *filling* is what counts for a node of which nothing is known.
        """
        plan, shape = self.plan, self.plan.shape
        cost, arguments = shape.cost.copy(), plan.arguments.copy()
        expected = self.own
        if filling is not None:
            unknown = {local: filling for local, node in enumerate(plan.nodes) if node.policies.cost is None}
            expected = unknown | self.own
        for local, each in expected.items():
            cost[local] = each
        for local, part in self.inside.items():
            arguments[local] = _with_subplan(arguments[local], part.made)
            if plan.nodes[local].policies.cost is None or local in self.known_inside:
                cost[local] = max(part.made.shape.remaining, default=0.0)
        for local, node in enumerate(plan.nodes):
            if node.mapped is not None and (local in expected or local in self.known_inside):
                arguments[local] = _with_instance_cost(arguments[local], cost[local])
        # Priorities have been handed on to ancestors before: to do so again changes nothing.
        ranked = replace(shape, cost=cost, priority=shape.priority.copy())
        rank(ranked, order(*with_start_edges(ranked)))
        self.made = copy.copy(plan)
        self.made.shape, self.made.arguments = ranked, arguments


def _inner(plan: Plan, local: int) -> Plan | None:
    binding: Binding = plan.arguments[local]
    return binding.subplan if binding.map is None else binding.map.binding.subplan


def _subplan(plan: Plan, local: int) -> Plan:
    inside = _inner(plan, local)
    assert inside is not None
    return inside


def _with_subplan(binding: Binding, subplan: Plan) -> Binding:
    changed = copy.copy(binding)
    if changed.map is None:
        changed.subplan = subplan
    else:
        instance = copy.copy(changed.map.binding)
        instance.subplan = subplan
        changed.map = changed.map._replace(binding=instance)
    return changed


def _with_instance_cost(binding: Binding, expected: float) -> Binding:
    assert binding.map is not None
    changed = copy.copy(binding)
    changed.map = binding.map._replace(policies=replace(binding.map.policies, cost=expected))
    return changed


def _redraw(
    plan: Plan,
    durations: Mapping[str, float],
    targets: Iterable[str | Node[..., Any]] | None,
    outputs: Collection[str],
) -> tuple[Plan, list[Fault]]:
    drawn, faults = plan._redraw(targets, outputs)
    return (drawn if faults else with_costs(drawn, durations)), faults
