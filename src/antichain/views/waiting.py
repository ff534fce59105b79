"""
What a run in another process waits for, in words: as that one has last told its store, and how long ago that was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from antichain.printable import printable
from antichain.record import NodeRecord
from antichain.stores.standing import LimitStanding, Standing, Waiters
from antichain.views.figures import time_text
from antichain.views.frame import limit_text

__all__ = ["place_text", "standing_data", "standing_lines", "unlisted_text", "when_told"]

# Seconds after which somebody who should speak every few seconds seems to be stuck.
SILENT: Final = 10.0
# Lines about who waits for what.
SHOWN_LINES: Final = 8


def when_told(standing: Standing, now: float) -> str:
    """
    Say how long ago that was so.
    """
    # The clock of another machine may be ahead of ours.
    told = f"as of {time_text(max(0.0, now - standing.at))} ago"
    if now - standing.at > SILENT:
        told += "; it has told nothing since, as if it hung or something kept its event loop from going on"
    return told


def place_text(standing: Standing, node: NodeRecord, now: float, *, is_short: bool = False) -> str:
    """
    Say what a node that is ready waits for, and how many are before it, to go on after its name.
    """
    line = standing.line_of(node.id)
    if line is None:
        return "is ready"
    waited = time_text(max(0.0, now - line.first[node.id]))
    before = list(line.first).index(node.id)
    reason = reason_text(standing, line, now)
    if not reason and not before:
        return f"has been ready for {waited}, and is about to start"
    text = f"has waited {waited} for {reason or 'its turn'}"
    if before and not is_short:
        text += f"; {_nodes(before, 'want')} the same and {'is' if before == 1 else 'are'} before it"
    return text


def _nodes(count: int, verb: str) -> str:
    return f"{count:,} node {verb}s" if count == 1 else f"{count:,} nodes {verb}"


def reason_text(standing: Standing, line: Waiters, now: float) -> str:
    """
    Name the limits that keep nodes from starting; empty if none does.
    """
    return " and for ".join(_limit_text(limit, now) for limit in standing.kept_out(line))


def _limit_text(limit: LimitStanding, now: float) -> str:
    told = []
    if limit.used is not None and limit.size is not None:
        told.append(f"{limit.used:,} of {limit.size:,} slots taken")
    if limit.per is not None and limit.units:
        passed = " and ".join(
            f"{have:,.6g} of {most:,.6g} {printable(unit)}" for unit, (have, most) in limit.units.items()
        )
        told.append(f"{passed} in the last {limit.per:,.6g} s")
    if limit.paused_until is not None and limit.paused_until > now:
        told.append(f"paused for {time_text(limit.paused_until - now)} more, because the other side asks for it")
    elif limit.opens_at is not None:
        told.append(f"opens in {time_text(limit.opens_at - now)}" if limit.opens_at > now else "opens now")
    if not limit.name:
        return f"max_concurrent ({', '.join(told)})"
    name = limit_text(limit.name)
    if name == printable(limit.name):
        name = f"{'rate' if limit.kind == 'rate' else 'limit'} {name!r}"
    return f"{name} ({'Adaptive: ' * (limit.kind == 'adaptive')}{', '.join(told)})"


def unlisted_text(standing: Standing, line: Waiters | None, now: float) -> str:
    """
    Say what can be said of a node that has all that it needs, and is named neither among those that ran nor among the
    first that waited; to go on after its name. *line* are those who want the same, if that is known.
    """
    longer = [each for each in standing.waiting if each.count > len(each.first)] if line is None else [line]
    reasons = [reason_text(standing, each, now) or "its turn" for each in longer]
    if standing.lists_all or not (longer or standing.running_count > len(standing.running)):
        return "has everything that it waits for, and neither ran nor waited for a limit then"
    told = " or ".join(dict.fromkeys(reasons))
    first = min((len(each.first) for each in longer), default=0)
    behind = f"; {first:,} nodes or more want the same and are before it" if longer else ""
    if standing.running_count <= len(standing.running):
        return f"waits for {told}{behind}"
    runs = f"is one of {standing.running_count:,} that run"
    return f"{runs}, or waits for {told}{behind}" if longer else runs


def standing_lines(standing: Standing, now: float) -> Iterator[str]:
    """
    Say who waits for what, a line for each limit or few that are wanted together; and how long ago that was.
    """
    shown = standing.waiting[:SHOWN_LINES]
    for number, line in enumerate(shown):
        reason = reason_text(standing, line, now) or "a turn"
        told = f" ({when_told(standing, now)})" if number == len(shown) - 1 else ""
        yield f"{_nodes(line.count, 'wait')} for {reason}{told}"


def standing_data(standing: Standing | None) -> dict[str, Any] | None:  # Any: JSON
    """
    Return it as plain data.
    """
    if standing is None:
        return None
    return {
        "at": standing.at,
        "running": standing.running_count,
        "limits": {limit.name: _limit_data(limit) for limit in standing.limits.values()},
        "waiting": [_line_data(standing, line) for line in standing.waiting],
    }


def _limit_data(limit: LimitStanding) -> dict[str, Any]:
    units: dict[str, Sequence[float]] = {unit: list(amounts) for unit, amounts in limit.units.items()}
    return {
        "kind": limit.kind,
        "used": limit.used,
        "size": limit.size,
        "paused_until": limit.paused_until,
        "opens_at": limit.opens_at,
        "per": limit.per,
        "units": units,
    }


def _line_data(standing: Standing, line: Waiters) -> dict[str, Any]:
    return {
        "uses": dict(line.uses),
        "nodes": line.count,
        "first": next(iter(line.first), None),
        "kept_out_by": [limit.name for limit in standing.kept_out(line)],
    }
