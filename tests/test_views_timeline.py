"""
Runs on a time axis: nothing overlaps on a lane, arrows hang on slices, counters come back to nothing.
"""

import gc
import json
import os
import stat
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain import Graph
from antichain.core.facts import (
    Event,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from antichain.printable import printable
from antichain.record import RunRecord, fold
from antichain.testing import virtual_time
from antichain.views.timeline import GROUPS, WAIT_LANES, EventTrace, Lanes, to_trace
from tests.support import viewed
from tests.support.viewed import HOSTILE, judge_trace
from tests.test_real_runs import run_one
from tests.test_views_diagram import BIG, agreed

LIMITS = ("documents.max_concurrent", "db")


def traced(events: list[Event], folder: Path) -> dict[str, Any]:
    trace = EventTrace()
    for event in events:
        trace(event)
    trace.write(folder / "trace.json")
    return json.loads((folder / "trace.json").read_text())  # type: ignore[no-any-return]


def slices(trace: dict[str, Any], kind: str = "") -> list[dict[str, Any]]:
    return [each for each in trace["traceEvents"] if each["ph"] == "X" and kind in ("", each["cat"])]


def lines(trace: dict[str, Any]) -> str:
    head = {name: value for name, value in trace.items() if name != "traceEvents"}
    return "\n".join(json.dumps(each) for each in [head, *trace["traceEvents"]]) + "\n"


# -- one of everything


def test_trace_of_a_record_is_as_agreed() -> None:
    agreed("sample.trace.jsonl", lines(to_trace(viewed.sample()[0])))


def test_trace_of_events_is_as_agreed(tmp_path: Path) -> None:
    agreed("sample.events.jsonl", lines(traced(viewed.sample()[1], tmp_path)))


def test_a_record_is_drawn_with_all_that_is_known_of_it() -> None:
    result, events = viewed.sample()
    trace = to_trace(result)
    assert trace == to_trace(fold(events))
    assert trace["otherData"] == {
        "producer": "antichain", "version": 1, "run_id": "run-1", "name": "digest", "status": "partial"
    }  # fmt: skip
    found = judge_trace(trace)
    assert (found["arrows"], found["marks"], found["counters"]) == (15, 1, 2 + len(LIMITS))
    drawn = {each["args"]["node"]: each for each in slices(trace) if each["cat"] in ("succeeded", "failed")}
    assert drawn.keys() == result.nodes.keys() - {"never"}
    for name, each in drawn.items():
        node = result.nodes[name]
        assert node.started_at is not None
        assert node.ended_at is not None
        assert abs(each["ts"] - node.started_at * 1e6) <= 1
        assert abs(each["dur"] - (node.ended_at - node.started_at) * 1e6) <= 2
    assert drawn["flaky"]["args"]["attempts"] == 3
    assert drawn["broken"]["args"]["error"].startswith("ValueError: no such page")
    assert drawn["stored[1]"]["args"]["upstream"] == ["documents[1]"]
    assert drawn["stored[1]"]["args"]["uses"] == {"db": 1}
    waits = {each["name"]: each["dur"] for each in slices(trace, "wait")}
    assert waits == {"documents[2]": 500_000, "documents[3]": 625_000, "documents[4]": 750_000, "stored[1]": 125_000}
    path = [each["name"] for each in slices(trace, "critical")]
    assert tuple(path) == result.critical_path


def test_each_attempt_is_drawn_and_each_pause(tmp_path: Path) -> None:
    _, events = viewed.sample()
    trace = traced(events, tmp_path)
    found = judge_trace(trace)
    assert (found["arrows"], found["marks"], found["counters"]) == (15, 1, 2 + len(LIMITS))
    mine = [each for each in slices(trace) if "flaky" in each["name"]]
    names = ["flaky", "pause before attempt 2: flaky", "flaky (attempt 2)", "pause before attempt 3: flaky"]
    assert [each["name"] for each in mine] == [*names, "flaky (attempt 3)"]
    assert [each["dur"] for each in mine] == [400_000, 500_000, 400_000, 1_000_000, 400_000]
    assert len({(each["pid"], each["tid"]) for each in mine}) == 1, "a node stays on its lane"
    assert mine[0]["args"]["error"] == 'ConnectionError: 429: too many <requests> "now"'
    assert (mine[2]["args"]["state"], mine[4]["args"]["state"]) == ("failed", "succeeded")
    blocks = {each["args"]["name"] for each in trace["traceEvents"] if each["name"] == "process_name"}
    assert blocks == {"run digest", "waiting for slots", "documents", "stored", "search", "agent", "agent/plan"}


def test_a_wait_between_two_attempts_is_drawn_on_the_lane_of_the_node(tmp_path: Path) -> None:
    error = ValueError("busy")
    events: list[Event] = [
        RunStarted(1, 5.0, "run-1", "g", 1),
        NodeReady(2, 5.0, "run-1", "a", 1),
        NodeStarted(3, 6.0, "run-1", "a", 1),
        NodeRetrying(4, 6.0, "run-1", "a", 1, 0.5, error),
        NodeReady(5, 6.5, "run-1", "a", 2),
        NodeStarted(6, 8.0, "run-1", "a", 2),
        NodeEnded(7, 8.0, "run-1", "a", 2, "succeeded", "output", None, None),
        RunEnded(8, 8.0, "run-1", "succeeded"),
    ]
    trace = traced(events, tmp_path)
    judge_trace(trace)
    mine = [(each["name"], each["cat"], each["ts"], each["dur"]) for each in slices(trace) if each["cat"] != "run"]
    assert mine == [
        ("a", "wait", 0, 1_000_000),
        # An attempt of no time takes a microsecond, and what comes after it begins behind that.
        ("a", "failed", 1_000_000, 1),
        ("pause before attempt 2: a", "pause", 1_000_001, 499_999),
        ("a", "wait", 1_500_000, 1_500_000),
        ("a (attempt 2)", "succeeded", 3_000_000, 1),
    ]
    assert len({each["tid"] for each in slices(trace) if each["ts"] >= 1_000_000 and each["cat"] != "run"}) == 1


def test_counters_tell_what_runs_and_what_is_taken(tmp_path: Path) -> None:
    result, events = viewed.sample()
    for trace in (to_trace(result), traced(events, tmp_path)):
        most: Counter[str] = Counter()
        for each in trace["traceEvents"]:
            if each["ph"] == "C":
                most[each["name"]] = max(most[each["name"]], each["args"]["count"])
        assert most == {"running": 6, "waiting for slots": 2, "limit documents.max_concurrent": 2, "limit db": 1}


# -- foreign text


def test_a_question_is_marked_on_the_lane_of_its_node(tmp_path: Path) -> None:
    events: list[Event] = [
        RunStarted(1, 0.0, "run-1", "g", 1),
        NodeReady(2, 0.0, "run-1", "a", 1),
        NodeStarted(3, 0.0, "run-1", "a", 1),
        NodeAsks(4, 1.0, "run-1", "a", 1, "Delete\n\x1b[2J3?", 1),
        NodeAnswered(5, 3.0, "run-1", "a", 1, 1),
        NodeEnded(6, 4.0, "run-1", "a", 1, "succeeded", "output", None, None),
        RunEnded(7, 4.0, "run-1", "succeeded"),
    ]
    trace = traced(events, tmp_path)
    judge_trace(trace)
    (attempt,) = (each for each in slices(trace) if each["cat"] == "succeeded")
    marks = [each for each in trace["traceEvents"] if each["ph"] == "i"]
    assert [(each["name"], each["ts"], each["args"]) for each in marks] == [
        ("asks: a", 1_000_000, {"node": "a", "number": 1, "text": "Delete \\x1b[2J3?"}),
        ("answered: a", 3_000_000, {"node": "a", "number": 1}),
    ]
    assert {(each["pid"], each["tid"]) for each in marks} == {(attempt["pid"], attempt["tid"])}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_ids_and_errors_are_printable_text(text: str) -> None:
    trace = to_trace(viewed.hostile(text))
    judge_trace(trace)
    written = json.dumps(trace)
    assert written.isascii()
    assert json.dumps(trace, ensure_ascii=False).encode(), "half a character"
    assert '\\\\"' not in written.replace('\\\\\\"', ""), "Perfetto reads on behind a text that ends with a backslash"
    assert printable(text) in {each["name"].removesuffix("\u2060") for each in slices(trace)}


@given(text=st.text(min_size=1, max_size=300))
def test_any_text_is_printable_text(text: str) -> None:
    for each in slices(to_trace(viewed.hostile(text))):
        name = each["name"].removesuffix("\u2060")
        assert printable(name, None) == name
        assert not each["name"].endswith("\\")
        assert json.dumps(each).encode("utf-8")


# -- any run


@pytest.mark.parametrize("block", range(5))
def test_random_runs_keep_the_rules_of_the_format(block: int, tmp_path: Path) -> None:
    for seed in range(block * 20, block * 20 + 20):
        events: list[Event] = []
        with virtual_time() as clock:
            _, result = clock.run(run_one(seed, events))
        trace = to_trace(result)
        assert trace == to_trace(fold(events)), seed
        judge_trace(trace)
        ran = [node for node in result.nodes.values() if node.started_at is not None]
        drawn = [each for each in slices(trace) if each["cat"] not in ("run", "wait", "critical")]
        assert len(drawn) == len(ran), seed
        live = traced(events, tmp_path)
        judge_trace(live)
        attempts = sum(isinstance(event, NodeStarted) for event in events)
        pauses = sum(isinstance(event, NodeRetrying) for event in events)
        assert len([each for each in slices(live) if each["cat"] not in ("run", "wait", "pause")]) == attempts, seed
        assert len(slices(live, "pause")) == pauses, seed
        unstarted = sum(isinstance(event, NodeEnded) for event in events) - len(ran)
        assert sum(each["ph"] == "i" for each in live["traceEvents"]) == unstarted, seed


def test_a_run_that_was_interrupted_leaves_a_whole_file(tmp_path: Path) -> None:
    _, events = viewed.sample()
    for end in range(len(events) + 1):
        trace = traced(events[:end], tmp_path)
        judge_trace(trace)
        started = sum(isinstance(event, NodeStarted) for event in events[:end])
        assert len([each for each in slices(trace) if each["cat"] not in ("run", "wait", "pause")]) == started
        assert (trace["otherData"]["status"] is None) == (not any(isinstance(each, RunEnded) for each in events[:end]))


def test_a_record_of_nothing_and_of_a_run_that_goes_on() -> None:
    assert judge_trace(to_trace(RunRecord()))["slices"] == 1
    _, events = viewed.sample()
    for end in range(0, len(events), 7):
        judge_trace(to_trace(fold(events[:end])))


@pytest.mark.parametrize("kind", BIG)
def test_twenty_thousand_nodes_take_no_time(kind: str) -> None:
    run = BIG[kind]()
    began = time.process_time()
    trace = to_trace(run)
    assert time.process_time() - began < 2
    assert len(slices(trace)) >= len(run.nodes)
    assert len(json.dumps(trace)) < 1_000 * len(run.nodes)
    judge_arrows_of(trace)


def judge_arrows_of(trace: dict[str, Any]) -> None:
    # All of judge_trace takes long where a lane has 20,000 slices.
    starts = sum(each["ph"] == "s" for each in trace["traceEvents"])
    assert starts == sum(each["ph"] == "f" for each in trace["traceEvents"]) > 0


# -- lanes


@given(spans=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=60))
def test_lanes_never_overlap_and_are_as_few_as_can_be(spans: list[tuple[int, int]]) -> None:
    lanes = Lanes()
    taken: dict[int, int] = {}
    for start, length in sorted(spans):
        lane = lanes.take(start)
        assert lane is not None
        assert taken.get(lane, 0) <= start
        taken[lane] = start + length
        lanes.give_back(lane, start + length)
    most = max((sum(a <= at < a + b for a, b in spans) for at, _ in spans), default=0)
    assert lanes.count == most


