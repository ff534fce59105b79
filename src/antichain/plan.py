"""
Graph → Plan: check everything, find each node's arguments, and index what a run needs. Nothing here runs a node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antichain.binding import (
    MISSING,
    REQUIRED,
    THREADED,
    Binding,
    Bound,
    MapSpec,
    SlotSource,
    Source,
    Style,
    bind_node,
    bind_step,
    demand_of,
    flags_of,
    private_limit,
)
from antichain.errors import SHOWN_FAULTS, Fault, GraphError, named, shown, suggestion
from antichain.graph import Graph, Node
from antichain.policies import (
    RUN_OPTIONS,
    UNSET,
    Join,
    Limit,
    Settled,
    as_size,
    check_options,
    split_options,
)
from antichain.runnable import COROUTINE, EMPTY, VARIADIC, CallKind, describe, is_context
from antichain.shape import (
    DEFAULT_COST,
    Flag,
    Shape,
    critical_path_of,
    depth_of,
    order,
    rank,
    waiting_of,
    width_of,
    with_start_edges,
)

if TYPE_CHECKING:
    from antichain.core.facts import Event
    from antichain.record import RunResult

__all__ = [
    "MISSING",
    "REQUIRED",
    "Binding",
    "Bound",
    "CallKind",
    "MapSpec",
    "Plan",
    "Source",
    "bind_step",
    "check_inputs",
    "plan_graph",
    "plan_inside",
    "prepare",
    "prepare_batch",
]

# Limits that exist without being defined.
IMPLICIT_LIMITS: Final = ("thread", "process")
# A cycle's path is shown up to so many names.
SHOWN_CYCLE: Final = 20
# Codes that set a function apart from a plain one: generators, async generators, *args, **kwargs.
_ODD: Final = VARIADIC | 0x20 | 0x200
_COROUTINE0: Final = int(CallKind.COROUTINE0)
_INLINE0: Final = int(CallKind.INLINE0)
_GENERAL: Final = int(CallKind.GENERAL)


class Plan:
    """
    A graph that has been checked and indexed; it never changes, and may be run many times, also at once.

    Made by ``Graph.plan()``.
    """

    __slots__ = (
        "_blueprint",
        "_input_slots_of",
        "_whole_slot",
        "accepted",
        "arguments",
        "blank",
        "functions",
        "ids",
        "index",
        "input_slots",
        "inputs",
        "kinds",
        "known",
        "limits",
        "name",
        "nodes",
        "optional_inputs",
        "options",
        "resources",
        "shape",
        "targets",
        "uses",
    )

    # Written by the planner, and by nobody afterwards. Lists by node are in definition order.
    name: str
    ids: list[str]
    index: dict[str, int]
    nodes: list[Node[..., Any]]
    shape: Shape
    # How to call each node, what to call, and with what: None, a slot, an itemgetter of slots, or a Binding.
    kinds: bytearray
    functions: list[Any]  # Any: whatever a node may wrap
    arguments: list[Any]  # Any: by kind, see above
    # What a run's values are before anything has run: a slot per node, then literals and defaults of inputs.
    blank: list[Any]  # Any: the user's values
    input_slots: list[tuple[int, str, Any]]  # Any: the user's values
    # Required inputs, with the nodes that need them; and those that have a default.
    inputs: dict[str, tuple[str, ...]]
    optional_inputs: frozenset[str]
    # Every input that some node takes, those included that the targets do not need.
    accepted: frozenset[str]
    # Position of every node of the graph, those included that the targets do not need.
    known: dict[str, int]
    resources: dict[str, Callable[[], Any]]  # Any: generators of any kind
    targets: tuple[str, ...] | None
    options: dict[str, Any]  # Any: values of run options
    # Declared by the graph, by graphs inside it, and the private ones of maps.
    limits: dict[str, int | Limit]
    # Where run inputs go, by name; and the slot of the dict of all of them.
    _input_slots_of: dict[str, list[int]]
    _whole_slot: int | None
    _blueprint: _Blueprint
    # Each distinct demand of this plan and of the graphs inside it, with some nodes that have it.
    uses: dict[tuple[tuple[str, int], ...], tuple[str, ...]]

    # -- what a run asks

    @property
    def takes_any_input(self) -> bool:
        """
        Whether some node receives all run inputs as one dict, so that any name will do.
        """
        return self._whole_slot is not None

    def fill(self, inputs: Mapping[str, Any]) -> list[Any]:
        """
        Make the list of values of a new run.
        """
        values = self.blank.copy()
        for name, given in inputs.items():
            for slot in self._input_slots_of.get(name, ()):
                values[slot] = given
        if self._whole_slot is not None:
            values[self._whole_slot] = dict(inputs)
        return values

    def condition(self, node: int) -> Binding:
        """
        Return the bound ``when`` of a node that has one.
        """
        binding = self.arguments[node].when
        assert binding is not None
        return binding  # type: ignore[no-any-return]

    def fallback(self, node: int) -> Any:
        """
        Return the fallback of a node, or UNSET.
        """
        argument = self.arguments[node]
        return argument.fallback if type(argument) is Binding else UNSET

    def limits_with(self, limits: Mapping[str, int | Limit]) -> dict[str, int | Limit]:
        """
        Return the limits of a run for which *limits* were given.
        """
        return {**self.limits, **limits}

    def check_limits(self, limits: Mapping[str, int | Limit]) -> list[Fault]:
        """
        Say what is wrong with the limits of a run for which *limits* were given: unknown ones, and weights above them.
        """
        faults = []
        known = self.limits_with(limits)
        used = {name for demand in self.uses for name, _ in demand}
        for name in limits:
            if name not in self.limits and name not in used and name not in IMPLICIT_LIMITS:
                hint = suggestion(str(name), [*used, *self.limits]) or " Remove it, or give it to a node by uses=."
                text = f"limits= names {name!r}, which no node of graph {self.name!r} uses.{hint}"
                faults.append(Fault("unknown-limit", text))
        seen = set()
        for demand, nodes in self.uses.items():
            for name, weight in demand:
                if (name, weight) not in seen:
                    seen.add((name, weight))
                    faults.extend(_demand_faults(name, weight, nodes, known))
        return faults

    def pruned(self, targets: Iterable[str | Node[..., Any]] | None, outputs: Collection[str] = ()) -> Plan:
        """
        Return the plan of what *targets* need, where nodes in *outputs* are replaced and need nothing.

        Raises:
            GraphError: a target is not in the graph.
        """
        plan, faults = self._blueprint.draft(targets, outputs)
        if faults:
            raise GraphError(faults, self.name)
        return plan

    # -- running

    def run(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> RunResult:
        """
        Execute the plan and wait for its end; see Graph.run.
        """
        from antichain.run import run_plan

        return run_plan(*prepare_plan(self, inputs, given))

    async def arun(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> RunResult:
        """
        Execute the plan in async code; see Graph.arun.
        """
        from antichain.run import arun_plan

        return await arun_plan(*prepare_plan(self, inputs, given))

    def astream(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> AsyncIterator[Event]:
        """
        Execute the plan and iterate over its events; see Graph.astream.
        """
        from antichain.run import astream_plan

        return astream_plan(*prepare_plan(self, inputs, given))

    def stream(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> Iterator[Event]:
        """
        Execute the plan and iterate over its events, outside async code; see Graph.stream.
        """
        from antichain.run import stream_plan

        return iter(stream_plan(*prepare_plan(self, inputs, given)))

    def estimate(self, durations: Any = None, **options: Any) -> Any:  # Any: see antichain.run.estimate_plan
        """
        Play the plan in virtual time: how long a run would take, and why.
        """
        from antichain.run import estimate_plan

        return estimate_plan(self, durations, **options)

    # -- looking at it

    @property
    def width(self) -> int:
        """
        The most nodes that could ever run at once: the size of the largest antichain.

        Exact up to 20,000 nodes and edges (Dilworth: as many as the fewest chains that cover all nodes, found as a
        minimum flow in time proportional to (nodes + edges) times improvements over a greedy cover). Above that, the
        size of the largest level, which is an antichain but not always the largest.
        """
        return width_of(self.shape)

    @property
    def depth(self) -> int:
        """
        The number of levels: nodes on the longest path.
        """
        return depth_of(self.shape)

    @property
    def critical_path(self) -> tuple[str, ...]:
        """
        The nodes on the longest path by ``cost=`` (1 where there is none): no run can be shorter.
        """
        return tuple(self.ids[node] for node in critical_path_of(self.shape))

    def __len__(self) -> int:
        return self.shape.count

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, {self.shape.count} nodes)"


# -- making a plan


def plan_graph(graph: Graph, targets: Iterable[str | Node[..., Any]] | None = None) -> Plan:
    """
    Check *graph* and fix what a run needs; with *targets*, only what they need.

    Raises:
        GraphError: everything that is wrong, at once.
    """
    if targets is None:
        targets = graph.options.get("targets")
    plan, faults = _draft(graph, targets, (), {})
    if faults:
        raise GraphError(faults, graph.name)
    return plan


def plan_inside(graph: Graph) -> Plan:
    """
    Plan a graph that enters a run which goes on; it may use that run's limits, which are known only there.

    Raises:
        GraphError: everything else that is wrong, at once.
    """
    plan, faults = _draft(graph, graph.options.get("targets"), (), None)
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
    options, values, faults = _read_call(inputs, given)
    chosen = {**graph.options, **options} if not faults else {}
    outputs = chosen.get("outputs") or {}
    plan, more = _draft(graph, chosen.get("targets"), outputs, chosen.get("limits") or {})
    faults = [*more, *faults, *check_inputs(plan, values, outputs)]
    if faults:
        raise GraphError(faults, graph.name)
    options.pop("targets", None)  # done
    return plan, values, options


def prepare_plan(
    plan: Plan, inputs: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """
    Part what was *given* to a run of *plan* into inputs and options, and narrow the plan to what the run needs.

    Raises:
        GraphError: everything that is wrong with the options and the inputs, at once.
    """
    options, values, faults = _read_call(inputs, given)
    outputs = options.get("outputs") or {}
    targets = options.pop("targets", None)
    if not faults and targets is not None:
        plan = plan.pruned(targets, outputs)
    limits = options.get("limits") or {}
    if not faults and limits:
        faults += plan.check_limits(limits)
    faults += check_inputs(plan, values, outputs)
    if faults:
        raise GraphError(faults, plan.name)
    return plan, values, options


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
    chosen = {**graph.options, **known} if not faults else {}
    outputs = chosen.get("outputs") or {}
    plan, more = _draft(graph, chosen.get("targets"), outputs, chosen.get("limits") or {})
    faults = [*more, *faults]
    for number, row in enumerate(rows):
        for fault in check_inputs(plan, row, outputs):
            faults.append(Fault(fault.code, f"inputs[{number}]: {fault.message}", fault.node, fault.nodes))
    if faults:
        raise GraphError(faults, graph.name)
    known.pop("targets", None)
    return plan, rows, known


def _read_call(inputs: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Fault]]:
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


def check_inputs(plan: Plan, inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None = None) -> list[Fault]:
    """
    Say what is wrong with the *inputs* of a run of *plan*, in which *outputs* replace nodes.
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
            faults.append(_missing_input(plan, name, nodes, inputs, len(faults) < SHOWN_FAULTS))
    return faults


