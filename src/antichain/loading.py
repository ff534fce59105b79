"""
Find the graph that a command means in a user's file, and read its values as the factory's annotations say.
"""

import dataclasses
import functools
import inspect
import json
import os
import re
import sys
import traceback
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from types import ModuleType
from typing import Annotated, Any, Final, NoReturn
from uuid import UUID

from antichain.errors import shown, suggestion
from antichain.graph import Graph
from antichain.printable import printable
from antichain.views.text import error_text, names_text

__all__ = ["UsageError", "convert", "load", "open_graph"]

# Names that a message lists.
SHOWN_GRAPHS: Final = 10
TRUE: Final = ("true", "yes", "on", "1")
FALSE: Final = ("false", "no", "off", "0")


class UsageError(Exception):
    """
    Say what is wrong with a command, its file or its values; nothing has run.
    """


def load(target: str) -> tuple[Path, ModuleType, str | None]:
    """
    Import the file of ``FILE[:NAME]`` as Python would run it, and return it with the name.

    Raises:
        UsageError: there is no such file, or it cannot be imported.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    path, name = _split(target)
    file = path.resolve()
    spec = spec_from_file_location(_module_name(file), file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is not a Python file: its name must end in .py.")
    module = module_from_spec(spec)
    # As for a script: its neighbours can be imported, and what it defines can be found by its name.
    sys.path.insert(0, str(file.parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise UsageError(
            f"{str(path)!r} called sys.exit({shown(error.code)}) while it was imported. "
            'Put what a script does under `if __name__ == "__main__":`.'
        ) from error
    except Exception as error:
        raise UsageError(f"{str(path)!r} cannot be imported: {_told(error, file)}") from error
    return file, module, name


def _split(target: str) -> tuple[Path, str | None]:
    """
    Part ``FILE[:NAME]``; a colon may be part of the file's name.
    """
    if _is_file(target):
        return Path(target), None
    before, colon, after = target.rpartition(":")
    if colon and _is_file(before):
        if not after:
            raise UsageError(f"{target!r} names nothing after the colon. Write FILE:NAME, or only FILE.")
        return Path(before), after
    file = before if colon and after.isidentifier() else target
    if file and Path(file).is_dir():
        raise UsageError(f"{file!r} is a folder. Name a Python file in it.{_near(str(Path(file) / 'graph.py'))}")
    raise UsageError(f"{file!r}: there is no such file.{_near(target)}")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError) as error:
        # Too long, or where we may not look.
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{shown(text)} is not a file that can be read: {reason}.") from error


def _module_name(file: Path) -> str:
    stem = re.sub(r"\W", "_", file.stem)
    # A file called `json.py` must not take the place of the library's.
    return stem if stem not in sys.modules and stem not in sys.stdlib_module_names else f"antichain_file_{stem}"


def _near(target: str) -> str:
    folder = Path(target.partition(":")[0]).parent
    if not folder.is_dir():
        return f" Neither is there a folder {str(folder)!r}."
    return suggestion(target.partition(":")[0], sorted(str(path) for path in folder.glob("*.py")))


def _told(error: BaseException, file: Path) -> str:
    """
    Say in a line what went wrong in *file*, and where.
    """
    if isinstance(error, SyntaxError):
        where = f" in line {error.lineno}" if error.lineno else ""
        where += f" of {error.filename!r}" if error.filename and error.filename != str(file) else ""
        return f"{type(error).__name__}: {printable(error.msg)}{where}."
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{error_text(error)}" + (f" (line {lines[-1]})." if lines else ".")


def open_graph(
    file: Path, module: ModuleType, name: str | None, given: Mapping[str, list[str]]
) -> tuple[Graph, dict[str, Any]]:  # Any: the user's values
    """
    Return the graph that is meant, and the inputs of its run.

    Raises:
        UsageError: it is not clear which graph is meant, or its factory failed.
    """
    name = name or _only_candidate(file, module)
    found = getattr(module, name, None)
    if isinstance(found, Graph):
        return found, _inputs(found, given)
    if not hasattr(module, name):
        raise UsageError(f"{str(file)!r} has no {name!r}.{suggestion(name, _candidates(module))}{_listing(module)}")
    if not callable(found) or not (inspect.isroutine(found) or isinstance(found, functools.partial)):
        raise UsageError(
            f"{name!r} in {str(file)!r} is a {printable(type(found).__name__)}, "
            "neither a Graph nor a function that returns one." + _listing(module)
        )
    called = f"{printable(name)}()"
    arguments = _arguments(called, found, given)
    try:
        graph = found(*arguments.args, **arguments.kwargs)
    except SystemExit as error:
        raise UsageError(f"{called} in {str(file)!r} called sys.exit({shown(error.code)}).") from error
    except Exception as error:
        raise UsageError(f"{called} in {str(file)!r} failed: {_told(error, file)}") from error
    if inspect.iscoroutine(graph):
        graph.close()
        raise UsageError(
            f"{called} in {str(file)!r} is async, but a graph is made before there is a loop to run it in: make it a "
            "plain function, and open what needs the loop in a @graph.resource."
        )
    if not isinstance(graph, Graph):
        raise UsageError(f"{called} in {str(file)!r} returned {shown(graph)}, not a Graph.{_listing(module)}")
    return graph, _inputs(graph, {key: texts for key, texts in given.items() if key not in arguments.arguments})


def _only_candidate(file: Path, module: ModuleType) -> str:
    candidates = _candidates(module)
    graphs = [name for name in candidates if isinstance(getattr(module, name), Graph)]
    if "graph" in candidates:
        return "graph"
    if len(graphs or candidates) == 1:
        return (graphs or candidates)[0]
    if candidates:
        raise UsageError(
            f"{str(file)!r} has several graphs: name one, as in "
            f"{printable(f'{file.name}:{candidates[0]}')}.{_listing(module)}"
        )
    raise UsageError(
        f"{str(file)!r} has no graph: no Graph, no function called `graph`, and none whose annotation says that it "
        "returns a Graph (`def factory(…) -> Graph:`). Write FILE:NAME if it is there under another form."
    )


def _candidates(module: ModuleType) -> list[str]:
    """
    List what may be meant: Graphs, then functions of this file that are called `graph` or say that they return one.
    """
    members = vars(module)
    graphs = [name for name, value in members.items() if isinstance(value, Graph)]
    return graphs + [
        name
        for name, value in members.items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and (name == "graph" or _says_graph(value.__annotations__.get("return")))
    ]


def _says_graph(annotation: object) -> bool:
    return annotation is Graph or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "Graph")


def _listing(module: ModuleType) -> str:
    candidates = _candidates(module)
    return f" It has: {names_text(candidates, SHOWN_GRAPHS)}." if candidates else ""


# -- values


def _arguments(called: str, factory: Callable[..., Any], given: Mapping[str, list[str]]) -> inspect.BoundArguments:
    """
    Fill the parameters of a factory from values as typed.
    """
    signature = _signature(factory)
    values: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in given:
            values[parameter.name] = convert(parameter.name, given[parameter.name], parameter.annotation)
        elif parameter.default is parameter.empty:
            hint = f" (it got {names_text(list(given), SHOWN_GRAPHS)})" if given else ""
            raise UsageError(f"{called} needs {parameter.name}: add {parameter.name}=VALUE to the command{hint}.")
    return inspect.BoundArguments(signature, OrderedDict(values))


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except Exception:  # noqa: BLE001  # an annotation is foreign code; without it, values are read as inputs are
        return inspect.signature(factory)


def _inputs(graph: Graph, given: Mapping[str, list[str]]) -> dict[str, Any]:  # Any: the user's values
    """
    Read the inputs of a run as the nodes that take them are annotated, if they agree: `year: str` gets the text 2024.
    """
    annotations = _annotations(graph, given) if given else {}
    return {name: convert(name, texts, annotations.get(name, Any)) for name, texts in given.items()}


def _annotations(graph: Graph, names: Collection[str]) -> dict[str, Any]:  # Any: annotations
    found: dict[str, list[Any]] = {name: [] for name in names}  # Any: annotations
    functions = {id(node.runnable): node.runnable for node in graph.nodes if inspect.isfunction(node.runnable)}
    for function in functions.values():
        if not found.keys().isdisjoint(function.__annotations__):
            for name, parameter in _signature(function).parameters.items():
                if name in found and parameter.annotation is not parameter.empty:
                    found[name].append(parameter.annotation)
    # An annotation may be anything, and need not be hashable.
    return {name: each[0] for name, each in found.items() if each and all(other == each[0] for other in each)}


def convert(name: str, texts: list[str], annotation: Any) -> Any:  # Any: annotations and the user's values
    """
    Read what was typed for *name* as its annotation says.

    Raises:
        UsageError: it cannot be read so.
    """
    while isinstance(annotation, typing.NewType) or type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__supertype__ if isinstance(annotation, typing.NewType) else annotation.__value__
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return convert(name, texts, inner[0])
    if origin in (typing.Union, types.UnionType):
        return _convert_union(name, texts, inner)
    collection = origin or annotation
    if (
        isinstance(collection, type)
        and issubclass(collection, Iterable)
        and not issubclass(collection, (str, bytes, Mapping, Enum))
    ):
        return _convert_items(name, texts, collection, inner)
    if len(texts) > 1:
        raise UsageError(f"{printable(name)}= is given {len(texts)} times; give it once.")
    if dataclasses.is_dataclass(collection) and isinstance(collection, type):
        return _convert_fields(name, texts[0], collection)
    return _convert_one(name, texts[0], collection if origin is not typing.Literal else annotation)


def _convert_union(name: str, texts: list[str], members: tuple[Any, ...]) -> Any:  # Any: as for convert
    if type(None) in members and texts in (["null"], ["None"]):
        return None
    problems = []
    # A text can be read from anything: it comes last.
    for member in sorted((each for each in members if each is not type(None)), key=lambda each: each is str):
        try:
            return convert(name, texts, member)
        except UsageError as error:
            problems.append(error)
    raise problems[0]


def _convert_items(name: str, texts: list[str], collection: type, inner: tuple[Any, ...]) -> Any:  # Any: as for convert
    """
    Read a JSON list, or every value given under this name as one item.
    """
    parsed = _json_or_text(texts[0]) if len(texts) == 1 else None
    if isinstance(parsed, list):
        texts = [_as_text(each) for each in parsed]
    is_row = collection is tuple and bool(inner) and inner[-1] is not ...
    if is_row and len(texts) != len(inner):
        raise UsageError(f"{printable(name)}= takes {len(inner)} values, and {len(texts)} are given.")
    kinds = inner if is_row else [inner[0] if inner else Any] * len(texts)
    items = [convert(name, [text], kind) for text, kind in zip(texts, kinds, strict=True)]
    return collection(items) if collection in (tuple, set, frozenset) else items


def _convert_fields(name: str, text: str, kind: type) -> Any:  # Any: as for convert
    """
    Read a JSON object into a dataclass, each field as it is annotated.
    """
    parsed = _json_or_text(text)
    known = _signature(kind).parameters
    if not isinstance(parsed, dict):
        example = "{" + ", ".join(f'"{field}": …' for field in known) + "}"
        raise UsageError(f"{_told_value(name, text)} is not a JSON object: write {printable(name)}='{example}'.")
    for field in parsed:
        if field not in known:
            raise UsageError(f"{printable(name)}= has no field {field!r}.{suggestion(field, known)}")
    values = {
        field: convert(f"{name}.{field}", [_as_text(each)], known[field].annotation) for field, each in parsed.items()
    }
    try:
        return kind(**values)
    except Exception as error:
        raise UsageError(f"{_told_value(name, text)} makes no {kind.__name__}: {error_text(error)}.") from error


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _told_value(name: str, text: str) -> str:
    return f"{printable(name)}={shown(text)}"


def _convert_one(name: str, text: str, annotation: Any) -> Any:  # Any: as for convert
    try:
        if annotation is str:
            return text
        if annotation is bytes:
            return os.fsencode(text)
        if annotation is bool:
            return _as_bool(text)
        if annotation is int or annotation is float:
            return annotation(text)
        if typing.get_origin(annotation) is typing.Literal:
            return _one_of(text, {str(each): each for each in typing.get_args(annotation)})
        if isinstance(annotation, type):
            return _convert_class(text, annotation)
    except ValueError as error:
        kind = getattr(annotation, "__name__", str(annotation))
        detail = f" ({printable(str(error))})" if str(error) and annotation not in (int, float) else ""
        raise UsageError(f"{_told_value(name, text)} is not a valid {printable(kind)}{detail}.") from error
    return _json_or_text(text)


def _convert_class(text: str, kind: type) -> Any:  # Any: as for convert
    if issubclass(kind, Enum):
        return _one_of(text, {str(each.value): each for each in kind} | dict(kind.__members__))
    if issubclass(kind, PurePath):
        return Path(text).expanduser()
    if issubclass(kind, (date, time)):  # a datetime is a date
        return kind.fromisoformat(text)
    if issubclass(kind, (Decimal, UUID)):
        try:
            return kind(text)
        except ArithmeticError:  # Decimal's own
            raise ValueError("") from None
    value = _json_or_text(text)
    if issubclass(kind, Mapping) and not isinstance(value, dict):
        raise ValueError('write a JSON object: {"key": …}')
    return value


def _as_bool(text: str) -> bool:
    folded = text.casefold()
    if folded not in TRUE + FALSE:
        raise ValueError("write true or false")
    return folded in TRUE


def _one_of(text: str, known: Mapping[str, Any]) -> Any:  # Any: the user's values
    if text not in known:
        raise ValueError(f"use {', '.join(known)}")
    return known[text]


def _json_or_text(text: str) -> Any:  # Any: JSON
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(text: str) -> NoReturn:
    # NaN and Infinity are Python's own idea of JSON.
    raise ValueError(text)
