"""
What every test may use. `ANTICHAIN_FULL=1` runs everything at full size, see CONTRIBUTING.md.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.command import Here, Write

FULL = os.environ.get("ANTICHAIN_FULL") == "1"
# Commands store their runs only in tests that are about that.
os.environ["ANTICHAIN_STORE"] = "none"

# No deadline: a shared machine stalls for longer than any of them. Failures replay from the printed blob.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("full", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile("full" if FULL else "default")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One more than there are cores: a third of the time, a test waits for a process, a terminal or a clock."""
    if FULL or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # at full size a test keeps its core busy; or somebody has said how many
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FULL:  # full size takes its time; .ci/full limits the whole
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this run is at full size."""
    return FULL


@pytest.fixture
def write(tmp_path: Path) -> "Write":
    """Write a file of Python for the command."""
    from tests.support.command import write_file

    return partial(write_file, tmp_path)


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> "Iterator[Here]":
    """Run the command in this process."""
    from tests.support.command import in_process

    with in_process(capfd) as run:
        yield run