def _unused_input(plan: Plan, name: object, suggests: bool) -> Fault:
    hint = suggestion(str(name), [*sorted(plan.accepted), *sorted(RUN_OPTIONS)]) if suggests else ""
    if not hint:
        takes = named(sorted(plan.accepted)) if plan.accepted else "none"
        hint = f" Its inputs are: {takes}."
    return Fault("unused-input", f"input {name!r} is taken by no node of graph {plan.name!r}.{hint}")


def _missing_input(plan: Plan, name: str, nodes: tuple[str, ...], inputs: Mapping[str, Any], suggests: bool) -> Fault:
    node = nodes[0]
    need = f"node {node!r} needs" if len(nodes) == 1 else f"node {node!r} and {len(nodes) - 1} more need"
    if name in RUN_OPTIONS:
        fix = f"give it in the mapping form: run({{{name!r}: …}})"
        return Fault("option-is-input", f"{need} the input {name!r}, which is also a run option: {fix}.", node, nodes)
    extra = [given for given in inputs if given not in plan.accepted]
    # A parameter that was meant to be a node's name is a frequent reason.
    hint = (suggestion(name, [*map(str, extra), *plan.known]) if suggests else "") or f" Give it: run({name}=…)."
    text = f"{need} {name!r}, which is neither a node of graph {plan.name!r} nor an input of this run.{hint}"
    return Fault("missing-input", text, node, nodes[:SHOWN_FAULTS])


