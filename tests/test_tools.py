"""
Tool and Tools: what may be one, the schema a model is shown, and that a node can run what was read.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from antichain import Context, Graph, GraphError, Tool, Tools, run_tool_calls, value
from antichain.agents.tools.faults import ArgumentsInvalid
from antichain.agents.tools.tool import tools_of


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Filter:
    field: str
    year: int = 2000
    tags: list[str] = field(default_factory=list)


class Place(TypedDict):
    name: str
    height: NotRequired[float]


class Address(BaseModel):
    """Where somebody lives."""

    street: str
    number: int = Field(ge=1, description="of the house")


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


def properties(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    return Tool(function, **options).parameters["properties"]


def run(tool: Tool, **arguments: Any) -> Any:
    """Run a tool as a node with what was read of the arguments."""
    graph = Graph()
    inputs = {name: value(given) for name, given in tool.read(arguments).items()}
    graph.add("node", tool.runnable, depends_on=[], inputs=inputs)
    return graph.run()["node"]


# ---------------------------------------------------------------------- schemas


def test_types_of_json() -> None:
    def f(text: str, whole: int, number: float, yes: bool, many: list[int], each: dict[str, float], none: None) -> None:
        """Do it."""

    tool = Tool(f)
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "whole": {"type": "integer"},
            "number": {"type": "number"},
            "yes": {"type": "boolean"},
            "many": {"type": "array", "items": {"type": "integer"}},
            "each": {"type": "object", "additionalProperties": {"type": "number"}},
            "none": {"type": "null"},
        },
        "required": ["text", "whole", "number", "yes", "many", "each", "none"],
        "additionalProperties": False,
    }
    assert (tool.name, tool.description) == ("f", "Do it.")


def test_optional_literal_enum_union() -> None:
    def f(a: Optional[int], b: Literal["x", 2], c: Color, d: int | str = 3, e: str | None = None) -> None: ...  # noqa: UP045

    found = Tool(f).parameters
    assert found["properties"]["a"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert found["properties"]["b"] == {"enum": ["x", 2]}
    assert found["properties"]["c"] == {"$ref": "#/$defs/Color"}
    assert found["$defs"]["Color"] == {"enum": ["red", "blue"], "type": "string"}
    assert found["properties"]["d"] == {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 3}
    assert found["required"] == ["a", "b", "c"]


def test_dataclass_typed_dict_and_model_inside() -> None:
    def f(filters: list[Filter], place: Place, address: Address | None = None) -> None: ...

    defs = Tool(f).parameters["$defs"]
    assert defs["Filter"]["required"] == ["field"]
    assert defs["Filter"]["additionalProperties"] is False
    assert defs["Place"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "height": {"type": "number"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    assert defs["Address"]["properties"]["number"] == {
        "type": "integer",
        "minimum": 1,
        "description": "of the house",
    }
    assert "title" not in str(defs)


class Base(TypedDict, total=False):
    size: int


class Group(Base):
    places: list[Place | None]
    lead: Annotated[Place, Field(description="of all")]
    by: NotRequired[dict[str, Place]]


def test_typed_dicts_inside_each_other() -> None:
    def f(group: Group) -> Any:
        return group

    tool = Tool(f)
    assert tool.parameters["$defs"]["Group"]["required"] == ["places", "lead"]
    assert tool.parameters["$defs"]["Group"]["properties"]["lead"]["description"] == "of all"
    given = {"places": [{"name": "a"}, None], "lead": {"name": "b"}, "by": {"x": {"name": "c", "height": 2.5}}}
    assert run(tool, group=given) == given
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read({"group": {"places": [{"nam": "a"}], "by": {"x": {"name": 1}}, "size": "big"}})
    assert {fault.path for fault in caught.value.faults} == {
        "group.places[0].nam",
        "group.places[0].name",
        "group.lead",
        "group.by.x.name",
        "group.size",
    }


def test_annotated_field_says_more() -> None:
    def f(
        limit: Annotated[int, Field(ge=1, le=10, description="how many")],
        note: Annotated[str, "what to remember"] = "",
        size: int = Field(3, gt=0),
        start: Annotated[int, Field(alias="from")] = 1,
        rest: Annotated[int, Field(default=7)] = Field(),
    ) -> tuple[Any, ...]:
        """Do it.

        Args:
            limit: is described by its Field.
            size: of it.
        """
        return limit, note, size, start, rest

    tool = Tool(f)
    found = tool.parameters["properties"]
    assert found["limit"] == {"type": "integer", "minimum": 1, "maximum": 10, "description": "how many"}
    assert found["note"] == {"type": "string", "description": "what to remember", "default": ""}
    assert found["size"] == {"type": "integer", "exclusiveMinimum": 0, "default": 3, "description": "of it."}
    assert found["from"] == {"type": "integer", "default": 1}
    assert tool.parameters["required"] == ["limit"]
    # Defaults that only pydantic knows are filled in, others are the function's own affair.
    assert tool.read({"limit": 1}) == {"limit": 1, "size": 3, "rest": 7}
    assert run(tool, limit=1, **{"from": 5}) == (1, "", 3, 5, 7)
    with pytest.raises(ArgumentsInvalid, match="start: is not a parameter"):
        tool.read({"limit": 1, "start": 4})


def test_defaults_are_shown_where_json_can_hold_them() -> None:
    def f(
        a: Color = Color.RED,
        b: date = date(2020, 2, 3),
        c: Filter = Filter("x"),
        d: Any = object(),
        e: float = float("nan"),
        g: tuple[int, ...] = (1, 2),
    ) -> None: ...

    found = Tool(f).parameters
    assert {name: part["default"] for name, part in found["properties"].items() if "default" in part} == {
        "a": "red",
        "b": "2020-02-03",
        "c": {"field": "x", "year": 2000, "tags": []},
        "g": [1, 2],
    }
    assert "required" not in found


def test_a_parameter_without_annotation_takes_anything_as_it_is() -> None:
    def f(x, y=1):  # type: ignore[no-untyped-def]
        return x, y

    tool = Tool(f)
    assert tool.parameters["properties"] == {"x": {}, "y": {"default": 1}}
    for given in (1, "x", [1, {"a": None}], None, True):
        assert tool.read({"x": given}) == {"x": given}
    own = object()
    assert tool.read({"x": own})["x"] is own
    big = [1, 2]
    assert tool.read({"x": big, "y": (1,)})["x"] is big


def test_names_that_pydantic_keeps_for_itself() -> None:
    def f(schema: int, model_config: str, _hidden: int, copy: bool, json: str, self_: int) -> tuple[Any, ...]:
        return schema, model_config, _hidden, copy, json, self_

    given = {"schema": 1, "model_config": "x", "_hidden": 2, "copy": True, "json": "{}", "self_": 3}
    tool = Tool(f)
    assert tool.read(given) == given
    assert run(tool, **given) == tuple(given.values())


def test_a_recursive_model() -> None:
    def f(tree: Tree) -> int:
        return len(tree.children)

    assert run(Tool(f), tree={"name": "a", "children": [{"name": "b"}, {"name": "c"}]}) == 2


def test_kwargs_take_other_names() -> None:
    def f(a: int, **more: float) -> dict[str, Any]:
        return {"a": a, **more}

    tool = Tool(f)
    assert tool.parameters["additionalProperties"] == {"type": "number"}
    assert tool.read({"a": 1, "b": 2.5, "other": 3}) == {"a": 1, "b": 2.5, "other": 3}
    assert run(tool, a=1, b=2.5) == {"a": 1, "b": 2.5}
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read({"b": "x"})
    assert [(fault.path, fault.given) for fault in caught.value.faults] == [("a", None), ("b", '"x"')]

    def anything(**more) -> None: ...  # type: ignore[no-untyped-def]

    assert Tool(anything).parameters == {"type": "object", "properties": {}, "additionalProperties": True}


def test_a_function_without_parameters() -> None:
    def now() -> str:
        return "now"

    tool = Tool(now)
    assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert run(tool) == "now"
    with pytest.raises(ArgumentsInvalid, match=r"x: is not a parameter\. There are none"):
        tool.read({"x": 1})


def test_context_is_not_in_the_schema_and_never_from_a_model() -> None:
    async def f(q: str, ctx: Context, more: Context | None = None, **rest: Any) -> str:
        return f"{q} {ctx.node_id} {rest}"

    tool = Tool(f)
    assert list(tool.parameters["properties"]) == ["q"]
    assert run(tool, q="x", y=1) == "x node {'y': 1}"
    with pytest.raises(ArgumentsInvalid, match="ctx: is not a parameter"):
        tool.read({"q": "x", "ctx": {}})


def test_a_context_that_only_type_checkers_know() -> None:
    scope: dict[str, Any] = {}
    exec("def f(q: 'str', ctx: 'Context') -> None: ...", scope)
    assert list(properties(scope["f"])) == ["q"]


def test_a_parameter_with_an_alias_is_not_reached_by_kwargs() -> None:
    def f(start: Annotated[int, Field(alias="from", ge=0)] = 1, **more: Any) -> None: ...

    tool = Tool(f)
    assert tool.read({"from": 2, "to": 3}) == {"start": 2, "to": 3}
    with pytest.raises(ArgumentsInvalid, match="start: is not a parameter"):
        tool.read({"start": -1})


# ---------------------------------------------------------------------- annotations that are texts


def test_texts_are_resolved_where_the_function_was_written() -> None:
    Local = TypedDict("Local", {"a": int})  # noqa: UP013

    def f(filters: list[Filter], local: Local, plain: list[Color]) -> Any:
        return filters, local, plain, Local

    assert f.__annotations__["filters"] == "list[Filter]"
    tool = Tool(f)
    read = tool.read({"filters": [{"field": "x"}], "local": {"a": 1}, "plain": ["red"]})
    assert read == {"filters": [Filter("x")], "local": {"a": 1}, "plain": [Color.RED]}


def test_every_annotation_that_cannot_be_resolved_is_named() -> None:
    def f(a: Missing, b: int, c: list[Gone]) -> Unknown: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(GraphError) as caught:
        Tool(f)
    assert [fault.code for fault in caught.value.faults] == ["bad-tool", "bad-tool"]
    assert "parameter 'a' of tool 'f' is annotated 'Missing', which cannot be resolved: NameError" in str(caught.value)
    assert "parameter 'c' of tool 'f'" in str(caught.value)


def test_every_type_without_a_schema_is_named() -> None:
    class Client: ...

    def f(a: Client, b: int, c: Callable[[], int], ok: str, d: Iterator[Client]) -> Any:
        return Client

    with pytest.raises(GraphError) as caught:
        Tool(f)
    assert len(caught.value.faults) == 3
    for name in "acd":
        assert f"parameter {name!r} of tool 'f' has a type of which no JSON schema can be made" in str(caught.value)
    # What it says to do helps.
    assert list(properties(functools.partial(f, a=Client(), c=int, d=iter([])), name="f")) == ["b", "ok"]


# ---------------------------------------------------------------------- what may be a tool


class Index:
    """Keeps words."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def find(self, start: str) -> list[str]:
        """Find words."""
        return [word for word in self.words if word.startswith(start)]

    @classmethod
    def size(cls, of: int) -> int:
        return of

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x

    def __call__(self, start: str) -> int:
        return len(self.find(start))


