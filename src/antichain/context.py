"""
What a node may know of the run it is in: the object that a parameter annotated `Context` receives.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, overload

from antichain.errors import Fault, GraphError, RunnerError, shown
from antichain.policies.limits import is_amount

T = TypeVar("T")


class Door(Protocol):
    """
    What a context needs of the run behind it; the driver is one.
    """

    run_id: str

    def is_cancelled(self, node: int, attempt: int) -> bool:
        """
        Tell whether the attempt is to end.
        """
        raise NotImplementedError

    def emit(self, node: int, attempt: int, chunk: object) -> None:
        """
        Tell the run's listeners a chunk.
        """

    def heartbeat(self, node: int, attempt: int) -> None:
        """
        Take a sign of life.
        """

    def run_inside(self, node: int, attempt: int, runnable: object, inputs: dict[str, Any]) -> Awaitable[Any]:
        """
        Run more graph for the attempt.
        """
        raise NotImplementedError

    def use(self, node: int, attempt: int, used: Mapping[str, float]) -> None:
        """
        Take in what the attempt has used.
        """

    # Any: the type that an answer has to have, and an answer.
    def ask_inside(self, node: int, attempt: int, text: str, kind: Any) -> Awaitable[Any]:
        """
        Ask a person for the attempt.
        """
        raise NotImplementedError


class Context:
    """
    Tell a running node who it is, and let it emit chunks, run more graph, and ask a person.

    Example:
        >>> async def fetch(url: str, ctx: Context) -> str:
        ...     ctx.emit(f"attempt {ctx.attempt}")
        ...     return await http_get(url, idempotency_key=ctx.idempotency_key)
    """

    __antichain_context__: ClassVar[bool] = True
    __slots__ = ("_attempt", "_door", "_node", "attempt", "deadline", "node_id")

    def __init__(self, door: Door, node: int, node_id: str, attempt: int, deadline: float | None) -> None:
        self._door = door
        self._node = node
        self.node_id = node_id
        # Numbered from 1.
        self.attempt = attempt
        # The same for the run; of an instance that is over, whose place another one may have, the number of none.
        self._attempt = attempt
        # The instant, on `time.monotonic`'s clock, at which this attempt has to be over; None if it has no timeout.
        self.deadline = deadline

    def part(self) -> None:
        """
        Speak of no attempt any more: what is said from now on is said late.
        """
        self._attempt = 0

    @property
    def run_id(self) -> str:
        """
        The run's id.
        """
        return self._door.run_id

    @property
    def cancelled(self) -> bool:
        """
        True once this attempt is to end: a function in a thread, which cannot be interrupted, should look at it from
        time to time.
        """
        return not self._attempt or self._door.is_cancelled(self._node, self._attempt)

    @property
    def idempotency_key(self) -> str:
        """
        The same text for every attempt of this node in this run: hand it to services that ignore what they have seen.
        """
        return f"{self._door.run_id}:{self.node_id}"

    def emit(self, chunk: object) -> None:
        """
        Tell the run's listeners a part of the output; works from threads too.
        """
        self._door.emit(self._node, self._attempt, chunk)

    def use(self, **amounts: float) -> None:
        """
        Say what this attempt has really used: `ctx.use(tokens=response.usage.total_tokens)`; works from threads too.

        It takes the place of what was reserved of the rates that the node uses: what was too much is free for others
        at once, and what was too little holds them back. Said more than once, amounts add up. Units that none of its
        rates counts, and a node that uses no rate, are no error: so a function may say it wherever it is used.

        A response that carries its usage (`.usage`, with `total_tokens`, or input and output tokens) says it by being
        returned, unless this was called.

        Raises:
            GraphError: an amount is no finite number from zero up.
        """
        for unit, amount in amounts.items():
            if not is_amount(amount):
                text = f"ctx.use({unit}={shown(amount)}) in node {self.node_id!r}: must be a number from zero up."
                raise GraphError(Fault("bad-policy", text, self.node_id))
        self._door.use(self._node, self._attempt, amounts)

    def heartbeat(self) -> None:
        """
        Say that this attempt is alive, which its ``Timeout(idle=…)`` wants to hear; works from threads too.
        """
        self._door.heartbeat(self._node, self._attempt)

    # Any: the value of whatever is run.
    def run(self, runnable: object, /, **inputs: Any) -> Awaitable[Any]:
        """
        Run a graph, or call a function, as part of this run, and return its result: `await ctx.run(graph, question=…)`.

        What it runs shares the run's limits, events and cancellation. While it runs, this node's slots are free for
        others.

        Raises:
            RunnerError: the node is a plain function in a thread; use `async def`.
            RunFailed: a node of the graph failed. A function's own exception is raised as it is.
        """
        self._refuse_late("run")
        return self._door.run_inside(self._node, self._attempt, runnable, inputs)

    @overload
    def ask(self, text: str, /) -> Awaitable[str]: ...
    @overload
    def ask(self, text: str, /, type: type[T]) -> Awaitable[T]: ...
    @overload
    def ask(self, text: str, /, type: Sequence[T]) -> Awaitable[T]: ...
    # Any: a Literal, and its value.
    @overload
    def ask(self, text: str, /, type: Any) -> Awaitable[Any]: ...
    def ask(self, text: str, /, type: Any = str) -> Awaitable[Any]:  # noqa: A002  # the word for it
        """
        Ask a person, by the run option `ask=`, and return the answer: `await ctx.ask("Delete 3 branches?", type=bool)`.

        While it waits, this node's slots are free for others. Its timeout and the run's deadline go on: a question
        may have a node of its own. An answer that does not fit is asked for again, a few times.

        Args:
            text: what the person reads.
            type: what the answer has to be: bool, str, int, float, an Enum, a Literal, or a list of choices.

        Raises:
            NobodyAnswers: the run has no `ask=`, or no answer fits. What the function given there raises is raised as
                it is.
            RunnerError: the node is a plain function in a thread; use `async def`.
            GraphError: the type is none of those, or the text is too long to be read.
        """
        self._refuse_late("ask")
        return self._door.ask_inside(self._node, self._attempt, text, type)

    def _refuse_late(self, what: str) -> None:
        if not self._attempt:
            text = f"attempt {self.attempt} of node {self.node_id!r} is over: it cannot {what} anything more."
            raise RunnerError(text)

    def __repr__(self) -> str:
        return f"<Context of {self.node_id!r}, attempt {self.attempt}, run {self.run_id}>"
