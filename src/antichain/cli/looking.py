"""
`antichain runs`, `show` and `why`: what a store knows, told. Nothing here changes it.
"""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Final

from antichain.cli.endings import SUCCEEDED, complain, emit
from antichain.cli.places import Place
from antichain.cli.storing import answer_line, find, opened, question_data, read, resume_line
from antichain.errors import StoreError, suggestion
from antichain.loading import UsageError
from antichain.printable import printable
from antichain.stores.protocol import RunLine, Store
from antichain.stores.record import StoredRun, stored_run
from antichain.views.stored import runs_text, spent_text, stored_text, why_text
from antichain.views.waiting import standing_data

__all__ = ["Request", "runs", "show", "why"]

VERSION: Final = 1
# Statuses of runs that a resume has nothing to do for.
FINISHED: Final = frozenset({"succeeded"})
# Commands that are named.
SHOWN_COMMANDS: Final = 5
WIDEST: Final = 160
# Paused runs that a list looks into, and the most bytes of one.
READ_RUNS: Final = 10
READ_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """
    What a command that only looks was asked for, as typed.
    """

    place: Place
    run: str = ""
    node: str = ""
    graph: str | None = None
    as_json: bool = False


def width() -> int:
    """
    Return how many columns there are to write in.
    """
    return max(60, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))


# -- runs


def runs(request: Request) -> int:
    """
    List the runs of a store, the newest first.
    """
    with opened(request.place) as store:
        lines = store.runs(request.graph)
        paused = {} if request.as_json else dict(_paused(store, lines))
    if request.as_json:
        found = [{each.name: getattr(line, each.name) for each in fields(line)} for line in lines]
        emit(json.dumps({"version": VERSION, "store": request.place.spec, "runs": found}, indent=2))
        return SUCCEEDED
    if not lines:
        whose = f" of a graph {request.graph!r}" if request.graph is not None else ""
        return complain(f"no run{whose} is in {request.place}.", None, SUCCEEDED, False)
    waits = {name: "budget" if run.spent is not None else "question" for name, run in paused.items()}
    emit(runs_text(lines, time.time(), width(), waits))
    unfinished = next((line for line in lines if line.status not in {*FINISHED, "running"}), None)
    if unfinished is not None and sys.stdout.isatty():
        spent = paused[unfinished.run_id].spent if unfinished.run_id in paused else None
        why = "" if spent is None else f" ({spent_text(spent)})"
        emit(f"\nto go on{why}: {resume_line(request.place, unfinished, (), spent)}")
    return SUCCEEDED


def _paused(store: Store, lines: Sequence[RunLine]) -> Iterator[tuple[str, StoredRun]]:
    """
    Read the first of the runs that have paused, to tell what they wait for; large ones only say that they have.
    """
    small = (line for line in lines if line.status == "paused" and line.size_bytes <= READ_BYTES)
    for line in islice(small, READ_RUNS):
        # One that has gone meanwhile, or is damaged, is listed all the same.
        with contextlib.suppress(StoreError):
            run = read(store, line.run_id)
            if run.spent is not None or run.questions:
                yield line.run_id, run


# -- one run


def show(request: Request) -> int:
    """
    Show one run.
    """
    with opened(request.place) as store:
        line = find(store, request.run)
        run = read(store, line.run_id)
    if request.as_json:
        emit(json.dumps(_run_data(run, line), indent=2))
        return SUCCEEDED
    commands = list(_commands(request.place, run, line))
    emit(stored_text(run, time.time(), width(), commands))
    return SUCCEEDED


def _commands(place: Place, run: StoredRun, line: RunLine) -> Iterator[str]:
    """
    Name what to do next, as lines that may be pasted.
    """
    if run.is_owned or run.status in FINISHED:
        return
    for question in run.questions[:SHOWN_COMMANDS]:
        yield answer_line(place, line.run_id, question)
    yield resume_line(place, line, (), run.spent)


def _run_data(run: StoredRun, line: RunLine) -> dict[str, Any]:  # Any: JSON
    data = run.record.to_dict()
    for name, node in run.record.nodes.items():
        if node.error is not None:
            data["nodes"][name]["error"] = _error_data(node.error, data["nodes"][name]["error"])
        data["nodes"][name]["until"] = run.until.get(name)
        data["nodes"][name]["in_doubt"] = name in run.in_doubt
    return {
        **data,
        "status": run.status,
        "target": run.target,
        "updated_at": run.updated_at,
        "size_bytes": line.size_bytes,
        "questions": [question_data(each) for each in run.questions],
        "spent": None if run.spent is None else run.spent._asdict(),
        "standing": standing_data(run.standing),
    }


def _error_data(error: BaseException, told: dict[str, str]) -> dict[str, str]:
    # What was raised then, not what stands for it now.
    return {
        "type": str(getattr(error, "type_name", told["type"])),
        "message": str(getattr(error, "message", told["message"])),
    }


# -- one node


def why(request: Request) -> int:
    """
    Say how one node of a run stands, and why.
    """
    with opened(request.place) as store:
        line = find(store, request.run)
        # Whether an output is kept is seen by looking at it.
        run = stored_run(store.read(line.run_id))
    node = run.record.nodes.get(request.node)
    if node is None:
        known = "" if run.record.nodes else " Nothing is stored of its nodes."
        hint = suggestion(request.node, run.record.nodes)
        raise UsageError(f"run {line.run_id!r} has no node {printable(request.node)!r}.{hint}{known}")
    text = why_text(run, node, time.time())
    if request.as_json:
        data = _run_data(run, line)
        waits = run.waits_for(node)
        told = {
            "run_id": line.run_id,
            "status": run.status,
            "node": data["nodes"][node.id],
            "waits_for": waits,
            "text": text,
        }
        emit(json.dumps({"version": VERSION, **told}, indent=2))
        return SUCCEEDED
    emit(text)
    question = run.question_before(node)
    if question is not None:
        emit(answer_line(request.place, line.run_id, question))
    elif node.state not in ("succeeded", "skipped") and not run.is_owned:
        emit(resume_line(request.place, line, (), run.spent))
    return SUCCEEDED
