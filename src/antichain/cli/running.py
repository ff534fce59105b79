"""
`antichain run`: the graph of a file is run, watched, stored, and told about; `resuming` shares most of it.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antichain.cli.endings import (
    BUDGET_SPENT,
    CTRL_C,
    NODE_FAILED,
    PARTIAL,
    PAUSED,
    SUCCEEDED,
    TERMINATED,
    USAGE,
    Terminated,
    complain,
    emit,
)
from antichain.cli.given import Named, limits_of, open_named
from antichain.cli.places import NOWHERE, Place, checked_id
from antichain.cli.watching import Watch
from antichain.errors import (
    AntichainError,
    BudgetSpent,
    GraphError,
    NobodyAnswers,
    NotStorable,
    RunExists,
    RunFailed,
    RunOwned,
    RunTimeout,
    StoreError,
    UnknownRun,
    amount,
)
from antichain.loading import UsageError
from antichain.plan import Plan, prepare
from antichain.record import RunResult
from antichain.run import run_plan
from antichain.views.text import error_text, failures_text, names_text, outputs_text

if TYPE_CHECKING:
    from antichain.cli.storing import Kept

__all__ = ["Outcome", "Request", "execute", "run", "tell", "watched"]


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
    # No store if its address is empty.
    place: Place = NOWHERE


def run(request: Request) -> int:
    """
    Run what was asked for; return the exit code.

    Raises:
        UsageError: it cannot be run.
    """
    limits = limits_of(request.limits)
    run_id = request.options.get("run_id")
    if run_id is not None and request.place.spec:
        checked_id(run_id)
    watch = Watch(request.progress, request.trace)
    named = open_named(request.target, request.values)
    options = {name: value for name, value in request.options.items() if value is not None}
    options |= {"limits": limits} if limits else {}
    with _storing(request, named) as kept:
        if kept is not None:
            options |= {"run_id": kept.run_id, "store": kept.store}
        try:
            plan, inputs, options = prepare(named.graph, named.inputs, watched(options, watch, named))
        except GraphError as error:
            # Where a message shows how to give an input in Python, show how to give it here.
            raise UsageError(re.sub(r"\brun\((\w+)=…\)", r"\1=VALUE", str(error))) from error
        more = {} if kept is None else kept.options()
        outcome = execute(lambda: run_plan(plan, inputs, {**options, **more}), kept)
        return tell(request, plan, named, watch, outcome, kept)


def watched(options: Mapping[str, Any], watch: Watch, named: Named) -> dict[str, Any]:  # Any: values of run options
    """
    Return the options of a run that is watched; what would be shown is shown by the watch.
    """
    listeners = [*watch.listeners(), *(named.graph.options.get("listeners") or ())]
    return {**options, "listeners": listeners, "progress": False}


@contextlib.contextmanager
def _storing(request: Request, named: Named) -> "Iterator[Kept | None]":
    """
    Open the store that the run is kept in, if it is kept.
    """
    if not request.place.spec:
        yield None
        return
    from antichain.cli.storing import storing, target_of
    from antichain.stores.codec import Encoding

    # The id is known before the run is, so that it can be named whatever becomes of it.
    run_id = request.options.get("run_id") or uuid.uuid4().hex[:12]
    target = target_of(named.file, named.name, named.factory_values)
    if Encoding(redact=named.graph.options.get("redact")).changes(target):
        raise UsageError(
            "what the function that makes the graph was given is stored with the run, and holds what redact= replaces: "
            "let that function read it from the environment, or use --no-store."
        )
    with storing(request.place, run_id, target) as kept:
        if isinstance(kept, str):
            complain(f"this run is not stored: {kept}. --store PATH names another place.", None, SUCCEEDED, False)
        yield None if isinstance(kept, str) else kept


def tell(request: Request, plan: Plan, named: Named, watch: Watch, outcome: "Outcome", kept: "Kept | None") -> int:
    """
    Tell what a run came to, and return the exit code.
    """
    trace_problem = watch.end(outcome.result)
    if kept is not None and (text := kept.warnings()):
        complain(text, None, SUCCEEDED, request.debug)
    code = _Show(request, plan, str(named.file), kept).outcome(outcome)
    if trace_problem is not None:
        return complain(trace_problem.text, trace_problem.error, code or NODE_FAILED, request.debug)
    return code


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a run came to: its result, what ended it, or both.
    """

    result: RunResult | None
    error: BaseException | None = None


def execute(work: Callable[[], RunResult], kept: "Kept | None") -> Outcome:
    """
    Run something; what it raises is part of what it came to.
    """
    try:
        with contextlib.nullcontext() if kept is None else kept.watched():
            return Outcome(work())
    except (RunTimeout, RunFailed, KeyboardInterrupt, Terminated, AntichainError) as error:
        return Outcome(getattr(error, "result", None), error)


