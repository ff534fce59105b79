"""
Random graphs executed for real, code and all, on a loop whose clock jumps, with the laws of the core checked after
every signal.

What the simulated runs cannot see is judged here: values, what bodies observe of limits, what is left behind, and that
the result read from the scheduler is the one that its events tell.
"""

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from antichain import Backoff, Context, Graph, Limit, Retry, RunFailed, RunTimeout
from antichain.core.facts import Event
from antichain.record import RunResult, fold
from antichain.testing import virtual_time

FULL = os.environ.get("ANTICHAIN_FULL") == "1"
RUNS = 10_000 if FULL else 500
ON_ERROR = ("cancel", "drain", "continue")


class World:
    """
    Make a random graph whose bodies count themselves.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sizes = {"a": self.rng.randint(1, 3), "b": self.rng.randint(2, 5)}
        self.max_concurrent = self.rng.choice([None, 1, 2, 4])
        # Units in use and bodies running, counted by the bodies themselves; and the most there ever were.
        self.used = {"a": 0, "b": 0, "all": 0}
        self.most = {"a": 0, "b": 0, "all": 0}
        self.ends: dict[str, list[str]] = {}
        self.graph = Graph(f"seed {seed}", limits=dict(self.sizes))
        # Whether a node's own body always gives a value.
        for number in range(self.rng.randint(3, 28)):
            self.add(number)

    def enter(self, uses: dict[str, int]) -> None:
        for name, weight in (*uses.items(), ("all", 1)):
            self.used[name] += weight
            self.most[name] = max(self.most[name], self.used[name])

    def leave(self, uses: dict[str, int]) -> None:
        for name, weight in (*uses.items(), ("all", 1)):
            self.used[name] -= weight

    def add(self, number: int) -> None:
        rng, name = self.rng, f"n{number}"
        upstream = [f"n{i}" for i in rng.sample(range(number), min(number, rng.choice([0, 1, 1, 2, 3])))]
        uses = {limit: rng.randint(1, self.sizes[limit]) for limit in ("a", "b") if rng.random() < 0.25}
        policies: dict[str, Any] = {"priority": rng.choice([0, 0, 0, 5])}
        if uses:
            policies["uses"] = uses
        if rng.random() < 0.2:
            policies["retry"] = Retry(rng.randint(2, 3), Backoff(rng.choice([0.0, 0.5, 2.0])))
        if rng.random() < 0.2:
            policies["timeout"] = rng.choice([0.5, 2.0, 9.0])
        if rng.random() < 0.15:
            policies["fallback"] = rng.choice([f"{name} fell back", lambda _: f"{name} fell back"])
        if rng.random() < 0.1:
            taken = rng.random() < 0.5
            policies["when"] = lambda: taken
        if rng.random() < 0.2:
            policies["join"] = rng.choice(["any", "all_done"])
        self.graph.add(name, self.body(name, uses), depends_on=upstream, **policies)

    def body(self, name: str, uses: dict[str, int]) -> Callable[..., Any]:
        rng = random.Random(self.rng.random())
        # What each attempt does: how long, and how it ends.
        script = [(rng.choice([0.0, 0.0, 0.1, 1.0, 4.0]), self.ending(rng)) for _ in range(4)]
        kind = rng.choice(["coroutine"] * 5 + ["generator", "inside", "map", "swallow", "thread"])
        attempts = 0

        async def work() -> str:
            nonlocal attempts
            seconds, ending = script[min(attempts, 3)]
            attempts += 1
            self.enter(uses)
            try:
                if seconds:
                    await asyncio.sleep(seconds)
                if ending == "hang":
                    await asyncio.sleep(1e6)
                if ending == "fail":
                    raise ValueError(name)
                return f"value of {name}"
            finally:
                self.leave(uses)

        async def generator() -> Any:
            yield name
            yield await work()

        async def swallow() -> str:
            try:
                return await work()
            except asyncio.CancelledError:
                self.enter(uses)
                try:
                    await asyncio.sleep(0.05)
                finally:
                    self.leave(uses)
                return f"value of {name}"

        async def item(x: int) -> int:
            await asyncio.sleep(0.1 * (x % 3))
            return x * x

        async def inside(ctx: Context) -> str:
            inner = Graph("inner")
            inner.map("squares", item, over=list(range(5)))
            inner.add("sum", sum, inputs=inner["squares"], runner="loop")
            result = await ctx.run(inner)
            assert result["sum"] == 30
            return f"value of {name}"

        async def mapped(ctx: Context) -> str:
            assert await ctx.run(item, x=3) == 9
            return await work()

        def threaded() -> str:
            # Not counted: what a thread counts would need a lock, and the core's own books are checked anyway.
            if script[0][1] == "fail":
                raise ValueError(name)
            return f"value of {name}"

        if kind == "thread":
            return threaded
        return {"coroutine": work, "generator": generator, "inside": inside, "map": mapped, "swallow": swallow}[kind]

    @staticmethod
    def ending(rng: random.Random) -> str:
        return rng.choices(["ok", "fail", "hang"], [12, 2, 0.7])[0]


async def run_world(world: World, seed: int, events: list[Event], **more: Any) -> RunResult:
    """Run a world's graph under random options and *more*, perhaps cancel it, and see that it leaves nothing behind."""
    rng = random.Random(-seed)
    options: dict[str, Any] = {
        "max_concurrent": world.max_concurrent,
        "on_error": rng.choice(ON_ERROR),
        "grace": rng.choice([0.0, 0.3, 5.0]),
        # Something must end the bodies that hang.
        "deadline": rng.choice([3.0, 20.0, 100.0]),
        "seed": seed,
        "isolation": rng.choice(["context", "context", "task"]),
        **more,
    }
    if rng.random() < 0.3:
        options["limits"] = {"a": Limit(world.sizes["a"])}
    run = asyncio.ensure_future(world.graph.arun(listeners=[events.append], **options))
    if rng.random() < 0.3:
        asyncio.get_running_loop().call_later(rng.choice([0.0, 0.05, 1.0, 3.0]), run.cancel)
    try:
        result = await run
    except (RunFailed, RunTimeout) as failure:
        result = failure.result
    except asyncio.CancelledError as cancelled:
        result = getattr(cancelled, "result")  # noqa: B009
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, f"left behind: {others}"
    return result


