"""
What a run may use in all: tokens, money, anything that is counted. Pure: no lock, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from antichain.errors import Fault, GraphError, shown

__all__ = ["Purse", "Spending", "Spent", "check_limits"]


class Spent(NamedTuple):
    """
    Which unit of a budget is used up.
    """

    unit: str
    used: float
    limit: float


@runtime_checkable
class Purse(Protocol):
    """
    What the engine needs of a budget; `antichain.Budget` is one.
    """

    @property
    def spent(self) -> Spent | None:
        """
        What is used up, or None.
        """
        ...

    def count(self, used: Mapping[str, float], run_id: str | None = None) -> None:
        """
        Take in what has been used; by a run that is kept, under its id.
        """
        ...

    def recall(self, run_id: str, used: Mapping[str, float]) -> None:
        """
        Take in what a run had used in all before it went on, unless that is counted already.
        """
        ...

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, once something is used up.
        """
        ...

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        ...


def check_limits(given: Mapping[str, Any]) -> dict[str, float]:  # Any: a user's values, not yet checked
    """
    Check the limits of a budget by unit, and return those that are set.

    Raises:
        GraphError: one is no number above zero, or there is none.
    """
    limits = {unit: limit for unit, limit in given.items() if limit is not None}
    for unit, limit in limits.items():
        is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        if not is_number or not 0 < limit < float("inf"):
            why = "must be a number above zero: what the run may use in all"
            raise GraphError(Fault("bad-policy", f"Budget({unit}={shown(limit)}): {why}."))
    if not limits:
        raise GraphError(Fault("bad-policy", "Budget(): say what is counted, e.g. Budget(tokens=1_000_000, usd=5)."))
    return limits


class Spending:
    """
    Add up what was used, by unit, and say what is used up.
    """

    __slots__ = ("_kept", "limits", "used")

    def __init__(self, limits: Mapping[str, float | None]) -> None:
        self.limits = check_limits(limits)
        # In all, by unit; never shrinks. Units without a limit are counted too.
        self.used: dict[str, float] = dict.fromkeys(self.limits, 0)
        # Of that, by the runs that are kept: what they tell again when they go on is not counted twice.
        self._kept: dict[str, dict[str, float]] = {}

    def count(self, used: Mapping[str, float], run_id: str | None) -> None:
        """
        Add what was used.
        """
        parts = [self.used] if run_id is None else [self.used, self._kept.setdefault(run_id, {})]
        for part in parts:
            for unit, amount in used.items():
                part[unit] = part.get(unit, 0) + amount

    def recall(self, run_id: str, used: Mapping[str, float]) -> None:
        """
        Add what a run had used that is not counted yet.
        """
        known = self._kept.get(run_id, {})
        self.count({unit: max(0, amount - known.get(unit, 0)) for unit, amount in used.items()}, run_id)

    def spent(self) -> Spent | None:
        """
        Return the first unit of which as much was used as there is, or None.
        """
        for unit, limit in self.limits.items():
            if self.used[unit] >= limit:
                return Spent(unit, self.used[unit], limit)
        return None
