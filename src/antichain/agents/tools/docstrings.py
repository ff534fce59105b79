"""
What a docstring says: the description, and one for each parameter; in the styles of Google, NumPy and Sphinx.

Nothing here calls or imports anything: a docstring is a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import NamedTuple

__all__ = ["Docstring", "read_docstring"]

# Titles of the sections that Google's style ends with a colon and NumPy's underlines.
PARAMETERS = {"args", "arguments", "parameters", "params", "other parameters", "keyword args", "keyword arguments"}
OTHERS = {"attributes", "example", "examples", "note", "notes", "raises", "references", "return", "returns"}
OTHERS |= {"see also", "todo", "usage", "warning", "warnings", "warns", "yield", "yields"}

# `name: text`, `name (type): text`, `*names: text`
GOOGLE_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\([^\n]*?\))?\s*:(?:\s+(?P<text>.*))?$")
# `name`, `name : type`, `first, second : type`
NUMPY_ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
# `:param name: text`, `:param type name: text`, and what else starts a field.
SPHINX_ENTRY = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:\n]*\s)?\*{0,2}(?P<name>\w+)\s*:(?P<text>.*)$"
)
SPHINX_FIELD = re.compile(r":[A-Za-z]+(?:\s[^:\n]*)?:(?:\s|$)")


class Docstring(NamedTuple):
    """
    The description, and the descriptions of parameters by name.
    """

    description: str
    parameters: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """
    Read a docstring of any of the three styles; what is in no known section belongs to the description.
    """
    lines = cleandoc(text or "").splitlines()
    description: list[str] = []
    parameters: dict[str, str] = {}
    position = 0
    while position < len(lines):
        if SPHINX_FIELD.match(lines[position]):
            end = _end_of_block(lines, position + 1)
            parameters.update(_sphinx(lines[position:end]))
        elif (title := _numpy_title(lines, position)) is not None:
            end = _end_of_numpy(lines, position + 2)
            if title in PARAMETERS:
                parameters.update(_numpy(lines[position + 2 : end]))
        elif (title := _google_title(lines, position)) is not None:
            end = _end_of_block(lines, position + 1)
            if title in PARAMETERS:
                parameters.update(_google(lines[position + 1 : end]))
        else:
            end = position + 1
            description.append(lines[position])
        position = end
    return Docstring(_joined(description, "\n"), {name: text for name, text in parameters.items() if text})


def _numpy_title(lines: list[str], position: int) -> str | None:
    title = lines[position].strip().lower()
    below = lines[position + 1].strip() if position + 1 < len(lines) else ""
    return title if title in PARAMETERS | OTHERS and len(below) >= 3 and set(below) == {"-"} else None


def _google_title(lines: list[str], position: int) -> str | None:
    line = lines[position]
    title = line.rstrip().removesuffix(":").lower()
    if not line.rstrip().endswith(":") or title not in PARAMETERS | OTHERS:
        return None
    below = lines[position + 1] if position + 1 < len(lines) else ""
    return title if below.startswith((" ", "\t")) else None


def _end_of_block(lines: list[str], position: int) -> int:
    """
    Find the first line that is not indented any more.
    """
    while position < len(lines) and (not lines[position] or lines[position][0].isspace()):
        position += 1
    return position


def _end_of_numpy(lines: list[str], position: int) -> int:
    while position < len(lines) and _numpy_title(lines, position) is None:
        position += 1
    return position


def _sphinx(block: list[str]) -> Iterator[tuple[str, str]]:
    entry = SPHINX_ENTRY.match(block[0])
    if entry is not None:
        yield entry["name"], _joined([entry["text"], *block[1:]])


def _google(block: list[str]) -> Iterator[tuple[str, str]]:
    for head, rest in _entries(block):
        entry = GOOGLE_ENTRY.match(head)
        if entry is not None:
            yield entry["name"], _joined([entry["text"] or "", *rest])


def _numpy(block: list[str]) -> Iterator[tuple[str, str]]:
    for head, rest in _entries(block):
        entry = NUMPY_ENTRY.match(head)
        if entry is not None:
            for name in entry["names"].split(","):
                yield name.strip(" *"), _joined(rest)


def _entries(block: list[str]) -> Iterator[tuple[str, list[str]]]:
    """
    Part a section at the lines that are indented the least: each with what is indented below it.
    """
    depths = [len(line) - len(line.lstrip()) for line in block if line.strip()]
    head: str | None = None
    rest: list[str] = []
    for line in block:
        if line.strip() and len(line) - len(line.lstrip()) == min(depths):
            if head is not None:
                yield head, rest
            head, rest = line.strip(), []
        else:
            rest.append(line)
    if head is not None:
        yield head, rest


def _joined(lines: Iterable[str], by: str = " ") -> str:
    return by.join(line.strip() if by == " " else line for line in lines if by != " " or line.strip()).strip()
