"""
How many of a run's calls may be tried again: a token bucket, so that an outage does not multiply the load. Pure: no
lock, no clock.

The rule is that of Finagle's RetryBudget (finagle.github.io/blog/2016/02/08/retry-budgets: 20 % of the requests on top
of a small floor) without its clock: where a call may take minutes, a deposit that expires after ten seconds is gone
before the call has failed. So a call deposits when it has ended, and what is kept for later is bounded instead, as in
gRPC's retry throttling (proposal A6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from antichain.errors import Fault, GraphError, shown
from antichain.policies.retry import EVERYTHING, Allowance

__all__ = ["RetryTokens", "Try", "as_allowances", "check_allowance"]

# One retry in the units that are counted: whole numbers, so that a fifth five times is one.
ONE: Final = 1_000_000


class Try(NamedTuple):
    """
    Tell of the end of an attempt that it was a call, or that another one was to follow, or both.
    """

    is_call: bool
    is_retry: bool
    # The limits of its node; None where only whoever made it knew.
    limits: tuple[str, ...] | None


class RetryTokens:
    """
    Count calls and retries: at most *reserve* and a *share* of the calls that ended meanwhile, in any stretch of a run.
    """

    __slots__ = ("_deposit", "_most", "calls", "refused", "reserve", "retries", "share", "tokens")

    def __init__(self, share: float, reserve: float) -> None:
        self.share = check_share(share)
        self.reserve = check_reserve(reserve)
        self._deposit = round(share * ONE)
        self._most = round(reserve * ONE)
        # What may still be tried again, in millionths. Invariant: from 0 to what is reserved, which has to be one retry
        # at least to be of any use.
        self.tokens = self._most
        self.calls = 0
        self.retries = 0
        self.refused = 0

    def call_ended(self) -> None:
        """
        Put the share of one call in.
        """
        self.calls += 1
        self.tokens = min(self._most, self.tokens + self._deposit)

    def spend(self) -> bool:
        """
        Take one retry out, if it is there.
        """
        if self.tokens < ONE:
            self.refused += 1
            return False
        self.tokens -= ONE
        self.retries += 1
        return True

    def owe(self, other: RetryTokens) -> None:
        """
        Take over what *other*, which is of the same terms, has counted: what it lacks is taken out here too.
        """
        self.tokens = max(0, self.tokens - (other._most - other.tokens))
        self.calls += other.calls
        self.retries += other.retries

    def give_back(self) -> None:
        """
        Put one retry in again that was taken out.
        """
        self.retries -= 1
        self.tokens = min(self._most, self.tokens + ONE)


def check_share(value: object) -> float:
    """
    Check that *value* is a share of the calls: a number from 0 on; 1 lets as many retries pass as there are calls.

    Raises:
        GraphError: it is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= ONE:
        return value
    why = "must be a number from 0 on: 0.2 is a retry for every five calls"
    raise GraphError(Fault("bad-policy", f"RetryBudget(share={shown(value)}): {why}."))


def check_reserve(value: object) -> float:
    """
    Check that *value* is a number of retries: what there is at the beginning, and the most that is kept.

    Raises:
        GraphError: it is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 1 <= value <= ONE * ONE:
        return value
    why = "must be a number of retries, at least 1: what there is at the beginning, and the most that is kept"
    raise GraphError(Fault("bad-policy", f"RetryBudget(reserve={shown(value)}): {why}."))


def check_allowance(value: object) -> None:
    """
    Check that *value* is what the run option ``retry_budget=`` takes for the run or for one limit.

    Raises:
        GraphError: it is not.
    """
    if isinstance(value, Allowance) and not isinstance(value, type):
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        form = "use a share of the calls, e.g. 0.2, a RetryBudget, or a dict from names of limits to these"
        raise GraphError(Fault("bad-policy", f"retry_budget={shown(value)}: {form}."))
    if value == 0:
        why = "a share of nothing, beside the 10 retries in reserve. For none at all leave retry= away; "
        raise GraphError(
            Fault("bad-policy", f"retry_budget={shown(value)}: {why}RetryBudget(share=0, reserve=n) allows n in all.")
        )
    check_share(value)


def as_allowances(value: Any) -> dict[str, Any]:
    """
    Read ``retry_budget=`` into budgets, or shares, by the name of their limit; ``"*"`` is the whole run.

    Raises:
        GraphError: *value* is nothing of the kind.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        check_allowance(value)
        return {EVERYTHING: value}
    for name, each in value.items():
        if not isinstance(name, str) or not name:
            why = "is not the name of a limit: names are texts, and not empty"
            text = f"retry_budget={shown(value)}: {shown(name)} {why}."
            raise GraphError(Fault("bad-policy", text))
        check_allowance(each)
    return dict(value)
