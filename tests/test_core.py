"""
Every decision of the core, one by one: signals in, decisions out. All laws are checked after every signal.
"""

import math
import random
from typing import Any

import pytest

from antichain.adaptive import Adaptive
from antichain.core.capacity import AdaptiveSlots, SharedSlots, Slots
from antichain.core.groups import CANCEL, COLLECT, CONTINUE, DRAIN
from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import FALLING_BACK, FINAL, LAST_CHANCE, LATE, NOTHING, RETRYING, Kind, Past, Scheduler
from antichain.core.signals import (
    AttemptCancelled,
    AttemptFailed,
    AttemptPaused,
    AttemptReturned,
    AttemptSettled,
    AttemptSucceeded,
    BodySuspended,
    ConditionJudged,
    GroupClosed,
    GroupStopped,
    LimitResized,
    NodeEntered,
    RunBegun,
    RunCancelled,
    SlotsLent,
    SlotsWanted,
    TimePassed,
    handle,
)
from antichain.core.states import (
    BACKING_OFF,
    CANCELLED,
    CHECKPOINT,
    CONDITION,
    DEADLINE,
    ERROR,
    FAILED,
    FALLBACK,
    OUTPUT,
    PAUSED,
    PENDING,
    READY,
    RUN,
    SKIPPED,
    SUCCEEDED,
    UPSTREAM,
)
from antichain.core.timers import BACKOFF_ENDS, GRACE_ENDS, STARVATION_ENDS, Timers
from antichain.errors import InternalError
from antichain.limit import Limit
from antichain.policies import Backoff, Retry, Timeout
from antichain.policies.failure import Join
from antichain.record import status_of
from antichain.retry_budget import RetryBudget
from antichain.shape import INDEX_BITS, INDEX_MASK, TIE_MAX, Flag, shape_of
from tests.support.arranged import PLAIN, A, Arranged, B, C, D, E, again

# -- order and capacity


def test_node_starts_when_its_last_upstream_has_succeeded() -> None:
    """
    a ── b ── d
    └─── c ───┘
    """
    s = Arranged([[], [A], [A], [B, C]])
    assert s.taken() == [A]
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.taken() == [B, C]
    s.handle(AttemptSucceeded(C, 1), now=2)
    assert s.taken() == []
    s.handle(AttemptSucceeded(B, 1), now=3)
    assert s.taken() == [D]
    assert not s.core.has_ended
    assert s.handle(AttemptSucceeded(D, 1), now=4)
    assert s.core.has_ended
    assert s.states() == ["succeeded: output"] * 4
    assert (s.core.ready_at, s.core.started_at, s.core.ended_at) == ([0, 1, 1, 3], [0, 1, 1, 3], [1, 3, 2, 4])
    assert status_of(s.core) == "succeeded"


def test_empty_run_has_ended() -> None:
    s = Arranged([])
    assert s.core.has_ended
    assert s.taken() == []
    assert s.core.next_at() is None


def test_instants_of_what_never_happened() -> None:
    s = Arranged([[], [A]])
    assert math.isnan(s.core.started_at[A])
    assert math.isnan(s.core.ready_at[B])
    assert math.isnan(s.core.ended_at[A])


def test_listener_hears_each_change_once() -> None:
    s = Arranged([[], [A]])
    s.taken()
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.heard == [("NodeReady", A, 0), ("NodeStarted", A, 0), ("NodeEnded", A, 1), ("NodeReady", B, 1)]


def test_max_concurrent_is_kept() -> None:
    s = Arranged([[], [], []], max_concurrent=2)
    assert s.taken() == [A, B]
    assert s.core.free == 0
    assert s.core.active == 2
    s.handle(AttemptSucceeded(B, 1))
    assert s.core.free == 1
    assert s.taken() == [C]


def test_limit_blocks_only_those_who_use_it() -> None:
    s = Arranged([[], [], [], []], uses={A: {"db": 1}, B: {"db": 1}}, limits={"db": 1}, priority={A: 1, B: 1})
    assert s.taken() == [A, C, D]
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [B]


def test_sole_limit_is_kept_and_given_back() -> None:
    """All nodes use one limit: the short way."""
    s = Arranged([[], [], []], uses={node: {"db": 2} for node in (A, B, C)}, limits={"db": 5})
    assert s.taken() == [A, B]
    assert s.core.limits["db"].used == 4
    s.handle(AttemptSucceeded(A, 1))
    assert s.core.limits["db"].used == 2
    assert s.taken() == [C]


def test_weights_are_taken_together_or_not_at_all() -> None:
    s = Arranged([[], [], []], uses={A: {"cpu": 2, "db": 1}, B: {"cpu": 2}, C: {"db": 1}}, limits={"cpu": 3, "db": 1})
    assert s.taken() == [A]
    assert {name: slots.used for name, slots in s.core.limits.items()} == {"cpu": 2, "db": 1}
    s.handle(AttemptFailed(A, 1))
    assert {name: slots.used for name, slots in s.core.limits.items()} == {"cpu": 0, "db": 0}


def test_sole_demand_on_two_limits_is_kept() -> None:
    """All nodes take both: what fits the one and not the other does not start, and takes nothing."""
    uses = {node: {"cpu": 2, "db": 1} for node in (A, B, C)}
    for limits, blocked in (({"cpu": 3, "db": 9}, "db"), ({"cpu": 9, "db": 1}, "cpu")):
        s = Arranged([[], [], []], uses=uses, limits=limits)
        assert s.taken() == [A]
        assert s.core.limits[blocked].used == uses[A][blocked]
        s.handle(AttemptSucceeded(A, 1))
        assert s.taken() == [B]


def test_smaller_weight_passes_a_larger_one_that_does_not_fit() -> None:
    """Work-conserving: what fits starts, even behind a better node that does not."""
    s = Arranged([[], [], []], uses={A: {"cpu": 2}, B: {"cpu": 2}, C: {"cpu": 1}}, limits={"cpu": 3}, priority={B: 1})
    assert s.taken() == [B, C]


def test_priority_comes_first_then_the_longer_path_then_successors_then_definition() -> None:
    s = Arranged(
        [[], [], [], [], [], [D], [D]],
        priority={E: 1},
        cost={C: 5.0, A: 3.0, B: 3.0, D: 2.0, 5: 1.0, 6: 1.0},
        max_concurrent=1,
    )
    order = []
    while not s.core.has_ended:
        (node,) = s.taken()
        order.append(node)
        s.handle(AttemptSucceeded(node, 1))
    assert order == [E, C, D, A, B, 5, 6]


def test_ancestor_inherits_the_priority_of_what_waits_for_it() -> None:
    """
    a ── b(priority 5)
    c
    """
    s = Arranged([[], [A], []], priority={B: 5, C: 3}, max_concurrent=1)
    assert s.taken() == [A]
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [B]


def test_best_head_of_several_queues_is_taken() -> None:
    s = Arranged(
        [[], [], [], []],
        uses={A: {"x": 1}, B: {"y": 1}, C: {"x": 1}},
        limits={"x": 2, "y": 2},
        priority={D: 2, B: 3, C: 1},
        max_concurrent=1,
    )
    order = []
    while not s.core.has_ended:
        (node,) = s.taken()
        order.append(node)
        s.handle(AttemptSucceeded(node, 1))
    assert order == [B, D, C, A]


def test_node_that_becomes_ready_later_may_come_before_what_was_ready_from_the_start() -> None:
    """
    a ── d(priority 9)        b and c wait from the start
    """
    s = Arranged([[], [], [], [A]], priority={D: 9}, max_concurrent=1)
    assert s.taken() == [A]
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [D]
    s.handle(AttemptSucceeded(D, 1))
    assert s.taken() == [B]


def test_resize_of_a_limit_lets_more_start_and_interrupts_nobody() -> None:
    s = Arranged([[]] * 4, uses={node: {"db": 1} for node in range(4)}, limits={"db": 1})
    assert s.taken() == [A]
    s.handle(LimitResized("db", 3))
    assert s.taken() == [B, C]
    s.handle(LimitResized("db", 1))
    s.handle(AttemptSucceeded(A, 1))
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == []
    s.handle(AttemptSucceeded(C, 1))
    assert s.taken() == [D]
    assert s.asked() == []


def test_resize_of_max_concurrent() -> None:
    s = Arranged([[]] * 4, max_concurrent=1)
    assert s.taken() == [A]
    s.handle(LimitResized(None, 3))
    assert s.taken() == [B, C]
    s.handle(LimitResized(None, 1))
    assert s.core.free == -2
    for node in (A, B, C):
        assert s.taken() == []
        s.handle(AttemptSucceeded(node, 1))
    assert s.taken() == [D]


def test_shared_limit_counts_what_other_runs_hold() -> None:
    limit = Limit(2)
    s = Arranged([[], []], uses={A: {"db": 1}, B: {"db": 1}}, limits={"db": limit})
    assert limit.acquire(1)
    assert s.taken() == [A]
    assert limit.used == 2
    limit.release(1)
    assert s.taken() == [B]
    s.handle(AttemptSucceeded(A, 1))
    s.handle(AttemptFailed(B, 1))
    assert limit.used == 0


def test_shared_limit_is_resized_for_all() -> None:
    limit = Limit(1)
    s = Arranged([[], []], uses={A: {"db": 1}, B: {"db": 1}}, limits={"db": limit})
    assert s.taken() == [A]
    s.handle(LimitResized("db", 2))
    assert limit.size == 2
    assert s.taken() == [B]


class Raced(Limit):
    """A limit of which another run takes the last unit between the look and the grasp."""

    __slots__ = ("races",)

    def acquire(self, weight: int = 1) -> bool:
        if self.races:
            self.races -= 1
            super().acquire(weight)
            return False
        return super().acquire(weight)


@pytest.mark.parametrize("alone", [True, False])
def test_lost_race_for_a_shared_limit_leaves_the_node_ready(alone: bool) -> None:
    limit = Raced(1)
    limit.races = 1
    others = {} if alone else {B: {"free": 1}}
    uses = {A: {"db": 1, "own": 1}, **others}
    s = Scheduler(
        shape_of([[]] * len(uses), demand=[tuple(sorted(uses[node].items())) for node in uses]),
        limits={"db": limit, "own": 1, "free": 1},
    )
    s.start(0.0)
    taken = [s.take(0.0) for _ in range(2)]
    assert taken == ([NOTHING, NOTHING] if alone else [B, NOTHING])
    # What it had taken of the others is given back.
    assert s.limits["own"].used == 0
    limit.release(1)
    assert s.take(0.0) == A
    assert s.limits["own"].used == 1


def test_given_outputs_end_their_nodes_before_the_run() -> None:
    """
    a ── b ── c
    """
    s = Arranged([[], [A], [B]], given=[B])
    assert s.states() == ["ready", "succeeded: outputs", "ready"]
    assert s.taken() == [A, C]
    assert s.core.attempts == [1, 0, 1]


# -- late and early


def test_late_result_of_old_attempt_is_ignored() -> None:
    s = Arranged([[]], retry={A: again()})
    s.taken()
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=1) == RETRYING
    s.handle(TimePassed(), now=2)
    assert s.taken() == [A]
    assert not s.handle(AttemptSucceeded(A, 1), now=3)
    assert s.handle(AttemptFailed(A, 1), now=3) == LATE
    assert not s.handle(AttemptCancelled(A, 1), now=3)
    assert s.state(A) == "running"
    assert s.handle(AttemptSucceeded(A, 2), now=4)


def test_second_ending_is_ignored() -> None:
    s = Arranged([[], [A]])
    s.taken()
    assert s.handle(AttemptSucceeded(A, 1), now=1)
    assert not s.handle(AttemptSucceeded(A, 1), now=2)
    assert s.handle(AttemptFailed(A, 1), now=2) == LATE
    assert s.core.ended_at[A] == 1


def test_result_of_what_never_started_is_ignored() -> None:
    s = Arranged([[], [A]])
    assert not s.handle(AttemptSucceeded(B, 1))
    assert not s.handle(AttemptSucceeded(A, 0))
    assert s.states() == ["ready", "pending"]


# -- retries


def test_backoff_holds_no_slot_and_has_exact_delays() -> None:
    s = Arranged([[], []], retry={A: again(3)}, priority={A: 1}, max_concurrent=1)
    assert s.taken() == [A]
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=10) == RETRYING
    assert s.state(A) == "backing off"
    assert s.core.next_at() == 11
    assert s.taken() == [B]
    s.handle(AttemptSucceeded(B, 1), now=10.5)
    assert s.handle(TimePassed(), now=10.9) == []
    assert s.taken() == []
    s.handle(TimePassed(), now=11)
    assert s.taken() == [A]
    assert s.core.attempts[A] == 2
    s.handle(AttemptFailed(A, 2, retryable=True), now=12)
    assert s.core.next_at() == 14
    s.handle(TimePassed(), now=14)
    s.taken()
    assert s.handle(AttemptFailed(A, 3, retryable=True), now=15) == FINAL
    assert s.state(A) == "failed: error"
    assert s.core.started_at[A] == 0
    assert s.core.ready_at[A] == 0


def test_delay_is_drawn_from_the_injected_randomness() -> None:
    backoff = Backoff(initial=4.0, factor=2.0, jitter=True)
    s = Arranged([[]], retry={A: Retry(attempts=2, backoff=backoff)}, seed=7)
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True), now=1)
    assert s.core.next_at() == 1 + random.Random(7).uniform(0, 4.0)


def test_delay_without_randomness_is_our_fault() -> None:
    s = Scheduler(shape_of([[]], retry={A: again()}))
    s.start(0.0)
    s.take(0.0)
    with pytest.raises(InternalError, match="no source of randomness"):
        s.failed(A, 1, 1.0, retryable=True)


@pytest.mark.parametrize(("after", "expected"), [(None, 1.0), (0.25, 1.0), (30.0, 30.0)])
def test_retry_after_prolongs_the_delay(after: float | None, expected: float) -> None:
    s = Arranged([[]], retry={A: again()})
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True, after=after), now=1)
    assert s.core.next_at() == 1 + expected


def test_what_is_not_retryable_fails_at_once() -> None:
    s = Arranged([[], []], retry={A: again()})
    s.taken()
    assert s.handle(AttemptFailed(A, 1, retryable=False), now=1) == FINAL
    assert s.state(A) == "failed: error"


def test_retryable_without_a_policy_fails_at_once() -> None:
    s = Arranged([[]])
    s.taken()
    assert s.handle(AttemptFailed(A, 1, retryable=True)) == FINAL


def test_listener_hears_of_a_retry() -> None:
    s = Arranged([[]], retry={A: again()})
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True), now=1)
    s.handle(TimePassed(), now=2)
    s.taken()
    assert s.heard[2:] == [("NodeRetrying", A, 1), ("NodeReady", A, 2), ("NodeStarted", A, 2)]
    assert s.attempts == [1, 1, 1, 2, 2]
    assert s.events[2].delay == 1


# -- timeouts


