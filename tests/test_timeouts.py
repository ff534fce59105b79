"""
The four clocks of a timeout: what each counts, what its error says, and what follows from it.
"""

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from antichain import (
    Adaptive,
    Backoff,
    Context,
    Graph,
    GraphError,
    Limit,
    NodeFailed,
    NodeTimeout,
    Policies,
    Retry,
    RunResult,
    Timeout,
    amap,
)
from antichain.testing import HANG, simulate
from tests.support.virtual import in_virtual_time, run


def timeout_of(result: RunResult, node: str) -> NodeTimeout:
    error = result.nodes[node].error
    assert isinstance(error, NodeTimeout), error
    return error


def held(seconds: float = 60.0, **options: Any) -> Graph:
    """A graph whose only slot of `llm` is held by a node that comes first."""
    graph = Graph("held", limits={"llm": 1}, on_error="continue", **options)

    @graph.node(uses="llm", priority=9)
    async def holder() -> str:
        await asyncio.sleep(seconds)
        return "held"

    return graph


# -- queue


def test_a_node_that_waits_too_long_for_its_slots_has_failed() -> None:
    graph = held()

    @graph.node(uses="llm", timeout=Timeout(queue=5), retry=Retry(attempts=3))
    async def waits() -> None: ...

    result = run(graph)
    node, error = result.nodes["waits"], timeout_of(result, "waits")
    assert (node.state, node.reason, node.attempts, node.started_at) == ("failed", "timeout", 0, None)
    assert (error.clock, error.limit, error.attempt, error.node) == ("queue", 5, 1, "waits")
    assert error.elapsed == pytest.approx(5)
    assert node.ended_at is not None
    assert node.ready_at is not None
    assert node.ended_at - node.ready_at == pytest.approx(5)
    assert str(error) == (
        "node 'waits' waited 5 s and could not start attempt 1: its queue timeout is 5 s. Raise Timeout(queue=…), or"
        " give limit 'llm' more room."
    )
    assert result["holder"] == "held"


def test_the_wait_for_max_concurrent_counts_too() -> None:
    graph = Graph("narrow", max_concurrent=1, on_error="continue")

    @graph.node(priority=1)
    async def holder() -> None:
        await asyncio.sleep(60)

    @graph.node(timeout=Timeout(queue=5))
    async def waits() -> None: ...

    assert "give max_concurrent= more room" in str(timeout_of(run(graph), "waits"))


def test_a_node_that_starts_in_time_is_not_hurried_afterwards() -> None:
    graph = held(4)

    @graph.node(uses="llm", timeout=Timeout(queue=5))
    async def waits() -> str:
        await asyncio.sleep(30)
        return "done"

    assert run(graph)["waits"] == "done"


def test_the_wait_begins_when_all_that_a_node_waits_for_has_come() -> None:
    """
    a ── b    b is ready at 10, and has its slot at 14
    """
    graph = held(14)

    @graph.node
    async def a() -> None:
        await asyncio.sleep(10)

    @graph.node(depends_on=[a], uses="llm", timeout=Timeout(queue=5))
    async def b() -> str:
        return "done"

    @graph.node(depends_on=[a], uses="llm", timeout=Timeout(queue=3))
    async def c() -> str:
        return "done"

    result = run(graph)
    assert result["b"] == "done"
    assert result.nodes["c"].ended_at == pytest.approx(result.started_at + 13)


def test_each_attempt_waits_anew() -> None:
    """The first waits 4 s and holds the slot for 1 s; then another node has it when the second wants it."""
    graph = held(4)

    @graph.node(uses="llm", timeout=Timeout(queue=5), retry=Retry(attempts=2, backoff=Backoff(initial=1, jitter=False)))
    async def waits() -> None:
        await asyncio.sleep(1)
        raise OSError("again")

    @graph.node(uses="llm", priority=-1)
    async def other() -> None:
        await asyncio.sleep(60)

    result = run(graph)
    node, error = result.nodes["waits"], timeout_of(result, "waits")
    assert (node.attempts, error.clock, error.attempt) == (1, "queue", 2)
    # Ready again at 6.
    assert node.ended_at == pytest.approx(result.started_at + 11)


