"""
Budgets: what a run may use in all; it stops resumably, loses nothing, and says what was used of what.
"""

import asyncio
import json
import pickle
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antichain import (
    Backoff,
    Budget,
    BudgetSpent,
    Context,
    Graph,
    GraphError,
    Limit,
    MemoryStore,
    NodeFailed,
    Retry,
    RunFailed,
    RunnerError,
    RunResult,
    StoreDamaged,
    amap,
    gather,
)
from antichain.policies.budget import Spending
from antichain.stores import Fact, FactKind
from tests.support.virtual import in_virtual_time


def run(graph: Graph, **options: Any) -> RunResult:
    result: RunResult = in_virtual_time(graph.arun(**options))
    return result


def spent(graph: Graph, *, resume: str | None = None, **options: Any) -> BudgetSpent:
    """Run, or resume, until the budget is used up."""
    work = graph.arun(**options) if resume is None else graph.aresume(resume, **options)
    with pytest.raises(BudgetSpent) as caught:
        in_virtual_time(work)
    return caught.value


def reason(result: RunResult, node: str) -> tuple[str, str]:
    record = result.nodes[node]
    return record.state, record.reason


class Calls:
    """Twenty calls of 100 tokens and a cent, of one second each, one by one; counts how often each runs."""

    def __init__(self, at_once: int = 1, **options: Any) -> None:
        self.ran: Counter[int] = Counter()
        self.graph = Graph("calls", **options)
        self.graph.map("calls", self.call, over=list(range(20)), max_concurrent=at_once)

        @self.graph.node
        async def report(calls: list[int]) -> int:
            return sum(calls)

    async def call(self, item: int, context: Context) -> int:
        self.ran[item] += 1
        await asyncio.sleep(1)
        context.use(tokens=100, usd=0.01)
        return item


# -- what stops, and what is kept


def test_no_attempt_starts_once_a_budget_is_used_up() -> None:
    calls = Calls()
    error = spent(calls.graph, budget=Budget(tokens=1000))
    assert calls.ran == Counter(range(10))
    assert (error.unit, error.used, error.limit) == ("tokens", 1000, 1000)
    result: RunResult = error.result
    assert result.status == "paused"
    assert result.usage == {"tokens": 1000, "usd": pytest.approx(0.1)}
    assert reason(result, "calls") == ("cancelled", "budget")
    assert reason(result, "report") == ("cancelled", "budget")
    assert [reason(result, f"calls[{item}]") for item in range(10)] == [("succeeded", "output")] * 10
    with pytest.raises(KeyError, match="the run's budget was used up before it could run to its end"):
        result["report"]


def test_what_runs_may_end_and_so_a_little_more_is_used() -> None:
    """All five that run when the limit is reached are kept."""
    calls = Calls(at_once=5)
    error = spent(calls.graph, budget=Budget(tokens=501))
    assert 600 <= error.used <= 1000
    assert (error.used, error.result.usage["tokens"]) == (100 * len(calls.ran), 100 * len(calls.ran))
    assert Counter(node.state for node in error.result.nodes.values())["succeeded"] == len(calls.ran)


def test_the_error_says_what_was_used_of_what_and_how_to_go_on() -> None:
    calls = Calls()
    error = spent(calls.graph, budget=Budget(usd=0.05), run_id="r")
    assert str(error) == (
        "the budget is used up: 0.05 usd of 0.05; 'calls', 'report' had not run to the end. What completed is in"
        " .result; a run with store= can go on from there."
    )
    kept = spent(calls.graph, budget=Budget(usd=0.05), run_id="r", store=MemoryStore())
    assert str(kept).endswith("go on with resume('r', budget=Budget(usd=…)), where earlier use counts too.")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.unit, copy.result.usage) == (str(error), "usd", error.result.usage)


def test_a_run_whose_last_nodes_complete_all_the_same_has_succeeded() -> None:
    calls = Calls()
    graph = Graph("two")
    graph.add("a", calls.call, inputs={"item": 1})
    graph.add("b", calls.call, inputs={"item": 2})
    result = run(graph, budget=Budget(tokens=100))
    assert (result.status, dict(result)) == ("succeeded", {"a": 1, "b": 2})


