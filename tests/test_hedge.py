"""
A hedge calls once more what is slow, takes the first success, and leaves no other call behind.
"""

import asyncio
import copy
import functools
import inspect
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain import (
    Backoff,
    Breaker,
    Chunk,
    Context,
    Graph,
    GraphError,
    GraphNode,
    Hedge,
    ParallelGraphExecutor,
    ParallelStepExecutor,
    Retry,
    RunFailed,
    RunTimeout,
    Step,
    Tools,
    value,
)
from antichain.runnable import describe
from antichain.runners.detached import _ROOMS, Room
from antichain.testing import virtual_time
from tests.support.leftovers import nothing_left, run_in_steps, wait_until


def stubborn(events: list[str]) -> Callable[[], Awaitable[None]]:
    """A call that swallows every cancellation, and ends only when it is given up."""

    async def ask() -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    events.append("swallowed")
        finally:
            events.append("ended")

    return ask


@dataclass
class Act:
    """What one call does: after so many seconds it returns its number, or raises."""

    seconds: float
    error: BaseException | None = None
    # Seconds that it takes to end once it is cancelled, and whether it then returns instead.
    clean_up: float = 0.0
    swallows: bool = False


class Play:
    """A coroutine function whose calls act as told, one by one."""

    def __init__(self, *acts: Act) -> None:
        self.acts = acts
        self.began: list[float] = []
        self.ended: list[tuple[int, float, str]] = []

    async def __call__(self, prefix: str = "call") -> str:
        loop = asyncio.get_running_loop()
        number = len(self.began)
        act = self.acts[number]
        self.began.append(loop.time())
        how = "succeeded"
        try:
            await asyncio.sleep(act.seconds)
            if act.error is not None:
                how = "failed"
                raise act.error
        except asyncio.CancelledError:
            how = "cancelled"
            if act.clean_up:
                await asyncio.sleep(act.clean_up)
            if not act.swallows:
                raise
        finally:
            self.ended.append((number, loop.time(), how))
        return f"{prefix} {number}"


def play(hedge: Hedge) -> tuple[Any, float]:
    """The value of a hedged call in virtual time, and the seconds it took; nothing may be left."""
    value, error, loop, _ = run_in_steps(hedge)
    if error is not None:
        raise error
    return value, loop.time()


# -- when the second call starts, and which of them wins


def test_fast_call_is_made_once() -> None:
    acts = Play(Act(1.9))
    assert play(Hedge(acts, 2)) == ("call 0", 1.9)
    assert acts.began == [0.0]


def test_slow_call_is_made_again_and_the_loser_is_ended_before_the_value_comes() -> None:
    acts = Play(Act(60, clean_up=0.5), Act(1))
    assert play(Hedge(acts, 2)) == ("call 1", 3.5)
    assert acts.began == [0.0, 2.0]
    assert acts.ended == [(1, 3.0, "succeeded"), (0, 3.5, "cancelled")]


def test_the_first_call_may_still_win() -> None:
    acts = Play(Act(3), Act(2))
    assert play(Hedge(acts, 2)) == ("call 0", 3.0)
    assert acts.ended == [(0, 3.0, "succeeded"), (1, 3.0, "cancelled")]


def test_more_than_two_calls_start_one_after_the_other() -> None:
    acts = Play(Act(60), Act(60), Act(1), Act(0))
    assert play(Hedge(acts, 2, max=4)) == ("call 2", 5.0)
    assert acts.began == [0.0, 2.0, 4.0]


def test_all_at_once() -> None:
    acts = Play(Act(3), Act(1), Act(2))
    assert play(Hedge(acts, 0, max=3)) == ("call 1", 1.0)
    assert acts.began == [0.0] * 3


# -- failures


def test_a_failure_before_the_second_call_is_the_hedges_own() -> None:
    """Against failures there is Retry, which counts attempts and backs off: a hedge is against slowness only."""
    error = ConnectionError("down")
    acts = Play(Act(1, error), Act(1))
    with pytest.raises(ConnectionError) as caught:
        play(Hedge(acts, 2))
    assert caught.value is error
    assert acts.began == [0.0]
    assert not hasattr(error, "hedge_errors")
    assert not hasattr(error, "__notes__")


