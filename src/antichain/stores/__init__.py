"""
Where runs are kept, so that they can go on after whatever has ended them.

Reading order: `protocol` (what a store is), `codec` (how values become bytes), `memory`, `sqlite`.
"""

from typing import TYPE_CHECKING, Any

from antichain.stores.memory import MemoryStore
from antichain.stores.opening import open_store
from antichain.stores.protocol import AppendsNow, Fact, FactKind, Header, Journal, Ownership, RunLine, Store

if TYPE_CHECKING:
    from antichain.stores.sqlite.store import SqliteStore as SqliteStore

__all__ = [
    "AppendsNow",
    "Fact",
    "FactKind",
    "Header",
    "Journal",
    "MemoryStore",
    "Ownership",
    "RunLine",
    "SqliteStore",
    "Store",
    "open_store",
]


def __getattr__(name: str) -> Any:  # Any: the protocol of modules
    if name == "SqliteStore":
        from antichain.stores.sqlite.store import SqliteStore  # sqlite3 is loaded when it is used

        return SqliteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
