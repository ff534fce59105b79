"""
Calls to providers that let calls wait instead of refusing them, and to those that do not though their calls are of
unequal length: what `Adaptive(latency=True)` gains over `Adaptive()` there, and what it costs here.

    python -m bench.queueing [--calls N] [--seeds N]      print the table of docs/how-to/unknown-limits.md

A discrete-event model in a heap of its own: thousands of runs in half a minute, the same figures on every machine.
"""

import argparse
import heapq
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Protocol

from antichain import Adaptive
from bench.report import Line

CALLS, SEEDS = 400, 20
# Seconds: of a call in the mean, and from the client to the provider or back.
LATENCY, WAY = 0.2, 0.005
ATTEMPTS = 8
RETRY_AFTER = 0.5


class CountedLimit(Protocol):
    """
    What the client asks before it starts a call, and tells after one has ended; an `Adaptive` has that form.
    """

    def acquire(self, weight: int, now: float) -> bool: ...
    def opens_at(self, now: float) -> float: ...
    def succeeded(self, started_at: float, now: float) -> None: ...
    def overloaded(self, started_at: float, now: float, retry_after: float | None) -> None: ...
    def release(self, weight: int = 1) -> None: ...


class Oracle:
    """
    Let so many calls be under way, whatever happens.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def acquire(self, weight: int, now: float) -> bool:
        fits = self.used + weight <= self.size
        self.used += weight if fits else 0
        return fits

    def opens_at(self, now: float) -> float:
        return now

    def succeeded(self, started_at: float, now: float) -> None: ...

    def overloaded(self, started_at: float, now: float, retry_after: float | None) -> None: ...

    def release(self, weight: int = 1) -> None:
        self.used -= weight


@dataclass(frozen=True)
class Provider:
    """
    Serve *allowed* calls at once in the order in which they come; let *room* more wait, and refuse the others.

    A call takes longer by the power *slows* of how many there are for each that is allowed, when it is served: none of
    it is lost at 0. The client gives a call up after *patience* times the longest of them, and that is an overload.
    """

    allowed: int
    room: float = 0
    slows: float = 0.0
    patience: float = math.inf
    retry_after: float | None = None


ALLOWED = (3, 8, 50)
FAMILIES = {
    "no limit": [Provider(CALLS)],
    "refuses": [Provider(allowed, retry_after=told) for told in (None, RETRY_AFTER) for allowed in ALLOWED],
    "queues": [Provider(allowed, math.inf) for allowed in ALLOWED],
    "queues, and is slower then": [Provider(allowed, math.inf, slows=0.25) for allowed in ALLOWED],
    "queues, and the client gives up": [Provider(allowed, math.inf, patience=2.5) for allowed in ALLOWED],
    "queues twice as many, refuses the rest": [Provider(allowed, 2 * allowed) for allowed in ALLOWED],
}
# Where no queue is: what is found there is a mistake.
WITHOUT_QUEUE = ("no limit", "refuses")


# How long the call at a place is served, beside others: by its place in all, from 0 to 1, and by chance.
LENGTHS: dict[str, Callable[[float, Random], float]] = {
    "equal": lambda place, chance: 1.0,
    "uniform": lambda place, chance: chance.uniform(0.5, 1.5),
    "log-normal 0.5": lambda place, chance: chance.lognormvariate(0, 0.5),
    "log-normal 1.2": lambda place, chance: chance.lognormvariate(0, 1.2),
    "short and long": lambda place, chance: chance.choice((1.0, 20.0)),
    "short, then long": lambda place, chance: 1.0 if place < 0.5 else 20.0,
    "long, then short": lambda place, chance: 20.0 if place < 0.5 else 1.0,
    "ever longer": lambda place, chance: (1 + 3 * place) * chance.lognormvariate(0, 0.2),
}
# What the rule cannot tell from a queue: length that grows in the very time in which the limit does.
SORTED: dict[str, Callable[[float, Random], float]] = {
    "sorted, shortest first": lambda place, chance: (1 + 9 * place) * chance.lognormvariate(0, 0.1),
}


@cache
def lengths(kind: str, calls: int, seed: int) -> list[float]:
    """
    Return the seconds for which each call is served.
    """
    chance = Random(f"{kind}/{seed}")
    drawn = [(LENGTHS | SORTED)[kind](place / calls, chance) for place in range(calls)]
    return [LATENCY * each * calls / sum(drawn) for each in drawn]


@dataclass
class Played:
    """
    What came of the calls: seconds in all, of each that succeeded, overloads, and how many were lost.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    overloads: int = 0
    lost: int = 0


