"""
Journals made by hand, for what looks at stored runs.
"""

from collections.abc import Iterable
from typing import Any

from antichain.stores.codec import encode, encode_error
from antichain.stores.protocol import Fact, FactKind, Header, Journal, Store

# A Sunday, at noon.
NOON = 1_700_000_000.0


def succeeded(node: str, value: Any = None, **fields: Any) -> Fact:
    given = {"attempt": 1, "reason": "output", "at": NOON, "seconds": 0.5, **fields}
    return Fact(FactKind.SUCCEEDED, node, payload=encode(value), **given)


def failed(node: str, error: BaseException, **fields: Any) -> Fact:
    given = {"attempt": 1, "reason": "error", "at": NOON, "seconds": 0.25, **fields}
    return Fact(FactKind.FAILED, node, payload=encode_error(error), **given)


def retrying(node: str, error: BaseException, until: float, **fields: Any) -> Fact:
    given = {"attempt": 1, "reason": "error", "at": NOON, "seconds": 0.25, **fields}
    return Fact(FactKind.RETRYING, node, until=until, payload=encode_error(error), **given)


def asked(node: str, text: str, kind: str = "bool", choices: Iterable[str] = (), number: int = 1) -> Fact:
    question = {"text": text, "kind": kind, "choices": list(choices)}
    return Fact(FactKind.ASKED, node, number, at=NOON, payload=encode(question))


def ended(status: str, at: float = NOON + 1) -> Fact:
    return Fact(FactKind.ENDED, reason=status, at=at)


def header(run_id: str = "nightly-7", **fields: Any) -> Header:
    return Header(run_id, **{"graph": "report", "created_at": NOON - 10, **fields})


def journal(*facts: Fact, **fields: Any) -> Journal:
    return Journal(header(**fields), facts, epoch=1)


def put(store: Store, *facts: Fact, run_id: str = "nightly-7", holds: bool = False, **fields: Any) -> Any:
    """Write a run into a store."""
    outcome: list[BaseException | None] = []
    mine = store.open(run_id, header(run_id, **fields))
    if facts:
        store.append(mine, facts, outcome.append)
    if not holds:
        store.release(mine)
    return mine
