"""
JSON values as strictly as a plan needs them: no key twice, no NaN, no huge number, no half character.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import SHOWN_CHARACTERS, Unreadable, quoted

# Where half characters may come from: an escape, or a text that was cut between the halves of one.
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_HALVES: Final = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")

# In this file, Any is a JSON value.


def read_json(text: str, bounds: ReadingBounds) -> Any:
    """
    Read one JSON value, whose nesting is known to be within bounds.

    Raises:
        Unreadable: it is no JSON, or holds what a plan may not hold.
    """

    def whole(digits: str) -> int:
        if len(digits) > bounds.digits:
            raise Unreadable(f"a number has {len(digits):,} digits; at most {bounds.digits} are read")
        return int(digits)

    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_of_distinct,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=whole,
        )
    except json.JSONDecodeError as error:
        raise Unreadable(f"malformed JSON: {_said(error)} near {_near(text, error.pos)}") from None
    # At the speed of C first; texts are looked at one by one only where a half may be.
    return checked(value, bounds) if _HALF.search(text) else value


def checked(value: Any, bounds: ReadingBounds) -> Any:
    """
    Return *value*, which came as Python objects, as a copy that is within bounds; other objects are kept as they are.

    Raises:
        Unreadable: it holds what a plan may not hold.
    """
    return _Check(bounds).of(value, 0)


def joined(text: str) -> str:
    """
    Put the halves of characters together that came one by one.

    Raises:
        Unreadable: a half is left.
    """
    if text.isascii():
        return text
    text = _HALVES.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text)
    if re.search("[\ud800-\udfff]", text):
        raise Unreadable(f"the text {quoted(text)} has half a character in it (a lone surrogate)")
    return text


class _Check:
    def __init__(self, bounds: ReadingBounds) -> None:
        self._bounds = bounds
        # Values and characters that may still come. It also ends what holds itself many times.
        self._left = bounds.step_characters

    def of(self, value: Any, depth: int) -> Any:
        """
        Return a checked copy of a value at that depth.
        """
        if depth > self._bounds.depth:
            raise Unreadable(f"it is nested deeper than {self._bounds.depth} levels")
        self._left -= len(value) if isinstance(value, str) else 1
        if self._left < 0:
            raise Unreadable(f"it is larger than {self._bounds.step_characters:,} characters")
        if isinstance(value, str):
            return joined(value)
        if isinstance(value, Mapping):
            return _object_of_distinct([(self._key(key), self.of(part, depth + 1)) for key, part in value.items()])
        if isinstance(value, (list, tuple)):
            return [self.of(part, depth + 1) for part in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise Unreadable(f"{value} is no number that JSON has")
        if type(value) is int and value.bit_length() > self._bounds.digits * 3.33:
            raise Unreadable(f"a number has more than {self._bounds.digits} digits")
        return value

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise Unreadable(f"the key {quoted(key)} is no text")
        self._left -= len(key)
        return joined(key)


def _object_of_distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Unreadable(f"the key {quoted(key)} is given twice in one object")
            seen.add(key)
    return value


def _refuse_constant(word: str) -> NoReturn:
    raise Unreadable(f"{word} is no number that JSON has")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Unreadable(f"the number {digits[:SHOWN_CHARACTERS]} is too large")
    return number


def _said(error: json.JSONDecodeError) -> str:
    return error.msg[0].lower() + error.msg[1:]


def _near(text: str, position: int) -> str:
    return quoted(text[max(0, position - SHOWN_CHARACTERS // 2) : position + SHOWN_CHARACTERS // 2])
