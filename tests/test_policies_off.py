"""
A policy that is set on no node costs nothing: not a line of its module runs during a run, even in a program that has
imported all of them, and those that few need are not even imported.
"""

from collections.abc import Sequence

import pytest

from tests.support.looked_at import run_python, telling_parts

# Whose turn it is at limits that open by time; what a response says of its usage, and an error of an overload: the last
# one pauses a rate, too.
LINES, USAGE, OVERLOAD = ("core/lines.py",), ("policies/usage.py",), ("policies/overload.py",)
# What the driver has for what is counted, and for limits that are more than a number.
METERING, LIMITING = ("antichain/metering.py",), ("antichain/limiting.py",)
# What each policy is made of, and what sets it on the graph of `tests.support.looked_at`, which has a retry and a limit
# of a plain number.
PARTS = {
    "rate": ("antichain/rate.py", "policies/rate.py", *LINES, *USAGE, *OVERLOAD, *METERING, *LIMITING),
    "adaptive": ("antichain/adaptive.py", "policies/adaptive.py", *LINES, *OVERLOAD, *LIMITING),
    "latency": ("policies/latency.py", "antichain/adaptive.py", "policies/adaptive.py", *LINES, *OVERLOAD, *LIMITING),
    "retry budget": ("antichain/retry_budget.py", "policies/retry_budget.py"),
    "budget": ("antichain/budget.py", "policies/budget.py", *USAGE, *METERING),
}
SET = {
    "rate": "OPTIONS = {'limits': {'one': antichain.Rate(requests=100)}}",
    "adaptive": "OPTIONS = {'limits': {'one': antichain.Adaptive(initial=2)}}",
    "latency": "OPTIONS = {'limits': {'one': antichain.Adaptive(initial=2, latency=True)}}",
    "retry budget": "OPTIONS = {'retry_budget': 0.5}",
    "budget": "OPTIONS = {'budget': antichain.Budget(tokens=100)}",
}
ALL = sorted({part for parts in PARTS.values() for part in parts})
# What runs where nodes have retries, timeouts and limits; a graph without them comes through none of it either.
PLAIN_PARTS = ("policies/retry.py", "policies/retryable.py", "policies/shapes.py", "policies/timeout.py")
PLAIN = """
graph = Graph("plain", on_error="continue")
graph.add("thread", lambda: 1)
graph.map("each", lambda x: x, over=[1, 2])
@graph.node
async def awaited(thread, each):
    return thread
graph.add("fails", lambda: 1 / 0)
"""


def modules(parts: Sequence[str]) -> list[str]:
    return [f"antichain.{part.removeprefix('antichain/').removesuffix('.py').replace('/', '.')}" for part in parts]


IMPORTS = f"import antichain, {', '.join(modules([*ALL, *PLAIN_PARTS]))}\nOPTIONS = {{}}\n"


def test_no_line_of_a_policy_runs_that_no_node_has() -> None:
    assert run_python(IMPORTS + telling_parts(ALL)) == "12"


def test_a_graph_without_policies_comes_through_none() -> None:
    assert run_python(f"{IMPORTS}{PLAIN}" + telling_parts([*ALL, *PLAIN_PARTS])) == "6"


@pytest.mark.slow
@pytest.mark.parametrize("policy", SET)
def test_what_is_set_would_be_seen(policy: str) -> None:
    """The tests above can fail; and one policy does not bring another."""
    told = run_python(f"{IMPORTS}{SET[policy]}\n" + telling_parts(ALL)).split(" ", 1)[1].split()
    assert set(told) >= set(PARTS[policy][:2])
    assert set(told) <= set(PARTS[policy])


def test_none_of_it_is_imported_where_no_node_has_it() -> None:
    """What decides about retries and timeouts is always there: their defaults are."""
    absent = [*modules(ALL), "antichain.policies.retryable", "antichain.policies.shapes"]
    code = f"graph.run()\nprint([name for name in {absent!r} if name in sys.modules])"
    assert run_python(PLAIN + code) == "[]"
