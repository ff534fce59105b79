"""
Spans of a run, case by case: names and attributes, errors, endings of every kind, what bodies see, what is kept.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from antichain import (
    Backoff,
    Context,
    Graph,
    NodeAsks,
    NodeEnded,
    NodeEntered,
    ParallelStepExecutor,
    Retry,
    RunEnded,
    RunFailed,
    RunStarted,
    RunTimeout,
    Step,
)
from antichain.core.facts import Event
from antichain.driver import Driver
from antichain.record import RunResult
from antichain.run import run_driver, settle
from antichain.telemetry import names, otel
from antichain.testing import virtual_time
from tests.support.leftovers import wait_until
from tests.support.probe import virtually
from tests.support.spans import Recorder, judge, parent_id, span_id


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def run(graph: Graph, recorder: Recorder, **options: Any) -> RunResult:
    """Run to the end, whatever it is, and compare the trace with the events."""
    events: list[Event] = []
    with recorder.watched():
        try:
            result = graph.run(tracer=recorder.provider, listeners=[events.append], **options)
        except (RunFailed, RunTimeout) as failure:
            assert isinstance(failure.result, RunResult)
            result = failure.result
    judge(recorder, events, result.nodes)
    return result


async def one() -> int:
    return 1


async def fails() -> None:
    raise ValueError("no")


def links_of(recorder: Recorder, node: str) -> list[str]:
    by_id = {span_id(span): span for span in recorder.attempts}
    (span,) = recorder.of(node)
    return [str((by_id[link.context.span_id].attributes or {})[names.NODE_ID]) for link in span.links]


# -- the run


def test_the_run_has_a_span_that_says_what_it_was(recorder: Recorder) -> None:
    graph = Graph("etl", limits={"llm": 2})
    graph.add("a", one, uses="llm")
    with recorder.users.start_as_current_span("caller") as caller:
        result = run(graph, recorder, max_concurrent=3, run_id="r1", limits={"thread": 5})
    span = recorder.run
    assert result.status == "succeeded"
    assert span.name == "parallel_executor.execute"
    assert dict(span.attributes or {}) == {
        "antichain.run.id": "r1",
        "antichain.run.status": "succeeded",
        "antichain.run.max_concurrent": 3,
        "antichain.run.limits": ("thread=5", "llm=2"),
        "antichain.graph.name": "etl",
        "antichain.graph.nodes": 1,
    }
    assert span.status.is_unset
    assert parent_id(span) == span_id(caller)
    attempt = recorder.one("a")
    assert attempt.name == "a"
    assert (attempt.attributes or {})["antichain.node.limits"] == ("llm=1",)


@pytest.mark.parametrize("asked", ["gen_ai_latest_experimental", "http,gen_ai_latest_experimental"])
def test_names_for_generative_ai_are_told_to_those_who_ask(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", asked)
    graph = Graph("agents")
    graph.add("a", one)
    run(graph, recorder)
    attributes = recorder.run.attributes or {}
    assert attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert attributes["gen_ai.workflow.name"] == "agents"


def test_a_failed_run_tells_the_error_of_its_first_own_node_that_failed(recorder: Recorder) -> None:
    """A failure that a body handles is not the run's."""
    graph = Graph()

    async def handles(ctx: Context) -> str:
        try:
            await ctx.run(other)
        except KeyError:
            return "handled"
        return "not reached"

    async def other() -> None:
        raise KeyError("handled")

    graph.add("handles", handles)
    graph.add("fails", fails, depends_on=["handles"])
    assert run(graph, recorder).status == "failed"
    assert (recorder.run.attributes or {})["error.type"] == "ValueError"
    assert recorder.run.status.description == "ValueError: no"
    (told,) = recorder.run.events
    assert (told.attributes or {})["exception.message"] == "no"


