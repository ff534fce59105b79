"""
An owner that is stopped (SIGSTOP), loses its run to another process that takes it over, and wakes up late: it can
commit nothing more, and tells nothing but what it had committed before. A body may still begin: the owner hears of its
loss only when it wants to keep an outcome.
"""

import os
import random
import signal
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.children import PATIENCE, error_of, fork, has_ended, quick_folder, rehearse
from tests.crash.graph import is_made_of_others
from tests.crash.subjects import Case


@dataclass
class Stopped:
    """What late owners have shown."""

    case: str
    seed: int
    # Runs that were taken from an owner who was stopped at work; of those owners, how many were told that the run is
    # not theirs any more, and how many had nothing more to add.
    stops: int = 0
    told_so: int = 0
    had_ended: int = 0
    # Owners that were stopped while they wrote: nobody else can write, and whoever tries is told so.
    writing: int = 0
    early: int = 0
    problems: list[str] = field(default_factory=list)


def ended(child: int) -> int:
    """Wait for a child, and end it if it does not end; return how it ended."""
    if not has_ended(child, PATIENCE):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def facts_in(case: Case) -> int:
    with closing(sqlite3.connect(f"{case.database.as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("select count(*) from fact").fetchone()[0])


def one_stop(case: Case, rng: random.Random, seconds: float, told: Stopped) -> str:
    """Stop an owner, take its run over, wake it up; return what is wrong."""
    owner = fork(case, 1)
    if has_ended(owner, rng.uniform(0.0, seconds)):
        told.early += os.waitpid(owner, 0)[1] == 0
        return ""
    os.kill(owner, signal.SIGSTOP)
    if "began" not in case.text():
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        told.early += 1
        return ""
    try:
        problem, is_taken = take_over(case, told)
        # An owner that was stopped while it opened the file keeps everybody from looking into it.
        lines, facts = case.text(), facts_in(case) if is_taken else 0
    finally:
        os.kill(owner, signal.SIGCONT)
        status = ended(owner)
    if problem or not is_taken:
        return problem
    said = error_of(case) if status else ""
    told.told_so += "OwnershipLost" in said
    told.had_ended += not status
    if status and "OwnershipLost" not in said:
        return f"the late owner ended with {status}: {said}"
    if facts_in(case) != facts:
        return f"the late owner added {facts_in(case) - facts} facts"
    late = {line.removeprefix("told ") for line in case.text()[len(lines) :].splitlines() if line.startswith("told ")}
    if late := late - kept_when_taken(lines):
        return f"the late owner told {sorted(late)}, which it had not kept when the run was taken"
    return case.problem(lines)


def kept_when_taken(lines: str) -> set[str]:
    """What the one who takes over finds; and nodes that are made of others, which have nothing to keep."""
    found = next(line for line in reversed(lines.splitlines()) if line.startswith("found"))
    told = {line.removeprefix("told ") for line in lines.splitlines() if line.startswith("told ")}
    return {*found.split(" ")[1:], *filter(is_made_of_others, told)}


def take_over(case: Case, told: Stopped) -> tuple[str, bool]:
    """Take the run from its owner, after one who only asks was refused; say what is wrong, and whether it was taken."""
    status = ended(fork(case, 2))
    if status and "RunOwned" not in error_of(case) and "is locked" not in error_of(case):
        return f"whoever only asked ended with {status}: {error_of(case)}", False
    status = ended(fork(Case(case.name, case.folder, take_over=True), 3))
    if status and "is locked" in error_of(case):
        told.writing += 1
        return "", False
    if status:
        return f"whoever took over ended with {status}: {error_of(case)}", False
    told.stops += 1
    return "", True


def stop(name: str, count: int, seed: int) -> dict[str, Any]:
    """Stop owners until *count* runs have been taken over."""
    rng, told = random.Random(seed), Stopped(name, seed)
    with tempfile.TemporaryDirectory(prefix="crash-lab-", dir=quick_folder()) as folder:
        seconds = rehearse(Case(name, Path(folder)))
        for _ in range(20 * count):
            if told.stops >= count:
                break
            with tempfile.TemporaryDirectory(dir=folder) as own:
                case = Case(name, Path(own))
                if problem := one_stop(case, rng, seconds, told):
                    told.problems.append(f"{problem}\n{case.text()}")
    told.problems = told.problems[:3]
    return asdict(told)
