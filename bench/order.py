"""
How far the order of ready nodes is from the best one, on published graphs; and how far real time is from virtual time.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

from antichain import Graph
from antichain.stores import MemoryStore
from antichain.testing import simulate, virtual_time
from bench.published import Dag, build, rgpos, seconds_of, wfcommons
from bench.report import Line

# Of the logarithm of what a node took in the run that the next one learns from: off by a factor of 1.35, mostly.
NOISE = 0.3
# Seconds of a run on the real clock, and its slots.
REAL_SECONDS = 2.0
REAL_SLOTS = 16

Case = tuple[Dag, dict[int, float]]


def ratios(cases: Iterable[Case], *, known: bool) -> list[float]:
    """
    Return makespan over optimum or bound of every case, with durations that are known or by hops alone.
    """
    found = []
    for dag, shortest in cases:
        plan, seconds = build(dag, known=known).plan(), seconds_of(dag)
        for slots, least in shortest.items():
            result = simulate(plan, durations=seconds, max_concurrent=slots, check=False)
            found.append(result.makespan / least)
    return found


def improved_ratios(cases: Iterable[Case]) -> list[float]:
    """
    Return the same for the better orders that `estimate(improve=True)` finds.
    """
    found = []
    for dag, shortest in cases:
        plan = build(dag, known=True).plan()
        for slots, least in shortest.items():
            improved = plan.estimate(max_concurrent=slots, improve=True).improved
            assert improved is not None
            found.append(improved / least)
    return found


class Rehearsed:
    """
    A graph whose nodes take as long as they are told, and a store that remembers it.
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
        """
        Return the makespan of a run on a clock that jumps.
        """
        self.seconds = seconds
        with virtual_time() as clock:
            return clock.run(self.graph.arun(store=self.store, **options)).makespan


def learned_ratios(cases: Iterable[Case], sigma: float) -> list[float]:
    """
    Return the same for a second run that knows what a first one took, each node by a log-normal factor off.
    """
    found = []
    for number, (dag, shortest) in enumerate(cases):
        rng, seconds = Random(number), seconds_of(dag)
        for slots, least in shortest.items():
            rehearsed = Rehearsed(dag)
            rehearsed.run({name: each * rng.lognormvariate(0, sigma) for name, each in seconds.items()})
            found.append(rehearsed.run(seconds, max_concurrent=slots) / least)
    return found


def real_over_virtual(dag: Dag) -> float:
    """
    Return how much longer a run takes with real sleeps than in virtual time, scaled to two seconds with 16 slots.
    """
    plan = build(dag, known=True).plan()
    whole = simulate(plan, durations=seconds_of(dag), max_concurrent=REAL_SLOTS, check=False).makespan
    seconds = {name: each * REAL_SECONDS / whole for name, each in seconds_of(dag).items()}
    graph = Graph(dag["name"])
    for node in dag["nodes"]:
        name = node["id"]
        graph.add(name, sleeping(seconds[name]), depends_on=node["deps"], cost=seconds[name])
    scaled = graph.plan()
    virtual = simulate(scaled, max_concurrent=REAL_SLOTS, check=False).makespan

    async def timed() -> float:
        begun = time.perf_counter()
        await scaled.arun(max_concurrent=REAL_SLOTS)
        return time.perf_counter() - begun

    return asyncio.run(timed()) / virtual


def sleeping(seconds: float) -> Callable[[], Awaitable[None]]:
    async def body() -> None:
        await asyncio.sleep(seconds)

    return body


def order_lines(rounds: int, say: Callable[[str], None]) -> list[Line]:
    """
    Return the figures; on the real clock, of twice as many graphs as there are *rounds*.
    """
    lines = []
    for what, name, found, most in (
        ("rgpos, durations known, makespan over proved optimum", "rgpos", lambda: ratios(rgpos(), known=True), 0.1),
        ("rgpos, hops only", "rgpos", lambda: ratios(rgpos(), known=False), None),
        (f"rgpos, learned from a run with noise {NOISE}", "learned", lambda: learned_ratios(rgpos(), NOISE), 0.3),
        ("rgpos, a better order (improve=True)", "improved", lambda: improved_ratios(rgpos()), None),
        ("wfcommons, durations known, makespan over bound", "wfcommons", lambda: ratios(wfcommons(), known=True), 2.0),
        ("wfcommons, hops only", "wfcommons", lambda: ratios(wfcommons(), known=False), 6.0),
        ("wfcommons, a better order (improve=True)", "improved", lambda: improved_ratios(wfcommons()), None),
    ):
        say(name)
        of_all = found()
        note = f"mean of {len(of_all)} cases, the longest {over(max(of_all)):.1f} %"
        lines.append(Line(what, over(statistics.fmean(of_all)), "%", most, note=note))
    graphs = [dag for dag, _ in wfcommons(max(1, 70 // (2 * rounds)))]
    real = []
    for number, dag in enumerate(graphs, 1):
        say(f"real clock, {number} of {len(graphs)}")
        real.append(real_over_virtual(dag))
    note = f"median of {len(real)} graphs, {over(min(real)):.1f} to {over(max(real)):.1f} %"
    what = f"wfcommons, {REAL_SECONDS:.0f} s, {REAL_SLOTS} slots, real clock over virtual"
    return [*lines, Line(what, over(statistics.median(real)), "%", 5.0, note=note)]


def over(ratio: float) -> float:
    """
    Return by how many per cent a ratio is over one.
    """
    return (ratio - 1) * 100
