"""
From a value that JSON has already to bytes: checked in one pass and written at once. Most values are that, and so
nothing of what writes the others is loaded before there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from antichain.stores.codec.form import PLAIN, as_json, pack, too_much
from antichain.stores.codec.limits import DEFAULT_LIMITS, ValueLimits

__all__ = ["MAX_PLAIN", "SCALARS", "encode", "is_plain", "plainly"]

# In this file, Any is the user's value.

SCALARS: Final = frozenset([type(None), bool, str])
SIMPLE: Final[dict[Any, bytes]] = {None: PLAIN + b"null", True: PLAIN + b"true", False: PLAIN + b"false"}
PLAIN_NUMBER: Final = PLAIN + b"%d"
# Whole numbers below this are written in digits: any Python can read them, whatever its limit for texts of numbers is.
MAX_PLAIN: Final = 10**600


def encode(
    value: Any,
    *,
    limits: ValueLimits = DEFAULT_LIMITS,
    compress: bool = False,
    redact: Callable[[str], str] | None = None,
    name: str = "output",
) -> bytes:
    """
    Turn *value* into bytes from which `decode` makes an equal one.

    With *redact*, every text in it, keys too, is replaced by what that function makes of it (also of bytes, as text).
    With *compress*, what that makes smaller is compressed; the bytes say so. *name* is what the value is called where
    one cannot be stored.

    Raises:
        NotStorable: what is not, where in the value it is, and what to do.

    Example:
        >>> encode({"rows": [1, 2.5, None]})[1:]
        b'{"rows":[1,2.5,null]}'
        >>> encode((1, b"x"))[1:]
        b'{"$tuple":[1,{"$bytes":"eA=="}]}'
    """
    if redact is None:
        kind = type(value)
        if kind is int and -MAX_PLAIN < value < MAX_PLAIN:
            number: bytes = PLAIN_NUMBER % value
            if len(number) <= limits.size_bytes:
                return number
        if kind in SCALARS and kind is not str:
            return SIMPLE[value]
        plain = plainly(value, limits, as_json)
        if plain is not None:
            return pack(plain, 0, compress=True) if compress else PLAIN + plain
    from antichain.stores.codec.writing import encode_slowly

    return encode_slowly(value, limits, redact, name, compress=compress)


def is_plain(value: Any, limits: ValueLimits) -> bool:
    """
    Say whether *value* can be written as JSON as it is, and is not too large for one look at everything in it.
    """
    level, items = [value], 0
    for depth in range(limits.depth + 1):
        below: list[Any] = []
        for each in level:
            kind = type(each)
            if kind in SCALARS:
                continue
            if kind is int:
                if not -MAX_PLAIN < each < MAX_PLAIN:
                    return False
            elif kind is float:
                if each - each != 0.0:  # neither infinite nor a NaN
                    return False
            elif depth == limits.depth:
                return False  # nested too deep, if it is anything that is nested
            elif kind is dict:
                for key in each:
                    if type(key) is not str:
                        return False
                below += each.values()
            elif kind is list:
                below += each
            else:
                return False
        items += len(below)
        if not below or items > limits.items:
            return not below
        level = below
    return False


def plainly(value: Any, limits: ValueLimits, write: Callable[[Any], str]) -> bytes | None:
    """
    Write plain data; None if it is anything else, or too large.
    """
    if not is_plain(value, limits):
        return None
    try:
        text = write(value).encode()
    except (TypeError, ValueError, RecursionError):  # it has changed meanwhile, or has a text that is none
        return None
    # What is shorter than there may be items cannot have more; how deep it is, was looked at.
    if len(text) < limits.items and len(text) <= limits.size_bytes:
        return text
    return None if too_much(text, 0, limits) else text
