"""
What a stage has begun is finished before something new begins: consumers before new producers, whatever they cost.

What is asserted is the order in which bodies started, on a clock that jumps.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from antichain import Context, Graph
from antichain.core.facts import NodeEnded
from antichain.shape import Place, item_order, order_key, packed_key
from antichain.testing import simulate
from tests.support.probe import virtually


class Trace:
    """
    Bodies that write down when they start, and how many results of theirs nobody has used yet.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.held = self.most_held = 0

    def body(self, stage: str, seconds: float, *, holds: int = 0) -> Callable[[int], Awaitable[int]]:
        async def work(item: int) -> int:
            self.started.append(f"{stage}{item}")
            await asyncio.sleep(seconds)
            self.held += holds
            self.most_held = max(self.most_held, self.held)
            return item

        return work

    def load_and_use(self) -> Graph:
        """A graph for one item: load ── use."""
        load, use = self.body("load", 1), self.body("use", 1)
        inner = Graph("inner")

        @inner.node
        async def first(item: int) -> int:
            return await load(item)

        @inner.node
        async def second(first: int) -> int:
            return await use(first)

        return inner


@pytest.mark.parametrize("costs", [(1, 1, 1), (3, 1, 1), (1, 3, 1), (5, 3, 1), (1, 3, 5)])
def test_one_slot_finishes_each_item_before_the_next(costs: tuple[int, ...]) -> None:
    """Whatever the stages cost: by remaining path alone, the first would run for all items that the window takes."""
    trace = Trace()
    graph = Graph("pipeline", max_concurrent=1)
    over: Any = range(6)
    for stage, cost in zip("abc", costs, strict=True):
        over = graph.map(stage, trace.body(stage, cost), over=over, cost=cost)
    virtually(graph.arun())
    assert trace.started == [f"{stage}{item}" for item in range(6) for stage in "abc"]


def test_results_of_a_quick_producer_do_not_pile_up() -> None:
    """Memory: what has been made and not been used is as much as runs at once, not as much as the window."""
    trace = Trace()
    graph = Graph("pipeline", limits={"cpu": 4})
    graph.map("load", trace.body("load", 1, holds=1), over=range(200), uses="cpu", cost=5)
    graph.map("use", trace.body("use", 1, holds=-1), over="load", uses="cpu", cost=1)
    result = virtually(graph.arun())
    assert result.makespan == 100.0  # no slot was idle for it
    assert trace.most_held <= 4
    assert trace.started.index("use0") == 4


@pytest.mark.parametrize("nested", [False, True])
def test_a_graph_for_each_item_is_finished_item_by_item(nested: bool) -> None:
    """All items are there at once, in a window of 1,024: the first come out after 2 s all the same."""
    trace = Trace()
    graph = Graph("items", limits={"cpu": 2})
    graph.map("each", trace.load_and_use(), over=range(50))
    if nested:  # at some depth, beside others
        outer = Graph("outer")
        outer.add("items", graph)
        graph = outer
    ended: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, NodeEnded) and event.node.endswith("second"):
            ended.append(event.time)

    result = virtually(graph.arun(max_concurrent=2, listeners=[listen]))
    assert trace.started[:8] == ["load0", "load1", "use0", "use1", "load2", "load3", "use2", "use3"]
    assert [at - result.started_at for at in ended[:4]] == [2, 2, 4, 4]
    assert result.makespan == 100 / 2


def test_in_one_item_the_longer_way_starts_first() -> None:
    """
    short ─────────── end      for each item, with one slot.
    long ── longer ── end
    """
    trace = Trace()
    inner = Graph("inner")
    bodies = {name: trace.body(name, 1) for name in ("short", "long", "longer", "end")}
    inner.add("short", bodies["short"])
    inner.add("long", bodies["long"])
    inner.add("longer", bodies["longer"], inputs={"item": inner["long"]})
    inner.add("end", lambda short, longer: short, runner="loop")
    graph = Graph("items", max_concurrent=1)
    graph.map("each", inner, over=range(3))
    virtually(graph.arun())
    assert trace.started == [f"{name}{item}" for item in range(3) for name in ("long", "short", "longer")]


