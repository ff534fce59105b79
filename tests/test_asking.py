"""
Nodes that ask a person: what counts as an answer, whose slots are whose meanwhile, and how the waiting ends.
"""

import asyncio
import os
import pickle
import random
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from enum import Enum, IntEnum, StrEnum
from typing import Any, Literal

import pytest

import antichain
from antichain import (
    Context,
    Graph,
    GraphError,
    NobodyAnswers,
    NodeFailed,
    NodeTimeout,
    ParallelGraphExecutor,
    Question,
    RunFailed,
    RunnerError,
    RunTimeout,
)
from antichain.asking import ASKED_AT_MOST, TEXT_AT_MOST, THREADS_AT_MOST, Asking
from antichain.core.facts import Event, NodeAnswered, NodeAsks, NodeEnded, NodeRetrying
from antichain.executors import GraphNode
from antichain.record import RunResult, fold
from antichain.stores import FactKind
from antichain.testing import virtual_time
from tests.support.leftovers import nothing_left, our_threads, run_in_steps, wait_until
from tests.support.resumable import Recorder
from tests.test_driver import OWN, as_sleeper, virtual
from tests.test_real_runs import FULL, World, judge, run_world
from tests.test_signals import Program

VAR: ContextVar[str] = ContextVar("VAR", default="")


class Colour(Enum):
    RED = "#f00"
    GREEN = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    STOP = "stop it"
    GO = "go on"


def asker(kind: Any = str, text: str = "Well?") -> Callable[..., Awaitable[Any]]:
    async def asks(ctx: Context) -> Any:
        return await ctx.ask(text, type=kind)

    return asks


def asking(kind: Any = str, text: str = "Well?", **policies: Any) -> Graph:
    """A graph whose one node, "asks", asks."""
    graph = Graph()
    graph.add("asks", asker(kind, text), **policies)
    return graph


def answering(given: Any) -> Callable[[Question], Awaitable[Any]]:
    async def answer(_: Question) -> Any:
        return given

    return answer


async def never(_: Question) -> None:
    await asyncio.get_running_loop().create_future()