def _demand_faults(name: str, weight: int, nodes: Sequence[str], known: Mapping[str, int | Limit]) -> Iterator[Fault]:
    who = f"node {nodes[0]!r} uses"
    if name not in known:
        if name not in IMPLICIT_LIMITS:
            hint = suggestion(name, known) or f" Define it: Graph(limits={{{name!r}: 4}})."
            yield Fault(
                "unknown-limit", f"{who} the limit {name!r}, which nobody defines.{hint}", nodes[0], tuple(nodes)
            )
        return
    size = known[name]
    size = size.size if isinstance(size, Limit) else size
    if type(size) is int and size < weight:
        text = f"{who} {weight} of the limit {name!r}, which has {size}: lower one or raise the other."
        yield Fault("weight-above-limit", text, nodes[0], tuple(nodes))


def _draft(
    graph: Graph,
    targets: Iterable[str | Node[..., Any]] | None,
    outputs: Collection[str],
    limits: Mapping[str, int | Limit] | None,
) -> tuple[Plan, list[Fault]]:
    """
    Plan *graph* and the graphs inside it, innermost first; the plan is of use only if there are no faults. Without
    *limits* it is left open which there are.
    """
    graphs, faults = _nested(graph)
    subplans: dict[int, Plan] = {}
    inner: dict[int, list[Fault]] = {}
    for each in graphs[:-1]:
        subplans[id(each)], inner[id(each)] = _Blueprint(each, subplans, inner).draft(None, ())
    plan, more = _Blueprint(graph, subplans, inner).draft(targets, outputs)
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


