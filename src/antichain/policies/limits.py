"""Named capacities, and how many units of them a node takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeGuard, runtime_checkable

from antichain.errors import Fault, GraphError, shown

__all__ = [
    "AdaptiveLimit",
    "Amounts",
    "LimitValue",
    "SharedLimit",
    "SharedRate",
    "Weighing",
    "as_amounts",
    "as_size",
    "as_uses",
    "as_weighing",
    "is_amount",
    "is_limit",
]

# What is more is no use of anything, but something that was misread.
MOST_AMOUNT: Final = 10**18
# What an attempt takes of rates, by limit and unit, where it says more than a number of calls.
Amounts = Mapping[str, Mapping[str, float]]


@runtime_checkable
class SharedLimit(Protocol):
    """
    A limit that several runs take slots of, from several threads; `antichain.Limit` is one.
    """

    @property
    def size(self) -> int:
        """
        The number of slots in all.
        """
        ...

    @property
    def used(self) -> int:
        """
        The number of slots that are taken now.
        """
        ...

    def resize(self, size: int) -> None:
        """
        Change the number of slots; what is taken stays taken.
        """
        ...

    def acquire(self, weight: int = 1) -> bool:
        """
        Take *weight* slots, together or not at all, and say whether they were taken; never wait.
        """
        ...

    def release(self, weight: int = 1) -> None:
        """
        Give *weight* slots back.
        """
        ...

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time slots came back or the size changed.
        """
        ...

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        ...


@runtime_checkable
class AdaptiveLimit(SharedLimit, Protocol):
    """
    A shared limit that finds its size by what becomes of the attempts that hold it; `antichain.Adaptive` is one.
    """

    @property
    def paused_until(self) -> float:
        """
        The instant before which nobody starts.
        """
        ...

    @property
    def maximum(self) -> int:
        """
        The most slots that there may be one day.
        """
        ...

    def acquire(self, weight: int = 1, now: float | None = None) -> bool:
        """
        Take *weight* slots; with *now*, not while all that use the limit have to wait.
        """
        ...

    def opens_at(self, now: float, weight: int = 1) -> float:
        """
        Return the instant from which attempts that take *weight* may start as far as pauses go, whatever is taken: not
        after *now* if that is at once.
        """
        ...

    def fresh(self) -> AdaptiveLimit:
        """
        Return one of the same bounds and size of which nothing is taken.
        """
        ...

    def succeeded(self, started_at: float, now: float) -> object:
        """
        Hear that an attempt which holds slots has ended well.
        """
        ...

    def overloaded(self, started_at: float, now: float, retry_after: float | None) -> object:
        """
        Hear that an attempt which holds slots was refused because the other side is overloaded.
        """
        ...


@runtime_checkable
class SharedRate(Protocol):
    """
    How much may start in a window of time, for several runs in several threads; `antichain.Rate` is one.
    """

    @property
    def units(self) -> Mapping[str, float]:
        """
        How much of each unit may pass in a window.
        """
        ...

    @property
    def per(self) -> float:
        """
        The seconds of a window.
        """
        ...

    def check(self, amounts: Mapping[str, float]) -> None:
        """
        Refuse what can never pass.
        """
        ...

    def plain(self, weight: int) -> Mapping[str, float]:
        """
        Return what *weight* calls are taken to need of which nothing else is known.
        """
        ...

    def fits(self, amounts: Mapping[str, float], now: float) -> bool:
        """
        Tell whether *amounts* may pass at *now*.
        """
        ...

    def ready_at(self, amounts: Mapping[str, float], now: float) -> float:
        """
        Return the earliest instant at which *amounts* may pass if nobody else does.
        """
        ...

    def join(self) -> int:
        """
        Return a number under which a run stands in line.
        """
        ...

    def stand(
        self, who: int, since: float, amounts: Mapping[str, float], now: float, *, looks_only: bool = False
    ) -> float:
        """
        Return the instant at which the first request of run *who*, which came at *since*, may pass; until then nobody
        passes that came later, unless it *looks_only*.
        """
        ...

    def leave(self, who: int) -> None:
        """
        Let others pass before run *who*, which waits no more.
        """
        ...

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1, who: int | None = None) -> int | None:
        """
        Let *amounts* pass if they fit, and return a ticket; never wait.
        """
        ...

    def settle(self, ticket: int, used: Mapping[str, float], now: float) -> None:
        """
        Put what was really used in place of what was reserved.
        """
        ...

    def give_back(self, ticket: int, now: float) -> None:
        """
        Take that what has passed is not made after all.
        """
        ...

    def fresh(self) -> SharedRate:
        """
        Return one of the same rates through which nothing has passed.
        """
        ...

    @property
    def paused_until(self) -> float:
        """
        The instant before which nobody passes.
        """
        ...

    def pause(self, until: float) -> None:
        """
        Let nothing pass before *until*.
        """
        ...

    def watch(self, callback: Callable[[], object]) -> None:
        """
        Have *callback* called, in whatever thread, each time more may pass than was known.
        """
        ...

    def unwatch(self, callback: Callable[[], object]) -> None:
        """
        Stop calling *callback*; one that is not watching is no error.
        """
        ...


