"""
The steps of one plan among each other: which may start, and what is wrong with the plan as a whole. No clock, no task.

Two rules hold. A step is given on only if it, and everything it needs, is sound. And from the first fault on none is
given on any more, but all that comes is still checked, so that every fault is said at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from antichain.agents.plans.caps import Caps
from antichain.agents.plans.steps import Kept, StepReader, Written, as_id
from antichain.errors import Fault, named, suggestion
from antichain.executors import PreparedStep

if TYPE_CHECKING:
    from antichain.agents.tools.tool import Tools

__all__ = ["Ordering"]

# Faults after which a plan is not read any further, and up to which the nearest name is looked for.
MAX_FAULTS: Final = 200
HINTED_FAULTS: Final = 20
# Steps of a cycle that are named in its message.
SHOWN_CYCLE: Final = 20


class Ordering:
    """
    Take the steps of a plan as they come, and give on those that may enter the run.
    """

    def __init__(self, tools: Tools, caps: Caps, kept: Mapping[str, Kept]) -> None:
        self._tools = tools
        self._caps = caps
        self._kept = kept
        self._reader = StepReader(tools, caps, self.refuse)
        self.faults: list[Fault] = []
        # Ids in the order in which they came, each once; those of steps with faults too.
        self.ids: dict[str, None] = {}
        # What each of them waits for, as far as that could be read.
        self._needs: dict[str, tuple[str, ...]] = {}
        # Steps without a fault of their own.
        self.written: dict[str, Written] = {}
        self._count = 0
        # Invariant: a step in `written` is in exactly one of _depth and _missing.
        # All that it needs is known, and so is the longest line of steps that ends with it.
        self._depth: dict[str, int] = {}
        # So many steps that it needs have not come, or wait themselves.
        self._missing: dict[str, int] = {}
        # Who waits, by the id of the step that it waits for.
        self._waiting: dict[str, list[str]] = {}
        self._has_cycle = False
        # Steps that an earlier plan has run already, written again as they were.
        self.reused: list[str] = []
        # Steps that could not be read, by their position.
        self._unread: set[int] = set()
        # The rest of the plan will not be read, so nothing is known of what is in it.
        self.is_cut = False

    @property
    def refuses(self) -> bool:
        """
        Tell whether something is wrong with the plan, so that nothing more of it may start.
        """
        return self._has_cycle or bool(self.faults)

    def refuse(self, fault: Fault) -> None:
        """
        Note a fault.
        """
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
        else:
            self.is_cut = True

    def cut(self, fault: Fault) -> None:
        """
        Note a fault after which nothing more is read.
        """
        self.refuse(fault)
        self.is_cut = True

    def refuse_unread(self, position: int, step_id: str | int | None, problem: str) -> None:
        """
        Note that a step could not be read.
        """
        label = as_id(step_id) or f"#{position}"
        if position not in self._unread:
            self._unread.add(position)
            self._count += 1
            self.ids.setdefault(label)
        self.refuse(Fault("unreadable-step", f"{problem.rstrip('.')}.", label, (label,)))

    def arrive(self, raw: object) -> list[PreparedStep]:
        """
        Take a step as it was written, and return those that may enter the run now.
        """
        self._count += 1
        if self._count > self._caps.max_steps:
            text = f"step '#{self._count}' is one too many: a plan has {self._caps.max_steps} at most (max_steps)."
            self.cut(Fault("too-many-steps", text, f"#{self._count}"))
            return []
        name, needs, step = self._reader.read(raw, self._count)
        self.is_cut = self.is_cut or self._reader.is_full
        if name in self.ids:
            text = f"step {name!r} comes twice: give the second one an id of its own."
            self.refuse(Fault("duplicate-id", text, name, (name,)))
            return []
        self.ids[name] = None
        self._needs[name] = needs
        if name in needs:
            text = f"step {name!r} needs its own output: remove what refers to {name!r} from it."
            self.refuse(Fault("self-dependency", text, name, (name,)))
            return []
        if step is None:
            return []
        return self._known_before(step) if name in self._kept else self._admit(step)

    def finish(self) -> None:
        """
        Say what is wrong with the plan as a whole, of which nothing more comes.
        """
        among = {name: [each for each in needs if each in self._needs] for name, needs in self._needs.items()}
        for cycle in _cycles(among):
            self.refuse(_cycle_fault(cycle))
        if self.is_cut:
            # What is not known may well be in the part that was not read.
            return
        for name, needs in self._needs.items():
            for before in needs:
                if before not in self.ids and before not in self._kept:
                    self.refuse(self._unknown(name, before))

    # -- one step among the others

    def _known_before(self, step: Written) -> list[PreparedStep]:
        """
        Take a step that an earlier plan has run: written again as it was, it is done.
        """
        if self._kept[step.id].written != step:
            text = f"step {step.id!r} has the id of an output that is there already, but it is another step."
            fix = f"Refer to ${step.id} without that step, or give the new one another id."
            self.refuse(Fault("duplicate-id", f"{text} {fix}", step.id, (step.id,)))
        else:
            self.reused.append(step.id)
        return []

    def _admit(self, step: Written) -> list[PreparedStep]:
        self.written[step.id] = step
        missing = [name for name in step.depends if name not in self._depth and name not in self._kept]
        if not missing:
            return self._release(step)
        self._missing[step.id] = len(missing)
        for name in missing:
            self._waiting.setdefault(name, []).append(step.id)
        if step.id in self._waiting:
            self._has_cycle = self._has_cycle or self._reaches_itself(step.id)
        return []

    def _release(self, step: Written) -> list[PreparedStep]:
        """
        Give on a step, and those that waited only for it.
        """
        released = [step]
        for each in released:  # grows
            self._missing.pop(each.id, None)
            depth = 1 + max((self._depth.get(name, 0) for name in each.depends), default=0)
            self._depth[each.id] = depth
            if depth > self._caps.max_depth:
                most = f"a plan has lines of {self._caps.max_depth} at most (max_depth)"
                text = f"step {each.id!r} is number {depth} in a line of steps that wait for each other: {most}."
                self.refuse(Fault("too-deep", text, each.id, (each.id,)))
            for name in self._waiting.pop(each.id, ()):
                self._missing[name] -= 1
                if not self._missing[name]:
                    released.append(self.written[name])
        if self.refuses:
            return []
        return [each.as_step(self._tools[each.tool], self._kept, self._caps.max_bytes) for each in released]

    def _reaches_itself(self, start: str) -> bool:
        seen = {start}
        reached = [start]
        for name in reached:  # grows
            for before in self.written[name].depends:
                if before == start:
                    return True
                if before in self._missing and before not in seen:
                    seen.add(before)
                    reached.append(before)
        return False

    def _unknown(self, name: str, before: str) -> Fault:
        text = f"step {name!r} needs {before!r}, which is no step of the plan."
        hint = ""
        if len(self.faults) < HINTED_FAULTS:
            hint = suggestion(before, [*self.ids, *self._kept])
        if not hint:
            hint = " Add that step, or remove what refers to it; a $ that is only a dollar is written $$."
        return Fault("unknown-upstream", text + hint, name, (name, before))


def _cycles(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """
    Find the steps that wait for each other: each strongly connected part of the graph once (Tarjan 1972, no recursion).
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    position = {name: number for number, name in enumerate(needs)}
    for start in needs:
        if start in index:
            continue
        work = [(start, iter(needs[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            name, rest = work[-1]
            for before in rest:
                if before not in index:
                    index[before] = low[before] = len(index)
                    stack.append(before)
                    on_stack.add(before)
                    work.append((before, iter(needs[before])))
                    break
                if before in on_stack:
                    low[name] = min(low[name], index[before])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    part: list[str] = []
                    while not part or part[-1] != name:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                    if len(part) > 1:
                        # In the order in which they were written.
                        found.append(sorted(part, key=position.__getitem__))
    return found


def _cycle_fault(cycle: list[str]) -> Fault:
    text = f"these steps wait for each other: {named(cycle, SHOWN_CYCLE)}. Remove one of their references."
    return Fault("cycle", text, cycle[0], tuple(cycle))