# What happens at an instant, to an attempt of a call.
Event = tuple[float, int, Callable[[int, int], None], int, int]


class Model:
    """
    One client with a limit, and one provider.
    """

    def __init__(self, limit: CountedLimit, provider: Provider, served: Sequence[float], seed: int) -> None:
        self.limit, self.provider, self.served = limit, provider, served
        self.patience = provider.patience * max(served)
        self.chance = Random(f"backoff {seed}")
        self.played = Played()
        self.now, self.alarm, self.number = 0.0, math.inf, 0
        self.events: list[Event] = []
        # Calls that may start; how often each was tried; when its last attempt began; and whether that has ended.
        self.ready = list(range(len(served)))
        self.tries = [0] * len(served)
        self.began = [0.0] * len(served)
        self.has_ended = [True] * len(served)
        # With the provider: how many are served; attempts that wait.
        self.serving = 0
        self.queue: deque[tuple[int, int]] = deque()

    def play(self) -> Played:
        self.start()
        while self.events:
            self.now, _, what, call, attempt = heapq.heappop(self.events)
            what(call, attempt)
            self.start()
        assert not self.ready, "calls wait for a limit that never opens"
        return self.played

    def at(self, seconds: float, what: Callable[[int, int], None], call: int, attempt: int) -> None:
        self.number += 1
        heapq.heappush(self.events, (self.now + seconds, self.number, what, call, attempt))

    def is_over(self, call: int, attempt: int) -> bool:
        return self.has_ended[call] or attempt != self.tries[call]

    def start(self) -> None:
        while self.ready:
            if not self.limit.acquire(1, self.now):
                opens_at = self.limit.opens_at(self.now)
                if self.now < opens_at < self.alarm:
                    self.alarm = opens_at
                    self.at(opens_at - self.now, self.opens, -1, 0)
                return
            call = heapq.heappop(self.ready)
            self.tries[call] += 1
            self.began[call], self.has_ended[call] = self.now, False
            self.at(WAY, self.arrives, call, self.tries[call])
            if self.patience < math.inf:
                self.at(self.patience, self.fails, call, self.tries[call])

    def opens(self, call: int, attempt: int) -> None:
        self.alarm = math.inf

    def arrives(self, call: int, attempt: int) -> None:
        if self.serving < self.provider.allowed:
            self.serve(call, attempt)
        elif len(self.queue) < self.provider.room:
            self.queue.append((call, attempt))
        else:
            self.at(WAY, self.fails, call, attempt)

    def serve(self, call: int, attempt: int) -> None:
        self.serving += 1
        crowd = max(1.0, (self.serving + len(self.queue)) / self.provider.allowed)
        self.at(self.served[call] * crowd**self.provider.slows, self.leaves, call, attempt)

    def leaves(self, call: int, attempt: int) -> None:
        self.serving -= 1
        self.at(WAY, self.answers, call, attempt)
        while self.queue:
            waiting = self.queue.popleft()
            if not self.is_over(*waiting):
                self.serve(*waiting)
                return

    def answers(self, call: int, attempt: int) -> None:
        if self.is_over(call, attempt):
            return
        self.has_ended[call] = True
        self.limit.succeeded(self.began[call], self.now)
        self.limit.release()
        self.played.seconds = self.now
        self.played.latencies.append(self.now - self.began[call])

    def fails(self, call: int, attempt: int) -> None:
        if self.is_over(call, attempt):
            return
        self.has_ended[call] = True
        told = self.provider.retry_after
        self.limit.overloaded(self.began[call], self.now, told)
        self.limit.release()
        self.played.overloads += 1
        if attempt == ATTEMPTS:
            self.played.lost += 1
        else:
            pause = max(told or 0.0, self.chance.uniform(0, 0.25 * 2 ** (attempt - 1)))
            self.at(pause, self.again, call, attempt)

    def again(self, call: int, attempt: int) -> None:
        heapq.heappush(self.ready, call)


@dataclass(frozen=True)
class Found:
    """
    One provider and one kind of calls, without and with the rule: medians over the seeds. Times are shares of the
    oracle's, latencies of those without a queue.
    """

    family: str
    provider: Provider
    kind: str
    times: tuple[float, float]
    latencies: tuple[float, float]
    # Of all seeds: overloads by calls, and calls lost.
    overloads: tuple[float, float]
    lost: tuple[int, int]

    @property
    def cost(self) -> float:
        return self.times[1] / self.times[0]