def test_attempt_whose_time_is_up_is_asked_to_end_and_fails() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0)})
    s.taken()
    assert s.core.next_at() is None
    s.handle(BodySuspended(A, 1))
    assert s.core.next_at() == 2
    assert s.handle(TimePassed(), now=2) == []
    assert s.asked() == [(A, 1)]
    assert s.core.has_expired(A, 1)
    assert not s.core.was_interrupted(A, 1)
    # What it returns now came too late.
    assert not s.handle(AttemptSucceeded(A, 1), now=2.5)
    assert s.handle(AttemptFailed(A, 1), now=2.5) == FINAL
    assert s.state(A) == "failed: timeout"


def test_attempt_that_ends_before_its_timer_fires_has_succeeded() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0)})
    s.taken()
    s.handle(BodySuspended(A, 1))
    assert s.handle(AttemptSucceeded(A, 1), now=2)
    assert s.core.next_at() is None
    assert s.handle(TimePassed(), now=3) == []


def test_attempt_that_does_not_end_in_grace_is_given_up_and_stays_charged() -> None:
    s = Arranged([[], []], timeout={A: Timeout(attempt=2.0)}, max_concurrent=1, grace=3.0, on_error="continue")
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=2)
    assert s.core.next_at() == 5
    assert s.handle(TimePassed(), now=5) == [(A, 1)]
    assert s.handle(AttemptFailed(A, 1), now=5) == FINAL
    assert s.state(A) == "failed: timeout"
    assert s.taken() == []
    assert (A, 1) in s.core.abandoned
    assert s.core.abandoned_nodes == {A: 1}
    s.handle(AttemptReturned(A, 1), now=6)
    assert s.taken() == [B]
    assert not s.core.abandoned
    assert s.core.abandoned_nodes == {A: 1}


def test_second_return_of_an_abandoned_attempt_changes_nothing() -> None:
    s = Arranged(
        [[], []], timeout={A: Timeout(attempt=1.0)}, flags={A: Flag.THREAD}, uses={A: {"db": 1}}, limits={"db": 1}
    )
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    s.handle(AttemptReturned(A, 1), now=2)
    s.handle(AttemptReturned(A, 1), now=2)
    assert s.core.limits["db"].used == 0


def test_thread_whose_time_is_up_is_given_up_at_once() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0)}, flags={A: Flag.THREAD})
    s.taken()
    s.handle(BodySuspended(A, 1))
    assert s.handle(TimePassed(), now=2) == [(A, 1)]
    # Told all the same: its context says that it is cancelled.
    assert s.asked() == [(A, 1)]


def test_abandoned_attempt_is_not_repeated_unless_that_is_safe() -> None:
    for flags, verdict in ((Flag.THREAD, FINAL), (Flag.THREAD | Flag.REPEAT_SAFE, RETRYING)):
        s = Arranged([[]], timeout={A: Timeout(attempt=2.0)}, flags={A: flags}, retry={A: again()})
        s.taken()
        s.handle(BodySuspended(A, 1))
        s.handle(TimePassed(), now=2)
        assert s.handle(AttemptFailed(A, 1, retryable=True), now=2) == verdict


def test_coroutine_that_ended_in_time_for_its_grace_is_repeated() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0)}, retry={A: again()})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=2)
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=3) == RETRYING
    # The second attempt has all its time.
    s.handle(TimePassed(), now=4)
    s.taken()
    s.handle(BodySuspended(A, 2))
    assert s.core.next_at() == 6
    assert not s.core.has_expired(A, 2)


def test_timeout_of_an_ended_attempt_does_not_hit_the_next() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=10.0)}, retry={A: again()})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(AttemptFailed(A, 1, retryable=True), now=8)
    s.handle(TimePassed(), now=9)
    s.taken()
    s.handle(BodySuspended(A, 2))
    assert s.core.next_at() == 19
    s.handle(TimePassed(), now=10)
    assert not s.core.has_expired(A, 2)


def test_time_is_up_once_however_often_it_was_armed() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0)})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=2)
    assert s.asked() == [(A, 1)]


def test_grace_unless_said_otherwise() -> None:
    assert Scheduler(shape_of([[]])).grace == 5.0


def test_late_arming_is_ignored() -> None:
    s = Arranged([[], []], timeout={A: Timeout(attempt=10.0)}, retry={A: again()})
    s.handle(BodySuspended(A, 0))
    s.taken()
    s.handle(BodySuspended(B, 1))
    assert s.core.next_at() is None
    s.handle(AttemptFailed(A, 1, retryable=True), now=8)
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=9)
    s.taken()
    s.handle(BodySuspended(A, 1))
    assert s.core.next_at() is None


def test_total_timeout_counts_attempts_and_backoffs_but_not_waiting() -> None:
    """Attempts of 3 s, pauses of 1 and 2 s, a wait for a slot between: 10 s in all."""
    s = Arranged([[], []], timeout={A: Timeout(total=10.0)}, retry={A: again(4)}, max_concurrent=1, priority={A: 1})
    s.taken()
    assert s.core.attempt_limit(A) == 10
    s.handle(AttemptFailed(A, 1, retryable=True), now=3)
    assert s.taken() == [B]
    s.handle(TimePassed(), now=4)
    s.handle(AttemptSucceeded(B, 1), now=50)
    assert s.taken() == [A]
    assert s.core.attempt_limit(A) == 6
    assert s.core.expires_at(A) == 56
    s.handle(BodySuspended(A, 2))
    assert s.core.next_at() == 56
    s.handle(AttemptFailed(A, 2, retryable=True), now=52)
    s.handle(TimePassed(), now=54)
    s.taken(now=54)
    # 3 + 1 + 2 + 2 are gone.
    assert s.core.attempt_limit(A) == 2
    # The next pause would be 4 s: there is no time for another attempt.
    assert s.handle(AttemptFailed(A, 3, retryable=True), now=55) == FINAL


def test_last_attempt_may_have_little_time() -> None:
    s = Arranged([[]], timeout={A: Timeout(total=4.25)}, retry={A: again()})
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True), now=3)
    s.handle(TimePassed(), now=4)
    s.taken()
    assert s.core.attempt_limit(A) == 0.25


def test_no_attempt_starts_when_the_total_would_be_over() -> None:
    for total, verdict in ((5.0, FINAL), (5.001, RETRYING)):
        s = Arranged([[]], timeout={A: Timeout(total=total)}, retry={A: again()})
        s.taken()
        assert s.handle(AttemptFailed(A, 1, retryable=True), now=4) == verdict


def test_shorter_of_attempt_and_total_holds() -> None:
    s = Arranged([[], []], timeout={A: Timeout(attempt=3.0, total=9.0), B: Timeout(attempt=9.0, total=3.0)})
    s.taken()
    assert [s.core.attempt_limit(node) for node in (A, B)] == [3.0, 3.0]
    assert Arranged([[]]).core.attempt_limit(A) is None
    assert Arranged([[]]).core.expires_at(A) is None


# -- fallbacks


def test_fallback_makes_the_node_succeed() -> None:
    s = Arranged([[], [A]], flags={A: Flag.FALLBACK})
    s.taken()
    assert s.handle(AttemptFailed(A, 1), now=1) == FALLING_BACK
    assert s.core.is_falling_back(A)
    assert s.state(A) == "running"
    # The attempt itself cannot end a second time.
    assert not s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.handle(AttemptSucceeded(A, 1, FALLBACK), now=2)
    assert s.state(A) == "succeeded: fallback"
    assert not s.core.is_falling_back(A)
    assert s.taken() == [B]
    assert status_of(s.core) == "succeeded"


def test_fallback_cannot_end_what_did_not_fail() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK})
    s.taken()
    assert not s.handle(AttemptSucceeded(A, 1, FALLBACK))
    assert s.state(A) == "running"


def test_fallback_that_fails_is_the_end() -> None:
    s = Arranged([[], [A]], flags={A: Flag.FALLBACK}, retry={A: again()})
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.handle(AttemptFailed(A, 1, retryable=True, final=True), now=2) == FINAL
    assert s.state(A) == "failed: error"
    assert not s.core.is_falling_back(A)


def test_failure_while_falling_back_is_the_fallbacks() -> None:
    """Even if the caller does not say so."""
    s = Arranged([[]], flags={A: Flag.FALLBACK}, retry={A: again()})
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=2) == FINAL


def test_final_failure_does_not_fall_back() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK}, retry={A: again()})
    s.taken()
    assert s.handle(AttemptFailed(A, 1, retryable=True, final=True)) == FINAL


def test_fallback_comes_after_the_last_attempt() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK}, retry={A: again(2)})
    s.taken()
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=1) == RETRYING
    s.handle(TimePassed(), now=2)
    s.taken()
    assert s.handle(AttemptFailed(A, 2, retryable=True), now=3) == FALLING_BACK


def test_fallback_has_the_attempts_time_again() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK}, timeout={A: Timeout(attempt=2.0)}, grace=1.0)
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=2)
    s.asked()
    assert s.handle(AttemptFailed(A, 1), now=2.5) == FALLING_BACK
    assert not s.core.has_expired(A, 1)
    # The grace of the attempt, until 3, is not the fallback's.
    assert s.handle(TimePassed(), now=3) == []
    assert s.core.next_at() == 4.5
    s.handle(TimePassed(), now=4.5)
    assert s.asked() == [(A, 1)]
    assert s.handle(TimePassed(), now=5.5) == [(A, 1)]
    assert s.handle(AttemptFailed(A, 1), now=5.5) == FINAL
    assert s.state(A) == "failed: timeout"


def test_fallback_of_a_thread_may_be_interrupted() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK | Flag.THREAD}, timeout={A: Timeout(attempt=2.0)}, grace=1.0)
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.handle(TimePassed(), now=3) == []
    assert s.asked() == [(A, 1)]
    assert s.handle(TimePassed(), now=4) == [(A, 1)]


def test_fallback_that_outlives_an_abandoned_attempt_is_given_up_too() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK}, timeout={A: Timeout(attempt=2.0)}, grace=1.0)
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=2)
    assert s.handle(TimePassed(), now=3) == [(A, 1)]
    assert s.handle(AttemptFailed(A, 1), now=3) == FALLING_BACK
    s.handle(TimePassed(), now=5)
    assert s.handle(TimePassed(), now=6) == [(A, 1)]
    s.handle(AttemptFailed(A, 1), now=6)
    assert len(s.core.abandoned) == 1
    s.handle(AttemptReturned(A, 1), now=7)
    assert not s.core.abandoned


# -- joins, skips, conditions


