"""
An `Adaptive` limit finds how many calls the other side bears; see antichain.policies.adaptive.
"""

import math
import statistics
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antichain
from antichain import Adaptive, GraphError
from antichain.policies.adaptive import AdaptiveSize
from tests.support.busy_provider import Ended, Provider, Semaphore, changing, play, steady

# -- beside the oracle

ALLOWED = (3, 8, 50)
WAITS = (None, 0.5)


def beside_the_oracle(allowed: int, wait: float | None, seeds: int) -> list[tuple[float, Ended]]:
    """Times of Adaptive, each divided by that of a semaphore of the size nobody knows."""
    provider = Provider(steady(allowed), wait)
    ended = []
    for seed in range(seeds):
        oracle = play(Semaphore(allowed), provider, seed=seed)
        assert (oracle.refusals, oracle.lost) == (0, 0)
        mine = play(Adaptive(initial=2), provider, seed=seed)
        ended.append((mine.seconds / oracle.seconds, mine))
    return ended


def test_it_is_nearly_as_fast_as_who_knows_the_limit_and_loses_nothing(full: bool) -> None:
    """400 calls to providers that allow 3, 8 and 50 at once, that say when to come back and that do not."""
    of_all = []
    for allowed in ALLOWED:
        for wait in WAITS:
            ended = beside_the_oracle(allowed, wait, seeds=20 if full else 5)
            times = [time for time, _ in ended]
            assert statistics.median(times) <= 1.6, (allowed, wait)
            assert sum(mine.lost for _, mine in ended) == 0, (allowed, wait)
            assert all(mine.refusals <= 0.08 * 400 for _, mine in ended), (allowed, wait)
            of_all.extend(times)
    assert statistics.median(of_all) <= 1.25


def test_nobody_else_is_refused_while_it_waits_and_no_herd_comes_after() -> None:
    """A pause holds for all: nothing starts in it, and then the calls start at no more than twice the usual pace."""
    provider = Provider(steady(20), retry_after=2.0, shortest=0.2)
    limit = Adaptive(initial=2)
    ended = play(limit, provider, seed=1)
    first = ended.refused_at[0]
    started = sorted(ended.started_at)
    assert not [at for at in started if first < at < first + 2.0]
    after = [at for at in started if first + 2.0 <= at < first + 2.1]
    assert after[0] == pytest.approx(first + 2.0, abs=0.02)
    # In the first tenth of a second no call has come back yet. A full limit of some 20 starts a call each 12 ms.
    steps = [later - earlier for earlier, later in pairwise(after)]
    assert len(steps) > 10
    assert min(steps) > 0.004
    assert max(steps) < 2 * min(steps)


@pytest.mark.parametrize(
    ("steps", "finally_allowed"),
    [([(0.0, 50), (3.0, 5)], 5), ([(0.0, 5), (5.0, 50)], 50), ([(0.0, 8), (10.0, 16), (20.0, 4)], 4)],
)
@pytest.mark.parametrize("wait", WAITS)
def test_it_follows_a_provider_that_changes_its_mind(
    steps: list[tuple[float, int]], finally_allowed: int, wait: float | None
) -> None:
    """Down within a few calls, up within a few dozen; hardly anything is refused on the way."""
    limit = Adaptive(initial=2)
    calls = 2_000
    ended = play(limit, Provider(changing(steps), wait), calls=calls, seed=3)
    assert ended.lost == 0
    assert ended.refusals <= 0.03 * calls
    assert 0.6 * finally_allowed <= limit.size <= 1.5 * finally_allowed


def test_a_large_first_size_does_not_flood_for_long() -> None:
    """It begins far too high: half of it goes at each step that does not help."""
    ended = play(Adaptive(initial=400), Provider(steady(8)), seed=2)
    assert ended.lost == 0
    assert ended.refusals <= 3 * 400


