"""
What a model is told of a result: any JSON as it is, of anything else what and where; and nothing that a sanitizer keeps
from it.
"""

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import re
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from antichain import GraphError, Sanitizer, Tool, ToolCall, ToolMessages, ToolResult, Tools
from antichain.agents.calls.results import CODES
from tests.test_tool_calls import call, codes, run, told, use


def answer(value: Any, **options: Any) -> ToolMessages:
    """The answer to one call of a tool that returns that."""

    async def give() -> Any:
        return value

    return run([call("give", {})], Tools(give), **options)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Page:
    title: str
    seen: dt.date
    links: "list[Page]" = dataclasses.field(default_factory=list)


class Hit(BaseModel):
    score: float
    page: pathlib.PurePosixPath
    colour: Colour = Colour.RED


class Visit(BaseModel):
    took: dt.timedelta


class Text(str):
    __slots__ = ()


class Lazy(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return len(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "bb"])

    def __len__(self) -> int:
        return 2


class Pair(NamedTuple):
    left: Any
    right: Any


DAY = dt.date(2026, 2, 3)

WRITTEN: list[tuple[Any, str]] = [
    ("plain", "plain"),
    ("", ""),
    ('{"as": "it is"}', '{"as": "it is"}'),
    ("Grüße, 世界 \U0001f30d", "Grüße, 世界 \U0001f30d"),
    ("half \ud800 a character", "half \\ud800 a character"),
    (["\udfff"], '["\\udfff"]'),
    ({"\ud800": 1}, '{"\\ud800": 1}'),
    (None, "null"),
    (True, "true"),
    (12, "12"),
    (0.5, "0.5"),
    ([1, (2, "ä")], '[1, [2, "ä"]]'),
    ({"a": {"b": []}}, '{"a": {"b": []}}'),
    ({1: "one", None: 2}, '{"1": "one", "null": 2}'),
    (OrderedDict(z=1, a=2), '{"z": 1, "a": 2}'),
    (Lazy(), '{"a": 1, "bb": 2}'),
    (Pair(1, 2), "[1, 2]"),
    (range(3), "[0, 1, 2]"),
    (Colour.RED, "red"),
    ([Colour.RED, Level.HIGH, Text("t")], '["red", 3, "t"]'),
    ({Colour.RED: 1, DAY: 2}, '{"red": 1, "2026-02-03": 2}'),
    (DAY, "2026-02-03"),
    ([dt.datetime(2026, 2, 3, 4, tzinfo=dt.UTC)], '["2026-02-03T04:00:00+00:00"]'),
    ([decimal.Decimal("1.10"), uuid.UUID(int=1)], '["1.10", "00000000-0000-0000-0000-000000000001"]'),
    (Visit(took=dt.timedelta(hours=1)), '{"took": "PT1H"}'),
    (Page("a", DAY), '{"title": "a", "seen": "2026-02-03", "links": []}'),
    ([Page("a", DAY, [Page("b", DAY)]).links], '[[{"title": "b", "seen": "2026-02-03", "links": []}]]'),
    (Hit(score=0.5, page=pathlib.PurePosixPath("/x")), '{"score": 0.5, "page": "/x", "colour": "red"}'),
    ([{"hits": (Hit(score=1, page=pathlib.PurePosixPath("y")),)}],
     '[{"hits": [{"score": 1.0, "page": "y", "colour": "red"}]}]'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), WRITTEN, ids=[repr(text)[:30] for _, text in WRITTEN])
def test_what_can_be_told_is_told(value: Any, text: str) -> None:
    messages = answer(value)
    assert codes(messages) == ["ok"]
    assert messages[0]["content"] == text
    assert messages.results[0].value is value
    messages[0]["content"].encode()


def cycle() -> Any:
    value: dict[str, Any] = {"name": "x"}
    value["parts"] = [1, value]
    return value


def deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Angry:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Broken(BaseModel):
    def model_dump(self, **how: Any) -> Any:
        raise RuntimeError("no dump")


class BrokenMapping(Lazy):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")


class Endless(BaseModel):
    def model_dump(self, **how: Any) -> Any:
        return Endless()


