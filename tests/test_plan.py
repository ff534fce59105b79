"""Graph → Plan: what is checked, what is indexed, and what a plan says about its graph; see antichain.plan."""

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antichain.binding import SlotSource
from antichain.errors import Fault, GraphError
from antichain.graph import Graph, value
from antichain.limit import Limit
from antichain.plan import Plan, check_inputs, prepare, prepare_batch, prepare_plan
from antichain.policies import Join, Policies, Retry, Timeout
from antichain.runnable import CallKind
from antichain.shape import INDEX_MASK, Flag, order_key, shape_of, width_of

SOURCE = Path(__file__).resolve().parent.parent / "src"


def source() -> int:
    return 1


def graph_of(edges: dict[str, str], **options: Any) -> Graph:
    """graph_of({"a": "", "b": "a"}): node b waits for node a."""
    graph = Graph("g", **options)
    for name, before in edges.items():
        graph.add(name, source, depends_on=before.split())
    return graph


def faults(graph: Graph) -> list[Fault]:
    with pytest.raises(GraphError) as caught:
        graph.plan()
    return list(caught.value.faults)


def codes(graph: Graph) -> list[str]:
    return [fault.code for fault in faults(graph)]


# -- all faults at once


def test_everything_that_is_wrong_is_reported_together() -> None:
    """One error holds every kind of fault, each naming a node that is at fault."""

    async def condition() -> bool:
        return True

    graph = Graph("bad", limits={"zero": 0, "small": 1})
    graph.add("dup", source)
    graph.add("dup", source)
    graph.add("self", source, depends_on=["self"])
    graph.add("unknown", source, depends_on=["nobody"])
    graph.add("one", source, depends_on=["two"])
    graph.add("two", source, depends_on=["one"])
    graph.add("unbound", lambda dup: dup, depends_on=[])
    graph.add("limit", source, uses="nowhere")
    graph.add("heavy", source, uses={"small": 2})
    graph.add("missing", lambda dup, one: dup, join="any")
    graph.add("text", lambda x: x, inputs={"x": "dup"})
    graph.add("policy", source, retry=0)
    graph.add("object", 3)
    graph.add("when", source, when=condition)
    graph.add("options", Graph("inner", max_concurrent=3))
    graph.map("map", source, over=3)
    graph.map("map2", lambda x: x, over=[1])
    graph.add("map2[0]", source)
    found = {(fault.code, fault.node) for fault in faults(graph)}
    assert found == {
        ("duplicate-id", "dup"),
        ("self-dependency", "self"),
        ("unknown-upstream", "unknown"),
        ("cycle", "one"),
        ("unbound-parameter", "unbound"),
        ("unknown-limit", "limit"),
        ("weight-above-limit", "heavy"),
        ("bad-limit", None),
        ("may-be-missing", "missing"),
        ("literal-is-node", "text"),
        ("bad-policy", "policy"),
        ("not-runnable", "object"),
        ("bad-when", "when"),
        ("nested-options", "options"),
        ("bad-map", "map"),
        ("id-collision", "map2[0]"),
    }


def test_every_message_is_one_clear_paragraph() -> None:
    """What, which, why, what to do: each fault is a sentence that ends."""
    graph = graph_of({"a": "b", "b": "a", "c": "zzz"})
    for fault in faults(graph):
        assert fault.message.endswith((".", "?"))
        assert "\n" not in fault.message
        assert all(repr(name) in fault.message for name in fault.nodes)


def test_many_faults_do_not_take_forever() -> None:
    """Suggesting names for every fault of a large broken graph is bounded."""
    graph = Graph()
    for i in range(3000):
        graph.add(f"node number {i}", source, depends_on=[f"node nmber {i}"])
    assert len(faults(graph)) == 3000


# -- cycles


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": "b", "b": "a"}, [{"a", "b"}]),
        ({"a": "c", "b": "a", "c": "b"}, [{"a", "b", "c"}]),
        # in ── a ⇄ b ── out: what leads in and what follows is not at fault.
        ({"in": "", "a": "in b", "b": "a", "out": "b"}, [{"a", "b"}]),
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, [{"a", "b"}, {"c", "d"}]),
        # a chord makes a shorter way round
        ({"a": "d", "b": "a", "c": "b", "d": "c a"}, [{"a", "d"}]),
    ],
)
def test_cycle_is_shown_as_a_short_path(edges: dict[str, str], expected: list[set[str]]) -> None:
    """Only nodes on the cycle are named; separate cycles are separate faults."""
    found = [fault for fault in faults(graph_of(edges)) if fault.code == "cycle"]
    assert [set(fault.nodes) for fault in found] == expected
    for fault in found:
        first = repr(fault.nodes[0])
        assert fault.message.count(first) == 2


def test_path_of_a_cycle_follows_the_edges() -> None:
    """Each node of the path waits for the one before it."""
    edges = {"a": "e", "b": "a", "c": "b", "d": "c", "e": "d"}
    (fault,) = faults(graph_of(edges))
    around = [*fault.nodes, fault.nodes[0]]
    assert all(before in edges[after].split() for before, after in itertools.pairwise(around))


