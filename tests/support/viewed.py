"""
Runs to be drawn, and strict readers of what is drawn: they know no more of Mermaid and DOT than the package writes.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from antichain import Backoff, Context, Graph, Retry
from antichain.core.facts import Event
from antichain.record import NodeRecord, RunRecord, RunResult
from antichain.testing import virtual_time

# Texts that were seen to break a diagram somewhere, or might.
HOSTILE = [
    *("plain", '"', '""', "'", "`", "`md`", '"`**x**`"', "[", "]", '["x"]', "(", ")", "((x))", "{", "}", "{{x}}", "|"),
    *("||", "<", ">", "<b>x</b>", "<script>window.pwned=1</script>", '<img src=x onerror="window.pwned=1">', "<br/>"),
    *("&", "&amp;", "&lt;", "&#35;", "&copy;", "&notanentity;", "#", "#35;", "#quot;", "#9829;", "#amp;", ";", "a;b"),
    *("%", "%%", "%% comment", '%%{init: {"theme": "dark"}}%%', '%%{init: {"securityLevel": "loose"}}%%', "end"),
    *("End", "graph", "subgraph", "flowchart LR", "class n0 failed", 'click n0 "javascript:x"', "style", "default"),
    *('style:a"b;c', "classDef x:#fff;", "linkStyle 0", "direction TB", "x direction   LR y", "-->", "---", "a --> b"),
    *("---\ntitle: x\n---", "o", "x", "a\nb", "a\r\nb", "a\tb", "\x00", "\x1b[31mred", "\x7f", "\u202eabc", "\u200b"),
    *("\u2028", "\ud800", "\U0001f600", "日本語", "é", "e\u0301", "__init__", "*a*", "**a**", "_a_", "~~x~~", "# head"),
    *("1. one", "1) x", "- item", "* item", "+ x", "> quote", "```", "    code", "![x](y)", "[x](javascript:1)"),
    *("http://x.y/?a=b&c=d", "a\\b", "\\", "\\n", "see \\now", "\\N", "\\G", "\\l", 'a\\"', "\\u0041", "$x$", "$$x$$"),
    *("$$$x$$$", "@", "n0@{ shape: rect }", ":::x", "a:b", "=", '<a b="', "/*", "//", "/* c */", "[/x/]", "[\\x\\]"),
    *(
        ">x]",
        "fa:fa-car",
        "fa:fa-car x",
        "fab:fa-github",
        " ",
        "  two  ",
        "x" * 300,
        "\u00a0",
        "\U0001d49c",
        "²",
        "½",
        "Ⅷ",
    ),
    *("ﬂ°°35¶ß", "¶ß", "\u017f", "'; DROP", "${x}", "<!-- x -->", "-->|x|", "strict digraph {", "node", "edge", "-1"),
    *("cluster_x", "1e5", ".5", "a->b", "a:n", "javascript:alert(1)", "constructor", "__proto__", "toString", 'a]"'),
    *('"]\n click n0 call f()', 'x"]:::y', "accTitle: x", "- [ ] todo", "[a]: b", "(c)", "www.x.y", "x@y.z"),
]


# -- runs


def sample() -> tuple[RunResult, list[Event]]:
    """
    One of everything: a nested graph, two mapped stages (one feeds the other), a body that runs more, retries, a
    failure with what is skipped after it, limits that are full.
    """
    failures = iter([ConnectionError('429: too many <requests> "now"')] * 2)
    graph = Graph("digest")
    graph.add("files", after(0.12, list(range(5))))
    graph.map("documents", paced, over="files", max_concurrent=2)
    graph.map("stored", stored, over="documents", uses="db")
    graph.add("search", inner(), depends_on=["files"])
    graph.add("flaky", after(0.4, "answer", failures), retry=Retry(3, Backoff(0.5, jitter=False)))
    graph.add("agent", agent, depends_on=["flaky"])
    graph.add("broken", after(0.2, None, iter([ValueError("no such page: <b>x</b> [1] {2}; end")])))
    graph.add("never", after(1.0), depends_on=["broken"])
    graph.add("digest", after(1.0), depends_on=["stored", "search"])
    events: list[Event] = []
    with virtual_time() as clock:
        result = clock.run(
            graph.arun(listeners=[events.append], limits={"db": 1}, on_error="continue", seed=1, run_id="run-1")
        )
    return result, events


def after(seconds: float, value: object = "done", failures: Iterator[Exception] = iter(())) -> Any:
    async def body() -> object:
        await asyncio.sleep(seconds)
        for failure in failures:
            raise failure
        return value

    return body


async def paced(page: int) -> int:
    await asyncio.sleep(0.5 + page / 8)
    return page


async def stored(page: int) -> int:
    await asyncio.sleep(0.25)
    return page


def inner() -> Graph:
    graph = Graph("inner")
    graph.add("parse", after(0.6))
    graph.add("look", after(1.3), depends_on=["parse"])
    graph.add("rank", after(0.2), depends_on=["parse"])
    graph.add("merge", after(0.1), depends_on=["look", "rank"])
    return graph


async def agent(ctx: Context) -> None:
    plan = Graph("plan")
    plan.add("a", after(0.3))
    plan.add("b", after(0.2), depends_on=["a"])
    await ctx.run(plan)
    await asyncio.sleep(0.1)


def node(name: str, *upstream: str, at: float = 0.0, group: str = "", state: str = "succeeded") -> NodeRecord:
    """A node that took a second."""
    error = ValueError(f"{name} broke") if state == "failed" else None
    reason = "output" if error is None else "error"
    return NodeRecord(name, state, reason, 1, error, at, at, at + 1.0, False, group, upstream)


def record(nodes: Iterable[NodeRecord], name: str = "big") -> RunRecord:
    found = {each.id: each for each in nodes}
    ends = [each.ended_at for each in found.values() if each.ended_at is not None]
    return RunRecord("run-1", name, "partial", 0.0, max(ends, default=0.0), found)


def fan(count: int) -> RunRecord:
    """a ── w0 … wn ── z"""
    names = [f"w{i}" for i in range(count - 2)]
    middle = [node(name, "a", at=1.0, state="failed" if i % 1000 == 7 else "succeeded") for i, name in enumerate(names)]
    return record([node("a"), *middle, node("z", *names, at=2.0)])


def chain(count: int) -> RunRecord:
    return record(node(f"c{i}", *([f"c{i - 1}"] if i else []), at=float(i)) for i in range(count))


def scattered(count: int) -> RunRecord:
    """Edges of random reach, names that say little."""
    rng, levels, nodes = Random(1), [], []
    for i in range(count):
        before = sorted({rng.randrange(max(0, i - 50), i) for _ in range(min(i, rng.choice((0, 1, 2, 2))))})
        levels.append(max((levels[each] + 1 for each in before), default=0))
        nodes.append(node(f"{'abc'[i % 3]}_{i}", *(nodes[each].id for each in before), at=float(levels[i])))
    return record(nodes)


def stages(count: int) -> RunRecord:
    """files ── docs[…] ── stored[…] ── end, each item passed on"""
    outer = [
        node("files"),
        node("docs", "files", at=1.0),
        node("stored", "docs", at=1.0),
        node("end", "stored", at=3.0),
    ]
    docs = [
        node(f"docs[{i}]", at=1.0, group="docs", state="failed" if i % 500 == 3 else "succeeded") for i in range(count)
    ]
    return record([*outer, *docs, *(node(f"stored[{i}]", f"docs[{i}]", at=2.0, group="stored") for i in range(count))])


def nested(count: int, size: int) -> RunRecord:
    """start ── g0 … gn ── end, each with a chain inside"""
    names = [f"g{i}" for i in range(count)]
    inside = [
        node(f"{name}/{j}", *([f"{name}/{j - 1}"] if j else []), at=1.0 + j, group=name)
        for name in names
        for j in range(size)
    ]
    return record(
        [node("start"), *(node(each, "start", at=1.0) for each in names), *inside, node("end", *names, at=9.0)]
    )


def hostile(text: str) -> RunRecord:
    """The text everywhere: the graph's name, an id, an error, a group with something in it, a limit."""
    group = f"{text}G"
    first = NodeRecord(text, "failed", "error", 1, ValueError(text), 0.0, 0.0, 1.0, uses=((text, 1),))
    inside = NodeRecord(f"{group}[0]", "succeeded", "output", 1, None, 1.0, 1.0, 2.0, group=group)
    around = NodeRecord(group, "succeeded", "output", 1, None, 1.0, 1.0, 2.0, upstream=(text,))
    return RunRecord(text, text, "failed", 0.0, 2.0, {text: first, group: around, inside.id: inside})


