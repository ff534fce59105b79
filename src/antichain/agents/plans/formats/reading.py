"""
The door to all forms: steps of a plan from any source, each as soon as it is whole. What cannot be read is a value too.
"""

from __future__ import annotations

import asyncio
import codecs
import inspect
import itertools
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Final, Literal, Protocol

from antichain.agents.plans.formats import anthropic_events, langchain_chunks, openai_chunks, openai_events
from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.call_text import CallReader
from antichain.agents.plans.formats.calls import Calls, part
from antichain.agents.plans.formats.detecting import FormDetector
from antichain.agents.plans.formats.faults import FormatFault, Unreadable, quoted
from antichain.agents.plans.formats.json_text import JsonReader
from antichain.agents.plans.formats.step_form import ARGS, DEPENDS, TOOL, Found, is_id, is_step, step_of
from antichain.agents.plans.formats.values import checked

PlanFormat = Literal["auto", "json", "llmcompiler", "openai", "anthropic", "langchain", "steps"]

FORMATS: Final = ("auto", "json", "llmcompiler", "openai", "anthropic", "langchain", "steps")
# A long text is looked at in parts, so that nobody waits for steps that stand at its beginning.
_PART: Final = 65_536
# Characters that a piece counts for which is no text, or an empty one.
_PIECE: Final = 10

# In this file, Any is what a source gives: texts, or objects of a provider's client.
Source = str | bytes | Iterable[Any] | AsyncIterable[Any]


