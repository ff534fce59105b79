"""
Plans played in virtual time, and estimates.
"""

from typing import Any

import pytest

from antichain import Graph, GraphError, Limit, NodeTimeout, Retry, RunnerError
from antichain.core.facts import NodeRetrying
from antichain.policies import Backoff
from antichain.record import fold
from antichain.testing import HANG, SKIP, estimate, simulate

BROKEN = ValueError("broken")


async def body() -> None:
    raise AssertionError("no code of a node is called")


def thread() -> None:
    raise AssertionError("no code of a node is called")


def graph_of(edges: dict[str, str], **policies: Any) -> Graph:
    """{"a": "", "b": "a"}: b depends on a."""
    graph = Graph("played")
    for name, upstream in edges.items():
        graph.add(name, body, depends_on=upstream.split(), **policies)
    return graph


DIAMOND = {"a": "", "b": "a", "c": "a", "d": "b c"}


def test_durations_come_from_the_script_else_from_cost_else_are_one_second() -> None:
    graph = graph_of({"a": "", "b": ""})
    graph.add("c", body, cost=5)
    result = simulate(graph.plan(), durations={"a": 2.5})
    assert {name: record.ended_at for name, record in result.nodes.items()} == {"a": 2.5, "b": 1.0, "c": 5.0}
    assert result.status == "succeeded"
    assert dict(result) == {"a": None, "b": None, "c": None}


def test_durations_may_differ_by_attempt() -> None:
    graph = Graph("slow start")
    graph.add("a", body, retry=Retry(3, Backoff(initial=1.0, jitter=False)))
    result = simulate(
        graph.plan(),
        durations=lambda name, attempt: None if attempt == 3 else 10.0 * attempt,
        outcomes={"a": [BROKEN, BROKEN, 42]},
    )
    assert result["a"] == 42
    # 10 s, a pause of 1, 20 s, a pause of 2, 1 s
    assert result.makespan == 34.0


def test_last_outcome_holds_for_all_later_attempts() -> None:
    graph = Graph("hopeless")
    graph.add("a", body, retry=4)
    result = simulate(graph.plan(), outcomes={"a": [ValueError("first"), BROKEN]})
    assert result.nodes["a"].attempts == 4
    assert result.errors == {"a": BROKEN}
    assert result.status == "failed"


def test_same_seed_same_run() -> None:
    graph = Graph("jitter")
    graph.add("a", body, retry=5)
    spans = {
        seed: [simulate(graph.plan(), outcomes={"a": [BROKEN, BROKEN, 1]}, seed=seed).makespan for _ in range(2)]
        for seed in (1, 2)
    }
    assert spans[1][0] == spans[1][1]
    assert spans[1] != spans[2]
    default = simulate(graph.plan(), outcomes={"a": [BROKEN, BROKEN, 1]})
    assert default.makespan == simulate(graph.plan(), outcomes={"a": [BROKEN, BROKEN, 1]}, seed=0).makespan


def test_only_what_its_policy_retries_is_retried() -> None:
    graph = Graph("typed")
    graph.add("a", body, retry=3)
    assert simulate(graph.plan(), outcomes={"a": TypeError("wrong")}).nodes["a"].attempts == 1


def test_retry_after_of_the_error_is_honoured() -> None:
    busy = RuntimeError("busy")
    busy.retry_after = 30  # type: ignore[attr-defined]
    graph = Graph("polite")
    graph.add("a", body, retry=2)
    assert simulate(graph.plan(), outcomes={"a": [busy, "value"]}).makespan == 32.0


def test_max_concurrent_and_limits() -> None:
    graph = Graph("limited", limits={"db": 1})
    for name in ("a", "b", "c"):
        graph.add(name, body, uses="db")
    graph.add("d", body)
    assert simulate(graph.plan()).makespan == 3.0
    assert simulate(graph.plan(), limits={"db": 3}).makespan == 1.0
    assert simulate(graph.plan(), limits={"db": Limit(2)}).makespan == 2.0
    assert simulate(graph.plan(), limits={"db": 3}, max_concurrent=2).makespan == 2.0


