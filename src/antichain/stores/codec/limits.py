"""
How large a value in a store may be: the same limits when it is written and when it is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Final

from antichain.errors import StoreDamaged

__all__ = ["DEFAULT_LIMITS", "BeyondLimits", "ValueLimits", "crowd", "depth_of", "items_of"]

# Of a set or the keys of a dict, so many may have the same hash: more would take the square of their number to read.
# (A grid of whole numbers in five dimensions has 32: -1 and -2 have the same hash, and so have tuples of them.)
MAX_CROWD: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLimits:
    """
    Bound one value in a store. Reading anything within the default limits takes at most 1 s and 100 MB.

    *depth* is how deep containers and objects may be nested; *items* counts values and keys in its JSON text, where a
    tag takes a few of its own; *size_bytes* is of that text, before compression; *digits* is of one whole number.

    Raises:
        ValueError: one of them is no whole number of at least 1.

    Example:
        >>> from antichain.stores.codec import encode
        >>> encode([1, 2, 3], limits=ValueLimits(items=2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        antichain.errors.NotStorable: output cannot be stored: it has more than 2 items, ...
    """

    # How deep containers and objects may be nested.
    depth: int = 100
    # Values and keys in it, counted in its JSON text, where a tag takes a few of its own.
    items: int = 500_000
    # Of its JSON text, before compression.
    size_bytes: int = 10_000_000
    # Of one whole number, or one Decimal.
    digits: int = 100_000

    def __post_init__(self) -> None:
        for each in fields(self):
            limit = getattr(self, each.name)
            if type(limit) is not int or limit < 1:
                raise ValueError(f"ValueLimits({each.name}={limit!r}): use a whole number of at least 1")


DEFAULT_LIMITS: Final = ValueLimits()


class BeyondLimits(StoreDamaged):
    """
    Say that a stored value is larger than it may be where it is read.
    """


STRING = re.compile(rb'"[^"]*"')
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def items_of(text: bytes, limit: int) -> int:
    """
    Count the values and keys of a JSON text; what is at most *limit* may be counted too high, but not above it.
    """
    counted = _counted(text)
    if counted <= limit:
        return counted
    bare = _without_escapes(text)
    strings = bare.count(b'"') // 2
    return strings if strings > limit else _counted(STRING.sub(b"", bare))


def depth_of(text: bytes, limit: int) -> int:
    """
    Measure how deep a JSON text is nested; what is at most *limit* may be measured too high, but not above it.
    """
    opened = text.count(b"[") + text.count(b"{")
    if opened <= limit:
        return opened
    brackets = STRING.sub(b"", _without_escapes(text)).translate(None, NOT_BRACKETS)
    return max(accumulate(map(STEP.__getitem__, brackets)), default=0)


def crowd(keys: Collection[Hashable]) -> int:
    """
    Return how many of *keys* have the same hash, if that is too many; else 0.
    """
    if len(keys) <= MAX_CROWD:
        return 0
    most = max(Counter(map(hash, keys)).values())
    return most if most > MAX_CROWD else 0


def _counted(text: bytes) -> int:
    return 1 + text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")


def _without_escapes(text: bytes) -> bytes:
    # Of a string, only its quotes and what is no quote are left.
    return text.replace(rb"\\", b"").replace(rb"\"", b"")
