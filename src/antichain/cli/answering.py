"""
`antichain answer`: a person's answer is read as its question asks, and stored. Whoever resumes the run finds it there.
"""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from antichain.asking import plain_answer
from antichain.asking import read_answer as read_as
from antichain.cli.endings import SUCCEEDED, emit
from antichain.cli.looking import VERSION
from antichain.cli.places import Place
from antichain.cli.storing import answer_line, find, opened, read, resume_line
from antichain.errors import NotStorable, StoreError, suggestion
from antichain.loading import UsageError
from antichain.printable import printable
from antichain.stores.codec import encode
from antichain.stores.protocol import Fact, FactKind, Store
from antichain.stores.record import StoredQuestion, StoredRun
from antichain.views.stored import question_text

__all__ = ["Request", "answer", "answers_of", "read_answer"]

# Seconds that a disk gets for one fact before we say that it has not answered.
PATIENCE: Final = 60.0
SHOWN_QUESTIONS: Final = 5
# The types of questions, as they are called where they are stored.
KINDS: Final[dict[str, type]] = {"bool": bool, "str": str, "int": int, "float": float}


@dataclass(frozen=True, slots=True)
class Request:
    """
    What `antichain answer` was asked for, as typed.
    """

    place: Place
    run: str
    node: str
    value: str
    number: int | None = None
    as_json: bool = False


def answer(request: Request) -> int:
    """
    Store an answer, and say how to go on.

    Raises:
        UsageError: nobody asks that, or the answer is none to it. StoreError: it could not be stored.
    """
    with opened(request.place) as store:
        line = find(store, request.run)
        run = read(store, line.run_id)
        question = question_of(run, request.node, request.number)
        value = read_answer(question, request.value)
        _store_answer(store, line.run_id, question, value)
        left = [each for each in run.questions if each is not question]
    if request.as_json:
        told = {"run_id": line.run_id, "node": question.node, "number": question.number, "answer": value}
        emit(json.dumps({"version": VERSION, **told, "questions_left": len(left)}, indent=2))
        return SUCCEEDED
    emit(f"stored: {printable(question.node)} = {printable(str(value))}")
    if left:
        emit(
            "1 more question of this run has no answer yet:"
            if len(left) == 1
            else f"{len(left)} more questions of this run have no answer yet:"
        )
        for each in left[:SHOWN_QUESTIONS]:
            emit(f"  {printable(each.node)}: {question_text(each)}")
            emit(f"    {answer_line(request.place, line.run_id, each)}")
        emit("What does not wait for them goes on with:")
    emit(resume_line(request.place, line))
    return SUCCEEDED


def question_of(run: StoredRun, node: str, number: int | None = None) -> StoredQuestion:
    """
    Find the question that is answered.

    Raises:
        UsageError: the node asks nothing, or several things.
    """
    found = [each for each in run.questions if each.node == node and number in (None, each.number)]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(f"--question {each.number}: {question_text(each)}" for each in found)
        raise UsageError(f"node {printable(node)!r} asks {len(found)} things: say which. {numbers}")
    run_id = run.record.run_id
    if any(each.node == node and number in (None, each.number) for each in run.answered):
        raise UsageError(f"the question of node {printable(node)!r} has its answer already; a resume goes on with it.")
    if not run.questions:
        raise UsageError(f"run {run_id!r} asks nothing that has no answer.")
    asking = list(dict.fromkeys(each.node for each in run.questions))
    named = ", ".join(printable(each) for each in asking[:SHOWN_QUESTIONS])
    raise UsageError(
        f"node {printable(node)!r} of run {run_id!r} asks nothing.{suggestion(node, asking)} Who asks: {named}."
    )


def read_answer(question: StoredQuestion, text: str) -> Any:  # Any: of the question's type
    """
    Read an answer as the question's type asks; of choices, the one that is meant, as a text.

    Raises:
        UsageError: it does not fit.
    """
    kind = KINDS.get(question.kind, question.choices)
    if not kind:
        raise UsageError(
            f"the question of node {printable(question.node)!r} cannot be read, so no answer to it can be checked."
        )
    try:
        value = read_as(kind, text)
    except ValueError as why:
        asked = printable(" ".join(question.text.split()))
        raise UsageError(f"{why}. Node {printable(question.node)!r} asks: {asked}") from None
    return plain_answer(kind, value)


def answers_of(run: StoredRun, texts: Sequence[str]) -> dict[str, Any]:  # Any: of the questions' types
    """
    Read NODE=VALUE, each as the question of that node asks. An id may hold an equals sign: the longest that asks wins.
    """
    found: dict[str, Any] = {}
    asking = sorted({each.node for each in run.questions}, key=len, reverse=True)
    for text in texts:
        node = next((each for each in asking if text.startswith(f"{each}=")), text.partition("=")[0])
        if "=" not in text or not node:
            raise UsageError(f"--answer {text[:80]!r} is not NODE=VALUE. Write for example --answer approved=yes.")
        if node in found:
            raise UsageError(f"--answer {printable(node)}= is given twice; give it once.")
        found[node] = read_answer(question_of(run, node), text[len(node) + 1 :])
    return found


def _store_answer(store: Store, run_id: str, question: StoredQuestion, value: Any) -> None:  # Any: of its type
    """
    Add the answer to the run, and wait until it would survive a power cut.
    """
    try:
        payload = encode(value)
    except NotStorable as error:
        raise UsageError(f"the answer cannot be stored: {error}") from error
    fact = Fact(FactKind.ANSWERED, question.node, question.number, at=time.time(), payload=payload)
    came = threading.Event()
    outcome: list[BaseException | None] = []

    def done(problem: BaseException | None) -> None:
        outcome.append(problem)
        came.set()

    mine = store.open(run_id)
    try:
        store.append(mine, [fact], done)
        if not came.wait(PATIENCE):
            raise StoreError(f"the store did not say within {PATIENCE:.0f} s that the answer is kept: look with show")
    finally:
        store.release(mine)
    if outcome[0] is not None:
        raise outcome[0]