def test_a_failure_beside_a_running_call_waits_for_that() -> None:
    assert play(Hedge(Play(Act(3, ConnectionError()), Act(5)), 2)) == ("call 1", 7.0)
    assert play(Hedge(Play(Act(9), Act(1, ConnectionError())), 2)) == ("call 0", 9.0)


def test_when_both_fail_the_first_ones_error_is_raised_and_keeps_the_other() -> None:
    """The first by its start, not by its end: so it does not hang on chance which kind a retry sees."""
    first, second = ConnectionError("reset"), ValueError("bad answer")
    for seconds in (4, 2.5):
        acts = Play(Act(seconds, first), Act(1, second))
        with pytest.raises(ConnectionError) as caught:
            play(Hedge(acts, 2))
        assert caught.value is first
        assert first.hedge_errors == (second,)  # type: ignore[attr-defined]
    # Raised twice, noted once.
    note = "hedged: call 2, started 2 s after the first, failed too: ValueError('bad answer')"
    assert first.__notes__ == [note]


def test_errors_of_three_calls() -> None:
    errors = [ConnectionError(), OSError(), KeyError()]
    with pytest.raises(ConnectionError) as caught:
        play(Hedge(Play(*(Act(9 - n, error) for n, error in enumerate(errors))), 2, max=3))
    assert caught.value.hedge_errors == tuple(errors[1:])  # type: ignore[attr-defined]
    assert len(caught.value.__notes__) == 2


def test_a_frozen_exception_keeps_the_other_too() -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    other = OSError("other")
    with pytest.raises(Frozen) as caught:
        play(Hedge(Play(Act(3, Frozen(7)), Act(2, other)), 2))
    assert caught.value.hedge_errors == (other,)  # type: ignore[attr-defined]
    assert caught.value.__notes__ == ["hedged: call 2, started 2 s after the first, failed too: OSError('other')"]


def test_a_retry_sees_the_kind_and_counts_attempts_not_calls() -> None:
    acts = Play(Act(3, ConnectionError()), Act(2, ValueError()), Act(1))
    graph = Graph("retried")
    graph.add("ask", Hedge(acts, 2), retry=Retry(3, Backoff(1.0, jitter=False), on=ConnectionError))
    with virtual_time() as clock:
        result = clock.run(graph.arun())
    assert (result["ask"], result.nodes["ask"].attempts) == ("call 2", 2)
    assert acts.began == [0.0, 2.0, 5.0]
    graph = Graph("not retried")
    graph.add("ask", Hedge(Play(Act(3, ValueError()), Act(2, ConnectionError())), 2), retry=Retry(3, on=OSError))
    with virtual_time() as clock, pytest.raises(RunFailed) as caught:
        clock.run(graph.arun())
    assert caught.value.result.nodes["ask"].attempts == 1
    assert isinstance(caught.value.exceptions[0], ValueError)


@pytest.mark.parametrize("error", [asyncio.CancelledError("its own"), SystemExit(3), KeyboardInterrupt()])
def test_what_is_no_exception_is_a_failure_like_any_other(error: BaseException) -> None:
    assert play(Hedge(Play(Act(3, error), Act(5)), 2)) == ("call 1", 7.0)
    graph = Graph("odd")
    graph.add("ask", Hedge(Play(Act(1, error)), 2))
    with virtual_time() as clock, pytest.raises(RunFailed) as caught:
        clock.run(graph.arun())
    assert caught.value.exceptions[0].__cause__ is error


# -- losers


def test_a_loser_that_swallows_its_cancellation_is_awaited_and_its_value_dropped() -> None:
    acts = Play(Act(60, clean_up=2.0, swallows=True), Act(1))
    assert play(Hedge(acts, 2)) == ("call 1", 5.0)
    assert acts.ended == [(1, 3.0, "succeeded"), (0, 5.0, "cancelled")]


