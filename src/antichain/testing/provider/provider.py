"""
The provider itself: a thread with a loop of its own, that starts and stops.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Self

from antichain.testing.provider.log import LogEntry, Outcome
from antichain.testing.provider.script import Behaviour

if TYPE_CHECKING:
    from antichain.testing.provider.serving import Service

__all__ = ["FakeProvider"]

# Seconds that the thread may take to end.
PATIENCE: Final = 10.0


class FakeProvider(Behaviour):
    """
    Serve OpenAI's API on loopback as a script says, and log what really happened.

    It answers chats (plain, streamed, tool calls, JSON), embeddings and the list of models; refuses what OpenAI
    refuses; limits calls in flight and rates; fails in all the ways that servers fail. It runs in a thread of its own,
    with a loop of its own, so blocking and async code can call it alike; `with` and `async with` start and stop it, and
    all its settings may be changed while it runs.

    **What is the same every time.** A function of the seed and the request's content (path and body, without `stream`
    and `stream_options`): the default answer, ids, vectors, token counts. Of these and how often that content has been
    let in: a delay from `(low, high)`, failures with `attempts=` or `share=`. So with the same requests these come out
    the same in whatever order they arrive. In order of arrival: a list of replies, failures with `calls=`, and who
    is refused by `allowed` and `quota`.

    **What may be relied on.** The log entry of a call is complete, and its place free, before the last byte of its
    answer is sent: a client that keeps within `allowed` by itself is never refused. Delays count from the moment a call
    is let in. On a busy machine with two cores they came out 1 ms too long, and 2,000 to 3,000 instant calls passed in
    a second.

    Example:
        >>> import openai
        >>> with FakeProvider(reply="Paris", allowed=8) as provider:
        ...     with openai.OpenAI(base_url=provider.url, api_key="none") as client:
        ...         question = {"role": "user", "content": "What is the capital of France?"}
        ...         answer = client.chat.completions.create(model="any", messages=[question])
        >>> answer.choices[0].message.content, provider.peak, provider.count(429), provider.log[0].tokens.total
        ('Paris', 1, 0, 16)
    """

    _service: Service | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _ended: Future[None]
    _stopping: asyncio.Event

    @property
    def url(self) -> str:
        """
        The base URL for clients, such as `http://127.0.0.1:40123/v1`; once it has been started.
        """
        if not self.port:
            raise RuntimeError("the provider has no URL before it is started: use `with FakeProvider(…) as provider:`.")
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> list[LogEntry]:
        """
        Every call so far, in order of arrival; those that are open have outcome "open".
        """
        return list(self._served().log.entries)

    @property
    def peak(self) -> int:
        """
        Most calls that were served at once.
        """
        return self._served().log.peak

    @property
    def in_flight(self) -> int:
        """
        Calls that are served now.
        """
        return self._served().gate.in_flight

    def count(self, status: int | None = None, *, outcome: Outcome | None = None) -> int:
        """
        Count the calls with that status, with that outcome, or all.
        """
        return sum(status in (None, each.status) and outcome in (None, each.outcome) for each in self.log)

    def reset(self) -> None:
        """
        Begin again: an empty log, peak 0, quotas unused, attempts and turns from 1, the first reply of a list.

        Calls that are open go on, and come in no log.
        """
        self._on_loop(self._served().reset)

    def wait_idle(self, timeout: float = 5.0) -> None:
        """
        Wait until no call is open; it blocks, so async code calls it in a thread.

        Raises:
            TimeoutError: some are open after *timeout* seconds.
        """
        if not self._served().log.wait_idle(timeout):
            still = [f"{each.number} {each.path}" for each in self.log if each.outcome == "open"]
            raise TimeoutError(f"{len(still)} calls are open after {timeout:g} s: {', '.join(still[:5])}.")

    # -- life

    def start(self) -> Self:
        """
        Start to serve, as `with` does.

        Raises:
            ImportError: aiohttp is not installed.
            OSError: the port is taken.
        """
        started = self._launch()
        try:
            started.result()
        except BaseException:
            self._give_up(started)
            raise
        return self

    def stop(self) -> None:
        """
        Stop, whatever is in flight; return once nothing is left. The log stays.
        """
        if self._thread is not None:
            self._on_loop(self._stopping.set)
            self._join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        started = self._launch()
        try:
            await asyncio.wrap_future(started)
        except BaseException:
            self._give_up(started)
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._thread is not None:
            self._on_loop(self._stopping.set)
            try:
                await asyncio.wrap_future(self._ended)
            finally:
                self._join()

    def _allowed_changed(self) -> None:
        if self._loop is not None and self._service is not None:
            self._loop.call_soon_threadsafe(self._service.gate.admit)

    def _served(self) -> Service:
        if self._service is None:
            try:
                from antichain.testing.provider.serving import Service
            except ModuleNotFoundError as error:
                if error.name is None or error.name.split(".")[0] != "aiohttp":
                    raise
                text = "FakeProvider serves HTTP with aiohttp, which is not installed: pip install 'antichain[demo]'"
                raise ImportError(text, name="aiohttp") from error
            self._service = Service(self)
        return self._service

    def _launch(self) -> Future[None]:
        if self._thread is not None:
            raise RuntimeError(f"the provider is already running at {self.url}; make another FakeProvider().")
        service = self._served()
        started: Future[None] = Future()
        self._ended = Future()
        for future in (started, self._ended):
            future.set_running_or_notify_cancel()  # whoever gives up waiting does not end the thread
        target, name = self._live, "antichain-provider"
        self._thread = threading.Thread(target=target, args=(service, started), name=name, daemon=True)
        self._thread.start()
        return started

    def _live(self, service: Service, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(service, started))
        except BaseException as error:  # noqa: BLE001  # goes to whoever waits for the start, or for the end
            if not started.done():
                started.set_exception(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self, service: Service, started: Future[None]) -> None:
        self._stopping = asyncio.Event()
        self.port = await service.start(self.port)
        self._loop = asyncio.get_running_loop()
        started.set_result(None)
        try:
            await self._stopping.wait()
        finally:
            self._loop = None
            await service.stop()

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(PATIENCE)
            if thread.is_alive():
                raise RuntimeError(f"the provider's thread did not end within {PATIENCE:g} s.")
            self._ended.result()

    def _give_up(self, started: Future[None]) -> None:
        """
        End a thread that could not start, or whose start nobody wants any more.
        """
        if started.exception() is None:
            self.stop()
        elif self._thread is not None:
            self._thread.join(PATIENCE)
            self._thread = None

    def _on_loop(self, action: Callable[[], object]) -> None:
        """
        Do it in the provider's thread, and wait until it is done.
        """
        if self._loop is None or threading.current_thread() is self._thread:
            action()
            return
        done: Future[None] = Future()

        def act() -> None:
            action()
            done.set_result(None)

        self._loop.call_soon_threadsafe(act)
        done.result()
