"""
What is promised of `Adaptive(latency=True)`, measured by bench/queueing.py, and that model itself.
"""

import math
import statistics
from pathlib import Path

import pytest

from bench import queueing
from bench.queueing import FAMILIES, LENGTHS, Provider, found

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "how-to" / "unknown-limits.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_it_costs_nothing_where_no_queue_is_and_helps_where_one_is(family: str, full: bool) -> None:
    """Calls of every kind of length; at full size against every provider."""
    rows = [
        found(family, provider, kind, seeds=queueing.SEEDS if full else 1)
        for provider in (FAMILIES[family] if full else FAMILIES[family][1:2] or FAMILIES[family])
        for kind in LENGTHS
    ]
    if family in queueing.WITHOUT_QUEUE:
        assert max(row.cost for row in rows) <= 1.05
        return
    assert max(row.cost for row in rows) <= 1.25
    time, latency = queueing.MOST[family]
    assert statistics.median(row.times[1] for row in rows) <= (time or 1.05)
    assert statistics.median(row.latencies[1] for row in rows) <= (latency or 3.0)
    if time is not None:
        assert statistics.median(row.latencies[0] / row.latencies[1] for row in rows) > 1


@pytest.mark.slow
def test_the_table_of_the_page_is_what_is_measured(full: bool) -> None:
    """At full size; else that it tells of all families."""
    if full:
        assert queueing.table(list(queueing.all_found())) in PAGE, "print it anew: python -m bench.queueing"
    assert [line.split("|")[1].strip() for line in PAGE.splitlines() if " → " in line and line[0] == "|"] == [*FAMILIES]


def test_the_model_serves_as_many_as_it_says() -> None:
    """Four equal calls, two at once: two wait for as long as a call takes; with room for one, the fourth is refused."""
    served = [1.0] * 4
    queues = queueing.Model(queueing.Oracle(4), Provider(2, math.inf), served, 0).play()
    assert queues.latencies == pytest.approx([1.01, 1.01, 2.01, 2.01])
    assert (queues.overloads, queues.lost) == (0, 0)
    refuses = queueing.Model(queueing.Oracle(4), Provider(2, 1), served, 0).play()
    assert refuses.overloads > 0
    assert len(refuses.latencies) + refuses.lost == 4
    slower = queueing.Model(queueing.Oracle(4), Provider(2, math.inf, slows=1.0), served, 0).play()
    assert slower.seconds > queues.seconds
    gives_up = queueing.Model(queueing.Oracle(4), Provider(2, math.inf, patience=1.5), served, 0).play()
    assert gives_up.overloads >= 2
