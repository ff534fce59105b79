"""
The command line: parse, call run, print a view, exit code. Nothing here decides what runs.

Reading order: `application` (the commands, their options and their help; only there is typer known), `given` (what was
typed), `running`, `planning`, `endings` (how a command ends), `completion` (what Tab shows).
`antichain --help` needs no engine: that is imported once there is a file to look at.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper

from antichain.cli.endings import CTRL_C, NODE_FAILED, TERMINATED, Terminated, flush, leave, terminate

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit code.
    """
    _mend_streams()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    try:
        from antichain.cli.application import call

        code = call(arguments)
    except KeyboardInterrupt:
        # Before there was anything to tell about, or the second one.
        code = CTRL_C
    except Terminated:
        code = TERMINATED
    if code in (CTRL_C, TERMINATED):
        if arguments is None and threading.current_thread() is threading.main_thread():
            # We are the program, and on our way out: one more signal would only change the exit code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        leave(code)
    has_arrived = flush(sys.stdout)
    # Nobody is told that nobody could be told.
    flush(sys.stderr)
    return code if has_arrived else code or NODE_FAILED


def _mend_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # It was closed before we began (`>&-`).
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open until the end
        elif isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets an escape, not a traceback.
            stream.reconfigure(errors="backslashreplace")
