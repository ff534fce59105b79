"""
Plain progress lines on standard error: one for each failure and retry, and now and then how far the run is.
"""

import sys
from typing import Final, TextIO

from antichain.core.facts import Event, NodeEnded, NodeRetrying, NodeStarted, RunEnded, RunStarted
from antichain.printable import printable

# Seconds between two lines that only say how far the run is.
EVERY: Final = 1.0


class PlainProgress:
    """
    Print what happens, in lines that read well in a log file; a listener.
    """

    def __init__(self, stream: TextIO | None = None, every: float = EVERY) -> None:
        self._stream = stream
        self._every = every
        self._started_at = 0.0
        self._printed_at = 0.0
        self._planned = 0
        self._ended: dict[str, int] = {}
        self._running: set[str] = set()
        self._retries = 0

    def __call__(self, event: Event) -> None:
        """
        Print what *event* says, if it is worth a line.
        """
        match event:
            case RunStarted():
                self._started_at = self._printed_at = event.time
                self._planned = event.node_count
                nodes = "node" if event.node_count == 1 else "nodes"
                self._print(event.time, f"{printable(event.name)}: run {event.run_id}, {event.node_count} {nodes}")
            case NodeStarted():
                self._running.add(event.node)
            case NodeRetrying():
                self._running.discard(event.node)
                self._retries += 1
                cause = printable(f"{type(event.error).__name__}: {event.error}")
                again = f"attempt {event.attempt + 1} in {event.delay:.1f} s"
                self._print(event.time, f"{printable(event.node)}: {cause}; {again}")
            case NodeEnded():
                self._end(event)
            case RunEnded():
                self._print(event.time, f"{event.status}: {self._counts()}")
            case _:
                return

    def _end(self, event: NodeEnded) -> None:
        self._running.discard(event.node)
        self._ended[event.state] = self._ended.get(event.state, 0) + 1
        if event.state == "failed":
            cause = printable(f"{type(event.error).__name__}: {event.error}")
            self._print(event.time, f"{printable(event.node)}: failed ({event.reason}): {cause}")
        elif event.time - self._printed_at >= self._every:
            self._print(event.time, f"{self._counts()}, {len(self._running)} running")

    def _counts(self) -> str:
        total = sum(self._ended.values())
        parts = [f"{total} of {max(self._planned, total)} ended"]
        parts += [f"{count} {state}" for state, count in self._ended.items() if state != "succeeded"]
        if self._retries:
            parts.append(f"{self._retries} retried")
        return ", ".join(parts)

    def _print(self, now: float, text: str) -> None:
        self._printed_at = now
        print(f"[{now - self._started_at:7.1f} s] {text}", file=self._stream or sys.stderr, flush=True)
