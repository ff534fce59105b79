"""
`kill -9` at random instants: a run is killed, resumed, killed again, and brought to its end; then the log is judged.

The instants come from a seed; where in the run they fall is up to the machine.
"""

import random
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.children import fork, killed, problem_at_end, quick_folder, rehearse
from tests.crash.subjects import Case

# A run is killed this often at most before it may end.
KILLS = 4


@dataclass
class Killed:
    """What a series of kills has shown."""

    case: str
    seed: int
    # Kills that ended a process which had begun or told something.
    kills: int = 0
    runs: int = 0
    # Kills that came before the process had done anything, and processes that ended before their kill.
    early: int = 0
    late: int = 0
    # Kills after which something acknowledged was lost or begun again; more than one node may be.
    faults: int = 0
    lost: int = 0
    begun_again: int = 0
    # See Verdict.
    retold: int = 0
    acknowledged: int = 0
    run_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def one_run(case: Case, rng: random.Random, seconds: float, killed_so_far: Killed) -> None:
    """Kill one run up to four times, then let it end, and judge."""
    process, told = 1, killed_so_far
    for _ in range(rng.randint(1, KILLS)):
        if not killed(fork(case, process), rng.uniform(0.0, seconds)):
            told.late += 1
            break
        work = case.judge().work
        if len(work) == process and work[-1]:
            told.kills += 1
        else:
            told.early += 1
        # A process that was killed before its first line leaves none behind.
        process = len(work) + 1
    told.runs += 1
    problem = problem_at_end(case, process)
    verdict = case.judge()
    told.faults += not verdict.is_clean
    told.lost += len(verdict.lost)
    told.begun_again += len(verdict.begun_again)
    told.retold += len(verdict.retold)
    told.acknowledged += len(verdict.acknowledged)
    if problem:
        told.problems.append(f"run {told.runs}: {problem}\n{case.text()}")


def kill(name: str, count: int, seed: int, *, until_caught: bool = False, quick: bool = False) -> dict[str, Any]:
    """
    Kill runs of a case until *count* kills have hit one at work, or until a first fault is seen; *quick*: where a sync
    takes no time.
    """
    rng = random.Random(seed)
    told = Killed(name, seed)
    with tempfile.TemporaryDirectory(prefix="crash-lab-", dir=quick_folder() if quick else None) as folder:
        told.run_seconds = rehearse(Case(name, Path(folder)))
        while told.kills < count and told.runs < 20 * count and not (until_caught and told.faults):
            with tempfile.TemporaryDirectory(dir=folder) as own:
                one_run(Case(name, Path(own)), rng, told.run_seconds, told)
    told.problems = told.problems[:3]
    return asdict(told)
