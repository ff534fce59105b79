"""
How each node of a plan is wired, as a digest: where its arguments come from and what it waits for. Ids and names count,
positions do not; nor does what a function does, or how often and when it may be tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any, Final

from antichain.binding import MISSING, Binding, DictSource, ListSource, LiteralSource, PathSource, SlotSource, Source
from antichain.binding.bound import PreparedBinding
from antichain.plan import Plan
from antichain.resuming.digests import hashed, value_digest
from antichain.runnable import CallKind, describe
from antichain.shape import Flag, order, with_start_edges

__all__ = ["inner_digest", "is_keyed", "is_mapped", "subplan_of", "version_of", "wired"]

# Texts, and lists of such: what a digest is made of.
Token = Any
# Longer versions are cut, and told apart by a digest: a version is in every fact of its node.
VERSION_CHARACTERS = 60
# Plain numbers: flags are looked at for every node.
_WHEN: Final = int(Flag.WHEN)
_CONTAINER: Final = int(Flag.CONTAINER)


def wired(plan: Plan) -> list[str]:
    """
    Return how each node of *plan* is wired: digests, parted by "-".

    A plain node has one. A container has a first one for what it hands inside, which is all that what is inside it
    depends on, and a second one for all else; a map of a graph has a third one, for the graph. What takes the output
    of a container is wired otherwise if that is.
    """
    # Graphs may be nested deeper than Python recurses.
    waiting = [plan]
    while waiting:
        each = waiting[-1]
        inner = [found for found in _subplans(each) if found._wired is None] if each._wired is None else []
        if inner:
            waiting += inner
            continue
        if each._wired is None:
            each._wired = _Reader(each).read()
        waiting.pop()
    assert plan._wired is not None
    return plan._wired


def version_of(plan: Plan, node: int) -> str:
    """
    Return the version of a node, as a text that any store takes; empty if it has none.
    """
    version = plan.nodes[node].policies.version
    if not version:
        return ""
    version = version.encode("utf-8", "backslashreplace").decode()
    if len(version) > VERSION_CHARACTERS:
        version = f"{version[: VERSION_CHARACTERS - 14]}… {hashed(version)}"
    return version


def subplan_of(plan: Plan, node: int) -> Plan | None:
    """
    Return the plan of the graph that a node wraps, also one that a map runs for each item.
    """
    if plan.kinds[node] != CallKind.GENERAL:
        return None
    binding: Binding = plan.arguments[node]
    return binding.subplan if binding.map is None else binding.map.binding.subplan


def is_mapped(plan: Plan, node: int) -> bool:
    """
    Say whether a node is a map.
    """
    return plan.nodes[node].mapped is not None


def is_keyed(plan: Plan, node: int) -> bool:
    """
    Say whether a node is a map whose instances are named by ``key=``.
    """
    mapped = plan.nodes[node].mapped
    return mapped is not None and mapped.key is not None


def _subplans(plan: Plan) -> Iterator[Plan]:
    node = plan.kinds.find(CallKind.GENERAL)
    while node >= 0:
        inside = subplan_of(plan, node)
        if inside is not None:
            yield inside
        node = plan.kinds.find(CallKind.GENERAL, node + 1)


def inner_digest(plan: Plan) -> str:
    """
    Return the digest of all nodes of *plan* together.
    """
    how = wired(plan)
    nodes = sorted((name, how[node], version_of(plan, node)) for node, name in enumerate(plan.ids))
    return hashed([sorted(plan.targets or ()), nodes])


class _Reader:
    """
    Read the wiring of one plan; those of the graphs inside it have been read.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.found = [""] * len(plan.ids)
        self.inner: dict[int, str] = {}
        # What a slot holds.
        self.tokens: dict[int, Token] = {slot: ["input", name] for slot, name, _ in plan.input_slots}
        if plan._whole_slot is not None:
            self.tokens[plan._whole_slot] = ["inputs"]

    def read(self) -> list[str]:
        plan, shape, found = self.plan, self.plan.shape, self.found
        before_all, after_all = with_start_edges(shape)
        for node in order(before_all, after_all):
            # Where a node stands in the graph does not count, but names do.
            upstream = sorted([self._slot(before) for before in before_all[node]])
            waits = [upstream, shape.join[node], bool(shape.flags[node] & _WHEN)]
            if plan.kinds[node] != CallKind.GENERAL:
                found[node] = hashed(["node", self._plain(node), waits])
            else:
                found[node] = self._general(node, plan.arguments[node], waits)
            if shape.flags[node] & _CONTAINER:
                # What a container gives is not kept, but made again of what the nodes inside it gave. So whoever takes
                # it has changed when the container has.
                self.tokens[node] = ["node", plan.ids[node], found[node], version_of(plan, node)]
        return found

    def _plain(self, node: int) -> list[Token]:
        argument = self.plan.arguments[node]
        if argument is None:
            return []
        slots: Sequence[int] = (argument,) if type(argument) is int else argument.__reduce__()[1]
        names = self._names(node, len(slots))
        return sorted([[name, self._slot(slot)] for name, slot in zip(names, slots, strict=True)])

    def _names(self, node: int, count: int) -> Sequence[str]:
        """
        Name the parameters that a plain call fills, as the binding rule would.
        """
        runnable = self.plan.nodes[node].runnable
        if type(runnable) is FunctionType:
            if runnable.__code__.co_argcount == count:
                return runnable.__code__.co_varnames[:count]
        else:
            described = describe(runnable)
            if described is not None and len(described.parameters) == count:
                return [parameter.name for parameter in described.parameters]
        return [str(number) for number in range(count)]

    def _general(self, node: int, binding: Binding, waits: list[Token]) -> str:
        if binding.map is None:
            arguments = self._arguments(binding)
            if binding.subplan is None:
                return hashed(["node", arguments, waits])
            return f"{hashed(['graph', arguments])}-{hashed([waits, self._inner(binding.subplan)])}"
        spec = binding.map
        first = hashed(["map", self._arguments(spec.binding), spec.key is not None])
        rest = hashed([waits, self._source(spec.over), spec.outcomes])
        inside = spec.binding.subplan
        return f"{first}-{rest}" if inside is None else f"{first}-{rest}-{self._inner(inside)}"

    def _inner(self, subplan: Plan) -> str:
        known = self.inner.get(id(subplan))
        if known is None:
            known = self.inner[id(subplan)] = inner_digest(subplan)
        return known

    def _arguments(self, binding: Binding) -> list[Token]:
        if isinstance(binding, PreparedBinding):
            return [["prepared", self._source(binding.outputs)]]
        found = {
            name or str(number): self._source(source)
            for number, (name, source) in enumerate(zip(binding.names, binding.positional, strict=True))
        }
        found.update({name: self._source(source) for name, source in binding.keywords.items()})
        found.update({name: ["resource", name] for name in binding.resources})
        return sorted([name, token] for name, token in found.items())

    # -- where one argument comes from

    def _slot(self, slot: int) -> Token:
        plan = self.plan
        token = self.tokens.get(slot)
        if token is None and slot < len(plan.ids):
            token = self.tokens[slot] = ["node", plan.ids[slot]]
        elif token is None:
            # An empty slot that is no input is kept for the item of a map.
            literal = plan.blank[slot]
            token = self.tokens[slot] = ["item"] if literal is MISSING else ["value", value_digest(literal)]
        return token

    def _source(self, source: Source) -> Token:
        match source:
            case SlotSource():
                return self._slot(source.slot)
            case PathSource():
                return ["path", self._slot(source.slot), value_digest(source.keys)]
            case ListSource():
                kind = "tuple" if source.kind is tuple else "list"
                return [kind, *(self._source(part) for part in source.sources)]
            case DictSource():
                return [
                    "dict",
                    *sorted([value_digest(key), self._source(part)] for key, part in source.sources.items()),
                ]
            case LiteralSource():
                return ["value", value_digest(source.value)]
            case _:
                return ["other", type(source).__qualname__]
