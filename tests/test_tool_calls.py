"""
Calls of a model, made: whatever they look like and whatever goes wrong, every call has its answer, in order.
"""

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage
from openai.types.responses import ResponseFunctionToolCall
from pydantic import AfterValidator, BaseModel

from antichain import (
    Context,
    Graph,
    GraphError,
    Retry,
    Tool,
    ToolCall,
    ToolMessages,
    Tools,
    run_tool_calls,
    run_tool_calls_sync,
)
from antichain.agents.calls.messages import SHAPES
from antichain.testing import virtual_time


async def search(query: str, limit: int = 3) -> list[str]:
    """Search."""
    return [f"{query} {number}" for number in range(limit)]


async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "late"


async def fails(text: str = "no") -> str:
    raise ValueError(text)


def add(a: int, b: int) -> int:
    return a + b


TOOLS = Tools(search, slow, fails, add)


def call(name: Any, arguments: Any = None, id_: Any = None) -> dict[str, Any]:
    """A call in the form of OpenAI; a dict of arguments is written as JSON, anything else is taken as it is."""
    text = json.dumps(arguments) if isinstance(arguments, dict) else arguments
    return {"id": id_ or f"call_{name}", "type": "function", "function": {"name": name, "arguments": text}}


def use(name: Any, arguments: Any = None, id_: Any = None) -> dict[str, Any]:
    """A call in the form of Anthropic."""
    return {"type": "tool_use", "id": id_ or f"toolu_{name}", "name": name, "input": arguments}


def run(calls: object, tools: Any = TOOLS, **options: Any) -> ToolMessages:
    with virtual_time() as clock:
        return clock.run(run_tool_calls(calls, tools, **options))


def codes(messages: ToolMessages) -> list[str]:
    return [each.code for each in messages.results]


def told(message: dict[str, Any]) -> dict[str, Any]:
    """What an error says to the model."""
    text = message["output"] if "output" in message else message["content"]
    text.encode()
    error = json.loads(text)
    assert list(error) == ["error"]
    return error["error"]  # type: ignore[no-any-return]


def is_valid(calls: Iterable[dict[str, Any]], messages: ToolMessages) -> bool:
    """Whether OpenAI would take the messages as the answers to those calls."""
    return [(each["role"], each["tool_call_id"], type(each["content"])) for each in messages] == [
        ("tool", each["id"], str) for each in calls
    ]


# ---------------------------------------------------------------------- the five


def test_five_calls_of_which_one_is_good() -> None:
    """The good one is intact, and every other has its own code; in order, with the right ids."""
    calls = [
        call("serch", {"query": "tides"}, "a"),
        call("search", {"query": "tides", "limit": "many"}, "b"),
        call("slow", {"seconds": 60}, "c"),
        call("fails", {"text": "the index is gone"}, "d"),
        call("search", {"query": "tides", "limit": 2}, "e"),
    ]
    messages = run(calls, timeout=10)
    assert is_valid(calls, messages)
    assert codes(messages) == ["unknown_tool", "invalid_arguments", "timeout", "crashed", "ok"]
    assert messages[4]["content"] == '["tides 0", "tides 1"]'
    assert messages.results[4].value == ["tides 0", "tides 1"]
    unknown, invalid, late, crash = map(told, messages[:4])
    assert unknown["nearest"] == "search"
    assert unknown["available"] == ["search", "slow", "fails", "add"]
    assert "Did you mean 'search'?" in unknown["message"]
    assert [fault["path"] for fault in invalid["faults"]] == ["limit"]
    assert invalid["message"].endswith('limit: should be a valid integer (given "many").')
    assert late["message"] == "The tool 'slow' did not finish within 10 s."
    assert crash["message"] == "The tool 'fails' failed: ValueError: the index is gone"
    assert isinstance(messages.results[3].error, ValueError)
    assert messages.result is not None
    assert messages.result.status == "succeeded"
    assert messages.result.makespan == 10


def test_calls_are_made_at_once() -> None:
    messages = run([call("slow", {"seconds": 5 - number}, f"c{number}") for number in range(5)])
    assert messages.result is not None
    assert messages.result.makespan == 5
    assert [each.id for each in messages.results] == ["c0", "c1", "c2", "c3", "c4"]


