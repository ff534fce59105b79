"""
Maps whose items say themselves which limits they use: items of a full limit wait aside, so that none of another waits
behind them; and where all wait for something that they share, each choice has its turn. No clock and no task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from antichain.core.facts import Uses
from antichain.core.scheduler import Kind
from antichain.errors import Fault, GraphError, shown
from antichain.items import Items
from antichain.policies import Weighing, as_uses, as_weighing

__all__ = ["Chosen", "Choosing"]

# How many items of an iterator may wait aside: beyond that nothing is read, whatever limits the next ones use.
ASIDE: Final = 1024


class Chosen(NamedTuple):
    """
    An item with what it takes; or with why that could not be found out.
    """

    position: int
    item: Any  # the user's
    uses: Uses
    kind: Kind
    error: BaseException | None
    # Items of a lower turn go first.
    turn: int = 0


class Choosing:
    """
    Ask for each item which limits it uses, and hand out items of which no more than a window use the same.
    """

    def __init__(
        self,
        name: str,
        choose: Callable[[Any], Any],  # Any: an item; whatever uses= takes
        base: tuple[Uses, Kind],
        window: int,
        demand_of: Callable[[Uses, Sequence[tuple[str, Weighing]]], int],
        *,
        is_counted: bool,
    ) -> None:
        self._name = name
        self._choose = choose
        # Returns the number of a demand, if the run has the limits that it names.
        self._demand_of = demand_of
        # What every item takes, and what they have in common.
        self._base, self._kind = base
        self._window = window
        # All items of a collection are there anyway.
        self._most = float("inf") if is_counted else ASIDE
        # How many items in the run use the same limits; and those of each that wait aside, in order.
        self._live: dict[Uses, int] = {}
        self._aside: dict[Uses, deque[Chosen]] = {}
        self._waiting = 0
        # What items in the run use, by position, and their turns.
        self._uses: dict[int, tuple[Uses, int]] = {}
        # The turn of the last item of each choice, and of the last one that has ended: who comes late does not make up
        # for what it has missed (start-time fair queueing, Goyal, Vin and Cheng, SIGCOMM 1996).
        self._turns: dict[Uses, int] = {}
        self._turn = 0

    @property
    def has_waiting(self) -> bool:
        """
        Tell whether items wait aside.
        """
        return self._waiting > 0

    def waiting(self) -> list[tuple[int, Any]]:
        """
        List the items that wait aside, with their positions.
        """
        return [(chosen.position, chosen.item) for line in self._aside.values() for chosen in line]

    def next(self, items: Items) -> Chosen | None:
        """
        Return the first item for which there is room; None if there is none now.
        """
        found = min(
            (line[0] for uses, line in self._aside.items() if line and self._has_room(uses)),
            key=lambda chosen: chosen.position,
            default=None,
        )
        if found is not None:
            self._aside[found.uses].popleft()
            self._waiting -= 1
            return self._hand_out(found)
        while self._waiting < self._most:
            taken = items.next()
            if taken is None:
                return None
            chosen = self._chosen(*taken)
            if self._has_room(chosen.uses):
                return self._hand_out(chosen)
            self._aside.setdefault(chosen.uses, deque()).append(chosen)
            self._waiting += 1
        return None

    def _has_room(self, uses: Uses) -> bool:
        return self._live.get(uses, 0) < self._window

    def _hand_out(self, chosen: Chosen) -> Chosen:
        uses = chosen.uses
        self._live[uses] = self._live.get(uses, 0) + 1
        turn = self._turns[uses] = max(self._turns.get(uses, -1) + 1, self._turn)
        self._uses[chosen.position] = (uses, turn)
        return chosen._replace(turn=turn)

    def ended(self, position: int) -> None:
        """
        Hear that an item is not in the run any more.
        """
        known = self._uses.pop(position, None)
        if known is not None:
            uses, turn = known
            self._live[uses] -= 1
            self._turn = max(self._turn, turn)

    def _chosen(self, position: int, item: Any) -> Chosen:
        try:
            given = self._choose(item)
            weighing = as_weighing(given)
            if weighing is not None and (weighing.choose is not None or weighing.weights):
                text = f"uses= of map {self._name!r} came out as {shown(given)}: for an item, weights are numbers."
                raise GraphError(Fault("bad-policy", text, self._name))
            uses = tuple(sorted({**dict(self._base), **dict(as_uses(given))}.items()))
            weighings = () if weighing is None else ((self._name, weighing),)
            demand = self._demand_of(uses, weighings)
        except Exception as error:  # noqa: BLE001  # the user's function: what it raises is the failure of the item
            return Chosen(position, item, (), replace(self._kind, demand=0, retry=None), error)
        amounts = None if weighing is None else weighing.amounts
        kind = replace(self._kind, demand=demand, amounts=amounts)
        return Chosen(position, item, uses, kind, None)
