"""
What a run that has ended says of itself: results and errors of real runs.
"""

import asyncio
import copy
import json
import pickle
import traceback
from typing import Any

import pytest

from antichain import Graph, NodeFailed, NodeTimeout, Retry, RunFailed, RunResult, RunTimeout
from antichain.policies import Backoff
from antichain.record import fold
from antichain.testing import virtual_time


def a_graph() -> Graph:
    """
    a ── b ── d     c fails, e falls back, f is skipped by its condition, g lies behind c
    """
    graph = Graph("example")

    @graph.node
    async def a() -> int:
        await asyncio.sleep(1)
        return 1

    @graph.node
    async def b(a: int) -> int:
        await asyncio.sleep(2)
        return a + 1

    @graph.node(retry=Retry(2, Backoff(1, jitter=False)))
    async def c(a: int) -> None:
        raise OSError("planted")

    @graph.node
    async def d(b: int) -> int:
        await asyncio.sleep(1)
        return b + 1

    @graph.node(fallback="instead")
    async def e() -> None:
        raise ValueError("hidden")

    @graph.node(when=lambda: False)
    async def f() -> None: ...

    @graph.node
    async def g(c: None) -> None: ...

    return graph


def run(graph: Graph, **options: Any) -> RunResult:
    with virtual_time() as clock:
        return clock.run(graph.arun(**options))


def fail(graph: Graph, **options: Any) -> Any:
    with virtual_time() as clock:
        try:
            clock.run(graph.arun(**options))
        except (RunFailed, RunTimeout) as failure:
            return failure
    raise AssertionError("it did not fail")


def test_a_result_is_a_mapping_of_outputs() -> None:
    result = run(a_graph(), on_error="continue")
    assert dict(result) == {"a": 1, "b": 2, "d": 3, "e": "instead"}
    assert len(result) == 4
    assert "c" not in result
    assert result.get("c", "none") == "none"
    with pytest.raises(KeyError, match="planted"):
        result["c"]
    with pytest.raises(KeyError, match="condition"):
        result["f"]
    with pytest.raises(KeyError, match="Did you mean"):
        run_of_words()["anser"]


def run_of_words() -> RunResult:
    graph = Graph()
    graph.add("answer", lambda: 42)
    return run(graph)


def test_a_result_tells_what_became_of_each_node() -> None:
    result = run(a_graph(), on_error="continue")
    assert result.status == "partial"
    told = {name: (node.state, node.reason, node.attempts) for name, node in result.nodes.items()}
    assert told == {
        "a": ("succeeded", "output", 1),
        "b": ("succeeded", "output", 1),
        "c": ("failed", "error", 2),
        "d": ("succeeded", "output", 1),
        "e": ("succeeded", "fallback", 1),
        "f": ("skipped", "condition", 0),
        "g": ("skipped", "upstream", 0),
    }
    b = result.nodes["b"]
    assert (b.ready_at, b.started_at, b.ended_at) == pytest.approx((1, 1, 3))
    assert result.nodes["f"].started_at is None
    assert result.makespan == pytest.approx(4)
    assert result.critical_path == ("a", "b", "d")
    assert isinstance(result.nodes["e"].error, ValueError)
    assert list(result.errors) == ["c"]


def test_run_failed_is_a_group_of_the_nodes_own_errors_that_keeps_the_result() -> None:
    graph = a_graph()
    graph.add("bad", raises(KeyError("other")), depends_on=["d"])
    graph.add("exits", raises(SystemExit(3)))
    failure = fail(graph, on_error="drain")
    assert isinstance(failure, RunFailed)
    assert isinstance(failure, ExceptionGroup)
    assert "example" in str(failure)
    assert failure.result.status == "failed"

    caught: list[str] = []
    try:
        try:
            raise failure
        except* NodeFailed as part:
            assert isinstance(part, RunFailed)
            assert part.result is failure.result
            caught.append(type(part.exceptions[0].__cause__).__name__)
    except* OSError:
        raise AssertionError from None
    assert caught == ["SystemExit"]


def raises(error: BaseException) -> Any:
    async def body() -> None:
        await asyncio.sleep(0.5)
        raise error

    return body


def test_splitting_keeps_the_result() -> None:
    graph = Graph()
    graph.add("value", raises(ValueError("v")))
    graph.add("key", raises(KeyError("k")))
    graph.add("fine", lambda: 1)
    with virtual_time() as clock, pytest.raises(RunFailed) as caught:
        clock.run(graph.arun(on_error="drain"))
    match, rest = caught.value.split(ValueError)
    assert isinstance(match, RunFailed)
    assert isinstance(rest, RunFailed)
    assert match.result is rest.result is caught.value.result
    assert dict(match.result) == {"fine": 1}


