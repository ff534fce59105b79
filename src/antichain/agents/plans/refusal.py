"""
What is said about a plan that did not come to its end: to the program as an exception, to the model as a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from antichain.errors import Fault, GraphError
from antichain.printable import printable

if TYPE_CHECKING:
    from antichain.record import RunResult

__all__ = ["PlanRefused", "report"]

# What a model is shown: so many faults and tools, and so many characters of each result and message.
SHOWN_FAULTS: Final = 50
SHOWN_TOOLS: Final = 100
SHOWN_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Told:
    """
    A plan, and what became of it.
    """

    # Ids of its steps, in the order in which they were written.
    steps: tuple[str, ...] = ()
    # Names of the tools that it may use.
    tools: tuple[str, ...] = ()
    # Outputs that were there before: of earlier plans, and what the program gave.
    kept: Mapping[str, Any] = field(default_factory=dict)
    # None where nothing has run.
    result: RunResult | None = None


class PlanRefused(GraphError):  # noqa: N818  # public name
    """
    Say everything that is wrong with a plan: each of ``.faults`` names its step in ``.node``.

    No step ran that has a fault, that needs one with a fault, or that came after the first fault was found; what had
    run before is kept in ``.result``.

    Example:
        >>> from antichain import PlanStream, Tools
        >>> def search(query: str) -> str: ...
        >>> try:
        ...     PlanStream([{"id": 1, "tool": "serach"}], Tools(search)).execute_sync()
        ... except PlanRefused as refused:
        ...     fault = refused.faults[0]
        >>> fault.node, fault.code
        ('1', 'unknown-tool')
    """

    told: Told

    def __init__(self, faults: Fault | Iterable[Fault], graph: str = "plan", told: Told | None = None) -> None:
        super().__init__(faults, graph)
        self.told = told or Told()

    @property
    def result(self) -> RunResult | None:
        """
        What became of the steps that had started, and of those that would have; None where nothing had.
        """
        return self.told.result

    @result.setter
    def result(self, result: RunResult) -> None:
        self.told = replace(self.told, result=result)

    def for_model(self) -> str:
        """
        Return all of it as one JSON text to be sent to the model that wrote the plan: its faults, what ran, the tools.
        """
        return report("the plan was refused", self.faults, self.told)


def report(error: str, faults: Iterable[Fault], told: Told) -> str:
    """
    Write a JSON text for a model about a plan that failed; it can be encoded, and holds no traceback.
    """
    listed, result = list(faults), told.result
    text: dict[str, Any] = {
        "error": error,
        "faults": [_told(fault) for fault in listed[:SHOWN_FAULTS]],
        "completed": {name: _shown(value) for name, value in told.kept.items()},
        "failed": {},
        "not_run": [],
        "tools": list(told.tools[:SHOWN_TOOLS]),
    }
    if len(listed) > SHOWN_FAULTS:
        text["more_faults"] = len(listed) - SHOWN_FAULTS
    for step in told.steps:
        record = None if result is None else result.nodes.get(step)
        if step in told.kept:
            continue
        if record is None or result is None:
            text["not_run"].append(step)
        elif record.state == "succeeded":
            text["completed"][step] = _shown(result[step])
        elif record.state == "failed":
            text["failed"][step] = _message(result.errors.get(step))
        else:
            text["not_run"].append(step)
    # Escapes of JSON itself for what no text can hold: half characters.
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def _told(fault: Fault) -> dict[str, str | None]:
    return {"step": fault.node, "code": fault.code, "message": printable(fault.message, SHOWN_CHARACTERS)}


def _message(error: BaseException | None) -> str:
    if error is None:
        return "failed"
    if isinstance(error, PlanRefused):
        return "not called: see faults"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # foreign code, and here only a help
        text = "(its text cannot be made)"
    return printable(f"{type(error).__name__}: {text}", SHOWN_CHARACTERS)


def _shown(value: object) -> Any:  # Any: a JSON value
    """
    Show an output: as it is where that is short JSON, else the beginning of its text.
    """
    if value is None or isinstance(value, bool):
        return value
    text = written(value, SHOWN_CHARACTERS)
    if text is not None and not isinstance(value, str):
        return json.loads(text)
    return printable(value if isinstance(value, str) else beginning(value, SHOWN_CHARACTERS), SHOWN_CHARACTERS)


# ---------------------------------------------------------------------- values as JSON, never more than is asked for


def written(value: object, limit: int) -> str | None:
    """
    Write *value* as JSON, or return None if that would take more than *limit* characters, or JSON cannot hold it.
    """
    try:
        text = beginning(value, limit + 1, strict=True)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= limit else None


def beginning(value: object, limit: int, *, strict: bool = False) -> str:
    """
    Write the first *limit* characters of *value* as JSON. What JSON cannot hold is named by its type, unless *strict*.

    The rest is never made, and no repr is asked for: a plan can build a list that has the same list in it a thousand
    times over, and that again, until no text could ever hold it.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=not strict, default=None if strict else _type_of)
    parts: list[str] = []
    room = limit
    try:
        for part in encoder.iterencode(_plain(value)):
            parts.append(part[:room])
            room -= len(part)
            if room <= 0:
                break
    except (TypeError, ValueError, RecursionError):
        if strict:
            raise
        parts.append(_type_of(value)[:limit])
    return "".join(parts)


def _type_of(value: object) -> str:
    return f"<{type(value).__name__}>"


def _plain(value: object) -> object:
    # Results of tools are often models of pydantic, which know their own JSON form.
    dump = getattr(type(value), "model_dump", None)
    if callable(dump):
        try:
            return dump(value, mode="json")
        except Exception:  # noqa: BLE001  # foreign code: its fields are shown as they are
            return value
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value
