"""
A few runs whose content is known, for stores that were written by earlier releases and for stores that are damaged.

`python -m tests.support.stored_runs FILE` writes them to a new file; `tests/data/stores/format-N.store` came to be so,
with the first release of that format.
"""

import sys
from pathlib import Path

from antichain.stores import Fact, FactKind, Header, Journal, SqliteStore

LARGE = bytes(range(256)) * 24
WIRING = b"wiring " * 100

RUNS = {
    "nightly-1": (
        Header("nightly-1", "etl", "flow.py:etl", 1_700_000_000.5, b"inputs", WIRING),
        (
            Fact(FactKind.STARTED, "extract", 1, "", "0123456789ab:", 1_700_000_001.0),
            Fact(FactKind.SUCCEEDED, "extract", 1, "output", "0123456789ab:", 1_700_000_002.0, 1.0, payload=LARGE),
            Fact(
                FactKind.RETRYING, "load", 1, "error", "ba9876543210:v2", 1_700_000_003.0, 0.5, 1_700_000_005.0, b"no"
            ),
            Fact(FactKind.SUCCEEDED, "load", 2, "output", "ba9876543210:v2", 1_700_000_006.0, 0.25, payload=b"42"),
            Fact(FactKind.SUCCEEDED, "pages[größe/日本]", 1, "output", "", 1_700_000_007.0, payload=b""),
            Fact(FactKind.ENDED, reason="succeeded", at=1_700_000_008.0),
        ),
    ),
    "nightly-2": (
        Header("nightly-2", "etl", "flow.py:etl", 1_700_086_400.0, b"other inputs", WIRING),
        (
            Fact(FactKind.SUCCEEDED, "extract", 1, "output", "0123456789ab:", 1_700_086_402.0, 1.0, payload=LARGE),
            Fact(FactKind.ASKED, "approve", 1, payload=b"question"),
            Fact(FactKind.ENDED, reason="paused", at=1_700_086_403.0),
            Fact(FactKind.ANSWERED, "approve", 1, payload=b"answer"),
            Fact(FactKind.RESUMED, reason="resumed", at=1_700_090_000.0),
            Fact(FactKind.FAILED, "load", 3, "error", "ba9876543210:v2", 1_700_090_001.0, payload=b"broken"),
            Fact(FactKind.SKIPPED, "report", 0, "condition", at=1_700_090_001.5),
            Fact(FactKind.FORGOTTEN, "approve", at=1_700_090_002.0),
        ),
    ),
    "other": (
        Header("other", "train", "", 1_700_000_100.0),
        tuple(Fact(FactKind.SUCCEEDED, f"step {n}", 1, "output", payload=b"%d" % n * 40) for n in range(60)),
    ),
}


def write(path: Path) -> None:
    """Write all runs to a new store."""
    store = SqliteStore(path, synchronous="normal")
    for run_id, (header, facts) in RUNS.items():
        mine = store.open(run_id, header)
        assert store.append_now(mine, facts)
        store.release(mine)


def expected(run_id: str) -> Journal:
    """What must be read of one of them."""
    header, facts = RUNS[run_id]
    return Journal(header, facts, 1)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
