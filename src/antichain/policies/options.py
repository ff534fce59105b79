"""The options of one run: a closed list, so that every other name is an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Literal, TypedDict

from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies.failure import OnError, as_on_error
from antichain.policies.limits import SharedLimit, as_size
from antichain.policies.timeout import seconds

__all__ = ["RUN_OPTIONS", "GraphOptions", "RunOptions", "check_options", "split_options"]


class GraphOptions(TypedDict, total=False):
    """
    The run options that ``Graph(…)`` takes for all its runs, besides ``limits``.
    """

    max_concurrent: int | None
    deadline: float | None
    on_error: OnError
    grace: float
    targets: Iterable[Any] | None  # Any: node ids, or nodes, which live further down the road
    outputs: Mapping[str, Any] | None  # Any: the user's values
    store: Any  # Any: comes with a later release
    run_id: str | None
    seed: int | None
    listeners: Iterable[Callable[[Any], object]] | None  # Any: an event
    progress: bool
    tracer: Any  # Any: an OpenTelemetry Tracer or TracerProvider, which is not known here; False for none
    isolation: Literal["context", "task"]
    ask: Callable[[Any], Any] | None  # Any: a question, which lives further down the road, and its answer


class RunOptions(GraphOptions, total=False):
    """
    What ``run``, ``arun``, ``astream`` and their aliases take besides inputs.
    """

    limits: Mapping[str, int | SharedLimit] | None


RUN_OPTIONS: frozenset[str] = frozenset({*GraphOptions.__annotations__, *RunOptions.__annotations__})
LATER = {
    "store": "durable runs come with a later release; run without it",
}


def split_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Part the keyword arguments of a run into its options and its inputs.
    """
    options: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for name, value in given.items():
        (options if name in RUN_OPTIONS else inputs)[name] = value
    return options, inputs


def check_options(options: Mapping[str, Any]) -> list[Fault]:
    """
    Say what is wrong with the names and values of run *options*; whether targets and limits exist is the plan's to say.
    """
    faults: list[Fault] = []
    for name, value in options.items():
        if name not in RUN_OPTIONS:
            hint = suggestion(name, RUN_OPTIONS) or f" Options are: {', '.join(sorted(RUN_OPTIONS))}."
            faults.append(Fault("unknown-option", f"{name}= is not a run option.{hint}"))
        elif value is None:
            continue
        elif name in LATER:
            faults.append(Fault("unknown-option", f"{name}={shown(value)}: {LATER[name]}."))
        else:
            faults.extend(_value_faults(name, value))
    return faults


def _value_faults(name: str, value: Any) -> list[Fault]:  # Any: a user's value, not yet checked
    try:
        match name:
            case "max_concurrent":
                as_size(name, value)
            case "limits":
                return _limit_faults(value)
            case "deadline":
                seconds(name, value)
            case "grace":
                seconds(name, value, zero=True)
            case "on_error":
                as_on_error(value)
            case _:
                _check_form(name, value)
    except GraphError as error:
        return list(error.faults)
    return []


def _limit_faults(value: object) -> list[Fault]:
    if not isinstance(value, Mapping):
        return [Fault("bad-limit", f"limits={shown(value)}: use a dict from names to sizes, e.g. limits={{'llm': 4}}.")]
    faults = []
    for name, size in value.items():
        if not isinstance(name, str):
            faults.append(Fault("bad-limit", f"limits={shown(value)}: {shown(name)} is not the name of a limit."))
        elif not isinstance(size, SharedLimit):
            try:
                as_size(name, size)
            except GraphError as error:
                faults.extend(error.faults)
    return faults


# What each of the other options must look like, and how to say so.
_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "targets": (lambda v: isinstance(v, Iterable) and not isinstance(v, str), "use a list of node ids"),
    "outputs": (lambda v: isinstance(v, Mapping), "use a dict from node ids to values"),
    "run_id": (lambda v: isinstance(v, str) and v != "", "use a text that is not empty"),
    "seed": (lambda v: type(v) is int or isinstance(v, Random), "use a whole number"),
    "listeners": (
        lambda v: isinstance(v, Iterable) and not isinstance(v, (str, Mapping)) and all(map(callable, _sized(v))),
        "use a list of functions that take an event",
    ),
    "progress": (lambda v: isinstance(v, bool), "use True or False"),
    "tracer": (
        lambda v: v is False or hasattr(v, "start_span") or hasattr(v, "get_tracer"),
        "use an OpenTelemetry Tracer or TracerProvider, False for no trace, or None for what the program has set up",
    ),
    "isolation": (lambda v: v in ("context", "task"), "use 'context' or 'task'"),
    "ask": (callable, "use a function that takes a question and returns the answer"),
}


def _sized(value: Iterable[Any]) -> Iterable[Any]:
    # An iterator must not be used up by looking at it.
    return value if isinstance(value, (list, tuple)) else ()


def _check_form(name: str, value: object) -> None:
    is_right, form = _FORMS[name]
    if not is_right(value):
        raise GraphError(Fault("bad-policy", f"{name}={shown(value)}: {form}."))
