"""
Twelve edits of a graph, each between a run that failed and its resumption: what is refused, and what runs again.

    fetch ── clean ── train ── report
               └───── check ────┘        report fails the first time
"""

from collections.abc import Callable
from typing import Any

import pytest

from antichain.errors import GraphError
from antichain.graph import Graph
from antichain.record import RunResult
from antichain.stores import MemoryStore
from tests.support.resumable import Calls, outcome

EDGES = {"fetch": "", "clean": "fetch", "train": "clean", "check": "clean", "report": "train check"}
DONE = ["check", "clean", "fetch", "train"]


class Edited:
    """
    Run a graph until it fails, and resume it as another one.
    """

    def __init__(self) -> None:
        self.calls = Calls()
        self.store = MemoryStore()

    def graph(self, edges: dict[str, str], name: str = "etl", fails: str = "", **policies: dict[str, Any]) -> Graph:
        graph = Graph(name)
        for node, before in edges.items():
            error = ValueError("not yet") if node == fails else None
            function = self.calls.of(node, node, error)
            graph.add(node, function, depends_on=before.split(), **policies.get(node, {}))
        return graph

    def begin(self, graph: Graph, **how: Any) -> list[str]:
        outcome(graph.run, store=self.store, run_id="nightly", **how)
        return self.calls.taken()

    def resume(self, graph: Graph, **how: Any) -> RunResult:
        return graph.resume("nightly", store=self.store, **how)

    def refused(self, graph: Graph, **how: Any) -> list[str | None]:
        """Which nodes are why the run does not go on; nothing has run."""
        with pytest.raises(GraphError) as caught:
            self.resume(graph, **how)
        assert self.calls.taken() == []
        assert {fault.code for fault in caught.value.faults} == {"changed-node"}
        return [fault.node for fault in caught.value.faults]

    def ran(self, graph: Graph, **how: Any) -> list[str]:
        """What runs when the run goes on; after that, nothing is left to do."""
        assert self.resume(graph, **how).status == "succeeded"
        found = self.calls.taken()
        self.resume(graph)
        assert self.calls.taken() == []
        return found


@pytest.fixture
def edited() -> Edited:
    edited = Edited()
    assert edited.begin(edited.graph(EDGES, fails="report")) == ["check", "clean", "fetch", "report", "train"]
    return edited


def test_fix_of_the_failed_node(edited: Edited) -> None:
    """What failed is repaired, and nothing else runs."""
    now = edited.graph({**EDGES, "report": "train check clean"}, report={"version": "2", "retry": 2})
    assert edited.ran(now) == ["report"]


def test_other_body_of_a_completed_node(edited: Edited) -> None:
    """Nobody can tell what it does now, so it is used as it is."""
    now = edited.graph(EDGES, clean={"retry": 5, "timeout": 9, "priority": 3})
    now["clean"].runnable = lambda **given: "other"
    assert edited.ran(now) == ["report"]


def test_other_version_of_a_completed_node(edited: Edited) -> None:
    """Somebody has told."""
    now = edited.graph(EDGES, clean={"version": "2"})
    assert edited.refused(now) == ["clean"]
    assert edited.ran(now, on_change="rerun") == ["check", "clean", "report", "train"]


def test_other_wiring_of_a_completed_node(edited: Edited) -> None:
    """Only what follows it runs again."""
    now = edited.graph({**EDGES, "train": "clean fetch"})
    assert edited.refused(now) == ["train"]
    assert edited.ran(now, on_change="rerun") == ["report", "train"]


def test_new_node(edited: Edited) -> None:
    """It runs, and what completed does not."""
    assert edited.ran(edited.graph({**EDGES, "extra": "clean"})) == ["extra", "report"]


def test_new_upstream_of_a_completed_node(edited: Edited) -> None:
    """Then it was made of something else."""
    now = edited.graph({"fetch": "", "extra": "", "clean": "fetch extra"} | {n: EDGES[n] for n in [*EDGES][2:]})
    assert edited.refused(now) == ["clean"]
    assert edited.ran(now, on_change="rerun") == ["check", "clean", "extra", "report", "train"]