def test_methods() -> None:
    index = Index(["ab", "cd"])
    tool = Tool(index.find)
    assert (tool.name, tool.description, list(tool.parameters["properties"])) == ("find", "Find words.", ["start"])
    assert run(tool, start="a") == ["ab"]
    assert run(Tool(Index.size), of=3) == 3
    assert run(Tool(Index.twice), x=3) == 6


def test_callable_objects_and_classes() -> None:
    tool = Tool(Index(["ab", "cd"]))
    assert (tool.name, tool.description) == ("Index", "Keeps words.")
    assert run(tool, start="c") == 1
    made = run(Tool(Index, name="index"), words=["x"])
    assert made.words == ["x"]


def test_models_as_tools() -> None:
    """A class is called with its fields, as any class: a tool that makes a value of that type."""
    tool = Tool(Address, name="address")
    assert tool.description == "Where somebody lives."
    assert run(tool, street="a", number=3) == Address(street="a", number=3)
    with pytest.raises(ArgumentsInvalid, match="number: should be a valid integer"):
        tool.read({"street": "a", "number": "3"})


def test_partials_hide_what_they_have_bound() -> None:
    def f(query: str, key: str, limit: int = 5) -> tuple[Any, ...]:
        """Search."""
        return query, key, limit

    tool = Tool(functools.partial(f, key="secret"), name="search")
    assert "secret" not in str(tool.parameters)
    assert list(tool.parameters["properties"]) == ["query", "limit"]
    assert tool.description == "Search."
    assert run(tool, query="x", limit=2) == ("x", "secret", 2)
    with pytest.raises(ArgumentsInvalid, match="key: is not a parameter"):
        tool.read({"query": "x", "key": "other"})
    assert Tool(functools.partial(f, "x")).name == "f"
    assert run(Tool(functools.partial(functools.partial(f, "x"), limit=1)), key="k") == ("x", "k", 1)