def test_a_limit_that_real_runs_share_is_not_touched() -> None:
    """Neither does what they hold keep a played run waiting, nor does what hangs in that one keep a slot of theirs."""
    limit = Limit(2)
    assert limit.acquire(2)
    graph = Graph("shared", limits={"db": limit, "same": limit})
    for number in range(4):
        graph.add(f"node {number}", thread, uses="db" if number % 2 else "same", timeout=3, fallback=None)
    assert simulate(graph.plan()).makespan == 2.0
    assert simulate(graph.plan(), outcomes={"node 0": HANG}, grace=1).nodes["node 0"].reason == "fallback"
    assert limit.used == 2
    assert not limit._watchers._watchers


def test_threads_are_a_limit_like_any_other() -> None:
    graph = Graph("threads")
    for number in range(4):
        graph.add(f"t{number}", thread)
    assert simulate(graph.plan(), limits={"thread": 2}).makespan == 2.0
    assert simulate(graph.plan()).makespan == 1.0


def test_on_error() -> None:
    edges = {"a": "", "b": "", "c": "b"}
    outcomes = {"a": BROKEN}
    for on_error, states in {
        "cancel": ["failed", "cancelled", "cancelled"],
        "drain": ["failed", "succeeded", "cancelled"],
        "continue": ["failed", "succeeded", "succeeded"],
    }.items():
        plan = graph_of(edges).plan()
        result = simulate(plan, durations={"b": 2.0}, outcomes=outcomes, on_error=on_error)
        assert [record.state for record in result.nodes.values()] == states


def test_options_of_the_graph_hold_unless_the_call_says_otherwise() -> None:
    graph = Graph("serial", max_concurrent=1)
    graph.add("a", body)
    graph.add("b", body)
    assert simulate(graph.plan()).makespan == 2.0
    assert simulate(graph.plan(), max_concurrent=2).makespan == 1.0


def test_condition_is_scripted() -> None:
    graph = graph_of({"a": ""})
    graph.add("b", body, depends_on=["a"], when=lambda: False)
    graph.add("c", body, depends_on=["b"])
    assert [r.state for r in simulate(graph.plan()).nodes.values()] == ["succeeded"] * 3
    result = simulate(graph.plan(), outcomes={"b": SKIP})
    assert [(r.state, r.reason) for r in result.nodes.values()] == [
        ("succeeded", "output"),
        ("skipped", "condition"),
        ("skipped", "upstream"),
    ]


def test_what_hangs_is_ended_by_its_timeout() -> None:
    graph = Graph("hangs")
    graph.add("a", body, timeout=3, retry=2)
    result = simulate(graph.plan(), outcomes={"a": [HANG, "value"]})
    assert result["a"] == "value"
    error = result.nodes["a"].error
    assert isinstance(error, NodeTimeout)
    assert (error.node, error.attempt, error.clock, error.limit, error.elapsed) == ("a", 1, "attempt", 3, 3.0)


def test_total_timeout_is_named() -> None:
    from antichain import Timeout

    graph = Graph("total")
    graph.add("a", body, timeout=Timeout(total=3))
    error = simulate(graph.plan(), outcomes={"a": HANG}).errors["a"]
    assert isinstance(error, NodeTimeout)
    assert (error.clock, error.limit) == ("total", 3)


def test_deadline_ends_what_hangs() -> None:
    result = simulate(graph_of(DIAMOND).plan(), outcomes={"b": HANG}, deadline=10)
    assert result.status == "failed"
    assert result.makespan == 10.0
    assert [r.reason for r in result.nodes.values()] == ["output", "deadline", "output", "deadline"]


def test_what_hangs_for_ever_is_an_error_of_the_script() -> None:
    with pytest.raises(RunnerError, match=r"run of 'played' never ends: 'b' never end.*deadline"):
        simulate(graph_of(DIAMOND).plan(), outcomes={"b": HANG})


