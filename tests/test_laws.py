"""
The laws of the core, after every signal of random graphs in virtual time; and the proof that each law would be noticed.

One seed is one graph: `python -m tests.support.random_runs SEED` replays it and tells what happened.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from random import Random

import pytest

from antichain.core.capacity import Place, TimedQueue, TimedSlots
from antichain.core.groups import Group
from antichain.core.laws import LawfulScheduler, check
from antichain.core.lines import Lines
from antichain.core.scheduler import FINAL, NO_BUDGETS, NO_PAST, NOTHING, Past, Scheduler
from antichain.core.states import (
    BACKING_OFF,
    CANCELLED,
    FIRST_TERMINAL,
    NO_REASON,
    OUTPUT,
    READY,
    SKIPPED,
    SUCCEEDED,
    UPSTREAM,
)
from antichain.errors import InternalError, RunnerError
from antichain.policies import Amounts, Retry
from antichain.retry_budget import RetryBudget
from antichain.shape import shape_of
from tests.support.random_runs import FEATURES, MORE, play

GRAPHS = 10_000
GRAPHS_IN_FULL = 200_000
# What a replay takes.
REPLAY = "python -m tests.support.random_runs"


def play_all(seeds: Iterable[int]) -> tuple[list[tuple[int, str]], Counter[str], Counter[tuple[str, str]], list[int]]:
    """Play the graphs of *seeds*: failures, features that took effect, pairs of them, sizes."""
    failures: list[tuple[int, str]] = []
    features: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    sizes = []
    for seed in seeds:
        try:
            report = play(seed)
        except (InternalError, RunnerError, AssertionError, LookupError, TypeError, ValueError) as error:
            failures.append((seed, f"{type(error).__name__}: {str(error).splitlines()[:1]}"))
            continue
        features.update(report.features)
        pairs.update(pair for pair in combinations(FEATURES, 2) if report.features.issuperset(pair))
        sizes.append(report.nodes)
    return failures, features, pairs, sizes


# Each of these has broken a law once: by a timer of a rate that a heavier request had put off; by a node from before
# the run went on, which begins to back off in the signal that lets its group drain; by a graph whose fallback is made
# while others wait for more than a limit has.
ONCE_BROKEN = (4443, 41574, 53806, 136437, 178088)


@pytest.mark.parametrize("seed", ONCE_BROKEN)
def test_graphs_that_once_broke_a_law_keep_it(seed: int) -> None:
    play(seed)


@pytest.mark.slow
def test_random_graphs_keep_every_law(full: bool) -> None:
    """All seven laws, after every signal, in graphs that mix everything the core can do."""
    count = GRAPHS_IN_FULL if full else GRAPHS
    if full:
        shares = [range(start, count, 100) for start in range(100)]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(play_all, shares))
    else:
        parts = [play_all(range(count))]
    failures = sorted(failure for part in parts for failure in part[0])
    shown = "\n".join(f"  {REPLAY} {seed}    {error}" for seed, error in failures[:10])
    assert not failures, f"{len(failures)} of {count} graphs break a law; replay with\n{shown}"
    check_coverage(parts, count)


def check_coverage(parts: list[tuple[object, Counter[str], Counter[tuple[str, str]], list[int]]], count: int) -> None:
    """The graphs are large enough, and every feature took effect together with every other one."""
    sizes = sorted(size for part in parts for size in part[3])
    assert sizes[len(sizes) // 2] >= 20
    assert sizes[len(sizes) * 95 // 100] >= 150
    pairs: Counter[tuple[str, str]] = sum((part[2] for part in parts), Counter())
    rare = {pair: pairs[pair] for pair in combinations(FEATURES, 2) if pairs[pair] < count / 50}
    assert not rare, f"too few of {count} graphs mix {rare}"
    features: Counter[str] = sum((part[1] for part in parts), Counter())
    rare_alone = {name: features[name] for name in MORE if features[name] < count / 100}
    assert not rare_alone, f"too few of {count} graphs have {rare_alone}"


def digest_of(seeds: Iterable[int]) -> str:
    decisions = [play(seed).decisions for seed in seeds]
    return hashlib.sha256(repr(decisions).encode()).hexdigest()


@pytest.mark.slow
def test_same_seed_same_decisions_under_any_hash_seed() -> None:
    """Law 6, across interpreters that order their sets and strings differently."""
    code = "from tests.test_laws import digest_of; print(digest_of(range(150)))"
    digests = set()
    for hash_seed in ("0", "1", "424242"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_checking_does_not_change_decisions() -> None:
    """The lawful scheduler decides as the plain one does."""
    for seed in range(150):
        assert play(seed).decisions == play(seed, Scheduler).decisions, seed


# A scheduler with one fault each, the law that notices, and what the fault is.


class StartsEarly(Scheduler):
    """Counts one ending too few for nodes with two upstream nodes."""

    def start(self, now: float, given: Iterable[int] = (), past: Mapping[int, Past] = NO_PAST) -> None:
        for node, upstream in enumerate(self.upstream):
            if len(upstream) > 1 and self.waiting[node] > 1:
                self.waiting[node] -= 1
        super().start(now, given, past)


class KeepsSlots(Scheduler):
    """Forgets to give back the slots of an attempt that failed."""

    def _release(self, node: int, now: float) -> None:
        if self.attempts[node] == 1:
            super()._release(node, now)


class LeavesAbandonedUncharged(Scheduler):
    """Takes the slots of an attempt back as soon as it is given up."""

    def _give_up(self, node: int, attempt: int, given_up: list[tuple[int, int]]) -> None:
        super()._give_up(node, attempt, given_up)
        self.returned(node, attempt)


class PassesLimits(Scheduler):
    """Lets limits be passed by one."""

    def take(self, now: float) -> int:
        for slots in self.limits.values():
            slots.size += 1
        try:
            return super().take(now)
        finally:
            for slots in self.limits.values():
                slots.size -= 1


class WaitsInLine(Scheduler):
    """Lets a full limit block nodes that do not need it."""

    def take(self, now: float) -> int:
        if any((queue.heap or queue.backlog) and not queue.fits() for queue in self.queues):
            return NOTHING
        return super().take(now)


class LosesWakeUps(Scheduler):
    """Tells only the first of the downstream nodes."""

    def _count_down(self, node: int, now: float) -> None:
        for follower in self.downstream[node][:1]:
            self.waiting[follower] -= 1
            if not self.waiting[follower]:
                self._become_ready(follower, now)

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        self._plain = self._starts_plainly = False
        return super().ended(node, attempt, now, reason)


class TakesAnyAttempt(Scheduler):
    """Counts the result of an attempt that is not current any more."""

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        return super().ended(node, max(attempt, self.attempts[node]), now, reason)


class LosesResults(Scheduler):
    """Ignores the result of an attempt that was asked to end."""

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        return not self.was_interrupted(node, attempt) and super().ended(node, attempt, now, reason)


class ChangesItsMind(Scheduler):
    """Cancels what had succeeded when the run is stopped."""

    def stop(self, group: Group, now: float, *, reason: int = 8, interrupt: bool = True, spare: int = NOTHING) -> None:
        super().stop(group, now, reason=reason, interrupt=interrupt, spare=spare)
        node = self.state.find(SUCCEEDED)
        if node >= 0:
            self.state[node] = CANCELLED


class GivesNoReason(Scheduler):
    """Skips without saying why."""

    def _finish(self, node: int, state: int, reason: int, now: float) -> None:
        super()._finish(node, state, reason, now)
        if state != CANCELLED:
            self.reason[node] = NO_REASON


class DoesNotSkip(Scheduler):
    """Lets nodes wait for ever behind one that failed."""

    def _spread(self, node: int, now: float) -> None:
        return


class ForgetsBackoffs(Scheduler):
    """Sets no timer for some of the nodes that back off."""

    def _set_alarm(self, at: float, kind: int, node: int, attempt: int) -> None:
        if self.state[node] != BACKING_OFF:
            super()._set_alarm(at, kind, node, attempt)


class LetsRunOn(Scheduler):
    """Does not ask everything that runs to end when the run is cancelled."""

    def _interrupt(self, node: int, now: float, reason: int) -> None:
        if node % 5:
            super()._interrupt(node, now, reason)


class NeverStarves(Scheduler):
    """Waits for ever for slots that abandoned attempts hold."""

    def look_for_starvation(self, now: float) -> None:
        return


class TakesQueuesInTurn(Scheduler):
    """Takes the head of the first queue that has one, not the best head."""

    def take(self, now: float) -> int:
        queues = self.queues
        try:
            for queue in queues:
                if self.free > 0 and (queue.heap or queue.backlog) and queue.fits():
                    self.queues = [queue]
                    break
            return super().take(now)
        finally:
            self.queues = queues


class DoesNotLift(Scheduler):
    """Lets an urgent newcomer wait behind an ancestor that nobody hurries."""

    def _lift(self, nodes: Iterable[int], priority: int) -> None:
        return


class LiftsOnPaperOnly(Scheduler):
    """Changes the key of a ready node without entering it again."""

    def _lift(self, nodes: Iterable[int], priority: int) -> None:
        super()._lift(nodes, priority)
        for node, state in enumerate(self.state):
            if state == READY:
                queue = self.queue_of(node)
                queue.heap = [key for key in queue.heap if key != self.key[node]]
                queue.heap.sort()


class UsesIndicesTwice(Scheduler):
    """Gives the index of a node away that has not ended."""

    def open(self, owner: int, attempt: int, mode: int) -> Group:
        self.vacant.append(owner)
        return super().open(owner, attempt, mode)


class TimesOutWhatHasCompleted(Scheduler):
    """Watches the time of attempts that have completed, and whose end is still to be said."""

    def settle(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        settles = super().settle(node, attempt, now, reason)
        self._settling.discard(node)
        return settles


class SkipsBehindQuestions(Scheduler):
    """Takes what waits for somebody's answer for lost."""

    def _lose(self, node: int, now: float) -> None:
        self._finish(node, SKIPPED, UPSTREAM, now)


