"""
What is in a store's file, by release, and whether a file is one of ours: nothing of it is read before that is known.

A step is a file `sql/N.sql` that makes format N of format N-1. Steps that were released never change.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

from antichain.errors import StoreError
from antichain.stores.sqlite.words import damaged

__all__ = ["APPLICATION_ID", "VERSION", "create", "format_of", "is_empty", "migrate"]

# "ANTI": in the head of every file of ours.
APPLICATION_ID = 0x414E5449
# The newest format: the number of steps.
VERSION = 1
STEPS = Path(__file__).parent / "sql"

Schema = tuple[tuple[str, str, str, str | None], ...]


def format_of(connection: sqlite3.Connection, path: str) -> int:
    """
    Return the number of a file's format, after all that can be known without reading its content was compared.

    Raises:
        StoreDamaged: it is no store. StoreError: it was written by a newer release.
    """
    application = number(connection, "PRAGMA application_id")
    if application != APPLICATION_ID:
        raise damaged(path, f"it is another program's database (application id {application:#x})")
    version = number(connection, "PRAGMA user_version")
    if version > VERSION:
        raise StoreError(
            f"store {path!r} has format {version}; this release knows formats up to {VERSION}."
            " It was written by a newer antichain: update this one."
        )
    if version < 1:
        raise damaged(path, f"there is no format {version}")
    # Triggers, views, tables, indices, columns: whatever somebody has planted or taken away is another text.
    found = schema_in(connection)
    expected = schema_of(version)
    if found != expected:
        names = sorted({line[1] for line in set(found) ^ set(expected)})
        raise damaged(path, f"its tables are not those of format {version}: {', '.join(map(repr, names[:5]))} differ")
    return version


def is_empty(connection: sqlite3.Connection) -> bool:
    """
    Say whether nothing has been made in a file yet, by anybody.
    """
    heads = number(connection, "PRAGMA application_id"), number(connection, "PRAGMA user_version")
    return heads == (0, 0) and not schema_in(connection)


def create(connection: sqlite3.Connection) -> None:
    """
    Make the tables in an empty file, within a transaction of the caller.
    """
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    migrate(connection, 0)


def migrate(connection: sqlite3.Connection, version: int, steps: Path = STEPS, newest: int = VERSION) -> None:
    """
    Take a file from format *version* to the newest, within a transaction of the caller.
    """
    for step in range(version + 1, newest + 1):
        for statement in statements(steps / f"{step}.sql"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {newest:d}")


def statements(file: Path) -> list[str]:
    # `executescript` would commit the transaction that the step belongs to.
    lines = file.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    return [statement for part in text.split(";") if (statement := part.strip())]


@cache
def schema_of(version: int) -> Schema:
    """
    Return what SQLite lists of a file of that format, by making one in memory.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, 0, newest=version)
        return schema_in(connection)
    finally:
        connection.close()


def schema_in(connection: sqlite3.Connection) -> Schema:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 100").fetchall()
    return tuple(sorted(rows, key=repr))


def number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(pragma).fetchone()[0])
