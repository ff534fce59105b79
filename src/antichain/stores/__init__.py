"""
Where runs are kept, so that they can go on after whatever has ended them.

Reading order: `protocol` (what a store is), `codec` (how values become bytes), `memory`, `sqlite`.
"""

from typing import TYPE_CHECKING, Any

from antichain.stores.codec import ValueLimits
from antichain.stores.opening import open_store
from antichain.stores.protocol import (
    AppendsNow,
    Fact,
    FactKind,
    Header,
    Journal,
    KeepsStandings,
    Ownership,
    RunLine,
    Store,
)

if TYPE_CHECKING:
    from antichain.stores.codec import redact_values as redact_values
    from antichain.stores.memory import MemoryStore as MemoryStore
    from antichain.stores.sqlite.store import SqliteStore as SqliteStore

__all__ = [
    "AppendsNow",
    "Fact",
    "FactKind",
    "Header",
    "Journal",
    "KeepsStandings",
    "MemoryStore",
    "Ownership",
    "RunLine",
    "SqliteStore",
    "Store",
    "ValueLimits",
    "open_store",
    "redact_values",
]


def __getattr__(name: str) -> Any:  # Any: the protocol of modules
    if name == "SqliteStore":
        from antichain.stores.sqlite.store import SqliteStore  # sqlite3 is loaded when it is used

        return SqliteStore
    if name == "MemoryStore":
        from antichain.stores.memory import MemoryStore  # whoever has a file needs no other store

        return MemoryStore
    if name == "redact_values":
        from antichain.stores.codec import redact_values

        return redact_values
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
