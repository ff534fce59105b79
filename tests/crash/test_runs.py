"""
Durable runs in the crash lab: what was acknowledged survives `kill -9` and power cuts, and never runs again.

A failure names the case and the seed; `python -m tests.crash.lab` plays it again.
"""

import os
import sys
from pathlib import Path

import pytest

from antichain.errors import UnknownRun
from antichain.stores import Header, SqliteStore
from tests.conftest import FULL
from tests.crash.lab import experiment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: fork, pidfd_open, strace"),
]

# The seed of every night is another one.
SEED = int(os.environ.get("ANTICHAIN_SEED", "1"))


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_kill_at_random_instants_loses_nothing_and_runs_nothing_again(place: str) -> None:
    """
    Runs of thirty-odd nodes are killed up to four times each; every kill that counts has hit one at work.

    On a disk most kills fall into a sync, in memory between two steps of the run.
    """
    if place == "disk" and not FULL:
        pytest.skip("waits for syncs")
    kills = 500 if FULL else 25
    told = experiment("kill", "run:sqlite", "--count", kills, "--seed", SEED, *["--quick"] * (place == "memory"))
    assert not told["problems"], told
    assert told["kills"] >= kills
    assert told["acknowledged"] > 30 * told["runs"]


def test_kill_catches_a_store_that_acknowledges_before_the_commit() -> None:
    """The control: without it, no fault in a thousand kills would prove nothing."""
    told = experiment("kill", "run:sqlite-first", "--count", 200, "--seed", SEED, "--until-caught")
    assert told["lost"], told


@pytest.mark.usefixtures("traced")
def test_crash_at_every_write_and_sync_loses_nothing() -> None:
    """At full size at every call of a thread for every k; which commits a run makes, and so its calls, varies."""
    told = experiment("points", "run:sqlite", "--count", 10_000 if FULL else 6)
    assert not told["problems"], told
    assert told["crashes"] >= 3
    if FULL:
        assert told["points"] >= 80
        assert told["points"] >= 0.6 * told["calls"]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_disk_that_fails_at_any_call_ends_the_run_with_one_error(error: str) -> None:
    """What was not kept is not told, and the run goes on once the disk is well again."""
    if not FULL:
        pytest.skip("takes a minute")
    told = experiment("points", "run:sqlite", "--count", 150, "--error", error)
    assert not told["problems"], told
    assert set(told["raised"]) == {"StoreError"}, told
    assert told["raised"]["StoreError"] >= 40


@pytest.mark.skipif(not FULL, reason="takes minutes")
def test_owner_that_wakes_up_late_commits_nothing() -> None:
    """Stopped at a random instant, robbed of its run by somebody who brings it to its end, and woken up."""
    told = experiment("stop", "run:sqlite-hasty", "--count", 200, "--seed", SEED)
    assert not told["problems"], told
    assert told["stops"] == 200
    assert told["told_so"] >= 150


@pytest.mark.usefixtures("traced")
def test_power_cuts_lose_nothing() -> None:
    """Every second run was killed and resumed before the power goes."""
    cuts = 5000 if FULL else 100
    told = experiment("cut", "run:sqlite", "--count", cuts, "--seed", SEED)
    assert not told["problems"], told
    assert told["cuts"] == cuts
    assert told["with_acknowledged"] > cuts / 2


@pytest.mark.usefixtures("traced")
def test_power_cuts_show_what_the_weaker_level_gives_up() -> None:
    """NORMAL may lose what was acknowledged, and is not damaged."""
    told = experiment("cut", "chain:sqlite-normal", "--count", 1000 if FULL else 40, "--seed", SEED)
    assert told["losing"], told
    assert not told["damaged"], told


def test_store_that_was_not_made_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file could not be told from a damaged one: whoever comes next would be refused for ever."""

    def die(*names: str) -> None:
        raise KeyboardInterrupt

    store = SqliteStore(tmp_path / "runs.db")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", die)
        with pytest.raises(KeyboardInterrupt):
            store.open("nightly-7", Header("nightly-7", "etl"))
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == []
    with pytest.raises(UnknownRun):
        store.read("nightly-7")
    assert store.runs() == []
    store.release(store.open("nightly-7", Header("nightly-7", "etl")))
    assert [line.run_id for line in store.runs()] == ["nightly-7"]
