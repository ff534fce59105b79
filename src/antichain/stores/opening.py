"""
Which store is meant by what a user passes as `store=`.
"""

from __future__ import annotations

from pathlib import Path

from antichain.errors import StoreError, shown
from antichain.stores.protocol import Store

__all__ = ["open_store"]

METHODS = ("open", "append", "release", "read", "runs", "remove")


def open_store(spec: str | Path | Store) -> Store:
    """
    Return the store that *spec* names: a path is a SQLite file, and a store is itself. Nothing is opened yet.

    Raises:
        StoreError: it is neither, or names a kind of store that this release does not have.
    """
    if isinstance(spec, str | Path):
        return sqlite_store(spec)
    missing = [name for name in METHODS if not callable(getattr(spec, name, None))]
    if isinstance(spec, type) or missing:
        lacks = f", which has no {missing[0]}()" if missing else ", which is a class"
        raise StoreError(f"store= takes a path or an object with the methods of a Store, not {shown(spec)}{lacks}")
    return spec


def sqlite_store(spec: str | Path) -> Store:
    from antichain.stores.sqlite.store import SqliteStore  # sqlite3 is loaded when it is used

    text = str(spec)
    kind, sign, _ = text.partition("://")
    if sign and isinstance(spec, str):
        if kind in {"postgresql", "postgres"}:
            raise StoreError("PostgreSQL comes with a later release: use a path, which is a SQLite file")
        raise StoreError(f"no store is known by {shown(kind + sign)}: use a path, which is a SQLite file")
    return SqliteStore(spec)
