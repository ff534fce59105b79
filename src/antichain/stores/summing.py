"""
What a list of runs says of one run, from its facts. Nothing here knows where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from antichain.stores.protocol import Fact, FactKind, Header, RunLine

__all__ = ["Summary", "line_of", "sum_up"]

# What opens a path below a node: of a nested graph or of growth, and of an instance of a map.
BELOW = ("/", "[")


@dataclass(frozen=True, slots=True)
class Summary:
    """
    The facts of a run, in numbers.
    """

    facts: int = 0
    # The status with which it has ended; empty while it has not.
    ended: str = ""
    # Wall-clock seconds since 1970 of the last fact; 0 without any.
    updated_at: float = 0.0
    # Nodes that have an output now.
    succeeded: int = 0


def sum_up(facts: Iterable[Fact]) -> Summary:
    """
    Fold the facts of one run, in their order.
    """
    count = 0
    ended = ""
    updated_at = 0.0
    # A dict is a set that keeps its order, so that what is forgotten is the same on every machine.
    succeeded: dict[str, None] = {}
    for fact in facts:
        count += 1
        updated_at = fact.at
        if fact.kind is FactKind.SUCCEEDED:
            succeeded[fact.node] = None
        elif fact.kind is FactKind.FORGOTTEN:
            below = tuple(fact.node + sign for sign in BELOW)
            succeeded = {node: None for node in succeeded if node != fact.node and not node.startswith(below)}
        elif fact.kind is FactKind.ENDED:
            ended = fact.reason
        elif fact.kind is FactKind.RESUMED:
            ended = ""
    return Summary(count, ended, updated_at, len(succeeded))


def line_of(header: Header, summary: Summary, size_bytes: int, is_owned: bool) -> RunLine:
    """
    Make a run's line in a list of runs.
    """
    return RunLine(
        run_id=header.run_id,
        graph=header.graph,
        target=header.target,
        status=summary.ended or ("running" if is_owned else "interrupted"),
        created_at=header.created_at,
        updated_at=summary.updated_at or header.created_at,
        succeeded=summary.succeeded,
        size_bytes=size_bytes,
    )
