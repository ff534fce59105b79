"""
How many calls and retries a run has had before it goes on, in order, so that its retry budgets go on from there too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from antichain.core.states import FALLBACK, OUTPUT, REASON_NAMES
from antichain.plan import Plan
from antichain.policies.retry_budget import Try
from antichain.resuming.places import container_of
from antichain.resuming.wired import is_mapped, subplan_of
from antichain.stores import Fact, FactKind

__all__ = ["tries_of"]

# Reasons of a success behind which there was an attempt.
_OUTPUT: Final = REASON_NAMES[OUTPUT]
_RAN: Final = (_OUTPUT, REASON_NAMES[FALLBACK])


def tries_of(plan: Plan, facts: Iterable[Fact]) -> list[Try]:
    """
    Return what the attempts of a run were for its retry budgets: a call is the first attempt of a node, and the first
    of one that had failed and has begun anew. What has been forgotten since counts too.
    """
    tries: list[Try] = []
    # The number of each node's attempt before its first one, and of its last one that is known.
    before: dict[str, int] = {}
    last: dict[str, int] = {}
    uses: dict[str, tuple[str, ...] | None] = {}
    for fact in facts:
        path, is_retry = fact.node, fact.kind == FactKind.RETRYING
        if not is_retry and fact.kind != FactKind.FAILED and not _has_run(fact):
            if fact.kind == FactKind.FORGOTTEN:
                before[path] = last[path] = 0
            continue
        began, known = before.get(path, 0), last.get(path, 0)
        if fact.attempt <= began and (is_retry or fact.reason == _OUTPUT):
            # In journals of earlier releases, and in a nested graph that is tried again, numbers begin anew.
            began = known = 0
        is_call = fact.attempt == began + 1 > known
        before[path], last[path] = began, max(known, fact.attempt)
        if is_call or is_retry:
            if path not in uses:
                uses[path] = _limits_of(plan, path)
            tries.append(Try(is_call, is_retry, uses[path]))
        if not is_retry:
            # Should it run again, it begins anew.
            before[path] = last[path]
    return tries


def _has_run(fact: Fact) -> bool:
    return fact.kind == FactKind.SUCCEEDED and fact.reason in _RAN


def _limits_of(plan: Plan, path: str) -> tuple[str, ...] | None:
    """
    Return the limits that the node with this path uses, as far as the plan says.
    """
    while (node := plan.index.get(path)) is None:
        found = container_of(plan, path)
        if found is None:
            return None
        node, length = found
        inside = subplan_of(plan, node)
        if inside is not None and length:
            plan, path = inside, path[length:]
        elif is_mapped(plan, node) and path.endswith("]") and "]/" not in path:
            break
        else:
            # What a body has run itself.
            return None
    policies = plan.nodes[node].policies
    if policies.weighing is not None and policies.weighing.choose is not None:
        return None
    return tuple([name for name, _ in policies.uses])
