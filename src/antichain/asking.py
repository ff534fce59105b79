"""
Questions that nodes put to a person while a run goes on: who is asked, and what counts as an answer. Slots and the end
of attempts are the driver's affair.
"""

import asyncio
import inspect
import math
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from enum import Enum
from types import CoroutineType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from antichain.errors import Fault, GraphError, NobodyAnswers, named, shown
from antichain.printable import printable
from antichain.runnable import describe
from antichain.runners.threads import RETURNED, Call, Outcome, Threads

# How often one question is put before it counts as not answered.
ASKED_AT_MOST: Final = 5
# Questions that are with a plain handler at once, each in a thread; the others wait for their turn.
THREADS_AT_MOST: Final = 32
# Nobody reads more before they say yes; a text that was cut could hide what it is about.
TEXT_AT_MOST: Final = 100_000
# Choices that a message lists.
SHOWN_CHOICES: Final = 20

YES: Final = frozenset({"yes", "y", "true"})
NO: Final = frozenset({"no", "n", "false"})


@dataclass(frozen=True, slots=True)
class Question:
    """
    What a node asks: the function given as ``ask=`` takes one and returns the answer.

    Example:
        >>> Question("7f", "cleanup", "Delete 3 branches?", type=bool, number=1).choices
        (True, False)
    """

    run_id: str
    # The id of the node that asks.
    node: str
    # Safe to print: control and format characters are shown as escapes, but for newlines and tabs.
    text: str
    # What the answer has to be: bool, str, int, float, an Enum, a Literal, or a tuple of choices.
    type: Any
    # Counts the questions of the run, from 1. One that is put again keeps its number.
    number: int
    # What was wrong with the answer before; None when it is put for the first time.
    problem: str | None = None

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """
        All answers that there are, or None if the type has too many to list.
        """
        return _reader_of(self.type).choices


class Asked:
    """
    Hold what comes of one question.
    """

    # In which it is answered.
    task: "asyncio.Task[None]"

    def __init__(self) -> None:
        self.answer: Any = None
        # Of a task that somebody cancels before it begins, unless anything else becomes of it.
        self.error: BaseException | None = asyncio.CancelledError()
        # Nobody wants an answer any more.
        self.has_ended = False

    def end(self) -> None:
        """
        Cancel the task, once: it may be cleaning up.
        """
        if not self.has_ended:
            self.has_ended = True
            self.task.cancel()

    def outcome(self) -> Any:
        """
        Return the answer, or raise the error.
        """
        if self.error is not None:
            raise self.error
        return self.answer


