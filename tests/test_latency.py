"""
`Adaptive(latency=True)` finds a queue by how long calls take, and takes longer calls for longer calls; see
antichain.policies.latency.
"""

import asyncio
import math
import statistics
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from antichain import Adaptive, amap
from antichain.policies.adaptive import AdaptiveSize
from antichain.policies.latency import Latencies
from antichain.testing import virtual_time
from tests.test_policy_machines import MACHINES, run_machine

# -- one call after another


def feed(
    latencies: Latencies, seconds: Callable[[int, int], float], numbers: list[int], size: int = 1000, begin: float = 0.0
) -> int | None:
    """
    Tell of calls that begin among so many others and take as long as *seconds* says of that and of the call's number;
    return the first size that is another one.
    """
    now = begin
    for place, number in enumerate(numbers):
        latencies.started(number, now)
        took = seconds(number, place)
        if (other := latencies.succeeded(now, now + took, size, may_fall=True)) is not None:
            return other
        now += took + 1.0
    return None


GROWING = [number for number in (1, 2, 4, 6, 8, 12, 18, 26, 38, 54) for _ in range(12)]
# What the number of calls under way has nothing to do with.
ALIKE: dict[str, Callable[[int, int], float]] = {
    "equal": lambda number, place: 1.0,
    "by chance": lambda number, place: Random(place).lognormvariate(0, 1.2),
    "one in ten is long": lambda number, place: 20.0 if place % 10 == 3 else 1.0,
    "long after short": lambda number, place: 1.0 if place < 60 else 20.0,
    "short after long": lambda number, place: 20.0 if place < 60 else 1.0,
    "in turns": lambda number, place: (1.0, 8.0)[place // 25 % 2],
    "a little longer each": lambda number, place: 1.0 + place / 120,
}


def test_a_queue_is_found_where_latency_begins_to_rise_in_proportion() -> None:
    """Served eight at once: up to eight a call takes a second, of sixteen two, of twenty-four three."""
    at = feed(Latencies(), lambda number, place: max(1.0, number / 8), GROWING, size=54)
    assert at is not None
    assert 6 <= at <= 10


@pytest.mark.parametrize("sigma", [0.5, 1.2])
def test_a_queue_is_found_behind_calls_of_unequal_length(sigma: float) -> None:
    """Half of the seeds at least, within a few hundred calls; and near where it is."""
    many = [number for number in (2, 6, 12, 24, 48, 96) for _ in range(24)]
    at = [
        feed(
            Latencies(), lambda n, place, s=seed: max(1, n / 6) * Random(f"{s} {place}").lognormvariate(0, sigma), many
        )
        for seed in range(10)
    ]
    said = [each for each in at if each is not None]
    assert len(said) >= 5
    assert 3 <= statistics.median(said) <= 12


@pytest.mark.parametrize("kind", ALIKE)
def test_calls_of_unequal_length_are_no_queue(kind: str) -> None:
    """However many are under way."""
    assert feed(Latencies(), ALIKE[kind], GROWING) is None


def test_few_calls_say_nothing() -> None:
    """Of seven, or of three well above the knee, nobody can tell."""
    rising: Callable[[int, int], float] = lambda number, place: max(1.0, number / 2)  # noqa: E731
    assert feed(Latencies(), rising, [1, 1, 2, 20, 20, 40, 40]) is None
    assert feed(Latencies(), rising, [1, 1, 2, 2, 2, 2, 2, 2, 20, 20, 40]) is None
    assert feed(Latencies(), rising, [1, 1, 2, 2, 2, 2, 2, 2, 20, 20, 30, 40, 40], size=8) == 2


def test_where_the_size_may_not_fall_it_does_not() -> None:
    """An overload has told what is too much, or the limit is not used up."""
    latencies = Latencies()
    for now in range(200):
        latencies.started(1 + now % 50, float(now))
        assert latencies.succeeded(now, now + max(0.5, now % 50 / 20), 100, may_fall=False) is None


def with_a_queue(latencies: Latencies, size: int = 54) -> int:
    at = feed(latencies, lambda number, place: max(1.0, number / 8), GROWING, size)
    assert at is not None
    return at


def test_a_queue_that_is_gone_with_fewer_calls_was_one() -> None:
    """They are short again: the size stays, and what was learned of it too."""
    latencies = Latencies()
    at = with_a_queue(latencies)
    assert feed(latencies, lambda number, place: 1.0, [at] * 60, at, begin=1e4) is None
    assert latencies._trial is None
    assert latencies._evidence == 3.0
    again = [at + more // 2 for more in range(4 * at)]
    assert feed(latencies, lambda number, place: number / at, again, 3 * at, begin=2e4) in range(at - 3, at + 4)


def test_calls_that_stay_long_on_trial_were_no_queue() -> None:
    """The old size comes back after a few of them; the next alarm needs more evidence."""
    latencies = Latencies()
    at = with_a_queue(latencies, size=26)
    told: list[int | None] = []
    for place in range(at):
        now = 1e4 + place
        latencies.started(at, now)
        told.append(latencies.succeeded(now, now + 10.0, at, may_fall=True))
    assert told == [None] * (at - 1) + [26]
    assert latencies._evidence == 4.5
    assert not latencies._calls


def test_what_began_before_the_trial_says_nothing_about_it() -> None:
    """The queue is still there when those are done."""
    latencies = Latencies()
    latencies.started(54, -5.0)
    at = with_a_queue(latencies)
    for _ in range(100):
        assert latencies.succeeded(-5.0, 1e4, at, may_fall=True) is None
    assert latencies._trial is not None


def test_it_remembers_no_more_than_it_needs() -> None:
    """Of calls that failed nobody tells it: a hundred thousand of them leave nothing behind."""
    latencies = Latencies()
    for now in range(20_000):
        latencies.started(8, float(now))
        if now % 2:
            latencies.succeeded(float(now), now + 0.5, 8, may_fall=False)
    assert len(latencies._began) <= 2 * 8 + 64
    assert len(latencies._calls) == 64
    assert latencies.succeeded(0.0, 20_000.0, 8, may_fall=True) is None


# -- beside a definition that is written down once more


def residuals(calls: list[tuple[float, float]], groups: dict[int, float], knee: float | None) -> float:
    """The squares of what a knee (None: a constant) leaves of the latencies."""
    left = []
    for where, latency in calls:
        rise = 0.0 if knee is None else max(0.0, groups[round(where * 4)] - knee)
        left.append(latency - rise)
    middle = statistics.fmean(left)
    return sum((each - middle) ** 2 for each in left)


def written_knee(calls: list[tuple[float, float]], evidence: float) -> float | None:
    """Where latency begins to rise, by the definition: every candidate, every step, no sum carried on."""
    if len(calls) < 8:
        return None
    steps = {round(where * 4) for where, _ in calls}
    groups = {step: statistics.fmean(w for w, _ in calls if round(w * 4) == step) for step in steps}
    if len(groups) < 2:
        return None
    errors = {at: residuals(calls, groups, at) for at in sorted(groups.values())[:-1]}
    knee = min(errors, key=errors.__getitem__)
    variance = max(1e-3, errors[knee] / (len(calls) - 2))
    above = [(groups[round(w * 4)], s) for w, s in calls if groups[round(w * 4)] > knee + math.log(2) - 1e-9]
    below = [w for w, _ in calls if groups[round(w * 4)] <= knee + 0.25]
    if residuals(calls, groups, None) - errors[knee] < evidence**2 * variance or len(above) < 4 or len(below) < 2:
        return None
    seconds = [latency for _, latency in calls]
    parts = [(seconds[:cut], seconds[cut:]) for cut in range(1, len(seconds))]
    step = min(sum(statistics.pvariance(part) * len(part) for part in both) for both in parts)
    return math.exp(knee + 1e-9) if step >= 0.5 * max(errors[knee], 1e-3 * len(calls)) else None


class LatencyMachine(RuleBasedStateMachine):
    """Calls among few and many others, with a queue and without one, and trials that go well or do not."""

    @initialize(size=st.integers(4, 24))
    def begin(self, size: int) -> None:
        self.latencies, self.size, self.now = Latencies(), size, 0.0
        self.calls: list[tuple[float, float]] = []
        self.untested, self.evidence = 0, 3.0
        self.chance = Random(size)

    def one(self, number: int, seconds: float) -> None:
        self.latencies.started(number, self.now)
        told = self.latencies.succeeded(self.now, self.now + seconds, self.size, may_fall=True)
        latency = math.log(self.now + seconds - self.now)
        self.now += seconds + 1
        self.calls = [*self.calls, (math.log(number), latency)][-max(64, 4 * self.size) :]
        self.untested += 1
        expected = None
        if self.untested >= max(2, self.size // 8):
            self.untested = 0
            knee = written_knee(self.calls, self.evidence)
            expected = None if knee is None or int(knee) >= self.size else max(2, int(knee))
        assert told == expected or (told is not None and expected is not None and abs(told - expected) <= 1)
        if told is not None:
            self.trial(told)

    def trial(self, size: int) -> None:
        """As many calls as there are slots, from 4 to 16, decide."""
        knee = self.latencies._trial
        assert knee is not None
        stays_long = self.chance.random() < 0.5
        seconds = math.exp(knee.latency - (0.29 if stays_long else 0.31) * knee.rise)
        number = max(4, min(size, 16))
        told = []
        for _ in range(number):
            self.now += 1
            self.latencies.started(size, self.now)
            told.append(self.latencies.succeeded(self.now, self.now + seconds, size, may_fall=True))
        assert told[:-1] == [None] * (number - 1)
        assert told[-1] == (self.size if stays_long and self.size > size else None)
        self.calls = [] if stays_long else [call for call in self.calls if call[0] <= math.log(knee.size)]
        self.evidence *= 1.5 if stays_long else 1
        self.now += 100

    @rule(number=st.integers(1, 80), seconds=st.floats(0.01, 20))
    def a_call(self, number: int, seconds: float) -> None:
        self.one(number, seconds)

    @rule(
        knee=st.integers(1, 20), most=st.integers(2, 80), calls=st.integers(4, 30), spread=st.sampled_from([0.001, 0.3])
    )
    def calls_in_a_queue(self, knee: int, most: int, calls: int, spread: float) -> None:
        for call in range(calls):
            number = 1 + call * most // calls
            self.one(number, max(1.0, number / knee) * self.chance.lognormvariate(0, spread))

    @rule(calls=st.integers(4, 30), number=st.integers(1, 80), sigma=st.sampled_from([0.001, 0.5, 1.2]))
    def calls_without_one(self, calls: int, number: int, sigma: float) -> None:
        for _ in range(calls):
            self.one(self.chance.randint(1, number), self.chance.lognormvariate(0, sigma))

    @invariant()
    def is_as_written(self) -> None:
        if hasattr(self, "latencies"):
            assert list(self.latencies._calls) == self.calls
            assert self.latencies._evidence == self.evidence
            assert self.latencies._trial is None


def test_a_knee_is_what_its_definition_says() -> None:
    run_machine(LatencyMachine, machines=MACHINES // 4, steps=15)


# -- in the rule and the shared object


def play(sizes: AdaptiveSize, took: Callable[[int], float], calls: int) -> list[int]:
    """Keep the limit full; a call takes as long as is said of the number under way when it began. Sizes on the way."""
    under_way: list[tuple[float, float]] = []
    now, seen = 0.0, []
    for _ in range(calls):
        while sizes.fits(1, len(under_way), now):
            under_way.append((now + took(len(under_way) + 1), now))
            sizes.started(len(under_way), now)
        under_way.sort(reverse=True)
        in_flight = len(under_way)
        now, began = under_way.pop()
        before = sizes.size
        changed = sizes.succeeded(began, now, in_flight)
        assert changed == (sizes.size != before)
        seen.append(sizes.size)
    return seen


def in_a_queue(number: int) -> float:
    return max(1.0, number / 8)


def test_the_size_stays_near_what_is_served_at_once() -> None:
    """Without a look at latency it goes to its maximum."""
    seen = play(AdaptiveSize(2, 1, 400, latency=True), in_a_queue, 2_000)
    assert max(seen) <= 120
    assert 5 <= statistics.median(seen[500:]) <= 25
    assert play(AdaptiveSize(2, 1, 400), in_a_queue, 2_000)[-1] == 400


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_without_a_queue_it_does_as_it_would(sigma: float) -> None:
    """Calls of equal length, and by chance: not one size is another one."""
    with_it, without = (
        play(AdaptiveSize(2, 1, 400, latency=latency), lambda _, chance=Random(3): chance.lognormvariate(0, sigma), 600)
        for latency in (True, False)
    )
    assert with_it == without


def alarmed(minimum: int = 1, before: Callable[[AdaptiveSize], object] | None = None) -> AdaptiveSize:
    """Fifty-four slots, and calls that are served eight at once, the last of them with all slots in use."""
    sizes = AdaptiveSize(54, minimum, 54, latency=True)
    if before is not None:
        before(sizes)
    now = 0.0
    for number in GROWING:
        sizes.started(number, now)
        sizes.succeeded(now, now + in_a_queue(number), number)
        if sizes.size < 54:
            break
        now += 10.0
    return sizes


def goes_on(sizes: AdaptiveSize, seconds: float, calls: int, begin: float = 1e4) -> int:
    """The size after so many calls of a full limit."""
    for call in range(calls):
        now = begin + call
        sizes.started(sizes.size, now)
        sizes.succeeded(now, now + seconds, sizes.size)
    return sizes.size


def test_a_queue_leaves_a_ceiling_that_is_tried_later() -> None:
    """Down to the knee, where it stays for twice as many calls as there are slots; then one more."""
    sizes = alarmed()
    size = sizes.size
    assert 6 <= size <= 10
    assert sizes._ceiling == size + 1
    assert [goes_on(sizes, 1.0, 1, 1e4 + call) for call in range(2 * size)] == [size] * (2 * size - 1) + [size + 1]
    # What was in the queue and fails says no more than that.
    assert not alarmed().overloaded(0.0, 2000.0, 8, None)


def test_a_trial_in_vain_gives_the_size_back_and_leaves_no_ceiling() -> None:
    sizes = alarmed()
    assert goes_on(sizes, 6.75, 20) == 54
    assert sizes._ceiling is None


def test_an_overload_or_a_new_size_ends_the_trial() -> None:
    """Either tells more: the size from before does not come back."""
    sizes = alarmed()
    sizes.overloaded(9e3, 9e3 + 1, sizes.size, None)
    assert goes_on(sizes, 6.75, 16) < 20
    sizes = alarmed()
    sizes.resize(9)
    assert goes_on(sizes, 6.75, 1) < 20
    assert sizes._latencies is not None
    assert sizes._latencies._trial is None


def test_where_an_overload_has_told_what_is_too_much_latency_tells_nothing() -> None:
    """A provider that refuses does not queue."""
    sizes = alarmed(before=lambda sizes: sizes.overloaded(-3.0, -2.0, 54, None))
    assert sizes._ceiling == 51
    assert sizes._latencies is not None
    assert sizes._latencies._trial is None


def test_the_size_stays_at_the_minimum() -> None:
    assert alarmed(minimum=30).size == 30
    sizes = alarmed(minimum=54)
    assert (sizes.size, sizes._ceiling) == (54, None)


def test_another_clock_or_a_simulation_knows_what_calls_took() -> None:
    """But not when they began; a trial is over."""
    sizes = alarmed()
    latencies = sizes._latencies
    assert latencies is not None
    latencies._evidence = 4.5
    for other in (sizes.fresh(), sizes):
        other.allowed(0.0)
        learned = other._latencies
        assert learned is not None
        assert learned is not latencies
        assert (list(learned._calls), learned._evidence) == (list(latencies._calls), 4.5)
        assert (learned._trial, learned._began) == (None, {})
        assert learned._calls
    assert AdaptiveSize(2, 1, 9).fresh()._latencies is None


# -- in runs


def test_a_run_keeps_the_queue_short() -> None:
    """A provider with eight places where the others wait: as fast as without the rule, and no call waits for long."""

    def calls(limit: Adaptive) -> tuple[float, float, Adaptive]:
        seconds: list[float] = []

        async def main() -> None:
            places = asyncio.Semaphore(8)
            chance = Random(1)

            async def call(item: int) -> int:
                began = asyncio.get_running_loop().time()
                served = 0.2 * chance.lognormvariate(0, 0.5)
                async with places:
                    await asyncio.sleep(served)
                seconds.append(asyncio.get_running_loop().time() - began)
                return item

            assert await amap(call, range(400), uses="llm", limits={"llm": limit}) == list(range(400))

        with virtual_time() as clock:
            clock.run(main())
            return clock.now, statistics.mean(seconds), limit

    time, latency, limit = calls(Adaptive(initial=2, latency=True))
    time_without, latency_without, without = calls(Adaptive(initial=2))
    assert time <= 1.1 * time_without
    assert latency <= latency_without / 3
    assert limit.size < 40 < without.size
    assert limit.fresh()._rule._latencies is not None
