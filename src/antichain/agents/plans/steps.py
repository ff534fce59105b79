"""
One step of a plan, from what a model wrote to what a run can start. What a step says of others is `ordering`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antichain.agents.plans.caps import Caps
from antichain.agents.plans.literals import MAX_FAULTS, ArgumentReader, Bulky, weigh, what
from antichain.agents.plans.references import STEP_ID, MissingValue, fill, paths_in, references_in
from antichain.agents.plans.refusal import PlanRefused
from antichain.agents.tools.faults import ArgumentsInvalid
from antichain.binding import Prepared
from antichain.errors import Fault
from antichain.executors import PreparedStep
from antichain.printable import printable

if TYPE_CHECKING:
    from antichain.agents.tools.tool import Tool, Tools

__all__ = ["Kept", "StepReader", "Written", "as_id"]

FIELDS: Final = ("id", "tool", "args", "depends_on")
# Fields of a step, ours and others, beyond which it is none.
MAX_FIELDS: Final = 50
# References whose places in the arguments are told apart.
MAX_LATER: Final = 100


# In what follows, Any is a value that a model wrote, or one that a tool gave.


@dataclass(frozen=True, slots=True)
class Written:
    """
    A step as it was written, once it has been read: arguments with references, and the ids of all that it waits for.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    depends: tuple[str, ...]

    def as_step(self, tool: Tool, kept: Mapping[str, Kept], max_characters: int) -> PreparedStep:
        """
        Make of it what enters a run, where *kept* outputs are there already.
        """
        given = {name: kept[name].value for name in self.depends if name in kept}

        def arguments(outputs: Mapping[str, Any]) -> dict[str, Any]:
            try:
                return tool.read(fill(self.arguments, {**given, **outputs}, max_characters))
            except MissingValue as missing:
                faults = [Fault("missing-value", f"step {self.id!r}: {missing}.", self.id)]
            except ArgumentsInvalid as invalid:
                faults = [_argument_fault(fault, self.id, tool) for fault in invalid.faults[:MAX_FAULTS]]
            raise PlanRefused(faults, "plan")

        depends = [name for name in self.depends if name not in kept]
        written = [tool.name, repr(self.arguments)]
        return PreparedStep(self.id, tool.runnable, depends, Prepared(arguments, written), **tool.policies)


@dataclass(frozen=True, slots=True)
class Kept:
    """
    An output that a plan may refer to although no step of it makes it.
    """

    value: Any
    # The step of an earlier plan that made it, to know it again; None if the program gave it.
    written: Written | None = None


class Found(NamedTuple):
    """
    What was seen of a step: its id or a name for it, what it waits for, and the step if nothing is wrong with it.
    """

    name: str
    needs: tuple[str, ...] = ()
    step: Written | None = None


