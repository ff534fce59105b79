"""
What helps to test graphs: runs in virtual time, a loop whose clock jumps, and a provider to call.

- `simulate` plays a plan by a script of durations and outcomes; no node's code is called.
- `virtual_time` runs the real thing, code and all, on an asyncio loop that does not wait.
- `check_store` checks that a store of runs keeps its promises.
- `FakeProvider` serves OpenAI's API on loopback: latency, limits, failures by script, and a log of what happened.
"""

from antichain.simulation import HANG, SKIP, Estimate, estimate, simulate
from antichain.testing.clock import VirtualClock, VirtualLoop, virtual_time
from antichain.testing.provider import Failure, FakeProvider, LogEntry, Quota, Reply, Request, RetryAfter, ToolCall
from antichain.testing.stores import check_store

__all__ = [
    "HANG",
    "SKIP",
    "Estimate",
    "Failure",
    "FakeProvider",
    "LogEntry",
    "Quota",
    "Reply",
    "Request",
    "RetryAfter",
    "ToolCall",
    "VirtualClock",
    "VirtualLoop",
    "check_store",
    "estimate",
    "simulate",
    "virtual_time",
]
