"""
What surrounds every body, wherever it runs: context variables that are there for its own attempt and for nobody else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar, Token
from typing import Any

import pytest

from antichain import Context, Graph
from antichain.driver import Driver, Settings
from antichain.record import RunResult
from antichain.run import run_driver

here: ContextVar[str] = ContextVar("here", default="nowhere")


class Marked:
    """Say in a context variable whose body it is."""

    def __init__(self) -> None:
        self.entered: list[tuple[str, int]] = []
        self.left = 0

    def enter(self, node: str, attempt: int) -> Token[str]:
        self.entered.append((node, attempt))
        return here.set(f"{node} {attempt}")

    def leave(self, token: Token[str]) -> None:
        self.left += 1
        here.reset(token)


def run(graph: Graph, marked: Marked, **settings: Any) -> RunResult:
    plan = graph.plan()
    settings = {"run_id": "r", "surroundings": marked, "limits": plan.limits_with({"thread": 4}), **settings}
    return run_driver(Driver(plan, Settings(**settings), {}))


async def at_once() -> str:
    return here.get()


async def suspended() -> str:
    await asyncio.sleep(0)
    before = here.get()
    await asyncio.sleep(0)
    assert here.get() == before
    return before


def plain() -> str:
    return here.get()


@pytest.mark.parametrize("isolation", ["context", "task"])
def test_every_body_sees_its_own_attempt(isolation: str) -> None:
    """On the loop, suspended or not, inline, in a thread, in a generator, one after the other and side by side."""
    graph = Graph("kinds")

    async def parts() -> AsyncIterator[str]:
        yield here.get()
        await asyncio.sleep(0)
        yield here.get()

    def thread_parts() -> Iterator[str]:
        yield here.get()

    async def of_one(at_once: str) -> list[str]:
        return [at_once, here.get()]

    for number in range(3):
        graph.add(f"suspended {number}", suspended)
    graph.add("at_once", at_once)
    graph.add("thread", plain)
    graph.add("inline", plain, runner="loop")
    graph.add("parts", parts)
    graph.add("thread parts", thread_parts)
    graph.add("coroutine of a thread", lambda: suspended())
    graph.add("of_one", of_one)
    marked = Marked()
    result = run(graph, marked, isolation=isolation)
    expected: dict[str, Any] = {name: f"{name} 1" for name in result}
    expected["parts"] = ["parts 1", "parts 1"]
    expected["thread parts"] = ["thread parts 1"]
    expected["of_one"] = ["at_once 1", "of_one 1"]
    assert dict(result) == expected
    assert here.get() == "nowhere"


def test_attempts_fallbacks_and_what_grows_have_surroundings_of_their_own() -> None:
    graph = Graph("grows")
    seen: list[str] = []

    async def flaky() -> str:
        seen.append(here.get())
        raise OSError("no")

    async def instead(error: BaseException) -> str:
        await asyncio.sleep(0)
        return here.get()

    async def each(item: int) -> str:
        await asyncio.sleep(0)
        return here.get()

    async def more(ctx: Context) -> list[str]:
        inside = await ctx.run(at_once)
        return [here.get(), inside]

    inner = Graph("inner")
    inner.add("a", at_once)
    graph.add("flaky", flaky, retry=2, fallback=instead)
    graph.map("each", each, over=[0, 1, 2], max_concurrent=1)
    graph.add("nested", inner)
    graph.add("more", more)
    marked = Marked()
    result = run(graph, marked, seed=0)
    assert seen == ["flaky 1", "flaky 2"]
    assert result["flaky"] == "flaky 2"
    assert result["each"] == ["each[0] 1", "each[1] 1", "each[2] 1"]
    assert result["nested"] == "nested/a 1"
    assert result["more"][0] == "more 1"
    assert result["more"][1].startswith("more/at_once")
    # Containers are attempts too.
    assert {"each", "nested"} <= {node for node, _ in marked.entered}


def test_what_surrounds_a_body_is_left_whatever_it_does() -> None:
    """And the next body on the same worker sees nothing of it."""
    graph = Graph("harm")

    async def raises() -> None:
        here.set("mine")
        raise ValueError("no")

    async def sets() -> None:
        here.set("mine")

    async def cancelled() -> None:
        await asyncio.sleep(3600)

    graph.add("raises", raises)
    graph.add("sets", sets)
    graph.add("cancelled", cancelled, timeout=0.01)
    for number in range(5):
        graph.add(f"after {number}", at_once, depends_on=["raises", "sets", "cancelled"], join="all_done")
    marked = Marked()
    result = run(graph, marked, on_error="continue")
    assert [result[f"after {number}"] for number in range(5)] == [f"after {number} 1" for number in range(5)]
    assert marked.left == len(marked.entered) == 8
    assert here.get() == "nowhere"