class Asking:
    """
    Put the questions of one run to whoever answers them. All methods are for the loop's thread.
    """

    def __init__(
        self,
        run_id: str,
        handler: Callable[[Question], Any] | None,
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        self._run_id = run_id
        self._handler = handler
        # Asks the loop, from any thread, to call something; raises RuntimeError once the loop is closed.
        self._call_soon = call_soon
        described = None if handler is None else describe(handler)
        self._is_async = described is not None and described.form == "coroutine"
        self._count = 0
        # For plain handlers. Not the run's own: a person takes no slot of the limit `thread`.
        self._threads: Threads | None = None
        self._places = asyncio.Semaphore(THREADS_AT_MOST)
        # Who waits for an answer out of a thread, by the question's number and how often it was put.
        self._waiting: dict[tuple[int, int], asyncio.Future[Outcome]] = {}

    def question(self, node: str, text: object, kind: Any) -> Question:
        """
        Make the next question.

        Raises:
            GraphError: it cannot be asked.
        """
        if not isinstance(text, str) or len(text) > TEXT_AT_MOST:
            fault = f"node {node!r} asks {shown(text)}: use a text of at most {TEXT_AT_MOST:,} characters."
            raise GraphError(Fault("bad-question", fault, node, (node,)))
        kind = tuple(kind) if isinstance(kind, list) else kind
        try:
            _reader_of(kind)
        except _Unreadable as why:
            fault = f"node {node!r} asks {shown(text)} with type={shown(kind)}: {why}."
            raise GraphError(Fault("bad-question", fault, node, (node,))) from None
        self._count += 1
        return Question(self._run_id, node, _for_people(text), kind, self._count)

    def nobody(self, question: Question) -> NobodyAnswers:
        """
        Make the error of a question in a run that has no handler and cannot wait for one.
        """
        return NobodyAnswers(
            f"node {question.node!r} asks {shown(question.text)}, but this run has nobody who answers. Pass ask=, a"
            " function that takes the question and returns the answer:"
            " graph.run(ask=lambda question: input(question.text)); or keep the run (store='runs.db'), so that somebody"
            " may answer another day",
            question,
        )

    @property
    def has_handler(self) -> bool:
        """
        Tell whether this run has somebody who answers.
        """
        return self._handler is not None

    async def answer(
        self, question: Question, is_over: Callable[[], bool], on_abandoned: Callable[[], object]
    ) -> Any:  # Any: of the question's type
        """
        Put *question* until it has an answer that fits; cancelling the caller ends the waiting at once.

        Args:
            is_over: tells that whoever asks is to end, so that nothing more is asked.
            on_abandoned: told when nobody waits any more for a handler that is in a thread.

        Raises:
            NobodyAnswers: no answer fitted. Whatever the handler raises is raised as it is.
        """
        reader = _reader_of(question.type)
        given: object = None
        for turn in range(1, ASKED_AT_MOST + 1):
            given = await self._put(question, turn, on_abandoned)
            try:
                return reader.read(given)
            except _Unreadable:
                question = replace(question, problem=f"{shown(given)} is not {reader.title}")
            if is_over():
                # A handler that has swallowed its cancellation.
                raise asyncio.CancelledError
        raise NobodyAnswers(
            f"node {question.node!r} asks {shown(question.text)}, and got {ASKED_AT_MOST} answers, none of which is "
            f"{reader.title}; the last was {shown(given)}. The function given as ask= may look at question.type and "
            "question.problem.",
            question,
        )

    async def _put(self, question: Question, time: int, on_abandoned: Callable[[], object]) -> Any:
        assert self._handler is not None
        if self._is_async:
            return await self._handler(question)
        outcome = await self._put_in_thread(self._handler, question, time, on_abandoned)
        if outcome.kind != RETURNED:
            raise outcome.value
        # A plain function that gives an awaitable (`lambda question: send(question)`): the answer comes from that.
        return await outcome.value if inspect.isawaitable(outcome.value) else outcome.value

    async def _put_in_thread(
        self, handler: Callable[[Question], Any], question: Question, time: int, on_abandoned: Callable[[], object]
    ) -> Outcome:
        async with self._places:
            if self._threads is None:
                self._threads = Threads(lambda: self._call_soon(self._take_back))
            key = question.number, time
            answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self._waiting[key] = answered
            try:
                self._threads.submit(Call(*key, handler, (question,), {}, copy_context(), is_generator=False))
                return await answered
            except BaseException:
                if self._waiting.pop(key, None) is None:
                    # It was back at the same moment.
                    _discard(answered.result())
                elif self._threads.has(key):
                    on_abandoned()
                raise

    def _take_back(self) -> None:
        assert self._threads is not None
        for outcome in self._threads.take_back():
            key = outcome.node, outcome.attempt
            answered = self._waiting.get(key)
            if answered is None or answered.done():
                # Nobody waits any more, or is about to find out that it was cancelled.
                _discard(outcome)
            else:
                del self._waiting[key]
                answered.set_result(outcome)

    def close(self) -> None:
        """
        Let the threads end; nobody waits for one that is still with the handler.
        """
        if self._threads is not None:
            self._threads.close()


def _discard(outcome: Outcome) -> None:
    if isinstance(outcome.value, CoroutineType):
        # Nobody will await it.
        outcome.value.close()


def _for_people(text: str) -> str:
    """
    Make a text, which a model may have written, safe to show where somebody decides by it.
    """
    return "\n".join("\t".join(printable(cell, None) for cell in line.split("\t")) for line in text.split("\n"))


# ---------------------------------------------------------------------- what counts as an answer


class _Unreadable(Exception):  # noqa: N818  # never leaves this file
    """
    Say that an answer does not fit, or that a type is none that can be asked for.
    """


class _Reader(NamedTuple):
    """
    How the answers to one type of question are read.
    """

    # What an answer is, to go on after "is not".
    title: str
    # Returns the answer in the type that was asked for, or raises _Unreadable. Any: whatever the handler gave.
    read: Callable[[Any], Any]
    choices: tuple[Any, ...] | None = None


# What a question of one of these types is called where it is kept.
_NAMES: Final[dict[type, str]] = {bool: "bool", str: "str", int: "int", float: "float"}


def describe_question(question: Question) -> dict[str, Any]:  # Any: plain data
    """
    Return what has to be kept of a question for somebody to answer it another day.
    """
    kind = _NAMES.get(question.type) if isinstance(question.type, type) else None
    choices = None if kind is not None else _texts_of(question.choices or ())
    return {"text": question.text, "kind": kind or "choice", "choices": choices}


def _texts_of(choices: Sequence[Any]) -> list[str]:
    return [choice.name if isinstance(choice, Enum) else str(choice) for choice in choices]


def question_of(run_id: str, node: str, number: int, described: Any) -> Question:  # Any: what was kept
    """
    Make a question of what was kept of it; members of an Enum are its choices as texts.

    Raises:
        ValueError: that is no question.
    """
    match described:
        case {"text": str(text), "kind": "choice", "choices": [*choices]} if all(isinstance(c, str) for c in choices):
            return Question(run_id, node, _for_people(text), tuple(choices), number)
        case {"text": str(text), "kind": str(name)} if name in _NAMES.values():
            kind = next(kind for kind, known in _NAMES.items() if known == name)
            return Question(run_id, node, _for_people(text), kind, number)
        case _:
            raise ValueError(f"{shown(described)} is no question")


def plain_answer(kind: Any, answer: Any) -> bool | int | float | str:  # Any: a type, and an answer of it
    """
    Return an answer as plain data: of choices, its text.
    """
    if isinstance(kind, type) and kind in _NAMES:
        return answer  # type: ignore[no-any-return]
    return _texts_of([answer])[0]


def read_answer(kind: Any, given: Any) -> Any:  # Any: a type, whatever was given, and an answer of the type
    """
    Return what was given as an answer of the type *kind*.

    Raises:
        ValueError: it does not fit; the message says what would.
    """
    reader = _reader_of(tuple(kind) if isinstance(kind, list) else kind)
    try:
        return reader.read(given)
    except _Unreadable:
        raise ValueError(f"{shown(given)} is not {reader.title}") from None


def problem_of(kind: Any) -> str | None:  # Any: whatever is said to be a type
    """
    Say why answers of the type *kind* cannot be asked for; None if they can.
    """
    try:
        _reader_of(tuple(kind) if isinstance(kind, list) else kind)
    except _Unreadable as why:
        return str(why)
    return None


def _reader_of(kind: Any) -> _Reader:  # Any: whatever the node has said
    if isinstance(kind, type):
        if kind in _READERS:
            return _READERS[kind]
        if issubclass(kind, Enum):
            return _reader_of_enum(kind)
    elif get_origin(kind) is Literal:
        return _reader_of_choices(get_args(kind))
    elif isinstance(kind, Sequence) and not isinstance(kind, (str, bytes)):
        return _reader_of_choices(tuple(kind))
    raise _Unreadable("use bool, str, int, float, an Enum, a Literal, or a list of choices")


def _reader_of_choices(choices: tuple[Any, ...]) -> _Reader:
    if not choices:
        raise _Unreadable("there is nothing to choose from")
    for choice in choices:
        if choice is not None and not isinstance(choice, (str, int, float, Enum)):
            raise _Unreadable(f"{shown(choice)} cannot be chosen: use texts, numbers, members of an Enum, None")
    texts = _texts_of(choices)
    first: dict[str, Any] = {}
    for choice, text in zip(choices, texts, strict=True):
        other = first.setdefault(text, choice)
        # A person sees texts, and of an answer that waits in a store its text is kept.
        if type(other) is not type(choice) or other != choice:
            raise _Unreadable(f"two choices read {text!r}: give each a text of its own")

    def read(given: Any) -> Any:
        for choice in choices:
            # 1 is not True.
            if given is choice or (type(given) is type(choice) and not isinstance(given, Enum) and given == choice):
                return choice
        return choices[_position(given, texts)]

    return _Reader(f"one of {named(texts, SHOWN_CHOICES)}", read, choices)


def _reader_of_enum(kind: type[Enum]) -> _Reader:
    members = list(kind.__members__.items())
    if not members:
        raise _Unreadable(f"{kind.__name__} has no members")

    def read(given: Any) -> Any:
        if isinstance(given, kind):
            return given
        for _, member in members:
            value = member.value
            if type(given) in (str, int, float, bool) and type(value) is type(given) and value == given:
                return member
        return members[_position(given, [name for name, _ in members])][1]

    return _Reader(f"one of {named([name for name, _ in members], SHOWN_CHOICES)}", read, tuple(kind))


def _position(given: object, texts: Sequence[str]) -> int:
    """
    Find the text that a person has typed, in capitals or not.
    """
    if isinstance(given, str):
        if given in texts:
            return texts.index(given)
        folded = given.strip().casefold()
        near = [position for position, text in enumerate(texts) if text.casefold() == folded]
        if len(near) == 1:
            return near[0]
    raise _Unreadable


def _read_bool(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = given.strip().casefold() if isinstance(given, str) else ""
    if word not in YES | NO:
        raise _Unreadable
    return word in YES


def _read_text(given: Any) -> str:
    if not isinstance(given, str):
        raise _Unreadable
    # Whatever a person has pasted can be written to a file.
    return given.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_int(given: Any) -> int:
    if isinstance(given, (int, str)) and not isinstance(given, bool):
        try:
            return int(given)
        except ValueError:
            raise _Unreadable from None
    raise _Unreadable


def _read_float(given: Any) -> float:
    if isinstance(given, (int, float, str)) and not isinstance(given, bool):
        try:
            number = float(given)
        except (ValueError, OverflowError):
            raise _Unreadable from None
        if math.isfinite(number):
            return number
    raise _Unreadable


_READERS: Final[dict[type, _Reader]] = {
    bool: _Reader("yes or no", _read_bool, (True, False)),
    str: _Reader("a text", _read_text),
    int: _Reader("a whole number", _read_int),
    float: _Reader("a number", _read_float),
}
