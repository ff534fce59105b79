"""
What Tab shows: names of graphs in a file, and of inputs; ids of stored runs, and of their nodes. The file is read,
never run: it is parsed like any text.
"""

import ast
import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from antichain.stores.protocol import Store
    from antichain.stores.record import StoredRun

__all__ = ["answer", "asking", "inputs", "nodes", "runs", "targets"]

# Zsh evaluates what it is told: a path with other characters is completed by the shell alone.
PLAIN: Final = re.compile(r"[\w./~+@ -]*")
# Bash breaks words at these, so that a word comes in pieces and a piece is asked for.
BREAKS: Final = ":="
# Most names of a store that are shown.
MOST_SHOWN: Final = 200


def answer(call: Callable[[], int]) -> int:
    """
    Answer a shell by *call*; for bash, what it took to pieces is put together before, and the answer cut after.
    """
    if os.environ.get("_ANTICHAIN_COMPLETE") != "complete_bash":
        return call()
    words, current = _joined(os.environ.get("COMP_WORDS", "").split("\n"), int(os.environ.get("COMP_CWORD", "0")))
    os.environ["COMP_WORDS"] = "\n".join(words)
    os.environ["COMP_CWORD"] = str(current)
    typed = words[current] if current < len(words) else ""
    known = typed[: max(typed.rfind(character) for character in BREAKS) + 1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = call()
    for line in out.getvalue().splitlines():
        print(line.removeprefix(known))
    return code


def _joined(words: list[str], current: int) -> tuple[list[str], int]:
    """
    Put words that bash broke at a colon or an equals sign together; return them and which of them *current* is in.
    """
    found: list[str] = []
    position = 0
    for number, (before, word) in enumerate(pairwise(["", *words])):
        sticks = bool(before) and (word[:1] in BREAKS or before[-1:] in BREAKS) and bool(word)
        if sticks:
            found[-1] += word
        else:
            found.append(word)
        if number == current:
            position = len(found) - 1
    return found, position


def targets(incomplete: str) -> list[str]:
    """
    Complete ``FILE:GRAPH`` after the colon; what comes before it is the shell's to complete.
    """
    path, colon, _ = incomplete.rpartition(":")
    if not colon or not PLAIN.fullmatch(path):
        return []
    return [f"{path}:{name}" for name in _graphs(_parsed(path))]


def inputs(target: str) -> list[str]:
    """
    Complete the names of the inputs of ``FILE[:GRAPH]``: parameters of a factory, and of nodes that no node fills.
    """
    path, _, name = target.rpartition(":") if not Path(target).is_file() else (target, "", "")
    module = _parsed(path)
    graphs = _graphs(module)
    if not name:
        name = next(iter(graphs), "") if len(graphs) == 1 else "graph"
    graph = graphs.get(name)
    if graph is None:
        return []
    scope: ast.AST = graph if isinstance(graph, ast.FunctionDef) else module
    nodes = list(_nodes(scope, "" if scope is graph else name))
    filled = {node.name for node in nodes}
    found = dict.fromkeys(_parameters(graph) if isinstance(graph, ast.FunctionDef) else ())
    for node in nodes:
        found |= dict.fromkeys(parameter for parameter in _required(node) if parameter not in filled)
    return [f"{parameter}=" for parameter in found]


def runs(store: str | None, incomplete: str) -> list[tuple[str, str]]:
    """
    Complete the ids of stored runs, the newest first.
    """
    found = _looked_up(store, lambda opened: [(line.run_id, f"{line.graph}, {line.status}") for line in opened.runs()])
    return _fitting(found, incomplete)


def nodes(store: str | None, run_id: str, incomplete: str) -> list[tuple[str, str]]:
    """
    Complete the nodes of a stored run.
    """

    def look(opened: "Store") -> list[tuple[str, str]]:
        return [(node.id, node.state) for node in _run_in(opened, run_id).record.nodes.values()]

    return _fitting(_looked_up(store, look), incomplete)


def asking(store: str | None, run_id: str, incomplete: str) -> list[tuple[str, str]]:
    """
    Complete the nodes of a stored run that ask.
    """

    def look(opened: "Store") -> list[tuple[str, str]]:
        return [(question.node, question.text) for question in _run_in(opened, run_id).questions]

    return _fitting(_looked_up(store, look), incomplete)


def _run_in(store: "Store", run_id: str) -> "StoredRun":
    from antichain.cli.storing import find, read

    return read(store, find(store, run_id).run_id)


def _looked_up(store: str | None, look: "Callable[[Store], list[tuple[str, str]]]") -> list[tuple[str, str]]:
    """
    Look into the store that is meant; whatever is wrong with it, nothing is completed and nothing is said.
    """
    from antichain.cli.places import place_of
    from antichain.cli.storing import opened
    from antichain.errors import AntichainError
    from antichain.loading import UsageError

    try:
        with opened(place_of(store)) as found:
            return look(found)
    except (AntichainError, UsageError, OSError):
        return []


def _fitting(found: list[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    from antichain.printable import printable

    # Zsh evaluates what it is told: a name with other characters is for the user to type.
    right = re.compile(r"[\w./@+-]+")
    return [
        (name, re.sub(r"[^\w ,./-]", " ", printable(told)))
        for name, told in found
        if name.startswith(incomplete) and right.fullmatch(name)
    ][:MOST_SHOWN]


def _parsed(path: str) -> ast.Module:
    try:
        return ast.parse(Path(path).expanduser().read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.Module([], [])


def _graphs(module: ast.Module) -> dict[str, ast.stmt]:
    """
    Find what looks like a Graph or a function that returns one, among what a file defines.
    """
    found: dict[str, ast.stmt] = {}
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=function)) if _ends_in_graph(function):
                found[name] = statement
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if _ends_in_graph(annotation):
                found[name] = statement
            case ast.FunctionDef(name=name, returns=returns) if name == "graph" or _ends_in_graph(returns):
                found[name] = statement
            case _:
                continue
    return found


def _ends_in_graph(expression: ast.expr | None) -> bool:
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == "Graph"
        case ast.Constant(value=str(text)):
            return text.rpartition(".")[2] == "Graph"
        case _:
            return False


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _nodes(scope: ast.AST, graph: str) -> Iterator[Function]:
    """
    Find functions that are decorated as nodes or resources, of *graph* if it has a name here.
    """
    for function in _functions(scope):
        for decorator in function.decorator_list:
            match decorator.func if isinstance(decorator, ast.Call) else decorator:
                case ast.Attribute(value=ast.Name(id=owner), attr="node" | "resource") if graph in ("", owner):
                    yield function
                case _:
                    continue


def _functions(scope: ast.AST) -> Iterator[Function]:
    """
    Find the functions in *scope*, not those inside them: there, the same names mean something else.
    """
    left = list(ast.iter_child_nodes(scope))
    for each in left:  # grows while it is read
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each
        else:
            left.extend(ast.iter_child_nodes(each))


def _parameters(function: Function) -> list[str]:
    every = function.args
    return [each.arg for each in (*every.posonlyargs, *every.args, *every.kwonlyargs)]


def _required(function: Function) -> list[str]:
    every = function.args
    positional = [*every.posonlyargs, *every.args]
    required = positional[: len(positional) - len(every.defaults)]
    required += [each for each, default in zip(every.kwonlyargs, every.kw_defaults, strict=True) if default is None]
    return [each.arg for each in required if not _is_context(each.annotation)]


def _is_context(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == "Context"
        case _:
            return False
