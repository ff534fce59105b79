"""
Stores that somebody has damaged or planted: nothing in them runs, and nothing that is read of them is silently wrong.
"""

import os
import pickle
import random
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from antichain.errors import StoreDamaged, StoreError
from antichain.stores import Fact, FactKind, Header, SqliteStore
from antichain.stores.sqlite import connecting, schema
from tests.support.stored_runs import LARGE, RUNS, expected, write

FIXTURES = Path(__file__).parent / "data" / "stores"
FLIPS, FLIPS_IN_FULL = 60, 1_000
CUTS, CUTS_IN_FULL = 24, 400
# What no reading of a store may do, in words of sys.addaudithook.
FORBIDDEN = (
    "exec",
    "compile",
    "import",
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "socket.connect",
)
FORBIDDEN += ("sqlite3.enable_load_extension", "sqlite3.load_extension", "ctypes.dlopen", "marshal.loads")

seen: list[str] | None = None


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if seen is not None and event in FORBIDDEN:
        seen.append(f"{event} {arguments!r}")


# It cannot be taken away again; without `seen` it does nothing.
sys.addaudithook(audit)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # In memory where that is to be had: what is asked here is not asked of a disk, and some hundred files are written.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def tmp_path(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


@pytest.fixture(scope="module")
def intact(folder: Path) -> Path:
    path = folder / "runs.db"
    write(path)
    return path


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    shutil.copyfile(intact, path)
    return path


def look_at(path: Path) -> list[StoreError]:
    """Read everything, open and add: what is not refused is right, and no code has run."""
    global seen
    store = SqliteStore(path, synchronous="normal", timeout=0.1)
    lines = {
        "nightly-1": ("succeeded", 3),
        "nightly-2": ("interrupted", 1),
        "other": ("interrupted", 60),
    }
    errors: list[StoreError] = []
    seen = []
    try:
        for run_id in RUNS:
            with refused(errors):
                assert store.read(run_id) == expected(run_id)
        with refused(errors):
            found = {line.run_id: (line.status, line.succeeded) for line in store.runs()}
            assert found == lines
        with refused(errors):
            mine = store.open("nightly-2")
            assert mine.epoch == 2
            try:
                assert store.append_now(mine, [Fact(FactKind.SUCCEEDED, "more", payload=LARGE)])
            finally:
                store.release(mine)
            header, facts = RUNS["nightly-2"]
            journal = store.read("nightly-2")
            assert journal.header == header
            assert journal.facts == (*facts, Fact(FactKind.SUCCEEDED, "more", payload=LARGE))
        with refused(errors):
            assert store.read("nightly-1") == expected("nightly-1")
        assert seen == []
    finally:
        seen = None
    for error in errors:
        assert str(path) in str(error) or str(path.parent) in str(error), f"it does not say which store: {error}"
    return errors


class refused:
    """Let a StoreError pass, into a list; anything else is the test's failure."""

    def __init__(self, errors: list[StoreError]) -> None:
        self.errors = errors

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, StoreError):
            self.errors.append(error)
            return True
        return False


def test_an_intact_store_is_read(copy: Path) -> None:
    """The control: what the tests below compare with is what is read."""
    assert look_at(copy) == []


# -- what somebody has planted

LOOP = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
# The id of a fact is its run's id times 2 to the 32nd plus its number.
FIRST, THIRD = 1 << 32, 3 << 32


def planted(kind: str) -> dict[str, str]:
    """The statements of `planted.sql`, by their names."""
    text = (FIXTURES / "planted.sql").read_text()
    return dict(re.findall(rf"^-- {kind}: (.*)\n((?:[^-\n].*\n)+)", text, re.MULTILINE))


