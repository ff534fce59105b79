"""
3,590 real plans, streamed step by step: each step starts the moment its references exist, and the results are right.
And 203 that are malformed: refused, every fault named with its step, before anything of the faulty part has run.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antichain import ParallelStepExecutor, PlanRefused, PlanStream
from antichain.testing import virtual_time
from tests.support.plans import (
    Log,
    Written,
    arriving,
    expected_results,
    expected_starts,
    needs_of,
    read,
    steps_of,
    tools_for,
)

pytestmark = pytest.mark.slow

FAMILIES = ("nestful", "worfbench", "llm_plans", "llmcompiler", "asynchow")
MALFORMED = ("malformed_llm_plans", "malformed_nestful", "malformed_worfbench")
# Seconds between two steps; written at once, faster than tools, slower than tools.
GAPS = (0.0, 0.7, 5.0)


Execute = Callable[[PlanStream], Awaitable[dict[str, Any]]]


def check_all(dags: list[dict[str, Any]], gap: float, execute: Execute, *, in_order: bool = True) -> None:
    """Run each plan, of which a step comes every *gap* seconds, and look at what came of it and when."""
    log = Log()
    tools = tools_for(dags, log)
    for dag in dags:
        steps = steps_of(dag)
        log.started, log.times = {}, {}
        with virtual_time() as clock:
            results = clock.run(execute(PlanStream(arriving(steps, gap), tools)))
        assert not in_order or list(results) == [step["id"] for step in steps], dag["name"]
        check(dag["name"], steps, gap, log, results)


def check(name: str, steps: list[Written], gap: float, log: Log, results: dict[str, Any]) -> None:
    expected = expected_starts(steps, gap)
    late = {
        step: (log.started.get(step), at) for step, at in expected.items() if log.started.get(step) != pytest.approx(at)
    }
    assert not late, f"{name}, a step every {gap} s: (started, could have started) {late}"
    bound = max(expected[step["id"]] + step["args"]["seconds"] for step in steps)
    assert log.end == pytest.approx(bound), name
    assert log.times == dict.fromkeys(expected, 1), name
    assert results == expected_results(steps), name


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_of_real_plans_starts_when_its_references_exist(family: str, gap: float, full: bool) -> None:
    dags = read(family) if full or not gap else read(family)[:: 3 if gap < 1.0 else 7]
    check_all(dags, gap, PlanStream.execute)


@pytest.mark.parametrize("family", ["nestful", "llmcompiler"])
def test_the_executor_of_the_recipe_runs_them_as_well(family: str) -> None:
    check_all(read(family), 0.7, lambda plan: ParallelStepExecutor(plan).execute(), in_order=False)


def test_real_plans_are_what_they_were() -> None:
    """The families of the issue, complete, and their references are not lost on the way into steps."""
    assert {family: len(read(family)) for family in FAMILIES} == {
        "nestful": 178, "worfbench": 1265, "llm_plans": 958, "llmcompiler": 7, "asynchow": 1182,
    }  # fmt: skip
    for family in FAMILIES:
        for dag in read(family):
            for node, step in zip(dag["nodes"], steps_of(dag), strict=True):
                assert needs_of(step) == set(node["deps"]), (dag["name"], node["id"])


# -- malformed ones


def faulty_part(steps: list[Written]) -> tuple[set[str], set[str]]:
    """The steps at fault, and all that are at fault or need, however far away, one that is."""
    ids = Counter(step["id"] for step in steps)
    at_fault = {name for name, count in ids.items() if count > 1}
    needs: dict[str, set[str]] = {}
    for step in steps:
        needs.setdefault(step["id"], set()).update(needs_of(step))
    for name, before in needs.items():
        reached, stack = set[str](), list(before)
        while stack:
            each = stack.pop()
            if each not in reached:
                reached.add(each)
                stack += needs.get(each, ())
        if name in reached or before - ids.keys():
            at_fault.add(name)
    part = set(at_fault)
    while more := {name for name, before in needs.items() if before & part} - part:
        part |= more
    return at_fault, part


def refusal_of(plan: PlanStream) -> PlanRefused:
    with virtual_time() as clock, pytest.raises(PlanRefused) as caught:
        clock.run(plan.execute())
    return caught.value


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("family", MALFORMED)
def test_malformed_plans_are_refused(family: str, gap: float) -> None:
    dags = read(family)
    log = Log()
    tools = tools_for(dags, log)
    for dag in dags:
        steps = steps_of(dag)
        log.started, log.times = {}, {}
        refused = refusal_of(PlanStream(arriving(steps, gap), tools))
        at_fault, part = faulty_part(steps)
        named = {name for fault in refused.faults for name in (fault.node, *fault.nodes)}
        assert at_fault <= named, (dag["name"], refused.faults)
        assert all(fault.node in at_fault for fault in refused.faults), (dag["name"], refused.faults)
        ran = set(log.started)
        if "duplicate-id" in dag["malformed"] and gap:
            # The first of the two was sound when it came, and nobody knew of the second.
            part -= {fault.node for fault in refused.faults if fault.code == "duplicate-id" and fault.node}
        assert not ran & part, (dag["name"], "ran", ran & part)
        assert gap or not ran, (dag["name"], "a plan that is there as a whole is checked as a whole", ran)
        # What ran is kept, and right.
        kept = dict(refused.result or {})
        assert set(kept) == ran, dag["name"]
        assert ran <= set(expected_results_of_sound(steps, part)), dag["name"]
        for name, value in expected_results_of_sound(steps, part).items():
            assert name not in kept or kept[name] == value, (dag["name"], name)


def expected_results_of_sound(steps: list[Written], part: set[str]) -> dict[str, Any]:
    sound: dict[str, Written] = {}
    for step in steps:
        if step["id"] not in part:
            sound.setdefault(step["id"], step)
    return expected_results(list(sound.values()))
