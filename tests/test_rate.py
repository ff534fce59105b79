"""
A `Rate` lets no more than so much pass in any window of time, counted exactly; see antichain.policies.rate.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antichain
from antichain import GraphError, Rate
from antichain.core.capacity import RateSlots, TimedQueue
from antichain.policies.rate import REMEMBERED, Usage, Window

# -- an independent judge


class Judge:
    """Keep what passed, and judge every window in exact arithmetic; slow, and knows nothing of the ledger."""

    def __init__(self, units: dict[str, float], per: float) -> None:
        self.units = units
        self.per = Fraction(per)
        self.passed: list[tuple[Fraction, dict[str, Fraction]]] = []

    @staticmethod
    def exactly(amounts: dict[str, float]) -> dict[str, Fraction]:
        """What counts: billionths, the nearest."""
        return {name: Fraction(round(Fraction(amount) * 10**9), 10**9) for name, amount in amounts.items()}

    def add(self, at: float, amounts: dict[str, float]) -> int:
        self.passed.append((Fraction(at), self.exactly(amounts)))
        return len(self.passed) - 1

    def settle(self, ticket: int, used: dict[str, float]) -> None:
        self.passed[ticket][1].update(self.exactly(used))

    def in_window(self, unit: str, now: float) -> Fraction:
        """The sum over (now - per, now]."""
        end = Fraction(now)
        amounts = [entry[1].get(unit, Fraction(0)) for entry in self.passed if end - self.per < entry[0] <= end]
        return sum(amounts, Fraction(0))

    def fits(self, amounts: dict[str, float], now: float) -> bool:
        wanted = self.exactly(amounts)
        return all(
            self.in_window(unit, now) + wanted.get(unit, Fraction(0)) <= Fraction(round(Fraction(size) * 10**9), 10**9)
            for unit, size in self.units.items()
        )


# -- ten thousand arrivals


@pytest.mark.parametrize(
    ("begin", "per", "seed"), [(0.0, 60.0, 1), (1e6, 0.1, 2), (86_400.25, 1 / 3, 3), (1e9, 7.3, 4)]
)
def test_no_window_passes_more_than_the_rate_and_everyone_passes_in_order(
    begin: float, per: float, seed: int, full: bool
) -> None:
    """Random arrivals, big ones among small ones, wait in line for a rate in two units."""
    arrivals = 10_000 if full else 2_500
    rng = Random(seed)
    requests, tokens = 40, 10_000
    window = Window({"requests": requests, "tokens": tokens}, per)
    now, came = begin, []
    for _ in range(arrivals):
        now += rng.expovariate(45 / per)
        size = rng.choice([rng.uniform(1, 300), rng.uniform(1, 300), rng.uniform(1, 300), tokens * rng.uniform(0.5, 1)])
        came.append((now, {"requests": 1, "tokens": size if rng.random() < 0.5 else int(size)}))
    passed: list[float] = []
    free = begin
    for arrived, amounts in came:
        at = window.ready_at(amounts, max(arrived, free))
        head_since = max(arrived, free)
        assert at - head_since <= per + math.ulp(at), "the head of the line waits for one window at most"
        assert window.fits(amounts, at)
        window.take(amounts, at)
        passed.append(at)
        free = at
    assert passed == sorted(passed)
    # The judge: every window that ends with a pass; any other passes no more than one of these.
    sizes = [round(Fraction(amounts["tokens"]) * 10**9) for _, amounts in came]
    inside: deque[int] = deque()
    tokens_inside = 0
    for number, at in enumerate(passed):
        had_waited = at > max(came[number][0], passed[number - 1] if number else begin)
        requests_before = tokens_before = 0
        while inside and Fraction(at) - Fraction(passed[inside[0]]) >= Fraction(per):
            left = inside.popleft()
            tokens_inside -= sizes[left]
            if had_waited and Fraction(math.nextafter(at, -math.inf)) - Fraction(passed[left]) < Fraction(per):
                requests_before, tokens_before = requests_before + 1, tokens_before + sizes[left]
        inside.append(number)
        tokens_inside += sizes[number]
        assert len(inside) <= requests
        assert tokens_inside <= tokens * 10**9
        # Nobody waits for longer than needed: a moment earlier, what has just left was still inside.
        if had_waited:
            assert len(inside) + requests_before > requests or tokens_inside + tokens_before > tokens * 10**9


def test_the_first_comer_waits_and_nobody_is_let_past_it() -> None:
    """A request of 90 among 80 of 2 passes first if it came first: the window has one line, in the order of coming."""
    window = Window({"tokens": 100}, per=1.0)
    window.take({"tokens": 20}, 0.0)
    big = window.ready_at({"tokens": 90}, 0.5)
    assert big == 1.0
    window.take({"tokens": 90}, big)
    assert [window.ready_at({"tokens": size}, big) for size in (10, 11)] == [1.0, 2.0]


# -- edges, clocks, floating point

CLOCKS = st.sampled_from([0.0, 1.0, 1234.5678, 1e6, 1e6 + 0.1, 1.7e9])
AMOUNTS = st.one_of(st.integers(0, 10), st.floats(0, 10, allow_nan=False))


@given(
    begin=CLOCKS,
    per=st.one_of(st.sampled_from([0.1, 1 / 3, 1.0, 60.0, 3600.0]), st.floats(1e-3, 1e4)),
    steps=st.lists(st.tuples(st.floats(0, 1), AMOUNTS), max_size=20),
    wanted=AMOUNTS,
)
def test_at_the_instant_that_is_named_it_fits_and_a_moment_earlier_it_does_not(
    begin: float, per: float, steps: list[tuple[float, float]], wanted: float
) -> None:
    """No rounding of instants, at large clocks either, lets anybody pass early or names an instant that is none."""
    window, judge = Window({"tokens": 10}, per), Judge({"tokens": 10}, per)
    now = begin
    for part, amount in steps:
        now += part * per
        assert window.fits({"tokens": amount}, now) == judge.fits({"tokens": amount}, now)
        if window.fits({"tokens": amount}, now):
            window.take({"tokens": amount}, now)
            judge.add(now, {"tokens": amount})
    at = window.ready_at({"tokens": wanted}, now)
    assert at >= now
    assert judge.fits({"tokens": wanted}, at)
    if at > now:
        assert not window.fits({"tokens": wanted}, now)
        assert not judge.fits({"tokens": wanted}, math.nextafter(at, -math.inf))
    assert window.fits({"tokens": wanted}, at)


def test_an_entry_is_in_the_window_until_per_seconds_have_gone_by_exactly() -> None:
    """0.1 + 0.2 is a little more than 0.3 in floats: the sum of the instants, and not its rounding, decides."""
    window = Window({"requests": 1}, per=0.2)
    window.take({"requests": 1}, 0.1)
    exact = Fraction(0.1) + Fraction(0.2)
    at = window.ready_at({"requests": 1}, 0.1)
    assert Fraction(at) >= exact > Fraction(math.nextafter(at, 0))
    # Here the float sum is below the exact one: one who asks then would be early.
    late = Window({"requests": 1}, per=0.7)
    late.take({"requests": 1}, 1e6 + 0.1)
    at = late.ready_at({"requests": 1}, 1e6 + 0.1)
    assert Fraction(at) >= Fraction(1e6 + 0.1) + Fraction(0.7)
    assert not late.fits({"requests": 1}, math.nextafter(at, 0))
    assert late.fits({"requests": 1}, at)


def test_three_tenths_fit_into_what_allows_three_tenths() -> None:
    """Amounts are counted in billionths, so that floats add up as people expect, and nothing drifts."""
    window = Window({"usd": 0.3}, per=1)
    for _ in range(3):
        window.take({"usd": 0.1}, 0.0)
    assert not window.fits({"usd": 1e-9}, 0.5)
    assert window.fits({"usd": 1e-10}, 0.5)
    for second in range(1, 2000):
        assert window.passed(float(second)) == {"usd": 0.0}
        window.take({"usd": 0.3}, float(second))


def test_an_instant_that_is_a_little_earlier_is_taken_for_the_latest() -> None:
    """Two threads read the clock and then wait for the lock: the second one may come with the earlier instant."""
    window = Window({"requests": 1}, per=1.0)
    window.take({"requests": 1}, 10.0)
    assert not window.fits({"requests": 1}, 9.5)
    assert window.ready_at({"requests": 1}, 9.5) == 11.0
    window.take({"requests": 1}, 11.0)
    # Taken for 11.0: it leaves at 12.0, and not at 11.5.
    assert window.ready_at({"requests": 1}, 10.5) == 12.0


def test_on_another_clock_everything_has_just_passed() -> None:
    """A rate may be used in virtual time, whose clocks begin at 0, after it was used on another one."""
    window = Window({"requests": 2}, per=10.0)
    window.take({"requests": 1}, 1e6)
    window.take({"requests": 1}, 1e6 + 1)
    window.pause(1e6 + 5)
    assert not window.fits({"requests": 1}, 3.0)
    assert window.paused_until == 7.0
    assert window.ready_at({"requests": 1}, 3.0) == 13.0
    assert window.fits({"requests": 2}, 13.0)
    # Without a pause there is none on the other clock.
    calm = Window({"requests": 2}, per=10.0)
    calm.take({"requests": 1}, 1e6)
    assert calm.ready_at({"requests": 1}, 3.0) == 3.0


def test_a_clock_that_goes_back_by_a_second_is_the_same_clock() -> None:
    """The boundary between a late thread and another clock."""
    window = Window({"requests": 1}, per=3.0)
    window.take({"requests": 1}, 5.0)
    assert window.ready_at({"requests": 1}, 4.0) == 8.0
    assert window.ready_at({"requests": 1}, 3.75) == 6.75


# -- settling


def test_less_than_the_estimate_lets_others_start_earlier() -> None:
    """The real usage counts from when it is known, at the instant of the pass."""
    window = Window({"tokens": 100}, per=60)
    ticket = window.take({"tokens": 90}, 0.0)
    assert window.ready_at({"tokens": 50}, 1.0) == 60.0
    window.settle(ticket, {"tokens": 40}, 1.0)
    assert window.ready_at({"tokens": 50}, 1.0) == 1.0
    assert window.passed(1.0) == {"tokens": 40.0}


def test_more_than_the_estimate_delays_others_even_above_the_rate() -> None:
    """Somebody used three windows' worth: nobody passes until that has left, and it leaves as a whole."""
    window = Window({"tokens": 100}, per=60)
    ticket = window.take({"tokens": 10}, 0.0)
    window.take({"tokens": 10}, 5.0)
    window.settle(ticket, {"tokens": 300}, 10.0)
    assert window.passed(10.0) == {"tokens": 310.0}
    assert window.ready_at({"tokens": 0}, 10.0) == 60.0
    assert window.ready_at({"tokens": 95}, 10.0) == 65.0
    assert not window.fits({"tokens": 0}, 59.9)