def test_no_calls_at_all() -> None:
    for shape in (None, [], (), {"role": "assistant", "content": "hello"}, {"role": "assistant", "tool_calls": None}):
        messages = run(shape)
        assert messages == []
        assert messages.result is not None


def test_answers_are_a_list_that_can_be_sent() -> None:
    messages = run([call("add", {"a": 1, "b": 2})])
    assert json.loads(json.dumps(messages)) == [{"role": "tool", "tool_call_id": "call_add", "content": "3"}]
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "1 + 2?"}]
    conversation.extend(messages)
    assert conversation[1] is messages.results[0].message


# ---------------------------------------------------------------------- shapes


def test_a_message_of_the_openai_library() -> None:
    message = ChatCompletionMessage.model_validate(
        {"role": "assistant", "content": None, "tool_calls": [call("add", {"a": 1, "b": 2}), call("nothing", {})]}
    )
    for shape in (message, message.tool_calls, message.model_dump(), message.to_dict()):
        messages = run(shape)
        assert [each["content"] for each in messages[:1]] == ["3"]
        assert codes(messages) == ["ok", "unknown_tool"]
        assert messages[0]["tool_call_id"] == "call_add"


def test_a_message_without_calls_of_the_openai_library() -> None:
    assert run(ChatCompletionMessage(role="assistant", content="hello")) == []


def test_calls_of_the_responses_api() -> None:
    body = {"type": "function_call", "call_id": "fc_1", "name": "add", "arguments": '{"a": 1, "b": 2}'}
    made = ResponseFunctionToolCall.model_validate(body)
    for shape in (
        [made],
        [body],
        SimpleNamespace(
            output=[SimpleNamespace(type="reasoning"), SimpleNamespace(type="web_search_call", id="ws"), made]
        ),
    ):
        assert run(shape) == [{"type": "function_call_output", "call_id": "fc_1", "output": "3"}]
    assert told(run([{**body, "name": "sub"}])[0])["code"] == "unknown_tool"


def test_blocks_of_anthropic() -> None:
    content = [
        {"type": "thinking", "thinking": "…", "signature": "s"},
        {"type": "text", "text": "I shall add."},
        use("add", {"a": 1, "b": 2}),
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []},
        {"type": "mcp_tool_use", "id": "mcp", "name": "add", "server_name": "theirs", "input": {"a": 1, "b": 2}},
        use("add", {"a": "one"}, "toolu_2"),
    ]
    objects = [SimpleNamespace(**block) for block in content]
    message = SimpleNamespace(role="assistant", content=objects, stop_reason="tool_use")
    for shape in (content, {"role": "assistant", "content": content}, objects, message):
        messages = run(shape)
        assert messages[0] == {"type": "tool_result", "tool_use_id": "toolu_add", "content": "3", "is_error": False}
        assert messages[1]["is_error"] is True
        assert [each["tool_use_id"] for each in messages] == ["toolu_add", "toolu_2"]
        assert codes(messages) == ["ok", "invalid_arguments"]


def test_calls_of_langchain() -> None:
    messages = pytest.importorskip("langchain_core.messages", reason="pip install langchain-core")
    message = messages.AIMessage(content="", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "x"}])
    assert run(message) == [{"role": "tool", "tool_call_id": "x", "content": "3"}]


def test_mixed_shapes_and_a_single_call() -> None:
    own = ToolCall("own", "add", {"a": 2, "b": 2})
    messages = run([call("add", {"a": 1, "b": 1}), use("add", {"a": 1, "b": 2}), own])
    assert [each["content"] for each in messages] == ["2", "3", "4"]
    assert ["role" in each for each in messages] == [True, False, True]
    assert run(own)[0]["content"] == "4"
    assert run(call("add", {"a": 1, "b": 1}))[0]["content"] == "2"
    assert run(iter([own]))[0]["content"] == "4"


class Completion(BaseModel):
    choices: list[str] = []


@pytest.mark.parametrize("what", ["search", b"x", 5, object(), {"a": 1}, Completion()])
def test_what_holds_no_calls_is_the_callers_fault(what: object) -> None:
    with pytest.raises(GraphError, match=r"use message\.tool_calls"):
        run(what)


# ---------------------------------------------------------------------- hostile calls