def test_overloads_that_have_nothing_to_do_with_the_load_do_not_starve_it() -> None:
    """A provider that fails one call in fifty, whatever is asked of it."""

    class Flaky(Adaptive):
        ended = 0

        def succeeded(self, started_at: float, now: float) -> None:
            self.ended += 1
            if self.ended % 50 == 0:
                self.overloaded(started_at, now)
            else:
                super().succeeded(started_at, now)

    oracle = play(Semaphore(8), Provider(steady(8)), calls=2_000)
    assert play(Flaky(initial=2), Provider(steady(8)), calls=2_000).seconds <= 1.25 * oracle.seconds


# -- the rule, step by step


def rule(initial: int = 2, minimum: int = 1, maximum: int = 1000) -> AdaptiveSize:
    return AdaptiveSize(initial, minimum, maximum)


def round_of(size: AdaptiveSize, began: float, now: float) -> list[int]:
    """As many successes of a full limit as there are slots; the size after each."""
    number = size.size
    size.started(number, began)
    sizes = []
    for _ in range(number):
        size.succeeded(began, now, number)
        sizes.append(size.size)
    return sizes


def test_until_the_first_overload_each_success_adds_two_slots() -> None:
    """So a round triples the size, up to the maximum."""
    size = rule(2, maximum=50)
    assert round_of(size, 0.0, 1.0) == [4, 6]
    assert round_of(size, 1.0, 2.0)[-1] == 18
    assert round_of(size, 2.0, 3.0)[-1] == 50


def test_slots_that_the_fast_start_adds_open_one_by_one() -> None:
    """Five times as fast as a full limit of six starts calls of 1.5 s: one each twentieth of a second."""
    size = rule(2)
    assert round_of(size, 0.0, 1.5) == [4, 6]
    assert [size.allowed(1.5 + twentieth / 20 + 0.001) for twentieth in range(6)] == [2, 3, 4, 5, 6, 6]
    assert not size.fits(1, 2, 1.5)
    assert size.opens_at(2, 1.5) == pytest.approx(1.55)
    assert size.opens_at(1, 1.5) == 1.5
    # One that ends frees its own slot at once; what it adds opens after what is on its way.
    assert size.succeeded(0.0, 1.6, 6)
    assert size.size == 8
    assert size.allowed(1.6) == 4
    # An overload ends it: what is left then is open.
    size.overloaded(1.55, 1.65, 8, None)
    assert size.allowed(1.65) == size.size == 6


def test_calls_that_take_no_time_open_all_slots_at_once() -> None:
    """Nobody knows a pace then."""
    size = rule(2)
    assert round_of(size, 1.0, 1.0) == [4, 6]
    assert size.allowed(1.0) == 6


def test_a_limit_that_is_not_used_up_does_not_grow() -> None:
    """With three calls at a time, nobody knows whether more would do."""
    size = rule(4)
    size.started(3, 0.0)
    assert not size.succeeded(0.0, 1.0, 3)
    size.started(4, 2.0)
    # This one began after the limit was full, and ends when it is not: it says nothing.
    assert not size.succeeded(2.5, 3.0, 3)
    # These were under way while it was full; this one still finds it full.
    assert size.succeeded(1.5, 3.0, 3)
    assert size.succeeded(2.5, 3.0, 6)
    assert size.size == 8


def test_a_limit_is_used_up_where_another_call_of_that_weight_would_not_fit() -> None:
    """Two calls of three slots fill a limit of eight."""
    size = rule(8)
    size.started(5, 0.0, weight=3)
    assert not size.succeeded(0.0, 1.0, 5)
    size.started(6, 1.0, weight=3)
    assert size.succeeded(1.0, 2.0, 6)


