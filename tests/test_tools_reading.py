"""
How arguments that a model wrote are read: every fault with its path, and nothing that a model writes ends the program.
"""

import gc
import json
import pickle
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from antichain import ArgumentsInvalid, Retry, Tool
from antichain.agents.tools.declared import is_declared
from antichain.agents.tools.faults import MAX_FAULTS, as_path, as_shown
from antichain.agents.tools.plain import MAX_BITS, MAX_DEPTH, MAX_VALUES, look


@dataclass
class Filter:
    field: str
    year: int = 2000
    tags: list[str] = field(default_factory=list)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


def search(query: str, limit: int = 5, filters: list[Filter] = [], sort: Literal["date", "rank"] = "rank") -> None:  # noqa: B006
    """Search."""


SEARCH = Tool(search)
# The same shape, as a schema that was handed in.
GIVEN = Tool(lambda **given: given, name="search", parameters={**SEARCH.parameters, "required": ["query"]})


def faults(tool: Tool, arguments: object) -> list[str]:
    with pytest.raises(ArgumentsInvalid) as caught:
        tool.read(arguments)
    assert caught.value.tool == tool.name
    return [str(fault) for fault in caught.value.faults]


# ---------------------------------------------------------------------- what is wrong, and where


def test_every_fault_is_named_at_once_with_its_path() -> None:
    given = {
        "qury": "x",
        "limit": "3",
        "filters": [{"field": "a", "year": 1999}, {"year": 1.5, "tags": ["x", 2]}, 7],
        "sort": "size",
    }
    assert faults(SEARCH, given) == [
        "qury: is not a parameter. Did you mean 'query'?",
        "query: is missing",
        'limit: should be a valid integer (given "3")',
        "filters[1].field: is missing",
        "filters[1].year: should be a valid integer (given 1.5)",
        "filters[1].tags[1]: should be a valid string (given 2)",
        "filters[2]: should be an object (given 7)",
        "sort: should be 'date' or 'rank' (given \"size\")",
    ]


def test_every_fault_against_a_given_schema() -> None:
    given = {
        "qury": "x",
        "limit": "3",
        "filters": [{"field": "a", "year": 1999}, {"year": 1.5, "tags": ["x", 2]}, 7],
        "sort": "size",
    }
    assert sorted(faults(GIVEN, given)) == [
        "filters[1].field: is missing",
        "filters[1].tags[1]: should be of type string (given 2)",
        "filters[1].year: should be of type integer (given 1.5)",
        "filters[2]: should be of type object (given 7)",
        'limit: should be of type integer (given "3")',
        "query: is missing",
        "qury: is not a parameter. Did you mean 'query'?",
        "sort: should be one of 'date', 'rank' (given \"size\")",
    ]


def test_the_message_is_for_a_person_and_the_faults_for_a_program() -> None:
    with pytest.raises(ArgumentsInvalid) as caught:
        SEARCH.read({"query": 3, "limit": "x"})
    assert str(caught.value) == (
        "the arguments of tool 'search' have 2 faults:\n"
        "  query: should be a valid string (given 3)\n"
        '  limit: should be a valid integer (given "x")'
    )
    first = caught.value.faults[0]
    assert (first.path, first.problem, first.given) == ("query", "should be a valid string", "3")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.tool, again.faults, str(again)) == ("search", caught.value.faults, str(caught.value))
    assert isinstance(caught.value, TypeError)


def test_the_parts_of_a_union_say_one_thing_together() -> None:
    def f(a: int | list[str], b: Cat | Dog) -> None: ...

    assert faults(Tool(f), {"a": "x", "b": {"kind": "cat", "lives": "nine"}}) == [
        'a: should be a valid integer; or should be a valid array (given "x")',
        'b.lives: should be a valid integer (given "nine")',
        "b.kind: should be 'dog' (given \"cat\")",
        "b.name: is missing",
    ]


@pytest.mark.parametrize("arguments", [None, 3, "text", ["query"], 1.5, b"{}"])
def test_arguments_that_are_no_object(arguments: object) -> None:
    assert len(faults(SEARCH, arguments)) == 1
    assert faults(SEARCH, arguments)[0].startswith("should be an object with the tool's parameters (given ")


def test_any_mapping_is_an_object() -> None:
    for kind in (dict, OrderedDict, MappingProxyType):
        assert SEARCH.read(kind({"query": "x"})) == {"query": "x"}
        assert GIVEN.read(kind({"query": "x"})) == {"query": "x"}


