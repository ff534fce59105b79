"""
Plans as numbered calls (LLMCompiler), and as the tool calls that providers stream.
"""

import ast
import asyncio
import gzip
import json
import random
import warnings
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain.agents.plans.formats import FormatFault, ReadingBounds, read_steps
from antichain.agents.plans.formats.faults import Unreadable
from antichain.agents.plans.formats.literals import NotLiteral, read_arguments
from antichain.testing import FakeProvider, Reply, ToolCall
from tests.support.leftovers import nothing_left
from tests.support.plan_texts import in_loop, read

DAGS = Path(__file__).parent / "data" / "dags" / "llmcompiler.jsonl.gz"

# -- LLMCompiler

PLAN = """Thought: I need both cities, which costs $2.
1. search("population of Kyoto")
2. search("population of Osaka", limit=3)

Thought: now 1. divide (them)
3. math("$1 / ${2}", ["$1", $2])
4. join()<END_OF_PLAN>
5. never("read")
"""
STEPS = [
    {"id": "1", "tool": "search", "args": ["population of Kyoto"], "depends_on": []},
    FormatFault(2, "2", "some arguments are given by position, others by name: give all of them by name"),
    {"id": "3", "tool": "math", "args": ["${1} / ${2}", ["${1}", "${2}"]], "depends_on": ["1", "2"]},
]


def args_of(line: str, *before: str) -> Any:
    """The arguments of one call, after calls with these numbers."""
    *_, last = read("".join(f"{number}. t()\n" for number in before) + f"9. f({line}\n")
    return last.problem if isinstance(last, FormatFault) else last["args"]


@pytest.mark.parametrize("size", [1, 2, 3, 11, 1_000])
def test_numbered_calls_are_steps_up_to_the_join(size: int) -> None:
    pieces = [PLAN[at : at + size] for at in range(0, len(PLAN), size)]
    assert read(pieces) == read(pieces, "llmcompiler") == STEPS


