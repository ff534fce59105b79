"""
A stored run as a record: what its journal says of every node, folded, for whoever looks at it. Nothing here runs or
resumes anything, and nothing is believed that is not in the journal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from antichain.errors import StoreDamaged
from antichain.record import NodeRecord, RunRecord, failed_attempt
from antichain.stores.codec import decode, decode_error
from antichain.stores.paths import is_within
from antichain.stores.protocol import Fact, FactKind, Journal
from antichain.stores.standing import Standing, read_standing

__all__ = ["SpentBudget", "StoredQuestion", "StoredRun", "record_of", "stored_run"]

# The last second that a date can have.
LATEST: Final = 253_402_300_799.0
KINDS: Final = frozenset({"bool", "str", "int", "float", "choice"})
# Nodes that a header may tell of, however often its graphs are nested in each other.
MOST_NODES: Final = 200_000
# States of nodes that will not run again unless somebody edits them.
DONE: Final = frozenset({"succeeded", "skipped"})


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """
    A question of a node, as it was put.
    """

    node: str
    # Counts the questions of the node, from 1; 0 asks what to do about an attempt of which nobody knows what became.
    number: int
    # Nobody has made it safe to print.
    text: str
    # bool, str, int, float or choice; empty if what is stored cannot be read.
    kind: str = "str"
    choices: tuple[str, ...] = ()
    asked_at: float | None = None


class SpentBudget(NamedTuple):
    """
    Which budget has stopped a run.
    """

    # Nobody has made it safe to print.
    unit: str
    used: float
    limit: float


@dataclass(frozen=True, slots=True)
class StoredRun:
    """
    What a store knows of a run.
    """

    record: RunRecord
    # How it stands: running, interrupted, or how it ended.
    status: str
    target: str = ""
    created_at: float | None = None
    # When the last fact was committed.
    updated_at: float | None = None
    # Somebody who is alive holds it.
    is_owned: bool = False
    # That nobody has answered, and those that have an answer which no owner has used yet.
    questions: tuple[StoredQuestion, ...] = ()
    answered: tuple[StoredQuestion, ...] = ()
    # Wall-clock seconds before which the next attempt of a node does not start.
    until: Mapping[str, float] = field(default_factory=dict)
    # Nodes of which it is known that an attempt began, and not how it ended.
    in_doubt: tuple[str, ...] = ()
    # Nodes that succeeded and whose output is not kept, if payloads were read.
    not_kept: frozenset[str] = frozenset()
    # Nested graphs and maps: what ends in them is stored, not they.
    containers: frozenset[str] = frozenset()
    # Which budget has stopped it, of a run that has paused because one is used up.
    spent: SpentBudget | None = None
    # What the run waits for, as its owner has last told; None if nobody holds it, or that one has told nothing.
    standing: Standing | None = None

    def waits_for(self, node: NodeRecord) -> list[str]:
        """
        List what a node waits for, as far as it has not ended well.
        """
        return [name for name in node.upstream if self._state_of(name) not in DONE]

    def question_before(self, node: NodeRecord) -> StoredQuestion | None:
        """
        Return an open question without whose answer a node cannot run: its own, or that of what it waits for.
        """
        asking = {each.node: each for each in reversed(self.questions)}
        # A dict is a set that keeps its order.
        left = {node.id: None}
        names = [node.id]
        for name in names:  # grows while it is read
            if name in asking:
                return asking[name]
            known = self.record.nodes.get(name)
            if known is None or known.state in DONE:
                continue
            inside = [each.id for each in self.inside(name)] if name in self.containers else []
            more = [each for each in (*known.upstream, *inside) if each not in left]
            left.update(dict.fromkeys(more))
            names += more
        return None

    def says_of(self, node: NodeRecord) -> bool:
        """
        Tell whether the owner has told what a node does that has not ended.
        """
        told = self.standing
        return (
            told is not None
            and node.state in ("ready", "running")
            and (node.id in told.running or told.line_of(node.id) is not None)
        )

    def _state_of(self, name: str) -> str:
        node = self.record.nodes.get(name)
        return "" if node is None else node.state

    def inside(self, name: str) -> list[NodeRecord]:
        """
        List the nodes that a container, or a running body, has brought.
        """
        begins = (f"{name}/", f"{name}[")
        return [node for node in self.record.nodes.values() if node.id.startswith(begins)]

    def counts(self) -> dict[str, int]:
        """
        Count the nodes by state.
        """
        found: dict[str, int] = {}
        for node in self.record.nodes.values():
            found[node.state] = found.get(node.state, 0) + 1
        return found


def record_of(journal: Journal) -> RunRecord:
    """
    Fold the facts of a stored run into a record; its times are wall-clock seconds since 1970.

    A node that has no fact is pending if the run's header names it, and unknown otherwise. A node that waits for its
    next attempt is "backing off", one that waits for a person is "asking". What failed before the run was last resumed
    is pending again, with the error it had.
    """
    return stored_run(journal).record


def stored_run(journal: Journal) -> StoredRun:
    """
    Fold a journal into all that can be said of the run without running it.
    """
    fold = _Fold(_wiring_of(journal.header.wiring))
    for fact in journal.facts:
        fold.add(fact)
    # Of somebody who is gone it is not known what becomes of what waited.
    standing = read_standing(journal.standing) if journal.is_owned else None
    fold.infer(standing)
    return replace(fold.run(journal), standing=standing)


class _Fold:
    """
    Read facts in the order in which they were committed.
    """

    def __init__(self, wiring: dict[str, _Wired]) -> None:
        self.wiring = wiring
        self.nodes = {name: NodeRecord(name, upstream=wired.upstream) for name, wired in wiring.items()}
        # By node and number; those of a node that has ended since are dropped.
        self.questions: dict[tuple[str, int], StoredQuestion] = {}
        self.answered: dict[tuple[str, int], StoredQuestion] = {}
        # The numbers of both, by node.
        self.numbers: dict[str, list[int]] = {}
        self.until: dict[str, float] = {}
        self.in_doubt: dict[str, None] = {}
        self.not_kept: dict[str, None] = {}
        # Many are forgotten at once, and each alone would take a look at every node.
        self.forgotten: set[str] = set()
        self.status: str | None = None
        self.ended_at: float | None = None
        self.spent: SpentBudget | None = None
        self.last_at: float | None = None
        self.count = 0

    def add(self, fact: Fact) -> None:
        self.count += 1
        at = _instant(fact.at)
        if at is not None:
            self.last_at = at
        if fact.kind is FactKind.FORGOTTEN:
            self.forgotten.add(fact.node)
            return
        if self.forgotten:
            self._forget()
        match fact.kind:
            case FactKind.RESUMED:
                self._resume()
            case FactKind.ENDED:
                self.status, self.ended_at = fact.reason or "cancelled", at
                self.spent = _spent(fact)
            case FactKind.ASKED:
                self._ask(fact, at)
            case FactKind.ANSWERED:
                question = self.questions.pop((fact.node, fact.attempt), None)
                if question is not None:
                    self.answered[fact.node, fact.attempt] = question
                    if not any((fact.node, number) in self.questions for number in self.numbers[fact.node]):
                        self._put(fact.node, state="pending")
            case FactKind.STARTED:
                # It begins at its top: what it asked, it asks again.
                self._settle(fact.node)
                self.in_doubt[fact.node] = None
                self._put(fact.node, state="running", attempts=_count(fact.attempt), started_at=at)
            case FactKind.SUCCEEDED | FactKind.FAILED | FactKind.SKIPPED | FactKind.RETRYING:
                self._ended(fact, at)
            case FactKind.USED:
                pass

    def _put(self, name: str, **changes: Any) -> None:  # Any: fields of a record
        node = self.nodes.get(name) or NodeRecord(name)
        self.nodes[name] = replace(node, **changes)

    def _ended(self, fact: Fact, at: float | None) -> None:
        """
        See the end of an attempt, or of a node.
        """
        self._settle(fact.node)
        known = self.nodes.get(fact.node)
        if known is not None and known.state == "failed":
            # What had brought it is tried again, and has brought it again.
            known = self.nodes[fact.node] = _again(known)
        seconds = fact.seconds if math.isfinite(fact.seconds) and fact.seconds >= 0 else 0.0
        # What waited too long for its next attempt has begun none.
        is_next = known is None or fact.attempt > known.attempts
        has_begun = fact.attempt and (is_next or fact.reason != "timeout")
        began = at - seconds if at is not None and has_begun else None
        first = known.started_at if known is not None and known.started_at is not None else began
        attempts = _count(fact.attempt)
        match fact.kind:
            case FactKind.SUCCEEDED:
                if fact.payload is None:
                    self.not_kept[fact.node] = None
                self._put(
                    fact.node, state="succeeded", reason=fact.reason or "output", attempts=attempts, error=None,
                    started_at=first, ended_at=at,
                )  # fmt: skip
            case FactKind.SKIPPED:
                self._put(fact.node, state="skipped", reason=fact.reason or "condition", error=None, ended_at=at)
            case FactKind.FAILED:
                self._put(
                    fact.node, state="failed", reason=fact.reason or "error", attempts=attempts, started_at=first,
                    ended_at=at, error=_error(fact.payload),
                )  # fmt: skip
            case _:
                self.until[fact.node] = _instant(fact.until) or 0.0
                error, earlier = _error(fact.payload), () if known is None else known.retried
                failure = failed_attempt(error, attempts, at, max(0.0, fact.until - fact.at))
                self._put(
                    fact.node, state="backing off", attempts=attempts, started_at=first, error=error,
                    retried=(*earlier, failure),
                )  # fmt: skip

    def _settle(self, name: str) -> None:
        """
        Drop what was only so until the node's attempt ended.
        """
        self.in_doubt.pop(name, None)
        self.not_kept.pop(name, None)
        self.until.pop(name, None)
        for number in self.numbers.pop(name, ()):
            self.questions.pop((name, number), None)
            self.answered.pop((name, number), None)

    def _ask(self, fact: Fact, at: float | None) -> None:
        self.questions[fact.node, fact.attempt] = _question(fact, at)
        self.numbers.setdefault(fact.node, []).append(fact.attempt)
        self.answered.pop((fact.node, fact.attempt), None)
        self._put(fact.node, state="asking")

    def _resume(self) -> None:
        self.status, self.ended_at, self.spent = None, None, None
        for name, node in self.nodes.items():
            if node.state == "failed":
                self.nodes[name] = _again(node)

    def _forget(self) -> None:
        """
        Drop all that is known of nodes, and the nodes that only they have brought into the run.
        """
        for each in [each for each in self.nodes if is_within(each, self.forgotten)]:
            self._settle(each)
            if each in self.wiring:
                self.nodes[each] = NodeRecord(each, upstream=self.wiring[each].upstream)
            else:
                del self.nodes[each]
        self.forgotten.clear()

    def infer(self, standing: Standing | None) -> None:
        """
        Say what follows from what is stored, once all of it is read: a skip travels, and a container has ended when
        what needs it has begun. What the owner says of nodes that have not ended comes before that.
        """
        self._forget()
        if standing is not None:
            self._see(standing)
        after: dict[str, list[str]] = {}
        for name, wired in self.wiring.items():
            for before in wired.upstream:
                after.setdefault(before, []).append(name)
        self._travel(after)
        for name, wired in self.wiring.items():
            if self.nodes[name].state != "pending":
                continue
            if wired.is_container and (
                self.status == "succeeded" or any(self.nodes[each].state != "pending" for each in after.get(name, ()))
            ):
                self._put(name, state="succeeded", reason="output")
            elif self.status == "succeeded":
                self._put(name, state="skipped", reason="upstream")

    def _see(self, standing: Standing) -> None:
        """
        Take in which nodes ran or were ready, as far as no fact says more.
        """
        for name, (attempt, since) in standing.running.items():
            known = self.nodes.get(name)
            if known is None or known.state == "pending" or self._is_due(known, standing):
                started_at = since if known is None or known.started_at is None else known.started_at
                self._put(name, state="running", attempts=_count(attempt), started_at=_instant(started_at))
        for line in standing.waiting:
            for name, since in line.first.items():
                known = self.nodes.get(name)
                if known is None or known.state == "pending" or self._is_due(known, standing):
                    self._put(name, state="ready", ready_at=_instant(since))

    def _is_due(self, node: NodeRecord, standing: Standing) -> bool:
        return node.state == "backing off" and self.until.get(node.id, math.inf) <= standing.at

    def _travel(self, after: Mapping[str, list[str]]) -> None:
        left = [name for name in self.wiring if self.nodes[name].state == "skipped"]
        for before in left:  # grows while it is read
            for name in after.get(before, ()):
                wired = self.wiring[name]
                skipped = [self.nodes[each].state == "skipped" for each in wired.upstream]
                is_skipped = {"all": any(skipped), "any": all(skipped)}.get(wired.join, False)
                if is_skipped and self.nodes[name].state == "pending":
                    self._put(name, state="skipped", reason="upstream")
                    left.append(name)

    def run(self, journal: Journal) -> StoredRun:
        header = journal.header
        for (name, number), question in self.questions.items():
            node = self.nodes[name]
            self.nodes[name] = replace(node, asks=(*node.asks, (number, question.text)))
        record = RunRecord(
            run_id=header.run_id,
            name=header.graph,
            status=self.status,
            started_at=_instant(header.created_at),
            ended_at=self.ended_at,
            nodes=self.nodes,
            seq=self.count,
        )
        return StoredRun(
            record=record,
            status=self.status or ("running" if journal.is_owned else "interrupted"),
            target=header.target,
            created_at=record.started_at,
            updated_at=self.last_at if self.last_at is not None else record.started_at,
            is_owned=journal.is_owned,
            questions=tuple(self.questions.values()),
            answered=tuple(self.answered.values()),
            until=self.until,
            in_doubt=tuple(self.in_doubt),
            not_kept=frozenset(self.not_kept),
            spent=self.spent,
            containers=frozenset(name for name, wired in self.wiring.items() if wired.is_container),
        )


# -- what is read is not believed until it has been looked at


def _again(node: NodeRecord) -> NodeRecord:
    """
    Return a node that had failed, and runs again.
    """
    return replace(node, state="pending", reason="", started_at=None, ended_at=None, retried=node.failures)


def _instant(at: float) -> float | None:
    """
    Return a time that a date can show, or None.
    """
    return at if 0 < at <= LATEST else None


def _count(attempt: int) -> int:
    return max(0, attempt)


def _error(payload: bytes | None) -> BaseException:
    """
    Read the error of a failed attempt; one that cannot be read is said to be so, and hides nothing else of the run.
    """
    if payload is None:
        return StoreDamaged("what was raised is not in the store")
    try:
        return decode_error(payload)
    except StoreDamaged as problem:
        return StoreDamaged(f"what was raised cannot be read: {problem}")


def _spent(fact: Fact) -> SpentBudget | None:
    """
    Read which budget has stopped a run; None if none has, or what is stored cannot be read.
    """
    if fact.reason != "paused" or fact.payload is None:
        return None
    try:
        match decode(fact.payload):
            case {"unit": str(unit), "used": int() | float() as used, "limit": int() | float() as limit}:
                return SpentBudget(unit, used, limit) if math.isfinite(used + limit) else None
            case _:
                return None
    except (StoreDamaged, OverflowError):
        return None


def _question(fact: Fact, at: float | None) -> StoredQuestion:
    try:
        data = None if fact.payload is None else decode(fact.payload)
    except StoreDamaged:
        data = None
    match data:
        case {"text": str(text), "kind": str(kind), **more} if kind in KINDS:
            choices = _texts(more.get("choices"))
            if kind != "choice" or choices:
                return StoredQuestion(fact.node, fact.attempt, text, kind, choices, at)
        case _:
            pass
    return StoredQuestion(fact.node, fact.attempt, "a question that cannot be read", "", (), at)


def _texts(data: object) -> tuple[str, ...]:
    if not isinstance(data, (list, tuple)):
        return ()
    return tuple(each for each in data if isinstance(each, str))


@dataclass(frozen=True, slots=True)
class _Wired:
    """
    What a header says of one node.
    """

    # Ids of this run.
    upstream: tuple[str, ...]
    join: str
    is_container: bool


def _wiring_of(wiring: bytes) -> dict[str, _Wired]:
    """
    Read how the nodes were wired, as far as the header tells; empty if it does not, or not in a form that is known.
    """
    try:
        data = decode(wiring) if wiring else None
    except StoreDamaged:
        return {}
    graphs = data.get("graphs") if isinstance(data, dict) else None
    found: dict[str, _Wired] = {}
    # Graphs by number, each with what stands before the ids of its nodes. A graph may be nested in several places.
    left = [("", 0)]
    while left and len(found) < MOST_NODES:
        prefix, number = left.pop()
        for name, wired, inside in _nodes_of(graphs, number, prefix):
            found[name] = wired
            # It has a greater number than the graph that it is in, so that this ends.
            if inside > number:
                left.append((f"{name}/", inside))
    # What waits for what is not there waits for nothing.
    return {
        name: replace(wired, upstream=tuple(each for each in wired.upstream if each in found))
        for name, wired in found.items()
    }


def _nodes_of(graphs: object, number: int, prefix: str) -> Iterator[tuple[str, _Wired, int]]:
    """
    List the nodes of one graph of a header: id, how it was wired, and the number of the graph inside or -1.
    """
    if not isinstance(graphs, list) or not 0 <= number < len(graphs):
        return
    match graphs[number]:
        case [list(ids), list(before), str(kinds), _, list(more)] if len(ids) == len(before) == len(kinds):
            special = {each[0]: each for each in more if isinstance(each, list) and len(each) == 5 and _is_int(each[0])}
            for node, (name, numbers) in enumerate(zip(ids, before, strict=True)):
                if not isinstance(name, str) or not isinstance(numbers, list):
                    return
                waits = [ids[each] for each in numbers if _is_int(each) and 0 <= each < len(ids)]
                _, join, _, _, graph = special.get(node, [node, "all", False, "", -1])
                upstream = tuple(prefix + each for each in waits if isinstance(each, str))
                wired = _Wired(upstream, join if isinstance(join, str) else "all", kinds[node] != "n")
                yield prefix + name, wired, graph if kinds[node] == "g" and _is_int(graph) else -1
        case _:
            return


def _is_int(value: object) -> bool:
    return type(value) is int
