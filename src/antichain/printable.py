"""
How foreign text is shown: ids, names and messages that come from users' code or from the world.
"""

import unicodedata
from typing import Final

SHOWN_CHARACTERS: Final = 200


def printable(text: str, limit: int | None = SHOWN_CHARACTERS) -> str:
    """
    Keep foreign text from driving the terminal or starting a new line: control, format and surrogate characters are
    shown as escapes; what is longer than *limit* is cut.
    """
    if not text.isprintable():
        text = "".join(
            character if not unicodedata.category(character).startswith(("C", "Zl", "Zp")) else ascii(character)[1:-1]
            for character in text
        )
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
