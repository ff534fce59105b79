"""How long an attempt, and a node with all its attempts, may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from antichain.errors import Fault, GraphError, shown

__all__ = ["Timeout", "as_timeout", "seconds"]


@dataclass(frozen=True, slots=True)
class Timeout:
    """
    Limit the seconds of one attempt, and of all attempts and the pauses between them.

    The clock of an attempt starts when the attempt starts: waiting for a slot does not count.
    """

    attempt: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        if self.attempt is not None:
            seconds("timeout", self.attempt)
        if self.total is not None:
            seconds("Timeout(total=…)", self.total)


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """
    Check that *value* is a number above zero (or zero, with *zero*), and return it.

    Raises:
        GraphError: it is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
        if value > 0 or (zero and value == 0):
            return value
        why = "must not be negative" if zero else "must be above zero"
    else:
        why = "must be a number"
    raise GraphError(Fault("bad-policy", f"{name}={shown(value)}: {why}."))


def as_timeout(value: object) -> Timeout | None:
    """
    Read a timeout: a number of seconds for each attempt, a Timeout, or None, which a Timeout() without limits is too.

    Raises:
        GraphError: *value* is not one of them.
    """
    if value is None or value == Timeout():
        return None
    if isinstance(value, Timeout):
        return value
    return Timeout(attempt=seconds("timeout", value))
