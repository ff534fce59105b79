"""
Bounds that no order of starts can beat, and what a better order would save.
"""

import gc
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from antichain import Graph, Plan, Rate, value
from antichain.testing import Estimate, estimate, simulate
from bench.published import build, read, rgpos, seconds_of


def one() -> int:
    return 1


def same(x: Any) -> Any:
    return x


def graph_of(edges: Mapping[str, str], costs: Mapping[str, float], **options: Any) -> Graph:
    graph = Graph("etl", **options)
    for name, before in edges.items():
        graph.add(name, one, depends_on=before.split(), cost=costs.get(name, 1.0), runner="loop")
    return graph


def fan(limits: Mapping[str, Any] | None = None, **policies: Any) -> Graph:
    """
          ┌── a ──┐
    first ├── … ──┤ last      four in the middle
          └── d ──┘
    """
    graph = Graph("fan", limits={"llm": 2, **(limits or {})})
    graph.add("first", one, runner="loop")
    for name in "abcd":
        graph.add(name, one, depends_on=["first"], runner="loop", **policies)
    graph.add("last", one, depends_on=list("abcd"), runner="loop")
    return graph


# -- bounds


@pytest.mark.parametrize(
    ("slots", "bound", "by"),
    [(1, 6.0, "max_concurrent"), (2, 4.0, "max_concurrent"), (4, 3.0, None), (None, 3.0, None)],
)
def test_what_comes_before_and_after_counts(slots: int | None, bound: float, by: str | None) -> None:
    """With 2 slots: 1 s before, 4 s of work for both, 1 s after. The work alone would be 3 s, as the longest path."""
    found = estimate(fan().plan(), max_concurrent=slots)
    assert (found.bound, found.bound_by) == (bound, by)
    assert found.makespan == found.bound


@pytest.mark.parametrize(
    ("size", "bound", "by"), [(1, 6.0, "llm"), (2, 4.0, "llm"), (3, 2 + 4 / 3, "llm"), (4, 3.0, None)]
)
def test_so_it_does_for_named_limits(size: int, bound: float, by: str | None) -> None:
    """By the size of the limit, however many slots there are."""
    found = estimate(fan(uses="llm").plan(), limits={"llm": size})
    assert (pytest.approx(found.bound), found.bound_by) == (bound, by)


def test_weights_are_work() -> None:
    """Four nodes of 2 units each, of 4: two at once."""
    found = estimate(fan(uses={"llm": 2}).plan(), limits={"llm": 4})
    assert (found.makespan, found.bound, found.bound_by) == (4.0, 4.0, "llm")


@pytest.mark.parametrize(
    ("rate", "bound", "by"),
    [
        (Rate(requests=2, per=10.0), 1 + 10 + 2, "api"),
        (Rate(requests=3, per=10.0), 1 + 10 + 2, "api"),
        (Rate(requests=4, per=10.0), 4.0, "max_concurrent"),
        (Rate(requests=1, per=10.0), 1 + 30 + 2, "api"),
        (Rate(requests=100, tokens=70, per=60.0), 1 + 60 + 2, "api"),
        (Rate(requests=100, tokens=30, per=60.0), 1 + 180 + 2, "api"),
    ],
)
def test_a_rate_binds_too(rate: Rate, bound: float, by: str) -> None:
    """
    Four calls of 30 tokens each, 1 s before them and 1 s after; some start only so many windows after the first.
    """
    graph = fan({"api": rate}, uses={"api": {"requests": 1, "tokens": 30} if "tokens" in rate.units else 1})
    found = estimate(graph.plan(), max_concurrent=2)
    assert (found.bound, found.bound_by) == (bound, by)
    assert found.makespan == found.bound


