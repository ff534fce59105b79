"""
`antichain gc`: old runs are removed from a store.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from antichain.cli.endings import SUCCEEDED, emit
from antichain.cli.looking import VERSION, width
from antichain.cli.places import Place
from antichain.cli.storing import opened
from antichain.errors import RunOwned, UnknownRun
from antichain.loading import UsageError
from antichain.stores.protocol import RunLine
from antichain.views.stored import runs_text, size_text

__all__ = ["Request", "chosen", "gc", "seconds_of"]

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
AGE: Final = re.compile(r"([0-9]{1,6})([smhdw])")
# Which runs nobody will go on with.
FINISHED: Final = frozenset({"succeeded", "partial", "failed"})
# What holds if nothing is said.
USUAL_AGE: Final = "30d"


@dataclass(frozen=True, slots=True)
class Request:
    """
    What `antichain gc` was asked for, as typed.
    """

    place: Place
    keep: int | None = None
    older_than: str | None = None
    unfinished: bool = False
    dry_run: bool = False
    as_json: bool = False


@dataclass(slots=True)
class _Removed:
    lines: list[RunLine] = field(default_factory=list)
    # Runs that somebody has taken up meanwhile.
    kept: int = 0

    @property
    def size_bytes(self) -> int:
        return sum(line.size_bytes for line in self.lines)


def gc(request: Request) -> int:
    """
    Remove runs, and say which.

    Raises:
        UsageError: it is not clear which are meant.
    """
    with opened(request.place) as store:
        lines = store.runs()
        removed = _Removed()
        for line in chosen(request, lines, time.time()):
            try:
                if not request.dry_run:
                    store.remove(line.run_id)
            except (RunOwned, UnknownRun):
                removed.kept += 1
            else:
                removed.lines.append(line)
    ids = [line.run_id for line in removed.lines]
    left = len(lines) - len(ids)
    if request.as_json:
        told = {"removed": ids, "dry_run": request.dry_run, "size_bytes": removed.size_bytes, "left": left}
        emit(json.dumps({"version": VERSION, "store": request.place.spec, **told}, indent=2))
        return SUCCEEDED
    if ids and request.dry_run:
        emit(runs_text(removed.lines, time.time(), width()) + "\n")
    done = "would be removed" if request.dry_run else "removed"
    busy = f"; {removed.kept} in use" if removed.kept else ""
    emit(f"{_runs(len(ids))} {done} ({size_text(removed.size_bytes)}), {_runs(left)} left{busy}.")
    return SUCCEEDED


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count != 1)}"


def chosen(request: Request, lines: Sequence[RunLine], now: float) -> list[RunLine]:
    """
    Choose the runs to remove: those that are over, are old enough, and are not among the newest that are kept.

    A run that goes on is never removed; one that could be resumed only if that is said.
    """
    if request.keep is not None and request.keep < 0:
        raise UsageError(f"--keep {request.keep} is below zero: it is the number of runs that stay.")
    age = request.older_than if request.older_than is not None or request.keep is not None else USUAL_AGE
    before = now - seconds_of(age) if age is not None else float("inf")
    may_go = FINISHED | {"interrupted", "paused", "cancelled"} if request.unfinished else FINISHED
    # Ids order what has the same time, so that the choice does not depend on the store.
    over = sorted(
        (line for line in lines if line.status in may_go),
        key=lambda line: (line.updated_at, line.run_id),
        reverse=True,
    )
    return [line for line in over[request.keep or 0 :] if line.updated_at < before]


def seconds_of(text: str) -> float:
    """
    Read an age: a number with s, m, h, d or w.
    """
    match = AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--older-than {text[:80]!r} is no age: write a number with s, m, h, d or w, such as 30d or 12h."
        )
    return int(match[1]) * UNITS[match[2]]
