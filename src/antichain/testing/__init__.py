"""
What helps to test graphs: runs in virtual time, and a loop whose clock jumps.

- `simulate` plays a plan by a script of durations and outcomes; no node's code is called.
- `virtual_time` runs the real thing, code and all, on an asyncio loop that does not wait.
"""

from antichain.simulation import HANG, SKIP, Estimate, estimate, simulate
from antichain.testing.clock import VirtualClock, VirtualLoop, virtual_time

__all__ = ["HANG", "SKIP", "Estimate", "VirtualClock", "VirtualLoop", "estimate", "simulate", "virtual_time"]
