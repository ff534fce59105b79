"""
The pure core: decides what of a graph may run now. No asyncio, clock, thread, log or file; time is an argument,
randomness is injected.

Reading order: `states` (what a node can be and what may follow), `capacity` (limits and queues), `timers`, `groups`
(growth), `scheduler` (all decisions about nodes), `lines` (whose turn it is where limits open by time), `signals` (the
same as values), `facts` (what it tells), `laws` (what always holds).
"""

from antichain.core.scheduler import NOTHING, Kind, Scheduler

__all__ = ["NOTHING", "Kind", "Scheduler"]
