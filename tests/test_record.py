"""
What a run leaves behind: events in order, the record folded from them, and the result, which says the same.
"""

import copy
import json
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from antichain import Graph
from antichain.core.facts import (
    Chunk,
    Entry,
    Event,
    FactStream,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    Outline,
    RunEnded,
    RunStarted,
)
from antichain.core.scheduler import Scheduler
from antichain.core.states import FIRST_TERMINAL, REASON_NAMES, STATE_NAMES
from antichain.policies import Timeout
from antichain.record import (
    MissingOutput,
    NodeRecord,
    NodeRecords,
    RunRecord,
    RunResult,
    as_json,
    critical_path,
    failed_attempt,
    fold,
    status_of,
)
from antichain.shape import Flag, shape_of
from antichain.testing import SKIP, simulate
from tests.support.arranged import A, B, C, D, again
from tests.support.random_runs import World

BROKEN = ValueError("no such page")


async def body() -> None:
    return None


def played(**options: Any) -> RunResult:
    """
    a ── b ── d        c fails, e is skipped by its condition
    └─── c ── f
    """
    graph = Graph("sample")
    graph.add("a", body)
    graph.add("b", body, depends_on=["a"])
    graph.add("c", body, depends_on=["a"])
    graph.add("d", body, depends_on=["b"])
    graph.add("e", body, when=lambda: True)
    graph.add("f", body, depends_on=["c"])
    return simulate(
        graph.plan(),
        durations={"a": 1.0, "b": 2.0, "c": 1.0, "d": 4.0, "e": 0.0},
        outcomes={"a": "first", "b": {"k": [1, 2.5]}, "c": BROKEN, "d": float("inf"), "e": SKIP},
        on_error="continue",
        **options,
    )


# -- events


class Names:
    """What a fact stream needs of a run, without one."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.also: list[Event] = []
        self.complaints: list[tuple[object, BaseException]] = []
        self.errors: dict[int, BaseException] = {1: BROKEN}
        self.facts = FactStream(
            "run-1",
            [self.told.append, self.also.append],
            ["a", "b"],
            (bytearray([4, 5]), bytearray([1, 4]), [1.0, 1.0]),
            self.errors.get,
            ["output of a", None].__getitem__,
            {1: 1},
            lambda listener, error: self.complaints.append((listener, error)),
        )


def test_events_are_numbered_without_gaps_and_name_everything() -> None:
    names = Names()
    facts = names.facts
    facts.run_started("sample", 2, 0.0)
    facts.ready(0, 1, 0.5)
    facts.started(0, 1, 1.0)
    facts.chunk(0, 1, 1.5, "part")
    facts.ended(0, 1, 2.0)
    facts.retrying(1, 3, 2.5, 0.25)
    facts.ended(1, 4, 3.0)
    facts.run_ended("failed", 4.0)
    assert names.told == [
        RunStarted(1, 0.0, "run-1", "sample", 2),
        NodeReady(2, 0.5, "run-1", "a", 1),
        NodeStarted(3, 1.0, "run-1", "a", 1),
        Chunk(4, 1.5, "run-1", "a", 1, "part"),
        NodeEnded(5, 2.0, "run-1", "a", 1, "succeeded", "output", None, "output of a", False),
        NodeRetrying(6, 2.5, "run-1", "b", 3, 0.25, BROKEN),
        NodeEnded(7, 3.0, "run-1", "b", 4, "failed", "error", BROKEN, None, True),
        RunEnded(8, 4.0, "run-1", "failed"),
    ]
    assert [type(event) for event in names.told] == [type(event) for event in names.also]
    assert names.also == names.told
    assert facts.seq == 8


def test_listener_that_raises_is_told_nothing_more_and_harms_nobody() -> None:
    names = Names()

    def bad(event: Event) -> None:
        raise BROKEN

    facts = FactStream(
        "r",
        [bad, names.told.append],
        ["a"],
        (b"", b"", [0.0]),
        names.errors.get,
        lambda _: None,
        (),
        names.facts._report,
    )
    facts.ready(0, 1, 0.0)
    facts.started(0, 1, 1.0)
    assert names.complaints == [(bad, BROKEN)]
    assert len(names.told) == 2


def test_events_tell_who_asks_what_and_that_it_is_answered() -> None:
    names = Names()
    names.facts.asks(0, 2, 2.0, "Delete 3 branches?", 4)
    names.facts.answered(1, 3, 3.0, 5)
    assert names.told == [
        NodeAsks(1, 2.0, "run-1", "a", 2, "Delete 3 branches?", 4),
        NodeAnswered(2, 3.0, "run-1", "b", 3, 5),
    ]


def test_listener_may_raise_unheard() -> None:
    def bad(event: Event) -> None:
        raise BROKEN

    FactStream("r", [bad], ["a"], (b"", b"", [0.0]), lambda _: None, lambda _: None).ready(0, 1, 0.0)


class Close:
    """A listener that is told of nodes without events."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.bad = ""

    def __call__(self, event: Event) -> None:
        self._take("event", type(event).__name__, event.node)

    def node_started(self, number: int, node: str, attempt: int, now: float, ready_at: float) -> None:
        self._take("started", number, node, attempt, now, ready_at)

    def node_succeeded(self, number: int, node: str) -> None:
        self._take("succeeded", number, node)

    def _take(self, *told: Any) -> None:
        self.told.append(told)
        if told[0] == self.bad:
            raise BROKEN


