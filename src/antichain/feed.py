"""
Steps that arrive while their run goes on: a plan that is still being written. No clock, no task: the driver has those.

Each step enters the run once all that it depends on has entered; from then on the core treats it like any other node.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from antichain.binding import MISSING, THREADED, LiteralSource, Prepared, Source, bind_node, demand_of, flags_of
from antichain.core.groups import CANCEL
from antichain.core.scheduler import Kind
from antichain.core.states import READY
from antichain.errors import Fault, GraphError, RunFailed, RunnerError, suggestion
from antichain.graph import Graph, Node
from antichain.growth import Container, Contents, Grown, Inside, Kept, Owner, limit_faults
from antichain.items import Queued
from antichain.plan import Plan, plan_inside
from antichain.runnable import EMPTY, describe
from antichain.shape import DEFAULT_COST, Flag
from antichain.stages import OPEN_WINDOW

if TYPE_CHECKING:
    from antichain.core.groups import Group
    from antichain.driver import Driver
    from antichain.keeping import Keeping
    from antichain.policies import Weighing

# The node that stands for the stream itself: it runs as long as there may be further steps.
STREAM: Final = "(steps)"
# A cycle's path is shown up to so many names.
SHOWN_CYCLE: Final = 20


class Refusable:
    """
    A source of steps that may find out that nothing more is to start, although it has not been read to its end.

    A base, not a form: whoever streams steps may have anything called `steps`.
    """

    def watched(self, on_refusal: Callable[[], object]) -> AsyncIterable[Any]:  # Any: what a Feed can read
        """
        Return the steps; *on_refusal* is called at most once, and no step is given after that.
        """
        raise NotImplementedError


class Feed(Container):
    """
    Bring each node that *source* gives into the run as it comes, and last as long as the source does.

    The nodes belong to the run itself, and their failures are the run's, by its `on_error`; with *is_inside*, they
    belong to this container, which then also lasts as long as they do.
    """

    def __init__(
        self,
        source: AsyncIterable[Any],  # Any: what *read* can read
        read: Callable[[Any], Node[..., Any]],
        inputs: Mapping[str, Any],  # Any: the user's values
        *,
        is_inside: bool = False,
    ) -> None:
        super().__init__()
        self._source = source
        self._is_inside = is_inside
        # What stands before each id, and the group that the steps are in; both are known once this has begun.
        self._prefix = ""
        self._members: Group
        self._is_refused = False
        self._has_stopped = False
        # The step that is about to enter.
        self._entering: _Held
        # Makes a checked node of what the source gives, or raises GraphError.
        self._read = read
        self._queued = Queued()
        # Ids of all steps in the order in which they arrived, held ones included.
        self.ids: list[str] = []
        # Nodes of the run by id. Invariant: a step is in exactly one of _nodes and _held.
        self._nodes: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        # Steps that wait for one that has not entered, by the id of that one.
        self._waiting_for: dict[str, list[_Held]] = {}
        # What arguments are taken from: the run's inputs, then outputs by node.
        self._names = _Names(inputs)
        # Steps that may still be read before the ready ones are counted, and endings to wait for before that.
        self._room = OPEN_WINDOW
        self._endings = 0

    def enter(self, driver: Driver) -> None:
        """
        Begin with the run.
        """
        self._driver = driver
        driver.shown = self.ids
        grown = Grown(Owner(), driver.plan, -1, [])
        grown.opens = self
        self._node = driver.enter(driver.core.root, Kind(flags=int(Flag.CONTAINER)), STREAM, grown, now=driver.clock())

    def open(self, driver: Driver, node: int) -> None:
        """
        Begin to read.
        """
        self._driver, self._node, self._members = driver, node, driver.core.root
        if self._is_inside:
            self._members, self._prefix = self.group, f"{driver.name_of(node)}/"
        source = self._source
        if isinstance(source, Refusable):
            source = source.watched(self._refuse)
        self._wake_reader = driver.read(source, self._queued, 1, self._on_step, self._fail)

    def contents(self) -> Contents:
        """
        Tell which nodes came, and their outputs.
        """
        names = [name for name in self.ids if name in self._nodes]
        values = [self._names.value_of(name) for name in names]
        return Contents({name: self._nodes[name] for name in names}, values, names)

    def output(self) -> int:
        """
        Return how many steps came.
        """
        return len(self.ids)

    def archive(self, driver: Driver) -> None:
        """
        Stop reading. What has not entered ends with the stream: whether it could have run was not found out.
        """
        self._stop_reading()
        if self._is_inside:
            # Its own group has ended, and what waited for a step that never came has never been part of it.
            return
        for held in list(self._held.values()):
            self._place(held, Kind(), Grown(self, driver.plan, -1, []), [self._node])

    # -- reading

    def _on_step(self) -> None:
        """
        The reader brings a step, or nothing more.
        """
        if self.group.closed:
            return
        try:
            while (taken := self._queued.next()) is not None:
                self._arrive(taken[1])
            if self._queued.has_ended:
                self._finish()
        except GraphError as error:
            self._fail(error)
        self._driver.turn()
        self._read_on()

    def _stop_reading(self) -> None:
        # Once: a second cancellation would disturb the source while it cleans up.
        if not self._has_stopped:
            self._has_stopped = True
            self._queued.close()

    def _read_on(self) -> None:
        """
        Let the reader go on, but not while more steps wait for slots than will soon be needed: a stream may be endless.
        """
        if not self._room:
            state = self._driver.core.state
            ready = sum(state[node] == READY for node in self._members.live)
            self._room = max(0, OPEN_WINDOW - ready)
            if not self._room:
                # So many are sure to end, for they are ready, and reading more of the plan could not help any of them.
                self._endings = OPEN_WINDOW // 2
                return
        self._room -= 1
        # Not at once: a stream that never waits would keep the loop for itself.
        self._driver.loop.call_soon(self._wake_reader)

    def _fail(self, error: BaseException) -> None:
        """
        End the stream: it, or one of its steps, is not what it should be.
        """
        if self.group.closed:
            return
        self.errors.append(_as_exception(error))
        driver = self._driver
        # Its own steps, where they are inside, end by the run's `on_error`; those of a plan that was refused end well.
        is_harsh = not self._is_inside or (self.group.mode == CANCEL and not self._is_refused)
        driver.core.stop(self.group, driver.clock(), interrupt=is_harsh)
        driver.core.close(self.group)
        driver.turn_soon()

    def _refuse(self) -> None:
        """
        Let nothing more start: there is a fault in what the steps come from, which is read to its end all the same.
        """
        self._is_refused = True
        if not self.group.closed:
            driver = self._driver
            driver.core.stop(self._members, driver.clock(), interrupt=False, spare=self._node)
            driver.turn_soon()

    def _finish(self) -> None:
        """
        The plan is complete: whatever still waits for a step that never came is a fault.
        """
        faults = []
        for name, held in self._held.items():
            for before in held.needs:
                if before not in self._nodes and before not in self._held:
                    hint = suggestion(before, self.ids) or " Add that step, or remove what needs it."
                    needs = "depends on" if held.node.depends_on is not None else "has the parameter"
                    text = f"step {name!r} {needs} {before!r}, but the stream of steps ended without it.{hint}"
                    faults.append(Fault("unknown-upstream", text, name, (name, before)))
        if faults:
            raise GraphError(faults, self._driver.plan.name)
        self._driver.core.close(self.group)

    # -- entering

    def _arrive(self, item: Any) -> None:
        node = self._read(item)
        name = node.id
        if self._prefix + name in self._driver.grown_index:
            text = f"step {name!r} has the id of a node that is already in the run. Give it another id."
            raise GraphError(Fault("id-collision", text, name, (name,)), self._driver.plan.name)
        held = self._held[name] = _Held(node, len(self.ids), _needs_of(node, self._names.inputs))
        self.ids.append(name)
        missing = [before for before in held.needs if before not in self._nodes]
        held.missing = len(missing)
        if not missing:
            self._bring_in(held)
            return
        for before in missing:
            self._waiting_for.setdefault(before, []).append(held)
        if name in self._waiting_for:
            self._refuse_cycle(name)

    def _bring_in(self, held: _Held) -> None:
        """
        Let a step enter the run, and those that waited only for it.
        """
        entering = [held]
        for held in entering:  # grows
            self._bind(held)
            for waiting in self._waiting_for.pop(held.node.id, ()):
                waiting.missing -= 1
                if not waiting.missing:
                    entering.append(waiting)

    def _bind(self, held: _Held) -> None:
        driver, node, names = self._driver, held.node, self._names
        bound = bind_node(node, names)
        binding, policies = bound.binding, node.policies
        if bound.faults:
            raise GraphError(bound.faults, driver.plan.name)
        flags = flags_of(policies)
        demand = demand_of(policies, binding.style)
        uses: Mapping[tuple[tuple[str, int], ...], Sequence[str]] = {demand: (node.id,)}
        if binding.subplan is not None:
            flags |= Flag.CONTAINER
            demand, uses = (), binding.subplan.uses
            driver.add_limits(binding.subplan.limits)
        elif binding.style in THREADED:
            flags |= Flag.THREAD
        if policies.when is not None:
            flags |= Flag.WHEN
        weighing = policies.weighing
        weighings: Sequence[tuple[str, Weighing]] = () if weighing is None else ((node.id, weighing),)
        if binding.subplan is not None:
            weighings = binding.subplan.weighings
        faults = limit_faults(driver, uses, weighings)
        if faults:
            raise GraphError(faults, driver.plan.name)
        kind = Kind(
            demand=driver.core.demand_number(demand),
            flags=int(flags),
            priority=policies.priority,
            remaining=DEFAULT_COST if policies.cost is None else policies.cost,
            retry=policies.retry,
            timeout=policies.timeout,
            amounts=weighing.amounts if weighing is not None and weighing.amounts else None,
            is_weighed=bool(binding.weights),
        )
        grown = Grown(self, driver.plan, -1, names.values)
        grown.binding, grown.fallback = binding, binding.fallback
        self._place(held, kind, grown, [names.node_in(slot) for slot in bound.upstream])

    def _place(self, held: _Held, kind: Kind, grown: Grown, upstream: list[int]) -> None:
        driver, node = self._driver, held.node
        self._entering = held
        del self._held[node.id]
        slot = self._names.add(node.id, driver.core.next_node)
        if not self._is_inside:
            driver.values.extend([MISSING] * (driver.core.next_node + 1 - len(driver.values)))
        grown.local = slot
        self._nodes[node.id] = driver.enter(
            self._members,
            kind,
            self._prefix + node.id,
            grown,
            upstream=upstream,
            join=node.policies.join,
            order=held.position,
            now=driver.clock(),
        )

    def _refuse_cycle(self, start: str) -> None:
        """
        Raise if *start*, which has just come, waits for itself by way of others. Only held steps can be on a cycle.
        """
        came_from = {start: start}
        reached = [start]
        for name in reached:  # grows
            for before in self._held[name].needs:
                if before == start:
                    path = [name]
                    while path[-1] != start:
                        path.append(came_from[path[-1]])
                    raise GraphError(_cycle([start, *path]), self._driver.plan.name)
                if before in self._held and before not in came_from:
                    came_from[before] = name
                    reached.append(before)

    # -- endings

    def kept(self, keeping: Keeping, grown: Grown) -> Kept:
        """
        Return what has to be known of the step that enters.
        """
        node = self._entering.node
        function = None if grown.binding is None else grown.binding.function
        inputs = node.inputs.made_from if isinstance(node.inputs, Prepared) else node.inputs
        return keeping.step(self._node, node.id, self._entering.needs, inputs, node.policies, function)

    def child_succeeded(self, driver: Driver, node: int, grown: Grown, value: Any) -> None:
        """
        Keep the output of a step.
        """
        self._names.values[grown.local] = value
        if not self._is_inside:
            driver.values[node] = value
        self._count_ending()

    def child_failed(self, driver: Driver, node: int, grown: Grown, error: BaseException) -> None:
        """
        Take the failure of a step, which is the run's own affair unless the step belongs to this container.
        """
        if self._is_inside:
            self.errors.append(error)
            if self.group.stopping:
                # By the run's `on_error`: nothing more may enter.
                driver.core.close(self.group)
                self._stop_reading()
        self._count_ending()

    def child_cancelled(self, driver: Driver, node: int, grown: Grown) -> None:
        """
        Take the end of a step that was asked to end.
        """
        self._count_ending()

    def _count_ending(self) -> None:
        if self._endings:
            self._endings -= 1
            if not self._endings:
                self._read_on()


class FeedInside(Inside):
    """
    A stream of steps that a running body asked for.
    """

    def __init__(
        self, driver: Driver, node: int, name: str, feed: Feed, conclude: Callable[[RunFailed], BaseException]
    ) -> None:
        super().__init__(driver, node, name, driver.plan, is_graph=True)
        self._feed = feed
        # Says what the body is told of a run that failed.
        self._conclude = conclude

    def make_container(self, inputs: Mapping[str, Any]) -> Feed:
        """
        Return the feed, which has the inputs.
        """
        return self._feed

    def outcome(self) -> Any:
        """
        Return the result, or raise what the source makes of the failure.
        """
        try:
            return super().outcome()
        except RunFailed as failure:
            error = self._conclude(failure)
        raise error


class _Held:
    """
    A step that has arrived and not entered.
    """

    __slots__ = ("missing", "needs", "node", "position")

    def __init__(self, node: Node[..., Any], position: int, needs: tuple[str, ...]) -> None:
        self.node = node
        # In the order of arrival.
        self.position = position
        # Ids of what it depends on, and how many of those have not entered.
        self.needs = needs
        self.missing = 0


def _needs_of(node: Node[..., Any], inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Return what a step waits for: what `depends` says, else its parameters that no run input and no default fills.

    Raises:
        GraphError: it depends on itself.
    """
    if node.depends_on is not None:
        needs = [name for name in node.depends_on if isinstance(name, str)]
    elif isinstance(node.runnable, Graph):
        needs = [name for name in plan_inside(node.runnable).inputs if name not in inputs]
    else:
        described = describe(node.runnable)
        parameters = () if described is None else described.parameters
        context = None if described is None else described.context
        needs = [
            parameter.name
            for parameter in parameters
            if parameter.default is EMPTY and parameter.name not in inputs and parameter.name != context
        ]
    if node.id in needs:
        text = f"step {node.id!r} depends on itself: remove it from its own dependencies."
        raise GraphError(Fault("self-dependency", text, node.id, (node.id,)))
    return tuple(dict.fromkeys(needs))


