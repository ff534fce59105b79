"""
What a run opens once and closes at its end: each resource lives in one task, or one thread, that both opens and closes
it.

One owner, because cancel scopes and thread-bound objects (a database connection, an MCP session) must be left where
they were entered.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, ClassVar
from weakref import WeakSet

from antichain.errors import RunnerError, note

# Seconds that a resource has to close where others have used up the time.
LAST_CHANCE = 0.1

# Any: resources are whatever their generator yields.
Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


class Resources:
    """
    Open the resources of one run before their first use and close them, last opened first, at its end.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        # By the identity of what opens it, for graphs inside each other may each have one of the same name; in the
        # order of opening. Invariant: a resource is here from the moment its opening began until it was closed or
        # failed to open.
        self._owners: dict[int, Owner] = {}

    async def get(self, name: str, opener: Callable[[], Any]) -> Any:
        """
        Return the resource that *opener* yields, opening it if nobody has. An opening that fails fails this caller; the
        next one tries again.
        """
        owner = self._owners.get(id(opener))
        if owner is None:
            owner = self._owners[id(opener)] = Owner(name, opener)
            owner.task = self._spawn(owner.own())
            owner.task.add_done_callback(owner.ended)
        try:
            # Several nodes may wait for one opening; the cancellation of one of them is not that of the others.
            return await asyncio.shield(owner.opened)
        except asyncio.CancelledError:
            raise
        except BaseException:
            if self._owners.get(id(opener)) is owner:
                del self._owners[id(opener)]
            raise

    async def close(self, grace: float) -> list[Exception]:
        """
        Close what is open, all of it within *grace* seconds; returns what went wrong.
        """
        errors: list[Exception] = []
        clock = asyncio.get_running_loop().time
        stop_at = clock() + grace
        for owner in reversed(list(self._owners.values())):
            # One that hangs takes nobody else's chance to close.
            error = await owner.close(max(stop_at - clock(), min(grace, LAST_CHANCE)), grace)
            if error is not None:
                note(error, f"while resource {owner.name!r} was closed")
                errors.append(error)
        self._owners.clear()
        return errors


class Owner:
    """
    Open, hold and close one resource.
    """

    # Everyone's, for a virtual clock, which must not jump while a thread opens or closes something.
    everywhere: ClassVar["WeakSet[Owner]"] = WeakSet()

    def __init__(self, name: str, opener: Callable[[], Any]) -> None:
        self.name = name
        # Kept: its identity is nobody else's as long as it lives.
        self._opener = opener
        self._generator = opener()
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[Any] = loop.create_future()
        # Nobody may be waiting any more when it fails.
        self.opened.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._may_close: asyncio.Future[None] = loop.create_future()
        self._is_given_up = False
        # Whether its thread has something to do that somebody waits for.
        self.is_busy = False
        self.task: asyncio.Task[Any] | None = None

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """
        A task that is cancelled before its first step never runs, and so cannot tell that nothing was opened.
        """
        if not self.opened.done():
            self._fail_to_open(RunnerError(f"resource {self.name!r} was not opened: its task was cancelled."))

    async def own(self) -> None:
        try:
            await self._own()
        except BaseException as error:
            if not self.opened.done():
                self._fail_to_open(error)
            elif self._is_given_up or isinstance(error, Exception):
                raise
            else:
                # A task that ends with SystemExit ends the loop.
                raise _as_exception(self.name, error) from error

    async def _own(self) -> None:
        if inspect.isasyncgen(self._generator):
            await self._own_async()
        elif inspect.isgenerator(self._generator):
            await self._own_in_thread()
        else:
            self._fail_to_open(
                RunnerError(f"resource {self.name!r} is not a generator function: it must `yield` what it opens, once.")
            )

    async def _until(self, future: "asyncio.Future[Any]") -> None:
        """
        Wait whoever is cancelled: a node that cancels all tasks of the loop must not keep a resource from being closed.
        """
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                if self._is_given_up:
                    raise

    def _fail_to_open(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            error = _as_exception(self.name, error)
        if not self.opened.done():
            self.opened.set_exception(error)

    async def _own_async(self) -> None:
        try:
            value = await anext(self._generator)
        except StopAsyncIteration:
            self._fail_to_open(RunnerError(f"resource {self.name!r} ended without a `yield`."))
            return
        self.opened.set_result(value)
        await self._until(self._may_close)
        try:
            await anext(self._generator)
        except StopAsyncIteration:
            return
        await self._generator.aclose()
        raise RunnerError(f"resource {self.name!r} yields more than once; what follows the second `yield` was not run.")

    async def _own_in_thread(self) -> None:
        loop = asyncio.get_running_loop()
        may_close = threading.Event()
        closed: asyncio.Future[None] = loop.create_future()
        opened, generator, name = self.opened, self._generator, self.name

        def tell(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
            def settle() -> None:
                self.is_busy = False
                if not future.done():
                    if error is None:
                        future.set_result(value)
                    else:
                        future.set_exception(_as_exception(name, error))

            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                # The loop is closed: the run did not wait for this thread any longer.
                self.is_busy = False

        def live() -> None:
            try:
                value = next(generator)
            except StopIteration:
                tell(opened, None, RunnerError(f"resource {name!r} ended without a `yield`."))
                return
            except BaseException as error:
                tell(opened, None, error)
                return
            tell(opened, value, None)
            may_close.wait()
            try:
                next(generator)
            except StopIteration:
                tell(closed, None, None)
            except BaseException as error:
                tell(closed, None, error)
            else:
                generator.close()
                tell(closed, None, RunnerError(f"resource {name!r} yields more than once."))

        thread = threading.Thread(
            target=copy_context().run, args=(live,), name=f"antichain-resource-{name}", daemon=True
        )
        self.everywhere.add(self)
        thread.start()
        self.is_busy = True
        try:
            await self._until(opened)
            if opened.exception() is not None:
                return
            await self._until(self._may_close)
            self.is_busy = True
        finally:
            may_close.set()
        await self._until(closed)
        closed.result()

    async def close(self, patience: float, grace: float) -> Exception | None:
        """
        Close the resource, or give up after *patience* seconds; returns what went wrong.
        """
        task = self.task
        assert task is not None
        if not self._may_close.done():
            self._may_close.set_result(None)
        if not self.opened.done() and inspect.isasyncgen(self._generator):
            # Nobody will use it any more, and its opening may never end.
            task.cancel()
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            self._is_given_up = True
            task.cancel()
            await asyncio.wait({task}, timeout=LAST_CHANCE)
            return RunnerError(f"resource {self.name!r} was not closed within {grace:g} s; it was left as it is.")
        error = None if task.cancelled() else task.exception()
        return None if error is None else _as_exception(self.name, error)


def _as_exception(name: str, error: BaseException) -> Exception:
    """
    Keep what is not an `Exception` (`SystemExit`, a cancellation of its own) from passing for one that we or the user
    asked for.
    """
    if isinstance(error, Exception):
        return error
    wrapped = RunnerError(f"resource {name!r} raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
