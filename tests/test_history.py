"""How long nodes took in earlier runs, and plans that know it; see antichain.resuming.history and Plan.with_costs."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from antichain.errors import GraphError, StoreDamaged, StoreError, UnknownRun
from antichain.graph import Graph
from antichain.plan import Plan
from antichain.resuming.changes import describe_wiring
from antichain.resuming.history import MOST_NODES, durations
from antichain.shape import INDEX_MASK
from antichain.stores import Fact, FactKind, Header, Journal, MemoryStore, RunLine
from antichain.stores.codec import encode


def one() -> int:
    return 1


async def take(x: Any) -> Any:
    return x


def took(path: str, seconds: float, reason: str = "output") -> Fact:
    return Fact(FactKind.SUCCEEDED, path, 1, reason, seconds=seconds)


class Runs:
    """A store with runs of one graph, the last of which is the newest."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.store = MemoryStore()
        self.wiring = b"" if plan is None else encode(describe_wiring(plan))
        self.count = 0

    def add(self, *facts: Fact, status: str = "succeeded", wiring: bytes | None = None) -> None:
        self.count += 1
        name = f"run {self.count}"
        header = Header(name, "etl", created_at=self.count, wiring=self.wiring if wiring is None else wiring)
        mine = self.store.open(name, header)
        ended = [Fact(FactKind.ENDED, reason=status)] if status else []
        self.store.append(mine, [*facts, *ended], raise_it)
        self.store.release(mine)

    def durations(self, **how: Any) -> dict[str, float]:
        return durations(self.store, "etl", **how)


def raise_it(error: BaseException | None) -> None:
    if error is not None:
        raise error


# -- from facts


def test_median_of_the_last_runs() -> None:
    """One run that was slow by chance changes nothing, and what was long ago does not count."""
    runs = Runs()
    for seconds in (50.0, 1.0, 9.0, 2.0):
        runs.add(took("a", seconds), took("b", seconds * 10))
    assert runs.durations() == {"a": 2.0, "b": 20.0}
    assert runs.durations(runs=1) == {"a": 2.0, "b": 20.0}
    assert runs.durations(runs=2) == {"a": 5.5, "b": 55.0}
    assert durations(runs.store, "other") == {}


def test_what_is_no_duration_is_left_out() -> None:
    """Fallbacks, given outputs, failures, retries; and of runs that did not come to an end, all."""
    runs = Runs()
    runs.add(
        took("a", 3.0),
        took("b", 0.1, "fallback"),
        took("c", 0.1, "outputs"),
        Fact(FactKind.RETRYING, "d", 1, seconds=8.0),
        Fact(FactKind.FAILED, "e", 1, seconds=8.0),
        Fact(FactKind.SKIPPED, "f"),
        status="failed",
    )
    for status in ("cancelled", "paused", ""):
        runs.add(took("a", 100.0), status=status)
    assert runs.durations() == {"a": 3.0}


def test_node_that_only_some_runs_have() -> None:
    """It is known from those."""
    runs = Runs()
    runs.add(took("a", 1.0))
    runs.add(took("a", 3.0), took("new", 4.0), status="partial")
    assert runs.durations() == {"a": 2.0, "new": 4.0}


def graph_with_all() -> Graph:
    inner = Graph("inner")
    inner.add("first", take)
    inner.add("pages[0]", take, inputs={"x": inner["first"]})
    graph = Graph("etl")
    graph.add("a", one)
    graph.add("odd[1]", one)
    graph.map("pages", take, "a")
    graph.add("outer", inner, inputs={"x": graph["a"]})
    graph.map("each", inner, "a", key=str)
    return graph


