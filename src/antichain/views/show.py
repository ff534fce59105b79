"""
A run in words: what became of its nodes, a line for each while they are few, and what it waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from antichain.printable import printable
from antichain.record import NodeRecord, RunRecord
from antichain.views.figures import (
    Members,
    Run,
    counts,
    critical_inside,
    duration,
    members,
    snapshot,
    span_of,
    time_text,
    wait,
)
from antichain.views.folding import WORST_FIRST
from antichain.views.frame import cause_text, columns, cut, cut_middle, plain
from antichain.views.summary import summarize, summary_lines

__all__ = ["show_text"]

# Lines for nodes, those that tell how many are left out among them.
ROWS: Final = 60
# Lines for what one group brought, if there are other groups.
ROWS_INSIDE: Final = 12
# The same beside many others, where something inside failed.
ROWS_FAILED: Final = 4
MAX_DEPTH: Final = 6
LEAST_WIDTH: Final = 40
# Columns for a node's name.
LEAST_NAME: Final = 12
MOST_NAME: Final = 48
# Columns without which a note is left out.
LEAST_NOTE: Final = 12
# Seconds below which a wait is that of the machinery.
LEAST_WAIT: Final = 0.001


class Row(NamedTuple):
    """
    One line about a node, or about several of which there is nothing more to say.
    """

    depth: int
    name: str
    state: str
    attempts: str = ""
    waited: str = ""
    ran: str = ""
    note: str = ""
    is_critical: bool = False


def show_text(record: Run, *, width: int = 100) -> str:
    """
    Say what became of a run and of its nodes, in lines of at most *width* columns.

    Of many nodes those are shown that failed, that the run waited for, and that took longest; how many others there are
    is said between them.

    Args:
        record: a `RunResult`, or what was folded from the events of a run.
        width: columns of the terminal.
    """
    run = snapshot(record)
    width = max(width, LEAST_WIDTH)
    lines = [*_head(run), ""]
    rows = list(_Table(run).rows())
    if rows:
        lines += [*_laid_out(rows, width), ""]
    if any(row.is_critical for row in rows):
        lines += ["* on the critical path", ""]
    lines += [plain(line) for line in summary_lines(summarize(run), width)]
    return "\n".join(cut(line, width) for line in lines).rstrip()


def _head(run: RunRecord) -> Iterator[str]:
    start, end = span_of(run)
    number = len(run.nodes)
    status = run.status or "running"
    yield f"{printable(run.name or 'run')}: {status} after {time_text(end - start)}, {_nodes(number)}"
    yield f"run {printable(run.run_id)}"


def _nodes(number: int) -> str:
    return f"{number:,} node{'s' * (number != 1)}"


class _Table:
    """
    Choose what has a line.
    """

    def __init__(self, run: RunRecord) -> None:
        self._members: Members = members(run)
        self._critical = critical_inside(run)
        self._until = span_of(run)[1]

    def rows(self) -> Iterator[Row]:
        """
        List the lines, groups with what is inside them.
        """
        yield from self._inside("", 0, ROWS)

    def _room(self, group: str, siblings: int) -> int:
        """
        Say how many lines the inside of a group has, beside so many others.
        """
        if siblings <= ROWS_INSIDE:
            return ROWS_INSIDE
        return ROWS_FAILED if any(node.state == "failed" for node in self._members[group]) else 0

    def _inside(self, group: str, depth: int, room: int) -> Iterator[Row]:
        if not room:
            return
        nodes = self._members.get(group, ())
        shown = self._telling(nodes, room)
        left: list[NodeRecord] = []
        for node in nodes:
            if node.id not in shown:
                left.append(node)
                continue
            yield from self._rest(left, depth)
            left = []
            yield self._row(node, depth, group)
            if node.id in self._members and depth < MAX_DEPTH:
                yield from self._inside(node.id, depth + 1, self._room(node.id, len(shown)))
        yield from self._rest(left, depth)

    def _telling(self, nodes: Sequence[NodeRecord], room: int) -> set[str]:
        """
        Choose the nodes that have a line of their own.
        """
        if len(nodes) <= room:
            return {node.id for node in nodes}
        # A line between any two of them may have to tell of others.
        room //= 2
        failed = [node for node in nodes if node.state == "failed"]
        chosen = dict.fromkeys(node.id for node in failed[: max(room // 2, min(room, 3))])
        slow = sorted(nodes, key=lambda node: -(duration(node, self._until) or 0.0))
        waited_for = [node for node in slow if node.id in self._critical]
        for node in [*waited_for[: room // 2], *slow]:
            if len(chosen) >= room:
                break
            chosen[node.id] = None
        return set(chosen)

    def _row(self, node: NodeRecord, depth: int, group: str) -> Row:
        inside = self._members.get(node.id, ())
        waited = wait(node, self._until) or 0.0
        note = cause_text(node.error) if node.error is not None and node.state == "failed" else ""
        if inside:
            note = f"{_told(inside)}; {note}" if note else _told(inside)
        reason = "" if node.reason in ("", "output", "error") else f" ({node.reason})"
        return Row(
            depth,
            # Inside a group what comes after its own name tells more.
            node.id.removeprefix(f"{group}/") if group else node.id,
            f"{node.state}{reason}",
            str(node.attempts) if node.attempts > 1 else "",
            time_text(waited) if waited >= LEAST_WAIT else "",
            time_text(duration(node, self._until)),
            f"abandoned; {note}" if node.abandoned else note,
            node.id in self._critical,
        )

    def _rest(self, nodes: Sequence[NodeRecord], depth: int) -> Iterator[Row]:
        if nodes:
            longest = max((duration(node, self._until) or 0.0 for node in nodes), default=0.0)
            ran = f"≤ {time_text(longest)}" if longest else ""
            states = _states(nodes)
            yield Row(depth, f"… {len(nodes):,} more", states if ", " in states else nodes[0].state, ran=ran)


def _states(nodes: Sequence[NodeRecord]) -> str:
    found = counts(nodes)
    return ", ".join(f"{found[state]:,} {state}" for state in reversed(WORST_FIRST) if state in found)


def _told(nodes: Sequence[NodeRecord]) -> str:
    states = _states(nodes)
    return f"{_nodes(len(nodes))}, {states}" if ", " in states else f"{_nodes(len(nodes))} {nodes[0].state}"


# -- laying out


def _laid_out(rows: Sequence[Row], width: int) -> Iterator[str]:
    """
    Put rows in columns; a column that nobody needs is not there.
    """
    titles = Row(0, "node", "state", "attempts", "waited", "ran")
    figures = []
    for name in ("attempts", "waited", "ran"):
        values = [getattr(row, name) for row in rows]
        if any(values):
            figures.append((name, max(columns(value) for value in (getattr(titles, name), *values))))
    # What tells of several nodes is as long as it is: it does not widen the column.
    single = [columns(row.state) for row in rows if not row.name.startswith("… ")]
    of_state = max([*single, len("succeeded")])
    names = [f"{'  ' * row.depth}{'*' if row.is_critical else ' '} {printable(row.name)}" for row in rows]
    left = width - of_state - sum(size + 2 for _, size in figures) - 2
    of_name = max(min(max(map(columns, names)), MOST_NAME, left), LEAST_NAME)
    for name, row in zip(["  node", *names], [titles, *rows], strict=True):
        line = _filled(cut_middle(name, of_name), of_name) + "  " + _filled(row.state, of_state)
        end = of_name + 2 + of_state
        for figure, size in figures:
            text: str = getattr(row, figure)
            end += 2 + size
            # A state that is longer than its column takes room from what is empty beside it.
            gap = end - columns(line) - columns(text)
            line += (" " * max(gap, 2) + text) if text else ""
        has_room = row.note and end + LEAST_NOTE < width
        yield f"{_filled(line, end)}  {row.note}" if has_room else line.rstrip()


def _filled(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