def close_by(names: Names, *others: Any) -> tuple[Close, FactStream]:
    close = Close()
    columns = (bytearray([4, 5, 4, 4]), bytearray([1, 4, 2, 1]), [1.0, 1.0, 1.0, 1.0])
    given = (["a", "b", "c", "d"], columns, names.errors.get, lambda _: None, {3: 1}, names.facts._report)
    return close, FactStream("r", [close, *others], *given)


@pytest.mark.parametrize("alone", [True, False])
def test_a_listener_may_be_told_of_nodes_without_events(alone: bool) -> None:
    """Of all but what is worth a closer look: b has failed, c fell back, d has left an attempt behind."""
    names = Names()
    close, facts = close_by(names, *(() if alone else [names.told.append]))
    facts.run_started("sample", 4, 0.0)
    facts.entered(Entry("d", "a", (), ()), 0.5)
    facts.ready(0, 1, 1.0)
    facts.started(0, 1, 2.0)
    facts.chunk(0, 1, 2.5, "part")
    facts.retrying(0, 1, 2.75, 1.0)
    facts.ready(0, 2, 2.8)
    facts.started(0, 2, 2.9)
    for node in range(4):
        facts.ended(node, 1, 3.0)
    facts.run_ended("failed", 4.0)
    assert close.told == [
        ("event", "RunStarted", None),
        ("event", "NodeEntered", "d"),
        ("started", 0, "a", 1, 2.0, 1.0),
        ("event", "Chunk", "a"),
        ("event", "NodeRetrying", "a"),
        ("started", 0, "a", 2, 2.9, 2.8),
        ("succeeded", 0, "a"),
        ("event", "NodeEnded", "b"),
        ("event", "NodeEnded", "c"),
        ("event", "NodeEnded", "d"),
        ("event", "RunEnded", None),
    ]
    # Counted is what events are made of.
    assert facts.seq == (8 if alone else 13)
    # Others have the same numbers whoever else listens.
    assert [event.seq for event in names.told] == ([] if alone else list(range(1, 14)))


@pytest.mark.parametrize("bad", ["event", "started", "succeeded"])
def test_a_listener_without_events_that_raises_is_told_nothing_more_either(bad: str) -> None:
    names = Names()
    close, facts = close_by(names, names.told.append)
    close.bad = bad
    for _ in range(2):
        facts.ready(0, 1, 1.0)
        facts.started(0, 1, 2.0)
        facts.ended(1, 1, 3.0)
        facts.ended(0, 1, 3.0)
    assert names.complaints == [(close, BROKEN)]
    assert close.told[-1][0] == bad
    assert len(names.told) == 8


