"""
Graphs that grow while they run: nested graphs, mapped stages, `ctx.run`, async generators, streams of events.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import antichain
from antichain import (
    Backoff,
    Chunk,
    Context,
    Graph,
    GraphError,
    Limit,
    NodeEnded,
    NodeRetrying,
    NodeStarted,
    NodeTimeout,
    Outcome,
    Retry,
    RunEnded,
    RunFailed,
    RunnerError,
    RunStarted,
    RunTimeout,
    Timeout,
)
from tests.support.probe import Probe, virtually

STEADY = Backoff(initial=10.0, factor=2.0, jitter=False)


def failing(error: BaseException, after: float = 0.0) -> Callable[..., Any]:
    async def fail(*_: Any) -> None:
        await asyncio.sleep(after)
        raise error

    return fail


async def counted(count: int, pause: float = 0.0, log: list[Any] | None = None) -> AsyncIterator[int]:
    """0, 1, 2 … as an async iterator that says what was read of it, and when it was closed."""
    try:
        for number in range(count):
            if log is not None:
                log.append(number)
            yield number
            await asyncio.sleep(pause)
    finally:
        if log is not None:
            log.append("closed")


def states(result: Any) -> dict[str, str]:
    return {name: node.state for name, node in result.nodes.items()}


async def later(item: Any) -> Any:
    await asyncio.sleep(1)
    return item


# -- nested graphs


def diamond(probe: Probe, name: str = "inner") -> Graph:
    """
    a ─ b ─ d
    └── c ──┘
    """
    graph = Graph(name)
    graph.add("a", probe.body("a", 1))
    graph.add("b", probe.body("b", 2), depends_on=["a"])
    graph.add("c", probe.body("c", 1), depends_on=["a"])
    graph.add("d", probe.body("d", 1), depends_on=["b", "c"])
    return graph


def test_nodes_of_a_nested_graph_are_nodes_of_the_run() -> None:
    probe = Probe()
    graph = Graph()
    graph.add("outer", diamond(probe))
    graph.add("after", lambda outer: outer[0])
    result = virtually(graph.arun())
    assert result["after"] == "d"
    assert list(result.nodes) == ["outer", "after", "outer/a", "outer/b", "outer/c", "outer/d"]
    assert set(states(result).values()) == {"succeeded"}
    assert probe.started == {"a": 0.0, "b": 1.0, "c": 1.0, "d": 3.0}


def test_output_of_a_nested_graph_is_its_sink_or_a_dict_of_its_sinks() -> None:
    one, two = Graph("one"), Graph("two")
    one.add("x", lambda: 1)
    one.add("y", lambda x: x + 1)
    two.add("x", lambda: 1)
    two.add("y", lambda: 2)
    graph = Graph()
    graph.add("one", one)
    graph.add("two", two)
    assert dict(graph.run()) == {"one": 2, "two": {"x": 1, "y": 2}}


def test_inputs_of_a_nested_graph_are_bound_like_parameters() -> None:
    inner = Graph("inner")
    inner.add("sum", lambda first, second, third=3: (first, second, third))
    graph = Graph()
    graph.add("first", lambda: 1)
    graph.add("inner", inner, inputs={"first": graph["first"]})
    assert graph.run(second=2)["inner"] == (1, 2, 3)


def test_nested_graphs_nest() -> None:
    graph = Graph("g0")
    graph.add("leaf", lambda: "deep")
    for depth in range(1, 30):
        outer = Graph(f"g{depth}")
        outer.add("in", graph)
        graph = outer
    result = graph.run(max_concurrent=1)
    assert result["in"] == "deep"
    assert "/".join(["in"] * 29 + ["leaf"]) in result.nodes


def test_a_container_charges_no_slot() -> None:
    probe = Probe()
    graph = Graph(max_concurrent=1, limits={"api": 1})
    inner = Graph("inner")
    inner.add("x", probe.body("x", 1), uses="api")
    graph.add("one", inner)
    graph.add("two", probe.body("two", 1), uses="api")
    virtually(graph.arun())
    assert probe.most == 1
    assert probe.makespan == 2.0


def test_limits_of_a_nested_graph_are_added_and_the_outer_ones_win() -> None:
    probe = Probe()
    inner = Graph("inner", limits={"api": 5, "disk": 1})
    for i in range(4):
        inner.add(f"api{i}", probe.body(f"api{i}", 1), uses="api")
        inner.add(f"disk{i}", probe.body(f"disk{i}", 1), uses="disk")
    graph = Graph(limits={"api": 2})
    graph.add("inner", inner)
    virtually(graph.arun())
    starts = [probe.started[f"api{i}"] for i in range(4)], [probe.started[f"disk{i}"] for i in range(4)]
    assert sorted(starts[0]) == [0.0, 0.0, 1.0, 1.0]
    assert sorted(starts[1]) == [0.0, 1.0, 2.0, 3.0]


def test_failure_inside_fails_the_container_with_the_same_error() -> None:
    inner = Graph("inner")
    inner.add("bad", failing(OSError("disk"), 1))
    graph = Graph()
    graph.add("inner", inner)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('disk')"]
    nodes = caught.value.result.nodes
    assert nodes["inner"].error is nodes["inner/bad"].error is caught.value.exceptions[0]


@pytest.mark.parametrize("on_error", ["cancel", "drain", "continue"])
def test_failure_inside_follows_the_policy_of_the_run(on_error: Any) -> None:
    """
    inner: bad ─ after, slow        outside: other ─ last;  next after inner
    """
    probe = Probe()
    inner = Graph("inner")
    inner.add("bad", probe.body("bad", 1, fails=OSError("disk")))
    inner.add("after", probe.body("after"), depends_on=["bad"])
    inner.add("slow", probe.body("slow", 5))
    graph = Graph()
    graph.add("inner", inner)
    graph.add("next", probe.body("next"), depends_on=["inner"])
    graph.add("other", probe.body("other", 3))
    graph.add("last", probe.body("last"), depends_on=["other"])
    try:
        result = virtually(graph.arun(on_error=on_error))
    except RunFailed as failure:
        result = failure.result
    found = states(result)
    assert found.pop("inner") == "failed"
    assert found.pop("inner/bad") == "failed"
    if on_error == "continue":
        assert result.status == "partial"
        assert found == {
            "inner/after": "skipped",
            "inner/slow": "succeeded",
            "next": "skipped",
            "other": "succeeded",
            "last": "succeeded",
        }
    elif on_error == "drain":
        assert found["inner/slow"] == found["other"] == "succeeded"
        assert "last" not in probe.started
    else:
        assert sorted(probe.cancelled) == ["other", "slow"]
        assert found["inner/slow"] == found["other"] == "cancelled"


@pytest.mark.parametrize("on_error", ["cancel", "drain"])
def test_nothing_starts_outside_once_something_failed_inside(on_error: Any) -> None:
    """The container fails only when `stubborn` has cleaned up; its fate was sealed before."""
    started: list[float] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(4)
        finally:
            await asyncio.sleep(2)

    async def after(other: Any) -> None:
        started.append(asyncio.get_running_loop().time())

    innermost, inner = Graph("innermost"), Graph("inner")
    innermost.add("bad", failing(OSError("disk"), 1))
    innermost.add("stubborn", stubborn)
    inner.add("innermost", innermost)
    graph = Graph()
    graph.add("inner", inner)
    graph.add("other", lambda: asyncio.sleep(2), runner="loop")
    graph.add("after", after)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun(on_error=on_error))
    assert started == []
    assert caught.value.result.nodes["other"].state == "succeeded"
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('disk')"]
    assert caught.value.result.status == "failed"


@pytest.mark.parametrize("way_out", [{"fallback": "instead"}, {"retry": Retry(attempts=2, backoff=STEADY)}])
def test_a_container_with_a_way_out_stops_nothing_outside(way_out: Any) -> None:
    tries: list[int] = []

    async def flaky() -> str:
        tries.append(1)
        await asyncio.sleep(1)
        if len(tries) == 1:
            raise OSError("once")
        return "at last"

    inner = Graph("inner")
    inner.add("flaky", flaky)
    graph = Graph()
    graph.add("inner", inner, **way_out)
    graph.add("other", later, inputs={"item": 1}, depends_on=["first"])
    graph.add("first", later, inputs={"item": 0})
    result = virtually(graph.arun())
    assert result["inner"] in ("instead", "at last")
    assert result["other"] == 1


def test_timeout_of_a_container_covers_all_in_it() -> None:
    probe = Probe()
    graph = Graph()
    graph.add("inner", diamond(probe), timeout=2.5)
    graph.add("after", lambda inner=None: "went on", depends_on=["inner"], join="all_done")
    result = virtually(graph.arun(on_error="continue"))
    assert isinstance(result.nodes["inner"].error, NodeTimeout)
    assert result.nodes["inner"].reason == "timeout"
    assert states(result)["inner/c"] == "succeeded"
    assert states(result)["inner/b"] == states(result)["inner/d"] == "cancelled"
    assert result["after"] == "went on"
    assert probe.cancelled == ["b"]


def test_retry_of_a_container_runs_all_of_it_again() -> None:
    probe = Probe()
    tries: list[float] = []

    async def flaky() -> int:
        tries.append(probe.now())
        await asyncio.sleep(1)
        if len(tries) < 3:
            raise OSError("again")
        return len(tries)

    inner = Graph("inner")
    inner.add("flaky", flaky)
    inner.add("after", lambda flaky: flaky * 10, runner="loop")
    graph = Graph()
    graph.add("inner", inner, retry=Retry(attempts=3, backoff=STEADY))
    result = virtually(graph.arun())
    assert result["inner"] == 30
    assert tries == [0.0, 11.0, 32.0]
    assert result.nodes["inner"].attempts == 3
    assert states(result)["inner/after"] == "succeeded"


def test_fallback_of_a_container_takes_its_place() -> None:
    inner = Graph("inner")
    inner.add("bad", failing(OSError("disk")))
    graph = Graph()
    graph.add("inner", inner, fallback=repr)
    result = virtually(graph.arun(on_error="continue"))
    assert result["inner"] == "OSError('disk')"
    assert result.nodes["inner"].reason == "fallback"


def test_skips_and_conditions_inside_a_nested_graph() -> None:
    inner = Graph("inner")
    inner.add("x", lambda n: n, runner="loop")
    inner.add("big", lambda x: f"{x} is big", when=lambda x: x > 5, runner="loop")
    inner.add("small", lambda x: f"{x} is small", when=lambda x: x <= 5, runner="loop")
    inner.add(
        "either", lambda big=None, small=None: big or small, depends_on=["big", "small"], join="any", runner="loop"
    )
    graph = Graph()
    graph.add("inner", inner)
    assert graph.run(n=3)["inner"] == "3 is small"
    result = graph.run(n=9)
    assert result["inner"] == "9 is big"
    assert states(result)["inner/small"] == "skipped"


# -- mapped stages


def test_map_keeps_the_order_and_runs_instances_side_by_side() -> None:
    probe = Probe()

    async def visit(item: int) -> int:
        return (await probe.body(str(item), 10 - item)(), item * item)[1]

    graph = Graph()
    graph.add("items", lambda: list(range(5)), runner="loop")
    graph.map("squares", visit, over="items")
    graph.add("total", lambda squares: 0 + sum(squares), runner="loop")
    result = virtually(graph.arun())
    assert result["squares"] == [0, 1, 4, 9, 16]
    assert result["total"] == 30
    assert probe.most == 5
    assert [name for name in result.nodes if "[" in name] == [f"squares[{i}]" for i in range(5)]


@pytest.mark.parametrize("over", [[], [1], (1, 2, 3), range(4), iter([1, 2]), {"a": 1}, "input", "node", "async"])
def test_map_runs_over_anything_that_has_items(over: Any) -> None:
    expected = {"input": [7, 8], "node": [5, 6], "async": [0, 1, 2]}.get(over) if isinstance(over, str) else None
    if expected is None:
        expected = [] if over == [] else {"a": ["a"]}.get("a") if isinstance(over, dict) else None
    graph = Graph()
    graph.add("node", lambda: [5, 6], runner="loop")
    graph.map("m", later, over=counted(3) if over == "async" else over)
    result = virtually(graph.arun(input=[7, 8]) if over == "input" else graph.arun())
    if expected is None:
        expected = [1, 2] if isinstance(over, type(iter([]))) else list(over)
    assert result["m"] == expected


def test_map_of_plain_functions_generators_objects_and_graphs() -> None:
    class Chain:
        def invoke(self, value: int) -> int:
            return value + 1

    async def letters(item: int) -> AsyncIterator[str]:
        for letter in "ab":
            yield f"{letter}{item}"

    inner = Graph("inner")
    inner.add("double", lambda x: 2 * x)
    inner.add("plus", lambda double, y: double + y)
    graph = Graph()
    graph.map("plain", lambda n: n + 1, over=[1, 2])
    graph.map("chain", Chain(), over=[1, 2])
    graph.map("letters", letters, over=[1, 2])
    graph.map("graph", inner, over=[1, 2], inputs={"y": 100})
    result = graph.run()
    assert result["plain"] == result["chain"] == [2, 3]
    assert result["letters"] == [["a1", "b1"], ["a2", "b2"]]
    assert result["graph"] == [102, 104]
    assert "graph[1]/double" in result.nodes


def test_other_parameters_of_a_map_bind_as_usual() -> None:
    graph = Graph()
    graph.add("factor", lambda: 10)
    graph.map("m", lambda item, factor, offset, extra=1: item * factor + offset + extra, over=[1, 2])
    assert graph.run(offset=5)["m"] == [16, 26]


@pytest.mark.parametrize("items", [list(range(20)), "async"])
def test_max_concurrent_of_a_map_is_reached_and_never_passed(items: Any) -> None:
    probe = Probe()
    graph = Graph()
    graph.map("m", lambda i: probe.body(str(i), 1)(), over=counted(20) if items == "async" else items, max_concurrent=3)
    virtually(graph.arun())
    assert probe.most == 3
    assert probe.makespan == 7.0


def test_policies_of_a_map_are_those_of_each_instance() -> None:
    probe = Probe()
    tries: dict[int, int] = {}

    async def flaky(item: int) -> str:
        tries[item] = tries.get(item, 0) + 1
        await probe.body(f"{item}.{tries[item]}", 1 if item < 3 else 100)()
        if item == 1 and tries[item] < 3:
            raise OSError("again")
        return "done"

    graph = Graph(limits={"api": 2})
    retry = Retry(attempts=3, backoff=STEADY)
    graph.map("m", flaky, over=range(4), uses="api", retry=retry, timeout=Timeout(total=60.0), fallback="instead")
    result = virtually(graph.arun())
    assert result["m"] == ["done", "done", "done", "instead"]
    assert tries == {0: 1, 1: 3, 2: 1, 3: 1}
    assert probe.most == 2
    assert result.nodes["m[1]"].attempts == 3
    assert result.nodes["m[3]"].reason == "fallback"


def test_keys_name_instances_and_must_tell_them_apart() -> None:
    graph = Graph()
    graph.map("m", later, over=["x", "y"], key=str.upper)
    assert [name for name in virtually(graph.arun()).nodes if name != "m"] == ["m[X]", "m[Y]"]
    graph = Graph()
    graph.map("m", later, over=["x", "y", "X"], key=str.upper)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert "'X'" in str(caught.value.exceptions[0])
    assert isinstance(caught.value.exceptions[0], GraphError)


def test_a_key_function_that_fails_fails_the_stage() -> None:
    graph = Graph()
    graph.map("m", later, over=[1, 0], key=lambda item: 1 / item)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


def test_failure_of_an_instance_fails_the_stage_and_keeps_the_others() -> None:
    async def some(item: int) -> int:
        await asyncio.sleep(item)
        if item == 2:
            raise OSError("two")
        return item

    graph = Graph()
    graph.map("m", some, over=range(5))
    graph.add("after", lambda m: m)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('two')"]
    assert "node 'm[2]', attempt 1" in caught.value.exceptions[0].__notes__
    found = states(caught.value.result)
    assert found == {
        "m": "failed",
        "after": "cancelled",
        "m[0]": "succeeded",
        "m[1]": "succeeded",
        "m[2]": "failed",
        "m[3]": "cancelled",
        "m[4]": "cancelled",
    }


@pytest.mark.parametrize(("on_error", "ended"), [("cancel", 2.0), ("drain", 4.0), ("continue", 14.0)])
def test_failure_of_an_instance_follows_the_policy_of_the_run(on_error: Any, ended: float) -> None:
    """Each item takes 4 s, but the second fails after 2; two at once, 6 items."""

    async def some(item: int) -> int:
        await asyncio.sleep(2 if item == 1 else 4)
        if item == 1:
            raise OSError("one")
        return item

    async def main() -> tuple[Any, float]:
        graph = Graph()
        graph.map("m", some, over=range(6), max_concurrent=2)
        try:
            result = await graph.arun(on_error=on_error)
        except RunFailed as failure:
            result = failure.result
        return result, asyncio.get_running_loop().time()

    result, now = virtually(main())
    assert now == ended if on_error != "continue" else now in (12.0, 14.0)
    assert states(result)["m"] == "failed"
    completed = [name for name, state in states(result).items() if state == "succeeded"]
    assert completed == {"cancel": [], "drain": ["m[0]"]}.get(on_error, ["m[0]", "m[2]", "m[3]", "m[4]", "m[5]"])


def test_outcomes_keep_failures_beside_values() -> None:
    async def some(item: int) -> int:
        if item % 2:
            raise OSError(str(item))
        return item

    graph = Graph()
    graph.map("m", some, over=range(4), outcomes=True)
    graph.add("good", lambda m: [outcome.value for outcome in m if outcome.ok], runner="loop")
    result = virtually(graph.arun())
    assert result.status == "succeeded"
    assert result["good"] == [0, 2]
    outcomes: list[Outcome] = result["m"]
    assert [(o.key, o.state) for o in outcomes] == [
        ("0", "succeeded"),
        ("1", "failed"),
        ("2", "succeeded"),
        ("3", "failed"),
    ]
    assert repr(outcomes[1].error) == "OSError('1')"
    with pytest.raises(OSError, match="3"):
        outcomes[3].unwrap()
    assert result.nodes["m[1]"].state == "failed"


def test_outcomes_of_an_iterator_that_fails() -> None:
    """The items that came are lost neither: the stage fails, their records remain."""

    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(5)
        raise OSError("no more")

    graph = Graph()
    graph.map("m", later, over=items(), outcomes=True)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('no more')"]
    assert states(caught.value.result) == {"m": "failed", "m[0]": "succeeded"}


@pytest.mark.parametrize("raised", [SystemExit(1), asyncio.CancelledError("its own"), StopIteration(1)])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_an_iterator_raises_fails_the_stage(raised: BaseException, kind: str) -> None:
    class Bad:
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            raise raised

        def __aiter__(self) -> AsyncIterator[int]:
            return self  # type: ignore[return-value]

        async def __anext__(self) -> int:
            raise raised

    class OnlyAsync:
        def __aiter__(self) -> AsyncIterator[int]:
            return Bad()  # type: ignore[return-value]

    if kind == "sync":
        if isinstance(raised, StopIteration):
            return  # the end of an iterator, and nothing else
        del Bad.__aiter__
    graph = Graph()
    graph.map("m", later, over=Bad() if kind == "sync" else OnlyAsync())
    graph.add("other", later, inputs={"item": 1})
    result = virtually(graph.arun(on_error="continue"))
    assert states(result) == {"m": "failed", "other": "succeeded"}


def test_what_has_no_items_fails_the_stage_with_a_word_of_advice() -> None:
    for value in (5, None, "text"):
        graph = Graph()
        graph.map("m", later, over="items")
        with pytest.raises(RunFailed) as caught:
            virtually(graph.arun(items=value))
        assert "'m'" in str(caught.value.exceptions[0])
        assert repr(value) in str(caught.value.exceptions[0])


# -- how far a stage reads ahead


def endless(log: list[int]) -> Iterator[int]:
    number = 0
    while True:
        log.append(number)
        yield number
        number += 1


async def async_endless(log: list[int]) -> AsyncIterator[int]:
    for number in endless(log):
        yield number


@pytest.mark.parametrize("make", [endless, async_endless])
def test_an_endless_iterator_is_never_read_far_ahead(make: Any) -> None:
    read: list[int] = []
    graph = Graph()
    graph.map("m", later, over=make(read), max_concurrent=3)
    with pytest.raises(RunTimeout) as caught:
        virtually(graph.arun(deadline=10.5))
    done = sum(state == "succeeded" for state in states(caught.value.result).values())
    assert done == 30
    # A window of twice the limit; an async iterator is read as far again.
    assert len(read) <= done + 6 * (1 if make is endless else 2) + 1


@pytest.mark.parametrize("make", [endless, async_endless])
def test_window_bounds_what_is_taken_and_not_ended(make: Any) -> None:
    read: list[int] = []
    probe = Probe()

    async def slow(item: int) -> None:
        assert len(read) - item <= 4 * (1 if make is endless else 2) + 1
        await probe.body(str(item), 1)()

    graph = Graph()
    graph.map("m", slow, over=make(read), window=4)
    with pytest.raises(RunTimeout):
        virtually(graph.arun(deadline=5.5))
    assert probe.most == 4


def test_one_slow_item_does_not_hold_back_the_others() -> None:
    """The window counts what has not ended: order is kept in the result, not in the running."""
    probe = Probe()
    graph = Graph()
    graph.map("m", lambda i: probe.body(str(i), 100 if i == 0 else 1)(), over=range(50), max_concurrent=2)
    result = virtually(graph.arun())
    assert probe.makespan == 100.0
    assert result["m"] == [str(i) for i in range(50)]


def test_memory_of_ended_instances_is_used_again() -> None:
    async def nothing(item: int) -> int:
        return item

    values = antichain.map(nothing, range(20_000), max_concurrent=4)
    assert values == list(range(20_000))


@pytest.fixture
def only_what_is_new_is_collected() -> Iterator[None]:
    """gc.collect() looks at what this test made, not at all that a process of many tests holds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("only_what_is_new_is_collected")