async def run_one(seed: int, events: list[Event]) -> tuple[World, RunResult]:
    world = World(seed)
    return world, await run_world(world, seed, events)


def judge(world: World, result: RunResult, events: list[Event]) -> None:
    for name, size in world.sizes.items():
        assert world.most[name] <= size, f"limit {name} of {size} was passed: {world.most[name]}"
    if world.max_concurrent is not None:
        assert world.most["all"] <= world.max_concurrent
    for name, node in result.nodes.items():
        assert node.state in ("succeeded", "failed", "skipped", "cancelled"), f"{name} is {node.state}"
        assert "/" in name or (node.state == "succeeded") == (name in result), name
    for name, value in result.items():
        expected = f"value of {name}"
        assert value in (expected, f"{name} fell back", [name, expected]), (name, value)
    told = fold(events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (told.status, told.started_at, told.ended_at) == (result.status, result.started_at, result.ended_at)
    assert told.nodes.keys() == result.nodes.keys()
    for name, node in told.nodes.items():
        assert result.nodes[name] == node, name


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_run_by_the_laws(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, limits, events and endings of real runs are right, and nothing is left behind."""
    monkeypatch.setenv("ANTICHAIN_DEBUG", "1")
    for seed in range(block * RUNS // 10, (block + 1) * RUNS // 10):
        events: list[Event] = []
        with virtual_time() as clock:
            try:
                world, result = clock.run(run_one(seed, events))
                judge(world, result, events)
            except BaseException as error:
                error.add_note(f"seed {seed}; again: python -c 'import tests.test_real_runs as t; t.replay({seed})'")
                raise


def replay(seed: int) -> None:
    """
    Run one seed again and print its events.
    """
    os.environ["ANTICHAIN_DEBUG"] = "1"
    events: list[Event] = []
    with virtual_time() as clock:
        try:
            world, result = clock.run(run_one(seed, events))
            judge(world, result, events)
        finally:
            for event in events:
                print(event)
