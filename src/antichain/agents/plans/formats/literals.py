"""
Arguments as Python and LLMCompiler write them: `"x", [1, 2], limit=3, $1`. Literals are read, nothing is evaluated.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NoReturn, Protocol

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import SHOWN_CHARACTERS, Unreadable, quoted
from antichain.agents.plans.formats.values import joined

# Only single characters are repeated possessively (`*+`): until 3.11.5, Python repeats groups of alternatives wrongly
# (python/cpython#106052).
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_STRING: Final = re.compile(r'([uUrR]?)("""|\'\'\'|"|\')')
# The rest of a string, up to its quote.
_REST: Final = {
    '"': re.compile(r'([^"\\]*+(?:\\.[^"\\]*+)*)"', re.DOTALL),
    "'": re.compile(r"([^'\\]*+(?:\\.[^'\\]*+)*)'", re.DOTALL),
    '"""': re.compile(r'((?:[^"\\]++|\\.|"(?!""))*)"""', re.DOTALL),
    "'''": re.compile(r"((?:[^'\\]++|\\.|'(?!''))*)'''", re.DOTALL),
}
_ESCAPE: Final = re.compile(r"\\(\r?\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|[\s\S])")
_ESCAPED: Final = dict(zip("\\'\"abfnrtv", "\\'\"\a\b\f\n\r\t\v", strict=True))
_NUMBER: Final = re.compile(r"[+-]?(?:(?:\d[\d_]*+)?\.\d[\d_]*+|\d[\d_]*+\.?)(?:[eE][+-]?\d++)?(?![\w.])")
_WHOLE: Final = re.compile(r"[+-]?\d[\d_]*+")
_NAME: Final = re.compile(r"[A-Za-z_]\w*+")
# The path is taken whole or not at all.
_REFERENCE: Final = re.compile(r"\$(?:\{[^{}\s]{1,200}\}|\d{1,9}(?=((?:\.[A-Za-z_]\w*+|\[\d{1,9}\])*))\1)(?!\w)")
_WORDS: Final = {"None": None, "True": True, "False": False, "null": None, "true": True, "false": False}

# In this file, Any is a JSON value.


class NotLiteral(ValueError):  # noqa: N818  # reads as a state
    """
    Say that a text is not a list of literals; it may be meant as it is.
    """


class Writer(Protocol):
    """
    Write texts and references of a plan in our form.
    """

    def in_text(self, text: str) -> str:
        """
        Return *text*, which may have references in it.
        """
        ...

    def alone(self, reference: str) -> str:
        """
        Return a reference that stands outside of any text.
        """
        ...


def read_arguments(text: str, bounds: ReadingBounds, writer: Writer) -> list[Any] | dict[str, Any]:
    """
    Read arguments by position as a list, or by name as a dict. Tuples are lists.

    Raises:
        NotLiteral: it is something else.
        Unreadable: it holds what a plan may not hold.
    """
    return _Literals(text, bounds, writer).arguments()


