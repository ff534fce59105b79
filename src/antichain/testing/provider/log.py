"""
What really happened, as the provider saw it. Entries are frozen; a call that changes gets a new one in the old place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from antichain.testing.provider.tokens import NOTHING, Usage

__all__ = ["Log", "LogEntry", "Outcome"]

Outcome: TypeAlias = Literal["open", "answered", "refused", "failed", "client left", "stopped"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """
    One call. All times are `time.monotonic()`.
    """

    # From 1, in order of arrival; `x-request-id` of the response is `req_` and this number.
    number: int
    arrived_at: float
    method: str
    path: str
    # Calls that were served when this one asked to be let in, itself not counted.
    in_flight: int = 0
    # When it was let in; None if it was not.
    started_at: float | None = None
    # Just before the last byte went out; None while it is open.
    ended_at: float | None = None
    model: str | None = None
    # None if no status line was sent.
    status: int | None = None
    # open · answered: all of a good answer was sent · refused: a 4xx of the provider's own rules · failed: by a script
    # · client left: closed the connection before its answer was complete · stopped: the provider was stopped before.
    outcome: Outcome = "open"
    # Kind of the Failure that hit it, whatever came of it; for a refusal its code.
    fault: str | None = None
    # What was charged: nothing for a refused call; for a stream that was broken off, what had been sent.
    tokens: Usage = NOTHING
    # Its place among the calls that were let in, from 1, and how often its content had come by then.
    turn: int | None = None
    attempt: int | None = None
    # Events of a stream that were sent, the last [DONE] included.
    chunks: int = 0
    # What Retry-After said, in seconds.
    retry_after: float | None = None
    # None if it was no JSON object.
    body: Mapping[str, Any] | None = None  # Any: JSON

    @property
    def waited(self) -> float | None:
        """
        Seconds from its arrival until it was let in.
        """
        return None if self.started_at is None else self.started_at - self.arrived_at

    @property
    def took(self) -> float | None:
        """
        Seconds from being let in to its end.
        """
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at


class Log:
    """
    Keep the entries. The provider's thread writes, any thread reads.
    """

    def __init__(self) -> None:
        # Invariant: entries[i].number == i + 1.
        self.entries: list[LogEntry] = []
        # Most calls that were served at once.
        self.peak = 0
        # Invariant: how many entries are open. Guarded by the condition.
        self._open = 0
        self._is_idle = threading.Condition()

    def begin(self, method: str, path: str) -> int:
        """
        Note that a call has arrived, and return its number.
        """
        number = len(self.entries) + 1
        with self._is_idle:
            self._open += 1
            self.entries.append(LogEntry(number, time.monotonic(), method, path))
        return number

    def note(self, number: int, **changes: Any) -> None:  # Any: values of an entry's fields
        """
        Change what is known of a call.
        """
        self.entries[number - 1] = replace(self.entries[number - 1], **changes)

    def end(self, number: int, outcome: Outcome, **changes: Any) -> None:  # Any: values of an entry's fields
        """
        Note how a call ended; a second time, because its last byte found nobody, corrects the first.
        """
        was_open = self.entries[number - 1].outcome == "open"
        self.note(number, outcome=outcome, ended_at=time.monotonic(), **changes)
        if was_open:
            with self._is_idle:
                self._open -= 1
                self._is_idle.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """
        Wait until no call is open; return whether that came to be.
        """
        with self._is_idle:
            return self._is_idle.wait_for(lambda: self._open == 0, timeout)
