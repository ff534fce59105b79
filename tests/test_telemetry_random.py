"""
Random graphs, run for real with the OpenTelemetry SDK: every attempt has the right span, wherever it ran.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace

from antichain import Backoff, Context, Graph, Retry, RunFailed, RunTimeout
from antichain.core.facts import Event
from antichain.record import RunResult
from antichain.telemetry import names
from antichain.testing import virtual_time
from tests.support.spans import Recorder, is_ours, judge, parent_id, span_id

RUNS = 200
BLOCKS = 8
# In these a nested graph has several attempts, and nodes that start before all of their upstream have.
FOUND = (545, 857, 1248, 1408)
KINDS = ("coroutine",) * 4 + ("thread", "thread", "generator", "thread generator", "inline", "inside", "function")


class World:
    """
    Make a random graph whose bodies make spans of their own.
    """

    def __init__(self, seed: int, recorder: Recorder) -> None:
        self.rng = random.Random(seed)
        self.tracer = recorder.users
        self.sizes = {"a": self.rng.randint(1, 3)}
        self.graph = Graph(f"seed {seed}", limits=dict(self.sizes))
        self.maps: list[str] = []
        for number in range(self.rng.randint(4, 24)):
            self.add(self.graph, f"n{number}", [f"n{i}" for i in range(number)], depth=0)

    def add(self, graph: Graph, name: str, known: list[str], depth: int) -> None:
        rng = self.rng
        upstream = rng.sample(known, min(len(known), rng.choice([0, 1, 1, 2, 3])))
        policies = self.policies(name)
        shape = rng.random()
        if shape < 0.12 and depth < 2:
            nested = Graph(f"nested {name}")
            for number in range(rng.randint(1, 4)):
                self.add(nested, f"i{number}", [f"i{i}" for i in range(number)], depth + 1)
            # It takes no slot itself.
            policies.pop("uses", None)
            graph.add(name, nested, depends_on=upstream, **policies)
        elif shape < 0.24:
            items = list(range(rng.randint(0, 5)))
            over = rng.choice([*self.maps, items]) if depth == 0 else items
            if over is not items:
                # It may follow that stage from item to item, and so needs it.
                policies.pop("join", None)
            graph.map(name, self.item(name), over=over, depends_on=upstream, **policies)
            if depth == 0:
                self.maps.append(name)
        else:
            graph.add(name, self.body(name), depends_on=upstream, **policies)

    def policies(self, name: str) -> dict[str, Any]:
        rng = self.rng
        policies: dict[str, Any] = {}
        if rng.random() < 0.25:
            policies["uses"] = {"a": rng.randint(1, self.sizes["a"])}
        if rng.random() < 0.3:
            policies["retry"] = Retry(rng.randint(2, 3), Backoff(rng.choice([0.0, 0.5])))
        if rng.random() < 0.15:
            policies["timeout"] = rng.choice([0.5, 2.0])
        if rng.random() < 0.15:
            policies["fallback"] = rng.choice([f"{name} fell back", lambda _: f"{name} fell back"])
        if rng.random() < 0.1:
            policies["when"] = rng.choice([lambda: True, lambda: False, lambda: 1 / 0])
        if rng.random() < 0.3:
            policies["join"] = rng.choice(["any", "all_done"])
        return policies

    def item(self, name: str) -> Callable[..., Any]:
        async def item(x: object) -> object:
            with self.tracer.start_as_current_span(f"{name}["):
                await asyncio.sleep(0.1)
            return x

        def in_thread(x: object) -> object:
            with self.tracer.start_as_current_span(f"{name}["):
                return x

        return self.rng.choice([item, in_thread])

    def body(self, name: str) -> Callable[..., Any]:
        rng = random.Random(self.rng.random())
        script = [(rng.choice([0.0, 0.0, 0.1, 1.0]), rng.choices(["ok", "fail"], [4, 1])[0]) for _ in range(4)]
        attempts = 0

        def begin() -> tuple[float, str]:
            nonlocal attempts
            attempts += 1
            return script[min(attempts, 4) - 1]

        def end(ending: str) -> str:
            if ending == "fail":
                raise ValueError(f"{name} failed")
            return name

        def marked() -> Any:
            return self.tracer.start_as_current_span(name)

        async def coroutine() -> str:
            seconds, ending = begin()
            with marked():
                if seconds:
                    await asyncio.sleep(seconds)
                return end(ending)

        async def generator() -> AsyncIterator[str]:
            seconds, ending = begin()
            with marked():
                await asyncio.sleep(seconds)
                end(ending)
            yield name

        def thread() -> str:
            _, ending = begin()
            with marked():
                return end(ending)

        def thread_generator() -> Iterator[str]:
            _, ending = begin()
            with marked():
                end(ending)
            yield name

        async def inside(ctx: Context) -> object:
            inner = Graph("inner")
            inner.map("squares", self.item(f"{name}/inner"), over=[1, 2])
            inner.add("last", coroutine, depends_on=["squares"])
            result = await ctx.run(inner)
            with marked():
                return dict(result)

        async def function(ctx: Context) -> object:
            with marked():
                await ctx.run(coroutine)
            return await ctx.run(coroutine)

        def inline() -> str:
            return thread()

        kinds: dict[str, Callable[..., Any]] = {
            "coroutine": coroutine,
            "thread": thread,
            "generator": generator,
            "thread generator": thread_generator,
            "inline": inline,
            "inside": inside,
            "function": function,
        }
        return kinds[rng.choice(KINDS)]


async def run_one(seed: int, recorder: Recorder, events: list[Event]) -> RunResult:
    world = World(seed, recorder)
    rng = random.Random(-seed)
    options: dict[str, Any] = {
        "max_concurrent": rng.choice([None, None, 1, 2, 4]),
        "on_error": rng.choice(["cancel", "drain", "continue"]),
        "grace": rng.choice([0.0, 5.0]),
        "deadline": rng.choice([None, 1.0, 100.0]),
        "isolation": rng.choice(["context", "context", "task"]),
    }
    with recorder.users.start_as_current_span("caller"):
        run = asyncio.ensure_future(
            world.graph.arun(listeners=[events.append], tracer=recorder.provider, seed=seed, **options)
        )
    if rng.random() < 0.15:
        asyncio.get_running_loop().call_later(rng.choice([0.0, 0.05, 1.0]), run.cancel)
    try:
        return await run
    except (RunFailed, RunTimeout) as failure:
        assert isinstance(failure.result, RunResult)
        return failure.result
    except asyncio.CancelledError as cancelled:
        return getattr(cancelled, "result")  # type: ignore[no-any-return]  # noqa: B009


def judge_run(recorder: Recorder, result: RunResult) -> None:
    run = recorder.run
    assert parent_id(run) == span_id(recorder.by_user("caller"))
    assert run.attributes is not None
    assert run.attributes[names.RUN_ID] == result.run_id
    assert run.attributes[names.RUN_STATUS] == result.status
    assert run.attributes[names.GRAPH_NAME] == result.name
    assert (run.status.status_code is trace.StatusCode.ERROR) == (result.status == "failed")
    assert (names.ERROR_TYPE in run.attributes) == (result.status == "failed")


def judge_bodies(recorder: Recorder) -> int:
    """What bodies started is a child of their own attempt, on the loop and in threads."""
    attempts = {span_id(span): span for span in recorder.attempts}
    of_bodies = [span for span in recorder.spans if not is_ours(span) and span.name != "caller"]
    for span in of_bodies:
        around = attempts[parent_id(span) or 0]
        assert span.name.rstrip("[").split("/")[0] in str((around.attributes or {})[names.NODE_ID]), (span, around)
    return len(of_bodies)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_attempt_of_random_graphs_has_its_span(block: int) -> None:
    """The run as ancestor, links to all upstream, errors, the bodies' own spans inside: all of it, always."""
    seen: dict[str, int] = {}
    for seed in (*range(block * RUNS // BLOCKS, (block + 1) * RUNS // BLOCKS), *FOUND[block:][:1]):
        recorder, events = Recorder(), list[Event]()
        try:
            with virtual_time() as clock, recorder.watched():
                result = clock.run(run_one(seed, recorder, events))
            judge_run(recorder, result)
            found = judge(recorder, events, result.nodes)
            found["bodies"] = judge_bodies(recorder)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        seen = {name: seen.get(name, 0) + count for name, count in found.items()}
    # Each kind of thing has been there to be judged.
    assert all(seen.values()), seen
