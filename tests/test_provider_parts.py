"""
The parts of the fake provider that need no server: how tokens are counted, quotas, made-up JSON, chance.
"""

import asyncio
import json
import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from antichain.testing import Quota, Reply, ToolCall
from antichain.testing.provider.answers import embed, said_in, summary
from antichain.testing.provider.chance import content_key, draw
from antichain.testing.provider.checks import Refused, read_chat
from antichain.testing.provider.filling import FORMATS, Filler
from antichain.testing.provider.gate import Gate, Window
from antichain.testing.provider.script import Behaviour
from antichain.testing.provider.tokens import Usage, count, prompt_tokens, split
from antichain.testing.provider.wire import make_choice, stream_events


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    pieces = split(text)
    assert "".join(pieces) == text
    assert count(text) == len(pieces)
    assert all(pieces)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("One two, three.", ["One", " two", ",", " three", "."]),
        ("incomprehensible", ["incomp", "rehens", "ible"]),
        ("a \n\n b ", ["a", " \n\n b", " "]),
        ("日本語", ["日本語"]),
    ],
)
def test_the_rule_for_tokens(text: str, tokens: list[str]) -> None:
    assert split(text) == tokens


def test_what_a_prompt_costs() -> None:
    def cost(*messages: dict[str, Any], **fields: Any) -> int:
        return prompt_tokens({"messages": list(messages), **fields})

    hi = {"role": "user", "content": "Hi."}
    assert cost(hi) == 3 + 4 + 2
    assert cost(hi, hi) == 3 + 2 * (4 + 2)
    assert cost({"role": "user", "content": [{"type": "text", "text": "Hi."}, {"type": "image_url"}]}) == 3 + 4 + 2 + 85
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert cost({"role": "assistant", "content": None, "tool_calls": [call]}) == 3 + 4 + 1 + 2
    assert cost(hi, tools=[{"a": 1}]) == cost(hi) + count('{"a":1}')
    schema = {"name": "x", "schema": {"type": "string"}}
    asked = cost(hi, response_format={"type": "json_schema", "json_schema": schema})
    assert asked == cost(hi) + count(json.dumps(schema, separators=(",", ":")))


@pytest.mark.parametrize(
    "reply",
    [
        Reply("One two three."),
        Reply(""),
        Reply(refusal="I must not."),
        Reply("Wait.", tool_calls=[ToolCall("search", {"query": "two words"}), ToolCall("nothing")]),
    ],
)
def test_a_reply_costs_what_its_chunks_bring(reply: Reply) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], "stream": True, "n": 2}
    wanted = read_chat(body)
    choices = [make_choice(reply, wanted, f"key{number}") for number in range(2)]
    called = sum(count(call.name) + count(json.dumps(call.arguments)) for call in reply.tool_calls)
    assert {choice.cost for choice in choices} == {count(reply.text or "") + count(reply.refusal or "") + called}
    events = stream_events(wanted, choices, Usage(0, 0), "key")
    assert sum(cost for _, cost in events) == 2 * choices[0].cost


# -- quotas


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(20, 200))
def test_no_window_ever_passes_more_than_its_quota(seed: int, requests: int, tokens: int) -> None:
    """And who is refused would have fitted at the moment that was named, and not before."""
    rng = random.Random(seed)
    window = Window(Quota(requests=requests, tokens=tokens, per=10))
    now, passed = 0.0, []
    for _ in range(200):
        now += rng.expovariate(1.0)
        size = rng.randint(1, 20)
        wait = window.wait(now, size)
        recent = [(at, used) for at, used in passed if at > now - 10]
        fits = len(recent) < requests and sum(used for _, used in recent) + size <= tokens
        assert (wait == 0) == fits
        if fits:
            window.add(now, size)
            passed.append((now, size))
            continue
        for moment, expected in ((now + wait + 1e-9, True), (now + wait - 2e-6, False)):
            left = [(at, used) for at, used in passed if at > moment - 10]
            assert (len(left) < requests and sum(used for _, used in left) + size <= tokens) == expected
    for at, _ in passed:
        inside = [(other, used) for other, used in passed if at - 10 < other <= at]
        assert len(inside) <= requests
        assert sum(used for _, used in inside) <= tokens


