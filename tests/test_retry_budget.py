"""
Retry budgets: an outage does not multiply the load, and whoever is refused is told by what.
"""

import asyncio
import threading
from collections import Counter
from random import Random
from typing import Any

import pytest

from antichain import Backoff, Graph, GraphError, Policies, Retry, RetryBudget, Timeout, amap
from antichain.core.scheduler import FALLING_BACK, FINAL, RETRYING, Scheduler
from antichain.policies.retry_budget import RetryTokens, as_allowances
from antichain.retry_budget import open_budgets
from antichain.shape import shape_of
from antichain.testing import simulate
from tests.support.virtual import in_virtual_time, run

AT_ONCE = Backoff(initial=0, jitter=False)
MANY = Retry(attempts=10, backoff=AT_ONCE)


class Service:
    """Counts calls; is down while it is told to be."""

    def __init__(self, *, down: bool = True) -> None:
        self.down = down
        self.attempts: Counter[int] = Counter()

    async def call(self, item: int) -> int:
        self.attempts[item] += 1
        await asyncio.sleep(1)
        if self.down:
            raise ConnectionError("the service is down")
        return item

    @property
    def total(self) -> int:
        return self.attempts.total()

    @property
    def retries(self) -> int:
        return self.total - len(self.attempts)


def ask(service: Service, calls: int, **options: Any) -> list[Any]:
    return in_virtual_time(  # type: ignore[no-any-return]
        amap(service.call, range(calls), retry=MANY, outcomes=True, max_concurrent=50, **options)
    )


# -- what a budget is for


def test_an_outage_does_not_multiply_the_load() -> None:
    """Ten attempts each: ten times the calls without a budget; with one, a fifth more and the ten in reserve."""
    free, bound = Service(), Service()
    ask(free, 200)
    outcomes = ask(bound, 200, retry_budget=0.2)
    assert free.total == 2000
    # What the first call would add goes over the brim.
    assert bound.total == 200 + 10 + 39
    assert all(isinstance(outcome.error, ConnectionError) for outcome in outcomes)


def test_without_the_option_every_node_tries_as_often_as_it_says() -> None:
    service = Service()
    ask(service, 5)
    assert service.total == 50


def test_scattered_failures_are_retried_as_ever() -> None:
    """One call in twenty fails once: far below a fifth, although many fail at the same time."""
    rng = Random(7)
    broken = {item for item in range(1000) if rng.random() < 0.05}
    seen: set[int] = set()

    async def call(item: int) -> int:
        await asyncio.sleep(rng.random())
        if item in broken and item not in seen:
            seen.add(item)
            raise ConnectionError
        return item

    budget = RetryBudget()
    outcomes = in_virtual_time(amap(call, range(1000), retry=2, outcomes=True, max_concurrent=500, retry_budget=budget))
    assert all(outcome.error is None for outcome in outcomes)
    assert (budget.calls, budget.retries, budget.refused) == (1000, len(broken), 0)


def test_a_long_good_time_saves_nothing_up_for_an_outage() -> None:
    service, budget = Service(down=False), RetryBudget(share=0.2, reserve=10)
    ask(service, 500, retry_budget=budget)
    service.down = True
    service.attempts.clear()
    ask(service, 100, retry_budget=budget)
    assert service.retries == 10 + 19


# -- what becomes of the node


def test_a_refused_failure_is_the_last_and_says_why() -> None:
    graph = Graph("outage", on_error="continue")

    @graph.node(retry=MANY)
    async def calls() -> None:
        raise ConnectionError("down")

    result = run(graph, retry_budget=RetryBudget(share=0.5, reserve=2))
    node = result.nodes["calls"]
    assert (node.state, node.reason, node.attempts) == ("failed", "error", 3)
    assert node.error is not None
    assert node.error.__notes__[-1] == (
        "not tried again: the retry budget of this run is used up: 2 retries for 1 call so far, where 50% of the calls"
        " and 2 more (share=0.5) are allowed. Find out what makes so many calls fail; RetryBudget(reserve=…, share=…)"
        " allows more."
    )