def graphs() -> list[dict[str, Any]]:
    with gzip.open(DAGS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("graph", graphs(), ids=lambda graph: graph["name"])
def test_the_plans_in_llmcompilers_prompts_are_read_as_they_stand(graph: dict[str, Any]) -> None:
    """One of them has calls whose last parenthesis is missing."""
    nodes = graph["nodes"]
    text = "".join(f"{node['id']}. {node['tool']}({node['args']['raw']}\n" for node in nodes)
    found = read(text.replace("{END_OF_PLAN}", "<END_OF_PLAN>"))
    expected = [node for node in nodes if node["tool"] != "join"]
    assert [(step["id"], step["tool"], step["depends_on"]) for step in found] == [
        (node["id"], node["tool"], node["deps"]) for node in expected
    ]
    for step, node in zip(found, expected, strict=True):
        first = node["args"]["raw"].rstrip(")").partition("[")[0].strip("\"', ")
        for number in step["depends_on"]:
            first = first.replace(f"${number}", f"${{{number}}}")
        assert step["args"][0] == first


@in_loop
async def test_each_call_is_given_before_the_next_line_is_read() -> None:
    taken = []

    async def lines() -> Any:
        for line in ("1. a(1)\n", "2. b('x')\n", "3. c(Schindler's List)\n", "4. d('it's')\n", "5. join()"):
            taken.append(line)
            yield line

    given = [(found["tool"], len(taken)) async for found in read_steps(lines())]  # type: ignore[index]
    assert given == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


@pytest.mark.parametrize(
    ("written", "args"),
    [
        ('"x", 2)', ["x", 2]),
        (")", []),
        ("Austin Powers (1997))", ["Austin Powers (1997)"]),
        ("Schindler's List)", ["Schindler's List"]),
        ("smile :) now)", ["smile :) now"]),
        ("smile :( now)", ["smile :( now"]),
        ("'it's')", ["'it's'"]),
        ('"x") # the (first) search', ["x"]),
        ('"x") - that finds it', ["x"]),
        ("max(3, 4))", ["max(3, 4)"]),
        ("3 / 4)", ["3 / 4"]),
        ("x == 3)", ["x == 3"]),
        ('query="x", limit=3)', {"query": "x", "limit": 3}),
        ("on = true, off=False, none=null)", {"on": True, "off": False, "none": None}),
        ('{"a": [1, (2, 3), (4)], "b": {}})', [{"a": [1, [2, 3], 4], "b": {}}]),
        ("'a' \"b\" 'c')", ["abc"]),
        (r'"tab\tnew\nquote\"\x41\u00e9\U0001F600\101\d")', ['tab\tnew\nquote"Aé😀A\\d']),
        (r"r'C:\new')", ["C:\\new"]),
        ("-1, +2.5, 1_000, 1e3, .5, 3.)", [-1, 2.5, 1000, 1000.0, 0.5, 3.0]),
        ("'''a 'quoted' text''')", ["a 'quoted' text"]),
        ('"a",\n  [1,\n   2],\n)', ["a", [1, 2]]),
        ('"""two\n2. b()\nlines""")', ["two\n2. b()\nlines"]),
        ('"print(1)\nprint(2)")', ["print(1)\nprint(2)"]),
        ('"a", ["b"]', ["a", ["b"]]),
        ("__import__('os').system('x'))", ["__import__('os').system('x')"]),
        ("f'{x}')", ["f'{x}'"]),
        ("nan)", ["nan"]),
        ("1j)", ["1j"]),
        ('"x", 10**9)', ['"x", 10**9']),
        ("1__0)", ["1__0"]),
        (r"'\U00FFFFFF')", [r"'\U00FFFFFF'"]),
    ],
)
def test_arguments_are_literals_or_a_text_as_it_stands(written: str, args: Any) -> None:
    given = args_of(f"{written}\n10. g()")
    assert read(f"9. f({written}\n10. g()\n11. join()")[0] == {"id": "9", "tool": "f", "args": args, "depends_on": []}
    assert given == []


@pytest.mark.parametrize(
    ("written", "args"),
    [
        ('"$1")', ["${1}"]),
        ("$1)", ["${1}"]),
        ("$1, $2)", ["${1}", "${2}"]),
        ("$1 / 2)", ["${1} / 2"]),
        ('"${1}")', ["${1}"]),
        ('"of $1 and ${2}.")', ["of ${1} and ${2}."]),
        ('"max($1, $2,$1)")', ["max(${1}, ${2},${1})"]),
        ('["$1", {"a": "$2"}])', [["${1}", {"a": "${2}"}]]),
        ('"$1.title")', ["${1.title}"]),
        ('"$1.hits[0].title")', ["${1.hits[0].title}"]),
        ("$1.title)", ["${1.title}"]),
        ('"${1.title} of $2.")', ["${1.title} of ${2}."]),
        # No step 5 was written before, and no step 100: money.
        ('"$5")', ["$$5"]),
        ('"it costs $5 or $100")', ["it costs $$5 or $$100"]),
        # Step 1 was, but this looks like money all the same.
        ('"$1.50 and $1,000 and $1,000,000")', ["$$1.50 and $$1,000 and $$1,000,000"]),
        ('"$10")', ["$$10"]),
        ('"US$ $$ $x ${HOME} ${1")', ["US$$ $$$$ $$x $${HOME} $${1"]),
        # What can only be a reference stays one: whoever runs the plan says that there is no such step.
        ('"${7}", $8)', ["${7}", "${8}"]),
        ("It is $1 (not $5))", ["It is ${1} (not $$5)"]),
    ],
)
def test_references_come_in_our_form_and_money_survives(written: str, args: Any) -> None:
    assert args_of(written, "1", "2") == args


def test_a_reference_needs_a_step_that_was_written_before() -> None:
    first, second, third = read('1. a("$2 $1")\n2. b("$2 $1")\n3. c("$2 $1", "$01")\n')
    assert (first["args"], first["depends_on"]) == (["$$2 $$1"], [])
    assert (second["args"], second["depends_on"]) == (["$$2 ${1}"], ["1"])
    assert (third["args"], third["depends_on"]) == (["${2} ${1}", "${1}"], ["2", "1"])


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("1, x=2)", "others by name: give all of them by name"),
        ("x=1, x=2)", 'the argument "x" is given twice'),
        ('{"a": 1, "a": 2})', 'the key "a" is given twice'),
        ("1e999)", "1e999 is too large"),
        ("9" * 301 + ")", "has 301 digits"),
        ("[" * 60 + "]" * 60 + ")", "nested deeper than 50"),
        (r"'\ud800')", "half a character"),
        (f"half {chr(0xD800)})", "half a character"),
        ("'" + "x" * 200_000 + "')", "longer than 200,000 characters"),
        ("x\n" * 150_000 + ")", "longer than 200,000 characters"),
    ],
)
def test_a_call_that_cannot_be_read_is_a_fault_and_the_next_is_read(written: str, problem: str) -> None:
    first, second = read(f"7. f({written}\n8. g()\n")
    assert (first.position, first.step_id) == (1, "7")
    assert problem in first.problem
    assert second["id"] == "8"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('1. f("x"', "the text ends before the parenthesis of this call is closed"),
        ("1. f(", "the text ends before the parenthesis"),
        ('1. f("x\n2. join()', "the next line begins before the parenthesis"),
        ('1. f("x<END_OF_PLAN>', "the plan ends before the parenthesis"),
    ],
)
def test_a_call_that_is_cut_off_is_a_fault(text: str, problem: str) -> None:
    (fault,) = read(text)
    assert (fault.position, fault.step_id) == (1, "1")
    assert problem in fault.problem


