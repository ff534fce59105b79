"""
The two recipe faces: data flow, validation, failure, limits, time, reuse; and plans that are still being written.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from antichain import (
    Backoff,
    Context,
    Graph,
    GraphError,
    GraphNode,
    Limit,
    NodeEnded,
    NodeFailed,
    NodeStarted,
    NodeTimeout,
    ParallelGraphExecutor,
    ParallelStepExecutor,
    Policies,
    Retry,
    RunFailed,
    RunTimeout,
    Step,
)
from tests.support.probe import Probe, virtually


def nodes(*given: GraphNode, **options: Any) -> ParallelGraphExecutor:
    executor = ParallelGraphExecutor(**options)
    for node in given:
        executor.add_node(node)
    return executor


async def stream(*steps: Any, pause: float = 0.0) -> AsyncIterator[Any]:
    """Steps, pauses in seconds, and exceptions to raise."""
    for step in steps:
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
        else:
            yield step
            await asyncio.sleep(pause)


def states(result: Any) -> dict[str, str]:
    return {name: node.state for name, node in result.nodes.items()}


# -- data flow


def test_node_receives_outputs_and_run_inputs_by_name() -> None:
    executor = nodes(
        GraphNode("node1", lambda question: f"1 on {question}"),
        GraphNode("node2", lambda question: f"2 on {question}"),
        GraphNode("node3", lambda node1, node2, question: (node1, node2, question), depends_on=["node1", "node2"]),
    )
    results = executor.execute_sync(question="sky")
    assert results == {"node1": "1 on sky", "node2": "2 on sky", "node3": ("1 on sky", "2 on sky", "sky")}
    assert type(results) is dict


def test_results_are_in_the_order_of_definition() -> None:
    probe = Probe()
    executor = nodes(GraphNode("slow", probe.body("slow", 2)), GraphNode("quick", probe.body("quick", 1)))
    assert list(virtually(executor.execute())) == ["slow", "quick"]


def test_dependencies_may_be_nodes_and_steps_themselves() -> None:
    first = GraphNode("first", lambda: 1)
    assert nodes(first, GraphNode("second", lambda first: first + 1, depends_on=first)).execute_sync()["second"] == 2
    step = Step("first", lambda: 1)
    assert ParallelStepExecutor([step, Step("second", lambda first: first + 1, [step])]).execute_sync()["second"] == 2


def test_a_node_without_depends_on_follows_its_parameters() -> None:
    assert nodes(GraphNode("b", lambda a: a + 1), GraphNode("a", lambda: 1)).execute_sync() == {"b": 2, "a": 1}


class Chain:
    """A foreign object, as LangChain's: known by its shape."""

    def invoke(self, value: Any) -> Any:
        return ("invoked", value)


class AsyncChain:
    async def ainvoke(self, value: Any) -> Any:
        await asyncio.sleep(1)
        return ("ainvoked", value)


def test_foreign_objects_are_invoked() -> None:
    executor = nodes(GraphNode("a", AsyncChain()), GraphNode("b", Chain(), depends_on=["a"]))
    results = virtually(executor.execute(x=1))
    assert results == {"a": ("ainvoked", {"x": 1}), "b": ("invoked", {"a": ("ainvoked", {"x": 1})})}


def test_a_graph_may_be_a_node_and_a_step() -> None:
    inner = Graph("inner")
    inner.add("double", lambda x: 2 * x)
    assert nodes(GraphNode("x", lambda: 4), GraphNode("inner", inner, ["x"])).execute_sync() == {"x": 4, "inner": 8}
    steps = [Step("x", lambda: 4), Step("inner", inner, ["x"])]
    assert ParallelStepExecutor(steps).execute_sync() == {"x": 4, "inner": 8}
    assert virtually(ParallelStepExecutor(stream(*steps)).execute()) == {"x": 4, "inner": 8}


# -- limits


def test_twenty_thousand_ready_nodes_cost_as_many_tasks_as_the_limit() -> None:
    probe = Probe()
    executor = nodes(*(GraphNode(str(i), probe.body(str(i), 0.001)) for i in range(20_000)), max_concurrent=5)
    assert len(virtually(executor.execute())) == 20_000
    assert probe.most == 5
    assert probe.most_tasks <= 5 + 3  # the caller, and a worker that stands by


def test_plain_functions_run_side_by_side_in_threads() -> None:
    barrier = threading.Barrier(3, timeout=10)
    executor = nodes(*(GraphNode(str(i), lambda: barrier.wait() is not None) for i in range(3)))
    assert executor.execute_sync() == {"0": True, "1": True, "2": True}


def pools(probe: Probe) -> ParallelGraphExecutor:
    executor = ParallelGraphExecutor()
    for i in range(6):
        executor.add_node(GraphNode(f"cpu{i}", probe.body(f"cpu{i}", 1), uses="cpu"))
        executor.add_node(GraphNode(f"io{i}", probe.body(f"io{i}", 1), uses="io"))
    return executor


