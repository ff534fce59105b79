"""
What running bodies want of their run besides an end: to run more graph, and to ask people. Their slots are lent to
others meanwhile, and they go on once they have them back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from antichain.asking import Asked, Asking, Question
from antichain.core.groups import COLLECT, Group
from antichain.core.states import PAUSED, RUNNING
from antichain.errors import RunnerError
from antichain.growth import call_inside
from antichain.tasks import GivenUp, Tasks

if TYPE_CHECKING:
    from antichain.driver import Driver

__all__ = ["Lending"]


class Lending:
    """
    Do for the bodies of one run what they wait for. All methods are for the loop's thread. Any: what bodies run and ask
    for, and what comes of it.
    """

    def __init__(
        self,
        driver: Driver,
        tasks: Tasks,
        turn: Callable[[], object],
        guarded: Callable[[Callable[[], object]], object],
    ) -> None:
        self._driver = driver
        self._tasks = tasks
        # Does what the core has decided.
        self._turn = turn
        # Calls what the loop has been asked to call: a fault of ours ends the run.
        self._guarded = guarded
        # Attempts that end because they wait for somebody's answer (PAUSED), or for what may not start (BUDGET).
        self.pausing: dict[tuple[int, int], int] = {}
        # Bodies that wait to get their slots back.
        self._resumptions: dict[int, asyncio.Future[None]] = {}
        # What to do once the group of what a running body runs itself, or asks, has ended.
        self._insides: dict[Group, Callable[[], object]] = {}
        # Made for the first question.
        self._asking: Asking | None = None

    def end(self, group: Group) -> None:
        """
        Hear that all of a group has ended; what never started has not told it.
        """
        end_inside = self._insides.pop(group, None)
        if end_inside is not None:
            end_inside()

    def close(self) -> None:
        """
        Let the threads end in which people are asked.
        """
        if self._asking is not None:
            self._asking.close()

    async def run(self, node: int, attempt: int, runnable: object, inputs: dict[str, Any]) -> Any:
        """
        Run a graph or a function for the body of *node*; see `Context.run`.
        """
        driver, core = self._driver, self._driver.core
        if not self._is_current(node, attempt):
            raise self._over(node, attempt, "run")
        inside = call_inside(driver, node, runnable, inputs)
        group = core.open(node, attempt, COLLECT)
        self._insides[group] = inside.end
        try:
            inside.enter(driver, group, inputs)
        finally:
            core.close(group)
        core.lend(node, attempt)
        self._turn()
        was_cancelled = False
        while not inside.ended.done():
            try:
                await asyncio.wait({inside.ended})
            except asyncio.CancelledError:
                # Asked once or more: what it waits for is asked too, and is given up once its grace is over.
                was_cancelled = True
                core.stop(group, driver.clock())
                self._turn()
        was_cancelled |= await self._take_slots_back(node, attempt)
        if inside.has_paused(driver):
            self.pausing[node, attempt] = inside.reason(driver)
        if was_cancelled or not inside.has_outcome or not self._is_current(node, attempt):
            raise asyncio.CancelledError
        return inside.outcome()

    async def _take_slots_back(self, node: int, attempt: int) -> bool:
        """
        Wait until a body that has lent its slots has them again, or is to end; tells whether it was cancelled
        meanwhile.
        """
        core, was_cancelled = self._driver.core, False
        if core.reclaim(node, attempt):
            # One for all: a body may run several things at once.
            resumption = self._resumptions.setdefault(node, self._driver.loop.create_future())
            # Nothing is in it: it ends with the attempt, which a task that the body has left behind would not notice.
            group = core.open(node, attempt, COLLECT)
            self._insides[group] = lambda: self.resume(node)
            self._turn()
            while not resumption.done() and not self._is_ending(node, attempt):
                try:
                    await asyncio.wait({resumption})
                except asyncio.CancelledError:
                    was_cancelled = True
            self._insides.pop(group, None)
            core.close(group)
            self._turn()
        return was_cancelled

    def resume(self, node: int) -> None:
        """
        Let a body go on that has its slots back.
        """
        resumption = self._resumptions.pop(node, None)
        if resumption is not None and not resumption.done():
            resumption.set_result(None)

    async def ask(self, node: int, attempt: int, text: str, kind: Any) -> Any:
        """
        Ask whoever answers for the body of *node*; see `Context.ask`.
        """
        driver, keeping = self._driver, self._driver.keeping
        if not self._is_current(node, attempt):
            raise self._over(node, attempt, "ask")
        if self._asking is None:
            call_soon = driver.loop.call_soon_threadsafe
            self._asking = Asking(driver.run_id, driver.settings.ask, lambda back: call_soon(self._guarded, back))
        question = self._asking.question(driver.name_of(node), text, kind)
        if self._is_ending(node, attempt):
            # It is cleaning up.
            raise asyncio.CancelledError
        if keeping is None:
            if not self._asking.has_handler:
                raise self._asking.nobody(question)
            return await self._put_question(node, attempt, question)
        kept = replace(question, number=keeping.next_number(node, attempt))
        is_answered, answer = keeping.answer_to(kept)
        if not is_answered and not self._asking.has_handler:
            # Somebody may answer another day; then the node starts again from its top.
            self.leave_open(node, attempt, keeping.ask(kept))
            raise asyncio.CancelledError
        if not is_answered:
            answer = await self._put_question(node, attempt, question)
            keeping.note_answer(kept, answer)
        return answer

    def leave_open(self, node: int, attempt: int, question: Question) -> None:
        """
        Let an attempt end because nobody answers in this run.
        """
        self._tell_question(node, attempt, question)
        self.pausing[node, attempt] = PAUSED

    def pauses(self, node: int, attempt: int) -> bool:
        """
        Tell whether an attempt ends because it waits for somebody's answer.
        """
        return (node, attempt) in self.pausing and not self._driver.core.has_expired(node, attempt)

    def _tell_question(self, node: int, attempt: int, question: Question) -> None:
        driver = self._driver
        if driver.facts is not None:
            driver.facts.asks(node, attempt, driver.clock(), question.text, question.number)

    async def _put_question(self, node: int, attempt: int, question: Question) -> Any:
        """
        Wait for the answer of whoever answers in this run.
        """
        driver, core = self._driver, self._driver.core
        self._tell_question(node, attempt, question)
        # Nothing is in it: it ends with the attempt, whoever of the body's tasks has asked.
        group = core.open(node, attempt, COLLECT)
        asked = Asked()
        self._insides[group] = asked.end
        work = self._await_answer(asked, question, lambda: self._leave_handler(node, attempt))
        asked.task = self._tasks.spawn(work, copy_context())
        core.lend(node, attempt)
        self._turn()
        try:
            while not asked.task.done():
                try:
                    await asyncio.wait({asked.task})
                except asyncio.CancelledError:
                    asked.end()
        except GivenUp:
            self._tasks.kill(asked.task)
            raise
        if driver.facts is not None and self._is_current(node, attempt):
            # Now, and not once the slots are back: nobody has to do anything any more.
            driver.facts.answered(node, attempt, driver.clock(), question.number)
        self._insides.pop(group, None)
        core.close(group)
        self._turn()
        if await self._take_slots_back(node, attempt) or asked.has_ended or self._is_ending(node, attempt):
            raise asyncio.CancelledError
        return asked.outcome()

    async def _await_answer(self, asked: Asked, question: Question, on_abandoned: Callable[[], object]) -> None:
        assert self._asking is not None
        try:
            asked.answer = await self._asking.answer(question, lambda: asked.has_ended, on_abandoned)
            asked.error = None
        except BaseException as error:
            # Whatever it is, it is the node's failure: a task would let some of them stop the loop.
            asked.error = error
            if self._driver.interrupt == "twice" and isinstance(error, KeyboardInterrupt):
                raise

    def _leave_handler(self, node: int, attempt: int) -> None:
        """
        A thread is left with a question that nobody waits for any more: name it, as any thread that does not end.
        """
        if self._is_current(node, attempt):
            self._driver.core.abandoned_nodes[node] = attempt

    def _over(self, node: int, attempt: int, what: str) -> RunnerError:
        name = self._driver.name_of(node)
        return RunnerError(f"attempt {attempt} of node {name!r} is over: it cannot {what} anything more.")

    def _is_current(self, node: int, attempt: int) -> bool:
        core = self._driver.core
        return core.state[node] == RUNNING and core.attempts[node] == attempt

    def _is_ending(self, node: int, attempt: int) -> bool:
        """
        Tell whether a body is to end, or has: it gets no slots any more.
        """
        core = self._driver.core
        return (
            not self._is_current(node, attempt)
            or core.was_interrupted(node, attempt)
            or core.has_expired(node, attempt)
        )