def test_names_that_are_no_texts() -> None:
    given: Any = {3: "x", ("a",): 1, "query": "x"}
    assert [line.partition(":")[0] for line in faults(SEARCH, given)] == ["[3]", "[a list of 1]"]


def test_nothing_given_is_changed() -> None:
    given = {"query": "x", "limit": None, "filters": [{"field": "a", "year": None}]}
    before = json.dumps(given)
    SEARCH.read(given)
    GIVEN.read(given)
    assert json.dumps(given) == before


# ---------------------------------------------------------------------- as strictly as JSON


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, [1, -3, 10**30], ["1", 1.5, True, None, [1]]),
        (float, [1, 1.5, -0.0], ["1", True, None]),
        (str, ["", "ü", "\U0001f600"], [1, True, None, ["x"]]),
        (bool, [True, False], [0, 1, "true", "yes", None]),
        (list[int], [[], [1]], ["1", {"0": 1}, [1, "2"], (1, "2")]),
        (dict[str, int], [{}, {"a": 1}], [[], {"a": "1"}, [["a", 1]]]),
    ],
)
def test_a_value_must_have_its_type(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = kind
    tool = Tool(f)
    given = Tool(lambda **given: given, name="f", parameters=tool.parameters)
    for value in right:
        assert tool.read({"x": value}) == given.read({"x": value}) == {"x": value}
    for value in wrong:
        assert faults(tool, {"x": value})[0].startswith("x")
        assert faults(given, {"x": value})[0].startswith("x")


def test_null_counts_as_left_out_where_that_is_allowed() -> None:
    def f(a: int, b: int = 3, c: int | None = 4, d: list[Filter] = [], e: Any = 5) -> None: ...  # noqa: B006

    tool = Tool(f)
    given = Tool(lambda **given: given, name="f", parameters=tool.parameters)
    assert tool.read({"a": 1, "b": None, "c": None, "d": None, "e": None}) == {"a": 1, "c": None, "e": None}
    assert given.read({"a": 1, "b": None, "c": None, "d": None, "e": None}) == {"a": 1, "c": None, "e": None}
    assert tool.read({"a": 1, "d": [{"field": "x", "year": None}]})["d"] == [Filter("x")]
    assert given.read({"a": 1, "d": ({"field": "x", "year": None},)})["d"] == [{"field": "x"}]
    # Where it is not, the other nulls are forgiven all the same.
    assert faults(tool, {"a": None, "b": None, "d": [{"field": None, "year": None}]}) == [
        "a: should be a valid integer (given null)",
        "d[0].field: should be a valid string (given null)",
    ]
    assert faults(tool, {"a": 1, "b": None, "d": [None]}) == ["d[0]: should be an object (given null)"]


def test_null_under_a_name_of_the_models_choice_is_not_left_out() -> None:
    def f(each: dict[str, int], deep: dict[str, Filter] = {}, **more: int) -> None: ...  # noqa: B006

    tool = Tool(f)
    given = Tool(lambda **given: given, name="f", parameters=tool.parameters)
    arguments = {"each": {"a": None}, "deep": {"b": {"field": "x", "year": None}}, "c": None, "d": {"e": None}}
    for each in (tool, given):
        assert sorted(fault.path for fault in each.faults(arguments)) == ["c", "d", "each.a"]
    assert tool.read({"each": {}, "deep": {"b": {"field": "x", "year": None}}})["deep"] == {"b": Filter("x")}


def test_null_for_a_field_found_by_every_way_of_a_schema() -> None:
    ways: list[tuple[Any, Any, Any]] = [
        ({"properties": {"a": {"type": "integer"}}}, {"a": None}, {}),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "integer"}}}]}, {"a": None}, {}),
        ({"allOf": [{"$ref": "#/$defs/A~1B"}]}, {"a": None}, {}),
        ({"prefixItems": [{"$ref": "#/$defs/A~1B"}], "items": True}, [{"a": None}, {"a": None}], [{}, {"a": None}]),
        ({"additionalProperties": {"$ref": "#/$defs/A~1B"}}, {"x": {"a": None}}, {"x": {}}),
        ({"$ref": "#/$defs/R"}, {"r": [{"a": None}], "a": None}, {"r": [{}]}),
    ]
    defs = {
        "A/B": {"properties": {"a": {"type": "integer"}}},
        "R": {"properties": {"r": {"items": {"$ref": "#/$defs/R"}}, "a": {"type": "integer"}}},
    }
    for schema, written, read in ways:
        tool = Tool(lambda **given: given, name="f", parameters={"properties": {"x": schema}, "$defs": defs})
        assert tool.read({"x": written}) == {"x": read}, schema
    loop = {"properties": {"x": {"anyOf": [{"$ref": "#/properties/x"}, {"properties": {"a": {"type": "integer"}}}]}}}
    assert [is_declared(loop, ("x", name)) for name in "ab"] == [True, False]


