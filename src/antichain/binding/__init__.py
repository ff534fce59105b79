"""
How the arguments of a node are found by name, and made when it starts. Nothing here looks at more than one node.

Reading order: `sources` (where an argument comes from), `bound` (what binding makes of a node), `wiring` (what a node
waits for), `filling` (the rule for parameters), `bodies` (what is called), `rule` (a node as a whole).
"""

from antichain.binding.bound import THREADED, Binding, Bound, MapSpec, Style, demand_of, flags_of, private_limit
from antichain.binding.rule import bind_node, bind_step
from antichain.binding.sources import (
    MISSING,
    REQUIRED,
    DictSource,
    ListSource,
    LiteralSource,
    PathSource,
    Prepared,
    SlotSource,
    Source,
)
from antichain.binding.wiring import Namespace

__all__ = [
    "MISSING",
    "REQUIRED",
    "THREADED",
    "Binding",
    "Bound",
    "DictSource",
    "ListSource",
    "LiteralSource",
    "MapSpec",
    "Namespace",
    "PathSource",
    "Prepared",
    "SlotSource",
    "Source",
    "Style",
    "bind_node",
    "bind_step",
    "demand_of",
    "flags_of",
    "private_limit",
]
