"""
A run as JSON: which fields there are and what they hold, in version 1. A field may be added here; none changes.
"""

import json
from typing import Any

import pytest

from antichain.core.facts import Event
from antichain.core.states import FIRST_TERMINAL, REASON_NAMES, STATE_NAMES
from antichain.record import RunResult, fold
from antichain.testing import virtual_time
from tests.support import viewed
from tests.test_real_runs import run_one

TEXT, NUMBER = (str,), (int, float)
INSTANT = (int, float, type(None))
RUN = {
    "version": (int,),
    "run_id": TEXT,
    "name": TEXT,
    "status": TEXT,
    "started_at": NUMBER,
    "ended_at": NUMBER,
    "nodes": (dict,),
}
RESULT = {**RUN, "makespan": NUMBER, "critical_path": (list,), "outputs": (dict,), "usage": (dict,)}
NODE = {
    "id": TEXT,
    "state": TEXT,
    "reason": TEXT,
    "attempts": (int,),
    "error": (dict, type(None)),
    "ready_at": INSTANT,
    "started_at": INSTANT,
    "ended_at": INSTANT,
    "abandoned": (bool,),
    "group": TEXT,
    "upstream": (list,),
    "uses": (dict,),
    "asks": (list,),
    "failures": (list,),
}


def holds(fields: dict[str, tuple[type, ...]], data: dict[str, Any]) -> bool:
    assert data.keys() == fields.keys()
    return all(type(value) in fields[name] for name, value in data.items())


def judge(data: dict[str, Any]) -> None:
    assert data["version"] == 1
    for name, node in data["nodes"].items():
        assert holds(NODE, node), node
        assert node["id"] == name
        assert node["state"] in STATE_NAMES
        assert node["reason"] in REASON_NAMES
        assert (node["state"] in STATE_NAMES[FIRST_TERMINAL:]) == bool(node["reason"])
        assert node["group"] in ("", *data["nodes"])
        assert set(node["upstream"]) <= data["nodes"].keys()
        assert all(type(number) is int and number > 0 for number in node["uses"].values())
        if node["error"] is not None:
            assert node["error"].keys() == {"type", "message"}


def written(data: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(data, allow_nan=False))  # type: ignore[no-any-return]


def judge_run(result: RunResult, events: list[Event]) -> None:
    data = written(result.to_dict())
    assert holds(RESULT, data)
    assert data["status"] in ("succeeded", "partial", "failed", "cancelled")
    assert set(data["critical_path"]) <= data["nodes"].keys()
    assert data["outputs"].keys() <= data["nodes"].keys()
    judge(data)
    told = written(fold(events).to_dict())
    assert holds({**RUN, "seq": (int,)}, told)
    judge(told)
    assert told["nodes"] == data["nodes"]
    assert (told["run_id"], told["name"], told["status"]) == (data["run_id"], data["name"], data["status"])


def test_a_run_of_everything_has_the_fields_of_its_version() -> None:
    result, events = viewed.sample()
    judge_run(result, events)
    nodes = result.to_dict()["nodes"]
    assert nodes["broken"]["error"] == {"type": "ValueError", "message": "no such page: <b>x</b> [1] {2}; end"}
    assert (nodes["stored[1]"]["group"], nodes["stored[1]"]["upstream"]) == ("stored", ["documents[1]"])
    assert nodes["stored[1]"]["uses"] == {"db": 1}


@pytest.mark.parametrize("block", range(4))
def test_random_runs_have_the_fields_of_their_version(block: int) -> None:
    for seed in range(block * 15, block * 15 + 15):
        events: list[Event] = []
        with virtual_time() as clock:
            _, result = clock.run(run_one(seed, events))
        judge_run(result, events)


def test_a_run_that_goes_on_is_told_as_far_as_it_came() -> None:
    _, events = viewed.sample()
    for end in range(0, len(events), 5):
        data = written(fold(events[:end]).to_dict())
        assert data["status"] is None
        judge(data)