def test_instances_count_for_their_map() -> None:
    """By their median; ids are not taken apart, so a node may look like an instance."""
    runs = Runs(graph_with_all().plan())
    runs.add(
        *(took(f"pages[{at}]", seconds) for at, seconds in enumerate((1.0, 2.0, 6.0))),
        took("odd[1]", 7.0),
        took("outer/first", 8.0),
        took("outer/pages[0]", 9.0),
        took("each[x]/first", 1.0),
        took("each[y]]/first", 2.0),
        took("each[]/pages[0]", 5.0),
    )
    assert runs.durations() == {
        "pages": 2.0,
        "odd[1]": 7.0,
        "outer/first": 8.0,
        "outer/pages[0]": 9.0,
        "each/first": 1.5,
        "each/pages[0]": 5.0,
    }


def test_what_bodies_brought_in_is_left_out() -> None:
    """No plan has it."""
    runs = Runs(graph_with_all().plan())
    runs.add(*(took(path, 1.0) for path in ("a/search/search()", "pages[1]/search/f()", "outer/first/f/f()", "gone")))
    assert runs.durations() == {}


def test_without_wiring_paths_are_told_by_their_looks() -> None:
    """A graph that is too large to be described has lists of instances all the same."""
    runs = Runs()
    runs.add(took("m[1]", 1.0), took("m[2]", 3.0), took("m[2]/f/f()", 9.0), took("outer/a", 4.0))
    assert runs.durations() == {"m": 2.0, "outer/a": 4.0}


def test_damaged_runs_are_passed_over() -> None:
    """Whoever resumes one is told; a run that just wants to know what to expect goes on."""
    runs = Runs()
    runs.add(took("a", 5.0))
    runs.add(took("a", 1.0), wiring=b"\xff damaged")
    runs.add(took("a", 1.0), wiring=encode({"graphs": 3}))
    assert runs.durations() == {"a": 5.0}


class Lines:
    """A store that lists runs and cannot read them."""

    def __init__(self, error: Exception, lines: Sequence[RunLine]) -> None:
        self.error = error
        self.lines = lines
        self.reads: list[str] = []

    def runs(self, graph: str | None = None) -> list[RunLine]:
        return list(self.lines)

    def read(self, run_id: str, *, payloads: bool = True) -> Journal:
        self.reads.append(run_id)
        assert not payloads
        raise self.error


def line(run_id: str, succeeded: int = 1) -> RunLine:
    return RunLine(run_id, "etl", "", "succeeded", 0.0, 0.0, succeeded)


@pytest.mark.parametrize("error", [StoreDamaged("damaged"), UnknownRun("removed in the meantime")])
def test_run_that_cannot_be_read(error: Exception) -> None:
    """The next one is looked at."""
    store: Any = Lines(error, [line("x"), line("y")])
    assert durations(store, "etl") == {}
    assert store.reads == ["x", "y"]


def test_store_that_cannot_be_read() -> None:
    """That is told: the run would not be kept either."""
    store: Any = Lines(StoreError("the disk is gone"), [line("x")])
    with pytest.raises(StoreError, match="the disk is gone"):
        durations(store, "etl")


def test_large_and_empty_runs_are_not_read() -> None:
    """What nobody has asked for may not take long."""
    store: Any = Lines(StoreError("read"), [line("large", MOST_NODES + 1), line("empty", 0)])
    assert durations(store, "etl") == {}
    assert store.reads == []


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -1.0])
def test_odd_numbers_are_left_out(seconds: float) -> None:
    """They come out of a store."""
    journal = Journal(Header("x", "etl"), [took("a", 2.0), took("a", seconds), took("b", seconds)], 1)

    class One(Lines):
        def read(self, run_id: str, *, payloads: bool = True) -> Journal:
            return journal

    store: Any = One(StoreError(""), [line("x")])
    assert durations(store, "etl") == {"a": 2.0}


# -- into plans


def first_by(plan: Plan) -> list[str]:
    """The nodes in the order in which they would start, were they all ready."""
    return [plan.ids[key & INDEX_MASK] for key in sorted(plan.shape.key)]


def graph_of(edges: dict[str, str], **policies: dict[str, Any]) -> Graph:
    graph = Graph("etl")
    for name, before in edges.items():
        graph.add(name, one, depends_on=before.split(), **policies.get(name, {}))
    return graph


