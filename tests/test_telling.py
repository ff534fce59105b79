"""
What a run that is kept waits for reaches its store while it goes on, so that others can tell; and it costs the run
nothing if that fails.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antichain import Adaptive, Graph, Limit, MemoryStore, Rate, Retry, SqliteStore
from antichain.core.scheduler import Scheduler
from antichain.core.standing import lines, running
from antichain.stores import Fact, FactKind, Header, Ownership
from antichain.stores.codec import encode
from antichain.stores.protocol import Journal
from antichain.stores.record import StoredRun, stored_run
from antichain.stores.sqlite.standings import path_of
from antichain.stores.standing import read_standing
from antichain.testing import virtual_time
from antichain.testing.clock import Stuck
from antichain.views.stored import stored_text, why_text
from antichain.views.waiting import standing_data
from tests.support.command import Here, Write

NOON = 1_700_000_000.0


@pytest.fixture
def told_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtual clock passes for the real one."""

    def now() -> float:
        return asyncio.get_running_loop().time()

    clock = SimpleNamespace(monotonic=now, time=lambda: NOON + now())
    for module in ("telling", "journal", "keeping"):
        monkeypatch.setattr(f"antichain.{module}.time", clock)


def look_at(graph: Graph, store: Any, at: float, **options: Any) -> tuple[StoredRun, float]:
    """Run a graph in virtual time, and return what somebody else sees of it at an instant, and the wall clock then."""
    seen: list[tuple[StoredRun, float]] = []

    async def main() -> None:
        run = asyncio.create_task(graph.arun(store=store, run_id="r", **options))
        await asyncio.sleep(at)
        seen.append((stored_run(store.read("r")), NOON + asyncio.get_running_loop().time()))
        await run
        # It looks no more.
        loop: Any = asyncio.get_running_loop()
        assert not [handle for handle in loop._scheduled if not handle.cancelled()]

    with virtual_time() as clock:
        clock.run(main())
    return seen[0]


def sleeper(seconds: float) -> Callable[[], Any]:
    async def sleep() -> None:
        await asyncio.sleep(seconds)

    return sleep


def three(limit: Any, seconds: float = 10.0, **options: Any) -> Graph:
    graph = Graph("three", limits={"llm": limit}, **options)
    for name in ("first", "second", "third"):
        graph.add(name, sleeper(seconds), uses="llm")
    return graph


def why(run: StoredRun, name: str, now: float) -> str:
    return why_text(run, run.record.nodes[name], now)


@pytest.mark.usefixtures("told_in_virtual_time")
@pytest.mark.parametrize("limit", [1, Limit(1)])
def test_who_waits_for_a_limit_and_how_many_are_before_it(limit: Any) -> None:
    store = MemoryStore()
    run, now = look_at(three(limit), store, 3.5)
    assert why(run, "first", now) == "Node 'first' runs for 3.5 s (as of 500 ms ago)."
    taken = "limit 'llm' (1 of 1 slots taken)"
    assert why(run, "second", now) == f"Node 'second' has waited 3.5 s for {taken} (as of 500 ms ago)."
    before = "; 1 node wants the same and is before it"
    assert why(run, "third", now) == f"Node 'third' has waited 3.5 s for {taken}{before} (as of 500 ms ago)."
    shown = stored_text(run, now, 100)
    assert f"waits    2 nodes wait for {taken} (as of 500 ms ago)" in shown
    assert "1 running, 2 ready" in shown
    data = json.loads(json.dumps(standing_data(run.standing)))
    assert data["waiting"] == [{"uses": {"llm": 1}, "nodes": 2, "first": "second", "kept_out_by": ["llm"]}]
    assert (data["limits"]["llm"]["used"], data["limits"]["llm"]["size"], data["running"]) == (1, 1, 1)
    # It has ended since.
    assert store.read("r").standing is None


@pytest.mark.usefixtures("told_in_virtual_time")
def test_who_waits_for_a_rate_and_when_it_opens() -> None:
    run, now = look_at(three(Rate(requests=2, per=60), seconds=1.0), MemoryStore(), 20.5)
    text = "Node 'third' has waited 20.5 s for rate 'llm' (2 of 2 requests in the last 60 s, opens in 39.5 s)"
    assert why(run, "third", now).startswith(text)