# What may stand behind the name of a limit.
LimitValue = int | SharedLimit | SharedRate


def is_limit(value: object) -> TypeGuard[SharedLimit | SharedRate]:
    """
    Tell whether *value* is an object that counts for itself, not a number and not the class of such objects.
    """
    return isinstance(value, (SharedLimit, SharedRate)) and not isinstance(value, type)


def as_size(name: str, value: object) -> int:
    """
    Check that *value* is a size of a limit: a whole number above zero.

    Raises:
        GraphError: it is not.
    """
    if type(value) is int and value > 0:
        return value
    why = "a limit must be at least 1, else nothing that uses it could ever start"
    if isinstance(value, type):
        why = f"that is a class: call it, {value.__name__}(…)"
    elif type(value) is not int:
        why = "a limit must be a whole number above zero, or a Limit"
    raise GraphError(Fault("bad-limit", f"limit {name!r} is {shown(value)}: {why}."))


class Weighing(NamedTuple):
    """
    Say what an attempt takes of limits beyond whole numbers that are known before.
    """

    # Of rates, where units are named; and the functions of the node's inputs that tell.
    amounts: Amounts
    weights: Mapping[str, Callable[..., Any]]  # Any: a number, or a mapping from units to numbers
    # Says all of it for one item of a map.
    choose: Callable[[Any], Any] | None  # Any: an item; a name, or a mapping from names to weights


def as_uses(value: object) -> tuple[tuple[str, int], ...]:
    """
    Read which limits a node takes: a name, or a mapping from names to weights; sorted by name. Where a weight names
    units, or a function tells it, it counts as one call; a function that chooses the limits for an item of a map
    names none.

    Raises:
        GraphError: *value* is none of that, or a weight is not a whole number above zero.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return ((_name_of(value, value), 1),)
    if not isinstance(value, Mapping):
        if callable(value):
            return ()
        why = "use the name of a limit, or a dict from names to weights"
        raise GraphError(Fault("bad-policy", f"uses={shown(value)}: {why}, e.g. uses={{'llm': 1}}."))
    demand: dict[str, int] = {}
    for name, weight in value.items():
        demand[_name_of(name, value)] = 1
        if type(weight) is int and weight > 0:
            demand[name] = weight
        elif isinstance(weight, Mapping):
            as_amounts(name, weight)
        elif not callable(weight):
            why = "a weight is a whole number of slots, at least 1; on a Rate also a dict from units to numbers"
            raise GraphError(
                Fault("bad-policy", f"uses={shown(value)}: limit {name!r} is taken {shown(weight)} times: {why}.")
            )
    return tuple(sorted(demand.items()))


def _name_of(name: object, uses: object) -> str:
    if isinstance(name, str) and name:
        return name
    why = "is not the name of a limit: names are texts, and not empty"
    raise GraphError(Fault("bad-policy", f"uses={shown(uses)}: {shown(name)} {why}."))


def as_weighing(value: object) -> Weighing | None:
    """
    Read the rest of what `as_uses` reads; None if there is no more to it.
    """
    if not isinstance(value, Mapping):
        return Weighing({}, {}, value) if callable(value) else None
    amounts = {name: as_amounts(name, weight) for name, weight in value.items() if isinstance(weight, Mapping)}
    weights = {name: weight for name, weight in value.items() if callable(weight) and name not in amounts}
    return Weighing(amounts, weights, None) if amounts or weights else None


def as_amounts(limit: str, value: Mapping[Any, Any]) -> dict[str, float]:  # Any: a user's values, not yet checked
    """
    Read how much a call takes of each unit of a rate.

    Raises:
        GraphError: a unit has no name, or an amount is no number from zero up.
    """
    if not value:
        raise GraphError(Fault("bad-policy", f"limit {limit!r} is taken {{}}: name a unit, e.g. {{'tokens': 1200}}."))
    for unit, amount in value.items():
        if not isinstance(unit, str) or not is_amount(amount):
            why = "amounts are numbers from zero up, by the names of units, e.g. {'requests': 1, 'tokens': 1200}"
            raise GraphError(Fault("bad-policy", f"limit {limit!r} is taken {shown(dict(value))}: {why}."))
    return dict(value)


def is_amount(value: object) -> TypeGuard[float]:
    """
    Tell whether *value* is a finite number from zero up.
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_AMOUNT


def as_weight(limit: str, value: object, units: Mapping[str, float]) -> dict[str, float]:
    """
    Read what a function says of how much a node takes of a rate that counts *units*: a mapping from units to numbers,
    or a number, of its only unit, else of its requests.

    Raises:
        GraphError: *value* is none of that.
    """
    if isinstance(value, Mapping):
        return as_amounts(limit, value)
    if is_amount(value):
        unit = next(iter(units)) if len(units) == 1 else "requests"
        return {unit: value}
    why = "a weight is a number, or a dict from units to numbers"
    raise GraphError(Fault("bad-policy", f"the weight of the limit {limit!r} came out as {shown(value)}: {why}."))
