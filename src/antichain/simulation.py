"""
Runs in virtual time: the real scheduler decides, nothing of the user's code is called, and no one waits.

`Simulation` is the loop (the driver's counterpart), `simulate` plays a plan by a script, `estimate` asks how long it
would take.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

from antichain.clocks import short_of, timeout_of
from antichain.core.capacity import UNLIMITED
from antichain.core.facts import Entry, FactStream, Outline, leaders_of
from antichain.core.groups import COLLECT, Group
from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import FALLING_BACK, NO_PAST, NOTHING, RETRYING, Kind, Past, Scheduler
from antichain.core.states import FAILED, FALLBACK, OUTPUT, READY, RUNNING, SUCCEEDED
from antichain.errors import Fault, GraphError, NodeTimeout, RunnerError, named, shown, suggestion
from antichain.estimating import Bounds, Points, points_of
from antichain.estimating import improve as improve_order
from antichain.limit import Limit
from antichain.policies import AdaptiveLimit, Amounts, LimitValue, SharedLimit, SharedRate
from antichain.policies.options import RunOptions, check_options
from antichain.policies.overload import overload_of
from antichain.policies.retry import retry_after
from antichain.policies.retry_budget import as_allowances
from antichain.policies.timeout import seconds
from antichain.policies.usage import usage_of
from antichain.record import FailedAttempt, RunResult, failed_attempt, status_of
from antichain.retry_budget import open_budgets
from antichain.shape import DEFAULT_COST, Flag, Place, after_of, item_order, order, with_start_edges

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["HANG", "SKIP", "Bodies", "Durations", "Estimate", "Simulation", "estimate", "simulate"]

# Up to this many nodes, `simulate` checks the laws after every signal unless told otherwise.
CHECKED_NODES: Final = 200

# Seconds of each attempt: by node id, or a function of node id and attempt. What is missing comes from cost=, else 1.
Durations = Mapping[str, float] | Callable[[str, int], float | None]


class _Script(Enum):
    """
    Say what of a scripted attempt is neither a value nor an error.
    """

    HANG = "hang"
    SKIP = "skip"

    def __repr__(self) -> str:
        return self.name


# The attempt never ends by itself.
HANG: Final = _Script.HANG
# The node's `when` is false.
SKIP: Final = _Script.SKIP


class Bodies(Protocol):
    """
    Play the part of the nodes: what happens when the scheduler has decided something.
    """

    def begin(self, node: int, attempt: int) -> None:
        """
        An attempt has started; arrange its end.
        """

    def go_on(self, node: int) -> None:
        """
        A body that lent its slots has them back.
        """

    def interrupt(self, node: int, attempt: int) -> None:
        """
        An attempt is asked to end.
        """

    def give_up(self, node: int, attempt: int) -> None:
        """
        An attempt was abandoned: its node goes on without it.
        """

    def fall_back_late(self, node: int) -> None:
        """
        A node has waited for its slots for too long: make its fallback.
        """

    def judge(self, node: int) -> bool | None:
        """
        Return the value of a condition, None if it raises.
        """
        ...

    def weigh(self, node: int) -> Amounts | None:
        """
        Return what a node takes of rates by its inputs, None if that cannot be found out.
        """
        ...

    def complete(self, group: Group) -> None:
        """
        All members of a group have ended.
        """


class Simulation:
    """
    Carry out what a scheduler decides, in virtual time: the clock jumps from one event to the next.
    """

    def __init__(self, scheduler: Scheduler, bodies: Bodies, now: float = 0.0, *, is_timed: bool = True) -> None:
        self.scheduler = scheduler
        # Whether attempts have the timeouts of their nodes.
        self._is_timed = is_timed
        self.bodies = bodies
        self.now = now
        # (instant, sequence number, action, arguments): equal instants in the order in which they were arranged.
        self._agenda: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []  # Any: what the action takes
        self._sequence = 0

    def at(self, instant: float, action: Callable[..., object], *arguments: object) -> None:
        """
        Arrange that *action* is called at *instant*, before timers that are due then.
        """
        self._sequence += 1
        heappush(self._agenda, (instant, self._sequence, action, arguments))

    def run(self, given: Iterable[int] = (), past: Mapping[int, Past] = NO_PAST) -> None:
        """
        Go on until every node has ended; what is still arranged then happens too, so that late results are seen.

        Raises:
            RunnerError: nothing can happen any more, and the run has not ended.
        """
        scheduler, agenda = self.scheduler, self._agenda
        scheduler.start(self.now, given, past)
        self.settle()
        while not scheduler.has_ended:
            alarm = scheduler.next_at()
            if agenda and (alarm is None or agenda[0][0] <= alarm):
                self.now = max(self.now, agenda[0][0])
                while agenda and agenda[0][0] <= self.now:
                    _, _, action, arguments = heappop(agenda)
                    action(*arguments)
            elif alarm is not None:
                self.now = max(self.now, alarm)
                for node, attempt in scheduler.tick(self.now):
                    self.bodies.give_up(node, attempt)
            else:
                raise RunnerError("the simulated run never ends: nothing is left that could happen")
            self.settle()

    def finish(self) -> None:
        """
        Let what outlives the run happen too: late results, and abandoned attempts that return.
        """
        while self._agenda:
            instant, _, action, arguments = heappop(self._agenda)
            self.now = max(self.now, instant)
            action(*arguments)

    def settle(self) -> None:
        """
        Carry out everything that is to be done at this instant.
        """
        scheduler, bodies, now = self.scheduler, self.bodies, self.now
        while True:
            # Their errors are known: those of their last attempts; or made in the end, for those that starve.
            scheduler.failures.clear()
            if scheduler.interrupts:
                node, attempt = scheduler.interrupts.pop(0)
                bodies.interrupt(node, attempt)
            elif scheduler.completed:
                bodies.complete(scheduler.completed.pop(0))
            elif scheduler.overdue:
                bodies.fall_back_late(scheduler.overdue.pop(0))
            elif (judged := scheduler.next_to_judge()) != NOTHING:
                scheduler.judged(judged, bodies.judge(judged), now)
            elif (weighed := scheduler.next_to_weigh()) != NOTHING:
                scheduler.weighed(weighed, bodies.weigh(weighed), now)
            elif (taken := scheduler.take(now)) >= 0:
                if self._is_timed:
                    scheduler.arm(taken, scheduler.attempts[taken])
                bodies.begin(taken, scheduler.attempts[taken])
            elif taken != NOTHING:
                bodies.go_on(-2 - taken)
            else:
                break
        scheduler.look_for_starvation(now)


def simulate(
    plan: Plan,
    *,
    durations: Durations | None = None,
    outcomes: Mapping[str, Any] | None = None,  # Any: the user's values and errors
    check: bool | None = None,
    **options: Unpack[RunOptions],
) -> RunResult:
    """
    Play *plan* in virtual time: the real scheduler decides, and no node's code is called.

    A map is played as one instance, ``pages[0]``, because the number of items is not known; what lends its slots
    (``ctx.run``) is not played.

    Args:
        plan: what to play.
        durations: seconds of each attempt, by node id or as a function of node id and attempt.
        outcomes: how the attempts of a node end, by node id: a list with one item for each attempt (the last one holds
            for all that follow), or one item for all. An exception is a failure, ``SKIP`` makes its ``when`` false,
            ``HANG`` never ends by itself, and anything else is the node's value. What is missing is the value None.
        check: check the laws of the core after every signal; unless said, for graphs of up to 200 nodes.
        options: the run's; ``seed`` (0 unless given) is that of the pauses between attempts. Those that need a real
            run, as ``isolation``, mean nothing here.

    Raises:
        GraphError: an id or an option is not known.
        RunnerError: the run never ends, because a node hangs and nothing ends it.

    Example:
        >>> from antichain import Graph
        >>> graph = Graph("briefing")
        >>> _ = graph.add("web", print, retry=2)
        >>> result = simulate(graph.plan(), durations={"web": 3.0}, outcomes={"web": [TimeoutError(), "hits"]})
        >>> result["web"], result.nodes["web"].attempts
        ('hits', 2)
    """
    # Any: values of run options
    chosen: dict[str, Any] = {**plan.options, **{name: value for name, value in options.items() if value is not None}}
    if chosen.get("targets") is not None and plan.targets is None:
        plan = plan.pruned(chosen["targets"], chosen.get("outputs") or ())
    faults = [*check_options(options), *_unknown(plan, {**(outcomes or {}), **(chosen.get("outputs") or {})})]
    faults += _wrong_seconds(plan, durations)
    if not faults:
        limits = chosen.get("limits") or {}
        faults += [*plan.check_limits(limits), *plan.check_budgets(as_allowances(chosen.get("retry_budget")), limits)]
    if faults:
        raise GraphError(faults, plan.name)
    is_checked = plan.shape.count <= CHECKED_NODES if check is None else check
    make = LawfulScheduler if is_checked else Scheduler
    scheduler = make(
        plan.shape,
        max_concurrent=chosen.get("max_concurrent"),
        limits=_played(_limits(plan, chosen.get("limits") or {})),
        on_error=chosen.get("on_error", "cancel"),
        deadline=chosen.get("deadline"),
        grace=chosen.get("grace", 5.0),
        retry_budgets=open_budgets(chosen.get("retry_budget"), fresh=True),
        rng=Random(chosen.get("seed", 0)),
    )
    played = ScriptedBodies(plan, scheduler, durations, outcomes or {})
    return played.play(chosen.get("outputs") or {}, tuple(chosen.get("listeners") or ()), chosen.get("run_id"))


def _limits(plan: Plan, given: Mapping[str, LimitValue]) -> dict[str, LimitValue]:
    # As a real run has them: threads are a limit like any other.
    return {"thread": min(32, (os.cpu_count() or 1) + 4), **plan.limits_with(given)}


def _played(limits: Mapping[str, LimitValue]) -> dict[str, LimitValue]:
    """
    Replace each limit that real runs may be using by one of its kind that nobody has used; what stands under two names
    is one limit here too.
    """
    fresh = {id(limit): _fresh(limit) for limit in limits.values() if not isinstance(limit, int)}
    return {name: fresh.get(id(limit), limit) for name, limit in limits.items()}


def _fresh(limit: SharedLimit | SharedRate) -> LimitValue:
    return limit.fresh() if isinstance(limit, (SharedRate, AdaptiveLimit)) else Limit(limit.size)


def _wrong_seconds(plan: Plan, durations: Any) -> list[Fault]:  # Any: a user's value, not yet checked
    """
    Say what is wrong with durations: names of no node, and what is no number of seconds.
    """
    if durations is None or callable(durations):
        return []
    if not isinstance(durations, Mapping):
        text = f"durations={shown(durations)}: give a mapping from the ids of nodes to seconds."
        return [Fault("bad-policy", text)]
    faults = _unknown(plan, durations)
    for name, value in durations.items():
        try:
            _finite(name, value)
        except GraphError as error:
            faults.extend(error.faults)
    return faults


def _finite(name: str, value: object) -> float:
    number = seconds(f"durations[{name!r}]", value, zero=True)
    if number == math.inf:
        raise GraphError(Fault("bad-policy", f"durations[{name!r}]=inf: use HANG for what never ends."))
    return number


def _unknown(plan: Plan, names: Iterable[str]) -> list[Fault]:
    """
    Find names that are not in the graph; those of nodes that grow (`outer/inner`, `pages[0]`) are not looked at.
    """
    faults = []
    for name in names:
        outer = name.split("/")[0].split("[")[0]
        if name not in plan.known and outer not in plan.known:
            hint = suggestion(name, plan.known)
            faults.append(Fault("unknown-node", f"{name!r} is not a node of graph {plan.name!r}.{hint}", name))
    return faults


@dataclass(slots=True)
class _Part:
    """
    What a node of the run is: node *local* of *plan*, or an instance of a map there.
    """

    plan: Plan
    local: int
    # The node is an instance of the map.
    is_instance: bool = False


class ScriptedBodies:
    """
    Play the nodes of a plan by a script of durations and outcomes.
    """

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        durations: Durations | None,
        outcomes: Mapping[str, Any],  # Any: the user's values and errors
        *,
        is_timed: bool = True,
    ) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._durations = durations
        self._outcomes = outcomes
        self._simulation = Simulation(scheduler, self, is_timed=is_timed)
        # By node, and they grow with the run.
        self._names = list(plan.ids)
        self._values: list[Any] = [None] * plan.shape.count  # Any: the user's values
        self._errors: dict[int, BaseException] = {}
        self._retried: dict[int, list[FailedAttempt]] = {}
        self._grown: dict[int, _Part] = {}
        # The last node of each name that came while the run went on.
        self._grown_index: dict[str, int] = {}
        # Who brought it.
        self._groups: dict[int, str] = {}
        self._facts: FactStream | None = None
        # The one instance of each map, which a map over it follows.
        self._instances: dict[int, int] = {}
        # How urgent is what each container has brought.
        self._places: dict[int, Place] = {}

    def play(
        self, given: Mapping[str, Any], listeners: Sequence[Callable[[Any], object]], run_id: str | None
    ) -> RunResult:
        """
        Run to the end and return what became of it.
        """
        plan, scheduler, simulation = self._plan, self._scheduler, self._simulation
        run_id = run_id or "simulated"
        # What listeners raised: a real run goes on without them, a test wants to know.
        complaints: list[BaseException] = []
        facts = None
        if listeners:
            columns = (scheduler.state, scheduler.reason, scheduler.ready_at)
            facts = FactStream(
                run_id,
                listeners,
                self._names,
                columns,
                self._error_of,
                self._value,
                scheduler.abandoned_nodes,
                lambda _, error: complaints.append(error),
            )
            outline = Outline(plan.ids, plan.shape, scheduler.limits, scheduler.max_concurrent)
            facts.run_started(plan.name, plan.shape.count, simulation.now, outline)
            scheduler.facts = self._facts = facts
        known = {plan.index[name]: value for name, value in given.items() if name in plan.index}
        for node, value in known.items():
            self._values[node] = value
        try:
            simulation.run(known)
        except RunnerError as error:
            raise self._never_ends() from error
        ended_at = simulation.now
        self._explain_starved()
        if facts is not None:
            facts.run_ended(status_of(scheduler), ended_at)
        if complaints:
            raise complaints[0]
        return RunResult(
            run_id=run_id,
            name=plan.name,
            status=status_of(scheduler),
            started_at=0.0,
            ended_at=ended_at,
            scheduler=scheduler,
            names=self._names,
            index={**plan.index, **self._grown_index} if self._grown_index else plan.index,
            values=self._values,
            errors=self._errors,
            shown=plan.ids if plan.targets is None else plan.targets,
            groups=self._groups,
            retried=self._retried,
        )

    def _value(self, node: int) -> Any:  # Any: the user's value
        return self._values[node] if self._scheduler.state[node] == SUCCEEDED else None

    def _never_ends(self) -> RunnerError:
        scheduler = self._scheduler
        nodes = range(len(scheduler.state))
        hanging = [self._names[node] for node in nodes if scheduler.state[node] == RUNNING]
        waiting = [self._names[node] for node in nodes if scheduler.state[node] == READY]
        why = f"{named(hanging)} never end" if hanging else f"{named(waiting)} wait for slots that nobody gives back"
        return RunnerError(
            f"the simulated run of {self._plan.name!r} never ends: {why}."
            " Give what hangs a timeout, or the run a deadline."
        )

    def _explain_starved(self) -> None:
        for node, state in enumerate(self._scheduler.state):
            if node in self._scheduler.short_of:
                self._errors[node] = short_of(self._scheduler, node, self._names[node])
            elif state == FAILED and self._error_of(node) is None:
                self._errors[node] = RunnerError(
                    f"node {self._names[node]!r} could not start: abandoned attempts hold the slots it needs."
                )

    # -- what the script says

    def _part(self, node: int) -> _Part:
        return self._grown.get(node) or _Part(self._plan, node)

    def _seconds(self, node: int, attempt: int) -> float:
        name, part = self._names[node], self._part(node)
        took: float | None = None
        if callable(self._durations):
            took = self._durations(name, attempt)
            took = None if took is None else _finite(name, took)
        elif self._durations is not None:
            took = self._durations.get(name)
            if took is None and part.is_instance:
                took = self._durations.get(self._names[self._scheduler.group_of[node].owner])
        if took is not None:
            return took
        if part.is_instance:
            cost = part.plan.arguments[part.local].map.policies.cost
            return DEFAULT_COST if cost is None else float(cost)
        return part.plan.shape.cost[part.local]

    @property
    def names(self) -> Sequence[str]:
        """
        The names of all nodes, by index.
        """
        return self._names

    def points(self) -> Points:
        """
        Return the run that was played as a graph of nodes with seconds.
        """
        return points_of(self._scheduler, lambda node: self._seconds(node, 1))

    def _outcome(self, node: int, attempt: int) -> Any:  # Any: the user's values and errors
        script = self._outcomes.get(self._names[node])
        if not isinstance(script, list):
            return script
        return script[min(attempt, len(script)) - 1] if script else None

    # -- what the scheduler has decided

    def begin(self, node: int, attempt: int) -> None:
        """
        Arrange the end of an attempt; a container brings its nodes.
        """
        if self._scheduler.flags[node] & Flag.CONTAINER:
            self._open(node, attempt)
        elif self._outcome(node, attempt) is not HANG:
            seconds = self._seconds(node, attempt)
            self._simulation.at(self._simulation.now + seconds, self._end, node, attempt)

    def go_on(self, node: int) -> None:
        """
        Nothing lends its slots here.
        """

    def interrupt(self, node: int, attempt: int) -> None:
        """
        A coroutine ends at once; a thread goes on.
        """
        if not self._scheduler.flags[node] & Flag.THREAD:
            self._give_way(node, attempt)

    def give_up(self, node: int, attempt: int) -> None:
        """
        Go on without the attempt.
        """
        self._give_way(node, attempt)

    def _give_way(self, node: int, attempt: int) -> None:
        scheduler, now = self._scheduler, self._simulation.now
        if scheduler.state[node] != RUNNING or scheduler.attempts[node] != attempt:
            return
        if scheduler.has_expired(node, attempt):
            self._fail(node, attempt, self._timeout_error(node))
        else:
            scheduler.cancelled(node, attempt, now)

    def fall_back_late(self, node: int) -> None:
        """
        A fallback takes no time.
        """
        self._errors[node] = self._timeout_error(node)
        self._succeed(node, self._scheduler.attempts[node], self._fallback_value(node), FALLBACK)

    def judge(self, node: int) -> bool | None:
        """
        Take the node unless the script skips it.
        """
        return self._outcome(node, 1) is not SKIP

    def weigh(self, node: int) -> Amounts:
        """
        Say nothing more than the plan: no code of a node is called.
        """
        return self._scheduler.amounts.get(node, {})

    def _end(self, node: int, attempt: int) -> None:
        scheduler = self._scheduler
        if (node, attempt) in scheduler.abandoned:
            scheduler.returned(node, attempt)
            return
        if scheduler.state[node] != RUNNING or scheduler.attempts[node] != attempt:
            return
        outcome = self._outcome(node, attempt)
        if isinstance(outcome, BaseException):
            self._fail(node, attempt, outcome)
        else:
            self._succeed(node, attempt, outcome)

    def _succeed(self, node: int, attempt: int, value: object, reason: int = OUTPUT) -> None:
        self._values[node] = value
        if self._scheduler.rates and (used := usage_of(value)) is not None:
            self._scheduler.settle_usage(node, self._scheduler.attempts[node], used, self._simulation.now)
        if not self._scheduler.ended(node, attempt, self._simulation.now, reason):
            self._values[node] = None

    def _fail(self, node: int, attempt: int, error: BaseException) -> None:
        scheduler = self._scheduler
        self._errors[node] = error
        retry = scheduler.retry.get(node)
        retryable = retry is not None and retry.retryable(error)
        after = retry_after(error, 0.0) if retryable else None
        if scheduler.lines is not None and (overload := overload_of(error, 0.0)) is not None:
            scheduler.overloaded(node, attempt, overload.retry_after, self._simulation.now)
        verdict = scheduler.failed(node, attempt, self._simulation.now, retryable=retryable, after=after)
        if verdict == RETRYING:
            failure = failed_attempt(error, attempt, self._simulation.now, scheduler.delay)
            self._retried.setdefault(node, []).append(failure)
        if verdict == FALLING_BACK:
            self._succeed(node, attempt, self._fallback_value(node), FALLBACK)

    def _fallback_value(self, node: int) -> Any:  # Any: the user's value
        part = self._part(node)
        if part.is_instance:
            fallback = part.plan.arguments[part.local].map.policies.fallback
        else:
            fallback = part.plan.fallback(part.local)
        return None if callable(fallback) else fallback

    def _error_of(self, node: int) -> BaseException | None:
        if self._scheduler.waits_too_long(node) and self._scheduler.state[node] == FAILED:
            # Nobody has said so: the scheduler itself ended it.
            error = self._errors.get(node)
            if not (isinstance(error, NodeTimeout) and error.clock == "queue"):
                self._errors[node] = self._timeout_error(node)
        return self._errors.get(node)

    def _timeout_error(self, node: int) -> NodeTimeout:
        return timeout_of(self._scheduler, node, self._names[node], self._simulation.now)

    # -- growth

    def _open(self, node: int, attempt: int) -> None:
        scheduler, part = self._scheduler, self._part(node)
        binding = part.plan.arguments[part.local]
        if part.is_instance:
            binding = binding.map.binding
        collects = binding.map is not None and binding.map.outcomes
        group = scheduler.open(node, attempt, COLLECT if collects else scheduler.root.mode)
        if binding.subplan is not None:
            self._enter_graph(group, node, binding.subplan)
        else:
            self._enter_instance(group, node, part)
        scheduler.close(group)

    def _enter_graph(self, group: Group, owner: int, plan: Plan) -> None:
        scheduler, shape = self._scheduler, plan.shape
        place = self._places[owner] = self._place_of(owner)
        leaders = leaders_of(shape.followers)
        nodes_of: dict[int, int] = {}
        for local in order(*with_start_edges(shape)):
            remaining, tie = place.of(shape.remaining[local], local)
            kind = Kind(
                demand=scheduler.demand_number(shape.demands[shape.demand[local]]),
                flags=shape.flags[local],
                priority=max(shape.priority[local], scheduler.priority[owner]),
                remaining=remaining,
                retry=shape.retry.get(local),
                timeout=shape.timeout.get(local),
                amounts=shape.amounts.get(local),
            )
            nodes_of[local] = self._enter(
                group,
                kind,
                f"{self._names[owner]}/{plan.ids[local]}",
                _Part(plan, local),
                upstream=[nodes_of[before] for before in shape.upstream[local]],
                leaders=[nodes_of[leader] for leader in leaders.get(local, ())],
                join=shape.join[local],
                order=tie,
            )

    def _enter_instance(self, group: Group, owner: int, part: _Part) -> None:
        scheduler, spec = self._scheduler, part.plan.arguments[part.local].map
        policies = spec.policies
        leaders = [leader for leader, nodes in scheduler.followers.items() if owner in nodes]
        place = self._place_of(owner)
        path = spec.cost + place.after
        # As of a real stage: those that feed each other are equally urgent.
        line = next((self._places[leader].line for leader in leaders if leader in self._places), place.line or path)
        self._places[owner] = place._replace(line=line)
        kind = Kind(
            demand=scheduler.demand_number(spec.demand),
            flags=int(spec.flags),
            priority=max(policies.priority, scheduler.priority[owner]),
            remaining=line,
            retry=policies.retry,
            timeout=policies.timeout,
            amounts=None if policies.weighing is None else policies.weighing.amounts,
        )
        fed_by = [self._instances[leader] for leader in leaders if leader in self._instances]
        name = f"{self._names[owner]}[0]"
        self._instances[owner] = self._enter(
            group,
            kind,
            name,
            replace(part, is_instance=True),
            upstream=fed_by,
            leaders=(),
            join=0,
            order=item_order(place.position, path, line),
        )

    def _enter(
        self,
        group: Group,
        kind: Kind,
        name: str,
        part: _Part,
        *,
        upstream: Sequence[int],
        leaders: Sequence[int],
        join: int,
        order: int,
    ) -> int:
        scheduler = self._scheduler
        # Named first: a listener hears of it before `enter` returns.
        self._names.append(name)
        self._values.append(None)
        self._grown[scheduler.next_node] = part
        self._grown_index[name] = node = scheduler.next_node
        self._groups[node] = self._names[group.owner]
        if self._facts is not None:
            before = tuple([self._names[each] for each in (*upstream, *leaders)])
            entry = Entry(name, self._groups[node], before, scheduler.demand_of(kind.demand))
            self._facts.entered(entry, self._simulation.now)
        return scheduler.enter(
            group, kind, self._simulation.now, upstream=upstream, leaders=leaders, join=join, order=order
        )

    def _place_of(self, node: int) -> Place:
        """
        Return how urgent is what the container *node* brings; see `growth.place_of`.
        """
        part = self._part(node)
        if node not in self._grown:
            return Place(after_of(part.plan.shape, node))
        outer = self._places[self._scheduler.group_of[node].owner]
        if part.is_instance:
            return outer
        return outer._replace(after=after_of(part.plan.shape, part.local) + outer.after)

    def complete(self, group: Group) -> None:
        """
        End a container as its members did.
        """
        scheduler, node, attempt = self._scheduler, group.owner, group.attempt
        if scheduler.state[node] != RUNNING or scheduler.attempts[node] != attempt:
            return
        if scheduler.was_interrupted(node, attempt):
            scheduler.cancelled(node, attempt, self._simulation.now)
        elif scheduler.has_expired(node, attempt):
            self._fail(node, attempt, self._timeout_error(node))
        elif group.failed and group.mode != COLLECT:
            self._fail(node, attempt, self._first_error(group))
        elif group.cancelled and group.mode != COLLECT:
            scheduler.cancelled(node, attempt, self._simulation.now)
        else:
            self._succeed(node, attempt, None)

    def _first_error(self, group: Group) -> BaseException:
        members = (node for node, other in self._scheduler.group_of.items() if other is group)
        for node in members:
            if self._scheduler.state[node] == FAILED and node in self._errors:
                return self._errors[node]
        return RunnerError(f"something inside {self._names[group.owner]!r} failed")


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    Say how long a run would take, and why.
    """

    # Seconds from start to end, as the scheduler would do it.
    makespan: float
    # No order of starts could make it shorter: the longest path, the work by slots, the work by each limit, the last
    # two with what has to come before and after it.
    bound: float
    # Which of them it is: None for the longest path, "max_concurrent", or the name of a limit.
    bound_by: str | None
    # Instants at which the nodes would start, by id.
    starts: dict[str, float]
    # What the run would wait for, first to last.
    critical_path: tuple[str, ...]
    # With improve=True: seconds that it would take in a better order, if one was found (else as many as `makespan`),
    # and when the nodes would start in that order.
    improved: float | None = None
    improved_starts: dict[str, float] | None = None

    @property
    def saving(self) -> float | None:
        """
        Seconds that the better order would save; None without ``improve=True``.
        """
        return None if self.improved is None else self.makespan - self.improved