def test_what_has_left_the_window_cannot_be_settled_any_more() -> None:
    """What is over is over: it neither raises, nor counts, nor comes back."""
    window = Window({"tokens": 100}, per=60)
    ticket = window.take({"tokens": 90}, 0.0)
    window.settle(ticket, {"tokens": 1000}, 60.0)
    assert window.passed(60.0) == {"tokens": 0.0}
    assert window.fits({"tokens": 100}, 60.0)


def test_settling_says_the_total_and_leaves_what_it_does_not_name() -> None:
    """A call may report twice, and tokens only."""
    window = Window({"requests": 3, "tokens": 100}, per=60)
    ticket = window.take({"requests": 1, "tokens": 90}, 0.0)
    window.settle(ticket, {"tokens": 20}, 1.0)
    window.settle(ticket, {"tokens": 50}, 2.0)
    assert window.passed(2.0) == {"requests": 1.0, "tokens": 50.0}
    window.settle(ticket, {"requests": 0}, 2.0)
    assert window.passed(2.0) == {"requests": 0.0, "tokens": 50.0}


def test_settling_while_somebody_waits_is_seen_on_both_sides_of_where_the_search_stands() -> None:
    """`ready_at` goes on from where it stopped: what is settled before and behind that place counts."""
    window = Window({"tokens": 100}, per=10)
    first, second, third = [window.take({"tokens": 30}, float(at)) for at in (0, 1, 2)]
    assert window.ready_at({"tokens": 60}, 3.0) == 11.0
    window.settle(third, {"tokens": 5}, 3.0)
    assert window.ready_at({"tokens": 60}, 3.0) == 10.0
    window.settle(first, {"tokens": 0}, 3.0)
    assert window.ready_at({"tokens": 60}, 3.0) == 3.0
    window.settle(second, {"tokens": 90}, 3.0)
    assert window.ready_at({"tokens": 60}, 3.0) == 11.0


