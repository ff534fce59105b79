"""
OpenAI's strict form of a schema: every object closed, every property required; what was optional may be null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antichain.errors import Fault, GraphError

__all__ = ["strict_schema"]

# In this file, Any is JSON.

# What the strict form does not know and what only narrows: the arguments are checked for it all the same.
DROPPED = {"default", "examples", "title", "uniqueItems", "minLength", "maxLength", "minProperties", "maxProperties"}
DROPPED |= {"contains", "minContains", "maxContains", "propertyNames", "contentEncoding", "contentMediaType"}
DROPPED |= {"discriminator", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment"}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
# What it does not know and what cannot be left out.
REFUSED = ("not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas", "prefixItems")
# One of these says what a value is.
TELLING = ("type", "$ref", "anyOf", "enum", "const")


def strict_schema(schema: Mapping[str, Any], tool: str) -> dict[str, Any]:
    """
    Make the strict form of the schema of a tool's arguments.

    Raises:
        GraphError: parts of it have no strict form; all of them are named.
    """
    faults: list[Fault] = []
    made = Strict(tool, faults).of(schema, ())
    if faults:
        raise GraphError(faults, tool)
    return made


class Strict:
    """
    Rewrite a schema from the outside in, and note what has no strict form.
    """

    def __init__(self, tool: str, faults: list[Fault]) -> None:
        self.tool = tool
        self.faults = faults

    def of(self, schema: Any, at: tuple[str, ...]) -> dict[str, Any]:
        """
        Rewrite the schema at the path *at*.
        """
        if not isinstance(schema, Mapping):  # true and false are schemas, too
            return self._refuse(at, "takes anything")
        made = {name: part for name, part in schema.items() if name not in DROPPED}
        if made.get("format", "date") not in FORMATS:
            del made["format"]
        if "allOf" in made:
            self._merge(made, at)
        if "oneOf" in made:
            made["anyOf"] = made.pop("oneOf")
        for name in REFUSED:
            if name in made:
                return self._refuse(at, f"has {name}")
        if at and not any(name in made for name in TELLING):
            return self._refuse(at, "takes anything")
        return self._inside(made, at)

    def _inside(self, made: dict[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
        for name in ("$defs", "definitions"):
            if name in made:
                made[name] = {key: self.of(part, (*at, name, key)) for key, part in made[name].items()}
        if "anyOf" in made:
            made["anyOf"] = [self.of(part, at or ("arguments",)) for part in made["anyOf"]]
        if "items" in made:
            made["items"] = self.of(made["items"], (*at, "[]"))
        elif made.get("type") == "array":
            return self._refuse(at, "is a list of anything")
        if made.get("type") == "object" or "properties" in made:
            self._close(made, at)
        if "$ref" in made and len(made) > 1:  # a reference stands alone
            reference = made.pop("$ref")
            made = {**made, "anyOf": [{"$ref": reference}]}
        return made

    def _close(self, made: dict[str, Any], at: tuple[str, ...]) -> None:
        if made.get("additionalProperties", False) is not False:
            self._refuse(at, "takes names of the model's choice")
        required = made.get("required", ())
        properties = {
            name: part if name in required else _or_null(part)
            for name, part in ((name, self.of(part, (*at, name))) for name, part in made.get("properties", {}).items())
        }
        made.update(properties=properties, required=list(properties), additionalProperties=False)

    def _merge(self, made: dict[str, Any], at: tuple[str, ...]) -> None:
        parts = made.pop("allOf")
        if len(parts) != 1 or not isinstance(parts[0], Mapping):
            self._refuse(at, "has allOf")
            return
        for name, part in parts[0].items():
            made.setdefault(name, part)

    def _refuse(self, at: tuple[str, ...], why: str) -> dict[str, Any]:
        where = f"parameter {'.'.join(at)!r} of tool {self.tool!r}" if at else f"tool {self.tool!r}"
        fix = "annotate it with types that say all there is (a dataclass, a Literal, list[str]), or use strict=False"
        text = f"{where} {why}, for which OpenAI's strict form has no words: {fix}."
        self.faults.append(Fault("not-strict", text))
        return {}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if _takes_null(schema):
        return schema
    said = {"description": schema["description"]} if "description" in schema else {}
    rest = {name: part for name, part in schema.items() if name != "description"}
    parts = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**said, "anyOf": [*parts, {"type": "null"}]}


def _takes_null(schema: dict[str, Any]) -> bool:
    kind = schema.get("type", ())
    parts = schema.get("anyOf", ())
    return kind == "null" or (isinstance(kind, list) and "null" in kind) or any(map(_takes_null, parts))
