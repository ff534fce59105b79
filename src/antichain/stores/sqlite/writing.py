"""
The one writer of a file in this process: what is appended while it writes is committed together, next.

Three things keep two owners apart, from the weakest to the strongest: the name of the owner, for messages; a lock of
the system, which says that the owner is alive; and the epoch, which every commit compares in its own transaction.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import zip_longest
from queue import SimpleQueue
from threading import Lock, RLock, Thread, current_thread
from time import monotonic, sleep
from typing import Any, Literal

from antichain.errors import OwnershipLost, RunExists, RunOwned, StoreError
from antichain.stores.limits import MAX_FACTS, check_fact
from antichain.stores.protocol import Fact, Header, Ownership
from antichain.stores.sqlite.connecting import (
    Guarded,
    connect_to_read,
    connect_to_write,
    grow_log,
    make_file,
    make_folder,
)
from antichain.stores.sqlite.locks import WRITING, LockFile, place_of
from antichain.stores.sqlite.reading import (
    RunRow,
    State,
    facts_of,
    header_proof,
    known_run,
    run_row,
    state_proof,
)
from antichain.stores.sqlite.rows import BLOB_BYTES, FactWriter, first_id, last_id
from antichain.stores.sqlite.standings import drop_standing
from antichain.stores.sqlite.words import Locked, damaged, is_busy, store_error
from antichain.stores.summing import Sum, Summary, sum_up

__all__ = ["Holder", "Writer"]

Done = Callable[[BaseException | None], object]
Synchronous = Literal["full", "normal"]

HELD = "SELECT 1 FROM run WHERE id = ? AND run_id = ? AND epoch = ?"
ADD_FACT = "INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
HELD_AND_FOUND = f"SELECT EXISTS ({HELD}), (SELECT count(*) FROM fact WHERE id BETWEEN ? AND ?)"
COUNT_FACTS = "SELECT count(*) FROM fact WHERE id BETWEEN ? AND ?"
LAST_FACT = "SELECT max(id) FROM fact WHERE id BETWEEN ? AND ?"
FIND_BLOB = "SELECT id FROM blob WHERE sha256 = ?"
ADD_BLOB = "INSERT INTO blob (sha256, data) VALUES (?, ?)"
ADD_RUN = "INSERT INTO run VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, 0, '', 0, '', 0, 0, 0, 0)"
PROVE_RUN = "UPDATE run SET proof = ? WHERE id = ?"
SET_STATE = "UPDATE run SET epoch = ?, owner = ?, facts = ?, ended = ?, updated_at = ?, succeeded = ?, size_bytes = ?,"
SET_STATE += " state_proof = ? WHERE id = ?"
SIZE = "SELECT coalesce(sum(CASE typeof(f.payload) WHEN 'integer' THEN length(b.data) ELSE length(f.payload) END), 0)"
SIZE += " FROM fact f LEFT JOIN blob b ON typeof(f.payload) = 'integer' AND b.id = f.payload WHERE f.id BETWEEN ? AND ?"
BLOBS_OF = "SELECT DISTINCT payload FROM fact WHERE typeof(payload) = 'integer' AND id BETWEEN ? AND ?"
KEPT_OF = "SELECT inputs, wiring FROM run WHERE id = ?"
DROP_FACTS = "DELETE FROM fact WHERE id BETWEEN ? AND ?"
DROP_RUN = "DELETE FROM run WHERE id = ?"
DROP_BLOB = "DELETE FROM blob WHERE id = :id"
DROP_BLOB += " AND NOT EXISTS (SELECT 1 FROM fact WHERE typeof(payload) = 'integer' AND payload = :id)"
DROP_BLOB += " AND NOT EXISTS (SELECT 1 FROM run WHERE inputs = :id OR wiring = :id)"

# Inputs and wiring of more bytes are kept apart: the runs of one graph mostly have the same.
KEPT_IN_RUN = 256
# Seconds between two looks whether somebody else has stopped writing.
FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05
COMMITS_TO_GROW = 8

log = logging.getLogger("antichain.stores")


class Holder:
    """
    What an `Ownership` carries: the run as its writer knows it.
    """

    __slots__ = (
        "epoch",
        "facts",
        "failure",
        "has_added",
        "has_standing",
        "process",
        "released",
        "run",
        "run_id",
        "sum",
        "writer",
    )

    def __init__(self, writer: Writer, run: int, run_id: str, epoch: int, next_number: int) -> None:
        self.writer = writer
        self.run = run
        self.run_id = run_id
        self.epoch = epoch
        self.facts = FactWriter(run, run_id, next_number)
        # What the first failed append told; the same is told to all that come after it.
        self.failure: StoreError | None = None
        self.released = False
        # Something was added, and found again after all that was there before.
        self.has_added = False
        # What all facts of the run come to, where this owner has added them all: nobody has to read them for that.
        self.sum = Sum() if next_number == 1 else None
        self.process = os.getpid()
        # What the run waits for is in a file beside the store.
        self.has_standing = False


Entry = tuple[Holder, Sequence[Fact], Done]


class Writer:
    """
    Write to one file; made and ended by `store`, which counts who uses it.
    """

    def __init__(self, path: str, timeout: float, synchronous: Synchronous) -> None:
        self.path = path
        self._log_path = path + "-wal"
        self.timeout = timeout
        self.synchronous: Synchronous = synchronous
        # Ownerships and calls that need this writer. Guarded by the lock of `store.writers`.
        self.users = 0
        # Whoever has it uses the connection, and has taken all that is in _entries and not yet decided. Of one thread
        # several times: a done() may append.
        self._busy = RLock()
        # Appended, not yet taken by anybody. Guarded by _mutex, which is held for moments.
        self._entries: list[Entry] = []
        self._mutex = Lock()
        # One True for the thread when _entries is not empty any more; False ends it.
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None
        # Nothing is appended any more. Guarded by _mutex.
        self._is_closed = False
        self._connection: Guarded | None = None
        # By that connection.
        self._commits = 0
        # Device and inode of the file and of its log, to notice when they are deleted or replaced.
        self._identity: tuple[int, int] | None = None
        self._log_identity: tuple[int, int] | None = None
        # Places that owners of this process have locked: the system does not tell of one's own locks.
        self._held: set[int] = set()
        self._locks: LockFile | None = None

    # -- owners

    def open(self, run_id: str, header: Header | None, *, take_over: bool) -> Ownership:
        """
        Become the owner of a run, see `Store.open`.
        """
        with self._busy:
            if header is not None:
                make_folder(self.path)
            place = None
            try:
                with self._transaction(self.timeout, new=header is not None) as connection:
                    row = run_row(connection, self.path, run_id) if header else None
                    if header is not None:
                        if row is not None:
                            raise RunExists(
                                f"store {self.path!r} has a run {run_id!r} already: resume it, or choose another run_id"
                            )
                        row = self._add_run(connection, header)
                    else:
                        row = known_run(connection, self.path, run_id)
                        self._refuse_held(row, "wait for its end, or take the run over", unless=take_over)
                    count = self._counted(connection, row)
                    epoch = row.state.epoch + 1
                    place = place_of(row.id, epoch)
                    self._hold(place)
                    self._set_state(connection, row, epoch, me())
            except BaseException:
                if place is not None:
                    self._let_go(place)
                raise
            if epoch > 1:
                # The owner before may have been killed.
                drop_standing(self.path, row.id, epoch - 1)
            return Ownership(run_id, epoch, Holder(self, row.id, run_id, epoch, count + 1))

    def release(self, holder: Holder) -> None:
        """
        Give a run up, after everything that was appended has been decided.
        """
        with self._busy:
            self._write_waiting()
            holder.released = True
            try:
                if holder.failure is None:
                    self._sum_up(holder)
            except StoreError as error:
                # The sum is a short cut for lists of runs; without it they count the facts.
                log.debug("run %r: its sum was not written: %s", holder.run_id, error)
            finally:
                self._let_go(place_of(holder.run, holder.epoch))

    def remove(self, run_id: str) -> None:
        """
        Drop a run, see `Store.remove`.
        """
        with self._busy, self._transaction(self.timeout) as connection:
            row = known_run(connection, self.path, run_id)
            self._refuse_held(row, "wait for its end before it is removed")
            span = first_id(row.id), last_id(row.id)
            kept = [value for (value,) in connection.execute(BLOBS_OF, span).fetchall()]
            kept += [value for value in connection.execute(KEPT_OF, (row.id,)).fetchone() if isinstance(value, int)]
            connection.execute(DROP_FACTS, span)
            connection.execute(DROP_RUN, (row.id,))
            connection.executemany(DROP_BLOB, [{"id": blob} for blob in kept])
        # An owner that was killed has left it.
        drop_standing(self.path, row.id, row.state.epoch)

    def is_held(self, row: RunRow) -> bool:
        """
        Say whether an owner of a run is alive, in this process or in another.
        """
        place = place_of(row.id, row.state.epoch)
        return place in self._held or self._lock_file().is_taken(place)

    def _refuse_held(self, row: RunRow, way_out: str, *, unless: bool = False) -> None:
        if not unless and self.is_held(row):
            raise RunOwned(
                f"run {row.header.run_id!r} of store {self.path!r} is held by {row.state.owner}: {way_out}"
                " (take_over=True; its owner can add nothing more then)"
            )

    def _hold(self, place: int) -> None:
        if not self._lock_file().take(place):
            raise StoreError(f"store {self.path!r}: its lock file {self._lock_file().path!r} is not ours; try again")
        self._held.add(place)

    def _let_go(self, place: int) -> None:
        if place in self._held:
            self._held.discard(place)
            self._lock_file().free(place)

    def _lock_file(self) -> LockFile:
        if self._locks is None:
            name = self.path + ".lock"
            if os.path.exists(self.path) and not os.path.exists(name):
                # Nothing is put beside a file that is none of ours.
                connect_to_read(self.path, self.timeout).close()
            try:
                self._locks = LockFile(name)
            except OSError as error:
                raise store_error(self.path, error) from error
        return self._locks

    # -- rows of runs

    def _counted(self, connection: Guarded, row: RunRow) -> int:
        """
        Return how many facts a run has, if the ways to find them out agree.
        """
        span = first_id(row.id), last_id(row.id)
        last, found = (connection.execute(query, span).fetchone()[0] for query in (LAST_FACT, COUNT_FACTS))
        count = 0 if last is None else int(last) - (row.id << 32)
        if count != found or count < row.state.summary.facts:
            known = f"had {row.state.summary.facts} facts, {found} are there, and the last is number {count}"
            raise damaged(self.path, f"run {row.header.run_id!r} {known}")
        return count

    def _add_run(self, connection: Guarded, header: Header) -> RunRow:
        values = (header.run_id, header.graph, header.target, header.created_at)
        kept = [put_apart(connection, part, KEPT_IN_RUN) for part in (header.inputs, header.wiring)]
        run = connection.execute(ADD_RUN, (*values, *kept)).lastrowid
        assert run is not None
        connection.execute(PROVE_RUN, (header_proof(run, header), run))
        return RunRow(run, header, State(0, "", Summary(), 0))

    def _set_state(
        self, connection: Guarded, row: RunRow, epoch: int, owner: str, summary: Summary | None = None, size: int = 0
    ) -> None:
        state = State(epoch, owner, summary or row.state.summary, size if summary else row.state.size_bytes)
        written = state.summary
        numbers = (written.facts, written.ended, written.updated_at, written.succeeded, state.size_bytes)
        connection.execute(SET_STATE, (epoch, owner, *numbers, state_proof(row.id, state), row.id))

    def _sum_up(self, holder: Holder) -> None:
        with self._transaction(self.timeout) as connection:
            row = run_row(connection, self.path, holder.run_id)
            if row is None or (row.id, row.state.epoch) != (holder.run, holder.epoch):
                return
            if holder.sum is not None:
                summary, size = holder.sum.summary, holder.sum.size_bytes
            else:
                summary = sum_up(facts_of(connection, self.path, row, payloads=False))
                size = connection.execute(SIZE, (first_id(row.id), last_id(row.id))).fetchone()[0]
            self._set_state(connection, row, holder.epoch, row.state.owner, summary, size)

    # -- facts

    def append(self, holder: Holder, facts: Sequence[Fact], done: Done) -> None:
        """
        Let the thread of this writer commit *facts* with all others that wait.
        """
        with self._mutex:
            is_late = self._is_closed or holder.released
            if not is_late:
                self._entries.append((holder, facts, done))
                is_first = len(self._entries) == 1
                if self._thread is None:
                    self._thread = Thread(target=self._work, name="antichain-store", daemon=True)
                    self._thread.start()
                if is_first:
                    self._wake.put(True)
        if is_late:
            tell(done, refuse(holder, released(holder)))

    def append_now(self, holder: Holder, facts: Sequence[Fact]) -> bool:
        """
        Commit *facts* in this thread, if nobody else writes and nothing waits.
        """
        if not self._busy.acquire(blocking=False):
            return False
        try:
            if holder.released:
                raise refuse(holder, released(holder))
            if self._entries:
                return False
            try:
                failure = self._write([(holder, facts)], patience=0.0)[0]
            except Locked:
                return False
        finally:
            self._busy.release()
        if failure is not None:
            raise failure
        return True

    def _work(self) -> None:
        # What this thread waits for must not keep what it has done alive.
        while self._wake.get():
            with self._busy:
                self._write_waiting()

    def _write_waiting(self) -> None:
        with self._mutex:
            entries, self._entries = self._entries, []
        if not entries:
            return
        batch = [(holder, facts) for holder, facts, _ in entries]
        failures: Sequence[StoreError | None] = []
        try:
            failures = self._write(batch, self.timeout)
        except Locked as error:
            failures = [refuse(holder, error) for holder, _ in batch]
        finally:
            # Also after Ctrl-C in `release`, which has refused everything of this batch.
            for (holder, _, done), failure in zip_longest(entries, failures):
                tell(done, holder.failure if not failures else failure)

    def _write(self, batch: Sequence[tuple[Holder, Sequence[Fact]]], patience: float) -> Sequence[StoreError | None]:
        """
        Commit *batch* in one transaction, and say for each of its members what went wrong with it.

        Raises:
            Locked: somebody else has been writing for *patience* seconds; nothing has happened.
        """
        failures: list[StoreError | None] = [None] * len(batch)
        try:
            connection = self._begin(patience, new=False)
            try:
                # Whose right to add was looked at, and how many facts they had: nobody changes that meanwhile.
                held: dict[Holder, int] = {}
                alone = len(batch) == 1
                for index, (holder, facts) in enumerate(batch):
                    failures[index] = holder.failure or self._add_facts(connection, holder, facts, held, alone=alone)
                for holder, count in held.items():
                    self._find_again(connection, holder, count)
                self._commit(connection)
            except BaseException as error:
                self._undo(error)
                raise
            finally:
                self._lock_file().free(WRITING)
        except Locked:
            raise
        except StoreError as error:
            return [failure or refuse(holder, error) for failure, (holder, _) in zip(failures, batch, strict=True)]
        except BaseException as error:
            # Ctrl-C, or no memory: whether it is committed can only be read, so nothing more may follow.
            failure = StoreError(f"store {self.path!r}: a write was interrupted by {error!r}; resume the run")
            told = [refuse(holder, failure) for holder, _ in batch]
            if not isinstance(error, Exception):
                raise
            return told
        return failures

    def _add_facts(
        self, connection: Guarded, holder: Holder, facts: Sequence[Fact], held: dict[Holder, int], *, alone: bool
    ) -> StoreError | None:
        try:
            if holder.released:
                raise released(holder)
            for fact in facts:
                check_fact(fact)
            if holder.facts.next_number + len(facts) > MAX_FACTS:
                raise StoreError(
                    f"run {holder.run_id!r} of store {self.path!r} has {MAX_FACTS} facts, and no room for more"
                )
        except StoreError as error:
            return refuse(holder, error)
        if holder not in held:
            # Where nobody else's facts are in this transaction, `_find_again` looks, and takes all of it back.
            if not alone and not is_held_by(connection, holder):
                return refuse(holder, self._lost(holder))
            held[holder] = holder.facts.next_number - 1
        rows, large = holder.facts.rows(facts)
        for index in large:
            rows[index][9] = put_apart(connection, rows[index][9], BLOB_BYTES)
        try:
            if len(rows) == 1:
                connection.execute(ADD_FACT, rows[0])
            else:
                connection.executemany(ADD_FACT, rows)
        except sqlite3.IntegrityError as error:
            # Somebody else's facts are in their places.
            if is_held_by(connection, holder):
                raise
            raise self._lost(holder) from error
        if holder.sum is not None:
            holder.sum.add(facts)
        return None

    def _find_again(self, connection: Guarded, holder: Holder, before: int) -> None:
        """
        Refuse what somebody adds whose run was taken over; and a damaged tree, in which a row may go where nobody finds
        it who comes from the ones before: from all of them the first time, then from the last.
        """
        start, last = max(before, 1) if holder.has_added else 1, holder.facts.next_number - 1
        place = holder.run << 32
        asked = (holder.run, holder.run_id, holder.epoch, place + start, place + last)
        is_held, found = connection.execute(HELD_AND_FOUND, asked).fetchone()
        if not is_held:
            raise self._lost(holder)
        if found != last - start + 1:
            raise damaged(self.path, f"what is added to run {holder.run_id!r} is not found again")
        holder.has_added = True

    def _lost(self, holder: Holder) -> OwnershipLost:
        lost = f"run {holder.run_id!r} of store {self.path!r} is not held any more by owner {holder.epoch}"
        return OwnershipLost(f"{lost}: somebody has taken it over. Nothing was added")

    # -- transactions

    @contextmanager
    def _transaction(self, patience: float, *, new: bool = False) -> Iterator[Guarded]:
        """
        Begin, hand the connection over, commit; on any failure nothing of it was done, and a StoreError says why.
        """
        connection = self._begin(patience, new)
        try:
            yield connection
            self._commit(connection)
        except BaseException as error:
            self._undo(error)
            raise
        finally:
            self._lock_file().free(WRITING)

    def _commit(self, connection: Guarded) -> None:
        connection.execute("COMMIT")
        # After the commit: what is acknowledged is in the file that everybody sees.
        self._see_files()
        self._commits += 1
        if self._commits == COMMITS_TO_GROW:
            grow_log(self.path)

    def _undo(self, error: BaseException) -> None:
        """
        Roll back what an error has ended, and say it as a StoreError where a file or SQLite is the cause.
        """
        if isinstance(error, (sqlite3.Error, OSError)):
            raise self._given_up(error) from error
        self._roll_back()

    def _begin(self, patience: float, new: bool) -> Guarded:
        """
        Become the one that writes, of all processes.

        Our own lock comes first: SQLite before 3.51.3 may damage a file where one connection makes a checkpoint while
        another writes, and its own lock does not cover checkpoints.
        """
        locks = self._lock_file()
        until = monotonic() + patience if patience else 0.0
        pause = FIRST_PAUSE
        while True:
            try:
                is_taken = locks.take(WRITING)
            except OSError as error:
                raise store_error(self.path, error) from error
            if is_taken:
                try:
                    connection = self._connection or self._connected(new)
                    connection.goes_on()
                    connection.execute("BEGIN IMMEDIATE")
                    return connection
                except (sqlite3.Error, OSError) as error:
                    if not (isinstance(error, sqlite3.Error) and is_busy(error)):
                        locks.free(WRITING)
                        raise self._given_up(error) from error
                except BaseException:
                    self._roll_back()
                    locks.free(WRITING)
                    raise
                locks.free(WRITING)
            if not patience or monotonic() >= until:
                raise Locked(
                    f"store {self.path!r} is locked: another process has been writing to it for {patience:g} s."
                    " End it (fuser shows who has the file open), then resume the run"
                )
            sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _connected(self, new: bool) -> Guarded:
        if self._identity is None and new:
            make_file(self.path)
        elif self._identity not in (None, identity_of(self.path)):
            raise self._gone()
        self._connection = connect_to_write(self.path, self.timeout, self.synchronous, new=new)
        self._identity = identity_of(self.path)
        self._log_identity = None
        self._commits = 0
        return self._connection

    def _see_files(self) -> None:
        """
        Notice that the file, or the log beside it, is not where it was.
        """
        try:
            log_status, status = os.stat(self._log_path), os.stat(self.path)
        except FileNotFoundError:
            is_there = False
        else:
            log_identity = log_status.st_dev, log_status.st_ino
            is_there = (status.st_dev, status.st_ino) == self._identity
            if log_identity != self._log_identity:
                is_there = is_there and self._log_identity is None
                self._log_identity = log_identity
        if not is_there:
            # SQLite sees that the file is not there any more, and leaves alone what has its name now.
            self._close_connection()
            raise self._gone()

    def _gone(self) -> StoreError:
        return StoreError(
            f"store {self.path!r} was deleted or replaced while it was used: nothing more is written to it."
            " Put it back from a copy and resume, or begin a new run"
        )

    def _given_up(self, error: Exception) -> StoreError:
        self._roll_back()
        # Whatever SQLite still believes about the file, it shall read it again.
        self._close_connection()
        return store_error(self.path, error)

    def _roll_back(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.debug("store %r: it could not be rolled back: %s", self.path, error)
            self._close_connection()

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.debug("store %r: it could not be closed: %s", self.path, error)

    # -- the end

    def be_as(self, timeout: float, synchronous: Synchronous) -> None:
        """
        Be as patient and as durable as whoever comes now wants, and all before.
        """
        with self._busy:
            self.timeout = max(self.timeout, timeout)
            if synchronous == "full" and self.synchronous == "normal":
                self.synchronous = synchronous
                # It is set when the file is opened, next.
                self._close_connection()

    def close(self) -> None:
        """
        End the thread and let go of the file; nobody uses this writer any more.
        """
        with self._mutex:
            self._is_closed = True
            thread = self._thread
        if thread is not None:
            # Comes after the sign that is there if something still waits.
            self._wake.put(False)
            if thread is not current_thread():
                thread.join()
        with self._busy:
            # Closing the last connection makes a checkpoint, which is writing.
            written = self._connection is not None and self._lock_file().take(WRITING)
            self._close_connection()
            if written:
                self._lock_file().free(WRITING)
            if self._locks is not None:
                self._locks.close()
                self._locks = None

    def pause(self) -> None:
        """
        Before a fork: nobody is in the middle of a write.
        """
        self._busy.acquire()

    def go_on(self) -> None:
        """
        After a fork, in the parent.
        """
        self._busy.release()

    def abandon(self) -> None:
        """
        After a fork, in the child: forget what belongs to the parent, whose locks stay.
        """
        if self._locks is not None:
            self._locks.close()


def is_held_by(connection: Guarded, holder: Holder) -> bool:
    """
    Say whether an owner is the last one of its run.
    """
    return connection.execute(HELD, (holder.run, holder.run_id, holder.epoch)).fetchone() is not None


def tell(done: Done, failure: StoreError | None) -> None:
    try:
        done(failure)
    except Exception:  # foreign code; the facts of others must not wait for ever
        log.exception("a done() of a store raised")


def released(holder: Holder) -> OwnershipLost:
    return OwnershipLost(f"run {holder.run_id!r} was released by owner {holder.epoch}: open it again to add to it")


def refuse(holder: Holder, error: StoreError) -> StoreError:
    """
    Accept nothing more of an owner; returns what the first failure was.
    """
    holder.failure = holder.failure or error
    return holder.failure


def put_apart(connection: Guarded, data: bytes, most: int) -> Any:  # Any: what a column takes
    """
    Return *data*, or the id of the blob that has it if it has more than *most* bytes.
    """
    if len(data) <= most:
        return data
    digest = sha256(data).digest()
    found = connection.execute(FIND_BLOB, (digest,)).fetchone()
    return found[0] if found else connection.execute(ADD_BLOB, (digest, data)).lastrowid


def identity_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def me() -> str:
    import socket
    from datetime import UTC, datetime

    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {now} UTC"
