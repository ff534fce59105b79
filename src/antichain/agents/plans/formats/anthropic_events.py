"""
Events of an Anthropic message, as dicts or as objects of its client: blocks of text and of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from antichain.agents.plans.formats.calls import Calls, key_of, part
from antichain.agents.plans.formats.step_form import Found

EVENTS: Final = frozenset(
    {
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "error",
        "message_delta",
        "message_start",
        "message_stop",
        "ping",
    }
)

# In this file, Any is an event, or a part of one.


def is_event(item: Any) -> bool:
    """
    Tell an event; those that the client makes of others are none.
    """
    kind = part(item, "type")
    return isinstance(kind, str) and kind in EVENTS


def text_of(event: Any) -> str:
    """
    Return what the message says in *event*.
    """
    delta = part(event, "delta") if part(event, "type") == "content_block_delta" else None
    text = part(delta, "text") if part(delta, "type") == "text_delta" else None
    return text if isinstance(text, str) else ""


def calls_in(event: Any, calls: Calls) -> Iterator[Found]:
    """
    Give the call that *event* makes complete.
    """
    key = key_of(part(event, "index"))
    call = calls.get(key)
    match part(event, "type"):
        case "content_block_start":
            yield from _begin(key, part(event, "content_block"), calls)
        case "content_block_delta" if call is not None:
            delta = part(event, "delta")
            if part(delta, "type") == "input_json_delta":
                yield from calls.add(call, part(delta, "partial_json"))
        case "content_block_stop" if call is not None:
            yield from calls.end(call)
        case "message_delta":
            yield from calls.stop(part(part(event, "delta"), "stop_reason"))
        case "error":
            # OpenAI has an event of this name too, with the message in it.
            yield from calls.fail(part(part(event, "error"), "message") or part(event, "message"))
        case _:
            # Text, thinking, usage: no part of a call.
            return


def _begin(key: object, block: Any, calls: Calls) -> Iterator[Found]:
    if part(block, "type") == "tool_use":
        yield from calls.begin(key, part(block, "id"), part(block, "name"))
        if not calls.has_ended and calls.last is not None:
            # Empty, unless nothing is streamed.
            yield from calls.add(calls.last, part(block, "input") or None)
