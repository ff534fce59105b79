"""
What `antichain demo` does: start a provider, run the graph against it, and tell what came of it.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from antichain.core.facts import Event, NodeEnded, NodeRetrying, NodeStarted
from antichain.demo.saying import LABEL, complain, labelled, say, styled, wrapped
from antichain.demo.saying import width as columns
from antichain.errors import RunFailed
from antichain.printable import printable
from antichain.record import RunResult
from antichain.views.called import called, short
from antichain.views.progress import open_progress
from antichain.views.text import failures_text

if TYPE_CHECKING:
    from antichain.demo.chat import Tally
    from antichain.demo.graph import Answer
    from antichain.graph import Graph
    from antichain.stores import Fact

__all__ = ["demo"]

SUCCEEDED, FAILED, USAGE, CTRL_C = 0, 1, 2, 130
# What the provider that comes along is like: seconds for an answer, calls at once, seconds it asks to wait.
LATENCY: Final = (0.4, 1.2)
ALLOWED: Final = 8
RETRY_AFTER: Final = 0.5
PRETENDED: Final = "pretended"
VERSION: Final = 1
# Seconds between two looks at the journal of a run that is to be killed.
LOOK_EVERY: Final = 0.05
# Share of the answers that are there when it is killed.
KILLED_AT: Final = 0.25


def demo(
    model: str | None,
    questions: list[str] | None,
    seed: int,
    as_json: bool,
    trace: Path | None,
    kill: bool = False,
    capacity: bool = False,
) -> int:
    """
    Run the demo and return the exit code of the command; with *kill*, in a process that is killed half-way, so that
    the rest is done by a resume. With *capacity*, show instead what becomes of calls to a provider whose limit nobody
    knows.
    """
    try:
        from antichain.demo.chat import Tally
    except ModuleNotFoundError as error:
        why = f"the demo talks HTTP with {error.name}, which is not installed"
        return complain(f"{why}. Install it: pip install 'antichain[demo]'", USAGE)
    fault = _url_fault(model) or _trace_fault(trace)
    if capacity and (model or questions or trace or kill):
        fault = "--capacity asks a provider of its own, in several ways: it goes with --seed and --json only."
    if fault:
        return complain(fault, USAGE)
    try:
        if capacity:
            from antichain.demo.capacity import show_capacity

            return show_capacity(seed, as_json)
        with _provider(model, seed, Tally()) as provider:
            wanted = Wanted(provider, questions or [], seed, as_json, trace)
            return _killed_and_resumed(wanted) if kill else _run(wanted)
    except KeyboardInterrupt:
        return complain("interrupted; nothing is left running.", CTRL_C)


def _url_fault(model: str | None) -> str:
    if model is None:
        return ""
    try:
        parts = urlsplit(model)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_right = False
    hint = "Write the base URL of an OpenAI-compatible endpoint, for example http://localhost:8080/v1"
    return "" if is_right else f"--model {model!r} is no URL. {hint}."


def _trace_fault(trace: Path | None) -> str:
    """
    Say now what would otherwise be said after the run.
    """
    if trace is None:
        return ""
    folder = trace.resolve().parent
    if trace.is_dir() or not folder.is_dir():
        return f"--trace {str(trace)!r}: {'that is a folder' if trace.is_dir() else 'there is no such folder'}."
    target = trace if trace.exists() else folder
    return "" if os.access(target, os.W_OK) else f"--trace {str(trace)!r} cannot be written."


# -- the provider


@dataclass(frozen=True, slots=True)
class Provider:
    """
    Who is asked: an endpoint, and what is known of it from its own log or from here.
    """

    url: str
    # Empty: it says so itself.
    name: str
    # As seen from here.
    tally: "Tally"
    # Any: a FakeProvider, whose log is the truth; None if it is somebody else's.
    fake: Any = None

    def figures(self, expected: int) -> dict[str, Any]:  # Any: JSON
        """
        Count calls, refusals, what of the *expected* answers never came and the most that were in flight, and how long
        the answered calls took together.
        """
        if self.fake is None:
            tally = self.tally
            answered, refused = tally.statuses.get(200, 0), tally.statuses.get(429, 0)
            calls, peak, seconds = tally.calls, tally.peak, tally.seconds
        else:
            chats = [entry for entry in self.fake.log if entry.path.endswith("/chat/completions")]
            good = [entry for entry in chats if entry.outcome == "answered"]
            answered, refused = len(good), sum(entry.status == 429 for entry in chats)
            calls, peak, seconds = len(chats), self.fake.peak, sum(entry.took or 0.0 for entry in good)
        lost = max(0, expected - answered)
        return {"calls": calls, "refused": refused, "lost": lost, "most_in_flight": peak, "seconds": round(seconds, 3)}


@contextmanager
def _provider(model: str | None, seed: int, tally: "Tally") -> Iterator[Provider]:
    if model is not None:
        yield Provider(model, "", tally)
        return
    from antichain.demo.pretend import pretend
    from antichain.testing import FakeProvider

    with FakeProvider(
        latency=LATENCY,
        allowed=ALLOWED,
        seed=seed,
        reply=lambda request: pretend(request.prompt),
        retry_after=RETRY_AFTER,
    ) as fake:
        yield Provider(fake.url, PRETENDED, tally, fake)


# -- the run


@dataclass(slots=True)
class Stopwatch:
    """
    Add up how long the attempts of one stage took, without the pauses between them; a listener.
    """

    prefix: str
    seconds: float = 0.0
    failures: int = 0
    _started: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """
        Look at what happened.
        """
        match event:
            case NodeStarted() if event.node.startswith(self.prefix):
                self._started[event.node] = event.time
            case NodeRetrying() | NodeEnded() if event.node.startswith(self.prefix):
                self.seconds += event.time - self._started.pop(event.node, event.time)
                is_failure = isinstance(event, NodeRetrying) or event.reason != "output"
                self.failures += is_failure
            case _:
                return


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What is asked of whom, and how it is to be told.
    """

    provider: Provider
    questions: Sequence[str]
    seed: int
    as_json: bool
    trace: Path | None

    @property
    def asked(self) -> list[str]:
        """
        The questions, or those that come along.
        """
        from antichain.demo.graph import QUESTIONS

        return list(self.questions) or QUESTIONS

    def graph(self) -> "Graph":
        """
        Make the graph.
        """
        from antichain.demo.graph import research

        provider = self.provider
        return research(provider.url, self.asked, self.seed, provider.name, provider.tally)


