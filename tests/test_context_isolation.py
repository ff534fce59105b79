"""
What nodes share and what they do not: context variables, the current task, scopes of asyncio.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import Any

import pytest

from antichain import Context, Graph, Retry, RunFailed
from antichain.policies import Backoff
from antichain.record import RunResult
from antichain.testing import virtual_time
from tests.support.leftovers import run_in_steps

VAR: ContextVar[Any] = ContextVar("VAR", default="clean")


def virtual(graph: Graph, **options: Any) -> RunResult:
    with virtual_time() as clock:
        return clock.run(graph.arun(**options))


async def dirty(seconds: float = 0.0) -> None:
    VAR.set("dirty")
    if seconds:
        await asyncio.sleep(seconds)
        VAR.set("dirtier")


async def look() -> Any:
    return VAR.get()


def look_in_thread() -> Any:
    return VAR.get()


@pytest.mark.parametrize("isolation", ["context", "task"])
def test_no_variable_leaks_from_node_to_node(isolation: str) -> None:
    graph = Graph()
    names = ["first"]
    graph.add("first", look)
    for number in range(30):
        setter = [dirty, lambda: VAR.set("dirty") and None, lambda: dirty(0.1)][number % 3]
        graph.add(f"set {number}", setter, depends_on=[names[-1]], runner=["loop", "loop", "thread"][number % 3])
        graph.add(f"look {number}", [look, look_in_thread][number % 2], depends_on=[f"set {number}"])
        graph.add(f"beside {number}", look, depends_on=[names[-1]])
        names.append(f"look {number}")
    result = virtual(graph, isolation=isolation, max_concurrent=2)
    seen = {result[name] for name in graph if not name.startswith("set")}
    assert seen == {"clean"}


def test_a_failed_or_cancelled_node_leaks_nothing_either() -> None:
    graph = Graph()

    @graph.node(retry=Retry(3, Backoff(0)), fallback=None)
    async def fails() -> None:
        assert VAR.get() == "clean"
        VAR.set("dirty")
        raise OSError

    @graph.node(timeout=1, fallback=None)
    async def slow() -> None:
        VAR.set("dirty")
        await asyncio.sleep(10)

    for number in range(5):
        graph.add(f"n{number}", look, depends_on=["fails", "slow"])
    result = virtual(graph)
    assert {result[f"n{number}"] for number in range(5)} == {"clean"}


def test_the_callers_variables_are_seen_everywhere() -> None:
    graph = Graph()
    inner = Graph("inner")
    inner.add("look", look)
    graph.add("loop", look)
    graph.add("thread", look_in_thread)
    graph.add("inline", look_in_thread, runner="loop")
    graph.add("nested", inner)

    async def item(number: int) -> Any:
        return VAR.get()

    graph.map("mapped", item, over=[1])

    @graph.node
    async def asks(ctx: Context) -> Any:
        return await ctx.run(look_in_thread)

    @graph.node
    async def chunks() -> Any:
        yield VAR.get()

    @graph.node
    def thread_chunks() -> Iterator[Any]:
        yield VAR.get()

    @graph.resource
    async def client() -> Any:
        yield VAR.get()

    @graph.resource
    def pool() -> Iterator[Any]:
        yield VAR.get()

    @graph.node
    async def uses(client: Any, pool: Any) -> Any:
        return (client, pool)

    token = VAR.set("the caller's")
    try:
        expected = {
            **dict.fromkeys(["loop", "thread", "inline", "nested", "asks"], "the caller's"),
            **dict.fromkeys(["mapped", "chunks", "thread_chunks"], ["the caller's"]),
            "uses": ("the caller's", "the caller's"),
        }
        assert dict(graph.run()) == expected

        async def inside() -> Any:
            return graph.run()

        assert dict(asyncio.run(inside())) == expected
    finally:
        VAR.reset(token)


def test_nothing_leaks_to_the_caller() -> None:
    """Bodies, conditions, fallbacks, predicates and keys: whoever calls them, the caller does not see what they set."""

    def sets(*args: Any) -> bool:
        VAR.set("dirty")
        return True

    async def fails() -> None:
        VAR.set("dirty")
        raise OSError

    async def item(number: int) -> None:
        VAR.set("dirty")

    def items() -> Iterator[int]:
        VAR.set("dirty")
        yield 1

    graph = Graph()
    graph.add("judged", look, when=sets)
    graph.add("falls", fails, fallback=sets, retry=Retry(2, Backoff(0), on=sets))
    graph.map("mapped", item, over=items(), key=lambda number: sets() and number)
    graph.add("later", look, when=sets, depends_on=["judged", "falls"])

    async def main() -> tuple[RunResult, Any]:
        return await graph.arun(), VAR.get()

    with virtual_time() as clock:
        result, after = clock.run(main())
    assert after == "clean"
    assert VAR.get() == "clean"
    assert result["judged"] == "clean"
    assert result["later"] == "clean"


def test_conditions_predicates_and_fallbacks_do_not_leak_into_nodes() -> None:
    def sets(*args: Any) -> bool:
        VAR.set("dirty")
        return True

    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError

    graph = Graph()
    for number in range(4):
        graph.add(f"bad {number}", fails, fallback=sets, retry=Retry(2, Backoff(1), on=sets), timeout=5)
        graph.add(f"look {number}", look, depends_on=[f"bad {number}"], when=sets)
        graph.add(f"thread {number}", look_in_thread, depends_on=[f"bad {number}"], when=sets)
        graph.add(f"slow {number}", dirty, inputs={"seconds": 10}, timeout=1, fallback=sets)
        graph.add(f"after {number}", look, depends_on=[f"slow {number}"])
    result = virtual(graph)
    assert {value for name, value in result.items() if name.startswith(("look", "thread", "after"))} == {"clean"}


def test_a_value_whose_comparison_raises_is_taken_as_changed() -> None:
    class Hostile:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

        __hash__ = None  # type: ignore[assignment]

    class Odd:
        def __eq__(self, other: object) -> Any:
            return NotImplemented

        __hash__ = object.__hash__

    async def sets(value: Any) -> None:
        VAR.set(value)

    graph = Graph()
    for number in range(20):
        graph.add(f"set {number}", sets, inputs={"value": [Hostile, Odd][number % 2]()}, priority=2)
        graph.add(f"look {number}", look)
    token = VAR.set(Hostile())
    try:
        result = virtual(graph)
        assert all(result[f"look {number}"] is VAR.get() for number in range(20))
    finally:
        VAR.reset(token)


def test_a_token_can_be_reset_in_the_body_that_made_it() -> None:
    graph = Graph()

    @graph.node
    async def scoped() -> Any:
        token: Token[Any] = VAR.set("scoped")
        await asyncio.sleep(1)
        before = VAR.get()
        VAR.reset(token)
        return (before, VAR.get())

    for number in range(5):
        graph.add(f"n{number}", dirty, inputs={"seconds": 0.5})
    assert virtual(graph)["scoped"] == ("scoped", "clean")


def test_isolated_nodes_have_a_task_of_their_own_that_does_not_change() -> None:
    async def body() -> Any:
        first = asyncio.current_task()
        await asyncio.sleep(0.1)
        return (first, asyncio.current_task())

    async def with_context(ctx: Context) -> Any:
        return (asyncio.current_task(), asyncio.current_task())

    async def instance(item: int) -> Any:
        return (asyncio.current_task(), asyncio.current_task())

    graph = Graph()
    inner = Graph("inner")
    for number in range(10):
        graph.add(f"n{number}", body)
        graph.add(f"m{number}", with_context, depends_on=[f"n{number}"])
        inner.add(f"i{number}", body)
    graph.add("nested", inner)
    graph.map("mapped", instance, over=range(10))
    result = virtual(graph, isolation="task")
    pairs = [result[name] for name in graph if name not in ("nested", "mapped")]
    pairs += [*result["nested"].values(), *result["mapped"]]
    assert len(pairs) == 40
    assert all(first is second for first, second in pairs)
    assert len({first for first, _ in pairs}) == 40


def test_bodies_that_are_suspended_together_are_in_different_tasks() -> None:
    async def body() -> Any:
        first = asyncio.current_task()
        await asyncio.sleep(0.1)
        return (first, asyncio.current_task())

    graph = Graph()
    for number in range(10):
        graph.add(f"n{number}", body)
    pairs = list(virtual(graph).values())
    assert all(first is second for first, second in pairs)
    assert len({first for first, _ in pairs}) == 10


@pytest.mark.parametrize("isolation", ["context", "task"])
def test_timeouts_and_groups_inside_nodes_end_their_own_body_only(isolation: str) -> None:
    async def slow() -> str:
        async with asyncio.timeout(1):
            try:
                async with asyncio.timeout(0.5):
                    await asyncio.sleep(5)
            except TimeoutError:
                return "inner"
        return "none"

    async def outer() -> str:
        try:
            async with asyncio.timeout(0.5), asyncio.timeout(2):
                await asyncio.sleep(5)
        except TimeoutError:
            return "outer"
        return "none"

    async def boom() -> None:
        await asyncio.sleep(0.1)
        raise ValueError

    async def group() -> str:
        try:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(asyncio.sleep(5))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(boom())
                    await asyncio.sleep(5)
        except ExceptionGroup:
            return "group"
        return "none"

    async def fine() -> str:
        await asyncio.sleep(3)
        return "fine"

    graph = Graph()
    for number in range(4):
        graph.add(f"slow {number}", slow)
        graph.add(f"outer {number}", outer)
        graph.add(f"group {number}", group)
        graph.add(f"fine {number}", fine)
        # Next in the same worker: not hurt by what was cancelled before it.
        graph.add(f"next {number}", fine, depends_on=[f"slow {number}", f"group {number}"])
    value, error, _, _ = run_in_steps(lambda: graph.arun(isolation=isolation))
    assert error is None
    expected = {"slow": "inner", "outer": "outer", "group": "group", "fine": "fine", "next": "fine"}
    assert {name: expected[name.split()[0]] for name in graph} == dict(value)


def test_a_timeout_inside_a_body_that_does_not_suspend_hurts_nobody() -> None:
    async def body() -> int:
        async with asyncio.timeout(0):
            return 1

    async def sleeper() -> int:
        await asyncio.sleep(0.1)
        return 2

    graph = Graph()
    names: list[str] = []
    for number in range(50):
        graph.add(f"n{number}", [body, sleeper][number % 2], depends_on=names[-1:])
        names.append(f"n{number}")
    assert len(virtual(graph)) == 50


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_factory_changes_nothing() -> None:
    async def body(seconds: float) -> Any:
        VAR.set("dirty")
        await asyncio.sleep(seconds)
        return VAR.get()

    graph = Graph()
    for number in range(20):
        graph.add(f"n{number}", body, inputs={"seconds": number % 3 / 10})
        graph.add(f"m{number}", look, depends_on=[f"n{number}"])
    graph.add("thread", look_in_thread)

    @graph.resource
    async def client() -> Any:
        await asyncio.sleep(0.1)
        yield VAR.get()

    @graph.node
    async def uses(client: Any) -> Any:
        return client

    async def main() -> RunResult:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        return await graph.arun(max_concurrent=4)

    with virtual_time() as clock:
        result = clock.run(main())
    assert {result[f"n{number}"] for number in range(20)} == {"dirty"}
    assert {result[f"m{number}"] for number in range(20)} == {"clean"}
    assert result["uses"] == "clean"


def test_run_inside_a_running_loop_works_in_a_helper_thread() -> None:
    here = threading.get_ident()
    graph = Graph()

    @graph.node
    async def where() -> tuple[bool, Any]:
        await asyncio.sleep(0)
        return (threading.get_ident() != here, VAR.get())

    async def main() -> Any:
        VAR.set("mine")
        return graph.run()["where"]

    assert asyncio.run(main()) == (True, "mine")


def test_run_inside_a_running_loop_says_so_when_something_fails() -> None:
    graph = Graph()
    graph.add("bad", lambda: 1 / 0)

    async def main() -> None:
        graph.run()

    with pytest.raises(RunFailed) as caught:
        asyncio.run(main())
    assert any("arun" in note for note in caught.value.__notes__)
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