def test_a_loser_that_goes_on_is_given_up_after_the_grace() -> None:
    events: list[str] = []
    calls: list[Callable[[], Awaitable[str | None]]] = [stubborn(events), Play(Act(0.0))]

    async def ask() -> str | None:
        return await calls.pop(0)()

    value, took = play(Hedge(ask, 2, grace=3.0))
    assert value == "call 0"
    assert events == ["swallowed", "ended"]
    assert 5.0 <= took < 6.0


def test_a_loser_behind_a_shield_is_awaited() -> None:
    """The shielded work ends by itself; the call that waits for it, as a careful one does, is waited for."""
    done = []

    async def write() -> None:
        await asyncio.sleep(4)
        done.append(asyncio.get_running_loop().time())

    async def ask() -> str:
        if len(done) == 1 or asyncio.get_running_loop().time() > 0:
            return "won"
        writing = asyncio.ensure_future(write())
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise
        return "wrote"

    assert play(Hedge(ask, 2)) == ("won", 4.0)
    assert done == [4.0]


def test_what_a_loser_raises_while_it_is_cancelled_is_told() -> None:
    broken = RuntimeError("clean-up failed")

    async def ask(calls: list[int]) -> str:
        calls.append(1)
        if len(calls) == 2:
            return "won"
        try:
            await asyncio.sleep(60)
        finally:
            raise broken

    told: list[dict[str, Any]] = []

    async def main() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        return str(await Hedge(ask, 2)([]))

    with virtual_time() as clock:
        assert clock.run(main()) == "won"
    assert [each["exception"] for each in told] == [broken]


# -- cancellation from outside


def test_cancelling_the_hedge_ends_both_calls_first() -> None:
    acts = Play(Act(60, clean_up=1), Act(60, clean_up=2))

    async def main() -> None:
        task = asyncio.ensure_future(Hedge(acts, 2)())
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert asyncio.get_running_loop().time() == 7.0

    _, error, _, _ = run_in_steps(main)
    assert error is None
    assert acts.ended == [(0, 6.0, "cancelled"), (1, 7.0, "cancelled")]


def test_a_cancellation_while_the_loser_ends_is_not_swallowed() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await Hedge(Play(Act(60, clean_up=2), Act(1)), 2)()
        return asyncio.get_running_loop().time()

    assert run_in_steps(main)[:2] == (5.0, None)


def test_a_cancellation_at_any_turn_leaves_nothing() -> None:
    def main() -> Any:
        return Hedge(Play(Act(60, clean_up=1), Act(1)), 2)()

    turns = run_in_steps(main)[2].turns
    assert turns > 5
    for turn in range(1, turns + 1):
        value, error, _, took = run_in_steps(main, (turn, turn + 2))
        assert (value == "call 1") or isinstance(error, asyncio.CancelledError)
        assert took <= 1.0


def test_a_timeout_of_the_node_and_a_deadline_of_the_run_end_both_calls() -> None:
    for policies, options, expected in (({"timeout": 5}, {}, RunFailed), ({}, {"deadline": 5}, RunTimeout)):
        acts = Play(Act(60), Act(60))
        graph = Graph("late")
        graph.add("ask", Hedge(acts, 2), **policies)  # type: ignore[arg-type]
        _, error, _, _ = run_in_steps(lambda graph=graph, options=options: graph.arun(**options))
        assert isinstance(error, expected)
        assert acts.ended == [(0, 5.0, "cancelled"), (1, 5.0, "cancelled")]


def test_a_run_that_gives_the_hedge_up_ends_its_calls_too() -> None:
    """The run's grace is shorter than the hedge's, and both calls swallow what they are told."""
    events: list[str] = []
    graph = Graph("stubborn")
    graph.add("ask", Hedge(stubborn(events), 2))
    _, error, loop, _ = run_in_steps(lambda: graph.arun(deadline=5, grace=0.5))
    assert isinstance(error, RunTimeout)
    assert events == ["swallowed", "swallowed", "ended", "ended"]
    assert loop.time() < 7


# -- threads


