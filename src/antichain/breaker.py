"""
A breaker: a wrapper that stops calling what keeps failing, and tries again with one call after a while.

`Circuit` decides and knows no asyncio; `Breaker` is the runnable, in one form for each form of function.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import aclosing
from threading import Lock
from types import CoroutineType, TracebackType
from typing import Any, Final, Literal, Self

from antichain.errors import AntichainError, Fault, GraphError, shown
from antichain.policies import Retry
from antichain.policies.retry import RetryOn
from antichain.policies.timeout import seconds
from antichain.runnable import Form
from antichain.wrapping import look_at, name_of, put_in_class, show

__all__ = ["Breaker", "BreakerOpen"]

BreakerState = Literal["closed", "open", "half_open"]

# No call is of it.
NO_ERA: Final = -1


class BreakerOpen(AntichainError):  # noqa: N818  # reads as a state
    """
    Say that a call was refused without being made, because those before it failed.

    ``.seconds_left`` is the time until a call will be let through (0.0 while one is being tried), ``.last_error`` the
    failure that opened the breaker, which is the ``__cause__`` too. A ``Retry`` pauses at least for ``.retry_after``.
    """

    def __init__(self, name: str, seconds_left: float, last_error: BaseException | None = None) -> None:
        self.name = name
        self.seconds_left = seconds_left
        self.last_error = last_error
        self.__cause__ = last_error
        when = f"in {seconds_left:.3g} s one call will be let through" if seconds_left else "one call is being tried"
        super().__init__(
            f"{name!r} was not called: its breaker is open, last error {shown(last_error)}; {when}. Wait for it"
            " (Retry does), or give the node a fallback=."
        )

    @property
    def retry_after(self) -> float:
        """
        The same as ``seconds_left``, under the name by which a retry finds it.
        """
        return self.seconds_left

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.name, self.seconds_left, self.last_error), self.__dict__


class Circuit:
    """
    Decide which calls are made; for several runs and threads at once.

    An *era* begins each time the circuit opens. A call's ending counts only in the era in which it was let through:
    what began before the circuit opened says nothing of how things are now.
    """

    def __init__(
        self, failures: int, recover_after: float, counts: Callable[[BaseException], bool], clock: Callable[[], float]
    ) -> None:
        self.failures = failures
        self.recover_after = recover_after
        self._counts = counts
        self._clock = clock
        # Guards all that follows. Never held while the user's code (clock, condition) runs.
        self._lock = Lock()
        self._era = 0
        # Failures in a row since it closed. Invariant: below `failures` while it is closed.
        self._row = 0
        # None while it is closed.
        self._opened_at: float | None = None
        # The one call that may be made although it is open is under way. Invariant: only while it is open.
        self._is_trying = False
        self.last_error: BaseException | None = None

    def state(self) -> BreakerState:
        """
        Return the state it is in now.
        """
        now = self._clock()
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "half_open" if self._seconds_left(now) <= 0 else "open"

    def seconds_left(self) -> float:
        """
        Return how long every call will be refused.
        """
        now = self._clock()
        with self._lock:
            return 0.0 if self._opened_at is None else max(0.0, self._seconds_left(now))

    def admit(self, name: str) -> int:
        """
        Let a call through and return its era.

        Raises:
            BreakerOpen: it must not be made.
        """
        now = self._clock()
        with self._lock:
            if self._opened_at is None:
                return self._era
            left = self._seconds_left(now)
            if left <= 0 and not self._is_trying:
                self._is_trying = True
                return self._era
            error = self.last_error
        raise BreakerOpen(name, max(0.0, left), error)

    def ended(self, era: int, error: BaseException | None) -> None:
        """
        Take in how a call of *era* ended.
        """
        # First, for it may raise: the place of the call is given back all the same.
        try:
            is_failure = isinstance(error, Exception) and bool(self._counts(error))
        except BaseException:
            self.not_made(era)
            raise
        if error is None:
            self._close(era)
        else:
            self._note(era, error if is_failure else None, self._clock() if is_failure else 0.0)

    def not_made(self, era: int) -> None:
        """
        Give the place of a call back that was not made after all.
        """
        self._note(era, None, 0.0)

    def reset(self) -> None:
        """
        Close, whatever was; calls that are under way do not count any more.
        """
        with self._lock:
            self._era += 1
            self._row, self._opened_at, self._is_trying, self.last_error = 0, None, False, None

    def _close(self, era: int) -> None:
        with self._lock:
            if era == self._era:
                self._row, self._opened_at, self._is_trying, self.last_error = 0, None, False, None

    def _note(self, era: int, failure: BaseException | None, now: float) -> None:
        """
        Count a failure; an ending that is none only gives its place back.
        """
        with self._lock:
            if era != self._era:
                return
            if failure is not None:
                self._row += 1
                self.last_error = failure
                if self._is_trying or self._row >= self.failures:
                    self._era += 1
                    self._row, self._opened_at = 0, now
            self._is_trying = False

    def _seconds_left(self, now: float) -> float:
        assert self._opened_at is not None
        # A clock that went back is another one (of another loop in virtual time): count from there.
        self._opened_at = min(self._opened_at, now)
        return self._opened_at + self.recover_after - now


class Guard:
    """
    Be around one call: let through at its beginning, taken in at its end.
    """

    __slots__ = ("_circuit", "_era", "_name")

    def __init__(self, circuit: Circuit, name: str) -> None:
        self._circuit = circuit
        self._name = name

    def __enter__(self) -> Self:
        self._era = self._circuit.admit(self._name)
        return self

    def step_back(self) -> None:
        """
        Give the place back: the call has not really begun.
        """
        self._circuit.not_made(self._era)
        self._era = NO_ERA

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._circuit.ended(self._era, error)


class Breaker:
    """
    Call *runnable* until it has failed *failures* times in a row; then refuse every call at once for *recover_after*
    seconds, let a single one through to try, and go on as before if that succeeds.

    A breaker is used like what it wraps (a node, a tool, a step, a method, a plain call), and has its parameters. Runs
    and threads may share it. Its states: ``"closed"`` (calls are made), ``"open"`` (they raise BreakerOpen),
    ``"half_open"`` (one call is let through, or is under way).

    Cancellations count neither as failures nor as successes, a node's ``timeout=``, which cancels, included: let the
    function itself time out. Nor do errors that *on* does not name.

    Args:
        runnable: a function of any kind, or an object with ainvoke or invoke.
        failures: how many in a row open it. A success in between starts the count again.
        recover_after: seconds from the last failure until a call is let through.
        on: which errors count: a type, several, or a predicate. By default those that a Retry would retry: no
            programming and no validation errors, which say nothing about who is called.
        clock: gives the seconds that *recover_after* is measured in, by default the running loop's time, else
            ``time.monotonic``.

    Raises:
        GraphError: an argument has an impossible value.
        BreakerOpen: (a call) it was refused.

    Example:
        >>> def ask(question: str) -> str:
        ...     raise ConnectionError("nobody is there")
        >>> guarded = antichain.Breaker(ask, failures=1)
        >>> for _ in range(2):
        ...     try:
        ...         guarded("why?")
        ...     except (ConnectionError, antichain.BreakerOpen) as error:
        ...         print(type(error).__name__, guarded.state)
        ConnectionError open
        BreakerOpen open
    """

    def __init_subclass__(cls) -> None:
        """
        Refuse subclasses but for the forms below, which are chosen by what is wrapped.
        """
        if cls.__module__ != __name__:
            raise TypeError(f"class {cls.__name__} cannot derive from Breaker: hold one, or write a function around it")

    def __new__(cls, runnable: object, *args: object, **kwargs: object) -> Breaker:  # noqa: PYI034
        """
        Make the form that is called as *runnable* is: whoever binds it sees a coroutine function for one.
        """
        _, described = look_at(runnable, "Breaker")
        return object.__new__(_FORMS.get(described.form, Breaker))

    def __init__(
        self,
        runnable: Any,  # Any: whatever a node may wrap
        failures: int = 5,
        recover_after: float = 30.0,
        *,
        on: RetryOn | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if type(failures) is not int or failures < 1:
            text = f"Breaker(failures={shown(failures)}): must be a whole number of failures in a row, at least 1."
            raise GraphError(Fault("bad-policy", text))
        seconds("Breaker(recover_after=…)", recover_after, zero=True)
        try:
            counts = Retry(on=on).retryable
        except GraphError:
            why = "must be an exception type, a tuple of them, or a function error -> bool"
            raise GraphError(Fault("bad-policy", f"Breaker(on={shown(on)}): {why}.")) from None
        self._set_up(runnable, Circuit(failures, recover_after, counts, clock or _now))

    def _set_up(self, runnable: Any, circuit: Circuit) -> None:
        self._runnable, _ = look_at(runnable, "Breaker")
        self._name = name_of(self._runnable)
        self._circuit = circuit
        show(self, self._runnable)

    def wrap(self, runnable: Any) -> Breaker:  # Any: whatever a node may wrap
        """
        Put *runnable* behind the same breaker: a failure of one counts for all, as it should for calls of one service.

        Example:
            >>> search = antichain.Breaker(str.upper, failures=3)
            >>> fetch = search.wrap(str.lower)
        """
        other = Breaker.__new__(Breaker, runnable)
        other._set_up(runnable, self._circuit)
        return other

    def __set_name__(self, owner: type, name: str) -> None:
        """
        Be a method where a function would be: all instances of the class are behind this breaker.
        """
        put_in_class(owner, name, self, self._runnable, self.wrap)

    def __copy__(self) -> Self:
        """
        Return the same breaker, as copies of a function are that function.
        """
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """
        Return the same breaker: a copied graph calls the same service.
        """
        return self

    @property
    def state(self) -> BreakerState:
        """
        ``"closed"``, ``"open"`` or ``"half_open"``, as of now.
        """
        return self._circuit.state()

    @property
    def seconds_left(self) -> float:
        """
        How long every call will be refused; 0.0 unless it is open.
        """
        return self._circuit.seconds_left()

    @property
    def last_error(self) -> BaseException | None:
        """
        The last failure that counted, or None since a success.
        """
        return self._circuit.last_error

    def reset(self) -> None:
        """
        Close it by hand; calls that are under way do not count any more.
        """
        self._circuit.reset()

    # Any: what the wrapped function takes and returns, here and below.
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Call what is wrapped.
        """
        with self._guard() as guard:
            value = self._runnable(*args, **kwargs)
            if isinstance(value, CoroutineType):
                # `lambda: fetch(url)`: the call begins and ends with that coroutine, which may never be awaited.
                guard.step_back()
                guarded = self._guarded(value)
                weakref.finalize(guarded, value.close)
                return guarded
            return value

    async def _guarded(self, body: CoroutineType[Any, Any, Any]) -> Any:
        with self._guard():
            return await body

    def _guard(self) -> Guard:
        return Guard(self._circuit, self._name)

    def __repr__(self) -> str:
        return f"Breaker({self._name}, {self.state})"