def test_errors_lead_to_the_users_line() -> None:
    failure = fail(a_graph())
    text = "".join(traceback.format_exception(failure))
    assert 'raise OSError("planted")' in text
    assert "node 'c', attempt 2" in text
    assert __file__ in text


def test_what_was_raised_once_is_reported_once() -> None:
    """A container fails with the error of what failed inside it."""
    inner = Graph("inner")
    inner.add("bad", raises(OSError("once")))
    graph = Graph()
    graph.add("outer", inner)
    graph.map("mapped", raises_for, over=[1])
    failure = fail(graph, on_error="drain")
    assert sorted(str(error) for error in failure.exceptions) == ["item 1", "once"]
    assert set(failure.result.errors) == {"outer", "outer/bad", "mapped", "mapped[0]"}


async def raises_for(item: int) -> None:
    await asyncio.sleep(0.5)
    raise ValueError(f"item {item}")


def test_run_timeout_keeps_everything_and_names_what_had_not_ended() -> None:
    failure = fail(a_graph(), deadline=3.5, on_error="continue")
    assert isinstance(failure, RunTimeout)
    assert isinstance(failure, TimeoutError)
    assert dict(failure.result) == {"a": 1, "b": 2, "e": "instead"}
    assert failure.unfinished == ("d",)
    assert "3.5 s" in str(failure)
    assert "'d'" in str(failure)


def test_a_cancelled_run_carries_its_result() -> None:
    graph = a_graph()

    async def main() -> Any:
        task = asyncio.ensure_future(graph.arun(on_error="continue"))
        await asyncio.sleep(3.5)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return error.result  # type: ignore[attr-defined]

    with virtual_time() as clock:
        result = clock.run(main())
    assert result.status == "cancelled"
    assert dict(result) == {"a": 1, "b": 2, "e": "instead"}
    assert result.nodes["d"].state == "cancelled"


def test_errors_and_results_can_be_copied_and_pickled() -> None:
    failure = fail(a_graph())
    for copied in (copy.copy(failure), pickle.loads(pickle.dumps(failure))):
        assert isinstance(copied, RunFailed)
        assert [type(error) for error in copied.exceptions] == [OSError]
    result = run(a_graph(), on_error="continue")
    copied = pickle.loads(pickle.dumps(result))
    assert dict(copied) == dict(result)
    assert {name: node.state for name, node in copied.nodes.items()} == {
        name: node.state for name, node in result.nodes.items()
    }
    timeout = NodeTimeout("a", 1, "attempt", 1.0, 1.1)
    assert str(pickle.loads(pickle.dumps(timeout))) == str(timeout)


def test_a_result_as_data() -> None:
    graph = Graph()
    graph.add("odd", lambda: {"set": {1}, "nan": float("nan"), "text": "ü"})
    data = json.loads(json.dumps(run(graph).to_dict()))
    assert data["version"] == 1
    assert data["status"] == "succeeded"
    assert data["outputs"]["odd"]["text"] == "ü"
    assert data["nodes"]["odd"]["state"] == "succeeded"


def test_the_events_of_a_run_fold_to_its_result() -> None:
    events: list[Any] = []
    graph = a_graph()
    inner = Graph("inner")
    inner.add("x", raises(OSError("x")), fallback=1)
    graph.add("outer", inner)
    graph.map("mapped", raises_for, over=[1, 2], outcomes=True)
    result = run(graph, on_error="continue", listeners=[events.append])
    record = fold(events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert record.status == result.status
    told = {name: (node.state, node.reason, node.attempts, node.error) for name, node in record.nodes.items()}
    assert told == {name: (node.state, node.reason, node.attempts, node.error) for name, node in result.nodes.items()}


def test_a_result_shows_itself_whatever_the_values_do() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

        __hash__ = None  # type: ignore[assignment]

    graph = Graph()
    graph.add("hostile", Hostile)
    graph.add("<b>", raises(OSError("<script>")), fallback=1)
    result = run(graph)
    assert "2 succeeded" in repr(result)
    page = result._repr_html_()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page
    assert "no repr" not in json.dumps(result.to_dict())


def test_an_empty_graph_has_an_empty_result() -> None:
    result = run(Graph())
    assert (dict(result), result.status, result.makespan, result.critical_path) == ({}, "succeeded", 0, ())


def test_a_deadline_that_cost_nothing_is_no_failure() -> None:
    """Bodies that complete in their grace are complete: the result says so, and nothing is raised."""
    graph = Graph()

    @graph.node
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    with virtual_time() as clock:
        result = clock.run(graph.arun(deadline=1))
    assert (result.status, dict(result)) == ("succeeded", {"stubborn": "done all the same"})
