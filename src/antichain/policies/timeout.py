"""How long a node may wait for its slots, be silent, and take: an attempt, and all of its attempts together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from antichain.errors import Fault, GraphError, shown

__all__ = ["Timeout", "as_timeout", "seconds"]


@dataclass(frozen=True, slots=True)
class Timeout:
    """
    Limit seconds by up to four clocks.

    Args:
        attempt: of one attempt, from its start; waiting for slots does not count.
        total: of all attempts and the pauses between them; waiting for slots does not count.
        queue: from the moment a node could start until it does: what it waits for slots and rates. Anew for each
            attempt.
        idle: of one attempt without a sign of life: ``ctx.emit(…)``, ``ctx.heartbeat()``, a chunk of an
            async-generator node. Time in which it waits for what it runs itself (``ctx.run``, ``ctx.ask``) does not
            count.

    An attempt whose ``attempt`` or ``idle`` is over has failed, and may be tried again; ``total`` and ``queue`` end
    the node: it takes its fallback, or has failed.
    """

    attempt: float | None = None
    total: float | None = None
    queue: float | None = None
    idle: float | None = None

    def __post_init__(self) -> None:
        if self.attempt is not None:
            seconds("timeout", self.attempt)
        for name in ("total", "queue", "idle"):
            value = getattr(self, name)
            if value is not None:
                seconds(f"Timeout({name}=…)", value)


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