def test_kinds_of_nodes_saturate_their_own_limits() -> None:
    probe = Probe()
    virtually(pools(probe).execute_with_dynamic_concurrency(limits={"cpu": 2, "io": Limit(6)}))
    assert sorted(probe.started.values()) == [0.0] * 8 + [1.0] * 2 + [2.0] * 2
    assert probe.most == 8


def test_weights_are_taken_together() -> None:
    probe = Probe()
    executor = nodes(
        GraphNode("heavy", probe.body("heavy", 1), uses={"gpu": 3}),
        *(GraphNode(f"light{i}", probe.body(f"light{i}", 1), uses="gpu") for i in range(2)),
        limits={"gpu": 4},
    )
    virtually(executor.execute())
    assert probe.started == {"heavy": 0.0, "light0": 0.0, "light1": 1.0}


@pytest.mark.parametrize("face", ["nodes", "steps", "stream"])
def test_limit_is_resized_while_nodes_run(face: str) -> None:
    """Raised, it starts waiting nodes at once; lowered, it interrupts nothing."""
    probe, limit = Probe(), Limit(1)

    async def steer() -> None:
        await asyncio.sleep(0.5)
        limit.resize(4)
        await asyncio.sleep(0.9)
        limit.resize(1)

    bodies = {"steer": steer, **{str(i): probe.body(str(i), 1) for i in range(8)}}
    uses = {"steer": {}, **{str(i): {"uses": "api"} for i in range(8)}}
    steps = [Step(name, body, **uses[name]) for name, body in bodies.items()]  # type: ignore[arg-type]

    async def main() -> None:
        if face == "nodes":
            executor = nodes(*(GraphNode(s.id, s.action, **s.policies) for s in steps))
            await executor.execute_with_dynamic_concurrency(limits={"api": limit})
        else:
            given = steps if face == "steps" else stream(*steps)
            await ParallelStepExecutor(given, limits={"api": limit}).execute()

    virtually(main())
    assert list(probe.started.values()) == [0.0, 0.5, 0.5, 0.5, 1.0, 2.0, 3.0, 4.0]
    assert not probe.cancelled
    assert limit.used == 0


def test_a_limit_is_shared_by_executions_at_once() -> None:
    probe, limit = Probe(), Limit(3)
    executor = nodes(*(GraphNode(str(i), probe.body(str(i), 1), uses="api") for i in range(6)))

    async def main() -> None:
        await asyncio.gather(*(executor.execute_with_dynamic_concurrency({"api": limit}) for _ in range(2)))

    virtually(main())
    assert probe.most == 3
    assert probe.makespan == 4.0


def test_nested_graph_shares_limit_one_and_completes() -> None:
    probe = Probe()
    inner = Graph("inner")
    for name in "ab":
        inner.add(name, probe.body(name, 1), uses="api")
    executor = nodes(
        GraphNode("inner", inner), GraphNode("c", probe.body("c", 1), uses="api"), limits={"api": 1}, max_concurrent=1
    )
    virtually(executor.execute())
    assert probe.most == 1
    assert probe.makespan == 3.0


# -- order


