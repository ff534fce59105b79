"""
What comes over HTTP: find the endpoint, read and check the call, let it in, have it answered, log how it ended.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from antichain.testing.provider import wire
from antichain.testing.provider.checks import Chat, Embedding, Refused, read_chat, read_embedding
from antichain.testing.provider.gate import Gate, Shut, Window
from antichain.testing.provider.log import Log
from antichain.testing.provider.playing import Answered, Play
from antichain.testing.provider.script import Behaviour, Failure, Request, RetryAfter
from antichain.testing.provider.sending import (
    Exchange,
    hang_up,
    send,
    send_answer,
    sleep_until,
    stream_answer,
    until_cancelled,
)

__all__ = ["Service"]

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
MODELS: Final = "/v1/models"
METHODS: Final = {CHAT: "POST", EMBEDDINGS: "POST", MODELS: "GET"}
DEFAULT_MODELS: Final = ("fake-chat", "fake-embedding")
LARGEST_BODY_BYTES: Final = 64 * 2**20
BACKLOG: Final = 4096
# Seconds that aiohttp would wait for calls to end: they are cancelled before, so it has nothing to wait for.
SHUTDOWN: Final = 3.0

ERROR_TYPES: Final = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "service_unavailable"),
    529: ("overloaded_error", "overloaded"),
}


class Service:
    """
    Answer calls as a behaviour says.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.gate = Gate(behaviour)
        self._play = Play(behaviour)
        # Calls that are being answered, so that they can be stopped.
        self._open: set[Exchange] = set()
        self._is_stopping = False
        self._site: asyncio.Server | None = None
        self._web: web.Server | None = None

    @property
    def log(self) -> Log:
        """
        What really happened.
        """
        return self.gate.log

    def reset(self) -> None:
        """
        Begin again: an empty log, full quotas, the first reply of the script.
        """
        self._play = Play(self._behaviour)
        self.gate.reset(Log())

    async def start(self, port: int) -> int:
        """
        Listen on loopback, and return the port.
        """
        listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._web = web.Server(self._handle, request_factory=make_request, handler_cancellation=True, access_log=None)
        self._is_stopping = False
        loop = asyncio.get_running_loop()
        self._site = await loop.create_server(self._web, sock=listener, backlog=BACKLOG)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """
        Stop listening, cancel what is open, close every connection.
        """
        assert self._site is not None
        assert self._web is not None
        self._is_stopping = True
        self._site.close()
        await asyncio.sleep(0)  # connections that are just being made are known now
        for exchange in list(self._open):
            if exchange.task is not None:
                exchange.task.cancel()
        self._web.pre_shutdown()
        await self._web.shutdown(SHUTDOWN)
        await asyncio.sleep(0)  # closed connections let go of their sockets

    # -- one call

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        number = self.log.begin(http.method, http.path)
        exchange = Exchange(number, http, self.log, asyncio.current_task())
        exchange.headers["x-request-id"] = f"req_{number}"
        self._open.add(exchange)
        try:
            try:
                return await self._serve(exchange)
            except Refused as refused:
                return await self._refuse(exchange, refused)
        except (asyncio.CancelledError, ConnectionError):
            self._ended_early(exchange)
            raise
        finally:
            self._open.discard(exchange)
            if exchange.entry.outcome == "open":
                exchange.end("failed", fault="internal")

    def _ended_early(self, exchange: Exchange) -> None:
        """
        Say why a call ended before its answer: we stopped, its client left, or a failure closed the connection.
        """
        if exchange.entry.outcome != "failed":
            exchange.end("stopped" if self._is_stopping else "client left", exchange.entry.tokens)

    async def _serve(self, exchange: Exchange) -> web.StreamResponse:
        http = exchange.http
        path = http.path.rstrip("/")
        named = path.removeprefix(f"{MODELS}/") if path.startswith(f"{MODELS}/") else None
        method = METHODS.get(MODELS if named is not None else path)
        if method is None:
            raise Refused(f"Invalid URL ({http.method} {http.path})", status=404, code="unknown_url")
        if method != http.method:
            raise Refused(f"Not allowed to {http.method} on {http.path}", status=405, code="method_not_supported")
        self._check_key(http)
        if path not in (CHAT, EMBEDDINGS):
            return await self._models(exchange, named)
        body = await self._read(exchange)
        wanted = read_chat(body) if path == CHAT else read_embedding(body)
        request = await self._let_in(exchange, path, body, wanted)
        answer, failure = self._play.fate(request, wanted)
        if failure is not None:
            exchange.note(fault=str(failure.kind))
        if answer is not None:
            return await self._reply(exchange, request, answer, failure)
        assert failure is not None
        return await self._fail(exchange, request, failure)

    def _check_key(self, http: web.BaseRequest) -> None:
        key = self._behaviour.api_key
        if key is None or http.headers.get("Authorization") == f"Bearer {key}":
            return
        why = "Incorrect API key provided." if "Authorization" in http.headers else "You didn't provide an API key."
        raise Refused(why, status=401, code="invalid_api_key")

    async def _models(self, exchange: Exchange, name: str | None) -> web.StreamResponse:
        names = self._behaviour.models or DEFAULT_MODELS
        if name is not None and name not in names:
            raise no_model(name)
        exchange.end("answered", status=200)
        return await send(exchange, 200, wire.encode(wire.models(names) if name is None else wire.model(name)))

    async def _read(self, exchange: Exchange) -> Mapping[str, Any]:  # Any: JSON
        try:
            body = json.loads(await exchange.http.read())
        except web.HTTPRequestEntityTooLarge as error:
            raise Refused("The request body is too large.", status=413, code="request_too_large") from error
        except (ValueError, RecursionError, web.RequestPayloadError) as error:
            raise Refused("We could not parse the JSON body of your request.", code="invalid_json") from error
        if not isinstance(body, dict):
            raise Refused("Invalid request: the body is no JSON object.", code="invalid_json")
        model = body.get("model")
        is_name = isinstance(model, str) and model != ""
        exchange.note(body=body, model=model if is_name else None)
        if not is_name:
            raise Refused("you must provide a model parameter", param="model", code="missing_required_parameter")
        if self._behaviour.models is not None and model not in self._behaviour.models:
            raise no_model(str(model))
        return body

    async def _let_in(
        self, exchange: Exchange, path: str, body: Mapping[str, Any], wanted: Chat | Embedding
    ) -> Request:
        asked = wanted.prompt_tokens
        if isinstance(wanted, Chat):
            asked += wanted.n * (wanted.max_tokens or 0)
        exchange.note(in_flight=self.gate.in_flight)
        try:
            exchange.place = await self.gate.enter(asked, time.monotonic)
        except Shut as shut:
            exchange.headers.update(quota_headers(self.gate.up_to_date()))
            refused = Refused(str(shut), status=429, code="rate_limit_exceeded", type_=shut.kind)
            if not shut.is_for_ever:
                waits = self._behaviour.retry_after
                self._say_when(exchange, refused, waits, 1.0 if shut.wait is None else shut.wait)
            raise refused from shut
        exchange.begun = time.monotonic()
        exchange.headers.update(quota_headers(self.gate.windows))
        request = self._play.request(path, body, wanted)
        exchange.note(started_at=exchange.begun, turn=request.turn, attempt=request.attempt)
        return request

    def _say_when(
        self, exchange: Exchange, refused: Refused, retry_after: float | RetryAfter | None, known: float
    ) -> None:
        if retry_after is None:
            return
        told = retry_after if isinstance(retry_after, RetryAfter) else RetryAfter(retry_after)
        seconds = known if told.seconds is None else told.seconds
        match told.sent_as:
            case "retry-after":
                refused.headers["retry-after"] = f"{seconds:.6g}"
            case "retry-after-ms":
                refused.headers["retry-after-ms"] = f"{seconds * 1000:.6g}"
            case "date":
                # A date has whole seconds only: never earlier than meant.
                refused.headers["retry-after"] = formatdate(math.ceil(time.time() + seconds), usegmt=True)
        exchange.note(retry_after=seconds)

    async def _refuse(self, exchange: Exchange, refused: Refused) -> web.StreamResponse:
        exchange.headers.update(refused.headers)
        scripted = exchange.entry.fault
        is_failure = scripted is not None or refused.fault == "script"
        exchange.end("failed" if is_failure else "refused", status=refused.status, fault=scripted or refused.fault)
        return await send(exchange, refused.status, wire.encode(refused.body))

    async def _reply(
        self, exchange: Exchange, request: Request, answer: Answered, failure: Failure | None
    ) -> web.StreamResponse:
        if not answer.events:
            due = exchange.begun + self._play.seconds("latency", request)
            return await send_answer(exchange, answer, failure, due)
        name = "latency" if self._behaviour.first_chunk is None else "first_chunk"
        due = exchange.begun + self._play.seconds(name, request)
        return await stream_answer(exchange, answer, failure, due, self._play.seconds("pace", request))

    async def _fail(self, exchange: Exchange, request: Request, failure: Failure) -> web.StreamResponse:
        if failure.kind == "hang":
            await until_cancelled()
        after = self._play.seconds("latency", request) if failure.after is None else failure.after
        await sleep_until(exchange.begun + after)
        if failure.kind == "drop":
            exchange.end("failed")
            await hang_up(exchange)
        assert isinstance(failure.kind, int)
        type_, code = ERROR_TYPES.get(failure.kind, ("server_error", None))
        message = failure.message or f"The fake provider was told to fail with {failure.kind}."
        refused = Refused(message, status=failure.kind, code=code, type_=type_)
        self._say_when(exchange, refused, failure.retry_after, 1.0)
        raise refused


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """
    Do what aiohttp does, with room for prompts that are larger than a megabyte.
    """
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY_BYTES)


def quota_headers(windows: Sequence[Window]) -> dict[str, str]:
    """
    Say how much is left, as OpenAI's headers do.
    """
    now = time.monotonic()
    headers: dict[str, str] = {}
    for window in windows:
        reset = f"{window.reset_after(now):.3f}s"
        limits = (window.quota.requests, window.quota.tokens)
        for kind, limit, left in zip(("requests", "tokens"), limits, window.left(now), strict=True):
            if limit is not None and f"x-ratelimit-limit-{kind}" not in headers:
                headers[f"x-ratelimit-limit-{kind}"] = str(limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(left)
                headers[f"x-ratelimit-reset-{kind}"] = reset
    return headers


def no_model(name: str) -> Refused:
    """
    Say that there is no such model.
    """
    text = f"The model `{name}` does not exist or you do not have access to it."
    return Refused(text, status=404, param="model", code="model_not_found")