def test_a_fallback_stands_in_for_what_could_not_start() -> None:
    graph = held()

    @graph.node(uses="llm", timeout=Timeout(queue=5), fallback=lambda error: f"{error.clock} {error.attempt}")
    async def waits() -> str:
        return "never"

    @graph.node(uses="llm", timeout=Timeout(queue=5), fallback="cached")
    async def waits_too() -> str:
        return "never"

    @graph.node
    async def after(waits: str, waits_too: str) -> str:
        return waits + waits_too

    result = run(graph)
    assert (result["waits"], result["after"]) == ("queue 1", "queue 1cached")
    assert result.nodes["waits"].reason == "fallback"
    assert timeout_of(result, "waits").clock == "queue"
    assert result.nodes["after"].ended_at == pytest.approx(result.started_at + 5)


def test_a_fallback_that_raises_or_hangs_is_a_failure() -> None:
    async def hangs(error: Exception) -> None:
        await asyncio.sleep(100)

    def raises(error: Exception) -> None:
        raise LookupError("no cache")

    graph = held()
    graph.add("raises", asyncio.sleep, inputs={"delay": 1}, uses="llm", timeout=Timeout(queue=5), fallback=raises)
    graph.add(
        "hangs", asyncio.sleep, inputs={"delay": 1}, uses="llm", timeout=Timeout(queue=5, attempt=2), fallback=hangs
    )
    result = run(graph)
    assert isinstance(result.nodes["raises"].error, LookupError)
    assert timeout_of(result, "hangs").clock == "attempt"
    assert result.nodes["hangs"].ended_at == pytest.approx(result.started_at + 7)


def test_items_of_a_map_wait_each_for_themselves() -> None:
    graph = Graph("map", limits={"llm": 2})
    policies: dict[str, Any] = {"uses": "llm", "timeout": Timeout(queue=25), "outcomes": True, "max_concurrent": 100}

    async def call(item: int) -> int:
        await asyncio.sleep(10)
        return item

    graph.map("calls", call, over=list(range(8)), **policies)
    outcomes = run(graph)["calls"]
    # Pairs start at 0, 10 and 20; the last one would at 30.
    assert [outcome.error is None for outcome in outcomes] == [True] * 6 + [False] * 2
    assert [outcome.error.clock for outcome in outcomes[6:]] == ["queue", "queue"]


def test_a_limit_shared_with_another_run_is_waited_for_as_long() -> None:
    limit = Limit(1)
    limit.acquire()
    graph = Graph("shared", limits={"llm": limit})
    graph.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=5))
    result = run(graph)
    assert timeout_of(result, "waits").elapsed == pytest.approx(5)


def test_a_limit_that_is_paused_is_said_to_be() -> None:
    class TooMany(Exception):
        status_code = 429
        retry_after = 3600

    graph = Graph("paused", limits={"llm": Adaptive(initial=1)}, on_error="continue")

    async def refused() -> None:
        raise TooMany

    graph.add("refused", refused, uses="llm", priority=1)
    graph.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=600))
    error = timeout_of(run(graph), "waits")
    assert error.paused == pytest.approx(3000)
    assert "or wait: limit 'llm' is paused for another 3,000 s, as its provider asked." in str(error)


def test_the_event_of_the_end_carries_the_error() -> None:
    seen: list[Any] = []
    graph = held(listeners=[seen.append])
    graph.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=5))
    run(graph)
    (ended,) = [event for event in seen if type(event).__name__ == "NodeEnded" and event.node == "waits"]
    assert (ended.state, ended.reason, ended.error.clock) == ("failed", "timeout", "queue")


def test_simulate_knows_the_wait() -> None:
    graph = held()
    graph.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=5))
    graph.add("cached", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=7), fallback="old")
    result = simulate(graph.plan(), durations={"holder": 60.0})
    assert (timeout_of(result, "waits").elapsed, result.nodes["waits"].ended_at) == (5, 5)
    assert (result["cached"], result.nodes["cached"].ended_at) == ("old", 7)


# -- idle


def test_a_silent_attempt_is_stopped_and_tried_again() -> None:
    graph = Graph("idle", on_error="continue")
    attempts: list[int] = []

    @graph.node(timeout=Timeout(idle=5), retry=Retry(attempts=2, backoff=Backoff(initial=1, jitter=False)))
    async def silent(context: Context) -> str:
        attempts.append(context.attempt)
        await asyncio.sleep(3)
        context.emit("still here")
        await asyncio.sleep(100 if context.attempt == 1 else 4)
        return "done"

    seen: list[Any] = []
    result = run(graph, listeners=[seen.append])
    assert result["silent"] == "done"
    assert attempts == [1, 2]
    error = timeout_of(result, "silent")
    assert (error.clock, error.limit, error.attempt, error.last_sign) == ("idle", 5, 1, pytest.approx(3))
    assert error.elapsed == pytest.approx(5)
    assert str(error) == (
        "attempt 1 of node 'silent' was stopped after 5 s without a sign of life: its idle timeout is 5 s, and since"
        " 3 s after its start it has given no chunk and called neither ctx.emit nor ctx.heartbeat. Raise"
        " Timeout(idle=…), or let it call ctx.heartbeat() while it works."
    )
    (retrying,) = [event for event in seen if type(event).__name__ == "NodeRetrying"]
    assert retrying.time == pytest.approx(result.started_at + 8)


