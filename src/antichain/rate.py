"""
A rate that runs share: the exact ledger of `policies.rate` behind a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

from antichain.limit import Watchers
from antichain.policies.rate import Usage, Window

__all__ = ["Rate"]

# How many tickets that stand for several calls are remembered as such, for the means of what a call uses.
HEAVY_REMEMBERED: Final = 1024
# Seconds that a run has to pass after the instant at which it may, before others do: it is told late, or it is gone.
PATIENCE: Final = 0.05


class Rate:
    """
    Let at most so many *requests*, *tokens* and *units* of other names start in any window of *per* seconds.

    The window slides: wherever it begins, no more than the rate passes in it. A node passes with what it is expected
    to use, and what it has really used (``ctx.use``) replaces that as soon as it is known. Nodes pass in the order in
    which they became ready. May be shared by several runs and threads.

    Args:
        requests: how many calls.
        tokens: how many tokens.
        per: seconds.
        units: how much of anything else that counts, by its name.

    Raises:
        GraphError: nothing is counted, or a number is not finite and above zero.

    Example:
        >>> llm = Rate(requests=500, tokens=90_000, per=60)
        >>> ticket = llm.acquire({"requests": 1, "tokens": 80_000}, now=0.0)
        >>> llm.ready_at({"requests": 1, "tokens": 20_000}, now=1.0)
        60.0
    """

    __slots__ = ("_joined", "_line", "_calls", "_lock", "_usage", "_watchers", "_window")

    def __init__(
        self, *, requests: float | None = None, tokens: float | None = None, per: float = 60.0, **units: float
    ) -> None:
        given = {"requests": requests, "tokens": tokens, **units}
        # Guarded by _lock.
        self._window = Window({name: size for name, size in given.items() if size is not None}, per)
        # What calls have really used. Guarded by _lock.
        self._usage = Usage()
        # Ticket -> how many calls it stands for, of the newest that stand for more than one. Guarded by _lock.
        self._calls: dict[int, int] = {}
        # The first request of each run that waits: since when, and when it will pass. Guarded by _lock.
        self._line: dict[int, tuple[float, float]] = {}
        self._joined = 0
        self._watchers = Watchers()
        self._lock = Lock()

    @property
    def units(self) -> Mapping[str, float]:
        """
        How much of each unit may pass in a window.
        """
        return dict(self._window.units)

    @property
    def per(self) -> float:
        """
        The seconds of a window.
        """
        return self._window.per

    @property
    def paused_until(self) -> float:
        """
        The instant of the runs' clock before which nobody passes; in the past, or minus infinity, without a pause.
        """
        return self._window.paused_until

    def passed(self, now: float) -> dict[str, float]:
        """
        Return how much of each unit has passed in the window that ends at *now*.
        """
        with self._lock:
            return self._window.passed(now)

    def check(self, amounts: Mapping[str, float]) -> None:
        """
        Check that a request of *amounts* can pass at all.

        Raises:
            GraphError: a unit is not one of this rate, an amount is no finite number from 0, or more than the rate.
        """
        with self._lock:
            self._window.check(amounts)

    def fits(self, amounts: Mapping[str, float], now: float) -> bool:
        """
        Say whether a request of *amounts* may pass at *now*.
        """
        with self._lock:
            return self._window.fits(amounts, now)

    def ready_at(self, amounts: Mapping[str, float], now: float) -> float:
        """
        Return the earliest instant, from *now* on, at which a request of *amounts* fits if nobody else passes.
        """
        with self._lock:
            return self._window.ready_at(amounts, now)

    def join(self) -> int:
        """
        Return a number under which a run stands in line.
        """
        with self._lock:
            self._joined += 1
            return self._joined

    def stand(
        self, who: int, since: float, amounts: Mapping[str, float], now: float, *, looks_only: bool = False
    ) -> float:
        """
        Return the instant at which the first request of run *who*, which came at *since*, may pass: not after *now* if
        that is at once. Until then nobody passes that came later, in whatever run, unless it *looks_only*.
        """
        with self._lock:
            line = self._line
            for other in [other for other, (_, until) in line.items() if until + PATIENCE < now]:
                # It should have passed by then: it waits no more, or its run is gone.
                del line[other]
            at = now if self._window.fits(amounts, now) else self._window.ready_at(amounts, now)
            for other, (came, until) in line.items():
                if other != who and (came, other) < (since, who):
                    # It passes before that, and then this one is told.
                    at = max(at, until + PATIENCE)
            if at > now and not looks_only:
                line[who] = (since, at)
            return at

    def leave(self, who: int) -> None:
        """
        Let those pass that came after run *who*, which waits no more.
        """
        with self._lock:
            has_left = self._line.pop(who, None) is not None
        if has_left and self._line:
            # Others wait, perhaps behind it.
            self._watchers.tell()

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1, who: int | None = None) -> int | None:
        """
        Let a request of *amounts*, which stands for *weight* calls, pass at *now* if it fits, and return its ticket,
        else None; never wait. Run *who* does not stand in line any more then.
        """
        ticket = self._take(amounts, now, weight, who)
        if ticket is not None and self._line:
            self._watchers.tell()
        return ticket

    def _take(self, amounts: Mapping[str, float], now: float, weight: int, who: int | None) -> int | None:
        with self._lock:
            if not self._window.fits(amounts, now):
                return None
            ticket = self._window.take(amounts, now)
            if who is not None:
                self._line.pop(who, None)
            if weight != 1:
                self._calls[ticket] = weight
                if len(self._calls) > HEAVY_REMEMBERED:
                    del self._calls[next(iter(self._calls))]
            return ticket

    def settle(self, ticket: int, used: Mapping[str, float], now: float) -> None:
        """
        Count what the request of *ticket* has really *used* so far, in all; what is not named stays as estimated.
        """
        with self._lock:
            self._window.settle(ticket, used, now)
            self._usage.note(ticket, self._calls.get(ticket, 1), used)
        self._watchers.tell()

    def give_back(self, ticket: int, now: float) -> None:
        """
        Take that the request of *ticket* is not made after all: it has used nothing, which says nothing of others.
        """
        with self._lock:
            self._window.settle(ticket, dict.fromkeys(self._window.units, 0), now)
        self._watchers.tell()

    def pause(self, until: float) -> None:
        """
        Let nobody pass before the instant *until*.
        """
        with self._lock:
            self._window.pause(until)
        self._watchers.tell()

    def plain(self, weight: int) -> dict[str, float]:
        """
        Return what a node is expected to use that only says that it makes *weight* calls: as many requests, and of
        everything else what the last calls used in the mean, or nothing before the first has said what it used.
        """
        with self._lock:
            amounts: dict[str, float] = {}
            for unit, size in self._window.units.items():
                mean = self._usage.mean(unit)
                if unit == "requests":
                    amounts[unit] = weight
                elif mean is not None:
                    amounts[unit] = min(size, weight * mean)
            return amounts

    def fresh(self) -> Rate:
        """
        Return one of the same rates that expects what this one expects, and through which nothing has passed.
        """
        with self._lock:
            other = Rate(per=self._window.per, **self._window.units)
            other._usage = self._usage.fresh()
            return other

    def resize(self, **units: float) -> None:
        """
        Change the rates of *units*, by name; what has passed counts as it did.

        Raises:
            GraphError: a unit is not one of this rate, or its rate is not a finite number above zero.
        """
        with self._lock:
            self._window.resize(units)
        self._watchers.tell()

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time others may pass earlier, or later, than was said.
        """
        self._watchers.add(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        self._watchers.remove(callback)

    def __repr__(self) -> str:
        units = ", ".join(f"{name}={size:g}" for name, size in self._window.units.items())
        return f"Rate({units}, per={self.per:g})"
