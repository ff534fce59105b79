"""
Import contracts of the package, read from the code's own imports: which part may know which other part.

Function-level and `TYPE_CHECKING` imports count like any other; those that look ahead are named one by one below.
"""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "antichain"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

# A part may import parts of a smaller rank, and itself. Parts of one rank do not know each other.
# The three chains of the architecture meet here: errors .. core, core.facts .. views, driver .. cli.
RANK = {
    "errors": 0,
    "printable": 1,
    "policies": 1,
    "limit": 2,
    "rate": 3,
    "retry_budget": 2,
    "budget": 2,
    "adaptive": 3,
    "runnable": 2,
    "graph": 3,
    "shape": 4,
    "wrapping": 4,
    "breaker": 5,
    "binding": 5,
    "plan": 6,
    "core": 7,
    "record": 8,
    "context": 9,
    "clocks": 8,
    "estimating": 8,
    "simulation": 9,
    "stores": 9,
    "resuming": 10,
    "views": 10,
    "telemetry": 10,
    "runners": 11,
    "resources": 11,
    "growth": 11,
    "items": 11,
    "stages": 13,
    "choosing": 12,
    "alarm": 12,
    "reading": 12,
    "asking": 12,
    "journal": 11,
    "keeping": 13,
    "telling": 12,
    "lending": 13,
    "limiting": 13,
    "metering": 13,
    "durable": 13,
    "failing": 12,
    "tasks": 12,
    "questions": 14,
    "opening": 14,
    "hedge": 13,
    "driver": 14,
    "feed": 15,
    "run": 15,
    "gathering": 16,
    "executors": 17,
    "testing": 17,
    "loading": 17,
    "agents": 18,
    "demo": 18,
    "cli": 19,
    "__main__": 20,
    "__init__": 21,
}

# What is tighter than the rank: these parts see only what is listed (and themselves).
ONLY = {
    "core": {"errors", "policies", "shape"},
    "record": {"errors", "core.facts", "core.states"},
    "views": {"errors", "printable", "record", "core.facts", "stores.protocol", "stores.record", "stores.standing"},
    "telemetry": {"errors", "printable", "record", "core.facts"},
    "shape": {"errors", "policies"},
    "stores": {"errors", "printable", "record"},
}

# The named look-aheads: (file, what it imports, where).
LOOK_AHEAD = {
    # The user's door leads to rooms built later.
    ("graph.py", "plan", "function"),
    ("graph.py", "run", "function"),
    ("graph.py", "questions", "function"),
    ("plan/plan.py", "run", "function"),
    # A result shows itself.
    ("record.py", "views", "function"),
    # Types of what comes back through that door.
    ("graph.py", "plan", "typing"),
    ("graph.py", "record", "typing"),
    ("graph.py", "core", "typing"),
    ("plan/plan.py", "record", "typing"),
    ("plan/plan.py", "core", "typing"),
    # A nested graph's plan is part of how its node is bound; what grows is driven by the driver that grows it.
    ("binding/bound.py", "plan", "typing"),
    ("binding/wiring.py", "plan", "typing"),
    ("binding/bodies.py", "plan", "typing"),
    ("binding/rule.py", "plan", "typing"),
    ("growth.py", "driver", "typing"),
    ("stages.py", "driver", "typing"),
    ("lending.py", "driver", "typing"),
    ("limiting.py", "driver", "typing"),
    ("metering.py", "driver", "typing"),
    ("durable.py", "driver", "typing"),
    # What keeps them is told by them.
    ("growth.py", "keeping", "typing"),
    ("stages.py", "keeping", "typing"),
    ("keeping.py", "driver", "typing"),
    ("telling.py", "driver", "typing"),
    # The command says which version it is.
    ("cli/application.py", "__init__", "function"),
    # The demo's graph and strategies are written as a user would write them.
    ("demo/graph.py", "__init__", "module"),
    ("demo/strategies.py", "__init__", "module"),
}

# core/ and policies/ decide; they have no clock, no thread, no file, no chance of their own.
PURE = {"core", "policies"}
PURE_LIBRARY = {
    "array",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "difflib",
    "email",
    "enum",
} | {"functools", "heapq", "itertools", "math", "operator", "types", "typing"}
PURE_NAMES = {"random.Random"}  # the class may be named where one is handed in; IMPURE_CALLS says that none is made
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "Random"}

