"""
How this command was called: the words that a line to paste begins with.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["called", "short"]


def called() -> str:
    """
    Return what to type for this command: `antichain` where the shell finds it, else its path.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py" and program.parent.name == "antichain":
        return f"{short(Path(sys.executable))} -m antichain"
    found = shutil.which("antichain")
    is_found = found is not None and program.exists() and os.path.samefile(found, program)
    # Another program may have called `main` (a test, a script of the user's).
    return "antichain" if is_found or not program.name.startswith("antichain") else short(program)


def short(path: Path) -> str:
    """
    Quote a path for the shell, from here if that does not lead upwards.
    """
    inside = os.path.relpath(path)
    return shlex.quote(inside if not inside.startswith("..") else str(path.absolute()))
