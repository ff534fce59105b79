"""
Execute attempts in daemon threads of our own, fed by a queue; outcomes come back in batches, with one wake-up for many.

Not `concurrent.futures`: its threads are joined when the interpreter exits, so that one hung call would keep the process alive, and a
future for each call costs ten times as much as the hand-over.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
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

    def __init__(self, wake: Callable[[], object]) -> None:
        self.everywhere.add(self)
        # Asks the loop, from any thread, to call the driver back; raises RuntimeError once the loop is closed.
        self._wake = wake
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Calls handed over and not yet taken back. Invariant: never more than there are threads.
        self._out = 0
        self.outcomes: deque[Outcome] = deque()
        self._is_waking = False

    @property
    def is_busy(self) -> bool:
        """
        Tell whether a call is out.
        """
        return self._out > 0

    def submit(self, call: Call) -> None:
        """
        Hand a call to a thread, to a new one if all are busy.
        """
        self._out += 1
        if self._out > len(self._threads):
            thread = threading.Thread(target=self._work, name=f"antichain-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._calls.put(call)

    def take_back(self) -> deque[Outcome]:
        """
        Return the outcomes that have come, in order.
        """
        # Reset first: an outcome that comes now wakes the loop again, at worst for nothing.
        self._is_waking = False
        taken: deque[Outcome] = deque()
        while self.outcomes:
            outcome = self.outcomes.popleft()
            taken.append(outcome)
            if outcome.kind != YIELDED:
                self._out -= 1
        return taken

    def close(self) -> list[threading.Thread]:
        """
        Let every thread end once its call has; returns those that are still in one.
        """
        for _ in self._threads:
            self._calls.put(None)
        busy = self._out
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

    def _tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if not self._is_waking:
            self._is_waking = True
            try:
                self._wake()
            except RuntimeError:
                # The loop is closed: the run gave this call up long ago, and nobody is left to be told.
                return

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
        # StopIteration, SystemExit and KeyboardInterrupt too: whatever a node raises is the node's failure and nothing more.
        except BaseException as error:
            return Outcome(call.node, call.attempt, RAISED, error)
        return Outcome(call.node, call.attempt, RETURNED, value)

    def _iterate(self, call: Call, generator: Any) -> list[Any]:
        chunks = []
        for chunk in generator:
            chunks.append(chunk)
            self._tell(Outcome(call.node, call.attempt, YIELDED, chunk))
        return chunks
