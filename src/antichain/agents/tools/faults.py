"""
What may be wrong with the arguments of a tool call, said so that a model can mend it. Nothing here checks anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from antichain.errors import AntichainError, shown
from antichain.printable import printable

__all__ = ["MAX_FAULTS", "ArgumentFault", "ArgumentsInvalid", "as_path", "as_shown"]

# Faults that are looked for in one argument: a list of a million wrong values is not a million messages.
MAX_FAULTS = 100
# Faults that a message lists; `.faults` has more.
SHOWN_FAULTS = 20
SHOWN_CHARACTERS = 80
SHOWN_KEYS = 5
# Numbers above this are not written out: Python refuses to from 4,300 digits on.
SHOWN_BITS = 256


@dataclass(frozen=True, slots=True)
class ArgumentFault:
    """
    One thing that is wrong with the arguments of a call.

    Args:
        path: where, as `filters[2].year`; empty for the arguments as a whole.
        problem: what, as `should be a valid integer`.
        given: what was there instead, shortened; None if nothing was.
    """

    path: str
    problem: str
    given: str | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.problem}" if self.path else self.problem
        return text if self.given is None else f"{text} (given {self.given})"


class ArgumentsInvalid(AntichainError, TypeError):  # noqa: N818  # public name
    """
    Say everything that is wrong with the arguments of one call of a tool; the tool was not called.

    A TypeError, as for any call with wrong arguments: so it is not retried, since the same call is wrong again.
    """

    tool: str
    faults: tuple[ArgumentFault, ...]

    def __init__(self, tool: str, faults: Iterable[ArgumentFault]) -> None:
        self.tool = tool
        self.faults = tuple(faults)
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"the arguments of tool {self.tool!r} have {_count(len(self.faults))}:"]
        lines += [f"  {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            lines.append(f"  … and {len(self.faults) - SHOWN_FAULTS} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.tool, self.faults), self.__dict__


def _count(faults: int) -> str:
    return "a fault" if faults == 1 else f"{faults} faults"


def as_path(keys: Sequence[object]) -> str:
    """
    Write a path as people do: `("filters", 2, "year")` is `filters[2].year`.
    """
    text = ""
    for key in keys:
        if isinstance(key, str) and key.isidentifier() and len(key) <= SHOWN_CHARACTERS:
            text += f".{key}" if text else key
        elif isinstance(key, str):
            text += f"[{_quoted(key)}]"
        else:
            text += f"[{as_shown(key)}]"
    return printable(text, limit=None)


def as_shown(value: object) -> str:
    """
    Show a value as JSON, cut to a few words: `"many"`, `a list of 3`, `an object with "title", "year"`.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return _quoted(value)
    if type(value) is int and value.bit_length() > SHOWN_BITS:
        return f"a number of {int(value.bit_length() * 0.30103) + 1} digits"
    if type(value) in (int, float):
        return json.dumps(value)
    if type(value) in (list, tuple):
        return _counted(value, "list")
    if type(value) is dict:
        return _counted(value, "object")
    return printable(shown(value))


def _counted(value: Any, kind: str) -> str:  # Any: a list, tuple or dict of anything
    if kind == "list":
        return f"a list of {len(value)}" if value else "an empty list"
    if not value:
        return "an empty object"
    keys = [_quoted(str(key)) for key, _ in zip(value, range(SHOWN_KEYS), strict=False)]
    rest = f" and {len(value) - SHOWN_KEYS} more" if len(value) > SHOWN_KEYS else ""
    return f"an object with {', '.join(keys)}{rest}"


def _quoted(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
    # Escapes what is not a character of its own (lone surrogates), and what would drive a terminal.
    return printable(json.dumps(cut, ensure_ascii=False), limit=None)
