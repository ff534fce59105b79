"""
What both recipes promise, asked of all three faces of the engine, and of two planted executors that must not pass:
one that runs one node after the other, and one that runs them in waves as the recipes did.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antichain import GraphNode, ParallelGraphExecutor, ParallelStepExecutor, RunFailed, Step
from tests.support.probe import Bodies, Probe, Work, chains, in_waves, lattice, one_by_one, virtually

EXAMPLES = Path(__file__).parent.parent / "examples"
Execute = Callable[[Bodies, int | None], Awaitable[dict[str, Any]]]


async def as_nodes(bodies: Bodies, limit: int | None) -> dict[str, Any]:
    executor = ParallelGraphExecutor(max_concurrent=limit)
    for name, (body, upstream) in bodies.items():
        executor.add_node(GraphNode(name, body, depends_on=upstream))
    return await executor.execute()


async def as_steps(bodies: Bodies, limit: int | None) -> dict[str, Any]:
    steps = [Step(name, body, depends=upstream) for name, (body, upstream) in bodies.items()]
    return await ParallelStepExecutor(steps, max_concurrent=limit).execute()


async def as_stream(bodies: Bodies, limit: int | None) -> dict[str, Any]:
    async def steps() -> AsyncIterator[Step]:
        for name, (body, upstream) in bodies.items():
            yield Step(name, body, depends=upstream)

    return await ParallelStepExecutor(steps(), max_concurrent=limit).execute()


def bodies_of(work: Work, probe: Probe) -> Bodies:
    return {name: (probe.body(name, seconds), upstream) for name, (seconds, upstream) in work.items()}


# What is promised. Each check raises AssertionError if *execute* does not keep it.


async def independent_nodes_overlap(execute: Execute) -> None:
    """
    node1 ──┐
    node2 ──┴─ node3
    """
    probe = Probe()
    work: Work = {"node1": (0.1, []), "node2": (0.2, []), "node3": (0.1, ["node1", "node2"])}
    results = await execute(bodies_of(work, probe), 5)
    assert results == {"node1": "node1", "node2": "node2", "node3": ("node3", {"node1": "node1", "node2": "node2"})}
    assert probe.overlap("node1", "node2")
    assert probe.started["node3"] == max(probe.ended["node1"], probe.ended["node2"])
    assert probe.makespan == pytest.approx(0.3)


async def nothing_waits_for_a_wave(execute: Execute) -> None:
    """
    a1 ─ a2──────
    b1────── ─ b2
    """
    probe = Probe()
    await execute(bodies_of(chains(), probe), None)
    assert probe.started["a2"] < probe.ended["b1"]
    assert probe.makespan == pytest.approx(0.4)


async def the_lattice_takes_its_longest_chain(execute: Execute) -> None:
    probe = Probe()
    results = await execute(bodies_of(lattice(), probe), 64)
    assert len(results) == 64
    assert probe.makespan == pytest.approx(0.135)


async def a_limit_is_reached_and_never_passed(execute: Execute) -> None:
    for limit in (2, 3, 7):
        probe = Probe()
        await execute(bodies_of({str(i): (0.1, []) for i in range(20)}, probe), limit)
        assert probe.most == limit


async def no_slot_is_idle_while_a_node_is_ready(execute: Execute) -> None:
    """Two slots: `long` holds one, and the chain beside it never leaves the other one idle."""
    probe = Probe()
    work: Work = {"long": (1.0, []), "c0": (0.1, [])}
    work |= {f"c{i}": (0.1, [f"c{i - 1}"]) for i in range(1, 10)}
    await execute(bodies_of(work, probe), 2)
    assert probe.most == 2
    assert probe.makespan == pytest.approx(1.0)


async def outputs_reach_those_who_asked(execute: Execute) -> None:
    """
    a ─ b ─ d
    └── c ──┘
    """
    probe = Probe()
    work: Work = {"a": (0.1, []), "b": (0.2, ["a"]), "c": (0.1, ["a"]), "d": (0.1, ["b", "c"])}
    results = await execute(bodies_of(work, probe), None)
    assert results["d"] == ("d", {"b": ("b", {"a": "a"}), "c": ("c", {"a": "a"})})
    assert list(results) == list(work)
    assert probe.started["b"] == probe.started["c"] == probe.ended["a"]


async def a_failure_ends_its_siblings(execute: Execute) -> None:
    probe = Probe()
    bodies: Bodies = {
        "slow": (probe.body("slow", 10), []),
        "done": (probe.body("done", 0.1), []),
        "bad": (probe.body("bad", 0.2, fails=OSError("disk")), []),
        "after": (probe.body("after"), ["slow"]),
    }
    with pytest.raises((OSError, ExceptionGroup)):
        await execute(bodies, None)
    assert probe.cancelled == ["slow"]
    assert probe.now() == pytest.approx(0.2)
    assert "after" not in probe.started


CHECKS = [
    independent_nodes_overlap,
    nothing_waits_for_a_wave,
    the_lattice_takes_its_longest_chain,
    a_limit_is_reached_and_never_passed,
    no_slot_is_idle_while_a_node_is_ready,
    outputs_reach_those_who_asked,
    a_failure_ends_its_siblings,
]


@pytest.mark.parametrize("execute", [as_nodes, as_steps, as_stream])
@pytest.mark.parametrize("check", CHECKS)
def test_engine_keeps_the_promise(check: Callable[[Execute], Awaitable[None]], execute: Execute) -> None:
    virtually(check(execute))  # type: ignore[arg-type]


# Waves overlap, keep a limit and hand outputs on; all else they must fail. One by one is right only in its outputs.
BROKEN = [(one_by_one, check) for check in CHECKS] + [
    (in_waves, nothing_waits_for_a_wave),
    (in_waves, the_lattice_takes_its_longest_chain),
    (in_waves, no_slot_is_idle_while_a_node_is_ready),
    (in_waves, a_failure_ends_its_siblings),
]


@pytest.mark.parametrize(("planted", "check"), BROKEN)
def test_planted_executor_is_found_out(planted: Execute, check: Callable[[Execute], Awaitable[None]]) -> None:
    with pytest.raises(AssertionError):
        virtually(check(planted))  # type: ignore[arg-type]


@pytest.mark.parametrize("planted", [one_by_one, in_waves])
def test_planted_executors_are_right_but_for_time(planted: Execute) -> None:
    """They fail the checks because of when they run things, not because they are broken otherwise."""
    probe = Probe()
    results = virtually(planted(bodies_of(lattice(), probe), 64))  # type: ignore[arg-type]
    assert results == virtually(as_nodes(bodies_of(lattice(), Probe()), 64))


# On the wall clock. The recipes themselves: 0.60 s and 0.81 s.


def seconds_of(execute: Execute, work: Work) -> float:
    async def timed() -> float:
        start = time.perf_counter()
        await execute(bodies_of(work, Probe()), 64)
        return time.perf_counter() - start

    return asyncio.run(timed())


@pytest.mark.parametrize("execute", [as_nodes, as_steps, as_stream])
@pytest.mark.parametrize(("work", "most"), [(chains(), 0.5), (lattice(), 0.48)], ids=["chains", "lattice"])
def test_bad_cases_of_the_recipes_on_the_wall_clock(execute: Execute, work: Work, most: float) -> None:
    # Halfway from what it takes (0.40 s and 0.15 s) to what the recipes took. Machines stall: one of a few rounds has
    # to show it; what it takes to the millisecond is for virtual time, and for the benchmark.
    assert any(seconds_of(execute, work) <= most for _ in range(10))


def test_bad_cases_take_waves_longer_on_the_wall_clock() -> None:
    assert seconds_of(in_waves, chains()) > 0.58
    assert seconds_of(in_waves, lattice()) > 0.78


# The two pages, as they are written.


def run_example(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def load_example(name: str) -> dict[str, Any]:
    path = EXAMPLES / name
    found: dict[str, Any] = {"__name__": "example"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), found)
    return found


def test_page_on_parallel_nodes_runs_as_written() -> None:
    output = run_example("parallel_nodes.py")
    assert "Executed 3 nodes" in output


def test_page_on_parallel_steps_runs_as_written() -> None:
    output = run_example("parallel_steps.py")
    assert "Executed 3 steps" in output


def test_nodes_of_the_page_overlap_and_join() -> None:
    """The page's own nodes, in virtual time: node1 beside node2, node3 after both with what they gave."""
    page = load_example("parallel_nodes.py")

    async def main() -> float:
        results = await page["make_executor"]().execute(topic="tea")
        assert results["node3"] == "price of tea + taste of tea"
        return asyncio.get_running_loop().time()

    assert virtually(main()) == pytest.approx(0.3)


def test_steps_of_the_page_overlap_and_join() -> None:
    page = load_example("parallel_steps.py")

    async def main() -> float:
        results = await ParallelStepExecutor(page["STEPS"]).execute()
        assert list(results) == ["step1", "step2", "step3"]
        return asyncio.get_running_loop().time()

    assert virtually(main()) == pytest.approx(0.3)


def test_failure_on_the_page_keeps_what_completed() -> None:
    page = load_example("parallel_steps.py")
    executor = ParallelStepExecutor([*page["STEPS"], Step("step4", page["broken"], depends=["step1"])])
    with pytest.raises(RunFailed) as caught:
        virtually(executor.execute())
    assert set(caught.value.result) == {"step1", "step2"}
    assert caught.value.result.nodes["step3"].state == "cancelled"