@pytest.mark.parametrize("listeners", [[], [repr]], ids=["unseen", "listened to"])
def test_values_inside_a_nested_graph_do_not_outlive_it(listeners: list[Any]) -> None:
    """10,000 documents in batches need the memory of a few batches."""

    class Page:
        pass

    pages: weakref.WeakSet[Page] = weakref.WeakSet()
    most = 0

    async def read(number: int) -> Page:
        pages.add(page := Page())
        return page

    async def look(page: Page) -> Page:
        return page

    async def count(read: list[Page], look: list[Outcome]) -> int:
        nonlocal most
        if len(pages) > most:
            gc.collect()
            most = max(most, len(pages))
        return len(look)

    batch = Graph("batch")
    batch.map("read", read, over="numbers", uses="slot")
    batch.map("look", look, over="read", outcomes=True)
    batch.add("count", count)
    graph = Graph("batches", limits={"slot": 1})
    graph.map("counts", batch, over=[range(10)] * 60, window=2)
    result = graph.run(listeners=listeners)
    assert result["counts"] == [10] * 60
    assert most <= 100  # two batches, and what idle workers have seen last
    assert result.nodes["counts[59]/look[9]"].upstream == ("counts[59]/read[9]",)


def test_what_a_body_ran_does_not_outlive_its_interest_in_it() -> None:
    """An agent may loop for as long as it likes."""

    class Page:
        pass

    pages: weakref.WeakSet[Page] = weakref.WeakSet()

    async def read() -> Page:
        pages.add(page := Page())
        return page

    inner = Graph("inner")
    inner.add("read", read)
    inner.map("copies", lambda number: read(), over=range(2))
    graph = Graph("outer")

    @graph.node
    async def loop(ctx: Context) -> int:
        for _ in range(20):
            result = await ctx.run(inner)
            assert isinstance(result["read"], Page)
            assert isinstance(await ctx.run(read), Page)
        gc.collect()
        return len(pages)

    assert graph.run()["loop"] <= 20  # of 80; what idle workers have seen last is among them


