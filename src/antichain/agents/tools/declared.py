"""
Which names a JSON schema declares at a path: fields, as opposed to keys of the writer's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["is_declared"]

# In this file, Any is JSON.

COMBINED = ("allOf", "anyOf", "oneOf")


def is_declared(schema: Mapping[str, Any], keys: Sequence[object]) -> bool:
    """
    Say whether the last of *keys* is a field that the schema has in the object at the path before it.
    """
    at: list[Any] = [schema]
    for key in keys[:-1]:
        # Each schema once: the parts of a recursive union would multiply.
        below = [inner for part in _parts(at, schema) for inner in _below(part, key)]
        at = list({id(inner): inner for inner in below}.values())
    return any(keys[-1] in part.get("properties", ()) for part in _parts(at, schema))


def _parts(schemas: Sequence[Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """
    Iterate over schemas, what they refer to, and what they are combined of.
    """
    seen: set[int] = set()
    left = list(schemas)
    while left:
        part = left.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for word in COMBINED:
            left.extend(part.get(word, ()))
        if "$ref" in part:
            left.append(_referred(part["$ref"], root))


def _referred(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    at: Any = root
    for step in reference[1:].split("/")[1:]:
        at = at.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(at, Mapping) else None
    return at


def _below(part: Mapping[str, Any], key: object) -> Iterator[Any]:
    """
    Iterate over the schemas of the value at *key*.
    """
    if isinstance(key, int):
        first = part.get("prefixItems", ())
        yield first[key] if key < len(first) else part.get("items")
    elif key in part.get("properties", ()):
        yield part["properties"][key]
    else:
        yield part.get("additionalProperties")
