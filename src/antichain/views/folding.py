"""
What is drawn of a run: boxes and edges, with nodes folded together until the picture can be read.

Nothing is left out without a word: every node is in exactly one box, and every edge is drawn, counted on a drawn one,
or counted in the box that holds both its ends. No language of pictures is known here.
"""

import heapq
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from antichain.record import NodeRecord, RunRecord
from antichain.views.figures import Members, counts, critical_inside, duration, is_stage, members, time_text

__all__ = ["Box", "Picture", "draw", "title_of"]

# Groups within groups that are opened.
MAX_DEPTH: Final = 16
# A mapped stage of more instances than this is one box: they look alike.
SHOWN_INSTANCES: Final = 12
# Boxes for a group that can only be cut into bands, from its sources to its sinks: more would say no more.
BANDS: Final = 24
# Names of failed nodes that a box of several lists.
SHOWN_FAILURES: Final = 3
SHOWN_NAME: Final = 60
SHOWN_ERROR: Final = 80
# What colours a box of several: the first of these states that occurs.
WORST_FIRST: Final = (
    "failed",
    "cancelled",
    "backing off",
    "running",
    "ready",
    "pending",
    "skipped",
    "succeeded",
)
# Reasons that say no more than the state does.
PLAIN_REASONS: Final = frozenset({"", "output", "error"})


@dataclass(slots=True, eq=False)
class Box:
    """
    One thing in a picture: a node, a node with those that it brought around it (*inside*), or several nodes.
    """

    number: int
    # What it stands for by itself: one node, or several that were folded.
    nodes: Sequence[NodeRecord]
    parent: "Box | None" = None
    # What is drawn within it.
    inside: "list[Box]" = field(default_factory=list)
    # Nodes that these have brought and that are not drawn.
    hidden: list[NodeRecord] = field(default_factory=list)
    # Edges both of whose ends are here.
    hidden_edges: int = 0
    is_critical: bool = False

    @property
    def is_folded(self) -> bool:
        """
        Tell whether it stands for more than one node.
        """
        return len(self.nodes) > 1 or bool(self.hidden)

    @property
    def state(self) -> str:
        """
        The state of its node, or of several the one that matters most.
        """
        found = {node.state for node in self.nodes} | {node.state for node in self.hidden}
        if len(self.nodes) == 1:
            return self.nodes[0].state
        return next((state for state in WORST_FIRST if state in found), "pending")

    def lines(self) -> Iterator[str]:
        """
        Say what it is, line by line; foreign text is neither escaped nor cut to one line.
        """
        first = self.nodes[0]
        if len(self.nodes) == 1:
            yield cut(first.id, SHOWN_NAME)
            yield told(first)
            if first.error is not None and first.state == "failed":
                yield cut(error_line(first.error), SHOWN_ERROR)
        else:
            yield f"{cut(first.id, SHOWN_NAME // 2)} … {cut(self.nodes[-1].id, SHOWN_NAME // 2)}"
            yield count_text(len(self.nodes), self.nodes, "nodes")
        if self.hidden:
            yield count_text(len(self.hidden), self.hidden, "inside")
        if self.is_folded:
            yield from self._notes()

    def _notes(self) -> Iterator[str]:
        several = [*(self.nodes if len(self.nodes) > 1 else ()), *self.hidden]
        failed = [node.id for node in several if node.state == "failed"]
        if failed:
            more = f", and {len(failed) - SHOWN_FAILURES:,} more" if len(failed) > SHOWN_FAILURES else ""
            yield f"failed: {', '.join(cut(name, SHOWN_NAME // 2) for name in failed[:SHOWN_FAILURES])}{more}"
        longest = max((duration(node) or 0.0 for node in several), default=0.0)
        edges = f"{self.hidden_edges:,} edge{'s' * (self.hidden_edges != 1)} inside" if self.hidden_edges else ""
        parts = [f"longest {time_text(longest)}" if longest else "", edges]
        if any(parts):
            yield " · ".join(part for part in parts if part)


@dataclass(slots=True)
class Picture:
    """
    Boxes, and how many edges of the run each edge between two of them stands for.
    """

    boxes: list[Box]
    edges: dict[tuple[Box, Box], int]
    critical_edges: set[tuple[Box, Box]]
    # Nodes of the run, and how many boxes there are for them, within each other or not.
    node_count: int
    box_count: int

    def everything(self) -> Iterator[Box]:
        """
        List all boxes, each before those within it.
        """
        todo = self.boxes[::-1]
        while todo:
            box = todo.pop()
            yield box
            todo += box.inside[::-1]


