"""
Journals written by hand, to prove the lab: a right one, one that does not sync, and one that acknowledges too early.
"""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from antichain.errors import UnknownRun
from antichain.stores.protocol import Fact, FactKind, Header, Journal, Ownership, RunLine, Store

Done = Callable[[BaseException | None], object]

TABLES = (
    "create table if not exists run (id text primary key, graph text, epoch int) without rowid",
    "create table if not exists fact (seq integer primary key, run text, kind, node text, attempt int, payload blob)",
)


class ByHand:
    """
    A commit for each append, in the caller's thread; *synchronous* is SQLite's level.

    A new owner commits that it is one. Without that (*quiet*), it would trust what a killed one had written and not yet
    synced: the next node would begin on the strength of an output that a power cut takes back.
    """

    def __init__(self, file: Path, synchronous: str = "FULL", *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(f"pragma synchronous = {synchronous}")
        for table in TABLES:
            self._db.execute(table)

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        if header is not None:
            self._db.execute("insert into run values (?, ?, 1)", (run_id, header.graph))
        elif not self._quiet:
            self._db.execute("update run set epoch = epoch + 1 where id = ?", (run_id,))
        return Ownership(run_id, 1)

    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        rows = [(ownership.run_id, int(fact.kind), fact.node, fact.attempt, fact.payload) for fact in facts]
        self._db.execute("begin immediate")
        self._db.executemany("insert into fact (run, kind, node, attempt, payload) values (?, ?, ?, ?, ?)", rows)
        self._db.execute("commit")
        done(None)

    def release(self, ownership: Ownership) -> None:
        self._db.close()

    def read(self, run_id: str, *, payloads: bool = True) -> Journal:
        row = self._db.execute("select graph from run where id = ?", (run_id,)).fetchone()
        if row is None:
            raise UnknownRun(f"no run {run_id!r}")
        rows = self._db.execute("select kind, node, attempt, payload from fact where run = ? order by seq", (run_id,))
        facts = [Fact(FactKind(kind), node, attempt, payload=payload) for kind, node, attempt, payload in rows]
        return Journal(Header(run_id, row[0]), facts, epoch=1)

    def runs(self, graph: str | None = None) -> list[RunLine]:
        return []

    def remove(self, run_id: str) -> None:
        raise NotImplementedError


class AcknowledgesFirst:
    """The planted fault: any store, but it says "durable" at once, and makes it so in its own time, in a thread."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.open, self.read, self.runs, self.remove = inner.open, inner.read, inner.runs, inner.remove
        self._late = ThreadPoolExecutor(1)

    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        done(None)
        self._late.submit(self._inner.append, ownership, facts, nobody)

    def release(self, ownership: Ownership) -> None:
        self._late.shutdown()
        self._inner.release(ownership)


def nobody(error: BaseException | None) -> None:
    """Nobody is told."""
