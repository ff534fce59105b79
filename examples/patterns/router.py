"""
Router: one function says which way a request goes; only that way runs, the others are skipped.

    python examples/patterns/router.py
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from antichain import Graph


def router(
    classify: Callable[..., Any], routes: Mapping[str, Callable[..., Any]], otherwise: Callable[..., Any]
) -> Graph:
    """A graph of the routes, of which the one runs that `classify` names, or else *otherwise*; its sink is `answer`."""
    graph = Graph("router")
    kind = graph.add("classify", classify)

    def is_named(name: str) -> Callable[..., bool]:
        # A condition is bound like a node: it takes the output of `classify` by that name.
        return lambda classify: classify == name

    ways = [graph.add(name, route, depends_on=[kind], when=is_named(name)) for name, route in routes.items()]
    ways.append(graph.add("otherwise", otherwise, depends_on=[kind], when=lambda classify: classify not in routes))
    # A skip travels no further: one success is enough, and a list of sources holds only what is there.
    graph.add("answer", lambda taken: taken[0], inputs={"taken": ways}, join="any", runner="loop")
    return graph


async def classify(request: str) -> str:
    """Stands for a small model."""
    await asyncio.sleep(0.01)
    return "arithmetic" if any(letter.isdigit() for letter in request) else request.partition(" ")[0]


async def calculate(request: str) -> str:
    return f"{sum(int(word) for word in request.split() if word.isdigit())}"


async def translate(request: str) -> str:
    return f"« {request} »"


async def ask_a_large_model(request: str) -> str:
    return f"a long answer to {request!r}"


async def main() -> None:
    graph = router(classify, {"arithmetic": calculate, "translate": translate}, ask_a_large_model)
    for request in ("what is 20 and 22", "translate this", "why is the sky blue"):
        result = await graph.arun(request=request)
        skipped = [name for name, node in result.nodes.items() if node.state == "skipped"]
        print(f"{result['answer']} (skipped: {', '.join(skipped)})")


if __name__ == "__main__":
    asyncio.run(main())
