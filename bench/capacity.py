"""
Calls to a provider that allows so many at once and does not say how many: `Adaptive` beside what people write by hand.

    python -m bench.capacity [--calls N] [--seeds N]      print the tables of docs/how-to/unknown-limits.md

In virtual time, so that the figures are the same on every machine. The strategies are those of
`antichain demo --capacity`, which makes the same calls over HTTP; the provider is that of bench/provider.py.
"""

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from antichain import Adaptive, Backoff, Retry
from antichain.demo.strategies import adaptive, fixed, unbounded
from antichain.testing import virtual_time
from bench.provider import SimulatedProvider
from bench.report import Line

CALLS, SEEDS = 400, 20
# The first pause is a little longer than a call takes; eight attempts, for every strategy.
RETRY = Retry(attempts=8, backoff=Backoff(initial=0.25))
RETRY_AFTER = 0.5


@dataclass(frozen=True)
class Terms:
    """
    What a provider allows, and for how many seconds it asks those to wait whom it refuses (None: it does not say).
    """

    allowed: int
    retry_after: float | None = None
    # Of the lengths of calls: 0 where they are all equal.
    spread: float = 0.5

    def __str__(self) -> str:
        return f"{self.allowed}" if self.retry_after is None else f"{self.allowed}, Retry-After"


TERMS = [Terms(allowed, told) for told in (None, RETRY_AFTER) for allowed in (3, 8, 50)]
# Calls that take equally long end all at once, the worst time to let more begin; 18 and 54 are what a limit of two
# comes to that triples.
EQUAL = [Terms(allowed, told, spread=0.0) for told in (None, RETRY_AFTER) for allowed in (3, 8, 18, 50, 54)]


@dataclass(frozen=True)
class Strategy:
    """
    A way to make the calls: so many at once, or all of them (None); or beginning with so many, and then adapting.
    """

    at_once: int | None = None
    adapts: bool = False

    def __str__(self) -> str:
        if self.adapts:
            return f"Adaptive(initial={self.at_once})"
        return "gather" if self.at_once is None else f"Semaphore({self.at_once})"


GATHER, ADAPTIVE = Strategy(), Strategy(2, adapts=True)


@dataclass(frozen=True)
class Measured:
    """
    What came of the calls: seconds, how many were lost, the provider that saw them, and the sizes of the limit.
    """

    seconds: float
    lost: int
    provider: SimulatedProvider
    # When the limit changed, and what it became; empty where none adapts.
    sizes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return len(self.provider.refused)


def measure(strategy: Strategy, terms: Terms, seed: int, calls: int = CALLS) -> Measured:
    """
    Make the calls in virtual time.
    """
    provider = SimulatedProvider(terms.allowed, terms.retry_after, seed, spread=terms.spread)
    items = range(calls)
    sizes: list[tuple[float, int]] = []
    with virtual_time() as clock:
        if strategy.adapts:
            assert strategy.at_once is not None
            limit = Adaptive(initial=strategy.at_once)
            sizes.append((0.0, limit.size))
            limit.watch(lambda: sizes.append((clock.now, limit.size)) if limit.size != sizes[-1][1] else None)
            work = adaptive(provider.call, items, RETRY, limit, seed)
        elif strategy.at_once is None:
            work = unbounded(provider.call, items, RETRY, seed)
        else:
            work = fixed(provider.call, items, RETRY, strategy.at_once, seed)
        answers = clock.run(work)
        seconds = clock.now
    lost = sum(answer != f"answer {item}" for item, answer in enumerate(answers))
    return Measured(seconds, lost, provider, sizes)


@dataclass(frozen=True)
class Row:
    """
    One strategy against one provider: medians over the seeds, and the worst. Times are shares of the oracle's, which is
    the semaphore of the size that is allowed.
    """

    strategy: Strategy
    terms: Terms
    calls: int
    seconds: float
    ratios: Sequence[float]
    lost: Sequence[int]
    refused: Sequence[int]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def refused_share(self) -> float:
        """
        429s by calls, as a mean over the seeds.
        """
        return statistics.mean(self.refused) / self.calls


def rows(strategies: Iterable[Strategy], terms: Terms, calls: int = CALLS, seeds: int = SEEDS) -> list[Row]:
    """
    Measure strategies against one provider, each with the same seeds.
    """
    oracle = [measure(Strategy(terms.allowed), terms, seed, calls) for seed in range(seeds)]
    if any(run.refused or run.lost for run in oracle):
        raise AssertionError("who keeps within what is allowed is never refused")

    def row(strategy: Strategy) -> Row:
        runs = [measure(strategy, terms, seed, calls) for seed in range(seeds)]
        ratios = [run.seconds / best.seconds for run, best in zip(runs, oracle, strict=True)]
        seconds = statistics.median(run.seconds for run in runs)
        lost, refused = [run.lost for run in runs], [run.refused for run in runs]
        return Row(strategy, terms, calls, seconds, ratios, lost, refused)

    return [row(strategy) for strategy in strategies]


