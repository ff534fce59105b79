"""
What the nodes of a run wait for at one instant, in a form whose size does not grow with the run. Nothing here decides,
and nothing is changed by looking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from antichain.core.capacity import UNLIMITED, Queue, RateSlots, TimedQueue
from antichain.core.states import READY, RUNNING
from antichain.shape import INDEX_MASK, Flag

if TYPE_CHECKING:
    from antichain.core.scheduler import Scheduler

__all__ = ["Capacity", "Line", "lines", "open_capacities", "running"]

T = TypeVar("T", int, tuple[float, int])

# Of longer lines the entries are counted without a look at each: some may be stale.
COUNTED_EXACTLY = 10_000
_CONTAINER = int(Flag.CONTAINER)


class Line(NamedTuple):
    """
    The ready nodes that want the same: how many, and the first of them in their order.
    """

    uses: tuple[tuple[str, int], ...]
    number: int
    first: Sequence[int]


class Capacity(NamedTuple):
    """
    How one limit stands.
    """

    name: str
    # limit, adaptive or rate.
    kind: str
    # Slots that are taken, over all runs that share it, and in all; None of a rate.
    used: int | None = None
    size: int | None = None
    # The instant before which nobody starts, and that at which the first in line may pass; None if nothing is so.
    paused_until: float | None = None
    opens_at: float | None = None
    # Of a rate: what may pass in how many seconds, by unit; and what has passed in those that end now.
    per: float | None = None
    units: Sequence[tuple[str, float, float]] = ()


def running(core: Scheduler, most: int) -> tuple[int, list[int]]:
    """
    Count the attempts that run, and list the nodes of the first *most* of them in definition order; without containers.
    """
    found: list[int] = []
    count, node = 0, core.state.find(RUNNING)
    while node >= 0:
        if not core.flags[node] & _CONTAINER and node not in core._returning:
            count += 1
            found.append(node)
            if len(found) == most:
                # Counting is cheap; the few containers and bodies that wait to go on are not told apart here.
                return count + core.state.count(RUNNING, node + 1), found
        node = core.state.find(RUNNING, node + 1)
    return count, found


def lines(core: Scheduler, most: int) -> list[Line]:
    """
    List who is ready and has not started, by what they want: the longest line first, and *most* names at most in all,
    some of each.
    """
    timed = () if core.lines is None else core.lines.queues
    waiting = [(queue, _length(core, queue)) for queue in (*core.queues, *timed)]
    waiting = sorted([each for each in waiting if each[1]], key=lambda each: -each[1])[:most]
    share = max(1, most // max(1, len(waiting)))
    found = []
    for queue, count in waiting:
        first: list[int] = []
        for key in _in_order(queue):
            if _waits(core, key):
                first.append(key & INDEX_MASK)
                if len(first) == share:
                    break
        # What looked like somebody who waits may be gone.
        if first:
            found.append(Line(queue.demand, max(count, len(first)), first))
    return found


def open_capacities(core: Scheduler, names: Sequence[str], now: float) -> list[Capacity]:
    """
    Tell how the limits of those *names* stand, and how many attempts may run at once in all, under an empty name.
    """
    found = []
    if core.max_concurrent != UNLIMITED:
        found.append(Capacity("", "limit", core.max_concurrent - core.free, core.max_concurrent))
    timed = {} if core.lines is None else {state.name: state for state in core.lines.limit_states(now)}
    for name in names:
        state = timed.get(name)
        paused_until = now + state.paused if state is not None and state.paused > 0 else None
        if name in core.rates:
            opens_in = None if state is None else state.opens_in
            opens_at = None if opens_in is None else now + opens_in
            found.append(_rate(core.rates[name], paused_until, opens_at, now))
        elif state is not None:
            found.append(Capacity(name, "adaptive", state.used, state.size, paused_until))
        elif (slots := core.limits.get(name)) is not None:
            # Of one that other runs share: what they hold too.
            ledger = getattr(slots, "limit", slots)
            found.append(Capacity(name, "limit", ledger.used, ledger.size))
    return found


def _rate(slots: RateSlots, paused_until: float | None, opens_at: float | None, now: float) -> Capacity:
    limit = slots.limit
    # Whoever wrote a rate of his own need not know it.
    tell = getattr(limit, "passed", None)
    passed = {} if tell is None else tell(now)
    units = [(unit, passed.get(unit, 0.0), size) for unit, size in limit.units.items()]
    return Capacity(slots.name, "rate", None, None, paused_until, opens_at, limit.per, units)


def _waits(core: Scheduler, key: int) -> bool:
    node = key & INDEX_MASK
    return core.key[node] == key and (core.state[node] == READY or node in core._returning)


def _length(core: Scheduler, queue: Queue) -> int:
    places = queue.line if isinstance(queue, TimedQueue) else None
    length = len(queue.heap) + len(queue.backlog) if places is None else len(places)
    if not length or length > COUNTED_EXACTLY:
        return length
    keys = [*queue.heap, *queue.backlog] if places is None else [place[1] for place in places]
    return sum([_waits(core, key) for key in keys])


def _in_order(queue: Queue) -> Iterator[int]:
    """
    Go through the keys of those that wait in a queue, the best first, as far as somebody asks.
    """
    if isinstance(queue, TimedQueue):
        for _, key in _sorted(queue.line):
            yield key
        return
    heap = _sorted(queue.heap)
    best = next(heap, None)
    for key in reversed(queue.backlog):
        while best is not None and best < key:
            yield best
            best = next(heap, None)
        yield key
    if best is not None:
        yield best
        yield from heap


def _sorted(heap: Sequence[T]) -> Iterator[T]:
    """
    Go through a heap in its order without changing it, at the cost of what is taken.
    """
    left = [(heap[0], 0)] if heap else []
    while left:
        value, at = heappop(left)
        yield value
        for below in (2 * at + 1, 2 * at + 2):
            if below < len(heap):
                heappush(left, (heap[below], below))