def estimate(
    plan: Plan,
    durations: Mapping[str, float] | None = None,
    *,
    max_concurrent: int | None = None,
    limits: Mapping[str, LimitValue] | None = None,
    improve: bool = False,
) -> Estimate:
    """
    Ask the scheduler how long *plan* would take if every node succeeded at its first attempt.

    Args:
        plan: what would run.
        durations: seconds by node id; what is missing comes from ``cost=``, else 1.
        max_concurrent: attempts at once.
        limits: sizes of named limits, over those of the graph.
        improve: look for a better order of starts too, and say in ``.improved`` and ``.saving`` what it would save
            (forward-backward improvement: the run is played about a dozen times more, a small one a hundred times).

    Raises:
        GraphError: an id or a limit is not known.
    """
    slots = max_concurrent if max_concurrent is not None else plan.options.get("max_concurrent")
    return estimates(plan, (slots,), durations, limits=limits, improve=improve)[0]


def estimates(
    plan: Plan,
    slots: Iterable[int | None],
    durations: Mapping[str, float] | None = None,
    *,
    limits: Mapping[str, LimitValue] | None = None,
    improve: bool = False,
) -> list[Estimate]:
    """
    Ask the same for several numbers of attempts at once, where None is as many as the limits allow.

    Raises:
        GraphError: an id or a limit is not known.
    """
    slots = list(slots)
    sizes = {**(plan.options.get("limits") or {}), **(limits or {})}
    faults = [*check_options({"limits": sizes}), *_wrong_seconds(plan, durations)]
    for number in slots:
        faults += check_options({"max_concurrent": number})
    faults += plan.check_limits(sizes) if not faults else []
    if faults:
        raise GraphError(faults, plan.name)
    known = sizes_of_limits(plan, sizes)
    rates = {name: limit for name, limit in _limits(plan, sizes).items() if isinstance(limit, SharedRate)}
    enough = dict.fromkeys((*known, *rates), UNLIMITED)
    _, played = _play_well(plan, durations, None, enough)
    points = played.points()
    bounds = Bounds(points)
    found = []
    for number in slots:
        result, _ = _play_well(plan, durations, number, {**known, **_played(rates)})
        bound = bounds.of(number, known, rates)
        # Sums of the same seconds in another order differ in the last digits.
        least = min(bound.seconds, result.makespan)
        starts = {node.id: node.started_at for node in result.nodes.values() if node.started_at is not None}
        estimate = Estimate(result.makespan, least, bound.by, starts, result.critical_path)
        found.append(_improved(estimate, points, played.names, number, known, rates) if improve else estimate)
    return found


