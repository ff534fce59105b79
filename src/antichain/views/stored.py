"""
Stored runs in words: the list of them, one of them, and one of its nodes. What comes out of a store never drives the
terminal.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from antichain.errors import amount
from antichain.printable import printable
from antichain.record import NodeRecord, describe_error
from antichain.stores.protocol import RunLine
from antichain.stores.record import SpentBudget, StoredQuestion, StoredRun
from antichain.views.figures import time_text
from antichain.views.frame import columns, cut, cut_middle
from antichain.views.waiting import place_text, standing_lines, unlisted_text, when_told

__all__ = [
    "ago",
    "clock_time",
    "fitting",
    "question_text",
    "runs_text",
    "size_text",
    "spent_text",
    "stored_text",
    "why_text",
]

# Lines for nodes, and columns for the name of one.
ROWS: Final = 40
MOST_NAME: Final = 40
LEAST_NAME: Final = 8
LEAST_NOTE: Final = 12
# Names in a sentence.
SHOWN_NAMES: Final = 5
# Earlier failures of a node that are told, and columns for each.
SHOWN_FAILURES: Final = 5
MOST_FAILURE: Final = 160
# What is shown first if there is no room for all.
IMPORTANCE: Final = {
    "failed": 0,
    "asking": 1,
    "backing off": 2,
    "running": 3,
    "ready": 4,
    "cancelled": 5,
    "pending": 6,
    "skipped": 7,
    "succeeded": 8,
}
# In which order states are counted.
STATES: Final = ("succeeded", "failed", "skipped", "asking", "backing off", "running", "ready", "cancelled", "pending")
# How states are called of a run that nobody holds.
AT_REST: Final = {"pending": "not yet", "running": "began"}
SKIPS: Final = {"condition": "its condition said no", "upstream": "what it waits for was skipped"}
FITTING: Final = {
    "bool": "yes or no",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
}


# -- words


def clock_time(at: float | None) -> str:
    """
    Write an instant as it is on the clock here.
    """
    return "?" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def ago(at: float | None, now: float) -> str:
    """
    Say how long ago something was.
    """
    if at is None:
        return "?"
    seconds = now - at
    if seconds < 60:
        # The clock of another machine may be ahead of ours.
        return "just now"
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "just now"


def size_text(count: int) -> str:
    """
    Write a number of bytes for people.
    """
    size = float(max(0, count))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def fitting(question: StoredQuestion) -> str:
    """
    Say what may be answered.
    """
    if question.kind == "choice":
        return " or ".join(printable(choice) for choice in question.choices)
    return FITTING.get(question.kind, "")


def question_text(question: StoredQuestion, limit: int | None = 200) -> str:
    """
    Show a question in one line, and what may be answered.
    """
    what = fitting(question)
    return printable(" ".join(question.text.split()), limit) + (f" ({what})" if what else "")


def _error_line(error: BaseException) -> str:
    told = describe_error(error)
    kind = str(getattr(error, "type_name", told["type"])).rpartition(".")[2]
    message = " ".join(str(getattr(error, "message", told["message"])).split())
    return printable(f"{kind}: {message}" if message else kind)


# -- the list of runs


def runs_text(lines: Sequence[RunLine], now: float, width: int, waits: Mapping[str, str] = MappingProxyType({})) -> str:
    """
    Make a table of runs. Ids are never cut: they are there to be copied.

    Args:
        waits: what runs that have paused wait for, by id, as far as it is known.
    """
    rows = [("run", "graph", "status", "nodes", "changed", "size")]
    rows += [
        (
            printable(line.run_id),
            printable(line.graph),
            printable(line.status, 20) + (f": {waits[line.run_id]}" if line.run_id in waits else ""),
            f"{line.succeeded:,}",
            ago(line.updated_at, now),
            size_text(line.size_bytes),
        )
        for line in lines
    ]
    wide = [max(columns(row[at]) for row in rows) for at in range(6)]
    # What is too long is taken from the name of the graph.
    wide[1] = min(wide[1], max(LEAST_NAME, width - sum(wide) + wide[1] - 10))
    found = []
    for row in rows:
        cells = [_padded(cut_middle(cell, wide[at]), wide[at], at in (3, 5)) for at, cell in enumerate(row)]
        found.append("  ".join(cells).rstrip())
    return "\n".join(found)


def _padded(text: str, width: int, is_right: bool) -> str:
    space = " " * (width - columns(text))
    return space + text if is_right else text + space


# -- one run


def stored_text(run: StoredRun, now: float, width: int, following: Sequence[str] = ()) -> str:
    """
    Show a run: how it stands, a line for each of its nodes while they are few, and what to do next.

    Args:
        following: lines that may be pasted to go on.
    """
    record = run.record
    head = f"{printable(record.run_id)}: {cut_middle(printable(record.name), MOST_NAME)}, {printable(run.status, 20)}"
    lines = [head, *_about(run, now, width), "", *_table(run, now, width)]
    lines += _asked(run, width)
    for number, line in enumerate(following):
        lines += ["", f"  next  {line}"] if not number else [f"        {line}"]
    return "\n".join(lines)


def _asked(run: StoredRun, width: int) -> Iterator[str]:
    """
    Show the questions in full: somebody decides by them.
    """
    for number, question in enumerate(run.questions[:SHOWN_NAMES]):
        text = f"{printable(question.node)}: {question_text(question, None)}"
        for at, line in enumerate(textwrap.wrap(text, width - 10, break_on_hyphens=False)):
            if not number and not at:
                yield ""
            yield f"{'  asks  ' if not number and not at else ' ' * 8}{'' if not at else '  '}{line}"


def spent_text(spent: SpentBudget) -> str:
    """
    Say which budget is used up, to go on after "because".
    """
    return f"its budget is used up: {amount(spent.used)} {printable(spent.unit)} of {amount(spent.limit)}"


def _about(run: StoredRun, now: float, width: int) -> Iterator[str]:
    if run.target:
        yield f"  runs     {cut_middle(printable(run.target, None), max(20, width - 11))}"
    yield f"  started  {clock_time(run.created_at)} ({ago(run.created_at, now)})"
    if run.updated_at != run.created_at:
        yield f"  changed  {clock_time(run.updated_at)} ({ago(run.updated_at, now)})"
    if run.spent is not None:
        yield f"  stopped  because {spent_text(run.spent)}"
    counts = run.counts()
    told = ", ".join(f"{counts[each]:,} {_state(each, run)}" for each in STATES if each in counts)
    yield f"  nodes    {told or 'none yet'}"
    for number, line in enumerate(() if run.standing is None else standing_lines(run.standing, now)):
        for at, part in enumerate(textwrap.wrap(line, width - 11, break_on_hyphens=False)):
            yield f"  {'waits' if not number and not at else '     '}    {part}"


def _state(state: str, run: StoredRun) -> str:
    return state if run.is_owned else AT_REST.get(state, state)


def _table(run: StoredRun, now: float, width: int) -> Iterator[str]:
    nodes = list(run.record.nodes.values())
    chosen = set(sorted(range(len(nodes)), key=lambda at: (IMPORTANCE.get(nodes[at].state, 4), at))[:ROWS])
    # The first one of each, in the order in which they were asked.
    questions = {each.node: each for each in reversed(run.questions)}
    rows = [
        (printable(node.id), _state(node.state, run), _tries(node), _seconds(node), _note(run, node, questions, now))
        for at, node in enumerate(nodes)
        if at in chosen
    ]
    if not rows:
        return
    name = min(MOST_NAME, max(columns(row[0]) for row in rows))
    state = max(columns(row[1]) for row in rows)
    tries, seconds = max(columns(row[2]) for row in rows), max(columns(row[3]) for row in rows)
    others = state + tries + seconds + 2 * (2 + (tries > 0) + (seconds > 0))
    name = min(name, max(LEAST_NAME, width - others))
    room = width - name - others - 2
    for row in rows:
        cells = [_padded(cut_middle(row[0], name), name, False), _padded(row[1], state, False)]
        cells += [_padded(row[2], tries, True)] if tries else []
        cells += [_padded(row[3], seconds, True)] if seconds else []
        line = "  " + "  ".join(cells)
        if room >= LEAST_NOTE:
            yield f"{line}  {cut(row[4], room)}".rstrip()
        else:
            yield line.rstrip()
            if row[4]:
                yield f"    {cut(row[4], width - 4)}"
    if len(nodes) > len(rows):
        rest: dict[str, int] = {}
        for at, node in enumerate(nodes):
            if at not in chosen:
                rest[node.state] = rest.get(node.state, 0) + 1
        told = ", ".join(f"{rest[each]:,} {_state(each, run)}" for each in STATES if each in rest)
        yield f"  … and {len(nodes) - len(rows):,} more: {told}"


def _tries(node: NodeRecord) -> str:
    return f"{node.attempts:,} tries" if node.attempts > 1 else ""


def _seconds(node: NodeRecord) -> str:
    if node.started_at is None or node.ended_at is None:
        return ""
    return time_text(max(0.0, node.ended_at - node.started_at))


def _note(run: StoredRun, node: NodeRecord, questions: Mapping[str, StoredQuestion], now: float) -> str:
    if any(each.node == node.id for each in run.answered):
        return "has its answer"
    question = questions.get(node.id)
    if question is not None:
        return question_text(question)
    if node.state == "succeeded":
        return "" if node.reason == "output" else printable(node.reason)
    if node.state == "skipped":
        return printable(node.reason)
    error = "" if node.error is None else _error_line(node.error)
    if node.state == "backing off":
        until = run.until.get(node.id, 0.0)
        again = f"again at {clock_time(until)[-8:]}" if until > now else "again at once"
        return f"{again}; {error}"
    if run.says_of(node):
        return _live_note(run, node, now)
    if node.id in run.in_doubt and not run.is_owned:
        return "how its attempt ended is not known"
    if error or node.state != "pending":
        return error or printable(node.reason)
    if node.id in run.containers:
        return _members_text(run, node.id)
    waits = run.waits_for(node)
    return f"waits for {_names(waits)}" if waits else ""


def _live_note(run: StoredRun, node: NodeRecord, now: float) -> str:
    """
    Say since when a node runs, or for what it waits, as its run has last told.
    """
    standing = run.standing
    assert standing is not None
    if node.id in standing.running:
        return f"for {time_text(max(0.0, now - standing.running[node.id][1]))}"
    return place_text(standing, node, now, is_short=True)


def _members_text(run: StoredRun, name: str) -> str:
    """
    Say how far a nested graph or a map has come.
    """
    states = [node.state for node in run.inside(name)]
    told = [f"{states.count(each):,} {_state(each, run)}" for each in STATES if each in states]
    return f"inside: {', '.join(told)}" if told else ""


def _names(names: Sequence[str]) -> str:
    text = ", ".join(cut_middle(printable(name), MOST_NAME) for name in names[:SHOWN_NAMES])
    return text if len(names) <= SHOWN_NAMES else f"{text} and {len(names) - SHOWN_NAMES:,} more"


# -- one node


def why_text(run: StoredRun, node: NodeRecord, now: float) -> str:
    """
    Say in sentences how a node stands and why, and what a resume does with it.
    """
    return " ".join(_sentences(run, node, now))


def _sentences(run: StoredRun, node: NodeRecord, now: float) -> Iterator[str]:
    name = f"Node {printable(node.id)!r}"
    question = next((each for each in run.questions if each.node == node.id), None)
    if question is not None:
        told = question_text(question, None)
        yield f"{name} waits for an answer since {clock_time(question.asked_at)}: {told}"
        return
    match node.state:
        case "succeeded":
            yield from _after_success(name, node, is_kept=node.id not in run.not_kept)
        case "failed":
            yield f"{name} failed{_when(node)}: {_failure(node)}."
            yield from _before(node)
            yield "A resume runs it again, as it is then: it may be mended before."
        case "skipped":
            told = SKIPS.get(node.reason, f"the reason is: {printable(node.reason)}")
            yield f"{name} was skipped: {told}. A resume leaves it so."
        case "backing off":
            until = run.until.get(node.id, 0.0)
            yield f"Attempt {node.attempts} of {name[0].lower()}{name[1:]} failed: {_failure(node)}."
            yield from _before(node, but_last=True)
            if until > now:
                yield f"The next one starts not before {clock_time(until)}, in {time_text(until - now)}."
            else:
                yield "The next one may start at once."
        case _:
            yield from _unfinished(run, name, node, now)


def _after_success(name: str, node: NodeRecord, *, is_kept: bool) -> Iterator[str]:
    match node.reason:
        case "outputs":
            yield f"{name} was replaced by a value when the run was started: it did not run."
        case "fallback":
            yield f"{name} failed{_when(node)}, and its fallback was taken instead."
        case _:
            yield f"{name} succeeded{_when(node)}."
    yield from _before(node)
    if is_kept:
        yield "What it gave is stored: a resume reuses it, unless the node has changed."
    else:
        yield "What it gave is not stored: a resume makes it again where it is needed."


def _before(node: NodeRecord, *, but_last: bool = False) -> Iterator[str]:
    """
    Say what the attempts raised that another one followed.
    """
    failures = node.retried[:-1] if but_last else node.retried
    if not failures:
        return
    told = [_one_line(str(each)) for each in failures[-SHOWN_FAILURES:]]
    if len(failures) > SHOWN_FAILURES:
        told.insert(0, f"{len(failures) - SHOWN_FAILURES:,} more")
    yield f"Before that failed {'; '.join(told)}."


def _one_line(text: str) -> str:
    return cut(printable(" ".join(text.split())), MOST_FAILURE)


def _unfinished(run: StoredRun, name: str, node: NodeRecord, now: float) -> Iterator[str]:
    if any(each.node == node.id for each in run.answered):
        yield f"{name} has the answer that it waited for; a resume goes on with it."
    elif run.says_of(node):
        yield from _live(run, name, node, now)
    elif node.id in run.in_doubt:
        yield f"An attempt of {name[0].lower()}{name[1:]} began at {clock_time(node.started_at)}."
        if not run.is_owned:
            yield "How it ended is not known: whoever ran it has gone. It is run again only if somebody says so."
    elif node.id in run.containers and (told := _members_text(run, node.id)):
        yield f"{name} has not ended; {told}."
    else:
        waits = run.waits_for(node)
        if waits:
            yield f"{name} has not run: it waits for {_waited(run, waits)}."
        elif run.standing is not None:
            line = run.standing.longer_line_of(node.id, list(run.record.nodes))
            yield f"{name} {unlisted_text(run.standing, line, now)} ({when_told(run.standing, now)})."
        elif run.is_owned:
            # A run tells once it has lasted a second, and not every store keeps that.
            yield (
                f"{name} has everything that it waits for: it runs, or waits for a slot or a rate, and its run has not "
                "told which. progress=True, or antichain run, shows it."
            )
        elif node.upstream:
            yield f"{name} has everything that it waits for, and no end of it is stored."
        else:
            yield f"{name} waits for nothing, and no end of it is stored."
        if node.error is not None:
            yield f"It failed before the run was resumed: {_failure(node)}."
        if run.status == "interrupted" and not waits:
            yield "Whoever ran it has gone, so nothing goes on now."
        if run.spent is not None:
            yield f"The run stopped because {spent_text(run.spent)}."
            yield "What was used counts when it goes on: a resume needs a larger budget, or none."
        elif not run.is_owned and not waits:
            yield "A resume runs it."


def _live(run: StoredRun, name: str, node: NodeRecord, now: float) -> Iterator[str]:
    """
    Say what a node does now, as its run has last told.
    """
    standing = run.standing
    assert standing is not None
    told = when_told(standing, now)
    if node.id in standing.running:
        attempt, since = standing.running[node.id]
        tried = f" in attempt {attempt:,}" if attempt > 1 else ""
        yield f"{name} runs{tried} for {time_text(max(0.0, now - since))} ({told})."
    else:
        yield f"{name} {place_text(standing, node, now)} ({told})."
    yield from _before(node)


def _waited(run: StoredRun, names: Sequence[str]) -> str:
    told = []
    for name in names[:SHOWN_NAMES]:
        node = run.record.nodes.get(name)
        state = "unknown here" if node is None else _standing(run, node)
        told.append(f"{cut_middle(printable(name), MOST_NAME)!r} ({state})")
    text = ", ".join(told)
    return text if len(names) <= SHOWN_NAMES else f"{text} and {len(names) - SHOWN_NAMES:,} more"


def _standing(run: StoredRun, node: NodeRecord) -> str:
    match node.state:
        case "failed":
            return f"failed: {_failure(node)}"
        case "asking":
            return "waits for an answer"
        case "pending" if any(each.node == node.id for each in run.answered):
            return "has its answer"
        case "pending":
            return _members_text(run, node.id) or "has not ended either"
        case _:
            return _state(node.state, run)


def _failure(node: NodeRecord) -> str:
    return printable(node.reason) if node.error is None else _error_line(node.error)


def _when(node: NodeRecord) -> str:
    tried = f" in attempt {node.attempts:,}" if node.attempts > 1 else ""
    took = _seconds(node)
    after = f" after {took}" if took else ""
    return f"{tried} at {clock_time(node.ended_at)}{after}" if node.ended_at is not None else tried
