"""
One fact as a row, and back: what is read is what was written, or it is refused with the name of the row.

A row of a chain of steps takes about a hundred bytes: a text that an earlier fact of the run has is written as the
number of that fact.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b, sha256
from typing import Any

from antichain.stores.limits import MAX_ATTEMPT, MAX_FACTS, MAX_TEXT
from antichain.stores.protocol import Fact, FactKind
from antichain.stores.sqlite.words import damaged

__all__ = ["BLOB_BYTES", "FactReader", "FactWriter", "first_id", "last_id", "proof_of"]

# From this size on a payload is kept apart, each content once.
BLOB_BYTES = 4096
# Number, kind, attempt; at, seconds, until; lengths of run id, node, reason, fingerprint; how the payload is kept.
HEAD = struct.Struct("<3q3d5q")
NUMBER = struct.Struct("<q")
NO_PAYLOAD, IN_ROW, APART = 0, 1, 2

# sqlite3 gives and takes rows of anything: what they hold is checked below.
Row = tuple[Any, ...]


def first_id(run: int) -> int:
    """
    Return the id before the first fact of a run: nothing may be there.
    """
    return run << 32


def last_id(run: int) -> int:
    """
    Return the id of the last fact that a run may have.
    """
    return (run << 32) + 0xFFFFFFFF


def proof_of(*parts: bytes) -> int:
    """
    Return eight bytes of BLAKE2b over *parts*, as SQLite keeps numbers.
    """
    number: int = NUMBER.unpack(blake2b(b"".join(parts), digest_size=8).digest())[0]
    return number


def fact_proof(run_id: bytes, number: int, fact: Fact, kept: int, content: bytes) -> int:
    """
    Return the proof of a fact, with the content of its payload, or the digest of one that is kept apart.
    """
    kind, path, attempt, why, shape, at, seconds, until, _ = fact
    node, reason, fingerprint = path.encode(), why.encode(), shape.encode()
    head = HEAD.pack(
        number,
        kind,
        attempt,
        # SQLite gives 0.0 back for -0.0.
        at + 0.0,
        seconds + 0.0,
        until + 0.0,
        len(run_id),
        len(node),
        len(reason),
        len(fingerprint),
        kept,
    )
    # As `proof_of`, once for every fact.
    parts = (head, run_id, node, reason, fingerprint, content)
    proof: int = NUMBER.unpack(blake2b(b"".join(parts), digest_size=8).digest())[0]
    return proof


class FactWriter:
    """
    Number the facts of one run and make their rows.
    """

    __slots__ = ("_first", "_run_id", "_seen", "next_number")

    def __init__(self, run: int, run_id: str, next_number: int) -> None:
        self._first = run << 32
        self._run_id = run_id.encode()
        # The number that the next fact gets.
        self.next_number = next_number
        # Per column: texts that this owner has written, and the number of the fact that has them.
        self._seen: tuple[dict[str, int], dict[str, int], dict[str, int]] = {"": 0}, {"": 0}, {"": 0}

    def rows(self, facts: Iterable[Fact]) -> tuple[list[list[Any]], list[int]]:
        """
        Make the rows of facts that were checked, and tell which of them have large payloads: those are in them as they
        are, to be put apart.
        """
        first, run_id = self._first, self._run_id
        nodes, reasons, fingerprints = self._seen
        number = self.next_number
        rows: list[list[Any]] = []
        large: list[int] = []
        for fact in facts:
            kind, node, attempt, reason, fingerprint, at, seconds, until, payload = fact
            if payload is None:
                proof = fact_proof(run_id, number, fact, NO_PAYLOAD, b"")
            else:
                payload = bytes(payload)
                if len(payload) <= BLOB_BYTES:
                    proof = fact_proof(run_id, number, fact, IN_ROW, payload)
                else:
                    proof = fact_proof(run_id, number, fact, APART, sha256(payload).digest())
                    large.append(len(rows))
            # A text that an earlier fact has is the number of that fact.
            with_node = nodes.setdefault(node, number)
            with_reason = reasons.setdefault(reason, number)
            with_fingerprint = fingerprints.setdefault(fingerprint, number)
            rows.append(
                [
                    first + number,
                    int(kind),
                    attempt,
                    node if with_node == number else with_node,
                    reason if with_reason == number else with_reason,
                    fingerprint if with_fingerprint == number else with_fingerprint,
                    at,
                    seconds,
                    until,
                    payload,
                    proof,
                ]
            )
            number += 1
        self.next_number = number
        return rows, large


class FactReader:
    """
    Make facts of rows, in their order, and refuse the first that is not what was written.
    """

    def __init__(self, path: str, run: int, run_id: str) -> None:
        self._path = path
        self._first = run << 32
        self._run_id = run_id
        self._encoded_id = run_id.encode()
        self._seen: tuple[dict[int, str], dict[int, str], dict[int, str]] = {0: ""}, {0: ""}, {0: ""}
        # Facts that were read; the next has the number after it.
        self.count = 0

    def facts(self, rows: Iterable[Row], *, payloads: bool) -> Iterator[Fact]:
        """
        Check rows of `reading.FACTS` and make facts of them; a payload that is kept apart is read with *payloads* only.
        """
        for row in rows:
            try:
                yield self.fact(row, payloads)
            except (TypeError, ValueError, KeyError, IndexError, struct.error) as error:
                name = f"fact {self.count + 1} of run {self._run_id!r}"
                raise damaged(self._path, f"{name} is not what was written ({error})") from error

    def fact(self, row: Row, payloads: bool) -> Fact:
        """
        Check one row, and make a fact of it.
        """
        identity, kind, attempt, node, reason, fingerprint, at, seconds, until, payload, proof, digest, data = row
        number = self.count + 1
        if identity != self._first + number:
            raise ValueError(f"fact {identity - self._first} is in its place")
        if number > MAX_FACTS:
            raise ValueError(f"a run has at most {MAX_FACTS} facts")
        if not (type(at) is type(seconds) is type(until) is float and type(attempt) is int):
            raise ValueError("a number is no number")
        if not 0 <= attempt <= MAX_ATTEMPT:
            raise ValueError(f"attempt {attempt}")
        kept, content, payload = self._payload(payload, digest, data, payloads)
        nodes, reasons, fingerprints = self._seen
        fact = Fact(
            FactKind(kind),
            text(nodes, node, number),
            attempt,
            text(reasons, reason, number),
            text(fingerprints, fingerprint, number),
            at,
            seconds,
            until,
            payload if payloads else None,
        )
        if fact_proof(self._encoded_id, number, fact, kept, content) != proof:
            raise ValueError("its proof does not fit")
        self.count = number
        return fact

    def _payload(self, payload: object, digest: object, data: object, wanted: bool) -> tuple[int, bytes, bytes | None]:
        if payload is None:
            return NO_PAYLOAD, b"", None
        if isinstance(payload, bytes):
            return IN_ROW, payload, payload
        if not isinstance(payload, int) or not isinstance(digest, bytes):
            raise ValueError("its payload is not there")
        if not wanted:
            return APART, digest, None
        if not isinstance(data, bytes) or sha256(data).digest() != digest:
            raise ValueError("its payload is not what its sha256 says")
        return APART, digest, data


def text(seen: dict[int, str], value: object, number: int) -> str:
    if isinstance(value, int):
        # A KeyError is caught with the rest: no such fact, or a later one.
        return seen[value]
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("a text is no text, or too long")
    seen[number] = value
    return value
