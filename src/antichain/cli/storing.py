"""
Stores and the runs in them, as commands use them: which run is meant, what it runs, and the lines that go on with it.
"""

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, cast

from antichain.cli.places import NONE, VARIABLE, Place, checked_id
from antichain.errors import AntichainError, RunOwned, StoreError, suggestion
from antichain.loading import UsageError
from antichain.printable import printable
from antichain.stores import open_store
from antichain.stores.protocol import FactKind, Header, Ownership, RunLine, Store
from antichain.stores.record import StoredQuestion, StoredRun, stored_run
from antichain.views.called import called
from antichain.views.stored import fitting, question_text

__all__ = [
    "Kept",
    "Labelled",
    "Notes",
    "find",
    "answer_line",
    "is_here",
    "make_folder",
    "opened",
    "question_data",
    "read",
    "resume_line",
    "storing",
    "target_of",
    "words_of",
]

# Runs and questions that a message lists.
SHOWN_RUNS: Final = 5
# Units that --budget-UNIT is there for.
BUDGETS: Final = ("tokens", "usd")
SHOWN_QUESTIONS: Final = 10
SHOWN_WARNINGS: Final = 5
# Kinds whose payloads are needed to tell about a run; outputs are left where they are, if there are no others.
TELLING: Final = frozenset({FactKind.FAILED, FactKind.RETRYING, FactKind.ASKED})
PAUSED: Final = (FactKind.ENDED, "", 0, "paused")


@contextlib.contextmanager
def opened(place: Place, *, makes: bool = False) -> Iterator[Store]:
    """
    Open the store for one command; only a command that *makes* runs makes a store too.

    Raises:
        UsageError: there is none, or it is a folder.
    """
    if not place.spec:
        raise UsageError(f"{VARIABLE}={NONE} says that there is no store. --store PATH names one.")
    if place.is_file and not makes and not _exists(place.spec):
        raise UsageError(
            f"there is no store at {place}: no run has been stored there. `{called()} run FILE` stores one; "
            f"--store PATH or {VARIABLE} name another place."
        )
    store = open_store(place.spec)
    try:
        yield store
    finally:
        close = getattr(store, "close", None)
        if close is not None:
            close()


def _exists(path: str) -> bool:
    try:
        is_there, is_folder = Path(path).exists(), Path(path).is_dir()
    except (OSError, ValueError) as error:
        raise UsageError(f"the store {path!r} cannot be looked at: {error}.") from error
    if is_folder:
        raise UsageError(f"{path!r} is a folder. Name the store in it, for example --store {Path(path, 'runs.db')}.")
    return is_there


def make_folder(place: Place) -> str | None:
    """
    Make the usual store's folder, which no version control sees; return why it cannot be used, if so.

    Nobody asked for this store: where there is no room for it, a run goes on without it.
    """
    folder = Path(place.spec).parent
    try:
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        # One that is empty is from a disk that was full.
        if not ignore.exists() or not ignore.stat().st_size:
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        return f"{str(folder)!r} cannot be used: {error.strerror or error}"
    return None if os.access(folder, os.W_OK) else f"{str(folder)!r} cannot be written to"


# -- runs


def find(store: Store, text: str) -> RunLine:
    """
    Find the run that is meant: by its id, or by the beginning of it, if no other begins so.

    Raises:
        UsageError: there is none, or more than one.
    """
    checked_id(text)
    lines = store.runs()
    for line in lines:
        if line.run_id == text:
            return line
    near = [line for line in lines if line.run_id.startswith(text)]
    if len(near) == 1:
        return near[0]
    if near:
        named = ", ".join(line.run_id for line in near[:SHOWN_RUNS])
        raise UsageError(f"{text!r} is the beginning of {len(near)} runs: {named}{', …' * (len(near) > SHOWN_RUNS)}.")
    known = [line.run_id for line in lines]
    raise UsageError(f"there is no run {text!r}.{suggestion(text, known)} `{called()} runs` lists them.")


def read(store: Store, run_id: str) -> StoredRun:
    """
    Read a run, without the values that nobody will see.
    """
    journal = store.read(run_id, payloads=False)
    # Of a run that has paused, its end may tell why.
    if any(fact.kind in TELLING or fact[:4] == PAUSED for fact in journal.facts):
        journal = store.read(run_id)
    return stored_run(journal)


# -- what it runs


def target_of(file: Path, name: str | None, values: Sequence[str]) -> str:
    """
    Write down what a run runs, as it is typed: the file with its graph, and what the function that makes it was given.
    """
    return shlex.join([f"{file}:{name}" if name else str(file), *values])


def words_of(target: str) -> list[str]:
    """
    Read what was written down; empty if nothing was, or nothing that can be read.
    """
    try:
        return shlex.split(target)
    except ValueError:
        return []


def is_here(word: str) -> bool:
    """
    Tell whether the file of ``FILE[:GRAPH]`` is in this folder or further down.

    A store may come from anywhere, and what it names would be run: from elsewhere only if somebody says so.
    """
    path = Path(word if Path(word).is_file() else word.rpartition(":")[0])
    try:
        return path.resolve().is_relative_to(Path.cwd().resolve())
    except (OSError, ValueError):
        return False


