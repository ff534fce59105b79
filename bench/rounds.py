"""
Interleaved rounds: each subject in a fresh process, A B C, A B C, ...; a ratio is the median of the rounds' ratios.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """
    A subject failed or ran out of time.
    """


@dataclass(frozen=True)
class Case:
    """
    One subject on one workload: what one process measures.
    """

    subject: str
    variant: str
    workload: str
    count: int
    runs: int = 3

    def command(self) -> list[str]:
        return [
            "-m", "bench.measure", self.subject, self.variant, self.workload, str(self.count), "--runs", str(self.runs)
        ]  # fmt: skip


def environment() -> dict[str, str]:
    """
    This process's, but byte code is written: an import is timed as users see it.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_python(arguments: Sequence[str], timeout: float = 600) -> dict[str, Any]:
    """
    Run this interpreter with *arguments* and return the JSON object of its last line.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=out, stderr=err, cwd=ROOT, env=environment(), start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = -1
        finally:  # the session that this call started, helpers included
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        if code == 0:
            parsed: dict[str, Any] = json.loads(out.read().splitlines()[-1])
            return parsed
        why = f"no end after {timeout:.0f} s" if code == -1 else f"exit code {code}"
        raise BenchError(f"{' '.join(arguments)}: {why}\n{err.read()[-2000:]}")


@dataclass
class Samples:
    """
    What each case gave, round by round.
    """

    rounds: dict[Case, list[dict[str, Any]]]

    def per_round(self, case: Case, quantity: str) -> list[float]:
        """
        The median of a process's runs, for each round.
        """
        return [value_of(sample[quantity]) for sample in self.rounds[case]]

    def median(self, case: Case, quantity: str) -> float:
        return statistics.median(self.per_round(case, quantity))

    def ratios(self, case: Case, reference: Case, quantity: str) -> list[float]:
        pairs = zip(self.per_round(case, quantity), self.per_round(reference, quantity), strict=True)
        return [mine / theirs for mine, theirs in pairs]

    def ratio(self, case: Case, reference: Case, quantity: str) -> float:
        return statistics.median(self.ratios(case, reference, quantity))

    def versus(self, mine: Case, theirs: Case, quantity: str) -> str:
        return f"{self.micros_per_node(mine, quantity):.2f} / {self.micros_per_node(theirs, quantity):.2f} us a node"

    def micros_per_node(self, case: Case, quantity: str) -> float:
        return self.median(case, quantity) / float(self.rounds[case][0]["nodes"]) * 1e6

    def all_runs(self, case: Case, quantity: str) -> list[Any]:
        out: list[Any] = []
        for sample in self.rounds[case]:
            value = sample[quantity]
            out += value if isinstance(value, list) else [value]
        return out


def value_of(measured: float | list[float]) -> float:
    return float(statistics.median(measured) if isinstance(measured, list) else measured)


def interleave(cases: Sequence[Case], rounds: int, say: Callable[[str], None]) -> Samples:
    samples: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for case, measured in samples.items():
            measured.append(run_python(case.command()))
    return Samples(samples)
