"""
Rates and adaptive limits in runs: who starts when, what a request takes, what becomes of what was really used, and what
an overload means for everyone on the limit.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

import antichain
from antichain import (
    Adaptive,
    Backoff,
    Budget,
    Context,
    Graph,
    GraphError,
    Limit,
    MemoryStore,
    Policies,
    Rate,
    Retry,
    RunFailed,
    RunnerError,
)
from antichain.core.scheduler import Scheduler
from antichain.record import fold
from antichain.stores.opening import open_store
from antichain.stores.record import stored_run
from antichain.testing import simulate
from antichain.views.board import Board
from antichain.views.progress import standing_text
from antichain.views.stored import why_text
from antichain.views.summary import next_step, summarize
from tests.support.virtual import in_virtual_time


class Recorder:
    """Calls that write down when they start."""

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.starts: list[tuple[float, Any]] = []

    async def __call__(self, item: Any) -> Any:
        self.note(item)
        await asyncio.sleep(self.seconds)
        return item

    def note(self, item: Any) -> None:
        self.starts.append((round(asyncio.get_running_loop().time(), 3), item))

    def times(self) -> list[float]:
        return [at for at, _ in self.starts]

    def names(self) -> list[Any]:
        return [name for _, name in self.starts]


class Overload(Exception):  # as clients have them
    """What a client raises when the other side has too much to do."""

    status_code = 429

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("429")
        self.retry_after = retry_after


# ---------------------------------------------------------------------- rates


def test_rate_lets_so_many_start_in_any_window() -> None:
    call = Recorder()
    in_virtual_time(lambda: antichain.amap(call, range(8), uses="llm", limits={"llm": Rate(requests=3, per=10)}))
    assert call.names() == list(range(8))
    assert call.times() == [0, 0, 0, 10, 10, 10, 20, 20]


def test_waiting_for_a_rate_holds_no_slot_and_blocks_nobody() -> None:
    graph = Graph(limits={"llm": Rate(requests=1, per=10), "db": 1})
    starts: dict[str, float] = {}

    def node(name: str, **policies: Any) -> None:
        async def body() -> None:
            starts[name] = asyncio.get_running_loop().time()
            await asyncio.sleep(1)

        graph.add(name, body, **policies)

    node("first", uses={"llm": 1, "db": 1})
    # It waits nine seconds for the rate, and does not hold the database meanwhile.
    node("second", uses={"llm": 1, "db": 1})
    node("third", uses="db")
    node("fourth")
    in_virtual_time(lambda: graph.arun(max_concurrent=2))
    assert starts == {"first": 0, "fourth": 0, "third": 1, "second": 10}


def test_big_request_is_not_passed_by_small_ones() -> None:
    call = Recorder()
    rate = Rate(tokens=100, per=10)
    sizes = [60, 90, 10, 10, 10]
    in_virtual_time(
        lambda: antichain.amap(call, enumerate(sizes), uses={"llm": lambda item: item[1]}, limits={"llm": rate})
    )
    assert [(at, size) for at, (_, size) in call.starts] == [(0, 60), (10, 90), (10, 10), (20, 10), (20, 10)]


def test_demands_that_share_a_rate_keep_their_order() -> None:
    """Who came first passes first, whatever else it uses; unless what else it uses is full."""
    graph = Graph(limits={"llm": Rate(requests=1, per=1), "db": 1})
    call = Recorder(seconds=2.5)

    def node(name: str, **policies: Any) -> None:
        async def body() -> Any:
            return await call(name)

        graph.add(name, body, **policies)

    node("a", uses={"llm": 1, "db": 1})
    node("b", uses="llm")
    node("c", uses={"llm": 1, "db": 1})
    node("d", uses="llm")
    in_virtual_time(graph.arun)
    # At 2, "c" is first in line, but the database is taken until 2.5.
    assert call.starts == [(0, "a"), (1, "b"), (2, "d"), (3, "c")]


def test_weights_by_units_and_by_functions_of_the_inputs() -> None:
    graph = Graph(limits={"llm": Rate(requests=10, tokens=100, per=10)})
    call = Recorder()

    @graph.node
    async def prompt() -> str:
        return "x" * 70

    @graph.node(uses={"llm": lambda prompt: {"requests": 1, "tokens": len(prompt)}})
    async def long(prompt: str) -> None:
        await call("long")

    @graph.node(uses={"llm": {"requests": 1, "tokens": 40}})
    async def fixed(prompt: str) -> None:
        await call("fixed")

    in_virtual_time(graph.arun)
    assert call.starts == [(0, "long"), (10, "fixed")]


def test_function_weight_of_a_map_reads_its_item_and_inputs() -> None:
    graph = Graph(limits={"llm": Rate(tokens=100, per=10)})
    call = Recorder()

    async def summarize(page: str, style: str) -> str:
        await call(page)
        return f"{style}:{page}"

    graph.map("summaries", summarize, over="pages", uses={"llm": lambda style, page: len(page) * len(style)})
    result = in_virtual_time(lambda: graph.arun(pages=["a" * 20, "b" * 20, "c" * 10], style="xx"))
    assert result["summaries"] == ["xx:" + "a" * 20, "xx:" + "b" * 20, "xx:" + "c" * 10]
    assert call.times() == [0, 0, 0] or call.times() == [0, 0, 10]
    assert call.times() == [0, 0, 0 if 20 * 2 + 20 * 2 + 10 * 2 <= 100 else 10]


def test_function_weight_that_raises_fails_its_node() -> None:
    graph = Graph(limits={"llm": Rate(tokens=100, per=10)})
    seen: list[str] = []

    @graph.node(uses={"llm": lambda question: int(question)})
    async def answer(question: str) -> None:
        seen.append(question)

    @graph.node
    async def other() -> str:
        return "done"

    result = in_virtual_time(lambda: graph.arun(question="many", on_error="continue"))
    assert isinstance(result.nodes["answer"].error, ValueError)
    assert (result.nodes["answer"].attempts, seen, result["other"]) == (0, [], "done")
    assert "answer" in "".join(result.nodes["answer"].error.__notes__)


@pytest.mark.parametrize("weight", ["many", -1, {"tokens": "many"}, {"words": 3}, {"tokens": 101}, None])
def test_function_weight_that_cannot_be_had_fails_its_node_at_once(weight: object) -> None:
    graph = Graph(limits={"llm": Rate(tokens=100, per=10)})

    @graph.node(uses={"llm": lambda: weight})
    async def answer() -> None:
        raise AssertionError

    with pytest.raises(RunFailed) as caught:
        in_virtual_time(graph.arun)
    (error,) = caught.value.exceptions
    assert isinstance(error, GraphError)
    assert "'llm'" in str(error)


def test_request_above_capacity_is_refused_before_anything_runs() -> None:
    graph = Graph(limits={"llm": Rate(requests=5, tokens=100)})
    graph.add("small", print, uses={"llm": {"tokens": 100}})
    graph.add("big", print, uses={"llm": {"requests": 1, "tokens": 101}})
    graph.add("many", print, uses={"llm": 6})
    graph.add("odd", print, uses={"llm": {"pages": 1}})
    with pytest.raises(GraphError) as caught:
        graph.plan()
    messages = {fault.node: fault.message for fault in caught.value.faults}
    assert set(messages) == {"big", "many", "odd"}
    assert "101" in messages["big"]
    assert all(f"'{name}'" in text and "'llm'" in text for name, text in messages.items())
    # What one run allows, another may not.
    ok = Graph(limits={"llm": Rate(tokens=100)})
    ok.add("big", print, uses={"llm": {"tokens": 101}})
    with pytest.raises(GraphError, match="101"):
        ok.plan()
    assert ok.run(limits={"llm": Rate(tokens=101)}).status == "succeeded"


@pytest.mark.parametrize(
    ("uses", "limit", "said"),
    [
        ({"llm": {"tokens": 1}}, 4, "no Rate"),
        ({"llm": lambda: 1}, Limit(4), "no Rate"),
        ({"llm": 5}, Adaptive(initial=2, maximum=4), "which has 4"),
        ({"llm": {"tokens": -1}}, Rate(tokens=5), "-1"),
        ({"llm": {}}, Rate(tokens=5), "name a unit"),
        (lambda item: "llm", 4, "graph.map"),
    ],
)
def test_uses_that_does_not_fit_its_limit_is_refused(uses: Any, limit: Any, said: str) -> None:
    graph = Graph(limits={"llm": limit})
    graph.add("node", print, uses=uses)
    with pytest.raises(GraphError, match=said):
        graph.plan()


def test_weight_functions_are_refused_where_they_could_wait() -> None:
    graph = Graph(limits={"llm": Rate(tokens=5)})

    async def later() -> int:
        return 1

    graph.add("node", print, uses={"llm": later})
    with pytest.raises(GraphError, match="plain function"):
        graph.plan()


# ---------------------------------------------------------------------- what was really used


def test_use_settles_what_was_reserved() -> None:
    graph = Graph(limits={"llm": Rate(tokens=100, per=10)})
    starts: list[tuple[float, str]] = []

    def node(name: str, reserved: int, used: int | None) -> None:
        async def body(ctx: Context) -> None:
            starts.append((asyncio.get_running_loop().time(), name))
            await asyncio.sleep(1)
            if used is not None:
                ctx.use(tokens=used)

        graph.add(name, body, uses={"llm": {"tokens": reserved}})

    node("a", 90, 20)
    node("b", 60, None)
    node("c", 30, 60)
    node("d", 50, None)
    in_virtual_time(graph.arun)
    # "b" starts as soon as "a" has said that it used 20 only; "c" used more than it reserved, which delays "d".
    assert starts == [(0, "a"), (1, "b"), (10, "c"), (20, "d")]


@pytest.mark.parametrize(
    "response",
    [
        {"usage": {"total_tokens": 30}},
        {"usage": {"input_tokens": 10, "output_tokens": 20}},
        {"usage": {"prompt_tokens": 10, "completion_tokens": 20}},
        type("Response", (), {"usage": type("Usage", (), {"total_tokens": 30})()})(),
        type("Response", (), {"usage": type("Usage", (), {"input_tokens": 10, "output_tokens": 20})()})(),
    ],
)
def test_usage_of_a_returned_response_settles(response: object) -> None:
    call = Recorder()

    async def ask(item: int) -> object:
        await call(item)
        return response

    rate = Rate(tokens=100, per=10)
    uses = {"llm": {"tokens": 60}}
    in_virtual_time(lambda: antichain.amap(ask, range(3), uses=uses, limits={"llm": rate}))
    assert call.times() == [0, 0.1, 10]
    assert rate.plain(1) == {"tokens": 30}


def test_what_the_body_says_counts_instead_of_what_it_returns() -> None:
    rate = Rate(tokens=100, per=10)

    async def ask(item: int, ctx: Context) -> object:
        ctx.use(tokens=20)
        ctx.use(tokens=20, usd=0.01)
        return {"usage": {"total_tokens": 90}}

    in_virtual_time(lambda: antichain.amap(ask, [1], uses={"llm": {"tokens": 60}}, limits={"llm": rate}))
    assert rate.passed(0.0) == {"tokens": 40}


def test_plain_calls_are_taken_to_need_what_others_needed() -> None:
    call = Recorder()

    async def ask(item: int) -> object:
        await call(item)
        return {"usage": {"total_tokens": 40}}

    # Nothing is known of the first: all that fits of requests passes; then 40 each.
    rate = Rate(requests=2, tokens=100, per=10)
    in_virtual_time(lambda: antichain.amap(ask, range(6), uses="llm", limits={"llm": rate}))
    assert call.times() == [0, 0, 10, 10, 20, 20]
    assert rate.plain(2) == {"requests": 2, "tokens": 80}


def test_use_is_harmless_where_nothing_counts() -> None:
    async def ask(item: int, ctx: Context) -> int:
        ctx.use(tokens=20, usd=0.3)
        return item

    assert in_virtual_time(lambda: antichain.amap(ask, [1, 2], uses="llm", limits={"llm": 2})) == [1, 2]
    with pytest.raises(RunFailed) as caught:
        in_virtual_time(lambda: antichain.amap(lambda item, ctx=None: item, [1]) if False else _misuse())
    assert "must be a number" in str(caught.value.exceptions[0])


async def _misuse() -> list[int]:
    async def ask(item: int, ctx: Context) -> int:
        ctx.use(tokens=-1)
        return item

    return await antichain.amap(ask, [1])


def test_use_from_a_thread_settles() -> None:
    rate = Rate(tokens=100, per=10)

    def ask(item: int, ctx: Context) -> int:
        ctx.use(tokens=7)
        return item

    assert antichain.map(ask, [1, 2], uses={"llm": {"tokens": 50}}, limits={"llm": rate}) == [1, 2]
    assert rate.passed(time.monotonic()) == {"tokens": 14}


def test_usage_beyond_all_measure_ends_no_run() -> None:
    """Each word is an amount, and their sum is none."""
    llm = Rate(tokens=100, per=0.01)
    graph = Graph("beyond", limits={"llm": llm}, defaults=Policies(uses={"llm": {"tokens": 1}}))

    @graph.node
    def says(ctx: Context) -> None:
        ctx.use(tokens=9e17)
        ctx.use(tokens=9e17)

    graph.add("returns", lambda: {"usage": {"input_tokens": 9e17, "output_tokens": 9e17}}, depends_on=["says"])
    assert graph.run(budget=Budget(pages=1)).usage == {"tokens": 1.8e18}


def test_what_a_failed_item_used_is_not_taken_for_the_next_ones() -> None:
    """Items of a map follow each other on one node of the run."""
    rate = Rate(tokens=1000, per=1000)

    async def ask(item: int, ctx: Context) -> dict[str, Any]:
        if item == 0:
            ctx.use(tokens=100)
            raise ValueError(item)
        return {"usage": {"total_tokens": 10}}

    async def main() -> None:
        uses: dict[str, Any] = {"uses": {"llm": {"tokens": 50}}, "limits": {"llm": rate}}
        await antichain.amap(ask, range(4), max_concurrent=1, outcomes=True, **uses)
        assert rate.passed(asyncio.get_running_loop().time()) == {"tokens": 130}

    in_virtual_time(main)


@pytest.mark.parametrize("from_thread", [False, True])
def test_what_an_item_says_late_counts_and_harms_nothing(from_thread: bool) -> None:
    """Its node is forgotten by then, with its name."""
    store, threads = MemoryStore(), []

    async def ask(item: int, ctx: Context) -> None:
        def say() -> None:
            ctx.use(tokens=1)

        if item == 0 and from_thread:
            threads.append(threading.Timer(0.05, say))
            threads[0].start()
        elif item == 0:
            asyncio.get_running_loop().call_later(0.05, say)
        else:
            await asyncio.sleep(0.1)

    graph = Graph("late")
    graph.map("calls", ask, over=[0, 1])
    assert graph.run(store=store, run_id="late").usage == {"tokens": 1}
    assert graph.resume("late", store=store).usage == {"tokens": 1}


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_an_item_has_left_behind_speaks_for_no_other_item(is_kept: bool) -> None:
    """Items follow each other on one node: its word is late, whoever is there now."""
    rate, chunks = Rate(tokens=10_000, per=10_000), []
    refused: list[str] = []

    async def ask(item: int, ctx: Context) -> dict[str, Any]:
        async def late() -> None:
            await asyncio.sleep(1.5)
            ctx.use(tokens=1000)
            ctx.emit("late")
            try:
                await ctx.run(asyncio.sleep, delay=0)
            except RunnerError as error:
                refused.append(str(error))
            assert ctx.cancelled

        if item == 0:
            left.append(asyncio.ensure_future(late()))
        await asyncio.sleep(1)
        return {"usage": {"total_tokens": 10}}

    left: list[asyncio.Future[None]] = []
    graph = Graph("late")
    graph.map("calls", ask, over=range(4), max_concurrent=1, uses={"llm": {"tokens": 5}})

    async def main() -> None:
        listeners = [lambda event: chunks.append(event) if type(event).__name__ == "Chunk" else None]
        budget, store = Budget(tokens=9999), MemoryStore() if is_kept else None
        await graph.arun(limits={"llm": rate}, budget=budget, listeners=listeners, store=store)
        assert (rate.passed(4.0), budget.used) == ({"tokens": 40}, {"tokens": 1040})
        assert [task.exception() for task in left] == [None]

    in_virtual_time(main)
    assert not chunks
    assert refused == ["attempt 1 of node 'calls[0]' is over: it cannot run anything more."]


# ---------------------------------------------------------------------- overloads


def test_retry_after_pauses_everyone_on_the_limit_once() -> None:
    call = Recorder(seconds=1.0)
    refused = {"a", "b"}
    adaptive = Adaptive(initial=2)

    async def ask(item: str) -> str:
        call.note(item)
        await asyncio.sleep(0.1)
        if item in refused:
            refused.discard(item)
            raise Overload(retry_after=5.0)
        return item

    retry = Retry(attempts=3, backoff=Backoff(initial=0.01, jitter=False))
    items = ["a", "b", "c", "d"]
    done = in_virtual_time(lambda: antichain.amap(ask, items, uses="llm", limits={"llm": adaptive}, retry=retry))
    assert done == items
    first = [at for at, _ in call.starts if at < 1]
    assert len(first) == 2
    assert min(at for at, _ in call.starts if at > 1) == pytest.approx(5.1)
    assert len(call.starts) == 6


class Raising:
    """Headers of somebody's that raise what they like."""

    def get(self, name: str) -> str:
        raise RuntimeError(name)


