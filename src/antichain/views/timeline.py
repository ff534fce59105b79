"""
A run on a time axis, in the Trace Event Format that Perfetto (ui.perfetto.dev) and Chrome read.

`to_trace` draws a record, one slice for each node; `EventTrace` listens to a run and draws each attempt. Both place
their slices by `Sheet`: slices that overlap are on lanes of their own, because viewers drop those that do not nest.
"""

import heapq
import json
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, assert_never

from antichain.core.facts import (
    Chunk,
    Event,
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
from antichain.printable import SHOWN_CHARACTERS, printable
from antichain.record import NodeRecord, RunRecord
from antichain.views.figures import Run, critical_path, members, ordered, snapshot, span_of
from antichain.views.folding import error_line

__all__ = ["EventTrace", "to_trace"]

# The form of what is written here; a field is added without a new version.
VERSION: Final = 1
# Groups that have a block of lanes of their own; those that come after share one.
GROUPS: Final = 40
# Lanes that show who waits for slots; more waits at once are only counted.
WAIT_LANES: Final = 32
# Above this many edges only the one that a node waited for is drawn.
ARROWS: Final = 5_000
# Ended nodes whose place is remembered for arrows that start there.
REMEMBERED: Final = 20_000
# Upstream ids that a slice lists.
LISTED: Final = 20
# Characters of an error in a slice, and of a question.
SHOWN_ERROR: Final = 500
SHOWN_QUESTION: Final = 500
# Bytes of a trace that are kept in memory.
IN_MEMORY: Final = 4_000_000

Json = dict[str, Any]  # Any: JSON

# Blocks of lanes (pid in the format): the run, then what waits, then the groups.
RUN: Final = 1
WAITING: Final = 2
FIRST_GROUP: Final = 3
# Lanes (tid): that of the run, the critical path, then the others. To Perfetto 0 is no number of its own.
WHOLE: Final = 1
CRITICAL: Final = 2
FIRST_LANE: Final = 10

# What counters are called.
RUNNING: Final = "running"
WAITS: Final = "waiting for slots"


def legible(text: str, limit: int | None = SHOWN_CHARACTERS) -> str:
    """
    Return foreign text as it may stand in a trace.
    """
    shown = printable(text, limit)
    # Perfetto takes a backslash at the end for one that escapes the quote after it, and reads no more of the trace.
    return f"{shown}\u2060" if shown.endswith("\\") else shown


class Lanes:
    """
    Give the lowest lane that is free.
    """

    def __init__(self) -> None:
        self.count = 0
        self._free: list[int] = []
        # Given back, and free from an instant that may lie ahead: a slice takes at least a microsecond.
        self._ripening: list[tuple[int, int]] = []

    def take(self, now: int, most: int | None = None) -> int | None:
        """
        Take a lane that is free at this microsecond; None if there are no more than *most*.
        """
        while self._ripening and self._ripening[0][0] <= now:
            heapq.heappush(self._free, heapq.heappop(self._ripening)[1])
        if self._free:
            return heapq.heappop(self._free)
        if self.count == most:
            return None
        self.count += 1
        return self.count - 1

    def give_back(self, lane: int, end: int) -> None:
        """
        Let a lane be taken again from *end* on.
        """
        heapq.heappush(self._ripening, (end, lane))


@dataclass(slots=True)
class Place:
    """
    Where something is drawn.
    """

    block: int
    lane: int


class Sheet:
    """
    Write trace events, and keep account of lanes and counters; the instants that it takes are those of the run's clock.
    """

    def __init__(self, write: Callable[[Json], object]) -> None:
        self._write = write
        self.zero = 0.0
        # Lanes by block, and blocks by group.
        self._lanes: dict[int, Lanes] = {}
        self._blocks: dict[str, int] = {"": RUN}
        self._named: set[tuple[int, int]] = set()
        self._flows = 0
        self._counters: dict[str, Counter] = {}

    def at(self, instant: float) -> int:
        """
        Return an instant of the run as the microseconds since its start.
        """
        return max(round((instant - self.zero) * 1e6), 0)

    # -- places

    def begin(self, name: str, run_id: str) -> None:
        """
        Name what belongs to the run as a whole.
        """
        self._name_block(RUN, f"run {legible(name)}", RUN)
        self._name_block(WAITING, WAITS, WAITING)
        self._meta("process_labels", RUN, WHOLE, labels=legible(run_id))

    def open_block(self, group: str) -> None:
        """
        Give the nodes that *group* brings a block of lanes of their own, if there is one left.
        """
        if group not in self._blocks:
            number = FIRST_GROUP + min(len(self._blocks) - 1, GROUPS)
            self._blocks[group] = number
            self._name_block(number, legible(group) if number < FIRST_GROUP + GROUPS else "more groups", number)

    def take(self, group: str, instant: float) -> Place:
        """
        Take a lane among those of a group.
        """
        block = self._blocks.get(group, RUN)
        lane = self._lanes.setdefault(block, Lanes()).take(self.at(instant))
        assert lane is not None
        return Place(block, FIRST_LANE + lane)

    def take_wait(self, instant: float) -> Place | None:
        """
        Take a lane for what waits; None if too many do.
        """
        lanes = self._lanes.setdefault(WAITING, Lanes())
        lane = lanes.take(self.at(instant), WAIT_LANES)
        if lane is None:
            return None
        return Place(WAITING, FIRST_LANE + lane)

    def give_back(self, place: Place, end: int) -> None:
        """
        Let others take a lane from the microsecond *end* on.
        """
        self._lanes[place.block].give_back(place.lane - FIRST_LANE, end)

    def _name_block(self, block: int, name: str, order: int) -> None:
        if (block, -1) not in self._named:
            self._named.add((block, -1))
            self._meta("process_name", block, WHOLE, name=name)
            self._meta("process_sort_index", block, WHOLE, sort_index=order)

    def _name_lane(self, place: Place) -> None:
        block, lane = place.block, place.lane
        if (block, lane) not in self._named:
            self._named.add((block, lane))
            name = {WHOLE: "run", CRITICAL: "critical path"}.get(lane, f"lane {lane - FIRST_LANE + 1}")
            self._meta("thread_name", block, lane, name=name)
            self._meta("thread_sort_index", block, lane, sort_index=lane)

    def _meta(self, kind: str, block: int, lane: int, **args: Any) -> None:  # Any: JSON
        self._write({"name": kind, "ph": "M", "pid": block, "tid": lane, "args": args})

    # -- what is drawn

    def slice(self, place: Place, name: str, kind: str, start: float, end: float, args: Json, after: int = 0) -> int:
        """
        Draw a span of time, not before the microsecond *after*; returns the one where it ends.
        """
        first = max(self.at(start), after)
        last = max(self.at(end), first + 1)
        self._name_lane(place)
        data: Json = {"name": legible(name), "cat": kind, "ph": "X", "ts": first, "dur": last - first}
        self._write({**data, "pid": place.block, "tid": place.lane, "args": args})
        return last

    def mark(self, place: Place, name: str, instant: float, args: Json) -> None:
        """
        Draw an instant.
        """
        data: Json = {"name": legible(name), "cat": "node", "ph": "i", "s": "t", "ts": self.at(instant)}
        self._write({**data, "pid": place.block, "tid": place.lane, "args": args})

    def arrow(self, source: Place, drawn: int, place: Place, instant: float) -> None:
        """
        Draw an arrow from the end of the slices of a node, drawn up to a microsecond, to the start of another.
        """
        # Both ends must lie within their slices.
        leaves, arrives = drawn - 1, self.at(instant)
        if leaves > arrives:
            return
        self._flows += 1
        common = {"name": "upstream", "cat": "edge", "id": self._flows}
        self._write({**common, "ph": "s", "ts": leaves, "pid": source.block, "tid": source.lane})
        self._write({**common, "ph": "f", "bp": "e", "ts": arrives, "pid": place.block, "tid": place.lane})

    def count(self, name: str, change: int, instant: float) -> None:
        """
        Change a counter.
        """
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = Counter()
        now = self.at(instant)
        if now > counter.at and counter.value != counter.told:
            self._point(name, counter.at, counter.value)
            counter.told = counter.value
        counter.at = max(now, counter.at)
        counter.value += change

    def end_counters(self) -> None:
        """
        Write what the counters have come to.
        """
        for name, counter in self._counters.items():
            if counter.value != counter.told:
                self._point(name, counter.at, counter.value)
                counter.told = counter.value

    def _point(self, name: str, at: int, value: int) -> None:
        self._write({"name": legible(name), "ph": "C", "ts": at, "pid": RUN, "args": {"count": value}})


@dataclass(slots=True)
class Counter:
    """
    A number that changes with time; changes within a microsecond are told as one.
    """

    value: int = 0
    # What was written last; None before anything was, so that each begins with what it is at the start.
    told: int | None = None
    at: int = 0


# -- of a record


def to_trace(record: Run) -> Json:
    """
    Draw a run as a trace for Perfetto or Chrome: `json.dumps` makes a file of it that both open.

    One slice for each node, from its first start to its end, on the lanes of its group; what a node waited for slots,
    its attempts and its error are among its arguments. Times are microseconds since the run began.

    Args:
        record: a `RunResult`, or what was folded from the events of a run.
    """
    events: list[Json] = []
    _RecordTrace(snapshot(record), Sheet(events.append)).draw()
    about = _about(record.run_id, record.name, record.status)
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def _about(run_id: str, name: str, status: str | None) -> Json:
    shown = {"run_id": legible(run_id), "name": legible(name), "status": status}
    return {"producer": "antichain", "version": VERSION, **shown}


def _limit(name: str) -> str:
    return f"limit {name}"


def _arguments(node: NodeRecord) -> Json:
    """
    Tell of a node what its slice does not show.
    """
    args: Json = {"node": legible(node.id, None), "state": node.state, "reason": node.reason}
    if node.attempts != 1:
        args["attempts"] = node.attempts
    if node.started_at is not None and node.ready_at is not None:
        args["waited_seconds"] = round(node.started_at - node.ready_at, 6)
    if node.abandoned:
        args["abandoned"] = True
    return {**args, **_error(node.error), **_relations(node.group, node.upstream, node.uses)}


def _relations(group: str, upstream: Sequence[str], uses: Uses) -> Json:
    args: Json = {"group": legible(group, None)} if group else {}
    if upstream:
        args["upstream"] = [legible(name) for name in upstream[:LISTED]]
        if len(upstream) > LISTED:
            args["upstream"].append(f"… and {len(upstream) - LISTED} more")
    if uses:
        args["uses"] = {legible(name): number for name, number in uses}
    return args


class _RecordTrace:
    """
    Draw a record on a sheet.
    """

    def __init__(self, run: RunRecord, sheet: Sheet) -> None:
        self._run = run
        self._sheet = sheet
        self._start, self._end = span_of(run)
        self._members = members(run)
        self._nodes = ordered(self._members)
        # Where each node is drawn that ran, its start, and the microsecond at which its slice ends; by its id.
        self._drawn: dict[str, tuple[Place, float, int]] = {}

    def draw(self) -> None:
        run, sheet = self._run, self._sheet
        sheet.zero = self._start
        sheet.begin(run.name, run.run_id)
        args = {"status": run.status, "run_id": legible(run.run_id), "nodes": len(run.nodes)}
        sheet.slice(Place(RUN, WHOLE), run.name or "run", "run", self._start, self._end, args)
        self._path()
        self._slices()
        self._waits()
        self._arrows()
        self._counters()

    def _path(self) -> None:
        reached, after = self._start, 0
        for name in critical_path(self._run, inside=self._members):
            node = self._run.nodes[name]
            if node.started_at is not None and node.ended_at is not None:
                # A stage that is fed by another one runs beside it.
                start = max(node.started_at, reached)
                reached = max(node.ended_at, start)
                place = Place(RUN, CRITICAL)
                after = self._sheet.slice(place, name, "critical", start, reached, _arguments(node), after)

    def _in_time(self) -> list[tuple[float, float, NodeRecord]]:
        """
        List the nodes that ran with start and end, first starts first, and of equals those that bring others.
        """
        ran = [(node.started_at, node) for node in self._nodes if node.started_at is not None]
        ran.sort(key=lambda item: (item[0], item[1].id not in self._members))
        return [(start, self._end if node.ended_at is None else node.ended_at, node) for start, node in ran]

    def _slices(self) -> None:
        sheet = self._sheet
        for start, end, node in self._in_time():
            if node.group in self._members:
                sheet.open_block(node.group)
            place = sheet.take(node.group, start)
            drawn = sheet.slice(place, node.id, node.state, start, end, _arguments(node))
            sheet.give_back(place, drawn)
            self._drawn[node.id] = place, start, drawn
        for node in self._nodes:
            if node.started_at is None:
                instant = node.ended_at if node.ended_at is not None else node.ready_at
                if instant is not None:
                    sheet.mark(Place(RUN, WHOLE), f"{node.state}: {node.id}", instant, _arguments(node))

    def _waits(self) -> None:
        waits = []
        for node in self._nodes:
            end = node.started_at if node.started_at is not None else node.ended_at
            if node.ready_at is not None and end is not None and self._sheet.at(end) > self._sheet.at(node.ready_at):
                waits.append((node.ready_at, end, node))
        waits.sort(key=lambda item: item[:2])
        for start, end, node in waits:
            place = self._sheet.take_wait(start)
            if place is not None:
                args = _relations(node.group, (), node.uses)
                self._sheet.give_back(place, self._sheet.slice(place, node.id, "wait", start, end, args))

    def _arrows(self) -> None:
        nodes = self._run.nodes
        is_dense = sum(len(node.upstream) for node in nodes.values()) > ARROWS
        for name, (place, start, _) in self._drawn.items():
            sources = [self._drawn[before] for before in nodes[name].upstream if before in self._drawn]
            if is_dense:
                # The one that the node waited for: the last that ended before it began.
                began = self._sheet.at(start)
                sources = sorted((source for source in sources if source[2] - 1 <= began), key=_drawn_to)[-1:]
            for source, _, drawn in sources:
                self._sheet.arrow(source, drawn, place, start)

    def _counters(self) -> None:
        changes: list[tuple[float, int, str]] = []
        for start, end, node in self._in_time():
            if node.id not in self._members:
                for name, number in ((RUNNING, 1), *((_limit(name), number) for name, number in node.uses)):
                    changes += [(start, number, name), (end, -number, name)]
        for node in self._nodes:
            until = node.started_at if node.started_at is not None else node.ended_at
            if node.ready_at is not None:
                changes += [(node.ready_at, 1, WAITS), (self._end if until is None else until, -1, WAITS)]
        changes.sort(key=lambda item: item[0])
        for instant, change, name in changes:
            self._sheet.count(name, change, instant)
        self._sheet.end_counters()


def _drawn_to(drawn: tuple[Place, float, int]) -> int:
    return drawn[2]


# -- of events


@dataclass(slots=True)
class _Live:
    """
    What is known of a node that has not ended.
    """

    group: str
    upstream: tuple[str, ...]
    uses: Uses
    attempt: int = 0
    # Since when it is ready, runs, or pauses before it is tried again; None while it does not.
    ready_at: float | None = None
    started_at: float | None = None
    paused_at: float | None = None
    waited: float = 0.0
    # Where it is drawn from its first start to its end, and where its first wait is.
    place: Place | None = None
    wait_place: Place | None = None
    # The microsecond up to which its lane is drawn.
    drawn: int = 0
    # It has brought nodes: those run, and it waits for them.
    is_container: bool = False


class EventTrace:
    """
    Draw a run while it goes on: a listener. Each attempt is a slice, so is each pause before the next, each wait for
    slots.

    What is drawn lies in a temporary file once there is much of it: memory is kept for what has not ended.

    Example:
        >>> trace = EventTrace()
        >>> graph = Graph("sum")
        >>> _ = graph.add("answer", lambda: 42)
        >>> _ = graph.run(listeners=[trace])
        >>> trace.write("/dev/null")
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115  # until the end
        weakref.finalize(self, self._file.close)
        self._has_events = False
        self._sheet = Sheet(self._append)
        self._live: dict[str, _Live] = {}
        self._ended: OrderedDict[str, tuple[Place, int]] = OrderedDict()
        self._run: RunStarted | None = None
        self._status: str | None = None
        self._now = 0.0
        self._is_finished = False

    def _append(self, event: Json) -> None:
        self._file.write((",\n" if self._has_events else "") + json.dumps(event, separators=(",", ":")))
        self._has_events = True

    def __call__(self, event: Event) -> None:
        """
        Draw what *event* says.
        """
        self._now = event.time
        match event:
            case RunStarted():
                self._begin(event)
            case NodeEntered():
                self._enter(event)
            case NodeReady():
                self._ready(event)
            case NodeStarted():
                self._start(event)
            case NodeAsks():
                asked = {"number": event.number, "text": legible(" ".join(event.text.split()), SHOWN_QUESTION)}
                self._mark(event, f"asks: {event.node}", asked)
            case NodeAnswered():
                self._mark(event, f"answered: {event.node}", {"number": event.number})
            case NodeRetrying():
                self._pause(event)
            case NodeEnded():
                self._end(event)
            case RunEnded():
                self._status = event.status
            case Chunk():
                pass
            case _:
                assert_never(event)

    def write(self, path: str | os.PathLike[str]) -> None:
        """
        Write the trace to a file, all of it or nothing; of a run that goes on, what there is so far.

        Raises:
            OSError: there is no place for it.
        """
        self._finish()
        target = Path(path).resolve()
        if target.exists() and not target.is_file():
            # A pipe or a device is no place to put a file in.
            with target.open("w", encoding="utf-8") as stream:
                self._copy(stream)
            return
        part = target.with_name(f".trace-{os.getpid()}.part")
        try:
            with part.open("w", encoding="utf-8") as stream:
                self._copy(stream)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _copy(self, stream: TextIO) -> None:
        run = self._run
        run_id, name = (run.run_id, run.name) if run is not None else ("", "")
        about = json.dumps(_about(run_id, name, self._status))
        stream.write(f'{{"displayTimeUnit":"ms","otherData":{about},"traceEvents":[\n')
        self._file.seek(0)
        shutil.copyfileobj(self._file, stream)
        stream.write("\n]}\n")

    def _finish(self) -> None:
        """
        Draw what has not ended as far as it came.
        """
        if self._is_finished:
            return
        self._is_finished = True
        for name, live in self._live.items():
            self._end_wait(name, live)
            self._end_pause(name, live)
            self._draw_attempt(name, live, "running", {})
        self._live.clear()
        self._sheet.end_counters()
        run = self._run
        if run is not None:
            args = {"status": self._status, "run_id": legible(run.run_id)}
            self._sheet.slice(Place(RUN, WHOLE), run.name or "run", "run", run.time, self._now, args)

    # -- what happens

    def _begin(self, event: RunStarted) -> None:
        self._run = event
        self._sheet.zero = event.time
        self._sheet.begin(event.name, event.run_id)
        for entry in event.outline.entries():
            self._live[entry.node] = _Live(entry.group, entry.upstream, entry.uses)

    def _enter(self, event: NodeEntered) -> None:
        self._live[event.node] = _Live(event.group, event.upstream, event.uses)
        owner = self._live.get(event.group)
        if owner is not None and not owner.is_container:
            self._sheet.open_block(event.group)
            if owner.started_at is not None:
                self._charge(owner, -1)
            owner.is_container = True

    def _ready(self, event: NodeReady) -> None:
        live = self._known(event.node)
        self._end_pause(event.node, live)
        live.ready_at = event.time
        self._sheet.count(WAITS, 1, event.time)
        if live.place is None:
            live.wait_place = self._sheet.take_wait(event.time)

    def _start(self, event: NodeStarted) -> None:
        live = self._known(event.node)
        live.waited = self._end_wait(event.node, live)
        live.attempt, live.started_at = event.attempt, event.time
        self._charge(live, 1)
        if live.place is None:
            live.place = self._sheet.take(live.group, event.time)
            for before in live.upstream:
                source = self._ended.get(before)
                if source is not None:
                    self._sheet.arrow(*source, live.place, event.time)

    def _mark(self, event: NodeAsks | NodeAnswered, name: str, args: Json) -> None:
        place = self._known(event.node).place
        if place is not None:
            self._sheet.mark(place, name, event.time, {"node": legible(event.node, None), **args})

    def _pause(self, event: NodeRetrying) -> None:
        live = self._known(event.node)
        self._draw_attempt(event.node, live, "failed", _error(event.error))
        live.paused_at = event.time

    def _end(self, event: NodeEnded) -> None:
        live = self._known(event.node)
        del self._live[event.node]
        self._end_wait(event.node, live)
        self._end_pause(event.node, live)
        args = {"reason": event.reason, **_error(event.error), **({"abandoned": True} if event.abandoned else {})}
        self._draw_attempt(event.node, live, event.state, args)
        if live.place is None:
            args = {"node": legible(event.node, None), "state": event.state, **args}
            args |= _relations(live.group, live.upstream, live.uses)
            self._sheet.mark(Place(RUN, WHOLE), f"{event.state}: {event.node}", event.time, args)
            return
        self._sheet.give_back(live.place, live.drawn)
        self._ended[event.node] = live.place, live.drawn
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    # -- what is drawn of it

    def _known(self, name: str) -> _Live:
        return self._live.setdefault(name, _Live("", (), ()))

    def _charge(self, live: _Live, sign: int) -> None:
        if not live.is_container:
            self._sheet.count(RUNNING, sign, self._now)
            for name, number in live.uses:
                self._sheet.count(_limit(name), sign * number, self._now)

    def _end_wait(self, name: str, live: _Live) -> float:
        """
        Draw the wait that ends now, and return how long it was.
        """
        start, place = live.ready_at, live.place or live.wait_place
        if start is None:
            return 0.0
        live.ready_at = None
        self._sheet.count(WAITS, -1, self._now)
        end = self._sheet.at(self._now)
        if place is not None and end > self._sheet.at(start):
            args = _relations(live.group, (), live.uses)
            end = self._sheet.slice(place, name, "wait", start, self._now, args, live.drawn)
        if live.place is not None:
            # Between two attempts a node waits on its own lane.
            live.drawn = max(end, live.drawn)
        elif live.wait_place is not None:
            self._sheet.give_back(live.wait_place, end)
        return self._now - start

    def _end_pause(self, name: str, live: _Live) -> None:
        if live.paused_at is not None and live.place is not None:
            args = {"after_attempt": live.attempt}
            title = f"pause before attempt {live.attempt + 1}: {name}"
            live.drawn = self._sheet.slice(live.place, title, "pause", live.paused_at, self._now, args, live.drawn)
        live.paused_at = None

    def _draw_attempt(self, name: str, live: _Live, state: str, args: Json) -> None:
        """
        Draw the attempt that runs, if one does, and let go of what it holds.
        """
        if live.started_at is None or live.place is None:
            return
        self._charge(live, -1)
        known: Json = {"node": legible(name, None), "state": state, "attempt": live.attempt}
        args = {**known, "waited_seconds": round(live.waited, 6), **args}
        args |= _relations(live.group, live.upstream, live.uses)
        title = name if live.attempt == 1 else f"{name} (attempt {live.attempt})"
        live.drawn = self._sheet.slice(live.place, title, state, live.started_at, self._now, args, live.drawn)
        live.started_at = None


def _error(error: BaseException | None) -> Json:
    return {} if error is None else {"error": legible(error_line(error), SHOWN_ERROR)}
