"""
Items of an async iterator, read a little ahead of whoever takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antichain.items import Queued

__all__ = ["read_ahead"]


def read_ahead(
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    source: Any,  # Any: whatever gives an async iterator
    queued: Queued,
    window: int,
    on_items: Callable[[], object],
    on_error: Callable[[BaseException], object],
) -> Callable[[], object]:
    """
    Read an async iterator into *queued* in a task that *spawn* starts, never more than *window* items ahead; call the
    returned function once some are taken.
    """
    room = asyncio.Event()
    room.set()

    async def pull() -> None:
        position = -1
        try:
            iterator = aiter(source)
            try:
                async for item in iterator:
                    position += 1
                    queued.queue.append((position, item))
                    if len(queued.queue) >= window:
                        room.clear()
                    on_items()
                    await room.wait()
            finally:
                close = getattr(iterator, "aclose", None)
                if close is not None:
                    await close()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                raise
            on_error(error)
            return
        queued.is_complete = True
        on_items()

    task = spawn(pull())
    queued.cancel = task.cancel
    return lambda: room.set() if len(queued.queue) < window else None
