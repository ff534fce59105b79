"""
Read every docstring of a folder of Python sources, index them, answer questions in parallel, write a digest.

    antichain run examples/library_digest.py                       # the standard library of this Python
    antichain run examples/library_digest.py path=~/project questions='Where are users stored?' out=project.md

Needs no network and no key: sources are parsed, never imported, and SQLite searches (full text, FTS5).

    files ── documents[…] ── stored[…] ── answers[…] ── digest
             one thread      as soon as   all questions
             per file        it is read   at once
"""

import ast
import re
import sqlite3
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from antichain import Graph, Outcome

QUESTIONS = [
    "How do I create a temporary file that is deleted when it is closed?",
    "How do I run functions in a pool of parallel threads?",
    "How do I parse command line arguments?",
    "How do I wait for several coroutines at once?",
    "How do I find the closest matches of a misspelled word?",
    "How do I compress data with gzip?",
    "How do I read rows of a CSV file as dictionaries?",
    "How do I compute the median of some numbers?",
    "How do I send an email over SMTP?",
    "How do I cache the results of a function?",
    "How do I parse a date in ISO format?",
    "How do I walk a directory tree?",
]
# Words that do not say what is looked for.
COMMON = set("a an and are as at be by can do does for from how i in is it me my of on or some that the this to what when where which with".split())
LIBRARY = Path(sysconfig.get_path("stdlib"))
# What lies in the library's folder and is not the library.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
TABLE = "CREATE VIRTUAL TABLE documents USING fts5(name, text, place UNINDEXED, tokenize='porter')"
SEARCH = "SELECT * FROM documents WHERE documents MATCH ? ORDER BY bm25(documents, 4, 1) LIMIT 3"


class Document(NamedTuple):
    name: str
    text: str
    place: str


def documents_of(file: Path, folder: Path) -> list[Document]:
    """
    List the docstrings of a module, of its classes and of its functions.
    """
    module = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    found, todo = [], [(module, ast.parse(file.read_bytes(), "<docstrings>"))]
    while todo:
        name, node = todo.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                found.append(Document(name, text, f"{file}:{getattr(node, 'lineno', 1)}"))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                todo.append((f"{name}.{child.name}" if hasattr(child, "name") else name, child))
    return found


def graph(path: Path = LIBRARY, questions: list[str] = QUESTIONS, out: Path = Path("digest.md")) -> Graph:
    """
    Make the graph; the parameters are NAME=VALUE on the command line.
    """
    started = time.monotonic()
    # Today's Python warns of escapes in old sources; they are not ours to mend.
    warnings.filterwarnings("ignore", module="<docstrings>")
    digest = Graph("library digest")

    @digest.resource
    def index() -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "index.db")
            with closing(sqlite3.connect(file)) as database:
                database.execute(TABLE)
            yield file

    @digest.node
    def files() -> list[Path]:
        if not path.is_dir():
            raise NotADirectoryError(f"{str(path)!r} is not a folder: path= takes one that holds Python sources")
        left_out = LEFT_OUT if path == LIBRARY else set()
        return sorted(file for file in path.rglob("*.py") if not left_out & set(file.relative_to(path).parts))

    def read(file: Path) -> list[Document]:
        return documents_of(file, path)

    def store(documents: Outcome, index: Path) -> int:
        if not documents.ok: return 0
        with closing(sqlite3.connect(index)) as database, database:
            database.execute("PRAGMA synchronous=OFF")
            database.executemany("INSERT INTO documents VALUES (?, ?, ?)", documents.value)
        return len(documents.value)

    def search(question: str, index: Path) -> list[Document]:
        words = [word for word in re.findall(r"\w+", question.lower()) if word not in COMMON]
        with closing(sqlite3.connect(index)) as database:
            return [Document(*row) for row in database.execute(SEARCH, [" OR ".join(f'"{word}"' for word in words)])]

    digest.map("documents", read, over="files", max_concurrent=4, outcomes=True)
    digest.map("stored", store, over="documents", max_concurrent=1)
    digest.map("answers", search, over=questions, depends_on=["stored"])
    @digest.node
    def end(answers,stored,documents):
        for q,a in zip(questions,answers):
            print(q); 
            for d in a: print("    ", d.name, '|', d.text.split("\n")[0])
        print(sum(stored), len(stored),time.monotonic()-started, time.process_time(), time.thread_time())
    return digest
