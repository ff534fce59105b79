"""
A loop whose clock jumps: real code, no waiting; never over a thread that is at work.
"""

import asyncio
import os
import random
import time
from typing import Any

import pytest

from antichain import Backoff, Graph, Retry, RunFailed, RunResult, RunTimeout, Timeout
from antichain.core.laws import LawfulScheduler
from antichain.testing import SKIP, VirtualLoop, simulate, virtual_time
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


class Drawn:
    """A random graph, with real bodies that do what the script of the simulator says."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.durations: dict[tuple[str, int], float] = {}
        self.outcomes: dict[str, list[Any]] = {}
        sizes = {"x": rng.randint(1, 3), "y": rng.randint(1, 4)}
        self.graph = Graph("drawn", limits=sizes)
        self._fill(self.graph, "", rng.randint(2, 30), with_graphs=True)
        self.options: dict[str, Any] = {
            "max_concurrent": rng.choice((None, 1, 2, 4)),
            "on_error": rng.choice(("cancel", "drain", "continue", "continue")),
            "deadline": rng.choice((None, None, None, rng.random() * 40)),
        }

    def _fill(self, graph: Graph, prefix: str, count: int, *, with_graphs: bool) -> None:
        rng = self.rng
        for number in range(count):
            name = f"n{number}"
            before = [f"n{i}" for i in rng.sample(range(number), min(number, rng.randint(0, 3)))]
            policies: dict[str, Any] = {"join": rng.choice(("all", "all", "all", "any", "all_done"))}
            policies["priority"] = rng.choice((0, 0, rng.randint(-2, 5)))
            if rng.random() < 0.2:
                policies["retry"] = Retry(rng.randint(2, 3), Backoff(initial=rng.random() * 2, jitter=False))
            if rng.random() < 0.2:
                # No two instants are equal: which of them comes first is nobody's promise.
                seconds = 0.01 + rng.random() * 3
                policies["timeout"] = seconds if rng.random() < 0.7 else Timeout(total=seconds)
            if rng.random() < 0.15:
                policies["fallback"] = f"instead of {name}"
            if rng.random() < 0.2:
                verdict = rng.random() < 0.6
                policies["when"] = lambda verdict=verdict: verdict
                if not verdict:
                    self.outcomes[prefix + name] = [SKIP]
            if with_graphs and rng.random() < 0.15:
                policies.pop("retry", None)
                inner = Graph("inner")
                self._fill(inner, f"{prefix}{name}/", rng.randint(1, 5), with_graphs=False)
                graph.add(name, inner, depends_on=before, **policies)
                continue
            if rng.random() < 0.5:
                policies["uses"] = rng.choice(("x", "y", {"x": 1, "y": 1}))
            graph.add(name, self._body(prefix + name), depends_on=before, **policies)

    def _body(self, name: str) -> Any:
        rng, attempts = self.rng, iter(range(1, 100))
        script = self.outcomes.get(name) or [
            ValueError(name) if rng.random() < 0.25 else f"value of {name}" for _ in range(4)
        ]
        self.outcomes[name] = script
        for attempt in range(1, 5):
            self.durations[name, attempt] = 0.01 + rng.random() * 3

        async def body() -> Any:
            attempt = next(attempts)
            await asyncio.sleep(self.durations[name, attempt])
            outcome = script[min(attempt, len(script)) - 1]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return body

    def played(self) -> RunResult:
        return simulate(
            self.graph.plan(),
            durations=lambda name, attempt: self.durations.get((name, attempt)),
            outcomes=self.outcomes,
            check=True,
            **self.options,
        )

    def run(self) -> RunResult:
        with virtual_time() as clock:
            try:
                return clock.run(self.graph.arun(**self.options))
            except (RunFailed, RunTimeout) as error:
                assert isinstance(error.result, RunResult)
                return error.result


def told(result: RunResult) -> dict[str, tuple[Any, ...]]:
    return {
        name: (
            r.state,
            r.reason,
            r.attempts,
            *(None if at is None else round(at, 6) for at in (r.started_at, r.ended_at)),
        )
        for name, r in result.nodes.items()
    }


@pytest.mark.parametrize("seed", range(3000 if os.environ.get("ANTICHAIN_FULL") == "1" else 150))
def test_random_graphs_run_as_they_were_simulated(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing, with real coroutines on a loop, is what the simulator says to the last instant, and lawful."""
    monkeypatch.setattr("antichain.driver.Scheduler", LawfulScheduler)
    drawn = Drawn(seed)
    played, real = drawn.played(), drawn.run()
    assert told(real) == told(played)
    assert real.status == played.status
    assert dict(real).keys() == dict(played).keys()
    assert real.makespan == pytest.approx(played.makespan)


def test_years_take_no_time_either() -> None:
    """So late, the loop's clock cannot tell its own resolution from nothing."""
    with virtual_time() as clock:
        clock.run(asyncio.sleep(10 * 365 * 86_400 + 0.1))
        assert clock.now == pytest.approx(10 * 365 * 86_400 + 0.1, rel=1e-15)
