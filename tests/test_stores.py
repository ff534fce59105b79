"""
Every store keeps to the conformance suite, and the suite notices a store that does not.
"""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from antichain.errors import StoreError
from antichain.stores import Fact, Header, MemoryStore, Ownership, SqliteStore, Store, open_store
from antichain.stores.memory import KeptRun
from antichain.testing import check_store
from tests.support.leftovers import nothing_left

Done = Callable[[BaseException | None], object]


def test_memory_keeps_every_promise() -> None:
    assert len(check_store(MemoryStore)) >= 15


def test_sqlite_keeps_every_promise(tmp_path: Path) -> None:
    """Also as other processes see it: every reader is a store of its own."""
    names = (str(tmp_path / f"{number}.db") for number in count())
    # What "full" adds is between SQLite and the disk; here it would only take long.
    with nothing_left():
        assert len(check_store(lambda: SqliteStore(next(names), synchronous="normal"), reopen=same_file)) >= 15


def same_file(store: Store) -> Store:
    assert isinstance(store, SqliteStore)
    return SqliteStore(store.path, synchronous="normal")


class AcknowledgesFirst(MemoryStore):
    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        done(None)
        super().append(ownership, facts, lambda failure: None)


class ForgetsOrder(MemoryStore):
    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        super().append(ownership, facts[::-1], done)


class IgnoresEpochs(MemoryStore):
    def _add_all(self, ownership: Ownership, facts: Sequence[Fact]) -> None:
        owner = self._runs[ownership.run_id].owner
        super()._add_all(Ownership(ownership.run_id, ownership.epoch, owner), facts)


class KeepsReferences(MemoryStore):
    def _add_all(self, ownership: Ownership, facts: Sequence[Fact]) -> None:
        before = len(self._runs[ownership.run_id].facts)
        super()._add_all(ownership, facts)
        self._runs[ownership.run_id].facts[before:] = facts


class KeepsHeadersByReference(MemoryStore):
    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        owner = super().open(run_id, header, take_over=take_over)
        if header is not None:
            self._runs[run_id].header = header
        return owner


class AddsByHalves(MemoryStore):
    def _add_all(self, ownership: Ownership, facts: Sequence[Fact]) -> None:
        for fact in facts:
            super()._add_all(ownership, [fact])


class AcceptsAfterFailures(MemoryStore):
    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        super().append(ownership, facts, done)
        ownership.token.failure = None  # type: ignore[attr-defined]


class TellsTwice(MemoryStore):
    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        super().append(ownership, facts, done)
        done(None)


class ForgetsToTell(MemoryStore):
    """Only of those that nobody waits for, so that the test does not wait either."""

    def append(self, ownership: Ownership, facts: Sequence[Fact], done: Done) -> None:
        skipped = facts[-1].node == "49"
        super().append(ownership, facts, (lambda failure: None) if skipped else done)


class LosesPayloads(MemoryStore):
    def _add_all(self, ownership: Ownership, facts: Sequence[Fact]) -> None:
        super()._add_all(
            ownership, [Fact(f.kind, f.node, f.attempt, f.reason, payload=f.payload or None) for f in facts]
        )


class HasTwoOwners(MemoryStore):
    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        return super().open(run_id, header, take_over=True)


class NeverReleases(MemoryStore):
    def release(self, ownership: Ownership) -> None:
        pass


class ReusesEpochs(MemoryStore):
    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        owner = super().open(run_id, header, take_over=take_over)
        return Ownership(run_id, 1, owner.token)


class ForgetsRuns(MemoryStore):
    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        return super().open(run_id, header or Header(run_id, "graph"), take_over=take_over)


class OverwritesRuns(MemoryStore):
    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        if header is not None and run_id:
            self._runs.pop(run_id, None)
        return super().open(run_id, header, take_over=take_over)


class RemovesWhatIsHeld(MemoryStore):
    def remove(self, run_id: str) -> None:
        self._runs.setdefault(run_id, KeptRun(Header(run_id, ""))).owner = None
        super().remove(run_id)


class AppendsNowLater(MemoryStore):
    def append_now(self, ownership: Ownership, facts: Sequence[Fact]) -> bool:
        return True


class ListsTheOldestFirst(MemoryStore):
    def runs(self, graph: str | None = None) -> list:  # type: ignore[type-arg]
        return super().runs(graph)[::-1]


@pytest.mark.parametrize(
    ("faulty", "promise"),
    [
        (AcknowledgesFirst, "done_comes_after_the_commit"),
        (ForgetsOrder, "order_is_that_of_the_calls"),
        (IgnoresEpochs, "who_was_taken_over_adds_nothing"),
        (KeepsReferences, "nothing_is_kept_by_reference"),
        (KeepsHeadersByReference, "nothing_is_kept_by_reference"),
        (AddsByHalves, "nothing_is_added_by_halves"),
        (AcceptsAfterFailures, "nothing_is_added_by_halves"),
        (TellsTwice, "done_is_called_once"),
        (ForgetsToTell, "done_is_called_once"),
        (LosesPayloads, "facts_come_back_as_they_were"),
        (HasTwoOwners, "a_run_has_one_owner"),
        (NeverReleases, "a_run_has_one_owner"),
        (ReusesEpochs, "a_run_has_one_owner"),
        (ForgetsRuns, "runs_are_known_or_not"),
        (OverwritesRuns, "runs_are_known_or_not"),
        (RemovesWhatIsHeld, "a_removed_run_does_not_come_back"),
        (AppendsNowLater, "a_store_can_append_at_once"),
        (ListsTheOldestFirst, "lists_tell_how_runs_stand"),
    ],
)
def test_a_faulty_store_is_noticed(faulty: type[MemoryStore], promise: str) -> None:
    with pytest.raises(AssertionError, match=rf"promises of a store are broken:(.|\n)*  {promise}: "):
        check_store(faulty)


def test_what_a_store_may_be_given_as(tmp_path: Path) -> None:
    memory = MemoryStore()
    assert open_store(memory) is memory
    for spec in (tmp_path / "runs.db", str(tmp_path / "runs.db")):
        store = open_store(spec)
        assert isinstance(store, SqliteStore)
        assert store.path == str((tmp_path / "runs.db").resolve())
    assert list(tmp_path.iterdir()) == [], "nothing is made before a run is opened"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("postgresql://localhost/runs", "later release"),
        ("redis://localhost", "no store is known by 'redis://'"),
        ("", "no path"),
        (":memory:", "MemoryStore"),
        ("runs\0.db", "no path"),
        (7, "methods of a Store"),
        (MemoryStore, "which is a class"),
        (object(), r"which has no open\(\)"),
    ],
)
def test_what_a_store_may_not_be_given_as(spec: object, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        open_store(spec)  # type: ignore[arg-type]


def test_whoever_loads_the_package_of_stores_does_not_load_sqlite() -> None:
    import subprocess
    import sys

    code = "import sys, antichain.stores; print('sqlite3' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False"]
