"""
Two cases on which waves lose, through antichain's recipe faces and through waves by hand; prints JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from antichain import GraphNode, ParallelGraphExecutor, ParallelStepExecutor, Step

# name -> (seconds, upstream names)
Nodes = dict[str, tuple[float, list[str]]]


def chains() -> Nodes:
    """
    100+300 ms beside 300+100 ms: 400 ms, in waves 600.
    """
    return {"a1": (0.1, []), "a2": (0.3, ["a1"]), "b1": (0.3, []), "b2": (0.1, ["b1"])}


def lattice() -> Nodes:
    """
    8 chains of 8 nodes of 5 ms, one of 100 ms at another depth in each: 135 ms, in waves 800.
    """
    return {
        f"{chain}.{depth}": (0.1 if chain == depth else 0.005, [f"{chain}.{depth - 1}"] if depth else [])
        for chain in range(8)
        for depth in range(8)
    }


def sleeping(seconds: float) -> Callable[..., Awaitable[str]]:
    async def body() -> str:
        await asyncio.sleep(seconds)
        return "slept"

    return body


async def as_nodes(nodes: Nodes) -> Any:
    executor = ParallelGraphExecutor(max_concurrent=64)
    for name, (seconds, upstream) in nodes.items():
        executor.add_node(GraphNode(name, sleeping(seconds), depends_on=upstream))
    return await executor.execute()


async def as_steps(nodes: Nodes) -> Any:
    steps = [Step(name, sleeping(seconds), depends=upstream) for name, (seconds, upstream) in nodes.items()]
    return await ParallelStepExecutor(steps).execute()


async def in_waves(nodes: Nodes) -> dict[str, str]:
    """
    What the recipes did: everything that is ready, then a barrier.
    """
    outputs: dict[str, str] = {}
    while len(outputs) < len(nodes):
        wave = [n for n, (_, upstream) in nodes.items() if n not in outputs and all(u in outputs for u in upstream)]
        outputs.update(zip(wave, await asyncio.gather(*(sleeping(nodes[n][0])() for n in wave)), strict=True))
    return outputs


def seconds_of(run: Callable[[Nodes], Coroutine[Any, Any, Any]], nodes: Nodes) -> float:
    async def timed() -> float:
        start = time.perf_counter()
        outputs = await run(nodes)
        took = time.perf_counter() - start
        assert {name: outputs[name] for name in nodes} == dict.fromkeys(nodes, "slept")
        return took

    return asyncio.run(timed())


def main() -> None:
    run = {"nodes": as_nodes, "steps": as_steps}[sys.argv[1]]
    out: dict[str, Any] = {}
    for name, nodes in [("chains", chains()), ("lattice", lattice())]:
        out[f"{name}_s"] = [seconds_of(run, nodes) for _ in range(3)]
        out[f"{name}_waves_s"] = seconds_of(in_waves, nodes)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