def test_plain_function_is_hedged_in_threads_and_the_loser_is_counted_until_it_returns() -> None:
    back, numbers = threading.Event(), itertools.count(1)
    threads: list[threading.Thread] = []

    def ask(question: str) -> str:
        threads.append(threading.current_thread())
        if next(numbers) == 2:
            return f"{question}: second"
        assert back.wait(30)
        return f"{question}: first"

    hedge = Hedge(ask, 0.01)
    graph = Graph("threads")
    graph.add("ask", hedge)
    with nothing_left():
        assert graph.run(question="why")["ask"] == "why: second"
        assert hedge.abandoned == 1
        assert all(thread.daemon for thread in threads)
        back.set()
        assert wait_until(lambda: hedge.abandoned == 0)


def test_a_loser_in_a_thread_sees_by_its_context_that_it_has_lost() -> None:
    numbers, stopped = itertools.count(1), threading.Event()

    def ask(ctx: Context) -> str:
        if next(numbers) == 2:
            return f"won in {ctx.node_id}"
        while not ctx.cancelled:
            stopped.wait(0.001)
        stopped.set()
        return "lost"

    graph = Graph("polite")
    graph.add("ask", Hedge(ask, 0.01))
    assert graph.run()["ask"] == "won in ask"
    assert stopped.wait(10)


def test_errors_of_threads_are_errors_of_calls() -> None:
    def ask(item: int) -> int:
        raise (StopIteration if item else KeyError)("no such item")

    for item, kind in ((0, KeyError), (1, RuntimeError)):
        graph = Graph("failing")
        graph.add("ask", Hedge(ask, 60))
        with pytest.raises(RunFailed) as caught:
            graph.run(item=item)
        error = caught.value.exceptions[0]
        assert isinstance(error, kind) or isinstance(error.__cause__, StopIteration)


def test_cancelling_does_not_wait_for_threads() -> None:
    back, entered = threading.Event(), threading.Semaphore(0)

    def body() -> None:
        entered.release()
        back.wait(30)

    hedge = Hedge(body, 0)

    async def main() -> None:
        task = asyncio.ensure_future(hedge())
        for _ in range(2):
            assert await asyncio.to_thread(entered.acquire, timeout=30)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    with nothing_left():
        asyncio.run(main())
        assert hedge.abandoned == 2
        back.set()
        assert wait_until(lambda: hedge.abandoned == 0)


def test_plain_function_that_gives_a_coroutine() -> None:
    acts = Play(Act(60), Act(1))
    hedge = Hedge(lambda prefix: acts(prefix), 2)
    assert play(functools.partial(hedge, "try"))[0] == "try 1"  # type: ignore[arg-type]
    assert [how for _, _, how in acts.ended] == ["succeeded", "cancelled"]


def test_a_coroutine_that_an_abandoned_thread_gives_is_closed() -> None:
    """Else the interpreter would complain that it was never awaited."""
    back = threading.Event()
    given = []

    def ask() -> Any:
        if not given:
            given.append(None)
            assert back.wait(30)
        given.append(asyncio.sleep(0, "value"))
        return given[-1]

    hedge = Hedge(ask, 0.01)
    assert asyncio.run(hedge()) == "value"
    back.set()
    assert wait_until(lambda: hedge.abandoned == 0)
    assert inspect.getcoroutinestate(given[2]) == inspect.CORO_CLOSED


def test_a_wide_graph_of_plain_functions_does_not_start_a_thread_for_each() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return item

    graph = Graph("wide")
    for number in range(100):
        graph.add(f"n{number}", Hedge(work, 60), inputs={"item": number})
    assert list(graph.run().values()) == list(range(100))
    assert 2 <= most <= min(32, (os.cpu_count() or 1) + 4)


def test_waiting_for_a_thread_is_no_slowness() -> None:
    async def main() -> tuple[Any, int]:
        room = _ROOMS[asyncio.get_running_loop()] = Room(1)
        place = await room.enter()
        hedged = asyncio.ensure_future(Hedge(lambda: "value", 1)())
        await asyncio.sleep(10)
        waiting = len(room.waiting)
        place.leave()
        return await hedged, waiting

    assert run_in_steps(main)[0] == ("value", 1)


