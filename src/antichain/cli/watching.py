"""
What looks on while a command runs a graph: the progress on standard error, and the trace for a file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antichain.loading import UsageError
from antichain.record import RunResult

__all__ = ["Problem", "Watch"]


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something that went wrong beside the run.
    """

    text: str
    error: BaseException


class Watch:
    """
    Show the progress of one run, and keep its trace.

    Raises:
        UsageError: there is no place for the trace; better known before the run than after it.
    """

    def __init__(self, shows_progress: bool, trace: str | None) -> None:
        self._progress: Any = None  # Any: whichever display suits where we are
        self._trace: Any = None  # Any: an EventTrace
        self._path = Path(trace) if trace is not None else None
        if self._path is not None:
            _check_place(self._path)
            from antichain.views.timeline import EventTrace

            self._trace = EventTrace()
        self._shows_progress = shows_progress

    def listeners(self) -> list[Callable[[Any], object]]:  # Any: an event
        """
        Return what is to be told of the events of the run.
        """
        found: list[Callable[[Any], object]] = [] if self._trace is None else [self._trace]
        if self._shows_progress:
            from antichain.views.progress import open_progress

            self._progress = open_progress()
            found.append(self._progress)
        return found

    def end(self, result: RunResult | None) -> Problem | None:
        """
        Close the display and write the trace, whatever the run came to; return what went wrong with that.
        """
        if self._progress is not None and result is not None:
            self._progress.conclude(result)
        if self._path is None:
            return None
        try:
            self._trace.write(self._path)
        except OSError as error:
            return Problem(f"--trace {str(self._path)!r} could not be written: {error.strerror or error}.", error)
        return None


def _check_place(path: Path) -> None:
    try:
        if path.is_dir():
            raise UsageError(
                f"--trace {str(path)!r} is a folder: name a file in it, such as {str(path / 'run.json')!r}."
            )
        if not path.parent.is_dir():
            raise UsageError(f"--trace {str(path)!r}: there is no folder {str(path.parent)!r}.")
    except (OSError, ValueError) as error:
        raise UsageError(f"--trace {str(path)!r} is not a place for a file: {error}.") from error
