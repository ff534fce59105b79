"""
Durable runs as whoever uses them sees them: what was acknowledged never runs again, whatever happened in between.

Written against the contract and not the code: graphs, runs and results, and the journal of a run.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import pydantic
import pytest

from antichain import Context, Graph, GraphError, MemoryStore, Outcome, Retry, RunFailed, RunResult, RunTimeout
from antichain.core.facts import NodeEnded, RunEnded
from antichain.errors import NotStorable, OwnershipLost, RunExists, RunOwned, StoreError, UnknownRun
from antichain.policies import Backoff
from antichain.stores import FactKind
from antichain.testing import virtual_time
from tests.support.leftovers import nothing_left
from tests.support.resumable import Calls, Recorder, Shelf, chain, outcome, reasons

CHECKPOINT = "succeeded checkpoint"
OUTPUT = "succeeded output"


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture(params=["memory", "file"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return Shelf(None if request.param == "memory" else tmp_path / "runs.db")


@pytest.fixture
def memory() -> Shelf:
    return Shelf(None)


def diamond(calls: Calls, **bodies: Callable[..., Any]) -> Graph:
    """
    a ── b ── d
     └── c ───┘
    """
    graph = Graph("diamond")
    upstream = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    for name, before in upstream.items():
        graph.add(name, bodies.get(name) or calls.of(name, name.upper()), depends_on=before)
    return graph


# -- what completed, and what did not


def test_completed_nodes_never_run_again_and_unfinished_ones_do(shelf: Shelf, calls: Calls) -> None:
    broken = diamond(calls, c=calls.of("c", error=ValueError("no")))
    first = outcome(broken.run, store=shelf(), run_id="r", on_error="drain")
    assert (first.status, calls.taken()) == ("failed", ["a", "b", "c"])
    result = diamond(calls).resume("r", store=shelf())
    assert (result.status, result.run_id, calls.taken()) == ("succeeded", "r", ["c", "d"])
    assert dict(result) == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert reasons(result) == {"a": CHECKPOINT, "b": CHECKPOINT, "c": OUTPUT, "d": OUTPUT}
    assert (result.nodes["a"].error, result.errors) == (None, {})


def test_a_finished_run_executes_nothing_and_gives_its_result_again(shelf: Shelf, calls: Calls) -> None:
    diamond(calls).run(store=shelf(), run_id="r")
    calls.taken()
    for _ in range(2):
        result = diamond(calls).resume("r", store=shelf())
        assert (result.status, dict(result)) == ("succeeded", {"a": "A", "b": "B", "c": "C", "d": "D"})
        assert calls.taken() == []


def test_a_known_id_is_refused_and_the_message_names_resume(shelf: Shelf, calls: Calls) -> None:
    chain(calls, "a").run(store=shelf(), run_id="nightly-7")
    with pytest.raises(RunExists, match="resume") as caught:
        chain(calls, "a").run(store=shelf(), run_id="nightly-7")
    assert "nightly-7" in str(caught.value)
    assert calls.taken() == ["a"]


def test_an_unknown_id_is_refused_before_anything_runs(shelf: Shelf, calls: Calls) -> None:
    chain(calls, "a").run(store=shelf(), run_id="nightly-7")
    with pytest.raises(UnknownRun, match="nightly-8"):
        chain(calls, "a").resume("nightly-8", store=shelf())
    assert calls.taken() == ["a"]


def test_a_run_without_an_id_gets_one_that_can_be_resumed(shelf: Shelf, calls: Calls) -> None:
    first = chain(calls, "a").run(store=shelf())
    again = chain(calls, "a").resume(first.run_id, store=shelf())
    assert (again["a"], again.run_id, calls.taken()) == ("a", first.run_id, ["a"])


def test_the_store_may_stand_at_the_graph(memory: Shelf, calls: Calls) -> None:
    graph = Graph("chain", store=memory())
    graph.add("a", calls.of("a", 1))
    graph.run(run_id="r")
    assert graph.resume("r")["a"] == 1
    assert graph.plan().resume("r")["a"] == 1
    assert asyncio.run(graph.plan().aresume("r"))["a"] == 1
    assert calls.taken() == ["a"]


def test_the_inputs_are_kept_with_the_run(shelf: Shelf) -> None:

    def broken(question: str, limit: int = 3) -> str:
        raise ValueError(question)

    def fixed(question: str, limit: int = 3) -> str:
        return f"{question} {limit}"

    first, now = Graph(), Graph()
    first.add("b", broken)
    now.add("b", fixed)
    outcome(first.run, {"question": "why?"}, store=shelf(), run_id="r")
    assert now.resume("r", store=shelf())["b"] == "why? 3"


def test_an_input_that_cannot_be_kept_is_refused_before_anything_runs(shelf: Shelf, calls: Calls) -> None:
    graph = Graph()
    graph.add("a", calls.of("a"))
    graph.add("b", lambda query: query)
    with pytest.raises((NotStorable, GraphError)) as caught:
        graph.run(query={"deep": [1, object()]}, store=shelf(), run_id="r")
    assert "query" in str(caught.value)
    assert "deep" in str(caught.value)
    assert calls.taken() == []


def test_fix_and_resume_takes_what_is_unfinished_from_the_graph_as_it_is_now(shelf: Shelf, calls: Calls) -> None:
    """Before: a ── b(fails).   Now: a ── b ── extra, with another function for b."""
    first = Graph("etl")
    first.add("a", calls.of("a", 2))
    first.add("b", calls.of("b", error=ValueError("no")), depends_on=["a"])
    outcome(first.run, store=shelf(), run_id="r")
    now = Graph("etl")
    now.add("a", calls.of("a", 2))
    now.add("b", lambda a: a * 10)
    now.add("extra", lambda b: b + 1)
    result = now.resume("r", store=shelf())
    assert (result["extra"], calls.taken()) == (21, ["a", "b"])


def test_targets_of_the_run_hold_when_it_goes_on(memory: Shelf, calls: Calls) -> None:
    """A run that was asked for b alone has finished: nothing else is started by resuming it."""
    graph = diamond(calls)
    assert dict(graph.run(targets=["b"], store=memory(), run_id="r")) == {"b": "B"}
    calls.taken()
    result = graph.resume("r", store=memory())
    assert (dict(result), calls.taken()) == ({"b": "B"}, [])


def test_given_outputs_are_kept(shelf: Shelf, calls: Calls) -> None:
    broken = diamond(calls, d=calls.of("d", error=ValueError()))
    outcome(broken.run, outputs={"b": {"given": 1}}, store=shelf(), run_id="r")
    assert calls.taken() == ["a", "c", "d"]
    result = diamond(calls, d=calls.of("d", lambda b, c: (b, c))).resume("r", store=shelf())
    assert (result["d"], result["b"], calls.taken()) == (({"given": 1}, "C"), {"given": 1}, ["d"])


def test_a_run_with_nothing_in_it_is_kept_too(shelf: Shelf) -> None:
    assert dict(Graph("empty").run(store=shelf(), run_id="r")) == {}
    assert Graph("empty").resume("r", store=shelf()).status == "succeeded"


# -- wherever the process died


def growing(calls: Calls) -> Graph:
    """
    One of everything: a chain, a map, a nested graph, growth, a retry, a fallback, a condition, a thread, a generator.
    """
    graph = Graph("everything")
    graph.add("source", calls.of("source", [1, 2, 3]))
    graph.map("squares", counted(calls, "squares", lambda x: x * x), over="source", inputs=None)
    inner = Graph("inner")
    inner.add("left", counted(calls, "nested/left", lambda source: sum(source)))
    inner.add("right", counted(calls, "nested/right", lambda left: left + 1))
    graph.add("nested", inner)
    graph.map("each", graph_of_one(calls), over="source", key=lambda item: f"k{item}")

    @graph.node
    async def grows(source: list[int], ctx: Context) -> int:
        calls.note("grows")
        return sum([await ctx.run(counted(calls, f"grown {x}", lambda x: x + 1), x=x) for x in source])

    flaky = iter([ValueError("first"), None] * 100)

    @graph.node(retry=Retry(2, backoff=Backoff(0), on=ValueError))
    async def tried(grows: int, ctx: Context) -> int:
        calls.note(f"tried {ctx.attempt}")
        if ctx.attempt == 1 and next(flaky) is not None:
            raise ValueError
        return grows

    graph.add("spare", calls.of("spare", error=KeyError("x")), depends_on=["tried"], fallback={"spare": True})
    graph.add("never", calls.of("never"), depends_on=["spare"], when=lambda: False)
    graph.add("after", calls.of("after"), depends_on=["never"])

    @graph.node
    def thread(spare: dict[str, bool]) -> list[str]:
        calls.note("thread")
        return list(spare)

    @graph.node
    async def chunks(thread: list[str]) -> AsyncIterator[str]:
        calls.note("chunks")
        for name in thread:
            yield name

    graph.add("sink", counted(calls, "sink", lambda squares, nested, each, chunks: [squares, nested, each, chunks]))
    return graph


def counted(calls: Calls, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, as a coroutine function of the same parameters that notes its calls."""
    import inspect

    signature = inspect.signature(function)

    async def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        items = [str(value) for key, value in bound.arguments.items() if key in ("x", "item")]
        calls.note(" ".join([name, *items]) if not name.startswith("grown") else name)
        return function(*args, **kwargs)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def graph_of_one(calls: Calls) -> Graph:
    graph = Graph("one")
    graph.add("half", counted(calls, "each/half", lambda item: item / 2))
    return graph