class StepReader:
    """
    Read steps one by one, and say everything that is wrong with each by itself.
    """

    def __init__(self, tools: Tools, caps: Caps, refuse: Callable[[Fault], object]) -> None:
        self._tools = tools
        self._caps = caps
        # Told of each fault.
        self._refuse = refuse
        # What one step has is told apart from what others had by it.
        self._count = 0
        # Characters that the rest of the plan may have.
        self._room = caps.max_bytes
        self.is_full = False

    def read(self, raw: object, number: int) -> Found:
        """
        Read step *number*, counted from 1, and report everything that is wrong with it.
        """
        before, name = self._count, f"#{number}"
        if type(raw) is not dict:
            self.fault("not-a-step", name, f"is {what(raw)}: a step is an object with {', '.join(FIELDS)}")
            return Found(name)
        given: dict[Any, Any] = raw
        found = as_id(given.get("id"))
        name = found or name
        if not self._has_room(given, name):
            return Found(name)
        if found is None:
            is_there = f"the id {what(given['id'])}" if "id" in given else "no id"
            self.fault("bad-id", name, f"has {is_there}: use a number, or a word of letters, digits, _ and -")
        tool = self._tool(given, name)
        arguments = self._arguments(given.get("args"), name, tool)
        depends = self._depends(given.get("depends_on"), name)
        if tool is not None and arguments is not None:
            self._check_arguments(tool, arguments, name)
        needs = dict.fromkeys([*depends, *[reference.step for reference in references_in(arguments)]])
        if len(needs) > self._caps.max_steps:
            self.fault("bad-arguments", name, f"needs {len(needs)} steps: a plan has {self._caps.max_steps} at most")
            needs = {}
        if found is None or tool is None or arguments is None or self._count > before:
            return Found(name, tuple(needs))
        return Found(name, tuple(needs), Written(name, tool.name, arguments, tuple(needs)))

    def fault(self, code: str, step: str, problem: str) -> None:
        """
        Report that something is wrong with *step*.
        """
        self._count += 1
        self._refuse(Fault(code, f"step {step!r} {problem}{'' if problem[-1] in '.?' else '.'}", step, (step,)))

    def _has_room(self, given: dict[Any, Any], name: str) -> bool:
        """
        Weigh the whole step before anything is made of it.
        """
        try:
            # Its own braces are no nesting of its arguments, nor are those around them.
            self._room -= weigh(given, self._room, self._caps.max_nesting, around=2)
        except Bulky as bulky:
            self.is_full = bulky.code == "too-large"
            if self.is_full:
                self.fault("too-large", name, str(bulky))
            else:
                self.fault("too-nested", name, str(bulky))
            return False
        if len(given) > MAX_FIELDS:
            self.fault("unknown-field", name, f"has {len(given)} fields: a step has {', '.join(FIELDS)}")
            return False
        return True

    def _tool(self, given: Mapping[Any, Any], name: str) -> Tool | None:
        wanted = given.get("tool")
        if type(wanted) is not str:
            asked = f"the tool {what(wanted)}" if "tool" in given else "no tool"
            self.fault("unknown-tool", name, f"has {asked}: name one of the allowed tools")
            return None
        tool = self._tools.get(wanted)
        if tool is None:
            near = self._tools.nearest(wanted) if len(wanted) <= 200 else None
            hint = f". Did you mean {near!r}?" if near else ""
            problem = f"asks for the tool {what(wanted)}, which is not allowed{hint}"
            self.fault("unknown-tool", name, problem)
        return tool

    def _arguments(self, given: Any, name: str, tool: Tool | None) -> dict[str, Any] | None:
        if given is None:
            return {}
        if type(given) is not dict and type(given) is not list:
            self.fault("bad-arguments", name, f"has args that are {what(given)}: use an object, names to values")
            return None
        reader = ArgumentReader(self._caps.max_nesting)
        read = reader.read(given)
        for code, text in reader.faults:
            self._count += 1
            self._refuse(Fault(code, f"step {name!r}, {text}.", name, (name,)))
        if reader.faults or isinstance(read, dict):
            return None if reader.faults else read
        names = None if tool is None else list(tool.parameters.get("properties", ()))
        if names is None:
            return None
        if len(read) > len(names):
            problem = f"gives {len(read)} arguments by position, but {tool.name!r} takes {len(names)}"  # type: ignore[union-attr]
            self.fault("bad-arguments", name, problem)
            return None
        return dict(zip(names, read, strict=False))

    def _depends(self, given: Any, name: str) -> list[str]:
        if given is None:
            return []
        listed = given if type(given) is list else [given]
        found = []
        for each in listed[: self._caps.max_steps + 1]:
            before = as_id(each)
            if before is None:
                self.fault("bad-arguments", name, f"has {what(each)} in depends_on: use ids of steps")
                break
            found.append(before)
        return found

    def _check_arguments(self, tool: Tool, arguments: Mapping[str, Any], name: str) -> None:
        """
        Check what is known of the arguments by now; those with references are checked when the step starts.
        """
        later = list(paths_in(arguments))
        schema = tool.parameters
        if schema.get("additionalProperties") is False:
            # A name that the tool does not have is wrong, whatever it will hold.
            later = [path for path in later if path[0] in schema.get("properties", ())]
        if len(later) > MAX_LATER:
            # Each is compared with each fault: of so many, only the parameters that they are in are told apart.
            later = list(dict.fromkeys(path[:1] for path in later))
        for fault in tool.faults(arguments, later=later)[:MAX_FAULTS]:
            self._count += 1
            self._refuse(_argument_fault(fault, name, tool))


def as_id(given: Any) -> str | None:
    """
    Return the id that was given as a text or a number, or None if it can be none.
    """
    if type(given) is int and 0 <= given < 10**18:
        return str(given)
    return given if type(given) is str and STEP_ID.fullmatch(given) else None


def _argument_fault(fault: object, name: str, tool: Tool) -> Fault:
    text = f"step {name!r}, tool {tool.name!r}: {str(fault).rstrip('.')}."
    return Fault("bad-arguments", printable(text, limit=500), name, (name,))