# -- pauses, sizes, refusals


def test_nobody_passes_in_a_pause_and_the_later_end_counts() -> None:
    """A Retry-After holds for everybody who would pass here."""
    window = Window({"requests": 5}, per=1)
    window.pause(10.0)
    window.pause(4.0)
    assert window.ready_at({"requests": 1}, 2.0) == 10.0
    assert not window.fits({"requests": 1}, 9.9)
    with pytest.raises(ValueError, match=r"does not fit at 9\.9"):
        window.take({"requests": 1}, 9.9)
    window.take({"requests": 1}, 10.0)


def test_a_pause_that_ends_first_does_not_shorten_the_wait() -> None:
    """Whichever is later: the pause, or the window."""
    window = Window({"requests": 1}, per=60)
    window.take({"requests": 1}, 0.0)
    window.pause(10.0)
    assert window.ready_at({"requests": 1}, 1.0) == 60.0
    window.pause(70.0)
    assert window.ready_at({"requests": 1}, 1.0) == 70.0


def test_a_rate_can_be_changed_and_what_passed_still_counts() -> None:
    """Both ways; and the units stay what they are."""
    window = Window({"requests": 2, "tokens": 100}, per=60)
    window.take({"requests": 2}, 0.0)
    assert not window.fits({"requests": 1}, 1.0)
    window.resize({"requests": 3})
    assert window.fits({"requests": 1}, 1.0)
    window.resize({"requests": 1})
    assert window.ready_at({"requests": 1}, 1.0) == 60.0
    assert window.units == {"requests": 1, "tokens": 100}
    window.resize({})
    with pytest.raises(GraphError, match="asked for 'pages', which it does not count"):
        window.resize({"pages": 1})
    with pytest.raises(GraphError, match="requests=0"):
        window.resize({"requests": 0})


