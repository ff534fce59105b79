"""
Tools of other libraries, known by their shape: LangChain's tools and runnables. Nothing of theirs is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from antichain.errors import Fault, GraphError, shown

__all__ = ["Foreign", "OneInput", "read_foreign"]

# In this file, Any is an object of another library, or JSON.

# The parameter of a runnable whose input is no object.
INPUT = "input"


class Foreign(NamedTuple):
    """
    What is known of a foreign object: its name, its description, its schema, and what a node can run.
    """

    name: str | None
    description: str
    # A pydantic model, or a JSON schema of an object; None if it does not say.
    schema: Any
    runnable: Any


class OneInput:
    """
    Invoke a runnable with the value of its only parameter, where it does not take an object.
    """

    def __init__(self, runnable: Any) -> None:
        self._runnable = runnable
        if callable(getattr(runnable, "ainvoke", None)):
            self.ainvoke = self._ainvoke
        if callable(getattr(runnable, "invoke", None)):
            self.invoke = self._invoke

    async def _ainvoke(self, arguments: Mapping[str, Any]) -> Any:
        return await self._runnable.ainvoke(arguments[INPUT])

    def _invoke(self, arguments: Mapping[str, Any]) -> Any:
        return self._runnable.invoke(arguments[INPUT])

    def __repr__(self) -> str:
        return f"OneInput({shown(self._runnable)})"


def read_foreign(found: Any) -> Foreign:
    """
    Read an object with `invoke` or `ainvoke`.
    """
    name = getattr(found, "name", None)
    said = getattr(found, "description", None)
    description = said if isinstance(said, str) else ""
    schema = _schema_of_tool(found)
    runnable = found
    if schema is None:
        schema = _schema_of_runnable(found)
        if schema is not None and schema.get("type") != "object":
            schema, runnable = _wrapped(schema), OneInput(found)
    return Foreign(name if isinstance(name, str) and name else None, description, schema, runnable)


def _schema_of_tool(found: Any) -> Any:
    """
    Find the schema of a tool: what the model is to give, without what is injected, comes first.
    """
    for attribute in ("tool_call_schema", "args_schema"):
        schema = getattr(found, attribute, None)
        if schema is not None and (isinstance(schema, (type, Mapping))):
            return _readable(schema)
    return None


def _readable(schema: Any) -> Any:
    # A model of pydantic 1 gives its schema by another name.
    if isinstance(schema, type) and not hasattr(schema, "model_json_schema") and hasattr(schema, "schema"):
        return schema.schema()
    return schema


def _schema_of_runnable(found: Any) -> dict[str, Any] | None:
    make = getattr(found, "get_input_jsonschema", None)
    if not callable(make):
        return None
    schema = make()
    if not isinstance(schema, Mapping):
        raise GraphError(Fault("bad-tool", f"{shown(found)} gives {shown(schema)} as its JSON schema: not an object."))
    return dict(schema)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    # Definitions stay where references look for them.
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "title")}
    outer: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {"type": "object", "properties": {INPUT: inner}, "required": [INPUT], **outer}
