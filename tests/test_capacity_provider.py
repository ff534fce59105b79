"""
Calls to a provider whose limit nobody knows: what is promised of `Adaptive`, measured in virtual time against a
provider that shares no code with it, and that is held against the real one here.
"""

import asyncio
import importlib.util
import re
import statistics
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from antichain import Adaptive, Retry
from antichain.demo.chat import Busy, open_chat
from antichain.demo.strategies import Answers, Call, adaptive, fixed
from antichain.testing import FakeProvider, virtual_time
from bench import capacity
from bench.capacity import ADAPTIVE, GATHER, RETRY, RETRY_AFTER, TERMS, Strategy, Terms, measure
from bench.provider import SimulatedProvider, TooMany

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "how-to" / "unknown-limits.md").read_text(encoding="utf-8")
TRIES = RETRY.attempts


@pytest.fixture(scope="module")
def seeds(full: bool) -> int:
    return capacity.SEEDS if full else 1


@pytest.fixture(scope="module")
def measured(seeds: int) -> list[capacity.Row]:
    return capacity.adaptive_rows(seeds=seeds)


# -- the provider that is simulated


class Seen(NamedTuple):
    answered: int
    refused: int
    peak: int
    told: set[float | None]


async def burst(call: Call, calls: int) -> list[str | BaseException]:
    return await asyncio.gather(*map(call, range(calls)), return_exceptions=True)


async def in_step(call: Call, calls: int) -> list[str | BaseException]:
    """As many at once as are allowed; no attempt may fail."""
    return await fixed(call, range(calls), Retry(attempts=1), 3)


def of_the_real_one(work: object, retry_after: float | None, latency: float) -> Seen:
    async def main(url: str) -> list[object]:
        async with open_chat(url, "any") as chat:

            async def call(item: int) -> str:
                return await chat.ask(f"question {item}")

            return await work(call, 12)

    with FakeProvider(allowed=3, latency=latency, retry_after=retry_after) as fake:
        answers = asyncio.run(main(fake.url))
        busy = [each for each in answers if isinstance(each, Busy)]
        told = {None if each.retry_after is None else float(each.retry_after) for each in busy}
        assert {each.status for each in busy} <= {429}
        return Seen(sum(isinstance(each, str) for each in answers), fake.count(429), fake.peak, told)


def of_the_simulated_one(work: object, retry_after: float | None, latency: float) -> Seen:
    fake = SimulatedProvider(3, retry_after, latency=latency)
    with virtual_time() as clock:
        answers = clock.run(work(fake.call, 12))
    busy = [each for each in answers if isinstance(each, TooMany)]
    assert {each.status for each in busy} <= {429}
    peak = max(served for _, served in fake.changes)
    return Seen(
        sum(isinstance(each, str) for each in answers), len(fake.refused), peak, {each.retry_after for each in busy}
    )


@pytest.mark.parametrize("retry_after", [None, RETRY_AFTER])
def test_the_simulated_provider_refuses_as_the_real_one(retry_after: float | None) -> None:
    """A burst of 12 where 3 are allowed: 9 are refused, at once, and told the same."""
    real = of_the_real_one(burst, retry_after, latency=0.4)
    assert real == of_the_simulated_one(burst, retry_after, latency=0.4) == Seen(3, 9, 3, {retry_after})


def test_both_let_in_who_keeps_within_what_is_allowed() -> None:
    """A place is free before its answer arrives, so the next call finds it."""
    real = of_the_real_one(in_step, None, latency=0.02)
    assert real == of_the_simulated_one(in_step, None, latency=0.02) == Seen(12, 0, 3, set())


def test_latencies_are_log_normal_and_the_same_for_everybody() -> None:
    fake, other = SimulatedProvider(8, seed=3), SimulatedProvider(50, 1.0, seed=4)
    drawn = [fake.seconds(item) for item in range(4000)]
    assert statistics.mean(drawn) == pytest.approx(0.2, rel=0.05)
    assert statistics.median(drawn) == pytest.approx(0.2 * 2.718 ** (-0.125), rel=0.05)
    assert drawn == [SimulatedProvider(3, seed=3).seconds(item) for item in range(4000)]
    assert drawn[0] != other.seconds(0)


def test_a_semaphore_of_the_right_size_takes_what_the_work_takes() -> None:
    """The oracle is no slower than a list schedule may be: work / slots, the longest call, and the ways."""
    run = measure(Strategy(8), Terms(8), seed=1)
    each = [run.provider.seconds(item) for item in range(capacity.CALLS)]
    trips = capacity.CALLS * run.provider.trip / 8
    assert sum(each) / 8 <= run.seconds <= sum(each) / 8 + max(each) + 2 * trips
    assert (run.refused, run.lost, run.provider.calls) == (0, 0, capacity.CALLS)


# -- what people write by hand, and what is promised


def test_all_at_once_takes_twice_as_long_and_loses_calls(seeds: int) -> None:
    (row,) = capacity.rows([GATHER], Terms(8), seeds=seeds)
    assert row.ratio > 1.8
    assert min(row.refused) > 1_500
    assert sum(row.lost) > 0
    assert max(row.refused) <= (TRIES - 1) * capacity.CALLS + sum(row.lost)


