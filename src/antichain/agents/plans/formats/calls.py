"""
Calls of tools that are put together from pieces, several at a time; each is given when the object of its arguments
closes. How providers name the pieces is said in `openai_chunks`, `openai_events` and `anthropic_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import FormatFault, Unreadable, quoted
from antichain.agents.plans.formats.scanning import ObjectScan
from antichain.agents.plans.formats.step_form import Found
from antichain.agents.plans.formats.values import checked, joined, read_json

# Reasons for which a provider stops in the middle.
_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "content_filter"})
_LONGEST_NAME: Final = 1_000

# In this file, Any is what a provider sent: dicts, or objects of its client.


def part(value: Any, name: str) -> Any:
    """
    Return the part of a chunk that has that name, or None.
    """
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def listed(value: Any) -> Iterable[Any]:
    """
    Return *value* if it is a list, else nothing.
    """
    return value if isinstance(value, (list, tuple)) else ()


def key_of(index: Any) -> int | str | None:
    """
    Return what a provider calls a call by while it is written.
    """
    return index if isinstance(index, (int, str)) else None


class Calls:
    """
    The calls of one answer, as far as they have been written.
    """

    def __init__(self, bounds: ReadingBounds, number: Callable[[], int]) -> None:
        self._bounds = bounds
        self._number = number
        # Calls that may go on, by what the provider calls them; those that are whole too, since nobody says so.
        self._open: dict[object, Call] = {}
        # Those of them that are not whole.
        self._unfinished: set[Call] = set()
        self.last: Call | None = None
        # Characters of all arguments.
        self.size = 0
        # Why the provider stopped, if it stopped in the middle, and whether a fault says so.
        self.cut: str | None = None
        self.cut_is_said = False
        self.has_ended = False
        # Whether there was a call at all.
        self.found = False

    def get(self, key: object) -> Call | None:
        """
        Return the call that is being written under *key*.
        """
        return self._open.get(key)

    def begin(self, key: object, call_id: object, name: object) -> Iterator[Found]:
        """
        Begin a call, which is then the last one.
        """
        if (before := self._open.get(key)) is not None:
            yield from self.end(before)
        if len(self._unfinished) >= self._bounds.open_calls:
            self.has_ended = True
            problem = f"more than {self._bounds.open_calls} calls are being written at the same time"
            yield FormatFault(self._number(), None, problem)
            return
        self.found = True
        self.last = self._open[key] = Call(self._bounds, self._number())
        self._unfinished.add(self.last)
        self.last.name_it(call_id, name)

    def add(self, call: Call, arguments: object) -> Iterator[Found]:
        """
        Take a piece of a call's arguments: text, or all of them as an object.
        """
        self.size += len(arguments) if isinstance(arguments, str) else 1
        yield from call.feed(arguments)
        if call.is_over:
            self._unfinished.discard(call)

    def end(self, call: Call) -> Iterator[Found]:
        """
        Note that nothing of a call follows.
        """
        for key in [key for key, other in self._open.items() if other is call]:
            del self._open[key]
        yield from self._finish(call)

    def stop(self, reason: object) -> Iterator[Found]:
        """
        Note that the provider says why the answer ends.
        """
        if isinstance(reason, str):
            if reason in _CUT:
                self.cut = f"the model was stopped ({reason})"
            yield from self.finish()

    def fail(self, message: object) -> Iterator[Found]:
        """
        Note that the provider gave up.
        """
        self.has_ended = True
        yield FormatFault(self._number(), None, f"the provider ended the plan with an error: {quoted(message)}")

    def finish(self) -> Iterator[Found]:
        """
        Give what is not complete at the end of the stream.
        """
        calls, self._open = self._open, {}
        for call in calls.values():
            yield from self._finish(call)

    def _finish(self, call: Call) -> Iterator[Found]:
        self._unfinished.discard(call)
        for found in call.finish(self.cut):
            # Anthropic says why only after the end of the call.
            self.cut_is_said = self.cut_is_said or isinstance(found, FormatFault)
            yield found


class Call:
    """
    One call that is being written.
    """

    def __init__(self, bounds: ReadingBounds, position: int) -> None:
        self.call_id: str | None = None
        self.name = ""
        self.has_arguments = False
        self._bounds = bounds
        self._position = position
        self._scan = ObjectScan(bounds)
        self._has_begun = False
        self._is_given = False
        self._is_refused = False

    @property
    def is_over(self) -> bool:
        """
        Whether it has been given, or refused.
        """
        return self._is_given or self._is_refused

    def name_it(self, call_id: object, name: object) -> None:
        """
        Take the id, and the tool's name or more of it.
        """
        if isinstance(call_id, str) and call_id and self.call_id is None:
            self.call_id = call_id[:_LONGEST_NAME]
        # Some providers say the whole name each time.
        if isinstance(name, str) and not self.has_arguments and self.name != name:
            self.name = (self.name + name)[:_LONGEST_NAME]

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
