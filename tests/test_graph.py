"""What the user writes: Graph, Node, and what they remember; see antichain.graph."""

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from antichain.errors import GraphError
from antichain.graph import Graph, Node, value
from antichain.policies import Policies, Retry


def codes(graph: Graph) -> list[str]:
    with pytest.raises(GraphError) as caught:
        graph.plan()
    return [fault.code for fault in caught.value.faults]


def test_decorated_function_is_still_the_function() -> None:
    """Tests of a node need no engine: calling it just calls the function."""
    graph = Graph()

    @graph.node
    def double(x: int) -> int:
        """Double it."""
        return 2 * x

    assert isinstance(double, Node)
    assert double(4) == 8
    assert double(x=4) == 8
    assert double.__name__ == "double"
    assert double.__wrapped__(1) == 2
    assert str(inspect.signature(double)) == "(x: int) -> int"


def test_decorator_takes_policies_and_an_id() -> None:
    """@graph.node(…) says more about the node than its function does."""
    graph = Graph()

    @graph.node(id="the answer", retry=Retry(attempts=4), timeout=10, priority=3)
    async def answer() -> None: ...

    node = graph["the answer"]
    assert node is answer
    assert node.policies.retry == Retry(attempts=4)
    assert node.policies.priority == 3


def test_node_that_cannot_be_called_says_so() -> None:
    """A node around an object with invoke is no function."""
    node = Graph().add("a", Graph())
    with pytest.raises(TypeError, match="node 'a'"):
        node()


def test_add_returns_the_node_that_the_graph_finds() -> None:
    """graph[id], `in`, iteration and length agree."""
    graph = Graph()
    a = graph.add("a", print)
    b = graph.add("b c/d.e", print, depends_on=[a])
    assert graph["a"] is a
    assert "a" in graph
    assert b in graph
    assert "c" not in graph
    assert Graph().add("a", print) not in graph
    assert list(graph) == ["a", "b c/d.e"]
    assert graph.nodes == (a, b)
    assert len(graph) == 2
    assert repr(graph) == "Graph('graph', 2 nodes)"
    assert repr(a) == "Node('a')"


def test_unknown_node_is_answered_with_the_nearest() -> None:
    """graph['…'] fails like a dict, and helps."""
    graph = Graph("etl")
    graph.add("features", print)
    with pytest.raises(KeyError, match=r"graph 'etl' has no node 'feature'.*Did you mean 'features'"):
        graph["feature"]


def test_node_around_a_node_wraps_its_function() -> None:
    """A node can be added again under another id."""
    graph = Graph()
    a = graph.add("a", print)
    assert graph.add("b", a).runnable is print


def test_equal_policies_are_shared_between_nodes() -> None:
    """A million nodes with the same policies hold one object, however often these were written."""
    graph = Graph(limits={"llm": 2})
    nodes = [graph.add(f"n{i}", print, uses="llm", retry=Retry(attempts=3), timeout=60.0) for i in range(3)]
    assert nodes[0].policies is nodes[1].policies is nodes[2].policies


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0)])
def test_fallbacks_that_only_look_equal_stay_apart(one: Any, other: Any) -> None:
    """1 == True, but a node falls back to what its author wrote."""
    graph = Graph()
    a = graph.add("a", print, fallback=one)
    b = graph.add("b", print, fallback=other)
    assert a.policies.fallback is one
    assert b.policies.fallback is other


def test_mutable_policies_are_read_when_the_node_is_added() -> None:
    """Changing a dict of weights later does not touch a node, and the next node sees the change."""
    graph = Graph(limits={"llm": 9})
    uses = {"llm": 1}
    a = graph.add("a", print, uses=uses)
    uses["llm"] = 2
    b = graph.add("b", print, uses=uses)
    assert a.policies.uses == (("llm", 1),)
    assert b.policies.uses == (("llm", 2),)


def test_defaults_hold_for_nodes_that_say_nothing() -> None:
    """A policy comes from the node, else from Graph(defaults=…)."""
    graph = Graph(defaults=Policies(retry=2, timeout=5))
    assert graph.add("a", print).policies.retry == Retry(attempts=2)
    assert graph.add("b", print, retry=None).policies.retry is None
    assert graph.add("c", print, retry=3).policies.timeout == graph["a"].policies.timeout


def test_later_changes_of_arguments_do_not_touch_a_node() -> None:
    """Lists and dicts given to add() are read once."""
    graph = Graph()
    graph.add("a", print)
    depends_on = ["a"]
    inputs = {"sep": " "}
    node = graph.add("b", print, depends_on=depends_on, inputs=inputs)
    depends_on.append("zzz")
    inputs["end"] = ""
    assert node.depends_on == ("a",)
    assert node.inputs == {"sep": " "}


def test_adding_never_complains() -> None:
    """Whatever is wrong with nodes is reported by plan(), all at once."""
    graph = Graph()
    graph.add("a", 3)
    graph.add("a", print)
    graph.add("", print)
    graph.add(7, print)  # type: ignore[arg-type]
    graph.add("b", print, retry=0)
    graph.add("c", print, prioritty=3)  # type: ignore[call-arg]
    graph.add("d", print, depends_on=3)  # type: ignore[arg-type]
    assert codes(graph) == [
        "duplicate-id",
        "bad-policy",
        "bad-policy",
        "bad-policy",
        "bad-policy",
        "not-runnable",
        "unknown-upstream",
    ]


def test_first_of_two_nodes_with_one_id_is_kept() -> None:
    """A duplicate id is a fault; the graph goes on with the node that came first."""
    graph = Graph()
    first = graph.add("a", print)
    graph.add("a", repr)
    assert graph["a"] is first
    assert len(graph) == 1
    assert codes(graph) == ["duplicate-id"]


def test_lambda_needs_an_id() -> None:
    """A function without a name of its own cannot name a node."""
    graph = Graph()
    graph.node(lambda: 1)
    assert codes(graph) == ["bad-policy"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_concurency": 3}, "unknown-option"),
        ({"max_concurrent": 0}, "bad-limit"),
        ({"store": 7}, "bad-policy"),
        ({"defaults": {"retry": 3}}, "bad-policy"),
        ({"name": 5}, "bad-policy"),
    ],
)
def test_wrong_option_of_a_graph_is_refused_at_once(options: dict[str, Any], code: str) -> None:
    """A graph cannot be made with options no run could have."""
    with pytest.raises(GraphError) as caught:
        Graph(**options)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_resource_is_a_generator_function_of_its_name() -> None:
    """A resource is kept under its name, and is still the function."""
    graph = Graph()

    @graph.resource
    async def client() -> AsyncIterator[int]:
        yield 1

    @graph.resource(name="db")
    def connect() -> Iterator[int]:
        yield 2

    assert graph.resources == {"client": client, "db": connect}
    assert next(connect()) == 2


def test_wrong_resources_are_reported_by_plan() -> None:
    """A resource that could not be closed, is defined twice, or wants arguments is a fault."""
    graph = Graph()

    @graph.resource
    def client() -> int:
        return 1

    @graph.resource
    def db() -> Iterator[int]:
        yield 1

    graph.resource(db)

    @graph.resource
    def pool(size: int) -> Iterator[int]:
        yield size

    assert codes(graph) == ["not-runnable", "duplicate-id", "unbound-parameter"]


def test_paths_grow_key_by_key() -> None:
    """node.path(…) names a part of an output, and a part of that."""
    node = Graph().add("a", print)
    assert node.path(0).path("title").keys == (0, "title")
    assert node.path(0, "title").node is node


def test_value_is_what_it_was() -> None:
    """value() only marks."""
    assert value("web").value == "web"