# -- what counts as an answer


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (bool, True, True),
        (bool, False, False),
        (bool, " Yes ", True),
        (bool, "y", True),
        (bool, "TRUE", True),
        (bool, "no", False),
        (bool, "N", False),
        (bool, "false\n", False),
        (str, "", ""),
        (str, " as it is ", " as it is "),
        (str, "half \ud800", "half \\ud800"),
        (int, 3, 3),
        (int, " -3 ", -3),
        (int, Level.HIGH, 2),
        (float, 3, 3.0),
        (float, "2.5e3", 2500.0),
        (Colour, Colour.RED, Colour.RED),
        (Colour, "RED", Colour.RED),
        (Colour, " green", Colour.GREEN),
        (Colour, "#f00", Colour.RED),
        (Colour, 2, Colour.GREEN),
        (Level, 2, Level.HIGH),
        (Word, "go on", Word.GO),
        (Literal["a", "b"], "b", "b"),
        (Literal["a", "b"], "B ", "b"),
        (Literal[1, True], True, True),
        (Literal[1, True], 1, 1),
        (["small", 7, None], "7", 7),
        (["small", 7, None], None, None),
        (["small", 7, None], "none", None),
        ([Colour.RED, Colour.GREEN], "Red", Colour.RED),
        ((1.5, 2.5), 2.5, 2.5),
        # What is written out exactly comes before what differs in capitals.
        (["a", "A"], "A", "A"),
    ],
)
def test_an_answer_that_fits_arrives_in_its_type(kind: Any, given: Any, value: Any) -> None:
    result, _ = virtual(asking(kind), ask=answering(given))
    assert result["asks"] == value
    assert type(result["asks"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "given", "title"),
    [
        (bool, 1, "yes or no"),
        (bool, "perhaps", "yes or no"),
        (bool, None, "yes or no"),
        (str, b"bytes", "a text"),
        (str, None, "a text"),
        (int, True, "a whole number"),
        (int, 3.0, "a whole number"),
        (int, "3.0", "a whole number"),
        (int, "9" * 5000, "a whole number"),
        (float, "nan", "a number"),
        (float, float("inf"), "a number"),
        (float, 10**400, "a number"),
        (float, False, "a number"),
        (Colour, "blue", "one of 'RED', 'GREEN'"),
        (Colour, True, "one of 'RED', 'GREEN'"),
        (Colour, Level.LOW, "one of 'RED', 'GREEN'"),
        (Literal[1, 2], True, "one of '1', '2'"),
        (["a", "A"], " a", "one of 'a', 'A'"),
        ([str(number) for number in range(30)], "x", "'19' and 10 more"),
        (bool, object(), "yes or no"),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_for_again_a_few_times(kind: Any, given: Any, title: str) -> None:
    seen: list[Question] = []

    async def answer(question: Question) -> Any:
        seen.append(question)
        return given

    with pytest.raises(RunFailed) as caught, virtual_time() as clock:
        clock.run(asking(kind).arun(ask=answer))
    (error,) = caught.value.exceptions
    assert isinstance(error, NobodyAnswers)
    assert title in str(error)
    assert "'Well?'" in str(error)
    assert len(seen) == ASKED_AT_MOST
    assert error.question.number == 1
    assert {question.number for question in seen} == {1}
    problems = [question.problem for question in seen]
    assert problems[0] is None
    assert all(problem is not None and problem.endswith(title) for problem in problems[1:])


def test_an_answer_after_a_wrong_one_counts() -> None:
    answers = iter(["perhaps", "well", "yes"])

    async def answer(_: Question) -> str:
        return next(answers)

    result, _ = virtual(asking(bool), ask=answer)
    assert result["asks"] is True


class Odd:
    """Compares with nothing."""

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [bool, str, int, float, Colour, ["a", 1]])
def test_foreign_objects_are_not_even_compared(kind: Any) -> None:
    result, _ = virtual(asking(kind), ask=answering(Odd()))
    assert isinstance(result.nodes["asks"].error, NobodyAnswers)


class Empty(Enum):
    pass


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (bytes, "use bool, str, int"),
        (None, "use bool, str, int"),
        ("yes or no", "use bool, str, int"),
        (int | None, "use bool, str, int"),
        (list[str], "use bool, str, int"),
        ([], "nothing to choose from"),
        (Empty, "has no members"),
        ([object], "cannot be chosen"),
        (Literal[b"x"], "cannot be chosen"),
        ([1, "1"], "two choices read '1': give each a text of its own"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_anybody_is_asked(kind: Any, why: str) -> None:
    asked: list[Question] = []
    result, _ = virtual(asking(kind, retry=3), ask=asked.append)
    error = result.nodes["asks"].error
    assert isinstance(error, GraphError)
    assert error.faults[0].code == "bad-question"
    assert why in str(error)
    assert "'Well?'" in str(error)
    assert asked == []


@pytest.mark.parametrize("text", ["x" * (TEXT_AT_MOST + 1), 3])
def test_a_text_that_nobody_can_read_is_refused(text: Any) -> None:
    result, _ = virtual(asking(text=text), ask=answering("yes"))
    assert isinstance(result.nodes["asks"].error, GraphError)


def test_a_text_cannot_drive_a_terminal_or_hide_what_it_says() -> None:
    asked: list[str] = []

    async def answer(question: Question) -> str:
        asked.append(question.text)
        return "yes"

    virtual(asking(text="Run\n\t\x1b[2Kls \u202egnp.\ud800 “ä”?"), ask=answer)
    assert asked == ["Run\n\t\\x1b[2Kls \\u202egnp.\\ud800 “ä”?"]
    virtual(asking(text="x" * TEXT_AT_MOST), ask=answer)
    assert asked[1] == "x" * TEXT_AT_MOST


def test_a_question_says_what_there_is_to_know() -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> str:
        asked.append(question)
        return "b"

    result, _ = virtual(asking(["a", "b"]), ask=answer, run_id="r7")
    (question,) = asked
    assert question == Question("r7", "asks", "Well?", ("a", "b"), 1)
    assert question.choices == ("a", "b")
    assert Question("r", "n", "t", bool, 1).choices == (True, False)
    assert Question("r", "n", "t", Colour, 1).choices == (Colour.RED, Colour.GREEN)
    assert Question("r", "n", "t", Literal["x"], 1).choices == ("x",)
    assert Question("r", "n", "t", str, 1).choices is None
    assert hash(question) == hash(pickle.loads(pickle.dumps(question)))
    assert result["asks"] == "b"


# -- who answers


def test_without_anybody_who_answers_the_node_fails_once_and_says_what_to_do() -> None:
    result, _ = virtual(asking(bool, retry=3))
    node = result.nodes["asks"]
    assert node.attempts == 1
    assert isinstance(node.error, NobodyAnswers)
    assert "ask=" in str(node.error)
    again = pickle.loads(pickle.dumps(node.error))
    assert (str(again), again.question) == (str(node.error), node.error.question)


def test_the_option_stands_at_the_graph_or_the_call() -> None:
    graph = Graph(ask=lambda question: "graph")
    graph.add("asks", asker())
    assert graph.run()["asks"] == "graph"
    assert graph.run(ask=lambda question: "call")["asks"] == "call"
    assert graph.run(ask=None)["asks"] == "graph"
    with pytest.raises(GraphError, match="a function that takes a question"):
        graph.run(ask="yes")
    executor = ParallelGraphExecutor(ask=lambda question: "executor")
    executor.add_node(GraphNode("asks", asker()))
    assert executor.execute_sync() == {"asks": "executor"}


def test_all_that_a_run_contains_asks_the_same_person() -> None:
    """Nested graphs, mapped stages, what a body runs itself, `map`, `batch`."""

    async def item(x: int, ctx: Context) -> str:
        return await ctx.ask(str(x))

    outer = Graph("outer")
    outer.add("nested", asking())
    outer.map("mapped", item, over=[1, 2])

    @outer.node
    async def inside(ctx: Context) -> Any:
        return (await ctx.run(asking()))["asks"]

    result, _ = virtual(outer, ask=answering("yes"))
    assert dict(result) == {"nested": "yes", "mapped": ["yes", "yes"], "inside": "yes"}
    with nothing_left():
        assert antichain.map(item, [1, 2, 3], ask=lambda question: f"{question.text}!") == ["1!", "2!", "3!"]
        runs = asking().batch([{}, {}], ask=lambda question: f"number {question.number}")
        assert [run["asks"] for run in runs] == ["number 1", "number 1"]


def test_a_nested_graph_has_nobody_of_its_own() -> None:
    inner = Graph("inner", ask=answering("yes"))
    inner.add("asks", asker())
    outer = Graph()
    outer.add("nested", inner)
    with pytest.raises(GraphError, match="nested-options"):
        outer.run()


class ByCall:
    """Answers as an object, async or not."""

    def __init__(self, *, is_async: bool) -> None:
        self.__class__ = AsyncByCall if is_async else ByCall

    def __call__(self, question: Question) -> str:
        return f"{question.node} in {threading.current_thread() is threading.main_thread()}"


class AsyncByCall(ByCall):
    async def __call__(self, question: Question) -> str:  # type: ignore[override]
        return f"{question.node} in {threading.current_thread() is threading.main_thread()}"


@pytest.mark.parametrize(
    ("handler", "is_on_loop"),
    [
        (ByCall(is_async=False), False),
        (ByCall(is_async=True), True),
        (lambda question: ByCall(is_async=False)(question), False),
        # A plain function that gives a coroutine: called in a thread, awaited on the loop.
        (lambda question: AsyncByCall(is_async=True)(question), True),
    ],
)
def test_async_functions_answer_on_the_loop_and_plain_ones_in_a_thread(handler: Any, is_on_loop: bool) -> None:
    with nothing_left():
        result, _ = virtual(asking(), ask=handler, limits={"thread": 1})
    assert result["asks"] == f"asks in {is_on_loop}"


def test_an_async_function_needs_no_thread() -> None:
    async def answer(_: Question) -> str:
        return ", ".join(thread.name for thread in our_threads()) or "none"

    result, _ = virtual(asking(), ask=answer)
    assert result["asks"] == "none"


def test_who_answers_sees_the_context_of_who_asks() -> None:
    graph = Graph()

    @graph.node
    async def asks(ctx: Context) -> Any:
        VAR.set("mine")
        return await ctx.ask("Well?")

    assert graph.run(ask=lambda question: VAR.get())["asks"] == "mine"
    assert VAR.get() == ""


def test_a_function_in_a_thread_cannot_ask() -> None:
    graph = Graph()

    @graph.node
    def asks(ctx: Context) -> Any:
        return ctx.ask("Well?")

    result, _ = virtual(graph, ask=answering("yes"))
    error = result.nodes["asks"].error
    assert isinstance(error, RunnerError)
    assert "ctx.ask" in str(error)
    assert "async def" in str(error)


def test_an_attempt_that_is_over_can_ask_nothing_more() -> None:
    kept: list[Context] = []
    graph = Graph()

    @graph.node
    async def first(ctx: Context) -> None:
        kept.append(ctx)

    @graph.node
    async def second(first: None) -> None:
        await kept[0].ask("Well?")

    result, _ = virtual(graph, ask=answering("yes"))
    assert isinstance(result.nodes["second"].error, RunnerError)


def test_several_questions_at_once_may_be_answered_in_any_order() -> None:
    graph = Graph()
    for name in ("a", "b", "c"):
        graph.add(name, asker(text=f"{name}?"))

    @graph.node
    async def both(ctx: Context) -> list[str]:
        return await asyncio.gather(ctx.ask("d?"), ctx.ask("e?"))

    asked: list[Question] = []
    answered: list[int] = []

    async def answer(question: Question) -> str:
        asked.append(question)
        await asyncio.sleep(10 - question.number)
        answered.append(question.number)
        return question.text.upper()

    result, seconds = virtual(graph, ask=answer, max_concurrent=1)
    assert dict(result) == {"a": "A?", "b": "B?", "c": "C?", "both": ["D?", "E?"]}
    assert [(question.number, question.node) for question in asked] == [
        (1, "a"), (2, "b"), (3, "c"), (4, "both"), (5, "both"),
    ]  # fmt: skip
    assert answered == [5, 4, 3, 2, 1]
    assert seconds == pytest.approx(9)


def test_plain_functions_are_called_in_a_bounded_number_of_threads() -> None:
    """More questions than that wait for their turn, and none of them takes a slot of the run's own threads."""
    lock = threading.Lock()
    everyone = threading.Barrier(THREADS_AT_MOST + 1, timeout=30)
    now = most = 0

    def answer(question: Question) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if question.number <= THREADS_AT_MOST:
            everyone.wait()
        with lock:
            now -= 1
        return question.text

    def meets() -> None:
        # Goes on only once so many questions are out, all of them in threads.
        everyone.wait()

    graph = Graph()
    for number in range(THREADS_AT_MOST + 10):
        graph.add(f"a{number}", asker(text=str(number)), priority=1)
    graph.add("meets", meets)
    with nothing_left():
        result = graph.run(ask=answer, limits={"thread": 1}, max_concurrent=1)
    assert result["a41"] == "41"
    assert most == THREADS_AT_MOST


# -- slots


def test_who_does_not_depend_on_the_answer_goes_on() -> None:
    """
    asks ── after        a ── b ── c, all under a limit of one
    """
    graph = Graph(limits={"few": 1})
    order: list[str] = []

    @graph.node(uses="few", priority=9)
    async def asks(ctx: Context) -> str:
        order.append("asked")
        answer = await ctx.ask("Well?")
        order.append("goes on")
        return answer

    @graph.node(uses="few")
    async def after(asks: str) -> None:
        order.append("after")

    @graph.node(uses="few")
    async def a() -> None:
        await asyncio.sleep(1)
        order.append("a")

    @graph.node(uses="few")
    async def b(a: None) -> None:
        await asyncio.sleep(1)
        order.append("b")

    @graph.node(uses="few")
    async def c(b: None) -> None:
        await asyncio.sleep(1)
        order.append("c")

    async def answer(_: Question) -> str:
        await asyncio.sleep(2.5)
        order.append("answered")
        return "yes"

    _, seconds = virtual(graph, ask=answer, max_concurrent=1)
    # The answer comes while c has the slot: the body goes on once it has it back.
    assert order == ["asked", "a", "b", "answered", "c", "goes on", "after"]
    assert seconds == pytest.approx(3)


def test_a_body_that_catches_what_the_asking_raised_has_its_slots_again() -> None:
    graph = Graph()
    running: list[str] = []

    async def counted(name: str, seconds: float) -> None:
        assert running == []
        running.append(name)
        await asyncio.sleep(seconds)
        running.remove(name)

    @graph.node(priority=1)
    async def asks(ctx: Context) -> str:
        try:
            await ctx.ask("Well?")
        except OSError:
            await counted("asks", 1)
        try:
            async with asyncio.timeout(0.5):
                await ctx.ask("Well?")
        except TimeoutError:
            await counted("asks", 1)
        return "fine"

    for number in range(4):
        graph.add(f"n{number}", lambda number=number: counted(f"n{number}", 0.7), runner="loop")

    async def answer(question: Question) -> None:
        if question.number == 1:
            raise OSError
        await never(question)

    result, seconds = virtual(graph, ask=answer, max_concurrent=1)
    assert result["asks"] == "fine"
    assert seconds == pytest.approx(4.8)


# -- how the waiting ends


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [*OWN, ValueError])
def test_whatever_who_answers_raises_fails_the_node_and_nothing_more(
    error: type[BaseException], is_async: bool
) -> None:
    def plain(question: Question) -> None:
        raise error(question.text)

    async def on_loop(question: Question) -> None:
        raise error(question.text)

    graph = asking()
    graph.add("sibling", as_sleeper(0.1, "fine"))
    with nothing_left():
        result, _ = virtual(graph, ask=on_loop if is_async else plain, on_error="continue")
    node = result.nodes["asks"]
    assert (node.state, node.reason) == ("failed", "error")
    # StopIteration cannot leave a coroutine: Python itself makes it a RuntimeError.
    cause = node.error.__cause__ if isinstance(node.error, (NodeFailed, RuntimeError)) else node.error
    assert type(cause) is error
    assert str(cause) == "Well?"
    assert result["sibling"] == "fine"


class Answers:
    """Never answers; knows who was cancelled."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.cancelled: list[int] = []

    async def __call__(self, question: Question) -> None:
        self.asked.append(question.number)
        try:
            await never(question)
        finally:
            await asyncio.sleep(0.01)
            self.cancelled.append(question.number)


def test_a_deadline_ends_the_waiting() -> None:
    answers = Answers()
    graph = asking()
    graph.add("other", asker())
    result, seconds = virtual(graph, ask=answers, deadline=2)
    assert {node.state for node in result.nodes.values()} == {"cancelled"}
    assert answers.cancelled == answers.asked == [1, 2]
    assert result.abandoned == ()
    assert seconds == pytest.approx(2.01)


def test_a_failure_elsewhere_ends_the_waiting() -> None:
    answers = Answers()
    graph = asking()

    @graph.node
    async def broken() -> None:
        await asyncio.sleep(1)
        raise OSError

    result, seconds = virtual(graph, ask=answers)
    assert result.nodes["asks"].state == "cancelled"
    assert answers.cancelled == [1]
    assert seconds == pytest.approx(1.01)


def test_a_run_that_drains_waits_for_the_answer() -> None:
    graph = asking()

    @graph.node
    async def broken() -> None:
        raise OSError

    async def answer(_: Question) -> str:
        await asyncio.sleep(3)
        return "yes"

    result, _ = virtual(graph, ask=answer, on_error="drain")
    assert result["asks"] == "yes"


def test_a_timeout_counts_the_waiting_and_the_next_attempt_asks_again() -> None:
    answers = Answers()
    graph = asking(retry=antichain.Retry(2, antichain.Backoff(0)), timeout=1.5)
    result, seconds = virtual(graph, ask=answers)
    assert isinstance(result.nodes["asks"].error, NodeTimeout)
    assert result.nodes["asks"].attempts == 2
    assert answers.cancelled == answers.asked == [1, 2]
    assert seconds == pytest.approx(3.02)


def test_a_caller_who_is_cancelled_at_any_moment_leaves_nothing() -> None:
    """The run is cancelled at each turn of the loop in turn, once and twice."""

    def main() -> Any:
        graph = asking(uses="few")
        graph.limits["few"] = 1

        @graph.node(uses="few")
        async def other(ctx: Context) -> Any:
            await asyncio.sleep(0.5)
            return await ctx.ask("Other?")

        async def answer(question: Question) -> str:
            await asyncio.sleep(question.number)
            return "yes"

        return graph.arun(ask=answer, max_concurrent=1, grace=1)

    value, error, loop, _ = run_in_steps(main)
    assert error is None
    assert dict(value) == {"asks": "yes", "other": "yes"}
    assert loop.turns > 10
    for turn in range(1, loop.turns):
        for cancel_at in ((turn,), (turn, turn + 1)):
            _, error, _, took = run_in_steps(main, cancel_at)
            assert isinstance(error, asyncio.CancelledError), cancel_at
            assert took <= 0.1, cancel_at


@pytest.mark.parametrize("how", ["deadline", "timeout"])
def test_an_answer_that_comes_after_the_end_does_not_let_the_body_go_on(how: str) -> None:
    """Who answers swallows the cancellation, and answers; but the body would go on without its slots."""
    went_on: list[str] = []
    graph = Graph()

    @graph.node(timeout=1 if how == "timeout" else None)
    async def asks(ctx: Context) -> None:
        went_on.append(await ctx.ask("Well?", type=bool))

    asked = 0

    async def answer(question: Question) -> Any:
        nonlocal asked
        asked += 1
        try:
            await never(question)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        # The second answer would fit.
        return "perhaps" if asked == 1 else "yes"

    result, seconds = virtual(graph, ask=answer, deadline=1 if how == "deadline" else None)
    assert went_on == []
    assert asked == 1
    assert result.nodes["asks"].state == ("cancelled" if how == "deadline" else "failed")
    assert seconds == pytest.approx(1.1)
    assert result.abandoned == ()


def test_who_answers_and_does_not_end_is_given_up_with_the_node() -> None:
    graph = asking()
    graph.add("other", as_sleeper(1, "fine"))

    async def stubborn(_: Question) -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue

    with nothing_left():
        result, seconds = virtual(graph, ask=stubborn, deadline=2, grace=1)
    assert result.abandoned == ("asks",)
    assert result["other"] == "fine"
    assert 3 <= seconds <= 4


@pytest.mark.parametrize("moment", ["answering", "taking slots back"])
@pytest.mark.parametrize("what", ["asks", "runs"])
def test_what_a_body_leaves_behind_ends_with_it(what: str, moment: str) -> None:
    """One of two things at once fails, and with it the body: the other one does not go on without it."""
    ended: list[str] = []
    graph = Graph(limits={"few": 1})
    seconds = 10.0 if moment == "answering" else 0.1

    @graph.node(uses="few")
    async def body(ctx: Context) -> None:
        async def one() -> None:
            try:
                await (ctx.ask("Well?") if what == "asks" else ctx.run(as_sleeper(seconds, "yes")))
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            ended.append("goes on")

        async def other() -> None:
            await asyncio.sleep(0.5)
            raise OSError

        await asyncio.gather(one(), other())

    # Has the slot that the body has lent.
    graph.add("hog", as_sleeper(5), uses="few")

    async def answer(_: Question) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("not answered")
            raise
        return "yes"

    async def main() -> RunResult:
        result = await graph.arun(ask=answer, on_error="continue")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with virtual_time() as clock:
        result = clock.run(main())
        assert clock.now == pytest.approx(5)
    assert isinstance(result.nodes["body"].error, OSError)
    assert ended == (["not answered"] if (what, moment) == ("asks", "answering") else []) + ["cancelled"]


def test_a_body_that_is_to_end_asks_nobody() -> None:
    graph = Graph()
    asked: list[Question] = []

    @graph.node
    async def body(ctx: Context) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await ctx.ask("Really?")

    async def answer(question: Question) -> str:
        asked.append(question)
        return "no"

    result, seconds = virtual(graph, ask=answer, deadline=1)
    assert result.nodes["body"].state == "cancelled"
    assert asked == []
    assert seconds == pytest.approx(1)


def test_who_swallows_a_cancellation_and_answers_does_not_swallow_a_timeout_of_the_body() -> None:
    graph = Graph()

    @graph.node
    async def asks(ctx: Context) -> str:
        try:
            async with asyncio.timeout(1):
                return await ctx.ask("Well?")
        except TimeoutError:
            return "nobody"

    async def answer(question: Question) -> str:
        try:
            await never(question)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        return "yes"

    result, seconds = virtual(graph, ask=answer)
    assert result["asks"] == "nobody"
    assert seconds == pytest.approx(1.1)


def test_who_answers_may_clean_up_in_peace() -> None:
    """First the body has enough, then the run: that is one cancellation, not two."""
    graph = Graph()
    cleaned_up_at: list[float] = []

    @graph.node
    async def asks(ctx: Context) -> None:
        async with asyncio.timeout(1):
            await ctx.ask("Well?")

    async def answer(question: Question) -> None:
        try:
            await never(question)
        finally:
            await asyncio.sleep(0.5)
            cleaned_up_at.append(asyncio.get_running_loop().time())

    virtual(graph, ask=answer, deadline=1.2)
    assert cleaned_up_at == [pytest.approx(1.5)]


def test_who_answers_is_given_up_with_the_node_and_not_with_the_run() -> None:
    graph = asking(timeout=1)
    graph.add("other", as_sleeper(60))
    ended_at: list[float] = []

    async def stubborn(_: Question) -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    continue
        finally:
            ended_at.append(asyncio.get_running_loop().time())

    result, _ = virtual(graph, ask=stubborn, grace=2, on_error="continue")
    assert result.abandoned == ("asks",)
    assert ended_at == [pytest.approx(3, abs=0.1)]


def test_a_run_that_ends_at_the_instant_zero_ended_then() -> None:
    """Who answers is still being ended when the run is over: that takes time of its own."""
    events: list[Event] = []
    graph = asking()

    @graph.node
    async def broken(ctx: Context) -> None:
        await asyncio.sleep(0)
        raise OSError

    async def stubborn(question: Question) -> None:
        for _ in range(5):
            try:
                await never(question)
            except BaseException:
                continue

    result, seconds = virtual(graph, ask=stubborn, grace=0, listeners=[events.append])
    assert (events[-1].time, result.ended_at) == (0.0, 0.0)
    assert seconds > 0


def test_a_question_that_was_answered_leaves_nothing_in_the_run() -> None:
    graph = Graph()

    @graph.node
    async def asks(ctx: Context) -> int:
        for _ in range(100):
            await ctx.ask("Well?")
        driver: Any = ctx._door
        await asyncio.sleep(1)
        return len(driver.core.groups) + len(driver.lending._insides) + len(driver.lending._resumptions)

    result, _ = virtual(graph, ask=answering("yes"))
    assert result["asks"] == 0


# -- threads that do not end


class Gate:
    """Holds who answers until the test lets them go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.event = threading.Event()
        self.left = threading.Semaphore(0)

    def __call__(self, question: Question) -> Any:
        self.entered.release()
        assert self.event.wait(30)
        self.left.release()
        return "late"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.event.set()
    assert wait_until(lambda: not our_threads())


@pytest.mark.parametrize("how", ["deadline", "timeout", "cancel"])
def test_nobody_waits_for_a_thread_that_does_not_answer(how: str, gate: Gate) -> None:
    """It is named, and the result is the one that its events tell. The grace would be half a minute."""
    events: list[Event] = []
    graph = asking(timeout=0.5 if how == "timeout" else None)
    options: dict[str, Any] = {"deadline": 0.5} if how == "deadline" else {}

    async def main() -> RunResult:
        run = asyncio.ensure_future(graph.arun(ask=gate, grace=30, listeners=[events.append], **options))
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        if how == "cancel":
            run.cancel()
        async with asyncio.timeout(20):
            try:
                return await run
            except (RunFailed, RunTimeout) as error:
                return error.result  # type: ignore[no-any-return]
            except asyncio.CancelledError as error:
                return error.result  # type: ignore[attr-defined, no-any-return]

    with nothing_left(threads=1):
        result = asyncio.run(main())
    assert result.abandoned == ("asks",)
    assert result.nodes["asks"].state == ("failed" if how == "timeout" else "cancelled")
    assert fold(events).nodes == dict(result.nodes)
    assert not gate.event.is_set()
    # What it says in the end is nobody's business, and hurts nobody.
    gate.event.set()
    assert gate.left.acquire(timeout=30)


@pytest.mark.parametrize("repeat", ["safe", None])
def test_a_question_that_hangs_in_a_thread_is_not_asked_twice_unless_that_is_safe(repeat: Any, gate: Gate) -> None:
    policies = {} if repeat is None else {"repeat": repeat}
    graph = asking(retry=antichain.Retry(2, antichain.Backoff(0)), timeout=0.5, **policies)
    with pytest.raises(RunFailed) as caught:
        graph.run(ask=gate)
    assert caught.value.result.nodes["asks"].attempts == (2 if repeat else 1)


def test_a_coroutine_that_comes_too_late_is_closed(gate: Gate) -> None:
    """A plain function gives one when nobody waits any more. Python would warn of it, and warnings are errors."""
    closed = threading.Event()

    class Late:
        async def answer(self) -> str:
            return "late"

        def __call__(self, question: Question) -> Any:
            gate(question)
            coroutine = self.answer()
            closed.set()
            return coroutine

    graph = asking(timeout=0.5)
    # Still at it when the late answer comes.
    graph.add("other", as_sleeper(60))

    async def main() -> None:
        given_up = asyncio.Event()

        def listen(event: Event) -> None:
            if isinstance(event, NodeEnded) and event.node == "asks":
                given_up.set()

        run = asyncio.ensure_future(graph.arun(ask=Late(), on_error="continue", listeners=[listen]))
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        await given_up.wait()
        gate.event.set()
        assert await asyncio.to_thread(closed.wait, 30)
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())


