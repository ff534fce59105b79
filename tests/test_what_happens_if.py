"""
What happens if: each cell of docs/what-happens-if.md is observed in a real run here, and so is each sentence below it.

`python tests/test_what_happens_if.py --write` writes the page anew from what is observed.
"""

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from antichain import (
    Budget,
    BudgetSpent,
    Context,
    Graph,
    GraphError,
    Limit,
    NodeFailed,
    NodeTimeout,
    Retry,
    RetryBudget,
    RunFailed,
    RunResult,
    RunTimeout,
    Timeout,
)
from antichain.policies import Backoff
from antichain.testing import VirtualLoop

PAGE = Path(__file__).resolve().parent.parent / "docs" / "what-happens-if.md"

ENDINGS = ("success", "failure", "timeout", "skip", "cancel")
JOINS = ("all", "any", "all_done")
FALLBACKS = ("no", "yes")
MODES = ("cancel", "drain", "continue")
NODES = ("up", "down", "side", "later")

HEAD = """# What happens if

This page is written by `python tests/test_what_happens_if.py --write` from runs of the engine, and a test runs them
all again and compares. So it says what the engine does, not what somebody remembers.

## The table

```
up ── down          side ── later
```

`up` ends after one second as the first column says; `down` depends on it with the join rule of the second. `side` has
nothing to do with them: it is running when `up` ends, and `later` waits for it. *Fallback* is a policy of `up`,
*on_error* an option of the run; "any" there means that it makes no difference. In the nodes' columns stand state and
reason.

- *success*: `up` returns. *failure*: it raises. *timeout*: it takes longer than its `timeout=`.
- *skip*: its `when=` says no. *cancel*: the caller cancels the whole run while `up` runs.

"""


@dataclass(frozen=True)
class Case:
    """One row's question."""

    ending: str
    join: str
    fallback: str
    mode: str


# -- the graph and its run


