"""
Message chunks as LangChain's chat models stream them: text, and calls in pieces by their index. Known by shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antichain.agents.plans.formats.calls import Calls, listed, part
from antichain.agents.plans.formats.openai_chunks import take_delta
from antichain.agents.plans.formats.step_form import Found

# In this file, Any is a chunk, or a part of one.


def is_chunk(item: Any) -> bool:
    """
    Tell a message chunk.
    """
    return isinstance(part(item, "tool_call_chunks"), list)


def text_of(chunk: Any) -> str:
    """
    Return what the message says in *chunk*: a text, or blocks of which some are text.
    """
    content = part(chunk, "content")
    if isinstance(content, str):
        return content
    blocks = [block if isinstance(block, str) else part(block, "text") for block in listed(content)]
    return "".join(text for text in blocks if isinstance(text, str))


def calls_in(chunk: Any, calls: Calls) -> Iterator[Found]:
    """
    Give the calls that *chunk* makes complete.
    """
    for piece in part(chunk, "tool_call_chunks"):
        function = {"name": part(piece, "name"), "arguments": part(piece, "args")}
        yield from take_delta({"index": part(piece, "index"), "id": part(piece, "id"), "function": function}, calls)
        if calls.has_ended:
            return
    metadata = part(chunk, "response_metadata")
    yield from calls.stop(part(metadata, "finish_reason") or part(metadata, "stop_reason"))