@dataclass(frozen=True, slots=True)
class _Show:
    """
    Print what became of a run.
    """

    request: Request
    plan: Plan
    file: str
    # None if it is not stored.
    kept: "Kept | None" = None

    def outcome(self, outcome: Outcome) -> int:
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
            case BudgetSpent() if result is not None:
                return self._ran_out(result, error)
            case GraphError():
                # The graph is not the one that was stored, or an input cannot be stored. Nothing has run.
                return complain(self._in_words_of_the_command(error), error, USAGE, self.request.debug)
            case RunExists() | RunOwned() | UnknownRun():
                return complain(self._with_way_out(error), error, USAGE, self.request.debug)
            case StoreError() if result is None and self.kept is not None:
                ending = "" if self.request.target == "" else " --no-store runs without storing anything."
                return complain(f"{_sentence(error)}{ending}", error, NODE_FAILED, self.request.debug)
            case None | RunFailed():
                assert result is not None
                if result.status == "paused":
                    return self._paused(result)
                return SUCCEEDED if result.status == "succeeded" and error is None else self._failed(result, error)
            case _:
                return self._stopped(_sentence(error), result, error, NODE_FAILED)

    def _result(self, result: RunResult) -> None:
        """
        Print the outputs that no other node has used, or with ``--json`` everything.
        """
        if self.request.as_json:
            data = result.to_dict()
            if self.kept is not None and result.status == "paused":
                data["questions"] = self.kept.questions_data()
            emit(json.dumps(data, indent=2))
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
        text = f"{head}\n{failures}\n{self._completed(result)}{self._about_storing(result)}"
        text += "".join(f"\n{line}" for line in self._asked_too(result)) + self._next()
        return complain(text, cause, PARTIAL if is_partial else NODE_FAILED, self.request.debug)

    def _stopped(self, why: str, result: RunResult | None, error: BaseException, code: int) -> int:
        text = why if result is None else f"{why} {self._completed(result)}"
        return complain(f"{text}{self._next()}", error, code, self.request.debug)

    def _ran_out(self, result: RunResult, error: BudgetSpent) -> int:
        """
        Say what was used of what, and the command that goes on.
        """
        lines = [f"the budget is used up: {amount(error.used)} {error.unit} of {amount(error.limit)}."]
        if failures := failures_text(result, self.file):
            lines.append(failures)
        lines.append(self._completed(result))
        if self.kept is not None and error.unit in ("tokens", "usd"):
            lines.append(f"What was used so far counts when it goes on: give a larger --budget-{error.unit}, or none.")
        goes_on = "" if self.kept is None else self.kept.next_line((error.unit, error.used, error.limit))
        return complain("\n".join(lines) + goes_on, error, BUDGET_SPENT, self.request.debug)

    def _paused(self, result: RunResult) -> int:
        """
        Name the questions, and the commands that answer them and go on.
        """
        head = f"the run of graph {result.name!r} waits for an answer."
        failures = failures_text(result, self.file)
        lines = [head, *([failures] if failures else []), self._completed(result)]
        if self.kept is not None:
            lines += self.kept.questions()
        return complain("\n".join(lines) + self._next(), None, PAUSED, self.request.debug)

    def _asked_too(self, result: RunResult) -> Iterator[str]:
        """
        Name the questions of a run that waits for answers and has failed as well.
        """
        if self.kept is not None and any(node.reason == "paused" for node in result.nodes.values()):
            yield "It also waits for an answer:"
            yield from self.kept.questions()

    def _next(self) -> str:
        """
        Make the last line: the command that goes on with this run.
        """
        return "" if self.kept is None else self.kept.next_line()

    def _in_words_of_the_command(self, error: GraphError) -> str:
        text = _sentence(error)
        if any(fault.code == "not-storable" for fault in error.faults):
            text += " --no-store runs without storing anything."
        # The command takes no outputs=.
        text = re.sub(r", or give its output by outputs=\{.*?: …\}", "", text)
        return text.replace('on_change="rerun"', "--on-change rerun")

    def _about_storing(self, result: RunResult) -> str:
        errors = result.errors.values()
        if self.kept is None and any(isinstance(error, NobodyAnswers) for error in errors):
            return "\nOnly a run that is stored waits for an answer: --store PATH names where."
        if self.kept is None or not any(isinstance(error, NotStorable) for error in errors):
            return ""
        return (
            "\nA node whose output cannot be stored may have persist=False: then it runs again when the run is resumed."
            " --no-store runs without storing anything."
        )

    def _with_way_out(self, error: AntichainError) -> str:
        """
        Say what to do about a run that is there already, or that somebody else holds.
        """
        text = str(error).replace("take_over=True", "--take-over")
        return text + ("" if self.kept is None else self.kept.way_out(error))

    def _completed(self, result: RunResult) -> str:
        text = f"Completed: {len(result)} of {len(self.plan)} nodes"
        if result:
            text += f" ({names_text(list(result))})"
        if result.abandoned:
            text += f"; abandoned, because they did not end when asked to: {names_text(result.abandoned)}"
        if result and not self.request.as_json:
            text += "; --json prints their outputs"
        return text + ("." if self.request.debug else "; --debug shows tracebacks.")


def _sentence(error: BaseException) -> str:
    """
    Return what an error says, as a sentence that another one may follow.
    """
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."
