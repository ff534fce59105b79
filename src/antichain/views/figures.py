"""
Figures of a run that several views show: who holds whom, what the run waited for, and what it would have taken alone.

Functions of a record, and only of what both kinds of record know: a run that has ended, and its events folded.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from antichain.record import NodeRecord, RunRecord

__all__ = [
    "Members",
    "Run",
    "containers",
    "counts",
    "critical_inside",
    "critical_path",
    "critical_shares",
    "duration",
    "is_stage",
    "members",
    "ordered",
    "serial_seconds",
    "snapshot",
    "span_of",
    "time_text",
    "wait",
]

# Nodes by the group that brought them.
Members = Mapping[str, Sequence[NodeRecord]]


class Run(Protocol):
    """
    Tell what became of a run so far: `RunResult` and `RunRecord` both do.
    """

    @property
    def name(self) -> str:
        """
        The graph's name.
        """
        ...

    @property
    def run_id(self) -> str:
        """
        The run's own name.
        """
        ...

    @property
    def status(self) -> str | None:
        """
        How it ended; None while it goes on.
        """
        ...

    @property
    def started_at(self) -> float | None:
        """
        When it began, on the run's clock.
        """
        ...

    @property
    def ended_at(self) -> float | None:
        """
        When it ended; None while it goes on.
        """
        ...

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        """
        Its nodes by id.
        """
        ...


def snapshot(run: Run) -> RunRecord:
    """
    Return the run as it is now, its nodes in a dict: a result makes each record anew whenever it is asked for.
    """
    if isinstance(run, RunRecord):
        return run
    return RunRecord(run.run_id, run.name, run.status, run.started_at, run.ended_at, dict(run.nodes))


# -- one node


def time_text(seconds: float | None) -> str:
    """
    Write a duration for people: about three digits, in the unit that suits it.
    """
    if seconds is None:
        return ""
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 9.95 or milliseconds == 0 else f"{milliseconds:.2g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def duration(node: NodeRecord, until: float | None = None) -> float | None:
    """
    Return the seconds from its first start to its end, or to *until* if it has not ended; None if it never started.
    """
    ended_at = until if node.ended_at is None else node.ended_at
    if node.started_at is None or ended_at is None:
        return None
    return max(ended_at - node.started_at, 0.0)


def wait(node: NodeRecord, until: float | None = None) -> float | None:
    """
    Return the seconds for which it could have started and had not yet; None if it never could.
    """
    if node.ready_at is None:
        return None
    for end in (node.started_at, node.ended_at, until):
        if end is not None:
            return max(end - node.ready_at, 0.0)
    return None


# -- the run as a whole


def span_of(run: Run) -> tuple[float, float]:
    """
    Return when the run began and ended; for what is not known, the first or last instant of its nodes.
    """
    started_at, ended_at = run.started_at, run.ended_at
    if started_at is None or ended_at is None:
        instants = [
            at
            for node in run.nodes.values()
            for at in (node.ready_at, node.started_at, node.ended_at)
            if at is not None
        ]
        started_at = min(instants, default=0.0) if started_at is None else started_at
        ended_at = max([started_at, *instants]) if ended_at is None else ended_at
    return started_at, ended_at


def counts(nodes: Iterable[NodeRecord]) -> dict[str, int]:
    """
    Count nodes by state.
    """
    found: dict[str, int] = {}
    for node in nodes:
        found[node.state] = found.get(node.state, 0) + 1
    return found


def members(run: Run) -> dict[str, list[NodeRecord]]:
    """
    List the nodes by the group that brought them, the run's own under "".

    The order is that of definition, and within a mapped stage that of its items, whatever the order in which they came.
    """
    nodes = run.nodes
    found: dict[str, list[NodeRecord]] = {}
    for node in nodes.values():
        group = node.group if node.group in nodes and node.group != node.id else ""
        found.setdefault(group, []).append(node)
    for group, inside in found.items():
        if group and len(inside) > 1:
            inside.sort(key=_place(group))
    return found


def _place(group: str) -> Callable[[NodeRecord], tuple[int, int, str]]:
    """
    Sort the instances of a mapped stage by their number, or by the key that they have instead; all others stay.
    """
    prefix = f"{group}["

    def place(node: NodeRecord) -> tuple[int, int, str]:
        if not node.id.startswith(prefix):
            return 0, 0, ""
        key = node.id[len(prefix) : -1]
        is_number = key.isascii() and key.isdecimal() and len(key) < 19
        return (1, int(key), "") if is_number else (2, 0, key)

    return place


def ordered(inside: Members) -> list[NodeRecord]:
    """
    List the nodes in an order that does not depend on when they came: each before those that it brought.

    *inside* is `members(run)`.
    """
    found: list[NodeRecord] = []
    todo = [*reversed(inside.get("", ()))]
    while todo:
        node = todo.pop()
        found.append(node)
        todo += reversed(inside.get(node.id, ()))
    return found


def containers(run: Run) -> dict[str, list[NodeRecord]]:
    """
    Return the nodes that brought others (nested graphs, mapped stages, bodies that ran more), each with those.
    """
    found = members(run)
    found.pop("", None)
    return found


def serial_seconds(run: Run) -> float:
    """
    Say how long the run would have taken one node after the other: the sum of what its nodes took.

    What a node spent on those that it brought is counted with them, not with it.
    """
    until = span_of(run)[1]
    inside = containers(run)
    total = 0.0
    for node in run.nodes.values():
        seconds = duration(node, until)
        if seconds:
            total += seconds - _covered(node, inside[node.id], until) if node.id in inside else seconds
    return total


def _covered(node: NodeRecord, inside: Sequence[NodeRecord], until: float) -> float:
    """
    Return for how many of its seconds at least one of the nodes that *node* brought was ready, running or backing off.
    """
    first = node.started_at or 0.0
    last = until if node.ended_at is None else node.ended_at
    spans = sorted(
        (each.ready_at, until if each.ended_at is None else each.ended_at)
        for each in inside
        if each.ready_at is not None
    )
    covered, reached = 0.0, first
    for start, end in spans:
        end = min(end, last)
        if end > reached:
            covered += end - max(start, reached)
            reached = end
    return covered


# -- what the run waited for


def critical_path(
    run: Run, group: str = "", inside: Mapping[str, Sequence[NodeRecord]] | None = None
) -> tuple[str, ...]:
    """
    Walk back from the node that ended last, over the upstream that ended last before each became ready.

    It is that of the run's own nodes, or of those that *group* brought; *inside* is `members(run)`, if at hand.
    """
    inside = members(run) if inside is None else inside
    last = _last(inside.get(group, ()), inside)
    path: list[str] = []
    known = set()
    while last is not None and last.id not in known:
        known.add(last.id)
        path.append(last.id)
        last = _last(_causes(run.nodes, inside, last), inside)
    return tuple(reversed(path))


def _last(candidates: Iterable[NodeRecord], inside: Members) -> NodeRecord | None:
    """
    Return the node that ended last, of several the one that was defined first.
    """
    ended = [node for node in candidates if node.ended_at is not None and node.attempts]
    latest = max((node.ended_at or 0.0 for node in ended), default=0.0)
    of_these = {node.id: node for node in ended if node.ended_at == latest}
    if len(of_these) < 2:
        return next(iter(of_these.values()), None)
    group = next(iter(of_these.values())).group
    return next((node for node in inside.get(group, ()) if node.id in of_these), next(iter(of_these.values())))


def _causes(nodes: Mapping[str, NodeRecord], inside: Members, node: NodeRecord) -> Iterator[NodeRecord]:
    for name in node.upstream:
        before = nodes.get(name)
        if before is None or before.ended_at is None:
            continue
        # A stage that feeds another one item by item ends while that one runs.
        is_fed = is_stage(inside, node.id) and is_stage(inside, name)
        limit = node.ended_at if is_fed else node.ready_at
        if limit is not None and before.ended_at <= limit:
            yield before


def is_stage(inside: Members, name: str) -> bool:
    """
    Tell whether what a node brought are the instances of a mapped stage; *inside* is `members(run)`.
    """
    found = inside.get(name, ())
    return len(found) > 0 and found[0].id.startswith(f"{name}[")


def critical_inside(run: Run) -> dict[str, str]:
    """
    Return every node that the run waited for, also inside groups, with the one before it on its path, or "".
    """
    inside = members(run)
    found: dict[str, str] = {}
    todo, known = [""], {""}
    while todo:
        before = ""
        for name in critical_path(run, todo.pop(), inside):
            found[name] = before
            before = name
            if name in inside and name not in known:
                known.add(name)
                todo.append(name)
    return found


def critical_shares(run: Run, path: Sequence[str]) -> dict[str, float]:
    """
    Say which part of the makespan each node of *path* stands for: from the end of the one before it to its own.
    """
    first, last = span_of(run)
    makespan = last - first
    shares: dict[str, float] = {}
    reached = first
    for name in path:
        ended_at = run.nodes[name].ended_at
        end = reached if ended_at is None else max(ended_at, reached)
        shares[name] = (end - reached) / makespan if makespan > 0 else 0.0
        reached = end
    return shares
