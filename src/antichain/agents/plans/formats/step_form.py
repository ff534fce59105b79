"""
What a step is, whichever form it was written in: an id, a tool, arguments, and the ids of what it depends on.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from antichain.agents.plans.formats.faults import FormatFault, quoted

# Any: JSON values.
Found = dict[str, Any] | FormatFault

# The words that models use for the same things; the first is ours.
ARGS: Final = ("args", "arguments", "parameters", "input")
DEPENDS: Final = ("depends_on", "dependencies", "depends", "deps")
TOOL: Final = ("tool", "name")

# Fields of a step, ours and others, beyond which it is none.
_MAX_FIELDS: Final = 50
# How alike a field must be to one of ours to be taken for a slip of the pen, and how long to be compared.
_ALIKE: Final = 0.75
_LONGEST_FIELD: Final = 40


def step_of(position: int, value: Any) -> Iterator[Found]:  # Any: JSON
    """
    Give the step that *value* describes, or everything that is wrong with its form.
    """
    if not isinstance(value, Mapping):
        yield FormatFault(position, None, f"a step must be an object with `id`, `tool` and `args`, not {quoted(value)}")
        return
    # A plan may leave ids out as long as nothing refers to them.
    step_id = value.get("id")
    if step_id is None:
        step_id = str(position)
    tool, args, depends_on = _first(value, TOOL), _first(value, ARGS), _first(value, DEPENDS)
    args = {} if args is None else args
    depends_on = [] if depends_on is None else depends_on
    problems = [
        *_field_problems(value),
        *_id_problems(step_id, "`id`"),
        *_tool_problems(tool),
        *([] if isinstance(args, (dict, list)) else [f"`args` must be an object, not {quoted(args)}"]),
        *_dependency_problems(depends_on),
    ]
    if problems:
        named = step_id if is_id(value.get("id")) else None
        yield from (FormatFault(position, named, problem) for problem in problems)
    else:
        yield {"id": step_id, "tool": tool, "args": args, "depends_on": list(depends_on)}


def is_step(value: Any) -> bool:  # Any: JSON
    """
    Tell a step from another object that happens to be in a text.
    """
    return isinstance(value, Mapping) and any(word in value for word in TOOL)


def is_meant_as_step(value: Any) -> bool:  # Any: JSON
    """
    Tell a step that lacks something from an object that is about something else.
    """
    return isinstance(value, Mapping) and any(word in value for word in ("id", *TOOL, *ARGS, *DEPENDS))


def is_id(value: object) -> bool:
    """
    Tell whether *value* may name a step.
    """
    return type(value) is int or (isinstance(value, str) and value != "")


def _first(value: Mapping[str, Any], words: tuple[str, ...]) -> Any:  # Any: JSON
    return next((value[word] for word in words if value.get(word) is not None), None)


def _field_problems(value: Mapping[str, Any]) -> Iterator[str]:  # Any: JSON
    """
    Pass over a thought or a title, but not over what was meant to be a field of a step: a dependency would be lost.
    """
    if len(value) > _MAX_FIELDS:
        yield f"it has {len(value):,} fields; a step has `id`, `tool`, `args` and `depends_on`"
        return
    for field in value:
        if len(field) <= _LONGEST_FIELD and (meant := _meant(field)) is not None:
            yield f"the field {quoted(field)} means nothing; is it `{meant}`?"


@functools.lru_cache(maxsize=1_000)
def _meant(field: str) -> str | None:
    words = (*TOOL, *ARGS, *DEPENDS)
    near = [] if field in words else difflib.get_close_matches(field.lower(), words, n=1, cutoff=_ALIKE)
    return near[0] if near else None


def _id_problems(value: object, what: str) -> Iterator[str]:
    if not is_id(value):
        yield f"{what} must be a text or a whole number, not {quoted(value)}"


def _tool_problems(tool: object) -> Iterator[str]:
    if tool is None:
        yield "`tool` is missing: name the tool to call"
    elif not isinstance(tool, str) or not tool:
        yield f"`tool` must be the name of a tool, not {quoted(tool)}"


def _dependency_problems(value: object) -> Iterator[str]:
    if not isinstance(value, (list, tuple)):
        yield f"`depends_on` must be a list of ids, not {quoted(value)}"
        return
    for item in value:
        yield from _id_problems(item, "an id in `depends_on`")