def _run(wanted: Wanted, killed: "Killed | None" = None) -> int:
    from antichain.demo.chat import Refused

    provider, asked = wanted.provider, wanted.asked
    graph = wanted.graph()
    desk = Stopwatch("topics[")
    began, worked, decided = time.monotonic(), time.process_time(), time.thread_time()
    # Not progress=True, which ends with a summary: ours knows the provider's log.
    listeners: list[Callable[[Event], object]] = [open_progress(), desk]
    try:
        if killed is None:
            result = graph.run(listeners=listeners)
        else:
            result = graph.resume(killed.run_id, store=killed.store, listeners=[*listeners, killed])
    except (RunFailed, KeyboardInterrupt) as error:
        ended: RunResult | None = getattr(error, "result", None)
        if ended is not None:
            _write_trace(ended, wanted.trace)
        if isinstance(error, KeyboardInterrupt) or ended is None:
            raise
        refusal = next((str(each) for each in error.exceptions if isinstance(each, Refused)), None)
        return complain(refusal or f"the demo failed:\n{failures_text(ended)}", FAILED)
    seconds = time.monotonic() - began
    # What the threads have computed; the rest of this process is the engine and the provider.
    computed = (time.process_time() - worked) - (time.thread_time() - decided)
    report = _report(provider, result, asked, desk, seconds, computed)
    if killed is not None:
        report["killed"] = killed.figures(result)
    _write_trace(result, wanted.trace)
    return say(json.dumps(report, indent=2) if wanted.as_json else _text(report, provider, wanted.trace))


# -- killed


@dataclass(slots=True)
class Killed:
    """
    A run whose process was killed: where it is stored, and what a resume does with it; a listener of the resume.
    """

    store: Path
    run_id: str
    # What the journal says: nodes that have ended well, and of these those whose output it has.
    ended: frozenset[str]
    stored: frozenset[str]
    seconds: float
    _started: dict[str, None] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """
        Look at what happens.
        """
        if isinstance(event, NodeStarted):
            self._started[event.node] = None

    def figures(self, result: RunResult) -> dict[str, Any]:  # Any: JSON
        """
        Count what was taken from the journal and what had to run, and look for what ran although it was stored.
        """
        nodes = result.nodes
        containers = {node.group for node in nodes.values()}
        started = self._started.keys() - containers
        return {
            "seconds": round(self.seconds, 3),
            "reused": sum(node.reason == "checkpoint" for name, node in nodes.items() if name in self.stored),
            "run": len(started - self.ended),
            # What only that process had: the index. And what must not be.
            "made_again": len(started & (self.ended - self.stored)),
            "run_again": len(started & self.stored),
        }