def test_ready_nodes_start_by_priority_then_by_definition() -> None:
    probe = Probe()
    given = [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", 9)]
    virtually(nodes(*(GraphNode(n, probe.body(n), priority=p) for n, p in given), max_concurrent=1).execute())
    assert probe.order == ["e", "b", "d", "a", "c"]


@pytest.mark.parametrize("face", ["nodes", "steps", "stream"])
def test_what_an_urgent_node_waits_for_is_urgent(face: str) -> None:
    """
    tidy0 … tidy3
    fetch ─ parse ─ answer (urgent)

    In a stream, `answer` comes when `tidy0` runs and everything else waits: it pulls the rest of its line forward.
    """
    probe = Probe()
    given = [(f"tidy{i}", [], 0) for i in range(4)]
    given += [("fetch", [], 0), ("parse", ["fetch"], 0), ("answer", ["parse"], 10)]  # type: ignore[list-item]
    if face == "nodes":
        work = nodes(*(GraphNode(n, probe.body(n, 1), up, priority=p) for n, up, p in given), max_concurrent=1)
        virtually(work.execute())
        assert probe.order[:3] == ["fetch", "parse", "answer"]
        return
    steps = [Step(n, probe.body(n, 1), up, priority=p) for n, up, p in given]
    plan = steps if face == "steps" else stream(*steps[:-1], 0.5, steps[-1])
    virtually(ParallelStepExecutor(plan, max_concurrent=1).execute())  # type: ignore[arg-type]
    expected = ["fetch", "parse", "answer"] if face == "steps" else ["tidy0", "fetch", "parse", "answer"]
    assert probe.order[: len(expected)] == expected


# -- validation, before anything has run


FAULTY: dict[str, tuple[Callable[[Any], list[GraphNode]], dict[str, Any], list[str]]] = {
    "duplicate-id": (lambda f: [GraphNode("a", f), GraphNode("a", f)], {}, ["'a'"]),
    "unknown-upstream": (lambda f: [GraphNode("feature", f), GraphNode("b", f, ["features"])], {}, ["'feature'?"]),
    "self-dependency": (lambda f: [GraphNode("a", f, ["a"])], {}, ["'a'"]),
    "cycle": (
        lambda f: [GraphNode("a", f, ["c"]), GraphNode("b", f, ["a"]), GraphNode("c", f, ["b"])],
        {},
        ["'a' → 'b' → 'c' → 'a'"],
    ),
    "not-runnable": (lambda f: [GraphNode("a", 3)], {}, ["'a'", "3"]),
    "missing-input": (lambda f: [GraphNode("a", lambda questoin: None)], {"question": 1}, ["questoin", "question"]),
    "unknown-limit": (lambda f: [GraphNode("a", f, uses="lm")], {}, ["'lm'", "'a'"]),
    "weight-above-limit": (lambda f: [GraphNode("a", f, uses={"llm": 3})], {"limits": {"llm": 2}}, ["3", "2"]),
    "bad-policy": (lambda f: [GraphNode("a", f, timeout=-1)], {}, ["-1"]),
}


@pytest.mark.parametrize("code", FAULTY)
def test_what_is_wrong_is_said_before_anything_runs(code: str) -> None:
    make, options, words = FAULTY[code]
    ran: list[int] = []

    def body() -> None:
        ran.append(1)

    given = [GraphNode("fine", body), *make(body)]
    with pytest.raises(GraphError) as caught:
        nodes(*given).execute_sync(**options)
    assert code in {fault.code for fault in caught.value.faults}
    assert all(word in str(caught.value) for word in words)
    assert ran == []
    steps = [Step(node.id, node.runnable, node.depends_on, **node.policies) for node in given]
    with pytest.raises(GraphError, match=code):
        ParallelStepExecutor(steps).execute_sync(**options)
    assert ran == []


def test_all_faults_are_reported_together() -> None:
    executor = nodes(GraphNode("a", 3), GraphNode("b", print, ["nowhere"]), GraphNode("b", print))
    with pytest.raises(GraphError) as caught:
        executor.execute_sync()
    assert {"not-runnable", "unknown-upstream", "duplicate-id"} <= {fault.code for fault in caught.value.faults}


@pytest.mark.parametrize("size", [0, -1, 1.5, "3", True])
def test_impossible_limit_is_refused_at_once(size: Any) -> None:
    for make in (ParallelGraphExecutor, lambda n: ParallelStepExecutor([], n)):
        with pytest.raises(GraphError, match="max_concurrent"):
            make(size)


def test_things_that_are_no_nodes_are_refused_at_once() -> None:
    with pytest.raises(GraphError, match="GraphNode"):
        ParallelGraphExecutor().add_node(print)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="Step"):
        ParallelStepExecutor([print])  # type: ignore[list-item]
    with pytest.raises(GraphError, match="async iterator"):
        ParallelStepExecutor(stream)  # type: ignore[arg-type]  # the function, not called
    with pytest.raises(GraphError, match="max_retries"):
        asyncio.run(ParallelStepExecutor([]).execute_with_retry(max_retries=-1))


def test_nothing_to_do_is_no_fault() -> None:
    assert ParallelGraphExecutor().execute_sync() == {}
    assert ParallelStepExecutor([]).execute_sync() == {}
    assert virtually(ParallelStepExecutor(stream()).execute()) == {}


# -- failure


def failing(face: str, probe: Probe, given: Iterable[tuple[str, list[str], Any]], **options: Any) -> Any:
    """The same nodes through any of the faces, as a coroutine."""
    work = list(given)
    if face == "nodes":
        return nodes(*(GraphNode(n, body, up) for n, up, body in work), **options).execute()
    steps = [Step(n, body, up) for n, up, body in work]
    return ParallelStepExecutor(steps if face == "steps" else stream(*steps), **options).execute()


FACES = pytest.mark.parametrize("face", ["nodes", "steps", "stream"])


@FACES
def test_failure_at_limit_one_starts_nothing_more(face: str) -> None:
    probe = Probe()
    work = [("bad", [], probe.body("bad", 1, fails=OSError("disk")))]
    work += [(str(i), [], probe.body(str(i), 1)) for i in range(20)]
    with pytest.raises(RunFailed) as caught:
        virtually(failing(face, probe, work, max_concurrent=1))
    assert probe.order == ["bad"]
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('disk')"]
    error = caught.value.exceptions[0]
    assert "node 'bad', attempt 1" in error.__notes__
    assert error.__traceback__ is not None
    result = caught.value.result
    assert result.status == "failed"
    arrived = {name: node for name, node in result.nodes.items() if name != "(steps)"}
    assert {node.state for name, node in arrived.items() if name != "bad"} == {"cancelled"}
    assert all(node.reason for node in arrived.values())
    assert len(arrived) == 21 or face == "stream"


