"""
Execute attempts in daemon threads of our own, fed by a queue; outcomes come back in batches, with one wake-up for many.

Not `concurrent.futures`: its threads are joined when the interpreter exits, so that one hung call would keep the
process alive, and a future for each call costs ten times as much as the hand-over.
"""

import threading
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from queue import SimpleQueue
from types import CoroutineType, MappingProxyType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

# What became of a call.
RETURNED = 0
RAISED = 1
YIELDED = 2


class Call(NamedTuple):
    """
    One attempt for a thread. Any: functions, arguments and values are the user's.
    """

    node: int
    attempt: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context
    # Iterate what the function returns; each item is told at once, their list is the value.
    is_generator: bool


class Outcome(NamedTuple):
    """
    What a thread says of a call: its value, its exception, or one chunk.
    """

    node: int
    attempt: int
    kind: int
    value: Any


class Threads:
    """
    Own the worker threads of one run. All methods are for the loop's thread.
    """

    # Everyone's, for a virtual clock, which must not jump while a call is out.
    everywhere: ClassVar["WeakSet[Threads]"] = WeakSet()

    def __init__(self, wake: Callable[[], object], has_to_end: Callable[[int, int], bool] = lambda *_: False) -> None:
        self.everywhere.add(self)
        # Tells whether an attempt was asked to end; a generator is, between two items.
        self._has_to_end = has_to_end
        # Asks the loop, from any thread, to call the driver back; raises RuntimeError once the loop is closed.
        self._wake = wake
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Calls handed over and not yet taken back. Invariant: where threads can be started, never more than there are
        # threads.
        self._out: set[tuple[int, int]] = set()
        # Once the run is over: what to do when a call that it has not waited for is back.
        self._left: dict[tuple[int, int], Callable[[], object]] = {}
        self._is_closed = False
        self.outcomes: deque[Outcome] = deque()
        self._is_waking = False

    @property
    def is_busy(self) -> bool:
        """
        Tell whether a call is out.
        """
        return bool(self._out)

    def submit(self, call: Call) -> None:
        """
        Hand a call to a thread, to a new one if all are busy.
        """
        if len(self._out) >= len(self._threads):
            self._start_thread()
        self._out.add((call.node, call.attempt))
        self._calls.put(call)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"antichain-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system gives no more threads: those that there are have to do.
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def has(self, key: tuple[int, int]) -> bool:
        """
        Tell whether the call of that node and attempt is out.
        """
        return key in self._out

    def tell_chunk(self, node: int, attempt: int, chunk: object) -> None:
        """
        Pass on a part of a call's value; for any thread.
        """
        self._tell(Outcome(node, attempt, YIELDED, chunk))

    def take_back(self) -> deque[Outcome]:
        """
        Return the outcomes that have come, in order.
        """
        # Reset first: an outcome that comes now wakes the loop again, at worst for nothing.
        self._is_waking = False
        taken: deque[Outcome] = deque()
        while self.outcomes:
            try:
                outcome = self.outcomes.popleft()
            except IndexError:
                # After the run several threads may be here.
                break
            taken.append(outcome)
            if outcome.kind != YIELDED:
                self._out.discard((outcome.node, outcome.attempt))
        return taken

    def close(
        self, left: Mapping[tuple[int, int], Callable[[], object]] = MappingProxyType({})
    ) -> list[threading.Thread]:
        """
        Let every thread end once its call has; returns those that are still in one. Each function of *left* is called,
        in any thread, once the call of that node and attempt is back.
        """
        self._left.update(left)
        self._is_closed = True
        self._welcome()
        for _ in self._threads:
            self._calls.put(None)
        busy = len(self._out)
        for thread in self._threads:
            # An idle thread ends within microseconds; the wait is for a busy machine.
            thread.join(0.0 if busy else 1.0)
        if busy:
            deadline = 0.05
            for thread in self._threads:
                thread.join(deadline)
                if thread.is_alive():
                    deadline = 0.0
        return [thread for thread in self._threads if thread.is_alive()]

    def _welcome(self) -> None:
        """
        Take back what comes after the run; in any thread.
        """
        for outcome in self.take_back():
            release = self._left.pop((outcome.node, outcome.attempt), None)
            if release is not None and outcome.kind != YIELDED:
                release()
            if isinstance(outcome.value, CoroutineType):
                # Of a plain function that gave a coroutine: nobody will await it.
                outcome.value.close()

    def _tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self._is_closed:
            self._welcome()
        elif not self._is_waking:
            self._is_waking = True
            try:
                self._wake()
            except RuntimeError:
                # The loop is closed: the run gave this call up long ago, and nobody is left to be told.
                self._welcome()

    def _work(self) -> None:
        calls = self._calls
        while (call := calls.get()) is not None:
            self._tell(call.context.run(self._execute, call))
            # Held only by what it was made for, from here on.
            del call

    def _execute(self, call: Call) -> Outcome:
        try:
            value = call.function(*call.args, **call.kwargs)
            if call.is_generator:
                value = self._iterate(call, value)
        # StopIteration, SystemExit and KeyboardInterrupt too: whatever a node raises is the node's failure and nothing
        # more.
        except BaseException as error:
            return Outcome(call.node, call.attempt, RAISED, error)
        return Outcome(call.node, call.attempt, RETURNED, value)

    def _iterate(self, call: Call, generator: Any) -> list[Any]:
        chunks = []
        for chunk in generator:
            chunks.append(chunk)
            self.tell_chunk(call.node, call.attempt, chunk)
            if self._has_to_end(call.node, call.attempt):
                generator.close()
                raise CancelledError
        return chunks
