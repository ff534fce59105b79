"""
What comes before a run that is kept: its journal is begun, or found and compared with the graph as it is now. Nothing
runs here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from antichain.asking import Question, plain_answer, question_of, read_answer
from antichain.core.states import OUTPUTS, REASON_NAMES
from antichain.errors import Fault, GraphError, NotStorable, StoreDamaged, named, shown
from antichain.journal import Inputs, Known, RunJournal, forget, name_fault, read_inputs, read_known, read_usage
from antichain.keeping import Keeping, kept_nodes, kept_of
from antichain.plan import Plan, check_inputs
from antichain.resuming.wiring import describe_wiring
from antichain.stores import Fact, FactKind, Header, Ownership, Store, codec, open_store
from antichain.stores.codec import Encoding, encode, encoding_of
from antichain.stores.codec.form import LABELLED

__all__ = ["Reopened", "open_run", "reopen_run"]


def open_run(plan: Plan, run_id: str, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Plan, Keeping]:
    """
    Begin the journal of a new run; returns the plan with what its nodes took in earlier runs.

    Raises:
        GraphError: an input or a given output cannot be stored, or a name holds a secret. StoreError: the store cannot
        be used; RunExists: it has such a run.
    """
    store = open_store(options["store"])
    encoding = encoding_of(store, options.get("redact"))
    if encoding.redact is not None:
        _check_names(plan, run_id, encoding)
    given = {name: value for name, value in (options.get("outputs") or {}).items() if name in plan.index}
    payloads = {name: _encoded_output(plan, name, value, encoding) for name, value in given.items()}
    told = _told_wiring(plan, encoding)
    header = Header(run_id, plan.name, "", time.time(), _encoded_inputs(inputs, plan, encoding), told)
    plan = _with_history(plan, store, options)
    ownership = store.open(run_id, header)
    try:
        journal = _journal(store, ownership, options, encoding)
        keeping = Keeping(plan, journal)
        facts = [keeping.given(name, payload) for name, payload in payloads.items()]
        if plan.targets is not None or options.get("outputs"):
            facts.append(_narrowed(plan, options.get("outputs") or {}))
        _write(journal, facts)
    except BaseException:
        store.release(ownership)
        raise
    return plan, keeping


def _with_history(plan: Plan, store: Store, options: Mapping[str, Any]) -> Plan:
    """
    Let what nodes took in earlier runs decide what starts first, where not everything can start at once.
    """
    if options.get("max_concurrent") is None and not plan.limits_with(options.get("limits") or {}):
        return plan
    from antichain.resuming.history import durations  # most runs take no time for it

    known = durations(store, plan.name)
    if not known:
        return plan
    # Its costs are no matter of what is known of it, which is kept for the next run: a plan with costs is for one.
    kept_nodes(plan)
    return plan.with_costs(known)


def _told_wiring(plan: Plan, encoding: Encoding) -> bytes:
    if encoding.compress:
        return encode(describe_wiring(plan), compress=True)
    if plan._told is None:
        plan._told = encode(describe_wiring(plan))
    return plan._told


def _check_names(plan: Plan, run_id: str, encoding: Encoding) -> None:
    """
    Make sure that nothing is to be redacted of what is stored as it is.
    """
    graphs = describe_wiring(plan).get("graphs", [])
    names = {*plan.ids, *(name for ids, *_ in graphs for name in ids)}
    versions = {node.policies.version for node in plan.nodes if node.policies.version}
    versions.update(each[3] for *_, special in graphs for each in special)
    found = [
        name_fault(encoding, "the id of the run", run_id),
        name_fault(encoding, "the name of the graph", plan.name),
        *(name_fault(encoding, "the id of a node", name) for name in sorted(names)),
        *(name_fault(encoding, "version=", version) for version in sorted(versions)),
    ]
    faults = [each for each in found if each is not None]
    if faults:
        raise GraphError(faults, encoding.redacted(plan.name))


def _journal(
    store: Store,
    ownership: Ownership,
    options: Mapping[str, Any],
    encoding: Encoding,
    known: Mapping[str, Known] | None = None,
    usage: Mapping[str, float] | None = None,
) -> RunJournal:
    return RunJournal(
        store,
        ownership,
        known=known,
        usage=usage,
        waits=options.get("durability") != "relaxed",
        reruns=options.get("on_change") == "rerun",
        # No option of users: of whoever keeps runs without having been asked to.
        recomputes=bool(options.get("recomputes")),
        encoding=encoding,
    )


def _narrowed(plan: Plan, outputs: Mapping[str, Any]) -> Fact:
    """
    Make the fact that tells which part of its graph a run needs.
    """
    targets = None if plan.targets is None else list(plan.targets)
    payload = encode({"targets": targets, "outputs": list(outputs)})
    return Fact(FactKind.RESUMED, reason="running", at=time.time(), payload=payload)


class Reopened(NamedTuple):
    """
    A run that goes on.
    """

    plan: Plan
    keeping: Keeping
    # What it was given when it began.
    inputs: dict[str, Any]
    # Outputs that it is given now.
    outputs: dict[str, Any]


def reopen_run(plan: Plan, run_id: str, options: Mapping[str, Any]) -> Reopened:
    """
    Go on with the journal of a run.

    Raises:
        GraphError: a completed node has changed, an answer answers nothing, or an input that was redacted is not given
        again. StoreError: the store cannot be used;
        UnknownRun: it has no such run; RunOwned: somebody else is at it.
    """
    store = open_store(options["store"])
    encoding = encoding_of(store, options.get("redact"))
    if encoding.redact is not None:
        _check_names(plan, run_id, encoding)
    given = {name: value for name, value in (options.get("outputs") or {}).items() if name in plan.index}
    payloads = {name: _encoded_output(plan, name, value, encoding) for name, value in given.items()}
    ownership = store.open(run_id, take_over=bool(options.get("take_over")))
    try:
        return _reopened(plan, store, ownership, options, given, payloads, encoding)
    except BaseException:
        store.release(ownership)
        raise


def _reopened(
    plan: Plan,
    store: Store,
    ownership: Ownership,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    payloads: Mapping[str, bytes],
    encoding: Encoding,
) -> Reopened:
    stored = store.read(ownership.run_id)
    known, status = read_known(stored.facts)
    kept = read_inputs(stored.header, encoding)
    plan = _as_narrow(plan, stored.facts)
    reruns = options.get("on_change") == "rerun"
    facts = _compare(plan, stored.header, known, payloads, encoding, reruns=reruns)
    answers = options.get("answers") or {}
    is_finished = status == "succeeded" and not facts and not answers and not given
    again = options.get("inputs") or {}
    inputs = _given_again(plan, ownership.run_id, kept, again, encoding, is_finished=is_finished)
    inputs = _taken_inputs(plan, stored.header, inputs, given)
    forget(known, {fact.node for fact in facts})
    facts += _answered(ownership.run_id, known, answers, plan.name, encoding)
    journal = _journal(store, ownership, options, encoding, known, read_usage(stored.facts))
    if options.get("retry_budget") is not None and not is_finished:
        from antichain.resuming.retries import tries_of  # not where it is off

        journal.tries = tries_of(plan, stored.facts)
    plan = _with_history(plan, store, options)
    keeping = Keeping(plan, journal, is_finished=is_finished)
    if not is_finished:
        begun = Fact(FactKind.RESUMED, reason="running", at=time.time())
        _write(journal, [begun, *facts, *(keeping.given(name, payload) for name, payload in payloads.items())])
    return Reopened(plan, keeping, inputs, {**given})


def _given_again(
    plan: Plan, run_id: str, kept: Inputs, again: Mapping[str, Any], encoding: Encoding, *, is_finished: bool
) -> dict[str, Any]:
    """
    Return the inputs with which a run goes on: those that are kept, and those that were redacted and are given again.

    Raises:
        GraphError: one of these is missing or another one, or the run would not be redacted any more.
    """
    faults = []
    if kept.is_redacted and encoding.redact is None and not is_finished:
        why = f"run {run_id!r} began with redact=, and what it stores now would not be redacted"
        faults.append(Fault("bad-policy", f"{why}: resume it with redact= (redact=str stores everything as it is)."))
    for name in kept.withheld:
        if name not in again and not is_finished:
            why = f"input {name!r} of run {run_id!r} held what redact= replaced, so it is not in the store as it was"
            faults.append(
                Fault(
                    "missing-input", f"{why}: give it again, by resume(…, inputs={{{name!r}: …}}) or --value {name}=…."
                )
            )
    for name, value in again.items():
        if name not in kept.withheld:
            names = named(kept.withheld) if kept.withheld else "none"
            text = f"inputs= names {shown(name)}, but a run goes on with the inputs that are kept with it. Only what "
            faults.append(Fault("unused-input", f"{text}redact= replaced in them is given again; here: {names}."))
        elif encoding.redact is not None and not _is_as_kept(plan, name, value, kept.values[name], encoding):
            text = f"input {name!r} is not what run {run_id!r} began with, also apart from what redact= replaces"
            faults.append(Fault("bad-policy", f"{text}: give it as it was, or start a new run."))
    if faults:
        raise GraphError(faults, plan.name)
    return {**kept.values, **again}


def _is_as_kept(plan: Plan, name: str, value: Any, kept: Any, encoding: Encoding) -> bool:
    return codec.digest(encoding.read(_encoded(value, f"input {name!r}", plan, encoding))) == codec.digest(kept)


def _taken_inputs(plan: Plan, header: Header, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return those of a run's inputs that its graph takes now: nobody can take back one that a mended node has no use for.
    """
    taken = {
        name: value
        for name, value in inputs.items()
        if name not in plan.known and (name in plan.accepted or plan.takes_any_input)
    }
    faults = check_inputs(plan, taken, given, is_resumed=True)
    if faults and header.graph != plan.name:
        whose = f"run {header.run_id!r} is of graph {header.graph!r}, and this is graph {plan.name!r}"
        faults.insert(0, Fault("other-graph", f"{whose}: resume it with the graph that it is of."))
    if faults:
        raise GraphError(faults, plan.name)
    return taken