class Hostile(Exception):
    """An overload of which nothing else can be read, as httpx's errors raise RuntimeError where they know nothing."""

    status_code = 429

    @property
    def retry_after(self) -> float:
        raise RuntimeError("not yet")

    @property
    def response(self) -> object:
        raise RuntimeError("not yet")

    headers = Raising()


@pytest.mark.parametrize("wait", [None, 10**400, "1e400", "nan", [1], True])
def test_an_error_that_cannot_be_read_is_its_nodes_failure_only(wait: Any) -> None:
    limit = Adaptive(initial=4)

    async def refused(item: int) -> int:
        if item == 1:
            raise Hostile
        if item == 2:
            raise Overload(retry_after=wait)
        return item

    async def main() -> None:
        uses: dict[str, Any] = {"uses": "llm", "limits": {"llm": limit}, "retry": Retry(2, Backoff(jitter=False))}
        outcomes = await antichain.amap(refused, range(4), outcomes=True, **uses)
        assert [outcome.state for outcome in outcomes] == ["succeeded", "failed", "failed", "succeeded"]
        assert [getattr(outcome.error, "__notes__", [""])[0][-1:] for outcome in outcomes[1:3]] == ["2", "2"]
        assert asyncio.get_running_loop().time() == 0.5

    in_virtual_time(main)
    assert limit.size < 4


