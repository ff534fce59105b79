"""
What earlier attempts raised is kept, in words: in records, events, notes and stores, and without keeping alive what the
attempts had in their hands.
"""

import asyncio
import gc
import json
import pickle
import weakref
from typing import Any

import pytest

from antichain import Backoff, Context, Graph, MemoryStore, Retry, RunFailed, RunResult
from antichain.errors import shed
from antichain.record import failed_attempt, fold
from antichain.stores.record import stored_run
from antichain.testing import simulate
from tests.support.virtual import in_virtual_time, run

SECONDS = Backoff(initial=1, factor=2, jitter=False)


def flaky(fails: int, attempts: int = 4, **options: Any) -> Graph:
    """A graph whose node fails so many times, each time with another error, after a second each."""
    graph = Graph("flaky", on_error="continue", **options)

    @graph.node(retry=Retry(attempts=attempts, backoff=SECONDS))
    async def fetch(context: Context) -> str:
        await asyncio.sleep(1)
        if context.attempt <= fails:
            raise ConnectionError(f"refused {context.attempt}")
        return "done"

    return graph


def told(result: RunResult, node: str = "fetch") -> list[tuple[int, float, str, str, float | None]]:
    """Attempt, seconds since the start of the run, class, message and pause."""
    failures = result.nodes[node].failures
    return [(f.attempt, round((f.at or 0) - result.started_at, 6), f.type, f.message, f.delay) for f in failures]


def test_a_node_that_failed_shows_what_every_attempt_raised() -> None:
    result = run(flaky(9, attempts=3))
    assert told(result) == [
        (1, 1, "ConnectionError", "refused 1", 1),
        (2, 3, "ConnectionError", "refused 2", 2),
        (3, 6, "ConnectionError", "refused 3", None),
    ]


def test_a_node_that_succeeded_in_the_end_shows_what_came_before() -> None:
    result = run(flaky(2))
    assert result["fetch"] == "done"
    assert [each[:4] for each in told(result)] == [
        (1, 1, "ConnectionError", "refused 1"),
        (2, 3, "ConnectionError", "refused 2"),
    ]


def test_a_node_without_failures_has_none() -> None:
    assert run(flaky(0)).nodes["fetch"].failures == ()


def test_a_fallback_stands_for_the_last_failure_too() -> None:
    graph = Graph("fallback")

    @graph.node(retry=Retry(attempts=2, backoff=SECONDS), fallback="instead")
    async def fetch() -> str:
        raise ConnectionError("refused")

    result = run(graph)
    assert [f.attempt for f in result.nodes["fetch"].failures] == [1, 2]


def test_a_node_that_may_not_try_again_has_failed_once_only() -> None:
    """Its run drains while it backs off."""
    graph = flaky(9)

    @graph.node
    async def fails() -> None:
        await asyncio.sleep(1.5)
        raise LookupError

    result = run(graph, on_error="drain")
    assert [f.attempt for f in result.nodes["fetch"].failures] == [1]
    assert result.nodes["fetch"].state == "failed"


def test_the_error_that_is_raised_tells_of_those_before_it() -> None:
    result = run(flaky(99, attempts=3))
    error = result.errors["fetch"]
    notes = "\n".join(error.__notes__)
    assert "before that, attempt 1: ConnectionError: refused 1" in notes
    assert "before that, attempt 2: ConnectionError: refused 2" in notes


def test_many_failures_are_told_by_the_last_of_them() -> None:
    error = run(flaky(99, attempts=30)).errors["fetch"]
    assert len(error.__notes__) == 12
    assert error.__notes__[1].startswith("before that, attempt 20: ")
    assert error.__notes__[-1] == "and 19 more, which result.nodes['fetch'].failures lists"


def test_items_of_a_map_and_nested_nodes_show_theirs() -> None:
    inner = Graph("inner")
    attempts: dict[int, int] = {}

    async def call(item: int) -> int:
        attempts[item] = attempts.get(item, 0) + 1
        if attempts[item] <= item:
            raise ConnectionError(f"{item}.{attempts[item]}")
        return item

    inner.add("call", call, inputs={"item": 2}, retry=Retry(attempts=4, backoff=SECONDS))
    graph = Graph("outer")
    graph.add("inner", inner)
    graph.map("calls", call, over=[0, 1, 3, -1], retry=Retry(attempts=4, backoff=SECONDS), max_concurrent=1)
    result = run(graph)
    assert [f.message for f in result.nodes["inner/call"].failures] == ["2.1", "2.2"]
    assert [[f.message for f in result.nodes[f"calls[{n}]"].failures] for n in range(4)] == [
        [],
        ["1.1"],
        ["3.1", "3.2", "3.3"],
        [],
    ]


def test_the_json_of_a_record_lists_them() -> None:
    data = json.loads(json.dumps(run(flaky(2)).to_dict()))["nodes"]["fetch"]
    assert [(f["attempt"], f["type"], f["message"], f["delay"]) for f in data["failures"]] == [
        (1, "ConnectionError", "refused 1", 1),
        (2, "ConnectionError", "refused 2", 2),
    ]
    assert "retried" not in data


