"""
A hedge: a wrapper that calls once more what is slow to answer, and takes the first success.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Callable
from contextvars import copy_context
from types import CoroutineType
from typing import Any, cast

from antichain.context import Context
from antichain.errors import Fault, GraphError, shown
from antichain.policies.timeout import seconds
from antichain.runners.detached import Count, DetachedCall, Place, room_of
from antichain.tasks import GivenUp, Tasks, undisturbed
from antichain.wrapping import look_at, name_of, put_in_class, show

__all__ = ["Hedge"]


class Hedge:
    """
    Call *runnable*; if it has not ended *after* seconds, call it once more beside that, and return the first success.

    A hedge is used like what it wraps (a node, a tool, a step, a method), and has its parameters; it is a coroutine
    function, whatever it wraps. Only what may safely be called twice may be hedged.

    - It is against slowness, not against failure: when all calls that were started have failed, it fails at once, with
      the error of the first one. The errors of the others are in the notes of that error and in its ``hedge_errors``.
      Put a ``retry=`` around it to try again.
    - When it returns or raises, no other call of it is left: losers are cancelled and awaited. One that goes on after
      *grace* seconds is given up, as the run does with a node.
    - Plain functions are called in threads, of which all hedges of an event loop have as many as a run has. Nothing can
      end them: one that has lost, or whose node was cancelled, is not waited for, and counted in ``abandoned`` until it
      returns. With a parameter annotated Context it can see by ``ctx.cancelled`` that it has lost.
    - A node's limits count the hedge, not its calls: say ``uses={"llm": 2}`` where both must fit.

    Args:
        runnable: a function, or an object with ainvoke or invoke; not a generator, whose chunks cannot be taken back.
        after: seconds until the next call starts, from the start of the one before; take about the time within which
            95 of 100 calls end. 0 starts all at once.
        max: calls in all, the first included.
        grace: seconds that cancelled losers get to end.

    Raises:
        GraphError: an argument has an impossible value.

    Example:
        >>> waits = [60.0, 0.0]
        >>> async def ask(question: str) -> str:
        ...     await asyncio.sleep(waits.pop(0))
        ...     return question.upper()
        >>> asyncio.run(antichain.Hedge(ask, after=0.01)("why?"))
        'WHY?'
    """

    def __init__(
        self,
        runnable: Any,  # Any: whatever a node may wrap
        after: float,
        *,
        max: int = 2,  # noqa: A002  # the word of the public contract
        grace: float = 5.0,
    ) -> None:
        self.after = seconds("Hedge(after=…)", after, zero=True)
        if type(max) is not int or max < 2:
            text = f"Hedge(max={shown(max)}): must be the number of calls in all, the first included, at least 2."
            raise GraphError(Fault("bad-policy", text))
        self.max = max
        self.grace = seconds("Hedge(grace=…)", grace, zero=True)
        runnable, described = look_at(runnable, "Hedge")
        self._name = name_of(runnable)
        if described.form in ("generator", "async_generator"):
            why = "which is a generator: chunks of a call that loses cannot be taken back"
            text = f"Hedge was given {self._name!r}, {why}. Hedge a function that returns the whole value."
            raise GraphError(Fault("not-runnable", text))
        is_invoked = described.form in ("ainvoke", "invoke")
        # What each call calls, and whether in a thread.
        self._function: Callable[..., Any] = getattr(runnable, described.form) if is_invoked else runnable
        self._is_threaded = described.form in ("function", "invoke")
        self._abandoned = Count()
        self._runnable = runnable
        show(self, runnable)
        if is_invoked:
            # Only then: an object that has it is invoked.
            self.ainvoke = self.__call__

    def __set_name__(self, owner: type, name: str) -> None:
        """
        Be a method where a function would be.
        """
        put_in_class(owner, name, self, self._runnable, self._bound)

    def _bound(self, method: Callable[..., Any]) -> Hedge:
        hedge = Hedge(method, self.after, max=self.max, grace=self.grace)
        hedge._abandoned = self._abandoned
        return hedge

    def __copy__(self) -> Hedge:
        """
        Return the same hedge, as copies of a function are that function.
        """
        return self

    def __deepcopy__(self, memo: object) -> Hedge:
        """
        Return the same hedge.
        """
        return self

    @property
    def abandoned(self) -> int:
        """
        The number of threads that are still in a call nobody waits for.
        """
        return self._abandoned.value

    # Any: what the wrapped function takes and returns.
    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Call what is wrapped, again where it is slow, and return the first value.
        """
        return await Race(self, args, kwargs).run()

    def __repr__(self) -> str:
        return f"Hedge({self._name}, after={self.after:g}, max={self.max})"