def test_many_that_wait_are_counted_and_only_some_drawn() -> None:
    nodes = [replace(viewed.node(f"n{i}"), started_at=float(i), ended_at=i + 1.0) for i in range(100)]
    trace = to_trace(viewed.record(nodes))
    judge_trace(trace)
    lanes = {each["tid"] for each in slices(trace, "wait")}
    assert len(lanes) == WAIT_LANES
    counts = [
        each["args"]["count"] for each in trace["traceEvents"] if each["ph"] == "C" and each["name"].startswith("wait")
    ]
    assert counts[0] == 99


def test_groups_beyond_the_first_share_a_block() -> None:
    trace = to_trace(viewed.nested(GROUPS + 20, 3))
    judge_trace(trace)
    blocks = [each["args"]["name"] for each in trace["traceEvents"] if each["name"] == "process_name"]
    assert len(blocks) == 2 + GROUPS + 1
    assert blocks[-1] == "more groups"


# -- the file


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    trace = EventTrace()
    for event in viewed.sample()[1]:
        trace(event)
    path = tmp_path / "trace.json"
    path.write_text("what was there before")
    path.chmod(0o640)
    with pytest.raises(OSError, match="No such file"):
        trace.write(tmp_path / "no folder" / "trace.json")
    trace.write(path)
    first = path.read_text()
    judge_trace(json.loads(first))
    trace.write(path)
    assert path.read_text() == first
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = EventTrace()
    path = tmp_path / "trace.json"
    path.write_text("what was there before")

    def full(stream: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trace, "_copy", full)
    with pytest.raises(OSError, match="No space left"):
        trace.write(path)
    assert path.read_text() == "what was there before"
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    trace = EventTrace()
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("")
    link.symlink_to(target)
    trace.write(link)
    assert link.is_symlink()
    assert json.loads(target.read_text())["traceEvents"] == []
    trace.write(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_memory_is_kept_for_what_has_not_ended() -> None:
    """A map of many items: what is drawn goes to a file once there is much of it, which is gone with the trace."""

    def observed() -> tuple[Any, int]:  # Any: a file of tempfile
        trace, known = EventTrace(), []

        def look(event: Event) -> None:
            trace(event)
            known.append(len(trace._live))

        async def double(x: int) -> int:
            return 2 * x

        graph = Graph("many")
        graph.map("doubled", double, over=range(12_000), max_concurrent=4)
        graph.run(listeners=[look])
        return trace._file, max(known)

    file, most = observed()
    assert most < 100
    assert file._rolled
    gc.collect()
    assert file.closed
