"""
How the arguments of a node are made: sources, read from a run's list of values, and the rule that finds them by name.

Nothing here looks at more than one node; checking a graph as a whole is the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from antichain.errors import Fault, GraphError, named, shown, suggestion
from antichain.graph import Graph, Node, Path, Value
from antichain.policies import UNSET, Join, Settled
from antichain.runnable import EMPTY, Described, Parameter, describe
from antichain.shape import Flag

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = [
    "MISSING",
    "REQUIRED",
    "Binding",
    "Bound",
    "DictSource",
    "ListSource",
    "LiteralSource",
    "MapSpec",
    "Namespace",
    "PathSource",
    "SlotSource",
    "Source",
    "Style",
    "bind_node",
    "bind_step",
]


class _Marker:
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


# What a slot holds while there is no value: the node has not succeeded.
MISSING: Final = _Marker("MISSING")
# The default of an input that has none.
REQUIRED: Final = _Marker("REQUIRED")

Style = Literal[
    "coroutine",
    "inline",
    "thread",
    "async_generator",
    "thread_generator",
    "invoke",
    "invoke_thread",
    "graph",
    "map",
]
# Styles whose attempts cannot be interrupted.
THREADED: frozenset[Style] = frozenset({"thread", "thread_generator", "invoke_thread"})


# -- sources. In all of them, Any is a user's value.


class Source(Protocol):
    """
    Find one argument in the values of a run.
    """

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the argument, or MISSING if what it comes from is not there.
        """
        ...


class SlotSource:
    """
    The value in one slot: a node's output, a run input, a literal.
    """

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the value, or MISSING.
        """
        return values[self.slot]


class PathSource:
    """
    A part of the value in one slot.
    """

    __slots__ = ("keys", "slot")

    def __init__(self, slot: int, keys: tuple[Any, ...]) -> None:
        self.slot = slot
        self.keys = keys

    def get(self, values: Sequence[Any]) -> Any:
        """
        Follow the keys into the value, or return MISSING.
        """
        value = values[self.slot]
        if value is MISSING:
            return value
        for key in self.keys:
            if isinstance(key, str) and not isinstance(value, Mapping) and hasattr(value, key):
                value = getattr(value, key)
            else:
                value = value[key]
        return value


class LiteralSource:
    """
    A value that is known before the run.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self, values: Sequence[Any]) -> Any:
        """
        Return the value.
        """
        return self.value


class ListSource:
    """
    A list (or tuple) of what several sources give; holds only what is there.
    """

    __slots__ = ("kind", "sources")

    def __init__(self, sources: list[Source], kind: Callable[[list[Any]], Any] = list) -> None:
        self.sources = sources
        self.kind = kind

    def get(self, values: Sequence[Any]) -> Any:
        """
        Collect what is there.
        """
        found = [source.get(values) for source in self.sources]
        return self.kind([value for value in found if value is not MISSING])


class DictSource:
    """
    A dict of what several sources give; holds only what is there.
    """

    __slots__ = ("sources",)

    def __init__(self, sources: dict[Any, Source]) -> None:
        self.sources = sources

    def get(self, values: Sequence[Any]) -> Any:
        """
        Collect what is there.
        """
        found = {key: source.get(values) for key, source in self.sources.items()}
        return {key: value for key, value in found.items() if value is not MISSING}


# -- bindings


