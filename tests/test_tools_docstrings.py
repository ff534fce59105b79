"""
What a docstring says of a tool and its parameters, in three styles and in none.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antichain import Tool
from antichain.agents.tools.docstrings import read_docstring

GOOGLE = """
Search the web.

Finds pages, not
people.

Args:
    query: what to look for,
        over several lines.
    limit (int, optional): how many: at most 10.
    filters (dict[str, int]): some.
    *rest: others.
    empty:

        on a line of its own.

Returns:
    Pages.

Raises:
    ValueError: query is empty.

Note:
    It is slow.

Example:
    >>> search("x")
"""

NUMPY = """
Search the web.

Finds pages, not
people.

Parameters
----------
query : str
    what to look for,
    over several lines.
limit : int, optional
    how many: at most 10.
filters
    some.
first, second : int
    two at once.

Returns
-------
list of str
    Pages.

Raises
------
ValueError
    query is empty.

Notes
-----
It is slow.
"""

SPHINX = """
Search the web.

Finds pages, not
people.

:param query: what to look for,
    over several lines.
:type query: str
:param int limit: how many: at most 10.
:param dict[str, int] filters: some.
:raises ValueError: query is empty.
:returns: Pages.
:rtype: list[str]
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_styles_say_the_same(text: str) -> None:
    found = read_docstring(text)
    assert found.description == "Search the web.\n\nFinds pages, not\npeople."
    assert found.parameters["query"] == "what to look for, over several lines."
    assert found.parameters["limit"] == "how many: at most 10."
    assert found.parameters["filters"] == "some."


def test_what_only_one_style_has() -> None:
    google = read_docstring(GOOGLE).parameters
    assert set(google) == {"query", "limit", "filters", "rest", "empty"}
    assert google["rest"] == "others."
    assert google["empty"] == "on a line of its own."
    numpy = read_docstring(NUMPY).parameters
    assert set(numpy) == {"query", "limit", "filters", "first", "second"}
    assert numpy["first"] == numpy["second"] == "two at once."
    assert set(read_docstring(SPHINX).parameters) == {"query", "limit", "filters"}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "   \n\n  ",
        "Args:",
        "Args:\n    ",
        "Args:\n\n\nDone.",
        "Parameters\n----------",
        ":param",
        ":param x",
        "Note: this is prose.",
        "Args: none of them matter.",
        "Args:\nnot indented",
    ],
)
def test_what_looks_like_a_section_and_is_none(text: str | None) -> None:
    assert read_docstring(text).parameters == {}


def test_prose_with_colons_stays_prose() -> None:
    text = "Convert: from one to another.\n\nUnits: metres.\nfor example: 3"
    assert read_docstring(text).description == text


def test_text_behind_the_sections_belongs_to_the_description() -> None:
    text = "First.\n\nArgs:\n    x: one.\n\nLast."
    assert read_docstring(text).description.split() == ["First.", "Last."]
    assert read_docstring(text).parameters == {"x": "one."}


def test_other_names_of_the_section() -> None:
    for title in ("Args", "Arguments", "Parameters", "Params", "Keyword Args", "args"):
        assert read_docstring(f"Do.\n\n{title}:\n    x: one.").parameters == {"x": "one."}, title


def test_descriptions_reach_the_schema() -> None:
    def google(query: str, limit: int = 3) -> None: ...

    google.__doc__ = GOOGLE
    tool = Tool(google)
    assert tool.description == "Search the web.\n\nFinds pages, not\npeople."
    assert tool.parameters["properties"]["query"] == {
        "type": "string",
        "description": "what to look for, over several lines.",
    }
    assert Tool(google, description="Mine.").description == "Mine."
    assert Tool(google, description="").description == ""


class Search:
    """
    Search the web.

    Args:
        key: of the service.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, query: str) -> str:
        """
        Args:
            query: what to look for.
        """
        return query


def test_an_object_is_described_by_its_class_and_its_call() -> None:
    tool = Tool(Search("x"))
    assert tool.description == "Search the web."
    assert tool.parameters["properties"]["query"]["description"] == "what to look for."
    made = Tool(Search)
    assert made.parameters["properties"]["key"]["description"] == "of the service."


@given(st.text(alphabet=" \t\n:-*(),.aArgsParamteturns_", max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read(text: str) -> None:
    found = read_docstring(text)
    assert all(found.parameters.values())
    assert all(name.replace("_", "a").isalnum() for name in found.parameters)


@pytest.mark.parametrize(
    "line",
    ["x (" * 20_000, "x " * 50_000, ":param " + "x " * 50_000, "x, " * 50_000, "*" * 100_000, "x(" + ")" * 100_000],
)
def test_long_lines_take_no_time(line: str) -> None:
    """No pattern goes back over the line again and again: ten times the length, well below a hundred times as long."""

    def seconds(text: str) -> float:
        start = time.process_time()
        for style in (f"Args:\n    {text}", f"Parameters\n----------\n{text}", text):
            read_docstring(style)
        return time.process_time() - start

    seconds(line[:100])
    assert seconds(line) < 40 * max(seconds(line[: len(line) // 10]), 0.005)
