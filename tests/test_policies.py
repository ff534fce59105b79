"""Policies are frozen, checked values; see antichain.policies."""

import asyncio
import pickle
import random
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain.budget import Budget
from antichain.errors import GraphError, shown
from antichain.graph import Graph
from antichain.limit import Limit
from antichain.plan import prepare_plan_resume, prepare_resume
from antichain.policies import (
    RESUME_OPTIONS,
    RUN_OPTIONS,
    UNSET,
    Backoff,
    Join,
    Policies,
    Retry,
    Timeout,
    as_join,
    as_on_error,
    as_retry,
    as_timeout,
    as_uses,
    check_options,
    check_resume,
    check_storing,
    merged,
    policies_of,
    retry_after,
    settled,
    split_options,
)
from antichain.retry_budget import RetryBudget

# -- backoff


@given(
    attempt=st.integers(1, 5000),
    initial=st.floats(0, 100),
    factor=st.floats(1, 10),
    maximum=st.floats(0, 1000),
    seed=st.integers(0, 100),
)
def test_jittered_delay_stays_between_zero_and_the_base(
    attempt: int, initial: float, factor: float, maximum: float, seed: int
) -> None:
    """Full jitter draws from 0 to the capped exponential base, whatever the attempt."""
    plain = Backoff(initial, factor, maximum, jitter=False)
    base = plain.delay(attempt, random.Random(seed))
    assert 0 <= base <= maximum
    assert 0 <= Backoff(initial, factor, maximum).delay(attempt, random.Random(seed)) <= base


def test_delay_doubles_from_the_first_attempt_and_is_capped() -> None:
    """Attempts are numbered from 1; the first failure waits `initial`."""
    backoff = Backoff(initial=0.5, factor=2, maximum=3, jitter=False)
    rng = random.Random(0)
    assert [backoff.delay(n, rng) for n in (1, 2, 3, 4, 5000)] == [0.5, 1, 2, 3, 3]


def test_delay_depends_on_the_seed_only() -> None:
    """Chance comes in as an argument, so that a run can be repeated."""
    assert Backoff().delay(3, random.Random(7)) == Backoff().delay(3, random.Random(7))


@pytest.mark.parametrize("wrong", [{"initial": -1}, {"factor": 0.5}, {"maximum": "1"}, {"initial": float("nan")}])
def test_impossible_backoff_is_refused(wrong: dict[str, Any]) -> None:
    """A backoff that cannot be meant says so where it is written."""
    with pytest.raises(GraphError, match=next(iter(wrong))):
        Backoff(**wrong)


# -- retry


class ValidationError(ValueError):
    pass


class FormValidationError(ValidationError):
    pass


@pytest.mark.parametrize(
    "error",
    [ValueError(), RuntimeError(), OSError(), TimeoutError(), ConnectionError(), KeyError(), ZeroDivisionError()],
    ids=repr,
)
def test_ordinary_errors_are_retried_by_default(error: Exception) -> None:
    """What may go away by itself is worth another attempt."""
    assert Retry().retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        TypeError(),
        NameError(),
        UnboundLocalError(),
        AttributeError(),
        ModuleNotFoundError(),
        SyntaxError(),
        NotImplementedError(),
        AssertionError(),
        GraphError(()),
        ValidationError(),
        FormValidationError(),
        asyncio.CancelledError(),
        SystemExit(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_programming_errors_and_cancellation_are_not_retried_by_default(error: BaseException) -> None:
    """A second attempt cannot mend the program or its input."""
    assert not Retry().retryable(error)


def test_on_takes_a_type_a_tuple_or_a_predicate() -> None:
    """`on=` alone decides, also for what is not retried by default."""
    assert Retry(on=TypeError).retryable(TypeError())
    assert not Retry(on=OSError).retryable(ValueError())
    assert Retry(on=(OSError, KeyError)).retryable(KeyError())
    assert Retry(on=lambda error: "busy" in str(error)).retryable(ValueError("busy"))


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"attempts": 2.0}, {"attempts": True}, {"backoff": 3}, {"on": 3}, {"on": ()}, {"on": int}],
)
def test_impossible_retry_is_refused(wrong: dict[str, Any]) -> None:
    """The message names the field."""
    with pytest.raises(GraphError, match=next(iter(wrong))):
        Retry(**wrong)