def test_failure_skips_everything_behind_it() -> None:
    """
    a ── b ── c        d
    """
    s = Arranged([[], [A], [B], []], on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.states() == ["failed: error", "skipped: upstream", "skipped: upstream", "running"]
    s.handle(AttemptSucceeded(D, 1), now=2)
    assert status_of(s.core) == "partial"
    assert s.core.ended_at == [1, 1, 1, 2]


def test_any_starts_with_the_first_success() -> None:
    s = Arranged([[], [], [A, B]], join={C: Join.ANY}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.state(C) == "pending"
    s.handle(AttemptSucceeded(B, 1), now=2)
    assert s.taken() == [C]
    s.handle(AttemptSucceeded(C, 1), now=3)
    assert s.core.has_ended


def test_any_starts_once_only() -> None:
    s = Arranged([[], [], [A, B]], join={C: Join.ANY})
    s.taken()
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.taken() == [C]
    s.handle(AttemptSucceeded(B, 1), now=2)
    assert s.taken() == []
    assert s.core.ready_at[C] == 1


def test_any_is_skipped_when_none_is_left() -> None:
    s = Arranged([[], [], [A, B], [C]], join={C: Join.ANY}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    s.handle(AttemptFailed(B, 1))
    assert s.states()[2:] == ["skipped: upstream", "skipped: upstream"]


def test_any_and_all_done_without_upstream_start_at_once() -> None:
    s = Arranged([[], []], join={A: Join.ANY, B: Join.ALL_DONE})
    assert s.taken() == [A, B]


def test_all_done_starts_however_its_upstream_ended() -> None:
    """
    a(fails) ── b(skipped) ── d(all_done)
    c ────────────────────────┘
    """
    s = Arranged([[], [A], [], [B, C]], join={D: Join.ALL_DONE}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.state(D) == "pending"
    s.handle(AttemptSucceeded(C, 1))
    assert s.taken() == [D]


def test_skip_travels_through_all_but_not_through_all_done() -> None:
    """
    a ── b ── c(all_done) ── d
    """
    s = Arranged([[], [A], [B], [C]], join={C: Join.ALL_DONE}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.states()[1:] == ["skipped: upstream", "ready", "pending"]


def test_condition_decides_before_the_node_waits_for_slots() -> None:
    s = Arranged([[], []], flags={A: Flag.WHEN, B: Flag.WHEN}, max_concurrent=1)
    assert s.taken() == []
    assert s.core.has_judgements
    assert s.core.next_to_judge() == A
    s.handle(ConditionJudged(A, True))
    assert s.taken() == [A]
    # Judging takes no slot.
    assert s.core.next_to_judge() == B
    assert s.core.next_to_judge() == NOTHING
    assert not s.core.has_judgements
    s.handle(ConditionJudged(B, True))
    assert s.taken() == []
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [B]


def test_false_condition_skips_and_the_skip_travels() -> None:
    s = Arranged([[], [A], []], flags={A: Flag.WHEN})
    s.core.next_to_judge()
    s.handle(ConditionJudged(A, False), now=1)
    assert s.states() == ["skipped: condition", "skipped: upstream", "ready"]
    assert s.core.attempts[A] == 0
    s.taken()
    s.handle(AttemptSucceeded(C, 1))
    assert status_of(s.core) == "succeeded"


def test_condition_that_raises_fails_the_node() -> None:
    s = Arranged([[], [A], []], flags={A: Flag.WHEN}, on_error="continue")
    s.core.next_to_judge()
    s.handle(ConditionJudged(A, None))
    assert s.states() == ["failed: error", "skipped: upstream", "ready"]
    assert s.core.root.failed


def test_verdict_that_nobody_asked_for_is_ignored() -> None:
    s = Arranged([[], []], flags={A: Flag.WHEN})
    s.handle(ConditionJudged(A, True))
    s.handle(ConditionJudged(B, False))
    assert s.taken() == [B]
    assert s.core.next_to_judge() == A
    s.handle(ConditionJudged(A, True))
    s.handle(ConditionJudged(A, False))
    assert s.taken() == [A]


def test_verdict_on_a_cancelled_node_is_ignored() -> None:
    s = Arranged([[]], flags={A: Flag.WHEN})
    s.core.next_to_judge()
    s.handle(RunCancelled())
    s.handle(ConditionJudged(A, True))
    assert s.states() == ["cancelled: run"]
    assert s.taken() == []


def test_condition_is_asked_once_for_all_attempts() -> None:
    s = Arranged([[]], flags={A: Flag.WHEN}, retry={A: again()})
    s.core.next_to_judge()
    s.handle(ConditionJudged(A, True))
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True), now=1)
    s.handle(TimePassed(), now=2)
    assert s.core.next_to_judge() == NOTHING
    assert s.taken() == [A]


# -- what the first failure means


def test_cancel_stops_everything() -> None:
    """
    a    b    c(backs off)    d(ready)    a ── e
    """
    s = Arranged([[], [], [], [], [A]], retry={C: again()}, max_concurrent=3, priority={A: 1, B: 1, C: 1})
    assert s.taken() == [A, B, C]
    s.handle(LimitResized(None, 2))
    s.handle(AttemptFailed(C, 1, retryable=True), now=1)
    assert s.handle(AttemptFailed(A, 1), now=2) == FINAL
    assert s.asked() == [(B, 1)]
    assert s.states() == ["failed: error", "running", "cancelled: run", "cancelled: run", "cancelled: run"]
    assert s.core.was_interrupted(B, 1)
    assert not s.core.was_interrupted(B, 2)
    s.handle(AttemptCancelled(B, 1), now=3)
    assert s.state(B) == "cancelled: run"
    assert s.core.has_ended
    assert status_of(s.core) == "failed"
    assert s.core.next_at() is None


def test_what_completes_although_it_was_asked_to_end_is_kept() -> None:
    s = Arranged([[], [], [B]])
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.handle(AttemptSucceeded(B, 1))
    assert s.states() == ["failed: error", "succeeded: output", "cancelled: run"]


def test_what_fails_when_it_is_asked_to_end_has_failed() -> None:
    s = Arranged([[], []], retry={B: again()}, flags={B: Flag.FALLBACK})
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.handle(AttemptFailed(B, 1, retryable=True)) == FINAL
    assert s.state(B) == "failed: error"


def test_drain_lets_running_nodes_finish_and_starts_nothing() -> None:
    """
    a    b ── d    c(ready)
    """
    s = Arranged([[], [], [], [B]], max_concurrent=2, on_error="drain")
    assert s.taken() == [B, A]
    s.handle(AttemptFailed(A, 1), now=1)
    assert s.asked() == []
    assert s.states() == ["failed: error", "running", "cancelled: run", "cancelled: run"]
    assert s.taken() == []
    assert s.handle(AttemptSucceeded(B, 1), now=2)
    assert s.core.has_ended
    assert status_of(s.core) == "failed"


def test_drain_makes_no_further_attempt() -> None:
    s = Arranged([[], [], []], retry={B: again(), C: again()}, on_error="drain")
    s.taken()
    s.handle(AttemptFailed(B, 1, retryable=True))
    s.handle(AttemptFailed(A, 1))
    assert s.state(B) == "failed: error"
    assert s.handle(AttemptFailed(C, 1, retryable=True)) == FINAL


def test_drain_still_falls_back() -> None:
    s = Arranged([[], []], flags={B: Flag.FALLBACK}, on_error="drain")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.handle(AttemptFailed(B, 1)) == FALLING_BACK


def test_cancel_after_drain_asks_what_runs_to_end() -> None:
    s = Arranged([[], []], on_error="drain")
    s.taken()
    s.handle(AttemptFailed(A, 1), now=1)
    s.handle(RunCancelled(), now=2)
    assert s.asked() == [(B, 1)]
    s.handle(AttemptCancelled(B, 1), now=3)
    assert status_of(s.core) == "failed"


def test_continue_stops_nothing() -> None:
    s = Arranged([[], [], [B]], on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == [C]
    s.handle(AttemptSucceeded(C, 1))
    assert status_of(s.core) == "partial"


def test_second_failure_asks_nobody_twice() -> None:
    s = Arranged([[], [], []])
    s.taken()
    s.handle(AttemptFailed(A, 1))
    s.handle(AttemptFailed(B, 1))
    assert s.asked() == [(B, 1), (C, 1)]


# -- cancellation and deadline


def test_cancelled_run() -> None:
    s = Arranged([[], [A]])
    s.taken()
    s.handle(RunCancelled(), now=1)
    assert s.asked() == [(A, 1)]
    assert s.handle(AttemptCancelled(A, 1), now=2)
    assert s.states() == ["cancelled: run", "cancelled: run"]
    assert status_of(s.core) == "cancelled"
    assert s.core.status_reason == RUN


def test_node_that_fails_because_it_is_cancelled_does_not_change_the_runs_status() -> None:
    s = Arranged([[]])
    s.taken()
    s.handle(RunCancelled(), now=1)
    s.handle(AttemptFailed(A, 1), now=2)
    assert status_of(s.core) == "cancelled"


def test_cancelled_run_whose_last_nodes_completed_has_succeeded() -> None:
    s = Arranged([[]])
    s.taken()
    s.handle(RunCancelled(), now=1)
    s.handle(AttemptSucceeded(A, 1), now=2)
    assert status_of(s.core) == "succeeded"


def test_cancelling_a_run_that_has_ended_changes_nothing() -> None:
    s = Arranged([[]])
    s.taken()
    s.handle(AttemptSucceeded(A, 1), now=1)
    s.handle(RunCancelled(), now=2)
    assert s.core.status_reason == 0
    assert s.core.root.stopping == 0


def test_deadline_cancels_with_its_own_reason() -> None:
    s = Arranged([[], [A]], deadline=7.0, grace=1.0)
    s.taken()
    assert s.core.next_at() == 7
    s.handle(TimePassed(), now=6.9)
    assert s.asked() == []
    s.handle(TimePassed(), now=7)
    assert s.asked() == [(A, 1)]
    assert s.state(B) == "cancelled: deadline"
    assert s.handle(TimePassed(), now=8) == [(A, 1)]
    s.handle(AttemptCancelled(A, 1), now=8)
    assert s.state(A) == "cancelled: deadline"
    assert s.core.status_reason == DEADLINE
    assert status_of(s.core) == "failed"
    assert s.core.free == s.core.max_concurrent - 1


def test_deadline_of_the_last_node() -> None:
    s = Arranged([[]], deadline=7.0)
    s.taken()
    s.handle(TimePassed(), now=7)
    assert s.asked() == [(A, 1)]


def test_deadline_after_the_end_is_dead() -> None:
    s = Arranged([[]], deadline=7.0)
    s.taken()
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.core.next_at() is None


def test_first_reason_counts() -> None:
    s = Arranged([[], []], deadline=2.0)
    s.taken()
    s.handle(RunCancelled(), now=1)
    s.handle(TimePassed(), now=2)
    s.handle(AttemptCancelled(A, 1), now=3)
    s.handle(AttemptCancelled(B, 1), now=3)
    assert s.core.status_reason == RUN
    assert s.states() == ["cancelled: run"] * 2


def test_thread_that_is_cancelled_has_the_grace_too() -> None:
    s = Arranged([[]], flags={A: Flag.THREAD}, grace=4.0)
    s.taken()
    s.handle(RunCancelled(), now=1)
    assert s.asked() == [(A, 1)]
    assert s.core.next_at() == 5
    assert s.handle(TimePassed(), now=5) == [(A, 1)]


def test_attempt_that_expired_before_it_was_cancelled_has_failed() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=1.0)}, retry={A: again()})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(RunCancelled(), now=2)
    assert s.core.has_expired(A, 1)
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=2) == FINAL
    assert s.state(A) == "failed: timeout"


def test_timeout_of_an_attempt_that_is_being_cancelled_is_not_reported_twice() -> None:
    s = Arranged([[]], timeout={A: Timeout(attempt=3.0)}, grace=10.0)
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(RunCancelled(), now=1)
    assert s.core.next_at() == 11
    s.handle(TimePassed(), now=3)
    assert s.asked() == [(A, 1)]
    assert not s.core.has_expired(A, 1)


def test_unknown_on_error_is_refused() -> None:
    with pytest.raises(KeyError):
        Scheduler(shape_of([[]]), on_error="explode")


# -- starvation


def test_caller_is_told_of_nodes_that_fail_without_its_word() -> None:
    """Starved, or backing off when the run begins to drain."""
    s = starving(max_concurrent=1)
    s.core.look_for_starvation(1)
    s.handle(TimePassed(), now=6)
    assert s.core.failures == [B]
    assert s.core.wants_attention
    s = Arranged([[], []], retry={B: again()}, on_error="drain")
    s.taken()
    s.handle(AttemptFailed(B, 1, retryable=True))
    s.handle(AttemptFailed(A, 1))
    assert s.core.failures == [B]


def starving(on_error: str = "continue", **options: object) -> Arranged:
    """
    a(thread, never returns)    b waits for its slot
    """
    s = Arranged(
        [[], []],
        timeout={A: Timeout(attempt=1.0)},
        flags={A: Flag.THREAD},
        on_error=on_error,
        grace=5.0,
        **options,  # type: ignore[arg-type]
    )
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    return s


def test_what_only_abandoned_work_could_free_starves_after_grace() -> None:
    s = starving(max_concurrent=1)
    assert s.taken() == []
    s.core.look_for_starvation(1)
    s.core.look_for_starvation(2)
    assert s.core.next_at() == 6
    s.handle(TimePassed(), now=6)
    assert s.state(B) == "failed: starved"
    assert s.core.has_ended
    assert status_of(s.core) == "partial"


def test_starvation_of_a_named_limit() -> None:
    s = starving(uses={A: {"db": 1}, B: {"db": 2}}, limits={"db": 2})
    s.core.look_for_starvation(1)
    s.handle(TimePassed(), now=6)
    assert s.state(B) == "failed: starved"


def test_nobody_starves_whose_slots_are_not_held() -> None:
    """b waits for what another run holds, which will come back, not for what was abandoned."""
    elsewhere = Limit(1)
    elsewhere.acquire()
    s = Arranged(
        [[], []],
        timeout={A: Timeout(attempt=1.0)},
        flags={A: Flag.THREAD},
        uses={A: {"db": 1}, B: {"cpu": 1}},
        limits={"db": 1, "cpu": elsewhere},
        on_error="continue",
    )
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    s.core.look_for_starvation(1)
    assert s.core.next_at() is None
    s.handle(LimitResized("cpu", 2))
    assert s.taken() == [B]


def test_starvation_ends_with_the_run() -> None:
    s = starving(max_concurrent=1)
    s.core.look_for_starvation(1)
    s.handle(RunCancelled(), now=2)
    assert s.core.has_ended
    assert s.core.next_at() is None


def test_return_of_the_abandoned_attempt_ends_starvation() -> None:
    s = starving(max_concurrent=1)
    s.core.look_for_starvation(1)
    s.handle(AttemptReturned(A, 1), now=4)
    assert s.taken() == [B]
    s.core.look_for_starvation(4)
    assert s.core.next_at() is None
    s.handle(TimePassed(), now=6)
    assert s.state(B) == "running"


def test_grace_of_starvation_starts_anew_after_something_happened() -> None:
    s = starving(max_concurrent=1)
    s.core.look_for_starvation(1)
    s.handle(LimitResized(None, 2), now=3)
    s.core.look_for_starvation(3)
    s.handle(LimitResized(None, 1), now=4)
    s.core.look_for_starvation(4)
    s.handle(TimePassed(), now=6)
    assert s.state(B) == "ready"
    assert s.core.next_at() == 9


def test_while_something_runs_nobody_starves() -> None:
    s = Arranged(
        [[], [], []],
        timeout={A: Timeout(attempt=1.0)},
        flags={A: Flag.THREAD},
        uses={A: {"db": 1}, B: {"db": 1}},
        limits={"db": 1},
        on_error="continue",
    )
    assert s.taken() == [A, C]
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    s.core.look_for_starvation(1)
    assert s.core.next_at() is None
    s.handle(AttemptSucceeded(C, 1), now=100)
    s.core.look_for_starvation(100)
    assert s.core.next_at() == 105


def test_all_that_was_abandoned_counts_together() -> None:
    """Two units are held of three, and c needs two."""
    s = Arranged(
        [[], [], []],
        timeout={A: Timeout(1.0), B: Timeout(1.0)},
        flags={A: Flag.THREAD, B: Flag.THREAD},
        uses={A: {"db": 1}, B: {"db": 1}, C: {"db": 2}},
        limits={"db": 3},
        priority={A: 1, B: 1},
        on_error="continue",
    )
    assert s.taken() == [A, B]
    for node in (A, B):
        s.handle(BodySuspended(node, 1))
    s.handle(TimePassed(), now=1)
    for node in (A, B):
        s.handle(AttemptFailed(node, 1), now=1)
    s.core.look_for_starvation(1)
    assert s.core.next_at() == 6


def test_what_may_never_be_had_again() -> None:
    for slots in (Slots("db", 3), SharedSlots("db", Limit(3))):
        assert not slots.is_out_of_reach(weight=2, held=1)
        assert slots.is_out_of_reach(weight=2, held=2)
        # Too small for it, but not because of what is held.
        assert not slots.is_out_of_reach(weight=4, held=0)
        assert slots.is_too_small(4)
        assert not slots.is_too_small(3)


def test_silence_is_measured_from_the_last_sign_of_life() -> None:
    s = Arranged([[]], timeout={A: Timeout(idle=5.0)})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.core.beat(A, 1, 3.0)
    assert s.handle(TimePassed(), now=5) == []
    assert s.core.next_at() == 8
    assert not s.core.is_silent(A)
    s.handle(TimePassed(), now=8)
    assert s.asked() == [(A, 1)]
    assert s.core.is_silent(A)
    assert not s.core.waits_too_long(A)


def test_which_clock_was_over_of_a_node_that_waited_and_of_its_fallback() -> None:
    """It waited for too long; then its fallback, which has the attempt's time, takes too long as well."""
    s = Arranged([[]], timeout={A: Timeout(attempt=2.0, queue=1.0)}, flags={A: Flag.FALLBACK}, max_concurrent=1)
    s.handle(LimitResized(None, 0))
    assert s.taken() == []
    s.handle(TimePassed(), now=1)
    assert s.core.waits_too_long(A)
    s.handle(TimePassed(), now=3)
    assert s.core.has_expired(A, 0)
    assert not s.core.waits_too_long(A)


def heavy(**options: Any) -> Arranged:
    """a takes two units of a limit that has one left; b runs; c is behind a."""
    uses = {A: {"db": 2}, **options.pop("uses", {})}
    s = Arranged([[], [], [A]], uses=uses, limits={"db": 2}, on_error="continue", priority={B: 1}, **options)
    s.handle(LimitResized("db", 1))
    return s


def test_node_heavier_than_a_resized_limit_starves_once_nothing_else_happens() -> None:
    s = heavy()
    assert s.taken() == [B]
    s.core.look_for_starvation(0)
    assert s.core.next_at() is None
    s.handle(AttemptSucceeded(B, 1), now=10)
    s.core.look_for_starvation(10)
    assert s.core.next_at() == 15
    s.handle(TimePassed(), now=15)
    assert s.states() == ["failed: starved", "succeeded: output", "skipped: upstream"]
    assert s.core.failures == [A]
    assert s.core.short_of == {A: ("db", 1, 2)}


def test_limit_that_is_large_again_in_time_starves_nobody() -> None:
    for again_at in (3, None):
        s = heavy(max_concurrent=1)
        s.taken()
        s.handle(AttemptSucceeded(B, 1), now=1)
        s.core.look_for_starvation(1)
        if again_at is not None:
            s.handle(LimitResized("db", 2), now=again_at)
            assert s.taken() == [A]
            s.core.look_for_starvation(again_at)
            assert s.core.next_at() is None
        else:
            # Nobody has looked since.
            s.handle(LimitResized("db", 2), now=6)
            s.handle(TimePassed(), now=6)
            assert s.taken() == [A]
        assert not s.core.short_of


