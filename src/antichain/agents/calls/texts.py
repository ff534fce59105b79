"""
Texts that go to and come from a model: what cannot be encoded, what is not JSON, what is too large. No values of a
model's are ever evaluated here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from antichain.errors import AntichainError, shown

__all__ = [
    "ArgumentsMalformed",
    "Unserialisable",
    "as_json",
    "as_text",
    "canonical",
    "cut",
    "encodable",
    "read_arguments",
    "size_of",
]

# How deep a result may be nested.
MAX_DEPTH: Final = 100


class ArgumentsMalformed(AntichainError):  # noqa: N818  # reads as a state
    """
    Say why the arguments of a call cannot be read; ``position`` is the character, where there is one.
    """

    def __init__(self, message: str, position: int | None = None, text: str = "") -> None:
        self.position = position
        # The text around the position, for the model to find it again.
        self.near = text[max(0, position - 20) : position + 20] if position is not None else ""
        self.line = text.count("\n", 0, position) + 1 if position is not None else None
        super().__init__(message)


class Unserialisable(AntichainError):  # noqa: N818  # reads as a state
    """
    Say which part of a value is no JSON.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path or 'the value'} {problem}")


# -- texts


def encodable(text: str) -> str:
    """
    Return *text*, with every lone surrogate written out, so that it can be sent.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def size_of(text: str) -> int:
    """
    Return the bytes of *text* as it is sent.
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))


def cut(text: str, characters: int) -> str:
    """
    Shorten *text*, and say so.
    """
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def as_json(value: object) -> str:
    """
    Write a value made here, of plain parts and any texts, as JSON that can be sent.
    """
    return encodable(json.dumps(value, ensure_ascii=False))


# -- arguments


def read_arguments(given: object, max_bytes: int) -> object:
    """
    Read the arguments of a call: JSON text, or what a provider's client has read already; nothing at all means none.

    Whether they suit the tool, and what JSON could hold but no tool should get, is for `Tool.read` to say.

    Raises:
        ArgumentsMalformed: the text is no JSON, too large, or names something twice.
    """
    value = _parse(given, max_bytes) if isinstance(given, str) else given
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else value


def canonical(arguments: object) -> str:
    """
    Write arguments so that equal ones give equal texts, fit to be shown.
    """
    try:
        return encodable(json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=repr))
    except (TypeError, ValueError):
        # A client that read them itself may have made what JSON has not: keys that are no texts.
        return repr(arguments)


def _parse(text: str, max_bytes: int) -> object:
    if (size := size_of(text)) > max_bytes:
        raise ArgumentsMalformed(f"The arguments have {size:,} bytes: at most {max_bytes:,} are read")
    if not text.strip():
        return None  # what models send for a tool that takes nothing
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ArgumentsMalformed(f"The arguments are not valid JSON: {error.msg} at {where}", error.pos, text) from None
    except RecursionError:
        raise ArgumentsMalformed("The arguments are nested too deep") from None
    except ValueError:
        # Python's own words are for whoever runs the program.
        raise ArgumentsMalformed("The arguments have a number of more digits than can be read") from None


def _refuse_constant(word: str) -> NoReturn:
    raise ArgumentsMalformed(f"The arguments are not valid JSON: {word} is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ArgumentsMalformed(f"The arguments name {shown(encodable(twice))} twice in one object")
    return value


# -- results


def as_text(value: object) -> str:
    """
    Write what a tool returned as the text that its model reads: a text as it is, all else as JSON.

    Dataclasses, pydantic models (by their ``model_dump``), enums, dates, UUIDs, decimals and paths are written as JSON
    has them.

    Raises:
        Unserialisable: a part of it is no JSON (bytes, sets, NaN, other objects, cycles); its path is named.
    """
    if type(value) is str:
        return encodable(value)
    try:
        # What is plain already, at the speed of C; `_JsonForm` finds out what is not.
        return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError, OverflowError):
        plain = _JsonForm().of(value, "")
    if isinstance(plain, str):
        return encodable(plain)
    try:
        return as_json(plain)
    except (ValueError, RecursionError) as error:
        raise Unserialisable("", f"cannot be written as JSON: {cut(str(error), 200)}") from None


class _JsonForm:
    """
    Turn a value into plain JSON types, and say where that cannot be done.
    """

    def __init__(self) -> None:
        # The containers that are being looked into: one of them inside itself is a cycle.
        self._open: set[int] = set()

    def of(self, value: Any, path: str) -> Any:  # Any: a user's value, JSON
        """
        Return *value*, which is found at *path*, in plain types.
        """
        match value:
            case enum.Enum():
                return self.of(value.value, path)
            case None | bool() | int():
                return value
            case str():
                return str(value)
            case float():
                if not math.isfinite(value):
                    raise Unserialisable(path, f"is {value}, which is no JSON number")
                return value
            case dt.datetime() | dt.date() | dt.time():
                return value.isoformat()
            case uuid.UUID() | decimal.Decimal() | pathlib.PurePath():
                return str(value)
            case _:
                return self._container(value, path)

    def _container(self, value: Any, path: str) -> Any:  # Any: a user's value, JSON
        if id(value) in self._open:
            raise Unserialisable(path, "holds itself")
        if len(self._open) > MAX_DEPTH:
            raise Unserialisable("", f"is nested more than {MAX_DEPTH} deep")
        self._open.add(id(value))
        try:
            return self._parts(value, path)
        finally:
            self._open.discard(id(value))

    def _parts(self, value: Any, path: str) -> Any:  # Any: a user's value, JSON
        if isinstance(value, Mapping):
            return {_key(key, path): self.of(part, _joined(path, key)) for key, part in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [self.of(part, f"{path}[{position}]") for position, part in enumerate(value)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: self.of(getattr(value, name), _joined(path, name)) for name in names}
        dump = getattr(type(value), "model_dump", None)
        if callable(dump):
            return self.of(dump(value, mode="json"), path)
        what = f"is {shown(value)}, of type {type(value).__name__}, which is not JSON"
        raise Unserialisable(path, f"{what}: let the tool return texts, numbers, lists, dicts or dataclasses")


def _key(key: object, path: str) -> str:
    match key:
        case enum.Enum():
            return _key(key.value, path)
        case str():
            return str(key)
        case bool() | int() | float() | None:
            return json.dumps(key)
        case dt.date() | dt.time():
            return key.isoformat()
        case uuid.UUID() | decimal.Decimal() | pathlib.PurePath():
            return str(key)
        case _:
            raise Unserialisable(path, f"has the key {shown(key)}, which is no text")


def _joined(path: str, key: object) -> str:
    text = cut(str(key), 80) if isinstance(key, (str, int)) else shown(key)
    return f"{path}.{text}" if path else text
