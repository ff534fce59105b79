"""
The closing summary: its figures, and the one thing it says to do next.
"""

from collections import Counter
from typing import Any

import pytest

from antichain import Graph, Retry, RunFailed, RunResult
from antichain.record import NodeRecord, RunRecord, fold
from antichain.testing import HANG, simulate
from antichain.views.frame import ASCII, columns, plain
from antichain.views.summary import MOST_NODES, Step, Summary, Waiting, next_step, summarize, summary_lines
from tests.support.watched import RUNS, three


def node(name: str, ready: float, start: float, end: float, **more: Any) -> NodeRecord:
    given = {"state": "succeeded", "reason": "output", "attempts": 1, **more}
    return NodeRecord(name, ready_at=ready, started_at=start, ended_at=end, **given)


def record(*nodes: NodeRecord, status: str = "succeeded", end: float | None = None) -> RunRecord:
    last = max([each.ended_at or 0.0 for each in nodes], default=0.0) if end is None else end
    return RunRecord("r", "g", status, 0.0, last, {each.id: each for each in nodes})


def said(summary: Summary, width: int = 100) -> dict[str, str]:
    """The lines of each section by its name."""
    sections: dict[str, str] = {}
    name = ""
    for line in summary_lines(summary, width):
        text = plain(line)
        name = text[:9].strip() or name
        between = " " if name == "next" else "\n"
        sections[name] = f"{sections[name]}{between}{text[11:]}" if name in sections else text[11:]
    return sections