def test_one_of_many_is_enough_for_any() -> None:
    """
    What an `any` node waits for need not come before it: quick (1) or slow (9), then end (5).
    """
    graph = graph_of({"quick": "", "slow": ""}, {"slow": 9.0})
    graph.add("end", one, depends_on=["quick", "slow"], join="any", cost=5.0, runner="loop")
    found = estimate(graph.plan())
    assert (found.makespan, found.bound) == (9.0, 9.0)
    alone = estimate(graph.plan(), {"slow": 3.0}, max_concurrent=1)
    assert (alone.makespan, alone.bound) == (9.0, 9.0)
    both = estimate(graph.plan(), {"slow": 3.0}, max_concurrent=2)
    assert (both.makespan, both.bound) == (6.0, 6.0)


def test_what_is_inside_counts_for_what_follows() -> None:
    """
    inner (2 ── 3) ── after (4),  pages ══ more ── after: all of it comes before `after`, and nothing starts too early.
    """
    inner = Graph("inner")
    inner.add("i", one, cost=2.0, runner="loop")
    inner.add("j", one, depends_on=["i"], cost=3.0, runner="loop")
    graph = Graph("outer")
    graph.add("before", one, cost=1.0, runner="loop")
    graph.add("inside", inner, depends_on=["before"])
    graph.add("after", one, depends_on=["inside"], cost=4.0, runner="loop")
    found = estimate(graph.plan(), improve=True)
    assert (found.makespan, found.bound, found.improved) == (10.0, 10.0, 10.0)
    graph.map("pages", same, over=[1], cost=6.0, runner="loop")
    graph.map("more", same, over="pages", cost=7.0, runner="loop")
    graph.add("end", one, depends_on=["more", "after"], cost=1.0, runner="loop")
    found = estimate(graph.plan(), max_concurrent=1, improve=True)
    assert (found.makespan, found.bound, found.improved) == (24.0, 24.0, 24.0)
    assert estimate(graph.plan(), max_concurrent=2, improve=True).bound == 14.0


def mixed(seed: int) -> tuple[Plan, dict[str, Any]]:
    """
    A random graph of everything that a run may grow by: graphs in it, stages that feed each other, joins of any kind.
    """
    rng = Random(seed)
    inner = Graph("inner")
    for number in range(rng.randint(1, 4)):
        before = [f"i{each}" for each in range(number) if rng.random() < 0.5]
        body = one if number else same  # the first takes what the graph is given
        inner.add(f"i{number}", body, depends_on=before, cost=rng.randint(0, 4), uses=limit(rng), runner="loop")
    graph = Graph("mixed", limits={"llm": 3, "disk": 2, "api": Rate(requests=3, per=4.0)})
    for number in range(rng.randint(2, 14)):
        before = [f"n{each}" for each in range(number) if rng.random() < 0.25]
        kind = rng.random()
        name = f"n{number}"
        if kind < 0.2:
            graph.add(name, inner, depends_on=before, inputs={"x": value(1)})
        elif kind < 0.3:
            graph.map(name, same, over=[1], depends_on=before, cost=rng.randint(1, 4), uses=limit(rng), runner="loop")
            graph.map(f"{name}+", inner if rng.random() < 0.5 else same, over=name)
        else:
            join = rng.choice(["all", "all", "all_done", "any"]) if before else "all"
            graph.add(name, one, depends_on=before, cost=rng.randint(0, 6), uses=limit(rng), join=join, runner="loop")
    return graph.plan(), {"max_concurrent": rng.choice([None, 1, 2, 3])}


def limit(rng: Random) -> dict[str, int] | None:
    return rng.choice([None, None, {"llm": 1}, {"llm": 2}, {"disk": 1, "llm": 1}, {"api": 1, "llm": 1}])


def test_no_order_beats_the_bound_and_a_better_one_is_a_run(full: bool) -> None:
    """Random graphs in random orders: bound <= improved <= makespan, and no run in any order is below the bound."""
    for seed in range(800 if full else 30):
        plan, options = mixed(seed)
        found = estimate(plan, **options, improve=True)
        assert found.improved is not None
        assert found.bound - 1e-9 <= found.improved <= found.makespan, seed
        assert found.improved_starts is not None
        assert set(found.improved_starts) == set(found.starts)
        rng = Random(seed)
        for _ in range(5):
            # The keys are all that makes an order; nodes inside graphs keep theirs.
            plan.shape.key[:] = [(key & ((1 << 32) - 1)) | rng.randrange(1 << 60) << 32 for key in plan.shape.key]
            assert estimate(plan, **options).makespan >= found.bound - 1e-9, seed


