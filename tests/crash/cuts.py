"""
Power cuts: a run is traced, some of them through a kill and a resume, and the disk is looked at as it may be at random
instants: what was acknowledged until then has to be in the store, with its value, and the file has to be whole.
"""

import json
import os
import random
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from antichain.errors import StoreError
from tests.crash.children import NoEnd, problem_at_end, quick_folder, rehearse
from tests.crash.disk import Disk
from tests.crash.graph import is_made_of_others
from tests.crash.subjects import Case, damage, ended_in
from tests.crash.traced import CALLS, run_traced

# Cuts of one trace, and of so many cuts one is also resumed to the run's end.
CUTS_OF_ONE = 250
RESUMED = 25

NAMING = "openat,unlink,unlinkat,link,linkat,rename,renameat,renameat2"
TELL_ALL = ("-y", "-xx", "-s", "16777216", "-e", f"trace={','.join(CALLS)},pwritev,{NAMING}")


@dataclass
class Cut:
    """What power cuts have shown."""

    case: str
    seed: int
    cuts: int = 0
    # Runs that were traced, and those of them that were killed on the way and resumed.
    traces: int = 0
    killed: int = 0
    # Cuts after which something was acknowledged; cuts that lost some of that, and how many nodes; files that SQLite
    # finds damaged; stores that are refused.
    with_acknowledged: int = 0
    losing: int = 0
    lost: int = 0
    damaged: int = 0
    refused: int = 0
    # Cuts after which the run was resumed to its end, and what was wrong then.
    resumed: int = 0
    problems: list[str] = field(default_factory=list)


def trace(case: Case, rng: random.Random, kill: bool) -> Disk:
    """Run a case under strace to its end, perhaps with a kill and a resume on the way."""
    disk, log = Disk(case.folder), case.folder.parent / f"{case.folder.name}.strace"
    if kill:
        when = rng.randint(5, 25)
        options = (*TELL_ALL, "-e", f"inject=fdatasync,fsync:signal=SIGKILL:when={when}")
        run_traced(case, log, options, case.files())
        disk.play(log)
    process = case.judge().processes + 1
    status = run_traced(case, log, TELL_ALL, case.files(), process)
    if status or case.problem():
        raise NoEnd(f"{case.name}: the traced run ended with {status}: {case.problem()}")
    disk.play(log)
    assert not disk.unread, f"calls that the model does not know: {set(disk.unread)}"
    return disk


def put(disk: Disk, instant: int, rng: random.Random, case: Case) -> None:
    """Make a folder what the disk may hold at an instant."""
    for name, data in disk.at(instant, rng).items():
        (case.folder / name).write_bytes(data)
    case.log.write_text(disk.said(instant))


def look(case: Case, outputs: dict[str, bytes | None]) -> dict[str, Any]:
    """Compare what was acknowledged with what the store says."""
    acknowledged = case.judge().acknowledged
    wrong = damage(case.database) if case.database.exists() else ""
    ended: dict[str, bytes | None] = {}
    refused = ""
    try:
        ended = ended_in(case.store()) or {}
    except StoreError as error:
        refused = str(error)
    missing = [node for node in acknowledged if node not in ended or ended[node] != outputs[node]]
    lost = sorted(node for node in missing if not is_made_of_others(node))
    return {"acknowledged": len(acknowledged), "lost": lost, "damage": wrong, "refused": refused}


def look_in_child(disk: Disk, name: str, instants: list[int], seed: int, outputs: dict[str, bytes | None]) -> Any:
    """Do the cuts in a forked process, which may open stores."""
    with tempfile.NamedTemporaryFile("r+") as told:
        child = os.fork()
        if not child:
            code = 1
            try:
                rng, seen = random.Random(seed), []
                for instant in instants:
                    with tempfile.TemporaryDirectory(dir=quick_folder()) as own:
                        case = Case(name, Path(own))
                        put(disk, instant, rng, case)
                        seen.append(look(case, outputs))
                told.write(json.dumps(seen))
                told.flush()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the process that looks at the cuts ended with {status}"
        told.seek(0)
        return json.loads(told.read())


def cut(name: str, count: int, seed: int) -> dict[str, Any]:
    """Cut the power *count* times."""
    rng, told = random.Random(seed), Cut(name, seed)
    with tempfile.TemporaryDirectory(prefix="crash-lab-") as folder:
        rehearse(Case(name, Path(folder)))
        while told.cuts < count:
            own = Path(folder) / f"trace{told.traces}"
            own.mkdir()
            kill = told.traces % 2 == 1
            disk = trace(Case(name, own), rng, kill)
            told.traces += 1
            told.killed += kill
            instants = [rng.randrange(disk.lines) for _ in range(min(CUTS_OF_ONE, count - told.cuts))]
            told.cuts += len(instants)
            outputs = outputs_in_child(name, own)
            for instant, seen in zip(
                instants, look_in_child(disk, name, instants, rng.getrandbits(32), outputs), strict=True
            ):
                add(told, instant, seen)
            for instant in instants[::RESUMED]:
                resume(told, disk, instant, rng)
    told.problems = told.problems[:3]
    return asdict(told)


def outputs_in_child(name: str, folder: Path) -> dict[str, bytes | None]:
    """What the whole run's store says of each node."""
    file = folder / "outputs.json"
    child = os.fork()
    if not child:
        code = 1
        try:
            ended = ended_in(Case(name, folder).store()) or {}
            file.write_text(json.dumps({node: None if data is None else data.hex() for node, data in ended.items()}))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process that reads the whole run ended with {status}"
    return {node: None if data is None else bytes.fromhex(data) for node, data in json.loads(file.read_text()).items()}


def add(told: Cut, instant: int, seen: dict[str, Any]) -> None:
    told.with_acknowledged += bool(seen["acknowledged"])
    told.losing += bool(seen["lost"])
    told.lost += len(seen["lost"])
    told.damaged += bool(seen["damage"])
    told.refused += bool(seen["refused"])
    if seen["lost"] or seen["damage"] or seen["refused"]:
        told.problems.append(f"trace {told.traces}, cut at line {instant}: {seen}")


def resume(told: Cut, disk: Disk, instant: int, rng: random.Random) -> None:
    """Bring the run to its end on what the cut has left."""
    with tempfile.TemporaryDirectory(dir=quick_folder()) as own:
        case = Case(told.case, Path(own))
        put(disk, instant, rng, case)
        problem = problem_at_end(case, case.judge().processes + 1)
        told.resumed += 1
        if problem:
            told.problems.append(f"trace {told.traces}, resumed after a cut at line {instant}: {problem}")
