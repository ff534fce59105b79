"""
Find the graph that a command means in a user's file, and read its values as the factory's annotations say.
"""

import inspect
import json
import re
import sys
import traceback
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from pathlib import Path, PurePath
from types import ModuleType
from typing import Annotated, Any, Final, NoReturn

from antichain.errors import shown, suggestion
from antichain.graph import Graph
from antichain.views.text import error_text

__all__ = ["UsageError", "convert", "load", "open_graph"]

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

    path, name = Path(target), None
    if not path.is_file():
        before, colon, after = target.rpartition(":")
        if colon and Path(before).is_file():
            path, name = Path(before), after
            if not name:
                raise UsageError(f"{target!r} names nothing after the colon. Write FILE:NAME, or only FILE.")
        else:
            raise UsageError(
                f"{before if colon and after.isidentifier() else target!r}: there is no such file." + _near(target)
            )
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
            f"{str(path)!r} called sys.exit({error.code!r}) while it was imported. "
            'Put what a script does under `if __name__ == "__main__":`.'
        ) from error
    except Exception as error:
        raise UsageError(f"{str(path)!r} cannot be imported: {_told(error, file)}") from error
    return file, module, name


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
        return f"{type(error).__name__}: {error.msg}{where}."
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
        return found, {key: _input_value(key, texts) for key, texts in given.items()}
    if not hasattr(module, name):
        raise UsageError(f"{str(file)!r} has no {name!r}.{suggestion(name, _candidates(module))}{_listing(module)}")
    if not callable(found) or not inspect.isroutine(found):
        raise UsageError(
            f"{name!r} in {str(file)!r} is a {type(found).__name__}, neither a Graph nor a function that returns one."
            + _listing(module)
        )
    arguments = _arguments(name, found, given)
    try:
        graph = found(*arguments.args, **arguments.kwargs)
    except Exception as error:
        raise UsageError(f"{name}() in {str(file)!r} failed: {_told(error, file)}") from error
    if not isinstance(graph, Graph):
        if inspect.iscoroutine(graph):
            graph.close()
        raise UsageError(f"{name}() in {str(file)!r} returned {shown(graph)}, not a Graph.{_listing(module)}")
    rest = {key: texts for key, texts in given.items() if key not in arguments.arguments}
    return graph, {key: _input_value(key, texts) for key, texts in rest.items()}


def _only_candidate(file: Path, module: ModuleType) -> str:
    candidates = _candidates(module)
    graphs = [name for name in candidates if isinstance(getattr(module, name), Graph)]
    if "graph" in candidates:
        return "graph"
    if len(graphs or candidates) == 1:
        return (graphs or candidates)[0]
    if candidates:
        raise UsageError(
            f"{str(file)!r} has several graphs: name one, as in {file.name}:{candidates[0]}.{_listing(module)}"
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
    return f" It has: {', '.join(candidates)}." if candidates else ""


# -- values


def _arguments(name: str, factory: Callable[..., Any], given: Mapping[str, list[str]]) -> inspect.BoundArguments:
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
            hint = f" (it got {', '.join(given)})" if given else ""
            raise UsageError(f"{name}() needs {parameter.name}: add {parameter.name}=VALUE to the command{hint}.")
    return inspect.BoundArguments(signature, OrderedDict(values))


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except Exception:  # noqa: BLE001  # an annotation is foreign code; without it, values are read as inputs are
        return inspect.signature(factory)


def _input_value(name: str, texts: list[str]) -> Any:  # Any: the user's value
    return convert(name, texts, Any)


def convert(name: str, texts: list[str], annotation: Any) -> Any:  # Any: annotations and the user's values
    """
    Read what was typed for *name* as its annotation says.

    Raises:
        UsageError: it cannot be read so.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return convert(name, texts, inner[0])
    if origin in (typing.Union, types.UnionType):
        return _convert_union(name, texts, inner)
    collection = origin or annotation
    if (
        isinstance(collection, type)
        and issubclass(collection, Collection)
        and not issubclass(collection, (str, bytes, Mapping))
    ):
        return _convert_items(name, texts, collection, inner[0] if inner else Any)
    if len(texts) > 1:
        raise UsageError(f"{name}= is given {len(texts)} times; give it once.")
    return _convert_one(name, texts[0], annotation)


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


def _convert_items(name: str, texts: list[str], collection: type, item: Any) -> Any:  # Any: as for convert
    """
    Read a JSON list, or every value given under this name as one item.
    """
    items: list[Any]
    try:
        parsed = json.loads(texts[0]) if len(texts) == 1 else None
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, list):
        items = [convert(name, [each if isinstance(each, str) else json.dumps(each)], item) for each in parsed]
    else:
        items = [convert(name, [text], item) for text in texts]
    return collection(items) if collection in (tuple, set, frozenset) else items


def _convert_one(name: str, text: str, annotation: Any) -> Any:  # Any: as for convert
    try:
        if annotation is str:
            return text
        if annotation is bool:
            return _as_bool(text)
        if annotation is int or annotation is float:
            return annotation(text)
        if typing.get_origin(annotation) is typing.Literal:
            return _one_of(text, {str(each): each for each in typing.get_args(annotation)})
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return _one_of(text, {str(each.value): each for each in annotation} | dict(annotation.__members__))
        if isinstance(annotation, type) and issubclass(annotation, PurePath):
            return Path(text).expanduser()
    except ValueError as error:
        kind = getattr(annotation, "__name__", str(annotation))
        detail = f" ({error})" if str(error) and annotation not in (int, float) else ""
        raise UsageError(f"{name}={text!r} is not a valid {kind}{detail}.") from error
    return _json_or_text(text)


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