def _killed_and_resumed(wanted: Wanted) -> int:
    """
    Let another process begin the run, kill it while the answers come in, and do the rest here.
    """
    with tempfile.TemporaryDirectory(prefix="antichain-demo-") as folder:
        killed = _killed(wanted, Path(folder) / "runs.db")
        if isinstance(killed, int):
            why = "ask more questions" if killed == SUCCEEDED else "what it said is above"
            return complain(f"the run ended, with exit code {killed}, before it could be killed: {why}.", FAILED)
        told = f"killed by SIGKILL after {killed.seconds:.1f} s; {len(killed.stored)} nodes are stored. Resuming."
        complain(told, SUCCEEDED)
        return _run(wanted, killed)


def _killed(wanted: Wanted, store: Path) -> Killed | int:
    """
    Begin the run in another process and kill that; return its exit code if it was faster.
    """
    run_id = "demo"
    given = json.dumps([wanted.provider.url, wanted.asked, wanted.seed, wanted.provider.name, str(store), run_id])
    began = time.monotonic()
    # What it leaves behind, since nobody lets it tidy, is in a folder of ours.
    left = {**os.environ, "TMPDIR": str(store.parent)}
    child = subprocess.Popen([sys.executable, "-m", "antichain.demo", given], stdin=subprocess.DEVNULL, env=left)
    try:
        while child.poll() is None:
            time.sleep(LOOK_EVERY)
            answered = [fact for fact in _ended(store, run_id) if fact.node.startswith("answers[")]
            if len(answered) >= KILLED_AT * len(wanted.asked):
                break
    finally:
        child.kill()
        code = child.wait()
    if code != -signal.SIGKILL:
        return code
    seconds = time.monotonic() - began
    facts = _ended(store, run_id, payloads=True)
    stored = frozenset(fact.node for fact in facts if fact.payload is not None)
    return Killed(store, run_id, frozenset(fact.node for fact in facts), stored, seconds)


def _ended(store: Path, run_id: str, *, payloads: bool = False) -> "list[Fact]":
    """
    Read from the journal which nodes have ended well; none while there is no journal.
    """
    from antichain.errors import StoreError
    from antichain.stores import FactKind, open_store

    if not store.exists():
        return []
    try:
        facts = open_store(store).read(run_id, payloads=payloads).facts
    except StoreError:
        # It is just being made.
        return []
    return [fact for fact in facts if fact.kind is FactKind.SUCCEEDED]


def _write_trace(result: RunResult, trace: Path | None) -> None:
    if trace is not None:
        trace.write_text(json.dumps(result.to_trace()), encoding="utf-8")


def _report(
    provider: Provider, result: RunResult, questions: Sequence[str], desk: Stopwatch, seconds: float, computed: float
) -> dict[str, Any]:  # Any: JSON
    answers: list[Answer] = result["checks"]
    expected = 2 * sum(answer.source is not None for answer in answers)
    expected += expected > 0  # and the digest
    figures = provider.figures(expected)
    serial = computed + figures["seconds"] + desk.seconds
    fallbacks = sum(node.reason == "fallback" for name, node in result.nodes.items() if name.startswith("topics["))
    library = sysconfig.get_path("stdlib")
    return {
        "version": VERSION,
        "python": sys.version.split()[0],
        "library": library,
        "has_sources": isinstance(result["files"][0], Path),
        "files": len(result["files"]),
        "docstrings": sum(result["stored"]),
        "model": result["greeting"],
        "answers": [_answer(answer) for answer in answers],
        "digest": result["digest"],
        "calls": figures,
        "help_desk": {"failures": desk.failures, "gave_up": fallbacks, "seconds": round(desk.seconds, 3)},
        "seconds": round(seconds, 3),
        "computing_seconds": round(computed, 3),
        "serial_seconds": round(serial, 3),
    }


def _answer(answer: "Answer") -> dict[str, Any]:  # Any: JSON
    source = answer.source
    return {
        "question": answer.question,
        "answer": answer.text,
        "source": None if source is None else {"name": source.name, "place": source.place},
        "supported": answer.is_supported,
    }


# -- what is said