def test_what_is_above_the_rate_is_refused_at_once() -> None:
    """It would wait for ever; every unit that is too much is named."""
    window = Window({"requests": 1, "tokens": 90_000}, per=60)
    window.check({"requests": 1, "tokens": 90_000})
    for ask in (
        window.check,
        lambda amounts: window.fits(amounts, 0.0),
        lambda amounts: window.ready_at(amounts, 0.0),
        lambda amounts: window.take(amounts, 0.0),
    ):
        with pytest.raises(GraphError) as caught:
            ask({"requests": 2, "tokens": 90_001})
        assert [fault.code for fault in caught.value.faults] == ["weight-above-limit", "weight-above-limit"]
        assert "needs 90001 tokens, but only 90000 may pass in 60 s, so it could never pass" in str(caught.value)
    with pytest.raises(GraphError) as caught:
        window.check({"tokens": 90_001})
    assert "requests" not in str(caught.value)


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, 10**400, True, "3", None])
def test_an_amount_is_a_number(amount: object) -> None:
    """In requests and in what is settled."""
    window = Window({"requests": 10}, per=1)
    ticket = window.take({"requests": 1}, 0.0)
    with pytest.raises(GraphError, match="an amount is a number, at least 0"):
        window.check({"requests": amount})  # type: ignore[dict-item]
    with pytest.raises(GraphError, match="an amount is a number, at least 0"):
        window.settle(ticket, {"requests": amount}, 0.0)  # type: ignore[dict-item]


def test_an_unknown_unit_is_named_with_what_was_meant() -> None:
    """As everywhere."""
    window = Window({"requests": 10, "tokens": 10}, per=1)
    with pytest.raises(GraphError, match=r"asked for 'token', which it does not count\. Did you mean 'tokens'"):
        window.fits({"token": 1}, 0.0)
    with pytest.raises(GraphError, match="Its units are: requests, tokens"):
        window.settle(0, {"usd": 1}, 0.0)


