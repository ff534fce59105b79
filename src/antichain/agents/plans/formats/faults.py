"""
What may be wrong with the text of a plan, said so that the model that wrote it can mend it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from antichain.printable import printable

SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class FormatFault:
    """
    One thing that is wrong with the text of a plan.

    Args:
        position: which step it is about, counted from 1.
        step_id: the id of that step, where it was seen.
        problem: what is wrong, in a sentence fit for the model.
    """

    position: int
    step_id: str | int | None
    problem: str

    def __str__(self) -> str:
        name = f"step {self.position}" if self.step_id is None else f"step {self.position} (id {quoted(self.step_id)})"
        return f"{name}: {self.problem}"


class Unreadable(ValueError):  # noqa: N818  # reads as a state
    """
    Say why something is no value that a plan may hold.
    """


def quoted(value: object) -> str:
    """
    Show what a model wrote: shortened, in one line, and never a character that could not be sent.
    """
    if isinstance(value, str):
        cut = value if len(value) <= SHOWN_CHARACTERS else f"{value[: SHOWN_CHARACTERS - 1]}…"
        return printable(json.dumps(cut, ensure_ascii=False), limit=None)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if type(value) is int:
        return str(value) if value.bit_length() < 100 else "a huge number"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else type(value).__name__