def test_removed_leaf() -> None:
    """Nobody misses it, and if it comes back it is still there."""
    edited = Edited()
    whole = {**EDGES, "log": "fetch"}
    assert "log" in edited.begin(edited.graph(whole, fails="report"))
    outcome(edited.resume, edited.graph(EDGES, fails="report"))
    assert edited.calls.taken() == ["report"]
    assert edited.ran(edited.graph(whole)) == ["report"]


def test_removed_node_inside(edited: Edited) -> None:
    """What followed it has another upstream."""
    now = edited.graph({"fetch": "", "train": "fetch", "check": "fetch", "report": "train check"})
    assert edited.refused(now) == ["train", "check"]
    assert edited.ran(now, on_change="rerun") == ["check", "report", "train"]


def test_renamed_node(edited: Edited) -> None:
    """It would run again, so it is asked whether it shall."""
    now = edited.graph(
        {"fetch": "", "clean": "fetch", "training": "clean", "check": "clean", "report": "training check"}
    )
    assert edited.refused(now) == ["train"]
    assert edited.ran(now, on_change="rerun") == ["report", "training"]


def test_rewired_node_that_had_not_completed(edited: Edited) -> None:
    """It may be made of anything."""
    assert edited.ran(edited.graph({**EDGES, "report": "fetch"})) == ["report"]


def test_other_graph(edited: Edited) -> None:
    """Also where what has changed may run again: there is nothing to go on with."""
    for on_change in ("refuse", "rerun"):
        with pytest.raises(GraphError, match=r"\[other-graph\] this is a run of graph 'etl'"):
            edited.resume(edited.graph({"a": "", "b": "a"}, name="other"), on_change=on_change)
    assert edited.calls.taken() == []


def with_inputs(calls: Calls, function: Callable[..., Any], name: str = "etl") -> Graph:
    graph = Graph(name)
    graph.add("fetch", calls.of("fetch", "fetch"))
    graph.add("report", function)
    return graph


def failing(path: str) -> str:
    raise ValueError(path)


def test_an_input_that_a_mended_node_does_not_take_any_more() -> None:
    """It cannot be taken back, so nobody misses it."""
    edited = Edited()
    edited.begin(with_inputs(edited.calls, failing), path="x.csv")
    assert edited.resume(with_inputs(edited.calls, lambda: "mended"))["report"] == "mended"
    assert edited.calls.taken() == []


def test_an_input_that_is_a_node_now() -> None:
    """The node is what counts, as for whoever begins a run of this graph."""
    edited = Edited()
    edited.begin(with_inputs(edited.calls, failing), path="x.csv")
    now = with_inputs(edited.calls, lambda path: path.upper())
    now.add("path", lambda: "y.csv")
    assert edited.resume(now)["report"] == "Y.CSV"


def test_a_mended_node_needs_an_input_that_the_run_does_not_have() -> None:
    """What cannot be given is not asked for; if it is another graph, that comes first."""
    edited = Edited()
    edited.begin(with_inputs(edited.calls, failing), path="x.csv")
    with pytest.raises(GraphError) as caught:
        edited.resume(with_inputs(edited.calls, lambda path, sheet: sheet))
    assert str(caught.value) == (
        "[missing-input] node 'report' needs 'sheet', which is neither a node of graph 'etl' nor an input of this run."
        " A resumed run has only the inputs that it began with: give the parameter a default."
    )
    with pytest.raises(GraphError) as caught:
        edited.resume(with_inputs(edited.calls, lambda path, fetsh: fetsh, name="other"))
    first, second = caught.value.faults
    assert str(first).startswith("[other-graph] run 'nightly' is of graph 'etl', and this is graph 'other'")
    assert "Did you mean 'fetch'? A resumed run has only" in second.message
    assert edited.resume(with_inputs(edited.calls, lambda path, sheet=1: sheet))["report"] == 1


def mapped(calls: Calls, pages: list[str], *, fails: bool, key: Any = None) -> Graph:
    async def read(page: str) -> str:
        calls.note(page)
        return page.upper()

    graph = Graph("etl")
    graph.map("texts", read, pages, key=key)
    graph.add("end", calls.of("end", error=ValueError("not yet") if fails else None), depends_on="texts")
    return graph