def test_long_cycle_is_cut_in_the_message() -> None:
    """Twenty names are enough to find it."""
    graph = Graph()
    for i in range(100):
        graph.add(f"n{i}", source, depends_on=[f"n{(i - 1) % 100}"])
    (fault,) = faults(graph)
    assert len(fault.nodes) == 100
    assert fault.message.count("→") == 20
    assert "(100 nodes)" in fault.message


# -- size


@pytest.mark.parametrize("shape", ["chain", "wide", "reversed"])
def test_large_graphs_are_planned_without_recursion(shape: str) -> None:
    """A chain of 50,000 nodes, in any order of definition, is as good as any graph."""
    count = 50_000
    graph = Graph()
    ids = range(count) if shape != "reversed" else range(count - 1, -1, -1)
    for i in ids:
        graph.add(f"n{i}", source, depends_on=[f"n{i - 1}"] if i and shape != "wide" else [])
    plan = graph.plan()
    assert plan.depth == (1 if shape == "wide" else count)
    assert plan.width == (count if shape == "wide" else 1)
    assert len(plan.critical_path) == plan.depth


# -- a plan is frozen


def test_later_changes_of_the_graph_do_not_touch_a_plan() -> None:
    """A plan is what the graph was; the next plan is what it is."""
    graph = graph_of({"a": ""}, limits={"llm": 2})
    before = graph.plan()
    graph.add("b", lambda q: q)
    graph.limits["llm"] = 7
    after = graph.plan()
    assert (before.ids, len(before), before.limits) == (["a"], 1, {"llm": 2})
    assert (after.ids, after.limits) == (["a", "b"], {"llm": 7})
    assert before.known == {"a": 0}


def test_values_of_runs_do_not_mix() -> None:
    """Each run fills a list of its own."""
    graph = Graph()
    graph.add("a", lambda q: q)
    plan = graph.plan()
    one, other = plan.fill({"q": 1}), plan.fill({"q": 2})
    one[0] = "output"
    assert other[0] is not one[0]
    assert one[1:] == [1]
    assert other[1:] == [2]


