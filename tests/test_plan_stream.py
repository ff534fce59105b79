"""
PlanStream: when steps start, what refuses a plan, what is kept, and what a model is told.
"""

import asyncio
import json
import pickle
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from antichain import (
    Context,
    Graph,
    GraphError,
    Limit,
    NodeEntered,
    NodeStarted,
    ParallelStepExecutor,
    PlanRefused,
    PlanStream,
    RunFailed,
    RunTimeout,
    Tool,
    Tools,
)
from antichain.agents.plans.ordering import _cycles
from tests.support.plans import arriving
from tests.support.probe import virtually


class Watched:
    """Fake tools that remember when they were called."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.running = self.most = 0

    async def work(self, name: str, seconds: float = 1.0, after: Any = None) -> dict[str, Any]:
        self.started[name] = asyncio.get_running_loop().time()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.running -= 1
        return {"name": name, "after": after}

    async def fail(self, after: Any = None) -> None:
        raise OSError("the service is down")

    @property
    def tools(self) -> Tools:
        return Tools(self.work, self.fail)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def work(name: str, seconds: float = 1.0, after: Any = None, **more: Any) -> dict[str, Any]:
    args = {"name": name, "seconds": seconds} | ({} if after is None else {"after": after})
    return {"id": name, "tool": "work", "args": args, **more}


def codes(error: GraphError) -> list[tuple[str | None, str]]:
    return [(fault.node, fault.code) for fault in error.faults]


def refused(plan: PlanStream, **given: Any) -> PlanRefused:
    with pytest.raises(PlanRefused) as caught:
        virtually(plan.execute(**given))
    return caught.value


# -- when steps start


def test_a_step_starts_before_the_next_is_written(watched: Watched) -> None:
    steps = [work("a"), work("b", after="$a.name"), work("c", after="$b.name"), work("d")]
    results = virtually(PlanStream(arriving(steps, 0.5), watched.tools).execute())
    assert watched.started == {"a": 0.0, "b": 1.0, "c": 2.0, "d": 1.5}
    assert results["c"] == {"name": "c", "after": "b"}


def test_steps_may_come_in_any_order(watched: Watched) -> None:
    steps = [work("c", after=["$b.name", "$a.name"]), work("b", after="${a.name}"), work("a")]
    results = virtually(PlanStream(arriving(steps, 1.0), watched.tools).execute())
    assert watched.started == {"a": 2.0, "b": 3.0, "c": 4.0}
    assert list(results) == ["c", "b", "a"]
    assert results["c"]["after"] == ["b", "a"]


def test_text_as_a_model_streams_it(watched: Watched) -> None:
    """The step begins when its brace is closed, in the middle of the text."""
    text = "Here is the plan:\n```json\n" + json.dumps([work("a"), work("b", after="$a.name")], indent=1) + "\n```"
    pieces = [text[at : at + 10] for at in range(0, len(text), 10)]
    results = virtually(PlanStream(arriving(pieces, 0.1), watched.tools).execute())
    first_end = text.index("}\n }", 0) + 4
    assert watched.started["a"] == pytest.approx(0.1 * ((first_end - 1) // 10))
    assert watched.started["b"] == pytest.approx(max(watched.started["a"] + 1.0, 0.1 * ((text.rindex("}") - 1) // 10)))
    assert results["b"]["after"] == "a"


def test_the_text_form_of_llmcompiler() -> None:
    async def search(topic: str) -> str:
        return f"about {topic}"

    async def math(problem: str, context: list[str]) -> str:
        return f"{problem}: {', '.join(context)}"

    text = 'Thought: two searches.\n1. search("tea")\n2. search("milk")\n3. math("compare $1", ["$1", "$2"])\n4. join()'
    results = virtually(PlanStream(text, Tools(search, math)).execute())
    assert results == {"1": "about tea", "2": "about milk", "3": "compare about tea: about tea, about milk"}


def test_calls_of_tools_as_openai_streams_them(watched: Watched) -> None:
    """A call begins when its arguments are whole; one may refer to the other by its id."""

    def chunk(index: int, **call: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, **call}]}, "finish_reason": None}]}

    texts = [json.dumps({"name": "a"}), json.dumps({"name": "b", "after": "${call_0.name}"})]
    chunks = []
    for index, text in enumerate(texts):
        chunks.append(chunk(index, id=f"call_{index}", function={"name": "work", "arguments": ""}))
        chunks += [chunk(index, function={"arguments": text[at : at + 5]}) for at in range(0, len(text), 5)]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    results = virtually(PlanStream(arriving(chunks, 0.1), watched.tools).execute())
    assert results["call_1"] == {"name": "b", "after": "a"}
    assert watched.started["a"] == pytest.approx(0.1 * -(-len(texts[0]) // 5))
    assert watched.started["b"] == pytest.approx(max(watched.started["a"] + 1.0, 0.1 * (len(chunks) - 2)))


def test_run_inputs_may_be_referred_to(watched: Watched) -> None:
    plan = PlanStream([work("a", after="${question}?")], watched.tools)
    assert virtually(plan.execute({"question": "why"}))["a"]["after"] == "why?"


def test_all_kinds_of_tools() -> None:
    """A coroutine function, one in a thread, a graph, an object that is invoked, one that takes its Context."""
    inner = Graph("inner")
    inner.add("double", lambda x: 2 * x, runner="loop")

    class Chain:
        name, description = "chain", "A chain."
        args_schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}

        async def ainvoke(self, given: dict[str, int]) -> int:
            return given["x"] + 100

    def plain(x: int) -> int:
        return x + 1

    async def knows(x: int, ctx: Context) -> str:
        return f"{ctx.node_id} {x}"

    tools = Tools(plain, Tool(inner, name="inner"), Chain(), knows)
    steps = [
        {"id": 1, "tool": "plain", "args": {"x": 1}},
        {"id": 2, "tool": "inner", "args": {"x": "$1"}},
        {"id": 3, "tool": "chain", "args": {"x": "$2"}},
        {"id": 4, "tool": "knows", "args": {"x": "$3"}},
        {"id": 5, "tool": "plain", "args": [7]},
    ]
    assert PlanStream(steps, tools).execute_sync() == {"1": 2, "2": 4, "3": 104, "4": "4 104", "5": 8}


def test_policies_of_tools_and_limits_hold(watched: Watched) -> None:
    tries = 0

    async def flaky() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("again")
        return "done"

    tools = Tools(Tool(watched.work, uses="api"), Tool(flaky, retry=3))
    steps = [*[work(f"w{i}") for i in range(6)], {"id": "f", "tool": "flaky"}]
    results = virtually(PlanStream(steps, tools, limits={"api": 2}, seed=1).execute())
    assert (watched.most, results["f"]) == (2, "done")


def test_a_plan_may_be_iterated_over(watched: Watched) -> None:
    async def main() -> list[Any]:
        return [step async for step in PlanStream([work("a"), work("b", after="$a")], watched.tools)]

    assert [(step.id, step.depends) for step in asyncio.run(main())] == [("a", ()), ("b", ("a",))]


def test_iterating_gives_nothing_more_once_there_is_a_fault(watched: Watched) -> None:
    async def main(gap: float) -> list[str]:
        given = []
        steps = [work("a"), work("b"), {"id": "x", "tool": "nothing"}, work("c")]
        try:
            async for step in PlanStream(arriving(steps, gap), watched.tools):
                given.append(step.id)
        except PlanRefused:
            return given
        raise AssertionError("the plan was not refused")

    assert virtually(main(0.0)) == []
    assert virtually(main(1.0)) == ["a", "b"]


def test_leaving_the_iteration_closes_the_source(watched: Watched) -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield work("a")
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.5)
            closed.append(True)

    async def main() -> None:
        async with aclosing(aiter(PlanStream(source(), watched.tools))) as steps:  # type: ignore[type-var]
            async for _ in steps:
                break
        assert closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


def test_an_iterator_can_be_read_once_and_a_list_again(watched: Watched) -> None:
    plan = PlanStream(iter([work("a")]), watched.tools)
    virtually(plan.execute())
    with pytest.raises(GraphError, match="read only once"):
        virtually(plan.execute())
    again = PlanStream([work("a")], watched.tools)
    assert virtually(again.execute()) == virtually(again.execute())


def test_an_empty_plan_has_no_results(watched: Watched) -> None:
    assert virtually(PlanStream([], watched.tools).execute()) == {}


# -- what refuses a plan


def test_every_fault_is_named_with_its_step(watched: Watched) -> None:
    steps = [
        {"id": "a", "tool": "wrok", "args": {"name": "a"}},
        {"id": "b", "tool": "work", "args": {"name": 3, "colour": "$a"}},
        {"id": "c d", "tool": "work", "args": {"name": "c"}},
        work("e", after="$nowhere.x"),
        work("f", after="$g"),
        work("g", depends_on=["f"]),
        work("h", after="$h.x"),
        work("i", after="$a.__class__"),
        work("a"),
        work("j", after=float("nan")),
    ]
    error = refused(PlanStream(arriving(steps, 0.1), watched.tools))
    found = codes(error)
    expected = {
        ("a", "unknown-tool"), ("b", "bad-arguments"), ("#3", "bad-id"), ("e", "unknown-upstream"), ("f", "cycle"),
        ("h", "self-dependency"), ("i", "bad-reference"), ("a", "duplicate-id"), ("j", "unreadable-step"),
    }  # fmt: skip
    assert expected <= set(found), found
    assert len(found) == len(expected) + 1, found
    assert "Did you mean 'work'?" in str(error)
    assert not watched.started


def test_nothing_starts_after_the_first_fault_and_what_runs_ends_well(watched: Watched) -> None:
    """
    The fault comes at 1.0: `a` runs, `b` waits for it, `d` comes later and is sound; all is read all the same.
    """
    steps = [
        work("a", 5.0),
        work("b", after="$a"),
        {"id": "c", "tool": "nothing"},
        work("d"),
        {"id": "e", "tool": "none"},
    ]
    error = refused(PlanStream(arriving(steps, 0.5), watched.tools))
    assert codes(error) == [("c", "unknown-tool"), ("e", "unknown-tool")]
    assert (list(watched.started), watched.cancelled) == (["a"], [])
    assert error.result is not None
    assert dict(error.result) == {"a": {"name": "a", "after": None}}
    assert error.result.nodes["b"].state == "cancelled"
    assert "d" not in error.result.nodes


def test_the_steps_of_a_cycle_are_named_in_order_without_a_search_for_each() -> None:
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    names = [Name(number) for number in range(300)]
    needs = {name: [after] for name, after in zip(names, [*names[1:], names[0]], strict=True)}
    found = [[str(name) for name in part] for part in _cycles(needs)]
    assert found == [[str(number) for number in range(300)]]
    # Only where two names fall into one place of a table.
    assert compared < 10 * 300


def test_a_cycle_is_found_when_its_last_step_comes(watched: Watched) -> None:
    steps = [work("a", after="$c"), work("b", after="$a"), work("c", after="$b"), work("late"), work("later")]
    error = refused(PlanStream(arriving(steps, 1.0), watched.tools))
    assert [(fault.code, fault.nodes) for fault in error.faults] == [("cycle", ("a", "b", "c"))]
    assert not watched.started


@pytest.mark.parametrize("on_error", ["cancel", "drain", "continue"])
def test_the_executor_refuses_as_well(watched: Watched, on_error: Any) -> None:
    steps = [work("a", 2.0), work("b", after="$a"), {"id": "c", "tool": "nothing"}, work("d")]
    executor = ParallelStepExecutor(PlanStream(arriving(steps, 0.1), watched.tools), on_error=on_error)
    with pytest.raises(PlanRefused) as caught:
        virtually(executor.execute())
    assert codes(caught.value) == [("c", "unknown-tool")]
    assert list(watched.started) == ["a"]
    assert caught.value.result is not None
    assert (watched.cancelled == ["a"]) == (on_error == "cancel")


def test_a_plan_that_is_there_as_a_whole_is_checked_as_a_whole(watched: Watched) -> None:
    steps = [*[work(f"s{i}", after=f"$s{i - 1}" if i else None) for i in range(20)], {"id": "x", "tool": "nothing"}]
    for source in (steps, json.dumps(steps), arriving(steps, 0.0), arriving([json.dumps(steps)], 0.0)):
        assert codes(refused(PlanStream(source, watched.tools))) == [("x", "unknown-tool")]
    assert not watched.started


LATE_FAULTS = {
    "missing-value": work("b", after="$a.nmae"),
    "bad-arguments": {"id": "b", "tool": "work", "args": {"name": "b", "seconds": "$a.name"}},
}


@pytest.mark.parametrize("code", LATE_FAULTS)
def test_a_fault_that_only_an_output_shows(watched: Watched, code: str) -> None:
    """A reference finds nothing, or a text for a number: the plan's fault, no crash, and the tool is not called."""
    error = refused(PlanStream([work("a"), LATE_FAULTS[code]], Tools(Tool(watched.work, retry=5))))
    assert codes(error) == [("b", code)]
    assert list(watched.started) == ["a"]
    assert error.result is not None
    assert list(error.result) == ["a"]
    assert error.result.nodes["b"].attempts == 1