def test_what_was_not_used_is_given_back_unless_it_is_long_past() -> None:
    window = Window(Quota(tokens=100, per=10))
    charge = window.add(0.0, 80)
    assert window.left(1.0) == (None, 20)
    window.settle(charge, 30)
    assert window.left(1.0) == (None, 70)
    assert window.left(10.0) == (None, 100)
    window.settle(charge, 0)
    assert window.left(10.0) == (None, 100)
    assert window.is_too_small_for(101)
    assert window.reset_after(10.0) == 0


def test_a_place_that_comes_in_the_moment_its_waiter_leaves_goes_to_the_next() -> None:
    async def main() -> None:
        gate = Gate(Behaviour(allowed=1, queue=True))
        first = await gate.enter(1, time.monotonic)
        second, third = (asyncio.create_task(gate.enter(1, time.monotonic)) for _ in range(2))
        await asyncio.sleep(0)
        first.give_back(1)
        second.cancel()  # its turn has come, and it has not noticed yet
        last = await asyncio.wait_for(third, 30)
        assert second.cancelled()
        assert gate.in_flight == 1
        last.give_back(1)
        last.give_back(1)  # once is enough
        assert gate.in_flight == 0

    asyncio.run(main())


# -- made-up JSON


def fill(schema: Any, seed: int = 0) -> Any:
    return Filler(schema, ["First sentence.", "Second one."], lambda what: draw(seed, what)).fill()


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["name", "children", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


def is_tree(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value["name"], str) and all(map(is_tree, [*value["children"], value["next"]]))


VALID: list[tuple[Any, Any]] = [
    ({"const": 5}, lambda v: v == 5),
    ({"enum": ["a", "b"]}, lambda v: v in ("a", "b")),
    ({"type": "integer", "minimum": 3, "maximum": 3}, lambda v: v == 3 and isinstance(v, int)),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, lambda v: v == 4),
    ({"type": "integer", "multipleOf": 7, "minimum": 50}, lambda v: v % 7 == 0 and v >= 50),
    ({"type": "integer", "maximum": -5}, lambda v: v <= -5),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001}, lambda v: 0 < v < 0.001),
    ({"type": "number", "minimum": 0.5, "maximum": 0.6}, lambda v: 0.5 <= v <= 0.6),
    ({"type": "boolean"}, lambda v: isinstance(v, bool)),
    ({"type": "null"}, lambda v: v is None),
    ({"type": ["string", "null"]}, lambda v: v == "First sentence."),
    ({"type": "string", "maxLength": 4}, lambda v: 0 < len(v) <= 4),
    ({"type": "string", "minLength": 40}, lambda v: len(v) >= 40),
    ({"type": "string", "pattern": "^[a-z]+$"}, lambda v: re.fullmatch("[a-z]+", v)),
    ({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}, lambda v: re.fullmatch(r"\d{4}-\d\d-\d\d", v)),
    ({"type": "string", "format": "date"}, lambda v: v == FORMATS["date"]),
    ({"type": "array", "items": {"type": "string"}}, lambda v: v == ["First sentence.", "Second one."]),
    ({"type": "array", "minItems": 5, "items": {"type": "integer"}}, lambda v: len(v) == 5),
    ({"type": "array", "maxItems": 0}, lambda v: v == []),
    (
        {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"enum": [1, 2, 3]}},
        lambda v: {*v} == {1, 2, 3},
    ),
    ({"type": "array", "prefixItems": [{"const": 1}, {"const": "x"}], "items": False}, lambda v: v == [1, "x"]),
    ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, lambda v: isinstance(v, int)),
    ({"oneOf": [{"const": "a"}, {"const": "b"}]}, lambda v: v in ("a", "b")),
    (
        {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
        lambda v: v == {"a": 1, "b": 2},
    ),
    (
        {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
        lambda v: isinstance(v["x"], int),
    ),
    (
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "null"}},
        lambda v: [*v.values()] == [None] * 2,
    ),
    ({"properties": {"a": {"type": "object"}}}, lambda v: v == {"a": {}}),
    ({"$defs": {"a/b": {"const": 1}}, "$ref": "#/$defs/a~1b"}, lambda v: v == 1),
    (True, lambda v: v == "First sentence."),
    ({}, lambda v: v == "First sentence."),
    (TREE, is_tree),
]