def test_an_outline_lists_the_planned_nodes_and_what_each_follows() -> None:
    """c follows a from item to item."""
    graph = Graph("outline", limits={"disk": 3})
    graph.map("a", len, over=["x", "yy"], uses="disk")
    graph.add("b", len, inputs={"obj": graph["a"]}, uses={"disk": 2})
    graph.map("c", abs, over="a", max_concurrent=4)
    told: list[Event] = []
    result = graph.run(listeners=[told.append], max_concurrent=5)
    started = told[0]
    assert isinstance(started, RunStarted)
    outline = started.outline
    assert outline.max_concurrent == 5
    assert {"disk": 3, "c.max_concurrent": 4}.items() <= outline.limits.items()
    assert [entry.node for entry in outline.entries()] == ["a", "b", "c"]
    assert [entry.upstream for entry in outline.entries()] == [(), ("a",), ("a",)]
    assert [entry.group for entry in outline.entries()] == ["", "", ""]
    # The same by number, as those have it that are told of every node.
    assert [list(before) for before in outline.upstream()] == [[], [0], [0]]
    assert list(outline.awaited()) == [1, 0, 0]
    assert outline.leaders() == ["a"]
    assert (outline.EMPTY.upstream(), list(outline.EMPTY.awaited()), outline.EMPTY.leaders()) == ((), [], [])
    assert [entry.uses for entry in outline.entries()] == [(), (("disk", 2), ("thread", 1)), ()]
    assert list(outline.demands()) == [("b", (("disk", 2), ("thread", 1)))]
    assert fold(told).nodes == dict(result.nodes)
    assert result.nodes["c[1]"].upstream == ("a[1]",)
    assert result.nodes["c[1]"].group == "c"
    assert result.nodes["a[1]"].uses == (("disk", 1), ("thread", 1))
    assert list(Outline.EMPTY.entries()) == list(Outline.EMPTY.demands()) == []
    assert Outline.EMPTY.max_concurrent is None


def test_an_outline_of_a_run_without_limits_says_so() -> None:
    graph = Graph("free")
    graph.add("a", body)
    told: list[Event] = []
    graph.run(listeners=[told.append])
    started = told[0]
    assert isinstance(started, RunStarted)
    assert started.outline.max_concurrent is None
    assert list(started.outline.demands()) == []


# -- folding


def test_fold_knows_what_is_asked_until_it_is_answered_or_the_attempt_ends() -> None:
    asks = [NodeAsks(2, 1.0, "r", "a", 1, "One?", 1), NodeAsks(3, 1.0, "r", "a", 1, "Two?", 2)]
    open_questions = ((1, "One?"), (2, "Two?"))
    assert fold(asks).nodes["a"].asks == open_questions
    assert fold([*asks, NodeAnswered(4, 2.0, "r", "a", 1, 1)]).nodes["a"].asks == ((2, "Two?"),)
    assert fold([*asks, NodeRetrying(4, 3.0, "r", "a", 1, 1.0, BROKEN)]).nodes["a"].asks == ()
    for reason, left in {"output": (), "paused": open_questions}.items():
        ended = NodeEnded(4, 3.0, "r", "a", 1, "cancelled", reason, None, None)
        assert fold([*asks, ended]).nodes["a"].asks == left


def test_fold_follows_a_node_through_its_states() -> None:
    events: list[Event] = [
        RunStarted(1, 0.0, "run-1", "sample", 1),
        NodeReady(2, 1.0, "run-1", "a", 1),
        NodeStarted(3, 2.0, "run-1", "a", 1),
        NodeRetrying(4, 3.0, "run-1", "a", 1, 1.0, BROKEN),
        NodeReady(5, 4.0, "run-1", "a", 2),
        NodeStarted(6, 5.0, "run-1", "a", 2),
        Chunk(7, 5.5, "run-1", "a", 2, "part"),
        NodeEnded(8, 6.0, "run-1", "a", 2, "succeeded", "fallback", BROKEN, 42, True),
        RunEnded(9, 7.0, "run-1", "succeeded"),
    ]
    seen = []
    record = RunRecord()
    for event in events:
        record = fold([event], record)
        node = record.nodes.get("a")
        seen.append(None if node is None else node.state)
    steps = ["ready", "running", "backing off", "ready", "running", "running", "succeeded", "succeeded"]
    assert seen == [None, *steps]
    retried = (failed_attempt(BROKEN, 1, 3.0, 1.0),)
    ended = NodeRecord("a", "succeeded", "fallback", 2, BROKEN, 1.0, 2.0, 6.0, abandoned=True, retried=retried)
    assert record == RunRecord("run-1", "sample", "succeeded", 0.0, 7.0, {"a": ended}, 9)
    assert fold(events) == record


def test_fold_leaves_the_record_it_goes_on_from_as_it_is() -> None:
    before = fold([NodeReady(1, 1.0, "r", "a", 1)])
    after = fold([NodeStarted(2, 2.0, "r", "a", 1)], before)
    assert before.nodes["a"].state == "ready"
    assert before.seq == 1
    assert after.nodes["a"].state == "running"
    assert after.nodes["a"].error is None
    assert before.status is None