@pytest.mark.parametrize("is_first", [True, False])
def test_an_answer_and_a_cancellation_may_come_at_the_same_moment(is_first: bool) -> None:
    """The answer is a coroutine, which is closed; no thread is left, and so nobody is told of one."""
    told: list[Callable[[], object]] = []
    abandoned: list[str] = []

    async def late() -> str:
        return "late"

    async def main() -> None:
        asking = Asking("r", lambda question: late(), told.append)
        question = asking.question("asks", "Well?", str)
        answer = asyncio.ensure_future(asking.answer(question, lambda: False, lambda: abandoned.append("asks")))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(wait_until, lambda: told)
        if is_first:
            told[0]()
            answer.cancel()
        else:
            answer.cancel()
            told[0]()
        with pytest.raises(asyncio.CancelledError):
            await answer
        asking.close()

    with nothing_left():
        asyncio.run(main())
    assert abandoned == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("handler", ["in_thread", "on_loop"])
def test_ctrl_c_ends_the_waiting(handler: str) -> None:
    """Nobody waits for a thread that nothing can end, and the program ends all the same."""
    program = Program(
        """
        @graph.node
        async def asks(ctx: antichain.Context):
            return await ctx.ask("Well?")

        def in_thread(question):
            say("ready")
            threading.Event().wait()

        async def on_loop(question):
            say("ready")
            try:
                await asyncio.sleep(60)
            finally:
                say("cleaned up")

        try:
            graph.run(ask=%s, grace=30)
        except KeyboardInterrupt as stop:
            say("stopped", dict(stop.result), stop.result.abandoned)
        raise SystemExit(7)
        """.replace("%s", handler),
        is_debugging=False,
    )
    program.wait_for("ready")
    program.send(signal.SIGINT)
    code, said, errors = program.end()
    if handler == "in_thread":
        assert said == ["stopped {'quick': 'kept'} ('asks',)"]
    else:
        assert said == ["cleaned up", "stopped {'quick': 'kept'} ()"]
    assert (code, errors) == (7, "")


