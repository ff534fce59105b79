"""
What JSON can hold: plain values are told from Python's own, and what no JSON text can carry is refused.

No recursion: a model's nesting must not be able to end the program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from antichain.agents.tools.checking import Found
from antichain.agents.tools.faults import MAX_FAULTS

__all__ = ["MAX_BITS", "MAX_DEPTH", "MAX_VALUES", "Look", "is_broken", "look"]

# Lists and objects inside each other. Real schemas stay below ten; parsers and validators give up from 200 on.
MAX_DEPTH = 64
# Values in one argument, all levels together. What is larger belongs into an object of its own, which is not read.
MAX_VALUES = 2_000_000
# Bits of one whole number: about 3,000 digits. Python itself refuses to write more than 4,300.
MAX_BITS = 10_000


class Look(NamedTuple):
    """
    What was seen in a value: whether JSON can hold all of it, and what is wrong with it.
    """

    is_plain: bool
    faults: list[Found]


# In this file, Any is whatever a model, or another tool, made up.


def look(value: Any, at: tuple[object, ...] = ()) -> Look:
    """
    Look through a value at the path *at*: for what is not a number, half characters, and for a size that harms.

    What is neither a JSON value nor a tuple is left alone: it is a Python object, which a model cannot have written.
    """
    is_plain = True
    faults: list[Found] = []
    seen = 0
    # The lists and objects that are open, each with what is left of it; and the key taken last from each.
    opened: list[Iterator[tuple[object, Any]]] = [iter(((None, value),))]
    keys: list[object] = [None]
    while opened:
        for key, part in opened[-1]:
            seen += 1
            keys[-1] = key
            kind = type(part)
            if kind is dict or kind is list or kind is tuple:
                if len(opened) > MAX_DEPTH:
                    problem = f"is nested deeper than {MAX_DEPTH} levels"
                    return Look(is_plain, [*faults, Found(at, problem)])
                opened.append(iter(part.items()) if kind is dict else enumerate(part))
                keys.append(None)
                is_plain = is_plain and (kind is not dict or all(type(name) is str for name in part))
                broken = [name for name in part if is_broken(name)] if kind is dict else []
                faults += [_fault(at, keys, name) for name in broken[: MAX_FAULTS - len(faults)]]
                break
            if kind is str or kind is float or kind is int:
                if is_broken(part):
                    faults.append(_fault(at, keys, part))
                    if len(faults) >= MAX_FAULTS:
                        return Look(is_plain, faults)
            elif part is not None and kind is not bool:
                is_plain = False
        else:
            opened.pop()
            keys.pop()
        if seen > MAX_VALUES:
            problem = f"has more than {MAX_VALUES:,} values"
            return Look(is_plain, [*faults, Found(at, problem)])
    return Look(is_plain, faults)


def is_broken(part: object) -> bool:
    """
    Say whether a text, a float or a whole number is one that no JSON text can carry.
    """
    if type(part) is str:
        return not part.isascii() and any("\ud800" <= character <= "\udfff" for character in part)
    if type(part) is float:
        return not math.isfinite(part)
    return type(part) is int and part.bit_length() > MAX_BITS


def _fault(at: tuple[object, ...], keys: list[object], part: object) -> Found:
    if type(part) is str:
        problem = "has half a character in it (a lone surrogate), which no text can hold"
    elif type(part) is float:
        problem = "should be a finite number"
    else:
        problem = f"is too large a number: use at most {MAX_BITS} bits"
    return Found((*at, *[key for key in keys[1:] if key is not None]), problem, part)