def test_retry_after_pauses_a_rate_too() -> None:
    call = Recorder()
    refused = {"a"}

    async def ask(item: str) -> str:
        call.note(item)
        await asyncio.sleep(0.1)
        if item in refused:
            refused.discard(item)
            raise Overload(retry_after=5.0)
        return item

    retry = Retry(attempts=2, backoff=Backoff(initial=0.01, jitter=False))
    rate = Rate(requests=1, per=1)
    in_virtual_time(lambda: antichain.amap(ask, list("abc"), uses="llm", limits={"llm": rate}, retry=retry))
    assert call.times()[0] == 0
    assert call.times()[1] == pytest.approx(5.1)


def test_a_thread_that_does_not_answer_in_time_is_an_overload_too() -> None:
    """It is given up at once, and its slot stays taken: that slot counts."""
    limit, is_over = Adaptive(initial=8), threading.Event()
    graph = Graph("threads", limits={"llm": limit})
    graph.add("call", lambda: is_over.wait(10), uses="llm", timeout=0.02)
    with pytest.raises(RunFailed):
        graph.run()
    assert (limit.size, limit.used) == (3, 1)
    is_over.set()


def test_overload_of_a_node_that_does_not_use_the_limit_changes_nothing() -> None:
    adaptive = Adaptive(initial=4)
    graph = Graph(limits={"llm": adaptive})

    @graph.node(uses="llm")
    async def good() -> None: ...

    @graph.node
    async def refused() -> None:
        raise Overload(retry_after=100.0)

    result = in_virtual_time(lambda: graph.arun(on_error="continue"))
    assert result.nodes["refused"].state == "failed"
    assert adaptive.size >= 4
    assert adaptive.paused_until < 50


