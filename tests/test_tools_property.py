"""
Laws of tools on random types and random arguments: the schema that a model is shown accepts what read() accepts.
"""

import json
from dataclasses import make_dataclass
from enum import Enum
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import create_model
from typing_extensions import TypedDict

from antichain import ArgumentsInvalid, GraphError, Tool, Tools
from antichain.agents.tools.plain import look


class Color(Enum):
    RED = "red"
    FOUR = 4


class Size(Enum):
    EIGHT = 8
    NINE = 9


NAMES = st.sampled_from(["a", "b", "schema", "_x", "int", "items"])
texts = st.text(max_size=5)
numbers = (
    st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.sampled_from([10**400, -(10**400), 0, 1])
)

# A type, and a strategy of JSON values that fit it.
Typed = tuple[Any, st.SearchStrategy[Any]]
SIMPLE: list[Typed] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300)),
    (str, texts),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, st.integers() | texts | st.none()),
    # Not 1, and not true: for pydantic, as for Python, they are equal.
    (Literal["a", 7, None], st.sampled_from(["a", 7, None])),  # noqa: PYI061  # with None inside
    (Literal["b"], st.just("b")),
    (Color, st.sampled_from(["red", 4])),
    (Size, st.sampled_from([8, 9])),
]


def listed(part: Typed) -> Typed:
    return list[part[0]], st.lists(part[1], max_size=3)  # type: ignore[name-defined]


def mapped(part: Typed) -> Typed:
    return dict[str, part[0]], st.dictionaries(texts, part[1], max_size=3)  # type: ignore[name-defined]


def optional(part: Typed) -> Typed:
    return Optional[part[0]], st.none() | part[1]  # noqa: UP045


def paired(parts: tuple[Typed, Typed]) -> Typed:
    return tuple[parts[0][0], parts[1][0]], st.tuples(parts[0][1], parts[1][1]).map(list)  # type: ignore[name-defined]


def united(parts: tuple[Typed, Typed]) -> Typed:
    return Union[parts[0][0], parts[1][0]], parts[0][1] | parts[1][1]  # noqa: UP007


def recorded(kind: str) -> Any:
    def make(fields: dict[str, Typed]) -> Typed:
        # Models keep these names for themselves.
        named = {name.strip("_").replace("schema", "s"): part for name, part in fields.items()}
        types = {name: part[0] for name, part in named.items()}
        values = st.fixed_dictionaries({name: part[1] for name, part in named.items()})
        if kind == "dataclass":
            return make_dataclass("Record", list(types.items())), values
        if kind == "model":
            return create_model("Record", **{name: (each, ...) for name, each in types.items()}), values  # type: ignore[call-overload]
        return TypedDict("Record", types), values  # type: ignore[operator]

    return make


def wider(parts: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    fields = st.dictionaries(NAMES, parts, min_size=1, max_size=3)
    return st.one_of(
        parts.map(listed),
        parts.map(mapped),
        parts.map(optional),
        st.tuples(parts, parts).map(paired),
        st.tuples(parts, parts).map(united),
        *[fields.map(recorded(kind)) for kind in ("dataclass", "model", "typed dict")],
    )


types = st.recursive(st.sampled_from(SIMPLE), wider, max_leaves=6)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.sampled_from(["red", "a", "b", "1", "true"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES | texts, part, max_size=3),
    max_leaves=8,
)


def tool_of(parameters: dict[str, Typed], defaults: bool = False) -> Tool:
    lines = ", ".join(f"{name}=DEFAULT" if defaults else name for name in parameters)
    scope: dict[str, Any] = {"DEFAULT": object()}
    exec(f"def f({lines}): return None", scope)
    scope["f"].__annotations__ = {name: part[0] for name, part in parameters.items()}
    return Tool(scope["f"])


signatures = st.dictionaries(NAMES, types, min_size=1, max_size=3)


@pytest.mark.slow
@given(signatures, st.data())
@settings(max_examples=100, deadline=None)
def test_what_fits_the_types_is_read_and_fits_the_schema(parameters: dict[str, Typed], data: st.DataObject) -> None:
    tool = tool_of(parameters)
    arguments = data.draw(st.fixed_dictionaries({name: part[1] for name, part in parameters.items()}))
    Draft202012Validator.check_schema(tool.parameters)
    assert Draft202012Validator(tool.parameters).is_valid(arguments)
    assert set(tool.read(arguments)) == set(parameters)
    assert tool.faults(arguments) == ()
    assert Tool(tool.runnable, parameters=tool.parameters).read(arguments) == arguments


@pytest.mark.slow
@given(signatures, st.data())
@settings(max_examples=250, deadline=None)
def test_the_schema_accepts_what_is_read(parameters: dict[str, Typed], data: st.DataObject) -> None:
    """Nothing has a default here, so that no null can count as left out."""
    tool = tool_of(parameters)
    fitting = {name: part[1] | json_values for name, part in parameters.items()}
    arguments = data.draw(st.fixed_dictionaries(fitting) | st.dictionaries(NAMES | texts, json_values, max_size=3))
    try:
        tool.read(arguments)
    except ArgumentsInvalid as error:
        assert error.faults
        str(error).encode()
        return
    errors = [error.message for error in Draft202012Validator(tool.parameters).iter_errors(arguments)]
    note(json.dumps(tool.parameters))
    assert errors == []


@pytest.mark.slow
@given(signatures, st.data())
@settings(max_examples=100, deadline=None)
def test_the_strict_schema_accepts_what_is_read_with_null_for_what_is_left_out(
    parameters: dict[str, Typed], data: st.DataObject
) -> None:
    tool = tool_of(parameters, defaults=True)
    try:
        strict = Tools(tool).openai(strict=True)[0]["function"]["parameters"]
    except GraphError:
        return  # has no strict form, and says so
    given_ones = data.draw(st.sets(st.sampled_from(list(parameters))))
    arguments = {name: data.draw(parameters[name][1]) if name in given_ones else None for name in parameters}
    assert Draft202012Validator(strict).is_valid(arguments)
    read = tool.read(arguments)
    assert given_ones <= set(read)


@given(signatures, st.dictionaries(NAMES | texts, json_values, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_faults_elsewhere_stay_when_a_value_comes_later(
    parameters: dict[str, Typed], arguments: dict[str, Any], data: st.DataObject
) -> None:
    """What is said of one argument does not depend on whether another one is known."""
    tool = tool_of(parameters)
    later = data.draw(st.sampled_from([*parameters]))
    known = [str(fault) for fault in tool.faults(arguments)]
    open_ones = [str(fault) for fault in tool.faults({**arguments, later: "$s1"}, later=[(later,)])]
    about = [line for line in known if not line.startswith(later) and "at all" not in line]
    assert [line for line in open_ones if not line.startswith(later)] == about


@given(json_values)
@settings(max_examples=100, deadline=None)
def test_json_is_plain(value: Any) -> None:
    assert look(json.loads(json.dumps(value, allow_nan=False))).is_plain
