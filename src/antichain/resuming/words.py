"""
In words, how a node differs from what it was when a run was stored.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from antichain.errors import named
from antichain.resuming.wiring import KINDS, Level, Line

__all__ = ["differences", "joined", "likely_name"]

# Graphs inside graphs are looked into up to this depth, and so many of their nodes are told.
_DEPTH: Final = 8
_TOLD: Final = 3
# Names are looked for among so many: among more it costs more than it helps.
_SEARCHED: Final = 2_000


def differences(name: str, old: Line, new: Line, then: Level, now: Level, depth: int = 0) -> Iterator[str]:
    """
    Say how the node *name* differs, in halves of sentences about "it"; nothing if no difference can be seen.
    """
    if old.kind != new.kind:
        yield _kinds(old, new)
    if set(old.upstream) != set(new.upstream):
        yield _upstream(old.upstream, new.upstream)
    yield from versions(old.version, new.version)
    if old.join != new.join:
        yield f"its join was {old.join!r} and is now {new.join!r}"
    if old.has_condition != new.has_condition:
        yield "it had no condition and has one now" if new.has_condition else "it had a condition and has none now"
    for before in new.upstream:
        if before in old.upstream and _is_other_container(then.nodes.get(before), now.nodes.get(before)):
            yield f"{before!r}, which it follows, has changed"
    if old.inside is not None and new.inside is not None and depth < _DEPTH:
        yield from _inside(old.inside, new.inside, depth)


def _is_other_container(old: Line | None, new: Line | None) -> bool:
    # What a plain node gives is kept: it says itself whether it has changed.
    return old is not None and new is not None and old.how != new.how and (old.kind, new.kind) != ("n", "n")


def versions(old: str, new: str) -> Iterator[str]:
    """
    Say how its version differs, if it does.
    """
    if old and new and old != new:
        yield f"its version was {old!r} and is now {new!r}"
    elif old != new:
        yield f"its version was {old!r} and it has none now" if old else f"it had no version and has {new!r} now"


def _kinds(old: Line, new: Line) -> str:
    if {old.kind, new.kind} == {"p", "k"}:
        names = ("by key=", "by their position")
        was, now = names if old.kind == "k" else names[::-1]
        return f"its instances were named {was} and are now named {now}"
    return f"it was {KINDS[old.kind]} and is now {KINDS[new.kind]}"


def _upstream(old: Sequence[str], new: Sequence[str]) -> str:
    if not old:
        return f"it had no upstream and now has {named(new)}"
    if not new:
        return f"its upstream was {named(old)} and it has none now"
    return f"its upstream was {named(old)} and is now {named(new)}"


def _inside(old: Level, new: Level, depth: int) -> Iterator[str]:
    found = []
    for name, line in old.nodes.items():
        now = new.nodes.get(name)
        if now is None:
            found.append(f"{name!r} is gone")
        elif (now.how, now.version) != (line.how, line.version):
            how = [*differences(name, line, now, old, new, depth + 1)] or ["its arguments are wired otherwise"]
            found.append(f"{name!r} has changed ({', '.join(how)})")
    found += [f"{name!r} is new" for name in new.nodes if name not in old.nodes]
    if found:
        more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        yield f"inside it, {', '.join(found[:_TOLD])}{more}"


def joined(parts: Sequence[str]) -> str:
    """
    Join halves of sentences.
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def likely_name(name: str, candidates: Collection[str]) -> str | None:
    """
    Return which of *candidates* *name* was most likely renamed to, if any is near.
    """
    near = difflib.get_close_matches(name, [*candidates][:_SEARCHED], n=1, cutoff=0.6)
    return near[0] if near else None
