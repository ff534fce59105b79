"""
Where runs are kept, so that they can go on after whatever has ended them.

Reading order: `protocol` (what a store is), `codec` (how values become bytes), `memory`, `sqlite`.
"""

from antichain.stores.protocol import Fact, FactKind, Header, Journal, Ownership, RunLine, Store

__all__ = ["Fact", "FactKind", "Header", "Journal", "Ownership", "RunLine", "Store"]
