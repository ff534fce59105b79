"""
Carry a run: the only file that knows both the core and asyncio. It is the loop runner, and owns the tasks and values of
one run.

How bodies are awaited. There is no task for a body that does not suspend: a *worker* task takes ready nodes and awaits
their bodies in place. Before a body, if anything else could start, it makes sure that a *standby* is scheduled. The
loop runs the standby only when the worker gives up control, which is when the body suspends, and then the standby
becomes the worker. So a run has at most as many tasks as suspended bodies, plus one.

What keeps nodes apart although they share a worker: a worker that finds its context variables changed, or that was
cancelled, retires after the body that did it.
"""

import asyncio
import functools
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from antichain.alarm import Alarm
from antichain.binding import MISSING, Binding
from antichain.context import Context
from antichain.core.facts import Entry, Event, FactStream, Listener, Outline
from antichain.core.groups import Group
from antichain.core.scheduler import FALLING_BACK, FINAL, LATE, NO_BUDGETS, NOTHING, RETRYING, Kind, Scheduler
from antichain.core.states import (
    BUDGET,
    DEADLINE,
    FAILED,
    FALLBACK,
    FIRST_TERMINAL,
    PAUSED,
    RUN,
    RUNNING,
    SUCCEEDED,
)
from antichain.durable import announce, close_journal, told
from antichain.errors import InternalError, RunnerError, note, shed
from antichain.failing import Failures, raised_by
from antichain.growth import Container, Grown
from antichain.items import Queued
from antichain.lending import Lending
from antichain.plan import Plan
from antichain.policies import Allowance, LimitValue, retry_after
from antichain.reading import read_ahead
from antichain.record import FailedAttempt, RunResult, failed_attempt, status_of
from antichain.resources import Resources
from antichain.runnable import CallKind
from antichain.runners.threads import RETURNED, YIELDED, Call, Threads
from antichain.shape import Flag
from antichain.stages import MappedStage, open_container
from antichain.tasks import Tasks, undisturbed

if TYPE_CHECKING:
    from antichain.keeping import Keeping
    from antichain.limiting import Limiting
    from antichain.metering import Metering
    from antichain.policies.budget import Purse

T = TypeVar("T")

# A run of bodies that do not suspend gives the loop a turn after so many nodes, or seconds.
SLICE_NODES: Final = 256
SLICE_SECONDS: Final = 0.001

# What `_general` returns for an attempt that goes on elsewhere.
_LAUNCHED: Final = object()

