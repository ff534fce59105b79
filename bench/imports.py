"""
CPU time of statements in interpreters of their own: `import antichain`, and `antichain --help`.

As a program it measures one statement and prints JSON.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

from bench.report import Line
from bench.rounds import run_python

BASE = "import asyncio, concurrent.futures, sqlite3, dataclasses"
IMPORT = "import antichain"
EVERYTHING = "from antichain import *"  # what `import antichain` leaves for first use too
NOTHING = "pass"
TYPER = "import typer"
HELP = "from antichain.cli import main; main(['--help'])"


def import_lines(rounds: int, say: Callable[[str], None]) -> list[Line]:
    """
    Compare what is imported, in interleaved rounds, with what could not be less.
    """
    say(f"{rounds} rounds of six processes")
    run_python(["-m", "bench.imports", EVERYTHING])  # writes byte code
    run_python(["-m", "bench.imports", HELP])
    samples: dict[str, list[float]] = {each: [] for each in (BASE, IMPORT, EVERYTHING, NOTHING, TYPER, HELP)}
    for _ in range(rounds):
        for statement, times in samples.items():
            times.append(run_python(["-m", "bench.imports", statement])["cpu_s"])
    lines = []
    for statement, most in ((IMPORT, 1.5), (EVERYTHING, None)):
        ratio = statistics.median(mine / base for mine, base in zip(samples[statement], samples[BASE], strict=True))
        what = f"{statement} / asyncio, concurrent.futures, sqlite3, dataclasses"
        lines.append(Line(what, ratio, "x", most, aim=1.5, note=_milliseconds(samples[statement], samples[BASE])))
    own = zip(samples[HELP], samples[TYPER], samples[NOTHING], strict=True)
    ratio = statistics.median((shown - typer + nothing) / nothing for shown, typer, nothing in own)
    note = _milliseconds(samples[HELP], samples[TYPER], samples[NOTHING])
    lines.append(Line("antichain --help, less typer's own import / python -c pass", ratio, "x", 3.0, note=note))
    return lines


def _milliseconds(*samples: Sequence[float]) -> str:
    return " / ".join(f"{statistics.median(times) * 1e3:.0f}" for times in samples) + " ms"


def main() -> None:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
