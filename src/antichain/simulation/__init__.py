"""
Runs in virtual time: the real scheduler decides, nothing of the user's code is called, and no one waits.

`loop` is the driver's counterpart, `script` plays the nodes, `playing` plays a plan by a script, and `timing` asks how
long it would take.
"""

from antichain.simulation.loop import Bodies, Simulation
from antichain.simulation.playing import simulate
from antichain.simulation.script import HANG, SKIP, Durations
from antichain.simulation.timing import Estimate, estimate, estimates, sizes_of_limits

__all__ = [
    "HANG",
    "SKIP",
    "Bodies",
    "Durations",
    "Estimate",
    "Simulation",
    "estimate",
    "estimates",
    "simulate",
    "sizes_of_limits",
]
