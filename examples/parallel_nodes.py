"""
Parallel node execution: a node starts the moment the nodes it depends on have ended, whatever else is still running.

    python examples/parallel_nodes.py
"""

import asyncio
import time

from antichain import GraphNode, Limit, ParallelGraphExecutor, RunFailed


async def price(topic: str) -> str:  # a parameter that is no node is an input of the run
    await asyncio.sleep(0.2)
    return f"price of {topic}"


async def taste(topic: str) -> str:
    await asyncio.sleep(0.1)
    return f"taste of {topic}"


async def report(node1: str, node2: str) -> str:  # a parameter named after a node receives what that node returned
    await asyncio.sleep(0.1)
    return f"{node1} + {node2}"


def make_executor() -> ParallelGraphExecutor:
    executor = ParallelGraphExecutor(max_concurrent=5)
    executor.add_node(GraphNode("node1", price))
    executor.add_node(GraphNode("node2", taste))
    executor.add_node(GraphNode("node3", report, depends_on=["node1", "node2"]))
    return executor


async def main() -> None:
    start = time.perf_counter()
    results = await make_executor().execute(topic="tea")
    print(f"Executed {len(results)} nodes in {time.perf_counter() - start:.1f} s: {results['node3']}")

    await dynamic_concurrency()
    await node_prioritization()
    await failure()


async def dynamic_concurrency() -> None:
    """Variation: concurrency by kind of node, named by `uses`. A Limit can be resized while nodes run."""
    calls = Limit(1)

    async def raise_the_limit() -> None:
        calls.resize(4)

    executor = ParallelGraphExecutor()
    executor.add_node(GraphNode("allowance", raise_the_limit))
    for number in range(8):
        executor.add_node(GraphNode(f"call {number}", lambda: asyncio.sleep(0.05), uses="api"))
    start = time.perf_counter()
    await executor.execute_with_dynamic_concurrency(limits={"api": calls})
    print(f"8 calls of 0.05 s, at most {calls.size} at once: {time.perf_counter() - start:.2f} s")


async def node_prioritization() -> None:
    """Variation: urgent nodes first. What an urgent node waits for is urgent too."""
    order: list[str] = []
    executor = ParallelGraphExecutor(max_concurrent=1)
    for name, upstream, priority in [("tidy", [], 0), ("fetch", [], 0), ("answer", ["fetch"], 10)]:
        executor.add_node(GraphNode(name, lambda name=name: order.append(name), depends_on=upstream, priority=priority))
    await executor.execute()
    print(f"in order of urgency: {', '.join(order)}")


async def failure() -> None:
    """A failure cancels what runs beside it, and what completed is never lost."""

    async def broken() -> None:
        await asyncio.sleep(0.15)
        raise OSError("no connection")

    executor = make_executor()
    executor.add_node(GraphNode("node4", broken))
    try:
        await executor.execute(topic="tea")
    except RunFailed as failed:
        states = {name: node.state for name, node in failed.result.nodes.items()}
        print(f"{failed.exceptions[0]!r}, and yet: {dict(failed.result)}; {states}")


if __name__ == "__main__":
    asyncio.run(main())
