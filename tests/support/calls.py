"""
Plain calls of a FakeProvider, without a client library that retries or hides what came.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antichain.testing import FakeProvider


@dataclass(frozen=True)
class Got:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def text(self) -> str:
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The JSON of a stream's events, without the last."""
        lines = [line.removeprefix("data: ") for line in self.raw.decode().split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


def chat(prompt: str = "Hello.", **fields: Any) -> dict[str, Any]:
    return {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}], **fields}


def send(
    provider: FakeProvider, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Got(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def post(provider: FakeProvider, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Got:
    return send(
        provider, "POST", path, json.dumps(body).encode(), {name.replace("_", "-"): v for name, v in headers.items()}
    )


def say(provider: FakeProvider, prompt: str = "Hello.", **fields: Any) -> Got:
    return post(provider, chat(prompt, **fields))
