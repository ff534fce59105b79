"""
Calls as providers write them, and answers as providers want them: the one file that knows their shapes, found by form
and never by an import. What a model wrote is taken as it is; nothing here raises because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from antichain.agents.calls.texts import encodable
from antichain.errors import Fault, GraphError, shown

__all__ = ["ReadCall", "Shape", "ToolCall", "answer", "read_calls"]

Shape = Literal["openai", "anthropic", "responses"]

# Ids and names that are longer are refused: they come back in every answer.
MAX_NAME: Final = 500
# What calls say they are, by provider and client library: OpenAI's chat (and what became of it), Anthropic's, OpenAI's
# Responses API, LangChain's, which takes messages of OpenAI's form.
SHAPES: Final[dict[str, Shape]] = {
    "function": "openai",
    "custom": "openai",
    "tool_use": "anthropic",
    "function_call": "responses",
    "tool_call": "openai",
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """
    One call that a model asks for.

    Example:
        >>> antichain.ToolCall("call_1", "search", '{"query": "tides"}').name
        'search'
    """

    id: str
    name: str
    # As the model wrote them, JSON text or a mapping; where a call has been checked, a mapping.
    arguments: Any = None
    # Whose form the answer takes: OpenAI's chat or Responses API, or Anthropic's.
    shape: Shape = "openai"


class ReadCall(NamedTuple):
    """
    A call, and what is wrong with its form, if anything is: then its tool is not looked for.
    """

    call: ToolCall
    fault: str | None = None


def read_calls(given: object) -> list[ReadCall]:
    """
    Read every call in *given*: a list of calls or of content blocks, a single call, or a whole message that has some.

    Ids are those that the answers must bear; a call without one gets an invented one, and is at fault.

    Raises:
        GraphError: *given* is nothing that could hold calls.
    """
    found = [item for item in _items(given) if not _is_other(item)]
    shapes: list[Shape] = [shape for item in found if (shape := _shape_of(item)) is not None]
    # What has no form is answered in that of the others.
    shapes.append("openai")
    taken: set[str] = set()
    calls = []
    for position, item in enumerate(found, 1):
        read = _read(item, shapes[0], position)
        if read.fault is None and read.call.id in taken:
            fault = f"its id {shown(read.call.id)} is that of an earlier call, so their answers could not be told apart"
            read = ReadCall(read.call, fault)
        taken.add(read.call.id)
        calls.append(read)
    return calls


def answer(call: ToolCall, text: str, *, is_error: bool) -> dict[str, Any]:
    """
    Make the message, or the block of one, that answers *call* with *text*.
    """
    match call.shape:
        case "openai":
            return {"role": "tool", "tool_call_id": call.id, "content": text}
        case "anthropic":
            return {"type": "tool_result", "tool_use_id": call.id, "content": text, "is_error": is_error}
        case "responses":
            return {"type": "function_call_output", "call_id": call.id, "output": text}


# -- what was given


def _items(given: object) -> list[Any]:  # Any: whatever the caller handed in
    if given is None:
        return []
    if isinstance(given, ToolCall) or _shape_of(given) is not None:
        return [given]
    # A whole message: the calls are one of its fields.
    held = [_get(given, name) for name in ("tool_calls", "content", "output")]
    lists = [each for each in held if isinstance(each, (list, tuple))]
    if lists or _get(given, "role") is not None:
        return list(next(filter(None, lists), ()))
    # Models of pydantic are iterable too, by their fields.
    if (
        isinstance(given, Iterable)
        and not isinstance(given, (str, bytes, Mapping))
        and not hasattr(given, "model_dump")
    ):
        return list(given)
    why = "use message.tool_calls, message.content, a list of calls, or the message itself"
    raise GraphError(Fault("bad-calls", f"run_tool_calls was given {shown(given)}: {why}."))


def _get(item: object, name: str) -> Any:  # Any: what a provider's object holds there
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _is_other(item: object) -> bool:
    """
    Tell whether a block of a message is something else: text, what the model thought, what the provider did itself.
    """
    return isinstance(_get(item, "type"), str) and _shape_of(item) is None


def _shape_of(item: object) -> Shape | None:
    """
    Tell whose form a call has, if it is one.
    """
    if isinstance(item, ToolCall):
        return item.shape
    kind = _get(item, "type")
    if isinstance(kind, str) and kind in SHAPES:
        return SHAPES[kind]
    return "openai" if _get(item, "function") is not None else None


def _read(item: object, default: Shape, position: int) -> ReadCall:
    shape = _shape_of(item) or default
    body = _get(item, "function")
    id_ = _get(item, "id")
    fault = None
    if isinstance(item, ToolCall):
        name, arguments = item.name, item.arguments
    elif shape == "anthropic":
        name, arguments = _get(item, "name"), _get(item, "input")
    elif shape == "responses":
        name, arguments, id_ = _get(item, "name"), _get(item, "arguments"), _get(item, "call_id")
    elif body is not None:
        name, arguments = _get(body, "name"), _get(body, "arguments")
    elif _get(item, "type") == "tool_call":
        name, arguments = _get(item, "name"), _get(item, "args")
    elif _get(item, "custom") is not None:
        name, arguments = _get(_get(item, "custom"), "name"), None
        fault = "it is a custom tool call, which has no arguments but free text"
    else:
        name, arguments = None, None
        fault = f"{shown(item)} has none of the forms of a call"
    known, fault_of_id = _as_name("id", id_)
    asked, fault_of_name = _as_name("name", name)
    call = ToolCall(known or f"call_{position}", asked, arguments, shape)
    return ReadCall(call, fault or fault_of_id or fault_of_name)


def _as_name(what: str, given: object) -> tuple[str, str | None]:
    """
    Read an id or a name; what cannot be one is an empty text, and a fault.
    """
    if given is None:
        return "", f"it has no {what}"
    if not isinstance(given, str):
        return "", f"its {what} is {shown(given)}, which is no text"
    if not given or len(given) > MAX_NAME:
        return "", f"its {what} has {len(given):,} characters, and must have 1 to {MAX_NAME}"
    if encodable(given) != given:
        return "", f"its {what} {shown(encodable(given))} has characters that cannot be sent"
    return given, None
