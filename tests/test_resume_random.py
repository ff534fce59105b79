"""
Random graphs whose process dies at random: cut off after some batch of the journal and gone on with, until the end.

One seed is one graph: `python -m tests.test_resume_random SEED` replays it and tells what happened.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from antichain import Context, Graph, Retry, RunResult
from antichain.policies import Backoff
from antichain.stores import FactKind
from tests.support.resumable import Recorder, outcome

GRAPHS = 42
GRAPHS_IN_FULL = 900
# How often the process dies on the way of one run.
DEATHS = 4


class Builder:
    """
    Draw a graph, the same one for the same seed; its functions note under which path they have run.
    """

    def __init__(self, seed: int, *, breaks: random.Random | None = None) -> None:
        self.seed = seed
        self.ran: list[str] = []
        # Decides which bodies fail; None if none does.
        self.breaks = breaks
        # How many of them.
        self.share = 0.2
        # Paths of nodes whose output is not kept.
        self.fleeting: set[str] = set()

    def graph(self) -> Graph:
        self.rng = random.Random(self.seed)
        return self._graph(f"g{self.seed}", self.rng.randint(2, 9), depth=0)

    def _graph(self, name: str, count: int, depth: int) -> Graph:
        rng, graph, names = self.rng, Graph(name), []
        for position in range(count):
            before = rng.sample(names, min(len(names), rng.randint(0, 2)))
            kinds = ["plain"] * 3 + ["thread", "generator", "retry", "fallback", "when", "asks", "question", "grows"]
            kinds += ["map", "keyed", "chained"] + ["fleeting"] * (depth == 0)
            kind = rng.choice(kinds + (["nested", "mapped graph"] if depth < 2 else []))
            node = f"n{position}"
            self._add(graph, kind, node, before, depth)
            names.append(node)
        return graph

    def _add(self, graph: Graph, kind: str, node: str, before: list[str], depth: int) -> None:
        rng = self.rng
        joins = ["all", "all_done"] if self.breaks is None else ["all", "all"]
        terms: dict[str, Any] = {"depends_on": before, "join": rng.choice(joins)}
        match kind:
            case "thread":
                graph.add(node, self._thread, **terms)
            case "generator":
                graph.add(node, self._chunks, **terms)
            case "retry":
                graph.add(node, self._flaky, retry=Retry(3, backoff=Backoff(0), on=ValueError), **terms)
            case "fallback":
                graph.add(node, self._broken, fallback=lambda error: {"spare": 1}, **terms)
            case "when":
                taken = rng.random() < 0.5
                graph.add(node, self._plain, when=lambda: taken, **terms)
            case "asks":
                graph.add(node, self._asks, **terms)
            case "question":
                graph.ask(node, "Which?", type=["a", "b", "c"], **terms)
            case "grows":
                rounds = rng.randint(1, 3)
                inner = self._graph(f"{node}-inner", rng.randint(1, 3), depth + 1) if depth < 1 else None
                graph.add(node, self._grows(rounds, inner), **terms)
            case "map" | "keyed":
                items = [rng.randint(0, 99) for _ in range(rng.randint(0, 5))]
                items = list(dict.fromkeys(items)) if kind == "keyed" else items
                graph.map(node, self._item, over=items, key=str if kind == "keyed" else None, depends_on=before)
            case "chained":
                first = f"{node}-first"
                graph.map(first, self._item, over=list(range(rng.randint(0, 4))), depends_on=before)
                graph.map(node, self._item, over=graph[first])
            case "fleeting":
                graph.add(node, self._plain, persist=False, **terms)
                self.fleeting.add(node)
            case "nested":
                graph.add(node, self._graph(f"{node}-in", rng.randint(1, 4), depth + 1), **terms)
            case "mapped graph":
                inner = Graph(f"{node}-each")
                inner.add("x", self._item)
                inner.add("y", self._after)
                graph.map(node, inner, over=[3, 1, 2][: rng.randint(0, 3)], key=str, depends_on=before)
            case _:
                graph.add(node, self._plain, **terms)

    # -- bodies

    def _note(self, ctx: Context) -> str:
        self.ran.append(ctx.node_id)
        if self.breaks is not None and self.breaks.random() < self.share:
            raise ConnectionError(ctx.node_id)
        return ctx.node_id

    async def _plain(self, ctx: Context, **values: Any) -> dict[str, Any]:
        return {"of": self._note(ctx), "from": sorted(values)}

    def _thread(self, ctx: Context, **values: Any) -> tuple[str, int]:
        return self._note(ctx), len(values)

    async def _chunks(self, ctx: Context, **values: Any) -> AsyncIterator[str]:
        yield self._note(ctx)
        for name in values:
            yield name

    async def _flaky(self, ctx: Context, **values: Any) -> int:
        self._note(ctx)
        if ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        # Attempts are numbered on when a node begins anew that had failed: by then it may be a later one.
        return min(ctx.attempt, 3)

    async def _broken(self, ctx: Context, **values: Any) -> None:
        raise KeyError(self._note(ctx))

    async def _asks(self, ctx: Context, **values: Any) -> list[Any]:
        self._note(ctx)
        first, second = await asyncio.gather(ctx.ask("First?", type=int), ctx.ask("Second?", type=bool))
        return [first, second, await ctx.ask(f"Third, after {first}?")]

    async def _item(self, item: Any, ctx: Context) -> str:
        return f"{self._note(ctx)}={item}"

    async def _after(self, x: str, ctx: Context) -> str:
        return f"{self._note(ctx)} after {x}"

    def _grows(self, rounds: int, inner: Graph | None) -> Callable[..., Any]:
        async def grows(ctx: Context, **values: Any) -> list[Any]:
            self._note(ctx)
            found: list[Any] = []
            for number in range(rounds):
                found.append(await ctx.run(self._item, item=number))
            if inner is not None:
                found.append(dict(await ctx.run(inner)))
            return found

        return grows


async def person(question: Any) -> Any:
    return {int: 7, bool: "yes"}.get(question.type) or (question.choices[1] if question.choices else "text")


def play(seed: int) -> int:
    """Let one graph run to its end, dying on the way; returns how many facts its journal has."""
    rng = random.Random(-seed)
    expected = outcome(Builder(seed).graph().run, ask=person, on_error="continue")
    builder = Builder(seed)
    store = Recorder()
    terms = {
        "on_error": "continue",
        "durability": rng.choice(["commit", "relaxed"]),
        "max_concurrent": rng.choice([1, 3, None]),
    }
    result = outcome(builder.graph().run, store=store, run_id="r", ask=person, **terms)
    check(seed, expected, result)
    for _ in range(DEATHS):
        # What was written while it went on counts too.
        cut = rng.randint(0, len(store.batches))
        facts = [fact for batch in store.batches[:cut] for fact in batch]
        done = {fact.node for fact in facts if fact.kind == FactKind.SUCCEEDED and fact.payload is not None}
        store = store.cut_off(cut)
        builder.ran.clear()
        options: dict[str, Any] = {"ask": person} if rng.random() < 0.7 else {}
        result = outcome(builder.graph().resume, "r", store=store, **terms, **options)
        again = done & set(builder.ran)
        assert not again, f"seed {seed}: {sorted(again)} had completed and ran again"
        while result.status == "paused":
            assert result.questions, f"seed {seed}: paused without a question"
            # One answer to a node is one to its first question.
            first = {question.node: question for question in reversed(result.questions)}
            answers = {name: asyncio.run(person(question)) for name, question in first.items()}
            result = outcome(builder.graph().resume, "r", store=store, **terms, answers=answers)
        check(seed, expected, result, builder.fleeting)
    builder.ran.clear()
    check(seed, expected, outcome(builder.graph().resume, "r", store=store, on_error="continue"), builder.fleeting)
    if expected.status == "succeeded":
        assert builder.ran == [], f"seed {seed}: a finished run runs {builder.ran}"
    return sum(map(len, store.batches))


def play_with_failures(seed: int) -> int:
    """Let nodes fail in one life after the other, until in the last one none does; returns how many lives it took."""
    rng = random.Random(-seed)
    untroubled = Builder(seed, breaks=random.Random(0))
    untroubled.share = 0.0
    expected = outcome(untroubled.graph().run, ask=person, on_error="continue")
    builder = Builder(seed, breaks=rng)
    store = Recorder()
    run: Callable[..., RunResult] = builder.graph().run
    lives, done = 0, set[str]()
    while True:
        builder.share = 0.2 if lives < DEATHS else 0.0
        on_error = rng.choice(["cancel", "drain", "continue"]) if builder.share else "continue"
        builder.ran.clear()
        result = outcome(
            run,
            *(["r"] if lives else []),
            store=store,
            ask=person,
            on_error=on_error,
            **({} if lives else {"run_id": "r"}),
        )
        lives += 1
        again = done & set(builder.ran)
        assert not again, f"seed {seed}: {sorted(again)} had completed and ran again"
        facts = [fact for batch in store.batches for fact in batch]
        done = {fact.node for fact in facts if fact.kind == FactKind.SUCCEEDED and fact.payload is not None}
        if lives > DEATHS:
            break
        run = builder.graph().resume
    check(seed, expected, result, builder.fleeting)
    return lives


def check(seed: int, expected: RunResult, result: RunResult, fleeting: frozenset[str] | set[str] = frozenset()) -> None:
    """The same status, outputs and states; what is not kept may be missing, and what is inside completed nodes."""
    assert result.status == expected.status, f"seed {seed}: {result.status}, and not {expected.status}"
    missing = expected.keys() - result.keys()
    assert missing <= fleeting, f"seed {seed}: no output of {sorted(missing)}"
    for name in result.keys() - fleeting:
        value = result[name]
        assert value == expected[name], f"seed {seed}: {name} is {value!r}, and not {expected[name]!r}"
    for name, node in result.nodes.items():
        assert node.state == expected.nodes[name].state, f"seed {seed}: {name} {node.state}"
    assert set(expected) <= {*result.nodes, *missing}


@pytest.mark.parametrize("share", range(6))
def test_random_graphs_come_to_the_same_end_wherever_their_process_dies(share: int, full: bool) -> None:
    count = GRAPHS_IN_FULL if full else GRAPHS
    facts = [play(seed) for seed in range(share, count, 6)]
    assert sum(facts) > 5 * len(facts)


@pytest.mark.parametrize("share", range(2))
def test_random_graphs_whose_nodes_fail_now_and_then_come_to_the_same_end(share: int, full: bool) -> None:
    lives = [play_with_failures(seed) for seed in range(share, (GRAPHS_IN_FULL if full else GRAPHS) // 3, 2)]
    assert set(lives) == {DEATHS + 1}


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(text, play(int(text)), "facts", play_with_failures(int(text)), "lives")
