"""
How much of a plan is read, since nobody knows what a model will write.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingBounds:
    """
    Say how much of a plan's text is read, and how large its parts may be.

    Args:
        plan_characters: of the whole text; reading stops there.
        step_characters: of one step, or of the arguments of one call. This is also what is held in memory.
        depth: lists and objects inside each other, in one step.
        digits: of one whole number.
        open_calls: tool calls that are being written at the same time.
    """

    plan_characters: int = 2_000_000
    step_characters: int = 200_000
    depth: int = 50
    digits: int = 300
    open_calls: int = 256
