"""
`python -m bench [SUITE ...] [--gate] [--rounds N] [--json FILE]`: print figures beside targets.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.goals import SUITES, Size
from bench.report import Line, table
from bench.rounds import BenchError

QUICK = ("nodes", "full", "makespan", "recipes", "import")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=(__doc__ or "").strip(),
        epilog="; ".join(f"{name}: {' '.join((suite.__doc__ or '').split())}" for name, suite in SUITES.items()),
    )
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}, or all; default: {' '.join(QUICK)}"
    )
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, each with fresh processes")
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes of the small graphs")
    parser.add_argument("--million", type=int, default=1_000_000, help="nodes of the big ones")
    parser.add_argument("--json", type=Path, help="write the lines to this file too")
    args = parser.parse_args()
    names = list(SUITES) if args.suites == ["all"] else args.suites or list(QUICK)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        parser.error(f"no suite is called {unknown[0]!r}; there are {', '.join(SUITES)}, and all")
    size = Size(args.rounds, args.nodes, args.million)
    print(
        f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores, {args.rounds} rounds",
        flush=True,
    )
    lines: list[Line] = []
    failed = False
    for name in names:
        start = time.perf_counter()
        try:
            found = SUITES[name](size, lambda text: print(f"  {text}", end="\r", file=sys.stderr))
        except BenchError as error:
            print(f"\n## {name}: FAILED\n{error}", flush=True)
            failed = True
            continue
        lines += found
        print(f"\n## {name} ({time.perf_counter() - start:.0f} s)\n{table(found)}", flush=True)
    missed = [line for line in lines if line.is_missed]
    print(f"\n{len(lines)} figures, {sum(line.most is not None for line in lines)} with a target, {len(missed)} missed")
    if args.json:
        args.json.write_text(json.dumps([asdict(line) | {"verdict": line.verdict} for line in lines], indent=1))
    return 1 if failed or (args.gate and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