class Recorded(World):
    """A random run that is listened to."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Scheduler)
        self.events: list[Event] = []
        core = self.scheduler
        names = [f"n{node}" for node in range(5000)]
        self.facts = FactStream(
            "r",
            [self.events.append],
            names,
            (core.state, core.reason, core.ready_at),
            {}.get,
            lambda _: None,
            core.abandoned_nodes,
        )
        core.facts = self.facts

    def _forget(self, group: Any) -> None:
        # The snapshot is of nodes that are still known.
        return

    def _renew(self, group: Any) -> bool:
        # And here a name is an index.
        return False


def check_attempts(events: list[Event], features: set[str]) -> None:
    """
    Every event names the attempt that it is about: the next one when a node is ready, else the last one started. In a
    run that goes on, a node may begin with any.
    """
    started: dict[str, int] = {}
    for event in events:
        assert isinstance(event, NodeReady | NodeStarted | NodeRetrying | NodeEnded)
        if "past" in features:
            started.setdefault(event.node, event.attempt - isinstance(event, NodeReady | NodeStarted))
        last = started.get(event.node, 0)
        assert event.attempt == (last + 1 if isinstance(event, NodeReady | NodeStarted) else last), event
        if isinstance(event, NodeStarted):
            started[event.node] = event.attempt


def test_fold_of_the_events_equals_the_snapshot_of_the_scheduler() -> None:
    """In random runs with everything in them."""
    ends = set()
    for seed in range(400):
        world = Recorded(seed)
        world.play()
        core = world.scheduler
        index = {f"n{node}": node for node in range(len(core.state))}
        records = NodeRecords(core, index, {}, names=list(index))
        # Who entered why is the driver's to tell, and it is not here.
        bare = {name: replace(node, upstream=(), uses=()) for name, node in records.items()}
        assert fold(world.events).nodes == bare, seed
        assert [event.seq for event in world.events] == list(range(1, len(world.events) + 1))
        check_attempts(world.events, world.features)
        ends |= {(record.state, record.reason) for record in fold(world.events).nodes.values()}
    assert len(ends) >= 10


# -- results


def test_result_is_a_mapping_of_what_succeeded() -> None:
    result = played()
    assert dict(result) == {"a": "first", "b": {"k": [1, 2.5]}, "d": float("inf")}
    assert list(result) == ["a", "b", "d"]
    assert len(result) == 3
    assert "a" in result
    assert "c" not in result
    assert 7 not in result
    assert result.get("c", "nothing") == "nothing"
    assert (result.status, result.name, result.run_id) == ("partial", "sample", "simulated")
    assert (result.started_at, result.ended_at, result.makespan) == (0.0, 7.0, 7.0)


def test_records_of_the_nodes() -> None:
    nodes = played().nodes
    assert list(nodes) == ["a", "b", "c", "d", "e", "f"]
    assert len(nodes) == 6
    assert nodes["a"] == NodeRecord("a", "succeeded", "output", 1, None, 0.0, 0.0, 1.0)
    assert nodes["c"] == NodeRecord("c", "failed", "error", 1, BROKEN, 1.0, 1.0, 2.0, upstream=("a",))
    assert nodes["e"] == NodeRecord("e", "skipped", "condition", 0, None, 0.0, None, 0.0)
    assert nodes["f"] == NodeRecord("f", "skipped", "upstream", 0, None, None, None, 2.0, upstream=("c",))
    with pytest.raises(KeyError):
        nodes["g"]


def test_errors_are_those_of_failed_nodes_in_definition_order() -> None:
    graph = Graph("several", on_error="continue")
    for name in ("a", "b", "c"):
        graph.add(name, body)
    errors = {name: ValueError(name) for name in "abc"}
    result = simulate(graph.plan(), durations={"a": 3.0, "b": 2.0, "c": 1.0}, outcomes=errors)
    assert list(result.errors.items()) == list(errors.items())
    assert played().errors == {"c": BROKEN}
    assert result.abandoned == ()


def test_error_of_a_node_that_succeeded_in_the_end_is_in_its_record_only() -> None:
    graph = Graph("retried")
    graph.add("a", body, retry=2)
    result = simulate(graph.plan(), outcomes={"a": [BROKEN, "value"]})
    assert result.errors == {}
    assert result.nodes["a"].error is BROKEN
    assert result.nodes["a"].attempts == 2


def test_abandoned_nodes_are_named() -> None:
    graph = Graph("stuck", on_error="continue")
    graph.add("ok", lambda: None)
    graph.add("slow", lambda: None, timeout=1)
    result = simulate(graph.plan(), durations={"slow": 9.0})
    assert result.abandoned == ("slow",)
    assert result.nodes["slow"].abandoned
    assert (result.nodes["slow"].state, result.nodes["slow"].reason) == ("failed", "timeout")


def test_critical_path_is_what_the_run_waited_for() -> None:
    """Back from the node that ended last, over the upstream that ended last."""
    assert played().critical_path == ("a", "b", "d")


def test_critical_path_follows_the_first_success_of_any() -> None:
    """
    a (1 s) ──┐
    b (5 s) ──┴ c (any, 9 s)
    """
    graph = Graph("any")
    graph.add("a", body)
    graph.add("b", body)
    graph.add("c", body, depends_on=["a", "b"], join="any")
    result = simulate(graph.plan(), durations={"a": 1.0, "b": 5.0, "c": 9.0})
    assert result.critical_path == ("a", "c")


def test_critical_path_of_equals_is_the_first_defined() -> None:
    graph = Graph("equal")
    for name in ("a", "b"):
        graph.add(name, body)
    graph.add("c", body, depends_on=["b", "a"])
    assert simulate(graph.plan()).critical_path == ("a", "c")


def test_critical_path_goes_over_start_edges() -> None:
    """A stage over the items of another ends after it, because of it."""
    scheduler = Scheduler(shape_of([[], []], flags=[Flag.CONTAINER] * 2, followers={A: [B]}))
    scheduler.start(0.0)
    for node in (A, B):
        assert scheduler.take(0.0) == node
    scheduler.ended(A, 1, 3.0)
    scheduler.ended(B, 1, 4.0)
    assert critical_path(scheduler) == [A, B]


def test_missing_output_says_why() -> None:
    result = played()
    for key, words in {
        "c": "node 'c' has no output: it is failed (reason: error): ValueError('no such page'). result.nodes['c']",
        "e": "node 'e' has no output: it is skipped (reason: condition).",
        "f": "it is skipped (reason: upstream).",
        "bb": "'bb' is not a node of run 'simulated' of graph 'sample'. Did you mean 'b'?",
    }.items():
        with pytest.raises(KeyError) as caught:
            result[key]
        assert isinstance(caught.value, MissingOutput)
        assert words in str(caught.value)


def test_missing_output_with_targets_says_how_to_keep_it() -> None:
    result = played(targets=["d"])
    assert dict(result) == {"d": float("inf")}
    with pytest.raises(KeyError, match=r"output of node 'b' was not kept.*Add 'b' to targets="):
        result["b"]


def test_key_that_is_no_text() -> None:
    with pytest.raises(KeyError, match=r"7 is not a node .* Node ids are texts"):
        played()[7]  # type: ignore[index]


def test_to_dict_is_json() -> None:
    data = played().to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["version"] == 1
    assert data["status"] == "partial"
    assert data["outputs"] == {"a": "first", "b": {"k": [1, 2.5]}, "d": {"repr": "inf"}}
    assert data["critical_path"] == ["a", "b", "d"]
    assert data["nodes"]["c"] == {
        "id": "c",
        "state": "failed",
        "reason": "error",
        "attempts": 1,
        "error": {"type": "ValueError", "message": "no such page"},
        "ready_at": 1.0,
        "started_at": 1.0,
        "ended_at": 2.0,
        "abandoned": False,
        "group": "",
        "upstream": ["a"],
        "uses": {},
        "asks": [],
        "failures": [{"attempt": 1, "at": 2.0, "type": "ValueError", "message": "no such page", "delay": None}],
    }
    assert (data["run_id"], data["name"], data["started_at"], data["ended_at"]) == ("simulated", "sample", 0.0, 7.0)
    assert data["makespan"] == 7.0


class Custom(Exception):
    def __str__(self) -> str:
        raise TypeError


def test_to_dict_survives_any_error_and_value() -> None:
    result = simulate(one_node(), outcomes={"a": Custom()}, on_error="continue")
    described = result.to_dict()["nodes"]["a"]["error"]
    assert described["type"].endswith("test_record.Custom")
    assert described["message"] == "<Custom whose str raises TypeError>"


def one_node() -> Any:
    graph = Graph("one")
    graph.add("a", body)
    return graph.plan()


def test_as_json_shows_what_json_cannot_hold() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert as_json((1, True, None, "x")) == [1, True, None, "x"]
    assert as_json({1: 2}) == {"repr": "{1: 2}"}
    assert as_json({1}) == {"repr": "{1}"}
    assert as_json(math.nan) == {"repr": "nan"}
    assert json.dumps(as_json(endless))
    assert as_json([[object]], 1) == [{"repr": "[<class 'object'>]"}]


def test_result_shows_itself() -> None:
    result = played()
    assert repr(result) == (
        "<RunResult of 'sample': partial in 7 s; 3 succeeded, 1 failed, 2 skipped; run_id='simulated'>"
    )
    page = result._repr_html_()
    assert "<caption>sample: partial in 7 s</caption>" in page
    assert (
        "<td>c</td><td>failed</td><td>error</td><td>1</td><td>1</td><td>ValueError(&#x27;no such page&#x27;)</td>"
        in page
    )
    assert "<td>f</td><td>skipped</td><td>upstream</td><td>0</td><td></td><td></td>" in page
    assert "more</td>" not in page


def test_notebook_shows_the_first_of_many_nodes() -> None:
    graph = Graph("many")
    for number in range(60):
        graph.add(f"n{number}", body)
    page = simulate(graph.plan())._repr_html_()
    assert page.count("<tr>") == 52
    assert "… and 10 more" in page


def test_empty_result() -> None:
    result = simulate(Graph("empty").plan())
    assert dict(result) == {}
    assert result.critical_path == ()
    assert result.makespan == 0.0
    assert "no nodes" in repr(result)


@pytest.mark.parametrize("again_of", [copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))])
def test_result_can_be_copied_and_pickled(again_of: Any) -> None:
    result = played()
    other = again_of(result)
    assert dict(other) == dict(result)
    assert other.to_dict() == result.to_dict()
    assert list(other.errors) == ["c"]
    assert other.abandoned == ()
    assert repr(other) == repr(result)
    with pytest.raises(KeyError, match="it is failed"):
        other["c"]


def test_building_a_result_reads_nothing() -> None:
    """It is made at the end of every run, however short."""

    class Untouchable:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __iter__(self) -> Any:
            raise AssertionError("iterated")

    nothing: Any = Untouchable()
    RunResult(
        run_id="r",
        name="g",
        status="succeeded",
        started_at=0.0,
        ended_at=1.0,
        scheduler=nothing,
        names=nothing,
        index=nothing,
        values=nothing,
        errors=nothing,
        shown=nothing,
    )


def test_records_kept_elsewhere_are_part_of_the_nodes() -> None:
    """Of mapped instances, whose nodes the scheduler has forgotten. The index has what is newer."""
    scheduler = Scheduler(shape_of([[]]))
    scheduler.start(0.0)
    scheduler.take(0.0)
    scheduler.ended(A, 1, 1.0)
    failed = NodeRecord("m[0]", "failed", "error", 1, BROKEN, abandoned=True)
    more = [{"m[0]": failed, "a": NodeRecord("a", "cancelled")}, {"m[1]": NodeRecord("m[1]")}]
    result = RunResult(
        run_id="r",
        name="g",
        status="partial",
        started_at=0.0,
        ended_at=1.0,
        scheduler=scheduler,
        names=["a"],
        index={"a": A},
        values=["value"],
        errors={},
        shown=["a"],
        more=more,
    )
    assert list(result.nodes) == ["a", "m[0]", "m[1]"]
    assert len(result.nodes) == 3
    assert result.nodes["a"].state == "succeeded"
    assert result.errors == {"m[0]": BROKEN}
    assert result.abandoned == ("m[0]",)
    with pytest.raises(KeyError):
        result.nodes["m[2]"]


def test_running_nodes_have_no_reason_yet() -> None:
    scheduler = Scheduler(shape_of([[], [A]], timeout={A: Timeout(3.0)}, retry={A: again()}))
    scheduler.start(0.0)
    scheduler.take(0.5)
    scheduler.cancel(1.0)
    records = NodeRecords(scheduler, {"a": A, "b": B}, {}, names=["a", "b"])
    assert records["a"] == NodeRecord("a", "running", "", 1, None, 0.0, 0.5)
    assert records["b"].upstream == ("a",)
    assert records["b"].reason == "run"
    assert not records.has_abandoned


def test_status_of_every_way_to_end() -> None:
    """The tests of the core say which run ends how; here: that every name is one of them."""
    for seed in range(50):
        world = Recorded(seed)
        world.play()
        assert status_of(world.scheduler) in {"succeeded", "partial", "failed", "cancelled", "paused"}
        assert all(state >= FIRST_TERMINAL for state in world.scheduler.state)
    assert len(STATE_NAMES) == 8
    assert len(set(REASON_NAMES)) == len(REASON_NAMES)
    assert (C, D) == (2, 3)