BROKEN: dict[str, tuple[Any, str]] = {
    "None": (None, "malformed_call"),
    "a number": (5, "malformed_call"),
    "a text": ("search", "malformed_call"),
    "an empty dict": ({}, "malformed_call"),
    "no id": ({"function": {"name": "add", "arguments": "{}"}}, "malformed_call"),
    "an empty id": ({"id": "", "function": {"name": "add", "arguments": "{}"}}, "malformed_call"),
    "a number as id": (call("add", {"a": 1, "b": 2}, 7), "malformed_call"),
    "an id with half a character": (call("add", {"a": 1, "b": 2}, "x\ud800"), "malformed_call"),
    "an endless id": (call("add", {"a": 1, "b": 2}, "x" * 100_000), "malformed_call"),
    "no function": ({"id": "x", "type": "function"}, "malformed_call"),
    "a text as function": ({"id": "x", "type": "function", "function": "add"}, "malformed_call"),
    "no name": (call(None, {}, "x"), "malformed_call"),
    "a list as name": (call(["add"], {}, "x"), "malformed_call"),
    "an empty name": (call("", {}, "x"), "malformed_call"),
    "an endless name": (call("x" * 100_000, {}), "malformed_call"),
    "a name with half a character": (call("add\udfff", {}, "x"), "malformed_call"),
    "a custom tool": ({"id": "x", "type": "custom", "custom": {"name": "add", "input": "1 2"}}, "malformed_call"),
    "an unknown tool": (call("rm -rf /", {}), "unknown_tool"),
    "a name of Python's": (call("__class__", {}), "unknown_tool"),
    "an attribute of the tools": (call("openai", {}), "unknown_tool"),
    "no arguments": (call("add", None), "invalid_arguments"),
    "empty arguments": (call("add", ""), "invalid_arguments"),
    "blank arguments": (call("add", " \n"), "invalid_arguments"),
    "null": (call("add", "null"), "invalid_arguments"),
    "half of an object": (call("add", '{"a": 1, "b"'), "malformed_json"),
    "two objects": (call("add", '{"a": 1}{"b": 2}'), "malformed_json"),
    "Python": (call("add", "{'a': 1, 'b': 2}"), "malformed_json"),
    "code": (call("add", "__import__('os').system('true')"), "malformed_json"),
    "NaN": (call("add", '{"a": NaN, "b": 2}'), "malformed_json"),
    "-Infinity": (call("add", '{"a": 1, "b": -Infinity}'), "malformed_json"),
    "a name twice": (call("add", '{"a": 1, "b": 2, "a": 3}'), "malformed_json"),
    "a number of 5,000 digits": (call("add", '{"a": 1, "b": %s}' % ("9" * 5_000)), "malformed_json"),
    "a number beyond any": (call("slow", '{"seconds": 1e999}'), "invalid_arguments"),
    "100,000 deep": (call("add", '{"a":' + "[" * 100_000), "malformed_json"),
    "500 deep": (call("add", '{"a":' + "[" * 500 + "]" * 500 + "}"), "invalid_arguments"),
    "an array": (call("add", "[1, 2]"), "invalid_arguments"),
    "a text in a text": (call("add", '"{\\"a\\": 1, \\"b\\": 2}"'), "invalid_arguments"),
    "half a character": (call("search", '{"query": "\\ud800"}'), "invalid_arguments"),
    "half a character, raw": (call("search", '{"query": "\ud800"}'), "invalid_arguments"),
    "half a character as name": (call("search", '{"query": "x", "\\udfff": 1}'), "invalid_arguments"),
    "1 MB of text": (call("search", {"query": "x" * 1_000_001}), "malformed_json"),
    "1 MB in the wrong place": (call("add", {"a": 1, "b": "x" * 900_000}), "invalid_arguments"),
    "10,000 unknown names": (call("add", {f"x{n}": n for n in range(10_000)}), "invalid_arguments"),
    "arguments that are a number": (call("add", 5), "invalid_arguments"),
    "arguments that are an object": (call("add", object()), "invalid_arguments"),
    "NaN in a dict": (use("slow", {"seconds": math.nan}), "invalid_arguments"),
    "a number as key": (use("add", {1: 2, "a": 1, "b": 2}), "invalid_arguments"),
    "bytes": (use("add", b"{}"), "invalid_arguments"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_call_is_answered_and_harms_nobody(name: str) -> None:
    """Beside a good one on either side; the answer is small, can be sent, and is told as what it is."""
    broken, code = BROKEN[name]
    messages = run([call("add", {"a": 1, "b": 2}, "first"), broken, call("add", {"a": 3, "b": 4}, "last")])
    assert codes(messages) == ["ok", code, "ok"]
    assert [messages[0]["content"], messages[2]["content"]] == ["3", "7"]
    error = told(messages[1])
    assert error["code"] == code
    assert len(messages[1].get("content") or messages[1]["output"]) < 20_000
    known = messages[1].get("tool_call_id") or messages[1]["tool_use_id"]
    assert known
    assert known not in ("first", "last")
    own = broken.get("id") if isinstance(broken, dict) else None
    if isinstance(own, str) and 0 < len(own) < 500 and "\ud800" not in own:
        assert known == own
    json.dumps(messages, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"b": 2}', "The tool 'add' was not called: a: is missing."),
        ("{}", "The tool 'add' was not called: a: is missing (and 1 more fault)."),
        ('{"c": 3}', "(and 2 more faults)."),
        ('{"a": %s}' % ("9" * 5_000), "The arguments have a number of more digits than can be read. Send one JSON"),
    ],
)
def test_what_is_wrong_with_arguments_is_said_in_plain_words(arguments: str, says: str) -> None:
    assert says in told(run([call("add", arguments)])[0])["message"]


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)
WORDS = st.sampled_from(["add", "search", "function", "tool_use", "function_call", "tool_call", "custom", "text", "x"])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1, "b": 2}', '{"query": "\\ud83d"}', "[", "NaN", '{"a": {"a": [1e999]}}'])
KEYS = st.sampled_from(["id", "type", "function", "name", "arguments", "input", "args", "custom", "call_id", "content"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | WORDS | ARGUMENTS
JUNK = st.recursive(LEAVES, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(KEYS, parts), max_leaves=12)
CALLS = st.fixed_dictionaries(
    {"id": JUNK, "function": st.fixed_dictionaries({"name": WORDS | JUNK, "arguments": ARGUMENTS | JUNK})}
)


@given(st.lists(JUNK | CALLS, max_size=5))
def test_whatever_a_model_writes_every_call_has_its_answer(junk: list[Any]) -> None:
    """Not even a block that is no call takes away from the others."""
    first, last = call("add", {"a": 1, "b": 2}, "the first"), call("add", {"a": 3, "b": 4}, "the last")
    messages = run([first, *junk, last])
    assert [messages[0]["content"], messages[-1]["content"]] == ["3", "7"]
    kinds = [each.get("type") for each in junk if isinstance(each, dict) and each.get("function") is None]
    others = [kind for kind in kinds if isinstance(kind, str) and kind not in SHAPES]
    assert len(messages) == len(junk) - len(others) + 2
    for message, result in zip(messages, messages.results, strict=True):
        assert message.get("tool_call_id") or message.get("tool_use_id") or message.get("call_id")
        json.dumps(message, ensure_ascii=False).encode()
        if result.code != "ok":
            assert told(message)["code"] == result.code


@given(TEXTS | ARGUMENTS | st.recursive(LEAVES, lambda parts: st.lists(parts) | st.dictionaries(TEXTS, parts)))
def test_whatever_the_arguments_are(arguments: Any) -> None:
    messages = run([call("search", arguments, "a"), use("search", arguments, "b"), call("add", {"a": 1, "b": 2})])
    assert codes(messages)[2] == "ok"
    assert set(codes(messages)) <= {"ok", "malformed_json", "invalid_arguments"}
    json.dumps(messages, ensure_ascii=False).encode()


def test_malformed_json_says_where() -> None:
    error = told(run([call("add", '{"a": 1,\n "b": two}')])[0])
    assert (error["line"], error["position"]) == (2, 15)
    assert error["near"] == '{"a": 1,\n "b": two}'
    assert "line 2 column 7" in error["message"]


def test_a_call_with_a_used_id_is_not_made() -> None:
    made = []

    def note(number: int) -> None:
        made.append(number)

    calls = [call("note", {"number": number}, "same") for number in range(3)]
    messages = run(calls, Tools(note))
    assert is_valid(calls, messages)
    assert codes(messages) == ["ok", "malformed_call", "malformed_call"]
    assert made == [0]


def test_every_fault_of_the_arguments_is_told() -> None:
    faults = told(run([call("search", {"limit": "x", "querry": 1})])[0])["faults"]
    assert {fault["path"] for fault in faults} == {"limit", "query", "querry"}


def test_a_validator_that_raises_what_none_should() -> None:
    """What a model writes must not end the calls beside it, whoever's code cannot bear it."""

    def check(word: str) -> str:
        raise LookupError(f"{word} is in no list")

    async def look(word: Annotated[str, AfterValidator(check)]) -> str:
        return word

    messages = run([call("look", {"word": "x"}), call("add", {"a": 1, "b": 2})], Tools(look, add))
    assert codes(messages) == ["invalid_arguments", "ok"]
    assert "x is in no list" in told(messages[0])["message"]


def test_a_large_argument_that_is_right_is_taken() -> None:
    text = "ä" * 400_000
    messages = run([call("search", {"query": text, "limit": 1})], max_argument_bytes=3_000_000)
    assert messages.results[0].value == [f"{text} 0"]


def test_calls_beyond_the_most_are_refused() -> None:
    calls = [call("add", {"a": number, "b": 0}, f"c{number}") for number in range(792)]
    messages = run(calls, max_calls=3)
    assert is_valid(calls, messages)
    assert codes(messages) == ["ok"] * 3 + ["too_many_calls"] * 789
    assert told(messages[3])["max_calls"] == 3


def test_an_unknown_tool_among_many() -> None:
    tools = Tools(*(Tool(add, name=f"tool_{number}") for number in range(500)))
    error = told(run([call("tool_500", {})], tools)[0])
    assert len(error["available"]) == 50
    assert "and 450 more" in error["message"] or len(error["message"]) == 1000


# ---------------------------------------------------------------------- tools that misbehave


class Odd(BaseException):
    """Neither an Exception nor known to anybody."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def group() -> BaseException:
    return ExceptionGroup("several", [ValueError("the first"), ValueError("the second")])


CRASHES: dict[str, tuple[Callable[[], BaseException], str]] = {
    "SystemExit": (lambda: SystemExit(3), "SystemExit: 3"),
    "CancelledError": (asyncio.CancelledError, "CancelledError"),
    "StopIteration": (lambda: StopIteration(5), "RuntimeError: coroutine raised StopIteration"),
    "StopAsyncIteration": (lambda: StopAsyncIteration("x"), "StopAsyncIteration: x"),
    "GeneratorExit": (GeneratorExit, "GeneratorExit"),
    "a BaseException": (lambda: Odd("odd"), "Odd: odd"),
    "an error that cannot be shown": (Mute, "Mute"),
    "a group": (group, "ValueError: the first"),
    "half a character": (lambda: OSError("\ud800"), "OSError: \\ud800"),
    "an endless text": (lambda: OSError("x" * 1_000_000), "OSError: xxx"),
    "a KeyError": (lambda: KeyError("id"), "KeyError: 'id'"),
}


@pytest.mark.parametrize("in_thread", [False, True], ids=["loop", "thread"])
@pytest.mark.parametrize("name", CRASHES)
def test_a_tool_that_raises_is_answered_and_harms_nobody(name: str, in_thread: bool) -> None:
    make, says = CRASHES[name]

    async def boom() -> None:
        raise make()

    def boom_in_thread() -> None:
        raise make()

    tools = Tools(Tool(boom_in_thread if in_thread else boom, name="boom"), add)
    calls = [call("boom", {}), call("add", {"a": 1, "b": 2})]
    messages = run(calls, tools)
    assert is_valid(calls, messages)
    assert codes(messages) == ["crashed", "ok"]
    error = told(messages[0])
    expected = "StopIteration: 5" if in_thread and name == "StopIteration" else says
    assert error["message"].startswith(f"The tool 'boom' failed: {expected}")
    assert len(error["message"]) <= 1_000
    assert "Traceback" not in messages[0]["content"]


def test_a_timeout_of_the_tools_own_is_a_timeout() -> None:
    async def asks() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(5)

    messages = run([call("asks", {})], Tools(asks))
    assert codes(messages) == ["timeout"]


def test_a_tool_in_a_thread_that_takes_too_long() -> None:
    def tool(context: Context) -> str:
        while not context.cancelled:
            pass
        return "ended"

    messages = asyncio.run(run_tool_calls([call("tool", {})], Tools(Tool(tool, timeout=0.01))))
    assert codes(messages) == ["timeout"]


def test_policies_of_a_tool_hold() -> None:
    """Its own timeout instead of the calls'; retries, whose number the model is told; its own fallback."""
    attempts = []

    async def flaky(fail: int) -> str:
        attempts.append(fail)
        if len(attempts) <= fail:
            raise ConnectionError("busy")
        return "done"

    tools = Tools(
        Tool(flaky, retry=Retry(3)),
        Tool(slow, timeout=100),
        Tool(fails, fallback="nothing found"),
        Tool(fails, name="asks", fallback=lambda error: f"instead of {error}"),
        Tool(fails, name="worse", fallback=lambda error: 1 / 0),
    )
    calls = [call(name, {}) for name in ("fails", "asks", "worse")]
    messages = run([call("flaky", {"fail": 2}), call("slow", {"seconds": 50}), *calls], tools, timeout=10)
    assert codes(messages) == ["ok", "ok", "ok", "ok", "crashed"]
    assert [each["content"] for each in messages[:4]] == ["done", "late", "nothing found", "instead of no"]
    assert told(messages[4])["type"] == "ZeroDivisionError"
    attempts.clear()
    error = told(run([call("flaky", {"fail": 9})], tools)[0])
    assert error["attempts"] == 3
    assert error["message"] == "The tool 'flaky' failed in 3 attempts: ConnectionError: busy"


def test_an_asynchronous_fallback() -> None:
    async def instead(error: BaseException) -> str:
        await asyncio.sleep(1)
        return "found elsewhere"

    async def also_fails(error: BaseException) -> str:
        await asyncio.sleep(1)
        raise SystemExit(1)

    tools = Tools(Tool(fails, name="a", fallback=instead), Tool(fails, name="b", fallback=also_fails))
    messages = run([call("a", {}), call("b", {})], tools)
    assert codes(messages) == ["ok", "crashed"]
    assert messages[0]["content"] == "found elsewhere"


def test_tools_of_every_kind() -> None:
    graph = Graph("total")
    graph.add("double", lambda x: 2 * x)
    graph.add("plus", lambda double, y: double + y)

    async def chunks(n: int) -> Any:
        for number in range(n):
            yield number

    async def who(context: Context) -> str:
        return context.node_id

    class Invoked:
        name = "invoked"
        description = "An object of another library."
        args_schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}

        async def ainvoke(self, arguments: dict[str, Any]) -> Any:
            return arguments

    tools = Tools(Tool(graph, name="total"), chunks, who, Invoked(), add)
    calls = [call("total", {"x": 3, "y": 4}), call("chunks", {"n": 3}), call("who", {}), call("invoked", {"x": 1})]
    messages = run([*calls, call("add", {"a": 1, "b": 1})], tools)
    assert [each["content"] for each in messages] == ["10", "[0, 1, 2]", "who[3]", '{"x": 1}', "2"]


def test_a_graph_that_fails_inside() -> None:
    graph = Graph("total")
    graph.add("half", lambda x: x / 0)
    graph.add("slow", slow, inputs={"seconds": 100}, timeout=5)
    messages = run([call("total", {"x": 1}), call("add", {"a": 1, "b": 1})], Tools(Tool(graph, name="total"), add))
    assert codes(messages) == ["crashed", "ok"]
    assert told(messages[0])["type"] == "ZeroDivisionError"


def test_tools_of_langchain() -> None:
    pytest.importorskip("langchain_core", reason="pip install langchain-core")
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import tool

    @tool
    async def shout(text: str, times: int = 1) -> str:
        """Shout."""
        return text.upper() * times

    @tool
    def breaks(text: str) -> str:
        """Break."""
        raise ValueError(f"cannot {text}")

    chain = RunnableLambda(lambda text: f"<{text}>").with_types(input_type=str)
    tools = Tools(shout, breaks, Tool(chain, name="chain"))
    calls = [call("shout", {"text": "a", "times": 2}), call("shout", {"text": 5}, "b"), call("breaks", {"text": "it"})]
    messages = run([*calls, call("chain", {"input": "x"})], tools)
    assert codes(messages) == ["ok", "invalid_arguments", "crashed", "ok"]
    assert [messages[0]["content"], messages[3]["content"]] == ["AA", "<x>"]
    assert told(messages[2])["message"] == "The tool 'breaks' failed: ValueError: cannot it"


def test_a_tool_that_interrupts_ends_itself_only() -> None:
    async def interrupts() -> None:
        raise KeyboardInterrupt

    messages = run([call("interrupts", {}), call("add", {"a": 1, "b": 2})], Tools(interrupts, add))
    assert codes(messages) == ["crashed", "ok"]


# ---------------------------------------------------------------------- single flight


def test_equal_calls_are_made_once() -> None:
    made = []

    async def ask(question: str, loud: bool = False) -> str:
        made.append(question)
        await asyncio.sleep(1)
        if question == "bad":
            raise OSError("gone")
        return question.upper() if loud else question

    calls = [
        call("ask", '{"question": "a", "loud": true}', "1"),
        call("ask", '{"loud":true,"question":"a"}', "2"),
        call("ask", {"question": "a", "loud": False}, "3"),
        call("ask", {"question": "bad"}, "4"),
        use("ask", {"question": "bad"}, "5"),
    ]
    messages = run(calls, Tools(ask), single_flight=True)
    assert made == ["a", "a", "bad"]
    assert codes(messages) == ["ok", "ok", "ok", "crashed", "crashed"]
    assert [each["content"] for each in messages[:3]] == ["A", "A", "a"]
    assert messages.results[3].error is messages.results[4].error
    assert [each.id for each in messages.results] == ["1", "2", "3", "4", "5"]
    made.clear()
    assert codes(run(calls, Tools(ask))) == codes(messages)
    assert len(made) == 5


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time_out": 5}, "Did you mean 'timeout'?"),
        ({"on_error": "cancel"}, "is not an option of run_tool_calls"),
        ({"max_calls": 0}, "max_calls=0: must be a whole number"),
        ({"max_result_bytes": 2.5}, "max_result_bytes=2.5"),
        ({"max_concurrent": 0}, "max_concurrent=0"),
        ({"timeout": -1}, "timeout"),
        ({"deadline": 0}, "deadline=0"),
        ({"sanitize": "x"}, "use a plain function"),
        ({"sanitize": slow}, "use a plain function"),
        ({"approve": "add"}, "nobody can be asked"),
        ({"approve": slow, "ask": print}, "use names of tools, a plain function"),
        ({"approve": 5, "ask": print}, "use names of tools, a plain function"),
        ({"approve": ["add", 3], "ask": print}, "approve= names 3, which is none of the tools"),
        ({"approve": ["ad"], "ask": print}, "Did you mean 'add'?"),
        ({"limits": {"x": 0}}, "limit 'x' is 0"),
    ],
)
def test_a_wrong_option_is_refused_before_any_call(options: dict[str, Any], says: str) -> None:
    made: list[object] = []

    def note(number: int) -> None:
        made.append(number)

    with pytest.raises(GraphError, match=re.escape(says)):
        run([call("note", {"number": 1})], Tools(note, add), **options)
    assert made == []