class Binding:
    """
    Everything an attempt needs of one node beyond a plain call: whom to call, how, and with what.
    """

    __slots__ = (
        "context",
        "defaults",
        "fallback",
        "function",
        "keywords",
        "map",
        "positional",
        "resources",
        "style",
        "subplan",
        "when",
    )

    def __init__(self, style: Style, function: Any) -> None:
        self.style: Style = style
        # What to call; for "invoke" and "invoke_thread" the object that has ainvoke or invoke.
        self.function = function
        self.positional: list[Source] = []
        # What a positional argument is if its source is missing.
        self.defaults: list[Any] = []
        self.keywords: dict[str, Source] = {}
        # The parameter that receives the run's Context.
        self.context: str | None = None
        # Parameters that receive a resource, unless arguments() already found a run input of that name.
        self.resources: tuple[str, ...] = ()
        self.when: Binding | None = None
        # UNSET if there is none.
        self.fallback: Any = UNSET
        self.subplan: Plan | None = None
        self.map: MapSpec | None = None

    def arguments(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Make the arguments, all but Context and resources; a parameter whose source is missing takes its default.
        """
        args = []
        for source, default in zip(self.positional, self.defaults, strict=True):
            value = source.get(values)
            args.append(default if value is MISSING else value)
        kwargs = {}
        for name, source in self.keywords.items():
            value = source.get(values)
            if value is not MISSING:
                kwargs[name] = value
        return tuple(args), kwargs

    def slots(self) -> tuple[int, ...] | None:
        """
        Return the slots of the arguments if a plain call with them is all there is to do, else None.
        """
        if self.keywords or self.context or self.resources or self.when or self.fallback is not UNSET:
            return None
        found = []
        for source in self.positional:
            if type(source) is not SlotSource:
                return None
            found.append(source.slot)
        return tuple(found)


class MapSpec(NamedTuple):
    """
    What a mapped node makes instances from. Values may hold the item in *item_slot* while arguments are made.
    """

    # How one instance is called; its item is the value in item_slot.
    binding: Binding
    item_slot: int
    # The item is the only argument: binding.function(item) will do.
    takes_item_only: bool
    over: Source
    # The mapped node whose instances feed these, one by one: it needs to have started only.
    leader: int | None
    key: Callable[[Any], object] | None
    max_concurrent: int | None
    outcomes: bool
    window: int | None
    # The policies, demand and flags of each instance.
    policies: Settled
    demand: tuple[tuple[str, int], ...]
    flags: Flag


class Bound(NamedTuple):
    """
    A node whose arguments have been found.
    """

    binding: Binding
    # The nodes it waits for, each once, as written.
    upstream: tuple[int, ...]
    # The mapped node that it follows item by item.
    leader: int | None
    faults: list[Fault]


# -- the rule


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


def bind_node(node: Node[..., Any], names: Namespace) -> Bound:
    """
    Find the arguments of *node* in *names*, and collect what cannot be found.
    """
    return _Binder(node, names).bind()


def bind_step(node: Node[..., Any], resolve: Callable[[str], int | None], spare_slot: int = -1) -> Bound:
    """
    Find the arguments of a node that arrives while a run goes on; *resolve* gives the slot of a node by its id.

    There are no run inputs: what is no node must be in ``inputs=`` or have a default.

    Raises:
        GraphError: everything that is wrong with the node.
    """
    bound = bind_node(node, _Steps(resolve, spare_slot))
    if bound.faults:
        raise GraphError(bound.faults)
    return bound


class _Steps:
    """
    The names of a run that goes on: nodes by a callback, and nothing else.
    """

    title = "the run"

    def __init__(self, resolve: Callable[[str], int | None], spare_slot: int) -> None:
        self._resolve = resolve
        self._spare_slot = spare_slot

    def slot_of(self, name: str) -> int | None:
        return self._resolve(name)

    def slot_of_node(self, node: Node[..., Any]) -> int | None:
        return self.slot_of(node.id)

    def input_slot(self, name: str, default: Any, node: str) -> int | None:
        return None

    def inputs_slot(self) -> int | None:
        return None

    def has_resource(self, name: str) -> bool:
        return False

    def literal(self, value: Any) -> Source:
        return LiteralSource(value)

    def spare_slot(self) -> int:
        return self._spare_slot

    def is_mapped(self, slot: int) -> bool:
        return False

    def subplan(self, graph: Graph) -> Plan | None:
        return graph.plan()

    def names(self) -> Iterable[str]:
        return ()


class _Binder:
    """
    Apply the binding rule to one node.

    A parameter is filled from ``inputs``; else from the upstream node of that name; else from the run input of that
    name; else from the resource of that name; else from its default; Context by annotation.
    """

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

    def bind(self) -> Bound:
        node, policies = self.node, self.node.policies
        self._wire()
        self._read_inputs()
        binding = self._bind_map(node.mapped) if node.mapped is not None else self._bind_body()
        if policies.when is not None:
            binding.when = self._bind_condition(policies.when)
        if node.mapped is None:
            binding.fallback = policies.fallback
        self._check_missing()
        return Bound(binding, tuple(self.upstream), self.leader, self.faults)

    # -- faults

    def fault(self, code: str, message: str, *others: str) -> None:
        name = self.node.id
        self.faults.append(Fault(code, f"node {name!r} {message}", name, (name, *others)))

    def unknown(self, name: object) -> None:
        if isinstance(name, Node):
            text = f"needs {name.id!r}, which is a node of another graph, not of {self.names.title}"
            self.fault("unknown-upstream", f"{text}. Add it to this graph, or nest that graph.")
        elif isinstance(name, str):
            hint = suggestion(name, self.names.names()) or f" Add node {name!r}, or remove it from depends_on."
            self.fault("unknown-upstream", f"needs {name!r}, which is not in {self.names.title}.{hint}")
        else:
            self.fault("unknown-upstream", f"has depends_on with {shown(name)}: use ids and nodes.")

    # -- upstream nodes and inputs

    def _wire(self) -> None:
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
                self.unknown(name)
            else:
                self._need(slot, known)
                self.wired[known] = slot

    def _need(self, slot: int, name: str) -> None:
        self.upstream[slot] = None
        self.ids[slot] = name

    def _read_inputs(self) -> None:
        inputs = self.node.inputs
        if inputs is None:
            return
        if isinstance(inputs, Mapping):
            for name, written in inputs.items():
                if isinstance(name, str):
                    self.given[name] = self.source(written, f"inputs[{name!r}]")
                else:
                    self.fault("unused-input", f"has {shown(name)} in inputs=: use the names of its parameters.")
        elif self.node.mapped is not None:
            self.fault("bad-map", f"has inputs={shown(inputs)}: in a map, use a dict from parameters to sources.")
        else:
            self.single = self.source(inputs, "inputs")

    def source(self, written: Any, where: str) -> Source:
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
                return ListSource([self.source(part, where) for part in written], kind)
            self._check_texts(written, where)
        elif type(written) is dict:
            if _has_nodes(written.values()):
                return DictSource({key: self.source(part, f"{where}[{key!r}]") for key, part in written.items()})
            self._check_texts(written.values(), where)
        elif isinstance(written, str):
            self._check_text(written, where)
        return self.names.literal(written)

    def _output(self, written: Node[..., Any] | Path, where: str) -> Source:
        node = written if isinstance(written, Node) else written.node
        slot = self.names.slot_of_node(node)
        if slot is None:
            self.unknown(node)
            return LiteralSource(MISSING)
        if node is self.node:
            self.fault("self-dependency", f"has itself in {where}: a node cannot wait for its own output.")
            return LiteralSource(MISSING)
        self._need(slot, node.id)
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

    # -- what is called

    def _bind_body(self) -> Binding:
        runnable = self.node.runnable
        if isinstance(runnable, Graph):
            return self._bind_graph(runnable, None)
        described = describe(runnable)
        if described is None:
            self._not_runnable(runnable)
            return Binding("inline", runnable)
        binding = Binding(*self._style(described, runnable))
        if described.form in ("ainvoke", "invoke"):
            self._fill_invoked(binding)
        else:
            self._fill(binding, described)
        return binding

    def _not_runnable(self, runnable: object) -> None:
        hint = "use a function, a class, a Graph, or an object with invoke or ainvoke"
        if hasattr(runnable, "__await__"):
            hint = "pass the function itself, without calling it"
        self.fault("not-runnable", f"wraps {shown(runnable)}, which cannot be called: {hint}.")

    def _style(self, described: Described, runnable: Any) -> tuple[Style, Any]:
        runner = self.node.policies.runner
        match described.form:
            case "coroutine" | "async_generator":
                if runner == "thread":
                    what = "is a coroutine function" if described.form == "coroutine" else "is an async generator"
                    fix = "remove runner=, or write it as a plain function"
                    self.fault("bad-policy", f"has runner='thread', but {what}, which runs on the loop: {fix}.")
                return described.form, runnable
            case "generator":
                if runner == "loop":
                    fix = "remove runner=, or write it as an async generator"
                    self.fault("bad-policy", f"has runner='loop', but is a generator, which runs in a thread: {fix}.")
                return "thread_generator", runnable
            case "function":
                return ("inline" if runner == "loop" else "thread"), runnable
            case "ainvoke":
                if runner != "thread":
                    return "invoke", runnable
                if not callable(getattr(runnable, "invoke", None)):
                    self.fault("bad-policy", f"has runner='thread', but {shown(runnable)} has only ainvoke.")
                return "invoke_thread", runnable
            case "invoke":
                return ("inline", runnable.invoke) if runner == "loop" else ("invoke_thread", runnable)

    # -- filling parameters

    def _fill(self, binding: Binding, described: Described, item: str | None = None, item_slot: int = -1) -> None:
        """
        Find a source for each parameter; *item* is the one that receives the item of a map.
        """
        if self.single is not None:
            self._fill_single(binding, described, self.single)
            return
        rest = dict(self.wired or {})
        given = dict(self.given)
        for parameter in described.parameters:
            name = parameter.name
            rest.pop(name, None)
            if name == described.context and name not in given:
                self._by_hand(binding, parameter, "the Context")
                continue
            if name == item:
                source: Source | None = SlotSource(item_slot)
            else:
                source = given.pop(name, None) or self._find(binding, parameter)
            if source is not None:
                self._put(binding, parameter, source)
        if described.takes_kwargs:
            binding.keywords.update({name: SlotSource(slot) for name, slot in rest.items()})
            binding.keywords.update(given)
        elif described.is_opaque:
            binding.keywords.update(given)
        else:
            self._check_unused(given, described)

    def _fill_single(self, binding: Binding, described: Described, single: Source) -> None:
        filled = False
        for parameter in described.parameters:
            if parameter.name == described.context:
                self._by_hand(binding, parameter, "the Context")
            elif not filled and not parameter.keyword_only:
                filled = True
                self._put(binding, parameter, single)
            elif self.names.has_resource(parameter.name) and parameter.default is EMPTY:
                self._resource(binding, parameter)
            elif parameter.default is EMPTY:
                why = "but inputs= gives one source, which is its only argument"
                fix = "use a dict from parameters to sources"
                self.fault("unbound-parameter", f"has the parameter {parameter.name!r}, {why}: {fix}.")
        if not filled:
            if described.takes_args:
                binding.positional.append(single)
                binding.defaults.append(MISSING)
                self._note_fragile("*args", single)
            else:
                self.fault("unused-input", "has inputs= with one source, but takes no positional argument.")

    def _put(self, binding: Binding, parameter: Parameter, source: Source) -> None:
        # Once a parameter is filled by hand, those behind it can only be passed by name.
        by_name = parameter.keyword_only or (
            (binding.context is not None or bool(binding.resources)) and not parameter.positional_only
        )
        if parameter.default is EMPTY:
            self._note_fragile(parameter.name, source)
        if by_name:
            binding.keywords[parameter.name] = source
        else:
            binding.positional.append(source)
            binding.defaults.append(MISSING if parameter.default is EMPTY else parameter.default)

    def _note_fragile(self, name: str, source: Source) -> None:
        if isinstance(source, (SlotSource, PathSource)) and source.slot in self.ids:
            self.fragile.append((name, self.ids[source.slot]))

    def _find(self, binding: Binding, parameter: Parameter) -> Source | None:
        """
        Find what no ``inputs=`` gives: a node, a run input, a resource, the default.
        """
        name, names = parameter.name, self.names
        has_default = parameter.default is not EMPTY
        if self.wired is not None and name in self.wired:
            return SlotSource(self.wired[name])
        slot = names.slot_of(name)
        if slot is not None:
            if has_default:
                return names.literal(parameter.default)
            if name == self.node.id:
                self.fault("self-dependency", f"has a parameter {name!r}, its own id: rename one, or use inputs=.")
                return None
            if self.wired is None:
                self._need(slot, name)
                return SlotSource(slot)
            why = "which is a node that depends_on does not name"
            self.fault("unbound-parameter", f"has the parameter {name!r}, {why}: add it to depends_on.", name)
            return None
        if names.has_resource(name):
            self._resource(binding, parameter)
            return None
        slot = names.input_slot(name, parameter.default if has_default else REQUIRED, self.node.id)
        if slot is not None:
            return SlotSource(slot)
        if has_default:
            return names.literal(parameter.default)
        hint = suggestion(name, names.names()) or " Give it by inputs=, or add the node."
        self.fault("unbound-parameter", f"has the parameter {name!r}, which nothing fills.{hint}")
        return None

    def _resource(self, binding: Binding, parameter: Parameter) -> None:
        slot = self.names.input_slot(parameter.name, MISSING, self.node.id)
        if slot is not None and not parameter.positional_only:
            binding.keywords[parameter.name] = SlotSource(slot)
        if parameter.positional_only:
            self._only_positional(parameter, "a resource")
        else:
            binding.resources += (parameter.name,)

    def _by_hand(self, binding: Binding, parameter: Parameter, what: str) -> None:
        if parameter.positional_only:
            self._only_positional(parameter, what)
        else:
            binding.context = parameter.name

    def _only_positional(self, parameter: Parameter, what: str) -> None:
        fix = "remove the '/' from its signature"
        why = f"takes {what} by position only"
        self.fault("unbound-parameter", f"{why} (parameter {parameter.name!r}): {fix}, so that a name can be used.")

    def _check_unused(self, given: Mapping[str, Source], described: Described) -> None:
        known = [parameter.name for parameter in described.parameters]
        for name in given:
            takes = f" It takes {named(known)}." if known else " It takes no parameters."
            hint = suggestion(name, known) or takes
            self.fault("unused-input", f"has {name!r} in inputs=, which is none of its parameters.{hint}")

    def _fill_invoked(self, binding: Binding) -> None:
        """
        Give an invoked object its one argument: the single source, else the upstream outputs, else the run's inputs.
        """
        source: Source
        if self.single is not None:
            source = self.single
            self._note_fragile("input", source)
        elif self.given:
            source = DictSource(self.given)
        elif self.wired:
            source = DictSource({name: SlotSource(slot) for name, slot in self.wired.items()})
        else:
            slot = self.names.inputs_slot()
            source = SlotSource(slot) if slot is not None else LiteralSource({})
        binding.positional.append(source)
        binding.defaults.append(MISSING)

    # -- nested graphs

    def _bind_graph(self, graph: Graph, item_slot: int | None) -> Binding:
        binding = Binding("graph", graph)
        policies = self.node.policies
        if self.node.mapped is None and (policies.uses or policies.runner):
            what = "uses=" if policies.uses else "runner="
            why = "but a nested graph takes no slot and no thread itself"
            self.fault(
                "bad-policy", f"has {what}, {why}: give it to the nodes inside, or to Graph(defaults=Policies(…))."
            )
        if graph.options:
            what = ", ".join(f"{name}=" for name in graph.options)
            why = "but a nested graph is part of the outer graph's run"
            self.fault("nested-options", f"wraps graph {graph.name!r} with {what}, {why}: move it to the outer graph.")
        subplan = binding.subplan = self.names.subplan(graph)
        if subplan is None:
            return binding
        described = Described("coroutine", _parameters_of(subplan), takes_kwargs=subplan.takes_any_input)
        if item_slot is not None:
            item = self._item_parameter(described)
            if item is not None:
                self._fill(binding, described, item, item_slot)
        elif self.single is not None:
            self._fill_graph_single(binding, subplan, self.single)
        else:
            self._fill(binding, described)
        return binding

    def _fill_graph_single(self, binding: Binding, subplan: Plan, single: Source) -> None:
        names = list(subplan.inputs) or list(subplan.optional_inputs)
        if len(names) == 1:
            binding.keywords[names[0]] = single
            if subplan.inputs:
                self._note_fragile(names[0], single)
        else:
            takes = named(names) if names else "none"
            fix = "use a dict from its inputs to sources"
            self.fault("unbound-parameter", f"has inputs= with one source, but its graph's inputs are {takes}: {fix}.")

    # -- maps

    def _bind_map(self, mapped: Any) -> Binding:
        binding = Binding("map", self.node.runnable)
        over = self._over(mapped.over)
        self._check_map(mapped)
        item_slot = self.names.spare_slot()
        instance = self._bind_instance(item_slot)
        instance.fallback = self.node.policies.fallback
        demand = self._instance_demand(instance, mapped.max_concurrent)
        takes_item_only = not instance.keywords and not instance.context and not instance.resources
        takes_item_only = takes_item_only and len(instance.positional) == 1
        flags = Flag.THREAD if instance.style in THREADED else Flag(0)
        if instance.style == "graph":
            flags = Flag.CONTAINER
        binding.map = MapSpec(
            instance,
            item_slot,
            takes_item_only,
            over,
            self.leader,
            mapped.key,
            mapped.max_concurrent,
            mapped.outcomes,
            mapped.window,
            self.node.policies,
            demand,
            flags | flags_of(self.node.policies),
        )
        return binding

    def _bind_instance(self, item_slot: int) -> Binding:
        runnable = self.node.runnable
        if isinstance(runnable, Graph):
            return self._bind_graph(runnable, item_slot)
        described = describe(runnable)
        if described is None:
            self._not_runnable(runnable)
            return Binding("inline", runnable)
        instance = Binding(*self._style(described, runnable))
        item = SlotSource(item_slot)
        if described.form in ("ainvoke", "invoke") or (described.takes_args and not described.parameters):
            instance.positional.append(item)
            instance.defaults.append(MISSING)
            return instance
        name = self._item_parameter(described)
        if name is not None:
            self._fill(instance, described, name, item_slot)
        return instance

    def _item_parameter(self, described: Described) -> str | None:
        """
        Find the parameter that receives the item: the first that nothing else fills.
        """
        over = self.node.mapped.over if self.node.mapped is not None else None
        over = over.id if isinstance(over, Node) else over
        for parameter in described.parameters:
            name = parameter.name
            if name in self.given or name == described.context:
                continue
            # Named after the items themselves, it is meant for one of them.
            if name != over and (self._is_wired(parameter) or self.names.has_resource(name)):
                continue
            return name
        self.fault("bad-map", f"maps {shown(self.node.runnable)}, which has no parameter left to receive the item.")
        return None

    def _is_wired(self, parameter: Parameter) -> bool:
        if self.wired is not None:
            return parameter.name in self.wired
        return parameter.default is EMPTY and self.names.slot_of(parameter.name) is not None

    def _over(self, over: Any) -> Source:
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
            source = self.source(over, "over=")
            self._note_fragile("over", source)
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
            self._need(slot, name)
            self._note_fragile("over", SlotSource(slot))
        return SlotSource(slot)

    def _check_map(self, mapped: Any) -> None:
        for name in ("max_concurrent", "window"):
            number = getattr(mapped, name)
            if number is not None and (type(number) is not int or number < 1):
                self.fault("bad-map", f"has {name}={shown(number)}: must be a whole number, at least 1.")
        if mapped.key is not None and not callable(mapped.key):
            self.fault("bad-map", f"has key={shown(mapped.key)}: must be a function from an item to its name.")
        if not isinstance(mapped.outcomes, bool):
            self.fault("bad-map", f"has outcomes={shown(mapped.outcomes)}: must be True or False.")

    def _instance_demand(self, instance: Binding, max_concurrent: int | None) -> tuple[tuple[str, int], ...]:
        if instance.style == "graph":
            # Its nodes take slots, it does not: so nothing would hold back its instances but the window.
            if max_concurrent is not None or self.node.policies.uses:
                what = "max_concurrent=" if max_concurrent is not None else "uses="
                self.fault("bad-map", f"maps a graph with {what}: limit the nodes inside, or use window=.")
            return ()
        demand = demand_of(self.node.policies, instance.style)
        if type(max_concurrent) is int and max_concurrent > 0:
            demand = tuple(sorted((*demand, (private_limit(self.node.id), 1))))
        return demand

    # -- conditions

    def _bind_condition(self, when: Callable[..., Any]) -> Binding:
        binding = Binding("inline", when)
        described = describe(when)
        if described is None or described.form not in ("function",):
            why = "a condition is a plain function, because nothing may wait between it and the start"
            self.fault("bad-when", f"has when={shown(when)}: {why}. Make it a node, and use its output.")
            return binding
        if described.context is not None:
            self.fault("bad-when", f"has when={shown(when)}, which takes a Context: there is none before the start.")
            return binding
        # What the body takes and the condition does not is no fault; and a resource is not opened for a condition.
        known = {parameter.name for parameter in described.parameters}
        given, wired = self.given, self.wired
        if not described.takes_kwargs:
            self.given = {name: source for name, source in given.items() if name in known}
        if self.single is not None and not described.parameters and not described.takes_args:
            self.single, single = None, self.single
            self._fill(binding, described)
            self.single = single
        else:
            self._fill(binding, described)
        self.given, self.wired = given, wired
        if binding.resources:
            what = named(binding.resources)
            self.fault("bad-when", f"has when={shown(when)}, which takes the resource {what}: use it in a node.")
        return binding

    # -- at the end, when all upstream nodes are known

    def _check_missing(self) -> None:
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


def _parameters_of(subplan: Plan) -> tuple[Parameter, ...]:
    needed = [Parameter(name, keyword_only=True) for name in subplan.inputs]
    # Left out if nothing gives them: the nodes inside have the defaults.
    optional = [Parameter(name, keyword_only=True, default=MISSING) for name in sorted(subplan.optional_inputs)]
    return (*needed, *optional)


def private_limit(node: str) -> str:
    """
    Name the limit that a map's max_concurrent is.
    """
    return f"{node}.max_concurrent"


def demand_of(policies: Settled, style: Style) -> tuple[tuple[str, int], ...]:
    """
    List what an attempt takes of each limit, names sorted; a thread is taken like any other.
    """
    if style not in THREADED or any(name == "thread" for name, _ in policies.uses):
        return policies.uses
    return tuple(sorted((*policies.uses, ("thread", 1))))


def flags_of(policies: Settled) -> Flag:
    """
    Return what the core must know of a node's policies.
    """
    flags = Flag(0)
    if policies.fallback is not UNSET:
        flags |= Flag.FALLBACK
    if policies.repeat == "safe":
        flags |= Flag.REPEAT_SAFE
    if policies.timeout is not None:
        flags |= Flag.TIMED
    if policies.retry is not None:
        flags |= Flag.RETRY
    return flags
