"""
What a plan is drawn from: a graph as it was at that moment, and the plans of the graphs inside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antichain.errors import Fault, suggestion
from antichain.graph import Graph, Node
from antichain.plan.plan import Plan

__all__ = ["Blueprint"]


class Blueprint:
    """
    What a plan is drawn from; kept by the plan, which may be drawn again for fewer nodes.
    """

    __slots__ = ("faults", "index", "inner", "limits", "name", "nodes", "options", "resources", "subplans")

    def __init__(self, graph: Graph, subplans: dict[int, Plan], inner: dict[int, list[Fault]]) -> None:
        self.name = graph.name
        self.nodes, self.index = graph.frozen()
        self.limits = dict(graph.limits)
        self.options = dict(graph.options)
        self.resources = dict(graph.resources)
        self.faults = list(graph.faults)
        # The plans of the graphs inside, by identity, and what is wrong with them.
        self.subplans = subplans
        self.inner = inner

    def find(self, targets: Iterable[str | Node[..., Any]]) -> tuple[dict[str, int], list[Fault]]:
        """
        Return the positions of *targets* by id, and what is wrong with them.
        """
        wanted: dict[str, int] = {}
        faults: list[Fault] = []
        if isinstance(targets, (str, Node)):
            targets = (targets,)
        for target in targets:
            name = target.id if isinstance(target, Node) else target
            position = self.index.get(name)
            if position is None or (isinstance(target, Node) and self.nodes[position] is not target):
                hint = suggestion(str(name), self.index) or " Use the ids of nodes."
                text = f"targets= names {name!r}, which is not in graph {self.name!r}.{hint}"
                faults.append(Fault("unknown-target", text))
            else:
                wanted[name] = position
        if not wanted and not faults:
            faults.append(
                Fault("unknown-target", "targets= is empty, so nothing would run: name a node, or leave it out.")
            )
        return wanted, faults
