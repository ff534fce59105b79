"""
Nodes played by a script: how long each attempt takes, and how it ends. No code of theirs is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from antichain.clocks import short_of, timeout_of
from antichain.core.facts import Entry, FactStream, Outline, leaders_of
from antichain.core.groups import COLLECT, Group
from antichain.core.scheduler import FALLING_BACK, RETRYING, Kind, Scheduler
from antichain.core.states import FAILED, FALLBACK, OUTPUT, READY, RUNNING, SUCCEEDED
from antichain.errors import Fault, GraphError, NodeTimeout, RunnerError, named
from antichain.estimating import Points, points_of
from antichain.policies import Amounts
from antichain.policies.overload import overload_of
from antichain.policies.retry import retry_after
from antichain.policies.timeout import seconds
from antichain.policies.usage import usage_of
from antichain.record import FailedAttempt, RunResult, failed_attempt, status_of
from antichain.shape import DEFAULT_COST, Flag, Place, after_of, item_order, order, with_start_edges
from antichain.simulation.loop import Simulation

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["HANG", "SKIP", "Durations", "ScriptedBodies", "finite"]

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


def finite(name: str, value: object) -> float:
    """
    Return what was given as the seconds of a node.

    Raises:
        GraphError: it is no number of seconds, or has no end.
    """
    number = seconds(f"durations[{name!r}]", value, zero=True)
    if number == math.inf:
        raise GraphError(Fault("bad-policy", f"durations[{name!r}]=inf: use HANG for what never ends."))
    return number


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
            took = None if took is None else finite(name, took)
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