def test_a_second_call_waits_for_a_thread_too_and_gives_up_with_the_race() -> None:
    back, calls = threading.Event(), []

    async def main() -> None:
        room = _ROOMS[asyncio.get_running_loop()] = Room(1)
        hedge = Hedge(lambda: calls.append(back.wait(30)), 0)
        hedged = asyncio.ensure_future(hedge())
        while not room.waiting:
            await asyncio.sleep(0)
        back.set()
        await hedged
        while not room.free:
            await asyncio.sleep(0)
        assert (calls, len(room.waiting), hedge.abandoned) == ([True], 0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("everybody", [False, True])
def test_places_are_given_back_whenever_the_hedge_is_cancelled(everybody: bool) -> None:
    """At any turn: while it waits, in the moment it is given a place, and before the first step of a call."""

    async def main(turn: int) -> None:
        room = _ROOMS[asyncio.get_running_loop()] = Room(2)
        places = [await room.enter(), await room.enter()]
        hedged = asyncio.ensure_future(Hedge(lambda: None, 0, max=3)())
        for number in range(turn + 1):
            await asyncio.sleep(0)
            if number in (3, 5):
                places.pop().leave()
        hedged.cancel()
        if everybody:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        await asyncio.wait({hedged})
        for place in places:
            place.leave()
        while room.free < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert (room.free, len(room.waiting)) == (2, 0)

    for turn in range(16):
        _, error, _, _ = run_in_steps(functools.partial(main, turn))
        assert error is None


def test_context_variables_reach_threads_and_calls() -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")

    async def ask() -> str:
        return variable.get()

    async def main() -> list[str]:
        variable.set("set")
        return [await Hedge(variable.get, 9)(), await Hedge(ask, 9)()]

    assert asyncio.run(main()) == ["set", "set"]


# -- what it may be around, and where it may be used


async def coroutine(q: str, ctx: Context, k: int = 3) -> str:
    return f"{q}{k}{ctx.node_id}"


def function(q: str, *, k: int = 3) -> str:
    return f"{q}{k}"


class Invoked:
    name, description, args_schema = "search", "Searches.", {"type": "object"}

    def invoke(self, given: Any) -> str:
        return f"invoked {given}"


class Awaited(Invoked):
    async def ainvoke(self, given: Any) -> str:
        return f"awaited {given}"


@pytest.mark.parametrize("runnable", [coroutine, function, Invoked().invoke, int, functools.partial(function, k=4)])
def test_it_is_a_coroutine_function_with_the_parameters_of_what_it_wraps(runnable: Any) -> None:
    shown, inner = describe(Hedge(runnable, 1)), describe(runnable)
    assert shown is not None
    assert inner is not None
    assert shown == inner._replace(form="coroutine")
    for name in ("__name__", "__doc__", "__annotations__"):
        assert getattr(Hedge(runnable, 1), name, None) == getattr(runnable, name, None) or name == "__doc__"


@pytest.mark.parametrize("runnable", [Invoked(), Awaited()])
def test_an_object_that_is_invoked_is_awaited(runnable: Any) -> None:
    hedge: Any = Hedge(runnable, 1)
    shown = describe(hedge)
    assert shown is not None
    assert shown.form == "ainvoke"
    assert (hedge.name, hedge.description, hedge.args_schema) == ("search", "Searches.", {"type": "object"})


def test_every_form_works_as_a_node() -> None:
    graph = Graph("forms")
    graph.add("coroutine", Hedge(coroutine, 9))
    graph.add("function", Hedge(function, 9), inputs={"k": 5})
    graph.add("invoked", Hedge(Invoked(), 9), inputs=graph["function"])
    graph.add("awaited", Hedge(Awaited(), 9), inputs=graph["function"])
    graph.add("guarded", Hedge(Breaker(coroutine), 9))
    graph.map("mapped", Hedge(function, 9), over=["a", "b"])
    assert dict(graph.run(q="tea")) == {
        "coroutine": "tea3coroutine",
        "function": "tea5",
        "invoked": "invoked tea5",
        "awaited": "awaited tea5",
        "guarded": "tea3guarded",
        "mapped": ["a3", "b3"],
    }


def test_in_a_class_it_is_a_method() -> None:
    """Where a function would be bound; calls that go on in threads are counted for the class."""
    back = threading.Event()

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name
            self.numbers = itertools.count(1)

        @functools.partial(Hedge, after=60.0)
        async def ask(self, question: str) -> str:
            return f"{self.name}: {question}"

        @functools.partial(Hedge, after=0.0)
        def search(self) -> str:
            if next(self.numbers) == 1:
                back.wait(30)
            return self.name

    graph = Graph("clients")
    graph.add("answer", Client("first").ask)
    assert graph.run(question="how?")["answer"] == "first: how?"
    try:
        assert asyncio.run(Client("second").search()) == "second"
        assert Client.search.abandoned == 1
    finally:
        back.set()
    assert wait_until(lambda: Client.search.abandoned == 0)
    assert copy.deepcopy(Client.ask) is copy.copy(Client.ask) is Client.ask


def test_executors_take_it() -> None:
    executor = ParallelGraphExecutor()
    executor.add_node(GraphNode("a", lambda: "tea"))
    executor.add_node(GraphNode("b", Hedge(lambda a: a + "!", 9), depends_on=["a"]))
    assert executor.execute_sync()["b"] == "tea!"
    steps = [Step("a", lambda: "tea"), Step("b", Hedge(lambda a: a + "!", 9), depends=["a"])]
    assert ParallelStepExecutor(steps).execute_sync()["b"] == "tea!"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tool: Hedge(tool, 9),
        Breaker,
        lambda tool: Breaker(Hedge(tool, 9)),
        lambda tool: Hedge(Breaker(tool), 9),
    ],
    ids=["hedge", "breaker", "breaker of hedge", "hedge of breaker"],
)
def test_a_model_sees_a_wrapped_tool_as_what_it_wraps(wrap: Callable[[Any], Any]) -> None:
    async def look_up(query: str, limit: int = 3, ctx: Context | None = None) -> str:
        """
        Look a word up.

        Args:
            query: the word.
        """
        return f"{query} {limit}"

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    tools = (look_up, add, Awaited())
    wrapped = Tools(*map(wrap, tools))
    assert wrapped.openai() == Tools(*tools).openai()
    assert wrapped["look_up"].read({"query": "tea"}) == Tools(look_up)["look_up"].read({"query": "tea"})
    graph = Graph("tools")
    for name, values in (("look_up", {"query": "tea"}), ("add", {"a": 1, "b": 2})):
        graph.add(name, wrapped[name].runnable, inputs={name: value(given) for name, given in values.items()})
    assert dict(graph.run()) == {"look_up": "tea 3", "add": 3}


