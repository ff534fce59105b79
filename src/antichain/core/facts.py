"""
What is now so: the numbered events of a run, and the one place that builds them. Only made when somebody listens.

Events are named tuples because a run makes three of them for each node; they are to be read by name.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from antichain.core.capacity import UNLIMITED, Slots
from antichain.core.states import OUTPUT, REASON_NAMES, STATE_NAMES
from antichain.shape import Shape

# What an attempt takes of named limits.
Uses = tuple[tuple[str, int], ...]


class Entry(NamedTuple):
    """
    What is known of a node before it runs.
    """

    node: str
    # Who brought it: a nested graph, a mapped stage, a node whose body runs more; empty for the run itself.
    group: str
    upstream: tuple[str, ...]
    uses: Uses


class LimitState(NamedTuple):
    """
    Say how a limit that opens by time stands at one instant.
    """

    name: str
    # Slots that are taken, over all runs that share it, and in all; None of a rate.
    used: int | None
    size: int | None
    # Seconds for which nobody starts, because the other side asks for it.
    paused: float = 0.0
    # Of a rate: seconds until the first in line may pass, and what it takes; None if nobody waits.
    opens_in: float | None = None
    wants: Mapping[str, float] = MappingProxyType({})

    @property
    def is_shut(self) -> bool:
        """
        Tell whether nobody may start now, whatever else is free.
        """
        return self.paused > 0 or (self.opens_in is not None and self.opens_in > 0)

    def __str__(self) -> str:
        """
        Say it to people: ``rate llm: 3.2 s until 1,200 tokens``, ``adaptive llm: 4 of 4, paused 12 s more``.
        """
        return f"{'rate' if self.size is None else 'adaptive'} {self.name}: {self.why}"

    @property
    def why(self) -> str:
        """
        The same without its name.
        """
        parts = [] if self.size is None else [f"{self.used:,} of {self.size:,}"]
        if self.paused > 0:
            parts.append(f"paused {_seconds(self.paused)} more")
        elif self.opens_in is not None and self.opens_in > 0:
            amounts = " and ".join(f"{amount:,.6g} {unit}" for unit, amount in self.wants.items() if amount)
            parts.append(f"{_seconds(self.opens_in)} until {amounts}" if amounts else _seconds(self.opens_in))
        return ", ".join(parts) or "open"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


class Outline:
    """
    Tell what is known of a run before its first node starts: the planned nodes, and how much may run at once.
    """

    __slots__ = ("_shape", "limit_states", "limits", "max_concurrent", "names")

    EMPTY: ClassVar["Outline"]

    def __init__(
        self,
        names: Sequence[str] = (),
        shape: Shape | None = None,
        limits: Mapping[str, Slots] = MappingProxyType({}),
        max_concurrent: int = UNLIMITED,
        limit_states: Callable[[float], Sequence[LimitState]] | None = None,
    ) -> None:
        # Of the planned nodes, in definition order.
        self.names = names
        self._shape = shape
        # Sizes of the named limits, and how much may run at once in total, at the start.
        self.limits = {name: slots.size for name, slots in limits.items()}
        self.max_concurrent = None if max_concurrent == UNLIMITED else max_concurrent
        # Tells, while the run goes on and in its thread, how limits stand that open by time; None if it began without.
        self.limit_states = limit_states

    def demands(self) -> Iterator[tuple[str, Uses]]:
        """
        List the planned nodes that take something of a named limit, and what.
        """
        shape, names = self._shape, self.names
        # The first demand is that of nodes that take nothing.
        if shape is not None and len(shape.demands) > 1:
            for node, number in enumerate(shape.demand):
                if number:
                    yield names[node], shape.demands[number]

    def entries(self) -> Iterator[Entry]:
        """
        List the planned nodes, in definition order.
        """
        shape, names = self._shape, self.names
        if shape is None:
            return
        for node, before in enumerate(self.upstream()):
            upstream = tuple([names[each] for each in before])
            yield Entry(names[node], "", upstream, shape.demands[shape.demand[node]])

    def upstream(self) -> Sequence[Sequence[int]]:
        """
        Return what each planned node waits for, or follows from item to item, by number in definition order.
        """
        shape = self._shape
        if shape is None:
            return ()
        if not shape.followers:
            return shape.upstream
        leaders = leaders_of(shape.followers)
        return [[*before, *leaders.get(node, ())] for node, before in enumerate(shape.upstream)]

    def awaited(self) -> bytearray:
        """
        Return for each planned node, by number, whether another one waits for it or follows it.
        """
        shape = self._shape
        if shape is None:
            return bytearray()
        flags = bytearray(map(bool, shape.downstream))
        for leader in shape.followers:
            flags[leader] = True
        return flags

    def leaders(self) -> list[str]:
        """
        Name the planned nodes that others follow from item to item.
        """
        return [] if self._shape is None else [self.names[leader] for leader in self._shape.followers]


Outline.EMPTY = Outline()


def leaders_of(followers: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """
    Turn start edges around: the nodes that each node follows from item to item.
    """
    leaders: dict[int, list[int]] = {}
    for leader, nodes in followers.items():
        for node in nodes:
            leaders.setdefault(node, []).append(leader)
    return leaders


class RunStarted(NamedTuple):
    """
    A run has begun; `time` counts in seconds on the run's clock, which is not the wall clock.
    """

    seq: int
    time: float
    run_id: str
    name: str
    node_count: int
    node: None = None
    attempt: None = None
    outline: Outline = Outline.EMPTY


class NodeEntered(NamedTuple):
    """
    A node that was not planned has come: inside a nested graph, for an item of a mapped stage, by what a body runs.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: None
    # The node that brought it, and what it waits for and takes.
    group: str
    upstream: tuple[str, ...]
    uses: Uses
    # How many that one brings in all, if it is known: the length of the list that a mapped stage runs over.
    of: int | None = None