# -- random graphs


@pytest.mark.parametrize("seed", range(2000 if FULL else 100))
def test_all_that_does_not_depend_on_an_answer_ends_before_it_comes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """People answer only once all others have ended: if those could not go on, nothing could."""
    monkeypatch.setenv("ANTICHAIN_DEBUG", "1")
    rng = random.Random(seed)
    graph = Graph(limits={"few": rng.randint(1, 3)})
    names = [f"n{number}" for number in range(rng.randint(2, 25))]
    askers = set(rng.sample(names, rng.randint(1, min(6, len(names)))))
    tainted: set[str] = set()
    for number, name in enumerate(names):
        upstream = rng.sample(names[:number], min(number, rng.choice([0, 1, 2])))
        if name in askers or tainted & set(upstream):
            tainted.add(name)
        policies: dict[str, Any] = {"uses": "few"} if rng.random() < 0.5 else {}
        body = asker(text=name) if name in askers else as_sleeper(rng.choice([0, 0.5, 1]), name)
        graph.add(name, body, depends_on=upstream, priority=rng.choice([0, 0, 5]), **policies)
    others = set(names) - tainted
    all_others = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, NodeEnded):
            others.discard(event.node)
            if not others:
                all_others.set()

    async def answer(question: Question) -> str:
        if others:
            await all_others.wait()
        await asyncio.sleep(rng.choice([0, 0, 1]))
        return question.text

    result, _ = virtual(graph, ask=answer, listeners=[listen], max_concurrent=rng.choice([None, 1, 2]))
    assert dict(result) == {name: name for name in names}