@pytest.mark.slow
def test_a_size_that_is_guessed_is_slow_either_way() -> None:
    high, low = capacity.rows([Strategy(32), Strategy(4)], Terms(8), seeds=1)
    assert low.ratio == pytest.approx(2.0, abs=0.1)
    assert (sum(low.refused), sum(low.lost)) == (0, 0)
    assert high.ratio > 1.8
    assert min(high.refused) > 1_500


def test_adaptive_comes_close_to_who_knows_the_limit(measured: list[capacity.Row]) -> None:
    """The promise: median over all 1.25, for each provider 1.6; no call is lost, at most 8 % are refused."""
    assert [row.terms for row in measured] == TERMS
    print(capacity.adaptive_table(measured), f"over all: {capacity.overall(measured):.2f}", sep="\n")
    assert capacity.overall(measured) <= 1.25
    assert max(row.ratio for row in measured) <= 1.6
    assert sum(sum(row.lost) for row in measured) == 0
    assert max(row.refused_share for row in measured) <= 0.08


def test_the_limit_ends_near_what_is_allowed() -> None:
    run = measure(ADAPTIVE, Terms(8), seed=5)
    time_at = {size: 0.0 for _, size in run.sizes}
    for (start, size), (end, _) in zip(run.sizes, [*run.sizes[1:], (run.seconds, 0)], strict=True):
        time_at[size] += end - start
    assert run.sizes[0] == (0.0, 2)
    assert sum(seconds for size, seconds in time_at.items() if 6 <= size <= 9) > 0.8 * run.seconds


@pytest.mark.parametrize("allowed", [8, 18, 54])
@pytest.mark.parametrize("wait", [None, 0.5])
def test_calls_that_all_take_as_long_are_no_herd(allowed: int, wait: float | None) -> None:
    """They end all at once; where slots opened at once too, two in five of them were refused."""
    provider = SimulatedProvider(allowed, wait, spread=0.0)
    with virtual_time() as clock:
        answers = clock.run(adaptive(provider.call, range(400), RETRY, Adaptive(initial=2), 1))
    assert answers == [f"answer {item}" for item in range(400)]
    assert len(provider.refused) <= 0.08 * 400


def test_two_limits_that_know_nothing_of_each_other_share_a_provider() -> None:
    """As two programs would: together they are hardly slower than one that knows, and nothing is lost."""
    ratios = []
    for seed in range(5):
        fake, best = SimulatedProvider(8, seed=seed), SimulatedProvider(8, seed=seed)
        halves = [range(400), range(400, 800)]
        with virtual_time() as clock:
            both = [adaptive(fake.call, half, RETRY, Adaptive(initial=2), seed) for half in halves]
            answers = [answer for half in clock.run(together(both)) for answer in half]
            seconds = clock.now
        with virtual_time() as clock:
            clock.run(fixed(best.call, range(800), RETRY, 8))
            ratios.append(seconds / clock.now)
        assert answers == [f"answer {item}" for item in range(800)]
        assert len(fake.refused) <= 0.08 * 800
    assert statistics.median(ratios) <= 1.3


async def together(runs: list[Coroutine[Any, Any, Answers]]) -> list[Answers]:
    return await asyncio.gather(*runs)


def test_the_suite_says_when_a_target_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit that cannot adapt, it takes too long where more than its two slots are allowed."""
    monkeypatch.setattr(capacity, "Adaptive", partial(Adaptive, maximum=2))
    lines = capacity.capacity_lines(calls=60, seeds=1)
    missed = [line.what for line in lines if line.is_missed]
    assert [what.rpartition(", ")[2] for what in missed if "allowed" not in what] == ["median over all"]
    assert [what.partition(" allowed ")[2] for what in missed[1:]] == ["8", "50", "8, Retry-After", "50, Retry-After"]


# -- the page


def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_capacity_svg", ROOT / "docs" / "images" / "make_capacity_svg.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_picture_is_what_is_measured() -> None:
    module = drawing()
    assert module.OUT.read_text(encoding="utf-8") == module.draw(), "draw it anew: see docs/images/make_capacity_svg.py"
    drawn = " ".join(ET.parse(module.OUT).getroot().itertext())
    assert "nobody told it" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_the_tables_of_the_page_are_what_is_measured(measured: list[capacity.Row], full: bool) -> None:
    """All of them at full size; else, that the first seed is near what the page says of all."""
    if full:
        assert capacity.shown_table() in PAGE, "print them anew: python -m bench.capacity"
        assert capacity.adaptive_table(measured) in PAGE
    said = dict(re.findall(r"^\| (\d+(?:, Retry-After)?) \| ([\d.]+) \|", PAGE, re.MULTILINE))
    assert said.keys() == {str(terms) for terms in TERMS}
    assert {str(row.terms): float(said[str(row.terms)]) for row in measured} == pytest.approx(
        {str(row.terms): row.ratio for row in measured}, abs=0.15
    )


def test_readme_says_what_the_page_says() -> None:
    told = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    cells = {line.split("|")[1].strip(" `"): line.split("|")[2:-1] for line in PAGE.splitlines() if line[:3] == "| `"}
    _, ratio, refused, lost = (cell.strip() for cell in cells["gather"])
    assert f"they take {float(ratio):.1f} times as long" in told
    assert f"after {refused} refusals, and {lost} are lost" in told
    _, ratio, refused, lost = (cell.strip() for cell in cells["Adaptive(initial=2)"])
    assert (f"takes {ratio} times as long, after {refused} refusals, and loses none" in told, lost) == (True, "0")