class RunsAgain(Scheduler):
    """Does not believe that nodes have completed before."""

    def _recall(self, node: int, past: Past, now: float) -> bool:
        return bool(node % 3) and super()._recall(node, past, now)


class UnfairLines(Lines):
    def arrive(self, queue: TimedQueue, key: int, now: float) -> None:
        super().arrive(queue, key, -now)


class LetsSmallOnesPass(Scheduler):
    """Lets whoever fits pass a rate before those who came first."""

    def _make_lines(self) -> Lines:
        return UnfairLines(self.timers, self.amounts, self.attempts, self._is_waiting)


class BlindLines(Lines):
    def _look_at(self, slots: TimedSlots, at: float, now: float) -> None:
        return


class NeverLooksAtRates(Scheduler):
    """Sets no timer for limits that open by time."""

    def _make_lines(self) -> Lines:
        return BlindLines(self.timers, self.amounts, self.attempts, self._is_waiting)


class StubbornLines(Lines):
    def take(self, rival: int | None, now: float) -> int | None:
        before = self._round
        try:
            return super().take(rival, now)
        finally:
            self._round = before


class NeverTriesAgain(Scheduler):
    """Takes it that nodes which were refused once are refused until a timer rings."""

    def _make_lines(self) -> Lines:
        return StubbornLines(self.timers, self.amounts, self.attempts, self._is_waiting)


