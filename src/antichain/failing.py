"""
What the errors of a run's nodes say: each in the form in which users see it, with the story of the attempts before.
What a failure means is the core's affair, and what follows from it the driver's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from antichain.clocks import short_of, timeout_of
from antichain.core.scheduler import Scheduler
from antichain.core.states import STARVED
from antichain.errors import NodeFailed, NodeTimeout, RunnerError, note
from antichain.policies import EVERYTHING
from antichain.record import FailedAttempt
from antichain.shape import Flag

__all__ = ["Failures", "raised_by"]

# How many earlier failures the last one tells.
TOLD_FAILURES: Final = 10

_CONTAINER: Final = int(Flag.CONTAINER)


class Failures:
    """
    Keep the errors of one run by node, as the driver's dicts, and say in them what happened.
    """

    def __init__(
        self,
        core: Scheduler,
        errors: dict[int, BaseException],
        retried: dict[int, list[FailedAttempt]],
        name_of: Callable[[int], str],
        clock: Callable[[], float],
    ) -> None:
        self._core = core
        self._errors = errors
        self._retried = retried
        self._name_of = name_of
        self._clock = clock

    def keep(self, node: int, attempt: int, error: BaseException) -> BaseException:
        """
        Keep the error under its node, in the form in which users see it.
        """
        core, name = self._core, self._name_of(node)
        if core.has_expired(node, attempt):
            error = self._timeout_of(node, error)
        elif not isinstance(error, Exception):
            error = NodeFailed(name, attempt, error)
        if isinstance(error, NodeTimeout) or not core.flags[node] & _CONTAINER:
            # A container fails with the error of what failed inside it, which says so itself.
            note(error, f"node {name!r}, attempt {attempt}")
        self._errors[node] = error
        return error

    def _timeout_of(self, node: int, error: BaseException) -> NodeTimeout:
        timeout = timeout_of(self._core, node, self._name_of(node), self._clock())
        if not isinstance(error, asyncio.CancelledError) and type(error) is not TimeoutError:
            timeout.__cause__ = error
        return timeout

    def tell_history(self, node: int, error: BaseException) -> None:
        """
        Say with a node's last failure what the attempts before it raised, and that a retry budget has made it the last
        if one has.
        """
        self._tell_earlier(node, error)
        core = self._core
        refused = core.refused_by
        if refused is not None:
            which = "of this run" if refused == EVERYTHING else f"of limit {refused!r}"
            note(
                error,
                f"not tried again: the retry budget {which} is used up: {core.retry_budgets[refused].told()}. Find out"
                " what makes so many calls fail; RetryBudget(reserve=…, share=…) allows more.",
            )

    def _tell_earlier(self, node: int, error: BaseException) -> None:
        earlier = self._retried.get(node, ())
        for each in earlier[-TOLD_FAILURES:]:
            note(error, f"before that, {each}")
        if len(earlier) > TOLD_FAILURES:
            name = self._name_of(node)
            note(error, f"and {len(earlier) - TOLD_FAILURES} more, which result.nodes[{name!r}].failures lists")

    def of(self, node: int) -> BaseException | None:
        """
        Return the error of a node; of one that waited in vain, it is made now.
        """
        error = self._errors.get(node)
        if node in self._core.overdue_since and not self._tells_of_waiting(node, error):
            return self.overdue(node)
        if error is None and node in self._core.short_of:
            error = self._errors[node] = short_of(self._core, node, self._name_of(node))
        elif error is None and self._core.reason[node] == STARVED:
            held = ", ".join(sorted({repr(self._name_of(holder)) for holder, _ in self._core.abandoned}))
            error = self._errors[node] = RunnerError(
                f"node {self._name_of(node)!r} cannot go on: all that it waits for is held by attempts that did not end"
                f" when they were asked to ({held}), and a thread cannot be killed. Let such functions look at "
                "`Context.cancelled`, or give the limit more slots."
            )
            self._tell_earlier(node, error)
        return error

    def _tells_of_waiting(self, node: int, error: BaseException | None) -> bool:
        """
        Tell whether an error is that of a node which has waited for too long, or what its fallback has made of that.
        """
        attempt = self._core.attempts[node] + 1
        for each in (error, None if error is None else error.__context__):
            if isinstance(each, NodeTimeout) and (each.clock, each.attempt) == ("queue", attempt):
                return each.node == self._name_of(node)
        return False

    def overdue(self, node: int) -> BaseException:
        """
        Make the error of a node that has waited for its slots for too long.
        """
        name = self._name_of(node)
        error = timeout_of(self._core, node, name, self._clock())
        note(error, f"node {name!r}, attempt {error.attempt}")
        self._tell_earlier(node, error)
        self._errors[node] = error
        return error


def raised_by(error: BaseException) -> BaseException:
    """
    Return what a body has raised: what is no `Exception` was wrapped for its reader only.
    """
    return (error.__cause__ or error) if isinstance(error, NodeFailed) else error
