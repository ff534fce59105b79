"""
Sources: where one argument comes from, read from a run's list of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

__all__ = [
    "MISSING",
    "REQUIRED",
    "DictSource",
    "ListSource",
    "LiteralSource",
    "PathSource",
    "Prepared",
    "SlotSource",
    "Source",
]


class _Marker:
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


# What a slot holds while there is no value: the node has not succeeded.
MISSING: Final = _Marker("MISSING")
# The default of an input that has none.
REQUIRED: Final = _Marker("REQUIRED")


# In all sources, Any is a user's value.


class Source(Protocol):
    """
    Find one argument in the values of a run.
    """

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the argument, or MISSING if what it comes from is not there.
        """
        ...


class SlotSource:
    """
    The value in one slot: a node's output, a run input, a literal.
    """

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the value, or MISSING.
        """
        return values[self.slot]


class PathSource:
    """
    A part of the value in one slot.
    """

    __slots__ = ("keys", "slot")

    def __init__(self, slot: int, keys: tuple[Any, ...]) -> None:
        self.slot = slot
        self.keys = keys

    def get(self, values: Sequence[Any]) -> Any:
        """
        Follow the keys into the value, or return MISSING.
        """
        value = values[self.slot]
        if value is MISSING:
            return value
        for key in self.keys:
            if isinstance(key, str) and not isinstance(value, Mapping) and hasattr(value, key):
                value = getattr(value, key)
            else:
                value = value[key]
        return value


class LiteralSource:
    """
    A value that is known before the run.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the value.
        """
        return self.value


class ListSource:
    """
    A list (or tuple) of what several sources give; holds only what is there.
    """

    __slots__ = ("kind", "sources")

    def __init__(self, sources: list[Source], kind: Callable[[list[Any]], Any] = list) -> None:
        self.sources = sources
        self.kind = kind

    def get(self, values: Sequence[Any]) -> Any:
        """
        Collect what is there.
        """
        found = [source.get(values) for source in self.sources]
        return self.kind([value for value in found if value is not MISSING])


class DictSource:
    """
    A dict of what several sources give; holds only what is there.
    """

    __slots__ = ("sources",)

    def __init__(self, sources: dict[Any, Source]) -> None:
        self.sources = sources

    def get(self, values: Sequence[Any]) -> Any:
        """
        Collect what is there.
        """
        found = {key: source.get(values) for key, source in self.sources.items()}
        return {key: value for key, value in found.items() if value is not MISSING}


class Prepared:
    """
    All arguments of a node at once, by parameter, as a function makes them from the outputs of what it depends on.

    Given to a node in place of sources; the function is called on the loop, for every attempt.
    """

    __slots__ = ("made_from", "make")

    def __init__(self, make: Callable[[Mapping[str, Any]], dict[str, Any]], made_from: object = None) -> None:
        self.make = make
        # Plain data that is another one where the function makes other arguments of the same outputs: by it, a run that
        # goes on knows whether a step is the one that it was.
        self.made_from = made_from