@pytest.mark.parametrize("what", ["backs off", "may wait", "asks"])
def test_while_something_may_happen_nobody_starves_for_want_of_size(what: str) -> None:
    s = heavy(retry={B: again()}, timeout={A: Timeout(queue=100.0)} if what == "may wait" else {})
    s.taken()
    if what == "backs off":
        s.handle(AttemptFailed(B, 1, retryable=True), now=1)
    elif what == "asks":
        s.handle(SlotsLent(B, 1), now=1)
    else:
        s.handle(AttemptSucceeded(B, 1), now=1)
    s.core.look_for_starvation(1)
    assert s.core.next_at() in (None, 2, 100)
    assert not s.core.timers_of(STARVATION_ENDS)


def test_while_a_fallback_is_made_nobody_starves_for_want_of_size() -> None:
    s = heavy(uses={B: {"db": 2}}, timeout={B: Timeout(queue=1.0)}, flags={B: Flag.FALLBACK})
    assert s.taken() == []
    s.handle(TimePassed(), now=1)
    assert s.core.overdue == [B]
    s.core.look_for_starvation(1)
    assert not s.core.timers_of(STARVATION_ENDS)
    s.handle(AttemptSucceeded(B, 0, FALLBACK), now=2)
    s.core.look_for_starvation(2)
    assert s.core.next_at() == 7


def test_what_a_body_runs_inside_starves_for_want_of_size_too() -> None:
    """b waits for a node inside, whose limit has become too small: both would wait for ever."""
    s = heavy()
    s.taken()
    s.handle(LimitResized("db", 2))
    group = s.core.open(B, 1, COLLECT)
    inside = s.handle(NodeEntered(group, Kind(s.core.demand_number((("db", 2),)))))
    s.handle(GroupClosed(group))
    s.handle(SlotsLent(B, 1))
    s.handle(LimitResized("db", 1))
    s.core.look_for_starvation(2)
    s.handle(TimePassed(), now=7)
    assert s.states()[A] == s.states()[inside] == "failed: starved"
    assert s.states()[B] == "running"


def test_body_that_lent_more_than_a_limit_has_now_starves() -> None:
    s = heavy()
    s.handle(LimitResized("db", 2))
    assert s.taken() == [B, A]
    s.handle(AttemptSucceeded(B, 1), now=1)
    s.handle(SlotsLent(A, 1))
    s.handle(LimitResized("db", 1))
    assert s.handle(SlotsWanted(A, 1))
    assert s.taken() == []
    s.core.look_for_starvation(2)
    s.handle(TimePassed(), now=7)
    assert s.asked() == [(A, 1)]
    s.handle(AttemptCancelled(A, 1), now=7)
    assert s.states() == ["failed: starved", "succeeded: output", "skipped: upstream"]
    assert s.core.short_of == {A: ("db", 1, 2)}


def test_adaptive_limit_is_too_small_for_nobody() -> None:
    """What is heavier than it is now passes alone."""
    slots = AdaptiveSlots("llm", Adaptive(initial=2), 0)
    assert not slots.is_too_small(3)
    assert SharedSlots("db", Limit(2)).is_too_small(3)


def test_shared_limit_starves_only_by_what_this_run_abandoned() -> None:
    """Others will give back what they hold; the abandoned attempt of this run will not."""
    for size, alarm in ((2, None), (1, 6.0)):
        limit = Limit(size)
        s = Arranged(
            [[], []],
            timeout={A: Timeout(attempt=1.0)},
            flags={A: Flag.THREAD},
            uses={A: {"db": 1}, B: {"db": 1}},
            limits={"db": limit},
            on_error="continue",
            max_concurrent=2,
        )
        assert s.core.take(0) == A
        if size == 2:
            limit.acquire(1)
        assert s.taken() == []
        s.handle(BodySuspended(A, 1))
        s.handle(TimePassed(), now=1)
        s.handle(AttemptFailed(A, 1), now=1)
        s.core.look_for_starvation(1)
        assert s.core.next_at() == alarm


def test_starvation_under_cancel_stops_the_run() -> None:
    s = Arranged(
        [[], [], [B]],
        timeout={A: Timeout(attempt=1.0)},
        flags={A: Flag.THREAD | Flag.FALLBACK},
        max_concurrent=1,
        priority={A: 1},
    )
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    s.handle(AttemptSucceeded(A, 1, FALLBACK), now=1)
    s.core.look_for_starvation(1)
    s.handle(TimePassed(), now=6)
    assert s.states() == ["succeeded: fallback", "failed: starved", "cancelled: run"]


# -- growth


def test_nodes_enter_while_the_run_goes_on() -> None:
    s = Arranged([[], []])
    assert s.taken() == [A, B]
    behind = s.handle(NodeEntered(s.core.root, Kind(), upstream=[A]))
    beside = s.handle(NodeEntered(s.core.root, Kind(), upstream=[]))
    assert (behind, beside) == (C, D)
    for instants in (s.core.ready_at, s.core.started_at, s.core.ended_at):
        assert math.isnan(instants[behind])
    assert s.taken() == [D]
    s.handle(AttemptSucceeded(A, 1), now=1)
    assert s.taken() == [C]
    for node in (B, C, D):
        assert not s.core.has_ended
        s.handle(AttemptSucceeded(node, 1), now=2)
    assert s.core.has_ended


@pytest.mark.parametrize(
    ("join", "endings", "expected"),
    [
        (Join.ALL, "ss", "ready"),
        (Join.ALL, "s-", "pending"),
        (Join.ALL, "sf", "skipped: upstream"),
        (Join.ALL, "f-", "skipped: upstream"),
        (Join.ANY, "s-", "ready"),
        (Join.ANY, "sf", "ready"),
        (Join.ANY, "ss", "ready"),
        (Join.ANY, "f-", "pending"),
        (Join.ANY, "ff", "skipped: upstream"),
        (Join.ANY, "", "ready"),
        (Join.ALL_DONE, "sf", "ready"),
        (Join.ALL_DONE, "f-", "pending"),
        (Join.ALL_DONE, "ff", "ready"),
        (Join.ALL, "", "ready"),
    ],
)
def test_newcomer_follows_from_what_has_ended_already(join: Join, endings: str, expected: str) -> None:
    s = Arranged([[] for _ in endings] + [[]], on_error="continue")
    s.taken()
    for node, ending in enumerate(endings):
        if ending == "s":
            s.handle(AttemptSucceeded(node, 1))
        elif ending == "f":
            s.handle(AttemptFailed(node, 1))
    node = s.handle(NodeEntered(s.core.root, Kind(), upstream=range(len(endings)), join=join))
    assert s.state(node) == expected


def test_newcomer_behind_several_waits_for_the_rest() -> None:
    s = Arranged([[], [], []], on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    any_of = s.handle(NodeEntered(s.core.root, Kind(), upstream=[A, B, C], join=Join.ANY))
    done = s.handle(NodeEntered(s.core.root, Kind(), upstream=[A, B, C], join=Join.ALL_DONE))
    s.handle(AttemptFailed(B, 1))
    assert (s.state(any_of), s.state(done)) == ("pending", "pending")
    s.handle(AttemptFailed(C, 1))
    assert (s.state(any_of), s.state(done)) == ("skipped: upstream", "ready")


def test_growth_leaves_the_plan_as_it_is() -> None:
    shape = shape_of([[], [A]], timeout={A: Timeout(1.0)}, followers={})
    before = repr(shape)
    s = Arranged(shape)
    s.taken()
    demand = s.core.demand_number(())
    s.handle(NodeEntered(s.core.root, Kind(demand, priority=9, retry=again(), timeout=Timeout(2.0)), upstream=[A, B]))
    assert repr(shape) == before
    assert s.core.priority[A] == 9


def test_urgent_newcomer_lifts_its_unfinished_ancestors() -> None:
    """
    a ── b ── newcomer(priority 7)        c(priority 3)
    """
    s = Arranged([[], [A], []], priority={C: 3}, max_concurrent=1, given=[])
    node = s.handle(NodeEntered(s.core.root, Kind(priority=7), upstream=[B]))
    order = []
    while not s.core.has_ended:
        (taken,) = s.taken()
        order.append(taken)
        s.handle(AttemptSucceeded(taken, 1))
    assert order == [A, B, node, C]


def test_newcomer_of_ordinary_priority_lifts_what_had_less() -> None:
    s = Arranged([[], []], priority={A: -5, B: -1}, max_concurrent=1)
    s.handle(NodeEntered(s.core.root, Kind(priority=0), upstream=[A]))
    assert s.core.priority[A] == 0
    assert s.taken() == [A]


def test_newcomer_lifts_no_one_who_is_more_urgent() -> None:
    s = Arranged([[]], priority={A: 5})
    s.handle(NodeEntered(s.core.root, Kind(priority=2), upstream=[A]))
    assert s.core.priority[A] == 5


def test_lifted_node_is_judged_once() -> None:
    s = Arranged([[], []], flags={A: Flag.WHEN, B: Flag.WHEN})
    s.handle(NodeEntered(s.core.root, Kind(priority=3), upstream=[B]))
    assert s.core.next_to_judge() == B
    s.handle(NodeEntered(s.core.root, Kind(priority=4), upstream=[B]))
    assert s.core.next_to_judge() == A
    assert s.core.next_to_judge() == NOTHING
    s.handle(ConditionJudged(B, True))
    s.handle(NodeEntered(s.core.root, Kind(priority=5), upstream=[B]))
    assert s.core.next_to_judge() == NOTHING
    assert s.taken() == [B]


def test_newcomer_of_another_demand_has_its_own_limit() -> None:
    s = Arranged([[]], limits={"db": 1})
    number = s.core.demand_number((("db", 1),))
    assert s.core.demand_number((("db", 1),)) == number
    assert s.core.demand_of(number) == (("db", 1),)
    first = s.handle(NodeEntered(s.core.root, Kind(number)))
    second = s.handle(NodeEntered(s.core.root, Kind(number)))
    assert s.taken() == [first, A]
    s.handle(AttemptSucceeded(first, 1))
    assert s.taken() == [second]


def test_order_breaks_ties_among_newcomers() -> None:
    s = Arranged([[]], max_concurrent=1)
    s.taken()
    nodes = [s.handle(NodeEntered(s.core.root, Kind(), order=order)) for order in (3, 1, 2)]
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [nodes[1]]


def test_next_node_is_known_before_it_enters() -> None:
    s = Arranged([[]])
    assert s.core.next_node == B
    assert s.handle(NodeEntered(s.core.root, Kind())) == B


def test_group_is_reported_when_closed_and_its_last_member_has_ended() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    assert s.taken() == [A]
    group = s.core.open(A, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(AttemptSucceeded(node, 1))
    assert s.completed() == []
    s.handle(GroupClosed(group))
    s.handle(GroupClosed(group))
    assert s.completed() == [group]
    assert s.handle(AttemptSucceeded(A, 1))
    assert s.core.has_ended


def test_group_closed_first_is_reported_with_its_last_ending() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    nodes = [s.handle(NodeEntered(group, Kind())) for _ in range(2)]
    s.handle(GroupClosed(group))
    s.taken()
    s.handle(AttemptSucceeded(nodes[1], 1))
    assert s.completed() == []
    s.handle(AttemptSucceeded(nodes[0], 1))
    assert s.completed() == [group]


def test_empty_group_is_reported_when_it_is_closed() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    s.handle(GroupClosed(group))
    assert s.completed() == [group]


def test_nothing_enters_a_closed_group() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    s.handle(GroupClosed(group))
    with pytest.raises(InternalError, match="group of node 0 is closed"):
        s.handle(NodeEntered(group, Kind()))


def test_container_charges_no_slot_and_its_members_do() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER}, max_concurrent=1)
    assert s.taken() == [A, B]
    group = s.core.open(A, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    assert s.taken() == []
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == [node]


def test_containers_start_before_everything_that_costs_a_slot() -> None:
    """What they bring may be more urgent than all that waits."""
    s = Arranged([[], [], []], flags={B: Flag.CONTAINER, C: Flag.CONTAINER}, priority={A: 9, C: 1})
    assert s.taken() == [C, B, A]


@pytest.mark.parametrize(
    ("mode", "others"),
    [
        (CANCEL, ["running", "cancelled: run", "cancelled: run"]),
        (DRAIN, ["running", "cancelled: run", "cancelled: run"]),
        (CONTINUE, ["running", "skipped: upstream", "ready"]),
        (COLLECT, ["running", "skipped: upstream", "ready"]),
    ],
)
def test_failure_inside_a_group_stops_the_group_by_its_mode_and_nothing_else(mode: int, others: list[str]) -> None:
    """
    container a: first ── behind    beside(running)    waiting        b outside
    """
    s = Arranged([[], []], flags={A: Flag.CONTAINER}, max_concurrent=3)
    s.taken()
    group = s.core.open(A, 1, mode)
    first = s.handle(NodeEntered(group, Kind(priority=2)))
    beside = s.handle(NodeEntered(group, Kind(priority=1)))
    behind = s.handle(NodeEntered(group, Kind(), upstream=[first]))
    waiting = s.handle(NodeEntered(group, Kind()))
    assert s.taken() == [first, beside]
    s.handle(LimitResized(None, 2))
    s.handle(AttemptFailed(first, 1))
    assert [s.state(node) for node in (beside, behind, waiting)] == others
    assert s.asked() == ([(beside, 1)] if mode == CANCEL else [])
    assert s.state(B) == "running"
    assert group.failed
    assert not s.core.root.failed
    assert s.core.status_reason == 0


def test_failure_of_the_container_itself_is_one_of_the_run() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    s.handle(GroupClosed(group))
    s.taken()
    s.handle(AttemptFailed(node, 1))
    assert s.completed() == [group]
    assert s.handle(AttemptFailed(A, 1)) == FINAL
    assert s.asked() == [(B, 1)]
    assert s.core.root.failed


def test_container_is_retried_with_a_new_group() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, retry={A: again()})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    s.handle(GroupClosed(group))
    s.taken()
    s.handle(AttemptFailed(node, 1), now=1)
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=1) == RETRYING
    s.handle(TimePassed(), now=2)
    assert s.taken() == [A]
    second = s.core.open(A, 2, CANCEL)
    assert s.state(s.handle(NodeEntered(second, Kind()))) == "ready"


def test_timeout_of_a_container_stops_what_is_in_it() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, timeout={A: Timeout(attempt=2.0)})
    s.taken()
    s.handle(BodySuspended(A, 1))
    group = s.core.open(A, 1, CONTINUE)
    running = s.handle(NodeEntered(group, Kind()))
    s.taken()
    waiting = s.handle(NodeEntered(group, Kind(), upstream=[running]))
    s.handle(TimePassed(), now=2)
    # Nobody asks a container itself: there is no body to interrupt.
    assert s.asked() == [(running, 1)]
    assert s.state(waiting) == "cancelled: timeout"
    assert s.core.was_interrupted(running, 1)
    s.handle(AttemptCancelled(running, 1), now=3)
    assert s.state(running) == "cancelled: timeout"
    assert s.completed() == [group]
    assert s.core.has_expired(A, 1)
    assert s.handle(AttemptFailed(A, 1), now=3) == FINAL
    assert s.state(A) == "failed: timeout"


