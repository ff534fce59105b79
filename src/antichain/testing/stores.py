"""
What every store must keep to, to be run against one's own.

Each check makes a new store and looks at one promise of `antichain.stores.Store`. What is asked of a disk (a power cut,
`kill -9`) is not here: that is between a store and its disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Self

from antichain.errors import OwnershipLost, RunExists, RunOwned, StoreError, UnknownRun, shown
from antichain.stores.protocol import Fact, FactKind, Header, Journal, Ownership, Store

__all__ = ["check_store"]

# Seconds until an append must have been decided; only a store that never decides takes as long.
PATIENCE = 60.0
# More than any store keeps within a row.
LARGE = bytes(range(256)) * 256


def check_store(make_store: Callable[[], Store], *, reopen: Callable[[Store], Store] | None = None) -> tuple[str, ...]:
    """
    Check that a store keeps its promises; returns the names of the checks that were made.

    *make_store* makes a store without runs, another at every call. *reopen* gives a second store on the same runs, as
    another process would have it; without it the store itself is asked.

    Raises:
        AssertionError: it does not; the message has a line per promise that is broken.

    Example:
        >>> from antichain.stores import MemoryStore
        >>> "facts_come_back_as_they_were" in check_store(MemoryStore)
        True
    """
    broken = []
    for check in CHECKS:
        try:
            with Bench(make_store(), reopen or itself) as bench:
                check(bench)
        except Exception as error:  # noqa: BLE001  # a store may raise anything, and the other checks still count
            broken.append(f"  {check.__name__}: {error if isinstance(error, Broken) else shown(error)}")
    if broken:
        raise AssertionError("\n".join([f"{len(broken)} of {len(CHECKS)} promises of a store are broken:", *broken]))
    return tuple(check.__name__ for check in CHECKS)


def itself(store: Store) -> Store:
    return store


class Broken(AssertionError):  # noqa: N818  # not public: a line of what check_store raises
    pass


def must(holds: bool, text: str) -> None:  # `assert` would be gone under python -O
    if not holds:
        raise Broken(text)


@dataclass(frozen=True, slots=True)
class Bench:
    """
    A store under test, with the few things that every check does.
    """

    store: Store
    reopen: Callable[[Store], Store]
    # Runs that were begun. Each is given up in the end, perhaps once more: a store may hold files and threads for it.
    begun: list[Ownership] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for ownership in self.begun:
            self.store.release(ownership)

    def new(self, run_id: str = "run", graph: str = "graph", **header: Any) -> Ownership:
        """
        Begin a run.
        """
        ownership = self.store.open(run_id, Header(run_id, graph, **header))
        self.begun.append(ownership)
        return ownership

    def append(self, ownership: Ownership, *facts: Fact) -> BaseException | None:
        """
        Append and wait until it is decided.
        """
        decided = Event()
        told: list[BaseException | None] = []

        def done(failure: BaseException | None) -> None:
            told.append(failure)
            decided.set()

        self.store.append(ownership, facts, done)
        must(decided.wait(PATIENCE), f"an append was not decided within {PATIENCE:g} s")
        return told[0]

    def add(self, ownership: Ownership, *facts: Fact) -> None:
        """
        Append what must be accepted.
        """
        failure = self.append(ownership, *facts)
        must(failure is None, f"an append was refused: {shown(failure)}")

    def read(self, run_id: str = "run", *, payloads: bool = True) -> Journal:
        """
        Read a run as another process would.
        """
        return self.reopen(self.store).read(run_id, payloads=payloads)

    def nodes(self, run_id: str = "run") -> list[str]:
        """
        Return the nodes of a run's facts.
        """
        return [fact.node for fact in self.read(run_id).facts]

    def refuses(self, error: type[StoreError], call: Callable[[], object], what: str) -> None:
        """
        Check that a call raises that error and no other.
        """
        try:
            call()
        except error as raised:
            must(len(str(raised)) > 10, f"{what}: the error says nothing")
        except Exception as raised:
            raise Broken(f"{what} raised {shown(raised)}, not {error.__name__}") from raised
        else:
            raise Broken(f"{what} did not raise {error.__name__}")


def succeeded(node: str, payload: bytes | None = b"1", **more: Any) -> Fact:
    return Fact(FactKind.SUCCEEDED, node, 1, "output", payload=payload, **more)


# -- what comes back


def facts_come_back_as_they_were(bench: Bench) -> None:
    """Every field of every kind, in the order in which it was written."""
    facts = [
        Fact(kind, f"outer/pages[{kind}]", int(kind), "reason", "0123456789ab:v1", 1.5, 0.25, 9e9, b"payload")
        for kind in FactKind
    ]
    facts += [
        Fact(FactKind.SUCCEEDED),
        Fact(FactKind.SUCCEEDED, "empty", payload=b""),
        Fact(FactKind.SUCCEEDED, "nothing below zero", at=-0.0, seconds=-0.0, until=-0.0),
        Fact(FactKind.SUCCEEDED, "größe/日本[🙂]\x00\n'\"", 2**31, "", "", -1.0, 1e-9, 0.0, bytes(range(256))),
        Fact(FactKind.SUCCEEDED, "large", payload=LARGE),
        Fact(FactKind.SUCCEEDED, "as large", payload=LARGE),
        Fact(FactKind.SUCCEEDED, "n" * 5_000),
    ]
    mine = bench.new()
    bench.add(mine, *facts[:4])
    bench.add(mine, *facts[4:])
    for number, (fact, found) in enumerate(zip(facts, bench.read().facts, strict=True)):
        must(fact == found, f"fact {number} was {shown(fact)} and came back as {shown(found)}")
    without = list(bench.read(payloads=False).facts)
    must(without == [fact._replace(payload=None) for fact in facts], "read(payloads=False) is not all but the payloads")


def headers_come_back_as_they_were(bench: Bench) -> None:
    """All of a header; inputs and wiring small and large."""
    for name, size in (("small", 10), ("large", 100_000)):
        header = Header(name, "graph 日本", "flow.py:graph", 123.5, b"i" * size, b"w" * size)
        bench.store.release(bench.store.open(name, header))
        must(bench.read(name).header == header, f"a {name} header came back as another")
        must(list(bench.read(name).facts) == [], "a new run has facts")


def nothing_is_kept_by_reference(bench: Bench) -> None:
    """Whoever appended may use his buffers for something else."""
    buffer = bytearray(b"before")
    inputs: Any = bytearray(b"inputs")
    facts = [succeeded("a", buffer)]  # type: ignore[arg-type]  # a buffer, as a careless caller passes it
    mine = bench.new(inputs=inputs)
    failure = bench.append(mine, *facts)
    buffer[:] = b"after!"
    inputs[:] = b"later!"
    facts.clear()
    if failure is None:
        must(bench.read().facts[0].payload == b"before", "a payload changed after it was acknowledged")
    must(bench.read().header.inputs == b"inputs", "the inputs of a header changed after the run was opened")
    must(type(bench.read().header.inputs) is bytes, "inputs come back as something else than bytes")


def order_is_that_of_the_calls(bench: Bench) -> None:
    """Many appends, none of them waited for."""
    mine = bench.new()
    for number in range(300):
        bench.store.append(mine, [succeeded(f"{number}a"), succeeded(f"{number}b")], ignore)
    bench.store.release(mine)
    expected = [f"{number}{letter}" for number in range(300) for letter in "ab"]
    must(bench.nodes() == expected, "facts are not in the order in which they were appended")


def ignore(failure: BaseException | None) -> None:
    """Nobody waits."""


# -- what is acknowledged


def done_comes_after_the_commit(bench: Bench) -> None:
    """When it is told that a fact is kept, whoever reads finds it."""
    mine = bench.new()
    seen: list[tuple[list[str], BaseException | None]] = []
    decided = Event()

    def done(failure: BaseException | None) -> None:
        try:
            seen.append((bench.nodes(), failure))
        finally:
            decided.set()

    for number in range(3):
        decided.clear()
        bench.store.append(mine, [succeeded(str(number))], done)
        must(decided.wait(PATIENCE), "an append was not decided")
        expected = [str(one) for one in range(number + 1)]
        must(seen[-1:] == [(expected, None)], f"when done() was called, a reader found {shown(seen[-1:])}")


def done_is_called_once(bench: Bench) -> None:
    """For what is accepted and for what is not."""
    mine = bench.new()
    told: list[BaseException | None] = []
    for number in range(50):
        bench.store.append(mine, [succeeded(str(number))], told.append)
    bench.store.release(mine)
    must(told == [None] * 50, f"of 50 appends {len(told)} were told, {sum(one is None for one in told)} as kept")
    bench.append(mine, succeeded("late"))
    must(len(told) == 50, "done() was called again")


def release_waits_for_what_was_appended(bench: Bench) -> None:
    """After it there is nothing that nobody has decided."""
    mine = bench.new()
    told: list[BaseException | None] = []
    for number in range(100):
        bench.store.append(mine, [succeeded(str(number), LARGE)], told.append)
    bench.store.release(mine)
    must(len(told) == 100, f"release() came back when {len(told)} of 100 appends were decided")


def nothing_is_added_by_halves(bench: Bench) -> None:
    """One fact that no store can give back refuses all that came with it, and all that come after."""
    bad = [
        Fact(FactKind.SUCCEEDED, "no time", at=float("nan")),
        Fact(FactKind.SUCCEEDED, "half of a pair \ud800"),
    ]
    for number, fact in enumerate(bad):
        run_id = f"run {number}"
        mine = bench.new(run_id)
        bench.add(mine, succeeded("before"))
        failure = bench.append(mine, succeeded("with it"), fact, succeeded("with it too"))
        must(isinstance(failure, StoreError), f"{shown(fact)} was answered by {shown(failure)}, not by a StoreError")
        must(bench.nodes(run_id) == ["before"], "of an append that was refused, something was kept")
        again = bench.append(mine, succeeded("after"))
        must(isinstance(again, StoreError), "after a failure, an append was accepted")
        must(bench.nodes(run_id) == ["before"], "after a failure, something was kept")
        bench.store.release(mine)
        next_one = bench.store.open(run_id)
        bench.add(next_one, succeeded("next"))
        must(bench.nodes(run_id) == ["before", "next"], "after a failure, the next owner cannot go on")
        bench.store.release(next_one)


def runs_do_not_mix(bench: Bench) -> None:
    """Several runs at once, each in a thread of its own."""
    owners = [bench.new(f"run {number}") for number in range(4)]
    threads = [Thread(target=append_many, args=(bench, owner)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for owner in owners:
        bench.store.release(owner)
        expected = [f"{owner.run_id} {number}" for number in range(50)]
        must(bench.nodes(owner.run_id) == expected, "a run has facts of another, or in another order")


def append_many(bench: Bench, owner: Ownership) -> None:
    for number in range(50):
        bench.store.append(owner, [succeeded(f"{owner.run_id} {number}")], ignore)


# -- who owns a run


def runs_are_known_or_not(bench: Bench) -> None:
    """A new run must be new, every other one must be there."""
    store = bench.store
    store.release(bench.new("known"))
    bench.refuses(RunExists, lambda: bench.new("known"), "open() of a known run with a header")
    bench.refuses(UnknownRun, lambda: store.open("unknown"), "open() of an unknown run")
    bench.refuses(UnknownRun, lambda: store.open("unknown", take_over=True), "take-over of an unknown run")
    bench.refuses(UnknownRun, lambda: store.read("unknown"), "read() of an unknown run")
    bench.refuses(UnknownRun, lambda: store.remove("unknown"), "remove() of an unknown run")
    bench.refuses(StoreError, lambda: bench.new(""), "open() of a run without an id")
    must([line.run_id for line in store.runs()] == ["known"], "what was refused is in the list of runs")


def a_run_has_one_owner(bench: Bench) -> None:
    """Until it is released; every owner has a larger epoch."""
    mine = bench.new()
    other = bench.reopen(bench.store)
    must(bench.read().is_owned, "read() does not say that a run is owned")
    bench.refuses(RunOwned, lambda: other.open("run"), "open() of a run that is held")
    bench.add(mine, succeeded("a"))
    bench.store.release(mine)
    bench.store.release(mine)
    must(not bench.read().is_owned, "read() says that a released run is owned")
    must(bench.read().epoch == mine.epoch, "read() does not give the epoch of the last owner")
    next_one = other.open("run")
    must(next_one.epoch > mine.epoch, "an epoch was used twice")
    bench.store.release(mine)
    bench.refuses(RunOwned, lambda: bench.store.open("run"), "open() after an old owner released again")
    failure = bench.append(mine, succeeded("late"))
    must(isinstance(failure, OwnershipLost), f"an append after release was answered by {shown(failure)}")
    must(bench.nodes() == ["a"], "an append after release was kept")
    other.release(next_one)


def who_was_taken_over_adds_nothing(bench: Bench) -> None:
    """However late he wakes up, and whatever he does then."""
    old = bench.new()
    bench.add(old, succeeded("old"))
    other = bench.reopen(bench.store)
    new = other.open("run", take_over=True)
    must(new.epoch > old.epoch, "an epoch was used twice")
    for _ in range(2):
        failure = bench.append(old, succeeded("late"))
        must(isinstance(failure, OwnershipLost), f"the old owner was answered by {shown(failure)}")
    bench.store.release(old)
    must(bench.read().is_owned, "the old owner gave up what is not his")
    must(Bench(other, bench.reopen).append(new, succeeded("new")) is None, "the new owner was refused")
    must(bench.nodes() == ["old", "new"], f"the run has {bench.nodes()}, not what its owners were told")
    other.release(new)


def a_removed_run_does_not_come_back(bench: Bench) -> None:
    """Not by an old owner, and not in a new run of its name; what others need stays."""
    store = bench.store
    old = bench.new("a")
    bench.add(old, succeeded("old", LARGE))
    bench.refuses(RunOwned, lambda: store.remove("a"), "remove() of a run that is held")
    neighbour = bench.new("b")
    bench.add(neighbour, succeeded("b", LARGE))
    taker = store.open("a", take_over=True)
    store.release(taker)
    store.remove("a")
    bench.refuses(UnknownRun, lambda: bench.read("a"), "read() of a removed run")
    must([line.run_id for line in store.runs()] == ["b"], "a removed run is listed")
    new = bench.new("a")
    failure = bench.append(old, succeeded("late"))
    must(isinstance(failure, OwnershipLost), f"the owner of a removed run was answered by {shown(failure)}")
    bench.add(new, succeeded("new"))
    must(bench.nodes("a") == ["new"], "a new run has facts of a removed one of its name")
    must(bench.read("b").facts[0].payload == LARGE, "a payload that another run has too was removed")


def a_store_can_append_at_once(bench: Bench) -> None:
    """If it has `append_now`: it keeps what it says, and raises what `append` would tell."""
    append_now: Callable[[Ownership, Sequence[Fact]], bool] | None = getattr(bench.store, "append_now", None)
    if append_now is None:
        return
    mine = bench.new()
    kept = 0
    for number in range(20):
        if append_now(mine, [succeeded(str(number))]):
            kept += 1
            must(bench.nodes()[-1] == str(number), "append_now() said True, and a reader finds nothing")
    must(kept > 0, "append_now() never did anything, with nobody else about")
    must(len(bench.nodes()) == kept, "append_now() said False, and a reader finds it")
    new = bench.store.open("run", take_over=True)
    bench.refuses(OwnershipLost, lambda: append_now(mine, [succeeded("late")]), "append_now() of an old owner")
    bench.store.release(new)
    must(len(bench.nodes()) == kept, "append_now() of an old owner was kept")


def a_store_can_keep_what_a_run_waits_for(bench: Bench) -> None:
    """If it has `put_standing`: the last word of the owner that there is, and of nobody else."""
    put: Callable[[Ownership, bytes], None] | None = getattr(bench.store, "put_standing", None)
    old = bench.new()
    must(bench.read().standing is None, "a run that has said nothing waits for something")
    if put is None:
        return
    for word in (b"long " * 1_000, b"", b"short", bytes(range(256))):
        put(old, word)
        must(bench.read().standing == word, f"{shown(word)} was put, and came back as {shown(bench.read().standing)}")
    must(bench.read(payloads=False).standing is not None, "read(payloads=False) leaves out what a run waits for")
    must(list(bench.read().facts) == [], "what a run waits for has become a fact")
    new = bench.store.open("run", take_over=True)
    must(bench.read().standing is None, "what an owner said is given after somebody has taken the run over")
    put(new, b"new")
    with contextlib.suppress(StoreError):
        put(old, b"old")
    must(bench.read().standing == b"new", "what an owner says is given after somebody has taken the run over")
    bench.store.release(new)
    must(bench.read().standing is None, "what an owner said is given after it has released the run")
    with contextlib.suppress(StoreError):
        put(new, b"late")
    must(bench.read().standing is None, "what is said after a release is given")
    bench.store.remove("run")


# -- lists


def lists_tell_how_runs_stand(bench: Bench) -> None:
    """Status, order, counts; while they are held and after."""
    store = bench.store
    ended = bench.new("ended", "etl", target="flow.py:etl", created_at=100.0)
    bench.add(ended, succeeded("a", b"12345", at=101.0), succeeded("b", None, at=102.0))
    bench.add(ended, Fact(FactKind.FORGOTTEN, "b", at=103.0), Fact(FactKind.ENDED, reason="partial", at=104.0))
    store.release(ended)
    held = bench.new("held", "other", created_at=300.0)
    left = bench.new("left", "etl", created_at=200.0)
    bench.add(left, succeeded("pages", at=201.0), succeeded("pages[1]", at=202.0), succeeded("page", at=203.0))
    bench.add(left, Fact(FactKind.FORGOTTEN, "pages", at=204.0))
    store.release(left)
    again = store.open("ended")
    bench.add(again, Fact(FactKind.RESUMED, reason="resumed", at=400.0))
    lines = {line.run_id: line for line in bench.reopen(store).runs()}
    must(list(lines) == ["held", "left", "ended"], f"the list is {list(lines)}, not the newest first")
    statuses = {run_id: line.status for run_id, line in lines.items()}
    must(statuses == {"held": "running", "left": "interrupted", "ended": "running"}, f"the statuses are {statuses}")
    counts = {run_id: line.succeeded for run_id, line in lines.items()}
    must(counts == {"held": 0, "left": 1, "ended": 1}, f"nodes with an output: {counts}")
    bench.add(again, Fact(FactKind.ENDED, reason="succeeded", at=401.0))
    store.release(again)
    store.release(held)
    (line,) = [line for line in store.runs("etl") if line.run_id == "ended"]
    must((line.status, line.updated_at) == ("succeeded", 401.0), f"a run that ended again is listed as {line}")
    must((line.graph, line.target, line.created_at) == ("etl", "flow.py:etl", 100.0), f"its line is {line}")
    must(line.size_bytes >= 5, "its size leaves payloads out")
    must([line.run_id for line in store.runs("etl")] == ["left", "ended"], "runs(graph) gives other runs")
    must(store.runs("none") == [], "runs(graph) gives runs of a graph that has none")


CHECKS: tuple[Callable[[Bench], None], ...] = (
    facts_come_back_as_they_were,
    headers_come_back_as_they_were,
    nothing_is_kept_by_reference,
    order_is_that_of_the_calls,
    done_comes_after_the_commit,
    done_is_called_once,
    release_waits_for_what_was_appended,
    nothing_is_added_by_halves,
    runs_do_not_mix,
    runs_are_known_or_not,
    a_run_has_one_owner,
    who_was_taken_over_adds_nothing,
    a_removed_run_does_not_come_back,
    a_store_can_append_at_once,
    a_store_can_keep_what_a_run_waits_for,
    lists_tell_how_runs_stand,
)