class HoldsUpOthers(Scheduler):
    """Lets nodes that wait for a rate hold up those that use none."""

    def take(self, now: float) -> int:
        queues, lines = self.queues, self.lines
        try:
            for queue in lines.queues if lines is not None else ():
                if queue.line and queue.fits() and lines is not None and lines._best(now) is None:
                    self.queues = []
            return super().take(now)
        finally:
            self.queues = queues


class HastyLines(Lines):
    def _is_open(self, queue: TimedQueue, head: Place, now: float) -> bool:
        super()._is_open(queue, head, now)
        for slots, _ in queue.adaptive:
            slots.now = 1e9
        return True


class StartsDuringPauses(Scheduler):
    """Does not wait for the end of a pause."""

    def _make_lines(self) -> Lines:
        return HastyLines(self.timers, self.amounts, self.attempts, self._is_waiting)


class ForgetsWeights(Scheduler):
    """Takes nodes that say how much they take for such that do not."""

    def weighed(self, node: int, amounts: Amounts | None, now: float) -> None:
        super().weighed(node, amounts and {}, now)


class ForgetsCalls(Scheduler):
    """Counts a call for a retry budget only if it failed."""

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        budgets, self.retry_budgets = self.retry_budgets, NO_BUDGETS
        try:
            return super().ended(node, attempt, now, reason)
        finally:
            self.retry_budgets = budgets


class TriesAgainForNothing(Scheduler):
    """Asks the first of a node's budgets only."""

    def _may_retry(self, node: int) -> bool:
        return all(self.retry_budgets[name].spend() for name in self._budgets_of(node)[:1])