def _cycle(path: list[str]) -> Fault:
    # From a step to what it needs, turned round: the order in which data would have to flow.
    names = path[::-1]
    shown = " → ".join(repr(name) for name in names[:SHOWN_CYCLE])
    more = f" → … ({len(names) - 1} steps)" if len(names) > SHOWN_CYCLE else ""
    text = f"these steps wait for each other: {shown}{more}. Remove one of the dependencies."
    return Fault("cycle", text, names[0], tuple(names[:-1]))


def _as_exception(error: BaseException) -> Exception:
    """
    Keep what is not an `Exception` from passing for one that we or the user asked for.
    """
    if isinstance(error, Exception):
        return error
    wrapped = RunnerError(f"the stream of steps raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


class _Names:
    """
    The names that a step may use: steps that have entered, and the run's inputs.
    """

    title = "the steps so far"

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs
        # The inputs one by one, all of them as a dict, then outputs by step.
        self.values: list[Any] = [*inputs.values(), dict(inputs)]
        self._input_slots = {name: slot for slot, name in enumerate(inputs)}
        self._slots: dict[str, int] = {}
        self._nodes: dict[int, int] = {}

    def add(self, name: str, node: int) -> int:
        """
        Return a slot for the output of a step that enters as *node*.
        """
        slot = self._slots[name] = len(self.values)
        self._nodes[slot] = node
        self.values.append(MISSING)
        return slot

    def value_of(self, name: str) -> Any:
        """
        Return the output of a step that has entered, or MISSING.
        """
        return self.values[self._slots[name]]

    def node_in(self, slot: int) -> int:
        """
        Return the node whose output is in *slot*.
        """
        return self._nodes[slot]

    def slot_of(self, name: str) -> int | None:
        return self._slots.get(name)

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        return self._slots.get(node.id)

    def input_slot(self, name: str, default: Any, node: str) -> int | None:
        return self._input_slots.get(name)

    def inputs_slot(self) -> int | None:
        return len(self._input_slots)

    def has_resource(self, name: str) -> bool:
        return False

    def literal(self, value: Any) -> Source:
        return LiteralSource(value)

    def spare_slot(self) -> int:
        # Of maps, which steps are not.
        return -1

    def is_mapped(self, slot: int) -> bool:
        return False

    def subplan(self, graph: Graph) -> Plan | None:
        return plan_inside(graph)

    def names(self) -> Iterable[str]:
        return [*self._slots, *self._input_slots]
