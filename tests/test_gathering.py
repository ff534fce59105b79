"""
One call for many items: `map`, `amap` and `gather`.
"""

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import antichain
from antichain import GraphError, Limit, NodeTimeout, Outcome, Retry, RunFailed, RunTimeout, amap, gather
from antichain.policies import Backoff
from tests.support.leftovers import nothing_left, run_in_steps


async def double(item: int) -> int:
    await asyncio.sleep(0.1 * (item % 3))
    return 2 * item


def virtual(main: Any) -> tuple[Any, float]:
    """The value of a coroutine function run in virtual time, and the seconds it took; nothing may be left."""
    value, error, loop, _ = run_in_steps(main)
    if error is not None:
        raise error
    return value, loop.time()


# -- map and amap


def test_values_come_in_the_order_of_the_items() -> None:
    async def source() -> AsyncIterator[int]:
        for number in range(20):
            await asyncio.sleep(0.01)
            yield number

    expected = [2 * number for number in range(20)]
    for items in (range(20), list(range(20)), iter(range(20)), (number for number in range(20))):
        assert virtual(lambda items=items: amap(double, items, max_concurrent=4))[0] == expected
    assert virtual(lambda: amap(double, source(), max_concurrent=4))[0] == expected
    assert antichain.map(lambda item: 2 * item, range(20), max_concurrent=4) == expected
    assert antichain.map(double, []) == []


def test_map_works_inside_a_running_loop() -> None:
    async def main() -> list[int]:
        return antichain.map(double, range(4))

    assert asyncio.run(main()) == [0, 2, 4, 6]


def test_no_more_than_max_concurrent_run_and_none_is_idle() -> None:
    running = most = 0

    async def body(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    _, seconds = virtual(lambda: amap(body, range(12), max_concurrent=3))
    assert most == 3
    assert seconds == pytest.approx(4)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_source_is_never_read_further_ahead_than_the_window(is_async: bool) -> None:
    taken = done = 0
    most = 0

    def count() -> None:
        nonlocal taken, most
        taken += 1
        most = max(most, taken - done)

    def plain() -> Iterator[int]:
        for number in range(100):
            count()
            yield number

    async def slow() -> AsyncIterator[int]:
        for number in range(100):
            count()
            yield number

    async def body(item: int) -> int:
        nonlocal done
        await asyncio.sleep(1)
        done += 1
        return item

    source = slow if is_async else plain
    value, _ = virtual(lambda: amap(body, source(), max_concurrent=2, window=5))
    assert value == list(range(100))
    # What an async source has ready waits in a queue of the same size.
    assert most <= (11 if is_async else 6)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [OSError, StopAsyncIteration, SystemExit, asyncio.CancelledError])
def test_a_source_that_raises_fails_the_map_and_keeps_what_came_of_the_items(
    is_async: bool, error: type[BaseException]
) -> None:
    def plain() -> Iterator[int]:
        yield 1
        yield 2
        raise error("planted")

    async def slow() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.sleep(1)
        raise error("planted")

    async def body(item: int) -> int:
        if not is_async:
            return 10 * item
        await asyncio.sleep(0.1)
        return 10 * item

    source = slow if is_async else plain
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: amap(body, source(), max_concurrent=1))
    (planted,) = caught.value.exceptions
    # A generator cannot raise StopAsyncIteration: Python makes it a RuntimeError.
    assert "planted" in str(planted) or "planted" in str(planted.__cause__)
    outcomes = caught.value.outcomes
    states = [outcome.state for outcome in outcomes]
    # What a plain source has given before it raised had not started yet.
    assert states == ["succeeded", "succeeded"] if is_async else set(states) <= {"succeeded", "cancelled"}


