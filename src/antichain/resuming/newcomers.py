"""
The nodes that are new in a graph, and which of them a node that is gone has most likely become.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from antichain.plan import Plan
from antichain.resuming.wired import wired
from antichain.resuming.words import likely_name
from antichain.shape import with_start_edges

__all__ = ["Newcomers"]

# Names that are compared, about 3 microseconds each, before only places are: a graph of which all is new shall not
# take minutes to be told so.
COMPARED: Final = 200_000
# Nodes that are gone for which a name is looked up only to be mentioned.
MENTIONED: Final = 20


class Newcomers:
    """
    Find the new name of what is gone, among the *names* of nodes that are new in the graph of *plan*.
    """

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        self._names = names
        # By how they are wired; and the first that is wired so and has these nodes right behind it.
        self._alike: dict[str, list[str]] = {}
        self._in_place: dict[tuple[str, frozenset[str]], str] = {}
        self._compared = 0
        self._mentioned = 0
        how, (_, downstream) = wired(plan), with_start_edges(plan.shape)
        for name in names:
            node = plan.index[name]
            self._alike.setdefault(how[node], []).append(name)
            after = frozenset([plan.ids[each] for each in downstream[node]])
            self._in_place.setdefault((how[node], after), name)

    def successor(self, old: str, how: str, after: Collection[str]) -> str | None:
        """
        Return the new name of the node *old*, which was wired as *how* says and had the nodes *after* right behind it;
        None if no newcomer is wired so and either has a name like it or stands where it stood.
        """
        alike = self._alike.get(how, ())
        found = None
        if self._compared < COMPARED:
            self._compared += len(alike)
            found = likely_name(old, alike)
        return found or (self._in_place.get((how, frozenset(after))) if after else None)

    def near(self, old: str) -> str | None:
        """
        Return a newcomer with a name like *old*, wired however; None if there is none, or enough have been mentioned.
        """
        if self._mentioned >= MENTIONED:
            return None
        self._mentioned += 1
        return likely_name(old, self._names)