def test_plan_is_the_same_under_any_hash_seed() -> None:
    """Order never comes from a set."""
    script = (
        "from antichain.graph import Graph\n"
        "g = Graph()\n"
        "for n in 'hgfedcba': g.add(n, lambda q, r=1: 1, depends_on=list('hgfedcba')[:'hgfedcba'.index(n)], uses={})\n"
        "p = g.plan()\n"
        "print(p.ids, p.shape, p.inputs, p.input_slots, p.critical_path)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


# -- targets and outputs


def diamond() -> Graph:
    """
    a ── b ── d ── e
    └─── c ───┘
    f
    """
    graph = Graph("diamond")
    graph.add("a", lambda q: q)
    graph.add("b", lambda a: a)
    graph.add("c", lambda a, r: a)
    graph.add("d", lambda b, c: b)
    graph.add("e", lambda d: d)
    graph.add("f", lambda s: s)
    return graph


def test_targets_keep_what_they_need_in_definition_order() -> None:
    """The rest is not in the plan, its inputs are not required, but not refused either."""
    plan = diamond().plan(targets=["c"])
    assert plan.ids == ["a", "c"]
    assert plan.targets == ("c",)
    assert plan.shape.upstream == [(), (0,)]
    assert plan.inputs == {"q": ("a",), "r": ("c",)}
    assert check_inputs(plan, {"q": 1, "r": 2, "s": 3}) == []
    assert [fault.code for fault in check_inputs(plan, {"q": 1, "r": 2, "d": 3})] == ["input-is-node"]


def test_targets_may_be_nodes() -> None:
    """A node or its id, each counted once."""
    graph = diamond()
    assert graph.plan(targets=[graph["b"], "b", "a"]).targets == ("b", "a")


def test_targets_of_the_graph_hold_unless_the_call_says_otherwise() -> None:
    """A run option comes from the call, else from Graph(…)."""
    graph = graph_of({"a": "", "b": "a", "c": ""}, targets=["b"])
    assert graph.plan().ids == ["a", "b"]
    assert graph.plan(targets=["c"]).ids == ["c"]
    assert prepare(graph, None, {"targets": ["a"]})[0].ids == ["a"]


@pytest.mark.parametrize("targets", [["zzz"], ["d", "zzz"], [], [3], [graph_of({"d": ""})["d"]]])
def test_unknown_target_is_refused(targets: list[Any]) -> None:
    """Also a node of another graph with the same id, and no target at all."""
    with pytest.raises(GraphError) as caught:
        diamond().plan(targets=targets)
    assert [fault.code for fault in caught.value.faults] == ["unknown-target"]


def test_faults_outside_the_targets_count_too() -> None:
    """The whole graph is checked: a fault does not wait for somebody to ask for its node."""
    graph = diamond()
    graph.add("z", source, depends_on=["zz"])
    with pytest.raises(GraphError, match="unknown-upstream"):
        graph.plan(targets=["a"])


def test_replaced_nodes_need_nothing() -> None:
    """With targets, what only a replaced node needs is not in the plan."""
    plan, inputs, options = prepare(diamond(), None, {"targets": ["d"], "outputs": {"b": 1}, "r": 2, "q": 1})
    assert plan.ids == ["a", "b", "c", "d"]
    assert plan.shape.upstream == [(), (), (0,), (1, 2)]
    assert (inputs, options) == ({"r": 2, "q": 1}, {"outputs": {"b": 1}})
    plan, _, _ = prepare(diamond(), None, {"targets": ["e"], "outputs": {"d": 1}})
    assert plan.ids == ["d", "e"]


def test_inputs_of_replaced_nodes_are_not_required() -> None:
    """outputs= replaces a node by a value, so nobody reads its inputs."""
    plan = diamond().plan()
    given = {"q": 1, "s": 1}
    assert [fault.code for fault in check_inputs(plan, given)] == ["missing-input"]
    assert check_inputs(plan, given, {"c": 1}) == []
    assert [fault.code for fault in check_inputs(plan, {**given, "r": 1}, {"cc": 1})] == ["unknown-output"]


def test_plan_can_be_narrowed_by_a_call() -> None:
    """plan.run(targets=…) takes what graph.run takes."""
    plan = diamond().plan()
    narrow, inputs, options = prepare_plan(plan, {"q": 1}, {"targets": ["b"], "deadline": 3})
    assert (narrow.ids, inputs, options) == (["a", "b"], {"q": 1}, {"deadline": 3})
    assert plan.targets is None
    with pytest.raises(GraphError, match="unknown-target"):
        prepare_plan(plan, None, {"targets": ["zzz"]})


# -- inputs of a run


def test_missing_input_names_who_needs_it() -> None:
    """Required inputs are known when a run starts."""
    graph = graph_of({"features": ""})
    graph.add("train", lambda feature: feature)
    graph.add("test", lambda feature: feature)
    (fault,) = check_inputs(graph.plan(), {})
    assert fault.code == "missing-input"
    assert fault.nodes == ("train", "test")
    assert "node 'train' and 1 more need 'feature'" in fault.message
    assert "Did you mean 'features'" in fault.message


def test_unused_input_is_answered_with_the_nearest_input_or_option() -> None:
    """An input that no node takes is an error, whichever list it was meant for."""
    graph = Graph()
    graph.add("a", lambda question: question)
    plan = graph.plan()
    unused, missing = check_inputs(plan, {"questoin": 1})
    assert unused.code == "unused-input"
    assert "Did you mean 'question'" in unused.message
    assert "Did you mean 'questoin'" in missing.message
    (unused,) = check_inputs(plan, {"question": 1, "deadlin": 1})
    assert "Did you mean 'deadline'" in unused.message


def test_input_with_the_name_of_an_option_goes_into_the_mapping() -> None:
    """The message of the missing input shows the form."""
    graph = Graph()
    graph.add("a", lambda limits: limits)
    with pytest.raises(GraphError) as caught:
        prepare(graph, None, {"limits": {"llm": 3}})
    assert [fault.code for fault in caught.value.faults] == ["unknown-limit", "option-is-input"]
    assert "run({'limits': …})" in str(caught.value)
    assert prepare(graph, {"limits": 3}, {"max_concurrent": 2})[1:] == ({"limits": 3}, {"max_concurrent": 2})


def test_input_that_equals_a_node_id_is_refused() -> None:
    """outputs= replaces a node."""
    (fault,) = check_inputs(graph_of({"web": ""}).plan(), {"web": 1})
    assert fault.code == "input-is-node"
    assert "outputs={'web': …}" in fault.message


@pytest.mark.parametrize(("inputs", "given"), [({"q": 1}, {"q": 2}), (3, {}), ([("q", 1)], {})])
def test_inputs_come_once_and_as_a_mapping(inputs: Any, given: dict[str, Any]) -> None:
    """The mapping form and keywords do not overlap."""
    graph = Graph()
    graph.add("a", lambda q=0: q)
    with pytest.raises(GraphError) as caught:
        prepare(graph, inputs, given)
    assert {fault.code for fault in caught.value.faults} == {"unused-input"}


def test_faults_of_graph_options_and_inputs_come_together() -> None:
    """One error before any node runs, whoever is at fault."""
    graph = graph_of({"a": "zzz"})
    graph.add("b", lambda q: q)
    with pytest.raises(GraphError) as caught:
        prepare(graph, {"a": 1}, {"deadline": -1, "x": 3, "store": 7})
    assert [fault.code for fault in caught.value.faults] == [
        "unknown-upstream",
        "bad-policy",
        "bad-policy",
        "input-is-node",
        "unused-input",
        "missing-input",
    ]


def test_batch_is_checked_as_a_whole() -> None:
    """All rows are checked before the first one runs, and a fault names its row."""
    graph = Graph()
    graph.add("a", lambda q: q)
    plan, rows, options = prepare_batch(graph, [{"q": 1}, {"q": 2}], {"max_concurrent": 3})
    assert (plan.ids, rows, options) == (["a"], [{"q": 1}, {"q": 2}], {"max_concurrent": 3})
    with pytest.raises(GraphError) as caught:
        prepare_batch(graph, [{"q": 1}, {}, {"q": 2, "x": 3}], {"deadlin": 3})  # type: ignore[typeddict-unknown-key]
    assert [fault.code for fault in caught.value.faults] == ["unknown-option", "missing-input", "unused-input"]
    assert caught.value.faults[1].message.startswith("inputs[1]: ")


# -- limits


def test_limit_that_nobody_defines_is_answered_with_the_nearest() -> None:
    """One fault per limit, naming nodes that use it."""
    graph = Graph(limits={"search": 2})
    graph.add("a", source, uses="serch")
    graph.add("b", source, uses="serch")
    (fault,) = faults(graph)
    assert fault.code == "unknown-limit"
    assert fault.nodes == ("a", "b")
    assert "Did you mean 'search'" in fault.message


def test_limit_may_be_defined_by_the_run() -> None:
    """limits= of a call defines and resizes."""
    graph = Graph(limits={"db": 1})
    graph.add("a", source, uses={"llm": 3})
    plan, _, options = prepare(graph, None, {"limits": {"llm": 3}})
    assert plan.limits_with(options["limits"]) == {"db": 1, "llm": 3}
    with pytest.raises(GraphError, match="weight-above-limit"):
        prepare(graph, None, {"limits": {"llm": 2}})


def test_limit_of_a_run_that_no_node_uses_is_refused() -> None:
    """A misspelt limit would limit nothing."""
    graph = Graph(limits={"llm": 1})
    graph.add("a", source, uses="llm")
    plan = graph.plan()
    with pytest.raises(GraphError, match="Did you mean 'llm'"):
        prepare_plan(plan, None, {"limits": {"lmm": 3}})
    assert plan.check_limits({"llm": 3, "thread": 1}) == []


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", None])
def test_impossible_size_is_reported_with_all_else(size: Any) -> None:
    """A limit ≤ 0 is one of the graph's faults."""
    graph = graph_of({"a": "zzz"}, limits={"llm": size})
    assert codes(graph) == ["unknown-upstream", "bad-limit"]


def test_weight_above_a_shared_limit_is_refused() -> None:
    """A Limit counts like its size."""
    graph = Graph(limits={"llm": Limit(2)})
    graph.add("a", source, uses={"llm": 3})
    assert codes(graph) == ["weight-above-limit"]


def test_demands_are_shared_and_threads_are_a_limit() -> None:
    """Nodes with the same limits and weights wait in one queue; a thread is taken like any limit."""

    async def coroutine() -> None: ...

    graph = Graph(limits={"llm": 4, "db": 2})
    graph.add("a", coroutine, uses={"llm": 1, "db": 2})
    graph.add("b", coroutine, uses={"db": 2, "llm": 1})
    graph.add("c", source, uses="llm")
    graph.add("d", source, uses={"thread": 2})
    graph.add("e", coroutine)
    shape = graph.plan().shape
    assert shape.demands[0] == ()
    assert [shape.demands[number] for number in shape.demand] == [
        (("db", 2), ("llm", 1)),
        (("db", 2), ("llm", 1)),
        (("llm", 1), ("thread", 1)),
        (("thread", 2),),
        (),
    ]
    assert shape.demand[0] == shape.demand[1]


# -- nested graphs


def inner_graph(**options: Any) -> Graph:
    graph = Graph("inner", **options)
    graph.add("x", lambda q: q)
    graph.add("y", lambda x, k=3: x, cost=4)
    return graph


def test_nested_graph_is_bound_by_its_inputs() -> None:
    """Its required inputs are filled like parameters; its optional ones are left to its nodes."""
    graph = Graph("outer")
    graph.add("q", source)
    graph.add("outer", inner_graph())
    plan = graph.plan()
    binding = plan.arguments[1]
    assert binding.style == "graph"
    assert binding.subplan.ids == ["x", "y"]
    assert plan.shape.upstream == [(), (0,)]
    values = plan.fill({})
    values[0] = "output"
    assert binding.arguments(values) == ((), {"q": "output"})
    values = plan.fill({"k": 5})
    values[0] = "output"
    assert binding.arguments(values) == ((), {"q": "output", "k": 5})
    assert plan.optional_inputs == {"k"}


def test_nested_graph_takes_sources_by_input() -> None:
    """inputs= names its inputs, one source fills the only required one; unknown names are refused."""
    graph = Graph("outer")
    a = graph.add("a", source)
    graph.add("b", inner_graph(), inputs={"q": a, "k": 7})
    graph.add("c", inner_graph(), inputs=a)
    graph.add("d", inner_graph())
    plan = graph.plan()
    values = plan.fill({"q": "run"})
    values[0] = "output"
    assert [plan.arguments[node].arguments(values)[1] for node in (1, 2, 3)] == [
        {"q": "output", "k": 7},
        {"q": "output"},
        {"q": "run"},
    ]
    assert plan.inputs == {"q": ("d",)}
    graph.add("e", inner_graph(), inputs={"question": a})
    graph.add("f", Graph("empty"), inputs=a)
    assert codes(graph) == ["unused-input", "unbound-parameter"]


def test_container_charges_no_slot_and_counts_for_what_is_inside() -> None:
    """Its children take slots; its cost is their longest path unless it says otherwise."""
    graph = Graph()
    graph.add("a", inner_graph())
    graph.add("b", inner_graph(), cost=2, timeout=Timeout(total=3), retry=2)
    shape = graph.plan().shape
    assert shape.demand == [0, 0]
    assert shape.cost == [5.0, 2.0]
    assert shape.flags[0] == Flag.CONTAINER
    assert shape.flags[1] == Flag.CONTAINER | Flag.TIMED | Flag.RETRY
    assert (shape.timeout, shape.retry) == ({1: Timeout(total=3)}, {1: Retry(attempts=2)})


def test_policies_that_a_nested_graph_cannot_have_are_refused() -> None:
    """uses= and runner= belong to what is inside."""
    graph = Graph(limits={"llm": 1})
    graph.add("a", Graph(), uses="llm")
    graph.add("b", Graph(), runner="thread")
    assert codes(graph) == ["bad-policy", "bad-policy"]


def test_run_options_inside_are_refused_by_name() -> None:
    """A nested graph is part of the outer graph's run; limits are no option of a run of its own."""
    graph = Graph()
    graph.add("a", inner_graph(max_concurrent=3, on_error="drain"))
    graph.add("b", inner_graph(limits={"llm": 3}))
    (fault,) = faults(graph)
    assert fault.code == "nested-options"
    assert "max_concurrent=, on_error=" in fault.message


def test_inner_limits_join_the_outer_ones_and_the_parent_wins() -> None:
    """Names of limits are one namespace per run; an inner node may use what only the parent defines."""
    inner = Graph("inner", limits={"llm": 9, "db": 2})
    inner.add("x", source, uses={"llm": 3})
    inner.add("y", source, uses="web")
    graph = Graph("outer", limits={"llm": 4, "web": 1})
    graph.add("a", inner)
    plan = graph.plan()
    assert plan.limits == {"llm": 4, "db": 2, "web": 1}
    graph.limits["llm"] = 2
    del graph.limits["web"]
    found = faults(graph)
    assert [(fault.code, fault.node) for fault in found] == [("weight-above-limit", "a/x"), ("unknown-limit", "a/y")]


def test_faults_inside_are_reported_from_outside() -> None:
    """With the path of the node and the names of both graphs, along with all other faults."""
    inner = graph_of({"x": "y"})
    graph = Graph("outer")
    graph.add("a", inner)
    graph.add("b", source, depends_on=["zzz"])
    first, second = faults(graph)
    assert (first.code, first.node, first.nodes) == ("unknown-upstream", "a/x", ("a/x",))
    assert "graph 'g', which node 'a' wraps" in first.message
    assert second.node == "b"


def test_graph_inside_itself_is_a_cycle() -> None:
    """Directly or through another graph."""
    graph, other = Graph("one"), Graph("other")
    graph.add("a", other)
    other.add("b", graph)
    found = faults(graph)
    assert [fault.code for fault in found] == ["cycle"]
    assert "inside itself" in found[0].message


def test_nesting_may_be_deep() -> None:
    """Graphs in graphs are planned from the inside, without recursion."""
    graph = Graph("0")
    graph.add("leaf", source)
    for depth in range(1500):
        outer = Graph(str(depth + 1))
        outer.add("inner", graph)
        graph = outer
    assert len(graph.plan()) == 1


def test_graph_nested_twice_is_planned_once() -> None:
    """Both nodes share one plan."""
    inner = inner_graph()
    graph = Graph()
    graph.add("a", inner)
    graph.add("b", inner, inputs={"q": 1})
    plan = graph.plan()
    assert plan.arguments[0].subplan is plan.arguments[1].subplan


def test_ids_of_children_may_not_collide() -> None:
    """outer/inner and map[key] are ids of the run, too; other ids with slashes are free."""
    graph = Graph()
    graph.add("a", inner_graph(), inputs={"q": 1})
    graph.add("a/x", source)
    graph.add("a/z", source)
    graph.map("m", lambda item: item, over=[1])
    graph.add("m[0]", source)
    graph.add("m[0", source)
    assert [(fault.code, fault.node) for fault in faults(graph)] == [("id-collision", "a/x"), ("id-collision", "m[0]")]


# -- maps


def spec_of(graph: Graph, name: str) -> Any:
    plan = graph.plan()
    return plan.arguments[plan.index[name]].map


async def summarize(page: str, style: str = "short") -> str:
    return page + style


def test_map_gives_the_item_to_the_first_parameter_nothing_else_fills() -> None:
    """Other parameters bind as usual."""

    def body(style: str, page: str, question: str) -> None: ...

    graph = Graph()
    graph.add("style", source)
    graph.map("m", body, over=[1, 2])
    plan = graph.plan()
    spec = plan.arguments[1].map
    values = plan.fill({"question": "q"})
    values[0], values[spec.item_slot] = "s", "item"
    assert plan.shape.upstream == [(), (0,)]
    assert spec.binding.arguments(values) == (("s", "item", "q"), {})
    assert spec.over.get(values) == [1, 2]
    assert spec.binding.style == "thread"
    assert not spec.takes_item_only
    assert plan.inputs == {"question": ("m",)}


@pytest.mark.parametrize("over", ["pages", "node"])
def test_parameter_named_after_the_items_receives_one_of_them(over: str) -> None:
    """def f(pages) mapped over node pages gets a page."""
    graph = Graph()
    node = graph.add("pages", source)
    graph.map("m", lambda pages: pages, over=node if over == "node" else over)
    spec = spec_of(graph, "m")
    assert spec.takes_item_only
    assert graph.plan().shape.upstream == [(), (0,)]


def test_inputs_of_a_map_leave_the_item_to_another_parameter() -> None:
    """With inputs= given, the item goes where they do not."""
    graph = Graph()
    a = graph.add("a", source)
    graph.map("m", lambda x, y, z=1: x, over=[1], inputs={"x": a})
    plan = graph.plan()
    spec = plan.arguments[1].map
    values = plan.fill({})
    values[0], values[spec.item_slot] = "out", "item"
    assert spec.binding.arguments(values) == (("out", "item", 1), {})


def test_map_of_one_argument_needs_no_binding() -> None:
    """fn(item) will do; a million items pay for nothing else."""
    graph = Graph()
    graph.map("m", lambda item: item, over=range(3), runner="loop")
    assert spec_of(graph, "m").takes_item_only


@pytest.mark.parametrize(
    "over", [[1], (1,), range(2), iter([1]), {"k": 1}, value([1]), value("ab")], ids=lambda over: type(over).__name__
)
def test_map_goes_over_any_iterable(over: Any) -> None:
    """Lists, iterators, dicts, and texts that say they are meant."""
    graph = Graph()
    graph.map("m", lambda item: item, over=over)
    spec = spec_of(graph, "m")
    found = spec.over.get(graph.plan().fill({}))
    assert found is getattr(over, "value", over)


def test_map_goes_over_a_run_input_a_path_or_a_list_of_nodes() -> None:
    """What `over` names decides what is waited for."""
    graph = Graph()
    a = graph.add("a", source)
    graph.map("run", summarize, over="pages")
    graph.map("path", summarize, over=a.path("pages"))
    graph.map("list", summarize, over=[a, 7])
    plan = graph.plan()
    values = plan.fill({"pages": [1, 2]})
    values[0] = {"pages": [3]}
    assert [plan.arguments[node].map.over.get(values) for node in (1, 2, 3)] == [[1, 2], [3], [{"pages": [3]}, 7]]
    assert plan.shape.upstream == [(), (), (0,), (0,)]
    assert plan.inputs == {"pages": ("run",)}


def test_map_over_a_map_waits_for_its_start_only() -> None:
    """
    pages ··▸ summaries ── total: the dotted edge is a start edge, in no downstream list, but counted.
    """
    graph = Graph()
    graph.map("pages", summarize, over=["a"])
    graph.map("summaries", summarize, over="pages", priority=7)
    graph.add("total", lambda summaries: summaries)
    plan = graph.plan()
    shape = plan.shape
    assert shape.followers == {0: [1]}
    assert shape.upstream == [(), (), (1,)]
    assert shape.downstream == [[], [2], []]
    assert shape.waiting == [0, 1, 1]
    assert shape.priority == [7, 7, 0]
    assert shape.remaining == [3.0, 2.0, 1.0]
    spec = plan.arguments[1].map
    assert spec.leader == 0
    assert isinstance(spec.over, SlotSource)
    assert graph.plan(targets=["summaries"]).ids == ["pages", "summaries"]


def test_depends_on_makes_a_map_wait_for_the_whole_map_before() -> None:
    """An explicit dependency is an ordinary one."""
    graph = Graph()
    graph.map("pages", summarize, over=["a"])
    graph.map("summaries", summarize, over="pages", depends_on=["pages"])
    shape = graph.plan().shape
    assert shape.followers == {}
    assert shape.upstream == [(), (0,)]


def test_maps_that_follow_each_other_round_are_a_cycle() -> None:
    """Start edges count."""
    graph = Graph()
    graph.map("a", summarize, over="b")
    graph.map("b", summarize, over="a")
    assert codes(graph) == ["cycle"]


def test_policies_of_a_map_are_those_of_its_instances() -> None:
    """The container takes no slot and has no clock; when, join and depends_on are its own."""
    graph = Graph(limits={"llm": 4})
    graph.add("a", source)
    graph.map(
        "m",
        summarize,
        over=[1],
        depends_on=["a"],
        when=lambda: True,
        join="all_done",
        uses="llm",
        retry=2,
        timeout=3,
        fallback="f",
        max_concurrent=3,
        window=9,
        outcomes=True,
        key=str,
    )
    plan = graph.plan()
    spec, shape = plan.arguments[1].map, plan.shape
    assert shape.flags[1] == Flag.CONTAINER | Flag.WHEN
    assert shape.demand[1] == 0
    assert (shape.retry, shape.timeout) == ({}, {})
    assert shape.join[1] == Join.ALL_DONE
    assert spec.demand == (("llm", 1), ("m.max_concurrent", 1))
    assert spec.flags == Flag.RETRY | Flag.TIMED | Flag.FALLBACK
    assert spec.policies.retry == Retry(attempts=2)
    assert spec.binding.fallback == "f"
    assert (spec.key, spec.max_concurrent, spec.window, spec.outcomes) == (str, 3, 9, True)
    assert plan.limits == {"llm": 4, "m.max_concurrent": 3}


def test_limits_of_instances_are_checked() -> None:
    """An instance that could never start is found at plan time."""
    graph = Graph(limits={"llm": 1})
    graph.map("m", summarize, over=[1], uses={"llm": 2})
    graph.map("n", summarize, over=[1], uses="nowhere")
    assert codes(graph) == ["weight-above-limit", "unknown-limit"]


def test_graph_and_invoked_object_can_be_mapped() -> None:
    """The item is the first required input that nothing else fills, or the one argument."""

    class Invoked:
        async def ainvoke(self, given: Any) -> Any:
            return given

    graph = Graph()
    graph.map("g", inner_graph(), over=[1])
    graph.map("i", Invoked(), over=[1])
    plan = graph.plan()
    nested, invoked = plan.arguments[0].map, plan.arguments[1].map
    assert nested.flags == Flag.CONTAINER
    assert not nested.takes_item_only
    values = plan.fill({})
    values[nested.item_slot] = values[invoked.item_slot] = "item"
    assert nested.binding.arguments(values) == ((), {"q": "item"})
    assert invoked.binding.arguments(values) == (("item",), {})
    assert invoked.binding.style == "invoke"


@pytest.mark.parametrize(
    "options",
    [
        {"over": 3},
        {"over": [1], "key": 3},
        {"over": [1], "window": 0},
        {"over": [1], "max_concurrent": 0},
        {"over": [1], "max_concurrent": "3"},
        {"over": [1], "outcomes": 1},
        {"over": [1], "inputs": [1]},
    ],
    ids=str,
)
def test_impossible_map_is_refused(options: dict[str, Any]) -> None:
    """Each with the code bad-map."""
    graph = Graph()
    graph.map("m", lambda item: item, **options)
    assert codes(graph) == ["bad-map"]


def test_map_of_a_function_without_parameters_is_refused() -> None:
    """Nothing could receive the item."""
    graph = Graph()
    graph.map("m", source, over=[1])
    graph.map("n", lambda a: a, over=[1], inputs={"a": 2})
    graph.map("o", Graph("empty"), over=[1])
    assert codes(graph) == ["bad-map"] * 3


def test_map_of_a_graph_cannot_be_limited_by_slots() -> None:
    """Its instances take none."""
    graph = Graph(limits={"llm": 1})
    graph.map("m", inner_graph(), over=[1], max_concurrent=3)
    graph.map("n", inner_graph(), over=[1], uses="llm")
    assert codes(graph) == ["bad-map", "bad-map"]


# -- the shape


def test_priority_is_inherited_by_ancestors() -> None:
    """An urgent node lifts what it waits for, and nothing else."""
    graph = graph_of({"a": "", "b": "a", "c": "a", "d": "b", "e": ""})
    graph.add("urgent", source, depends_on=["b"], priority=5)
    graph.add("late", source, priority=-3)
    assert graph.plan().shape.priority == [5, 5, 0, 0, 0, 5, -3]


def test_ready_nodes_are_ordered_by_priority_then_path_then_successors_then_definition() -> None:
    """The order of the contract, in one integer."""
    graph = Graph()
    graph.add("last", source, priority=-1, cost=99)
    graph.add("short", source)
    graph.add("twin", source)
    graph.add("long", source, cost=3)
    graph.add("fan", source, cost=2)
    graph.add("line", source, cost=2)
    graph.add("urgent", source, priority=1)
    graph.add("x1", source, depends_on=["fan"])
    graph.add("x2", source, depends_on=["fan"])
    graph.add("x3", source, depends_on=["line"])
    plan = graph.plan()
    first = [name for name in plan.ids if not name.startswith("x")]
    ranked = sorted(first, key=lambda name: plan.shape.key[plan.index[name]])
    assert ranked == ["urgent", "fan", "line", "long", "short", "twin", "last"]
    assert [key & INDEX_MASK for key in plan.shape.key] == list(range(10))


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**12), 10**12),
            st.floats(0, 1e12),
            st.integers(0, 2**30),
            st.integers(0, 2**32 - 1),
        ),
        min_size=2,
        max_size=2,
    )
)
def test_order_key_compares_like_its_parts(pair: list[tuple[int, float, int, int]]) -> None:
    """Fields do not spill into each other; times count in microseconds, extremes are clamped."""

    def parts(priority: int, remaining: float, successors: int, index: int) -> tuple[int, int, int, int]:
        left = min(int(remaining * 1e6), 2**50 - 1)
        return (-priority, -left, -min(successors, 2**24 - 1), index)

    (one, other) = pair
    assert (order_key(*one) < order_key(*other)) == (parts(*one) < parts(*other))
    assert order_key(*one) & INDEX_MASK == one[3]


