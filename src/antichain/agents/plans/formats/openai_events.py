"""
Events of OpenAI's Responses API, as dicts or as objects of its client: items of text and of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antichain.agents.plans.formats.calls import Calls, key_of, part
from antichain.agents.plans.formats.step_form import Found

# In this file, Any is an event, or a part of one.


def is_event(item: Any) -> bool:
    """
    Tell an event.
    """
    kind = part(item, "type")
    return isinstance(kind, str) and kind.startswith("response.")


def text_of(event: Any) -> str:
    """
    Return what the response says in *event*.
    """
    text = part(event, "delta") if part(event, "type") == "response.output_text.delta" else None
    return text if isinstance(text, str) else ""


def calls_in(event: Any, calls: Calls) -> Iterator[Found]:
    """
    Give the call that *event* makes complete.
    """
    key = key_of(part(event, "output_index"))
    call = calls.get(key)
    match part(event, "type"):
        case "response.output_item.added":
            item = part(event, "item")
            if part(item, "type") == "function_call":
                yield from calls.begin(key, part(item, "call_id"), part(item, "name"))
        case "response.function_call_arguments.delta" if call is not None:
            yield from calls.add(call, part(event, "delta"))
        case "response.output_item.done" if call is not None:
            yield from calls.end(call)
        case "response.incomplete":
            reason = part(part(part(event, "response"), "incomplete_details"), "reason")
            yield from calls.stop(reason or "max_output_tokens")
        case "response.failed":
            yield from calls.fail(part(part(part(event, "response"), "error"), "message"))
        case _:
            # Text, reasoning, and what has been said in pieces before.
            return
