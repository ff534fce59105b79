"""
The JSON of OpenAI's API: replies as completions, as chunks of a stream, as vectors.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias

from antichain.testing.provider import tokens
from antichain.testing.provider.checks import Chat, Embedding
from antichain.testing.provider.script import Reply, ToolCall
from antichain.testing.provider.tokens import Usage

__all__ = ["CREATED", "Choice", "completion", "embeddings", "encode", "make_choice", "models", "stream_events"]

Json: TypeAlias = dict[str, Any]  # Any: JSON

# The same every time, so that the same question gets the same bytes.
CREATED: Final = 1_700_000_000
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Choice:
    """
    One reply as it is sent: cut where `stop` and `max_tokens` say, its text in tokens.
    """

    pieces: Sequence[str] | None
    refusal: Sequence[str] | None
    calls: Sequence[Json]
    finish_reason: str

    @property
    def cost(self) -> int:
        """
        Tokens of the reply.
        """
        called = [text for call in self.calls for text in call["function"].values()]
        return len(self.pieces or ()) + len(self.refusal or ()) + sum(map(tokens.count, called))

    @property
    def message(self) -> Json:
        """
        What an assistant's message says.
        """
        said: Json = {"role": "assistant", "content": joined(self.pieces), "refusal": joined(self.refusal)}
        if self.calls:
            said["tool_calls"] = list(self.calls)
        return said


def make_choice(reply: Reply, chat: Chat, key: str) -> Choice:
    """
    Cut *reply* to what *chat* allows; *key* makes the ids of its calls.
    """
    calls = [tool_call(call, f"call_{key}{number:02d}") for number, call in enumerate(reply.tool_calls)]
    reason = "tool_calls" if calls else "stop"
    text = reply.text
    if text is None and not calls and reply.refusal is None:
        text = ""
    pieces = None
    if text is not None:
        ends = [place for stop in chat.stop if (place := text.find(stop)) >= 0]
        pieces = tokens.split(text[: min(ends)] if ends else text)
        if chat.max_tokens is not None and len(pieces) > chat.max_tokens:
            pieces, reason = pieces[: chat.max_tokens], "length"
    refusal = None if reply.refusal is None else tokens.split(reply.refusal)
    return Choice(pieces, refusal, calls, reply.finish_reason or reason)


def tool_call(call: ToolCall, id_: str) -> Json:
    """
    Write a call as a message has it.
    """
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    return {"id": id_, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def joined(pieces: Sequence[str] | None) -> str | None:
    """
    Put a text together again.
    """
    return None if pieces is None else "".join(pieces)


def usage_json(usage: Usage) -> Json:
    """
    Write what a chat cost.
    """
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def head(kind: str, chat: Chat, key: str) -> Json:
    """
    Begin a completion, or a chunk of one.
    """
    return {
        "id": f"chatcmpl-{key}",
        "object": kind,
        "created": CREATED,
        "model": chat.model,
        "service_tier": "default",
        "system_fingerprint": "fp_antichain",
    }


def completion(chat: Chat, choices: Sequence[Choice], usage: Usage, key: str) -> Json:
    """
    Write a whole answer.
    """
    written = [
        {"index": number, "message": each.message, "logprobs": None, "finish_reason": each.finish_reason}
        for number, each in enumerate(choices)
    ]
    return {**head("chat.completion", chat, key), "choices": written, "usage": usage_json(usage)}


def deltas(choice: Choice) -> Iterator[tuple[Json, int]]:
    """
    Cut a choice into what the chunks of a stream say, each with the tokens that it brings.
    """
    yield {"role": "assistant", "content": None if choice.pieces is None else "", "refusal": None}, 0
    for piece in choice.pieces or ():
        yield {"content": piece}, 1
    for piece in choice.refusal or ():
        yield {"refusal": piece}, 1
    for index, call in enumerate(choice.calls):
        name = call["function"]["name"]
        yield (
            {"tool_calls": [{"index": index, **call, "function": {"name": name, "arguments": ""}}]},
            tokens.count(name),
        )
        for piece in tokens.split(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, 1


def stream_events(chat: Chat, choices: Sequence[Choice], usage: Usage, key: str) -> list[tuple[bytes, int]]:
    """
    Write a streamed answer: events, each with the tokens that it brings. The choices take turns.
    """
    first = head("chat.completion.chunk", chat, key)
    if chat.wants_usage:
        first["usage"] = None

    def event(number: int, delta: Json, finish_reason: str | None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return b"data: " + encode({**first, "choices": [choice]}) + b"\n\n"

    parts = [
        [(event(number, delta, None), cost) for delta, cost in deltas(each)] for number, each in enumerate(choices)
    ]
    events = [each for each in chain.from_iterable(zip_longest(*parts)) if each is not None]
    events += [(event(number, {}, each.finish_reason), 0) for number, each in enumerate(choices)]
    if chat.wants_usage:
        events.append((b"data: " + encode({**first, "choices": [], "usage": usage_json(usage)}) + b"\n\n", 0))
    return [*events, (DONE, 0)]


def embeddings(request: Embedding, vectors: Sequence[bytes]) -> Json:
    """
    Write vectors, each float32 in little endian, as numbers or in base64.
    """
    written: list[Any] = [
        base64.b64encode(each).decode() if request.is_base64 else struct.unpack(f"<{len(each) // 4}f", each)
        for each in vectors
    ]
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(written)]
    usage = {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


def models(names: Sequence[str]) -> Json:
    """
    List models.
    """
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> Json:
    """
    Describe one model.
    """
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "antichain"}


def encode(value: Mapping[str, Any]) -> bytes:  # Any: JSON
    """
    Write JSON. In ASCII: half a character in a prompt comes back as it came.
    """
    return json.dumps(value, separators=(",", ":")).encode("ascii")
