"""
References: the texts in a step's arguments that stand for outputs of other steps. Read once, when the step arrives;
filled when it starts.

Whoever wrote them is not trusted. A path goes through keys, positions and declared fields, and nothing else: there is
no attribute of a value, no expression and no variable of the program that a plan could name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from antichain.agents.calls.texts import encodable
from antichain.agents.plans.refusal import beginning, written
from antichain.errors import named, shown
from antichain.printable import printable

__all__ = [
    "STEP_ID",
    "BadReference",
    "MissingValue",
    "Reference",
    "Text",
    "fill",
    "paths_in",
    "read_text",
    "references_in",
]

# Ids that a reference can name.
STEP_ID: Final = re.compile(r"\w[\w-]{0,63}")
_INDEX: Final = r"\[-?[0-9]{1,9}\]"
_KEY: Final = r"\.[^.\[\]{}$\n]+"
_PLAIN: Final = re.compile(rf"\$(\w[\w-]*)((?:\.[\w-]+|{_INDEX})*)")
# Between marks, keys may have spaces.
_CLOSED: Final = re.compile(rf"\$(\w[\w-]*)((?:{_KEY}|{_INDEX})*)\$")
_BRACED: Final = re.compile(rf"\$\{{\s*(\w[\w-]*)((?:{_KEY}|{_INDEX})*)\s*\}}")
# What is put into a longer text, and what stands for a dollar.
_INSIDE: Final = re.compile(r"\$\$|\$\{[^{}\n]*\}?")
# What was most likely meant to be a reference.
_BROKEN: Final = re.compile(r"\$[^\W\d]\w*[.\[]\S*")
_PARTS: Final = re.compile(r"\.([^.\[]+)|\[(-?[0-9]+)\]")
_FORM: Final = "write $step, $step.key, $step[0] or ${step.key}, and $$ for a dollar"


class BadReference(ValueError):  # noqa: N818  # never leaves the package
    """
    Say what is wrong with a text that looks like a reference.
    """


class MissingValue(ValueError):  # noqa: N818  # never leaves the package
    """
    Say why a reference gives nothing that could be passed on.
    """


@dataclass(frozen=True, slots=True)
class Reference:
    """
    The output of a step, or a part of it.
    """

    step: str
    # Keys as texts, positions as numbers.
    path: tuple[str | int, ...]
    # As it was written.
    text: str

    def find(self, outputs: Mapping[str, Any]) -> Any:
        """
        Follow the path into the step's output.

        Raises:
            MissingValue: there is nothing at that path.
        """
        value = outputs[self.step]
        for count, part in enumerate(self.path):
            value = self._part(value, part, count)
        return value

    def _part(self, value: Any, part: str | int, count: int) -> Any:
        if isinstance(value, Mapping):
            for key in (part, str(part)):
                if key in value:
                    return value[key]
            raise self._nothing(count, value, f"its keys are {_listed(value)}")
        fields = _fields_of(value)
        if isinstance(part, str) and part in fields:
            return getattr(value, part)
        if fields and isinstance(part, str) and _index(part) is None:
            raise self._nothing(count, value, f"its fields are {_listed(fields)}")
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
            index = _index(part)
            if index is not None and -len(value) <= index < len(value):
                return value[index]
            raise self._nothing(count, value, f"it is a list of {len(value)}")
        if fields:
            raise self._nothing(count, value, f"its fields are {_listed(fields)}")
        raise self._nothing(count, value, f"it is {_shown(value)}, which has no parts")

    def _nothing(self, count: int, value: object, why: str) -> MissingValue:
        at = "".join(_as_part(part) for part in self.path[:count])
        wanted = _as_part(self.path[count])
        text = f"{shown(self.text)} finds nothing: the output of step {self.step!r}"
        text += f" at {shown(at)}" if at else ""
        return MissingValue(f"{text} has no {shown(wanted)}; {why}")


@dataclass(frozen=True, slots=True)
class Text:
    """
    A text into which outputs are put.
    """

    parts: tuple[str | Reference, ...]


# In what follows, Any is a JSON value in which references stand for others.


def read_text(text: str, max_parts: int) -> str | Reference | Text:
    """
    Read one text of a step's arguments: a reference, a text with references in it, or just a text.

    Raises:
        BadReference: it looks like a reference, and is none.
    """
    if "$" not in text:
        return text
    found = _PLAIN.fullmatch(text) or _CLOSED.fullmatch(text) or _BRACED.fullmatch(text)
    if found is not None:
        return _reference(found, max_parts)
    if _BROKEN.fullmatch(text):
        raise BadReference(f"{shown(text)} is no reference: {_FORM}")
    return _mixed(text, max_parts)


def _mixed(text: str, max_parts: int) -> str | Text:
    parts: list[str | Reference] = []
    at = 0
    for found in _INSIDE.finditer(text):
        parts.append(text[at : found.start()])
        at = found.end()
        if found.group() == "$$":
            parts.append("$")
            continue
        inner = _BRACED.fullmatch(found.group())
        if inner is None:
            raise BadReference(f"{shown(found.group())} is no reference: {_FORM}")
        parts.append(_reference(inner, max_parts))
    parts.append(text[at:])
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return Text(tuple(part for part in parts if part != ""))


def _reference(found: re.Match[str], max_parts: int) -> Reference:
    step, path = found.group(1), found.group(2)
    parts: list[str | int] = []
    for part in _PARTS.finditer(path):
        if len(parts) == max_parts:
            raise BadReference(f"{shown(found.group())} goes deeper than {max_parts} parts")
        key = part.group(1)
        parts.append(int(part.group(2)) if key is None else key.strip())
    for name in parts:
        if isinstance(name, str) and name.startswith("_"):
            raise BadReference(f"{shown(found.group())} asks for {shown(name)}: names with a leading _ are not given")
    return Reference(step, tuple(parts), found.group())


def references_in(template: Any) -> Iterator[Reference]:
    """
    Find all references in arguments that have been read.
    """
    if isinstance(template, Reference):
        yield template
    elif isinstance(template, Text):
        yield from (part for part in template.parts if isinstance(part, Reference))
    elif isinstance(template, dict):
        for part in template.values():
            yield from references_in(part)
    elif isinstance(template, list):
        for part in template:
            yield from references_in(part)


def paths_in(template: Any, at: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """
    Find the places whose values are not known before the step starts, as tuples of keys.
    """
    if isinstance(template, (Reference, Text)):
        yield at
    elif isinstance(template, dict):
        for key, part in template.items():
            yield from paths_in(part, (*at, key))
    elif isinstance(template, list):
        for number, part in enumerate(template):
            yield from paths_in(part, (*at, number))


def fill(template: Any, outputs: Mapping[str, Any], max_characters: int) -> Any:
    """
    Put outputs in the place of references; lists and dicts of the template are made anew.

    Raises:
        MissingValue: an output has nothing at the path of a reference, or a text would become longer than
            *max_characters*, all texts of the template together.
    """
    return _Filler(outputs, max_characters).fill(template)


class _Filler:
    """
    Fill one template, with so many characters of text left to make.
    """

    def __init__(self, outputs: Mapping[str, Any], room: int) -> None:
        self._outputs = outputs
        self._limit = self._room = room

    def fill(self, template: Any) -> Any:
        if isinstance(template, Reference):
            found = template.find(self._outputs)
            # Half a character in what a tool returned is not the plan's fault, and nobody could write it down.
            return encodable(found) if type(found) is str and not found.isascii() else found
        if isinstance(template, Text):
            return encodable("".join([self._text(part) for part in template.parts]))
        if isinstance(template, dict):
            return {key: self.fill(part) for key, part in template.items()}
        if isinstance(template, list):
            return [self.fill(part) for part in template]
        return template

    def _text(self, part: str | Reference) -> str:
        if isinstance(part, str):
            text: str | None = part
        else:
            value = part.find(self._outputs)
            text = value if isinstance(value, str) else written(value, max(0, self._room))
            if text is None:
                what = f"{shown(part.text)} cannot be put into a text of at most {self._limit} characters"
                raise MissingValue(f"{what}: it is {_shown(value)}")
        assert text is not None
        self._room -= len(text)
        if self._room < 0:
            what = f"the texts that its references are put into become longer than {self._limit} characters"
            raise MissingValue(f"{what}: pass the whole output as an argument of its own")
        return text


def _fields_of(value: object) -> tuple[str, ...]:
    """
    Name the declared fields of a dataclass, a model of pydantic or a named tuple.
    """
    kind = type(value)
    found: Any = ()
    if dataclasses.is_dataclass(value):
        found = [field.name for field in dataclasses.fields(value)]
    elif isinstance(getattr(kind, "model_fields", None), Mapping):
        found = kind.model_fields  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    elif issubclass(kind, tuple):
        found = getattr(kind, "_fields", ())
    return tuple(name for name in found if isinstance(name, str) and not name.startswith("_"))


def _index(part: str | int) -> int | None:
    if isinstance(part, int):
        return part
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else None


def _shown(value: object) -> str:
    text = beginning(value, 60)
    return printable(text if len(text) < 60 else f"{text}…")


def _as_part(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _listed(names: Mapping[Any, Any] | Sequence[str]) -> str:
    if not names:
        return "none"
    first = [str(name)[:40] for name, _ in zip(names, range(6), strict=False)]
    return named(first) if len(names) <= 5 else f"{named(first[:5])} and {len(names) - 5} more"