# -- words


def told(node: NodeRecord) -> str:
    """
    Say what became of a node: state, duration, attempts.
    """
    parts = [node.state if node.reason in PLAIN_REASONS else f"{node.state} ({node.reason})"]
    seconds = duration(node)
    if seconds is not None:
        parts.append(time_text(seconds))
    if node.attempts > 1:
        parts.append(f"{node.attempts} attempts")
    if node.abandoned:
        parts.append("abandoned")
    return " · ".join(parts)


def count_text(number: int, nodes: Iterable[NodeRecord], what: str) -> str:
    """
    Say how many nodes there are, and in which states.
    """
    found = counts(nodes)
    states = ", ".join(f"{found[state]:,} {state}" for state in reversed(WORST_FIRST) if state in found)
    return f"{number:,} {what} · {states}" if len(found) != 1 else f"{number:,} {what} · {next(iter(found))}"


def error_line(error: BaseException) -> str:
    """
    Say in one line what an error is and says.
    """
    try:
        said = " ".join(str(error).split())
    except Exception as problem:  # noqa: BLE001  # foreign code, and here only a text to show
        said = f"its str raises {type(problem).__name__}"
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


def cut(text: str, limit: int) -> str:
    """
    Shorten a text to *limit* characters.
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def title_of(run: RunRecord, picture: Picture) -> str:
    """
    Say what the picture shows, and what is folded in it.
    """
    ended = run.status or "running"
    if run.started_at is not None and run.ended_at is not None:
        ended = f"{ended} in {time_text(run.ended_at - run.started_at)}"
    number = picture.node_count
    text = f"{cut(run.name or 'run', SHOWN_NAME)} · {ended} · {number:,} node{'s' * (number != 1)}"
    if picture.box_count < number:
        text += f", folded into {picture.box_count:,} boxes"
    return text


# -- folding


def draw(run: RunRecord, max_nodes: int, max_edges: int) -> Picture:
    """
    Choose what is drawn: at most about *max_nodes* boxes and *max_edges* edges.
    """
    canvas = _Canvas(run)
    room = max(max_nodes, 1)
    picture = canvas.picture(room)
    while len(picture.edges) > max_edges and room > 1:
        room = min(room, picture.box_count) * 2 // 3
        picture = canvas.picture(max(room, 1))
    return picture


class _Canvas:
    """
    Know what does not change from one try to the next.
    """

    def __init__(self, run: RunRecord) -> None:
        self._nodes = run.nodes
        self._members: Members = members(run)
        self._critical = critical_inside(run)
        self._weights: dict[str, int] = {}
        self._folds: dict[str, _Fold] = {}

    def picture(self, room: int) -> Picture:
        """
        Draw with room for so many boxes.
        """
        boxes: list[Box] = []
        top = self._boxes(self._members.get("", ()), "", room, None, boxes)
        left = room - len(top)
        # Small groups open first: they cost least.
        queue = [self._entry(box, 0) for box in top if self._can_open(box)]
        heapq.heapify(queue)
        while queue and left > 0:
            depth, _, _, box = heapq.heappop(queue)
            group = box.nodes[0].id
            inside = self._members[group]
            if len(inside) > SHOWN_INSTANCES and is_stage(self._members, group):
                continue
            if len(self._fold(group).classes(left)) == 1 < len(inside):
                continue
            box.inside = self._boxes(inside, group, left, box, boxes)
            left -= len(box.inside)
            for each in box.inside:
                if self._can_open(each) and depth + 1 < MAX_DEPTH:
                    heapq.heappush(queue, self._entry(each, depth + 1))
        return self._with_edges(top, boxes)

    def _entry(self, box: Box, depth: int) -> tuple[int, int, int, Box]:
        return depth, self._weight(box.nodes[0].id), box.number, box

    def _can_open(self, box: Box) -> bool:
        return len(box.nodes) == 1 and box.nodes[0].id in self._members

    def _weight(self, group: str) -> int:
        if group not in self._weights:
            self._weights[group] = sum(1 for _ in self._descendants(group))
        return self._weights[group]

    def _descendants(self, group: str) -> Iterator[NodeRecord]:
        todo = [group]
        while todo:
            for node in self._members.get(todo.pop(), ()):
                yield node
                todo.append(node.id)

    def _fold(self, group: str) -> "_Fold":
        if group not in self._folds:
            self._folds[group] = _Fold(self._members[group], self._critical)
        return self._folds[group]

    def _boxes(
        self, nodes: Sequence[NodeRecord], group: str, room: int, parent: Box | None, boxes: list[Box]
    ) -> list[Box]:
        made = []
        for same in self._fold(group).classes(room) if nodes else ():
            made.append(Box(len(boxes), same, parent))
            boxes.append(made[-1])
        return made

    def _with_edges(self, top: list[Box], boxes: list[Box]) -> Picture:
        box_of: dict[str, Box] = {}
        for box in boxes:
            for node in box.nodes:
                box_of[node.id] = box
                if not box.inside:
                    for hidden in self._descendants(node.id):
                        box.hidden.append(hidden)
                        box_of[hidden.id] = box
            box.is_critical = any(node.id in self._critical for node in box.nodes)
        edges: dict[tuple[Box, Box], int] = {}
        for name, box in box_of.items():
            for before in self._nodes[name].upstream:
                source = box_of.get(before)
                if source is not None:
                    _count(source, box, edges)
        pairs = ((box_of.get(before), box_of.get(name)) for name, before in self._critical.items())
        critical = {(before, box) for before, box in pairs if before is not None and box is not None}
        return Picture(top, edges, critical & edges.keys(), len(self._nodes), len(boxes))


def _count(source: Box, box: Box, edges: dict[tuple[Box, Box], int]) -> None:
    """
    Count an edge where it is drawn, or in the box that holds both its ends.
    """
    for outer, inner in ((source, box), (box, source)):
        around: Box | None = inner
        while around is not None:
            if around is outer:
                outer.hidden_edges += 1
                return
            around = around.parent
    edges[source, box] = edges.get((source, box), 0) + 1


class _Fold:
    """
    Put the nodes of one group together, those that are most alike first.
    """

    def __init__(self, nodes: Sequence[NodeRecord], critical: Iterable[str]) -> None:
        self._nodes = nodes
        known = {node.id for node in nodes}
        self._upstream = {node.id: [name for name in node.upstream if name in known] for node in nodes}
        self._downstream: dict[str, list[str]] = {node.id: [] for node in nodes}
        for name, before in self._upstream.items():
            for each in before:
                self._downstream[each].append(name)
        self._critical = known.intersection(critical)
        self._levels: dict[str, int] | None = None
        self._tried: list[list[list[NodeRecord]]] = []

    def classes(self, room: int) -> list[list[NodeRecord]]:
        """
        Return the nodes in at most *room* classes, in the order of their first members.
        """
        if len(self._nodes) <= room:
            return [[node] for node in self._nodes]
        for way, key in enumerate((self._twins, self._stem)):
            if way == len(self._tried):
                self._tried.append(self._by(key))
            if len(self._tried[way]) <= room:
                return self._tried[way]
        levels = self._level_of()
        depth = max(levels.values()) + 1
        bands = min(room, depth, BANDS)
        return self._by(lambda node: levels[node.id] * bands // depth, apart=False)

    def _by(self, key: Callable[[NodeRecord], Hashable], apart: bool = True) -> list[list[NodeRecord]]:
        # What the run waited for stays apart while that is not most of the picture.
        apart = apart and len(self._critical) <= max(len(self._nodes) // 4, 1)
        found: dict[Hashable, list[NodeRecord]] = {}
        for node in self._nodes:
            mark: Hashable = ("", node.id) if apart and node.id in self._critical else key(node)
            found.setdefault(mark, []).append(node)
        return list(found.values())

    def _twins(self, node: NodeRecord) -> Hashable:
        return tuple(sorted(node.upstream)), tuple(sorted(self._downstream[node.id]))

    def _stem(self, node: NodeRecord) -> Hashable:
        return self._level_of()[node.id], re.sub(r"\d+", "0", node.id)

    def _level_of(self) -> dict[str, int]:
        """
        Return the length of the longest way to each node from one without upstream.
        """
        if self._levels is None:
            missing = {name: len(before) for name, before in self._upstream.items()}
            levels = dict.fromkeys(missing, 0)
            todo = [name for name, number in missing.items() if not number]
            while todo:
                name = todo.pop()
                for after in self._downstream[name]:
                    levels[after] = max(levels[after], levels[name] + 1)
                    missing[after] -= 1
                    if not missing[after]:
                        todo.append(after)
            self._levels = levels
        return self._levels
