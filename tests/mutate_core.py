"""
The laws of the core as mutation testing runs them: the random graphs of test_laws.py, fewer, up to the first fault.

Not collected by default: [tool.mutmut] in pyproject.toml names it, and `.ci/mutation.py` runs that.
"""

import pytest

from tests.support.random_runs import play

CHUNK = 25


@pytest.mark.parametrize("first", range(0, 250, CHUNK))
def test_random_graphs_keep_every_law(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)
