"""
The crash lab as a command: one experiment on one case, told as JSON.

    python -m tests.crash.lab kill run:sqlite --count 1000 --seed 1
    python -m tests.crash.lab points run:sqlite
    python -m tests.crash.lab points run:sqlite --error EIO
    python -m tests.crash.lab cut run:sqlite --count 5000 --seed 1
    python -m tests.crash.lab stop run:sqlite-hasty --count 200 --seed 1
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def experiment(*arguments: object) -> dict[str, Any]:
    """Run an experiment in a process of its own, which may fork: it has no threads."""
    command = [sys.executable, "-m", "tests.crash.lab", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "points", "cut", "stop"])
    parser.add_argument("case", help="chain or run, and a store: chain:hand, run:sqlite, run:sqlite-first, …")
    parser.add_argument("--count", type=int, default=100, help="kills or cuts; of crash points, the most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until-caught", action="store_true", help="stop at the first fault")
    parser.add_argument("--quick", action="store_true", help="kill where a sync takes no time")
    parser.add_argument("--error", choices=["EIO", "ENOSPC"], default="", help="let calls fail instead of a kill")
    args = parser.parse_args()
    if args.what == "kill":
        from tests.crash.kills import kill

        told = kill(args.case, args.count, args.seed, until_caught=args.until_caught, quick=args.quick)
    elif args.what == "points":
        from tests.crash.points import crash_everywhere

        told = crash_everywhere(args.case, args.count, args.error)
    elif args.what == "stop":
        from tests.crash.stops import stop

        told = stop(args.case, args.count, args.seed)
    else:
        from tests.crash.cuts import cut

        told = cut(args.case, args.count, args.seed)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
