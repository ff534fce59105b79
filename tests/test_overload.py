"""
What an overload looks like, whoever raises it; see antichain.policies.overload. No HTTP library is imported for it,
which test_contracts.py sees to.
"""

import asyncio
import importlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from antichain.errors import NodeTimeout
from antichain.policies.overload import STATUSES, Overload, overload_of
from antichain.policies.retryable import OVERLOAD, SERVER, TIMEOUT, TRANSIENT

NOW = 1_700_000_000.0  # 14 November 2023, 22:13:20 UTC
DATE = "Tue, 14 Nov 2023 22:13:50 GMT"


class Answer:
    """A response, as openai, anthropic, httpx, httpx2 and requests have it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status
        self.headers = headers or {}


def error_of(path: str, bases: tuple[type[BaseException], ...] = (Exception,), **given: Any) -> Exception:
    """Make an error whose class looks like one of a library that is not imported."""
    module, _, name = path.rpartition(".")
    kind = type(name, bases, {"__module__": module})
    error = kind("no")
    vars(error).update(given)
    assert isinstance(error, Exception)
    return error


class APIStatusError(Exception):
    """Base of what openai and anthropic raise for an answer."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, code: str | None = None) -> None:
        super().__init__(f"Error code: {status}")
        self.response = Answer(status, headers)
        self.status_code = status
        self.code = code
        self.type: str | None = None


class RateLimitError(APIStatusError):
    """As in openai and anthropic."""


class HTTPStatusError(Exception):
    """As in httpx and httpx2: the request is a property that raises if there is none."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}")
        self.response = Answer(status, headers)

    @property
    def request(self) -> object:
        raise RuntimeError("The .request property has not been set.")


class ClientResponseError(Exception):
    """As in aiohttp: `status` and `headers` of its own, and a `code` that is not to be asked for."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers

    @property
    def code(self) -> int:
        raise DeprecationWarning("code property is deprecated, use status instead")


