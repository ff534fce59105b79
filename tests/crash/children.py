"""
A fork server: what a subject needs is imported once, and each process that is to be killed is a fork of this one.

This process never runs a subject itself: it has no loop, no thread and no open store.
"""

import contextlib
import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.crash.subjects import Case

# Seconds after which a process that ought to end is given up.
PATIENCE = 120.0


def fork(case: Case, process: int, before: Callable[[], object] = bool) -> int:
    """Start a process that brings the run to its end; an error is written beside the log."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        before()
        case.go(process)
        code = 0
    except BaseException:
        (case.folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def has_ended(child: int, within: float) -> bool:
    """Wait for a child, but no longer than some seconds."""
    handle = os.pidfd_open(child)
    try:
        return bool(select.select([handle], [], [], within)[0])
    finally:
        os.close(handle)


def killed(child: int, after: float) -> bool:
    """Kill a child after some seconds, unless it has ended; tell whether it is the kill that ended it."""
    if not has_ended(child, after):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


class NoEnd(Exception):
    """A process that nobody killed did not bring the run to its end."""


def finish(case: Case, process: int) -> None:
    """Bring the run to its end in a process that nobody kills."""
    child = fork(case, process)
    if not has_ended(child, PATIENCE):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status:
        raise NoEnd(f"ended with {status}: {error_of(case)}")


def problem_at_end(case: Case, process: int) -> str:
    """Bring the run to its end in a process that nobody kills, and say what is wrong with it; empty if nothing is."""
    try:
        finish(case, process)
    except NoEnd as error:
        return str(error)
    return case.problem()


def error_of(case: Case) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (case.folder / "error.txt").read_text()
    return "without a word; it hung"


def rehearse(case: Case) -> float:
    """Run it once to the end and import here all that it imported; return how many seconds a run takes after that."""
    took = 0.0
    for number in range(3):
        folder = case.folder / f"rehearsal{number}"
        folder.mkdir()
        trial = Case(case.name, folder)
        names = folder / "modules.txt"
        start = time.perf_counter()
        child = fork(trial, 1, before=lambda names=names: at_end(names))  # type: ignore[misc]
        _, status = os.waitpid(child, 0)
        took = time.perf_counter() - start
        if status or trial.problem():
            raise NoEnd(
                f"{case.name} does not even work undisturbed: {trial.problem() if not status else error_of(trial)}"
            )
        import_all(names.read_text().split())
    return took


def at_end(names: Path) -> None:
    """Have a forked process tell what it has imported, when its subject has ended."""
    leave = os._exit

    def tell_and_leave(code: int) -> None:
        names.write_text("\n".join(sys.modules))
        leave(code)

    os._exit = tell_and_leave  # type: ignore[assignment]


def import_all(names: list[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def quick_folder() -> str | None:
    """A folder in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