@FACES
def test_continue_skips_only_what_depends_on_the_failure(face: str) -> None:
    """
    bad ─ child ─ grandchild
    good ─ after
    """
    probe = Probe()
    ended: dict[str, tuple[str, str]] = {}
    work = [
        ("bad", [], probe.body("bad", 1, fails=OSError("disk"))),
        ("child", ["bad"], probe.body("child")),
        ("grandchild", ["child"], probe.body("grandchild")),
        ("good", [], probe.body("good", 2)),
        ("after", ["good"], probe.body("after", 1)),
    ]

    def listen(event: Any) -> None:
        if isinstance(event, NodeEnded):
            ended[event.node] = (event.state, event.reason)

    results = virtually(failing(face, probe, work, on_error="continue", listeners=[listen]))
    assert set(results) == {"good", "after"}
    ended.pop("(steps)", None)
    assert ended == {
        "bad": ("failed", "error"),
        "child": ("skipped", "upstream"),
        "grandchild": ("skipped", "upstream"),
        "good": ("succeeded", "output"),
        "after": ("succeeded", "output"),
    }


@FACES
def test_drain_lets_running_nodes_end_and_starts_nothing(face: str) -> None:
    probe = Probe()
    work = [
        ("bad", [], probe.body("bad", 1, fails=OSError("disk"))),
        ("good", [], probe.body("good", 2)),
        ("after", ["good"], probe.body("after")),
    ]
    with pytest.raises(RunFailed) as caught:
        virtually(failing(face, probe, work, on_error="drain"))
    assert dict(caught.value.result) == {"good": "good"}
    assert set(probe.order) == {"bad", "good"}
    assert caught.value.result.nodes["after"].state == "cancelled"


@FACES
def test_deadline_keeps_what_completed(face: str) -> None:
    probe = Probe()
    work = [(str(i), [], probe.body(str(i), 0.02)) for i in range(20)]

    async def main() -> RunTimeout:
        with pytest.raises(RunTimeout) as caught:
            await failing(face, probe, work, max_concurrent=1, deadline=0.03)
        assert probe.now() == pytest.approx(0.03)
        return caught.value

    timeout = virtually(main())
    assert probe.order == ["0", "1"]
    assert dict(timeout.result) == {"0": "0"}
    assert timeout.result.nodes["1"].reason == "deadline"


@FACES
def test_cancelling_the_caller_leaves_nothing(face: str) -> None:
    probe = Probe()
    work = [(str(i), [], probe.body(str(i), 10)) for i in range(5)]

    async def main() -> None:
        task = asyncio.ensure_future(failing(face, probe, work, max_concurrent=2))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert asyncio.get_running_loop().time() == 1.0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert caught.value.result.status == "cancelled"  # type: ignore[attr-defined]

    virtually(main())
    assert probe.cancelled == ["0", "1"]
    assert probe.order == ["0", "1"]


class Odd(BaseException):
    pass