def test_a_partial_of_a_function_with_kwargs_keeps_what_it_has_bound() -> None:
    def f(**more: Any) -> dict[str, Any]:
        return more

    tool = Tool(functools.partial(f, key="secret"))
    assert run(tool, x=1) == {"key": "secret", "x": 1}
    with pytest.raises(ArgumentsInvalid):
        tool.read({"key": "other"})


def test_async_functions_generators_and_positional_parameters() -> None:
    async def waits(x: int) -> int:
        return x

    async def streams(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    def counts(n: int) -> Iterator[int]:
        yield from range(n)

    def by_position(a: int, b: int = 3, /, c: int = 4, *, d: int) -> tuple[int, ...]:
        return a, b, c, d

    assert run(Tool(waits), x=3) == 3
    assert run(Tool(streams), n=2) == [0, 1]
    assert run(Tool(counts), n=2) == [0, 1]
    assert run(Tool(by_position), a=1, c=5, d=6) == (1, 3, 5, 6)


def test_a_decorated_function_shows_what_it_wraps() -> None:
    def noisy(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @noisy
    def f(x: Color) -> Color:
        """Return it."""
        return x

    tool = Tool(f)
    assert (tool.name, tool.description) == ("f", "Return it.")
    assert run(tool, x="red") is Color.RED


def test_a_node_is_its_function() -> None:
    graph = Graph()

    @graph.node(timeout=3)
    def double(x: int) -> int:
        return 2 * x

    tool = Tool(double)
    assert (tool.name, tool.runnable, tool.policies) == ("double", double.runnable, {})


def test_a_graph_takes_its_run_inputs() -> None:
    inner = Graph("inner")

    @inner.node
    def deep(depth: int = 2) -> int:
        """Dive.

        Args:
            depth: how deep.
        """
        return depth

    graph = Graph("brief")
    graph.add("inner", inner)

    @graph.node
    def hits(question: str, sort: Literal["a", "b"] = "a") -> str:
        return f"{question} {sort}"

    @graph.node
    def total(hits: str, inner: int) -> str:
        return f"{hits} {inner}"

    tool = Tool(graph, description="Brief.")
    assert tool.name == "brief"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "question": {"type": "string"},
            "depth": {"type": "integer", "default": 2, "description": "how deep."},
            "sort": {"enum": ["a", "b"], "type": "string", "default": "a"},
        },
        "required": ["question"],
        "additionalProperties": False,
    }
    assert run(tool, question="why", depth=4) == "why a 4"
    assert run(tool, question="why", sort="b") == "why b 2"


