"""
Journals in memory: for tests, and for runs that shall be resumed while this process lives. Nothing here is durable.

They hold what a file would hold, bytes: a value that cannot be encoded cannot be kept here either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from antichain.errors import OwnershipLost, RunExists, RunOwned, StoreError, UnknownRun, suggestion
from antichain.stores.codec import DEFAULT_LIMITS, ValueLimits, encoding_of
from antichain.stores.limits import check_fact, check_header
from antichain.stores.protocol import Fact, Header, Journal, Ownership, RunLine
from antichain.stores.summing import line_of, sum_up

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class KeptRun:
    header: Header
    facts: list[Fact] = field(default_factory=list)
    epoch: int = 0
    # The token of who holds it now; None if nobody does.
    owner: object = None
    # What that one waits for, as it last said.
    standing: bytes | None = None


@dataclass(slots=True, eq=False)
class Token:
    # What the first failed append told; the same is told to all that come after it.
    failure: StoreError | None = None


class MemoryStore:
    """
    Keep journals as long as this object lives.

    *done* of `append` is called in the caller's thread, before `append` returns. *limits* say how large one value may
    be, and with *compress* values are compressed where that makes them smaller.

    Example:
        >>> from antichain.stores import Fact, FactKind, Header
        >>> store = MemoryStore()
        >>> mine = store.open("nightly-7", Header("nightly-7", "etl"))
        >>> store.append(mine, [Fact(FactKind.SUCCEEDED, "extract")], print)
        None
        >>> store.release(mine)
        >>> [fact.node for fact in store.read("nightly-7").facts]
        ['extract']
    """

    def __init__(self, *, limits: ValueLimits = DEFAULT_LIMITS, compress: bool = False) -> None:
        self.limits = limits
        self.compress = compress
        self._runs: dict[str, KeptRun] = {}
        # Guards the runs and all that is in them; held for moments, never while foreign code is called.
        self._lock = Lock()
        encoding_of(self)

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._runs)} runs)"

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        """
        Become the owner of a run, see `Store.open`.
        """
        if header is not None:
            header = replace(header, run_id=run_id, inputs=bytes(header.inputs), wiring=bytes(header.wiring))
            check_header(header)
        with self._lock:
            run = self._runs.get(run_id)
            if header is None:
                run = self._known(run_id)
            elif run is not None:
                raise RunExists(f"{self} has a run {run_id!r} already: resume it, or choose another run_id")
            else:
                run = self._runs[run_id] = KeptRun(header)
            if run.owner is not None and not take_over:
                raise RunOwned(
                    f"run {run_id!r} is held by somebody in this process: wait for its end, or use take_over=True"
                )
            run.epoch += 1
            run.owner, run.standing = Token(), None
            return Ownership(run_id, run.epoch, run.owner)

    def append(
        self, ownership: Ownership, facts: Sequence[Fact], done: Callable[[BaseException | None], object]
    ) -> None:
        """
        Add facts to a run, see `Store.append`; *done* has been called when this returns.
        """
        done(self._add(ownership, facts))

    def _add(self, ownership: Ownership, facts: Sequence[Fact]) -> StoreError | None:
        token = token_of(ownership)
        with self._lock:
            if token.failure is None:
                try:
                    self._add_all(ownership, facts)
                except StoreError as error:
                    token.failure = error
            return token.failure

    def _add_all(self, ownership: Ownership, facts: Sequence[Fact]) -> None:
        run = self._runs.get(ownership.run_id)
        if run is None or run.owner is not ownership.token:
            raise OwnershipLost(
                f"run {ownership.run_id!r} is not held any more by owner {ownership.epoch}:"
                " it was released, or somebody has taken it over"
            )
        for fact in facts:
            check_fact(fact)
        # A payload may be a bytearray, whose owner goes on writing to it.
        run.facts += [fact if type(fact.payload) in (bytes, type(None)) else frozen(fact) for fact in facts]

    def release(self, ownership: Ownership) -> None:
        """
        Give a run up, see `Store.release`.
        """
        with self._lock:
            run = self._runs.get(ownership.run_id)
            if run is not None and run.owner is ownership.token:
                run.owner = run.standing = None

    def put_standing(self, ownership: Ownership, standing: bytes) -> None:
        """
        Keep what a run waits for, see `KeepsStandings`.
        """
        token = token_of(ownership)
        with self._lock:
            run = self._runs.get(ownership.run_id)
            if run is not None and run.owner is token:
                run.standing = bytes(standing)

    def read(self, run_id: str, *, payloads: bool = True) -> Journal:
        """
        Return all that is known of a run, see `Store.read`.
        """
        with self._lock:
            run = self._known(run_id)
            facts = tuple(run.facts)
            journal = Journal(run.header, facts, run.epoch, run.owner is not None, run.standing)
        if payloads:
            return journal
        return replace(journal, facts=tuple(fact._replace(payload=None) for fact in facts))

    def runs(self, graph: str | None = None) -> list[RunLine]:
        """
        List the runs, see `Store.runs`.
        """
        with self._lock:
            kept = [(run.header, tuple(run.facts), run.owner is not None) for run in self._runs.values()]
        lines = [
            line_of(header, sum_up(facts), size_of(header, facts), is_owned)
            for header, facts, is_owned in reversed(kept)
            if graph is None or header.graph == graph
        ]
        return sorted(lines, key=lambda line: line.created_at, reverse=True)

    def remove(self, run_id: str) -> None:
        """
        Drop a run, see `Store.remove`.
        """
        with self._lock:
            if self._known(run_id).owner is not None:
                raise RunOwned(f"run {run_id!r} is held by somebody in this process and cannot be removed: wait")
            del self._runs[run_id]

    def _known(self, run_id: str) -> KeptRun:
        run = self._runs.get(run_id)
        if run is None:
            raise UnknownRun(f"{self} has no run {run_id!r}.{suggestion(run_id, self._runs)}")
        return run


def token_of(ownership: Ownership) -> Token:
    if not isinstance(ownership.token, Token):
        raise StoreError(f"{ownership!r} was not given by this kind of store")
    return ownership.token


def frozen(fact: Fact) -> Fact:
    return fact._replace(payload=None if fact.payload is None else bytes(fact.payload))


def size_of(header: Header, facts: Sequence[Fact]) -> int:
    sizes = (len(fact.payload) for fact in facts if fact.payload is not None)
    return len(header.inputs) + len(header.wiring) + sum(sizes)