def test_an_overload_takes_a_fifth_then_a_tenth_and_half_if_that_did_not_help() -> None:
    """Of what was in use: after the fast start a fifth, as calls that will be refused too are on their way."""
    size = rule(20)
    assert size.overloaded(0.0, 1.0, 20, None)
    assert size.size == 16
    # Eight in a row have succeeded since, so this one is another matter.
    for _ in range(8):
        size.succeeded(1.5, 2.0, 0)
    assert size.overloaded(1.5, 2.0, 16, None)
    assert size.size == 14
    # Nobody has succeeded since.
    assert size.overloaded(2.5, 3.0, 14, None)
    assert size.size == 7
    # And where fewer were in use than there are slots, those in use count.
    for _ in range(8):
        size.succeeded(3.5, 4.0, 0)
    assert size.overloaded(3.5, 4.0, 4, None)
    assert size.size == 3


def test_what_began_before_a_decrease_does_not_decrease_again() -> None:
    """A burst of refusals is one overload, as long as more were let in than there are slots now."""
    size = rule(20)
    size.overloaded(0.0, 1.0, 20, None)
    for began in (0.5, 1.0):
        assert not size.overloaded(began, 1.5, 19, None)
    assert size.size == 16
    assert size.overloaded(1.01, 1.5, 16, None)
    assert size.size == 8


def test_the_size_stays_between_its_bounds() -> None:
    """Whatever happens."""
    size = rule(4, minimum=3, maximum=6)
    for now in range(1, 9):
        size.overloaded(now - 0.5, now, 4, None)
    assert size.size == 3
    size.resize(1)
    assert size.size == 3
    size.resize(100)
    assert size.size == 6
    lonely = rule(1)
    assert not lonely.overloaded(0.0, 1.0, 1, None)
    assert lonely.size == 1


def ceiling_of_eight() -> AdaptiveSize:
    """Refused with eight in use, and back to seven."""
    size = rule(8)
    size.overloaded(0.0, 0.01, 8, None)
    assert size.size == 6
    now = 1.0
    while size.size < 7:
        round_of(size, now, now + 0.1)
        now += 1.0
    return size


def test_it_climbs_to_just_below_the_ceiling_and_holds_there_for_a_round() -> None:
    """Eight was too much: it stays at seven for seven successes, and then tries eight for two rounds."""
    size = ceiling_of_eight()
    sizes: list[int] = []
    now = 100.0
    for _ in range(40):
        size.started(size.size, now)
        size.succeeded(now, now + 0.1, size.size)
        sizes.append(size.size)
        now += 1.0
    first = sizes.index(8)
    # Some of the seven came with the climb.
    assert 3 <= first <= 7
    # Two rounds of eight at the ceiling; then it is forgotten, and the first round after that adds one slot.
    assert sizes[first : first + 17] == [8] * 17
    assert sizes[first + 17 :].index(9) <= 8


def test_each_try_in_vain_doubles_the_hold() -> None:
    """The same ceiling, refused again and again: 7 successes, 14, 28, …"""
    size = ceiling_of_eight()
    now, holds = 100.0, []
    for _ in range(5):
        held = 0
        while size.size < 8:
            size.started(size.size, now)
            size.succeeded(now, now + 0.1, size.size)
            held += size.size == 7
            now += 1.0
        holds.append(held)
        size.started(8, now)
        size.overloaded(now, now + 0.01, 8, None)
        assert size.size == 7
        now += 1.0
    assert [later / earlier for earlier, later in pairwise(holds[1:])] == pytest.approx([2] * 3, rel=0.3)


def test_each_try_in_vain_doubles_the_hold_of_a_dear_overload_too() -> None:
    """Refused at eight with a pause of 1 s, again and again: six seconds, then 14, 28."""
    size = rule(8)
    size.succeeded(-2.0, -1.9, 0)
    now, holds = 0.0, []
    for _ in range(3):
        size.started(size.size, now)
        size.overloaded(now, now + 0.1, size.size, 1.0)
        began = now = now + 0.1
        while size.size < 8:
            now += 0.1
            for _ in range(40):
                if size.size < 8:
                    size.started(size.size, now)
                    size.succeeded(now, now + 0.01, size.size)
        holds.append(now - began)
        now += 0.1
    assert holds == pytest.approx([6, 14, 28], abs=0.5)