UNWRITTEN: list[tuple[str, Any, str | None, str]] = [
    ("bytes", b"abc", None, "of type bytes"),
    ("a set", {1, 2}, None, "of type set"),
    ("an object", {"rows": [1, object()]}, "rows[1]", "of type object"),
    ("NaN", {"mean": math.nan}, "mean", "is nan, which is no JSON number"),
    ("infinity", [0.5, -math.inf], "[1]", "is -inf"),
    ("a cycle", cycle(), "parts[1]", "holds itself"),
    ("a cycle of dataclasses", None, "links[0]", "holds itself"),
    ("a function", {"then": len}, "then", "of type builtin_function_or_method"),
    ("a class", {"kind": Page}, "kind", "of type type"),
    ("an exception", ValueError("x"), None, "of type ValueError"),
    ("a complex number", [1j], "[0]", "of type complex"),
    ("a tuple as key", {"a": {(1, 2): 3}}, "a", "has the key (1, 2), which is no text"),
    ("100,000 lists in each other", deep(), None, "nested"),
    ("a number of 5,000 digits", 10**5_000, None, "cannot be written as JSON"),
    ("a repr that raises", [Angry()], "[0]", "whose repr raises RuntimeError"),
    ("a model that raises", Broken(), None, "its own code raised RuntimeError"),
    ("a mapping that raises", BrokenMapping(), None, "its own code raised RuntimeError"),
    ("a model without end", Endless(), None, "nested more than"),
    ("bytes in a model", Pair(1, b"x"), "[1]", "of type bytes"),
    ("an iterator", iter([1]), None, "of type list_iterator"),
]


@pytest.mark.parametrize(("value", "path", "says"), [row[1:] for row in UNWRITTEN], ids=[row[0] for row in UNWRITTEN])
def test_what_cannot_be_told_says_where(value: Any, path: str | None, says: str) -> None:
    if value is None:
        value = Page("a", DAY)
        value.links.append(value)
    messages = answer(value)
    assert codes(messages) == ["unserialisable_result"]
    error = told(messages[0])
    assert error.get("path") == path
    assert says in error["message"]
    assert messages.results[0].value is value


def test_a_value_twice_is_no_cycle() -> None:
    page = Page("a", DAY)
    assert json.loads(answer([page, page, {"x": page}])[0]["content"])[2]["x"]["title"] == "a"


def test_a_result_that_is_too_large_is_withheld() -> None:
    messages = answer("ä" * 600_000)
    assert codes(messages) == ["rejected"]
    assert "1,200,000 bytes" in told(messages[0])["message"]
    assert codes(answer("ä" * 600_000, max_result_bytes=1_200_000)) == ["ok"]
    assert codes(answer("ä" * 600_000, max_result_bytes=1_199_999)) == ["rejected"]


def test_every_code_is_one_of_those_that_are_named() -> None:
    assert len(CODES) == 12
    assert ToolResult("1", "x", "ok").ok
    assert not any(ToolResult("1", "x", code).ok for code in CODES if code != "ok")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- sanitizers

KEY = re.compile(r"sk-[a-z0-9]{4,}")


def test_a_forbidden_part_rejects() -> None:
    messages = answer({"key": "sk-abcd"}, sanitize=Sanitizer(forbidden=["password", KEY]))
    assert codes(messages) == ["rejected"]
    assert "sk-abcd" not in messages[0]["content"]
    assert told(messages[0])["message"].endswith("withheld: it holds what must not be passed on.")
    assert codes(answer("fine", sanitize=Sanitizer(forbidden=["password", KEY]))) == ["ok"]


def test_a_forbidden_part_is_replaced() -> None:
    clean = Sanitizer(forbidden=["p.w", KEY], replace=r"[\1]")
    assert answer("sk-abcd, p.w and paw, sk-dcba", sanitize=clean)[0]["content"] == r"[\1], [\1] and paw, [\1]"


def test_what_comes_to_be_by_replacing_is_rejected() -> None:
    assert codes(answer("passsecretword", sanitize=Sanitizer(forbidden=["secret", "password"], replace=""))) == ["ok"]
    assert codes(answer("secpasswordret", sanitize=Sanitizer(forbidden=["secret", "password"], replace=""))) == [
        "rejected"
    ]