def test_cancelled_container_cancels_what_is_in_it() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, grace=2.0)
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(RunCancelled(DEADLINE), now=1)
    assert s.asked() == [(node, 1)]
    assert s.core.was_interrupted(A, 1)
    assert s.core.next_at() == 3
    s.handle(AttemptCancelled(node, 1), now=2)
    assert s.completed() == [group]
    assert s.handle(AttemptCancelled(A, 1), now=2)
    assert s.states() == ["cancelled: deadline"] * 2
    assert group.cancelled


def test_what_enters_a_stopped_group_is_cancelled_at_once() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    s.handle(NodeEntered(group, Kind()))
    s.handle(GroupStopped(group, DEADLINE))
    node = s.handle(NodeEntered(group, Kind()))
    assert s.state(node) == "cancelled: deadline"


@pytest.mark.parametrize("flags", [Flag(0), Flag.CONTAINER])
def test_group_opened_by_what_is_being_cancelled_is_stopped(flags: Flag) -> None:
    s = Arranged([[]], flags={A: flags})
    s.taken()
    s.handle(RunCancelled(DEADLINE))
    group = s.core.open(A, 1, CANCEL)
    assert s.state(s.handle(NodeEntered(group, Kind()))) == "cancelled: deadline"


def test_group_opened_by_what_has_expired_is_stopped() -> None:
    s = Arranged([[]], timeout={A: Timeout(1.0)})
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    group = s.core.open(A, 1, CANCEL)
    assert s.state(s.handle(NodeEntered(group, Kind()))) == "cancelled: run"


def test_draining_run_drains_its_containers_and_not_what_bodies_run_themselves() -> None:
    """
    a fails    b(container): x(runs) y(waits)    c(body): z
    """
    s = Arranged([[], [], []], flags={B: Flag.CONTAINER}, on_error="drain", max_concurrent=3)
    s.taken()
    nested = s.core.open(B, 1, DRAIN)
    x = s.handle(NodeEntered(nested, Kind()))
    s.taken()
    y = s.handle(NodeEntered(nested, Kind()))
    own = s.core.open(C, 1, COLLECT)
    z = s.handle(NodeEntered(own, Kind()))
    s.handle(AttemptFailed(A, 1))
    assert [s.state(node) for node in (x, y, z)] == ["running", "cancelled: run", "ready"]
    assert s.asked() == []
    # One that opens only now.
    late = s.core.open(B, 1, DRAIN)
    assert s.state(s.handle(NodeEntered(late, Kind()))) == "cancelled: run"
    assert s.state(s.handle(NodeEntered(s.core.open(C, 1, COLLECT), Kind()))) == "ready"


def test_drained_group_remembers_what_failed_while_backing_off() -> None:
    s = Arranged([[], []], flags={B: Flag.CONTAINER}, on_error="drain")
    s.taken()
    nested = s.core.open(B, 1, DRAIN)
    x = s.handle(NodeEntered(nested, Kind(retry=again())))
    s.handle(GroupClosed(nested))
    s.taken()
    s.handle(AttemptFailed(x, 1, retryable=True))
    assert not nested.failed
    s.handle(AttemptFailed(A, 1))
    assert s.state(x) == "failed: error"
    assert nested.failed
    assert s.completed() == [nested]


def test_stop_of_a_group_ends_what_waits_behind_it_elsewhere() -> None:
    """
    group of a: x (running), y (waits)        group of b: behind y
    """
    s = Arranged([[], []], flags={A: Flag.CONTAINER, B: Flag.CONTAINER}, max_concurrent=1)
    s.taken()
    first, second = s.core.open(A, 1, COLLECT), s.core.open(B, 1, COLLECT)
    x, y = (s.handle(NodeEntered(first, Kind())) for _ in range(2))
    behind = s.handle(NodeEntered(second, Kind(), upstream=[y]))
    lenient = s.handle(NodeEntered(second, Kind(), upstream=[y], join=Join.ALL_DONE))
    assert s.taken() == [x]
    s.handle(GroupStopped(first))
    assert s.state(y) == "cancelled: run"
    assert s.state(behind) == "skipped: upstream"
    assert s.state(lenient) == "ready"


def test_group_ends_with_the_attempt_that_opened_it() -> None:
    """A body that returns without waiting for what it runs takes it along."""
    for ending in (AttemptSucceeded(A, 1), AttemptFailed(A, 1)):
        s = Arranged([[]], on_error="continue")
        s.taken()
        group = s.core.open(A, 1, COLLECT)
        node = s.handle(NodeEntered(group, Kind()))
        s.taken()
        s.handle(ending)
        assert s.asked() == [(node, 1)]
        assert not s.core.has_ended
        s.handle(AttemptCancelled(node, 1))
        assert s.completed() == [group]
        assert s.core.has_ended


def test_attempt_that_will_be_repeated_takes_along_what_it_ran() -> None:
    s = Arranged([[]], retry={A: again()})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind(flags=Flag.WHEN)))
    assert s.handle(AttemptFailed(A, 1, retryable=True), now=3) == RETRYING
    assert s.state(node) == "cancelled: run"
    assert s.core.ended_at[node] == 3
    assert s.completed() == [group]


def test_fallback_of_a_cancelled_container_is_asked_to_end() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER | Flag.FALLBACK}, grace=1.0)
    s.taken()
    group = s.core.open(A, 1, CANCEL)
    s.handle(GroupClosed(group))
    assert s.handle(AttemptFailed(A, 1), now=1) == FALLING_BACK
    s.handle(AttemptFailed(B, 1), now=2)
    assert s.asked() == [(A, 1)]
    assert s.handle(TimePassed(), now=3) == [(A, 1)]
    assert s.handle(AttemptCancelled(A, 1), now=3)
    # It held no slot.
    assert not s.core.abandoned


def test_fallback_of_a_container_has_its_time_again() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER | Flag.FALLBACK}, timeout={A: Timeout(2.0)}, grace=1.0)
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.core.open(A, 1, CANCEL)
    s.handle(TimePassed(), now=2)
    assert s.asked() == []
    assert s.handle(AttemptFailed(A, 1), now=2) == FALLING_BACK
    s.handle(TimePassed(), now=4)
    assert s.asked() == [(A, 1)]


@pytest.mark.parametrize(
    ("mode", "flags", "outside"),
    [
        (CANCEL, Flag(0), "cancelled: run"),
        (DRAIN, Flag(0), "cancelled: run"),
        (CONTINUE, Flag(0), "ready"),
        (COLLECT, Flag(0), "ready"),
        # It may be mended yet.
        (CANCEL, Flag.FALLBACK, "ready"),
        (CANCEL, Flag.RETRY, "ready"),
    ],
)
def test_failure_inside_starts_nothing_more_around_what_will_fail(mode: int, flags: Flag, outside: str) -> None:
    """
    container a: x fails, y runs        b waits, c runs
    """
    s = Arranged([[], [], []], flags={A: Flag.CONTAINER | flags}, priority={C: 1}, max_concurrent=3)
    assert s.core.take(0) == A
    group = s.core.open(A, 1, mode)
    x, y = (s.handle(NodeEntered(group, Kind(priority=5))) for _ in range(2))
    assert s.taken() == [x, y, C]
    s.handle(AttemptFailed(x, 1))
    assert s.state(B) == outside
    assert s.state(C) == "running"
    assert not s.core.was_interrupted(C, 1)
    assert s.core.status_reason == 0


def test_failure_inside_drains_level_by_level() -> None:
    """
    a: ( n: ( x fails ), beside waits )        b waits
    """
    for mode, outside in ((CANCEL, "cancelled: run"), (CONTINUE, "ready")):
        s = Arranged([[], []], flags={A: Flag.CONTAINER}, max_concurrent=1, on_error="drain")
        assert s.core.take(0) == A
        outer = s.core.open(A, 1, mode)
        nested = s.handle(NodeEntered(outer, Kind(flags=Flag.CONTAINER)))
        beside = s.handle(NodeEntered(outer, Kind()))
        assert s.core.take(0) == nested
        inner = s.core.open(nested, 1, CANCEL)
        x = s.handle(NodeEntered(inner, Kind(priority=5)))
        assert s.taken() == [x]
        s.handle(AttemptFailed(x, 1))
        assert [s.state(node) for node in (beside, B)] == [outside] * 2


def test_continuing_run_goes_on_around_what_will_fail() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER}, max_concurrent=1, on_error="continue")
    s.core.take(0)
    group = s.core.open(A, 1, CANCEL)
    x = s.handle(NodeEntered(group, Kind(priority=5)))
    assert s.taken() == [x]
    s.handle(AttemptFailed(x, 1))
    assert s.state(B) == "ready"


def test_attempt_is_asked_to_end_once() -> None:
    """Though its group is stopped, and then the whole run; the grace is not renewed."""
    s = Arranged([[]], flags={A: Flag.CONTAINER}, grace=5.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(GroupStopped(group), now=1)
    s.handle(RunCancelled(DEADLINE), now=3)
    assert s.asked() == [(node, 1)]
    assert s.core.next_at() == 6
    s.handle(AttemptCancelled(node, 1))
    assert s.state(node) == "cancelled: run"


def test_first_reason_to_end_counts() -> None:
    """A stage ends because the one that feeds it failed; that the run is cancelled meanwhile changes nothing."""
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], []], flags=both, followers={A: [B]}, on_error="continue")
    s.taken()
    group = s.core.open(B, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(AttemptFailed(A, 1))
    s.handle(RunCancelled(DEADLINE))
    s.handle(AttemptCancelled(node, 1))
    s.handle(AttemptCancelled(B, 1))
    assert s.states()[1:] == ["cancelled: upstream"] * 2


def test_body_is_not_given_up_for_what_it_runs_itself() -> None:
    """Its own grace ends with that of what it waits for; then it has a moment to end."""
    s = Arranged([[]], grace=2.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    s.handle(GroupClosed(group))
    s.handle(SlotsLent(A, 1))
    s.taken()
    s.handle(RunCancelled(), now=1)
    assert s.handle(TimePassed(), now=3) == [(node, 1)]
    s.handle(AttemptCancelled(node, 1), now=3)
    assert s.completed() == [group]
    assert s.core.next_at() == 3 + LAST_CHANCE
    assert s.handle(TimePassed(), now=4) == [(A, 1)]


def test_cancelled_body_takes_along_what_it_ran() -> None:
    s = Arranged([[]])
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    s.handle(AttemptCancelled(A, 1), now=2)
    assert s.state(node) == "cancelled: run"
    assert s.core.ended_at[node] == 2


def test_reason_of_a_stop_reaches_what_is_nested() -> None:
    """
    a: ( n: ( x runs, y waits ) )
    """
    s = Arranged([[]], flags={A: Flag.CONTAINER}, max_concurrent=1)
    s.taken()
    outer = s.core.open(A, 1, COLLECT)
    nested = s.handle(NodeEntered(outer, Kind(flags=Flag.CONTAINER)))
    assert s.taken() == [nested]
    inner = s.core.open(nested, 1, CANCEL)
    x, y = (s.handle(NodeEntered(inner, Kind())) for _ in range(2))
    s.handle(GroupClosed(inner))
    assert s.taken() == [x]
    s.handle(GroupStopped(outer, DEADLINE, interrupt=False))
    assert s.asked() == []
    assert [s.state(node) for node in (x, y)] == ["running", "cancelled: deadline"]
    assert s.core.attempts[y] == 0
    # What opens something only now, in a group that drains or is cancelled, does not get far.
    late = s.core.open(nested, 1, CANCEL)
    assert s.state(s.handle(NodeEntered(late, Kind()))) == "cancelled: run"
    s.handle(GroupStopped(outer, DEADLINE))
    later = s.core.open(nested, 1, CANCEL)
    assert s.state(s.handle(NodeEntered(later, Kind()))) == "cancelled: deadline"
    s.handle(AttemptSucceeded(x, 1))
    assert s.handle(AttemptCancelled(nested, 1))
    assert s.state(nested) == "cancelled: deadline"


def test_container_that_drained_is_cancelled_for_the_reason_of_its_group() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, max_concurrent=1)
    s.taken()
    outer = s.core.open(A, 1, COLLECT)
    nested = s.handle(NodeEntered(outer, Kind(flags=Flag.CONTAINER)))
    s.taken()
    inner = s.core.open(nested, 1, CANCEL)
    s.handle(NodeEntered(inner, Kind()))
    s.handle(GroupClosed(inner))
    s.handle(GroupStopped(outer, DEADLINE, interrupt=False))
    assert s.completed() == [inner]
    s.handle(AttemptCancelled(nested, 1))
    assert s.state(nested) == "cancelled: deadline"


# -- start edges


def test_follower_starts_when_its_leader_starts() -> None:
    """
    a ══> b        a stage over the items of another
    """
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], [], [A]], flags=both, followers={A: [B]})
    assert s.state(B) == "pending"
    assert s.taken() == [A, B]
    s.handle(AttemptSucceeded(A, 1))
    assert s.taken() == [C]


def test_follower_ends_with_a_leader_that_fails() -> None:
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], [], [B]], flags=both, followers={A: [B]}, on_error="continue")
    s.taken()
    group = s.core.open(B, 1, CANCEL)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.asked() == [(node, 1)]
    s.handle(AttemptCancelled(node, 1))
    assert s.completed() == [group]
    s.handle(AttemptCancelled(B, 1))
    assert s.states() == ["failed: error", "cancelled: upstream", "skipped: upstream", "cancelled: upstream"]


@pytest.mark.parametrize("waits_for", [[], [C]])
def test_follower_that_has_not_started_is_skipped_with_its_leader(waits_for: list[int]) -> None:
    """Ready because its condition has not been judged, or pending."""
    flags = {A: Flag.CONTAINER, B: Flag.CONTAINER | Flag.WHEN}
    s = Arranged([[], waits_for, [], [B]], flags=flags, followers={A: [B]}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    assert s.state(B) == "skipped: upstream"
    assert s.state(D) == "skipped: upstream"


def test_follower_is_skipped_with_a_leader_that_is_skipped() -> None:
    both = {A: Flag.CONTAINER | Flag.WHEN, B: Flag.CONTAINER}
    s = Arranged([[], []], flags=both, followers={A: [B]})
    s.core.next_to_judge()
    s.handle(ConditionJudged(A, False))
    assert s.states() == ["skipped: condition", "skipped: upstream"]


def test_follower_that_backs_off_is_cancelled_with_its_leader() -> None:
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], [], [B]], flags=both, followers={A: [B]}, retry={B: again()}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(B, 1, retryable=True))
    s.handle(AttemptFailed(A, 1))
    assert s.states()[1:] == ["cancelled: upstream", "skipped: upstream"]


