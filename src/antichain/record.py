"""
What became of a run: `RunResult`, read straight from a run that has ended, and `fold`, the same from its events.

Every view is a function of these records. Nothing here changes a run, and nothing here knows a clock, a task or a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, assert_never

from antichain.core.facts import (
    Chunk,
    Entry,
    Event,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeEntered,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    RunEnded,
    RunStarted,
    Uses,
    leaders_of,
)
from antichain.core.states import (
    BUDGET,
    DEADLINE,
    ERROR,
    REASON_NAMES,
    STATE_NAMES,
    SUCCEEDED,
)
from antichain.errors import shown as shortened
from antichain.errors import suggestion

__all__ = ["FailedAttempt", "MissingOutput", "NodeRecord", "RunRecord", "RunResult", "Standing", "fold", "status_of"]

# The form of `to_dict`; a field is added without a new version, and never changes its meaning within one.
VERSION: Final = 1
# How deep `to_dict` follows outputs, so that a value that contains itself ends.
MAX_DEPTH: Final = 32
# Of what a failed attempt said.
MAX_MESSAGE: Final = 1_000
# Rows that a notebook shows.
MAX_ROWS: Final = 50


class FailedAttempt(NamedTuple):
    """
    What is kept of an attempt that failed: words, and no exception, whose traceback would keep alive all that the
    attempt had in its hands.
    """

    # Numbered from 1, and on when a run goes on. Of one that could not start, the number that it would have had.
    attempt: int
    # When it failed, on the run's clock.
    at: float | None
    # The class and what it said, which may be cut.
    type: str
    message: str
    # Seconds until the next attempt was to start; None if there was to be none.
    delay: float | None = None

    def __str__(self) -> str:
        said = f"{self.type}: {self.message}" if self.message else self.type
        return f"attempt {self.attempt}: {said}"


def failed_attempt(
    error: BaseException, attempt: int, at: float | None = None, delay: float | None = None
) -> FailedAttempt:
    """
    Put an attempt that raised *error* in words.
    """
    told: Mapping[str, Any] = describe_error(error)
    if "type_name" in vars(error):
        # One out of a store has its class and message as texts.
        told = {"type": vars(error)["type_name"], "message": vars(error).get("message", "")}
    message = str(told["message"])
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE - 1]}…"
    return FailedAttempt(attempt, at, str(told["type"]), message, delay)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """
    What became of one node; instants count in seconds on the run's clock, and are None where nothing happened.
    """

    id: str
    state: str = "pending"
    # Why it is in its terminal state; empty before it has one.
    reason: str = ""
    # Attempts that have started.
    attempts: int = 0
    # What its last failed attempt raised.
    error: BaseException | None = None
    # When it could start for the first time, when its first attempt did, and when the last one ended.
    ready_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    # An attempt did not end when it was asked to, and was left behind.
    abandoned: bool = False
    # The nested graph, mapped stage or running body that brought it; empty for the run's own nodes.
    group: str = ""
    # What it waited for, and the slots of named limits that an attempt takes.
    upstream: tuple[str, ...] = ()
    uses: Uses = ()
    # What somebody has to answer: number and text of each open question.
    asks: tuple[tuple[int, str], ...] = ()
    # Its failed attempts that another one was to follow, and all of those before the run went on.
    retried: tuple[FailedAttempt, ...] = ()

    @property
    def failures(self) -> tuple[FailedAttempt, ...]:
        """
        All of its attempts that failed, also if a later one succeeded.
        """
        if self.reason not in ("error", "timeout", "fallback", "starved") or self.error is None:
            return self.retried
        last = self.retried[-1] if self.retried else None
        is_told = last is not None and last.attempt == self.attempts and last.delay is not None
        if is_told and self.reason == "error":
            # A run that drained did not let it try again.
            return self.retried
        # It may have ended before its next attempt could start.
        number = self.attempts + 1 if is_told or self.started_at is None else self.attempts
        return (*self.retried, failed_attempt(self.error, number, self.ended_at))

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the record as plain data.
        """
        data: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        data["error"] = None if self.error is None else describe_error(self.error)
        data["upstream"] = list(self.upstream)
        data["uses"] = dict(self.uses)
        data["asks"] = [{"number": number, "text": text} for number, text in self.asks]
        del data["retried"]
        data["failures"] = [each._asdict() for each in self.failures]
        return data


