"""
A rate that runs share: the exact ledger of `policies.rate` behind a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from antichain.limit import Watchers
from antichain.policies.rate import Window

__all__ = ["Rate"]


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

    __slots__ = ("_lock", "_taken", "_watchers", "_window")

    def __init__(
        self, *, requests: float | None = None, tokens: float | None = None, per: float = 60.0, **units: float
    ) -> None:
        given = {"requests": requests, "tokens": tokens, **units}
        # Guarded by _lock.
        self._window = Window({name: size for name, size in given.items() if size is not None}, per)
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

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1) -> int | None:
        """
        Let a request of *amounts*, which stands for *weight* calls, pass at *now* if it fits, and return its ticket,
        else None; never wait.
        """
        with self._lock:
            return self._window.take(amounts, now) if self._window.fits(amounts, now) else None

    def settle(self, ticket: int, used: Mapping[str, float], now: float) -> None:
        """
        Count what the request of *ticket* has really *used* so far, in all; what is not named stays as estimated.
        """
        with self._lock:
            self._window.settle(ticket, used, now)
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
        Return what a node is expected to use that only says that it makes *weight* calls.
        """
        return {"requests": weight} if "requests" in self._window.units else {}

    def fresh(self) -> Rate:
        """
        Return one of the same rates that expects what this one expects, and through which nothing has passed.
        """
        return Rate(per=self.per, **self.units)

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