def test_an_attempt_that_never_gave_a_sign_is_told_so() -> None:
    graph = Graph("idle")
    graph.add("silent", asyncio.sleep, inputs={"delay": 100}, timeout=Timeout(idle=5))
    assert "since it started it has given" in str(timeout_of(run(graph), "silent"))


@pytest.mark.parametrize("how", ["emit", "heartbeat"])
def test_signs_of_life_keep_an_attempt_going(how: str) -> None:
    """With no listener at all: what nobody hears is a sign all the same."""
    graph = Graph("alive")

    @graph.node(timeout=Timeout(idle=5))
    async def alive(context: Context) -> str:
        for _ in range(20):
            await asyncio.sleep(4.9)
            context.emit("chunk") if how == "emit" else context.heartbeat()
        return "done"

    assert run(graph)["alive"] == "done"


def test_chunks_of_a_generator_are_signs_of_life() -> None:
    graph = Graph("chunks", on_error="continue")

    @graph.node(timeout=Timeout(idle=5))
    async def flows() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(4)
            yield number

    @graph.node(timeout=Timeout(idle=3))
    async def drips() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(number)
            yield number

    result = run(graph)
    assert result["flows"] == [0, 1, 2, 3, 4]
    error = timeout_of(result, "drips")
    assert error.last_sign == pytest.approx(3)
    assert result.nodes["drips"].ended_at == pytest.approx(result.started_at + 6)


def test_idle_and_attempt_are_two_clocks() -> None:
    graph = Graph("both", on_error="continue")

    @graph.node(timeout=Timeout(attempt=10, idle=4))
    async def talks(context: Context) -> None:
        while True:
            await asyncio.sleep(3)
            context.heartbeat()

    @graph.node(timeout=Timeout(attempt=10, idle=4))
    async def silent() -> None:
        await asyncio.sleep(100)

    result = run(graph)
    assert [timeout_of(result, name).clock for name in ("talks", "silent")] == ["attempt", "idle"]
    assert [result.nodes[name].ended_at for name in ("talks", "silent")] == [
        pytest.approx(result.started_at + 10),
        pytest.approx(result.started_at + 4),
    ]


def test_a_body_that_waits_for_what_it_runs_itself_is_not_silent() -> None:
    graph = Graph("agent", limits={"llm": 1})
    inner = Graph("inner")
    inner.add("slow", asyncio.sleep, inputs={"delay": 60})

    @graph.node(timeout=Timeout(idle=5), uses="llm")
    async def agent(context: Context) -> str:
        await context.run(inner)
        await asyncio.sleep(4.9)
        return "done"

    assert run(graph)["agent"] == "done"


def test_a_body_is_silent_again_once_it_has_its_slots_back() -> None:
    graph = Graph("agent")
    inner = Graph("inner")
    inner.add("slow", asyncio.sleep, inputs={"delay": 61})

    @graph.node(timeout=Timeout(idle=5))
    async def agent(context: Context) -> None:
        await context.run(inner)
        await asyncio.sleep(100)

    result = run(graph)
    assert timeout_of(result, "agent").last_sign == pytest.approx(61)
    assert result.nodes["agent"].ended_at == pytest.approx(result.started_at + 66)


def test_what_an_attempt_says_while_it_ends_does_not_save_it() -> None:
    graph = Graph("late")

    @graph.node(timeout=Timeout(idle=5))
    async def late(context: Context) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            context.heartbeat()

    assert timeout_of(run(graph), "late").elapsed == pytest.approx(5)


def test_a_fallback_has_no_signs_to_give() -> None:
    graph = Graph("fallback")

    async def slow_fallback(error: Exception) -> str:
        await asyncio.sleep(50)
        return "instead"

    graph.add("silent", asyncio.sleep, inputs={"delay": 100}, timeout=Timeout(idle=5), fallback=slow_fallback)
    assert run(graph)["silent"] == "instead"


