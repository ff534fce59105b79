"""
What is answered if no script says so: sentences of the prompt, so that a summary looks like one; the tools that it
names; JSON as asked for; vectors in which texts with the same words lie close together.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from antichain.testing.provider import tokens
from antichain.testing.provider.checks import Chat, Tool
from antichain.testing.provider.filling import Filler
from antichain.testing.provider.script import Reply, ToolCall

__all__ = ["default_reply", "embed", "summary"]

SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
WORD: Final = re.compile(r"\w{4,}")
SUMMARY: Final = 2
LONGEST_SENTENCE: Final = 300


def default_reply(chat: Chat, choice: int, chance: Callable[[object], float]) -> Reply:
    """
    Answer *chat*; other choices say other sentences.
    """
    called = tools_to_call(chat)
    if called:
        return Reply(tool_calls=[call_of(tool, chat, chance) for tool in called])
    if chat.format == "json_schema":
        filler = Filler(chat.schema, said_in(material(chat)), lambda what: chance(f"{choice} {what}"))
        return Reply(json.dumps(filler.fill(), ensure_ascii=False))
    text = summary(material(chat), choice)
    return Reply(json.dumps({"answer": text}, ensure_ascii=False) if chat.format == "json_object" else text)


def material(chat: Chat) -> str:
    """
    Take what is to be answered: the last user message, and what tools have found since.
    """
    last = max((place for place, each in enumerate(chat.messages) if each["role"] == "user"), default=0)
    heard = [each for each in chat.messages[last:] if each["role"] != "assistant"]
    return "\n\n".join(tokens.text_of(each.get("content")) for each in heard) or chat.text


def summary(text: str, choice: int = 0) -> str:
    """
    Take the two sentences of the given text that have most words in common with what is asked about it.

    What is asked is the first paragraph, if there are several; all else is the given text.
    """
    question, _, given = text.strip().partition("\n\n")
    sentences = said_in(given)
    if not sentences:
        return (said_in(question) or ["Nothing was said."])[0]
    asked = set(WORD.findall(question.lower()))
    common = [len(asked.intersection(WORD.findall(each.lower()))) for each in sentences]
    best = sorted(range(len(sentences)), key=lambda place: -common[place])
    start = choice * SUMMARY % len(best)
    return " ".join(sentences[place] for place in sorted((best + best)[start : start + min(SUMMARY, len(best))]))


def said_in(text: str) -> list[str]:
    """
    Split *text* into its sentences.
    """
    sentences = [" ".join(each.split()) for each in SENTENCE.split(text)]
    return [each[:LONGEST_SENTENCE] for each in sentences if each]


def tools_to_call(chat: Chat) -> Sequence[Tool]:
    """
    Choose the tools that have to be called, or that the last message names if it is the user's.
    """
    if chat.tool_choice == "none":
        return ()
    if isinstance(chat.tool_choice, tuple):
        return [tool for tool in chat.tools if tool.name in chat.tool_choice]
    named: list[Tool] = []
    if chat.messages[-1]["role"] == "user":
        said = chat.prompt
        places = {tool.name: re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", said) for tool in chat.tools}
        found = [(place.start(), tool) for tool in chat.tools if (place := places[tool.name])]
        named = [tool for _, tool in sorted(found, key=lambda pair: pair[0])]
    if not named and chat.tool_choice == "required":
        named = [chat.tools[0]]
    return named if chat.is_parallel else named[:1]


def call_of(tool: Tool, chat: Chat, chance: Callable[[object], float]) -> ToolCall:
    """
    Call *tool* with arguments that its schema accepts.
    """
    filler = Filler(tool.parameters, said_in(chat.prompt), lambda what: chance(f"{tool.name} {what}"))
    return ToolCall(tool.name, filler.fill())


def embed(text: str, dimensions: int, seed: int) -> bytes:
    """
    Turn *text* into a vector of length 1: float32, little endian.
    """
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        place, sign = direction(word, seed)
        vector[place % dimensions] += sign
        vector[place // dimensions % dimensions] += sign / 2
    if not any(vector):
        vector[0] = 1.0
    length = math.hypot(*vector)
    return struct.pack(f"<{dimensions}f", *(each / length for each in vector))


@lru_cache(maxsize=50_000)
def direction(word: str, seed: int) -> tuple[int, float]:
    """
    Say where a word points.
    """
    digest = blake2b(f"{seed} {word}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest[:7]), 1.0 if digest[7] % 2 else -1.0
