"""
Cancelling a run: at every point at which anything awaits, whatever its nodes do about it.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from antichain import Context, Graph, Limit, Retry, RunFailed
from antichain.policies import Backoff
from antichain.record import RunResult
from tests.support.leftovers import nothing_left, run_in_steps

FULL = os.environ.get("ANTICHAIN_FULL") == "1"
GRACE = 2.0
TERMINAL = {"succeeded", "failed", "skipped", "cancelled"}


class World:
    """
    What the bodies of one run did: which completed with what, and what they opened and closed.
    """

    def __init__(self) -> None:
        self.completed: dict[str, Any] = {}
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.limit = Limit(2)
        self.stubborn_nodes: set[str] = set()

    def done(self, name: str, value: Any = None) -> Any:
        value = name if value is None else value
        self.completed[name] = value
        return value

    # -- bodies

    def instant(self, name: str) -> Any:
        async def body() -> Any:
            return self.done(name)

        return body

    def sleeper(self, name: str) -> Any:
        async def body() -> Any:
            # Longer than the grace: it has to be asked.
            await asyncio.sleep(20)
            await asyncio.sleep(0)
            return self.done(name)

        return body

    def swallower(self, name: str) -> Any:
        async def body() -> Any:
            for _ in range(3):
                try:
                    await asyncio.sleep(0.3)
                except asyncio.CancelledError:
                    continue
                finally:
                    await asyncio.sleep(0.01)
            return self.done(name)

        return body

    def stubborn(self, name: str) -> Any:
        self.stubborn_nodes.add(name)

        async def body() -> Any:
            asked = False
            try:
                while True:
                    try:
                        await asyncio.sleep(0.7)
                        if not asked:
                            break
                    except asyncio.CancelledError:
                        asked = True
                        continue
                    finally:
                        await asyncio.sleep(0.02)
            finally:
                await asyncio.sleep(0.05)
            return self.done(name)

        return body

    def shielded(self, name: str) -> Any:
        async def inner() -> None:
            await asyncio.sleep(0.4)

        async def body() -> Any:
            task = asyncio.ensure_future(inner())
            try:
                await asyncio.shield(task)
            finally:
                await task
            return self.done(name)

        return body

    def slow_to_end(self, name: str) -> Any:
        async def body() -> Any:
            try:
                await asyncio.sleep(1)
            finally:
                await asyncio.sleep(0.5)
            return self.done(name)

        return body

    def bad_at_ending(self, name: str) -> Any:
        async def body() -> Any:
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                raise ValueError(name) from None
            return self.done(name)

        return body

    def group(self, name: str) -> Any:
        async def body() -> Any:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0.2))
                tasks.create_task(asyncio.sleep(0.3))
            return self.done(name)

        return body

    def impatient(self, name: str) -> Any:
        async def body() -> Any:
            try:
                async with asyncio.timeout(0.15):
                    await asyncio.sleep(5)
            except TimeoutError:
                await asyncio.sleep(0.01)
            return self.done(name)

        return body

    def thread(self, name: str) -> Any:
        def body() -> Any:
            time.sleep(0.002)
            return self.done(name)

        return body

    def busy_thread(self, name: str) -> Any:
        def body() -> Any:
            end = time.monotonic() + 0.003
            while time.monotonic() < end:
                pass
            return self.done(name)

        return body

    def thread_coroutine(self, name: str) -> Any:
        body = self.sleeper(name)
        return lambda: body()

    def chunks(self, name: str) -> Any:
        async def body() -> AsyncIterator[int]:
            self.opened.append(name)
            try:
                for number in range(3):
                    await asyncio.sleep(0.1)
                    yield number
            except BaseException:
                await asyncio.sleep(0.01)
                raise
            else:
                self.done(name, [0, 1, 2])
            finally:
                self.closed.append(name)

        return body

    def thread_chunks(self, name: str) -> Any:
        def body() -> Iterator[int]:
            self.opened.append(name)
            try:
                for number in range(3):
                    time.sleep(0.001)
                    yield number
                self.done(name, [0, 1, 2])
            finally:
                self.closed.append(name)

        return body

    def asks_in_the_end(self, name: str) -> Any:
        async def body(ctx: Context) -> Any:
            try:
                await asyncio.sleep(0.3)
            finally:
                await ctx.run(self.sleeper(f"{name} inner"))
            return self.done(name)

        return body

    def runs_function(self, name: str) -> Any:
        async def body(ctx: Context) -> Any:
            await asyncio.gather(ctx.run(self.sleeper(f"{name} 1")), ctx.run(self.thread(f"{name} 2")))
            return self.done(name)

        return body

    def runs_graph(self, name: str) -> Any:
        inner = self.nested(f"{name} inner")

        async def body(ctx: Context) -> Any:
            async with asyncio.timeout(60):
                await ctx.run(inner)
            return self.done(name)

        return body

    def runs_apart(self, name: str) -> Any:
        inner = self.nested(f"{name} inner")

        async def body() -> Any:
            await inner.arun(grace=0.1, isolation="task")
            return self.done(name)

        return body

    # -- graphs inside

    def nested(self, name: str) -> Graph:
        graph = Graph(name)
        graph.add("first", self.sleeper(f"{name} first"))
        graph.add("second", self.swallower(f"{name} second"), depends_on=["first"])
        graph.add("third", self.thread(f"{name} third"), depends_on=["first"])
        return graph

    async def items(self, name: str) -> AsyncIterator[int]:
        self.opened.append(name)
        try:
            for number in range(4):
                await asyncio.sleep(0.05)
                yield number
        finally:
            self.closed.append(name)
            await asyncio.sleep(0.01)


BODIES = (
    *("instant", "sleeper", "swallower", "stubborn", "shielded", "slow_to_end", "bad_at_ending", "group", "impatient"),
    *("thread", "busy_thread", "thread_coroutine", "chunks", "thread_chunks"),
    *("asks_in_the_end", "runs_function", "runs_graph", "runs_apart"),
)


def build(seed: int, world: World) -> tuple[Graph, dict[str, Any]]:
    """
    Make a graph of some eight nodes, with every kind of body and container somewhere in fifty seeds.
    """
    rng = random.Random(seed)
    graph = Graph(f"graph {seed}", limits={"shared": world.limit})

    @graph.resource
    async def client() -> AsyncIterator[str]:
        await asyncio.sleep(0.05)
        world.opened.append("client")
        try:
            yield "client"
        finally:
            await asyncio.sleep(0.05)
            world.closed.append("client")

    @graph.resource
    def pool() -> Iterator[str]:
        world.opened.append("pool")
        try:
            yield "pool"
        finally:
            world.closed.append("pool")

    names: list[str] = []
    for number in range(rng.randint(5, 9)):
        name = f"n{number}"
        upstream = rng.sample(names, min(len(names), rng.choice((0, 0, 1, 2))))
        policies: dict[str, Any] = {}
        if rng.random() < 0.3:
            policies["uses"] = "shared"
        kind = rng.random()
        if kind < 0.12:
            graph.add(name, world.nested(name), depends_on=upstream)
        elif kind < 0.2:
            graph.map(name, _mapped(world, name), over=[1, 2, 3], depends_on=upstream, max_concurrent=2, **policies)
        elif kind < 0.26:
            graph.map(name, _mapped(world, name), over=world.items(f"{name} items"), depends_on=upstream, **policies)
        elif kind < 0.32:
            graph.map(name, _mapped(world, name), over=[1, 2, 3], depends_on=upstream)
            graph.map(f"{name} after", _mapped(world, f"{name} after"), over=name, outcomes=True)
            names.append(f"{name} after")
        elif kind < 0.4:
            graph.add(name, _with_resources(world, name), depends_on=upstream, **policies)
        elif kind < 0.48:
            graph.add(name, _flaky(world, name), depends_on=upstream, retry=Retry(3, Backoff(0.2)), **policies)
        elif kind < 0.54:
            fallback = _fallback(world, name)
            graph.add(name, _broken, depends_on=upstream, fallback=fallback, **policies)
        else:
            # In turn, so that all of them come up.
            body = BODIES[(seed * 5 + number) % len(BODIES)]
            graph.add(name, getattr(world, body)(name), depends_on=upstream, **policies)
        names.append(name)
    options = {
        "max_concurrent": rng.choice((1, 2, 4, None)),
        "on_error": rng.choice(("cancel", "continue", "drain")),
        "isolation": rng.choice(("context", "context", "task")),
    }
    return graph, options


def _mapped(world: World, name: str) -> Any:
    async def body(item: Any) -> Any:
        await asyncio.sleep(0.1)
        if item == 2:
            await asyncio.sleep(0.1)
        return item

    return body


def _with_resources(world: World, name: str) -> Any:
    async def body(client: str, pool: str) -> Any:
        await asyncio.sleep(0.1)
        return world.done(name, [client, pool])

    return body


def _flaky(world: World, name: str) -> Any:
    async def body(ctx: Context) -> Any:
        await asyncio.sleep(0.05)
        if ctx.attempt < 3:
            raise OSError(name)
        return world.done(name)

    return body


async def _broken() -> None:
    await asyncio.sleep(0.05)
    raise OSError


def _fallback(world: World, name: str) -> Any:
    async def fallback(error: BaseException) -> Any:
        await asyncio.sleep(0.1)
        return world.done(name)

    return fallback


def check(seed: int, cancel_at: tuple[int, ...]) -> int:
    """
    Run a graph, cancel it there, and look at all that must hold afterwards; returns the number of turns.
    """
    world = World()
    graph, options = build(seed, world)
    before = time.monotonic()
    with nothing_left():
        value, error, loop, took = run_in_steps(lambda: graph.arun(grace=GRACE, **options), cancel_at)
    assert time.monotonic() - before < 10
    assert took <= GRACE + 1, f"returned {took} s after it was cancelled"
    result = value if error is None else getattr(error, "result", None)
    if cancel_at and cancel_at[0] == 1:
        # Cancelled before it began.
        assert isinstance(error, asyncio.CancelledError)
        return loop.turns
    assert isinstance(error, asyncio.CancelledError | RunFailed | None), error
    assert isinstance(result, RunResult), error
    for name, node in result.nodes.items():
        assert node.state in TERMINAL, node
        assert node.reason, node
        if node.state == "succeeded" and name in graph:
            assert name in result
    assert set(graph) <= set(result.nodes)
    # Whatever ends when it is asked to, in its own time, is not given up.
    assert set(result.abandoned) <= world.stubborn_nodes, result.abandoned
    for name, value in world.completed.items():
        if name in graph and not result.nodes[name].abandoned:
            assert result.nodes[name].state == "succeeded", (name, result.nodes[name])
            assert result[name] == value
    assert sorted(world.opened) == sorted(world.closed)
    assert world.limit.used == 0
    return loop.turns


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_cancel_at_every_await_point(seed: int) -> None:
    """
    Whenever the caller is cancelled: it gets control back in time, nothing is left, nothing that completed is lost.
    """
    turns = check(seed, ())
    points = list(range(1, turns + 1))
    if not FULL:
        points = random.Random(seed).sample(points, min(len(points), 12))
    for point in points:
        check(seed, (point,))
        if FULL or point % 3 == 0:
            # Asked again, while it is cleaning up.
            check(seed, (point, point + 1, point + 4))
