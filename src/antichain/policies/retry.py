"""When a failed attempt is tried again, and after how long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from random import Random
from typing import Any, Final, Protocol, runtime_checkable

from antichain.errors import BudgetSpent, Fault, GraphError, NobodyAnswers, shown
from antichain.policies.timeout import seconds

__all__ = ["EVERYTHING", "Allowance", "Backoff", "Retry", "RetryOn", "as_condition", "as_retry", "retry_after"]

# The name of the retry budget of a whole run among those of its limits.
EVERYTHING: Final = "*"
# What a second attempt cannot mend: the program itself is wrong.
PROGRAMMING_ERRORS: tuple[type[BaseException], ...] = (
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    SyntaxError,
    NotImplementedError,
    AssertionError,
    GraphError,
    NobodyAnswers,
    BudgetSpent,
)


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    Give the pause after a failed attempt: exponential, capped, and by default fully jittered.

    After attempt *n* the base is ``min(maximum, initial * factor ** (n - 1))``. With jitter the pause is drawn evenly
    from 0 to the base ("full jitter" in Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015:
    of the usual rules the one with the least total work under contention); without jitter it is the base.
    """

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        seconds("Backoff(initial=…)", self.initial, zero=True)
        seconds("Backoff(maximum=…)", self.maximum, zero=True)
        if seconds("Backoff(factor=…)", self.factor) < 1:
            raise GraphError(Fault("bad-policy", f"Backoff(factor={shown(self.factor)}): must be at least 1."))

    def delay(self, attempt: int, rng: Random) -> float:
        """
        Return the seconds to wait after *attempt*, the number of the attempt that failed, from 1.
        """
        try:
            base = min(self.maximum, self.initial * self.factor ** (attempt - 1))
        except OverflowError:
            base = self.maximum
        return rng.uniform(0.0, base) if self.jitter else base


