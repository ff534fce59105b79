"""
Tools and runnables of other libraries, by shape: classes that look like LangChain's, and schemas that came as dicts.
"""

import asyncio
import copy
import functools
from typing import Any

import pytest
from pydantic import BaseModel, Field

from antichain import ArgumentsInvalid, Graph, GraphError, Tool, Tools, value


class Query(BaseModel):
    """What to look for."""

    query: str = Field(description="the words")
    limit: int = 5


SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
    "required": ["query"],
}


class Invoked:
    """As BaseTool: a name, a description, a schema, and two ways to invoke it."""

    name = "search"
    description = "Search the web."
    args_schema: Any = Query

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def ainvoke(self, arguments: Any, config: Any = None) -> Any:
        self.seen.append(arguments)
        await asyncio.sleep(0)
        return ["async", arguments]

    def invoke(self, arguments: Any, config: Any = None) -> Any:
        self.seen.append(arguments)
        return ["sync", arguments]


class InvokedWithDict(Invoked):
    """As the tools that adapters for MCP make."""

    args_schema = SCHEMA


class OnlySync:
    name = "search"
    description = "Search the web."
    args_schema = Query

    def invoke(self, arguments: Any) -> Any:
        return ["sync", arguments]


class Injected(Invoked):
    """As a tool with injected arguments: what a model gives is a schema of its own."""

    class Full(BaseModel):
        query: str
        state: dict[str, int]

    args_schema = Full
    tool_call_schema = SCHEMA


class OldModel:
    """As a model of pydantic 1: its schema has another name."""

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return SCHEMA


class WithOldModel(Invoked):
    args_schema = OldModel


class Runnable:
    """As a chain: no description, maybe no name, and the schema of any input."""

    name: str | None = None

    def __init__(self, schema: Any) -> None:
        self.schema = schema

    def get_input_jsonschema(self) -> Any:
        return self.schema

    async def ainvoke(self, given: Any) -> Any:
        return ["chain", given]


def run(tool: Tool, **arguments: Any) -> Any:
    graph = Graph()
    inputs = {name: value(given) for name, given in tool.read(arguments).items()}
    graph.add("node", tool.runnable, depends_on=[], inputs=inputs)
    return graph.run()["node"]


@pytest.mark.parametrize("kind", [Invoked, InvokedWithDict, OnlySync, Injected, WithOldModel])
def test_tools_by_shape(kind: Any) -> None:
    found = kind()
    (tool,) = Tools(found).values()
    assert (tool.name, tool.description, tool.runnable) == ("search", "Search the web.", found)
    assert tool.parameters["properties"]["query"]["type"] == "string"
    assert tool.parameters["required"] == ["query"]
    how = "sync" if kind is OnlySync else "async"
    # As it was given: such a tool reads its arguments itself.
    assert run(tool, query="x", limit=3) == [how, {"query": "x", "limit": 3}]
    assert run(tool, query="x", limit=None) == [how, {"query": "x"}]
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read({"qury": "x", "limit": "3"})
    assert {fault.path for fault in caught.value.faults} == {"qury", "query", "limit"}
    assert "Did you mean 'query'?" in str(caught.value)


def test_what_is_injected_is_not_from_a_model() -> None:
    with pytest.raises(ArgumentsInvalid, match="state: is not a parameter"):
        Tool(Injected()).read({"query": "x", "state": {}})


def test_name_description_and_policies_of_ours_win() -> None:
    tool = Tool(Invoked(), name="find", description="Find.", retry=3)
    assert (tool.name, tool.description, tool.policies) == ("find", "Find.", {"retry": 3})


def test_a_model_whose_fields_are_free() -> None:
    class Free(BaseModel, extra="allow"):
        query: str

    class Tolerant(Invoked):
        args_schema = Free

    assert Tool(Tolerant()).read({"query": "x", "other": 1}) == {"query": "x", "other": 1}


def test_a_runnable_that_takes_an_object() -> None:
    tool = Tool(Runnable(SCHEMA), name="chain")
    assert run(tool, query="x") == ["chain", {"query": "x"}]


def test_a_runnable_that_takes_one_value() -> None:
    for schema, given in (({"type": "string", "title": "x"}, "why"), ({"$defs": {"T": {}}, "$ref": "#/$defs/T"}, [1])):
        tool = Tool(Runnable(schema), name="chain")
        assert tool.parameters["required"] == ["input"]
        assert run(tool, input=given) == ["chain", given]
    with pytest.raises(ArgumentsInvalid, match="input: should be of type string"):
        Tool(Runnable({"type": "string"}), name="chain").read({"input": 3})


def test_a_runnable_that_is_only_sync_and_takes_one_value() -> None:
    class Sync:
        name = "chain"

        def get_input_jsonschema(self) -> Any:
            return {"type": "string"}

        def invoke(self, given: Any) -> Any:
            return ["sync", given]

    assert run(Tool(Sync()), input="x") == ["sync", "x"]


def test_an_object_that_does_not_say_what_it_takes() -> None:
    class Silent:
        name = "silent"

        async def ainvoke(self, given: Any) -> Any:
            return given

    with pytest.raises(GraphError, match="does not say what it takes: give its JSON schema, parameters="):
        Tool(Silent())
    assert run(Tool(Silent(), parameters=SCHEMA), query="x") == {"query": "x"}
    assert run(Tool(Silent(), parameters=Query), query="x") == {"query": "x"}
    with pytest.raises(GraphError, match="cannot be a tool called None"):
        Tool(Runnable(SCHEMA))


# ---------------------------------------------------------------------- schemas that came as dicts