def test_a_generator_is_closed_when_the_map_ends_early_and_may_raise_then() -> None:
    for error in (None, ValueError):
        closed = []

        def source(error: Any = error, closed: list[bool] = closed) -> Iterator[int]:
            try:
                yield from range(100)
            finally:
                closed.append(True)
                if error is not None:
                    raise error("closing")

        async def body(item: int) -> int:
            if item == 3:
                raise KeyError(item)
            return item

        with pytest.raises(RunFailed) as caught:
            virtual(lambda source=source, body=body: amap(body, source(), max_concurrent=1))
        assert closed == [True]
        assert KeyError in {type(each) for each in _leaves(caught.value)}


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for each in group.exceptions:
        leaves.extend(_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    return leaves


def test_a_file_stays_open_for_its_owner() -> None:
    lines = io.StringIO("a\nb\n")
    assert antichain.map(str.strip, lines) == ["a", "b"]
    assert not lines.closed


def test_an_async_source_is_closed_when_the_map_ends_early() -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
                await asyncio.sleep(0.1)
        finally:
            await asyncio.sleep(0.1)
            closed.append("source")

    async def body(item: int) -> int:
        if item == 3:
            raise KeyError(item)
        return item

    with pytest.raises(RunFailed):
        virtual(lambda: amap(body, source(), max_concurrent=1))
    assert closed == ["source"]


def test_outcomes_keep_failures_beside_values() -> None:
    async def body(item: int) -> int:
        if item % 2:
            raise ValueError(item)
        return item

    value, _ = virtual(lambda: amap(body, range(4), outcomes=True))
    assert [(outcome.key, outcome.state, outcome.value) for outcome in value] == [
        ("0", "succeeded", 0),
        ("1", "failed", None),
        ("2", "succeeded", 2),
        ("3", "failed", None),
    ]
    assert value[0].unwrap() == 0
    with pytest.raises(ValueError, match="1"):
        value[1].unwrap()
    assert isinstance(value[0], Outcome)


def test_without_outcomes_the_first_failure_cancels_the_rest_and_what_completed_is_kept() -> None:
    async def body(item: int) -> int:
        await asyncio.sleep(item)
        if item == 2:
            raise ValueError(item)
        return item

    with pytest.raises(RunFailed) as caught:
        virtual(lambda: amap(body, range(5)))
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    found = [(outcome.state, outcome.reason) for outcome in caught.value.outcomes]
    assert [state for state, _ in found] == ["succeeded", "succeeded", "failed", "cancelled", "cancelled"]
    assert [reason for _, reason in found] == ["output", "output", "error", "run", "run"]
    (part,) = [each for each in (caught.value.subgroup(ValueError),) if each is not None]
    assert part.outcomes == caught.value.outcomes


def test_failures_that_stop_nothing_are_raised_together_and_what_completed_is_kept() -> None:
    async def body(item: int) -> int:
        if item % 2:
            raise ValueError(item)
        return item

    with pytest.raises(RunFailed, match="2 failures") as caught:
        virtual(lambda: amap(body, range(4), on_error="continue"))
    assert [str(error) for error in caught.value.exceptions] == ["1", "3"]
    assert [outcome.value for outcome in caught.value.outcomes] == [0, None, 2, None]


def test_policies_hold_for_each_item() -> None:
    tries: dict[int, int] = {}

    async def body(item: int) -> int:
        tries[item] = tries.get(item, 0) + 1
        if tries[item] < 3:
            raise OSError
        await asyncio.sleep(0.5)
        return item

    value, _ = virtual(lambda: amap(body, range(3), retry=Retry(3, Backoff(0.1)), timeout=1))
    assert value == [0, 1, 2]
    assert tries == {0: 3, 1: 3, 2: 3}

    async def slow(item: int) -> int:
        await asyncio.sleep(item)
        return item

    value, _ = virtual(lambda: amap(slow, [0, 5], timeout=1, fallback=-1))
    assert value == [0, -1]


def test_the_deadline_keeps_what_completed() -> None:
    async def body(item: int) -> int:
        await asyncio.sleep(item)
        return item

    with pytest.raises(RunTimeout) as caught:
        virtual(lambda: amap(body, [0, 1, 50], deadline=2))
    found = [(outcome.state, outcome.reason) for outcome in caught.value.outcomes]
    assert found == [("succeeded", "output"), ("succeeded", "output"), ("cancelled", "deadline")]
    assert str(caught.value).endswith("What became of each item is in .outcomes; raise deadline= to allow more time.")


@pytest.mark.parametrize("outcomes", [False, True])
def test_items_that_never_came_into_the_run_are_there_too(outcomes: bool) -> None:
    """Those of a collection, those that wait aside for the limits that they chose; of an iterator, those taken."""

    async def body(item: int) -> int:
        await asyncio.sleep(1)
        return item

    def stopped(items: Any, **options: Any) -> list[tuple[str, str]]:
        with pytest.raises(RunTimeout) as caught:
            virtual(lambda: amap(body, items, max_concurrent=1, deadline=1.5, outcomes=outcomes, **options))
        return [(outcome.key, outcome.reason) for outcome in caught.value.outcomes]

    keys = ["0", *map(str, range(1, 9))]
    assert stopped(range(9)) == [("0", "output"), *((key, "deadline") for key in keys[1:])]
    named = stopped(range(9), key=lambda item: f"k{item}")
    assert named == [("k0", "output"), *((f"k{key}", "deadline") for key in keys[1:])]
    assert stopped(iter(range(9)))[:3] == [("0", "output"), ("1", "deadline"), ("2", "deadline")]
    assert len(stopped(iter(range(9)))) == 3
    taken: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    assert [key for key, _ in stopped(numbers())] == [str(number) for number in taken]
    limits = {"slow": 1, "quick": 1}
    chosen = stopped(
        iter(range(9)), key=lambda item: f"k{item}", uses=lambda item: "quick" if item == 5 else "slow", limits=limits
    )
    assert [key for key, _ in chosen] == [f"k{key}" for key in keys]
    assert [key for key, reason in chosen if reason == "output"] == ["k0"]
    assert {reason for _, reason in chosen} == {"output", "deadline"}


def test_keys_name_items_and_must_tell_them_apart() -> None:
    async def body(item: str) -> str:
        return item

    value, _ = virtual(lambda: amap(body, ["a", "b"], key=str.upper, outcomes=True))
    assert [outcome.key for outcome in value] == ["A", "B"]
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: amap(body, ["a", "A"], key=str.upper))
    assert isinstance(caught.value.exceptions[0], GraphError)
    assert "'A'" in str(caught.value.exceptions[0])


