"""
The one timer that a run has in its event loop, and why most timeouts never need one.

A body that ends in time, which nearly all do, costs no timer: the alarm is only kept close enough that no body that has
a timeout can expire before it rings. Then, and not before, the core is told to watch those that still run.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextvars import Context

from antichain.policies import Timeout


class Alarm:
    """
    Ring at one instant, the earliest that anybody has asked for.
    """

    __slots__ = ("_context", "_handle", "_loop", "_ring", "_shortest", "at", "covered_from")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ring: Callable[[], object], context: Context, timeouts: Iterable[Timeout]
    ) -> None:
        self._loop = loop
        self._ring = ring
        self._context = context
        self._handle: asyncio.TimerHandle | None = None
        # When it rings, or rang last.
        self.at = 0.0
        # The fewest seconds after its start in which any attempt can expire; or a node that became ready then.
        self._shortest = _shortest(timeouts)
        # A body with a timeout that starts before this instant could expire before the alarm rings: `cover` it.
        self.covered_from = -math.inf if self._shortest is None else math.inf

    def cover(self, now: float) -> None:
        """
        A body with a timeout may be about to start: ring no later than it could expire.
        """
        assert self._shortest is not None
        self._move(now + self._shortest)

    def ring_by(self, at: float | None) -> None:
        """
        Ring at *at*, or before.
        """
        if at is not None and (self._handle is None or at < self.at):
            self._move(at)

    def shorten(self, timeout: Timeout) -> None:
        """
        A node has come whose timeout may be shorter than all others.
        """
        shortest = _shortest((timeout,))
        if shortest is not None and (self._shortest is None or shortest < self._shortest):
            self._shortest = shortest
            self.covered_from = math.inf if self._handle is None else self.at - shortest

    def cancel(self) -> None:
        """
        Do not ring any more.
        """
        if self._handle is not None:
            self._handle.cancel()

    def _move(self, at: float) -> None:
        self.cancel()
        self.at = at
        self._handle = self._loop.call_at(at, self._rings, context=self._context)
        if self._shortest is not None:
            self.covered_from = at - self._shortest

    def _rings(self) -> None:
        self._handle = None
        if self._shortest is not None:
            self.covered_from = math.inf
        self._ring()


def _shortest(timeouts: Iterable[Timeout]) -> float | None:
    # Most nodes of a graph share one, and an identity is quicker to hash.
    known = {id(timeout): timeout for timeout in timeouts}.values()
    clocks = [(timeout.attempt, timeout.total, timeout.queue, timeout.idle) for timeout in known]
    return min([limit for limits in clocks for limit in limits if limit is not None], default=None)