def test_what_is_too_large_is_rejected_or_cut() -> None:
    assert codes(answer("x" * 11, sanitize=Sanitizer(max_bytes=10))) == ["rejected"]
    assert codes(answer("x" * 10, sanitize=Sanitizer(max_bytes=10))) == ["ok"]
    messages = answer("ä" * 11, sanitize=Sanitizer(max_bytes=10, replace="…"))
    assert messages[0]["content"] == "äää…"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"max_bytes": True},
        {"forbidden": "password"},
        {"forbidden": [""]},
        {"forbidden": [re.compile("x*")]},
        {"forbidden": [re.compile(b"x")]},
        {"forbidden": [3]},
        {"forbidden": ["hid"], "replace": "[hidden]"},
        {"replace": 5},
        {"max_bytes": 3, "replace": "[cut]"},
    ],
)
def test_a_sanitizer_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match=r"^\[bad-policy\] Sanitizer"):
        Sanitizer(**wrong)


def test_a_hook_sees_the_text_and_the_checked_call() -> None:
    seen: list[tuple[str, ToolCall]] = []

    def look(text: str, made: ToolCall) -> str:
        seen.append((text, made))
        return text.upper()

    async def give(x: int) -> str:
        return f"value {x}"

    messages = run([call("give", {"x": 5}, "a"), use("give", {"x": 6}, "b")], Tools(give), sanitize=look)
    assert [messages[0]["content"], messages[1]["content"]] == ["VALUE 5", "VALUE 6"]
    assert [(text, made.id, made.name, made.arguments, made.shape) for text, made in seen] == [
        ("value 5", "a", "give", {"x": 5}, "openai"),
        ("value 6", "b", "give", {"x": 6}, "anthropic"),
    ]


class Loud(BaseException):
    pass


HOOKS: list[tuple[str, Any, str]] = [
    ("returns None", lambda text, made: None, "it must not be passed on"),
    ("raises ValueError", lambda text, made: _raise(ValueError("it names a customer")), "it names a customer"),
    ("raises anything", lambda text, made: _raise(OSError("postgres://secret")), "it could not be checked"),
    ("raises SystemExit", lambda text, made: _raise(SystemExit("secret")), "it could not be checked"),
    ("raises CancelledError", lambda text, made: _raise(asyncio.CancelledError("secret")), "it could not be checked"),
    ("raises what nobody knows", lambda text, made: _raise(Loud("secret")), "it could not be checked"),
    ("returns no text", lambda text, made: 5, "it could not be checked"),
]


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(("hook", "says"), [row[1:] for row in HOOKS], ids=[row[0] for row in HOOKS])
def test_a_hook_that_does_not_pass_a_text_rejects_it(hook: Any, says: str) -> None:
    messages = answer("text", sanitize=hook)
    assert codes(messages) == ["rejected"]
    assert told(messages[0])["message"] == f"The result of the tool 'give' was withheld: {says}."
    assert "secret" not in messages[0]["content"]
    assert messages.results[0].value == "text"


def test_what_a_hook_returns_can_be_sent() -> None:
    assert answer("text", sanitize=lambda text, made: "\ud800")[0]["content"] == "\\ud800"


def test_errors_of_tools_are_looked_at_too() -> None:
    """An exception often has the very secret in it."""

    async def connects() -> None:
        raise OSError("cannot connect with sk-abcd")

    tools = Tools(Tool(connects))
    rejected = run([call("connects", {})], tools, sanitize=Sanitizer(forbidden=[KEY]))
    assert codes(rejected) == ["crashed"]
    assert told(rejected[0])["message"] == "The tool 'connects' failed: OSError: its message is withheld"
    replaced = run([call("connects", {})], tools, sanitize=Sanitizer(forbidden=[KEY], replace="[key]"))
    assert told(replaced[0])["message"] == "The tool 'connects' failed: OSError: cannot connect with [key]"


def test_a_secret_is_not_cut_in_two_and_passed() -> None:
    async def fails() -> None:
        raise OSError("x" * 955 + "sk-" + "a" * 500)

    message = told(run([call("fails", {})], Tools(fails), sanitize=Sanitizer(forbidden=[KEY], replace="[key]"))[0])
    assert message["message"].endswith("[key]")