def test_thread_that_is_asked_to_end_goes_on_and_may_complete_in_grace() -> None:
    graph = Graph("threads")
    graph.add("a", body)
    graph.add("b", thread)
    durations = {"a": 1.0, "b": 4.0}
    in_time = simulate(graph.plan(), durations=durations, outcomes={"a": BROKEN}, grace=5)
    assert in_time.nodes["b"].state == "succeeded"
    late = simulate(graph.plan(), durations=durations, outcomes={"a": BROKEN}, grace=2)
    assert (late.nodes["b"].state, late.nodes["b"].abandoned, late.makespan) == ("cancelled", True, 3.0)


def test_what_only_abandoned_work_could_free_fails_and_says_so() -> None:
    graph = Graph("starves", on_error="continue")
    graph.add("a", thread, timeout=1)
    graph.add("b", thread)
    result = simulate(graph.plan(), outcomes={"a": HANG}, limits={"thread": 1}, grace=2)
    assert (result.nodes["b"].state, result.nodes["b"].reason) == ("failed", "starved")
    assert isinstance(result.errors["b"], RunnerError)
    assert result.makespan == 3.0


def test_abandoned_thread_that_returns_frees_its_slot() -> None:
    graph = Graph("late", on_error="continue")
    graph.add("a", thread, timeout=1)
    graph.add("b", thread)
    result = simulate(graph.plan(), durations={"a": 4.0}, limits={"thread": 1}, grace=9)
    assert result.nodes["b"].started_at == 4.0


def test_fallback_is_the_output() -> None:
    graph = Graph("falls")
    graph.add("a", body, fallback=[7])
    graph.add("b", body, fallback=lambda error: 8)
    result = simulate(graph.plan(), outcomes={"a": BROKEN, "b": BROKEN})
    # What a function would make of the error is not known: it is not called.
    assert dict(result) == {"a": [7], "b": None}
    assert [r.reason for r in result.nodes.values()] == ["fallback", "fallback"]


def test_outputs_and_targets() -> None:
    result = simulate(graph_of(DIAMOND).plan(), outputs={"b": "given"}, targets=["d", "b"])
    assert dict(result) == {"d": None, "b": "given"} or dict(result) == {"b": "given", "d": None}
    assert result.nodes["b"].reason == "outputs"
    assert result.makespan == 3.0
    only = simulate(graph_of(DIAMOND).plan(), targets=["b"])
    assert list(only.nodes) == ["a", "b"]


def test_listeners_hear_the_run() -> None:
    events: list[Any] = []
    graph = graph_of(DIAMOND, retry=2)
    result = simulate(graph.plan(), outcomes={"b": [BROKEN, 5]}, listeners=[events.append], run_id="mine")
    assert fold(events).nodes == dict(result.nodes)
    assert fold(events).status == "succeeded"
    assert {event.run_id for event in events} == {"mine"}
    assert [event.error for event in events if isinstance(event, NodeRetrying)] == [BROKEN]


def test_listener_that_raises_is_heard_of() -> None:
    def listener(event: object) -> None:
        raise BROKEN

    with pytest.raises(ValueError, match="broken"):
        simulate(graph_of(DIAMOND).plan(), listeners=[listener])


def nested() -> Graph:
    inner = Graph("inner")
    inner.add("x", body, cost=2)
    inner.add("y", body, depends_on=["x"], retry=2)
    outer = Graph("outer")
    outer.add("before", body)
    outer.add("in", inner, depends_on=["before"])
    outer.add("after", body, depends_on=["in"])
    return outer


def test_nested_graph_grows_its_nodes() -> None:
    result = simulate(nested().plan(), durations={"in/y": 0.5})
    starts = {name: record.started_at for name, record in result.nodes.items()}
    assert starts == {"before": 0, "in": 1, "after": 3.5, "in/x": 1, "in/y": 3}
    assert list(result) == ["before", "in", "after"]


def test_failure_inside_a_nested_graph_fails_it() -> None:
    result = simulate(nested().plan(), outcomes={"in/x": BROKEN})
    states = {name: (record.state, record.reason) for name, record in result.nodes.items()}
    assert states["in/x"] == states["in"] == ("failed", "error")
    assert states["in/y"] == ("cancelled", "run")
    assert result.errors == {"in": BROKEN, "in/x": BROKEN}


