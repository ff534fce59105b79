"""
4,241 graphs that were not written for antichain (tests/data/dags), through the real plan, core and driver.

What is asserted is computed here from nothing but times and edges: an oracle that shares no code with the engine.
"""

import asyncio
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from antichain import Graph, GraphError, Plan
from antichain.testing import simulate

DATA = Path(__file__).parent / "data" / "dags"
FILES = sorted(path.name.removesuffix(".jsonl.gz") for path in DATA.glob("*.gz"))
SOUND = [name for name in FILES if not name.startswith("malformed_")]
MALFORMED = [name for name in FILES if name.startswith("malformed_")]
SLOTS = (1, 2, 4, 16, None)  # None: as many as there are nodes

Dag = dict[str, Any]


@cache
def read(name: str) -> list[Dag]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def sample(dags: list[Dag], full: bool) -> list[Dag]:
    """All of a family; unless at full size, without the giants but for the smallest of them."""
    if full:
        return dags
    by_size = sorted(dags, key=lambda dag: len(dag["nodes"]))
    small = [dag for dag in by_size if len(dag["nodes"]) <= 400]
    return small + [dag for dag in by_size if len(dag["nodes"]) > 400][:2]


async def body() -> None:
    return None


def build(dag: Dag, **policies: Any) -> Graph:
    graph = Graph(dag["name"])
    for node in dag["nodes"]:
        graph.add(node["id"], body, depends_on=node["deps"], **policies)
    return graph


def seconds(node: Dag) -> float:
    given = node["duration_s"]
    return 1.0 if given is None else float(given)


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """
    How many of the (start, end) spans hold a slot at the busiest instant.

    Half-open: what ends at an instant makes room for what starts then. An empty span needs a slot at its one instant,
    beside all spans that are open on both sides of it.
    """
    spans = list(spans)
    # At one instant: first the endings, then the empty spans, then the starts.
    points = sorted(
        [(end, 0, 0) for start, end in spans if start < end]
        + [(start, 1, 0) for start, end in spans if start == end]
        + [(start, 2, 0) for start, end in spans if start < end]
    )
    most = now = 0
    for _, kind, _ in points:
        if kind == 0:
            now -= 1
        elif kind == 1:
            most = max(most, now + 1)
        else:
            now += 1
            most = max(most, now)
    return most


def check_run(dag: Dag, result: Any, slots: int | None, durations: dict[str, float]) -> float:
    """Each node once, after its upstream, as long as it takes, at most *slots* at once. Returns the makespan."""
    records = result.nodes
    assert list(records) == [node["id"] for node in dag["nodes"]], dag["name"]
    for node in dag["nodes"]:
        record = records[node["id"]]
        assert (record.state, record.attempts) == ("succeeded", 1), (dag["name"], node["id"], record)
        assert abs(record.ended_at - record.started_at - durations[node["id"]]) <= 1e-6 * max(1.0, record.ended_at)
        late = [d for d in node["deps"] if records[d].ended_at > record.started_at]
        assert not late, f"{dag['name']}: {node['id']!r} started before {late} ended"
    spans = [(records[i].started_at, records[i].ended_at) for i in durations]
    if slots is not None:
        assert most_at_once(spans) <= slots, dag["name"]
    return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)


def span_of(dag: Dag, durations: dict[str, float]) -> float:
    """The longest path in seconds: no run can be shorter."""
    upstream = {node["id"]: node["deps"] for node in dag["nodes"]}
    downstream = defaultdict(list)
    left = {}
    for node, deps in upstream.items():
        left[node] = len(deps)
        for dep in deps:
            downstream[dep].append(node)
    ends: dict[str, float] = {}
    ready = [node for node, count in left.items() if not count]
    while ready:
        node = ready.pop()
        ends[node] = durations[node] + max((ends[d] for d in upstream[node]), default=0.0)
        for other in downstream[node]:
            left[other] -= 1
            if not left[other]:
                ready.append(other)
    return max(ends.values(), default=0.0)


def check_makespan(dag: Dag, makespan: float, slots: int | None, durations: dict[str, float]) -> None:
    """Between what no run can beat and what no work-conserving run can exceed (Graham 1966)."""
    tolerance = 1e-6 * max(1.0, makespan)
    span, work = span_of(dag, durations), sum(durations.values())
    if slots is None:
        assert abs(makespan - span) <= tolerance, dag["name"]
    else:
        least, most = max(span, work / slots), work / slots + span * (1 - 1 / slots)
        assert least - tolerance <= makespan <= most + tolerance, dag["name"]
    optimal = dag.get("known_optimal", {}).get("inf" if slots is None else str(slots))
    if optimal is not None:
        assert makespan >= optimal * (1 - 1e-6), f"{dag['name']}: shorter than the proved optimum"


