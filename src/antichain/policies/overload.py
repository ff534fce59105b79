"""
Which errors say that too much was asked of the other side, recognised by shape: no HTTP library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from antichain.errors import NodeTimeout
from antichain.policies.retry import retry_after
from antichain.policies.shapes import attribute, behind, status_of

__all__ = ["Overload", "OverloadKind", "overload_of"]

OverloadKind = Literal["rate", "unavailable", "timeout"]

STATUSES: Final[Mapping[int, OverloadKind]] = {
    408: "timeout",
    429: "rate",
    503: "unavailable",
    504: "timeout",
    529: "unavailable",
}
# Names of classes that say it without a number, or where no number came back; of subclasses too.
CLASSES: Final[Mapping[str, OverloadKind]] = {
    "RateLimitError": "rate",
    "TooManyRequests": "rate",
    "ResourceExhausted": "rate",
    "OverloadedError": "unavailable",
    "ServiceUnavailableError": "unavailable",
    "ServiceUnavailable": "unavailable",
}
# Clocks of a node that say nothing of its last call.
IN_ALL: Final[frozenset[str]] = frozenset({"total", "queue"})
TIMEOUT_ENDINGS: Final = ("Timeout", "TimeoutError", "TimeoutException")
# Codes of services whose client raises one class for everything (botocore, gRPC).
CODES: Final[Mapping[str, OverloadKind]] = {
    "Throttling": "rate",
    "ThrottlingException": "rate",
    "ThrottledException": "rate",
    "TooManyRequestsException": "rate",
    "RequestLimitExceeded": "rate",
    "ProvisionedThroughputExceededException": "rate",
    "SlowDown": "rate",
    "ServiceUnavailable": "unavailable",
    "ServiceUnavailableException": "unavailable",
    "ModelNotReadyException": "unavailable",
    "ModelTimeoutException": "timeout",
    "RequestTimeout": "timeout",
    "RequestTimeoutException": "timeout",
    "RESOURCE_EXHAUSTED": "rate",
    "UNAVAILABLE": "unavailable",
    "DEADLINE_EXCEEDED": "timeout",
}
# What a provider says in `code` or `type` of a 429 that no waiting mends: the account has nothing left.
SPENT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "credit_balance_too_low"})


@dataclass(frozen=True, slots=True)
class Overload:
    """
    Say how the other side was overloaded, and how many seconds it asks to wait (None: it does not say).

    *kind* is ``"rate"`` (429), ``"unavailable"`` (503, 529) or ``"timeout"`` (no answer in time, 408, 504).
    """

    kind: OverloadKind
    retry_after: float | None = None


def overload_of(error: BaseException, wall_now: float) -> Overload | None:
    """
    Read from *error* whether it says that too much was asked of the other side, else return None.

    Recognised by shape: a status 429, 503 or 529 in ``status_code``, ``status``, ``code`` or the same of
    ``error.response``; timeouts of any library, that of a node's attempt included; the classes and codes by which
    openai, anthropic, aiohttp, botocore and gRPC name these. What an error was raised from, and the members of a
    group, are looked at too. A cancellation is never an overload, nor is a 429 because an account is empty. *wall_now*
    is in seconds since the epoch.
    """
    for found in behind(error):
        kind = _kind_of(found)
        if kind is not None:
            return Overload(kind, _wait_of(found, wall_now))
    return None


def _kind_of(error: Exception) -> OverloadKind | None:
    # Only what the error was given: aiohttp has a deprecated property of the name `code`, which warns.
    given = vars(error)
    if not SPENT.isdisjoint((str(given.get("code")), str(given.get("type")))):
        return None
    code = _code_of(error)
    if code in CODES:
        return CODES[code]
    status = status_of(error)
    if status is not None:
        # Another status is an answer: whatever the class is called, nothing was too much.
        return STATUSES.get(status)
    if isinstance(error, NodeTimeout) and error.clock in IN_ALL:
        return None
    names = _names(error)
    if isinstance(error, TimeoutError) or any(name.endswith(TIMEOUT_ENDINGS) for name in names):
        return "timeout"
    return next((CLASSES[name] for name in names if name in CLASSES), None)


def _code_of(error: Exception) -> str:
    """
    Return the code by which botocore and gRPC tell what a class of theirs stands for, or nothing.
    """
    response = attribute(error, "response")
    if isinstance(response, Mapping):
        named = response.get("Error")
        return str(named.get("Code")) if isinstance(named, Mapping) else ""
    if "RpcError" in _names(error):
        code = attribute(error, "code")
        return str(attribute(code() if callable(code) else code, "name"))
    return ""


def _names(error: Exception) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _wait_of(error: Exception, wall_now: float) -> float | None:
    response = attribute(error, "response")
    if isinstance(response, Mapping):
        about = response.get("ResponseMetadata")
        headers = about.get("HTTPHeaders") if isinstance(about, Mapping) else None
        return retry_after(_Headed(headers), wall_now)
    return retry_after(error, wall_now)


class _Headed(Exception):  # noqa: N818  # carries headers to where they are read
    def __init__(self, headers: object) -> None:
        super().__init__()
        self.headers = headers