FAULTS: dict[type[Scheduler], str] = {
    LetsSmallOnesPass: "law 6",
    NeverLooksAtRates: "law 5",
    NeverTriesAgain: "law 3",
    HoldsUpOthers: "law 3",
    StartsDuringPauses: "law 2",
    ForgetsWeights: "law 2",
    ForgetsCalls: "law 2",
    TriesAgainForNothing: "law 2",
    TimesOutWhatHasCompleted: "law 4",
    SkipsBehindQuestions: "law 5",
    RunsAgain: "law 4",
    StartsEarly: "law 1",
    KeepsSlots: "law 2",
    LeavesAbandonedUncharged: "law 2",
    PassesLimits: "law 2",
    WaitsInLine: "law 3",
    LosesWakeUps: "law 3",
    TakesAnyAttempt: "law 4",
    LosesResults: "law 4",
    ChangesItsMind: "law 5",
    GivesNoReason: "law 5",
    DoesNotSkip: "law 5",
    ForgetsBackoffs: "law 5",
    LetsRunOn: "law 5",
    NeverStarves: "law 5",
    TakesQueuesInTurn: "law 6",
    DoesNotLift: "law 7",
    LiftsOnPaperOnly: "law 3",
    UsesIndicesTwice: "law 7",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_planted_fault_is_noticed(fault: type[Scheduler]) -> None:
    """Each fault breaks the law that it should, within 200 graphs."""
    make = type(f"Lawful{fault.__name__}", (LawfulScheduler, fault), {})
    caught: Counter[str] = Counter()
    for seed in range(200):
        try:
            play(seed, make)
        except (InternalError, RunnerError) as error:
            caught[str(error).split(" is broken")[0].split("simulated run ")[-1].split(":")[0]] += 1
        except (AssertionError, LookupError, ValueError):
            caught["other"] += 1
        if caught[FAULTS[fault]] >= 2:
            break
    assert caught[FAULTS[fault]], f"{fault.__doc__} Noticed only as {caught}"


def test_report_tells_the_story() -> None:
    """A broken law comes with the last signals, and says whose fault it is."""
    scheduler = type("Broken", (LawfulScheduler, TakesAnyAttempt), {})(shape_of([[], [0]]))
    scheduler.start(0.0)
    scheduler.take(0.0)
    with pytest.raises(InternalError, match=r"law 4 is broken.*report") as caught:
        scheduler.ended(0, 0, 1.0)
    assert [line[0] for line in caught.value.story] == ["start", "take", "ended"]


def test_live_nodes_form_an_antichain() -> None:
    """Law 1 as its name has it: two live nodes of which one is before the other are noticed, also from afar."""
    scheduler = LawfulScheduler(shape_of([[], [0], [1], [2]]))
    scheduler.start(0.0)
    # As if a fault had made node 3 ready while node 0 has not started.
    scheduler.state[1] = scheduler.state[2] = SUCCEEDED
    scheduler.waiting[3] = 1
    scheduler.unfinished -= 2
    scheduler._seen = bytes(scheduler.state)
    scheduler._count_down(2, 1.0)
    with pytest.raises(InternalError, match=r"node 3 is live together with nodes \[0\]"):
        scheduler.tick(1.0)


def test_waiting_for_ever_for_more_than_a_limit_has_is_noticed() -> None:
    class Waits(LawfulScheduler):
        def _lacks_size(self) -> bool:
            return False

    for make in (LawfulScheduler, Waits):
        scheduler = make(shape_of([[]], demand=[(("db", 2),)]), limits={"db": 2})
        scheduler.start(0.0)
        scheduler.resize("db", 1)
        if make is LawfulScheduler:
            scheduler.look_for_starvation(0.0)
        else:
            with pytest.raises(InternalError, match=r"law 5 is broken: nodes wait for ever for more than a limit has"):
                scheduler.look_for_starvation(0.0)


def test_retry_that_is_not_made_is_counted_by_no_budget() -> None:
    """The run's budget has one left, and that of the limit none."""

    class KeepsRetries(LawfulScheduler):
        def _may_retry(self, node: int) -> bool:
            return all(self.retry_budgets[name].spend() for name in self._budgets_of(node))

    for make in (LawfulScheduler, KeepsRetries):
        budgets = {"*": RetryBudget(0.0, 1), "db": RetryBudget(0.0, 1)}
        assert budgets["db"].spend()
        shape = shape_of([[]], demand=[(("db", 1),)], retry={0: Retry(attempts=2)})
        scheduler = make(shape, limits={"db": 1}, retry_budgets=budgets, rng=Random(0))
        scheduler.start(0.0)
        scheduler.take(0.0)
        if make is LawfulScheduler:
            assert scheduler.failed(0, 1, 1.0, retryable=True) == FINAL
            assert budgets["*"].retries == 0
        else:
            with pytest.raises(
                InternalError, match=r"law 2 is broken: retry budget '\*' counts 1 calls, 1 .* \(1, 0\)"
            ):
                scheduler.failed(0, 1, 1.0, retryable=True)


def test_check_looks_at_one_state() -> None:
    """`check` needs no history."""
    scheduler = Scheduler(shape_of([[], [0], [1]]))
    scheduler.start(0.0)
    check(scheduler)
    scheduler.state[2] = READY
    with pytest.raises(InternalError, match="law 1 is broken: node 2 is ready"):
        check(scheduler)
    assert all(state < FIRST_TERMINAL for state in scheduler.state)
