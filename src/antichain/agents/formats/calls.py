"""
Calls of tools as providers stream them: OpenAI's chat completion chunks and Anthropic's events, as dicts or as objects
of their clients. A call is given when the object of its arguments closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from antichain.agents.formats.bounds import ReadingBounds
from antichain.agents.formats.faults import FormatFault, Unreadable, quoted
from antichain.agents.formats.scanning import ObjectScan
from antichain.agents.formats.step_form import Found
from antichain.agents.formats.values import checked, joined, read_json

ANTHROPIC_EVENTS: Final = frozenset(
    {
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "error",
        "message_delta",
        "message_start",
        "message_stop",
        "ping",
    }
)
# Reasons for which a provider stops in the middle.
_CUT: Final = frozenset({"length", "max_tokens", "content_filter"})
_LONGEST_NAME: Final = 1_000

# In this file, Any is what a provider sent: dicts, or objects of its client.


def part(value: Any, name: str) -> Any:
    """
    Return the part of a chunk that has that name, or None.
    """
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


class CallsReader:
    """
    Put calls together from their pieces, several at a time, and give each when it is whole.
    """

    def __init__(self, bounds: ReadingBounds, number: Callable[[], int]) -> None:
        self._bounds = bounds
        self._number = number
        # Calls that are being written, by the provider's index.
        self._open: dict[object, _Call] = {}
        self._last: _Call | None = None
        # Why the provider stopped, if it stopped in the middle, and whether a fault says so.
        self.cut: str | None = None
        self.cut_is_said = False
        self.has_ended = False
        # Whether there was a call at all.
        self.found = False

    # -- OpenAI

    def feed_chunk(self, chunk: Any) -> Iterator[Found]:
        """
        Give the calls that *chunk*, of a chat completion, makes complete.
        """
        for choice in first_choices(chunk):
            for delta in _listed(part(said_in(choice), "tool_calls")):
                yield from self._feed_delta(delta)
                if self.has_ended:
                    return
            reason = part(choice, "finish_reason")
            if isinstance(reason, str):
                yield from self._stop(reason)

    def _feed_delta(self, delta: Any) -> Iterator[Found]:
        index, call_id, function = part(delta, "index"), part(delta, "id"), part(delta, "function")
        name, arguments = part(function, "name"), part(function, "arguments")
        call = self._open.get(index) if isinstance(index, int) else self._last
        if call is not None and call_id and call.call_id not in (None, call_id) and name:
            # Some providers give every call the same index, or none.
            yield from self._end(call)
            call = None
        if call is None:
            if index is None and not (call_id or name):
                return
            call = self._begin(index if isinstance(index, int) else object(), call_id)
            if call is None:
                yield self._too_many()
                return
        self._last = call
        call.call_id = call.call_id or (call_id if isinstance(call_id, str) else None)
        if isinstance(name, str) and not call.has_arguments and call.name != name:
            call.name = (call.name + name)[:_LONGEST_NAME]
        yield from call.feed(arguments)

    # -- Anthropic

    def feed_event(self, event: Any) -> Iterator[Found]:
        """
        Give the call that *event*, of a message, makes complete.
        """
        index = part(event, "index")
        match part(event, "type"):
            case "content_block_start":
                block = part(event, "content_block")
                if part(block, "type") == "tool_use":
                    if (call := self._begin(index, part(block, "id"))) is None:
                        yield self._too_many()
                        return
                    call.name = str(part(block, "name") or "")[:_LONGEST_NAME]
                    # Whole calls come like this where nothing is streamed.
                    yield from call.feed(part(block, "input") or None)
            case "content_block_delta" if (call := self._open.get(index)) is not None:
                delta = part(event, "delta")
                if part(delta, "type") == "input_json_delta":
                    yield from call.feed(part(delta, "partial_json"))
            case "content_block_stop" if (call := self._open.get(index)) is not None:
                yield from self._end(call)
            case "message_delta":
                reason = part(part(event, "delta"), "stop_reason")
                if isinstance(reason, str):
                    yield from self._stop(reason)
            case "error":
                message = quoted(part(part(event, "error"), "message"))
                yield FormatFault(self._number(), None, f"the provider ended the plan with an error: {message}")
                self.has_ended = True
            case _:
                # Text, thinking, usage: no part of a call.
                return

    # -- both

    def finish(self) -> Iterator[Found]:
        """
        Give what is not complete at the end of the stream.
        """
        for call in list(self._open.values()):
            yield from self._end(call)

    def _begin(self, index: object, call_id: object) -> _Call | None:
        if len(self._open) >= self._bounds.open_calls:
            return None
        self.found = True
        if isinstance(call_id, str):
            call_id = call_id[:_LONGEST_NAME]
        call = _Call(self._bounds, self._number(), call_id if isinstance(call_id, str) and call_id else None)
        self._open[index] = call
        return call

    def _too_many(self) -> FormatFault:
        self.has_ended = True
        return FormatFault(
            self._number(), None, f"more than {self._bounds.open_calls} calls are being written at the same time"
        )

    def _end(self, call: _Call) -> Iterator[Found]:
        for index in [index for index, other in self._open.items() if other is call]:
            del self._open[index]
        for found in call.finish(self.cut):
            # Anthropic says why only after the end of the call.
            self.cut_is_said = self.cut_is_said or isinstance(found, FormatFault)
            yield found

    def _stop(self, reason: str) -> Iterator[Found]:
        if reason in _CUT:
            self.cut = f"the model was stopped ({reason})"
        yield from self.finish()


class _Call:
    """
    One call that is being written.
    """

    def __init__(self, bounds: ReadingBounds, position: int, call_id: str | None) -> None:
        self.call_id = call_id
        self.name = ""
        self.has_arguments = False
        self._bounds = bounds
        self._position = position
        self._scan = ObjectScan(bounds)
        self._has_begun = False
        self._is_given = False
        self._is_refused = False

    def feed(self, arguments: object) -> Iterator[Found]:
        """
        Take a piece of the arguments: text, or all of them as an object.
        """
        if isinstance(arguments, Mapping):
            self.has_arguments = True
            yield from self._give(arguments)
        elif isinstance(arguments, str) and arguments:
            yield from self._feed_text(arguments)

    def _feed_text(self, text: str) -> Iterator[Found]:
        if not self._has_begun:
            text = text.lstrip()
            if not text:
                return
            self._has_begun = self.has_arguments = True
            if not text.startswith("{"):
                yield from self._refuse(f"the arguments must be a JSON object; they begin with {quoted(text[:20])}")
        if self._is_refused:
            return
        at = self._scan.read(text, 0)
        if self._scan.problem is not None:
            yield from self._refuse(f"the arguments cannot be read: {self._scan.problem}")
        elif rest := text[at:].strip():
            # Before the call is given, if that is still possible.
            yield from self._refuse(f"after the arguments there is more text: {quoted(rest[:20])}")
        elif self._scan.state == "whole" and not self._is_given:
            yield from self._read()

    def _read(self) -> Iterator[Found]:
        try:
            value = read_json(self._scan.text, self._bounds)
        except Unreadable as error:
            yield from self._refuse(f"the arguments cannot be read: {error}")
        else:
            yield from self._give(value)

    def finish(self, cut: str | None) -> Iterator[Found]:
        """
        Give the call though nothing of it follows, or say what is missing.
        """
        if self._is_given or self._is_refused:
            return
        if not self._has_begun and cut is None:
            yield from self._give({})
        else:
            yield from self._refuse(f"{cut or 'the stream ends'} inside the arguments of this call")

    def _give(self, args: Any) -> Iterator[Found]:
        if self._is_given:
            yield from self._refuse("the call has arguments twice")
            return
        try:
            args, tool, step_id = checked(args, self._bounds), joined(self.name), joined(self.call_id or "")
        except Unreadable as error:
            yield from self._refuse(f"the call cannot be read: {error}")
            return
        if not tool:
            yield from self._refuse("the call names no tool")
            return
        self._is_given = True
        yield {"id": step_id or str(self._position), "tool": tool, "args": args, "depends_on": []}

    def _refuse(self, problem: str) -> Iterator[Found]:
        self._is_refused = True
        self._scan.forget()
        yield FormatFault(self._position, self.call_id, problem)


def first_choices(chunk: Any) -> list[Any]:
    """
    Return the choices of a chunk that belong to the first answer; others are other plans.
    """
    return [choice for choice in _listed(part(chunk, "choices")) if part(choice, "index") in (0, None)]


def said_in(choice: Any) -> Any:
    """
    Return what a choice adds: a delta, or the message if it was not streamed.
    """
    delta = part(choice, "delta")
    return part(choice, "message") if delta is None else delta


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else ()