# -- who is told


def questions_in(events: list[Event]) -> list[tuple[Any, ...]]:
    """The questions of a run, and what became of them."""
    return [
        ("asks", event.time, event.node, event.attempt, event.number, event.text)
        if isinstance(event, NodeAsks)
        else ("answered", event.time, event.node, event.attempt, event.number)
        for event in events
        if isinstance(event, NodeAsks | NodeAnswered)
    ]


def test_events_tell_who_waits_for_an_answer_and_for_how_long() -> None:
    graph = Graph()

    async def answer(question: Question) -> str | None:
        await asyncio.sleep(5)
        return "yes" if question.problem else None

    @graph.node
    async def cleanup(ctx: Context) -> bool:
        await asyncio.sleep(1)
        answer = await ctx.ask("Delete\x1b[2J 3?", type=bool)
        await asyncio.sleep(1)
        return answer

    async def told() -> list[Event]:
        return [event async for event in graph.astream(ask=answer)]

    with virtual_time() as clock:
        events = clock.run(told())
    assert [(event.seq, type(event).__name__) for event in events] == [
        (1, "RunStarted"),
        (2, "NodeReady"),
        (3, "NodeStarted"),
        # Once, however often it is put.
        (4, "NodeAsks"),
        (5, "NodeAnswered"),
        (6, "NodeEnded"),
        (7, "RunEnded"),
    ]
    assert questions_in(events) == [
        ("asks", 1.0, "cleanup", 1, 1, "Delete\\x1b[2J 3?"),
        ("answered", 11.0, "cleanup", 1, 1),
    ]
    assert fold(events[:4]).nodes["cleanup"].asks == ((1, "Delete\\x1b[2J 3?"),)
    assert fold(events[:4]).nodes["cleanup"].to_dict()["asks"] == [{"number": 1, "text": "Delete\\x1b[2J 3?"}]
    assert fold(events[:5]).nodes["cleanup"].asks == ()


