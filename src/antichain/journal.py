"""
The journal of one run: what is written of it into a store, and what is known of it from before. No clock but the wall
clock, no task, and no node: whoever drives the run has those.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antichain.core.states import ERROR, REASON_NAMES
from antichain.errors import Fault, GraphError, NotStorable, StoreDamaged
from antichain.policies import UNSET, is_amount
from antichain.stores import Fact, FactKind, Header, Ownership, Store, codec
from antichain.stores.codec import BeyondLimits, Encoding, encode
from antichain.stores.codec.form import LABELLED, TAGGED
from antichain.stores.paths import is_within

if TYPE_CHECKING:
    from antichain.policies.retry_budget import Try

__all__ = [
    "DECISION",
    "GIVE_UP",
    "RUN_AGAIN",
    "Inputs",
    "Known",
    "RunJournal",
    "forget",
    "name_fault",
    "read_inputs",
    "read_known",
    "read_usage",
]

logger = logging.getLogger("antichain.journal")

# What somebody may say of an attempt of which nobody knows what became.
RUN_AGAIN: Final = "run again"
GIVE_UP: Final = "fail"
# The question about such an attempt; those of the node itself count from 1.
DECISION: Final = 0

# Plain numbers: looked at for every output.
_LABELLED: Final = int(LABELLED)
_TAGGED: Final = int(TAGGED)

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
    # Its attempts that have failed, and those of them with which the node had, so that it begins anew. Since then: the
    # seconds of those and of their backoffs, and the wall-clock instant before which the next one does not start.
    attempts: int = 0
    before: int = 0
    spent: float = 0.0
    until: float = 0.0
    # All that failed since the run began, by the number of the attempt: as facts, which are read once somebody asks. Of
    # an attempt that could not start, it is the number that it would have had.
    retried: list[tuple[int, Fact]] = field(default_factory=list)
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
                if self.attempts:
                    # If its output is not kept, it begins anew.
                    self._begin_anew(self._number(fact))
            case FactKind.SKIPPED:
                self.skipped = fact
            case FactKind.STARTED:
                self.unknown = fact.attempt
            case FactKind.RETRYING:
                self.unknown = 0
                self.attempts = self._number(fact)
                self.retried.append((self.attempts, fact))
                self.spent += fact.seconds + max(0.0, fact.until - fact.at)
                self.until = fact.until
            case FactKind.FAILED:
                self.unknown = 0
                if self._is_told(fact):
                    self._begin_anew(self.attempts)
                else:
                    number = self._number(fact)
                    self.retried.append((number, fact))
                    self._begin_anew(self.attempts if self._could_not_start(fact) else number)
            case FactKind.ASKED:
                self.asked[fact.attempt] = fact.payload or b""
                self.answered.pop(fact.attempt, None)
            case FactKind.ANSWERED:
                self.answered[fact.attempt] = fact.payload or b""
            case FactKind.FORGOTTEN | FactKind.RESUMED | FactKind.ENDED | FactKind.USED:
                pass

    def _begin_anew(self, attempts: int) -> None:
        """
        Let the next attempt be the first of a new try, which is numbered on.
        """
        self.attempts = self.before = attempts
        self.spent = self.until = 0.0

    def _number(self, fact: Fact) -> int:
        """
        Return the number of the attempt of which a fact tells: those of a nested graph that is tried again are counted
        from 1 in the journal, and in journals of earlier releases all that began anew.
        """
        return fact.attempt if fact.attempt > self.attempts else self.attempts + 1

    def _could_not_start(self, fact: Fact) -> bool:
        """
        Tell whether a failure is not that of an attempt: the one before it is told already.
        """
        return not fact.attempt or (fact.attempt <= self.attempts and fact.reason != REASON_NAMES[ERROR])

    def _is_told(self, fact: Fact) -> bool:
        """
        Tell whether a failure is that of the last attempt, which was to be followed by another one: its run drained.
        """
        last = self.retried[-1][1] if self.retried else None
        is_same = last is not None and last.kind == FactKind.RETRYING and last.attempt == fact.attempt
        return is_same and fact.reason == REASON_NAMES[ERROR]


def read_known(facts: Iterable[Fact]) -> tuple[dict[str, Known], str]:
    """
    Fold the facts of a run: what is known of each node, and the status with which it last ended (empty if it did not).
    """
    known: dict[str, Known] = {}
    status = ""
    # Many are forgotten at once, and each alone would take a look at every node.
    forgotten: set[str] = set()
    for fact in facts:
        if fact.kind == FactKind.FORGOTTEN:
            forgotten.add(fact.node)
            continue
        if forgotten:
            forget(known, forgotten)
            forgotten.clear()
        if fact.kind == FactKind.ENDED:
            status = fact.reason
        elif fact.kind == FactKind.RESUMED:
            status = ""
        elif fact.kind != FactKind.USED:
            known.setdefault(fact.node, Known()).take(fact)
    forget(known, forgotten)
    return known, status


def read_usage(facts: Iterable[Fact]) -> dict[str, float]:
    """
    Add up what the attempts of a run have used, by unit.

    Raises:
        StoreDamaged: a fact does not say so.
    """
    totals: dict[str, float] = {}
    for fact in facts:
        if fact.kind != FactKind.USED:
            continue
        used = codec.decode(fact.payload or b"")
        if not isinstance(used, dict) or not all(isinstance(unit, str) and is_amount(n) for unit, n in used.items()):
            raise StoreDamaged(f"what node {fact.node!r} has used cannot be read: the store is damaged.")
        for unit, amount in used.items():
            totals[unit] = totals.get(unit, 0) + amount
    return totals


def forget(known: dict[str, Known], paths: Collection[str]) -> None:
    """
    Drop what is known of nodes, and of what they have brought into the run.
    """
    for each in [each for each in known if is_within(each, paths)]:
        del known[each]


class Inputs(NamedTuple):
    """
    What a stored run was given.
    """

    # By name; what was redacted, as it is stored.
    values: dict[str, Any]
    # The names of those that were redacted: they have to be given again.
    withheld: tuple[str, ...] = ()
    # Whether the run began with redact=.
    is_redacted: bool = False


def read_inputs(header: Header, encoding: Encoding) -> Inputs:
    """
    Return the inputs that a stored run was given.

    Raises:
        StoreDamaged: they cannot be read.
    """
    match encoding.read(header.inputs) if header.inputs else {}:
        case dict(values) if _are_names(values):
            return Inputs(values)
        # Of a run with redact=; whoever does not know of it refuses this.
        case [dict(values), [*withheld]] if _are_names([*values, *withheld]):
            return Inputs(values, tuple(withheld), is_redacted=True)
        case _:
            raise StoreDamaged(f"the inputs of run {header.run_id!r} are no inputs: the store is damaged.")


def _are_names(names: Iterable[object]) -> bool:
    return all(isinstance(name, str) for name in names)


def name_fault(encoding: Encoding, what: str, name: str) -> Fault | None:
    """
    Say that a name, by which something is found in a store, holds what is to be redacted; None if it does not.
    """
    if not encoding.changes(name):
        return None
    text = f"{what} ({encoding.redacted(name)!r}) holds what redact= replaces, and names are stored as they are: "
    return Fault("secret-name", f"{text}use another one, and for the items of a map a key= without it.")


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
        usage: Mapping[str, float] | None = None,
        waits: bool = True,
        reruns: bool = False,
        recomputes: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        self.store = store
        self._ownership: Ownership | None = ownership
        self.run_id = ownership.run_id
        # By path. What a node has asked is taken away from here once it is used.
        self.known: Mapping[str, Known] = known or {}
        # What the run had used before, by unit.
        self.usage: Mapping[str, float] = usage or {}
        # What its attempts were for its retry budgets, until these have counted it.
        self.tries: Sequence[Try] = ()
        # Whether an output is durable before anything that needs it starts.
        self.waits = waits
        # Whether a grown node that has changed runs again; else it fails by name.
        self.reruns = reruns
        # Whether an output that cannot be stored is made again when the run goes on; else its node fails.
        self.recomputes = recomputes
        self._unstorable: set[str] = set()
        self.encoding = Encoding() if encoding is None else encoding
        # Where nothing has been chosen, nothing is looked up for each value.
        self._encode = encode if self.encoding.is_plain else self.encoding.value
        self._checked = _LABELLED if self.encoding.redact is None else _LABELLED | _TAGGED
        # What functions say that they return, by the function's identity: the plan keeps them alive.
        self._annotations: dict[int, Any] = {}
        self._append_now = getattr(store, "append_now", None)
        self._put_standing = getattr(store, "put_standing", None)

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

    @property
    def can_tell(self) -> bool:
        """
        Tell whether the store takes what the run waits for.
        """
        return self._put_standing is not None

    def tell(self, standing: Mapping[str, Any]) -> None:  # Any: plain data
        """
        Tell the store what the run waits for now, see `KeepsStandings`.
        """
        if self._ownership is not None and self._put_standing is not None:
            self._put_standing(self._ownership, self.encoding.own(standing, "what a run waits for"))

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
        parts = FactKind.SUCCEEDED, path, attempt, reason, fingerprint, time.time(), seconds, 0.0, payload
        # As Fact(*parts), for every node that ends well.
        return tuple.__new__(Fact, parts)

    def failure(self, path: str, attempt: int, reason: str, seconds: float, error: BaseException) -> Fact:
        """
        Make the fact that a node has failed.
        """
        payload = self.encoding.error(error)
        return Fact(FactKind.FAILED, path, attempt, reason, "", time.time(), seconds, payload=payload)

    def retrying(self, path: str, attempt: int, seconds: float, delay: float, error: BaseException) -> Fact:
        """
        Make the fact that an attempt has failed and another will follow.
        """
        now = time.time()
        payload = self.encoding.error(error)
        return Fact(FactKind.RETRYING, path, attempt, "error", "", now, seconds, until=now + delay, payload=payload)

    def use(self, path: str, attempt: int, used: Mapping[str, float]) -> Fact:
        """
        Make the fact that an attempt has used something.
        """
        return Fact(FactKind.USED, path, attempt, at=time.time(), payload=encode(dict(used)))

    def check_name(self, path: str, version: str) -> None:
        """
        Make sure that nothing of the name of a node is to be redacted: what has completed is found by it.

        Raises:
            GraphError: something is.
        """
        fault = name_fault(self.encoding, "the id of a node", path) or name_fault(self.encoding, "version=", version)
        if fault is not None:
            raise GraphError(fault)

    # -- values

    def encode(self, value: Any, function: Any) -> bytes:  # Any: a node's value, and whatever a node may wrap
        """
        Return the output of a node as it is stored.

        Raises:
            NotStorable: it cannot be stored, or could not be read back as what it is.
        """
        data = self._encode(value)
        if data[0] & self._checked:
            self.encoding.check(data, self._annotation_of(function))
        return data

    def decode(self, fact: Fact, function: Any) -> Any:
        """
        Return the output of a node as it was.

        Raises:
            StoreDamaged: it cannot be read as what the node says it returns.
        """
        try:
            return self.encoding.read(fact.payload or b"", self._annotation_of(function))
        except BeyondLimits as error:
            raise StoreDamaged(
                f"the stored output of node {fact.node!r} cannot be read: {error}. Give the store the limits that it "
                "was written with: SqliteStore(path, limits=ValueLimits(…))."
            ) from error
        except StoreDamaged as error:
            raise StoreDamaged(
                f"the stored output of node {fact.node!r} cannot be read as what the node returns now: {error}. "
                'Put its annotation back, or resume with on_change="rerun" and another version= of the node.'
            ) from error

    def _annotation_of(self, function: Any) -> Any:
        key = id(function)
        annotation = self._annotations.get(key, UNSET)
        if annotation is UNSET:
            annotation = self._annotations[key] = codec.annotation_of(function)
        return annotation
