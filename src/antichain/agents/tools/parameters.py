"""
What a function takes, as far as a model has to give it: names, annotations, defaults and descriptions.

Nothing here makes a schema.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from antichain.agents.tools.docstrings import Docstring, read_docstring
from antichain.errors import Fault, GraphError, shown, suggestion
from antichain.graph import Graph, Node
from antichain.runnable import EMPTY, describe, is_context

__all__ = ["Parameter", "Taken", "parameters_beside", "parameters_of", "parameters_of_graph"]

# In this file, Any is an annotation, a default, or a user's function.

# The default of a graph's input that may be left out; which it is, the nodes know.
UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One parameter that a model fills; without annotation it takes anything.
    """

    name: str
    annotation: Any = EMPTY
    default: Any = EMPTY
    description: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """
    What a tool takes, and what it says of itself.
    """

    description: str
    parameters: tuple[Parameter, ...]
    # Whether other names are taken too (`**kwargs`), and what their values must be.
    takes_more: bool = False
    more: Any = EMPTY
    # Names that are taken, but never from a model: the Context, and what a partial has bound.
    reserved: frozenset[str] = field(default=frozenset())


def parameters_of(function: Any, name: str) -> Taken:
    """
    Read what *function* takes from its signature, its annotations and its docstring.

    Raises:
        GraphError: it does not say what it takes, or an annotation names what cannot be found; all such faults.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        why = "does not say what it takes: give its JSON schema, parameters={'type': 'object', …}"
        raise GraphError(Fault("bad-tool", f"tool {name!r} is {shown(function)}, which {why}."), name) from error
    said = docstring_of(function)
    reserved = set(_bound_names(function))
    parameters: list[Parameter] = []
    faults: list[Fault] = []
    takes_more, more = False, EMPTY
    for found in signature.parameters.values():
        if is_context(found.annotation):
            reserved.add(found.name)
        if found.name in reserved:
            continue
        try:
            annotation = _resolved(found.annotation, function)
        except Exception as error:  # noqa: BLE001  # an annotation may be any code of the user's
            faults.append(_unresolved(found, name, error))
            continue
        if is_context(annotation):
            reserved.add(found.name)
        elif found.kind is found.VAR_POSITIONAL:
            faults.append(_positional(found.name, name))
        elif found.kind is found.VAR_KEYWORD:
            takes_more, more = True, annotation
        else:
            description = said.parameters.get(found.name, "")
            parameters.append(Parameter(found.name, annotation, found.default, description))
    if faults:
        raise GraphError(faults, name)
    return Taken(said.description, tuple(parameters), takes_more, more, frozenset(reserved))


def docstring_of(function: Any) -> Docstring:
    """
    Read the docstring of a function, a class, a partial or a callable object; of the last, that of `__call__` first.
    """
    function = _unbound(function)
    if inspect.isroutine(function):
        return read_docstring(inspect.getdoc(function))
    if isinstance(function, type):
        own, init = function.__dict__.get("__doc__"), read_docstring(inspect.getdoc(vars(function).get("__init__")))
        return _merged(read_docstring(own), init)
    return _merged(read_docstring(type(function).__call__.__doc__), read_docstring(type(function).__doc__))


def _merged(first: Docstring, second: Docstring) -> Docstring:
    return Docstring(first.description or second.description, {**second.parameters, **first.parameters})


def _unbound(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function)


def _bound_names(function: Any) -> list[str]:
    # inspect.signature keeps what a partial has bound by keyword, with the value as its default: a model would see it,
    # and could replace it.
    names: list[str] = []
    while isinstance(function, functools.partial):
        names += function.keywords
        function = function.func
    return names


# -- annotations


def _resolved(annotation: Any, function: Any) -> Any:
    """
    Turn texts in an annotation into what they name: where the function was written, or in its closure.
    """
    if annotation is EMPTY or isinstance(annotation, type):
        return annotation
    code = _code_of(_unbound(function))
    around = _closure_of(code)
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, getattr(code, "__globals__", {}), around, include_extras=True)["it"]


def _code_of(function: Any) -> Any:
    if isinstance(function, type):
        return inspect.unwrap(inspect.getattr_static(function, "__init__"))
    if inspect.ismethod(function):
        return inspect.unwrap(function.__func__)
    if inspect.isroutine(function):
        return function
    return inspect.unwrap(type(function).__call__)


def _closure_of(function: Any) -> Mapping[str, Any]:
    cells = getattr(function, "__closure__", None)
    if not cells:
        return {}
    found = {}
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _unresolved(found: inspect.Parameter, name: str, error: Exception) -> Fault:
    what = f"parameter {found.name!r} of tool {name!r} is annotated {shown(found.annotation)}"
    fix = "Import the name where the function is defined (not only for type checkers), or give parameters="
    return Fault("bad-tool", f"{what}, which cannot be resolved: {type(error).__name__}: {error}. {fix}.")


def _positional(found: str, name: str) -> Fault:
    what = f"tool {name!r} takes *{found}, but a model gives arguments by name"
    fix = f"Take a list instead, {found}: list[…]; if a decorator hides what it takes, use functools.wraps in it"
    return Fault("bad-tool", f"{what}. {fix}; or give parameters=.")


# -- graphs


def parameters_of_graph(graph: Graph) -> Taken:
    """
    Read what a graph takes: its run inputs are parameters, described by the nodes that use them.

    Raises:
        GraphError: everything that is wrong with the graph.
    """
    plan = graph.plan()
    if graph.options:
        what = ", ".join(f"{name}=" for name in graph.options)
        why = "but a graph that is a tool is part of the run that calls it"
        raise GraphError(Fault("nested-options", f"graph {graph.name!r} has {what}, {why}: leave it out."), graph.name)
    needed = [_input_of(graph, name, True) for name in plan.inputs]
    # A run input may stand in for a resource; what it opens is nothing that a model gives.
    optional = [_input_of(graph, name, False) for name in sorted(plan.optional_inputs - _resources_of(graph))]
    return Taken("", (*needed, *optional), plan.takes_any_input)


def _input_of(graph: Graph, name: str, is_needed: bool) -> Parameter:
    found = next(_uses_of(graph, name), Parameter(name))
    default = EMPTY if is_needed else UNKNOWN if found.default is EMPTY else found.default
    return Parameter(name, found.annotation, default, found.description)


def _uses_of(graph: Graph, name: str) -> Iterator[Parameter]:
    """
    Find the parameters that the run input *name* fills, in the order of the nodes.
    """
    for node in graph.nodes:
        given = node.inputs if isinstance(node.inputs, Mapping) else {}
        if name in given or (node.inputs is not None and not given):
            continue
        if isinstance(node.runnable, Graph):
            yield from _uses_of(node.runnable, name)
        elif name in _names_in(node.runnable):
            yield from (each for each in _readable(node) if each.name == name)


def _names_in(runnable: object) -> list[str]:
    described = describe(runnable)
    return [] if described is None else [parameter.name for parameter in described.parameters]


def _readable(node: Node[..., Any]) -> tuple[Parameter, ...]:
    try:
        return parameters_of(node.runnable, node.id).parameters
    except GraphError:  # as a node it is right all the same; as a tool, that parameter takes anything
        return ()


def _resources_of(graph: Graph) -> frozenset[str]:
    inner = [_resources_of(node.runnable) for node in graph.nodes if isinstance(node.runnable, Graph)]
    return frozenset(graph.resources).union(*inner)


# -- a schema that is given


def parameters_beside(runnable: Any, name: str, schema: Mapping[str, Any]) -> Taken:
    """
    Read the names that *runnable* takes, for a schema that says the rest; the two must go together.

    Raises:
        GraphError: the schema has a parameter that the function does not take, or lacks one that it needs.
    """
    taken = parameters_of_graph(runnable) if isinstance(runnable, Graph) else _names_of(runnable)
    shown_names = schema.get("properties")
    if shown_names is None:
        return taken
    names = {each.name for each in taken.parameters}
    faults = []
    for each in shown_names:
        if each in taken.reserved or (each not in names and not taken.takes_more):
            hint = suggestion(each, names)
            text = f"the schema of tool {name!r} has {each!r}, which {shown(runnable)} does not take.{hint}"
            faults.append(Fault("bad-tool", text))
    for parameter in taken.parameters:
        if parameter.default is EMPTY and parameter.name not in shown_names:
            text = f"the schema of tool {name!r} lacks {parameter.name!r}, which {shown(runnable)} needs."
            faults.append(Fault("bad-tool", text))
    if faults:
        raise GraphError(faults, name)
    return taken


def _names_of(function: Any) -> Taken:
    described = describe(function)
    assert described is not None  # that it is a runnable was looked at before
    reserved = frozenset(_bound_names(function)).union([described.context] if described.context else [])
    parameters = [
        Parameter(each.name, default=each.default) for each in described.parameters if each.name not in reserved
    ]
    takes_more = described.takes_kwargs or described.is_opaque
    return Taken(docstring_of(function).description, tuple(parameters), takes_more, reserved=reserved)
