"""
A scheduler arranged for a test: signals in, decisions out, every law checked after every signal.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from antichain.core.facts import FactStream
from antichain.core.groups import Group
from antichain.core.laws import LawfulScheduler
from antichain.core.scheduler import NOTHING
from antichain.core.signals import RunBegun, Signal, handle
from antichain.core.states import REASON_NAMES, STATE_NAMES
from antichain.policies import Backoff, LimitValue, Retry
from antichain.shape import Flag, Shape, shape_of

A, B, C, D, E, F = range(6)

# Pauses of exactly one, two, four … seconds.
PLAIN = Backoff(initial=1.0, factor=2.0, jitter=False)


def again(attempts: int = 3) -> Retry:
    """Try again after 1, 2, 4 … seconds."""
    return Retry(attempts=attempts, backoff=PLAIN)


class Arranged:
    """Nodes are numbers from 0; time is what the last signal said."""

    def __init__(
        self,
        upstream: Sequence[Sequence[int]] | Shape,
        *,
        given: Sequence[int] = (),
        uses: Mapping[int, Mapping[str, int]] | None = None,
        flags: Mapping[int, Flag] | None = None,
        join: Mapping[int, int] | None = None,
        priority: Mapping[int, int] | None = None,
        cost: Mapping[int, float] | None = None,
        retry: Mapping[int, Retry] | None = None,
        timeout: Mapping[int, Any] | None = None,
        followers: Mapping[int, list[int]] | None = None,
        max_concurrent: int | None = None,
        limits: Mapping[str, LimitValue] | None = None,
        on_error: str = "cancel",
        deadline: float | None = None,
        grace: float = 5.0,
        seed: int = 0,
    ) -> None:
        if isinstance(upstream, Shape):
            shape = upstream
        else:
            nodes = range(len(upstream))
            shape = shape_of(
                upstream,
                join=[(join or {}).get(node, 0) for node in nodes],
                demand=[tuple(sorted((uses or {}).get(node, {}).items())) for node in nodes],
                flags=[int((flags or {}).get(node, 0)) for node in nodes],
                priority=[(priority or {}).get(node, 0) for node in nodes],
                cost=[(cost or {}).get(node, 1.0) for node in nodes],
                retry=dict(retry or {}),
                timeout=dict(timeout or {}),
                followers=dict(followers or {}),
            )
        self.core = LawfulScheduler(
            shape,
            max_concurrent=max_concurrent,
            limits=limits,
            on_error=on_error,
            deadline=deadline,
            grace=grace,
            rng=Random(seed),
        )
        self.now = 0.0
        # What a listener was told, without its numbers.
        self.heard: list[tuple[str, int, float]] = []
        self.attempts: list[int] = []
        self.events: list[Any] = []
        core = self.core
        names = [str(node) for node in range(1000)]
        core.facts = FactStream(
            "run",
            [self._hear],
            names,
            (core.state, core.reason, core.ready_at),
            lambda _: None,
            lambda _: None,
            core.abandoned_nodes,
        )
        self.handle(RunBegun(given))

    def _hear(self, event: Any) -> None:
        self.heard.append((type(event).__name__, int(event.node), event.time))
        self.attempts.append(event.attempt)
        self.events.append(event)

    def handle(self, signal: Signal, now: float | None = None) -> Any:
        """Tell the scheduler at *now*, or at the instant of the last signal, and return its answer."""
        self.now = self.now if now is None else now
        return handle(self.core, signal, self.now)

    def taken(self, now: float | None = None) -> list[int]:
        """Take all that can start, and return it in order."""
        self.now = self.now if now is None else now
        nodes = []
        while (node := self.core.take(self.now)) != NOTHING:
            nodes.append(node)
        return nodes

    def asked(self) -> list[tuple[int, int]]:
        """Return the attempts that have to be interrupted since the last call."""
        asked = list(self.core.interrupts)
        self.core.interrupts.clear()
        return asked

    def completed(self) -> list[Group]:
        """Return the groups that have ended since the last call."""
        completed = list(self.core.completed)
        self.core.completed.clear()
        return completed

    def state(self, node: int) -> str:
        """Return the state of a node, with the reason once it has ended."""
        name = STATE_NAMES[self.core.state[node]]
        reason = REASON_NAMES[self.core.reason[node]]
        return f"{name}: {reason}" if self.core.state[node] >= 4 else name

    def states(self) -> list[str]:
        return [self.state(node) for node in range(len(self.core.state))]
