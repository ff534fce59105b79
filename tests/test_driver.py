"""
Runs of real bodies: what a node raises, cancels, repeats or overruns is that node's affair, and nobody else's.
"""

import asyncio
import gc
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from antichain import (
    Context,
    Graph,
    Limit,
    NodeFailed,
    NodeTimeout,
    Retry,
    RunFailed,
    RunnerError,
    RunTimeout,
    Timeout,
)
from antichain.core.facts import Chunk, NodeEnded, RunEnded
from antichain.core.scheduler import Scheduler
from antichain.policies import Backoff, retry_after
from antichain.record import RunResult
from antichain.testing import virtual_time
from tests.support.leftovers import nothing_left, run_in_steps

VAR: ContextVar[str] = ContextVar("VAR", default="")
OWN = (SystemExit, KeyboardInterrupt, StopIteration, StopAsyncIteration, GeneratorExit, asyncio.CancelledError)


def virtual(graph: Graph, **options: Any) -> tuple[RunResult, float]:
    """Run in virtual time; returns what came of it, whatever that is, and the seconds it took."""
    with virtual_time() as clock:
        try:
            return clock.run(graph.arun(**options)), clock.now
        except (RunFailed, RunTimeout) as failure:
            return failure.result, clock.now


# -- what a node raises


@dataclass(frozen=True)
class Frozen(Exception):  # what it is
    """An exception as some libraries have it: nobody may set anything on it, notes included."""

    code: int


@pytest.mark.parametrize("error", [Frozen(7), type("Closed", (Exception,), {"__setattr__": None})()])
def test_an_exception_that_refuses_attributes_is_the_nodes_failure_and_nothing_more(error: Exception) -> None:
    graph = Graph(on_error="continue")

    async def bad() -> None:
        raise error

    async def good() -> int:
        return 1

    graph.add("bad", bad, retry=Retry(attempts=2, on=Exception))
    graph.add("good", good)
    result, _ = virtual(graph)
    assert result.nodes["bad"].error is error
    assert error.__notes__[:2] == ["node 'bad', attempt 1", "node 'bad', attempt 2"]
    assert result["good"] == 1


def as_coroutine(error: type[BaseException]) -> Any:
    async def body() -> None:
        await asyncio.sleep(0)
        raise error("mine")

    return body


def as_instant(error: type[BaseException]) -> Any:
    async def body() -> None:
        raise error("mine")

    return body


def as_function(error: type[BaseException]) -> Any:
    def body() -> None:
        raise error("mine")

    return body


def as_generator(error: type[BaseException]) -> Any:
    async def body() -> AsyncIterator[int]:
        yield 1
        raise error("mine")

    return body


def as_thread_generator(error: type[BaseException]) -> Any:
    def body() -> Iterator[int]:
        yield 1
        raise error("mine")

    return body


def as_caller(error: type[BaseException]) -> Any:
    async def body(ctx: Context) -> None:
        await ctx.run(as_function(error))

    return body


SHAPES: dict[str, tuple[Callable[[type[BaseException]], Any], dict[str, Any]]] = {
    "coroutine": (as_coroutine, {}),
    "instant": (as_instant, {}),
    "thread": (as_function, {}),
    "inline": (as_function, {"runner": "loop"}),
    "generator": (as_generator, {}),
    "thread generator": (as_thread_generator, {}),
    "ctx.run": (as_caller, {}),
}


