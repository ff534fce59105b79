"""
A plan in words for a terminal, and as data: what a run would need, and how long it would take.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from antichain.printable import printable
from antichain.views.figures import time_text
from antichain.views.text import names_text

__all__ = ["Forecast", "LimitUse", "Outlook", "outlook_text"]

# The form of `Outlook.to_dict`; a field is added without a new version, and never changes its meaning within one.
VERSION: Final = 1
# Rows of one kind, names in one row, and characters of one name.
SHOWN_ROWS: Final = 20
SHOWN_NAMES: Final = 3
SHOWN_NAME: Final = 40
# Nodes at both ends of a longest path that are named.
SHOWN_START: Final = 3
SHOWN_END: Final = 2


@dataclass(frozen=True, slots=True)
class LimitUse:
    """
    Say how large a limit is, and how many nodes use it.
    """

    name: str
    # Units at once; of a rate None, and what passes in how many seconds.
    size: int | None
    nodes: int
    units: Mapping[str, float] | None = None
    per: float | None = None
    # Of one that adapts: `size` is where it begins, and this is as large as it may become.
    maximum: int | None = None

    @property
    def text(self) -> str:
        """
        How large it is, in words.
        """
        if self.maximum is not None:
            return f"adapts, from {self.size:,}, up to {self.maximum:,}"
        if self.units is None or self.per is None:
            return f"{self.size:,}"
        passing = ", ".join(f"{amount:,.10g} {printable(unit, SHOWN_NAME)}" for unit, amount in self.units.items())
        return f"{passing} in {time_text(self.per)}"

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return it as plain data, without its name.
        """
        if self.units is None:
            most = {} if self.maximum is None else {"maximum": self.maximum}
            return {"size": self.size, "nodes": self.nodes, **most}
        return {"units": dict(self.units), "per": self.per, "nodes": self.nodes}


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    Say how long a run would take with so many slots; None is as many as it could use.
    """

    slots: int | None
    makespan: float
    # No order of starts could make it shorter, because of the limit of that name; None is the longest path.
    bound: float
    bound_by: str | None
    # Seconds in the best order of starts that was found, and when the nodes start in it; None if nobody looked for one.
    improved: float | None = None
    improved_starts: Mapping[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the forecast as plain data.
        """
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.improved is None:
            del data["improved"], data["improved_starts"]
        return data


@dataclass(frozen=True, slots=True)
class Outlook:
    """
    Say what is known of a run before it begins.
    """

    name: str
    node_count: int
    # Nodes inside those that are graphs, and nodes that are maps.
    inner_count: int
    maps: Sequence[str]
    edge_count: int
    width: int
    is_width_exact: bool
    depth: int
    critical_path: Sequence[str]
    critical_seconds: float
    has_costs: bool
    # Nodes that need an input, by its name; and inputs that may be left out.
    inputs: Mapping[str, Sequence[str]]
    optional_inputs: Sequence[str]
    limits: Sequence[LimitUse]
    estimates: Sequence[Forecast]
    # Nodes of which it is known how long they took in earlier runs, those of which it is not (without those that are
    # graphs), and where those runs are kept.
    measured: int = 0
    unmeasured: int = 0
    measured_in: str = ""

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """
        Return the outlook as plain data.
        """
        data: dict[str, Any] = {"version": VERSION}
        data |= {each.name: getattr(self, each.name) for each in fields(self)}
        data["inputs"] = {name: list(nodes) for name, nodes in self.inputs.items()}
        data["limits"] = {limit.name: limit.to_dict() for limit in self.limits}
        data["estimates"] = [forecast.to_dict() for forecast in self.estimates]
        return data


def outlook_text(outlook: Outlook) -> str:
    """
    Show an outlook in a page, however large the graph is.
    """
    return "\n".join([*_shape(outlook), *_sections(outlook), "", *_estimates(outlook), "", *_notes(outlook)])