def _improved(
    estimate: Estimate,
    points: Points,
    names: Sequence[str],
    slots: int | None,
    sizes: Mapping[str, int],
    rates: Mapping[str, SharedRate],
) -> Estimate:
    """
    Say what a better order would save; *names* are those of the points.
    """
    starts = [estimate.starts.get(name, early) for name, early in zip(names, points.head, strict=False)]
    better = improve_order(points, starts, slots, sizes, rates, estimate.bound)
    if better.makespan >= estimate.makespan:
        return replace(estimate, improved=estimate.makespan, improved_starts=estimate.starts)
    # Those without a name are ends of containers.
    return replace(estimate, improved=better.makespan, improved_starts=dict(zip(names, better.starts, strict=False)))


def sizes_of_limits(plan: Plan, given: Mapping[str, LimitValue]) -> dict[str, int]:
    """
    Return the size of every limit of a run of *plan* for which limits are *given*, threads included; rates have none.
    """
    # A shared limit may be in use right now: what counts is its size; of one that adapts, as it is now.
    return {
        name: size if isinstance(size, int) else size.size
        for name, size in _limits(plan, given).items()
        if not isinstance(size, SharedRate)
    }


def _play_well(
    plan: Plan, durations: Durations | None, slots: int | None, sizes: Mapping[str, LimitValue]
) -> tuple[RunResult, ScriptedBodies]:
    """
    Play a run in which nothing fails and no time is ever up.
    """
    scheduler = Scheduler(plan.shape, max_concurrent=slots, limits=sizes)
    bodies = ScriptedBodies(plan, scheduler, durations, {}, is_timed=False)
    return bodies.play({}, (), "estimate"), bodies
