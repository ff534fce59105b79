"""
The same plan with expected seconds for its nodes: only the order among ready nodes, and estimates, come out otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from antichain.binding import Binding
from antichain.errors import Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.plan.plan import Plan
from antichain.policies.timeout import seconds
from antichain.shape import order, rank, with_start_edges

__all__ = ["with_costs"]


def with_costs(plan: Plan, durations: Mapping[str, float]) -> Plan:
    """
    Return *plan* with expected seconds for nodes without ``cost=``; see Plan.with_costs.
    """
    _check(plan, durations)
    # Each comes before the plans inside it, and is made after them: graphs may be nested deeper than Python recurses.
    parts = [_Part(plan, durations)]
    for part in parts:  # grows while it is read
        part.inside = {local: _Part(_subplan(part.plan, local), known) for local, known in part.known_inside.items()}
        parts += part.inside.values()
    for part in reversed(parts):
        part.make()
    made = parts[0].made
    made._redraw = partial(_redraw, plan, dict(durations))
    return made


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
        self.own: dict[int, float] = {}
        self.known_inside: dict[int, dict[str, float]] = {}
        self.inside: dict[int, _Part] = {}
        for name, expected in durations.items():
            local = plan.index.get(name)
            if local is None:
                self._look_inside(name, expected)
            elif plan.nodes[local].policies.cost is None:
                self.own[local] = float(expected)

    def _look_inside(self, name: str, expected: float) -> None:
        # Ids may have slashes themselves.
        at = name.rfind("/")
        while at > 0:
            local = self.plan.index.get(name[:at])
            if local is not None and isinstance(self.plan.nodes[local].runnable, Graph):
                self.known_inside.setdefault(local, {})[name[at + 1 :]] = expected
                return
            at = name.rfind("/", 0, at)

    def make(self) -> None:
        """
        Make the plan, once those inside it are made.
        """
        plan, shape = self.plan, self.plan.shape
        cost, arguments = shape.cost.copy(), plan.arguments.copy()
        for local, expected in self.own.items():
            cost[local] = expected
        for local, part in self.inside.items():
            arguments[local] = _with_subplan(arguments[local], part.made)
            if plan.nodes[local].policies.cost is None:
                cost[local] = max(part.made.shape.remaining, default=0.0)
        for local, expected in self.own.items():
            if plan.nodes[local].mapped is not None:
                arguments[local] = _with_instance_cost(arguments[local], expected)
        # Priorities have been handed on to ancestors before: to do so again changes nothing.
        ranked = replace(shape, cost=cost, priority=shape.priority.copy())
        rank(ranked, order(*with_start_edges(ranked)))
        self.made = copy.copy(plan)
        self.made.shape, self.made.arguments = ranked, arguments


def _subplan(plan: Plan, local: int) -> Plan:
    binding: Binding = plan.arguments[local]
    inside = binding.subplan if binding.map is None else binding.map.binding.subplan
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