def test_half_of_what_is_missing_to_the_ceiling_comes_back_in_a_round() -> None:
    """Half of the slots are gone, and the ceiling is known: no need to creep."""
    size = rule(60)
    size.resize(60)
    round_of(size, -2.0, -1.5)
    size.started(60, 0.0)
    size.overloaded(0.0, 1.0, 60, None)
    size.started(54, 1.5)
    size.overloaded(1.5, 1.6, 54, None)
    assert (size.size, size._ceiling) == (27, 54)
    assert 36 <= round_of(size, 2.0, 2.5)[-1] <= 40


@pytest.mark.parametrize(("ceiling", "times"), [(8, 6), (3, 2), (40, 10)])
@pytest.mark.parametrize(("waits", "took"), [(3.0, 0.1), (None, 3.1)])
def test_a_dear_overload_holds_for_as_many_times_what_it_cost_as_there_are_slots(
    ceiling: int, times: int, waits: float | None, took: float
) -> None:
    """A pause of 3 s, or an answer that took 3 s longer than a call; ten times that at most."""
    size = rule(ceiling)
    size.succeeded(-2.0, -1.9, 0)
    size.overloaded(0.0, took, ceiling, waits)
    ceiling, tried_at = size._ceiling or 0, 0.0
    now = took + (waits or 0.0) + 1
    while size.size < ceiling:
        for _ in range(ceiling):
            size.started(size.size, now)
            size.succeeded(now, now + 0.1, size.size)
        tried_at = now
        now += 0.5
    assert took + 3 * times - 0.2 <= tried_at <= took + 3 * times + 0.6


def test_an_overload_of_a_limit_that_was_not_used_up_leaves_no_ceiling() -> None:
    """One call under way of fifty, and refused: half of the slots are counted, and nothing is held."""
    size = rule(50)
    size.started(1, 0.0)
    assert size.overloaded(0.0, 0.1, 1, 1.0)
    assert (size.size, size._ceiling) == (20, None)
    # More of the kind say no more than that.
    assert not size.overloaded(0.0, 0.1, 1, 1.0)
    assert round_of(size, 2.0, 2.1)[-1] > 20
    # Once it was full while the call was under way, it is another matter.
    size = rule(50)
    size.started(50, 1.0)
    size.overloaded(0.5, 1.5, 30, None)
    assert (size.size, size._ceiling) == (24, 29)


@pytest.mark.parametrize(("initial", "wait"), [(50, 0.5), (50, None), (8, 0.2)])
def test_one_refusal_at_the_beginning_does_not_hold_it_down(initial: int, wait: float | None) -> None:
    """The first call of all meets the end of an old quota; the provider never refuses again."""
    asked = iter(range(10**9))
    provider = Provider(lambda now: 0 if next(asked) == 0 else 10**6, wait, mean=0.05, shortest=0.04, longest=0.06)
    limit = Adaptive(initial=initial)
    ended = play(limit, provider, calls=300, seed=0)
    assert ended.refusals == 1
    assert limit.size > 30
    assert ended.seconds < (wait or 0.0) + 300 / initial * 0.05 + 0.3


def test_a_burst_says_how_many_had_been_let_in_and_takes_half_at_most() -> None:
    """Twelve under way, four of them refused: eight were let in, and nine are too many."""
    size = rule(12)
    assert size.overloaded(0.0, 1.0, 12, None)
    assert (size.size, size._ceiling) == (9, 12)
    assert [size.overloaded(0.5, 1.0, 11, None) for _ in range(3)] == [False, False, True]
    assert (size.size, size._ceiling) == (8, 9)
    for _ in range(8):
        size.overloaded(1.0, 2.0, 5, None)
    assert (size.size, size._ceiling) == (6, 7)
    # Some that were on their way are not known yet: of forty, two.
    other = rule(40)
    other.overloaded(0.0, 1.0, 40, None)
    assert other._ceiling == 38
    other.overloaded(0.5, 1.0, 39, None)
    assert other._ceiling == 37
    # Of an odd number the smaller half stays, but never less than the minimum.
    odd = rule(11)
    for _ in range(12):
        odd.overloaded(0.0, 1.0, 11, None)
    assert odd.size == 5
    least = rule(5, minimum=4)
    for _ in range(5):
        least.overloaded(0.0, 1.0, 5, None)
    assert (least.size, least._ceiling) == (4, 5)