# -- stages over stages


def pipeline(probe: Probe, count: int, **options: Any) -> Graph:
    """Three stages; item i takes i+1 seconds in the first."""

    async def first(item: int) -> int:
        await probe.body(f"1.{item}", item + 1)()
        return item

    async def second(item: int) -> int:
        await probe.body(f"2.{item}", 1)()
        return item * 10

    async def third(item: int) -> int:
        await probe.body(f"3.{item // 10}", 1)()
        return item + 1

    graph = Graph("pipeline", **options)
    graph.map("first", first, over=range(count))
    graph.map("second", second, over="first")
    graph.map("third", third, over=graph["second"])
    graph.add("sum", lambda third: 0 + sum(third), runner="loop")
    return graph


def test_each_item_goes_on_when_that_item_is_ready() -> None:
    probe = Probe()
    result = virtually(pipeline(probe, 4).arun())
    assert result["third"] == [1, 11, 21, 31]
    assert result["sum"] == 64
    for item in range(4):
        assert probe.started[f"2.{item}"] == probe.ended[f"1.{item}"] == item + 1
        assert probe.started[f"3.{item}"] == probe.ended[f"2.{item}"]
    assert probe.started["3.0"] < probe.ended["1.3"]
    assert list(result) == ["first", "second", "third", "sum"]


