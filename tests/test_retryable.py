"""
What is worth another attempt: the default of Retry, and the named sets, read from the shape of errors of real clients.
"""

import ssl
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from antichain import TRANSIENT, Breaker, GraphError, NodeTimeout, Retry
from antichain.policies.retryable import CONNECTION, OVERLOAD, SERVER, TIMEOUT, is_permanent
from antichain.policies.shapes import behind, status_of

SETS = (OVERLOAD, TIMEOUT, CONNECTION, SERVER, TRANSIENT)
URL = "http://provider.test/"


def sets_of(error: BaseException) -> set[str]:
    return {each.name for each in SETS if each(error)}


# Real clients, where they are installed: made by their own constructors.


def of_httpx(library: Any, status: int) -> Exception:
    request = library.Request("POST", URL)
    response = library.Response(status, request=request)
    error: Exception = library.HTTPStatusError(str(status), request=request, response=response)
    return error


def of_openai(library: Any, status: int) -> Exception:
    about: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    error: Exception = library.APIStatusError(str(status), response=about, body=None)
    return error


def of_requests(library: Any, status: int) -> Exception:
    response = library.Response()
    response.status_code = status
    error: Exception = library.HTTPError(str(status), response=response)
    return error


def of_aiohttp(library: Any, status: int) -> Exception:
    error: Exception = library.ClientResponseError(SimpleNamespace(real_url=URL), (), status=status)
    return error


def shape(name: str, *bases: str) -> Exception:
    """An error whose class, and the bases of it, have these names."""
    kind: type[Exception] = Exception
    for each in (*reversed(bases), name):
        kind = type(each, (kind,), {})
    return kind()


class StatusError(Exception):
    """As `httpx.HTTPStatusError`: it has a response, with headers that fold case or do not."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, **more: object) -> None:
        super().__init__(str(status))
        self.response = SimpleNamespace(status_code=status, headers=headers or {})
        vars(self).update(more)


class AnthropicShaped(Exception):
    """As `anthropic.APIStatusError`: a status, a response with headers, a body."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers={})