PLANTED = planted("tables")
ROWS = {
    **planted("rows"),
    **{
        f"{column} = {value}": f"UPDATE fact SET {column} = {value} WHERE id = {FIRST + 4}"
        for column, values in {
            "kind": ("99", "0", "-1", "'two'", "2.5", "4", "x'02'"),
            "attempt": ("1", "-2", "4294967296", "9223372036854775807", "2.5", "'2'||'x'", "x'02'"),
            "node": (
                "'extract'",
                "4",
                "5",
                "0",
                "-1",
                "1.5",
                "x'6c6f6164'",
                "CAST(x'ff' AS TEXT)",
                "printf('%.20000c', 'x')",
            ),
            "reason": ("'fallback'", "6", "x''", "0"),
            "fingerprint": ("'ba9876543210:v3'", "2", "0"),
            "at": ("0", "'now'", "9e999", "1700000006.5", "x'00'"),
            "seconds": ("0.75", "-9e999", "'x'"),
            "until": ("1", "'x'"),
            "payload": ("NULL", "x'00'", "'42'", "42", "42.5", "1", "2", "-1", "zeroblob(10000)"),
            "proof": ("proof + 1", "0", "'x'", "x'00'", "2.5"),
        }.items()
        for value in values
    },
    **{
        f"run.{column} = {value}": f"UPDATE run SET {column} = {value} WHERE id = 1"
        for column, values in {
            "id": ("9", "-1"),
            "run_id": ("'x'", "x'00'", "CAST(x'ff' AS TEXT)", "7"),
            "graph": ("'x'", "CAST(x'ff' AS TEXT)", "x'00'", "printf('%.20000c', 'x')"),
            "target": ("'evil.py:graph'", "7"),
            "created_at": ("0", "'x'", "9e999"),
            "inputs": ("x'00'", "'inputs'", "1", "99", "2.5"),
            "wiring": ("x'00'", "2", "99", "'x'"),
            "epoch": ("0", "7", "'x'", "-1", "9223372036854775807", "2.5"),
            "owner": ("'somebody else'", "7", "x'00'"),
            "facts": ("0", "7", "'x'"),
            "ended": ("'failed'", "7"),
            "updated_at": ("0", "'x'"),
            "succeeded": ("17", "'x'"),
            "size_bytes": ("0", "'x'"),
            "state_proof": ("0", "'x'"),
        }.items()
        for value in values
    },
}