async def read_steps(
    source: Source,
    format: PlanFormat = "auto",  # noqa: A002  # public name
    *,
    bounds: ReadingBounds = ReadingBounds(),
) -> AsyncGenerator[Found, None]:
    r"""
    Give the steps of a plan while it is written, each as ``{"id", "tool", "args", "depends_on"}``, and a `FormatFault`
    for each thing that cannot be read.

    *source* is a text, or gives pieces of one (texts or UTF-8 bytes), or what OpenAI, Anthropic or LangChain stream, or
    steps as dicts. `args` are a list where they were written by position. The source is read no further than the next
    step, and is closed when reading stops.

    Args:
        format: "auto" finds out; the others refuse or pass over what is of another form.

    Raises:
        ValueError: *format* is none of the above. What the source raises is raised on.

    Example:
        >>> import asyncio
        >>> async def tools_of(text):
        ...     return [step["tool"] async for step in read_steps(text)]
        >>> asyncio.run(tools_of('1. search("tides")\n2. report("${1}")\n3. join()'))
        ['search', 'report']
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is no form of a plan: take one of {', '.join(FORMATS)}")
    reading = _Reading(format, bounds)
    items = _items_of(source)
    try:
        async for item in items:
            for found in reading.take(item):
                yield found
            if reading.has_ended:
                break
        for found in reading.finish():
            yield found
    finally:
        await items.aclose()


async def _items_of(source: object) -> AsyncGenerator[Any, None]:
    """
    Give what the source gives, and close it.
    """
    if isinstance(source, (str, bytes, Mapping)):
        yield source
    elif isinstance(source, AsyncIterable):
        iterator = aiter(source)
        try:
            async for item in iterator:
                yield item
        finally:
            await _close(iterator)
            if iterator is not source:
                await _close(source)
    elif isinstance(source, Iterable):
        given = iter(source)
        try:
            for item in given:
                yield item
                if not isinstance(source, Collection):
                    # Whatever it waits for, steps that were given may start before.
                    await asyncio.sleep(0)
        finally:
            # Other iterators (a file, a cursor) are the user's to close.
            if isinstance(given, Generator):
                given.close()
    else:
        what = f"a plan cannot be read from {quoted(source)}"
        raise TypeError(f"{what}: give a text, or a (sync or async) iterable of texts, chunks or steps")


async def _close(iterator: object) -> None:
    """
    Close what was read from; clients of providers call it `close`.
    """
    close = getattr(iterator, "aclose", None)
    if close is None and inspect.iscoroutinefunction(getattr(iterator, "close", None)):
        close = iterator.close  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    if close is not None:
        await close()


class _Provider(Protocol):
    """
    How a provider says things: a module.
    """

    def text_of(self, item: Any, /) -> str:
        """
        Return the text in a piece.
        """
        ...

    def calls_in(self, item: Any, calls: Calls, /) -> Iterator[Found]:
        """
        Give the calls that a piece makes complete.
        """
        ...


class _Reading:
    """
    Hand what comes to the reader of its form.
    """

    def __init__(self, form: PlanFormat, bounds: ReadingBounds) -> None:
        self._format = form
        self._bounds = bounds
        self._numbers = itertools.count(1)
        self._calls = Calls(bounds, self._number)
        self._text: JsonReader | CallReader | None = None
        self._detector = FormDetector() if form == "auto" else None
        # Bytes that are no text become halves of characters, which are refused where they would be in a step.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        # Characters that may still come.
        self._room = bounds.plan_characters
        self._is_too_long = False
        self._has_text = self._has_steps = False
        if form in ("json", "llmcompiler"):
            self._text = self._reader_of(form)

    def _number(self) -> int:
        return next(self._numbers)

    @property
    def has_ended(self) -> bool:
        """
        Whether nothing more is to be read.
        """
        return self._is_too_long or self._calls.has_ended or (self._text is not None and self._text.has_ended)

    def take(self, item: Any) -> Iterator[Found]:
        """
        Give the steps that *item* makes complete.
        """
        if type(item) is str and self._text is not None and 0 < len(item) <= min(self._room, _PART):
            # What nearly every piece is: a few characters more of a known form.
            self._room -= len(item)
            return self._text.feed(item)
        return self._take(item)

    def _take(self, item: Any) -> Iterator[Found]:
        if not item or not isinstance(item, (str, bytes, bytearray)):
            # Whatever is in it, and be it nothing: a source may be endless.
            self._room -= _PIECE
            if self._room < 0:
                yield self._too_long()
                return
        if isinstance(item, (bytes, bytearray)):
            item = self._decoder.decode(item)
        if isinstance(item, str):
            yield from self._take_text(item)
        elif item is None:
            return
        elif openai_chunks.is_chunk(item):
            yield from self._take_said(item, "openai", openai_chunks)
        elif openai_events.is_event(item):
            yield from self._take_said(item, "openai", openai_events)
        elif anthropic_events.is_event(item):
            yield from self._take_said(item, "anthropic", anthropic_events)
        elif langchain_chunks.is_chunk(item):
            yield from self._take_said(item, "langchain", langchain_chunks)
        elif self._format in ("auto", "steps"):
            yield from self._take_steps(item)

    def _take_text(self, text: str) -> Iterator[Found]:
        if self._calls.found or self._format in ("openai", "anthropic", "langchain", "steps"):
            # Text beside calls is what the model says about them.
            return
        self._has_text = True
        room, self._room = self._room, self._room - len(text)
        if len(text) <= min(room, _PART):
            yield from self._feed(text)
            return
        for at in range(0, min(len(text), room), _PART):
            yield from self._feed(text[at : min(room, at + _PART)])
            if self.has_ended:
                return
        if self._room < 0:
            yield self._too_long()

    def _too_long(self) -> FormatFault:
        self._is_too_long = True
        problem = f"the plan is longer than {self._bounds.plan_characters:,} characters"
        return FormatFault(self._number(), None, problem)

    def _feed(self, text: str) -> Iterator[Found]:
        if self._text is None:
            assert self._detector is not None
            form = self._detector.feed(text)
            if form is None:
                return
            text = "".join(self._detector.held)
            self._text = self._reader_of(form)
        yield from self._text.feed(text)

    def _reader_of(self, form: str) -> JsonReader | CallReader:
        reader = JsonReader if form == "json" else CallReader
        return reader(self._bounds, self._number)

    def _take_said(self, item: Any, form: str, provider: _Provider) -> Iterator[Found]:
        """
        Take a piece of an answer: of its calls, or of its text.
        """
        if self._format in ("auto", form):
            before = self._calls.size
            yield from provider.calls_in(item, self._calls)
            self._room -= self._calls.size - before
            if self._room < 0:
                yield self._too_long()
                return
        if text := provider.text_of(item):
            yield from self._take_text(text)

    def _take_steps(self, item: Any) -> Iterator[Found]:
        self._has_steps = True
        steps = part(item, "steps")
        is_plan = isinstance(steps, (list, tuple)) and not is_step(item)
        for step in steps if is_plan else [item]:
            yield from self._take_step(step)

    def _take_step(self, item: Any) -> Iterator[Found]:
        if not isinstance(item, Mapping) and hasattr(item, "tool"):
            item = {name: getattr(item, name, None) for name in ("id", *TOOL, *ARGS, *DEPENDS)}
        position = self._number()
        try:
            value = checked(item, self._bounds)
        except Unreadable as error:
            name = item.get("id") if isinstance(item, Mapping) else None
            yield FormatFault(position, name if is_id(name) else None, str(error))
        else:
            yield from step_of(position, value)

    def finish(self) -> Iterator[Found]:
        """
        Give what the end of the source makes complete, or leaves incomplete.
        """
        if self._is_too_long:
            return
        yield from self._calls.finish()
        if not self._calls.found and not self._has_steps:
            yield from self._finish_text()
        is_complete = self._text is not None and self._text.is_complete
        if self._calls.cut is not None and not self._calls.cut_is_said and not is_complete:
            yield FormatFault(self._number(), None, f"{self._calls.cut} before the plan was complete")

    def _finish_text(self) -> Iterator[Found]:
        if self._has_text and self._text is None:
            held = "".join(self._detector.held) if self._detector is not None else ""
            self._text = self._reader_of("json")
            yield from self._text.feed(held)
        if self._text is not None:
            for found in self._text.finish(self._calls.cut or "the text ends"):
                self._calls.cut_is_said = self._calls.cut_is_said or isinstance(found, FormatFault)
                yield found
