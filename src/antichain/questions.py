"""
The body of a node that only asks a person: its text, with places for values that are known when the node starts.

The text may come from anywhere: it is read here, and never formatted, so that it reaches into no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, Signature
from keyword import iskeyword
from string import Formatter
from typing import Any, Final, Literal

from antichain.asking import TEXT_AT_MOST, problem_of
from antichain.context import Context
from antichain.errors import Fault, shown

__all__ = ["Asker", "make_asker"]

# Characters of one value that a question shows. What is longer is cut, and says so.
VALUE_AT_MOST: Final = 2_000
# What names the parameters, if nothing else does.
TITLE: Final = "graph.ask"


class Asker:
    """
    Ask one question, in whose text the values of its parameters are filled in; made by ``Graph.ask``.
    """

    def __init__(self, parts: Sequence[tuple[str, str | None]], kind: Any) -> None:  # Any: whatever can be asked for
        # Texts as they are, each with the name of the value behind it, or None.
        self._parts = tuple(parts)
        # A list of choices is the caller's, and may change.
        self.type = tuple(kind) if isinstance(kind, list) else kind
        # The parameters, each once, as written.
        self.names = tuple(dict.fromkeys(name for _, name in parts if name is not None))
        self._context = _unused("ctx", self.names)
        # What binds the node reads this instead of __call__.
        self.__signature__ = Signature(
            [
                *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in self.names),
                Parameter(self._context, Parameter.KEYWORD_ONLY, annotation=Context),
            ],
            return_annotation=_annotation_of(kind),
        )
        self.__annotations__ = {"return": self.__signature__.return_annotation}
        self.__name__ = TITLE

    # Any: the user's values, and an answer.
    async def __call__(self, /, *values: Any, **named: Any) -> Any:
        """
        Fill the values in and ask; the run's Context is the keyword that no value has.
        """
        context: Context = named.pop(self._context)
        return await context.ask(self.text(dict(zip(self.names, values, strict=False)) | named), self.type)

    def text(self, values: dict[str, Any]) -> str:  # Any: the user's values
        """
        Return the text with its values, by name.
        """
        return "".join(part if name is None else part + _shortened(values[name]) for part, name in self._parts)

    def __repr__(self) -> str:
        text = "".join(part if name is None else f"{part}{{{name}}}" for part, name in self._parts)
        return f"<question {shown(text)}>"


def make_asker(node: str, text: object, kind: Any) -> tuple[Asker, list[Fault]]:  # Any: whatever the user has said
    """
    Make the body of the node *node*, and say what is wrong with its question.
    """
    faults: list[Fault] = []
    parts: list[tuple[str, str | None]] = []
    why = problem_of(kind)
    if why is not None:
        faults.append(_fault(node, text, f"with type={shown(kind)}: {why}"))
        kind = str
    if not isinstance(text, str) or len(text) > TEXT_AT_MOST:
        faults.append(_fault(node, text, f"which cannot be read: use a text of at most {TEXT_AT_MOST:,} characters"))
    else:
        try:
            parts = _parts_of(text)
        except ValueError as error:
            faults.append(_fault(node, text, str(error)))
    return Asker(parts, kind), faults


def _fault(node: str, text: object, problem: str) -> Fault:
    return Fault("bad-question", f"node {node!r} asks {shown(text)}, {problem}.", node, (node,))


def _parts_of(text: str) -> list[tuple[str, str | None]]:
    """
    Part a text into what stands there and names in braces.

    Raises:
        ValueError: there is anything else in braces; says what.
    """
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        why = str(error).rstrip(".")
        raise ValueError(f"whose braces do not fit ({why}): write {{{{ and }}}} for braces as such") from None
    for _, name, form, conversion in found:
        if name is not None and (form or conversion or not name.isidentifier() or iskeyword(name)):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(
                f"with {shown(written)} in braces, where only the name of a parameter may stand: take a part of a value"
                " by inputs=, or make it in a node of its own; {{ and }} are braces as such"
            )
    return [(part, name) for part, name, _, _ in found]


def _shortened(value: Any) -> str:  # Any: the user's value
    text = str(value)
    if len(text) <= VALUE_AT_MOST:
        return text
    # A cut that did not show could hide what it is about.
    return f"{text[:VALUE_AT_MOST]}… ({len(text) - VALUE_AT_MOST:,} more characters)"


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _annotation_of(kind: Any) -> Any:  # Any: whatever can be asked for
    """
    Return the type of the answer, as a function would be annotated with it.
    """
    return Literal[tuple(kind)] if isinstance(kind, Sequence) else kind
