"""
Named limits of one run and the queues of ready nodes that wait for them: who fits, who is charged. No clock, no thread.

There is one queue for each *demand* (a distinct set of limits and weights), and the best head that fits is taken. A
full limit therefore never blocks a node that does not use it, and nobody has to be woken or parked.
"""

from collections.abc import Mapping
from heapq import heappop

from antichain.policies import SharedLimit

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


class Queue:
    """
    Ready nodes of one demand, best key first; an entry whose node is no longer ready under that key is stale.
    """

    __slots__ = ("backlog", "charged", "demand", "heap", "needs", "slots", "weight")

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


def open_slots(limits: Mapping[str, int | SharedLimit]) -> dict[str, Slots]:
    """
    Make the ledgers of a run's named limits.
    """
    return {
        name: Slots(name, size) if isinstance(size, int) else SharedSlots(name, size) for name, size in limits.items()
    }
