"""
Values that a model wrote into a step: how large they are, what JSON cannot hold, and where they refer to outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from antichain.agents.plans.references import BadReference, read_text
from antichain.agents.tools.faults import as_path, as_shown

__all__ = ["ArgumentReader", "Bulky", "what", "weigh"]

# Bits of a whole number, about 1,200 digits: Python itself refuses to write more than 4,300.
MAX_BITS: Final = 4_096
# Faults that are listed of one step.
MAX_FAULTS: Final = 20

# In this file, Any is whatever a model, or the program that reads one, made up.


class Bulky(ValueError):  # noqa: N818  # never leaves the package
    """
    Say that a value is larger, or deeper, than it may be.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def weigh(value: Any, room: int, max_nesting: int, around: int = 0) -> int:
    """
    Return the characters of all texts in *value*, and one for each value. No recursion, no copy, no repr.

    Raises:
        Bulky: there are more than *room*, or lists and objects are nested deeper than *max_nesting*, not counting those
            that are *around* them.
    """
    weight = 0
    opened: list[Iterator[Any]] = [iter((value,))]
    while opened:
        for part in opened[-1]:
            weight += 1
            kind = type(part)
            if kind is str or kind is bytes or kind is bytearray:
                weight += len(part)
            elif kind is dict or kind is list:
                if len(opened) > max_nesting + around:
                    raise Bulky("too-nested", f"is nested deeper than {max_nesting} levels (max_nesting)")
                opened.append(_parts(part) if kind is dict else iter(part))
                break
            if weight > room:
                raise Bulky("too-large", "goes beyond the size that a plan may have (max_bytes)")
        else:
            opened.pop()
    return weight


def _parts(given: dict[Any, Any]) -> Iterator[Any]:
    for key, value in given.items():
        # A key that is a tuple of tuples counts as one thing: it is refused anyway.
        yield key
        yield value


class ArgumentReader:
    """
    Read the arguments of one step, once they have been weighed: copy them, with references in place of texts.
    """

    def __init__(self, max_nesting: int) -> None:
        self._max_nesting = max_nesting
        # Codes and messages.
        self.faults: list[tuple[str, str]] = []

    def read(self, value: Any, at: tuple[object, ...] = ()) -> Any:
        """
        Return a copy of *value*, which is at the path *at*; what is wrong with it is in `faults`.
        """
        kind = type(value)
        if kind is str:
            return self._text(value, at)
        if kind is dict:
            return {self._key(key, at): self.read(part, (*at, key)) for key, part in value.items()}
        if kind is list:
            return [self.read(part, (*at, number)) for number, part in enumerate(value)]
        if kind is float and not math.isfinite(value):
            self.fault("bad-value", at, f"{value} is no number: JSON has neither NaN nor Infinity")
        elif kind is int and value.bit_length() > MAX_BITS:
            self.fault("bad-value", at, f"{as_shown(value)} is too long: give it as a text")
        elif value is not None and kind not in (bool, int, float):
            self.fault("bad-value", at, f"{what(value)} is nothing that JSON can hold")
        return value

    def _text(self, text: str, at: tuple[object, ...]) -> Any:
        if _is_broken(text):
            self.fault("bad-value", at, "has half a character in it (a lone surrogate), which no text can hold")
            return text
        try:
            return read_text(text, self._max_nesting)
        except BadReference as bad:
            self.fault("bad-reference", at, str(bad))
            return text

    def _key(self, key: Any, at: tuple[object, ...]) -> Any:
        if type(key) is not str:
            self.fault("bad-value", at, f"has the name {what(key)}: names are texts")
        elif _is_broken(key):
            self.fault("bad-value", at, "has a name with half a character in it (a lone surrogate)")
        return key

    def fault(self, code: str, at: tuple[object, ...], problem: str) -> None:
        """
        Note what is wrong with the value at the path *at*.
        """
        if len(self.faults) < MAX_FAULTS:
            self.faults.append((code, f"args{'.' if at and isinstance(at[0], str) else ''}{as_path(at)}: {problem}"))


def _is_broken(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def what(value: Any) -> str:
    """
    Show a value that is not what it should be, whatever it is and however large.
    """
    if value is None or type(value) in (bool, int, float, str, list, tuple, dict):
        return as_shown(value)
    return f"a {type(value).__name__}"