def test_a_graph_that_is_a_tool_opens_its_own_resources() -> None:
    graph, log = Graph("asks"), list[str]()

    @graph.resource
    def client() -> Iterator[str]:
        log.append("opened")
        yield "client"
        log.append("closed")

    @graph.node
    def ask(client: str, question: str) -> str:
        return f"{client}: {question}"

    tool = Tool(graph)
    assert list(tool.parameters["properties"]) == ["question"]
    calls = [{"id": str(i), "function": {"name": "asks", "arguments": '{"question": "why"}'}} for i in range(3)]
    answers = asyncio.run(run_tool_calls(calls, [tool]))
    assert [each.value for each in answers.results] == ["client: why"] * 3
    assert log == ["opened", "closed"]


def test_a_graph_that_cannot_be_planned_or_nested_is_no_tool() -> None:
    broken = Graph("broken")
    broken.add("a", lambda b: b, depends_on=["b"])
    with pytest.raises(GraphError, match="unknown-upstream"):
        Tool(broken)
    own = Graph("own", deadline=3)
    own.add("a", lambda: 1)
    with pytest.raises(GraphError, match="nested-options"):
        Tool(own)


# ---------------------------------------------------------------------- what may not


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Tool(3), "3 cannot be a tool: use a function"),
        (lambda: Tool(lambda x: x), r"called '<lambda>': use Tool\(…, name=…\)"),
        (lambda: Tool(print), r"takes \*args, but a model gives arguments by name"),
        (lambda: Tool(max), "does not say what it takes: give its JSON schema"),
        (lambda: Tools([len]), r"cannot be a tool: give the tools one by one, Tools\(\*functions\)"),
        (lambda: tools_of(len), r"<built-in function len> was given as the tools: use Tools\(…\) or a list of them"),
        (lambda: tools_of({"len": len}), r"was given as the tools: .*, and names by Tool\(…, name=…\)"),
        (lambda: tools_of("len"), "'len' was given as the tools"),
        (lambda: Tool(len, name="a b"), "called 'a b'"),
        (lambda: Tool(len, name="x" * 65), "cannot be a tool called"),
        (lambda: Tool(len, retries=3), r"retries= is not a node policy\. Did you mean 'retry'\?"),  # type: ignore[call-arg]
        (lambda: Tool(len, timeout=-1), "timeout"),
        (lambda: Tool(len, parameters=3), "use a JSON schema, as a dict, or a pydantic model"),
    ],
)
def test_what_cannot_be_a_tool_says_why(make: Callable[[], object], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        make()


def test_a_decorator_that_hides_is_told_what_to_do() -> None:
    def f(*args: Any, **kwargs: Any) -> None: ...

    with pytest.raises(GraphError, match=r"use functools\.wraps in it; or give parameters="):
        Tool(f)
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    assert Tool(f, parameters=schema).read({"x": 1}) == {"x": 1}


# ---------------------------------------------------------------------- Tools


def search(query: str, limit: int = 5) -> list[str]:
    """Search the web."""
    return [query] * limit


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def test_tools_are_a_mapping_in_order() -> None:
    tool = Tool(search, name="web_search", timeout=3)
    tools = Tools(add, tool, Tools(search))
    assert list(tools) == ["add", "web_search", "search"]
    assert len(tools) == 3
    assert tools["web_search"] is tool
    assert tool.policies == {"timeout": 3}
    assert [name in tools for name in ("add", "sub", 3)] == [True, False, False]
    assert tools.get("nope") is None
    assert repr(tools) == "Tools(add, web_search, search)"
    with pytest.raises(KeyError, match=r"there is no tool 'serch'\. Did you mean 'search'\?"):
        tools["serch"]
    assert list(Tools()) == []


def test_two_tools_with_one_name_are_refused_with_every_other_fault() -> None:
    with pytest.raises(GraphError) as caught:
        Tools(search, add, Tool(add, name="search"), 7, lambda x: x)
    assert [fault.code for fault in caught.value.faults] == ["duplicate-id", "bad-tool", "bad-tool"]
    same = Tool(add)
    assert list(Tools(same, Tools(same))) == ["add"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("serch", "search"),
        ("Search", "search"),
        ("functions.search", "search"),
        ("web-search", "web_search"),
        ("websearch", "web_search"),
        ("qqqq", None),
        ("", None),
        ("x" * 1_000_000, None),
        (None, None),
        ("\ud800", None),
    ],
)
def test_nearest_name(written: Any, meant: str | None) -> None:
    tools = Tools(search, Tool(search, name="web_search"), add)
    assert tools.nearest(written) == meant