def test_stages_share_the_slots_of_the_run() -> None:
    probe = Probe()
    result = virtually(pipeline(probe, 6, max_concurrent=2).arun())
    assert result["third"] == [1, 11, 21, 31, 41, 51]
    assert probe.most == 2


def test_a_slow_stage_holds_back_the_one_that_feeds_it() -> None:
    """Back-pressure: what the second stage has not taken counts against the window of the first."""
    read: list[int] = []
    probe = Probe()
    behind: list[int] = []

    async def quick(item: int) -> int:
        return item

    async def slow(item: int) -> int:
        behind.append(len(read) - item)
        await probe.body(str(item), 1)()
        return item

    graph = Graph()
    graph.map("quick", quick, over=(read.append(i) or i for i in range(200)), window=5)
    graph.map("slow", slow, over="quick", max_concurrent=2, window=3)
    result = virtually(graph.arun())
    assert result["slow"] == list(range(200))
    assert max(behind) <= 5 + 3 + 1
    assert probe.most == 2


def test_back_pressure_reaches_back_over_several_stages() -> None:
    """Endless and instant at the front, one at a time at the back: nothing runs away in between."""
    read: list[int] = []

    async def quick(item: int) -> int:
        return item

    graph = Graph()
    graph.map("first", quick, over=endless(read), window=4)
    graph.map("second", quick, over="first", window=4)
    graph.map("third", quick, over="second", window=4)
    graph.map("last", later, over="third", max_concurrent=1, window=4)
    with pytest.raises(RunTimeout) as caught:
        virtually(graph.arun(deadline=50.5))
    found = states(caught.value.result)
    assert [found[f"last[{i}]"] for i in range(50)] == ["succeeded"] * 50
    assert len(read) <= 50 + 4 * 4 + 4


