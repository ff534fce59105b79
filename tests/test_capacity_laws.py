"""
Four named limits, counts and rates: every start of random runs in virtual time is where a plain reading of the law puts
it. The reading is here, looks at every node at every instant, and shares nothing with the engine.

One seed is one case: `python -m tests.test_capacity_laws SEED` tells both schedules.
"""

import random
import sys
from dataclasses import dataclass, field

from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import Scheduler
from antichain.limit import Limit
from antichain.rate import Rate
from antichain.shape import shape_of
from antichain.simulation import Simulation

CASES = 300
CASES_IN_FULL = 10_000
NAMES = ("api", "cpu", "db", "llm")


@dataclass
class Case:
    """A graph, what its nodes take, and how long they run."""

    upstream: list[list[int]]
    seconds: list[float]
    # Counts by name; rates as units and seconds.
    counts: dict[str, int]
    rates: dict[str, tuple[dict[str, float], float]]
    slots: int | None
    demand: list[dict[str, int]]
    amounts: list[dict[str, dict[str, float]]]
    priority: list[int] = field(default_factory=list)


def draw(seed: int) -> Case:
    rng = random.Random(seed)
    number = rng.randint(3, 25)
    upstream = [sorted(rng.sample(range(node), min(node, rng.choice((0, 0, 1, 1, 2))))) for node in range(number)]
    kinds = dict.fromkeys(NAMES, "count") | dict.fromkeys(rng.sample(NAMES, rng.randint(1, 3)), "rate")
    counts = {name: rng.randint(1, 4) for name in NAMES if kinds[name] == "count"}
    rates = {}
    for name in NAMES:
        if kinds[name] == "rate":
            units: dict[str, float] = {"requests": rng.randint(1, 4)}
            if rng.random() < 0.6:
                units["tokens"] = rng.choice((10, 50))
            rates[name] = (units, rng.choice((1.0, 2.5, 10.0)))
    demand, amounts = [], []
    for _ in range(number):
        used = rng.sample(NAMES, rng.choice((0, 1, 1, 2, 3, 4)))
        demand.append({name: rng.randint(1, counts[name]) if name in counts else 1 for name in sorted(used)})
        amounts.append({name: take(rng, rates[name][0]) for name in sorted(used) if name in rates})
    # Binary fractions: sums of them are exact, so that what ends at one instant ends at one instant.
    seconds = [rng.choice((16, 64, 192, rng.randint(1, 300))) / 64 for _ in range(number)]
    slots = rng.choice((None, None, 1, 2, 4))
    priority = [rng.choice((0, 0, 0, 1, 5)) for _ in range(number)]
    return Case(upstream, seconds, counts, rates, slots, demand, amounts, priority)


def take(rng: random.Random, units: dict[str, float]) -> dict[str, float]:
    share = 1.0 if rng.random() < 0.15 else 0.5
    return {
        unit: 1.0 if unit == "requests" else float(rng.randint(0, int(size * share))) for unit, size in units.items()
    }


