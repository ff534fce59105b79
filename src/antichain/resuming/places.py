"""
Where in a plan the path of a node of a run leads: to a node, or to the node that brought it into the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from antichain.plan import Plan
from antichain.resuming.fingerprints import (
    Fingerprint,
    fingerprint,
    instance_fingerprint,
    read_fingerprint,
    scope_inside,
)
from antichain.resuming.wired import is_mapped, subplan_of

__all__ = ["Place", "Stop", "container_of", "place_of"]


class Stop(NamedTuple):
    """
    One graph on the way to a node, and the node in it that leads on.
    """

    # What comes before the ids of the graph's nodes in their paths.
    prefix: str
    plan: Plan
    node: int

    @property
    def path(self) -> str:
        """
        The path of the node.
        """
        return f"{self.prefix}{self.plan.ids[self.node]}"


class Place(NamedTuple):
    """
    What a path leads to.
    """

    # From the outermost graph inwards; the last is the node itself, or what brought it into the run.
    stops: tuple[Stop, ...]
    # The path leads to the last stop itself.
    is_exact: bool
    # The graph in which the rest of the path was not found, with its prefix; None if all was.
    lost_in: tuple[str, Plan] | None
    # What the fingerprint of the last stop is now.
    expected: Fingerprint

    def is_same(self, text: str) -> bool:
        """
        Say whether a node of this path that had the fingerprint *text* is the same today, as far as can be said before
        it is known what it is made for.
        """
        if not text:
            return True
        found = read_fingerprint(text)
        if not self.is_exact:
            return found.scope == scope_inside(str(self.expected))[0]
        return found[:2] == self.expected[:2] and found.version == self.expected.version


_NOTHING = Fingerprint("", "", "", "")


def place_of(plan: Plan, path: str) -> Place:
    """
    Find where in *plan* the node with this path would be. Ids are never parsed: the longest that is there counts.
    """
    stops: list[Stop] = []
    prefix = within = ""
    while True:
        rest = path[len(prefix) :]
        node = plan.index.get(rest)
        if node is not None:
            return Place((*stops, Stop(prefix, plan, node)), True, None, _now(plan, node, within))
        found = container_of(plan, rest)
        if found is None:
            return Place(tuple(stops), False, (prefix, plan), _NOTHING)
        node, length = found
        stops.append(Stop(prefix, plan, node))
        inside = subplan_of(plan, node)
        if inside is None or not length:
            return Place(tuple(stops), False, None, _now(plan, node, within))
        within = str(_now(plan, node, within))
        if is_mapped(plan, node):
            # The item is not known: what is compared does not depend on it.
            within = instance_fingerprint(within, None)
        prefix, plan = prefix + rest[:length], inside


def _now(plan: Plan, node: int, within: str) -> Fingerprint:
    return read_fingerprint(fingerprint(plan, node, within))


def container_of(plan: Plan, rest: str) -> tuple[int, int] | None:
    """
    Find the node that *rest* begins with, and how much of *rest* leads into the graph inside it: 0 if none of it does.
    """
    for at in _cuts(rest):
        node = plan.index.get(rest[:at])
        if node is None or (rest[at] == "[") != is_mapped(plan, node):
            continue
        inside = subplan_of(plan, node)
        if inside is None or rest[at] == "/":
            return node, at + 1
        # A key may look like the end of a key.
        ends = [end + 2 for end in range(at, len(rest)) if rest.startswith("]/", end)]
        known = [end for end in ends if rest[end:] in inside.index]
        return node, (known or ends or [0])[0]
    return None


def _cuts(rest: str) -> Iterator[int]:
    for at in range(len(rest) - 1, 0, -1):
        if rest[at] in "/[":
            yield at
