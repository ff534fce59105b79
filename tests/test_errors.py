"""What the exceptions say and carry; see antichain.errors."""

import copy
import pickle

import pytest

from antichain.errors import (
    AntichainError,
    Fault,
    GraphError,
    InternalError,
    NodeFailed,
    NodeTimeout,
    RunFailed,
    RunnerError,
    RunTimeout,
    named,
    shown,
    suggestion,
)


def test_one_fault_starts_with_its_code() -> None:
    """A single fault is one paragraph, found by its code."""
    error = GraphError(Fault("unknown-upstream", "node 'a' needs 'b'.", "a", ("a",)), "etl")
    assert str(error) == "[unknown-upstream] node 'a' needs 'b'."
    assert error.faults[0].node == "a"


def test_several_faults_are_counted_and_listed() -> None:
    """Several faults are listed one per line under the name of the graph."""
    error = GraphError([Fault("cycle", "one."), Fault("bad-limit", "two.")], "etl")
    assert str(error) == "2 faults in graph 'etl':\n  [cycle] one.\n  [bad-limit] two."


def test_many_faults_are_cut_in_the_text_only() -> None:
    """Twenty faults are shown, all of them are kept."""
    error = GraphError([Fault("cycle", f"number {i}.") for i in range(25)])
    assert str(error).endswith("  … and 5 more")
    assert len(str(error).splitlines()) == 22
    assert len(error.faults) == 25


def test_graph_error_is_a_value_error() -> None:
    """Code that expects ValueError for bad input keeps working."""
    assert issubclass(GraphError, ValueError)
    assert issubclass(GraphError, AntichainError)


@pytest.mark.parametrize(
    "error",
    [
        GraphError([Fault("cycle", "x."), Fault("cycle", "y.")], "etl"),
        NodeFailed("a", 2, SystemExit(3)),
        NodeTimeout("a", 1, "attempt", 2.0, 2.125),
        NodeTimeout("a", 3, "total", 2.0, 2.125),
        RunTimeout(1.5, {"a": 1}, ["b"]),
        RunnerError("no thread is left"),
        InternalError("a law was broken", ["one", "two"]),
        RunFailed("1 failure", [ValueError(1)], {"a": 1}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling_and_copying(error: BaseException) -> None:
    """Errors cross process borders with their message, fields and notes."""
    error.add_note("node 'a', attempt 1")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert other.__notes__ == ["node 'a', attempt 1"]
        for name in ("node", "attempt", "clock", "limit", "elapsed", "deadline", "result", "story", "faults"):
            assert getattr(other, name, None) == getattr(error, name, None)


def test_node_failed_keeps_what_was_raised_as_its_cause() -> None:
    """What a node raised is never lost, even when it is not an Exception."""
    exit_ = SystemExit(3)
    error = NodeFailed("a", 1, exit_)
    assert error.__cause__ is exit_
    assert "SystemExit(3)" in str(error)
    assert "node 'a'" in str(error)


def test_node_timeout_is_a_timeout_error_that_names_its_clock() -> None:
    """`except TimeoutError` works, and the message says which of the two clocks ran out."""
    attempt = NodeTimeout("a", 2, "attempt", 2.0, 2.5)
    total = NodeTimeout("a", 2, "total", 2.0, 2.5)
    assert isinstance(attempt, TimeoutError)
    assert "per attempt" in str(attempt)
    assert "all attempts" in str(total)


def test_run_failed_keeps_its_result_through_split_and_except_star() -> None:
    """Every part of a failed run's group still leads to what completed."""
    result = {"a": 1}
    error = RunFailed("2 failures", [ValueError(1), OSError(2)], result)
    matched, rest = error.split(ValueError)
    assert isinstance(matched, RunFailed)
    assert isinstance(rest, RunFailed)
    assert matched.result is rest.result is result
    parts: list[BaseException] = []
    try:
        raise error
    except* ValueError as part:
        parts.append(part)
    except* OSError as part:
        parts.append(part)
    assert [part.result for part in parts] == [result, result]  # type: ignore[attr-defined]


def test_run_timeout_names_what_had_not_ended() -> None:
    """The first five unfinished nodes are named, the others counted."""
    error = RunTimeout(2.0, None, [f"n{i}" for i in range(7)])
    assert "'n0', 'n1', 'n2', 'n3', 'n4' and 2 more" in str(error)
    assert isinstance(error, TimeoutError)


def test_internal_error_tells_its_story() -> None:
    """A report of our own fault is complete with the last events."""
    assert "  two" in str(InternalError("a law was broken", ["one", "two"])).splitlines()


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_shown_values_are_short_and_never_raise() -> None:
    """A message shows any value on one line of limited length."""
    assert shown("a") == "'a'"
    assert len(shown(list(range(1000)))) == 80
    assert shown(Hostile()) == "<Hostile whose repr raises RuntimeError>"
    assert "\n" not in shown(type("Multi", (), {"__repr__": lambda self: "a\nb"})())


def test_names_are_listed_and_counted() -> None:
    """A sentence holds a few names and the number of the others."""
    assert named(["a", "b"]) == "'a', 'b'"
    assert named(["a", "b", "c"], limit=2) == "'a', 'b' and 1 more"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("feature", ["features", "train"], " Did you mean 'features'?"),
        ("fetch-all", ["FETCH_ALL"], " Did you mean 'FETCH_ALL'?"),
        ("x", ["train", "test"], ""),
        ("x", [], ""),
    ],
)
def test_nearest_name_is_suggested(name: str, known: list[str], expected: str) -> None:
    """A name that is nearly right is answered with the right one; a wild one with nothing."""
    assert suggestion(name, known) == expected
