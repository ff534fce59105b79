"""
First of n: several ways to the same answer at once; the first success wins, and nothing is left of the others.

    python examples/patterns/first_of_n.py      # each way is part of the run: of its result, its trace, its limits
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from antichain import Context, Graph


async def first_of(ways: Mapping[str, Any], ctx: Context, **inputs: Any) -> tuple[str, Any]:
    """The name and the value of the first of the functions or graphs to succeed; the others have ended by then."""
    names = {asyncio.ensure_future(ctx.run(way, **inputs)): name for name, way in ways.items()}
    waiting, errors = set(names), list[BaseException]()
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended = {task: task.exception() for task in names if task in done}
            for task, error in ended.items():  # of two that succeed in one moment, the first that was named
                if error is None:
                    return names[task], task.result()
                errors.append(error)
        raise BaseExceptionGroup(f"none of {', '.join(ways)} succeeded", errors)
    finally:
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)


async def mirror(path: str, host: str, seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
        if host == "down.example":
            raise ConnectionError(host)
        return f"{path} from {host}"
    except asyncio.CancelledError:
        print(f"{host}: hung up")
        raise


def from_mirror(host: str, seconds: float) -> Graph:
    graph = Graph(host)
    graph.add("fetch", mirror, inputs={"host": host, "seconds": seconds}, uses="network")
    return graph


async def fetch(path: str, ctx: Context) -> str:
    speeds = {"down.example": 0.0, "near.example": 0.05, "far.example": 5.0}
    _, result = await first_of({host: from_mirror(host, speeds[host]) for host in speeds}, ctx, path=path)
    return str(result["fetch"])


if __name__ == "__main__":
    graph = Graph("download", limits={"network": 3})
    graph.add("fetch", fetch)
    print(graph.run(path="/tea")["fetch"])