def test_a_referenced_argument_is_checked_when_its_value_exists(watched: Watched) -> None:
    async def number() -> int:
        return 3

    tools = Tools(watched.work, number)
    steps = [{"id": "n", "tool": "number"}, {"id": "c", "tool": "work", "args": {"name": "c", "seconds": "$n"}}]
    virtually(PlanStream(steps, tools).execute())
    assert list(watched.started) == ["c"]


def test_a_broken_plan_beside_a_broken_tool_is_refused(watched: Watched) -> None:
    steps = [{"id": "f", "tool": "fail"}, work("a", 3.0), {"id": "x", "tool": "nothing"}]
    error = refused(PlanStream(arriving(steps, 1.0), watched.tools, on_error="continue"))
    assert codes(error) == [("x", "unknown-tool")]
    told = json.loads(error.for_model())
    assert told["failed"] == {"f": "OSError: the service is down"}
    assert list(told["completed"]) == ["a"]


def test_a_tool_that_fails_is_no_fault_of_the_plan(watched: Watched) -> None:
    steps = [work("a", 3.0), {"id": "f", "tool": "fail"}, work("b", after="$f")]
    with pytest.raises(RunFailed) as caught:
        virtually(PlanStream(steps, watched.tools).execute())
    assert [str(error) for error in caught.value.exceptions] == ["the service is down"]
    assert dict(caught.value.result) == {"a": {"name": "a", "after": None}}