@pytest.mark.parametrize("isolation", ["context", "task"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("error", OWN)
def test_whatever_a_node_raises_is_a_failed_node_and_nothing_more(
    error: type[BaseException], shape: str, isolation: str
) -> None:
    make, policies = SHAPES[shape]
    graph = Graph()
    graph.add("bad", make(error), **policies)

    @graph.node
    async def sibling() -> str:
        await asyncio.sleep(0.01)
        return "fine"

    graph.add("after", sibling.runnable, depends_on=["sibling"])
    with nothing_left():
        value, raised, _, _ = run_in_steps(lambda: graph.arun(on_error="continue", isolation=isolation))
    assert raised is None
    assert dict(value) == {"sibling": "fine", "after": "fine"}
    node = value.nodes["bad"]
    assert (node.state, node.reason) == ("failed", "error")
    # StopIteration cannot leave a coroutine or a generator: Python itself makes it a RuntimeError.
    assert isinstance(node.error, (NodeFailed, RuntimeError, error)), node.error
    assert isinstance(node.error, Exception)
    if isinstance(node.error, NodeFailed):
        assert type(node.error.__cause__) is error
        assert "mine" in str(node.error.__cause__)


@pytest.mark.parametrize("error", OWN)
def test_whatever_a_condition_raises_fails_its_node(error: type[BaseException]) -> None:
    graph = Graph()
    graph.add("judged", as_function(ValueError), when=as_function(error))
    graph.add("fine", lambda: 1)
    result, _ = virtual(graph, on_error="continue")
    assert result.nodes["judged"].state == "failed"
    assert result.nodes["judged"].attempts == 0
    assert result["fine"] == 1


@pytest.mark.parametrize("error", OWN)
@pytest.mark.parametrize("make", [as_function, as_coroutine])
def test_whatever_a_fallback_raises_fails_its_node(make: Any, error: type[BaseException]) -> None:
    graph = Graph()
    raises = make(error)
    graph.add("bad", as_instant(OSError), fallback=lambda cause: raises())
    graph.add("fine", lambda: 1)
    result, _ = virtual(graph, on_error="continue")
    assert result.nodes["bad"].state == "failed"
    assert result["fine"] == 1


@pytest.mark.parametrize("error", OWN)
def test_whatever_a_retry_predicate_raises_ends_the_attempts(error: type[BaseException]) -> None:
    graph = Graph()
    graph.add("bad", as_instant(OSError), retry=Retry(3, on=lambda cause: as_function(error)()))
    result, _ = virtual(graph, on_error="continue")
    node = result.nodes["bad"]
    assert (node.state, node.attempts) == ("failed", 1)
    assert isinstance(node.error, OSError)
    assert any("not retried" in note for note in node.error.__notes__)


def test_an_error_keeps_its_own_cause_and_is_noted_with_node_and_attempt() -> None:
    graph = Graph()

    @graph.node
    async def bad() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with virtual_time() as clock, pytest.raises(RunFailed) as caught:
        clock.run(graph.arun())
    (error,) = caught.value.exceptions
    assert isinstance(error.__cause__, KeyError)
    assert error.__notes__ == ["node 'bad', attempt 1"]
    assert error.__traceback__ is not None


# -- nodes that cancel


def test_a_node_that_cancels_its_own_task_fails_at_its_next_await_or_not_at_all() -> None:
    graph = Graph()

    @graph.node
    async def returns() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return 1

    @graph.node
    async def waits() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    for number in range(5):
        graph.add(f"after {number}", as_sleeper(0.1), depends_on=[["returns"], []][number % 2])
    result, seconds = virtual(graph, on_error="continue")
    assert result.nodes["waits"].state == "failed"
    assert isinstance(result.nodes["waits"].error, NodeFailed)
    assert [node.state for node in result.nodes.values()].count("succeeded") == 6
    assert seconds == pytest.approx(0.1)


def as_sleeper(seconds: float, value: Any = None) -> Any:
    async def body() -> Any:
        await asyncio.sleep(seconds)
        return value

    return body


@pytest.mark.parametrize("when", [0.0, 0.5])
def test_a_node_that_cancels_every_other_task_but_the_callers(when: float) -> None:
    """The bodies that were hurt are failed nodes; what had not started yet runs."""
    graph = Graph()
    main: list[asyncio.Task[Any] | None] = []

    @graph.node(priority=1)
    async def killer() -> str:
        await asyncio.sleep(when)
        for task in asyncio.all_tasks():
            if task not in (asyncio.current_task(), main[0]):
                task.cancel()
        await asyncio.sleep(0.1)
        return "done"

    graph.add("beside", as_sleeper(1, "beside"))
    graph.add("next", as_sleeper(1, "next"), depends_on=["killer"])

    async def run() -> RunResult:
        main.append(asyncio.current_task())
        return await graph.arun(on_error="continue")

    with virtual_time() as clock:
        result = clock.run(run())
    assert result["killer"] == "done"
    assert result["next"] == "next"
    assert result.nodes["beside"].state == "failed" if when else "succeeded"


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_that_was_cancelled_before_it_began_is_not_waited_for(fails: bool) -> None:
    graph = Graph()
    main: list[asyncio.Task[Any] | None] = []

    @graph.node(priority=1)
    async def killer() -> None:
        for task in asyncio.all_tasks():
            if task not in (asyncio.current_task(), main[0]):
                task.cancel()
        if fails:
            raise OSError
        VAR.set("changed")

    for number in range(3):
        graph.add(f"n{number}", as_sleeper(1, number))

    async def run() -> RunResult:
        main.append(asyncio.current_task())
        return await graph.arun(on_error="continue")

    with virtual_time() as clock:
        result = clock.run(run())
        assert clock.now == pytest.approx(1)
    assert [result[f"n{number}"] for number in range(3)] == [0, 1, 2]


def test_a_node_that_cancels_every_other_task_cancels_the_run() -> None:
    graph = Graph()

    @graph.node(priority=1)
    async def killer() -> str:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        return "done"

    graph.add("beside", as_sleeper(1))
    graph.add("next", as_sleeper(1), depends_on=["killer"])
    _, error, _, took = run_in_steps(graph.arun)
    assert isinstance(error, asyncio.CancelledError)
    assert dict(error.result) == {"killer": "done"}  # type: ignore[attr-defined]


def test_a_worker_cancelled_between_two_bodies_hurts_nobody() -> None:
    """
    A timer that a node has left behind cancels the task that it was in, which waits for the loop's turn by then.
    """
    graph = Graph()

    @graph.node
    async def first() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)

    names = ["first"]
    for number in range(600):
        graph.add(f"n{number}", as_value(number), depends_on=[names[-1]])
        names.append(f"n{number}")
    result, _ = virtual(graph)
    assert len(result) == 601


def as_value(value: Any) -> Any:
    async def body() -> Any:
        return value

    return body


def test_a_node_that_stops_the_loop_does_not_end_the_run() -> None:
    graph = Graph()

    @graph.node
    async def stops() -> int:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)
        return 1

    @graph.node
    async def closes() -> None:
        asyncio.get_running_loop().close()

    graph.add("after", as_value(2), depends_on=["stops"])
    result = graph.run(on_error="continue")
    assert dict(result) == {"stops": 1, "after": 2}
    assert isinstance(result.nodes["closes"].error, RuntimeError)