def test_a_node_that_has_used_its_own_attempts_is_not_told_of_a_budget() -> None:
    graph = Graph("outage")

    @graph.node(retry=Retry(attempts=2, backoff=AT_ONCE))
    async def calls() -> None:
        raise ConnectionError("down")

    result = run(graph, retry_budget=0.2)
    error = result.nodes["calls"].error
    assert error is not None
    assert not any("budget" in each for each in error.__notes__)


def test_a_refused_node_takes_its_fallback() -> None:
    service = Service()
    graph = Graph("outage", retry_budget=RetryBudget(share=0, reserve=1))
    graph.map("calls", service.call, over=list(range(5)), retry=MANY, fallback=-1)
    assert run(graph)["calls"] == [-1] * 5
    assert service.retries == 1


def test_a_limit_has_a_budget_of_its_own() -> None:
    search, llm = Service(), Service()
    graph = Graph("two services", on_error="continue", limits={"search": 9, "llm": 9})
    policies: dict[str, Any] = {"retry": MANY, "outcomes": True}
    graph.map("searches", search.call, over=list(range(20)), uses="search", **policies)
    graph.map("answers", llm.call, over=list(range(20)), uses={"llm": 1, "search": 1}, **policies)
    result = run(graph, retry_budget={"llm": RetryBudget(share=0, reserve=3)})
    assert llm.retries == 3
    assert search.retries == 20 * 9
    notes = "\n".join(result["answers"][-1].error.__notes__)
    assert "the retry budget of limit 'llm' is used up: 3 retries for 20 calls" in notes


def test_a_retry_takes_from_every_budget_or_from_none() -> None:
    service = Service()
    whole, llm = RetryBudget(share=0, reserve=5), RetryBudget(share=0, reserve=2)
    ask(service, 20, uses="llm", limits={"llm": 50}, retry_budget={"*": whole, "llm": llm})
    assert service.retries == 2
    assert (whole.retries, llm.retries) == (2, 2)


