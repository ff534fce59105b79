"""
What becomes of a store when the disk, another process or somebody with a shell gets in its way.

Nothing that was not kept is reported as kept; whoever waits gets one clear error; afterwards one can go on.
"""

import errno
import importlib.util
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import pytest

from antichain.errors import OwnershipLost, RunExists, RunOwned, StoreError, UnknownRun
from antichain.stores import Fact, FactKind, Header, Ownership, SqliteStore
from antichain.stores.sqlite import locks
from antichain.stores.sqlite.connecting import GROWN_WAL_BYTES
from antichain.stores.sqlite.store import writers
from tests.support.store_worker import COUNT, LARGE

ROOT = Path(__file__).parent.parent
WORKER = [sys.executable, "-m", "tests.support.store_worker"]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, or sets limits of Linux")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    # In memory where that is to be had: here calls to the disk fail on purpose, and else need not wait for one.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        folder = Path(name) / "folder"
        folder.mkdir()
        yield folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> SqliteStore:
    return SqliteStore(path, synchronous="normal", timeout=5.0)


def succeeded(node: str, payload: bytes | None = None) -> Fact:
    return Fact(FactKind.SUCCEEDED, node, payload=payload)


def nodes(path: Path) -> list[str]:
    return [fact.node for fact in SqliteStore(path).read("run").facts]


def told_by(store: SqliteStore, mine: Ownership, *facts: Fact) -> BaseException | None:
    decided = threading.Event()
    told: list[BaseException | None] = []
    store.append(mine, facts, lambda failure: (told.append(failure), decided.set()))
    assert decided.wait(60)
    return told[0]


