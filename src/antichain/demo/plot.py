"""
Plots of a provider's time for a terminal: lines of text, in signs that the output can show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["ASCII", "UNICODE", "Signs", "Steps", "Timeline", "chart", "strip"]

# What a value became, and when, in order of time; before the first it was 0.
Steps: TypeAlias = Sequence[tuple[float, int]]


# What sums of fractions of seconds differ by from what they should be.
NOTHING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Signs:
    """
    What plots are drawn with.
    """

    # From nothing to all of a line.
    levels: str
    limit: str
    allowed: str
    axis: str


UNICODE: Final = Signs(" ▁▂▃▄▅▆▇█", "━", "╌", "│")
ASCII: Final = Signs(" .:-=+*%#", "o", "-", "|")


@dataclass(frozen=True, slots=True)
class Timeline:
    """
    What a provider saw of some calls, in seconds since they began.
    """

    seconds: float
    # Calls that were being served.
    in_flight: Steps
    # When one was refused.
    refused: Sequence[float]
    # The size of the limit, where there is one that adapts.
    sizes: Steps = ()


def averages(steps: Steps, column: float, columns: int) -> list[float]:
    """
    Return the mean value in each of some columns of *column* seconds.
    """
    sums = [0.0] * columns
    ends = [*(time for time, _ in steps[1:]), column * columns]
    for (start, value), end in zip(steps, ends, strict=False):
        for number in range(max(0, int(start / column)), min(columns, math.ceil(end / column))):
            sums[number] += value * max(0.0, min(end, (number + 1) * column) - max(start, number * column))
    return [total / column for total in sums]


def counts(times: Sequence[float], column: float, columns: int) -> list[int]:
    """
    Count what happened in each of some columns.
    """
    found = [0] * columns
    for time in times:
        found[min(columns - 1, int(time / column))] += 1
    return found


def strip(values: Sequence[float], most: float, signs: Signs) -> str:
    """
    Draw values as one line; *most* is full height, and what is not nothing, as far as numbers go, is seen.
    """
    top = len(signs.levels) - 1
    heights = [min(top, max(math.ceil(value / most * top - 0.5), int(value > NOTHING))) for value in values]
    return "".join(signs.levels[height] for height in heights).rstrip()


def chart(timeline: Timeline, allowed: int, columns: int, rows: int, signs: Signs) -> list[str]:
    """
    Draw calls in flight as columns, with the size of the limit above them and a line at what is allowed.
    """
    margin = len(str(max(size for _, size in timeline.sizes))) + 2
    columns -= margin
    column = timeline.seconds / columns
    served = averages(timeline.in_flight, column, columns)
    sizes = [round(size) for size in averages(timeline.sizes, column, columns)]
    # Whole numbers a row, so that a row is a size.
    each = max(1, math.ceil(max(*sizes, allowed) / rows))
    lines = []
    for row in range(math.ceil(max(*sizes, allowed) / each), 0, -1):
        low = (row - 1) * each
        full = strip([max(0.0, min(each, value - low)) for value in served], each, signs).ljust(columns)
        line = [
            signs.limit
            if low < size <= low + each
            else signs.allowed
            if low < allowed <= low + each and sign == " "
            else sign
            for size, sign in zip(sizes, full, strict=True)
        ]
        lines.append(f"{low + each:>{margin - 2}} {signs.axis}{''.join(line).rstrip()}")
    return lines
