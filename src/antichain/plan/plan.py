"""
Plan: a graph that has been checked and indexed, and what a run asks of it. Nothing here runs a node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from antichain.binding import Binding
from antichain.errors import Fault, GraphError, suggestion
from antichain.graph import Node
from antichain.plan.inputs import prepare_plan, prepare_plan_resume
from antichain.policies import (
    EVERYTHING,
    UNSET,
    AdaptiveLimit,
    LimitValue,
    ResumeOptions,
    SharedLimit,
    SharedRate,
    Weighing,
)
from antichain.policies.limits import is_limit
from antichain.shape import Shape, critical_path_of, depth_of, width_of

if TYPE_CHECKING:
    from antichain.core.facts import Event
    from antichain.record import RunResult

__all__ = ["Plan"]

# Limits that exist without being defined.
IMPLICIT_LIMITS: Final = ("thread", "process")


class Plan:
    """
    A graph that has been checked and indexed; it never changes, and may be run many times, also at once.

    Made by ``Graph.plan()``.
    """

    __slots__ = (
        "_input_slots_of",
        "_kept",
        "_redraw",
        "_told",
        "_whole_slot",
        "_wired",
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
        "weighings",
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
    limits: dict[str, LimitValue]
    # Where run inputs go, by name; and the slot of the dict of all of them.
    _input_slots_of: dict[str, list[int]]
    _whole_slot: int | None
    # Plans the same graph for targets, with nodes that outputs replace.
    _redraw: Callable[[Iterable[str | Node[..., Any]] | None, Collection[str]], tuple[Plan, list[Fault]]]
    # How each node is wired, as `resuming` tells it, once somebody has asked: as unchanging as the rest.
    _wired: list[str] | None
    # The same, as `opening` writes it into the header of a run; and what `keeping` knows of each node.
    _told: bytes | None
    _kept: tuple[Sequence[Any], bool] | None
    # Each distinct demand of this plan and of the graphs inside it, with some nodes that have it.
    uses: dict[tuple[tuple[str, int], ...], tuple[str, ...]]
    # What nodes say of limits beyond that, each with a node that says it.
    weighings: tuple[tuple[str, Weighing], ...]

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

    def limits_with(self, limits: Mapping[str, LimitValue]) -> dict[str, LimitValue]:
        """
        Return the limits of a run for which *limits* were given.
        """
        return {**self.limits, **limits}

    def check_limits(self, limits: Mapping[str, LimitValue]) -> list[Fault]:
        """
        Say what is wrong with the limits of a run for which *limits* were given: unknown ones, and weights above them.
        """
        faults = []
        known = self.limits_with(limits)
        used = {name for demand in self.uses for name, _ in demand}
        # By a function of an item, which may name any.
        chooses = any(weighing.choose is not None for _, weighing in self.weighings)
        for name in limits:
            if name not in self.limits and name not in used and name not in IMPLICIT_LIMITS and not chooses:
                hint = suggestion(str(name), [*used, *self.limits]) or " Remove it, or give it to a node by uses=."
                text = f"limits= names {name!r}, which no node of graph {self.name!r} uses.{hint}"
                faults.append(Fault("unknown-limit", text))
        seen = set()
        for demand, nodes in self.uses.items():
            for name, weight in demand:
                if (name, weight) not in seen:
                    seen.add((name, weight))
                    faults.extend(demand_faults(name, weight, nodes, known))
            faults.extend(_twin_faults(demand, nodes, known))
        for node, weighing in self.weighings:
            faults.extend(weighing_faults(node, weighing, known))
        return faults

    def check_budgets(self, names: Iterable[str], limits: Iterable[str] = ()) -> list[Fault]:
        """
        Say which *names* of limits, for which ``retry_budget=`` was given, are those of none; *limits* are those for
        which the run was given sizes.
        """
        used = (name for demand in self.uses for name, _ in demand)
        known = {EVERYTHING, *IMPLICIT_LIMITS, *self.limits, *limits, *used}
        faults = []
        for name in names:
            if name not in known:
                hint = suggestion(str(name), known) or " Remove it, or give it to a node by uses=."
                text = f"retry_budget= names {name!r}, which no node of graph {self.name!r} uses.{hint}"
                faults.append(Fault("unknown-limit", text))
        return faults

    def pruned(self, targets: Iterable[str | Node[..., Any]] | None, outputs: Collection[str] = ()) -> Plan:
        """
        Return the plan of what *targets* need, where nodes in *outputs* are replaced and need nothing.

        Raises:
            GraphError: a target is not in the graph.
        """
        plan, faults = self._redraw(targets, outputs)
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

    def resume(self, run_id: str, /, **options: Unpack[ResumeOptions]) -> RunResult:
        """
        Go on with a run that a store keeps, and wait for its end; see Graph.resume.
        """
        from antichain.run import resume_plan

        return resume_plan(*prepare_plan_resume(self, run_id, options))

    async def aresume(self, run_id: str, /, **options: Unpack[ResumeOptions]) -> RunResult:
        """
        Go on with a run that a store keeps, in async code; see Graph.resume.
        """
        from antichain.run import aresume_plan

        return await aresume_plan(*prepare_plan_resume(self, run_id, options))

    def estimate(self, durations: Any = None, **options: Any) -> Any:  # Any: see antichain.run.estimate_plan
        """
        Play the plan in virtual time: how long a run would take, and why.
        """
        from antichain.run import estimate_plan

        return estimate_plan(self, durations, **options)

    # -- looking at it

    def with_costs(self, durations: Mapping[str, float]) -> Plan:
        """
        Return the same plan with expected seconds for its nodes: what is on the longest path by them starts first, and
        estimates count with them.

        What is not given comes from ``cost=``. What has neither counts as many seconds as nine in ten of the known
        nodes stay below, since to start a node too late costs more than to start it too early; 1 if nothing is known.

        Args:
            durations: seconds by node id; nodes of a nested graph are ``outer/inner``, and what is given for a map
                holds for each of its instances. Ids that the plan does not have are passed over.

        Example:
            >>> graph = Graph()
            >>> _ = graph.add("slow", lambda: 1), graph.add("quick", lambda: 2)
            >>> graph.plan().with_costs({"slow": 30.0, "quick": 0.1}).critical_path
            ('slow',)

        Raises:
            GraphError: a duration is no number of seconds.
        """
        from antichain.plan.costs import with_costs

        return with_costs(self, durations)

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


def demand_faults(name: str, weight: int, nodes: Sequence[str], known: Mapping[str, LimitValue]) -> Iterator[Fault]:
    who = f"node {nodes[0]!r} uses"
    if name not in known:
        if name not in IMPLICIT_LIMITS:
            hint = suggestion(name, known) or f" Define it: Graph(limits={{{name!r}: 4}})."
            yield Fault(
                "unknown-limit", f"{who} the limit {name!r}, which nobody defines.{hint}", nodes[0], tuple(nodes)
            )
        return
    limit = known[name]
    if type(limit) is not int and not is_limit(limit):
        # Said already: it is none.
        return
    if type(limit) is not int and isinstance(limit, SharedRate):
        yield from _amount_faults(nodes[0], name, limit, limit.plain(weight))
        return
    size: object = limit
    if type(limit) is not int and isinstance(limit, SharedLimit):
        size = limit.maximum if isinstance(limit, AdaptiveLimit) else limit.size
    if type(size) is int and size < weight:
        text = f"{who} {weight} of the limit {name!r}, which has {size}: lower one or raise the other."
        yield Fault("weight-above-limit", text, nodes[0], tuple(nodes))


def _twin_faults(
    demand: tuple[tuple[str, int], ...], nodes: Sequence[str], known: Mapping[str, LimitValue]
) -> Iterator[Fault]:
    """
    Say which names of a demand stand for one object, if that is too small for all of them together.
    """
    twins: dict[int, list[str]] = {}
    for name, _ in demand:
        if type(known.get(name, 0)) is not int and is_limit(known[name]):
            twins.setdefault(id(known[name]), []).append(name)
    weights = dict(demand)
    for names in twins.values():
        limit = known[names[0]]
        total = sum(weights[name] for name in names)
        who, what = f"node {nodes[0]!r} uses", " and ".join(map(repr, names))
        if len(names) > 1 and isinstance(limit, SharedRate):
            text = f"{who} {what}, which are one Rate: name it once, with all that the node takes."
            yield Fault("bad-policy", text, nodes[0], tuple(nodes))
        elif len(names) > 1 and isinstance(limit, SharedLimit):
            size = limit.maximum if isinstance(limit, AdaptiveLimit) else limit.size
            if total > size:
                text = f"{who} {what}, which are one limit: {total} of {size}. Lower one or raise the other."
                yield Fault("weight-above-limit", text, nodes[0], tuple(nodes))


def weighing_faults(node: str, weighing: Weighing, known: Mapping[str, LimitValue]) -> Iterator[Fault]:
    """
    Say what of the *weighing* of a node does not fit the limits that are *known*.
    """
    for name in (*weighing.amounts, *weighing.weights):
        limit = known.get(name)
        if limit is None or (type(limit) is not int and not is_limit(limit)):
            # Said already, as of any limit that nobody defines.
            continue
        if not isinstance(limit, SharedRate):
            what = "names units of" if name in weighing.amounts else "has a function for its weight on"
            text = f"node {node!r} {what} the limit {name!r}, which is no Rate: there a weight is a whole number."
            yield Fault("bad-policy", text, node)
        elif name in weighing.amounts:
            yield from _amount_faults(node, name, limit, weighing.amounts[name])


def _amount_faults(node: str, name: str, rate: SharedRate, amounts: Mapping[str, float]) -> Iterator[Fault]:
    try:
        rate.check(amounts)
    except GraphError as error:
        for fault in error.faults:
            yield Fault("weight-above-limit", f"node {node!r} uses the limit {name!r}: {fault.message}", node)