class _Blueprint:
    """
    What a plan is drawn from; kept by the plan, which may be drawn again for fewer nodes.
    """

    __slots__ = ("faults", "index", "inner", "limits", "name", "nodes", "options", "resources", "subplans")

    def __init__(self, graph: Graph, subplans: dict[int, Plan], inner: dict[int, list[Fault]]) -> None:
        self.name = graph.name
        self.nodes, self.index = graph.frozen()
        self.limits = dict(graph.limits)
        self.options = dict(graph.options)
        self.resources = dict(graph.resources)
        self.faults = list(graph.faults)
        # The plans of the graphs inside, by identity, and what is wrong with them.
        self.subplans = subplans
        self.inner = inner

    def draft(
        self, targets: Iterable[str | Node[..., Any]] | None, outputs: Collection[str]
    ) -> tuple[Plan, list[Fault]]:
        """
        Draw the plan of what *targets* need; where *outputs* replace nodes, these need nothing.
        """
        planner = _Planner(self, self.nodes, self.index, ())
        plan = planner.plan()
        faults = [*self.faults, *planner.faults]
        if targets is None:
            return plan, faults
        wanted, more = self._wanted(targets)
        faults += more
        if faults or not wanted:
            return plan, faults
        kept = _ancestors(plan, wanted, outputs)
        nodes = [self.nodes[position] for position in kept]
        index = {node.id: position for position, node in enumerate(nodes)}
        narrow = _Planner(self, nodes, index, outputs).plan()
        narrow.accepted = plan.accepted
        narrow.targets = tuple(wanted)
        return narrow, faults

    def _wanted(self, targets: Iterable[str | Node[..., Any]]) -> tuple[dict[str, int], list[Fault]]:
        wanted: dict[str, int] = {}
        faults: list[Fault] = []
        if isinstance(targets, (str, Node)):
            targets = (targets,)
        for target in targets:
            name = target.id if isinstance(target, Node) else target
            position = self.index.get(name)
            if position is None or (isinstance(target, Node) and self.nodes[position] is not target):
                hint = suggestion(str(name), self.index) or " Use the ids of nodes."
                text = f"targets= names {name!r}, which is not in graph {self.name!r}.{hint}"
                faults.append(Fault("unknown-target", text))
            else:
                wanted[name] = position
        if not wanted and not faults:
            faults.append(
                Fault("unknown-target", "targets= is empty, so nothing would run: name a node, or leave it out.")
            )
        return wanted, faults


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


