"""
What may stand between a tool's result and the model: size, forbidden patterns, whatever a program wants to look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from antichain.agents.calls.messages import ToolCall
from antichain.agents.calls.texts import size_of
from antichain.errors import Fault, GraphError, shown

__all__ = ["Sanitize", "Sanitizer"]

# Returns the text that the model is to read, or None, or raises, to withhold it.
Sanitize: TypeAlias = Callable[[str, ToolCall], str | None]


@dataclass(frozen=True, slots=True)
class Sanitizer:
    """
    Look at every result before the model reads it: what is too large or forbidden is rejected, or with *replace*
    rewritten.

    *forbidden* are texts, found as they stand, and compiled patterns; *max_bytes* counts UTF-8. With *replace*, every
    forbidden part is replaced by it, and what is too large is cut and ends with it.

    Example:
        >>> import re
        >>> clean = antichain.Sanitizer(max_bytes=40, forbidden=[re.compile(r"sk-[a-z0-9]+")], replace="[hidden]")
        >>> clean("the key is sk-abc123, keep it", antichain.ToolCall("call_1", "read"))
        'the key is [hidden], keep it'

    Raises:
        GraphError: *max_bytes* is no positive number, a pattern is neither text nor pattern, or finds the empty text or
            *replace* itself.
    """

    max_bytes: int | None = None
    forbidden: Iterable[str | re.Pattern[str]] = ()
    replace: str | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and (type(self.max_bytes) is not int or self.max_bytes < 1):
            raise _bad(f"max_bytes={shown(self.max_bytes)}", "must be a whole number of bytes, at least 1")
        if self.replace is not None and not isinstance(self.replace, str):
            raise _bad(f"replace={shown(self.replace)}", "must be a text, or None to reject")
        if isinstance(self.forbidden, str):
            raise _bad(f"forbidden={shown(self.forbidden)}", "must be a list of texts and patterns")
        patterns = tuple(_pattern(each) for each in self.forbidden)
        for pattern in patterns:
            if pattern.search("") or (self.replace and pattern.search(self.replace)):
                raise _bad(f"forbidden={shown(pattern.pattern)}", "finds the empty text, or what replaces it")
        if self.replace and self.max_bytes is not None and size_of(self.replace) > self.max_bytes:
            raise _bad(f"replace={shown(self.replace)}", f"is longer than max_bytes={self.max_bytes}")
        object.__setattr__(self, "forbidden", patterns)

    def __call__(self, text: str, call: ToolCall) -> str:
        """
        Return what the model may read of *text*.

        Raises:
            ValueError: nothing of it; the reason is fit for the model.
        """
        for pattern in self.forbidden:
            assert isinstance(pattern, re.Pattern)
            if self.replace is not None:
                text = pattern.sub(lambda _, by=self.replace: by, text)  # type: ignore[misc]
        # Also what has only come to be because parts were replaced.
        if any(isinstance(pattern, re.Pattern) and pattern.search(text) for pattern in self.forbidden):
            raise ValueError("it holds what must not be passed on")
        if self.max_bytes is None or size_of(text) <= self.max_bytes:
            return text
        if self.replace is None:
            raise ValueError(f"it has {size_of(text):,} bytes, and at most {self.max_bytes:,} are passed on")
        room = self.max_bytes - size_of(self.replace)
        return text.encode()[:room].decode("utf-8", "ignore") + self.replace


def _pattern(given: object) -> re.Pattern[str]:
    if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
        return given
    if isinstance(given, str):
        return re.compile(re.escape(given))
    raise _bad(f"forbidden={shown(given)}", "must be a text or a compiled pattern of text")


def _bad(what: str, why: str) -> GraphError:
    return GraphError(Fault("bad-policy", f"Sanitizer({what}): {why}."))
