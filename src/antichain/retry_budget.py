"""
A retry budget that calls of one service share, over nodes, runs and threads: it is what several of them change, and so
has a lock. The rule is in `policies.retry_budget`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Final

from antichain.policies import EVERYTHING, Allowance
from antichain.policies.retry_budget import RetryTokens, Try, as_allowances

__all__ = ["RetryBudget", "open_budgets"]

# Stored runs that a budget which many share knows apart.
MOST_RUNS: Final = 10_000


class RetryBudget:
    """
    Let at most a *share* of the calls be tried again, and *reserve* more; may be shared by several runs and threads.

    A call is the first attempt of a node; once it has ended, it adds *share* of a retry, and every retry takes one. So
    in any stretch of a run there are at most ``reserve + share * calls`` retries, whatever the nodes' own ``retry=``
    says. A failure for which nothing is left is the node's last: it takes its fallback, or has failed.

    What a stored run had used before it is resumed is taken out when that run first counts here, so a run that crashes
    and is resumed in a loop does not retry without end; what this object has counted itself counts once.

    Example:
        >>> budget = RetryBudget(share=0.2, reserve=1)
        >>> budget.spend(), budget.spend()
        (True, False)
        >>> for _ in range(5):
        ...     budget.call_ended()
        >>> budget.spend(), budget.calls, budget.retries, budget.refused
        (True, 5, 2, 1)

    Raises:
        GraphError: *share* is below 0, or *reserve* below 1.
    """

    __slots__ = ("_known", "_lock", "_tokens")

    def __init__(self, share: float = 0.2, reserve: float = 10) -> None:
        # Guarded by _lock.
        self._tokens = RetryTokens(share, reserve)
        # The runs that are kept in a store and count here, by id: what they had before they went on counts once.
        self._known: dict[str, None] = {}
        self._lock = Lock()

    @property
    def share(self) -> float:
        """
        The retries that each call adds.
        """
        return self._tokens.share

    @property
    def reserve(self) -> float:
        """
        The retries that there are at the beginning, and the most that are kept.
        """
        return self._tokens.reserve

    @property
    def calls(self) -> int:
        """
        First attempts that have ended so far.
        """
        return self._tokens.calls

    @property
    def retries(self) -> int:
        """
        Retries that were allowed so far.
        """
        return self._tokens.retries

    @property
    def refused(self) -> int:
        """
        Retries that were not.
        """
        return self._tokens.refused

    def call_ended(self) -> None:
        """
        Take that the first attempt of a call has ended, however.
        """
        with self._lock:
            self._tokens.call_ended()

    def spend(self) -> bool:
        """
        Take one retry, and say whether it was there.
        """
        with self._lock:
            return self._tokens.spend()

    def give_back(self) -> None:
        """
        Take that a retry which was taken is not made after all.
        """
        with self._lock:
            self._tokens.give_back()

    def join(self, run_id: str, tries: Iterable[bool]) -> None:
        """
        Take that the stored run *run_id* counts here from now on. What it had before it goes on, in order (True for a
        retry, False for a call that had ended), counts too, unless it was counted here when it happened.
        """
        before = RetryTokens(self.share, self.reserve)
        with self._lock:
            is_known = run_id in self._known
            self._known.pop(run_id, None)
            self._known[run_id] = None
            if len(self._known) > MOST_RUNS:
                del self._known[next(iter(self._known))]
            if is_known:
                return
            for is_retry in tries:
                if not is_retry:
                    before.call_ended()
                elif not before.spend():
                    # The run had more to spend then: another budget, or other terms.
                    before.retries += 1
            self._tokens.owe(before)

    def told(self) -> str:
        """
        Say in words what was used, and of what.
        """
        with self._lock:
            calls, retries = self._tokens.calls, self._tokens.retries
        plural = "y" if retries == 1 else "ies"
        terms = f"{self.share:.0%} of the calls and {self.reserve:g} more (share={self.share:g})"
        return f"{retries} retr{plural} for {calls} call{'s' * (calls != 1)} so far, where {terms} are allowed"

    def fresh(self) -> RetryBudget:
        """
        Return one of the same terms of which nothing has been used.
        """
        return RetryBudget(self.share, self.reserve)

    def __repr__(self) -> str:
        used = f"calls={self.calls}, retries={self.retries}, refused={self.refused}"
        return f"RetryBudget(share={self.share:g}, reserve={self.reserve:g}, {used})"


def open_budgets(
    value: Any, *, fresh: bool = False, run_id: str | None = None, tries: Sequence[Try] = ()
) -> Mapping[str, Allowance]:
    """
    Make the budgets of one run from its ``retry_budget=``, by limit; with *fresh*, those that are shared stay as they
    are. Of a run that is kept, *run_id* is its id, and *tries* what it had before it goes on.
    """
    budgets: dict[str, Allowance] = {}
    for name, each in as_allowances(value).items():
        if isinstance(each, Allowance):
            budgets[name] = each.fresh() if fresh else each
        else:
            budgets[name] = RetryBudget(share=each)
        budget = budgets[name]
        # Another one than ours counts what it is told of.
        if run_id is not None and isinstance(budget, RetryBudget):
            budget.join(run_id, _tries_for(name, tries))
    return budgets


def _tries_for(name: str, tries: Iterable[Try]) -> Iterator[bool]:
    """
    Yield what counts for the budget of a limit, or of the run. A retry of which nobody knows any more what it used
    counts for each of them.
    """
    for each in tries:
        is_mine = name == EVERYTHING or (each.limits is not None and name in each.limits)
        if each.is_call and is_mine:
            yield False
        if each.is_retry and (is_mine or each.limits is None):
            yield True
