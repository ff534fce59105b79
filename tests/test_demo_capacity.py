"""
`antichain demo --capacity`: the same calls in five ways; what is said is what the providers saw, and it fits.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antichain.demo import capacity, command, plot
from antichain.demo.capacity import Trial
from antichain.demo.plot import ASCII, UNICODE, Timeline

NAMES = ["Semaphore(8)", "gather", "Semaphore(32)", "Semaphore(4)", "Adaptive(initial=2)"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer calls, and a provider in a hurry."""
    monkeypatch.setattr(capacity, "CALLS", 40)
    monkeypatch.setattr(capacity, "LATENCY", 0.03)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_what_is_said_is_what_the_providers_saw(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[capacity.FakeProvider] = []

    def keeping(**settings: object) -> capacity.FakeProvider:
        made.append(capacity_provider(**settings))
        return made[-1]

    capacity_provider, tried, trials = capacity.FakeProvider, capacity.tried, []
    monkeypatch.setattr(capacity, "FakeProvider", keeping)
    monkeypatch.setattr(capacity, "tried", lambda way, seed: trials.append(tried(way, seed)) or trials[-1])
    assert command.demo(None, None, 0, True, None, capacity=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["calls"], report["allowed"]) == (40, 8)
    assert [way["name"] for way in report["ways"]] == NAMES
    for way, fake in zip(report["ways"], made, strict=True):
        assert way["refused"] == fake.count(429)
        assert way["lost"] == 40 - fake.count(200)
        assert fake.peak <= 8
    for trial, fake in zip(trials, made, strict=True):
        in_flight = [served for _, served in trial.seen.in_flight]
        assert (max(in_flight), in_flight[-1]) == (fake.peak, 0)
    by_name = {way["name"]: way for way in report["ways"]}
    assert by_name["Semaphore(8)"]["ratio"] == 1.0
    assert [by_name[name]["refused"] for name in ("Semaphore(8)", "Semaphore(4)")] == [0, 0]
    assert by_name["gather"]["refused"] > 0
    assert by_name["Adaptive(initial=2)"]["lost"] == 0
    assert by_name["Adaptive(initial=2)"]["sizes"][0][1] == 2


def pretended(way: capacity.Way, seed: int) -> Trial:
    """Four seconds, of which the last is half empty; two refusals in the second one of `gather`."""
    in_flight = [(0.1, 4), (1.0, 8), (3.0, 4), (4.0, 0)]
    refused = [1.1, 1.2, 1.9] if way.name == "gather" else []
    sizes = [(0.0, 2), (0.5, 4), (1.0, 8)] if way.name.startswith("Adaptive") else []
    return Trial(way, len(refused), Timeline(4.0, in_flight, refused, sizes))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_text_fits_and_has_no_styles_where_nobody_sees_them(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "tried", pretended)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert command.demo(None, None, 0, False, None, capacity=True) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "\x1b" not in told.out
    lines = told.out.splitlines()
    assert max(map(len, lines)) <= max(48, min(columns, 120))
    rows = [line for line in lines if re.search(r"\d s +\d\.\d\dx +\d+ +\d+", line)]
    assert [row.split("  ")[0] for row in rows] == NAMES
    remark = "  all at once" if columns > 60 else ""
    assert f"gather                 4.0 s  1.00x      3     3{remark}" in rows
    strips = [line for line in lines if re.fullmatch(r"\S+ +[▁▂▃▄▅▆▇█]+", line)]
    assert [strip.split()[0] for strip in strips] == NAMES
    assert len([line for line in lines if re.fullmatch(r" +429 +[▁▂▃▄▅▆▇█ ]+", line)]) == 1
    chart = [line for line in lines if "│" in line]
    assert [line[:3] for line in chart] == [f"{size} │" for size in range(8, 0, -1)]
    assert chart[0].endswith("━━━━")
    assert chart[6].startswith("2 │━━")
    assert chart[7].endswith("████")


def test_styles_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "tried", pretended)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert command.demo(None, None, 0, False, None, capacity=True) == 0
    assert "\x1b[1mgather             \x1b[0m" in capsys.readouterr().out