@FACES
@pytest.mark.parametrize(
    "raised",
    [SystemExit(3), asyncio.CancelledError("of its own"), KeyError("k"), StopIteration(1), GeneratorExit(), Odd()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_node_raises_is_its_failure_and_nothing_more(face: str, raised: BaseException) -> None:
    async def odd() -> None:
        await asyncio.sleep(1)
        raise raised

    def plain() -> None:
        raise raised

    probe = Probe()
    ended: list[tuple[str, str, int]] = []

    def listen(event: Any) -> None:
        if isinstance(event, NodeEnded) and event.node != "(steps)":
            ended.append((event.node, event.state, event.attempt))

    work = [("odd", [], odd), ("plain", [], plain), ("nothing", [], probe.body("nothing", 2))]
    results = virtually(failing(face, probe, work, on_error="continue", listeners=[listen]))
    assert results == {"nothing": "nothing"}
    assert sorted(ended) == [("nothing", "succeeded", 1), ("odd", "failed", 1), ("plain", "failed", 1)]


def test_what_is_no_exception_is_wrapped() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(RunFailed) as caught:
        nodes(GraphNode("leave", leave)).execute_sync()
    error = caught.value.exceptions[0]
    assert isinstance(error, NodeFailed)
    assert (error.node, error.attempt) == ("leave", 1)
    assert isinstance(error.__cause__, SystemExit)


def test_returning_nothing_is_a_result() -> None:
    async def nothing() -> None: ...

    assert nodes(GraphNode("a", nothing), GraphNode("b", lambda a: a is None, ["a"])).execute_sync() == {
        "a": None,
        "b": True,
    }


# -- timeouts and retries


@pytest.mark.parametrize("face", ["steps", "stream"])
def test_step_timeout_cancels_a_hung_step_and_lets_it_clean_up(face: str) -> None:
    probe = Probe()
    cleaned: list[float] = []

    async def hung() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append(probe.now())

    steps = [Step("hung", hung), Step("long", probe.body("long", 5), timeout=60), Step("fine", probe.body("fine", 1))]
    given = steps if face == "steps" else stream(*steps)
    executor = ParallelStepExecutor(given, on_error="drain")

    async def main() -> RunFailed:
        probe.now()
        with pytest.raises(RunFailed) as caught:
            await executor.execute_with_timeout(step_timeout=2.0)
        return caught.value

    failure = virtually(main())
    error = failure.exceptions[0]
    assert isinstance(error, NodeTimeout)
    assert (error.node, error.attempt, error.clock, error.limit) == ("hung", 1, "attempt", 2.0)
    assert error.elapsed == pytest.approx(2.0)
    assert cleaned == [2.0]
    assert dict(failure.result) == {"long": "long", "fine": "fine"}  # a step's own timeout counts


def test_step_timeout_does_not_count_the_wait_for_a_slot() -> None:
    probe = Probe()
    steps = [Step(str(i), probe.body(str(i), 1)) for i in range(5)]
    virtually(ParallelStepExecutor(steps, max_concurrent=1).execute_with_timeout(1.5))
    assert probe.makespan == 5.0


def test_a_hung_thread_fails_in_time_and_is_reported_as_abandoned() -> None:
    release = threading.Event()

    def hung(context: Context) -> bool:
        release.wait(30)
        return context.cancelled

    steps = [Step("hung", hung), Step("fine", lambda: time.sleep(0.3), timeout=30)]
    start = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        asyncio.run(ParallelStepExecutor(steps, on_error="drain").execute_with_timeout(step_timeout=0.2 + 0.3))
    took = time.monotonic() - start
    release.set()
    assert isinstance(caught.value.exceptions[0], NodeTimeout)
    assert 0.5 <= took < 20
    assert caught.value.result.abandoned == ("hung",)
    assert "fine" in caught.value.result


class Flaky:
    """Fails so many times, then succeeds."""

    def __init__(self, probe: Probe, failures: int, error: Exception | None = None) -> None:
        self.probe = probe
        self.failures = failures
        self.error = error
        self.attempts: list[float] = []

    async def __call__(self) -> str:
        self.attempts.append(self.probe.now())
        await asyncio.sleep(1)
        if len(self.attempts) <= self.failures:
            raise self.error or OSError(f"attempt {len(self.attempts)}")
        return "at last"


STEADY = Backoff(initial=10.0, factor=2.0, jitter=False)


@pytest.mark.parametrize("face", ["steps", "stream"])
def test_step_retry_starts_attempts_after_their_backoff_and_frees_the_slot(face: str) -> None:
    probe = Probe()
    flaky = Flaky(probe, 2)
    steps = [Step("flaky", flaky), Step("other", probe.body("other", 3))]
    given = steps if face == "steps" else stream(*steps)
    results = virtually(ParallelStepExecutor(given, max_concurrent=1).execute_with_retry(3, backoff=STEADY))
    assert results == {"flaky": "at last", "other": "other"}
    assert flaky.attempts == [0.0, 11.0, 32.0]
    assert probe.started["other"] == 1.0


def test_retries_are_attempts_after_the_first() -> None:
    for retries in (0, 1, 3):
        flaky = Flaky(Probe(), 99)
        with pytest.raises(RunFailed) as caught:
            virtually(ParallelStepExecutor([Step("f", flaky)]).execute_with_retry(retries, backoff=STEADY))
        assert len(flaky.attempts) == retries + 1
        assert caught.value.result.nodes["f"].attempts == retries + 1
        assert repr(caught.value.exceptions[0]) == f"OSError('attempt {retries + 1}')"


@pytest.mark.parametrize("error", [TypeError("x"), NameError("x"), asyncio.CancelledError()])
def test_programming_errors_and_cancellations_are_not_retried(error: Any) -> None:
    flaky = Flaky(Probe(), 99, error)
    with pytest.raises(RunFailed):
        virtually(ParallelStepExecutor([Step("f", flaky)]).execute_with_retry(5, backoff=STEADY))
    assert len(flaky.attempts) == 1


def test_an_error_that_is_not_retried_is_none_inside_a_graph_either() -> None:
    flaky = Flaky(Probe(), 99, TypeError("x"))
    inner = Graph("inner")
    inner.add("f", flaky)
    with pytest.raises(RunFailed) as caught:
        virtually(ParallelStepExecutor([Step("inner", inner)]).execute_with_retry(5, backoff=STEADY))
    assert len(flaky.attempts) == 1
    assert [type(error) for error in caught.value.exceptions] == [TypeError]


def test_a_step_of_its_own_mind_is_not_overruled() -> None:
    flaky = Flaky(Probe(), 99)
    with pytest.raises(RunFailed):
        virtually(ParallelStepExecutor([Step("f", flaky, retry=None)]).execute_with_retry(5, backoff=STEADY))
    assert len(flaky.attempts) == 1


def test_timeout_and_retry_compose() -> None:
    probe = Probe()
    attempts: list[float] = []

    async def slow_at_first() -> str:
        attempts.append(probe.now())
        await asyncio.sleep(100 if len(attempts) < 3 else 1)
        return "in time"

    executor = ParallelStepExecutor([Step("s", slow_at_first)])
    results = virtually(executor.execute_with_retry(max_retries=2, step_timeout=5.0, backoff=STEADY))
    assert results == {"s": "in time"}
    assert attempts == [0.0, 15.0, 40.0]


def test_defaults_of_an_executor_are_those_of_its_nodes() -> None:
    flaky = Flaky(Probe(), 1)
    executor = nodes(GraphNode("f", flaky), defaults=Policies(retry=Retry(attempts=2, backoff=STEADY)))
    assert virtually(executor.execute()) == {"f": "at last"}


# -- reuse


def test_a_second_execution_shares_nothing_with_the_first() -> None:
    kept: list[list[int]] = []

    async def make(n: int) -> list[int]:
        kept.append([n])
        return kept[-1]

    executor = nodes(GraphNode("made", make))
    first = asyncio.run(executor.execute(n=1))
    executor.add_node(GraphNode("more", lambda made: 0 + len(made), ["made"]))
    second = asyncio.run(executor.execute(n=2))
    assert first == {"made": [1]}
    assert second == {"made": [2], "more": 1}


def test_a_failed_execution_leaves_no_stale_values() -> None:
    async def maybe(fail: bool) -> str:
        if fail:
            raise OSError("now")
        return "fine"

    executor = nodes(GraphNode("maybe", maybe), GraphNode("after", lambda maybe: maybe, ["maybe"]))
    assert executor.execute_sync(fail=False)["after"] == "fine"
    with pytest.raises(RunFailed) as caught:
        executor.execute_sync(fail=True)
    assert dict(caught.value.result) == {}


def test_a_hundred_executions_at_once_and_from_threads_share_nothing() -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    executor = nodes(
        GraphNode("double", double), GraphNode("sum", lambda double, n: double + n, ["double"], runner="loop")
    )

    async def main() -> list[dict[str, int]]:
        return await asyncio.gather(*(executor.execute(n=n) for n in range(100)))

    expected = [{"double": 2 * n, "sum": 3 * n} for n in range(100)]
    assert asyncio.run(main()) == expected
    found: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: executor.execute_sync(n=n)})) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(20)] == expected[:20]


