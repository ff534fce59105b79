"""
How tokens are counted. One rule for everything: usage, quotas, `max_tokens`, chunks of a stream.

A token is up to six letters or digits, or one other character, with the white space before it; white space at the end
of a text is one more. A message costs 4 and its text, name, tool call names and arguments; an image 85; a tool and a
JSON schema what their compact JSON costs; the whole prompt 3. A reply costs its text, or the names and arguments of its
tool calls. An embedding costs its text, or the tokens it was given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["NOTHING", "Usage", "count", "prompt_tokens", "split", "text_of"]

TOKEN: Final = re.compile(r"\s*(?:\w{1,6}|[^\w\s])|\s+")
PROMPT: Final = 3
MESSAGE: Final = 4
IMAGE: Final = 85


class Usage(NamedTuple):
    """
    Tokens of one call.
    """

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        """
        Both together.
        """
        return self.prompt + self.completion


NOTHING: Final = Usage()


def split(text: str) -> list[str]:
    """
    Cut *text* into its tokens; joined they are the text again.
    """
    return TOKEN.findall(text)


def count(text: str) -> int:
    """
    Count the tokens of *text*.
    """
    return len(split(text))


def text_of(content: object) -> str:
    """
    Take the text out of a message's content, which may be a list of parts.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    texts = [part.get("text") or part.get("refusal") for part in content if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def prompt_tokens(body: Mapping[str, Any]) -> int:  # Any: JSON
    """
    Count what the prompt of a chat costs.
    """
    described = [*(body.get("tools") or ())]
    if isinstance(response_format := body.get("response_format"), Mapping) and "json_schema" in response_format:
        described.append(response_format["json_schema"])
    costs = [count(json.dumps(each, separators=(",", ":"))) for each in described]
    return PROMPT + sum(costs) + sum(message_tokens(message) for message in body["messages"])


def message_tokens(message: Mapping[str, Any]) -> int:  # Any: JSON
    """
    Count what one message costs.
    """
    content = message.get("content")
    images = 0
    if isinstance(content, Sequence) and not isinstance(content, str):
        images = sum(1 for part in content if isinstance(part, Mapping) and part.get("type") == "image_url")
    calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
    texts = [text_of(content), message.get("name") or ""]
    texts += [text for call in calls for text in (call["name"], call["arguments"])]
    return MESSAGE + IMAGE * images + sum(map(count, texts))
