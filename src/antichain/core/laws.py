"""
What always holds: the laws of the core, checked against it. Nothing here decides, and nothing here is needed for a run.

`check` looks at one state from scratch. `LawfulScheduler` is the scheduler with every signal watched: it keeps books of
its own and compares. It costs a few times what it watches, and is for tests, simulations and debugging.

The laws, by number:

1. A node becomes live only when its join rule holds; where every join is `all`, the live nodes form an antichain.
2. The slots charged are those of the attempts that run, abandoned ones included, and no limit is passed. Every call and
   every further attempt is counted by each retry budget of its node.
3. No ready node that fits is left waiting; rates are first come first served.
4. An ending belongs to the current attempt; any other changes nothing, and what completed is not lost.
5. Every node ends in one terminal state, with a reason, and that never changes; what waits is waiting for something.
   Instants are those of the signals.
6. The best ready node that fits is taken, by one order that depends on nothing but the plan.
7. Growth keeps all this, and an urgent newcomer lifts its unfinished ancestors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from antichain.core.capacity import AdaptiveSlots, SharedSlots, most_of
from antichain.core.groups import CANCELLING, NOT_STOPPING, Group
from antichain.core.line_laws import Line
from antichain.core.scheduler import FALLING_BACK, LATE, NO_BUDGETS, NO_PAST, NOTHING, RETRYING, Kind, Past, Scheduler
from antichain.core.states import (
    BACKING_OFF,
    FAILED,
    FALLBACK,
    FIRST_TERMINAL,
    LIVE,
    NEVER,
    NO_REASON,
    OUTPUT,
    PAUSED,
    PENDING,
    READY,
    REASON_NAMES,
    REASONS,
    RUN,
    RUNNING,
    SKIPPED,
    STATE_NAMES,
    SUCCEEDED,
    TRANSITIONS,
    UPSTREAM,
)
from antichain.core.timers import BACKOFF_ENDS, GRACE_ENDS, LIMIT_OPENS, QUEUE_EXPIRES, STARVATION_ENDS
from antichain.errors import InternalError
from antichain.policies import EVERYTHING, Allowance, Amounts, Join
from antichain.shape import INDEX_MASK, PRIORITY_SHIFT, Flag, Shape

# The whole state is looked at after so many signals, and after each of those that reach far: what else may change
# is looked at after every signal.
DEEP_EVERY: Final = 16
REACHING: Final = frozenset({"start", "stop", "halt", "cancel", "tick"})
# How many signals a report tells.
STORY: Final = 30

_ALL: Final = int(Join.ALL)
_ANY: Final = int(Join.ANY)
_CONTAINER: Final = int(Flag.CONTAINER)
_WHEN: Final = int(Flag.WHEN)


def check(scheduler: Scheduler) -> None:
    """
    Check the laws that can be seen in one state, from scratch.

    Raises:
        InternalError: one does not hold.
    """
    unfinished = unfinished_nodes(scheduler)
    _check_endings(scheduler, unfinished)
    _check_joins(scheduler, unfinished)
    _check_priorities(scheduler, unfinished)
    _check_charges(scheduler, unfinished)
    _check_groups(scheduler, unfinished)
    _check_timers(scheduler, unfinished)


def unfinished_nodes(scheduler: Scheduler) -> list[int]:
    """
    List the nodes without a terminal state.
    """
    return [node for node, where in enumerate(scheduler.state) if where < FIRST_TERMINAL]


def broken(scheduler: Scheduler, law: int, message: str) -> NoReturn:
    """
    Report a law that does not hold.
    """
    story = scheduler.story if isinstance(scheduler, LawfulScheduler) else ()
    raise InternalError(f"law {law} is broken: {message}", story)


def join_holds(scheduler: Scheduler, node: int) -> bool:
    """
    Tell whether the endings that *node* waits for have come.
    """
    state, upstream, join = scheduler.state, scheduler.upstream[node], scheduler.join[node]
    if join == _ANY:
        return not upstream or any(state[before] == SUCCEEDED for before in upstream)
    for before in upstream:
        if state[before] != SUCCEEDED and (join == _ALL or state[before] < FIRST_TERMINAL):
            return False
    return True


def can_still_hold(scheduler: Scheduler, node: int) -> bool:
    """
    Tell whether the join rule of *node* holds, or may hold one day.
    """
    state, upstream, join = scheduler.state, scheduler.upstream[node], scheduler.join[node]
    if join == _ALL:
        for before in upstream:
            if state[before] > SUCCEEDED:
                return False
        return True
    return join != _ANY or not upstream or any(state[before] <= SUCCEEDED for before in upstream)


def _check_endings(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    for where, reason in set(zip(scheduler.state, scheduler.reason, strict=True)):
        if where >= FIRST_TERMINAL and reason not in REASONS[where]:
            broken(scheduler, 5, f"a node is {STATE_NAMES[where]} with reason {REASON_NAMES[reason]!r}")
    if len(unfinished) != scheduler.unfinished:
        broken(scheduler, 5, f"{len(unfinished)} nodes have no terminal state, {scheduler.unfinished} were counted")


def _check_joins(scheduler: Scheduler, nodes: Iterable[int]) -> None:
    state = scheduler.state
    leaders = _leaders(scheduler)
    for node in nodes:
        where = state[node]
        if where >= FIRST_TERMINAL:
            continue
        waits = leaders is not None and any(
            not scheduler.attempts[leader] and state[leader] < FIRST_TERMINAL for leader in leaders.get(node, ())
        )
        if where != PENDING:
            if waits or not join_holds(scheduler, node):
                broken(scheduler, 1, f"node {node} is {STATE_NAMES[where]}, but its join rule does not hold")
        elif not can_still_hold(scheduler, node):
            broken(scheduler, 5, f"node {node} is pending, but its join rule can never hold")
        elif not waits and join_holds(scheduler, node):
            broken(scheduler, 3, f"node {node} is pending, but all that it waits for has come")


def _leaders(scheduler: Scheduler) -> dict[int, list[int]] | None:
    if not scheduler.followers:
        return None
    leaders: dict[int, list[int]] = {}
    for leader, nodes in scheduler.followers.items():
        for node in nodes:
            leaders.setdefault(node, []).append(leader)
    return leaders


def _check_priorities(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    state, priority, key = scheduler.state, scheduler.priority, scheduler.key
    for node in unfinished:
        urgency = priority[node]
        if key[node] >> PRIORITY_SHIFT != -urgency or key[node] & INDEX_MASK != node:
            broken(
                scheduler, 6, f"node {node} has priority {urgency}, but its key says {-(key[node] >> PRIORITY_SHIFT)}"
            )
        for before in scheduler.upstream[node]:
            if state[before] < FIRST_TERMINAL and priority[before] < urgency:
                broken(
                    scheduler,
                    7,
                    f"node {before} has priority {priority[before]}, but node {node} behind it has {urgency}",
                )


def _check_charges(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    units = dict.fromkeys(scheduler.limits, 0)
    charged = [node for node in unfinished if scheduler.state[node] == RUNNING and scheduler.is_charged(node)]
    holders = [scheduler.queue_of(node) for node in charged] + list(scheduler.abandoned.values())
    for queue in holders:
        for slots, weight in queue.needs:
            units[slots.name] += weight
    if len(charged) != scheduler.active:
        broken(scheduler, 2, f"{len(charged)} attempts hold slots, {scheduler.active} were counted")
    if scheduler.max_concurrent - len(holders) != scheduler.free:
        broken(
            scheduler,
            2,
            f"{len(holders)} of {scheduler.max_concurrent} slots are held, {scheduler.free} are called free",
        )
    for name, slots in scheduler.limits.items():
        if slots.used != units[name]:
            broken(scheduler, 2, f"{units[name]} units of limit {name!r} are held, {slots.used} were counted")


def _check_groups(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    state, group_of, root = scheduler.state, scheduler.group_of, scheduler.root
    for owner, groups in scheduler.groups.items():
        for group in groups:
            if group.owner != owner or (group.closed and not group.live):
                broken(scheduler, 5, f"a group of node {owner} has ended and was not reported")
            if state[owner] >= FIRST_TERMINAL and not group.closed:
                broken(scheduler, 5, f"node {owner} is {STATE_NAMES[state[owner]]}, but a group of it is open")
    for node, group in group_of.items():
        if (state[node] < FIRST_TERMINAL) != (node in group.live):
            broken(scheduler, 5, f"node {node} is {STATE_NAMES[state[node]]}, which its group does not know")
    for node in unfinished:
        group = group_of.get(node, root)
        if group.stopping != NOT_STOPPING:
            _check_stopped(scheduler, group, node)


def _check_stopped(scheduler: Scheduler, group: Group, node: int) -> None:
    where = scheduler.state[node]
    if where != RUNNING:
        broken(scheduler, 5, f"node {node} is {STATE_NAMES[where]}, but what it belongs to is stopping")
    if group.stopping == CANCELLING and not scheduler.was_interrupted(node, scheduler.attempts[node]):
        broken(scheduler, 5, f"node {node} runs, and was not asked to end although what it belongs to is cancelled")


def _check_timers(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    backing_off, ending = scheduler.timers_of(BACKOFF_ENDS), scheduler.timers_of(GRACE_ENDS)
    _check_waits(scheduler, unfinished)
    for node in unfinished:
        where = scheduler.state[node]
        if where == BACKING_OFF and node not in backing_off:
            broken(scheduler, 5, f"node {node} backs off without an end")
        elif where == RUNNING and scheduler.has_body(node) and node not in ending:
            attempt = scheduler.attempts[node]
            if scheduler.abandoned_nodes.get(node) == attempt:
                # Between `tick`, which gave it up, and what the caller says of it.
                continue
            if scheduler.was_interrupted(node, attempt) or scheduler.has_expired(node, attempt):
                broken(scheduler, 5, f"node {node} was asked to end, but nobody watches whether it does")


def _check_waits(scheduler: Scheduler, unfinished: Sequence[int]) -> None:
    watched = scheduler.timers_of(QUEUE_EXPIRES)
    for node in unfinished:
        timeout = scheduler.timeout.get(node)
        is_limited = timeout is not None and timeout.queue is not None and not scheduler.flags[node] & _CONTAINER
        if is_limited and scheduler.state[node] == READY and node not in watched:
            broken(scheduler, 5, f"node {node} may wait for its slots for so long only, and nobody watches it")


class WatchedBudget:
    """
    Count what a retry budget is told by one run; it may be shared by others.
    """

    def __init__(self, budget: Allowance) -> None:
        self._budget = budget
        self.calls = 0
        self.retries = 0

    def call_ended(self) -> None:
        self.calls += 1
        self._budget.call_ended()

    def spend(self) -> bool:
        granted = self._budget.spend()
        self.retries += granted
        return granted

    def give_back(self) -> None:
        self.retries -= 1
        self._budget.give_back()

    def told(self) -> str:
        return self._budget.told()

    def fresh(self) -> Allowance:
        return self._budget.fresh()


class LawfulScheduler(Scheduler):
    """
    Check every law after every signal, with books of its own.
    """

    def __init__(self, shape: Shape, **options: Any) -> None:  # Any: those of Scheduler
        budgets = {name: WatchedBudget(budget) for name, budget in options.pop("retry_budgets", NO_BUDGETS).items()}
        super().__init__(shape, retry_budgets=budgets, **options)
        # What each of them has to have been told.
        self._budgets = budgets
        self._calls = dict.fromkeys(budgets, 0)
        # Attempts that do not count for them: those of nodes that had failed before the run went on.
        self._tried_before: dict[int, int] = {}
        self._retries = dict.fromkeys(budgets, 0)
        # Inside a signal: the scheduler calls its own methods, and is between two states.
        self._busy = False
        self._signals = 0
        self.story: list[tuple[object, ...]] = []
        # The states and reasons that the last signal left.
        self._seen = bytes(self.state)
        self._seen_reason = bytes(self.reason)
        # The attempt that runs and holds slots, by node; and the abandoned ones that still do.
        self._holding: dict[int, int] = {}
        self._left_behind: dict[tuple[int, int], int] = {}
        self._units = dict.fromkeys(self.limits, 0)
        self._running: dict[int, int] = {}
        self._going_on: set[int] = set()
        # Nodes whose condition was asked for, and those whose condition held.
        self._asked: set[int] = set()
        # Attempts that have completed, and whose end has not been said.
        self._settled: dict[int, int] = {}
        self._condition_held: set[int] = set()
        # Indices that were given back.
        self._vacated: set[int] = set()
        # Who waits for limits that open by time.
        self._line = Line(self)
        self._line.unweighed.update(shape.weighed)
        # All nodes before each, as bits. Only while every join is `all` and no output was given.
        self._before: list[int] | None = None
        self._live = 0

    # -- the signals

    def start(self, now: float, given: Iterable[int] = (), past: Mapping[int, Past] = NO_PAST) -> None:
        given = list(given)
        if not given and not past and not any(self.join):
            self._before = ancestors(self.upstream, self.downstream)
        self._enter_signal("start", now, given, dict(past))
        # What has run has been judged, unless it had failed and begins anew.
        self._condition_held.update(
            node for node, before in past.items() if before.attempts > before.before and self._has_run(node)
        )
        self._tried_before.update({node: before.before for node, before in past.items()})
        super().start(now, given, past)
        for node, before in past.items():
            if self.state[node] < FIRST_TERMINAL and before.reason:
                broken(self, 4, f"node {node} had ended before the run went on, and is {STATE_NAMES[self.state[node]]}")
        self._leave_signal("start")

    def take(self, now: float) -> int:
        expected = self._best(now)
        self._enter_signal("take", now)
        taken = super().take(now)
        node = taken if taken >= NOTHING else -2 - taken
        self.story[-1] += (taken,)
        if node != expected:
            if expected == NOTHING:
                broken(self, 2, f"node {node} was taken, although it is not ready or does not fit")
            law, what = (3, "nothing") if node == NOTHING else (6, f"node {node}")
            broken(self, law, f"{what} was taken, although node {expected} is ready, fits and comes first")
        if node != NOTHING:
            self._hold(node, resumes=taken < NOTHING)
        elif self.lines is not None:
            self._judge_waiting(now)
        self._leave_signal("take")
        return taken

    def next_to_judge(self) -> int:
        node = super().next_to_judge()
        if node != NOTHING:
            self._asked.add(node)
        return node

    def judged(self, node: int, verdict: bool | None, now: float) -> None:
        counts = node in self._asked and self.state[node] == READY
        self._asked.discard(node)
        self._enter_signal("judged", now, node, verdict)
        super().judged(node, verdict, now)
        if counts and verdict:
            self._condition_held.add(node)
            self._line.since[node] = now
        self._leave_signal("judged")

    def weighed(self, node: int, amounts: Amounts | None, now: float) -> None:
        self._enter_signal("weighed", now, node, amounts)
        super().weighed(node, amounts, now)
        if amounts is not None and self.state[node] == READY and node in self._line.unweighed:
            self._line.unweighed.discard(node)
            if self.amounts.get(node) != amounts:
                broken(self, 2, f"node {node} takes {amounts}, but {self.amounts.get(node)} was noted")
        self._leave_signal("weighed")

    def refuse(self, node: int, now: float) -> bool:
        self._enter_signal("refuse", now, node)
        was_ready = super().refuse(node, now)
        self._leave_signal("refuse")
        return was_ready

    def settle_usage(self, node: int, attempt: int, used: Mapping[str, float], now: float) -> bool:
        self._enter_signal("settle_usage", now, node, attempt, used)
        counted = super().settle_usage(node, attempt, used, now)
        self._leave_signal("settle_usage")
        return counted

    def overloaded(self, node: int, attempt: int, retry_after: float | None, now: float) -> None:
        self._enter_signal("overloaded", now, node, attempt, retry_after)
        super().overloaded(node, attempt, retry_after, now)
        self._leave_signal("overloaded")

    def _has_run(self, node: int) -> bool:
        # Attempts of containers begin anew.
        return not self.flags[node] & _CONTAINER

    def settle(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        in_time = not self.has_expired(node, attempt) and (reason == FALLBACK) == self.is_falling_back(node)
        is_due = self._running.get(node) == attempt and in_time
        self._enter_signal("settle", now, node, attempt, REASON_NAMES[reason])
        counted = super().settle(node, attempt, now, reason)
        if counted != is_due:
            broken(self, 4, f"attempt {attempt} of node {node} {'settles' if counted else 'does not settle'}")
        if counted:
            self._settled[node] = attempt
        self._leave_signal("settle")
        return counted

    def paused(self, node: int, attempt: int, now: float, reason: int = PAUSED) -> bool:
        is_current = self._running.get(node) == attempt
        self._enter_signal("paused", now, node, attempt, REASON_NAMES[reason])
        counted = super().paused(node, attempt, now, reason)
        self._judge_ending(node, attempt, counted, is_current, due=is_current and node not in self._settled)
        self._leave_signal("paused")
        return counted

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        is_current = self._running.get(node) == attempt
        in_time = not self.has_expired(node, attempt) and (reason == FALLBACK) == self.is_falling_back(node)
        self._enter_signal("ended", now, node, attempt, REASON_NAMES[reason])
        counted = super().ended(node, attempt, now, reason)
        if counted and reason == OUTPUT:
            self._note_call(node, attempt)
        self._judge_ending(node, attempt, counted, is_current, due=is_current and in_time)
        self._leave_signal("ended")
        return counted

    def failed(
        self,
        node: int,
        attempt: int,
        now: float,
        *,
        retryable: bool = False,
        after: float | None = None,
        final: bool = False,
    ) -> int:
        is_current = self._running.get(node) == attempt
        is_call = not final and not self.is_falling_back(node)
        self._enter_signal("failed", now, node, attempt)
        verdict = super().failed(node, attempt, now, retryable=retryable, after=after, final=final)
        if verdict != LATE and is_call:
            self._note_call(node, attempt)
        if verdict == RETRYING:
            for name in self._budgets_that_count(node):
                self._retries[name] += 1
        if verdict != FALLING_BACK:
            is_due = is_current and (final or node not in self._settled)
            self._judge_ending(node, attempt, verdict != LATE, is_current, due=is_due)
        elif not is_current:
            broken(self, 4, f"attempt {attempt} of node {node} is not current, and falls back")
        else:
            # The body that waited for its slots has ended.
            self._going_on.discard(node)
        self._leave_signal("failed")
        return verdict

    def cancelled(self, node: int, attempt: int, now: float) -> bool:
        is_current = self._running.get(node) == attempt
        self._enter_signal("cancelled", now, node, attempt)
        counted = super().cancelled(node, attempt, now)
        self._judge_ending(node, attempt, counted, is_current, due=is_current)
        self._leave_signal("cancelled")
        return counted

    def returned(self, node: int, attempt: int) -> None:
        self._enter_signal("returned", None, node, attempt)
        super().returned(node, attempt)
        demand = self._left_behind.pop((node, attempt), None)
        if demand is not None:
            self._count(demand, -1)
        self._leave_signal("returned")

    def lend(self, node: int, attempt: int) -> None:
        self._enter_signal("lend", None, node, attempt)
        super().lend(node, attempt)
        if self._running.get(node) == attempt:
            self._going_on.discard(node)
            self._let_go(node)
        self._leave_signal("lend")

    def reclaim(self, node: int, attempt: int) -> bool:
        self._enter_signal("reclaim", None, node, attempt)
        has_to_wait = super().reclaim(node, attempt)
        if has_to_wait:
            if self._running.get(node) != attempt:
                broken(self, 4, f"attempt {attempt} of node {node} is not current, and gets slots back")
            self._going_on.add(node)
        self._leave_signal("reclaim")
        return has_to_wait

    def resize(self, name: str | None, size: int) -> None:
        self._enter_signal("resize", None, name, size)
        super().resize(name, size)
        self._leave_signal("resize")

    def stop(
        self, group: Group, now: float, *, reason: int = RUN, interrupt: bool = True, spare: int = NOTHING
    ) -> None:
        if self._busy:
            super().stop(group, now, reason=reason, interrupt=interrupt, spare=spare)
            return
        self._enter_signal("stop", now, group.owner, REASON_NAMES[reason], interrupt, spare)
        super().stop(group, now, reason=reason, interrupt=interrupt, spare=spare)
        self._leave_signal("stop")

    def halt(self, now: float) -> None:
        self._enter_signal("halt", now)
        super().halt(now)
        self._leave_signal("halt")

    def cancel(self, now: float, reason: int = RUN) -> None:
        if self._busy:
            super().cancel(now, reason)
            return
        self._enter_signal("cancel", now, REASON_NAMES[reason])
        super().cancel(now, reason)
        self._leave_signal("cancel")

    def tick(self, now: float) -> list[tuple[int, int]]:
        self._enter_signal("tick", now)
        given_up = super().tick(now)
        self.story[-1] += (given_up,)
        # They take their fallback without having begun.
        self._running.update({node: self.attempts[node] for node in self.overdue})
        for node, attempt in self._settled.items():
            if self.has_expired(node, attempt) or (node, attempt) in given_up:
                broken(self, 4, f"attempt {attempt} of node {node} had completed, and its time was up afterwards")
        for node, attempt in given_up:
            if self._running.get(node) != attempt:
                broken(self, 4, f"attempt {attempt} of node {node} is not current, and was given up")
            if self._holding.pop(node, None) is not None:
                self._left_behind[node, attempt] = self.demand[node]
            self._going_on.discard(node)
        self._leave_signal("tick")
        return given_up

    def look_for_starvation(self, now: float) -> None:
        super().look_for_starvation(now)
        if self._holding or self.timers_of(STARVATION_ENDS):
            return
        waiting = [node for node in self._candidates() if not self.was_interrupted(node, self.attempts[node])]
        for node in waiting if self._left_behind else ():
            if self._starves(node):
                broken(self, 5, f"node {node} waits for ever for slots that abandoned attempts hold")
        if any(self._is_too_heavy(node) for node in waiting) and not self.can_start() and self._is_silent():
            broken(self, 5, "nodes wait for ever for more than a limit has")

    def close(self, group: Group) -> None:
        if self._busy:
            super().close(group)
            return
        self._enter_signal("close", None, group.owner)
        super().close(group)
        self._leave_signal("close")

    def enter(
        self,
        group: Group,
        kind: Kind,
        now: float,
        *,
        upstream: Sequence[int] = (),
        leaders: Sequence[int] = (),
        join: int = _ALL,
        order: int = 0,
        past: Past | None = None,
    ) -> int:
        self._enter_signal("enter", now, group.owner, list(upstream), list(leaders), join, past)
        if past is not None and past.attempts > past.before and not kind.flags & _CONTAINER:
            self._condition_held.add(self.next_node)
        if past is not None:
            self._tried_before[self.next_node] = past.before
        node = super().enter(group, kind, now, upstream=upstream, leaders=leaders, join=join, order=order, past=past)
        self.story[-1] += (node,)
        if node < len(self._seen) and node not in self._vacated:
            broken(self, 7, f"node {node} entered where another node is {STATE_NAMES[self._seen[node]]}")
        self._vacated.discard(node)
        if kind.is_weighed:
            self._line.unweighed.add(node)
        else:
            self._line.unweighed.discard(node)
        self._seen = _replaced(self._seen, node, PENDING)
        self._seen_reason = _replaced(self._seen_reason, node, NO_REASON)
        self._know_ancestors(node, upstream, join)
        if past is not None:
            # What had ended before need not have everything before it ended now.
            self._before = None
        self._leave_signal("enter")
        return node

    def renew(self, node: int, now: float, order: int) -> None:
        self._enter_signal("renew", now, node, order)
        self._tried_before.pop(node, None)
        super().renew(node, now, order)
        self._seen = _replaced(self._seen, node, PENDING)
        self._seen_reason = _replaced(self._seen_reason, node, NO_REASON)
        self._condition_held.discard(node)
        self._before = None
        self._leave_signal("renew")

    def forget(self, node: int) -> None:
        self._enter_signal("forget", None, node)
        super().forget(node)
        self._tried_before.pop(node, None)
        if node in self.vacant:
            self._vacated.add(node)
            self._condition_held.discard(node)
            self._asked.discard(node)
        self._leave_signal("forget")

    # -- the books

    def _enter_signal(self, name: str, now: float | None, *details: object) -> None:
        self._busy = True
        self.story.append((name, now, *details))
        del self.story[:-STORY]

    def _leave_signal(self, name: str) -> None:
        self._busy = False
        now = self.story[-1][1]
        self._compare(name, now if isinstance(now, float | int) else NEVER)
        self._compare_charges()
        self._compare_budgets()
        if self.lines is not None and isinstance(now, float | int) and not self.can_start():
            self._judge_silence(now)
        self._signals += 1
        if self._signals % DEEP_EVERY == 0 or name in REACHING or not self.unfinished:
            check(self)
        elif name == "enter":
            # Its urgency may lift nodes far away.
            _check_priorities(self, unfinished_nodes(self))

    def _judge_ending(self, node: int, attempt: int, counted: bool, is_current: bool, *, due: bool) -> None:
        if counted and not is_current:
            broken(self, 4, f"attempt {attempt} of node {node} is not current, and its ending counted")
        if due and not counted:
            broken(self, 4, f"the ending of the current attempt {attempt} of node {node} was lost")
        if counted:
            del self._running[node]
            self._settled.pop(node, None)
            self._let_go(node)
            self._going_on.discard(node)
        elif bytes(self.state) != self._seen:
            broken(self, 4, f"a late ending of attempt {attempt} of node {node} changed something")

    def _hold(self, node: int, *, resumes: bool) -> None:
        if resumes:
            self._going_on.discard(node)
        else:
            self._running[node] = self.attempts[node]
        if not self.flags[node] & _CONTAINER:
            self._holding[node] = self.attempts[node]
            self._count(self.demand[node], 1)

    def _let_go(self, node: int) -> None:
        if self._holding.pop(node, None) is not None:
            self._count(self.demand[node], -1)

    def _count(self, demand: int, sign: int) -> None:
        for name, weight in self.demand_of(demand):
            if name in self.limits:
                self._units[name] = self._units.get(name, 0) + sign * weight

    def _budgets_that_count(self, node: int) -> list[str]:
        limits = [name for name, _ in self.demand_of(self.demand[node])]
        return [name for name in (EVERYTHING, *limits) if name in self._budgets]

    def _note_call(self, node: int, attempt: int) -> None:
        is_first = attempt == 1 + self._tried_before.get(node, 0)
        if self._budgets and is_first and not self.flags[node] & _CONTAINER:
            for name in self._budgets_that_count(node):
                self._calls[name] += 1

    def _compare_budgets(self) -> None:
        for name, budget in self._budgets.items():
            told, due = (budget.calls, budget.retries), (self._calls[name], self._retries[name])
            if told != due:
                broken(self, 2, f"retry budget {name!r} counts {told[0]} calls, {told[1]} of them again; it was {due}")

    def _best(self, now: float) -> int:
        """
        Find the node that has to be taken next, by looking at every node that could be.
        """
        best, found = None, NOTHING
        nodes = self._fitting(now)
        first = self._first_in_line(nodes)
        for node in nodes:
            # Containers cost no slot, and come before all that does.
            rank = (not self.flags[node] & _CONTAINER, self.key[node])
            if (best is None or rank < best) and (
                not self.rates or self._passes_by(node) or self._line.may_pass(node, first, now)
            ):
                best, found = rank, node
        return found

    def _fitting(self, now: float) -> list[int]:
        """
        List the nodes that could be taken as far as slots go.
        """
        nodes = []
        fitting: dict[int, bool] = {}
        for node in self._candidates():
            if self.flags[node] & _CONTAINER:
                nodes.append(node)
                continue
            demand = self.demand[node]
            if demand not in fitting:
                fitting[demand] = self._fits(demand) and all(
                    self._line.is_open(name, weight, now)
                    for name, weight in self.demand_of(demand)
                    if name in self.limits
                )
            if fitting[demand]:
                nodes.append(node)
        return nodes

    def _passes_by(self, node: int) -> bool:
        # A body that goes on has passed its rates before.
        return bool(self.flags[node] & _CONTAINER) or node in self._going_on

    def _first_in_line(self, nodes: Iterable[int]) -> dict[str, int]:
        if not self.rates:
            return {}
        return self._line.first([node for node in nodes if not self._passes_by(node)])

    def _judge_silence(self, now: float) -> None:
        """
        Whoever is told that nothing can start does not ask again before a timer rings.
        """
        alarm = self.next_at()
        if alarm is not None and alarm <= now:
            return
        for slots in self.limits.values():
            if isinstance(slots, SharedSlots) and slots.limit.used != slots.used:
                # What another run has taken, nobody tells.
                return
        node = self._best(now)
        if node != NOTHING and not self.flags[node] & _CONTAINER:
            broken(self, 3, f"node {node} is ready and fits, but nothing is said to be able to start")

    def _judge_waiting(self, now: float) -> None:
        """
        Nothing can start now: what will, by time alone, is watched; and nobody tries again before.
        """
        if self.free > 0 and self.can_start():
            broken(self, 5, "nothing could be taken, but something is said to be able to start")
        first = self._first_in_line(self._fitting(now))
        demands = {self.demand[node] for node in self._candidates() if not self.flags[node] & _CONTAINER}
        # Those that keep somebody waiting who has all other slots.
        paused = {
            name
            for demand in demands
            if self._fits(demand)
            for name, weight in self.demand_of(demand)
            if name in self.limits and not self._line.is_open(name, weight, now)
        }
        unwatched = self._line.unwatched(first, paused, now)
        if unwatched is not None:
            broken(self, 5, f"nodes wait for limit {unwatched!r} to open, and nobody watches it")

    def _candidates(self) -> Iterator[int]:
        state = self.state
        node = state.find(READY)
        while node >= 0:
            if (not self.flags[node] & _WHEN or node in self._condition_held) and node not in self._line.unweighed:
                yield node
            node = state.find(READY, node + 1)
        yield from self._going_on

    def _fits(self, demand: int) -> bool:
        if len(self._holding) + len(self._left_behind) >= self.max_concurrent:
            return False
        for name, weight in self.demand_of(demand):
            if name in self.rates:
                continue
            slots = self.limits[name]
            used, size = self._units.get(name, 0), slots.size
            if isinstance(slots, SharedSlots):
                used, size = slots.limit.used, slots.limit.size
            if used + weight > size and (used or not isinstance(slots, AdaptiveSlots)):
                return False
        return True

    def _starves(self, node: int) -> bool:
        """
        Tell whether only the return of abandoned attempts, which hold all that is held, could let *node* start.
        """
        if self.flags[node] & _CONTAINER:
            return False
        if len(self._left_behind) >= self.max_concurrent:
            return True
        for name, weight in self.demand_of(self.demand[node]):
            slots = self.limits.get(name)
            if slots is None:
                continue
            if not isinstance(slots, SharedSlots) and 0 < self._units.get(name, 0) > slots.size - weight:
                return True
        return False

    def _is_too_heavy(self, node: int) -> bool:
        """
        Tell whether *node* needs more of a limit than there is, whoever holds it.
        """
        if self.flags[node] & _CONTAINER:
            return False
        return any(
            most_of(self.limits[name]) < weight
            for name, weight in self.demand_of(self.demand[node])
            if name in self.limits and not isinstance(self.limits[name], AdaptiveSlots)
        )

    def _is_silent(self) -> bool:
        """
        Tell whether all is waiting for what happens inside the run, and nothing there will happen by itself.
        """
        for node in unfinished_nodes(self):
            state, timeout = self.state[node], self.timeout.get(node)
            if state == BACKING_OFF or (state == READY and timeout is not None and timeout.queue is not None):
                return False
            if self.is_falling_back(node):
                # Somebody makes its fallback, also of a graph.
                return False
            runs = state == RUNNING and self.has_body(node) and node not in self._going_on
            if runs and not any(group.live for group in self.groups.get(node, ())):
                return False
        return not self.timers_of(LIMIT_OPENS)

    def _compare_charges(self) -> None:
        held = len(self._holding) + len(self._left_behind)
        if self.max_concurrent - held != self.free or len(self._holding) != self.active:
            broken(self, 2, f"{held} slots are held, {self.max_concurrent - self.free} are counted")
        for name, slots in self.limits.items():
            # A limit may have come while the run goes on.
            units = self._units.get(name, 0)
            if slots.used != units:
                broken(self, 2, f"{units} of {name!r} are held, {slots.used} are counted")

    def _compare(self, signal: str, now: float) -> None:
        """
        Look at each node whose state has changed.
        """
        seen, state = self._seen, bytes(self.state)
        if seen != state:
            self._seen = state
            changes = int.from_bytes(seen, "little") ^ int.from_bytes(state, "little")
            changed = []
            while changes:
                node = ((changes & -changes).bit_length() - 1) >> 3
                changed.append(node)
                changes &= ~(255 << (node << 3))
            for node in changed:
                if state[node] == READY and (not self.flags[node] & _WHEN or node in self._condition_held):
                    self._line.since[node] = now
                self._judge_change(signal, node, seen[node], state[node])
                self._judge_instant(node, seen[node], now)
            self._judge_antichain(changed)
            _check_joins(self, self._concerned(changed))
        reason = bytes(self.reason)
        if reason != self._seen_reason:
            self._judge_reasons(self._seen_reason, reason, seen)
            self._seen_reason = reason

    def _concerned(self, changed: Iterable[int]) -> Iterator[int]:
        for node in changed:
            yield node
            yield from self.downstream[node]
            yield from self.followers.get(node, ())

    def _judge_change(self, signal: str, node: int, before: int, after: int) -> None:
        falls_back = signal == "tick" and after == RUNNING and self.is_falling_back(node)
        if before == PENDING and after == FAILED and self._is_from_before(node):
            # What had failed before the run went on backs off from the moment in which it could start, and a group that
            # drains ends it in that moment.
            before = BACKING_OFF
        if not is_allowed(signal, before, after) and not falls_back:
            what = f"node {node} went from {STATE_NAMES[before]} to {STATE_NAMES[after]} by {signal!r}"
            broken(self, 5, what)
        if after >= FIRST_TERMINAL and self.reason[node] not in REASONS[after]:
            what = f"node {node} is {STATE_NAMES[after]} with reason {REASON_NAMES[self.reason[node]]!r}"
            broken(self, 5, what)
        if after == SKIPPED and self.reason[node] == UPSTREAM and self._only_waits(node):
            broken(self, 5, f"node {node} was skipped, although it may go on once somebody has answered")
        if after >= FIRST_TERMINAL and node in self._running:
            broken(self, 5, f"node {node} is {STATE_NAMES[after]}, but its attempt has not ended")

    def _is_from_before(self, node: int) -> bool:
        """
        Tell whether a node has had attempts, and none of them in this run.
        """
        return self.attempts[node] > 0 and self.started_at[node] != self.started_at[node]

    def _only_waits(self, node: int) -> bool:
        """
        Tell whether all that a node has lost of its upstream, and of the stages that feed it, waits for an answer.
        """
        feeders = [leader for leader, fed in self.followers.items() if node in fed]
        lost = [before for before in (*self.upstream[node], *feeders) if self.state[before] > SUCCEEDED]
        return bool(lost) and all(self.reason[before] == PAUSED for before in lost)

    def _judge_instant(self, node: int, before: int, now: float) -> None:
        state = self.state[node]
        if state >= FIRST_TERMINAL:
            instant = self.ended_at[node]
        elif state == READY and before == PENDING:
            instant = self.ready_at[node]
        elif state == RUNNING:
            instant = self.attempt_started_at(node)
        else:
            return
        if instant != now:
            broken(self, 5, f"node {node} is {STATE_NAMES[state]} at {now}, but {instant} was noted")

    def _judge_reasons(self, old: bytes, new: bytes, seen: bytes) -> None:
        for node, (was, is_now) in enumerate(zip(old, new, strict=True)):
            if was != is_now and seen[node] >= FIRST_TERMINAL:
                broken(self, 5, f"the reason of node {node}, which had ended, has changed")

    def _judge_antichain(self, changed: Sequence[int]) -> None:
        before = self._before
        if before is None:
            return
        for node in changed:
            bit = 1 << node
            self._live = self._live | bit if self.state[node] in LIVE else self._live & ~bit
        for node in changed:
            if self.state[node] in LIVE and before[node] & self._live:
                others = [other for other in range(len(before)) if before[node] & self._live & (1 << other)]
                broken(self, 1, f"node {node} is live together with nodes {others} before it")

    def _know_ancestors(self, node: int, upstream: Sequence[int], join: int) -> None:
        if self._before is None:
            return
        if join != _ALL or node < len(self._before):
            # Not an antichain any more, or an index with a past.
            self._before = None
            return
        mask = 0
        for other in upstream:
            mask |= self._before[other] | (1 << other)
        self._before.append(mask)


def _replaced(line: bytes, node: int, value: int) -> bytes:
    """
    Return *line* with *value* at *node*, which may be its end.
    """
    return line[:node] + bytes([value]) + line[node + 1 :]


def is_allowed(signal: str, before: int, after: int) -> bool:
    """
    Tell whether one signal may bring a node from one state to another.
    """
    if after == RUNNING:
        return before == READY and signal == "take"
    return after in TRANSITIONS[before]


def ancestors(upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]) -> list[int]:
    """
    Return all nodes before each, as bits.
    """
    masks = [0] * len(upstream)
    missing = [len(nodes) for nodes in upstream]
    found = [node for node, number in enumerate(missing) if not number]
    for node in found:  # grows while it is read
        reached = masks[node] | (1 << node)
        for after in downstream[node]:
            masks[after] |= reached
            missing[after] -= 1
            if not missing[after]:
                found.append(after)
    return masks