@pytest.mark.parametrize("name", SOUND)
def test_real_graphs_in_virtual_time(name: str, full: bool) -> None:
    """
    Each node once, after its upstream, limit kept, no slot idle without need; at 1, 2, 4, 16 and unlimited slots.

    Every graph at all five at full size; otherwise each at two, and each of the ten pairs of them in turn.
    """
    pairs = list(combinations(SLOTS, 2))
    for position, dag in enumerate(sample(read(name), full)):
        durations = {node["id"]: seconds(node) for node in dag["nodes"]}
        plan = build(dag).plan()
        for slots in SLOTS if full else pairs[position % len(pairs)]:
            result = simulate(plan, durations=durations, max_concurrent=slots)
            makespan = check_run(dag, result, slots, durations)
            check_makespan(dag, makespan, slots, durations)


def test_weights_of_real_graphs_are_kept(full: bool) -> None:
    """estee's graphs say how many CPUs each node takes: a named limit of that size is never passed."""
    for dag in sample(read("estee"), full):
        for size in (4, 16):
            graph = Graph(dag["name"], limits={"cpu": size})
            weights = {node["id"]: min(size, node.get("cpus", 1)) for node in dag["nodes"]}
            for node in dag["nodes"]:
                graph.add(node["id"], body, depends_on=node["deps"], uses={"cpu": weights[node["id"]]})
            durations = {node["id"]: seconds(node) for node in dag["nodes"]}
            result = simulate(graph.plan(), durations=durations)
            check_run(dag, result, None, durations)
            spans = [(result.nodes[i].started_at, result.nodes[i].ended_at) for i in weights for _ in range(weights[i])]
            assert most_at_once(spans) <= size, dag["name"]


class Recorder:
    """Bodies that watch the run from inside: how often each ran, whether its upstream had ended, how many at once."""

    def __init__(self, dag: Dag) -> None:
        self.dag = dag
        self.times_run: Counter[str] = Counter()
        self.ended: set[str] = set()
        self.in_flight = self.most = 0
        self.early: list[str] = []

    def body_of(self, node: Dag) -> Callable[[], Awaitable[str]]:
        name, deps = node["id"], node["deps"]
        suspends = len(name) % 2 == 0  # both kinds of body, mixed

        async def watched() -> str:
            self.times_run[name] += 1
            self.early += [dep for dep in deps if dep not in self.ended]
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            if suspends:
                await asyncio.sleep(0)
            self.in_flight -= 1
            self.ended.add(name)
            return name

        return watched

    def plan(self) -> Plan:
        graph = Graph(self.dag["name"])
        for node in self.dag["nodes"]:
            graph.add(node["id"], self.body_of(node), depends_on=node["deps"])
        return graph.plan()


@pytest.mark.parametrize("name", SOUND)
def test_real_graphs_on_the_loop(name: str, full: bool) -> None:
    """The same with real coroutines on a real loop: what the bodies saw, not what the record says."""

    async def run_all() -> None:
        for position, dag in enumerate(sample(read(name), full)):
            for slots in SLOTS if full else (SLOTS[position % len(SLOTS)],):
                recorder = Recorder(dag)
                options = {} if slots is None else {"max_concurrent": slots}
                result = await recorder.plan().arun(**options)
                ids = [node["id"] for node in dag["nodes"]]
                assert recorder.times_run == Counter(ids), dag["name"]
                assert not recorder.early, dag["name"]
                assert slots is None or recorder.most <= slots, dag["name"]
                assert dict(result) == {i: i for i in ids}, dag["name"]

    asyncio.run(run_all())


def faults_of(dag: Dag) -> dict[str, set[str]]:
    """What is wrong with *dag*, kind by kind: the ids that a good message names."""
    ids = Counter(node["id"] for node in dag["nodes"])
    faults: dict[str, set[str]] = defaultdict(set)
    faults["duplicate-id"] |= {i for i, count in ids.items() if count > 1}
    edges = defaultdict(set)
    for node in dag["nodes"]:
        for dep in node["deps"]:
            if dep == node["id"]:
                faults["self-dependency"].add(dep)
            elif dep not in ids:
                faults["unknown-dependency"].add(node["id"])
            else:
                edges[dep].add(node["id"])
    faults["cycle"] |= on_cycles(edges)
    return {kind: nodes for kind, nodes in faults.items() if nodes}


