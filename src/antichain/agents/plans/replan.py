"""
The bounded loop around plans: what is wrong with one goes back to whoever writes them, and what ran is not run again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Unpack

from antichain.agents.plans.plan_stream import PlanOptions, PlanStream, Reading, Source
from antichain.agents.plans.refusal import PlanRefused, report
from antichain.agents.plans.steps import Kept
from antichain.agents.tools.tool import Tools, tools_of
from antichain.errors import Fault, GraphError, RunFailed, shown

if TYPE_CHECKING:
    from antichain.agents.plans.formats import PlanFormat
    from antichain.context import Context

__all__ = ["Feedback", "replan"]


class ReplanOptions(PlanOptions, total=False):
    """
    What `replan` passes on to each PlanStream.
    """

    format: PlanFormat
    max_steps: int
    max_depth: int
    max_bytes: int
    max_nesting: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """
    What became of a plan, for the one who writes the next.

    As a text, it is the JSON text that the model should read.
    """

    # Of the plan that failed, from 1.
    round: int
    text: str
    error: PlanRefused | RunFailed
    # Outputs that the next plan may refer to, by step.
    kept: Mapping[str, Any]  # Any: what tools return

    def __str__(self) -> str:
        return self.text


Planner = Callable[[Feedback | None], Source | Awaitable[Source]]


async def replan(
    planner: Planner,
    tools: Tools | Iterable[Any],
    *,
    context: Context | None = None,
    rounds: int = 3,
    inputs: Mapping[str, Any] | None = None,
    **options: Unpack[ReplanOptions],
) -> dict[str, Any]:
    """
    Run the plan that *planner* writes; while it is refused or fails, ask for another one, at most *rounds* in all.

    Steps that completed are kept: the next plan may refer to them, and a step that it writes again as it was is not run
    again. Returns the outputs of the last plan's steps by id, and those that were kept.

    Args:
        planner: called with None, then with the Feedback of the plan before; gives, or awaits, the source of a plan.
        tools: what plans may use.
        context: of the node that calls this; the plans are then part of its run.
        rounds: most plans.
        inputs: values that every plan may refer to by name.
        options: caps and run options of each plan: see PlanStream.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     return a + b
        >>> def planner(feedback):
        ...     args = {"a": 1} if feedback is None else {"a": 1, "b": 2}
        ...     return [{"id": "sum", "tool": "add", "args": args}]
        >>> asyncio.run(replan(planner, Tools(add)))
        {'sum': 3}

    Raises:
        PlanRefused: the last plan had faults. RunFailed: its tools failed. Either has `.result`, of that plan.
        GraphError: *planner* is no function, or *rounds* no number of plans.
    """
    if type(rounds) is not int or rounds < 1:
        raise GraphError(Fault("bad-policy", f"rounds={shown(rounds)}: must be a whole number of plans, at least 1."))
    _check(planner)
    allowed = tools_of(tools)
    loop = _Rounds(allowed, {name: Kept(value) for name, value in (inputs or {}).items()})
    feedback: Feedback | None = None
    for number in range(1, rounds + 1):
        source = planner(feedback)
        if isawaitable(source):
            source = await source
        feedback = await loop.run(number, source, context, options)
        if feedback is None:
            break
    if feedback is not None:
        raise feedback.error
    return loop.outputs


def _check(planner: object) -> None:
    if not callable(planner):
        why = "must be a function that takes the feedback and returns the source of a plan"
        raise GraphError(Fault("bad-policy", f"replan was given {shown(planner)} as planner: {why}."))


@dataclass(slots=True)
class _Rounds:
    """
    What the plans so far have brought.
    """

    tools: Tools
    # What the next plan may refer to.
    kept: dict[str, Kept]
    # Outputs of steps, in the order in which they were written first.
    outputs: dict[str, Any] = field(default_factory=dict)

    async def run(
        self, number: int, source: Source, context: Context | None, options: ReplanOptions
    ) -> Feedback | None:
        """
        Run one plan, and return what is to be said about it if it did not come to its end.
        """
        reading = PlanStream(source, self.tools, **options).read(kept=self.kept)
        error: PlanRefused | RunFailed
        try:
            result: Mapping[str, Any] = await (reading.execute({}) if context is None else context.run(reading))
        except (PlanRefused, RunFailed) as failure:
            error = failure
        else:
            self._keep(reading, result)
            return None
        self._keep(reading, error.result or {})
        text = error.for_model() if isinstance(error, PlanRefused) else _text_of(error, reading)
        return Feedback(number, text, error, {name: kept.value for name, kept in self.kept.items()})

    def _keep(self, reading: Reading, outputs: Mapping[str, Any]) -> None:
        for name, written in reading.ordering.written.items():
            if name in outputs:
                self.outputs[name] = outputs[name]
                self.kept[name] = Kept(outputs[name], written)


def _text_of(failure: RunFailed, reading: Reading) -> str:
    faults = []
    if (error := reading.source_error) is not None:
        faults.append(Fault("broken-off", f"the plan broke off: {type(error).__name__}: {error}"))
    return report("the plan failed", faults, reading.told(failure.result))