# -- the forms; their one base gives state, not behaviour


class CoroutineBreaker(Breaker):
    """
    Be around a coroutine function.
    """

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Await what is wrapped.
        """
        with self._guard():
            return await self._runnable(*args, **kwargs)


class GeneratorBreaker(Breaker):
    """
    Be around a generator function: the call ends when the generator does.
    """

    def __call__(self, /, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        """
        Iterate what is wrapped.
        """
        with self._guard():
            return (yield from self._runnable(*args, **kwargs))


class AsyncGeneratorBreaker(Breaker):
    """
    Be around an async generator function: the call ends when the generator does.
    """

    async def __call__(self, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """
        Iterate what is wrapped.
        """
        with self._guard():
            async with aclosing(self._runnable(*args, **kwargs)) as chunks:
                async for chunk in chunks:
                    yield chunk


class InvokedBreaker(Breaker):
    """
    Be around an object that is invoked; it has those of the two methods that the object has.
    """

    def _set_up(self, runnable: Any, circuit: Circuit) -> None:
        super()._set_up(runnable, circuit)
        for name, method in (("invoke", self._invoke), ("ainvoke", self._ainvoke)):
            if callable(getattr(self._runnable, name, None)):
                setattr(self, name, method)

    def _invoke(self, /, *args: Any, **kwargs: Any) -> Any:
        with self._guard():
            return self._runnable.invoke(*args, **kwargs)

    async def _ainvoke(self, /, *args: Any, **kwargs: Any) -> Any:
        with self._guard():
            return await self._runnable.ainvoke(*args, **kwargs)


# A plain function's is Breaker itself.
_FORMS: dict[Form, type[Breaker]] = {
    "coroutine": CoroutineBreaker,
    "generator": GeneratorBreaker,
    "async_generator": AsyncGeneratorBreaker,
    "ainvoke": InvokedBreaker,
    "invoke": InvokedBreaker,
}


def _now() -> float:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.monotonic()
    return loop.time()
