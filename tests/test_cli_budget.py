"""
The command and budgets: exit code 75, what is said, and how the run goes on.
"""

import json
from pathlib import Path

import pytest

from tests.support.command import Here, Write

SPENDS = """
    from antichain import Context

    graph = Graph("spends", max_concurrent=1)

    async def call(item: int, context: Context) -> int:
        context.use(tokens=100, usd=0.5)
        return item

    graph.map("calls", call, over=list(range(10)))

    @graph.node
    def total(calls: list) -> int:
        return sum(calls)
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own, in which nobody has said anything about stores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE", raising=False)
    return tmp_path


def test_a_run_whose_budget_is_used_up_ends_with_75_and_goes_on(write: Write, here: Here) -> None:
    write(SPENDS)
    code, out, err = here("run", "flow.py", "--no-progress", "--budget-tokens", 250, "--run-id", "r")
    assert (code, out) == (75, "")
    assert err.startswith("antichain: the budget is used up: 300 tokens of 250.\n")
    assert "give a larger --budget-tokens, or none" in err
    # As much again as there was.
    assert err.rstrip().endswith("antichain resume r --budget-tokens 550")
    code, _, err = here("resume", "r", "--no-progress", "--budget-usd", 3)
    assert code == 75
    assert "the budget is used up: 3 usd of 3." in err
    code, out, err = here("resume", "r", "--no-progress", "--budget-usd", 100, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["outputs"]["total"], result["usage"]) == (45, {"tokens": 1000, "usd": 5.0})


def test_what_looks_at_a_run_says_which_budget_has_stopped_it(write: Write, here: Here) -> None:
    write(SPENDS)
    here("run", "flow.py", "--no-progress", "--budget-usd", 1.25, "--run-id", "r")
    spent, goes_on = "its budget is used up: 1.5 usd of 1.25", "antichain resume r --budget-usd 2.75"
    _, out, _ = here("show", "r")
    assert f"  stopped  because {spent}\n" in out
    assert out.rstrip().endswith(goes_on)
    _, out, _ = here("why", "r", "total")
    told = "What was used counts when it goes on: a resume needs a larger budget, or none."
    assert f"The run stopped because {spent}. {told}\n" in out
    assert out.rstrip().endswith(goes_on)
    _, out, _ = here("runs")
    assert "  paused: budget  " in out
    _, out, _ = here("show", "r", "--json")
    assert json.loads(out)["spent"] == {"unit": "usd", "used": 1.5, "limit": 1.25}
    # It goes on, and then nothing stops it.
    here("resume", "r", "--no-progress")
    _, out, _ = here("show", "r", "--json")
    assert (json.loads(out)["spent"], json.loads(out)["status"]) == (None, "succeeded")


def test_a_unit_of_ones_own_has_no_option(write: Write, here: Here) -> None:
    write(
        """
        from antichain import Budget, Context

        graph = Graph("spends", budget=Budget(pages=1))

        @graph.node
        async def first(context: Context) -> None:
            context.use(pages=2)

        @graph.node
        async def second(first: None) -> None:
            pass
        """
    )
    code, _, err = here("run", "flow.py", "--no-progress", "--run-id", "r")
    assert code == 75
    assert err.rstrip().endswith("antichain resume r")
    _, out, _ = here("show", "r")
    assert "its budget is used up: 2 pages of 1" in out
    assert out.rstrip().endswith("antichain resume r")


def test_a_run_that_a_budget_has_stopped_says_how_much_is_left(write: Write, here: Here) -> None:
    write(SPENDS)
    _, _, err = here("run", "flow.py", "--budget-tokens", 250)
    assert "paused: 3/6 ended, 3 paused" in err
    assert "nodes  3 succeeded, 3 paused in" in err


def test_a_run_that_is_not_stored_says_what_was_used(write: Write, here: Here) -> None:
    write(SPENDS)
    code, _, err = here("run", "flow.py", "--no-progress", "--no-store", "--budget-usd", 1)
    assert code == 75
    assert "the budget is used up: 1 usd of 1." in err
    assert "resume" not in err


def test_a_budget_that_is_enough_changes_nothing(write: Write, here: Here) -> None:
    write(SPENDS)
    assert here("run", "flow.py", "--no-progress", "--budget-tokens", 5000) == (0, "45\n", "")


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "many"])
def test_what_is_no_budget_is_wrong_usage(write: Write, here: Here, value: str) -> None:
    write(SPENDS)
    code, _, err = here("run", "flow.py", "--no-progress", f"--budget-tokens={value}")
    assert code == 2
    assert "--budget-tokens" in err


FLAKY = """
    from antichain import Backoff, Context, Retry

    graph = Graph("flaky", on_error="continue")

    @graph.node(retry=Retry(attempts=3, backoff=Backoff(initial=0.001)))
    async def never(context: Context) -> None:
        raise ConnectionError(f"refused {context.attempt}")

    @graph.node(retry=Retry(attempts=3, backoff=Backoff(initial=0.001)))
    async def later(context: Context) -> str:
        if context.attempt < 3:
            raise ConnectionError(f"busy {context.attempt}")
        return "done"
"""


def test_why_and_show_tell_what_earlier_attempts_raised(write: Write, here: Here) -> None:
    write(FLAKY)
    here("run", "flow.py", "--no-progress", "--run-id", "r")
    _, never, _ = here("why", "r", "never")
    never = " ".join(never.split())
    assert "failed in attempt 3" in never
    assert "Before that failed attempt 1: ConnectionError: refused 1; attempt 2: ConnectionError: refused 2." in never
    _, later, _ = here("why", "r", "later")
    later = " ".join(later.split())
    assert "Before that failed attempt 1: ConnectionError: busy 1; attempt 2: ConnectionError: busy 2." in later
    _, shown, _ = here("show", "r", "--json")
    nodes = json.loads(shown)["nodes"]
    assert [each["message"] for each in nodes["never"]["failures"]] == ["refused 1", "refused 2", "refused 3"]
    assert [each["attempt"] for each in nodes["later"]["failures"]] == [1, 2]
