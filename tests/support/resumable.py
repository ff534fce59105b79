"""
What tests of durable runs use: functions that count their calls, stores as a later process would see them, and the
journal of a run as it was at every moment at which the process might have died.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antichain import Graph, RunFailed, RunResult
from antichain.stores import Fact, Header, MemoryStore, Ownership, Store

Body = Callable[..., Coroutine[Any, Any, Any]]


@dataclass
class Calls:
    """
    Make functions that note each call under a name, so that a test may say what has run, and how often.
    """

    names: list[str] = field(default_factory=list)

    def of(
        self, name: str, output: Any = None, error: BaseException | None = None
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A coroutine function of any arguments that gives *output*, or raises *error*."""

        async def call(**values: Any) -> Any:
            self.names.append(name)
            if error is not None:
                raise error
            return output(**values) if callable(output) else output

        return call

    def note(self, name: str) -> None:
        self.names.append(name)

    def taken(self) -> list[str]:
        """Return what has run since this was last asked, in alphabetical order."""
        names, self.names[:] = sorted(self.names), []
        return names

    def counts(self) -> Counter[str]:
        return Counter(self.names)


@dataclass
class Shelf:
    """
    Open the same store again and again, as one process after the other would.
    """

    # None for runs that are kept in memory.
    path: Path | None
    memory: MemoryStore = field(default_factory=MemoryStore)

    def __call__(self) -> Any:
        """Return what is to be given as `store=`."""
        return self.memory if self.path is None else str(self.path)

    @property
    def store(self) -> Store:
        from antichain.stores import open_store

        return open_store(self())


class Recorder:
    """
    Be a store in memory, and keep every batch of facts in the order in which they were committed.
    """

    def __init__(self) -> None:
        self.header = Header("", "")
        self.batches: list[tuple[Fact, ...]] = []
        self._hold(MemoryStore())

    def _hold(self, store: MemoryStore) -> None:
        self._store = store
        self.release, self.read, self.runs, self.remove = store.release, store.read, store.runs, store.remove

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        self.header = header or self.header
        return self._store.open(run_id, header, take_over=take_over)

    def append(
        self, ownership: Ownership, facts: Sequence[Fact], done: Callable[[BaseException | None], object]
    ) -> None:
        self.batches.append(tuple(facts))
        self._store.append(ownership, facts, done)

    def cut_off(self, batches: int) -> "Recorder":
        """
        Return the same as `as_of`, as a store that goes on to keep every batch.
        """
        later = Recorder()
        later.header, later.batches = self.header, self.batches[:batches]
        later._hold(self.as_of(batches))
        return later

    def as_of(self, batches: int) -> MemoryStore:
        """
        Return a store as the first *batches* left it, after which the process died.
        """
        store = MemoryStore()
        mine = store.open(self.header.run_id, self.header)
        for batch in self.batches[:batches]:
            store.append(mine, batch, raise_failure)
        store.release(mine)
        return store


def raise_failure(error: BaseException | None) -> None:
    if error is not None:
        raise error


def outcome(run: Callable[..., RunResult], *args: Any, **options: Any) -> RunResult:
    """Run, and return the result, also of a run that failed."""
    try:
        return run(*args, **options)
    except RunFailed as failure:
        return failure.result


def reasons(result: RunResult) -> dict[str, str]:
    """Return how each node came to its end: "state reason"."""
    return {name: f"{node.state} {node.reason}" for name, node in result.nodes.items()}


def chain(calls: Calls, *names: str) -> Graph:
    """A graph of nodes that wait for each other, each of which gives its name."""
    graph = Graph("chain")
    for before, name in zip(("", *names), names, strict=False):
        graph.add(name, calls.of(name, name), depends_on=[before] if before else None)
    return graph
