"""Every exception of the library, grouped by whose fault it is. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

__all__ = [
    "AntichainError",
    "BudgetSpent",
    "Fault",
    "GraphError",
    "InternalError",
    "NobodyAnswers",
    "NodeFailed",
    "NodeTimeout",
    "NotStorable",
    "OwnershipLost",
    "RunExists",
    "RunFailed",
    "RunOwned",
    "RunTimeout",
    "RunnerError",
    "StoreDamaged",
    "StoreError",
    "UnknownRun",
]

SHOWN_FAULTS = 20
SHOWN_CHARACTERS = 80
# Above this many names a search for the nearest one costs more than it helps.
SEARCHED_NAMES = 5_000


class AntichainError(Exception):
    """
    Be the base of every exception that the library itself raises.
    """


# -- the author's fault


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that is wrong with a graph or with a call: a stable *code* and a message for a person.
    """

    code: str
    message: str
    node: str | None = None
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


class GraphError(AntichainError, ValueError):
    """
    Say everything that is wrong with a graph, its policies or its inputs; nothing has run.
    """

    faults: tuple[Fault, ...]
    graph: str

    def __init__(self, faults: Fault | Iterable[Fault], graph: str = "graph") -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        self.graph = graph
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.faults) == 1:
            return str(self.faults[0])
        lines = [f"{len(self.faults)} faults in graph {self.graph!r}:"]
        lines += [f"  {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            lines.append(f"  … and {len(self.faults) - SHOWN_FAULTS} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.faults, self.graph), self.__dict__


# -- their code


class NodeFailed(AntichainError):  # noqa: N818  # public name
    """
    Stand for what a node raised that is not an Exception (SystemExit, a cancellation of its own, …).

    What was raised is the ``__cause__``.
    """

    def __init__(self, node: str, attempt: int, cause: BaseException | None = None) -> None:
        self.node = node
        self.attempt = attempt
        if cause is not None:
            self.__cause__ = cause
        raised = "something that is not an Exception" if cause is None else shown(cause)
        super().__init__(
            f"node {node!r} raised {raised} in attempt {attempt}. A node cannot end or cancel the program from inside:"
            " it failed, and the run goes on as for any failure. Raise an ordinary exception instead."
        )

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.node, self.attempt, self.__cause__), self.__dict__


class NodeTimeout(AntichainError, TimeoutError):  # noqa: N818  # public name
    """
    Say which clock of a node's timeout was over: ``.clock`` is "attempt", "total", "queue" or "idle", ``.limit`` its
    seconds, and ``.elapsed`` those that it counted; ``.attempt`` is the attempt's number, of "queue" that of the one
    that could not start.
    """

    def __init__(
        self,
        node: str,
        attempt: int,
        clock: Literal["attempt", "total", "queue", "idle"],
        limit: float,
        elapsed: float,
        last_sign: float | None = None,
        uses: Sequence[str] = (),
        paused: float | None = None,
    ) -> None:
        self.node = node
        self.attempt = attempt
        self.clock: Literal["attempt", "total", "queue", "idle"] = clock
        self.limit = limit
        self.elapsed = elapsed
        # Of "idle": seconds from the start of the attempt to its last sign of life. Of "queue": the limits it needs.
        self.last_sign = last_sign
        self.uses = tuple(uses)
        # Of "queue": seconds for which one of these limits is still paused.
        self.paused = paused
        super().__init__(self._text())

    def _text(self) -> str:
        attempt, name, limit, elapsed = self.attempt, self.node, f"{self.limit:g} s", f"{self.elapsed:.3g} s"
        match self.clock:
            case "attempt":
                what = f"attempt {attempt} of node {name!r} was stopped after {elapsed}"
                return f"{what}: its timeout is {limit} per attempt. Raise Timeout(attempt=…), or make it faster."
            case "idle":
                since = "since it started" if not self.last_sign else f"since {self.last_sign:.3g} s after its start"
                return (
                    f"attempt {attempt} of node {name!r} was stopped after {elapsed} without a sign of life: its idle"
                    f" timeout is {limit}, and {since} it has given no chunk and called neither ctx.emit nor"
                    " ctx.heartbeat. Raise Timeout(idle=…), or let it call ctx.heartbeat() while it works."
                )
            case "queue":
                where = f"limit {named(self.uses)}" if self.uses else "max_concurrent="
                way_out = f"or give {where} more room"
                if self.paused is not None:
                    way_out = f"or wait: {where} is paused for another {amount(self.paused)} s, as its provider asked"
                return (
                    f"node {name!r} waited {elapsed} and could not start attempt {attempt}: its queue timeout is"
                    f" {limit}. Raise Timeout(queue=…), {way_out}."
                )
            case "total":
                what = f"node {name!r} was stopped in attempt {attempt}, {elapsed} after its first one began"
                return f"{what}: its timeout is {limit} for all attempts and pauses. Raise Timeout(total=…)."

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        given = (self.node, self.attempt, self.clock, self.limit, self.elapsed, self.last_sign, self.uses, self.paused)
        return type(self), given, self.__dict__


