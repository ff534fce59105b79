"""
One graph → one plan: bind each node, and write down by position what a run needs of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter
from types import FunctionType
from typing import Any, Final, NamedTuple

from antichain.binding import REQUIRED, THREADED, Binding, Style, bind_node, demand_of, flags_of, private_limit
from antichain.errors import SHOWN_FAULTS, Fault
from antichain.graph import Node
from antichain.plan.blueprint import Blueprint
from antichain.plan.checks import cycle_faults, graph_faults
from antichain.plan.plan import Plan
from antichain.plan.slots import Slots
from antichain.policies import UNSET, Join, LimitValue, Settled, Weighing
from antichain.runnable import ASYNC_GENERATOR, COROUTINE, GENERATOR, VARIADIC, CallKind, is_context
from antichain.shape import DEFAULT_COST, Flag, Shape, order, rank, waiting_of, with_start_edges

__all__ = ["Draft"]

# Codes that set a function apart from a plain one: generators, async generators, *args, **kwargs.
_ODD: Final = VARIADIC | GENERATOR | ASYNC_GENERATOR
# Plain calls: the kind of one without arguments, which one argument and more come after; and the style.
_COROUTINE: Final[tuple[int, Style]] = (int(CallKind.COROUTINE0), "coroutine")
_INLINE: Final[tuple[int, Style]] = (int(CallKind.INLINE0), "inline")
_GENERAL: Final = int(CallKind.GENERAL)


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


class Draft:
    """
    Draw one plan, of some or all nodes of a graph; what is wrong is in *faults* afterwards.
    """

    def __init__(
        self, blueprint: Blueprint, nodes: list[Node[..., Any]], index: dict[str, int], replaced: Collection[str]
    ) -> None:
        self.blueprint = blueprint
        self.nodes = nodes
        self.index = index
        self.replaced = replaced
        self.faults: list[Fault] = []
        self.slots = Slots(blueprint, nodes, index, self.faults)
        count = len(nodes)
        self.kinds = bytearray(count)
        self.functions: list[Any] = []
        self.arguments: list[Any] = [None] * count
        self.shape = Shape(
            count=count,
            downstream=[[] for _ in range(count)],
            join=bytearray(count),
            demand=[0] * count,
            flags=bytearray(count),
            priority=[0] * count,
            cost=[DEFAULT_COST] * count,
        )
        self.upstream = self.shape.upstream
        self.demands: dict[tuple[tuple[str, int], ...], int] = {(): 0}
        self.uses: dict[tuple[tuple[str, int], ...], list[str]] = {}
        self.limits: dict[str, LimitValue] = {}
        # What nodes say of limits beyond whole numbers, by identity, with a node that says it.
        self.weighings: dict[int, tuple[str, Weighing]] = {}
        self.weighed: set[int] = set()
        # Terms by the identity of policies and how the node is called. Nodes keep the policies alive.
        self.terms: dict[tuple[int, Style], _Terms] = {}

    def plan(self) -> Plan:
        """
        Draw the plan; it is of use only if there are no faults.
        """
        self._bind_nodes()
        self.faults.extend(graph_faults(self.blueprint, self.nodes, self.index))
        self._finish_shape()
        return self._plan()

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
        downstream = self.shape.downstream
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
            kind, style = _COROUTINE
            if policies.runner is not None and policies.runner != "loop":
                return False
        else:
            kind, style = _INLINE
            if policies.runner != "loop":
                return False
        terms = self.terms.get((id(policies), style)) or self._terms_of(policies, style)
        if not terms.is_plain:
            return False
        upstream: Sequence[int] = ()
        index, depends_on = self.index, node.depends_on
        if depends_on is not None:
            try:
                upstream = tuple([index[name] for name in depends_on])
            except (KeyError, TypeError):
                return False
            if position in upstream:
                return False
        count = code.co_argcount
        if not count:
            self.kinds[position] = kind
        else:
            names = code.co_varnames[:count]
            slots: Sequence[int] = upstream
            if names != depends_on:
                found = self._slots_of(position, node, names, upstream)
                if found is None:
                    return False
                slots, upstream = found
            self._set_plain_call(position, kind, slots)
        if len(upstream) > 1 and len(set(upstream)) < len(upstream):
            upstream = tuple(dict.fromkeys(upstream))
        self.upstream.append(upstream)
        if terms.flags or terms.demand or policies.priority or policies.cost is not None:
            self._note(position, node, terms)
        return True

    def _slots_of(
        self, position: int, node: Node[..., Any], names: Sequence[str], upstream: Sequence[int]
    ) -> tuple[Sequence[int], Sequence[int]] | None:
        """
        Find the slots of the parameters *names*; None if one of them is not just a node or a run input.
        """
        depends_on = node.depends_on
        wired = self.index if depends_on is None else dict(zip(depends_on, upstream, strict=True))
        slots = [wired.get(name, -1) for name in names]
        has_inputs = -1 in slots
        if has_inputs and not self._are_inputs([name for name in names if name not in wired], names, node.runnable):
            return None
        if depends_on is None:
            upstream = tuple([slot for slot in slots if slot >= 0] if has_inputs else slots)
            if position in upstream:
                return None
        if has_inputs:
            for i, name in enumerate(names):
                if slots[i] < 0:
                    slots[i] = self.slots.input_slot(name, REQUIRED, node.id)
        return slots, upstream

    def _are_inputs(self, free: Sequence[str], names: Sequence[str], function: FunctionType) -> bool:
        if any(name in self.index or name in self.blueprint.resources for name in free):
            return False
        annotations = function.__annotations__
        return not annotations or not any(is_context(annotations.get(name)) for name in names)

    def _bind_fully(self, position: int, node: Node[..., Any]) -> None:
        bound = bind_node(node, self.slots)
        self.faults.extend(bound.faults)
        binding = bound.binding
        if bound.leader is not None:
            self.shape.followers.setdefault(bound.leader, []).append(position)
        self.upstream.append(bound.upstream)
        self.shape.join[position] = node.policies.join
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
        kind, _ = _COROUTINE if binding.style == "coroutine" else _INLINE
        self._set_plain_call(position, kind, slots)

    def _set_plain_call(self, position: int, kind: int, slots: Sequence[int]) -> None:
        count = len(slots)
        if count == 1:
            kind += 1
            self.arguments[position] = slots[0]
        elif count:
            kind += 2
            self.arguments[position] = itemgetter(*slots)
        self.kinds[position] = kind

    # -- policies

    def _terms_of(self, policies: Settled, style: Style) -> _Terms:
        demand = demand_of(policies, style)
        flags = flags_of(policies)
        if style in THREADED:
            flags |= Flag.THREAD
        if policies.when is not None:
            flags |= Flag.WHEN
        asks = policies.when is not None or (policies.weighing is not None and not policies.weighing.amounts)
        is_plain = not asks and policies.fallback is UNSET and policies.join == Join.ALL
        users = self.uses.setdefault(demand, []) if demand else []
        terms = _Terms(self.demands.setdefault(demand, len(self.demands)), users, int(flags), is_plain)
        self.terms[id(policies), style] = terms
        return terms

    def _note(self, position: int, node: Node[..., Any], terms: _Terms) -> None:
        self.shape.flags[position] = terms.flags
        if terms.demand:
            self.shape.demand[position] = terms.demand
            if len(terms.users) < SHOWN_FAULTS:
                terms.users.append(node.id)
        if (weighing := node.policies.weighing) is not None:
            self.weighings.setdefault(id(weighing), (node.id, weighing))
            if weighing.weights:
                self.weighed.add(position)
            if weighing.amounts:
                self.shape.amounts[position] = weighing.amounts
        self._note_order(position, node.policies)
        self._note_attempts(position, node.policies)

    def _note_order(self, position: int, policies: Settled) -> None:
        self.shape.priority[position] = policies.priority
        if policies.cost is not None:
            self.shape.cost[position] = float(policies.cost)

    def _note_attempts(self, position: int, policies: Settled) -> None:
        if policies.retry is not None:
            self.shape.retry[position] = policies.retry
        if policies.timeout is not None:
            self.shape.timeout[position] = policies.timeout
            self.shape.limits_waits = self.shape.limits_waits or policies.timeout.queue is not None

    # -- containers

    def _note_map(self, position: int, node: Node[..., Any], binding: Binding) -> None:
        # Retry and timeout are those of the instances.
        policies, spec = node.policies, binding.map
        assert spec is not None
        self.shape.flags[position] = Flag.CONTAINER | (Flag.WHEN if policies.when is not None else 0)
        self._note_order(position, policies)
        if policies.weighing is not None:
            self.weighings.setdefault(id(policies.weighing), (node.id, policies.weighing))
        if spec.demand:
            self.uses.setdefault(spec.demand, []).append(node.id)
        if type(spec.max_concurrent) is int and spec.max_concurrent > 0:
            self.limits[private_limit(node.id)] = spec.max_concurrent
        if spec.binding.subplan is not None:
            self._note_inner(node, spec.binding.subplan)

    def _note_graph(self, position: int, node: Node[..., Any], binding: Binding) -> None:
        policies, subplan = node.policies, binding.subplan
        flags = Flag.CONTAINER | flags_of(policies) | (Flag.WHEN if policies.when is not None else 0)
        self.shape.flags[position] = flags
        self._note_order(position, policies)
        self._note_attempts(position, policies)
        if subplan is not None:
            if policies.cost is None:
                self.shape.cost[position] = max(subplan.shape.remaining, default=0.0)
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
        for name, weighing in subplan.weighings:
            self.weighings.setdefault(id(weighing), (f"{node.id}/{name}", weighing))

    # -- the whole

    def _finish_shape(self) -> None:
        shape = self.shape
        shape.demands = list(self.demands)
        shape.weighed = frozenset(self.weighed)
        shape.waiting = [len(nodes) for nodes in self.upstream]
        for position, join in enumerate(shape.join) if any(shape.join) else ():
            shape.waiting[position] = waiting_of(join, len(self.upstream[position]))
        for followers in shape.followers.values():
            for position in followers:
                shape.waiting[position] += 1
        before_all, after_all = with_start_edges(shape)
        sequence = order(before_all, after_all)
        if len(sequence) < shape.count:
            self.faults.extend(cycle_faults(self.nodes, before_all, after_all, sequence))
        rank(shape, sequence)

    def _plan(self) -> Plan:
        plan, blueprint = Plan(), self.blueprint
        plan.name = blueprint.name
        plan.nodes = self.nodes
        plan.index = self.index
        plan.known = blueprint.index
        plan.ids = list(self.index)
        plan.shape = self.shape
        plan.kinds, plan.functions, plan.arguments = self.kinds, self.functions, self.arguments
        self.slots.write(plan)
        plan.resources = dict(blueprint.resources)
        plan.targets = None
        plan._wired = None
        plan._told = None
        plan._kept = None
        plan.options = {name: value for name, value in blueprint.options.items() if name != "targets"}
        plan.limits = {**self.limits, **blueprint.limits}
        plan.uses = {demand: tuple(nodes) for demand, nodes in self.uses.items() if nodes}
        plan.weighings = tuple(self.weighings.values())
        return plan
