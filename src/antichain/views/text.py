"""
A run in words for a terminal: its outputs, and why it did not go well. Foreign text never drives the terminal.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from antichain.errors import RunFailed, shown
from antichain.printable import printable
from antichain.record import NodeRecord, RunResult, describe_error

# Items of a list or mapping that are shown, characters of one of them, and failures that are told.
SHOWN_ITEMS: Final = 100
SHOWN_LINE: Final = 2000
SHOWN_FAILURES: Final = 20


def outputs_text(outputs: Mapping[str, Any]) -> str:  # Any: the nodes' values
    """
    Show outputs: a single one as it is, several under their names.
    """
    if len(outputs) == 1:
        return "\n".join(line for value in outputs.values() for line in _lines(value))
    blocks = []
    for name, value in outputs.items():
        lines = list(_lines(value))
        is_short = isinstance(value, str) and len(lines) == 1
        head = f"{printable(name)}:"
        blocks.append(f"{head} {lines[0]}" if is_short else "\n  ".join([head, *lines]))
    return "\n".join(blocks)


def _lines(value: Any) -> Iterator[str]:  # Any: a node's value
    match value:
        case None:
            return
        case str():
            yield from foreign(value).split("\n")
        case Mapping():
            yield from _cut((f"{_one_line(key)}: {_one_line(item)}" for key, item in value.items()), len(value))
        case list() | tuple() | set() | frozenset():
            yield from _cut(map(_one_line, value), len(value))
        case _:
            yield _one_line(value)


def _cut(lines: Iterable[str], count: int) -> Iterator[str]:
    yield from islice(lines, SHOWN_ITEMS)
    if count > SHOWN_ITEMS:
        yield f"… and {count - SHOWN_ITEMS} more"


def _one_line(value: object) -> str:
    if isinstance(value, str):
        return printable(value, SHOWN_LINE)
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # foreign code; `shown` says what it raised
        text = shown(value)
    return printable(text, SHOWN_LINE)


def failures_text(result: RunResult, file: str = "") -> str:
    """
    Say which nodes failed, of what, and where in *file*; nodes that failed only because of what is inside them are not
    told twice.
    """
    told: dict[int, NodeRecord] = {}
    for name, error in result.errors.items():
        if not isinstance(error, RunFailed):
            # A container fails with the error of what failed inside it, which comes later and knows better.
            told[id(error)] = result.nodes[name]
    lines = [_failure(node, file) for node in islice(told.values(), SHOWN_FAILURES)]
    if len(told) > SHOWN_FAILURES:
        lines.append(f"  … and {len(told) - SHOWN_FAILURES} more")
    return "\n".join(lines)


def _failure(node: NodeRecord, file: str) -> str:
    assert node.error is not None
    details = [f"{node.attempts} attempts"] if node.attempts > 1 else []
    details += ["its work was abandoned"] if node.abandoned else []
    line = _line_in(node.error, file)
    details += [f"line {line}"] if line else []
    ending = f" ({', '.join(details)})" if details else ""
    return f"  {printable(node.id)}: {error_text(node.error)}{ending}"


def _line_in(error: BaseException, file: str) -> int:
    """
    Return the deepest line of *file* that the error passed, or 0.
    """
    found, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def error_text(error: BaseException) -> str:
    """
    Say in one line what an exception is and says.
    """
    told = describe_error(error)
    kind = told["type"].rpartition(".")[2]
    return printable(f"{kind}: {told['message']}" if told["message"] else kind, SHOWN_LINE)


def names_text(names: Sequence[str], limit: int = 5) -> str:
    """
    List names in a sentence: the first few, and how many more there are.
    """
    text = ", ".join(printable(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def foreign(text: str) -> str:
    """
    Show a text of several lines: line ends and tabs stay, all else that drives a terminal is shown as escapes.
    """
    lines = (line.removesuffix("\r").split("\t") for line in text.split("\n"))
    return "\n".join("\t".join(printable(part, None) for part in parts) for parts in lines)
