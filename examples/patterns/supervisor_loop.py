"""
Supervisor loop: somebody decides, round by round, which workers have to do what, sees what became of it, and stops.

    python examples/patterns/supervisor_loop.py     # the loop is a Python loop in a node
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from antichain import Context, Graph

Task = tuple[str, str]  # a worker's name, and what it has to do


def supervisor(decide: Callable[..., Any], workers: Mapping[str, Callable[..., Any]], *, rounds: int) -> Graph:
    """A graph of one node that asks `decide(goal, seen)` for the tasks of a round until there are none."""
    graph = Graph("supervisor", limits={"worker": 4})

    async def work(task: Task) -> str:
        if (worker := workers.get(task[0])) is None:
            raise LookupError(f"no worker {task[0]!r}; there are {', '.join(workers)}")
        return str(await worker(task[1]))

    @graph.node
    async def supervise(goal: str, ctx: Context) -> list[str]:
        seen: list[str] = []
        for _ in range(rounds):  # bounded: a model may never say that it is done
            if not (tasks := await ctx.run(decide, goal=goal, seen=list(seen))):
                return seen
            round_of = Graph("round")
            # A worker that fails harms nobody: its error is what the supervisor sees of it.
            round_of.map("work", work, over=tasks, uses="worker", timeout=5, outcomes=True)
            outcomes = await ctx.run(round_of)
            for (name, _), outcome in zip(tasks, outcomes["work"], strict=True):
                seen.append(f"{name}: {outcome.value if outcome.ok else outcome.error}")
        raise RuntimeError(f"no end after {rounds} rounds; seen so far: {seen}")

    return graph


async def decide(goal: str, seen: list[str]) -> list[Task]:
    """Stands for a model."""
    if not seen:
        return [("searcher", goal), ("painter", goal)]
    return [("writer", seen[0])] if len(seen) < 3 else []


async def search(order: str) -> str:
    await asyncio.sleep(0.01)
    return f"found three pages on {order}"


async def write(order: str) -> str:
    return f"an essay, since the {order}"


if __name__ == "__main__":
    graph = supervisor(decide, {"searcher": search, "writer": write}, rounds=5)
    print(*graph.run(goal="tea")["supervise"], sep="\n")