def test_a_node_added_while_nodes_run_belongs_to_the_next_execution() -> None:
    executor = ParallelGraphExecutor()

    async def add() -> str:
        executor.add_node(GraphNode(f"late{len(seen)}", lambda: "late"))
        return "added"

    seen: list[int] = []
    executor.add_node(GraphNode("add", add))
    assert asyncio.run(executor.execute()) == {"add": "added"}
    seen.append(1)
    assert asyncio.run(executor.execute()) == {"add": "added", "late0": "late"}


# -- a plan that is still being written


def test_a_step_starts_before_the_plan_is_complete() -> None:
    probe = Probe()

    async def main() -> dict[str, Any]:
        plan = stream(
            Step("a", probe.body("a", 1)), 5.0, Step("b", probe.body("b", 1), ["a"]), 5.0, Step("c", probe.body("c", 1))
        )
        return await ParallelStepExecutor(plan).execute()

    probe_results = virtually(main())
    assert probe.started == {"a": 0.0, "b": 5.0, "c": 10.0}
    assert probe_results == {"a": "a", "b": ("b", {"a": "a"}), "c": "c"}


def test_a_late_step_starts_when_its_dependencies_end_not_when_it_is_read() -> None:
    probe = Probe()
    plan = stream(Step("a", probe.body("a", 5)), 1.0, Step("b", probe.body("b", 1), ["a"]))
    virtually(ParallelStepExecutor(plan).execute())
    assert probe.started["b"] == probe.ended["a"] == 5.0


def test_the_stream_may_wait_for_what_its_steps_do() -> None:
    """An agent writes its next step only after it has seen the last one's output."""
    seen: asyncio.Queue[int]

    async def plan() -> AsyncIterator[Step]:
        yield Step("0", lambda: seen.put_nowait(0), runner="loop")
        for _ in range(5):
            last = await seen.get()
            yield Step(str(last + 1), lambda last=last: seen.put_nowait(last + 1), runner="loop")

    async def main() -> dict[str, Any]:
        nonlocal seen
        seen = asyncio.Queue()
        return await ParallelStepExecutor(plan()).execute()

    assert list(virtually(main())) == ["0", "1", "2", "3", "4", "5"]


def test_a_step_may_name_one_that_comes_later() -> None:
    """
    written:  d, c, b, a      a ─ b ─ c ─ d
    """
    probe = Probe()
    line = "abcd"
    steps = [Step(n, probe.body(n, 1), [line[i - 1]] if i else []) for i, n in enumerate(line)]
    results = virtually(ParallelStepExecutor(stream(*steps[::-1], pause=1.0)).execute())
    assert probe.order == ["a", "b", "c", "d"]
    assert probe.started["a"] == 0.0  # the first look at the probe's clock
    assert list(results) == ["d", "c", "b", "a"]  # in order of arrival
    assert results["d"] == ("d", {"c": ("c", {"b": ("b", {"a": "a"})})})


