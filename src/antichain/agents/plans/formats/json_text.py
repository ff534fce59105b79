"""
Steps as JSON in a text that comes in pieces: `[{…}, …]`, `{"steps": [{…}, …]}`, one object a line, with prose and
fences around. Each step is given when its last brace arrives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import FormatFault, Unreadable, quoted
from antichain.agents.plans.formats.scanning import ObjectScan
from antichain.agents.plans.formats.step_form import Found, is_meant_as_step, is_step, step_of
from antichain.agents.plans.formats.values import read_json

_OPENER: Final = re.compile(r"[{\[]")
_VISIBLE: Final = re.compile(r"\S")
_BETWEEN: Final = re.compile(r"[^\s,]")
_LOST: Final = re.compile(r"[{\]\n]|[^{\]\n]+")


class JsonReader:
    """
    Take a text piece by piece and give its steps, and what is wrong with them, as they end.

    After an object whose end cannot be known (a quote is missing) the next thing that looks like a step is searched;
    what is found on that search without being a step is passed over.
    """

    def __init__(self, bounds: ReadingBounds, number: Callable[[], int]) -> None:
        self._bounds = bounds
        # Gives the position of the next step.
        self._number = number
        self._given: list[Found] = []
        # Takes the text from a position on and returns where it stopped.
        self._state: Callable[[str, int], int] = self._outside
        self._opener = ""
        self._object: ObjectScan | None = None
        # Whether the fault of the object that is being read has been given.
        self._is_refused = False
        # Whether steps of a list are being read, and the object in which that list stands.
        self._in_list = False
        self._wrapper: ObjectScan | None = None
        # Whether the object that is being read is what follows such a list.
        self._in_tail = False
        # Whether it is unsure where objects begin, and whether one may begin here.
        self._is_lost = False
        self._is_edge = False
        # Whether there was anything that looked like a plan, and whether a list of steps has come to its end.
        self._found = False
        self.is_complete = False

    has_ended = False

    def feed(self, text: str) -> Iterator[Found]:
        """
        Give what is complete with *text*; what was not asked for is not read.
        """
        at = 0
        while at < len(text):
            at = self._state(text, at)
            if self._given:
                given, self._given = self._given, []
                yield from given

    def finish(self, cause: str = "the text ends") -> Iterator[Found]:
        """
        Give what is wrong because nothing follows.
        """
        if self._object is not None and not self._in_tail:
            if not self._is_refused:
                self._refuse(f"{cause} inside this step: the plan was cut off")
        elif self._in_list and not self._is_lost:
            self._fault(None, f"{cause} before the list of steps is closed: steps may be missing")
        elif not self._found:
            self._fault(None, "no step was found in the text: write the plan as a JSON list of steps")
        yield from self._given
        self._given = []

    # -- around and between steps

    def _outside(self, text: str, at: int) -> int:
        found = _OPENER.search(text, at)
        if found is None:
            return len(text)
        self._opener = found.group()
        self._state = self._opened
        return found.end()

    def _opened(self, text: str, at: int) -> int:
        """
        Tell JSON from braces in prose by what follows the first one.
        """
        found = _VISIBLE.search(text, at)
        if found is None:
            return len(text)
        next_character = found.group()
        self._state = self._outside
        if self._opener == "{" and next_character in "\"'":
            self._begin()
        elif self._opener == "[" and next_character == "{":
            self._found = self._in_list = True
            self._state = self._between
        elif self._opener == "[" and next_character == "]":
            self._found = self.is_complete = True
            return found.end()
        return found.start()

    def _between(self, text: str, at: int) -> int:
        found = _BETWEEN.search(text, at)
        if found is None:
            return len(text)
        character = found.group()
        if character == "{":
            self._begin()
        elif character == "]":
            self._close_list()
        else:
            self._fault(None, f"a step must be an object with `id`, `tool` and `args`; here begins {quoted(character)}")
            self._lose_way(is_edge=False)
            return found.start()
        return found.end()

    def _close_list(self) -> None:
        self._in_list = False
        self.is_complete = True
        self._state = self._outside
        self._object = None
        if self._wrapper is not None and not self._is_lost:
            # What else is in the object around the list is not needed, but it has an end.
            self._object = self._wrapper
            self._object.resume_after_list()
            self._in_tail = True
            self._state = self._inside
        self._wrapper = None

    # -- in an object

    def _begin(self) -> None:
        self._is_refused = False
        self._object = ObjectScan(self._bounds, may_wrap=not self._in_list)
        self._object.read("{", 0)
        self._state = self._inside

    def _inside(self, text: str, at: int) -> int:
        scan = self._object
        assert scan is not None
        at = scan.read(text, at)
        if scan.state == "steps":
            self._open_list(scan)
        elif scan.problem is not None and not self._is_refused and not self._in_tail:
            self._refuse(scan.problem)
            scan.forget()
        if scan.state == "whole":
            self._complete(scan)
        elif scan.state == "broken":
            at = self._recover(text, at)
        return at

    def _open_list(self, scan: ObjectScan) -> None:
        if self._in_tail:
            self._fault(None, "the key `steps` is given twice: give one list of steps")
        self._in_tail = False
        self._found = self._in_list = True
        self._wrapper, self._object = scan, None
        self._state = self._between

    def _complete(self, scan: ObjectScan) -> None:
        if self._in_tail:
            self._in_tail = False
        elif not self._is_refused:
            self._read(scan)
        self._object = None
        self._state = self._between if self._in_list else self._outside

    def _read(self, scan: ObjectScan) -> None:
        try:
            value = read_json(scan.text, self._bounds)
        except Unreadable as error:
            self._refuse(str(error))
            return
        if is_step(value):
            self._is_lost = False
        elif self._is_lost or not (self._in_list or is_meant_as_step(value)):
            # Some other object that prose is about.
            return
        self._found = True
        self._given.extend(step_of(self._number(), value))

    # -- what is wrong

    def _fault(self, step_id: str | int | None, problem: str) -> None:
        self._found = True
        self._given.append(FormatFault(self._number(), step_id, problem))

    def _refuse(self, problem: str) -> None:
        """
        Give the fault of the object that is being read.
        """
        assert self._object is not None
        self._is_refused = True
        seen = self._object.step_id()
        step_id: str | int | None = None
        if seen is not None:
            try:
                step_id = read_json(seen, self._bounds)
            except Unreadable:
                # A broken id names nothing.
                step_id = None
        self._fault(step_id, problem)

    def _recover(self, text: str, at: int) -> int:
        """
        Go on after an object that is broken at *at*.
        """
        if self._in_tail:
            # All steps are read; what follows them does not matter.
            self._in_tail = False
            self._object = None
            self._state = self._outside
            return at
        if text[at] == "]" and self._in_list:
            # Braces are missing: the list may still end here.
            self._lose_way(is_edge=True)
        else:
            self._lose_way(is_edge=text[at] in "{\n")
        return at

    def _lose_way(self, *, is_edge: bool) -> None:
        self._is_lost = True
        self._is_edge = is_edge
        self._object = None
        self._state = self._lost

    def _lost(self, text: str, at: int) -> int:
        """
        Search for the beginning of the next step: a brace after a comma, a bracket, or at the start of a line.
        """
        found = _LOST.match(text, at)
        assert found is not None
        piece = found.group()
        if piece == "\n":
            self._is_edge = True
        elif piece == "{":
            if self._is_edge:
                self._state = self._lost_opened
            self._is_edge = False
        elif piece == "]":
            if self._is_edge and self._in_list:
                self._close_list()
            self._is_edge = False
        elif not piece.isspace():
            self._is_edge = piece.rstrip()[-1] in ",[}"
        return found.end()

    def _lost_opened(self, text: str, at: int) -> int:
        found = _VISIBLE.search(text, at)
        if found is None:
            return len(text)
        if found.group() == '"':
            self._begin()
        else:
            self._state = self._lost
        return found.start()
