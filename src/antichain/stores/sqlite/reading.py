"""
What a store's file says of its runs; every row is checked before anybody sees it. Nothing here writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from antichain.errors import UnknownRun, suggestion
from antichain.stores.protocol import Fact, Header
from antichain.stores.sqlite.connecting import Guarded
from antichain.stores.sqlite.rows import FactReader, first_id, last_id, proof_of
from antichain.stores.sqlite.words import damaged
from antichain.stores.summing import Summary

__all__ = ["RunRow", "State", "facts_of", "header_proof", "known_run", "run_row", "run_rows", "state_proof"]

RUN = "SELECT id, run_id, graph, target, created_at, inputs, wiring, proof, epoch, owner, facts, ended, updated_at,"
RUN += " succeeded, size_bytes, state_proof FROM run"
BY_ID = RUN + " WHERE run_id = ?"
# The same past the index, which may be the part that is damaged.
BY_ID_SLOWLY = "SELECT id FROM run NOT INDEXED WHERE run_id = ?"
ALL = RUN + " NOT INDEXED ORDER BY created_at DESC, id DESC"
FACTS = "SELECT f.id, f.kind, f.attempt, f.node, f.reason, f.fingerprint, f.at, f.seconds, f.until, f.payload, f.proof,"
JOINED = " FROM fact f LEFT JOIN blob b ON typeof(f.payload) = 'integer' AND b.id = f.payload"
JOINED += " WHERE f.id BETWEEN ? AND ? ORDER BY f.id"
WITH_PAYLOADS = FACTS + " b.sha256, b.data" + JOINED
WITHOUT_PAYLOADS = FACTS + " b.sha256, NULL" + JOINED
BLOB = "SELECT sha256, data FROM blob WHERE id = ?"
NAMES = "SELECT run_id FROM run ORDER BY id DESC LIMIT 1000"

HEADER_HEAD = struct.Struct("<qd5q")
STATE_HEAD = struct.Struct("<4qd4q")
# Rows between two signs of life to the watch.
STRIDE = 256


@dataclass(frozen=True, slots=True)
class State:
    """
    What changes of a run: who holds it, and the sum of its facts when that was last written.
    """

    epoch: int
    owner: str
    summary: Summary
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """
    The row of one run, checked.
    """

    id: int
    header: Header
    state: State


def header_proof(run: int, header: Header) -> int:
    """
    Return the proof of what never changes of a run.
    """
    parts = [header.run_id.encode(), header.graph.encode(), header.target.encode()]
    parts += [sha256(header.inputs).digest(), sha256(header.wiring).digest()]
    return proof_of(HEADER_HEAD.pack(run, header.created_at + 0.0, *map(len, parts)), *parts)


def state_proof(run: int, state: State) -> int:
    """
    Return the proof of what changes of a run.
    """
    summary = state.summary
    owner, ended = state.owner.encode(), summary.ended.encode()
    numbers = (run, state.epoch, summary.facts, summary.succeeded, summary.updated_at + 0.0, state.size_bytes)
    return proof_of(STATE_HEAD.pack(*numbers, len(owner), len(ended), 0), owner, ended)


def known_run(connection: Guarded, path: str, run_id: str) -> RunRow:
    """
    Return the row of a run.

    Raises:
        UnknownRun: there is none. StoreDamaged: it cannot be trusted.
    """
    row = run_row(connection, path, run_id)
    if row is None:
        names = [name for (name,) in connection.execute(NAMES) if isinstance(name, str)]
        raise UnknownRun(f"store {path!r} has no run {run_id!r}.{suggestion(run_id, names)}")
    return row


def run_row(connection: Guarded, path: str, run_id: str) -> RunRow | None:
    """
    Return the row of a run, or None if there is none.
    """
    connection.goes_on()
    row = connection.execute(BY_ID, (run_id,)).fetchone()
    if row is not None:
        return checked_run(connection, path, row)
    # Damage must never look like a run that was not there.
    if connection.execute(BY_ID_SLOWLY, (run_id,)).fetchone() is not None:
        raise damaged(path, f"run {run_id!r} is there, and its index does not have it")
    return None


def run_rows(connection: Guarded, path: str) -> list[RunRow]:
    """
    Return the rows of all runs, the newest first.
    """
    connection.goes_on()
    rows = [checked_run(connection, path, row) for row in connection.execute(ALL).fetchall()]
    indexed = connection.execute("SELECT count(*) FROM run").fetchone()[0]
    if indexed != len(rows):
        raise damaged(path, f"there are {len(rows)} runs, and {indexed} in their index")
    return rows


def checked_run(connection: Guarded, path: str, row: tuple[Any, ...]) -> RunRow:
    run, run_id, graph, target, created_at, inputs, wiring, proof, epoch, owner, *rest, proof_of_state = row
    facts, ended, updated_at, succeeded, size_bytes = rest
    try:
        if not (type(created_at) is type(updated_at) is float):
            raise ValueError("a time is no number")
        header = Header(run_id, graph, target, created_at, content(connection, inputs), content(connection, wiring))
        state = State(epoch, owner, Summary(facts, ended, updated_at, succeeded), size_bytes)
        if header_proof(run, header) != proof or state_proof(run, state) != proof_of_state:
            raise ValueError("its proof does not fit")
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise damaged(path, f"the row of run {run_id!r} is not what was written ({error})") from error
    return RunRow(run, header, state)


def content(connection: Guarded, kept: object) -> bytes:
    if isinstance(kept, bytes):
        return kept
    digest, data = connection.execute(BLOB, (kept,)).fetchone() or (None, None)
    if not isinstance(data, bytes) or sha256(data).digest() != digest:
        raise ValueError("its inputs or its wiring are not there")
    return data


def facts_of(connection: Guarded, path: str, row: RunRow, *, payloads: bool) -> Iterator[Fact]:
    """
    Go through the facts of a run in their order.

    Raises:
        StoreDamaged: one of them cannot be trusted, or is missing.
    """
    run, run_id = row.id, row.header.run_id
    reader = FactReader(path, run, run_id)
    query = WITH_PAYLOADS if payloads else WITHOUT_PAYLOADS
    connection.goes_on()
    for fact in reader.facts(connection.execute(query, (first_id(run), last_id(run))), payloads=payloads):
        if not reader.count % STRIDE:
            connection.goes_on()
        yield fact
    if reader.count < row.state.summary.facts:
        raise damaged(path, f"run {run_id!r} had {row.state.summary.facts} facts, and {reader.count} are there")