@st.composite
def edges(draw: st.DrawFn, most: int = 12) -> list[list[int]]:
    count = draw(st.integers(0, most))
    return [sorted(draw(st.sets(st.integers(0, i - 1), max_size=4))) if i else [] for i in range(count)]


@given(edges(), st.data())
def test_shape_keeps_its_promises(upstream: list[list[int]], data: st.DataObject) -> None:
    """Whatever the order of definition: neighbours agree, paths and priorities are those of the descendants."""
    count = len(upstream)
    places = data.draw(st.permutations(range(count)))
    priority = [data.draw(st.integers(-2, 2)) for _ in range(count)]
    cost = [data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.5])) for _ in range(count)]
    graph = Graph()
    for node in places:
        graph.add(
            f"n{node}", source, depends_on=[f"n{u}" for u in upstream[node]], priority=priority[node], cost=cost[node]
        )
    plan = graph.plan()
    shape = plan.shape
    assert plan.ids == [f"n{node}" for node in places]
    for node, before in enumerate(shape.upstream):
        assert shape.waiting[node] == len(before) == len(set(before))
        assert all(node in shape.downstream[u] for u in before)
    for after in shape.downstream:
        assert list(after) == sorted(set(after))
    best: dict[int, tuple[float, int]] = {}
    for node in reversed(range(count)):
        below = [best[v] for v in range(node + 1, count) if node in upstream[v]]
        length = cost[node] + max((each[0] for each in below), default=0.0)
        best[node] = (length, max([priority[node], *(each[1] for each in below)]))
    for node in range(count):
        position = plan.index[f"n{node}"]
        assert shape.remaining[position] == pytest.approx(best[node][0])
        assert shape.priority[position] == best[node][1]
        expected = order_key(
            shape.priority[position], shape.remaining[position], len(shape.downstream[position]), position
        )
        assert shape.key[position] == expected
    path = plan.critical_path
    assert sum(cost[int(name[1:])] for name in path) == pytest.approx(
        max((each[0] for each in best.values()), default=0)
    )