def test_a_number_is_the_attempts_in_total() -> None:
    """retry=3 tries three times, the first included."""
    assert as_retry(3) == Retry(attempts=3)
    assert as_retry(None) is None
    with pytest.raises(GraphError, match="in total"):
        as_retry(0)


class Response:
    def __init__(self, headers: object) -> None:
        self.headers = headers


class HttpError(Exception):
    def __init__(self, headers: object = None, retry_after: object = None, own: object = None) -> None:
        self.response = Response(headers)
        self.retry_after = retry_after
        if own is not None:
            self.headers = own


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HttpError(retry_after=3), 3.0),
        (HttpError(retry_after="2.5"), 2.5),
        (HttpError({"retry-after": "7"}), 7.0),
        (HttpError({"Retry-After": b"7"}), 7.0),
        (HttpError(own={"Retry-After": "9"}), 9.0),
        (HttpError({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}), 60.0),
        (HttpError({"Retry-After": "Tue, 14 Nov 2023 22:14:20 -0000"}), 60.0),
        (HttpError({"Retry-After": "Tue, 14 Nov 2023 22:12:20 GMT"}), 0.0),
        (HttpError({"Retry-After": "-5"}), 0.0),
        (HttpError({"Retry-After": "soon"}), None),
        (HttpError({"Retry-After": "nan"}), None),
        (HttpError({"Retry-After": "inf"}), None),
        (HttpError(retry_after=True), None),
        (HttpError({}), None),
        (HttpError(7), None),
        (ValueError(), None),
    ],
)
def test_retry_after_is_read_by_shape(error: Exception, expected: float | None) -> None:
    """Seconds or a date, on the error or on its response, from any HTTP library or none."""
    assert retry_after(error, NOW) == expected


# -- timeout


def test_a_number_is_a_timeout_of_each_attempt() -> None:
    """timeout=5 limits an attempt, not the total."""
    assert as_timeout(5) == Timeout(attempt=5)
    assert as_timeout(None) is None
    assert as_timeout(Timeout()) is None


@pytest.mark.parametrize("wrong", [0, -1, "5", True, float("nan")])
def test_impossible_timeout_is_refused(wrong: Any) -> None:
    """A timeout is a number above zero, of either clock."""
    with pytest.raises(GraphError, match="timeout"):
        as_timeout(wrong)
    with pytest.raises(GraphError, match="timeout"):
        Timeout(attempt=wrong)
    with pytest.raises(GraphError, match="total"):
        Timeout(total=wrong)


# -- limits


def test_limit_gives_together_or_not_at_all() -> None:
    """A weight that does not fit takes nothing."""
    limit = Limit(4)
    assert limit.acquire(3)
    assert not limit.acquire(2)
    assert limit.used == 3
    limit.release(3)
    assert limit.used == 0


def test_limit_can_be_resized_below_what_is_used() -> None:
    """What is taken stays taken; nothing new is given until enough came back."""
    limit = Limit(2)
    assert limit.acquire(2)
    limit.resize(1)
    limit.release()
    assert not limit.acquire()
    limit.release()
    assert limit.acquire()
    assert limit.size == 1


def test_watchers_hear_of_releases_and_resizes_outside_the_lock() -> None:
    """Another run that shares the limit may look, and take, at once."""
    limit = Limit(1)
    heard: list[bool] = []

    def watcher() -> None:
        heard.append(limit.acquire())

    assert limit.acquire()
    limit.watch(watcher)
    limit.release()
    assert heard == [True]
    limit.resize(2)
    assert heard == [True, True]
    limit.unwatch(watcher)
    limit.unwatch(watcher)
    limit.release()
    assert len(heard) == 2


def test_limit_is_never_passed_by_threads() -> None:
    """Many threads that take and give back never hold more than the size."""
    limit = Limit(3)
    most, lock = [0], threading.Lock()

    def work() -> None:
        for _ in range(500):
            if limit.acquire():
                with lock:
                    most[0] = max(most[0], limit.used)
                limit.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 3
    assert limit.used == 0


def test_giving_back_more_than_was_taken_is_an_error() -> None:
    """A fault in counting shows at once instead of widening the limit."""
    with pytest.raises(ValueError, match="given back"):
        Limit(1).release()


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, None])
def test_impossible_limit_is_refused(size: Any) -> None:
    """A limit is a whole number above zero."""
    with pytest.raises(GraphError, match="bad-limit"):
        Limit(size)


