"""
Where one JSON object ends in a text that comes in pieces: each character is looked at once. What is in the object is
read by `values` when it is whole.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import quoted

_SPECIAL: Final = re.compile(r'["{}\[\],:]')
# All of a string up to its quote, a bare line end, or an escape that is cut.
_STRING: Final = re.compile(r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*', re.DOTALL)
_ID: Final = re.compile(r'\s*("(?:[^"\\]|\\.){0,200}"|-?\d{1,30}(?![\d.eE]))')
_CLOSES: Final = {"}": "{", "]": "["}

# What is known of the object: it goes on; it is whole; it cannot be JSON any more; its key "steps" opened a list.
State = Literal["open", "whole", "broken", "steps"]


class ObjectScan:
    """
    Find the end of one JSON value that begins with ``{``, and hold its text until then.

    ``state`` says how far it got, ``problem`` why it is broken. A value that is too long or too deep is known to be
    broken at once (``problem``), but goes on being scanned, without being held, so that what follows it can be read.
    """

    def __init__(self, bounds: ReadingBounds, *, may_wrap: bool = False) -> None:
        self.state: State = "open"
        self.problem: str | None = None
        self._bounds = bounds
        # Whether this may be an object around the list of steps.
        self._may_wrap = may_wrap
        self._pieces: list[str] = []
        self._size = 0
        self._is_held = True
        # Where in the whole text the piece that is being read would begin.
        self._offset = 0
        # Openers that are not closed; deeper ones than the bound are only counted.
        self._stack: list[str] = []
        self._deeper = 0
        # The last thing that has a meaning: a special character, "s" for a number or a word, "" at the beginning.
        self._last = ""
        self._in_string = False
        self._is_escaped = False
        # The key of the outermost object that is being read, or was read last.
        self._key: list[str] | None = None
        self._is_key = False
        self._id_at: int | None = None

    @property
    def text(self) -> str:
        """
        The text so far, unless it is too long.
        """
        return "".join(self._pieces)

    def step_id(self) -> str | None:
        """
        Return the JSON text of the object's id, if it was seen.
        """
        found = _ID.match(self.text, self._id_at) if self._id_at is not None else None
        return found.group(1) if found is not None else None

    def forget(self) -> None:
        """
        Go on without holding anything: the rest is not to be read.
        """
        self._pieces = []
        self._id_at = None
        self._is_held = False

    def resume_after_list(self) -> None:
        """
        Go on after the list of steps, which somebody else reads, up to the end of the object around it.
        """
        self.forget()
        self.state = "open"
        self._last = "]"

    def read(self, text: str, at: int) -> int:
        """
        Take *text* from *at* on; return where it was left. The rest is not part of this object.
        """
        begin = at
        self._offset = self._size - at
        while at < len(text) and self.state == "open":
            at = self._string(text, at) if self._in_string else self._structure(text, at)
        if self._is_held:
            self._hold(text[begin:at])
        return at

    # -- between strings

    def _structure(self, text: str, at: int) -> int:
        found = _SPECIAL.search(text, at)
        end = found.start() if found is not None else len(text)
        gap = text[at:end]
        if gap and not gap.isspace():
            if self._last in ('"', "}", "]"):
                return self._break(at, f"{quoted(gap.lstrip()[0])} stands where `,` or an end was expected")
            self._last = "s"
        if found is None:
            return end
        character = found.group()
        if character == '"':
            return self._open_string(end)
        if character in "{[":
            return self._open(character, end)
        if character in "}]":
            return self._close(character, end)
        if character == ":" and self._id_at is None and self._is_outer_key() and self._named('"id"'):
            self._id_at = self._offset + end + 1
        self._last = character
        return end + 1

    def _is_outer_key(self) -> bool:
        return self._last == '"' and self._is_key and len(self._stack) == 1

    def _named(self, key: str) -> bool:
        return self._key is not None and "".join(self._key) == key

    def _open_string(self, at: int) -> int:
        if self._last in ('"', "}", "]", "s"):
            return self._break(at, 'a quote stands where `,` or an end was expected; write quotes in texts as \\"')
        self._is_key = self._last in ("{", ",") and self._stack[-1] == "{"
        self._key = [] if self._is_key and len(self._stack) == 1 and not self._deeper else self._key
        self._in_string = True
        if self._is_key:
            self._note_key('"')
        return at + 1

    def _open(self, character: str, at: int) -> int:
        if self._stack and self._stack[-1] == "{" and self._last != ":" and not self._deeper:
            return self._break(at, f"`{character}` stands where a key or `}}` was expected; is a `}}` missing?")
        if self._last in ("}", "]", '"', "s"):
            return self._break(at, f"`{character}` stands where `,` or an end was expected")
        if character == "[" and self._may_wrap and len(self._stack) == 1 and self._named('"steps"'):
            self.state = "steps"
            return at + 1
        if len(self._stack) < self._bounds.depth:
            self._stack.append(character)
        else:
            self._deeper += 1
            self._refuse(f"it is nested deeper than {self._bounds.depth} levels")
        self._last = character
        return at + 1

    def _close(self, character: str, at: int) -> int:
        if self._deeper:
            self._deeper -= 1
        elif self._stack[-1] == _CLOSES[character]:
            self._stack.pop()
        else:
            return self._break(at, f"`{character}` closes what `{self._stack[-1]}` opened")
        self._last = character
        if not self._stack:
            self.state = "whole"
        return at + 1

    # -- in strings

    def _string(self, text: str, at: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            return at + 1
        found = _STRING.match(text, at)
        end = found.end() if found is not None else at
        if self._is_key:
            self._note_key(text[at : end + 1])
        if end == len(text):
            return end
        character = text[end]
        if character == "\n":
            return self._break(end, "a text is not closed in its line; write line ends in texts as \\n")
        if character == '"':
            self._in_string = False
            self._last = '"'
        else:
            self._is_escaped = True
        return end + 1

    def _note_key(self, piece: str) -> None:
        # Only short keys of the outermost object have a meaning here; none of those has an escape.
        if self._key is not None and len(self._stack) == 1 and len(self._key) < 50:
            self._key.append(piece[:50])

    # -- what is held

    def _hold(self, piece: str) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._bounds.step_characters:
            self._is_held = False
            self._refuse(f"it is longer than {self._bounds.step_characters:,} characters")

    def _refuse(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem

    def _break(self, at: int, problem: str) -> int:
        self.state = "broken"
        self._refuse(f"malformed JSON: {problem}")
        return at
