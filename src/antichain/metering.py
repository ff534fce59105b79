"""
What the attempts of a run have used, and what that costs: its rates put it in place of what was reserved, and its
budget says when nothing more may start. Imported where something is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from antichain.core.states import BUDGET, RUNNING
from antichain.policies.limits import MOST_AMOUNT

if TYPE_CHECKING:
    from antichain.driver import Driver

__all__ = ["Metering"]


class Metering:
    """
    Count what the attempts of one run use. All methods are for the loop's thread.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._budget = driver.settings.budget
        self._has_begun = False
        # It has ended before, and starts nothing that could use anything: it gives its result.
        self._is_over = driver.keeping is not None and driver.keeping.is_finished
        # What bodies say that they have used, in all, by node and attempt.
        self._said: dict[int, tuple[int, dict[str, float]]] = {}
        if self._budget is not None:
            self._budget.watch(self._on_spent)

    def begin(self, now: float) -> None:
        """
        Hear that the run has begun; what it had used before, and others with it, may be too much already.
        """
        self._has_begun = True
        driver, budget = self._driver, self._budget
        if budget is None:
            return
        if driver.keeping is not None:
            budget.recall(driver.run_id, driver.usage)
        if budget.spent is not None and not self._is_over:
            self._core.halt(now)

    def close(self) -> None:
        """
        Hear no more of the budget.
        """
        if self._budget is not None:
            self._budget.unwatch(self._on_spent)

    def count(self, node: int, attempt: int, used: Mapping[str, float]) -> None:
        """
        Take in what an attempt has used, besides what it has said before.
        """
        core = self._core
        # Also what is said after the end: it was used.
        self._spend(node, attempt, used)
        if core.state[node] != RUNNING or core.attempts[node] != attempt:
            # For rates, that is nobody's business any more.
            return
        known = self._said.get(node)
        if known is None or known[0] != attempt:
            known = self._said[node] = (attempt, {})
        for unit, amount in used.items():
            known[1][unit] = min(MOST_AMOUNT, known[1].get(unit, 0) + amount)
        if core.rates:
            core.settle_usage(node, attempt, known[1], self._driver.clock())

    def read(self, node: int, attempt: int, value: object) -> None:
        """
        Read from what an attempt returns what it has used, if its body has not said so, and a rate or budget counts it.
        """
        known = self._said.pop(node, None)
        counts = self._budget is not None or self._core.uses_rate(node)
        if (known is not None and known[0] == attempt) or not counts:
            return
        from antichain.policies.usage import usage_of  # only where somebody counts

        used = usage_of(value)
        if used is not None:
            self.count(node, attempt, used)
            self._said.pop(node, None)

    def forget(self, node: int) -> None:
        """
        Drop what the body of a node has said: the next node of that index is another one.
        """
        self._said.pop(node, None)

    def _spend(self, node: int, attempt: int, used: Mapping[str, float]) -> None:
        """
        Add what an attempt has used to what the run has, write it down, and start nothing more if that was too much.
        """
        driver, usage = self._driver, self._driver.usage
        for unit, amount in used.items():
            usage[unit] = usage.get(unit, 0) + amount
        if driver.keeping is not None:
            driver.keeping.note_use(node, attempt, used)
        if self._budget is not None:
            self._budget.count(used, None if driver.keeping is None else driver.run_id)
            if self._budget.spent is not None:
                # At once: the next node may start before the loop has its turn. What follows waits for that.
                self._halt()

    def _halt(self) -> None:
        if self._core.status_reason != BUDGET and self._has_begun and not self._is_over:
            self._core.halt(self._driver.clock())
            self._driver.turn_soon()

    def _on_spent(self) -> None:
        """
        A budget is used up, perhaps by another run. Called in any thread.
        """
        self._driver.call_soon(self._halt)
