"""
How a command ends: exit codes, one paragraph for everything that can go wrong, and signals.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn, TextIO

__all__ = [
    "BUDGET_SPENT",
    "CTRL_C",
    "NODE_FAILED",
    "PARTIAL",
    "PAUSED",
    "SUCCEEDED",
    "TERMINATED",
    "USAGE",
    "OutputLost",
    "Terminated",
    "complain",
    "emit",
    "flush",
    "guarded",
    "leave",
    "terminate",
]

SUCCEEDED: Final = 0
NODE_FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
PAUSED: Final = 4
# As `EX_TEMPFAIL` of sysexits.h: nothing is wrong, and it may go on later.
BUDGET_SPENT: Final = 75
CTRL_C: Final = 130
TERMINATED: Final = 143


class Terminated(BaseException):
    """
    Say that SIGTERM came, and that the nodes have cleaned up.
    """


class OutputLost(Exception):  # noqa: N818  # what happened, as the other exceptions say it
    """
    Say that the result could not be written.
    """


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """
    Answer SIGTERM wherever the command is.
    """
    raise Terminated


# `run` calls it once the nodes have cleaned up.
terminate.after_run = True  # type: ignore[attr-defined]


def guarded(work: Callable[[], int], debug: bool) -> int:
    """
    Do *work* and turn everything that can go wrong into one paragraph and an exit code.
    """
    from antichain.errors import AntichainError
    from antichain.loading import UsageError
    from antichain.views.text import error_text

    try:
        return work()
    except UsageError as error:
        return complain(str(error), error.__cause__, USAGE, debug)
    except KeyboardInterrupt as error:
        return complain("interrupted.", error, CTRL_C, debug)
    except Terminated as error:
        return complain("terminated.", error, TERMINATED, debug)
    except OutputLost as error:
        return complain(f"{error}.", error.__cause__, NODE_FAILED, debug)
    except AntichainError as error:
        return complain(str(error), error, NODE_FAILED, debug)
    except BaseException as error:  # noqa: BLE001  # the last door: said in a sentence, with --debug in full
        text = f"something broke that is not the graph's fault: {error_text(error)} (--debug shows it)"
        return complain(text, error, NODE_FAILED, debug)


def emit(text: str) -> None:
    """
    Write *text* and a line end to standard output, and see that they arrive.

    Raises:
        OutputLost: they did not; nobody reads any more, or the disk is full.
    """
    try:
        print(text)
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        why = "the output was closed before all of it was written"
        if not isinstance(error, BrokenPipeError):
            why = f"the output could not be written: {error}"
        raise OutputLost(why) from error


def complain(text: str, error: BaseException | None, code: int, debug: bool) -> int:
    """
    Print one paragraph on standard error, after the traceback if there is one to *debug*; return *code*.
    """
    from antichain.views.text import foreign

    with contextlib.suppress(OSError, ValueError):  # nobody reads any more
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        if debug and error is not None:
            import traceback

            print(foreign("".join(traceback.format_exception(error))), file=sys.stderr)
        print(f"antichain: {foreign(text)}", file=sys.stderr, flush=True)
    return code


def flush(stream: TextIO) -> bool:
    """
    Write what is left in the buffer of *stream*, and say whether it arrived.

    When Python ends it would be too late: it would fail once more, with a traceback and an exit code of its own.
    """
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # a stream without a file, in a test
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return False
    return True


def leave(code: int) -> None:
    """
    End after a signal even if a node has left a thread that Python would wait for.
    """
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if not left or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = ", ".join(thread.name for thread in left)
    complain(f"left behind: {names}; a thread cannot be ended, only the process can.", None, code, False)
    os._exit(code)