def test_growth_beyond_a_forgotten_ceiling_doubles_with_each_round() -> None:
    """1, 2, 4, … slots a round: a provider that allows more again is found within a few rounds."""
    size = rule(8)
    size.resize(8)
    sizes = [round_of(size, float(now), now + 0.5)[-1] for now in range(5)]
    assert 9 <= sizes[0] <= 10
    steps = [later - earlier for earlier, later in pairwise(sizes)]
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(steps))
    # Its first overload ends a fast growth again.
    size.overloaded(10.0, 10.5, size.size, None)
    assert size.size == int(sizes[-1] * 0.8) or size.size == int((sizes[-1] + 1) * 0.8)


def test_a_slow_growth_ends_gently() -> None:
    """One slot in a round is no fast growth."""
    size = rule(20)
    size.resize(20)
    round_of(size, 0.0, 0.5)
    in_use = size.size
    size.overloaded(1.0, 1.5, in_use, None)
    assert size.size == int(in_use * 0.9)


# -- pauses and ramps


def test_a_retry_after_pauses_everyone_once() -> None:
    """Who began before the pause and is refused in it may make it longer, but not begin another one."""
    size = rule(8)
    size.succeeded(-2.0, -1.0, 0)
    assert size.overloaded(0.0, 1.0, 8, 5.0)
    assert size.paused_until == 6.0
    size.overloaded(0.0, 1.5, 7, 1.0)
    assert size.paused_until == 6.0
    size.overloaded(0.0, 5.9, 7, None)
    assert size.paused_until == 6.0
    assert size.overloaded(0.0, 5.95, 6, 1.05)
    assert size.paused_until == 7.0
    assert size.allowed(6.9) == 0
    assert not size.fits(1, 0, 6.9)
    assert size.opens_at(3, 6.9) == pytest.approx(7.0 + 3 * 0.5 / size.size)
    assert size.opens_at(0, 6.9) == 7.0
    assert size.fits(1, 0, 7.0)
    # The pause is over: a straggler's word about it is old news.
    size.overloaded(0.0, 7.5, 2, 5.0)
    assert size.paused_until == 7.0
    assert not size.overloaded(0.0, 7.6, 2, 5.0)


def test_after_a_pause_the_slots_open_one_by_one_in_half_a_call() -> None:
    """Six slots and calls of 1.2 s: one each tenth of a second."""
    size = rule(8)
    size.succeeded(-2.0, -0.8, 0)
    size.overloaded(0.0, 1.0, 8, 1.0)
    assert size.size == 6
    opened = [size.allowed(2.0 + tenth / 10 + 0.001) for tenth in range(8)]
    assert opened == [1, 2, 3, 4, 5, 6, 6, 6]
    assert size.allowed(1.999) == 0


def test_before_any_call_has_succeeded_the_ramp_is_as_long_as_half_the_pause() -> None:
    """Nobody knows better."""
    size = rule(10)
    size.overloaded(0.0, 1.0, 10, 8.0)
    assert size.size == 8
    assert [size.allowed(9.0 + second) for second in (0.0, 0.5, 1.0, 2.5)] == [1, 2, 3, 6]
    size.succeeded(9.0, 12.0, 1)
    # Now it is known: calls are shorter than it was feared.
    assert size.allowed(12.0) == 8


