"""
How large the parts of a journal may be, when they are written and when they are read; and what else they must be.
"""

from __future__ import annotations

from math import isfinite

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
    kind, node, attempt, reason, fingerprint, at, seconds, until, payload = fact
    if kind.__class__ is not FactKind:
        raise StoreError(f"{shown(kind)} is no kind of fact")
    # Together first: one by one only where one of them may be too long, or no text.
    texts = node + reason + fingerprint
    if len(texts) > MAX_TEXT or not texts.isascii():
        for name, text in (("node", node), ("reason", reason), ("fingerprint", fingerprint)):
            check_text(f"the {name} of a fact", text, MAX_TEXT)
    # One sum: it is finite only if all three are, and a NaN would come back as nothing.
    if not isfinite(at + seconds + until):
        raise StoreError(f"a time of node {node!r} is no finite number: {at}, {seconds}, {until}")
    if not 0 <= attempt <= MAX_ATTEMPT:
        raise StoreError(f"the attempt of node {node!r} is {attempt}, not within 0 and {MAX_ATTEMPT}")
    if payload is not None and len(payload) > MAX_PAYLOAD_BYTES:
        check_payload(f"the payload of node {shown(node)}", payload)


def check_text(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise StoreError(f"{what} has {len(text)} characters; at most {most} can be stored: {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{what} holds half of a surrogate pair, which is no text: {shown(text)}") from None


def check_number(what: str, number: float) -> None:
    if not isfinite(number):
        raise StoreError(f"{what} is {number}, which is no point in time")


def check_payload(what: str, payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise StoreError(
            f"{what} takes {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} can be stored."
            " Keep it in a file and pass its name on, or use persist=False."
        )