def test_retry_inside_a_nested_graph() -> None:
    result = simulate(nested().plan(), outcomes={"in/y": [BROKEN, 1]})
    assert result.nodes["in/y"].attempts == 2
    assert result.status == "succeeded"


def test_timeout_of_a_nested_graph_covers_what_is_in_it() -> None:
    inner = graph_of({"x": "", "y": "x"})
    outer = Graph("outer")
    outer.add("in", inner, timeout=1.5)
    result = simulate(outer.plan())
    assert {name: (r.state, r.reason) for name, r in result.nodes.items()} == {
        "in": ("failed", "timeout"),
        "in/x": ("succeeded", "output"),
        "in/y": ("cancelled", "timeout"),
    }


def test_cancelled_nested_graph() -> None:
    outer = nested()
    outer.add("fails", body)
    result = simulate(outer.plan(), durations={"fails": 2.0}, outcomes={"fails": BROKEN})
    assert result.nodes["in"].state == result.nodes["in/x"].state == "cancelled"


def test_map_is_played_as_one_instance() -> None:
    graph = Graph("mapped")
    graph.add("list", body)
    graph.map("pages", lambda page: page, over=graph["list"], retry=2, cost=3)
    graph.map("words", lambda page: page, over=graph["pages"], timeout=10)
    result = simulate(graph.plan(), durations={"words": 5.0}, outcomes={"pages[0]": [BROKEN, 1]}, seed=3)
    assert list(result.nodes) == ["list", "pages", "words", "pages[0]", "words[0]"]
    assert result.nodes["pages[0]"].attempts == 2
    ended_at = result.nodes["pages[0]"].ended_at
    assert ended_at is not None
    assert result.nodes["words"].started_at == result.nodes["pages"].started_at == 1.0
    assert result.nodes["words[0]"].started_at == ended_at
    assert result.makespan == ended_at + 5.0


def test_map_whose_outcomes_are_collected_does_not_fail() -> None:
    graph = Graph("mapped")
    graph.map("pages", lambda page: page, over=[1, 2], outcomes=True)
    graph.map("strict", lambda page: page, over=[1, 2])
    outcomes = {"pages[0]": BROKEN, "strict[0]": BROKEN}
    result = simulate(graph.plan(), outcomes=outcomes, on_error="continue")
    assert (result.nodes["pages"].state, result.nodes["strict"].state) == ("succeeded", "failed")


def test_fallback_of_a_map_is_its_instances() -> None:
    graph = Graph("mapped")
    graph.map("pages", lambda page: page, over=[1, 2], fallback=0)
    result = simulate(graph.plan(), outcomes={"pages[0]": BROKEN})
    assert result.nodes["pages[0]"].reason == "fallback"
    assert result.nodes["pages"].state == "succeeded"


def test_map_over_a_graph() -> None:
    outer = Graph("outer")
    outer.map("each", one_input(), over=[1, 2])
    assert list(simulate(outer.plan()).nodes) == ["each", "each[0]", "each[0]/x"]


def one_input() -> Graph:
    async def fetch(page: int) -> int:
        return page

    inner = Graph("inner")
    inner.add("x", fetch)
    return inner


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcomes": {"bb": 1}}, "'bb' is not a node of graph 'played'. Did you mean 'b'?"),
        ({"outputs": {"zzz": 1}}, "'zzz' is not a node"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"limits": {"db": 1}}, "'db'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_mistakes_in_the_call_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError) as caught:
        simulate(graph_of(DIAMOND).plan(), **options)
    assert message in str(caught.value)


def test_laws_are_checked_in_small_graphs_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    from antichain.core.laws import LawfulScheduler

    made = []
    start = LawfulScheduler.start
    monkeypatch.setattr(LawfulScheduler, "start", lambda self, *a: (made.append(self), start(self, *a))[1])
    small, large = graph_of(DIAMOND).plan(), graph_of({f"n{i}": "" for i in range(201)}).plan()
    for plan, check, expected in ((small, None, 1), (small, False, 0), (large, None, 0), (large, True, 1)):
        made.clear()
        simulate(plan, check=check)
        assert len(made) == expected


