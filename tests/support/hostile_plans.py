"""
Plans that mean harm, by kind, each in several forms; run as a program, it lets PlanStream have one kind of them and
prints what came of each: `python -m tests.support.hostile_plans cycles`.
"""

import asyncio
import itertools
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from tests.support.memory import high_water

Plan = Callable[[], Any]

# What every plan begins with, and may refer to.
SOUND = {"id": "s1", "tool": "search", "args": {"query": "tides"}, "depends_on": []}


def step(name: Any = "s2", tool: Any = "search", query: Any = "x", depends_on: Any = (), **args: Any) -> dict[str, Any]:
    depends = list(depends_on) if isinstance(depends_on, tuple) else depends_on
    return {"id": name, "tool": tool, "args": {"query": query, **args}, "depends_on": depends}


async def streamed(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def as_steps(steps: list[Any]) -> dict[str, Plan]:
    return {"list": lambda: steps, "stream": lambda: streamed(steps)}


def as_text(steps: list[Any]) -> dict[str, Plan]:
    text = json.dumps(steps)
    lines = "".join(f"{json.dumps(each)}\n" for each in steps)
    return {
        "json": lambda: text,
        "lines": lambda: lines,
        "deltas": lambda: streamed(pieces(f"```json\n{text}\n```", 7)),
    }


def everywhere(named: dict[str, list[Any]], *, text: bool = True) -> dict[str, Plan]:
    """Each of the named lists of steps in every form."""
    plans = {}
    for name, steps in named.items():
        forms = as_steps([SOUND, *steps]) | (as_text([SOUND, *steps]) if text else {})
        plans |= {f"{name}, {form}": plan for form, plan in forms.items()}
    return plans


# -- kinds


def cycles() -> dict[str, Plan]:
    def ring(size: int, query: str) -> list[Any]:
        return [step(f"c{i}", query=query.replace("N", f"c{(i + 1) % size}")) for i in range(size)]

    return everywhere({f"{n} {q}": ring(n, q) for n in (2, 3, 90) for q in ("$N", "a ${N.x[0]} b")}) | everywhere(
        {
            "itself": [step(query="$s2")],
            "itself inside": [step(query="see ${s2.title}")],
            "itself by depends_on": [step(depends_on=("s2",))],
            "two rings": [*ring(3, "$N"), step("d0", query="$d1"), step("d1", query="$d0")],
        }
    )


def million_steps() -> dict[str, Plan]:
    count = range(1_000_000)
    return {
        "wide": lambda: [step(str(i)) for i in range(200_000)],
        "generator": lambda: streamed(step(str(i)) for i in count),
        "line": lambda: streamed(step(str(i), query=f"${i - 1}" if i else "x") for i in count),
        "backwards": lambda: streamed(step(str(i), query=f"${i + 1}") for i in count),
        "one id": lambda: streamed(step("a") for _ in count),
        "text": lambda: streamed(json.dumps(step(str(i))) for i in count),
        "whole text": lambda: json.dumps([step(str(i)) for i in range(200_000)]),
        "calls": lambda: streamed(f'{i}. search("x")\n' for i in itertools.count(1)),
    }


def endless() -> dict[str, Plan]:
    return {
        "steps": lambda: streamed(step(str(i)) for i in itertools.count()),
        "no steps": lambda: streamed(None for _ in range(3_000_000)),
        "empty texts": lambda: streamed("" for _ in itertools.count()),
        "prose": lambda: streamed("I am thinking. " for _ in itertools.count()),
        "spaces": lambda: streamed(" " * 1000 for _ in itertools.count()),
        "open string": lambda: itertools_chain('[{"id": "a", "tool": "search", "args": {"query": "', "x" * 100),
        "open lists": lambda: itertools_chain('[{"id": "a", "args": ', "["),
        "digits": lambda: itertools_chain('[{"id": "a", "tool": "search", "args": {"query": ', "1"),
        "open call": lambda: itertools_chain('1. search("', "x" * 100),
        "numbers": lambda: streamed(f"{i}" for i in itertools.count()),
        "faults": lambda: streamed({"id": i} for i in itertools.count()),
        "empty chunks": lambda: streamed({"choices": []} for _ in itertools.count()),
    }


def itertools_chain(head: str, rest: str) -> AsyncIterator[str]:
    return streamed(itertools.chain([head], itertools.repeat(rest)))


def deep_references() -> dict[str, Plan]:
    paths = {"keys": ".a" * 10_000, "positions": "[0]" * 10_000, "mixed": ".a[0]" * 5_000}
    named = {name: [step(query=f"$s1{path}")] for name, path in paths.items()}
    named |= {f"{name} inside": [step(query=f"see ${{s1{path}}}!")] for name, path in paths.items()}
    return everywhere(named)


def nested(depth: int, kind: str) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def deep_json() -> dict[str, Plan]:
    plans: dict[str, Plan] = {}
    for kind, (opening, closing) in {"list": ("[", "]"), "dict": ('{"a":', "}")}.items():
        for depth in (100, 100_000):
            text = f'[{json.dumps(SOUND)}, {{"id": "s2", "tool": "search", "args": {{"query": '
            text += f"{opening * depth}1{closing * depth}}}}}]"
            plans[f"{kind} {depth}, text"] = lambda text=text: text
            plans[f"{kind} {depth}, deltas"] = lambda text=text: streamed(pieces(text, 1000))
            plans |= {
                f"{kind} {depth}, {form}": plan
                for form, plan in as_steps([SOUND, step(query=nested(depth, kind))]).items()
            }
    loop: list[Any] = []
    loop.append(loop)
    return plans | {"itself": lambda: [SOUND, step(query=loop)]}


def huge_texts() -> dict[str, Plan]:
    huge = "x" * 20_000_000
    steps = {
        "argument": step(query=huge),
        "id": step(huge),
        "tool": step(tool=huge),
        "depends_on": step(depends_on=(huge,)),
        "name": {**step(), "args": {huge: 1}},
        "field": {**step(), huge: 1},
        "other field": {**step(), "thought": huge},
        "bytes": step(query=huge.encode()),
    }
    plans = {f"{name}, {form}": plan for name, each in steps.items() for form, plan in as_steps([SOUND, each]).items()}
    plans["one text"] = lambda: huge
    plans["text of a step"] = lambda: json.dumps([SOUND, step(query=huge)])
    plans["many texts"] = lambda: streamed(step(str(i), query="x" * 50_000) for i in range(1000))
    plans["many values"] = lambda: [SOUND, step(query=[0] * 2_000_000)]
    plans["many names"] = lambda: [SOUND, {**step(), "args": {f"name{i}": i for i in range(90_000)}}]
    plans["many fields"] = lambda: [SOUND, {**step(), **{f"toll{i}": i for i in range(90_000)}}]
    plans["many dependencies"] = lambda: [SOUND, step(depends_on=[f"s{i}" for i in range(90_000)])]
    plans["many references"] = lambda: [SOUND, step(query="".join(f"${{a{i}}}" for i in range(90_000)))]
    plans["one reference many times"] = lambda: [SOUND, step(query="${s3}" * 90_000)]
    return plans


def forbidden_tools() -> dict[str, Plan]:
    names = [
        "os.system",
        "eval",
        "__import__",
        "search ",
        "Search",
        "search\x00",
        "s\u0435arch",
        "",
        "search()",
        "$s1",
        "join",
    ]
    return everywhere({repr(name): [step(tool=name)] for name in names})


def secrets() -> dict[str, Plan]:
    texts = [
        "$env.KEY",
        "${OPENAI_API_KEY}",
        "$os.environ.HOME",
        "${env.HOME} and",
        "$globals",
        "${self.tools}",
        "$inputs.key",
        "${s1.__class__}",
        "$s1.__class__",
        "$s1.title.__class__.__mro__[1]",
        "$s1.__init__.__globals__",
        "$s1._private",
        "${s1.__dict__.x} inside",
        "$s1[0].__class__",
        "${__import__('os').environ}",
        "${s1['__class__']}",
        "${7*7}",
        "$s1.title.__len__()",
        "${s1!r}",
        "${s1:{s1}}",
        "${s1.{s1}}",
        "${ }",
        "${}",
        "${",
        "$s1.a.",
    ]
    return everywhere({text: [step(query=text)] for text in texts})


def duplicates() -> dict[str, Plan]:
    return everywhere(
        {
            "same": [SOUND],
            "other": [step("s1")],
            "number and text": [step(7), step("7")],
            "many": [step("s1") for _ in range(90)],
            "of an unknown tool": [step("s2", "nothing"), step("s2")],
        }
    )


def half_characters() -> dict[str, Plan]:
    half = "\ud83d"
    return everywhere(
        {
            "argument": [step(query=half)],
            "inside": [step(query=f"see {half}!")],
            "id": [step(half)],
            "tool": [step(tool=half)],
            "name": [{**step(), "args": {"query": "x", half: 1}}],
            "depends_on": [step(depends_on=(half,))],
            "reference": [step(query=f"$s1.{half}")],
        }
    )


def no_numbers() -> dict[str, Plan]:
    values = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "in a list": [1, [float("nan")]]}
    plans = everywhere({name: [step(query="x", count=value)] for name, value in values.items()})
    plans |= {f"long, {form}": plan for form, plan in as_steps([SOUND, step(count=10**100_000)]).items()}
    plans |= {f"long id, {form}": plan for form, plan in as_steps([SOUND, step(10**100_000)]).items()}
    digits = "9" * 100_000
    plans["long, text"] = lambda: (
        f'[{json.dumps(SOUND)}, {{"id": "s2", "tool": "search", "args": {{"count": {digits}}}}}]'
    )
    return plans | {"1e999, text": lambda: '[{"id": 1, "tool": "search", "args": {"query": "x", "count": 1e999}}]'}