def test_what_the_source_raises_is_raised(watched: Watched) -> None:
    async def source() -> AsyncIterator[Any]:
        yield work("a")
        await asyncio.sleep(0.5)
        raise OSError("the model is gone")

    with pytest.raises(RunFailed) as caught:
        virtually(PlanStream(source(), watched.tools).execute())
    assert [str(error) for error in caught.value.exceptions] == ["the model is gone"]
    assert dict(caught.value.result) == {"a": {"name": "a", "after": None}}


@pytest.mark.parametrize("is_inside", [False, True], ids=["alone", "inside a run"])
def test_cancelling_closes_the_source_and_leaves_nothing(watched: Watched, is_inside: bool) -> None:
    closed: list[float] = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield work("a", 100.0)
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.5)
            closed.append(asyncio.get_running_loop().time())

    async def main() -> None:
        plan = PlanStream(source(), watched.tools)
        task: asyncio.Future[Any] = asyncio.ensure_future(agent_of(plan).arun() if is_inside else plan.execute())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())
    assert (closed, watched.cancelled) == ([1.5], ["a"])


def test_a_source_that_swallows_its_cancellation_is_left_and_named(watched: Watched) -> None:
    go_on = [True]

    async def stubborn() -> AsyncIterator[Any]:
        yield work("a")
        while go_on[0]:
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                continue

    told: list[dict[str, Any]] = []

    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        began = loop.time()
        with pytest.raises(RunTimeout) as caught:
            await PlanStream(stubborn(), watched.tools, deadline=5.0, grace=2.0).execute()
        assert dict(caught.value.result) == {"a": {"name": "a", "after": None}}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        ended = loop.time() - began
        # It was left as it is; let it go, for the test's sake.
        go_on[0] = False
        await asyncio.sleep(60)
        return ended

    assert virtually(main()) < 8
    assert ["source of a plan did not end" in each["message"] for each in told] == [True]