def test_weight_above_the_present_size_passes_alone() -> None:
    graph = Graph(limits={"llm": Adaptive(initial=1, maximum=8)})
    graph.add("heavy", print, uses={"llm": 3})
    assert graph.run().status == "succeeded"


def test_errors_that_are_no_overload_leave_the_size() -> None:
    adaptive = Adaptive(initial=4, minimum=1)

    async def fail(item: int) -> None:
        raise ValueError(item)

    in_virtual_time(lambda: antichain.amap(fail, range(6), uses="llm", limits={"llm": adaptive}, outcomes=True))
    assert (adaptive.size, adaptive.used) == (4, 0)


# ---------------------------------------------------------------------- shared


@pytest.mark.parametrize("make", [lambda: Limit(2), lambda: Adaptive(initial=2, maximum=2)])
def test_runs_in_threads_share_a_limit(make: Callable[[], Any]) -> None:
    shared = make()
    running, most = 0, 0
    lock = threading.Lock()

    async def call(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.002)
        with lock:
            running -= 1
        return item

    results: list[list[int]] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(antichain.map(call, range(20), uses="llm", limits={"llm": shared}))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [list(range(20))] * 3
    assert (most, shared.used) == (2, 0)


def test_runs_share_a_rate() -> None:
    rate = Rate(requests=2, per=10)
    call = Recorder()

    async def main() -> None:
        maps = [antichain.amap(call, [name] * 3, uses="llm", limits={"llm": rate}) for name in "ab"]
        await asyncio.gather(*maps)

    in_virtual_time(main)
    assert call.times() == [0, 0, 10, 10, 20, 20]


