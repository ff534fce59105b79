"""
What a live display shows of a run, folded from its events one by one. No clock, no terminal and no thread: time comes
with the events, and as an argument.

Memory follows what is live and what was planned, never what has ended: a run may have a million instances.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from antichain.core.facts import (
    Event,
    LimitState,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeEntered,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    RunEnded,
    RunStarted,
    Uses,
)
from antichain.views.look import PAUSING, Bar, Failure, Look, Retrying, Single, Wait

# The run's own nodes are listed one by one while there are no more than this.
LISTED: Final = 12
# Rows of containers that have ended, failures and running nodes that a look can show.
KEPT_ROWS: Final = 50
KEPT_FAILURES: Final = 3
SHOWN_RUNNING: Final = 10
SHOWN_ASKING: Final = 5
# Characters of a question that are kept.
KEPT_QUESTION: Final = 1000
# What runs for less is not listed: nobody could read it.
LISTED_SECONDS: Final = 1.0
# How far a look searches for them, however many there are.
SEARCHED: Final = 500
# Rows inside rows inside rows: what is deeper is part of the row around it.
MAX_DEPTH: Final = 3
# Kinds of demands that are remembered while nobody waits with them.
KEPT_DEMANDS: Final = 1000
# A pace is measured over so many marks, at least so many seconds apart, and is none before so many nodes have ended.
MARKS: Final = 8
MARK_SECONDS: Final = 1.0
MEASURED_NODES: Final = 5
MEASURED_SECONDS: Final = 1.0

_WAITING: Final = "waiting"
_RUNNING: Final = "running"
_BACKING_OFF: Final = "backing off"
_ASKING: Final = "asking"
_PENDING: Final = "pending"


class _Pace:
    """
    Measure how many nodes end in a second, lately.
    """

    __slots__ = ("_marks", "next_at")

    def __init__(self, now: float) -> None:
        self._marks: deque[tuple[float, int]] = deque([(now, 0)], MARKS)
        self.next_at = now + MARK_SECONDS

    def mark(self, now: float, ended: int) -> None:
        self._marks.append((now, ended))
        self.next_at = now + MARK_SECONDS

    def per_second(self, now: float, ended: int) -> float | None:
        since, before = self._marks[0]
        if ended - before < MEASURED_NODES or now - since < MEASURED_SECONDS:
            return None
        return (ended - before) / (now - since)


class _Group:
    """
    Count the members of one container, or the run's own nodes.
    """

    __slots__ = (
        "depth",
        "ended",
        "ended_at",
        "failed",
        "inner",
        "known",
        "left_over",
        "node",
        "opened_at",
        "outer",
        "pace",
        "running",
        "state",
        "total",
    )

    def __init__(self, node: str, outer: _Group | None, depth: int, now: float) -> None:
        # The container, empty for the run itself.
        self.node = node
        self.outer = outer
        self.depth = depth
        # Rows of its members that are open.
        self.inner = 0
        # Invariant: left_over <= ended <= known.
        self.known = 0
        self.ended = 0
        # Members that a paused run has left for another day: the core has ended them.
        self.left_over = 0
        self.failed = 0
        # Attempts inside, members of members included where those have no row.
        self.running = 0
        # How many members there will be; None once one came after another had ended and nobody has said how many.
        self.total: int | None = 0
        self.opened_at = now
        self.ended_at: float | None = None
        self.state = ""
        self.pace = _Pace(now)

    def left(self, now: float) -> float | None:
        """
        Return how long its members will still take at its pace, None if nobody knows.
        """
        pace = self.pace.per_second(now, self.ended)
        return None if pace is None or self.total is None else (self.total - self.ended) / pace

    def bar(self, now: float, label: str, depth: int) -> Bar:
        """
        Return its row.
        """
        is_open = self.ended_at is None
        return Bar(
            label=label,
            depth=depth,
            ended=self.ended - self.left_over,
            known=self.known,
            total=self.total if is_open else self.known,
            running=self.running,
            failed=self.failed,
            pace=self.pace.per_second(now, self.ended) if is_open else None,
            left=self.left(now) if is_open else None,
            seconds=max(0.0, (now if self.ended_at is None else self.ended_at) - self.opened_at),
            state=self.state,
        )


class _Limit:
    """
    Count what attempts hold of one limit.
    """

    __slots__ = ("name", "size", "state", "used")

    def __init__(self, name: str, size: int | None) -> None:
        self.name = name
        # How it stands, if it opens by time.
        self.state: LimitState | None = None
        # None for a limit that came while the run went on: no event tells its size.
        self.size = size
        self.used = 0

    def blocks(self, weight: int) -> bool:
        """
        Tell whether nobody can start that takes so much.
        """
        state = self.state
        if state is not None:
            is_full = state.size is not None and state.used is not None and state.used + weight > state.size
            return state.is_shut or is_full
        return self.used > 0 if self.size is None else self.used + weight > self.size


class _Demand:
    """
    Count the ready nodes that want the same.
    """

    __slots__ = ("parts", "waiting")

    def __init__(self, parts: tuple[tuple[_Limit, int], ...]) -> None:
        self.parts = parts
        self.waiting = 0

    def blocked_by(self) -> list[_Limit]:
        """
        List the limits that have no room for it.
        """
        return [limit for limit, weight in self.parts if limit.blocks(weight)]


class _Live:
    """
    What is known of a node that has not ended and is not plain: it was brought by another one, brings others itself,
    takes something of a limit, or is tried again.
    """

    __slots__ = ("demand", "group", "members", "node", "opens", "owner", "since", "state")

    # When it became ready; not set before.
    since: float

    def __init__(self, node: str, owner: _Live | None, group: _Group, demand: _Demand) -> None:
        self.node = node
        # Who brought it, unless the run itself did.
        self.owner = owner
        # The row that it is part of. Its bar counts only the members of the container that the row stands for.
        self.group = group
        self.demand = demand
        self.state = _PENDING
        # Live nodes that it brought, and questions that it asks. While there are any it waits for them and charges
        # nothing.
        self.members = 0
        # The row of those, once there was one.
        self.opens: _Group | None = None


class Board:
    """
    Fold the events of a run, each in a time that does not depend on how many there were; a listener.

    How long it will still take is said by a rule: for a row, its remaining nodes at its pace; for the run, the longest
    of its rows. The pace is that of the last 8 marks, which are made when a node ends, at least a second apart. It is
    said only where it is known: a row has a pace once five of its nodes have ended within a second or more, and a row
    to which more nodes may come has no end; nodes that are listed one by one have nothing in common. The run's is known
    only if that of every row that goes on is. A stage that has not begun counts as one node, for nobody knows more of
    it.
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.name = ""
        self.status: str | None = None
        self.started_at = 0.0
        # The latest instant that was told.
        self.time = 0.0
        self.ended = 0
        self.known = 0
        self.retries = 0
        self.abandoned = 0
        self.states: dict[str, int] = {}
        # Nothing has failed so far, not even an attempt, and no node was left out.
        self.is_smooth = True
        self._pace = _Pace(0.0)
        self._own = _Group("", None, 0, 0.0)
        # Rows of containers, in the order in which they came, and those of them that have ended.
        self._groups: dict[str, _Group] = {}
        self._closed: deque[_Group] = deque()
        # Open rows whose number of nodes is not known.
        self._growing = 0
        # Demands of planned nodes to which nothing has happened yet.
        self._planned: dict[str, _Demand] = {}
        # The run's own nodes while they are few: None until they have ended.
        self._listed: dict[str, Single | None] | None = None
        # The nodes that are not plain; of plain ones, when they became ready.
        self._live: dict[str, _Live] = {}
        self._plain: dict[str, float] = {}
        # What runs, plain or not, in the order of the starts.
        self._running: dict[str, NodeStarted] = {}
        # How many of them wait for what they brought, or for a person.
        self._holding = 0
        # What each node asks that waits for a person, by the question's number: since when, and its text.
        self._asking: dict[str, dict[int, tuple[float, str]]] = {}
        # When the next attempt of a node starts, and why there is one; the heap may hold some that are not any more.
        self._backing_off: dict[str, tuple[float, int, BaseException | None]] = {}
        self._dues: list[tuple[float, str]] = []
        self._last_retry = ""
        self._last_cause: BaseException | None = None
        self._failures: deque[Failure] = deque(maxlen=KEPT_FAILURES)
        self._limits: dict[str, _Limit] = {}
        # Tells how those of them stand that open by time, if the run has any.
        self.limit_states: Callable[[float], Sequence[LimitState]] | None = None
        self._max_concurrent: int | None = None
        self._nothing = _Demand(())
        self._demands: dict[Uses, _Demand] = {(): self._nothing}
        self._last_uses: Uses = ()
        self._last_demand = self._nothing
        # By type, for who folds many events. They return True for events of which a display may say something itself.
        self.folds: dict[type, Callable[[Any], bool | None]] = {  # Any: an event of that type
            RunStarted: self._begin,
            NodeEntered: self._enter,
            NodeReady: self._ready,
            NodeStarted: self._start,
            NodeAsks: self._ask,
            NodeAnswered: self._answer,
            NodeRetrying: self._retry,
            NodeEnded: self._end,
            RunEnded: self._finish,
        }

    def __call__(self, event: Event) -> None:
        """
        Fold *event* in.
        """
        fold = self.folds.get(type(event))
        if fold is not None:
            fold(event)

    @property
    def timed(self) -> frozenset[str]:
        """
        The limits that open by time.
        """
        states = () if self.limit_states is None else self.limit_states(self.time)
        return frozenset(state.name for state in states)

    @property
    def sizes(self) -> dict[str, int]:
        """
        The sizes of the limits that the run began with, `max_concurrent` among them if there was one.
        """
        sizes = {name: limit.size for name, limit in self._limits.items() if limit.size is not None}
        return sizes if self._max_concurrent is None else {**sizes, "max_concurrent": self._max_concurrent}

    @property
    def running_count(self) -> int:
        """
        How many attempts run, without those that wait for what they brought or for a person.
        """
        return len(self._running) - self._holding

    # -- events of the run

    def _begin(self, event: RunStarted) -> bool:
        self.run_id, self.name = event.run_id, event.name
        self.started_at = self.time = event.time
        self.known = event.node_count
        outline = event.outline
        self._limits = {name: _Limit(name, size) for name, size in outline.limits.items()}
        self._max_concurrent = outline.max_concurrent
        self.limit_states = outline.limit_states
        self._pace = _Pace(event.time)
        self._own = _Group("", None, 0, event.time)
        self._own.known = self._own.total = event.node_count
        if event.node_count <= LISTED:
            self._listed = {entry.node: None for entry in outline.entries()}
        self._planned = {node: self._demand(uses) for node, uses in outline.demands()}
        return True

    def _finish(self, event: RunEnded) -> bool:
        self.time = max(self.time, event.time)
        self.status = event.status
        return True

    def _demand(self, uses: Uses) -> _Demand:
        demand = self._demands.get(uses)
        if demand is None:
            if len(self._demands) >= KEPT_DEMANDS:
                self._demands = {known: each for known, each in self._demands.items() if each.waiting or not known}
            demand = self._demands[uses] = _Demand(tuple([(self._limit(name), weight) for name, weight in uses]))
        return demand

    def _limit(self, name: str) -> _Limit:
        limit = self._limits.get(name)
        if limit is None:
            limit = self._limits[name] = _Limit(name, None)
        return limit

    # -- events of nodes

    def _enter(self, event: NodeEntered) -> None:
        _, now, _, node, _, group_id, _, uses, of = event
        if uses is not self._last_uses:
            # Instances of one stage come one after the other, and want the same.
            self._last_uses, self._last_demand = uses, self._demands.get(uses) or self._demand(uses)
        demand = self._last_demand
        owner = self._live.get(group_id) or self._met(group_id)
        self.known += 1
        if owner is None:
            self._live[node] = _Live(node, None, self._own, demand)
            self._grow(self._own)
            self._list(node)
            return
        group = owner.opens or self._open(owner, now)
        self._live[node] = _Live(node, owner, group, demand)
        if group is not owner.group:
            self._grow(group, of)
        self._hold(owner)

    def _hold(self, live: _Live) -> None:
        """
        See that a node waits for something: it has lent its slots, if it had any.
        """
        live.members += 1
        if live.members == 1 and live.state == _RUNNING:
            self._holding += 1
            self._free(live)

    def _let_go(self, live: _Live) -> None:
        """
        See that a node waits for one thing less.
        """
        live.members -= 1
        if not live.members and live.state == _RUNNING:
            self._holding -= 1
            self._charge(live)

    def _list(self, node: str) -> None:
        if self._listed is not None and len(self._listed) < LISTED:
            self._listed[node] = None
        else:
            self._listed = None

    def _open(self, owner: _Live, now: float) -> _Group:
        """
        Give what *owner* brings a row, unless it is one of many that do the same.
        """
        outer = owner.group
        # Instances of a mapped stage: the row of the stage stands for all that goes on inside of them.
        is_instance = not self._is_counted(owner) or owner.node.startswith(f"{outer.node}[")
        if outer.node and (is_instance or outer.depth == MAX_DEPTH):
            owner.opens = outer
            return outer
        is_inner = outer is not self._own
        group = _Group(owner.node, outer if is_inner else None, outer.depth + 1 if is_inner else 0, now)
        outer.inner += 1
        owner.opens = self._groups[owner.node] = group
        return group

    @staticmethod
    def _is_counted(live: _Live) -> bool:
        """
        Tell whether a node is one of those that the bar of its row counts, and not inside one of them.
        """
        return live.owner is None or live.owner.group is not live.group

    def _grow(self, group: _Group, of: int | None = None) -> None:
        group.known += 1
        if group.total is None:
            return
        if of is not None:
            group.total = max(of, group.known)
        elif group.ended:
            group.total = None
            self._growing += 1
        else:
            group.total = group.known

    def _charge(self, live: _Live) -> None:
        live.group.running += 1
        for limit, weight in live.demand.parts:
            limit.used += weight

    def _free(self, live: _Live) -> None:
        live.group.running -= 1
        for limit, weight in live.demand.parts:
            limit.used -= weight

    def _met(self, node: str) -> _Live | None:
        """
        Return what is known of a plain node that runs, and from now on is not plain any more.
        """
        if node not in self._running:
            return None
        live = self._live[node] = _Live(node, None, self._own, self._nothing)
        live.state = _RUNNING
        return live

    def _ready(self, event: NodeReady) -> None:
        _, now, _, node, _ = event
        live = self._live.get(node)
        if live is None:
            demand = self._planned.pop(node, None)
            if demand is None:
                self._plain[node] = now
                return
            live = self._live[node] = _Live(node, None, self._own, demand)
        elif live.state == _BACKING_OFF:
            del self._backing_off[node]
        live.state = _WAITING
        live.since = now
        live.demand.waiting += 1

    def _start(self, event: NodeStarted) -> None:
        node = event[3]
        live = self._live.get(node)
        if live is None:
            self._plain.pop(node, None)
            self._running[node] = event
            self._own.running += 1
            return
        if live.state == _WAITING:
            live.demand.waiting -= 1
        else:
            self._leave(live)
        live.state = _RUNNING
        self._running[node] = event
        if live.members:
            self._holding += 1
        else:
            live.group.running += 1
            for limit, weight in live.demand.parts:
                limit.used += weight

    def _leave(self, live: _Live) -> None:
        """
        Take *live* out of what its state counts it among.
        """
        state = live.state
        if state == _RUNNING:
            del self._running[live.node]
            if live.members:
                self._holding -= 1
            else:
                self._free(live)
        elif state == _WAITING:
            live.demand.waiting -= 1
        elif state == _BACKING_OFF:
            del self._backing_off[live.node]

    def _ask(self, event: NodeAsks) -> bool:
        node = event.node
        live = self._live.get(node) or self._met(node)
        if live is None or live.state != _RUNNING:
            return True
        asked = self._asking.setdefault(node, {})
        if event.number not in asked:
            asked[event.number] = event.time, event.text[:KEPT_QUESTION]
            self._hold(live)
        return True

    def _answer(self, event: NodeAnswered) -> None:
        asked, live = self._asking.get(event.node), self._live.get(event.node)
        if asked is None or live is None or asked.pop(event.number, None) is None:
            return
        if not asked:
            del self._asking[event.node]
        self._let_go(live)

    def _retry(self, event: NodeRetrying) -> bool:
        node, due = event.node, event.time + event.delay
        live = self._live.get(node) or self._met(node)
        if live is None:
            return True
        self._leave(live)
        live.members -= len(self._asking.pop(node, ()))
        live.state = _BACKING_OFF
        self._backing_off[node] = (due, event.attempt + 1, event.error)
        heapq.heappush(self._dues, (due, node))
        if len(self._dues) > 2 * len(self._backing_off) + KEPT_ROWS:
            # Most of it is history, and nobody looks.
            self._dues = [(each[0], name) for name, each in self._backing_off.items()]
            heapq.heapify(self._dues)
        self.retries += 1
        self.is_smooth = False
        self._last_retry, self._last_cause = node, event.error
        return True

    def _end(self, event: NodeEnded) -> bool:
        _, now, _, node, attempt, state, reason, error, _, abandoned = event
        live = self._live.pop(node, None)
        started = self._running.get(node)
        if live is not None:
            if live.state == _RUNNING and not live.members:
                del self._running[node]
                live.group.running -= 1
                for limit, weight in live.demand.parts:
                    limit.used -= weight
            else:
                self._leave(live)
        elif started is not None:
            del self._running[node]
            self._own.running -= 1
        else:
            # It has never run; one that takes something of a limit has not even been ready.
            self._plain.pop(node, None)
            self._planned.pop(node, None)
        if now > self.time:
            self.time = now
        self.ended += 1
        asked = self._asking.pop(node, None) if self._asking else None
        if now >= self._pace.next_at:
            self._pace.mark(now, self.ended)
        # What a paused run has left for another day is told apart from what somebody cancelled, and has not ended for
        # those who read it.
        counted = "paused" if reason in PAUSING else state
        self.states[counted] = self.states.get(counted, 0) + 1
        if error is not None or state != "succeeded":
            self.is_smooth = False
        group, owner = (self._own, None) if live is None else (live.group, live.owner)
        if owner is None or owner.group is not group:
            group.ended += 1
            if now >= group.pace.next_at:
                group.pace.mark(now, group.ended)
        if counted == "paused" and (owner is None or owner.group is not group):
            group.left_over += 1
        if state == "failed":
            group.failed += 1
            self._failures.append(Failure(node, reason, error))
        if abandoned:
            self.abandoned += 1
        if owner is not None:
            self._let_go(owner)
        elif self._listed is not None and node in self._listed:
            seconds = None if started is None else now - started.time
            asks = _text_of(asked) if asked and counted == "paused" else ""
            self._listed[node] = Single(node, counted, seconds, attempt, (), error, asks)
        if live is not None and live.opens is not None and live.opens is not group:
            self._close(live.opens, counted, now)
        return state == "failed"

    def _close(self, group: _Group, state: str, now: float) -> None:
        """
        Leave the row of a container that has ended as it is, or take it away: what is inside others, and what is old.
        """
        (group.outer or self._own).inner -= 1
        if group.total is None:
            self._growing -= 1
        group.state = state
        group.ended_at = now
        if group.depth:
            self._drop(group)
            return
        self._closed.append(group)
        if len(self._closed) > KEPT_ROWS:
            self._drop(self._closed.popleft())

    def _drop(self, group: _Group) -> None:
        # Another one of that name may have come since.
        if self._groups.get(group.node) is group:
            del self._groups[group.node]

    # -- how it looks

    def look(self, now: float) -> Look:
        """
        Return what is to be drawn at *now*, in a time that depends only on how much of it there is.
        """
        self.time = now = max(now, self.time)
        if self.limit_states is not None and self.status is None:
            for state in self.limit_states(now):
                self._limit(state.name).state = state
        rows = self._rows(now)
        return Look(
            run_id=self.run_id,
            time=now,
            head=self._head(now),
            states=dict(self.states),
            status=self.status,
            rows=rows,
            running=tuple(self._longest(now, {row.label for row in rows if isinstance(row, Single)})),
            longest=next(self._longest(now, ()), None),
            asking=tuple(self._open_questions(now, {row.label for row in rows if isinstance(row, Single)})),
            asking_count=len(self._asking),
            waits=tuple(self._waits()),
            retrying=self._retrying(now),
            failures=tuple(self._failures),
            abandoned=self.abandoned,
        )

    def _head(self, now: float) -> Bar:
        coming = sum(
            group.total - group.known
            for group in islice(self._groups.values(), SEARCHED)
            if group.total is not None and group.ended_at is None
        )
        return Bar(
            label=self.name,
            depth=0,
            ended=self.ended - self.states.get("paused", 0),
            known=self.known,
            total=None if self._growing else self.known + coming,
            running=self.running_count,
            failed=self.states.get("failed", 0),
            pace=self._pace.per_second(now, self.ended),
            left=self._left(now),
            seconds=max(0.0, now - self.started_at),
            state=self.status or "",
        )

    def _left(self, now: float) -> float | None:
        if self._growing or len(self._groups) > SEARCHED:
            return None
        longest = None
        for group in (self._own, *self._groups.values()):
            # Members with rows of their own end with those.
            if group.ended_at is None and group.known - group.ended > group.inner:
                is_few = group is self._own and self._listed is not None
                left = None if is_few else group.left(now)
                if left is None:
                    return None
                longest = left if longest is None else max(longest, left)
        return longest

    def _rows(self, now: float) -> tuple[Bar | Single, ...]:
        # Rows that are shown by what is around them: another one, or a node of the run's own.
        inside: dict[str, list[_Group]] = {}
        outermost: dict[str, list[_Group]] = {}
        for group in islice(self._groups.values(), SEARCHED):
            if group.known > 1:
                around = group
                while around.outer is not None and (around is group or around.known < 2):
                    around = around.outer
                if around is group or around.known < 2:
                    outermost.setdefault(around.node, []).append(group)
                else:
                    inside.setdefault(around.node, []).append(group)
        rows: list[Bar | Single] = []

        def add(group: _Group, depth: int, prefix: str) -> None:
            rows.append(group.bar(now, group.node.removeprefix(prefix), depth))
            for each in inside.get(group.node, ()):
                add(each, depth + 1, f"{group.node}/")

        if self._listed is None:
            if outermost:
                rows.append(self._own.bar(now, "own nodes", 0))
            for groups in outermost.values():
                for group in groups:
                    add(group, 0, "")
            return tuple(rows)
        for node, ended in self._listed.items():
            for group in outermost.get(node, ()):
                add(group, 0, "")
            if node not in outermost:
                rows.append(ended or self._single(node, now))
        return tuple(rows)

    def _open_questions(self, now: float, shown: Collection[str]) -> Iterator[Single]:
        found = (node for node in islice(self._asking, SEARCHED) if node not in shown)
        for node in islice(found, SHOWN_ASKING):
            yield self._asked(node, now)

    def _asked(self, node: str, now: float) -> Single:
        asked = self._asking[node]
        since = next(iter(asked.values()))[0]
        attempt = self._running[node].attempt
        return Single(node, _ASKING, max(0.0, now - since), attempt, (), None, _text_of(asked))

    def _single(self, node: str, now: float) -> Single:
        if node in self._asking:
            return self._asked(node, now)
        if node in self._running:
            started = self._running[node]
            return Single(node, _RUNNING, max(0.0, now - started.time), started.attempt)
        if node in self._backing_off:
            due, attempt, error = self._backing_off[node]
            return Single(node, _BACKING_OFF, max(0.0, due - now), attempt, (), error)
        live = self._live.get(node)
        if live is not None and live.state == _WAITING:
            return Single(node, _WAITING, max(0.0, now - live.since), 1, tuple(self._blocked(live.demand)))
        if node in self._plain:
            return Single(node, _WAITING, max(0.0, now - self._plain[node]), 1, tuple(self._blocked(self._nothing)))
        return Single(node, _PENDING, None, 1)

    def _blocked(self, demand: _Demand) -> Iterator[str]:
        blocked = demand.blocked_by()
        yield from [limit.name for limit in blocked]
        if not blocked and self._max_concurrent is not None and self.running_count >= self._max_concurrent:
            yield "max_concurrent"

    def _longest(self, now: float, shown: Collection[str]) -> Iterator[Single]:
        found = (
            started
            for started in islice(self._running.values(), SEARCHED)
            if now - started.time >= LISTED_SECONDS and started.node not in shown and not self._has_row(started.node)
        )
        for started in islice(found, SHOWN_RUNNING):
            yield Single(started.node, _RUNNING, now - started.time, started.attempt)

    def _has_row(self, node: str) -> bool:
        live = self._live.get(node)
        return live is not None and (live.members > 0 or (live.opens is not None and live.opens.known > 1))

    def _waits(self) -> Iterator[Wait]:
        nodes: dict[str, int] = {}
        for demand in self._demands.values():
            waiting = demand.waiting + (len(self._plain) if demand is self._nothing else 0)
            if waiting:
                for name in self._blocked(demand):
                    nodes[name] = nodes.get(name, 0) + waiting
        for name, count in nodes.items():
            limit = self._limits.get(name)
            if limit is None:
                yield Wait(name, count, self.running_count, self._max_concurrent)
            elif limit.state is not None:
                yield Wait(name, count, limit.used, limit.state.size, limit.state.why)
            else:
                yield Wait(name, count, limit.used, limit.size)

    def _retrying(self, now: float) -> Retrying | None:
        if not self.retries:
            return None
        dues, waiting = self._dues, self._backing_off
        while dues and (dues[0][1] not in waiting or waiting[dues[0][1]][0] != dues[0][0]):
            heapq.heappop(dues)
        next_in = max(0.0, dues[0][0] - now) if dues else None
        return Retrying(len(waiting), self.retries, next_in, self._last_retry, self._last_cause)


def _text_of(asked: dict[int, tuple[float, str]]) -> str:
    """
    Show the first of a node's open questions, and how many more there are.
    """
    text = next(iter(asked.values()))[1]
    return text if len(asked) == 1 else f"{text} (and {len(asked) - 1:,} more)"
