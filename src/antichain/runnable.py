"""
What may be a node: how any callable or foreign object is described, so that it can be bound and called.

Nothing here calls a user's code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, Literal, NamedTuple

__all__ = ["EMPTY", "CallKind", "Described", "Form", "Parameter", "describe", "is_context"]

# No default.
EMPTY = inspect.Parameter.empty
# Flags of a code object: inspect's, named for what they are asked here.
COROUTINE = inspect.CO_COROUTINE
GENERATOR = inspect.CO_GENERATOR
ASYNC_GENERATOR = inspect.CO_ASYNC_GENERATOR
VARIADIC = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

# What calling it gives: "function" is everything plain, "invoke" and "ainvoke" are foreign objects known by shape.
Form = Literal["coroutine", "function", "async_generator", "generator", "ainvoke", "invoke"]


class CallKind(IntEnum):
    """
    Tell the driver how to call a node; what needs more than a plain call on the loop is GENERAL.
    """

    # await function()
    COROUTINE0 = 0
    # await function(values[slot])
    COROUTINE1 = 1
    # await function(*getter(values))
    COROUTINEN = 2
    # The same three for plain functions that run on the loop.
    INLINE0 = 3
    INLINE1 = 4
    INLINEN = 5
    # Arguments are made by a Binding, and its style says what to do with them.
    GENERAL = 6


class Parameter(NamedTuple):
    """
    One parameter of a runnable, as far as binding needs it.
    """

    name: str
    # Taken by position only, by keyword only, or (neither) by both.
    positional_only: bool = False
    keyword_only: bool = False
    default: Any = EMPTY  # Any: the user's value


class Described(NamedTuple):
    """
    What is known of a runnable without calling it.
    """

    form: Form
    parameters: tuple[Parameter, ...]
    # Has *args, has **kwargs.
    takes_args: bool = False
    takes_kwargs: bool = False
    # The parameter annotated Context.
    context: str | None = None
    # Does not say what it takes, as some builtins.
    is_opaque: bool = False


def describe(runnable: object) -> Described | None:
    """
    Describe *runnable*, or return None if it can neither be called nor invoked.
    """
    if type(runnable) is FunctionType:
        code = runnable.__code__
        if not code.co_flags & VARIADIC:
            return _of_function(runnable, code)
        return _of_callable(runnable, _form_of(runnable))
    if isinstance(runnable, (type, partial, MethodType)):
        return _of_callable(runnable, _form_of(runnable))
    if callable(getattr(runnable, "ainvoke", None)):
        return Described("ainvoke", ())
    if callable(getattr(runnable, "invoke", None)):
        return Described("invoke", ())
    if callable(runnable):
        return _of_callable(runnable, _form_of(runnable))
    return None


def _of_function(function: FunctionType, code: CodeType) -> Described:
    # As inspect.signature, at a twentieth of its cost: graphs of a million distinct functions are planned by it.
    names = code.co_varnames
    count, only = code.co_argcount, code.co_posonlyargcount
    defaults = function.__defaults__ or ()
    first_default = count - len(defaults)
    parameters = [
        Parameter(name, i < only, False, defaults[i - first_default] if i >= first_default else EMPTY)
        for i, name in enumerate(names[:count])
    ]
    if code.co_kwonlyargcount:
        keyword_defaults = function.__kwdefaults__ or {}
        for name in names[count : count + code.co_kwonlyargcount]:
            parameters.append(Parameter(name, False, True, keyword_defaults.get(name, EMPTY)))
    context = context_of(parameters, function.__annotations__)
    return Described(_form_of(function), tuple(parameters), context=context)


def _form_of(runnable: Any) -> Form:  # Any: whatever the user handed in
    target = runnable
    if not inspect.isroutine(target) and not isinstance(target, (type, partial)):
        target = type(target).__call__
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(runnable):
        return "coroutine"
    if inspect.isasyncgenfunction(target):
        return "async_generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    return "function"


def _of_callable(runnable: Callable[..., Any], form: Form) -> Described:  # Any: whatever the user handed in
    try:
        signature = inspect.signature(runnable)
    except (ValueError, TypeError):
        # Some builtins do not say what they take: only positional arguments given by inputs= can be bound.
        return Described(form, (), takes_args=True, is_opaque=True)
    parameters = []
    takes_args = takes_kwargs = False
    for found in signature.parameters.values():
        if found.kind is found.VAR_POSITIONAL:
            takes_args = True
        elif found.kind is found.VAR_KEYWORD:
            takes_kwargs = True
        else:
            only = found.kind is found.POSITIONAL_ONLY
            parameters.append(Parameter(found.name, only, found.kind is found.KEYWORD_ONLY, found.default))
    annotations = {name: found.annotation for name, found in signature.parameters.items()}
    return Described(form, tuple(parameters), takes_args, takes_kwargs, context_of(parameters, annotations))


def context_of(parameters: list[Parameter], annotations: Mapping[str, object]) -> str | None:
    """
    Return the name of the parameter that is annotated with the run's Context.
    """
    if not annotations:
        return None
    for parameter in parameters:
        if is_context(annotations.get(parameter.name)):
            return parameter.name
    return None


def is_context(annotation: object) -> bool:
    """
    Say whether *annotation* is Context, Context | None, or a text that says so.
    """
    if annotation is None:
        return False
    # A mark instead of the class, which lives further down the road; texts cannot be resolved without running code.
    if isinstance(annotation, str):
        words = annotation.strip("'\" ").replace("Optional[", "").replace("]", "").split("|")
        return any(word.strip().rpartition(".")[2] == "Context" for word in words)
    if getattr(annotation, "__antichain_context__", False) is True:
        return True
    return any(getattr(part, "__antichain_context__", False) is True for part in getattr(annotation, "__args__", ()))
