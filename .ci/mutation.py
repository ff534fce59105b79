"""
Mutation testing of `antichain.core` by mutmut: `mutation.py CLONE FOLDER PROCESSES`.

Works on a copy, prints every survivor with its change, and ends with a line like `killed 87.1 % of 512 mutants: ok`.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

AT_LEAST = 85.0
# A mutant that hangs or crashes the suite was noticed.
NOTICED = ("killed", "timeout", "segfault", "caught_by_type_check", "suspicious")


def main() -> int:
    clone, folder, processes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    shutil.copytree(clone, folder, ignore=shutil.ignore_patterns(".git", "mutants", ".venv*"))
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    done = subprocess.run([mutmut, "run", "--max-children", processes], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], f"mutmut ended with exit code {done.returncode}", sep="\n")
        return 1
    subprocess.run([mutmut, "export-cicd-stats"], cwd=folder, check=True, capture_output=True)
    stats = Counter(json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text(encoding="utf-8")))
    results = subprocess.run([mutmut, "results"], cwd=folder, check=True, capture_output=True, text=True).stdout
    for line in results.splitlines():
        name = line.partition(":")[0].strip()
        if name:
            print(f"\n{line.strip()}")
            print(subprocess.run([mutmut, "show", name], cwd=folder, capture_output=True, text=True).stdout.strip())
    total = stats["total"] - stats["skipped"]
    noticed = sum(stats[kind] for kind in NOTICED)
    share = 100 * noticed / total if total else 0.0
    print(f"\n{dict(stats)}")
    verdict = "ok" if share >= AT_LEAST else f"MISSED, at least {AT_LEAST:.0f} % are wanted"
    print(f"killed {share:.1f} % of {total} mutants: {verdict}")
    return 0 if share >= AT_LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
