"""
What the user writes: a Graph, its Nodes, and where a node's arguments come from. Nothing here checks or runs a graph.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies import (
    GraphOptions,
    LimitValue,
    NodePolicies,
    Policies,
    ResumeOptions,
    RunOptions,
    Settled,
    check_options,
    policies_of,
    settled,
)

if TYPE_CHECKING:
    from antichain.core.facts import Event
    from antichain.plan import Plan
    from antichain.record import RunResult

__all__ = ["Graph", "Mapped", "Node", "Path", "Value", "value"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])  # Any: a user's function

# Distinct sets of policies that a graph remembers, so that nodes with equal policies share one object.
REMEMBERED_POLICIES = 1024


class Node(Generic[P, R]):
    """
    One vertex of a graph, which is still the user's function: calling it just calls the function.

    Example:
        >>> graph = Graph()
        >>> @graph.node
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double(4), double.id
        (8, 'double')
    """

    __slots__ = ("depends_on", "id", "inputs", "mapped", "policies", "runnable")

    def __init__(
        self,
        id: str,  # noqa: A002  # the word of the public contract
        runnable: Any,  # Any: whatever a node may wrap
        depends_on: tuple[Any, ...] | None,  # Any: ids, and what is no id, which the plan reports
        inputs: Any,  # Any: a source, or sources by parameter
        policies: Settled,
        mapped: Mapped | None = None,
    ) -> None:
        self.id = id
        self.runnable = runnable
        # None if the parameters' names say it.
        self.depends_on = depends_on
        self.inputs = inputs
        self.policies = policies
        self.mapped = mapped

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """
        Call the function, without any engine.
        """
        if not callable(self.runnable):
            raise TypeError(f"node {self.id!r} wraps {shown(self.runnable)}, which cannot be called")
        return cast("R", self.runnable(*args, **kwargs))

    def path(self, *keys: Any) -> Path:  # Any: keys of the user's value
        """
        Name a part of the node's output, as a source: ``web.path(0, "title")`` is ``output[0]["title"]``.

        A text also finds an attribute, where the value has no keys.
        """
        return Path(self, keys)

    # What inspect.signature, functools.wraps and help() look for on a function.
    @property
    def __wrapped__(self) -> Any:  # Any: whatever a node may wrap
        return self.runnable

    @property
    def __name__(self) -> str:
        return getattr(self.runnable, "__name__", self.id)

    def __repr__(self) -> str:
        return f"Node({self.id!r})"


@dataclass(frozen=True, slots=True)
class Path:
    """
    A part of a node's output, as a source.
    """

    node: Node[..., Any]  # Any: the output of any node
    keys: tuple[Any, ...]  # Any: keys of the user's value

    def path(self, *keys: Any) -> Path:  # Any: keys of the user's value
        """
        Name a part of this part.
        """
        return Path(self.node, self.keys + keys)


@dataclass(frozen=True, slots=True)
class Value:
    """
    A value that is taken as it is, whatever it looks like; made by value().
    """

    value: Any  # Any: the user's value


def value(literal: Any) -> Value:  # Any: the user's value
    """
    Pass *literal* as it is, even if it is a text that equals the id of a node.

    Example:
        >>> graph = Graph()
        >>> search = graph.add("search", print, inputs=value("search"))
    """
    return Value(literal)


@dataclass(frozen=True, slots=True)
class Mapped:
    """
    What graph.map was asked for: one instance of the node's runnable per item of *over*.
    """

    over: Any  # Any: a source, a list or an iterator
    key: Callable[[Any], object] | None = None  # Any: an item
    max_concurrent: int | None = None
    outcomes: bool = False
    window: int | None = None


def _is_mapping(given: object) -> bool:
    return given is None or isinstance(given, Mapping)


class Graph:
    """
    Hold nodes and what they need; plan() checks them, run() executes them as parallel as that allows.

    Example:
        >>> graph = Graph("sum")
        >>> @graph.node
        ... def left() -> int:
        ...     return 1
        >>> @graph.node
        ... def total(left: int, right: int) -> int:
        ...     return left + right
        >>> sorted(graph.plan().inputs)
        ['right']

    Raises:
        GraphError: the name is no text, or a run option is unknown or has an impossible value.
    """

    def __init__(
        self,
        name: str = "graph",
        *,
        limits: Mapping[str, LimitValue] | None = None,
        defaults: Policies | None = None,
        **options: Unpack[GraphOptions],
    ) -> None:
        faults = check_options(options)
        if not isinstance(defaults or Policies(), Policies):
            faults.append(Fault("bad-policy", f"defaults={shown(defaults)}: use Policies(…)."))
            defaults = None
        if not isinstance(cast("object", name), str):
            faults.append(Fault("bad-policy", f"{shown(name)} cannot be the name of a graph: use a text."))
            name = "graph"
        if not _is_mapping(limits):
            faults.extend(check_options({"limits": limits}))
        if faults:
            raise GraphError(faults, name)
        self.name = name
        self.limits: dict[str, LimitValue] = dict(limits or {})
        self.defaults = defaults or Policies()
        self.options: dict[str, Any] = {name: given for name, given in options.items() if given is not None}
        self.resources: dict[str, Callable[..., Any]] = {}  # Any: what a resource takes and gives is its own affair
        # What went wrong while nodes were added: plan() reports it with all else.
        self.faults: list[Fault] = []
        self._nodes: list[Node[..., Any]] = []
        # Position of each node. Invariant: _nodes[_index[id]].id == id.
        self._index: dict[str, int] = {}
        # A plan uses _nodes and _index as they are; they are copied before the next change.
        self._is_planned = False
        self._settled: dict[tuple[Any, ...], Settled] = {}  # Any: values of policies
        self._default = settled(self.defaults)

    # -- adding nodes

    def add(
        self,
        id: str,  # noqa: A002  # the word of the public contract
        runnable: Any,  # Any: whatever a node may wrap
        *,
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., Any]:
        """
        Add a node under an id of its own, and return it. What is wrong with it is reported by plan().

        Args:
            id: any text; ids are never parsed.
            runnable: a function, a class, a Graph, or an object with ``ainvoke`` or ``invoke``.
            depends_on: the upstream nodes, instead of those that the parameters are named after.
            inputs: a dict from parameters to sources, or one source, which becomes the only argument.
                A source is a node, a path into its output, a list or dict of nodes, or a literal.
            policies: see NodePolicies.
        """
        node: Node[..., Any] = Node(
            id,
            runnable.runnable if type(runnable) is Node else runnable,
            None if depends_on is None else self._ids(depends_on),
            dict(inputs) if inputs is not None and isinstance(inputs, Mapping) else inputs,
            self._policies(id, policies) if policies else self._default,
        )
        return self._enter(node)

    @overload
    def node(self, function: Callable[P, R], /) -> Node[P, R]: ...

    @overload
    def node(
        self,
        /,
        *,
        id: str | None = None,
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Callable[[Callable[P, R]], Node[P, R]]: ...

    def node(
        self,
        function: Any = None,  # Any: the overloads say it
        /,
        *,
        id: str | None = None,  # noqa: A002
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Any:  # Any: the overloads say it
        """
        Make a function a node, as a decorator; its id is the function's name unless *id* is given.
        """

        def enter(function: Any) -> Node[..., Any]:  # Any: the overloads say it
            name = id if id is not None else self._name_of(function)
            return self.add(name, function, depends_on=depends_on, inputs=inputs, **policies)

        return enter if function is None else enter(function)

    def map(
        self,
        id: str,  # noqa: A002  # the word of the public contract
        runnable: Any,  # Any: whatever a node may wrap
        over: Any,  # Any: a source, a list or an iterator
        *,
        key: Callable[[Any], object] | None = None,  # Any: an item
        max_concurrent: int | None = None,
        outcomes: bool = False,
        window: int | None = None,
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., Any]:
        """
        Add a node that runs *runnable* once per item of *over*; its output is the list of what came out, in order.

        Policies apply to each instance; ``when``, ``join`` and ``depends_on`` to the whole.

        Args:
            id: the id of the whole; instances are ``id[key]``.
            runnable: as for add(). Its first parameter that nothing else fills receives the item.
            over: a node or its id, a path, a list, an iterator, or the name of a run input.
            key: gives the name of an instance from its item; without it, the position does.
            max_concurrent: most instances at once.
            outcomes: give Outcomes, in which failures are kept beside values.
            window: most items taken from *over* ahead of what has ended.
            depends_on: as for add().
            inputs: sources of the other parameters.
            policies: see NodePolicies.
        """
        node: Node[..., Any] = Node(
            id,
            runnable.runnable if type(runnable) is Node else runnable,
            None if depends_on is None else self._ids(depends_on),
            dict(inputs) if inputs is not None and isinstance(inputs, Mapping) else inputs,
            self._policies(id, policies) if policies else self._default,
            Mapped(over, key, max_concurrent, outcomes, window),
        )
        return self._enter(node)

    @overload
    def ask(
        self,
        id: str,
        text: str,
        *,
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., str]: ...

    @overload
    def ask(
        self,
        id: str,
        text: str,
        *,
        type: type[T] | Sequence[T],
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., T]: ...

    @overload
    def ask(
        self,
        id: str,
        text: str,
        *,
        type: Any,  # Any: a Literal
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., Any]: ...

    def ask(
        self,
        id: str,  # noqa: A002  # the word of the public contract
        text: str,
        *,
        type: Any = str,  # noqa: A002  # the word for it
        depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any] | None = None,
        inputs: Any = None,  # Any: a source, or sources by parameter
        **policies: Unpack[NodePolicies],
    ) -> Node[..., Any]:  # Any: of the question's type
        """
        Add a node whose output is a person's answer: only what depends on it waits. See ``Context.ask``.

        ``{name}`` in the text is a parameter, filled like those of any node and shown as ``str`` shows it, up to 2,000
        characters; ``{{`` and ``}}`` are braces. Nothing else may stand in braces.

        The graph's defaults for ``timeout``, ``uses`` and ``runner`` are not for people: they hold only if given here.

        Args:
            id: any text, as for add().
            text: what the person reads.
            type: what the answer has to be: bool, str, int, float, an Enum, a Literal, or a list of choices.
            depends_on: as for add().
            inputs: as for add().
            policies: see NodePolicies. With ``fallback=``, that is the answer if nobody answers.

        Example:
            >>> graph = Graph("cleanup")
            >>> ok = graph.ask("ok", "Delete {branches}?", type=bool)
            >>> graph.run(branches=["old", "tmp"], ask=lambda question: "yes")["ok"]
            True
        """
        from antichain.questions import make_asker

        asker, faults = make_asker(id, text, type)
        self.faults.extend(faults)
        # Of a text that cannot be read nobody knows the parameters.
        inputs = None if faults else inputs
        settled: NodePolicies = {"timeout": None, "uses": {}, "runner": "loop", **policies}
        return self.add(id, asker, depends_on=depends_on, inputs=inputs, **settled)

    @overload
    def resource(self, function: Function, /) -> Function: ...

    @overload
    def resource(self, /, *, name: str | None = None) -> Callable[[Function], Function]: ...

    def resource(self, function: Any = None, /, *, name: str | None = None) -> Any:  # Any: the overloads say it
        """
        Make an (async) generator function a resource: opened once per run before its first use, closed at the end.

        Nodes receive what it yields by a parameter of its name.
        """

        def enter(function: Any) -> Any:  # Any: the overloads say it
            from inspect import isasyncgenfunction, isgeneratorfunction

            known = name if name is not None else self._name_of(function)
            if known in self.resources:
                self.faults.append(
                    Fault("duplicate-id", f"resource {known!r} is defined twice in graph {self.name!r}.")
                )
            elif not isasyncgenfunction(function) and not isgeneratorfunction(function):
                why = "a resource is a generator function that yields once, so that it can be closed"
                self.faults.append(Fault("not-runnable", f"resource {known!r} is {shown(function)}: {why}."))
            else:
                self.resources[known] = function
            return function

        return enter if function is None else enter(function)

    def _enter(self, node: Node[..., Any]) -> Node[..., Any]:
        index, name = self._index, node.id
        if name in index or type(name) is not str or not name:
            self.faults.append(self._bad_id(name))
            return node
        if self._is_planned:
            self._nodes, self._index, self._is_planned = self._nodes.copy(), index.copy(), False
            index = self._index
        index[name] = len(self._nodes)
        self._nodes.append(node)
        return node

    def _bad_id(self, name: object) -> Fault:
        if isinstance(name, str) and name:
            why = "Ids name outputs, so each is used once: give one of the two another id"
            return Fault(
                "duplicate-id", f"node {name!r} is defined twice in graph {self.name!r}. {why}.", name, (name,)
            )
        return Fault("bad-policy", f"{shown(name)} cannot be the id of a node in graph {self.name!r}: use a text.")

    def _name_of(self, function: object) -> str:
        name = getattr(function, "__name__", None)
        if isinstance(name, str) and name != "<lambda>":
            return name
        return cast("str", None)  # reported as a bad id, with all other faults

    def _ids(self, depends_on: Iterable[str | Node[..., Any]] | str | Node[..., Any]) -> tuple[Any, ...]:
        if isinstance(depends_on, (str, Node)):
            depends_on = (depends_on,)
        try:
            return tuple([name if type(name) is str else self._id_of(name) for name in depends_on])
        except TypeError:
            return (depends_on,)  # not iterable: reported by plan() as what it is

    def _id_of(self, node: object) -> object:
        # Another graph's node stays what it is, so that plan() can say so.
        return node.id if isinstance(node, Node) and self.owns(node) else node

    def owns(self, node: Node[..., Any]) -> bool:
        """
        Say whether *node* is a node of this graph, not just one with the same id.
        """
        position = self._index.get(node.id)
        return position is not None and self._nodes[position] is node

    def _policies(self, name: str, given: NodePolicies) -> Settled:
        # Nodes with equal policies share one object: a million nodes rarely have more than a handful. Values that only
        # look equal to others (a fallback of 1 and of True) or cannot be compared are not shared.
        if "fallback" in given or "when" in given:
            return self._read_policies(name, given)
        key = tuple(given.items())
        try:
            known = self._settled.get(key)
        except TypeError:  # not hashable: a dict of weights
            return self._read_policies(name, given)
        if known is None:
            known = self._read_policies(name, given)
            if len(self._settled) < REMEMBERED_POLICIES:
                self._settled[key] = known
        return known

    def _read_policies(self, name: str, given: NodePolicies) -> Settled:
        try:
            return policies_of(given, self.defaults)
        except GraphError as error:
            for fault in error.faults:
                text = f"node {name!r}: {fault.message}"
                self.faults.append(Fault(fault.code, text, name, (name,)))
            return self._default

    # -- looking at it

    @property
    def nodes(self) -> Sequence[Node[..., Any]]:
        """
        The nodes in definition order.
        """
        return tuple(self._nodes)

    def __getitem__(self, id: str) -> Node[..., Any]:  # noqa: A002
        position = self._index.get(id)
        if position is None:
            raise KeyError(f"graph {self.name!r} has no node {id!r}.{suggestion(str(id), self._index)}")
        return self._nodes[position]

    def __contains__(self, node: object) -> bool:
        return self.owns(node) if isinstance(node, Node) else node in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._index))

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, {len(self._nodes)} nodes)"

    def frozen(self) -> tuple[list[Node[..., Any]], dict[str, int]]:
        """
        Return the nodes and their positions for a plan, which later changes of the graph do not touch.
        """
        self._is_planned = True
        return self._nodes, self._index

    # -- using it

    def plan(self, targets: Iterable[str | Node[..., Any]] | None = None) -> Plan:
        """
        Check the whole graph and fix what a run needs; with *targets*, only of what they need.

        Raises:
            GraphError: everything that is wrong with the graph, at once.
        """
        from antichain.plan import plan_graph

        return plan_graph(self, targets)

    def run(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> RunResult:  # Any: the user's values
        """
        Execute the graph and wait for its end.

        Args:
            inputs: run inputs by name; needed only for names that are run options.
            given: run options (see RunOptions) and run inputs.

        Raises:
            GraphError: everything that is wrong with the graph, the inputs and the options; nothing has run.
            RunFailed: nodes failed; ``.result`` keeps what completed.
            RunTimeout: the run passed its deadline; likewise.
        """
        from antichain.plan import prepare
        from antichain.run import run_plan

        return run_plan(*prepare(self, inputs, given))

    async def arun(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> RunResult:  # Any: as for run
        """
        Execute the graph in async code; otherwise as run().
        """
        from antichain.plan import prepare
        from antichain.run import arun_plan

        return await arun_plan(*prepare(self, inputs, given))

    def astream(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> AsyncIterator[Event]:  # Any: as run
        """
        Execute the graph and iterate over its events; leaving the loop cancels and awaits everything.
        """
        from antichain.plan import prepare
        from antichain.run import astream_plan

        return astream_plan(*prepare(self, inputs, given))

    def stream(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> Iterator[Event]:  # Any: as for run
        """
        Execute the graph and iterate over its events, outside async code.
        """
        from antichain.plan import prepare
        from antichain.run import stream_plan

        return iter(stream_plan(*prepare(self, inputs, given)))

    def batch(self, inputs: Iterable[Mapping[str, Any]], **options: Unpack[RunOptions]) -> list[RunResult]:
        """
        Execute the graph once per mapping of inputs, several at once, and return the results in order.
        """
        from antichain.plan import prepare_batch
        from antichain.run import batch_plan

        return batch_plan(*prepare_batch(self, inputs, options))

    async def abatch(self, inputs: Iterable[Mapping[str, Any]], **options: Unpack[RunOptions]) -> list[RunResult]:
        """
        Execute the graph once per mapping of inputs in async code; otherwise as batch().
        """
        from antichain.plan import prepare_batch
        from antichain.run import abatch_plan

        return await abatch_plan(*prepare_batch(self, inputs, options))

    def resume(self, run_id: str, /, **options: Unpack[ResumeOptions]) -> RunResult:
        """
        Go on with a run that a store keeps, and wait for its end; a run that has ended gives its result again.

        What has completed never runs again. What has not, and what comes after, is taken from the graph as it is now:
        fix what failed, and resume. The run's inputs are kept with it.

        Args:
            run_id: the id that the run was given, or got.
            options: where it is kept, answers to its questions, and run options (see ResumeOptions).

        Raises:
            GraphError: everything that is wrong with the graph and the options, or a completed node has changed;
                nothing has run.
            StoreError: the store has no such run, or cannot be used; RunOwned: somebody else is at it.
            RunFailed: nodes failed. RunTimeout: the run passed its deadline.
        """
        from antichain.plan import prepare_resume
        from antichain.run import resume_plan

        return resume_plan(*prepare_resume(self, run_id, options))

    async def aresume(self, run_id: str, /, **options: Unpack[ResumeOptions]) -> RunResult:
        """
        Go on with a run that a store keeps, in async code; otherwise as resume().
        """
        from antichain.plan import prepare_resume
        from antichain.run import aresume_plan

        return await aresume_plan(*prepare_resume(self, run_id, options))

    # The names under which other libraries know the same.
    invoke = run
    ainvoke = arun
