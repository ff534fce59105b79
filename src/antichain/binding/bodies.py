"""
What an attempt calls: a function, an object that is invoked, or a nested graph; as one node, or per item of a map.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from antichain.binding.bound import Binding, PreparedBinding, Style
from antichain.binding.filling import Filling
from antichain.binding.sources import MISSING, DictSource, LiteralSource, Prepared, SlotSource, Source
from antichain.binding.wiring import Wiring
from antichain.errors import named, shown
from antichain.graph import Graph, Node
from antichain.policies import UNSET
from antichain.runnable import Described, Parameter, describe

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["bind_body"]


def bind_body(wiring: Wiring, item_slot: int | None = None) -> Binding:
    """
    Bind what the node wraps; with *item_slot*, as an instance of a map whose item is in that slot.
    """
    runnable = wiring.node.runnable
    if isinstance(runnable, Graph):
        return _bind_graph(wiring, runnable, item_slot)
    described = describe(runnable)
    if described is None:
        hint = "use a function, a class, a Graph, or an object with invoke or ainvoke"
        if hasattr(runnable, "__await__"):
            hint = "pass the function itself, without calling it"
        wiring.fault("not-runnable", f"wraps {shown(runnable)}, which cannot be called: {hint}.")
        return Binding("inline", runnable)
    style, called = _style(wiring, described, runnable)
    is_invoked = described.form in ("ainvoke", "invoke")
    if isinstance(wiring.node.inputs, Prepared):
        prepared = PreparedBinding(style, called, wiring.node.inputs, _outputs(wiring), is_invoked=is_invoked)
        prepared.context = described.context
        return prepared
    binding = Binding(style, called)
    if item_slot is None:
        if is_invoked:
            binding.pass_by_position(_argument(wiring))
        else:
            Filling(wiring, binding, described).fill()
    elif is_invoked or (described.takes_args and not described.parameters):
        binding.pass_by_position(SlotSource(item_slot))
    else:
        Filling(wiring, binding, described).fill_item(item_slot)
    return binding


# -- functions and foreign objects


def _style(wiring: Wiring, described: Described, runnable: Any) -> tuple[Style, Any]:  # Any: whatever is called
    """
    Choose how to call *runnable*, and what of it.
    """
    runner = wiring.node.policies.runner
    match described.form:
        case "coroutine" | "async_generator":
            if runner == "thread":
                what = "is a coroutine function" if described.form == "coroutine" else "is an async generator"
                fix = "remove runner=, or write it as a plain function"
                wiring.fault("bad-policy", f"has runner='thread', but {what}, which runs on the loop: {fix}.")
            return described.form, runnable
        case "generator":
            if runner == "loop":
                fix = "remove runner=, or write it as an async generator"
                wiring.fault("bad-policy", f"has runner='loop', but is a generator, which runs in a thread: {fix}.")
            return "thread_generator", runnable
        case "function":
            return ("inline" if runner == "loop" else "thread"), runnable
        case "ainvoke":
            if runner != "thread":
                return "invoke", runnable
            if not callable(getattr(runnable, "invoke", None)):
                wiring.fault("bad-policy", f"has runner='thread', but {shown(runnable)} has only ainvoke.")
            return "invoke_thread", runnable
        case "invoke":
            return ("inline", runnable.invoke) if runner == "loop" else ("invoke_thread", runnable)


def _outputs(wiring: Wiring) -> DictSource:
    """
    Collect the outputs of all that the node depends on, by id.
    """
    return DictSource({name: SlotSource(slot) for name, slot in (wiring.wired or {}).items()})


def _argument(wiring: Wiring) -> Source:
    """
    Make the one argument of an invoked object: the single source, else the upstream outputs, else the run's inputs.
    """
    if wiring.single is not None:
        wiring.note_required("input", wiring.single)
        return wiring.single
    if wiring.given:
        return DictSource(wiring.given)
    if wiring.wired:
        return _outputs(wiring)
    slot = wiring.names.inputs_slot()
    return SlotSource(slot) if slot is not None else LiteralSource({})


# -- nested graphs


def _bind_graph(wiring: Wiring, graph: Graph, item_slot: int | None) -> Binding:
    given = wiring.node.inputs
    is_prepared = isinstance(given, Prepared)
    binding = PreparedBinding("graph", graph, given, _outputs(wiring)) if is_prepared else Binding("graph", graph)
    _check_graph(wiring, graph)
    subplan = binding.subplan = wiring.names.subplan(graph)
    if subplan is None or is_prepared:
        return binding
    filling = Filling(wiring, binding, _described(subplan))
    if item_slot is not None:
        filling.fill_item(item_slot)
    elif wiring.single is not None:
        _fill_from_one(wiring, binding, subplan, wiring.single)
    else:
        filling.fill()
    return binding


def _check_graph(wiring: Wiring, graph: Graph) -> None:
    for what, why in _without_effect(wiring.node):
        fix = f"give it to the nodes inside, or to {graph.name!r} by Graph(defaults=Policies(…)), and not to this node"
        wiring.fault("bad-policy", f"has {what}, but a nested graph {why}: {fix}.")
    if graph.options:
        what = ", ".join(f"{name}=" for name in graph.options)
        why = "but a nested graph is part of the outer graph's run"
        wiring.fault("nested-options", f"wraps graph {graph.name!r} with {what}, {why}: move it to the outer graph.")


def _without_effect(node: Node[..., Any]) -> Iterator[tuple[str, str]]:
    """
    Name the policies of a nested graph, or of a map of one, that would silently do nothing; and why.
    """
    policies = node.policies
    if node.mapped is None and (policies.uses or policies.weighing):
        yield "uses=", "takes no slot itself"
    if policies.runner:
        yield "runner=", "takes no thread itself"
    if policies.timeout is not None and policies.timeout.queue is not None:
        yield "Timeout(queue=…)", "waits for no slot itself"
    if policies.timeout is not None and policies.timeout.idle is not None:
        yield "Timeout(idle=…)", "gives no signs of life itself"
    if policies.repeat is not None:
        yield f"repeat={policies.repeat!r}", "is not what runs again, its nodes are"
    if not policies.persist and policies.fallback is UNSET:
        yield "persist=False", "is not what is stored, the outputs of its nodes are"


def _described(subplan: Plan) -> Described:
    """
    Describe a nested graph as if its inputs were the parameters of a function.
    """
    needed = [Parameter(name, keyword_only=True) for name in subplan.inputs]
    # Left out if nothing gives them: the nodes inside have the defaults.
    optional = [Parameter(name, keyword_only=True, default=MISSING) for name in sorted(subplan.optional_inputs)]
    return Described("coroutine", (*needed, *optional), takes_kwargs=subplan.takes_any_input)


def _fill_from_one(wiring: Wiring, binding: Binding, subplan: Plan, single: Source) -> None:
    names = list(subplan.inputs) or list(subplan.optional_inputs)
    if len(names) == 1:
        binding.keywords[names[0]] = single
        if subplan.inputs:
            wiring.note_required(names[0], single)
    else:
        takes = named(names) if names else "none"
        fix = "use a dict from its inputs to sources"
        wiring.fault("unbound-parameter", f"has inputs= with one source, but its graph's inputs are {takes}: {fix}.")