def test_a_chain_of_nodes_that_never_wait_stops_at_once() -> None:
    """Nodes that do not suspend follow each other without a turn of the loop."""
    graph = Graph("instant")
    ran: list[int] = []

    async def step(number: int, context: Context, before: int = 0) -> int:
        ran.append(number)
        context.use(steps=1)
        return number

    for number in range(50):
        inputs: dict[str, Any] = {"number": number}
        if number:
            inputs["before"] = graph[f"s{number - 1}"]
        graph.add(f"s{number}", step, inputs=inputs)
    error = spent(graph, budget=Budget(steps=7))
    assert ran == list(range(7))
    assert reason(error.result, "s7") == ("cancelled", "budget")


def test_a_budget_that_is_used_up_lets_nothing_begin() -> None:
    budget = Budget(tokens=10)
    budget.count({"tokens": 11})
    calls = Calls()
    error = spent(calls.graph, budget=budget)
    assert not calls.ran
    assert error.result.usage == {}


def test_a_node_that_backs_off_is_left_for_another_day() -> None:
    """It has not failed: it has an attempt left, which may not start now."""
    store = MemoryStore()
    attempts: list[int] = []
    graph = Graph("backoff", store=store)

    @graph.node(retry=Retry(attempts=4, backoff=Backoff(initial=10, jitter=False)))
    async def unlucky(context: Context) -> str:
        attempts.append(context.attempt)
        context.use(tokens=10)
        if context.attempt < 3:
            raise ConnectionError
        return "done"

    @graph.node
    async def side(context: Context) -> str:
        await asyncio.sleep(5)
        context.use(tokens=100)
        return "side"

    error = spent(graph, budget=Budget(tokens=100), run_id="r")
    assert reason(error.result, "unlucky") == ("cancelled", "budget")
    result = in_virtual_time(graph.aresume("r", budget=Budget(tokens=1000)))
    assert dict(result) == {"unlucky": "done", "side": "side"}
    assert attempts == [1, 2, 3]
    assert result.usage == {"tokens": 130}


def test_an_attempt_that_fails_when_nothing_may_start_is_tried_again_another_day() -> None:
    store = MemoryStore()
    attempts: list[int] = []
    graph = Graph("late failure", store=store)
    retry = Retry(attempts=2, backoff=Backoff(initial=0, jitter=False))

    async def unlucky(item: int, context: Context) -> int:
        attempts.append(context.attempt)
        context.use(tokens=100)
        await asyncio.sleep(5)
        if context.attempt == 1:
            raise ConnectionError
        return item

    graph.add("alone", unlucky, inputs={"item": 7}, retry=retry)
    graph.map("mapped", unlucky, over=[1, 2], retry=retry)
    error = spent(graph, budget=Budget(tokens=100), run_id="r")
    assert reason(error.result, "alone") == ("cancelled", "budget")
    assert error.result.status == "paused"
    assert not error.result.errors
    result = in_virtual_time(graph.aresume("r", budget=Budget(tokens=10_000)))
    assert dict(result) == {"alone": 7, "mapped": [1, 2]}
    assert Counter(attempts) == {1: 3, 2: 3}


def test_a_failure_while_a_run_stops_is_told_too() -> None:
    graph = Graph("both", on_error="continue")

    @graph.node
    async def spends(context: Context) -> None:
        await asyncio.sleep(0.5)
        context.use(tokens=100)

    @graph.node
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("not there")

    graph.add("after", print, depends_on=[spends])
    error = spent(graph, budget=Budget(tokens=1))
    assert error.__notes__ == ["besides, LookupError was raised: not there"]
    assert "'after' had not run to the end; 'fails' had failed." in str(error)
    assert list(error.result.errors) == ["fails"]


def test_a_node_that_uses_the_rest_and_fails_is_told() -> None:
    graph = Graph("both")

    @graph.node
    async def a(context: Context) -> None:
        context.use(tokens=100)
        raise ValueError("real")

    graph.add("b", print, depends_on=[a])
    error = spent(graph, budget=Budget(tokens=50))
    assert error.failed == ("a",)
    assert error.__notes__ == ["besides, ValueError was raised: real"]


