"""
How large the parts of a journal may be, when they are written and when they are read; and what else they must be.
"""

from __future__ import annotations

import math

from antichain.errors import StoreError, shown
from antichain.stores.protocol import Fact, FactKind, Header

__all__ = ["MAX_FACTS", "MAX_PAYLOAD_BYTES", "MAX_RUN_ID", "MAX_TEXT", "check_fact", "check_header"]

# Of one fact, and of the inputs and the wiring of a run.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
# Characters of a node's path, a reason, a fingerprint, a name of a graph, a target.
MAX_TEXT = 16_384
MAX_RUN_ID = 200
# Of one run.
MAX_FACTS = 50_000_000
MAX_ATTEMPT = 2**31


def check_header(header: Header) -> None:
    """
    Refuse a header that no store could give back as it is.

    Raises:
        StoreError: one of its parts is too long, no text, or no number.
    """
    if not header.run_id:
        raise StoreError("a run needs an id that is not empty: pass run_id='…'")
    check_text("the run's id", header.run_id, MAX_RUN_ID)
    check_text("the graph's name", header.graph, MAX_TEXT)
    check_text("the target", header.target, MAX_TEXT)
    check_number("created_at", header.created_at)
    check_payload("the run's inputs", header.inputs)
    check_payload("the run's wiring", header.wiring)


def check_fact(fact: Fact) -> None:
    """
    Refuse a fact that no store could give back as it is.

    Raises:
        StoreError: one of its parts is too long, no text, or no number.
    """
    if not isinstance(fact.kind, FactKind):
        raise StoreError(f"{shown(fact.kind)} is no kind of fact")
    for name, text in (("node", fact.node), ("reason", fact.reason), ("fingerprint", fact.fingerprint)):
        if len(text) > MAX_TEXT or not text.isascii():
            check_text(f"the {name} of a fact", text, MAX_TEXT)
    # One sum: it is finite only if all three are, and a NaN would come back as nothing.
    if not math.isfinite(fact.at + fact.seconds + fact.until):
        raise StoreError(f"a time of node {fact.node!r} is no finite number: {fact.at}, {fact.seconds}, {fact.until}")
    if not 0 <= fact.attempt <= MAX_ATTEMPT:
        raise StoreError(f"the attempt of node {fact.node!r} is {fact.attempt}, not within 0 and {MAX_ATTEMPT}")
    if fact.payload is not None and len(fact.payload) > MAX_PAYLOAD_BYTES:
        check_payload(f"the payload of node {shown(fact.node)}", fact.payload)


def check_text(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise StoreError(f"{what} has {len(text)} characters; at most {most} can be stored: {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{what} holds half of a surrogate pair, which is no text: {shown(text)}") from None


def check_number(what: str, number: float) -> None:
    if not math.isfinite(number):
        raise StoreError(f"{what} is {number}, which is no point in time")


def check_payload(what: str, payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise StoreError(
            f"{what} takes {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} can be stored."
            " Keep it in a file and pass its name on, or use persist=False."
        )
