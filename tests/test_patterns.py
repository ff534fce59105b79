"""
The patterns of examples/patterns: each at most a page, and each keeps what a graph promises.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antichain import Backoff, Context, Graph, NodeTimeout, Retry, RunFailed, RunResult, RunTimeout
from examples.patterns import chain, first_of_n, router, scatter_gather, supervisor_loop
from tests.support.leftovers import run_in_steps
from tests.support.page import blocks_of
from tests.support.probe import Probe

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = sorted((ROOT / "examples" / "patterns").glob("*.py"))
PAGE = blocks_of((ROOT / "docs" / "how-to" / "patterns.md").read_text(encoding="utf-8"))


def virtual(main: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    """The value and the virtual seconds of a run that leaves nothing behind."""
    value, error, loop, _ = run_in_steps(main)  # type: ignore[arg-type]
    if error is not None:
        raise error
    return value, loop.time()


# -- each is a page, and runs


def test_all_five_are_there() -> None:
    assert [path.stem for path in PATTERNS] == ["chain", "first_of_n", "router", "scatter_gather", "supervisor_loop"]


@pytest.mark.parametrize("path", PATTERNS, ids=lambda path: path.stem)
def test_it_is_a_page_runs_and_is_what_the_documentation_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    (position,) = [number for number, block in enumerate(PAGE) if block.title == path.name]
    assert PAGE[position].text == text.rstrip("\n"), "copy the example into docs/how-to/patterns.md"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANTICHAIN", "OTEL"))}
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == PAGE[position + 2].text


# -- scatter-gather


def scatter(probe: Probe, seconds: dict[str, float], **options: Any) -> Graph:
    workers = {name: probe.body(name, each) for name, each in seconds.items()}
    return scatter_gather.scatter_gather(workers, lambda answers: list(answers.items()), **options)


def test_scattered_workers_overlap_and_are_gathered_in_their_order() -> None:
    probe = Probe()
    graph = scatter(probe, {"a": 3, "b": 1, "c": 2})
    result, seconds = virtual(lambda: graph.arun())
    assert result["gather"] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert probe.started == dict.fromkeys("abc", 0.0)
    assert seconds == 3.0


def test_scattered_workers_keep_limits() -> None:
    probe = Probe()
    graph = scatter(probe, dict.fromkeys("abcdef", 1.0), uses="llm")
    _, seconds = virtual(lambda: graph.arun(limits={"llm": 2}))
    assert (seconds, probe.most) == (3.0, 2)
    _, seconds = virtual(lambda: graph.arun(limits={"llm": 6}, max_concurrent=3))
    assert (seconds, probe.most) == (2.0, 3)


def test_a_failed_worker_fails_all_and_the_others_have_ended() -> None:
    probe, error = Probe(), ConnectionError("gone")
    workers = {"a": probe.body("a", 9), "b": probe.body("b", 1, fails=error), "c": probe.body("c", 9)}
    gathered: list[Any] = []
    graph = scatter_gather.scatter_gather(workers, lambda answers: gathered.append(answers))
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: graph.arun())
    assert caught.value.exceptions == (error,)
    assert (sorted(probe.cancelled), gathered) == (["a", "c"], [])
    assert probe.ended == dict.fromkeys("abc", 1.0)


def test_partial_gather_takes_what_there_is_when_all_have_ended() -> None:
    probe = Probe()
    workers = {"a": probe.body("a", 3), "b": probe.body("b", 1, fails=OSError()), "c": probe.body("c", 2)}
    graph = scatter_gather.scatter_gather(workers, lambda answers: answers, partial=True)
    result, seconds = virtual(lambda: graph.arun())
    assert (result["gather"], result.status, seconds) == ({"a": "a", "c": "c"}, "partial", 3.0)
    late = scatter(probe, {"a": 3, "b": 99}, partial=True, timeout=5)
    result, seconds = virtual(lambda: late.arun())
    assert (result["gather"], seconds) == ([("a", "a")], 5.0)
    assert isinstance(result.nodes["b"].error, NodeTimeout)


def test_policies_hold_for_every_worker() -> None:
    failures = [OSError(), OSError()]

    async def worker() -> str:
        if failures:
            raise failures.pop()
        return "up"

    retry = Retry(2, Backoff(1, jitter=False))
    graph = scatter_gather.scatter_gather({"a": worker, "b": worker}, lambda answers: answers, retry=retry)
    result, seconds = virtual(lambda: graph.arun())
    assert (result["gather"], seconds) == ({"a": "up", "b": "up"}, 1.0)
    assert [result.nodes[name].attempts for name in "ab"] == [2, 2]


# -- router


def routed(kind: Any, probe: Probe, **fails: BaseException) -> Graph:
    async def classify(request: str) -> Any:
        await asyncio.sleep(1)
        if isinstance(kind, Exception):
            raise kind
        return kind

    routes = {name: probe.body(name, 2, fails=fails.get(name)) for name in ("sales", "support")}
    return router.router(classify, routes, probe.body("otherwise", 2))


@pytest.mark.parametrize(
    ("kind", "taken"), [("sales", "sales"), ("support", "support"), ("nonsense", "otherwise"), (None, "otherwise")]
)
def test_only_the_route_that_is_meant_runs(kind: Any, taken: str) -> None:
    probe = Probe()
    result, seconds = virtual(lambda: routed(kind, probe).arun(request="hello"))
    assert isinstance(result, RunResult)
    assert result["answer"][0] == taken
    assert (seconds, probe.started) == (3.0, {taken: 0.0})  # the probe's clock begins with the route
    others = {"sales", "support", "otherwise"} - {taken}
    assert {name: (result.nodes[name].state, result.nodes[name].reason) for name in others} == dict.fromkeys(
        others, ("skipped", "condition")
    )
    assert result.status == "succeeded"


def test_a_failed_classifier_takes_no_route_and_a_failed_route_fails_the_run() -> None:
    probe = Probe()
    error = OSError("no model")
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: routed(error, probe).arun(request="hello"))
    assert (caught.value.exceptions, probe.started) == ((error,), {})
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: routed("sales", probe, sales=error).arun(request="hello"))
    assert (caught.value.exceptions, list(probe.started)) == ((error,), ["sales"])
    assert caught.value.result.nodes["answer"].state == "cancelled"
    result, _ = virtual(lambda: routed("sales", probe, sales=error).arun(request="hello", on_error="continue"))
    assert (result.status, result.nodes["answer"].state, result.errors["sales"]) == ("partial", "skipped", error)


# -- chain


def step(name: str, seconds: float, calls: list[str], fails: BaseException | None = None) -> Callable[[Any], Any]:
    async def body(item: Any) -> str:
        calls.append(f"{name}({item})")
        await asyncio.sleep(seconds)
        if fails is not None:
            raise fails
        return f"{item}>{name}"

    body.__name__ = name
    return body


def test_each_step_receives_what_the_one_before_returned() -> None:
    calls: list[str] = []
    graph = chain.chain(*(step(name, 1, calls) for name in "abc"))
    result, seconds = virtual(lambda: graph.arun(item="x"))
    assert (result["c"], seconds) == ("x>a>b>c", 3.0)
    assert calls == ["a(x)", "b(x>a)", "c(x>a>b)"]


def test_a_failed_step_ends_the_chain() -> None:
    calls: list[str] = []
    error = OSError("b")
    graph = chain.chain(
        step("a", 1, calls), step("b", 1, calls, error), step("c", 1, calls), retry=Retry(2, Backoff(0))
    )
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: graph.arun(item="x"))
    assert caught.value.exceptions == (error,)
    assert calls == ["a(x)", "b(x>a)", "b(x>a)"]
    assert caught.value.result["a"] == "x>a"


def test_items_of_a_pipeline_do_not_wait_for_each_other_and_keep_their_order() -> None:
    """A slow item in each stage, not the same one: 5 + 1 = 1 + 5 seconds, where stages that wait take 5 + 5."""

    async def load(item: str) -> str:
        await asyncio.sleep({"x": 5, "y": 1}[item])
        return item

    async def read(item: str) -> str:
        began.append((item, asyncio.get_running_loop().time()))
        await asyncio.sleep({"x": 1, "y": 5}[item])
        return item.upper()

    began: list[tuple[str, float]] = []
    graph = chain.pipeline(["x", "y"], load, read, max_concurrent=2)
    result, seconds = virtual(lambda: graph.arun())
    assert (result["read"], seconds) == (["X", "Y"], 6.0)
    assert began == [("y", 1.0), ("x", 5.0)]


def test_stages_of_a_pipeline_keep_their_limit() -> None:
    probe = Probe()

    async def work(item: int) -> int:
        await probe.body(str(item), 1)()
        return item

    graph = chain.pipeline(range(12), work, max_concurrent=3)
    result, seconds = virtual(lambda: graph.arun())
    assert (result["work"], seconds, probe.most) == (list(range(12)), 4.0, 3)


# -- first of n


def racing(probe: Probe, ways: dict[str, float | BaseException], **options: Any) -> Graph:
    def way(name: str) -> Graph:
        does = ways[name]
        body = probe.body(name, 1, fails=does) if isinstance(does, BaseException) else probe.body(name, does)
        graph = Graph(name)
        graph.add("go", body, uses="network")
        return graph

    async def race(ctx: Context) -> str:
        name, result = await first_of_n.first_of({name: way(name) for name in ways}, ctx)
        assert result["go"] == name
        probe.ended["race"] = probe.now()
        return name

    graph = Graph("race", limits={"network": 9}, **options)
    graph.add("race", race)
    return graph


def test_first_success_wins_and_the_losers_have_ended_before_it_is_returned() -> None:
    probe = Probe()
    graph = racing(probe, {"slow": 9.0, "broken": OSError("broken"), "fast": 3.0, "late": 5.0})
    result, seconds = virtual(lambda: graph.arun())
    assert (result["race"], result.status, seconds) == ("fast", "succeeded", 3.0)
    assert probe.started == dict.fromkeys(("slow", "broken", "fast", "late"), 0.0)
    assert probe.ended == {"broken": 1.0, "fast": 3.0, "slow": 3.0, "late": 3.0, "race": 3.0}
    assert sorted(probe.cancelled) == ["late", "slow"]


def test_the_ways_are_nodes_of_the_run() -> None:
    graph = racing(Probe(), {"slow": 9.0, "fast": 3.0})
    result, _ = virtual(lambda: graph.arun())
    states = {name: node.state for name, node in result.nodes.items()}
    assert states["race"] == "succeeded"
    assert sorted(state for name, state in states.items() if name.endswith("go")) == ["cancelled", "succeeded"]


def test_a_loser_that_cleans_up_is_awaited() -> None:
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(2)
            ended.append(asyncio.get_running_loop().time())

    async def fast() -> str:
        await asyncio.sleep(3)
        return "value"

    async def race(ctx: Context) -> Any:
        first = await first_of_n.first_of({"slow": slow, "fast": fast}, ctx)
        assert ended == [5.0]
        return first

    graph = Graph("race")
    graph.add("race", race)
    result, seconds = virtual(lambda: graph.arun())
    assert (result["race"], seconds) == (("fast", "value"), 5.0)


def test_of_two_at_once_the_first_named_wins() -> None:
    class Door:
        """Stands for a context whose ways all end in one turn of the loop."""

        async def run(self, way: str) -> str:
            return way

    async def race() -> tuple[str, Any]:
        return await first_of_n.first_of({name: name for name in "hgfedcba"}, Door())  # type: ignore[arg-type]

    assert virtual(race)[0] == ("h", "h")


def test_ways_keep_the_limits_of_the_run() -> None:
    probe = Probe()
    graph = racing(probe, {"a": 2.0, "b": 2.0, "c": 2.0})
    result, _ = virtual(lambda: graph.arun(limits={"network": 1}))
    assert (result["race"], probe.most) == ("a", 1)
    assert result.nodes["race"].state == "succeeded"


def test_when_none_succeeds_all_errors_are_raised() -> None:
    errors: dict[str, float | BaseException] = {"a": OSError("a"), "b": KeyError("b")}
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: racing(Probe(), errors).arun())
    group, *inside = caught.value.exceptions
    assert inside == list(errors.values())
    assert isinstance(group, ExceptionGroup)
    assert "none of a, b succeeded" in str(group)
    for error in errors.values():
        assert isinstance(error, Exception)
        assert group.subgroup(lambda each, error=error: each is error) is not None


def test_a_cancelled_race_ends_all_its_ways() -> None:
    probe = Probe()
    with pytest.raises(RunTimeout):
        virtual(lambda: racing(probe, {"a": 9.0, "b": 9.0}).arun(deadline=2))
    assert sorted(probe.cancelled) == ["a", "b"]
    assert probe.ended == {"a": 2.0, "b": 2.0}


# -- supervisor loop


class Boss:
    """Who decides by a script, and remembers what it was shown."""

    def __init__(self, *rounds: list[tuple[str, str]]) -> None:
        self.rounds = list(rounds)
        self.shown: list[list[str]] = []

    async def __call__(self, goal: str, seen: list[str]) -> list[tuple[str, str]]:
        await asyncio.sleep(1)
        self.shown.append(seen)
        return self.rounds.pop(0) if self.rounds else []


def supervised(boss: Boss, probe: Probe, **fails: BaseException) -> Graph:
    async def hang(order: str) -> None:
        await probe.body("hang", 999)()

    def worker(name: str) -> Callable[[str], Awaitable[str]]:
        async def work(order: str) -> str:
            await probe.body(f"{name} {order}", 2, fails=fails.get(name))()
            return f"{order} done"

        return work

    workers: dict[str, Callable[..., Any]] = {name: worker(name) for name in ("alice", "bob")}
    return supervisor_loop.supervisor(boss, {**workers, "hang": hang}, rounds=3)


def test_workers_of_a_round_overlap_and_rounds_follow_each_other() -> None:
    probe = Probe()
    boss = Boss([("alice", "dig"), ("bob", "plant")], [("alice", "water")])
    result, seconds = virtual(lambda: supervised(boss, probe).arun(goal="garden"))
    assert result["supervise"] == ["alice: dig done", "bob: plant done", "alice: water done"]
    assert probe.overlap("alice dig", "bob plant")
    assert boss.shown == [[], result["supervise"][:2], result["supervise"]]
    assert seconds == 1 + 2 + 1 + 2 + 1


def test_a_worker_that_fails_hangs_or_is_not_there_harms_no_other() -> None:
    probe = Probe()
    boss = Boss([("bob", "dig"), ("hang", ""), ("carol", "sing"), ("alice", "plant")])
    result, seconds = virtual(lambda: supervised(boss, probe, bob=OSError("a broken spade")).arun(goal="garden"))
    bob, hang, carol, alice = result["supervise"]
    assert (bob, alice) == ("bob: a broken spade", "alice: plant done")
    assert "was stopped after 5 s" in hang
    assert carol == "carol: no worker 'carol'; there are alice, bob, hang"
    assert (result.status, seconds) == ("succeeded", 1 + 5 + 1)
    assert probe.cancelled == ["hang"]


def test_workers_keep_the_limit_also_of_the_whole_run() -> None:
    probe = Probe()
    tasks = [("alice", str(number)) for number in range(8)]
    _, seconds = virtual(lambda: supervised(Boss(tasks), probe).arun(goal="garden"))
    assert (probe.most, seconds) == (4, 1 + 4 + 1)
    # The supervisor holds no slot while it waits: a single one is enough for it and its workers.
    probe = Probe()
    _, seconds = virtual(lambda: supervised(Boss(tasks[:2]), probe).arun(goal="garden", max_concurrent=1))
    assert (probe.most, seconds) == (1, 1 + 4 + 1)


def test_a_supervisor_that_never_stops_is_stopped() -> None:
    boss = Boss(*[[("alice", str(number))] for number in range(99)])
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: supervised(boss, Probe()).arun(goal="garden"))
    assert "no end after 3 rounds" in str(caught.value.exceptions[0])
    assert "alice: 2 done" in str(caught.value.exceptions[0])
    assert len(boss.shown) == 3


def test_a_failed_decision_fails_the_run_and_a_deadline_ends_the_workers() -> None:
    async def broken(goal: str, seen: list[str]) -> None:
        raise OSError("no model")

    graph = supervisor_loop.supervisor(broken, {}, rounds=3)
    with pytest.raises(RunFailed) as caught:
        virtual(lambda: graph.arun(goal="garden"))
    assert isinstance(caught.value.exceptions[0], OSError)
    probe = Probe()
    boss = Boss([("alice", "dig"), ("bob", "plant")])
    with pytest.raises(RunTimeout):
        virtual(lambda: supervised(boss, probe).arun(goal="garden", deadline=2))
    assert sorted(probe.cancelled) == ["alice dig", "bob plant"]