@pytest.mark.parametrize("items", [5, "text", b"bytes", None])
def test_what_is_no_list_of_items_is_refused(items: Any) -> None:
    with pytest.raises((GraphError, RunFailed)) as caught:
        antichain.map(double, items)
    text = str(caught.value) + "".join(str(each) for each in getattr(caught.value, "exceptions", ()))
    assert "list" in text


def test_maps_may_be_nested() -> None:
    async def row(count: int) -> list[int]:
        return await amap(double, range(count))

    value, _ = virtual(lambda: amap(row, [1, 2, 3]))
    assert value == [[0], [0, 2], [0, 2, 4]]


def test_plain_functions_run_in_threads() -> None:
    main = threading.get_ident()

    def body(item: int) -> bool:
        time.sleep(0.001)
        return threading.get_ident() != main

    with nothing_left():
        assert antichain.map(body, range(20), max_concurrent=4) == [True] * 20


# -- gather


async def value_after(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


async def fails_after(seconds: float, error: BaseException) -> Any:
    await asyncio.sleep(seconds)
    raise error


def test_gather_returns_values_in_order_within_its_limit() -> None:
    async def main() -> Any:
        return await gather(*[value_after(1, number) for number in range(6)], max_concurrent=2)

    assert virtual(main) == (list(range(6)), pytest.approx(3))
    assert virtual(lambda: gather())[0] == []


def test_gather_takes_coroutines_tasks_futures_and_the_same_one_twice() -> None:
    class Later:
        def __await__(self) -> Any:
            return value_after(0.1, "awaitable").__await__()

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        task = loop.create_task(value_after(0.2, "task"))
        future = loop.create_future()
        loop.call_later(0.3, future.set_result, "future")
        twice = value_after(0.1, "twice")
        return await gather(task, future, Later(), twice, twice)

    assert virtual(main)[0] == ["task", "future", "awaitable", "twice", "twice"]


def test_gather_raises_the_first_failure_as_it_is_after_all_have_ended() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.1)
            ended.append("slow")

    planted = ValueError("planted")
    planted.__cause__ = KeyError("cause")

    async def main() -> Any:
        task = asyncio.ensure_future(slow())
        never = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        try:
            await gather(slow(), task, fails_after(1, planted), never, slow(), max_concurrent=3)
        except ValueError as error:
            assert error is planted
            assert isinstance(error.__cause__, KeyError)
            assert never.done()
            assert task.done()
            return asyncio.get_running_loop().time()

    assert virtual(main)[0] == pytest.approx(1.2, abs=0.2)
    assert ended == ["slow"] * 3


