"""
One call over HTTP: its place, its line in the log, and the ways to send an answer or to break it off.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from aiohttp import hdrs, web

from antichain.testing.provider.gate import Pass
from antichain.testing.provider.log import Log, LogEntry, Outcome
from antichain.testing.provider.playing import Answered
from antichain.testing.provider.script import Failure
from antichain.testing.provider.tokens import NOTHING, Usage

__all__ = ["Exchange", "hang_up", "send", "send_answer", "sleep_until", "stream_answer", "until_cancelled"]

# A body that trickles comes in so many parts.
TRICKLES: Final = 20


@dataclass(eq=False)
class Exchange:
    """
    One call, from its arrival to its end.
    """

    number: int
    http: web.BaseRequest
    # The log it arrived in: a reset begins another.
    log: Log
    # What can be cancelled when the provider stops.
    task: asyncio.Task[Any] | None  # Any: aiohttp's own
    # When it was let in.
    begun: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    place: Pass | None = None

    @property
    def entry(self) -> LogEntry:
        """
        What the log says of it.
        """
        return self.log.entries[self.number - 1]

    def note(self, **changes: Any) -> None:  # Any: an entry's fields
        """
        Change what the log says of it.
        """
        self.log.note(self.number, **changes)

    def end(self, outcome: Outcome, usage: Usage = NOTHING, **changes: Any) -> None:  # Any: an entry's fields
        """
        Write the log and make room, before the last byte is sent: whoever has got an answer may rely on both.
        """
        self.log.end(self.number, outcome, tokens=usage, **changes)
        if self.place is not None:
            self.place.give_back(usage.total)

    def all_headers(self, content_type: str) -> dict[str, str]:
        """
        Headers of an answer that begins now.
        """
        since = 0.0 if self.begun == 0 else time.monotonic() - self.begun
        return {**self.headers, "openai-processing-ms": f"{since * 1000:.0f}", hdrs.CONTENT_TYPE: content_type}


async def send(exchange: Exchange, status: int, body: bytes) -> web.StreamResponse:
    """
    Send a whole answer. The log has been written.
    """
    response = web.Response(body=body, status=status, headers=exchange.all_headers("application/json"))
    await response.prepare(exchange.http)
    await response.write_eof()
    return response


async def send_answer(exchange: Exchange, answer: Answered, failure: Failure | None, due: float) -> web.StreamResponse:
    """
    Send the body of *answer* when it is *due*, or what *failure* makes of it.
    """
    await sleep_until(due)
    if failure is None:
        exchange.end("answered", answer.usage, status=200)
        return await send(exchange, 200, answer.body)
    half = answer.body[: len(answer.body) // 2]
    if failure.kind == "malformed":
        exchange.end("failed", answer.usage, status=200)
        return await send(exchange, 200, half)
    response = web.StreamResponse(headers=exchange.all_headers("application/json"))
    response.content_length = len(answer.body)
    exchange.note(status=200)
    await response.prepare(exchange.http)
    if failure.kind != "slow":
        await response.write(half)
        return await break_off(exchange, failure, answer.usage)
    *parts, last = cut(answer.body, TRICKLES)
    await trickle(response, parts, failure.seconds)
    exchange.end("answered", answer.usage)
    await response.write(last)
    await response.write_eof()
    return response


async def stream_answer(
    exchange: Exchange, answer: Answered, failure: Failure | None, due: float, pace: float
) -> web.StreamResponse:
    """
    Send the events of *answer*, the first when it is *due*, or what *failure* makes of them.
    """
    events = list(answer.events)
    # What ends the stream goes out at once: a client that has seen the reason to finish may not wait for [DONE].
    last = next(place for place, event in enumerate(events) if b'"finish_reason":"' in event[0])
    kind = None if failure is None else failure.kind
    if failure is not None and kind == "slow":
        pace = failure.seconds / last
    elif kind == "malformed":
        middle, cost = events[len(events) // 2]
        events[len(events) // 2] = (middle[: len(middle) // 2] + b"\n\n", cost)
    elif kind is not None:
        last = max(1, last // 2)
    await sleep_until(due)
    headers = {**exchange.all_headers("text/event-stream; charset=utf-8"), hdrs.CACHE_CONTROL: "no-cache"}
    response = web.StreamResponse(headers=headers)
    exchange.note(status=200)
    await response.prepare(exchange.http)
    await write_paced(exchange, response, events[:last], due, pace, answer.usage.prompt)
    if failure is not None and kind in ("cut", "stall"):
        return await break_off(exchange, failure, exchange.entry.tokens)
    await sleep_until(due + pace * last)
    exchange.end("failed" if kind == "malformed" else "answered", answer.usage, chunks=len(events))
    await response.write(b"".join(event for event, _ in events[last:]))
    await response.write_eof()
    return response


async def write_paced(
    exchange: Exchange,
    response: web.StreamResponse,
    events: Sequence[tuple[bytes, int]],
    due: float,
    pace: float,
    prompt: int,
) -> None:
    """
    Write events, each at its time, or all at once if there is no pace; note what has been charged.
    """
    if not pace:
        exchange.note(tokens=Usage(prompt, sum(cost for _, cost in events)), chunks=len(events))
        await response.write(b"".join(event for event, _ in events))
        return
    completion = 0
    for number, (event, cost) in enumerate(events):
        await sleep_until(due + pace * number)
        completion += cost
        exchange.note(tokens=Usage(prompt, completion), chunks=number + 1)
        await response.write(event)


async def break_off(exchange: Exchange, failure: Failure, usage: Usage) -> NoReturn:
    """
    Send no more: close the connection, or keep it and say nothing.
    """
    if failure.kind == "stall":
        exchange.note(tokens=usage)
        await until_cancelled()
    exchange.end("failed", usage)
    await hang_up(exchange)


async def hang_up(exchange: Exchange) -> NoReturn:
    """
    Close the connection in the middle of a call.
    """
    if exchange.http.transport is not None:
        exchange.http.transport.close()
    await until_cancelled()


async def until_cancelled() -> NoReturn:
    """
    Wait until the client leaves or the provider stops, which cancels this call.
    """
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody has this future")


async def sleep_until(due: float) -> None:
    """
    Sleep until a moment of `time.monotonic()`.
    """
    if (seconds := due - time.monotonic()) > 0:
        await asyncio.sleep(seconds)


def cut(body: bytes, parts: int) -> list[bytes]:
    """
    Cut *body* into about so many parts.
    """
    size = max(1, math.ceil(len(body) / parts))
    return [body[place : place + size] for place in range(0, len(body), size)]


async def trickle(response: web.StreamResponse, parts: Sequence[bytes], seconds: float) -> None:
    """
    Write *parts*, so that the one that follows them is due in *seconds*.
    """
    begun = time.monotonic()
    for number, part in enumerate(parts, 1):
        await response.write(part)
        await sleep_until(begun + seconds * number / len(parts))
