"""
Policies as state machines: random signals, and after each of them what a written table says, computed a second time in
the slowest way that could work.

The tables are data: what a state and a signal lead to. The models keep everything that ever happened and count it anew
each time; they share no line with the policies, whose ways are short.
"""

import math
import os
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from antichain.core.scheduler import FINAL, LATE, RETRYING
from antichain.core.signals import AttemptFailed, AttemptSucceeded, TimePassed
from antichain.errors import GraphError
from antichain.policies import Backoff, Retry
from antichain.policies.adaptive import AdaptiveSize
from antichain.policies.rate import Window
from tests.support.arranged import Arranged

FULL = os.environ.get("ANTICHAIN_FULL") == "1"
# 500 machines of 30 steps each at full size.
MACHINES, STEPS = (500, 30) if FULL else (25, 30)


def run_machine(machine: type[RuleBasedStateMachine], machines: int = MACHINES, steps: int = STEPS) -> None:
    """Run that many machines, each of up to so many steps."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(max_examples=machines, stateful_step_count=steps, deadline=None)
    )


# -- retry and backoff

# (state, signal) -> (what the scheduler answers, the state that follows); None: nothing is asked.
RETRY_TABLE: dict[tuple[str, str], tuple[int | bool | None, str]] = {
    ("running", "succeeds"): (True, "succeeded: output"),
    ("running", "fails, attempts are left"): (RETRYING, "backing off"),
    ("running", "fails, none is left"): (FINAL, "failed: error"),
    ("running", "fails, not retryable"): (FINAL, "failed: error"),
    ("running", "an old attempt fails"): (LATE, "running"),
    ("running", "an old attempt succeeds"): (False, "running"),
    ("running", "time passes"): (None, "running"),
    ("backing off", "the last attempt fails again"): (LATE, "backing off"),
    ("backing off", "an old attempt succeeds"): (False, "backing off"),
    ("backing off", "time passes, not enough"): (None, "backing off"),
    ("backing off", "the pause ends"): (None, "running"),
    ("succeeded: output", "an old attempt fails"): (LATE, "succeeded: output"),
    ("succeeded: output", "time passes"): (None, "succeeded: output"),
    ("failed: error", "an old attempt succeeds"): (False, "failed: error"),
    ("failed: error", "time passes"): (None, "failed: error"),
}


class RetryMachine(RuleBasedStateMachine):
    """One node that retries, in the scheduler itself."""

    @initialize(
        attempts=st.integers(1, 5),
        initial=st.floats(0.01, 10),
        factor=st.floats(1, 3),
        maximum=st.floats(0.01, 50),
    )
    def begin(self, attempts: int, initial: float, factor: float, maximum: float) -> None:
        self.retry = Retry(attempts, Backoff(initial, factor, maximum, jitter=False))
        self.arranged = Arranged([[]], retry={0: self.retry})
        self.arranged.taken()
        self.attempt, self.now, self.state, self.ready_at = 1, 0.0, "running", 0.0

    def step(self, signal: str, answer: Any = None) -> None:
        """Compare with the row of the table."""
        expected, self.state = RETRY_TABLE[self.state, signal]
        assert answer == expected, (signal, answer)
        if signal == "the pause ends":
            assert self.arranged.taken() == [0]
            self.attempt += 1
        else:
            assert self.arranged.taken() == []

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.arranged.handle(TimePassed(), now=self.now)
        if self.state != "backing off":
            self.step("time passes")
        else:
            self.step("the pause ends" if self.now >= self.ready_at else "time passes, not enough")

    @precondition(lambda self: self.state == "backing off")
    @rule()
    def the_pause_is_over(self) -> None:
        before = math.nextafter(self.ready_at, -math.inf)
        if before > self.now:
            self.arranged.handle(TimePassed(), now=before)
            self.step("time passes, not enough")
        self.now = self.ready_at
        self.arranged.handle(TimePassed(), now=self.now)
        self.step("the pause ends")

    @precondition(lambda self: self.state == "running")
    @rule(retryable=st.booleans(), after=st.one_of(st.none(), st.floats(0, 30)))
    def fails(self, retryable: bool, after: float | None) -> None:
        is_last = self.attempt == self.retry.attempts
        failed = AttemptFailed(0, self.attempt, retryable=retryable, after=after)
        answer = self.arranged.handle(failed, now=self.now)
        if not retryable:
            self.step("fails, not retryable", answer)
        elif is_last:
            self.step("fails, none is left", answer)
        else:
            self.step("fails, attempts are left", answer)
            # By hand: one factor for each attempt before this one, and never less than the other side asks for.
            pause = self.retry.backoff.initial
            for _ in range(self.attempt - 1):
                pause *= self.retry.backoff.factor
            self.ready_at = self.now + max(min(pause, self.retry.backoff.maximum), after or 0.0)
            next_at = self.arranged.core.next_at()
            assert next_at is not None
            assert math.isclose(next_at, self.ready_at, rel_tol=1e-9)
            self.ready_at = next_at

    @precondition(lambda self: self.state == "running")
    @rule()
    def succeeds(self) -> None:
        self.step("succeeds", self.arranged.handle(AttemptSucceeded(0, self.attempt), now=self.now))

    @precondition(lambda self: self.state == "backing off")
    @rule()
    def fails_again(self) -> None:
        answer = self.arranged.handle(AttemptFailed(0, self.attempt, retryable=True), now=self.now)
        self.step("the last attempt fails again", answer)

    @precondition(lambda self: (self.state, "an old attempt fails") in RETRY_TABLE)
    @rule()
    def an_old_attempt_fails(self) -> None:
        answer = self.arranged.handle(AttemptFailed(0, self.attempt - 1, retryable=True), now=self.now)
        self.step("an old attempt fails", answer)

    @precondition(lambda self: (self.state, "an old attempt succeeds") in RETRY_TABLE)
    @rule()
    def an_old_attempt_succeeds(self) -> None:
        answer = self.arranged.handle(AttemptSucceeded(0, self.attempt - 1), now=self.now)
        self.step("an old attempt succeeds", answer)

    @invariant()
    def is_in_the_state_of_the_table(self) -> None:
        if hasattr(self, "arranged"):
            assert self.arranged.state(0) == self.state
            assert self.arranged.core.attempts[0] == self.attempt


def test_retry_follows_its_table() -> None:
    """Every row, and no other: how a node retries, pauses, ends and ignores what comes late."""
    run_machine(RetryMachine)


class BackoffMachine(RuleBasedStateMachine):
    """The pauses themselves, with and without jitter, attempt after attempt."""

    @initialize(
        initial=st.floats(0, 10), factor=st.floats(1, 10), maximum=st.floats(0, 1000), seed=st.integers(0, 1000)
    )
    def begin(self, initial: float, factor: float, maximum: float, seed: int) -> None:
        self.plain = Backoff(initial, factor, maximum, jitter=False)
        self.jittered = Backoff(initial, factor, maximum)
        self.rng = Random(seed)
        self.base, self.attempt = initial, 1

    @rule()
    def another_attempt_fails(self) -> None:
        most = min(self.base, self.plain.maximum)
        assert math.isclose(self.plain.delay(self.attempt, self.rng), most, rel_tol=1e-9, abs_tol=1e-300)
        # No more than the cap, and what the generator of this seed gives: nothing else is drawn.
        state = self.rng.getstate()
        delay = self.jittered.delay(self.attempt, self.rng)
        again = Random()
        again.setstate(state)
        assert delay <= self.plain.maximum
        assert math.isclose(delay, most * again.random(), rel_tol=1e-9, abs_tol=1e-300)
        assert again.getstate() == self.rng.getstate()
        self.base, self.attempt = self.base * self.plain.factor, self.attempt + 1

    @rule()
    def much_later(self) -> None:
        assert self.plain.delay(100_000, self.rng) <= self.plain.maximum


def test_backoff_follows_its_formula() -> None:
    """Exponential, capped, fully jittered."""
    run_machine(BackoffMachine)


# -- rate


class WrittenRate:
    """
    A rate as it is defined: an entry counts in (now - per, now], in exact arithmetic; everything is kept.
    """

    def __init__(self, units: dict[str, float], per: float) -> None:
        self.units = {unit: self.counted(size) for unit, size in units.items()}
        self.per = Fraction(per)
        self.entries: list[tuple[Fraction, dict[str, Fraction]]] = []
        self.pauses: list[float] = []

    @staticmethod
    def counted(amount: float) -> Fraction:
        return Fraction(round(Fraction(amount) * 10**9), 10**9)

    def passed(self, unit: str, now: float) -> Fraction:
        end = Fraction(now)
        inside = [amounts for at, amounts in self.entries if end - self.per < at <= end]
        return sum((amounts.get(unit, Fraction(0)) for amounts in inside), Fraction(0))

    def fits(self, wanted: dict[str, float], now: float) -> bool:
        if any(now < until for until in self.pauses):
            return False
        return all(
            self.passed(unit, now) + self.counted(wanted.get(unit, 0)) <= size for unit, size in self.units.items()
        )

    def instants(self, now: float) -> list[float]:
        """When anything can change: now, when a pause ends, and the first float at which an entry has left."""
        found = [now, *(until for until in self.pauses if until > now)]
        for at, _ in self.entries:
            left = float(at + self.per)
            while Fraction(left) < at + self.per:
                left = math.nextafter(left, math.inf)
            while Fraction(math.nextafter(left, -math.inf)) >= at + self.per:
                left = math.nextafter(left, -math.inf)
            if left > now:
                found.append(left)
        return sorted(found)

    def ready_at(self, wanted: dict[str, float], now: float) -> float:
        return next(instant for instant in self.instants(now) if self.fits(wanted, instant))


AMOUNTS = st.one_of(st.integers(0, 12), st.floats(0, 12))
REQUESTS = st.fixed_dictionaries({}, optional={"requests": st.integers(0, 3), "tokens": AMOUNTS})


class RateMachine(RuleBasedStateMachine):
    """A window of a random length on a random clock."""

    @initialize(
        per=st.sampled_from([0.1, 1 / 3, 1.0, 7.7, 60.0]),
        begin=st.sampled_from([0.0, 0.1, 1e6 + 0.1, 1.7e9]),
        tokens=st.sampled_from([1, 5, 10, 0.3]),
    )
    def begin(self, per: float, begin: float, tokens: float) -> None:
        units = {"requests": 3, "tokens": tokens}
        self.window, self.written = Window(units, per), WrittenRate(units, per)
        self.per, self.now = per, begin
        self.tickets: list[int] = []

    def is_too_much(self, wanted: dict[str, float]) -> bool:
        return any(self.written.counted(amount) > self.written.units[unit] for unit, amount in wanted.items())

    @rule(part=st.one_of(st.floats(0, 0.5), st.sampled_from([0.0, 0.5, 1.0])))
    def time_passes(self, part: float) -> None:
        self.now += part * self.per

    @rule(wanted=REQUESTS)
    def somebody_asks(self, wanted: dict[str, float]) -> None:
        if self.is_too_much(wanted):
            for ask in (self.window.fits, self.window.ready_at, self.window.take):
                try:
                    ask(wanted, self.now)
                except GraphError:
                    continue
                raise AssertionError("what is above the rate was not refused")
            return
        at = self.window.ready_at(wanted, self.now)
        assert at == self.written.ready_at(wanted, self.now)
        assert self.window.fits(wanted, self.now) == (at == self.now)
        if at == self.now:
            self.pass_on(wanted)

    @rule(wanted=REQUESTS)
    def somebody_waits(self, wanted: dict[str, float]) -> None:
        if not self.is_too_much(wanted):
            self.now = self.window.ready_at(wanted, self.now)
            assert self.window.fits(wanted, self.now)
            self.pass_on(wanted)

    def pass_on(self, wanted: dict[str, float]) -> None:
        assert self.written.fits(wanted, self.now)
        self.tickets.append(self.window.take(wanted, self.now))
        counted = {unit: self.written.counted(wanted.get(unit, 0)) for unit in self.written.units}
        self.written.entries.append((Fraction(self.now), counted))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), used=REQUESTS)
    def somebody_settles(self, data: st.DataObject, used: dict[str, float]) -> None:
        place = data.draw(st.integers(0, len(self.tickets) - 1))
        self.window.settle(self.tickets[place], used, self.now)
        self.written.entries[place][1].update({unit: self.written.counted(amount) for unit, amount in used.items()})

    @rule(part=st.floats(0, 2))
    def everybody_is_asked_to_wait(self, part: float) -> None:
        until = self.now + part * self.per
        self.window.pause(until)
        self.written.pauses.append(until)

    @rule(tokens=st.sampled_from([1, 5, 10, 0.3]))
    def the_rate_changes(self, tokens: float) -> None:
        self.window.resize({"tokens": tokens})
        self.written.units["tokens"] = self.written.counted(tokens)

    @invariant()
    def as_much_has_passed(self) -> None:
        if hasattr(self, "window"):
            passed = self.window.passed(self.now)
            assert passed == {unit: float(self.written.passed(unit, self.now)) for unit in self.written.units}


def test_a_rate_passes_what_its_definition_says() -> None:
    """At every instant: whether it fits, when it will, and how much has passed."""
    run_machine(RateMachine)


# -- adaptive


class WrittenAdaptive:
    """
    The rule of Adaptive as a table of phases; every number is counted from what has happened so far.
    """

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.phase, self.size = "fast start", float(initial)
        self.ceiling, self.in_vain, self.gain = 0, 0, 1.0
        self.decreased_at, self.hold_until, self.paused_until = -math.inf, -math.inf, -math.inf
        self.least = minimum
        # Seconds of a call in the mean; before the first success, of the first pause.
        self.mean, self.is_measured = 0.0, False
        self.full_at = -math.inf
        # In the fast start: slots open at that instant, after which they open one by one.
        self.opened, self.opened_at = self.size, -math.inf
        # Whether calls that succeeded had begun since the last decrease; how many counted in this phase.
        self.good = 0
        self.counted = 0

    # (phase, signal) -> what happens, and the phase that follows.
    TABLE: dict[tuple[str, str], Callable[["WrittenAdaptive"], str]] = {
        ("fast start", "success"): lambda my: my.grow(2.0, "fast start"),
        ("fast start", "overload"): lambda my: my.fall(0.8),
        ("climb", "success"): lambda my: my.climb(),
        ("climb", "overload"): lambda my: my.fall(0.5 if my.has_not_helped else 0.9),
        ("hold", "success"): lambda my: my.hold(),
        ("hold", "overload"): lambda my: my.fall(0.5 if my.has_not_helped else 0.9),
        ("try", "success"): lambda my: my.try_on(),
        ("try", "overload"): lambda my: my.fall(0.5 if my.has_not_helped else 0.9),
        ("free", "success"): lambda my: my.grow_freely(),
        ("free", "overload"): lambda my: my.fall(0.5 if my.has_not_helped else 0.8 if my.is_fast else 0.9),
    }

    @property
    def slots(self) -> int:
        return math.floor(self.size)

    @property
    def has_not_helped(self) -> bool:
        return 8 * self.good < self.slots

    @property
    def is_fast(self) -> bool:
        return 2 * self.gain >= self.size

    @property
    def pace(self) -> float:
        """Seconds between two slots in the fast start: a fifth of what it takes a full limit to start a call."""
        return self.mean / (5.0 * self.size) if self.is_measured else 0.0

    def success(self, began: float, now: float, in_flight: int) -> None:
        if self.phase == "fast start":
            since = now - self.opened_at
            self.opened = min(self.size, self.opened + since / self.pace) if self.pace else self.size
            self.opened_at = now
        took = now - began
        self.mean = self.mean + 0.2 * (took - self.mean) if self.is_measured else took
        self.is_measured = True
        self.good += began > self.decreased_at
        if in_flight >= self.slots or self.full_at >= began:
            self.began, self.now = began, now
            self.phase = self.TABLE[self.phase, "success"](self)

    def overload(self, began: float, now: float, in_flight: int, wait: float) -> None:
        if began > self.decreased_at:
            self.began, self.now, self.wait = began, now, wait
            self.is_used_up = in_flight >= self.slots or self.full_at >= began
            self.used = min(self.slots, max(in_flight, math.ceil(self.slots / 2)))
            self.phase = self.TABLE[self.phase, "overload"](self)
            if wait:
                self.mean = self.mean if self.is_measured else self.mean or wait
                self.paused_until = max(self.paused_until, now + wait)
            return
        if now < self.paused_until:
            self.paused_until = max(self.paused_until, now + wait)
        if self.phase in ("climb", "hold", "try") and self.ceiling > self.least + 1:
            self.ceiling -= 1
            self.size = min(self.size, self.ceiling - 1.0)
            self.settle_phase()

    def grow(self, slots: float, phase: str) -> str:
        self.size = min(self.maximum, self.size + slots)
        return phase

    def fall(self, kept: float) -> str:
        was_fast = self.phase == "fast start" or (self.phase == "free" and self.is_fast)
        self.in_vain = min(7, self.in_vain + 1) if self.phase == "try" and self.used >= self.ceiling else 0
        self.ceiling = max(self.minimum + 1, self.used - (self.used // 16 if was_fast else 0))
        self.size = max(float(self.minimum), min(self.size, self.used) * kept)
        self.least = max(self.minimum, self.used // 2)
        cost = max(self.wait, self.now - self.began - (self.mean if self.is_measured else 0.0))
        self.hold_until = self.now + min(10.0, self.slots) * cost * 2**self.in_vain
        self.decreased_at, self.good, self.counted, self.gain = self.now, 0, 0, 1.0
        return self.below() if self.is_used_up else "free"

    def below(self) -> str:
        return "climb" if self.size < self.ceiling - 1 else "hold" if self.size < self.ceiling else "try"

    def settle_phase(self) -> None:
        self.phase = self.below()

    def climb(self) -> str:
        top = self.ceiling - 1.0
        self.counted = 0
        self.size = min(self.maximum, top, self.size + max(1.0, (top - self.size) / 2) / self.size)
        return self.below()

    def hold(self) -> str:
        if self.began > self.decreased_at:
            self.counted += 1
            if self.counted >= 2**self.in_vain * self.size and self.now >= self.hold_until:
                self.counted = 0
                self.size = min(float(self.maximum), float(self.ceiling))
        return self.below()

    def try_on(self) -> str:
        if self.began > self.decreased_at:
            self.counted += 1
            if self.counted >= 2 * self.size:
                self.gain, self.in_vain = 1.0, 0
                return "free"
        return "try"

    def grow_freely(self) -> str:
        size = self.size
        self.size = min(self.maximum, size + min(1.0, self.gain / size))
        self.gain = min(size, self.gain * 2 ** (1 / size))
        return "free"

    def allowed(self, now: float) -> int:
        """Slot number n opens n - 1 steps after the pause; in the fast start, those that are new at its pace."""
        return sum(self.opens(slot) <= now for slot in range(1, self.slots + 1))

    def opens(self, slot: int) -> float:
        at = self.paused_until + (slot - 1) * (0.5 * self.mean / self.slots)
        if self.phase == "fast start" and slot > self.opened:
            at = max(at, self.opened_at + (slot - self.opened) * self.pace)
        return at


class AdaptiveMachine(RuleBasedStateMachine):
    """Calls that start when they are let, and end well or in an overload, in any order."""

    @initialize(
        initial=st.integers(1, 12), below=st.integers(0, 3), above=st.integers(0, 40), begin=st.sampled_from([0.0, 1e6])
    )
    def begin(self, initial: int, below: int, above: int, begin: float) -> None:
        bounds = initial, max(1, initial - below), initial + above
        self.size, self.written = AdaptiveSize(*bounds), WrittenAdaptive(*bounds)
        self.now = begin
        self.under_way: list[tuple[float, int]] = []

    @property
    def in_flight(self) -> int:
        return sum(weight for _, weight in self.under_way)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(weight=st.sampled_from([1, 1, 1, 2, 3]))
    def a_call_starts(self, weight: int) -> None:
        self.start_one(weight)

    @rule()
    def as_many_start_as_may(self) -> None:
        while self.start_one(1):
            pass

    def start_one(self, weight: int) -> bool:
        allowed = self.written.allowed(self.now)
        fits = self.in_flight + weight <= allowed or (not self.under_way and allowed > 0)
        assert self.size.fits(weight, self.in_flight, self.now) == fits
        if fits:
            self.under_way.append((self.now, weight))
            self.size.started(self.in_flight, self.now, weight)
            if self.in_flight + weight > self.written.slots:
                self.written.full_at = self.now
        return fits

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.2]))
    def a_call_succeeds(self, data: st.DataObject, seconds: float) -> None:
        self.now += seconds
        self.succeed(data.draw(st.integers(0, len(self.under_way) - 1)))

    @precondition(lambda self: self.under_way)
    @rule(seconds=st.sampled_from([0.05, 0.2]))
    def all_succeed(self, seconds: float) -> None:
        self.now += seconds
        while self.under_way:
            self.succeed(0)

    @precondition(lambda self: self.under_way)
    @rule(rounds=st.integers(1, 8))
    def all_goes_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.all_succeed(0.1)
            self.as_many_start_as_may()

    def succeed(self, place: int) -> None:
        began, _ = self.under_way[place]
        before = self.written.slots
        changed = self.size.succeeded(began, self.now, self.in_flight)
        self.written.success(began, self.now, self.in_flight)
        assert changed == (self.written.slots != before)
        del self.under_way[place]

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        seconds=st.sampled_from([0.0, 0.01, 2.0]),
        wait=st.sampled_from([None, None, 0.0, 0.5, 4.0]),
        burst=st.integers(1, 4),
    )
    def calls_are_refused(self, data: st.DataObject, seconds: float, wait: float | None, burst: int) -> None:
        self.now += seconds
        for _ in range(min(burst, len(self.under_way))):
            began, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
            in_flight = self.in_flight + 1
            before = self.written.slots, self.written.paused_until
            changed = self.size.overloaded(began, self.now, in_flight, wait)
            self.written.overload(began, self.now, in_flight, wait or 0.0)
            assert changed == (before != (self.written.slots, self.written.paused_until))

    @rule(size=st.integers(1, 60))
    def somebody_sets_the_size(self, size: int) -> None:
        self.size.resize(size)
        written = self.written
        written.size = float(max(written.minimum, min(written.maximum, size)))
        written.phase, written.gain, written.in_vain, written.counted = "free", 1.0, 0, 0

    @invariant()
    def is_as_written(self) -> None:
        if not hasattr(self, "size"):
            return
        size, written = self.size, self.written
        assert size.size == written.slots
        assert written.minimum <= size.size <= written.maximum
        assert size.paused_until == written.paused_until
        assert size.allowed(self.now) == written.allowed(self.now)
        opens = size.opens_at(self.in_flight, self.now)
        slot = min(self.in_flight + 1, written.slots) if self.in_flight else 1
        assert opens == max(self.now, written.opens(slot))


def test_adaptive_follows_its_table() -> None:
    """Its five phases, its bursts, pauses and ramps, whatever comes in whatever order."""
    run_machine(AdaptiveMachine)