class _Literals:
    def __init__(self, text: str, bounds: ReadingBounds, writer: Writer) -> None:
        self._text = text
        self._bounds = bounds
        self._writer = writer
        self._at = 0

    def arguments(self) -> list[Any] | dict[str, Any]:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        while not self._skips_to_end():
            name = self._argument_name()
            value = self._value(1)
            if name is None:
                positional.append(value)
            elif name in named:
                raise Unreadable(f"the argument {quoted(name)} is given twice")
            else:
                named[name] = value
            if not self._takes(",") and not self._skips_to_end():
                raise NotLiteral
        if positional and named:
            raise Unreadable("some arguments are given by position, others by name: give all of them by name")
        return named or positional

    def _skips_to_end(self) -> bool:
        self._skip()
        return self._at == len(self._text)

    def _argument_name(self) -> str | None:
        found = _NAME.match(self._text, self._at)
        if found is None:
            return None
        after = _SPACE.match(self._text, found.end())
        end = after.end() if after is not None else found.end()
        if not self._text.startswith("=", end) or self._text.startswith("==", end):
            return None
        self._at = end + 1
        return found.group()

    # -- values

    def _value(self, depth: int) -> Any:
        if depth > self._bounds.depth:
            raise Unreadable(f"it is nested deeper than {self._bounds.depth} levels")
        self._skip()
        if _STRING.match(self._text, self._at) is not None:
            return self._writer.in_text(self._string())
        if self._takes("["):
            return self._items("]", depth)[0]
        if self._takes("("):
            items, has_comma = self._items(")", depth)
            # As in Python: one thing in parentheses is that thing.
            return items if has_comma or not items else items[0]
        if self._takes("{"):
            return self._pairs(depth)
        if (found := _REFERENCE.match(self._text, self._at)) is not None:
            self._at = found.end()
            return self._writer.alone(found.group())
        if (found := _NUMBER.match(self._text, self._at)) is not None:
            self._at = found.end()
            return self._number(found.group())
        if (found := _NAME.match(self._text, self._at)) is not None and found.group() in _WORDS:
            self._at = found.end()
            return _WORDS[found.group()]
        raise NotLiteral

    def _items(self, closer: str, depth: int) -> tuple[list[Any], bool]:
        items: list[Any] = []
        has_comma = False
        while not self._takes(closer):
            items.append(self._value(depth + 1))
            if self._takes(","):
                has_comma = True
            elif not self._takes(closer):
                raise NotLiteral
            else:
                break
        return items, has_comma

    def _pairs(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not self._takes("}"):
            self._skip()
            if _STRING.match(self._text, self._at) is None:
                raise NotLiteral
            key = self._string()
            if key in pairs:
                raise Unreadable(f"the key {quoted(key)} is given twice in one object")
            if not self._takes(":"):
                raise NotLiteral
            pairs[key] = self._value(depth + 1)
            if not self._takes(","):
                self._must_take("}")
                break
        return pairs

    def _string(self) -> str:
        """
        Read a string, and those that follow it directly, as Python does.
        """
        parts = []
        while (found := _STRING.match(self._text, self._at)) is not None:
            prefix, quote = found.groups()
            rest = _REST[quote].match(self._text, found.end())
            if rest is None:
                raise NotLiteral
            parts.append(rest.group(1) if prefix in "rR" and prefix else _ESCAPE.sub(_unescaped, rest.group(1)))
            self._at = rest.end()
            self._skip()
        return joined("".join(parts))

    def _number(self, digits: str) -> int | float:
        if _WHOLE.fullmatch(digits):
            if len(digits) > self._bounds.digits:
                raise Unreadable(f"a number has {len(digits):,} digits; at most {self._bounds.digits} are read")
            return int(_plain(digits))
        number = float(_plain(digits))
        if not math.isfinite(number):
            raise Unreadable(f"the number {digits[:SHOWN_CHARACTERS]} is too large")
        return number

    # -- characters

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _takes(self, character: str) -> bool:
        self._skip()
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def _must_take(self, character: str) -> None:
        if not self._takes(character):
            raise NotLiteral


def _plain(digits: str) -> str:
    if not digits.isascii() or "__" in digits or digits.endswith("_"):
        _refuse()
    return digits.replace("_", "")


def _refuse() -> NoReturn:
    raise NotLiteral


def _unescaped(found: re.Match[str]) -> str:
    what = found.group(1)
    if what in _ESCAPED:
        return _ESCAPED[what]
    if what in ("\n", "\r\n"):
        return ""
    if what[0] in "xuU" and len(what) > 1:
        code = int(what[1:], 16)
        if code > 0x10FFFF:
            raise NotLiteral
        return chr(code)
    if what[0] in "01234567":
        return chr(int(what, 8))
    # As Python does: an unknown escape stays as it is.
    return found.group()