def test_a_tool_with_a_limit_that_nobody_defines() -> None:
    with pytest.raises(GraphError, match="unknown-limit"):
        run([call("add", {"a": 1, "b": 2})], Tools(Tool(add, uses="api")))


def test_options_of_the_run_reach_it() -> None:
    seen: list[Any] = []
    messages = run(
        [call("add", {"a": 1, "b": 2})], TOOLS, run_id="turn-7", seed=1, listeners=[seen.append], tracer=False, grace=1
    )
    assert messages.result is not None
    assert messages.result.run_id == "turn-7"
    assert messages.results[0].node == "add[1]"
    assert messages.result.nodes["add[1]"].attempts == 1
    assert {type(event).__name__ for event in seen} >= {"RunStarted", "NodeStarted", "NodeEnded", "RunEnded"}


def test_functions_are_tools_too() -> None:
    assert run([call("add", {"a": 1, "b": 2})], [add])[0]["content"] == "3"


def test_the_same_from_ordinary_code() -> None:
    messages = run_tool_calls_sync([call("add", {"a": 1, "b": 2}), call("fails", {})], TOOLS)
    assert codes(messages) == ["ok", "crashed"]

    async def inside_a_loop() -> ToolMessages:
        return run_tool_calls_sync([call("search", {"query": "x", "limit": 1})], TOOLS)

    assert asyncio.run(inside_a_loop())[0]["content"] == '["x 0"]'