def test_a_source_that_cannot_be_closed_does_not_hide_what_is_wrong_with_the_plan(watched: Watched) -> None:
    async def source() -> AsyncIterator[Any]:
        try:
            for name in "abcdef":
                yield work(name)
        finally:
            raise OSError("the connection cannot be closed")

    error = refused(PlanStream(source(), watched.tools, max_steps=2))
    assert codes(error) == [("#3", "too-many-steps")]
    assert isinstance(error.__cause__, OSError)
    assert error.for_model()


def test_a_deadline_ends_a_source_that_says_nothing(watched: Watched) -> None:
    async def source() -> AsyncIterator[Any]:
        yield work("a")
        await asyncio.sleep(1000)

    with pytest.raises(RunTimeout) as caught:
        virtually(PlanStream(source(), watched.tools, deadline=5.0).execute())
    assert dict(caught.value.result) == {"a": {"name": "a", "after": None}}


CAPS: dict[str, tuple[dict[str, int], list[Any], str, str]] = {
    "steps": ({"max_steps": 2}, [work("a"), work("b"), work("c")], "#3", "too-many-steps"),
    "depth": ({"max_depth": 2}, [work("c", after="$b"), work("b", after="$a"), work("a")], "c", "too-deep"),
    "size": ({"max_bytes": 200}, [work("a"), work("b", after="x" * 100)], "b", "too-large"),
    "nesting": ({"max_nesting": 3}, [work("a", after=[[[[1]]]])], "a", "too-nested"),
    "path": ({"max_nesting": 3}, [work("a"), work("b", after="$a.x.y.z.z")], "b", "bad-reference"),
}


