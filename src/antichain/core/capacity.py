"""
Named limits of one run and the queues of ready nodes that wait for them: who fits, who is charged. No clock, no thread.

There is one queue for each *demand* (a distinct set of limits and weights), and the best head that fits is taken. A
full limit therefore never blocks a node that does not use it, and nobody has to be woken or parked.

A limit may also open by time: a rate, of which more may pass later, and an adaptive limit, which pauses. Who uses one
waits in a `TimedQueue`, and of those that share a rate the first come passes first.
"""

import math
from collections.abc import Mapping
from heapq import heappop, heappush

from antichain.errors import GraphError
from antichain.policies import AdaptiveLimit, Amounts, LimitValue, SharedLimit, SharedRate

UNLIMITED = 1 << 60


class Slots:
    """
    Count the units of one named limit that this run's attempts hold.
    """

    __slots__ = ("name", "size", "used")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        # Units charged by this run. Invariant: equals the weights of its running and abandoned attempts that name
        # the limit.
        self.used = 0

    def fits(self, weight: int) -> bool:
        return self.used + weight <= self.size

    def take(self, weight: int) -> bool:
        if self.used + weight > self.size:
            return False
        self.used += weight
        return True

    def give_back(self, weight: int) -> None:
        self.used -= weight

    def resize(self, size: int) -> None:
        self.size = size

    def is_out_of_reach(self, weight: int, held: int) -> bool:
        """
        Tell whether *weight* units can never be had while *held* units, of which there are some, do not come back.
        """
        return held > 0 and held + weight > self.size

    def is_too_small(self, weight: int) -> bool:
        """
        Tell whether *weight* units are more than there are, whoever holds them: the limit has been resized.
        """
        return weight > self.size


class SharedSlots(Slots):
    """
    The same for a limit that other runs may use too: the ledger is the limit's own, and `size` what it was at first.
    """

    __slots__ = ("limit",)

    def __init__(self, name: str, limit: SharedLimit) -> None:
        super().__init__(name, limit.size)
        self.limit = limit

    def fits(self, weight: int) -> bool:
        return self.limit.used + weight <= self.limit.size

    def take(self, weight: int) -> bool:
        # Another run, in another thread, may have taken them since `fits`.
        if not self.limit.acquire(weight):
            return False
        self.used += weight
        return True

    def give_back(self, weight: int) -> None:
        self.used -= weight
        self.limit.release(weight)

    def resize(self, size: int) -> None:
        self.limit.resize(size)

    def is_out_of_reach(self, weight: int, held: int) -> bool:
        # What other runs hold will come back.
        return held > 0 and held + weight > self.limit.size

    def is_too_small(self, weight: int) -> bool:
        return weight > self.limit.size


class AdaptiveSlots(SharedSlots):
    """
    The same for a limit that finds its size by itself, and pauses.
    """

    __slots__ = ("adaptive", "alarm_at", "number", "now", "sequence")

    def __init__(self, name: str, limit: AdaptiveLimit, number: int) -> None:
        super().__init__(name, limit)
        self.adaptive = limit
        # Under which the timer for its opening is known; and that timer, if there is one.
        self.number = number
        self.sequence = 0
        self.alarm_at = 0.0
        # The instant of the signal that is being taken in.
        self.now = 0.0

    def is_too_small(self, weight: int) -> bool:
        # What is heavier than it is now passes alone.
        return False

    def fits(self, weight: int) -> bool:
        # What is heavier than it is now passes alone.
        used = self.limit.used
        return not used or used + weight <= self.limit.size

    def take(self, weight: int) -> bool:
        if not self.adaptive.acquire(weight, self.now):
            return False
        self.used += weight
        return True


class RateSlots:
    """
    What a run knows of a rate: nothing is held, but what an attempt has taken is settled once it is known.
    """

    __slots__ = ("alarm_at", "limit", "name", "number", "sequence", "stands", "who")

    def __init__(self, name: str, limit: SharedRate, number: int) -> None:
        self.name = name
        self.limit = limit
        self.number = number
        self.sequence = 0
        self.alarm_at = 0.0
        # Under which the run stands in line with the others that share the rate, and whether it does.
        self.who = limit.join()
        self.stands = False

    def stand(self, since: float, amounts: Mapping[str, float], now: float) -> float:
        """
        Let the first in line, which came at *since*, wait; returns the instant at which it may pass.
        """
        try:
            at = self.limit.stand(self.who, since, amounts, now)
        except GraphError:
            # The rate has become smaller than that since it was checked.
            at = math.inf
        self.stands = at > now
        return at

    def leave(self) -> None:
        """
        Wait no more: nobody is first in line here.
        """
        if self.stands:
            self.stands = False
            self.limit.leave(self.who)

    def amounts(self, weight: int, given: Amounts | None) -> Mapping[str, float]:
        """
        Return how much of each unit a call takes: what is *given*, else what *weight* calls are taken to need.
        """
        if given is not None and self.name in given:
            return given[self.name]
        return self.limit.plain(weight)

    def opens_at(self, since: float, amounts: Mapping[str, float], now: float) -> float:
        """
        Return the same, without standing in line.
        """
        try:
            return self.limit.stand(self.who, since, amounts, now, looks_only=True)
        except GraphError:
            return math.inf