# -- what is drawn, read again


@dataclass
class Drawn:
    """What a diagram says: texts of boxes and groups by their names, edges with their counts."""

    title: str = ""
    boxes: dict[str, list[str]] = field(default_factory=dict)
    # Boxes that are drawn as more than one.
    folded: set[str] = field(default_factory=set)
    groups: dict[str, list[str]] = field(default_factory=dict)
    # The group around a box or group.
    around: dict[str, str] = field(default_factory=dict)
    edges: dict[tuple[str, str], int] = field(default_factory=dict)
    thick: set[tuple[str, str]] = field(default_factory=set)
    classes: dict[str, set[str]] = field(default_factory=dict)


CODE = r"(?:[\w ,.·…/()\[\]\u2060-]|#\d+;)*"
LABEL = rf'"({CODE}(?:<br/>{CODE})*)"'
MERMAID = {
    "box": re.compile(rf" +(n\d+)(\[\[|\[){LABEL}(\]\]|\])"),
    "group": re.compile(rf" +subgraph (n\d+)\[{LABEL}\]"),
    "end": re.compile(r" +end"),
    "direction": re.compile(r" +direction LR"),
    "edge": re.compile(r'  (n\d+) (-->|==>)(?:\|"([\d,]+) edges"\|)? (n\d+)'),
    "look": re.compile(r"  classDef ([a-z-]+) [a-z-]+:[#\w .]+(?:,[a-z-]+:[#\w .]+)*"),
    "class": re.compile(r"  class (n\d+(?:,n\d+)*) ([a-z-]+)"),
}