class TooMany(Exception):
    """As of an HTTP client."""

    status_code = 429
    headers = {"retry-after": "30"}


@pytest.mark.usefixtures("told_in_virtual_time")
def test_who_waits_for_a_limit_that_has_paused() -> None:
    graph = Graph("pauses", limits={"llm": Adaptive(initial=2, maximum=2)}, on_error="continue")
    calls: list[float] = []

    async def refused() -> None:
        calls.append(0.0)
        if len(calls) == 1:
            raise TooMany

    graph.add("refused", refused, uses="llm", retry=Retry(attempts=2))
    graph.add("other", sleeper(40.0), uses="llm", depends_on=["later"])
    graph.add("later", sleeper(5.0))
    run, now = look_at(graph, MemoryStore(), 10.5)
    text = why(run, "other", now)
    assert text.startswith("Node 'other' has waited 5.5 s for limit 'llm' (Adaptive: 0 of ")
    assert "paused for 19.5 s more, because the other side asks for it" in text


@pytest.mark.usefixtures("told_in_virtual_time")
def test_who_waits_for_any_slot_and_what_depends_on_it() -> None:
    graph = three(5)
    graph.add("after", sleeper(0.0), depends_on=["third"])
    run, now = look_at(graph, MemoryStore(), 2.5, max_concurrent=1)
    assert "has waited 2.5 s for max_concurrent (1 of 1 slots taken); 1 node wants" in why(run, "second", now)
    assert "it waits for 'third' (running)" in why(run, "after", now)


@pytest.mark.usefixtures("told_in_virtual_time")
def test_nodes_that_no_header_names_are_told_of() -> None:
    graph = Graph("maps", limits={"llm": 1})

    async def one(item: int) -> int:
        await asyncio.sleep(10)
        return item

    graph.map("pages", one, over=[7, 8, 9], uses="llm", key=str)
    run, now = look_at(graph, MemoryStore(), 2.5)
    assert "has waited 2.5 s for limit 'llm'" in why(run, "pages[8]", now)
    assert why(run, "pages", now) == "Node 'pages' has not ended; inside: 1 running, 2 ready."


@pytest.mark.usefixtures("told_in_virtual_time")
def test_of_a_node_that_is_not_named_it_is_known_what_it_wants() -> None:
    graph = Graph("many", limits={"llm": 1, "search": 1})
    for number in range(600):
        graph.add(f"n{number}", sleeper(1.0), uses=("llm", "search")[number % 2])
    store = MemoryStore()
    run, now = look_at(graph, store, 2.5)
    before = "(1 of 1 slots taken); 128 nodes or more want the same and are before it"
    assert why(run, "n598", now) == f"Node 'n598' waits for limit 'llm' {before} (as of 500 ms ago)."
    assert why(run, "n599", now) == f"Node 'n599' waits for limit 'search' {before} (as of 500 ms ago)."
    # Of a graph that is another one now it is not.
    assert run.standing is not None
    assert run.standing.longer_line_of("n598", ["n0", *run.record.nodes]) is None
    assert run.standing.longer_line_of("nowhere", list(run.record.nodes)) is None


@pytest.mark.usefixtures("told_in_virtual_time")
def test_what_backed_off_and_waits_again_is_ready() -> None:
    graph = three(1)
    failures: list[int] = []

    async def fails() -> None:
        failures.append(1)
        if len(failures) == 1:
            raise ConnectionError("refused")
        await asyncio.sleep(1)

    graph.add("fails", fails, uses="llm", retry=2, priority=1)
    run, now = look_at(graph, MemoryStore(), 8.5)
    text = why(run, "fails", now)
    assert "for limit 'llm' (1 of 1 slots taken)" in text
    assert "Before that failed attempt 1: ConnectionError: refused" in text


