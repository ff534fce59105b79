"""
What the live display looks like at 3, 300 and 20,000 nodes, 80 and 200 columns: golden frames in tests/golden/progress.

After a change that is meant to change them, write them anew and read the difference:

    ANTICHAIN_GOLDEN=write python -m pytest tests/test_progress_frames.py
"""

import os
from functools import cache
from pathlib import Path

import pytest

from antichain.views.frame import ASCII, UNICODE, Signs, columns, frame, plain
from antichain.views.summary import summary_lines
from tests.support.watched import RUNS, Watched

GOLDEN = Path(__file__).parent / "golden" / "progress"
SIZES = {80: (79, 23), 200: (199, 49)}


@cache
def watched(name: str) -> Watched:
    return RUNS[name]()


def drawn(run: Watched, width: int, height: int, signs: Signs = UNICODE) -> str:
    """All frames of a run, each below the second at which it is drawn, and its summary."""
    memory: dict[str, int] = {}
    parts = []
    for at, look in run.looks:
        lines = frame(look, width, height, signs, {} if look.status else memory)
        parts.append("\n".join([f"== {at:g} s", *map(plain, lines)]))
    parts.append("\n".join(["== summary", *map(plain, summary_lines(run.summary, min(width, 120), signs))]))
    return "\n".join(parts) + "\n"


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("name", RUNS)
def test_frames_are_as_agreed(name: str, width: int) -> None:
    file = GOLDEN / f"{name}-nodes-{width}-columns.txt"
    found = drawn(watched(name), *SIZES[width])
    if os.environ.get("ANTICHAIN_GOLDEN") == "write":
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("signs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("name", RUNS)
def test_frames_keep_to_the_size_of_the_terminal(name: str, signs: Signs) -> None:
    """Down to a terminal of one column and one row."""
    for width in (1, 2, 5, 10, 19, 20, 30, 40, 60, 79, 120, 400):
        for height in (0, 1, 2, 4, 10, 23, 90):
            for _, look in watched(name).looks:
                lines = frame(look, width, height, signs)
                assert len(lines) <= height
                for line in lines:
                    text = "".join(span.text for span in line)
                    assert columns(text) <= width, (width, text)
                    assert signs is UNICODE or text.isascii()


@pytest.mark.parametrize("name", RUNS)
def test_columns_stand_still(name: str) -> None:
    """With a memory the bar of one frame begins and ends where that of the one before did, or gets shorter."""
    memory: dict[str, int] = {}
    places = []
    for _, look in watched(name).looks:
        if look.status is None:
            text = plain(frame(look, 119, 30, memory=memory)[0])
            bar = [at for at, character in enumerate(text) if character in "━╸─╌"]
            places.append((bar[0], bar[-1]))
    assert len({start for start, _ in places}) == 1
    assert [end for _, end in places] == sorted([end for _, end in places], reverse=True)
