"""
The store in a SQLite file: the six methods, and which writers this process has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock

from antichain.errors import StoreError, UnknownRun
from antichain.stores.codec import DEFAULT_LIMITS, ValueLimits, encoding_of
from antichain.stores.limits import check_header
from antichain.stores.protocol import Fact, Header, Journal, Ownership, RunLine
from antichain.stores.sqlite.connecting import Guarded, connect_to_read
from antichain.stores.sqlite.locks import LockFile, place_of
from antichain.stores.sqlite.reading import RunRow, facts_of, known_run, run_rows
from antichain.stores.sqlite.rows import first_id, last_id
from antichain.stores.sqlite.standings import forget_standing, put_standing, read_standing
from antichain.stores.sqlite.words import store_error
from antichain.stores.sqlite.writing import LAST_FACT, SIZE, Done, Holder, Synchronous, Writer
from antichain.stores.summing import line_of, sum_up

__all__ = ["SqliteStore"]

# One writer per file, by its real path, while somebody needs it. Guarded by _guard.
writers: dict[str, Writer] = {}
_guard = Lock()
# Writers of the parent, in a forked child: kept, because closing their connections is not for the child to do.
_inherited: list[Writer] = []


class SqliteStore:
    """
    Keep journals in the SQLite file at *path*, which is made when the first run is opened.

    What `append` has acknowledged survives `kill -9`, and with ``synchronous="full"`` a power cut; with "normal" a
    power cut may take the last moments back. *timeout* is how many seconds to wait for another process that writes.

    *limits* say how large one value may be, when it is written and when it is read. With *compress* values are
    compressed where that makes them smaller; each says so itself, so that any `SqliteStore` reads them.

    Example:
        >>> from antichain.stores import Fact, FactKind, Header
        >>> import tempfile
        >>> store = SqliteStore(tempfile.mkdtemp() + "/runs.db")
        >>> mine = store.open("nightly-7", Header("nightly-7", "etl"))
        >>> store.append_now(mine, [Fact(FactKind.SUCCEEDED, "extract")])
        True
        >>> store.release(mine)
        >>> [fact.node for fact in store.read("nightly-7").facts]
        ['extract']
    """

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        timeout: float = 10.0,
        limits: ValueLimits = DEFAULT_LIMITS,
        compress: bool = False,
    ) -> None:
        text = os.fspath(path)
        if not text or "\0" in text or text.startswith(":memory:"):
            raise StoreError(f"{text!r} is no path of a file; for a store in memory use MemoryStore()")
        if synchronous not in ("full", "normal"):
            raise StoreError(f"synchronous is 'full' or 'normal', not {synchronous!r}")
        # As SQLite does it: links are followed, so that all who use one file agree on the files beside it.
        self.path = os.path.realpath(text)
        self.synchronous: Synchronous = synchronous
        self.timeout = timeout
        self.limits = limits
        self.compress = compress
        encoding_of(self)

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        """
        Become the owner of a run, see `Store.open`; takes a commit.
        """
        if header is None:
            self._refuse_missing(run_id)
        else:
            header = replace(header, run_id=run_id, inputs=bytes(header.inputs), wiring=bytes(header.wiring))
            check_header(header)
        writer = self._use()
        try:
            return writer.open(run_id, header, take_over=take_over)
        except BaseException:
            leave(writer)
            raise

    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        """
        Add facts to a run, see `Store.append`; *done* is called in the thread that writes, or by `release`.
        """
        try:
            holder = holder_of(ownership)
        except StoreError as error:
            done(error)
            return
        holder.writer.append(holder, facts, done)

    def append_now(self, ownership: Ownership, facts: Sequence[Fact]) -> bool:
        """
        Add facts to a run in this thread, see `AppendsNow`.
        """
        holder = holder_of(ownership)
        return holder.writer.append_now(holder, facts)

    def release(self, ownership: Ownership) -> None:
        """
        Give a run up, see `Store.release`; what still waits is committed first.
        """
        holder = ownership.token
        # A forked child has nothing to give up, and twice is once.
        if not isinstance(holder, Holder) or holder.process != os.getpid() or holder.released:
            return
        try:
            forget_standing(holder)
            holder.writer.release(holder)
        finally:
            leave(holder.writer)

    def put_standing(self, ownership: Ownership, standing: bytes) -> None:
        """
        Keep what a run waits for in a file beside the store, see `KeepsStandings`.
        """
        holder = holder_of(ownership)
        if not holder.released:
            put_standing(holder, standing)

    def read(self, run_id: str, *, payloads: bool = True) -> Journal:
        """
        Return all that is known of a run, see `Store.read`.
        """
        self._refuse_missing(run_id)
        with self._reading() as connection:
            row = known_run(connection, self.path, run_id)
            facts = tuple(facts_of(connection, self.path, row, payloads=payloads))
        is_owned = self._is_owned(row)
        standing = read_standing(self.path, row.id, row.state.epoch) if is_owned else None
        return Journal(row.header, facts, row.state.epoch, is_owned, standing)

    def runs(self, graph: str | None = None) -> list[RunLine]:
        """
        List the runs, see `Store.runs`; none where there is no file yet.
        """
        if not os.path.exists(self.path):
            return []
        with self._reading() as connection:
            return [
                self._line(connection, row)
                for row in run_rows(connection, self.path)
                if graph is None or row.header.graph == graph
            ]

    def remove(self, run_id: str) -> None:
        """
        Drop a run, see `Store.remove`.
        """
        self._refuse_missing(run_id)
        writer = self._use()
        try:
            writer.remove(run_id)
        finally:
            leave(writer)

    def _line(self, connection: Guarded, row: RunRow) -> RunLine:
        span = first_id(row.id), last_id(row.id)
        last = connection.execute(LAST_FACT, span).fetchone()[0]
        summary, size = row.state.summary, row.state.size_bytes
        # The sum is from the last release; whoever came after it may have been killed, or is at it.
        if summary.facts != (0 if last is None else last - (row.id << 32)):
            summary = sum_up(facts_of(connection, self.path, row, payloads=False))
            size = connection.execute(SIZE, span).fetchone()[0]
        size += len(row.header.inputs) + len(row.header.wiring)
        return line_of(row.header, summary, size, self._is_owned(row))

    @contextmanager
    def _reading(self) -> Iterator[Guarded]:
        connection = connect_to_read(self.path, self.timeout)
        try:
            # One view of the file for all queries.
            connection.execute("BEGIN")
            yield connection
        except Exception as error:
            raise store_error(self.path, error) from error
        finally:
            connection.close()

    def _is_owned(self, row: RunRow) -> bool:
        with _guard:
            writer = writers.get(self.path)
            if writer is not None:
                return writer.is_held(row)
            name = self.path + ".lock"
            if not os.path.exists(name):
                return False
            try:
                locks = LockFile(name)
            except OSError as error:
                raise store_error(self.path, error) from error
            try:
                return locks.is_taken(place_of(row.id, row.state.epoch))
            finally:
                locks.close()

    def _use(self) -> Writer:
        with _guard:
            writer = writers.get(self.path)
            if writer is None:
                writer = writers[self.path] = Writer(self.path, self.timeout, self.synchronous)
            writer.users += 1
        writer.be_as(self.timeout, self.synchronous)
        return writer

    def _refuse_missing(self, run_id: str) -> None:
        if not os.path.exists(self.path):
            raise UnknownRun(f"there is no store {self.path!r}, and so no run {run_id!r}: is the path right?")


def leave(writer: Writer) -> None:
    with _guard:
        writer.users -= 1
        if not writer.users:
            del writers[writer.path]
            writer.close()


def holder_of(ownership: Ownership) -> Holder:
    holder = ownership.token
    if not isinstance(holder, Holder):
        raise StoreError(f"{ownership!r} was not given by this kind of store")
    if holder.process != os.getpid():
        raise StoreError(f"run {holder.run_id!r} is held by the process that forked this one, which may not add to it")
    return holder


def before_fork() -> None:
    # In the middle of a write SQLite holds locks of its own, which a child would never see released.
    _guard.acquire()
    for writer in writers.values():
        writer.pause()


def after_fork_in_parent() -> None:
    for writer in writers.values():
        writer.go_on()
    _guard.release()


def after_fork_in_child() -> None:
    for writer in writers.values():
        writer.abandon()
        _inherited.append(writer)
    writers.clear()
    _guard.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent, after_in_child=after_fork_in_child)
