"""
Random graphs with random behaviour, played through the core in virtual time: `play(seed)` is one of them.

    python -m tests.support.random_runs 1234        replay the graph of seed 1234 and print what happened

Everything is drawn from one `Random(seed)`; nothing is decided here that is the scheduler's to decide.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from antichain.adaptive import Adaptive
from antichain.core.groups import CANCEL, COLLECT, CONTINUE, DRAIN, Group
from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import FALLING_BACK, FINAL, LATE, NOTHING, RETRYING, Kind, Past, Scheduler
from antichain.core.states import (
    CHECKPOINT,
    CONDITION,
    FALLBACK,
    FIRST_TERMINAL,
    OUTPUT,
    READY,
    REASON_NAMES,
    RUNNING,
    SKIPPED,
    STATE_NAMES,
    SUCCEEDED,
)
from antichain.limit import Limit
from antichain.policies import Backoff, Retry, Timeout
from antichain.policies.failure import Join
from antichain.retry_budget import RetryBudget
from antichain.shape import Flag, Shape, shape_of
from antichain.simulation import Simulation
from tests.support.witnessed import WitnessedRate

FEATURES = ("limit", "weight", "retry", "timeout", "when", "join", "skip", "fallback", "grow", "resize", "cancel")

# An instant by which everything has happened that was going to: what still hangs then is cancelled, what shrank grows.
LATEST = 10_000.0
# What a test may find in addition.
MORE = (
    "renew",
    "drain",
    "continue",
    "abandoned",
    "lend",
    "containers",
    "followers",
    "priority",
    "shared",
    "deadline",
    "starved",
    "settle",
    "pause",
    "past",
    "rate",
    "line",
    "amounts",
    "weighed",
    "used",
    "adaptive",
    "overload",
    "queue",
    "idle",
    "budget",
    "retry budget",
)


@dataclass
class Report:
    """What one run was, and did."""

    seed: int
    nodes: int
    # Features that took effect: not only asked for.
    features: set[str] = field(default_factory=set)
    # Everything that was decided, in order.
    decisions: list[tuple[object, ...]] = field(default_factory=list)
    scheduler: Scheduler | None = None


def play(seed: int, make: type[Scheduler] = LawfulScheduler) -> Report:
    """Draw a graph, run it to its end, and check what is left."""
    world = World(seed, make)
    world.play()
    return world.report


def size_of(rng: Random) -> int:
    """Median about 25 nodes, one graph in fifteen has more than 150."""
    part = rng.random()
    if part < 0.15:
        return rng.randint(1, 9)
    if part < 0.40:
        return rng.randint(10, 22)
    if part < 0.86:
        return rng.randint(20, 50)
    return rng.randint(50, 149) if part < 0.935 else rng.randint(150, 230)


class Observed(Simulation):
    """Sees whether a named limit ever held a node back."""

    def settle(self) -> None:
        super().settle()
        if self.scheduler.free > 0 and READY in self.scheduler.state:
            self.bodies.features.add("limit")
        lines = self.scheduler.lines
        if lines is not None and sum(bool(queue.line) for queue in lines.queues if queue.rates) > 1:
            self.bodies.features.add("line")


class World:
    """A random graph, and the bodies of its nodes."""

    def __init__(self, seed: int, make: type[Scheduler]) -> None:
        self.rng = rng = Random(seed)
        count = size_of(rng)
        self.report = Report(seed, count)
        self.scale = rng.choice((0.5, 1.0, 4.0))
        self.grace = rng.choice((0.0, 1.0, 5.0))
        # How likely each kind of trouble is in this graph; many graphs have none of some kind.
        self.trouble = {kind: rng.choice((0.0, 0.3, 1.0)) * most for kind, most in TROUBLE.items()}
        self.limits = self._limits()
        self.shared = [limit for limit in self.limits.values() if isinstance(limit, (Limit, Adaptive))]
        self.rates = [name for name, limit in self.limits.items() if isinstance(limit, WitnessedRate)]
        # Units that "other runs" hold of shared limits.
        self.held_elsewhere = dict.fromkeys(range(len(self.shared)), 0)
        self.shape = self._shape(count)
        self.retry_budgets = self._retry_budgets()
        options = {
            "max_concurrent": rng.choice((None, None, 1, 2, 3, 5, 8)),
            "limits": self.limits,
            "on_error": rng.choice(("continue", "continue", "continue", "drain", "cancel")),
            "deadline": rng.choice((None, None, None, None, None, 20.0, 60.0)),
            "grace": self.grace,
            "rng": Random(seed),
            "retry_budgets": self.retry_budgets,
        }
        self.scheduler = make(self.shape, **options)
        self.report.scheduler = self.scheduler
        for limit in self.limits.values():
            if not isinstance(limit, int):
                limit.watch(self.scheduler.reconsider)
        self.features = self.report.features
        self.simulation = Observed(self.scheduler, self)
        # Attempts whose end is still to come, whatever the scheduler thinks of them.
        self.out: set[tuple[int, int]] = set()
        # The same for fallbacks.
        self.falling: set[tuple[int, int]] = set()
        # When each attempt last said that it is alive.
        self.signs: dict[tuple[int, int], float] = {}
        self.swallows: set[tuple[int, int]] = set()
        # Attempts that have completed, and whose end is still to be said.
        self.settling: set[tuple[int, int]] = set()
        # What a body waits for that has lent its slots, by group.
        self.waits: dict[Group, tuple[int, int]] = {}
        self.members: dict[Group, list[int]] = {}
        self.grown = 0
        self.renewed = 0

    # -- drawing

    def chance(self, kind: str) -> bool:
        return self.rng.random() < self.trouble[kind]

    def _limits(self) -> dict[str, int | Limit | Adaptive | WitnessedRate]:
        rng = self.rng
        names = ("cpu", "db", "llm", "api")[: rng.choice((0, 1, 2, 3, 4, 4))]
        return {name: self._limit() for name in names}

    def _limit(self) -> int | Limit | Adaptive | WitnessedRate:
        rng = self.rng
        part = rng.random()
        if part < 0.15:
            return Limit(rng.randint(1, 5))
        if part < 0.15 + self.trouble["rate"]:
            per = rng.choice((1.0, 3.0, 10.0))
            if rng.random() < 0.5:
                return WitnessedRate(per=per, requests=rng.randint(1, 5))
            return WitnessedRate(per=per, requests=rng.randint(2, 6), tokens=rng.choice((10, 30, 100)))
        if part < 0.15 + self.trouble["rate"] + self.trouble["adaptive"]:
            return Adaptive(initial=rng.randint(1, 3), maximum=rng.choice((3, 12)))
        return rng.choice((1, 1, 2, 3, 6))

    def _size(self, name: str) -> int:
        size = self.limits[name]
        if isinstance(size, WitnessedRate):
            return int(size.units["requests"])
        return size if isinstance(size, int) else size.size

    def _amounts(self, demand: tuple[tuple[str, int], ...]) -> dict[str, dict[str, float]] | None:
        """What a node says of some of the rates that it uses."""
        amounts = {}
        for name, _ in demand:
            rate = self.limits[name]
            if isinstance(rate, WitnessedRate) and self.rng.random() < 0.7:
                # A big one among small ones now and then.
                most = {unit: size * (1.0 if self.rng.random() < 0.1 else 0.4) for unit, size in rate.units.items()}
                amounts[name] = {unit: round(self.rng.random() * size, 1) for unit, size in most.items()}
        return amounts or None

    def _demand(self) -> tuple[tuple[str, int], ...]:
        rng = self.rng
        if not self.limits or rng.random() < 0.4:
            return ()
        names = sorted(rng.sample(sorted(self.limits), rng.randint(1, min(2, len(self.limits)))))
        return tuple((name, rng.randint(1, self._size(name)) if rng.random() < 0.4 else 1) for name in names)

    def _retry_budgets(self) -> dict[str, RetryBudget]:
        """Of a run of its own: drawing them changes nothing else."""
        rng = Random(self.report.seed)
        if rng.random() < 0.3:
            return {}
        names = [name for name in ("*", *self.limits) if rng.random() < 0.7]
        return {name: RetryBudget(rng.choice((0.0, 0.0, 0.2)), rng.randint(1, 2)) for name in names}

    def judge_retries(self) -> None:
        """No budget has let more pass than it says."""
        for budget in self.retry_budgets.values():
            assert budget.retries <= budget.reserve + budget.share * budget.calls + 1e-9

    def _flags(self) -> int:
        flags = 0
        if self.chance("when"):
            flags |= Flag.WHEN
        if self.chance("fallback"):
            flags |= Flag.FALLBACK
        if self.chance("thread"):
            flags |= Flag.THREAD
            if self.rng.random() < 0.5:
                flags |= Flag.REPEAT_SAFE
        return int(flags)

    def _retry(self) -> Retry | None:
        if not self.chance("retry"):
            return None
        rng = self.rng
        backoff = Backoff(initial=rng.choice((0.0, 0.5, 2.0)), maximum=10.0, jitter=rng.random() < 0.5)
        return Retry(attempts=rng.randint(2, 4), backoff=backoff)

    def _timeout(self) -> Timeout | None:
        if not self.chance("timeout"):
            return None
        rng = self.rng
        attempt = rng.choice((None, 0.5, 1.0, 3.0))
        total = rng.choice((None, 2.0, 6.0)) if attempt is not None else rng.choice((2.0, 6.0))
        queue = rng.choice((0.5, 2.0, 6.0)) if self.chance("queue") else None
        idle = rng.choice((0.25, 1.0, 4.0)) if self.chance("idle") else None
        return Timeout(attempt=attempt, total=total, queue=queue, idle=idle)

    def _priority(self) -> int:
        return self.rng.randint(-3, 5) if self.chance("priority") else 0

    def _join(self) -> int:
        return self.rng.choice((Join.ANY, Join.ALL_DONE)) if self.chance("join") else Join.ALL

    def _shape(self, count: int) -> Shape:
        """A random acyclic graph in which definition order is not always an order that works."""
        rng = self.rng
        place = list(range(count))
        if rng.random() < 0.5:
            rng.shuffle(place)
        reach = rng.choice((1, 3, 10, count))
        most = rng.choice((1, 2, 2, 4))
        upstream: list[list[int]] = [[] for _ in range(count)]
        for at in range(1, count):
            nearest = max(0, at - reach)
            number = min(rng.randint(0, most), at - nearest)
            upstream[place[at]] = [place[before] for before in rng.sample(range(nearest, at), number)]
        flags = [self._flags() for _ in range(count)]
        for node in range(count):
            if self.chance("container"):
                flags[node] = int(Flag.CONTAINER) | (flags[node] & int(Flag.WHEN | Flag.FALLBACK))
        containers = [node for node in place if flags[node] & Flag.CONTAINER]
        followers: dict[int, list[int]] = {}
        for leader, follower in pairwise(containers):
            if rng.random() < 0.5 and leader not in upstream[follower]:
                followers[leader] = [follower]
        demand = [() if flags[node] & Flag.CONTAINER else self._demand() for node in range(count)]
        amounts, weighed = {}, set()
        for node, taken in enumerate(demand):
            if (said := self._amounts(taken)) is not None:
                if rng.random() < 0.3:
                    weighed.add(node)
                else:
                    amounts[node] = said
        retry = {node: policy for node in range(count) if (policy := self._retry())}
        for leader, nodes in followers.items():
            # As the planner has it: the policies of a map are its instances'.
            for node in (leader, *nodes):
                retry.pop(node, None)
        return shape_of(
            upstream,
            join=[self._join() for _ in range(count)],
            demand=demand,
            flags=flags,
            priority=[self._priority() for _ in range(count)],
            cost=[rng.choice((0.5, 1.0, 1.0, 4.0)) for _ in range(count)],
            retry=retry,
            timeout={node: policy for node in range(count) if (policy := self._timeout())},
            followers=followers,
            amounts=amounts,
            weighed=frozenset(weighed),
        )

    # -- playing

    @property
    def now(self) -> float:
        return self.simulation.now

    def play(self) -> None:
        rng, count = self.rng, self.report.nodes
        given = rng.sample(range(count), min(count, 2)) if rng.random() < 0.1 else []
        past = self._past_of_all(given)
        for _ in range(rng.randint(1, 3)):
            if self.chance("resize"):
                self.simulation.at(self._soon(), self.resize)
        if self.chance("cancel"):
            self.simulation.at(self._soon() * rng.choice((1, 5)), self.cancel)
        if self.chance("root growth"):
            for _ in range(rng.randint(1, 4)):
                self.simulation.at(self._soon(), self.enter_root)
        for _ in range(rng.randint(0, 3)):
            self.simulation.at(self._soon(), self.say_nonsense)
        if self.shared:
            self.simulation.at(self._soon(), self.hold_elsewhere)
        self.simulation.at(LATEST, self.restore)
        self.simulation.at(2 * LATEST, self.cancel)
        self.simulation.run(given, past)
        self.log("ended", self.now)
        self._look_back()
        self.simulation.finish()
        self._check_end()

    def _past_of_all(self, given: list[int]) -> dict[int, Past]:
        """What is known of some nodes, as when a run goes on."""
        if not self.chance("past"):
            return {}
        count = self.report.nodes
        nodes = self.rng.sample(range(count), self.rng.randint(1, count))
        past = {node: self._past(node) for node in sorted(nodes) if node not in given}
        if past:
            self.features.add("past")
        return past

    def _past(self, node: int) -> Past:
        part = self.rng.random()
        if part < 0.5:
            return Past(CHECKPOINT)
        if part < 0.6:
            return Past(CONDITION)
        attempts = self.rng.randint(1, 3)
        # Of a run of its own: drawing it changes nothing else.
        before = Random(self.report.seed + node).randint(0, attempts)
        return Past(attempts=attempts, spent=self._seconds(), at=self._soon() - 2.0, before=before)

    def log(self, *decision: object) -> None:
        self.report.decisions.append(decision)

    def _soon(self) -> float:
        return self.now + round(self.rng.random() * self.rng.choice((2, 10, 30)), 1)

    def _seconds(self) -> float:
        rng = self.rng
        return rng.choice((0.0, 0.5, 1.0, 1.0, 2.0, round(rng.random() * 5, 2))) * self.scale

    # -- what the scheduler has decided

    def begin(self, node: int, attempt: int) -> None:
        scheduler = self.scheduler
        self.log("begin", self.now, node, attempt)
        self._note_start(node)
        if scheduler.flags[node] & Flag.CONTAINER:
            self._open(node, attempt)
            return
        self.out.add((node, attempt))
        if self.chance("hang"):
            # Ends when it is asked to; as a thread, never or much later.
            if scheduler.flags[node] & Flag.THREAD and self.rng.random() < 0.5:
                self.simulation.at(self.now + 50.0, self.end, node, attempt)
            return
        if self.chance("lend") and not scheduler.flags[node] & Flag.THREAD:
            self.simulation.at(self.now + self._seconds(), self.run_inside, node, attempt)
            return
        if self.chance("swallow"):
            self.swallows.add((node, attempt))
        seconds = self._seconds()
        self.simulation.at(self.now + seconds, self.end, node, attempt)
        timeout = scheduler.timeout.get(node)
        if timeout is not None and timeout.idle is not None:
            for _ in range(self.rng.randint(0, 4)):
                self.simulation.at(self.now + self.rng.random() * seconds, self.beat, node, attempt)

    def beat(self, node: int, attempt: int) -> None:
        """A body, which may have ended long ago, says that it is alive."""
        if self.is_current(node, attempt) and not self._is_ending(node, attempt):
            self.signs[node, attempt] = self.now
        self.scheduler.beat(node, attempt, self.now)

    def _note_start(self, node: int) -> None:
        scheduler = self.scheduler
        demand = scheduler.queue_of(node).demand
        if any(weight > 1 for _, weight in demand):
            self.features.add("weight")
        if any(name in self.rates for name, _ in demand):
            self.features.add("rate")
            if node in scheduler.amounts:
                self.features.add("amounts")
        if any(isinstance(self.limits[name], Adaptive) for name, _ in demand):
            self.features.add("adaptive")
        if scheduler.join[node] != Join.ALL:
            state = scheduler.state
            if any(state[before] != SUCCEEDED for before in scheduler.upstream[node]):
                self.features.add("join")
        if scheduler.priority[node]:
            self.features.add("priority")

    def is_current(self, node: int, attempt: int) -> bool:
        return self.scheduler.state[node] == RUNNING and self.scheduler.attempts[node] == attempt

    def end(self, node: int, attempt: int) -> None:
        """A body ends by itself."""
        if (node, attempt) not in self.out:
            return
        self._gone(node, attempt)
        if (node, attempt) in self.scheduler.abandoned:
            self.log("returned", self.now, node, attempt)
            self.features.add("abandoned")
            self.scheduler.returned(node, attempt)
            return
        if self.is_current(node, attempt) and not self._is_ending(node, attempt) and self.chance("pause"):
            self.pause(node, attempt)
        elif self.chance("failure"):
            self.fail(node, attempt)
        else:
            self.succeed(node, attempt)

    def _gone(self, node: int, attempt: int) -> None:
        self.out.discard((node, attempt))
        self.swallows.discard((node, attempt))

    def _is_ending(self, node: int, attempt: int) -> bool:
        return self.scheduler.has_expired(node, attempt) or self.scheduler.was_interrupted(node, attempt)

    def pause(self, node: int, attempt: int) -> None:
        """It waits for somebody's answer."""
        self.features.add("pause")
        self.log("pause", self.now, node, attempt)
        # A late body, whose fallback is being written down, has no say any more.
        assert self.scheduler.paused(node, attempt, self.now) != ((node, attempt) in self.settling)

    def said(self, node: int, attempt: int, reason: int) -> None:
        """The output of an attempt that completed a while ago is durable, or never will be."""
        self.settling.discard((node, attempt))
        if self.rng.random() < 0.95:
            self.log("said", self.now, node, attempt)
            assert self.scheduler.ended(node, attempt, self.now, reason)
        else:
            self.log("not said", self.now, node, attempt)
            assert self.scheduler.failed(node, attempt, self.now, final=True) == FINAL

    def _say_usage(self, node: int, attempt: int) -> None:
        """A response tells what it has used: less than was reserved, or more."""
        if self.rates and self.chance("used"):
            used = {"tokens": round(self.rng.random() * 10, 1), "pages": 1.0}
            if self.scheduler.settle_usage(node, attempt, used, self.now):
                self.features.add("used")

    def succeed(self, node: int, attempt: int, reason: int = OUTPUT) -> None:
        self._say_usage(node, attempt)
        if self.chance("settle") and self.scheduler.settle(node, attempt, self.now, reason):
            self.features.add("settle")
            self.log("settle", self.now, node, attempt)
            self.settling.add((node, attempt))
            self.simulation.at(self.now + self._seconds(), self.said, node, attempt, reason)
            return
        counted = self.scheduler.ended(node, attempt, self.now, reason)
        self.log("succeed", self.now, node, attempt, counted)
        if not counted and self.is_current(node, attempt) and self.scheduler.has_expired(node, attempt):
            self.fail(node, attempt)

    def fail(self, node: int, attempt: int, *, final: bool = False) -> None:
        retryable = self.rng.random() < 0.8
        after = 3.0 if self.rng.random() < 0.1 else None
        if self.scheduler.has_expired(node, attempt):
            self.features.add("timeout")
            if self.scheduler.is_silent(node):
                self.features.add("idle")
                policy = self.scheduler.timeout[node]
                sign = self.signs.get((node, attempt), self.scheduler.attempt_started_at(node))
                assert self.now >= sign + (policy.idle or 0.0)
        if not final and self.chance("overload"):
            if any(isinstance(limit, (Adaptive, WitnessedRate)) for limit in self.limits.values()):
                self.features.add("overload")
            self.scheduler.overloaded(node, attempt, self.rng.choice((None, None, 1.0, 4.0)), self.now)
        verdict = self.scheduler.failed(node, attempt, self.now, retryable=retryable, after=after, final=final)
        self.log("fail", self.now, node, attempt, verdict)
        if self.scheduler.retry_budgets:
            self.judge_retries()
            if verdict != RETRYING and self.scheduler.refused_by is not None:
                self.features.add("retry budget")
        if verdict == RETRYING:
            self.features.add("retry")
        elif verdict == FALLING_BACK:
            self.falling.add((node, attempt))
            if self.rng.random() < 0.5:
                self.fall_back(node, attempt)
            else:
                self.simulation.at(self.now + self._seconds(), self.fall_back, node, attempt)

    def fall_back(self, node: int, attempt: int) -> None:
        """A fallback ends by itself."""
        if (node, attempt) in self.settling:
            # It was asked to end, and had its value by then.
            self.falling.discard((node, attempt))
            return
        if (node, attempt) not in self.falling or not self.is_falling(node, attempt):
            if (node, attempt) not in self.out:
                self.scheduler.returned(node, attempt)
            return
        self.falling.discard((node, attempt))
        if self.chance("failure"):
            self.fail(node, attempt, final=True)
        else:
            self.succeed(node, attempt, FALLBACK)

    def is_falling(self, node: int, attempt: int) -> bool:
        return self.is_current(node, attempt) and self.scheduler.is_falling_back(node)

    def interrupt(self, node: int, attempt: int) -> None:
        scheduler, rng = self.scheduler, self.rng
        self.log("interrupt", self.now, node, attempt)
        if not self.is_current(node, attempt) or (node, attempt) in self.settling:
            return
        falls_back = scheduler.is_falling_back(node)
        if not falls_back and ((node, attempt) in self.swallows or scheduler.flags[node] & Flag.THREAD):
            return
        manner = rng.random()
        if manner < 0.6:
            self.give_way(node, attempt, falls_back)
        elif manner < 0.8:
            self.simulation.at(self.now + rng.choice((0.0, 0.5, 2.0, 20.0)), self.give_way, node, attempt, falls_back)
        elif manner < 0.9:
            self._gone(node, attempt)
            self.succeed(node, attempt, FALLBACK if falls_back else OUTPUT)
        elif manner < 0.95 or not falls_back:
            self._gone(node, attempt)
            self.fail(node, attempt, final=falls_back)
        else:
            # It never ends.
            self.falling.discard((node, attempt))

    def give_way(self, node: int, attempt: int, was_falling: bool = False) -> None:
        """A body ends because it was asked to."""
        if (node, attempt) in self.settling:
            # It has completed meanwhile.
            return
        if was_falling:
            if (node, attempt) not in self.falling or not self.is_falling(node, attempt):
                return
            self.falling.discard((node, attempt))
        else:
            self._gone(node, attempt)
            if (node, attempt) in self.scheduler.abandoned:
                self.scheduler.returned(node, attempt)
                return
            if not self.is_current(node, attempt) or self.scheduler.is_falling_back(node):
                return
        if self.scheduler.has_expired(node, attempt):
            self.fail(node, attempt, final=was_falling)
        else:
            self.log("cancelled", self.now, node, attempt, self.scheduler.cancelled(node, attempt, self.now))

    def give_up(self, node: int, attempt: int) -> None:
        self.log("give up", self.now, node, attempt)
        if not self.is_current(node, attempt):
            return
        self.falling.discard((node, attempt))
        if self.scheduler.has_expired(node, attempt):
            self.fail(node, attempt)
        else:
            self.scheduler.cancelled(node, attempt, self.now)

    def fall_back_late(self, node: int) -> None:
        """It waited for too long."""
        self.log("late", self.now, node)
        attempt = self.scheduler.attempts[node]
        self.falling.add((node, attempt))
        if self.rng.random() < 0.5:
            self.fall_back(node, attempt)
        else:
            self.simulation.at(self.now + self._seconds(), self.fall_back, node, attempt)

    def judge(self, node: int) -> bool | None:
        self.features.add("when")
        part = self.rng.random()
        verdict = None if part < 0.03 else part < 0.8
        self.log("judge", self.now, node, verdict)
        return verdict

    def weigh(self, node: int) -> dict[str, dict[str, float]] | None:
        """Say what a node takes of rates."""
        self.features.add("weighed")
        scheduler = self.scheduler
        amounts = None if self.rng.random() < 0.05 else self._amounts(scheduler.demand_of(scheduler.demand[node])) or {}
        self.log("weigh", self.now, node, amounts)
        return amounts

    def go_on(self, node: int) -> None:
        """The body that waited has its slots again."""
        self.features.add("lend")
        attempt = self.scheduler.attempts[node]
        self.log("go on", self.now, node, attempt)
        if self.rng.random() < 0.3:
            self.run_inside(node, attempt)
        else:
            self.simulation.at(self.now + self._seconds(), self.end, node, attempt)

    # -- growth

    def _kind(self, *, priority: int = 0) -> Kind:
        flags = self._flags()
        is_container = self.grown < 30 and self.chance("container")
        if is_container:
            flags = int(Flag.CONTAINER) | (flags & int(Flag.WHEN | Flag.FALLBACK))
        demand = () if is_container else self._demand()
        amounts = self._amounts(demand)
        is_weighed = amounts is not None and self.rng.random() < 0.3
        return Kind(
            demand=self.scheduler.demand_number(demand),
            amounts=None if is_weighed else amounts,
            is_weighed=is_weighed,
            flags=flags,
            priority=max(priority, self._priority()),
            remaining=self.rng.choice((0.5, 1.0, 4.0)),
            retry=self._retry(),
            timeout=self._timeout(),
        )

    def enter(self, group: Group, known: Iterable[int], *, leaders: Iterable[int] = (), order: int = 0) -> int:
        """Let a node enter behind some of those *known*."""
        scheduler, rng = self.scheduler, self.rng
        candidates = [node for node in known if node != NOTHING]
        upstream = rng.sample(candidates, min(len(candidates), rng.randint(0, 2)))
        owner = group.owner
        kind = self._kind(priority=scheduler.priority[owner] if owner >= 0 else 0)
        past = self._past(scheduler.next_node) if self.chance("past") else None
        if past is not None:
            self.features.add("past")
        join = self._join()
        node = scheduler.enter(
            group, kind, self.now, upstream=upstream, leaders=tuple(leaders), join=join, order=order, past=past
        )
        self.grown += 1
        self.log("enter", self.now, owner, node, tuple(upstream))
        self.members.setdefault(group, []).append(node)
        self.features.add("grow")
        return node

    def _open(self, node: int, attempt: int) -> None:
        """A container brings its nodes, some at once and some later."""
        scheduler, rng = self.scheduler, self.rng
        self.features.add("containers")
        mode = rng.choice((CANCEL, DRAIN, CONTINUE, COLLECT))
        group = scheduler.open(node, attempt, mode)
        self.members[group] = []
        known: list[int] = []
        for leader, nodes in scheduler.followers.items():
            if node in nodes:
                # The items of the stage that feeds this one.
                self.features.add("followers")
                known += [item for other in self.members if other.owner == leader for item in self.members[other]]
        known = [item for item in known if scheduler.attempts[item] or scheduler.state[item] < FIRST_TERMINAL]
        # A stage takes items for a while, in nodes that have nothing before or behind them.
        is_stage = rng.random() < 0.3
        if is_stage:
            known = []
        batches = 6 if is_stage else rng.randint(1, 2)
        for batch in range(batches):
            instant = self.now + (0.0 if batch == 0 else self._seconds())
            self.simulation.at(instant, self.enter_batch, group, known, is_stage)
        self.simulation.at(self.now + 10.0 * self.scale, self.close, group)

    def close(self, group: Group) -> None:
        if not group.closed:
            self.scheduler.close(group)

    def enter_batch(self, group: Group, known: list[int], is_stage: bool) -> None:
        if group.closed:
            return
        rng, scheduler = self.rng, self.scheduler
        number = rng.randint(0, 4) if self.grown < 150 else 0
        for order in range(number):
            if is_stage and self._renew(group):
                continue
            usable = [node for node in known if node not in scheduler.vacant]
            leaders: list[int] = []
            stages = [node for node in self.members[group] if scheduler.flags[node] & Flag.CONTAINER]
            if not is_stage and stages and rng.random() < 0.3 and stages[0] not in scheduler.vacant:
                leaders = [stages[0]]
            node = self.enter(group, [node for node in usable if node not in leaders], leaders=leaders, order=order)
            known = [] if is_stage else [*usable, node]

    def _renew(self, group: Group) -> bool:
        """Use a member that has ended for the next of its kind."""
        scheduler = self.scheduler
        if group.stopping:
            return False
        busy = {node for node, _ in (*self.out, *self.falling)} | {*scheduler.groups, *scheduler.abandoned_nodes}
        for node in self.members[group]:
            if scheduler.state[node] >= FIRST_TERMINAL and node not in busy and not scheduler.downstream[node]:
                self.log("renew", self.now, node)
                self.renewed += 1
                scheduler.renew(node, self.now, 10 + self.renewed)
                self.features.add("renew")
                return True
        return False

    def enter_root(self) -> None:
        """A list of steps that is still being written."""
        scheduler = self.scheduler
        if scheduler.has_ended:
            return
        known = self.rng.sample(range(self.report.nodes), min(3, self.report.nodes))
        self.enter(scheduler.root, known)

    def run_inside(self, node: int, attempt: int) -> None:
        """A body runs more graph, and lends its slots meanwhile."""
        scheduler, rng = self.scheduler, self.rng
        if (node, attempt) not in self.out:
            return
        if not self.is_current(node, attempt) or self.grown > 150:
            self.end(node, attempt)
            return
        group = scheduler.open(node, attempt, COLLECT)
        self.members[group] = []
        known: list[int] = []
        for order in range(rng.randint(0, 3)):
            known.append(self.enter(group, known, order=order))
        scheduler.close(group)
        if not self.is_current(node, attempt):
            return
        scheduler.lend(node, attempt)
        self.waits[group] = (node, attempt)

    def complete(self, group: Group) -> None:
        scheduler = self.scheduler
        node, attempt = group.owner, group.attempt
        self.log("complete", self.now, node, attempt)
        waiting = self.waits.pop(group, None)
        if waiting is not None:
            self._settle_inside(node, attempt)
        elif self.is_current(node, attempt) and not scheduler.is_falling_back(node):
            self._end_container(group, node, attempt)
        self._forget(group)

    def _settle_inside(self, node: int, attempt: int) -> None:
        if (node, attempt) not in self.out or not self.is_current(node, attempt):
            return
        scheduler = self.scheduler
        if scheduler.has_expired(node, attempt) or scheduler.was_interrupted(node, attempt):
            self.give_way(node, attempt)
        elif scheduler.reclaim(node, attempt):
            self.log("reclaim", self.now, node)
        else:
            self.end(node, attempt)

    def _end_container(self, group: Group, node: int, attempt: int) -> None:
        scheduler = self.scheduler
        if scheduler.was_interrupted(node, attempt):
            self.log("cancelled", self.now, node, attempt, scheduler.cancelled(node, attempt, self.now))
        elif scheduler.has_expired(node, attempt) or (group.failed and group.mode != COLLECT):
            self.fail(node, attempt)
        elif group.paused:
            self.pause(node, attempt)
        elif group.cancelled and group.mode != COLLECT:
            self.log("cancelled", self.now, node, attempt, scheduler.cancelled(node, attempt, self.now))
        else:
            self.succeed(node, attempt)

    def _forget(self, group: Group) -> None:
        """Drop members of which nothing can come back."""
        scheduler = self.scheduler
        if self.rng.random() < 0.5:
            return
        out = {node for node, _ in (*self.out, *self.falling)}
        for node in self.members.pop(group, ()):
            if node not in out and node not in scheduler.groups and node not in scheduler.abandoned_nodes:
                self.log("forget", node)
                scheduler.forget(node)

    # -- from outside

    def resize(self) -> None:
        scheduler, rng = self.scheduler, self.rng
        if not scheduler.has_ended:
            self.features.add("resize")
        names = [None, *self.limits] if scheduler.max_concurrent < 100 or not self.limits else [*self.limits]
        name = rng.choice(names)
        size = rng.randint(1, 8)
        self.log("resize", self.now, name, size)
        if name in self.rates:
            limit = self.limits[name]
            assert isinstance(limit, WitnessedRate)
            limit.resize(requests=size)
        else:
            scheduler.resize(name, size)

    def restore(self) -> None:
        """Nothing that is too small for somebody stays so for ever."""
        for name, limit in self.limits.items():
            if isinstance(limit, WitnessedRate):
                limit.resize(requests=10)
            else:
                self.scheduler.resize(name, 10)
        for number, held in self.held_elsewhere.items():
            if held:
                self.shared[number].release(held)
                self.held_elsewhere[number] = 0

    def hold_elsewhere(self) -> None:
        """Another run takes units of a shared limit, and gives them back."""
        if self.scheduler.has_ended:
            return
        number = self.rng.randrange(len(self.shared))
        limit, held = self.shared[number], self.held_elsewhere[number]
        if held:
            limit.release(held)
            self.held_elsewhere[number] = 0
        elif limit.acquire(1):
            self.features.add("shared")
            self.held_elsewhere[number] = 1
            self.simulation.at(self._soon(), self.hold_elsewhere)

    def cancel(self) -> None:
        scheduler = self.scheduler
        if not scheduler.has_ended:
            self.features.add("cancel")
        self.log("cancel", self.now)
        manner = self.rng.random()
        if manner < 0.2 and self.now < LATEST:
            scheduler.stop(scheduler.root, self.now, interrupt=False)
        elif manner < 0.5 and self.now < LATEST:
            # A budget is used up.
            scheduler.halt(self.now)
        else:
            scheduler.cancel(self.now)

    def say_nonsense(self) -> None:
        """Results that come too late, twice, or of attempts that never were."""
        scheduler, rng = self.scheduler, self.rng
        node = rng.randrange(len(scheduler.state))
        attempt = scheduler.attempts[node] - 1 if scheduler.state[node] == RUNNING else scheduler.attempts[node]
        assert not scheduler.ended(node, attempt, self.now)
        assert scheduler.failed(node, attempt, self.now, retryable=True) == LATE
        assert not scheduler.cancelled(node, attempt, self.now)
        assert not scheduler.settle(node, attempt, self.now)
        assert not scheduler.paused(node, attempt, self.now)
        assert not scheduler.reclaim(node, attempt)
        scheduler.lend(node, attempt)
        scheduler.judged(node, True, self.now) if scheduler.state[node] != READY else None
        if rng.random() < 0.3 and not scheduler.has_ended:
            self.simulation.at(self._soon(), self.say_nonsense)

    # -- what is left

    def _look_back(self) -> None:
        """Which features took effect, as far as it shows in the end."""
        scheduler, features = self.scheduler, self.features
        reasons = {REASON_NAMES[reason] for reason in scheduler.reason}
        if "fallback" in reasons:
            features.add("fallback")
        if SKIPPED in scheduler.state:
            features.add("skip")
        if "starved" in reasons:
            features.add("starved")
        if scheduler.overdue_since:
            features.add("queue")
        if "budget" in reasons:
            features.add("budget")
        if "deadline" in reasons:
            features.add("deadline")
            features.add("cancel")
        if scheduler.root.mode == DRAIN and scheduler.root.failed:
            features.add("drain")
        if scheduler.root.mode == CONTINUE and scheduler.root.failed:
            features.add("continue")

    def _check_end(self) -> None:
        scheduler = self.scheduler
        assert scheduler.has_ended
        assert all(state >= FIRST_TERMINAL for state in scheduler.state)
        assert scheduler.next_at() is None
        assert not scheduler.groups
        assert not scheduler.completed
        assert scheduler.active == 0
        assert not self.settling
        assert scheduler.free == scheduler.max_concurrent - len(scheduler.abandoned)
        for node, attempt in list(scheduler.abandoned):
            scheduler.returned(node, attempt)
        assert scheduler.free == scheduler.max_concurrent
        assert all(slots.used == 0 for slots in scheduler.limits.values())
        for limit, held in zip(self.shared, self.held_elsewhere.values(), strict=True):
            assert limit.used == held