@pytest.mark.parametrize("name", CAPS)
def test_caps(watched: Watched, name: str) -> None:
    caps, steps, node, code = CAPS[name]
    error = refused(PlanStream(steps, watched.tools, **caps))  # type: ignore[arg-type]
    assert (node, code) in codes(error) or code == "too-nested", codes(error)
    larger = {cap: value * 10 for cap, value in caps.items()}
    if name == "path":
        with pytest.raises(PlanRefused, match="finds nothing"):
            virtually(PlanStream(steps, watched.tools, **larger).execute())  # type: ignore[arg-type]
    else:
        virtually(PlanStream(steps, watched.tools, **larger).execute())  # type: ignore[arg-type]


def test_outputs_cannot_be_multiplied_without_end(watched: Watched) -> None:
    """Each step writes the one before ten times into its text: 10^9 characters after nine of them."""

    async def echo(text: str) -> str:
        return text

    steps = [{"id": "e0", "tool": "echo", "args": {"text": "x" * 10}}]
    steps += [{"id": f"e{i}", "tool": "echo", "args": {"text": f"${{e{i - 1}}}" * 10}} for i in range(1, 10)]
    error = refused(PlanStream(steps, Tools(echo)))
    assert codes(error) == [("e6", "missing-value")]
    assert len(error.for_model()) < 10_000


def test_lists_of_outputs_cannot_be_multiplied_either() -> None:
    """Each step gets the one before 300 times in a list: no text, and no copy, but 300^9 values for who looks at it."""

    async def echo(value: Any) -> Any:
        return value

    steps: list[Any] = [{"id": "e0", "tool": "echo", "args": {"value": [1] * 100}}]
    steps += [{"id": f"e{i}", "tool": "echo", "args": {"value": [f"$e{i - 1}"] * 300}} for i in range(1, 10)]
    error = refused(PlanStream(steps, Tools(echo)))
    assert codes(error) == [("e2", "bad-arguments")]
    assert len(error.for_model()) < 10_000


# -- what is said


def test_for_model_is_one_json_text(watched: Watched) -> None:
    steps = [work("a"), {"id": "b", "tool": "nothing"}, work("c", after="$b")]
    error = refused(PlanStream(arriving(steps, 2.0), watched.tools))
    assert json.loads(error.for_model()) == {
        "error": "the plan was refused",
        "faults": [
            {
                "step": "b",
                "code": "unknown-tool",
                "message": "step 'b' asks for the tool \"nothing\", which is not allowed.",
            }
        ],
        "completed": {"a": {"name": "a", "after": None}},
        "failed": {},
        "not_run": ["b", "c"],
        "tools": ["work", "fail"],
    }  # fmt: skip