def test_calls_in_one_line_are_calls() -> None:
    assert [(step["id"], step["args"]) for step in read('1. f("a") 2. g(b) 3) h()')] == [
        ("1", ["a"]),
        ("2", ["b"]),
        ("3", []),
    ]


def test_prose_and_an_empty_plan_are_told_apart() -> None:
    assert read("1. join()") == read("<END_OF_PLAN>", "llmcompiler")[1:] == []
    (fault,) = read("1. First, we search.\n2. Then we stop.", "llmcompiler")
    assert "no step was found" in fault.problem


@given(
    st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=9),
            lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
            max_leaves=9,
        ),
        max_size=4,
    )
)
def test_what_python_writes_is_read_as_python_reads_it(values: list[Any]) -> None:
    assert read_arguments(", ".join(map(repr, values)), ReadingBounds(), AsItIs()) == values
    assert read_arguments(", ".join(map(json.dumps, values)), ReadingBounds(), AsItIs()) == values


class AsItIs:
    """References stay as they are."""

    def in_text(self, text: str) -> str:
        return text

    def alone(self, reference: str) -> str:
        return reference


PARTS = ["'", '"', '"""', "\\", "\\n", "\\d", "\\x41", "\\'", "a", "é", "[", "]", "(", ")", "{", "}", ",", ":", " "]
PARTS += ["1", "-2", "3.5", "1e3", "0", "_", "None", "True", "u'x'", "r'\\'", "'k': 1", "\n"]


def test_where_python_reads_literals_so_do_we() -> None:
    """Texts of pieces of literals: both read them alike, or we say that we do not."""
    rng = random.Random(5)
    alike = 0
    for _ in range(40_000):
        text = "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 7)))
        try:
            ours: Any = read_arguments(text, ReadingBounds(), AsItIs())
        except (NotLiteral, Unreadable):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = ast.literal_eval(f"[{text}\n]")
        except (SyntaxError, ValueError, TypeError):
            # What we read and Python does not: strings over lines, numbers that begin with 0.
            assert "\n" in text or "0" in text, text
            continue
        if isinstance(ours, list):
            assert _lists(theirs) == ours, text
            alike += 1
    assert alike > 1_000


def _lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_lists(part) for part in value]
    return {key: _lists(part) for key, part in value.items()} if isinstance(value, dict) else value


