"""
Each clock, and when it is over: in the first attempt of a node, in a later one, after a resume. Every error says which
clock it was, its limit, what it counted and the number of the attempt, and what the attempts before it raised.
"""

import asyncio
import threading
from typing import Any

import pytest

from antichain import (
    Backoff,
    Budget,
    BudgetSpent,
    Context,
    Graph,
    Limit,
    MemoryStore,
    NodeRetrying,
    NodeTimeout,
    Retry,
    RetryBudget,
    RunFailed,
    RunResult,
    RunTimeout,
    Timeout,
)
from antichain.stores import FactKind
from antichain.stores.record import stored_run
from antichain.testing import VirtualLoop

SECONDS = Backoff(initial=1, factor=1, jitter=False)
CLOCKS: dict[str, tuple[Timeout, float]] = {
    "attempt": (Timeout(attempt=3), 3),
    "idle": (Timeout(idle=3), 3),
    "total": (Timeout(total=8), 8),
    "queue": (Timeout(queue=3), 3),
}
# The attempt that does not end, after the others failed: in one run, in one that was left while the node backed off,
# and in one that goes on after the node had failed with all the attempts that it had.
MOMENTS = {"first": 1, "later": 3, "left": 2, "failed": 3}


def in_virtual_time(main: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def ended(run: Any) -> RunResult:
    """Run in virtual time; of a run that failed, what it came to."""

    async def main() -> RunResult:
        try:
            result: RunResult = await run
        except RunFailed as failed:
            result = failed.result
        return result

    result: RunResult = in_virtual_time(main())
    return result


def graph_of(store: MemoryStore, hangs_in: int, attempts: int, timeout: Timeout | None, **options: Any) -> Graph:
    """
    A node whose attempts fail after a second, until one that never ends, or whose slot somebody else has taken.
    """
    slot = Limit(1)
    graph = Graph("clocks", limits={"llm": slot}, on_error="continue", store=store, **options)
    waits = timeout is not None and timeout.queue is not None
    if waits and hangs_in == 1:
        assert slot.acquire()

    @graph.node(uses="llm", timeout=timeout, retry=Retry(attempts=attempts, backoff=SECONDS, on=ConnectionError))
    async def fetch(context: Context) -> None:
        if context.attempt == hangs_in:
            await asyncio.sleep(1000)
        await asyncio.sleep(1)
        if waits and context.attempt == hangs_in - 1:
            asyncio.get_running_loop().call_later(0.5, slot.acquire)
        context.use(tokens=10)
        raise ConnectionError(f"refused {context.attempt}")

    return graph


async def left(graph: Graph, after: float) -> None:
    """Begin a run and leave it."""
    run = asyncio.ensure_future(graph.arun(run_id="r"))
    await asyncio.sleep(after)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


def begun(store: MemoryStore, moment: str, **options: Any) -> None:
    """Do what comes before a resume."""
    if moment == "left":
        in_virtual_time(left(graph_of(store, 99, 9, None, **options), 1.5))
    elif moment == "failed":
        assert ended(graph_of(store, 99, 2, None, **options).arun(run_id="r")).nodes["fetch"].attempts == 2


def is_resumed(moment: str) -> bool:
    return moment in ("left", "failed")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_which_clock_limit_seconds_attempt_and_what_came_before(clock: str, moment: str) -> None:
    store, number = MemoryStore(), MOMENTS[moment]
    timeout, limit = CLOCKS[clock]
    begun(store, moment)
    # What waits after a resume finds its slot taken.
    graph = graph_of(store, 1 if clock == "queue" and is_resumed(moment) else number, 9, timeout)
    result = ended(graph.aresume("r") if is_resumed(moment) else graph.arun(run_id="r"))
    node = result.nodes["fetch"]
    error = node.error
    assert isinstance(error, NodeTimeout), error
    assert (error.clock, error.limit, error.attempt, error.node) == (clock, limit, number, "fetch")
    assert error.elapsed == pytest.approx(limit, abs=0.01)
    assert f"{limit:g} s" in str(error)
    assert f"attempt {number}" in str(error)
    before = [f"attempt {n}: ConnectionError: refused {n}" for n in range(1, number)]
    assert error.__notes__ == [f"node 'fetch', attempt {number}", *[f"before that, {each}" for each in before]]
    assert (node.state, node.reason) == ("failed", "timeout")
    assert [str(each) for each in node.failures][:-1] == before
    assert (node.failures[-1].attempt, node.failures[-1].type) == (number, "antichain.errors.NodeTimeout")
    assert node.attempts == (number - 1 if clock == "queue" else number)
    # What is stored says the same, and so does whoever goes on.
    told = [(each.attempt, each.type, each.message) for each in node.failures]
    stored = stored_run(store.read("r")).record.nodes["fetch"].failures
    assert [(each.attempt, each.type, each.message) for each in stored] == told
    again = ended(graph_of(store, 99, 1, None).aresume("r")).nodes["fetch"]
    assert [(each.attempt, each.type, each.message) for each in again.failures[:-1]] == told
    assert again.failures[-1].attempt == again.attempts == node.attempts + 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deadline_tells_what_had_failed_until_then(moment: str) -> None:
    store, number = MemoryStore(), MOMENTS[moment]
    begun(store, moment)
    graph = graph_of(store, number, 9, None, deadline=20)
    with pytest.raises(RunTimeout) as caught:
        in_virtual_time(graph.aresume("r") if is_resumed(moment) else graph.arun(run_id="r"))
    error = caught.value
    assert (error.deadline, error.unfinished) == (20, ("fetch",))
    assert error.elapsed == pytest.approx(20)
    last = number - 1
    expected = [f"node 'fetch' had failed before: attempt {last}: ConnectionError: refused {last}"] if last else []
    assert getattr(error, "__notes__", []) == expected
    assert [each.attempt for each in error.result.nodes["fetch"].failures] == list(range(1, number))


@pytest.mark.parametrize("moment", ["later", "left"])
def test_a_budget_tells_what_had_failed_until_then(moment: str) -> None:
    store = MemoryStore()
    begun(store, moment)
    graph = graph_of(store, 99, 9, None, budget=Budget(tokens=25))
    with pytest.raises(BudgetSpent) as caught:
        in_virtual_time(graph.aresume("r") if is_resumed(moment) else graph.arun(run_id="r"))
    assert caught.value.used == 30
    assert caught.value.__notes__ == ["node 'fetch' had failed before: attempt 3: ConnectionError: refused 3"]
    assert [each.attempt for each in caught.value.result.nodes["fetch"].failures] == [1, 2, 3]


@pytest.mark.parametrize(("moment", "reserve", "number"), [("first", 1, 2), ("later", 2, 3), ("left", 2, 3)])
def test_a_retry_budget_tells_what_had_failed_until_then(moment: str, reserve: int, number: int) -> None:
    store = MemoryStore()
    begun(store, moment, retry_budget=RetryBudget(share=0, reserve=reserve))
    graph = graph_of(store, 99, 9, None, retry_budget=RetryBudget(share=0, reserve=reserve))
    error = ended(graph.aresume("r") if is_resumed(moment) else graph.arun(run_id="r")).nodes["fetch"].error
    assert error is not None
    retries = f"{reserve} retr{'y' if reserve == 1 else 'ies'} for 1 call so far"
    assert error.__notes__[0] == f"node 'fetch', attempt {number}"
    assert error.__notes__[1:-1] == [
        f"before that, attempt {n}: ConnectionError: refused {n}" for n in range(1, number)
    ]
    assert f"the retry budget of this run is used up: {retries}" in error.__notes__[-1]


def test_what_a_fallback_raises_is_not_hidden_by_what_it_stands_in_for() -> None:
    """Nor is what waited for too long hidden by what an attempt before has raised of the same kind."""
    slot = Limit(1)
    graph = Graph("hidden", limits={"llm": slot}, on_error="continue")

    def fallback(error: NodeTimeout) -> None:
        raise LookupError("no cache")

    @graph.node(uses="llm", timeout=Timeout(queue=3), retry=Retry(attempts=3, backoff=SECONDS), fallback=fallback)
    async def fetch() -> None:
        asyncio.get_running_loop().call_later(0.5, slot.acquire)
        raise NodeTimeout("inner", 2, "queue", 7, 7)

    result = ended(graph.arun())
    error = result.nodes["fetch"].error
    assert isinstance(error, LookupError)
    assert isinstance(error.__context__, NodeTimeout)
    assert (error.__context__.node, error.__context__.limit) == ("fetch", 3)
    assert result.errors["fetch"] is error


class LateStore:
    """A store that takes its time to keep what it is given."""

    def __init__(self) -> None:
        self.kept = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        if name == "append_now":
            raise AttributeError
        return getattr(self.kept, name)

    def append(self, *given: Any) -> None:
        threading.Timer(0.03, self.kept.append, given).start()


def test_no_attempt_begins_before_it_is_safe_that_the_one_before_has_failed() -> None:
    """Who listens is told of the failure at once."""
    store, told, safe = LateStore(), [], []
    graph = Graph("late", store=store)

    def failures() -> int:
        return sum(fact.kind == FactKind.RETRYING for fact in store.kept.read("r").facts)

    def listen(event: Any) -> None:
        if isinstance(event, NodeRetrying):
            told.append((event.attempt, failures()))

    @graph.node(retry=Retry(attempts=3, backoff=Backoff(0)))
    async def fetch(context: Context) -> None:
        safe.append((context.attempt, failures()))
        if context.attempt < 3:
            raise ConnectionError

    graph.run(run_id="r", listeners=[listen])
    assert safe == [(1, 0), (2, 1), (3, 2)]
    assert told == [(1, 0), (2, 1)]


def test_nothing_is_lost_of_what_was_tried_again_as_a_whole() -> None:
    """A nested graph and its node have two attempts each, and then the run goes on."""
    store = MemoryStore()

    async def call(context: Context) -> None:
        raise ConnectionError(f"refused {context.attempt}")

    inner = Graph("inner")
    inner.add("call", call, retry=Retry(attempts=2, backoff=Backoff(0)))
    graph = Graph("outer", store=store, on_error="continue")
    graph.add("nested", inner, retry=Retry(attempts=2, backoff=Backoff(0)))
    ended(graph.arun(run_id="r"))
    stored = stored_run(store.read("r")).record.nodes["nested/call"].failures
    assert [str(each)[-9:] for each in stored] == ["refused 1", "refused 2"] * 2
    failures = ended(graph.aresume("r")).nodes["nested/call"].failures
    assert [(each.attempt, each.message) for each in failures[:5]] == [
        (1, "refused 1"),
        (2, "refused 2"),
        (3, "refused 1"),
        (4, "refused 2"),
        (5, "refused 5"),
    ]