def test_join_any_waits_for_one_and_the_others_for_all() -> None:
    """`waiting` is what must come before the join rule holds."""
    graph = graph_of({"a": "", "b": ""})
    graph.add("any", source, depends_on=["a", "b"], join="any")
    graph.add("done", source, depends_on=["a", "b"], join="all_done")
    graph.add("free", source, join="any")
    shape = graph.plan().shape
    assert shape.waiting == [0, 0, 1, 2, 0]
    assert list(shape.join) == [0, 0, 1, 2, 1]


def test_flags_tell_the_core_what_a_node_has() -> None:
    """Each flag from its policy."""
    graph = Graph()

    @graph.node(fallback=1, repeat="safe", timeout=1, retry=2)
    async def everything() -> None: ...

    @graph.node
    async def nothing() -> None: ...

    @graph.node(timeout=Timeout(), retry=None)
    async def empty() -> None: ...

    plan = graph.plan()
    assert plan.shape.flags[0] == Flag.FALLBACK | Flag.REPEAT_SAFE | Flag.TIMED | Flag.RETRY
    assert plan.shape.flags[1] == 0
    assert plan.shape.flags[2] == 0
    assert plan.shape.timeout == {0: Timeout(attempt=1)}
    assert plan.kinds[1] == CallKind.COROUTINE0


