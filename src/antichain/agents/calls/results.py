"""
What became of a call, as the program reads it and as the model does: codes, and errors in words that help to do it
better. Never a traceback, and nothing of unbounded size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from antichain.agents.calls.messages import ToolCall, answer
from antichain.agents.calls.texts import ArgumentsMalformed, Unserialisable, as_json, cut, encodable
from antichain.agents.tools.faults import ArgumentsInvalid
from antichain.errors import NodeFailed, NodeTimeout

if TYPE_CHECKING:
    from antichain.record import RunResult

__all__ = ["CODES", "Code", "ToolMessages", "ToolResult", "failure", "told"]

Code = Literal[
    "ok",
    "unknown_tool",
    "malformed_json",
    "invalid_arguments",
    "timeout",
    "crashed",
    "cancelled",
    "unserialisable_result",
    "rejected",
    "denied",
    "too_many_calls",
    "malformed_call",
]
CODES: Final[tuple[str, ...]] = Code.__args__  # type: ignore[attr-defined]

# Most of what a tool's own error may say to the model, and most names or faults that are listed.
MAX_MESSAGE: Final = 1_000
MAX_LISTED: Final = 50


@dataclass(frozen=True, slots=True)
class ToolResult:
    """
    What became of one call.

    Example:
        >>> ToolResult("call_1", "search", "ok", value=[1, 2], content="[1, 2]").ok
        True
    """

    # Of the call: its answer bears it.
    id: str
    # Of the tool that was asked for, whether there is one or not.
    name: str
    code: Code
    # What the tool returned, whatever the model is told of it; None if it did not.
    value: Any = None  # Any: the tool's own
    # What was raised, if anything was.
    error: BaseException | None = None
    # What the model is told, without the form of its provider.
    content: str = ""
    # The same in a provider's form: what stands in the list at the call's place.
    message: dict[str, Any] | None = None
    # The node that ran it, in `ToolMessages.result.nodes`; None if nothing ran.
    node: str | None = None

    @property
    def ok(self) -> bool:
        """
        Tell whether the tool returned, and the model is told what.
        """
        return self.code == "ok"


class ToolMessages(list[dict[str, Any]]):
    """
    The answers to all calls, in the order of the calls: a list that goes to the provider as it is.

    OpenAI's are messages of their own: `messages.extend(answers)`. Anthropic's are blocks of one message:
    `messages.append({"role": "user", "content": answers})`.
    """

    def __init__(self, results: Iterable[ToolResult] = (), result: RunResult | None = None) -> None:
        # One for each call, in the same order.
        self.results: list[ToolResult] = list(results)
        # The run in which the tools were called; None if that was a context's own.
        self.result = result
        super().__init__([each.message for each in self.results if each.message is not None])


def told(result: ToolResult, call: ToolCall) -> ToolResult:
    """
    Put what the model is told into the form of its provider.
    """
    return replace(result, message=answer(call, result.content, is_error=not result.ok))


def failure(
    call: ToolCall,
    code: Code,
    message: str,
    *,
    error: BaseException | None = None,
    node: str | None = None,
    **more: object,
) -> ToolResult:
    """
    Make the result of a call that gave nothing: what the model is told is JSON, `{"error": {"code", "message", …}}`.
    """
    fields = {"code": code, "message": cut(encodable(message), MAX_MESSAGE), "tool": call.name, **more}
    content = as_json({"error": {name: value for name, value in fields.items() if value is not None}})
    return ToolResult(call.id, call.name, code, None, error, content, None, node)


# -- failures, in words


def malformed_call(call: ToolCall, fault: str) -> ToolResult:
    """
    Answer what has not the form of a call.
    """
    return failure(call, "malformed_call", f"This call cannot be made: {fault}.")


def too_many(call: ToolCall, maximum: int) -> ToolResult:
    """
    Answer a call beyond the most that are made at once.
    """
    text = f"Only the first {maximum} calls of a message are made, and this one comes after them: make fewer at once."
    return failure(call, "too_many_calls", text, max_calls=maximum)


def unknown_tool(call: ToolCall, known: Sequence[str], nearest: str | None) -> ToolResult:
    """
    Answer a call of a tool that does not exist.
    """
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    names = ", ".join(known[:MAX_LISTED]) or "none"
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    text = f"There is no tool {cut(call.name, 100)!r}.{hint} Available tools: {names}{more}."
    return failure(call, "unknown_tool", text, nearest=nearest, available=list(known[:MAX_LISTED]))


def malformed_json(call: ToolCall, error: ArgumentsMalformed) -> ToolResult:
    """
    Answer a call whose arguments cannot be read.
    """
    near = encodable(error.near) if error.position is not None else None
    text = f"{error}. Send one JSON object with the arguments by name."
    return failure(call, "malformed_json", text, error=error, position=error.position, line=error.line, near=near)


def invalid_arguments(call: ToolCall, error: ArgumentsInvalid) -> ToolResult:
    """
    Answer a call whose arguments its tool does not take.
    """
    faults = [
        {"path": fault.path, "problem": fault.problem, "given": fault.given} for fault in error.faults[:MAX_LISTED]
    ]
    others = len(error.faults) - 1
    more = f" (and {others} more fault{'s' * (others > 1)})" if others else ""
    text = f"The tool {call.name!r} was not called: {next(iter(error.faults))}{more}."
    return failure(call, "invalid_arguments", text, error=error, faults=faults)


def denied(call: ToolCall, reason: str, error: BaseException | None, node: str | None) -> ToolResult:
    """
    Answer a call that somebody, or the tool's own condition, did not allow.
    """
    return failure(call, "denied", f"The tool {call.name!r} was not called: {reason}.", error=error, node=node)


def timed_out(call: ToolCall, error: BaseException, node: str, attempts: int) -> ToolResult:
    """
    Answer a call whose tool took too long.
    """
    late = innermost(error)
    took = f" within {late.limit:g} s" if isinstance(late, NodeTimeout) else ""
    text = f"The tool {call.name!r} did not finish{took}{_in(attempts)}."
    return failure(call, "timeout", text, error=error, node=node, attempts=attempts)


def stopped(call: ToolCall, node: str, deadline: float | None, *, has_started: bool) -> ToolResult:
    """
    Answer a call that had not ended when all calls were ended: at the *deadline*, or because somebody gave up.
    """
    when = "before it was called" if not has_started else "before it finished"
    if deadline is None:
        return failure(call, "cancelled", f"The tool {call.name!r} was cancelled {when}.", node=node)
    text = f"The time for all calls, {deadline:g} s, was over {when}."
    return failure(call, "timeout", text, node=node)


def crashed(call: ToolCall, error: BaseException, node: str, attempts: int, says: str) -> ToolResult:
    """
    Answer a call whose tool raised; the model is told that its error *says*.
    """
    kind = type(innermost(error)).__name__
    text = f"The tool {call.name!r} failed{_in(attempts)}: {kind}{': ' if says else ''}{says}"
    return failure(call, "crashed", text, error=error, node=node, type=cut(kind, 100), attempts=attempts)


def unserialisable(ended: ToolResult, call: ToolCall, error: Exception) -> ToolResult:
    """
    Answer a call whose tool returned what is no JSON.
    """
    is_ours = isinstance(error, Unserialisable)
    why = str(error) if is_ours else f"its own code raised {type(error).__name__}"
    path = (error.path or None) if isinstance(error, Unserialisable) else None
    text = f"The tool {call.name!r} returned what cannot be passed on: {why}."
    result = failure(call, "unserialisable_result", text, error=error, node=ended.node, path=path)
    return replace(result, value=ended.value)


def rejected(ended: ToolResult, call: ToolCall, reason: str, error: BaseException | None) -> ToolResult:
    """
    Answer a call whose result the model may not read.
    """
    text = f"The result of the tool {call.name!r} was withheld: {reason}."
    return replace(failure(call, "rejected", text, error=error, node=ended.node), value=ended.value)


def innermost(error: BaseException) -> BaseException:
    """
    Return what was raised in the first place: not a group around it, and not what stands for it.
    """
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = next(iter(error.exceptions))
        elif isinstance(error, NodeFailed) and error.__cause__ is not None:
            error = error.__cause__
        else:
            return error


def words_of(error: BaseException) -> str:
    """
    Return what an error says, if its own code lets it.
    """
    try:
        text = str(innermost(error))
    except Exception:  # noqa: BLE001  # foreign code, and here only a help
        return ""
    return encodable(text)


def _in(attempts: int) -> str:
    return f" in {attempts} attempts" if attempts > 1 else ""
