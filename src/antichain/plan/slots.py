"""
Where each value of a run lives: a slot per node, then literals, inputs and their defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antichain.binding import MISSING, REQUIRED, SlotSource, Source
from antichain.errors import SHOWN_FAULTS, Fault
from antichain.graph import Graph, Node
from antichain.plan.blueprint import Blueprint
from antichain.plan.plan import Plan

__all__ = ["Slots"]


class Slots:
    """
    Look names up for the binding rule (a Namespace), and give values their slots.
    """

    def __init__(
        self, blueprint: Blueprint, nodes: list[Node[..., Any]], index: dict[str, int], faults: list[Fault]
    ) -> None:
        self.title = f"graph {blueprint.name!r}"
        self.blueprint = blueprint
        self.nodes = nodes
        self.index = index
        # All that was found so far.
        self.faults = faults
        # Values after those of the nodes, and the slots that are inputs.
        self.extra: list[Any] = []
        self.literals: dict[int, int] = {}
        self.input_slots: list[tuple[int, str, Any]] = []
        self.slot_by_input: dict[tuple[str, int], int] = {}
        self.required: dict[str, list[str]] = {}
        self.optional: set[str] = set()
        self.whole_slot: int | None = None

    def slot_of(self, name: str) -> int | None:
        return self.index.get(name)

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        slot = self.index.get(node.id)
        return slot if slot is not None and self.nodes[slot] is node else None

    def input_slot(self, name: str, default: Any, node: str) -> int:
        if default is REQUIRED:
            self.required.setdefault(name, []).append(node)
        else:
            self.optional.add(name)
        key = (name, id(default))
        slot = self.slot_by_input.get(key)
        if slot is None:
            slot = self.slot_by_input[key] = self._add(default)
            self.input_slots.append((slot, name, default))
        return slot

    def inputs_slot(self) -> int:
        if self.whole_slot is None:
            self.whole_slot = self._add({})
        return self.whole_slot

    def has_resource(self, name: str) -> bool:
        return name in self.blueprint.resources

    def literal(self, value: Any) -> Source:
        # By identity: equal values need not be interchangeable. The slot keeps the value alive, so ids are not reused.
        slot = self.literals.get(id(value))
        if slot is None:
            slot = self.literals[id(value)] = self._add(value)
        return SlotSource(slot)

    def spare_slot(self) -> int:
        return self._add(MISSING)

    def is_mapped(self, slot: int) -> bool:
        return self.nodes[slot].mapped is not None

    def subplan(self, graph: Graph) -> Plan | None:
        return self.blueprint.subplans.get(id(graph))

    def names(self) -> Iterable[str]:
        # To look for the nearest of many names for each of many faults would take minutes, and nobody reads them all.
        return self.index if len(self.faults) < SHOWN_FAULTS else ()

    def _add(self, value: Any) -> int:
        self.extra.append(value)
        return len(self.nodes) + len(self.extra) - 1

    def write(self, plan: Plan) -> None:
        """
        Write into *plan* what its values are before anything has run, and where inputs go.
        """
        plan.blank = [MISSING] * len(self.nodes)
        plan.blank += self.extra
        plan.input_slots = self.input_slots
        plan._input_slots_of = {}
        for slot, name, _ in self.input_slots:
            plan._input_slots_of.setdefault(name, []).append(slot)
        plan._whole_slot = self.whole_slot
        plan.inputs = {name: tuple(nodes) for name, nodes in self.required.items()}
        plan.optional_inputs = frozenset(self.optional - self.required.keys())
        plan.accepted = frozenset((*self.required, *self.optional))
