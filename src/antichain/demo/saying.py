"""
How the demo speaks: lines that fit, styles where somebody sees them, and one sentence when something is wrong.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from antichain.printable import printable

__all__ = ["LABEL", "SUCCEEDED", "complain", "labelled", "say", "styled", "width", "wrapped"]

SUCCEEDED, FAILED = 0, 1
NARROWEST: Final = 40
WIDEST: Final = 120
# Columns of the names before figures.
LABEL: Final = 8


def width() -> int:
    """
    Return how many columns a line may have.
    """
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))


def labelled(name: str, lines: Sequence[str]) -> list[str]:
    """
    Put a name before the first of some lines, and room before the others.
    """
    label = styled("1", f"{name:>{LABEL - 2}}") if name else " " * (LABEL - 2)
    return [f"{' ' * (LABEL - 2) if number else label}  {line}" for number, line in enumerate(lines)]


def wrapped(text: str, columns: int, indent: str = "", most: int | None = None) -> list[str]:
    """
    Break foreign text into lines.
    """
    return textwrap.wrap(
        printable(" ".join(text.split()), None),
        columns,
        initial_indent=indent,
        subsequent_indent=indent,
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
    )


def styled(code: str, text: str) -> str:
    """
    Style text where it is seen on a terminal that wants styles.
    """
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return f"\x1b[{code}m{text}\x1b[0m"
    return text


def say(text: str) -> int:
    """
    Print, and return the exit code of the command.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever read it has gone. What is left in the buffer must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return complain("the output was closed before all of it was written.", FAILED)
    return SUCCEEDED


def complain(text: str, code: int) -> int:
    """
    Say on standard error what is wrong, and return *code*.
    """
    lines = [printable(line, None) for line in f"antichain: {text}".split("\n")]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return code
