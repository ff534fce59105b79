"""The options of one run: a closed list, so that every other name is an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final, Literal, TypedDict, get_args

from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies.failure import OnError, as_on_error
from antichain.policies.limits import LimitValue, as_size, is_limit
from antichain.policies.timeout import seconds

__all__ = [
    "RESUME_OPTIONS",
    "RUN_OPTIONS",
    "Durability",
    "GraphOptions",
    "OnChange",
    "ResumeOptions",
    "RunOptions",
    "check_options",
    "check_resume",
    "check_storing",
    "split_options",
]

Durability = Literal["commit", "relaxed"]
OnChange = Literal["refuse", "rerun"]


class GraphOptions(TypedDict, total=False):
    """
    The run options that ``Graph(…)`` takes for all its runs, besides ``limits``.
    """

    max_concurrent: int | None
    deadline: float | None
    on_error: OnError
    budget: Any  # Any: a Budget, which lives further down the road
    retry_budget: Any  # Any: a share, or a RetryBudget, which lives further down the road, or a dict of these by limit
    grace: float
    targets: Iterable[Any] | None  # Any: node ids, or nodes, which live further down the road
    outputs: Mapping[str, Any] | None  # Any: the user's values
    store: Any  # Any: a path, or a Store, which lives further down the road
    durability: Durability
    redact: Callable[[str], str] | None
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

    limits: Mapping[str, LimitValue] | None


class ResumeOptions(RunOptions, total=False):
    """
    What ``resume`` and ``aresume`` take; the inputs are kept with the run.
    """

    answers: Mapping[str, Any] | None  # Any: whatever answers the question of a node
    inputs: Mapping[str, Any] | None  # Any: the user's values
    on_change: OnChange
    take_over: bool


RUN_OPTIONS: frozenset[str] = frozenset({*GraphOptions.__annotations__, *RunOptions.__annotations__})
RESUME_OPTIONS: frozenset[str] = frozenset(ResumeOptions.__annotations__)

# Of the id of a run that is kept, which is typed at a prompt and may be part of a file's name.
_ID_AT_MOST: Final = 64
_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
# What an object must have to be a store; see stores/protocol.py.
_STORE_METHODS: Final = ("open", "append", "release", "read", "runs", "remove")


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
        else:
            faults.extend(_value_faults(name, value))
    return faults


def check_storing(call: Mapping[str, Any], standing: Mapping[str, Any]) -> list[Fault]:
    """
    Say what of the options of a *call*, each possible as such, does not go with keeping the run or with not keeping
    it, where the options of the graph are *standing*.
    """
    chosen = {**standing, **{name: value for name, value in call.items() if value is not None}}
    if chosen.get("store") is not None:
        return [] if chosen.get("run_id") is None else _id_faults(chosen["run_id"])
    why = "says how a run is kept, but this run is not kept: add store=, or remove it"
    said = [name for name in ("durability", "redact") if call.get(name) is not None]
    return [Fault("bad-policy", f"{name}={shown(call[name])} {why}.") for name in said]


def check_resume(run_id: object, options: Mapping[str, Any], standing: Mapping[str, Any]) -> list[Fault]:
    """
    Say what is wrong with a call of ``resume``, where the options of the graph are *standing*.
    """
    faults = _id_faults(run_id)
    if options.get("run_id") is not None:
        faults.append(Fault("bad-policy", "run_id= is the first argument of resume(): remove it from the options."))
    if options.get("store") is None and standing.get("store") is None:
        text = f"there is no store to resume {shown(run_id)} from: use resume({shown(run_id)}, store='runs.db')."
        faults.append(Fault("bad-policy", text))
    for name, value in options.items():
        if name not in RESUME_OPTIONS:
            hint = suggestion(name, RESUME_OPTIONS) or " The inputs of a run are kept with it."
            faults.append(Fault("unknown-option", f"{name}= is not an option of resume().{hint}"))
        elif value is not None and name != "run_id":
            faults.extend(_value_faults(name, value))
    return faults


def _id_faults(run_id: object) -> list[Fault]:
    if isinstance(run_id, str) and 0 < len(run_id) <= _ID_AT_MOST and _ID_CHARACTERS.issuperset(run_id):
        return []
    form = "in a store, use 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'"
    return [Fault("bad-policy", f"run_id={shown(run_id)}: {form}.")]


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
            case "budget":
                from antichain.policies.budget import Purse  # not where it is off

                if not isinstance(value, Purse) or isinstance(value, type):
                    form = "use a Budget, e.g. Budget(tokens=1_000_000, usd=5)"
                    raise GraphError(Fault("bad-policy", f"budget={shown(value)}: {form}."))
            case "retry_budget":
                from antichain.policies.retry_budget import as_allowances  # not where it is off

                as_allowances(value)
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
        if not isinstance(name, str) or not name:
            why = "is not the name of a limit: names are texts, and not empty"
            faults.append(Fault("bad-limit", f"limits={shown(value)}: {shown(name)} {why}."))
        elif not is_limit(size):
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
    "store": (
        lambda v: (isinstance(v, str) and v != "") or hasattr(v, "__fspath__") or _is_store(v),
        f"use a path, e.g. 'runs.db', or an object with the methods of a Store: {', '.join(_STORE_METHODS)}",
    ),
    "durability": (lambda v: v in get_args(Durability), "use 'commit' or 'relaxed'"),
    "redact": (callable, "use a function from text to text, e.g. antichain.stores.redact_values(token)"),
}
_RESUME_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "answers": (
        lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v),
        "use a dict from the ids of nodes that ask to answers",
    ),
    "inputs": (
        lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v),
        "use a dict from the names of inputs that redact= has replaced to values",
    ),
    "on_change": (lambda v: v in get_args(OnChange), "use 'refuse' or 'rerun'"),
    "take_over": (lambda v: isinstance(v, bool), "use True or False"),
}


def _is_store(value: object) -> bool:
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in _STORE_METHODS)


def _sized(value: Iterable[Any]) -> Iterable[Any]:
    # An iterator must not be used up by looking at it.
    return value if isinstance(value, (list, tuple)) else ()


def _check_form(name: str, value: object) -> None:
    is_right, form = _FORMS.get(name) or _RESUME_FORMS[name]
    if not is_right(value):
        raise GraphError(Fault("bad-policy", f"{name}={shown(value)}: {form}."))
