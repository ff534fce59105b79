"""
What differs between a stored run and the graph that is to go on with it: said in words, refused, or run again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from antichain.errors import Fault, named
from antichain.plan import Plan
from antichain.resuming.fingerprints import fingerprints, read_fingerprint
from antichain.resuming.newcomers import Newcomers
from antichain.resuming.places import Place, Stop, place_of
from antichain.resuming.rerun import Rerun
from antichain.resuming.wiring import Level, Line, describe_wiring, read_wiring
from antichain.resuming.words import differences, joined, versions

__all__ = ["Change", "Changes", "Kind", "compare", "describe_wiring"]

Kind = Literal["changed", "replaced", "renamed", "gone", "open", "new"]


@dataclass(frozen=True, slots=True)
class Change:
    """
    One node that is not what it was when the run was stored.

    It has changed; or completed with the output of a node that is replaced now; or is gone from the graph, perhaps
    under a new name; or has changed or is new without having completed, so that it just runs as it is now.
    """

    kind: Kind
    # The node, or the container that brought what has completed.
    path: str
    # What differs, in half a sentence about "it"; the new name of a node that was renamed.
    how: str
    # What has completed and is not what it was.
    completed: tuple[str, ...] = ()


class Changes:
    """
    All that differs, and what follows from it. Made by compare().
    """

    def __init__(self, plan: Plan, name: str, changes: Iterable[Change], completed: int, rerun: Rerun) -> None:
        self._plan = plan
        # The name of the graph of the stored run, if it is known.
        self._name = name
        self.changes = tuple(changes)
        self._completed = completed
        self._rerun = rerun

    @property
    def is_other_graph(self) -> bool:
        """
        Whether nothing that completed is in the graph, nor anything else of the run: it is another graph altogether. If
        nothing has completed, it also has another name.
        """
        return self._rerun.is_other_graph

    def faults(self) -> list[Fault]:
        """
        Say what keeps the run from going on as it is: completed nodes that have changed, and what can be done.
        """
        if self.is_other_graph:
            return [self._other_graph()]
        faults = []
        for change in self.changes:
            match change.kind:
                case "changed":
                    faults.append(self._changed(change))
                case "replaced":
                    faults.append(self._replaced(change))
                case "renamed":
                    faults.append(self._renamed(change))
                case "gone" | "open" | "new":
                    pass
        if faults and self._name not in ("", self._plan.name):
            # Most likely the graphs were taken for each other. But a graph may be renamed.
            faults.insert(0, Fault("other-graph", f"this is a run of graph {self._name!r}, not {self._plan.name!r}."))
        return faults

    def rerun(self) -> set[int]:
        """
        Return the planned nodes that run again with ``on_change="rerun"``, also in part: those that have changed, and
        all that follow them.
        """
        index = self._plan.index
        return {index[name] for name in self._rerun.planned() if name in index}

    def forgotten(self) -> tuple[str, ...]:
        """
        Return the paths that must be forgotten before what rerun() says may run; whatever is inside them goes along.

        Only with ``on_change="rerun"``: else what has changed and is not needed would run again later, unasked.
        """
        return self._rerun.forgotten()

    def summary(self) -> str:
        """
        Say in a few lines what is used again and what is not.
        """
        if self.is_other_graph:
            return self._other_graph().message
        lost = len({path for change in self.changes for path in change.completed})
        nodes = "1 completed node" if self._completed == 1 else f"{self._completed} completed nodes"
        lines = [f"{nodes}, {self._completed - lost} unchanged"]
        lines += [f"  {each.path!r} {_TITLES[each.kind]}{': ' if each.how else ''}{each.how}" for each in self.changes]
        return "\n".join(lines)

    # -- messages

    def _changed(self, change: Change) -> Fault:
        path = change.path
        if change.completed == (path,):
            text = f"node {path!r} completed in this run, and is another one now: {change.how}."
        else:
            many = len(change.completed)
            what = f"{named(change.completed, 3)} completed in this run, but {path!r}, which brought "
            text = f"{what}{'it' if many == 1 else 'them'} into the run, is another one now: {change.how}."
        outputs = f", or give its output by outputs={{{path!r}: …}}" if self._may_be_replaced(path) else ""
        text += (
            f' Put it back as it was, or resume with on_change="rerun" to run it and what follows it again{outputs}.'
        )
        return Fault("changed-node", text, path, (path,))

    def _may_be_replaced(self, path: str) -> bool:
        node = self._plan.index.get(path)
        return node is not None and not self._rerun.has_completed_after(path)

    def _replaced(self, change: Change) -> Fault:
        path = change.path
        text = f"node {path!r} completed in this run, but {change.how}. Leave that out, replace {path!r} as well, or"
        text += ' resume with on_change="rerun" to run what follows again.'
        return Fault("changed-node", text, path, (path,))

    def _renamed(self, change: Change) -> Fault:
        path, new = change.path, change.how
        what = f"node {path!r} completed in this run, and is not in graph {self._plan.name!r} any more"
        text = f"{what}, but {new!r} is new and wired as {path!r} was: under a new name it would run again."
        text += f' Give it its old name, or resume with on_change="rerun" to let {new!r} run.'
        return Fault("changed-node", text, path, (path, new))

    def _other_graph(self) -> Fault:
        whose = f" of graph {self._name!r}" if self._name else ""
        what = f"none of the {self._completed} nodes that completed in it is in graph {self._plan.name!r}"
        if self._completed == 1:
            what = f"the only node that completed in it is not in graph {self._plan.name!r}"
        elif not self._completed:
            what = f"nothing of it is in graph {self._plan.name!r}"
        text = f"this is a run{whose}, and {what}."
        return Fault("other-graph", f"{text} Resume it with the graph that it is of, or start a run with another id.")


_TITLES: dict[str, str] = {
    "changed": "has changed",
    "replaced": "cannot be used",
    "renamed": "is not there any more, and seems to have got a new name",
    "gone": "is not there any more",
    "open": "had not completed, and runs as it is now",
    "new": "is new",
}


def compare(plan: Plan, wiring: object, completed: Mapping[str, str], replaced: Collection[str] = ()) -> Changes:
    """
    Say what differs between a stored run and *plan*.

    Whether a completed node has changed is told by its fingerprint alone. How, is told by the wiring of the graph with
    which the run was begun.

    Args:
        plan: what is to go on.
        wiring: what describe_wiring() returned when the run began; an empty dict if it is not known.
        completed: the fingerprint of every node of the run that has completed, by its path.
        replaced: ids of nodes that ``outputs=`` replaces, unless it did before.

    Raises:
        StoreDamaged: *wiring* is nothing that describe_wiring() made.
    """
    name, then = read_wiring(wiring)
    # What the targets do not need may have completed all the same, and what it is matters when they need it again.
    whole = plan if plan.targets is None else plan.pruned(None)
    comparison = _Comparison(plan, whole, name, then, completed, replaced)
    return Changes(plan, name, comparison.changes(), len(completed), comparison.rerun)


class _Comparison:
    """
    Look at every completed node of a run, and at every node of the graph.
    """

    def __init__(
        self,
        plan: Plan,
        whole: Plan,
        name: str,
        then: Level | None,
        completed: Mapping[str, str],
        replaced: Collection[str],
    ) -> None:
        self.plan = plan
        self.whole = whole
        self.name = name
        self.then = then
        _, self.now = read_wiring(describe_wiring(whole)) if then is not None else ("", None)
        self.completed = completed
        self.replaced = replaced
        self.rerun = Rerun(whole)
        # Of each graph, by the prefix of its nodes.
        self.newcomers: dict[str, Newcomers] = {}

    def changes(self) -> Iterator[Change]:
        changed: dict[str, tuple[Place, list[str]]] = {}
        gone: dict[str, tuple[str, Place, list[str]]] = {}
        now = dict(zip(self.whole.ids, fingerprints(self.whole), strict=True))
        for path, text in self.completed.items():
            if now.get(path) == text and path not in self.replaced:  # as nearly all are
                self.rerun.completed[path] = (Stop("", self.whole, self.whole.index[path]),)
                continue
            place = place_of(self.whole, path)
            self.rerun.completed[path] = place.stops
            if place.stops and place.stops[0].path in self.replaced:
                self.rerun.note_replaced(place.stops[0])
            elif place.lost_in is not None:
                self.rerun.note_gone(path)
                prefix = place.lost_in[0]
                old = self._old_name(path[len(prefix) :], place.stops)
                gone.setdefault(f"{prefix}{old}", (old, place, []))[2].append(path)
            elif not place.is_same(text):
                self.rerun.note(place)
                changed.setdefault(place.stops[-1].path, (place, []))[1].append(path)
        self.rerun.finish()
        self.rerun.is_other_graph = self._is_other_graph()
        if self.rerun.is_other_graph:
            return
        for path, (place, paths) in changed.items():
            # What this run does not need is not used either.
            if place.stops[0].path in self.plan.index:
                yield Change("changed", path, self._how(place, self.completed[paths[0]]), tuple(paths))
        yield from self._after_replaced(changed)
        for old, place, paths in gone.values():
            yield self._gone(old, place, paths)
        yield from self._others(changed)

    def _is_other_graph(self) -> bool:
        if any(self.rerun.completed.values()):
            return False
        if not self.completed and (self.then is None or self.name == self.whole.name):
            # Every node of it may have been mended.
            return False
        return self.then is None or self.then.nodes.keys().isdisjoint(self.whole.index)

    # -- what has changed

    def _lines(self, stops: Iterable[Stop]) -> tuple[Line | None, Line | None, Level | None, Level | None]:
        """
        Return how the last of *stops* was and is wired, and the graphs that it was and is in.
        """
        old: Line | None = None
        new: Line | None = None
        then, now = self.then, self.now
        level_then = level_now = None
        for stop in stops:
            level_then, level_now = then, now
            name = stop.plan.ids[stop.node]
            old = then.nodes.get(name) if then is not None else None
            new = now.nodes.get(name) if now is not None else None
            then, now = old.inside if old else None, new.inside if new else None
        return old, new, level_then, level_now

    def _how(self, place: Place, text: str) -> str:
        found = read_fingerprint(text)
        if not place.is_exact:
            return self._how_fed(place.stops)
        if found.scope != place.expected.scope:
            fed = self._how_fed(place.stops[:-1])
            return f"{place.stops[-2].path!r}, which contains it, has changed ({fed})"
        parts = [*versions(found.version, place.expected.version)]
        if found.wiring != place.expected.wiring:
            told = self._told(place.stops)
            parts += [each for each in told if each not in parts and not each.startswith("its version")]
            parts = parts or ["it is wired otherwise than when it completed"]
        return joined(parts)

    def _told(self, stops: tuple[Stop, ...]) -> list[str]:
        old, new, then, now = self._lines(stops)
        if old is None or new is None or then is None or now is None or old.how == new.how:
            return []
        return [*differences(stops[-1].plan.ids[stops[-1].node], old, new, then, now)] or [
            "its arguments are wired otherwise"
        ]

    def _how_fed(self, stops: tuple[Stop, ...]) -> str:
        """
        Say how the container at the end of *stops* hands on something else than before.
        """
        for last in range(len(stops), 0, -1):
            old, new, _, _ = self._lines(stops[:last])
            if old is not None and new is not None and (old.how, old.version) != (new.how, new.version):
                parts = [*versions(old.version, new.version)]
                parts += [each for each in self._told(stops[:last]) if each not in parts]
                where = "" if last == len(stops) else f"{stops[last - 1].path!r} around it: "
                return where + joined(parts)
        return "what it hands inside is wired otherwise than when that ran"

    def _after_replaced(self, changed: Collection[str]) -> Iterator[Change]:
        for path, by in self.rerun.after_replaced():
            if path in self.plan.index and path not in changed and path not in self.replaced:
                yield Change("replaced", path, f"with an output of {by!r} that outputs= replaces now", (path,))

    # -- what is gone

    def _then_inside(self, stops: Iterable[Stop]) -> Level | None:
        """
        Return the graph inside the last of *stops*, as it was.
        """
        level = self.then
        for stop in stops:
            line = level.nodes.get(stop.plan.ids[stop.node]) if level is not None else None
            level = line.inside if line is not None else None
        return level

    def _old_name(self, rest: str, stops: Iterable[Stop]) -> str:
        """
        Return the id, in the graph as it was, of the node that is gone, where it may have brought in others.
        """
        level = self._then_inside(stops)
        if level is None or rest in level.nodes:
            return rest
        cuts = [at for at in range(len(rest) - 1, 0, -1) if rest[at] in "/[" and rest[:at] in level.nodes]
        return rest[: cuts[0]] if cuts else rest

    def _gone(self, old: str, place: Place, paths: list[str]) -> Change:
        assert place.lost_in is not None
        prefix, plan = place.lost_in
        then = self._then_inside(place.stops)
        line = then.nodes.get(old) if then is not None else None
        how = line.how if line is not None else read_fingerprint(self.completed[paths[0]]).wiring
        newcomers = self._newcomers(prefix, plan, then)
        new = newcomers.successor(old, how, then.downstream(old) if then is not None else ())
        if new is not None:
            return Change("renamed", f"{prefix}{old}", f"{prefix}{new}", tuple(paths))
        near = newcomers.near(old)
        hint = f"{f'{prefix}{near}'!r} is new, but wired otherwise" if near is not None else ""
        return Change("gone", f"{prefix}{old}", hint, tuple(paths))

    def _newcomers(self, prefix: str, plan: Plan, then: Level | None) -> Newcomers:
        found = self.newcomers.get(prefix)
        if found is None:
            known = then.nodes if then is not None else {}
            fresh = [name for name in plan.ids if name not in known and f"{prefix}{name}" not in self.completed]
            found = self.newcomers[prefix] = Newcomers(plan, fresh)
        return found

    # -- what had not completed

    def _others(self, told: Collection[str]) -> Iterator[Change]:
        if self.then is None or self.now is None:
            return
        for name, line in self.now.nodes.items():
            old = self.then.nodes.get(name)
            if name in told or name in self.completed or name not in self.plan.index:
                continue
            if old is None:
                yield Change("new", name, "")
            elif (old.how, old.version) != (line.how, line.version):
                how = [*differences(name, old, line, self.then, self.now)] or ["its arguments are wired otherwise"]
                yield Change("open", name, joined(how))
