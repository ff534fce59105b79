"""
How much memory a process has taken at most.

Not by `getrusage`: what a process inherits there of the one that started it, a test run of half a gigabyte, counts too.
"""

import re
import subprocess
import time
from pathlib import Path


def high_water(pid: int | str = "self") -> int | None:
    """In kilobytes; None once the process has ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) if found else None


def high_water_to_the_end(process: "subprocess.Popen[str]") -> int:
    """Of a child that nobody has waited for yet."""
    most = 0
    while (now := high_water(process.pid)) is not None:
        most = now
        time.sleep(0.01)
    return most
