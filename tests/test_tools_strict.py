"""
OpenAI's strict form: closed, all required, null for what may be left out; what has no strict form is named.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from antichain import GraphError, Tool, Tools
from antichain.agents.tools.strict import strict_schema


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Filter:
    field: str
    year: int = 2000
    tags: list[str] = field(default_factory=list)


class Address(BaseModel):
    street: str = Field(min_length=1)
    color: Color | None = None


class Tree(BaseModel):
    name: str
    children: list["Tree"]


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def strict(function: Any) -> dict[str, Any]:
    return Tools(function).openai(strict=True)[0]["function"]["parameters"]


def test_all_is_required_and_what_was_optional_may_be_null() -> None:
    def f(query: str, limit: int = 5, sort: Literal["a", "b"] | None = None, color: Color = Color.RED) -> None:
        """Search.

        Args:
            limit: how many.
            color: of it.
        """

    assert Tools(f).openai(strict=True) == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "Search.",
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string"},
                        "limit": {"description": "how many.", "anyOf": [{"type": "integer"}, {"type": "null"}]},
                        "sort": {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}]},
                        "color": {"description": "of it.", "anyOf": [{"$ref": "#/$defs/Color"}, {"type": "null"}]},
                    },
                    "required": ["query", "limit", "sort", "color"],
                    "additionalProperties": False,
                    "$defs": {"Color": {"enum": ["red", "blue"], "type": "string"}},
                },
            },
        }
    ]


def walk(schema: Any) -> list[dict[str, Any]]:
    found = [schema] if isinstance(schema, dict) else []
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        found += walk(part)
    return found


def test_inside_everything() -> None:
    def f(
        filters: list[Filter],
        address: Address,
        tree: Tree,
        pet: Annotated[Cat | Dog, Field(discriminator="kind")],
        when: datetime,
        where: Path,
        words: Annotated[set[str], Field(min_length=1)],
    ) -> None: ...

    found = strict(f)
    Draft202012Validator.check_schema(found)
    for part in walk(found):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
        assert not {"default", "title", "oneOf", "discriminator", "uniqueItems", "minLength"} & {
            key for key in part if not isinstance(part[key], dict)
        }
        assert "$ref" not in part or len(part) == 1
    assert found["properties"]["when"] == {"type": "string", "format": "date-time"}
    assert found["properties"]["where"] == {"type": "string"}
    assert found["properties"]["pet"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert found["$defs"]["Filter"]["properties"]["year"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_what_the_model_is_made_to_write_is_read() -> None:
    def f(query: str, limit: int = 5, filters: list[Filter] = []) -> None: ...  # noqa: B006

    written = {"query": "x", "limit": None, "filters": [{"field": "a", "year": None, "tags": None}]}
    assert Draft202012Validator(strict(f)).is_valid(written)
    assert Tool(f).read(written) == {"query": "x", "filters": [Filter("a")]}


@pytest.mark.parametrize("model", [Address, Tree])
def test_it_is_at_most_what_openai_makes_of_a_model(model: type[BaseModel]) -> None:
    """The official client has a strict form of its own: whatever ours accepts without nulls, that accepts too."""

    def f(x: Any) -> None: ...

    f.__annotations__["x"] = model
    ours = Draft202012Validator(strict(f))
    theirs = Draft202012Validator(to_strict_json_schema(model))
    values: list[Any] = [
        {"street": "a", "color": "red"},
        {"street": "a", "color": "green"},
        {"street": "a"},
        {"name": "a", "children": []},
        {"name": "a", "children": [{"name": "b", "children": []}]},
        {"name": "a", "children": [{"name": "b"}]},
        {"name": "a", "children": [], "more": 1},
    ]
    assert {theirs.is_valid(value) for value in values} == {True, False}
    for value in values:
        assert ours.is_valid({"x": value}) == theirs.is_valid(value), value


def test_every_place_without_a_strict_form_is_named() -> None:
    def f(a, b: dict[str, int], c: list, d: tuple[int, str], ok: int) -> None: ...  # type: ignore[no-untyped-def, type-arg]

    def g(x: Any, **more: int) -> None: ...

    def fine(x: int) -> None: ...

    with pytest.raises(GraphError) as caught:
        Tools(f, g, fine).openai(strict=True)
    assert {fault.code for fault in caught.value.faults} == {"not-strict"}
    said = [fault.message.partition(", for which")[0] for fault in caught.value.faults]
    assert sorted(said) == [
        "parameter 'a' of tool 'f' takes anything",
        "parameter 'b' of tool 'f' takes names of the model's choice",
        "parameter 'c.[]' of tool 'f' takes anything",
        "parameter 'd' of tool 'f' has prefixItems",
        "parameter 'x' of tool 'g' takes anything",
        "tool 'g' takes names of the model's choice",
    ]
    assert len(Tools(f, g, fine).openai()) == 3


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ({"type": "string", "format": "uri"}, {"type": "string"}),
        ({"allOf": [{"type": "string"}], "description": "x"}, {"type": "string", "description": "x"}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"const": 3}, {"const": 3}),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, None),
        ({"$ref": "#/x", "description": "y"}, {"description": "y", "anyOf": [{"$ref": "#/x"}]}),
    ],
)
def test_given_schemas(part: dict[str, Any], made: dict[str, Any] | None) -> None:
    found = strict_schema({"type": "object", "properties": {"x": part}, "required": ["x"]}, "f")
    closed = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert found["properties"]["x"] == ({"type": "array", "items": closed} if made is None else made)


@pytest.mark.parametrize(
    "part", [True, {"not": {}}, {"allOf": [{}, {}]}, {"type": "array"}, {"if": {}, "type": "string"}]
)
def test_given_schemas_without_a_strict_form(part: Any) -> None:
    with pytest.raises(GraphError, match="not-strict"):
        strict_schema({"type": "object", "properties": {"x": part}}, "f")


def test_the_schema_it_is_made_of_stays_as_it_is() -> None:
    def f(filters: list[Filter], limit: int = 3) -> None: ...

    tools = Tools(f)
    before = tools["f"].parameters
    tools.openai(strict=True)
    assert tools["f"].parameters == before
