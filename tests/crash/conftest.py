"""What the tests of the crash lab may use."""

import pytest

from tests.crash.traced import why_not


@pytest.fixture
def traced(full: bool) -> None:
    """Leave a test out where nothing can be traced; at full size that is a failure."""
    if reason := why_not():
        assert not full, reason
        pytest.skip(reason)
