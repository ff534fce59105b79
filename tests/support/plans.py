"""
Real plans (tests/data/dags) as steps that a model could have written, and what they must come to, computed from nothing
but the steps themselves: an oracle that shares no code with the library.
"""

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from antichain import Tool, Tools

DATA = Path(__file__).parent.parent / "data" / "dags"
Dag = dict[str, Any]
Written = dict[str, Any]

# Whole references, in the three forms that a step may use, and those inside of texts.
WHOLE = re.compile(r"\$(\w+)((?:\.[^.\[$]+|\[\d+\])*)\$?|\$\{(\w+)((?:\.[^.\[}]+|\[\d+\])*)\}")
INSIDE = re.compile(r"\$\$|\$\{(\w+)((?:\.[^.\[}]+|\[\d+\])*)\}")
PART = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


@cache
def read(name: str) -> list[Dag]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# -- from the data to steps


def tool_name(node: dict[str, Any]) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", node.get("tool", "act"))[:64]


def seconds_of(dag: Dag, node: dict[str, Any]) -> float:
    """What the data say, else something between 0.5 and 4.5 that depends on the step."""
    given = node["duration_s"]
    if given is not None:
        return float(given)
    return 0.5 + int(hashlib.sha1(f"{dag['name']}/{node['id']}".encode()).hexdigest()[:4], 16) % 41 / 10


def steps_of(dag: Dag) -> list[Written]:
    """
    Write *dag* as a model would.

    Each tool is told how long it takes and which paths others will ask it for; the given arguments are under `given`,
    with their references in our form. Where a plan has no arguments, what it depends on is passed as references in
    every second step, and named in depends_on in the others.
    """
    nodes = dag["nodes"]
    steps: list[Written] = []
    for number, node in enumerate(nodes):
        given = node.get("args")
        if given is None:
            by_reference = number % 2 == 0
            given = {"what": node.get("kind", "")}
            given |= {"from": [f"${before}.value" for before in node["deps"]]} if by_reference else {}
            depends = [] if by_reference else list(node["deps"])
            given["what"] = given["what"].replace("$", "$$")
        else:
            given = rewritten(given, set(node["deps"]))
            depends = list(node["deps"])
        args = {"step": node["id"], "seconds": seconds_of(dag, node), "given": given, "paths": []}
        steps.append({"id": node["id"], "tool": tool_name(node), "args": args, "depends_on": depends})
    asked = [(step, path) for each in steps for step, path in references(each["args"]["given"])]
    for step in steps:
        step["args"]["paths"] = list(dict.fromkeys(path for name, path in asked if name == step["id"] and path))
    return steps


def rewritten(value: Any, deps: set[str]) -> Any:
    """References of the data in our form; every other dollar is only a dollar."""
    if isinstance(value, dict):
        return {key: rewritten(part, deps) for key, part in value.items()}
    if isinstance(value, list):
        return [rewritten(part, deps) for part in value]
    return rewritten_text(value, deps) if isinstance(value, str) else value


def rewritten_text(text: str, deps: set[str]) -> str:
    whole = re.fullmatch(r"\$(\w+)((?:\.[^.\[$]+|\[\d+\])*)\$", text)
    if whole is not None and whole[1] in deps:
        return text
    node = re.fullmatch(r"<node-(\d+)>((?:\.\w+)?)", text)
    if node is not None and node[1] in deps:
        return f"${node[1]}{node[2]}"

    def inside(found: re.Match[str]) -> str:
        step = found[1] or found[3] or found[4]
        return f"${{{step}{found[2] or ''}}}" if step in deps else found[0].replace("$", "$$")

    forms = r"\$(\w+)((?:\.[\w ]*\w)?)\$|<node-(\d+)>|\$(\d+)(?![\w.])|\$"
    return re.sub(forms, inside, text)