def budget_words(unit: str, used: float, limit: float) -> list[str]:
    """
    Return the words that let a run go on whose budget is used up, with as much again as it had; none for a unit that
    the command does not know.
    """
    more = used + limit
    return [f"--budget-{unit}", f"{more:.0f}" if more == int(more) else f"{more:.6g}"] if unit in BUDGETS else []


def resume_line(
    place: Place, line: RunLine | Header, found: Sequence[str] = (), spent: tuple[str, float, float] | None = None
) -> str:
    """
    Write the command that resumes a run; it works from this folder. *found* is how its graph was found this time, if
    not by what is written down; *spent* is the budget that has stopped it.
    """
    words = [*shlex.split(called()), "resume", line.run_id, *place.words]
    first = next(iter(words_of(line.target)), "")
    if found:
        words += found
    elif first and not is_here(first):
        words += ["--file", first]
    elif not first:
        words += ["--file", "FILE:GRAPH"]
    if spent is not None:
        words += budget_words(*spent)
    return shlex.join(words)


def answer_line(place: Place, run_id: str, question: StoredQuestion) -> str:
    """
    Write the command that answers a question, with a word for the answer.
    """
    example = {"bool": "yes", "int": "1", "float": "1.5"}.get(question.kind, "TEXT")
    example = question.choices[0] if question.choices else example
    words = [*shlex.split(called()), "answer", run_id, question.node, example, *place.words]
    return printable(shlex.join(words), None)


def question_data(question: StoredQuestion) -> dict[str, Any]:  # Any: JSON
    """
    Return a question as plain data.
    """
    data = {each.name: getattr(question, each.name) for each in fields(question)}
    return {**data, "choices": list(question.choices), "fitting": fitting(question)}


class Labelled:
    """
    A store that writes down, of every run that begins, what the command was told to run.
    """

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._target = target

    def open(self, run_id: str, header: Header | None = None, *, take_over: bool = False) -> Ownership:
        """
        Become the owner of a run.
        """
        labelled = None if header is None else replace(header, target=self._target)
        return self._store.open(run_id, labelled, take_over=take_over)

    def __getattr__(self, name: str) -> Any:  # Any: whatever else the store can do, more than a Store has to
        return getattr(self._store, name)


# -- a run that is kept


class Notes(logging.Handler):
    """
    Collect what the journal of a run warns of.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """
        Keep what is said.
        """
        self.texts.append(record.getMessage())


@dataclass(frozen=True, slots=True)
class Kept:
    """
    Where a run is stored, and what is to be said of that when it ends.
    """

    place: Place
    store: Store
    run_id: str
    # Words that say where the graph is, if it is not where the run says.
    found: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def options(self) -> dict[str, Any]:  # Any: values of run options
        """
        Return the options of a run that nobody but this command sets. Who has not asked for a store has not asked for
        outputs that can be stored: what cannot be is made again by a resume.
        """
        return {"recomputes": True} if self.place.said_by == "nobody" else {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """
        Listen to what the journal warns of while the run goes on.
        """
        logger = logging.getLogger("antichain.journal")
        logger.addHandler(self.notes)
        try:
            yield
        finally:
            logger.removeHandler(self.notes)

    def warnings(self) -> str:
        """
        Return what the journal has warned of, as one paragraph.
        """
        texts = self.notes.texts
        lines = [printable(text, None) for text in texts[:SHOWN_WARNINGS]]
        more = len(texts) - SHOWN_WARNINGS
        return "\n".join([*lines, *([f"… and {more} more nodes whose outputs are not stored."] if more > 0 else [])])

    def next_line(self, spent: tuple[str, float, float] | None = None) -> str:
        """
        Return the command that goes on with the run, as a line of its own; empty if it had not even begun. *spent* is
        the budget that has stopped it.
        """
        try:
            header = self.store.read(self.run_id, payloads=False).header
        except StoreError:
            return ""
        return f"\n{resume_line(self.place, header, self.found, spent)}"

    def questions_data(self) -> list[dict[str, Any]]:  # Any: JSON
        """
        Return what the run waits for as plain data.
        """
        return [question_data(each) for each in read(self.store, self.run_id).questions]

    def questions(self) -> Iterator[str]:
        """
        Tell what the run waits for, and the commands that answer.
        """
        stored = read(self.store, self.run_id)
        for question in stored.questions[:SHOWN_QUESTIONS]:
            yield f"  {printable(question.node)}: {question_text(question)}"
            yield f"    {answer_line(self.place, self.run_id, question)}"
        more = len(stored.questions) - SHOWN_QUESTIONS
        if more > 0:
            yield f"  … and {more} more: `{called()} show {self.run_id}` lists them."

    def way_out(self, error: AntichainError) -> str:
        """
        Return what to do about a run that is there already, or that somebody else holds.
        """
        line = self.next_line()
        return f"{line} --take-over" if line and isinstance(error, RunOwned) else line


@contextlib.contextmanager
def storing(place: Place, run_id: str, target: str) -> Iterator[Kept | str]:
    """
    Open the store that a new run is kept in; or say why it is not kept, if nobody has asked for that store.
    """
    if place.said_by == "nobody":
        why = make_folder(place)
        if why is not None:
            yield why
            return
    with opened(place, makes=True) as store:
        yield Kept(place, cast("Store", Labelled(store, target)), run_id)
