"""
Spans and metrics of a run, by the OpenTelemetry API: which SDK takes them, if any, is the program's business.

A span for the run, and one for each attempt in it. A span of the SDK takes 15 to 25 microseconds with its attributes
and links; what is ours should stay far below, and so what happens to every node is followed with more care than the
rest.
"""

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.metrics import Meter
from opentelemetry.trace import Link, Span, SpanContext, StatusCode, Tracer, TracerProvider

from antichain.core.facts import (
    Entry,
    Event,
    LimitState,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeEntered,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    Outline,
    RunEnded,
    RunStarted,
    Uses,
)
from antichain.errors import RunTimeout
from antichain.record import describe_error
from antichain.telemetry import names
from antichain.telemetry.names import NODE_ATTEMPT, NODE_ID, NODE_QUEUE_WAIT

# The key under which a context has its current span. The API tells it only so.
_SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))


class Tracing:
    """
    Make the spans of one run: a listener, and what is around each body, so that spans made in there are its children.

    Events come in the loop's thread; `enter` and `leave` are called where the body is.
    """

    def __init__(self, tracer: Tracer | TracerProvider | None = None) -> None:
        if isinstance(tracer, TracerProvider) or tracer is None:
            tracer = trace.get_tracer(names.SCOPE, _version(), tracer)
        self._start_span = tracer.start_span
        self._run: Span = trace.INVALID_SPAN
        # The caller's context, and the same with the run's span.
        self._base = self._context = Context()
        # What is known of the planned nodes; by number: what they wait for, whether others wait for them, and who those
        # are that have ended. A link is made for each span that has it: what the SDK adds to one would stay with the
        # run, and reading it costs more than a new one.
        self._outline = Outline.EMPTY
        self._upstream: Sequence[Sequence[int]] = ()
        self._is_awaited = bytearray()
        self._ended_planned: list[SpanContext | None] = []
        self._planned = 0
        self._find_ended: Callable[[int], SpanContext | None] = self._ended_planned.__getitem__
        # Their numbers by name, once somebody asks; and what they take of limits.
        self._numbers: dict[str, int] = {}
        self._uses: dict[str, Uses] = {}
        # Whether there were any nodes that were not planned. Those that have not ended, with the name of their spans.
        self._has_grown = False
        self._grown: dict[str, tuple[str, Entry]] = {}
        # Number of the attempt, span, and number of the node, of each attempt that runs. Invariant: no other span is
        # open, beside the run's.
        self._open: dict[str, tuple[int, Span, int]] = {}
        # In which the nodes of a group start, as long as the attempt runs that brought them.
        self._contexts: dict[str, Context] = {}
        # Of nodes that were not planned: those for which others wait, and who those are that have ended; kept as long
        # as the group lasts in which somebody may wait.
        self._awaited: set[str] = set()
        self._ended: dict[str, SpanContext] = {}
        self._inside: dict[str, list[str]] = {}
        # What the first of the run's own nodes that failed has raised.
        self._error: BaseException | None = None

    # ------------------------------------------------------------------ around a body

    def enter(self, node: str, attempt: int) -> object:
        """
        Make the attempt's span the current one where its body is.
        """
        opened = self._open.get(node)
        if opened is None or opened[0] != attempt:
            # It was given up before a thread was free for it.
            return None
        return attach(Context({**self._base, _SPAN_KEY: opened[1]}))

    def leave(self, token: Any) -> None:  # Any: whatever the API gave `enter`
        """
        Take that back.
        """
        if token is None:
            return
        try:
            # As `detach`, which would log what is no fault here.
            token.var.reset(token)
        except ValueError:
            # A body that is given up ends wherever somebody throws into it; its context has ended with its task.
            return
        except AttributeError:
            # A program may bring contexts of its own kind.
            detach(token)

    # ------------------------------------------------------------------ what happens

    def __call__(self, event: Event) -> None:
        """
        Start or end the spans of what *event* tells.
        """
        try:
            if isinstance(event, NodeEnded):
                self._node_ended(event)
            elif isinstance(event, NodeEntered):
                self._node_entered(event)
            elif isinstance(event, NodeRetrying):
                self._node_retrying(event)
            elif isinstance(event, NodeAsks | NodeAnswered):
                self._node_asks(event)
            elif isinstance(event, RunStarted):
                self._run_started(event)
            elif isinstance(event, RunEnded):
                self._run_ended(event)
        except BaseException:
            # A sampler or a processor raised. Who raises is told nothing more, and what is open would stay so.
            self._close()
            raise

    # What happens to nearly every node, without an event.

    def node_started(self, number: int, node: str, attempt: int, now: float, ready_at: float) -> None:
        """
        Start the span of an attempt.
        """
        try:
            name = node if node.isascii() else _encodable(node)
            attributes: dict[str, Any] = {
                NODE_ID: name,
                NODE_ATTEMPT: attempt,
                # An instant on a timer may be a little later than the clock.
                NODE_QUEUE_WAIT: now - ready_at if now > ready_at else 0.0,
            }
            context, links, uses = self._context, None, None
            if number < self._planned:
                upstream = self._upstream[number]
                if upstream:
                    ended = [*map(self._find_ended, upstream)]
                    links = [*map(Link, ended)] if all(ended) else self._links_to_planned(upstream)  # type: ignore[arg-type]
                if self._uses:
                    uses = self._uses.get(node)
            else:
                name, (_, group, before, uses) = self._grown[node]
                if group:
                    context = self._contexts.get(group) or self._context_inside(group)
                links = [Link(found) for each in before if (found := self._find(each)) is not None]
            if uses:
                attributes[names.NODE_LIMITS] = _sizes(uses)
            span = self._start_span(name, context=context, attributes=attributes, links=links)
            self._open[node] = (attempt, span, number)
        except BaseException:
            self._close()
            raise

    def node_succeeded(self, number: int, node: str) -> None:
        """
        End the span of the attempt that succeeded.
        """
        try:
            if self._has_grown:
                self._end(node, None)
                return
            opened = self._open.pop(node, None)
            if opened is not None:
                span = opened[1]
                span.end()
                if self._is_awaited[number]:
                    self._ended_planned[number] = span.get_span_context()
        except BaseException:
            self._close()
            raise

    # ------------------------------------------------------------------ the run

    def _run_started(self, event: RunStarted) -> None:
        outline, name = event.outline, _encodable(event.name)
        attributes: dict[str, Any] = {
            names.RUN_ID: _encodable(event.run_id),
            names.GRAPH_NAME: name,
            names.GRAPH_NODES: event.node_count,
            names.RUN_LIMITS: _sizes(outline.limits.items()),
        }
        if outline.max_concurrent is not None:
            attributes[names.RUN_MAX_CONCURRENT] = outline.max_concurrent
        if names.OPT_IN_GENAI in os.environ.get(names.OPT_IN, "").split(","):
            attributes[names.GENAI_OPERATION] = names.GENAI_INVOKE_WORKFLOW
            attributes[names.GENAI_WORKFLOW] = name
        self._base = get_current()
        self._run = self._start_span(names.RUN_SPAN, context=self._base, attributes=attributes)
        self._context = Context({**self._base, _SPAN_KEY: self._run})
        self._outline = outline
        self._upstream, self._is_awaited = outline.upstream(), outline.awaited()
        self._planned = len(self._is_awaited)
        self._ended_planned = [None] * self._planned
        self._find_ended = self._ended_planned.__getitem__
        self._uses = dict(outline.demands())
        # The instances of a stage that follows another wait for those of the other.
        self._awaited.update(outline.leaders())

    def _run_ended(self, event: RunEnded) -> None:
        if self._run.is_recording():
            self._run.set_attribute(names.RUN_STATUS, event.status)
            if event.status == "failed":
                if self._error is None:
                    # No node has: the run's deadline passed.
                    self._run.set_attribute(names.ERROR_TYPE, f"{RunTimeout.__module__}.{RunTimeout.__qualname__}")
                    self._run.set_status(StatusCode.ERROR, "the run's deadline passed")
                else:
                    _record(self._run, self._error)
                    _fail(self._run, self._error)
        self._close()

    def _close(self) -> None:
        """
        End every span that is open. Attempts only have one now if a fault has ended the run.
        """
        opened = list(self._open.values())
        run, self._run = self._run, trace.INVALID_SPAN
        for kept in (self._numbers, self._uses, self._grown, self._open, self._contexts, self._ended, self._inside):
            kept.clear()
        self._awaited.clear()
        self._outline, self._upstream, self._planned, self._ended_planned = Outline.EMPTY, (), 0, []
        self._find_ended = self._ended_planned.__getitem__
        for _, span, _ in opened:
            span.end()
        run.end()

    # ------------------------------------------------------------------ nodes

    def _node_entered(self, event: NodeEntered) -> None:
        node, group, upstream = event.node, event.group, event.upstream
        name = self._name_inside(node, group) if group else _encodable(node)
        self._has_grown = True
        self._grown[node] = (name, Entry(node, group, upstream, event.uses))
        self._awaited.update(upstream)
        if not group:
            # Whoever streams nodes in may let later ones wait for it, as long as the run goes on.
            self._awaited.add(node)

    def _name_inside(self, node: str, group: str) -> str:
        """
        Name the spans of a node that was not planned, such that there are no more names than somebody has written:
        without the key of an instance, and without the number of what a body has run more than once.
        """
        outer = self._grown[group][0] if group in self._grown else _encodable(group)
        if node.startswith(f"{group}["):
            return outer
        inner, _, count = node.removeprefix(f"{group}/").rpartition("#")
        if not (inner and count.isdecimal()):
            inner = node.removeprefix(f"{group}/")
        return f"{outer}/{_encodable(inner)}"

    def _context_inside(self, group: str) -> Context:
        """
        Return the context of the attempt that brought a group; of the run, if it is over.
        """
        opened = self._open.get(group)
        if opened is None:
            return self._context
        context = self._contexts[group] = Context({**self._base, _SPAN_KEY: opened[1]})
        return context

    def _links_to_planned(self, upstream: Sequence[int]) -> list[Link]:
        """
        Link to planned nodes of which not all have ended: a stage follows another from item to item, or any of several
        is enough. One that has never run has nothing to link to.
        """
        ended, names_of = self._ended_planned, self._outline.names
        links = []
        for each in upstream:
            found = ended[each]
            if found is None and (opened := self._open.get(names_of[each])) is not None:
                found = opened[1].get_span_context()
            if found is not None:
                links.append(Link(found))
        return links

    def _find(self, node: str) -> SpanContext | None:
        """
        Find a node that ran or runs, whoever brought it.
        """
        ended = self._ended.get(node)
        if ended is not None:
            return ended
        opened = self._open.get(node)
        if opened is not None:
            return opened[1].get_span_context()
        if not self._numbers:
            self._numbers = {name: number for number, name in enumerate(self._outline.names)}
        number = self._numbers.get(node)
        return None if number is None else self._ended_planned[number]

    def _node_retrying(self, event: NodeRetrying) -> None:
        node = event.node
        opened = self._open.pop(node, None)
        if opened is None:
            return
        self._contexts.pop(node, None)
        span = opened[1]
        if span.is_recording():
            span.set_attribute(names.NODE_RETRY_DELAY, event.delay)
            _record(span, event.error)
            _fail(span, event.error)
        span.end()
        if node in self._inside:
            # What it brings next time has the same ids.
            self._drop_inside(node, self._grown[node][1].group if node in self._grown else "")

    def _node_asks(self, event: NodeAsks | NodeAnswered) -> None:
        opened = self._open.get(event.node)
        if opened is None or not opened[1].is_recording():
            return
        attributes: dict[str, Any] = {names.QUESTION_NUMBER: event.number}
        if isinstance(event, NodeAsks):
            attributes[names.QUESTION_TEXT] = _encodable(event.text)
            opened[1].add_event(names.ASKS_EVENT, attributes)
        else:
            opened[1].add_event(names.ANSWERED_EVENT, attributes)

    def _node_ended(self, event: NodeEnded) -> None:
        group = self._end(event.node, event)
        if event.state == "failed" and self._error is None and not group:
            self._error = event.error

    def _end(self, node: str, event: NodeEnded | None) -> str:
        """
        End the span of a node's last attempt, with *event* if there is more to tell; return the node's group.
        """
        opened = self._open.pop(node, None)
        if opened is None:
            if event is not None:
                self._ended_unstarted(event)
        else:
            span = opened[1]
            if event is not None and (event.reason != "output" or event.abandoned) and span.is_recording():
                _tell_ending(span, event)
            span.end()
            number = opened[2]
            if number < self._planned:
                if self._is_awaited[number] or node in self._awaited:
                    self._ended_planned[number] = span.get_span_context()
            elif node in self._awaited:
                self._ended[node] = span.get_span_context()
            if self._contexts:
                self._contexts.pop(node, None)
        group = ""
        if self._grown and node in self._grown:
            group = self._grown.pop(node)[1].group
            self._keep(node, group, opened)
        if self._inside and node in self._inside:
            self._drop_inside(node, group)
        return group

    def _ended_unstarted(self, event: NodeEnded) -> None:
        """
        A node has ended while no attempt of it ran: its error, if it has one, is told with the run.
        """
        if event.state == "failed" and self._run.is_recording():
            _record(self._run, event.error, {names.NODE_ID: _encodable(event.node)})

    def _keep(self, node: str, group: str, opened: tuple[int, Span, int] | None) -> None:
        """
        Remember that what is kept of a node inside a group can be dropped with that group.
        """
        if opened is not None and group in self._awaited and node.startswith(f"{group}["):
            # Where a stage follows another, the instances of one wait for those of the other.
            self._awaited.add(node)
            self._ended[node] = opened[1].get_span_context()
        if group and node in self._awaited:
            self._inside.setdefault(group, []).append(node)

    def _drop_inside(self, node: str, group: str) -> None:
        """
        Drop what is kept of a group's nodes: nobody outside of it waits for them, but for instances of a stage, for
        which the instances of another may wait that goes on longer. Those are kept as long as what is around both.
        """
        for inner in self._inside.pop(node):
            if node not in self._awaited or not inner.startswith(f"{node}["):
                self._awaited.discard(inner)
                self._ended.pop(inner, None)
            elif group:
                self._inside.setdefault(group, []).append(inner)


