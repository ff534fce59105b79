"""
A model behind an OpenAI-compatible HTTP endpoint, asked with aiohttp. Retries are not made here: the graph makes them.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

__all__ = ["Busy", "Chat", "Refused", "Tally", "open_chat"]

# Most tokens of an answer: one or two sentences are asked for.
MAX_TOKENS: Final = 150
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SHOWN: Final = 200


class Busy(Exception):  # noqa: N818  # it says what is so
    """
    Say that the endpoint did not answer this time: too many requests, its own failure, a connection that broke.
    """

    def __init__(self, text: str, status: int = 0, retry_after: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        # The engine waits for so long before the next attempt.
        self.retry_after = retry_after


class Refused(Exception):  # noqa: N818  # it says what is so
    """
    Say that the endpoint will not answer, however often it is asked.
    """


@dataclass(slots=True)
class Tally:
    """
    Count what was asked of the endpoint, as seen from here.
    """

    calls: int = 0
    # How many were answered by which status; 0 is no answer.
    statuses: dict[int, int] = field(default_factory=dict)
    in_flight: int = 0
    peak: int = 0
    # Time that answered calls took, together.
    seconds: float = 0.0


class Chat:
    """
    Ask one endpoint, over one session.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str, tally: Tally) -> None:
        self._session = session
        self._url = url.rstrip("/")
        # The model's name; empty until it is known.
        self._name = name
        self._tally = tally
        self._knows_max_tokens = True

    async def name(self) -> str:
        """
        Return the model's name, asking the endpoint for its list of models; a wrong URL or key is found here.

        Raises:
            Refused: nothing answers, or the answer is no.
        """
        status, body, _ = await self._request("GET", "models")
        if status != 200 and not (status == 404 and self._name):
            raise self._refusal("models", status, body)
        if not self._name:
            try:
                self._name = str(body["data"][0]["id"])
            except (TypeError, LookupError):
                raise Refused(f"{self._url}/models names no model: say which, as OPENAI_MODEL.") from None
        return self._name

    async def ask(self, prompt: str, max_tokens: int = MAX_TOKENS) -> str:
        """
        Return the model's answer.

        Raises:
            Busy: it may answer another time. Refused: it will not.
        """
        content: dict[str, Any] = {"model": self._name, "messages": [{"role": "user", "content": prompt}]}  # Any: JSON
        if self._knows_max_tokens:
            content["max_tokens"] = max_tokens
        began = monotonic()
        tally = self._tally
        tally.calls += 1
        tally.in_flight += 1
        tally.peak = max(tally.peak, tally.in_flight)
        status = 0
        try:
            status, body, headers = await self._request("POST", "chat/completions", content)
        except Refused as error:
            # It answered when it was asked for its name, so this is an accident.
            raise Busy(str(error)) from error
        finally:
            tally.in_flight -= 1
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
        if status == 400 and "max_tokens" in content and "max_tokens" in str(body):
            # Some models call it otherwise, and refuse what they do not know.
            self._knows_max_tokens = False
            return await self.ask(prompt)
        if status in (408, 409, 429) or status >= 500:
            said = f"the model answered {status}: {_message(body)}"
            raise Busy(said, status, headers.get("Retry-After"))
        if status != 200:
            raise self._refusal("chat/completions", status, body)
        tally.seconds += monotonic() - began
        try:
            return str(body["choices"][0]["message"]["content"] or "").strip()
        except (TypeError, LookupError):
            raise Refused(f"{self._url} answered, but not with a chat completion: {_message(body)}") from None

    # Any: JSON
    async def _request(self, method: str, path: str, content: Any = None) -> tuple[int, Any, Mapping[str, str]]:
        try:
            async with self._session.request(method, f"{self._url}/{path}", json=content) as response:
                try:
                    body = await response.json(content_type=None)
                except ValueError:
                    body = None
                return response.status, body, response.headers
        except (aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Refused(f"nothing answers at {self._url} ({why}). Is it running, and the URL right?") from error

    def _refusal(self, path: str, status: int, body: object) -> Refused:
        hints = {
            401: "It wants a key, or another one: put it into OPENAI_API_KEY.",
            403: "The key in OPENAI_API_KEY does not suffice.",
            404: "Is this the base URL? Most of them end in /v1. The model is named by OPENAI_MODEL.",
        }
        return Refused(f"{self._url}/{path} answered {status}: {_message(body)} {hints.get(status, '')}".rstrip())


def _message(body: object) -> str:
    """
    Find what an error's body says to people.
    """
    found: object = body
    for key in ("error", "message"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    text = " ".join(str(found or "(no explanation)").split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


@asynccontextmanager
async def open_chat(url: str, name: str = "", tally: Tally | None = None) -> AsyncIterator[Chat]:
    """
    Open a session with the endpoint at *url*, and close it in the end.

    The key comes from OPENAI_API_KEY; the model is *name*, else OPENAI_MODEL, else the first that the endpoint lists.
    """
    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None),  # the graph's nodes have a timeout
        connector=aiohttp.TCPConnector(limit=0),  # and a limit
        trust_env=urlsplit(url).hostname not in LOOPBACK,
    ) as session:
        yield Chat(session, url, name or os.environ.get("OPENAI_MODEL", ""), tally or Tally())