def no_steps() -> dict[str, Plan]:
    values: list[Any] = [True, 0, -1, 1.5, [], [1, 2], [SOUND], "text", {}, {"id": 1}, {"steps": 1}]
    # Not in lines: there, what is no object is what the model says around its plan.
    plans: dict[str, Plan] = {}
    for value in values:
        forms = as_steps([SOUND, value]) | as_text([SOUND, value])
        plans |= {f"{value!r}, {form}": forms[form] for form in ("list", "stream", "json", "deltas")}
    plans = {name: plan for name, plan in plans.items() if not name.startswith(("'text', list", "'text', stream"))}
    foreign: list[Any] = [object(), print, {1, 2}, (1, 2), 1j, range(3), Exception("x"), type]
    return plans | {f"{value!r}, list": lambda value=value: [SOUND, value] for value in foreign}


def wrong_types() -> dict[str, Plan]:
    fields: dict[str, list[Any]] = {
        "id": [True, 1.5, [], {}, "", " ", "a b", "a.b", "../x", "$s1", -1, "x" * 65],
        "tool": [None, 1, True, [], {}, ["search"]],
        "args": [1, True, "x", "$s1", [1, 2, 3, 4, 5], {"query": 1}, {"query": None}, {"qery": "x"}, {"query": ["x"]}],
        "depends_on": [1.5, True, "nobody", {}, [None], [[]], [{}], [1.5], ["no body"], ["nobody"]],
    }
    return everywhere(
        {f"{name} {value!r}": [{**step(), name: value}] for name, values in fields.items() for value in values}
    ) | {
        f"args {value!r}, list": lambda value=value: [SOUND, step(query=value)]
        for value in (object(), {1, 2}, (1,), b"x", 1j, print, {1: 2}, {(1,): 2})
    }


