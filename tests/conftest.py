"""
What every test may use. `ANTICHAIN_FULL=1` runs everything at full size, see CONTRIBUTING.md.
"""

import os

import pytest
from hypothesis import settings

FULL = os.environ.get("ANTICHAIN_FULL") == "1"

# No deadline: a shared machine stalls for longer than any of them. Failures replay from the printed blob.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("full", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile("full" if FULL else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FULL:  # full size takes its time; .ci/full limits the whole
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this run is at full size."""
    return FULL
