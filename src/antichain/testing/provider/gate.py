"""
Who is let in: so many at once, and so much in any window of time. Written for itself, and for none of the limits that
are tested against it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antichain.testing.provider.log import Log
from antichain.testing.provider.script import Behaviour, Quota

__all__ = ["Gate", "Shut", "Window"]


@dataclass(slots=True)
class Charge:
    """
    What one call took of a window.
    """

    at: float
    tokens: int
    is_over: bool = False


class Window:
    """
    What passed in the last seconds.
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        # In order of time. Invariant: tokens is the sum of theirs.
        self._charges: deque[Charge] = deque()
        self._tokens = 0

    def wait(self, now: float, tokens: int) -> float:
        """
        Seconds until a call of *tokens* fits; 0 if it does now.
        """
        self._forget(now)
        requests_left, tokens_left = len(self._charges), self._tokens
        if self._fits(requests_left, tokens_left, tokens):
            return 0.0
        for charge in self._charges:
            requests_left -= 1
            tokens_left -= charge.tokens
            if self._fits(requests_left, tokens_left, tokens):
                return max(charge.at + self.quota.per - now, 1e-6)
        return self.quota.per

    def is_too_small_for(self, tokens: int) -> bool:
        """
        Whether a call of *tokens* never fits.
        """
        return self.quota.tokens is not None and tokens > self.quota.tokens

    def add(self, now: float, tokens: int) -> Charge:
        """
        Let a call pass.
        """
        charge = Charge(now, tokens)
        self._charges.append(charge)
        self._tokens += tokens
        return charge

    def settle(self, charge: Charge, tokens: int) -> None:
        """
        Replace what a call was thought to take by what it took.
        """
        if not charge.is_over:
            self._tokens += tokens - charge.tokens
            charge.tokens = tokens

    def left(self, now: float) -> tuple[int | None, int | None]:
        """
        Say how many requests and tokens would still fit.
        """
        self._forget(now)
        requests, tokens = self.quota.requests, self.quota.tokens
        return (
            None if requests is None else max(0, requests - len(self._charges)),
            None if tokens is None else max(0, tokens - self._tokens),
        )

    def reset_after(self, now: float) -> float:
        """
        Seconds until the window is empty.
        """
        self._forget(now)
        return max(0.0, self._charges[-1].at + self.quota.per - now) if self._charges else 0.0

    def _fits(self, requests_used: int, tokens_used: int, tokens: int) -> bool:
        requests_fit = self.quota.requests is None or requests_used + 1 <= self.quota.requests
        return requests_fit and (self.quota.tokens is None or tokens_used + tokens <= self.quota.tokens)

    def _forget(self, now: float) -> None:
        while self._charges and self._charges[0].at <= now - self.quota.per:
            charge = self._charges.popleft()
            charge.is_over = True
            self._tokens -= charge.tokens


class Shut(Exception):  # noqa: N818  # reads as a state
    """
    Say why a call is not let in, and in how many seconds it might be (None: unknown).
    """

    def __init__(self, reason: str, kind: str, wait: float | None, *, is_for_ever: bool = False) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait
        self.is_for_ever = is_for_ever


class Pass:
    """
    The right to be served. It is given back once, however often that is asked for.
    """

    def __init__(self, leave: Callable[[], None], charges: Sequence[tuple[Window, Charge]]) -> None:
        self._leave = leave
        self._charges = charges
        self._is_used = False

    def give_back(self, tokens: int) -> None:
        """
        Make room for another call; this one used *tokens*.
        """
        if self._is_used:
            return
        self._is_used = True
        for window, charge in self._charges:
            window.settle(charge, tokens)
        self._leave()


class Gate:
    """
    Let calls in as `allowed`, `queue` and `quota` say at that moment. Everything happens on one loop.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.log = Log()
        # Calls that hold a Pass. Invariant: at most `allowed`, unless that was lowered since.
        self.in_flight = 0
        # Those who wait for one, in order of arrival. Invariant: empty while there is room.
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.windows: list[Window] = []
        self._quota: Quota | Sequence[Quota] = ()

    async def enter(self, tokens: int, now: Callable[[], float]) -> Pass:
        """
        Take a place for a call that may use *tokens*.

        Raises:
            Shut: there is none.
        """
        if self._has_room() and not self._waiting:
            self.in_flight += 1
        elif self._behaviour.queue:
            await self._wait()
        else:
            reason = f"Too many requests in flight: {self.in_flight} of {self._behaviour.allowed} allowed at once"
            raise Shut(f"{reason}.", "concurrency", None)
        try:
            charges = self._charge(now(), tokens)
        except Shut:
            self._leave()
            raise
        self.log.peak = max(self.log.peak, self.in_flight)
        return Pass(self._leave, charges)

    def admit(self) -> None:
        """
        Let in those who wait and for whom there is room now.
        """
        while self._waiting and self._has_room():
            waiter = self._waiting.popleft()
            if not waiter.done():
                # The place is taken here, and not when the waiter wakes: nobody may come in between.
                self.in_flight += 1
                waiter.set_result(None)

    def reset(self, log: Log) -> None:
        """
        Forget what passed. Calls that are in flight go on, and keep their places.
        """
        self.log = log
        log.peak = self.in_flight
        self.windows = []
        self._quota = ()

    def up_to_date(self) -> list[Window]:
        """
        Return the windows of the quota as it is now set; a new quota begins empty.
        """
        if self._behaviour.quota is not self._quota:
            self._quota = self._behaviour.quota
            quotas = [self._quota] if isinstance(self._quota, Quota) else self._quota
            self.windows = [Window(quota) for quota in quotas]
        return self.windows

    def _charge(self, now: float, tokens: int) -> list[tuple[Window, Charge]]:
        windows = self.up_to_date()
        for window in windows:
            if window.is_too_small_for(tokens):
                limit = window.quota.tokens
                raise Shut(f"Request too large: Limit {limit}, Requested {tokens}.", "tokens", None, is_for_ever=True)
        waits = [(window.wait(now, tokens), window) for window in windows]
        if waits and (longest := max(waits, key=lambda pair: pair[0]))[0] > 0:
            wait, window = longest
            kind = "requests" if window.left(now)[0] == 0 else "tokens"
            limit = window.quota.requests if kind == "requests" else window.quota.tokens
            reason = f"Rate limit reached on {kind} per {window.quota.per:g}s: Limit {limit}."
            raise Shut(f"{reason} Please try again in {wait:.3f}s.", kind, wait)
        return [(window, window.add(now, tokens)) for window in windows]

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # Its turn came in the moment its client left: the next one may have it.
                self._leave()
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _has_room(self) -> bool:
        return self._behaviour.allowed is None or self.in_flight < self._behaviour.allowed

    def _leave(self) -> None:
        self.in_flight -= 1
        self.admit()