@pytest.mark.parametrize("size", [0, -1, math.nan, math.inf, True, "9"])
def test_a_rate_is_a_finite_number_above_zero(size: object) -> None:
    """So is its window."""
    with pytest.raises(GraphError, match=r"Rate\(requests=.*must be a finite number above zero"):
        Rate(requests=size)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=r"Rate\(per="):
        Rate(requests=1, per=size)  # type: ignore[arg-type]


def test_a_rate_counts_something() -> None:
    """Else it would be no limit."""
    with pytest.raises(GraphError, match="a rate counts something"):
        Rate(per=1)


# -- cost


def test_memory_is_bounded_by_what_passes_in_one_window() -> None:
    """What has left is forgotten, settled or not."""
    window = Window({"requests": 100}, per=1.0)
    for number in range(5_000):
        now = window.ready_at({"requests": 1}, number * 0.001)
        window.settle(window.take({"requests": 1}, now), {"requests": 1}, now)
        assert len(window._entries) <= 100


def test_a_big_request_that_waits_long_does_not_search_the_window_again_each_time() -> None:
    """It is asked for at each ending of somebody else: the search goes on from where it stopped."""
    window = Window({"tokens": 20_000}, per=60)
    for number in range(20_000):
        window.take({"tokens": 1}, number / 1000)
    looked_at = 0

    class Counted(dict[int, tuple[float, tuple[int, ...]]]):
        def __getitem__(self, ticket: int) -> tuple[float, tuple[int, ...]]:
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(ticket)

    window._entries = Counted(window._entries)
    at = window.ready_at({"tokens": 15_000}, 20.0)
    assert looked_at > 15_000
    looked_at = 0
    for number in range(1000):
        window.settle(19_000 + number, {"tokens": 1}, 20.0)
        assert window.ready_at({"tokens": 15_000}, 20.0) == at
    assert looked_at < 10_000


# -- what calls use


def test_the_mean_is_over_the_newest_calls_by_unit() -> None:
    """Old calls are forgotten, a later word on the same call replaces the earlier one."""
    usage = Usage()
    assert usage.mean("tokens") is None
    usage.note(0, 1, {"tokens": 100})
    usage.note(0, 1, {"tokens": 300})
    usage.note(1, 3, {"tokens": 300, "pages": 6})
    assert usage.mean("tokens") == 150
    assert usage.mean("pages") == 2
    assert usage.fresh().mean("tokens") == 150
    for ticket in range(2, REMEMBERED + 2):
        usage.note(ticket, 1, {"tokens": 7})
    assert usage.mean("tokens") == 7
    assert usage.mean("pages") is None


def test_a_mean_may_be_less_than_one() -> None:
    """Of money."""
    usage = Usage()
    usage.note(0, 4, {"usd": 1.0})
    assert usage.mean("usd") == 0.25


def test_a_later_word_on_a_call_keeps_what_it_does_not_name() -> None:
    """Tokens first, and pages when they are known."""
    usage = Usage()
    usage.note(0, 1, {"tokens": 100})
    usage.note(0, 1, {"pages": 3})
    assert (usage.mean("tokens"), usage.mean("pages")) == (100, 3)


# -- the shared object


def test_a_rate_of_which_nothing_is_known_expects_what_calls_used() -> None:
    """A node that only names the limit is one request, and as many tokens as usual; never more than could pass."""
    rate = Rate(requests=10, tokens=1000, per=60)
    assert rate.plain(2) == {"requests": 2}
    ticket = rate.acquire({"requests": 1}, 0.0)
    assert ticket is not None
    rate.settle(ticket, {"tokens": 300}, 1.0)
    assert rate.plain(2) == {"requests": 2, "tokens": 600}
    assert rate.plain(9) == {"requests": 9, "tokens": 1000}
    heavy = rate.acquire({"requests": 2}, 1.0, weight=2)
    assert heavy is not None
    rate.settle(heavy, {"tokens": 300}, 1.0)
    assert rate.plain(1) == {"requests": 1, "tokens": 200}
    assert Rate(tokens=5).plain(1) == {}


