"""
The journal of one run: what is written of it into a store, and what is known of it from before. No clock but the wall
clock, no task, and no node: whoever drives the run has those.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from antichain.errors import NotStorable, StoreDamaged
from antichain.policies import UNSET
from antichain.stores import Fact, FactKind, Header, Ownership, Store
from antichain.stores.codec import annotation_of, decode, encode, encode_error
from antichain.stores.codec.form import LABELLED

__all__ = [
    "DECISION",
    "GIVE_UP",
    "RUN_AGAIN",
    "Known",
    "RunJournal",
    "check_readable",
    "forget",
    "read_inputs",
    "read_known",
]

logger = logging.getLogger("antichain.journal")

# What somebody may say of an attempt of which nobody knows what became.
RUN_AGAIN: Final = "run again"
GIVE_UP: Final = "fail"
# The question about such an attempt; those of the node itself count from 1.
DECISION: Final = 0

# A plain number: looked at for every output.
_LABELLED: Final = int(LABELLED)

Done = Callable[[BaseException | None], object]


@dataclass(slots=True)
class Known:
    """
    What the facts of a run say of one node.
    """

    # Its output; None if it has none.
    succeeded: Fact | None = None
    # That its condition was false; None if it was not.
    skipped: Fact | None = None
    # Its attempts that have failed since it last began anew, the seconds of those and of their backoffs, and the
    # wall-clock instant before which the next one does not start.
    attempts: int = 0
    spent: float = 0.0
    until: float = 0.0
    # The attempt that had started and of which nobody knows what became; 0 if there is none.
    unknown: int = 0
    # Questions and answers, encoded, by number.
    asked: dict[int, bytes] = field(default_factory=dict)
    answered: dict[int, bytes] = field(default_factory=dict)

    def take(self, fact: Fact) -> None:
        """
        Take in the next fact of this node.
        """
        match fact.kind:
            case FactKind.SUCCEEDED:
                self.succeeded, self.unknown = fact, 0
            case FactKind.SKIPPED:
                self.skipped = fact
            case FactKind.STARTED:
                self.unknown = fact.attempt
            case FactKind.RETRYING:
                self.unknown = 0
                self.attempts = fact.attempt
                self.spent += fact.seconds + max(0.0, fact.until - fact.at)
                self.until = fact.until
            case FactKind.FAILED:
                # The next run of it begins anew.
                self.unknown, self.attempts, self.spent, self.until = 0, 0, 0.0, 0.0
            case FactKind.ASKED:
                self.asked[fact.attempt] = fact.payload or b""
                self.answered.pop(fact.attempt, None)
            case FactKind.ANSWERED:
                self.answered[fact.attempt] = fact.payload or b""
            case FactKind.FORGOTTEN | FactKind.RESUMED | FactKind.ENDED:
                pass


def read_known(facts: Iterable[Fact]) -> tuple[dict[str, Known], str]:
    """
    Fold the facts of a run: what is known of each node, and the status with which it last ended (empty if it did not).
    """
    known: dict[str, Known] = {}
    status = ""
    for fact in facts:
        if fact.kind == FactKind.FORGOTTEN:
            forget(known, fact.node)
        elif fact.kind == FactKind.ENDED:
            status = fact.reason
        elif fact.kind == FactKind.RESUMED:
            status = ""
        else:
            known.setdefault(fact.node, Known()).take(fact)
    return known, status


def forget(known: dict[str, Known], path: str) -> None:
    """
    Drop what is known of a node, and of what it has brought into the run.
    """
    inside = (f"{path}/", f"{path}[")
    for each in [each for each in known if each == path or each.startswith(inside)]:
        del known[each]


def read_inputs(header: Header) -> dict[str, Any]:
    """
    Return the inputs that a stored run was given.

    Raises:
        StoreDamaged: they cannot be read.
    """
    inputs = decode(header.inputs) if header.inputs else {}
    if not isinstance(inputs, dict) or not all(isinstance(name, str) for name in inputs):
        raise StoreDamaged(f"the inputs of run {header.run_id!r} are no inputs: the store is damaged.")
    return inputs


def check_readable(data: bytes, annotation: Any) -> None:  # Any: an annotation
    """
    Make sure that what was encoded can be read back as what it was, by what its node says that it returns.

    Raises:
        NotStorable: it cannot.
    """
    if not data[0] & _LABELLED:
        return
    try:
        again = encode(decode(data, annotation))
    except StoreDamaged as error:
        problem = f"it could not be read back as {annotation!r}, which the node says it returns ({error})"
        raise NotStorable("output", problem) from None
    if again != data:
        raise NotStorable(
            "output",
            "it holds objects of classes that the node does not name, so it could not be read back as what it is. "
            "Say what the node returns (`-> Answer`, `-> list[Answer]`), return plain data, or use persist=False",
        )


class RunJournal:
    """
    Write what happens in one run into a store, and tell what is known of its nodes from before.
    """

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        *,
        known: Mapping[str, Known] | None = None,
        waits: bool = True,
        reruns: bool = False,
        recomputes: bool = False,
    ) -> None:
        self.store = store
        self._ownership: Ownership | None = ownership
        # By path. What a node has asked is taken away from here once it is used.
        self.known: Mapping[str, Known] = known or {}
        # Whether an output is durable before anything that needs it starts.
        self.waits = waits
        # Whether a grown node that has changed runs again; else it fails by name.
        self.reruns = reruns
        # Whether an output that cannot be stored is made again when the run goes on; else its node fails.
        self.recomputes = recomputes
        self._unstorable: set[str] = set()
        # What functions say that they return, by the function's identity: the plan keeps them alive.
        self._annotations: dict[int, Any] = {}
        self._append_now = getattr(store, "append_now", None)

    # -- writing

    def append(self, facts: Sequence[Fact], done: Done) -> None:
        """
        Add facts; *done* is told in any thread, see `Store.append`.
        """
        ownership = self._ownership
        assert ownership is not None
        try:
            self.store.append(ownership, facts, done)
        except Exception as error:  # noqa: BLE001  # foreign code; told like any other failure of the store
            done(error)

    def append_here(self, facts: Sequence[Fact]) -> bool:
        """
        Add facts and wait for them in this thread, if the store can do that at once; False if it cannot.

        Raises:
            StoreError: they are not durable.
        """
        assert self._ownership is not None
        return self._append_now is not None and bool(self._append_now(self._ownership, facts))

    def release(self) -> None:
        """
        Give the run up; does nothing the second time. May wait for what was appended.
        """
        ownership, self._ownership = self._ownership, None
        if ownership is not None:
            self.store.release(ownership)

    def note_unstorable(self, path: str, error: NotStorable) -> None:
        """
        Say, once for each node, that an output is not kept.
        """
        if path not in self._unstorable:
            self._unstorable.add(path)
            logger.warning("node %r: %s. It runs again if this run is resumed.", path, error)

    # -- facts

    def success(
        self, path: str, attempt: int, reason: str, fingerprint: str, seconds: float, payload: bytes | None
    ) -> Fact:
        """
        Make the fact that a node has its output.
        """
        return Fact(FactKind.SUCCEEDED, path, attempt, reason, fingerprint, time.time(), seconds, 0.0, payload)

    def failure(self, path: str, attempt: int, reason: str, seconds: float, error: BaseException) -> Fact:
        """
        Make the fact that a node has failed.
        """
        payload = encode_error(error)
        return Fact(FactKind.FAILED, path, attempt, reason, "", time.time(), seconds, payload=payload)

    def retrying(self, path: str, attempt: int, seconds: float, delay: float, error: BaseException) -> Fact:
        """
        Make the fact that an attempt has failed and another will follow.
        """
        now = time.time()
        return Fact(
            FactKind.RETRYING, path, attempt, "error", "", now, seconds, until=now + delay, payload=encode_error(error)
        )

    # -- values

    def encode(self, value: Any, function: Any) -> bytes:  # Any: a node's value, and whatever a node may wrap
        """
        Return the output of a node as it is stored.

        Raises:
            NotStorable: it cannot be stored, or could not be read back as what it is.
        """
        data = encode(value, name="output")
        if data[0] & _LABELLED:
            check_readable(data, self._annotation_of(function))
        return data

    def decode(self, fact: Fact, function: Any) -> Any:
        """
        Return the output of a node as it was.

        Raises:
            StoreDamaged: it cannot be read as what the node says it returns.
        """
        try:
            return decode(fact.payload or b"", self._annotation_of(function))
        except StoreDamaged as error:
            raise StoreDamaged(
                f"the stored output of node {fact.node!r} cannot be read as what the node returns now: {error}. "
                'Put its annotation back, or resume with on_change="rerun" and another version= of the node.'
            ) from error

    def _annotation_of(self, function: Any) -> Any:
        key = id(function)
        annotation = self._annotations.get(key, UNSET)
        if annotation is UNSET:
            annotation = self._annotations[key] = annotation_of(function)
        return annotation