def test_a_run_that_is_told_many_times_at_once_looks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred runs on one limit, each would else look again for each slot that any of them gives back."""
    limit, looked = Limit(1), [0]
    look = Scheduler.reconsider

    def reconsider(scheduler: Scheduler) -> None:
        looked[0] += 1
        look(scheduler)

    monkeypatch.setattr(Scheduler, "reconsider", reconsider)

    async def main() -> None:
        run = asyncio.ensure_future(antichain.amap(asyncio.sleep, [5] * 4, uses="llm", limits={"llm": limit}))
        await asyncio.sleep(1)
        for size in (1, 1, 1, 1, 2, 3):
            limit.resize(size)
        await asyncio.sleep(1)
        assert (limit.used, looked[0]) == (3, 1)
        limit.resize(4)
        await asyncio.sleep(1)
        assert (limit.used, looked[0]) == (4, 2)
        await run

    in_virtual_time(main)


def test_resizing_starts_waiters_of_every_run_at_once() -> None:
    limit, rate = Limit(1), Rate(requests=1, per=1000)
    call = Recorder(seconds=100)

    async def main() -> None:
        maps = [antichain.amap(call, [name], uses="db", limits={"db": limit}) for name in "ab"]
        maps += [antichain.amap(call, [name], uses="llm", limits={"llm": rate}) for name in "cd"]
        tasks = asyncio.gather(*maps)
        await asyncio.sleep(3)
        limit.resize(2)
        rate.resize(requests=2)
        await asyncio.sleep(1)
        limit.resize(1)
        await tasks

    in_virtual_time(main)
    assert sorted(call.starts) == [(0, "a"), (0, "c"), (3, "b"), (3, "d")]


@pytest.mark.parametrize(
    "make", [lambda: 1, lambda: Limit(1), lambda: Adaptive(initial=1, maximum=1), lambda: Rate(requests=2, per=5)]
)
@pytest.mark.parametrize("how", ["nested", "ctx.run"])
def test_nested_graph_shares_its_parents_limit_of_one(make: Callable[[], Any], how: str) -> None:
    inner = Graph("inner", defaults=Policies(uses="llm"))
    inner.add("x", asyncio.sleep, inputs={"delay": 0.1})
    inner.add("y", asyncio.sleep, inputs={"delay": 0.1})
    outer = Graph("outer", limits={"llm": make()})

    if how == "nested":
        outer.add("inside", inner)

        @outer.node(uses="llm")
        async def own() -> None:
            await asyncio.sleep(0.1)

    else:

        @outer.node(uses="llm")
        async def inside(ctx: Context) -> None:
            await ctx.run(inner)
            await asyncio.sleep(0.1)

    async def main() -> Any:
        return await outer.arun(max_concurrent=1), asyncio.get_running_loop().time()

    result, took = in_virtual_time(main)
    assert result.status == "succeeded"
    # Of a rate of two in five seconds, the body that goes on takes nothing again.
    assert took == pytest.approx(0.3 if not isinstance(outer.limits["llm"], Rate) else 5.1, abs=0.11)


def test_a_limit_that_comes_with_a_graph_that_a_body_runs() -> None:
    call = Recorder()
    inner = Graph("inner", limits={"llm": Rate(requests=1, per=10)})
    inner.map("calls", call, over="items", uses="llm")
    outer = Graph("outer")

    @outer.node
    async def inside(ctx: Context) -> Any:
        return (await ctx.run(inner, items=[1, 2, 3]))["calls"]

    assert in_virtual_time(outer.arun)["inside"] == [1, 2, 3]
    assert call.times() == [0, 10, 20]


def test_gather_and_batch_take_rates() -> None:
    call = Recorder()

    async def main() -> None:
        limits = {"llm": Rate(requests=1, per=10)}
        await antichain.gather(call(1), call(2), uses="llm", limits=limits)
        graph = Graph(limits=limits)

        @graph.node(uses="llm")
        async def node(item: int) -> None:
            await call(item)

        await graph.abatch([{"item": 3}, {"item": 4}])

    in_virtual_time(main)
    assert call.starts == [(0, 1), (10, 2), (20, 3), (30, 4)]


def test_cancelled_run_leaves_no_slot_and_no_watcher() -> None:
    adaptive, rate = Adaptive(initial=2), Rate(requests=1, per=1000)

    async def main() -> None:
        task = asyncio.ensure_future(
            antichain.amap(asyncio.sleep, [50] * 6, uses={"llm": 1, "r": 1}, limits={"llm": adaptive, "r": rate})
        )
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    in_virtual_time(main)
    assert adaptive.used == 0
    assert not adaptive._watchers._watchers
    assert not rate._watchers._watchers
    assert not rate._line


class Broken:
    """A retry budget with a fault, which is one of ours: it hits the core in the middle of a decision."""

    def call_ended(self) -> None:
        raise OSError("broken")

    def spend(self) -> bool:
        return False

    def give_back(self) -> None:
        return None

    def told(self) -> str:
        return ""

    def fresh(self) -> "Broken":
        return self


def test_a_run_that_a_fault_of_ours_ends_leaves_no_slot_and_no_watcher() -> None:
    """Neither of what has failed, nor of a task or a thread in the middle of its work; that one is asked to end."""
    limits = {"a": Limit(9), "b": Adaptive(initial=9)}
    graph = Graph("fault", limits=limits, defaults=Policies(uses={"a": 2, "b": 1}))
    has_ended = threading.Event()

    @graph.node
    async def waits() -> None:
        await asyncio.sleep(1000)

    @graph.node
    def works(ctx: Context) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)
        time.sleep(0.1)
        has_ended.set()

    @graph.node(retry=2)
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError

    with pytest.raises(OSError, match="broken"):
        graph.run(retry_budget=Broken())
    assert [limit.used for limit in limits.values()] == [2, 1]
    assert has_ended.wait(10)
    for thread in threading.enumerate():
        if thread.name.startswith("antichain-"):
            thread.join(10)
    assert [limit.used for limit in limits.values()] == [0, 0]
    assert not [limit for limit in limits.values() if limit._watchers._watchers]


# ---------------------------------------------------------------------- a limit for each item


def test_items_of_a_full_limit_do_not_hold_up_others() -> None:
    call = Recorder(seconds=1.0)
    items = ["slow"] * 40 + ["quick"] * 4
    limits = {"slow": 1, "quick": 2}
    done = in_virtual_time(lambda: antichain.amap(call, items, uses=lambda item: item, limits=limits, max_concurrent=3))
    assert done == items
    assert [at for at, name in call.starts if name == "quick"] == [0, 0, 1, 1]
    assert [at for at, name in call.starts if name == "slow"] == list(range(40))


def test_items_of_an_iterator_are_not_read_without_end() -> None:
    read = 0

    def items() -> Any:
        nonlocal read
        for number in range(5000):
            read += 1
            yield "slow" if number < 4990 else "quick"

    call = Recorder(seconds=0.01)
    limits: dict[str, Any] = {"slow": 1, "quick": 1}

    async def main() -> None:
        task = asyncio.ensure_future(
            antichain.amap(call, items(), uses=lambda item: {item: 1}, limits=limits, max_concurrent=2)
        )
        await asyncio.sleep(0.05)
        assert read < 1100
        await task

    in_virtual_time(main)
    assert read == 5000


def test_choice_may_name_amounts_and_fails_its_item_only() -> None:
    call = Recorder()
    limits = {"a": Rate(tokens=10, per=10), "b": 1}

    def choose(item: str) -> Any:
        if item == "broken":
            raise KeyError(item)
        return {"x": "nobody", "a": {"a": {"tokens": 6}}, "b": "b", "f": {"a": lambda: 1}}[item]

    async def main() -> Any:
        return await antichain.amap(
            call, ["a", "broken", "b", "a", "x", "f"], uses=choose, limits=limits, outcomes=True, max_concurrent=4
        )

    outcomes = in_virtual_time(main)
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True, False, False]
    assert isinstance(outcomes[1].error, KeyError)
    assert isinstance(outcomes[4].error, GraphError)
    assert "nobody" in str(outcomes[4].error)
    assert isinstance(outcomes[5].error, GraphError)
    assert sorted(call.starts) == [(0, "a"), (0, "b"), (10, "a")]


def test_stage_behind_a_stage_chooses() -> None:
    call = Recorder(seconds=1.0)
    graph = Graph(limits={"even": 1, "odd": 1})

    async def first(item: int) -> int:
        return item

    graph.map("first", first, over="items")
    graph.map("second", call, over=graph["first"], uses=lambda item: "odd" if item % 2 else "even", max_concurrent=2)
    result = in_virtual_time(lambda: graph.arun(items=[0, 2, 4, 6, 1, 3]))
    assert result["second"] == [0, 2, 4, 6, 1, 3]
    assert [at for at, item in call.starts if item % 2] == [0, 1]


def test_what_an_item_has_chosen_is_told_wherever_a_node_is() -> None:
    """The record of the run, that of its events, the board, and the spans."""
    graph = Graph(limits={"slow": 1, "quick": 2, "db": 9})
    uses = {"s1": "slow", "s2": "slow", "q": {"quick": 2, "db": 3}}

    def choose(item: str) -> Any:
        return uses[item]

    graph.map("calls", Recorder(1.0), over=["s1", "s2", "q", "x"], key=str, uses=choose, outcomes=True)
    graph.map("plain", Recorder(1.0), over=["p"], uses="db")
    events: list[Any] = []
    board, waiting = Board(), []
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))

    async def main() -> Any:
        run = asyncio.ensure_future(graph.arun(listeners=[events.append, board], tracer=provider))
        await asyncio.sleep(0.5)
        waiting.append(standing_text(board.look(0.5)))
        return await run

    result = in_virtual_time(main)
    expected = {
        "calls[s1]": {"slow": 1},
        "calls[s2]": {"slow": 1},
        "calls[q]": {"db": 3, "quick": 2},
        "calls[x]": {},
        "plain[0]": {"db": 1},
    }
    assert {name: dict(result.nodes[name].uses) for name in expected} == expected
    assert {name: result.to_dict()["nodes"][name]["uses"] for name in expected} == expected
    assert {name: dict(fold(events).nodes[name].uses) for name in expected} == expected
    assert "slow" in waiting[0], waiting
    told = {
        span.attributes["antichain.node.id"]: span.attributes.get("antichain.node.limits")
        for span in spans.get_finished_spans()
        if span.attributes is not None and "antichain.node.id" in span.attributes
    }
    assert {name: told[name] for name in expected} == {
        name: tuple(f"{limit}={weight}" for limit, weight in used.items()) or None for name, used in expected.items()
    }


# ---------------------------------------------------------------------- virtual time


def test_estimate_and_simulate_know_rates() -> None:
    rate = Rate(requests=2, per=10)
    rate.acquire({"requests": 2}, now=0.0)
    graph = Graph(limits={"llm": rate, "ada": Adaptive(initial=2)})
    for number in range(5):
        graph.add(f"n{number}", print, uses="llm")
    plan = graph.plan()
    # As if nobody had used it: the real one is untouched.
    assert plan.estimate().makespan == 21
    assert simulate(plan).makespan == 21
    assert rate.passed(0.0) == {"requests": 2}
    assert plan.estimate(limits={"llm": Rate(requests=5)}).makespan == 1
    many = Graph(limits={"ada": Adaptive(initial=2)})
    for number in range(6):
        many.add(f"n{number}", print, uses="ada")
    assert many.plan().estimate().makespan == 3


# ---------------------------------------------------------------------- what is off is not there


def test_a_run_without_them_imports_none_of_it() -> None:
    code = """