def too_deep() -> dict[str, Plan]:
    return everywhere(
        {
            f"{size} {order}": [step(f"d{i}", query=f"$d{i - 1}" if i else "$s1") for i in range(size)][::turn]
            for size in (25, 90)
            for order, turn in (("forwards", 1), ("backwards", -1))
        }
    )


def broken_texts() -> dict[str, Plan]:
    sound = json.dumps([SOUND, step()])
    texts = [
        sound[:-10],
        sound.replace('"search"', '"search', 1),
        sound.replace(":", "", 1),
        "I cannot help with that.",
        "{" * 900_000,
        "[" * 900_000,
        '["' * 450_000,
        '{"id":' * 150_000,
        "$" * 900_000,
        "${" * 450_000,
        "1. search(" * 90_000,
        "1. search(" + "(" * 900_000,
        "1. search(" + "'" * 900_001,
        '{"a": "' + "\\" * 900_000,
        "null",
        "1",
        '"text"',
        "\x00" * 9,
        "1. os.system('x')\n",
        "1. search(__import__('os').getcwd())\n2. nothing()\n",
        "1. search(lambda: 1)\n2. search(1)",
        "1. search('x', 'y', 'z', 'a', 'b')",
    ]
    plans: dict[str, Plan] = {f"{text[:20]!r} of {len(text)}": lambda text=text: text for text in texts}
    return plans | {f"{name}, deltas": lambda text=plan(): streamed(pieces(text, 1000)) for name, plan in plans.items()}


