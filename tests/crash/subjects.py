"""
What is killed, crashed and cut off: a case is a subject and a store, by name, in a folder of its own.

`chain` drives a store by hand: a fact a node, the next one after it is durable. `run` is a whole run of a graph, which
is begun if the store does not know it, else resumed.
"""

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antichain.errors import UnknownRun
from antichain.stores.protocol import Fact, FactKind, Header, Store
from tests.crash.by_hand import AcknowledgesFirst, ByHand
from tests.crash.graph import is_made_of_others, make_graph, upstream_of, value_of
from tests.crash.witness import Upstream, Verdict, Witness, judge

RUN = "nightly-7"
# In the name of a file that is being made.
MAKER = "MAKER"
LENGTH = 25
ENDED = {FactKind.SUCCEEDED, FactKind.FAILED, FactKind.SKIPPED}


def open_named(name: str, file: Path) -> Store:
    """
    Open a store by its name: hand or sqlite, and how it is weaker: "-normal" (synchronous), "-quiet" (see ByHand),
    "-hasty" (it waits a moment for others who write), "-first" (it acknowledges first).
    """
    kind = name.removesuffix("-first")
    store: Store
    if kind.startswith("hand"):
        store = ByHand(file, "NORMAL" if kind == "hand-normal" else "FULL", quiet=kind == "hand-quiet")
    else:
        from antichain.stores import SqliteStore

        patience = 0.2 if kind == "sqlite-hasty" else 10.0
        store = SqliteStore(file, synchronous="normal" if kind == "sqlite-normal" else "full", timeout=patience)
    return AcknowledgesFirst(store) if name.endswith("-first") else store


@dataclass(frozen=True)
class Case:
    """A subject and its store: "chain:hand", "run:sqlite"."""

    name: str
    folder: Path
    # Whether a run that somebody else holds is taken from them.
    take_over: bool = False

    @property
    def subject(self) -> str:
        return self.name.partition(":")[0]

    @property
    def last(self) -> str:
        """The node that ends last."""
        return list(UPSTREAM[self.subject])[-1]

    @property
    def database(self) -> Path:
        return self.folder / "runs.db"

    @property
    def log(self) -> Path:
        return self.folder / "witness.log"

    def files(self) -> list[Path]:
        """All that the store may write, the folder itself, and the log; MAKER stands for the process that makes it."""
        ends = ("", "-wal", "-shm", "-journal")
        names = [f"runs.db{made}{end}" for made in ("", f".{MAKER}.new") for end in ends]
        return [*(self.folder / name for name in names), self.folder, self.log]

    def store(self) -> Store:
        return open_named(self.name.partition(":")[2], self.database)

    def go(self, process: int = 1) -> None:
        """Begin the run, or go on with it, to its end."""
        witness = Witness(self.log, process)
        store = self.store()
        ended = ended_in(store)
        witness.found(ended or {})
        SUBJECTS[self.subject](store, witness, ended, self.take_over)

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def judge(self, text: str | None = None) -> Verdict:
        return judge(self.text() if text is None else text, UPSTREAM[self.subject], is_made_of_others)

    def problem(self, text: str | None = None) -> str:
        """What is wrong with a run that has come to its end, by its log or another one; empty if nothing is."""
        verdict = self.judge(text)
        if verdict.lost or verdict.begun_again:
            return f"lost {verdict.lost}, begun again {verdict.begun_again}"
        if verdict.value != VALUES[self.subject]:
            return f"the value is {verdict.value}, not {VALUES[self.subject]}"
        return damage(self.database)


def ended_in(store: Store) -> dict[str, bytes | None] | None:
    """The nodes that have ended as a store knows them, with their output; None if it does not know the run."""
    try:
        facts = store.read(RUN).facts
    except UnknownRun:
        return None
    return {fact.node: fact.payload for fact in facts if fact.kind in ENDED}


def damage(database: Path) -> str:
    """What SQLite finds wrong with a file."""
    connection = sqlite3.connect(database)
    try:
        found = connection.execute("pragma integrity_check").fetchall()
    finally:
        connection.close()
    return "" if found == [("ok",)] else f"integrity_check: {found}"


def chain(store: Store, witness: Witness, ended: dict[str, bytes | None] | None, take_over: bool) -> None:
    """A node after the other, each once what the one before did is durable."""
    ownership = store.open(RUN, Header(RUN, "chain") if ended is None else None, take_over=take_over)
    total = 0
    for number in range(LENGTH):
        node = f"n{number}"
        output = (ended or {}).get(node)
        if output is None:
            witness.began(node, 1)
            output = str(number).encode()
            commit(store, ownership, Fact(FactKind.SUCCEEDED, node, 1, "output", payload=output), witness)
        total += int(output)
    store.release(ownership)
    witness.returned(total)


def commit(store: Store, ownership: Any, fact: Fact, witness: Witness) -> None:
    decided = threading.Event()
    errors: list[BaseException] = []

    def done(error: BaseException | None) -> None:
        if error is None:
            witness.told(fact.node)
        else:
            errors.append(error)
        decided.set()

    store.append(ownership, [fact], done)
    assert decided.wait(60), "the store never decided"
    if errors:
        raise errors[0]


def whole_run(store: Store, witness: Witness, ended: dict[str, bytes | None] | None, take_over: bool) -> None:
    """A run of a graph, which tells the ends of its nodes to the witness."""

    def listen(event: Any) -> None:
        name = type(event).__name__
        # A node that has failed runs again when the run is resumed.
        if name == "NodeEnded" and event.state in ("succeeded", "skipped"):
            witness.told(event.node)
        elif name == "NodeRetrying":
            witness.told_again(event.node, event.attempt)

    graph = make_graph(witness)
    if ended is None:
        result = graph.run(store=store, run_id=RUN, listeners=[listen])
    else:
        result = graph.resume(RUN, store=store, listeners=[listen], take_over=take_over)
    witness.returned(result["total"])


SUBJECTS: dict[str, Callable[[Store, Witness, dict[str, bytes | None] | None, bool], None]] = {
    "chain": chain,
    "run": whole_run,
}
UPSTREAM: dict[str, Upstream] = {
    "chain": {f"n{number}": [f"n{number - 1}"] if number else [] for number in range(LENGTH)},
    "run": upstream_of(),
}
VALUES = {"chain": str(sum(range(LENGTH))), "run": str(value_of())}
