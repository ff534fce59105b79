"""
Scatter-gather: the same question to several workers at once, and one function that makes an answer of theirs.

    python examples/patterns/scatter_gather.py

All of them have to succeed; with `partial=True`, what there is when all have ended is enough.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from antichain import Graph, RunResult


def scatter_gather(
    workers: Mapping[str, Callable[..., Any]], gather: Callable[..., Any], *, partial: bool = False, **policies: Any
) -> Graph:
    """A graph of the workers, each a node under *policies*, and of `gather(answers)`, in the order of the workers."""
    graph = Graph("scatter-gather", on_error="continue" if partial else "cancel")
    nodes = {name: graph.add(name, worker, **policies) for name, worker in workers.items()}
    # A dict of nodes arrives as a dict of their outputs; after "all_done" it holds only those there are.
    graph.add("gather", gather, inputs={"answers": nodes}, join="all_done" if partial else "all")
    return graph


async def web(question: str) -> str:
    await asyncio.sleep(0.03)
    return f"the web on {question}"


async def library(question: str) -> str:
    await asyncio.sleep(0.02)
    return f"a book on {question}"


async def oracle(question: str) -> str:
    raise ConnectionError("the oracle is silent")


def join_answers(answers: dict[str, str]) -> str:
    return "; ".join(f"{name}: {answer}" for name, answer in answers.items())


async def main() -> None:
    graph = scatter_gather({"web": web, "library": library}, join_answers)
    print((await graph.arun(question="tea", max_concurrent=2))["gather"])

    graph = scatter_gather({"web": web, "oracle": oracle, "library": library}, join_answers, partial=True)
    result: RunResult = await graph.arun(question="tea")
    print(result["gather"], "|", result.status, "|", result.nodes["oracle"].error)


if __name__ == "__main__":
    asyncio.run(main())
