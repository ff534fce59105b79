"""
Which parameter gets what: the binding rule for the parameters of one runnable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antichain.binding.bound import Binding
from antichain.binding.sources import MISSING, REQUIRED, SlotSource, Source
from antichain.binding.wiring import Wiring
from antichain.errors import named, shown, suggestion
from antichain.graph import Node
from antichain.runnable import EMPTY, Described, Parameter

__all__ = ["Filling"]


class Filling:
    """
    Find a source for each parameter of what is *described*, and write it into *binding*.

    A parameter is filled from ``inputs``; else from the upstream node of that name; else from the run input of that
    name; else from the resource of that name; else from its default; Context by annotation.
    """

    __slots__ = ("binding", "described", "given", "names", "single", "wiring")

    def __init__(self, wiring: Wiring, binding: Binding, described: Described) -> None:
        self.wiring = wiring
        self.names = wiring.names
        self.binding = binding
        self.described = described
        # What inputs= gives: sources by parameter, or one that is the only argument.
        self.given: Mapping[str, Source] = wiring.given
        self.single: Source | None = wiring.single

    def fill(self) -> None:
        """
        Fill all parameters.
        """
        if self.single is not None:
            self._fill_from_one(self.single)
        else:
            self._fill_all(None, -1)

    def fill_item(self, item_slot: int, name: str | None = None) -> None:
        """
        Fill all parameters of an instance of a map, one of them with the item: *name*, or the first that is free.
        """
        name = name or self._item_parameter()
        if name is not None:
            self._fill_all(name, item_slot)

    def _fill_all(self, item: str | None, item_slot: int) -> None:
        binding, described = self.binding, self.described
        rest = dict(self.wiring.wired or {})
        given = dict(self.given)
        for parameter in described.parameters:
            name = parameter.name
            rest.pop(name, None)
            if name == described.context and name not in given:
                self._fill_context(parameter)
                continue
            if name == item:
                source: Source | None = SlotSource(item_slot)
            else:
                source = given.pop(name, None) or self._find(parameter)
            if source is not None:
                self._put(parameter, source)
        if described.takes_kwargs:
            binding.keywords.update({name: SlotSource(slot) for name, slot in rest.items()})
            binding.keywords.update(given)
        elif described.is_opaque:
            binding.keywords.update(given)
        else:
            self._check_unused(given)

    def _fill_from_one(self, single: Source) -> None:
        filled = False
        for parameter in self.described.parameters:
            if parameter.name == self.described.context:
                self._fill_context(parameter)
            elif not filled and not parameter.keyword_only:
                filled = True
                self._put(parameter, single)
            elif self.names.has_resource(parameter.name) and parameter.default is EMPTY:
                self._fill_resource(parameter)
            elif parameter.default is EMPTY:
                why = "but inputs= gives one source, which is its only argument"
                fix = "use a dict from parameters to sources"
                self.wiring.fault("unbound-parameter", f"has the parameter {parameter.name!r}, {why}: {fix}.")
        if filled:
            return
        if self.described.takes_args:
            self.binding.pass_by_position(single)
            self.wiring.note_required("*args", single)
        else:
            self.wiring.fault("unused-input", "has inputs= with one source, but takes no positional argument.")

    def _put(self, parameter: Parameter, source: Source) -> None:
        binding = self.binding
        # Once a parameter is filled by hand, those behind it can only be passed by name.
        by_name = parameter.keyword_only or (
            (binding.context is not None or bool(binding.resources)) and not parameter.positional_only
        )
        is_needed = parameter.default is EMPTY
        if is_needed:
            self.wiring.note_required(parameter.name, source)
        if by_name:
            binding.keywords[parameter.name] = source
        else:
            binding.pass_by_position(source, MISSING if is_needed else parameter.default, parameter.name)

    # -- one parameter

    def _find(self, parameter: Parameter) -> Source | None:
        """
        Find what no ``inputs=`` gives: a node, a run input, a resource, the default.
        """
        name, names, wired = parameter.name, self.names, self.wiring.wired
        has_default = parameter.default is not EMPTY
        if wired is not None and name in wired:
            return SlotSource(wired[name])
        slot = names.slot_of(name)
        if slot is not None:
            return names.literal(parameter.default) if has_default else self._find_node(name, slot)
        if names.has_resource(name):
            self._fill_resource(parameter)
            return None
        slot = names.input_slot(name, parameter.default if has_default else REQUIRED, self.wiring.node.id)
        if slot is not None:
            return SlotSource(slot)
        if has_default:
            return names.literal(parameter.default)
        hint = suggestion(name, names.names()) or " Give it by inputs=, or add the node."
        self.wiring.fault("unbound-parameter", f"has the parameter {name!r}, which nothing fills.{hint}")
        return None

    def _find_node(self, name: str, slot: int) -> Source | None:
        wiring = self.wiring
        if name == wiring.node.id:
            wiring.fault("self-dependency", f"has a parameter {name!r}, its own id: rename one, or use inputs=.")
            return None
        if wiring.wired is None:
            wiring.need(slot, name)
            return SlotSource(slot)
        why = "which is a node that depends_on does not name"
        wiring.fault("unbound-parameter", f"has the parameter {name!r}, {why}: add it to depends_on.", name)
        return None

    def _fill_resource(self, parameter: Parameter) -> None:
        slot = self.names.input_slot(parameter.name, MISSING, self.wiring.node.id)
        if parameter.positional_only:
            self._refuse_position(parameter, "a resource")
            return
        if slot is not None:
            self.binding.keywords[parameter.name] = SlotSource(slot)
        self.binding.resources += (parameter.name,)

    def _fill_context(self, parameter: Parameter) -> None:
        if parameter.positional_only:
            self._refuse_position(parameter, "the Context")
        else:
            self.binding.context = parameter.name

    def _refuse_position(self, parameter: Parameter, what: str) -> None:
        fix = "remove the '/' from its signature"
        why = f"takes {what} by position only"
        text = f"{why} (parameter {parameter.name!r}): {fix}, so that a name can be used."
        self.wiring.fault("unbound-parameter", text)

    def _check_unused(self, given: Mapping[str, Source]) -> None:
        known = [parameter.name for parameter in self.described.parameters]
        for name in given:
            takes = f" It takes {named(known)}." if known else " It takes no parameters."
            hint = suggestion(name, known) or takes
            self.wiring.fault("unused-input", f"has {name!r} in inputs=, which is none of its parameters.{hint}")

    # -- the item of a map

    def _item_parameter(self) -> str | None:
        """
        Find the parameter that receives the item: the first that nothing else fills.
        """
        node = self.wiring.node
        over: Any = node.mapped.over if node.mapped is not None else None  # Any: what the user wrote
        over = over.id if isinstance(over, Node) else over
        for parameter in self.described.parameters:
            name = parameter.name
            if name in self.given or name == self.described.context:
                continue
            # Named after the items themselves, it is meant for one of them.
            if name != over and (self._is_wired(parameter) or self.names.has_resource(name)):
                continue
            return name
        self.wiring.fault("bad-map", f"maps {shown(node.runnable)}, which has no parameter left to receive the item.")
        return None

    def _is_wired(self, parameter: Parameter) -> bool:
        if self.wiring.wired is not None:
            return parameter.name in self.wiring.wired
        return parameter.default is EMPTY and self.names.slot_of(parameter.name) is not None