def spoilt(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        to = min(len(text), at + rng.choice([1, 1, 5, 30]))
        put = rng.choice(["", text[at:to] * 2, rng.choice("()[]{}\"'\\,\n$#"), "$1", '"""', "9. f(", chr(0xD800)])
        text = text[:at] + put + text[to:] or "x"
    return text


@pytest.mark.parametrize("seed", range(20))
def test_spoilt_calls_give_steps_and_faults_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        text = spoilt(PLAN, rng)
        size = rng.choice([1, 3, 8])
        whole = read(text, "llmcompiler")
        assert whole == read([text[at : at + size] for at in range(0, len(text), size)], "llmcompiler"), text
        for found in whole:
            json.dumps(found if isinstance(found, dict) else str(found), allow_nan=False, ensure_ascii=False).encode()


# -- tool calls of OpenAI


def chunk(*deltas: dict[str, Any], reason: str | None = None, content: str | None = None) -> dict[str, Any]:
    delta = {"tool_calls": list(deltas)} if deltas else {"content": content}
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def piece(index: int | None, arguments: str | None = None, *, id: str | None = None, name: str | None = None) -> Any:  # noqa: A002
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def test_calls_come_in_pieces_that_alternate() -> None:
    chunks = [
        chunk(content="Let me look. "),
        chunk(piece(0, "", id="c0", name="search")),
        chunk(piece(1, "", id="c1", name="math"), piece(0, '{"q": "a ')),
        chunk(piece(1, '{"x": '), piece(2, None, name="now")),
        chunk(piece(1, "[1, 2]}"), piece(0, "}{")),
        chunk(piece(0, '"}')),
        chunk(reason="tool_calls"),
        {"choices": [], "usage": {"total_tokens": 3}},
    ]
    expected = [
        {"id": "c1", "tool": "math", "args": {"x": [1, 2]}, "depends_on": []},
        {"id": "c0", "tool": "search", "args": {"q": "a }{"}, "depends_on": []},
        # No arguments at all: none. It has no id, so that its position names it.
        {"id": "3", "tool": "now", "args": {}, "depends_on": []},
    ]
    assert read(chunks) == read(chunks, "openai") == expected
    objects = [openai.types.chat.ChatCompletionChunk.model_construct(**one) for one in chunks]
    assert read(objects) == expected


@in_loop
async def test_a_call_is_given_when_its_arguments_close() -> None:
    taken = []

    async def chunks() -> Any:
        for one in (
            chunk(piece(0, '{"q": 1', id="c0", name="a")),
            chunk(piece(0, "}")),
            chunk(piece(1, "{", id="c1", name="b")),
            chunk(piece(1, "}")),
            chunk(reason="tool_calls"),
        ):
            taken.append(one)
            yield one

    given = [(found["tool"], len(taken)) async for found in read_steps(chunks())]  # type: ignore[index]
    assert given == [("a", 2), ("b", 4)]


def test_providers_that_count_otherwise_are_understood() -> None:
    """Gemini gives every call the index 0 and sends it whole; others leave the index out, or repeat the name."""
    whole = [chunk(piece(0, '{"x": 1}', id="c0", name="a")), chunk(piece(0, '{"x": 2}', id="c1", name="b"))]
    without = [
        chunk(piece(None, '{"x": 1', id="c0", name="a")),
        chunk(piece(None, "}")),
        chunk(piece(None, '{"x": 2}', id="c1", name="b")),
    ]
    repeated = [
        chunk(piece(0, "", id="c0", name="a")),
        chunk(piece(0, '{"x"', id="c0", name="a")),
        chunk(piece(0, ": 1}", id="c0", name="a")),
        chunk(piece(1, '{"x": 2}', id="c1", name="b")),
    ]
    message = {"tool_calls": [piece(None, '{"x": 1}', id="c0", name="a"), piece(None, '{"x": 2}', id="c1", name="b")]}
    completion = [{"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}]
    objects = [chunk({"index": 0, "id": "c0", "function": {"name": "a", "arguments": {"x": 1}}}), whole[1]]
    for chunks in (whole, without, repeated, completion, objects):
        assert [(found["id"], found["tool"], found["args"]) for found in read(chunks)] == [
            ("c0", "a", {"x": 1}),
            ("c1", "b", {"x": 2}),
        ]


def test_a_plan_in_the_text_of_chunks_is_read_too() -> None:
    text = '[{"tool": "a"}, {"tool": "b"}]'
    chunks = [chunk(content=character) for character in text] + [chunk(reason="stop")]
    expected = [
        {"id": "1", "tool": "a", "args": {}, "depends_on": []},
        {"id": "2", "tool": "b", "args": {}, "depends_on": []},
    ]
    assert read(chunks) == read(chunks, "json") == expected
    assert read(chunks, "openai") == []
    calls = [chunk(content=line) for line in ("1. a(x", ")\n2. b", "()\n3. join()")]
    assert [step["args"] for step in read(calls)] == [["x"], []]
    # Beside calls, text is what the model says about them.
    beside = [chunk(piece(0, "{}", id="c", name="z")), chunk(content="1. a(x"), *chunks]
    assert [found["tool"] for found in read(beside)] == ["z"]
    # The other choices are other plans.
    other = chunk(content='{"tool": "x"}')
    other["choices"][0]["index"] = 1
    assert read([other, *chunks]) == expected


@pytest.mark.parametrize(
    ("chunks", "position", "name", "problem"),
    [
        ([piece(0, '{"x": NaN}', id="c", name="a")], 1, "c", "NaN is no number"),
        ([piece(0, '{"x": 1, "x": 2}', id="c", name="a")], 1, "c", 'key "x" is given twice'),
        ([piece(0, "[1]", id="c", name="a")], 1, "c", "must be a JSON object"),
        ([piece(0, "x=1", id="c", name="a")], 1, "c", "must be a JSON object"),
        ([piece(0, '{"x": 1}}', id="c", name="a")], 1, "c", "there is more text"),
        ([piece(0, '{"x": 1]', id="c", name="a")], 1, "c", "`]` closes what `{` opened"),
        ([piece(0, '{"x": ' + "[" * 70, id="c", name="a")], 1, "c", "deeper than 50"),
        ([piece(0, '{"x": "' + "y" * 200_000, id="c", name="a")], 1, "c", "longer than 200,000"),
        ([piece(0, '{"x": "y', id="c", name="a")], 1, "c", "the stream ends inside the arguments"),
        ([piece(0, '{"x": 1}', id="c")], 1, "c", "the call names no tool"),
        ([piece(0, '{"x": 1}', id="c", name=chr(0xD800))], 1, "c", "half a character"),
        ([piece(0, r'{"x": "\udc00"}', id="c", name="a")], 1, "c", "half a character"),
    ],
)
def test_a_call_that_cannot_be_read_is_named(chunks: list[Any], position: int, name: str, problem: str) -> None:
    good = piece(1, '{"ok": true}', id="d", name="b")
    found = read([*map(chunk, chunks), chunk(good)])
    (fault,) = [one for one in found if isinstance(one, FormatFault)]
    assert (fault.position, fault.step_id) == (position, name)
    assert problem in fault.problem
    str(fault).encode()
    assert [one["tool"] for one in found if isinstance(one, dict)] == ["b"]


def test_a_model_that_was_stopped_in_the_middle_is_a_fault() -> None:
    for reason in ("length", "content_filter"):
        in_call = [chunk(piece(0, '{"x": ', id="c", name="a")), chunk(reason=reason)]
        (fault,) = read(in_call)
        assert (fault.step_id, fault.problem) == (
            "c",
            f"the model was stopped ({reason}) inside the arguments of this call",
        )
        step, fault = read([chunk(piece(0, "{}", id="c", name="a")), chunk(reason=reason)])
        assert fault == FormatFault(2, None, f"the model was stopped ({reason}) before the plan was complete")
        step, fault = read([chunk(content='{"tool": "a"}\n'), chunk(reason=reason)])
        assert fault == FormatFault(2, None, f"the model was stopped ({reason}) before the plan was complete")
        step, fault = read([chunk(content='[{"tool": "a"}, {"to'), chunk(reason=reason)])
        assert fault.problem == f"the model was stopped ({reason}) inside this step: the plan was cut off"
        # The list was complete; what was cut is what the model says about it.
        (step,) = read([chunk(content='[{"tool": "a"}] That'), chunk(reason=reason)])
        assert step["tool"] == "a"


def test_calls_that_are_whole_do_not_count_as_being_written() -> None:
    chunks = [chunk(piece(index, "{}", name="a")) for index in range(100)]
    assert len(read(chunks, bounds=ReadingBounds(open_calls=5))) == 100


def test_calls_are_read_up_to_the_bound_of_a_plan() -> None:
    chunks = [chunk(piece(0, '{"x": "', name="a")), *[chunk(piece(0, "y" * 10))] * 1_000]
    (fault,) = read(chunks, bounds=ReadingBounds(plan_characters=100))
    assert "longer than 100 characters" in fault.problem


def test_a_provider_that_says_nonsense_ends_in_no_exception() -> None:
    nonsense: list[Any] = [None, [], {}, "x", 3, True, {"a": 1}, [3], [[]], {"tool_calls": [3, None, {"index": []}]}]
    for value in nonsense:
        for name in ("content_block_delta", "content_block_start", "content_block_stop", "message_delta", "error"):
            read([{"type": name, "index": value, "delta": value, "content_block": value, "error": value}])
        for name in ("response.output_item.added", "response.incomplete", "response.failed", "response.x"):
            read([{"type": name, "output_index": value, "item": value, "response": value}])
        read([{"choices": [value]}, {"choices": [{"delta": value, "finish_reason": value}]}, {"type": value}])
        read([chunk({"index": value, "id": value, "function": {"name": value, "arguments": value}})])


@in_loop
async def test_too_many_calls_at_once_end_the_reading() -> None:
    chunks = [chunk(piece(index, "{", name="a")) for index in range(10_000)]
    found = [one async for one in read_steps(chunks, bounds=ReadingBounds(open_calls=5))]
    assert len(found) == 6
    assert "more than 5 calls are being written" in str(found)


def test_the_official_client_streams_calls() -> None:
    calls = [
        ToolCall("search", {"query": "tides é {", "limit": 2}),
        ToolCall("math", {"x": [1, {"y": "}"}]}),
        ToolCall("now"),
    ]
    expected = [("search", {"query": "tides é {", "limit": 2}), ("math", {"x": [1, {"y": "}"}]}), ("now", {})]
    request: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], "stream": True}

    async def main(provider: FakeProvider) -> None:
        async with openai.AsyncOpenAI(base_url=provider.url, api_key="any", max_retries=0) as client:
            stream = await client.chat.completions.create(**request)
            found: list[Any] = [one async for one in read_steps(stream)]
            assert [(one["tool"], one["args"]) for one in found] == expected
            assert len({one["id"] for one in found}) == 3
            # Leaving in the middle closes the connection.
            provider.reply = Reply("\n".join(f'{number}. search("{number}")' for number in range(1, 2_000)))
            steps = read_steps(await client.chat.completions.create(**request))
            first: Any = await anext(steps)
            assert (first["id"], first["args"]) == ("1", ["1"])
            await steps.aclose()
            await asyncio.to_thread(provider.wait_idle)
            assert provider.log[-1].outcome == "client left"

    with nothing_left(), FakeProvider(reply=Reply("Let me look.", tool_calls=calls)) as provider:
        asyncio.run(main(provider))
    with (
        FakeProvider(reply=Reply(tool_calls=calls)) as provider,
        openai.OpenAI(base_url=provider.url, api_key="any", max_retries=0) as client,
    ):
        assert [(one["tool"], one["args"]) for one in read(client.chat.completions.create(**request))] == expected
        # What was not streamed is read likewise.
        whole = client.chat.completions.create(**{**request, "stream": False})
        assert [(one["tool"], one["args"]) for one in read([whole])] == expected


# -- events of Anthropic


def events(*blocks: tuple[str, str, list[str]], stop: str = "tool_use") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"type": "message_start", "message": {"content": []}}, {"type": "ping"}]
    for index, (call_id, name, parts) in enumerate(blocks):
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}} if name else {"type": "text", "text": ""}
        found.append({"type": "content_block_start", "index": index, "content_block": block})
        for part in parts:
            delta = {"type": "input_json_delta", "partial_json": part} if name else {"type": "text_delta", "text": part}
            found.append({"type": "content_block_delta", "index": index, "delta": delta})
        found.append({"type": "content_block_stop", "index": index})
    return [*found, {"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]


def test_events_of_a_message_give_its_calls() -> None:
    stream = events(("", "", ["Let me ", "look."]), ("t1", "search", ["", '{"q": "a', ' {"}']), ("t2", "now", [""]))
    expected = [
        {"id": "t1", "tool": "search", "args": {"q": "a {"}, "depends_on": []},
        {"id": "t2", "tool": "now", "args": {}, "depends_on": []},
    ]
    assert read(stream) == read(stream, "anthropic") == expected
    assert read([Event(event) for event in stream]) == expected


class Event:
    """An event as the client has it: attributes."""

    def __init__(self, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            # What the model wrote stays a dict.
            is_object = isinstance(value, dict) and name != "input"
            setattr(self, name, Event(value) if is_object else value)


def test_text_of_a_message_may_be_a_plan() -> None:
    assert [step["tool"] for step in read(events(("", "", ['[{"tool": ', '"a"}]']), stop="end_turn"))] == ["a"]


def test_faults_of_a_message_are_named() -> None:
    (fault,) = read(events(("t1", "search", ['{"q": "a']), stop="max_tokens"))
    assert (fault.position, fault.step_id) == (1, "t1")
    assert "inside the arguments of this call" in fault.problem
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    step, fault = read([*events(("t1", "search", ["{}"]))[:5], error, {"type": "ping"}])
    assert step["tool"] == "search"
    assert fault == FormatFault(2, None, 'the provider ended the plan with an error: "Overloaded"')


# -- chunks of LangChain


def test_chunks_of_langchain_give_calls_and_text() -> None:
    messages = pytest.importorskip("langchain_core.messages", reason="pip install langchain-core")

    def message_chunk(content: Any = "", *pieces: Any, **metadata: str) -> Any:
        return messages.AIMessageChunk(content=content, tool_call_chunks=list(pieces), response_metadata=metadata)

    tool_call_chunk = messages.tool.tool_call_chunk
    chunks = [
        message_chunk([{"type": "text", "text": "Let me look."}]),
        message_chunk("", tool_call_chunk(name="search", args="", id="c0", index=0)),
        message_chunk("", tool_call_chunk(args='{"q": "a', index=0)),
        message_chunk("", tool_call_chunk(args=' {"}', index=0)),
        message_chunk("", tool_call_chunk(name="now", args=None, id="c1", index=1)),
        message_chunk(finish_reason="tool_calls"),
    ]
    expected = [
        {"id": "c0", "tool": "search", "args": {"q": "a {"}, "depends_on": []},
        {"id": "c1", "tool": "now", "args": {}, "depends_on": []},
    ]
    assert read(chunks) == read(chunks, "langchain") == expected
    for plan in (['[{"tool": ', '"a"}]'], [[{"type": "text", "text": "1. a()"}], ["\n2. join()"]]):
        assert [step["tool"] for step in read(map(message_chunk, plan))] == ["a"]
    (fault,) = read([*chunks[:3], message_chunk(stop_reason="max_tokens")])
    assert (fault.step_id, fault.problem) == (
        "c0",
        "the model was stopped (max_tokens) inside the arguments of this call",
    )


# -- events of OpenAI's Responses API


def response(*events: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": f"response.{name}", **fields} for name, fields in events]


def item(index: int, **fields: Any) -> dict[str, Any]:
    return {"output_index": index, "item": {"type": "function_call", **fields}}


CALLED = response(
    ("created", {"response": {"output": []}}),
    ("output_item.added", {"output_index": 0, "item": {"type": "reasoning", "summary": []}}),
    ("output_item.done", {"output_index": 0, "item": {"type": "reasoning", "summary": []}}),
    ("output_item.added", item(1, id="fc_1", call_id="call_1", name="search", arguments="")),
    ("function_call_arguments.delta", {"output_index": 1, "item_id": "fc_1", "delta": '{"q": "a '}),
    ("function_call_arguments.delta", {"output_index": 1, "item_id": "fc_1", "delta": '{"}'}),
    ("function_call_arguments.done", {"output_index": 1, "arguments": '{"q": "a {"}'}),
    ("output_item.done", item(1, id="fc_1", call_id="call_1", name="search", arguments='{"q": "a {"}')),
    ("output_item.added", item(2, id="fc_2", call_id="call_2", name="now", arguments="")),
    ("output_item.done", item(2, id="fc_2", call_id="call_2", name="now", arguments="")),
    ("completed", {"response": {"output": []}}),
)


def test_events_of_a_response_give_its_calls() -> None:
    expected = [
        {"id": "call_1", "tool": "search", "args": {"q": "a {"}, "depends_on": []},
        {"id": "call_2", "tool": "now", "args": {}, "depends_on": []},
    ]
    assert read(CALLED) == read(CALLED, "openai") == expected
    assert read([Event(event) for event in CALLED]) == expected


def test_a_response_may_have_a_plan_in_its_text_and_may_break_off() -> None:
    said = response(*[("output_text.delta", {"delta": text}) for text in ('[{"tool": ', '"a"}]')])
    assert [step["tool"] for step in read(said)] == ["a"]
    cut = response(("incomplete", {"response": {"incomplete_details": {"reason": "max_output_tokens"}}}))
    (fault,) = read([*CALLED[:5], *cut])
    assert fault == FormatFault(
        1, "call_1", "the model was stopped (max_output_tokens) inside the arguments of this call"
    )
    failed = response(("failed", {"response": {"error": {"message": "Overloaded"}}}))
    assert "Overloaded" in read(failed)[0].problem
    assert "Overloaded" in read([{"type": "error", "message": "Overloaded"}])[0].problem