def test_uses_is_read_from_a_name_or_weights_and_sorted() -> None:
    """Equal demands are equal however they were written."""
    assert as_uses("llm") == (("llm", 1),)
    assert as_uses({"llm": 1, "db": 2}) == (("db", 2), ("llm", 1))
    assert as_uses(None) == ()


@pytest.mark.parametrize("wrong", [3, ["llm"], {"llm": 0}, {"llm": 1.5}, {3: 1}, {"llm": True}])
def test_impossible_uses_is_refused(wrong: Any) -> None:
    """Names are texts, weights whole numbers above zero."""
    with pytest.raises(GraphError, match="bad-policy"):
        as_uses(wrong)


# -- failure


def test_join_is_read_by_name() -> None:
    """The three join rules have names, and a near miss is answered with the right one."""
    assert [as_join(name) for name in ("all", "any", "all_done")] == [Join.ALL, Join.ANY, Join.ALL_DONE]
    assert as_join(Join.ANY) is Join.ANY
    with pytest.raises(GraphError, match="Did you mean 'all_done'"):
        as_join("all-done")
    with pytest.raises(GraphError, match="join=0"):
        as_join(0)


def test_on_error_is_read_by_name() -> None:
    """The three reactions to a failure have names."""
    assert as_on_error("drain") == "drain"
    with pytest.raises(GraphError, match="Did you mean 'continue'"):
        as_on_error("continu")


# -- a node's policies


def test_node_policies_come_from_the_node_else_from_the_defaults() -> None:
    """What is closer to the node wins, one policy at a time."""
    defaults = Policies(retry=2, timeout=5, priority=1)
    policies = policies_of({"retry": 4, "timeout": None}, defaults)
    assert policies.retry == Retry(attempts=4)
    assert policies.timeout is None
    assert policies.priority == 1


def test_none_is_a_fallback_like_any_other() -> None:
    """Only what is not given at all is unset."""
    assert policies_of({"fallback": None}, Policies()).fallback is None
    assert policies_of({}, Policies()).fallback is UNSET
    assert merged(Policies(fallback=None), Policies(fallback=1)).fallback is None


def test_all_wrong_policies_are_reported_at_once() -> None:
    """One error names every policy that is wrong, and the nearest name of one that is unknown."""
    with pytest.raises(GraphError) as caught:
        policies_of({"retry": 0, "timeout": -1, "prioritty": 3}, Policies())
    text = str(caught.value)
    assert "retry=0" in text
    assert "timeout=-1" in text
    assert "Did you mean 'priority'" in text
    assert {fault.code for fault in caught.value.faults} == {"bad-policy"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 1.5},
        {"priority": True},
        {"cost": -1},
        {"cost": "1"},
        {"when": 3},
        {"runner": "process"},
        {"runner": 3},
        {"repeat": True},
        {"version": 3},
        {"persist": 1},
        {"join": "some"},
    ],
    ids=str,
)
def test_impossible_policy_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    """Policies(…) itself refuses what no node could have."""
    with pytest.raises(GraphError, match=next(iter(wrong))):
        Policies(**wrong)


def test_settled_policies_have_no_unset_but_the_fallback() -> None:
    """What holds without policies is one value of every kind."""
    nothing = settled(Policies())
    assert nothing.uses == ()
    assert nothing.priority == 0
    assert nothing.join is Join.ALL
    assert nothing.retry is nothing.timeout is nothing.when is nothing.cost is None
    assert nothing.persist is True


def test_policies_are_values() -> None:
    """Policies compare, hash and pickle."""
    assert Policies(retry=Retry(attempts=2)) == Policies(retry=Retry(attempts=2))
    assert hash(Retry()) == hash(Retry())
    assert pickle.loads(pickle.dumps(Policies(timeout=3))) == Policies(timeout=3)
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET


# -- run options


def nothing(self: object) -> None: ...


# Has the methods of a store, and nothing behind them.
Shelf = type("Shelf", (), dict.fromkeys(("open", "append", "release", "read", "runs", "remove"), nothing))


def test_options_are_parted_from_inputs() -> None:
    """Options are a closed list, every other name is an input."""
    assert split_options({"question": "q", "deadline": 3}) == ({"deadline": 3}, {"question": "q"})