class RunFailed(ExceptionGroup[Exception]):
    """
    Group the exceptions of the nodes that failed; ``.result`` keeps everything that completed, and of `map` and
    `gather` ``.outcomes`` what became of each item.
    """

    result: Any  # Any: a RunResult, which lives further down the road
    outcomes: Sequence[Any] = ()  # Any: an Outcome, likewise

    def __new__(cls, message: str, exceptions: Sequence[Exception], result: Any = None) -> Self:
        """
        Make the group with its result: a group is complete once it is made.
        """
        self = super().__new__(cls, message, exceptions)
        self.result = result
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], result: Any = None) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> RunFailed:  # type: ignore[override]
        """
        Make a part for split(), subgroup() and except*, which keeps the result.
        """
        part = RunFailed(self.message, excs, self.result)
        part.outcomes = self.outcomes
        return part


class RunTimeout(AntichainError, TimeoutError):  # noqa: N818  # public name
    """
    Say that the run passed its ``.deadline``, in seconds, and after how many it ended (``.elapsed``); ``.result`` keeps
    everything that completed, and of `map` and `gather` ``.outcomes`` what became of each item.
    """

    outcomes: Sequence[Any] = ()  # Any: as above

    def __init__(
        self, deadline: float, result: Any = None, unfinished: Sequence[str] = (), keeps_items: bool = True
    ) -> None:
        self.deadline = deadline
        self.result = result
        self.unfinished = tuple(unfinished)
        self.keeps_items = keeps_items
        text, kept = f"the run did not end within its deadline of {deadline:g} s", "What completed is in .result"
        if not keeps_items:
            kept = "What became of each item is in .outcomes"
        elif self.unfinished:
            text += f": {named(self.unfinished)} had not ended"
        super().__init__(f"{text}. {kept}; raise deadline= to allow more time.")

    @property
    def elapsed(self) -> float:
        """
        Seconds that the run took.
        """
        return float(getattr(self.result, "makespan", self.deadline))

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.deadline, self.result, self.unfinished, self.keeps_items), self.__dict__


class BudgetSpent(AntichainError):  # noqa: N818  # public name
    """
    Say that the run stopped because a budget is used up: ``.unit``, ``.used`` and ``.limit`` tell which; ``.result``
    keeps everything that completed, and of `map` and `gather` ``.outcomes`` what became of each item.
    """

    outcomes: Sequence[Any] = ()  # Any: as above

    def __init__(
        self,
        unit: str,
        used: float,
        limit: float,
        result: Any = None,
        unfinished: Sequence[str] = (),
        is_kept: bool = False,  # the protocol of pickle wants it in its place
        failed: Sequence[str] = (),
        keeps_items: bool = True,
    ) -> None:
        self.unit = unit
        self.used = used
        self.limit = limit
        self.result = result
        self.unfinished = tuple(unfinished)
        self.is_kept = is_kept
        self.failed = tuple(failed)
        self.keeps_items = keeps_items
        text = f"the budget is used up: {amount(used)} {unit} of {amount(limit)}"
        if not keeps_items:
            way_on = "only a graph.map(…) in a Graph, run with store=, can go on from there"
            super().__init__(f"{text}. What became of each item is in .outcomes; {way_on}.")
            return
        if self.unfinished:
            text += f"; {named(self.unfinished)} had not run to the end"
        if self.failed:
            text += f"; {named(self.failed)} had failed"
        if is_kept:
            run_id = getattr(result, "run_id", "…")
            way_on = f"go on with resume({run_id!r}, budget=Budget({unit}=…)), where earlier use counts too"
        else:
            way_on = "a run with store= can go on from there"
        super().__init__(f"{text}. What completed is in .result; {way_on}.")

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        given = (self.unit, self.used, self.limit, self.result, self.unfinished, self.is_kept)
        return type(self), (*given, self.failed, self.keeps_items), self.__dict__