class Watched(MemoryStore):
    """Counts what is put, and may refuse it."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.put: list[bytes] = []
        self.error = error

    def put_standing(self, ownership: Ownership, standing: bytes) -> None:
        self.put.append(standing)
        if self.error is not None:
            raise self.error
        super().put_standing(ownership, standing)


@pytest.mark.usefixtures("told_in_virtual_time")
def test_a_short_run_tells_nothing_and_a_long_one_what_is_new() -> None:
    store = Watched()
    with virtual_time() as clock:
        clock.run(three(1, seconds=0.3).arun(store=store))
    assert store.put == []
    with virtual_time() as clock:
        clock.run(three(1, seconds=10.0).arun(store=store))
    # Two ends of nodes, and else every two seconds: fewer than the 29 looks.
    assert 14 <= len(store.put) <= 19


@pytest.mark.usefixtures("told_in_virtual_time")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a store of somebody's")])
def test_a_store_that_cannot_keep_it_is_asked_once_and_the_run_goes_on(error: Exception) -> None:
    store = Watched(error)
    with virtual_time() as clock:
        assert clock.run(three(1).arun(store=store)).status == "succeeded"
    assert len(store.put) == 1


class Plain:
    """A store with the six methods and no more."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.open, self.append, self.release = store.open, store.append, store.release
        self.read, self.runs, self.remove = store.read, store.runs, store.remove


@pytest.mark.usefixtures("told_in_virtual_time")
def test_a_store_without_the_method_works() -> None:
    run, now = look_at(three(1), Plain(), 4.5)
    assert run.standing is None
    assert "its run has not told which" in why(run, "second", now)


def test_where_time_is_virtual_nothing_is_told_and_a_deadlock_is_seen() -> None:
    store = Watched()
    graph = Graph("stuck")

    @graph.node
    async def waits() -> None:
        await asyncio.sleep(100)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck), virtual_time() as clock:
        clock.run(graph.arun(store=store))
    assert store.put == []


# -- how large it gets


def waiting_scheduler(count: int) -> Scheduler:
    graph = Graph("many", limits={"llm": 1})
    for number in range(count):
        graph.add(f"node {number}", sleeper(0.0), uses="llm")
    core = Scheduler(graph.plan().shape, limits={"llm": 1})
    core.start(0.0)
    assert core.take(0.0) == 0
    return core


def test_of_many_the_first_are_named_and_all_are_counted() -> None:
    core = waiting_scheduler(30_000)
    (line,) = lines(core, 200)
    assert (line.number, list(line.first)) == (29_999, list(range(1, 201)))
    assert running(core, 200) == (1, [0])
    took = min(timed(lambda: lines(core, 200)) for _ in range(5))
    assert took < 0.02, f"{took:.4f} s to look at it"


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def standing(**changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "version": 1,
        "at": NOON,
        "limits": [["llm", "limit", 1, 1, None, None, None, []]],
        "waiting": [[[["llm", 1]], 100_000, [["b", NOON - 5], ["c", NOON - 5]]]],
        "running": [1, [["a", 1, NOON - 5]]],
        "planned": None,
    }
    return {**told, **changes}


def seen(told: Any, *, is_owned: bool = True) -> StoredRun:
    header = Header("r", "g", wiring=encode({"graphs": []}))
    facts = [Fact(FactKind.SUCCEEDED, "z", 1, "output", at=NOON - 9, payload=b"")]
    return stored_run(Journal(header, facts, 1, is_owned, encode(told)))


def test_a_node_that_is_not_named_waits_behind_those_that_are() -> None:
    from antichain.record import NodeRecord

    run = seen(standing())
    text = why_text(run, NodeRecord("somewhere"), NOON + 1)
    waits = "waits for limit 'llm' (1 of 1 slots taken); 2 nodes or more want the same and are before it"
    assert text == f"Node 'somewhere' {waits} (as of 1 s ago)."
    text = why_text(seen(standing(running=[999, [["a", 1, NOON - 5]]])), NodeRecord("somewhere"), NOON + 1)
    assert text.startswith("Node 'somewhere' is one of 999 that run, or waits for limit 'llm'")
    text = why_text(seen(standing(waiting=[])), NodeRecord("somewhere"), NOON + 1)
    assert "neither ran nor waited for a limit then (as of 1 s ago)" in text


def test_somebody_who_is_silent_is_said_to_be() -> None:
    run = seen(standing())
    assert "told nothing since" not in why(run, "b", NOON + 5)
    assert "(as of 60 s ago; it has told nothing since, as if it hung" in why(run, "b", NOON + 60)


