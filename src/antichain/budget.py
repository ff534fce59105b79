"""
A budget that nodes, runs and threads share: it is what several of them change, and so has a lock. What it counts is in
`policies.budget`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from antichain.errors import Fault, GraphError, shown
from antichain.policies.budget import Spending, Spent
from antichain.policies.limits import is_amount

__all__ = ["Budget"]


class Budget:
    """
    Stop runs, resumably, once what they have used reaches a limit: tokens, dollars, or units of any other name.

    Counted is what nodes say by ``ctx.use(tokens=…, usd=…)``, failed attempts included, and the tokens that a response
    tells which a node returns. Once a limit is reached, no attempt starts any more; those that run end, so that a
    little more may be used than the limit says. The run raises `BudgetSpent`; everything that completed is kept.

    Give one budget to several runs, and they share it.

    Example:
        >>> budget = Budget(tokens=1000)
        >>> budget.count({"tokens": 400})
        >>> budget.used["tokens"], budget.left["tokens"], budget.spent
        (400, 600, None)

    Raises:
        GraphError: a limit is no number above zero, or there is none.
    """

    __slots__ = ("_lock", "_spending", "_watchers")

    def __init__(self, *, tokens: float | None = None, usd: float | None = None, **units: float | None) -> None:
        # Guarded by _lock.
        self._spending = Spending({"tokens": tokens, "usd": usd, **units})
        # Called without the lock, each time something was counted while something is used up. Guarded by _lock.
        self._watchers: list[Callable[[], object]] = []
        self._lock = Lock()

    @property
    def limits(self) -> Mapping[str, float]:
        """
        The limits, by unit.
        """
        return dict(self._spending.limits)

    @property
    def used(self) -> Mapping[str, float]:
        """
        What was used so far by all runs that share the budget, by unit.
        """
        with self._lock:
            return dict(self._spending.used)

    @property
    def left(self) -> Mapping[str, float]:
        """
        What is left of each limit; 0 where more was used.
        """
        with self._lock:
            used = self._spending.used
            return {unit: max(0, limit - used[unit]) for unit, limit in self._spending.limits.items()}

    @property
    def spent(self) -> Spent | None:
        """
        The unit that is used up, with what was used and its limit; None if there is none.
        """
        with self._lock:
            return self._spending.spent()

    def count(self, used: Mapping[str, float], run_id: str | None = None) -> None:
        """
        Take in what has been used, besides what nodes say; of a run that is kept, under its id.

        Raises:
            GraphError: an amount is no finite number from zero up.
        """
        for unit, amount in used.items():
            if not is_amount(amount):
                text = f"Budget.count({unit}={shown(amount)}): must be a number from zero up."
                raise GraphError(Fault("bad-policy", text))
        with self._lock:
            self._spending.count(used, run_id)
        self._tell()

    def recall(self, run_id: str, used: Mapping[str, float]) -> None:
        """
        Take in what a kept run had used in all before it went on, unless this budget has counted it already.
        """
        with self._lock:
            self._spending.recall(run_id, used)
        self._tell()

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, once something is used up.
        """
        with self._lock:
            self._watchers.append(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        with self._lock:
            if callback in self._watchers:
                self._watchers.remove(callback)

    def _tell(self) -> None:
        with self._lock:
            watchers = tuple(self._watchers) if self._spending.spent() is not None else ()
        for watcher in watchers:
            watcher()

    def __repr__(self) -> str:
        parts = [f"{unit}={self.used[unit]:g} of {limit:g}" for unit, limit in self.limits.items()]
        return f"<Budget {', '.join(parts)}>"