def test_an_answer_is_told_before_the_slots_are_back() -> None:
    """Whoever has answered has nothing more to do, however long the node waits for its slot."""
    graph = Graph(limits={"one": 1})
    graph.add("asks", asker(), uses="one")
    graph.add("works", lambda: asyncio.sleep(9), uses="one")
    events: list[Event] = []

    async def answer(question: Question) -> str:
        await asyncio.sleep(2)
        return "well"

    virtual(graph, ask=answer, listeners=[events.append])
    assert questions_in(events) == [("asks", 0.0, "asks", 1, 1, "Well?"), ("answered", 2.0, "asks", 1, 1)]
    assert next(event.time for event in events if isinstance(event, NodeEnded) and event.node == "asks") == 9.0


def test_a_question_that_ends_without_an_answer_is_not_open_any_more() -> None:
    """The handler raises and the body goes on; the attempt's time is up, and the next one asks anew."""
    graph = Graph(on_error="continue")

    async def answer(question: Question) -> str:
        if question.node == "goes on":
            raise ValueError("gone home")
        await never(question)
        return ""

    async def goes_on(ctx: Context) -> str:
        with pytest.raises(ValueError, match="gone home"):
            await ctx.ask("Well?")
        await asyncio.sleep(1)
        return "done"

    graph.add("goes on", goes_on)
    graph.add("late", asker(), timeout=3, retry=antichain.Retry(2, antichain.Backoff(1, jitter=False)))
    events: list[Event] = []
    result, _ = virtual(graph, ask=answer, listeners=[events.append])
    assert (result.status, result["goes on"]) == ("partial", "done")
    assert questions_in(events) == [
        ("asks", 0.0, "goes on", 1, 1, "Well?"),
        ("asks", 0.0, "late", 1, 2, "Well?"),
        ("answered", 0.0, "goes on", 1, 1),
        ("answered", 3.0, "late", 1, 2),
        ("asks", 4.0, "late", 2, 3, "Well?"),
        ("answered", 7.0, "late", 2, 3),
    ]
    assert fold(events).nodes == result.nodes


