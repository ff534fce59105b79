"""
Keep what happens in a run, and give its nodes what they had before: between a driver and the journal of its run. No
task and no clock: the driver has those.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antichain.asking import Question, describe_question, plain_answer, read_answer
from antichain.binding import MISSING, Binding
from antichain.core.scheduler import Past
from antichain.core.states import CHECKPOINT, CONDITION, FALLBACK, OUTPUT, OUTPUTS, REASON_NAMES, RUNNING
from antichain.errors import Fault, GraphError, NotStorable, RunnerError, StoreError
from antichain.growth import Kept
from antichain.journal import DECISION, GIVE_UP, RUN_AGAIN, Known, RunJournal
from antichain.plan import Plan
from antichain.policies import Settled
from antichain.record import failed_attempt
from antichain.resuming.fingerprints import fingerprints, inside_fingerprint, instance_fingerprint, read_fingerprint
from antichain.shape import Flag, order, with_start_edges
from antichain.stores import Fact, FactKind, codec
from antichain.stores.codec import encode
from antichain.tasks import OUT
from antichain.telling import Telling

if TYPE_CHECKING:
    from antichain.driver import Driver

__all__ = ["Keeping", "kept_of"]

_CONTAINER: Final = int(Flag.CONTAINER)

# Hears once whether something is durable: None, or what went wrong.
Listener = Callable[[BaseException | None], object]


class Completed(NamedTuple):
    """
    An attempt that has completed, and ends once that is durable.
    """

    node: int
    attempt: int
    value: Any  # Any: the user's value
    # None for its own output.
    reason: int | None


class Keeping:
    """
    Write each outcome of one run down before anything follows from it.
    """

    _driver: Driver
    # Tells the store what the run waits for; None before the run has begun.
    telling: Telling | None = None

    def __init__(self, plan: Plan, journal: RunJournal, *, is_finished: bool = False) -> None:
        self.plan = plan
        self.journal = journal
        self.is_finished = is_finished
        # What has to be known of each planned node, and whether some node must not run twice unnoticed.
        self._planned, self.has_guards = kept_nodes(plan)
        # What is known of the nodes that came while the run goes on; those of instances are used again.
        self._grown: dict[int, Kept] = {}
        # Facts of this turn of the loop, and who has to hear of each, or whose output it is: they go to the store
        # together.
        self._unsent: list[Fact] = []
        self._hearing: list[Listener | Completed] = []
        # What the store has decided and the run has not heard of: who has to hear, and what went wrong.
        self._decided: deque[tuple[list[Listener | Completed], BaseException | None]] = deque()
        self._is_called = False
        # How many questions the current attempt of a node has asked.
        self._questions: dict[int, tuple[int, int]] = {}
        # Nodes whose next attempt is not yet written down to follow a failed one, and what waits for that.
        self._unwritten: dict[int, list[Listener]] = {}
        # Those that nobody has answered.
        self.open_questions: list[Question] = []
        # Outputs from before, by planned node, and what else is known of those nodes.
        self._values: dict[int, Any] = {}
        self._past: dict[int, Past] = {}
        self._recall()

    # ------------------------------------------------------------------ from before

    def _recall(self) -> None:
        """
        Read what is known of the planned nodes. What was not kept is made again where something needs it.

        Raises:
            StoreDamaged: an output cannot be read.
        """
        known, plan = self.journal.known, self.plan
        if not known:
            return
        missing = set()
        for node, name in enumerate(plan.ids):
            before = known.get(name)
            if before is None:
                continue
            if before.succeeded is not None and before.succeeded.payload is None:
                missing.add(node)
            elif before.succeeded is not None:
                self._past[node] = Past(CHECKPOINT)
                self._values[node] = self.journal.decode(before.succeeded, self.kept(node).function)
            elif before.skipped is not None:
                self._past[node] = Past(CONDITION)
        # What needs a node comes after it.
        for node in [node for node in reversed(order(*with_start_edges(plan.shape))) if node in missing]:
            after = plan.shape.downstream[node]
            # An output that nobody reads is for the result.
            if self.is_finished or (after and all(each in self._past for each in after) and not self._is_target(node)):
                self._past[node] = Past(CHECKPOINT)
                self._values[node] = MISSING

    def _is_target(self, node: int) -> bool:
        return self.plan.targets is not None and self.plan.ids[node] in self.plan.targets

    def begin(self, driver: Driver, given: Mapping[str, Any]) -> dict[int, Past]:
        """
        Take part in a run that begins: put the outputs from before in their places, and return what is known of its
        nodes. The outputs that were *given* hold, and are kept.
        """
        self._driver = driver
        self.telling = Telling(driver, self.journal)
        self.telling.start()
        past: dict[int, Past] = {}
        if not self.journal.known:
            return past
        now, wall = driver.clock(), time.time()
        for node, name in enumerate(self.plan.ids):
            if name in given:
                continue
            self._tell_retried(driver, node, name, now - wall)
            if node in self._past:
                past[node] = self._past[node]
                driver.values[node] = self._values.get(node, MISSING)
            elif (before := self.journal.known.get(name)) is not None and before.attempts:
                past[node] = _attempts(before, now - wall)
        self._values.clear()
        return past

    def _tell_retried(self, driver: Driver, node: int, path: str, clock_of_wall: float) -> None:
        """
        Tell the driver which attempts of a node had failed before the run went on.
        """
        before = self.journal.known.get(path)
        if before is None or not before.retried:
            return
        driver.retried[node] = [
            failed_attempt(
                codec.decode_error(fact.payload or b""),
                number,
                fact.at + clock_of_wall,
                max(0.0, fact.until - fact.at) if fact.kind == FactKind.RETRYING else None,
            )
            for number, fact in before.retried
        ]

    def past_of(self, node: int, path: str, kept: Kept) -> tuple[Past | None, Any]:
        """
        Return what is known of a node that enters, and its output if it has one.

        Raises:
            GraphError: it has completed, and is another one now. StoreDamaged: its output cannot be read.
        """
        if self.journal.encoding.redact is not None:
            self.journal.check_name(path, read_fingerprint(kept.fingerprint).version)
        self._grown[node] = kept
        before = self.journal.known.get(path)
        if before is None:
            return None, MISSING
        self._tell_retried(self._driver, node, path, self._driver.clock() - time.time())
        fact = before.succeeded
        if fact is not None and fact.payload is None and self.is_finished:
            return Past(CHECKPOINT), MISSING
        if fact is not None and fact.payload is None:
            return self._attempts(before), MISSING
        if fact is not None and fact.fingerprint == kept.fingerprint:
            return Past(CHECKPOINT), self.journal.decode(fact, kept.function)
        if fact is not None and not self.journal.reruns:
            text = (
                f"node {path!r} has completed in this run, but it is another one now: its item, its inputs or its "
                'wiring have changed. Put that back, or resume with on_change="rerun" to run it again.'
            )
            raise GraphError(Fault("changed-node", text, path, (path,)), self.plan.name)
        if before.skipped is not None:
            return Past(CONDITION), MISSING
        return self._attempts(before) if fact is None else None, MISSING

    def _attempts(self, before: Known) -> Past | None:
        return _attempts(before, self._driver.clock() - time.time()) if before.attempts else None

    # ------------------------------------------------------------------ nodes

    def kept(self, node: int) -> Kept:
        """
        Return what has to be known of a node to keep its output.
        """
        return self._planned[node] if node < len(self._planned) else self._grown[node]

    def fingerprint(self, node: int) -> str:
        """
        Return the fingerprint of a node.
        """
        return self.kept(node).fingerprint

    def inside(self, plan: Plan, node: int) -> Sequence[str]:
        """
        Return the fingerprints of the nodes of a graph that *node* brings into the run.
        """
        return fingerprints(plan, within=self.fingerprint(node))

    def instance(self, stage: int, item: Any, policies: Settled, function: Any) -> Kept:
        """
        Return what has to be known of the instance of a mapped stage for *item*.
        """
        fingerprint = instance_fingerprint(self.fingerprint(stage), self._as_kept(item))
        return Kept(fingerprint, policies.persist, policies.repeat, function)

    def asked_for(self, node: int, inputs: Mapping[str, Any], plan: Plan) -> Kept:
        """
        Return what has to be known of a graph or function that the body of *node* runs.
        """
        given = {name: self._as_kept(value) for name, value in inputs.items()}
        return Kept(inside_fingerprint(self.fingerprint(node), given, plan))

    def step(self, stream: int, name: str, needs: Sequence[str], inputs: Any, policies: Settled, function: Any) -> Kept:
        """
        Return what has to be known of a step that has arrived in a stream.
        """
        described = {"id": name, "needs": list(needs), "inputs": self._as_kept(inputs)}
        fingerprint = inside_fingerprint(self.fingerprint(stream), described)
        return Kept(fingerprint, policies.persist, policies.repeat, function)

    def _as_kept(self, value: Any) -> Any:
        """
        Return a value as it is when the run goes on: what was redacted then must be what it is now.
        """
        encoding = self.journal.encoding
        return value if encoding.redact is None else encoding.as_kept(value)

    # ------------------------------------------------------------------ while it goes on

    def _append(self, fact: Fact, then: Listener | Completed) -> None:
        """
        Write a fact down, with all others of this turn of the loop; *then* hears of it in a later one.
        """
        if not self._unsent:
            self._driver.call_next(self.send)
        self._unsent.append(fact)
        self._hearing.append(then)

    def send(self) -> None:
        """
        Hand the facts that wait to the store.
        """
        facts, hearing = self._unsent, self._hearing
        if not facts:
            return
        self._unsent, self._hearing = [], []
        completed = sum([isinstance(then, Completed) for then in hearing])
        if completed and self._driver.is_idle_but_for(completed) and self._send_here(facts, hearing):
            return

        def tell(error: BaseException | None) -> None:
            try:
                self._decide(hearing, error)
            finally:
                OUT.discard(tell)

        OUT.add(tell)
        self.journal.append(facts, tell)

    def _send_here(self, facts: Sequence[Fact], hearing: list[Listener | Completed]) -> bool:
        """
        Wait for the store in the loop's thread: nothing else could go on meanwhile, and two changes of threads are
        saved. False if it cannot do that at once.
        """
        failure = None
        try:
            if not self.journal.append_here(facts):
                return False
        except StoreError as error:
            failure = error
        self._decided.append((hearing, failure))
        self._driver.on_durable()
        return True

    def _note(self, fact: Fact) -> None:
        """
        Write down what nothing has to wait for: what follows from it is written later, and so never without it.
        """
        self._append(fact, self._on_noted)

    def _on_noted(self, error: BaseException | None) -> None:
        if error is not None:
            self._driver.store_failed(error)

    def _decide(self, hearing: list[Listener | Completed], error: BaseException | None) -> None:
        """
        Take the store's word, in any thread.
        """
        self._decided.append((hearing, error))
        if not self._is_called:
            self._is_called = True
            self._driver.call_soon(self._driver.on_durable)

    def deliver(self) -> None:
        """
        Do what the store's words mean.
        """
        self._is_called = False
        while self._decided:
            hearing, error = self._decided.popleft()
            now, end_well = self._driver.clock(), self._driver.end_well
            for then in hearing:
                if isinstance(then, Completed):
                    if error is None:
                        end_well(then[0], then[1], then[2], now, then[3])
                    else:
                        self._on_kept(then, error)
                else:
                    then(error)

    def has_to_keep(self, node: int, reason: int | None) -> bool:
        """
        Tell whether an output is written down: what a container gives is made of what its children do.
        """
        return not self._driver.core.flags[node] & _CONTAINER or reason == FALLBACK

    def keep(self, node: int, attempt: int, value: Any, now: float, reason: int | None) -> None:
        """
        Write the output of an attempt down; the node ends once that is durable.
        """
        driver, journal = self._driver, self.journal
        core = driver.core
        if node < len(self._planned):
            kept, path = self._planned[node], self.plan.ids[node]
        else:
            kept, path = self._grown[node], driver.name_of(node)
        if core.state[node] != RUNNING or core.attempts[node] != attempt:
            driver.end_well(node, attempt, value, now, reason)
            return
        is_first = attempt == 1 and reason is None
        seconds = now - (core.started_at[node] if is_first else core.attempt_started_at(node))
        payload = None
        if kept.persist:
            try:
                payload = journal.encode(value, kept.function)
            except NotStorable as error:
                if not journal.recomputes:
                    driver.attempt_failed(node, attempt, error, is_fallback=reason is not None)
                    return
                journal.note_unstorable(path, error)
        code = OUTPUT if reason is None else reason
        reason_name = "output" if reason is None else REASON_NAMES[reason]
        parts = FactKind.SUCCEEDED, path, attempt, reason_name, kept.fingerprint, time.time(), seconds, 0.0, payload
        # As Fact(*parts), for every node that ends well.
        fact = tuple.__new__(Fact, parts)
        if not core.settle(node, attempt, now, code):
            driver.end_well(node, attempt, value, now, reason)
        elif not journal.waits:
            self._note(fact)
            driver.end_well(node, attempt, value, now, reason)
        elif self._unsent:
            self._unsent.append(fact)
            self._hearing.append(tuple.__new__(Completed, (node, attempt, value, reason)))
        else:
            completed = Completed(node, attempt, value, reason)
            if not driver.is_idle_but_for(1) or not self._keep_here(fact, completed):
                self._append(fact, completed)

    def _keep_here(self, fact: Fact, completed: Completed) -> bool:
        """
        As `_send_here`, for the only attempt that there is: its end may be said at once.
        """
        failure = None
        try:
            if not self.journal.append_here([fact]):
                return False
        except StoreError as error:
            failure = error
        self._on_kept(completed, failure)
        return True

    def _on_kept(self, completed: Completed, error: BaseException | None) -> None:
        driver = self._driver
        node, attempt, value, reason = completed
        if error is None:
            driver.end_well(node, attempt, value, driver.clock(), reason)
            return
        driver.attempt_failed(node, attempt, error, is_fallback=True)
        driver.store_failed(error)

    def note_retry(self, node: int, attempt: int, delay: float, error: BaseException) -> None:
        """
        Write down that an attempt has failed and another will follow.
        """
        driver = self._driver
        if driver.core.flags[node] & _CONTAINER:
            # Its attempts begin anew: what they have brought is known by itself.
            return
        seconds = driver.clock() - driver.core.attempt_started_at(node)
        self._unwritten[node] = []
        self._append(
            self.journal.retrying(driver.name_of(node), attempt, seconds, delay, error),
            lambda error: self._on_retry_written(node, error),
        )

    def _on_retry_written(self, node: int, error: BaseException | None) -> None:
        self._on_noted(error)
        for then in self._unwritten.pop(node, ()):
            then(error)

    def is_unwritten(self, node: int) -> bool:
        """
        Tell whether the failure of the last attempt is not durable yet: the next one has to wait.
        """
        return node in self._unwritten

    def when_written(self, node: int, then: Listener) -> None:
        """
        Call *then* once the failure of the last attempt is durable.
        """
        self._unwritten[node].append(then)

    def note_use(self, node: int, attempt: int, used: Mapping[str, float]) -> None:
        """
        Write down what an attempt has used. It is there before its output is, and so counts if that does.
        """
        driver = self._driver
        # An instance that said it late is forgotten, and its name with it: what it used counts all the same.
        path = driver.name_of(node) if node < driver.core.planned or node in driver.grown else ""
        self._note(self.journal.use(path, attempt, used))

    def note_end(self, node: int, attempt: int, error: BaseException) -> None:
        """
        Write down that a node has failed.
        """
        driver = self._driver
        if isinstance(error, StoreError) or driver.core.flags[node] & _CONTAINER:
            return
        started_at = driver.core.attempt_started_at(node)
        # None of its attempts may have started since the run goes on, or the last one ended before it waited too long.
        has_started = started_at == started_at and not driver.core.waits_too_long(node)
        seconds = driver.clock() - started_at if has_started else 0.0
        reason = REASON_NAMES[driver.core.reason[node]]
        self._note(self.journal.failure(driver.name_of(node), attempt, reason, seconds, error))

    def skip(self, node: int) -> None:
        """
        Write down that the condition of a node was false; it is skipped once that is durable.
        """
        path, why = self._driver.name_of(node), REASON_NAMES[CONDITION]
        fact = Fact(FactKind.SKIPPED, path, reason=why, fingerprint=self.fingerprint(node), at=time.time())
        if self.journal.waits:
            self._append(fact, lambda error: self._on_skip_kept(node, error))
        else:
            self._note(fact)
            self._on_skip_kept(node, None)

    def _on_skip_kept(self, node: int, error: BaseException | None) -> None:
        driver = self._driver
        if error is None:
            driver.core.judged(node, False, driver.clock())
        else:
            driver.store_failed(error)

    def given(self, name: str, payload: bytes) -> Fact:
        """
        Make the fact of an output that was given to a run.
        """
        fingerprint = self.fingerprint(self.plan.index[name])
        return self.journal.success(name, 0, REASON_NAMES[OUTPUTS], fingerprint, 0.0, payload)

    # ------------------------------------------------------------------ what must not run twice unnoticed

    def is_guarded(self, node: int) -> bool:
        """
        Tell whether it must be known that an attempt of *node* has started.
        """
        if node < len(self._planned):
            # Also before the run begins.
            is_never = self.has_guards and self._planned[node].repeat == "never"
            return is_never and not self.plan.shape.flags[node] & _CONTAINER
        return self._grown[node].repeat == "never" and not self._driver.core.flags[node] & _CONTAINER

    def verdict(self, node: int) -> str | None:
        """
        Return what somebody has decided about an attempt of which nobody knows what became; empty if there is none,
        None if nobody has.
        """
        before = self.journal.known.get(self._driver.name_of(node))
        if before is None or not before.unknown:
            return ""
        answer = before.answered.get(DECISION)
        return None if answer is None else str(codec.decode(answer))

    def announce(self, node: int, attempt: int, then: Listener) -> None:
        """
        Write down that an attempt is about to start; *then* is called once that is durable.
        """
        path = self._driver.name_of(node)
        before = self.journal.known.get(path)
        if before is not None:
            before.unknown = 0
        self._append(Fact(FactKind.STARTED, path, attempt, fingerprint=self.fingerprint(node), at=time.time()), then)

    def doubt(self, node: int) -> Question:
        """
        Ask what is to become of a node of which nobody knows whether it has done its work.
        """
        path = self._driver.name_of(node)
        attempt = self.journal.known[path].unknown
        text = (
            f"Attempt {attempt} of node {path!r} had started when its run was left, and nobody knows what became of "
            f"it. It must not run twice unnoticed (repeat='never'): {RUN_AGAIN!r}, or {GIVE_UP!r}?"
        )
        return self.ask(Question(self._driver.run_id, path, text, (RUN_AGAIN, GIVE_UP), DECISION))

    def given_up(self, node: int) -> RunnerError:
        """
        Make the error of a node about which somebody has decided that it is not to run again.
        """
        path = self._driver.name_of(node)
        return RunnerError(f"node {path!r} is not run again: its outcome is unknown, and {GIVE_UP!r} was the answer.")

    # ------------------------------------------------------------------ people

    def next_number(self, node: int, attempt: int) -> int:
        """
        Number the questions of an attempt, from 1: another attempt asks the same ones.
        """
        of, count = self._questions.get(node, (attempt, 0))
        count = count + 1 if of == attempt else 1
        self._questions[node] = (attempt, count)
        return count

    def answer_to(self, question: Question) -> tuple[bool, Any]:
        """
        Tell whether somebody has answered *question* before, and what. What was asked then has to be the same.
        """
        before = self.journal.known.get(question.node)
        if before is None or question.number not in before.answered:
            return False, None
        asked = before.asked.get(question.number)
        if asked is not None and codec.decode(asked) != codec.decode(self._asking(question)):
            return False, None
        return True, read_answer(question.type, codec.decode(before.answered[question.number]))

    def ask(self, question: Question) -> Question:
        """
        Write a question down that nobody answers now.
        """
        before = self.journal.known.get(question.node)
        payload = self._asking(question)
        if before is None or before.asked.get(question.number) != payload:
            self._note(Fact(FactKind.ASKED, question.node, question.number, at=time.time(), payload=payload))
        self.open_questions.append(question)
        return question

    def note_answer(self, question: Question, answer: Any) -> None:
        """
        Write an answer down that somebody has just given, so that nobody is asked again.
        """
        now = time.time()
        plain = plain_answer(question.type, answer)
        asked, given = self._asking(question), self.journal.encoding.own(plain, "an answer")
        self._note(Fact(FactKind.ASKED, question.node, question.number, at=now, payload=asked))
        self._note(Fact(FactKind.ANSWERED, question.node, question.number, at=now, payload=given))

    def _asking(self, question: Question) -> bytes:
        """
        Encode what is kept of a question. Its choices are: the answer is one of them.
        """
        described, encoding = describe_question(question), self.journal.encoding
        # Ours: what stands in it is in the names of nodes already.
        if question.number == DECISION:
            return encode(described)
        if any(map(encoding.changes, described["choices"] or ())):
            problem = "one of its choices holds what redact= replaces, and what is chosen could not be told any more"
            raise NotStorable("a question", f"{problem}: give the choices other names")
        return encoding.own(described)

    # ------------------------------------------------------------------ the end

    def conclude(self, status: str, then: Listener) -> None:
        """
        Write down how the run has ended; *then* is called once all of it is durable.

        A run that was cancelled has not ended: somebody may go on with it.
        """
        if status == "cancelled" or self.is_finished:
            # Nothing has to be heard of what was noted last, and it is decided before the run is given up.
            self.send()
            then(None)
        else:
            self._append(Fact(FactKind.ENDED, reason=status, at=time.time(), payload=self._stopped_by(status)), then)

    def _stopped_by(self, status: str) -> bytes | None:
        """
        Encode which budget has stopped the run, if one has: whoever goes on with it has to give more.
        """
        driver = self._driver
        budget = driver.settings.budget
        spent = None if budget is None or not driver.ran_out or status != "paused" else budget.spent
        return None if spent is None else encode({"unit": spent.unit, "used": spent.used, "limit": spent.limit})


def kept_nodes(plan: Plan) -> tuple[Sequence[Kept], bool]:
    """
    Return what has to be known of each planned node, and whether some must not run twice unnoticed.
    """
    if plan._kept is None:
        kept = tuple([kept_of(plan, node, how) for node, how in enumerate(fingerprints(plan))])
        plan._kept = kept, "never" in [each.repeat for each in kept]
    return plan._kept


def kept_of(plan: Plan, node: int, fingerprint: str = "") -> Kept:
    """
    Return what has to be known of a planned node to keep its output.
    """
    argument, policies = plan.arguments[node], plan.nodes[node].policies
    function = argument.function if isinstance(argument, Binding) else plan.functions[node]
    return Kept(fingerprint, policies.persist, policies.repeat, function)


def _attempts(before: Known, clock_of_wall: float) -> Past:
    at = before.until + clock_of_wall
    return Past(attempts=before.attempts, spent=before.spent, at=at, before=before.before)
