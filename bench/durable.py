"""
What it costs to keep a run: steps that do nothing, each durable before the next one starts, beside a hand-written
commit for each; many in flight, whose commits go together; bytes of the file. Prints JSON.

By hand means: the standard library's sqlite3, write-ahead log, `synchronous=FULL`, one row and one commit a step, in
one thread, without a graph. Both sides begin without a file. Where a sync takes no time (tmpfs, a disk that lies) the
figures say little; the time of one is measured and printed.
"""

import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antichain import Graph
from bench.bodies import nothing

ROUNDS = 3
PAYLOAD = "x" * 64
# What a text of 64 characters takes at least.
PAYLOAD_BYTES = 64

TABLE = """
create table step (
    run text, node text, attempt int, state int, started real, ended real, output blob, primary key (run, node, attempt)
) without rowid
"""


def sync_seconds(folder: Path, times: int = 200) -> float:
    """The median time that a page takes to become durable."""
    took = []
    file = os.open(folder / "sync", os.O_RDWR | os.O_CREAT)
    for page in range(times):
        os.pwrite(file, b"x" * 4096, page * 4096)
        start = time.perf_counter()
        # macOS has no fdatasync.
        getattr(os, "fdatasync", os.fsync)(file)
        took.append(time.perf_counter() - start)
    os.close(file)
    return statistics.median(took)


def by_hand(file: Path, count: int) -> None:
    """One commit a step."""
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute(TABLE)
    for number in range(count):
        start = time.time()
        output = json.dumps(None)
        row = ("run", f"n{number}", 1, 2, start, time.time(), output)
        database.execute("insert into step values (?, ?, ?, ?, ?, ?, ?)", row)
    database.close()


def chain(count: int, body: Any = nothing) -> Any:
    graph = Graph("chain")
    for number in range(count):
        graph.add(f"n{number}", body, depends_on=[f"n{number - 1}"] if number else [])
    return graph.plan()


def abreast(count: int) -> Any:
    graph = Graph("abreast")
    for number in range(count):
        graph.add(f"n{number}", nothing)
    return graph.plan()


def timed(folder: Path, work: Callable[[Path], object]) -> float:
    """The seconds that something takes with a new file."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        start = time.perf_counter()
        work(Path(own) / "runs.db")
        return time.perf_counter() - start


def beside_by_hand(folder: Path, plan: Any, count: int, **options: Any) -> dict[str, Any]:
    """The plan and a commit a step by hand, in turn."""
    ours, hand = [], []
    # What is imported and compiled once is not part of a step.
    timed(folder, lambda file: chain(3).run(store=file))
    for _ in range(ROUNDS):
        hand.append(timed(folder, lambda file: by_hand(file, count)))
        ours.append(timed(folder, lambda file: plan.run(store=file, **options)))
    return {"steps": count, "ours_s": ours, "hand_s": hand, "sync_s": sync_seconds(folder)}


def size_of(folder: Path, count: int) -> int:
    """The bytes that a run of a chain leaves on the disk, with outputs of 64 characters."""

    async def text() -> str:
        return PAYLOAD

    with tempfile.TemporaryDirectory(dir=folder) as own:
        chain(count, text).run(store=Path(own) / "runs.db")
        # As a reader finds it: what is still in the write-ahead log goes into the file.
        database = sqlite3.connect(Path(own) / "runs.db")
        database.execute("pragma wal_checkpoint(truncate)")
        database.close()
        return sum(file.stat().st_size for file in Path(own).iterdir())


def measure(what: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-durable-") as name:
        folder = Path(name)
        if what == "chain":
            return beside_by_hand(folder, chain(count), count)
        if what == "abreast":
            return beside_by_hand(folder, abreast(count), count, max_concurrent=50)
        if what == "size":
            return {"steps": count, "bytes": size_of(folder, count), "payload_bytes": PAYLOAD_BYTES * count}
        raise SystemExit(f"no measurement is called {what!r}; there are chain, abreast, size")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