def test_stages_in_a_graph_for_each_item_keep_the_order_of_the_outer_items() -> None:
    """A map inside a map: outer items first, then inner ones."""
    trace = Trace()
    inner = Graph("inner")
    inner.add("pages", lambda item: [10 * item + page for page in range(3)], runner="loop")
    inner.map("load", trace.body("load", 1), over="pages")
    inner.map("use", trace.body("use", 1), over="load")
    graph = Graph("items", max_concurrent=1)
    graph.map("each", inner, over=range(3))
    virtually(graph.arun())
    assert trace.started == [
        f"{stage}{10 * item + page}" for item in range(3) for page in range(3) for stage in ("load", "use")
    ]


def test_what_a_body_runs_comes_before_new_items() -> None:
    """`ctx.run` in an instance: what the first items have begun ends first."""
    trace = Trace()
    inner = trace.load_and_use()
    graph = Graph("agents", max_concurrent=2)

    async def agent(item: int, ctx: Context) -> int:
        await ctx.run(inner, item=item)
        return item

    graph.map("agents", agent, over=range(20))
    virtually(graph.arun())
    # Each lends its slot to what it runs, and the next agent begins meanwhile; but what they run is taken by item.
    uses = [name for name in trace.started if name.startswith("use")]
    assert uses == [f"use{item}" for item in range(20)]
    assert trace.started.index("use0") <= 3


def test_two_stages_over_one_and_a_limit_that_is_full() -> None:
    """A consumer that does not fit holds nothing back: no slot is idle while a node fits."""
    trace = Trace()
    graph = Graph("pipeline", max_concurrent=2, limits={"llm": 1})
    graph.map("load", trace.body("load", 1), over=range(4), cost=1)
    graph.map("ask", trace.body("ask", 4), over="load", uses="llm", cost=4)
    result = virtually(graph.arun())
    assert trace.started == ["load0", "load1", "ask0", "load2", "load3", "ask1", "ask2", "ask3"]
    assert result.makespan == 1 + 4 * 4


def test_an_urgent_stage_is_still_urgent() -> None:
    """Priority comes before everything else."""
    trace = Trace()
    graph = Graph("pipeline", max_concurrent=1)
    graph.map("load", trace.body("load", 1), over=range(3), priority=5)
    graph.map("use", trace.body("use", 1), over="load")
    virtually(graph.arun())
    assert trace.started == ["load0", "load1", "load2", "use0", "use1", "use2"]


def test_path_of_a_stage_counts_the_stages_that_it_feeds() -> None:
    """
    load ══ use (9 s)      starts before      other (5 s)
    """
    trace = Trace()
    graph = Graph("both", max_concurrent=1)
    graph.add("other", lambda: trace.started.append("other"), cost=5, runner="loop")
    graph.map("load", trace.body("load", 1), over=[0], cost=1)
    graph.map("use", trace.body("use", 9), over="load", cost=9)
    virtually(graph.arun())
    assert trace.started == ["load0", "use0", "other"]
    assert [name for name, node in simulate(graph.plan()).nodes.items() if node.started_at == 0] == [
        "load",
        "use",
        "load[0]",
    ]


def test_many_items_keep_their_order() -> None:
    """The key has room for 16 million items; what came while the run goes on starts before equal nodes of the plan."""
    positions = [0, 1, 2, 500, 2**20, 2**24 - 1]
    ties = [item_order(position, remaining, 4.0) for position in positions for remaining in (4.0, 2.0, 0.5)]
    assert ties == sorted(ties)
    keys = [packed_key(0, 4.0, tie, 7) for tie in ties]
    assert all(one < other for one, other in pairwise(keys))
    assert packed_key(0, 4.0, 3, 7) < order_key(0, 4.0, 2**24, 7)
    assert packed_key(0, 4.0, 1 << 50, 7) >> 120 == 0  # no spill into the priority
    assert Place(after=1.0).of(2.0, 5) == (3.0, 5)
    assert Place(1.0, 4.0, 2).of(2.0, 5) == (4.0, item_order(2, 3.0, 4.0))
    assert Place(1.0, 2.0, 2).of(9.0, 5) == (2.0, item_order(2, 2.0, 2.0))
