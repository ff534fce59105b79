"""
What is to be said of a run that is over: how it went, what it waited for, and what to do next.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from antichain.printable import printable
from antichain.record import NodeRecord
from antichain.views.figures import Run, critical_path, critical_shares, serial_seconds, snapshot, span_of, time_text
from antichain.views.frame import UNICODE, Line, Signs, Span, cause_text, columns, cut_middle, fit, limit_text
from antichain.views.look import PAUSING

# Waits below this many seconds are those of the machinery.
LEAST_WAIT: Final = 0.005
# What is worth a word: seconds, and the share of the makespan.
TELLING_SECONDS: Final = 0.1
TELLING_SHARE: Final = 0.1
SHOWN_FAILURES: Final = 5
SHOWN_LIMITS: Final = 4
# Nodes beyond which it would take seconds to work out who waited for what.
MOST_NODES: Final = 200_000
_UNLIMITED: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Step:
    """
    A node that the run waited for, and for how long: since the step before it.
    """

    node: str
    seconds: float


@dataclass(slots=True)
class Waiting:
    """
    Time spent ready, for want of slots of one limit.
    """

    limit: str
    # Over all nodes; and of the critical path's time, how long one of its nodes, or what is inside them, waited.
    seconds: float = 0.0
    nodes: int = 0
    critical: float = 0.0


@dataclass(slots=True)
class Summary:
    """
    A run in figures.
    """

    status: str
    makespan: float
    states: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0
    # Outputs that were taken from a store.
    reused: int = 0
    # Attempts after the first, and the nodes that made them.
    retries: int = 0
    retried: int = 0
    # Time that nodes took, without those that only waited for others inside them.
    work: float = 0.0
    path: list[Step] = field(default_factory=list)
    waits: list[Waiting] = field(default_factory=list)
    failed: list[NodeRecord] = field(default_factory=list)
    cancelled_by: Counter[str] = field(default_factory=Counter)
    abandoned: list[str] = field(default_factory=list)


def summarize(record: Run, sizes: Mapping[str, int] | None = None, timed: Collection[str] = ()) -> Summary:
    """
    Read the figures of a run from its record.

    A node's time is that from its first start to its end, pauses between attempts included. A limit is taken for the
    cause of a node's wait if it was full in the middle of it; if none was, and as many nodes ran as may, the cause is
    `max_concurrent`.

    Args:
        sizes: of the limits, and of `max_concurrent` if there was one. Of a limit that is not named, or if none is
            known, the most that was ever used at once is taken for its size.
        timed: limits that open by time, as rates: they are the cause where a node uses one and nothing else was full.
    """
    run = snapshot(record)
    start, end = span_of(run)
    nodes = list(run.nodes.values())
    groups = {node.group for node in nodes if node.group}
    summary = Summary(run.status or "", end - start, work=serial_seconds(run))
    for node in nodes:
        _count(summary, node)
    # A container fails with the error of what failed inside it.
    inside = {id(node.error) for node in summary.failed if node.id not in groups}
    summary.failed = [node for node in summary.failed if node.id not in groups or id(node.error) not in inside]
    path = critical_path(run)
    summary.path = [Step(node, share * summary.makespan) for node, share in critical_shares(run, path).items()]
    if len(nodes) <= MOST_NODES:
        summary.waits = _waits(nodes, groups, _inside(run.nodes, set(path)), sizes, timed)
    return summary


def _count(summary: Summary, node: NodeRecord) -> None:
    # What a paused run has left for another day is told apart from what somebody cancelled.
    summary.states["paused" if node.reason in PAUSING else node.state] += 1
    if node.reason == "fallback":
        summary.fallbacks += 1
    elif node.reason == "checkpoint":
        summary.reused += 1
    if node.attempts > 1:
        summary.retries += node.attempts - 1
        summary.retried += 1
    if node.state == "failed":
        summary.failed.append(node)
    elif node.state == "cancelled":
        summary.cancelled_by[node.reason] += 1
    if node.abandoned:
        summary.abandoned.append(node.id)


def _inside(nodes: Mapping[str, NodeRecord], path: set[str]) -> set[str]:
    """
    List the containers that are on the critical path or inside one that is, and the other nodes of the path.
    """
    known = dict.fromkeys(path, True)

    def is_inside(name: str) -> bool:
        chain = []
        while name and name not in known:
            chain.append(name)
            node = nodes.get(name)
            name = node.group if node is not None else ""
        found = known.get(name, False)
        known.update(dict.fromkeys(chain, found))
        return found

    for group in {node.group for node in nodes.values() if node.group}:
        is_inside(group)
    return {name for name, found in known.items() if found}


# -- who waited for what

_ENDS: Final = 0
_STARTS: Final = 1
_LOOKS: Final = 2


def _waits(
    nodes: Sequence[NodeRecord],
    containers: set[str],
    critical: set[str],
    sizes: Mapping[str, int] | None,
    timed: Collection[str],
) -> list[Waiting]:
    """
    Add up who waited for which limit.
    """
    if not any(map(_has_waited, nodes)):
        return []
    moments: list[tuple[float, int, int]] = []
    for at, node in enumerate(nodes):
        if node.id in containers or node.started_at is None or node.ended_at is None:
            continue
        moments += [(node.started_at, _STARTS, at), (node.ended_at, _ENDS, at)]
        if _has_waited(node):
            assert node.ready_at is not None
            moments.append(((node.ready_at + node.started_at) / 2, _LOOKS, at))
    moments.sort()
    # A node that was tried again held nothing between its attempts: it tells nothing of how much there was.
    steady = [each for each in moments if each[1] != _LOOKS and nodes[each[2]].attempts == 1]
    used: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for _, kind, at in steady:
        _charge(used, nodes[at], 1 if kind == _STARTS else -1)
        for limit, _ in (*nodes[at].uses, ("", 1)):
            most[limit] = max(most[limit], used[limit])
    used.clear()
    if sizes is not None:
        for name, size in {"": _UNLIMITED, **sizes}.items():
            most["" if name == "max_concurrent" else name] = size
    waits: dict[str, Waiting] = {}
    held: dict[str, list[tuple[float, float]]] = {}
    for _, kind, at in moments:
        node = nodes[at]
        if kind != _LOOKS:
            _charge(used, node, 1 if kind == _STARTS else -1)
            continue
        assert node.ready_at is not None
        assert node.started_at is not None
        for limit in _blockers(node, used, most, timed):
            waiting = waits.setdefault(limit, Waiting(limit))
            waiting.seconds += node.started_at - node.ready_at
            waiting.nodes += 1
            if node.id in critical or node.group in critical:
                insort(held.setdefault(limit, []), (node.ready_at, node.started_at))
    for limit, spells in held.items():
        waits[limit].critical = _union(spells)
    return sorted(waits.values(), key=lambda each: (-each.critical, -each.seconds))


def _has_waited(node: NodeRecord) -> bool:
    return node.ready_at is not None and node.started_at is not None and node.started_at - node.ready_at >= LEAST_WAIT


def _charge(used: Counter[str], node: NodeRecord, sign: int) -> None:
    # All that run count under the empty name.
    for limit, weight in (*node.uses, ("", 1)):
        used[limit] += sign * weight


def _blockers(node: NodeRecord, used: Counter[str], most: Counter[str], timed: Collection[str]) -> list[str]:
    found = [limit for limit, weight in node.uses if limit not in timed and used[limit] + weight > most[limit]]
    if not found and used[""] >= most[""]:
        return ["max_concurrent"]
    return found or [limit for limit, _ in node.uses if limit in timed]


def _union(spells: Iterable[tuple[float, float]]) -> float:
    """
    Measure the time that sorted spells cover together.
    """
    total, until = 0.0, float("-inf")
    for start, end in spells:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


# -- in words


def summary_lines(summary: Summary, width: int, signs: Signs = UNICODE) -> list[Line]:
    """
    Say in a few lines how a run went and what to do next.
    """
    if not summary.states:
        return []
    sections: list[tuple[str, list[Line]]] = [
        ("nodes", [_states_line(summary)]),
        ("speed-up", _speed_lines(summary)),
        ("critical", _path_lines(summary, width - 11, signs)),
        ("waits", _wait_lines(summary)),
        ("retries", _retry_lines(summary)),
        ("failed", _failed_lines(summary)),
        ("abandoned", _abandoned_lines(summary)),
        ("next", [(Span(text),) for text in _wrapped(next_step(summary), width - 11)]),
    ]
    lines: list[Line] = []
    for name, rest in sections:
        style = {"failed": "bad", "abandoned": "bad", "next": "name"}.get(name, "dim")
        for at, line in enumerate(rest):
            lines.append(fit((Span(f"{'' if at else name:>9}  ", style), *line), width, signs.ellipsis))
    return lines


def _states_line(summary: Summary) -> Line:
    styles = {"succeeded": "good", "failed": "bad", "skipped": "warn", "cancelled": "warn", "paused": "warn"}
    spans: list[Span] = []
    for state, style in styles.items():
        if summary.states[state]:
            spans += [Span(", ")] if spans else []
            spans.append(Span(f"{summary.states[state]:,} {state}", style))
            told = [f"{summary.fallbacks:,} by a fallback"] if summary.fallbacks else []
            told += [f"{summary.reused:,} reused"] if summary.reused else []
            if state == "succeeded" and told:
                spans.append(Span(f" ({', '.join(told)})"))
    return (*spans, Span(f" in {time_text(summary.makespan)}"))


def _speed_lines(summary: Summary) -> list[Line]:
    # What was reused took its time on another day.
    if summary.reused or summary.makespan <= 0 or summary.work < TELLING_SECONDS or sum(summary.states.values()) < 2:
        return []
    times = summary.work / summary.makespan
    figure = f"{times:.1f}" if times < 99.5 else f"{times:,.0f}"
    told = f"{figure} times as fast as" if times >= 1.05 else "no faster than"
    return [(Span(f"{told} one node after another: {time_text(summary.work)} of work"),)]


def _path_lines(summary: Summary, width: int, signs: Signs) -> list[Line]:
    """
    Show the critical path in one line. From the middle of one that is too long the shortest steps are left out.
    """
    path, makespan = summary.path, summary.makespan
    if len(path) < 2 or makespan < TELLING_SECONDS:
        return []
    arrow = " → " if signs is UNICODE else " > "
    inner = sorted(range(1, len(path) - 1), key=lambda at: -path[at].seconds)[:width]
    text = ""
    # With seconds or without, and with as many steps of the middle as there is room for.
    for kept, has_seconds in [(len(inner), True), *((kept, False) for kept in range(len(inner), -1, -1))]:
        shown = sorted({0, len(path) - 1, *inner[:kept]})
        steps: list[str] = []
        for before, at in zip([-1, *shown], shown, strict=False):
            steps += [signs.ellipsis] if at > before + 1 else []
            steps.append(_step_text(path[at], makespan, max(12, width // 3), signs, has_seconds=has_seconds))
        text = arrow.join(steps)
        if columns(text) <= width:
            break
    return [(Span(text),)]


def _step_text(step: Step, makespan: float, width: int, signs: Signs, *, has_seconds: bool) -> str:
    name = cut_middle(printable(step.node), width, signs.ellipsis)
    return f"{name} {f'{time_text(step.seconds)} ' if has_seconds else ''}{100 * step.seconds / makespan:.0f}%"


def _wait_lines(summary: Summary) -> list[Line]:
    lines: list[Line] = []
    for wait in summary.waits[:SHOWN_LIMITS]:
        nodes = f"{wait.nodes:,} node{'s' * (wait.nodes != 1)}"
        text = f"{limit_text(wait.limit)}: {nodes} x {time_text(wait.seconds / wait.nodes)}"
        held = f"; critical path {time_text(wait.critical)}" if wait.critical >= LEAST_WAIT else ""
        lines.append((Span(text), Span(held)))
    return lines


def _retry_lines(summary: Summary) -> list[Line]:
    if not summary.retries:
        return []
    attempts = f"{summary.retries:,} attempt{'s' * (summary.retries != 1)} made again"
    nodes = f", in {summary.retried:,} node{'s' * (summary.retried != 1)}" if summary.retried else ""
    return [(Span(f"{attempts}{nodes}"),)]


def _failed_lines(summary: Summary) -> list[Line]:
    lines: list[Line] = [
        (Span(f"{printable(node.id)}: ", "name"), Span(cause_text(node.error, node.reason)))
        for node in summary.failed[:SHOWN_FAILURES]
    ]
    if len(summary.failed) > SHOWN_FAILURES:
        lines.append((Span(f"and {len(summary.failed) - SHOWN_FAILURES:,} more"),))
    return lines


def _abandoned_lines(summary: Summary) -> list[Line]:
    return [(Span(_names(summary.abandoned)),)] if summary.abandoned else []


def _names(names: Sequence[str], most: int = 3) -> str:
    text = ", ".join(printable(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most:,} more"


def _wrapped(text: str, width: int) -> Iterator[str]:
    """
    Break a sentence of ours, with names in it, into lines.
    """
    line = ""
    for word in text.split(" "):
        if line and columns(line) + 1 + columns(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield line


def next_step(summary: Summary) -> str:
    """
    Choose the one thing to do next, by what the figures show; empty if they show nothing.

    What did not go well comes first: abandoned work, failures, a deadline. Then the limit that held the critical path
    for a tenth of the run or more; else that more slots will not help, and what the path is made of.
    """
    if summary.abandoned:
        return (
            "What was abandoned did not end when it was asked to, and may still be at work: give the calls in it "
            "timeouts of their own."
        )
    if summary.failed:
        return _after_failure(summary)
    if summary.cancelled_by["deadline"]:
        return "The deadline came first: raise deadline=, or shorten the critical path."
    if summary.status in ("cancelled", "paused") or summary.reused or summary.makespan < TELLING_SECONDS:
        return ""
    worst = max(summary.waits, key=attrgetter("critical"), default=None)
    if worst is not None and worst.critical >= max(TELLING_SECONDS, TELLING_SHARE * summary.makespan):
        return _raise_limit(worst)
    return _shorten_path(summary)


def _after_failure(summary: Summary) -> str:
    name = printable(summary.failed[0].id)
    lost = summary.cancelled_by["run"]
    if summary.status == "failed" and lost:
        return (
            f"Look at {name} first; antichain run --debug shows its traceback. {lost:,} other "
            f'node{"s were" if lost != 1 else " was"} stopped because of a failure: on_error="continue" keeps going '
            "with all that does not depend on it."
        )
    skipped = summary.states["skipped"]
    rest = f" {skipped:,} node{'s' * (skipped != 1)} could not start without what failed." if skipped else ""
    return f"Look at {name} first; antichain run --debug shows its traceback.{rest}"


def _raise_limit(wait: Waiting) -> str:
    stage, _, last = wait.limit.rpartition(".")
    if stage and last == "max_concurrent":
        what = f"max_concurrent of {printable(stage)}"
    elif wait.limit in ("max_concurrent", ""):
        what = "max_concurrent"
    elif wait.limit == "thread":
        what = 'The number of threads (limits={"thread": n})'
    else:
        what = f"Limit {printable(wait.limit)!r}"
    return (
        f"{what} held the critical path for {time_text(wait.critical)}: raise it, if what is behind it can take more."
    )


def _shorten_path(summary: Summary) -> str:
    if not summary.path:
        return ""
    longest = max(summary.path, key=attrgetter("seconds"))
    share = 100 * longest.seconds / summary.makespan
    waited = "Hardly anything on the critical path waited" if summary.waits else "Nothing waited"
    return (
        f"{waited} for a slot, so more slots will not help: {printable(longest.node)} took {share:.0f}% of the time. "
        "Make it faster, or split it."
    )