@cache
def found(family: str, provider: Provider, kind: str, calls: int = CALLS, seeds: int = SEEDS) -> Found:
    """
    Measure both rules against one provider.
    """
    best: list[float] = []
    played: tuple[list[Played], list[Played]] = ([], [])
    for seed in range(seeds):
        served = lengths(kind, calls, seed)
        best.append(Model(Oracle(provider.allowed), provider, served, seed).play().seconds)
        for latency, runs in zip((False, True), played, strict=True):
            runs.append(Model(Adaptive(initial=2, latency=latency), provider, served, seed).play())
    alone = LATENCY + 2 * WAY

    def time(runs: list[Played]) -> float:
        return statistics.median(run.seconds / least for run, least in zip(runs, best, strict=True))

    def took(runs: list[Played]) -> float:
        return statistics.median(statistics.mean(run.latencies) / alone for run in runs)

    def overloads(runs: list[Played]) -> float:
        return sum(run.overloads for run in runs) / (calls * seeds)

    def lost(runs: list[Played]) -> int:
        return sum(run.lost for run in runs)

    off, on = played
    return Found(
        family,
        provider,
        kind,
        (time(off), time(on)),
        (took(off), took(on)),
        (overloads(off), overloads(on)),
        (lost(off), lost(on)),
    )


def all_found(calls: int = CALLS, seeds: int = SEEDS) -> Iterator[Found]:
    """
    Measure all families with all kinds of calls.
    """
    for family, providers in FAMILIES.items():
        for provider in providers:
            for kind in LENGTHS:
                yield found(family, provider, kind, calls, seeds)


def table(rows: Sequence[Found]) -> str:
    """
    Write what the rule changes for each family, as the page has it.
    """
    head = "| the provider | time, beside the best | at worst | latency, beside that alone | at worst |"
    lines = [head, "| --- | --: | --: | --: | --: |"]
    for family in dict.fromkeys(row.family for row in rows):
        here = [row for row in rows if row.family == family]
        cells = []
        for figures in ([row.times for row in here], [row.latencies for row in here]):
            for over in (statistics.median, max):
                cells.append(" → ".join(f"{over(figure[rule] for figure in figures):.2f}" for rule in (0, 1)))
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def queueing_lines(calls: int = CALLS, seeds: int = 2) -> list[Line]:
    """
    Compare with the targets; the figures of `Adaptive()`, which knows nothing of queues, are beside them.
    """
    rows = list(all_found(calls, seeds))
    lines = []
    for family in FAMILIES:
        here = [row for row in rows if row.family == family]
        worst = max(here, key=lambda row: row.cost)
        note = f"worst: allowed {worst.provider.allowed}, {worst.kind}"
        most = 1.05 if family in WITHOUT_QUEUE else 1.25
        lines.append(Line(f"latency=True, {family}: time / without it, at worst", worst.cost, "x", most, note=note))
        if family in WITHOUT_QUEUE:
            continue
        time, latency = MOST[family]
        for what, most, figures in (
            ("time / oracle", time, [row.times for row in here]),
            ("latency / alone", latency, [row.latencies for row in here]),
        ):
            off, on = (statistics.median(figure[rule] for figure in figures) for rule in (0, 1))
            note = f"{off:.2f} without; at worst {max(pair[1] for pair in figures):.1f}, {max(figures)[0]:.1f} without"
            lines.append(Line(f"latency=True, {family}: {what}, median", on, "x", most, note=note))
    for kind in SORTED:
        for family, provider in (("no limit", Provider(calls)), ("refuses", Provider(50))):
            row = found(family, provider, kind, calls, seeds)
            lines.append(Line(f"latency=True, {family}, calls {kind}: time / without it", row.cost, "x"))
    return lines


# The targets: of the time, and of the latency.
MOST: dict[str, tuple[float | None, float | None]] = {
    "queues": (1.05, 4.0),
    "queues, and is slower then": (1.5, 5.0),
    "queues, and the client gives up": (1.25, 2.5),
    "queues twice as many, refuses the rest": (None, None),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queueing", description=(__doc__ or "").strip())
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--all", action="store_true", help="each provider and kind of calls")
    args = parser.parse_args()
    rows = list(all_found(args.calls, args.seeds))
    if args.all:
        for row in rows:
            cells = [f"{off:.2f} → {on:.2f}" for off, on in (row.times, row.latencies, row.overloads)]
            print(row.family, row.provider.allowed, row.provider.retry_after, row.kind, *cells, row.lost, sep="; ")
    print(table(rows))


if __name__ == "__main__":
    main()
