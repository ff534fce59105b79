"""
`antichain run`: the graph of a file is run, watched, and told about.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antichain.cli.endings import CTRL_C, NODE_FAILED, PARTIAL, SUCCEEDED, TERMINATED, Terminated, complain, emit
from antichain.cli.given import limits_of, open_named
from antichain.cli.watching import Watch
from antichain.errors import AntichainError, GraphError, RunFailed, RunTimeout
from antichain.loading import UsageError
from antichain.plan import Plan, prepare
from antichain.record import RunResult
from antichain.run import run_plan
from antichain.views.text import error_text, failures_text, names_text, outputs_text

__all__ = ["Request", "run"]


@dataclass(frozen=True, slots=True)
class Request:
    """
    What `antichain run` was asked for, as typed.
    """

    target: str
    values: Sequence[str] = ()
    limits: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)  # Any: values of run options
    trace: str | None = None
    progress: bool = True
    as_json: bool = False
    debug: bool = False


def run(request: Request) -> int:
    """
    Run what was asked for; return the exit code.

    Raises:
        UsageError: it cannot be run.
    """
    limits = limits_of(request.limits)
    watch = Watch(request.progress, request.trace)
    named = open_named(request.target, request.values)
    options = {name: value for name, value in request.options.items() if value is not None}
    options |= {"limits": limits} if limits else {}
    listeners = [*watch.listeners(), *(named.graph.options.get("listeners") or ())]
    try:
        # What would be shown is shown by the watch.
        given = {**options, "listeners": listeners, "progress": False}
        plan, inputs, options = prepare(named.graph, named.inputs, given)
    except GraphError as error:
        # Where a message shows how to give an input in Python, show how to give it here.
        raise UsageError(re.sub(r"\brun\((\w+)=…\)", r"\1=VALUE", str(error))) from error
    outcome = _execute(plan, inputs, options)
    trace_problem = watch.end(outcome.result)
    code = _Show(request, plan, str(named.file)).outcome(outcome)
    if trace_problem is not None:
        return complain(trace_problem.text, trace_problem.error, code or NODE_FAILED, request.debug)
    return code


@dataclass(frozen=True, slots=True)
class _Outcome:
    """
    What a run came to: its result, what ended it, or both.
    """

    result: RunResult | None
    error: BaseException | None = None


def _execute(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> _Outcome:  # Any: the user's values
    try:
        return _Outcome(run_plan(plan, inputs, options))
    except (RunTimeout, RunFailed, KeyboardInterrupt, Terminated, AntichainError) as error:
        return _Outcome(getattr(error, "result", None), error)


@dataclass(frozen=True, slots=True)
class _Show:
    """
    Print what became of a run.
    """

    request: Request
    plan: Plan
    file: str

    def outcome(self, outcome: _Outcome) -> int:
        """
        Print what completed, say what did not, and return the exit code.
        """
        result, error = outcome.result, outcome.error
        if result is not None:
            self._result(result)
        match error:
            case KeyboardInterrupt():
                return self._stopped("interrupted.", result, error, CTRL_C)
            case Terminated():
                return self._stopped("terminated.", result, error, TERMINATED)
            case RunTimeout():
                why = f"the run did not end within its deadline of {error.deadline:g} s."
                return self._stopped(why, result, error, NODE_FAILED)
            case None | RunFailed():
                assert result is not None
                return SUCCEEDED if result.status == "succeeded" and error is None else self._failed(result, error)
            case _:
                return self._stopped(str(error), result, error, NODE_FAILED)

    def _result(self, result: RunResult) -> None:
        """
        Print the outputs that no other node has used, or with ``--json`` everything.
        """
        if self.request.as_json:
            emit(json.dumps(result.to_dict(), indent=2))
            return
        plan = self.plan
        downstream = plan.shape.downstream
        sinks = plan.targets or [name for name in plan.ids if not downstream[plan.index[name]]]
        text = outputs_text({name: result[name] for name in sinks if name in result})
        if text:
            emit(text)

    def _failed(self, result: RunResult, error: RunFailed | None) -> int:
        failures = failures_text(result, self.file)
        if not failures and error is not None:
            # No node failed: a resource did when it was closed.
            failures = "\n".join(f"  {error_text(each)}" for each in error.exceptions)
        is_partial = result.status == "partial"
        head = f"the run of graph {result.name!r} {'is partial' if is_partial else 'failed'}:"
        cause = error or (BaseExceptionGroup("", list(result.errors.values())) if result.errors else None)
        text = f"{head}\n{failures}\n{self._completed(result)}"
        return complain(text, cause, PARTIAL if is_partial else NODE_FAILED, self.request.debug)

    def _stopped(self, why: str, result: RunResult | None, error: BaseException, code: int) -> int:
        text = why if result is None else f"{why} {self._completed(result)}"
        return complain(text, error, code, self.request.debug)

    def _completed(self, result: RunResult) -> str:
        text = f"Completed: {len(result)} of {len(self.plan)} nodes"
        if result:
            text += f" ({names_text(list(result))})"
        if result.abandoned:
            text += f"; abandoned, because they did not end when asked to: {names_text(result.abandoned)}"
        if result and not self.request.as_json:
            text += "; --json prints their outputs"
        return text + ("." if self.request.debug else "; --debug shows tracebacks.")
