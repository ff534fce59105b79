"""
How much may pass in a window of time: the exact ledger of a `Rate`, and what calls turn out to use.

A request passes at an instant *now* if, for each unit, what has passed in ``(now - per, now]`` and the request together
are at most the rate. So no window of *per* seconds, wherever it begins, passes more than the rate. Nothing here is
estimated: amounts are counted as whole numbers (billionths of a unit), and an entry leaves the window at the first
instant that is at least *per* seconds after it, in exact arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies.limits import is_amount
from antichain.policies.timeout import seconds

__all__ = ["Usage", "Window"]

# Amounts are counted in whole numbers of this part of a unit: three times 0.1 is 0.3, and nothing drifts.
GRAINS: Final = 10**9
# A clock that goes back by more seconds is another one; threads that look at one clock differ by less.
ANOTHER_CLOCK: Final = 1.0
# How many of the newest calls the means of what calls use are taken over.
REMEMBERED: Final = 256


class Usage:
    """
    Remember what the last calls have really used: what one of which nothing is known is likely to use.

    Example:
        >>> usage = Usage()
        >>> usage.note(ticket=1, calls=1, used={"tokens": 900})
        >>> usage.note(ticket=2, calls=2, used={"tokens": 1500})
        >>> usage.mean("tokens"), usage.mean("pages")
        (800.0, None)
    """

    __slots__ = ("_calls", "_noted", "_sums")

    def __init__(self) -> None:
        # Ticket -> how many calls it stands for, and what they used; the newest last. Invariant: the sums below are
        # over these, for each unit the calls of those that name it and what they used of it.
        self._noted: dict[int, tuple[int, dict[str, float]]] = {}
        self._calls: dict[str, int] = {}
        self._sums: dict[str, float] = {}

    def note(self, ticket: int, calls: int, used: Mapping[str, float]) -> None:
        """
        Take in what the *calls* of a ticket have *used* so far, in all.
        """
        before = self._noted.pop(ticket, None)
        if before is not None:
            self._count(*before, -1)
            used = {**before[1], **used}
        self._noted[ticket] = (calls, dict(used))
        self._count(*self._noted[ticket], 1)
        if len(self._noted) > REMEMBERED:
            self._count(*self._noted.pop(next(iter(self._noted))), -1)

    def mean(self, unit: str) -> float | None:
        """
        Return how much of *unit* one call uses in the mean, or None if that is not known.
        """
        calls = self._calls.get(unit, 0)
        return max(0.0, self._sums[unit] / calls) if calls else None

    def fresh(self) -> Usage:
        """
        Return one that expects the same, for tickets of another ledger.
        """
        other = Usage()
        for number, (calls, used) in enumerate(self._noted.values()):
            # No ledger gives out negative tickets.
            other.note(number - REMEMBERED, calls, used)
        return other

    def _count(self, calls: int, used: Mapping[str, float], sign: int) -> None:
        for unit, amount in used.items():
            self._calls[unit] = self._calls.get(unit, 0) + sign * calls
            self._sums[unit] = self._sums.get(unit, 0.0) + sign * amount


class Window:
    """
    Count what passes in each window of *per* seconds, in several *units* at once; a pure ledger without a lock.

    Time is an argument. An instant earlier than one that was given before is taken for that one (two threads read one
    clock and then wait for a lock); if it is earlier by more than a second, it is of another clock, on which what was
    counted has just passed.

    Cost: O(1) amortised for each call, as long as one request waits at a time; memory for what passed in one window.

    Raises:
        GraphError: there is no unit, or a rate or *per* is not a finite number above zero.

    Example:
        >>> window = Window({"requests": 2, "tokens": 100}, per=60)
        >>> ticket = window.take({"requests": 1, "tokens": 80}, now=0)
        >>> window.ready_at({"requests": 1, "tokens": 30}, now=1)
        60
        >>> window.settle(ticket, {"tokens": 50}, now=2)
        >>> window.ready_at({"requests": 1, "tokens": 30}, now=2)
        2
    """

    __slots__ = (
        "_after",
        "_cursor",
        "_entries",
        "_first",
        "_last",
        "_next",
        "_paused_until",
        "_sizes",
        "_used",
        "per",
        "units",
    )

    def __init__(self, units: Mapping[str, float], per: float) -> None:
        # Unit -> how much of it may pass in one window.
        self.units: dict[str, float] = _checked(units)
        if not seconds("Rate(per=…)", per) < math.inf:
            raise GraphError(Fault("bad-limit", "Rate(per=inf): a window has an end, use Budget(…) for a whole run."))
        # Seconds of one window.
        self.per = per
        # What may pass in one window, in grains, in the order of `units`; so are all lists and tuples of amounts.
        self._sizes = [_grains(size) for size in self.units.values()]
        # Ticket -> when it leaves the window, and what it counts for. Tickets are numbered without gaps: those from
        # _first up to and without _next are in the window. Invariant: they leave in the order of their numbers.
        self._entries: dict[int, tuple[float, tuple[int, ...]]] = {}
        self._first = 0
        self._next = 0
        # Invariant: the sums over _entries.
        self._used = [0] * len(self._sizes)
        # Where the last `ready_at` stopped looking. Invariant: _first <= _cursor <= _next, and _after is the sum over
        # the tickets from _cursor on.
        self._cursor = 0
        self._after = [0] * len(self._sizes)
        # The latest instant that anybody gave.
        self._last = -math.inf
        self._paused_until = -math.inf

    def check(self, amounts: Mapping[str, float]) -> None:
        """
        Check that a request of *amounts* can pass at all.

        Raises:
            GraphError: a unit is not one of this rate, an amount is no finite number from 0, or more than the rate.
        """
        self._wanted(amounts)

    def fits(self, amounts: Mapping[str, float], now: float) -> bool:
        """
        Say whether a request of *amounts* may pass at *now*.

        Raises:
            GraphError: it never could, see `check`.
        """
        wanted = self._wanted(amounts)
        now = self._advance(now)
        return now >= self._paused_until and self._leaves_room(self._used, wanted)

    def ready_at(self, amounts: Mapping[str, float], now: float) -> float:
        """
        Return the earliest instant, from *now* on, at which a request of *amounts* fits if nobody else passes.

        Raises:
            GraphError: it never could, see `check`.
        """
        wanted = self._wanted(amounts)
        now = self._advance(now)
        # The first tickets have to leave, up to where those after them leave room. One that waits asks again and
        # again, and what it waits for changes little: so the search starts where it ended the last time.
        after = self._after
        while not self._leaves_room(after, wanted):
            _, counted = self._entries[self._cursor]
            _subtract(after, counted)
            self._cursor += 1
        while self._cursor > self._first:
            leaves, counted = self._entries[self._cursor - 1]
            _add(after, counted)
            if not self._leaves_room(after, wanted):
                _subtract(after, counted)
                return max(leaves, self._paused_until)
            self._cursor -= 1
        return max(now, self._paused_until)

    def take(self, amounts: Mapping[str, float], now: float) -> int:
        """
        Let a request of *amounts* pass at *now*, and return a ticket to settle it with.

        Raises:
            GraphError: it never could pass, see `check`.
            ValueError: it does not fit now.
        """
        wanted = self._wanted(amounts)
        now = self._advance(now)
        if now < self._paused_until or not self._leaves_room(self._used, wanted):
            raise ValueError(f"a request of {dict(amounts)} does not fit at {now}: wait until ready_at")
        ticket = self._next
        self._next += 1
        self._entries[ticket] = (_leaves(now, self.per), tuple(wanted))
        _add(self._used, wanted)
        _add(self._after, wanted)
        return ticket

    def settle(self, ticket: int, used: Mapping[str, float], now: float) -> None:
        """
        Count what the request of *ticket* has really *used*, at the instant at which it passed; what is not named in
        *used* stays as it was.

        It may be more than the request was let through with, and more than the rate: then others wait for longer. A
        request that has left the window does not count any more, whatever it used.

        Raises:
            GraphError: a unit is not one of this rate, or an amount is no finite number from 0.
        """
        real = {name: self._amount(name, amount) for name, amount in used.items()}
        self._advance(now)
        entry = self._entries.get(ticket)
        if entry is None:
            return
        leaves, before = entry
        after = tuple(real.get(name, amount) for name, amount in zip(self.units, before, strict=True))
        self._entries[ticket] = (leaves, after)
        for sums in (self._used, self._after) if ticket >= self._cursor else (self._used,):
            _subtract(sums, before)
            _add(sums, after)

    def pause(self, until: float) -> None:
        """
        Let nobody pass before the instant *until*; the later of two pauses counts.
        """
        self._paused_until = max(self._paused_until, until)

    def resize(self, units: Mapping[str, float]) -> None:
        """
        Change the rates of *units*; what has passed counts as it did.

        Raises:
            GraphError: a unit is not one of this rate, or its rate is not a finite number above zero.
        """
        for name in units:
            self._known(name)
        self.units.update(_checked(units) if units else {})
        self._sizes = [_grains(size) for size in self.units.values()]

    def passed(self, now: float) -> dict[str, float]:
        """
        Return how much of each unit has passed in the window that ends at *now*.
        """
        self._advance(now)
        return {name: used / GRAINS for name, used in zip(self.units, self._used, strict=True)}

    @property
    def paused_until(self) -> float:
        """
        The instant before which nobody passes; minus infinity if there was no pause.
        """
        return self._paused_until

    def _wanted(self, amounts: Mapping[str, float]) -> list[int]:
        for name in amounts:
            self._known(name)
        wanted = [self._amount(name, amounts.get(name, 0)) for name in self.units]
        if any(more > size for more, size in zip(wanted, self._sizes, strict=True)):
            raise self._above(amounts)
        return wanted

    def _known(self, name: str) -> None:
        if name not in self.units:
            hint = suggestion(name, self.units) or f" Its units are: {', '.join(self.units)}."
            raise GraphError(Fault("bad-limit", f"a rate is asked for {name!r}, which it does not count.{hint}"))

    def _amount(self, name: str, amount: object) -> int:
        self._known(name)
        if is_amount(amount):
            return _grains(amount)
        text = f"a rate is asked for {shown(amount)} {name}: an amount is a number, at least 0."
        raise GraphError(Fault("bad-limit", text))

    def _above(self, amounts: Mapping[str, float]) -> GraphError:
        faults = [
            Fault(
                "weight-above-limit",
                f"a request needs {shown(amounts[name])} {name}, but only {size:g} may pass in {self.per:g} s, so it"
                " could never pass: ask for less, or raise the rate.",
            )
            for name, size in self.units.items()
            if amounts.get(name, 0) > size
        ]
        return GraphError(faults)

    def _leaves_room(self, used: list[int], wanted: list[int]) -> bool:
        return all(have + more <= size for have, more, size in zip(used, wanted, self._sizes, strict=True))

    def _advance(self, now: float) -> float:
        """
        Forget what has left the window at *now*, and return the instant that it is taken for.
        """
        if now < self._last:
            if self._last - now <= ANOTHER_CLOCK:
                return self._last
            self._change_clock(now)
        self._last = now
        while self._first < self._next and self._entries[self._first][0] <= now:
            _, counted = self._entries.pop(self._first)
            _subtract(self._used, counted)
            if self._cursor == self._first:
                _subtract(self._after, counted)
                self._cursor += 1
            self._first += 1
        return now

    def _change_clock(self, now: float) -> None:
        leaves = _leaves(now, self.per)
        for ticket, (_, counted) in self._entries.items():
            self._entries[ticket] = (leaves, counted)
        self._paused_until = now + max(0.0, self._paused_until - self._last)


def _leaves(at: float, per: float) -> float:
    """
    Return the first instant that is at least *per* after *at*: their sum, rounded up.
    """
    total = at + per
    # What rounding lost, exactly (Knuth's two-sum, The Art of Computer Programming 2, 4.2.2).
    part = total - at
    lost = (at - (total - part)) + (per - part)
    return math.nextafter(total, math.inf) if lost > 0 else total


def _checked(units: Mapping[str, float]) -> dict[str, float]:
    if not units:
        text = "a rate counts something: use Rate(requests=…), Rate(tokens=…), or another unit by its name."
        raise GraphError(Fault("bad-limit", text))
    for name, size in units.items():
        if not is_amount(size) or size == 0:
            text = f"Rate({name}={shown(size)}): must be a finite number above zero."
            raise GraphError(Fault("bad-limit", text))
    return dict(units)


def _grains(amount: float) -> int:
    return amount * GRAINS if isinstance(amount, int) else round(amount * GRAINS)


def _add(sums: list[int], amounts: tuple[int, ...] | list[int]) -> None:
    for place, amount in enumerate(amounts):
        sums[place] += amount


def _subtract(sums: list[int], amounts: tuple[int, ...]) -> None:
    for place, amount in enumerate(amounts):
        sums[place] -= amount