def test_a_parameter_may_name_a_step_that_comes_later() -> None:
    plan = stream(Step("b", lambda a, given: a + given), 1.0, Step("a", lambda given: given + 1))
    assert virtually(ParallelStepExecutor(plan).execute(given=10)) == {"b": 21, "a": 11}


def test_foreign_objects_and_policies_in_a_stream() -> None:
    async def never() -> None:
        raise AssertionError("the condition was false")

    plan = stream(
        Step("a", AsyncChain()),
        Step("b", Chain(), ["a"]),
        Step("bad", probe_failing(OSError("x")), fallback="instead", retry=2),
        Step("skipped", never, ["a"], when=lambda a: a == 0),
        Step("after", lambda skipped="default": skipped, ["skipped"], join="all_done"),
        Step("any", lambda skipped=None, b=None: b, ["skipped", "b"], join="any"),
    )
    results = virtually(ParallelStepExecutor(plan).execute(x=1))
    assert results["b"] == ("invoked", {"a": ("ainvoked", {"x": 1})})
    assert results["bad"] == "instead"
    assert "skipped" not in results
    assert results["after"] == "default"
    assert results["any"] == results["b"]


def probe_failing(error: Exception) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


BROKEN_PLANS: dict[str, tuple[list[Any], list[str]]] = {
    "unknown-upstream": ([Step("late", print, ["serach"])], ["'late'", "'serach'", "Did you mean 'search'?"]),
    "duplicate-id": ([Step("search", print)], ["'search'"]),
    "cycle": ([Step("x", print, ["z"]), Step("y", print, ["x"]), Step("z", print, ["y"])], ["'z'", "'y'", "'x'"]),
    "self-dependency": ([Step("x", print, ["x"])], ["'x'"]),
    "not-a-step": ([{"id": "x"}], ["{'id': 'x'}"]),
    "not-runnable": ([Step("x", 3)], ["'x'", "3"]),
    "unknown-limit": ([Step("x", print, uses="llm")], ["'x'", "'llm'"]),
    "weight-above-limit": ([Step("x", print, uses={"api": 3})], ["'x'", "3", "2"]),
    "bad-policy": ([Step("x", print, timeout=-1)], ["'x'", "-1"]),
}


@pytest.mark.parametrize("code", BROKEN_PLANS)
@pytest.mark.parametrize("on_error", ["cancel", "continue"])
def test_a_plan_that_goes_wrong_keeps_what_completed(code: str, on_error: Any) -> None:
    rest, words = BROKEN_PLANS[code]
    plan = stream(Step("search", lambda: "found", runner="loop"), 1.0, *rest)
    executor = ParallelStepExecutor(plan, limits={"api": 2}, on_error=on_error)
    with pytest.raises(GraphError) as caught:
        virtually(executor.execute())
    assert [fault.code for fault in caught.value.faults] == [code]
    assert all(word in str(caught.value) for word in words), str(caught.value)
    result = caught.value.result  # type: ignore[attr-defined]
    assert dict(result) == {"search": "found"}
    assert all(node.state in ("succeeded", "failed", "skipped", "cancelled") for node in result.nodes.values())


def test_a_cycle_is_found_when_its_last_step_comes() -> None:
    probe = Probe()

    async def main() -> float:
        plan = stream(Step("a", print, ["b"]), Step("b", print, ["a"]), 100.0, Step("c", print))
        with pytest.raises(GraphError, match="cycle"):
            await ParallelStepExecutor(plan).execute()
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 0.0
    assert not probe.started


def test_all_missing_steps_are_named_at_once() -> None:
    plan = stream(Step("a", print, ["x", "y"]), Step("b", print, ["a"]), Step("c", print, ["z"]))
    with pytest.raises(GraphError) as caught:
        virtually(ParallelStepExecutor(plan).execute())
    assert [fault.nodes for fault in caught.value.faults] == [("a", "x"), ("a", "y"), ("c", "z")]


@pytest.mark.parametrize("on_error", ["cancel", "drain", "continue"])
def test_a_stream_that_fails_ends_the_run_with_that_error(on_error: Any) -> None:
    probe = Probe()
    plan = stream(
        Step("a", probe.body("a", 1)),
        Step("b", probe.body("b", 9)),
        Step("w", print, ["z"]),
        2.0,
        OSError("the model is gone"),
    )
    with pytest.raises(RunFailed) as caught:
        virtually(ParallelStepExecutor(plan, on_error=on_error).execute())
    assert [repr(error) for error in caught.value.exceptions] == ["OSError('the model is gone')"]
    result = caught.value.result
    completed = {"a": "a"} if on_error == "cancel" else {"a": "a", "b": "b"}
    assert dict(result) == completed
    assert probe.cancelled == (["b"] if on_error == "cancel" else [])
    assert result.nodes["w"].state in ("cancelled", "skipped")


