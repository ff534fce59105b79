"""
A kill at every system call that writes or syncs: the process dies on entering the k-th one, for every k. Or that call
fails, as on a disk that is full or broken.

strace counts the calls of each thread by itself, and the first thread to make its k-th call is killed. To reach the
calls of all of them, each file and kind of call is taken by itself, and the run is traced from its beginning, from its
first node, and from its last. Which point was hit is told by its number among the calls of that kind.
"""

import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.children import error_of, problem_at_end, rehearse
from tests.crash.disk import Call, calls_of, file_of, text_of
from tests.crash.subjects import MAKER, Case
from tests.crash.traced import CALLS, run_traced

TELL_FILES = ("-y", "-xx", "-e", f"trace={','.join(CALLS)}")


@dataclass
class Points:
    """What the crash points have shown."""

    case: str
    # Calls of a whole run on the store's files.
    calls: int = 0
    # Runs that were killed at a call, also at one on the log; how many different calls on the store's files those were.
    crashes: int = 0
    points: int = 0
    # Runs whose call failed: how many raised what, and how many came to their end all the same.
    raised: dict[str, int] = field(default_factory=dict)
    unmoved: int = 0
    lost: int = 0
    begun_again: int = 0
    problems: list[str] = field(default_factory=list)


# A file and a kind of call on it.
Kind = tuple[Path, str]


def kinds_around(since: str, calls: list[Call]) -> tuple[Counter[Kind], Counter[Kind]]:
    """The calls of a trace, counted by kind: those before a line of the log, and those from then on."""
    counts: tuple[Counter[Kind], Counter[Kind]] = Counter(), Counter()
    has_come = False
    for call in calls:
        has_come = has_come or (call.name == "write" and text_of(call).startswith(since))
        # The process that makes the store has its number in the name: it is another one next time.
        path = re.sub(r"\.\d+\.new", f".{MAKER}.new", file_of(call))
        counts[has_come][Path(path), call.name] += 1
    return counts


def plans_for(calls: list[Call], sinces: tuple[str, ...]) -> list[tuple[str, Kind, int, int]]:
    """From which line a run is traced, and what then kills it: the k-th call of a kind; and how many came before."""
    plans = []
    for since in sinces:
        before, kinds = kinds_around(since, calls)
        plans += [(since, kind, which, before[kind]) for kind in kinds for which in range(1, kinds[kind] + 1)]
    return plans


def crash_everywhere(name: str, most: int, error: str = "") -> dict[str, Any]:
    """
    Crash a case at its calls, at most about *most* times, and bring each run to its end afterwards. With an *error*,
    nobody is killed: "EIO" fails the call, "ENOSPC" also all of its kind after it.
    """
    told, points = Points(name), set()
    with tempfile.TemporaryDirectory(prefix="crash-lab-") as folder:
        rehearse(Case(name, Path(folder)))
        # Each run has the same folder's name, and so the same files.
        own, log = Path(folder) / "run", Path(folder) / "strace.log"
        case = Case(name, own)
        own.mkdir()
        assert run_traced(case, log, TELL_FILES, case.files()) == 0
        calls = list(calls_of(log.read_text().splitlines(), 0))
        told.calls = sum(call.name != "write" for call in calls)
        plans = plans_for(calls, ("process", "began", f"told {case.last}"))
        if error:
            plans = [plan for plan in plans if plan[1][1] != "write"]
        for since, kind, which, before in plans[:: max(1, len(plans) // most)]:
            shutil.rmtree(own)
            own.mkdir()
            if error:
                fail_at(case, kind, f"error={error}:when={which}{'+' * (error == 'ENOSPC')}", log, told, since)
            elif crash_at(case, kind, which, log, told, since):
                points.add((kind, before + len(list(calls_of(log.read_text().splitlines(), 0)))))
    told.points = sum(call != "write" for (_, call), _ in points)
    told.problems = told.problems[:3]
    return asdict(told)


def crash_at(case: Case, kind: Kind, which: int, log: Path, told: Points, since: str) -> bool:
    """Kill a run at a thread's k-th call of a kind, and judge; False if the run ended before that came."""
    file, call = kind
    options = ["-y", "-xx", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={which}"]
    status = run_traced(case, log, options, [file], since=since)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return False
    assert os.WIFSIGNALED(status), f"ended with {status}: {case.text()}"
    assert os.WTERMSIG(status) == signal.SIGKILL, f"ended with {status}: {case.text()}"
    told.crashes += 1
    resume(case, told, f"killed at {call} {which} of {file.name} since {since!r}")
    return True


def fail_at(case: Case, kind: Kind, fault: str, log: Path, told: Points, since: str) -> None:
    """Let calls of a kind fail, and judge."""
    file, call = kind
    options = ["-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    status = run_traced(case, log, options, [file], since=since)
    assert os.WIFEXITED(status), f"ended with {status}: {case.text()}"
    if status:
        # The notes of an error come after it.
        found = re.findall(r"^(?:\w+\.)*(\w+): ", error_of(case), re.MULTILINE)
        name = found[-1] if found else "nothing"
        told.raised[name] = told.raised.get(name, 0) + 1
    else:
        told.unmoved += 1
    resume(
        case, told, f"{call} of {file.name} with {fault} since {since!r}: {error_of(case) if status else 'no error'}"
    )


def resume(case: Case, told: Points, what: str) -> None:
    """Bring the run to its end in another process, and judge."""
    process = case.judge().processes + 1
    problem = problem_at_end(case, process)
    verdict = case.judge()
    told.lost += len(verdict.lost)
    told.begun_again += len(verdict.begun_again)
    if problem:
        told.problems.append(f"{what}: {problem}\n{case.text()}")
