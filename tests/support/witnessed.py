"""A Rate of which everything that passes is written down, and looked at afterwards by code of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from antichain.rate import Rate


@dataclass
class Passed:
    """What passed, when, and for how much it counts now."""

    at: float
    amounts: dict[str, float]


class WitnessedRate(Rate):
    """Keeps a log beside the ledger that it is checked against."""

    def __init__(self, *, per: float, **units: float) -> None:
        super().__init__(per=per, **units)
        self.log: dict[int, Passed] = {}
        # The most of each unit that was ever allowed, since a rate may be changed.
        self.most = dict(units)
        self.paused: list[tuple[float, float]] = []

    def acquire(self, amounts: Mapping[str, float], now: float, weight: int = 1, who: int | None = None) -> int | None:
        ticket = super().acquire(amounts, now, weight, who)
        if ticket is not None:
            assert not any(begun <= now < until for begun, until in self.paused), "passed during a pause"
            self.log[ticket] = Passed(now, dict(amounts))
            self._check(now)
        return ticket

    def settle(self, ticket: int, used: Mapping[str, float], now: float) -> None:
        super().settle(ticket, used, now)
        self.log[ticket].amounts.update(used)

    def pause_from(self, now: float, until: float) -> None:
        """Pause, at a known instant."""
        self.paused.append((now, until))
        self.pause(until)

    def resize(self, **units: float) -> None:
        super().resize(**units)
        for name, size in units.items():
            self.most[name] = max(self.most[name], size)

    def _check(self, now: float) -> None:
        """The window that ends now holds no more than the rate, or one request that proved to be more than reserved."""
        inside = [each for each in self.log.values() if now - self.per < each.at <= now]
        for name, most in self.most.items():
            total = sum(each.amounts.get(name, 0.0) for each in inside)
            assert total <= most * (1 + 1e-9), f"{total} {name} of {most} in a window of {self.per} s"