@pytest.mark.parametrize("raised", [SystemExit(1), asyncio.CancelledError("its own"), KeyboardInterrupt()])
def test_what_a_stream_raises_is_never_taken_for_our_own(raised: BaseException) -> None:
    with pytest.raises(RunFailed) as caught:
        virtually(ParallelStepExecutor(stream(Step("a", lambda: 1, runner="loop"), 1.0, raised)).execute())
    assert type(raised).__name__ in str(caught.value.exceptions[0])
    assert dict(caught.value.result) == {"a": 1}


def test_a_failed_step_and_a_broken_plan_are_both_reported() -> None:
    plan = stream(Step("bad", probe_failing(OSError("x"))), 1.0, Step("b", print, ["nowhere"]))
    with pytest.raises(RunFailed) as caught:
        virtually(ParallelStepExecutor(plan, on_error="continue").execute())
    assert {type(error) for error in caught.value.exceptions} == {OSError, GraphError}


def test_a_failure_stops_the_reading_and_closes_the_stream() -> None:
    closed: list[float] = []

    async def plan() -> AsyncIterator[Step]:
        try:
            yield Step("bad", probe_failing(OSError("x")))
            await asyncio.sleep(1000)
            yield Step("late", print)
        finally:
            closed.append(asyncio.get_running_loop().time())

    for on_error in ("cancel", "drain"):
        with pytest.raises(RunFailed) as caught:
            virtually(ParallelStepExecutor(plan(), on_error=on_error).execute())  # type: ignore[arg-type]
        assert "late" not in caught.value.result.nodes
    assert closed == [0.0, 0.0]


def test_cancelling_closes_the_stream_too() -> None:
    closed: list[bool] = []

    async def plan() -> AsyncIterator[Step]:
        try:
            yield Step("a", lambda: 1, runner="loop")
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> None:
        task = asyncio.ensure_future(ParallelStepExecutor(plan()).execute())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert dict(caught.value.result) == {"a": 1}  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())
    assert closed == [True]


def test_an_endless_stream_is_read_only_as_far_as_it_is_of_use() -> None:
    """Nothing in it ever waits; the steps are slow; the deadline ends it."""
    read = 0

    async def endless() -> AsyncIterator[Step]:
        nonlocal read
        while True:
            yield Step(str(read), lambda: asyncio.sleep(1), runner="loop")
            read += 1

    with pytest.raises(RunTimeout) as caught:
        virtually(ParallelStepExecutor(endless(), max_concurrent=2).execute(deadline=100.5))
    assert len(caught.value.result) == 200
    assert read < 2000


def test_a_wide_stream_is_not_held_back() -> None:
    """3,000 slow steps without any limit: all of them run at once."""
    probe = Probe()
    steps = [Step(str(i), probe.body(str(i), 10)) for i in range(3000)]
    virtually(ParallelStepExecutor(stream(*steps)).execute())
    assert probe.most == 3000


def test_a_stream_of_many_steps_goes_on_when_slots_are_few() -> None:
    steps = [Step(str(i), lambda: 1, [str(i - 1)] if i % 7 == 0 and i else [], runner="loop") for i in range(5000)]
    results = virtually(ParallelStepExecutor(stream(*steps), max_concurrent=3).execute())
    assert list(results) == [str(i) for i in range(5000)]


def test_an_iterator_is_used_up_by_an_execution() -> None:
    executor = ParallelStepExecutor(stream(Step("a", lambda: 1)))
    assert asyncio.run(executor.execute()) == {"a": 1}
    with pytest.raises(GraphError, match="already"):
        asyncio.run(executor.execute())


def test_what_makes_iterators_can_be_executed_again() -> None:
    class Plan:
        def __aiter__(self) -> AsyncIterator[Step]:
            return stream(Step("a", lambda n: n))

    executor = ParallelStepExecutor(Plan())
    assert executor.execute_sync(n=1) == {"a": 1}
    assert executor.execute_sync(n=2) == {"a": 2}


def test_events_of_a_stream_are_numbered_and_name_the_steps() -> None:
    events: list[Any] = []
    inner = Graph("inner")
    inner.add("x", lambda: 1, runner="loop")
    plan = stream(Step("a", lambda: 1, runner="loop"), 1.0, Step("inner", inner))
    virtually(ParallelStepExecutor(plan, listeners=[events.append]).execute())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.node for event in events if isinstance(event, NodeStarted)] == ["(steps)", "a", "inner", "inner/x"]


def test_steps_of_a_stream_run_their_own_graphs() -> None:
    inner = Graph("inner")
    inner.add("double", lambda x: 2 * x, runner="loop")

    async def agent(context: Context) -> int:
        return (await context.run(inner, x=4))["double"]  # type: ignore[no-any-return]

    assert virtually(ParallelStepExecutor(stream(Step("agent", agent)), max_concurrent=1).execute()) == {"agent": 8}