def test_what_a_body_runs_itself_stops_too_and_the_body_starts_again_another_day() -> None:
    """An agent: every round is more graph, and a round that has completed is not run again."""
    store = MemoryStore()
    rounds: list[int] = []
    tops: list[int] = []
    graph = Graph("agent", store=store)

    async def think(number: int, context: Context) -> int:
        rounds.append(number)
        await asyncio.sleep(1)
        context.use(tokens=100)
        return number

    @graph.node
    async def agent(context: Context) -> int:
        tops.append(1)
        total = 0
        for number in range(6):
            inner = Graph("round")
            inner.add("think", think, inputs={"number": number})
            total += (await context.run(inner))["think"]
        return total

    error = spent(graph, budget=Budget(tokens=300), run_id="r")
    assert rounds == [0, 1, 2]
    assert reason(error.result, "agent") == ("cancelled", "budget")
    result = in_virtual_time(graph.aresume("r", budget=Budget(tokens=10_000)))
    assert result["agent"] == 15
    assert rounds == [0, 1, 2, 3, 4, 5]
    assert len(tops) == 2
    assert result.usage == {"tokens": 600}


def test_what_a_body_has_asked_for_does_not_start_any_more() -> None:
    """A body has brought ten calls into the run, one at a time, when the third uses the rest."""
    calls: list[int] = []
    graph = Graph("agent", max_concurrent=1)

    async def call(item: int, context: Context) -> int:
        calls.append(item)
        await asyncio.sleep(1)
        context.use(tokens=100)
        return item

    @graph.node
    async def agent(context: Context) -> Any:
        inner = Graph("inner")
        for item in range(10):
            inner.add(f"call{item}", call, inputs={"item": item})
        return await context.run(inner)

    error = spent(graph, budget=Budget(tokens=300))
    assert calls == [0, 1, 2]
    assert reason(error.result, "agent") == ("cancelled", "budget")


def test_a_nested_graph_and_a_map_in_it_use_the_budget_of_their_run() -> None:
    calls = Calls()
    graph = Graph("outer", max_concurrent=1)
    graph.add("nested", calls.graph)
    error = spent(graph, budget=Budget(tokens=500))
    assert len(calls.ran) == 5
    assert reason(error.result, "nested") == ("cancelled", "budget")


# -- what counts


def test_failed_attempts_count() -> None:
    graph = Graph("fails", on_error="continue")

    @graph.node(retry=Retry(attempts=9, backoff=Backoff(initial=0, jitter=False)))
    async def fails(context: Context) -> None:
        context.use(tokens=10)
        raise ConnectionError

    error = spent(graph, budget=Budget(tokens=35))
    assert (error.used, error.result.nodes["fails"].attempts) == (40, 4)


def test_the_tokens_that_a_response_tells_count_unless_the_node_says_them() -> None:
    graph = Graph("responses", max_concurrent=1)
    response = SimpleNamespace(text="hello", usage=SimpleNamespace(total_tokens=40))

    async def call(item: int) -> Any:
        return response

    async def says(context: Context) -> Any:
        context.use(tokens=3)
        return response

    def in_a_thread() -> Any:
        return {"usage": {"input_tokens": 1, "output_tokens": 1}}

    graph.add("one", call, inputs={"item": 1})
    graph.add("says", says)
    graph.add("thread", in_a_thread)
    graph.map("more", call, over=[1, 2])
    budget = Budget(tokens=1000)
    assert run(graph, budget=budget).usage == {"tokens": 40 + 3 + 2 + 80}
    assert budget.used == {"tokens": 125}


def test_a_function_in_a_thread_may_say_what_it_used() -> None:
    graph = Graph("threads")

    @graph.node
    def call(context: Context) -> int:
        context.use(tokens=5, pages=2)
        return 1

    result = graph.run(budget=Budget(tokens=100))
    assert result.usage == {"tokens": 5, "pages": 2}


def test_what_is_used_is_told_without_a_budget_too() -> None:
    calls = Calls()
    result = run(calls.graph)
    assert result.usage == {"tokens": 2000, "usd": pytest.approx(0.2)}
    assert json.loads(json.dumps(result.to_dict()))["usage"]["tokens"] == 2000