def _as_narrow(plan: Plan, facts: Iterable[Fact]) -> Plan:
    """
    Return the plan of the part of the graph that the run needs, if it has not been narrowed anew.
    """
    told = [fact.payload for fact in facts if fact.kind == FactKind.RESUMED and fact.payload is not None]
    if not told or plan.targets is not None:
        return plan
    match codec.decode(told[-1]):
        case {"targets": targets, "outputs": [*outputs]} if targets is None or isinstance(targets, list):
            return plan.pruned(targets, [name for name in outputs if name in plan.known])
        case other:
            raise StoreDamaged(f"{shown(other)} does not say which part of its graph a run needs: the store is damaged")


def _compare(
    plan: Plan,
    header: Header,
    known: Mapping[str, Known],
    payloads: Mapping[str, bytes],
    encoding: Encoding,
    *,
    reruns: bool,
) -> list[Fact]:
    """
    Look what has changed of the nodes that have completed; return the facts that make them run again.
    """
    from antichain.resuming.changes import compare  # only a run that goes on

    completed, replaced = {}, set(payloads)
    for path, node in known.items():
        fact = node.succeeded or node.skipped
        if fact is None:
            continue
        is_given = fact.reason == REASON_NAMES[OUTPUTS]
        # What was given has no wiring.
        completed[path] = "" if is_given else fact.fingerprint
        if is_given and path in payloads and encoding.is_same(fact.payload or b"", payloads[path]):
            replaced.discard(path)
    changes = compare(plan, codec.decode(header.wiring) if header.wiring else {}, completed, replaced=replaced)
    faults = changes.faults()
    if faults and (changes.is_other_graph or not reruns):
        raise GraphError(faults, plan.name)
    now = time.time()
    return [Fact(FactKind.FORGOTTEN, path, at=now) for path in changes.forgotten()] if reruns else []