def test_no_name_is_both_a_node_policy_and_a_run_option() -> None:
    """One name has one meaning."""
    assert not RUN_OPTIONS & set(Policies.__dataclass_fields__)


def test_possible_options_have_no_faults() -> None:
    """Every option takes what the contract says."""
    options = {
        "max_concurrent": 3,
        "limits": {"llm": 4, "db": Limit(2)},
        "deadline": 3.5,
        "on_error": "drain",
        "grace": 0,
        "targets": ["a"],
        "outputs": {"a": 1},
        "run_id": "nightly-7",
        "seed": 3,
        "listeners": [print],
        "progress": True,
        "isolation": "task",
        "store": "runs.db",
        "durability": "relaxed",
        "redact": str,
        "tracer": None,
        "ask": input,
        "budget": Budget(usd=5),
        "retry_budget": {"llm": 0.2, "*": RetryBudget(reserve=5)},
    }
    assert set(options) == RUN_OPTIONS
    assert check_options(options) == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("max_concurrent", 0, "bad-limit"),
        ("limits", {"llm": 0}, "bad-limit"),
        ("limits", {3: 4}, "bad-limit"),
        ("limits", 4, "bad-limit"),
        ("deadline", 0, "bad-policy"),
        ("on_error", "stop", "bad-policy"),
        ("grace", -1, "bad-policy"),
        ("targets", "answer", "bad-policy"),
        ("outputs", ["a"], "bad-policy"),
        ("run_id", "", "bad-policy"),
        ("seed", "x", "bad-policy"),
        ("listeners", print, "bad-policy"),
        ("listeners", [3], "bad-policy"),
        ("progress", "yes", "bad-policy"),
        ("isolation", "thread", "bad-policy"),
        ("store", "", "bad-policy"),
        ("store", 7, "bad-policy"),
        ("store", Shelf, "bad-policy"),
        ("durability", "none", "bad-policy"),
        ("redact", "s3cret", "bad-policy"),
        ("tracer", object(), "bad-policy"),
        ("ask", "yes", "bad-policy"),
        ("max_concurency", 3, "unknown-option"),
    ],
)
def test_impossible_option_is_refused_by_name(name: str, value: Any, code: str) -> None:
    """The fault has a stable code and names the option."""
    faults = check_options({name: value})
    assert [fault.code for fault in faults] == [code]
    assert name.split("_", maxsplit=1)[0].rstrip("s") in faults[0].message


@pytest.mark.parametrize("store", ["runs.db", Path("runs.db"), Shelf()])
def test_a_store_is_a_path_or_what_has_its_methods(store: Any) -> None:
    assert check_options({"store": store}) == []


@pytest.mark.parametrize("run_id", ["a", "nightly-7", "2026.01.31_x", "x" * 64])
def test_a_kept_run_has_an_id_that_can_be_typed(run_id: str) -> None:
    assert check_storing({"store": "runs.db", "run_id": run_id}, {}) == []
    assert check_resume(run_id, {"store": "runs.db"}, {}) == []


@pytest.mark.parametrize("run_id", ["", "a/b", "a b", "é", "\u0663", "a\n", "x" * 65, 7, None])
def test_any_other_id_is_refused_where_the_run_is_kept(run_id: Any) -> None:
    """A run that is not kept may be called anything."""
    assert [fault.code for fault in check_resume(run_id, {"store": "runs.db"}, {})] == ["bad-policy"]
    if run_id is not None:
        assert shown(run_id) in check_storing({"run_id": run_id}, {"store": "runs.db"})[0].message
        assert check_storing({"run_id": run_id}, {}) == []


def test_durability_of_a_run_that_is_not_kept_is_refused_unless_the_graph_says_it() -> None:
    assert "add store=" in check_storing({"durability": "relaxed"}, {})[0].message
    assert "redact=" in check_storing({"redact": str}, {})[0].message
    assert check_storing({}, {"durability": "relaxed"}) == []
    assert check_storing({"durability": "relaxed", "store": None}, {"store": "runs.db"}) == []


