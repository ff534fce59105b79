"""
What an error of an HTTP client, or of a client of a model provider, tells of itself: read from its shape, so that no
such library is imported.

Checked against openai, anthropic, httpx, httpx2, requests, aiohttp and urllib3. What has no such shape tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["attribute", "behind", "header", "is_connection_failure", "is_untrusted", "status_of"]

# Errors behind an error that are looked at.
LOOKED_AT: Final = 16
# Names of classes, anywhere among an error's bases: each library has its own, and they do not know each other.
_CONNECTION: Final = frozenset(
    {
        "ConnectionError",  # builtins, requests
        "APIConnectionError",  # openai, anthropic
        "NetworkError",  # httpx, httpx2
        "RemoteProtocolError",
        "ProxyError",
        "ChunkedEncodingError",  # requests
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ProtocolError",  # urllib3
        "NewConnectionError",
        "MaxRetryError",
        "gaierror",  # the name of a host could not be looked up
        "IncompleteReadError",  # asyncio, http.client
        "IncompleteRead",
    }
)
# A mistake of the caller, although the class has such a base.
_LOCAL: Final = frozenset({"LocalProtocolError", "UnsupportedProtocol", "InvalidURL"})
_UNTRUSTED: Final = ("Certificate", "CertVerification")
# Statuses of HTTP; 529 is Anthropic's for "overloaded".
_LEAST_STATUS: Final = 100
_MOST_STATUS: Final = 599


def behind(error: BaseException) -> Iterator[Exception]:
    """
    List *error*, what it was raised from, and the members of a group: an application wraps what its client raised.
    """
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < LOOKED_AT:
        found = waiting.pop(0)
        # A CancelledError is no Exception, and what is behind it does not matter.
        if id(found) in seen or not isinstance(found, Exception):
            continue
        seen.add(id(found))
        yield found
        if found.__cause__ is not None:
            waiting.append(found.__cause__)
        if isinstance(found, ExceptionGroup):
            waiting.extend(found.exceptions)


def status_of(error: BaseException) -> int | None:
    """
    Return the status of the HTTP response that *error* itself tells of, or None.

    Looked for in ``status_code``, ``status`` and ``code`` of the error, then of its ``response``; in botocore's form
    too.
    """
    response = attribute(error, "response")
    if isinstance(response, Mapping):
        about = response.get("ResponseMetadata")
        return _as_status(about.get("HTTPStatusCode")) if isinstance(about, Mapping) else None
    for holder in (error, response):
        for name in ("status_code", "status", "code"):
            status = _as_status(attribute(holder, name))
            if status is not None:
                return status
    return None


def _as_status(value: object) -> int | None:
    # An IntEnum is a number too; a bool is none, and neither is a text ("rate_limit_exceeded").
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return int(value) if _LEAST_STATUS <= value <= _MOST_STATUS else None


def is_connection_failure(error: BaseException) -> bool:
    """
    Say whether *error* tells that a connection could not be made, or broke.
    """
    names = _names(error)
    return not _CONNECTION.isdisjoint(names) and _LOCAL.isdisjoint(names) and not is_untrusted(error)


def is_untrusted(error: BaseException) -> bool:
    """
    Say whether *error* tells that the other side's certificate was refused, which no waiting mends.
    """
    # Clients that wrap it in an error of their own name it as the cause.
    return any(
        word in name
        for each in (error, error.__cause__, error.__context__)
        if each is not None
        for name in _names(each)
        for word in _UNTRUSTED
    )


def header(error: BaseException, *names: str) -> object:
    """
    Return the header of the response that *error* tells of, under the first of *names* that is there, or None.

    Looked for in ``error.response.headers`` and ``error.headers``. Libraries differ in whether their headers fold case:
    a plain dict does not, so give the usual spellings.
    """
    for holder in (attribute(error, "response"), error):
        get = getattr(attribute(holder, "headers"), "get", None)
        if not callable(get):
            continue
        for name in names:
            try:
                value = get(name)
            except Exception:  # noqa: BLE001  # foreign code: what it raises says that there is no header
                break
            if value is not None:
                return value
    return None


def _names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def attribute(holder: object, name: str) -> object:
    """
    Return an attribute of somebody else's object, whatever its properties do.
    """
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001  # foreign code (httpx raises RuntimeError without a response), asked by shape
        return None