def test_what_a_node_leaves_in_the_loop_of_run_is_ended_with_it() -> None:
    ended = []

    async def left() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")
            await asyncio.sleep(3600)

    graph = Graph()
    keep: list[Any] = []

    @graph.node
    async def leaves() -> None:
        keep.append(asyncio.ensure_future(left()))
        keep.append(numbers())
        await anext(keep[1])
        await asyncio.sleep(0)

    before = time.monotonic()
    graph.run()
    assert time.monotonic() - before < 5
    assert sorted(ended) == ["generator", "task"]


def test_a_fault_of_ours_ends_the_run_and_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run hangs: what breaks in a callback of the loop reaches the caller."""
    graph = Graph()
    graph.add("timed", as_sleeper(10), timeout=1)
    graph.add("other", as_sleeper(10))

    def broken(self: Scheduler, now: float) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Scheduler, "tick", broken)
    value, error, loop, _ = run_in_steps(graph.arun)
    assert isinstance(error, ZeroDivisionError)


# -- timeouts


def test_a_timeout_stops_the_attempt_and_says_whose_clock_it_was() -> None:
    graph = Graph()
    graph.add("slow", as_sleeper(10), timeout=2)
    graph.add("total", as_sleeper(10), timeout=Timeout(total=3))
    graph.add("both", as_sleeper(10), timeout=Timeout(attempt=4, total=3.5))
    result, seconds = virtual(graph, on_error="continue")
    assert seconds == pytest.approx(3.5)
    errors = {name: result.nodes[name].error for name in graph}
    assert all(isinstance(error, NodeTimeout) and isinstance(error, TimeoutError) for error in errors.values())
    clocks = {name: (error.clock, error.limit, error.elapsed) for name, error in errors.items()}  # type: ignore[union-attr]
    assert clocks == {
        "slow": ("attempt", 2, pytest.approx(2)),
        "total": ("total", 3, pytest.approx(3)),
        "both": ("total", 3.5, pytest.approx(3.5)),
    }
    assert {node.reason for node in result.nodes.values()} == {"timeout"}


def test_the_timeout_error_of_a_node_is_an_ordinary_failure() -> None:
    graph = Graph()

    @graph.node(timeout=5)
    async def impatient() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)

    result, seconds = virtual(graph, on_error="continue")
    node = result.nodes["impatient"]
    assert (node.reason, seconds) == ("error", pytest.approx(1))
    assert type(node.error) is TimeoutError


def test_a_timeout_starts_when_the_attempt_starts() -> None:
    """Waiting for a slot does not count."""
    graph = Graph()
    for number in range(5):
        graph.add(f"n{number}", as_sleeper(1, number), timeout=1.5)
    result, seconds = virtual(graph, max_concurrent=1)
    assert len(result) == 5
    assert seconds == pytest.approx(5)


def test_instant_bodies_do_not_notice_their_timeout() -> None:
    graph = Graph()
    for number in range(2000):
        graph.add(f"n{number}", as_value(number), timeout=0.5)
    result, seconds = virtual(graph)
    assert len(result) == 2000
    assert seconds == 0


def test_the_total_timeout_covers_attempts_and_backoffs_but_not_waiting() -> None:
    graph = Graph()
    starts: list[float] = []

    @graph.node(retry=Retry(10, Backoff(1, factor=1, jitter=False)), timeout=Timeout(total=5))
    async def flaky() -> None:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)
        raise OSError

    result, seconds = virtual(graph, on_error="continue")
    # 1 s of work and 1 s of pause in turn: an attempt that would start at 6 s is not made.
    assert starts == pytest.approx([0, 2, 4])
    assert isinstance(result.nodes["flaky"].error, OSError)
    assert seconds == pytest.approx(5)


def test_a_body_that_swallows_its_timeout_is_given_up_after_the_grace() -> None:
    graph = Graph()

    @graph.node(timeout=1)
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    result, seconds = virtual(graph, on_error="continue", grace=2)
    node = result.nodes["stubborn"]
    assert (node.state, node.reason, node.abandoned) == ("failed", "timeout", True)
    assert 3 <= seconds <= 4
    assert result.abandoned == ("stubborn",)


def test_a_body_that_swallows_its_timeout_and_returns_has_still_timed_out() -> None:
    graph = Graph()

    @graph.node(timeout=1)
    async def swallows() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
        return "late"

    result, seconds = virtual(graph, on_error="continue")
    node = result.nodes["swallows"]
    assert (node.state, node.reason, node.abandoned) == ("failed", "timeout", False)
    assert "swallows" not in result
    assert seconds == pytest.approx(1.5)


def test_a_late_ending_of_a_given_up_attempt_does_not_hurt_the_next_one() -> None:
    graph = Graph()

    @graph.node(timeout=1, retry=Retry(2, Backoff(0)), repeat="safe")
    async def hangs_once(ctx: Context) -> str:
        if ctx.attempt == 1:
            for _ in range(4):
                try:
                    await asyncio.sleep(10)
                except BaseException:
                    continue
            return "first"
        await asyncio.sleep(0.9)
        return "second"

    result, _ = virtual(graph, grace=0.5)
    assert result["hangs_once"] == "second"
    assert result.nodes["hangs_once"].attempts == 2


def test_timeouts_are_retried_and_fall_back() -> None:
    graph = Graph()

    @graph.node(timeout=1, retry=Retry(3, Backoff(0)))
    async def third(ctx: Context) -> int:
        await asyncio.sleep(2 if ctx.attempt < 3 else 0.5)
        return ctx.attempt

    graph.add("fallback", as_sleeper(10), timeout=1, fallback=lambda error: type(error).__name__)
    result, seconds = virtual(graph)
    assert dict(result) == {"third": 3, "fallback": "NodeTimeout"}
    assert result.nodes["fallback"].reason == "fallback"
    assert seconds == pytest.approx(2.5)


def test_the_timeout_of_a_nested_graph_covers_all_of_it() -> None:
    inner = Graph("inner")
    inner.add("a", as_sleeper(1))
    inner.add("b", as_sleeper(1), depends_on=["a"])
    inner.add("c", as_sleeper(1), depends_on=["b"])
    graph = Graph()
    graph.add("outer", inner, timeout=2.5)
    graph.add("in time", inner, timeout=3.5)
    result, seconds = virtual(graph, on_error="continue")
    assert seconds == pytest.approx(3)
    assert isinstance(result.nodes["outer"].error, NodeTimeout)
    states = {name: (node.state, node.reason) for name, node in result.nodes.items() if name.startswith("outer")}
    assert states == {
        "outer": ("failed", "timeout"),
        "outer/a": ("succeeded", "output"),
        "outer/b": ("succeeded", "output"),
        "outer/c": ("cancelled", "timeout"),
    }
    assert result.nodes["in time"].state == "succeeded"


def test_the_deadline_keeps_what_completed() -> None:
    graph = Graph()
    graph.add("quick", as_sleeper(1, "kept"))
    graph.add("slow", as_sleeper(10))
    graph.add("after", as_sleeper(1), depends_on=["slow"])
    with virtual_time() as clock:
        with pytest.raises(RunTimeout) as caught:
            clock.run(graph.arun(deadline=2))
        assert clock.now == pytest.approx(2)
    assert dict(caught.value.result) == {"quick": "kept"}
    assert caught.value.result.status == "failed"
    assert caught.value.unfinished == ("slow", "after")
    reasons = {name: node.reason for name, node in caught.value.result.nodes.items()}
    assert reasons == {"quick": "output", "slow": "deadline", "after": "deadline"}


def test_a_deadline_that_passed_while_the_last_nodes_completed_loses_nothing() -> None:
    graph = Graph()

    @graph.node
    async def swallows() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
        return "kept"

    result, seconds = virtual(graph, deadline=1)
    assert dict(result) == {"swallows": "kept"}
    assert seconds == pytest.approx(1.5)


# -- retries and fallbacks


def test_the_slot_is_free_while_a_node_backs_off() -> None:
    graph = Graph(limits={"one": 1})
    order: list[str] = []

    @graph.node(uses="one", retry=Retry(2, Backoff(1, jitter=False)), priority=1)
    async def flaky(ctx: Context) -> None:
        order.append(f"flaky {ctx.attempt} at {asyncio.get_running_loop().time():g}")
        if ctx.attempt == 1:
            raise OSError

    @graph.node(uses="one")
    async def other() -> None:
        order.append(f"other at {asyncio.get_running_loop().time():g}")
        await asyncio.sleep(0.5)

    _, seconds = virtual(graph, max_concurrent=1)
    assert order == ["flaky 1 at 0", "other at 0", "flaky 2 at 1"]
    assert seconds == pytest.approx(1)


@pytest.mark.parametrize("where", ["attribute", "headers", "response"])
def test_retry_after_is_honoured(where: str) -> None:
    class Busy(Exception):
        pass

    class Response:
        headers = {"Retry-After": "7"}

    graph = Graph()

    @graph.node(retry=Retry(2, Backoff(0.1)))
    async def polite(ctx: Context) -> float:
        if ctx.attempt == 1:
            error = Busy()
            if where == "attribute":
                error.retry_after = 7  # type: ignore[attr-defined]
            elif where == "headers":
                error.headers = {"retry-after": "7"}  # type: ignore[attr-defined]
            else:
                error.response = Response()  # type: ignore[attr-defined]
            raise error
        return asyncio.get_running_loop().time()

    result, _ = virtual(graph)
    assert result["polite"] == pytest.approx(7, abs=0.01)


def test_milliseconds_of_a_header_come_first() -> None:
    """As OpenAI and Azure send them beside whole seconds."""
    error = OSError()
    error.headers = {"retry-after-ms": "300", "retry-after": "1"}  # type: ignore[attr-defined]
    assert retry_after(error, 0.0) == pytest.approx(0.3)
    error.headers = {"Retry-After-Ms": "soon", "retry-after": "1"}  # type: ignore[attr-defined]
    assert retry_after(error, 0.0) == 1.0


@pytest.mark.parametrize(("error", "attempts"), [(OSError, 3), (ValueError, 3), (TypeError, 1), (AssertionError, 1)])
def test_only_what_may_go_away_is_retried(error: type[Exception], attempts: int) -> None:
    graph = Graph()
    graph.add("bad", as_instant(error), retry=Retry(3, Backoff(0)))
    result, _ = virtual(graph, on_error="continue")
    assert result.nodes["bad"].attempts == attempts
    notes = getattr(result.nodes["bad"].error, "__notes__", [])
    assert notes[0] == f"node 'bad', attempt {attempts}"
    assert len(notes) == attempts


def test_fallbacks_may_be_values_functions_and_coroutine_functions() -> None:
    async def later(error: BaseException) -> str:
        await asyncio.sleep(1)
        return f"later {type(error).__name__}"

    graph = Graph()
    graph.add("value", as_instant(OSError), fallback=[])
    graph.add("none", as_instant(OSError), fallback=None)
    graph.add("function", as_instant(OSError), fallback=lambda error: type(error).__name__)
    graph.add("coroutine", as_instant(OSError), fallback=later)
    graph.add("thread", as_function(OSError), fallback=later)
    result, _ = virtual(graph)
    assert dict(result) == {
        "value": [],
        "none": None,
        "function": "OSError",
        "coroutine": "later OSError",
        "thread": "later OSError",
    }
    assert result.status == "succeeded"
    assert {node.reason for node in result.nodes.values()} == {"fallback"}


def test_a_fallback_that_hangs_is_timed_out_too() -> None:
    async def hangs(error: BaseException) -> None:
        await asyncio.sleep(100)

    graph = Graph()
    graph.add("bad", as_sleeper(10), timeout=1, fallback=hangs)
    result, seconds = virtual(graph, on_error="continue")
    assert result.nodes["bad"].state == "failed"
    assert seconds == pytest.approx(2)


# -- on_error, join, when


def failing_graph() -> Graph:
    """
    bad ── behind        beside ── later        pending: starts once `beside` is over
    """
    graph = Graph()

    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError("bad")

    graph.add("bad", fails)
    graph.add("behind", as_sleeper(1), depends_on=["bad"])
    graph.add("beside", as_sleeper(2, "beside"))
    graph.add("later", as_sleeper(1, "later"), depends_on=["beside"])
    return graph


@pytest.mark.parametrize(
    ("on_error", "states", "seconds"),
    [
        ("cancel", {"bad": "failed", "behind": "cancelled", "beside": "cancelled", "later": "cancelled"}, 1),
        ("drain", {"bad": "failed", "behind": "cancelled", "beside": "succeeded", "later": "cancelled"}, 2),
        ("continue", {"bad": "failed", "behind": "skipped", "beside": "succeeded", "later": "succeeded"}, 3),
    ],
)
def test_what_the_first_failure_means(on_error: str, states: dict[str, str], seconds: float) -> None:
    result, took = virtual(failing_graph(), on_error=on_error)
    assert {name: node.state for name, node in result.nodes.items()} == states
    assert took == pytest.approx(seconds)
    assert result.status == ("partial" if on_error == "continue" else "failed")


def test_a_sibling_that_completes_while_it_is_cancelled_is_not_lost() -> None:
    graph = Graph()

    @graph.node
    async def saves() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        return "saved"

    graph.add("bad", as_coroutine(OSError))
    result, _ = virtual(graph)
    assert dict(result) == {"saves": "saved"}


def test_cancelling_in_isolated_tasks_takes_no_grace() -> None:
    """A task that is cancelled before its first step never runs; its node has ended all the same."""
    graph = Graph()
    graph.add("bad", as_instant(OSError))
    for number in range(3):
        graph.add(f"n{number}", as_sleeper(1))
    result, seconds = virtual(graph, isolation="task")
    assert seconds == 0
    assert {node.state for node in result.nodes.values()} == {"failed", "cancelled"}
    assert result.abandoned == ()


def test_joins_and_conditions() -> None:
    graph = Graph()

    async def merge(left: int = 0, right: int = 0) -> int:
        return left + right

    graph.add("left", as_value(1))
    graph.add("right", as_value(2), when=lambda: False)
    graph.add("all", merge, depends_on=["left", "right"])
    graph.add("any", merge, depends_on=["left", "right"], join="any")
    graph.add("done", merge, depends_on=["left", "right"], join="all_done")
    graph.add("judged", merge, depends_on=["left"], when=lambda left: left == 1)
    result, _ = virtual(graph)
    assert dict(result) == {"left": 1, "any": 1, "done": 1, "judged": 1}
    assert result.nodes["all"].reason == "upstream"
    assert result.nodes["right"].reason == "condition"


# -- targets and outputs


def test_targets_run_and_keep_only_what_they_need() -> None:
    class Big:
        pass

    graph = Graph()
    alive: list[int] = []

    @graph.node
    async def load() -> Big:
        return Big()

    @graph.node
    async def size(load: Big) -> int:
        return 1

    @graph.node
    async def later(size: int) -> int:
        gc.collect()
        alive.append(sum(type(each) is Big for each in gc.get_objects()))
        return size + 1

    graph.add("unneeded", as_instant(ValueError))
    result, _ = virtual(graph, targets=["later"])
    assert dict(result) == {"later": 2}
    assert alive == [0]
    with pytest.raises(KeyError, match="targets"):
        result["load"]


def test_outputs_replace_nodes() -> None:
    graph = Graph()
    graph.add("web", as_instant(ValueError))

    @graph.node
    async def answer(web: list[str]) -> int:
        return len(web)

    result, _ = virtual(graph, outputs={"web": ["a", "b"]})
    assert dict(result) == {"web": ["a", "b"], "answer": 2}
    assert result.nodes["web"].reason == "outputs"


# -- listeners


def test_a_listener_that_raises_is_dropped_and_the_run_goes_on() -> None:
    """What listens changes nothing; its error is reported once, by the loop's exception handler."""
    for error in (ValueError, SystemExit, asyncio.CancelledError):
        graph = Graph()
        graph.add("a", as_sleeper(0.1, 1))
        graph.add("b", lambda: 2, depends_on=["a"])
        seen: list[Any] = []
        calls: list[Any] = []
        complaints: list[dict[str, Any]] = []

        def broken(event: Any, error: Any = error, calls: list[Any] = calls) -> None:
            calls.append(event)
            if len(calls) == 3:
                raise error("planted")

        async def run(
            graph: Graph = graph, broken: Any = broken, seen: list[Any] = seen, complaints: list[Any] = complaints
        ) -> RunResult:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            return await graph.arun(listeners=[broken, seen.append])

        with virtual_time() as clock:
            result = clock.run(run())
        assert dict(result) == {"a": 1, "b": 2}
        assert len(calls) == 3
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert isinstance(seen[-1], RunEnded)
        (complaint,) = complaints
        assert type(complaint["exception"]) is error


