"""
The binding of one node as a whole: its body or its map, its condition, and whether it may go without a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from antichain.binding.bodies import bind_body
from antichain.binding.bound import THREADED, Binding, Bound, MapSpec, demand_of, flags_of, private_limit
from antichain.binding.filling import Filling
from antichain.binding.sources import LiteralSource, SlotSource, Source
from antichain.binding.wiring import Namespace, Wiring
from antichain.errors import GraphError, named, shown
from antichain.graph import Graph, Mapped, Node
from antichain.policies import Weighing
from antichain.runnable import EMPTY, Described, describe
from antichain.shape import Flag

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["bind_node", "bind_step"]


def bind_node(node: Node[..., Any], names: Namespace) -> Bound:
    """
    Find the arguments of *node* in *names*, and collect what cannot be found.
    """
    wiring, policies = Wiring(node, names), node.policies
    if node.mapped is not None:
        binding = _bind_map(wiring, node.mapped)
    else:
        binding = bind_body(wiring)
        binding.fallback = policies.fallback
    if policies.when is not None:
        binding.when = _bind_question(wiring, policies.when, "when")
    if policies.weighing is not None and node.mapped is None:
        if policies.weighing.choose is not None:
            why = "a function of an item is for graph.map: here name the limit, or give a dict from names to weights"
            wiring.fault("bad-policy", f"has uses={shown(policies.weighing.choose)}, but {why}.")
        binding.weights = _bind_weights(wiring, policies.weighing)
    wiring.check_missing()
    return Bound(binding, tuple(wiring.upstream), wiring.leader, wiring.faults)


def bind_step(node: Node[..., Any], resolve: Callable[[str], int | None], spare_slot: int = -1) -> Bound:
    """
    Find the arguments of a node that arrives while a run goes on; *resolve* gives the slot of a node by its id.

    There are no run inputs: what is no node must be in ``inputs=`` or have a default.

    Raises:
        GraphError: everything that is wrong with the node.
    """
    bound = bind_node(node, _Steps(resolve, spare_slot))
    if bound.faults:
        raise GraphError(bound.faults)
    return bound


class _Steps:
    """
    The names of a run that goes on: nodes by a callback, and nothing else.
    """

    title = "the run"

    def __init__(self, resolve: Callable[[str], int | None], spare_slot: int) -> None:
        self._resolve = resolve
        self._spare_slot = spare_slot

    def slot_of(self, name: str) -> int | None:
        return self._resolve(name)

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        return self.slot_of(node.id)

    def input_slot(self, name: str, default: Any, node: str) -> int | None:
        return None

    def inputs_slot(self) -> int | None:
        return None

    def has_resource(self, name: str) -> bool:
        return False

    def literal(self, value: Any) -> Source:
        return LiteralSource(value)

    def spare_slot(self) -> int:
        return self._spare_slot

    def is_mapped(self, slot: int) -> bool:
        return False

    def subplan(self, graph: Graph) -> Plan | None:
        return graph.plan()

    def names(self) -> Iterable[str]:
        return ()


# -- maps


def _bind_map(wiring: Wiring, mapped: Mapped) -> Binding:
    policies = wiring.node.policies
    binding = Binding("map", wiring.node.runnable)
    over = wiring.over(mapped.over)
    _check_map(wiring, mapped)
    item_slot = wiring.names.spare_slot()
    instance = bind_body(wiring, item_slot)
    instance.fallback = policies.fallback
    if policies.weighing is not None:
        _check_choice(wiring, policies.weighing)
        instance.weights = _bind_weights(wiring, policies.weighing, instance, item_slot)
    binding.map = MapSpec(
        binding=instance,
        item_slot=item_slot,
        takes_item_only=(
            len(instance.positional) == 1 and not instance.keywords and not instance.context and not instance.resources
        ),
        over=over,
        leader=wiring.leader,
        key=mapped.key,
        max_concurrent=mapped.max_concurrent,
        outcomes=mapped.outcomes,
        window=mapped.window,
        policies=policies,
        demand=_instance_demand(wiring, instance, mapped.max_concurrent),
        flags=flags_of(policies) | _style_flags(instance),
    )
    return binding


def _check_map(wiring: Wiring, mapped: Any) -> None:  # Any: nobody has checked its values yet
    for name in ("max_concurrent", "window"):
        number = getattr(mapped, name)
        if number is not None and (type(number) is not int or number < 1):
            wiring.fault("bad-map", f"has {name}={shown(number)}: must be a whole number, at least 1.")
    if mapped.key is not None and not callable(mapped.key):
        wiring.fault("bad-map", f"has key={shown(mapped.key)}: must be a function from an item to its name.")
    if not isinstance(mapped.outcomes, bool):
        wiring.fault("bad-map", f"has outcomes={shown(mapped.outcomes)}: must be True or False.")


def _instance_demand(wiring: Wiring, instance: Binding, max_concurrent: int | None) -> tuple[tuple[str, int], ...]:
    if instance.style == "graph":
        # Its nodes take slots, it does not: so nothing would hold back its instances but the window.
        policies = wiring.node.policies
        if max_concurrent is not None or policies.uses or policies.weighing is not None:
            what = "max_concurrent=" if max_concurrent is not None else "uses="
            wiring.fault("bad-map", f"maps a graph with {what}: limit the nodes inside, or use window=.")
        return ()
    demand = demand_of(wiring.node.policies, instance.style)
    if type(max_concurrent) is int and max_concurrent > 0:
        demand = tuple(sorted((*demand, (private_limit(wiring.node.id), 1))))
    return demand


def _style_flags(instance: Binding) -> Flag:
    if instance.style == "graph":
        return Flag.CONTAINER
    return Flag.THREAD if instance.style in THREADED else Flag(0)


# -- conditions and weights


def _bind_question(
    wiring: Wiring, function: Callable[..., Any], policy: str, item: tuple[str | None, int] | None = None
) -> Binding:
    """
    Bind a plain function that is asked before the node starts; *item* is the parameter, and the slot, of a map's item.
    """
    binding = Binding("inline", function)
    said = f"has {policy}={shown(function)}"

    def refuse(why: str) -> None:
        if policy == "when":
            wiring.fault("bad-when", why)
        else:
            wiring.fault("bad-policy", why)

    described = describe(function)
    if described is None or described.form != "function":
        what = "a condition" if policy == "when" else "what tells a weight"
        why = f"{what} is a plain function, because nothing may wait between it and the start"
        refuse(f"{said}: {why}. Make it a node, and use its output.")
        return binding
    if described.context is not None:
        refuse(f"{said}, which takes a Context: there is none before the start.")
        return binding
    if policy == "uses":
        described = _with_defaults_of(wiring.node.runnable, described)
    filling = Filling(wiring, binding, described)
    known = {parameter.name for parameter in described.parameters}
    # What the body takes and this one does not is no fault; and a resource is not opened for it.
    if not described.takes_kwargs:
        filling.given = {name: source for name, source in wiring.given.items() if name in known}
    if not described.parameters and not described.takes_args:
        filling.single = None
    if item is None or not (described.parameters or described.takes_args):
        filling.fill()
    else:
        name, slot = item
        filling.fill_item(slot, name if name in known else None)
    if binding.resources:
        what = named(binding.resources)
        refuse(f"{said}, which takes the resource {what}: use it in a node.")
    return binding


def _bind_weights(
    wiring: Wiring, weighing: Weighing, instance: Binding | None = None, item_slot: int = -1
) -> dict[str, Binding] | None:
    """
    Bind the functions that tell how much a node, or the *instance* of a map, takes of rates.
    """
    if not weighing.weights:
        return None
    item = None if instance is None else (_parameter_of(instance, item_slot), item_slot)
    return {name: _bind_question(wiring, function, "uses", item) for name, function in weighing.weights.items()}


def _with_defaults_of(runnable: object, described: Described) -> Described:
    """
    Let the parameters of a weight that have no default have that of the node's parameter of that name.
    """
    of_node = describe(runnable)
    defaults = {} if of_node is None else {parameter.name: parameter.default for parameter in of_node.parameters}
    parameters = [
        each._replace(default=defaults.get(each.name, EMPTY)) if each.default is EMPTY else each
        for each in described.parameters
    ]
    return described._replace(parameters=tuple(parameters))


def _check_choice(wiring: Wiring, weighing: Weighing) -> None:
    described = None if weighing.choose is None else describe(weighing.choose)
    if weighing.choose is not None and (described is None or described.form != "function"):
        why = "what chooses limits for an item is a plain function, because nothing may wait between it and the start"
        wiring.fault("bad-policy", f"has uses={shown(weighing.choose)}: {why}.")


def _parameter_of(instance: Binding, slot: int) -> str | None:
    """
    Name the parameter that receives the value of *slot*.
    """
    for name, source in (*zip(instance.names, instance.positional, strict=True), *instance.keywords.items()):
        if isinstance(source, SlotSource) and source.slot == slot:
            return name
    return None
