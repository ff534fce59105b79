"""
What follows from changes: which nodes run again, and what must be forgotten before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from antichain.plan import Plan
from antichain.resuming.places import Place, Stop
from antichain.shape import with_start_edges

__all__ = ["Rerun"]


class Rerun:
    """
    Find out what follows from changes: which nodes run again, and what must be forgotten before.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.is_other_graph = False
        # Where each completed path leads, from the outermost graph inwards.
        self.completed: dict[str, tuple[Stop, ...]] = {}
        # Of each graph, by the prefix of its nodes: itself, the nodes that have changed, and those in which one has.
        self._graphs: dict[str, tuple[Plan, set[int], set[int]]] = {"": (plan, set(), set())}
        # Nodes that outputs= replaces, in the order in which they were found.
        self._replaced: dict[int, None] = {}
        self._gone: set[str] = set()
        # Of each graph: what is to be forgotten.
        self._lost: dict[str, set[int]] = {}
        self._before_completed: set[int] | None = None

    def note(self, place: Place) -> None:
        """
        Note a node that has changed.
        """
        *around, last = place.stops
        self._of(last)[1].add(last.node)
        for stop in around:
            self._of(stop)[2].add(stop.node)

    def note_replaced(self, stop: Stop) -> None:
        """
        Note a node that had completed and is replaced.
        """
        self._replaced[stop.node] = None

    def note_gone(self, path: str) -> None:
        """
        Note what has completed and has no place any more.
        """
        self._gone.add(path)

    def _of(self, stop: Stop) -> tuple[Plan, set[int], set[int]]:
        return self._graphs.setdefault(stop.prefix, (stop.plan, set(), set()))

    def finish(self) -> None:
        """
        Find all that follows from what has been noted.
        """
        for prefix, (plan, changed, touched) in self._graphs.items():
            replaced = self._replaced if not prefix else {}
            self._lost[prefix] = (changed | _following(plan, {*changed, *touched, *replaced}, replaced)) - set(replaced)

    def planned(self) -> set[str]:
        """
        Return the ids of the nodes of the outermost graph that run again, also in part.
        """
        touched = self._graphs[""][2]
        return {self.plan.ids[node] for node in self._lost[""] | touched}

    def forgotten(self) -> tuple[str, ...]:
        """
        Return what must be forgotten; whatever is inside goes along.
        """
        # What has no place any more may have been made of what runs again, and must not be found if it comes back.
        is_anything_other = bool(self._replaced) or any(changed for _, changed, _ in self._graphs.values())
        found: dict[str, None] = {}
        for path, stops in self.completed.items():
            lost = next((stop.path for stop in stops if stop.node in self._lost.get(stop.prefix, ())), None)
            if lost is not None:
                found[lost] = None
            elif path in self._gone and is_anything_other:
                found[path] = None
        return tuple(found)

    def after_replaced(self) -> Iterator[tuple[str, str]]:
        """
        Find what has completed in the outermost graph with outputs that are replaced now, and one of those.
        """
        done = dict.fromkeys(stops[0] for stops in self.completed.values() if stops)
        for node in self._replaced:
            following = _following(self.plan, {node}, self._replaced)
            for stop in [stop for stop in done if stop.node in following]:
                del done[stop]
                yield stop.path, self.plan.ids[node]

    def has_completed_after(self, path: str) -> bool:
        """
        Say whether anything that follows a node of the outermost graph has completed.
        """
        if self._before_completed is None:
            done = {stops[0].node for stops in self.completed.values() if stops}
            self._before_completed = _following(self.plan, done, (), backwards=True)
        return self.plan.index[path] in self._before_completed


def _following(plan: Plan, start: Collection[int], stops_at: Collection[int], *, backwards: bool = False) -> set[int]:
    """
    Return all nodes behind those in *start*, or before them. The way does not lead through *stops_at*.
    """
    upstream, downstream = with_start_edges(plan.shape)
    edges = upstream if backwards else downstream
    found: set[int] = set()
    waiting = [*start]
    while waiting:
        for other in edges[waiting.pop()]:
            if other not in found and other not in stops_at:
                found.add(other)
                waiting.append(other)
    return found
