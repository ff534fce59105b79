"""
Decide what runs next, and what follows from what happened. Pure: integers in, integers out; time is an argument,
randomness is injected.

Two rules hold here. All that decides is in this package: the driver, the simulator and the tests call the same few
methods and never decide for themselves. And no value, exception, clock, task or thread is known here.

The methods are the signals. Of attempts: `take` (which starts one), `arm`, `judged`, `settle`, `ended`, `failed`,
`cancelled`, `paused`, `returned`, `lend`, `reclaim`. Of the run: `start`, `resize`, `stop`, `halt`, `cancel`,
`tick`. Of growth: `open`, `enter`, `close`, `renew`, `forget`. Of limits that open by time: `weighed`, `settle_usage`,
`overloaded`, `reconsider`; whose turn it is there, `lines` knows. What the caller has to do afterwards is in six
places, which it empties: `interrupts` (attempts to cancel), `failures` (nodes that failed by themselves), `completed`
(groups that have ended), `next_to_judge()` (conditions to evaluate), `next_to_weigh()` (weights), and `next_at()` (when
to call `tick`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from antichain.core.capacity import (
    UNLIMITED,
    AdaptiveSlots,
    Queue,
    RateSlots,
    SharedSlots,
    Slots,
    TimedQueue,
    open_slots,
)
from antichain.core.groups import CANCEL, CANCELLING, CONTINUE, DRAIN, DRAINING, NOT_STOPPING, Group
from antichain.core.states import (
    BACKING_OFF,
    BUDGET,
    CANCELLED,
    CONDITION,
    DEADLINE,
    ERROR,
    FAILED,
    FALLBACK,
    FIRST_TERMINAL,
    NEVER,
    NO_REASON,
    OUTPUT,
    OUTPUTS,
    PAUSED,
    PENDING,
    READY,
    RUN,
    RUNNING,
    SKIPPED,
    STARVED,
    STATE_NAMES,
    SUCCEEDED,
    TIMEOUT,
    UPSTREAM,
)
from antichain.core.timers import (
    ATTEMPT_EXPIRES,
    BACKOFF_ENDS,
    DEADLINE_PASSES,
    GRACE_ENDS,
    IDLE_EXPIRES,
    LIMIT_OPENS,
    QUEUE_EXPIRES,
    STARVATION_ENDS,
    Timer,
    Timers,
)
from antichain.errors import InternalError
from antichain.policies import EVERYTHING, Allowance, Amounts, Join, LimitValue, Retry, Timeout
from antichain.shape import INDEX_BITS, INDEX_MASK, PRIORITY_SHIFT, TIE_MAX, Flag, Shape, packed_key

if TYPE_CHECKING:
    from antichain.core.lines import Lines

NOTHING: Final = -1

# What `failed` decided.
LATE: Final = 0
RETRYING: Final = 1
FALLING_BACK: Final = 2
FINAL: Final = 3

_WHEN: Final = int(Flag.WHEN)
_CONTAINER: Final = int(Flag.CONTAINER)
_THREAD: Final = int(Flag.THREAD)
_HAS_FALLBACK: Final = int(Flag.FALLBACK)
_RETRY: Final = int(Flag.RETRY)
_REPEAT_SAFE: Final = int(Flag.REPEAT_SAFE)
_ALL: Final = int(Join.ALL)
_ANY: Final = int(Join.ANY)
_ALL_DONE: Final = int(Join.ALL_DONE)

# What a leader that has not started adds to `waiting` of an `any` node: more than successes can ever take away.
LEADER: Final = 1 << 40

# Flag bytes of nodes that wait in an ordinary queue; what `bytes.translate` leaves of them tells whether a plan has
# others.
_ORDINARY: Final = bytes(flags for flags in range(256) if not flags & (_WHEN | _CONTAINER))

# Seconds that a body has to end once all that it ran itself has been given up.
LAST_CHANCE: Final = 0.05

ON_ERROR: Final = {"cancel": CANCEL, "drain": DRAIN, "continue": CONTINUE}


@dataclass(frozen=True, slots=True)
class Past:
    """
    Say what is known of a node from before its run went on.
    """

    # Why it has ended: CHECKPOINT (it has its output), CONDITION (it was not taken), or NO_REASON if it has not.
    reason: int = NO_REASON
    # Its attempts that have ended, the seconds they count for, and the instant before which the next does not start.
    attempts: int = 0
    spent: float = 0.0
    at: float = NEVER
    # Of these attempts, those that do not count any more: the node had failed with them, and begins anew.
    before: int = 0

    @property
    def state(self) -> int:
        """
        The terminal state it has, or PENDING.
        """
        return PENDING if not self.reason else SKIPPED if self.reason == CONDITION else SUCCEEDED


# Of a run that begins.
NO_PAST: Final[Mapping[int, Past]] = MappingProxyType({})
# Of one in which every node may try again as often as it says.
NO_BUDGETS: Final[Mapping[str, "Allowance"]] = MappingProxyType({})


class FactSink(Protocol):
    """
    What the scheduler tells when somebody listens; see `core.facts`.
    """

    def ready(self, node: int, attempt: int, now: float) -> None: ...
    def started(self, node: int, attempt: int, now: float) -> None: ...
    def retrying(self, node: int, attempt: int, now: float, delay: float) -> None: ...
    def ended(self, node: int, attempt: int, now: float) -> None: ...


class Scheduler:
    """
    Hold the state of one run and answer what may run now.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        max_concurrent: int | None = None,
        limits: Mapping[str, LimitValue] | None = None,
        on_error: str = "cancel",
        deadline: float | None = None,
        grace: float = 5.0,
        rng: Random | None = None,
        retry_budgets: Mapping[str, Allowance] = NO_BUDGETS,
    ) -> None:
        self.planned = shape.count
        self.grace = grace
        self.deadline = deadline
        self.rng = rng
        self.facts: FactSink | None = None
        # How many calls may be tried again, in all and of each limit; and the one that let `failed` allow none.
        self.retry_budgets = retry_budgets
        self.refused_by: str | None = None
        self.timers = Timers(self._is_alive)

        # What the caller has to do, and empties.
        self.interrupts: list[tuple[int, int]] = []
        self.completed: list[Group] = []
        # Nodes that failed without a word from the caller, who empties this: they starve, or were backing off when what
        # they belong to began to drain.
        self.failures: list[int] = []
        # Nodes that have waited for too long, and whose fallback the caller has to make.
        self.overdue: list[int] = []

        # Attempts that may still start at once. Invariant: max_concurrent - attempts charged, abandoned ones included.
        self.max_concurrent = UNLIMITED if max_concurrent is None else max_concurrent
        self.free = self.max_concurrent
        # Nodes without a terminal state.
        self.unfinished = shape.count
        # Why the run as a whole stopped: the first of a failure (ERROR), a cancellation (RUN) and its DEADLINE.
        self.status_reason = NO_REASON

        self._read(shape)
        self._place_nodes(shape)
        self._expect_exceptions()
        self._open_groups(ON_ERROR[on_error])
        self._open_limits(limits or {})
        self._open_queues(shape)

    def _read(self, shape: Shape) -> None:
        """
        Take in what the plan says: shared with it, and with other runs, until the run grows (see `_own_lists`).
        """
        self.upstream = shape.upstream
        self.downstream = shape.downstream
        self.join = shape.join
        self.flags = shape.flags
        self.key = shape.key
        self.priority = shape.priority
        self.demand = shape.demand
        self.retry: dict[int, Retry] = shape.retry
        self.timeout: dict[int, Timeout] = shape.timeout
        self.followers = shape.followers
        # What nodes take of rates, where that is more than a number of calls.
        self.amounts: dict[int, Amounts] = dict(shape.amounts)
        # Whether some node may wait for its slots for so long only.
        self._limits_waits = shape.limits_waits
        self._owns_lists = False
        self._own_downstream: set[int] = set()

    def _place_nodes(self, shape: Shape) -> None:
        """
        Begin the books of where each node stands.
        """
        # Invariant: a terminal state never changes.
        self.state = bytearray(shape.count)
        self.reason = bytearray(shape.count)
        # Number of the attempt that is current; 0 before the first one.
        self.attempts: list[int] = [0] * shape.count
        # Endings that must still come before the join rule holds. A node becomes ready when it reaches 0, and only
        # then.
        self.waiting = shape.waiting.copy()
        for nodes in shape.followers.values():
            for node in nodes:
                if shape.join[node] == _ANY:
                    self.waiting[node] += LEADER - 1
        self.ready_at: list[float] = [NEVER] * shape.count
        # Start of the first attempt.
        self.started_at: list[float] = [NEVER] * shape.count
        self.ended_at: list[float] = [NEVER] * shape.count

    def _expect_exceptions(self) -> None:
        """
        Begin the books of what happens to few nodes, or to none.
        """
        # Start of the current attempt, where it is not the first.
        self._restarted_at: dict[int, float] = {}
        # Attempts from before the run went on with which a node had failed: those that follow are numbered on, and do
        # not count these.
        self._failed_before: dict[int, int] = {}
        # Upstream nodes that may still succeed, for the `any` nodes that have seen one end otherwise.
        self._hope: dict[int, int] = {}
        # Seconds of attempts and backoffs so far, for nodes with a total timeout.
        self._spent: dict[int, float] = {}
        # Seconds of the backoff that `failed` has decided last.
        self.delay = 0.0
        # The timer of each node's backoff or grace.
        self._alarm: dict[int, int] = {}
        # When the next attempt of a node may start that was backing off when its run was left.
        self._delayed: dict[int, float] = {}
        # The attempt whose time is up while its body has not ended yet.
        self._expired: dict[int, int] = {}
        # Of those, the nodes whose attempt was silent for too long.
        self._silent: set[int] = set()
        # The last sign of life of attempts that must give some, and the timer that watches for it. Threads write the
        # first.
        self._signs: dict[int, float] = {}
        self._idle_alarm: dict[int, int] = {}
        # Since when nodes wait that may do so for so long only; and the same of those that did so for too long.
        self._queued_at: dict[int, float] = {}
        self.overdue_since: dict[int, float] = {}
        # Attempts asked to end, until they do or their grace passes.
        self._interrupted: dict[int, int] = {}
        # Running nodes whose fallback is being made: there is no way on from there but an end.
        self._falling: set[int] = set()
        # Running nodes whose attempt has completed, and whose end will be said: nothing can happen to them before.
        self._settling: set[int] = set()
        # Some node waits for somebody's answer.
        self._has_paused = False
        # Running nodes that hold no slot: they wait for what they run themselves, or an abandoned attempt of theirs
        # holds it.
        self._uncharged: set[int] = set()
        self._lent: dict[int, int] = {}
        # Ready to go on: took part in `lend` and waits for its slots again.
        self._returning: set[int] = set()
        # Nodes whose condition is being evaluated by the caller; and those whose condition held: they wait for slots,
        # the others with a condition for its value.
        self._before_judge: set[int] = set()
        self._judged: set[int] = set()
        # Attempts that did not end in time. Their slots stay charged until `returned`.
        self.abandoned: dict[tuple[int, int], Queue] = {}
        # Nodes of which some attempt was abandoned; never shrinks.
        self.abandoned_nodes: dict[int, int] = {}
        # The timer that watches for how long nothing can happen but the return of abandoned attempts, or a resize; 0
        # while more can.
        self._starvation = 0
        # Nodes that were failed because a limit had become too small for them: its name, its size then, their weight.
        self.short_of: dict[int, tuple[str, int, int]] = {}

    def _open_groups(self, mode: int) -> None:
        """
        Begin the books of who has brought whom into the run.
        """
        self.root = Group(NOTHING, 0, mode)
        self.root.closed = True
        # Groups by owner, and the group of each node that was not planned.
        self.groups: dict[int, list[Group]] = {}
        self.group_of: dict[int, Group] = {}
        # Nodes of which something may be left, in a queue or with a leader, that would pass for the next of that index.
        self._littering: set[int] = set()
        # Indices that `forget` gave back.
        self.vacant: list[int] = []

    def _open_limits(self, limits: Mapping[str, LimitValue]) -> None:
        """
        Begin the ledgers of the named limits.
        """
        # The limits that are counted, and the rates.
        self.limits, self.rates = open_slots(limits)
        # Some limit is an object, which others may resize.
        self._has_objects = any(isinstance(slots, SharedSlots) for slots in self.limits.values())
        # Where nodes wait that use limits which open by time, if there are such limits.
        self.lines: Lines | None = None
        # The queue that all nodes wait in, if there is but one: nothing has to be compared.
        self.sole: Queue | None = None
        self._open_lines(self.limits, self.rates)

    def _open_queues(self, shape: Shape) -> None:
        """
        Have a place to wait for each demand of the plan.
        """
        self.containers = Queue((), (), charged=False)
        self.judging = Queue((), (), charged=False)
        # The queue of each demand, by the number that `demand` gives a node; and those numbers.
        self._demand_queues: list[Queue] = []
        self._demand_numbers: dict[tuple[tuple[str, int], ...], int] = {}
        for demand in shape.demands:
            self.demand_number(demand)
        used = set(shape.demand)
        in_use = [queue for number, queue in enumerate(self._demand_queues) if number in used]
        self.queues: list[Queue] = [queue for queue in in_use if not queue.is_timed]
        if self.lines is not None:
            self.lines.queues.extend(queue for queue in in_use if isinstance(queue, TimedQueue))
            for node in shape.weighed:
                self.lines.ask_for(node)
        elif len(self.queues) == 1:
            self.sole = self.queues[0]
        self.special = bool(shape.flags.translate(None, _ORDINARY)) or bool(shape.weighed)
        # Only plain nodes, and nothing has happened to any of them but starts, endings, retries and failures: the hot
        # methods need not ask for anything else, and they set no timer and count no call. Once false, it stays so.
        self._plain = not (self.special or self.lines or self._limits_waits or self.retry_budgets)
        # The same of starts alone: that a run is kept is no matter of theirs.
        self._starts_plainly = self._plain

    # ------------------------------------------------------------------ asking

    @property
    def has_ended(self) -> bool:
        return not self.unfinished

    @property
    def active(self) -> int:
        """
        Charged attempts that have not been abandoned: while there is one, something will happen.
        """
        return self.max_concurrent - self.free - len(self.abandoned)

    def next_at(self) -> float | None:
        """
        Return the instant at which `tick` has something to do.
        """
        return self.timers.next_at()

    def attempt_started_at(self, node: int) -> float:
        return self._restarted_at.get(node, self.started_at[node])

    def has_expired(self, node: int, attempt: int) -> bool:
        """
        Tell whether the time of this attempt is up.
        """
        return self._expired.get(node) == attempt

    def was_interrupted(self, node: int, attempt: int) -> bool:
        """
        Tell whether this attempt was asked to end because its run, group or owner stops.
        """
        return self._interrupted.get(node) == attempt

    def has_settled(self, node: int) -> bool:
        """
        Tell whether an attempt of *node* has completed and only waits to be durable.
        """
        return node in self._settling

    def is_falling_back(self, node: int) -> bool:
        """
        Tell whether the fallback of *node* is being made.
        """
        return node in self._falling

    def is_charged(self, node: int) -> bool:
        """
        Tell whether the running attempt of *node* holds slots.
        """
        return not self.flags[node] & _CONTAINER and node not in self._uncharged

    def timers_of(self, kind: int) -> list[int]:
        """
        Return the nodes that have a timer of that kind which still matters.
        """
        return self.timers.nodes(kind)

    def expires_at(self, node: int) -> float | None:
        """
        Return the instant at which the current attempt of *node* is to be over, if it has a timeout.
        """
        limit = self.attempt_limit(node)
        return None if limit is None else self.attempt_started_at(node) + limit

    def attempt_limit(self, node: int) -> float | None:
        """
        Return how many seconds the current attempt may take: the attempt's own limit or what is left of the total.
        """
        timeout = self.timeout.get(node)
        if timeout is None:
            return None
        if timeout.total is None:
            return timeout.attempt
        left = max(0.0, timeout.total - self._spent.get(node, 0.0))
        return left if timeout.attempt is None else min(timeout.attempt, left)

    def waits_too_long(self, node: int) -> bool:
        """
        Tell whether *node* ended because it waited for its slots for too long.
        """
        return node in self.overdue_since and node not in self._expired

    def is_silent(self, node: int) -> bool:
        """
        Tell whether the attempt of *node* whose time is up was silent for too long.
        """
        return node in self._silent

    def last_sign(self, node: int) -> float:
        """
        Return the instant at which the current attempt of *node* has given its last sign of life, its start included.
        """
        started_at = self.attempt_started_at(node)
        return max(started_at, self._signs.get(node, started_at))

    def spent(self, node: int, now: float) -> float:
        """
        Return the seconds of all attempts of *node* and of the pauses between them, if its total is limited.
        """
        return self._spent.get(node, 0.0) + now - self.attempt_started_at(node)

    def queue_of(self, node: int) -> Queue:
        """
        Return the queue in which *node* waits for its slots.
        """
        if self.special and self.flags[node] & _CONTAINER:
            return self.containers
        return self._demand_queues[self.demand[node]]

    def demand_number(self, demand: tuple[tuple[str, int], ...]) -> int:
        """
        Return the number of a demand, with a queue of its own; the limits it names must be known.
        """
        number = self._demand_numbers.get(demand)
        if number is None:
            number = self._demand_numbers[demand] = len(self._demand_queues)
            self._demand_queues.append(self._queue_for(demand))
        return number

    def _queue_for(self, demand: tuple[tuple[str, int], ...]) -> Queue:
        limits, rates = self.limits, self.rates
        if not rates:
            needs = tuple([(limits[name], weight) for name, weight in demand])
        else:
            needs = tuple([(limits[name], weight) for name, weight in demand if name not in rates])
        passed = tuple([(rates[name], weight) for name, weight in demand if name in rates])
        if passed or any(isinstance(slots, AdaptiveSlots) for slots, _ in needs):
            return TimedQueue(demand, needs, passed)
        return Queue(demand, needs, charged=True)

    def _use(self, queue: Queue) -> None:
        """
        Let `take` look at a queue in which no planned node waits.
        """
        if isinstance(queue, TimedQueue):
            if self.lines is not None:
                self.lines.use(queue)
        elif queue not in self.queues:
            self.queues.append(queue)
            self.sole = queue if len(self.queues) == 1 and self.lines is None else None

    def add_limit(self, name: str, size: LimitValue) -> None:
        """
        Define a limit that the run does not have.
        """
        limits, rates = open_slots({name: size}, len(self.limits) + len(self.rates))
        self.limits.update(limits)
        self._has_objects = self._has_objects or any(isinstance(slots, SharedSlots) for slots in limits.values())
        self.rates.update(rates)
        self._open_lines(limits, rates)

    def _open_lines(self, limits: Mapping[str, Slots], rates: Mapping[str, RateSlots]) -> None:
        """
        Have a place to wait for those of these limits that open by time.
        """
        if not rates and not any(isinstance(slots, AdaptiveSlots) for slots in limits.values()):
            return
        if self.lines is None:
            self.lines = self._make_lines()
            self.sole = None
            self._plain = self._starts_plainly = False
        self.lines.know(limits, rates)

    def _make_lines(self) -> "Lines":
        from antichain.core.lines import Lines

        return Lines(self.timers, self.amounts, self.attempts, self._is_waiting)

    def limit_of(self, name: str) -> LimitValue | None:
        """
        Return what stands behind the name of a limit; None if the run has none of that name.
        """
        if name in self.rates:
            return self.rates[name].limit
        slots = self.limits.get(name)
        if slots is None:
            return None
        return slots.limit if isinstance(slots, SharedSlots) else slots.size

    @property
    def next_node(self) -> int:
        """
        The node that `enter` will return next; a listener is told of it before `enter` returns.
        """
        return self.vacant[-1] if self.vacant else len(self.state)

    def demand_of(self, number: int) -> tuple[tuple[str, int], ...]:
        """
        Return the limits and weights of a demand.
        """
        return self._demand_queues[number].demand

    @property
    def wants_attention(self) -> bool:
        """
        Tell whether the caller may have something to do besides taking nodes: see `interrupts`, `completed`,
        `failures`, `next_to_judge`, and `look_for_starvation`.
        """
        return bool(
            self.special
            or self.interrupts
            or self.completed
            or self.failures
            or self.abandoned
            # Whoever has one of these may have made it too small for those that wait.
            or self._has_objects
            # Their timers are set as they become ready.
            or self._limits_waits
        )

    @property
    def has_judgements(self) -> bool:
        """
        Tell whether `next_to_judge` may return a node.
        """
        judging = self.judging
        return bool(judging.heap or judging.backlog) or (self.lines is not None and self.lines.has_unweighed)

    def can_start(self) -> bool:
        """
        Tell whether `take` would return a node; where limits open by time, whether it may.
        """
        if self.containers.heap or self.containers.backlog:
            return True
        if self.free <= 0:
            return False
        for queue in self.queues:
            if (queue.heap or queue.backlog) and queue.fits():
                return True
        return self.lines is not None and self.lines.may_open()

    # ------------------------------------------------------------------ starting

    def start(self, now: float, given: Iterable[int] = (), past: Mapping[int, Past] = NO_PAST) -> None:
        """
        Begin the run; the nodes in *given* have their output already, and *past* tells what is known of others.
        """
        if self.deadline is not None:
            self.timers.set(now + self.deadline, DEADLINE_PASSES, NOTHING, 0)
        given = list(given)
        for node in given:
            self._finish(node, SUCCEEDED, OUTPUTS, now)
        for node, before in past.items():
            self._recall(node, before, now)
        self._make_ready([node for node, left in enumerate(self.waiting) if not left], now)
        for node in [*given, *past]:
            if self.state[node] == SUCCEEDED:
                self._count_down(node, now)
                if node in self.followers:
                    self._lead(node, now)
            elif self.state[node] == SKIPPED and self.reason[node] == CONDITION:
                self._spread(node, now)

    def _recall(self, node: int, past: Past, now: float) -> bool:
        """
        Give a node that has just come what it had before; True if it has ended.
        """
        if past.reason:
            self._finish(node, past.state, past.reason, now)
            return True
        if past.attempts and not self.flags[node] & _CONTAINER:
            self._plain = self._starts_plainly = False
            self.attempts[node] = past.attempts
            if past.before:
                self._failed_before[node] = past.before
            if past.attempts > past.before:
                # It has run, so its condition held; one that had failed for good was not backing off either.
                self._judged.add(node)
                if past.at > now:
                    self._delayed[node] = past.at
            if past.spent:
                self._spent[node] = past.spent
        return False

    def _make_ready(self, nodes: list[int], now: float) -> None:
        """
        Enter the first ready nodes in one piece: sorted once, they need no heap.
        """
        state, ready_at, key = self.state, self.ready_at, self.key
        nodes = [node for node in nodes if state[node] == PENDING]
        if self._delayed:
            for node in nodes:
                if node in self._delayed:
                    self._become_ready(node, now)
            nodes = [node for node in nodes if state[node] == PENDING]
        for node in nodes:
            state[node] = READY
            ready_at[node] = now
        if self._limits_waits:
            for node in nodes:
                self._limit_wait(node, now)
        if self.facts is not None:
            for node in nodes:
                self.facts.ready(node, self.attempts[node] + 1, now)
        if self.lines is not None:
            nodes = [node for node in nodes if not self._arrive(node, now)]
        if self.sole is not None and not self.special:
            self.sole.backlog = sorted([key[node] for node in nodes], reverse=True)
            return
        for node in nodes:
            self._waiting_room(node).backlog.append(key[node])
        for queue in (*self.queues, self.containers, self.judging):
            queue.backlog.sort(reverse=True)

    def _limit_wait(self, node: int, now: float) -> None:
        """
        Set the timer of a node that has just become ready and may wait for its slots for so long only.
        """
        timeout = self.timeout.get(node)
        if timeout is not None and timeout.queue is not None and not self.flags[node] & _CONTAINER:
            self._queued_at[node] = now
            self._set_alarm(now + timeout.queue, QUEUE_EXPIRES, node, self.attempts[node])

    def _waiting_room(self, node: int) -> Queue:
        if self.special:
            flags = self.flags[node]
            if flags & _WHEN and node not in self._judged:
                return self.judging
            if flags & _CONTAINER:
                return self.containers
        return self._demand_queues[self.demand[node]]

    def _become_ready(self, node: int, now: float) -> None:
        if self._delayed and node in self._delayed:
            self.state[node] = BACKING_OFF
            self._set_alarm(self._delayed.pop(node), BACKOFF_ENDS, node, self.attempts[node])
            return
        self.ready_at[node] = now
        self.state[node] = READY
        if self._limits_waits:
            self._limit_wait(node, now)
        if self.facts is not None:
            self.facts.ready(node, self.attempts[node] + 1, now)
        if self.lines is None or not self._arrive(node, now):
            heappush(self._waiting_room(node).heap, self.key[node])

    def take(self, now: float) -> int:
        """
        Start the best ready node that fits and return it: its attempt is running and charged from now on.

        Returns `NOTHING` when none fits, and ``-2 - node`` for a body that gets its slots back and goes on (see
        `reclaim`).
        """
        sole = self.sole
        if sole is None or not self._starts_plainly:
            return self._take_among(now)
        if self.free <= 0:
            return NOTHING
        slots = sole.slots
        if slots is not None and slots.used + sole.weight > slots.size:
            return NOTHING
        heap, backlog, state = sole.heap, sole.backlog, self.state
        while True:
            if backlog:
                key = heappop(heap) if heap and heap[0] < backlog[-1] else backlog.pop()
            elif heap:
                key = heappop(heap)
            else:
                return NOTHING
            node = key & INDEX_MASK
            if state[node] == READY:
                break
            # A stale entry: the node was cancelled since.
        if slots is not None:
            slots.used += sole.weight
        elif sole.needs and not sole.charge():
            heappush(heap, key)
            return NOTHING
        self.free -= 1
        state[node] = RUNNING
        attempt = self.attempts[node] + 1
        self.attempts[node] = attempt
        if attempt == 1:
            self.started_at[node] = now
        else:
            self._start_again(node, now)
        if self.facts is not None:
            self.facts.started(node, attempt, now)
        return node

    def _start_again(self, node: int, now: float) -> None:
        self._restarted_at[node] = now
        if self.started_at[node] != self.started_at[node]:
            # Earlier attempts were before the run went on.
            self.started_at[node] = now

    def _take_among(self, now: float) -> int:
        """
        The same where there are several demands, containers, bodies that wait to go on, or nodes that came later.
        """
        while True:
            chosen = None
            best = 0
            if self.special and (first := self.containers.head()) is not None:
                # They cost no slot, and what they bring may be more urgent than all that waits: a stage that is fed by
                # another has to be there before that one's items have all gone by.
                chosen, best = self.containers, first
            elif self.free > 0:
                for queue in self.queues:
                    heap, backlog = queue.heap, queue.backlog
                    if heap:
                        head = heap[0]
                        if backlog and backlog[-1] < head:
                            head = backlog[-1]
                    elif backlog:
                        head = backlog[-1]
                    else:
                        continue
                    if (chosen is None or head < best) and (not queue.needs or queue.fits()):
                        chosen, best = queue, head
                if self.lines is not None:
                    passed = self.lines.take(best if chosen is not None else None, now)
                    if passed is not None:
                        node, charged = passed, True
                        break
            if chosen is None:
                return NOTHING
            node, charged = best & INDEX_MASK, chosen.charged
            if self.key[node] != best or (self.state[node] != READY and node not in self._returning):
                # A stale entry: the node was cancelled, or entered again under a better key.
                chosen.pop()
            elif not chosen.needs or chosen.charge():
                chosen.pop()
                break
            # Else a run that shares the limit was faster; its release will wake this one.
        if charged:
            self.free -= 1
        if self.state[node] == RUNNING:
            return self._go_on(node, now)
        self.state[node] = RUNNING
        attempt = self.attempts[node] + 1
        self.attempts[node] = attempt
        if attempt == 1:
            self.started_at[node] = now
        else:
            self._start_again(node, now)
        if self.facts is not None:
            self.facts.started(node, attempt, now)
        if self.special and attempt == 1 and node in self.followers:
            self._lead(node, now)
        return node

    def _go_on(self, node: int, now: float) -> int:
        """
        Let a body go on that has the slots back which it had lent.
        """
        self._returning.discard(node)
        self._uncharged.discard(node)
        # While it waited for others, it could give no sign of life.
        self.beat(node, self.attempts[node], now)
        return -2 - node

    # -- limits that open by time

    def _arrive(self, node: int, now: float) -> bool:
        """
        Let a node that is ready wait for limits which open by time; False if it waits for something else.
        """
        room = self._waiting_room(node)
        if self.lines is None or not isinstance(room, TimedQueue):
            return False
        self.lines.arrive(room, self.key[node], now)
        return True

    def _wait_on(self, queue: Queue, node: int) -> None:
        """
        Let a node wait where it waited before, under a new key, or for its slots only.
        """
        if self.lines is not None and isinstance(queue, TimedQueue):
            self.lines.wait_on(queue, self.key[node])
        else:
            heappush(queue.heap, self.key[node])

    def _is_waiting(self, key: int) -> bool:
        """
        Tell whether an entry of a queue is its node's, and the node still waits for its slots.
        """
        node = key & INDEX_MASK
        return self.key[node] == key and (self.state[node] == READY or node in self._returning)

    def _counts_only(self, node: int) -> Queue:
        """
        Return the queue in which the body of *node* waits for what it has lent: what it took of rates it has used.
        """
        queue = self.queue_of(node)
        if isinstance(queue, TimedQueue) and queue.rates:
            number = self.demand_number(tuple([(slots.name, weight) for slots, weight in queue.needs]))
            queue = self._demand_queues[number]
            self._use(queue)
        return queue

    def uses_rate(self, node: int) -> bool:
        """
        Tell whether attempts of *node* pass a rate.
        """
        queue = self.queue_of(node)
        return isinstance(queue, TimedQueue) and bool(queue.rates)

    def next_to_weigh(self) -> int:
        """
        Return a ready node whose inputs tell how much it takes of rates, or `NOTHING`; `weighed` takes the answer.
        """
        while self.lines is not None and (node := self.lines.next_unweighed()) is not None:
            if self.state[node] == READY:
                return node
        return NOTHING

    def weighed(self, node: int, amounts: Amounts | None, now: float) -> None:
        """
        Take what a node takes of rates, None if that could not be found out: then it has failed.
        """
        if self.lines is None or self.state[node] != READY or not self.lines.expects_weight(node):
            return
        if amounts is None:
            self._finish(node, FAILED, ERROR, now)
            self._after_failure(node, now)
            return
        self.amounts[node] = amounts
        self.lines.weighed(node)
        self._wait_on(self.queue_of(node), node)

    def settle_usage(self, node: int, attempt: int, used: Mapping[str, float], now: float) -> bool:
        """
        Put what an attempt has really *used*, in all so far, in place of what was reserved of its rates; False if it
        has none. Units that a rate does not count are passed over.
        """
        return self.lines is not None and self.lines.settle(node, attempt, used, now)

    def overloaded(self, node: int, attempt: int, retry_after: float | None, now: float) -> None:
        """
        Tell the limits that an attempt holds, which is about to fail, that the other side has too much to do. For
        *retry_after* seconds, if it says so, nobody on them starts.
        """
        if self.lines is None or self.state[node] != RUNNING or self.attempts[node] != attempt:
            return
        queue = self.queue_of(node)
        # What it has lent, it does not hold; what it was given up with, it does.
        is_held = node not in self._uncharged or (node, attempt) in self.abandoned
        if isinstance(queue, TimedQueue) and is_held:
            self.lines.overloaded(queue, self.attempt_started_at(node), retry_after, now)

    def refuse(self, node: int, now: float) -> bool:
        """
        Fail a ready node that can never start; False if it is not ready.
        """
        if self.state[node] != READY:
            return False
        self._finish(node, FAILED, ERROR, now)
        self._after_failure(node, now)
        return True

    def reconsider(self) -> None:
        """
        Take in that a limit which others share may have opened: nodes that were refused are tried again.
        """
        if self.lines is not None:
            self.lines.reconsider()

    def _lead(self, node: int, now: float) -> None:
        """
        A mapped stage has started: the stages that are fed by its items may start too.
        """
        for follower in self.followers[node]:
            self.waiting[follower] -= LEADER if self.join[follower] == _ANY else 1
            if self.waiting[follower] <= 0 and self.state[follower] == PENDING:
                self._become_ready(follower, now)

    def arm(self, node: int, attempt: int) -> None:
        """
        Set the timer of a running attempt that has a timeout. Called once its body has suspended: one that does not
        needs none.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt:
            return
        limit = self.attempt_limit(node)
        if limit is not None:
            self.timers.set(self.attempt_started_at(node) + limit, ATTEMPT_EXPIRES, node, attempt)
        idle = self._idle_limit(node)
        if idle is not None:
            self._idle_alarm[node] = self.timers.set(self.last_sign(node) + idle, IDLE_EXPIRES, node, attempt)

    def _idle_limit(self, node: int) -> float | None:
        """
        Return how many seconds the current attempt may be silent; a fallback, and a container, may for ever.
        """
        timeout = self.timeout.get(node)
        if timeout is None or timeout.idle is None or self.flags[node] & _CONTAINER or node in self._falling:
            return None
        return timeout.idle

    def beat(self, node: int, attempt: int, now: float) -> None:
        """
        Take a sign of life of an attempt. Called in any thread: nothing is decided here.
        """
        timeout = self.timeout.get(node)
        if timeout is None or timeout.idle is None or self.attempts[node] != attempt:
            return
        # What it says while it ends does not count.
        if self._expired.get(node) != attempt:
            self._signs[node] = now

    def next_to_judge(self) -> int:
        """
        Return a node whose join rule holds and whose condition has to be evaluated, or `NOTHING`.
        """
        judging = self.judging
        while judging.heap or judging.backlog:
            key = judging.pop()
            node = key & INDEX_MASK
            if self.state[node] == READY and self.key[node] == key:
                self._before_judge.add(node)
                return node
        return NOTHING

    def _is_judged(self, node: int) -> bool:
        return not self.flags[node] & _WHEN or node in self._judged

    def judged(self, node: int, verdict: bool | None, now: float) -> None:
        """
        Take the value of a node's condition: true lets it wait for its slots, false skips it, None (it raised) fails
        it.
        """
        if node not in self._before_judge:
            return
        self._before_judge.discard(node)
        if verdict is None:
            self._finish(node, FAILED, ERROR, now)
            self._after_failure(node, now)
        elif verdict:
            self._judged.add(node)
            if self.lines is None or not self._arrive(node, now):
                heappush(self.queue_of(node).heap, self.key[node])
        else:
            self._finish(node, SKIPPED, CONDITION, now)
            self._spread(node, now)

    # ------------------------------------------------------------------ endings

    def settle(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        """
        Take that an attempt has completed and its end will be said, once it is durable: nothing can happen to it in
        between but that, and it keeps its slots. False where `ended` would be refused: it is not current any more, its
        time was up, or its fallback is being made.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt or self._expired.get(node) == attempt:
            return False
        if (reason == FALLBACK) != (node in self._falling):
            return False
        self._plain = False
        self._settling.add(node)
        if self.groups:
            # What it still runs ends with it.
            self._end_groups(node, now)
        return True

    def ended(self, node: int, attempt: int, now: float, reason: int = OUTPUT) -> bool:
        """
        Take the successful end of an attempt; False if that attempt is not current any more.
        """
        state = self.state
        if state[node] != RUNNING or self.attempts[node] != attempt:
            return False
        if not self._plain or reason != OUTPUT:
            return self._ended_otherwise(node, attempt, now, reason)
        self.free += 1
        sole = self.sole
        queue = sole or self._demand_queues[self.demand[node]]
        slots = queue.slots
        if slots is not None:
            slots.used -= queue.weight
        elif queue.needs:
            queue.release()
        state[node] = SUCCEEDED
        self.reason[node] = OUTPUT
        self.ended_at[node] = now
        self.unfinished -= 1
        facts = self.facts
        if facts is not None:
            facts.ended(node, attempt, now)
        waiting = self.waiting
        for follower in self.downstream[node]:
            left = waiting[follower] - 1
            waiting[follower] = left
            if not left and state[follower] == PENDING:
                state[follower] = READY
                self.ready_at[follower] = now
                if facts is not None:
                    facts.ready(follower, 1, now)
                if sole is None:
                    queue = self._demand_queues[self.demand[follower]]
                heappush(queue.heap, self.key[follower])
        return True

    def _ended_otherwise(self, node: int, attempt: int, now: float, reason: int) -> bool:
        """
        The same where a container, a fallback, a timeout, an interruption or a group may be involved.
        """
        if self._expired and self._expired.get(node) == attempt:
            # Its time was up before it ended: `failed` is the only way on.
            return False
        if (reason == FALLBACK) != (node in self._falling):
            return False
        if self.special and self.flags[node] & _CONTAINER:
            pass
        elif self._uncharged and node in self._uncharged:
            self._forget_charge(node)
        else:
            if self.lines is not None and reason == OUTPUT and isinstance(queue := self.queue_of(node), TimedQueue):
                self.lines.went_well(queue, self.attempt_started_at(node), now)
            self.free += 1
            demand = self.demand[node]
            if demand:
                self._demand_queues[demand].release()
        if self.lines is not None:
            self.lines.ended(node)
        if self.groups:
            self._end_groups(node, now)
        if self.retry_budgets and reason == OUTPUT:
            self._count_call(node, attempt)
        self.state[node] = SUCCEEDED
        self.reason[node] = reason
        self.ended_at[node] = now
        self.unfinished -= 1
        if self.facts is not None:
            self.facts.ended(node, attempt, now)
        self._count_down(node, now)
        if self._interrupted:
            self._interrupted.pop(node, None)
        if self._falling:
            self._falling.discard(node)
        if self._settling:
            self._settling.discard(node)
        if node >= self.planned:
            self._leave_group(node)
        return True

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
        """
        Take the failure of an attempt and decide: `RETRYING`, `FALLING_BACK` (make the fallback's value, then say
        `ended` with reason `FALLBACK`, or `failed` with *final*), `FINAL`, or `LATE` if the attempt is not current
        any more, or has settled and this is not *final*: its body was late.

        *after* is the least number of seconds before the next attempt that the other side asked for.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt or (node in self._settling and not final):
            return LATE
        timed_out = self._expired.get(node) == attempt
        stopping = self._stopping(node)
        if self.retry_budgets:
            self.refused_by = None
            if not final and node not in self._falling:
                self._count_call(node, attempt)
        if not final and node not in self._falling:
            if self.abandoned_nodes.get(node) == attempt and not self.flags[node] & _REPEAT_SAFE:
                # Its thread or coroutine may still be at it, and twice at once is not safe.
                retryable = False
            if retryable and (stopping == NOT_STOPPING or self._halts(node)):
                delay = self._backoff(node, attempt, now, after)
                if delay is not None:
                    self.delay = delay
                    self._release(node, now)
                    self._expired.pop(node, None)
                    self.state[node] = BACKING_OFF
                    self._set_alarm(now + delay, BACKOFF_ENDS, node, attempt)
                    if self.facts is not None:
                        self.facts.retrying(node, attempt, now, delay)
                    if stopping != NOT_STOPPING:
                        # Its next attempt is left for another day.
                        self._finish(node, CANCELLED, BUDGET, now)
                        self._spread(node, now)
                    return RETRYING
            if self.flags[node] & _HAS_FALLBACK and stopping != CANCELLING:
                self._plain = self._starts_plainly = False
                self._falling.add(node)
                # The fallback has the attempt's time again; the body does not go on, so it gets no slots back for that.
                self._expired.pop(node, None)
                self._drop_loan(node)
                self._restarted_at[node] = now
                self.arm(node, attempt)
                return FALLING_BACK
        self._release(node, now)
        self._finish(node, FAILED, TIMEOUT if timed_out else ERROR, now)
        self._after_failure(node, now)
        return FINAL

    def _backoff(self, node: int, attempt: int, now: float, after: float | None) -> float | None:
        """
        Return the seconds until the next attempt, or None if there is to be none.
        """
        retry = self.retry.get(node)
        number = attempt - self._failed_before.get(node, 0)
        if retry is None or number >= retry.attempts:
            return None
        delay = retry.backoff.delay(number, self._random())
        if after is not None and after > delay:
            delay = after
        timeout = self.timeout.get(node)
        spent = None
        if timeout is not None and timeout.total is not None:
            spent = self._spent.get(node, 0.0) + (now - self.attempt_started_at(node)) + delay
            if spent >= timeout.total:
                return None
        if self.retry_budgets and not self._may_retry(node):
            return None
        if spent is not None:
            self._spent[node] = spent
        return delay

    def _budgets_of(self, node: int) -> list[str]:
        """
        Name the retry budgets that the calls of *node* count for: the run's, and those of its limits.
        """
        names = (EVERYTHING, *[name for name, _ in self.demand_of(self.demand[node])])
        return [name for name in names if name in self.retry_budgets]

    def _count_call(self, node: int, attempt: int) -> None:
        """
        Let a first attempt that has ended count as a call; a container makes none itself.
        """
        if attempt - self._failed_before.get(node, 0) == 1 and not self.flags[node] & _CONTAINER:
            for name in self._budgets_of(node):
                self.retry_budgets[name].call_ended()

    def _may_retry(self, node: int) -> bool:
        """
        Take one retry from each budget, from all or from none.
        """
        names = self._budgets_of(node)
        for number, name in enumerate(names):
            if not self.retry_budgets[name].spend():
                self.refused_by = name
                for taken in names[:number]:
                    self.retry_budgets[taken].give_back()
                return False
        return True

    def _random(self) -> Random:
        if self.rng is None:
            raise InternalError("a delay was asked for, but no source of randomness was injected")
        return self.rng

    def cancelled(self, node: int, attempt: int, now: float) -> bool:
        """
        Take the end of an attempt that was asked to end; False if it is not current any more.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt:
            return False
        reason = self._cancel_reason(node)
        self._release(node, now)
        if reason == STARVED:
            # It did not get back the slots that it had lent, because abandoned attempts hold them.
            self._finish(node, FAILED, STARVED, now)
            self._after_failure(node, now)
        else:
            self._finish(node, CANCELLED, reason, now)
            self._spread(node, now)
        return True

    def paused(self, node: int, attempt: int, now: float, reason: int = PAUSED) -> bool:
        """
        Take the end of an attempt that waits for somebody's answer, or with reason `BUDGET` for what may not start any
        more: nothing that needs it can go on in this run. False if it is not current any more, or has settled: its body
        was late, and its fallback is being written down.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt or node in self._settling:
            return False
        self._plain = self._starts_plainly = False
        self._release(node, now)
        self._finish(node, CANCELLED, reason, now)
        self._spread(node, now)
        return True

    def returned(self, node: int, attempt: int) -> None:
        """
        An abandoned attempt has ended after all: its slots are free.
        """
        queue = self.abandoned.pop((node, attempt), None)
        if queue is not None:
            queue.release()
            self.free += 1

    def give_back_but_for_abandoned(self) -> None:
        """
        Give back what this run has taken of limits that others share, but for what abandoned attempts hold: for a run
        that a fault has ended in the middle of a decision, of which only what it has taken is sure.
        """
        held = self._held_by_abandoned()
        for slots in self.limits.values():
            rest = slots.used - held.get(slots.name, 0)
            if isinstance(slots, SharedSlots) and rest > 0:
                slots.give_back(rest)

    def _finish(self, node: int, state: int, reason: int, now: float) -> None:
        """
        Give *node* its terminal state: the one place besides `ended` that does.
        """
        if self.state[node] >= FIRST_TERMINAL:
            raise InternalError(
                f"node {node} is {STATE_NAMES[self.state[node]]} already and cannot become {STATE_NAMES[state]}"
            )
        if self.state[node] == READY:
            self._littering.add(node)
            # It may have been the first in line.
            self.reconsider()
        if self.lines is not None:
            self.lines.ended(node)
        self.state[node] = state
        self.reason[node] = reason
        self.ended_at[node] = now
        self.unfinished -= 1
        self._expired.pop(node, None)
        self._interrupted.pop(node, None)
        self._falling.discard(node)
        self._settling.discard(node)
        self._before_judge.discard(node)
        if reason == PAUSED:
            self._has_paused = True
            self.group_of.get(node, self.root).paused = True
        elif state == CANCELLED:
            self.group_of.get(node, self.root).cancelled = True
        if self.facts is not None:
            self.facts.ended(node, self.attempts[node], now)
        if node >= self.planned:
            self._leave_group(node)

    def _count_down(self, node: int, now: float) -> None:
        """
        Tell the downstream nodes of one that succeeded.
        """
        for follower in self.downstream[node]:
            self.waiting[follower] -= 1
            if not self.waiting[follower] and self.state[follower] == PENDING:
                self._become_ready(follower, now)

    def _spread(self, node: int, now: float) -> None:
        """
        Let what follows from a node that did not succeed reach everything downstream of it.
        """
        reached = [node]
        while reached:
            ended = reached.pop()
            for follower in self.downstream[ended]:
                if self.state[follower] == PENDING and self._loses(follower, now):
                    reached.append(follower)
            if ended in self.followers:
                reached.extend(self._unlead(ended, now))

    def _loses(self, node: int, now: float) -> bool:
        """
        One upstream node of *node*, which is pending, ended without success: True if that skips it.
        """
        join = self.join[node]
        pauses = self._has_paused and self._waits_for_answer(node)
        if join == _ALL_DONE and not pauses:
            self.waiting[node] -= 1
            if not self.waiting[node]:
                self._become_ready(node, now)
            return False
        if join == _ANY:
            hope = self._hope.get(node, len(self.upstream[node])) - 1
            self._hope[node] = hope
            if hope:
                return False
        self._lose(node, now)
        return True

    def _waits_for_answer(self, node: int) -> bool:
        return any(self.reason[before] == PAUSED for before in self.upstream[node])

    def _lose(self, node: int, now: float) -> None:
        """
        End a node whose join rule cannot hold any more: in this run, if one of its upstream waits for an answer.
        """
        if self._has_paused and self._waits_for_answer(node):
            self._finish(node, CANCELLED, PAUSED, now)
        else:
            self._finish(node, SKIPPED, UPSTREAM, now)

    def _unlead(self, node: int, now: float) -> list[int]:
        """
        A mapped stage ended without success: the stages fed by its items end too. Returns those that were skipped.
        """
        skipped = []
        pauses = self.reason[node] == PAUSED
        for follower in self.followers[node]:
            state = self.state[follower]
            if pauses and state in (PENDING, READY, BACKING_OFF):
                self._finish(follower, CANCELLED, PAUSED, now)
                skipped.append(follower)
            elif state in (PENDING, READY):
                self._lose(follower, now)
                skipped.append(follower)
            elif state == RUNNING:
                self._interrupt(follower, now, PAUSED if pauses else UPSTREAM)
            elif state == BACKING_OFF:
                self._finish(follower, CANCELLED, UPSTREAM, now)
                skipped.append(follower)
        return skipped

    def _after_failure(self, node: int, now: float) -> None:
        group = self.group_of.get(node, self.root)
        group.failed = True
        if group is self.root and group.mode in (CANCEL, DRAIN):
            self.status_reason = self.status_reason or ERROR
        if group.mode == CANCEL:
            self.stop(group, now, reason=RUN)
        elif group.mode == DRAIN:
            self.stop(group, now, reason=RUN, interrupt=False)
        if group.mode in (CANCEL, DRAIN):
            self._drain_around(group, now)
        self._spread(node, now)

    def _drain_around(self, group: Group, now: float) -> None:
        """
        A member of *group* has failed, and so will its owner once the others have ended: nothing more starts beside it
        until then. An owner that may try again or fall back is not sure to fail.
        """
        while group is not self.root and not self.flags[group.owner] & (_RETRY | _HAS_FALLBACK):
            group = self.group_of.get(group.owner, self.root)
            if group.mode not in (CANCEL, DRAIN):
                return
            self.stop(group, now, reason=RUN, interrupt=False)

    # ------------------------------------------------------------------ stopping

    def stop(
        self, group: Group, now: float, *, reason: int = RUN, interrupt: bool = True, spare: int = NOTHING
    ) -> None:
        """
        Start nothing more of *group*; with *interrupt*, also ask its running attempts to end. Nothing is done to the
        member *spare*.
        """
        stopping = CANCELLING if interrupt else DRAINING
        if group.stopping >= stopping:
            return
        group.stopping = stopping
        group.reason = group.reason or reason
        finished = []
        for node in self._members(group):
            state = self.state[node]
            if node == spare:
                continue
            if state == RUNNING:
                self._stop_running(node, now, reason, interrupt)
            elif state == BACKING_OFF and not interrupt and reason != BUDGET:
                # It did fail, and a run that drains starts no further attempt.
                group.failed = True
                self.failures.append(node)
                self._finish(node, FAILED, ERROR, now)
                finished.append(node)
            elif state < FIRST_TERMINAL:
                self._finish(node, CANCELLED, reason, now)
                finished.append(node)
        if group is not self.root:
            # An item of a mapped stage has another one behind it, whose own stage may not stop.
            for node in finished:
                self._spread(node, now)

    def _members(self, group: Group) -> Sequence[int]:
        if group is not self.root:
            return list(group.live)
        # Grown members of the run itself come after the planned ones.
        return [*range(self.planned), *group.live]

    def _stop_running(self, node: int, now: float, reason: int, interrupt: bool) -> None:
        if interrupt:
            self._interrupt(node, now, reason)
            return
        if self.flags[node] & _CONTAINER:
            for group in list(self.groups.get(node, ())):
                self.stop(group, now, reason=reason, interrupt=False)
                # Nothing may enter it any more, and what would have said so may be waiting for its next item.
                self.close(group)
        elif reason == BUDGET:
            # What a body runs itself is no part of the attempt that may end: it starts attempts of its own. Its other
            # groups are empty, and end with the body.
            for group in list(self.groups.get(node, ())):
                self.stop(group, now, reason=reason, interrupt=False)

    def _interrupt(self, node: int, now: float, reason: int) -> None:
        """
        Ask the running attempt of *node*, and all it has brought into the run, to end.
        """
        attempt = self.attempts[node]
        if self._interrupted.get(node) == attempt:
            return
        self._plain = self._starts_plainly = False
        self._interrupted[node] = attempt
        # The reason means nothing to others before the node has ended.
        self.reason[node] = reason
        if self.has_body(node):
            self.interrupts.append((node, attempt))
            self._set_alarm(now + self.grace, GRACE_ENDS, node, attempt)
        self._end_groups(node, now, self._reason_inside(reason))

    def _reason_inside(self, reason: int) -> int:
        """
        Return why what a node runs ends, if the node itself is asked to end for *reason*: only the node starves.
        """
        return RUN if reason in (NO_REASON, STARVED) else reason

    def has_body(self, node: int) -> bool:
        """
        Tell whether there is something of the user's to end: of a container, only its fallback.
        """
        return (not self.flags[node] & _CONTAINER or node in self._falling) and node not in self._settling

    def _end_groups(self, node: int, now: float, reason: int = RUN) -> None:
        """
        End what an attempt has brought into the run.
        """
        for group in list(self.groups.get(node, ())):
            self.stop(group, now, reason=reason)
            self.close(group)

    def _cancel_reason(self, node: int) -> int:
        if node in self._interrupted and self.reason[node]:
            return self.reason[node]
        return self.group_of.get(node, self.root).reason or RUN

    def _stopping(self, node: int) -> int:
        if node in self._interrupted:
            return CANCELLING
        return self.group_of.get(node, self.root).stopping

    def halt(self, now: float) -> None:
        """
        Start nothing more, because a budget is used up, and leave it for another day; what runs may end.
        """
        if self.unfinished:
            self.status_reason = self.status_reason or BUDGET
            self.stop(self.root, now, reason=BUDGET, interrupt=False)

    def _halts(self, node: int) -> bool:
        """
        Tell whether what *node* belongs to only ends what it has begun, because a budget is used up.
        """
        group = self.group_of.get(node, self.root)
        return group.stopping == DRAINING and group.reason == BUDGET and node not in self._interrupted

    def cancel(self, now: float, reason: int = RUN) -> None:
        """
        Stop the whole run: start nothing more and ask everything that runs to end.
        """
        if self.unfinished:
            self.status_reason = self.status_reason or reason
            self.stop(self.root, now, reason=reason)

    # ------------------------------------------------------------------ slots

    def _release(self, node: int, now: float) -> None:
        """
        Give back the slots of an attempt that has ended, and end what it still runs.
        """
        # What it still runs ends with it.
        self._end_groups(node, now)
        if self.flags[node] & _CONTAINER:
            return
        if node in self._uncharged:
            self._forget_charge(node)
            return
        self.free += 1
        self._demand_queues[self.demand[node]].release()

    def _forget_charge(self, node: int) -> None:
        self._uncharged.discard(node)
        self._drop_loan(node)

    def _drop_loan(self, node: int) -> None:
        """
        Forget that a body wanted its slots back, or was about to.
        """
        self._lent.pop(node, None)
        if node in self._returning:
            self._returning.discard(node)
            self._littering.add(node)

    def lend(self, node: int, attempt: int) -> None:
        """
        Free the slots of a body that waits for what it runs itself: else a graph inside a node would wait for the
        node's own slot for ever.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt or self.flags[node] & _CONTAINER:
            return
        self._plain = self._starts_plainly = False
        self._lent[node] = self._lent.get(node, 0) + 1
        if node in self._returning:
            # It asks for more before it got its slots back.
            self._returning.discard(node)
            self._littering.add(node)
        elif node not in self._uncharged:
            self._uncharged.add(node)
            self.free += 1
            self.queue_of(node).release()

    def reclaim(self, node: int, attempt: int) -> bool:
        """
        Ask for the slots that `lend` freed; `take` says when they are there. False if there is nothing to wait for.
        """
        if self.state[node] != RUNNING or self.attempts[node] != attempt or node not in self._lent:
            return False
        self._lent[node] -= 1
        if self._lent[node]:
            return False
        del self._lent[node]
        if (node, attempt) in self.abandoned:
            return False
        self._returning.add(node)
        self._wait_on(self._counts_only(node), node)
        return True

    def resize(self, name: str | None, size: int) -> None:
        """
        Change a limit while the run goes on (None: `max_concurrent`). Running attempts are never interrupted.
        """
        if name is None:
            self.free += size - self.max_concurrent
            self.max_concurrent = size
        else:
            self.limits[name].resize(size)

    # ------------------------------------------------------------------ time

    def _set_alarm(self, at: float, kind: int, node: int, attempt: int) -> None:
        """
        Set a node's backoff or grace: it has one of the two at a time, and an older one means nothing any more.
        """
        self._alarm[node] = self.timers.set(at, kind, node, attempt)

    def _is_alive(self, timer: Timer) -> bool:
        _, sequence, kind, node, attempt = timer
        if kind == DEADLINE_PASSES:
            return self.unfinished > 0
        if kind == STARVATION_ENDS:
            return self._starvation == sequence and self.unfinished > 0
        if kind == LIMIT_OPENS:
            return self.lines is not None and self.lines.watches(node, sequence) and self.unfinished > 0
        if self.attempts[node] != attempt:
            return False
        state = self.state[node]
        if kind == BACKOFF_ENDS:
            return state == BACKING_OFF and self._alarm.get(node) == sequence
        if kind == QUEUE_EXPIRES:
            return state == READY and self._alarm.get(node) == sequence
        if state != RUNNING or node in self._settling:
            return False
        if kind == ATTEMPT_EXPIRES:
            return self._expired.get(node) != attempt and self._interrupted.get(node) != attempt
        if kind == IDLE_EXPIRES:
            is_ending = self._expired.get(node) == attempt or self._interrupted.get(node) == attempt
            return not is_ending and node not in self._falling and self._idle_alarm.get(node) == sequence
        # The grace of an attempt whose fallback is being made instead is over.
        is_ending = self._expired.get(node) == attempt or self._interrupted.get(node) == attempt
        return is_ending and self._alarm.get(node) == sequence

    def tick(self, now: float) -> list[tuple[int, int]]:
        """
        Do what is due. Returns the attempts that have just been given up: their bodies have not ended, and the
        caller has to say what follows (`failed` for one whose time was up, `cancelled` for one that was asked to end).
        """
        given_up: list[tuple[int, int]] = []
        while (timer := self.timers.pop_due(now)) is not None:
            _, _, kind, node, attempt = timer
            if kind == BACKOFF_ENDS:
                self._enter_again(node, now)
            elif kind == ATTEMPT_EXPIRES:
                self._expire(node, attempt, now, given_up)
            elif kind == QUEUE_EXPIRES:
                self._wait_too_long(node, now)
            elif kind == IDLE_EXPIRES:
                self._look_for_signs(node, attempt, now, given_up)
            elif kind == GRACE_ENDS and node in self.groups:
                # What it runs itself is given up at this very instant, and so it gets the chance to end.
                self._set_alarm(now + LAST_CHANCE, GRACE_ENDS, node, attempt)
            elif kind == GRACE_ENDS:
                self._give_up(node, attempt, given_up)
            elif kind == DEADLINE_PASSES:
                self.cancel(now, DEADLINE)
            elif kind == LIMIT_OPENS and self.lines is not None:
                self.lines.opened(node)
            else:
                self._starve(now)
        return given_up

    def _enter_again(self, node: int, now: float) -> None:
        self.state[node] = READY
        if self.ready_at[node] != self.ready_at[node]:
            self.ready_at[node] = now
        if self._limits_waits:
            self._limit_wait(node, now)
        if self.facts is not None:
            self.facts.ready(node, self.attempts[node] + 1, now)
        if self.lines is None or not self._arrive(node, now):
            heappush(self.queue_of(node).heap, self.key[node])

    def _expire(self, node: int, attempt: int, now: float, given_up: list[tuple[int, int]]) -> None:
        """
        The time of an attempt is up: ask it to end, or give it up at once if nobody can make it end.
        """
        expires_at = self.expires_at(node)
        if expires_at is None or expires_at > now:
            # The clock was started anew for its fallback.
            return
        self._silent.discard(node)
        self._end_in_time(node, attempt, now, given_up)

    def _end_in_time(self, node: int, attempt: int, now: float, given_up: list[tuple[int, int]]) -> None:
        self._plain = self._starts_plainly = False
        self._expired[node] = attempt
        if self.has_body(node):
            self.interrupts.append((node, attempt))
            if self.flags[node] & _THREAD and node not in self._falling:
                self._give_up(node, attempt, given_up)
            else:
                self._set_alarm(now + self.grace, GRACE_ENDS, node, attempt)
        self._end_groups(node, now, TIMEOUT)

    def _look_for_signs(self, node: int, attempt: int, now: float, given_up: list[tuple[int, int]]) -> None:
        """
        An attempt may have been silent for too long: look again later if it was not, else ask it to end.
        """
        if node in self._lent or node in self._returning:
            # It waits for what it runs itself, or for its slots.
            self._signs[node] = now
        silent_until = self.last_sign(node) + (self._idle_limit(node) or 0.0)
        if silent_until > now:
            self._idle_alarm[node] = self.timers.set(silent_until, IDLE_EXPIRES, node, attempt)
            return
        self._silent.add(node)
        self._end_in_time(node, attempt, now, given_up)

    def _wait_too_long(self, node: int, now: float) -> None:
        """
        A ready node has waited for its slots for as long as it may: it takes its fallback, or has failed.
        """
        self._plain = self._starts_plainly = False
        self.overdue_since[node] = self._queued_at[node]
        if not self.flags[node] & _HAS_FALLBACK:
            self.failures.append(node)
            self._finish(node, FAILED, TIMEOUT, now)
            self._after_failure(node, now)
            return
        # As after a last failure, but no attempt has begun and no slot is held.
        self._littering.add(node)
        self.reconsider()
        self.state[node] = RUNNING
        self._before_judge.discard(node)
        self._uncharged.add(node)
        self._falling.add(node)
        self._restarted_at[node] = now
        self.overdue.append(node)
        self.arm(node, self.attempts[node])

    def _give_up(self, node: int, attempt: int, given_up: list[tuple[int, int]]) -> None:
        """
        Stop waiting for an attempt that does not end. Its slots stay charged until it does.
        """
        self.abandoned_nodes[node] = attempt
        given_up.append((node, attempt))
        if self.is_charged(node):
            self.abandoned[node, attempt] = self.queue_of(node)
            self._uncharged.add(node)

    def look_for_starvation(self, now: float) -> None:
        """
        Start to count the grace of nodes that wait for nothing but the return of abandoned attempts, or for a limit to
        be made larger again; or stop counting. Called whenever all is still.
        """
        if self.active or not (self.abandoned or self._lacks_size()) or not self._starving():
            self._starvation = 0
        elif not self._starvation:
            self._starvation = self.timers.set(now + self.grace, STARVATION_ENDS, NOTHING, 0)

    def _lacks_size(self) -> bool:
        """
        Tell whether a limit has become smaller than what something needs of it that may be waiting.
        """
        for queue in self.queues:
            if (queue.heap or queue.backlog) and queue.too_small() is not None:
                return True
        lines = self.lines.queues if self.lines is not None else ()
        return any(queue.line and queue.too_small() is not None for queue in lines)

    def _starving(self) -> list[int]:
        """
        List the nodes that wait for slots which abandoned attempts hold, if nobody else can give any back; and, if
        nothing else will happen by itself, those that wait for more than a limit has.
        """
        if self.active or self.can_start():
            return []
        held = self._held_by_abandoned()
        is_still = self._lacks_size() and self._is_still()
        nodes = []
        for node, state in enumerate(self.state):
            waits = self._is_judged(node) if state == READY else node in self._returning
            if not waits or node in self._interrupted:
                continue
            queue = self.queue_of(node)
            if self._is_out_of_reach(queue, held) or (is_still and queue.too_small() is not None):
                nodes.append(node)
        return nodes

    def _is_still(self) -> bool:
        """
        Tell whether nothing will happen by itself: nobody backs off, makes a fallback, waits for somebody's answer, or
        for so long only; and no limit is about to open.
        """
        if self._falling or any(self.timers.nodes(kind) for kind in (BACKOFF_ENDS, QUEUE_EXPIRES, LIMIT_OPENS)):
            return False
        for node in self._lent:
            if not any(group.live for group in self.groups.get(node, ())):
                return False
        return True

    def _starve(self, now: float) -> None:
        """
        Fail what waits for slots that abandoned attempts hold, or for more than a limit has.
        """
        self._starvation = 0
        for node in self._starving():
            too_small = self.queue_of(node).too_small()
            if too_small is not None:
                self.short_of[node] = too_small
            if self.state[node] == READY:
                self.failures.append(node)
                self._finish(node, FAILED, STARVED, now)
                self._after_failure(node, now)
            elif self.state[node] == RUNNING:
                # A body that waits for slots it will not get back: it has to end.
                self._interrupt(node, now, STARVED)

    def _held_by_abandoned(self) -> dict[str, int]:
        held: dict[str, int] = {}
        for queue in self.abandoned.values():
            for slots, weight in queue.needs:
                held[slots.name] = held.get(slots.name, 0) + weight
        return held

    def _is_out_of_reach(self, queue: Queue, held: Mapping[str, int]) -> bool:
        """
        Tell whether abandoned attempts keep a slot that the nodes of *queue* wait for.
        """
        if len(self.abandoned) >= self.max_concurrent:
            return True
        return any(slots.is_out_of_reach(weight, held.get(slots.name, 0)) for slots, weight in queue.needs)

    # ------------------------------------------------------------------ growing

    def open(self, owner: int, attempt: int, mode: int) -> Group:
        """
        Let the running attempt of *owner* bring nodes into the run.
        """
        self._plain = self._starts_plainly = False
        group = Group(owner, attempt, mode)
        self.groups.setdefault(owner, []).append(group)
        if self._stopping(owner) == CANCELLING or self._expired.get(owner) == attempt:
            group.stopping = CANCELLING
            group.reason = self._reason_inside(self.reason[owner])
        elif self._halts(owner):
            group.stopping, group.reason = DRAINING, BUDGET
        elif self._stopping(owner) == DRAINING and self.flags[owner] & _CONTAINER:
            group.stopping = DRAINING
        return group

    def close(self, group: Group) -> None:
        """
        Say that no further node will come; once the last member has ended, the group is in `completed`.
        """
        if not group.closed:
            group.closed = True
            if not group.live:
                self._complete(group)

    def _complete(self, group: Group) -> None:
        siblings = self.groups[group.owner]
        siblings.remove(group)
        if not siblings:
            del self.groups[group.owner]
        self.completed.append(group)

    def _leave_group(self, node: int) -> None:
        group = self.group_of.get(node)
        if group is None:
            return
        del group.live[node]
        if group.closed and not group.live and group is not self.root:
            self._complete(group)

    def enter(
        self,
        group: Group,
        kind: "Kind",
        now: float,
        *,
        upstream: Sequence[int] = (),
        leaders: Sequence[int] = (),
        join: int = _ALL,
        order: int = 0,
        past: Past | None = None,
    ) -> int:
        """
        Add one node to the run and return it. Its *upstream*, and the *leaders* that have to start before it, may be
        nodes in any state; *order* breaks ties within its kind; *past* is what is known of it from before.
        """
        if group.closed and group is not self.root:
            raise InternalError(f"a group of node {group.owner} is closed, and no further node can enter it")
        self._own_lists()
        node = self._place(kind, upstream, join, order)
        self.unfinished += 1
        self.group_of[node] = group
        group.live[node] = None
        if past is not None and self._recall(node, past, now):
            return node
        self._lift([*upstream, *leaders], kind.priority)
        if group.stopping:
            self._finish(node, CANCELLED, group.reason or RUN, now)
            return node
        self._wait_for(node, upstream, leaders, now)
        return node

    def renew(self, node: int, now: float, order: int) -> None:
        """
        Use a node that has ended for the next of its kind in its group: `forget` and `enter` in one, for nodes without
        upstream and downstream. None of its attempts may still come back, and its group may not be stopping.
        """
        group = self.group_of[node]
        is_over = self.state[node] >= FIRST_TERMINAL and node not in self.abandoned_nodes
        if not is_over or group.stopping or group.closed or self.downstream[node]:
            raise InternalError(f"node {node} is {STATE_NAMES[self.state[node]]} and cannot be used again")
        self.attempts[node] = 0
        self.reason[node] = NO_REASON
        self.started_at[node] = NEVER
        self.ended_at[node] = NEVER
        # Mostly empty: nothing to drop for a node whose first attempt succeeded.
        if self._restarted_at:
            self._restarted_at.pop(node, None)
        if self._failed_before:
            self._failed_before.pop(node, None)
        if self._spent:
            self._spent.pop(node, None)
        if self.overdue_since:
            self.overdue_since.pop(node, None)
        if self.short_of:
            self.short_of.pop(node, None)
        if self._judged:
            self._judged.discard(node)
        key = self.key[node]
        before = key >> INDEX_BITS & TIE_MAX
        self.key[node] = key + ((min(order, TIE_MAX) - before) << INDEX_BITS)
        group.live[node] = None
        self.unfinished += 1
        self._become_ready(node, now)

    def _own_lists(self) -> None:
        """
        Copy what is shared with the plan, once, before the first change.
        """
        if self._owns_lists:
            return
        self._owns_lists = True
        self._plain = self._starts_plainly = False
        self.upstream = list(self.upstream)
        self.downstream = list(self.downstream)
        self.join = bytearray(self.join)
        self.flags = bytearray(self.flags)
        self.key = list(self.key)
        self.priority = list(self.priority)
        self.demand = list(self.demand)
        self.retry = dict(self.retry)
        self.timeout = dict(self.timeout)
        self.followers = {leader: list(nodes) for leader, nodes in self.followers.items()}

    def _place(self, kind: "Kind", upstream: Sequence[int], join: int, order: int) -> int:
        node = self.vacant.pop() if self.vacant else len(self.state)
        self._use(self._demand_queues[kind.demand])
        key = packed_key(kind.priority, kind.remaining, order, node)
        if node == len(self.state):
            self.state.append(PENDING)
            self.reason.append(NO_REASON)
            self.attempts.append(0)
            self.waiting.append(0)
            self.ready_at.append(NEVER)
            self.started_at.append(NEVER)
            self.ended_at.append(NEVER)
            self.upstream.append(upstream)
            self.downstream.append([])
            self.join.append(join)
            self.flags.append(kind.flags)
            self.key.append(key)
            self.priority.append(kind.priority)
            self.demand.append(kind.demand)
        else:
            self.state[node] = PENDING
            self.reason[node] = NO_REASON
            self.attempts[node] = 0
            self.ready_at[node] = self.started_at[node] = self.ended_at[node] = NEVER
            self.upstream[node] = upstream
            self.join[node] = join
            self.flags[node] = kind.flags
            self.key[node] = key
            self.priority[node] = kind.priority
            self.demand[node] = kind.demand
        if kind.flags & (_WHEN | _CONTAINER):
            self.special = True
        if kind.retry is not None:
            self.retry[node] = kind.retry
        if kind.timeout is not None:
            self.timeout[node] = kind.timeout
            self._limits_waits = self._limits_waits or kind.timeout.queue is not None
        if kind.amounts is not None:
            self.amounts[node] = kind.amounts
        if kind.is_weighed and self.lines is not None:
            self.lines.ask_for(node)
            self.special = True
        return node

    def _wait_for(self, node: int, upstream: Sequence[int], leaders: Sequence[int], now: float) -> None:
        """
        Let a new node wait for those of its upstream that have not ended, and follow from those that have.
        """
        state, join = self.state, self.join[node]
        succeeded = sum(state[before] == SUCCEEDED for before in upstream)
        lost = sum(state[before] > SUCCEEDED for before in upstream)
        for before in upstream:
            # One that has ended tells nobody any more, but `forget` has to know whom it is upstream of.
            if state[before] < FIRST_TERMINAL or before >= self.planned:
                if before not in self._own_downstream:
                    self._own_downstream.add(before)
                    self.downstream[before] = list(self.downstream[before])
                self.downstream[before].append(node)
        if join == _ANY:
            self.waiting[node] = min(1, len(upstream)) - min(1, succeeded)
            self._hope[node] = len(upstream) - lost
            doomed = bool(upstream) and lost == len(upstream)
        else:
            self.waiting[node] = len(upstream) - succeeded - lost
            doomed = join == _ALL and lost > 0
        for leader in leaders:
            doomed = self._follow(node, leader) or doomed
        if doomed or (self._has_paused and join == _ALL_DONE and self._waits_for_answer(node)):
            self._lose(node, now)
        elif self.waiting[node] <= 0:
            self._become_ready(node, now)

    def _follow(self, node: int, leader: int) -> bool:
        """
        Let a new node start once *leader* has, and end if that fails; True if it has failed already.
        """
        state = self.state[leader]
        if state < FIRST_TERMINAL:
            self.followers.setdefault(leader, []).append(node)
            self._littering.add(node)
            if not self.attempts[leader]:
                self.waiting[node] += LEADER if self.join[node] == _ANY else 1
        return state > SUCCEEDED

    def _lift(self, nodes: Iterable[int], priority: int) -> None:
        """
        Let the unfinished ancestors of an urgent newcomer inherit its priority.
        """
        reached = list(nodes)
        while reached:
            node = reached.pop()
            if self.state[node] >= FIRST_TERMINAL or self.priority[node] >= priority:
                continue
            self.priority[node] = priority
            key = (self.key[node] & ((1 << PRIORITY_SHIFT) - 1)) - (priority << PRIORITY_SHIFT)
            self.key[node] = key
            self._littering.add(node)
            if self.state[node] == READY:
                if self._is_judged(node):
                    self._wait_on(self.queue_of(node), node)
                elif node not in self._before_judge:
                    heappush(self.judging.heap, key)
            elif node in self._returning:
                self._wait_on(self._counts_only(node), node)
            reached.extend(self.upstream[node])

    def forget(self, node: int) -> None:
        """
        Drop all that is known of a grown node that has ended, and use its index again. None of its attempts may
        still come back.
        """
        if self.state[node] < FIRST_TERMINAL or node < self.planned:
            raise InternalError(f"node {node} is {STATE_NAMES[self.state[node]]} and cannot be forgotten")
        if node in self.abandoned_nodes or node in self.groups:
            return
        is_known = self._is_known(node)
        self.attempts[node] = 0
        del self.group_of[node]
        self._alarm.pop(node, None)
        self._restarted_at.pop(node, None)
        self._failed_before.pop(node, None)
        self._signs.pop(node, None)
        self._idle_alarm.pop(node, None)
        self._queued_at.pop(node, None)
        self.overdue_since.pop(node, None)
        self.short_of.pop(node, None)
        self._spent.pop(node, None)
        self._hope.pop(node, None)
        self.retry.pop(node, None)
        self.timeout.pop(node, None)
        self._judged.discard(node)
        self._delayed.pop(node, None)
        self.amounts.pop(node, None)
        if self.lines is not None:
            self.lines.forget(node)
        self._own_downstream.discard(node)
        self.downstream[node] = []
        self.followers.pop(node, None)
        if not is_known:
            self.vacant.append(node)

    def _is_known(self, node: int) -> bool:
        """
        Tell whether something that has not ended would take another node of that index for this one.
        """
        unfinished = any(self.state[other] < FIRST_TERMINAL for other in (*self.upstream[node], *self.downstream[node]))
        if unfinished or node in self._littering:
            return True
        for after in self.downstream[node]:
            self.upstream[after] = [before for before in self.upstream[after] if before != node]
        return False


@dataclass(frozen=True, slots=True)
class Kind:
    """
    Say what nodes that enter a running run have in common.
    """

    # From `Scheduler.demand_number`.
    demand: int = 0
    flags: int = 0
    priority: int = 0
    remaining: float = 1.0
    retry: Retry | None = None
    timeout: Timeout | None = None
    # What each takes of rates, where that is more than a number of calls; and whether its inputs tell.
    amounts: Amounts | None = None
    is_weighed: bool = False
