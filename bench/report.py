"""
A line of the report: a figure beside its target.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """
    One figure. *most* is the target (None: reported only), *aim* what we would like.
    """

    what: str
    figure: float
    unit: str
    most: float | None = None
    aim: float | None = None
    note: str = ""

    @property
    def is_missed(self) -> bool:
        return self.most is not None and not self.figure <= self.most

    @property
    def verdict(self) -> str:
        if self.most is None:
            return "reported"
        if self.is_missed:
            return "MISSED"
        return "met, and the aim" if self.aim is not None and self.figure <= self.aim else "met"


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def cells(line: Line) -> list[str]:
    target = "" if line.most is None else f"<= {shown(line.most, line.unit)}"
    return [line.what, shown(line.figure, line.unit), target, shown(line.aim, line.unit), line.verdict, line.note]


def table(lines: Iterable[Line]) -> str:
    head = ["what", "figure", "target", "aim", "verdict", "note"]
    rows = [cells(line) for line in lines]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def row_of(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join([row_of(head), "| " + " | ".join("-" * width for width in widths) + " |", *map(row_of, rows)])