_COROUTINE0: Final = int(CallKind.COROUTINE0)
_COROUTINE1: Final = int(CallKind.COROUTINE1)
_COROUTINEN: Final = int(CallKind.COROUTINEN)
_INLINE0: Final = int(CallKind.INLINE0)
_INLINE1: Final = int(CallKind.INLINE1)
_GENERAL: Final = int(CallKind.GENERAL)
# An instance of a mapped stage, called with its item.
_ITEM: Final = _GENERAL + 1
# Whatever it is, amid its surroundings.
_AROUND: Final = _GENERAL + 2
# Whatever it is, in a run that is kept.
_KEPT: Final = _GENERAL + 3
_TIMED: Final = int(Flag.TIMED)
_CONTAINER: Final = int(Flag.CONTAINER)
# What no task of the loop is in the body of.
_ELSEWHERE: Final = _CONTAINER | int(Flag.THREAD)


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The options of one run, with what holds where nothing was said.
    """

    run_id: str
    max_concurrent: int | None = None
    limits: Mapping[str, LimitValue] | None = None
    deadline: float | None = None
    on_error: str = "cancel"
    # How many calls may be tried again, by limit.
    retry_budgets: Mapping[str, Allowance] | None = None
    grace: float = 5.0
    outputs: Mapping[str, Any] | None = None
    seed: int | None = None
    listeners: tuple[Listener, ...] = ()
    isolation: str = "context"
    # Answers the questions of nodes. Any: a question, and its answer.
    ask: Callable[[Any], Any] | None = None
    # One of the listeners.
    progress: "Progress | None" = None
    surroundings: "Surroundings | None" = None
    # Where the run is kept, and what is known of it from before.
    keeping: "Keeping | None" = None
    # What the run may use, and others with it.
    budget: "Purse | None" = None
    # Whether the result tells what became of each instance of a mapped stage.
    keeps_instances: bool = True
    # Whether the laws of the core are checked after every signal.
    debug: bool = False


class Progress(Protocol):
    """
    Show a run to people while it goes on, as one of its listeners, and at the end.
    """

    def __call__(self, event: Event, /) -> object:
        """
        Take in what has happened.
        """
        ...

    def conclude(self, result: RunResult) -> None:
        """
        Show what became of the run, of which nothing is left.
        """
        ...


class Surroundings(Protocol):
    """
    What is around every body while it runs, in its own task or thread: the current span of a trace, say.
    """

    def enter(self, node: str, attempt: int) -> object:
        """
        Set context variables for the body of an attempt that has started.
        """
        ...

    def leave(self, token: Any) -> None:
        """
        Take back what `enter` did, of which *token* came.
        """
        ...


class Seat:
    """
    Say which attempt a task is in the body of.
    """

    __slots__ = ("armed", "attempt", "node", "task")

    task: "asyncio.Task[Any]"

    def __init__(self, node: int = NOTHING, attempt: int = 0) -> None:
        self.node = node
        self.attempt = attempt
        # The attempt whose timeout the core watches.
        self.armed: tuple[int, int, float] | None = None


class Driver:
    """
    Execute one run of a plan in the running event loop.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        inputs: Mapping[str, Any],
        *,
        begin: "Callable[[Driver], object] | None" = None,
    ) -> None:
        self.plan = plan
        self.settings = settings
        # Called once the run has begun, to let nodes enter that no plan has.
        self._on_begin = begin
        self.run_id = settings.run_id
        self.core = _open_core(plan, settings)
        # Writes down what happens, where the run is kept; and why that cannot be done any more.
        self.keeping = settings.keeping
        self.store_error: BaseException | None = None
        self.facts: FactStream | None = None
        self._open_values(inputs)
        self._open_names()
        self._open_seats()

        self.started_at = 0.0
        # 0.0 is an instant too, of a virtual clock.
        self.ended_at: float | None = None
        self.was_cancelled = False
        self._has_begun = False
        self._grace = settings.grace
        # What a signal asked for: "once" to end, "twice" to end now.
        self.interrupt: str | None = None
        # What went wrong while resources were closed.
        self.resource_errors: list[Exception] = []
        # Whether the loop runs for this run only.
        self.owns_loop = False
        self._threads: Threads | None = None
        self._thread_id = 0
        # What it has used so far, by unit; of a run that goes on, all that it has ever used.
        self.usage: dict[str, float] = {} if settings.keeping is None else dict(settings.keeping.journal.usage)
        # What threads have said that attempts have used.
        self._said: deque[tuple[int, int, Mapping[str, float]]] = deque()
        # Counts what is used, where somebody says so, or a rate or budget wants to know.
        self._metering: Metering | None = None
        # Carries between the run and its limits that are more than a number; None if it has none.
        self._limiting: Limiting | None = None
        self._crash: BaseException | None = None

    def _open_values(self, inputs: Mapping[str, Any]) -> None:
        """
        Make room for what becomes of the nodes.
        """
        plan = self.plan
        # Outputs of the planned nodes by index, then the plan's literals and the run's inputs.
        self.values = plan.fill(inputs)
        # The error of each node whose last attempt failed. Any node that did not succeed in the end keeps it.
        self.errors: dict[int, BaseException] = {}
        # The attempts of each node that failed before another one, in words.
        self.retried: dict[int, list[FailedAttempt]] = {}
        # Records of map instances whose nodes have been forgotten.
        self.archives: list[Mapping[str, Any]] = []
        # Nodes whose outputs are the result's.
        self.shown: Sequence[str] = plan.ids if plan.targets is None else plan.targets
        # Whether outputs are dropped after their last reader; and whether when a body returns, if its node ends then.
        self._drops_outputs = plan.targets is not None
        self._drops_at_once = self._drops_outputs and self.keeping is None
        self._targets = frozenset(plan.index[name] for name in plan.targets or ())

    def _open_names(self) -> None:
        """
        Make room for what is known of the nodes, those that come while the run goes on too.
        """
        plan = self.plan
        # Names by node, and what is known of the nodes that came while the run went on.
        self.names: list[str] = list(plan.ids) if self.settings.listeners else plan.ids
        self.grown: dict[int, Grown] = {}
        self.containers: dict[int, Container] = {}
        # The first mapped stage, if there is one: the only one of a run that `map`, `gather` or `batch` made.
        self.stages: list[MappedStage] = []
        # Names of grown nodes; the last one of a name counts.
        self.grown_index: dict[str, int] = {}
        # Who brought them.
        self.groups: dict[int, str] = {}
        # How often each name was used inside a node.
        self._paths: dict[str, int] = {}

    def _open_seats(self) -> None:
        """
        Nobody works yet.
        """
        # A standby is scheduled and has not begun. Invariant: while a worker awaits a body in place, one is.
        self._standby = False
        self._standby_seat = Seat()
        # The worker whose body has not been seen to suspend. Whoever else runs knows by it that the body did.
        self._inline: Seat | None = None
        # Who is in the body of a running attempt, for those that have suspended.
        self._hosts: dict[int, Seat] = {}
        # Attempts that were asked to end, for functions in threads to see.
        self._asked: set[tuple[int, int]] = set()
        # What the bodies of instances of mapped stages have in their hands, by node.
        self._contexts: dict[int, list[Context]] = {}

    # ------------------------------------------------------------------ the run

    async def run(self) -> None:
        """
        Execute the plan to its end; what became of it is in `result()`. Cancelling the caller ends the run and then
        raises.
        """
        try:
            self._open()
            self._start()
            await self._wait()
        finally:
            await self._clean_up()
        if self._crash is not None:
            raise self._crash

    def _open(self) -> None:
        """
        Make what the run needs of its loop.
        """
        self.loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self.loop.create_future()
        is_plain = type(self.loop).time is asyncio.BaseEventLoop.time
        # The loop's own clock without the detour; a loop with another clock (virtual time) is asked.
        self.clock: Callable[[], float] = time.monotonic if is_plain else self.loop.time
        self._thread_id = threading.get_ident()
        self._base = copy_context()
        self._tasks = Tasks(self.loop, self._base)
        self._failures = Failures(self.core, self.errors, self.retried, self.name_of, self.clock)
        self.lending = Lending(self, self._tasks, self._turn, self._guarded)
        self.resources = Resources(self._tasks.spawn)
        self._alarm = Alarm(
            self.loop, lambda: self._guarded(self._on_alarm), self._base, self.plan.shape.timeout.values()
        )
        self._pack()

    def _pack(self) -> None:
        """
        Lay out what a worker needs, in the order in which `_work` unpacks it.
        """
        core, plan = self.core, self.plan
        kinds, grown_kind, item_kind = self._kinds()
        self._kit = (
            core,
            core.take,
            core.ended if self.keeping is None else self._returned,
            core.can_start,
            core.attempts,
            core.planned,
            kinds,
            grown_kind,
            item_kind,
            plan.functions,
            plan.arguments,
            self.values,
            self.clock,
            self._base,
            self.settings.isolation == "task",
            self.grown,
            self._hosts,
            self._alarm,
        )

    def _kinds(self) -> tuple[bytes | bytearray, int, int]:
        """
        Return how the bodies of the planned nodes are awaited, those of nodes that come later, and those of instances.
        """
        core, plan = self.core, self.plan
        # Where something surrounds every body, or its outcome is written down, all are awaited in one way.
        is_bare = self.settings.surroundings is None
        kinds = plan.kinds if is_bare else bytes([_AROUND]) * core.planned
        grown_kind, item_kind = (_GENERAL, _ITEM) if is_bare else (_AROUND, _AROUND)
        if self.keeping is not None:
            grown_kind = item_kind = _KEPT
            if self.keeping.has_guards:
                kinds = bytes([_KEPT if self.keeping.is_guarded(node) else kind for node, kind in enumerate(kinds)])
        if self.settings.budget is not None:
            # What comes back may tell what was used.
            kinds, grown_kind, item_kind = bytes([_KEPT]) * core.planned, _KEPT, _KEPT
        elif core.rates:
            kinds = bytes([_KEPT if core.uses_rate(node) else kind for node, kind in enumerate(kinds)])
        return kinds, grown_kind, item_kind

    def _start(self) -> None:
        """
        Tell the core that the run begins, and those that look on; do the first of what it decides.
        """
        self._watch(self.settings.limits or {})
        if self.settings.budget is not None:
            self._open_metering()
        now = self.started_at = self.clock()
        self._open_facts(now)
        given = self._give_outputs()
        if self.keeping is None:
            self.core.start(now, given)
        else:
            self.core.start(now, given, self.keeping.begin(self, self.settings.outputs or {}))
        if self._on_begin is not None:
            self._on_begin(self)
        self._has_begun = True
        if self.was_cancelled:
            self.core.cancel(now)
        if self._metering is not None:
            self._metering.begin(now)
        self._turn()

    def _open_facts(self, now: float) -> None:
        if not self.settings.listeners:
            return
        core = self.core
        self.facts = FactStream(
            self.run_id,
            self.settings.listeners,
            self.names,
            (core.state, core.reason, core.ready_at),
            self.errors.get,
            self._output_of,
            core.abandoned_nodes,
            self._on_broken_listener,
        )
        states = None if core.lines is None else core.lines.limit_states
        outline = Outline(self.plan.ids, self.plan.shape, core.limits, core.max_concurrent, states)
        self.facts.run_started(self.plan.name, self.plan.shape.count, now, outline)
        core.facts = self.facts
        if self.plan.shape.limits_waits:
            # As for nodes that starve: their errors are made when somebody asks.
            self.facts.error_of = self._failures.of

    def _on_broken_listener(self, listener: Listener, error: BaseException) -> None:
        if self.interrupt == "twice" and isinstance(error, KeyboardInterrupt):
            raise error
        message = f"listener {listener!r} of run {self.run_id} raised; it is not told anything more"
        self.loop.call_exception_handler({"message": message, "exception": error})

    def _output_of(self, node: int) -> Any:
        if self.core.state[node] != SUCCEEDED:
            return None
        if node < self.core.planned:
            return self.values[node]
        return self.grown[node].output

    def _give_outputs(self) -> list[int]:
        given = []
        for name, value in (self.settings.outputs or {}).items():
            node = self.plan.index.get(name)
            # A node that the targets do not need is not in the plan; its output is not needed either.
            if node is not None:
                self.values[node] = value
                given.append(node)
        return given

    async def _wait(self) -> None:
        while not self.core.has_ended and self._crash is None:
            if self._finished.done():
                self._finished = self.loop.create_future()
            try:
                if self.was_cancelled:
                    # Tasks may have been cancelled from outside before they began: nobody but this one would notice.
                    await asyncio.wait({self._finished}, timeout=0.05)
                    self._heal()
                else:
                    await self._finished
            except asyncio.CancelledError:
                self.was_cancelled = True
                self.cancel()
        self.ended_at = self.clock()

    def cancel(self, reason: int = RUN) -> None:
        """
        Start nothing more and ask everything that runs to end.
        """
        self.core.cancel(self.clock(), reason)
        self._turn()

    def cancel_from_outside(self) -> None:
        """
        The same for a signal or another thread, which has no task to cancel: the loop calls it.
        """
        self.was_cancelled = True
        if self._has_begun:
            self._note_suspension()
            self.cancel()

    def hurry(self) -> None:
        """
        Give up all that has not ended although it was asked to: nobody has any grace left.
        """
        if self._has_begun:
            self.cancel_from_outside()
            later = self.clock() + self._grace
            self._grace = self.core.grace = 0.0
            for node, attempt in self.core.tick(later):
                self._given_up(node, attempt)
            self._turn()

    def _heal(self) -> None:
        """
        Record the attempts whose tasks ended without a word, because they were cancelled before their first step.
        """
        self._tasks.drop_done()
        for node, seat in list(self._hosts.items()):
            if seat.task.done():
                del self._hosts[node]
                self._attempt_failed(node, seat.attempt, asyncio.CancelledError())
        self._turn()

    def _end(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    async def _clean_up(self) -> None:
        """
        Leave nothing behind. A cancellation that arrives now waits until this is done.
        """
        self._alarm.cancel()
        if self._limiting is not None:
            self._limiting.close()
        if self._metering is not None:
            self._metering.close()
        if not self.core.has_ended:
            # Our own fault ended the run.
            self._tasks.cancel()
        self.resource_errors = await undisturbed(lambda: self.resources.close(self._grace), self._note_cancellation)
        await self._tasks.sweep(self._grace, self._note_cancellation)
        self.lending.close()
        if self.keeping is not None:
            status = self.status if self._crash is None else "cancelled"
            await undisturbed(lambda: close_journal(self, status), self._note_cancellation)
        left: Mapping[tuple[int, int], Callable[[], object]] = {}
        if self._crash is not None:
            self._part_with_attempts()
        if self._threads is not None:
            # A limit that other runs share stays charged until the thread is back.
            left = {key: queue.release for key, queue in self.core.abandoned.items() if self._threads.has(key)}
            self._threads.close(left)
        for node, attempt in list(self.core.abandoned):
            if (node, attempt) not in left:
                self.core.returned(node, attempt)
        if self.facts is not None:
            # A fault of ours has ended a run that has no end of its own.
            self.facts.run_ended(self.status, self.clock() if self.ended_at is None else self.ended_at)

    def _part_with_attempts(self) -> None:
        """
        A fault of ours ended the run, and what ran has no end of its own: limits that others share get back all that
        no thread holds, and threads are asked to end.
        """
        core, threads = self.core, self._threads
        for node in range(len(core.state)):
            key = node, core.attempts[node]
            if core.state[node] == RUNNING and threads is not None and threads.has(key) and core.is_charged(node):
                self._asked.add(key)
                core.abandoned[key] = core.queue_of(node)
        core.give_back_but_for_abandoned()

    def _note_cancellation(self) -> None:
        self.was_cancelled = True

    @property
    def status(self) -> str:
        return status_of(self.core)

    @property
    def timed_out(self) -> bool:
        """
        Tell whether the run's deadline ended it.
        """
        return self.core.status_reason == DEADLINE

    @property
    def ran_out(self) -> bool:
        """
        Tell whether the run ended because its budget is used up.
        """
        return self.core.status_reason == BUDGET

    def result(self) -> RunResult:
        """
        Return what became of the run.
        """
        index: Mapping[str, int] = self.plan.index
        if self.grown_index:
            index = {**index, **self.grown_index}
        shown = self.shown if self._on_begin is None else [name for name in self.shown if name in index]
        if self.keeping is not None:
            # Not kept, and not made again.
            shown = [name for name in shown if self.values[index[name]] is not MISSING]
        return RunResult(
            run_id=self.run_id,
            name=self.plan.name,
            status=self.status,
            started_at=self.started_at,
            ended_at=self.ended_at or 0.0,
            scheduler=self.core,
            names=self.names,
            index=index,
            values=self.values,
            errors=self.errors,
            shown=shown,
            more=self.archives,
            groups=self.groups,
            usage=self.usage,
            retried=self.retried,
            questions=() if self.keeping is None else self.keeping.open_questions,
        )

    # ------------------------------------------------------------------ workers

    def _start_worker(self) -> None:
        self._standby = True
        seat = self._standby_seat = Seat()
        self._open_task(self._work, seat)

    def _open_task(self, work: Callable[..., Coroutine[Any, Any, None]], seat: Seat, *args: Any) -> None:
        """
        Start a task that works in *seat*.
        """
        seat.task = self._tasks.open(work(seat, *args))

    def _note_suspension(self) -> None:
        """
        Somebody else runs: so the body that was awaited in place has suspended, and is found under its host from now
        on.
        """
        seat = self._inline
        if seat is not None:
            self._inline = None
            self._hosts[seat.node] = seat

    def _leave(self, seat: Seat) -> None:
        """
        The body of *seat* is over.
        """
        if self._inline is seat:
            self._inline = None
            return
        # Somebody else ran since, so it had suspended; and if somebody is in place now, that one has suspended too.
        self._note_suspension()
        self._vacate(seat)

    def _vacate(self, seat: Seat) -> None:
        # An attempt that was given up may end when the next one has a host already.
        if self._hosts.get(seat.node) is seat:
            del self._hosts[seat.node]

    async def _work(self, seat: Seat) -> None:
        """
        Take ready nodes and await their bodies in place, until there is none, or until this task is not clean any more.

        One function, although it is long: what is done per node is written out where it happens, because a call per
        node is what a graph of short bodies would feel most (`python -m bench`), and a frame more would show in what
        users' bodies raise. What is done once per worker, per slice or per failure is a method.
        """
        self._standby = False
        self._note_suspension()
        # A run of bodies that suspend starts as many workers: so these are unpacked, not looked up.
        (
            core,
            take,
            ended,
            can_start,
            attempts,
            planned,
            kinds,
            grown_kind,
            item_kind,
            functions,
            arguments,
            values,
            clock,
            base,
            own_tasks,
            all_grown,
            hosts,
            alarm,
        ) = self._kit
        is_cancelled = seat.task.cancelling
        grown: Grown | None = None
        now = clock()
        slice_nodes, slice_ends = SLICE_NODES, now + SLICE_SECONDS
        try:
            while True:
                if core.special and core.has_judgements:
                    self._judge()
                node = take(now)
                if node < 0:
                    if node == NOTHING:
                        break
                    self.lending.resume(-2 - node)
                    continue
                attempt = attempts[node]
                if node < planned:
                    kind = kinds[node]
                else:
                    grown = all_grown[node]
                    kind = grown_kind if grown.function is None else item_kind
                if own_tasks and not core.flags[node] & _ELSEWHERE:
                    self._start_alone(node, attempt, self._body(node, attempt))
                    continue
                if now < alarm.covered_from:
                    alarm.cover(now)
                if attempt != 1:
                    kind = self._again(node, attempt, kind)
                if not self._standby:
                    # If the body suspends, the standby takes over: where nothing could start, there is nothing to take
                    # over.
                    sole = core.sole
                    if (sole is None or sole.heap or sole.backlog or core.special) and can_start():
                        self._start_worker()
                seat.node = node
                seat.attempt = attempt
                self._inline = seat
                try:
                    if kind == _COROUTINE0:
                        value = await functions[node]()
                    elif kind == _COROUTINEN:
                        value = await functions[node](*arguments[node](values))
                    elif kind == _COROUTINE1:
                        value = await functions[node](values[arguments[node]])
                    elif kind == _ITEM:
                        value = await grown.function(grown.item)  # type: ignore[union-attr,misc]
                    elif kind == _GENERAL:
                        value = await self._general(node, attempt)
                    elif kind == _AROUND:
                        surroundings = self.settings.surroundings
                        token = surroundings.enter(self.names[node] or self.name_of(node), attempt)  # type: ignore[union-attr]
                        try:
                            value = self._begun(node, attempt)
                            if value.__class__ is CoroutineType:
                                value = await value
                        finally:
                            surroundings.leave(token)  # type: ignore[union-attr]
                    elif kind == _KEPT:
                        value = await self._await_kept(node, attempt)
                    else:
                        if kind == _INLINE0:
                            value = functions[node]()
                        elif kind == _INLINE1:
                            value = functions[node](values[arguments[node]])
                        else:
                            value = functions[node](*arguments[node](values))
                        if value.__class__ is CoroutineType:
                            value = await value
                except BaseException as error:
                    # Whatever a node raises is the node's failure, and nothing more.
                    self._leave(seat)
                    self._attempt_failed(node, attempt, error)
                    if self.interrupt == "twice" and isinstance(error, KeyboardInterrupt):
                        raise
                    # A fresh worker goes on: this one may be cancelled, closed or changed.
                    break
                now = clock()
                if self._inline is not seat:
                    # As `_leave`, which bodies that suspend would have to call once each.
                    other: Seat | None = self._inline
                    if other is not None:  # pyright: ignore[reportUnnecessaryComparison]  # not while a body ran
                        self._inline = None
                        hosts[other.node] = other
                    hosts.pop(node, None)
                    # Its suspension gave the loop a turn.
                    slice_nodes, slice_ends = SLICE_NODES, now + SLICE_SECONDS
                if value is not _LAUNCHED:
                    if node < planned:
                        values[node] = value
                        if not ended(node, attempt, now):
                            self._ended_too_late(node, attempt)
                        elif self._drops_at_once:
                            self._drop_inputs(node)
                    else:
                        self._grown_ended(node, attempt, value, now)
                try:
                    if copy_context() != base or is_cancelled():
                        break
                except BaseException:
                    # A context variable's own `__eq__` raised: taken as changed.
                    break
                slice_nodes -= 1
                if not slice_nodes or now > slice_ends:
                    if not await self._gave_turn():
                        break
                    now = clock()
                    slice_nodes, slice_ends = SLICE_NODES, now + SLICE_SECONDS
        except asyncio.CancelledError:
            # Somebody cancelled this task between two bodies. No body was hurt, and a fresh worker goes on.
            pass
        except BaseException as error:
            # Not a node's: those are caught where they are awaited.
            self._report_crash(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._inline = None
            self._tasks.alive.discard(seat.task)
        self._hand_over()

    async def _gave_turn(self) -> bool:
        """
        Let others of the loop work; False if the worker, which is in no body, was cancelled meanwhile.
        """
        self._inline = None
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            # By somebody who cancels every task of the loop.
            return False
        self._note_suspension()
        return True

    def _hand_over(self) -> None:
        """
        A worker is done: see to what is left, if nobody else does.
        """
        core = self.core
        if self._standby and self._standby_seat.task.cancelling():
            # Somebody cancelled it before it began: it never will.
            self._standby = False
        if not core.unfinished or core.wants_attention or core.lines or (not self._standby and core.can_start()):
            self._turn()

    def _turn(self) -> None:
        """
        Do what the core has decided, until it wants nothing more but time and endings.
        """
        core = self.core
        while True:
            if core.interrupts:
                self._interrupt()
            elif core.failures:
                self._failed_alone(core.failures.pop(0))
            elif core.overdue:
                late = core.overdue.pop(0)
                self._fall_back(late, core.attempts[late], self._failures.overdue(late))
            elif core.completed:
                self._container_ended(core.completed.pop(0))
            elif core.has_judgements:
                self._judge()
            elif core.lines is not None and core.lines.is_hopeless:
                core.lines.is_hopeless = False
                self._refuse_impossible()
            else:
                break
        if not core.unfinished:
            self._end()
            return
        if self._standby and self._standby_seat.task.cancelling():
            self._standby = False
        if not self._standby:
            if core.can_start():
                self._start_worker()
            elif not core.active:
                core.look_for_starvation(self.clock())
        self._set_alarm()

    def _interrupt(self) -> None:
        self._note_suspension()
        attempts = self.core.interrupts.copy()
        self.core.interrupts.clear()
        for node, attempt in attempts:
            self._asked.add((node, attempt))
            seat = self._hosts.get(node)
            if seat is not None and seat.attempt == attempt:
                seat.task.cancel()

    def _judge(self) -> None:
        """
        Evaluate the conditions of the nodes whose join rule holds, and what they take of rates by their inputs.
        """
        while (node := self.core.next_to_judge()) != NOTHING:
            try:
                verdict = bool(self._condition_of(node))
            except BaseException as error:
                self._failures.keep(node, 1, error)
                self.core.judged(node, None, self.clock())
                self._child_failed(node)
            else:
                if verdict or self.keeping is None:
                    self.core.judged(node, verdict, self.clock())
                else:
                    self.keeping.skip(node)
        while (node := self.core.next_to_weigh()) != NOTHING:
            try:
                amounts = self._weights_of(node)
            except BaseException as error:
                self._failures.keep(node, 1, error)
                self.core.weighed(node, None, self.clock())
                self._child_failed(node)
            else:
                self.core.weighed(node, amounts, self.clock())
        if self.core.completed or self.core.interrupts:
            # A verdict may end a group, or stop one; the caller may be about to await a body.
            self._turn()

    def _condition_of(self, node: int) -> object:
        binding, values = self._binding_of(node)
        condition = binding.when
        assert condition is not None
        args, kwargs = condition.arguments(values)
        return self._apart(condition.function, *args, **kwargs)

    def _weights_of(self, node: int) -> dict[str, Mapping[str, float]]:
        binding, values = self._binding_of(node)
        if node >= self.core.planned and (grown := self.grown[node]).position >= 0:
            values[grown.slot] = grown.item
        assert self._limiting is not None
        return self._limiting.weights_of(node, binding, values, self._apart)

    def _apart(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """
        Call a function of the user's that is no body: what it does to context variables is seen by nobody else.
        """
        return self._base.copy().run(function, *args, **kwargs)

    def _binding_of(self, node: int) -> tuple[Binding, list[Any]]:
        """
        Return how a node that needs more than a plain call is called, and the values it reads.
        """
        if node < self.core.planned:
            return self.plan.arguments[node], self.values
        grown = self.grown[node]
        assert grown.binding is not None
        return grown.binding, grown.values

    # ------------------------------------------------------------------ bodies that need more than a call

    async def _body(self, node: int, attempt: int) -> Any:
        """
        Await the body of a node, whatever it is.
        """
        if self.keeping is not None:
            if attempt > 1 and self.keeping.is_unwritten(node):
                await told(self, functools.partial(self.keeping.when_written, node))
            if self.keeping.is_guarded(node):
                await announce(self, node, attempt)
        value = self._begun(node, attempt)
        return await value if value.__class__ is CoroutineType else value

    def _again(self, node: int, attempt: int, kind: int) -> int:
        """
        Prepare another attempt than the first; returns how its body is awaited.
        """
        shed(self.errors.get(node))
        if self.core.flags[node] & _TIMED:
            # What is left of its total may be less than any timeout.
            self.core.arm(node, attempt)
            self._set_alarm()
        return kind if self.keeping is None else _KEPT

    def _returned(self, node: int, attempt: int, now: float) -> bool:
        """
        In a run that is kept, stand for the core's `ended` where a body has returned: its node ends once the output is
        durable, and nobody sees that before.
        """
        # Nobody is in a body just now.
        self._inline = None
        values = self.values
        value, values[node] = values[node], MISSING
        self.keeping.keep(node, attempt, value, now, None)  # type: ignore[union-attr]
        return True

    async def _await_kept(self, node: int, attempt: int) -> Any:
        """
        In a run that is kept, await the body of a node before which something may have to be durable, or of one that
        was not planned.
        """
        surroundings = self.settings.surroundings
        token = None if surroundings is None else surroundings.enter(self.name_of(node), attempt)
        try:
            value = await self._body(node, attempt)
        finally:
            if surroundings is not None:
                surroundings.leave(token)
        if value is not _LAUNCHED:
            self._note_suspension()
            self._succeeded(node, attempt, value, self.clock())
        return _LAUNCHED

    def _begun(self, node: int, attempt: int) -> Any:
        """
        Call a node, whatever it is; what that gives is to be awaited if it is a coroutine.
        """
        plan = self.plan
        if node >= self.core.planned or plan.kinds[node] == _GENERAL:
            return self._general(node, attempt)
        function, source, kind = plan.functions[node], plan.arguments[node], plan.kinds[node]
        if kind in (_COROUTINE0, _INLINE0):
            return function()
        if kind in (_COROUTINE1, _INLINE1):
            return function(self.values[source])
        return function(*source(self.values))

    async def _general(self, node: int, attempt: int) -> Any:
        """
        Await a body that is not just a coroutine function of plain values, or hand it to whoever executes it.
        """
        grown = None if node < self.core.planned else self.grown[node]
        if grown is not None and grown.quick is not None:
            return await grown.quick()
        if grown is not None and grown.function is not None:
            return await grown.function(grown.item)
        if self.core.flags[node] & _CONTAINER:
            binding = None if grown is not None and grown.opens is not None else self._binding_of(node)[0]
            open_container(self, node, attempt, grown, binding)
            self.core.arm(node, attempt)
            self._set_alarm()
            return _LAUNCHED
        binding, values = self._binding_of(node)
        if grown is not None and grown.position >= 0:
            values[grown.slot] = grown.item
        args, kwargs = binding.arguments(values)
        if binding.context is not None:
            kwargs[binding.context] = self.context_of(node, attempt)
        for name in binding.resources:
            if name not in kwargs:
                plan = self.plan if grown is None else grown.plan
                kwargs[name] = await self.resources.get(name, plan.resources[name])
        return await self._call(node, attempt, binding, args, kwargs)

    async def _call(
        self, node: int, attempt: int, binding: Binding, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        function, style = binding.function, binding.style
        if style == "coroutine":
            return await function(*args, **kwargs)
        if style == "invoke":
            return await function.ainvoke(*args, **kwargs)
        if style == "async_generator":
            chunks = []
            async with aclosing(function(*args, **kwargs)) as generator:
                async for chunk in generator:
                    chunks.append(chunk)
                    self.emit(node, attempt, chunk)
            return chunks
        if style == "inline":
            value = function(*args, **kwargs)
            return await value if isinstance(value, CoroutineType) else value
        if style == "invoke_thread":
            function = function.invoke
        # The context is the run's own, or what surrounds this body.
        self._submit(Call(node, attempt, function, args, kwargs, copy_context(), style == "thread_generator"))
        return _LAUNCHED

    def _submit(self, call: Call) -> None:
        if self._threads is None:
            self._threads = Threads(
                lambda: self.loop.call_soon_threadsafe(self._guarded, self._on_threads), self.is_cancelled
            )
        self._threads.submit(call)
        if self.core.flags[call.node] & _TIMED:
            self.core.arm(call.node, call.attempt)
            self._set_alarm()

    def _on_threads(self) -> None:
        self._note_suspension()
        assert self._threads is not None
        if self._said:
            self._take_usage()
        now = self.clock()
        for node, attempt, kind, value in self._threads.take_back():
            if kind == YIELDED:
                self.core.beat(node, attempt, now)
                self._tell_chunk(node, attempt, value)
            elif self.core.abandoned_nodes.get(node) == attempt:
                if isinstance(value, CoroutineType):
                    value.close()
                self.core.returned(node, attempt)
            elif kind != RETURNED:
                self._attempt_failed(node, attempt, value)
            elif isinstance(value, CoroutineType) and (node, attempt) in self._asked:
                # It was asked to end meanwhile, and does so before it begins.
                value.close()
                self._attempt_failed(node, attempt, asyncio.CancelledError())
            elif isinstance(value, CoroutineType):
                # A plain function gave a coroutine (`lambda: fetch(url)`): the value is what that returns.
                self._start_alone(node, attempt, value)
            else:
                self._succeeded(node, attempt, value, now)
        self._turn()

    def _start_alone(
        self, node: int, attempt: int, body: Coroutine[Any, Any, Any], *, reason: int | None = None
    ) -> None:
        """
        Await *body* for a running attempt in a task of its own; with *reason*, it is the attempt's fallback.
        """
        seat = self._hosts[node] = Seat(node, attempt)
        self._open_task(self._await_alone, seat, body, reason)
        seat.task.add_done_callback(lambda _: self._guarded(lambda: self._ended_unbegun(seat, body, reason)))
        self.core.arm(node, attempt)
        self._set_alarm()

    def _ended_unbegun(self, seat: Seat, body: Coroutine[Any, Any, Any], reason: int | None) -> None:
        """
        A task that is cancelled before its first step never runs, and so cannot tell that its attempt is over.
        """
        if seat.task not in self._tasks.alive:
            return
        self._tasks.alive.discard(seat.task)
        body.close()
        self._note_suspension()
        self._vacate(seat)
        self._attempt_failed(seat.node, seat.attempt, asyncio.CancelledError(), is_fallback=reason is not None)
        self._turn()

    async def _await_alone(self, seat: Seat, body: Coroutine[Any, Any, Any], reason: int | None) -> None:
        self._note_suspension()
        node, attempt = seat.node, seat.attempt
        surroundings = self.settings.surroundings
        try:
            try:
                if surroundings is not None:
                    # For good: the task ends with its body.
                    surroundings.enter(self.name_of(node), attempt)
                value = await body
            except BaseException as error:
                self._note_suspension()
                self._vacate(seat)
                self._attempt_failed(node, attempt, error, is_fallback=reason is not None)
                if self.interrupt == "twice" and isinstance(error, KeyboardInterrupt):
                    raise
            else:
                self._note_suspension()
                self._vacate(seat)
                self._succeeded(node, attempt, value, self.clock(), reason)
        except BaseException as error:
            self._report_crash(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._tasks.alive.discard(seat.task)
        self._turn()

    # ------------------------------------------------------------------ endings

    def _succeeded(self, node: int, attempt: int, value: Any, now: float, reason: int | None = None) -> None:
        if self._metering is not None and node < self.core.planned:
            self._metering.read(node, attempt, value)
        if self.keeping is not None and self.keeping.has_to_keep(node, reason):
            self.keeping.keep(node, attempt, value, now, reason)
        else:
            self.end_well(node, attempt, value, now, reason)

    def end_well(self, node: int, attempt: int, value: Any, now: float, reason: int | None) -> None:
        """
        Let a node end with its output; in a run that is kept, once that is durable.
        """
        if node >= self.core.planned:
            self._grown_ended(node, attempt, value, now, reason)
            return
        self.values[node] = value
        ended = self.core.ended(node, attempt, now) if reason is None else self.core.ended(node, attempt, now, reason)
        if not ended:
            self._ended_too_late(node, attempt)
        elif self._drops_outputs:
            self._drop_inputs(node)

    def _grown_ended(self, node: int, attempt: int, value: Any, now: float, reason: int | None = None) -> None:
        grown = self.grown[node]
        if self._metering is not None:
            self._metering.read(node, attempt, value)
        if self.facts is not None:
            grown.output = value
        ended = self.core.ended(node, attempt, now) if reason is None else self.core.ended(node, attempt, now, reason)
        if not ended:
            self._ended_too_late(node, attempt)
            return
        grown.owner.child_succeeded(self, node, grown, value)
        if self.core.completed:
            self._turn()

    def _ended_too_late(self, node: int, attempt: int) -> None:
        """
        The body returned, but the attempt is not current any more, or its time was up.
        """
        core = self.core
        if node < core.planned and core.state[node] < FIRST_TERMINAL:
            self.values[node] = MISSING
        if core.abandoned_nodes.get(node) == attempt:
            core.returned(node, attempt)
        elif core.has_expired(node, attempt):
            self._attempt_failed(node, attempt, TimeoutError())
        self._turn()

    def is_idle_but_for(self, completed: int) -> bool:
        """
        Tell whether nobody is kept from anything while the loop's thread waits for a disk: as many attempts as have
        *completed* are all that there are, and none can start.
        """
        return self.owns_loop and self.core.active <= completed and not self.core.can_start()

    def on_durable(self) -> None:
        """
        Hear what the store has decided.
        """
        assert self.keeping is not None
        if self._crash is None:
            self._note_suspension()
            self.keeping.deliver()
            self._turn()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """
        Have the loop call something, from any thread.
        """
        try:
            self.loop.call_soon_threadsafe(self._guarded, callback)
        except RuntimeError:
            # The loop is closed: the run is long over.
            return

    def call_next(self, callback: Callable[[], object]) -> None:
        """
        Have the loop call something in its next turn; only in its own thread.
        """
        self.loop.call_soon(self._guarded, callback)

    def store_failed(self, error: BaseException) -> None:
        """
        What happens cannot be written down any more, so nothing more may happen.
        """
        if self.store_error is None:
            self.store_error = error
            self.core.cancel(self.clock())

    def attempt_failed(self, node: int, attempt: int, error: BaseException, *, is_fallback: bool) -> None:
        """
        Take the failure of an attempt that had come to its end.
        """
        self._attempt_failed(node, attempt, error, is_fallback=is_fallback)

    def _pause(self, node: int, attempt: int) -> None:
        """
        An attempt has ended because it, or something in it, waits for somebody's answer.
        """
        reason = self.lending.pausing.pop((node, attempt), PAUSED)
        self.core.paused(node, attempt, self.clock(), reason)
        if node >= self.core.planned:
            grown = self.grown[node]
            grown.owner.child_cancelled(self, node, grown)

    def _attempt_failed(self, node: int, attempt: int, error: BaseException, *, is_fallback: bool = False) -> None:
        """
        Let the core decide what the failure of an attempt means, and make the fallback's value if that is what it says.
        """
        core, now = self.core, self.clock()
        is_late = not is_fallback and core.has_settled(node)
        if core.state[node] != RUNNING or core.attempts[node] != attempt or is_late:
            core.returned(node, attempt)
            return
        if isinstance(error, asyncio.CancelledError) and core.was_interrupted(node, attempt):
            self._cancelled(node, attempt)
            return
        if isinstance(error, asyncio.CancelledError) and self.lending.pauses(node, attempt):
            self._pause(node, attempt)
            return
        error = self._failures.keep(node, attempt, error)
        if core.lines is not None and self._limiting is not None and not is_fallback:
            self._limiting.tell_overload(node, attempt, raised_by(error))
        retryable, after = (False, None) if is_fallback else self._ask_retry(node, error)
        verdict = core.failed(node, attempt, now, retryable=retryable, after=after, final=is_fallback)
        if verdict == RETRYING:
            self._set_alarm()
            self.retried.setdefault(node, []).append(failed_attempt(error, attempt, now, core.delay))
            if self.keeping is not None:
                self.keeping.note_retry(node, attempt, core.delay, error)
        elif verdict == FALLING_BACK:
            self._failures.tell_history(node, error)
            self._fall_back(node, attempt, error)
        elif verdict == FINAL:
            self._failures.tell_history(node, error)
            self._child_failed(node)
        elif verdict == LATE:
            raise InternalError(
                f"node {self.name_of(node)!r}: the failure of its current attempt {attempt} was refused"
            )

    def _ask_retry(self, node: int, error: BaseException) -> tuple[bool, float | None]:
        """
        Ask a node's `Retry` whether *error* may be tried again, and the error itself in how many seconds.
        """
        retry = self.core.retry.get(node)
        if retry is None:
            return False, None
        retryable = False
        try:
            # A cancellation of its own, which was wrapped for its reader only, is not retried.
            retryable = bool(self._apart(retry.retryable, raised_by(error)))
            return retryable, retry_after(error, time.time()) if retryable else None
        except BaseException as broken:
            if self.interrupt == "twice" and isinstance(broken, KeyboardInterrupt):
                raise
            note(error, f"not retried: Retry(on=…) itself raised {type(broken).__name__}: {broken}")
            return retryable, None

    def _cancelled(self, node: int, attempt: int) -> None:
        """
        An attempt that was asked to end has ended, or was given up.
        """
        self.core.cancelled(node, attempt, self.clock())
        if self.core.state[node] == FAILED:
            self._failed_alone(node)
        elif node >= self.core.planned:
            grown = self.grown[node]
            grown.owner.child_cancelled(self, node, grown)

    def _failed_alone(self, node: int) -> None:
        """
        The core failed a node: abandoned attempts hold what it waits for, or there is no further attempt for it in a
        run that drains.
        """
        error = self._failures.of(node)
        assert error is not None
        self._child_failed(node)

    def _fall_back(self, node: int, attempt: int, error: BaseException) -> None:
        fallback = self._fallback_of(node)
        try:
            value = self._apart(fallback, error) if callable(fallback) else fallback
        except BaseException as broken:
            broken.__context__ = error
            self._attempt_failed(node, attempt, broken, is_fallback=True)
            return
        if isinstance(value, CoroutineType):
            self._start_alone(node, attempt, value, reason=FALLBACK)
        else:
            self._succeeded(node, attempt, value, self.clock(), FALLBACK)

    def _fallback_of(self, node: int) -> Any:
        return self.plan.arguments[node].fallback if node < self.core.planned else self.grown[node].fallback

    def _refuse_impossible(self) -> None:
        """
        Fail the nodes that wait for more than a rate, which has become smaller, will ever let pass.
        """
        core = self.core
        while self._limiting is not None and (found := self._limiting.impossible()) is not None:
            node, error = found
            self._failures.keep(node, core.attempts[node] + 1, error)
            if not core.refuse(node, self.clock()):
                return
            self._child_failed(node)

    def _child_failed(self, node: int) -> None:
        if self.keeping is not None:
            self.keeping.note_end(node, self.core.attempts[node], self.errors[node])
        if node >= self.core.planned:
            grown = self.grown[node]
            grown.owner.child_failed(self, node, grown, self.errors[node])

    def _drop_inputs(self, node: int) -> None:
        """
        Drop the outputs that no unfinished node will read, when only those of the targets are wanted.
        """
        core, state = self.core, self.core.state
        for before in (*core.upstream[node], node):
            if before >= core.planned or before in self._targets:
                continue
            if all(state[after] >= FIRST_TERMINAL for after in core.downstream[before]):
                self.values[before] = None

    # ------------------------------------------------------------------ growth

    def _container_ended(self, group: Group) -> None:
        """
        All that a container brought into the run has ended: so has the container.
        """
        node, core, now = group.owner, self.core, self.clock()
        container = self.containers.get(node)
        if container is None or container.group is not group:
            # Of a running body (`ctx.run`), which waits for its own; what never started has not told it.
            self.lending.end(group)
            return
        del self.containers[node]
        attempt = group.attempt
        if core.state[node] != RUNNING or core.attempts[node] != attempt:
            return
        container.archive(self)
        if core.was_interrupted(node, attempt):
            self._cancelled(node, attempt)
        elif core.has_expired(node, attempt):
            self._attempt_failed(node, attempt, TimeoutError())
        elif (error := container.error()) is not None:
            self._attempt_failed(node, attempt, error)
        elif group.paused:
            self._pause(node, attempt)
        elif group.cancelled or (group.stopping and not container.is_complete):
            self._cancelled(node, attempt)
        else:
            # Also while the run drains: what completed is not lost.
            if container.has_lost and node >= core.planned:
                self.grown[node].owner.has_lost = True
            self._succeeded(node, attempt, MISSING if container.has_lost else container.output(), now)

    def enter(
        self,
        group: Group,
        kind: Kind,
        name: str,
        grown: Grown,
        *,
        now: float,
        upstream: Sequence[int] = (),
        leaders: Sequence[int] = (),
        join: int = 0,
        order: int = 0,
    ) -> int:
        """
        Bring a node into the run.
        """
        if self.names is self.plan.ids:
            self.names = list(self.plan.ids)
        # Known before the core speaks of it.
        node = self.core.next_node
        self.grown[node] = grown
        if grown.position >= 0:
            name = grown.owner.name_of(grown) if self.facts is not None else ""
        if node == len(self.names):
            self.names.append(name)
        else:
            self.names[node] = name
        past, value = None, MISSING
        if self.keeping is not None:
            # First, because it may raise: then the node has not come into the run.
            past, value = self.keeping.past_of(node, self.name_of(node), grown.owner.kept(self.keeping, grown))
        if kind.timeout is not None:
            self._alarm.shorten(kind.timeout)
            if kind.timeout.queue is not None and self.facts is not None:
                self.facts.error_of = self._failures.of
        if grown.position < 0:
            self.grown_index[name] = node
            if group.owner >= 0:
                # Now, because the index of an instance that has ended is used again.
                self.groups[node] = self.name_of(group.owner)
        if self.facts is not None:
            before = (*upstream, *leaders)
            self._tell_entry(node, group.owner, kind.demand, tuple([self.names[each] for each in before]), now)
        if self.keeping is None:
            return self.core.enter(group, kind, now, upstream=upstream, leaders=leaders, join=join, order=order)
        grown.output = value
        self.core.enter(group, kind, now, upstream=upstream, leaders=leaders, join=join, order=order, past=past)
        if past is not None and self.core.state[node] == SUCCEEDED:
            if value is MISSING:
                grown.owner.has_lost = True
            grown.owner.child_succeeded(self, node, grown, value)
        return node

    def renew(self, node: int, key: str, order: int) -> None:
        """
        Use the node of an instance that has ended for the next one; *order* is its tie among equally urgent nodes.
        """
        if self.facts is not None:
            grown = self.grown[node]
            self.names[node] = grown.owner.name_of(grown)
            now, core = self.clock(), self.core
            self._tell_entry(node, core.group_of[node].owner, core.demand[node], (), now)
        if self.errors:
            self.errors.pop(node, None)
            self.retried.pop(node, None)
        if self._metering is not None or self._contexts or self._asked:
            self._part_with(node)
        self.core.renew(node, self.clock(), order)

    def _tell_entry(self, node: int, owner: int, demand: int, upstream: tuple[str, ...], now: float) -> None:
        assert self.facts is not None
        grown = self.grown[node]
        group = self.name_of(owner) if owner >= 0 else ""
        upstream += grown.owner.upstream_of(grown)
        entry = Entry(self.names[node], group, upstream, self.core.demand_of(demand))
        self.facts.entered(entry, now, grown.owner.total)

    def name_of(self, node: int) -> str:
        """
        Return the id of a node; those of instances of mapped stages are made when somebody asks.
        """
        name = self.names[node]
        if name or node < self.core.planned:
            return name
        grown = self.grown[node]
        return grown.owner.name_of(grown) if grown.position >= 0 else name

    def add_limits(self, limits: Mapping[str, LimitValue]) -> None:
        """
        Define those limits of a graph that enters which the run does not define; of the others, the run's hold.
        """
        for name, size in limits.items():
            if name not in self.core.limits and name not in self.core.rates:
                self.core.add_limit(name, size)
                self._watch({name: size})

    def _watch(self, limits: Mapping[str, LimitValue]) -> None:
        """
        Hear of those limits that are shared with other runs, and count for those that are rates.
        """
        if all(isinstance(limit, int) for limit in limits.values()):
            return
        if self._limiting is None:
            from antichain.limiting import Limiting  # only where a limit is more than a number

            self._limiting = Limiting(self)
        self._limiting.watch(limits)
        if self.core.rates:
            self._open_metering()

    def forget(self, node: int) -> None:
        """
        Drop what is known of a grown node that has ended.
        """
        self.errors.pop(node, None)
        self.retried.pop(node, None)
        if node not in self.core.abandoned_nodes:
            self._part_with(node)
            del self.grown[node]
            self.core.forget(node)

    def path_inside(self, node: int, name: str) -> str:
        """
        Name what the body of *node* runs: the second of a name is told apart by a number.
        """
        path = f"{self.name_of(node)}/{name}"
        count = self._paths.get(path, 0) + 1
        self._paths[path] = count
        return path if count == 1 else f"{path}#{count}"

    def read(
        self,
        source: Any,
        queued: Queued,
        window: int,
        on_items: Callable[[], object],
        on_error: Callable[[BaseException], object],
    ) -> Callable[[], object]:
        """
        Read an async iterator into *queued*, never more than *window* items ahead; call the returned function once some
        are taken.
        """
        return read_ahead(self._tasks.spawn, source, queued, window, on_items, on_error)

    def turn(self) -> None:
        """
        Go on after something has changed that no node did.
        """
        self._note_suspension()
        self._turn()

    def turn_soon(self) -> None:
        """
        The same, where the core is in the middle of something.
        """
        self.loop.call_soon(self._guarded, self.turn, context=self._base)

    def run_inside(self, node: int, attempt: int, runnable: object, inputs: dict[str, Any]) -> Awaitable[Any]:
        """
        Run a graph or a function for the body of *node*; see `Context.run`.
        """
        self._refuse_threads(node, "ctx.run")
        return self.lending.run(node, attempt, runnable, inputs)

    def ask_inside(self, node: int, attempt: int, text: str, kind: Any) -> Awaitable[Any]:
        """
        Ask whoever answers for the body of *node*; see `Context.ask`.
        """
        self._refuse_threads(node, "ctx.ask")
        return self.lending.ask(node, attempt, text, kind)

    def _refuse_threads(self, node: int, called: str) -> None:
        if threading.get_ident() != self._thread_id:
            raise RunnerError(
                f"node {self.name_of(node)!r} called {called} from a thread, where nothing can be awaited. "
                "Write the node as `async def`, so that it runs on the loop."
            )

    # ------------------------------------------------------------------ what nodes see

    def context_of(self, node: int, attempt: int) -> Context:
        expires_at = self.core.expires_at(node)
        context = Context(self, node, self.name_of(node), attempt, expires_at)
        if node >= self.core.planned and self.grown[node].position >= 0:
            self._contexts.setdefault(node, []).append(context)
        return context

    def _part_with(self, node: int) -> None:
        """
        Let nothing that the body of an instance has left behind speak for the next one on its node, or hear for it.
        """
        if self._metering is not None:
            self._metering.forget(node)
        for context in self._contexts.pop(node, ()):
            context.part()
        if self._asked:
            self._asked.difference_update((node, attempt) for attempt in range(1, self.core.attempts[node] + 1))

    def is_cancelled(self, node: int, attempt: int) -> bool:
        return (node, attempt) in self._asked

    def heartbeat(self, node: int, attempt: int) -> None:
        self.core.beat(node, attempt, self.clock())

    def emit(self, node: int, attempt: int, chunk: object) -> None:
        if self.core.flags[node] & _TIMED:
            self.core.beat(node, attempt, self.clock())
        if self.facts is None:
            return
        if threading.get_ident() == self._thread_id:
            self._tell_chunk(node, attempt, chunk)
        elif self._threads is not None:
            self._threads.tell_chunk(node, attempt, chunk)
        else:
            # A thread of the user's own.
            try:
                self.loop.call_soon_threadsafe(self._tell_chunk, node, attempt, chunk)
            except RuntimeError:
                # The loop is closed: the run is long over.
                return

    def use(self, node: int, attempt: int, used: Mapping[str, float]) -> None:
        """
        Hear what an attempt has used, besides what it has said before; in any thread.
        """
        if threading.get_ident() == self._thread_id:
            self._open_metering().count(node, attempt, used)
            return
        self._said.append((node, attempt, used))
        self.call_soon(self._take_usage)

    def _take_usage(self) -> None:
        while self._said:
            self._open_metering().count(*self._said.popleft())

    def _open_metering(self) -> "Metering":
        if self._metering is None:
            from antichain.metering import Metering  # only where something is counted

            self._metering = Metering(self)
        return self._metering

    def _tell_chunk(self, node: int, attempt: int, chunk: object) -> None:
        # What an attempt says after its end is nobody's business any more.
        if self.facts is not None and self.core.state[node] == RUNNING and self.core.attempts[node] == attempt:
            self.facts.chunk(node, attempt, self.clock(), chunk)

    # ------------------------------------------------------------------ time

    def _set_alarm(self) -> None:
        self._alarm.ring_by(self.core.next_at())

    def _on_alarm(self) -> None:
        self._note_suspension()
        core = self.core
        for node, seat in self._hosts.items():
            # Its timer is set only now that the alarm has rung while it runs.
            if core.flags[node] & _TIMED:
                # With its start: the next item of a map may be on the same node, in the same seat.
                current = (node, seat.attempt, core.attempt_started_at(node))
                if seat.armed != current:
                    seat.armed = current
                    core.arm(node, seat.attempt)
        # Timers of the loop may fire up to its resolution early.
        for node, attempt in core.tick(max(self.clock(), self._alarm.at)):
            self._given_up(node, attempt)
        self._turn()

    def _given_up(self, node: int, attempt: int) -> None:
        """
        The body of an attempt did not end in time: go on without it.
        """
        if self.facts is not None:
            # From now on there may be nodes that starve: their errors are made when somebody asks.
            self.facts.error_of = self._failures.of
        was_asked = (node, attempt) in self._asked
        self._asked.add((node, attempt))
        seat = self._hosts.pop(node, None)
        if self.core.has_expired(node, attempt):
            self._attempt_failed(node, attempt, TimeoutError())
        else:
            self._cancelled(node, attempt)
        if seat is None:
            return
        if was_asked:
            self._tasks.kill(seat.task)
        else:
            # A coroutine that a plain function returned: its thread is long back, and it can be asked.
            seat.task.cancel()

    # ------------------------------------------------------------------ the rest

    def _guarded(self, callback: Callable[[], object]) -> None:
        """
        Call what the loop has been asked to call for this run: a fault of ours ends the run.
        """
        try:
            callback()
        except BaseException as error:
            self._report_crash(error)
            if not isinstance(error, Exception):
                raise

    def _report_crash(self, error: BaseException) -> None:
        """
        Our own code failed: end the run with that, rather than wait for ever.
        """
        if self.interrupt == "twice" and isinstance(error, KeyboardInterrupt):
            # Nobody's fault; whoever owns the loop calls `hurry`.
            return
        if self._crash is None:
            self._crash = error
        self._end()


def _open_core(plan: Plan, settings: Settings) -> Scheduler:
    make = Scheduler
    if settings.debug:
        from antichain.core.laws import LawfulScheduler

        make = LawfulScheduler
    return make(
        plan.shape,
        max_concurrent=settings.max_concurrent,
        limits=settings.limits,
        on_error=settings.on_error,
        deadline=settings.deadline,
        grace=settings.grace,
        rng=random.Random(settings.seed),
        retry_budgets=settings.retry_budgets or NO_BUDGETS,
    )