def test_other_order_of_a_map_with_keys() -> None:
    """An instance is its item, wherever that stands; a new item is new."""
    edited = Edited()
    assert edited.begin(mapped(edited.calls, ["x", "y", "z"], fails=True, key=str)) == ["end", "x", "y", "z"]
    result = edited.resume(mapped(edited.calls, ["z", "new", "x", "y"], fails=False, key=str))
    assert result["texts"] == ["Z", "NEW", "X", "Y"]
    assert edited.calls.taken() == ["end", "new"]


def test_other_order_of_a_map_without_keys() -> None:
    """In its place stands another item: refused, or run again, but never taken for the old one."""
    edited = Edited()
    assert edited.begin(mapped(edited.calls, ["x", "y", "z"], fails=True)) == ["end", "x", "y", "z"]
    now = mapped(edited.calls, ["z", "y", "x"], fails=False)
    result = outcome(edited.resume, now)
    assert result.status == "failed"
    assert "'texts[0]' has completed in this run, but it is another one now" in str(result.errors["texts"])
    assert set(edited.calls.taken()) <= {"z", "x"}
    result = edited.resume(now, on_change="rerun")
    assert result["texts"] == ["Z", "Y", "X"]
    assert "y" not in edited.calls.taken()


def nested(calls: Calls, inside: dict[str, str], fails: str = "", **policies: dict[str, Any]) -> Graph:
    inner = Graph("inner")
    for name, before in inside.items():
        function = calls.of(name, name, ValueError("not yet") if name == fails else None)
        inner.add(name, function, depends_on=before.split(), **policies.get(name, {}))
    graph = Graph("etl")
    graph.add("outer", inner)
    graph.add("end", calls.of("end", error=ValueError("not yet") if fails == "end" else None), depends_on="outer")
    return graph


INSIDE = {"a": "", "b": "a", "c": "b"}


def test_edit_inside_a_nested_graph() -> None:
    """Node by node as outside: fixed, added, changed."""
    edits: list[tuple[str, Callable[[Calls], Graph], list[str | None], list[str]]] = [
        ("c", lambda calls: nested(calls, {**INSIDE, "c": "a b"}), [], ["c", "end"]),
        ("end", lambda calls: nested(calls, {**INSIDE, "d": "a"}), [], ["d", "end"]),
        ("c", lambda calls: nested(calls, INSIDE, b={"version": "2"}), ["outer/b"], ["b", "c", "end"]),
        ("end", lambda calls: nested(calls, {"b": "", "c": "b"}), ["outer/b"], ["b", "c", "end"]),
    ]
    for fails, edit, faults, again in edits:
        edited = Edited()
        edited.begin(nested(edited.calls, INSIDE, fails=fails))
        now = edit(edited.calls)
        if faults:
            assert edited.refused(now) == faults
        assert edited.ran(now, on_change="rerun" if faults else "refuse") == again


def test_edit_inside_a_nested_graph_whose_output_was_taken() -> None:
    """What completed behind it was made of another output."""
    edited = Edited()

    def graph(inside: dict[str, str], fails: bool) -> Graph:
        graph = nested(edited.calls, inside)
        graph.add("last", edited.calls.of("last", error=ValueError("not yet") if fails else None), depends_on="end")
        return graph

    assert edited.begin(graph(INSIDE, True)) == ["a", "b", "c", "end", "last"]
    now = graph({**INSIDE, "d": "c"}, False)
    assert edited.refused(now) == ["end"]
    assert edited.ran(now, on_change="rerun") == ["d", "end", "last"]


def test_given_output_is_no_node_that_could_change() -> None:
    """It stands for the node, whatever that is; also where only a part of the graph was asked for."""
    edited = Edited()
    begun = edited.graph(EDGES, fails="train")
    assert edited.begin(begun, targets=["train"], outputs={"clean": "given"}) == ["train"]
    now = edited.graph({**EDGES, "clean": ""}, clean={"version": "3"})
    assert edited.resume(now)["train"] == "train"
    assert edited.calls.taken() == ["train"]


def test_what_is_not_needed_is_refused_when_it_is() -> None:
    """A run for other targets does not make a changed node run again later, unasked."""
    edited = Edited()
    edited.begin(edited.graph(EDGES, fails="report"))
    now = edited.graph(EDGES, fails="report", check={"version": "2"})
    edited.resume(now, targets=["train"])
    assert edited.calls.taken() == []
    with pytest.raises(GraphError, match="'check' completed in this run, and is another one now"):
        edited.resume(now, targets=["report"])