def test_without_a_wish_to_wait_there_is_no_pause() -> None:
    """Zero is none either."""
    for waits in (None, 0.0):
        size = rule(10)
        size.overloaded(0.0, 1.0, 10, waits)
        assert size.paused_until == -math.inf
        assert size.allowed(1.0) == 8
        assert size.opens_at(3, 1.0) == 1.0


@given(
    initial=st.integers(1, 60),
    duration=st.floats(1e-4, 50),
    pause=st.floats(1e-3, 100),
    begin=st.sampled_from([0.0, 1e6, 1.7e9 + 0.1]),
    in_flight=st.integers(0, 60),
    weight=st.integers(1, 5),
)
def test_at_the_instant_that_is_named_the_ramp_lets_it_pass(
    initial: int, duration: float, pause: float, begin: float, in_flight: int, weight: int
) -> None:
    """Rounding names no instant that is none, at large clocks either; a moment earlier it is not let in."""
    size = rule(initial)
    size.succeeded(begin, begin + duration, 0)
    now = begin + duration + 1
    size.overloaded(now, now + 0.25, initial, pause)
    now += 0.25
    at = size.opens_at(in_flight, now, weight)
    assert at >= size.paused_until
    assert not size.fits(weight, in_flight, math.nextafter(size.paused_until, -math.inf))
    if in_flight > 0 and in_flight + weight <= size.size and at > size.paused_until:
        assert not size.fits(weight, in_flight, math.nextafter(at, -math.inf))
    if in_flight == 0 or in_flight + weight <= size.size:
        assert size.fits(weight, in_flight, at)


@given(
    initial=st.integers(1, 60),
    duration=st.floats(1e-4, 50),
    begin=st.sampled_from([0.0, 1e6, 1.7e9 + 0.1]),
    successes=st.integers(1, 30),
    in_flight=st.integers(0, 90),
    weight=st.integers(1, 5),
)
def test_at_the_instant_that_is_named_the_fast_start_lets_it_pass(
    initial: int, duration: float, begin: float, successes: int, in_flight: int, weight: int
) -> None:
    """The same while slots are new."""
    size = rule(initial)
    now = begin + duration
    for _ in range(successes):
        size.succeeded(begin, now, size.size)
    at = size.opens_at(in_flight, now, weight)
    assert at >= now
    if in_flight + weight <= size.size:
        assert size.fits(weight, in_flight, at)
        if at > now:
            assert not size.fits(weight, in_flight, math.nextafter(at, -math.inf))


def test_what_is_heavier_than_the_size_may_go_alone() -> None:
    """After a decrease it could else never go, and nothing would ever raise the size again."""
    size = rule(8)
    size.overloaded(0.0, 1.0, 8, None)
    assert size.size == 6
    assert size.fits(7, 0, 2.0)
    assert not size.fits(7, 1, 2.0)
    assert size.fits(5, 1, 2.0)
    assert not size.fits(6, 1, 2.0)


def test_on_another_clock_old_instants_mean_nothing() -> None:
    """A limit may be used in virtual time, whose clocks begin at 0, after it was used on another one."""
    size = rule(20)
    size.overloaded(1e6, 1e6 + 1, 20, 5.0)
    size.allowed(1e6 + 3)
    assert size.allowed(0.0) == 0
    assert size.paused_until == 3.0
    assert size.overloaded(0.5, 1.0, 16, None)
    assert size.size == 8
    # A little earlier is a thread that waited for the lock.
    assert not size.overloaded(0.9, 0.95, 8, None)


def test_a_fresh_one_has_learned_and_is_not_pausing() -> None:
    """For a simulation of what is to come, on a clock of its own."""
    size = rule(20)
    size.succeeded(1e6 - 4, 1e6 - 3, 0)
    size.overloaded(1e6, 1e6 + 1, 20, 50.0)
    other = size.fresh()
    assert (other.size, other.minimum, other.maximum, other.paused_until) == (16, 1, 1000, -math.inf)
    assert other.allowed(0.0) == 16
    for old, new in ((size, 2e6), (other, 2.0)):
        old.overloaded(new, new + 1, 16, 2.0)
    assert (size.size, size._ceiling) == (other.size, other._ceiling)
    assert other.allowed(5.0 + 0.1) == size.allowed(2e6 + 3 + 0.1) < size.size