def _answered(
    run_id: str, known: Mapping[str, Known], answers: Mapping[str, Any], graph: str, encoding: Encoding
) -> list[Fact]:
    """
    Read the answers to questions that are open; the first of a node that has several.
    """
    open_questions = {
        path: min(numbers)
        for path, node in known.items()
        if (numbers := [number for number in node.asked if number not in node.answered]) and node.succeeded is None
    }
    faults, facts, now = [], [], time.time()
    for path, answer in answers.items():
        number = open_questions.get(path)
        if number is None:
            names = named(list(open_questions)) if open_questions else "none"
            text = f"answers= names {path!r}, which waits for no answer in this run. Open questions: {names}."
            faults.append(Fault("unknown-question", text, path, (path,)))
            continue
        try:
            question = question_of(run_id, path, number, codec.decode(known[path].asked[number]))
            given = plain_answer(question.type, read_answer(question.type, _plain(question, answer)))
            payload = encoding.own(given, f"the answer to node {path!r}")
        except (ValueError, NotStorable) as why:
            text = f"answers={{{path!r}: …}}: {why}."
            faults.append(Fault("bad-answer", text, path, (path,)))
            continue
        # The run goes on with what was given, also where that is not what is stored.
        known[path].take(Fact(FactKind.ANSWERED, path, number, at=now, payload=encode(given)))
        facts.append(Fact(FactKind.ANSWERED, path, number, at=now, payload=payload))
    if faults:
        raise GraphError(faults, graph)
    return facts