def test_chunks_of_a_call_that_has_lost_are_not_told() -> None:
    async def ask(ctx: Context) -> str:
        number = len(begun)
        begun.append(number)
        ctx.emit(f"{number} begun")
        try:
            await asyncio.sleep(1 if number else 60)
        finally:
            ctx.emit(f"{number} over")
        return ctx.run_id

    begun: list[int] = []
    chunks: list[str] = []
    graph = Graph("chunks")
    graph.add("ask", Hedge(ask, 2))
    with virtual_time() as clock:
        listener = lambda event: chunks.append(event.value) if isinstance(event, Chunk) else None  # noqa: E731
        assert clock.run(graph.arun(listeners=[listener], run_id="r1"))["ask"] == "r1"
    assert chunks == ["0 begun", "1 begun", "1 over"]


def test_calls_may_run_more_graph() -> None:
    async def ask(ctx: Context) -> int:
        begun.append(1)
        return int(await ctx.run(inside, seconds=60 if len(begun) == 1 else 1))

    async def inside(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    begun: list[int] = []
    graph = Graph("inside")
    graph.add("ask", Hedge(ask, 2))
    value, error, loop, _ = run_in_steps(lambda: graph.arun())
    assert error is None
    assert (value["ask"], loop.time()) == (1, 3.0)


def gen() -> Iterator[int]:
    yield 1


async def agen() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Hedge(print, -1), "Hedge(after=…)=-1: must not be negative"),
        (lambda: Hedge(print, 1, max=1), "Hedge(max=1): must be the number of calls in all"),
        (lambda: Hedge(print, 1, grace=-1), "Hedge(grace=…)=-1"),
        (lambda: Hedge(7, 1), "Hedge was given 7, which no node can run"),
        (lambda: Hedge(Graph("inner"), 1), "Hedge was given graph 'inner'"),
        (lambda: Hedge(gen, 1), "'gen', which is a generator"),
        (lambda: Hedge(agen, 1), "'agen', which is a generator"),
    ],
)
def test_impossible_arguments_are_refused(make: Callable[[], Hedge], text: str) -> None:
    with pytest.raises(GraphError) as caught:
        make()
    assert text in str(caught.value)


