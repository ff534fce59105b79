"""
Log records of runs: what is logged, at which level, with which fields, and that no text of others forges one.
"""

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from antichain import Backoff, Graph, MemoryStore, Retry, RunFailed, RunTimeout
from antichain.testing import virtual_time
from tests.support.probe import virtually


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "antichain"):
        yield


def run(graph: Graph, **options: Any) -> None:
    try:
        virtually(graph.arun(run_id="r1", **options))
    except (RunFailed, RunTimeout):
        return


def told(caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[tuple[str, str, str]]:
    return [(each.name, each.levelname, each.getMessage()) for each in caplog.records if each.levelno >= level]


def test_a_run_is_logged_from_start_to_end(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph("etl")
    graph.add("a", lambda: asyncio.sleep(2))
    graph.add("b", lambda: 1, depends_on=["a"], when=lambda: False)
    run(graph)
    assert told(caplog) == [
        ("antichain.run", "INFO", "run r1 of graph etl started: 2 nodes"),
        ("antichain.node", "DEBUG", "node a: attempt 1 started"),
        ("antichain.node", "DEBUG", "node a: succeeded (output)"),
        ("antichain.node", "DEBUG", "node b: skipped (condition)"),
        ("antichain.run", "INFO", "run r1 of graph etl succeeded after 2.000 s"),
    ]


def test_retries_are_warnings_and_failures_errors(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph("etl")

    async def fails() -> None:
        raise ValueError("no")

    graph.add("a", fails, retry=Retry(2, Backoff(0.5, jitter=False)))
    run(graph)
    assert told(caplog, logging.WARNING) == [
        (
            *("antichain.node", "WARNING"),
            "node a: attempt 1 failed, the next one starts in 0.500 s: ValueError: no",
        ),
        ("antichain.node", "ERROR", "node a: failed (error) in attempt 2: ValueError: no"),
        ("antichain.run", "ERROR", "run r1 of graph etl failed after 0.500 s"),
    ]
    fields = [(each.run_id, each.node_id, each.attempt, each.error_type) for each in caplog.records]  # type: ignore[attr-defined]
    assert fields == [
        ("r1", None, None, None),
        ("r1", "a", 1, None),
        ("r1", "a", 1, "ValueError"),
        ("r1", "a", 2, None),
        ("r1", "a", 2, "ValueError"),
        ("r1", None, None, None),
    ]


def test_a_question_is_told_and_a_run_that_waits_for_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph("etl")
    graph.ask("ok", "Delete\nall?", type=bool)
    run(graph, store=MemoryStore())
    assert told(caplog, logging.INFO) == [
        ("antichain.run", "INFO", "run r1 of graph etl started: 1 nodes"),
        ("antichain.node", "INFO", "node ok asks: Delete all?"),
        ("antichain.run", "INFO", "run r1 of graph etl has paused until somebody answers after 0.000 s"),
    ]
    assert [each.node_id for each in caplog.records if "asks" in each.getMessage()] == ["ok"]  # type: ignore[attr-defined]


def test_work_that_was_left_behind_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph("etl")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue

    graph.add("a", stubborn)
    run(graph, deadline=1.0, grace=0.5)
    assert told(caplog, logging.WARNING) == [
        ("antichain.node", "WARNING", "node a: cancelled (deadline); attempt 1 did not end and was abandoned"),
        ("antichain.run", "ERROR", "run r1 of graph etl failed after 1.500 s"),
    ]


def test_nothing_is_logged_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    graph = Graph()
    graph.add("a", lambda: 1)
    with caplog.at_level(logging.WARNING, "antichain"), virtual_time() as clock:
        clock.run(graph.arun())
    assert caplog.records == []


HOSTILE = ["\n", "\r", "\x1b[2J", "\u2028", "\u202e", "\x85", "\x07", "\udc80", "%s %d", "{0}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_forges_no_line(text: str) -> None:
    """Names, ids and messages, in the message and in every field that a formatter may show."""
    forged = f"{text}ERROR forged"

    async def fails() -> None:
        raise ValueError(forged)

    graph = Graph(forged)
    graph.add(f"again {forged}", fails, retry=Retry(2, Backoff(0.0)))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s|%(run_id)s|%(node_id)s|%(error_type)s|%(message)s"))
    logger = logging.getLogger("antichain")
    logger.addHandler(handler)
    try:
        with pytest.raises(RunFailed):
            graph.run(run_id=f"r {forged}")
    finally:
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert not [line for line in lines if not line.isprintable()]
    assert {line.split("|")[0] for line in lines} == {"INFO", "DEBUG", "WARNING", "ERROR"}
