"""
Connections to a store's file, hardened before the first byte of it is looked at.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from antichain.errors import StoreError
from antichain.stores.limits import MAX_PAYLOAD_BYTES
from antichain.stores.sqlite.schema import VERSION, create, format_of, is_empty, migrate
from antichain.stores.sqlite.words import damaged, store_error

__all__ = ["Guarded", "connect_to_read", "connect_to_write", "make_file", "make_folder"]

# Before this release, two connections that write or checkpoint at once may damage a file (sqlite.org/wal.html):
# `writing` lets only one do so at a time.
SAFE_SQLITE = (3, 51, 3)
# The folder that is made when it is missing: the one that the commands use without being told.
OWN_FOLDER = ".antichain"
# The watch looks after so many instructions of SQLite's machine, and ends a statement that was seen so often without
# a new row: some seconds.
INSTRUCTIONS = 100_000
MOST_LOOKS = 2_000
# Bytes of the -wal file that are kept after a checkpoint.
KEPT_WAL_BYTES = 16 * 1024 * 1024
# A commit that makes a file longer takes half as long again, since the length has to be durable too. So the -wal file
# is made so long at once, of zeros, at which SQLite ends its reading of a log; and a checkpoint comes before its end,
# after which it is written from its beginning again.
GROWN_WAL_BYTES = 1024 * 1024
PAGES_TO_CHECKPOINT = 240

# What SQLite has beside a file, and leaves there when it is killed.
BESIDE = ("-wal", "-shm", "-journal")

log = logging.getLogger("antichain.stores")


class Guarded(sqlite3.Connection):
    """
    A connection on which no statement runs for ever.
    """

    # How often the watch has looked since somebody said that things go on.
    looks = 0

    def goes_on(self) -> None:
        """
        Tell the watch that there is progress: a row has come, a statement begins.
        """
        self.looks = 0

    def look(self) -> bool:
        """
        Count, and say whether the statement is to be ended.
        """
        self.looks += 1
        return self.looks > MOST_LOOKS


def connect_to_read(path: str, timeout: float) -> Guarded:
    """
    Open a file that is there; never writes to it, and never makes a checkpoint.

    Raises:
        StoreDamaged: it is no store of ours. StoreError: it cannot be opened.
    """
    refuse_empty(path)
    connection = connect(path, "ro", timeout)
    try:
        try:
            version = format_of(connection, path)
        except sqlite3.OperationalError as error:
            if not needs_no_log(path, error):
                raise
            connection.close()
            connection = connect(path, "ro&immutable=1", timeout)
            version = format_of(connection, path)
        if version == VERSION:
            return connection
    except Exception as error:
        connection.close()
        raise store_error(path, error) from error
    # An older format: bring it up to date, then look again.
    connection.close()
    connect_to_write(path, timeout, "full").close()
    return connect_to_read(path, timeout)


def needs_no_log(path: str, error: sqlite3.Error) -> bool:
    """
    Say whether a file was refused only because SQLite may put nothing beside it, while nothing has to be there.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) and not (
        os.path.exists(path + "-wal") and os.path.getsize(path + "-wal")
    )


def connect_to_write(
    path: str, timeout: float, synchronous: Literal["full", "normal"], *, new: bool = False
) -> Guarded:
    """
    Open a file that is there, of our own or, with *new*, an empty one, whose tables are then made.

    Raises:
        StoreDamaged: it is no store of ours. StoreError: it cannot be opened.
    """
    if not new:
        refuse_empty(path)
    connection = connect(path, "rw", timeout)
    try:
        prepare(connection, path, synchronous, new)
    except Exception as error:
        connection.close()
        raise store_error(path, error) from error
    return connection


def prepare(connection: Guarded, path: str, synchronous: Literal["full", "normal"], new: bool) -> None:
    empty = new and is_empty(connection)
    version = 0 if empty else format_of(connection, path)
    connection.execute("PRAGMA query_only = OFF")
    as_log(connection, path)
    connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
    connection.execute(f"PRAGMA journal_size_limit = {KEPT_WAL_BYTES:d}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_TO_CHECKPOINT:d}")
    if version < VERSION:
        bring_up_to_date(connection, path)
    # From now on whoever waits does it in Python, where it can be told how long.
    connection.execute("PRAGMA busy_timeout = 0")