def test_gather_returns_exceptions_in_place_of_values() -> None:
    planted = OSError("planted")

    async def main() -> Any:
        return await gather(
            value_after(1, "a"), fails_after(1, planted), value_after(9, "c"), timeout=2, return_exceptions=True
        )

    a, b, c = virtual(main)[0]
    assert (a, b) == ("a", planted)
    assert isinstance(c, NodeTimeout)


def test_coroutines_that_never_start_are_closed() -> None:
    """Warnings are errors here: nothing complains of a coroutine that was never awaited."""

    async def failing() -> Any:
        with pytest.raises(OSError, match="planted"):
            await gather(fails_after(0, OSError("planted")), *[value_after(1, n) for n in range(5)], max_concurrent=1)

    async def misspelt() -> Any:
        with pytest.raises(GraphError):
            await gather(value_after(1, 1), max_concurrent=-1)
        with pytest.raises(GraphError):
            await gather(value_after(1, 1), uses="nowhere")

    async def overdue() -> Any:
        with pytest.raises(RunTimeout):
            await gather(value_after(5, 1), value_after(5, 2), value_after(5, 3), max_concurrent=1, deadline=1)

    for main in (failing, misspelt, overdue):
        virtual(main)


def test_a_cancelled_gather_cancels_and_awaits_what_it_gathers() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.1)
            ended.append("slow")

    _, error, loop, _ = run_in_steps(lambda: asyncio.wait_for(gather(slow(), slow(), slow(), max_concurrent=2), 1))
    assert isinstance(error, TimeoutError)
    assert ended == ["slow"] * 2
    assert loop.time() == pytest.approx(1.1, abs=0.2)


def test_gather_takes_named_limits() -> None:
    limit = Limit(1)

    async def main() -> Any:
        return await gather(*[value_after(1, n) for n in range(3)], limits={"one": limit}, uses="one")

    value, seconds = virtual(main)
    assert value == [0, 1, 2]
    assert seconds == pytest.approx(3)
    assert limit.used == 0


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_gather_of_what_cannot_be_awaited_says_what_to_do(return_exceptions: bool) -> None:
    """At once, with nothing awaited and no coroutine left open."""
    seen: list[int] = []

    async def noted() -> None:
        seen.append(1)

    async def main() -> Any:
        with pytest.raises(TypeError, match=r"gather was given \[\], which cannot be awaited: .* gather\(\*calls\)"):
            await gather(noted(), [], return_exceptions=return_exceptions)  # type: ignore[arg-type]

    virtual(main)
    assert not seen