def test_the_lists_that_providers_take() -> None:
    tools = Tools(search)
    schema = {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["query"],
        "additionalProperties": False,
    }
    assert tools.openai() == [
        {"type": "function", "function": {"name": "search", "description": "Search the web.", "parameters": schema}}
    ]
    assert tools.anthropic() == [{"name": "search", "description": "Search the web.", "input_schema": schema}]
    # What is handed out may be changed without harm.
    tools.anthropic()[0]["input_schema"]["properties"].clear()
    tools["search"].parameters.clear()
    assert tools.anthropic()[0]["input_schema"] == schema


def test_neither_the_package_nor_the_agents_folder_imports_pydantic() -> None:
    code = (
        "import sys, antichain, antichain.agents.tools.tool\n"
        "assert not {'pydantic', 'jsonschema', 'langchain_core'} & {*sys.modules}\n"
        "antichain.Tool(len, name='len', parameters={'properties': {'obj': {}}})\n"
        "assert 'pydantic' not in sys.modules\n"
        "antichain.Tools(len)\n"
        "assert 'pydantic' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("module", "options"), [("pydantic", ""), ("jsonschema", ", parameters={}")])
def test_a_missing_package_names_the_extra(module: str, options: str) -> None:
    code = (
        f"import sys; sys.modules['{module}'] = None\n"
        "import antichain\n"
        "def f(obj: int): ...\n"
        "try:\n"
        f"    antichain.Tool(f{options})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert f"needs the package {module}, which comes with the extra: pip install 'antichain[agents]'" in done.stdout


# ---------------------------------------------------------------------- odd types


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


def test_types_that_json_writes_as_texts() -> None:
    def f(day: date, amount: Decimal, key: UUID, pair: tuple[int, str], few: set[int], data: bytes) -> Any:
        return day, amount, key, pair, few, data

    key = "12345678-1234-5678-1234-567812345678"
    given = {"day": "2020-02-03", "amount": "1.50", "key": key, "pair": [1, "x"], "few": [1, 2], "data": "abc"}
    assert run(Tool(f), **given) == (date(2020, 2, 3), Decimal("1.50"), UUID(key), (1, "x"), {1, 2}, b"abc")


def test_generic_and_self_made_types() -> None:
    class Even(int):
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            from pydantic_core import core_schema

            return core_schema.no_info_after_validator_function(cls.check, core_schema.int_schema())

        @classmethod
        def check(cls, number: int) -> int:
            if number % 2:
                raise ValueError(f"{number} is odd")
            return number

    def f(box: Box[int], even: Even, free: T) -> Any:  # type: ignore[valid-type]
        return box, even, free, Even

    tool = Tool(f)
    assert tool.read({"box": {"content": 3}, "even": 2, "free": "x"})["box"] == Box(3)
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read({"box": {"content": "3"}, "even": 3, "free": "x"})
    assert [str(fault) for fault in caught.value.faults] == [
        'box.content: should be a valid integer (given "3")',
        "even: 3 is odd (given 3)",
    ]