def _plain(question: Question, answer: Any) -> Any:
    # Of choices, their texts were kept, and of a member of an Enum its name.
    if isinstance(answer, Enum):
        return answer.name
    is_choice = isinstance(question.type, tuple) and (answer is None or isinstance(answer, (bool, int, float)))
    return str(answer) if is_choice else answer


def _encoded_output(plan: Plan, name: str, value: Any, encoding: Encoding) -> bytes:
    """
    Encode an output that is given in place of what a node returns, as which it is read back.
    """
    what = f"outputs[{name!r}]"
    data = _encoded(value, what, plan, encoding)
    try:
        encoding.check(data, codec.annotation_of(kept_of(plan, plan.index[name]).function))
    except NotStorable as error:
        raise GraphError(Fault("not-storable", f"{what}: {error}.", name), plan.name) from error
    return data


def _encoded_inputs(inputs: Mapping[str, Any], plan: Plan, encoding: Encoding) -> bytes:
    """
    Encode the inputs of a run, which nobody's annotation reads back: plain data only.

    Those that are redacted are named beside them: they are given again when the run goes on.
    """
    withheld = []
    for name, value in inputs.items():
        data = _encoded(value, f"input {name!r}", plan, encoding)
        if encoding.redact is not None:
            fault = name_fault(encoding, "the name of an input", name)
            if fault is not None:
                raise GraphError(fault, plan.name)
            if data != _encoded(value, f"input {name!r}", plan, replace(encoding, redact=None)):
                withheld.append(name)
        if data[0] & LABELLED:
            text = (
                f"input {name!r} holds objects of classes, which could not be read back as what they are: "
                f"{shown(value)}. A run that is kept takes plain data (dicts, lists, texts, numbers): let a node "
                "make the objects."
            )
            raise GraphError(Fault("not-storable", text), plan.name)
    told = dict(inputs) if encoding.redact is None else [dict(inputs), withheld]
    return _encoded(told, "the inputs", plan, encoding)


def _encoded(value: Any, name: str, plan: Plan, encoding: Encoding) -> bytes:
    try:
        return encoding.value(value, name)
    except NotStorable as error:
        text = (
            f"{error}. A run that is kept is given plain data: pass what cannot be stored (a client, a connection) as "
            "a resource (@graph.resource), which every run opens for itself."
        )
        raise GraphError(Fault("not-storable", text), plan.name) from error


def _write(journal: RunJournal, facts: Sequence[Fact]) -> None:
    """
    Write facts down and wait for it, before the run begins.
    """
    if not facts:
        return
    done = threading.Event()
    errors: list[BaseException | None] = []

    def end(error: BaseException | None) -> None:
        errors.append(error)
        done.set()

    journal.append(facts, end)
    done.wait()
    if errors[0] is not None:
        raise errors[0]