def test_follower_of_any_waits_for_its_leader_and_for_one_success() -> None:
    """Two successes are not a start."""
    both = {C: Flag.CONTAINER, D: Flag.CONTAINER}
    for leader_first in (True, False):
        s = Arranged([[], [], [E], [A, B], []], flags=both, followers={C: [D]}, join={D: Join.ANY})
        s.taken()
        if leader_first:
            s.handle(AttemptSucceeded(E, 1))
            assert s.taken() == [C]
        s.handle(AttemptSucceeded(A, 1))
        s.handle(AttemptSucceeded(B, 1))
        if not leader_first:
            assert s.taken() == []
            s.handle(AttemptSucceeded(E, 1))
            assert s.taken() == [C, D]
        else:
            assert s.taken() == [D]


def test_leader_that_starts_again_leads_once() -> None:
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], [C], []], flags=both, followers={A: [B]}, retry={A: again()}, max_concurrent=1)
    assert s.taken() == [A, C]
    s.handle(AttemptFailed(A, 1, retryable=True), now=1)
    s.handle(TimePassed(), now=2)
    assert s.taken() == [A]
    s.handle(AttemptSucceeded(C, 1), now=3)
    assert s.taken() == [B]


def test_given_leader_has_started() -> None:
    both = {A: Flag.CONTAINER, B: Flag.CONTAINER}
    s = Arranged([[], []], flags=both, followers={A: [B]}, given=[A])
    assert s.taken() == [B]


@pytest.mark.parametrize("join", [Join.ALL, Join.ANY])
def test_newcomer_may_follow(join: Join) -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER | Flag.WHEN})
    follower = s.handle(NodeEntered(s.core.root, Kind(flags=Flag.CONTAINER), leaders=[A], join=join))
    assert s.state(follower) == "pending"
    s.core.next_to_judge()
    s.handle(ConditionJudged(A, True))
    assert s.taken() == [A, follower, B]
    started = s.handle(NodeEntered(s.core.root, Kind(flags=Flag.CONTAINER), leaders=[A], join=join))
    assert s.taken() == [started]
    s.handle(AttemptFailed(A, 1))
    assert s.core.was_interrupted(started, 1)


def test_newcomer_follows_from_a_leader_that_has_ended() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER, B: Flag.CONTAINER}, on_error="continue")
    s.taken()
    s.handle(AttemptFailed(A, 1))
    s.handle(AttemptSucceeded(B, 1))
    root, kind = s.core.root, Kind(flags=Flag.CONTAINER)
    assert s.state(s.handle(NodeEntered(root, kind, leaders=[A, B]))) == "skipped: upstream"
    assert s.state(s.handle(NodeEntered(root, kind, leaders=[B]))) == "ready"


def test_newcomer_may_follow_a_given_leader() -> None:
    s = Arranged([[], []], flags={A: Flag.CONTAINER}, given=[A])
    assert s.state(s.handle(NodeEntered(s.core.root, Kind(), leaders=[A]))) == "ready"


# -- slots that a body lends


def test_body_that_waits_for_what_it_runs_holds_no_slot() -> None:
    s = Arranged([[]], uses={A: {"db": 1}}, limits={"db": 1}, max_concurrent=1)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind(s.core.demand_number((("db", 1),)))))
    s.handle(GroupClosed(group))
    assert s.taken() == []
    s.handle(SlotsLent(A, 1))
    assert not s.core.is_charged(A)
    assert s.taken() == [node]
    s.handle(AttemptSucceeded(node, 1))
    assert s.handle(SlotsWanted(A, 1))
    assert s.taken() == [-2 - A]
    assert s.core.is_charged(A)
    assert s.core.limits["db"].used == 1
    assert s.handle(AttemptSucceeded(A, 1))


def test_body_waits_for_its_slots_again() -> None:
    s = Arranged([[], []], max_concurrent=1, priority={A: 1})
    s.taken()
    s.handle(SlotsLent(A, 1))
    assert s.taken() == [B]
    assert s.handle(SlotsWanted(A, 1))
    assert s.taken() == []
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == [-2 - A]
    assert s.taken() == []


def test_body_that_lends_twice_gets_its_slots_once() -> None:
    s = Arranged([[]])
    s.taken()
    s.handle(SlotsLent(A, 1))
    s.handle(SlotsLent(A, 1))
    assert s.core.active == 0
    assert not s.handle(SlotsWanted(A, 1))
    assert s.handle(SlotsWanted(A, 1))
    assert s.taken() == [-2 - A]
    assert not s.handle(SlotsWanted(A, 1))


def test_body_that_lends_again_before_it_got_its_slots() -> None:
    s = Arranged([[], []], max_concurrent=1)
    assert s.taken() == [A]
    s.handle(SlotsLent(A, 1))
    assert s.taken() == [B]
    assert s.handle(SlotsWanted(A, 1))
    s.handle(SlotsLent(A, 1))
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == []
    assert s.handle(SlotsWanted(A, 1))
    assert s.taken() == [-2 - A]


def test_lending_body_may_end_without_its_slots() -> None:
    for ending in (AttemptSucceeded(A, 1), AttemptFailed(A, 1), AttemptCancelled(A, 1)):
        s = Arranged([[]], max_concurrent=1, uses={A: {"db": 1}}, limits={"db": 1})
        s.taken()
        s.handle(SlotsLent(A, 1))
        s.handle(ending)
        assert s.core.free == 1
        assert s.core.limits["db"].used == 0


def test_returning_body_that_ends_is_not_taken() -> None:
    s = Arranged([[]])
    s.taken()
    s.handle(SlotsLent(A, 1))
    s.handle(SlotsWanted(A, 1))
    s.handle(AttemptFailed(A, 1))
    assert s.taken() == []


def test_old_attempts_and_containers_lend_nothing() -> None:
    s = Arranged([[], []], flags={B: Flag.CONTAINER}, retry={A: again()})
    s.handle(SlotsLent(A, 0))
    s.taken()
    s.handle(SlotsLent(A, 2))
    s.handle(SlotsLent(B, 1))
    assert s.core.active == 1
    assert not s.handle(SlotsWanted(A, 1))
    s.handle(SlotsLent(A, 1))
    assert not s.handle(SlotsWanted(A, 2))


def test_next_attempt_has_lent_nothing() -> None:
    s = Arranged([[]], retry={A: again()})
    s.taken()
    s.handle(SlotsLent(A, 1))
    s.handle(AttemptFailed(A, 1, retryable=True), now=1)
    s.handle(TimePassed(), now=2)
    s.taken()
    assert not s.handle(SlotsWanted(A, 2))


def test_body_that_waits_for_its_slots_and_fails_leaves_them_to_others() -> None:
    """Its fallback is made without."""
    s = Arranged([[], []], flags={A: Flag.FALLBACK}, max_concurrent=1)
    assert s.taken() == [A]
    s.handle(SlotsLent(A, 1))
    assert s.taken() == [B]
    assert s.handle(SlotsWanted(A, 1))
    assert s.handle(AttemptFailed(A, 1)) == FALLING_BACK
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == []
    assert s.handle(AttemptSucceeded(A, 1, FALLBACK))


def test_failure_is_not_retried_unless_said_so() -> None:
    s = Scheduler(shape_of([[]], retry={A: again()}), rng=random.Random(0))
    s.start(0.0)
    s.take(0.0)
    assert s.failed(A, 1, 0.0) == FINAL


def test_abandoned_body_gets_no_slots_while_its_fallback_is_made() -> None:
    s = Arranged([[]], flags={A: Flag.FALLBACK}, timeout={A: Timeout(1.0)}, grace=1.0)
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    assert s.handle(TimePassed(), now=2) == [(A, 1)]
    assert s.handle(AttemptFailed(A, 1), now=2) == FALLING_BACK
    s.handle(SlotsLent(A, 1))
    assert not s.handle(SlotsWanted(A, 1))
    assert s.taken() == []


def test_starving_body_takes_along_what_it_runs() -> None:
    """What a body that starves has brought into the run does not starve: it is cancelled with it."""
    s = Arranged(
        [[], []],
        uses={A: {"db": 1}, B: {"db": 1}},
        limits={"db": 1},
        priority={B: 1},
        flags={A: Flag.THREAD},
        timeout={A: Timeout(1.0)},
        on_error="continue",
        grace=2.0,
    )
    s.taken()
    s.handle(SlotsLent(B, 1))
    s.taken()
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    group = s.core.open(B, 1, COLLECT)
    inside = s.handle(NodeEntered(group, Kind(s.core.demand_number((("db", 1),)), flags=Flag.WHEN)))
    s.handle(SlotsWanted(B, 1))
    s.core.look_for_starvation(1)
    s.handle(TimePassed(), now=3)
    assert s.state(inside) == "cancelled: run"
    late = s.core.open(B, 1, COLLECT)
    assert s.state(s.handle(NodeEntered(late, Kind()))) == "cancelled: run"


def test_body_that_loses_the_race_for_its_slots_waits_on() -> None:
    limit = Raced(1)
    limit.races = 0
    s = Scheduler(shape_of([[]], demand=[(("db", 1),)]), limits={"db": limit})
    s.start(0.0)
    assert s.take(0.0) == A
    s.lend(A, 1)
    limit.races = 1
    assert s.reclaim(A, 1)
    assert s.take(0.0) == NOTHING
    limit.release(1)
    assert s.take(0.0) == -2 - A


def test_lent_body_given_up_keeps_no_slot() -> None:
    s = Arranged([[]], grace=1.0)
    s.taken()
    s.handle(SlotsLent(A, 1))
    s.handle(RunCancelled())
    assert s.handle(TimePassed(), now=1) == [(A, 1)]
    s.handle(AttemptCancelled(A, 1))
    assert not s.core.abandoned
    assert s.core.abandoned_nodes == {A: 1}


def test_returning_body_is_lifted_by_an_urgent_newcomer() -> None:
    s = Arranged([[], [], []], max_concurrent=1, priority={A: 2, B: 2, C: 1})
    assert s.taken() == [A]
    s.handle(SlotsLent(A, 1))
    assert s.taken() == [B]
    s.handle(SlotsWanted(A, 1))
    s.handle(NodeEntered(s.core.root, Kind(priority=9), upstream=[A]))
    s.handle(AttemptSucceeded(B, 1))
    assert s.taken() == [-2 - A]


def test_body_that_cannot_have_its_slots_back_starves() -> None:
    """
    a(thread) takes what b lent, and is abandoned
    """
    s = Arranged(
        [[], []],
        uses={A: {"db": 1}, B: {"db": 1}},
        limits={"db": 1},
        priority={B: 1},
        flags={A: Flag.THREAD},
        timeout={A: Timeout(1.0)},
        on_error="continue",
        grace=2.0,
    )
    assert s.taken() == [B]
    s.handle(SlotsLent(B, 1))
    assert s.taken() == [A]
    s.handle(BodySuspended(A, 1))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptFailed(A, 1), now=1)
    s.asked()
    assert s.handle(SlotsWanted(B, 1), now=1)
    s.core.look_for_starvation(1)
    assert s.core.next_at() == 3
    s.handle(TimePassed(), now=3)
    assert s.asked() == [(B, 1)]
    s.core.look_for_starvation(3)
    s.handle(AttemptCancelled(B, 1), now=3)
    assert s.state(B) == "failed: starved"
    assert status_of(s.core) == "partial"


# -- indices that are used again


def test_forgotten_index_is_used_again() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    first = s.handle(NodeEntered(group, Kind(retry=again(), timeout=Timeout(3.0))))
    s.taken()
    s.handle(AttemptSucceeded(first, 1))
    s.core.forget(first)
    assert s.core.next_node == first
    second = s.handle(NodeEntered(group, Kind(flags=Flag.WHEN), join=Join.ANY))
    assert second == first
    assert s.core.attempts[second] == 0
    assert math.isnan(s.core.ended_at[second])
    assert s.core.attempt_limit(second) is None
    assert second not in s.core.retry
    assert s.core.next_to_judge() == second


def test_forgotten_node_leaves_nothing_behind() -> None:
    """After everything that can be known of a node was known of it."""
    s = Arranged([[], []], flags={A: Flag.CONTAINER}, grace=1.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    kind = Kind(flags=Flag.WHEN | Flag.FALLBACK, retry=Retry(2, PLAIN), timeout=Timeout(attempt=3.0, total=9.0))
    node = s.handle(NodeEntered(group, kind, join=Join.ANY, upstream=[B]))
    s.handle(AttemptSucceeded(B, 1))
    s.core.next_to_judge()
    s.handle(ConditionJudged(node, True))
    s.taken()
    s.handle(AttemptFailed(node, 1, retryable=True), now=1)
    s.handle(TimePassed(), now=2)
    s.taken()
    s.handle(BodySuspended(node, 2))
    s.handle(TimePassed(), now=5)
    s.handle(AttemptFailed(node, 2), now=5)
    behind = s.handle(NodeEntered(group, Kind(flags=Flag.CONTAINER), upstream=[node], leaders=[node]))
    s.handle(AttemptSucceeded(node, 2, FALLBACK), now=5)
    s.taken()
    s.handle(AttemptSucceeded(behind, 1), now=5)
    s.core.forget(node)
    assert s.core.next_node == node
    assert node not in s.core.upstream[behind]
    assert not s.core.downstream[node]
    known = {
        name: value
        for name, value in vars(s.core).items()
        if isinstance(value, (dict, set)) and node in value and name != "_vacated"
    }
    assert known == {}
    # Attempts are numbered from 1 again: none of the former node is known.
    assert s.core.attempts[node] == 0


def test_only_grown_nodes_that_have_ended_are_forgotten() -> None:
    s = Arranged([[]])
    s.taken()
    grown = s.handle(NodeEntered(s.core.root, Kind()))
    with pytest.raises(InternalError, match="node 1 is ready and cannot be forgotten"):
        s.core.forget(grown)
    s.core._busy = False
    s.handle(AttemptSucceeded(A, 1))
    with pytest.raises(InternalError, match="node 0 is succeeded and cannot be forgotten"):
        s.core.forget(A)


def test_index_that_something_still_means_is_not_used_again() -> None:
    """Because a node behind or before it has not ended, or a queue still has an entry, or an attempt may come back."""
    s = Arranged([[], []], flags={B: Flag.CONTAINER}, grace=1.0)
    s.taken()
    group = s.core.open(B, 1, COLLECT)
    before = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(NodeEntered(group, Kind(), upstream=[before, A]))
    s.handle(AttemptSucceeded(before, 1))
    s.core.forget(before)
    assert s.core.next_node == len(s.core.state)
    stopped = s.core.open(B, 1, COLLECT)
    behind = s.handle(NodeEntered(stopped, Kind(), upstream=[A]))
    ready = s.handle(NodeEntered(stopped, Kind()))
    running = s.handle(NodeEntered(stopped, Kind()))
    s.handle(GroupStopped(stopped))
    for node in (behind, ready, running):
        s.core.forget(node)
    assert s.core.next_node == len(s.core.state)


def test_index_of_a_body_that_waited_for_its_slots_is_not_used_again() -> None:
    """Its entry is left in the queue: it lent again, or ended, before it was taken."""
    for ends_waiting in (True, False):
        s = Arranged([[]], flags={A: Flag.CONTAINER})
        s.taken()
        group = s.core.open(A, 1, COLLECT)
        node = s.handle(NodeEntered(group, Kind()))
        s.taken()
        s.handle(SlotsLent(node, 1))
        s.handle(SlotsWanted(node, 1))
        if not ends_waiting:
            s.handle(SlotsLent(node, 1))
        s.handle(AttemptSucceeded(node, 1))
        s.core.forget(node)
        assert s.core.next_node != node


def test_index_of_a_lifted_node_is_not_used_again() -> None:
    """The entry of its former key is left in the queue."""
    s = Arranged([[]], flags={A: Flag.CONTAINER}, max_concurrent=1)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    urgent = s.handle(NodeEntered(group, Kind(priority=3), upstream=[node]))
    for each in (node, urgent):
        assert s.taken() == [each]
        s.handle(AttemptSucceeded(each, 1))
    s.core.forget(node)
    assert s.core.next_node != node


def test_lists_of_the_plan_are_copied_once() -> None:
    s = Arranged([[]])
    s.handle(NodeEntered(s.core.root, Kind()))
    own = s.core.upstream
    s.handle(NodeEntered(s.core.root, Kind()))
    assert s.core.upstream is own


def test_index_of_a_follower_is_not_used_again() -> None:
    """Its leader would take the next node of that index along when it ends."""
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind(flags=Flag.CONTAINER), leaders=[A]))
    s.taken()
    s.handle(AttemptSucceeded(node, 1))
    s.core.forget(node)
    assert s.core.next_node != node