def references(value: Any) -> Iterator[tuple[str, str]]:
    """The steps that *value* refers to, each with the path."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from references(part)
    elif isinstance(value, str):
        whole = WHOLE.fullmatch(value)
        for found in [whole] if whole else INSIDE.finditer(value):
            groups = [group for group in found.groups() if group is not None]
            if groups:
                yield groups[0], groups[1]


# -- the tools


def output_of(tool: str, given: Any, paths: Iterable[str]) -> dict[str, Any]:
    """What a tool returns: a digest of all that it was given, and something at each path that will be asked for."""
    digest = hashlib.sha1(json.dumps([tool, given], sort_keys=True).encode()).hexdigest()[:12]
    output: dict[str, Any] = {}
    for path in sorted(paths, key=len, reverse=True):
        put(output, [(part[1], None) if part[1] else (None, int(part[2])) for part in PART.finditer(path)], digest)
    return {"value": digest, **output}


def put(into: Any, path: list[tuple[str | None, int | None]], digest: str) -> None:
    """Make *path* exist, with a text that names it at its end; longer paths come first."""
    (key, index), rest = path[0], path[1:]
    if isinstance(into, list):
        assert index is not None
        into.extend({} for _ in range(index + 1 - len(into)))
        if rest:
            put(into[index], rest, digest)
        return
    known = into.get(key)
    if rest:
        if not isinstance(known, dict | list):
            known = into[key] = [] if rest[0][0] is None else {}
        put(known, rest, digest)
    elif known is None:
        into[key] = f"{digest}:{key}"


class Log:
    """When each step's tool was called, on the clock of the loop, and with what."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.times: dict[str, int] = {}
        # When the last one returned.
        self.end = 0.0

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        step, loop = arguments["step"], asyncio.get_running_loop()
        self.started[step] = loop.time()
        self.times[step] = self.times.get(step, 0) + 1
        await asyncio.sleep(arguments["seconds"])
        self.end = loop.time()
        return output_of(tool, arguments["given"], arguments["paths"])


SCHEMA = {
    "type": "object",
    "properties": {"step": {"type": "string"}, "seconds": {"type": "number"}, "given": {}, "paths": {"type": "array"}},
    "required": ["step", "seconds", "given", "paths"],
    "additionalProperties": False,
}


def tools_for(dags: Iterable[Dag], log: Log) -> Tools:
    """A fake for every tool of *dags*."""

    def tool(name: str) -> Tool:
        async def call(**arguments: Any) -> dict[str, Any]:
            return await log.call(name, arguments)

        return Tool(call, name=name, parameters=SCHEMA)

    names = dict.fromkeys(tool_name(node) for dag in dags for node in dag["nodes"])
    return Tools(*[tool(name) for name in names])


# -- the oracle


def needs_of(step: Written) -> set[str]:
    return {*step["depends_on"], *[name for name, _ in references(step["args"]["given"])]}


def expected_starts(steps: list[Written], gap: float) -> dict[str, float]:
    """The dataflow bound: a step can start once it has been written and all that it needs has ended."""
    by_id = {step["id"]: (number * gap, step) for number, step in enumerate(steps)}
    starts: dict[str, float] = {}

    def start(name: str) -> float:
        if name not in starts:
            arrival, step = by_id[name]
            ends = [start(each) + by_id[each][1]["args"]["seconds"] for each in needs_of(step)]
            starts[name] = max([arrival, *ends])
        return starts[name]

    for name in by_id:
        start(name)
    return starts


def expected_results(steps: list[Written]) -> dict[str, Any]:
    """Every step after what it needs, one by one."""
    by_id = {step["id"]: step for step in steps}
    outputs: dict[str, Any] = {}

    def value_at(name: str, path: str) -> Any:
        value = output(name)
        for part in PART.finditer(path):
            value = value[part[1]] if part[1] else value[int(part[2])]
        return value

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolved(part) for key, part in value.items()}
        if isinstance(value, list):
            return [resolved(part) for part in value]
        if not isinstance(value, str):
            return value
        whole = WHOLE.fullmatch(value)
        if whole:
            return value_at(*[group for group in whole.groups() if group is not None])
        return INSIDE.sub(text_of, value)

    def text_of(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        value = value_at(found[1], found[2])
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def output(name: str) -> Any:
        if name not in outputs:
            step = by_id[name]
            for each in sorted(needs_of(step)):
                output(each)
            outputs[name] = output_of(step["tool"], resolved(step["args"]["given"]), step["args"]["paths"])
        return outputs[name]

    return {step["id"]: output(step["id"]) for step in steps}


async def arriving(steps: Iterable[Any], gap: float) -> AsyncIterator[Any]:
    """One step after another, *gap* seconds apart; the first at once."""
    for number, step in enumerate(steps):
        if number and gap:
            await asyncio.sleep(gap)
        yield step
