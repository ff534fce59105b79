"""
What a test says about a provider: replies, failures, quotas, and what a script sees of a request. Nothing here serves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from antichain.errors import shown

__all__ = [
    "Answer",
    "Behaviour",
    "Delay",
    "Failure",
    "Quota",
    "Reply",
    "Request",
    "RetryAfter",
    "ToolCall",
]

Breakdown: TypeAlias = Literal["hang", "drop", "cut", "stall", "malformed", "slow"]
BREAKDOWNS: Final = get_args(Breakdown)
SentAs: TypeAlias = Literal["retry-after", "retry-after-ms", "date"]


@dataclass(frozen=True)
class Request:
    """
    A call that was let in, as `reply=`, `latency=` and `Failure(when=…)` see it.
    """

    path: str
    model: str
    body: Mapping[str, Any]  # Any: JSON
    # All that was said, one message or input a line.
    text: str
    # What the last user message says, or the first input.
    prompt: str
    # Its place among the calls that were let in, from 1: depends on who comes first.
    turn: int
    # How often this content has been let in, this time included: does not depend on who comes first.
    attempt: int
    # Digest of the content: path and body without `stream` and `stream_options`.
    key: str

    @cached_property
    def messages(self) -> Sequence[Mapping[str, Any]]:  # Any: JSON
        """
        The messages of a chat; nothing for embeddings.
        """
        return self.body.get("messages") or ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """
    A call that a reply asks for; *arguments* that are a text are sent as they are, also if they are no JSON.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A scripted answer to a chat: text, tool calls, or a refusal.
    """

    text: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    refusal: str | None = None
    # None: "stop", "length" or "tool_calls", as it is.
    finish_reason: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tool_calls, ToolCall):
            object.__setattr__(self, "tool_calls", (self.tool_calls,))


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """
    How a refused call is told when to come again.

    Args:
        seconds: None for what the provider knows: until a quota has room again, and 1 second if too many are in flight.
        sent_as: the header `Retry-After` in seconds, the header `retry-after-ms` in milliseconds, or `Retry-After` as
            an HTTP date (rounded up to a second).
    """

    seconds: float | None = None
    _: KW_ONLY
    sent_as: SentAs = "retry-after"

    def __post_init__(self) -> None:
        if self.seconds is not None:
            check_seconds("RetryAfter(seconds)", self.seconds)
        if self.sent_as not in get_args(SentAs):
            raise ValueError(f"RetryAfter(sent_as={shown(self.sent_as)}): give one of {', '.join(get_args(SentAs))}.")


@dataclass(frozen=True, slots=True)
class Quota:
    """
    What may pass in any window of *per* seconds; what is over it gets a 429.

    The window slides: whenever a call is let in, no more than *requests* were let in, and no more than *tokens*
    charged, in the *per* seconds up to then. A call is charged its prompt and its `max_tokens` (times `n`; nothing if
    it does not say) when it is let in, and what it really used from its end on. Refused calls are charged nothing.
    """

    requests: int | None = None
    tokens: int | None = None
    per: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (("requests", self.requests), ("tokens", self.tokens)):
            if value is not None and not is_whole(value, 1):
                raise ValueError(f"Quota({name}={shown(value)}): give a whole number from 1, or None for no limit.")
        if self.requests is None and self.tokens is None:
            raise ValueError("Quota() limits nothing: give requests= or tokens= or both.")
        if not 0 < self.per < math.inf:
            raise ValueError(f"Quota(per={shown(self.per)}): give a number of seconds above 0.")


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Something that goes wrong with the calls it applies to: all that its conditions agree on, every call if it has none.

    Args:
        kind: a status from 400 to 599, or a breakdown:
            `"hang"`: never answers; `"drop"`: closes the connection before a first byte;
            `"cut"`: closes it in the middle of the body; `"stall"`: stops in the middle of the body, and never goes on;
            `"malformed"`: answers 200 with broken JSON; `"slow"`: lets the body trickle for *seconds*.
        when: a text that the request has in it, or a function of the `Request`.
        calls: which of the calls that are let in, from 1: a number or several, such as `range(10, 20)`. In order of
            arrival, so it hits whoever comes then.
        attempts: which of the times that the same content comes, from 1: `attempts=1` fails once and then works,
            whatever the order of arrival.
        share: probability from 0 to 1, drawn from the provider's seed, the content and how often it came.
        after: seconds until a status or a drop comes; None for the latency of an answer.
        retry_after: sent with a status.
        message: the text of the error.
    """

    kind: int | Breakdown
    when: str | Callable[[Request], object] | None = None
    calls: int | Collection[int] | None = None
    attempts: int | Collection[int] | None = None
    share: float = 1.0
    after: float | None = None
    seconds: float = 1.0
    retry_after: float | RetryAfter | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        is_status = isinstance(self.kind, int) and 400 <= self.kind <= 599
        if not is_status and self.kind not in BREAKDOWNS:
            known = ", ".join(map(repr, BREAKDOWNS))
            raise ValueError(f"Failure({shown(self.kind)}): give a status from 400 to 599, or one of {known}.")
        if not 0 <= self.share <= 1:
            raise ValueError(f"Failure(share={shown(self.share)}): give a probability from 0 to 1.")
        check_seconds("Failure(seconds)", self.seconds)
        if self.after is not None:
            check_seconds("Failure(after)", self.after)

    @property
    def has_body(self) -> bool:
        """
        Whether an answer is begun, and then spoilt.
        """
        return self.kind in ("cut", "stall", "malformed", "slow")

    def applies_to(self, request: Request, chance: float) -> bool:
        """
        Whether it hits *request*, whose draw is *chance*.
        """
        if self.calls is not None and not has_number(self.calls, request.turn):
            return False
        if self.attempts is not None and not has_number(self.attempts, request.attempt):
            return False
        if isinstance(self.when, str):
            return self.when in request.text and chance < self.share
        return (self.when is None or bool(self.when(request))) and chance < self.share