def bring_up_to_date(connection: Guarded, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Somebody else may have been faster.
        if is_empty(connection):
            create(connection)
        else:
            migrate(connection, format_of(connection, path))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect(path: str, mode: Literal["ro", "ro&immutable=1", "rw"], timeout: float) -> Guarded:
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        log.debug("SQLite %s: one writer at a time, by a lock of our own", sqlite3.sqlite_version)
    try:
        connection = sqlite3.connect(
            f"{Path(path).as_uri()}?mode={mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            # One at a time uses it: whoever holds the lock of the writer, or the one call that reads.
            check_same_thread=False,
            factory=Guarded,
        )
    except (sqlite3.Error, OSError) as error:
        raise store_error(path, error) from error
    try:
        harden(connection)
    except sqlite3.Error as error:
        connection.close()
        raise store_error(path, error) from error
    return connection


def harden(connection: Guarded) -> None:
    """
    Let nothing that is written in a file run, grow without bound, or reach another file.
    """
    connection.set_progress_handler(connection.look, INSTRUCTIONS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_PAYLOAD_BYTES + 65_536)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 65_536)
    # Python 3.11 cannot switch these; there the comparison of the schema stands alone.
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        for switch in ("TRIGGER", "VIEW", "FKEY", "LOAD_EXTENSION"):
            connection.setconfig(getattr(sqlite3, f"SQLITE_DBCONFIG_ENABLE_{switch}"), False)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "query_only = ON"):
        connection.execute(f"PRAGMA {pragma}")


def grow_log(path: str) -> None:
    """
    Make the log of a store long before it is needed, if the disk has room; whoever calls it may write to the store.
    """
    if os.name == "nt":
        return
    try:
        # As SQLite opens it: no link is followed.
        file = os.open(path + "-wal", os.O_WRONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(file).st_size
            if size < GROWN_WAL_BYTES:
                os.pwrite(file, bytes(GROWN_WAL_BYTES - size), size)
        finally:
            os.close(file)
    except OSError as error:
        log.debug("store %r: its log grows as it is written: %s", path, error)


def make_folder(path: str) -> None:
    """
    Make the folder of a store if it is the one that commands use without being told; every other one must be there.

    Raises:
        StoreError: it is not there, or cannot be made.
    """
    folder = Path(path).parent
    if os.path.isdir(path):
        raise StoreError(f"store {path!r} is a folder: add the name of a file, as runs.db")
    try:
        if folder.name == OWN_FOLDER:
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"store {path!r} cannot be made: {error.strerror or error}") from error
    if not folder.is_dir():
        raise StoreError(f"store {path!r}: there is no folder {str(folder)!r}; make it, or choose another path")


def make_file(path: str) -> None:
    """
    Make a store that only this user can read, where there is no file; a process that is killed meanwhile leaves none.

    Whoever calls it has locked the right to write, so that nobody else makes one now.

    Raises:
        StoreError: its folder does not let it.
    """
    if os.path.exists(path):
        return
    # Whole before it has its name: half of one could not be told from a damaged one.
    fresh = f"{path}.{os.getpid()}.new"
    try:
        # The log of a store that was deleted would be taken for this one's.
        drop(path, BESIDE)
        drop(fresh, ("", *BESIDE))
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            fill(fresh)
            name_file(fresh, path)
        except StoreError as error:
            raise type(error)(str(error).replace(fresh, path)) from error
        finally:
            drop(fresh, ("", *BESIDE))
        sync_folder(Path(path).parent)
    except OSError as error:
        raise StoreError(f"store {path!r} cannot be made: {error.strerror or error}") from error


def fill(fresh: str) -> None:
    """
    Make the tables in a file that nobody knows yet, and then all of it durable at once.
    """
    connection = connect(fresh, "rw", 0.0)
    try:
        for pragma in ("query_only = OFF", "synchronous = OFF", "journal_mode = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        bring_up_to_date(connection, fresh)
        as_log(connection, fresh)
    except sqlite3.Error as error:
        raise store_error(fresh, error) from error
    finally:
        connection.close()
    file = os.open(fresh, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def as_log(connection: Guarded, path: str) -> None:
    """
    Let commits go into a write-ahead log.

    Raises:
        StoreError: the file system has none.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"store {path!r}: its file system has no write-ahead log (mode {mode}); use a local disk")


def name_file(fresh: str, path: str) -> None:
    """
    Give a whole file its name, unless somebody else was faster.
    """
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without links: for a moment two may think that they are the first.
        if not os.path.exists(path):
            os.rename(fresh, path)


def drop(path: str, ends: Sequence[str]) -> None:
    """
    Remove the files of these ends, where they are.
    """
    for end in ends:
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def sync_folder(folder: Path) -> None:
    """
    Make the names in a folder durable, where the system can: SQLite does so only when it makes its log.
    """
    if os.name == "nt":
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def refuse_empty(path: str) -> None:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise StoreError(f"store {path!r} cannot be opened: {error.strerror or error}") from error
    if not size:
        raise damaged(path, "the file is empty")