def test_shape_of_refuses_a_cycle() -> None:
    """Made by hand, a shape must be a graph that can run."""
    with pytest.raises(ValueError, match="cycle"):
        shape_of([[1], [0]])


def test_shape_of_is_what_a_plan_makes() -> None:
    """Simulations and plans agree on every list."""
    graph = graph_of({"a": "", "b": "a", "c": "a b"}, defaults=Policies(runner="loop"))
    made = shape_of([[], [0], [0, 1]])
    planned = graph.plan().shape
    for name in (
        "upstream",
        "downstream",
        "waiting",
        "join",
        "demand",
        "flags",
        "key",
        "priority",
        "remaining",
        "cost",
    ):
        assert list(getattr(planned, name)) == list(getattr(made, name)), name


# -- width


def brute_force_width(upstream: list[list[int]]) -> int:
    count = len(upstream)
    before: list[set[int]] = []
    for node in range(count):
        before.append(set(upstream[node]).union(*(before[u] for u in upstream[node])))
    best = 0
    for chosen in range(1 << count):
        nodes = [node for node in range(count) if chosen >> node & 1]
        if len(nodes) > best and not any(a in before[b] for a, b in itertools.combinations(nodes, 2)):
            best = len(nodes)
    return best


@given(edges(most=9))
@settings(max_examples=200)
def test_width_is_the_largest_antichain(upstream: list[list[int]]) -> None:
    """Checked against every set of nodes of small graphs."""
    assert width_of(shape_of(upstream)) == brute_force_width(upstream)