# -- the shared object


@pytest.mark.parametrize(
    "given",
    [{"initial": 0}, {"minimum": 0}, {"maximum": 0}, {"initial": 2.5}, {"initial": True}, {"maximum": "9"},
     {"initial": 2, "minimum": 3}, {"initial": 9, "maximum": 8}],
)  # fmt: skip
def test_bounds_are_whole_numbers_in_order(given: dict[str, int]) -> None:
    """And the error says which is not."""
    with pytest.raises(GraphError, match=f"Adaptive\\({next(iter(given))}="):
        Adaptive(**given)


def test_slots_are_taken_together_or_not_at_all_and_given_back() -> None:
    """As of a Limit."""
    llm = Adaptive(initial=4, minimum=2, maximum=9)
    assert (llm.size, llm.used, llm.minimum, llm.maximum, llm.paused_until) == (4, 0, 2, 9, -math.inf)
    assert llm.acquire(3, 0.0)
    assert not llm.acquire(2, 0.0)
    assert not llm.fits(2, 0.0)
    assert llm.fits(1, 0.0)
    assert llm.acquire()
    assert not llm.acquire()
    with pytest.raises(ValueError, match="5 slots given back to a limit of which 4 were taken"):
        llm.release(5)
    llm.release(4)
    assert llm.used == 0
    assert llm.acquire(9)
    assert repr(llm) == "Adaptive(size=4, used=9, minimum=2, maximum=9)"


def test_who_watches_is_told_of_slots_sizes_and_pauses() -> None:
    """And of nothing else; the watcher may look at the limit at once."""
    llm = Adaptive(initial=2)
    told: list[str] = []

    def watcher() -> None:
        told.append(f"{llm.size} {llm.used}")

    llm.watch(watcher)
    assert llm.acquire(2, 0.0)
    assert not told
    llm.succeeded(0.0, 1.0)
    assert told.pop() == "4 2"
    llm.release()
    assert told.pop() == "4 1"
    llm.overloaded(0.0, 2.0, retry_after=3.0)
    assert told.pop() == "1 1"
    assert llm.paused_until == llm.opens_at(2.0) == 5.0
    llm.overloaded(0.0, 2.5)
    assert not told
    llm.resize(7)
    assert told.pop() == "7 1"
    assert llm.acquire(6)  # without a clock, a pause does not count
    assert not llm.acquire(6, 4.9)
    llm.unwatch(watcher)
    llm.release(7)
    assert not told
    with pytest.raises(GraphError, match="must be at least 1"):
        llm.resize(0)


def test_a_fresh_limit_is_as_large_and_empty() -> None:
    """And does not change the other one."""
    llm = Adaptive(initial=2, maximum=8)
    llm.acquire(2, 0.0)
    llm.succeeded(0.0, 1.0)
    other = llm.fresh()
    assert (other.size, other.used, other.maximum) == (4, 0, 8)
    other.resize(8)
    assert llm.size == 4


def test_threads_that_share_it_never_take_more_than_there_is() -> None:
    """Eight threads take and give back; the most that was ever taken is the size."""
    llm = Adaptive(initial=5, maximum=5)
    most = []

    def work() -> None:
        for moment in range(200):
            if llm.acquire(1, moment / 1000):
                most.append(llm.used)
                llm.succeeded(moment / 1000, moment / 1000)
                llm.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert llm.used == 0
    assert 1 <= max(most) <= 5


def test_the_public_name_is_the_shared_object() -> None:
    """`antichain.Adaptive`, which imports nothing before it is used."""
    assert antichain.Adaptive is Adaptive
    assert "Adaptive" in antichain.__all__
