"""
What a run was given: parted into inputs and options, and checked against the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from antichain.errors import SHOWN_FAULTS, Fault, GraphError, named, shown, suggestion
from antichain.policies import RUN_OPTIONS, check_options, check_resume, check_storing, split_options

if TYPE_CHECKING:
    from antichain.plan.plan import Plan

__all__ = ["check_inputs", "prepare_plan", "prepare_plan_resume", "read_call", "read_resume"]


def prepare_plan(
    plan: Plan, inputs: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """
    Part what was *given* to a run of *plan* into inputs and options, and narrow the plan to what the run needs.

    Raises:
        GraphError: everything that is wrong with the options and the inputs, at once.
    """
    options, values, faults = read_call(inputs, given)
    outputs = options.get("outputs") or {}
    targets = options.pop("targets", None)
    if not faults:
        faults += check_storing(options, plan.options)
    if not faults and targets is not None:
        plan = plan.pruned(targets, outputs)
    limits = options.get("limits") or {}
    if not faults and limits:
        faults += plan.check_limits(limits)
    faults += check_inputs(plan, values, outputs)
    if faults:
        raise GraphError(faults, plan.name)
    return plan, values, options


def prepare_plan_resume(plan: Plan, run_id: str, given: Mapping[str, Any]) -> tuple[Plan, str, dict[str, Any]]:
    """
    Settle the options of going on with the run *run_id*, and narrow the plan to what they ask for.

    Raises:
        GraphError: everything that is wrong with the options, at once.
    """
    options, faults = read_resume(run_id, given, plan.options)
    targets, outputs = options.pop("targets", None), options.get("outputs") or {}
    if not faults and (targets is not None or outputs):
        plan = plan.pruned(plan.targets if targets is None else targets, outputs)
    if not faults:
        faults = plan.check_limits(options.get("limits") or {})
    if faults:
        raise GraphError(faults, plan.name)
    return plan, run_id, options


def read_resume(
    run_id: object, given: Mapping[str, Any], standing: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Fault]]:
    """
    Return the options of going on with a run, where the graph's are *standing*, and what is wrong with them.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if standing.get("store") is not None:
        options.setdefault("store", standing["store"])
    return {"answers": {}, "on_change": "refuse", "take_over": False, **options}, check_resume(run_id, given, standing)


def read_call(
    inputs: Any,  # Any: whatever the user handed in
    given: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], list[Fault]]:
    """
    Part what was *given* to a run into options and inputs, and say what is wrong with it.
    """
    options, values = split_options(given)
    faults = check_options(options)
    if inputs is None:
        return options, values, faults
    if not isinstance(inputs, Mapping):
        fix = "use a dict from names to values, or keyword arguments"
        faults.append(Fault("unused-input", f"{shown(inputs)} was given as the inputs of a run: {fix}."))
        return options, values, faults
    for name in inputs:
        if name in values:
            text = f"input {name!r} is given twice, in the mapping and as a keyword argument: remove one."
            faults.append(Fault("unused-input", text))
    return options, {**inputs, **values}, faults


def check_inputs(
    plan: Plan, inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, *, is_resumed: bool = False
) -> list[Fault]:
    """
    Say what is wrong with the *inputs* of a run of *plan*, in which *outputs* replace nodes. One that *is_resumed* has
    been given all the inputs that it will ever have.
    """
    faults = []
    replaced = outputs or {}
    for name in replaced:
        if name not in plan.known:
            hint = suggestion(str(name), plan.known) or " Use the ids of nodes."
            faults.append(
                Fault("unknown-output", f"outputs= names {name!r}, which is not in graph {plan.name!r}.{hint}")
            )
    for name in inputs:
        if name in plan.known:
            fix = f"to replace the node by a value, use outputs={{{name!r}: …}}"
            text = f"input {name!r} has the name of a node of graph {plan.name!r}: {fix}."
            faults.append(Fault("input-is-node", text, name, (name,)))
        elif name not in plan.accepted and not plan.takes_any_input:
            faults.append(_unused_input(plan, name, len(faults) < SHOWN_FAULTS))
    for name, nodes in plan.inputs.items():
        if name not in inputs and not (replaced and all(node in replaced for node in nodes)):
            hint = _meant_input(plan, name, inputs) if len(faults) < SHOWN_FAULTS else ""
            faults.append(_missing_input(plan, name, nodes, hint, is_resumed))
    return faults


def _unused_input(plan: Plan, name: object, suggests: bool) -> Fault:
    hint = suggestion(str(name), [*sorted(plan.accepted), *sorted(RUN_OPTIONS)]) if suggests else ""
    if not hint:
        takes = named(sorted(plan.accepted)) if plan.accepted else "none"
        hint = f" Its inputs are: {takes}."
    return Fault("unused-input", f"input {name!r} is taken by no node of graph {plan.name!r}.{hint}")


def _meant_input(plan: Plan, name: str, inputs: Mapping[str, Any]) -> str:
    extra = [given for given in inputs if given not in plan.accepted]
    # A parameter that was meant to be a node's name is a frequent reason.
    return suggestion(name, [*map(str, extra), *plan.known])


def _missing_input(plan: Plan, name: str, nodes: tuple[str, ...], hint: str, is_resumed: bool) -> Fault:
    node = nodes[0]
    need = f"node {node!r} needs" if len(nodes) == 1 else f"node {node!r} and {len(nodes) - 1} more need"
    fix = hint or f" Give it: run({name}=…)."
    if is_resumed:
        fix = f"{hint} A resumed run has only the inputs that it began with: give the parameter a default."
    elif name in RUN_OPTIONS:
        fix = f"give it in the mapping form: run({{{name!r}: …}})"
        return Fault("option-is-input", f"{need} the input {name!r}, which is also a run option: {fix}.", node, nodes)
    text = f"{need} {name!r}, which is neither a node of graph {plan.name!r} nor an input of this run.{fix}"
    return Fault("missing-input", text, node, nodes[:SHOWN_FAULTS])
