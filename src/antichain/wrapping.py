"""
What a wrapper (`Hedge`, `Breaker`) takes and what it shows, so that a graph binds it as if it were what it wraps.

Nothing here calls a user's code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from antichain.errors import Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.runnable import Described, describe

__all__ = ["look_at", "name_of", "put_in_class", "show"]

# What makes a tool of another library known by its shape.
SHAPE = ("name", "description", "args_schema")


# Any: whatever a node may wrap.
def look_at(runnable: Any, wrapper: str) -> tuple[Any, Described]:
    """
    Return what is to be called, and how it is described.

    Raises:
        GraphError: a *wrapper* cannot be around it.
    """
    if isinstance(runnable, Node):
        runnable = runnable.runnable
    if isinstance(runnable, Graph):
        why = "but a graph in a wrapper would be a run of its own, outside the limits of the run it is in"
        fix = "wrap its nodes, or an `async def` that awaits `ctx.run(graph, …)`"
        raise GraphError(Fault("not-runnable", f"{wrapper} was given graph {runnable.name!r}, {why}: {fix}."))
    described = describe(runnable)
    if described is None:
        hint = "use a function, a class, or an object with invoke or ainvoke"
        if hasattr(runnable, "__await__"):
            hint = "pass the function itself, without calling it"
        text = f"{wrapper} was given {shown(runnable)}, which no node can run: {hint}."
        raise GraphError(Fault("not-runnable", text))
    return runnable, described


def name_of(runnable: object) -> str:
    """
    Return the name by which messages call *runnable*.
    """
    for name in (getattr(runnable, "__name__", None), getattr(runnable, "name", None)):
        if isinstance(name, str):
            return name
    return type(runnable).__name__


class Method:
    """
    Stand in a class for a wrapper of one of its functions, which has to be bound as the function would be.

    Not a method of the wrapper itself: what has one counts as a routine, of which nobody asks whether it is async.
    """

    def __init__(self, wrapper: Any, bound: Callable[[Callable[..., Any]], object], function: FunctionType) -> None:
        self._wrapper = wrapper
        self._bound = bound
        self._function = function

    def __get__(self, instance: object, owner: type | None = None) -> Any:  # Any: the wrapper, whichever it is
        return self._wrapper if instance is None else self._bound(self._function.__get__(instance, owner))


def put_in_class(
    owner: type, name: str, wrapper: object, runnable: object, bound: Callable[[Callable[..., Any]], object]
) -> None:
    """
    Let a *wrapper* of a function that stands in the class *owner* be a method; *bound* wraps the function's own.
    """
    if isinstance(runnable, FunctionType):
        setattr(owner, name, Method(wrapper, bound, runnable))


def show(wrapper: object, runnable: object) -> None:
    """
    Let *wrapper* show the name, the text, and (by ``__wrapped__``) the parameters of *runnable*.
    """
    # Not its attributes: they are its own state, and could have the names of the wrapper's.
    functools.update_wrapper(wrapper, runnable, updated=())  # type: ignore[arg-type]
    for name in SHAPE:
        if hasattr(runnable, name):
            setattr(wrapper, name, getattr(runnable, name))
