"""
Chunks of an OpenAI chat completion, as dicts or as objects of its client: text, and calls in pieces by their index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antichain.agents.plans.formats.calls import Calls, key_of, listed, part
from antichain.agents.plans.formats.step_form import Found

# In this file, Any is a chunk, or a part of one.


def is_chunk(item: Any) -> bool:
    """
    Tell a chunk, or a whole completion.
    """
    return isinstance(part(item, "choices"), (list, tuple))


def text_of(chunk: Any) -> str:
    """
    Return what the first answer says in *chunk*.
    """
    contents = [part(_said_in(choice), "content") for choice in _first_choices(chunk)]
    return "".join(content for content in contents if isinstance(content, str))


def calls_in(chunk: Any, calls: Calls) -> Iterator[Found]:
    """
    Give the calls that *chunk* makes complete.
    """
    for choice in _first_choices(chunk):
        for delta in listed(part(_said_in(choice), "tool_calls")):
            yield from take_delta(delta, calls)
            if calls.has_ended:
                return
        yield from calls.stop(part(choice, "finish_reason"))


def take_delta(delta: Any, calls: Calls) -> Iterator[Found]:
    """
    Take a piece of one call, and give the calls that it makes complete.
    """
    index, call_id, function = key_of(part(delta, "index")), part(delta, "id"), part(delta, "function")
    name = part(function, "name")
    call = calls.last if index is None else calls.get(index)
    # Some providers give every call the same index, or none: then a new id and name begin the next one.
    is_other = call is not None and call_id and name and call.call_id not in (None, call_id)
    if is_other or (call is None and (index is not None or call_id or name)):
        yield from calls.begin(object() if index is None else index, call_id, name)
        call = None if calls.has_ended else calls.last
    elif call is not None:
        call.name_it(call_id, name)
    if call is not None:
        yield from calls.add(call, part(function, "arguments"))


def _first_choices(chunk: Any) -> list[Any]:
    # Other choices are other plans.
    return [choice for choice in listed(part(chunk, "choices")) if part(choice, "index") in (0, None)]


def _said_in(choice: Any) -> Any:
    # The message, if it was not streamed.
    delta = part(choice, "delta")
    return part(choice, "message") if delta is None else delta