@pytest.mark.parametrize("urgent", ["first", "second"])
def test_a_stage_is_there_before_the_items_of_an_urgent_one_have_gone_by(urgent: str) -> None:
    read: list[int] = []
    graph = Graph()
    graph.map("first", lambda i: i, over=endless(read), window=4, priority=10 * (urgent == "first"), runner="loop")
    graph.map("second", later, over="first", window=4, priority=10 * (urgent == "second"))
    with pytest.raises(RunTimeout):
        virtually(graph.arun(deadline=10.5))
    assert 40 <= len(read) <= 56


def test_a_stage_that_breaks_off_does_not_hold_back_the_one_that_feeds_it() -> None:
    """`second` cannot name its third item; `first` goes on with all of its own."""

    def key(item: int) -> int:
        if item == 2:
            raise OSError("no name")
        return item

    graph = Graph()
    graph.map("first", later, over=range(50), max_concurrent=2)
    graph.map("second", later, over="first", key=key)
    graph.map("third", later, over="second")
    result = virtually(graph.arun(on_error="continue"))
    assert result["first"] == list(range(50))
    assert states(result)["second"] == "failed"
    assert states(result)["third"] in ("cancelled", "skipped")


def test_a_stage_that_is_skipped_does_not_hold_back_the_one_that_feeds_it() -> None:
    graph = Graph()
    graph.map("first", later, over=range(50), max_concurrent=2)
    graph.map("second", later, over="first", when=lambda: False)
    result = virtually(graph.arun())
    assert result["first"] == list(range(50))
    assert states(result)["second"] == "skipped"


def test_a_stage_that_starts_late_gets_the_items_that_went_by() -> None:
    graph = Graph()
    graph.map("first", later, over=range(5))
    graph.add("gate", failing(AssertionError("replaced")))
    graph.map("second", lambda i: i * 10, over="first", depends_on=["first", "gate"], runner="loop")
    assert virtually(graph.arun(outputs={"gate": 1}))["second"] == [0, 10, 20, 30, 40]
    graph = Graph()
    graph.add("gate", later, inputs={"item": "open"})
    graph.map("first", later, over=range(5), max_concurrent=1)
    graph.map("second", lambda i, gate: (i, gate), over="first", runner="loop")
    assert virtually(graph.arun())["second"] == [(i, "open") for i in range(5)]


def test_many_stages_in_a_line() -> None:
    async def plus(item: int) -> int:
        return item + 1

    graph = Graph(max_concurrent=3)
    graph.map("0", plus, over=range(30))
    for number in range(1, 150):
        graph.map(str(number), plus, over=graph[str(number - 1)])
    assert virtually(graph.arun())["149"] == [item + 150 for item in range(30)]


def test_two_stages_may_follow_one_and_each_gets_every_item() -> None:
    graph = Graph()
    graph.map("source", later, over=range(10))
    graph.map("double", lambda i: 2 * i, over="source", runner="loop")
    graph.map("square", lambda i: i * i, over="source", runner="loop")
    result = virtually(graph.arun())
    assert result["double"] == [2 * i for i in range(10)]
    assert result["square"] == [i * i for i in range(10)]