def adaptive_rows(calls: int = CALLS, seeds: int = SEEDS) -> list[Row]:
    """
    Measure `Adaptive(initial=2)` against each provider.
    """
    return [row for terms in TERMS for row in rows([ADAPTIVE], terms, calls, seeds)]


def overall(found: Sequence[Row]) -> float:
    """
    Return the median over all runs against all providers.
    """
    return statistics.median(ratio for row in found for ratio in row.ratios)


# What the page shows: against the provider that allows 8.
SHOWN = [GATHER, Strategy(32), Strategy(4), ADAPTIVE, Strategy(8)]


def shown_table(calls: int = CALLS, seeds: int = SEEDS) -> str:
    """
    Write the strategies side by side, as the page has them.
    """
    lines = ["| strategy | time | beside the best | 429s | calls lost |", "| --- | --: | --: | --: | --: |"]
    for row in rows(SHOWN, Terms(8), calls, seeds):
        cells = [f"`{row.strategy}`", f"{row.seconds:.1f} s", f"{row.ratio:.2f}"]
        cells += [f"{statistics.median(row.refused):,.0f}", f"{statistics.median_low(row.lost)}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def adaptive_table(found: Sequence[Row]) -> str:
    """
    Write how `Adaptive(initial=2)` did against each provider, as the page has it.
    """
    lines = ["| allowed in flight | time, beside the best | worst seed | 429s, of all calls | calls lost |"]
    lines.append("| --- | --: | --: | --: | --: |")
    for row in found:
        cells = [str(row.terms), f"{row.ratio:.2f}", f"{max(row.ratios):.2f}", f"{row.refused_share:.1%}"]
        lines.append(f"| {' | '.join([*cells, str(sum(row.lost))])} |")
    return "\n".join(lines)


def capacity_lines(calls: int = CALLS, seeds: int = SEEDS) -> list[Line]:
    """
    Compare with the targets.
    """
    found = adaptive_rows(calls, seeds)
    refused = sum(sum(row.refused) for row in found) / sum(calls * len(row.refused) for row in found)
    lines = [
        Line(f"{ADAPTIVE}, time / oracle semaphore, median over all", overall(found), "x", 1.25),
        Line(f"{ADAPTIVE}, calls lost", sum(sum(row.lost) for row in found), "calls", 0),
        Line(f"{ADAPTIVE}, 429s of calls", 100 * refused, "%", 8.0),
    ]
    for row in found:
        note = f"worst seed {max(row.ratios):.2f} x; 429s {row.refused_share:.1%} of calls; lost {sum(row.lost)}"
        lines.append(Line(f"{ADAPTIVE}, allowed {row.terms}", row.ratio, "x", 1.6, note=note))
    equal = [row for terms in EQUAL for row in rows([ADAPTIVE], terms, calls, seeds=1)]
    worst = max(equal, key=lambda row: row.refused_share)
    note = f"allowed {worst.terms}; the slowest {max(row.ratio for row in equal):.2f} x the oracle"
    lines.append(Line(f"{ADAPTIVE}, calls of equal length, most 429s", 100 * worst.refused_share, "%", 8.0, note=note))
    for row in rows([GATHER, Strategy(32), Strategy(4)], Terms(8), calls, seeds):
        note = f"{statistics.median(row.refused):,.0f} 429s, {statistics.median_low(row.lost)} lost"
        lines.append(Line(f"{row.strategy}, allowed {row.terms}", row.ratio, "x", note=note))
    return lines


def http_lines(seed: int = 0) -> list[Line]:
    """
    Make the calls of `antichain demo --capacity` over HTTP, in real time: reported, since the machine counts too.
    """
    from antichain.demo.capacity import tried, ways  # needs aiohttp

    trials = [tried(way, seed) for way in ways(seed)]
    best = trials[0].seen.seconds
    return [
        Line(
            f"over HTTP: {trial.way.name}, allowed 8",
            trial.seen.seconds / best,
            "x",
            note=f"{trial.seen.seconds:.2f} s, {len(trial.seen.refused):,} 429s, {trial.lost} lost",
        )
        for trial in trials[1:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=(__doc__ or "").strip())
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    found = adaptive_rows(args.calls, args.seeds)
    print(shown_table(args.calls, args.seeds), adaptive_table(found), sep="\n\n")
    print(f"\nAdaptive over all: {overall(found):.2f}")


if __name__ == "__main__":
    main()
