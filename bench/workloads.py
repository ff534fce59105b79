"""
The graphs that are timed. Nodes are integers; `deps[i]` are the nodes that node i waits for, all smaller than i.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# W3p: the inputs of the run, which the nodes of the first layer take.
INPUTS = {"x": 1, "y": 2, "z": 3}
MODULUS = 1_000_003


@dataclass
class Workload:
    name: str
    deps: list[list[int]]
    sleeps: list[float] | None = None  # seconds per node; None: the body returns at once
    slots: int | None = None  # most that may be in flight
    ideal: float = 0.0  # seconds that no run can beat
    values: bool = False  # W3p: each node a distinct function of its three upstream values
    downstream: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.downstream = [[] for _ in self.deps]
        for node, deps in enumerate(self.deps):
            for dep in deps:
                self.downstream[dep].append(node)

    def __len__(self) -> int:
        return len(self.deps)

    def ids(self) -> list[str]:
        return [f"n{node}" for node in range(len(self))]


def chain(count: int) -> list[list[int]]:
    return [[node - 1] if node else [] for node in range(count)]


def fan(count: int) -> list[list[int]]:
    """
    One node, then *count* nodes, then one again.
    """
    return [[], *([0] for _ in range(count)), list(range(1, count + 1))]


def layered(count: int, width: int = 100, fan_in: int = 3) -> list[list[int]]:
    """
    Layers of *width*; each node has *fan_in* random upstream nodes in the layer before.
    """
    rng = random.Random(1)
    deps: list[list[int]] = []
    for node in range(count):
        first = (node // width - 1) * width
        deps.append(sorted(rng.sample(range(first, first + width), fan_in)) if first >= 0 else [])
    return deps


def wide(count: int) -> list[list[int]]:
    return [[] for _ in range(count)]


def longest_path(deps: list[list[int]], seconds: list[float]) -> float:
    ends = [0.0] * len(deps)
    for node, upstream in enumerate(deps):
        ends[node] = seconds[node] + max((ends[dep] for dep in upstream), default=0.0)
    return max(ends, default=0.0)


def stragglers(count: int, layers: int = 10) -> Workload:
    """
    Sleeps of 5 to 50 ms, one or two upstream nodes: a barrier per layer pays the slowest node of each layer.
    """
    rng = random.Random(7)
    width = max(1, count // layers)
    deps: list[list[int]] = []
    sleeps: list[float] = []
    for layer in range(layers):
        for _ in range(width):
            sleeps.append(rng.uniform(0.005, 0.050))
            before = range((layer - 1) * width, layer * width)
            deps.append(sorted(rng.sample(before, rng.choice((1, min(2, width))))) if layer else [])
    return Workload("W5", deps, sleeps, ideal=longest_path(deps, sleeps))


def bounded(count: int, seconds: float = 0.005, slots: int = 50) -> Workload:
    return Workload("W6", wide(count), [seconds] * count, slots, ideal=seconds * -(-count // slots))


SHAPES: dict[str, Callable[[int], list[list[int]]]] = {"W1": chain, "W2": fan, "W3": layered, "W4": wide}


def make(name: str, count: int) -> Workload:
    """
    Make workload *name* of about *count* nodes; a name that ends in `y` has bodies that suspend once.
    """
    if name == "W5":
        return stragglers(count)
    if name == "W6":
        return bounded(count)
    deps = SHAPES[name[:2]](count)
    return Workload(name, deps, [0.0] * len(deps) if name.endswith("y") else None, values=name == "W3p")


def parameters(work: Workload, node: int) -> list[str]:
    return [f"n{dep}" for dep in work.deps[node]] or list(INPUTS)


def sources(work: Workload) -> Iterator[str]:
    """
    W3p as a user would have written it: a coroutine function of three parameters for each node.
    """
    for node in range(len(work)):
        a, b, c = parameters(work, node)
        yield f"async def n{node}({a}, {b}, {c}):\n    return ({a} * 3 + {b} * 5 + {c} * 7 + {node}) % {MODULUS}\n"


def define(sources: Iterator[str], count: int) -> list[Any]:
    """
    Compile the functions n0, n1, ... in portions: a million of them in one module would need gigabytes.
    """
    space: dict[str, Any] = {}
    portion: list[str] = []
    for source in sources:
        portion.append(source)
        if len(portion) == 5000:
            exec("".join(portion), space)
            portion.clear()
    exec("".join(portion), space)
    return [space[f"n{node}"] for node in range(count)]


def sink_values(work: Workload) -> dict[int, int]:
    """
    W3p: what the nodes that nobody waits for must return.
    """
    values: list[int] = []
    for node, upstream in enumerate(work.deps):
        a, b, c = [values[dep] for dep in upstream] or INPUTS.values()
        values.append((a * 3 + b * 5 + c * 7 + node) % MODULUS)
    return {node: values[node] for node, waiting in enumerate(work.downstream) if not waiting}
