"""
Resources: opened once before their first use, closed in reverse order at the end, whatever happened.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from antichain import Context, Graph, GraphError, Retry, RunFailed, RunnerError, RunTimeout, value
from antichain.policies import Backoff
from antichain.testing import virtual_time
from tests.support.leftovers import nothing_left, our_threads, run_in_steps, wait_until


class Log(list[str]):
    """What happened, in order."""


def graph_with(log: Log) -> Graph:
    """Three resources of both kinds, used in the order client, pool, model."""
    graph = Graph("with resources")

    @graph.resource
    async def client() -> AsyncIterator[str]:
        log.append("open client")
        await asyncio.sleep(0.1)
        try:
            yield "client"
        finally:
            await asyncio.sleep(0.1)
            log.append("close client")

    @graph.resource
    def pool() -> Iterator[str]:
        log.append("open pool")
        try:
            yield "pool"
        finally:
            log.append("close pool")

    @graph.resource
    async def model() -> AsyncIterator[str]:
        log.append("open model")
        try:
            yield "model"
        finally:
            log.append("close model")

    @graph.resource
    async def unused() -> AsyncIterator[str]:
        raise AssertionError
        yield ""

    @graph.node
    async def first(client: str) -> str:
        return client

    @graph.node
    async def second(first: str, pool: str, client: str) -> str:
        return f"{client} {pool}"

    @graph.node
    def third(second: str, model: str) -> str:
        return f"{second} {model}"

    return graph


OPENED = ["open client", "open pool", "open model"]
CLOSED = ["close model", "close pool", "close client"]


def test_each_is_opened_once_before_its_first_use_and_closed_in_reverse_order() -> None:
    log = Log()
    with nothing_left():
        value, error, _, _ = run_in_steps(graph_with(log).arun)
    assert error is None
    assert value["third"] == "client pool model"
    assert log == OPENED + CLOSED


def test_many_nodes_that_wait_for_one_opening_get_the_same() -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    async def client() -> AsyncIterator[object]:
        log.append("open")
        await asyncio.sleep(1)
        yield object()
        log.append("close")

    async def body(client: object) -> object:
        return client

    for number in range(20):
        graph.add(f"n{number}", body)
    with virtual_time() as clock:
        result = clock.run(graph.arun())
    assert len({id(value) for value in result.values()}) == 1
    assert log == ["open", "close"]


def test_graphs_inside_each_other_each_open_their_own_once_in_a_run() -> None:
    """Also where a graph comes many times, by a map or from a body, and where two have one of the same name."""
    log = Log()

    def graph_of(name: str) -> Graph:
        graph = Graph(name)

        @graph.resource
        async def client() -> AsyncIterator[str]:
            log.append(f"open {name}")
            yield name
            log.append(f"close {name}")

        return graph

    inner, outer = graph_of("inner"), graph_of("outer")
    inner.add("use", lambda client, x: f"{client} {x}")
    outer.add("own", lambda client: client)
    outer.add("once", inner, inputs={"x": value(1)}, depends_on=["own"])
    outer.map("many", inner, over=[2, 3], depends_on=["once"])

    @outer.node(depends_on=["many"])
    async def loop(ctx: Context) -> list[Any]:
        return [(await ctx.run(inner, x=number))["use"] for number in (4, 5)]

    with nothing_left():
        result, error, _, _ = run_in_steps(outer.arun)
    assert error is None
    assert result["own"] == "outer"
    assert [result["once"], *result["many"], *result["loop"]] == [f"inner {x}" for x in range(1, 6)]
    assert log == ["open outer", "open inner", "close inner", "close outer"]


@pytest.mark.parametrize("ending", ["failure", "deadline", "cancel"])
def test_they_are_closed_whatever_ends_the_run(ending: str) -> None:
    log = Log()
    graph = graph_with(log)

    @graph.node
    async def end(third: str) -> None:
        await asyncio.sleep(1)
        if ending == "failure":
            raise OSError
        await asyncio.sleep(10)

    async def main() -> Any:
        if ending == "cancel":
            return await asyncio.wait_for(graph.arun(), 2)
        return await graph.arun(deadline=2)

    with nothing_left():
        _, error, _, _ = run_in_steps(main)
    assert isinstance(error, {"failure": RunFailed, "deadline": RunTimeout, "cancel": TimeoutError}[ending])
    assert log == OPENED + CLOSED


def test_a_run_input_or_an_output_stands_in_for_a_resource() -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    async def client() -> AsyncIterator[str]:
        log.append("open")
        yield "real"

    @graph.node
    async def uses(client: str) -> str:
        return client

    assert graph.run(client="fake")["uses"] == "fake"
    assert log == []


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("error", [OSError, SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
def test_an_opening_that_fails_fails_those_who_need_it(kind: str, error: type[BaseException]) -> None:
    graph = Graph()

    if kind == "async":

        @graph.resource(name="client")
        async def opens() -> AsyncIterator[str]:
            raise error("planted")
            yield ""

    else:

        @graph.resource(name="client")
        def opens_in_thread() -> Iterator[str]:
            raise error("planted")
            yield ""

    @graph.node
    async def uses(client: str) -> str:
        return client

    @graph.node
    async def fine() -> str:
        return "fine"

    with nothing_left():
        value, raised, _, _ = run_in_steps(lambda: graph.arun(on_error="continue"))
    assert raised is None
    assert dict(value) == {"fine": "fine"}
    assert "planted" in repr(value.nodes["uses"].error) + repr(value.nodes["uses"].error.__cause__)


def test_the_next_attempt_opens_again() -> None:
    graph = Graph()
    openings = 0

    @graph.resource
    async def client() -> AsyncIterator[int]:
        nonlocal openings
        openings += 1
        if openings < 3:
            raise OSError
        yield openings

    @graph.node(retry=Retry(3, Backoff(1)))
    async def uses(client: int) -> int:
        return client

    with virtual_time() as clock:
        assert clock.run(graph.arun())["uses"] == 3


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("error", [OSError, SystemExit, asyncio.CancelledError])
def test_a_closing_that_fails_fails_the_run_and_keeps_the_result(kind: str, error: type[BaseException]) -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    def first() -> Iterator[str]:
        yield "first"
        log.append("close first")

    if kind == "async":

        @graph.resource(name="client")
        async def closes() -> AsyncIterator[str]:
            yield "client"
            raise error("planted")

    else:

        @graph.resource(name="client")
        def closes_in_thread() -> Iterator[str]:
            yield "client"
            raise error("planted")

    @graph.node
    async def uses(first: str, client: str) -> str:
        return client

    with nothing_left():
        _, raised, _, _ = run_in_steps(graph.arun)
    assert isinstance(raised, RunFailed)
    assert dict(raised.result) == {"uses": "client"}
    (planted,) = raised.exceptions
    assert "planted" in str(planted)
    assert any("client" in note for note in planted.__notes__)
    assert log == ["close first"]


def test_one_that_yields_twice_or_never_is_an_error() -> None:
    graph = Graph()

    @graph.resource
    async def twice() -> AsyncIterator[int]:
        yield 1
        yield 2

    @graph.resource
    def never() -> Iterator[int]:
        if twice is None:
            yield 1

    @graph.node
    async def uses(twice: int) -> int:
        return twice

    @graph.node
    async def needs(never: int) -> int:
        return never

    with virtual_time() as clock, pytest.raises(RunFailed) as caught:
        clock.run(graph.arun(on_error="continue"))
    text = " ".join(str(error) for error in caught.value.exceptions)
    assert "more than once" in text
    assert "without a `yield`" in text
    assert dict(caught.value.result) == {"uses": 1}


def test_what_is_no_generator_function_is_refused() -> None:
    graph = Graph()
    graph.resource(name="client")(lambda: 1)
    graph.add("a", lambda client: client)
    with pytest.raises(GraphError, match="client"):
        graph.plan()


def test_closings_that_hang_take_one_grace_together() -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    async def kind() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.01)
        log.append("kind")

    def hanging(name: str) -> Any:
        async def opens() -> AsyncIterator[str]:
            yield name
            while True:
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    log.append(name)

        return opens

    for name in ("x", "y", "z"):
        graph.resource(name=name)(hanging(name))

    @graph.node
    async def uses(kind: int, x: str, y: str, z: str) -> str:
        return x + y + z

    async def main() -> tuple[BaseException, float]:
        try:
            await graph.arun(grace=2)
        except RunFailed as failure:
            return failure, asyncio.get_running_loop().time()
        raise AssertionError

    (failure, seconds), error, _, _ = run_in_steps(main)
    assert error is None
    assert seconds <= 2 + 1 + 0.5
    assert isinstance(failure, RunFailed)
    assert dict(failure.result) == {"uses": "xyz"}
    assert len(failure.exceptions) == 3
    assert all(isinstance(error, RunnerError) for error in failure.exceptions)
    assert {"kind", "x", "y", "z"} <= set(log)


def test_a_slow_opening_is_cancelled_with_the_run() -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    async def client() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(100)
            yield 1
        finally:
            await asyncio.sleep(0.1)
            log.append("ended")

    @graph.node
    async def uses(client: int) -> int:
        return client

    _, error, loop, _ = run_in_steps(lambda: asyncio.wait_for(graph.arun(), 1))
    assert isinstance(error, TimeoutError)
    assert log == ["ended"]
    assert loop.time() < 2


def test_a_slow_opening_in_a_thread_is_awaited_and_closed() -> None:
    log = Log()
    graph = Graph()
    entered = threading.Event()

    @graph.resource
    def pool() -> Iterator[int]:
        entered.set()
        time.sleep(0.2)
        yield 1
        log.append("closed")

    @graph.node
    async def uses(pool: int) -> int:
        return pool

    @graph.node
    async def bad() -> None:
        while not entered.is_set():
            await asyncio.sleep(0.001)
        raise OSError

    with nothing_left(), pytest.raises(RunFailed):
        graph.run(grace=20)
    assert log == ["closed"]


def test_an_opening_that_hangs_in_a_thread_is_left_after_the_grace() -> None:
    release = threading.Event()
    log = Log()
    graph = Graph()

    @graph.resource
    def pool() -> Iterator[int]:
        release.wait(30)
        yield 1
        log.append("closed")

    @graph.node(timeout=0.05)
    async def uses(pool: int) -> int:
        return pool

    before = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        graph.run(grace=0.2)
    assert time.monotonic() - before < 20
    assert any("was not closed" in str(error) for error in caught.value.exceptions)
    release.set()
    assert wait_until(lambda: log == ["closed"] and not our_threads())


def test_a_node_that_cancels_all_tasks_does_not_keep_resources_from_being_closed() -> None:
    log = Log()
    graph = graph_with(log)

    @graph.node
    async def killer(third: str) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(1)

    _, error, _, _ = run_in_steps(graph.arun)
    assert isinstance(error, asyncio.CancelledError)
    assert log == OPENED + CLOSED


@pytest.mark.parametrize("turns", range(8))
def test_whoever_cancels_all_tasks_while_one_is_being_closed_does_not_keep_the_others_open(turns: int) -> None:
    log = Log()
    graph = Graph()

    @graph.resource
    async def early() -> AsyncIterator[int]:
        yield 1
        log.append("close early")

    @graph.resource
    async def late() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(1)

    @graph.node
    async def uses(early: int, late: int) -> None:
        log.append("used")

    async def main() -> None:
        run = asyncio.ensure_future(graph.arun())
        while "used" not in log:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.wait({run})
        assert run.cancelled()

    _, error, _, _ = run_in_steps(main)
    assert error is None
    assert log == ["used", "close early"]


def test_each_is_opened_and_closed_in_one_task_or_thread() -> None:
    """So that cancel scopes and objects bound to their thread work."""
    graph = Graph()
    seen: list[tuple[Any, Any]] = []

    @graph.resource
    async def scoped() -> AsyncIterator[int]:
        task = asyncio.current_task()
        async with asyncio.TaskGroup() as tasks:
            beat = tasks.create_task(asyncio.sleep(1000))
            yield 1
            beat.cancel()
        seen.append((task, asyncio.current_task()))

    @graph.resource
    def bound() -> Iterator[int]:
        thread = threading.get_ident()
        yield 1
        seen.append((thread, threading.get_ident()))

    @graph.node
    async def uses(scoped: int, bound: int) -> int:
        await asyncio.sleep(1)
        return scoped + bound

    value, error, _, _ = run_in_steps(graph.arun)
    assert error is None
    assert value["uses"] == 2
    assert len(seen) == 2
    assert all(first == last for first, last in seen)
