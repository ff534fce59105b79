"""
A policy that would silently do nothing is refused by name, and so is a name that is none.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import antichain
from antichain import Graph, GraphError, Policies, Retry, RetryBudget, RunFailed, Timeout
from antichain.testing import simulate


async def double(x: int) -> int:
    return 2 * x


def inner_graph() -> Graph:
    inner = Graph("inside")
    inner.add("double", double)
    return inner


def as_node(policies: dict[str, Any]) -> Graph:
    graph = Graph("outer", limits={"llm": 1})
    graph.add("nested", inner_graph(), inputs={"x": 1}, **policies)
    return graph


def as_map(policies: dict[str, Any]) -> Graph:
    graph = Graph("outer", limits={"llm": 1})
    graph.map("nested", inner_graph(), over=[1, 2], **policies)
    return graph


def as_default(policies: dict[str, Any]) -> Graph:
    """It would be taken for the nodes inside, which do not inherit it."""
    graph = Graph("outer", limits={"llm": 1}, defaults=Policies(**policies))
    graph.add("nested", inner_graph(), inputs={"x": 1})
    return graph


PLACES = [as_node, as_map, as_default]
IDLE = "node 'nested' has Timeout(idle=…), but a nested graph gives no signs of life itself"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"timeout": Timeout(idle=1)}, IDLE),
    ({"timeout": Timeout(attempt=9, idle=1)}, IDLE),
    ({"timeout": Timeout(queue=1)}, "has Timeout(queue=…), but a nested graph waits for no slot itself"),
    ({"runner": "thread"}, "has runner=, but a nested graph takes no thread itself"),
    ({"repeat": "never"}, "has repeat='never', but a nested graph is not what runs again, its nodes are"),
    ({"persist": False}, "has persist=False, but a nested graph is not what is stored, the outputs of its nodes are"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("policies", "why"), REFUSED)
def test_what_does_nothing_on_a_nested_graph_is_refused(
    place: Callable[[dict[str, Any]], Graph], policies: dict[str, Any], why: str
) -> None:
    with pytest.raises(GraphError) as caught:
        place(policies).plan()
    assert len(caught.value.faults) == 1
    assert why in str(caught.value)
    fix = "give it to the nodes inside, or to 'inside' by Graph(defaults=Policies(…)), and not to this node."
    assert str(caught.value).endswith(fix)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "policies",
    [
        {"timeout": 9},
        {"timeout": Timeout(attempt=9, total=99)},
        {"retry": 3},
        {"fallback": 0},
        # What the fallback returns is stored, or not.
        {"fallback": 0, "persist": False},
        {"priority": 3, "cost": 4, "version": "2"},
    ],
)
def test_what_a_nested_graph_can_have_it_may_have(
    place: Callable[[dict[str, Any]], Graph], policies: dict[str, Any]
) -> None:
    assert place(policies).run().status == "succeeded"


def test_idle_on_the_nodes_inside_is_what_is_meant() -> None:
    """As the refusal says."""
    inner = Graph("inside", defaults=Policies(timeout=Timeout(idle=0.02)))
    inner.add("silent", asyncio.sleep, inputs={"delay": 60})
    graph = Graph("outer")
    graph.add("nested", inner)
    with pytest.raises(RunFailed) as caught:
        graph.run()
    assert caught.value.result.nodes["nested/silent"].error.clock == "idle"


# -- names of limits


def using(uses: Any) -> Graph:
    graph = Graph("g")
    graph.add("a", double, uses=uses)
    return graph


@pytest.mark.parametrize("name", [5, "", None, 1.5, ("a",)])
def test_what_is_no_name_of_a_limit_is_refused(name: Any) -> None:
    graph = Graph("g")
    graph.add("a", double)
    says = f"{name!r} is not the name of a limit: names are texts, and not empty."
    attempts: list[Callable[[], Any]] = [
        lambda: graph.run(x=1, limits={name: 1}),
        lambda: graph.plan().run({"x": 1}, limits={name: 1}),
        lambda: graph.plan().estimate(limits={name: 1}),
        lambda: Graph("h", limits={name: 1}).plan(),
        lambda: antichain.map(double, [1], limits={name: 1}),
        lambda: using({name: 1}).plan(),
        lambda: Policies(uses={name: 1}),
        lambda: antichain.map(double, [1], uses={name: 1}),
        lambda: graph.run(x=1, retry_budget={name: 0.2}),
        lambda: Graph("h", retry_budget={name: 0.2}).plan(),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(GraphError) as caught:
            attempt()
        assert says in str(caught.value), number


def test_a_name_that_is_empty_is_no_name_for_a_node_either() -> None:
    with pytest.raises(GraphError, match="uses='': '' is not the name of a limit"):
        using("").plan()


def test_an_item_that_chooses_what_is_no_name_fails_alone() -> None:
    outcomes = antichain.map(
        double, [1, 2], uses=lambda item: "" if item == 1 else "llm", limits={"llm": 1}, outcomes=True
    )
    assert "'' is not the name of a limit" in str(outcomes[0].error)
    assert outcomes[1].value == 4


# -- retry budgets of limits


def test_a_budget_of_what_items_choose_is_known_by_the_limits_of_the_run() -> None:
    """No node names the limit: the items do."""
    budget = RetryBudget(share=0, reserve=1)

    async def fails(item: str) -> None:
        raise ConnectionError

    graph = Graph("chosen", on_error="continue")
    policies: dict[str, Any] = {"retry": Retry(3, backoff=antichain.Backoff(0)), "outcomes": True}
    graph.map("calls", fails, over=["a", "b"], uses=lambda item: item, **policies)
    graph.run(limits={"a": 1, "b": 1}, retry_budget={"a": budget})
    assert (budget.calls, budget.retries, budget.refused) == (1, 1, 1)
    with pytest.raises(GraphError, match="retry_budget= names 'c', which no node of graph 'chosen' uses"):
        graph.run(limits={"a": 1, "b": 1}, retry_budget={"c": budget})


def test_simulate_refuses_a_budget_of_nothing_too() -> None:
    graph = Graph("g", limits={"llm": 1})
    graph.add("a", double, uses="llm")
    with pytest.raises(GraphError, match=r"retry_budget= names 'lm', .*Did you mean 'llm'"):
        simulate(graph.plan(), retry_budget={"lm": 0.2})
