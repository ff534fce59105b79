"""
What was typed: NAME=VALUE, NAME=N and lists of sizes, read into what a run takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antichain.graph import Graph
from antichain.loading import UsageError, load, open_graph

__all__ = ["Named", "budget_of", "limits_of", "open_named", "pairs_of", "sizes_of"]


@dataclass(frozen=True, slots=True)
class Named:
    """
    The graph that a command names, where it comes from, and the values given to it that are inputs of a run.
    """

    graph: Graph
    file: Path
    inputs: dict[str, Any]  # Any: the user's values
    # What stood behind the colon, and what was given to the function that makes the graph, as typed.
    name: str | None = None
    factory_values: tuple[str, ...] = ()


def open_named(target: str, values: Sequence[str]) -> Named:
    """
    Find the graph of ``FILE[:GRAPH]`` and give its factory, if it has one, what it asks for.
    """
    given = pairs_of(values)
    file, module, name = load(target)
    graph, inputs = open_graph(file, module, name, given)
    taken = [text for text in values if text.partition("=")[0] not in inputs]
    return Named(graph, file, inputs, name, tuple(taken))


def pairs_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """
    Read values by name; a name may be given several times.
    """
    pairs: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{text!r} is not NAME=VALUE. Write for example path=/tmp or 'question=why is the sky blue?'."
            )
        pairs.setdefault(name, []).append(value)
    return pairs


def limits_of(texts: Sequence[str]) -> dict[str, int]:
    """
    Read sizes of named limits.
    """
    limits = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not _is_number(size):
            raise UsageError(f"--limit {text!r} is not NAME=N. Write for example --limit llm=4.")
        limits[name] = int(size)
    return limits


def budget_of(tokens: float | None, usd: float | None) -> Any:  # Any: a run option
    """
    Make the budget of a run; None if nothing is limited.
    """
    if tokens is None and usd is None:
        return None
    from antichain.budget import Budget  # only where it is wanted

    for name, value in (("tokens", tokens), ("usd", usd)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--budget-{name} {value:g} is no number above zero. Write for example --budget-{name} 5.")
    return Budget(tokens=tokens, usd=usd)


def sizes_of(text: str) -> list[int]:
    """
    Read numbers of slots, each above zero and each once, in the order in which they stand.
    """
    sizes: dict[int, None] = {}
    for part in text.split(","):
        if not _is_number(part.strip()) or int(part) < 1:
            raise UsageError(
                f"--slots {text!r} is not a list of numbers above zero. Write for example --slots 1,2,4,8."
            )
        sizes[int(part)] = None
    return list(sizes)


def _is_number(text: str) -> bool:
    # Longer ones than Python reads are no number of slots either.
    return text.isascii() and text.isdecimal() and len(text) <= 18
