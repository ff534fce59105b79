"""
How calls are made: the options of `run_tool_calls`, read and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict

from antichain.agents.calls.messages import ToolCall
from antichain.agents.calls.sanitize import Sanitize
from antichain.agents.tools.tool import Tools
from antichain.context import Context
from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies import LimitValue, Timeout
from antichain.runnable import describe

__all__ = ["NAME", "Approve", "CallOptions", "Rules", "refused", "settled"]

# Of the graph of the calls.
NAME: Final = "tool_calls"

# Names of tools, a predicate of a call whose arguments are checked, or all calls.
Approve = Collection[str] | Callable[[ToolCall], bool] | bool


class CallOptions(TypedDict, total=False):
    """
    What `run_tool_calls` takes by name: how calls are made, and options of their run.
    """

    context: Context | None
    max_concurrent: int
    limits: Mapping[str, LimitValue] | None
    timeout: float | Timeout | None
    sanitize: Sanitize | None
    single_flight: bool
    approve: Approve | None
    max_calls: int | None
    max_argument_bytes: int
    max_result_bytes: int
    ask: Callable[[Any], Any] | None  # Any: a Question, and what it is answered with
    deadline: float | None
    grace: float
    run_id: str | None
    seed: int | None
    listeners: Iterable[Callable[[Any], object]] | None  # Any: an event
    progress: bool
    tracer: Any  # Any: as for `Graph.run`


# Options of a run of its own, which there is none of inside another.
RUN_ONLY: Final = ("ask", "deadline", "grace", "run_id", "seed", "listeners", "progress", "tracer")


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The options that are ours, with what holds where nothing was said.
    """

    context: Context | None = None
    max_concurrent: int = 16
    limits: Mapping[str, LimitValue] | None = None
    timeout: float | Timeout | None = None
    sanitize: Sanitize | None = None
    single_flight: bool = False
    approve: Approve | None = None
    max_calls: int | None = None
    max_argument_bytes: int = 1_000_000
    max_result_bytes: int = 1_000_000


def settled(options: Mapping[str, Any], tools: Tools) -> tuple[Rules, dict[str, Any]]:
    """
    Part what was given by name into our rules and the options of the run.
    """
    faults = []
    for name in options:
        if name not in CallOptions.__annotations__:
            known = CallOptions.__annotations__
            hint = suggestion(name, known) or f" Options are: {', '.join(known)}."
            faults.append(Fault("unknown-option", f"{name}= is not an option of run_tool_calls.{hint}"))
    if faults:
        raise GraphError(faults, NAME)
    given = {name: value for name, value in options.items() if value is not None}
    run_options: dict[str, Any] = {name: given.pop(name) for name in RUN_ONLY if name in given}
    rules = Rules(**given)
    if isinstance(rules.approve, str):
        rules = replace(rules, approve=[rules.approve])
    faults = [*_faults(rules, tools), *_faults_of_run(rules, run_options)]
    if faults:
        raise GraphError(faults, NAME)
    return rules, {**run_options, "max_concurrent": rules.max_concurrent, "on_error": "continue"}


def _faults(rules: Rules, tools: Tools) -> Iterator[Fault]:
    for name in ("max_concurrent", "max_calls", "max_argument_bytes", "max_result_bytes"):
        number = getattr(rules, name)
        if number is not None and (type(number) is not int or number < 1):
            yield Fault("bad-policy", f"{name}={shown(number)}: must be a whole number, at least 1.")
    sanitize, approve = rules.sanitize, rules.approve
    if sanitize is not None and not _is_plain(sanitize):
        form = "from a text and its call to a text"
        yield Fault("bad-policy", f"sanitize={shown(sanitize)}: use a plain function, {form}, which nobody awaits.")
    if approve is None or isinstance(approve, bool) or _is_plain(approve):
        return
    if callable(approve) or not isinstance(approve, Collection):
        form = "use names of tools, a plain function of the call, or True for all"
        yield Fault("bad-policy", f"approve={shown(approve)}: {form}.")
        return
    for name in approve:
        if name not in tools:
            # Passed over, a slip of the pen would leave the tool without its gate.
            hint = suggestion(str(name), tools)
            yield Fault("bad-policy", f"approve= names {shown(name)}, which is none of the tools.{hint}")


def _is_plain(function: object) -> bool:
    described = describe(function) if callable(function) else None
    return described is not None and described.form == "function"


def _faults_of_run(rules: Rules, run_options: Mapping[str, Any]) -> Iterator[Fault]:
    if rules.context is not None:
        for name in run_options:
            why = "but with context= the calls are made inside a run, whose options hold"
            yield Fault("nested-options", f"run_tool_calls was given {name}=, {why}: give it to that run.")
    elif rules.approve and "ask" not in run_options:
        why = "but nobody can be asked: give ask= a function that answers a Question"
        yield Fault("bad-policy", f"approve={shown(rules.approve)}: {why}.")


def refused(name: str, given: object, why: str) -> GraphError:
    """
    Make the error for an option that cannot hold.
    """
    return GraphError(Fault("bad-policy", f"{name}={shown(given)}: {why}."), NAME)
