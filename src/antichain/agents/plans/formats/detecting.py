"""
Which form a text is written in, told from its first lines as they come.
"""

from __future__ import annotations

import re
from typing import Final, Literal

TextForm = Literal["json", "llmcompiler"]

_CALL: Final = re.compile(r"[ \t]*\d{1,9}[.)][ \t]*[A-Za-z_][\w.-]{0,100}\(")
# A line that is longer without a parenthesis is no call.
_LONGEST_HEAD: Final = 150


class FormDetector:
    """
    Take a text piece by piece, until it is known whether JSON or numbered calls come first.

    Each character is looked at once; ``held`` is all that came, for the reader that follows.
    """

    def __init__(self) -> None:
        self.held: list[str] = []
        self._opener = ""
        self._head = ""

    def feed(self, text: str) -> TextForm | None:
        """
        Return the form, as soon as it is known.
        """
        self.held.append(text)
        for character in text:
            if character == "\n":
                self._head = ""
                continue
            if len(self._head) < _LONGEST_HEAD:
                self._head += character
                if character == "(" and _CALL.fullmatch(self._head):
                    return "llmcompiler"
            if character.isspace():
                continue
            if (self._opener == "{" and character in "\"'") or (self._opener == "[" and character == "{"):
                return "json"
            self._opener = character
        return None