def has_number(numbers: int | Collection[int], number: int) -> bool:
    """
    Whether *number* is the one that is given, or among them.
    """
    return number == numbers if isinstance(numbers, int) else number in numbers


# What a script may answer: a text, a Reply, JSON to be sent as the text, a Failure; None for the default.
Answer: TypeAlias = str | Reply | Failure | Mapping[str, Any] | Sequence[Any] | None
Delay: TypeAlias = float | tuple[float, float] | Callable[[Request], float]


@dataclass(kw_only=True, eq=False)
class Behaviour:
    """
    All that can be said of how a provider behaves; each may be set while it serves, and counts from the next call on.
    """

    # A text or Reply for every call, a function of the Request, or a list with one for each call in turn.
    reply: str | Reply | Failure | Callable[[Request], Answer] | Iterable[Answer] | None = None
    # Seconds from being let in to the end of the answer (of a stream: to its first chunk).
    latency: Delay = 0.0
    # Streams: seconds to the first chunk, if that is not the latency; seconds between chunks.
    first_chunk: Delay | None = None
    pace: Delay = 0.0
    # How many calls are served at once; what comes on top gets a 429, or waits its turn if queue is set.
    allowed: int | None = None
    queue: bool = False
    # What a 429 of allowed or quota says about coming again; None says nothing.
    retry_after: float | RetryAfter | None = None
    quota: Quota | Sequence[Quota] = ()
    # The first that applies to a call, hits it.
    failures: Failure | Sequence[Failure] = ()
    # Asked of every call, if given.
    api_key: str | None = None
    # Names that exist; None: every name does.
    models: Sequence[str] | None = None
    # Length of an embedding that does not ask for one.
    dimensions: int = 64
    seed: int = 0
    # 0: one that is free.
    port: int = 0

    if not TYPE_CHECKING:  # so that type checkers still know which attributes there are

        def __setattr__(self, name: str, value: object) -> None:
            if not name.startswith("_"):
                if name not in Behaviour.__dataclass_fields__:
                    known = ", ".join(Behaviour.__dataclass_fields__)
                    raise AttributeError(f"a provider has no setting {name!r}. Settings: {known}.")
                check = CHECKS.get(name)
                if check is not None:
                    check(name, value)
            object.__setattr__(self, name, value)
            if name == "allowed":
                self._allowed_changed()

    def _allowed_changed(self) -> None:
        """
        Be told that those who wait may be let in now.
        """


def is_whole(value: object, low: int) -> bool:
    """
    Whether it is a whole number from *low*, and no truth value.
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def check_seconds(name: str, value: object) -> None:
    """
    Refuse what is no number of seconds.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value < math.inf):  # type: ignore[operator]  # it is a number by then
        raise ValueError(f"{name}={shown(value)}: give a number of seconds from 0.")


def check_delay(name: str, value: object) -> None:
    """
    Refuse what is no delay: seconds, a pair of them, or a function of the request.
    """
    if value is None and name == "first_chunk":
        return
    if isinstance(value, tuple):
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"{name}={shown(value)}: give (low, high) in seconds.")
        for each in value:
            check_seconds(name, each)
    elif not callable(value):
        check_seconds(name, value)


def check_allowed(name: str, value: object) -> None:
    """
    Refuse what is no number of calls at once.
    """
    if value is not None and not is_whole(value, 0):
        raise ValueError(f"{name}={shown(value)}: give a whole number from 0, or None for no limit.")


def check_retry_after(name: str, value: object) -> None:
    """
    Refuse what says nothing about when to come again.
    """
    if value is not None and not isinstance(value, RetryAfter):
        check_seconds(name, value)


def check_dimensions(name: str, value: object) -> None:
    """
    Refuse what is no length of a vector.
    """
    if not is_whole(value, 1):
        raise ValueError(f"{name}={shown(value)}: give a whole number from 1.")


def check_parts(kind: type) -> Callable[[str, object], None]:
    """
    Make the check for one of *kind* or several.
    """

    def check(name: str, value: object) -> None:
        parts = [value] if isinstance(value, kind) else value
        if not isinstance(parts, Sequence) or not all(isinstance(part, kind) for part in parts):
            raise ValueError(f"{name}={shown(value)}: give a {kind.__name__}, or a list of them.")

    return check


def check_models(name: str, value: object) -> None:
    """
    Refuse one text where names are meant: its letters would be the models.
    """
    if isinstance(value, str):
        raise ValueError(f"{name}={shown(value)}: give a list of names, such as [{value!r}].")


CHECKS: Final[Mapping[str, Callable[[str, object], None]]] = {
    "latency": check_delay,
    "first_chunk": check_delay,
    "pace": check_delay,
    "allowed": check_allowed,
    "retry_after": check_retry_after,
    "quota": check_parts(Quota),
    "failures": check_parts(Failure),
    "models": check_models,
    "dimensions": check_dimensions,
}