TROUBLE = {
    "rate": 0.5,
    "adaptive": 0.2,
    "used": 0.5,
    "overload": 0.5,
    "failure": 0.2,
    "retry": 0.6,
    "timeout": 0.4,
    "queue": 0.5,
    "idle": 0.5,
    "when": 0.4,
    "fallback": 0.5,
    "thread": 0.4,
    "join": 0.5,
    "priority": 0.5,
    "container": 0.2,
    "lend": 0.2,
    "hang": 0.06,
    "swallow": 0.2,
    "resize": 1.0,
    "cancel": 0.6,
    "root growth": 0.8,
    "settle": 0.5,
    "pause": 0.03,
    "past": 0.15,
}


def main() -> None:
    seed = int(sys.argv[1])
    world = World(seed, LawfulScheduler)
    try:
        world.play()
    finally:
        print(f"seed {seed}: {world.report.nodes} planned nodes, features {sorted(world.features)}")
        for decision in world.report.decisions:
            print(*decision)
        scheduler = world.scheduler
        for node, state in enumerate(scheduler.state):
            print(
                node,
                STATE_NAMES[state],
                REASON_NAMES[scheduler.reason[node]],
                "upstream",
                list(scheduler.upstream[node]),
                f"attempts {scheduler.attempts[node]}",
            )


if __name__ == "__main__":
    main()
