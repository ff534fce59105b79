"""
A subject under strace: its system calls on the store's files and on the log are told, or one of them is its last.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.crash.children import fork
from tests.crash.subjects import MAKER, Case
from tests.crash.witness import Witness

# What changes a file or makes a change durable.
CALLS = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate")

PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, -1


def may_be_traced() -> None:
    """Some systems let only a process's own ancestors trace it, unless it says otherwise."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_long(PR_SET_PTRACER_ANY), 0, 0, 0)


def run_traced(
    case: Case, log: Path, options: Iterable[str], paths: Iterable[Path], process: int = 1, since: str = "process"
) -> int:
    """
    Run a case in a fork that strace has got hold of; return how it ended, as waitpid tells it.

    It is traced from the first line on that begins with *since*, before it is written to the log.
    """
    gate, key = os.pipe()

    ready, here = os.pipe()

    def wait() -> None:
        os.write(here, b"!")
        os.read(gate, 1)

    def begin() -> None:
        may_be_traced()
        os.close(key)
        Witness.gate = since, wait

    child = fork(case, process, before=begin)
    os.close(gate)
    os.close(here)
    os.read(ready, 1)
    os.close(ready)
    filters = [word for path in paths for word in ("-P", str(path).replace(MAKER, str(child)))]
    command = ["strace", "-f", "-p", str(child), "-o", str(log), *options, *filters]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = []
        # It warns of paths that do not exist yet.
        for line in strace.stderr:
            said.append(line)
            if "attached" in line:
                break
        os.write(key, b"!")
        os.close(key)
        _, status = os.waitpid(child, 0)
        said += strace.stderr
    if not any("attached" in line for line in said):
        raise OSError(f"strace could not attach: {' '.join(said)}")
    return status


@cache
def why_not() -> str:
    """Why this machine cannot trace; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    trial = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
    return f"strace cannot trace: {trial.stderr.strip()[-200:]}" if trial.returncode else ""
