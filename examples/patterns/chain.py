"""
Chain: what one function returns, the next receives. For one value, and for many, where nothing waits for a whole stage.

    python examples/patterns/chain.py
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from antichain import Graph


def chain(*steps: Callable[..., Any], **policies: Any) -> Graph:
    """A graph of the steps, one after the other; the run's inputs are the first one's, and its sink is the last."""
    graph = Graph("chain")
    before = None
    for step in steps:
        # One source instead of a dict of them: the value itself is the only argument.
        before = graph.add(step.__name__, step, inputs=before, **policies)
    return graph


def pipeline(items: Iterable[Any], *steps: Callable[..., Any], max_concurrent: int, **policies: Any) -> Graph:
    """The same for many items: each goes on to the next step when *it* is ready, and their order is kept."""
    graph = Graph("pipeline")
    before: Any = items
    for step in steps:
        before = graph.map(step.__name__, step, over=before, max_concurrent=max_concurrent, **policies)
    return graph


async def load(name: str) -> str:
    await asyncio.sleep(0.01)
    return f"text of {name}"


async def summarize(text: str) -> str:
    await asyncio.sleep(0.01)
    return f"summary of {text}"


def shout(summary: str) -> str:
    return summary.upper()


async def main() -> None:
    graph = chain(load, summarize, shout, retry=2)
    print((await graph.arun(name="a.txt"))["shout"])

    graph = pipeline(["a.txt", "b.txt", "c.txt"], load, summarize, max_concurrent=2)
    print((await graph.arun())["summarize"])


if __name__ == "__main__":
    asyncio.run(main())
