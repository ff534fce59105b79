"""
A plan played by a script: what may be said of it, and of a run's options, is checked as for a real run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Final, Unpack

from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import Scheduler
from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.limit import Limit
from antichain.policies import AdaptiveLimit, LimitValue, SharedLimit, SharedRate
from antichain.policies.options import RunOptions, check_options
from antichain.policies.retry_budget import as_allowances
from antichain.record import RunResult
from antichain.retry_budget import open_budgets
from antichain.simulation.script import Durations, ScriptedBodies, finite

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["limits_of", "simulate", "unused", "wrong_seconds"]

# Up to this many nodes, `simulate` checks the laws after every signal unless told otherwise.
CHECKED_NODES: Final = 200


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
    faults += wrong_seconds(plan, durations)
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
        limits=unused(limits_of(plan, chosen.get("limits") or {})),
        on_error=chosen.get("on_error", "cancel"),
        deadline=chosen.get("deadline"),
        grace=chosen.get("grace", 5.0),
        retry_budgets=open_budgets(chosen.get("retry_budget"), fresh=True),
        rng=Random(chosen.get("seed", 0)),
    )
    played = ScriptedBodies(plan, scheduler, durations, outcomes or {})
    return played.play(chosen.get("outputs") or {}, tuple(chosen.get("listeners") or ()), chosen.get("run_id"))


def limits_of(plan: Plan, given: Mapping[str, LimitValue]) -> dict[str, LimitValue]:
    """
    Return the limits of a run as a real one has them: threads are a limit like any other.
    """
    return {"thread": min(32, (os.cpu_count() or 1) + 4), **plan.limits_with(given)}


def unused(limits: Mapping[str, LimitValue]) -> dict[str, LimitValue]:
    """
    Replace each limit that real runs may be using by one of its kind that nobody has used; what stands under two names
    is one limit here too.
    """
    fresh = {id(limit): _fresh(limit) for limit in limits.values() if not isinstance(limit, int)}
    return {name: fresh.get(id(limit), limit) for name, limit in limits.items()}


def _fresh(limit: SharedLimit | SharedRate) -> LimitValue:
    return limit.fresh() if isinstance(limit, (SharedRate, AdaptiveLimit)) else Limit(limit.size)


def wrong_seconds(plan: Plan, durations: Any) -> list[Fault]:  # Any: a user's value, not yet checked
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
            finite(name, value)
        except GraphError as error:
            faults.extend(error.faults)
    return faults


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