def test_a_budget_is_shared_by_runs_in_several_threads() -> None:
    budget = RetryBudget(share=0.1, reserve=7)
    services = [Service() for _ in range(4)]

    def work(service: Service) -> None:
        ask(service, 50, retry_budget=budget)

    threads = [threading.Thread(target=work, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.calls == 200
    assert sum(service.retries for service in services) == budget.retries <= 7 + 20


def test_a_number_makes_a_budget_for_each_run() -> None:
    service = Service()
    graph = Graph("outage", on_error="continue", retry_budget=0.000001)
    graph.map("calls", service.call, over=list(range(20)), retry=MANY, outcomes=True)
    run(graph)
    run(graph)
    # Each item twice, and ten more in each run.
    assert service.total == 2 * 20 + 2 * 10


def test_a_nested_graph_shares_the_budget_of_its_run() -> None:
    service = Service()
    inner = Graph("inner", defaults=Policies(retry=MANY))
    for item in range(4):
        inner.add(f"call{item}", service.call, inputs={"item": item})
    graph = Graph("outer", on_error="continue")
    graph.add("inner", inner)
    run(graph, retry_budget=RetryBudget(share=0, reserve=3))
    assert service.retries == 3


def test_a_pause_that_would_not_end_in_time_costs_no_retry() -> None:
    budget = RetryBudget()
    graph = Graph("late", on_error="continue")

    @graph.node(timeout=Timeout(total=5), retry=Retry(attempts=9, backoff=Backoff(initial=60, jitter=False)))
    async def calls() -> None:
        raise ConnectionError

    run(graph, retry_budget=budget)
    assert (budget.calls, budget.retries, budget.refused) == (1, 0, 0)


def test_simulate_leaves_a_shared_budget_as_it_is() -> None:
    budget = RetryBudget(share=0, reserve=2)
    graph = Graph("outage")
    graph.add("calls", print, retry=MANY)
    with_budget = simulate(graph.plan(), outcomes={"calls": ConnectionError()}, retry_budget=budget)
    assert with_budget.nodes["calls"].attempts == 3
    assert budget.retries == 0


# -- the core


def test_core_says_which_budget_refused() -> None:
    shape = shape_of([[], []], demand=[(("llm", 1),), ()], retry={0: MANY, 1: MANY}, flags=[0, 8])
    budgets = open_budgets({"llm": RetryBudget(share=0, reserve=1)})
    core = Scheduler(shape, limits={"llm": 2}, on_error="continue", rng=Random(0), retry_budgets=budgets)
    core.start(0.0)
    assert {core.take(0.0), core.take(0.0)} == {0, 1}
    assert core.failed(0, 1, 1.0, retryable=True) == RETRYING
    assert core.refused_by is None
    core.tick(1.0)
    assert core.take(1.0) == 0
    assert core.failed(0, 2, 2.0, retryable=True) == FINAL
    assert core.refused_by == "llm"
    assert core.failed(1, 1, 2.0, retryable=False) == FALLING_BACK
    assert core.refused_by is None


# -- the rule itself


def test_the_written_table() -> None:
    """
    A budget of a fifth of the calls and two more: what each step leaves, in retries.
    """
    tokens = RetryTokens(share=0.2, reserve=2)
    table = [
        ("retry", True, 1.0),
        ("retry", True, 0.0),
        ("retry", False, 0.0),
        ("call", None, 0.2),
        ("call", None, 0.4),
        ("call", None, 0.6),
        ("call", None, 0.8),
        ("retry", False, 0.8),
        ("call", None, 1.0),
        ("retry", True, 0.0),
        ("back", None, 1.0),
        *[("call", None, min(2.0, round(1.0 + 0.2 * n, 1))) for n in range(1, 9)],
    ]
    for number, (step, answer, left) in enumerate(table):
        said = {"retry": tokens.spend, "call": tokens.call_ended, "back": tokens.give_back}[step]()
        assert (said, tokens.tokens / 1_000_000) == (answer, left), number
    assert (tokens.calls, tokens.retries, tokens.refused) == (13, 2, 2)


def test_a_share_adds_up_exactly() -> None:
    """A tenth ten times is one, which it is not in binary fractions."""
    tokens = RetryTokens(share=0.1, reserve=1)
    assert tokens.spend()
    for _ in range(10):
        tokens.call_ended()
    assert tokens.spend()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (True, "a share of the calls"),
        ("0.2", "a share of the calls"),
        (-0.1, r"RetryBudget\(share=-0.1\)"),
        (float("nan"), "share=nan"),
        (0, "retry_budget=0: a share of nothing, beside the 10 retries in reserve"),
        (RetryBudget, "a share of the calls"),
        ({"llm": -1}, "share=-1"),
        ({3: 0.2}, "3 is not the name of a limit"),
    ],
)
def test_what_is_no_budget_is_refused(value: Any, what: str) -> None:
    graph = Graph("g")
    graph.add("a", print)
    with pytest.raises(GraphError, match=what):
        graph.run(retry_budget=value)
    with pytest.raises(GraphError, match=what):
        Graph("g", retry_budget=value).plan()


@pytest.mark.parametrize(("share", "reserve"), [(-1, 10), (0.2, 0), (0.2, 0.5), ("x", 10), (0.2, None), (True, 1)])
def test_terms_that_are_no_numbers_are_refused(share: Any, reserve: Any) -> None:
    with pytest.raises(GraphError, match=r"RetryBudget\("):
        RetryBudget(share, reserve)


def test_a_budget_for_a_limit_that_nobody_uses_is_a_mistake() -> None:
    graph = Graph("g", limits={"llm": 3})
    graph.add("a", print, uses="llm")
    with pytest.raises(GraphError, match=r"retry_budget= names 'lm', which no node.*Did you mean 'llm'"):
        graph.run(retry_budget={"lm": 0.2})
    with pytest.raises(GraphError, match=r"retry_budget= names 'lm'"):
        Graph("h", retry_budget={"lm": 0.2}).run()
    with pytest.raises(GraphError, match=r"retry_budget= names 'lm'"):
        graph.plan().run(retry_budget={"lm": 0.2})


def test_a_budget_shows_itself() -> None:
    budget = RetryBudget(0.25, 4)
    budget.spend()
    assert repr(budget) == "RetryBudget(share=0.25, reserve=4, calls=0, retries=1, refused=0)"
    assert budget.told().startswith("1 retry for 0 calls so far, where 25% of the calls and 4 more")
    assert as_allowances(None) == {}
