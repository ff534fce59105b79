"""
One call for many items: `map`, `amap` and `gather`, each a graph with a single mapped stage.
"""

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from antichain.driver import Driver
from antichain.errors import BudgetSpent, RunFailed, RunTimeout, shown
from antichain.graph import Graph
from antichain.plan import prepare
from antichain.policies import NODE_POLICIES, LimitValue, NodePolicies
from antichain.record import RunResult
from antichain.run import drive, run_driver, settle
from antichain.stages import Outcome, outcomes_of

if TYPE_CHECKING:
    from antichain.budget import Budget

T = TypeVar("T")
R = TypeVar("R")

# The one node of such a graph, and the run input that brings its items.
_NODE = "map"
_ITEMS = "items"


class MapOptions(NodePolicies, total=False):
    """
    What `map` and `amap` take by name: policies of each item's call, and options of the run.
    """

    key: Callable[[Any], object] | None
    window: int | None
    max_concurrent: int | None
    limits: Mapping[str, LimitValue] | None
    deadline: float | None
    on_error: Literal["cancel", "drain", "continue"]
    budget: "Budget | None"
    retry_budget: Any  # Any: a share, or a RetryBudget, or a dict of these by limit
    grace: float
    run_id: str | None
    seed: int | None
    listeners: Iterable[Callable[[Any], object]] | None
    progress: bool
    isolation: Literal["context", "task"]
    ask: Callable[[Any], Any] | None


Items = Iterable[T] | AsyncIterable[T]


@overload
async def amap(
    function: Callable[[T], Awaitable[R]],
    items: Items[T],
    *,
    outcomes: Literal[False] = False,
    **options: Unpack[MapOptions],
) -> list[R]: ...
@overload
async def amap(
    function: Callable[[T], R], items: Items[T], *, outcomes: Literal[False] = False, **options: Unpack[MapOptions]
) -> list[R]: ...
@overload
async def amap(
    function: Callable[[T], Any], items: Items[T], *, outcomes: Literal[True], **options: Unpack[MapOptions]
) -> list[Outcome]: ...
async def amap(
    function: Callable[[Any], Any], items: Items[Any], *, outcomes: bool = False, **options: Unpack[MapOptions]
) -> list[Any]:
    """
    Call *function* for each item, several at once, and return the values in the order of the items.

    Coroutine functions run on the loop, plain functions in threads. Items are read only as far ahead as a bounded
    window: twice `max_concurrent`, or `window=`.

    Args:
        function: called with one item.
        items: a list, any iterable, or an async iterator; it may be endless only if something stops the run.
        outcomes: return an Outcome for each item, in which failures are kept beside values, instead of failing.
        options: node policies for each call (`retry`, `timeout` in seconds, `uses`, …) and run options
            (`max_concurrent`, …).

    Raises:
        RunFailed: a call failed.
        RunTimeout: `deadline` passed.
        BudgetSpent: `budget` is used up.

    All three keep in `.outcomes`, in order, what became of each item of a collection (of an iterator: of each that was
    taken), those that did not run among them. The last two are raised with *outcomes* too: they are no item's failure.
    """
    driver = _driver(function, items, outcomes, options)
    try:
        return _values(await drive(driver), driver)
    except (RunFailed, RunTimeout, BudgetSpent, asyncio.CancelledError) as error:
        raise _with_outcomes(error, driver) from None


@overload
def map(
    function: Callable[[T], Awaitable[R]],
    items: Items[T],
    *,
    outcomes: Literal[False] = False,
    **options: Unpack[MapOptions],
) -> list[R]: ...
@overload
def map(
    function: Callable[[T], R], items: Items[T], *, outcomes: Literal[False] = False, **options: Unpack[MapOptions]
) -> list[R]: ...
@overload
def map(
    function: Callable[[T], Any], items: Items[T], *, outcomes: Literal[True], **options: Unpack[MapOptions]
) -> list[Outcome]: ...
def map(
    function: Callable[[Any], Any], items: Items[Any], *, outcomes: bool = False, **options: Unpack[MapOptions]
) -> list[Any]:
    """
    Call *function* for each item, several at once, and return the values in the order of the items; see `amap`.

    Example:
        >>> antichain.map(str.upper, ["a", "b"], max_concurrent=2)
        ['A', 'B']
    """
    driver = _driver(function, items, outcomes, options)
    try:
        return _values(run_driver(driver), driver)
    except (RunFailed, RunTimeout, BudgetSpent, KeyboardInterrupt) as error:
        raise _with_outcomes(error, driver) from None