def test_index_is_not_used_again_before_those_that_came_behind_it_have_ended() -> None:
    """Also if they came when it had ended already."""
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    first = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(AttemptSucceeded(first, 1))
    behind = s.handle(NodeEntered(group, Kind(), upstream=[first]))
    s.core.forget(first)
    assert s.core.next_node == behind + 1


def test_abandoned_node_is_not_forgotten() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, grace=1.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(GroupStopped(group))
    s.handle(TimePassed(), now=1)
    s.handle(AttemptCancelled(node, 1), now=1)
    s.core.forget(node)
    assert s.core.attempts[node] == 1
    assert s.core.next_node != node


def test_backoff_of_a_forgotten_node_does_not_wake_the_next() -> None:
    """Two nodes of one index, one after the other, both back off in their first attempt."""
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    first = s.handle(NodeEntered(group, Kind(retry=Retry(2, PLAIN))))
    s.taken()
    s.handle(AttemptFailed(first, 1, retryable=True, after=5.0), now=0)
    s.handle(GroupStopped(group), now=1)
    s.core.forget(first)
    other = s.core.open(A, 1, COLLECT)
    second = s.handle(NodeEntered(other, Kind(retry=Retry(2, PLAIN))), now=1)
    assert second == first
    s.taken()
    s.handle(AttemptFailed(second, 1, retryable=True, after=60.0), now=2)
    assert s.core.next_at() == 62
    s.handle(TimePassed(), now=5)
    assert s.state(second) == "backing off"


def test_grace_of_a_forgotten_node_does_not_cut_that_of_the_next() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, grace=5.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    first = s.handle(NodeEntered(group, Kind()))
    s.taken()
    s.handle(GroupStopped(group), now=0)
    s.handle(AttemptCancelled(first, 1), now=1)
    s.core.forget(first)
    other = s.core.open(A, 1, COLLECT)
    assert s.handle(NodeEntered(other, Kind()), now=4) == first
    s.taken()
    s.handle(GroupStopped(other), now=4)
    assert s.core.next_at() == 9
    assert s.handle(TimePassed(), now=5) == []


def test_renewed_node_is_the_next_of_its_kind() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, max_concurrent=1)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    kind = Kind(retry=again(), timeout=Timeout(total=10.0))
    first, second = (s.handle(NodeEntered(group, kind, order=order)) for order in (0, 1))
    s.taken()
    s.handle(AttemptFailed(first, 1, retryable=True), now=1)
    assert s.taken() == [second]
    s.handle(TimePassed(), now=2)
    s.handle(AttemptSucceeded(second, 1), now=2)
    assert s.taken() == [first]
    s.handle(AttemptSucceeded(first, 2), now=3)
    s.core.renew(second, 3.0, order=3)
    s.core.renew(first, 3.0, order=2)
    assert [s.core.key[node] & INDEX_MASK for node in (first, second)] == [first, second]
    places = [s.core.key[node] >> INDEX_BITS & TIE_MAX for node in (first, second)]
    assert places == [2, 3]
    assert s.state(first) == "ready"
    assert s.core.attempts[first] == 0
    assert s.core.ready_at[first] == 3
    assert math.isnan(s.core.started_at[first])
    assert math.isnan(s.core.ended_at[first])
    assert s.taken(now=4) == [first]
    assert s.core.attempt_limit(first) == 10
    assert s.core.attempt_started_at(first) == 4
    s.handle(AttemptSucceeded(first, 1), now=5)
    s.handle(GroupClosed(group))
    assert s.taken() == [second]
    s.handle(AttemptSucceeded(second, 1), now=6)
    assert s.completed() == [group]


def test_renewed_node_has_its_own_time() -> None:
    """The former one fell back, late; the clock of the next starts when that starts."""
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind(flags=Flag.FALLBACK | Flag.WHEN, timeout=Timeout(attempt=5.0))))
    s.core.next_to_judge()
    s.handle(ConditionJudged(node, True))
    s.taken()
    s.handle(AttemptFailed(node, 1), now=3)
    s.handle(AttemptSucceeded(node, 1, FALLBACK), now=3)
    s.core.renew(node, 10.0, order=1)
    assert s.taken(now=10) == []
    assert s.core.next_to_judge() == node
    s.handle(ConditionJudged(node, True))
    assert s.taken(now=10) == [node]
    assert s.core.expires_at(node) == 15


def test_what_cannot_be_renewed() -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER})
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind()))
    with pytest.raises(InternalError, match="node 1 is ready and cannot be used again"):
        s.core.renew(node, 0.0, 1)
    s.core._busy = False
    s.taken()
    s.handle(GroupStopped(group))
    s.handle(AttemptCancelled(node, 1))
    with pytest.raises(InternalError, match="cannot be used again"):
        s.core.renew(node, 0.0, 1)


@pytest.mark.parametrize("ended", ["closed", "abandoned"])
def test_neither_can_a_node_of_a_closed_group_nor_an_abandoned_one(ended: str) -> None:
    s = Arranged([[]], flags={A: Flag.CONTAINER}, grace=0.0)
    s.taken()
    group = s.core.open(A, 1, COLLECT)
    node = s.handle(NodeEntered(group, Kind(flags=Flag.THREAD, timeout=Timeout(1.0))))
    s.handle(NodeEntered(group, Kind()))
    s.taken()
    if ended == "closed":
        s.handle(GroupClosed(group))
        s.handle(AttemptSucceeded(node, 1))
    else:
        s.handle(BodySuspended(node, 1))
        assert s.handle(TimePassed(), now=1) == [(node, 1)]
        s.handle(AttemptFailed(node, 1), now=1)
    with pytest.raises(InternalError, match="cannot be used again"):
        s.core.renew(node, 1.0, 1)


# -- timers


def test_timers_fire_in_order_and_equal_ones_as_they_were_set() -> None:
    s = Arranged([[], [], []], retry={A: again(), B: again(), C: again()}, max_concurrent=3)
    s.taken()
    s.handle(AttemptFailed(C, 1, retryable=True), now=0)
    s.handle(AttemptFailed(B, 1, retryable=True), now=0)
    s.handle(AttemptFailed(A, 1, retryable=True, after=0.5), now=0)
    s.heard.clear()
    s.handle(TimePassed(), now=9)
    assert [node for _, node, _ in s.heard] == [C, B, A]


def test_dead_timers_do_not_pile_up() -> None:
    """A thousand timeouts of attempts that ended long ago."""
    s = Scheduler(shape_of([[]] * 1000, timeout={node: Timeout(attempt=1e6) for node in range(1000)}))
    s.start(0.0)
    for node in range(1000):
        s.arm(s.take(0.0), 1)
        assert s.ended(node, 1, 1.0)
        assert len(s.timers) <= 130
    assert s.next_at() is None


def test_purges_are_few() -> None:
    """Each timer is looked at a few times at most, dead or alive."""
    looks = []
    timers = Timers(lambda timer: not looks.append(timer))
    for number in range(2000):
        timers.set(float(number), BACKOFF_ENDS, number, 1)
    assert len(timers) == 2000
    assert len(looks) < 3 * 2000


def test_live_timers_survive_a_purge() -> None:
    s = Scheduler(shape_of([[]] * 300, timeout={node: Timeout(attempt=10.0 + node) for node in range(300)}))
    s.start(0.0)
    for _ in range(300):
        s.arm(s.take(0.0), 1)
    assert len(s.timers) == 300
    s.tick(1000.0)
    assert [node for node, _ in s.interrupts] == list(range(300))


def test_backoff_that_fills_the_timers_survives_its_own_purge() -> None:
    """The timer that makes a purge necessary is not known to anyone yet."""
    s = Scheduler(shape_of([[]] * 200, retry={node: again() for node in range(200)}), rng=random.Random(0))
    s.start(0.0)
    for node in range(200):
        s.take(0.0)
        assert s.failed(node, 1, 0.0, retryable=True) == RETRYING
    s.tick(1.0)
    assert sum(1 for _ in iter(lambda: s.take(1.0), NOTHING)) == 200


def test_timers_are_told_apart_by_kind() -> None:
    s = Arranged([[], []], retry={A: again()}, timeout={B: Timeout(1.0)})
    s.taken()
    s.handle(AttemptFailed(A, 1, retryable=True))
    s.handle(BodySuspended(B, 1))
    assert s.core.timers_of(BACKOFF_ENDS) == [A]
    assert s.core.timers_of(GRACE_ENDS) == []


# -- asking


def test_sole_queue_is_known_as_long_as_there_is_but_one() -> None:
    """The driver asks it whether anything could start beside a body."""
    s = Arranged([[]], limits={"db": 1})
    assert s.core.sole is s.core.queue_of(A)
    same = s.handle(NodeEntered(s.core.root, Kind()))
    assert s.core.sole is s.core.queue_of(same)
    s.handle(NodeEntered(s.core.root, Kind(s.core.demand_number((("db", 1),)))))
    assert s.core.sole is None
    empty = Arranged([])
    first = empty.handle(NodeEntered(empty.core.root, Kind()))
    assert empty.core.sole is empty.core.queue_of(first)


def test_can_start_says_what_take_would_do() -> None:
    s = Arranged([[], []], uses={A: {"db": 1}, B: {"db": 1}}, limits={"db": 1}, max_concurrent=2)
    assert s.core.can_start()
    s.core.take(0)
    assert not s.core.can_start()
    s.handle(LimitResized("db", 2))
    assert s.core.can_start()
    s.handle(LimitResized(None, 1))
    assert not s.core.can_start()


def test_container_can_start_without_slots() -> None:
    s = Arranged([[], []], flags={B: Flag.CONTAINER | Flag.WHEN}, max_concurrent=1)
    assert s.taken() == [A]
    assert not s.core.can_start()
    s.core.next_to_judge()
    s.handle(ConditionJudged(B, True))
    assert s.core.can_start()
    assert s.taken() == [B]
    assert not s.core.can_start()


def test_attention_is_wanted_when_there_is_something_to_do() -> None:
    s = Arranged([[], []])
    s.taken()
    assert not s.core.wants_attention
    s.handle(AttemptFailed(A, 1))
    assert s.core.wants_attention
    assert Arranged([[]], flags={A: Flag.CONTAINER}).core.wants_attention


def test_terminal_state_is_given_once() -> None:
    s = Scheduler(shape_of([[]]))
    s.start(0.0)
    s.take(0.0)
    s.ended(A, 1, 1.0)
    with pytest.raises(InternalError, match="node 0 is succeeded already and cannot become cancelled"):
        s._finish(A, 7, RUN, 2.0)


def test_list_that_is_being_written_enters_the_root() -> None:
    """Members of the run itself that came later are stopped with it."""
    s = Arranged([[]])
    s.taken()
    running = s.handle(NodeEntered(s.core.root, Kind()))
    s.taken()
    waiting = s.handle(NodeEntered(s.core.root, Kind(), upstream=[running]))
    s.handle(AttemptFailed(A, 1))
    assert s.asked() == [(running, 1)]
    assert s.state(waiting) == "cancelled: run"
    assert s.state(s.handle(NodeEntered(s.core.root, Kind()))) == "cancelled: run"
    assert s.completed() == []


def test_node_of_the_root_that_fails_later_fails_the_run() -> None:
    s = Arranged([[], []], on_error="continue")
    grown = s.handle(NodeEntered(s.core.root, Kind()))
    s.taken()
    s.handle(AttemptFailed(grown, 1))
    assert s.core.root.failed


# ---------------------------------------------------------------------- runs that are kept


def lawful(
    upstream: list[list[int]],
    *,
    timeouts: dict[int, Timeout] | None = None,
    flags: dict[int, Flag] | None = None,
    joins: dict[int, Join] | None = None,
    followers: dict[int, list[int]] | None = None,
    retries: dict[int, Retry] | None = None,
    **options: Any,
) -> LawfulScheduler:
    nodes = range(len(upstream))
    of_all = {**dict.fromkeys(timeouts or {}, Flag.TIMED), **(flags or {})}
    shape = shape_of(
        upstream,
        join=[int((joins or {}).get(node, Join.ALL)) for node in nodes],
        flags=[int(of_all.get(node, 0)) for node in nodes],
        timeout=timeouts,
        followers=followers,
        retry=retries,
    )
    return LawfulScheduler(shape, **options)


def test_what_has_settled_cannot_be_timed_out_or_interrupted() -> None:
    """Between the completion of an attempt and its end, its time does not run out and nobody asks it to end."""
    s = lawful([[], [0]], timeouts={0: Timeout(attempt=1.0)})
    s.start(0.0)
    assert s.take(0.0) == 0
    s.arm(0, 1)
    assert s.settle(0, 1, 0.5)
    assert s.next_at() is None
    assert s.tick(5.0) == []
    s.cancel(6.0)
    assert s.interrupts == []
    assert s.ended(0, 1, 7.0)
    assert (s.state[0], s.reason[0], s.ended_at[0]) == (SUCCEEDED, OUTPUT, 7.0)
    assert s.state[1] == CANCELLED


def test_settled_attempt_keeps_its_slots_until_it_has_ended() -> None:
    """What is being made durable still counts: nothing starts in its place."""
    s = lawful([[], []], max_concurrent=1)
    s.start(0.0)
    assert s.take(0.0) == 0
    assert s.settle(0, 1, 1.0)
    assert s.take(1.0) == NOTHING
    assert s.ended(0, 1, 2.0)
    assert s.take(2.0) == 1


def test_grace_of_an_attempt_that_completes_in_it_is_over_once_it_settles() -> None:
    """A body that was asked to end and completes all the same is not given up while its output is written."""
    s = lawful([[]], grace=1.0)
    s.start(0.0)
    s.take(0.0)
    s.cancel(1.0)
    assert s.settle(0, 1, 1.5)
    assert s.tick(9.0) == []
    assert s.ended(0, 1, 9.0)
    assert s.state[0] == SUCCEEDED