def test_whenever_the_process_dies_nothing_that_was_acknowledged_runs_again(calls: Calls) -> None:
    """
    The journal of one run, cut off after every batch that was ever committed, and gone on with.
    """
    recorder = Recorder()
    whole = growing(calls).run(store=recorder, run_id="r")
    ran = calls.taken()
    assert len(recorder.batches) > 10
    for count in range(len(recorder.batches) + 1):
        store = recorder.as_of(count)
        done = {
            fact.node
            for batch in recorder.batches[:count]
            for fact in batch
            if fact.kind == FactKind.SUCCEEDED and fact.payload is not None
        }
        result = growing(calls).resume("r", store=store)
        again = calls.taken()
        assert dict(result) == dict(whole), f"after {count} batches"
        assert {name for name, node in result.nodes.items() if node.reason == "checkpoint"} >= done & set(result.nodes)
        simple = {"source", "grows", "spare", "thread", "chunks", "sink", "nested/left", "nested/right"}
        assert not simple & done & set(again), f"after {count} batches"
        assert not {f"squares {n + 1}" for n in range(3) if f"squares[{n}]" in done} & set(again)
        assert not {f"each/half {n}" for n in (1, 2, 3) if f"each[k{n}]/half" in done} & set(again)
        if count == 0:
            assert again == ran
        # And what has gone on to its end has ended.
        assert dict(growing(calls).resume("r", store=store)) == dict(whole)
        assert calls.taken() == []


def test_what_follows_starts_only_when_what_it_needs_is_committed(calls: Calls) -> None:
    """Two processes: the second one sees in the store whatever a body of the first one has seen."""
    store = Recorder()
    graph = Graph()
    graph.add("a", calls.of("a", 1))

    @graph.node
    async def b(a: int) -> list[str]:
        return [fact.node for fact in store.read("r").facts if fact.kind == FactKind.SUCCEEDED]

    assert graph.run(store=store, run_id="r")["b"] == ["a"]


