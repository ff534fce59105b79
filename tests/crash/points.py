"""
A kill at every system call that writes or syncs: the process dies on entering the k-th one, for every k.

strace counts the calls of each thread by itself, so each file and kind of call is taken by itself, and which point was
hit is read from the trace: its number among the calls of that kind.
"""

import os
import shutil
import signal
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.children import NoEnd, finish, rehearse
from tests.crash.disk import calls_of, file_of
from tests.crash.subjects import Case
from tests.crash.traced import CALLS, run_traced

TELL_FILES = ("-y", "-xx", "-e", f"trace={','.join(CALLS)}")


@dataclass
class Points:
    """What the crash points have shown."""

    case: str
    # Calls of a whole run on the store's files and the log.
    calls: int = 0
    # Runs that were killed at a call, and how many different calls those were, by their number in the run.
    crashes: int = 0
    points: int = 0
    lost: int = 0
    begun_again: int = 0
    problems: list[str] = field(default_factory=list)


# A file and a kind of call on it.
Kind = tuple[Path, str]


def kinds_in(log: Path) -> Counter[Kind]:
    """The calls of a trace, counted by kind."""
    calls = calls_of(log.read_text().splitlines(), 0)
    return Counter((Path(file_of(call)), call.name) for call in calls)


def crash_everywhere(name: str, most: int) -> dict[str, Any]:
    """Crash a case at its calls, at most about *most* times, and bring each run to its end afterwards."""
    told, points = Points(name), set()
    with tempfile.TemporaryDirectory(prefix="crash-lab-") as folder:
        rehearse(Case(name, Path(folder)))
        # Each run has the same folder's name, and so the same files.
        own, log = Path(folder) / "run", Path(folder) / "strace.log"
        case = Case(name, own)
        own.mkdir()
        assert run_traced(case, log, TELL_FILES, case.files()) == 0
        kinds = kinds_in(log)
        told.calls = kinds.total()
        for kind, times in kinds.items():
            for which in range(1, times + 1, max(1, told.calls // most)):
                shutil.rmtree(own)
                own.mkdir()
                if not crash_at(case, kind, which, log, told):
                    break
                points.add((kind, sum(kinds_in(log).values())))
    told.points = len(points)
    told.problems = told.problems[:3]
    return asdict(told)


def crash_at(case: Case, kind: Kind, which: int, log: Path, told: Points) -> bool:
    """Kill a run at a thread's k-th call of a kind, and judge; False if the run ended before that came."""
    file, call = kind
    options = ["-y", "-xx", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={which}"]
    status = run_traced(case, log, options, [file])
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return False
    assert os.WIFSIGNALED(status), f"ended with {status}: {case.text()}"
    assert os.WTERMSIG(status) == signal.SIGKILL, f"ended with {status}: {case.text()}"
    told.crashes += 1
    process = case.judge().processes + 1
    try:
        finish(case, process)
        problem = case.problem()
    except NoEnd as error:
        problem = str(error)
    verdict = case.judge()
    told.lost += len(verdict.lost)
    told.begun_again += len(verdict.begun_again)
    if problem:
        told.problems.append(f"killed at {call} {which} of {file.name}: {problem}\n{case.text()}")
    return True
