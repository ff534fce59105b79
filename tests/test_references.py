"""
References: which texts are one, what they find, and what they never reach.
"""

from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from antichain.agents.plans.references import (
    BadReference,
    MissingValue,
    Reference,
    Text,
    fill,
    paths_in,
    read_text,
    references_in,
)


@dataclass
class Page:
    title: str
    tags: list[str] = field(default_factory=list)
    _secret: str = "secret"

    @property
    def shouted(self) -> str:
        return self.title.upper()

    def read(self) -> str:
        return "read"


class Model(BaseModel):
    name: str
    pages: list[dict[str, int]] = []


Pair = namedtuple("Pair", "left right")  # noqa: PYI024  # such as users have

OUTPUTS: dict[str, Any] = {
    "s1": {"title": "Tides", "items": [{"n": 1}, {"n": 2}], "first name": "Ada", "0": "zero", 7: "seven"},
    "page": Page("Moon", ["a", "b"]),
    "model": Model(name="m", pages=[{"x": 5}]),
    "pair": Pair(1, 2),
    "2": "two",
    "a-b": [10, 20, 30],
    "none": None,
}


def filled(text: str, limit: int = 1000) -> Any:
    return fill(read_text(text, 32), OUTPUTS, limit)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$2", "two"),
        ("$2$", "two"),
        ("${2}", "two"),
        ("${ 2 }", "two"),
        ("$s1.title", "Tides"),
        ("${s1.title}", "Tides"),
        ("$s1.title$", "Tides"),
        ("$s1.first name$", "Ada"),
        ("${s1.first name}", "Ada"),
        ("$s1.items[1].n", 2),
        ("$s1.items.1.n", 2),
        ("$s1.items[-1].n", 2),
        ("$s1[0]", "zero"),
        ("$s1.7", None),
        ("$s1[7]", "seven"),
        ("$a-b[2]", 30),
        ("$page.title", "Moon"),
        ("$page.tags[0]", "a"),
        ("$model.pages[0].x", 5),
        ("$pair.left", 1),
        ("$pair[1]", 2),
        ("$none", None),
    ],
)
def test_a_whole_reference_is_the_value_itself(text: str, value: Any) -> None:
    assert isinstance(read_text(text, 32), Reference)
    if text == "$s1.7":
        with pytest.raises(MissingValue):
            filled(text)
    else:
        assert filled(text) == value


def test_the_value_is_the_same_object() -> None:
    assert filled("$s1.items") is OUTPUTS["s1"]["items"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("By ${s1.title}!", "By Tides!"),
        ("${2}${2}", "twotwo"),
        ("n=${s1.items[0].n}, ${none}", "n=1, null"),
        ("${s1.items}.", '[{"n": 1}, {"n": 2}].'),
        ("$$5 for ${2}", "$5 for two"),
        ("$$", "$"),
        ("$$2", "$2"),
        ("$${2}", "${2}"),
        ("costs $5 or $2", "costs $5 or $2"),
        ("$ 5", "$ 5"),
        ("$5,000", "$5,000"),
        ("$100-$200", "$100-$200"),
        ("a$", "a$"),
        ("no dollar", "no dollar"),
        ("", ""),
    ],
)
def test_texts_keep_what_is_no_reference(text: str, value: str) -> None:
    assert filled(text) == value
    assert not isinstance(read_text(text, 32), Reference)


@pytest.mark.parametrize(
    "text",
    [
        "$s1.__class__", "${s1.__class__}", "$page._secret", "see ${page._secret}", "$s1.a.__b",
        "${s1['title']}", "${}", "${",
        "${s1", "${s1!r}", "${s1.{s1}}", "${1 + 1}", "$s1.title()", "$s1.title[",
        "$s1[a]", "$s1..a", "${s1.}", "${{s1}}",
    ],
)  # fmt: skip
def test_what_looks_like_a_reference_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        read_text(text, 32)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$s1.titel", ["'.titel'", "'s1'", "'title'"]),
        ("$s1.items[2]", ["'[2]'", "list of 2"]),
        ("$s1.items.n", ["'.n'", "list of 2"]),
        ("$s1.items[-3]", ["list of 2"]),
        ("$page.shouted", ["'title', 'tags'"]),
        ("$page.read", ["'title', 'tags'"]),
        ("$model.model_fields", ["'name', 'pages'"]),
        ("$model.copy", ["'name', 'pages'"]),
        ("$pair.count", ["'left', 'right'"]),
        ("$2.upper", ["no parts"]),
        ("$2[0]", ["no parts"]),
        ("$none.x", ["no parts"]),
    ],
)
def test_a_path_that_leads_nowhere_says_what_there_is(text: str, words: list[str]) -> None:
    """No property, no method, no letter of a text: keys, positions and declared fields."""
    with pytest.raises(MissingValue) as caught:
        filled(text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_references_and_their_places_are_found() -> None:
    template = {"a": [read_text("$s1.title", 9), 1, {"b": read_text("x ${2} ${page.title}", 9)}], "c": "$"}
    assert [(found.step, found.path) for found in references_in(template)] == [
        ("s1", ("title",)),
        ("2", ()),
        ("page", ("title",)),
    ]
    assert list(paths_in(template)) == [("a", 0), ("a", 2, "b")]


def test_lists_and_dicts_are_made_anew_for_each_attempt() -> None:
    template = {"a": [1, {"b": 2}]}
    first, second = fill(template, {}, 10), fill(template, {}, 10)
    first["a"][1]["b"] = 3
    assert second == template == {"a": [1, {"b": 2}]}


def test_half_a_character_in_an_output_is_written_out() -> None:
    outputs = {"s": {"text": "a\ud83d", "list": ["\ud83d"]}}
    assert fill(read_text("$s.text", 9), outputs, 99) == "a\\ud83d"
    assert fill(read_text("<${s.text} ${s.list}>", 9), outputs, 99) == '<a\\ud83d ["\\ud83d"]>'


def test_a_text_does_not_become_longer_than_it_may() -> None:
    assert len(filled("${2}" * 100, 300)) == 300
    with pytest.raises(MissingValue, match="longer than 299"):
        filled("${2}" * 100, 299)


def test_a_value_that_no_text_could_hold_is_not_written() -> None:
    """A thousand times the same list in a list, and that five times over: 10^15 zeros."""
    value: Any = [0] * 1000
    for _ in range(4):
        value = [value] * 1000
    with pytest.raises(MissingValue, match="at most 1000 characters"):
        fill(Text((Reference("bomb", (), "${bomb}"),)), {"bomb": value}, 1000)
    with pytest.raises(MissingValue, match="list of 1000"):
        fill(Reference("bomb", ("x",), "$bomb.x"), {"bomb": value}, 1000)
