"""
What happens to a call that was let in: which failure hits it, what it is answered, how long that takes. No HTTP here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antichain.errors import shown
from antichain.testing.provider import wire
from antichain.testing.provider.answers import default_reply, embed
from antichain.testing.provider.chance import content_key, draw
from antichain.testing.provider.checks import Chat, Embedding, Refused
from antichain.testing.provider.script import Answer, Behaviour, Delay, Failure, Reply, Request
from antichain.testing.provider.tokens import Usage

__all__ = ["Answered", "Play"]


@dataclass(frozen=True)
class Answered:
    """
    An answer that is ready to be sent: a body, or the events of a stream with the tokens that each brings.
    """

    usage: Usage
    body: bytes = b""
    events: Sequence[tuple[bytes, int]] = ()


class Play:
    """
    Follow the script of a behaviour, call after call.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        # How often each content was let in.
        self._attempts: Counter[str] = Counter()
        self._turns = 0
        # The list of replies that is being read, and where it is.
        self._script: object = None
        self._replies: Iterator[Answer] | None = None
        # The reply of that list that was taken last, if it did not arrive.
        self._kept: list[Answer] = []

    def request(self, path: str, body: Mapping[str, Any], wanted: Chat | Embedding) -> Request:  # Any: JSON
        """
        Count a call that was let in, and describe it.
        """
        key = content_key(path, body)
        self._turns += 1
        self._attempts[key] += 1
        return Request(
            path=path,
            model=wanted.model,
            body=body,
            text=wanted.text,
            prompt=wanted.prompt,
            turn=self._turns,
            attempt=self._attempts[key],
            key=key,
        )

    def fate(self, request: Request, wanted: Chat | Embedding) -> tuple[Answered | None, Failure | None]:
        """
        Choose what becomes of a call: an answer, a failure, or an answer that a failure spoils.

        A reply of a list that does not arrive whole is kept for the next call.
        """
        failure = self._failure(request)
        if failure is not None and not failure.has_body:
            return None, failure
        is_lost = failure is not None and failure.kind != "slow"
        said = None if isinstance(wanted, Embedding) else self._scripted(request, is_lost)
        if isinstance(said, Failure):
            failure, said = failure or said, None
        if failure is not None and not failure.has_body:
            return None, failure
        return self._answer(request, wanted, said), failure

    def _failure(self, request: Request) -> Failure | None:
        given = self._behaviour.failures
        for place, failure in enumerate([given] if isinstance(given, Failure) else given):
            chance = draw(self._behaviour.seed, "failure", place, request.key, request.attempt)
            if asked_of_script("Failure(when=…)", failure.applies_to, request, chance):
                return failure
        return None

    def _answer(self, request: Request, wanted: Chat | Embedding, said: Answer) -> Answered:
        if said is None or isinstance(wanted, Embedding):
            return self._default(request, wanted)
        if not isinstance(said, str | Reply):
            said = str(asked_of_script("reply= returned what is no JSON, and", json.dumps, said))
        return self._ready(request, wanted, [Reply(said) if isinstance(said, str) else said] * wanted.n)

    def _scripted(self, request: Request, is_lost: bool) -> Answer:
        script = self._behaviour.reply
        if script is None or isinstance(script, str | Reply | Failure):
            return script
        if callable(script):
            return asked_of_script("reply=", script, request)  # type: ignore[no-any-return]  # what the script says
        if script is not self._script or self._replies is None:
            self._script, self._replies, self._kept = script, iter(script), []
        try:
            reply = self._kept.pop() if self._kept else next(self._replies)
        except StopIteration:
            text = f"The list of replies has ended before call {request.turn}; give more, or None."
            raise script_error(text) from None
        if is_lost:
            self._kept.append(reply)
        return reply

    def _default(self, request: Request, wanted: Chat | Embedding) -> Answered:
        if isinstance(wanted, Embedding):
            length = wanted.dimensions or self._behaviour.dimensions
            vectors = [embed(text, length, self._behaviour.seed) for text in wanted.inputs]
            return Answered(Usage(wanted.prompt_tokens, 0), wire.encode(wire.embeddings(wanted, vectors)))

        def chance(what: object) -> float:
            return draw(self._behaviour.seed, "answer", request.key, what)

        return self._ready(request, wanted, [default_reply(wanted, number, chance) for number in range(wanted.n)])

    def _ready(self, request: Request, wanted: Chat, replies: Sequence[Reply]) -> Answered:
        keys = [f"{request.key}{number:03d}" for number in range(wanted.n)]
        choices = [wire.make_choice(reply, wanted, key) for reply, key in zip(replies, keys, strict=True)]
        usage = Usage(wanted.prompt_tokens, sum(choice.cost for choice in choices))
        if wanted.is_stream:
            return Answered(usage, events=wire.stream_events(wanted, choices, usage, request.key))
        return Answered(usage, wire.encode(wire.completion(wanted, choices, usage, request.key)))

    def seconds(self, name: str, request: Request) -> float:
        """
        Draw or ask for how long something takes: "latency", "first_chunk" or "pace".
        """
        delay: Delay = getattr(self._behaviour, name)
        if callable(delay):
            seconds = asked_of_script(f"{name}=", delay, request)
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise script_error(f"{name}= returned {shown(seconds)}: give a number of seconds from 0.")
            return seconds
        if isinstance(delay, tuple):
            low, high = delay
            return low + (high - low) * draw(self._behaviour.seed, name, request.key, request.attempt)
        return delay


def script_error(text: str) -> Refused:
    """
    Say that the test's own script is at fault; no client should try again.
    """
    refused = Refused(f"FakeProvider: {text}", status=500, code="script", type_="script_error")
    refused.headers["x-should-retry"] = "false"
    return refused


def asked_of_script(name: str, function: Callable[..., Any], *arguments: Any) -> Any:  # Any: a user's function
    """
    Call a function of the script; what it raises becomes the answer.
    """
    try:
        return function(*arguments)
    except Exception as error:  # whatever a test's script raises is shown to the test
        raise script_error(f"{name} raised {type(error).__name__}: {error}") from error