BOTOCORE = {"Error": {"Code": "Whatever"}, "ResponseMetadata": {"HTTPStatusCode": 404, "HTTPHeaders": {}}}
CLIENTS: dict[str, Callable[[Any, int], Exception]] = {
    "httpx": of_httpx,
    "httpx2": of_httpx,
    "openai": of_openai,
    "requests": of_requests,
    "aiohttp": of_aiohttp,
    "anthropic's shape": lambda _, status: AnthropicShaped(status),
    "httpx's shape": lambda _, status: StatusError(status),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_statuses_that_may_pass_are_retried_and_others_are_not(client: str) -> None:
    library = None
    if client.isidentifier():
        try:
            library = import_module(client)
        except ImportError:
            pytest.skip(f"{client} is not installed")
    for status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
        error = CLIENTS[client](library, status)
        assert status_of(error) == status
        assert Retry().retryable(error), status
        assert TRANSIENT(error), status
    for status in (400, 401, 402, 403, 404, 405, 413, 422, 451):
        error = CLIENTS[client](library, status)
        assert not Retry().retryable(error), status
        assert not sets_of(error), status


def test_each_set_holds_what_it_names() -> None:
    assert sets_of(StatusError(429)) == {"OVERLOAD", "TRANSIENT"}
    assert sets_of(StatusError(529)) == {"OVERLOAD", "SERVER", "TRANSIENT"}
    assert sets_of(StatusError(504)) == {"TIMEOUT", "SERVER", "TRANSIENT"}
    assert sets_of(StatusError(500)) == {"SERVER", "TRANSIENT"}
    assert sets_of(StatusError(409)) == {"TRANSIENT"}
    late = (TimeoutError(), shape("ReadTimeout", "TimeoutException"), shape("ReadTimeout", "Timeout"))
    for slow in (*late, NodeTimeout("a", 1, "attempt", 1, 1)):
        assert sets_of(slow) == {"TIMEOUT", "TRANSIENT"}
    reset = ConnectionResetError()
    names = (("ConnectError", "NetworkError"), ("ReadError", "NetworkError"), ("ClientPayloadError",))
    for broken in (reset, *(shape(*each) for each in names)):
        assert sets_of(broken) == {"CONNECTION", "TRANSIENT"}
    assert sets_of(shape("APIConnectionError", "APIError")) == {"CONNECTION", "TRANSIENT"}


def test_what_has_no_such_shape_is_retried_but_not_called_transient() -> None:
    for error in (RuntimeError("flaky"), ValueError("bad JSON from a model"), OSError("disk"), KeyError("k")):
        assert Retry().retryable(error)
        assert not sets_of(error)


def test_mistakes_of_the_caller_and_refused_certificates_are_no_failures_of_a_connection() -> None:
    refused = shape("ConnectError", "NetworkError")
    refused.__cause__ = ssl.SSLCertVerificationError()
    for error in (
        shape("UnsupportedProtocol", "TransportError"),
        shape("LocalProtocolError", "ProtocolError"),
        refused,
    ):
        assert not sets_of(error)
    assert not Retry().retryable(refused)


def test_other_side_has_the_last_word() -> None:
    """`x-should-retry`, as OpenAI and Anthropic send it."""
    assert not Retry().retryable(StatusError(503, {"X-Should-Retry": "false"}))
    assert not TRANSIENT(StatusError(503, {"X-Should-Retry": "false"}))
    assert Retry().retryable(StatusError(400, {"X-Should-Retry": "true"}))
    assert TRANSIENT(StatusError(400, {"X-Should-Retry": "true"}))


def test_an_empty_account_is_not_asked_again() -> None:
    error = StatusError(429, code="insufficient_quota")
    assert not Retry().retryable(error)
    assert not sets_of(error)


def test_what_an_application_has_wrapped_is_found_behind_it() -> None:
    class AppError(Exception):
        pass

    error = AppError("search failed")
    error.__cause__ = shape("ConnectError", "NetworkError")
    assert [type(each) for each in behind(error)] == [AppError, type(error.__cause__)]
    assert sets_of(error) == {"CONNECTION", "TRANSIENT"}
    assert sets_of(ExceptionGroup("both", [ValueError(), StatusError(503)])) >= {"OVERLOAD", "TRANSIENT"}


def test_a_loop_of_causes_ends() -> None:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert not TRANSIENT(one)


def test_botocore_tells_its_status_in_a_dict() -> None:
    class ClientError(Exception):
        response = BOTOCORE

    assert status_of(ClientError()) == 404
    assert not Retry().retryable(ClientError())


def test_attributes_that_raise_tell_nothing() -> None:
    class Hostile(Exception):
        @property
        def response(self) -> object:
            raise RuntimeError("no response has been set")

        @property
        def code(self) -> object:
            raise ValueError

    assert status_of(Hostile()) is None
    assert Retry().retryable(Hostile())


@pytest.mark.parametrize("value", [True, 99, 600, "404", 404.0, None, object()])
def test_what_is_no_status_is_none(value: object) -> None:
    error = RuntimeError()
    error.status_code = value  # type: ignore[attr-defined]
    assert status_of(error) is None


def test_sets_join_types_predicates_and_each_other() -> None:
    wide = OVERLOAD | LookupError | (lambda error: str(error) == "odd")
    assert wide(KeyError())
    assert wide(ValueError("odd"))
    assert wide(StatusError(429))
    assert not wide(ValueError("even"))
    assert (KeyError | OVERLOAD)(KeyError())
    narrow = TRANSIENT - TIMEOUT - (ConnectionResetError, BrokenPipeError)
    assert narrow(StatusError(503))
    assert not narrow(TimeoutError())
    assert not narrow(ConnectionResetError())
    assert repr(TRANSIENT - TIMEOUT) == "TRANSIENT - TIMEOUT"
    retry = Retry(on=(OVERLOAD, KeyError))
    assert retry.retryable(KeyError())
    assert retry.retryable(StatusError(429))
    assert not retry.retryable(ValueError())


def test_what_names_no_errors_is_refused() -> None:
    with pytest.raises(GraphError, match="names no errors"):
        _ = TRANSIENT | 404
    with pytest.raises(GraphError, match="names no errors"):
        _ = TRANSIENT - int
    for on in ((), (404,), 404, int, (OVERLOAD, (KeyError,))):
        with pytest.raises(GraphError, match=r"Retry\(on=.*a set such as TRANSIENT"):
            Retry(on=on)  # type: ignore[arg-type]


def test_a_permanent_answer_does_not_open_a_breaker() -> None:
    """The service is up: it says what is wrong with the request."""

    def call(status: int) -> None:
        raise StatusError(status)

    breaker = Breaker(call, failures=1)
    with pytest.raises(StatusError):
        breaker(404)
    with pytest.raises(StatusError):
        breaker(503)
    assert is_permanent(StatusError(404))