def bombs() -> dict[str, Plan]:
    queries = {
        "dollars": "$" * 300_001,
        "openings": "${" * 150_000,
        "dots": "$a" + "." * 300_000,
        "brackets": "$a" + "[" * 300_000,
        "spaces": "${a" + " " * 300_000,
        "keys": "${a" + ".b c" * 75_000 + "!",
        "numbers": "$a[" + "1" * 300_000,
        "almost": ("${s1." + "a" * 100 + "{") * 2_500,
        "closed": "$a" + ".b" * 75_000 + "$c",
        "word": "$" + "a" * 300_000,
    }
    unsound = {"dollars": "nowhere"}
    return everywhere(
        {name: [step(query=query, depends_on=(unsound.get(name, "gone"),))] for name, query in queries.items()}
    )


KINDS: dict[str, Callable[[], dict[str, Plan]]] = {
    kind.__name__: kind
    for kind in (
        cycles,
        million_steps,
        endless,
        deep_references,
        deep_json,
        huge_texts,
        forbidden_tools,
        secrets,
        duplicates,
        half_characters,
        no_numbers,
        no_steps,
        wrong_types,
        too_deep,
        broken_texts,
        bombs,
    )
}


# -- the program


def run(plan: Any) -> dict[str, Any]:
    """What came of one plan: whether it was refused, in how many seconds, and which tools were called."""
    from antichain import PlanRefused, PlanStream, Tools

    called: list[str] = []

    async def search(query: str, count: int = 1, more: dict[str, int] | None = None) -> dict[str, str]:
        called.append(query)
        return {"title": query}

    began = time.process_time()
    told = ""
    try:
        asyncio.run(PlanStream(plan, Tools(search)).execute())
        outcome = "accepted"
    except PlanRefused as refused:
        outcome = "refused"
        told = refused.for_model()
        assert str(refused).encode()
        assert told.encode()
        assert refused.faults
        assert all(fault.node for fault in refused.faults)
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"[:300]
    return {"outcome": outcome, "seconds": time.process_time() - began, "called": called, "told": len(told)}


def main(kind: str, every: int) -> None:
    """Print what came of the plans of a kind: of all, or of each second, third, … of them."""
    # Memory that cannot be had ends this program, not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    before = high_water()
    found = {name: run(plan()) for name, plan in list(KINDS[kind]().items())[::every]}
    peak = high_water()
    print(json.dumps({"plans": found, "before": before, "peak": peak}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
