"""Fingerprints of nodes: what makes a node another one and what does not; see antichain.resuming.fingerprints."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antichain.binding import Prepared
from antichain.context import Context
from antichain.graph import Graph, value
from antichain.policies import Retry
from antichain.resuming.fingerprints import (
    fingerprint,
    fingerprints,
    inside_fingerprint,
    instance_fingerprint,
    read_fingerprint,
)
from antichain.resuming.wired import wired

SOURCE = Path(__file__).resolve().parent.parent / "src"


def one() -> int:
    return 1


def two() -> int:
    return 2


async def take(x: Any) -> Any:
    return x


async def take_with(x: Any, more: Any = None) -> Any:
    return x, more


def of(graph: Graph, name: str = "n") -> str:
    plan = graph.plan()
    return fingerprint(plan, plan.index[name])


def with_node(runnable: Any, **how: Any) -> Graph:
    """A graph of two sources and, behind them, the node "n"."""
    graph = Graph("g")
    graph.add("a", one)
    graph.add("b", one)
    how = {name: given(graph) if callable(given) and name == "inputs" else given for name, given in how.items()}
    graph.add("n", runnable, **how)
    return graph


def behind(before: Callable[[Graph], Any], last: Callable[[Graph], Any] | None = None) -> Graph:
    """A graph of two sources, "n0" and, behind that, "n"."""
    graph = Graph("g")
    graph.add("a", lambda: [1])
    graph.add("b", lambda: [1])
    before(graph)
    (last or (lambda g: g.add("n", take, inputs={"x": g["n0"]})))(graph)
    return graph


def mapped(runnable: Any, over: Any, **how: Any) -> Graph:
    graph = Graph("g")
    graph.add("a", lambda: [1])
    graph.add("b", lambda: [1])
    graph.map("n", runnable, over, **how)
    return graph


def inner(*ids: str, version: str = "") -> Graph:
    graph = Graph("inner")
    graph.add("first", take, inputs={}, version=version)
    for name in ids:
        graph.add(name, take, inputs={"x": graph["first"]})
    return graph


class Model:
    def invoke(self, given: Any) -> Any:
        return given


class OtherModel(Model):
    async def ainvoke(self, given: Any) -> Any:
        return given


def renamed(x: Any) -> Any:
    return [x]


def with_context(ctx: Context, x: Any) -> Any:
    return ctx, x


# Each the same as the first of its line.
SAME: dict[str, list[Callable[[], Graph]]] = {
    "what the function does, its name, where it runs, its Context": [
        lambda: with_node(take, inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(renamed, inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(lambda x: None, inputs=lambda g: {"x": g["a"]}, runner="loop"),
        lambda: with_node(lambda x: None, inputs=lambda g: {"x": g["a"]}, runner="thread"),
        lambda: with_node(with_context, inputs=lambda g: {"x": g["a"]}),
    ],
    "policies that say how often, when and for how much": [
        lambda: with_node(take, inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(
            take,
            inputs=lambda g: {"x": g["a"]},
            retry=Retry(attempts=5),
            timeout=3,
            priority=4,
            cost=2,
            fallback=None,
            uses="thread",
            repeat="safe",
            persist=False,
        ),
    ],
    "spelling": [
        lambda: with_node(lambda a, b: None, depends_on=["a", "b"]),
        lambda: with_node(lambda b, a: None, depends_on=["b", "a"]),
        lambda: with_node(lambda a, b: None),
        lambda: with_node(lambda **rest: None, depends_on=["a", "b"]),
        lambda: with_node(lambda a, *, b: None),
        lambda: with_node(lambda b, a: None, inputs=lambda g: {"b": g["b"], "a": g["a"]}),
    ],
    "order of keys in literals and in dicts of nodes": [
        lambda: with_node(take_with, inputs=lambda g: {"x": {"p": g["a"], "q": g["b"]}, "more": {"r": 1, "s": [2]}}),
        lambda: with_node(take_with, inputs=lambda g: {"more": {"s": [2], "r": 1}, "x": {"q": g["b"], "p": g["a"]}}),
    ],
    "what a condition does": [
        lambda: with_node(one, depends_on="a", when=lambda a: a),
        lambda: with_node(one, depends_on="a", when=lambda a: not a),
    ],
    "foreign objects": [
        lambda: with_node(Model(), inputs=lambda g: g["a"]),
        lambda: with_node(OtherModel(), inputs=lambda g: g["a"]),
        lambda: with_node(Model(), inputs=lambda g: g["a"], runner="loop"),
    ],
    "values that no store takes, by their type": [
        lambda: with_node(take, inputs={"x": object()}),
        lambda: with_node(take, inputs={"x": object()}),
    ],
    "how many instances at once, and what a key does": [
        lambda: mapped(take, "a", key=str),
        lambda: mapped(take, "a", key=repr, max_concurrent=2, window=5, retry=2),
    ],
    "what nodes upstream are like that keep their outputs": [
        lambda: behind(lambda g: g.add("n0", take, inputs={"x": g["a"]})),
        lambda: behind(lambda g: g.add("n0", one, version="2", when=lambda: True)),
    ],
    "whether items are waited for": [
        lambda: behind(lambda g: g.map("n0", take, "b"), lambda g: g.map("n", take, "n0")),
        lambda: behind(lambda g: g.map("n0", take, "b"), lambda g: g.map("n", take, "n0", depends_on="n0")),
    ],
    "how the nodes inside are tried": [
        lambda: with_node(inner("p"), inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner("p"), inputs=lambda g: {"x": g["a"]}, timeout=5, retry=2),
    ],
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_count(what: str) -> None:
    """None of it makes another node of a node."""
    assert {of(make()) for make in SAME[what]} == {of(SAME[what][0]())}


# Each other than all others of its line.
DIFFERENT: dict[str, list[Callable[[], Graph]]] = {
    "sources": [
        lambda: with_node(take),
        lambda: with_node(take, inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(take, inputs=lambda g: {"x": g["b"]}),
        lambda: with_node(take, inputs=lambda g: {"x": g["a"].path(0)}),
        lambda: with_node(take, inputs=lambda g: {"x": g["a"].path("0")}),
        lambda: with_node(take, inputs=lambda g: {"x": g["a"].path(0, 1)}),
        lambda: with_node(take, inputs=lambda g: {"x": [g["a"]]}),
        lambda: with_node(take, inputs=lambda g: {"x": (g["a"],)}),
        lambda: with_node(take, inputs=lambda g: {"x": [g["a"], g["b"]]}),
        lambda: with_node(take, inputs=lambda g: {"x": [g["b"], g["a"]]}),
        lambda: with_node(take, inputs=lambda g: {"x": {"k": g["a"]}}),
        lambda: with_node(take, inputs=lambda g: {"x": {"l": g["a"]}}),
        lambda: with_node(take, inputs=lambda g: {"x": value("a")}),
        lambda: with_node(take, inputs={"x": "text"}),
        lambda: with_node(take, inputs={"x": 1}),
        lambda: with_node(take, inputs={"x": "1"}),
        lambda: with_node(take, inputs={"x": [1]}),
        lambda: with_node(take, inputs={"x": object()}),
        lambda: with_node(take, inputs={"x": Model()}),
        lambda: with_node(lambda y: y),
        lambda: with_node(one),
        lambda: with_node(one, depends_on="a"),
        lambda: with_node(one, depends_on="b"),
        lambda: with_node(one, depends_on=["a", "b"]),
    ],
    "policies that say when it starts, and versions": [
        lambda: with_node(one, depends_on=["a", "b"]),
        lambda: with_node(one, depends_on=["a", "b"], join="any"),
        lambda: with_node(one, depends_on=["a", "b"], join="all_done"),
        lambda: with_node(one, depends_on=["a", "b"], when=lambda: True),
        lambda: with_node(one, depends_on=["a", "b"], version="1"),
        lambda: with_node(one, depends_on=["a", "b"], version="2"),
        lambda: with_node(one, depends_on=["a", "b"], version="x" * 100),
        lambda: with_node(one, depends_on=["a", "b"], version="x" * 101),
    ],
    "crossed arguments": [
        lambda: with_node(take_with, inputs=lambda g: {"x": g["a"], "more": g["b"]}),
        lambda: with_node(take_with, inputs=lambda g: {"x": g["b"], "more": g["a"]}),
    ],
    "kinds": [
        lambda: with_node(take, inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner(), inputs=lambda g: {"x": g["a"]}),
        lambda: mapped(take, "a"),
        lambda: mapped(take, "a", key=str),
        lambda: mapped(take, "b"),
        lambda: mapped(take, "items"),
        lambda: mapped(take, [1, 2]),
        lambda: mapped(take, [2, 1]),
        lambda: mapped(take, "a", outcomes=True),
        lambda: mapped(take, "a", depends_on="b"),
        lambda: mapped(take_with, "a", inputs={"more": 1}),
        lambda: mapped(take_with, "a", inputs={"more": 2}),
        lambda: mapped(inner(), "a"),
        lambda: mapped(inner("p"), "a"),
    ],
    "nested graphs": [
        lambda: with_node(inner(), inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner("p"), inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner("q"), inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner("p", version="1"), inputs=lambda g: {"x": g["a"]}),
        lambda: with_node(inner("p"), inputs=lambda g: {"x": g["b"]}),
        lambda: with_node(inner("p"), inputs=lambda g: {"x": g["a"]}, depends_on=["a", "b"]),
    ],
    "containers upstream": [
        lambda: behind(lambda g: g.add("n0", inner(), inputs={"x": g["a"]})),
        lambda: behind(lambda g: g.add("n0", inner("p"), inputs={"x": g["a"]})),
        lambda: behind(lambda g: g.add("n0", inner("p"), inputs={"x": g["a"]}, version="2")),
        lambda: behind(lambda g: g.map("n0", take, "a")),
        lambda: behind(lambda g: g.map("n0", take, "b")),
        lambda: behind(lambda g: g.map("n0", take, "b", version="2")),
        lambda: behind(lambda g: g.add("n0", take, inputs={"x": 1})),
    ],
    "containers upstream, of containers": [
        lambda: behind(lambda g: g.map("n0", take, "a"), lambda g: g.map("n", take, "n0")),
        lambda: behind(lambda g: g.map("n0", take, "b"), lambda g: g.map("n", take, "n0")),
        lambda: behind(lambda g: g.map("n0", take, "a"), lambda g: g.add("n", inner(), inputs={"x": g["n0"]})),
        lambda: behind(lambda g: g.map("n0", take, "b"), lambda g: g.add("n", inner(), inputs={"x": g["n0"]})),
    ],
    "arguments that a function makes": [
        lambda: with_node(take, inputs=Prepared(lambda done: {"x": 1}), depends_on="a"),
        lambda: with_node(take, inputs=Prepared(lambda done: {"x": 1}), depends_on="b"),
        lambda: with_node(take, inputs={"x": 1}, depends_on="a"),
    ],
    "resources and run inputs": [
        lambda: with_node(lambda pool: pool),
        lambda: with_resource(lambda pool: pool),
        lambda: with_node(Model()),
        lambda: with_node(Model(), inputs={}),
    ],
}
# An object with invoke takes all run inputs, also where no source is named in inputs=.
DIFFERENT["resources and run inputs"].pop()


def with_resource(runnable: Any) -> Graph:
    graph = Graph("g")
    graph.add("a", one)
    graph.add("b", one)

    @graph.resource
    def pool() -> Iterator[int]:
        yield 1

    graph.add("n", runnable)
    return graph


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_counts(what: str) -> None:
    """Each of it makes another node of a node."""
    found = [of(make()) for make in DIFFERENT[what]]
    twice = {text for text in found if found.count(text) > 1}
    assert [index for index, text in enumerate(found) if text in twice] == []


def test_plain_and_full_binding_come_to_the_same() -> None:
    """Most functions are bound in a quick way; a fallback, which does not count, makes the node go the other way."""
    functions: list[Any] = [
        lambda a, b: None,
        lambda b, a=1: None,
        lambda q, a: None,
        lambda q=3: None,
        one,
        Model().invoke,
        dict,
    ]
    for function in functions:
        how: dict[str, Any] = {"inputs": {"given": 1}} if function == Model().invoke else {}
        quick, full = with_node(function, runner="loop", **how), with_node(function, runner="loop", fallback=0, **how)
        assert of(quick) == of(full)


def test_unrelated_nodes_and_their_order_do_not_count() -> None:
    """Ids count, positions do not; nor do targets."""
    ids = [f"node {number}" for number in range(30)]
    upstream = {name: random.Random(name).sample(ids[:at], min(at, 3)) for at, name in enumerate(ids)}

    def build(order: list[str], *extra: str) -> dict[str, str]:
        graph = Graph("g")
        for name in [*extra, *order]:
            graph.add(name, lambda **given: given, depends_on=upstream.get(name, ()), version="1")
        plan = graph.plan()
        return dict(zip(plan.ids, fingerprints(plan), strict=True))

    first = build(ids)
    shuffled = random.Random(1).sample(ids, len(ids))
    second = build(shuffled, "new one", "new two")
    assert {name: second[name] for name in ids} == first
    assert len(set(first.values())) == len({frozenset(before) for before in upstream.values()})


def test_targets_do_not_count() -> None:
    """A node in a plan of what some targets need is the node that it is in the whole plan."""
    graph = with_node(lambda a: None)
    assert fingerprints(graph.plan(["n"])) == [of(graph, "a"), of(graph, "n")]


def test_the_same_in_every_process() -> None:
    """Whatever the hash seed."""
    code = """