class NodeReady(NamedTuple):
    """
    All that the node waited for has come; it waits for slots now.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int


class NodeStarted(NamedTuple):
    """
    An attempt runs and holds its slots.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int


class Chunk(NamedTuple):
    """
    A running node gave a part of its output (`yield`, or `Context.emit`).
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int
    value: Any  # whatever the node's author yields


class NodeAsks(NamedTuple):
    """
    A running node asks a person, and holds no slots until it is answered. A node that nobody answers in this run ends
    after this, with the reason `paused`.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int
    # As the person reads it: it may come from anywhere.
    text: str
    # The question's number, with which it is put to whoever answers.
    number: int


class NodeAnswered(NamedTuple):
    """
    A node does not wait for a person any more: there is an answer, or none will come.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int
    # As in the NodeAsks before it.
    number: int


class NodeRetrying(NamedTuple):
    """
    An attempt failed and another one will start in `delay` seconds; until then the node holds no slot.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int
    delay: float
    error: BaseException | None


class NodeEnded(NamedTuple):
    """
    The node has its terminal state, which does not change any more.
    """

    seq: int
    time: float
    run_id: str
    node: str
    attempt: int
    state: str
    reason: str
    error: BaseException | None
    output: Any  # the node's value, None unless it succeeded
    abandoned: bool = False  # an attempt did not end when it was asked to


class RunEnded(NamedTuple):
    """
    Nothing of the run is left; `status` is that of its result.
    """

    seq: int
    time: float
    run_id: str
    status: str
    node: None = None
    attempt: None = None


# The three events of every node are made by this: half the time of a call of the class, which checks names and
# defaults.
_new = tuple.__new__

Event = (
    RunStarted
    | NodeEntered
    | NodeReady
    | NodeStarted
    | Chunk
    | NodeAsks
    | NodeAnswered
    | NodeRetrying
    | NodeEnded
    | RunEnded
)
Listener = Callable[[Event], object]


@runtime_checkable
class NodeListener(Protocol):
    """
    A listener that is told what happens to every node by these calls, for which no event has to be made; of everything
    else it is told like any other.
    """

    def __call__(self, event: Event, /) -> object:
        """
        Take in an event.
        """
        ...

    def node_started(self, number: int, node: str, attempt: int, now: float, ready_at: float) -> None:
        """
        Take in that an attempt starts, which has waited for slots since *ready_at*.

        Planned nodes are numbered as the outline has them; the numbers of others are higher, and may come again.
        """
        ...

    def node_succeeded(self, number: int, node: str) -> None:
        """
        Take in that it has an output of its own making, and nothing of it is left.
        """
        ...