def queue(size: int, count: int, seconds: float, limit: str = "web") -> RunRecord:
    """*count* nodes ready at once, *size* at a time."""
    return record(
        *[
            node(f"n{at}", 0.0, at // size * seconds, (at // size + 1) * seconds, uses=((limit, 1),) if limit else ())
            for at in range(count)
        ]
    )


def test_waiting_for_a_limit() -> None:
    summary = summarize(queue(2, 6, 5.0))
    [wait] = summary.waits
    assert (wait.limit, wait.nodes, wait.seconds) == ("web", 4, 30.0)
    # The node that ended last had waited since the beginning.
    assert wait.critical == 10.0
    assert summary.work == 30.0
    assert said(summary)["speed-up"] == "2.0 times as fast as one node after another: 30 s of work"
    assert said(summary)["waits"] == "web: 4 nodes x 7.5 s; critical path 10 s"
    assert (
        said(summary)["next"]
        == "Limit 'web' held the critical path for 10 s: raise it, if what is behind it can take more."
    )


def test_the_size_of_a_limit_decides_if_it_is_known() -> None:
    """As many as ever used the limit at once did, but it had room: something else was full."""
    summary = summarize(queue(2, 6, 5.0), {"web": 10, "max_concurrent": 2})
    assert [wait.limit for wait in summary.waits] == ["max_concurrent"]
    assert said(summary)["next"].startswith("max_concurrent held the critical path for 10 s: raise it")
    assert summarize(queue(2, 6, 5.0), {"web": 10}).waits == []


def test_waiting_for_max_concurrent() -> None:
    summary = summarize(queue(3, 9, 2.0, limit=""))
    assert [(wait.limit, wait.nodes) for wait in summary.waits] == [("max_concurrent", 6)]


def test_waiting_for_threads() -> None:
    assert said(summarize(queue(3, 9, 2.0, limit="thread")))["next"].startswith(
        'The number of threads (limits={"thread": n}) held the critical path for 4 s: raise it'
    )


def test_instances_of_a_stage_on_the_path_count_as_the_path() -> None:
    instances = [
        node(f"stage[{at}]", 1.0, 1.0 + at, 2.0 + at, group="stage", uses=(("stage.max_concurrent", 1),))
        for at in range(4)
    ]
    summary = summarize(
        record(node("load", 0.0, 0.0, 1.0), node("stage", 1.0, 1.0, 5.0, upstream=("load",)), *instances)
    )
    assert summary.path == [Step("load", 1.0), Step("stage", 4.0)]
    assert [(wait.limit, wait.seconds, wait.critical) for wait in summary.waits] == [("stage.max_concurrent", 6.0, 3.0)]
    # The stage itself took no time of its own.
    assert summary.work == 5.0
    assert said(summary)["next"].startswith("max_concurrent of stage held the critical path for 3 s")


def test_waits_beside_the_critical_path_are_told_and_not_blamed() -> None:
    beside = [node(f"n{at}", 0.0, at, at + 1.0, uses=(("db", 1),)) for at in range(3)]
    summary = summarize(record(node("long", 0.0, 0.0, 10.0), *beside))
    assert said(summary)["waits"] == "db: 2 nodes x 1.5 s"
    assert said(summary)["next"] == (
        "Hardly anything on the critical path waited for a slot, so more slots will not help: long took 100% of the "
        "time. Make it faster, or split it."
    )


def test_nothing_waited() -> None:
    summary = summarize(record(node("a", 0.0, 0.0, 3.0), node("b", 3.0, 3.0, 4.0, upstream=("a",))))
    assert said(summary)["critical"] == "a 3 s 75% → b 1 s 25%"
    assert said(summary)["next"].startswith("Nothing waited for a slot, so more slots will not help: a took 75%")


def test_a_long_critical_path_loses_its_shortest_steps() -> None:
    nodes = [
        node(
            f"step-{at}",
            at * 10.0,
            at * 10.0,
            at * 10.0 + (10.0 if at == 25 else 1.0 + at % 3),
            upstream=(f"step-{at - 1}",),
        )
        for at in range(50)
    ]
    summary = summarize(record(*nodes))
    assert len(summary.path) == 50
    for width in (60, 80, 120):
        line = said(summary, width)["critical"]
        assert line.startswith("step-0 ")
        assert "step-25 " in line
        assert " → … → " in line
        assert "step-49 " in line
    assert sum(step.seconds for step in summary.path) == pytest.approx(summary.makespan)


def test_ten_thousand_steps_take_no_time() -> None:
    nodes = [node(f"s{at}", at, at, at + 1.0, upstream=(f"s{at - 1}",)) for at in range(10_000)]
    summary = summarize(record(*nodes))
    assert len(summary.path) == 10_000
    assert said(summary, 80)["critical"].startswith("s0 ")


def failed_run(**options: Any) -> RunResult:
    graph = Graph("g")
    names = ["bad", "after", "beside"]

    async def body() -> None: ...

    async def after(bad: None) -> None: ...

    graph.add("bad", body)
    graph.add("after", after)
    graph.add("beside", body)
    try:
        return simulate(
            graph.plan(),
            durations=dict.fromkeys(names, 1.0) | {"beside": 5.0},
            outcomes={"bad": ValueError("no")},
            **options,
        )
    except RunFailed as error:
        return error.result


def test_a_failure_that_stopped_the_others() -> None:
    summary = summarize(failed_run())
    assert said(summary)["failed"] == "bad: ValueError: no"
    assert said(summary)["next"].startswith(
        "Look at bad first; antichain run --debug shows its traceback. 2 other nodes were stopped because of a"
    )
    assert 'on_error="continue"' in said(summary)["next"]


def test_a_failure_that_others_needed() -> None:
    summary = summarize(failed_run(on_error="continue"))
    assert said(summary)["nodes"] == "1 succeeded, 1 failed, 1 skipped in 5 s"
    assert said(summary)["next"].endswith("1 node could not start without what failed.")


def test_failures_of_containers_are_told_once() -> None:
    error = ValueError("inside")
    summary = summarize(
        record(
            node("stage", 0.0, 0.0, 1.0, state="failed", reason="error", error=error),
            node("stage[0]", 0.0, 0.0, 1.0, state="failed", reason="error", error=error, group="stage"),
            status="failed",
        )
    )
    assert said(summary)["failed"] == "stage[0]: ValueError: inside"


def test_many_failures_are_cut() -> None:
    nodes = [node(f"n{at}", 0, 0, 1, state="failed", reason="error", error=ValueError(at)) for at in range(9)]
    assert said(summarize(record(*nodes, status="partial")))["failed"].endswith("n4: ValueError: 4\nand 4 more")


def test_a_deadline() -> None:
    graph = Graph("g")

    async def body() -> None: ...

    graph.add("slow", body)
    try:
        result = simulate(graph.plan(), durations={"slow": 60.0}, deadline=5.0)
    except Exception as error:
        result = error.result  # type: ignore[attr-defined]
    assert said(summarize(result))["next"] == "The deadline came first: raise deadline=, or shorten the critical path."


def test_abandoned_work() -> None:
    summary = summarize(record(node("stuck", 0.0, 0.0, 3.0, state="failed", reason="timeout", abandoned=True)))
    assert said(summary)["abandoned"] == "stuck"
    assert said(summary)["next"].startswith("What was abandoned did not end when it was asked to")


def test_retries_and_fallbacks() -> None:
    summary = summarize(
        record(node("a", 0.0, 0.0, 3.0, attempts=3), node("b", 0.0, 0.0, 1.0, reason="fallback"), node("c", 0, 0, 1))
    )
    assert said(summary)["nodes"] == "3 succeeded (1 by a fallback) in 3 s"
    assert said(summary)["retries"] == "2 attempts made again, in 1 node"


def test_a_run_without_nodes_says_nothing() -> None:
    assert summary_lines(summarize(record()), 80) == []


def test_a_short_run_gives_no_advice() -> None:
    summary = summarize(record(node("a", 0.0, 0.0, 0.01), node("b", 0.0, 0.0, 0.02)))
    assert said(summary) == {"nodes": "2 succeeded in 20 ms"}


def test_a_cancelled_run_gives_no_advice() -> None:
    summary = summarize(record(node("a", 0.0, 0.0, 3.0, state="cancelled", reason="run"), status="cancelled"))
    assert "next" not in said(summary)


def test_waits_of_a_huge_run_are_not_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antichain.views.summary.MOST_NODES", 5)
    assert summarize(queue(2, 6, 5.0)).waits == []
    assert MOST_NODES >= 100_000


@pytest.mark.parametrize("name", ["3", "300"])
def test_result_and_folded_events_say_the_same(name: str) -> None:
    run = RUNS[name]()
    folded = summarize(fold(run.events))
    from_result = summarize(run.result)
    assert [plain(line) for line in summary_lines(folded, 100)] == [
        plain(line) for line in summary_lines(from_result, 100)
    ]


@pytest.mark.parametrize("width", [1, 5, 12, 20, 40, 80, 200])
def test_lines_fit(width: int) -> None:
    for signs in (ASCII,):
        for line in summary_lines(three().summary, width, signs):
            text = "".join(span.text for span in line)
            assert columns(text) <= width
            assert text.isascii()


def test_the_first_rule_that_holds_decides() -> None:
    """Abandoned work before failures, those before a deadline, that before limits, those before the path."""
    summary = Summary("succeeded", 10.0, Counter(succeeded=2), path=[Step("a", 10.0)])
    said_next = [next_step(summary)]
    summary.waits = [Waiting("web", 5.0, 1, 0.9), Waiting("db", 5.0, 1, 0.5)]
    said_next.append(next_step(summary))
    summary.waits[1].critical = 2.0
    said_next.append(next_step(summary))
    summary.cancelled_by["deadline"] = 1
    said_next.append(next_step(summary))
    summary.failed = [node("x", 0, 0, 1, state="failed")]
    said_next.append(next_step(summary))
    summary.abandoned = ["x"]
    said_next.append(next_step(summary))
    starts = ["Nothing waited", "Hardly anything", "Limit 'db'", "The deadline", "Look at x", "What was abandoned"]
    assert [text[: len(start)] for text, start in zip(said_next, starts, strict=True)] == starts


def test_hanging_nodes_do_not_break_it() -> None:
    graph = Graph("g")

    async def body() -> None: ...

    graph.add("a", body, retry=Retry(attempts=2))
    graph.add("b", body)
    try:
        result = simulate(graph.plan(), outcomes={"b": HANG}, durations={"a": 1.0}, deadline=3.0)
    except Exception as error:
        result = error.result  # type: ignore[attr-defined]
    assert "1 succeeded" in said(summarize(result))["nodes"]
