"""
How large a plan may be: whoever wrote it may not make the program slow, or fill its memory.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from antichain.errors import Fault, GraphError, shown

__all__ = ["Caps"]

# Tools take no arguments that are nested deeper.
MOST_NESTING: Final = 60


@dataclass(frozen=True, slots=True)
class Caps:
    """
    Bound what one plan may hold. What goes beyond is a fault of the plan.

    Raises:
        GraphError: a cap is not a whole number, or less than 1, or `max_nesting` more than 60.
    """

    # Steps in all.
    max_steps: int = 100
    # Steps of which each waits for the one before.
    max_depth: int = 25
    # Characters of the whole plan as it is written; and of the texts that one step's references are put into.
    max_bytes: int = 1_000_000
    # Lists and objects inside each other in the arguments of a step; parts of the path of a reference.
    max_nesting: int = 32

    def __post_init__(self) -> None:
        faults = []
        for field in fields(self):
            given = getattr(self, field.name)
            if type(given) is not int or given < 1:
                text = f"{field.name}={shown(given)}: must be a whole number, at least 1."
                faults.append(Fault("bad-policy", text))
        if not faults and self.max_nesting > MOST_NESTING:
            text = f"max_nesting={self.max_nesting}: must be at most {MOST_NESTING}; values are not read any deeper."
            faults.append(Fault("bad-policy", text))
        if faults:
            raise GraphError(faults, "plan")
