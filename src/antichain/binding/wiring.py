"""
What a node waits for: its ``depends_on``, ``inputs=`` and ``over=``, looked up and made sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

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
from antichain.errors import Fault, shown, suggestion
from antichain.graph import Graph, Node, Path, Value
from antichain.policies import Join

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = ["Namespace", "Wiring"]


class Namespace(Protocol):
    """
    Where the names in a node's parameters and sources are looked up.
    """

    # In messages: the graph, with its name.
    title: str

    def slot_of(self, name: str) -> int | None:
        """
        Return the slot of the node called *name*.
        """
        ...

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        """
        Return the slot of *node* if it belongs here.
        """
        ...

    def input_slot(self, name: str, default: Any, node: str) -> int | None:
        """
        Return a slot that will hold the run input *name*, or *default*; None if there are no run inputs here.
        """
        ...

    def inputs_slot(self) -> int | None:
        """
        Return a slot that will hold the dict of all run inputs.
        """
        ...

    def has_resource(self, name: str) -> bool:
        """
        Say whether there is a resource called *name*.
        """
        ...

    def literal(self, value: Any) -> Source:
        """
        Make a source of a value.
        """
        ...

    def spare_slot(self) -> int:
        """
        Return a slot that holds nothing.
        """
        ...

    def is_mapped(self, slot: int) -> bool:
        """
        Say whether the node in *slot* is a mapped one.
        """
        ...

    def subplan(self, graph: Graph) -> Plan | None:
        """
        Return the plan of a nested graph, None if it cannot be planned.
        """
        ...

    def names(self) -> Iterable[str]:
        """
        Return the ids of all nodes, to suggest one.
        """
        ...


class Wiring:
    """
    The edges of one node as they are found, and what is wrong with how they were written.
    """

    __slots__ = ("faults", "fragile", "given", "ids", "leader", "names", "node", "single", "upstream", "wired")

    def __init__(self, node: Node[..., Any], names: Namespace) -> None:
        self.node = node
        self.names = names
        self.faults: list[Fault] = []
        # Upstream slots, each once, as written (a dict for its order).
        self.upstream: dict[int, None] = {}
        self.leader: int | None = None
        # The nodes named by depends_on; None if the parameters' names say it.
        self.wired: dict[str, int] | None = None
        # Sources by parameter, or the one source that is the only argument.
        self.given: dict[str, Source] = {}
        self.single: Source | None = None
        # Parameters without default that one upstream node feeds.
        self.fragile: list[tuple[str, str]] = []
        # The ids behind slots, for messages.
        self.ids: dict[int, str] = {}
        self._read_depends_on()
        self._read_inputs()

    def fault(self, code: str, message: str, *others: str) -> None:
        """
        Report what is wrong with the node; *others* have to do with it.
        """
        name = self.node.id
        self.faults.append(Fault(code, f"node {name!r} {message}", name, (name, *others)))

    def need(self, slot: int, name: str) -> None:
        """
        Wait for the node called *name*.
        """
        self.upstream[slot] = None
        self.ids[slot] = name

    def note_required(self, parameter: str, source: Source) -> None:
        """
        Note that *parameter* has no default, to see at the end whether it may go without a value.
        """
        if isinstance(source, (SlotSource, PathSource)) and source.slot in self.ids:
            self.fragile.append((parameter, self.ids[source.slot]))

    # -- depends_on and inputs

    def _read_depends_on(self) -> None:
        depends_on = self.node.depends_on
        if depends_on is None:
            return
        self.wired = {}
        for name in depends_on:
            slot = None
            if isinstance(name, str):
                slot = self.names.slot_of(name)
            elif isinstance(name, Node):
                slot = self.names.slot_of_node(name)
            known = name.id if isinstance(name, Node) else name
            if known == self.node.id and slot is not None:
                self.fault("self-dependency", "depends on itself: remove it from its own depends_on.")
            elif slot is None:
                self._unknown(name)
            else:
                self.need(slot, known)
                self.wired[known] = slot

    def _unknown(self, name: object) -> None:
        if isinstance(name, Node):
            text = f"needs {name.id!r}, which is a node of another graph, not of {self.names.title}"
            self.fault("unknown-upstream", f"{text}. Add it to this graph, or nest that graph.")
        elif isinstance(name, str):
            hint = suggestion(name, self.names.names()) or f" Add node {name!r}, or remove it from depends_on."
            self.fault("unknown-upstream", f"needs {name!r}, which is not in {self.names.title}.{hint}")
        else:
            self.fault("unknown-upstream", f"has depends_on with {shown(name)}: use ids and nodes.")

    def _read_inputs(self) -> None:
        inputs = self.node.inputs
        if inputs is None or isinstance(inputs, Prepared):
            return
        if isinstance(inputs, Mapping):
            for name, written in inputs.items():
                if isinstance(name, str):
                    self.given[name] = self._source(written, f"inputs[{name!r}]")
                else:
                    self.fault("unused-input", f"has {shown(name)} in inputs=: use the names of its parameters.")
        elif self.node.mapped is not None:
            self.fault("bad-map", f"has inputs={shown(inputs)}: in a map, use a dict from parameters to sources.")
        else:
            self.single = self._source(inputs, "inputs")

    def _source(self, written: Any, where: str) -> Source:
        """
        Make a source of what was *written*: a node, a path, a list or dict with nodes inside, or a literal.
        """
        if isinstance(written, (Node, Path)):
            return self._output(written, where)
        if isinstance(written, Value):
            return self.names.literal(written.value)
        if isinstance(written, (list, tuple)) and type(written) in (list, tuple):
            if _has_nodes(written):
                kind: Callable[[list[Any]], Any] = list if isinstance(written, list) else tuple
                return ListSource([self._source(part, where) for part in written], kind)
            self._check_texts(written, where)
        elif type(written) is dict:
            if _has_nodes(written.values()):
                return DictSource({key: self._source(part, f"{where}[{key!r}]") for key, part in written.items()})
            self._check_texts(written.values(), where)
        elif isinstance(written, str):
            self._check_text(written, where)
        return self.names.literal(written)

    def _output(self, written: Node[..., Any] | Path, where: str) -> Source:
        node = written if isinstance(written, Node) else written.node
        slot = self.names.slot_of_node(node)
        if slot is None:
            self._unknown(node)
            return LiteralSource(MISSING)
        if node is self.node:
            self.fault("self-dependency", f"has itself in {where}: a node cannot wait for its own output.")
            return LiteralSource(MISSING)
        self.need(slot, node.id)
        return SlotSource(slot) if isinstance(written, Node) else PathSource(slot, written.keys)

    def _check_texts(self, parts: Iterable[Any], where: str) -> None:
        for part in parts:
            if isinstance(part, str):
                self._check_text(part, where)

    def _check_text(self, text: str, where: str) -> None:
        if self.names.slot_of(text) is not None:
            fix = f"write graph[{text!r}] for its output, or value({text!r}) for the text"
            self.fault(
                "literal-is-node", f"has the text {text!r} in {where}, which is also the id of a node: {fix}.", text
            )

    # -- the items of a map

    def over(self, over: Any) -> Source:
        """
        Make a source of the items of a map.
        """
        if isinstance(over, str):
            slot = self.names.slot_of(over)
            if slot is None:
                slot = self.names.input_slot(over, REQUIRED, self.node.id)
                return SlotSource(slot) if slot is not None else self._no_items(over)
            if over == self.node.id:
                self.fault("self-dependency", "maps over its own output.")
                return LiteralSource(())
            return self._follow(slot, over)
        if isinstance(over, Node):
            slot = self.names.slot_of_node(over)
            if slot is None or over is self.node:
                return self._output(over, "over=")
            return self._follow(slot, over.id)
        if isinstance(over, (Path, Value, list, tuple)):
            source = self._source(over, "over=")
            self.note_required("over", source)
            return source
        if not hasattr(over, "__iter__") and not hasattr(over, "__aiter__"):
            return self._no_items(over)
        return self.names.literal(over)

    def _no_items(self, over: object) -> Source:
        fix = "use a node, its id, a list, an iterator, or the name of a run input"
        self.fault("bad-map", f"maps over {shown(over)}, which has no items: {fix}.")
        return LiteralSource(())

    def _follow(self, slot: int, name: str) -> Source:
        # Over a mapped node, items are taken as they come: its start is enough, unless depends_on asks for more.
        if self.names.is_mapped(slot) and slot not in self.upstream:
            self.leader = slot
        else:
            self.need(slot, name)
            self.note_required("over", SlotSource(slot))
        return SlotSource(slot)

    # -- at the end, when all upstream nodes are known

    def check_missing(self) -> None:
        """
        Report parameters that may go without a value, because the node may start when their node has not succeeded.
        """
        join = self.node.policies.join
        if join == Join.ALL or (join == Join.ANY and len(self.upstream) == 1):
            return
        for parameter, upstream in self.fragile:
            why = f"which may be missing with join={join.name.lower()!r}"
            fix = "give the parameter a default, or take a list or dict of nodes"
            text = f"has the parameter {parameter!r} from {upstream!r}, {why}: {fix}."
            self.fault("may-be-missing", text, upstream)


def _has_nodes(parts: Iterable[Any]) -> bool:
    for part in parts:
        if isinstance(part, (Node, Path, Value)):
            return True
        if type(part) in (list, tuple) and _has_nodes(part):
            return True
        if type(part) is dict and _has_nodes(part.values()):
            return True
    return False