def _shape(outlook: Outlook) -> Iterator[str]:
    inner = f" and {outlook.inner_count:,} inside them" if outlook.inner_count else ""
    nodes = _count(outlook.node_count, "node")
    yield f"{printable(outlook.name)}: {nodes}{inner}, {_count(outlook.edge_count, 'edge')}"
    least = "" if outlook.is_width_exact else "at least "
    yield f"  width         {least}{outlook.width:,} could run at once"
    yield f"  depth         {outlook.depth:,} one after another"


def _sections(outlook: Outlook) -> Iterator[str]:
    yield from _rows("needs", [_needed(name, nodes) for name, nodes in outlook.inputs.items()])
    yield from _rows("may be given", [_name(name) for name in outlook.optional_inputs])
    yield from _rows("limits", _limits(outlook.limits))
    if outlook.critical_path:
        yield f"  longest path  {time_text(outlook.critical_seconds)}: {_path(outlook.critical_path)}"


def _rows(title: str, rows: Sequence[str]) -> Iterator[str]:
    shown = [*rows[:SHOWN_ROWS]]
    if len(rows) > SHOWN_ROWS:
        shown.append(f"… and {len(rows) - SHOWN_ROWS:,} more")
    for number, row in enumerate(shown):
        yield f"  {title if not number else '':<12}  {row}"


def _needed(name: str, nodes: Sequence[str]) -> str:
    return f"{_name(name)}=VALUE, for {names_text([_name(node) for node in nodes], SHOWN_NAMES)}"


def _limits(limits: Sequence[LimitUse]) -> list[str]:
    width = max((len(_name(limit.name)) for limit in limits), default=0)
    digits = max((len(limit.text) for limit in limits), default=0)
    return [
        f"{_name(limit.name):<{width}}  {limit.text:>{digits}}  used by {_count(limit.nodes, 'node')}"
        for limit in limits
    ]


def _path(names: Sequence[str]) -> str:
    hidden = len(names) - SHOWN_START - SHOWN_END
    if hidden <= 1:
        return " → ".join(_name(name) for name in names)
    start, end = names[:SHOWN_START], names[-SHOWN_END:]
    return " → ".join([*map(_name, start), f"… {hidden:,} more …", *map(_name, end)])


def _estimates(outlook: Outlook) -> Iterator[str]:
    improved = _is_improved(outlook)
    rows = [("slots", "makespan", *(("improved",) if improved else ()), "bound", "bound set by")]
    rows += [
        (
            "any" if each.slots is None else f"{each.slots:,}",
            time_text(each.makespan),
            *((time_text(each.makespan if each.improved is None else each.improved),) if improved else ()),
            time_text(each.bound),
            _setter(each.bound_by),
        )
        for each in outlook.estimates
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for *numbers, setter in rows:
        yield f"  {'  '.join(f'{cell:>{width}}' for cell, width in zip(numbers, widths, strict=True))}  {setter}"


def _is_improved(outlook: Outlook) -> bool:
    """
    Tell whether a better order of starts was looked for.
    """
    return any(each.improved is not None for each in outlook.estimates)


def _setter(name: str | None) -> str:
    if name is None:
        return "the longest path"
    return "slots" if name == "max_concurrent" else f"limit {_name(name)}"


def _notes(outlook: Outlook) -> Iterator[str]:
    if outlook.measured:
        yield f"Seconds are those of {_count(outlook.measured, 'node')} in earlier runs, in {outlook.measured_in}."
        if outlook.unmeasured:
            yield f"Of {outlook.unmeasured:,} more, they are those of cost=, else what nine in ten of the others take."
    elif outlook.has_costs:
        yield "Seconds are those of cost=; a node without one counts as 1 s."
    else:
        yield "No node says by cost= how long it takes: each counts as 1 s."
    if any(each.improved is not None and each.improved < each.makespan for each in outlook.estimates):
        yield "Improved is a better order of starts: --json has it, and priority= gives it to the nodes."
    elif _is_improved(outlook):
        yield "No better order of starts was found."
    if outlook.maps:
        yield f"{_count(len(outlook.maps), 'map')} ({names_text(outlook.maps, SHOWN_NAMES)}): counted as one item each."


def _name(name: str) -> str:
    return printable(name, SHOWN_NAME)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
