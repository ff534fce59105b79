"""
The loop around plans: what a planner is told, what is kept from plan to plan, and when it ends.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from antichain import Context, Graph, GraphError, PlanRefused, RunFailed, Tools, replan
from antichain.agents.plans.replan import Feedback
from tests.support.plans import arriving
from tests.support.probe import virtually

calls: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.clear()


async def fetch(key: str) -> dict[str, str]:
    calls.append(key)
    await asyncio.sleep(1)
    if key == "down":
        raise OSError("the service is down")
    return {"key": key}


TOOLS = Tools(fetch)


def step(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "tool": "fetch", "args": {"key": key}, **more}


class Planner:
    """Gives its plans one after another, and remembers what it was told."""

    def __init__(self, *plans: list[Any]) -> None:
        self.plans = list(plans)
        self.told: list[Feedback | None] = []

    async def __call__(self, feedback: Feedback | None) -> AsyncIterator[Any]:
        self.told.append(feedback)
        await asyncio.sleep(0.1)
        return arriving(self.plans[len(self.told) - 1], 1.5)


def test_a_good_plan_needs_one_round() -> None:
    planner = Planner([step("a", "x")])
    assert virtually(replan(planner, TOOLS)) == {"a": {"key": "x"}}
    assert planner.told == [None]


def test_a_refused_plan_goes_back_and_what_ran_is_kept() -> None:
    """The second plan repeats `a` as it was, refers to `b` without repeating it, and adds `d`."""
    planner = Planner(
        [step("a", "x"), step("b", "y"), step("c", "z", tool="nothing")],
        [step("a", "x"), step("d", "$b.key"), step("e", "$a.key")],
    )
    results = virtually(replan(planner, TOOLS))
    assert results == {"a": {"key": "x"}, "b": {"key": "y"}, "d": {"key": "y"}, "e": {"key": "x"}}
    assert calls == ["x", "y", "y", "x"]
    feedback = planner.told[1]
    assert feedback is not None
    assert (feedback.round, dict(feedback.kept)) == (1, {"a": {"key": "x"}, "b": {"key": "y"}})
    told = json.loads(str(feedback))
    assert [fault["step"] for fault in told["faults"]] == ["c"]
    assert told["completed"] == {"a": {"key": "x"}, "b": {"key": "y"}}
    assert told["tools"] == ["fetch"]


def test_a_tool_that_failed_goes_back_too() -> None:
    planner = Planner([step("a", "x"), step("b", "down")], [step("c", "$a.key")])
    assert virtually(replan(planner, TOOLS)) == {"a": {"key": "x"}, "c": {"key": "x"}}
    told = json.loads(str(planner.told[1]))
    assert told["failed"] == {"b": "OSError: the service is down"}
    assert told["error"] == "the plan failed"


def test_another_step_cannot_take_the_id_of_one_that_ran() -> None:
    planner = Planner([step("a", "x"), step("b", "y", tool="nothing")], [step("a", "other")], [step("a2", "other")])
    assert list(virtually(replan(planner, TOOLS))) == ["a", "a2"]
    assert [fault["code"] for fault in json.loads(str(planner.told[2]))["faults"]] == ["duplicate-id"]


def test_a_source_that_breaks_off_goes_back() -> None:
    async def broken() -> AsyncIterator[Any]:
        yield step("a", "x")
        await asyncio.sleep(2)
        raise OSError("connection reset")

    told: list[Any] = []

    def planner(feedback: Feedback | None) -> Any:
        told.append(feedback)
        return broken() if feedback is None else [step("b", "$a.key")]

    assert virtually(replan(planner, TOOLS)) == {"a": {"key": "x"}, "b": {"key": "x"}}
    assert "connection reset" in json.loads(str(told[1]))["faults"][0]["message"]


def test_it_ends_after_so_many_rounds_with_the_last_error() -> None:
    bad = [step("b", "y", tool="nothing")]
    planner = Planner([step("a", "x"), *bad], bad, bad, bad)
    with pytest.raises(PlanRefused) as caught:
        virtually(replan(planner, TOOLS, rounds=3))
    assert len(planner.told) == 3
    assert json.loads(caught.value.for_model())["completed"] == {"a": {"key": "x"}}
    with pytest.raises(RunFailed):
        virtually(replan(Planner([step("b", "down")]), TOOLS, rounds=1))


def test_inputs_caps_and_options_reach_every_plan() -> None:
    planner = Planner([step("a", "$topic"), step("b", "x"), step("c", "x")], [step("d", "$topic")])
    results = virtually(replan(planner, TOOLS, inputs={"topic": "tea"}, max_steps=2, max_concurrent=1))
    assert results["d"] == {"key": "tea"}
    assert "topic" not in results
    assert [fault["code"] for fault in json.loads(str(planner.told[1]))["faults"]] == ["too-many-steps"]


@pytest.mark.parametrize("rounds", [0, -1, True, 1.5, "3"])
def test_rounds_are_a_number_of_plans(rounds: Any) -> None:
    with pytest.raises(GraphError, match="rounds="):
        virtually(replan(Planner(), TOOLS, rounds=rounds))
    with pytest.raises(GraphError, match="replan was given 3 as planner: must be a function"):
        virtually(replan(3, TOOLS))  # type: ignore[arg-type]


def test_inside_a_run_every_plan_is_a_part_of_it() -> None:
    planner = Planner([step("a", "x"), step("b", "y", tool="nothing")], [step("c", "$a.key")])
    graph = Graph("agent")

    @graph.node
    async def agent(ctx: Context) -> Any:
        return await replan(planner, TOOLS, context=ctx)

    result = virtually(graph.arun())
    assert result["agent"] == {"a": {"key": "x"}, "c": {"key": "x"}}
    assert {"agent/plan/a", "agent/plan#2/c"} <= set(result.nodes)


def test_what_a_planner_raises_is_raised() -> None:
    def planner(feedback: Feedback | None) -> Any:
        raise OSError("no model")

    with pytest.raises(OSError, match="no model"):
        virtually(replan(planner, TOOLS))
