"""
How long a plan would take: played by its nodes' durations, in which nothing fails and no time is ever up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from antichain.core.capacity import UNLIMITED
from antichain.core.scheduler import Scheduler
from antichain.errors import GraphError
from antichain.estimating import Bounds, Points
from antichain.estimating import improve as improve_order
from antichain.policies import LimitValue, SharedRate
from antichain.policies.options import check_options
from antichain.record import RunResult
from antichain.simulation.playing import limits_of, unused, wrong_seconds
from antichain.simulation.script import Durations, ScriptedBodies

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["Estimate", "estimate", "estimates", "sizes_of_limits"]


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
    faults = [*check_options({"limits": sizes}), *wrong_seconds(plan, durations)]
    for number in slots:
        faults += check_options({"max_concurrent": number})
    faults += plan.check_limits(sizes) if not faults else []
    if faults:
        raise GraphError(faults, plan.name)
    known = sizes_of_limits(plan, sizes)
    rates = {name: limit for name, limit in limits_of(plan, sizes).items() if isinstance(limit, SharedRate)}
    enough = dict.fromkeys((*known, *rates), UNLIMITED)
    _, played = _play_well(plan, durations, None, enough)
    points = played.points()
    bounds = Bounds(points)
    found = []
    for number in slots:
        result, _ = _play_well(plan, durations, number, {**known, **unused(rates)})
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
        for name, size in limits_of(plan, given).items()
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