def test_a_request_that_is_not_made_after_all_says_nothing_of_what_others_use() -> None:
    rate = Rate(requests=9, tokens=1000, per=10)
    rate.settle(rate.acquire({"requests": 1, "tokens": 50}, now=0.0) or 0, {"tokens": 100}, now=0.0)
    told: list[None] = []
    rate.watch(lambda: told.append(None))
    ticket = rate.acquire(rate.plain(1), now=0.0)
    assert ticket is not None
    rate.give_back(ticket, now=1.0)
    assert (rate.passed(1.0), rate.plain(1)) == ({"requests": 1, "tokens": 100}, {"requests": 1, "tokens": 100})
    assert told == [None]


class Slow(Rate):
    """A rate that another run passes, or makes smaller, between the question whether there is room and the request."""

    between: Callable[[Rate], object]

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1, who: int | None = None) -> int | None:
        self.between(self)
        return super().acquire(amounts, now, weight, who)


@pytest.mark.parametrize(
    "between",
    [lambda rate: Rate.acquire(rate, {"requests": 2}, 0.0), lambda rate: rate.resize(requests=1)],
    ids=["passed", "made smaller"],
)
def test_where_one_of_two_rates_is_gone_meanwhile_the_other_has_not_been_passed(
    between: Callable[[Rate], object],
) -> None:
    first, second = Rate(requests=9, tokens=1000, per=10), Slow(requests=3, per=10)
    second.between = between
    first.settle(first.acquire({"tokens": 100}, now=0.0) or 0, {"tokens": 100}, now=0.0)
    passes = ((RateSlots("first", first, 0), 1), (RateSlots("second", second, 1), 2))
    assert TimedQueue((("first", 1), ("second", 2)), (), passes).take_rates(None, now=0.0) is None
    assert (first.passed(0.0), first.plain(1)["tokens"]) == ({"requests": 0, "tokens": 100}, 100)


def test_a_fresh_rate_expects_the_same_and_nothing_has_passed_it() -> None:
    """For a simulation of what is to come."""
    rate = Rate(requests=1, tokens=50, per=7)
    ticket = rate.acquire({"requests": 1, "tokens": 10}, 0.0)
    assert ticket is not None
    rate.settle(ticket, {"tokens": 20}, 0.0)
    other = rate.fresh()
    assert other.plain(1) == {"requests": 1, "tokens": 20}
    assert (other.units, other.per) == ({"requests": 1, "tokens": 50}, 7)
    assert other.passed(0.0) == {"requests": 0.0, "tokens": 0.0}
    assert rate.passed(0.0) == {"requests": 1.0, "tokens": 20.0}


def test_a_rate_gives_a_ticket_or_nothing_and_tells_who_watches() -> None:
    """Settling, a pause and another size change who may start; taking does not."""
    rate = Rate(requests=2, per=10)
    told: list[str] = []

    def watcher() -> None:
        told.append(repr(rate))  # may look at it at once: no lock is held

    rate.watch(watcher)
    ticket = rate.acquire({"requests": 2}, 0.0)
    assert ticket is not None
    assert rate.acquire({"requests": 1}, 1.0) is None
    assert not rate.fits({"requests": 1}, 1.0)
    assert rate.ready_at({"requests": 1}, 1.0) == 10.0
    assert not told
    rate.settle(ticket, {"requests": 1}, 1.0)
    assert len(told) == 1
    rate.pause(20.0)
    assert rate.paused_until == 20.0
    assert len(told) == 2
    rate.resize(requests=5)
    assert told[2:] == ["Rate(requests=5, per=10)"]
    rate.unwatch(watcher)
    rate.unwatch(watcher)
    rate.pause(30.0)
    assert len(told) == 3
    with pytest.raises(GraphError):
        rate.check({"requests": 6})
    rate.check({"requests": 5})


def test_threads_that_share_a_rate_pass_no_more_than_it_together() -> None:
    """Eight threads try as often as they can at the same instants."""
    rate = Rate(requests=50, per=0.25)
    passed = [0] * 8

    def take(number: int) -> None:
        for moment in range(300):
            passed[number] += rate.acquire({"requests": 1}, moment / 400) is not None

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 150


def test_the_public_name_is_the_shared_object() -> None:
    """`antichain.Rate`, which imports nothing before it is used."""
    assert antichain.Rate is Rate
    assert "Rate" in antichain.__all__