# -- estimates


def test_estimate_is_the_scheduler_in_virtual_time() -> None:
    plan = graph_of(DIAMOND).plan()
    unlimited = estimate(plan, {"b": 3.0})
    assert unlimited.makespan == unlimited.bound == 5.0
    assert unlimited.starts == {"a": 0.0, "b": 1.0, "c": 1.0, "d": 4.0}
    assert unlimited.critical_path == ("a", "b", "d")
    alone = estimate(plan, {"b": 3.0}, max_concurrent=1)
    assert alone.makespan == alone.bound == 6.0
    assert plan.estimate({"b": 3.0}, max_concurrent=1) == alone


def test_bound_is_the_largest_of_path_work_and_limits() -> None:
    graph = Graph("bounds", limits={"db": 2})
    for name in ("a", "b", "c"):
        graph.add(name, body, uses={"db": 2}, cost=4)
    graph.add("d", body, depends_on=["a"], cost=1)
    plan = graph.plan()
    assert estimate(plan).bound == 12.0
    assert estimate(plan, limits={"db": 6}).bound == 5.0
    assert estimate(plan, limits={"db": Limit(6)}).bound == 5.0
    assert estimate(plan, limits={"db": 6}, max_concurrent=2).bound == 6.5


def test_estimate_never_beats_the_bound() -> None:
    graph = graph_of({f"n{i}": " ".join(f"n{j}" for j in range(i) if (i * j) % 7 == 3) for i in range(40)})
    for slots in (1, 2, 3, 5, None):
        found = estimate(graph.plan(), {f"n{i}": 1.0 + i % 5 for i in range(40)}, max_concurrent=slots)
        assert found.makespan >= found.bound - 1e-9


def test_estimate_assumes_that_all_goes_well() -> None:
    """No condition is false, and no time is ever up."""
    graph = Graph("timed")
    graph.add("a", body, timeout=1, cost=9, when=lambda: False)
    assert estimate(graph.plan()).makespan == 9.0


def test_estimate_looks_inside_nested_graphs_and_maps() -> None:
    found = estimate(nested().plan(), max_concurrent=1)
    assert found.makespan == 5.0
    assert found.bound == 5.0
    assert found.starts["in/y"] == 3.0
    graph = Graph("mapped")
    graph.map("pages", lambda page: page, over=[1], cost=2.5)
    assert estimate(graph.plan()).makespan == 2.5


def test_estimate_uses_the_graphs_options() -> None:
    graph = Graph("serial", max_concurrent=1, limits={"db": 3})
    graph.add("a", body, uses="db")
    graph.add("b", body)
    assert estimate(graph.plan()).makespan == 2.0
    assert estimate(graph.plan(), max_concurrent=2).makespan == 1.0


def test_durations_are_a_mapping() -> None:
    """Not one number for all."""
    plan = graph_of(DIAMOND).plan()
    for wrong in (lambda: estimate(plan, 5), lambda: simulate(plan, durations=5)):  # type: ignore[arg-type]
        with pytest.raises(GraphError, match="durations=5: give a mapping"):
            wrong()


def test_mistakes_in_an_estimate_are_named() -> None:
    plan = graph_of(DIAMOND).plan()
    for arguments, message in (
        ({"durations": {"bb": 1.0}}, "'bb' is not a node"),
        ({"limits": {"db": 1}}, "'db'"),
        ({"max_concurrent": -1}, "max_concurrent"),
    ):
        with pytest.raises(GraphError, match=message):
            estimate(plan, **arguments)  # type: ignore[arg-type]


def test_empty_estimate() -> None:
    found = estimate(Graph("empty").plan(), max_concurrent=2)
    assert (found.makespan, found.bound, found.starts, found.critical_path) == (0.0, 0.0, {}, ())