def test_a_wrong_store_is_named_at_the_graph_and_at_the_call() -> None:
    with pytest.raises(GraphError, match="store=7: use a path"):
        Graph(store=7)
    with pytest.raises(GraphError, match="durability='commit' says how a run is kept, but this run is not"):
        Graph().run(durability="commit")
    with pytest.raises(GraphError, match="run_id='a b': in a store, use"):
        Graph(store=Shelf()).plan().run(run_id="a b")


# -- resuming


def test_possible_options_of_resume_have_no_faults() -> None:
    """Every run option but the id, and four of its own."""
    own = {"answers": {"ok": None}, "inputs": {"token": "t"}, "on_change": "rerun", "take_over": True}
    assert RUN_OPTIONS | own.keys() == RESUME_OPTIONS
    assert not RUN_OPTIONS & own.keys(), "inputs may have these names"
    given = {"store": "runs.db", "max_concurrent": 2, "deadline": None, **own}
    assert check_resume("nightly-7", given, {}) == []
    assert check_resume("nightly-7", {"store": None, "answers": None}, {"store": "runs.db"}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": None}, "there is no store to resume 'r' from: use resume\\('r', store='runs.db'\\)"),
        ({"run_id": "r"}, "run_id= is the first argument"),
        ({"answers": ["yes"]}, "answers=\\['yes'\\]: use a dict"),
        ({"answers": {1: "yes"}}, "use a dict from the ids of nodes"),
        ({"on_change": "ignore"}, "use 'refuse' or 'rerun'"),
        ({"take_over": 1}, "take_over=1: use True or False"),
        ({"question": "why?"}, "question= is not an option of resume.*inputs of a run are kept with it"),
        ({"on_chang": "rerun"}, "Did you mean 'on_change'"),
        ({"deadline": 0}, "deadline"),
    ],
)
def test_impossible_option_of_resume_is_refused_in_words(options: dict[str, Any], message: str) -> None:
    (fault,) = check_resume("r", {"store": "runs.db", **options}, {})
    assert re.search(message, fault.message)


def test_what_is_wrong_with_a_resume_is_said_with_what_is_wrong_with_the_graph() -> None:
    graph = Graph(store=Shelf())
    graph.add("a", print, depends_on="b")
    with pytest.raises(GraphError) as caught:
        prepare_resume(graph, "a b", {"on_change": "no"})
    assert [fault.code for fault in caught.value.faults] == ["unknown-upstream", "bad-policy", "bad-policy"]
    good = Graph()
    good.add("a", print)
    with pytest.raises(GraphError, match="limits= names 'llm'"):
        prepare_plan_resume(good.plan(), "r", {"store": Shelf(), "limits": {"llm": 3}})
    with pytest.raises(GraphError, match="targets= names 'b'"):
        prepare_plan_resume(good.plan(), "r", {"store": Shelf(), "targets": ["b"]})


def test_what_resume_is_told_is_settled_before_anything_is_read() -> None:
    """The graph's store stands in, targets have been seen to, and what is not said has its default."""
    store = Shelf()
    graph = Graph(store=store)
    graph.add("a", print)
    graph.add("b", print, depends_on="a")
    settled = {"answers": {}, "on_change": "refuse", "take_over": False, "store": store}
    plan, run_id, options = prepare_resume(graph, "r", {"answers": None, "seed": None})
    assert (plan.ids, run_id, options) == (["a", "b"], "r", settled)
    for plan, run_id, options in (
        prepare_resume(graph, "r", {"targets": ["a"], "seed": 3}),
        prepare_plan_resume(graph.plan(), "r", {"targets": ["a"], "seed": 3}),
    ):
        assert (plan.ids, run_id, options) == (["a"], "r", {**settled, "seed": 3})
    plan, _, options = prepare_plan_resume(graph.plan(["a"]), "r", {"outputs": {"a": 1}})
    assert (plan.ids, plan.targets, options["outputs"]) == (["a"], ("a",), {"a": 1})


def test_many_runs_cannot_have_one_id_in_a_store() -> None:
    """Outside a store the id is only a name, which runs may share."""
    graph = Graph()
    graph.add("a", lambda x: x, runner="loop")
    rows = [{"x": 1}, {"x": 2}]
    with pytest.raises(GraphError, match="run_id='r' names one run in a store, and this is 2: leave it out"):
        graph.batch(rows, store=Shelf(), run_id="r")
    assert [run["a"] for run in graph.batch(rows, run_id="r")] == [1, 2]