def test_chunks_of_generators_threads_and_contexts_reach_listeners_in_order() -> None:
    graph = Graph()

    @graph.node
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    @graph.node
    def letters() -> Iterator[str]:
        yield from "abc"

    @graph.node
    def tells(ctx: Context) -> str:
        ctx.emit("one")
        ctx.emit("two")
        return "end"

    @graph.node
    async def tells_from_afar(ctx: Context) -> str:
        await asyncio.to_thread(ctx.emit, "far")
        await asyncio.sleep(0.01)
        return "end"

    events: list[Any] = []
    result = graph.run(listeners=[events.append])
    assert dict(result) == {"numbers": [0, 1, 2], "letters": ["a", "b", "c"], "tells": "end", "tells_from_afar": "end"}
    chunks: dict[str, list[Any]] = {}
    for event in events:
        if isinstance(event, Chunk):
            chunks.setdefault(event.node, []).append(event.value)
        elif isinstance(event, NodeEnded):
            chunks.setdefault(event.node, []).append("ended")
    assert chunks == {
        "numbers": [0, 1, 2, "ended"],
        "letters": ["a", "b", "c", "ended"],
        "tells": ["one", "two", "ended"],
        "tells_from_afar": ["far", "ended"],
    }


# -- more graph from inside


def test_two_things_run_inside_one_body_share_its_slots() -> None:
    """
    The first has ended and waits for the node's slots, while the second starts and lends them again.
    """
    graph = Graph()

    @graph.node(priority=1)
    async def body(ctx: Context) -> list[Any]:
        async def second() -> Any:
            await asyncio.sleep(0.5)
            return await ctx.run(as_sleeper(1, "second"))

        return await asyncio.gather(ctx.run(as_value("first")), second())

    graph.add("hog", as_sleeper(5))
    result, _ = virtual(graph, max_concurrent=1, deadline=60)
    assert result["body"] == ["first", "second"]