def _sizes(limits: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple([f"{_encodable(name)}={size}" for name, size in limits])


# ---------------------------------------------------------------------- errors


def _tell_ending(span: Span, event: NodeEnded) -> None:
    """
    Say on its last attempt's span what became of a node that did not just succeed.
    """
    span.set_attribute(names.NODE_STATE, event.state)
    span.set_attribute(names.NODE_REASON, event.reason)
    if event.abandoned:
        span.set_attribute(names.NODE_ABANDONED, True)
    if event.state == "failed":
        _record(span, event.error)
        _fail(span, event.error)
    elif event.error is not None:
        # A fallback took its place, or it was cancelled while it handled one: no failure of the node's.
        _record(span, event.error)


def _record(span: Span, error: BaseException | None, attributes: dict[str, Any] | None = None) -> None:
    """
    Add the event that a span has for an exception.

    Not by `Span.record_exception`, which fails if the `__str__` of a user's exception does.
    """
    if error is None:
        return
    told = describe_error(error)
    lines = traceback.format_exception(error)
    span.add_event(
        names.EXCEPTION_EVENT,
        {
            names.EXCEPTION_TYPE: told["type"],
            names.EXCEPTION_MESSAGE: _encodable(told["message"]),
            names.EXCEPTION_STACKTRACE: _encodable("".join(lines)),
            **(attributes or {}),
        },
    )


def _fail(span: Span, error: BaseException | None) -> None:
    """
    Let a span end in error.
    """
    if error is None:
        span.set_status(StatusCode.ERROR)
        return
    told = describe_error(error)
    span.set_attribute(names.ERROR_TYPE, told["type"])
    span.set_status(StatusCode.ERROR, _encodable(f"{told['type']}: {told['message']}"))


def _encodable(text: str) -> str:
    """
    Return *text* without what UTF-8 cannot hold: one such character would lose all that is exported along with it.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _version() -> str:
    try:
        return version("antichain")
    except PackageNotFoundError:
        # Run from its sources.
        return ""


# ---------------------------------------------------------------------- metrics


class _LimitMetrics:
    """
    Measure the limits of one run that open by time, whenever an attempt starts or ends.
    """

    def __init__(
        self, meter: Meter, states: Callable[[float], Sequence[LimitState]], attributes: Mapping[str, str]
    ) -> None:
        self._states = states
        self._attributes = attributes
        # Up-down counters count changes.
        self._counters = (
            meter.create_up_down_counter(names.LIMIT_SIZE, "{slot}", "Slots of a limit that adapts."),
            meter.create_up_down_counter(names.LIMIT_USED, "{slot}", "Slots of it that are taken, over all runs."),
        )
        self._pause = meter.create_histogram(names.LIMIT_PAUSE, "s", "For how long nobody on a limit starts.")
        self._wait = meter.create_histogram(names.LIMIT_WAIT, "s", "For how long the first in line waits for a rate.")
        self._known: dict[str, tuple[int, int]] = {}
        # Instants until which limits are known to pause, or to be shut.
        self._shut: dict[tuple[str, str], float] = {}

    def measure(self, now: float) -> None:
        """
        Take in how the limits stand at *now*.
        """
        for state in self._states(now):
            attributes = {**self._attributes, names.LIMIT_NAME: _encodable(state.name)}
            if state.size is not None and state.used is not None:
                before = self._known.get(state.name, (0, 0))
                self._known[state.name] = (state.size, state.used)
                for counter, old, new in zip(self._counters, before, self._known[state.name], strict=True):
                    if new != old:
                        counter.add(new - old, attributes)
            for kind, histogram, seconds in (
                ("pause", self._pause, state.paused),
                ("wait", self._wait, state.opens_in or 0.0),
            ):
                key = (state.name, kind)
                if seconds > 0 and self._shut.get(key, now) <= now:
                    # Once for each pause, and for each time that the rate is shut.
                    self._shut[key] = now + seconds
                    histogram.record(seconds, attributes)


class Metrics:
    """
    Count and time the attempts of one run; a listener. Only the graph's name and a state or an error's type tell the
    series apart, never a node: there may be a million.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or metrics.get_meter(names.SCOPE, _version())
        self._executions = meter.create_counter(names.EXECUTIONS, "{node}", "Nodes that ended, by state.")
        self._errors = meter.create_counter(names.ERRORS, "{error}", "Attempts that failed, by type of error.")
        self._in_flight = meter.create_up_down_counter(names.IN_FLIGHT, "{attempt}", "Attempts that run.")
        self._duration = meter.create_histogram(names.DURATION, "s", "How long attempts ran, by how they ended.")
        self._queue_wait = meter.create_histogram(
            names.QUEUE_WAIT, "s", "How long attempts waited for slots after all else that they wait for had come."
        )
        self._meter = meter
        # Of runs with limits that open by time only.
        self._limits: _LimitMetrics | None = None
        self._graph: dict[str, str] = {}
        self._ready_at: dict[str, float] = {}
        # The attempts that run. Invariant: so many are in flight.
        self._started_at: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """
        Count what *event* tells.
        """
        if self._limits is not None and isinstance(event, (NodeStarted, NodeEnded, NodeRetrying)):
            self._limits.measure(event.time)
        if isinstance(event, NodeReady):
            self._ready_at[event.node] = event.time
        elif isinstance(event, NodeStarted):
            self._started_at[event.node] = event.time
            self._in_flight.add(1, self._graph)
            self._queue_wait.record(max(0.0, event.time - self._ready_at.pop(event.node, event.time)), self._graph)
        elif isinstance(event, NodeEnded):
            self._ready_at.pop(event.node, None)
            self._executions.add(1, {**self._graph, names.NODE_STATE: event.state})
            self._end(event.node, event.time, event.state)
            if event.state == "failed":
                self._count_error(event.error)
        elif isinstance(event, NodeRetrying):
            self._end(event.node, event.time, "failed")
            self._count_error(event.error)
        elif isinstance(event, RunStarted):
            self._graph = {names.GRAPH_NAME: _encodable(event.name)}
            if event.outline.limit_states is not None:
                self._limits = _LimitMetrics(self._meter, event.outline.limit_states, self._graph)
        elif isinstance(event, RunEnded):
            for node in list(self._started_at):
                # Only a fault leaves any.
                self._end(node, event.time, "cancelled")

    def _end(self, node: str, now: float, state: str) -> None:
        started_at = self._started_at.pop(node, None)
        if started_at is not None:
            self._in_flight.add(-1, self._graph)
            self._duration.record(now - started_at, {**self._graph, names.NODE_STATE: state})

    def _count_error(self, error: BaseException | None) -> None:
        kind = "_OTHER" if error is None else describe_error(error)["type"]
        self._errors.add(1, {**self._graph, names.ERROR_TYPE: kind})
