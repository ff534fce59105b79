"""
The two recipes, with their own words: thin faces of the one engine. Nothing here schedules anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from antichain.binding import Prepared
from antichain.driver import Driver
from antichain.errors import Fault, GraphError, RunFailed, shown
from antichain.feed import Feed
from antichain.graph import Graph, Node
from antichain.plan import prepare
from antichain.policies import UNSET, Backoff, LimitValue, NodePolicies, Policies, Retry, Timeout, merged
from antichain.policies.options import check_options, split_options
from antichain.record import RunResult
from antichain.run import drive, run_driver, settle

__all__ = ["GraphNode", "ParallelGraphExecutor", "ParallelStepExecutor", "Step"]


class ExecutorOptions(TypedDict, total=False):
    """
    What both executors take by name: options of every execution, which a call may override.
    """

    limits: Mapping[str, LimitValue] | None
    deadline: float | None
    on_error: Literal["cancel", "drain", "continue"]
    grace: float
    seed: int | None
    listeners: Iterable[Callable[[Any], object]] | None  # Any: an event
    progress: bool
    isolation: Literal["context", "task"]
    ask: Callable[[Any], Any] | None  # Any: a Question, and its answer


@dataclass(frozen=True, slots=True, init=False)
class GraphNode:
    """
    One node of a ParallelGraphExecutor: what it runs, after which others, and its policies (priority, retry, uses, …).

    Example:
        >>> GraphNode("answer", print, depends_on=["web", "memory"], priority=10).depends_on
        ('web', 'memory')
    """

    id: str
    # A function, a class, a Graph, or an object with ainvoke or invoke.
    runnable: Any
    depends_on: tuple[str, ...]
    policies: NodePolicies

    def __init__(
        self,
        id: str,  # noqa: A002  # the word of the recipe
        runnable: Any,  # Any: see above
        depends_on: Iterable[str | GraphNode] | str | GraphNode = (),
        **policies: Unpack[NodePolicies],
    ) -> None:
        _set(self, id=id, runnable=runnable, depends_on=_ids(depends_on), policies=policies)


class ParallelGraphExecutor:
    """
    Run nodes as parallel as their dependencies allow, at most *max_concurrent* at once.

    Nodes receive the outputs of others by parameter name. An executor keeps nothing of an execution: it may execute
    again, also while it executes, and nodes added meanwhile belong to the next one.

    Example:
        >>> executor = ParallelGraphExecutor(max_concurrent=5)
        >>> node = executor.add_node(GraphNode("node1", lambda: 20))
        >>> node = executor.add_node(GraphNode("node2", lambda node1: node1 + 1, depends_on=["node1"]))
        >>> executor.execute_sync()
        {'node1': 20, 'node2': 21}

    Raises:
        GraphError: an option is unknown or has an impossible value.
    """

    def __init__(
        self,
        max_concurrent: int | None = None,
        *,
        defaults: Policies | None = None,
        **options: Unpack[ExecutorOptions],
    ) -> None:
        self._graph = Graph("nodes", max_concurrent=max_concurrent, defaults=defaults, **options)

    def add_node(self, node: GraphNode) -> GraphNode:
        """
        Add *node* and return it; what is wrong with it is said by execute(), before any node runs.
        """
        if not isinstance(node, GraphNode):
            raise GraphError(Fault("not-a-node", f"add_node was given {shown(node)}: use GraphNode(id, runnable)."))
        self._graph.add(node.id, node.runnable, depends_on=node.depends_on or None, **node.policies)
        return node

    async def execute(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> dict[str, Any]:
        """
        Run all nodes and return their results by id.

        Args:
            inputs: run inputs by name; needed only for names that are run options.
            given: run options (`on_error`, `deadline`, …) and run inputs.

        Raises:
            GraphError: everything that is wrong with the nodes, the inputs and the options; nothing has run.
            RunFailed: nodes failed; ``.result`` keeps what completed, and what became of every node.
            RunTimeout: the deadline passed; likewise.
        """
        return dict(await self._graph.arun(inputs, **given))

    def execute_sync(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> dict[str, Any]:
        """
        Do the same outside async code.
        """
        return dict(self._graph.run(inputs, **given))

    async def execute_with_dynamic_concurrency(
        self,
        limits: Mapping[str, LimitValue],
        **given: Any,  # Any: as for execute
    ) -> dict[str, Any]:
        """
        Run all nodes with *limits* by kind of node: a node names its kind by ``uses``.

        A Limit, unlike a number, can be resized while the nodes run, and shared with other executions.

        Example:
            >>> executor = ParallelGraphExecutor()
            >>> node = executor.add_node(GraphNode("ask", lambda: "yes", uses="llm"))
            >>> asyncio.run(executor.execute_with_dynamic_concurrency(limits={"llm": Limit(4)}))
            {'ask': 'yes'}
        """
        return await self.execute(limits=limits, **given)


@dataclass(frozen=True, slots=True, init=False)
class Step:
    """
    One step of a ParallelStepExecutor: its action, the steps it depends on, and its policies.

    Example:
        >>> Step("summary", print, depends=["search"], retry=3).depends
        ('search',)
    """

    id: str
    # A function, a class, a Graph, or an object with ainvoke or invoke.
    action: Any
    depends: tuple[str, ...]
    policies: NodePolicies

    def __init__(
        self,
        id: str,  # noqa: A002  # the word of the recipe
        action: Any,  # Any: see above
        depends: Iterable[str | Step] | str | Step = (),
        **policies: Unpack[NodePolicies],
    ) -> None:
        _set(self, id=id, action=action, depends=_ids(depends), policies=policies)


class PreparedStep(Step):
    """
    A step whose arguments a function makes from the outputs of the steps it depends on: a step of a plan.
    """

    __slots__ = ("arguments",)

    arguments: Prepared

    def __init__(
        self,
        id: str,  # noqa: A002  # the word of the recipe
        action: Any,  # Any: as for Step
        depends: Iterable[str | Step] | str | Step,
        arguments: Prepared,
        **policies: Unpack[NodePolicies],
    ) -> None:
        super().__init__(id, action, depends, **policies)
        _set(self, arguments=arguments)


class ParallelStepExecutor:
    """
    Run steps as parallel as their dependencies allow; actions receive the outputs of other steps by parameter name.

    Steps may also come from an async iterator, a plan that is still being written: each enters the run as it arrives,
    and starts the moment its dependencies have ended. It may depend on steps that arrive later.

    Example:
        >>> executor = ParallelStepExecutor([Step("search", lambda: 20), Step("answer", lambda search: search + 1)])
        >>> executor.execute_sync()
        {'search': 20, 'answer': 21}

    Raises:
        GraphError: an option is unknown or has an impossible value, or *steps* are none.
    """

    def __init__(
        self,
        steps: Iterable[Step] | AsyncIterable[Step],
        max_concurrent: int | None = None,
        *,
        defaults: Policies | None = None,
        **options: Unpack[ExecutorOptions],
    ) -> None:
        self._stream: AsyncIterable[Step] | None = None
        # An iterator is used up by an execution; what only makes iterators is not.
        self._was_read = False
        self._steps: list[Step] = []
        if isinstance(steps, AsyncIterable):
            self._stream = steps
        else:
            self._steps = _as_steps(steps)
        self._defaults = defaults or Policies()
        self._options = options
        self._max_concurrent = max_concurrent
        self._make_graph(self._defaults)

    async def execute(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> dict[str, Any]:
        """
        Run all steps and return their results by id, in the order of the steps.

        Args:
            inputs: run inputs by name; needed only for names that are run options.
            given: run options (`on_error`, `deadline`, …) and run inputs.

        Raises:
            GraphError: everything that is wrong with the steps, the inputs and the options; nothing has run. What is
                wrong with a stream of steps is found as it is read: then ``.result`` keeps what completed.
            RunFailed: steps, or their stream, failed; ``.result`` keeps what completed, and what became of each step.
            RunTimeout: the deadline passed; likewise.
        """
        return await self._execute(Policies(), inputs, given)

    def execute_sync(self, inputs: Mapping[str, Any] | None = None, /, **given: Any) -> dict[str, Any]:
        """
        Do the same outside async code.
        """
        graph = self._make_graph(self._defaults)
        if self._stream is None:
            return dict(self._filled(graph).run(inputs, **given))
        driver, feed = self._stream_driver(graph, self._stream, inputs, given)
        try:
            return _outputs(run_driver(driver), feed)
        except RunFailed as failure:
            raise _refusal(failure) from None

    async def execute_with_timeout(self, step_timeout: float, **given: Any) -> dict[str, Any]:
        """
        Run all steps, each attempt of which may take *step_timeout* seconds; a step's own ``timeout`` counts instead.
        """
        return await self._execute(Policies(timeout=Timeout(attempt=step_timeout)), None, given)

    async def execute_with_retry(
        self,
        max_retries: int,
        *,
        backoff: Backoff = Backoff(),
        step_timeout: float | None = None,
        **given: Any,  # Any: as for execute
    ) -> dict[str, Any]:
        """
        Run all steps, each with up to *max_retries* attempts after its first; a step's own ``retry`` counts instead.

        Cancellation, programming errors and validation errors are not retried: see Retry.
        """
        if type(max_retries) is not int or max_retries < 0:
            text = f"max_retries={shown(max_retries)}: must be a whole number of attempts after the first, at least 0."
            raise GraphError(Fault("bad-policy", text))
        timeout = UNSET if step_timeout is None else Timeout(attempt=step_timeout)
        defaults = Policies(retry=Retry(attempts=max_retries + 1, backoff=backoff), timeout=timeout)
        return await self._execute(defaults, None, given)

    async def _execute(
        self, defaults: Policies, inputs: Mapping[str, Any] | None, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        graph = self._make_graph(merged(defaults, self._defaults))
        if self._stream is None:
            return dict(await self._filled(graph).arun(inputs, **given))
        driver, feed = self._stream_driver(graph, self._stream, inputs, given)
        try:
            return _outputs(await drive(driver), feed)
        except RunFailed as failure:
            raise _refusal(failure) from None

    def _make_graph(self, defaults: Policies) -> Graph:
        return Graph("steps", max_concurrent=self._max_concurrent, defaults=defaults, **self._options)

    def _filled(self, graph: Graph) -> Graph:
        for step in self._steps:
            _add(graph, step)
        return graph

    def _stream_driver(
        self, graph: Graph, stream: AsyncIterable[Step], inputs: Mapping[str, Any] | None, given: Mapping[str, Any]
    ) -> tuple[Driver, Feed]:
        """
        Make a run without nodes, into which those of the stream will grow.
        """
        if self._was_read:
            text = "the stream of steps has been read already, and can be read only once: make a new executor."
            raise GraphError(Fault("used-stream", text), graph.name)
        options, values = split_options(given)
        faults = check_options(options)
        if faults:
            raise GraphError(faults, graph.name)
        # Known limits from the start; whether a step uses them is not.
        graph.limits.update(options.pop("limits", None) or {})
        plan, _, options = prepare(graph, None, options)
        feed = Feed(stream, lambda item: add_step(graph, item), {**(inputs or {}), **values})
        self._was_read = isinstance(stream, AsyncIterator)
        return Driver(plan, settle(plan, options), {}, begin=feed.enter), feed


def _set(value: object, **fields: object) -> None:
    for name, field in fields.items():
        object.__setattr__(value, name, field)


def _ids(names: Any) -> tuple[str, ...]:
    if isinstance(names, (str, GraphNode, Step)):
        names = (names,)
    return tuple(name.id if isinstance(name, (GraphNode, Step)) else name for name in names)


def _as_steps(steps: object) -> list[Step]:
    if not isinstance(steps, Iterable):
        what = f"ParallelStepExecutor was given {shown(steps)}"
        raise GraphError(Fault("not-a-step", f"{what}: use a list of steps, or an async iterator of steps."))
    return [_as_step(step) for step in steps]


def _as_step(item: object) -> Step:
    if not isinstance(item, Step):
        raise GraphError(Fault("not-a-step", f"{shown(item)} was given as a step: use Step(id, action, depends=[…])."))
    return item


def _add(graph: Graph, step: Step) -> Node[..., Any]:
    if isinstance(step, PreparedStep):
        return graph.add(step.id, step.action, depends_on=step.depends, inputs=step.arguments, **step.policies)
    return graph.add(step.id, step.action, depends_on=step.depends or None, **step.policies)


def add_step(graph: Graph, item: object) -> Node[..., Any]:
    """
    Add what a stream has given to *graph*, and return its node.

    Raises:
        GraphError: it is no step, or something is wrong with it.
    """
    node = _add(graph, _as_step(item))
    if graph.faults:
        raise GraphError(graph.faults, graph.name)
    return node


def _outputs(result: RunResult, feed: Feed) -> dict[str, Any]:
    """
    Return the outputs of a run that failed at most in part; but a plan that broke off is never passed over in silence.
    """
    if feed.errors:
        errors = [error for error in result.errors.values() if isinstance(error, Exception)]
        raise RunFailed(f"the stream of steps of graph {result.name!r} broke off", errors, result)
    return dict(result)


def _refusal(failure: RunFailed) -> Exception:
    """
    Raise what is wrong with the plan as what it is; a run in which something else failed too stays a failed run.
    """
    faults: list[Fault] = []
    for error in failure.exceptions:
        if not isinstance(error, GraphError):
            return failure
        faults.extend(error.faults)
    kinds = {type(error) for error in failure.exceptions}
    refusal: GraphError
    if len(failure.exceptions) == 1:
        refusal = failure.exceptions[0]  # type: ignore[assignment]
    else:
        refusal = (kinds.pop() if len(kinds) == 1 else GraphError)(faults, failure.result.name)  # type: ignore[assignment]
    refusal.result = failure.result  # type: ignore[attr-defined]
    return refusal
