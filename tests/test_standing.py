"""
What nodes wait for at one instant, as `core.standing` reads it from a run: who is named, how limits stand, and that
looking changes nothing.
"""

import random
from collections.abc import Mapping
from typing import Any

from antichain import Adaptive, Graph, Limit, Rate
from antichain.core.scheduler import Scheduler
from antichain.core.standing import Capacity, lines, open_capacities, running


async def body() -> None: ...


def begun(uses: list[Any], limits: Mapping[str, Any], **options: Any) -> Scheduler:
    """A run of nodes without edges that use these; node 0 is the first."""
    graph = Graph("flat", limits=limits)
    for number, used in enumerate(uses):
        graph.add(f"n{number}", body, uses=used)
    core = Scheduler(graph.plan().shape, limits=limits, **options)
    core.start(0.0)
    return core


def take_all(core: Scheduler, now: float = 0.0) -> list[int]:
    taken = []
    while (node := core.take(now)) >= 0:
        taken.append(node)
    return taken


def test_who_waits_is_listed_in_the_order_in_which_they_start() -> None:
    """Those that were ready at once, and those that became so later, of several limits and priorities."""
    rng = random.Random(7)
    graph = Graph("mixed", limits={"llm": 1})
    for number in range(60):
        before = [] if number < 30 else [f"n{number - 30}"]
        graph.add(f"n{number}", body, uses="llm", priority=rng.randrange(3), depends_on=before)
    core = Scheduler(graph.plan().shape, limits={"llm": 1})
    core.start(0.0)
    started, listings = [], []
    while (node := core.take(0.0)) >= 0:
        started.append(node)
        listings += [list(line.first) for line in lines(core, 100)]
        core.ended(node, 1, 0.0)
    assert max(map(len, listings)) >= 29
    for listed in listings:
        assert [node for node in started if node in set(listed)] == listed


def test_the_longest_line_comes_first_and_each_names_its_share() -> None:
    core = begun(["db"] * 3 + ["llm"] * 6, {"db": 1, "llm": 1})
    assert take_all(core) == [0, 3]
    first, second = lines(core, 4)
    assert (first.uses, first.number, list(first.first)) == ((("llm", 1),), 5, [4, 5])
    assert (second.uses, second.number, list(second.first)) == ((("db", 1),), 2, [1, 2])
    assert len(lines(core, 1)) == 1
    # Nobody waits any more, of whom something may be left in a line.
    core.cancel(1.0)
    assert lines(core, 4) == []


def test_lines_of_a_rate_are_in_the_order_of_arrival() -> None:
    core = begun(["api"] * 4, {"api": Rate(requests=1, per=10)})
    assert take_all(core) == [0]
    (line,) = lines(core, 2)
    assert (line.uses, line.number, list(line.first)) == ((("api", 1),), 3, [1, 2])
    assert take_all(core) == []
    assert take_all(core, 10.0) == [1]


def test_who_runs_is_named_in_definition_order_and_counted() -> None:
    core = begun(["db"] * 5, {"db": 4})
    take_all(core)
    assert running(core, 9) == (4, [0, 1, 2, 3])
    assert running(core, 2) == (4, [0, 1])
    core.ended(1, 1, 1.0)
    assert running(core, 9) == (3, [0, 2, 3])


def test_a_graph_inside_and_a_body_that_waits_to_go_on_do_not_run() -> None:
    inner = Graph("inner")
    inner.add("x", body)
    graph = Graph("outer", limits={"db": 1})
    graph.add("holds", body, uses="db")
    graph.add("inside", inner)
    graph.add("next", body, uses="db")
    core = Scheduler(graph.plan().shape, limits={"db": 1})
    core.start(0.0)
    taken = take_all(core)
    assert running(core, 9)[1] == [node for node in taken if node != 1]
    core.lend(0, 1)
    assert take_all(core) == [2]
    core.reclaim(0, 1)
    count, nodes = running(core, 9)
    assert (count, 0 in nodes, 2 in nodes) == (len(nodes), False, True)
    # It is the first of those who want a slot of that limit.
    assert [(line.number, list(line.first)) for line in lines(core, 9)] == [(1, [0])]


def test_how_each_kind_of_limit_stands() -> None:
    """Of those that are shared, what other runs hold counts too."""
    shared, adaptive = Limit(5), Adaptive(initial=2)
    shared.acquire(3)
    limits = {"db": 2, "shared": shared, "ad": adaptive, "api": Rate(requests=3, tokens=100, per=20)}
    uses = ["db", "shared", "ad", {"api": {"requests": 2, "tokens": 40}}, {"api": {"requests": 2, "tokens": 1}}]
    core = begun(uses, limits, max_concurrent=9)
    assert take_all(core) == [0, 1, 2, 3]
    assert core.free == 5
    found = {each.name: each for each in open_capacities(core, ["db", "shared", "ad", "api", "unknown"], 5.0)}
    api = found.pop("api")
    assert found == {
        "": Capacity("", "limit", 4, 9),
        "db": Capacity("db", "limit", 1, 2),
        "shared": Capacity("shared", "limit", 4, 5),
        "ad": Capacity("ad", "adaptive", 1, 2),
    }
    assert (api.kind, api.used, api.size, api.paused_until, api.opens_at, api.per) == (
        "rate",
        None,
        None,
        None,
        20.0,
        20,
    )
    assert sorted(api.units) == [("requests", 2, 3), ("tokens", 40, 100)]


def test_a_pause_is_told_by_the_instant_at_which_it_ends() -> None:
    adaptive = Adaptive(initial=2)
    core = begun(["ad"] * 3, {"ad": adaptive})
    assert take_all(core) == [0, 1]
    core.overloaded(0, 1, 7.0, 1.0)
    (found,) = open_capacities(core, ["ad"], 3.0)
    assert found == Capacity("ad", "adaptive", 2, adaptive.size, 8.0)
    (found,) = open_capacities(core, ["ad"], 9.0)
    assert found.paused_until is None


def test_without_a_bound_on_all_none_is_told() -> None:
    core = begun(["db"], {"db": 2})
    assert [each.name for each in open_capacities(core, ["db"], 0.0)] == ["db"]
    assert open_capacities(core, [], 0.0) == []