# ---------------------------------------------------------------------- values of other tools


def test_python_objects_are_taken_for_what_they_are() -> None:
    def f(filters: list[Filter], first: Filter, number: float, rest=None) -> None: ...  # type: ignore[no-untyped-def]

    tool, one = Tool(f), Filter("x")
    own = object()
    read = tool.read({"filters": (one, {"field": "y"}), "first": one, "number": 2, "rest": own})
    assert read == {"filters": [one, Filter("y")], "first": one, "number": 2.0, "rest": own}
    assert read["first"] is one
    assert faults(tool, {"filters": [one], "first": own, "number": "many"}) == [
        f"first: should be a dictionary or an instance of Filter (given {as_shown(own)})",
        'number: should be a valid number, unable to parse string as a number (given "many")',
    ]


def test_an_object_for_a_parameter_of_any_type_loosens_no_other() -> None:
    def f(own, number: int, limited: Any = Field(3, gt=2)) -> None: ...  # type: ignore[no-untyped-def]

    tool = Tool(f)
    assert faults(tool, {"own": object(), "number": "3", "limited": 1}) == [
        'number: should be a valid integer (given "3")',
        "limited: should be greater than 2 (given 1)",
    ]


def test_values_that_come_later_are_not_looked_at() -> None:
    given = {"query": ["$s1"], "limit": "$s2.n", "filters": [{"field": 3, "year": "$s3"}, "$s4"], "sort": "up"}
    later = [("query",), ("limit",), ("filters", 0, "year"), ("filters", 1)]
    assert [str(fault) for fault in SEARCH.faults(given, later=later)] == [
        "filters[0].field: should be a valid string (given 3)",
        "sort: should be 'date' or 'rank' (given \"up\")",
    ]
    assert [str(fault) for fault in SEARCH.faults({"limit": "$a"}, later=[("limit",)])] == ["query: is missing"]
    assert SEARCH.faults({"query": "x"}) == ()
    assert [fault.path for fault in GIVEN.faults(given, later=later)] == ["filters[0].field", "sort"]

    # A fault of the whole may be one of what is not there yet.
    def either(x: list[int] | dict[str, int]) -> None: ...

    assert Tool(either).faults({"x": [1, "$a"]}, later=[("x", 1)]) == ()
    assert len(Tool(either).faults({"x": [1, "$a"]})) == 2


# ---------------------------------------------------------------------- hostile


def nested(levels: int, inside: object = 1) -> Any:
    for _ in range(levels):
        inside = [inside]
    return inside


def anything(x: Any = None, **more: Any) -> None:
    """Take what there is."""


class Tree(BaseModel):
    children: list["Tree"] = []


def tree(root: Tree) -> None: ...


FREE = Tool(anything)
FREE_GIVEN = Tool(anything, parameters={"type": "object"})


