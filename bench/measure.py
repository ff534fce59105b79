"""
One subject, one workload, in this process; prints one JSON line. Started by `bench.rounds`, a fresh process each time.
"""

import argparse
import gc
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

from bench.by_hand import ByHand
from bench.ours import Ours
from bench.workloads import make

SUBJECTS: dict[str, Any] = {"antichain": Ours, "hand": ByHand}


def resident_kib() -> int:
    """
    Memory of this process now (Linux; elsewhere the peak).
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() // 1024


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_kib() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(subject: str, variant: str, workload: str, count: int, runs: int) -> dict[str, Any]:
    work = make(workload, count)
    peer = SUBJECTS[subject](work, variant)
    gc.collect()
    forget_peak()
    before = resident_kib()
    cpu, wall = time.process_time(), time.perf_counter()
    peer.build()
    out: dict[str, Any] = {
        "nodes": len(work),
        "build_s": time.perf_counter() - wall,
        "build_cpu_s": time.process_time() - cpu,
        "run_s": [],
        "run_cpu_s": [],
        "ideal_s": work.ideal,
        "python": platform.python_version(),
    }
    for _ in range(runs):
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        peer.run()
        out["run_s"].append(time.perf_counter() - wall)
        out["run_cpu_s"].append(time.process_time() - cpu)
    out["most_in_flight"] = peer.gauge.most
    out["slots"] = work.slots
    out["peak_bytes"] = (peak_kib() - before) * 1024
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("variant")
    parser.add_argument("workload")
    parser.add_argument("count", type=int)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(measure(args.subject, args.variant, args.workload, args.count, args.runs)))


if __name__ == "__main__":
    main()
