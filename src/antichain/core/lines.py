"""
Who waits for limits that open by time, and whose turn it is: rates, of which more may pass later, and adaptive limits,
which pause. What follows for the nodes is the scheduler's to decide.

A run has `Lines` from the moment in which it knows such a limit; without one, nothing here is imported.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop
from typing import Final

from antichain.core.capacity import AdaptiveSlots, Place, RateSlots, Slots, Ticket, TimedQueue, TimedSlots
from antichain.core.facts import LimitState
from antichain.core.timers import LIMIT_OPENS, Timers
from antichain.policies import Amounts
from antichain.shape import INDEX_MASK

__all__ = ["RACE_PAUSE", "TRIES", "Lines"]

# How often a node is tried for which another run was faster, and the seconds until it is tried again then.
TRIES: Final = 8
RACE_PAUSE: Final = 0.01


class Lines:
    """
    Know since when nodes wait for limits that open by time, what they take of them, and which of them may start.

    Args:
        timers: where an instant is noted at which a limit opens.
        amounts: what nodes take of rates, where that is more than a number of calls. Only read here.
        attempts: the number of the current attempt of each node. Only read here.
        is_waiting: tells whether an entry with that key is its node's, and the node still waits for its slots.
    """

    def __init__(
        self,
        timers: Timers,
        amounts: Mapping[int, Amounts],
        attempts: Sequence[int],
        is_waiting: Callable[[int], bool],
    ) -> None:
        self._timers = timers
        self._amounts = amounts
        self._attempts = attempts
        self._is_waiting = is_waiting
        # Limits that open by time, by the numbers that their timers carry; and the rates among them.
        self._openers: dict[int, TimedSlots] = {}
        self._rates: list[RateSlots] = []
        # One for each demand that names such a limit.
        self.queues: list[TimedQueue] = []
        # Nodes whose inputs tell what they take of rates, and have not yet; those of them that are ready, in the order
        # in which they became so.
        self._unweighed: set[int] = set()
        self._weighing: deque[int] = deque()
        # Since when nodes wait that have to wait their turn.
        self._arrived: dict[int, float] = {}
        # What the current attempt of a node has taken of rates.
        self._tickets: dict[int, tuple[int, list[Ticket]]] = {}
        # The first in some line waits for more than a rate lets pass, and the caller has to say what follows.
        self.is_hopeless = False
        # Counts what may let a node start that was refused: see `TimedQueue.refused`.
        self._round = 0

    # -- what there is

    def know(self, limits: Mapping[str, Slots], rates: Mapping[str, RateSlots]) -> None:
        """
        Take in limits that the run has from now on; those that do not open by time are passed over.
        """
        for slots in limits.values():
            if isinstance(slots, AdaptiveSlots):
                self._openers[slots.number] = slots
        for rate in rates.values():
            self._openers[rate.number] = rate
            self._rates.append(rate)

    def use(self, queue: TimedQueue) -> None:
        """
        Look at *queue* from now on.
        """
        if queue not in self.queues:
            self.queues.append(queue)

    def ask_for(self, node: int) -> None:
        """
        Take in that the inputs of *node* tell what it takes of rates: once it is ready, somebody has to say it.
        """
        self._unweighed.add(node)

    def forget(self, node: int) -> None:
        """
        Drop what is known of a node that has ended.
        """
        self._unweighed.discard(node)
        self._arrived.pop(node, None)

    # -- waiting

    def arrive(self, queue: TimedQueue, key: int, now: float) -> None:
        """
        Let a node that is ready wait its turn; one that has to be weighed, for that first.
        """
        node = key & INDEX_MASK
        self._arrived[node] = now
        if node in self._unweighed:
            self._weighing.append(node)
        else:
            queue.push(now, key)

    def wait_on(self, queue: TimedQueue, key: int) -> None:
        """
        Let a node wait where it waited before, under a new key, or for slots that it has lent.
        """
        node = key & INDEX_MASK
        if node not in self._unweighed:
            queue.push(self._arrived.get(node, 0.0), key)

    @property
    def has_unweighed(self) -> bool:
        """
        Tell whether `next_unweighed` may return a node.
        """
        return bool(self._weighing)

    def next_unweighed(self) -> int | None:
        """
        Return a node that has arrived, and of which nobody has said what it takes; it may have ended since.
        """
        while self._weighing:
            node = self._weighing.popleft()
            if node in self._unweighed:
                return node
        return None

    def expects_weight(self, node: int) -> bool:
        """
        Tell whether *node* has arrived and waits for somebody to say what it takes.
        """
        return node in self._unweighed and node in self._arrived

    def weighed(self, node: int) -> None:
        """
        Take in that it is known what *node* takes: it may wait its turn.
        """
        self._unweighed.discard(node)

    def reconsider(self) -> None:
        """
        Take in that something has changed which may let nodes start: those that were refused are tried again.
        """
        self._round += 1

    def may_open(self) -> bool:
        """
        Tell whether `take` may return a node: some first in line fits and has not been refused since it changed.
        """
        for queue in self.queues:
            head = self._head_of(queue)
            if head is not None and queue.refused != (self._round, head) and queue.fits():
                return True
        return False

    # -- passing

    def take(self, rival: int | None, now: float) -> int | None:
        """
        Let the best node pass that may start, charged, unless the key *rival* of one that waits elsewhere is better.
        """
        for _ in range(TRIES):
            queue = self._best(now)
            if rival is not None and (queue is None or rival < queue.line[0][1] or not self._is_waiting(rival)):
                # What that takes may be what the first in line waits for.
                self._round += 1
                return None
            if queue is None:
                return None
            if self._pass(queue, now):
                # Others come first now.
                self._round += 1
                return heappop(queue.line)[1] & INDEX_MASK
        for slots in self._openers.values():
            self._look_at(slots, now + RACE_PAUSE, now)
        self._refuse_all()
        return None

    def _pass(self, queue: TimedQueue, now: float) -> bool:
        """
        Charge the first of *queue*; False if a run that shares a limit was faster.
        """
        if not queue.charge():
            return False
        if queue.rates:
            node = queue.line[0][1] & INDEX_MASK
            tickets = queue.take_rates(self._amounts.get(node), now)
            if tickets is None:
                queue.release()
                return False
            self._tickets[node] = (self._attempts[node] + 1, tickets)
        return True

    def _best(self, now: float) -> TimedQueue | None:
        """
        Find the queue whose head is the best that may start, and set a timer for each limit that keeps one waiting
        until it opens.

        Of the nodes whose count limits fit, the one that came first passes a rate first, however small the others are.
        """
        heads: list[tuple[Place, int, TimedQueue]] = []
        for number, queue in enumerate(self.queues):
            head = self._head_of(queue)
            if head is not None and queue.fits() and self._is_open(queue, head, now):
                heads.append((head, number, queue))
        if len(heads) > 1:
            heads.sort()
        # Rates whose first in line has been looked at.
        passed: set[int] = set()
        best: TimedQueue | None = None
        best_key = 0
        for head, _, queue in heads:
            if not self._may_pass(queue, head, passed, now):
                queue.refused = (self._round, head)
            elif best is None or head[1] < best_key:
                best, best_key = queue, head[1]
        for rate in self._rates:
            if rate.stands and rate.number not in passed:
                rate.leave()
        return best

    def _may_pass(self, queue: TimedQueue, head: Place, passed: set[int], now: float) -> bool:
        """
        Tell whether *head* is the first at each of its rates, none of which has *passed* another one, and all are open.
        """
        given = self._amounts.get(head[1] & INDEX_MASK)
        may_pass = True
        for slots, weight in queue.rates:
            if slots.number in passed:
                may_pass = False
                continue
            passed.add(slots.number)
            opens_at = slots.stand(head[0], slots.amounts(weight, given), now)
            if opens_at > now:
                may_pass = False
                self.is_hopeless = self.is_hopeless or opens_at == math.inf
                self._look_at(slots, opens_at, now)
        return may_pass

    def _head_of(self, queue: TimedQueue) -> Place | None:
        line = queue.line
        while line:
            if self._is_waiting(line[0][1]):
                return line[0]
            heappop(line)
        return None

    def _is_open(self, queue: TimedQueue, head: Place, now: float) -> bool:
        """
        Tell whether no adaptive limit of *queue* has paused.
        """
        is_open = True
        for slots, weight in queue.adaptive:
            slots.now = now
            opens_at = slots.adaptive.opens_at(now, weight)
            if opens_at > now:
                self._look_at(slots, opens_at, now)
                queue.refused = (self._round, head)
                is_open = False
        return is_open

    def _look_at(self, slots: TimedSlots, at: float, now: float) -> None:
        """
        Have a limit looked at again at that instant: each has one timer.
        """
        if slots.sequence and now < slots.alarm_at <= at:
            # Somebody else, who takes less of it, is to be looked at before.
            return
        if at != math.inf:
            slots.alarm_at = at
            slots.sequence = self._timers.set(at, LIMIT_OPENS, slots.number, 0)

    def _refuse_all(self) -> None:
        for queue in self.queues:
            if (head := self._head_of(queue)) is not None:
                queue.refused = (self._round, head)

    def watches(self, number: int, sequence: int) -> bool:
        """
        Tell whether that timer is the one by which limit *number* is looked at again.
        """
        return self._openers[number].sequence == sequence

    def opened(self, number: int) -> None:
        """
        Take in that the timer of limit *number* has rung.
        """
        self._openers[number].sequence = 0
        self._round += 1

    def leave(self) -> None:
        """
        Wait for no rate any more, so that nobody waits behind this run.
        """
        for rate in self._rates:
            rate.leave()

    # -- endings

    def settle(self, node: int, attempt: int, used: Mapping[str, float], now: float) -> bool:
        """
        Put what an attempt has really *used*, in all so far, in place of what was reserved of its rates; False if it
        has none. Units that a rate does not count are passed over.
        """
        held = self._tickets.get(node)
        if held is None or held[0] != attempt:
            return False
        for ticket in held[1]:
            limit = ticket.slots.limit
            counted = {unit: amount for unit, amount in used.items() if unit in limit.units}
            if counted:
                limit.settle(ticket.number, counted, now)
        self._round += 1
        return True

    def ended(self, node: int) -> None:
        """
        Take in that nothing more can be said of what *node* has used.
        """
        self._tickets.pop(node, None)

    def went_well(self, queue: TimedQueue, started_at: float, now: float) -> None:
        """
        Tell the adaptive limits of *queue* that an attempt which held them has ended well.
        """
        for slots, _ in queue.adaptive:
            slots.adaptive.succeeded(started_at, now)

    def overloaded(self, queue: TimedQueue, started_at: float, retry_after: float | None, now: float) -> None:
        """
        Tell the limits of *queue* that the other side of an attempt which holds them has too much to do. For
        *retry_after* seconds, if it says so, nobody on them starts.
        """
        for slots, _ in queue.adaptive:
            slots.adaptive.overloaded(started_at, now, retry_after)
        if retry_after is not None:
            for rate, _ in queue.rates:
                rate.limit.pause(now + retry_after)
        self._round += 1

    # -- asking

    def limit_states(self, now: float) -> list[LimitState]:
        """
        Tell how each limit stands that opens by time: what nodes wait for that wait for one.
        """
        states: list[LimitState] = []
        for slots in self._openers.values():
            if isinstance(slots, AdaptiveSlots):
                paused = max(0.0, slots.adaptive.paused_until - now)
                states.append(LimitState(slots.name, slots.limit.used, slots.limit.size, paused))
                continue
            paused = max(0.0, slots.limit.paused_until - now)
            first = self._next_to_pass(slots)
            if first is None:
                states.append(LimitState(slots.name, None, None, paused))
                continue
            weight, node = first
            wants = slots.amounts(weight, self._amounts.get(node))
            opens_in = slots.opens_at(self._arrived[node], wants, now) - now
            states.append(LimitState(slots.name, None, None, paused, opens_in, wants))
        return states

    def _next_to_pass(self, rate: RateSlots) -> tuple[int, int] | None:
        """
        Return the node that passes a rate next, after the weight by which it uses it.
        """
        best: Place | None = None
        found: tuple[int, int] | None = None
        for queue in self.queues:
            weight = next((units for slots, units in queue.rates if slots is rate), None)
            if weight is None or not queue.fits():
                continue
            # A copy, and nothing is dropped: a display may ask, in a thread of its own.
            head = min((place for place in list(queue.line) if self._is_waiting(place[1])), default=None)
            if head is not None and (best is None or head < best):
                best, found = head, (weight, head[1] & INDEX_MASK)
        return found

    def first_in_line(self) -> Iterator[tuple[int, str, Mapping[str, float]]]:
        """
        List the first node of each demand that waits for a rate, with the rate's name and what it takes of it.
        """
        for queue in self.queues:
            head = self._head_of(queue) if queue.rates else None
            if head is not None:
                node = head[1] & INDEX_MASK
                given = self._amounts.get(node)
                for slots, weight in queue.rates:
                    yield node, slots.name, slots.amounts(weight, given)