def test_a_run_that_passes_its_deadline_ends_in_error(recorder: Recorder) -> None:
    graph = Graph()
    graph.add("slow", lambda: asyncio.sleep(100))
    with virtual_time() as clock, recorder.watched(), pytest.raises(RunTimeout):
        clock.run(graph.arun(deadline=1.0, tracer=recorder.provider))
    assert not recorder.run.status.is_ok
    assert (recorder.run.attributes or {})["error.type"] == "antichain.errors.RunTimeout"
    slow = recorder.one("slow")
    assert (slow.attributes or {})["antichain.node.reason"] == "deadline"
    assert slow.status.is_unset


def test_a_partial_run_is_no_error(recorder: Recorder) -> None:
    graph = Graph(on_error="continue")
    graph.add("fails", fails)
    graph.add("a", one)
    assert run(graph, recorder).status == "partial"
    assert recorder.run.status.is_unset


def test_a_condition_that_raises_is_told_with_the_run(recorder: Recorder) -> None:
    """No attempt of the node ran, so it has no span of its own."""
    graph = Graph()
    graph.add("a", one, when=lambda: 1 / 0)
    run(graph, recorder)
    assert recorder.attempts == []
    assert [(told.attributes or {}).get("antichain.node.id") for told in recorder.run.events] == ["a", None]


# -- attempts


def test_a_join_links_to_all_that_it_waited_for(recorder: Recorder) -> None:
    """a and c succeed, b at its second attempt, d is skipped and e fails."""
    graph = Graph(on_error="continue")
    attempts = []

    async def second() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("again")
        return 2

    graph.add("a", one)
    graph.add("b", second, retry=Retry(2, Backoff(0.0)))
    graph.add("c", lambda: 3)
    graph.add("d", one, when=lambda: False)
    graph.add("e", fails)
    graph.add("join", one, depends_on=["a", "b", "c", "d", "e"], join="all_done")
    run(graph, recorder)
    assert links_of(recorder, "join") == ["a", "b", "c", "e"]
    first, last = recorder.of("b")
    assert recorder.one("join").links[1].context.span_id == span_id(last)
    assert (first.attributes or {})["antichain.node.retry_delay"] == 0.0
    assert (first.attributes or {})["error.type"] == "ValueError"
    assert last.status.is_unset


def test_a_fallback_is_told_and_is_no_error(recorder: Recorder) -> None:
    graph = Graph()
    graph.add("a", fails, fallback=0)
    assert run(graph, recorder)["a"] == 0
    span = recorder.one("a")
    assert span.status.is_unset
    assert (span.attributes or {})["antichain.node.reason"] == "fallback"
    assert [(told.attributes or {})["exception.type"] for told in span.events] == ["ValueError"]


def test_a_question_is_told_with_the_attempt_that_asks(recorder: Recorder) -> None:
    graph = Graph()

    @graph.node
    async def asks(ctx: Context) -> str:
        return await ctx.ask("Delete all?")

    run(graph, recorder, ask=lambda question: "yes")
    told = [(event.name, dict(event.attributes or {})) for event in recorder.one("asks").events]
    assert told == [
        (names.ASKS_EVENT, {names.QUESTION_NUMBER: 1, names.QUESTION_TEXT: "Delete all?"}),
        (names.ANSWERED_EVENT, {names.QUESTION_NUMBER: 1}),
    ]


def test_a_question_that_cannot_be_encoded_is_told_all_the_same(recorder: Recorder) -> None:
    tracing = otel.Tracing(recorder.provider)
    tracing(RunStarted(1, 0.0, "r", "g", 0))
    tracing(NodeEntered(2, 0.0, "r", "a", None, "", (), ()))
    tracing.node_started(0, "a", 1, 0.0, 0.0)
    tracing(NodeAsks(3, 0.0, "r", "a", 1, "Delete \udc80?", 1))
    # Nobody runs there.
    tracing(NodeAsks(4, 0.0, "r", "b", 1, "Delete?", 1))
    tracing(RunEnded(5, 0.0, "r", "cancelled"))
    (told,) = recorder.one("a").events
    assert (told.attributes or {})[names.QUESTION_TEXT] == "Delete \\udc80?"