# -- going on


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_run_goes_on_with_another_budget_and_earlier_use_counts(kind: str, tmp_path: Path) -> None:
    store: Any = MemoryStore() if kind == "memory" else tmp_path / "runs.db"
    calls = Calls(store=store)
    spent(calls.graph, budget=Budget(tokens=700), run_id="r")
    assert len(calls.ran) == 7
    # The same again is used up already; nothing runs.
    again = spent(calls.graph, resume="r", budget=Budget(tokens=700))
    assert (again.used, len(calls.ran)) == (700, 7)
    later = spent(calls.graph, resume="r", budget=Budget(tokens=1200))
    assert (later.used, later.result.usage["tokens"], len(calls.ran)) == (1200, 1200, 12)
    result = in_virtual_time(calls.graph.aresume("r", budget=Budget(tokens=5000)))
    assert (result["report"], result.status) == (190, "succeeded")
    assert result.usage == {"tokens": 2000, "usd": pytest.approx(0.2)}
    assert set(calls.ran.values()) == {1}


def test_a_run_goes_on_without_a_budget() -> None:
    calls = Calls(store=MemoryStore())
    spent(calls.graph, budget=Budget(tokens=700), run_id="r")
    assert in_virtual_time(calls.graph.aresume("r"))["report"] == 190


def test_what_was_used_before_any_budget_counts() -> None:
    store = MemoryStore()
    graph = Graph("crash", store=store)

    @graph.node
    async def spends(context: Context) -> int:
        context.use(tokens=900)
        return 1

    @graph.node
    async def fails(spends: int, context: Context) -> int:
        if fixed:
            return spends
        raise LookupError

    fixed: list[int] = []
    with pytest.raises(RunFailed):
        run(graph, run_id="r")
    fixed.append(1)
    error = spent(graph, resume="r", budget=Budget(tokens=900))
    assert (error.used, reason(error.result, "spends")) == (900, ("succeeded", "checkpoint"))


def test_the_same_budget_counts_a_run_that_goes_on_once() -> None:
    """In one process the object has counted it already."""
    budget = Budget(tokens=2500)
    calls = Calls(store=MemoryStore())
    run(Calls().graph, budget=budget)
    spent(calls.graph, budget=budget, run_id="r")
    assert budget.used["tokens"] == 2500
    with pytest.raises(BudgetSpent):
        in_virtual_time(calls.graph.aresume("r", budget=budget))
    assert budget.used["tokens"] == 2500


def test_what_is_forgotten_was_used_all_the_same() -> None:
    """A node that runs again because it has changed costs twice."""
    store = MemoryStore()

    def graph(version: str) -> Graph:
        made = Graph("changed", store=store)

        @made.node(version=version)
        async def spends(context: Context) -> int:
            context.use(tokens=100)
            return 1

        @made.node
        async def after(spends: int) -> int:
            raise LookupError

        return made

    with pytest.raises(RunFailed):
        run(graph("1"), run_id="r")
    with pytest.raises(RunFailed) as caught:
        in_virtual_time(graph("2").aresume("r", on_change="rerun"))
    assert caught.value.result.usage == {"tokens": 200}


def test_a_fact_that_tells_no_usage_is_damage() -> None:
    from antichain.journal import read_usage
    from antichain.stores.codec import encode

    assert read_usage([Fact(FactKind.USED, "a", payload=encode({"tokens": 2})), Fact(FactKind.SKIPPED, "b")]) == {
        "tokens": 2
    }
    for value in ([1], {"tokens": "many"}, {"tokens": -1}, {1: 1}):
        with pytest.raises(StoreDamaged):
            read_usage([Fact(FactKind.USED, "a", payload=encode(value))])


# -- shared


def test_runs_share_a_budget_and_all_of_them_stop() -> None:
    budget = Budget(tokens=1000)
    quick, slow = Calls(), Calls()

    async def both() -> list[Any]:
        runs = [quick.graph.arun(budget=budget), slow.graph.arun(budget=budget)]
        return await asyncio.gather(*runs, return_exceptions=True)

    outcomes = in_virtual_time(both())
    assert [type(outcome) for outcome in outcomes] == [BudgetSpent, BudgetSpent]
    assert 10 <= len(quick.ran) + len(slow.ran) <= 12
    assert budget.used["tokens"] == 100 * (len(quick.ran) + len(slow.ran))


