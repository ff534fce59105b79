"""
Published graphs with a proved optimum (rgpos) or a bound (wfcommons): how near a schedule is to the shortest one.

They lie in tests/data/dags. The bound is computed here, from edges and seconds alone, and shares no code with the
engine.
"""

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from antichain import Graph

DATA = Path(__file__).parent.parent / "tests" / "data" / "dags"
SLOTS = (2, 4, 8, 16)
# Nodes of the largest of wfcommons' graphs that are looked at.
MOST_NODES = 700
GRID = 150

Dag = dict[str, Any]


@cache
def read(name: str) -> list[Dag]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def seconds_of(dag: Dag) -> dict[str, float]:
    return {node["id"]: 1.0 if node["duration_s"] is None else float(node["duration_s"]) for node in dag["nodes"]}


async def body() -> None:
    return None


def build(dag: Dag, *, known: bool) -> Graph:
    """
    Make the graph, with its seconds as cost= or without.
    """
    graph, seconds = Graph(dag["name"]), seconds_of(dag)
    for node in dag["nodes"]:
        if known:
            graph.add(node["id"], body, depends_on=node["deps"], cost=seconds[node["id"]])
        else:
            graph.add(node["id"], body, depends_on=node["deps"])
    return graph


def rgpos(every: int = 1) -> Iterator[tuple[Dag, dict[int, float]]]:
    """
    Return graphs with their proved optima, by number of slots; of every so many one.
    """
    for dag in read("rgpos")[::every]:
        optima = {
            slots: float(dag["known_optimal"][str(slots)]) for slots in SLOTS if str(slots) in dag["known_optimal"]
        }
        if optima:
            yield dag, optima


def wfcommons(every: int = 1) -> Iterator[tuple[Dag, dict[int, float]]]:
    """
    Return graphs with their bounds; of every so many one, by size.
    """
    small = sorted(
        (dag for dag in read("wfcommons") if len(dag["nodes"]) <= MOST_NODES), key=lambda dag: len(dag["nodes"])
    )
    for dag in small[::every]:
        yield dag, bounds(dag)


def bounds(dag: Dag) -> dict[int, float]:
    """
    Return for each number of slots what no schedule can beat: the longest path, and for all h and t: h + t + the work
    of what can start no earlier than h and leaves no less than t, divided by the slots.
    """
    seconds = seconds_of(dag)
    upstream = {node["id"]: node["deps"] for node in dag["nodes"]}
    downstream: dict[str, list[str]] = {name: [] for name in upstream}
    missing = {name: len(before) for name, before in upstream.items()}
    for name, before in upstream.items():
        for each in before:
            downstream[each].append(name)
    sequence = [name for name, number in missing.items() if not number]
    head = dict.fromkeys(upstream, 0.0)
    for name in sequence:  # grows
        for after in downstream[name]:
            head[after] = max(head[after], head[name] + seconds[name])
            missing[after] -= 1
            if not missing[after]:
                sequence.append(after)
    tail = dict.fromkeys(upstream, 0.0)
    for name in reversed(sequence):
        for before in upstream[name]:
            tail[before] = max(tail[before], tail[name] + seconds[name])
    heads, tails = grid(head.values()), grid(tail.values())
    work = [[0.0] * (len(tails) + 1) for _ in range(len(heads) + 1)]
    for name, amount in seconds.items():
        work[bisect_right(heads, head[name]) - 1][bisect_right(tails, tail[name]) - 1] += amount
    for row in range(len(heads) - 1, -1, -1):
        for column in range(len(tails) - 1, -1, -1):
            work[row][column] += work[row + 1][column] + work[row][column + 1] - work[row + 1][column + 1]
    longest = max(head[name] + seconds[name] for name in seconds)
    return {
        slots: max(
            longest,
            *(
                before + after + work[row][column] / slots
                for row, before in enumerate(heads)
                for column, after in enumerate(tails)
                if work[row][column] > 1e-9
            ),
        )
        for slots in SLOTS
    }


def grid(instants: Any) -> list[float]:
    distinct = sorted(set(instants))
    if len(distinct) <= GRID:
        return distinct
    return sorted({distinct[step * (len(distinct) - 1) // (GRID - 1)] for step in range(GRID)})
