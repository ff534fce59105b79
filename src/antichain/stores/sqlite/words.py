"""
What SQLite and the system say, in the words of a user: one sentence with the file, the cause and the way out.
"""

from __future__ import annotations

import sqlite3

from antichain.errors import StoreDamaged, StoreError, shown

__all__ = ["Locked", "damaged", "is_busy", "store_error"]

# By primary result code: what is the matter, and what to do.
CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, then resume the run",
    sqlite3.SQLITE_IOERR: "the disk answers with an error: look at the system's log, then resume the run",
    sqlite3.SQLITE_READONLY: "the file or its folder cannot be written: change its permissions, or copy it elsewhere",
    sqlite3.SQLITE_PERM: "the file may not be used: change its permissions",
    sqlite3.SQLITE_CANTOPEN: "the file, or the -wal and -shm files beside it, cannot be opened: look at permissions of"
    " the folder and at the limit of open files",
    sqlite3.SQLITE_NOMEM: "the memory is used up",
}
DAMAGES = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database",
    sqlite3.SQLITE_INTERRUPT: "a query of a moment did not end",
    sqlite3.SQLITE_TOOBIG: "a value is larger than any that this library writes",
    sqlite3.SQLITE_CONSTRAINT: "what is there contradicts itself",
    sqlite3.SQLITE_MISMATCH: "what is there has another type",
    sqlite3.SQLITE_ERROR: "what is there is not what this library writes",
    sqlite3.SQLITE_SCHEMA: "its tables are changed while it is used",
}
WAY_OUT = "Nothing of it was used; go back to a copy, or begin with a new file."


class Locked(StoreError):  # noqa: N818  # not public: a StoreError to whoever waits for it
    """
    Say that somebody else is writing, for longer than was to be waited.
    """


def is_busy(error: sqlite3.Error) -> bool:
    """
    Say whether somebody else is writing.
    """
    return code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def code_of(error: sqlite3.Error) -> int:
    # Errors of the module itself have no code: a text that is no UTF-8, a connection that is closed.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def store_error(path: str, error: Exception) -> StoreError:
    """
    Say what *error* means for the store at *path*.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sqlite3.Error):
        code = code_of(error)
        if code in CAUSES:
            return StoreError(f"store {path!r}: {CAUSES[code]} ({said_by(error)})")
        if is_busy(error):
            return StoreError(f"store {path!r} is locked by another process ({said_by(error)}): end it, then resume")
        if isinstance(error, sqlite3.ProgrammingError):
            return StoreError(f"store {path!r}: the connection cannot be used ({error})")
        return damaged(path, f"{DAMAGES.get(code, 'SQLite gave it up')} ({said_by(error)})")
    if isinstance(error, OSError):
        return StoreError(f"store {path!r}: {error.strerror or error}; see to it, then resume the run")
    return damaged(path, f"it cannot be read ({type(error).__name__}: {error})")


def said_by(error: sqlite3.Error) -> str:
    return " ".join(filter(None, (getattr(error, "sqlite_errorname", ""), shown(str(error)).strip("'\""))))


def damaged(path: str, what: str) -> StoreDamaged:
    """
    Make the error that names what cannot be trusted.
    """
    return StoreDamaged(f"store {path!r} cannot be trusted: {what}. {WAY_OUT}")