def test_a_listener_that_raises_at_a_question_harms_nobody() -> None:
    def bad(event: Event) -> None:
        if isinstance(event, NodeAsks | NodeAnswered):
            raise ValueError("not today")

    async def main() -> RunResult:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        return await asking().arun(ask=answering("well"), listeners=[bad])

    assert asyncio.run(main())["asks"] == "well"


def test_a_run_that_waits_for_an_answer_says_so(tmp_path: Any) -> None:
    """It is counted as what it is, and events and result say what is open."""
    graph = Graph("clean")
    graph.add("stale", lambda: 3)
    graph.ask("approved", "Delete {stale}?", type=bool)

    async def prints(page: int, ctx: Context) -> str:
        return await ctx.ask("Print?")

    graph.map("pages", prints, over=[1, 2])
    graph.add("report", lambda approved: approved)
    events: list[Event] = []
    result = graph.run(store=tmp_path / "runs.db", run_id="r1", listeners=[events.append])
    assert result.status == "paused"
    for shown in (result, pickle.loads(pickle.dumps(result))):
        assert re.sub(r"in .* s;", "in … s;", repr(shown)) == (
            "<RunResult of 'clean': paused in … s; 1 succeeded, 5 waiting for an answer; run_id='r1'>"
        )
        assert {question.node for question in shown.questions} == {"approved", "pages[0]", "pages[1]"}
        assert shown.nodes["approved"].asks == ((1, "Delete 3?"),)
    assert (result.nodes["pages[1]"].asks, result.nodes["report"].asks) == (((1, "Print?"),), ())
    assert fold(events).nodes == result.nodes
    told = {(kind, node, number, text) for kind, _, node, _, number, text in questions_in(events)}
    assert told == {("asks", each.node, each.number, each.text) for each in result.questions}
    with pytest.raises(KeyError, match=r"it waits for an answer to 'Delete 3\?'\. Give one to resume, by answers=\."):
        result["approved"]
    with pytest.raises(KeyError, match=r"it waits for an answer\. Give"):
        result["report"]
    # What has an answer is asked of nobody.
    events.clear()
    result = graph.resume("r1", store=tmp_path / "runs.db", answers={"approved": True}, listeners=[events.append])
    assert {each[2] for each in questions_in(events)} == {"pages[0]", "pages[1]"}
    assert fold(events).nodes == result.nodes