@pytest.mark.parametrize("on_error", ["cancel", "drain", "continue"])
def test_a_stage_that_fails_ends_the_stage_it_feeds(on_error: Any) -> None:
    async def first(item: int) -> int:
        await asyncio.sleep(item)
        if item == 2:
            raise OSError("two")
        return item

    graph = Graph()
    graph.map("first", first, over=range(6))
    graph.map("second", later, over="first")
    graph.add("last", lambda second: second)
    graph.add("other", later, inputs={"item": 1})
    try:
        result = virtually(graph.arun(on_error=on_error))
    except RunFailed as failure:
        result = failure.result
    assert {repr(error) for error in result.errors.values()} == {"OSError('two')"}
    found = states(result)
    assert found["first"] == "failed"
    assert found["second"] in ("cancelled", "skipped")
    assert found["last"] in ("cancelled", "skipped")
    assert found["second[0]"] == "succeeded"
    assert found["other"] == "succeeded"


def test_outcomes_of_a_stage_are_what_the_next_one_gets() -> None:
    async def some(item: int) -> int:
        if item == 1:
            raise OSError("one")
        return item

    graph = Graph()
    graph.map("some", some, over=range(3), outcomes=True)
    graph.map("told", lambda outcome: (outcome.key, outcome.ok), over="some", runner="loop")
    assert virtually(graph.arun())["told"] == [("0", True), ("1", False), ("2", True)]


def test_stages_inside_a_nested_graph_are_pipelined_too() -> None:
    probe = Probe()
    graph = Graph()
    graph.add("outer", pipeline(probe, 3))
    result = virtually(graph.arun())
    assert result["outer"] == 33
    assert probe.started["2.0"] == 1.0
    assert probe.started["3.0"] == 2.0
    assert "outer/second[2]" in result.nodes


def test_a_stage_over_a_stage_that_was_given() -> None:
    graph = Graph()
    graph.map("first", failing(AssertionError("replaced")), over=range(3))
    graph.map("second", later, over="first")
    assert virtually(graph.arun(outputs={"first": [7, 8]}))["second"] == [7, 8]


def test_a_map_inside_a_map() -> None:
    inner = Graph("inner")
    inner.map("cells", lambda cell: cell + 1, over="row", runner="loop")
    graph = Graph()
    graph.map("rows", inner, over=[[1, 2], [3], []])
    result = virtually(graph.arun())
    assert result["rows"] == [[2, 3], [4], []]
    assert "rows[0]/cells[1]" in result.nodes


# -- growth while the run is being stopped


@pytest.mark.parametrize("make", [endless, async_endless])
def test_cancelling_stops_a_stage_and_closes_its_items(make: Any) -> None:
    closed: list[str] = []

    def source() -> Any:
        if make is endless:

            def items() -> Iterator[int]:
                try:
                    yield from endless([])
                finally:
                    closed.append("closed")

            return items()

        async def async_items() -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.sleep(1000)
            finally:
                closed.append("closed")

        return async_items()

    async def main() -> None:
        graph = Graph()
        graph.map("m", later, over=source(), max_concurrent=2)
        task = asyncio.ensure_future(graph.arun())
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        found = states(caught.value.result)  # type: ignore[attr-defined]
        assert found["m"] == "cancelled"
        assert found["m[0]"] == "succeeded"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())
    assert closed == ["closed"]


@pytest.mark.parametrize("on_error", ["cancel", "drain"])
def test_a_failure_elsewhere_closes_a_stage_that_waits_for_items(on_error: Any) -> None:
    log: list[Any] = []

    async def main() -> float:
        graph = Graph()
        graph.map("m", later, over=counted(2, 1000, log))
        graph.add("bad", failing(OSError("disk"), 5))
        with pytest.raises(RunFailed) as caught:
            await graph.arun(on_error=on_error)
        assert states(caught.value.result) == {"m": "cancelled", "bad": "failed", "m[0]": "succeeded"}
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 5.0
    assert log == [0, "closed"]


def test_continue_lets_a_stage_go_on_while_others_fail() -> None:
    graph = Graph()
    graph.map("m", later, over=counted(3, 4))
    graph.add("bad", failing(OSError("disk"), 2))
    result = virtually(graph.arun(on_error="continue"))
    assert result["m"] == [0, 1, 2]
    assert result.status == "partial"


def test_deadline_ends_growth_and_keeps_what_completed() -> None:
    graph = Graph()
    graph.map("m", later, over=range(10), max_concurrent=1)
    with pytest.raises(RunTimeout) as caught:
        virtually(graph.arun(deadline=3.5))
    assert list(states(caught.value.result).values()).count("succeeded") == 3


# -- ctx.run


def test_a_body_runs_a_graph_and_a_function() -> None:
    inner = Graph("inner")
    inner.add("double", lambda x: 2 * x)

    async def body(ctx: Context) -> Any:
        result = await ctx.run(inner, x=4)
        return result["double"], result.status, await ctx.run(lambda x: x + 1, x=1)

    graph = Graph()
    graph.add("body", body)
    result = graph.run()
    assert result["body"] == (8, "succeeded", 2)
    assert "body/inner/double" in result.nodes


@pytest.mark.parametrize("limit", ["max_concurrent", "named"])
def test_a_body_and_what_it_runs_share_a_limit_of_one(limit: str) -> None:
    probe = Probe()
    inner = Graph("inner")
    uses = {"uses": "api"} if limit == "named" else {}
    for name in "ab":
        inner.add(name, probe.body(name, 1), **uses)  # type: ignore[arg-type]

    async def body(ctx: Context) -> list[str]:
        first = await ctx.run(inner)
        second = await asyncio.gather(ctx.run(inner), ctx.run(inner))
        return [*first, *second[0], *second[1]]

    graph = Graph(limits={"api": 1} if limit == "named" else None)
    graph.add("body", body, **uses)  # type: ignore[arg-type]
    graph.add("other", body, **uses)  # type: ignore[arg-type]
    result = virtually(graph.arun(max_concurrent=1 if limit == "max_concurrent" else None))
    assert result["body"] == result["other"] == ["a", "b"] * 3
    assert probe.most == 1
    assert probe.now is not None


