"""
Where a mapped stage takes its items from: a list or an iterator, or a queue that somebody else fills.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any


class Items:
    """
    Where a mapped stage takes its items from.
    """

    has_ended = False

    def next(self) -> tuple[int, Any] | None:
        """
        Return the next item and its position, or None if there is none now.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        Let go of the source.
        """


class Iterated(Items):
    """
    Items of a list or an iterator, never read further than asked.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._iterator: Iterator[Any] = iter(items)
        self._position = -1

    def next(self) -> tuple[int, Any] | None:
        for item in self._iterator:
            self._position += 1
            return self._position, item
        self.has_ended = True
        return None

    def close(self) -> None:
        # Other iterators (a file, a cursor) are the user's to close.
        if isinstance(self._iterator, Generator):
            self._iterator.close()


class Queued(Items):
    """
    Items that somebody else puts here as they come: an async iterator, or another stage.
    """

    def __init__(self) -> None:
        self.queue: deque[tuple[int, Any]] = deque()
        # No further item will be put.
        self.is_complete = False
        # Ends whoever puts them.
        self.cancel: Callable[[], object] | None = None

    def next(self) -> tuple[int, Any] | None:
        if self.queue:
            return self.queue.popleft()
        self.has_ended = self.is_complete
        return None

    def close(self) -> None:
        if self.cancel is not None:
            self.cancel()