def test_a_given_schema_is_kept_as_it_was_written() -> None:
    def f(query: str, limit: int = 3) -> str:
        """Search."""
        return f"{query} {limit}"

    schema: dict[str, Any] = copy.deepcopy({**SCHEMA, "title": "kept"})
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    tool = Tool(f, parameters=schema)
    assert tool.parameters == schema
    assert tool.description == "Search."
    assert run(tool, query="x") == "x 3"
    schema["properties"]["query"]["type"] = "integer"
    assert tool.parameters["properties"]["query"] == {"type": "string"}
    assert tool.read({"query": "x"})


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"properties": {"x": {"type": "integer"}}}, [{}, {"x": 1}], [{"y": 1}, {"x": "1"}]),
        ({"type": "object"}, [{}, {"y": 1}], []),
        ({"properties": {"x": {}}, "additionalProperties": True}, [{"y": 1}], []),
        ({"properties": {"x": {}}, "additionalProperties": {"type": "integer"}}, [{"y": 1}], [{"y": "1"}]),
        ({"properties": {"x": {}}, "patternProperties": {"^y": {"type": "integer"}}}, [{"y": 1}], [{"y": "1"}]),
        ({"properties": {"x": {"$ref": "#/$defs/D"}}, "$defs": {"D": {"const": 3}}}, [{"x": 3}], [{"x": 4}]),
        (
            {"properties": {"x": {"$ref": "#/definitions/D"}}, "definitions": {"D": {"const": 3}}},
            [{"x": 3}],
            [{"x": 4}],
        ),
        ({"properties": {"x": {"enum": ["a", None]}}}, [{"x": "a"}, {"x": None}], [{"x": "b"}]),
        ({"properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}, [{"x": None}], [{"x": "1"}]),
        ({"properties": {"x": {"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}}}, [{"x": 2}], [{"x": 6}, {"x": 1}]),
        ({"properties": {"x": {"minItems": 1, "type": "array"}}}, [{"x": [1]}, {"x": (1,)}], [{"x": []}, {"x": ()}]),
        ({"properties": {"x": {"pattern": "^a"}}}, [{"x": "ab"}], [{"x": "b"}]),
        ({"properties": {"x": {"not": {"type": "string"}}}}, [{"x": 1}], [{"x": "b"}]),
        ({"properties": {"x": {}, "y": {}}, "dependentRequired": {"x": ["y"]}}, [{"x": 1, "y": 1}], [{"x": 1}]),
        ({"properties": {"x": {"$ref": "https://example.org/x.json"}}}, [{}], [{"x": 1}]),
        ({"properties": {"x": {"$ref": "#/$defs/Gone"}}}, [{}], [{"x": 1}]),
        ({"properties": {"x": {"$ref": "#/properties/x"}}}, [{}], [{"x": 1}]),
    ],
)
def test_given_schemas_are_checked(schema: dict[str, Any], right: list[Any], wrong: list[Any]) -> None:
    def takes(**given: Any) -> None: ...

    tool = Tool(takes, parameters=schema)
    for arguments in right:
        assert tool.read(arguments) == arguments
    for arguments in wrong:
        with pytest.raises(ArgumentsInvalid) as caught:
            tool.read(arguments)
        assert len(caught.value.faults) == 1
        str(caught.value).encode()


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema may refer to any address: whoever hands it in must not make us call there."""
    called: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **_: called.append(args))

    def takes(**given: Any) -> None: ...

    schema = {"properties": {"x": {"$ref": "http://169.254.169.254/secret"}, "y": {"$ref": "file:///etc/passwd"}}}
    with pytest.raises(ArgumentsInvalid, match="could not be checked"):
        Tool(takes, parameters=schema).read({"x": 1, "y": 1})
    assert called == []


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array"}, "has type 'array': arguments are an object"),
        ({"type": "objekt"}, r"is none: schema\['type'\]: 'objekt' is not valid"),
        ({"properties": {"x": {"minimum": "3"}}}, r"schema\['properties'\]\['x'\]\['minimum'\]"),
        ({"properties": {"qury": {}, "query": {}}}, r"has 'qury', which .* does not take\. Did you mean 'query'\?"),
        ({"properties": {"limit": {}}}, "lacks 'query', which .* needs"),
    ],
)
def test_given_schemas_that_cannot_be(schema: dict[str, Any], says: str) -> None:
    def f(query: str, limit: int = 3) -> None: ...

    with pytest.raises(GraphError, match=says):
        Tool(f, parameters=schema)


def test_a_given_schema_never_lets_through_what_the_function_does_not_take() -> None:
    def f(query: str, key: str = "", limit: int = 3) -> str:
        return f"{query} {key} {limit}"

    loose: dict[str, Any] = {"type": "object"}
    tool = Tool(functools.partial(f, key="secret"), parameters=loose)
    assert run(tool, query="x") == "x secret 3"
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read({"key": "mine", "other": 1})
    assert [str(fault).partition(".")[0] for fault in caught.value.faults] == [
        "key: is not a parameter",
        "other: is not a parameter",
        "query: is missing",
    ]


def test_openai_wants_properties_even_where_there_are_none() -> None:
    def f(**given: Any) -> None: ...

    (made,) = Tools(Tool(f, parameters={"type": "object"})).openai()
    assert made["function"]["parameters"] == {"type": "object", "properties": {}}


def test_a_graph_with_a_given_schema() -> None:
    graph = Graph("brief")

    @graph.node
    def answer(question: str, sort: str = "a") -> str:
        return f"{question} {sort}"

    schema = {"properties": {"question": {"type": "string"}}, "required": ["question"]}
    tool = Tool(graph, parameters=schema)
    assert run(tool, question="why") == "why a"
    with pytest.raises(ArgumentsInvalid):
        tool.read({"question": "why", "sort": "b"})
    with pytest.raises(GraphError, match="has 'q', which"):
        Tool(graph, parameters={"properties": {"q": {}}})
