"""
A run in words: what is told of 3 and of 20,000 nodes, and how much room it takes.
"""

import time

import pytest

from antichain.printable import printable
from antichain.record import RunRecord, fold
from antichain.testing import virtual_time
from antichain.views.figures import Run, serial_seconds, time_text
from antichain.views.frame import columns, plain
from antichain.views.show import ROWS, show_text
from antichain.views.summary import summarize, summary_lines
from tests.support import viewed
from tests.support.viewed import HOSTILE
from tests.test_real_runs import run_one
from tests.test_views_diagram import BIG, agreed


@pytest.mark.parametrize("width", [60, 100])
def test_a_run_of_everything_is_told_as_agreed(width: int) -> None:
    result, events = viewed.sample()
    text = show_text(result, width=width)
    assert text == show_text(fold(events), width=width)
    agreed(f"sample-{width}.txt", without_summary(result, text, width))


def without_summary(run: Run, text: str, width: int = 100) -> str:
    """The end is the summary that a run's display ends with, and agreed on there."""
    summary = "\n".join(plain(line) for line in summary_lines(summarize(run), width))
    assert text.endswith(summary)
    return text.removesuffix(summary)


@pytest.mark.parametrize("kind", BIG)
def test_twenty_thousand_nodes_are_told_as_agreed(kind: str) -> None:
    run = BIG[kind]()
    began = time.process_time()
    text = show_text(run)
    assert time.process_time() - began < 2
    agreed(f"{kind.replace(' ', '-')}.txt", without_summary(run, text))
    # The rows, and the lines around them.
    assert len(text.splitlines()) <= 2 * ROWS


@pytest.mark.parametrize("width", [0, 40, 79, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    runs = [viewed.sample()[0], viewed.fan(500), viewed.stages(40), viewed.nested(3, 5), RunRecord()]
    runs += [viewed.hostile(text) for text in HOSTILE]
    for run in runs:
        for line in show_text(run, width=width).split("\n"):
            assert columns(line) <= max(width, 40), line
            assert printable(line, None) == line


def test_random_runs_are_told_at_any_point() -> None:
    for seed in range(20):
        events: list[object] = []
        with virtual_time() as clock:
            _, result = clock.run(run_one(seed, events))  # type: ignore[arg-type]
        text = show_text(result)
        for name in result.nodes:
            assert name in text or "more" in text or "/" in name or "[" in name
        for end in range(0, len(events), 9):
            assert show_text(fold(events[:end])).count("\n") < 3 * ROWS  # type: ignore[arg-type]


def test_all_that_failed_is_told_first() -> None:
    lines = show_text(viewed.fan(20_000)).splitlines()
    failed = [line for line in lines if "broke" in line and line.startswith("  w")]
    assert len(failed) == 15
    assert "… 993 more" in "\n".join(lines)
    assert any(line.endswith("5,985 succeeded, 5 failed  ≤ 1 s") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (0.0, "0 ms"), (0.00042, "0.42 ms"), (0.0123, "12 ms"), (0.9994, "999 ms"), (0.9996, "1 s"),
        (1.234, "1.23 s"), (99.9, "99.9 s"), (99.96, "1 min 40 s"), (3599.6, "1 h 00 min"), (7260.0, "2 h 01 min"),
    ],
)  # fmt: skip
def test_durations_are_told_in_the_unit_that_suits(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text


def test_what_a_group_only_waits_for_is_not_work_of_its_own() -> None:
    """
    The nested graph took 3 s, and two nodes of a second within; a node that ran a second and then waited for what it
    brought is counted for that second.
    """
    inside = [viewed.node("g/a", at=0.0, group="g"), viewed.node("g/b", at=2.0, group="g")]
    run = viewed.record([*inside, viewed.node("g", at=0.0)])
    run.nodes["g"] = type(run.nodes["g"])("g", "succeeded", "output", 1, None, 0.0, 0.0, 3.0)
    assert serial_seconds(run) == 3.0