def plant(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    # As the file would travel: nothing beside it.
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


@pytest.mark.parametrize("name", [*PLANTED, *ROWS])
def test_what_was_planted_is_refused(copy: Path, name: str) -> None:
    plant(copy, {**PLANTED, **ROWS}[name])
    errors = look_at(copy)
    assert errors, "nothing was refused"
    if name in PLANTED:
        # Before anything of the file was used, and so every time.
        assert len(errors) == 6
    if "format 2" not in name:
        assert any(isinstance(error, StoreDamaged) for error in errors), errors


def test_there_is_enough_that_was_planted() -> None:
    assert len(PLANTED) == 37, sorted(PLANTED)
    assert len(PLANTED) + len(ROWS) >= 120


def test_a_store_of_a_newer_release_says_so(copy: Path) -> None:
    plant(copy, f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(StoreError, match=r"has format \d+; this release knows formats up to \d+.*update this one"):
        SqliteStore(copy).read("nightly-1")


def test_what_is_damaged_is_named(copy: Path) -> None:
    plant(copy, f"UPDATE fact SET payload = x'00' WHERE id = {THIRD + 17}")
    with pytest.raises(StoreDamaged, match=r"runs.db' cannot be trusted: fact 17 of run 'other'"):
        SqliteStore(copy).read("other")
    assert SqliteStore(copy).read("nightly-1") == expected("nightly-1")


def test_a_run_that_its_index_does_not_have_is_not_unknown(copy: Path) -> None:
    """Whoever damages the index must not make anybody believe that there is nothing to resume."""
    index = "sqlite_autoindex_run_1"
    with closing(sqlite3.connect(copy)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)).fetchone()[0]
    content = bytearray(copy.read_bytes())
    start = 4096 * (root - 1)
    place = content.index(b"nightly-1", start, start + 4096)
    content[place : place + 9] = b"nightly-0"
    copy.write_bytes(content)
    store = SqliteStore(copy)
    for call in (store.read, store.open, store.remove, lambda run_id: store.open(run_id, Header(run_id, "etl"))):
        with pytest.raises(StoreDamaged):
            call("nightly-1")


def test_a_run_that_only_the_index_has_is_missed(copy: Path) -> None:
    """A row is gone from the middle of a page; a list without it would be a wrong list."""
    with closing(sqlite3.connect(copy)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run'").fetchone()[0]
    content = bytearray(copy.read_bytes())
    cells = 4096 * (root - 1) + 4
    assert content[cells] == len(RUNS)
    content[cells] -= 1
    copy.write_bytes(content)
    for call in (SqliteStore(copy).runs, lambda: SqliteStore(copy).read("other")):
        with pytest.raises(StoreDamaged):
            call()


def test_what_nobody_would_find_again_is_not_acknowledged(copy: Path) -> None:
    """Where a page is halved to search in it, the run's last fact is there once more: a new one goes behind that."""
    content = bytearray(copy.read_bytes())
    cells, page = max((content[page + 4], page) for page in range(4096, len(content), 4096) if content[page] == 13)
    middle = page + 8 + 2 * ((cells - 1) // 2)
    last = page + 8 + 2 * (len(RUNS["nightly-1"][1]) + len(RUNS["nightly-2"][1]) - 1)
    assert last < middle
    content[middle : middle + 2] = content[last : last + 2]
    copy.write_bytes(content)
    store = SqliteStore(copy)
    mine = store.open("nightly-2")
    with pytest.raises(StoreDamaged, match="what is added to run 'nightly-2' is not found again"):
        store.append_now(mine, [Fact(FactKind.SUCCEEDED, "more")])
    store.release(mine)
    assert store.read("nightly-2").facts == expected("nightly-2").facts


def test_facts_that_are_not_found_are_missed_before_anything_is_added(copy: Path) -> None:
    """As above, with the first row of all: whoever looks for the run finds nothing of it."""
    content = bytearray(copy.read_bytes())
    cells, page = max((content[page + 4], page) for page in range(4096, len(content), 4096) if content[page] == 13)
    middle = page + 8 + 2 * ((cells - 1) // 2)
    content[middle : middle + 2] = content[page + 8 : page + 10]
    copy.write_bytes(content)
    with pytest.raises(StoreDamaged, match="run 'nightly-2' had 8 facts, 0 are there"):
        SqliteStore(copy).open("nightly-2")


# -- damage by chance


def test_flipped_bits_are_never_a_wrong_value(intact: Path, tmp_path: Path, full: bool) -> None:
    rng = random.Random(17)
    content = intact.read_bytes()
    places = [range(len(content)), used_bytes(content), structure_bytes(content), structure_bytes(content)]
    refusals = 0
    for number in range(FLIPS_IN_FULL if full else FLIPS):
        # Anywhere, in what is used, and most where it is decided what is found at all.
        offset = rng.choice(places[number % 4])
        path = tmp_path / f"{number}.db"
        damaged = bytearray(content)
        damaged[offset] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refusals += bool(look_at(path))
        clean(path)
    assert refusals > (FLIPS_IN_FULL if full else FLIPS) / 4, f"only {refusals} were noticed: did they hit anything?"


def used_bytes(content: bytes) -> list[int]:
    return [offset for offset, byte in enumerate(content) if byte]


def structure_bytes(content: bytes) -> list[int]:
    """The head of the file, and of every page of a tree: its kind, its cells, where they are; all of inner pages."""
    places = list(range(100))
    for page in range(0, len(content), 4096):
        start = page or 100
        kind, cells = content[start], int.from_bytes(content[start + 3 : start + 5], "big")
        if kind in (2, 5):
            places += [offset for offset in range(start, page + 4096) if content[offset]]
        elif kind in (10, 13):
            places += range(start, start + 8 + 2 * cells)
    return places


def test_a_file_that_was_cut_is_never_a_wrong_value(intact: Path, tmp_path: Path, full: bool) -> None:
    content = intact.read_bytes()
    rng = random.Random(18)
    lengths = [0, 1, 16, 99, 100, 512, 4095, 4096, 4097, len(content) - 1, len(content) - 4096, len(content) // 2]
    while len(lengths) < (CUTS_IN_FULL if full else CUTS):
        lengths.append(rng.randrange(len(content)))
    for length in lengths:
        path = tmp_path / f"{length}.db"
        path.write_bytes(content[:length])
        assert look_at(path), f"a file cut to {length} bytes was taken"
        clean(path)


def clean(path: Path) -> None:
    for end in ("", "-wal", "-shm", ".lock"):
        Path(f"{path}{end}").unlink(missing_ok=True)


class Planted:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch planted",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SQLite format 3\0",
        b"SQLite format 3\0" + bytes(4080),
        b"a text file\n" * 1000,
        pickle.dumps([Planted()]),
        random.Random(19).randbytes(50_000),
        bytes(100_000),
        b"#!/bin/sh\ntouch planted\n",
        b'{"run": "nightly-1"}',
    ],
    ids=["empty", "magic", "magic and zeros", "text", "pickle", "random", "zeros", "script", "json"],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    assert len(look_at(path)) == 6
    if content:
        with pytest.raises(StoreError):
            SqliteStore(path).open("new", Header("new", "graph"))
        assert path.read_bytes() == content
        assert [each.name for each in tmp_path.iterdir()] == ["runs.db"]


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE users (name); INSERT INTO users VALUES ('ada')")
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="another program's database"):
        SqliteStore(path).open("new", Header("new", "graph"))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["runs.db"]


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal", ".lock"])
def test_rubbish_beside_the_file_is_never_a_wrong_value(copy: Path, end: str) -> None:
    for content in (b"", b"x", random.Random(20).randbytes(40_000), bytes(40_000), copy.read_bytes()):
        clean(Path(f"{copy}{end}"))
        Path(f"{copy}{end}").write_bytes(content)
        found = look_at(copy.with_name("runs.db"))
        assert not found or end in ("-journal", "-shm"), found
        write_again(copy)


def write_again(path: Path) -> None:
    clean(path)
    write(path)


def test_a_log_that_was_planted_is_checked_like_the_file(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(PLANTED["a trigger on runs"])
        planted = Path(f"{copy}-wal").read_bytes()
        content = copy.read_bytes()
    copy.write_bytes(content)
    Path(f"{copy}-wal").write_bytes(planted)
    assert len(look_at(copy)) == 6


# -- bombs


def test_a_payload_larger_than_any_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some bytes must not become gigabytes of memory."""
    plant(copy, "UPDATE blob SET data = zeroblob(20000000) WHERE id = 1")
    monkeypatch.setattr(connecting, "MAX_PAYLOAD_BYTES", 10_000_000)
    with pytest.raises(StoreDamaged, match="larger than any that this library writes"):
        SqliteStore(copy).read("nightly-2")


def test_no_query_runs_for_ever(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "MOST_LOOKS", 3)
    with closing(connecting.connect_to_read(str(copy), 0.1)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute(f"SELECT max(x) FROM ({LOOP})").fetchone()


@pytest.fixture
def hardened(copy: Path) -> Iterator[sqlite3.Connection]:
    with closing(connecting.connect_to_write(str(copy), 0.1, "full")) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement", ["ATTACH DATABASE ':memory:' AS other", "SELECT load_extension('x')", "SELECT readfile('/etc/passwd')"]
)
def test_a_connection_reaches_nothing_but_its_file(hardened: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.Error):
        hardened.execute(statement)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 cannot switch triggers and views off")
def test_triggers_and_views_are_off_besides(hardened: sqlite3.Connection) -> None:
    """Should the comparison of the schema ever miss one."""
    hardened.execute("CREATE TRIGGER t AFTER UPDATE ON run BEGIN DELETE FROM fact; END")
    hardened.execute("UPDATE run SET epoch = epoch")
    assert hardened.execute("SELECT count(*) FROM fact").fetchone()[0] > 60
    hardened.execute("CREATE VIEW v AS SELECT 1")
    with pytest.raises(sqlite3.OperationalError, match="view"):
        hardened.execute("SELECT * FROM v")
    with pytest.raises(sqlite3.OperationalError):
        hardened.execute("UPDATE sqlite_master SET sql = ''")


def test_whoever_reads_cannot_write(copy: Path) -> None:
    with closing(connecting.connect_to_read(str(copy), 0.1)) as connection:
        for statement in ("DELETE FROM fact", "PRAGMA user_version = 3", "CREATE TABLE x (y)"):
            with pytest.raises(sqlite3.OperationalError):
                connection.execute(statement)


# -- stores of earlier releases


@pytest.mark.parametrize("version", range(1, schema.VERSION + 1))
def test_stores_of_earlier_releases_are_read_and_gone_on_with(tmp_path: Path, version: int) -> None:
    path = tmp_path / "runs.db"
    shutil.copyfile(FIXTURES / f"format-{version}.store", path)
    assert look_at(path) == []
    assert [line.run_id for line in SqliteStore(path).runs()] == ["nightly-2", "other", "nightly-1"]


def test_steps_lead_from_one_format_to_the_next(tmp_path: Path) -> None:
    """The way that a later release will go: what a file has is kept, and its format is the sum of the steps."""
    shutil.copy(schema.STEPS / "1.sql", tmp_path)
    (tmp_path / "2.sql").write_text("-- one more\nALTER TABLE run ADD COLUMN note TEXT;\nCREATE TABLE more (x);\n")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, 0, tmp_path, 1)
        connection.execute("INSERT INTO blob VALUES (1, x'01', x'02')")
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection, 1, tmp_path, 2)
        assert connection.in_transaction, "a step that fails must leave nothing behind"
        connection.execute("COMMIT")
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT * FROM blob").fetchall() == [(1, b"\1", b"\2")]
        stepwise = schema.schema_in(connection)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, 0, tmp_path, 2)
        assert schema.schema_in(connection) == stepwise
