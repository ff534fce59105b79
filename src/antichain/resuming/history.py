"""
How long nodes took in earlier runs of a graph: what a next run can expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from antichain.errors import StoreDamaged, UnknownRun
from antichain.resuming.wiring import Level, read_wiring
from antichain.stores.codec import decode
from antichain.stores.protocol import FactKind, Journal, Store

__all__ = ["durations"]

# Runs that have come to an end by themselves.
_FINISHED: Final = ("succeeded", "partial", "failed")
# Reasons of a success that say nothing of how long a node takes.
_NOT_RUN: Final = ("fallback", "outputs", "checkpoint")
# Nodes of one run up to which it is looked at, about 10 microseconds each: what nobody has asked for may not take long.
MOST_NODES: Final = 20_000


def durations(store: Store, graph_name: str, *, runs: int = 3) -> dict[str, float]:
    """
    Return how many seconds each node of a graph can be expected to take, by its path, for `Plan.with_costs`.

    That is the median of what its successful attempts took in the last finished runs, so that one which was slow by
    chance counts for nothing; in each, the median of all instances of a map, by the id of the map. A run that is
    damaged, or of more than 20,000 nodes, is passed over.

    Args:
        store: where earlier runs are kept.
        graph_name: the name of the graph.
        runs: how many runs are looked at, about 10 microseconds a node.

    Example:
        >>> from antichain.resuming.history import durations
        >>> from antichain.stores import MemoryStore
        >>> durations(MemoryStore(), "briefing")
        {}

    Raises:
        StoreError: the store cannot be read.
    """
    found: dict[str, list[float]] = {}
    graphs: dict[bytes, Level | None] = {}
    looked_at = 0
    for line in store.runs(graph_name):
        if looked_at == runs:
            break
        if line.status not in _FINISHED or not 0 < line.succeeded <= MOST_NODES:
            continue
        try:
            medians = _medians(store.read(line.run_id, payloads=False), graphs)
        except (StoreDamaged, UnknownRun):
            # Nothing depends on it but the order of what is ready; whoever resumes that run is told. Or it is gone.
            continue
        looked_at += 1
        for path, seconds in medians.items():
            found.setdefault(path, []).append(seconds)
    return _each_median(found)


def _each_median(found: Mapping[str, list[float]]) -> dict[str, float]:
    if not found:
        return {}
    from statistics import median  # loads more than all of this file needs

    return {path: median(seconds) for path, seconds in found.items()}


def _medians(journal: Journal, graphs: dict[bytes, Level | None]) -> dict[str, float]:
    """
    Return how many seconds the nodes of one run took; *graphs* keeps what has been read of their wiring.
    """
    wiring = journal.header.wiring
    if wiring not in graphs:  # that of the last run, mostly
        graphs[wiring] = read_wiring(decode(wiring))[1] if wiring else None
    level = graphs[wiring]
    found: dict[str, list[float]] = {}
    for fact in journal.facts:
        # A number out of a store may be any.
        if fact.kind is FactKind.SUCCEEDED and fact.reason not in _NOT_RUN and 0 <= fact.seconds < math.inf:
            path = _planned(level, fact.node)
            if path:
                found.setdefault(path, []).append(fact.seconds)
    return _each_median(found)


def _planned(level: Level | None, path: str) -> str | None:
    """
    Return the path of the planned node that *path* is, or is an instance of; None if a body brought it in.
    """
    if level is None:  # told by its looks
        return None if "]/" in path else path.partition("[")[0] if path.endswith("]") else path
    planned = ""
    while level is not None and path not in level.nodes:
        found = _container(level, path)
        if found is None:
            return None
        name, path, level = found
        planned += f"{name}/" if path else name
    return planned + path


def _container(level: Level, path: str) -> tuple[str, str, Level | None] | None:
    """
    Find the container that *path* begins with, what of it leads on inside, and where.
    """
    for at in range(len(path) - 1, 0, -1):
        if path[at] not in "/[":
            continue
        line = level.nodes.get(path[:at])
        if line is None or (path[at] == "[") != (line.kind in "pk"):
            continue
        if line.inside is None:
            # An instance; what its body has run itself is not planned.
            return (path[:at], "", None) if path[at] == "[" and path.endswith("]") and "]/" not in path[at:] else None
        if path[at] == "/":
            return path[:at], path[at + 1 :], line.inside
        end = path.find("]/", at)
        return (path[:at], path[end + 2 :], line.inside) if end >= 0 else None
    return None
