"""
Nodes that enter while a run goes on: who brings them, nested graphs, and what a body runs itself; mapped stages are in
`stages`. No clock and no task: the driver has those.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antichain.binding import MISSING, Binding
from antichain.core.capacity import most_of
from antichain.core.groups import Group
from antichain.core.scheduler import Kind
from antichain.core.states import BUDGET, FAILED, PAUSED
from antichain.errors import Fault, GraphError, RunFailed, suggestion
from antichain.graph import Graph
from antichain.plan import Plan, check_inputs, plan_inside
from antichain.plan.plan import demand_faults, weighing_faults
from antichain.policies import UNSET, Weighing
from antichain.record import RunResult, instant
from antichain.runnable import CallKind
from antichain.shape import NO_PLACE, Flag, Place, after_of, order, with_start_edges

if TYPE_CHECKING:
    import asyncio

    from antichain.driver import Driver
    from antichain.keeping import Keeping

_CONTAINER: Final = int(Flag.CONTAINER)


class Grown:
    """
    What the driver knows of a node that came while the run went on.
    """

    __slots__ = (
        "binding",
        "fallback",
        "function",
        "item",
        "local",
        "opens",
        "output",
        "owner",
        "plan",
        "position",
        "quick",
        "slot",
        "values",
    )

    def __init__(self, owner: Owner, plan: Plan, local: int, values: list[Any]) -> None:
        # Told when the node has ended.
        self.owner = owner
        # Where its call is described, and under which index there.
        self.plan = plan
        self.local = local
        # What its arguments are taken from.
        self.values = values
        self.binding: Binding | None = None
        # Makes its coroutine, where nothing has to be bound.
        self.quick: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self.fallback: Any = UNSET
        self.output: Any = None
        # Of an instance of a mapped stage.
        self.position = -1
        self.item: Any = None
        # Where its item is to be while its arguments are made.
        self.slot = -1
        # What is called with its item, where that is all there is to do.
        self.function: Callable[[Any], Coroutine[Any, Any, Any]] | None = None
        # The container that starts with it, where that is known before.
        self.opens: Container | None = None

    def let_go(self) -> None:
        """
        Drop all values: records of nodes stay for the rest of the run, what they returned must not stay with them.
        """
        self.owner, self.values, self.quick, self.output, self.opens = _NOBODY, [], None, None, None


class Kept(NamedTuple):
    """
    What has to be known of a node to keep its output, and to know it again.
    """

    fingerprint: str
    # Whether its output is kept, and what may become of an attempt of which nobody knows how it ended.
    persist: bool = True
    repeat: str | None = None
    # What says which type it returns.
    function: Any = None


class Owner:
    """
    Whoever brought nodes into the run, and wants to know how each of them ended.
    """

    # How many nodes it brings in all, if that is known before they have come.
    total: int | None = None
    # The output of one of them was not kept, and is not made again.
    has_lost = False

    def place_of(self, grown: Grown) -> Place:
        """
        Return the place of a node of its own that is a container.
        """
        return NO_PLACE

    def name_of(self, grown: Grown) -> str:
        """
        Return the name of an instance of a mapped stage, which is not made before it is asked for.
        """
        raise NotImplementedError

    def upstream_of(self, grown: Grown) -> tuple[str, ...]:
        """
        Name what an instance of a mapped stage was made from.
        """
        return ()

    def kept(self, keeping: Keeping, grown: Grown) -> Kept:
        """
        Return what has to be known of a node of its own to keep its output; asked before the node enters.
        """
        raise NotImplementedError

    def child_succeeded(self, driver: Driver, node: int, grown: Grown, value: Any) -> None: ...
    def child_failed(self, driver: Driver, node: int, grown: Grown, error: BaseException) -> None: ...
    def child_cancelled(self, driver: Driver, node: int, grown: Grown) -> None: ...


# The owner of a node whose container has ended.
_NOBODY: Final = Owner()


class Container(Owner):
    """
    A node that charges no slot and ends when all that it brought into the run has ended.
    """

    group: Group

    def __init__(self) -> None:
        # Failures of its children, in the order in which they came.
        self.errors: list[BaseException] = []

    def child_failed(self, driver: Driver, node: int, grown: Grown, error: BaseException) -> None:
        self.errors.append(error)

    def error(self) -> BaseException | None:
        """
        Return what the container fails with, if it does: its child's own error where there is one.
        """
        errors = [error for error in self.errors if isinstance(error, Exception)]
        if len(errors) > 1:
            return ExceptionGroup(f"{len(errors)} failures inside", errors)
        return errors[0] if errors else None

    @property
    def is_complete(self) -> bool:
        """
        Tell whether all children that there are to be have come.
        """
        return True

    def output(self) -> Any:
        """
        Return the value of the container, all of whose children have ended well.
        """
        raise NotImplementedError

    def archive(self, driver: Driver) -> None:
        """
        Keep what is worth keeping once all children have ended.
        """

    def open(self, driver: Driver, node: int) -> None:
        """
        Let the first children enter.
        """
        raise NotImplementedError

    def contents(self) -> Contents:
        """
        Tell which nodes came, and their outputs.
        """
        raise NotImplementedError


# ---------------------------------------------------------------------- nested graphs


class Contents(NamedTuple):
    """
    What came into the run by way of one container, for a result of its own.
    """

    # Nodes of the run by their ids in the container, and their outputs in the same order.
    nodes: Mapping[str, int]
    values: Sequence[Any]
    # Ids of those whose outputs are the result.
    shown: Sequence[str]


class NestedGraph(Container):
    """
    A graph inside the run: its nodes are `outer/inner`, its output is that of its single sink (None if that was
    skipped), else a dict of its sinks.
    """

    def __init__(self, plan: Plan, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.plan = plan
        self.values = plan.fill(inputs)
        # Nodes of the run by index in the plan.
        self.nodes: list[int] = []
        # Where the run is kept.
        self._fingerprints: Sequence[str] = ()
        self._place = NO_PLACE

    def place_of(self, grown: Grown) -> Place:
        place = self._place
        return place._replace(after=after_of(self.plan.shape, grown.local) + place.after)

    def kept(self, keeping: Keeping, grown: Grown) -> Kept:
        plan, local = self.plan, grown.local
        policies = plan.nodes[local].policies
        function = plan.functions[local] if grown.binding is None else grown.binding.function
        return Kept(self._fingerprints[local], policies.persist, policies.repeat, function)

    def open(self, driver: Driver, node: int) -> None:
        core, shape, plan, group = driver.core, self.plan.shape, self.plan, self.group
        if driver.keeping is not None:
            self._fingerprints = driver.keeping.inside(plan, node)
        prefix, now = driver.name_of(node), driver.clock()
        place = self._place = place_of(driver, node)
        self.nodes = [-1] * shape.count
        for local in order(*with_start_edges(shape)):
            remaining, tie = place.of(shape.remaining[local], local)
            kind = Kind(
                demand=core.demand_number(shape.demands[shape.demand[local]]),
                flags=shape.flags[local],
                priority=max(shape.priority[local], core.priority[node]),
                remaining=remaining,
                retry=shape.retry.get(local),
                timeout=shape.timeout.get(local),
                amounts=shape.amounts.get(local),
                is_weighed=local in shape.weighed,
            )
            leaders = [leader for leader, nodes in shape.followers.items() if local in nodes]
            grown = Grown(self, plan, local, self.values)
            if plan.kinds[local] == CallKind.GENERAL:
                binding: Binding = plan.arguments[local]
                grown.binding, grown.fallback = binding, binding.fallback
            else:
                grown.quick = _quick(plan, local, self.values)
            child = driver.enter(
                group,
                kind,
                f"{prefix}/{plan.ids[local]}",
                grown,
                upstream=[self.nodes[before] for before in shape.upstream[local]],
                leaders=[self.nodes[leader] for leader in leaders],
                join=shape.join[local],
                order=tie,
                now=now,
            )
            self.nodes[local] = child
        core.close(group)

    def child_succeeded(self, driver: Driver, node: int, grown: Grown, value: Any) -> None:
        self.values[grown.local] = value

    def archive(self, driver: Driver) -> None:
        for grown in filter(None, map(driver.grown.get, self.nodes)):
            grown.let_go()

    def contents(self) -> Contents:
        """
        Tell which nodes came, and their outputs.
        """
        plan = self.plan
        index = {name: self.nodes[local] for local, name in enumerate(plan.ids)} if self.nodes else {}
        return Contents(index, self.values, plan.ids if plan.targets is None else plan.targets)

    def output(self) -> Any:
        shape = self.plan.shape
        wanted = self.plan.targets or [
            self.plan.ids[local]
            for local in range(shape.count)
            if not shape.downstream[local] and local not in shape.followers
        ]
        outputs = {name: self.values[self.plan.index[name]] for name in wanted}
        if len(outputs) == 1:
            only = next(iter(outputs.values()))
            return None if only is MISSING else only
        return {name: value for name, value in outputs.items() if value is not MISSING}


def _quick(plan: Plan, local: int, values: list[Any]) -> Callable[[], Coroutine[Any, Any, Any]] | None:
    """
    Make the call of a node of a nested graph that needs no binding.
    """
    kind, function, source = plan.kinds[local], plan.functions[local], plan.arguments[local]
    if kind == CallKind.COROUTINE0:
        return function  # type: ignore[no-any-return]
    if kind == CallKind.COROUTINE1:
        return lambda: function(values[source])
    if kind == CallKind.COROUTINEN:
        return lambda: function(*source(values))

    async def inline() -> Any:
        if kind == CallKind.INLINE0:
            value = function()
        elif kind == CallKind.INLINE1:
            value = function(values[source])
        else:
            value = function(*source(values))
        return await value if isinstance(value, Coroutine) else value

    return inline


def place_of(driver: Driver, node: int) -> Place:
    """
    Return how urgent is what the container *node* brings, or the body of *node*.
    """
    grown = driver.grown.get(node)
    return Place(after_of(driver.plan.shape, node)) if grown is None else grown.owner.place_of(grown)


# ---------------------------------------------------------------------- what a body runs itself


class Inside(Owner):
    """
    A graph or a function that a running body asked for; its end is the body's to wait for.
    """

    def __init__(self, driver: Driver, node: int, name: str, plan: Plan, *, is_graph: bool) -> None:
        # Done once nothing of it runs any more.
        self.ended: asyncio.Future[None] = driver.loop.create_future()
        # What came of it, if it was not cancelled. Not in the future, which refuses a StopIteration.
        self.has_outcome = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._node = node
        self._name = name
        # The container's own id in the run.
        self.path = driver.path_inside(node, name)
        self._plan = plan
        self._is_graph = is_graph
        self._container: Container | None = None
        self._inputs: Mapping[str, Any] = {}
        # The node of the container.
        self._entered = node
        self._place = place_of(driver, node)

    def place_of(self, grown: Grown) -> Place:
        # What the body runs is as urgent as the body.
        return self._place

    def enter(self, driver: Driver, group: Group, inputs: Mapping[str, Any]) -> None:
        """
        Bring the graph, as a container, into the run.
        """
        core = driver.core
        kind = Kind(flags=_CONTAINER, priority=core.priority[self._node], remaining=self._place.after)
        self._inputs = inputs
        grown = Grown(self, self._plan, 0, [])
        grown.opens = self._container = self.make_container(inputs)
        self._entered = driver.enter(group, kind, self.path, grown, now=driver.clock())

    def kept(self, keeping: Keeping, grown: Grown) -> Kept:
        return keeping.asked_for(self._node, self._inputs, self._plan)

    def has_paused(self, driver: Driver) -> bool:
        """
        Tell whether something of it is left for another day: it waits for somebody's answer, or a budget is used up.
        """
        return driver.core.reason[self._entered] in (PAUSED, BUDGET)

    def reason(self, driver: Driver) -> int:
        """
        Return why it has ended.
        """
        return driver.core.reason[self._entered]

    def make_container(self, inputs: Mapping[str, Any]) -> Container:
        """
        Make what brings its nodes into the run.
        """
        return NestedGraph(self._plan, inputs)

    def child_succeeded(self, driver: Driver, node: int, grown: Grown, value: Any) -> None:
        self.has_outcome = True
        self._value = self._result(driver) if self._is_graph else value
        grown.let_go()

    def child_failed(self, driver: Driver, node: int, grown: Grown, error: BaseException) -> None:
        self.has_outcome = True
        self._error = error
        if self._is_graph:
            assert self._container is not None
            errors = [each for each in (*self._container.errors, error) if isinstance(each, Exception)]
            # The container's own error is that of its child, unless it has none.
            errors = list(dict.fromkeys(errors[:-1] or errors))
            text = f"{len(errors)} failure{'s' * (len(errors) != 1)} in graph {self._name!r}"
            self._error = RunFailed(text, errors, self._result(driver))

    def end(self) -> None:
        """
        Let the body go on: nothing of it is left.
        """
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> Any:
        """
        Return the value, or raise the error.
        """
        if self._error is not None:
            raise self._error
        return self._value

    def _result(self, driver: Driver) -> RunResult:
        core = driver.core
        assert self._container is not None
        index, values, shown = self._container.contents()
        nodes = list(index.values())
        failed = any(core.state[node] == FAILED for node in nodes)
        return RunResult(
            run_id=driver.run_id,
            name=self._name,
            status="failed" if failed else "succeeded",
            started_at=min((at for node in nodes if (at := instant(core.ready_at[node])) is not None), default=0.0),
            ended_at=max((at for node in nodes if (at := instant(core.ended_at[node])) is not None), default=0.0),
            scheduler=core,
            names=dict(zip(nodes, index, strict=True)),  # type: ignore[arg-type]
            index=index,
            values=dict(zip(nodes, values, strict=False)),  # type: ignore[arg-type]
            errors=driver.errors,
            shown=shown,
        )


class Growing:
    """
    What a body may run beside graphs and functions: it brings its nodes into the run by itself.
    """

    def call_inside(self, driver: Driver, node: int, inputs: Mapping[str, Any]) -> Inside:
        """
        Prepare to run inside the body of *node*.
        """
        raise NotImplementedError


def call_inside(driver: Driver, node: int, runnable: object, inputs: Mapping[str, Any]) -> Inside:
    """
    Prepare what `Context.run` was asked for: a function, a graph, or what knows itself how to grow inside a run.

    Raises:
        GraphError: the graph, its inputs or its options are wrong; nothing of it has run.
    """
    if isinstance(runnable, Growing):
        return runnable.call_inside(driver, node, inputs)
    is_graph = isinstance(runnable, Graph)
    if isinstance(runnable, Graph):
        graph, name = runnable, runnable.name
    else:
        # Its parameters are run inputs, so a node needs an id that no parameter has.
        name = getattr(runnable, "__name__", type(runnable).__name__)
        graph = Graph(name)
        graph.add(f"{name}()", runnable)
    plan = plan_inside(graph)
    faults = check_inputs(plan, inputs)
    faults += [
        Fault("nested-options", f"graph {plan.name!r} sets {option}=, but it runs inside a run, whose options hold.")
        for option in plan.options
    ]
    driver.add_limits(plan.limits)
    faults += limit_faults(driver, plan.uses, plan.weighings)
    if faults:
        raise GraphError(faults, plan.name)
    return Inside(driver, node, name, plan, is_graph=is_graph)


def limit_faults(
    driver: Driver,
    uses: Mapping[tuple[tuple[str, int], ...], Sequence[str]],
    weighings: Iterable[tuple[str, Weighing]] = (),
) -> list[Fault]:
    """
    Say which limits nodes cannot use that enter a run which goes on: those it does not have, and those that are too
    small.
    """
    faults: list[Fault] = []
    for demand, names in uses.items():
        for limit, weight in demand:
            if limit in driver.core.rates:
                faults += demand_faults(limit, weight, names, {limit: driver.core.rates[limit].limit})
                continue
            slots, who = driver.core.limits.get(limit), f"node {names[0]!r} uses"
            size = most_of(slots)
            if slots is None:
                hint = suggestion(limit, driver.core.limits) or f" Define it: limits={{{limit!r}: 4}}."
                text = f"{who} the limit {limit!r}, which this run does not have.{hint}"
                faults.append(Fault("unknown-limit", text, names[0], tuple(names)))
            elif size < weight:
                text = f"{who} {weight} of the limit {limit!r}, which has {size}: lower one or raise the other."
                faults.append(Fault("weight-above-limit", text, names[0], tuple(names)))
    for node, weighing in weighings:
        known = {name: driver.core.limit_of(name) for name in (*weighing.amounts, *weighing.weights)}
        faults += weighing_faults(node, weighing, {name: limit for name, limit in known.items() if limit is not None})
    return faults