# quick ── long ── end   and   slow ── end
EDGES = {"quick": "", "slow": "", "long": "quick", "end": "slow long"}


def test_longest_path_by_expected_seconds_starts_first() -> None:
    """Without them, all nodes count the same."""
    plan = graph_of(EDGES).plan()
    assert first_by(plan) == ["quick", "slow", "long", "end"]
    known = plan.with_costs({"slow": 5.0, "quick": 0.5, "long": 0.5, "end": 0.25})
    assert first_by(known) == ["slow", "quick", "long", "end"]
    assert known.shape.remaining == [1.25, 5.25, 0.75, 0.25]
    assert known.critical_path == ("slow", "end")
    assert known.estimate().makespan == 5.25
    assert known.estimate(max_concurrent=1).makespan == 6.25


def test_plan_itself_does_not_change() -> None:
    """Nor what it shares with the other one."""
    plan = graph_of(EDGES, slow={"priority": 3}).plan()
    before = (plan.shape.cost.copy(), plan.shape.remaining.copy(), plan.shape.key.copy(), plan.shape.priority.copy())
    known = plan.with_costs({"slow": 5.0})
    assert (plan.shape.cost, plan.shape.remaining, plan.shape.key, plan.shape.priority) == before
    assert known.shape.priority == before[3]
    assert known.functions is plan.functions
    assert known.run().status == plan.run().status == "succeeded"


def test_what_was_measured_comes_before_what_the_author_expects() -> None:
    """Then cost=; unknown ids are passed over."""
    plan = graph_of(EDGES, slow={"cost": 2.0}, quick={"cost": 4.0}, end={"cost": 0.5}).plan()
    known = plan.with_costs({"slow": 50.0, "long": 3.0, "gone": 9.0, "x/y": 1.0})
    assert known.shape.cost == [4.0, 50.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("known", "filling"),
    [({}, 1.0), ({"n0": 5.0}, 5.0), ({"n0": 5.0, "n1": 7.0}, 7.0), ({f"n{i}": i for i in range(20)}, 17.0)],
)
def test_what_is_unknown_counts_as_long_as_nine_in_ten_take_less(known: dict[str, float], filling: float) -> None:
    """Rather too early than too late, but not by the one that hung. Where nothing is known, hops count."""
    graph = Graph("etl")
    for number in range(30):
        graph.add(f"n{number}", one)
    graph.add("given", one, cost=0.25)
    plan = graph.plan().with_costs(known)
    expected = [float(known.get(f"n{number}", filling)) for number in range(30)]
    assert plan.shape.cost == [*expected, 0.25]


def test_unknown_nodes_inside_graphs_and_maps_count_the_same() -> None:
    """Also where a graph stands twice and nothing of it is known; a cost of its author holds inside too."""
    inner = Graph("inner")
    inner.add("a", take)
    inner.add("b", take, inputs={"x": inner["a"]}, cost=2.0)
    graph = Graph("etl")
    graph.add("known", one)
    graph.add("left", inner, inputs={"x": 1})
    graph.add("right", inner, inputs={"x": 1})
    graph.map("pages", take, [1, 2])
    graph.map("each", inner, [1, 2])
    known = graph.plan().with_costs({"known": 7.0})
    assert known.shape.cost == [7.0, 9.0, 9.0, 7.0, 9.0]
    assert known.arguments[1].subplan is known.arguments[2].subplan
    assert known.arguments[3].map.cost == 7.0
    assert known.arguments[4].map.cost == 9.0


def test_a_graph_that_stands_in_many_places_is_filled_once() -> None:
    """Two to the power of forty places."""
    graph = Graph("0")
    graph.add("leaf", one)
    for depth in range(40):
        outer = Graph(str(depth + 1))
        outer.add("left", graph)
        outer.add("right", graph, depends_on="left")
        graph = outer
    top = Graph("top")
    top.add("known", one)
    top.add("deep", graph)
    assert top.plan().with_costs({"known": 0.5}).shape.cost == [0.5, 2.0**39]


