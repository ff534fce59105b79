"""
The loop of a run in virtual time: what the driver is to a real run. It carries out what a scheduler decides, and the
clock jumps from one event to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import Any, Protocol

from antichain.core.groups import Group
from antichain.core.scheduler import NO_PAST, NOTHING, Past, Scheduler
from antichain.errors import RunnerError
from antichain.policies import Amounts

__all__ = ["Bodies", "Simulation"]


class Bodies(Protocol):
    """
    Play the part of the nodes: what happens when the scheduler has decided something.
    """

    def begin(self, node: int, attempt: int) -> None:
        """
        An attempt has started; arrange its end.
        """

    def go_on(self, node: int) -> None:
        """
        A body that lent its slots has them back.
        """

    def interrupt(self, node: int, attempt: int) -> None:
        """
        An attempt is asked to end.
        """

    def give_up(self, node: int, attempt: int) -> None:
        """
        An attempt was abandoned: its node goes on without it.
        """

    def fall_back_late(self, node: int) -> None:
        """
        A node has waited for its slots for too long: make its fallback.
        """

    def judge(self, node: int) -> bool | None:
        """
        Return the value of a condition, None if it raises.
        """
        ...

    def weigh(self, node: int) -> Amounts | None:
        """
        Return what a node takes of rates by its inputs, None if that cannot be found out.
        """
        ...

    def complete(self, group: Group) -> None:
        """
        All members of a group have ended.
        """


class Simulation:
    """
    Carry out what a scheduler decides, in virtual time: the clock jumps from one event to the next.
    """

    def __init__(self, scheduler: Scheduler, bodies: Bodies, now: float = 0.0, *, is_timed: bool = True) -> None:
        self.scheduler = scheduler
        # Whether attempts have the timeouts of their nodes.
        self._is_timed = is_timed
        self.bodies = bodies
        self.now = now
        # (instant, sequence number, action, arguments): equal instants in the order in which they were arranged.
        self._agenda: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []  # Any: what the action takes
        self._sequence = 0

    def at(self, instant: float, action: Callable[..., object], *arguments: object) -> None:
        """
        Arrange that *action* is called at *instant*, before timers that are due then.
        """
        self._sequence += 1
        heappush(self._agenda, (instant, self._sequence, action, arguments))

    def run(self, given: Iterable[int] = (), past: Mapping[int, Past] = NO_PAST) -> None:
        """
        Go on until every node has ended; what is still arranged then happens too, so that late results are seen.

        Raises:
            RunnerError: nothing can happen any more, and the run has not ended.
        """
        scheduler, agenda = self.scheduler, self._agenda
        scheduler.start(self.now, given, past)
        self.settle()
        while not scheduler.has_ended:
            alarm = scheduler.next_at()
            if agenda and (alarm is None or agenda[0][0] <= alarm):
                self.now = max(self.now, agenda[0][0])
                while agenda and agenda[0][0] <= self.now:
                    _, _, action, arguments = heappop(agenda)
                    action(*arguments)
            elif alarm is not None:
                self.now = max(self.now, alarm)
                for node, attempt in scheduler.tick(self.now):
                    self.bodies.give_up(node, attempt)
            else:
                raise RunnerError("the simulated run never ends: nothing is left that could happen")
            self.settle()

    def finish(self) -> None:
        """
        Let what outlives the run happen too: late results, and abandoned attempts that return.
        """
        while self._agenda:
            instant, _, action, arguments = heappop(self._agenda)
            self.now = max(self.now, instant)
            action(*arguments)

    def settle(self) -> None:
        """
        Carry out everything that is to be done at this instant.
        """
        scheduler, bodies, now = self.scheduler, self.bodies, self.now
        while True:
            # Their errors are known: those of their last attempts; or made in the end, for those that starve.
            scheduler.failures.clear()
            if scheduler.interrupts:
                node, attempt = scheduler.interrupts.pop(0)
                bodies.interrupt(node, attempt)
            elif scheduler.completed:
                bodies.complete(scheduler.completed.pop(0))
            elif scheduler.overdue:
                bodies.fall_back_late(scheduler.overdue.pop(0))
            elif (judged := scheduler.next_to_judge()) != NOTHING:
                scheduler.judged(judged, bodies.judge(judged), now)
            elif (weighed := scheduler.next_to_weigh()) != NOTHING:
                scheduler.weighed(weighed, bodies.weigh(weighed), now)
            elif (taken := scheduler.take(now)) >= 0:
                if self._is_timed:
                    scheduler.arm(taken, scheduler.attempts[taken])
                bodies.begin(taken, scheduler.attempts[taken])
            elif taken != NOTHING:
                bodies.go_on(-2 - taken)
            else:
                break
        scheduler.look_for_starvation(now)
