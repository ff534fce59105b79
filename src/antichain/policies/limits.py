"""Named capacities, and how many units of them a node takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from antichain.errors import Fault, GraphError, shown

__all__ = ["SharedLimit", "as_size", "as_uses"]


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


def as_size(name: str, value: object) -> int:
    """
    Check that *value* is a size of a limit: a whole number above zero.

    Raises:
        GraphError: it is not.
    """
    if type(value) is int and value > 0:
        return value
    why = "a limit must be at least 1, else nothing that uses it could ever start"
    if type(value) is not int:
        why = "a limit must be a whole number above zero, or a Limit"
    raise GraphError(Fault("bad-limit", f"limit {name!r} is {shown(value)}: {why}."))


def as_uses(value: object) -> tuple[tuple[str, int], ...]:
    """
    Read which limits a node takes: a name, or a mapping from names to weights; sorted by name.

    Raises:
        GraphError: *value* is neither, or a weight is not a whole number above zero.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return ((value, 1),)
    if not isinstance(value, Mapping):
        why = "use the name of a limit, or a dict from names to weights"
        raise GraphError(Fault("bad-policy", f"uses={shown(value)}: {why}, e.g. uses={{'llm': 1}}."))
    for name, weight in value.items():
        if not isinstance(name, str):
            raise GraphError(Fault("bad-policy", f"uses={shown(value)}: {shown(name)} is not the name of a limit."))
        if type(weight) is not int or weight < 1:
            why = "a weight is a whole number of slots, at least 1"
            raise GraphError(
                Fault("bad-policy", f"uses={shown(value)}: limit {name!r} is taken {shown(weight)} times: {why}.")
            )
    return tuple(sorted(value.items()))