def test_for_model_holds_long_and_odd_results() -> None:
    async def odd(kind: str) -> Any:
        found = {
            "long": "x" * 10_000,
            "half": "\ud83d",
            "object": {1, 2},
            "nan": float("nan"),
            "list": [[0] * 1000] * 1000,
        }
        return found[kind]

    kinds = ("long", "half", "object", "nan", "list")
    steps: list[Any] = [{"id": name, "tool": "odd", "args": [name]} for name in kinds]
    error = refused(PlanStream(arriving([*steps, {"id": "x", "tool": "none"}], 1.0), Tools(odd)))
    text = error.for_model()
    assert len(text.encode()) < 5_000
    completed = json.loads(text)["completed"]
    assert tuple(completed) == kinds
    assert completed["object"] == '"<set>"'


def test_a_refusal_can_be_pickled(watched: Watched) -> None:
    error = refused(PlanStream([{"id": "b", "tool": "nothing"}], watched.tools))
    copy = pickle.loads(pickle.dumps(PlanRefused(error.faults)))
    assert copy.faults == error.faults


# -- what the program itself does wrong


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_steps": 0}, ["max_steps=0"]),
        ({"max_bytes": "1", "max_depth": True}, ["max_bytes='1'", "max_depth=True"]),
        ({"max_nesting": 61}, ["max_nesting=61", "60"]),
        ({"format": "yaml"}, ["format='yaml'", "llmcompiler"]),
        ({"on_error": "explode"}, ["on_error"]),
        ({"colour": 1}, ["colour="]),
    ],
)
def test_wrong_options_are_refused_at_once(watched: Watched, given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        PlanStream([], watched.tools, **given)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("source", [3, None, {"id": 1}])
def test_what_no_plan_can_be_read_from_is_refused_at_once(watched: Watched, source: Any) -> None:
    with pytest.raises(GraphError, match="PlanStream was given"):
        PlanStream(source, watched.tools)


def test_a_limit_that_the_run_does_not_have_is_the_programs_fault(watched: Watched) -> None:
    with pytest.raises(GraphError, match="unknown-limit") as caught:
        virtually(PlanStream([work("a")], Tools(Tool(watched.work, uses="api"))).execute())
    assert not isinstance(caught.value, PlanRefused)


# -- inside a run


def agent_of(plan: PlanStream, **inputs: Any) -> Graph:
    graph = Graph("agent", max_concurrent=1)

    @graph.node
    async def agent(ctx: Context) -> Any:
        return await ctx.run(plan, **inputs)

    return graph


def test_a_plan_inside_a_run_has_its_limits_events_and_ids(watched: Watched) -> None:
    events: list[Any] = []
    steps = [work("a"), work("b"), work("c", after="$a.name"), work("q", after="$question")]
    plan = PlanStream(arriving(steps, 0.1), watched.tools)
    result = virtually(agent_of(plan, question="why").arun(listeners=[events.append]))
    inner = result["agent"]
    assert {name: value["after"] for name, value in inner.items()} == {"a": None, "b": None, "c": "a", "q": "why"}
    assert inner.status == "succeeded"
    assert watched.most == 1
    assert [event.node for event in events if isinstance(event, NodeStarted)] == [
        "agent", "agent/plan", "agent/plan/a", "agent/plan/b", "agent/plan/c", "agent/plan/q",
    ]  # fmt: skip
    entered = {event.node: event for event in events if isinstance(event, NodeEntered)}
    assert entered["agent/plan/c"].upstream == ("agent/plan/a",)
    assert result.nodes["agent/plan/c"].state == "succeeded"


def test_a_plan_inside_a_run_starts_steps_as_they_come(watched: Watched) -> None:
    steps = [work("a"), work("b", after="$a.name"), work("c"), work("d", after=["$b", "$c"])]
    graph = Graph("agent")

    @graph.node
    async def agent(ctx: Context) -> Any:
        return await ctx.run(PlanStream(arriving(steps, 0.4), watched.tools))

    virtually(graph.arun())
    assert watched.started == {"a": 0.0, "b": 1.0, "c": pytest.approx(0.8), "d": 2.0}


def test_a_refused_plan_inside_a_run_leaves_the_run_alone(watched: Watched) -> None:
    graph = Graph("agent")
    steps = [work("a", 2.0), work("b", after="$a"), {"id": "x", "tool": "nothing"}, work("c")]

    @graph.node
    async def agent(ctx: Context) -> Any:
        try:
            await ctx.run(PlanStream(arriving(steps, 0.5), watched.tools))
        except PlanRefused as refusal:
            assert refusal.result is not None
            return codes(refusal), dict(refusal.result), json.loads(refusal.for_model())["not_run"]

    @graph.node
    async def beside() -> str:
        await asyncio.sleep(9)
        return "well"

    result = virtually(graph.arun())
    kept = {"a": {"name": "a", "after": None}}
    assert result["agent"] == ([("x", "unknown-tool")], kept, ["b", "x", "c"])
    assert (result["beside"], list(watched.started), watched.cancelled) == ("well", ["a"], [])


@pytest.mark.parametrize("on_error", ["cancel", "drain", "continue"])
def test_a_tool_that_fails_inside_a_run_ends_the_plan_by_its_on_error(watched: Watched, on_error: Any) -> None:
    graph = Graph("agent")
    closed: list[float] = []

    async def source() -> AsyncIterator[Any]:
        try:
            for step in (work("a", 3.0), {"id": "f", "tool": "fail"}, work("b", after="$f"), work("c")):
                yield step
                await asyncio.sleep(0.5)
            await asyncio.sleep(100)
        finally:
            closed.append(asyncio.get_running_loop().time())

    @graph.node
    async def agent(ctx: Context) -> Any:
        try:
            await ctx.run(PlanStream(source(), watched.tools))
        except RunFailed as failure:
            return [str(error) for error in failure.exceptions], list(failure.result)

    result = virtually(graph.arun(on_error=on_error))
    finished = {"cancel": [], "drain": ["a"], "continue": ["a", "c"]}[on_error]
    assert result["agent"] == (["the service is down"], finished)
    assert watched.cancelled == (["a"] if on_error == "cancel" else [])
    assert closed == [{"cancel": 0.5, "drain": 0.5, "continue": 102.0}[on_error]]


def test_options_of_a_plan_do_not_hold_inside_a_run_but_limits_do(watched: Watched) -> None:
    with pytest.raises(RunFailed) as caught:
        virtually(agent_of(PlanStream([], watched.tools, deadline=3.0)).arun())
    assert "deadline=" in str(caught.value.exceptions[0])
    tools = Tools(Tool(watched.work, uses="api"))
    limit = Limit(2)
    graph = Graph("agent")

    @graph.node
    async def agent(ctx: Context) -> Any:
        return await ctx.run(PlanStream([work(f"w{i}") for i in range(5)], tools, limits={"api": limit}))

    virtually(graph.arun())
    assert watched.most == 2


# -- on a real clock


def test_a_planner_of_50_ms_and_tools_of_200_ms() -> None:
    """
    Ten steps, two lines of them: the first tool starts before the second step is written, and the whole takes no longer
    than 1.1 times what arrival and references allow, as this machine's own clock measured both.
    """
    needs = {i: [i - 2] if i >= 4 else [] for i in range(10)}
    steps = [work(f"s{i}", 0.2, [f"$s{before}.name" for before in before_it]) for i, before_it in needs.items()]

    async def measured() -> tuple[float, bool]:
        written: dict[int, float] = {}
        started: dict[str, float] = {}
        took: dict[str, float] = {}
        begin = time.perf_counter()

        async def work(name: str, seconds: float, after: list[str]) -> dict[str, str]:
            started[name] = time.perf_counter() - begin
            await asyncio.sleep(seconds)
            took[name] = time.perf_counter() - begin - started[name]
            return {"name": name}

        async def planner() -> AsyncIterator[Any]:
            for number, step in enumerate(steps):
                await asyncio.sleep(0.05)
                written[number] = time.perf_counter() - begin
                yield step

        await PlanStream(planner(), Tools(work)).execute()
        total = time.perf_counter() - begin
        ends: dict[int, float] = {}
        for number, before_it in needs.items():
            ends[number] = max([written[number], *[ends[before] for before in before_it]]) + took[f"s{number}"]
        return total / max(ends.values()), started["s0"] < written[1]

    # Machines stall: one of a few runs has to show it.
    assert any(is_early and ratio <= 1.1 for ratio, is_early in (asyncio.run(measured()) for _ in range(10)))
