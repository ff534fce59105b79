"""
Plans that mean harm: refused in at most 2 seconds and 256 MB each, with nothing run. Each kind has its own process.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile_plans import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 2.0
MEGABYTES = 256


# Of a kind with more of them than this, the small size takes every third.
FEW = 12


def outcomes_of(kind: str, every: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_plans", kind, str(every)],
        capture_output=True, text=True, timeout=300, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_plans_are_refused_and_nothing_runs(kind: str, full: bool) -> None:
    found = outcomes_of(kind, 1 if full or len(KINDS[kind]()) <= FEW else 3)
    assert found["plans"]
    for name, plan in found["plans"].items():
        assert plan["outcome"] == "refused", (kind, name, plan)
        assert plan["called"] == [], (kind, name)
        # Of the processor: the machine may have other things to do.
        assert plan["seconds"] <= SECONDS, (kind, name, plan)
        # A model is told all of it, but not at any length.
        assert plan["told"] < 60_000, (kind, name, plan)
    # Of the whole process, the plans' own texts included.
    assert found["peak"] <= MEGABYTES * 1024, (kind, found["before"], found["peak"])


def test_there_are_enough_of_them() -> None:
    counts = {kind: len(plans()) for kind, plans in KINDS.items()}
    assert sum(counts.values()) >= 200, counts
    assert sum(count if count <= FEW else count // 3 for count in counts.values()) >= 200, "at the small size too"