class Reference:
    """The law, read plainly: quadratic, and without a thought for anything but what is written."""

    def __init__(self, case: Case, key: list[int]) -> None:
        self.case = case
        self.key = key
        self.passed: dict[str, list[tuple[float, dict[str, float]]]] = {name: [] for name in case.rates}
        self.starts: dict[int, float] = {}
        self.order: list[int] = []

    def run(self) -> dict[int, float]:
        case, now = self.case, 0.0
        ends: dict[int, float] = {}
        ready: dict[int, float] = {node: 0.0 for node, before in enumerate(case.upstream) if not before}
        while len(ends) < len(case.seconds) or any(end > now for end in ends.values()):
            for node, before in enumerate(case.upstream):
                if node not in ready and all(each in ends and ends[each] <= now for each in before):
                    ready[node] = now
            running = [node for node, end in ends.items() if end > now]
            while (node := self._next(ready, running, now)) is not None:
                self.starts[node] = now
                self.order.append(node)
                ends[node] = now + case.seconds[node]
                running.append(node)
                for name, taken in case.amounts[node].items():
                    self.passed[name].append((now, taken))
            later = [end for end in ends.values() if end > now]
            later += [at + case.rates[name][1] for name, log in self.passed.items() for at, _ in log]
            if len(ends) == len(case.seconds):
                break
            now = min(at for at in later if at > now)
        return self.starts

    def _next(self, ready: dict[int, float], running: list[int], now: float) -> int | None:
        waiting = [node for node in ready if node not in self.starts and self._has_room(node, running)]
        first: dict[str, int] = {}
        for node in sorted(waiting, key=lambda node: (ready[node], self.key[node])):
            for name in self.case.amounts[node]:
                first.setdefault(name, node)
        may = [
            node
            for node in waiting
            if all(
                first[name] == node and self._passes(name, taken, now)
                for name, taken in self.case.amounts[node].items()
            )
        ]
        return min(may, key=lambda node: self.key[node], default=None)

    def _has_room(self, node: int, running: list[int]) -> bool:
        case = self.case
        if case.slots is not None and len(running) >= case.slots:
            return False
        for name, weight in case.demand[node].items():
            if name in case.counts:
                held = sum(case.demand[other].get(name, 0) for other in running)
                if held + weight > case.counts[name]:
                    return False
        return True

    def _passes(self, name: str, taken: dict[str, float], now: float) -> bool:
        units, per = self.case.rates[name]
        # In the window that ends now: what passed at the very instant at which it began is out of it.
        inside = [amounts for at, amounts in self.passed[name] if at + per > now]
        return all(sum(each.get(unit, 0.0) for each in inside) + taken.get(unit, 0.0) <= units[unit] for unit in units)


class Bodies:
    """Nodes that run as long as they are said to."""

    def __init__(self, case: Case, scheduler: Scheduler) -> None:
        self.case, self.scheduler = case, scheduler
        self.simulation = Simulation(scheduler, self)  # type: ignore[arg-type]

    def begin(self, node: int, attempt: int) -> None:
        self.simulation.at(self.simulation.now + self.case.seconds[node], self.end, node)

    def end(self, node: int) -> None:
        assert self.scheduler.ended(node, 1, self.simulation.now)


def schedule(case: Case, make: type[Scheduler] = LawfulScheduler) -> Scheduler:
    shape = shape_of(
        case.upstream,
        demand=[tuple(taken.items()) for taken in case.demand],
        cost=case.seconds,
        priority=case.priority,
        amounts={node: taken for node, taken in enumerate(case.amounts) if taken},
    )
    limits = {name: Limit(size) if size == 3 else size for name, size in case.counts.items()}
    rates = {name: Rate(per=per, **units) for name, (units, per) in case.rates.items()}
    scheduler = make(shape, max_concurrent=case.slots, limits={**limits, **rates})
    Bodies(case, scheduler).simulation.run()
    return scheduler


def differs(seed: int, make: type[Scheduler] = LawfulScheduler) -> str | None:
    case = draw(seed)
    scheduler = schedule(case, make)
    expected = Reference(case, list(scheduler.key)).run()
    for node, at in enumerate(scheduler.started_at):
        if expected[node] != at:
            return f"case {seed}: node {node} starts at {at}, and by the law at {expected[node]}"
    return None


def test_no_slot_is_idle_while_a_node_fits(full: bool) -> None:
    """Law 3 for four named limits, counts and rates: every start is where the law puts it, in every case."""
    wrong = [text for seed in range(CASES_IN_FULL if full else CASES) if (text := differs(seed)) is not None]
    assert not wrong, wrong[:5]


class Impatient(Scheduler):
    """Lets whoever fits pass a rate before those who came first."""

    def _arrive(self, node: int, now: float) -> bool:
        size = sum(sum(taken.values()) for taken in self.amounts.get(node, {}).values())
        return super()._arrive(node, size)


def test_the_reference_sees_a_fault() -> None:
    assert any(differs(seed, Impatient) for seed in range(60))


def main() -> None:
    seed = int(sys.argv[1])
    case = draw(seed)
    scheduler = schedule(case, Scheduler)
    reference = Reference(case, list(scheduler.key))
    reference.run()
    print(case)
    for node in sorted(range(len(case.seconds)), key=lambda node: scheduler.started_at[node]):
        print(node, scheduler.started_at[node], reference.starts[node], case.demand[node], case.amounts[node])


if __name__ == "__main__":
    main()
