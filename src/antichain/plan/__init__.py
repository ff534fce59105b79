"""
Graph → Plan: check everything, find each node's arguments, and index what a run needs. Nothing here runs a node.

Reading order: `plan` (what a run asks of it), `inputs` (what a run is given), `planner` (graphs inside graphs, and
targets), `draft` (one graph: its nodes), `slots` (its values), `checks` (the graph as a whole), `blueprint`.
"""

from antichain.binding import MISSING, REQUIRED, Binding, Bound, MapSpec, Source, bind_step
from antichain.plan.inputs import check_inputs, prepare_plan, prepare_plan_resume
from antichain.plan.plan import Plan
from antichain.plan.planner import plan_graph, plan_inside, prepare, prepare_batch, prepare_resume
from antichain.runnable import CallKind

__all__ = [
    "MISSING",
    "REQUIRED",
    "Binding",
    "Bound",
    "CallKind",
    "MapSpec",
    "Plan",
    "Source",
    "bind_step",
    "check_inputs",
    "plan_graph",
    "plan_inside",
    "prepare",
    "prepare_batch",
    "prepare_plan",
    "prepare_plan_resume",
    "prepare_resume",
]
