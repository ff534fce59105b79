"""
An OpenTelemetry SDK that remembers what was asked of it, and what a trace should look like by a run's events.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from antichain import NodeEnded, NodeEntered, NodeRetrying, NodeStarted
from antichain.core.facts import Event
from antichain.record import NodeRecord
from antichain.tasks import GivenUp
from antichain.telemetry import names

RUN = names.RUN_SPAN


class Counted(SpanProcessor):
    """Keep the order in which spans start, and count how often each ends."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ends: dict[int, int] = {}

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ends[span.context.span_id] = self.ends.get(span.context.span_id, 0) + 1


class Complaints(logging.Handler):
    """What the SDK logs: a second end, an attribute of no known type, a context that cannot be detached."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not isinstance(error.__context__, GivenUp):
            # A body that is given up is ended from outside its context; its own spans see that.
            self.texts.append(record.getMessage())


class Recorder:
    """A tracer provider of the real SDK, with its in-memory exporter."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.counted = Counted()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.counted)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        # Whoever makes spans of their own: the caller, and bodies.
        self.users = self.provider.get_tracer("user")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended, in order of their ends."""
        return self.exporter.get_finished_spans()

    @property
    def ours(self) -> list[ReadableSpan]:
        """Those of the library, in order of their starts."""
        finished = {span_id(span): span for span in self.spans}
        return [finished[span_id(span)] for span in self.counted.started if is_ours(span)]

    @property
    def run(self) -> ReadableSpan:
        (span,) = [span for span in self.ours if span.name == RUN]
        return span

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.ours if span.name != RUN]

    def of(self, node: str) -> list[ReadableSpan]:
        """The spans of a node's attempts."""
        return [span for span in self.attempts if span.attributes and span.attributes[names.NODE_ID] == node]

    def one(self, node: str) -> ReadableSpan:
        (span,) = self.of(node)
        return span

    def by_user(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Assert that every span is started and ended once, that the caller's context is as before, and that the SDK
        has nothing to complain of."""
        before = trace.get_current_span()
        complaints = Complaints()
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(complaints)
        try:
            yield
        finally:
            logger.removeHandler(complaints)
        assert complaints.texts == []
        assert trace.get_current_span() is before
        started = [span_id(span) for span in self.counted.started if is_ours(span)]
        assert started
        assert {self.counted.ends.get(each, 0) for each in started} == {1}, "a span did not end, or more than once"


def span_id(span: Any) -> int:
    return span.get_span_context().span_id  # type: ignore[no-any-return]


def is_ours(span: ReadableSpan) -> bool:
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name == names.SCOPE


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def judge(recorder: Recorder, events: Sequence[Event], nodes: Mapping[str, NodeRecord]) -> dict[str, int]:
    """
    Compare the trace of a run with its events, span by span; returns how much of each kind there was.
    """
    run = recorder.run
    seen = dict.fromkeys(
        ("attempts", "links", "joins", "nested", "errors", "retries", "cancelled", "fallbacks", "unstarted"), 0
    )
    started = [event for event in events if isinstance(event, NodeStarted)]
    assert len(started) == len(recorder.attempts)
    spans = iter(recorder.attempts)
    # The span of the last attempt that has started of each node, and where each span is.
    latest: dict[str, ReadableSpan] = {}
    by_id = {span_id(span): span for span in recorder.ours}
    for event in events:
        if isinstance(event, NodeEntered):
            # Again, if the graph around it has another attempt.
            latest.pop(event.node, None)
        elif isinstance(event, NodeStarted):
            span = latest_of(event, spans)
            judge_start(span, event, nodes[event.node], latest, run)
            latest[event.node] = span
            seen["attempts"] += 1
            seen["links"] += len(span.links)
            seen["joins"] += len(span.links) > 1
            seen["nested"] += span.parent != run.context
            assert has_ancestor(span, run, by_id), f"{event} does not descend from the run"
        elif isinstance(event, NodeRetrying):
            # Nobody links to an attempt that is not the last.
            span = latest.pop(event.node)
            assert_failed(span, event.error)
            assert (span.attributes or {})[names.NODE_RETRY_DELAY] == event.delay
            seen["retries"] += 1
        elif isinstance(event, NodeEnded) and event.node in latest:
            judge_end(latest[event.node], event, seen)
        elif isinstance(event, NodeEnded) and event.state == "failed":
            # No attempt ran when it failed: the run's span tells it.
            assert event.node in [(told.attributes or {}).get(names.NODE_ID) for told in run.events]
            seen["unstarted"] += 1
    return seen


def latest_of(event: NodeStarted, spans: Iterator[ReadableSpan]) -> ReadableSpan:
    span = next(spans)
    assert span.attributes is not None
    assert (span.attributes[names.NODE_ID], span.attributes[names.NODE_ATTEMPT]) == (event.node, event.attempt)
    return span


def judge_start(
    span: ReadableSpan, event: NodeStarted, node: NodeRecord, latest: Mapping[str, ReadableSpan], run: ReadableSpan
) -> None:
    around = latest[node.group] if node.group else run
    assert span.parent is not None
    assert span.parent == around.context, f"{event} is not inside {node.group or 'the run'}"
    # What never ran has no span, and no link.
    expected = [span_id(latest[each]) for each in node.upstream if each in latest]
    assert [link.context.span_id for link in span.links] == expected, f"{event} does not link {node.upstream}"
    assert span.attributes is not None
    assert span.attributes.get(names.NODE_LIMITS, ()) == tuple(f"{name}={slots}" for name, slots in node.uses)
    waited = span.attributes[names.NODE_QUEUE_WAIT]
    assert isinstance(waited, float)
    assert waited >= 0.0
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time


def judge_end(span: ReadableSpan, event: NodeEnded, seen: dict[str, int]) -> None:
    attributes = span.attributes or {}
    assert attributes.get(names.NODE_ABANDONED, False) == event.abandoned
    if event.state == "failed":
        assert_failed(span, event.error)
        seen["errors"] += 1
        return
    assert span.status.is_unset
    assert names.ERROR_TYPE not in attributes
    assert attributes.get(names.NODE_STATE, "succeeded") == event.state
    assert attributes.get(names.NODE_REASON, "output") == event.reason
    if event.state == "succeeded":
        assert len([told for told in span.events if told.name == "exception"]) == (event.reason == "fallback")
    seen["cancelled"] += event.state == "cancelled"
    seen["fallbacks"] += event.reason == "fallback"


def assert_failed(span: ReadableSpan, error: BaseException | None) -> None:
    assert error is not None
    assert span.status.status_code is trace.StatusCode.ERROR
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    assert (span.attributes or {})[names.ERROR_TYPE] == name
    (told,) = [event for event in span.events if event.name == "exception"]
    assert told.attributes is not None
    assert told.attributes["exception.type"] == name
    assert told.attributes["exception.message"] == str(error)
    assert type(error).__name__ in str(told.attributes["exception.stacktrace"])


def has_ancestor(span: ReadableSpan, ancestor: ReadableSpan, by_id: Mapping[int, ReadableSpan]) -> bool:
    here: ReadableSpan | None = span
    while here is not None and here is not ancestor:
        here = by_id.get(parent_id(here) or 0)
    return here is ancestor
