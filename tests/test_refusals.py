"""
What people are told who give a policy, a limit or an option a wrong value: the words themselves, in
golden/refusals.txt.

There, what was written follows `>>>`, and below it is each fault. A changed text is changed there too, and so is read
by whoever reviews it.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from antichain import Adaptive, Backoff, Budget, Limit, Policies, Rate, Retry, RetryBudget, Timeout
from antichain.errors import Fault, GraphError
from antichain.policies import as_join, as_on_error, as_size, check_options, check_resume, check_storing, policies_of
from antichain.policies.limits import as_weight
from antichain.policies.retry import as_condition

GOLDEN = Path(__file__).parent / "golden" / "refusals.txt"
KNOWN = {
    kind.__name__: kind
    for kind in (Adaptive, Backoff, Budget, Limit, Policies, Rate, Retry, RetryBudget, Timeout, as_condition, as_join,
                 as_on_error, as_size, as_weight, check_options, check_resume, check_storing, policies_of)
}  # fmt: skip


def cases() -> list[tuple[str, list[str]]]:
    """What is written, and what is said of it."""
    blocks = GOLDEN.read_text(encoding="utf-8").split(">>> ")[1:]
    return [(lines[0], lines[1:]) for lines in (block.strip().splitlines() for block in blocks)]


def said_of(written: str) -> list[str]:
    """The faults, raised or returned."""
    faults: Sequence[Fault]
    try:
        faults = eval(written, dict(KNOWN))
    except GraphError as error:
        faults = error.faults
    return [f"[{fault.code}] {fault.message}" for fault in faults]


@pytest.mark.parametrize(("written", "expected"), cases(), ids=[written for written, _ in cases()])
def test_a_wrong_value_is_refused_in_these_words(written: str, expected: list[str]) -> None:
    """Which, what, why, and what to do instead."""
    assert said_of(written) == expected


def test_there_is_a_case_for_every_policy_option_and_limit() -> None:
    """So that none is forgotten here when it is added there."""
    from antichain.policies import NODE_POLICIES, RUN_OPTIONS

    written = " ".join(written for written, _ in cases())
    # What takes any value has no wrong one.
    assert [name for name in NODE_POLICIES if f"{name}=" not in written] == ["fallback"]
    assert [name for name in sorted(RUN_OPTIONS) if f"'{name}'" not in written] == []
