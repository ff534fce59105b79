"""
The graph that is killed: a chain, a fan of coroutines and threads, a retry, a condition, a mapped stage, a body that
runs more graph. Thirty-odd nodes, each of which tells the witness that it begins.
"""

import re

from antichain import Backoff, Context, Graph, Retry
from tests.crash.witness import Upstream, Witness

CHAIN, FAN, ITEMS, ROUNDS = 8, 8, 6, 3


def make_graph(witness: Witness) -> Graph:
    """
    c0 ── … ── c7 ─┬─ f0 … f7 ────────┬─ total
                   ├─ flaky ──────────┤
                   ├─ items ── squares┤
                   ├─ agent (3 rounds)┤
                   └─ never           ┘
    """
    graph = Graph("killed")

    def begin(ctx: Context) -> None:
        witness.began(ctx.node_id, ctx.attempt)

    async def first(ctx: Context) -> int:
        begin(ctx)
        return 1

    async def add_one(before: int, ctx: Context) -> int:
        begin(ctx)
        return before + 1

    def add_one_in_thread(before: int, ctx: Context) -> int:
        begin(ctx)
        return before + 1

    async def flaky(before: int, ctx: Context) -> int:
        begin(ctx)
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return before

    async def items(before: int, ctx: Context) -> list[int]:
        begin(ctx)
        return list(range(before, before + ITEMS))

    async def square(item: int, ctx: Context) -> int:
        begin(ctx)
        return item * item

    async def agent(before: int, ctx: Context) -> int:
        begin(ctx)
        for _ in range(ROUNDS):
            before = await ctx.run(add_one, before=before)
        return before

    async def never(before: int, ctx: Context) -> int:
        begin(ctx)
        return before

    async def total(fan: list[int], flaky: int, squares: list[int], agent: int, ctx: Context) -> int:
        begin(ctx)
        return sum(fan) + flaky + sum(squares) + agent

    graph.add("c0", first)
    for number in range(1, CHAIN):
        graph.add(f"c{number}", add_one, inputs={"before": graph[f"c{number - 1}"]})
    last = graph[f"c{CHAIN - 1}"]
    fan = [
        graph.add(f"f{number}", add_one_in_thread if number % 2 else add_one, inputs={"before": last})
        for number in range(FAN)
    ]
    again = Retry(attempts=3, backoff=Backoff(initial=0.002, jitter=False))
    graph.add("flaky", flaky, inputs={"before": last}, retry=again)
    graph.add("items", items, inputs={"before": last})
    graph.map("squares", square, over=graph["items"])
    graph.add("agent", agent, inputs={"before": last})
    graph.add("never", never, inputs={"before": last}, when=lambda before: before < 0)
    graph.add("total", total, inputs={"fan": fan, **{n: graph[n] for n in ("flaky", "squares", "agent")}})
    return graph


def upstream_of() -> Upstream:
    """What each node waits for."""
    last = f"c{CHAIN - 1}"
    fan = [f"f{number}" for number in range(FAN)]
    return {
        "c0": [],
        **{f"c{number}": [f"c{number - 1}"] for number in range(1, CHAIN)},
        **{node: [last] for node in (*fan, "flaky", "items", "agent", "never")},
        "squares": ["items"],
        "total": [*fan, "flaky", "squares", "agent"],
    }


def is_made_of_others(node: str) -> bool:
    """The mapped stage, which is made of its instances, and each round of the agent, of the one node in it."""
    return node == "squares" or re.fullmatch(r"agent/add_one(#\d+)?", node) is not None


def value_of() -> int:
    """What the run gives, by arithmetic."""
    fan = FAN * (CHAIN + 1)
    squares = sum(item * item for item in range(CHAIN, CHAIN + ITEMS))
    return fan + CHAIN + squares + CHAIN + ROUNDS
