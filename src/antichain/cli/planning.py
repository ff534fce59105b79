"""
`antichain plan`: the graph of a file is checked and looked at; nothing of it runs.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from antichain.binding import Binding
from antichain.cli.endings import SUCCEEDED, emit
from antichain.cli.given import Named, limits_of, open_named, sizes_of
from antichain.cli.places import NOWHERE, Place
from antichain.errors import GraphError, StoreError
from antichain.loading import UsageError
from antichain.plan import Plan, check_inputs, plan_inside, prepare
from antichain.policies import AdaptiveLimit, LimitValue, SharedRate, check_options
from antichain.shape import EXACT_WIDTH
from antichain.simulation import estimates, sizes_of_limits
from antichain.views.plan_text import Forecast, LimitUse, Outlook, outlook_text

__all__ = ["Request", "plan"]

# Faults that only a run has.
OF_A_RUN: Final = ("missing-input", "option-is-input")
# Numbers of slots that are looked at unless others are asked for, up to the width; and fewer of a large graph, of
# which each takes a fraction of a second.
SLOTS: Final = (1, 2, 4, 8, 16, 32)
FEW_SLOTS: Final = (1, 8, 64)
LARGE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Request:
    """
    What `antichain plan` was asked for, as typed.
    """

    target: str
    values: Sequence[str] = ()
    slots: str | None = None
    limits: Sequence[str] = ()
    as_json: bool = False
    debug: bool = False
    # Where earlier runs are kept, that tell how long the nodes take.
    place: Place = NOWHERE
    # Look for a better order of starts too.
    improve: bool = False


def plan(request: Request) -> int:
    """
    Check what was asked for and show its outlook; return the exit code.

    Raises:
        UsageError: the graph is wrong.
    """
    slots = None if request.slots is None else sizes_of(request.slots)
    limits = limits_of(request.limits)
    named = open_named(request.target, request.values)
    try:
        plan = _checked(named, limits)
        measured = _measured(request.place, plan)
        plan = plan.with_costs(measured) if measured else plan
        outlook = _outlook(plan, slots, {**(plan.options.get("limits") or {}), **limits}, improve=request.improve)
        if measured:
            unmeasured = sum(not part.is_container for part in _parts(plan)) - len(measured)
            where = str(request.place)
            outlook = replace(outlook, measured=len(measured), unmeasured=unmeasured, measured_in=where)
    except GraphError as error:
        raise UsageError(str(error)) from error
    if request.as_json:
        emit(json.dumps({**outlook.to_dict(), "nodes": list(_nodes(plan))}, indent=2))
    else:
        emit(outlook_text(outlook))
    return SUCCEEDED


def _checked(named: Named, limits: dict[str, int]) -> Plan:
    """
    Plan the graph for a run with *limits* whose missing inputs are still to come.

    Raises:
        GraphError: everything else that is wrong, at once.
    """
    graph, plan = named.graph, None
    try:
        plan = plan_inside(graph)
    except GraphError as error:
        faults = list(error.faults)
    else:
        sizes = {**(plan.options.get("limits") or {}), **limits}
        faults = [*check_options({"limits": limits}), *plan.check_limits(sizes), *check_inputs(plan, named.inputs)]
    faults = [fault for fault in faults if fault.code not in OF_A_RUN]
    if plan is not None and not faults:
        return plan
    try:
        # The graph, its limits and the inputs are looked at together only there.
        prepare(graph, named.inputs, {"limits": limits} if limits else {})
    except GraphError as error:
        faults = [fault for fault in error.faults if fault.code not in OF_A_RUN]
    raise GraphError(faults, graph.name)


def _measured(place: Place, plan: Plan) -> dict[str, float]:
    """
    Return how many seconds the nodes of *plan* took in earlier runs; a store that nobody has named may be missing, or
    unreadable.

    Raises:
        UsageError: there is no such store. StoreError: it cannot be read.
    """
    if not place.spec or (place.said_by != "option" and place.is_file and not Path(place.spec).is_file()):
        return {}
    from antichain.cli.storing import opened  # most plans are of graphs that no store has seen
    from antichain.resuming.history import durations

    try:
        with opened(place) as store:
            found = durations(store, plan.name)
    except StoreError:
        if place.said_by == "option":
            raise
        return {}
    names = {part.name for part in _parts(plan) if not part.is_container}
    return {name: seconds for name, seconds in found.items() if name in names}


def _outlook(
    plan: Plan, slots: Sequence[int] | None, limits: dict[str, LimitValue], *, improve: bool = False
) -> Outlook:
    shape = plan.shape
    parts = list(_parts(plan))
    users = Counter(name for part in parts for name, _ in part.demand)
    sizes = sizes_of_limits(plan, limits)
    given = plan.limits_with(limits)
    width = plan.width
    edges = sum(map(len, shape.upstream))
    chosen = _slots(plan, width) if slots is None else slots
    found = zip(chosen, estimates(plan, chosen, limits=limits, improve=improve), strict=True)
    return Outlook(
        name=plan.name,
        node_count=len(plan),
        inner_count=sum(part.is_inner for part in parts),
        maps=[part.name for part in parts if part.is_map],
        edge_count=edges + sum(map(len, shape.followers.values())),
        width=width,
        is_width_exact=len(plan) + edges <= EXACT_WIDTH,
        depth=plan.depth,
        critical_path=plan.critical_path,
        critical_seconds=max(shape.remaining, default=0.0),
        has_costs=any(node.policies.cost is not None for node in plan.nodes),
        inputs=plan.inputs,
        optional_inputs=sorted(plan.optional_inputs),
        limits=[_use(name, limit, users[name]) for name, limit in {**sizes, **given}.items() if users[name]],
        estimates=[
            Forecast(number, each.makespan, each.bound, each.bound_by, each.improved, each.improved_starts)
            for number, each in found
        ],
    )


def _use(name: str, limit: LimitValue, nodes: int) -> LimitUse:
    if isinstance(limit, int):
        return LimitUse(name, limit, nodes)
    if isinstance(limit, SharedRate):
        return LimitUse(name, None, nodes, limit.units, limit.per)
    return LimitUse(name, limit.size, nodes, maximum=limit.maximum if isinstance(limit, AdaptiveLimit) else None)


def _slots(plan: Plan, width: int) -> list[int | None]:
    own = plan.options.get("max_concurrent")
    usual = FEW_SLOTS if len(plan) > LARGE else SLOTS
    numbers = {number for number in usual if number < width} | ({own} if own is not None else set())
    # With as many slots as its width, a run never waits for one.
    return [*sorted(numbers), None] if own is None else sorted(numbers)


@dataclass(frozen=True, slots=True)
class _Part:
    """
    A node of the plan, or of a graph inside it.
    """

    name: str
    demand: tuple[tuple[str, int], ...]
    is_inner: bool
    is_map: bool
    # A graph, or a map of graphs: how long it takes follows from its nodes.
    is_container: bool


def _parts(plan: Plan) -> Iterator[_Part]:
    """
    List the nodes of *plan* and of the graphs inside it.
    """
    left = [("", plan)]
    while left:
        prefix, current = left.pop()
        for node, name in enumerate(current.ids):
            demand = current.shape.demands[current.shape.demand[node]]
            argument = current.arguments[node]
            binding = argument if isinstance(argument, Binding) else None
            spec = None if binding is None else binding.map
            if spec is not None:
                demand, binding = spec.demand, spec.binding
            is_container = binding is not None and binding.subplan is not None
            yield _Part(prefix + name, demand, bool(prefix), spec is not None, is_container)
            if binding is not None and binding.subplan is not None:
                left.append((f"{prefix}{name}/", binding.subplan))


def _nodes(plan: Plan) -> Iterator[dict[str, Any]]:  # Any: JSON
    shape = plan.shape
    for node, name in enumerate(plan.ids):
        yield {
            "id": name,
            "upstream": [plan.ids[before] for before in shape.upstream[node]],
            "uses": dict(shape.demands[shape.demand[node]]),
            "cost": shape.cost[node],
        }