def test_late_attempts_do_not_settle() -> None:
    """An attempt that is not current, or whose time was up, does not become durable."""
    s = lawful([[]], timeouts={0: Timeout(attempt=1.0)})
    s.start(0.0)
    assert not s.settle(0, 0, 0.0)
    s.take(0.0)
    s.arm(0, 1)
    assert not s.settle(0, 2, 0.5)
    s.tick(1.0)
    assert not s.settle(0, 1, 1.0)
    assert s.failed(0, 1, 1.0) == FINAL


def test_output_that_cannot_be_made_durable_fails_its_node() -> None:
    """After `settle`, `failed` is a way on too, and nothing is tried again."""
    s = lawful([[], [0]], on_error="continue")
    s.start(0.0)
    s.take(0.0)
    assert s.settle(0, 1, 1.0)
    assert s.failed(0, 1, 2.0, final=True) == FINAL
    assert list(s.state) == [FAILED, SKIPPED]
    assert not s.settle(0, 1, 3.0)


def test_what_completed_before_is_not_started_again() -> None:
    """A run that goes on begins behind what has its output.

    0 ── 1 ── 2
    """
    s = lawful([[], [0], [1]])
    s.start(5.0, past={0: Past(CHECKPOINT), 1: Past(CHECKPOINT)})
    assert [s.reason[node] for node in (0, 1)] == [CHECKPOINT, CHECKPOINT]
    assert s.take(5.0) == 2
    assert s.attempts[:2] == [0, 0]


def test_what_was_not_taken_before_is_skipped_without_being_judged() -> None:
    """The verdict of a condition holds when the run goes on, and travels."""
    s = lawful([[], [0]], flags={0: Flag.WHEN})
    s.start(0.0, past={0: Past(CONDITION)})
    assert (s.state[0], s.reason[0]) == (SKIPPED, CONDITION)
    assert (s.state[1], s.reason[1]) == (SKIPPED, UPSTREAM)
    assert s.next_to_judge() == NOTHING
    assert s.has_ended


def test_backoff_goes_on_where_it_was() -> None:
    """A node that was backing off waits for what is left, and its next attempt has the next number."""
    s = lawful([[]], flags={0: Flag.WHEN}, rng=random.Random(1))
    s.start(10.0, past={0: Past(attempts=2, at=13.0)})
    assert (s.state[0], s.next_at()) == (BACKING_OFF, 13.0)
    assert s.take(12.0) == NOTHING
    s.tick(13.0)
    # Its condition held when it first ran.
    assert s.next_to_judge() == NOTHING
    assert s.take(13.0) == 0
    assert s.attempts[0] == 3
    assert s.started_at[0] == 13.0


def test_backoff_that_is_over_does_not_delay() -> None:
    """Only the number of the attempt is left of a backoff that has passed."""
    s = lawful([[]])
    s.start(10.0, past={0: Past(attempts=2, at=9.0)})
    assert s.take(10.0) == 0
    assert s.attempts[0] == 3


def test_seconds_from_before_count_for_the_total() -> None:
    """A total timeout covers the attempts and backoffs of all the times that a run went on."""
    s = lawful([[]], timeouts={0: Timeout(total=10.0)})
    s.start(0.0, past={0: Past(attempts=1, spent=7.0)})
    s.take(0.0)
    assert s.attempt_limit(0) == 3.0


def test_node_that_had_failed_begins_anew_and_is_numbered_on() -> None:
    """It is judged again, has all of its attempts and the shortest pause again, and its first is a call."""
    budget = RetryBudget(share=0, reserve=5)
    retry = Retry(attempts=2, backoff=Backoff(initial=1, factor=10, jitter=False))
    s = lawful([[]], flags={0: Flag.WHEN}, retries={0: retry}, rng=random.Random(1), retry_budgets={"*": budget})
    s.start(10.0, past={0: Past(attempts=3, before=3)})
    assert s.next_to_judge() == 0
    s.judged(0, True, 10.0)
    assert s.take(10.0) == 0
    assert s.attempts[0] == 4
    assert s.failed(0, 4, 11.0, retryable=True) == RETRYING
    assert (s.delay, budget.calls, budget.retries) == (1.0, 1, 1)
    s.tick(12.0)
    assert s.take(12.0) == 0
    assert s.failed(0, 5, 13.0, retryable=True) == FINAL
    assert (budget.calls, budget.retries, budget.refused) == (1, 1, 0)


def test_attempts_of_containers_begin_anew() -> None:
    """What a container has brought is known by itself; its own attempts are not."""
    s = lawful([[]], flags={0: Flag.CONTAINER})
    s.start(0.0, past={0: Past(attempts=2, at=50.0)})
    assert s.take(0.0) == 0
    assert s.attempts[0] == 1


def test_node_that_enters_with_its_output_has_ended() -> None:
    """What grows while a run goes on may have its output from before; who comes behind it need not wait."""
    s = lawful([[]])
    s.start(0.0)
    s.take(0.0)
    group = s.open(0, 1, CONTINUE)
    first = s.enter(group, Kind(), 1.0, past=Past(CHECKPOINT))
    second = s.enter(group, Kind(), 1.0, upstream=[first])
    third = s.enter(group, Kind(), 1.0, past=Past(attempts=1, at=4.0))
    assert (s.state[first], s.reason[first]) == (SUCCEEDED, CHECKPOINT)
    assert s.take(1.0) == second
    assert (s.state[third], s.next_at()) == (BACKING_OFF, 4.0)
    assert list(group.live) == [second, third]


def test_question_pauses_what_needs_its_answer_and_nothing_else() -> None:
    """Behind a question everything waits for another day, whatever its join; beside it the run goes on.

    0 ─┬─ 2 (all)       1 ── 5
       ├─ 3 (all_done)
       └─ 4 (any, also behind 1)
    """
    s = lawful([[], [], [0], [0], [0, 1], [1]], joins={3: Join.ALL_DONE, 4: Join.ANY})
    s.start(0.0)
    s.take(0.0)
    s.take(0.0)
    assert s.paused(0, 1, 1.0)
    assert [(s.state[node], s.reason[node]) for node in (0, 2, 3)] == [(CANCELLED, PAUSED)] * 3
    assert s.state[4] == PENDING
    assert s.root.paused
    assert not s.root.cancelled
    assert s.ended(1, 1, 2.0)
    assert {s.take(2.0), s.take(2.0)} == {4, 5}


def test_join_any_waits_for_the_answer_once_nobody_else_can_help() -> None:
    """Where all other upstream nodes are lost, the one that waits for an answer is still hope, for another day."""
    s = lawful([[], [], [0, 1]], joins={2: Join.ANY}, on_error="continue")
    s.start(0.0)
    s.take(0.0)
    s.take(0.0)
    s.paused(0, 1, 1.0)
    s.failed(1, 1, 2.0)
    assert (s.state[2], s.reason[2]) == (CANCELLED, PAUSED)


def test_late_pause_changes_nothing() -> None:
    """Only the current attempt can wait for an answer."""
    s = lawful([[]])
    s.start(0.0)
    assert not s.paused(0, 1, 0.0)
    s.take(0.0)
    assert not s.paused(0, 2, 0.0)
    assert s.ended(0, 1, 1.0)
    assert not s.paused(0, 1, 2.0)


def test_stage_that_pauses_pauses_the_stage_that_it_feeds() -> None:
    """A mapped stage behind one that waits for an answer waits too: what of it runs is asked to end."""
    s = lawful([[], []], flags={0: Flag.CONTAINER, 1: Flag.CONTAINER}, followers={0: [1]})
    s.start(0.0)
    assert s.take(0.0) == 0
    assert s.take(0.0) == 1
    group = s.open(1, 1, CONTINUE)
    s.paused(0, 1, 1.0)
    assert s.was_interrupted(1, 1)
    assert group.closed
    s.cancelled(1, 1, 1.0)
    assert (s.state[1], s.reason[1]) == (CANCELLED, PAUSED)


def test_late_body_has_no_say_once_its_fallback_is_written_down() -> None:
    """It may wait for an answer or fail: the node ends with the fallback's value, as soon as that is durable."""
    s = lawful([[]], timeouts={0: Timeout(attempt=1.0)}, flags={0: Flag.THREAD | Flag.FALLBACK | Flag.TIMED})
    s.start(0.0)
    s.take(0.0)
    s.arm(0, 1)
    s.tick(1.0)
    assert not s.has_settled(0)
    assert s.failed(0, 1, 1.0) == FALLING_BACK
    assert s.settle(0, 1, 2.0, FALLBACK)
    assert s.has_settled(0)
    assert not s.paused(0, 1, 3.0)
    assert s.failed(0, 1, 3.0) == LATE
    assert s.ended(0, 1, 4.0, FALLBACK)
    assert (s.state[0], s.reason[0]) == (SUCCEEDED, FALLBACK)


def test_output_that_cannot_be_written_down_fails_its_node() -> None:
    """Only whoever writes it down may say so."""
    s = lawful([[]])
    s.start(0.0)
    s.take(0.0)
    assert s.settle(0, 1, 1.0)
    assert s.failed(0, 1, 2.0) == LATE
    assert s.failed(0, 1, 2.0, final=True) == FINAL
    assert (s.state[0], s.reason[0]) == (FAILED, ERROR)


def test_stage_is_skipped_with_the_one_that_feeds_it_whatever_its_upstream_waits_for() -> None:
    """What is lost for good counts more than what waits for an answer, also where that comes in the same instant.

    0 (feeds 4) ── 2 ──┐
         1 (asks) ── 3 (any) ── 4
    """
    s = lawful(
        [[], [], [0], [1, 2], [3]],
        flags={0: Flag.CONTAINER, 4: Flag.CONTAINER},
        joins={3: Join.ANY},
        followers={0: [4]},
        on_error="continue",
    )
    s.start(0.0)
    s.take(0.0)
    s.take(0.0)
    assert s.paused(1, 1, 1.0)
    assert s.state[3] == PENDING
    s.failed(0, 1, 2.0)
    assert (s.state[3], s.reason[3]) == (CANCELLED, PAUSED)
    assert (s.state[4], s.reason[4]) == (SKIPPED, UPSTREAM)


def test_signals_say_what_the_methods_of_kept_runs_do() -> None:
    """Settling, pausing and what is known of nodes from before, as signals."""
    s = lawful([[], [], [0, 1]], flags={0: Flag.THREAD})
    handle(s, RunBegun(past={1: Past(CHECKPOINT)}), 0.0)
    assert (s.state[1], s.reason[1]) == (SUCCEEDED, CHECKPOINT)
    assert s.take(0.0) == 0
    assert not handle(s, AttemptSettled(0, 2), 1.0)
    assert handle(s, AttemptSettled(0, 1, OUTPUT), 1.0)
    assert s.has_settled(0)
    assert handle(s, AttemptSucceeded(0, 1), 2.0)
    assert s.take(2.0) == 2
    group = s.open(2, 1, CONTINUE)
    known = handle(s, NodeEntered(group, past=Past(CHECKPOINT)), 2.5)
    assert isinstance(known, int)
    assert (s.state[known], s.ended_at[known]) == (SUCCEEDED, 2.5)
    assert not handle(s, AttemptPaused(2, 2), 3.0)
    assert handle(s, AttemptPaused(2, 1), 3.0)
    assert (s.state[2], s.reason[2], s.ended_at[2]) == (CANCELLED, PAUSED, 3.0)


def test_fallback_settles_by_signal_with_its_reason() -> None:
    """What a signal says of the reason counts: a fallback's value is no output of the node's own."""
    s = lawful([[]], flags={0: Flag.FALLBACK})
    s.start(0.0)
    s.take(0.0)
    assert s.failed(0, 1, 1.0) == FALLING_BACK
    assert not handle(s, AttemptSettled(0, 1, OUTPUT), 2.0)
    assert handle(s, AttemptSettled(0, 1, FALLBACK), 2.0)
    assert s.ended(0, 1, 3.0, FALLBACK)


@pytest.mark.parametrize("way", ["settles", "pauses"])
def test_what_a_body_still_runs_ends_with_it(way: str) -> None:
    """A body that has its value, or waits for an answer, needs nothing more of what it has brought."""
    s = lawful([[], []])
    s.start(0.0)
    s.take(0.0)
    assert s.take(0.0) == 1
    group = s.open(1, 1, CONTINUE)
    child = s.enter(group, Kind(), 1.0)
    assert s.state[child] == READY
    assert s.settle(1, 1, 2.0) if way == "settles" else s.paused(1, 1, 2.0)
    assert (s.state[child], s.ended_at[child]) == (CANCELLED, 2.0)


def test_question_inside_a_node_pauses_the_group_that_it_is_in() -> None:
    """Whoever opened the group decides what that means for the run."""
    s = lawful([[]])
    s.start(0.0)
    s.take(0.0)
    group = s.open(0, 1, CONTINUE)
    child = s.enter(group, Kind(), 1.0)
    assert s.take(1.0) == child
    assert s.paused(child, 1, 2.0)
    assert group.paused
    assert not s.root.paused


def test_condition_of_a_node_that_has_run_is_not_asked_again() -> None:
    """It held when its first attempt started, before the run went on."""
    s = lawful([[]], flags={0: Flag.WHEN})
    s.start(0.0, past={0: Past(attempts=1, at=0.0)})
    assert s.next_to_judge() == NOTHING
    assert s.take(0.0) == 0
    assert s.attempts[0] == 2


def test_new_node_waits_for_an_answer_only_if_its_own_upstream_does() -> None:
    """Somebody else's question is none of its business; hope of another upstream node goes on."""
    s = lawful([[], [], []])
    s.start(0.0)
    assert [s.take(0.0) for _ in range(3)] == [0, 1, 2]
    assert s.paused(0, 1, 1.0)
    group = s.open(2, 1, CONTINUE)
    other = s.enter(group, Kind(), 1.0)
    beside = s.enter(group, Kind(), 1.0, upstream=[other], join=int(Join.ALL_DONE))
    hopeful = s.enter(group, Kind(), 1.0, upstream=[0, other], join=int(Join.ANY))
    assert (s.state[beside], s.state[hopeful]) == (PENDING, PENDING)
    behind = s.enter(group, Kind(), 1.0, upstream=[0], join=int(Join.ALL_DONE))
    assert (s.state[behind], s.reason[behind]) == (CANCELLED, PAUSED)


def test_late_body_does_not_settle_while_its_fallback_is_made() -> None:
    """Its value came too late: what is written down is the fallback's."""
    s = lawful([[]], timeouts={0: Timeout(attempt=1.0)}, flags={0: Flag.THREAD | Flag.FALLBACK | Flag.TIMED})
    s.start(0.0)
    s.take(0.0)
    s.arm(0, 1)
    s.tick(1.0)
    assert s.failed(0, 1, 1.0) == FALLING_BACK
    assert not s.settle(0, 1, 2.0)
    assert s.settle(0, 1, 3.0, FALLBACK)
    assert s.ended(0, 1, 4.0, FALLBACK)