def test_what_somebody_has_said_who_is_gone_is_not_believed() -> None:
    run = seen(standing(), is_owned=False)
    assert run.standing is None
    assert list(run.record.nodes) == ["z"]
    assert "wait" not in stored_text(run, NOON, 100)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "text",
        {},
        standing(version=2),
        standing(at="noon"),
        standing(at=True),
        standing(limits=None),
        standing(limits=[["llm"]]),
        standing(limits=[[1, "limit", 1, 1, None, None, None, []]]),
        standing(waiting=[[[["llm", 1]], "many", []]]),
        standing(waiting=[[[["llm", None]], 1, []]]),
        standing(waiting=[5]),
        standing(running=[1]),
        standing(planned=["AAAA", [], "0"]),
        standing(planned=["\u00e9", [], "0"]),
        standing(planned=["", [], 5]),
        standing(planned=7),
        standing(running=[1, [["a", [], NOON]]]),
    ],
)
def test_what_cannot_be_read_is_passed_over(told: Any) -> None:
    assert read_standing(encode(told)) is None


def test_bytes_of_somebody_else_are_passed_over() -> None:
    assert read_standing(None) is None
    for data in (b"", b"\x00", b"\xff" * 40, encode(standing())[:-3]):
        assert read_standing(data) is None
    assert read_standing(encode(standing())) is not None


# -- files


def held(path: Path) -> tuple[SqliteStore, Ownership]:
    store = SqliteStore(path, synchronous="normal")
    return store, store.open("r", Header("r", "g"))


def test_what_is_half_written_is_passed_over(tmp_path: Path) -> None:
    store, mine = held(tmp_path / "runs.db")
    store.put_standing(mine, b"whole" * 100)
    file = Path(path_of(store.path, 1, mine.epoch))
    whole = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    for part in (b"", whole[:7], whole[:40], whole[:-1], whole[:-1] + b"?"):
        file.write_bytes(part)
        assert store.read("r").standing is None
    # What is longer than that was of an earlier one.
    file.write_bytes(whole + b"more")
    assert store.read("r").standing == b"whole" * 100
    store.release(mine)
    assert not file.exists()


def test_what_a_killed_owner_has_left_is_dropped(tmp_path: Path) -> None:
    store, mine = held(tmp_path / "runs.db")
    store.release(mine)
    left = Path(path_of(store.path, 1, mine.epoch))
    left.write_bytes(b"left")
    again = store.open("r")
    assert not left.exists()
    store.release(again)
    left = Path(path_of(store.path, 1, again.epoch))
    left.write_bytes(b"left")
    store.remove("r")
    assert not left.exists()


def test_a_link_that_somebody_has_put_there_is_not_followed(tmp_path: Path) -> None:
    store, mine = held(tmp_path / "runs.db")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    Path(path_of(store.path, 1, mine.epoch)).symlink_to(victim)
    with pytest.raises(OSError):
        store.put_standing(mine, b"new")
    assert victim.read_bytes() == b"precious"
    store.release(mine)


# -- as users see it

WAITS = """
    import asyncio

    graph = Graph("waits", limits={"llm": 1})

    @graph.node(uses="llm")
    async def first() -> None:
        await asyncio.sleep(60)

    @graph.node(uses="llm")
    async def second() -> None:
        pass
"""


def test_another_process_tells_what_a_run_waits_for_until_it_is_gone(
    write: Write, here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE", raising=False)
    write(WAITS)
    arguments = [sys.executable, "-m", "antichain", "run", "flow.py", "--no-progress", "--run-id", "r"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 30
            code, out, err = 2, "", ""
            while "has waited" not in out and time.monotonic() < until:
                time.sleep(0.1)
                code, out, err = here("why", "r", "second")
            assert (code, err) == (0, "")
            assert "for limit 'llm' (1 of 1 slots taken) (as of " in out
        finally:
            process.send_signal(signal.SIGKILL)
    code, out, _ = here("why", "r", "second")
    assert "Whoever ran it has gone" in out
    assert "has waited" not in out
    assert "antichain resume r" in out
