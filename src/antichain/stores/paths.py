"""
Paths of nodes, as facts name them: which lie inside which. Ids are never parsed, only compared.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["BELOW", "is_within"]

# What opens a path below a node: of a nested graph or of growth, and of an instance of a map.
BELOW = ("/", "[")


def is_within(path: str, nodes: Collection[str]) -> bool:
    """
    Say whether a path is that of one of *nodes*, or of what one of them has brought into the run.

    Takes as long as the path is, however many nodes there are, if they are a set.
    """
    if path in nodes:
        return True
    if "/" not in path and "[" not in path:
        return False
    return any(path[:at] in nodes for at, sign in enumerate(path) if sign in BELOW)
