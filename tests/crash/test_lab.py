"""
The crash lab itself: it lets a right journal pass and catches three wrong ones, each by the experiment that can see it.
"""

import random
import sys
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.crash.disk import Disk
from tests.crash.lab import experiment
from tests.crash.witness import judge

IN_FULL = pytest.mark.skipif(
    not (FULL and sys.platform == "linux"), reason="the lab proves itself at full size, on Linux"
)
UPSTREAM = {"a": [], "b": ["a"], "pages": ["b"]}


@pytest.mark.parametrize(
    ("log", "lost", "begun_again"),
    [
        ("told a|process 2|found a|began b 1|told b|returned 1", [], []),
        ("process 2|found|began a 1|told a", [], []),  # it had begun, and nobody was told of an end
        ("told a|process 2|found|began a 1", ["a"], ["a"]),
        ("began b 1|process 2|found|began b 1", ["a"], []),  # what it waits for must have been there
        ("began pages[3] 1|process 2|found|", ["b"], []),
        ("began pages/look 1|process 2|found", ["b"], []),
        ("told a|began a 1", [], ["a"]),
        ("again a 1|process 2|found|began a 2", [], []),
        ("again a 1|process 2|found|began a 1", [], []),
        ("again a 1|began a 2|process 2|found|began a 1", [], ["a attempt 1"]),
        ("returned 1|process 2|found a b", ["pages"], []),
    ],
)
def test_judge_knows_what_was_acknowledged(log: str, lost: list[str], begun_again: list[str]) -> None:
    """A node is acknowledged by its end that was told, by one that waits for it and began, or by the run's value."""
    lines = ["process 1", "found", "began a 1", *filter(None, log.split("|"))]
    verdict = judge("\n".join(lines), UPSTREAM)
    assert (verdict.lost, verdict.begun_again) == (lost, begun_again)
    assert verdict.retold == (["a attempt 1"] if log == "again a 1|process 2|found|began a 1" else [])


FOLDER, FILE, LOG = ("".join(f"\\x{byte:02x}" for byte in path) for path in (b"/d", b"/d/runs.db", b"/d/witness.log"))
MAKE = f"""1 openat(AT_FDCWD<\\x2f>, "{FILE}", O_RDWR|O_CREAT, 0644) = 3<{FILE}>
1 fsync(4<{FOLDER}>) = 0
"""
WRITE = rf"""1 pwrite64(3<{FILE}>, "\x61\x62", 2, 0) = 2
2 fdatasync(3<{FILE}> <unfinished ...>
1 pwrite64(3<{FILE}>, "\x63", 1, 2) = 1
2 <... fdatasync resumed>) = 0
1 write(5<{LOG}>, "\x68\x69\x0a", 3) = 3"""


def test_disk_keeps_what_was_synced_and_perhaps_the_rest(tmp_path: Path) -> None:
    """A write is sure once it returned before a sync began that has returned; a name once its folder was synced."""
    (tmp_path / "log").write_text(MAKE + WRITE)
    disk = Disk(Path("/d"))
    disk.play(tmp_path / "log")
    assert disk.lines == 7
    rng = random.Random(1)

    def states(instant: int) -> set[bytes | None]:
        return {disk.at(instant, rng).get("runs.db") for _ in range(200)}

    assert states(0) == {None, b""}
    assert states(1) == {b""}
    assert states(3) == {b"", b"ab"}
    assert states(4) == {b"", b"ab", b"abc", b"\0\0c"}
    assert states(5) == {b"ab", b"abc"}
    assert (disk.said(5), disk.said(6)) == ("", "hi\n")


def test_torn_writes_are_torn_at_sectors(tmp_path: Path) -> None:
    """Of a write over three sectors any may be missing, none in part."""
    data = "\\x61" * 1000
    (tmp_path / "log").write_text(MAKE + f'1 pwrite64(3<{FILE}>, "{data}", 1000, 100) = 1000')
    disk = Disk(Path("/d"))
    disk.play(tmp_path / "log")
    rng = random.Random(1)
    seen = {disk.at(2, rng)["runs.db"] for _ in range(300)}
    kept = {tuple(image[at : at + 1] == b"a" for at in (100, 511, 512, 1023, 1024, 1099)) for image in seen}
    assert len(kept) == 8
    assert all(first == second for sectors in kept for first, second in zip(sectors[::2], sectors[1::2], strict=True))


@IN_FULL
def test_kill_passes_a_right_journal() -> None:
    """A commit before each acknowledgement: nothing is lost, nothing begins again."""
    told = experiment("kill", "chain:hand", "--count", 100)
    assert not told["problems"], told["problems"]
    assert told["kills"] >= 100


@IN_FULL
def test_kill_catches_an_acknowledgement_before_the_commit() -> None:
    """The planted fault."""
    told = experiment("kill", "chain:hand-first", "--count", 100)
    assert told["faults"] >= 10, told


@IN_FULL
@pytest.mark.usefixtures("traced")
def test_cuts_pass_a_right_journal_and_catch_one_that_does_not_sync() -> None:
    """FULL loses nothing; NORMAL does, which no kill can show."""
    right = experiment("cut", "chain:hand", "--count", 1000)
    assert not right["problems"], right["problems"]
    assert right["with_acknowledged"] > 500
    wrong = experiment("cut", "chain:hand-normal", "--count", 1000)
    assert wrong["losing"] > 300, wrong


@IN_FULL
@pytest.mark.usefixtures("traced")
def test_crash_points_pass_a_right_journal_and_catch_a_wrong_one() -> None:
    """Every call of a run is a point."""
    right = experiment("points", "chain:hand", "--count", 10_000)
    assert right["points"] == right["calls"] >= 80, right
    assert not right["problems"], right["problems"]
    wrong = experiment("points", "chain:hand-first", "--count", 20)
    assert wrong["lost"], wrong


@IN_FULL
@pytest.mark.usefixtures("traced")
def test_cuts_catch_an_owner_that_trusts_what_was_never_synced() -> None:
    """
    A process is killed between write and sync; the next one reads that, begins what waits for it, and the power goes.
    """
    told = experiment("cut", "chain:hand-quiet", "--count", 3000)
    assert told["lost"], told
