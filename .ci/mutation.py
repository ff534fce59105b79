"""
Mutation testing of `antichain.core` and `antichain.policies` by mutmut: `mutation.py CLONE FOLDER PROCESSES [SHARE]
[PART]`.

Each part has its own tests. Works on copies, prints every survivor with its change, and for each part a line like
`core: killed 87.1 % of 512 mutants: ok`. A SHARE such as 0.7 tries so many of the mutants, chosen by a seed that is
printed; with a PART only that one is tried.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

AT_LEAST = 85.0
# A mutant that hangs or crashes the suite was noticed.
NOTICED = ("killed", "timeout", "segfault", "caught_by_type_check", "suspicious")
# mutmut's word for a mutant that is left out.
SKIPPED = 34
# What is mutated, and which tests decide. [tool.mutmut] in pyproject.toml names the first; the tests of a part take two
# seconds or less for each mutant.
PARTS = {
    "core": None,
    "policies": {
        "only_mutate": ["src/antichain/policies/*"],
        "do_not_mutate": [],
        "pytest_add_cli_args_test_selection": [
            "tests/test_policies.py",
            "tests/test_refusals.py",
            "tests/test_rate.py",
            "tests/test_adaptive.py",
            "tests/test_latency.py",
            "tests/test_overload.py",
            "tests/test_retryable.py",
            "tests/test_retry_budget.py",
            "tests/test_budget.py",
            "tests/test_capacity.py",
            "tests/test_policy_machines.py",
        ],
    },
}
# Half of what a child spends before its first test is looking for plugins, see pytest_add_cli_args.
ENVIRONMENT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def main() -> int:
    clone, folder, processes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    share = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    parts = sys.argv[5:] or list(PARTS)
    return max(try_part(part, clone, folder / part, processes, share) for part in parts)


def try_part(part: str, clone: Path, folder: Path, processes: str, share: float) -> int:
    started = time.monotonic()
    shutil.copytree(clone, folder, ignore=shutil.ignore_patterns(".git", "mutants", ".venv*"))
    set_up(folder / "pyproject.toml", PARTS[part])
    leave_forms(folder)
    if share < 1.0:
        # Asked for one that does not exist, it makes them all, and tries none.
        mutmut(folder, "run", "--max-children", processes, "none")
        leave_out(folder, 1.0 - share)
    done = mutmut(folder, "run", "--max-children", processes)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], f"mutmut ended with exit code {done.returncode}", sep="\n")
        return 1
    mutmut(folder, "export-cicd-stats")
    stats = Counter(json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text(encoding="utf-8")))
    for line in mutmut(folder, "results").stdout.splitlines():
        name, _, verdict = line.strip().partition(": ")
        if verdict and verdict != "skipped":
            print(f"\n{line.strip()}")
            print(mutmut(folder, "show", name).stdout.strip())
    total = stats["total"] - stats["skipped"]
    noticed = sum(stats[kind] for kind in NOTICED)
    killed = 100 * noticed / total if total else 0.0
    print(f"\n{dict(stats)}, {time.monotonic() - started:.0f} s")
    verdict = "ok" if killed >= AT_LEAST else f"MISSED, at least {AT_LEAST:.0f} % are wanted"
    print(f"{part}: killed {killed:.1f} % of {total} mutants: {verdict}", flush=True)
    return 0 if killed >= AT_LEAST else 1


def set_up(project: Path, settings: dict[str, list[str]] | None) -> None:
    """
    Put *settings* in the place of those of [tool.mutmut].
    """
    text = project.read_text(encoding="utf-8")
    for name, value in (settings or {}).items():
        # A list may go over several lines.
        old = rf"^{name} = (?:\[\n(?:    .*\n)*\]|.*)$"
        text, found = re.subn(old, f"{name} = {json.dumps(value)}", text, flags=re.MULTILINE)
        assert found == 1, f"[tool.mutmut] says {name} {found} times"
    project.write_text(text, encoding="utf-8")


def leave_forms(folder: Path) -> None:
    """
    Leave protocols as they are: with mutants among its methods, nothing has that form any more.
    """
    for path in sorted((folder / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        left = re.sub(r"^(class \w+\(.*Protocol\):)$", r"\1  # pragma: no mutate block", text, flags=re.MULTILINE)
        if left != text:
            path.write_text(left, encoding="utf-8")


def leave_out(folder: Path, share: float) -> None:
    """
    Have a random *share* of the mutants not tried.
    """
    seed = random.SystemRandom().randrange(1_000_000)
    chance = random.Random(seed)
    print(f"{1 - share:.0%} of the mutants, by seed {seed}")
    for path in sorted((folder / "mutants").rglob("*.meta")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        verdicts = meta["exit_code_by_key"]
        for name in sorted(verdicts):
            if chance.random() < share:
                verdicts[name] = SKIPPED
        path.write_text(json.dumps(meta), encoding="utf-8")


def mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