# -- against a model


def expected_of(acts: list[Act], after: float, cancel_at: float | None) -> tuple[str, float, int]:
    """
    What a hedge of these calls does: how it ends, when, and how many calls it made; reckoned, not played.
    """
    begins: list[float] = []
    ends: list[float] = []
    for number, act in enumerate(acts):
        begin = number * after
        over = [end for end, earlier in zip(ends, acts, strict=False) if end <= begin]
        won = any(end <= begin and earlier.error is None for end, earlier in zip(ends, acts, strict=False))
        if won or (number and len(over) == number):
            break
        begins.append(begin)
        ends.append(begin + act.seconds)
    successes = [(end, number) for number, end in enumerate(ends) if acts[number].error is None]
    decided, winner = min(successes) if successes else (max(ends), -1)
    is_cancelled = cancel_at is not None and cancel_at < decided
    if cancel_at is not None and is_cancelled:
        decided = cancel_at
    made = sum(begin <= decided for begin in begins)
    left = [acts[number].clean_up for number in range(made) if ends[number] > decided]
    over_at = decided + max(left, default=0.0)
    if cancel_at is not None and decided <= cancel_at < over_at:
        is_cancelled = True
    how = "cancelled" if is_cancelled else f"call {winner}" if winner >= 0 else "error 0"
    return how, over_at, made


# Calls end at whole seconds after their start, calls start at thirds, cancellations come at quarters: no two at once.
ACTS = st.builds(
    lambda seconds, fails, clean_up, swallows: (seconds, fails, clean_up, swallows),
    st.integers(1, 12).map(float),
    st.booleans(),
    st.integers(0, 3).map(float),
    st.booleans(),
)


@given(
    st.lists(ACTS, min_size=2, max_size=4),
    st.integers(0, 3).map(lambda n: n + 0.3),
    st.none() | st.integers(0, 20).map(lambda n: n + 0.25),
)
def test_any_schedule_goes_as_the_model_says(
    told: list[tuple[float, bool, float, bool]], after: float, cancel_at: float | None
) -> None:
    acts = [
        Act(seconds, ConnectionError(f"error {number}") if fails else None, clean_up, swallows)
        for number, (seconds, fails, clean_up, swallows) in enumerate(told)
    ]
    script = Play(*acts)

    async def main() -> str:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(Hedge(script, after, max=len(acts))())
        if cancel_at is not None:
            loop.call_at(cancel_at, task.cancel)
        await asyncio.wait({task})
        ended_at.append(loop.time())
        if task.cancelled():
            return "cancelled"
        return str(task.exception() or task.result())

    ended_at: list[float] = []
    how, error, _, _ = run_in_steps(main)
    assert error is None
    expected_how, expected_at, made = expected_of(acts, after, cancel_at)
    assert (how, len(script.began), len(script.ended)) == (expected_how, made, made)
    assert ended_at == [pytest.approx(expected_at)]
    assert script.began == [pytest.approx(number * after) for number in range(made)]