def test_a_run_in_another_thread_stops_too() -> None:
    """On the wall clock: it has not said anything itself."""
    budget, started, outcomes = Budget(tokens=1), threading.Event(), []
    graph = Graph("waits")

    @graph.node
    async def first() -> None:
        started.set()
        while not budget.used["tokens"]:
            await asyncio.sleep(0.01)

    graph.add("second", print, depends_on=[first])

    def work() -> None:
        try:
            graph.run(budget=budget)
        except BudgetSpent as error:
            outcomes.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    budget.count({"tokens": 5})
    thread.join(10)
    assert [error.unit for error in outcomes] == ["tokens"]


def test_a_batch_shares_its_budget() -> None:
    calls = Calls()
    with pytest.raises(BudgetSpent):
        in_virtual_time(calls.graph.abatch([{}, {}], budget=Budget(tokens=500)))
    assert len(calls.ran) < 20


@pytest.mark.parametrize("outcomes", [False, True])
def test_amap_stops_too_and_says_what_became_of_each_item(outcomes: bool) -> None:
    async def call(item: int, context: Context) -> int:
        await asyncio.sleep(1)
        context.use(tokens=10)
        if item == 1:
            raise ValueError(item)
        return item

    with pytest.raises(BudgetSpent) as caught:
        in_virtual_time(
            amap(
                call,
                range(100),
                max_concurrent=3,
                on_error="continue",
                fallback=lambda error: -1 if outcomes else raised(error),
                budget=Budget(tokens=60),
                outcomes=outcomes,  # type: ignore[call-overload]
            )
        )
    error = caught.value
    assert 60 <= error.used <= 80
    ran = int(error.used / 10)
    assert [outcome.key for outcome in error.outcomes] == [str(number) for number in range(100)]
    assert [(each.state, each.reason) for each in error.outcomes[:3]] == [
        ("succeeded", "output"),
        ("succeeded", "fallback") if outcomes else ("failed", "error"),
        ("succeeded", "output"),
    ]
    assert [each.value for each in error.outcomes[:ran]] == [0, -1 if outcomes else None, *range(2, ran)]
    assert {(each.state, each.reason, each.ok) for each in error.outcomes[ran:]} == {("cancelled", "budget", False)}
    with pytest.raises(RunnerError, match=r"item '99' was cancelled \(reason: budget\)"):
        error.outcomes[-1].unwrap()
    assert "What became of each item is in .outcomes; only a graph.map(…)" in str(error)
    assert pickle.loads(pickle.dumps(BudgetSpent("tokens", 1, 1, keeps_items=False))).args == (
        BudgetSpent("tokens", 1, 1, keeps_items=False).args
    )


def raised(error: BaseException) -> Any:
    raise error


def test_a_map_whose_budget_is_spent_before_it_began_has_the_items_of_a_collection() -> None:
    async def call(item: int) -> int:
        return item

    for items, keys in (([3, 4], ["k3", "k4"]), (iter([3, 4]), [])):
        budget = Budget(tokens=1)
        budget.count({"tokens": 1})
        with pytest.raises(BudgetSpent) as caught:
            in_virtual_time(amap(call, items, key=lambda item: f"k{item}", budget=budget))
        assert [each.key for each in caught.value.outcomes] == keys
        assert {each.reason for each in caught.value.outcomes} <= {"budget"}


def test_gather_counts_what_values_tell_and_stops() -> None:
    async def call(number: int) -> dict[str, Any]:
        await asyncio.sleep(1)
        return {"number": number, "usage": {"total_tokens": 400}}

    async def main() -> Any:
        twice = call(9)
        return await gather(twice, call(0), twice, call(1), call(2), max_concurrent=1, budget=Budget(tokens=500))

    with pytest.raises(BudgetSpent) as caught:
        in_virtual_time(main())
    found = [(each.key, each.reason, each.value and each.value["number"]) for each in caught.value.outcomes]
    ended = [("0", "output", 9), ("1", "output", 0), ("2", "output", 9)]
    assert found == [*ended, ("3", "budget", None), ("4", "budget", None)]


