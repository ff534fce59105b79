"""
What the world reports to the scheduler, as values: for tests that read well, and to replay what happened.

`handle` is a table of the scheduler's methods and nothing more. A run calls the methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from antichain.core.groups import Group
from antichain.core.scheduler import Kind, Past, Scheduler
from antichain.core.states import OUTPUT, RUN


@dataclass(frozen=True, slots=True)
class RunBegun:
    """
    The run starts; the nodes in *given* have their output already, and *past* tells what is known of others.
    """

    given: Sequence[int] = ()
    past: Mapping[int, Past] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConditionJudged:
    """
    The condition of a node was evaluated; None if it raised.
    """

    node: int
    verdict: bool | None


@dataclass(frozen=True, slots=True)
class BodySuspended:
    """
    An attempt did not end at once: its time counts.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptSettled:
    """
    An attempt, or its fallback, has completed; its end will be said once it is durable.
    """

    node: int
    attempt: int
    reason: int = OUTPUT


@dataclass(frozen=True, slots=True)
class AttemptPaused:
    """
    An attempt has ended because it waits for somebody's answer.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    """
    An attempt, or its fallback, has given a value.
    """

    node: int
    attempt: int
    reason: int = OUTPUT


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """
    An attempt has raised, or its time was up.
    """

    node: int
    attempt: int
    retryable: bool = False
    # The least number of seconds before another attempt.
    after: float | None = None
    # The fallback has failed too.
    final: bool = False


@dataclass(frozen=True, slots=True)
class AttemptCancelled:
    """
    An attempt has ended because it was asked to.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptReturned:
    """
    An abandoned attempt has ended after all.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class SlotsLent:
    """
    A body waits for what it runs itself.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class SlotsWanted:
    """
    What a body ran itself has ended, and it wants its slots back.
    """

    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class NodeEntered:
    """
    A node has come while the run goes on.
    """

    group: Group
    kind: Kind = field(default_factory=Kind)
    upstream: Sequence[int] = ()
    leaders: Sequence[int] = ()
    join: int = 0
    order: int = 0
    past: Past | None = None


@dataclass(frozen=True, slots=True)
class GroupClosed:
    """
    No further node of a group will come.
    """

    group: Group


@dataclass(frozen=True, slots=True)
class GroupStopped:
    """
    Nothing more of a group is to start; with *interrupt*, what runs is to end.
    """

    group: Group
    reason: int = RUN
    interrupt: bool = True


@dataclass(frozen=True, slots=True)
class LimitResized:
    """
    A limit has another size now; None names `max_concurrent`.
    """

    name: str | None
    size: int


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """
    The whole run is to end.
    """

    reason: int = RUN


@dataclass(frozen=True, slots=True)
class TimePassed:
    """
    The instant of `Scheduler.next_at` has come.
    """


Signal = (
    RunBegun
    | ConditionJudged
    | BodySuspended
    | AttemptSettled
    | AttemptPaused
    | AttemptSucceeded
    | AttemptFailed
    | AttemptCancelled
    | AttemptReturned
    | SlotsLent
    | SlotsWanted
    | NodeEntered
    | GroupClosed
    | GroupStopped
    | LimitResized
    | RunCancelled
    | TimePassed
)


def handle(scheduler: Scheduler, signal: Signal, now: float) -> object:
    """
    Tell the scheduler, and return what it answers.
    """
    match signal:
        case RunBegun(given, past):
            scheduler.start(now, given, past)
        case ConditionJudged(node, verdict):
            scheduler.judged(node, verdict, now)
        case BodySuspended(node, attempt):
            scheduler.arm(node, attempt)
        case AttemptSettled(node, attempt, reason):
            return scheduler.settle(node, attempt, now, reason)
        case AttemptPaused(node, attempt):
            return scheduler.paused(node, attempt, now)
        case AttemptSucceeded(node, attempt, reason):
            return scheduler.ended(node, attempt, now, reason)
        case AttemptFailed(node, attempt, retryable, after, final):
            return scheduler.failed(node, attempt, now, retryable=retryable, after=after, final=final)
        case AttemptCancelled(node, attempt):
            return scheduler.cancelled(node, attempt, now)
        case AttemptReturned(node, attempt):
            scheduler.returned(node, attempt)
        case SlotsLent(node, attempt):
            scheduler.lend(node, attempt)
        case SlotsWanted(node, attempt):
            return scheduler.reclaim(node, attempt)
        case NodeEntered(group, kind, upstream, leaders, join, order, past):
            return scheduler.enter(
                group, kind, now, upstream=upstream, leaders=leaders, join=join, order=order, past=past
            )
        case GroupClosed(group):
            scheduler.close(group)
        case GroupStopped(group, reason, interrupt):
            scheduler.stop(group, now, reason=reason, interrupt=interrupt)
        case LimitResized(name, size):
            scheduler.resize(name, size)
        case RunCancelled(reason):
            scheduler.cancel(now, reason)
        case TimePassed():
            return scheduler.tick(now)
        case _:
            assert_never(signal)
    return None