class Refusing(Recorder):
    """Cannot write any more from some batch on, as a full disk."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def append(self, ownership: Any, facts: Any, done: Any) -> None:
        if len(self.batches) >= self.room:
            done(StoreError("the disk is full: make room, and resume the run"))
            return
        super().append(ownership, facts, done)


# The start, both in the middle at once, the end, and that the run has ended.
@pytest.mark.parametrize("room", range(4))
def test_what_cannot_be_written_is_not_reported_done(calls: Calls, room: int) -> None:
    store = Refusing(room)
    graph = diamond(calls)
    with nothing_left(), pytest.raises((StoreError, RunFailed)) as caught:
        graph.run(store=store, run_id="r")
    errors = caught.value.exceptions if isinstance(caught.value, RunFailed) else [caught.value]
    assert any("disk is full" in str(error) for error in errors)
    assert all(isinstance(error, StoreError) for error in errors)
    kept = {fact.node for batch in store.batches for fact in batch if fact.kind == FactKind.SUCCEEDED}
    result = getattr(caught.value, "result", None)
    if result is not None:
        assert {name for name, node in result.nodes.items() if node.state == "succeeded"} <= kept
    calls.taken()
    again = diamond(calls).resume("r", store=store.as_of(room))
    assert (again.status, calls.taken()) == ("succeeded", sorted({"a", "b", "c", "d"} - kept))


# -- values


class Colour(Enum):
    RED = "#f00"


class Point(NamedTuple):
    x: int
    y: float


class Row(TypedDict):
    name: str
    at: datetime


@dataclass(frozen=True)
class Page:
    title: str
    tags: set[str]
    point: Point
    parent: "Page | None" = None


class Model(pydantic.BaseModel):
    name: str
    price: Decimal
    colours: list[Colour] = []


@dataclass
class Opaque:
    value: object = None


VALUES: list[tuple[Any, Any]] = [
    (Any, {"a": [1, 2.5, None, True, "ü", {"b": -0.0}], "": 10**30}),
    (Any, b"\x00\xff"),
    (Any, (1, (2, "x"))),
    (Any, {1, 2}),
    (Any, {1: "int", "1": "text", (1, 2): "tuple"}),
    (Any, datetime(2026, 1, 31, 12, 0, 0, 5, UTC)),
    (Any, Decimal("1.10")),
    (Any, UUID(int=7)),
    (Any, float("inf")),
    (Any, "half \ud800 of a character"),
    (Colour, Colour.RED),
    (Point, Point(1, 2.0)),
    (Row, {"name": "x", "at": datetime(2026, 1, 31, tzinfo=UTC)}),
    (Page, Page("t", {"a"}, Point(1, 2.0), Page("up", set(), Point(0, 0.0)))),
    (list[Page], [Page("t", {"a"}, Point(1, 2.0))]),
    (dict[str, Page | None], {"a": Page("t", set(), Point(1, 2.0)), "b": None}),
    (Model, Model(name="x", price=Decimal("1.10"), colours=[Colour.RED])),
    (list[Model], [Model(name="x", price=Decimal(3))]),
    (Literal["a", "b"], "b"),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=[str(number) for number in range(len(VALUES))])
def test_values_come_back_as_what_they_were(shelf: Shelf, annotation: Any, value: Any) -> None:
    graph = Graph()

    async def make() -> Any:
        return value

    async def broken(make: Any) -> Any:
        raise ValueError

    async def use(make: Any) -> str:
        return f"{type(make).__name__} {make!r}" if not isinstance(make, set) else "set"

    make.__annotations__["return"] = annotation
    graph.add("make", make)
    graph.add("use", broken)
    outcome(graph.run, store=shelf(), run_id="r")
    again = Graph()
    again.add("make", make)
    again.add("use", use)
    result = again.resume("r", store=shelf())
    assert reasons(result) == {"make": CHECKPOINT, "use": OUTPUT}
    assert result["make"] == value
    assert type(result["make"]) is type(value)
    assert result["use"] == ("set" if isinstance(value, set) else f"{type(value).__name__} {value!r}")


def test_a_value_that_cannot_be_kept_fails_the_node_that_made_it(shelf: Shelf, calls: Calls) -> None:
    """
    good
    bad ── after          bad gives something that no store can keep
    """
    graph = Graph()
    graph.add("good", calls.of("good", 1))
    graph.add("bad", calls.of("bad", {"rows": [1, {"deep": Opaque(threading.Lock())}]}))
    graph.add("after", calls.of("after"), depends_on=["bad"])
    result = graph.run(store=shelf(), run_id="r", on_error="continue")
    assert (result.status, calls.taken()) == ("partial", ["bad", "good"])
    error = result.nodes["bad"].error
    assert isinstance(error, NotStorable)
    assert "rows" in error.path
    assert "deep" in error.path
    assert "1" in error.path
    assert (result.nodes["after"].state, result.nodes["after"].reason) == ("skipped", "upstream")
    # Without a store the same graph runs.
    assert graph.run().status == "succeeded"


def test_what_cannot_be_kept_is_not_tried_again(memory: Shelf, calls: Calls) -> None:
    graph = Graph()
    graph.add("bad", calls.of("bad", object()), retry=3)
    result = outcome(graph.run, store=memory(), run_id="r")
    assert (result.nodes["bad"].attempts, calls.taken()) == (1, ["bad"])


def test_what_is_not_to_be_kept_is_made_again(shelf: Shelf, calls: Calls) -> None:
    """
    a ── client ── use ── end          client is no value for a store
    """

    def graph_with(end: Any) -> Graph:
        graph = Graph()
        graph.add("a", calls.of("a", 1))
        graph.add("client", calls.of("client", lambda a: threading.Lock()), depends_on=["a"], persist=False)
        graph.add("use", calls.of("use", lambda client: client.locked()), depends_on=["client"])
        graph.add("end", end, depends_on=["use", "client"])
        return graph

    outcome(graph_with(calls.of("end", error=ValueError())).run, store=shelf(), run_id="r")
    assert calls.taken() == ["a", "client", "end", "use"]
    result = graph_with(calls.of("end", lambda use, client: [use, client.locked()])).resume("r", store=shelf())
    assert (result["end"], calls.taken()) == ([False, False], ["client", "end"])


def test_what_was_not_kept_and_is_not_needed_is_not_in_the_result(shelf: Shelf, calls: Calls) -> None:
    graph = Graph()
    graph.add("a", calls.of("a", 1))
    graph.add("b", calls.of("b", 2), depends_on=["a"], persist=False)
    assert dict(graph.run(store=shelf(), run_id="r")) == {"a": 1, "b": 2}
    result = graph.resume("r", store=shelf())
    assert (result.status, dict(result), calls.taken()) == ("succeeded", {"a": 1}, ["a", "b"])


def test_a_large_value_is_kept_once(tmp_path: Path, calls: Calls) -> None:
    """A megabyte that cannot be compressed, given on by one node and used by five: kept once."""
    path = tmp_path / "runs.db"
    large = os.urandom(1_000_000)
    graph = Graph()
    graph.add("large", calls.of("large", large))
    graph.add("same", calls.of("same", lambda large: large), depends_on=["large"])
    for number in range(5):
        graph.add(f"use{number}", calls.of("use", lambda large: len(large)), depends_on=["large"])
    graph.run(store=str(path), run_id="r")
    taken = sum(each.stat().st_size for each in tmp_path.iterdir())
    assert 1_000_000 < taken < 2_900_000, "the file, and what its log of writes still holds"
    result = graph.resume("r", store=str(path))
    assert result["same"] == result["large"] == large


# -- policies


def test_attempts_go_on_where_they_were(calls: Calls) -> None:
    """Of three attempts two have failed when the process dies: one is left."""
    recorder = Recorder()
    graph = Graph()
    seen: list[int] = []

    @graph.node(retry=Retry(3, backoff=Backoff(0), on=ValueError))
    async def flaky(ctx: Context) -> None:
        seen.append(ctx.attempt)
        raise ValueError(f"attempt {ctx.attempt}")

    outcome(graph.run, store=recorder, run_id="r")
    assert seen == [1, 2, 3]
    retries = [i for i, batch in enumerate(recorder.batches) if any(f.kind == FactKind.RETRYING for f in batch)]
    assert len(retries) == 2
    for number, left in zip(retries, ([2, 3], [3]), strict=True):
        seen.clear()
        result = outcome(graph.resume, "r", store=recorder.as_of(number + 1))
        assert (seen, result.nodes["flaky"].attempts) == (left, 3)


def test_a_node_that_had_failed_for_good_begins_anew(shelf: Shelf) -> None:
    """Its attempts were used up; whoever resumes has mended it, and it has all of them again, numbered on."""
    seen: list[int] = []
    graph = Graph()
    fails = [True, True, True, False]

    @graph.node(retry=Retry(2, backoff=Backoff(0), on=ValueError))
    async def flaky(ctx: Context) -> str:
        seen.append(ctx.attempt)
        if fails.pop(0):
            raise ValueError
        return "ok"

    outcome(graph.run, store=shelf(), run_id="r")
    assert graph.resume("r", store=shelf())["flaky"] == "ok"
    assert seen == [1, 2, 3, 4]


def test_a_backoff_goes_on_where_it_was(calls: Calls) -> None:
    """The next attempt waits for what is left of an hour, also in the process that comes at once."""
    recorder = Recorder()
    graph = Graph()
    seen: list[int] = []

    @graph.node(retry=Retry(2, backoff=Backoff(3600, maximum=3600, jitter=False), on=ValueError))
    async def flaky(ctx: Context) -> str:
        seen.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError
        return "ok"

    with virtual_time() as clock:
        assert clock.run(graph.arun(store=recorder, run_id="r"))["flaky"] == "ok"
    count = next(i for i, batch in enumerate(recorder.batches) if any(f.kind == FactKind.RETRYING for f in batch))
    seen.clear()
    with virtual_time() as clock:
        assert clock.run(graph.aresume("r", store=recorder.as_of(count + 1)))["flaky"] == "ok"
        assert 3000 < clock.now <= 3601
    assert seen == [2]


def test_skips_and_fallbacks_are_not_decided_again(shelf: Shelf, calls: Calls) -> None:
    decided: list[str] = []

    def build(end: Any) -> Graph:
        graph = Graph()
        graph.add("a", calls.of("a", error=ValueError()), fallback={"spare": 1})
        graph.add("no", calls.of("no"), depends_on=["a"], when=lambda: decided.append("no"))
        graph.add("after", calls.of("after"), depends_on=["no"])
        graph.add("end", end, depends_on=["a", "after"], join="all_done")
        return graph

    first = outcome(build(calls.of("end", error=KeyError())).run, store=shelf(), run_id="r")
    assert (calls.taken(), decided) == (["a", "end"], ["no"])
    result = build(calls.of("end", "end")).resume("r", store=shelf())
    assert (calls.taken(), decided, result["a"], result["end"]) == (["end"], ["no"], {"spare": 1}, "end")
    assert [first.nodes[name].state for name in ("no", "after")] == ["skipped", "skipped"]
    assert [result.nodes[name].state for name in ("no", "after")] == ["skipped", "skipped"]


def test_the_idempotency_key_is_that_of_the_first_time(shelf: Shelf) -> None:
    keys: list[str] = []
    graph = Graph()

    @graph.node(retry=Retry(2, backoff=Backoff(0), on=ValueError))
    async def pays(ctx: Context) -> str:
        keys.append(ctx.idempotency_key)
        if len(keys) < 4:
            raise ValueError
        return "paid"

    outcome(graph.run, store=shelf(), run_id="r")
    assert graph.resume("r", store=shelf())["pays"] == "paid"
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_a_node_that_must_not_repeat_waits_for_a_decision(calls: Calls) -> None:
    """
    pay ── ship          the process died while pay was at it, and nobody knows what became of it
    other                goes on
    """
    recorder = Recorder()
    graph = Graph()
    graph.add("pay", calls.of("pay", "paid"), repeat="never")
    graph.add("ship", calls.of("ship", "shipped"), depends_on=["pay"])
    graph.add("other", calls.of("other", "done"))
    graph.run(store=recorder, run_id="r")
    calls.taken()
    started = [i for i, batch in enumerate(recorder.batches) if any(f.kind == FactKind.STARTED for f in batch)]
    assert started, "that it starts is written down before it starts"
    store = recorder.as_of(started[0] + 1)
    result = graph.resume("r", store=store)
    assert (result.status, result["other"]) == ("paused", "done")
    assert "pay" not in calls.taken()
    (question,) = result.questions
    assert (question.run_id, question.node) == ("r", "pay")
    assert question.choices is not None
    # Once more without a decision: nothing has changed.
    assert graph.resume("r", store=store).status == "paused"
    assert calls.taken() == []
    again = question.choices[0]
    result = graph.resume("r", store=store, answers={"pay": again})
    assert (result.status, result["ship"], calls.taken()) == ("succeeded", "shipped", ["pay", "ship"])


def test_a_node_that_must_not_repeat_and_failed_has_a_known_outcome(shelf: Shelf, calls: Calls) -> None:
    """Its error was written down: to resume is to run it again."""

    def build(body: Any) -> Graph:
        graph = Graph()
        graph.add("pay", body, repeat="never")
        return graph

    outcome(build(calls.of("pay", error=ValueError())).run, store=shelf(), run_id="r")
    assert build(calls.of("pay", "paid")).resume("r", store=shelf())["pay"] == "paid"


# -- people


def questions() -> Graph:
    """
    three questions, what depends on each, and what depends on none:   a ── A    b ── B    c ── C    free
    """
    graph = Graph("questions")
    for name in "abc":
        graph.ask(name, f"May {name}?", type=bool)
        graph.add(name.upper(), lambda answer: ["done", answer], inputs=graph[name])
    graph.add("free", lambda: "free")
    return graph


@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_answers_come_in_any_order_in_any_later_process(shelf: Shelf, order: str) -> None:
    result = questions().run(store=shelf(), run_id="r")
    assert (result.status, dict(result)) == ("paused", {"free": "free"})
    assert {question.node: question.text for question in result.questions} == {
        "a": "May a?",
        "b": "May b?",
        "c": "May c?",
    }
    assert {question.type for question in result.questions} == {bool}
    for number, name in enumerate(order, 1):
        result = questions().resume("r", store=shelf(), answers={name: name == "b"})
        assert result[name.upper()] == ["done", name == "b"]
        left = sorted(order[number:])
        assert sorted(question.node for question in result.questions) == left
        assert result.status == ("paused" if left else "succeeded")
    again = questions().resume("r", store=shelf())
    assert dict(again) == dict(result)


def test_all_answers_at_once(shelf: Shelf) -> None:
    questions().run(store=shelf(), run_id="r")
    result = questions().resume("r", store=shelf(), answers={"a": "yes", "b": "no", "c": True})
    assert (result.status, [result[name] for name in "abc"], result.questions) == ("succeeded", [True, False, True], ())


def test_resuming_without_an_answer_pauses_again(shelf: Shelf) -> None:
    questions().run(store=shelf(), run_id="r")
    result = questions().resume("r", store=shelf())
    assert (result.status, len(result.questions), result.nodes["free"].reason) == ("paused", 3, "checkpoint")


@pytest.mark.parametrize(
    ("answers", "words"),
    [({"a": "perhaps"}, ["'a'", "'perhaps'", "yes or no"]), ({"d": True}, ["'d'"]), ({"free": True}, ["'free'"])],
)
def test_an_answer_that_does_not_fit_is_refused_and_nothing_is_lost(
    shelf: Shelf, answers: dict[str, Any], words: list[str]
) -> None:
    questions().run(store=shelf(), run_id="r")
    with pytest.raises(GraphError) as caught:
        questions().resume("r", store=shelf(), answers={"b": True, **answers})
    assert [word for word in words if word not in str(caught.value)] == []
    result = questions().resume("r", store=shelf(), answers={"a": True, "b": True, "c": True})
    assert result.status == "succeeded"


def test_somebody_who_is_there_answers_at_once_and_their_answers_are_kept(shelf: Shelf) -> None:
    asked: list[str] = []

    async def person(question: Any) -> bool:
        asked.append(question.node)
        if question.node == "c":
            raise ConnectionError("gone")
        return True

    result = outcome(questions().run, ask=person, store=shelf(), run_id="r", on_error="continue")
    assert (result.status, sorted(asked)) == ("partial", ["a", "b", "c"])
    result = questions().resume("r", store=shelf(), answers={"c": "no"}) if result.questions else result
    later: list[str] = []
    result = questions().resume("r", store=shelf(), ask=lambda question: later.append(question.node) or "no")
    assert (result.status, result["a"], result["c"], later) == ("succeeded", True, False, ["c"])


def test_a_body_that_asks_starts_again_from_its_top_with_the_answers_it_has(shelf: Shelf, calls: Calls) -> None:
    graph = Graph()

    @graph.node
    async def asks(ctx: Context) -> list[Any]:
        calls.note("top")
        first = await ctx.ask("First?", type=int)
        second = await ctx.ask(f"Second, after {first}?", type=int)
        return [first, second]

    result = graph.run(store=shelf(), run_id="r")
    assert (result.status, [question.text for question in result.questions]) == ("paused", ["First?"])
    result = graph.resume("r", store=shelf(), answers={"asks": 1})
    assert (result.status, [question.text for question in result.questions]) == ("paused", ["Second, after 1?"])
    result = graph.resume("r", store=shelf(), answers={"asks": "2"})
    assert (result.status, result["asks"], calls.taken()) == ("succeeded", [1, 2], ["top"] * 3)


def test_what_somebody_said_to_a_body_that_failed_is_not_asked_again(shelf: Shelf) -> None:
    """Unless it is another question now: an answer belongs to what was asked."""

    def build(branch: str, fails: bool) -> Graph:
        graph = Graph()

        @graph.node
        async def asks(ctx: Context) -> list[Any]:
            answers = [await ctx.ask("How many?", type=int), await ctx.ask(f"Delete {branch}?", type=bool)]
            if fails:
                raise ConnectionError
            return answers

        return graph

    asked: list[str] = []

    def person(question: Any) -> str:
        asked.append(question.text)
        return "3" if question.type is int else "yes"

    outcome(build("old", fails=True).run, ask=person, store=shelf(), run_id="r")
    assert asked == ["How many?", "Delete old?"]
    result = build("new", fails=False).resume("r", store=shelf())
    assert (result.status, [question.text for question in result.questions]) == ("paused", ["Delete new?"])
    result = build("new", fails=False).resume("r", store=shelf(), answers={"asks": False})
    assert (result["asks"], len(asked)) == ([3, False], 2)


def test_questions_inside_other_graphs_are_answered_by_their_whole_id(shelf: Shelf) -> None:
    inner = Graph("inner")
    inner.ask("ok", "Publish {page}?", type=bool)
    outer = Graph("outer")
    outer.add("nested", inner, inputs={"page": "front"})
    outer.map("pages", inner, over=["one", "two"], key=str)

    @outer.node
    async def grown(ctx: Context) -> Any:
        return (await ctx.run(inner, page="late"))["ok"]

    result = outer.run(store=shelf(), run_id="r")
    assert {question.node for question in result.questions} == {
        "nested/ok",
        "pages[one]/ok",
        "pages[two]/ok",
        "grown/inner/ok",
    }
    result = outer.resume("r", store=shelf(), answers={"pages[two]/ok": "no", "grown/inner/ok": "no"})
    assert (result.status, {question.node for question in result.questions}) == (
        "paused",
        {"nested/ok", "pages[one]/ok"},
    )
    assert result["grown"] is False
    result = outer.resume("r", store=shelf(), answers={"pages[one]/ok": True, "nested/ok": True})
    assert dict(result) == {"nested": True, "pages": [True, False], "grown": False}


class Size(Enum):
    SMALL = 1
    LARGE = 2


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (Size, "large", Size.LARGE),
        (["s", 7], "7", 7),
        (["s", 7], 7, 7),
        ((1.5, None), None, None),
        (Size, Size.SMALL, Size.SMALL),
        (Literal["a", "b"], "B", "b"),
        (float, "2", 2.0),
        (str, "x", "x"),
    ],
)
def test_an_answer_comes_back_in_its_type(shelf: Shelf, kind: Any, given: Any, value: Any) -> None:
    def build(use: Any) -> Graph:
        graph = Graph()
        graph.ask("size", "Which?", type=kind)
        graph.add("use", use)
        return graph

    def broken(size: Any) -> None:
        raise ValueError

    build(broken).run(store=shelf(), run_id="r")
    outcome(build(broken).resume, "r", store=shelf(), answers={"size": given})
    result = build(lambda size: f"{type(size).__name__}").resume("r", store=shelf())
    assert (result["size"], result["use"], result.nodes["size"].reason) == (value, type(value).__name__, "checkpoint")
    assert type(result["size"]) is type(value)


def test_a_question_that_fell_back_has_its_answer(shelf: Shelf) -> None:
    graph = Graph()
    graph.ask("ok", "Well?", type=bool, timeout=0.001, fallback=False)

    async def never(question: Any) -> None:
        await asyncio.Event().wait()

    result = graph.run(store=shelf(), run_id="r", ask=never)
    assert (result.status, result["ok"]) == ("succeeded", False)
    assert graph.resume("r", store=shelf(), ask=lambda question: True)["ok"] is False


# -- graphs that grow


def test_instances_by_key_are_kept_whatever_their_order(shelf: Shelf, calls: Calls) -> None:
    def build(items: list[str], fails: str = "") -> Graph:
        async def work(item: str) -> str:
            calls.note(item)
            if item == fails:
                raise ValueError(item)
            return item.upper()

        graph = Graph()
        graph.map("work", work, over=items, key=str)
        return graph

    outcome(build(["a", "b", "c"], fails="b").run, store=shelf(), run_id="r", on_error="continue")
    assert calls.taken() == ["a", "b", "c"]
    result = build(["c", "b", "a"]).resume("r", store=shelf())
    assert (result["work"], calls.taken()) == (["C", "B", "A"], ["b"])


def position(calls: Calls, items: list[Any], fails: Any = None) -> Graph:
    async def work(item: Any) -> Any:
        calls.note(str(item))
        if item == fails:
            raise ValueError(item)
        return item * 10

    graph = Graph()
    graph.add("items", calls.of("items", items), persist=False)
    graph.map("work", work, over="items")
    return graph


def test_a_changed_item_is_noticed_by_position(shelf: Shelf, calls: Calls) -> None:
    outcome(position(calls, [1, 2, 3], fails=3).run, store=shelf(), run_id="r", on_error="continue")
    calls.taken()
    with pytest.raises((GraphError, RunFailed)) as caught:
        position(calls, [1, 7, 3]).resume("r", store=shelf())
    error = caught.value.exceptions[0] if isinstance(caught.value, RunFailed) else caught.value
    assert "work[1]" in str(error)
    assert "on_change" in str(error)
    assert "7" not in calls.taken()
    result = position(calls, [1, 7, 3]).resume("r", store=shelf(), on_change="rerun")
    assert (result["work"], "1" in calls.names, "7" in calls.names) == ([10, 70, 30], False, True)


def test_same_items_by_position_are_not_run_again(shelf: Shelf, calls: Calls) -> None:
    outcome(position(calls, [1, 2, 3], fails=2).run, store=shelf(), run_id="r", on_error="continue")
    calls.taken()
    result = position(calls, [1, 2, 3, 4]).resume("r", store=shelf())
    assert (result["work"], calls.taken()) == ([10, 20, 30, 40], ["2", "4", "items"])


def test_failures_kept_as_outcomes_are_decided_once(shelf: Shelf, calls: Calls) -> None:
    """The stage succeeded, with what became of each item: nothing of it runs again."""

    def build(end: Any) -> Graph:
        async def work(item: int) -> int:
            calls.note(f"work {item}")
            return 10 // item

        graph = Graph()
        graph.map("work", work, over=[1, 0, 2], outcomes=True)
        graph.add("end", end)
        return graph

    def broken(work: Any) -> None:
        raise ValueError

    outcome(build(broken).run, store=shelf(), run_id="r")
    assert calls.taken() == ["work 0", "work 1", "work 2"]
    result = build(lambda work: [each.value if each.ok else "failed" for each in work]).resume("r", store=shelf())
    assert result["end"] == [10, "failed", 5]
    assert not {"work 1", "work 2"} & set(calls.taken())


def test_items_that_are_outcomes_are_the_same_when_the_run_goes_on(shelf: Shelf, calls: Calls) -> None:
    """Why an item succeeded is another thing then, a checkpoint; its outcome is no other item for that."""

    def build(*, is_broken: bool) -> Graph:
        async def work(item: int) -> int:
            calls.note(f"work {item}")
            return 10 // item

        async def look(one: Outcome) -> str:
            calls.note(f"look {one.key}")
            if is_broken and one.key == "2":
                raise ConnectionError
            return one.key if one.ok else "failed"

        graph = Graph(on_error="continue")
        graph.map("work", work, over=[1, 0, 2], outcomes=True)
        graph.map("looks", look, over="work")
        return graph

    outcome(build(is_broken=True).run, store=shelf(), run_id="r")
    calls.taken()
    result = build(is_broken=False).resume("r", store=shelf())
    assert (result["looks"], {"work 1", "work 2", "look 0"} & set(calls.taken())) == (["0", "failed", "2"], set())


def test_what_a_body_has_run_is_not_run_again(shelf: Shelf, calls: Calls) -> None:
    """An agent of five rounds, of which the third fails once: rounds one and two are not paid for twice."""
    fails = {3}

    async def model(number: int) -> str:
        calls.note(f"model {number}")
        if number in fails:
            raise ConnectionError
        return f"said {number}"

    graph = Graph()

    @graph.node
    async def agent(ctx: Context) -> list[str]:
        calls.note("agent")
        return [await ctx.run(model, number=number) for number in range(1, 6)]

    outcome(graph.run, store=shelf(), run_id="r")
    assert calls.taken() == ["agent", "model 1", "model 2", "model 3"]
    fails.clear()
    result = graph.resume("r", store=shelf())
    assert result["agent"] == [f"said {number}" for number in range(1, 6)]
    assert calls.taken() == ["agent", "model 3", "model 4", "model 5"]


def test_a_body_that_goes_another_way_is_not_given_what_belongs_elsewhere(shelf: Shelf, calls: Calls) -> None:
    """The first call of the body is another one now: its stored output is not that of the new call."""

    async def model(prompt: str) -> str:
        calls.note(prompt)
        if prompt == "fail":
            raise ValueError
        return prompt.upper()

    prompts = ["one", "fail"]
    graph = Graph()

    @graph.node
    async def agent(ctx: Context) -> list[str]:
        return [await ctx.run(model, prompt=prompt) for prompt in prompts]

    outcome(graph.run, store=shelf(), run_id="r")
    prompts[:] = ["other", "two"]
    with contextlib.suppress(RunFailed, GraphError):
        result = graph.resume("r", store=shelf())
        assert result["agent"] == ["OTHER", "TWO"], "an output of another call was given"
    result = graph.resume("r", store=shelf(), on_change="rerun")
    assert result["agent"] == ["OTHER", "TWO"]


def test_graphs_inside_graphs_go_on_inside(shelf: Shelf, calls: Calls) -> None:
    def build(fails: bool) -> Graph:
        deep = Graph("deep")
        deep.add("x", calls.of("x", 1))
        deep.add("y", calls.of("y", 2, ValueError() if fails else None), depends_on=["x"])
        middle = Graph("middle")
        middle.add("deep", deep)
        middle.add("z", calls.of("z", 3), depends_on=["deep"])
        outer = Graph("outer")
        outer.add("middle", middle)
        return outer

    outcome(build(True).run, store=shelf(), run_id="r")
    assert calls.taken() == ["x", "y"]
    result = build(False).resume("r", store=shelf())
    assert (result["middle"], calls.taken()) == (3, ["y", "z"])
    assert result.nodes["middle/deep/x"].reason == "checkpoint"


# -- changes of the graph


def versions(calls: Calls, version: str = "1", wiring: str = "a", end: Any = None) -> Graph:
    """
    a ── b ── end
    c ── d ──┘          b may take c instead of a
    """
    graph = Graph("versions")
    graph.add("a", calls.of("a", "a"))
    graph.add("c", calls.of("c", "c"))
    graph.add("b", calls.of("b", f"b{version}"), depends_on=[wiring], version=version)
    graph.add("d", calls.of("d", "d"), depends_on=["c"])
    graph.add("end", end or calls.of("end", lambda b, d: b + d), depends_on=["b", "d"])
    return graph


@pytest.mark.parametrize("change", [{"version": "2"}, {"wiring": "c"}])
def test_a_completed_node_that_has_changed_is_refused_by_name_or_run_again(
    shelf: Shelf, calls: Calls, change: dict[str, str]
) -> None:
    outcome(versions(calls, end=calls.of("end", error=ValueError())).run, store=shelf(), run_id="r")
    assert calls.taken() == ["a", "b", "c", "d", "end"]
    with pytest.raises(GraphError) as caught:
        versions(calls, **change).resume("r", store=shelf())
    assert "'b'" in str(caught.value)
    assert "on_change" in str(caught.value)
    assert calls.taken() == []
    result = versions(calls, **change).resume("r", store=shelf(), on_change="rerun")
    assert (result["end"], calls.taken()) == (f"b{change.get('version', '1')}d", ["b", "end"])
    # What ran again is what is kept now.
    assert versions(calls, **change).resume("r", store=shelf())["end"] == result["end"]
    assert calls.taken() == []


def test_what_was_to_run_again_does_so_after_the_process_has_died(calls: Calls) -> None:
    """It was forgotten before it ran again; then nothing is left of what it was."""
    store = Recorder()
    versions(calls).run(store=store, run_id="r")
    before = len(store.batches)
    versions(calls, version="2").resume("r", store=store, on_change="rerun")
    forgotten = next(
        i for i, batch in enumerate(store.batches) if any(fact.kind == FactKind.FORGOTTEN for fact in batch)
    )
    assert forgotten >= before
    calls.taken()
    result = versions(calls, version="2").resume("r", store=store.as_of(forgotten + 1))
    assert (result["end"], calls.taken()) == ("b2d", ["b", "end"])


def test_what_follows_a_changed_node_runs_again_too(shelf: Shelf, calls: Calls) -> None:
    """All had completed: of a finished run nothing is refused or run again unless it is asked for."""
    versions(calls).run(store=shelf(), run_id="r")
    calls.taken()
    result = versions(calls, version="2").resume("r", store=shelf(), on_change="rerun")
    assert (result["end"], calls.taken()) == ("b2d", ["b", "end"])


def test_a_completed_node_may_go_and_others_may_come(shelf: Shelf, calls: Calls) -> None:
    outcome(versions(calls, end=calls.of("end", error=ValueError())).run, store=shelf(), run_id="r")
    calls.taken()
    graph = Graph("versions")
    graph.add("c", calls.of("c", "c"))
    graph.add("d", calls.of("d", "d"), depends_on=["c"])
    graph.add("new", calls.of("new", "n"), depends_on=["d", "c"])
    graph.add("end", calls.of("end", lambda new: new), depends_on=["new"])
    result = graph.resume("r", store=shelf())
    assert (dict(result), calls.taken()) == ({"c": "c", "d": "d", "new": "n", "end": "n"}, ["end", "new"])


# -- how runs end


@pytest.mark.parametrize(
    ("on_error", "status", "left"),
    [
        ("cancel", "failed", {"bad", "after", "slow"}),
        ("drain", "failed", {"bad", "after"}),
        ("continue", "partial", {"bad", "after"}),
    ],
)
def test_however_a_failure_ended_the_run_it_goes_on(
    shelf: Shelf, calls: Calls, on_error: Any, status: str, left: set[str]
) -> None:
    """
    good ── bad ── after
    slow                     runs while bad fails
    """
    entered: list[asyncio.Event] = []

    def build(bad: Any) -> Graph:
        graph = Graph()
        graph.add("good", calls.of("good", 1))
        graph.add("bad", bad, depends_on=["good"])
        graph.add("after", calls.of("after", 3), depends_on=["bad"])

        @graph.node
        async def slow() -> int:
            calls.note("slow")
            entered[-1].set()
            # It is there when `bad` fails, however long that takes to be written down.
            await asyncio.sleep(60 if on_error == "cancel" and len(entered) == 1 else 0.01)
            return 4

        return graph

    async def fails(**values: Any) -> None:
        calls.note("bad")
        await entered[-1].wait()
        raise ValueError("no")

    async def first() -> RunResult:
        entered.append(asyncio.Event())
        try:
            return await build(fails).arun(store=shelf(), run_id="r", on_error=on_error)
        except RunFailed as failure:
            return failure.result

    result = asyncio.run(first())
    assert (result.status, calls.counts()) == (status, {"good": 1, "bad": 1, "slow": 1})
    calls.taken()

    async def second() -> RunResult:
        entered.append(asyncio.Event())
        return await build(calls.of("bad", 2)).aresume("r", store=shelf())

    result = asyncio.run(second())
    assert (result.status, dict(result)) == ("succeeded", {"good": 1, "bad": 2, "after": 3, "slow": 4})
    assert set(calls.taken()) == left


@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_clock_that_jumps_waits_for_what_is_being_written(tmp_path: Path, place: str) -> None:
    """Hours of sleep between one write to the disk and the next."""
    shelf = Shelf(None if place == "memory" else tmp_path / "runs.db")
    graph = Graph()

    async def body() -> None:
        await asyncio.sleep(3600)

    for before, name in zip(("", *"abc"), "abcd", strict=True):
        graph.add(name, body, depends_on=[before] if before else None, timeout=3601)
    with virtual_time() as clock:
        assert clock.run(graph.arun(store=shelf(), run_id="r")).status == "succeeded"
        assert clock.now == 4 * 3600
        assert clock.run(graph.aresume("r", store=shelf())).status == "succeeded"
        assert clock.now == 4 * 3600


def test_a_run_that_passed_its_deadline_goes_on(memory: Shelf, calls: Calls) -> None:
    waits = [True]
    graph = Graph()
    graph.add("a", calls.of("a", 1))

    @graph.node
    async def slow(a: int) -> int:
        calls.note("slow")
        if waits.pop():
            await asyncio.Event().wait()
        return a + 1

    with virtual_time() as clock, pytest.raises(RunTimeout):
        clock.run(graph.arun(store=memory(), run_id="r", deadline=60))
    waits[:] = [False]
    assert calls.taken() == ["a", "slow"]
    assert (graph.resume("r", store=memory(), deadline=60)["slow"], calls.taken()) == (2, ["slow"])


def test_a_cancelled_run_goes_on(shelf: Shelf, calls: Calls) -> None:
    async def main() -> None:
        entered, waits = asyncio.Event(), [True]
        graph = Graph()
        graph.add("a", calls.of("a", 1))

        @graph.node
        async def slow(a: int) -> int:
            calls.note("slow")
            entered.set()
            if waits.pop():
                await asyncio.Event().wait()
            return a + 1

        run = asyncio.ensure_future(graph.arun(store=shelf(), run_id="r"))
        await entered.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert calls.taken() == ["a", "slow"]
        waits[:] = [False]
        result = await graph.aresume("r", store=shelf())
        assert (result["slow"], calls.taken()) == (2, ["slow"])

    with nothing_left():
        asyncio.run(main())


def test_a_streamed_run_that_is_left_goes_on(shelf: Shelf, calls: Calls) -> None:
    async def main() -> None:
        graph = chain(calls, "a", "b", "c")
        async with contextlib.aclosing(graph.astream(store=shelf(), run_id="r")) as events:
            async for event in events:
                if isinstance(event, NodeEnded) and event.node == "b":
                    break
        done = calls.taken()
        assert done[:2] == ["a", "b"]
        result = await graph.aresume("r", store=shelf())
        assert dict(result) == {"a": "a", "b": "b", "c": "c"}
        assert calls.taken() == sorted({"c"} - set(done)) or calls.names == []
        assert {"a", "b"} <= {name for name, node in result.nodes.items() if node.reason == "checkpoint"}

    asyncio.run(main())


@pytest.mark.parametrize("way", ["astream", "stream"])
def test_a_streamed_run_is_kept_like_any_other(shelf: Shelf, calls: Calls, way: str) -> None:
    graph = chain(calls, "a", "b")

    async def collect() -> list[Any]:
        return [event async for event in graph.astream(store=shelf(), run_id="r")]

    events = asyncio.run(collect()) if way == "astream" else list(graph.stream(store=shelf(), run_id="r"))
    assert isinstance(events[-1], RunEnded)
    calls.taken()
    assert dict(graph.resume("r", store=shelf())) == {"a": "a", "b": "b"}
    assert calls.taken() == []


def test_listeners_of_a_resumed_run_hear_of_every_node_once(shelf: Shelf, calls: Calls) -> None:
    outcome(diamond(calls, d=calls.of("d", error=ValueError())).run, store=shelf(), run_id="r")
    events: list[Any] = []
    diamond(calls).resume("r", store=shelf(), listeners=[events.append])
    assert [event.seq for event in events] == list(range(events[0].seq, events[0].seq + len(events)))
    ended = {event.node: event.reason for event in events if isinstance(event, NodeEnded)}
    assert ended == {"a": "checkpoint", "b": "checkpoint", "c": "checkpoint", "d": "output"}
    assert len([event for event in events if isinstance(event, NodeEnded)]) == 4


def test_threads_and_generators_are_kept_like_any_other(shelf: Shelf, calls: Calls) -> None:
    def build(end: Any) -> Graph:
        graph = Graph()

        @graph.node
        def thread() -> tuple[int, ...]:
            calls.note("thread")
            return (1, 2)

        @graph.node
        def generator(thread: tuple[int, ...]) -> Iterator[int]:
            calls.note("generator")
            yield from thread

        @graph.node
        async def chunks(generator: list[int]) -> AsyncIterator[int]:
            calls.note("chunks")
            for each in generator:
                yield each

        graph.add("end", end)
        return graph

    def broken(chunks: list[int]) -> None:
        raise ValueError

    outcome(build(broken).run, store=shelf(), run_id="r")
    assert calls.taken() == ["chunks", "generator", "thread"]
    result = build(lambda chunks: sum(chunks)).resume("r", store=shelf())
    assert (dict(result), calls.taken()) == ({"thread": (1, 2), "generator": [1, 2], "chunks": [1, 2], "end": 3}, [])


def test_resources_are_opened_for_what_is_left(shelf: Shelf, calls: Calls) -> None:
    def build(end: Any) -> Graph:
        graph = Graph()

        @graph.resource
        def client() -> Iterator[str]:
            calls.note("open")
            yield "client"
            calls.note("close")

        graph.add("use", lambda client: client)
        graph.add("end", end)
        return graph

    def broken(use: str) -> None:
        raise ValueError

    outcome(build(broken).run, store=shelf(), run_id="r")
    assert calls.taken() == ["close", "open"]
    assert build(lambda use: use).resume("r", store=shelf())["end"] == "client"
    assert calls.taken() == []
    assert build(lambda use, client: [use, client]).run(store=shelf(), run_id="s")["end"] == ["client", "client"]


# -- who owns a run


def test_of_two_resumers_one_wins(shelf: Shelf) -> None:
    """The second one comes while the first one is at it, and is told so."""

    async def main() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()
        graph = Graph()

        @graph.node
        async def body() -> int:
            entered.set()
            await leave.wait()
            return 1

        first = asyncio.ensure_future(graph.arun(store=shelf(), run_id="r"))
        await entered.wait()
        with pytest.raises(RunOwned, match="'r'"):
            await graph.aresume("r", store=shelf())
        with pytest.raises(RunExists):
            await graph.arun(store=shelf(), run_id="r")
        leave.set()
        assert (await first)["body"] == 1
        assert (await graph.aresume("r", store=shelf()))["body"] == 1

    asyncio.run(main())


def test_whoever_is_taken_over_can_add_nothing_any_more(shelf: Shelf) -> None:
    """The first one hangs; the second takes over and completes; the first wakes up, and is told."""

    async def main() -> None:
        leave = asyncio.Event()
        ran: list[str] = []

        def build(name: str) -> Graph:
            graph = Graph()

            @graph.node
            async def body() -> str:
                ran.append(name)
                if name == "first":
                    entered.set()
                    await leave.wait()
                return name

            @graph.node
            async def after(body: str) -> str:
                ran.append(f"after {name}")
                return body

            return graph

        entered = asyncio.Event()
        first = asyncio.ensure_future(build("first").arun(store=shelf(), run_id="r"))
        await entered.wait()
        result = await build("second").aresume("r", store=shelf(), take_over=True)
        assert (result["after"], ran) == ("second", ["first", "second", "after second"])
        leave.set()
        with pytest.raises((OwnershipLost, RunFailed)) as caught:
            await first
        if isinstance(caught.value, RunFailed):
            assert all(isinstance(error, OwnershipLost) for error in caught.value.exceptions)
        assert "after first" not in ran
        assert (await build("third").aresume("r", store=shelf()))["after"] == "second"

    asyncio.run(main())


def test_a_store_lists_its_runs_by_how_they_stand(shelf: Shelf, calls: Calls) -> None:
    chain(calls, "a").run(store=shelf(), run_id="good")
    outcome(diamond(calls, b=calls.of("b", error=ValueError())).run, store=shelf(), run_id="bad")
    questions().run(store=shelf(), run_id="open")
    diamond(calls, b=calls.of("b", error=ValueError())).run(store=shelf(), run_id="part", on_error="continue")
    lines = {line.run_id: line for line in shelf.store.runs()}
    assert {name: line.status for name, line in lines.items()} == {
        "good": "succeeded",
        "bad": "failed",
        "open": "paused",
        "part": "partial",
    }
    assert lines["good"].graph == "chain"
    assert [line.run_id for line in shelf.store.runs("questions")] == ["open"]
    assert {line.run_id for line in shelf.store.runs("diamond")} == {"bad", "part"}


def test_a_run_whose_process_died_is_listed_as_interrupted(calls: Calls) -> None:
    recorder = Recorder()
    chain(calls, "a", "b").run(store=recorder, run_id="r")
    (line,) = recorder.as_of(1).runs()
    assert line.status == "interrupted"


# -- how much is waited for


@pytest.mark.parametrize("durability", ["commit", "relaxed"])
def test_either_way_what_was_written_is_not_run_again(shelf: Shelf, calls: Calls, durability: Any) -> None:
    broken = diamond(calls, d=calls.of("d", error=ValueError()))
    outcome(broken.run, store=shelf(), run_id="r", durability=durability)
    calls.taken()
    result = diamond(calls).resume("r", store=shelf(), durability=durability)
    assert (result.status, calls.taken()) == ("succeeded", ["d"])


def test_relaxed_does_not_wait_and_still_tells_what_could_not_be_written(calls: Calls) -> None:
    store = Refusing(1)

    def graph() -> Graph:
        graph = chain(calls, "a")

        @graph.node
        async def b(a: object) -> str:
            calls.note("b")
            # What was noted before goes to the store meanwhile.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "b"

        graph.add("c", counted(calls, "c", lambda b: b))
        return graph

    with nothing_left(), pytest.raises((StoreError, RunFailed)):
        graph().run(store=store, run_id="r", durability="relaxed")
    calls.taken()
    result = graph().resume("r", store=store.as_of(1))
    assert result.status == "succeeded"
    assert len(calls.taken()) == 2


def test_without_a_store_nothing_of_it_is_touched(calls: Calls) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from antichain import Graph; graph = Graph(); graph.add('a', lambda: 1); graph.run(); "
        "print([name for name in sys.modules if name.startswith('antichain.stores') or name == 'sqlite3'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_store_is_not_a_checkpoint(calls: Calls, tmp_path: Path) -> None:
    """A file that is no store, or one of whose pages nothing is left, is an error: never a run from the beginning."""
    path = tmp_path / "runs.db"
    path.write_bytes(b"not a database at all, but a text of some length" * 100)
    with pytest.raises(StoreError, match=r"runs\.db"):
        chain(calls, "a").resume("r", store=str(path))
    with pytest.raises(StoreError):
        chain(calls, "a").resume("r", store=str(tmp_path / "none" / "runs.db"))
    with pytest.raises(StoreError):
        chain(calls, "a").resume("r", store=str(tmp_path / "missing.db"))
    assert not (tmp_path / "missing.db").exists(), "to look for a run makes no store"
    assert calls.taken() == []


@dataclass
class Given:
    x: int


def test_inputs_that_would_come_back_as_something_else_are_refused() -> None:
    """Nobody's annotation says what an input is, so a run that is kept takes plain data only."""
    graph, store = Graph("g"), MemoryStore()
    graph.add("n", lambda thing: thing.x)
    with pytest.raises(GraphError, match=r"input 'thing' holds objects of classes.*let a node make"):
        graph.run(thing=Given(1), store=store, run_id="r")
    assert store.runs() == []


def test_given_outputs_are_read_back_as_what_the_node_returns() -> None:
    """Where the node does not say what it returns, an object is refused; else it is that object on resume too."""
    graph, store = Graph("g"), MemoryStore()
    graph.add("silent", lambda: None)
    with pytest.raises(GraphError, match="outputs\\['silent'\\]"):
        graph.run(outputs={"silent": Given(1)}, store=store, run_id="r")
    assert store.runs() == []

    @graph.node
    def said() -> Given:
        raise AssertionError("its output was given")

    @graph.node
    def late(said: Given, silent: int) -> int:
        if not fixed:
            raise ValueError("not yet")
        return said.x + silent

    fixed = False
    with pytest.raises(RunFailed):
        graph.run(outputs={"said": Given(2), "silent": 1}, store=store, run_id="s")
    fixed = True
    assert graph.resume("s", store=store)["late"] == 3
