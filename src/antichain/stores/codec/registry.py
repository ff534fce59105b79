"""
Types of users that are stored as other data, by functions that the users give.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from antichain.errors import shown

__all__ = ["BY_NAME", "BY_TYPE", "Codec", "label_of", "register_codec", "with_article"]

T = TypeVar("T")

# What is stored in one way only.
BUILT_IN: Final = frozenset(
    (
        *(type(None), bool, int, float, str, bytes, bytearray, list, tuple, set, frozenset, dict, object, Enum),
        *(datetime, date, time, timedelta, Decimal, UUID, PosixPath, PurePosixPath, WindowsPath, PureWindowsPath),
    )
)


class Codec(NamedTuple):
    """
    How one type is stored.
    """

    type: type
    name: str
    encode: Callable[[Any], Any]  # Any: values of the user's type, and what stands for them
    decode: Callable[[Any], Any]


BY_TYPE: Final[dict[type, Codec]] = {}
BY_NAME: Final[dict[str, Codec]] = {}


def label_of(kind: type) -> str:
    """
    Return the name by which a class is known in a store; nothing is ever imported by it.
    """
    return f"{kind.__module__}.{kind.__qualname__}"


def with_article(label: str) -> str:
    """
    Write the name of a class as in "it is an object"; a "u" may be read either way.
    """
    return f"{'an' if label[:1] in tuple('aeioAEIO') else 'a'} {label}"


def register_codec(
    type: type[T],  # noqa: A002  # the word for it
    encode: Callable[[T], Any],  # Any: what can be stored
    decode: Callable[[Any], T],  # Any: the same, read from a store
    *,
    name: str | None = None,
) -> None:
    """
    Store values of exactly *type* as what *encode* makes of them, which *decode* turns back.

    Both run in any process that has called this, before the value is written or read; what they give and take is
    anything that can be stored. The value goes under *name* (the qualified name of the type), which must stay the same
    for as long as there are stores with such values. *decode* is handed what is in the store: it must not trust it.

    Raises:
        ValueError: the type is stored as it is, or the name is taken by another type.

    Example:
        >>> from fractions import Fraction
        >>> from antichain.stores.codec import decode, encode
        >>> register_codec(Fraction, str, Fraction)
        >>> decode(encode({"share": Fraction(1, 3)}))
        {'share': Fraction(1, 3)}
    """
    given: tuple[object, ...] = (type, encode, decode)
    if not isinstance(given[0], _Type) or not callable(given[1]) or not callable(given[2]):
        what = ", ".join(map(shown, given))
        raise TypeError(f"register_codec takes a class and two functions, not {what}")
    if type in BUILT_IN:
        raise ValueError(f"{type.__qualname__} can be stored as it is, and in that way only")
    label = label_of(type)
    codec = Codec(type, name or label, encode, decode)
    known = BY_NAME.get(codec.name)
    # A class that was defined again, as in a notebook, takes the place of the old one.
    if known is not None and known.type is not type and label_of(known.type) != label:
        raise ValueError(f"the name {codec.name!r} is that of {label_of(known.type)}: give {label} another name=")
    previous = BY_TYPE.get(type)
    if previous is not None and previous.name != codec.name:
        del BY_NAME[previous.name]
    BY_TYPE[type] = BY_NAME[codec.name] = codec


_Type = type
