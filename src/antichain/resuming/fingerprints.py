"""
Fingerprints: in one text, what a node of a run was when a fact of it was written. If the text is another one today, the
node is another one.

    how it is wired [.its container's wiring [.the values that made it]]:version
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from antichain.plan import Plan
from antichain.resuming.digests import hashed, value_digest
from antichain.resuming.wired import inner_digest, version_of, wired

__all__ = [
    "Fingerprint",
    "fingerprint",
    "fingerprints",
    "inside_fingerprint",
    "instance_fingerprint",
    "read_fingerprint",
    "scope_inside",
]


class Fingerprint(NamedTuple):
    """
    The parts of a fingerprint.
    """

    # How the node is wired; see `wired`.
    wiring: str
    # Of what is inside a container that stands in the graph: how that is fed; empty outside.
    scope: str
    # Of what came while the run went on: the item or the inputs that it was made for; else empty.
    made_for: str
    version: str

    def __str__(self) -> str:
        inside = f".{self.scope}" if self.scope else ""
        made_for = f".{self.made_for}" if self.made_for else ""
        return f"{self.wiring}{inside}{made_for}:{self.version}"


def read_fingerprint(text: str) -> Fingerprint:
    """
    Part a fingerprint; any text will do.
    """
    before, _, version = text.partition(":")
    wiring, _, inside = before.partition(".")
    scope, _, made_for = inside.partition(".")
    return Fingerprint(wiring, scope, made_for, version)


def fingerprint(plan: Plan, node: int, within: str = "") -> str:
    """
    Return the fingerprint of one node of *plan*; see fingerprints().
    """
    scope, made_for = scope_inside(within) if within else ("", "")
    return str(Fingerprint(wired(plan)[node], scope, made_for, version_of(plan, node)))


def fingerprints(plan: Plan, within: str = "") -> list[str]:
    """
    Return the fingerprint of each node of *plan*, about 10 microseconds a node when it is asked for the first time.

    It says where each argument comes from, what the node waits for, its join, whether it has a condition, whether it is
    a map or a graph, what its map runs over, how the nodes inside it are wired, and its ``version=``. What a function
    does is not in it, nor are its name, retries, timeouts, limits, priority, fallback and cost.

    Args:
        plan: whose nodes.
        within: the fingerprint of the node that contains the graph: a nested graph, an instance of a map of graphs, or
            what a body runs.

    Example:
        >>> from antichain.resuming.fingerprints import fingerprints
        >>> graph = Graph()
        >>> _ = graph.add("a", lambda: 1, version="2")
        >>> fingerprints(graph.plan())[0].partition(":")[2]
        '2'
    """
    if not within:
        return [f"{how}:{version_of(plan, node)}" for node, how in enumerate(wired(plan))]
    scope, made_for = scope_inside(within)
    return [str(Fingerprint(how, scope, made_for, version_of(plan, node))) for node, how in enumerate(wired(plan))]


@lru_cache(maxsize=1024)
def scope_inside(container: str) -> tuple[str, str]:
    """
    Return ``scope`` and ``made_for`` of what is inside a container with this fingerprint.

    They hold what the container hands inside, its version, and those of the containers around it. What comes while the
    run goes on keeps the scope of what brought it, so that it can be compared before that has begun.
    """
    found = read_fingerprint(container)
    first = found.wiring.partition("-")[0]
    if found.made_for:
        return found.scope, hashed([found.made_for, first, found.version])
    return hashed([found.scope, first, found.version]), ""


def instance_fingerprint(base: str, item: Any) -> str:  # Any: the user's value
    """
    Return the fingerprint of the instance of a map for *item*, where *base* is that of the map.

    An item that no store takes counts by the name of its type: such items are not told apart.
    """
    found = read_fingerprint(base)
    scope, made_for = scope_inside(base)
    # What the map runs over, and what becomes of the outputs, is no matter of one instance.
    first, _, rest = found.wiring.partition("-")
    inner = rest.partition("-")[2]
    wiring = f"{first}-{inner}" if inner else first
    return str(Fingerprint(wiring, scope, hashed(["item", made_for, value_digest(item)]), found.version))


def inside_fingerprint(base: str, inputs: Mapping[str, Any], plan: Plan | None = None) -> str:  # Any: values
    """
    Return the fingerprint of what the body of a node with the fingerprint *base* runs with *inputs*: of *plan*, where
    that is known. Inputs that no store takes count by the name of their type.
    """
    scope, made_for = scope_inside(base)
    given = sorted((name, value_digest(value)) for name, value in inputs.items())
    wiring = hashed(["inside"]) if plan is None else f"{hashed(['inside'])}-{inner_digest(plan)}"
    version = read_fingerprint(base).version
    return str(Fingerprint(wiring, scope, hashed(["inputs", made_for, given]), version))