@dataclass(frozen=True, slots=True)
class RunRecord:
    """
    What is known of a run from its events so far.
    """

    run_id: str = ""
    name: str = ""
    # None while the run goes on.
    status: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    # Number of the last event that was folded in.
    seq: int = 0

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the record as plain data: what `RunResult.to_dict` returns, as far as events tell it.
        """
        data: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        nodes = {name: node.to_dict() for name, node in self.nodes.items()}
        return {"version": VERSION, **data, "nodes": nodes}


def fold(events: Iterable[Event], record: RunRecord | None = None) -> RunRecord:
    """
    Read the events of a run, in order, into a record; *record* is one to go on from, and stays as it is.
    """
    run = record or RunRecord()
    nodes = dict(run.nodes)
    seq = run.seq
    for event in events:
        seq = event.seq
        match event:
            case RunStarted():
                run = replace(run, run_id=event.run_id, name=event.name, started_at=event.time)
                nodes.update((entry.node, _entered(entry)) for entry in event.outline.entries())
            case RunEnded():
                run = replace(run, status=event.status, ended_at=event.time)
            case NodeEntered():
                nodes[event.node] = _entered(Entry(event.node, event.group, event.upstream, event.uses))
            case NodeReady() | NodeStarted() | NodeAsks() | NodeAnswered() | NodeRetrying() | NodeEnded():
                nodes[event.node] = _follow(nodes.get(event.node) or NodeRecord(event.node), event)
            case Chunk():
                pass
            case _:
                assert_never(event)
    return replace(run, nodes=nodes, seq=seq)


def _entered(entry: Entry) -> NodeRecord:
    return NodeRecord(entry.node, group=entry.group, upstream=entry.upstream, uses=entry.uses)


def _follow(
    node: NodeRecord, event: NodeReady | NodeStarted | NodeAsks | NodeAnswered | NodeRetrying | NodeEnded
) -> NodeRecord:
    match event:
        case NodeReady():
            ready_at = event.time if node.ready_at is None else node.ready_at
            return replace(node, state="ready", ready_at=ready_at)
        case NodeStarted():
            started_at = event.time if node.started_at is None else node.started_at
            return replace(node, state="running", attempts=event.attempt, started_at=started_at)
        case NodeAsks():
            return replace(node, asks=(*node.asks, (event.number, event.text)))
        case NodeAnswered():
            return replace(node, asks=tuple([each for each in node.asks if each[0] != event.number]))
        case NodeRetrying():
            retried = node.retried
            if event.error is not None:
                retried += (failed_attempt(event.error, event.attempt, event.time, event.delay),)
            return replace(node, state="backing off", error=event.error, asks=(), retried=retried)
        case NodeEnded():
            return replace(
                node,
                state=event.state,
                reason=event.reason,
                # Those before the run went on are told only now.
                attempts=event.attempt,
                error=event.error,
                ended_at=event.time,
                abandoned=event.abandoned,
                # What nobody has answered stays open for another day.
                asks=node.asks if event.reason == "paused" else (),
            )
        case _:
            assert_never(event)


class Verdict(Protocol):
    """
    Tell what of the run's own group decides its status.
    """

    # Whether one of its members ended so.
    failed: bool
    cancelled: bool
    # Whether one of them waits for somebody's answer.
    paused: bool


class Standing(Protocol):
    """
    Tell what a result reads of a scheduler: lists by node.
    """

    state: bytearray
    reason: bytearray
    attempts: list[int]
    ready_at: list[float]
    started_at: list[float]
    ended_at: list[float]
    upstream: list[Sequence[int]]
    demand: list[int]
    followers: dict[int, list[int]]
    abandoned_nodes: dict[int, int]
    status_reason: int

    @property
    def root(self) -> Verdict:
        """
        The run's own group.
        """
        ...

    def demand_of(self, number: int) -> Uses:
        """
        The slots that nodes of this demand take.
        """
        ...


def status_of(scheduler: Standing) -> str:
    """
    Say how a run ended: succeeded, partial, failed, cancelled or paused.

    What stopped it first counts: a node that fails because it was cancelled does not make a cancelled run a failed one.
    A run that passed its deadline has failed. A run that was stopped while its last nodes completed all the same has
    lost nothing, and succeeded. One in which some node waits for somebody's answer, or whose budget is used up, has
    paused, whatever else failed.
    """
    root, why = scheduler.root, scheduler.status_reason
    if why == ERROR:
        return "failed"
    if why == BUDGET and (root.cancelled or root.failed):
        return "paused"
    if why and (root.cancelled or root.failed):
        return "failed" if why == DEADLINE else "cancelled"
    if root.paused:
        return "paused"
    return "partial" if root.failed else "succeeded"


class MissingOutput(KeyError):  # noqa: N818  # public name
    """
    Say why a result has no output of a node.
    """

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which is right for a key and wrong for a sentence.
        return str(self.args[0])


class RunResult(Mapping[str, Any]):  # Any: the nodes' values
    """
    Hold the outputs of a run by node id, and what became of each of its nodes.

    Example:
        >>> graph = Graph("sum")
        >>> _ = graph.add("answer", lambda: 42)
        >>> result = graph.run()
        >>> result["answer"], result.status
        (42, 'succeeded')
    """

    __slots__ = (
        "_critical_path",
        "_errors",
        "_groups",
        "_index",
        "_more",
        "_names",
        "_nodes",
        "_outputs",
        "_retried",
        "_scheduler",
        "_shown",
        "_values",
        "ended_at",
        "name",
        "questions",
        "run_id",
        "started_at",
        "status",
        "usage",
    )

    _outputs: Mapping[str, Any] | None  # Any: the nodes' values
    _nodes: Mapping[str, NodeRecord] | None
    _critical_path: tuple[str, ...] | None

    def __init__(
        self,
        *,
        run_id: str,
        name: str,
        status: str,
        started_at: float,
        ended_at: float,
        scheduler: Standing,
        names: Sequence[str],
        index: Mapping[str, int],
        values: Sequence[Any],  # Any: the nodes' values
        errors: Mapping[int, BaseException],
        shown: Sequence[str],
        more: Sequence[Mapping[str, NodeRecord]] = (),
        groups: Mapping[int, str] = MappingProxyType({}),
        questions: Sequence[Any] = (),  # Any: Questions, which live further down the road
        usage: Mapping[str, float] = MappingProxyType({}),
        retried: Mapping[int, Sequence[FailedAttempt]] = MappingProxyType({}),
    ) -> None:
        self.run_id = run_id
        self.name = name
        self.status = status
        self.started_at = started_at
        self.ended_at = ended_at
        # Everything else is read from the run when it is asked for: a run of instant nodes ends often.
        self._scheduler = scheduler
        self._names = names
        self._index = index
        self._values = values
        self._errors = errors
        self._shown = shown
        self._more = more
        # Who brought the nodes that came while the run went on.
        self._groups = groups
        self._retried = retried
        # What somebody has to answer before a run that has paused can go on.
        self.questions = tuple(questions)
        # What its nodes have said that they used, by unit (`ctx.use`); of a run that went on, all that it ever used.
        self.usage = dict(usage)
        self._outputs = None
        self._nodes = None
        self._critical_path = None

    # -- a Mapping of outputs

    def _output_map(self) -> Mapping[str, Any]:  # Any: the nodes' values
        if self._outputs is None:
            state, index, values = self._scheduler.state, self._index, self._values
            found = ((name, index[name]) for name in self._shown)
            self._outputs = {name: values[node] for name, node in found if state[node] == SUCCEEDED}
        return self._outputs

    def __getitem__(self, key: str) -> Any:  # Any: the node's value
        try:
            return self._output_map()[key]
        except KeyError:
            raise MissingOutput(self._why_missing(key)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._output_map())

    def __len__(self) -> int:
        return len(self._output_map())

    def __contains__(self, key: object) -> bool:
        return key in self._output_map()

    def _why_missing(self, key: object) -> str:
        node = self.nodes.get(key) if isinstance(key, str) else None
        if node is None:
            hint = suggestion(key, self.nodes) if isinstance(key, str) else " Node ids are texts."
            return f"{shortened(key)} is not a node of run {self.run_id!r} of graph {self.name!r}.{hint}"
        if node.reason == "paused":
            asks = f" to {shortened(node.asks[0][1])}" if node.asks else ""
            return f"node {key!r} has no output yet: it waits for an answer{asks}. Give one to resume, by answers=."
        if node.reason == "budget":
            return (
                f"node {key!r} has no output yet: the run's budget was used up before it could run to its end. With a"
                " store=, the run can go on with another budget."
            )
        if node.state != "succeeded":
            cause = f": {shortened(node.error)}" if node.error is not None else ""
            return (
                f"node {key!r} has no output: it is {node.state} (reason: {node.reason or 'none yet'}){cause}."
                f" result.nodes[{key!r}] tells more."
            )
        if node.reason == "checkpoint":
            return (
                f"the output of node {key!r} was not stored (persist=False), and nothing that still had to run needed"
                " it. Start a new run to have it made again."
            )
        return (
            f"the output of node {key!r} was not kept: the run had targets, and only their outputs are in its result."
            f" Add {key!r} to targets=."
        )

    # -- what became of the nodes

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        """
        The record of every node, nested and mapped ones included.
        """
        if self._nodes is None:
            self._nodes = NodeRecords(
                self._scheduler,
                self._index,
                self._errors,
                self._more,
                names=self._names,
                groups=self._groups,
                questions=self.questions,
                retried=self._retried,
            )
        return self._nodes

    @property
    def errors(self) -> dict[str, BaseException]:
        """
        What the failed nodes raised, in definition order.
        """
        known = self.nodes
        nodes = known.failed() if isinstance(known, NodeRecords) else known.values()
        return {node.id: node.error for node in nodes if node.state == "failed" and node.error is not None}

    @property
    def abandoned(self) -> tuple[str, ...]:
        """
        Nodes of which an attempt did not end when it was asked to; its thread may still be at work.
        """
        if isinstance(self.nodes, NodeRecords) and not self.nodes.has_abandoned:
            return ()
        return tuple(node.id for node in self.nodes.values() if node.abandoned)

    @property
    def makespan(self) -> float:
        """
        Seconds from the start of the run to its end.
        """
        return self.ended_at - self.started_at

    @property
    def critical_path(self) -> tuple[str, ...]:
        """
        The nodes that the run waited for: back from the one that ended last, over the upstream that ended last.
        """
        if self._critical_path is None:
            self._critical_path = tuple(self._names[node] for node in critical_path(self._scheduler))
        return self._critical_path

    # -- to show

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the whole result as data that `json.dumps` takes; values that JSON cannot hold are shown as text.
        """
        return {
            "version": VERSION,
            "run_id": self.run_id,
            "name": self.name,
            "status": self.status,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "makespan": self.makespan,
            "critical_path": list(self.critical_path),
            "usage": dict(self.usage),
            "outputs": {name: as_json(value) for name, value in self.items()},
            "nodes": {name: node.to_dict() for name, node in self.nodes.items()},
        }

    def to_mermaid(self) -> str:
        """
        Draw the run as a Mermaid flowchart: states, durations, groups, the critical path.
        """
        from antichain.views.diagram import to_mermaid

        return to_mermaid(self)

    def to_dot(self) -> str:
        """
        Draw the run for Graphviz.
        """
        from antichain.views.diagram import to_dot

        return to_dot(self)

    def to_trace(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the run in time as a Chrome trace, which Perfetto and ``chrome://tracing`` open once it is saved as JSON.
        """
        from antichain.views.timeline import to_trace

        return to_trace(self)

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.nodes.values():
            # Nobody has cancelled what is left for another day.
            state = "waiting for an answer" if node.reason == "paused" else node.state
            counts[state] = counts.get(state, 0) + 1
        return counts

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self._counts().items()) or "no nodes"
        return f"<RunResult of {self.name!r}: {self.status} in {self.makespan:.3g} s; {counts}; run_id={self.run_id!r}>"

    def _repr_html_(self) -> str:
        import html  # only notebooks need it

        rows = [_html_row(node) for node, _ in zip(self.nodes.values(), range(MAX_ROWS), strict=False)]
        hidden = len(self.nodes) - len(rows)
        if hidden:
            rows.append(f"<tr><td colspan=6>… and {hidden} more</td></tr>")
        head = "".join(f"<th>{title}</th>" for title in ("node", "state", "reason", "attempts", "seconds", "error"))
        title = f"{self.name}: {self.status} in {self.makespan:.3g} s"
        return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{''.join(rows)}</table>"

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        # A scheduler may share limits with other runs and stays at home: the copy holds the records themselves.
        given = (self.run_id, self.name, self.status, self.started_at, self.ended_at)
        return _restored, (given, dict(self), dict(self.nodes), self.critical_path, self.questions, self.usage)


def _restored(
    given: tuple[str, str, str, float, float],
    outputs: dict[str, Any],  # Any: the nodes' values
    nodes: dict[str, NodeRecord],
    path: tuple[str, ...],
    questions: tuple[Any, ...] = (),  # Any: Questions
    usage: Mapping[str, float] = MappingProxyType({}),
) -> RunResult:
    result = RunResult.__new__(RunResult)
    result.usage = dict(usage)
    result.questions = questions
    result.run_id, result.name, result.status, result.started_at, result.ended_at = given
    result._outputs, result._nodes, result._critical_path = (
        outputs,
        nodes,
        path,
    )  # its own parts: there is no other way in
    return result


class NodeRecords(Mapping[str, NodeRecord]):
    """
    Make the record of a node when it is asked for.
    """

    __slots__ = ("_asks", "_errors", "_groups", "_index", "_leaders", "_more", "_names", "_retried", "_scheduler")

    def __init__(
        self,
        scheduler: Standing,
        index: Mapping[str, int],
        errors: Mapping[int, BaseException],
        more: Sequence[Mapping[str, NodeRecord]] = (),
        *,
        names: Sequence[str],
        groups: Mapping[int, str] = MappingProxyType({}),
        questions: Sequence[Any] = (),  # Any: Questions
        retried: Mapping[int, Sequence[FailedAttempt]] = MappingProxyType({}),
    ) -> None:
        self._retried = retried
        self._scheduler = scheduler
        self._index = index
        self._errors = errors
        # What is open, by node: texts by number.
        self._asks: dict[str, dict[int, str]] = {}
        for question in questions:
            self._asks.setdefault(question.node, {})[question.number] = question.text
        # Nodes that the scheduler has forgotten, or that ran elsewhere. The index has what is newer.
        self._more = more
        self._names = names
        self._groups = groups
        self._leaders = leaders_of(scheduler.followers)

    def __getitem__(self, key: str) -> NodeRecord:
        node = self._index.get(key)
        if node is not None:
            return self._record(key, node)
        for records in reversed(self._more):
            if key in records:
                return self._asking(records[key])
        raise KeyError(key)

    def _record(self, key: str, node: int) -> NodeRecord:
        run, names = self._scheduler, self._names
        before = [*run.upstream[node], *self._leaders.get(node, ())]
        record = NodeRecord(
            id=key,
            state=STATE_NAMES[run.state[node]],
            reason=REASON_NAMES[run.reason[node]] if run.state[node] >= SUCCEEDED else "",
            attempts=run.attempts[node],
            error=self._errors.get(node),
            ready_at=instant(run.ready_at[node]),
            started_at=instant(run.started_at[node]),
            ended_at=instant(run.ended_at[node]),
            abandoned=node in run.abandoned_nodes,
            group=self._groups.get(node, ""),
            upstream=tuple([names[each] for each in before]),
            uses=run.demand_of(run.demand[node]),
            retried=tuple(self._retried.get(node, ())),
        )
        return self._asking(record) if self._asks else record

    def _asking(self, record: NodeRecord) -> NodeRecord:
        """
        Add what is open of a node that waits for its answers.
        """
        asks = self._asks.get(record.id)
        return record if asks is None or record.reason != "paused" else replace(record, asks=tuple(asks.items()))

    def __iter__(self) -> Iterator[str]:
        yield from self._index
        if self._more:
            yield from self._others()

    def __len__(self) -> int:
        return len(self._index) + (len(self._others()) if self._more else 0)

    def _others(self) -> dict[str, None]:
        return {key: None for records in self._more for key in records if key not in self._index}

    @property
    def has_abandoned(self) -> bool:
        return bool(self._scheduler.abandoned_nodes) or bool(self._more)

    def failed(self) -> Iterable[NodeRecord]:
        """
        List the records of nodes that have an error, and possibly others; cheaper than all.
        """
        if self._more or not self._errors:
            return self.values() if self._more else ()
        return [self._record(key, node) for key, node in self._index.items() if node in self._errors]


def instant(at: float) -> float | None:
    """
    Return an instant of the scheduler, or None for what never happened.
    """
    # It is marked with NEVER, a number that is not equal to itself.
    return at if at == at else None


def critical_path(scheduler: Standing) -> list[int]:
    """
    Walk back from the node that ended last, over the upstream that ended last before each became ready.
    """
    started = (node for node, tries in enumerate(scheduler.attempts) if tries)
    last = _last_ended(scheduler, started)
    path: list[int] = []
    while last is not None:
        path.append(last)
        last = _last_ended(scheduler, _causes(scheduler, last))
    return path[::-1]


def _last_ended(scheduler: Standing, nodes: Iterable[int]) -> int | None:
    return max(nodes, key=lambda node: (scheduler.ended_at[node], -node), default=None)


def _causes(scheduler: Standing, node: int) -> Iterator[int]:
    attempts, ended_at = scheduler.attempts, scheduler.ended_at
    for before in scheduler.upstream[node]:
        if attempts[before] and ended_at[before] <= scheduler.ready_at[node]:
            yield before
    for leader, nodes in scheduler.followers.items():
        # The stage that feeds this one item by item.
        if node in nodes and attempts[leader] and ended_at[leader] <= ended_at[node]:
            yield leader


def describe_error(error: BaseException) -> dict[str, str]:
    """
    Return what an error is and says, as plain data.
    """
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {"type": f"{module}{kind.__qualname__}", "message": _text(error)}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001  # foreign code, and here only a text to show
        return f"<{type(error).__name__} whose str raises {type(problem).__name__}>"


def as_json(value: Any, depth: int = MAX_DEPTH) -> Any:  # Any: the nodes' values
    """
    Return *value* itself where JSON can hold it, else a text that shows it, marked as such.
    """
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"repr": repr(value)}
    if depth > 0:
        if type(value) is list or type(value) is tuple:
            return [as_json(item, depth - 1) for item in value]
        if type(value) is dict and all(type(key) is str for key in value):
            return {key: as_json(item, depth - 1) for key, item in value.items()}
    return {"repr": shortened(value)}


def _html_row(node: NodeRecord) -> str:
    import html

    seconds = ""
    if node.started_at is not None and node.ended_at is not None:
        seconds = f"{node.ended_at - node.started_at:.3g}"
    error = "" if node.error is None else shortened(node.error)
    cells = (node.id, node.state, node.reason, str(node.attempts), seconds, error)
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