async def gather(
    *awaitables: Awaitable[Any],
    max_concurrent: int | None = None,
    timeout: float | None = None,
    return_exceptions: bool = False,
    deadline: float | None = None,
    limits: Mapping[str, LimitValue] | None = None,
    uses: str | Mapping[str, int] | None = None,
    budget: "Budget | None" = None,
    grace: float = 5.0,
) -> list[Any]:
    """
    Await all *awaitables*, at most *max_concurrent* at once, and return their values in order: `asyncio.gather` with
    limits and no leaks.

    After the first failure the others are cancelled and awaited, and the failure is raised as it is. There are no
    retries: an awaitable can be awaited once.

    Args:
        awaitables: coroutines, tasks, futures. Coroutines that never start are closed.
        timeout: seconds for each awaitable, from its start.
        return_exceptions: return exceptions in place of values instead of raising the first.
        deadline: seconds for all of them.
        limits: sizes of named limits, of which each awaitable takes what *uses* says.
        budget: what they may use in all. Counted are the tokens that a value tells (`response.usage`), which is all
            that an awaitable can say; `Budget.count` adds the rest.

    Raises:
        TypeError: one of them cannot be awaited; none was.
        RunTimeout: *deadline* passed. BudgetSpent: *budget* is used up. Both keep in `.outcomes`, in order, what became
            of each awaitable; those that did not run are closed.
    """
    options: dict[str, Any] = {"timeout": timeout} if timeout is not None else {}
    if uses is not None:
        options["uses"] = uses
    options.update(max_concurrent=max_concurrent, deadline=deadline, limits=limits, budget=budget, grace=grace)
    # As for asyncio.gather, the same one twice is awaited once.
    distinct = {id(awaitable): awaitable for awaitable in awaitables}
    failure: BaseException | None = None
    values: list[Any] = []
    driver: Driver | None = None
    try:
        _check(awaitables)
        driver = _driver(_await, list(distinct.values()), return_exceptions, options)
        values = (await drive(driver))[_NODE]
    except RunFailed as group:
        assert driver is not None
        failure = (driver.stages[0].errors or group.exceptions)[0]
    except (RunTimeout, BudgetSpent, asyncio.CancelledError) as error:
        if driver is not None:
            outcome_of = dict(zip(distinct, outcomes_of(driver), strict=True))
            keyed = enumerate(outcome_of[id(awaitable)] for awaitable in awaitables)
            error.outcomes = [replace(outcome, key=str(at)) for at, outcome in keyed]  # type: ignore[union-attr]
        raise
    finally:
        await _discard(distinct.values(), grace)
    if failure is not None:
        # Not where it was caught: it comes with its own cause and context.
        raise failure
    if return_exceptions:
        values = [outcome.value if outcome.ok else outcome.error for outcome in values]
    value_of = dict(zip(distinct, values, strict=True))
    return [value_of[id(awaitable)] for awaitable in awaitables]


def _check(awaitables: Iterable[object]) -> None:
    for each in awaitables:
        if not inspect.isawaitable(each):
            fix = "give coroutines, tasks or futures, one by one: gather(*calls)"
            raise TypeError(f"gather was given {shown(each)}, which cannot be awaited: {fix}.")


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _discard(awaitables: Iterable[Awaitable[Any]], grace: float) -> None:
    """
    Let go of awaitables that may never have been awaited.
    """
    unfinished = set()
    for awaitable in awaitables:
        if inspect.iscoroutine(awaitable):
            if inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED:
                awaitable.close()
        elif isinstance(awaitable, asyncio.Future) and not awaitable.done():
            awaitable.cancel()
            unfinished.add(awaitable)
    if unfinished:
        await asyncio.wait(unfinished, timeout=grace)


def _driver(
    function: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    outcomes: bool,
    options: Mapping[str, Any],
) -> Driver:
    """
    Make the run of a graph whose one node is mapped over the items.
    """
    policies = {name: value for name, value in options.items() if name in NODE_POLICIES}
    mapped = {name: options[name] for name in ("key", "window", "max_concurrent") if options.get(name) is not None}
    rest = {name: value for name, value in options.items() if name not in policies and name not in ("key", "window")}
    # Limits are the run's, so that one which nothing uses is refused: else it would seem to hold.
    graph = Graph(getattr(function, "__name__", "map"))
    graph.map(_NODE, function, over=_ITEMS, outcomes=outcomes, **mapped, **policies)
    plan, inputs, chosen = prepare(graph, {_ITEMS: items}, rest)
    return Driver(plan, settle(plan, chosen, keeps_instances=False), inputs)


def _values(result: RunResult, driver: Driver) -> list[Any]:
    """
    Return what the items came to.

    Raises:
        RunFailed: some have failed while the others went on.
    """
    if result.nodes[_NODE].state == "failed":
        errors = [error for error in driver.stages[0].errors if isinstance(error, Exception)]
        count = len(errors)
        raise RunFailed(f"{count} failure{'s' * (count != 1)} in graph {driver.plan.name!r}", errors, result)
    return result[_NODE]  # type: ignore[no-any-return]


def _with_outcomes(error: Any, driver: Driver) -> Any:
    """
    Keep on the exception what became of every item.
    """
    error.outcomes = outcomes_of(driver)
    return error