class _Terms(NamedTuple):
    """
    What the policies of a node come to in a shape; shared by all nodes with the same policies.
    """

    demand: int
    # Some nodes with that demand, to be named in a message.
    users: list[str]
    flags: int
    # Nothing but a plain call is asked for.
    is_plain: bool


class _Planner:
    """
    Draw one plan. Looks names up for the binding rule, and writes the lists by node.
    """

    def __init__(
        self, blueprint: _Blueprint, nodes: list[Node[..., Any]], index: dict[str, int], replaced: Collection[str]
    ) -> None:
        self.blueprint = blueprint
        self.title = f"graph {blueprint.name!r}"
        self.nodes = nodes
        self.index = index
        self.replaced = replaced
        self.faults: list[Fault] = []
        count = len(nodes)
        self.count = count
        self.upstream: list[Sequence[int]] = []
        self.downstream: list[list[int]] = [[] for _ in range(count)]
        self.kinds = bytearray(count)
        self.functions: list[Any] = []
        self.arguments: list[Any] = [None] * count
        self.join = bytearray(count)
        self.demand = [0] * count
        self.demands: dict[tuple[tuple[str, int], ...], int] = {(): 0}
        self.flags = bytearray(count)
        self.priority = [0] * count
        self.cost = [DEFAULT_COST] * count
        self.shape = Shape(count=count)
        self.uses: dict[tuple[tuple[str, int], ...], list[str]] = {}
        self.limits: dict[str, int | Limit] = {}
        # Values after those of the nodes, and the slots that are inputs.
        self.extra: list[Any] = []
        self.literals: dict[int, int] = {}
        self.input_slots: list[tuple[int, str, Any]] = []
        self.slot_by_input: dict[tuple[str, int], int] = {}
        self.required: dict[str, list[str]] = {}
        self.optional: set[str] = set()
        self.whole_slot: int | None = None
        # Terms by the identity of policies and whether a thread is taken. Nodes keep the policies alive.
        self.terms: dict[tuple[int, Style], _Terms] = {}

    def plan(self) -> Plan:
        self._bind_nodes()
        self._check_limits()
        self._check_names()
        self._check_resources()
        self._finish_shape()
        return self._plan()

    # -- names, for the binding rule

    def slot_of(self, name: str) -> int | None:
        return self.index.get(name)

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        slot = self.index.get(node.id)
        return slot if slot is not None and self.nodes[slot] is node else None

    def input_slot(self, name: str, default: Any, node: str) -> int:
        if default is REQUIRED:
            self.required.setdefault(name, []).append(node)
        else:
            self.optional.add(name)
        key = (name, id(default))
        slot = self.slot_by_input.get(key)
        if slot is None:
            slot = self.slot_by_input[key] = self._slot(default)
            self.input_slots.append((slot, name, default))
        return slot

    def inputs_slot(self) -> int:
        if self.whole_slot is None:
            self.whole_slot = self._slot({})
        return self.whole_slot

    def has_resource(self, name: str) -> bool:
        return name in self.blueprint.resources

    def literal(self, value: Any) -> Source:
        # By identity: equal values need not be interchangeable. The slot keeps the value alive, so ids are not reused.
        slot = self.literals.get(id(value))
        if slot is None:
            slot = self.literals[id(value)] = self._slot(value)
        return SlotSource(slot)

    def spare_slot(self) -> int:
        return self._slot(MISSING)

    def is_mapped(self, slot: int) -> bool:
        return self.nodes[slot].mapped is not None

    def subplan(self, graph: Graph) -> Plan | None:
        return self.blueprint.subplans.get(id(graph))

    def names(self) -> Iterable[str]:
        # To look for the nearest of many names for each of many faults would take minutes, and nobody reads them all.
        return self.index if len(self.faults) < SHOWN_FAULTS else ()

    def _slot(self, value: Any) -> int:
        self.extra.append(value)
        return self.count + len(self.extra) - 1

    # -- nodes

    def _bind_nodes(self) -> None:
        replaced = self.replaced
        bind_quickly = self._bind_quickly
        functions, upstream = self.functions, self.upstream
        for position, node in enumerate(self.nodes):
            functions.append(node.runnable)
            if replaced and node.id in replaced:
                self._bind_replaced(position, node)
            elif type(node.runnable) is not FunctionType or not bind_quickly(position, node, node.runnable):
                self._bind_fully(position, node)
        downstream = self.downstream
        for position, before_node in enumerate(upstream):
            for before in before_node:
                downstream[before].append(position)

    def _bind_quickly(self, position: int, node: Node[..., Any], function: FunctionType) -> bool:
        """
        Bind a function whose arguments are plain values, or leave it to the whole rule; it must come to the same.

        Most nodes of large graphs are such functions, and the rule in full costs ten times as much.
        """
        policies = node.policies
        if node.inputs is not None or node.mapped is not None:
            return False
        code = function.__code__
        flags = code.co_flags
        if flags & _ODD or code.co_kwonlyargcount or function.__defaults__ is not None:
            return False
        if flags & COROUTINE:
            if policies.runner is not None and policies.runner != "loop":
                return False
            kind, style = _COROUTINE0, "coroutine"
        elif policies.runner == "loop":
            kind, style = _INLINE0, "inline"
        else:
            return False
        terms = self.terms.get((id(policies), style))  # type: ignore[arg-type]  # one of Style
        if terms is None:
            terms = self._terms_of(policies, style)  # type: ignore[arg-type]  # one of Style
        if not terms.is_plain:
            return False
        upstream: Sequence[int]
        index, depends_on = self.index, node.depends_on
        if depends_on is None:
            upstream = ()
        else:
            try:
                upstream = tuple([index[name] for name in depends_on])
            except (KeyError, TypeError):
                return False
            if position in upstream:
                return False
        count = code.co_argcount
        if count:
            names = code.co_varnames if len(code.co_varnames) == count else code.co_varnames[:count]
            if depends_on is not None and names == depends_on:
                slots: Sequence[int] = upstream
            else:
                found = self._slots_of(node, function, names, upstream)
                if found is None:
                    return False
                slots, upstream = found
            if count == 1:
                self.kinds[position] = kind + 1
                self.arguments[position] = next(iter(slots))
            else:
                self.kinds[position] = kind + 2
                self.arguments[position] = itemgetter(*slots)
        else:
            self.kinds[position] = kind
        if len(upstream) > 1 and len(set(upstream)) < len(upstream):
            upstream = tuple(dict.fromkeys(upstream))
        self.upstream.append(upstream)
        if terms.flags or terms.demand or policies.priority or policies.cost is not None:
            self._note(position, node, terms)
        return True

    def _slots_of(
        self, node: Node[..., Any], function: FunctionType, names: Sequence[str], upstream: Sequence[int]
    ) -> tuple[list[int], Sequence[int]] | None:
        """
        Find the slots of the parameters *names*; None if one of them is not just a node or a run input.
        """
        index, depends_on = self.index, node.depends_on
        slots: list[int] = []
        if depends_on is None:
            wired: Mapping[str, int] = index
        else:
            wired = dict(zip(depends_on, upstream, strict=True))
        free = None
        for name in names:
            slot = wired.get(name, -1)
            if slot < 0:
                if name in index or name in self.blueprint.resources:
                    return None
                free = name
            slots.append(slot)
        if free is not None:
            annotations = function.__annotations__
            if annotations and any(is_context(annotations.get(name)) for name in names):
                return None
        if depends_on is None:
            upstream = tuple([slot for slot in slots if slot >= 0])
            if index[node.id] in upstream:
                return None
        if free is not None:
            for i, name in enumerate(names):
                if slots[i] < 0:
                    slots[i] = self.input_slot(name, REQUIRED, node.id)
        return slots, upstream

    def _bind_fully(self, position: int, node: Node[..., Any]) -> None:
        bound = bind_node(node, self)
        self.faults.extend(bound.faults)
        binding = bound.binding
        if bound.leader is not None:
            self.shape.followers.setdefault(bound.leader, []).append(position)
        self.upstream.append(bound.upstream)
        self.join[position] = node.policies.join
        self._set_call(position, binding, node)
        if binding.style == "map":
            self._note_map(position, node, binding)
        elif binding.style == "graph":
            self._note_graph(position, node, binding)
        else:
            terms = self.terms.get((id(node.policies), binding.style)) or self._terms_of(node.policies, binding.style)
            self._note(position, node, terms)

    def _bind_replaced(self, position: int, node: Node[..., Any]) -> None:
        # Its output is given: it needs nothing and is never called.
        self.upstream.append(())
        self.kinds[position] = _GENERAL
        self.arguments[position] = Binding("inline", node.runnable)

    def _set_call(self, position: int, binding: Binding, node: Node[..., Any]) -> None:
        self.functions[position] = binding.function
        slots = binding.slots() if binding.style in ("coroutine", "inline") else None
        if slots is None or node.policies.join != Join.ALL:
            self.kinds[position] = _GENERAL
            self.arguments[position] = binding
            return
        kind = _COROUTINE0 if binding.style == "coroutine" else _INLINE0
        self.kinds[position] = kind + min(len(slots), 2)
        if len(slots) == 1:
            self.arguments[position] = slots[0]
        elif slots:
            self.arguments[position] = itemgetter(*slots)

    # -- policies

    def _terms_of(self, policies: Settled, style: Style) -> _Terms:
        demand = demand_of(policies, style)
        flags = flags_of(policies)
        if style in THREADED:
            flags |= Flag.THREAD
        is_plain = policies.when is None and policies.fallback is UNSET and policies.join == Join.ALL
        users = self.uses.setdefault(demand, []) if demand else []
        terms = _Terms(self.demands.setdefault(demand, len(self.demands)), users, int(flags), is_plain)
        self.terms[id(policies), style] = terms
        return terms

    def _note(self, position: int, node: Node[..., Any], terms: _Terms) -> None:
        policies = node.policies
        flags = terms.flags | (Flag.WHEN if policies.when is not None else 0)
        self.flags[position] = flags
        if terms.demand:
            self.demand[position] = terms.demand
            if len(terms.users) < SHOWN_FAULTS:
                terms.users.append(node.id)
        self.priority[position] = policies.priority
        if policies.cost is not None:
            self.cost[position] = float(policies.cost)
        if policies.retry is not None:
            self.shape.retry[position] = policies.retry
        if policies.timeout is not None:
            self.shape.timeout[position] = policies.timeout

    def _note_map(self, position: int, node: Node[..., Any], binding: Binding) -> None:
        policies, spec = node.policies, binding.map
        assert spec is not None
        self.flags[position] = Flag.CONTAINER | (Flag.WHEN if policies.when is not None else 0)
        self.priority[position] = policies.priority
        if policies.cost is not None:
            self.cost[position] = float(policies.cost)
        if spec.demand:
            self.uses.setdefault(spec.demand, []).append(node.id)
        if type(spec.max_concurrent) is int and spec.max_concurrent > 0:
            self.limits[private_limit(node.id)] = spec.max_concurrent
        if spec.binding.subplan is not None:
            self._note_inner(node, spec.binding.subplan)

    def _note_graph(self, position: int, node: Node[..., Any], binding: Binding) -> None:
        policies, subplan = node.policies, binding.subplan
        flags = Flag.CONTAINER | flags_of(policies) | (Flag.WHEN if policies.when is not None else 0)
        self.flags[position] = flags
        self.priority[position] = policies.priority
        if policies.cost is not None:
            self.cost[position] = float(policies.cost)
        elif subplan is not None:
            self.cost[position] = max(subplan.shape.remaining, default=0.0)
        if policies.retry is not None:
            self.shape.retry[position] = policies.retry
        if policies.timeout is not None:
            self.shape.timeout[position] = policies.timeout
        if subplan is not None:
            self._note_inner(node, subplan)

    def _note_inner(self, node: Node[..., Any], subplan: Plan) -> None:
        graph = node.runnable
        for fault in self.blueprint.inner[id(graph)]:
            inside = tuple(f"{node.id}/{name}" for name in fault.nodes)
            name = inside[0] if inside else node.id
            text = f"in graph {graph.name!r}, which node {node.id!r} wraps: {fault.message}"
            self.faults.append(Fault(fault.code, text, name, inside or (node.id,)))
        for limit, size in subplan.limits.items():
            self.limits.setdefault(limit, size)
        for demand, nodes in subplan.uses.items():
            known = self.uses.setdefault(demand, [])
            known.extend([f"{node.id}/{name}" for name in nodes][: SHOWN_FAULTS - len(known)])

    # -- the graph as a whole

    def _check_limits(self) -> None:
        for name, size in self.blueprint.limits.items():
            if isinstance(size, Limit):
                continue
            try:
                as_size(name, size)
            except GraphError as error:
                self.faults.extend(error.faults)

    def _check_names(self) -> None:
        # Ids are never parsed, so that what a container brings in could collide only with what looks the same.
        for node in self.nodes:
            if node.mapped is not None:
                start, why = f"{node.id}[", f"an instance of the map {node.id!r} may have that id"
                for other in self.index:
                    if other.startswith(start) and other.endswith("]"):
                        self._collide(other, node.id, why)
            elif isinstance(node.runnable, Graph):
                subplan = self.subplan(node.runnable)
                for name in subplan.ids if subplan is not None else ():
                    other = f"{node.id}/{name}"
                    if other in self.index:
                        self._collide(other, node.id, f"node {name!r} inside {node.id!r} has that id")

    def _collide(self, name: str, container: str, why: str) -> None:
        text = f"node {name!r} collides: {why}. Give one of them another id."
        self.faults.append(Fault("id-collision", text, name, (name, container)))

    def _check_resources(self) -> None:
        for name, function in self.blueprint.resources.items():
            described = describe(function)
            for parameter in described.parameters if described is not None else ():
                if parameter.default is EMPTY:
                    why = "but a resource is opened without arguments: give the parameter a default, or remove it"
                    text = f"resource {name!r} has the parameter {parameter.name!r}, {why}."
                    self.faults.append(Fault("unbound-parameter", text))

    def _finish_shape(self) -> None:
        shape = self.shape
        shape.upstream, shape.downstream = self.upstream, self.downstream
        shape.join, shape.flags = self.join, self.flags
        shape.demand, shape.demands = self.demand, list(self.demands)
        shape.priority, shape.cost = self.priority, self.cost
        shape.waiting = [len(nodes) for nodes in self.upstream]
        for position, join in enumerate(self.join) if any(self.join) else ():
            shape.waiting[position] = waiting_of(join, len(self.upstream[position]))
        for followers in shape.followers.values():
            for position in followers:
                shape.waiting[position] += 1
        before_all, after_all = with_start_edges(shape)
        sequence = order(before_all, after_all)
        if len(sequence) < self.count:
            self._report_cycles(before_all, after_all, sequence)
        rank(shape, sequence)

    def _report_cycles(
        self, upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]], sequence: Sequence[int]
    ) -> None:
        left = bytearray(b"\x01") * self.count
        for node in sequence:
            left[node] = 0
        for cycle in _cycles(upstream, downstream, left):
            names = [self.nodes[node].id for node in cycle]
            path = " → ".join(repr(name) for name in [*names, names[0]][:SHOWN_CYCLE])
            more = f" → … ({len(names)} nodes)" if len(names) >= SHOWN_CYCLE else ""
            text = f"these nodes wait for each other: {path}{more}. Remove one of the dependencies."
            self.faults.append(Fault("cycle", text, names[0], tuple(names)))

    def _plan(self) -> Plan:
        plan, blueprint = Plan(), self.blueprint
        plan._blueprint = blueprint
        plan.name = blueprint.name
        plan.nodes = self.nodes
        plan.index = self.index
        plan.known = blueprint.index
        plan.ids = list(self.index)
        plan.shape = self.shape
        plan.kinds, plan.functions, plan.arguments = self.kinds, self.functions, self.arguments
        plan.blank = [MISSING] * self.count
        plan.blank += self.extra
        plan.input_slots = self.input_slots
        plan._input_slots_of = _by_name(self.input_slots)
        plan._whole_slot = self.whole_slot
        plan.inputs = {name: tuple(nodes) for name, nodes in self.required.items()}
        plan.optional_inputs = frozenset(self.optional - self.required.keys())
        plan.accepted = frozenset((*self.required, *self.optional))
        plan.resources = dict(blueprint.resources)
        plan.targets = None
        plan.options = {name: value for name, value in blueprint.options.items() if name != "targets"}
        plan.limits = {**self.limits, **blueprint.limits}
        plan.uses = {demand: tuple(nodes) for demand, nodes in self.uses.items() if nodes}
        return plan


def _by_name(input_slots: Iterable[tuple[int, str, Any]]) -> dict[str, list[int]]:
    slots: dict[str, list[int]] = {}
    for slot, name, _ in input_slots:
        slots.setdefault(name, []).append(slot)
    return slots


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