def test_a_run_inside_a_node_is_not_tried_again_for_its_budget() -> None:
    """Another attempt would find it as empty."""
    budget, attempts = Budget(tokens=1), []
    budget.count({"tokens": 1})
    graph = Graph("outer", on_error="continue")

    @graph.node(retry=3)
    async def inner() -> None:
        attempts.append(1)
        await Calls().graph.arun(budget=budget)

    result = run(graph)
    assert isinstance(result.nodes["inner"].error, BudgetSpent)
    assert not isinstance(result.nodes["inner"].error, NodeFailed)
    assert attempts == [1]


def test_a_run_that_has_ended_gives_its_result_whatever_budget_it_gets() -> None:
    """It starts nothing that could use anything."""
    store, calls = MemoryStore(), Calls()
    run(calls.graph, store=store, run_id="over")
    for budget in (Budget(tokens=1), Budget(tokens=2000), Budget(tokens=9000)):
        again: RunResult = in_virtual_time(calls.graph.aresume("over", store=store, budget=budget))
        assert (again.status, again["report"], budget.used["tokens"]) == ("succeeded", 190, 2000)
    assert sum(calls.ran.values()) == 20


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "1", None])
def test_what_is_no_amount_is_not_counted(amount: Any) -> None:
    budget = Budget(tokens=10)
    with pytest.raises(GraphError, match="must be a number from zero up"):
        budget.count({"tokens": amount})
    assert budget.used == {"tokens": 0}


def test_nothing_watches_a_budget_after_the_run() -> None:
    budget = Budget(tokens=1)
    spent(Calls().graph, budget=budget)
    run(Graph("empty"), budget=Budget(tokens=1))
    assert not budget._watchers


# -- the ledger


def test_the_written_table() -> None:
    """A budget of 100 tokens and 1 dollar: what each step leaves."""
    spending = Spending({"tokens": 100, "usd": 1, "none": None})
    table: list[tuple[str, dict[str, float], str | None, float, float, Any]] = [
        ("count", {"tokens": 40}, None, 40, 0, None),
        ("count", {"tokens": 20, "usd": 0.5}, "r", 60, 0.5, None),
        ("count", {"pages": 1000}, None, 60, 0.5, None),
        ("recall", {"tokens": 20, "usd": 0.5}, "r", 60, 0.5, None),
        ("recall", {"tokens": 35, "usd": 0.25}, "r", 75, 0.5, None),
        ("recall", {"tokens": 5}, "s", 80, 0.5, None),
        ("count", {"usd": 0.5}, None, 80, 1.0, "usd"),
        ("count", {"tokens": 20}, "s", 100, 1.0, "tokens"),
    ]
    for number, (step, used, run_id, tokens, usd, out) in enumerate(table):
        getattr(spending, step)(*((run_id, used) if step == "recall" else (used, run_id)))
        found = spending.spent()
        assert (spending.used["tokens"], spending.used["usd"]) == (tokens, usd), number
        assert (None if found is None else found.unit) == out, number
    assert spending.used["pages"] == 1000


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "say what is counted"),
        ({"tokens": 0}, r"Budget\(tokens=0\): must be a number above zero"),
        ({"usd": -1}, "usd=-1"),
        ({"usd": "5"}, "usd='5'"),
        ({"usd": True}, "usd=True"),
        ({"tokens": float("inf")}, "tokens=inf"),
        ({"tokens": float("nan")}, "tokens=nan"),
    ],
)
def test_what_is_no_limit_is_refused(given: Any, what: str) -> None:
    with pytest.raises(GraphError, match=what):
        Budget(**given)


@pytest.mark.parametrize("value", [5, {"tokens": 5}, Budget, Limit(3), "5 usd"])
def test_what_is_no_budget_is_refused(value: Any) -> None:
    graph = Graph("g")
    graph.add("a", print)
    with pytest.raises(GraphError, match=r"budget=.*use a Budget, e\.g\. Budget\(tokens=1_000_000, usd=5\)"):
        graph.run(budget=value)


def test_a_budget_shows_itself() -> None:
    budget = Budget(tokens=1000, usd=5)
    budget.count({"tokens": 1250, "usd": 0.5})
    assert repr(budget) == "<Budget tokens=1250 of 1000, usd=0.5 of 5>"
    assert budget.left == {"tokens": 0, "usd": 4.5}
    assert budget.limits == {"tokens": 1000, "usd": 5}
    assert budget.spent is not None
    assert budget.spent.unit == "tokens"
