"""The policies of one node: as they are written, and as they hold once the graph's defaults are filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final, Literal, TypedDict, TypeVar

from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.policies.failure import Join, as_join
from antichain.policies.limits import Weighing, as_uses, as_weighing
from antichain.policies.retry import Retry, as_retry
from antichain.policies.timeout import Timeout, as_timeout, seconds

__all__ = ["NODE_POLICIES", "UNSET", "NodePolicies", "Policies", "Settled", "Unset", "merged", "policies_of", "settled"]


class Unset(Enum):
    """
    Be the one value that means "not given", where None is a value like any other.
    """

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

# Any: the node's inputs, of which a function makes a weight; or an item of a map, for which one chooses the limits.
Weight = int | Mapping[str, float] | Callable[..., Any]
Uses = str | Mapping[str, int] | Mapping[str, Weight] | Callable[[Any], Any]
JoinName = Literal["all", "any", "all_done"]
RunnerName = Literal["loop", "thread"]
Repeat = Literal["safe", "never"]
T = TypeVar("T")


class NodePolicies(TypedDict, total=False):
    """
    The policies that ``Graph.node``, ``Graph.add`` and ``Graph.map`` take by name.
    """

    uses: Uses
    priority: int
    cost: float
    retry: int | Retry | None
    timeout: float | Timeout | None
    fallback: Any  # Any: the user's value, or a function from the error to one
    join: JoinName | Join
    when: Callable[..., Any] | None  # Any: the truth of whatever it returns counts
    runner: RunnerName
    repeat: Repeat
    version: str
    persist: bool


@dataclass(frozen=True, slots=True)
class Policies:
    """
    Hold node policies as they are written; what is not given is UNSET and comes from somewhere else.

    Example:
        >>> Policies(retry=3, timeout=20).retry
        3

    Raises:
        GraphError: a value is not one the policy takes; all such values are named at once.
    """

    uses: Uses | Unset = UNSET
    priority: int | Unset = UNSET
    cost: float | Unset = UNSET
    retry: int | Retry | Unset | None = UNSET
    timeout: float | Timeout | Unset | None = UNSET
    fallback: Any = UNSET  # Any: the user's value, or a function from the error to one
    join: JoinName | Join | Unset = UNSET
    when: Callable[..., Any] | Unset | None = UNSET  # Any: the truth of whatever it returns counts
    runner: RunnerName | Unset = UNSET
    repeat: Repeat | Unset = UNSET
    version: str | Unset = UNSET
    persist: bool | Unset = UNSET

    def __post_init__(self) -> None:
        settled(self)


NODE_POLICIES: tuple[str, ...] = tuple(field.name for field in fields(Policies))


@dataclass(frozen=True, slots=True)
class Settled:
    """
    Hold the policies that are in force for a node, read and checked; most nodes of a graph share one.
    """

    uses: tuple[tuple[str, int], ...] = ()
    # What it takes of limits beyond that.
    weighing: Weighing | None = None
    priority: int = 0
    cost: float | None = None
    retry: Retry | None = None
    timeout: Timeout | None = None
    fallback: Any = UNSET  # Any: the user's value, or a function from the error to one
    join: Join = Join.ALL
    when: Callable[..., Any] | None = None  # Any: the truth of whatever it returns counts
    runner: RunnerName | None = None
    repeat: Repeat | None = None
    version: str | None = None
    persist: bool = True


def merged(over: Policies, defaults: Policies) -> Policies:
    """
    Fill what is unset in *over* from *defaults*.
    """
    values = {}
    for name in NODE_POLICIES:
        value = getattr(over, name)
        values[name] = getattr(defaults, name) if value is UNSET else value
    return Policies(**values)


def policies_of(given: Mapping[str, Any], defaults: Policies) -> Settled:
    """
    Read the policies *given* to a node by name, over the graph's *defaults*.

    Raises:
        GraphError: a name or a value is not one that nodes take; all of them are named at once.
    """
    faults = [_unknown(name) for name in given if name not in NODE_POLICIES]
    known = {name: value for name, value in given.items() if name in NODE_POLICIES}
    written = Policies()
    try:
        written = Policies(**known)
    except GraphError as error:
        faults.extend(error.faults)
    if faults:
        raise GraphError(faults)
    return settled(merged(written, defaults))


def _unknown(name: str) -> Fault:
    hint = suggestion(name, NODE_POLICIES) or f" Policies are: {', '.join(NODE_POLICIES)}."
    return Fault("bad-policy", f"{name}= is not a node policy.{hint}")


def settled(written: Policies) -> Settled:
    """
    Check each policy of *written* and replace what is unset by what holds without it.

    Raises:
        GraphError: a value is not one the policy takes; all such values are named at once.
    """
    faults: list[Fault] = []

    def read(name: str, reader: Callable[[Any], T], otherwise: T) -> T:  # Any: a user's value, not yet checked
        value = getattr(written, name)
        if value is UNSET:
            return otherwise
        try:
            return reader(value)
        except GraphError as error:
            faults.extend(error.faults)
            return otherwise

    result = Settled(
        uses=read("uses", as_uses, ()),
        weighing=None if faults else read("uses", as_weighing, None),
        priority=read("priority", _as_priority, 0),
        cost=read("cost", _as_cost, None),
        retry=read("retry", as_retry, None),
        timeout=read("timeout", as_timeout, None),
        fallback=written.fallback,
        join=read("join", as_join, Join.ALL),
        when=read("when", _as_when, None),
        runner=read("runner", _as_runner, None),
        repeat=read("repeat", _as_repeat, None),
        version=read("version", _as_version, None),
        persist=read("persist", _as_persist, True),
    )
    if faults:
        raise GraphError(faults)
    return result


def _bad(name: str, value: object, why: str) -> GraphError:
    return GraphError(Fault("bad-policy", f"{name}={shown(value)}: {why}."))


def _as_priority(value: object) -> int:
    if type(value) is not int:
        raise _bad("priority", value, "must be a whole number; higher starts first")
    return value


def _as_cost(value: object) -> float | None:
    return None if value is None else seconds("cost", value, zero=True)


def _as_when(value: object) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise _bad("when", value, "must be a function that says whether the node is taken")
    return value


def _as_runner(value: object) -> RunnerName | None:
    match value:
        case None:
            return None
        case "loop":
            return "loop"
        case "thread":
            return "thread"
        case _:
            pass
    later = "; 'process', Dask and Ray come with a later release" if value == "process" else ""
    raise _bad("runner", value, f"must be 'loop' or 'thread'{later}")


def _as_repeat(value: object) -> Repeat | None:
    match value:
        case None:
            return None
        case "safe":
            return "safe"
        case "never":
            return "never"
        case _:
            pass
    raise _bad("repeat", value, "must be 'safe' (an attempt of unknown outcome may run again) or 'never'")


def _as_version(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _bad("version", value, "must be a text; change it when what the node computes changes")
    return value


def _as_persist(value: object) -> bool:
    if not isinstance(value, bool):
        raise _bad("persist", value, "must be True or False")
    return value
