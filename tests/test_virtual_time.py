"""
A loop whose clock jumps: real code, no waiting; never over a thread that is at work.
"""

import asyncio
import time

import pytest

from antichain import Graph
from antichain.testing import VirtualLoop, simulate, virtual_time
from antichain.testing.clock import Stuck


def test_an_hour_takes_no_time() -> None:
    started = time.perf_counter()
    with virtual_time() as clock:
        clock.run(asyncio.sleep(3600))
        assert clock.now == 3600.0
    assert time.perf_counter() - started < 5


def test_clock_goes_on_from_one_run_to_the_next() -> None:
    with virtual_time() as clock:
        clock.run(asyncio.sleep(1))
        clock.run(asyncio.sleep(2))
        assert clock.now == 3.0


def test_value_is_that_of_the_coroutine() -> None:
    async def main() -> str:
        await asyncio.sleep(1)
        return "value"

    with virtual_time() as clock:
        assert clock.run(main()) == "value"


def test_timers_fire_in_order() -> None:
    order = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((seconds, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (30, 10, 20)))

    with virtual_time() as clock:
        clock.run(main())
    assert order == [(10, 10), (20, 20), (30, 30)]


def test_timeout_of_asyncio() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        return asyncio.get_running_loop().time()

    with virtual_time() as clock:
        assert clock.run(main()) == 5.0


def test_clock_stands_still_while_a_thread_works() -> None:
    async def main() -> float:
        pending = asyncio.ensure_future(asyncio.sleep(1000))
        assert await asyncio.to_thread(lambda: time.sleep(0.1) or 7) == 7
        at = asyncio.get_running_loop().time()
        await pending
        return at

    with virtual_time() as clock:
        assert clock.run(main()) == 0.0
        assert clock.now == 1000.0


def test_thread_that_raises_lets_the_clock_go_on() -> None:
    def fail() -> None:
        raise ValueError

    async def main() -> None:
        with pytest.raises(ValueError):
            await asyncio.to_thread(fail)
        await asyncio.sleep(5)

    with virtual_time() as clock:
        clock.run(main())
        assert clock.now == 5.0


def test_deadlock_is_an_error() -> None:
    with virtual_time() as clock, pytest.raises(Stuck, match="nobody sets"):
        clock.run(asyncio.Event().wait())


def test_runner_with_the_loop() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.sleep(60))
        assert runner.get_loop().time() == 60.0


def test_network_still_works() -> None:
    """What is ready is ready: sockets are looked at before the clock jumps."""

    async def main() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"ping\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

    with virtual_time() as clock:
        assert clock.run(main()) == b"ping\n"


def slow_graph() -> Graph:
    graph = Graph("slow", max_concurrent=2)

    async def sleep_for(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    for name, seconds in {"a": 60.0, "b": 30.0, "c": 40.0}.items():
        graph.add(name, sleep_for, inputs={"seconds": seconds})
    graph.add("d", lambda a, c: a + c, runner="loop")
    return graph


def test_run_on_the_virtual_clock_is_the_run_that_was_simulated() -> None:
    """The driver and the simulator are two drivers of one scheduler."""
    with virtual_time() as clock:
        real = clock.run(slow_graph().arun())
    played = simulate(slow_graph().plan(), durations={"a": 60.0, "b": 30.0, "c": 40.0, "d": 0.0})
    assert real["d"] == 100.0
    assert real.makespan == played.makespan == 70.0
    for name, record in played.nodes.items():
        assert real.nodes[name].started_at == record.started_at
        assert real.nodes[name].ended_at == record.ended_at


def test_plain_node_in_a_thread_stops_the_clock_and_not_the_run() -> None:
    graph = Graph("threads")
    graph.add("quick", lambda: time.sleep(0.05) or "done")

    async def nap() -> None:
        await asyncio.sleep(500)

    graph.add("nap", nap)
    with virtual_time() as clock:
        result = clock.run(graph.arun())
    assert result["quick"] == "done"
    assert result.nodes["quick"].ended_at == 0.0
    assert result.makespan == 500.0


def test_timeout_and_retry_of_a_node() -> None:
    attempts = []

    async def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            await asyncio.sleep(1000)
        return "value"

    graph = Graph("flaky")
    graph.add("a", flaky, timeout=10, retry=3)
    with virtual_time() as clock:
        result = clock.run(graph.arun(seed=1))
    assert result["a"] == "value"
    assert result.nodes["a"].attempts == 3
    assert 20 <= result.makespan <= 22
