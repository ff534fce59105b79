"""
What a store is: the journal of runs, as whoever writes and reads it sees it. Nothing here knows SQL, files or values:
what is kept has been encoded before.

A run is a header and facts in the order in which they were committed. A fact is never changed and never taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

__all__ = ["AppendsNow", "Fact", "FactKind", "Header", "Journal", "KeepsStandings", "Ownership", "RunLine", "Store"]


class FactKind(IntEnum):
    """
    What a fact says of its node. The numbers are in files of users: they never change their meaning.
    """

    # An attempt is about to start, of a node that must not run twice without anybody knowing.
    STARTED = 1
    # The node has its output, which is the payload; none if the output is not kept.
    SUCCEEDED = 2
    # An attempt failed and another will follow, not before `until`; the payload tells the error.
    RETRYING = 3
    # The node failed; the payload tells the error.
    FAILED = 4
    # Its condition was false.
    SKIPPED = 5
    # Somebody has to answer; the payload is the question, the attempt its number.
    ASKED = 6
    # Somebody has; the payload is the answer to the question of that number.
    ANSWERED = 7
    # All that an earlier fact says of this node, and of what it has brought into the run, does not hold any more.
    FORGOTTEN = 8
    # The run has begun to go on again, or has ended; the node is empty and the reason is its status.
    RESUMED = 9
    ENDED = 10
    # An attempt has said what it used; the payload is a dict of amounts by unit. It counts whatever is forgotten.
    USED = 11


class Fact(NamedTuple):
    """
    One line of a run's journal.
    """

    kind: FactKind
    # The path of the node, with keys of map instances: "outer/inner", "pages[3]".
    node: str = ""
    attempt: int = 0
    # Why, in the words of a record: output, fallback, outputs, error, timeout, condition, or a run's status.
    reason: str = ""
    # What the node was when this happened, to find out whether it has changed.
    fingerprint: str = ""
    # Wall-clock seconds since 1970 at which this was so, and how many seconds the attempt had taken.
    at: float = 0.0
    seconds: float = 0.0
    # Of RETRYING: wall-clock seconds before which the next attempt does not start.
    until: float = 0.0
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """
    What is known of a run before it begins.
    """

    run_id: str
    # The name of the graph.
    graph: str
    # What `antichain run` was told to run, FILE:graph; empty for a run from Python.
    target: str = ""
    created_at: float = 0.0
    # The run's inputs, encoded.
    inputs: bytes = b""
    # How its nodes were wired, encoded: to say in words what has changed.
    wiring: bytes = b""


@dataclass(frozen=True, slots=True)
class Journal:
    """
    All that a store knows of one run.
    """

    header: Header
    facts: Sequence[Fact]
    # Of the last owner; the one that comes now has the next.
    epoch: int
    # Somebody who is alive holds the run.
    is_owned: bool = False
    # What that one has last told of what the run waits for, encoded; None where nothing is known. See `KeepsStandings`.
    standing: bytes | None = None


@dataclass(frozen=True, slots=True)
class RunLine:
    """
    One run in a list of runs.
    """

    run_id: str
    graph: str
    target: str
    # running, interrupted (nobody holds it and it has not ended), succeeded, partial, failed, cancelled, paused.
    status: str
    created_at: float
    # When its last fact was committed.
    updated_at: float
    # Nodes with an output.
    succeeded: int = 0
    # Bytes that it takes, of what was encoded.
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ownership:
    """
    The right to add to a run's journal, until `Store.release` or until somebody takes the run over.
    """

    run_id: str
    # Every owner of a run has a number of its own; what comes with an old one is refused.
    epoch: int
    # The store's own: what it holds the run by.
    token: object = field(default=None, compare=False)


class Store(Protocol):
    """
    Keep the journals of runs.

    Every method may be called in any thread. What fails raises a StoreError that says which store, what, and what to
    do; nothing that failed was half done.
    """

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        """
        Become the owner of a run: of a new one, which *header* describes, else of a known one.

        With *take_over*, also of one that somebody else holds, who can add nothing more from now on.

        Raises:
            RunExists: there is a run of that id, and a header was given. UnknownRun: there is none, and none was given.
            RunOwned: somebody who is alive holds it.
        """
        ...

    def append(
        self, ownership: Ownership, facts: Sequence[Fact], done: Callable[[BaseException | None], object]
    ) -> None:
        """
        Add facts to a run, all or none, in the order of the calls; returns before they are durable.

        *done* is called once, in any thread (also in this one, before append returns): with None when they would
        survive a power cut, else with what went wrong (OwnershipLost if somebody has taken the run over). After a
        failure nothing of this ownership is accepted any more. *done* must not wait for the store, and not release.
        """
        ...

    def release(self, ownership: Ownership) -> None:
        """
        Give the run up: all that was appended has been decided, and others may open it.
        """
        ...

    def read(self, run_id: str, *, payloads: bool = True) -> Journal:
        """
        Return all that is known of a run; without *payloads*, none is read.

        Raises:
            UnknownRun: there is no run of that id. StoreDamaged: what is there cannot be trusted.
        """
        ...

    def runs(self, graph: str | None = None) -> list[RunLine]:
        """
        List the runs, those of one graph or all, the newest first.
        """
        ...

    def remove(self, run_id: str) -> None:
        """
        Drop a run and all that only it needs.

        Raises:
            UnknownRun: there is no run of that id. RunOwned: somebody who is alive holds it.
        """
        ...


class AppendsNow(Protocol):
    """
    What a store may offer besides: to commit in the caller's own thread, which saves two changes of threads.

    Whoever uses it looks for the attribute: `getattr(store, "append_now", None)`.
    """

    def append_now(self, ownership: Ownership, facts: Sequence[Fact]) -> bool:
        """
        Add facts as `Store.append` does, and return True when they are durable; takes as long as a write to the disk.

        False if somebody else is writing just now, or facts appended before wait: nothing was done, use `append`.

        Raises:
            StoreError: as `append` would have told its *done*; nothing of this ownership is accepted any more.
        """
        ...


class KeepsStandings(Protocol):
    """
    What a store may offer besides: to keep what a run that goes on waits for, so that others can tell.

    Whoever uses it looks for the attribute: `getattr(store, "put_standing", None)`. `Store.read` gives what was put
    last as `Journal.standing`.
    """

    def put_standing(self, ownership: Ownership, standing: bytes) -> None:
        """
        Put *standing* in place of what this owner has put before; called about once a second, in the run's event loop,
        so it must take no longer than a write without a sync.

        It is advice, not a fact: it need not be durable, may be dropped at any time, and must not be given to anybody
        once the owner has released the run, has lost it or is gone. What fails may be passed over, or raised: then
        nothing more is put, and the run goes on.
        """
        ...