def test_signs_are_those_that_the_output_can_show() -> None:
    assert capacity.signs_for("utf-8") is UNICODE
    assert [capacity.signs_for(encoding) for encoding in ("ascii", "latin-1", None, "no such")] == [ASCII] * 4
    assert all(each.isascii() for each in (ASCII.levels, ASCII.limit, ASCII.allowed, ASCII.axis))
    assert len(ASCII.levels) == len(UNICODE.levels)


@pytest.mark.parametrize(
    "given", [{"questions": ["why?"]}, {"model": "http://localhost/v1"}, {"trace": Path("t.json")}, {"kill": True}]
)
def test_what_it_does_not_go_with_is_said(given: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"model": None, "questions": None, "seed": 0, "as_json": False, "trace": None, **given}
    assert command.demo(**asked, capacity=True) == 2
    told = capsys.readouterr()
    assert "it goes with --seed and --json only" in told.err
    assert told.out == ""


@pytest.mark.usefixtures("small")
def test_a_reader_who_leaves_ends_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With the first row, not after all five."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return os.open(os.devnull, os.O_WRONLY)

    tried = []
    monkeypatch.setattr(capacity, "tried", lambda way, seed: tried.append(way))
    monkeypatch.setattr(sys, "stdout", Gone())
    assert command.demo(None, None, 0, False, None, capacity=True) == 1
    assert tried == []
    assert "the output was closed" in capfd.readouterr().err


def test_the_main_demo_names_it() -> None:
    assert any("demo --capacity" in line for line in command._next(None, 100, killed=False))


def test_all_of_it_takes_less_than_twenty_seconds(full: bool, tmp_path: Path) -> None:
    if not full:
        pytest.skip("at full size: 400 calls in each way")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "antichain", "demo", "--capacity", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    # On a machine that does nothing else; others get three times as long.
    assert time.monotonic() - began < 60
    ways = {way["name"]: way for way in json.loads(done.stdout)["ways"]}
    assert ways["gather"]["refused"] > 1_000
    assert ways["Adaptive(initial=2)"]["lost"] == 0
    assert ways["Adaptive(initial=2)"]["refused"] <= 32
    assert ways["Adaptive(initial=2)"]["ratio"] < ways["Semaphore(4)"]["ratio"]


# -- plots


def test_averages_weigh_values_with_their_time() -> None:
    """2 for a quarter of a second and 4 for the rest: the first column has half of each."""
    assert plot.averages([(0.25, 2), (0.5, 4)], 0.5, 4) == pytest.approx([1.0, 4.0, 4.0, 4.0])
    assert plot.averages([], 0.5, 2) == [0.0, 0.0]
    assert plot.averages([(0.0, 8), (1.0, 0)], 0.5, 4) == pytest.approx([8.0, 8.0, 0.0, 0.0])


def test_counts_have_a_column_for_the_last_instant() -> None:
    assert plot.counts([0.0, 0.1, 0.9, 1.0], 0.5, 2) == [2, 2]


def test_a_strip_shows_little_as_little_and_not_as_nothing() -> None:
    assert plot.strip([0, 0.01, 4, 8, 9, 0], 8, UNICODE) == " ▁▄██"
    assert plot.strip([0, 0.01, 4, 8, 9, 0], 8, ASCII) == " .=##"


def test_a_chart_has_the_size_above_the_calls_and_what_is_allowed() -> None:
    seen = Timeline(4.0, [(0.0, 2), (1.0, 3)], [1.0], [(0.0, 2), (1.0, 5), (2.0, 4)])
    assert plot.chart(seen, 3, 11, 8, UNICODE) == [
        "5 │  ━━",
        "4 │    ━━━━",
        "3 │╌╌██████",
        "2 │━━██████",
        "1 │████████",
    ]
    assert [line[:3] for line in plot.chart(seen, 3, 11, 3, UNICODE)] == ["6 │", "4 │", "2 │"]
