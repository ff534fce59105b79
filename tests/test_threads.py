"""
Plain functions in threads: few threads, no hang, nothing left but what is named abandoned.
"""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from antichain import Context, Graph, Limit, NodeTimeout, Retry, RunFailed
from antichain.policies import Backoff
from antichain.runners.threads import RAISED, RETURNED, Call, Threads
from tests.support.leftovers import nothing_left, our_threads, wait_until


class Gate:
    """Holds functions until the test lets them go."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.entered = threading.Semaphore(0)

    def body(self) -> str:
        self.entered.release()
        assert self._event.wait(30)
        return "let go"

    def open(self) -> None:
        self._event.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()
    assert wait_until(lambda: not our_threads())


def test_twenty_thousand_ready_functions_take_no_more_threads_than_the_limit() -> None:
    seen: set[int] = set()
    most = 0

    def body() -> None:
        nonlocal most
        seen.add(threading.get_ident())
        most = max(most, len(our_threads()))

    graph = Graph()
    for number in range(20_000):
        graph.add(f"n{number}", body)
    with nothing_left():
        result = graph.run(limits={"thread": 5})
    assert len(result) == 20_000
    assert len(seen) <= 5
    assert most <= 5


def test_threads_are_bounded_by_default() -> None:
    most = 0

    def body() -> None:
        nonlocal most
        most = max(most, len(our_threads()))
        time.sleep(0.001)

    graph = Graph()
    for number in range(200):
        graph.add(f"n{number}", body)
    graph.run()
    assert 1 < most <= 32


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_no_error_of_a_function_hangs_a_run(error: type[BaseException]) -> None:
    def bad() -> None:
        raise error(3)

    graph = Graph()
    graph.add("bad", bad)
    with nothing_left(), pytest.raises(RunFailed) as caught:
        graph.run()
    assert caught.value.result.nodes["bad"].state == "failed"


def test_a_lambda_that_returns_a_coroutine_is_awaited() -> None:
    async def fetch(url: str) -> str:
        await asyncio.sleep(0.001)
        return url.upper()

    graph = Graph()
    graph.add("a", lambda: fetch("a"))
    graph.add("b", lambda a: fetch(a + "b"))
    graph.add("c", lambda: fetch("c"), runner="loop")
    assert dict(graph.run()) == {"a": "A", "b": "AB", "c": "C"}


def test_a_coroutine_that_a_function_returned_is_cancelled_when_its_time_is_up() -> None:
    """It is asked to end like any coroutine: its thread is long back."""
    asked: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            asked.append("cancelled")
            raise

    graph = Graph()
    graph.add("a", lambda: slow(), timeout=0.05)
    with nothing_left():
        result = graph.run(on_error="continue", grace=1)
    assert asked == ["cancelled"]
    assert isinstance(result.nodes["a"].error, NodeTimeout)


def test_a_thread_that_overruns_its_timeout_fails_on_time_and_is_named(gate: Gate) -> None:
    graph = Graph()
    graph.add("hangs", gate.body, timeout=0.1)
    graph.add("after", lambda: 1, depends_on=["hangs"])
    graph.add("beside", lambda: 2)
    before = time.monotonic()
    result = graph.run(on_error="continue", grace=60)
    assert time.monotonic() - before < 20
    node = result.nodes["hangs"]
    assert (node.state, node.reason, node.abandoned) == ("failed", "timeout", True)
    assert result.abandoned == ("hangs",)
    assert dict(result) == {"beside": 2}
    assert result.nodes["after"].state == "skipped"


def test_an_abandoned_thread_stays_charged_to_its_limit_until_it_is_back(gate: Gate) -> None:
    limit = Limit(2)
    graph = Graph(limits={"pool": limit})
    graph.add("hangs", gate.body, uses="pool", timeout=0.05)
    graph.run(on_error="continue", grace=0.1)
    assert limit.used == 1
    other = Graph(limits={"pool": limit})
    for number in range(5):
        other.add(f"n{number}", lambda: limit.used, uses="pool")
    assert set(other.run().values()) == {2}
    gate.open()
    assert wait_until(lambda: limit.used == 0)


@pytest.mark.parametrize("lives_on", [False, True])
def test_an_abandoned_thread_gives_its_slot_back_whatever_became_of_the_loop(lives_on: bool) -> None:
    limit = Limit(1)
    gate = Gate()

    async def main() -> None:
        graph = Graph(limits={"pool": limit})
        graph.add("hangs", gate.body, uses="pool", timeout=0.05)
        await graph.arun(on_error="continue", grace=0.1)
        assert limit.used == 1
        if lives_on:
            gate.open()
            while limit.used:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), 30))
    gate.open()
    assert wait_until(lambda: limit.used == 0)


def test_a_thread_that_is_cancelled_has_the_grace_to_end() -> None:
    def polite(ctx: Context) -> str:
        while not ctx.cancelled:
            time.sleep(0.001)
        return "saved"

    def bad() -> None:
        time.sleep(0.02)
        raise OSError

    graph = Graph()
    graph.add("polite", polite)
    graph.add("bad", bad)
    with nothing_left(), pytest.raises(RunFailed) as caught:
        graph.run(grace=20)
    assert dict(caught.value.result) == {"polite": "saved"}
    assert caught.value.result.abandoned == ()


def test_a_thread_that_does_not_end_in_its_grace_is_left(gate: Gate) -> None:
    graph = Graph()
    graph.add("hangs", gate.body)

    @graph.node
    async def bad() -> None:
        while not gate.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
        raise OSError

    before = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        graph.run(grace=0.2)
    assert time.monotonic() - before < 20
    node = caught.value.result.nodes["hangs"]
    assert (node.state, node.abandoned) == ("cancelled", True)


def test_a_timed_out_thread_is_repeated_only_where_that_is_safe(gate: Gate) -> None:
    attempts: list[tuple[str, int]] = []

    def body(ctx: Context) -> str:
        attempts.append((ctx.node_id, ctx.attempt))
        if ctx.attempt == 1:
            gate.body()
        return "second"

    graph = Graph()
    retry = Retry(2, Backoff(0.01))
    graph.add("safe", body, timeout=0.1, retry=retry, repeat="safe")
    graph.add("unknown", body, timeout=0.1, retry=retry)
    result = graph.run(on_error="continue")
    assert dict(result) == {"safe": "second"}
    assert sorted(attempts) == [("safe", 1), ("safe", 2), ("unknown", 1)]
    assert result.nodes["unknown"].reason == "timeout"


def test_a_generator_in_a_thread_ends_between_two_items() -> None:
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                time.sleep(0.001)
                yield 1
        finally:
            closed.append("generator")

    graph = Graph()
    graph.add("endless", endless)
    graph.add("bad", lambda: 1 / 0)
    with nothing_left(), pytest.raises(RunFailed) as caught:
        graph.run(grace=20)
    assert closed == ["generator"]
    assert caught.value.result.nodes["endless"].state == "cancelled"
    assert caught.value.result.abandoned == ()


def test_an_abandoned_thread_may_return_a_coroutine() -> None:
    gate = Gate()

    async def never() -> None:
        raise AssertionError

    def late() -> Any:
        gate.body()
        return never()

    graph = Graph()
    graph.add("late", late, timeout=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph.run(on_error="continue", grace=0.05)
        gate.open()
        assert wait_until(lambda: not our_threads())


def test_a_hung_thread_does_not_keep_the_interpreter_alive() -> None:
    program = """
        import threading, time
        from antichain import Graph
        graph = Graph()
        graph.add("hangs", lambda: time.sleep(60), timeout=0.1)
        graph.add("fine", lambda: 1)
        result = graph.run(on_error="continue", grace=0.1)
        print(dict(result), result.abandoned)
    """
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=True
    )
    assert time.monotonic() - before < 20
    assert done.stdout.strip() == "{'fine': 1} ('hangs',)"
    assert done.stderr == ""


def test_where_the_system_gives_no_more_threads_those_there_are_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started = 0
    start = threading.Thread.start

    def poor(self: threading.Thread) -> None:
        nonlocal started
        if self.name.startswith("antichain"):
            started += 1
            if started > 2:
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", poor)
    graph = Graph()
    for number in range(20):
        graph.add(f"n{number}", lambda: time.sleep(0.001))
    with nothing_left():
        assert len(graph.run()) == 20
    assert started > 2


def test_where_no_thread_can_be_started_the_node_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    graph = Graph()
    graph.add("a", lambda: 1)

    async def fine() -> int:
        return 2

    graph.add("b", fine)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", poor)
        result = graph.run(on_error="continue")
    assert dict(result) == {"b": 2}
    assert "thread" in str(result.nodes["a"].error)


def test_wake_ups_are_coalesced_and_nothing_is_lost() -> None:
    """What the runner itself promises: every outcome comes back once, with fewer wake-ups than outcomes."""
    wakes: list[int] = []
    threads = Threads(lambda: wakes.append(1))
    from contextvars import copy_context

    def body(number: int) -> int:
        if number % 10 == 0:
            raise StopIteration(number)
        return number

    for number in range(500):
        threads.submit(Call(number, 1, body, (number,), {}, copy_context(), False))
    outcomes: list[Any] = []
    assert wait_until(lambda: outcomes.extend(threads.take_back()) or len(outcomes) == 500)
    assert sorted(outcome.node for outcome in outcomes) == list(range(500))
    assert {outcome.kind for outcome in outcomes} == {RETURNED, RAISED}
    assert not threads.is_busy
    assert threads.close() == []
