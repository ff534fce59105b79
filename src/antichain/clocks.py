"""
Why a node failed that raised nothing, in words: which clock of its timeout was over, or what it has waited for in vain.
The core knows, and knows no exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence

from antichain.core.scheduler import Scheduler
from antichain.errors import Fault, GraphError, NodeTimeout

__all__ = ["short_of", "timeout_of"]


def timeout_of(core: Scheduler, node: int, name: str, now: float) -> NodeTimeout:
    """
    Make the error of a node one of whose clocks is over.
    """
    policy, attempt = core.timeout[node], core.attempts[node]
    if core.waits_too_long(node):
        uses = [limit for limit, _ in core.demand_of(core.demand[node])]
        ended_at = core.ended_at[node]
        # It may be made when somebody asks, long after.
        late_at = ended_at if ended_at == ended_at else now
        elapsed = late_at - core.overdue_since[node]
        paused = _paused(core, uses, late_at)
        return NodeTimeout(name, attempt + 1, "queue", policy.queue or 0.0, elapsed, uses=uses, paused=paused)
    started_at = core.attempt_started_at(node)
    if core.is_silent(node):
        sign = core.last_sign(node)
        return NodeTimeout(name, attempt, "idle", policy.idle or 0.0, now - sign, last_sign=sign - started_at)
    # The attempt's own limit, unless less than that was left of the total.
    if policy.attempt is not None and policy.attempt <= (core.attempt_limit(node) or 0.0):
        return NodeTimeout(name, attempt, "attempt", policy.attempt, now - started_at)
    return NodeTimeout(name, attempt, "total", policy.total or 0.0, core.spent(node, now))


def short_of(core: Scheduler, node: int, name: str) -> GraphError:
    """
    Make the error of a node that takes more of a limit than was left of it.
    """
    limit, size, weight = core.short_of[node]
    text = (
        f"node {name!r} uses {weight} of the limit {limit!r}, which was resized to {size} while the run went on; and "
        f"for {core.grace:g} s (grace=) nothing was left to happen in the run but that it becomes larger again. Keep "
        f"it at {weight} or more, or let the node wait for as long as you say: timeout=Timeout(queue=…)."
    )
    return GraphError(Fault("weight-above-limit", text, name))


def _paused(core: Scheduler, limits: Sequence[str], now: float) -> float | None:
    """
    Return for how many seconds one of these limits is still paused, as its provider has asked.
    """
    shared = [getattr(core.limits.get(name) or core.rates.get(name), "limit", None) for name in limits]
    left = max([getattr(limit, "paused_until", now) - now for limit in shared], default=0.0)
    return left if left > 0 else None