import sys, antichain
from antichain import Graph, Retry
graph = Graph(limits={"db": 2})
graph.add("a", abs, inputs={"x": antichain.value(1)} if False else None, uses="db", retry=Retry(2)) if False else None
@graph.node(uses="db", retry=2, timeout=5)
async def a(): return 1
assert graph.run()["a"] == 1
assert antichain.map(abs, [-1], max_concurrent=2) == [1]
names = ("rate", "adaptive", "choosing", "policies.rate", "policies.adaptive", "policies.overload", "policies.usage")
found = [name for name in names if f"antichain.{name}" in sys.modules]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------- what people see


def test_state_of_limits_is_told() -> None:
    seen: list[str] = []
    rate = Rate(requests=5, tokens=2_000, per=10)
    graph = Graph(limits={"llm": rate, "ada": Adaptive(initial=2)})
    frames: list[str] = []
    board = Board()

    def watch(event: Any) -> None:
        board(event)

    async def look() -> None:
        await asyncio.sleep(6.8)
        assert board.limit_states is not None
        seen.extend(map(str, board.limit_states(6.8)))
        frames.append(standing_text(board.look(6.8)))

    for number in range(3):
        graph.add(f"call{number}", asyncio.sleep, inputs={"delay": 20}, uses={"llm": {"tokens": 1_200}})
    graph.add("look", look)

    async def main() -> None:
        started = asyncio.get_running_loop().time()
        assert started == 0
        await graph.arun(listeners=[watch])

    in_virtual_time(main)
    assert seen == ["adaptive ada: 0 of 2", "rate llm: 3.2 s until 1,200 tokens"]
    assert "2 waiting for llm (3.2 s until 1,200 tokens)" in frames[0]