def test_what_nobody_knows_the_outcome_of_is_told_as_a_question() -> None:
    """An attempt that must not run twice had started when its run was left."""
    graph = Graph()
    graph.add("pay", lambda: "paid", repeat="never")
    recorder = Recorder()
    graph.run(store=recorder, run_id="r")
    started = next(at for at, facts in enumerate(recorder.batches) if any(f.kind == FactKind.STARTED for f in facts))
    events: list[Event] = []
    result = graph.resume("r", store=recorder.as_of(started + 1), listeners=[events.append])
    ((_, _, node, _, number, text),) = questions_in(events)
    (question,) = result.questions
    assert (node, number, text) == (question.node, question.number, question.text)
    assert fold(events).nodes["pay"].asks == result.nodes["pay"].asks == ((number, text),)


class AskingWorld(World):
    """As the random graphs of real runs, but many of their nodes ask."""

    def body(self, name: str, uses: dict[str, int]) -> Callable[..., Any]:
        body = super().body(name, uses)
        if self.rng.random() < 0.5:
            return body
        rng = random.Random(self.rng.random())
        before, after, catches = rng.choice([0.0, 0.3]), rng.choice([0.0, 0.3, 2.0]), rng.random() < 0.2

        async def work(seconds: float) -> None:
            self.enter(uses)
            try:
                if seconds:
                    await asyncio.sleep(seconds)
            finally:
                self.leave(uses)

        async def asks(ctx: Context) -> str:
            await work(before)
            try:
                count = 1 if rng.random() < 0.8 else 2
                # It has its slots again only once all of them are answered.
                answers = await asyncio.gather(*[ctx.ask(name) for _ in range(count)], return_exceptions=True)
                for answer in answers:
                    if isinstance(answer, BaseException):
                        raise answer
                    assert answer == f"value of {name}"
            except (ValueError, NobodyAnswers):
                await work(after)
                if not catches:
                    raise
            await work(after)
            return f"value of {name}"

        return asks


def people(rng: random.Random, asked: list[Question]) -> Callable[[Question], Any]:
    """Answers late, wrongly, not at all, or with an error; on the loop or in a thread."""

    def decide(question: Question) -> str:
        asked.append(question)
        return rng.choices(["right", "wrong", "fail", "hang", "stubborn"], [12, 3, 2, 1, 1])[0]

    async def answer(question: Question, manner: str) -> Any:
        await asyncio.sleep(rng.choice([0.0, 0.0, 0.5, 2.0]))
        if manner == "fail":
            raise ValueError(question.text)
        if manner == "hang":
            await asyncio.sleep(1e6)
        if manner == "stubborn":
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
        return 3 if manner == "wrong" else f"value of {question.text}"

    async def on_loop(question: Question) -> Any:
        manner = decide(question)
        return (
            f"value of {question.text}" if manner == "right" and rng.random() < 0.3 else await answer(question, manner)
        )

    def in_thread(question: Question) -> Any:
        manner = decide(question)
        if manner == "right":
            return f"value of {question.text}"
        if manner == "fail":
            raise ValueError(question.text)
        return answer(question, manner)

    return on_loop if rng.random() < 0.7 else in_thread


async def run_one(seed: int, events: list[Event]) -> tuple[AskingWorld, RunResult, list[Question]]:
    world = AskingWorld(seed)
    asked: list[Question] = []
    result = await run_world(world, seed, events, ask=people(random.Random(f"people {seed}"), asked))
    return world, result, asked


def judge_questions(asked: list[Question], events: list[Event]) -> None:
    """Every question is told before it is put, and nobody is shown as waiting who does not."""
    told = {event.number: (event.node, event.text) for event in events if isinstance(event, NodeAsks)}
    assert {question.number: (question.node, question.text) for question in asked}.items() <= told.items()
    waits: dict[str, set[int]] = {}
    for event in events:
        match event:
            case NodeAsks():
                waits.setdefault(event.node, set()).add(event.number)
            case NodeAnswered():
                waits[event.node].remove(event.number)
            case NodeEnded() | NodeRetrying():
                waits.pop(event.node, None)
            case _:
                pass
    assert not any(waits.values())


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_whose_nodes_ask_run_by_the_laws(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, limits, events and endings are right, questions are numbered, and nothing is left behind."""
    monkeypatch.setenv("ANTICHAIN_DEBUG", "1")
    runs = 5000 if FULL else 200
    questions = 0
    for seed in range(block * runs // 10, (block + 1) * runs // 10):
        events: list[Event] = []
        with virtual_time() as clock:
            try:
                world, result, asked = clock.run(run_one(seed, events))
                judge(world, result, events)
                numbers = [question.number for question in asked if question.problem is None]
                # Threads may overtake one another.
                assert sorted(numbers) == list(range(1, len(numbers) + 1))
                judge_questions(asked, events)
                questions += len(numbers)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
    assert questions > runs // 10