def read_mermaid(text: str) -> Drawn:
    """Read a flowchart of which every line must be of a known form."""
    assert text.endswith("\n")
    fence, title, closing, head, *lines = text[:-1].split("\n")
    assert (fence, closing, head) == ("---", "---", "flowchart LR")
    found = re.fullmatch(r'title: "((?:[\w ,.·…]|\\U[0-9a-f]{8})*)"', title)
    assert found, title
    drawn = Drawn(re.sub(r"\\U(.{8})", lambda code: chr(int(code[1], 16)), found[1]))
    path: list[str] = []
    looks = set()
    for line in lines:
        kind, match = next((kind, m) for kind, form in MERMAID.items() if (m := form.fullmatch(line)))
        match kind:
            case "box":
                assert len(match[2]) == len(match[4])
                drawn.boxes[match[1]] = uncoded(match[3])
                drawn.folded |= {match[1]} if match[2] == "[[" else set()
            case "group":
                drawn.groups[match[1]] = uncoded(match[2])
            case "end":
                path.pop()
            case "edge":
                drawn.edges[match[1], match[4]] = int((match[3] or "1").replace(",", ""))
                drawn.thick |= {(match[1], match[4])} if match[2] == "==>" else set()
            case "look":
                looks.add(match[1])
            case "class":
                drawn.classes[match[2]] = set(match[1].split(","))
        if kind in ("box", "group") and path:
            drawn.around[match[1]] = path[-1]
        if kind == "group":
            path.append(match[1])
    assert not path
    assert looks == drawn.classes.keys()
    return drawn


def uncoded(label: str) -> list[str]:
    # What Mermaid itself would still read in a label.
    assert "direction" not in label
    plain = [re.sub(r"#(\d+);", lambda code: chr(int(code[1])), line) for line in label.split("<br/>")]
    for line in plain:
        assert not re.search(r"\\n|\$\$|:fa-|ﬂ°|¶ß", line), line
    return [line.replace("\u2060", "") for line in plain]


DOT_TOKEN = re.compile(
    r'\s+|(?P<word>[A-Za-z_]\w*|\d+(?:\.\d+)?)|"(?P<text>(?:[^"\\\n]|\\\\|\\n)*)"|(?P<sign>->|[{}\[\]=,])'
)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = DOT_TOKEN.match(text, at)
        assert match, text[at : at + 60]
        at = match.end()
        if match.lastgroup:
            yield match.lastgroup, match[match.lastgroup]