def test_a_timeout_is_told_as_what_it_is(recorder: Recorder) -> None:
    graph = Graph()
    graph.add("slow", lambda: asyncio.sleep(100), timeout=1.0)
    with virtual_time() as clock, recorder.watched(), pytest.raises(RunFailed):
        clock.run(graph.arun(tracer=recorder.provider))
    attributes = recorder.one("slow").attributes or {}
    assert attributes["error.type"] == "antichain.errors.NodeTimeout"
    assert attributes["antichain.node.reason"] == "timeout"


def test_the_wait_in_the_queue_is_an_attribute(recorder: Recorder) -> None:
    graph = Graph(limits={"one": 1})
    for name in ("a", "b", "c"):
        graph.add(name, lambda: asyncio.sleep(2), uses="one")
    virtually(graph.arun(tracer=recorder.provider))
    waits = [(recorder.one(name).attributes or {})["antichain.node.queue_wait"] for name in ("a", "b", "c")]
    assert waits == pytest.approx([0.0, 2.0, 4.0])


def test_spans_have_few_names(recorder: Recorder) -> None:
    """Instances have the stage's, what a body runs twice has the same twice; the ids tell them apart."""
    inner = Graph("inner")
    inner.map("each", lambda word: word, over="text")
    graph = Graph()

    async def again(ctx: Context) -> None:
        await ctx.run(inner, text=["a", "b"])
        await ctx.run(inner, text=["c"])

    graph.add("again", again)
    graph.map("nested", inner, over=[["x"], ["y"]], key=lambda x: f"[{x}/#1]")
    run(graph, recorder)
    assert {span.name for span in recorder.attempts} == {
        *("again", "again/inner", "again/inner/each"),
        *("nested", "nested/each"),
    }
    assert len({(span.attributes or {})["antichain.node.id"] for span in recorder.attempts}) == len(recorder.attempts)


def test_stages_that_follow_each_other_link_from_item_to_item(recorder: Recorder) -> None:
    graph = Graph()
    graph.map("read", one_more, over=range(50), max_concurrent=8)
    graph.map("write", one_more, over="read")
    graph.map("also", slowly, over="read", max_concurrent=1)
    run(graph, recorder)
    assert links_of(recorder, "write") == links_of(recorder, "also") == ["read"]
    for number in range(50):
        assert links_of(recorder, f"write[{number}]") == links_of(recorder, f"also[{number}]") == [f"read[{number}]"]


