"""
Plans in every form of JSON, read from texts in pieces of any size: each step as soon as it is whole.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain import GraphError, PlanStream
from antichain.agents.plans.formats import FormatFault, ReadingBounds, read_steps
from tests.support.plan_texts import in_loop, read

PLAN: list[dict[str, Any]] = [
    {"id": "a", "tool": "search", "args": {"q": 'say "hi" {[ \\n , é 😀', "n": [1, 2.5, None, True]}, "depends_on": []},
    {"id": 2, "tool": "math", "args": {"x": {"y": [{}, []]}, "z": "$a.hits[0]"}, "depends_on": ["a"]},
    {"id": "c", "tool": "report", "args": {}, "depends_on": ["a", 2]},
]
FORMS = {
    "list": json.dumps(PLAN),
    "indented": json.dumps(PLAN, indent=1),
    "plain": json.dumps(PLAN, ensure_ascii=False),
    "object": json.dumps({"thought": "first [this] {then} that", "steps": PLAN, "notes": {"steps": [1]}}),
    "lines": "\n".join(map(json.dumps, PLAN)),
    "fence": f"Sure [1], with {{braces}}:\n```json\n{json.dumps(PLAN, indent=2)}\n```\nThat's {{it}} [2].",
    "fenced lines": "```\n" + "\n".join(map(json.dumps, PLAN)) + "\n```",
}


def step(text: str, position: int = 1) -> Any:
    """One step as it should come back, from its JSON."""
    return {"id": str(position), "args": {}, "depends_on": []} | json.loads(text)


def faults_of(text: Any, *args: Any, **options: Any) -> list[FormatFault]:
    return [found for found in read(text, *args, **options) if isinstance(found, FormatFault)]


# -- what is given, and when


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_steps_however_it_is_cut(form: str) -> None:
    text = FORMS[form]
    for size in (7, 3, 2, 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert read(pieces) == PLAN
        raw = text.encode()
        assert read([raw[at : at + size] for at in range(0, len(raw), size)]) == PLAN
    assert read(text) == PLAN
    assert read(text, "json") == PLAN
    assert read(text.encode()) == PLAN


@pytest.mark.parametrize("form", FORMS)
def test_a_plan_cut_in_two_at_any_place_gives_the_same(form: str) -> None:
    text = FORMS[form]
    for at in range(len(text)):
        assert read([text[:at], text[at:]]) == PLAN


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)
STEPS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=5) | st.integers(),
        "tool": st.text(min_size=1, max_size=8),
        "args": st.dictionaries(st.text(max_size=5), VALUES, max_size=4) | st.lists(VALUES, max_size=3),
        "depends_on": st.lists(st.text(min_size=1, max_size=3) | st.integers(), max_size=3),
    }
)


@st.composite
def written(draw: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """A valid plan in some form of JSON, and the pieces it comes in."""
    plan = draw(st.lists(STEPS, min_size=1, max_size=4))
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, 0, 2]))
    one = [json.dumps(part, ensure_ascii=ascii_only) for part in plan]
    text = draw(
        st.sampled_from(
            [
                json.dumps(plan, ensure_ascii=ascii_only, indent=indent),
                json.dumps({"why": "[{", "steps": plan}, ensure_ascii=ascii_only, indent=indent),
                "\n".join(one),
                f"Here {{it}} is:\n```json\n[{', '.join(one)}]\n```\n",
            ]
        )
    )
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return plan, [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(written())
def test_any_valid_plan_in_any_pieces_gives_what_json_gives(plan: tuple[list[dict[str, Any]], list[str]]) -> None:
    steps, pieces = plan
    assert read(pieces) == steps


@given(written())
def test_each_step_is_given_when_its_last_brace_arrives(plan: tuple[list[dict[str, Any]], list[str]]) -> None:
    """Nothing of the text of the next step has been asked for by then."""
    steps, pieces = plan
    text = "".join(pieces)
    taken = 0

    def characters() -> Iterator[str]:
        nonlocal taken
        for character in text:
            taken += 1
            yield character

    async def ends() -> list[int]:
        return [taken async for _ in read_steps(characters())]

    # Every end is a brace, the last of an object that json reads.
    decoder = json.JSONDecoder()
    places = asyncio.run(ends())
    assert len(places) == len(steps)
    start = 0
    for place, expected in zip(places, steps, strict=True):
        begins = [at for at in range(start, place) if text[at] == "{"]
        parsed = [decoder.raw_decode(text, at) for at in begins if _is_json(decoder, text, at)]
        assert (expected, place) in parsed
        start = place


def _is_json(decoder: json.JSONDecoder, text: str, at: int) -> bool:
    try:
        decoder.raw_decode(text, at)
    except json.JSONDecodeError:
        return False
    return True


def test_steps_that_came_as_objects_are_steps_too() -> None:
    class Planned:
        id = "a"
        tool = "search"
        args = {"q": ["x", ("y",)]}
        depends_on = ("b",)

    expected = {"id": "a", "tool": "search", "args": {"q": ["x", ["y"]]}, "depends_on": ["b"]}
    assert read([Planned()]) == read(iter([Planned()])) == [expected]
    assert read(PLAN) == read({"steps": PLAN}) == read([{"steps": PLAN}]) == PLAN
    assert read(PLAN, "steps") == PLAN
    assert read([]) == read("[]") == read('{"steps": []}') == []


def test_what_models_leave_out_or_name_otherwise_is_understood() -> None:
    assert read('[{"tool": "a"}, {"name": "b", "arguments": {"x": 1}, "dependencies": ["1"]}]') == [
        {"id": "1", "tool": "a", "args": {}, "depends_on": []},
        {"id": "2", "tool": "b", "args": {"x": 1}, "depends_on": ["1"]},
    ]


def test_halves_of_a_character_in_two_pieces_are_one_character() -> None:
    half, other = "\ud83d", "\ude00"
    assert read([f'[{{"tool": "a", "args": {{"q": "{half}', f'{other}"}}}}]'])[0]["args"] == {"q": "😀"}
    smile = "😀".encode()
    assert read([b'[{"tool": "a", "args": ["', smile[:2], smile[2:], b'"]}]'])[0]["args"] == ["😀"]


def test_bytes_that_are_no_text_are_refused_in_a_step_and_passed_over_around_it() -> None:
    step, fault = read([b'\xff [{"tool": "a"}, {"tool": "b", "args": ["\xff', b'"]}]'])
    assert step["tool"] == "a"
    assert "half a character" in fault.problem


# -- sources


class Source:
    """An async source that says what happened to it."""

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = iter(pieces)
        self.taken = 0
        self.closed = 0

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> Any:
        for piece in self.pieces:
            self.taken += 1
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


@in_loop
async def test_the_source_is_closed_when_nobody_reads_on() -> None:
    source = Source([json.dumps(part) for part in PLAN])
    steps = read_steps(source)
    assert await anext(steps) == PLAN[0]
    assert (source.taken, source.closed) == (1, 0)
    await steps.aclose()
    assert (source.taken, source.closed) == (1, 1)


@in_loop
async def test_the_source_is_closed_when_its_plan_says_that_it_ends() -> None:
    source = Source(["1. a()\n", "2. join()\n", "3. b()\n"])
    assert [found async for found in read_steps(source)] == [step('{"id": "1", "tool": "a", "args": []}')]
    assert (source.taken, source.closed) == (2, 1)


@in_loop
async def test_a_source_that_only_has_an_async_close_is_closed_by_it() -> None:
    class Stream:
        closed = 0

        async def __aiter__(self) -> AsyncIterator[str]:
            yield '{"tool": "a"}'
            yield '{"tool": "b"}'

        async def close(self) -> None:
            self.closed += 1

    stream = Stream()
    steps = read_steps(stream)
    await anext(steps)
    await steps.aclose()
    assert stream.closed == 1


@in_loop
async def test_a_generator_is_closed() -> None:
    ended = []

    def pieces() -> Iterator[str]:
        try:
            yield '{"tool": "a"}'
            yield '{"tool": "b"}'
        finally:
            ended.append("yes")

    # Held here, so that nothing but the reader closes it.
    source = pieces()
    steps = read_steps(source)
    await anext(steps)
    assert not ended
    await steps.aclose()
    assert ended == ["yes"]


@in_loop
async def test_what_the_source_raises_is_raised_after_the_steps_before_it() -> None:
    async def breaking() -> AsyncIterator[str]:
        yield '[{"tool": "a"}, {"too'
        raise ConnectionError("reset")

    steps = read_steps(breaking())
    assert (await anext(steps))["tool"] == "a"  # type: ignore[index]
    with pytest.raises(ConnectionError, match="reset"):
        await anext(steps)


@in_loop
async def test_other_things_run_while_a_plain_iterator_is_read() -> None:
    """Steps that were given start, though the iterator never awaits anything."""
    turns = []

    async def other() -> None:
        for turn in range(3):
            turns.append(turn)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len([found async for found in read_steps(json.dumps(part) for part in PLAN)]) == 3
    assert turns == [0, 1, 2]
    await task


def test_a_source_or_format_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="format='yaml' is no form of a plan: take one of auto, json"):
        read("", "yaml")
    with pytest.raises(GraphError, match="format='yaml' is no form of a plan: take one of auto, json"):
        PlanStream([], [], format="yaml")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a plan cannot be read from 3"):
        read(3)


# -- faults

HALF = chr(0xD800)
# Text, and the faults in it: position, id, a part of the problem. Steps around them come whole.
FAULTY: dict[str, tuple[str, list[tuple[int, Any, str]], list[str]]] = {
    "missing brace": (
        '[{"id": 1, "tool": "a", "args": {"x": 1}, {"id": 2, "tool": "b"}]',
        [(1, 1, "is a `}` missing?")],
        ["b"],
    ),
    "missing quote": (
        '[{"id": "x", "tool": "a, "args": {}}, {"id": 2, "tool": "b"}]',
        [(1, "x", '"a" stands where `,` or an end was expected')],
        ["b"],
    ),
    "quote in a text": (
        '[{"id": 1, "tool": "a", "args": {"q": "say "hi" to"}},\n {"id": 2, "tool": "b"}]',
        [(1, 1, '"h" stands where `,`')],
        ["b"],
    ),
    "text over lines": (
        '{"id": 1, "tool": "a", "args": {"q": "one\ntwo"}}\n{"id": 2, "tool": "b"}',
        [(1, 1, r"write line ends in texts as \n")],
        ["b"],
    ),
    "missing bracket": (
        '[{"id": 1, "tool": "a", "args": {"q": [1, 2}}, {"id": 2, "tool": "b"}]',
        [(1, 1, "`}` closes what `[` opened")],
        ["b"],
    ),
    "missing braces at the end": ('[{"id": 1, "tool": "a", "args": {"q": 1]', [(1, 1, "`]` closes what `{` op")], []),
    "cut off": ('[{"tool": "z"}, {"id": 7, "tool": "a"', [(2, 7, "inside this step: the plan was cut off")], ["z"]),
    "cut off between": ('[{"tool": "z"}, ', [(2, None, "before the list of steps is closed")], ["z"]),
    "cut off in a list in an object": ('{"steps": [{"tool": "z"}', [(2, None, "before the list of st")], ["z"]),
    "trailing comma": ('[{"id": 1, "tool": "a",}]', [(1, 1, "malformed JSON: ")], []),
    "single quotes": ("[{'id': 1, 'tool': 'a'}]", [(1, None, "in double quotes near")], []),
    "no JSON at all": ("I cannot help with that.", [(1, None, "no step was found")], []),
    "empty": ("", [(1, None, "no step was found")], []),
    "NaN": ('[{"id": 1, "tool": "a", "args": {"x": NaN}}]', [(1, 1, "NaN is no number")], []),
    "Infinity": ('[{"id": 1, "tool": "a", "args": {"x": -Infinity}}]', [(1, 1, "-Infinity is no number")], []),
    "infinite": ('[{"id": 1, "tool": "a", "args": {"x": 1e999}}]', [(1, 1, "1e999 is too large")], []),
    "huge": (f'[{{"id": 1, "tool": "a", "args": [{"9" * 301}]}}]', [(1, 1, "has 301 digits")], []),
    "very huge": (f'[{{"id": 1, "tool": "a", "args": [{"9" * 10_000}]}}]', [(1, 1, "has 10,000 digits")], []),
    "huge id": (f'[{{"id": {"9" * 301}, "tool": "a"}}]', [(1, None, "has 301 digits")], []),
    "key twice": ('[{"id": 1, "tool": "a", "args": {"x": 1, "x": 2}}]', [(1, 1, 'key "x" is given twice')], []),
    "id twice": ('[{"id": 1, "id": 2, "tool": "a"}]', [(1, 1, 'the key "id" is given twice')], []),
    "steps twice": (
        '{"steps": [{"tool": "a"}], "steps": [{"tool": "b"}]}',
        [(2, None, "`steps` is given twice")],
        ["a", "b"],
    ),
    "half a character": (r'[{"id": 1, "tool": "a", "args": {"q": "\ud800"}}]', [(1, 1, "half a character")], []),
    "half as it is": (f'[{{"id": 1, "tool": "a", "args": ["{HALF}"]}}]', [(1, 1, "half a character")], []),
    "half in a key": (r'[{"id": 1, "tool": "a", "args": {"\udfff": 1}}]', [(1, 1, "half a character")], []),
    "no step": (
        '[{"tool": "z"}, 17, {"tool": "a"}, null]',
        [(2, None, 'here begins "1"'), (4, None, 'begins "n"')],
        ["z", "a"],
    ),
    "list for a step": ('[{"tool": "z"}, ["x"], {"tool": "a"}]', [(2, None, 'here begins "["')], ["z", "a"]),
    "wrong types": (
        '[{"id": 1, "tool": 5, "args": 3, "depends_on": "x"}, {"id": [1], "tool": "", "depends_on": [true]}]',
        [
            (1, 1, "`tool` must be the name of a tool, not 5"),
            (1, 1, "`args` must be an object, not 3"),
            (1, 1, '`depends_on` must be a list of ids, not "x"'),
            (2, None, "`id` must be a text or a whole number, not a list"),
            (2, None, '`tool` must be the name of a tool, not ""'),
            (2, None, "an id in `depends_on` must be a text or a whole number, not true"),
        ],
        [],
    ),
    "other objects around": ('A {"city": 1}: [{"tool": "a"}], {"x": {"id": 1}}.', [], ["a"]),
    "nothing but other objects": ('A {"city": 1}.', [(1, None, "no step was found")], []),
    "missing comma": (
        '[{"id": 1, "tool": "a" "args": {}}, {"tool": "b"}]',
        [(1, 1, "a quote stands where `,` or an end was expected")],
        ["b"],
    ),
    "field misspelt": (
        '[{"id": 1, "tool": "a", "depend_on": ["x"], "thought": "y"}, {"tool": "b", "title": "", "idea": 0}]',
        [(1, 1, 'the field "depend_on" means nothing; is it `depends_on`?')],
        ["b"],
    ),
    "fields without end": (
        json.dumps([dict.fromkeys(map(str, range(60))) | {"tool": "a"}]),
        [(1, None, "61 fields")],
        [],
    ),
    "no tool in its line": ('{"tool": "a"}\n{"id": 7, "args": {}}', [(2, 7, "`tool` is missing")], ["a"]),
    "no tool": ('[{"id": "x", "args": {}}]', [(1, "x", "`tool` is missing")], []),
    "nested": (
        f'[{{"id": 1, "tool": "a", "args": {"[" * 60}{"]" * 60}}}, {{"tool": "b"}}]',
        [(1, 1, "deeper than 50")],
        ["b"],
    ),
    "bomb": (f'[{{"id": 1, "tool": "a", "args": {"[" * 100_000}', [(1, 1, "deeper than 50")], []),
    "long": (
        f'[{{"id": 1, "tool": "a", "args": ["{"x" * 200_000}"]}}, {{"tool": "b"}}]',
        [(1, 1, "longer than 200,000")],
        ["b"],
    ),
}


@pytest.mark.parametrize("case", FAULTY)
@pytest.mark.parametrize("cut", [1, 5, 1_000_000])
def test_what_is_wrong_is_named_and_reading_goes_on(case: str, cut: int) -> None:
    text, expected, tools = FAULTY[case]
    found = read([text[at : at + cut] for at in range(0, len(text), cut)] or [""])
    faults = [fault for fault in found if isinstance(fault, FormatFault)]
    assert [(fault.position, fault.step_id) for fault in faults] == [(place, name) for place, name, _ in expected]
    for fault, (_, _, problem) in zip(faults, expected, strict=True):
        assert problem in fault.problem
        str(fault).encode()
        assert len(str(fault)) < 300
    assert [step["tool"] for step in found if not isinstance(step, FormatFault)] == tools


def test_a_fault_reads_as_a_sentence() -> None:
    assert str(FormatFault(3, "x\n", "no")) == r'step 3 (id "x\n"): no'
    assert str(FormatFault(3, 10**400, "no")) == "step 3 (id a huge number): no"
    assert str(FormatFault(3, None, "no")) == "step 3: no"


def test_after_a_lost_quote_only_what_looks_like_a_step_is_read() -> None:
    """Objects inside the broken step are no steps, and are not reported as such."""
    text = '[{"id": 1, "tool": "a, "args": {"x": [{"y": 1}, {"z": 2}]}},\n{"id": 2, "tool": "b"}, {"id": 3}]'
    assert [(type(found), found["id"] if isinstance(found, dict) else found.position) for found in read(text)] == [
        (FormatFault, 1),
        (dict, 2),
        # From a step on, the way is known again.
        (FormatFault, 3),
    ]


def test_a_plan_is_read_up_to_its_bound() -> None:
    bounds = ReadingBounds(plan_characters=60)
    text = '[{"tool": "a"}, {"tool": "b"}, {"tool": "c"}, {"tool": "d"}, {"tool": "e"}]'
    for source in (text, list(text), iter(text), [text.encode()]):
        *steps, fault = read(source, bounds=bounds)
        assert [found["tool"] for found in steps] == ["a", "b", "c", "d"]
        assert fault == FormatFault(5, None, "the plan is longer than 60 characters")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"x": float("nan")}, "nan is no number"),
        ({"x": float("inf")}, "inf is no number"),
        ({"x": 10**400}, "more than 300 digits"),
        ({"x": HALF}, "half a character"),
        ({1: 2}, "the key 1 is no text"),
        (json.loads("[" * 51 + "]" * 51), "nested deeper than 50"),
        ({"x": "y" * 200_001}, "larger than 200,000"),
    ],
)
def test_steps_that_came_as_objects_are_held_to_the_same(value: Any, problem: str) -> None:
    (fault,) = read([{"id": "a", "tool": "t", "args": value}])
    assert fault.position == 1
    assert problem in fault.problem


def test_an_object_that_holds_itself_has_an_end() -> None:
    plan: dict[str, Any] = {}
    plan["steps"] = [plan]
    assert [fault.position for fault in faults_of(plan)] == [1]
    many: list[Any] = []
    many += [many] * 10
    deep: dict[str, Any] = {}
    deep["x"] = deep
    assert [fault.position for fault in faults_of([{"tool": "a", "args": many}, {"tool": "a", "args": deep}])] == [1, 2]


# -- whatever is written


@pytest.mark.parametrize("seed", range(40))
def test_spoilt_plans_give_steps_and_faults_and_nothing_else(seed: int) -> None:
    """What is cut out, doubled, swapped or put in ends in no exception, and the same however it is cut."""
    rng = random.Random(seed)
    for _ in range(10):
        text = rng.choice(list(FORMS.values()))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            to = min(len(text), at + rng.choice([1, 1, 1, 5, 40]))
            put = rng.choice(["", "", text[at:to] * 2, rng.choice("{}[]\",:\\\n`'$0e-"), HALF, "NaN", '{"steps": ['])
            text = text[:at] + put + text[to:] or "x"
        size = rng.choice([1, 2, 3, 9])
        whole = read(text)
        pieces = read([text[at : at + size] for at in range(0, len(text), size)])
        assert whole, text
        assert whole == pieces, text
        for found in whole:
            repr(found).encode("utf-8")
            json.dumps(
                found if isinstance(found, dict) else found.problem, allow_nan=False, ensure_ascii=False
            ).encode()


def seconds_for(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


LONG: dict[str, Callable[[int], str]] = {
    "steps": lambda size: json.dumps([{"id": n, "tool": "t", "args": {"q": "x" * 50}} for n in range(size // 80)]),
    "escapes": lambda size: '[{"tool": "t", "args": ["' + "\\n" * (size // 2) + '"]}]',
    "openers": lambda size: "{ [ " * (size // 4),
    "quotes": lambda size: '[{"a' + '"' * size,
    "braces": lambda size: '{"' * (size // 2),
    "spaces": lambda size: "{" + " " * size + "[" + "\n" * 10,
    "keys": lambda size: '[{"tool": "t", "args": {' + ", ".join(f'"{n}": 1' for n in range(size // 10)) + "}}]",
    "same keys": lambda size: (
        '[{"tool": "t", "args": {' + ", ".join(f'"{n}": 1' for n in range(size // 10)) + ', "0": 1}}]'
    ),
    "backslashes": lambda size: '[{"tool": "' + "\\" * size,
    "lost": lambda size: '[{"tool": "a" "' + ",{" * (size // 2),
    "prose": lambda size: "so we search " * (size // 13),
    "digits": lambda size: '[{"tool": "t", "args": [' + "9" * size + "]}]",
    "calls": lambda size: '1. f("x")\n' * (size // 10),
    "open call": lambda size: '1. f("""' + "x\n" * (size // 2),
    "open quotes": lambda size: '1. f("' + "('\"\n" * (size // 4),
    "dollars": lambda size: "1. f()\n2. g(" + "$1 ${ ${1} " * (size // 11) + ")",
    "nested call": lambda size: "1. f(" + "[(" * (size // 2) + ")",
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("cut", [7, 1 << 20])
def test_eight_times_the_text_takes_about_eight_times_as_long(kind: str, cut: int) -> None:
    """Quadratic work would take 64 times as long; the bound on a step is lifted, so that nothing is cut short."""
    bounds = ReadingBounds(step_characters=10_000_000)

    def work(size: int) -> Callable[[], object]:
        text = LONG[kind](size)
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
        return lambda: read(pieces, bounds=bounds)

    small = min(seconds_for(work(25_000)) for _ in range(3))
    large = min(seconds_for(work(200_000)) for _ in range(2))
    assert large < 24 * max(small, 0.001)
