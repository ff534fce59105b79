"""
Read every docstring of a folder of Python sources, index them, answer questions in parallel, write a digest.

    antichain run examples/library_digest.py                       # the standard library of this Python
    antichain run examples/library_digest.py path=~/project questions='Where are users stored?' out=project.md

Needs no network and no key: sources are parsed, never imported, and SQLite's full-text search (FTS5) finds the answers.
How they are read and found is in `antichain.demo.corpus`; how they are put together is here.

    files ── documents[…] ── stored[…] ── answers[…] ── digest
             one per file,   each once    all questions
             in threads      it is read   at once
"""

import time
from collections.abc import Iterator
from pathlib import Path

from antichain import Graph, Outcome
from antichain.demo.corpus import LIBRARY, Document, open_index, python_files, read_docstrings, search, store

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
    digest = Graph("library digest")

    @digest.resource
    def index() -> Iterator[Path]:
        with open_index() as file:
            yield file

    @digest.node
    def files() -> list[Path]:
        return python_files(path)

    def read(file: Path) -> list[Document]:
        return read_docstrings(file, path)

    def add(documents: Outcome, index: Path) -> int:
        return store(documents.value or (), index)

    # A file that cannot be read or parsed becomes an Outcome with an error: it is reported, and all else goes on.
    digest.map("documents", read, over="files", key=str, outcomes=True, max_concurrent=4)
    # One writer at a time, fed by what has been read so far.
    digest.map("stored", add, over="documents", max_concurrent=1)
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