@contextmanager
def worker(mode: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*WORKER, mode, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    lines = [line_of(process)]
    while not lines[-1].startswith(text):
        assert lines[-1], f"it ended before {text!r}: {lines}"
        lines.append(line_of(process))
    return lines


def acknowledged(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith("ack ")]


# -- owners


def test_a_run_of_another_process_is_refused_until_it_is_killed(path: Path, store: SqliteStore) -> None:
    with worker("hold", path) as other:
        acks = acknowledged(lines_until(other, "ready"))
        with pytest.raises(RunOwned, match=rf"held by process {other.pid} on .* since .*take_over=True"):
            store.open("run")
        with pytest.raises(RunOwned, match=f"process {other.pid}"):
            store.remove("run")
        assert store.read("run").is_owned
        assert [line.status for line in store.runs()] == ["running"]
        other.kill()
        other.wait()
        assert not store.read("run").is_owned
        assert [line.status for line in store.runs()] == ["interrupted"]
        mine = store.open("run")
        assert mine.epoch == 2
        assert store.append_now(mine, [succeeded("mine")])
        store.release(mine)
        assert nodes(path) == [*acks, "mine"]


def test_an_owner_who_was_stopped_adds_nothing_after_a_take_over(path: Path, store: SqliteStore) -> None:
    with worker("hold", path) as other:
        acks = acknowledged(lines_until(other, "ready"))
        other.send_signal(signal.SIGSTOP)
        with pytest.raises(RunOwned):
            store.open("run")
        mine = store.open("run", take_over=True)
        assert store.append_now(mine, [succeeded("mine")])
        other.send_signal(signal.SIGCONT)
        assert other.stdin is not None
        for _ in range(2):
            other.stdin.write("\n")
            other.stdin.flush()
            assert re.match(r"error OwnershipLost run 'run' .* somebody has taken it over", line_of(other))
        assert store.append_now(mine, [succeeded("mine too")])
        store.release(mine)
        assert nodes(path) == [*acks, "mine", "mine too"]


def test_whoever_is_stopped_while_it_writes_commits_nothing_twice(path: Path, store: SqliteStore, full: bool) -> None:
    """Stopped at any instant, also in the middle of a commit; what it was told is there, before what came after."""
    expected: list[str] = []
    for number in range(25 if full else 2):
        with worker("hammer", path) as other:
            lines = [*lines_until(other, "ready"), *(line_of(other) for _ in range(1 + number % 7))]
            other.send_signal(signal.SIGSTOP)
            try:
                mine = SqliteStore(path, timeout=0.2).open("run", take_over=True)
            except StoreError:
                # It was stopped while it had the file locked: nobody can take anything over before it goes on.
                other.send_signal(signal.SIGCONT)
                mine = take_over(store)
            other.send_signal(signal.SIGCONT)
            lines += lines_until(other, "error")
        assert lines[-1].startswith("error OwnershipLost"), lines[-1]
        assert store.append_now(mine, [succeeded(f"mine {number}")])
        store.release(mine)
        expected += [*acknowledged(lines), f"mine {number}"]
        assert nodes(path) == expected


def take_over(store: SqliteStore) -> Ownership:
    return store.open("run", take_over=True)


def test_of_many_who_make_a_store_at_once_all_use_it(path: Path) -> None:
    processes = [
        subprocess.Popen([*WORKER, "acks", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [process.communicate()[0].splitlines() for process in processes]
    acks = [node for output in outputs for node in acknowledged(output)]
    assert sorted(nodes(path)) == sorted(acks)
    assert len(acks) >= COUNT
    # Who came while another held the run was told so, and nothing else.
    others = {line.split()[1] for output in outputs for line in output if line.startswith("error")}
    assert others <= {RunOwned.__name__, RunExists.__name__}


@on_linux
def test_a_forked_child_touches_nothing_of_its_parent(path: Path, store: SqliteStore) -> None:
    mine = store.open("run", Header("run", "graph"))
    assert told_by(store, mine, succeeded("before")) is None
    child = os.fork()
    if not child:
        code = 1
        try:
            told: list[BaseException | None] = []
            store.append(mine, [succeeded("child")], told.append)
            refused = isinstance(told[0], StoreError) and "forked" in str(told[0])
            try:
                store.append_now(mine, [succeeded("child")])
            except StoreError as error:
                refused = refused and "forked" in str(error)
            store.release(mine)
            try:
                store.open("run")
            except RunOwned:
                code = 0 if refused and store.read("run").is_owned else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(RunOwned):
        SqliteStore(path).open("run")
    assert store.append_now(mine, [succeeded("after")])
    store.release(mine)
    assert nodes(path) == ["before", "after"]


@on_linux
def test_a_child_that_outlives_its_parent_does_not_hold_its_runs(path: Path, store: SqliteStore) -> None:
    """As workers do that a process forked before it was killed."""
    code = "import os, sys, time; from antichain.stores import *; s = SqliteStore(sys.argv[1]);"
    code += "m = s.open('run', Header('run', 'graph')); r, w = os.pipe(); child = os.fork();\n"
    # The child is on its way before its parent is killed.
    code += "if child: os.read(r, 1); print(child, flush=True); os.kill(os.getpid(), 9)\n"
    code += "else: os.close(1); os.write(w, b'1'); sys.stdin.read()\n"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.wait()
    os.kill(child, 0)
    store.release(store.open("run"))
    os.kill(child, 0)
    process.communicate()


def test_locks_of_systems_without_locks_of_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of `locks` that other systems take, as far as it runs here."""
    monkeypatch.setattr(sys, "platform", "other")
    spec = importlib.util.spec_from_file_location("other_locks", locks.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    ours = module.LockFile(str(tmp_path / "lock"))
    place = locks.place_of(3, 2)
    assert ours.take(place)
    theirs = "import sys; from antichain.stores.sqlite.locks import LockFile; l = LockFile(sys.argv[1]);"
    theirs += f"print(l.is_taken({place}), l.take({place}), l.is_taken({place + 1}), l.take({place + 1}))"
    command = [sys.executable, "-c", theirs, str(tmp_path / "lock")]
    assert subprocess.check_output(command, text=True).split() == ["True", "False", "False", "True"]
    assert not ours.is_taken(place + 1)
    ours.free(place)
    assert subprocess.check_output(command, text=True).split() == ["False", "True", "False", "True"]
    ours.close()


# -- files


def test_a_store_is_for_its_user_only_and_its_folder_is_made_where_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / ".antichain" / "runs.db"
    store = SqliteStore(path)
    assert store.runs() == []
    with pytest.raises(UnknownRun, match="there is no store"):
        store.read("run")
    with pytest.raises(UnknownRun, match="there is no store"):
        store.open("run")
    assert not path.parent.exists(), "looking for a run makes nothing"
    mine = store.open("run", Header("run", "graph"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(f"{path}-wal").stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.release(mine)
    with pytest.raises(StoreError, match=r"there is no folder '.*missing'; make it"):
        SqliteStore(tmp_path / "missing" / "runs.db").open("run", Header("run", "graph"))
    with pytest.raises(StoreError, match="is a folder"):
        SqliteStore(path.parent).open("run", Header("run", "graph"))


@pytest.mark.parametrize("what", ["deleted", "moved", "replaced by another store", "replaced by a text"])
@pytest.mark.parametrize("now", [False, True])
def test_a_store_that_is_not_there_any_more_is_noticed(path: Path, store: SqliteStore, what: str, now: bool) -> None:
    """It is not made again: whoever deleted it would find half of a run, and the owner would believe in a whole one."""
    mine = store.open("run", Header("run", "graph"))
    assert told_by(store, mine, succeeded("before")) is None
    content = b""
    if what == "moved":
        path.rename(path.with_name("elsewhere.db"))
    else:
        path.unlink()
    if what == "replaced by another store":
        SqliteStore(path.with_name("other.db")).release(
            SqliteStore(path.with_name("other.db")).open("other", Header("other", "graph"))
        )
        path.with_name("other.db").rename(path)
    elif what == "replaced by a text":
        path.write_text("text")
    if path.exists():
        content = path.read_bytes()
    for _ in range(2):
        if now:
            with pytest.raises(StoreError, match="deleted or replaced while it was used"):
                store.append_now(mine, [succeeded("after")])
        else:
            failure = told_by(store, mine, succeeded("after"))
            assert "deleted or replaced while it was used" in str(failure)
    with pytest.raises(StoreError, match="deleted or replaced while it was used"):
        store.open("new", Header("new", "graph"))
    store.release(mine)
    assert path.exists() == bool(content)
    if content:
        assert path.read_bytes() == content
    if what == "deleted":
        # When nobody uses the old one any more, a new one may be begun.
        store.release(store.open("new", Header("new", "graph")))
        assert [line.run_id for line in store.runs()] == ["new"]


def test_a_log_that_is_not_there_any_more_is_noticed(path: Path, store: SqliteStore) -> None:
    mine = store.open("run", Header("run", "graph"))
    assert store.append_now(mine, [succeeded("before")])
    Path(f"{path}-wal").unlink()
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.append_now(mine, [succeeded("after")])
    store.release(mine)
    assert nodes(path)[:1] == ["before"]


def test_without_its_lock_file_an_owner_loses_only_what_is_lost(path: Path, store: SqliteStore) -> None:
    """Somebody tidies up: then nobody knows that the owner is alive, and the epoch still keeps two apart."""
    with worker("hold", path) as other:
        acks = acknowledged(lines_until(other, "ready"))
        Path(f"{path}.lock").unlink()
        mine = store.open("run")
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        assert line_of(other).startswith("error OwnershipLost")
        assert store.append_now(mine, [succeeded("mine")])
        store.release(mine)
        assert nodes(path) == [*acks, "mine"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_store_that_may_only_be_read_is_read(path: Path, store: SqliteStore) -> None:
    """By somebody who may not write: reading works, writing says what is wrong."""
    mine = store.open("run", Header("run", "graph"))
    assert store.append_now(mine, [succeeded("a")])
    store.release(mine)
    for entry in path.parent.iterdir():
        entry.chmod(0o444)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    # Whoever it becomes may not be able to read Python itself: everything is loaded before, by the same calls.
    code = (
        "import os, sys; from antichain.stores import *; s = SqliteStore(sys.argv[1]); w = SqliteStore(sys.argv[2])\n"
    )
    code += "w.release(w.open('run', Header('run', 'graph'))); w.read('run'); w.runs(); os.setuid(65534)\n"
    code += "print([f.node for f in s.read('run').facts], s.runs()[0].status)\n"
    code += "try: s.open('run')\nexcept Exception as e: print(type(e).__name__, e)"
    command = [sys.executable, "-c", code, str(path), str(path.parent.parent / "other.db")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert not process.returncode, process.stderr
    first, second = process.stdout.splitlines()
    assert first == "['a'] interrupted"
    assert re.match(r"StoreError .*(cannot be written|Permission denied)", second), second


# -- locked


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """As another program does it, which knows nothing of ours."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_store_that_stays_locked_is_given_up(path: Path) -> None:
    store = SqliteStore(path, synchronous="normal", timeout=0.1)
    mine, second = store.open("run", Header("run", "graph")), store.open("second", Header("second", "graph"))
    assert told_by(store, mine, succeeded("before")) is None
    with locked(path):
        told: list[BaseException | None] = []
        for owner in (mine, mine, second):
            store.append(owner, [succeeded("after")], told.append)
        with pytest.raises(StoreError, match=r"is locked: another process has been writing to it for 0.1 s\. End it"):
            store.open("third", Header("third", "graph"))
        store.release(second)
        assert len(told) == 3
        assert all("is locked" in str(failure) for failure in told)
    assert "is locked" in str(told_by(store, mine, succeeded("later")))
    store.release(mine)
    assert nodes(path) == ["before"]
    mine = store.open("run")
    assert told_by(store, mine, succeeded("resumed")) is None
    store.release(mine)
    assert nodes(path) == ["before", "resumed"]


def test_nobody_waits_for_a_lock_in_his_own_thread(path: Path) -> None:
    store = SqliteStore(path, timeout=3600)
    mine = store.open("run", Header("run", "graph"))
    with locked(path):
        assert not store.append_now(mine, [succeeded("a")])
    assert store.append_now(mine, [succeeded("a")])
    store.release(mine)


def test_a_store_that_is_locked_for_a_while_is_waited_for(path: Path, store: SqliteStore) -> None:
    mine = store.open("run", Header("run", "graph"))
    decided = threading.Event()
    told: list[BaseException | None] = []
    with locked(path) as other:
        store.append(mine, [succeeded("a")], lambda failure: (told.append(failure), decided.set()))
        assert not decided.wait(0.05)
        other.execute("ROLLBACK")
        assert decided.wait(60)
    assert told == [None]
    store.release(mine)


def test_whoever_only_reads_is_in_nobodys_way(path: Path, store: SqliteStore) -> None:
    mine = store.open("run", Header("run", "graph"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM fact").fetchall()
        assert store.append_now(mine, [succeeded("a")])
        assert store.read("run").facts == (succeeded("a"),)
    store.release(mine)


# -- group commit, and what is left


def test_what_is_appended_meanwhile_is_committed_together(path: Path, store: SqliteStore) -> None:
    owners = [store.open(f"run {number}", Header(f"run {number}", "graph")) for number in range(5)]
    told: list[BaseException | None] = []
    decided = threading.Event()

    def done(failure: BaseException | None) -> None:
        told.append(failure)
        if len(told) == 50:
            decided.set()

    writer = writers[str(path.resolve())]
    assert writer._connection is not None
    statements: list[str] = []
    with writer._busy:
        writer._connection.set_trace_callback(statements.append)
        for number in range(50):
            store.append(owners[number % 5], [succeeded(str(number))], done)
        assert told == []
        assert not store.append_now(owners[0], [succeeded("now")]), "it would be before what waits"
        assert not in_another_thread(lambda: store.append_now(owners[0], [succeeded("now")]))
    assert decided.wait(60)
    assert told == [None] * 50
    assert statements.count("COMMIT") == 1
    for owner in owners:
        store.release(owner)


def in_another_thread(call: Callable[[], object]) -> object:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_one_who_was_taken_over_does_not_harm_the_others_of_a_commit(path: Path, store: SqliteStore) -> None:
    first, second, third = (store.open(name, Header(name, "graph")) for name in ("a", "b", "c"))
    taker = store.open("b", take_over=True)
    told: dict[str, BaseException | None] = {}
    writer = writers[str(path.resolve())]
    with writer._busy:
        for owner in (first, second, third):
            store.append(owner, [succeeded("x")], lambda failure, owner=owner: told.update({owner.run_id: failure}))
        bad = Fact(FactKind.SUCCEEDED, "bad", at=float("inf"))
        store.append(third, [bad], lambda failure: told.update(bad=failure))
        writer._write_waiting()
    assert told["a"] is told["c"] is None
    assert isinstance(told["b"], OwnershipLost)
    assert isinstance(told["bad"], StoreError)
    assert [len(store.read(name).facts) for name in "abc"] == [1, 0, 1]
    for owner in (first, second, third, taker):
        store.release(owner)


def test_a_done_that_raises_is_logged_and_harms_nobody(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    mine = store.open("run", Header("run", "graph"))

    def done(failure: BaseException | None) -> None:
        raise ValueError("not mine")

    store.append(mine, [succeeded("a")], done)
    assert told_by(store, mine, succeeded("b")) is None
    store.release(mine)
    assert "a done() of a store raised" in caplog.text


@on_linux
def test_nothing_is_left_of_a_store_that_nobody_uses(path: Path, store: SqliteStore) -> None:
    threads, files = set(threading.enumerate()), open_files()
    mine = store.open("run", Header("run", "graph"))
    assert store.append_now(mine, [succeeded("a")])
    assert set(threading.enumerate()) == threads, "append_now() needs no thread"
    assert told_by(store, mine, succeeded("b")) is None
    assert len(threading.enumerate()) == len(threads) + 1
    store.release(mine)
    store.read("run")
    store.runs()
    store.remove("run")
    with pytest.raises(UnknownRun):
        store.open("run")
    assert set(threading.enumerate()) == threads
    assert open_files() == files
    assert str(path.resolve()) not in writers


def open_files() -> list[str]:
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return sorted(name for name in names if "runs.db" in name)


def test_a_file_grows_by_what_is_new_in_it(path: Path, store: SqliteStore) -> None:
    """At most 200 bytes a fact plus its payload, in a straight line; a large payload once."""
    sizes = []
    for number in range(1, 4):
        run_id = f"nightly-{number}"
        mine = store.open(run_id, Header(run_id, "graph", wiring=LARGE))
        facts = [
            Fact(FactKind.SUCCEEDED, f"outer/step_{n}", 1, "output", f"{n:012x}:v1", n + 0.5, 0.25, payload=bytes(20))
            for n in range(1000)
        ]
        assert store.append_now(mine, [*facts, *(succeeded(f"large {n}", LARGE) for n in range(20))])
        store.release(mine)
        sizes.append(path.stat().st_size)
    first, second = sizes[1] - sizes[0], sizes[2] - sizes[1]
    assert first <= 1020 * 200 + 1000 * 20
    assert abs(second - first) <= 8 * 4096


# -- the log


def steps(store: SqliteStore, count: int) -> Iterator[int]:
    """Add facts one by one, and give the length of the log after each."""
    mine = store.open("run", Header("run", "graph"))
    try:
        for number in range(count):
            assert store.append_now(mine, [succeeded(f"step {number}")])
            yield Path(f"{store.path}-wal").stat().st_size
    finally:
        store.release(mine)


def test_the_log_of_a_long_run_is_as_long_as_it_will_be_before_it_is_needed(store: SqliteStore) -> None:
    """A commit that makes a file longer takes longer; of few steps nobody waits for that."""
    sizes = list(steps(store, 600))
    assert sizes[0] < 100_000
    grown = sizes.index(GROWN_WAL_BYTES)
    assert 2 < grown < 20
    assert set(sizes[grown:]) == {GROWN_WAL_BYTES}, "it is written from its beginning again before its end is reached"
    assert len(store.read("run").facts) == 600


def test_a_log_that_finds_no_room_grows_as_it_is_written(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    sizes = list(steps(store, 40))
    assert sizes == sorted(set(sizes)), "longer with every step"
    assert sizes[-1] < GROWN_WAL_BYTES
    assert len(store.read("run").facts) == 40


def test_what_follows_the_last_commit_in_a_log_is_not_taken_for_one(path: Path, store: SqliteStore) -> None:
    """The zeros that are there before anything else is: whoever comes after a crash reads up to them."""
    mine = store.open("run", Header("run", "graph"))
    for number in range(20):
        assert store.append_now(mine, [succeeded(f"step {number}")])
    copies = path.parent / "copies"
    copies.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", copies / f"{path.name}{end}")
    store.release(mine)
    assert (copies / f"{path.name}-wal").stat().st_size == GROWN_WAL_BYTES
    left = SqliteStore(copies / path.name)
    assert [fact.node for fact in left.read("run").facts] == [f"step {number}" for number in range(20)]
    yours = left.open("run")
    assert told_by(left, yours, succeeded("more")) is None
    left.release(yours)
    assert left.read("run").facts[-1].node == "more"


# -- disk


def played(path: Path, *prefix: str, limit: int | None = None) -> list[str]:
    """Run the worker to its end and check that what it was told is what is there."""
    arguments = [str(limit)] if limit is not None else []
    process = subprocess.run(
        [*prefix, *WORKER, "acks", str(path), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    lines = process.stdout.splitlines()
    assert process.returncode == 0, process.stderr
    assert lines[-1] == "end", lines
    assert "accepted after a failure" not in lines
    errors = [line for line in lines if line.startswith("error")]
    assert len(errors) <= 1
    acks = acknowledged(lines)
    found = nodes_or_none(path)
    # The last one may be there although nobody was told.
    assert found[: len(acks)] == acks, (lines, found)
    assert len(found) <= len(acks) + 1
    # The cause is gone: somebody goes on.
    store = SqliteStore(path)
    mine = store.open("run") if found or (path.exists() and store.runs()) else store.open("run", Header("run", "graph"))
    assert told_by(store, mine, succeeded("more", LARGE)) is None
    store.release(mine)
    assert nodes(path) == [*found, "more"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return errors


def nodes_or_none(path: Path) -> list[str]:
    """A file is there as a whole or not at all; and so is a run in it."""
    try:
        return nodes(path)
    except UnknownRun:
        return []


@on_linux
def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path, full: bool) -> None:
    """By a limit on the size of files: of none at all, within the tables, within the facts."""
    told = []
    for limit in range(0, 160_000, 8_000) if full else (60_000,):
        told += played(tmp_path / f"{limit}.db", limit=limit)
    assert all(re.match(r"error StoreError store '.*\.db'.*: the disk ", line) for line in told), told
    assert len(told) >= (6 if full else 1)


@cache
def strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    return not subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode


# Which call, with which error; and whether every later one fails too.
FAILING = [
    ("fdatasync", "EIO", ""),
    ("pwrite64", "EIO", ""),
    ("pwrite64", "ENOSPC", "+"),
    ("fdatasync", "EIO", "+"),
    ("ftruncate", "EIO", ""),
    ("fsync", "EIO", ""),
]
# While the file is made, and while facts are written.
SMALL = {"fdatasync": (5,), "pwrite64": (30, 60)}


@on_linux
@pytest.mark.parametrize(("call", "error", "later"), FAILING)
def test_whichever_call_to_the_disk_fails_is_told(
    tmp_path: Path, full: bool, call: str, error: str, later: str
) -> None:
    """The n-th of them, for every n until there is no n-th any more; at the small size, for a few n of two of them."""
    if not strace_works():
        if full:
            pytest.fail("strace is needed at full size: install it, and allow ptrace")
        pytest.skip("strace is not there, or may not trace")
    if not full and (call, error, later) not in FAILING[:2]:
        pytest.skip("every call at full size only: ANTICHAIN_FULL=1")
    told = 0
    for when in range(1, 500) if full else SMALL[call]:
        inject = f"inject={call}:error={error}:when={when}{later}"
        log = tmp_path / "log"
        prefix = ("strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", inject)
        errors = played(tmp_path / f"{when}.db", *prefix)
        told += len(errors)
        assert all(line.startswith("error StoreError ") for line in errors), errors
        if "INJECTED" not in log.read_text():
            break
    else:
        assert not full, "there is no end"
    if call in ("pwrite64", "fdatasync"):
        assert told, "nothing was injected, or nobody was told"


def test_a_folder_that_may_only_be_read_is_said_to_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that a file is missing which nobody has asked for."""
    real = os.open

    def refuse(name: str, flags: int, *more: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return real(name, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        SqliteStore(path).open("run", Header("run", "graph"))