# What may let nodes start by the passing of time alone.
TimedSlots = AdaptiveSlots | RateSlots


class Ticket:
    """
    Remember what an attempt has taken of a rate.
    """

    __slots__ = ("number", "slots")

    def __init__(self, slots: RateSlots, number: int) -> None:
        self.slots = slots
        self.number = number


class Queue:
    """
    Ready nodes of one demand, best key first; an entry whose node is no longer ready under that key is stale.
    """

    __slots__ = ("backlog", "charged", "demand", "heap", "is_timed", "needs", "slots", "weight")

    def __init__(
        self, demand: tuple[tuple[str, int], ...], needs: tuple[tuple[Slots, int], ...], *, charged: bool
    ) -> None:
        self.demand = demand
        self.needs = needs
        # The only limit that is needed, if it is but one and this run's own: the hot path counts it in place.
        self.slots: Slots | None = None
        self.weight = 0
        if len(needs) == 1 and type(needs[0][0]) is Slots:
            self.slots, self.weight = needs[0]
        # Containers and judgements take no slot of `max_concurrent`.
        self.charged = charged
        self.is_timed = False
        self.heap: list[int] = []
        # What was ready from the start, worst first: taking from a sorted list costs no sifting.
        self.backlog: list[int] = []

    def head(self) -> int | None:
        heap, backlog = self.heap, self.backlog
        if heap:
            return heap[0] if not backlog or heap[0] < backlog[-1] else backlog[-1]
        return backlog[-1] if backlog else None

    def pop(self) -> int:
        heap, backlog = self.heap, self.backlog
        if backlog and (not heap or backlog[-1] < heap[0]):
            return backlog.pop()
        return heappop(heap)

    def fits(self) -> bool:
        for slots, weight in self.needs:
            if not slots.fits(weight):
                return False
        return True

    def too_small(self) -> tuple[str, int, int] | None:
        """
        Name a limit that has become smaller than what is needed of it, with its size and the need.
        """
        for slots, weight in self.needs:
            if slots.is_too_small(weight):
                return slots.name, most_of(slots), weight
        return None

    def charge(self) -> bool:
        """
        Take all units of the demand, or none.
        """
        for position, (slots, weight) in enumerate(self.needs):
            if not slots.take(weight):
                for taken, units in self.needs[:position]:
                    taken.give_back(units)
                return False
        return True

    def release(self) -> None:
        for slots, weight in self.needs:
            slots.give_back(weight)


# Of a node in a timed queue: when it came, where it has to wait its turn; and its key.
Place = tuple[float, int]


class TimedQueue(Queue):
    """
    The same where a limit opens by time. Where that is a rate, the first come is the first: rates have no best node.
    """

    __slots__ = ("adaptive", "line", "rates", "refused")

    def __init__(
        self,
        demand: tuple[tuple[str, int], ...],
        needs: tuple[tuple[Slots, int], ...],
        rates: tuple[tuple[RateSlots, int], ...],
    ) -> None:
        super().__init__(demand, needs, charged=True)
        # Counted in place nowhere.
        self.slots = None
        self.is_timed = True
        self.rates = rates
        self.adaptive = tuple([(slots, weight) for slots, weight in needs if isinstance(slots, AdaptiveSlots)])
        # A heap.
        self.line: list[Place] = []
        # The head that could not start when it was last tried, for a reason that time takes away or another one did;
        # and the round of the scheduler in which that was.
        self.refused: tuple[int, Place] | None = None

    def push(self, arrived: float, key: int) -> None:
        """
        Let a node wait under *key* that came at *arrived*.
        """
        heappush(self.line, (arrived if self.rates else 0.0, key))

    def take_rates(self, given: Amounts | None, now: float) -> list[Ticket] | None:
        """
        Let an attempt pass all rates of the demand, or none.
        """
        tickets: list[Ticket] = []
        for slots, weight in self.rates:
            try:
                number = slots.limit.acquire(slots.amounts(weight, given), now, weight, slots.who)
            except GraphError:
                # It has become smaller than that in another thread, since it was asked.
                number = None
            if number is None:
                for ticket in tickets:
                    ticket.slots.limit.give_back(ticket.number, now)
                return None
            tickets.append(Ticket(slots, number))
        return tickets


def most_of(slots: Slots | None) -> int:
    """
    Return the most units that one attempt can have of a limit; none of one that there is not.
    """
    if slots is None:
        return 0
    if isinstance(slots, AdaptiveSlots):
        return slots.adaptive.maximum
    return slots.limit.size if isinstance(slots, SharedSlots) else slots.size


def open_slots(limits: Mapping[str, LimitValue], first: int = 0) -> tuple[dict[str, Slots], dict[str, RateSlots]]:
    """
    Make the ledgers of a run's named limits, and of those that are rates. What opens by time is numbered from *first*.
    """
    counts: dict[str, Slots] = {}
    rates: dict[str, RateSlots] = {}
    for number, (name, size) in enumerate(limits.items(), first):
        if isinstance(size, int):
            counts[name] = Slots(name, size)
        elif isinstance(size, SharedRate):
            rates[name] = RateSlots(name, size, number)
        elif isinstance(size, AdaptiveLimit):
            counts[name] = AdaptiveSlots(name, size, number)
        else:
            counts[name] = SharedSlots(name, size)
    return counts, rates
