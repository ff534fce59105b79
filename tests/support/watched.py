"""
Runs to be watched, as lists of events: 3, 300 and 20,000 nodes, on a virtual clock, the same each time.
"""

import asyncio
from collections.abc import Iterator, Sequence

from antichain import Backoff, Graph, Retry, RunResult
from antichain.core.facts import Event
from antichain.testing import simulate, virtual_time
from antichain.views.board import Board
from antichain.views.look import Look
from antichain.views.summary import summarize

AGAIN = Retry(attempts=3, backoff=Backoff(initial=1.0, jitter=False))


async def nothing() -> None:
    """A body that is never called."""


class Watched:
    """A run: what it told, what became of it, and how it looked at some instants."""

    def __init__(self, events: Sequence[Event], result: RunResult, instants: Sequence[float]) -> None:
        self.events = events
        self.result = result
        self.instants = instants
        self.looks = tuple(self._looks())
        self.summary = summarize(result, self.board.sizes)

    def _looks(self) -> Iterator[tuple[float, Look]]:
        """Looks at the instants, counted from the start, and the one at the end."""
        self.board = board = Board()
        todo = list(self.instants)
        start = self.events[0].time
        for event in self.events:
            while todo and event.time > start + todo[0]:
                yield todo[0], board.look(start + todo[0])
                todo.pop(0)
            board(event)
        assert not todo, "the run was over before"
        yield board.time - start, board.look(board.time)


def three() -> Watched:
    """Three nodes in a row; the second one is tried again."""
    graph = Graph("briefing")

    async def embed(load: None) -> None: ...

    async def report(embed: None) -> None: ...

    graph.add("load", nothing)
    graph.add("embed", embed, retry=AGAIN)
    graph.add("report", report)
    events: list[Event] = []
    result = simulate(
        graph.plan(),
        durations={"load": 1.25, "embed": 2.5, "report": 12.0},
        outcomes={"embed": [TimeoutError("no answer"), "value"]},
        listeners=[events.append],
    )
    return Watched(events, result, (0.5, 2.0, 4.0, 15.0))


def three_hundred() -> Watched:
    """Two mapped stages, one fed by the other item by item, behind a limit; instances are tried again, and fail."""
    graph = Graph("digest", limits={"llm": 6})
    events: list[Event] = []

    async def load() -> list[int]:
        await asyncio.sleep(0.75)
        return list(range(148))

    async def page(number: int) -> int:
        await asyncio.sleep(0.5 + number % 7 / 4)
        return number

    tried: dict[int, int] = {}

    async def summary(number: int) -> int:
        await asyncio.sleep(0.25 + number % 5 / 2)
        tried[number] = tried.get(number, 0) + 1
        if number % 31 == 4 and tried[number] < 3:
            raise ConnectionError("429 too many requests")
        if number % 60 == 50:
            raise ValueError(f"page {number} is empty")
        return number

    async def answer(summaries: list[int]) -> int:
        await asyncio.sleep(2.5)
        return len(summaries)

    graph.add("load", load)
    graph.map("pages", page, over="load", max_concurrent=12)
    graph.map(
        "summaries", summary, over="pages", uses="llm", retry=Retry(attempts=3, on=ConnectionError), outcomes=True
    )
    graph.add("answer", answer)
    with virtual_time() as clock:
        result = clock.run(graph.arun(seed=3, run_id="r300", listeners=[events.append]))
    return Watched(events, result, (0.5, 3.0, 12.0, 31.0, 36.0))


def twenty_thousand() -> Watched:
    """Nodes of a run's own, two limits, failures, and some that take much longer than others."""
    graph = Graph("crawl", limits={"web": 64, "db": 4})
    failing = {}
    for number in range(20_000):
        graph.add(f"fetch-{number}", nothing, uses="db" if number % 50 == 1 else "web", retry=AGAIN)
        if number % 1999 == 5:
            failing[f"fetch-{number}"] = [TimeoutError(f"no answer from host {number}")] * 3
        elif number % 211 == 5:
            failing[f"fetch-{number}"] = [TimeoutError(f"no answer from host {number}"), "value"]

    def seconds(node: str, attempt: int) -> float:
        number = int(node.rpartition("-")[2])
        return 40.0 if number % 4001 == 7 else 0.1 + number * 7919 % 97 / 200

    events: list[Event] = []
    result = simulate(
        graph.plan(),
        durations=seconds,
        outcomes=failing,
        max_concurrent=66,
        on_error="continue",
        listeners=[events.append],
    )
    return Watched(events, result, (0.5, 5.0, 60.0, 104.0))


RUNS = {"3": three, "300": three_hundred, "20000": twenty_thousand}