async def one_more(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


async def slowly(x: int) -> int:
    await asyncio.sleep(0.001)
    return x + 1


def test_steps_that_stream_in_link_to_earlier_ones(recorder: Recorder) -> None:
    """However long ago those ended."""

    async def steps() -> AsyncIterator[Step]:
        for number in range(4):
            yield Step(f"s{number}", one, depends=["s0"] if number else [])
            await asyncio.sleep(1.0)

    with virtual_time() as clock, recorder.watched():
        clock.run(ParallelStepExecutor(steps()).execute(tracer=recorder.provider))
    for number in (1, 2, 3):
        assert links_of(recorder, f"s{number}") == ["s0"]


# -- around bodies


def test_what_bodies_start_is_inside_their_attempt(recorder: Recorder) -> None:
    """On the loop, in a thread, in a generator; and what a run inside a body starts is inside that."""
    graph, inner = Graph(), Graph("another run")
    inner.add("deep", one)

    @graph.node
    async def loop() -> None:
        with recorder.users.start_as_current_span("in loop"):
            await asyncio.sleep(0)

    @graph.node
    def thread() -> None:
        with recorder.users.start_as_current_span("in thread"):
            pass

    @graph.node
    async def generator() -> AsyncIterator[int]:
        with recorder.users.start_as_current_span("in generator"):
            yield 1

    graph.run(tracer=recorder.provider)
    for name in ("loop", "thread", "generator"):
        assert parent_id(recorder.by_user(f"in {name}")) == span_id(recorder.one(name))


def test_a_run_inside_a_body_is_inside_its_attempt(recorder: Recorder) -> None:
    inner, outer = Graph("inner"), Graph("outer")
    inner.add("deep", one)
    outer.add("runs", lambda: inner.run(tracer=recorder.provider))
    with recorder.watched():
        outer.run(tracer=recorder.provider)
    first, second = [span for span in recorder.ours if span.name == names.RUN_SPAN]
    assert parent_id(second) == span_id(recorder.one("runs"))
    assert parent_id(recorder.one("runs")) == span_id(first)
    assert parent_id(recorder.one("deep")) == span_id(second)


def test_bodies_are_called_in_the_callers_context(recorder: Recorder) -> None:
    """Baggage and the like come through beside the span."""
    from opentelemetry import baggage
    from opentelemetry.context import attach, detach

    graph = Graph()
    graph.add("a", lambda: baggage.get_baggage("user"))
    graph.add("b", lambda: baggage.get_baggage("user"), runner="loop")
    token = attach(baggage.set_baggage("user", "7"))
    try:
        result = run(graph, recorder)
    finally:
        detach(token)
    assert dict(result) == {"a": "7", "b": "7"}


@pytest.mark.parametrize("kind", ["tracer", "provider"])
def test_a_tracer_or_a_provider_may_be_given(recorder: Recorder, kind: str) -> None:
    graph = Graph()
    graph.add("a", one)
    tracer = recorder.provider.get_tracer("mine") if kind == "tracer" else recorder.provider
    graph.run(tracer=tracer)
    scopes = {span.instrumentation_scope.name for span in recorder.spans}  # type: ignore[union-attr]
    assert scopes == {"mine" if kind == "tracer" else "antichain"}


# -- endings


def test_cancelling_the_caller_ends_every_span(recorder: Recorder) -> None:
    graph = Graph()
    graph.add("a", lambda: asyncio.sleep(100))
    graph.add("b", one, depends_on=["a"])

    async def cancelled() -> None:
        task = asyncio.ensure_future(graph.arun(tracer=recorder.provider))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with recorder.watched():
        virtually(cancelled())
    assert (recorder.run.attributes or {})["antichain.run.status"] == "cancelled"
    assert recorder.run.status.is_unset
    assert (recorder.one("a").attributes or {})["antichain.node.state"] == "cancelled"
    assert recorder.of("b") == []


def test_leaving_a_stream_of_events_ends_every_span(recorder: Recorder) -> None:
    graph = Graph()
    graph.add("a", lambda: asyncio.sleep(100))

    async def leave() -> None:
        stream = graph.astream(tracer=recorder.provider)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    with recorder.watched():
        virtually(leave())
    assert len(recorder.ours) >= 1


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_every_span(recorder: Recorder, times: int) -> None:
    """The second one gives up what swallows the first."""
    graph = Graph()

    @graph.node
    async def interrupted() -> None:
        for _ in range(times):
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            if times == 2:
                await asyncio.sleep(100)
            raise

    with recorder.watched(), pytest.raises(KeyboardInterrupt):
        graph.run(tracer=recorder.provider)
    assert (recorder.run.attributes or {})["antichain.run.status"] == "cancelled"
    assert (recorder.one("interrupted").attributes or {})["antichain.node.state"] == "cancelled"


def test_a_thread_that_was_left_behind_still_sees_its_attempt(recorder: Recorder) -> None:
    """Its span has ended with the node; what it starts later is a child of it all the same."""
    graph, free, done = Graph(), threading.Event(), threading.Event()

    @graph.node(timeout=0.01)
    def stubborn() -> None:
        free.wait(30)
        with recorder.users.start_as_current_span("late"):
            pass
        done.set()

    try:
        with recorder.watched(), pytest.raises(RunFailed):
            graph.run(tracer=recorder.provider, grace=0.0)
    finally:
        free.set()
    span = recorder.one("stubborn")
    assert (span.attributes or {})["antichain.node.abandoned"] is True
    assert done.wait(30)
    assert wait_until(lambda: any(each.name == "late" for each in recorder.spans))
    assert parent_id(recorder.by_user("late")) == span_id(span)


def test_an_attempt_is_around_its_own_body_only(recorder: Recorder) -> None:
    """Not around one that was given up before a thread was free for it; and it is taken back."""
    tracing = otel.Tracing(recorder.provider)
    tracing(RunStarted(1, 0.0, "r", "graph", 0))
    tracing(NodeEntered(2, 0.0, "r", "a", None, "", (), ()))
    tracing.node_started(0, "a", 2, 0.0, 0.0)
    for node, attempt in (("a", 1), ("b", 1)):
        token = tracing.enter(node, attempt)
        assert trace.get_current_span() is trace.INVALID_SPAN
        tracing.leave(token)
    token = tracing.enter("a", 2)
    assert trace.get_current_span() is recorder.counted.started[-1]
    tracing.leave(token)
    assert trace.get_current_span() is trace.INVALID_SPAN
    tracing(RunEnded(3, 1.0, "r", "failed"))
    # A fault ended the run: what was running ends with it.
    assert len(recorder.ours) == 2


# -- when something is wrong


class Broken(SpanProcessor):
    """A processor that fails at the second attempt."""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        if span.name == "b":
            raise OSError("disk full")


def test_a_processor_that_raises_ends_the_trace_and_not_the_run(recorder: Recorder) -> None:
    recorder.provider.add_span_processor(Broken())
    graph = Graph()
    graph.add("a", one)
    graph.add("b", one, depends_on=["a"])
    graph.add("c", one, depends_on=["b"])
    complaints: list[dict[str, Any]] = []

    async def main() -> RunResult:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        return await graph.arun(tracer=recorder.provider)

    result = asyncio.run(main())
    assert dict(result) == {"a": 1, "b": 1, "c": 1}
    assert [str(told["exception"]) for told in complaints] == ["disk full"]
    # That of b began and could not be told of; no other stays open.
    assert [span.name for span in recorder.counted.started if span_id(span) not in recorder.counted.ends] == ["b"]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_foreign_text_cannot_break_the_trace(recorder: Recorder) -> None:
    """What UTF-8 cannot hold would lose all that is exported with it; an error's own text may fail."""
    graph = Graph("gr\udc80ph", on_error="continue", limits={"l\udc80": 1})

    async def lone() -> None:
        raise ValueError("\udcff")

    async def unprintable() -> None:
        raise Unprintable

    graph.add("n\udc80", lone, uses="l\udc80")
    graph.add("unprintable", unprintable)
    graph.map("m\udc80", one_more, over=[1], key=lambda _: "\udc81")
    with recorder.watched():
        graph.run(tracer=recorder.provider)
    for span in recorder.ours:
        span.to_json().encode("utf-8")
        told = [span.name, span.status.description or "", *map(str, (span.attributes or {}).values())]
        told += [str(value) for event in span.events for value in (event.attributes or {}).values()]
        for text in told:
            text.encode("utf-8")
    (event,) = recorder.one("unprintable").events
    assert "RuntimeError" in str((event.attributes or {})["exception.message"])


def test_a_trace_that_is_not_sampled_costs_no_errors_and_is_passed_on() -> None:
    """Bodies see the caller's trace, so that what they call knows that it is not sampled."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    graph = Graph(on_error="continue")
    graph.add("a", lambda: trace.get_current_span().get_span_context())
    graph.add("b", fails)
    with provider.get_tracer("user").start_as_current_span("caller") as caller:
        context = graph.run(tracer=provider)["a"]
    assert context.trace_id == caller.get_span_context().trace_id
    assert not context.trace_flags.sampled


# -- what is kept


def traced(graph: Graph, recorder: Recorder, look: Callable[[Event, otel.Tracing], None]) -> otel.Tracing:
    """Run with a listener that looks at what the trace keeps."""
    plan = graph.plan()
    settings = settle(plan, {"tracer": recorder.provider, "listeners": [lambda event: look(event, tracing)]})
    tracing = settings.surroundings
    assert isinstance(tracing, otel.Tracing)
    run_driver(Driver(plan, settings, {}))
    return tracing


def kept_by(tracing: otel.Tracing) -> dict[str, int]:
    """How much there is in each of its collections."""
    kept = {name: each for name, each in vars(tracing).items() if isinstance(each, (dict, set)) and name != "_context"}
    return {name: len(each) for name, each in kept.items() if name != "_base"}


def most_kept(graph: Graph, recorder: Recorder) -> dict[str, int]:
    most: dict[str, int] = {}

    def look(event: Event, tracing: otel.Tracing) -> None:
        if isinstance(event, NodeEnded):
            most.update({name: max(count, most.get(name, 0)) for name, count in kept_by(tracing).items()})

    tracing = traced(graph, recorder, look)
    # And nothing at all once it is over.
    assert set(kept_by(tracing).values()) == {0}
    return most


@pytest.mark.parametrize("shape", ["independent", "map", "graphs", "loop"])
def test_little_is_kept_of_what_nobody_can_link_to(recorder: Recorder, shape: str) -> None:
    """However many there are: nodes, items, graphs, or turns of an agent that runs graphs as it goes."""
    graph, inner = Graph(), Graph("inner")
    inner.add("a", one_more)
    inner.add("skipped", one, depends_on=["a"], when=lambda: False)
    inner.add("b", one, depends_on=["a", "skipped"], join="all_done")
    inner.map("c", one_more, over=[1, 2], depends_on=["b"])
    inner.map("d", one_more, over="c")

    async def loop(ctx: Context) -> None:
        for turn in range(50):
            await ctx.run(inner, x=turn)

    if shape == "independent":
        for number in range(200):
            graph.add(f"n{number}", one)
    elif shape == "map":
        graph.map("items", one_more, over=range(200), max_concurrent=2)
    elif shape == "graphs":
        graph.map("graphs", inner, over=range(100), window=2)
    else:
        graph.add("loop", loop)
    most = most_kept(graph, recorder)
    assert max(most.values()) <= 40, most


def test_of_planned_nodes_is_kept_what_others_link_to(recorder: Recorder) -> None:
    graph, links = Graph(), list[int]()
    for number in range(100):
        graph.add(f"n{number}", one, depends_on=[f"n{number - 1}"] if number else [])

    def look(event: Event, tracing: otel.Tracing) -> None:
        links.append(sum(ended is not None for ended in tracing._ended_planned))

    tracing = traced(graph, recorder, look)
    # Of the last one nothing is: nobody waits for it.
    assert max(links) == 99
    assert tracing._ended_planned == []


def test_a_batch_is_traced_like_its_runs(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One span around all of them; and none of either kind where the trace is switched off."""
    graph = Graph()
    graph.add("double", lambda x: 2 * x)
    results = graph.batch([{"x": 1}, {"x": 2}], tracer=recorder.provider)
    assert [result["double"] for result in results] == [2, 4]
    runs = [span for span in recorder.ours if span.name == names.RUN_SPAN]
    outer = [span for span in runs if span.parent is None]
    assert len(runs) == 3
    assert len(outer) == 1
    before = len(recorder.spans)
    # What the program has set up: `tracer=False` goes before it.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorder.provider)
    graph.batch([{"x": 1}], tracer=False)
    assert len(recorder.spans) == before
    graph.batch([{"x": 1}])
    assert len(recorder.spans) > before
