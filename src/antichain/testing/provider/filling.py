"""
Make up a value that a JSON schema accepts, with sentences of the prompt for its texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

from antichain.testing.provider.checks import Json, Refused

__all__ = ["Filler"]

Value: TypeAlias = Any  # Any: JSON

# From here on a value is as small as it may be, so that a schema that contains itself comes to an end.
DEEP: Final = 6
TOO_DEEP: Final = 64
ITEMS: Final = 2
TRIES: Final = 100
UNSUPPORTED: Final = ("not", "if", "dependentRequired", "dependentSchemas", "contains", "propertyNames")
FORMATS: Final[Mapping[str, str]] = {
    "date": "2024-05-17",
    "time": "12:30:00Z",
    "date-time": "2024-05-17T12:30:00Z",
    "duration": "PT90S",
    "email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.org/page",
    "url": "https://example.org/page",
    "uuid": "6f1c2a90-3b4d-4e5f-8a6b-7c8d9e0f1a2b",
}


class Filler:
    """
    Fill one schema. *chance* draws a number from 0 to 1 for each thing it is asked for.
    """

    def __init__(self, schema: Json | bool, sentences: Sequence[str], chance: Callable[[object], float]) -> None:
        self._root = schema
        self._sentences = sentences or ("Nothing was said.",)
        self._chance = chance
        self._draws = count()
        self._texts = count()

    def fill(self) -> Value:
        """
        Make a value.

        Raises:
            Refused: the schema asks for what cannot be made up here.
        """
        return self._fill(self._root, 0)

    def _fill(self, schema: Value, depth: int) -> Value:
        if isinstance(schema, bool):
            return self._text({})
        if depth > TOO_DEEP:
            raise self._refusal("it contains itself without an end")
        schema = self._resolved(schema)
        for keyword in UNSUPPORTED:
            if keyword in schema:
                raise self._refusal(f"'{keyword}' is not permitted")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][int(self._draw() * len(schema["enum"]))]
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return self._fill(self._choice(options, depth), depth + 1)
        return self._of_type(self._type(schema, depth), schema, depth)

    def _of_type(self, kind: str, schema: Json, depth: int) -> Value:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._draw() < 0.5
            case "null":
                return None
            case _:
                raise self._refusal(f"'{kind}' is not a type")

    def _object(self, schema: Json, depth: int) -> dict[str, Value]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        names = [*properties, *(name for name in required if name not in properties)]
        if depth >= DEEP:
            names = [name for name in names if name in required]
        others = schema.get("additionalProperties", True)
        filled = {name: self._fill(properties.get(name, others), depth + 1) for name in names}
        for number in count(1):
            if len(filled) >= schema.get("minProperties", 0):
                return filled
            filled[f"name{number}"] = self._fill(others, depth + 1)
        raise AssertionError("count() has no end")

    def _array(self, schema: Json, depth: int) -> list[Value]:
        low = schema.get("minItems", 0)
        length = low if depth >= DEEP else max(low, min(ITEMS, schema.get("maxItems", ITEMS)))
        first = schema.get("prefixItems") or []
        rest = schema.get("items", True)
        if first and rest is False:
            length = max(low, len(first))
        items: list[Value] = []
        for _ in range(TRIES * max(1, length)):
            if len(items) >= length:
                return items
            item = self._fill(first[len(items)] if len(items) < len(first) else rest, depth + 1)
            if not (schema.get("uniqueItems") and item in items):
                items.append(item)
        if len(items) >= low:
            return items
        raise self._refusal("no so many different items could be made up")

    def _text(self, schema: Json) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        sentence = self._sentences[next(self._texts) % len(self._sentences)]
        text = FORMATS.get(schema.get("format", ""), sentence)
        text = text if len(text) <= high else text[: int(high)].rstrip().ljust(low, ".")
        text = text.ljust(low, ".")
        pattern = schema.get("pattern")
        if pattern is None:
            return text
        word = next(iter(re.findall(r"\w+", text)), "a")
        guesses = [text, word, word.lower(), word.upper(), word.capitalize(), word[:1], "1", "12", "123", "1234", "A1"]
        guesses += FORMATS.values()
        for guess in guesses:
            if low <= len(guess) <= high and re.search(pattern, guess):
                return guess
        raise self._refusal(f"no text could be made up for the pattern {pattern!r}")

    def _number(self, schema: Json, *, whole: bool) -> float:
        step = schema.get("multipleOf") or (1 if whole else 0.01)
        lows = [math.ceil(schema["minimum"] / step - 1e-9)] if "minimum" in schema else []
        lows += [math.floor(schema["exclusiveMinimum"] / step + 1e-9) + 1] if "exclusiveMinimum" in schema else []
        highs = [math.floor(schema["maximum"] / step + 1e-9)] if "maximum" in schema else []
        highs += [math.ceil(schema["exclusiveMaximum"] / step - 1e-9) - 1] if "exclusiveMaximum" in schema else []
        first = max(lows, default=min(highs, default=10) - 10)
        last = min([*highs, first + 10])
        if last >= first:
            value = (first + int(self._draw() * (last - first + 1))) * step
            return int(value) if whole else round(value, 10)
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 0))
        if whole or "multipleOf" in schema or low >= high:
            raise self._refusal("no number lies between its bounds")
        return float(low + high) / 2

    def _type(self, schema: Json, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            others = [each for each in kind if each != "null"]
            return "null" if "null" in kind and (depth >= DEEP or not others) else str(others[0])
        if kind is not None:
            return str(kind)
        if "properties" in schema or "required" in schema:
            return "object"
        return "array" if "items" in schema or "prefixItems" in schema else "string"

    def _choice(self, options: Sequence[Json], depth: int) -> Json:
        resolved = [self._resolved(option) for option in options]
        if depth >= DEEP:  # whatever is smallest
            order = ["null", "boolean", "integer", "number", "string", "array", "object"]
            return min(resolved, key=lambda each: order.index(self._type(each, depth)))
        return next((each for each in resolved if each.get("type") != "null"), resolved[0])

    def _resolved(self, schema: Json) -> Json:
        """
        Follow references and merge `allOf`.
        """
        seen = 0
        while "$ref" in schema:
            seen += 1
            others = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self._at(schema["$ref"]), **others}
            if seen > TOO_DEEP:
                raise self._refusal("its references go in a circle")
        if "allOf" not in schema:
            return schema
        parts = [{name: value for name, value in schema.items() if name != "allOf"}]
        parts += [dict(self._resolved(part)) for part in schema["allOf"]]
        merged: dict[str, Value] = {}
        for part in parts:
            both = {name: {**merged[name], **part[name]} for name in ("properties",) if name in merged and name in part}
            required = [*(merged.get("required") or ()), *(part.get("required") or ())]
            merged = {**merged, **part, **both, **({"required": required} if required else {})}
        return merged

    def _at(self, reference: str) -> Json:
        place: Value = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or name not in place:
                raise self._refusal(f"'{reference}' leads nowhere")
            place = place[name]
        if not isinstance(place, dict):
            raise self._refusal(f"'{reference}' leads to no schema")
        return place

    def _draw(self) -> float:
        return self._chance(next(self._draws))

    def _refusal(self, why: str) -> Refused:
        text = f"Invalid schema: {why}. The fake provider cannot make up an answer to it; script one with reply=."
        return Refused(text, param="response_format", code="invalid_json_schema")