def run_in_virtual_time(main: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def graph_of(case: Case) -> Graph:
    graph = Graph("what happens if")
    policies: dict[str, Any] = {"fallback": "instead"} if case.fallback == "yes" else {}
    if case.ending == "timeout":
        policies["timeout"] = 1
    if case.ending == "skip":
        policies["when"] = lambda: False

    @graph.node(**policies)
    async def up() -> str:
        await asyncio.sleep(1 if case.ending in ("success", "failure") else 10)
        if case.ending == "failure":
            raise ValueError("up")
        return "up"

    @graph.node(depends_on=["up"], join=case.join)
    async def down(up: str = "nothing") -> str:
        return f"down with {up}"

    @graph.node
    async def side() -> str:
        await asyncio.sleep(2)
        return "side"

    @graph.node
    async def later(side: str) -> str:
        return "later"

    return graph


async def ending_of(case: Case) -> tuple[RunResult, BaseException | None]:
    run = asyncio.ensure_future(graph_of(case).arun(on_error=case.mode))
    if case.ending == "cancel":
        asyncio.get_running_loop().call_later(1, run.cancel)
    try:
        return await run, None
    except (RunFailed, asyncio.CancelledError) as error:
        return error.result, error  # type: ignore[union-attr]


def observe(case: Case) -> tuple[str, ...]:
    """The answers of one row: the nodes' endings, the run's status, and what it raised."""
    result, error = run_in_virtual_time(ending_of(case))
    nodes = [f"{result.nodes[name].state} ({result.nodes[name].reason})" for name in NODES]
    raised = "nothing" if error is None else f"`{type(error).__name__}`"
    if isinstance(error, RunFailed):
        raised += f" of {', '.join(f'`{type(each).__name__}`' for each in error.exceptions)}"
    return (*nodes, result.status, raised)


# -- the page


def rows() -> Iterator[tuple[str, ...]]:
    """All cases, with the columns that make no difference folded into one row."""
    for ending, join in itertools.product(ENDINGS, JOINS):
        seen = {(f, m): observe(Case(ending, join, f, m)) for f, m in itertools.product(FALLBACKS, MODES)}
        if len(set(seen.values())) == 1:
            yield (ending, join, "any", "any", *seen["no", "cancel"])
            continue
        for fallback in FALLBACKS:
            answers = [seen[fallback, mode] for mode in MODES]
            if len(set(answers)) == 1:
                yield (ending, join, fallback, "any", *answers[0])
            else:
                yield from ((ending, join, fallback, mode, *seen[fallback, mode]) for mode in MODES)


def table() -> str:
    titles = (
        "`up` ends with",
        "join of `down`",
        "fallback",
        "on_error",
        *(f"`{name}`" for name in NODES),
        "status",
        "raised",
    )
    lines = [titles, ("---",) * len(titles), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# What the table cannot show: a sentence for the page, and the test that observes it.
CORNERS: list[tuple[str, str]] = []


def corner(sentence: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def enter(test: Callable[..., None]) -> Callable[..., None]:
        CORNERS.append((sentence, test.__name__))
        return test

    return enter


def page() -> str:
    corners = "".join(f"- {sentence} *(`{name}`)*\n" for sentence, name in CORNERS)
    return f"{HEAD}{table()}\n## In the corners\n\nEach sentence names the test that observes it.\n\n{corners}"


def test_page_says_what_the_engine_does() -> None:
    """If the engine changed on purpose: `python tests/test_what_happens_if.py --write`, and read the difference."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_case_ends_every_node() -> None:
    terminal = ("succeeded", "failed", "skipped", "cancelled")
    for case in itertools.starmap(Case, itertools.product(ENDINGS, JOINS, FALLBACKS, MODES)):
        answers = observe(case)
        assert all(answer.split(" ")[0] in terminal for answer in answers[: len(NODES)]), case


# -- the corners


def run(graph: Graph, **options: Any) -> tuple[RunResult, BaseException | None]:
    """Run in virtual time; the result, and what was raised."""

    async def main() -> tuple[RunResult, BaseException | None]:
        cancel_after = options.pop("cancel_after", None)
        run = asyncio.ensure_future(graph.arun(**options))
        if cancel_after is not None:
            asyncio.get_running_loop().call_later(cancel_after, run.cancel)
        try:
            return await run, None
        except (RunFailed, RunTimeout, BudgetSpent, asyncio.CancelledError) as error:
            return error.result, error  # type: ignore[union-attr]

    return run_in_virtual_time(main())  # type: ignore[no-any-return]


def ending(result: RunResult, node: str) -> tuple[str, str]:
    record = result.nodes[node]
    return record.state, record.reason


@corner(
    'A node that is backing off when a run with `on_error="drain"` has its first failure is not tried '
    "again: it has failed, with the error of its last attempt."
)
def test_drain_does_not_try_again() -> None:
    graph = Graph()
    attempts = []

    @graph.node(retry=Retry(attempts=5, backoff=Backoff(initial=10, jitter=False)))
    async def unlucky() -> None:
        attempts.append(1)
        raise OSError("again")

    @graph.node
    async def failing() -> None:
        await asyncio.sleep(1)
        raise ValueError("over")

    result, error = run(graph, on_error="drain")
    assert isinstance(error, RunFailed)
    assert sorted(str(each) for each in error.exceptions) == ["again", "over"]
    assert len(attempts) == 1
    assert ending(result, "unlucky") == ("failed", "error")
    assert result.makespan == pytest.approx(1)


@corner(
    "An attempt that fails and is tried again is no failure of the run: `on_error` looks at nodes, not at attempts."
)
def test_a_retried_attempt_is_no_failure() -> None:
    graph = Graph()

    @graph.node(retry=Retry(attempts=3, backoff=Backoff(initial=1, jitter=False)))
    async def unlucky(context: Context) -> int:
        if context.attempt < 3:
            raise OSError("again")
        return context.attempt

    @graph.node
    async def side() -> str:
        await asyncio.sleep(10)
        return "side"

    result, error = run(graph, on_error="cancel")
    assert error is None
    assert result["unlucky"] == 3
    assert result.nodes["unlucky"].attempts == 3
    assert result["side"] == "side"


@corner(
    "A node that swallows its cancellation and returns a value has succeeded: what completed is never "
    "lost, even in a cancelled run."
)
def test_swallowed_cancellation_keeps_the_value() -> None:
    graph = Graph()

    @graph.node
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "kept"

    result, error = run(graph, cancel_after=1)
    assert isinstance(error, asyncio.CancelledError)
    assert ending(result, "stubborn") == ("succeeded", "output")
    assert result["stubborn"] == "kept"


@corner("A node that is cancelled and raises something else while it cleans up has failed, and its error is kept.")
def test_error_while_cleaning_up_is_a_failure() -> None:
    graph = Graph()

    @graph.node
    async def clumsy() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError("while cleaning up")

    result, error = run(graph, cancel_after=1)
    assert isinstance(error, asyncio.CancelledError)
    assert ending(result, "clumsy") == ("failed", "error")
    assert str(result.nodes["clumsy"].error) == "while cleaning up"


@corner(
    "A node that neither ends nor lets itself be cancelled is given up after `grace=`: it is cancelled, "
    "and marked as abandoned."
)
def test_hopeless_node_is_given_up_after_grace() -> None:
    graph = Graph(grace=2.0)

    @graph.node
    async def hopeless() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue

    result, error = run(graph, cancel_after=1)
    assert isinstance(error, asyncio.CancelledError)
    assert ending(result, "hopeless") == ("cancelled", "run")
    assert result.abandoned == ("hopeless",)
    assert result.makespan == pytest.approx(3, abs=0.5)


@corner(
    "A `CancelledError`, `SystemExit` or `KeyboardInterrupt` that a node raises of its own is a failure "
    "of that node (`NodeFailed`) and nothing more."
)
def test_a_node_cannot_end_the_program() -> None:
    for kind in (asyncio.CancelledError, SystemExit, KeyboardInterrupt):
        graph = Graph()

        def bad(kind: type[BaseException] = kind) -> None:
            raise kind("mine")

        async def bad_async(kind: type[BaseException] = kind) -> None:
            raise kind("mine")

        graph.add("in a thread", bad)
        graph.add("on the loop", bad_async)
        result, error = run(graph, on_error="continue")
        assert error is None
        for node in ("in a thread", "on the loop"):
            assert ending(result, node) == ("failed", "error")
            failure = result.nodes[node].error
            assert isinstance(failure, NodeFailed)
            assert type(failure.__cause__) is kind


@corner(
    "A timeout cannot end a thread: the node has failed at its timeout, the thread stays charged until it "
    "returns, and what it returns is ignored."
)
def test_timeout_of_a_thread() -> None:
    graph = Graph(limits={"one": 1})
    may_end = threading.Event()

    @graph.node(timeout=0.05, uses="one", priority=1)
    def hanging() -> str:
        may_end.wait(10)
        return "too late"

    @graph.node
    async def watch() -> None:
        await asyncio.sleep(0.3)
        may_end.set()

    @graph.node(uses="one")
    async def after() -> str:
        return "the slot is free again" if may_end.is_set() else "the slot was given away"

    # In real time: a thread knows no other.
    result = graph.run(on_error="continue")
    assert ending(result, "hanging") == ("failed", "timeout")
    assert isinstance(result.nodes["hanging"].error, NodeTimeout)
    assert "hanging" not in result
    assert result["after"] == "the slot is free again"


@corner(
    "If abandoned threads hold every slot that a node needs, the node fails with reason *starved*: the "
    "run ends and says so."
)
def test_starved_node_fails() -> None:
    graph = Graph(limits={"one": 1})
    may_end = threading.Event()

    @graph.node(timeout=0.05, uses="one", priority=1)
    def hanging() -> None:
        may_end.wait(10)

    @graph.node(uses="one")
    async def after() -> None: ...

    try:
        result = graph.run(on_error="continue")
    finally:
        may_end.set()
    assert ending(result, "after") == ("failed", "starved")
    assert result.nodes["hanging"].abandoned


@corner(
    "A node that takes more of a `Limit` than is left of it after a `resize` waits until it is larger again; once "
    "nothing else is left to happen in the run for `grace=` seconds, it fails with reason *starved* and an error that "
    "names the limit, its size and the weight."
)
@pytest.mark.parametrize("again_after", [13.0, None, 100.0])
def test_limit_made_too_small(again_after: float | None) -> None:
    db = Limit(3)
    graph = Graph(limits={"db": db}, on_error="continue")

    @graph.node(priority=1)
    async def other() -> None:
        db.resize(1)
        await asyncio.sleep(10)

    @graph.node(uses={"db": 2})
    async def heavy() -> str:
        return "came through"

    async def main() -> tuple[RunResult, float]:
        loop = asyncio.get_running_loop()
        if again_after is not None:
            loop.call_later(again_after, db.resize, 2)
        return await graph.arun(), loop.time()

    result, took = run_in_virtual_time(main())
    assert ending(result, "other") == ("succeeded", "output")
    if again_after == 13.0:
        assert (result["heavy"], took) == ("came through", 13.0)
        return
    assert ending(result, "heavy") == ("failed", "starved")
    assert took == 15.0
    with pytest.raises(
        GraphError, match=r"\[weight-above-limit\] node 'heavy' uses 2 of the limit 'db', .* to 1 .* 5 s"
    ):
        raise result.nodes["heavy"].error or AssertionError


@corner(
    "An attempt that timed out on the loop is tried again like any other failure; in a thread only with "
    '`repeat="safe"`, because it may still be at work.'
)
def test_timeouts_and_retries() -> None:
    may_end = threading.Event()

    async def on_the_loop() -> None:
        await asyncio.sleep(10)

    def in_a_thread() -> None:
        may_end.wait(10)

    graph = Graph()
    policies: dict[str, Any] = {"retry": Retry(attempts=2, backoff=Backoff(initial=0.0)), "timeout": 0.05}
    graph.add("loop", on_the_loop, **policies)
    graph.add("thread", in_a_thread, **policies)
    graph.add("safe thread", in_a_thread, repeat="safe", **policies)
    try:
        result = graph.run(on_error="continue")
    finally:
        may_end.set()
    assert [result.nodes[name].attempts for name in ("loop", "thread", "safe thread")] == [2, 1, 2]


@corner(
    "An attempt that is silent for longer than its `Timeout(idle=…)` is stopped and tried again like one that is too "
    "slow; chunks, `ctx.emit` and `ctx.heartbeat()` are signs of life, and waiting for what the node runs itself is no "
    "silence."
)
def test_silence() -> None:
    graph = Graph()

    @graph.node(timeout=Timeout(idle=5), retry=Retry(attempts=2, backoff=Backoff(initial=0)))
    async def silent(context: Context) -> str:
        await asyncio.sleep(6 if context.attempt == 1 else 4)
        context.heartbeat()
        await context.run(asyncio.sleep, delay=20)
        return "done"

    result, error = run(graph)
    assert error is None
    assert result.nodes["silent"].attempts == 2
    silence = result.nodes["silent"].error
    assert isinstance(silence, NodeTimeout)
    assert silence.clock == "idle"
    assert result.makespan == pytest.approx(5 + 24)


@corner(
    "A node that waits for its slots for longer than its `Timeout(queue=…)` is not tried again: it takes its fallback, "
    "or has failed (reason *timeout*) without having begun."
)
def test_waits_too_long() -> None:
    graph = Graph(max_concurrent=1)

    @graph.node(priority=1)
    async def holder() -> None:
        await asyncio.sleep(10)

    async def never() -> str:
        return "never"

    graph.add("alone", never, timeout=Timeout(queue=5), retry=3)
    graph.add("cached", never, timeout=Timeout(queue=5), retry=3, fallback="cached")
    result, error = run(graph, on_error="continue")
    assert error is None
    assert ending(result, "alone") == ("failed", "timeout")
    assert ending(result, "cached") == ("succeeded", "fallback")
    assert [result.nodes[name].attempts for name in ("alone", "cached")] == [0, 0]
    assert result.makespan == pytest.approx(10)


@corner(
    "A failure for which the run's `retry_budget=` has nothing left is the node's last, however many attempts its "
    "`retry=` would allow: it takes its fallback, or has failed, and the error says so."
)
def test_nothing_left_to_try_again() -> None:
    graph = Graph()

    async def down() -> None:
        raise ConnectionError("down")

    retry = Retry(attempts=9, backoff=Backoff(initial=1, jitter=False))
    graph.add("first", down, retry=retry)
    graph.add("second", down, retry=retry, fallback="instead")
    result, error = run(graph, on_error="continue", retry_budget=RetryBudget(share=0, reserve=1))
    assert error is None
    assert ending(result, "first") == ("failed", "error")
    assert ending(result, "second") == ("succeeded", "fallback")
    assert [result.nodes[name].attempts for name in ("first", "second")] == [2, 1]
    assert "the retry budget of this run is used up" in "".join(result.errors["first"].__notes__)


@corner(
    "A status 4xx that every attempt would get again (400, 401, 403, 404, 422, …) is not tried again, unless `on=` "
    "says so."
)
def test_a_bad_request_is_not_tried_again() -> None:
    class BadRequest(Exception):
        status_code = 400

    graph = Graph()

    async def ask() -> None:
        raise BadRequest

    backoff = Backoff(initial=0)
    graph.add("by default", ask, retry=Retry(3, backoff))
    graph.add("on purpose", ask, retry=Retry(3, backoff, on=BadRequest))
    result, _ = run(graph, on_error="continue")
    assert [result.nodes[name].attempts for name in ("by default", "on purpose")] == [1, 3]


@corner(
    "When a run's `budget=` is used up, what runs may end and nothing more starts: what is left is cancelled (reason "
    "*budget*), the run has *paused*, and `BudgetSpent` keeps what completed. A node whose attempt fails then has not "
    "failed if it has an attempt left. A run whose last nodes complete all the same has succeeded."
)
def test_budget() -> None:
    graph = Graph()

    @graph.node
    async def spends(context: Context) -> str:
        await asyncio.sleep(1)
        context.use(tokens=10)
        return "kept"

    @graph.node(retry=2)
    async def fails() -> None:
        await asyncio.sleep(2)
        raise OSError("again")

    graph.add("after", print, depends_on=[spends])
    budget = Budget(tokens=10)
    result, error = run(graph, budget=budget)
    assert isinstance(error, BudgetSpent)
    assert (result.status, dict(result)) == ("paused", {"spends": "kept"})
    assert ending(result, "after") == ("cancelled", "budget")
    assert ending(result, "fails") == ("cancelled", "budget")
    assert result.makespan == pytest.approx(2)
    last = Graph()
    last.add("spends", spends)
    result, error = run(last, budget=Budget(tokens=10))
    assert error is None
    assert result.status == "succeeded"


@corner(
    "The total of a timeout covers attempts and the pauses between them: a pause that would not end in "
    "time is not begun, and the node has failed with the error of its last attempt."
)
def test_no_pause_beyond_the_total() -> None:
    graph = Graph()

    @graph.node(retry=Retry(attempts=9, backoff=Backoff(initial=60, jitter=False)), timeout=Timeout(total=5))
    async def unlucky() -> None:
        raise OSError("again")

    result, error = run(graph)
    assert isinstance(error, RunFailed)
    assert ending(result, "unlucky") == ("failed", "error")
    assert [str(each) for each in error.exceptions] == ["again"]
    assert result.makespan == pytest.approx(0, abs=0.01)


@corner("A fallback that raises is a failure; a fallback may be a function of the error, plain or async.")
def test_fallbacks() -> None:
    graph = Graph()

    async def fail() -> None:
        raise ValueError("first")

    def fallback_fails(error: BaseException) -> None:
        raise KeyError("second")

    async def fallback_waits(error: BaseException) -> str:
        await asyncio.sleep(1)
        return f"instead of {error}"

    graph.add("bad", fail, fallback=fallback_fails)
    graph.add("good", fail, fallback=fallback_waits)
    result, _ = run(graph, on_error="continue")
    assert ending(result, "bad") == ("failed", "error")
    assert isinstance(result.nodes["bad"].error, KeyError)
    assert str(result.nodes["bad"].error.__context__) == "first"
    assert ending(result, "good") == ("succeeded", "fallback")
    assert result["good"] == "instead of first"


@corner("A fallback is for failures: a node that is cancelled with its run does not take it.")
def test_a_cancelled_node_takes_no_fallback() -> None:
    graph = Graph()

    @graph.node(fallback="instead")
    async def slow() -> None:
        await asyncio.sleep(10)

    result, _ = run(graph, cancel_after=1)
    assert ending(result, "slow") == ("cancelled", "run")


@corner("If `when=` raises, the node has failed; it is not tried again, because it never started.")
def test_condition_that_raises() -> None:
    graph = Graph()
    graph.add("node", lambda: None, when=lambda: 1 // 0, retry=3)
    result, _ = run(graph, on_error="continue")
    assert ending(result, "node") == ("failed", "error")
    assert result.nodes["node"].attempts == 0
    assert isinstance(result.nodes["node"].error, ZeroDivisionError)


@corner(
    "A skip travels through `all`, and a skipped run is a success; a parameter whose upstream was skipped "
    "takes its default, a list of sources holds only what is there."
)
def test_skips_travel() -> None:
    graph = Graph()

    async def same(x: Any = "default") -> Any:
        return x

    graph.add("no", same, when=lambda: False)
    graph.add("yes", same, inputs={"x": 1})
    graph.add("all", same, inputs={"x": graph["no"]})
    graph.add("after all", same, inputs={"x": graph["all"]})
    graph.add("done", same, inputs={"x": graph["no"]}, join="all_done")
    graph.add("list", same, inputs={"x": [graph["no"], graph["yes"]]}, join="any")
    result, error = run(graph)
    assert error is None
    assert result.status == "succeeded"
    assert ending(result, "all") == ending(result, "after all") == ("skipped", "upstream")
    assert result["done"] == "default"
    assert result["list"] == [1]


@corner(
    '`join="any"` starts at the first success and does not wait for the others; it is skipped when none '
    "of them succeeds."
)
def test_any_starts_at_the_first_success() -> None:
    graph = Graph()

    @graph.node
    async def quick() -> str:
        return "quick"

    @graph.node
    async def slow() -> str:
        await asyncio.sleep(10)
        return "slow"

    @graph.node(join="any", depends_on=["quick", "slow"])
    async def first(quick: str = "", slow: str = "") -> str:
        return quick + slow

    result, _ = run(graph)
    assert result["first"] == "quick"
    assert (result.nodes["first"].ended_at or 0) < (result.nodes["slow"].ended_at or 0)


@corner(
    'With `on_error="cancel"` everything that fails before it has ended is in the `RunFailed`, not only '
    "the first failure."
)
def test_failures_on_the_way_out_are_kept() -> None:
    graph = Graph()

    @graph.node
    async def first() -> None:
        await asyncio.sleep(1)
        raise ValueError("first")

    @graph.node
    async def second() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise OSError("second") from None

    _, error = run(graph)
    assert isinstance(error, RunFailed)
    assert sorted(str(each) for each in error.exceptions) == ["first", "second"]


@corner(
    'With `on_error="continue"` a run raises nothing for a failure, even if nothing succeeded: look at '
    "its status, *partial*, or at `.errors`."
)
def test_continue_with_nothing_left() -> None:
    graph = Graph()

    @graph.node
    async def only() -> None:
        raise ValueError("only")

    result, error = run(graph, on_error="continue")
    assert error is None
    assert result.status == "partial"
    assert not result
    assert str(result.errors["only"]) == "only"


@corner(
    "When the run's deadline passes, what runs is cancelled (reason *deadline*) and `RunTimeout` keeps what completed."
)
def test_deadline() -> None:
    graph = Graph()

    @graph.node
    async def quick() -> str:
        return "kept"

    @graph.node
    async def slow(quick: str) -> None:
        await asyncio.sleep(10)

    result, error = run(graph, deadline=1)
    assert isinstance(error, RunTimeout)
    assert result["quick"] == "kept"
    assert ending(result, "slow") == ("cancelled", "deadline")
    assert result.makespan == pytest.approx(1)


@corner("A nested graph fails with what failed inside it, and the failure is told once.")
def test_failure_inside_a_nested_graph() -> None:
    inner = Graph("inner")

    @inner.node
    async def bad() -> None:
        raise ValueError("inside")

    graph = Graph("outer")
    graph.add("part", inner)
    result, error = run(graph)
    assert isinstance(error, RunFailed)
    assert [str(each) for each in error.exceptions] == ["inside"]
    assert ending(result, "part") == ending(result, "part/bad") == ("failed", "error")


@corner(
    "In `graph.map(outcomes=True)` a failed item is a value, so the run succeeds; without it the first "
    "failed item fails the whole stage."
)
def test_failed_items() -> None:
    def half(x: int) -> int:
        if x % 2:
            raise ValueError(f"{x} is odd")
        return x // 2

    graph = Graph()
    graph.map("kept", half, over=[2, 3, 4], outcomes=True)
    result, error = run(graph)
    assert error is None
    assert [outcome.value for outcome in result["kept"]] == [1, None, 2]
    assert ending(result, "kept[1]") == ("failed", "error")

    graph = Graph()
    graph.map("strict", half, over=[2, 3, 4])
    result, error = run(graph)
    assert isinstance(error, RunFailed)
    assert [str(each) for each in error.exceptions] == ["3 is odd"]
    assert ending(result, "strict") == ("failed", "error")


@corner(
    "A node replaced by `outputs=` succeeds without running (reason *outputs*), and what only it needed "
    "does not run either if targets are given."
)
def test_given_outputs() -> None:
    graph = Graph()

    @graph.node
    async def before() -> None:
        raise AssertionError("not needed")

    @graph.node
    async def web(before: None) -> str:
        raise AssertionError("replaced")

    @graph.node
    async def answer(web: str) -> str:
        return web

    result, error = run(graph, outputs={"web": "given"}, targets=["answer"])
    assert error is None
    assert result["answer"] == "given"
    assert ending(result, "web") == ("succeeded", "outputs")
    assert "before" not in result.nodes


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
