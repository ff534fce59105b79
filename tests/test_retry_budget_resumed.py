"""
A retry budget goes on from where its run was left: resumed in a loop, a run that crashes again and again
retries no more than in one go.
"""

import asyncio
from random import Random
from typing import Any

import pytest

from antichain import Backoff, Context, Graph, MemoryStore, Retry, RetryBudget, RunFailed
from antichain.policies.retry_budget import RetryTokens, Try
from antichain.resuming.retries import tries_of
from antichain.stores import Fact, FactKind
from antichain.testing import VirtualLoop

MANY = Retry(attempts=100, backoff=Backoff(initial=1, factor=1, jitter=False))


def in_virtual_time(main: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def left(run: Any, began: asyncio.Event, after: float) -> bool:
    """Run for so many seconds from the first attempt, as if the process died then; False if it ended before."""
    task = asyncio.ensure_future(run)
    first = asyncio.ensure_future(began.wait())
    await asyncio.wait([task, first], return_when=asyncio.FIRST_COMPLETED)
    first.cancel()
    done, _ = await asyncio.wait([task], timeout=after)
    task.cancel()
    await asyncio.gather(task, first, return_exceptions=True)
    if done:
        task.result()
    return not done


def crashing(services: "Services", graph: Any, options: Any = dict, times: int = 6) -> int:
    """
    Begin a run, and resume it in new processes, as it were, until it has ended; how often it was left. Each time it is
    left half a second after its first attempt: what failed is to be tried again, half a second later.
    """
    for number in range(times):
        services.began = asyncio.Event()
        made = graph()
        run = made.aresume("r", **options()) if number else made.arun(run_id="r", **options())
        if not in_virtual_time(left(run, services.began, 0.5)):
            return number
    return times


class Services:
    """Calls of several services, all of which are down."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.store = MemoryStore()
        self.began = asyncio.Event()

    def call(self, service: str) -> Any:
        async def call(context: Context) -> None:
            await self.fail(service, context)

        return call

    async def fail(self, service: str, context: Context) -> None:
        self.began.set()
        self.nodes[context.node_id] = service
        raise ConnectionError("down")

    def retries(self, service: str) -> int:
        """Of a node that had failed, the next attempt is a call again."""
        facts = self.store.read("r").facts
        return sum(fact.kind == FactKind.RETRYING and self.nodes[fact.node] == service for fact in facts)


def test_a_run_that_crashes_and_is_resumed_in_a_loop_does_not_retry_without_end() -> None:
    """Five retries for ten nodes, however often it is left; it was five in each process."""
    services = Services()

    def graph() -> Graph:
        made = Graph("loop", store=services.store, on_error="continue")
        for number in range(10):
            made.add(f"n{number}", services.call("llm"), retry=MANY)
        return made

    assert crashing(services, graph, lambda: {"retry_budget": {"*": RetryBudget(0, 5)}}) > 0
    assert services.retries("llm") == 5


@pytest.mark.parametrize(("budget", "reserve"), [(lambda: 0.1, 10), (lambda: RetryBudget(0.1, 3), 3)])
def test_each_resume_takes_a_new_object_or_a_share(budget: Any, reserve: int) -> None:
    """Of the same terms, in a process that knows nothing of what was before. What runs again is a call again."""
    services = Services()

    def graph() -> Graph:
        made = Graph("loop", store=services.store, on_error="continue", retry_budget=budget())
        for number in range(10):
            made.add(f"n{number}", services.call("llm"), retry=MANY)
        return made

    assert crashing(services, graph) > 0
    tries = tries_of(graph().plan(), services.store.read("r").facts)
    calls, retries = sum(each.is_call for each in tries), sum(each.is_retry for each in tries)
    assert reserve <= retries <= reserve + calls / 10


def nested(services: Services) -> Graph:
    """
    Two limits: planned nodes, nodes of a nested graph, items of a map of functions, of graphs, and chosen ones.
    """
    inner = Graph("inner")
    inner.add("a", services.call("llm"), uses="llm", retry=MANY)
    inner.add("b", services.call("search"), uses="search", retry=MANY)
    made = Graph("outer", store=services.store, on_error="continue", limits={"llm": 50, "search": 50})
    made.add("inner", inner)
    made.add("plain", services.call("llm"), uses="llm", retry=MANY)

    async def item(item: int, context: Context) -> None:
        await services.fail("search", context)

    made.map("items", item, over=[1, 2], uses="search", retry=MANY, outcomes=True)
    return made


def test_each_limit_goes_on_with_its_own() -> None:
    services = Services()

    def options() -> dict[str, Any]:
        return {"retry_budget": {"llm": RetryBudget(0, 1), "search": RetryBudget(0, 2)}}

    assert crashing(services, lambda: nested(services), options) > 0
    assert (services.retries("llm"), services.retries("search")) == (1, 2)


def test_what_nobody_knows_any_more_counts_for_every_limit() -> None:
    """Which limit an item had chosen is not stored: too few retries rather than too many."""
    services = Services()

    def graph() -> Graph:
        made = Graph("chosen", store=services.store, on_error="continue", limits={"llm": 50, "search": 50})

        async def item(item: str, context: Context) -> None:
            await services.fail(item, context)

        made.map("items", item, over=["llm", "search"], uses=lambda item: item, retry=MANY, outcomes=True)
        return made

    def options() -> dict[str, Any]:
        return {"retry_budget": {"llm": RetryBudget(0, 3), "search": RetryBudget(0, 3)}}

    assert crashing(services, graph, options) > 0
    assert services.retries("llm") <= 3
    assert services.retries("search") <= 3


def test_an_object_that_has_counted_a_run_counts_it_once() -> None:
    services, budget = Services(), RetryBudget(0, 4)

    def graph() -> Graph:
        made = Graph("same", store=services.store, on_error="continue", retry_budget=budget)
        made.add("a", services.call("llm"), retry=MANY)
        return made

    in_virtual_time(left(graph().arun(run_id="r"), services.began, 1.5))
    assert (budget.calls, budget.retries) == (1, 2)
    services.began = asyncio.Event()
    in_virtual_time(left(graph().aresume("r"), services.began, 0.5))
    assert (budget.calls, budget.retries) == (1, 3)
    # Another one takes it over.
    budget = RetryBudget(0, 4)
    with pytest.raises(RunFailed):
        in_virtual_time(_raising(graph()))
    assert (budget.calls, budget.retries, budget.refused) == (1, 4, 1)


async def _raising(graph: Graph) -> None:
    await graph.aresume("r", on_error="cancel")


def test_a_finished_run_takes_nothing_from_others() -> None:
    services = Services()
    graph = Graph("done", store=services.store)

    @graph.node(retry=MANY)
    async def flaky(context: Context) -> int:
        if context.attempt < 4:
            raise ConnectionError
        return 1

    in_virtual_time(graph.arun(run_id="r"))
    budget = RetryBudget(0, 4)
    assert in_virtual_time(graph.aresume("r", retry_budget=budget)).status == "succeeded"
    assert (budget.calls, budget.retries) == (0, 0)


def test_what_a_node_that_had_failed_tries_again_is_a_call_anew() -> None:
    """Somebody has mended it: as many attempts as ever, from what is left of the budget."""
    store, seen = MemoryStore(), []
    graph = Graph("mended", store=store)

    @graph.node(retry=Retry(attempts=2, backoff=Backoff(0)))
    async def flaky(context: Context) -> None:
        seen.append(context.attempt)
        raise ConnectionError

    for resume in (False, True, True):
        budget = RetryBudget(0.5, 2)
        with pytest.raises(RunFailed):
            in_virtual_time(
                graph.aresume("r", retry_budget=budget) if resume else graph.arun(run_id="r", retry_budget=budget)
            )
    assert seen == [1, 2, 3, 4, 5, 6]
    assert (budget.calls, budget.retries) == (3, 3)


# -- the rule


def test_debts_of_several_runs_add_up() -> None:
    budget = RetryBudget(0.5, 5)
    budget.join("a", [False, True, True])
    assert (budget.calls, budget.retries) == (1, 2)
    budget.join("a", [True, True, True])
    budget.join("b", [True, True])
    assert (budget.calls, budget.retries) == (1, 4)
    assert [budget.spend(), budget.spend()] == [True, False]


def test_journals_are_read_as_the_run_has_counted() -> None:
    """Random runs of random nodes: what their budget has counted is what is read of their journal."""
    for seed in range(20):
        rng = Random(seed)
        store, budget = MemoryStore(), RetryBudget(0.3, 3)
        graph = Graph("random", store=store, on_error="continue")

        async def call(context: Context, rng: Random = rng) -> None:
            await asyncio.sleep(rng.random())
            if rng.random() < 0.5:
                raise ConnectionError

        for number in range(12):
            node: dict[str, Any] = {"fallback": 0} if rng.random() < 0.3 else {}
            graph.add(f"n{number}", call, retry=rng.randint(1, 4), **node)
        in_virtual_time(graph.arun(run_id="r", retry_budget=budget))
        tokens = RetryTokens(0.3, 3)
        for each in tries_of(graph.plan(), store.read("r").facts):
            if each.is_call:
                tokens.call_ended()
            if each.is_retry:
                assert tokens.spend()
        assert (tokens.calls, tokens.retries) == (budget.calls, budget.retries) != (0, 0), seed


def test_the_written_table() -> None:
    graph = Graph("table", limits={"llm": 1})
    graph.add("a", print, uses="llm")
    kinds = {
        "retry": FactKind.RETRYING,
        "fail": FactKind.FAILED,
        "done": FactKind.SUCCEEDED,
        "gone": FactKind.FORGOTTEN,
    }
    table: list[tuple[str, int, str, str]] = [
        # What happened, in which attempt, why; and what it was: a call, a retry.
        ("retry", 1, "error", "call retry"),
        ("retry", 2, "error", "retry"),
        ("fail", 3, "error", ""),
        # It begins anew, and could not start.
        ("fail", 3, "timeout", ""),
        ("fail", 4, "error", "call"),
        ("retry", 5, "error", "call retry"),
        # Its run drained.
        ("fail", 5, "error", ""),
        ("done", 6, "output", "call"),
        ("gone", 0, "", ""),
        ("retry", 1, "error", "call retry"),
        ("done", 2, "fallback", ""),
        # By an earlier release, which began to count anew.
        ("retry", 1, "error", "call retry"),
        ("done", 2, "output", ""),
    ]
    facts = [Fact(kinds[what], "a", attempt, reason) for what, attempt, reason, _ in table]
    for number in range(len(facts)):
        before, now = tries_of(graph.plan(), facts[:number]), tries_of(graph.plan(), facts[: number + 1])
        said = now[len(before) :]
        expected = table[number][3]
        if not expected:
            assert said == [], number
        else:
            assert said == [Try("call" in expected, "retry" in expected, ("llm",))], number
