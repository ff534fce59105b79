"""
Schedules near the proven optimum, on graphs that were not written for antichain (tests/data/dags).

At full size, the figures that are promised; otherwise the same on a sample of the graphs.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from random import Random
from statistics import fmean
from typing import Any

import pytest

from antichain import Graph
from antichain.stores import MemoryStore
from antichain.testing import simulate, virtual_time
from tests.support.near_optimum import SLOTS, Dag, bounds, build, read, rgpos, seconds_of, wfcommons

# A sample: one graph in so many.
EVERY = 6


def ratios(cases: Any, *, known: bool) -> list[float]:
    """Makespan over optimum or bound, of every case."""
    found = []
    for dag, shortest in cases:
        plan, seconds = build(dag, known=known).plan(), seconds_of(dag)
        for slots, least in shortest.items():
            result = simulate(plan, durations=seconds, max_concurrent=slots, check=False)
            found.append(result.makespan / least)
    return found


def test_known_durations_come_to_a_thousandth_of_the_proved_optimum(full: bool) -> None:
    found = ratios(rgpos(1 if full else EVERY), known=True)
    assert len(found) == 558 or not full
    assert min(found) >= 1 - 1e-9
    assert fmean(found) <= 1.001


@pytest.mark.parametrize(("known", "most"), [(True, 1.02), (False, 1.06)])
def test_measured_workflows_come_near_the_bound(known: bool, most: float, full: bool) -> None:
    """With their durations, and by hops alone."""
    found = ratios(wfcommons(1 if full else EVERY), known=known)
    assert len(found) == 280 or not full
    assert min(found) >= 1 - 1e-9
    assert fmean(found) <= most


class Rehearsed:
    """
    A graph whose nodes take as long as they are told, on a clock that jumps, and a store that remembers it.
    """

    def __init__(self, dag: Dag) -> None:
        self.store = MemoryStore()
        self.seconds: dict[str, float] = {}
        self.graph = Graph(dag["name"])
        for node in dag["nodes"]:
            self.graph.add(node["id"], self._body(node["id"]), depends_on=node["deps"])

    def _body(self, name: str) -> Callable[[], Awaitable[None]]:
        async def sleep() -> None:
            await asyncio.sleep(self.seconds[name])

        return sleep

    def run(self, seconds: dict[str, float], **options: Any) -> float:
        self.seconds = seconds
        with virtual_time() as clock:
            return clock.run(self.graph.arun(store=self.store, **options)).makespan


def learned_ratios(every: int, sigma: float) -> list[float]:
    """A first run that took other times, a second one that knows them."""
    found = []
    for number, (dag, optima) in enumerate(rgpos(every)):
        rng, seconds = Random(number), seconds_of(dag)
        for slots, least in optima.items():
            rehearsed = Rehearsed(dag)
            rehearsed.run({name: each * rng.lognormvariate(0, sigma) for name, each in seconds.items()})
            found.append(rehearsed.run(seconds, max_concurrent=slots) / least)
    return found


def test_durations_learned_from_one_noisy_run(full: bool) -> None:
    """Through a store: a run whose times were off by a factor of 1.35 teaches the next one what to start first."""
    found = learned_ratios(1 if full else 4 * EVERY, 0.3)
    assert len(found) == 558 or not full
    assert fmean(found) <= 1.003
    # Nothing learned is another order.
    assert fmean(found) < fmean(ratios(rgpos(1 if full else 4 * EVERY), known=False)) - 0.01


def test_an_outlier_among_three_runs_teaches_nothing() -> None:
    """Each time another tenth of the nodes hung for a minute."""
    dag, optima = next(rgpos())
    rng, seconds = Random(7), seconds_of(dag)
    rehearsed = Rehearsed(dag)
    names = list(seconds)
    rng.shuffle(names)
    for run in range(3):
        hung = set(names[10 * run : 10 * run + 10])
        rehearsed.run({name: 10_000.0 if name in hung else each for name, each in seconds.items()})
    for slots, least in optima.items():
        exact = simulate(build(dag, known=True).plan(), durations=seconds, max_concurrent=slots).makespan
        assert math.isclose(rehearsed.run(seconds, max_concurrent=slots), exact), (slots, least)


def test_bounds_here_are_below_every_proved_optimum(full: bool) -> None:
    """The yardstick itself; and what an estimate calls its bound is as good."""
    for dag, optima in rgpos(1 if full else EVERY):
        plan, computed = build(dag, known=True).plan(), bounds(dag)
        for slots, least in optima.items():
            assert computed[slots] <= least * (1 + 1e-9)
            assert math.isclose(plan.estimate(max_concurrent=slots).bound, computed[slots])


def test_passes_alone_take_away_a_third_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward-backward improvement, without any order by chance."""
    monkeypatch.setattr("antichain.estimating.improving.RESTARTS", 0)
    made, improved = [], []
    for dag, optima in rgpos(EVERY):
        plan = build(dag, known=True).plan()
        for slots, least in optima.items():
            found = plan.estimate(max_concurrent=slots, improve=True)
            made.append(found.makespan / least)
            improved.append((found.improved or 0) / least)
    assert 0 <= fmean(improved) - 1 <= 0.67 * (fmean(made) - 1)


def test_a_better_order_takes_away_most_of_what_is_left(full: bool) -> None:
    """Never below what was proved."""
    made, improved = [], []
    for dag, optima in rgpos(1 if full else EVERY):
        plan = build(dag, known=True).plan()
        for slots, least in optima.items():
            found = plan.estimate(max_concurrent=slots, improve=True)
            assert found.improved is not None
            assert least * (1 - 1e-9) <= found.improved <= found.makespan
            assert found.saving == found.makespan - found.improved
            made.append(found.makespan / least)
            improved.append(found.improved / least)
    assert fmean(improved) - 1 <= 0.33 * (fmean(made) - 1)
    if not full:
        return
    bounded = []
    for dag, shortest in wfcommons(3):
        plan = build(dag, known=True).plan()
        bounded += [
            (plan.estimate(max_concurrent=slots, improve=True).improved or 0) / shortest[slots] for slots in SLOTS
        ]
    assert fmean(bounded) <= 1.012


def test_all_graphs_are_there() -> None:
    """558 proved optima in 148 graphs; 70 workflows of up to 700 nodes."""
    assert sum(len(optima) for _, optima in rgpos()) == 558
    assert sum(len(dag["nodes"]) <= 700 for dag in read("wfcommons")) == 70