def test_pause_of_an_adaptive_limit_is_told() -> None:
    adaptive = Adaptive(initial=4)
    board = Board()
    texts: list[str] = []

    async def refused(item: int) -> int:
        await asyncio.sleep(0.1)
        raise Overload(retry_after=30.0)

    async def look(item: int) -> None:
        await asyncio.sleep(2)
        texts.append(standing_text(board.look(asyncio.get_running_loop().time())))

    async def main() -> None:
        calls = antichain.amap(
            refused, range(7), uses="llm", limits={"llm": adaptive}, retry=2, outcomes=True, listeners=[board]
        )
        await asyncio.gather(calls, look(1))

    in_virtual_time(main)
    assert "3 waiting for llm (0 of" in texts[0]
    assert "paused 28 s more" in texts[0]


def test_classes_are_no_limits() -> None:
    for kind in (Rate, Adaptive, Limit):
        graph = Graph(limits={"llm": kind})  # type: ignore[dict-item]
        graph.add("node", print, uses={"llm": 1})
        with pytest.raises(GraphError, match="class: call it"):
            graph.run()
        with pytest.raises(GraphError, match="class: call it"):
            Graph().run(limits={"llm": kind})  # type: ignore[dict-item]


def test_weight_takes_the_default_of_the_nodes_parameter() -> None:
    rate = Rate(tokens=10, per=5)
    graph = Graph(limits={"llm": rate})

    @graph.node(uses={"llm": lambda size: size})
    async def call(size: int = 4) -> int:
        return size

    assert in_virtual_time(graph.arun)["call"] == 4
    assert rate.passed(0.0) == {"tokens": 4}
    assert in_virtual_time(lambda: graph.arun(size=7, limits={"llm": Rate(tokens=7)}))["call"] == 7


def test_choices_that_share_a_bound_have_their_turns() -> None:
    call = Recorder(seconds=1.0)
    items = ["a"] * 30 + ["b"] * 10
    limits = {"a": 10, "b": 10}
    in_virtual_time(lambda: antichain.amap(call, items, uses=lambda item: item, limits=limits, max_concurrent=4))
    for second in range(5):
        started = [name for at, name in call.starts if at == second]
        assert sorted(started) == ["a", "a", "b", "b"], second
    assert [name for at, name in call.starts if at >= 5] == ["a"] * 20


def test_simulate_tells_limits_of_overloads_and_of_usage() -> None:
    graph = Graph(limits={"llm": Adaptive(initial=4), "rate": Rate(tokens=100, per=10)})
    for number in range(6):
        graph.add(f"s{number}", print, uses="llm", retry=2)
    outcomes = {"s0": [Overload(retry_after=20.0), "v"]}
    result = simulate(graph.plan(), outcomes=outcomes)
    starts = sorted(node.started_at for node in result.nodes.values() if node.started_at is not None)
    assert starts[:4] == [0, 0, 0, 0]
    assert min(starts[4:]) >= 21
    rated = Graph(limits={"rate": Rate(tokens=100, per=10)})
    for number in range(3):
        rated.add(f"r{number}", print, uses={"rate": {"tokens": 60}})
    told = simulate(rated.plan(), outcomes={f"r{number}": {"usage": {"total_tokens": 30}} for number in range(3)})
    assert sorted(node.started_at for node in told.nodes.values()) == [0, 1, 10]


def test_runs_that_share_a_rate_stand_in_one_line() -> None:
    """A big request is not passed by the small ones of another run that came later."""
    rate = Rate(tokens=100, per=10)
    call = Recorder()

    async def main() -> None:
        small = {"llm": {"tokens": 30}}
        first = asyncio.ensure_future(antichain.amap(call, ["s"] * 3, uses=small, limits={"llm": rate}))
        await asyncio.sleep(1)
        big = asyncio.ensure_future(antichain.amap(call, ["BIG"], uses={"llm": {"tokens": 90}}, limits={"llm": rate}))
        await asyncio.sleep(1)
        later = [antichain.amap(call, ["t"], uses={"llm": {"tokens": 10}}, limits={"llm": rate}) for _ in range(5)]
        await asyncio.gather(first, big, *later)

    in_virtual_time(main)
    assert call.starts[:4] == [(0, "s")] * 3 + [(10, "BIG")]
    assert call.starts[4] == (10, "t")
    assert [at for at, _ in call.starts[5:]] == [20] * 4


def test_run_that_leaves_the_line_holds_nobody_up() -> None:
    rate = Rate(tokens=100, per=100)
    call = Recorder()

    async def main() -> None:
        await antichain.amap(call, ["s"], uses={"llm": {"tokens": 80}}, limits={"llm": rate})
        big = asyncio.ensure_future(antichain.amap(call, ["BIG"], uses={"llm": {"tokens": 90}}, limits={"llm": rate}))
        await asyncio.sleep(1)
        other = asyncio.ensure_future(antichain.amap(call, ["t"], uses={"llm": {"tokens": 10}}, limits={"llm": rate}))
        await asyncio.sleep(1)
        assert call.names() == ["s"]
        big.cancel()
        await other

    in_virtual_time(main)
    assert call.starts == [(0, "s"), (2.1, "t")]


def test_summary_names_the_rate_that_nodes_waited_for() -> None:
    board = Board()
    graph = Graph(limits={"llm": Rate(requests=1, per=3)})
    for number in range(3):
        graph.add(f"n{number}", asyncio.sleep, inputs={"delay": 0.5}, uses="llm")
    result = in_virtual_time(lambda: graph.arun(listeners=[board]))
    summary = summarize(result, board.sizes, board.timed)
    assert [(wait.limit, wait.nodes, wait.seconds) for wait in summary.waits] == [("llm", 2, 9.0)]
    assert "'llm' held the critical path" in next_step(summary)


# ---------------------------------------------------------------------- in every kind of run