@pytest.mark.parametrize("tool", [FREE, FREE_GIVEN], ids=["signature", "schema"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_refused_everywhere(tool: Tool, number: float) -> None:
    assert faults(tool, {"x": {"a": [1, number]}, "y": number}) == [
        f"x.a[1]: should be a finite number (given {json.dumps(number)})",
        f"y: should be a finite number (given {json.dumps(number)})",
    ]


@pytest.mark.parametrize("tool", [FREE, FREE_GIVEN], ids=["signature", "schema"])
def test_half_characters_are_refused_and_can_be_written(tool: Tool) -> None:
    said = faults(tool, {"x": ["ok\ud83d", {"\udc00": 1}]})
    assert len(said) == 2
    said += faults(tool, {"\ud800": 1}) if tool is SEARCH else []
    for line in said:
        assert "half a character" in line
        line.encode()
    assert tool.read({"x": "\U0001f600\x00"}) == {"x": "\U0001f600\x00"}


def test_every_text_of_an_error_can_be_written() -> None:
    given = {"\ud800": 1, "limit": "\udfff", "sort": "\x1b[31m", "query": "x"}
    with pytest.raises(ArgumentsInvalid) as caught:
        SEARCH.read(given)
    text = f"{caught.value}{caught.value.faults}"
    text.encode()
    assert "\x1b" not in text

    def refuses(
        x: Annotated[str, AfterValidator(lambda x: (_ for _ in ()).throw(ValueError("no \ud800")))],
    ) -> None: ...

    str(faults(Tool(refuses), {"x": "y"})).encode()


@pytest.mark.parametrize("tool", [FREE, FREE_GIVEN, SEARCH, Tool(tree)], ids=["signature", "schema", "typed", "tree"])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 5_000, 50_000])
def test_deep_nesting_is_refused(tool: Tool, levels: int) -> None:
    for name in ("x", "query", "root"):
        if name in tool.parameters.get("properties", {}) or tool is FREE_GIVEN:
            assert f"{name}: is nested deeper than {MAX_DEPTH} levels" in faults(tool, {name: nested(levels)})
    if tool.name == "tree":
        objects: Any = {}
        for _ in range(levels):
            objects = {"children": [objects]}
        assert faults(tool, {"root": objects}) == [f"root: is nested deeper than {MAX_DEPTH} levels"]