class ClientError(Exception):
    """As in botocore: one class, and a dict that tells."""

    def __init__(self, code: str, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.response = {
            "Error": {"Code": code, "Message": "…"},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
        }


class RpcError(Exception):
    """As in grpc: `code()` gives a member of an enum."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._name = name

    def code(self) -> object:
        return type("StatusCode", (), {"name": self._name})()


CASES: list[tuple[str, Exception, Overload | None]] = [
    ("openai 429", RateLimitError(429, {"retry-after": "7"}), Overload("rate", 7.0)),
    ("openai 429, a date", RateLimitError(429, {"Retry-After": DATE}), Overload("rate", 30.0)),
    ("openai 429, no word", RateLimitError(429), Overload("rate")),
    ("openai, account empty", RateLimitError(429, code="insufficient_quota"), None),
    ("openai 503", APIStatusError(503), Overload("unavailable")),
    ("openai 500", APIStatusError(500), None),
    ("openai 400", APIStatusError(400), None),
    ("openai timeout", error_of("openai.APITimeoutError"), Overload("timeout")),
    ("openai connection", error_of("openai.APIConnectionError"), None),
    ("anthropic 529", APIStatusError(529, {"retry-after": "2"}), Overload("unavailable", 2.0)),
    ("anthropic overloaded, in a stream", error_of("anthropic.OverloadedError"), Overload("unavailable")),
    ("httpx 429", HTTPStatusError(429, {"retry-after": "1.5"}), Overload("rate", 1.5)),
    ("httpx 503", HTTPStatusError(503), Overload("unavailable")),
    ("httpx 504", HTTPStatusError(504), Overload("timeout")),
    ("httpx 404", HTTPStatusError(404), None),
    ("httpx read timeout", error_of("httpx.ReadTimeout"), Overload("timeout")),
    ("httpx2 pool timeout", error_of("httpx2.PoolTimeout"), Overload("timeout")),
    ("httpx timeout", error_of("httpx.TimeoutException"), Overload("timeout")),
    ("aiohttp 429", ClientResponseError(429, {"Retry-After": "3"}), Overload("rate", 3.0)),
    ("aiohttp 500", ClientResponseError(500), None),
    ("aiohttp timeout", error_of("aiohttp.ServerTimeoutError", (TimeoutError,)), Overload("timeout")),
    ("requests 429", error_of("requests.HTTPError", (OSError,), response=Answer(429)), Overload("rate")),
    ("requests, no response", error_of("requests.ConnectionError", (OSError,), response=None), None),
    ("requests timeout", error_of("requests.ReadTimeout", (OSError,), response=None), Overload("timeout")),
    ("urllib 503", error_of("urllib.error.HTTPError", (OSError,), code=503), Overload("unavailable")),
    ("botocore throttled", ClientError("ThrottlingException", 400), Overload("rate")),
    ("botocore, with a word", ClientError("SlowDown", 503, {"retry-after": "4"}), Overload("rate", 4.0)),
    ("botocore, a date", ClientError("SlowDown", 503, {"retry-after": DATE}), Overload("rate", 30.0)),
    ("botocore 503", ClientError("Strange", 503), Overload("unavailable")),
    ("botocore, denied", ClientError("AccessDeniedException", 403), None),
    ("botocore timeout", error_of("botocore.exceptions.ReadTimeoutError"), Overload("timeout")),
    ("grpc exhausted", RpcError("RESOURCE_EXHAUSTED"), Overload("rate")),
    ("grpc unavailable", RpcError("UNAVAILABLE"), Overload("unavailable")),
    ("grpc deadline", RpcError("DEADLINE_EXCEEDED"), Overload("timeout")),
    ("grpc, denied", RpcError("PERMISSION_DENIED"), None),
    ("google", error_of("google.api_core.exceptions.ResourceExhausted", code=429), Overload("rate")),
    ("google, by name", error_of("google.api_core.exceptions.ResourceExhausted"), Overload("rate")),
    ("a subclass", error_of("mine.Slower", (type("RateLimitError", (Exception,), {}),)), Overload("rate")),
    ("come back at once", RateLimitError(429, {"retry-after": "0"}), Overload("rate", 0.0)),
    ("TimeoutError", TimeoutError(), Overload("timeout")),
    ("asyncio", asyncio.TimeoutError(), Overload("timeout")),  # noqa: UP041  # the name people write
    ("socket", socket.timeout(), Overload("timeout")),  # noqa: UP041  # the name people write
    ("a node's own", NodeTimeout("ask", 1, "attempt", 2.0, 2.1), Overload("timeout")),
    ("a node's own, of all attempts", NodeTimeout("ask", 2, "total", 2.0, 2.1), None),
    ("an error with a wait only", error_of("mine.Busy", retry_after=3), None),
    ("a status that is no number", error_of("mine.Odd", status_code="429"), None),
    ("a truth value", error_of("mine.Odd", status=True), None),
    ("anything else", ValueError("429"), None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_overload_is_recognised_by_shape(error: Exception, expected: Overload | None) -> None:
    """Whatever library raised it, and none of them is imported."""
    assert overload_of(error, NOW) == expected


def test_of_all_statuses_these_and_no_others_are_overloads() -> None:
    """429, 503 and 529; 408 and 504 are timeouts. A name does not count against a status that says otherwise."""
    found = {status: overload_of(RateLimitError(status), NOW) for status in range(300, 600)}
    assert {status: said.kind for status, said in found.items() if said} == STATUSES
    assert set(STATUSES) == {408, 429, 503, 504, 529}


def test_a_cancellation_is_no_overload_whatever_it_was_raised_from() -> None:
    """A node that is cancelled says nothing of the provider; nor does a Ctrl-C."""
    for error in (asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1)):
        error.__cause__ = RateLimitError(429)
        assert overload_of(error, NOW) is None
    group = BaseExceptionGroup("stopped", [asyncio.CancelledError()])
    assert overload_of(group, NOW) is None
    wrapped = RuntimeError("stopped")
    wrapped.__cause__ = asyncio.CancelledError()
    assert overload_of(wrapped, NOW) is None


def test_what_an_application_wraps_is_found() -> None:
    """`raise MyError() from error`, and what a task group gathers."""
    wrapped = RuntimeError("the model does not answer")
    wrapped.__cause__ = RateLimitError(429, {"retry-after": "9"})
    assert overload_of(wrapped, NOW) == Overload("rate", 9.0)
    group = ExceptionGroup("two", [ValueError("no"), wrapped])
    assert overload_of(group, NOW) == Overload("rate", 9.0)
    # What was merely being handled is not what it is about.
    unrelated = ValueError("no")
    unrelated.__context__ = RateLimitError(429)
    assert overload_of(unrelated, NOW) is None


def test_an_error_that_is_its_own_cause_ends_the_search() -> None:
    """Chains may be circles."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert overload_of(first, NOW) is None


# -- the named sets of errors that are made of this


def test_the_named_sets_part_overloads_from_timeouts() -> None:
    """What Retry(on=…) and Breaker(on=…) take; an empty account is in neither."""
    refused, slow, other = RateLimitError(429), TimeoutError(), ValueError("no")
    assert [OVERLOAD(refused), OVERLOAD(slow), OVERLOAD(other)] == [True, False, False]
    assert [TIMEOUT(refused), TIMEOUT(slow), TIMEOUT(other)] == [False, True, False]
    for name in ("code", "type"):
        empty = RateLimitError(429)
        vars(empty)[name] = "billing_hard_limit_reached"
        assert not OVERLOAD(empty)
    for header in ("x-should-retry", "X-Should-Retry"):
        assert not OVERLOAD(RateLimitError(429, {header: "false"}))
        assert TRANSIENT(APIStatusError(400, {header: "true"}))
        assert not TRANSIENT(APIStatusError(400, {header: "perhaps"}))
    assert repr(OVERLOAD | LookupError) == "OVERLOAD | LookupError"
    assert repr((TIMEOUT | (KeyError, OSError)) - SERVER) == "TIMEOUT | (KeyError, OSError) - SERVER"


# -- the real libraries


def of_openai() -> tuple[Exception, Exception]:
    openai = pytest.importorskip("openai")
    web = importlib.import_module(openai.APIStatusError.__init__.__annotations__["response"].partition(".")[0])
    request = web.Request("POST", "https://example.test")
    response = web.Response(429, headers={"Retry-After": "7"}, request=request)
    return openai.RateLimitError("no", response=response, body=None), openai.APITimeoutError(request=request)


def of_anthropic() -> tuple[Exception, Exception]:
    anthropic = pytest.importorskip("anthropic")
    web = importlib.import_module(anthropic.APIStatusError.__init__.__annotations__["response"].partition(".")[0])
    request = web.Request("POST", "https://example.test")
    response = web.Response(429, headers={"Retry-After": "7"}, request=request)
    return anthropic.RateLimitError("no", response=response, body=None), anthropic.APITimeoutError(request=request)


def of_httpx(name: str = "httpx") -> tuple[Exception, Exception]:
    web = pytest.importorskip(name)
    request = web.Request("POST", "https://example.test")
    response = web.Response(429, headers={"Retry-After": "7"}, request=request)
    with pytest.raises(web.HTTPStatusError) as caught:
        response.raise_for_status()
    return caught.value, web.ReadTimeout("slow")


def of_httpx2() -> tuple[Exception, Exception]:
    return of_httpx("httpx2")


def of_aiohttp() -> tuple[Exception, Exception]:
    aiohttp = pytest.importorskip("aiohttp")
    headers = importlib.import_module("multidict").CIMultiDict({"Retry-After": "7"})
    return aiohttp.ClientResponseError(None, (), status=429, headers=headers), aiohttp.ServerTimeoutError()


def of_requests() -> tuple[Exception, Exception]:
    requests = pytest.importorskip("requests")
    response = requests.Response()
    response.status_code = 429
    response.headers["Retry-After"] = "7"
    return requests.HTTPError("no", response=response), requests.ReadTimeout("slow")


def of_botocore() -> tuple[Exception, Exception]:
    exceptions = pytest.importorskip("botocore.exceptions")
    response = {
        "Error": {"Code": "TooManyRequestsException"},
        "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "7"}},
    }
    return exceptions.ClientError(response, "invoke_model"), exceptions.ReadTimeoutError(endpoint_url="…")


@pytest.mark.parametrize(
    "made",
    [of_openai, of_anthropic, of_httpx, of_httpx2, of_aiohttp, of_requests, of_botocore],
    ids=lambda f: f.__name__,
)
def test_errors_of_the_real_libraries_are_recognised(made: Callable[[], tuple[Exception, Exception]]) -> None:
    """The stand-ins above are shaped like these; libraries that are not installed are skipped by name."""
    refused, slow = made()
    assert overload_of(refused, NOW) == Overload("rate", 7.0)
    assert overload_of(slow, NOW) == Overload("timeout")
