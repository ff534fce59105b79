"""
The same with LangChain's own classes, where langchain-core is installed: tools, structured tools, chains.
"""

import asyncio
import warnings
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from antichain import ArgumentsInvalid, Graph, Tool, Tools, value

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    pytest.importorskip("langchain_core", reason="pip install langchain-core")
    from langchain_core.prompts import PromptTemplate
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, tool

# Its tracing looks for keys in the environment; nothing here traces.
pytestmark = pytest.mark.filterwarnings("ignore")


class Query(BaseModel):
    """What to look for."""

    query: str = Field(description="the words")
    limit: int = 5


def run(made: Tool, **arguments: Any) -> Any:
    graph = Graph()
    inputs = {name: value(given) for name, given in made.read(arguments).items()}
    graph.add("node", made.runnable, depends_on=[], inputs=inputs)
    return graph.run()["node"]


@tool
def search(query: str, limit: int = 5) -> str:
    """Search the web."""
    return f"{query} {limit}"


@tool
async def waits(query: str, limit: int = 5) -> str:
    """Search the web."""
    await asyncio.sleep(0)
    return f"{query} {limit}"


class Search(BaseTool):
    name: str = "search"
    description: str = "Search the web."
    args_schema: type[BaseModel] = Query

    def _run(self, query: str, limit: int = 5) -> str:
        return f"{query} {limit}"


def plain(query: str, limit: int = 5) -> str:
    return f"{query} {limit}"


SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    "required": ["query"],
}
MADE = {
    "decorated": search,
    "decorated async": waits,
    "class": Search(),
    "structured": StructuredTool.from_function(plain, name="search", description="Search the web.", args_schema=Query),
    "schema as a dict": StructuredTool.from_function(
        plain, name="search", description="Search the web.", args_schema=SCHEMA
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_tools(kind: str) -> None:
    (made,) = Tools(MADE[kind]).values()
    assert made.name in ("search", "waits")
    assert made.description == "Search the web."
    assert made.parameters["properties"]["query"]["type"] == "string"
    assert made.parameters["required"] == ["query"]
    assert run(made, query="x") == "x 5"
    assert run(made, query="x", limit=2) == "x 2"
    with pytest.raises(ArgumentsInvalid) as caught:
        made.read({"qury": "x", "limit": "3"})
    assert {fault.path for fault in caught.value.faults} == {"qury", "query", "limit"}


def test_injected_arguments_are_not_from_a_model() -> None:
    @tool
    def mine(query: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Search what is mine."""
        return f"{query} {user}"

    made = Tool(mine)
    assert list(made.parameters["properties"]) == ["query"]
    with pytest.raises(ArgumentsInvalid, match="user: is not a parameter"):
        made.read({"query": "x", "user": "root"})


def test_a_tool_that_fails_fails_its_node() -> None:
    @tool
    def breaks(query: str) -> str:
        """Break."""
        raise ValueError(query)

    graph = Graph()
    graph.add("node", Tool(breaks).runnable, inputs={"query": "why"})
    result = graph.run(on_error="continue")
    assert isinstance(result.nodes["node"].error, ValueError)


def test_chains() -> None:
    chain = PromptTemplate.from_template("{a} and {b}") | RunnableLambda(lambda prompt: prompt.to_string())
    made = Tool(chain, name="prompt", description="Join.")
    assert set(made.parameters["properties"]) == {"a", "b"}
    assert run(made, a="x", b="y") == "x and y"


def test_a_runnable_of_one_value() -> None:
    def length(text: str) -> int:
        return len(text)

    made = Tool(RunnableLambda(length), name="length", description="Count.")
    assert made.parameters["properties"]["input"]["type"] == "string"
    assert run(made, input="four") == 4
    with pytest.raises(ArgumentsInvalid, match="input: should be of type string"):
        made.read({"input": 4})