def test_nodes_of_graphs_inside() -> None:
    """Each place of a graph has seconds of its own; a container takes as long as the longest path inside it."""
    inner = Graph("inner")
    inner.add("a", one)
    inner.add("b", one, depends_on="a")
    graph = Graph("etl")
    graph.add("left", inner)
    graph.add("right", inner)
    graph.add("fixed", inner, cost=7.0)
    plan = graph.plan()
    known = plan.with_costs({"left/a": 3.0, "left/b": 4.0, "right/b": 9.0, "fixed/a": 3.0, "left": 99.0})
    assert known.shape.cost == [7.0, 18.0, 12.0]
    assert plan.shape.cost == [2.0, 2.0, 7.0]
    inside = [known.arguments[node].subplan.shape.cost for node in range(3)]
    assert inside == [[3.0, 4.0], [9.0, 9.0], [3.0, 9.0]]
    assert plan.arguments[0].subplan.shape.cost == [1.0, 1.0]
    assert known.estimate().makespan == 18.0
    assert known.run().status == "succeeded"


def test_instances_of_maps() -> None:
    """Each of them is expected to take that long; also the nodes of a graph that runs for each item."""
    inner = Graph("inner")
    inner.add("a", take)
    graph = Graph("etl")
    graph.map("pages", take, [1, 2])
    graph.map("each", inner, [1, 2])
    plan = graph.plan()
    known = plan.with_costs({"pages": 4.0, "each/a": 6.0})
    assert known.arguments[0].map.policies.cost == 4.0
    assert plan.arguments[0].map.policies.cost is None
    assert known.arguments[1].map.binding.subplan.shape.cost == [6.0]
    assert known.shape.cost == [4.0, 6.0]
    assert known.run()["pages"] == [1, 2]


def test_targets_keep_the_costs() -> None:
    """A plan that is narrowed afterwards knows what it knew."""
    plan = graph_of(EDGES).plan().with_costs({"slow": 5.0, "long": 2.0})
    narrow = plan.pruned(["long"])
    assert (narrow.ids, narrow.shape.cost) == (["quick", "long"], [2.0, 2.0])
    assert plan.pruned(["long"]).pruned(None).shape.cost == plan.shape.cost
    with pytest.raises(GraphError, match="gone"):
        plan.pruned(["gone"])


@pytest.mark.parametrize("given", [-1.0, math.nan, "1", None, True])
def test_what_is_no_number_of_seconds_is_refused(given: Any) -> None:
    """By name."""
    with pytest.raises(GraphError) as caught:
        graph_of(EDGES).plan().with_costs({"slow": given, "long": 1.0})
    assert [fault.node for fault in caught.value.faults] == ["slow"]
    assert str(caught.value) == (
        f"[bad-policy] durations has {given!r} for 'slow': give seconds as a number, not below 0."
    )


def test_graphs_inside_graphs_may_be_deep() -> None:
    """They are gone through without recursion."""
    graph = Graph("0")
    graph.add("leaf", one)
    for depth in range(1100):
        outer = Graph(str(depth + 1))
        outer.add("n", graph)
        graph = outer
    known = graph.plan().with_costs({"n/" * 1100 + "leaf": 2.5})
    assert known.shape.remaining == [2.5]


def test_a_run_is_expected_as_the_last_ones_were() -> None:
    """From facts to an order: the two halves fit."""
    graph = graph_with_all()
    runs = Runs(graph.plan())
    runs.add(took("a", 1.0), took("pages[0]", 2.0), took("outer/first", 4.0), took("each[1]/first", 8.0))
    plan = graph.plan().with_costs(runs.durations())
    cost = dict(zip(plan.ids, plan.shape.cost, strict=True))
    assert cost == {"a": 1.0, "odd[1]": 8.0, "pages": 2.0, "outer": 12.0, "each": 16.0}
