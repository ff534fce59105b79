"""
A run at one instant, as a display shows it: values that the board makes and that somebody paints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PAUSING", "Bar", "Failure", "Look", "Retrying", "Single", "Wait"]

# Reasons of nodes that a run has left for another day: somebody has to answer, or it needs a larger budget.
PAUSING: Final = frozenset({"paused", "budget"})


@dataclass(frozen=True, slots=True)
class Bar:
    """
    A row for many nodes: those of a mapped stage, of a nested graph, of a body that runs more, or all of a run.
    """

    label: str
    depth: int
    ended: int
    # How many have come, and how many there will be, None while that is not known.
    known: int
    total: int | None
    running: int
    failed: int
    # Nodes a second, and seconds until the last one has ended at that pace; None while there is no pace yet.
    pace: float | None
    left: float | None
    seconds: float
    # The terminal state, or empty while it goes on.
    state: str


@dataclass(frozen=True, slots=True)
class Single:
    """
    A row for one node.
    """

    label: str
    state: str
    # How long it runs, ran, waits for an answer, or will wait before its next attempt; None where there is nothing to
    # count.
    seconds: float | None
    attempt: int
    # Limits that it waits for, and what its last attempt raised.
    waits_for: tuple[str, ...] = ()
    error: BaseException | None = None
    # What it asks a person.
    asks: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """
    A limit that ready nodes wait for.
    """

    limit: str
    nodes: int
    used: int
    size: int | None
    # Why it is shut, where not because all of it is taken.
    why: str = ""


@dataclass(frozen=True, slots=True)
class Retrying:
    """
    Attempts that failed and are made again.
    """

    now: int
    so_far: int
    # Seconds until the next one starts, None if no node backs off now.
    next_in: float | None
    # Of the last one.
    node: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Failure:
    """
    A node that failed.
    """

    node: str
    reason: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Look:
    """
    A run at one instant, ready to be drawn.
    """

    run_id: str
    # On the run's clock.
    time: float
    head: Bar
    # How many nodes ended how.
    states: Mapping[str, int]
    # None while the run goes on.
    status: str | None
    rows: tuple[Bar | Single, ...]
    # What runs, longest first, without what has a row of its own.
    running: tuple[Single, ...]
    # What runs longest of all.
    longest: Single | None
    # What waits for a person, longest first, without what has a row of its own; and how many nodes do.
    asking: tuple[Single, ...]
    asking_count: int
    waits: tuple[Wait, ...]
    retrying: Retrying | None
    # The last ones.
    failures: tuple[Failure, ...]
    # Attempts that did not end when they were asked to.
    abandoned: int