def test_an_agent_loops_and_recurses() -> None:
    async def count(n: int, ctx: Context) -> int:
        return 0 if n == 0 else 1 + await ctx.run(count, n=n - 1)

    graph = Graph()
    graph.add("count", count)
    assert graph.run(n=50, max_concurrent=1)["count"] == 50


def test_names_of_what_a_body_runs_are_told_apart() -> None:
    inner = Graph("inner")
    inner.add("x", lambda: 1, runner="loop")

    async def body(ctx: Context) -> None:
        await ctx.run(inner)
        await ctx.run(inner)

    graph = Graph()
    graph.add("body", body)
    names = list(virtually(graph.arun()).nodes)
    assert names == ["body", "body/inner", "body/inner/x", "body/inner#2", "body/inner#2/x"]


def test_failure_inside_is_the_bodys_to_handle() -> None:
    inner = Graph("inner")
    inner.add("good", later, inputs={"item": 1})
    inner.add("bad", failing(OSError("disk"), 2))

    async def body(ctx: Context) -> str:
        with pytest.raises(RunFailed) as caught:
            await ctx.run(inner)
        assert dict(caught.value.result) == {"good": 1}
        assert caught.value.result.status == "failed"
        try:
            await ctx.run(failing(KeyError("k")))
        except KeyError as error:
            return f"handled {error}"
        return "not reached"

    graph = Graph()
    graph.add("body", body)
    result = virtually(graph.arun())
    assert result["body"] == "handled 'k'"
    assert result.status == "succeeded"


def test_failure_inside_that_is_not_handled_fails_the_body_once() -> None:
    inner = Graph("inner")
    inner.add("bad", failing(OSError("disk")))

    async def body(ctx: Context) -> None:
        await ctx.run(inner)

    graph = Graph()
    graph.add("body", body)
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    matched, rest = caught.value.split(OSError)
    assert matched is not None
    assert rest is None
    assert isinstance(caught.value.result.nodes["body"].error, RunFailed)


def test_what_is_wrong_with_an_inner_graph_is_said_to_the_body() -> None:
    broken, optioned = Graph("broken"), Graph("optioned", deadline=5)
    broken.add("x", lambda nowhere: nowhere)
    too_much = Graph("too much")
    too_much.add("x", lambda: 1, uses={"api": 3})

    async def body(ctx: Context) -> list[str]:
        said = []
        for graph in (broken, optioned, too_much):
            with pytest.raises(GraphError) as caught:
                await ctx.run(graph)
            said.append(caught.value.faults[0].code)
        return said

    graph = Graph(limits={"api": 2})
    graph.add("body", body)
    graph.add("user", lambda: 1, uses="api")
    assert graph.run()["body"] == ["missing-input", "nested-options", "weight-above-limit"]


def test_limits_of_an_inner_graph_hold_while_it_runs() -> None:
    probe, shared = Probe(), Limit(2)
    inner = Graph("inner", limits={"api": shared})
    for i in range(6):
        inner.add(str(i), probe.body(str(i), 1), uses="api")

    async def body(ctx: Context) -> int:
        return len(await ctx.run(inner))

    graph = Graph()
    graph.add("body", body)
    assert virtually(graph.arun())["body"] == 6
    assert probe.most == 2
    assert shared.used == 0


def test_cancelling_a_body_cancels_what_it_runs() -> None:
    probe = Probe()
    inner = Graph("inner")
    inner.add("x", probe.body("x", 100))
    cleaned: list[float] = []

    async def body(ctx: Context) -> None:
        try:
            await ctx.run(inner)
        finally:
            cleaned.append(asyncio.get_running_loop().time())

    graph = Graph()
    graph.add("body", body)
    graph.add("bad", failing(OSError("disk"), 5))
    with pytest.raises(RunFailed) as caught:
        virtually(graph.arun())
    assert probe.cancelled == ["x"]
    assert cleaned == [5.0]
    assert states(caught.value.result)["body/inner/x"] == "cancelled"


def test_timeout_of_a_body_ends_what_it_runs() -> None:
    probe = Probe()
    inner = Graph("inner")
    inner.add("x", probe.body("x", 100))

    async def body(ctx: Context) -> None:
        await ctx.run(inner)

    graph = Graph()
    graph.add("body", body, timeout=5.0, fallback="instead")
    result = virtually(graph.arun())
    assert result["body"] == "instead"
    assert probe.cancelled == ["x"]


def test_a_body_may_give_up_what_it_runs() -> None:
    probe = Probe()
    inner = Graph("inner")
    inner.add("x", probe.body("x", 100))

    async def body(ctx: Context) -> str:
        try:
            await asyncio.wait_for(asyncio.ensure_future(ctx.run(inner)), 3)
        except TimeoutError:
            await asyncio.sleep(1)
            return "without it"
        return "not reached"

    graph = Graph()
    graph.add("body", body)
    result = virtually(graph.arun(max_concurrent=1))
    assert result["body"] == "without it"
    assert probe.cancelled == ["x"]
    assert probe.ended["x"] == probe.started["x"] + 3.0


def test_a_thread_cannot_await_and_is_told_so() -> None:
    def plain(ctx: Context) -> None:
        ctx.run(print)

    graph = Graph()
    graph.add("plain", plain)
    with pytest.raises(RunFailed) as caught:
        graph.run()
    assert isinstance(caught.value.exceptions[0], RunnerError)
    assert "async def" in str(caught.value.exceptions[0])


def test_retries_of_a_body_run_its_graph_again() -> None:
    tries: list[int] = []
    inner = Graph("inner")
    inner.add("x", lambda: tries.append(1) or len(tries), runner="loop")

    async def body(ctx: Context) -> int:
        result = await ctx.run(inner)
        if ctx.attempt < 3:
            raise OSError("again")
        return result["x"]  # type: ignore[no-any-return]

    graph = Graph()
    graph.add("body", body, retry=Retry(attempts=3, backoff=STEADY))
    assert virtually(graph.arun(max_concurrent=1))["body"] == 3


