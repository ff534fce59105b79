"""
Runs in virtual time, for tests that only want to know what became of them.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from antichain import Graph, RunFailed, RunResult
from antichain.testing import virtual_time

__all__ = ["in_virtual_time", "run"]


def in_virtual_time(main: Coroutine[Any, Any, Any] | Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """The value of a coroutine, or of that which a function makes."""
    with virtual_time() as clock:
        return clock.run(main() if callable(main) else main)


def run(graph: Graph, **options: Any) -> RunResult:
    """The result of a run; of one that failed, what it came to."""
    try:
        result: RunResult = in_virtual_time(graph.arun(**options))
    except RunFailed as failed:
        result = failed.result
    return result