@pytest.mark.parametrize(("schema", "accepts"), VALID)
def test_made_up_json_is_what_the_schema_accepts(schema: Any, accepts: Any) -> None:
    for seed in range(20):
        value = fill(schema, seed)
        assert json.loads(json.dumps(value)) == value
        assert accepts(value), value
        assert value == fill(schema, seed)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"not": {}}, "'not' is not permitted"),
        ({"type": "colour"}, "'colour' is not a type"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "circle"),
        ({"type": "string", "pattern": "^x{7}y$"}, "pattern"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
        ({"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "null"}}, "different items"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "contains itself without an end",
        ),
    ],
)
def test_what_cannot_be_made_up_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(Refused, match=why) as raised:
        fill(schema)
    assert "script one with reply=" in str(raised.value)


TYPES = st.recursive(
    st.sampled_from([int, float, str, bool, type(None)]),
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: dict[str, kind]),  # type: ignore[valid-type]
        st.tuples(inner, inner).map(lambda kinds: tuple[kinds[0], kinds[1]]),  # type: ignore[valid-type]
        st.tuples(inner, inner).map(lambda kinds: kinds[0] | kinds[1]),
    ),
    max_leaves=8,
)


@given(TYPES, st.integers(0, 1000))
def test_pydantic_accepts_what_is_made_up_for_its_schema(kind: Any, seed: int) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    value = fill(adapter.json_schema(), seed)
    try:
        adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        pytest.fail(f"{value} for {kind}: {error}")


# -- texts, vectors, chance


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Nothing was said."),
        ("What is a tide?", "What is a tide?"),
        ("Summarise.\n\nOnly one.", "Only one."),
        ("About cows.\n\nA moon. The sun. All cows here. Some cows.", "All cows here. Some cows."),
        ("Summarise.\n\nFirst\n  line. Second? Third!", "First line. Second?"),
    ],
)
def test_a_summary_has_sentences_of_what_was_given(text: str, expected: str) -> None:
    assert summary(text) == expected


@given(st.text(max_size=500), st.integers(0, 3))
def test_any_text_has_a_summary(text: str, choice: int) -> None:
    said = summary(text, choice)
    assert said
    assert len(said) <= 601
    assert all(len(sentence) <= 300 for sentence in said_in(text))


@given(st.text(), st.integers(1, 50), st.integers(0, 5))
def test_any_text_has_a_vector(text: str, dimensions: int, seed: int) -> None:
    vector = embed(text, dimensions, seed)
    assert len(vector) == 4 * dimensions
    assert vector == embed(text, dimensions, seed)


def test_chance_is_even_and_a_function_of_what_it_is_for() -> None:
    drawn = [draw(1, "x", number) for number in range(2000)]
    assert all(0 <= each < 1 for each in drawn)
    assert 0.46 < sum(drawn) / 2000 < 0.54
    assert len(set(drawn)) == 2000
    assert draw(1, "ab", "c") != draw(1, "a", "bc")
    assert draw(1, "x") != draw(2, "x")


def test_content_is_what_is_asked_and_not_how() -> None:
    key = content_key("/p", {"a": 1, "b": [2]})
    assert key == content_key("/p", {"b": [2], "a": 1, "stream": True, "stream_options": {}})
    assert key != content_key("/q", {"a": 1, "b": [2]})
    assert key != content_key("/p", {"a": 1, "b": [3]})
