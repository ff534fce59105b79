"""
Documentation that everybody has: the docstrings of a folder of Python sources, and an index of them.

Sources are parsed, never imported; SQLite's full-text search (FTS5) finds documents. Nothing here knows of graphs.
"""

import ast
import importlib
import inspect
import os
import re
import sqlite3
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

__all__ = ["LIBRARY", "Document", "open_index", "python_files", "read_docstrings", "search", "sources_of", "store"]

LIBRARY: Final = Path(sysconfig.get_path("stdlib"))
# What lies in the library's folder and is not the library: installed packages, tests, and programs with docstrings of
# their own.
LEFT_OUT: Final = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo"}
)
# What is asked for its docstrings where the library came without sources. All of it is harmless to import.
MODULES: Final = (
    *("argparse", "array", "asyncio.locks", "asyncio.queues", "asyncio.tasks", "asyncio.taskgroups", "asyncio.threads"),
    *("base64", "bisect", "calendar", "collections", "concurrent.futures.thread", "configparser", "contextlib", "copy"),
    *("csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "glob"),
    *("graphlib", "gzip", "hashlib", "heapq", "inspect", "itertools", "json", "logging", "math", "operator", "os"),
    *("pathlib", "pickle", "pprint", "queue", "random", "re", "sched", "shlex", "shutil", "smtplib", "sqlite3"),
    *("statistics", "string", "subprocess", "tempfile", "textwrap", "threading", "timeit", "tomllib", "traceback"),
    *("unicodedata", "urllib.parse", "uuid", "weakref", "zipfile"),
)
# Words of a question that do not say what is looked for.
COMMON: Final = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "in", "is", "it"}
    | {"me", "my", "of", "on", "or", "some", "that", "the", "this", "to", "what", "when", "where", "which", "with"}
)
# Python 3.11 now and then fails (SystemError: recursion depth mismatch) where two threads parse at once.
PARSER: Final = Lock()
TABLE: Final = (
    "CREATE VIRTUAL TABLE documents USING fts5(words, name UNINDEXED, text, place UNINDEXED, tokenize=porter)"
)
# Names that start with _ are for those who wrote them: they come later.
SEARCH: Final = """SELECT name, text, place FROM documents WHERE documents MATCH ?
                   ORDER BY rank * iif(name GLOB '*._*', 0.5, 1) LIMIT ?"""


class Document(NamedTuple):
    """
    A docstring: of what, its text, and where it stands.
    """

    name: str
    text: str
    place: str


def python_files(folder: Path) -> list[Path]:
    """
    List the Python sources under *folder*, without the tests and the installed packages if it is the library's.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder; name one that holds Python sources")
    left_out = LEFT_OUT if folder == LIBRARY else frozenset()
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        # What is left out is not even looked into: installed packages may be many.
        folders[:] = [each for each in folders if each not in left_out]
        found += [Path(place, name) for name in names if name.endswith(".py")]
    return sorted(file for file in found if file.is_file())


def sources_of(library: Path = LIBRARY) -> list[Path | str]:
    """
    List what documents the library: its sources, or names of its modules where it came without any (in a zip file, or
    compiled only).
    """
    files = python_files(library) if library.is_dir() else []
    return [*files] or [*MODULES]


def read_docstrings(source: Path | str, folder: Path = LIBRARY) -> list[Document]:
    """
    List the docstrings of a module, of its classes and of its functions.

    Args:
        source: a file under *folder*; or the name of a module, which is then imported.
        folder: what the names of files are relative to.
    """
    if isinstance(source, str):
        return list(_imported(source))
    module = ".".join(source.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    code = source.read_bytes()
    with PARSER:
        # Python warns of odd escapes in sources; they are not ours to mend.
        warnings.filterwarnings("ignore", module="<docstrings>")
        todo: list[tuple[str, ast.AST]] = [(module, ast.parse(code, "<docstrings>"))]
    documents = []
    while todo:
        name, node = todo.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{name}.{node.name}"
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                fields = (name, text, f"{source}:{getattr(node, 'lineno', 1)}")
                # Half a character is a text in Python, and in no database.
                documents.append(Document(*(field.encode(errors="replace").decode() for field in fields)))
        inner = ast.stmt | ast.ExceptHandler | ast.match_case
        todo += [(name, child) for child in ast.iter_child_nodes(node) if isinstance(child, inner)]
    return documents


def _imported(name: str) -> Iterator[Document]:
    module = importlib.import_module(name)
    things = {name: module, **{f"{name}.{key}": value for key, value in vars(module).items() if key[0] != "_"}}
    for known, thing in things.items():
        if thing is module or inspect.isclass(thing) or inspect.isroutine(thing):
            text = inspect.getdoc(thing)
            if text:
                yield Document(known, text, "help")


@contextmanager
def open_index() -> Iterator[Path]:
    """
    Make an empty index, and remove it in the end.

    Raises:
        RuntimeError: this Python's SQLite cannot search texts.
    """
    with tempfile.TemporaryDirectory(prefix="antichain-") as folder:
        file = Path(folder, "index.db")
        with closing(sqlite3.connect(file)) as database:
            try:
                database.execute(TABLE)
            except sqlite3.OperationalError as error:
                why = "This Python's SQLite has no full-text search (FTS5), so take another Python"
                raise RuntimeError(f"{why}: {error}.") from error
        yield file


def store(documents: Iterable[Document], index: Path) -> int:
    """
    Add documents to the index, one caller at a time; return how many there were.
    """
    # ThreadPool is found by both of its words.
    rows = [(re.sub(r"([a-z])([A-Z])", r"\1 \2", each.name), *each) for each in documents]
    with closing(sqlite3.connect(index)) as database, database:
        database.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")  # it is gone after the run anyway
        database.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", rows)
    return len(rows)


def words_of(question: str) -> list[str]:
    """
    List the words of a question that say what is looked for.
    """
    return [word for word in re.findall(r"\w+", question.lower()) if word not in COMMON]


def search(question: str, index: Path, count: int = 3) -> list[Document]:
    """
    Find the documents that have the question's words, rare words first.
    """
    words = words_of(question)
    with closing(sqlite3.connect(index)) as database:
        rows = database.execute(SEARCH, [" OR ".join(f'"{word}"' for word in words), count]) if words else ()
        return [Document(*row) for row in rows]


def help_topic(question: str) -> list[Document]:
    """
    Find the page of the language reference that ``help()`` would show for a word of the question.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:  # left out by some distributions
        return []
    found = [word for word in words_of(question) if word in topics]
    # Without its title, which is underlined.
    return [Document(f"help({word!r})", re.sub(r"\A.*\n\W+", "", topics[word]), "help") for word in found[:1]]
