"""
What is worth another attempt: the default of Retry, and the named sets, read from the shape of errors of real clients.
"""

import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests

from antichain import TRANSIENT, Breaker, GraphError, NodeTimeout, Retry
from antichain.policies.retryable import CONNECTION, OVERLOAD, SERVER, TIMEOUT, is_permanent
from antichain.policies.shapes import behind, status_of

SETS = (OVERLOAD, TIMEOUT, CONNECTION, SERVER, TRANSIENT)
URL = "http://provider.test/"


def sets_of(error: BaseException) -> set[str]:
    return {each.name for each in SETS if each(error)}


def httpx_error(library: Any, status: int, headers: dict[str, str] | None = None) -> Exception:
    request = library.Request("POST", URL)
    response = library.Response(status, headers=headers, request=request)
    error: Exception = library.HTTPStatusError(str(status), request=request, response=response)
    return error


def openai_error(status: int, body: object = None) -> Exception:
    response = httpx2.Response(status, request=httpx2.Request("POST", URL))
    return openai.APIStatusError(str(status), response=response, body=body)


def requests_error(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(str(status), response=response)


def aiohttp_error(status: int) -> Exception:
    # Any: what a real error has of its request is not looked at.
    about: Any = SimpleNamespace(real_url=URL)
    return aiohttp.ClientResponseError(about, (), status=status)


class AnthropicShaped(Exception):
    """As `anthropic.APIStatusError`: a status, a response with headers, a body."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers={})


BOTOCORE = {"Error": {"Code": "Whatever"}, "ResponseMetadata": {"HTTPStatusCode": 404, "HTTPHeaders": {}}}
CLIENTS = {
    "httpx": lambda status: httpx_error(httpx, status),
    "httpx2": lambda status: httpx_error(httpx2, status),
    "openai": openai_error,
    "requests": requests_error,
    "aiohttp": aiohttp_error,
    "anthropic's shape": AnthropicShaped,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_statuses_that_may_pass_are_retried_and_others_are_not(client: str) -> None:
    for status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
        error = CLIENTS[client](status)
        assert status_of(error) == status
        assert Retry().retryable(error), status
        assert TRANSIENT(error), status
    for status in (400, 401, 402, 403, 404, 405, 413, 422, 451):
        error = CLIENTS[client](status)
        assert not Retry().retryable(error), status
        assert not sets_of(error), status


def test_each_set_holds_what_it_names() -> None:
    assert sets_of(httpx_error(httpx, 429)) == {"OVERLOAD", "TRANSIENT"}
    assert sets_of(httpx_error(httpx, 529)) == {"OVERLOAD", "SERVER", "TRANSIENT"}
    assert sets_of(httpx_error(httpx, 504)) == {"TIMEOUT", "SERVER", "TRANSIENT"}
    assert sets_of(httpx_error(httpx, 500)) == {"SERVER", "TRANSIENT"}
    assert sets_of(httpx_error(httpx, 409)) == {"TRANSIENT"}
    for slow in (TimeoutError(), httpx.ReadTimeout(""), requests.ReadTimeout(), NodeTimeout("a", 1, "attempt", 1, 1)):
        assert sets_of(slow) == {"TIMEOUT", "TRANSIENT"}
    for broken in (ConnectionResetError(), httpx.ConnectError(""), httpx2.ReadError(""), aiohttp.ClientPayloadError()):
        assert sets_of(broken) == {"CONNECTION", "TRANSIENT"}
    assert sets_of(openai.APIConnectionError(request=httpx2.Request("POST", URL))) == {"CONNECTION", "TRANSIENT"}


def test_what_has_no_such_shape_is_retried_but_not_called_transient() -> None:
    for error in (RuntimeError("flaky"), ValueError("bad JSON from a model"), OSError("disk"), KeyError("k")):
        assert Retry().retryable(error)
        assert not sets_of(error)


def test_mistakes_of_the_caller_and_refused_certificates_are_no_failures_of_a_connection() -> None:
    refused = httpx.ConnectError("certificate verify failed")
    refused.__cause__ = ssl.SSLCertVerificationError()
    for error in (httpx.UnsupportedProtocol(""), httpx.LocalProtocolError(""), refused):
        assert not sets_of(error)
    assert not Retry().retryable(refused)


def test_other_side_has_the_last_word() -> None:
    """`x-should-retry`, as OpenAI and Anthropic send it."""
    assert not Retry().retryable(httpx_error(httpx, 503, {"X-Should-Retry": "false"}))
    assert not TRANSIENT(httpx_error(httpx, 503, {"X-Should-Retry": "false"}))
    assert Retry().retryable(httpx_error(httpx, 400, {"X-Should-Retry": "true"}))
    assert TRANSIENT(httpx_error(httpx, 400, {"X-Should-Retry": "true"}))


def test_an_empty_account_is_not_asked_again() -> None:
    error = openai_error(429, {"code": "insufficient_quota", "message": "You exceeded your current quota"})
    assert not Retry().retryable(error)
    assert not sets_of(error)


def test_what_an_application_has_wrapped_is_found_behind_it() -> None:
    class AppError(Exception):
        pass

    error = AppError("search failed")
    error.__cause__ = httpx.ConnectError("")
    assert [type(each) for each in behind(error)] == [AppError, httpx.ConnectError]
    assert sets_of(error) == {"CONNECTION", "TRANSIENT"}
    assert sets_of(ExceptionGroup("both", [ValueError(), httpx_error(httpx, 503)])) >= {"OVERLOAD", "TRANSIENT"}


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
    assert wide(httpx_error(httpx, 429))
    assert not wide(ValueError("even"))
    assert (KeyError | OVERLOAD)(KeyError())
    narrow = TRANSIENT - TIMEOUT - (ConnectionResetError, BrokenPipeError)
    assert narrow(httpx_error(httpx, 503))
    assert not narrow(TimeoutError())
    assert not narrow(ConnectionResetError())
    assert repr(TRANSIENT - TIMEOUT) == "TRANSIENT - TIMEOUT"
    retry = Retry(on=(OVERLOAD, KeyError))
    assert retry.retryable(KeyError())
    assert retry.retryable(httpx_error(httpx, 429))
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
        raise httpx_error(httpx, status)

    breaker = Breaker(call, failures=1)
    with pytest.raises(httpx.HTTPStatusError):
        breaker(404)
    with pytest.raises(httpx.HTTPStatusError):
        breaker(503)
    assert is_permanent(httpx_error(httpx, 404))
