"""
Graph → Plan: the graphs inside it first, and only what is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from antichain.errors import Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.plan.blueprint import Blueprint
from antichain.plan.draft import Draft
from antichain.plan.inputs import check_inputs, read_call, read_resume
from antichain.plan.plan import Plan
from antichain.policies import LimitValue, check_options, check_storing, split_options
from antichain.shape import with_start_edges

__all__ = ["plan_graph", "plan_inside", "prepare", "prepare_batch", "prepare_resume"]


def plan_graph(graph: Graph, targets: Iterable[str | Node[..., Any]] | None = None) -> Plan:
    """
    Check *graph* and fix what a run needs; with *targets*, only what they need.

    Raises:
        GraphError: everything that is wrong, at once.
    """
    if targets is None:
        targets = graph.options.get("targets")
    plan, faults = _plan_all(graph, targets, (), {})
    if faults:
        raise GraphError(faults, graph.name)
    return plan


def plan_inside(graph: Graph) -> Plan:
    """
    Plan a graph that enters a run which goes on; it may use that run's limits, which are known only there.

    Raises:
        GraphError: everything else that is wrong, at once.
    """
    plan, faults = _plan_all(graph, graph.options.get("targets"), (), None)
    if faults:
        raise GraphError(faults, graph.name)
    return plan


def prepare(
    graph: Graph, inputs: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """
    Plan *graph* for one run and part what was *given* to it into inputs and options.

    Raises:
        GraphError: everything that is wrong with the graph, the options and the inputs, at once.
    """
    options, values, faults = read_call(inputs, given)
    faults += check_storing(options, graph.options) if not faults else []
    chosen = {**graph.options, **options} if not faults else {}
    outputs = chosen.get("outputs") or {}
    plan, more = _plan_all(graph, chosen.get("targets"), outputs, chosen.get("limits") or {})
    faults = [*more, *faults, *check_inputs(plan, values, outputs)]
    if faults:
        raise GraphError(faults, graph.name)
    options.pop("targets", None)  # done
    return plan, values, options


def prepare_resume(graph: Graph, run_id: str, options: Mapping[str, Any]) -> tuple[Plan, str, dict[str, Any]]:
    """
    Plan *graph* to go on with the run *run_id*, and settle the options, among them where it is kept.

    Raises:
        GraphError: everything that is wrong with the graph and the options, at once.
    """
    settled, faults = read_resume(run_id, options, graph.options)
    chosen = {**graph.options, **settled} if not faults else {}
    targets, outputs = chosen.get("targets"), chosen.get("outputs") or {}
    plan, more = _plan_all(graph, targets, outputs, chosen.get("limits") or {})
    if more or faults:
        raise GraphError([*more, *faults], graph.name)
    settled.pop("targets", None)  # done
    return plan, run_id, settled


def prepare_batch(
    graph: Graph, inputs: Iterable[Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[Plan, list[dict[str, Any]], dict[str, Any]]:
    """
    Plan *graph* once for a run per mapping of *inputs*.

    Raises:
        GraphError: everything that is wrong with the graph, the options and all inputs, at once.
    """
    known, unknown = split_options(options)
    rows = [dict(row) for row in inputs]
    faults = check_options({**known, **unknown})
    faults += check_storing(known, graph.options) if not faults else []
    chosen = {**graph.options, **known} if not faults else {}
    outputs = chosen.get("outputs") or {}
    plan, more = _plan_all(graph, chosen.get("targets"), outputs, chosen.get("limits") or {})
    faults = [*more, *faults]
    if chosen.get("store") is not None and chosen.get("run_id") is not None and len(rows) != 1:
        text = f"run_id={shown(chosen['run_id'])} names one run in a store, and this is {len(rows)}: leave it out."
        faults.append(Fault("bad-policy", text))
    for number, row in enumerate(rows):
        for fault in check_inputs(plan, row, outputs):
            faults.append(Fault(fault.code, f"inputs[{number}]: {fault.message}", fault.node, fault.nodes))
    if faults:
        raise GraphError(faults, graph.name)
    known.pop("targets", None)
    return plan, rows, known


# -- graphs inside graphs


def _plan_all(
    graph: Graph,
    targets: Iterable[str | Node[..., Any]] | None,
    outputs: Collection[str],
    limits: Mapping[str, LimitValue] | None,
) -> tuple[Plan, list[Fault]]:
    """
    Plan *graph* and the graphs inside it, innermost first; the plan is of use only if there are no faults. Without
    *limits* it is left open which there are.
    """
    graphs, faults = _nested(graph)
    subplans: dict[int, Plan] = {}
    inner: dict[int, list[Fault]] = {}
    for each in graphs[:-1]:
        subplans[id(each)], inner[id(each)] = draw(Blueprint(each, subplans, inner), None, ())
    plan, more = draw(Blueprint(graph, subplans, inner), targets, outputs)
    # Names of limits are known only where all graphs meet.
    return plan, [*faults, *more, *(() if limits is None else plan.check_limits(limits))]


def _nested(graph: Graph) -> tuple[list[Graph], list[Fault]]:
    """
    List the graphs inside *graph*, each after those inside it, and *graph* itself last; report nesting without end.
    """
    found: list[Graph] = []
    faults: list[Fault] = []
    done: set[int] = set()
    path: list[tuple[Graph, Iterator[Node[..., Any]]]] = [(graph, _graph_nodes(graph))]
    while path:
        current, nodes = path[-1]
        node = next(nodes, None)
        if node is None:
            path.pop()
            done.add(id(current))
            found.append(current)
        elif any(node.runnable is outer for outer, _ in path):
            text = (
                f"node {node.id!r} puts graph {node.runnable.name!r} inside itself, which would never end: remove it."
            )
            faults.append(Fault("cycle", text, node.id, (node.id,)))
        elif id(node.runnable) not in done:
            path.append((node.runnable, _graph_nodes(node.runnable)))
    return found, faults


def _graph_nodes(graph: Graph) -> Iterator[Node[..., Any]]:
    return iter([node for node in graph.nodes if isinstance(node.runnable, Graph)])


# -- one graph, or what some of its nodes need


def draw(
    blueprint: Blueprint, targets: Iterable[str | Node[..., Any]] | None, outputs: Collection[str]
) -> tuple[Plan, list[Fault]]:
    """
    Draw the plan of what *targets* need; where *outputs* replace nodes, these need nothing.
    """
    plan, faults = _draft(blueprint, blueprint.nodes, blueprint.index, ())
    faults = [*blueprint.faults, *faults]
    if targets is None:
        return plan, faults
    wanted, more = blueprint.find(targets)
    faults += more
    if faults or not wanted:
        return plan, faults
    nodes = [blueprint.nodes[position] for position in _ancestors(plan, wanted, outputs)]
    index = {node.id: position for position, node in enumerate(nodes)}
    narrow, _ = _draft(blueprint, nodes, index, outputs)
    narrow.accepted = plan.accepted
    narrow.targets = tuple(wanted)
    return narrow, faults


def _draft(
    blueprint: Blueprint, nodes: list[Node[..., Any]], index: dict[str, int], replaced: Collection[str]
) -> tuple[Plan, list[Fault]]:
    draft = Draft(blueprint, nodes, index, replaced)
    plan = draft.plan()
    plan._redraw = partial(draw, blueprint)
    return plan, draft.faults


def _ancestors(plan: Plan, wanted: Mapping[str, int], outputs: Collection[str]) -> list[int]:
    """
    List *wanted* nodes and all they need, in definition order; nodes in *outputs* need nothing.
    """
    upstream, _ = with_start_edges(plan.shape)
    cut = {plan.index[name] for name in outputs if name in plan.index}
    kept = bytearray(plan.shape.count)
    left = list(wanted.values())
    while left:
        node = left.pop()
        if not kept[node]:
            kept[node] = 1
            if node not in cut:
                left.extend(upstream[node])
    return [node for node, is_kept in enumerate(kept) if is_kept]
