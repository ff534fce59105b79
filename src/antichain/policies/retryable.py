"""
Which errors are worth another attempt, as named sets that can be combined. Only looked at once an attempt has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from antichain.policies.overload import overload_of
from antichain.policies.retry import as_condition
from antichain.policies.shapes import attribute, behind, header, is_connection_failure, is_untrusted, status_of

__all__ = ["CONNECTION", "OVERLOAD", "SERVER", "TIMEOUT", "TRANSIENT", "ErrorSet", "is_permanent"]

# Of the 4xx those that the same request may pass another time: it took too long, it met another one (409: OpenAI and
# Anthropic answer so when a lock is held), it came too early, there were too many.
PASSING: Final = frozenset({408, 409, 425, 429})
# What providers say in `error.code` or `error.type` of a 429 that no waiting mends: the account has nothing left.
SPENT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "credit_balance_too_low"})


@dataclass(frozen=True, slots=True)
class ErrorSet:
    """
    Name some errors, for ``Retry(on=…)`` and ``Breaker(on=…)``; sets, types and predicates are joined by ``|``, and
    what is not meant is taken away by ``-``.

    Example:
        >>> from antichain import TRANSIENT, Retry
        >>> patient = Retry(attempts=5, on=TRANSIENT | LookupError)
        >>> patient.retryable(KeyError("not yet")), patient.retryable(ValueError("never"))
        (True, False)
    """

    name: str
    holds: Callable[[BaseException], bool]

    def __call__(self, error: BaseException) -> bool:
        """
        Say whether *error* is one of them.
        """
        return self.holds(error)

    # Any: what Retry(on=…) takes; the check is at run time, and says what is wrong.
    def __or__(self, other: Any) -> ErrorSet:
        mine, theirs = self.holds, as_condition(other)
        return ErrorSet(f"{self.name} | {_name(other)}", lambda error: mine(error) or theirs(error))

    __ror__ = __or__

    def __sub__(self, other: Any) -> ErrorSet:
        mine, theirs = self.holds, as_condition(other)
        return ErrorSet(f"{self.name} - {_name(other)}", lambda error: mine(error) and not theirs(error))

    def __repr__(self) -> str:
        return self.name


def _name(on: Any) -> str:
    if isinstance(on, tuple):
        return f"({', '.join(map(_name, on))})"
    return str(getattr(on, "__name__", None) or on)


def is_permanent(error: BaseException) -> bool:
    """
    Say whether *error* is the answer that every further attempt would get: a 4xx but 408, 409, 425 and 429, an account
    that has nothing left, a certificate that is refused, or whatever comes with the header ``x-should-retry: false``.
    """
    word = _word(error)
    if word is not None:
        return not word
    if not SPENT.isdisjoint((_text(error, "code"), _text(error, "type"))):
        return True
    status = status_of(error)
    if status is not None:
        return 400 <= status < 500 and status not in PASSING
    return is_untrusted(error)


def _word(error: BaseException) -> bool | None:
    """
    Return what the other side itself says about another attempt, as OpenAI and Anthropic do; None if nothing.
    """
    said = header(error, "x-should-retry", "X-Should-Retry")
    return {"true": True, "false": False}.get(said) if isinstance(said, str) else None


def _text(error: BaseException, name: str) -> str:
    # Only what it was given: aiohttp has a deprecated property of that name.
    value = attribute(error, "__dict__")
    value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _overloaded(kinds: frozenset[str]) -> Callable[[BaseException], bool]:
    def holds(error: BaseException) -> bool:
        found = overload_of(error, 0.0)
        return found is not None and found.kind in kinds and not is_permanent(error)

    return holds


def _is_connection(error: BaseException) -> bool:
    return any(map(is_connection_failure, behind(error)))


def _is_server_error(error: BaseException) -> bool:
    return any((status_of(each) or 0) >= 500 for each in behind(error)) and not is_permanent(error)


def _is_transient(error: BaseException) -> bool:
    return not is_permanent(error) and (
        any(_passes(each) for each in behind(error))
        or _is_connection(error)
        or overload_of(error, 0.0) is not None
        or _is_server_error(error)
    )


def _passes(error: BaseException) -> bool:
    return _word(error) is True or status_of(error) in PASSING


# Too much was asked: 429, 503, 529, and the classes and codes by which clients say so.
OVERLOAD: Final = ErrorSet("OVERLOAD", _overloaded(frozenset({"rate", "unavailable"})))
# No answer came in time: timeouts of any client and of nodes, 408, 504.
TIMEOUT: Final = ErrorSet("TIMEOUT", _overloaded(frozenset({"timeout"})))
# A connection could not be made, or broke.
CONNECTION: Final = ErrorSet("CONNECTION", _is_connection)
# Any 5xx.
SERVER: Final = ErrorSet("SERVER", _is_server_error)
# All of these, with 409 and 425: what the same request may pass another time, and nothing else.
TRANSIENT: Final = ErrorSet("TRANSIENT", _is_transient)