class FactStream:
    """
    Number the facts of one run and hand each to every listener, in order.
    """

    __slots__ = (
        "_abandoned",
        "_listeners",
        "_names",
        "_node_listeners",
        "_output_of",
        "_ready_again_at",
        "_ready_at",
        "_reasons",
        "_report",
        "_run_id",
        "_states",
        "error_of",
        "seq",
    )

    def __init__(
        self,
        run_id: str,
        listeners: Sequence[Listener],
        names: Sequence[str],
        columns: tuple[Sequence[int], Sequence[int], Sequence[float]],
        error_of: Callable[[int], BaseException | None],
        output_of: Callable[[int], Any],
        abandoned: Container[int] = (),
        report: Callable[[Listener, BaseException], object] = lambda listener, error: None,
    ) -> None:
        self._run_id = run_id
        self._listeners = [each for each in listeners if not isinstance(each, NodeListener)]
        self._node_listeners = [each for each in listeners if isinstance(each, NodeListener)]
        # By node, and they grow with the run: names, states, reasons, when it was ready for the first time.
        self._names = names
        self._states, self._reasons, self._ready_at = columns
        # When the nodes were ready again that wait for another attempt, where somebody wants to know.
        self._ready_again_at: dict[int, float] = {}
        self.error_of = error_of
        self._output_of = output_of
        self._abandoned = abandoned
        # Told of a listener that raised. What listens changes nothing, and so may not end anything either.
        self._report = report
        # Number of the last event; there are no gaps.
        self.seq = 0

    def _tell(self, event: Event) -> None:
        """
        Tell everybody who is not told in another way.
        """
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as error:  # noqa: BLE001  # foreign code, in the middle of a decision
                self._drop(listener, error)

    def _tell_all(self, event: Event) -> None:
        for listener in self._node_listeners:
            try:
                listener(event)
            except BaseException as error:  # noqa: BLE001  # as above
                self._drop(listener, error)
        self._tell(event)

    def _drop(self, listener: Listener, error: BaseException) -> None:
        # New lists: somebody goes through the old ones.
        self._listeners = [each for each in self._listeners if each is not listener]
        self._node_listeners = [each for each in self._node_listeners if each is not listener]
        self._report(listener, error)

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    def run_started(self, name: str, node_count: int, now: float, outline: Outline = Outline.EMPTY) -> None:
        self._tell_all(RunStarted(self._next(), now, self._run_id, name, node_count, outline=outline))

    def run_ended(self, status: str, now: float) -> None:
        self._tell_all(RunEnded(self._next(), now, self._run_id, status))

    def entered(self, entry: Entry, now: float, of: int | None = None) -> None:
        self.seq += 1
        node, group, upstream, uses = entry
        self._tell_all(_new(NodeEntered, (self.seq, now, self._run_id, node, None, group, upstream, uses, of)))

    # What happens to every node: only counted where an event is made of it.

    def ready(self, node: int, attempt: int, now: float) -> None:
        if attempt != 1 and self._node_listeners:
            self._ready_again_at[node] = now
        if self._listeners:
            self.seq += 1
            self._tell(_new(NodeReady, (self.seq, now, self._run_id, self._names[node], attempt)))

    def started(self, node: int, attempt: int, now: float) -> None:
        if self._node_listeners:
            ready_at = self._ready_at[node] if attempt == 1 else self._ready_again_at.pop(node, now)
            for listener in self._node_listeners:
                try:
                    listener.node_started(node, self._names[node], attempt, now, ready_at)
                except BaseException as error:  # noqa: BLE001  # as above
                    self._drop(listener, error)
        if self._listeners:
            self.seq += 1
            self._tell(_new(NodeStarted, (self.seq, now, self._run_id, self._names[node], attempt)))

    def chunk(self, node: int, attempt: int, now: float, value: object) -> None:
        self._tell_all(Chunk(self._next(), now, self._run_id, self._names[node], attempt, value))

    def asks(self, node: int, attempt: int, now: float, text: str, number: int) -> None:
        self._tell_all(NodeAsks(self._next(), now, self._run_id, self._names[node], attempt, text, number))

    def answered(self, node: int, attempt: int, now: float, number: int) -> None:
        self._tell_all(NodeAnswered(self._next(), now, self._run_id, self._names[node], attempt, number))

    def retrying(self, node: int, attempt: int, now: float, delay: float) -> None:
        error = self.error_of(node)
        self._tell_all(NodeRetrying(self._next(), now, self._run_id, self._names[node], attempt, delay, error))

    def ended(self, node: int, attempt: int, now: float) -> None:
        is_plain = self._reasons[node] == OUTPUT and node not in self._abandoned
        if is_plain:
            for listener in self._node_listeners:
                try:
                    listener.node_succeeded(node, self._names[node])
                except BaseException as error:  # noqa: BLE001  # as above
                    self._drop(listener, error)
            if not self._listeners:
                return
        self.seq += 1
        tell = self._tell if is_plain else self._tell_all
        tell(
            _new(
                NodeEnded,
                (
                    self.seq,
                    now,
                    self._run_id,
                    self._names[node],
                    attempt,
                    STATE_NAMES[self._states[node]],
                    REASON_NAMES[self._reasons[node]],
                    self.error_of(node),
                    self._output_of(node),
                    node in self._abandoned,
                ),
            )
        )