def read_dot(text: str) -> Drawn:
    """Read a graph in DOT of which every token must be where it belongs."""
    drawn, path = Drawn(), [""]
    stream = list(tokens(text))[::-1]

    def take(kind: str, value: str | None = None) -> str:
        found = stream.pop()
        assert found[0] == kind, found
        assert value in (None, found[1]), found
        return found[1]

    def options() -> dict[str, str]:
        found: dict[str, str] = {}
        if stream[-1] == ("sign", "["):
            take("sign", "[")
            while stream[-1] != ("sign", "]"):
                key = take("word")
                take("sign", "=")
                found[key] = stream.pop()[1]
                if stream[-1] == ("sign", ","):
                    take("sign", ",")
            take("sign", "]")
        return found

    take("word", "digraph")
    take("word", "run")
    take("sign", "{")
    inside: dict[str, list[str]] = {}
    edges = []
    while stream:
        if stream[-1] == ("sign", "}"):
            take("sign", "}")
            path.pop()
            continue
        word = take("word")
        if word == "subgraph":
            name = take("word").removeprefix("cluster_")
            take("sign", "{")
            inside.setdefault(path[-1], []).append(name)
            if path[-1]:
                drawn.around[name] = path[-1]
            path.append(name)
        elif word in ("graph", "node", "edge"):
            given = options()
            if word == "graph" and "label" in given:
                if path[-1]:
                    drawn.groups[path[-1]] = unescaped(given["label"])
                else:
                    (drawn.title,) = unescaped(given["label"])
        elif stream[-1] == ("sign", "->"):
            take("sign", "->")
            edges.append((word, take("word"), options()))
        else:
            given = options()
            drawn.boxes[word] = unescaped(given["label"])
            drawn.folded |= {word} if "peripheries" in given else set()
            if path[-1]:
                drawn.around[word] = path[-1]
    assert not path
    for tail, head, given in edges:
        source, target = (
            given.get(end, name).removeprefix("cluster_") for end, name in (("ltail", tail), ("lhead", head))
        )
        assert source in inside_of(drawn, tail), "the tail of an edge is not in the group that it leaves"
        assert target in inside_of(drawn, head), "the head of an edge is not in the group that it enters"
        drawn.edges[source, target] = int(given.get("label", "1 edges").split()[0].replace(",", ""))
        drawn.thick |= {(source, target)} if "penwidth" in given else set()
    return drawn


def inside_of(drawn: Drawn, name: str) -> list[str]:
    found = [name]
    while found[-1] in drawn.around:
        found.append(drawn.around[found[-1]])
    return found


def unescaped(label: str) -> list[str]:
    lines = re.sub(r"\\(.)", lambda code: "\n" if code[1] == "n" else code[1], label).split("\n")
    assert not any(re.search(r"&(?!amp;|quot;)", line) for line in lines)
    return [line.replace("&quot;", '"').replace("&amp;", "&") for line in lines]


# -- traces


def judge_trace(trace: dict[str, Any]) -> dict[str, int]:
    """
    Hold a trace against the rules of its format that viewers do not forgive; returns how much of each kind there is.
    """
    lanes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    counters: dict[str, list[tuple[int, int]]] = {}
    arrows: dict[int, list[dict[str, Any]]] = {}
    named = {("process_name", each["pid"]) for each in trace["traceEvents"] if each["name"] == "process_name"}
    lane_names = set()
    marks = 0
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int)
        match event["ph"]:
            case "M":
                if event["name"] == "thread_name":
                    lane_names.add((event["pid"], event["tid"]))
                continue
            case "X":
                assert isinstance(event["dur"], int)
                assert event["dur"] >= 1
                lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
            case "C":
                counters.setdefault(event["name"], []).append((event["ts"], event["args"]["count"]))
            case "i":
                marks += 1
            case _:
                assert event["ph"] in "sf"
                arrows.setdefault(event["id"], []).append(event)
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        assert ("process_name", event["pid"]) in named
    for slices in lanes.values():
        for one, other in pairwise(sorted(slices)):
            assert one[1] <= other[0], "two slices on one lane overlap"
    assert lane_names == lanes.keys()
    for start, finish in arrows.values():
        assert (start["ph"], finish["ph"], finish["bp"]) == ("s", "f", "e")
        assert start["ts"] <= finish["ts"], "an arrow back in time"
        for end in (start, finish):
            slices = lanes[end["pid"], end["tid"]]
            assert any(first <= end["ts"] < last for first, last in slices), "an arrow that hangs in the air"
    for points in counters.values():
        assert [at for at, _ in points] == sorted(at for at, _ in points)
        assert all(value >= 0 for _, value in points)
        assert points[-1][1] == 0, "something was taken and not given back"
    return {
        "slices": sum(map(len, lanes.values())),
        "arrows": len(arrows),
        "counters": len(counters),
        "marks": marks,
        "lanes": len(lanes),
    }
