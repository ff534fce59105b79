"""
Steps as LLMCompiler's planner writes them, one numbered call a line. Nothing is evaluated: arguments are literals, or a
text as it stands.

    Thought: I need both populations.
    1. search("population of Kyoto")
    2. search("population of Osaka")
    3. math("$1 / $2")
    4. join()<END_OF_PLAN>
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Final

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import FormatFault, Unreadable
from antichain.agents.plans.formats.literals import NotLiteral, read_arguments
from antichain.agents.plans.formats.step_form import Found
from antichain.agents.plans.formats.values import joined

END_OF_PLAN: Final = "<END_OF_PLAN>"
# Calls that say that the plan is complete.
JOINS: Final = frozenset({"join", "join_finish"})

_HEAD: Final = re.compile(r"\s*(\d{1,9})[.)][ \t]*([A-Za-z_][\w.-]{0,100})\(")
_THOUGHT: Final = re.compile(r"\s*Thought:", re.IGNORECASE)
# What may stand before the arguments in a line that is held.
_LONGEST_HEAD: Final = 300
# Arguments that begin like literals, which may have line ends between them.
_LITERAL: Final = re.compile(r"""\s*(?:$|["'\[({]|[A-Za-z_]\w*\s*=)""")
# In a call: what opens, closes or quotes.
_MARK: Final = re.compile(r'"""|\'\'\'|["\'()\[\]{}]')
_REST: Final = {
    quote: re.compile(rf"(?:[^{quote[0]}\\]++|\\.{more})*", re.DOTALL)
    for quote, more in {'"': "", "'": "", '"""': '|"(?!"")', "'''": "|'(?!'')"}.items()
}
_DOLLAR: Final = re.compile(r"\$\{(\d{1,9})([^{}\n]{0,200})\}|\$(\d{1,9})(?!\d)|\$")
_MONEY: Final = re.compile(r"\.\d|,\d{3}(?!\d)")
_WHOLE: Final = re.compile(r"\$(\d{1,9})((?:\.[A-Za-z_]\w*|\[\d{1,9}\])*)")


class CallReader:
    """
    Take a text piece by piece and give its steps, and what is wrong with them, as their lines end.

    ``has_ended`` is true once the plan says that it is complete; nothing is read after that.
    """

    def __init__(self, bounds: ReadingBounds, number: Callable[[], int]) -> None:
        self._bounds = bounds
        self._number = number
        self.has_ended = False
        # The line that is being read, and its length; too much of it is not held.
        self._pieces: list[str] = []
        self._length = 0
        # The call that goes on in the next line.
        self._call: _Call | None = None
        # Ids of the steps so far: only these are references where a bare $ may mean money.
        self._written: set[str] = set()
        self._found = False

    @property
    def is_complete(self) -> bool:
        """
        Whether the plan says that it has all its steps.
        """
        return self.has_ended

    def feed(self, text: str) -> Iterator[Found]:
        """
        Give what is complete with *text*; what was not asked for is not read.
        """
        at = 0
        while not self.has_ended and (end := text.find("\n", at)) >= 0:
            self._hold(text[at:end])
            at = end + 1
            yield from self._take_line()
        if not self.has_ended:
            self._hold(text[at:])

    def finish(self, cause: str = "the text ends") -> Iterator[Found]:
        """
        Give what was not complete before the end of the text.
        """
        if not self.has_ended:
            yield from self._take_line()
        if self._call is not None:
            # What the next words would have been is not known.
            yield self._unclosed(self._call, cause)
        if not self._found:
            problem = 'no step was found in the text: write one call a line, as `1. search("tides")`'
            yield FormatFault(self._number(), None, problem)

    def _hold(self, piece: str) -> None:
        room = self._bounds.step_characters + _LONGEST_HEAD - self._length
        if room > 0:
            self._pieces.append(piece[:room])
        self._length += len(piece)

    def _take_line(self) -> Iterator[Found]:
        line: str | None = "".join(self._pieces)
        self._pieces, self._length = [], 0
        while line is not None and not self.has_ended:
            head = _HEAD.match(line)
            if self._call is not None:
                if self._call.is_in_long_string or not _ends_call(line, head):
                    line = yield from self._go_on(self._call, f"\n{line}")
                    continue
                yield from self._end_call(self._call, "the next line begins")
            if head is None:
                self.has_ended = END_OF_PLAN in line
                return
            self._found = True
            if head.group(2) in JOINS:
                self.has_ended = True
                return
            self._call = _Call(self._number(), head.group(1), head.group(2))
            line = yield from self._go_on(self._call, line[head.end() :])

    def _go_on(self, call: _Call, text: str) -> Generator[Found, None, str | None]:
        """
        Add *text* to the call; return what of it belongs to another one.
        """
        call.add(text)
        if call.size > self._bounds.step_characters:
            self._call = None
            problem = f"it is longer than {self._bounds.step_characters:,} characters"
            yield FormatFault(call.position, call.step_id, problem)
            return None
        if call.rest is not None:
            arguments, rest = call.text[: call.size - len(call.rest) - 1], call.rest
            if _HEAD.match(rest):
                yield from self._give(call, arguments)
                return rest
            self.has_ended = END_OF_PLAN in rest
            rest = rest.partition(END_OF_PLAN)[0]
            if ")" in rest and not rest.lstrip().startswith("#"):
                # As LLMCompiler reads it, a call ends with the last parenthesis of its line: `search(smile :) now)`.
                arguments = f"{arguments}){rest.rpartition(')')[0]}"
            yield from self._give(call, arguments)
        elif END_OF_PLAN in text and not call.is_in_long_string:
            self.has_ended = True
            yield from self._end_call(call, "the plan ends")
        elif call.ends_as_prose(text):
            yield from self._give(call, call.text.rstrip()[:-1])
        return None

    def _end_call(self, call: _Call, cause: str) -> Iterator[Found]:
        """
        Make the best of a call whose parenthesis was never closed.
        """
        text = call.text.partition(END_OF_PLAN)[0]
        try:
            # The prompts of LLMCompiler themselves have calls that lack nothing but the parenthesis.
            is_literal = bool(read_arguments(text, self._bounds, _Writer(self._written)))
        except (NotLiteral, Unreadable):
            is_literal = False
        if is_literal:
            yield from self._give(call, text)
        elif ")" in text:
            yield from self._give(call, text.rpartition(")")[0])
        else:
            yield self._unclosed(call, cause)

    def _unclosed(self, call: _Call, cause: str) -> FormatFault:
        self._call = None
        return FormatFault(call.position, call.step_id, f"{cause} before the parenthesis of this call is closed")

    def _give(self, call: _Call, text: str) -> Iterator[Found]:
        self._call = None
        writer = _Writer(self._written)
        try:
            try:
                args = read_arguments(text, self._bounds, writer)
            except NotLiteral:
                args = [writer.in_text(joined(text.strip()))]
        except Unreadable as error:
            yield FormatFault(call.position, call.step_id, str(error))
            return
        self._written.add(call.step_id)
        yield {"id": call.step_id, "tool": call.tool, "args": args, "depends_on": list(writer.found)}


class _Call:
    """
    One call that is being read: where its parenthesis is closed, looking at each character once.
    """

    def __init__(self, position: int, step_id: str, tool: str) -> None:
        self.position = position
        # 1. and 01. are one step.
        self.step_id = str(int(step_id))
        self.tool = tool
        self.size = 0
        # What follows the closing parenthesis, once there is one.
        self.rest: str | None = None
        self._pieces: list[str] = []
        self._depth = 1
        self._quote = ""

    @property
    def text(self) -> str:
        """
        All that came after the opening parenthesis.
        """
        return "".join(self._pieces)

    @property
    def is_in_long_string(self) -> bool:
        """
        Whether the string that is open may have line ends.
        """
        return len(self._quote) == 3

    def add(self, text: str) -> None:
        """
        Take the next line, or the beginning of the first.
        """
        self._pieces.append(text)
        self.size += len(text)
        at = 0
        while at < len(text) and self.rest is None:
            at = self._in_string(text, at) if self._quote else self._between_strings(text, at)

    def ends_as_prose(self, line: str) -> bool:
        """
        Tell whether *line*, though something is open in it, ends the call: `search(Schindler's List)`, `say('it's')`.
        """
        line = line.rstrip()
        if not line.endswith(")"):
            return False
        if len(self._quote) == 1 and line.endswith(f"{self._quote})"):
            return True
        return not _LITERAL.match(self._pieces[0])

    def _between_strings(self, text: str, at: int) -> int:
        found = _MARK.search(text, at)
        if found is None:
            return len(text)
        mark = found.group()
        if mark[0] in "\"'":
            self._quote = mark
        elif mark in "([{":
            self._depth += 1
        else:
            self._depth -= 1
            # Another closer than `)` here is prose: `search(a ] b)`.
            if not self._depth and mark != ")":
                self._depth = 1
            elif not self._depth:
                self.rest = text[found.end() :]
        return found.end()

    def _in_string(self, text: str, at: int) -> int:
        found = _REST[self._quote].match(text, at)
        end = found.end() if found is not None else at
        if end == len(text) or text[end] == "\\":
            # An escape of the line end.
            return len(text)
        end += len(self._quote)
        self._quote = ""
        return end


class _Writer:
    """
    Write LLMCompiler's references in our form, `${1}`, and every dollar that is none as `$$`.
    """

    def __init__(self, written: set[str]) -> None:
        self._written = written
        # The steps that are referred to, in order.
        self.found: dict[str, None] = {}

    def in_text(self, text: str) -> str:
        """
        Return *text* with its references in our form: `$1` is one if there is a step 1 and it does not look like money.
        """
        whole = _WHOLE.fullmatch(text)
        if whole is not None and self._is_written(whole.group(1)):
            return self.alone(text)
        return _DOLLAR.sub(self._in_our_form, text)

    def alone(self, reference: str) -> str:
        """
        Return a reference that stands outside of any text.
        """
        whole = _WHOLE.fullmatch(reference)
        if whole is None:
            return _DOLLAR.sub(self._in_our_form, reference)
        return self._reference(whole.group(1), whole.group(2))

    def _in_our_form(self, found: re.Match[str]) -> str:
        braced, path, bare = found.groups()
        if braced is not None:
            return self._reference(braced, path)
        if bare is not None and self._is_written(bare) and not _MONEY.match(found.string, found.end()):
            return self._reference(bare, "")
        return f"${found.group()}"

    def _is_written(self, digits: str) -> bool:
        return str(int(digits)) in self._written

    def _reference(self, digits: str, path: str) -> str:
        step = str(int(digits))
        self.found[step] = None
        return f"${{{step}{path}}}"


def _ends_call(line: str, head: re.Match[str] | None) -> bool:
    return head is not None or END_OF_PLAN in line or _THOUGHT.match(line) is not None