def test_context_says_who_a_node_is() -> None:
    seen: list[tuple[str, int, str, bool]] = []

    async def who(ctx: Context) -> None:
        seen.append((ctx.node_id, ctx.attempt, ctx.idempotency_key, ctx.deadline is None))
        if ctx.attempt == 1:
            raise OSError("again")

    inner = Graph("inner")
    inner.add("who", who, retry=Retry(attempts=2, backoff=STEADY), timeout=5.0)
    graph = Graph()
    graph.add("outer", inner)
    virtually(graph.arun(run_id="nightly"))
    assert seen == [("outer/who", attempt, "nightly:outer/who", False) for attempt in (1, 2)]


# -- async generators, chunks, events


def test_chunks_of_an_async_generator_are_events_and_its_output_their_list() -> None:
    async def letters() -> AsyncIterator[str]:
        for letter in "abc":
            yield letter
            await asyncio.sleep(1)

    def digits() -> Iterator[int]:
        yield from range(3)

    async def emitting(ctx: Context) -> str:
        ctx.emit("half")
        await asyncio.sleep(0.5)
        ctx.emit("all")
        return "done"

    def emitting_thread(ctx: Context) -> None:
        ctx.emit("from a thread")

    events: list[Any] = []
    graph = Graph()
    for name, body in [("letters", letters), ("digits", digits), ("emitting", emitting), ("thread", emitting_thread)]:
        graph.add(name, body)
    result = virtually(graph.arun(listeners=[events.append]))
    assert result["letters"] == ["a", "b", "c"]
    assert result["digits"] == [0, 1, 2]
    chunks: dict[str, list[Any]] = {}
    for event in events:
        if isinstance(event, Chunk):
            chunks.setdefault(event.node, []).append(event.value)
    assert chunks == {
        "letters": ["a", "b", "c"],
        "digits": [0, 1, 2],
        "emitting": ["half", "all"],
        "thread": ["from a thread"],
    }
    assert [event.time for event in events if isinstance(event, Chunk) and event.node == "letters"] == [0.0, 1.0, 2.0]


def test_an_async_generator_is_closed_when_it_is_cancelled() -> None:
    closed: list[float] = []

    async def endless_chunks() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(1)
        finally:
            closed.append(asyncio.get_running_loop().time())

    graph = Graph()
    graph.add("endless", endless_chunks, timeout=3.5, fallback=[])
    assert virtually(graph.arun())["endless"] == []
    assert closed == [3.5]


def growing(probe: Probe) -> Graph:
    """Everything at once: a nested graph, stages, a body that runs a graph, a retry, a skip, chunks."""
    inner = Graph("inner")
    inner.add("x", probe.body("x", 1))
    tries: list[int] = []

    async def flaky() -> None:
        tries.append(1)
        if len(tries) % 2:
            raise OSError("again")

    async def body(ctx: Context) -> None:
        ctx.emit("now")
        await ctx.run(inner)

    graph = Graph("growing")
    graph.add("nested", inner)
    graph.map("stage", later, over=range(3))
    graph.map("next", later, over="stage")
    graph.add("body", body)
    graph.add("flaky", flaky, retry=Retry(attempts=2, backoff=STEADY))
    graph.add("skipped", print, when=lambda: False)
    return graph


def test_events_are_numbered_without_gaps_and_tell_the_whole_story() -> None:
    async def main() -> list[Any]:
        return [event async for event in growing(Probe()).astream(run_id="r")]

    events = virtually(main())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.run_id for event in events} == {"r"}
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].status == "succeeded"
    assert [event.time for event in events] == sorted(event.time for event in events)
    started = [(event.node, event.attempt) for event in events if isinstance(event, NodeStarted)]
    assert len(started) == len(set(started))
    ended = [event.node for event in events if isinstance(event, NodeEnded)]
    assert len(ended) == len(set(ended))
    assert {node for node, _ in started} | {"skipped"} == set(ended)
    assert {"nested/x", "stage[2]", "next[0]", "body/inner/x"} <= set(ended)
    assert [event.node for event in events if isinstance(event, NodeRetrying)] == ["flaky"]
    assert [(event.node, event.value) for event in events if isinstance(event, Chunk)] == [("body", "now")]
    assert next(event.output for event in events if isinstance(event, NodeEnded) and event.node == "next[1]") == 1


def test_listeners_see_what_astream_gives() -> None:
    heard: list[Any] = []

    async def main() -> list[Any]:
        return [event async for event in growing(Probe()).astream(listeners=[heard.append])]

    assert virtually(main()) == heard


def test_leaving_the_loop_cancels_and_awaits_everything() -> None:
    probe = Probe()

    async def main() -> None:
        graph = Graph()
        graph.add("long", probe.body("long", 100))
        graph.add("short", probe.body("short", 1))
        graph.map("stage", lambda i: probe.body(f"m{i}", 100)(), over=counted(3))
        stream = graph.astream()
        async for event in stream:
            if isinstance(event, NodeEnded) and event.node == "short":
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert asyncio.get_running_loop().time() == 1.0

    virtually(main())
    assert sorted(probe.cancelled) == ["long", "m0", "m1", "m2"]


def test_astream_raises_what_the_run_came_to_after_the_last_event() -> None:
    graph = Graph()
    graph.add("bad", failing(OSError("disk"), 1))
    events: list[Any] = []

    async def main() -> None:
        async for event in graph.astream():
            events.append(event)

    with pytest.raises(RunFailed):
        virtually(main())
    assert isinstance(events[-1], RunEnded)
    assert events[-1].status == "failed"


def test_leaving_stream_of_ordinary_code_ends_the_run() -> None:
    probe = Probe()
    graph = Graph()
    graph.add("long", probe.body("long", 100))
    for event in graph.stream():
        if isinstance(event, NodeStarted):
            break
    del event
    assert probe.cancelled in ([], ["long"])  # it may not have begun


def test_a_listener_that_fails_is_reported_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def bad(event: Any) -> None:
        raise ValueError("a listener's own")

    graph = Graph()
    graph.add("x", lambda: 1, runner="loop")
    assert virtually(graph.arun(listeners=[bad]))["x"] == 1
    assert "listener" in caplog.text