def _text(report: dict[str, Any], provider: Provider, trace: Path | None) -> str:  # Any: JSON
    width = columns()
    whence = report["library"] if report["has_sources"] else "its modules, which came without sources"
    model = "a stand-in (--model URL asks a real model)"
    if provider.fake is None:
        model = f"{report['model']} at {provider.url}"
    head = f"Python {report['python']}: {report['docstrings']:,} docstrings of {whence}, read by {model}:"
    # On a terminal the progress is just above.
    lines = [*([""] if sys.stdout.isatty() else []), *wrapped(head, width), ""]
    for answer in report["answers"]:
        lines += [styled("1", line) for line in wrapped(answer["question"], width)]
        lines += _answer_lines(answer, report["library"], width)
    lines += ["", *wrapped(report["digest"], width), "", *_figures(report, width)]
    if trace is not None:
        lines += labelled("trace", [f"{printable(str(trace))}: open it in https://ui.perfetto.dev"])
    return "\n".join([*lines, *_next(trace, width, "killed" in report)])


def _answer_lines(answer: dict[str, Any], library: str, width: int) -> list[str]:  # Any: JSON
    source = answer["source"]
    if source is None:
        return wrapped(answer["answer"], width, "  ")
    # Modules of the standard library are under its folder, which the first line names.
    place = source["place"].removeprefix(f"{library}{os.sep}")
    named = printable(source["name"] if place == "help" else f"{source['name']}, {place}", width - 2)
    doubt = "" if answer["supported"] else " (not found in its source when asked again)"
    *lines, last = wrapped(answer["answer"] + doubt, width, "  ", most=3) or [""]
    if len(last) + 2 + len(named) <= width:
        return [*lines, f"{last}  {styled('2', named)}"]
    return [*lines, last, f"  {styled('2', named)}"]


def _figures(report: dict[str, Any], width: int) -> list[str]:  # Any: JSON
    calls, desk, took, serial = report["calls"], report["help_desk"], report["seconds"], report["serial_seconds"]
    refused = f"{calls['refused']} of them 429 and retried" if calls["refused"] else "none of them refused"
    lost = f"{calls['lost']} lost" if calls["lost"] else "none lost"
    flaky = f"the help desk failed {desk['failures']} times; asked again, it left {desk['gave_up']} of "
    flaky += f"{len(report['answers'])} questions to its fallback"
    rows = {
        "calls": f"{calls['calls']} calls, {refused}, {lost}; most in flight: {calls['most_in_flight']}",
        "flaky": flaky if desk["failures"] else "the help desk did not fail this time",
        "took": f"{took:.1f} s; one after the other would have been {serial:.1f} s, {serial / took:.1f} times as long",
        "": f"({calls['seconds']:.1f} s of the model, {desk['seconds']:.1f} s of the help desk, "
        f"{report['computing_seconds']:.1f} s of computing)",
    }
    if "killed" in report:
        killed = report["killed"]
        again = f"{killed['run_again']} ran again" if killed["run_again"] else "none of them ran again"
        # What was computed before the end of that process is known to nobody.
        del rows["took"], rows[""]
        rows["killed"] = (
            f"by SIGKILL after {killed['seconds']:.1f} s; the rest took {took:.1f} s: {killed['reused']} reused, "
            f"{killed['run']} to run; {again} (the index, which only a process has, was filled anew)"
        )
    return [line for name, text in rows.items() for line in labelled(name, wrapped(text, width - LABEL))]


def _next(trace: Path | None, width: int, killed: bool) -> list[str]:
    """
    Name commands to go on with; each works as it stands, where this one did.
    """
    command = called()
    graph = short(Path(__file__).with_name("graph.py"))
    tries = [(f"{command} plan {graph}", "the same, before it runs")]
    if trace is None:
        tries.append((f"{command} demo --trace demo.json", "a timeline, for ui.perfetto.dev"))
    example = Path("examples", "library_digest.py")
    if example.is_file():
        tries.append((f"{command} run {example} path=src", "sources of yours"))
    else:
        tries.append((f"{command} demo {shlex.quote('How do I parse a date?')}", "a question of yours"))
    if not killed:
        tries.append((f"{command} demo --kill", "killed half-way, and resumed"))
    tries.append((f"{command} demo --capacity", "a provider whose limit nobody knows"))
    longest = max(len(line) for line, _ in tries)
    lines = []
    for line, what in tries:
        comment = f"   # {what}"
        # What is too long for a line is left out rather than broken.
        is_short = LABEL + longest + len(comment) <= width
        lines.append(f"{line:{longest}}{styled('2', comment)}" if is_short else line)
    return labelled("next", lines)