def test_width_may_be_more_than_any_level() -> None:
    """
    a ── b        b and c can run at once with d, although they are on different levels
    c ── d ── e   and the levels hold 2, 2, 1.
    """
    upstream: list[list[int]] = [[], [], [1], [2], [2], [2], [0, 4]]
    assert width_of(shape_of(upstream)) == brute_force_width(upstream) == 4


def test_width_of_a_large_layered_graph_is_found_quickly() -> None:
    """A few thousand nodes take a moment, not minutes."""
    rng = random.Random(1)
    upstream = [sorted(rng.sample(range((i // 50 - 1) * 50, i // 50 * 50), 3)) if i >= 50 else [] for i in range(4000)]
    assert width_of(shape_of(upstream)) >= 50


def test_empty_graph_has_a_plan() -> None:
    """Nothing to do is not wrong."""
    plan = Graph().plan()
    assert (len(plan), plan.width, plan.depth, plan.critical_path) == (0, 0, 0, ())
    assert repr(plan) == "Plan('graph', 0 nodes)"
    assert isinstance(plan, Plan)


def test_critical_path_goes_by_cost() -> None:
    """The longest path by cost=, the first by definition among equals."""
    graph = graph_of({"a": "", "b": "", "c": "a"})
    assert graph.plan().critical_path == ("a", "c")
    graph.add("slow", source, depends_on=["b"], cost=10)
    assert graph.plan().critical_path == ("b", "slow")


def resource() -> Iterator[int]:
    yield 1


def test_plan_keeps_the_resources_of_its_graph() -> None:
    """By name, as functions to open them."""
    graph = Graph()
    graph.resource(resource)
    assert graph.plan().resources == {"resource": resource}