# What Retry(on=…) takes. Any: the argument of a predicate is whatever the node raised.
RetryOn = type[BaseException] | Callable[[Any], bool] | tuple[type[BaseException] | Callable[[Any], bool], ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """
    Try a node up to *attempts* times in total, the first included, with a pause after each failure.

    *on* says which errors are worth another attempt: an exception type, a named set (``TRANSIENT``), several of these,
    or a predicate. Without it, everything is, except cancellation, programming errors (TypeError, NameError, …), errors
    whose class is named ``…ValidationError``, and what another attempt would be told again: an HTTP status 4xx but 408,
    409, 425 and 429, an account that has nothing left, a certificate that is refused.
    """

    attempts: int = 3
    backoff: Backoff = Backoff()
    on: RetryOn | None = None

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            why = "attempts counts all attempts, the first included: a whole number, at least 1"
            raise GraphError(Fault("bad-policy", f"Retry(attempts={shown(self.attempts)}): {why}."))
        if not isinstance(self.backoff, Backoff):
            raise GraphError(Fault("bad-policy", f"Retry(backoff={shown(self.backoff)}): must be a Backoff."))
        if self.on is not None and not _is_condition(self.on):
            why = "must be an exception type, a set such as TRANSIENT, a tuple of these, or a function error -> bool"
            raise GraphError(Fault("bad-policy", f"Retry(on={shown(self.on)}): {why}."))

    def retryable(self, error: BaseException) -> bool:
        """
        Say whether *error* is worth another attempt.
        """
        return retryable_by_default(error) if self.on is None else _holds(self.on, error)


def as_condition(on: object) -> Callable[[BaseException], bool]:
    """
    Return a predicate for what ``Retry(on=…)`` takes.

    Raises:
        GraphError: *on* is none of it.
    """
    if not _is_condition(on):
        why = "use an exception type, a set such as TRANSIENT, a tuple of these, or a function error -> bool"
        raise GraphError(Fault("bad-policy", f"{shown(on)} names no errors: {why}."))
    return lambda error: _holds(on, error)


@runtime_checkable
class Allowance(Protocol):
    """
    What the engine needs of a retry budget; `antichain.RetryBudget` is one.
    """

    def call_ended(self) -> None:
        """
        Take that the first attempt of a call has ended, however.
        """
        ...

    def spend(self) -> bool:
        """
        Take one retry, and say whether it was there.
        """
        ...

    def give_back(self) -> None:
        """
        Take that a retry which was taken is not made after all.
        """
        ...

    def told(self) -> str:
        """
        Say in words what was used, and of what.
        """
        ...

    def fresh(self) -> Allowance:
        """
        Return one of the same terms of which nothing has been used.
        """
        ...


def _is_condition(on: object) -> bool:
    if isinstance(on, tuple):
        return bool(on) and not any(isinstance(each, tuple) for each in on) and all(map(_is_condition, on))
    if isinstance(on, type):
        return issubclass(on, BaseException)
    return callable(on)


def _holds(on: Any, error: BaseException) -> bool:  # Any: what `_is_condition` has let pass
    if isinstance(on, tuple):
        return any(_holds(each, error) for each in on)
    return isinstance(error, on) if isinstance(on, type) else bool(on(error))


def retryable_by_default(error: BaseException) -> bool:
    """
    Say whether *error* may go away by itself: not a cancellation, a programming error, a validation error, or what
    another attempt would be told again.
    """
    # CancelledError, SystemExit and KeyboardInterrupt are not Exceptions.
    if not isinstance(error, Exception) or isinstance(error, PROGRAMMING_ERRORS):
        return False
    if any(kind.__name__.endswith("ValidationError") for kind in type(error).__mro__):
        return False
    from antichain.policies.retryable import is_permanent  # not before something has failed

    return not is_permanent(error)


def as_retry(value: object) -> Retry | None:
    """
    Read a retry policy: a number of attempts in total, a Retry, or None.

    Raises:
        GraphError: *value* is not one of them.
    """
    if value is None or isinstance(value, Retry):
        return value
    if type(value) is int and value >= 1:
        return Retry(attempts=value)
    why = "use a number of attempts in total (the first included, at least 1) or Retry(…)"
    raise GraphError(Fault("bad-policy", f"retry={shown(value)}: {why}."))


def retry_after(error: BaseException, wall_now: float) -> float | None:
    """
    Read from *error* how many seconds its sender asks to wait, or return None.

    Found by shape, so that no HTTP library is imported: ``error.retry_after``, then the header ``Retry-After`` in
    ``error.response.headers`` or ``error.headers``, as seconds or as a date; *wall_now* is in seconds since the epoch.
    """
    from antichain.policies.shapes import attribute  # not before something has failed

    found = _read(attribute(error, "retry_after"), wall_now)
    if found is not None:
        return found
    for holder in (attribute(error, "response"), error):
        headers = attribute(holder, "headers")
        # As OpenAI and Azure send it besides, to be exact.
        milliseconds = _read(_header(headers, ("retry-after-ms", "Retry-After-Ms")), wall_now)
        if milliseconds is not None:
            return milliseconds / 1000
        found = _read(_header(headers, ("retry-after", "Retry-After", "Retry-after", "RETRY-AFTER")), wall_now)
        if found is not None:
            return found
    return None


def _header(headers: object, names: tuple[str, ...]) -> object:
    # Libraries differ in whether their headers fold case; a plain dict does not.
    get = getattr(headers, "get", None)
    if not callable(get):
        return None
    for name in names:
        try:
            value = get(name)
        except Exception:  # noqa: BLE001  # foreign code: what it raises says that there is no header
            return None
        if value is not None:
            return value
    return None


def _read(value: object, wall_now: float) -> float | None:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = _read_text(value.strip(), wall_now)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        wait = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return max(0.0, wait) if math.isfinite(wait) else None


def _read_text(text: str, wall_now: float) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass  # not seconds: perhaps a date
    from email.utils import parsedate_to_datetime  # rarely needed, and not free to import

    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:  # "-0000", and dates without a zone, which HTTP reads as UTC
        date = date.replace(tzinfo=UTC)
    return date.timestamp() - wall_now
