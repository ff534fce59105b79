"""
Lines of nodes that wait for limits which open by time, seen through the core: whose turn it is, what is said of the
limits, and what an ending tells them. `test_capacity.py` has the same in real runs.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from antichain import Adaptive, Limit, Rate
from antichain.core.capacity import AdaptiveSlots, RateSlots, SharedSlots, Slots, most_of
from antichain.core.facts import LimitState
from antichain.core.lines import RACE_PAUSE, TRIES, Lines
from antichain.core.scheduler import NOTHING, Kind
from antichain.core.signals import AttemptFailed, AttemptSucceeded, NodeEntered, SlotsLent, SlotsWanted, TimePassed
from antichain.core.timers import LIMIT_OPENS
from antichain.policies import Amounts
from antichain.shape import shape_of
from tests.support.arranged import A, Arranged, B, C, again

Demand = Mapping[str, int]


def lined(
    demands: Sequence[Demand],
    limits: Mapping[str, Any],
    *,
    amounts: Mapping[int, Amounts] | None = None,
    weighed: Collection[int] = (),
    priority: Sequence[int] | None = None,
    **options: Any,
) -> Arranged:
    """Nodes that depend on nothing, with what each takes of the limits."""
    shape = shape_of(
        [[] for _ in demands],
        demand=[tuple(sorted(demand.items())) for demand in demands],
        priority=list(priority or [0] * len(demands)),
        retry={node: again() for node in range(len(demands))},
        amounts=dict(amounts or {}),
        weighed=frozenset(weighed),
    )
    return Arranged(shape, limits=limits, on_error="continue", **options)


def lines_of(s: Arranged) -> Lines:
    assert s.core.lines is not None
    return s.core.lines


def said(s: Arranged, now: float) -> list[LimitState]:
    return lines_of(s).limit_states(now)


def test_a_run_without_such_limits_has_no_lines() -> None:
    s = lined([{"db": 1}], {"db": Limit(1)})
    assert s.core.lines is None
    assert not s.core.uses_rate(A)
    assert not s.core.settle_usage(A, 1, {"requests": 1}, 0.0)
    s.core.overloaded(A, 1, 1.0, 0.0)
    s.core.reconsider()
    assert s.core.next_to_weigh() == NOTHING
    assert s.taken() == [A]


def test_lines_come_with_the_first_limit_that_opens_by_time() -> None:
    """Also while the run goes on: with a graph that brings its rate."""
    s = lined([{"db": 1}], {"db": 2})
    for name, size in (("other", 3), ("llm", Rate(requests=1, per=10)), ("more", Adaptive(initial=1))):
        s.core.add_limit(name, size)
        assert s.core.limit_of(name) is size
        assert (s.core.lines is None) == (name == "other")
    assert s.core.limit_of("nobody") is None
    kind = Kind(s.core.demand_number((("llm", 1), ("more", 1))))
    first, second = (s.handle(NodeEntered(s.core.root, kind)) for _ in range(2))
    assert sorted(s.taken()) == [A, first]
    assert s.core.uses_rate(second)
    assert s.core.timers_of(LIMIT_OPENS) == []
    s.handle(AttemptSucceeded(first, 1), now=1)
    assert s.taken() == []
    assert s.core.next_at() == 10
    s.handle(TimePassed(), now=10)
    assert s.taken() == [second]


def test_first_come_first_served_however_urgent_and_small_the_others_are() -> None:
    s = lined(
        [{"llm": 1}, {"llm": 1}, {"llm": 1, "db": 1}],
        {"llm": Rate(requests=100, tokens=10, per=10), "db": 1},
        amounts={A: {"llm": {"tokens": 6}}, B: {"llm": {"tokens": 6}}, C: {"llm": {"tokens": 1}}},
        priority=[2, 1, 0],
    )
    # The nodes of both demands came at once: the better key is first.
    assert s.taken() == [A]
    assert not s.core.can_start()
    assert [(node, name, dict(wants)) for node, name, wants in lines_of(s).first_in_line()] == [
        (B, "llm", {"tokens": 6}),
        (C, "llm", {"tokens": 1}),
    ]
    s.handle(TimePassed(), now=10)
    assert s.taken() == [B, C]


def test_whoever_lacks_a_slot_holds_up_nobody_at_a_rate() -> None:
    rate = Rate(requests=1, per=10)
    s = lined([{"llm": 1, "db": 1}, {"llm": 1}], {"llm": rate, "db": Limit(1)}, priority=[1, 0])
    db = s.core.limits["db"]
    assert isinstance(db, SharedSlots)
    assert db.limit.acquire(1)
    assert s.taken() == [B]
    # a does not stand in line, and so nobody of another run waits behind it.
    assert s.taken(now=1) == []
    assert rate.stand(99, 1.0, {"requests": 1}, 10.0, looks_only=True) == 10.0


def test_what_is_said_of_limits() -> None:
    rate, adaptive = Rate(requests=2, tokens=10, per=10), Adaptive(initial=3)
    demands = [{"llm": 1, "try": 2}, {"llm": 1}, {"llm": 2, "db": 1}]
    s = lined(demands, {"llm": rate, "db": 1, "try": adaptive}, amounts={B: {"llm": {"requests": 1, "tokens": 5}}})
    assert s.taken() == [A, B]
    waits = LimitState("llm", None, None, 0.0, 6.0, rate.plain(2))
    assert said(s, 4.0) == [LimitState("try", 2, 3, 0.0), waits]
    rate.pause(20.0)
    s.core.overloaded(A, 1, 3.0, 4.0)
    assert [(state.name, state.paused) for state in said(s, 5.0)] == [("try", 2.0), ("llm", 15.0)]
    assert said(s, 5.0)[0].size == adaptive.size
    assert [state.opens_in for state in said(s, 30.0)] == [None, 0.0]


def test_who_is_first_is_said_of_those_that_fit() -> None:
    """The display names what passes next, not what waits for a slot."""
    s = lined(
        [{"llm": 1}, {"llm": 1, "db": 1}, {"llm": 1}], {"llm": Rate(requests=1, tokens=9, per=10), "db": Limit(1)}
    )
    wants = {node: {"requests": 1.0, "tokens": float(node)} for node in (B, C)}
    s.core.amounts.update({node: {"llm": taken} for node, taken in wants.items()})
    db = s.core.limits["db"]
    assert isinstance(db, SharedSlots)
    assert db.limit.acquire(1)
    assert s.taken() == [A]
    assert said(s, 1.0)[0].wants == wants[C]
    db.limit.release(1)
    assert said(s, 1.0)[0].wants == wants[B]
    assert said(s, 1.0)[0].opens_in == 9.0
    s.core.refuse(B, 1.0)
    assert said(s, 1.0)[0].wants == wants[C]
    s.core.refuse(C, 1.0)
    assert said(s, 1.0) == [LimitState("llm", None, None, 0.0)]


def test_who_waits_for_more_than_ever_passes_is_hopeless() -> None:
    rate = Rate(requests=9, tokens=5, per=10)
    s = lined([{"llm": 1}, {"llm": 1}], {"llm": rate}, amounts={A: {"llm": {"tokens": 5}}, B: {"llm": {"tokens": 5}}})
    assert s.taken() == [A]
    assert lines_of(s).is_hopeless is False
    rate.resize(tokens=4)
    s.core.reconsider()
    assert s.taken(now=1) == []
    assert lines_of(s).is_hopeless is True
    assert s.core.next_at() == 10
    assert s.core.rates["llm"].opens_at(0.0, {"tokens": 5}, 1.0) == math.inf
    assert [node for node, _, _ in lines_of(s).first_in_line()] == [B]
    assert s.core.refuse(B, 1.0)
    assert not s.core.refuse(B, 1.0)
    assert s.states()[B] == "failed: error"


def test_a_node_waits_to_be_weighed_first() -> None:
    s = lined([{"llm": 1}, {"llm": 1}], {"llm": Rate(requests=9, tokens=10, per=10)}, weighed=[A, B])
    assert s.taken() == []
    assert s.core.has_judgements
    assert [s.core.next_to_weigh() for _ in range(3)] == [A, B, NOTHING]
    assert not s.core.has_judgements
    s.core.weighed(A, {"llm": {"tokens": 7.0}}, 1.0)
    s.core.weighed(A, {"llm": {"tokens": 1.0}}, 1.0)
    assert s.taken(now=1) == [A]
    s.core.weighed(B, None, 1.0)
    assert s.states() == ["running", "failed: error"]


def test_what_was_used_takes_the_place_of_what_was_expected() -> None:
    s = lined(
        [{"llm": 1}, {"llm": 1}],
        {"llm": Rate(tokens=10, per=10)},
        amounts={A: {"llm": {"tokens": 8}}, B: {"llm": {"tokens": 8}}},
    )
    assert s.taken() == [A]
    assert not s.core.settle_usage(B, 1, {"tokens": 1}, 1.0)
    assert not s.core.settle_usage(A, 2, {"tokens": 1}, 1.0)
    assert s.core.settle_usage(A, 1, {"tokens": 2, "usd": 5}, 1.0)
    assert s.core.can_start()
    assert s.taken(now=1) == [B]
    s.handle(AttemptSucceeded(A, 1), now=2)
    assert not s.core.settle_usage(A, 1, {"tokens": 1}, 2.0)


def test_overloads_and_successes_reach_the_limits_that_an_attempt_holds() -> None:
    adaptive, rate = Adaptive(initial=4), Rate(requests=9, per=10)
    s = lined([{"try": 1, "llm": 1}, {"try": 1}, {}], {"try": adaptive, "llm": rate})
    assert s.taken() == [A, B, C]
    # Not current, or without such a limit.
    s.core.overloaded(A, 2, 5.0, 1.0)
    s.core.overloaded(C, 1, 5.0, 1.0)
    s.handle(SlotsLent(B, 1))
    s.core.overloaded(B, 1, 5.0, 1.0)
    assert adaptive.size == 4
    assert adaptive.paused_until == -math.inf
    s.core.overloaded(A, 1, None, 1.0)
    assert adaptive.size < 4
    assert rate.paused_until == -math.inf
    s.core.overloaded(A, 1, 5.0, 1.0)
    assert rate.paused_until == 6.0

    growing = Adaptive(initial=1)
    s = lined([{"try": 1}, {"try": 1}], {"try": growing})
    assert s.taken() == [A]
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert growing.size > 1


def test_nobody_starts_during_a_pause_and_one_timer_ends_it() -> None:
    adaptive = Adaptive(initial=2)
    s = lined([{"try": 1}, {"try": 1}, {"try": 1, "db": 1}], {"try": adaptive, "db": 1})
    assert s.taken() == [A, B]
    s.core.overloaded(A, 1, 4.0, 1.0)
    for node in (A, B):
        s.handle(AttemptFailed(node, 1), now=1)
    assert s.taken() == []
    assert not s.core.can_start()
    assert s.core.timers_of(LIMIT_OPENS) == [s.core.limits["try"].number]  # type: ignore[attr-defined]
    s.handle(TimePassed(), now=5)
    assert s.core.can_start()
    assert s.taken() == [C]


def test_body_that_goes_on_takes_its_adaptive_slot_again_and_passes_no_rate_again() -> None:
    rate, adaptive = Rate(requests=1, per=10), Adaptive(initial=1)
    s = lined([{"llm": 1, "try": 1}, {"try": 1}], {"llm": rate, "try": adaptive}, priority=[1, 0])
    assert s.taken() == [A]
    s.handle(SlotsLent(A, 1))
    assert s.taken() == [B]
    assert s.handle(SlotsWanted(A, 1))
    assert s.core.take(1.0) == NOTHING
    s.handle(AttemptSucceeded(B, 1), now=2)
    free = s.core.free
    assert s.core.take(2.0) == -2 - A
    assert s.core.free == free - 1
    assert adaptive.used == 1
    assert rate.passed(2.0) == {"requests": 1}


class Faster(Limit):
    """Another run is always faster."""

    def acquire(self, weight: int = 1) -> bool:
        self.asked = getattr(self, "asked", 0) + 1
        return False


def test_a_run_that_is_always_too_late_tries_again_a_little_later() -> None:
    limit = Faster(1)
    s = lined([{"llm": 1, "db": 1}], {"llm": Rate(requests=1, per=10), "db": limit})
    # The judge knows no limit that fits and is not given.
    lines = lines_of(s)
    assert lines.take(None, 3.0) is None
    assert limit.asked == TRIES
    assert s.core.next_at() == 3.0 + RACE_PAUSE
    assert not lines.may_open()
    lines.opened(s.core.rates["llm"].number)
    assert lines.may_open()
    assert s.core.rates["llm"].limit.passed(3.0) == {"requests": 0}  # type: ignore[attr-defined]


def test_the_earlier_of_two_openings_is_watched() -> None:
    s = lined([{"llm": 1}], {"llm": Rate(requests=9, tokens=10, per=10)})
    lines, rate = lines_of(s), s.core.rates["llm"]
    lines._look_at(rate, 20.0, 1.0)
    lines._look_at(rate, 30.0, 1.0)
    assert (s.core.next_at(), rate.alarm_at) == (20.0, 20.0)
    lines._look_at(rate, 10.0, 1.0)
    assert (s.core.next_at(), rate.alarm_at) == (10.0, 10.0)
    lines._look_at(rate, math.inf, 10.0)
    assert rate.alarm_at == 10.0
    lines._look_at(rate, 40.0, 10.0)
    assert rate.alarm_at == 40.0


def test_leaving_the_line_lets_others_pass() -> None:
    rate = Rate(requests=1, per=10)
    s = lined([{"llm": 1}, {"llm": 1}], {"llm": rate})
    assert s.taken() == [A]
    assert s.core.rates["llm"].stands
    assert rate.stand(99, 5.0, {"requests": 1}, 5.0, looks_only=True) > 10.0
    lines_of(s).leave()
    assert not s.core.rates["llm"].stands
    assert rate.stand(99, 5.0, {"requests": 1}, 5.0, looks_only=True) == 10.0


@pytest.mark.parametrize(
    ("slots", "most"),
    [
        (None, 0),
        (Slots("db", 3), 3),
        (SharedSlots("db", Limit(4)), 4),
        (AdaptiveSlots("db", Adaptive(initial=2, maximum=7), 0), 7),
    ],
)
def test_the_most_that_one_attempt_can_have(slots: Slots | None, most: int) -> None:
    assert most_of(slots) == most


def test_looking_is_not_standing() -> None:
    rate = Rate(requests=1, per=10)
    mine, other = RateSlots("llm", rate, 0), RateSlots("llm", rate, 1)
    rate.acquire({"requests": 1}, 0.0)
    assert mine.opens_at(1.0, {"requests": 1}, 1.0) == 10.0
    assert other.opens_at(2.0, {"requests": 1}, 2.0) == 10.0
    assert not mine.stands
    assert mine.stand(1.0, {"requests": 1}, 1.0) == 10.0
    assert mine.stands
    assert other.opens_at(2.0, {"requests": 1}, 2.0) > 10.0


class Shut(Rate):
    """A rate at which another run is always faster."""

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1, who: int | None = None) -> int | None:
        return None


def test_who_does_not_pass_all_its_rates_passes_none_and_gets_no_slot() -> None:
    first = Rate(requests=5, per=10)
    s = lined([{"a": 1, "b": 1, "db": 1}], {"a": first, "b": Shut(requests=5, per=10), "db": 1})
    assert lines_of(s).take(None, 3.0) is None
    assert s.core.limits["db"].used == 0
    assert first.passed(3.0) == {"requests": 0}


def test_limits_that_open_by_time_are_told_apart_by_their_numbers() -> None:
    s = lined([{}], {"a": Rate(requests=1), "b": Adaptive(initial=1), "c": 3})
    for name in "def":
        s.core.add_limit(name, Rate(requests=1))
    numbers = [slots.number for slots in s.core.rates.values()]
    assert len(set(numbers)) == 4
    assert s.core.limits["b"].number not in numbers  # type: ignore[attr-defined]


def test_adaptive_limit_gives_nothing_during_a_pause() -> None:
    slots = AdaptiveSlots("try", Adaptive(initial=4), 0)
    slots.adaptive.acquire(1, 0.0)
    slots.adaptive.overloaded(0.0, 1.0, 5.0)
    slots.adaptive.release(1)
    slots.now = 2.0
    assert slots.fits(1)
    assert not slots.take(1)
    slots.now = 6.0
    assert slots.take(1)
    assert slots.used == 1


def test_what_follows_from_a_refusal_happens_at_its_instant() -> None:
    shape = shape_of([[], [A]], demand=[(("llm", 1),), ()])
    s = Arranged(shape, limits={"llm": Shut(requests=1)}, on_error="continue")
    assert s.core.refuse(A, 7.0)
    assert s.states() == ["failed: error", "skipped: upstream"]
    assert s.core.ended_at == [7.0, 7.0]