def test_a_thread_that_is_silent_is_left_behind() -> None:
    """On the wall clock: a thread cannot be hurried. Its signs come from its own thread."""
    graph = Graph("threads", on_error="continue", grace=0.1)
    let_go = threading.Event()

    @graph.node(timeout=Timeout(idle=2))
    def silent(context: Context) -> None:
        for _ in range(8):
            let_go.wait(0.1)
            context.heartbeat()
        let_go.wait(30)

    try:
        result = graph.run()
    finally:
        let_go.set()
    error = timeout_of(result, "silent")
    assert error.clock == "idle"
    assert error.last_sign is not None
    assert error.last_sign >= 0.8
    assert result.abandoned == ("silent",)


def test_chunks_of_a_generator_in_a_thread_are_signs_of_life() -> None:
    graph = Graph("threads")

    @graph.node(timeout=Timeout(idle=1.5))
    def drips() -> Iterator[int]:
        for number in range(4):
            threading.Event().wait(0.5)
            yield number

    assert graph.run()["drips"] == [0, 1, 2, 3]


def test_simulate_finds_what_hangs_silent() -> None:
    graph = Graph("hang")
    graph.add("hangs", asyncio.sleep, inputs={"delay": 0}, timeout=Timeout(idle=5))
    result = simulate(graph.plan(), outcomes={"hangs": HANG})
    assert (timeout_of(result, "hangs").clock, result.makespan) == ("idle", 5)


# -- all of them


def test_the_total_names_what_all_attempts_took() -> None:
    graph = Graph("total")
    retry = Retry(attempts=9, backoff=Backoff(initial=1, jitter=False, factor=1))

    @graph.node(timeout=Timeout(attempt=3, total=10), retry=retry)
    async def slow() -> None:
        await asyncio.sleep(100)

    error = timeout_of(run(graph), "slow")
    assert (error.clock, error.attempt, error.limit) == ("total", 3, 10)
    assert error.elapsed == pytest.approx(10)


@pytest.mark.parametrize("clock", ["attempt", "total", "queue", "idle"])
def test_every_error_names_its_clock_limit_seconds_and_attempt(clock: Any) -> None:
    error = NodeTimeout("x", 7, clock, 2.5, 3.25, 1.5, ("llm",))
    text = str(error)
    assert all(part in text for part in ("'x'", "2.5 s", "3.25 s", "attempt 7", f"Timeout({clock}=…)")), text
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (text, vars(error))


@pytest.mark.parametrize("field", ["total", "queue", "idle"])
@pytest.mark.parametrize("value", [0, -1, "5", True, float("nan")])
def test_what_is_no_number_of_seconds_is_refused(field: str, value: Any) -> None:
    with pytest.raises(GraphError, match=rf"Timeout\({field}=…\)="):
        Timeout(**{field: value})


def test_a_default_of_the_graph_may_limit_waits_and_silence() -> None:
    graph = held(defaults=Policies(timeout=Timeout(queue=5, idle=9)))
    graph.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm")
    result = run(graph)
    assert (timeout_of(result, "waits").clock, timeout_of(result, "holder").clock) == ("queue", "idle")


def test_a_timeout_inside_a_nested_graph_names_the_node_inside() -> None:
    inner = Graph("inner")
    inner.add("waits", asyncio.sleep, inputs={"delay": 0}, uses="llm", timeout=Timeout(queue=5))
    graph = held()
    graph.add("nested", inner)
    result = run(graph)
    assert timeout_of(result, "nested/waits").node == "nested/waits"
    assert not isinstance(result.nodes["nested"].error, NodeFailed)


def test_an_item_is_not_cancelled_because_one_before_it_was() -> None:
    """Items of a map follow each other on one node of the run."""

    async def work(item: int, ctx: Context) -> bool:
        if item in (0, 2):
            await asyncio.sleep(5)
        return ctx.cancelled

    outcomes = in_virtual_time(amap(work, range(6), outcomes=True, timeout=2, max_concurrent=1))
    assert [outcome.value for outcome in outcomes] == [None, False, None, False, False, False]


@pytest.mark.parametrize("timeout", [2.0, Timeout(total=2), Timeout(attempt=2, idle=2)])
def test_an_item_that_hangs_is_stopped_whatever_those_before_it_took(timeout: Any) -> None:
    """The second one is watched when the third begins, on the same node and in the same task."""

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def main() -> float:
        outcomes = await amap(work, [1.9, 0.9, 0.9, 100, 0.5], outcomes=True, timeout=timeout, max_concurrent=1)
        assert [outcome.ok for outcome in outcomes] == [True, True, True, False, True]
        return asyncio.get_running_loop().time()

    assert in_virtual_time(main) == pytest.approx(1.9 + 0.9 + 0.9 + 2 + 0.5)