# -- the world, and us


class RunnerError(AntichainError):
    """
    Say that the world under a run gave way: no thread is left, a worker died.
    """


class NotStorable(AntichainError, TypeError):  # noqa: N818  # public name
    """
    Say that a value cannot be kept in a store; ``.path`` is where in it, ``.problem`` is why.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path or 'the value'} cannot be stored: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.path, self.problem), self.__dict__


class StoreError(AntichainError):
    """
    Say that a store cannot do what it was asked to; what it had acknowledged before is still there.
    """


class RunExists(StoreError):  # noqa: N818  # public name
    """
    Say that a store has a run of that id: resume it, or choose another id.
    """


class UnknownRun(StoreError):  # noqa: N818  # public name
    """
    Say that a store has no run of that id.
    """


class RunOwned(StoreError):  # noqa: N818  # public name
    """
    Say that a run is held by somebody who is alive.
    """


class OwnershipLost(StoreError):  # noqa: N818  # public name
    """
    Say that somebody has taken a run over: whoever had it can add nothing to it any more.
    """


class StoreDamaged(StoreError):  # noqa: N818  # public name
    """
    Say that what is in a store cannot be trusted: it is damaged, or was not written by this library.
    """


class NobodyAnswers(AntichainError):  # noqa: N818  # public name
    """
    Say that a question of a node has no answer: the run has nobody who answers, or no answer fits.

    ``.question`` is the Question.
    """

    def __init__(self, message: str, question: Any = None) -> None:  # Any: a Question, further down the road
        self.question = question
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (str(self), self.question), self.__dict__


class InternalError(AntichainError):
    """
    Say that the library broke one of its own laws; ``.story`` holds the last events, for the bug report.
    """

    def __init__(self, message: str, story: Iterable[object] = ()) -> None:
        self.story = tuple(story)
        lines = [f"{message}. This is a fault of antichain, not of your graph: please report it with these lines."]
        lines += [f"  {event}" for event in self.story]
        super().__init__("\n".join(lines))
        self._message = message

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self._message, self.story), self.__dict__


# -- words for messages


def note(error: BaseException, text: str) -> None:
    """
    Add a note to an exception of anybody's, also to one that refuses attributes (a frozen dataclass).
    """
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001  # foreign code; what it refuses is set past it
        BaseException.__setattr__(error, "__notes__", [*getattr(error, "__notes__", ()), text])


def shed(error: BaseException | None) -> None:
    """
    Drop the tracebacks of an error that has been dealt with, and of those behind it: their frames keep alive all that
    a body had in its hands.
    """
    left = [error]
    for each in left:  # grows while it is read
        if each is not None and each.__traceback__ is not None:
            # Not by the attribute, which a frozen dataclass refuses.
            each.with_traceback(None)
            left += [each.__cause__, each.__context__, *(each.exceptions if isinstance(each, ExceptionGroup) else ())]


def shown(value: object) -> str:
    """
    Show *value* in a message: its repr, cut to one short line, whatever the repr does.
    """
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # a repr is foreign code, and here only a help
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def amount(value: float) -> str:
    """
    Show a number of something: whole ones whole, with thousands apart, others with as many digits as tell.
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def named(names: Sequence[str], limit: int = 5) -> str:
    """
    List *names* in a sentence: the first few, and how many more there are.
    """
    text = ", ".join(repr(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def suggestion(name: str, known: Iterable[str]) -> str:
    """
    Make the sentence that names what *name* was probably meant to be, or an empty text.
    """
    import difflib  # only wrong graphs need it

    candidates = [known_name for known_name, _ in zip(known, range(SEARCHED_NAMES), strict=False)]
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not near:
        folded = name.casefold().replace("-", "_")
        near = [candidate for candidate in candidates if candidate.casefold().replace("-", "_") == folded][:1]
    return f" Did you mean {near[0]!r}?" if near else ""
