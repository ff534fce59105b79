"""
What a list of runs says of one run, from its facts. Nothing here knows where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from antichain.stores.paths import is_within
from antichain.stores.protocol import Fact, FactKind, Header, RunLine

__all__ = ["Sum", "Summary", "line_of", "sum_up"]


@dataclass(frozen=True, slots=True)
class Summary:
    """
    The facts of a run, in numbers.
    """

    facts: int = 0
    # The status with which it has ended; empty while it has not.
    ended: str = ""
    # Wall-clock seconds since 1970 of the last fact; 0 without any.
    updated_at: float = 0.0
    # Nodes that have an output now.
    succeeded: int = 0


class Sum:
    """
    Fold the facts of one run, in their order, as they come.
    """

    __slots__ = ("_count", "_ended", "_forgotten", "_succeeded", "_updated_at", "size_bytes")

    def __init__(self) -> None:
        self._count = 0
        self._ended = ""
        self._updated_at = 0.0
        self._succeeded: set[str] = set()
        # Forgotten since the last success, and still in _succeeded: many are forgotten at once, and each alone would
        # take a look at every node.
        self._forgotten: set[str] = set()
        # Of all payloads.
        self.size_bytes = 0

    def add(self, facts: Iterable[Fact]) -> None:
        """
        Take in the next facts.
        """
        for kind, node, _, reason, _, at, _, _, payload in facts:
            self._count += 1
            self._updated_at = at
            if payload is not None:
                self.size_bytes += len(payload)
            if kind is FactKind.SUCCEEDED:
                if self._forgotten:
                    self._drop()
                self._succeeded.add(node)
            elif kind is FactKind.FORGOTTEN:
                self._forgotten.add(node)
            elif kind is FactKind.ENDED:
                self._ended = reason
            elif kind is FactKind.RESUMED:
                self._ended = ""

    def _drop(self) -> None:
        self._succeeded = {each for each in self._succeeded if not is_within(each, self._forgotten)}
        self._forgotten.clear()

    @property
    def summary(self) -> Summary:
        """
        Return what the facts so far come to.
        """
        if self._forgotten:
            self._drop()
        return Summary(self._count, self._ended, self._updated_at, len(self._succeeded))


def sum_up(facts: Iterable[Fact]) -> Summary:
    """
    Fold the facts of one run, in their order.
    """
    found = Sum()
    found.add(facts)
    return found.summary


def line_of(header: Header, summary: Summary, size_bytes: int, is_owned: bool) -> RunLine:
    """
    Make a run's line in a list of runs.
    """
    return RunLine(
        run_id=header.run_id,
        graph=header.graph,
        target=header.target,
        status=summary.ended or ("running" if is_owned else "interrupted"),
        created_at=header.created_at,
        updated_at=summary.updated_at or header.created_at,
        succeeded=summary.succeeded,
        size_bytes=size_bytes,
    )