# -- a better order


def as_planned(plan_of: Callable[[Mapping[str, int]], Plan], found: Estimate) -> Plan:
    """The plan whose priorities say the better order."""
    assert found.improved_starts is not None
    first = sorted(found.improved_starts, key=lambda name: (found.improved_starts or {})[name])
    return plan_of({name: -position for position, name in enumerate(first)})


def test_a_better_order_can_be_had_by_priorities() -> None:
    """
    What was promised comes true: each node as urgent as its place in the better order. Of 24 graphs, some gain.
    """
    gains = 0
    for dag, optima in list(rgpos())[::8]:
        seconds = seconds_of(dag)
        for slots, least in list(optima.items())[:1]:
            found = build(dag, known=True).plan().estimate(max_concurrent=slots, improve=True)
            if not found.saving:
                continue
            gains += 1

            def planned(urgency: Mapping[str, int], dag: dict[str, Any] = dag) -> Plan:
                graph = Graph(dag["name"])
                for node in dag["nodes"]:
                    graph.add(node["id"], one, depends_on=node["deps"], priority=urgency[node["id"]], runner="loop")
                return graph.plan()

            better = simulate(as_planned(planned, found), durations=seconds, max_concurrent=slots, check=False)
            assert better.makespan == pytest.approx(found.improved)
            assert least <= better.makespan < found.makespan
    assert gains >= 3


def test_nothing_is_looked_for_unless_asked() -> None:
    """And nothing is said about it."""
    found = estimate(fan().plan(), max_concurrent=2)
    assert (found.improved, found.improved_starts, found.saving) == (None, None, None)


def test_a_schedule_at_its_bound_saves_nothing() -> None:
    """It is the better order itself."""
    found = fan().plan().estimate(max_concurrent=2, improve=True)
    assert (found.improved, found.saving, found.improved_starts) == (4.0, 0.0, found.starts)


def test_a_better_order_than_the_longest_first() -> None:
    """
    Two slots. What takes longest first: 3 beside 3, 2 beside 2, and 2 alone: 7 s. But 3 + 3 beside 2 + 2 + 2 are 6 s.
    """
    graph = graph_of(dict.fromkeys("abcde", ""), {"a": 3, "b": 3, "c": 2, "d": 2, "e": 2})
    found = graph.plan().estimate(max_concurrent=2, improve=True)
    assert (found.makespan, found.bound, found.improved, found.saving) == (7.0, 6.0, 6.0, 1.0)


def test_what_a_rate_holds_back_starts_first() -> None:
    """
    One slot; four calls at two in 10 s, and eight nodes that no rate holds back, defined first: 8 + 2 calls, a wait
    until 18 s, and 2 more. The first two calls at once leave 10 s for the others: 12 s.
    """
    rate = Rate(requests=2, per=10.0)
    graph = Graph("calls", limits={"api": rate}, max_concurrent=1)
    for number in range(8):
        graph.add(f"n{number}", one, runner="loop")
    for number in range(4):
        graph.add(f"call {number}", one, uses="api", runner="loop")
    found = graph.plan().estimate(improve=True)
    assert found.makespan > 12.0
    assert (found.bound, found.improved) == (12.0, 12.0)
    again = graph.plan().estimate(improve=True)
    assert again == found  # the rate itself was not used


def test_estimates_of_large_graphs_take_time_in_proportion() -> None:
    """The bound looks at a grid of instants, not at all pairs."""
    from antichain.estimating.bounds import GRID

    dag = max(read("wfcommons"), key=lambda dag: len(dag["nodes"]))
    plan = build(dag, known=True).plan()
    assert len(set(plan.shape.remaining)) > GRID
    gc.collect()
    found = plan.estimate(max_concurrent=8)
    assert max(*plan.shape.remaining, sum(plan.shape.cost) / 8) <= found.bound <= found.makespan