def test_a_body_that_is_cancelled_can_run_nothing_more() -> None:
    graph = Graph()

    @graph.node
    async def body(ctx: Context) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await ctx.run(as_value("never"))

    result, seconds = virtual(graph, deadline=1)
    assert result.nodes["body"].state == "cancelled"
    assert seconds == pytest.approx(1)
    assert result.abandoned == ()


def test_a_timeout_around_ctx_run_ends_what_it_ran_and_the_slots_come_back() -> None:
    graph = Graph()
    running: list[str] = []
    most = 0

    def counted(name: str, seconds: float) -> Any:
        async def body() -> None:
            nonlocal most
            running.append(name)
            most = max(most, len(running))
            try:
                await asyncio.sleep(seconds)
            finally:
                running.remove(name)

        return body

    @graph.node(priority=1)
    async def outer(ctx: Context) -> str:
        try:
            async with asyncio.timeout(1):
                await ctx.run(counted("inner", 10))
        except TimeoutError:
            await counted("outer", 1)()
        return "fine"

    graph.add("other", counted("other", 3))
    result, _ = virtual(graph, max_concurrent=1)
    assert result["outer"] == "fine"
    assert most == 1


def test_a_body_is_not_given_up_for_what_it_runs_itself() -> None:
    """Only the one that does not end is named; who waits for it gets the chance to end."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    async def middle(ctx: Context) -> None:
        await ctx.run(stubborn)

    graph = Graph()
    ended: list[str] = []

    @graph.node
    async def outer(ctx: Context) -> None:
        try:
            await ctx.run(middle)
        finally:
            ended.append("outer")

    result, seconds = virtual(graph, deadline=1, grace=2)
    assert result.abandoned == ("outer/middle/middle()/stubborn/stubborn()",)
    assert ended == ["outer"]
    assert 3 <= seconds <= 4


def test_a_function_run_from_inside_raises_its_own_error() -> None:
    graph = Graph()

    @graph.node
    async def careful(ctx: Context) -> str:
        try:
            await ctx.run(as_function(KeyError))
        except KeyError as error:
            return f"caught {error}"
        return "?"

    result, _ = virtual(graph)
    assert result["careful"] == "caught 'mine'"
    assert result.status == "succeeded"


# -- plans, loops and threads


def test_one_plan_runs_many_times_at_once_in_several_loops_and_threads() -> None:
    graph = Graph(limits={"few": 3})

    @graph.node(uses="few")
    async def double(x: int) -> int:
        await asyncio.sleep(random.random() / 100)
        return 2 * x

    @graph.node
    def square(double: int) -> int:
        return double**2

    plan = graph.plan()
    found: dict[int, RunResult] = {}

    def in_thread(first: int) -> None:
        async def several() -> None:
            runs = await asyncio.gather(*[plan.arun({"x": number}) for number in range(first, first + 20)])
            found.update(zip(range(first, first + 20), runs, strict=True))

        asyncio.run(several())
        found[first + 20] = plan.run({"x": first + 20})

    with nothing_left():
        threads = [threading.Thread(target=in_thread, args=(first,)) for first in range(0, 105, 21)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 105
    assert all(dict(result) == {"double": 2 * x, "square": 4 * x * x} for x, result in found.items())
    assert len({result.run_id for result in found.values()}) == 105


def test_a_result_does_not_change_when_the_plan_runs_again() -> None:
    graph = Graph()
    graph.add("a", as_value(1))

    @graph.node
    async def grow(a: int, x: int, ctx: Context) -> int:
        return a + x + await ctx.run(as_value(1))

    plan = graph.plan()
    with virtual_time() as clock:
        first = clock.run(plan.arun({"x": 1}))
        before = (dict(first), dict(first.nodes), first.status)
        second = clock.run(plan.arun({"x": 2}))
    assert (dict(first), dict(first.nodes), first.status) == before
    assert (first["grow"], second["grow"]) == (3, 4)


def test_a_limit_shared_by_two_runs_is_never_passed_and_can_be_resized() -> None:
    limit = Limit(2)
    running = 0
    most: dict[int, int] = {}

    async def body() -> None:
        nonlocal running
        running += 1
        most[limit.size] = max(most.get(limit.size, 0), running)
        assert running <= 4
        await asyncio.sleep(1)
        running -= 1

    def graph() -> Graph:
        graph = Graph(limits={"shared": limit})
        for number in range(12):
            graph.add(f"n{number}", body, uses="shared")
        return graph

    async def both() -> float:
        async def resize() -> None:
            await asyncio.sleep(3.5)
            limit.resize(4)
            await asyncio.sleep(2)
            limit.resize(1)

        await asyncio.gather(graph().arun(), graph().arun(), resize())
        return asyncio.get_running_loop().time()

    with virtual_time() as clock:
        seconds = clock.run(both())
    assert limit.used == 0
    assert most[2] == 2
    assert most[4] == 4
    # 8 in the first four seconds, 8 more until 6 s (started before the limit shrank), then one by one.
    assert 13 <= seconds <= 18


def test_a_limit_shared_by_runs_in_different_threads_wakes_them() -> None:
    limit = Limit(1)
    lock = threading.Lock()
    most = 0
    running = 0

    async def body() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.001)
        with lock:
            running -= 1

    def in_thread() -> None:
        graph = Graph(limits={"shared": limit})
        for number in range(20):
            graph.add(f"n{number}", body, uses="shared")
        graph.run()

    threads = [threading.Thread(target=in_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 1
    assert limit.used == 0


def test_leaving_a_stream_cancels_and_awaits_everything() -> None:
    ended: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.5)
            ended.append("body")

    graph = Graph()
    graph.add("a", body)

    async def run() -> None:
        stream = graph.astream()
        async for event in stream:
            if getattr(event, "node", None) == "a":
                break
        await stream.aclose()  # type: ignore[attr-defined]
        ended.append("stream")

    value, error, _, _ = run_in_steps(run)
    assert error is None
    assert ended[-1] == "stream"


def test_a_stream_raises_what_the_run_raises_after_its_last_event() -> None:
    graph = Graph()
    graph.add("bad", as_coroutine(OSError))

    async def run() -> list[Any]:
        events: list[Any] = []
        try:
            async for event in graph.astream():
                events.append(event)
        except RunFailed as failure:
            events.append(failure)
        return events

    value, error, _, _ = run_in_steps(run)
    assert error is None
    assert isinstance(value[-2], RunEnded)
    assert isinstance(value[-1], RunFailed)


@pytest.mark.parametrize("cancel_at", [(4,), (8,), (12,), (12, 13), (12, 13, 14, 20)])
def test_a_cancelled_consumer_of_a_stream_ends_the_run_before_it_goes_on(cancel_at: tuple[int, ...]) -> None:
    ended: list[str] = []

    async def body() -> None:
        try:
            for _ in range(100):
                await asyncio.sleep(0.1)
        finally:
            await asyncio.sleep(0.5)
            ended.append("body")

    graph = Graph()
    graph.add("a", body)

    async def run() -> None:
        try:
            async for _ in graph.astream():
                pass
        finally:
            ended.append("consumer")

    _, error, _, took = run_in_steps(run, cancel_at)
    assert isinstance(error, asyncio.CancelledError)
    assert ended[-1] == "consumer"
    assert took <= 1


def test_leaving_a_stream_of_ordinary_code_ends_the_run() -> None:
    ended: list[str] = []
    graph = Graph()

    @graph.node
    async def body() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            ended.append("body")

    with nothing_left():
        stream = graph.stream()
        for event in stream:
            if isinstance(event, Chunk):
                break
        stream.close()  # type: ignore[attr-defined]
        assert ended == ["body"]


def test_a_batch_shares_its_limits_and_raises_the_first_failure_as_it_is() -> None:
    graph = Graph(limits={"one": 1})
    running = 0

    @graph.node(uses="one")
    async def square(x: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(1)
        running -= 1
        if x == 99:
            raise KeyError(x)
        return x * x

    with virtual_time() as clock:
        results = clock.run(graph.abatch([{"x": number} for number in range(4)]))
        assert [result["square"] for result in results] == [0, 1, 4, 9]
        assert clock.now == pytest.approx(4)
        with pytest.raises(RunFailed) as caught:
            clock.run(graph.abatch([{"x": 1}, {"x": 99}, {"x": 2}]))
    assert isinstance(caught.value.exceptions[0], KeyError)


def test_starvation_by_abandoned_work_is_a_failure_that_says_so() -> None:
    graph = Graph(limits={"one": 1})

    @graph.node(timeout=0.05, uses="one", priority=1)
    def hangs() -> None:
        release.wait(10)

    async def instance(item: int) -> int:
        return item

    graph.add("waits", as_value(1), uses="one")
    graph.map("mapped", instance, over=[1, 2], uses="one")
    graph.add("free", as_value(2))
    events: list[Any] = []
    release = threading.Event()
    try:
        result = graph.run(on_error="continue", grace=0.1, listeners=[events.append])
        with pytest.raises(RunFailed) as caught:
            graph.run(on_error="drain", grace=0.1)
    finally:
        release.set()
    assert dict(result) == {"free": 2}
    node = result.nodes["waits"]
    assert (node.state, node.reason) == ("failed", "starved")
    assert isinstance(node.error, RunnerError)
    assert "hangs" in str(node.error)
    assert result.nodes["mapped"].state == "failed"
    assert caught.value.result["free"] == 2
    ended = {event.node: event for event in events if isinstance(event, NodeEnded)}
    assert ended["waits"].reason == "starved"
    assert isinstance(ended["waits"].error, RunnerError)