def on_cycles(edges: dict[str, set[str]]) -> set[str]:
    """The nodes that can reach themselves."""
    found = set()
    for start in list(edges):
        seen: set[str] = set()
        stack = list(edges[start])
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                stack += edges.get(node, ())
        if start in seen:
            found.add(start)
    return found


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_graphs_are_refused(name: str) -> None:
    """plan() refuses each and names only nodes that are at fault, at least one for each kind of fault."""
    for dag in read(name):
        graph = build(dag)  # adding never complains: all faults are reported together, at plan time
        with pytest.raises(GraphError) as caught:
            graph.plan()
        expected = faults_of(dag)
        at_fault = set().union(*expected.values())
        named = {i for fault in caught.value.faults for i in (fault.node, *fault.nodes) if i is not None}
        listed = {node["id"] for node in dag["nodes"]}
        assert named & listed <= at_fault, (dag["name"], named - at_fault)
        for kind, nodes in expected.items():
            assert nodes & named, f"{dag['name']}: no fault names any of the {kind} nodes {sorted(nodes)[:5]}"
        assert any(repr(i) in str(caught.value) for i in at_fault), (dag["name"], str(caught.value))


def test_corpus_is_complete() -> None:
    """Nothing was lost on the way: 4,241 graphs, 202,890 nodes."""
    counts = [(1, len(dag["nodes"])) for name in FILES for dag in read(name)]
    assert (sum(n for n, _ in counts), sum(n for _, n in counts)) == (4241, 202_890)


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 1), (1, 2)], 1),
        ([(0, 2), (1, 3)], 2),
        ([(0, 2), (1, 1)], 2),
        ([(0, 1), (1, 1), (1, 2)], 1),
        ([(1, 1), (1, 1)], 1),
    ],
)
def test_sweep_counts_what_overlaps(spans: list[tuple[float, float]], most: int) -> None:
    """The oracle itself."""
    assert most_at_once(spans) == most


def wave_makespan(dag: Dag, durations: dict[str, float]) -> float:
    """What an executor with a barrier after each level needs."""
    upstream = {node["id"]: node["deps"] for node in dag["nodes"]}
    level: dict[str, int] = {}
    ids = list(upstream)
    while len(level) < len(ids):
        for i in ids:
            if i not in level and all(d in level for d in upstream[i]):
                level[i] = 1 + max((level[d] for d in upstream[i]), default=-1)
    slowest: dict[int, float] = defaultdict(float)
    for i, at in level.items():
        slowest[at] = max(slowest[at], durations[i])
    return sum(slowest.values())


def test_waves_would_not_pass() -> None:
    """The makespan check is sharp: on measured graphs, levels with a barrier need longer than the longest path."""
    slower = 0
    dags = [dag for dag in read("wfcommons") if len(dag["nodes"]) <= 400]
    for dag in dags:
        durations = {node["id"]: seconds(node) for node in dag["nodes"]}
        slower += wave_makespan(dag, durations) > span_of(dag, durations) * 1.01
    assert slower >= len(dags) // 2


def a_wide_measured_graph() -> tuple[Dag, dict[str, float]]:
    dag = max((dag for dag in read("wfcommons") if len(dag["nodes"]) <= 400), key=lambda dag: len(dag["nodes"]))
    return dag, {node["id"]: seconds(node) for node in dag["nodes"]}


def test_check_notices_a_limit_that_was_passed() -> None:
    """The same check, one slot stricter than the run."""
    dag, durations = a_wide_measured_graph()
    result = simulate(build(dag).plan(), durations=durations, max_concurrent=3)
    check_run(dag, result, 3, durations)
    with pytest.raises(AssertionError):
        check_run(dag, result, 2, durations)


def test_check_notices_a_node_that_did_not_wait() -> None:
    """The run knows one edge less than the check."""
    dag, durations = a_wide_measured_graph()
    result = simulate(build(dag).plan(), durations=durations)
    last = max(dag["nodes"], key=lambda node: result.nodes[node["id"]].ended_at)
    dag["nodes"][0]["deps"].append(last["id"])
    try:
        with pytest.raises(AssertionError, match="started before"):
            check_run(dag, result, None, durations)
    finally:
        dag["nodes"][0]["deps"].pop()