class Race:
    """
    Be one use of a hedge: its calls, of which the first success wins.
    """

    def __init__(self, hedge: Hedge, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._hedge = hedge
        self._args = args
        self._kwargs = kwargs
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(self._loop, copy_context())
        # In the order in which they were started.
        self._calls: list[Attempt] = []
        self._was_cancelled = False

    async def run(self) -> Any:
        """
        Return the value of the first call that succeeds, with no other call left.
        """
        try:
            winner = await self._first_success()
        except (GivenUp, GeneratorExit):
            self._let_go()
            raise
        except BaseException:
            await self._end()
            raise
        await self._end()
        if self._was_cancelled:
            # While the losers ended. A cancellation is never swallowed.
            raise asyncio.CancelledError
        if winner is None:
            raise self._failure()
        return winner.value

    async def _first_success(self) -> Attempt | None:
        hedge = self._hedge
        # Waiting for a thread is no slowness of the call: its time begins when it does.
        self._start(await room_of(self._loop).enter() if hedge._is_threaded else None)
        next_at = self._loop.time() + hedge.after
        while running := {call.task: call for call in self._calls if not call.is_seen}:
            timeout = None
            if len(self._calls) < hedge.max:
                timeout = max(0.0, next_at - self._loop.time())
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            # In the order of their start: of two that end in one moment, the first wins.
            for task, call in running.items():
                if task in done:
                    call.is_seen = True
                    if call.has_succeeded:
                        return call
            if not done:
                self._start()
                next_at = self._loop.time() + hedge.after
        return None

    def _start(self, place: Place | None = None) -> None:
        call = Attempt(self._hedge, self._calls, self._args, self._kwargs)
        call.started_at = self._loop.time()
        call.task = self._tasks.spawn(call.run(place))
        if place is not None:
            call.task.add_done_callback(functools.partial(call.settle, place))
        self._calls.append(call)

    async def _end(self) -> None:
        """
        Cancel the calls that have not ended, and await them.
        """
        losers = [call for call in self._calls if not call.task.done()]
        for call in losers:
            call.lose()
        if not losers:
            return
        waiting = {call.task for call in losers}
        try:
            await undisturbed(functools.partial(asyncio.wait, waiting, timeout=self._hedge.grace), self._on_cancel)
            ended = [call for call in losers if call.task.done()]
            await self._tasks.sweep(0.0, self._on_cancel)
        except (GivenUp, GeneratorExit):
            self._let_go()
            raise
        for call in ended:
            if isinstance(call.error, Exception):
                # Nobody will see it otherwise: the hedge has its value, or its error.
                message = f"a call of {self._hedge!r} that had lost raised while it was cancelled"
                self._loop.call_exception_handler({"message": message, "exception": call.error})

    def _let_go(self) -> None:
        """
        End them without waiting: whoever awaits the hedge has given it up.
        """
        for call in self._calls:
            if not call.task.done():
                call.lose()
                _GIVEN_UP.add(call.task)
                call.task.add_done_callback(_GIVEN_UP.discard)
                self._tasks.kill(call.task)

    def _on_cancel(self) -> None:
        self._was_cancelled = True

    def _failure(self) -> BaseException:
        """
        Make the error of the first call the hedge's, so that whoever judges errors by kind (Retry) sees that kind, and
        keep those of the others on it.
        """
        first, *others = self._calls
        error = first.error
        assert error is not None
        kept = tuple(call.error for call in others if call.error is not None and call.error is not error)
        if not kept:
            return error
        notes: list[str] = list(getattr(error, "__notes__", ()))
        for number, call in enumerate(others, 2):
            later = call.started_at - first.started_at
            text = f"hedged: call {number}, started {later:.3g} s after the first, failed too: {shown(call.error)}"
            # An error that is raised again and again collects no notes.
            if text not in notes:
                notes.append(text)
        # Not by plain assignment: an exception may be a frozen dataclass.
        BaseException.__setattr__(error, "hedge_errors", kept)
        BaseException.__setattr__(error, "__notes__", notes)
        return error


# Held until they are over, for nobody else does.
_GIVEN_UP: set[asyncio.Task[None]] = set()


class Attempt:
    """
    Be one call of what is hedged. Its task never raises: what became of it is in its attributes.
    """

    task: asyncio.Task[None]

    def __init__(self, hedge: Hedge, others: list[Attempt], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._hedge = hedge
        # All calls of the race.
        self._others = others
        # A context of its own for each call, by which it is told to end.
        self._doors: list[LosingDoor] = []
        self._args = tuple(self._own(value) for value in args)
        self._kwargs = {name: self._own(value) for name, value in kwargs.items()}
        self.started_at = 0.0
        self.value: Any = None  # Any: what the user's function returned
        # Cancelled before its first step, unless anything else is noted.
        self.error: BaseException | None = asyncio.CancelledError()
        # Its first step has been made.
        self.has_begun = False
        # Its ending has been looked at.
        self.is_seen = False

    @property
    def has_succeeded(self) -> bool:
        return self.error is None

    async def run(self, place: Place | None = None) -> None:
        """
        Make the call; one in a thread has its *place* there already, or waits for one.
        """
        self.has_begun = True
        hedge = self._hedge
        try:
            if hedge._is_threaded:
                place = place or await self._place_of_later_call()
                value = await DetachedCall(hedge._abandoned, place).run(hedge._function, self._args, self._kwargs)
                if isinstance(value, CoroutineType):
                    # A plain function gave a coroutine (`lambda: fetch(url)`): the value is what that returns.
                    value = await value
            else:
                value = await hedge._function(*self._args, **self._kwargs)
        except BaseException as error:  # noqa: BLE001  # whatever a call raises is its failure, and nothing more
            self.error = error
        else:
            self.value, self.error = value, None

    def settle(self, place: Place, task: asyncio.Task[None]) -> None:
        """
        Give the place back of a call that was cancelled before its first step.
        """
        if not self.has_begun:
            place.leave()

    def lose(self) -> None:
        """
        Ask it to end.
        """
        for door in self._doors:
            door.has_lost = True
        self.task.cancel()

    async def _place_of_later_call(self) -> Place:
        place = await room_of(asyncio.get_running_loop()).enter()
        if any(call.has_succeeded for call in self._others):
            # It may have become free by that: in this very turn the race is about to end this call.
            place.leave()
            raise asyncio.CancelledError
        return place

    def _own(self, value: Any) -> Any:
        if not isinstance(value, Context):
            return value
        context = copy.copy(value)
        door = LosingDoor(value._door)
        self._doors.append(door)
        context._door = cast("Any", door)
        return context


class LosingDoor:
    """
    Stand before the door of a node's context, for one of its calls.
    """

    def __init__(self, door: object) -> None:
        self._door: Any = door
        self.has_lost = False

    def is_cancelled(self, node: int, attempt: int) -> bool:
        """
        Tell whether the call is to end: with its node, or because it has lost.
        """
        return self.has_lost or bool(self._door.is_cancelled(node, attempt))

    def emit(self, node: int, attempt: int, chunk: object) -> None:
        """
        Tell the run's listeners a chunk, unless the call has lost.
        """
        if not self.has_lost:
            self._door.emit(node, attempt, chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)
