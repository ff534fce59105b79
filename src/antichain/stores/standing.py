"""
What a run that goes on waits for, as its owner last told the store: made by `telling`, read here. It is advice for
whoever looks, may be lost at any time, and nothing follows from it.
"""

from __future__ import annotations

import math
import zlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from antichain.errors import StoreDamaged
from antichain.stores.codec import decode

__all__ = ["LimitStanding", "Standing", "Waiters", "digest_of", "read_standing"]

# Of the form; what is of another one is passed over.
VERSION: Final = 1
# Nodes of which what they want is read.
MOST_NODES: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """
    How one limit stood. Instants are wall-clock seconds since 1970.
    """

    # Empty for how many attempts may run at once in all.
    name: str
    # limit, adaptive or rate.
    kind: str
    # None of a rate.
    used: float | None = None
    size: float | None = None
    # Before which nobody starts, and at which the first in line may pass.
    paused_until: float | None = None
    opens_at: float | None = None
    # Of a rate: seconds of its window, and what has passed of what may, by unit.
    per: float | None = None
    units: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def keeps_out(self, weight: float, at: float) -> bool:
        """
        Tell whether nobody who takes so much of it could start at an instant.
        """
        if self.paused_until is not None and self.paused_until > at:
            return True
        if self.used is None or self.size is None:
            return self.opens_at is not None and self.opens_at > at
        # What is heavier than an adaptive limit is now passes alone.
        return self.used + weight > self.size and not (self.kind == "adaptive" and not self.used)


@dataclass(frozen=True, slots=True)
class Waiters:
    """
    Nodes that are ready, want the same and have not started.
    """

    uses: Mapping[str, float]
    count: int
    # Some of them, those that start first, in that order: since when each has waited.
    first: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What the nodes of a run waited for at one instant.
    """

    # Wall-clock seconds since 1970.
    at: float
    limits: Mapping[str, LimitStanding] = field(default_factory=dict)
    waiting: Sequence[Waiters] = ()
    # Nodes that ran, or some of them, each with its attempt and since when; and how many there were.
    running: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    running_count: int = 0
    # What the nodes want that the run's header names, in its order: numbers of `demands`; and a digest of their names.
    demand_numbers: bytes = b""
    demands: Sequence[Mapping[str, float]] = ()
    names_digest: str = ""

    def longer_line_of(self, node: str, names: Sequence[str]) -> Waiters | None:
        """
        Return those among whom a node waits that is not named, if that is known; *names* are those of the header.
        """
        planned = names[: len(self.demand_numbers)]
        if not planned or digest_of(planned) != self.names_digest or node not in planned:
            # Another graph has gone on with the run, or it came later.
            return None
        number = self.demand_numbers[planned.index(node)]
        uses = self.demands[number] if number < len(self.demands) else None
        return next((line for line in self.waiting if line.uses == uses and line.count > len(line.first)), None)

    def line_of(self, node: str) -> Waiters | None:
        """
        Return those among whom a node waits, if it is one of the first.
        """
        return next((line for line in self.waiting if node in line.first), None)

    @property
    def lists_all(self) -> bool:
        """
        Tell whether every node that ran or waited is named.
        """
        is_all = all(line.count <= len(line.first) for line in self.waiting)
        return is_all and self.running_count <= len(self.running)

    def kept_out(self, line: Waiters) -> list[LimitStanding]:
        """
        List the limits that have no room for those who want what *line* wants.
        """
        wanted = {"": 1.0, **line.uses}
        found = [(self.limits[name], weight) for name, weight in wanted.items() if name in self.limits]
        return [limit for limit, weight in found if limit.keeps_out(weight, self.at)]


def digest_of(names: Sequence[str]) -> str:
    """
    Return by what somebody else knows that he means the same nodes.
    """
    return sha256("\0".join(names).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def read_standing(data: bytes | None) -> Standing | None:
    """
    Read what an owner has told; None if it has told nothing, or nothing that can be read.
    """
    if data is None:
        return None
    try:
        told = decode(data)
        if told["version"] != VERSION:
            return None
        limits = [_limit(each) for each in told["limits"]]
        count, running = told["running"]
        numbers, demands, digest = told["planned"] or ("", [], "")
        return Standing(
            at=_number(told["at"]),
            limits={limit.name: limit for limit in limits},
            waiting=[_line(*each) for each in told["waiting"]],
            running={_text(name): (int(attempt), _number(since)) for name, attempt, since in running},
            running_count=int(count),
            demand_numbers=zlib.decompressobj().decompress(b64decode(numbers), MOST_NODES) if numbers else b"",
            demands=[{_text(name): _number(weight) for name, weight in uses} for uses in demands],
            names_digest=_text(digest),
        )
    except (StoreDamaged, KeyError, TypeError, ValueError, AttributeError, OverflowError, zlib.error):
        # Somebody else's words, or another release's: whoever looks does without.
        return None


def _line(uses: Any, count: Any, first: Any) -> Waiters:  # Any: what was told, not yet looked at
    taken = {_text(name): _number(weight) for name, weight in uses}
    return Waiters(taken, int(count), {_text(name): _number(since) for name, since in first})


def _limit(told: Any) -> LimitStanding:
    name, kind, used, size, paused_until, opens_at, per, units = told
    return LimitStanding(
        name=_text(name),
        kind=_text(kind),
        used=_known(used),
        size=_known(size),
        paused_until=_known(paused_until),
        opens_at=_known(opens_at),
        per=_known(per),
        units={_text(unit): (_number(have), _number(most)) for unit, have, most in units},
    )


def _known(value: object) -> float | None:
    return None if value is None else _number(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return value