@pytest.mark.parametrize("fails", [0, 2, 9])
def test_events_tell_the_same_as_the_result(fails: int) -> None:
    events: list[Any] = []
    records: list[Any] = []

    def listen(event: Any) -> None:
        events.append(event)
        # As it happens: an error has its traceback then.
        records.append(fold([event], records[-1] if records else None))

    result = run(flaky(fails), listeners=[listen])
    assert records[-1].nodes["fetch"].failures == result.nodes["fetch"].failures
    copy = pickle.loads(pickle.dumps(result))
    assert copy.nodes["fetch"].failures == result.nodes["fetch"].failures


def test_simulate_tells_them_too() -> None:
    graph = Graph("flaky")
    graph.add("a", print, retry=Retry(attempts=3, backoff=SECONDS))
    result = simulate(graph.plan(), outcomes={"a": [OSError("one"), OSError("two"), "value"]})
    assert [(f.attempt, f.at, f.message, f.delay) for f in result.nodes["a"].failures] == [
        (1, 1, "one", 1),
        (2, 3, "two", 2),
    ]


# -- kept runs


def test_a_run_that_goes_on_shows_what_failed_before() -> None:
    """Two attempts before the process was left, and one after."""
    store = MemoryStore()
    broken = [True]

    def graph() -> Graph:
        made = Graph("kept", store=store)

        @made.node(retry=Retry(attempts=5, backoff=SECONDS))
        async def fetch(context: Context) -> str:
            await asyncio.sleep(1)
            if context.attempt <= 3:
                raise ConnectionError(f"refused {context.attempt}")
            return "done"

        @made.node
        async def after(fetch: str) -> str:
            if broken:
                raise LookupError
            return fetch

        return made

    async def left() -> None:
        run = asyncio.ensure_future(graph().arun(run_id="r"))
        await asyncio.sleep(4.5)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    in_virtual_time(left())
    with pytest.raises(RunFailed) as caught:
        in_virtual_time(graph().aresume("r"))
    node = caught.value.result.nodes["fetch"]
    assert [(f.attempt, f.message) for f in node.failures] == [(1, "refused 1"), (2, "refused 2"), (3, "refused 3")]
    broken.clear()
    result = in_virtual_time(graph().aresume("r"))
    # It completed before, and is not run again.
    assert result.nodes["fetch"].reason == "checkpoint"
    assert [f.attempt for f in result.nodes["fetch"].failures] == [1, 2, 3]
    stored = stored_run(store.read("r"))
    assert [(f.attempt, f.message) for f in stored.record.nodes["fetch"].failures] == [
        (1, "refused 1"),
        (2, "refused 2"),
        (3, "refused 3"),
    ]


def test_failures_of_a_node_that_failed_and_runs_again_are_kept() -> None:
    """Two attempts, the run fails, and it goes on with two more, which are numbered on."""
    store, tries = MemoryStore(), [0]

    def graph() -> Graph:
        made = Graph("again", store=store)

        @made.node(retry=Retry(attempts=2, backoff=SECONDS))
        async def fetch() -> str:
            tries[0] += 1
            if tries[0] != 6:
                raise ConnectionError(f"try {tries[0]}")
            return "done"

        return made

    with pytest.raises(RunFailed):
        in_virtual_time(graph().arun(run_id="r"))
    with pytest.raises(RunFailed) as caught:
        in_virtual_time(graph().aresume("r"))
    numbers = [(1, "try 1"), (2, "try 2"), (3, "try 3"), (4, "try 4")]
    assert [(f.attempt, f.message) for f in caught.value.result.nodes["fetch"].failures] == numbers
    assert [(f.attempt, f.message) for f in stored_run(store.read("r")).record.nodes["fetch"].failures] == numbers
    result = in_virtual_time(graph().aresume("r"))
    numbers.append((5, "try 5"))
    assert [(f.attempt, f.message) for f in result.nodes["fetch"].failures] == numbers
    assert [(f.attempt, f.message) for f in stored_run(store.read("r")).record.nodes["fetch"].failures] == numbers
    at = [f.at for f in result.nodes["fetch"].failures]
    assert at == sorted(at)


# -- memory


class Large:
    """Something that an attempt holds while it fails."""


def test_what_an_earlier_attempt_held_is_let_go_when_the_next_one_starts() -> None:
    held: list[weakref.ref[Large]] = []
    alive: list[list[bool]] = []
    graph = Graph("memory")

    @graph.node(retry=Retry(attempts=4, backoff=SECONDS))
    async def fetch(context: Context) -> str:
        gc.collect()
        alive.append([ref() is not None for ref in held])
        large = Large()
        held.append(weakref.ref(large))
        if context.attempt < 4:
            try:
                raise ValueError("inner")
            except ValueError as error:
                raise ConnectionError("outer") from error
        return "done"

    result = run(graph)
    assert alive == [[], [False], [False, False], [False, False, False]]
    assert len(result.nodes["fetch"].failures) == 3


def test_errors_are_shed_with_all_that_is_behind_them() -> None:
    def fail() -> None:
        try:
            raise ValueError
        except ValueError as error:
            raise ExceptionGroup("both", [OSError(), KeyError()]) from error

    with pytest.raises(ExceptionGroup) as caught:
        fail()
    error = caught.value
    error.__cause__.__context__ = error  # type: ignore[union-attr]
    shed(error)
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None
    shed(None)


def test_a_long_message_is_cut() -> None:
    failure = failed_attempt(OSError("x" * 5000), 1)
    assert len(failure.message) == 1000
    assert failure.message.endswith("…")
    assert str(failed_attempt(OSError(), 2)) == "attempt 2: OSError"