@pytest.mark.parametrize("tool", [FREE, FREE_GIVEN], ids=["signature", "schema"])
def test_the_allowed_depth_is_read(tool: Tool) -> None:
    deep = nested(MAX_DEPTH)
    assert tool.read({"x": deep}) == {"x": deep}
    half: Any = {}
    for _ in range(MAX_DEPTH // 2 - 1):
        half = {"children": [half]}
    assert Tool(tree).read({"root": half})["root"].children
    recursive = {**Tool(tree).parameters}
    assert Tool(anything, parameters=recursive).read({"root": half}) == {"root": half}


def test_a_list_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    assert faults(FREE, {"x": loop}) == [f"x: is nested deeper than {MAX_DEPTH} levels"]


def test_a_value_shared_too_often_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antichain.agents.tools.plain.MAX_VALUES", 10_000)
    doubled: Any = [1]
    for _ in range(MAX_DEPTH - 2):
        doubled = [doubled, doubled]
    assert faults(FREE, {"x": doubled}) == ["x: has more than 10,000 values"]
    assert MAX_VALUES >= 1_000_000


@pytest.mark.parametrize("tool", [FREE, FREE_GIVEN, SEARCH], ids=["signature", "schema", "typed"])
def test_huge_numbers(tool: Tool) -> None:
    name = "limit" if tool is SEARCH else "x"
    said = faults(tool, {"query": "x", name: 10**5_000})
    assert f"{name}: is too large a number: use at most {MAX_BITS} bits (given a number of 5001 digits)" in said
    assert tool.read({"query": "x", name: 10**900})[name] == 10**900
    assert "given a number of 901 digits" in faults(SEARCH, {"query": 10**900})[0]


def test_a_great_many_faults_are_counted_not_listed() -> None:
    """A list of a hundred thousand wrong items costs no more than checking it: no million messages."""

    def f(numbers: list[int], rest: list[Filter] = []) -> None: ...  # noqa: B006

    tool, given = Tool(f), ["x"] * 100_000
    schema_tool = Tool(anything, name="f", parameters=tool.parameters)
    gc.collect()
    tracemalloc.start()
    said = faults(tool, {"numbers": given, "rest": [{}] * 1000})
    by_schema = faults(schema_tool, {"numbers": given})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(said) <= MAX_FAULTS + 1
    assert said[0] == 'numbers[0]: should be a valid integer (given "x")'
    assert said[-1] == "has 101000 faults in all: only the first are named"
    assert "rest[0].field: is missing" in said
    assert by_schema[0] == 'numbers[0]: should be of type integer (given "x")'
    assert len(by_schema) == MAX_FAULTS
    assert peak < 32_000_000
    late = [1] * 1000 + ["x"] * 1000
    assert faults(tool, {"numbers": late}) == ["has 1000 faults in all: only the first are named"]
    assert len(faults(FREE, {"x": [float("nan")] * 100_000})) == MAX_FAULTS
    assert len(faults(FREE, {"x": [{"\ud800": 1, f"{i}\ud800": 2} for i in range(1000)]})) == MAX_FAULTS


def test_what_is_named_of_a_great_many_faults_is_a_fault() -> None:
    """Only the first items are looked at again: what they lack because of that is no fault."""
    names = [f"n{i}" for i in range(40)]
    wide = make_dataclass("Wide", [(name, int) for name in names])

    def f(
        many: list[int], fine: Annotated[list[int], Field(min_length=30)], each: dict[str, int], one: Any, gone: int
    ) -> None: ...

    f.__annotations__["one"] = wide
    given = {"each": dict.fromkeys(names, "x"), "one": dict.fromkeys(names, "x")}
    said = faults(Tool(f), {**given, "many": ["x"] * 200, "fine": [1] * 50})
    assert said[-1] == "has 281 faults in all: only the first are named"
    assert "gone: is missing" in said
    assert 'each.n0: should be a valid integer (given "x")' in said
    assert 'one.n0: should be a valid integer (given "x")' in said
    assert [line for line in said if "is missing" in line] == ["gone: is missing"]
    assert not [line for line in said if "at least" in line]


def test_a_great_many_unknown_names() -> None:
    given = {f"limit{i}": i for i in range(100_000)}
    said = faults(SEARCH, {"query": "x", **given})
    assert len(said) == 21
    assert said[0] == "limit0: is not a parameter. Did you mean 'limit'?"
    assert said[-1] == "has 100000 names that are no parameters: only the first are named"


@pytest.mark.parametrize("tool", [SEARCH, GIVEN], ids=["signature", "schema"])
def test_huge_texts_are_shortened(tool: Tool) -> None:
    said = faults(tool, {"query": "x", "limit": "y" * 5_000_000, "z" * 5_000_000: 1, "sort": "s" * 5_000_000})
    assert len(said) == 3
    assert max(map(len, said)) < 400


def test_reading_is_linear_in_what_is_given() -> None:
    """Ten times as many values take ten times as long, not a hundred times: measured as a ratio, with slack."""

    def f(rows: list[dict[str, int]]) -> None: ...

    def seconds(count: int) -> float:
        given = {"rows": [{"a": 1, "b": 2}] * count}
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            Tool(f).read(given)
            best = min(best, time.process_time() - start)
        return best

    seconds(100)
    assert seconds(50_000) < 40 * seconds(5_000)


def test_a_validator_that_breaks_is_a_fault_of_the_arguments() -> None:
    def breaks(value: object) -> object:
        raise KeyError("oh")

    def f(x: Annotated[str, BeforeValidator(breaks)]) -> None: ...

    assert faults(Tool(f), {"x": "y"}) == ["could not be checked: KeyError: 'oh'"]


class Sly(dict):  # type: ignore[type-arg]
    """A mapping whose items lie."""

    def items(self) -> Any:
        yield "query", float("nan")


def test_a_mapping_of_its_own_kind_is_no_json_inside() -> None:
    assert not look([Sly(a=1)]).is_plain
    assert look([{"a": (1, "x", None, True, 1.5)}]).is_plain
    assert not look({1: 2}).is_plain
    assert not look([object()]).is_plain
    assert isinstance(Sly(), Mapping)


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ((), ""),
        (("a",), "a"),
        (("filters", 2, "year"), "filters[2].year"),
        (("a b", "c.d", ""), '["a b"]["c.d"][""]'),
        (("x" * 1000,), f'["{"x" * 79}…"]'),
        (("\ud800", "\n"), '["\\ud800"]["\\n"]'),
        ((0, 1), "[0][1]"),
    ],
)
def test_paths(keys: tuple[object, ...], path: str) -> None:
    assert as_path(keys) == path


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("ü\n", '"ü\\n"'),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty object"),
        ({"a": 1, "b": 2}, 'an object with "a", "b"'),
        ({str(i): i for i in range(8)}, 'an object with "0", "1", "2", "3", "4" and 3 more'),
        (10**300, "a number of 301 digits"),
        (Filter("x"), "Filter(field='x', year=2000, tags=[])"),
    ],
)
def test_values_are_shown_as_json(value: object, shown: str) -> None:
    assert as_shown(value) == shown


def test_invalid_arguments_are_not_worth_another_attempt() -> None:
    """The same arguments are as wrong the second time."""
    error = ArgumentsInvalid("f", [])
    assert not Retry(attempts=3).retryable(error)
