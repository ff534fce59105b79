"""
`map` over many instant items in this process; prints JSON.
"""

import gc
import json
import sys
import time
from collections.abc import Iterator

import antichain
from bench.measure import forget_peak, peak_kib, resident_kib

read = done = ahead = 0


def items(count: int) -> Iterator[int]:
    """
    Items that notice how far ahead of the outputs they are read.
    """
    global read, ahead
    for item in range(count):
        read += 1
        ahead = max(ahead, read - done)
        yield item


async def instant(item: int) -> None:
    global done
    done += 1


def main() -> None:
    count = int(sys.argv[1])
    gc.collect()
    forget_peak()
    before = resident_kib()
    cpu, wall = time.process_time(), time.perf_counter()
    outputs = antichain.map(instant, items(count), max_concurrent=8)
    out = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_bytes": (peak_kib() - before) * 1024,
        "read_ahead": ahead,
    }
    assert len(outputs) == done == count
    print(json.dumps(out))


if __name__ == "__main__":
    main()