from tests.test_fingerprints import *
for what in sorted(DIFFERENT):
    print(*(of(make()) for make in DIFFERENT[what]))
"""
    found = set()
    for seed in ("0", "1"):
        variables = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{SOURCE}{os.pathsep}{SOURCE.parent}"}
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    here = "".join(" ".join(of(make()) for make in DIFFERENT[what]) + "\n" for what in sorted(DIFFERENT))
    assert found == {here}


def test_fingerprints_are_what_earlier_releases_wrote() -> None:
    """They are in files of users: if this test fails, every run that was stored before is refused."""
    graph = with_node(take_with, inputs=lambda g: {"x": [g["a"].path("title", 0)], "more": {"k": [1, None, "é"]}})
    graph.map("m", take, "a", key=str, version="7")
    graph.add("outer", inner("p"), inputs={"x": graph["n"]})
    plan = graph.plan()
    container = fingerprints(plan)[plan.index["outer"]]
    inside = fingerprints(plan.arguments[plan.index["outer"]].subplan, container)
    instance = instance_fingerprint(fingerprints(plan)[plan.index["m"]], "item")
    assert [*fingerprints(plan), *inside, instance, inside_fingerprint(instance, {"q": 1})] == GOLDEN


GOLDEN = [
    "2a8e4d4df90f:",
    "2a8e4d4df90f:",
    "8e692dfba79b:",
    "a08dd1370870-a455c163179a:7",
    "edaac8c43d75-09882f2001ca:",
    "8476f0891f17.78c4794d7173:",
    "07dcc90224d3.78c4794d7173:",
    "a08dd1370870.db84e14ff194.302d10159a24:7",
    "9b0a7318cb12.db84e14ff194.273990ea1d69:7",
]


def test_fingerprint_can_be_parted() -> None:
    """A version may hold what parts a fingerprint; any text can be read."""
    text = of(with_node(one, version="a:b.c-d"))
    found = read_fingerprint(text)
    assert (found.scope, found.made_for, found.version) == ("", "", "a:b.c-d")
    assert str(found) == text
    assert len(found.wiring) == 12
    for odd in ("", ":", ".", "..:", "\0", "x" * 1000):
        read_fingerprint(odd)


def test_long_and_odd_versions_are_bounded() -> None:
    """A version is written with every fact of its node, so it is cut, and encoded as any store can."""
    assert len(of(with_node(one, version="v" * 10_000))) < 80
    of(with_node(one, version="\ud800")).encode()


# -- what comes while a run goes on


def test_instance_is_what_its_item_is() -> None:
    """What the map runs over, and what becomes of the outputs, is no matter of an instance; its item is."""

    def instance(graph: Graph, item: Any) -> str:
        return instance_fingerprint(of(graph), item)

    first = instance(mapped(take, "a", key=str), {"id": 1, "text": "x"})
    assert instance(mapped(take, "b", key=str, outcomes=True), {"text": "x", "id": 1}) == first
    others = [
        instance(mapped(take, "a", key=str), {"id": 1, "text": "y"}),
        instance(mapped(take, "a"), {"id": 1, "text": "x"}),
        instance(mapped(take, "a", key=str, version="2"), {"id": 1, "text": "x"}),
        instance(mapped(take_with, "a", key=str, inputs={"more": 1}), {"id": 1, "text": "x"}),
        instance(mapped(take, "a", key=str), object()),
        instance(mapped(take, "a", key=str), Model()),
    ]
    assert len({first, *others}) == 7
    assert instance(mapped(take, "a"), object()) == instance(mapped(take, "a"), object())


def test_inside_a_graph_only_what_it_is_given_counts() -> None:
    """Other nodes inside it do not make another one of a node, nor does what the container only waits for."""

    def first(graph: Graph) -> str:
        plan = graph.plan()
        node = plan.index["n"]
        return fingerprints(plan.arguments[node].subplan, fingerprint(plan, node))[0]

    same = [
        first(with_node(inner(), inputs=lambda g: {"x": g["a"]})),
        first(with_node(inner("p"), inputs=lambda g: {"x": g["a"]})),
        first(with_node(inner("p"), inputs=lambda g: {"x": g["a"]}, depends_on=["a", "b"], when=lambda: True)),
    ]
    assert len(set(same)) == 1
    others = [
        first(with_node(inner(), inputs=lambda g: {"x": g["b"]})),
        first(with_node(inner(), inputs=lambda g: {"x": g["a"]}, version="2")),
        first(with_node(inner(version="2"), inputs=lambda g: {"x": g["a"]})),
    ]
    assert len({same[0], *others}) == 4


def test_graphs_in_graphs_hand_on_what_they_are_given() -> None:
    """What the outermost container is given counts for the innermost node, and for nothing beside."""

    def innermost(source: str) -> str:
        middle = Graph("middle")
        middle.add("deep", inner("p"))
        graph = with_node(middle, inputs=lambda g: {"x": g[source]})
        plan = graph.plan()
        node = plan.index["n"]
        below = plan.arguments[node].subplan
        container = fingerprint(below, 0, fingerprint(plan, node))
        return fingerprint(below.arguments[0].subplan, 0, container)

    assert innermost("a") == innermost("a") != innermost("b")


def test_graph_per_item() -> None:
    """A node of a graph that a map runs for each item depends on the item, not on the other nodes."""

    def node(graph: Graph, item: Any) -> tuple[str, str]:
        plan = graph.plan()
        map_node = plan.index["n"]
        instance = instance_fingerprint(fingerprint(plan, map_node), item)
        return instance, fingerprints(plan.arguments[map_node].map.binding.subplan, instance)[0]

    small, large = node(mapped(inner(), "a"), 1), node(mapped(inner("p"), "b"), 1)
    assert small[0] != large[0]
    assert small[1] == large[1]
    assert node(mapped(inner(), "a"), 2)[1] != small[1]


def test_what_a_body_runs_is_what_it_is_given() -> None:
    """Its inputs by name, the graph, and the node whose body it is."""
    base = of(with_node(one))
    plan, other = inner().plan(), inner("p").plan()
    found = [
        inside_fingerprint(base, {}),
        inside_fingerprint(base, {"q": 1}),
        inside_fingerprint(base, {"q": 2}),
        inside_fingerprint(base, {"r": 1}),
        inside_fingerprint(base, {"q": object()}),
        inside_fingerprint(base, {"q": 1}, plan),
        inside_fingerprint(base, {"q": 1}, other),
        inside_fingerprint(of(with_node(one, depends_on="a")), {"q": 1}),
        inside_fingerprint(of(with_node(one, version="2")), {"q": 1}),
        inside_fingerprint(instance_fingerprint(base, 1), {"q": 1}),
        inside_fingerprint(instance_fingerprint(base, 2), {"q": 1}),
        inside_fingerprint(inside_fingerprint(base, {}), {"q": 1}),
    ]
    assert len(set(found)) == len(found)
    assert inside_fingerprint(base, {"q": {"a": 1, "b": 2}}) == inside_fingerprint(base, {"q": {"b": 2, "a": 1}})
    # An edit of the graph makes it another one, but not the nodes in it that are as they were.
    assert fingerprints(plan, found[5]) == fingerprints(other, found[6])[:1]


# -- what it costs, and how large graphs may be


def test_nesting_may_be_deep() -> None:
    """Graphs in graphs are read from the inside, without recursion."""
    graph = inner()
    for depth in range(1100):
        outer = Graph(str(depth))
        outer.add("inner", graph)
        graph = outer
    assert len(fingerprints(graph.plan())) == 1


def test_asked_only_once() -> None:
    """A plan does not change: what has been read is kept."""
    plan = with_node(take).plan()
    assert plan._wired is None
    assert wired(plan) is wired(plan)
