"""
Which clock of a node's timeout was over, in words: the core knows, and knows no exceptions.
"""

from __future__ import annotations

from antichain.core.scheduler import Scheduler
from antichain.errors import NodeTimeout

__all__ = ["timeout_of"]


def timeout_of(core: Scheduler, node: int, name: str, now: float) -> NodeTimeout:
    """
    Make the error of a node one of whose clocks is over.
    """
    policy, attempt = core.timeout[node], core.attempts[node]
    if core.waits_too_long(node):
        uses = [limit for limit, _ in core.demand_of(core.demand[node])]
        ended_at = core.ended_at[node]
        # It may be made when somebody asks, long after.
        elapsed = (ended_at if ended_at == ended_at else now) - core.overdue_since[node]
        return NodeTimeout(name, attempt + 1, "queue", policy.queue or 0.0, elapsed, uses=uses)
    started_at = core.attempt_started_at(node)
    if core.is_silent(node):
        sign = core.last_sign(node)
        return NodeTimeout(name, attempt, "idle", policy.idle or 0.0, now - sign, last_sign=sign - started_at)
    # The attempt's own limit, unless less than that was left of the total.
    if policy.attempt is not None and policy.attempt <= (core.attempt_limit(node) or 0.0):
        return NodeTimeout(name, attempt, "attempt", policy.attempt, now - started_at)
    return NodeTimeout(name, attempt, "total", policy.total or 0.0, core.spent(node, now))