@pytest.mark.parametrize("options", [{}, {"isolation": "task"}, {"store": True}, {"traced": True}])
@pytest.mark.parametrize("kind", ["coroutine", "invoked", "thread", "map", "map thread"])
def test_usage_settles_in_every_kind_of_run(options: dict[str, Any], kind: str, tmp_path: Any) -> None:
    """However a body is awaited, the usage that it returns is read, and none is lost."""
    rate = Rate(requests=10, tokens=1_000)
    chosen = dict(options)
    if chosen.pop("store", False):
        chosen["store"] = str(tmp_path / "runs.db")
    if chosen.pop("traced", False):
        chosen["tracer"] = NoOpTracerProvider()
    usage = {"usage": {"total_tokens": 30}}
    graph = Graph(limits={"llm": rate})
    uses = {"llm": {"requests": 1, "tokens": 100}}

    async def ask(item: int = 0) -> dict[str, Any]:
        await asyncio.sleep(0)
        return usage

    def ask_in_thread(item: int = 0) -> dict[str, Any]:
        return usage

    class Model:
        async def ainvoke(self, given: object) -> dict[str, Any]:
            return usage

    if kind.startswith("map"):
        graph.map("asks", ask if kind == "map" else ask_in_thread, over="items", uses=uses)
        result = graph.run(items=[1], **chosen)
        assert result["asks"] == [usage]
    else:
        body: Any = {"coroutine": ask, "invoked": Model(), "thread": ask_in_thread}[kind]
        graph.add("ask", body, uses=uses)
        assert graph.run(**chosen)["ask"] == usage
    assert rate.passed(time.monotonic()) == {"requests": 1, "tokens": 30}


def test_a_run_that_goes_on_passes_its_rates_again(tmp_path: Any) -> None:
    store = str(tmp_path / "runs.db")
    graph = Graph(limits={"llm": Rate(requests=10)})
    broken = True

    @graph.node(uses={"llm": lambda: 2})
    async def first() -> int:
        return 1

    @graph.node(uses="llm")
    async def second(first: int) -> int:
        if broken:
            raise ValueError
        return first + 1

    with pytest.raises(RunFailed):
        graph.run(store=store, run_id="r")
    broken = False
    rate = Rate(requests=10)
    assert graph.resume("r", store=store, limits={"llm": rate})["second"] == 2
    assert rate.passed(time.monotonic()) == {"requests": 1}


def test_rate_that_becomes_too_small_fails_who_waits_for_more() -> None:
    rate = Rate(tokens=100, per=10)
    call = Recorder()

    async def main() -> Any:
        items = [90, 95, 20, 80]
        uses = {"llm": lambda item: item}
        run = asyncio.ensure_future(antichain.amap(call, items, uses=uses, limits={"llm": rate}, outcomes=True))
        await asyncio.sleep(1)
        rate.resize(tokens=50)
        return await run

    outcomes = in_virtual_time(main)
    assert [outcome.ok for outcome in outcomes] == [True, False, True, False]
    assert "95" in str(outcomes[1].error)
    assert call.starts == [(0, 90), (10, 20)]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, True, "x"])
def test_durations_are_seconds(wrong: Any) -> None:
    graph = Graph()
    graph.add("a", print)
    plan = graph.plan()
    for play in (
        lambda: plan.estimate(durations={"a": wrong}),
        lambda: simulate(plan, durations={"a": wrong}),
        lambda: simulate(plan, durations=lambda node, attempt: wrong),
    ):
        with pytest.raises(GraphError, match=r"durations\['a'\]"):
            play()
    with pytest.raises(GraphError, match="'z'"):
        simulate(plan, durations={"z": 1.0})


@pytest.mark.parametrize("limit", [Limit(1), Adaptive(initial=1, maximum=1), Rate(requests=5)])
def test_one_object_under_two_names_is_one_limit(limit: Any) -> None:
    graph = Graph(limits={"a": limit, "b": limit})
    graph.add("node", print, uses={"a": 1, "b": 1})
    with pytest.raises(GraphError, match="'a' and 'b', which are one"):
        graph.plan()
    roomy = Graph(limits=dict.fromkeys("ab", Limit(2)))
    roomy.add("node", print, uses={"a": 1, "b": 1})
    assert roomy.run().status == "succeeded"


def test_choice_that_could_wait_is_refused() -> None:
    async def choose(item: str) -> str:
        return item

    graph = Graph(limits={"a": 1})
    graph.map("calls", print, over=["a"], uses=choose)
    with pytest.raises(GraphError, match="plain function"):
        graph.plan()


def test_why_of_a_run_that_goes_on_does_not_say_that_nothing_is_waited_for(tmp_path: Any) -> None:
    path = str(tmp_path / "runs.db")
    graph = Graph(limits={"llm": Rate(requests=1, per=1000)})
    graph.add("first", asyncio.sleep, inputs={"delay": 0}, uses="llm")
    graph.add("second", asyncio.sleep, inputs={"delay": 0}, uses="llm")
    texts: list[str] = []

    @graph.node(runner="thread")
    def look() -> None:
        run = stored_run(open_store(path).read("r"))
        texts.append(why_text(run, run.record.nodes["second"], time.time()))
        raise ValueError

    with pytest.raises(RunFailed):
        graph.run(store=path, run_id="r")
    assert "waits for a slot or a rate" in texts[0]


@pytest.mark.parametrize("wrong", [5, "llm", ["llm"], {5: 1}, {"": 1}])
def test_limits_that_are_none_are_refused(wrong: Any) -> None:
    for call in (
        lambda: Graph(limits=wrong).run(),
        lambda: Graph().run(limits=wrong),
        lambda: antichain.map(abs, [1], limits=wrong),
        lambda: in_virtual_time(lambda: antichain.amap(abs, [1], limits=wrong)),
    ):
        with pytest.raises(GraphError, match="bad-limit"):
            call()


def test_limits_that_nothing_uses_are_refused() -> None:
    """Who forgets uses= believes to be limited."""

    async def gathered() -> None:
        await antichain.gather(asyncio.sleep(0), limits={"llm": 2})

    for call in (
        lambda: antichain.map(abs, [1], limits={"llm": 2}),
        lambda: in_virtual_time(lambda: antichain.amap(abs, [1], limits={"llm": Adaptive()})),
        lambda: in_virtual_time(gathered),
    ):
        with pytest.raises(GraphError, match="uses="):
            call()
    assert antichain.map(abs, [-1], limits={"thread": 1}) == [1]