# Third-party packages live in the file that bears their name; these files bear it in another form.
THIRD_PARTY = {
    "pydantic": {"agents/tools/schema.py"},
    "pydantic_core": {"agents/tools/schema.py"},
    "typing_extensions": {"agents/tools/schema.py", "agents/tools/typed_dicts.py"},
    "jsonschema": {"agents/tools/given_schema.py"},
    "referencing": {"agents/tools/given_schema.py"},
    "typer": {"cli/application.py"},
    "opentelemetry": {"telemetry/otel.py"},
    "aiohttp": {"demo/chat.py", "testing/provider/sending.py", "testing/provider/serving.py"},
}

# Who may import by a name known only at run time: the lazy public names, and the demo where the library has no sources.
DYNAMIC = {"__init__.py", "demo/corpus.py"}


@dataclass(frozen=True)
class Import:
    """One imported name: *target* is dotted, *where* is "module", "function" or "typing"."""

    file: str
    line: int
    target: str
    where: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target} ({self.where})"


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_in(node: ast.AST, where: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, where
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for inner in child.body:
                yield from imports_in(ast.Module([inner], []), "typing")
            for inner in child.orelse:
                yield from imports_in(ast.Module([inner], []), where)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports_in(child, "typing" if where == "typing" else "function")
        else:
            yield from imports_in(child, where)


def read_imports(root: Path, path: Path) -> Iterator[Import]:
    file = path.relative_to(root).as_posix()
    for node, where in imports_in(ast.parse(path.read_text(encoding="utf-8")), "module"):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                package = [PACKAGE, *Path(file).parts[:-1]]
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        for target in targets:
            yield Import(file, node.lineno, target, where)


def part_of(file: str) -> str:
    first = Path(file).parts[0]
    return first.removesuffix(".py")


def own_module(root: Path, target: str) -> str:
    """Cut `antichain.core.facts.NodeEnded` down to the module or package that exists: `core.facts`."""
    names = target.split(".")[1:]
    while names:
        path = root.joinpath(*names)
        if path.is_dir() or path.with_suffix(".py").exists():
            return ".".join(names)
        if len(names) == 1 and names[0] in RANK:
            return names[0]
        names.pop()
    return "__init__"


def check_own(root: Path, found: Import) -> Iterator[str]:
    """An import of another part of this package."""
    module = own_module(root, found.target)
    part, other = part_of(found.file), module.split(".")[0]
    if part == other or (found.file, other, found.where) in LOOK_AHEAD:
        return
    if part not in RANK or other not in RANK:
        yield f"{found}: {part if part not in RANK else other!r} has no rank; add it to RANK with a reason"
    elif RANK[other] >= RANK[part]:
        yield f"{found}: {part} comes before {other}"
    elif part in ONLY and not ({module, other} & ONLY[part]):
        yield f"{found}: {part} may see only {', '.join(sorted(ONLY[part]))}"


def check_library(found: Import) -> Iterator[str]:
    """An import of the standard library: anything goes, except where decisions are made."""
    if part_of(found.file) not in PURE:
        return
    if found.target in PURE_NAMES:
        return
    if found.target.split(".")[0] not in PURE_LIBRARY:
        yield f"{found}: {part_of(found.file)} is pure; take it as an argument"


def check_third_party(found: Import) -> Iterator[str]:
    package = found.target.split(".")[0]
    homes = THIRD_PARTY.get(package, set())
    if found.file not in homes and Path(found.file).stem != package:
        yield f"{found}: {package} may be imported only in {', '.join(sorted(homes)) or f'a file named {package}.py'}"


def check_calls(root: Path, path: Path) -> Iterator[str]:
    """What no import shows: built-in doors to the outside, and imports by a computed name."""
    file = path.relative_to(root).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if part_of(file) in PURE and name in IMPURE_CALLS:
            yield f"{file}:{node.lineno} calls {name}(): {part_of(file)} is pure"
        if name.split(".")[-1] in {"import_module", "__import__"} and file not in DYNAMIC:
            yield f"{file}:{node.lineno} calls {name}(): only {', '.join(sorted(DYNAMIC))} import by a computed name"


def violations(root: Path, paths: Iterable[Path] = ()) -> list[str]:
    out: list[str] = []
    for path in paths or sorted(root.rglob("*.py")):
        out += check_calls(root, path)
        for found in read_imports(root, path):
            top = found.target.split(".")[0]
            if top == "__future__":
                continue
            if top == PACKAGE:
                out += check_own(root, found)
            elif top in sys.stdlib_module_names:
                out += check_library(found)
            else:
                out += check_third_party(found)
    return out


def test_imports_go_one_way() -> None:
    assert violations(SOURCE) == []


def test_every_module_has_a_rank() -> None:
    parts = {part_of(path.relative_to(SOURCE).as_posix()) for path in SOURCE.rglob("*.py")}
    assert parts - set(RANK) == set()


FAULTS = {
    "clock in the core": ("core/scheduler.py", "import time", "core is pure"),
    "clock in a function of the core": ("core/timers.py", "def f():\n    from time import monotonic", "core is pure"),
    "asyncio in a policy": ("policies/retry.py", "import asyncio.timeouts", "policies is pure"),
    "random state in a policy": ("policies/retry.py", "import random", "policies is pure"),
    "chance of its own": ("core/timers.py", "def f():\n    return Random(1)", "calls Random()"),
    "a lock in a policy": ("policies/retry.py", "from threading import Lock", "policies is pure"),
    "a file in the core": ("core/scheduler.py", "def f():\n    return open('x')", "calls open()"),
    "the core knows the plan": ("core/scheduler.py", "from antichain.plan import Plan", "core may see only"),
    "the core knows the plan, for types": (
        "core/scheduler.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from antichain.plan import Plan",
        "core may see only",
    ),
    "backwards": ("errors.py", "from antichain.policies import Retry", "errors comes before policies"),
    "backwards in a function": (
        "plan/plan.py",
        "def f():\n    from antichain.driver import Driver",
        "plan comes before driver",
    ),
    "backwards, relative": ("policies/retry.py", "from ..plan import Plan", "policies comes before plan"),
    "the whole package": ("driver.py", "import antichain", "driver comes before __init__"),
    "the look-ahead at module level": ("graph.py", "from antichain.run import run_plan", "graph comes before run"),
    "a view reads the driver": ("views/text.py", "from antichain.driver import Driver", "views comes before driver"),
    "a view reads the core": ("views/text.py", "from antichain.core.scheduler import Scheduler", "views may see only"),
    "foreign package in the engine": ("driver.py", "def f():\n    import uvloop", "uvloop may be imported only in"),
    "typer outside the command": ("run.py", "import typer", "typer may be imported only in cli/application.py"),
    "import by name": ("driver.py", "import importlib\nimportlib.import_module('x')", "computed name"),
    "a part nobody ranked": ("newcomer.py", "from antichain.errors import GraphError", "has no rank"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str, tmp_path: Path) -> None:
    file, code, expected = FAULTS[fault]
    root = tmp_path / PACKAGE
    shutil.copytree(SOURCE, root, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("driver", "run", "graph"):  # the fault is the import, not that its target is not there yet
        (root / f"{name}.py").touch()
    target = root / file
    target.parent.mkdir(exist_ok=True)
    before = set(violations(root, [target])) if target.exists() else set()
    with target.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{code}\n")
    new = set(violations(root, [target])) - before
    assert len(new) == 1, new
    assert expected in new.pop()


def test_named_exceptions_are_still_needed() -> None:
    """An exception that no code uses any more is an open door: remove it here."""
    found = [found for path in SOURCE.rglob("*.py") for found in read_imports(SOURCE, path)]
    own = [each for each in found if each.target.split(".")[0] == PACKAGE]
    assert (
        LOOK_AHEAD - {(each.file, own_module(SOURCE, each.target).split(".")[0], each.where) for each in own} == set()
    )


def test_import_is_light() -> None:
    """`import antichain` loads no third-party package: they are imported on first use."""
    code = (
        "import sys; old = set(sys.modules); import antichain; new = {m.split('.')[0] for m in {*sys.modules} - old}; "
        "print(*sorted(new - {*sys.stdlib_module_names} - {'antichain'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
