"""
Limits of a run that are more than a number: shared with other runs, so that others change them, or found out by what
becomes of the attempts that hold them. Imported where a run has one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from antichain.errors import Fault, GraphError
from antichain.policies import LimitValue, SharedLimit, SharedRate, as_weight

if TYPE_CHECKING:
    from antichain.binding import Binding
    from antichain.driver import Driver

__all__ = ["Limiting"]


class Limiting:
    """
    Carry between one run and its limits that are objects. All methods are for the loop's thread.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._watched: list[SharedLimit | SharedRate] = []
        # The loop has been asked to look again, and has not yet.
        self._will_look = False

    def watch(self, limits: Mapping[str, LimitValue]) -> None:
        """
        Go on with the run each time one of these lets more pass.
        """
        for limit in limits.values():
            if not isinstance(limit, int):
                limit.watch(self._on_shared_limit)
                self._watched.append(limit)

    def close(self) -> None:
        """
        Leave the limits to others.
        """
        for limit in self._watched:
            limit.unwatch(self._on_shared_limit)
        if self._core.lines is not None:
            self._core.lines.leave()

    def _on_shared_limit(self) -> None:
        """
        A limit shared with other runs has slots again, or was resized. Called in any thread.
        """
        if not self._will_look:
            self._will_look = True
            self._driver.call_soon(self._on_change)

    def _on_change(self) -> None:
        # First: what changes from now on is looked at once more, at worst for nothing.
        self._will_look = False
        self._core.reconsider()
        self._driver.turn()

    # Any: the values that a node reads, and what is asked of them.
    def weights_of(
        self, node: int, binding: Binding, values: list[Any], call: Callable[..., Any]
    ) -> dict[str, Mapping[str, float]]:
        """
        Ask how much a node takes of rates; *call* calls a function of the user's.

        Raises:
            GraphError: it is no amount, or more than can ever pass. What the user's function raises comes as it is.
        """
        core = self._core
        amounts = dict(core.amounts.get(node, {}))
        for name, question in (binding.weights or {}).items():
            args, kwargs = question.arguments(values)
            weight = call(question.function, *args, **kwargs)
            amounts[name] = as_weight(name, weight, core.rates[name].limit.units)
            if (error := self._above(node, name, amounts[name])) is not None:
                raise error
        return amounts

    def impossible(self) -> tuple[int, GraphError] | None:
        """
        Return a node that waits for more than a rate, which has become smaller, will ever let pass, and what that says.
        """
        lines = self._core.lines
        for node, name, amounts in () if lines is None else lines.first_in_line():
            error = self._above(node, name, amounts)
            if error is not None:
                return node, error
        return None

    def _above(self, node: int, name: str, amounts: Mapping[str, float]) -> GraphError | None:
        """
        Say so if *amounts* can never pass the rate *name*.
        """
        try:
            self._core.rates[name].limit.check(amounts)
        except GraphError as error:
            text = f"node {self._driver.name_of(node)!r} uses the limit {name!r}: "
            return GraphError([Fault(each.code, text + each.message) for each in error.faults])
        return None

    def tell_overload(self, node: int, attempt: int, error: BaseException) -> None:
        """
        Tell the limits that an attempt holds if the other side has refused it because it has too much to do.
        """
        from antichain.policies.overload import overload_of  # only where a limit adapts

        overload = overload_of(error, time.time())
        if overload is not None:
            self._core.overloaded(node, attempt, overload.retry_after, self._driver.clock())
