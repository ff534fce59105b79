"""
Read every docstring of a folder of Python sources, index them, answer questions in parallel, write a digest.

    antichain run examples/library_digest.py                       # the standard library of this Python
    antichain run examples/library_digest.py path=~/project questions='Where are users stored?' out=project.md

Needs no network and no key: sources are parsed, never imported, and SQLite's full-text search (FTS5) finds the answers.

    files ── documents[…] ── stored[…] ── answers[…] ── digest
             one per file,   each once    all questions
             in threads      it is read   at once
"""

import ast
import re
import sqlite3
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from antichain import Graph, Outcome

QUESTIONS = [
    "How do I create a temporary file that is deleted when it is closed?",
    "How do I find close matches of a misspelled word?",
    "How do I gather the results of several coroutines?",
    "How do I run functions in a pool of threads?",
    "How do I parse command line arguments?",
    "How do I compress data with gzip?",
    "How do I read the rows of a CSV file as dictionaries?",
    "How do I compute the median of some numbers?",
    "How do I send a mail message over SMTP?",
    "How do I cache the results of a function?",
    "How do I parse a date in ISO format?",
    "How do I remove a whole directory tree?",
]
# Words of a question that do not say what is looked for.
COMMON = {"a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "in", "is"}
COMMON |= {"it", "me", "my", "of", "on", "or", "some", "that", "the", "this", "to", "what", "when", "where", "with"}
LIBRARY = Path(sysconfig.get_path("stdlib"))
# Python 3.11 now and then fails (SystemError: recursion depth mismatch) where two threads parse at once.
PARSER = Lock()
# What lies in the library's folder and is not the library.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
TABLE = "CREATE VIRTUAL TABLE documents USING fts5(words, name UNINDEXED, text, place UNINDEXED, tokenize=porter)"
# Names that start with _ are for those who wrote them: they come later.
SEARCH = """SELECT name, text, place FROM documents WHERE documents MATCH ?
            ORDER BY rank * iif(name GLOB '*._*', 0.5, 1) LIMIT 3"""


class Document(NamedTuple):
    """
    A docstring: of what, its text, and where it stands.
    """

    name: str
    text: str
    place: str


def documents_of(file: Path, folder: Path) -> list[Document]:
    """
    List the docstrings of a module, of its classes and of its functions.
    """
    module = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    source = file.read_bytes()
    with PARSER:
        todo: list[tuple[str, ast.AST]] = [(module, ast.parse(source, "<docstrings>"))]
    documents = []
    while todo:
        name, node = todo.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{name}.{node.name}"
        is_documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, is_documented) and (text := ast.get_docstring(node)):
            fields = (name, text, f"{file}:{getattr(node, 'lineno', 1)}")
            # Half a character is a text in Python, and in no database.
            documents.append(Document(*(field.encode(errors="replace").decode() for field in fields)))
        inner = ast.stmt | ast.ExceptHandler | ast.match_case
        todo += [(name, child) for child in ast.iter_child_nodes(node) if isinstance(child, inner)]
    return documents


def store(documents: Outcome, index: Path) -> int:
    """
    Add what was found in one file to the index; nothing, if the file could not be read.
    """
    # ThreadPool is found by both of its words.
    rows = [(re.sub(r"([a-z])([A-Z])", r"\1 \2", each.name), *each) for each in documents.value or ()]
    with closing(sqlite3.connect(index)) as database, database:
        database.execute("PRAGMA synchronous = OFF")  # the index is gone after the run anyway
        database.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", rows)
    return len(rows)


def search(question: str, index: Path) -> list[Document]:
    """
    Find the documents that have the question's words, rare words first.
    """
    words = [word for word in re.findall(r"\w+", question.lower()) if word not in COMMON]
    with closing(sqlite3.connect(index)) as database:
        rows = database.execute(SEARCH, [" OR ".join(f'"{word}"' for word in words)]) if words else ()
        return [Document(*row) for row in rows]


def section(question: str, answers: list[Document]) -> str:
    """
    Write one question and its best passages in Markdown.
    """
    passages = [
        "\n    ".join([f"**{each.name}** ({each.place})\n", *each.text.split("\n")[:6]]) + "\n" for each in answers
    ]
    return "\n".join([f"## {question}\n", *(passages or ["Nothing was found.\n"])])


def graph(path: Path = LIBRARY, questions: list[str] = QUESTIONS, out: Path = Path("digest.md")) -> Graph:
    """
    Make the graph; its parameters are NAME=VALUE on the command line.
    """
    started, worked = time.monotonic(), time.process_time()
    # Python warns of odd escapes in sources; they are not ours to mend.
    warnings.filterwarnings("ignore", module="<docstrings>")
    digest = Graph("library digest")

    @digest.resource
    def index() -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "index.db")
            with closing(sqlite3.connect(file)) as database:
                try:
                    database.execute(TABLE)
                except sqlite3.OperationalError as error:
                    why = "This Python's SQLite has no full-text search (FTS5), so take another Python"
                    raise RuntimeError(f"{why}: {error}.") from error
            yield file

    @digest.node
    def files() -> list[Path]:
        if not path.is_dir():
            raise NotADirectoryError(f"path={path} is not a folder; name one that holds Python sources")
        left_out = LEFT_OUT if path == LIBRARY else set()
        found = sorted(file for file in path.rglob("*.py") if not left_out & set(file.relative_to(path).parts))
        return [file for file in found if file.is_file()]

    def read(file: Path) -> list[Document]:
        return documents_of(file, path)

    # A file that cannot be read or parsed becomes an Outcome with an error: it is reported, and all else goes on.
    digest.map("documents", read, over="files", key=str, outcomes=True, max_concurrent=4)
    # One writer at a time, fed by what has been read so far.
    digest.map("stored", store, over="documents", max_concurrent=1)
    digest.map("answers", search, over=questions, depends_on=["stored"])

    @digest.node(id="digest")
    def write(documents: list[Outcome], stored: list[int], answers: list[list[Document]]) -> str:
        broken = [f"{each.key}: {type(each.error).__name__}: {each.error}" for each in documents if not each.ok]
        head = f"{sum(stored):,} docstrings in {len(stored) - len(broken):,} Python files of {path}"
        parts = [f"# {head}\n", *map(section, questions, answers)]
        if broken:
            parts.append("\n".join([f"## {len(broken)} files could not be read\n", *(f"- {line}" for line in broken)]))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(parts), encoding="utf-8", errors="replace")

        seconds, work = time.monotonic() - started, time.process_time() - worked
        lines = [f"{head}, {len(questions)} questions: {seconds:.1f} s ({work:.1f} s of processor time)."]
        lines += [f"Could not be read: {line}" for line in broken[:3]]
        lines += [f"… and {len(broken) - 3} more files; the digest names them."] if len(broken) > 3 else []
        for question, found in list(zip(questions, answers, strict=True))[:3]:
            best = "Nothing was found."
            if found:
                best = f"{found[0].name}: {found[0].text.splitlines()[0]} ({found[0].place})"
            lines += ["", question, f"  {best}"]
        return "\n".join([*lines, "", f"All answers: {out.resolve()}"])

    return digest
