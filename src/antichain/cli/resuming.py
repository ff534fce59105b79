"""
`antichain resume`: a stored run goes on, with the graph as it is now.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antichain.cli.answering import answers_of
from antichain.cli.given import Named, limits_of, open_named, pairs_of
from antichain.cli.running import Request, execute, tell, watched
from antichain.cli.storing import Kept, find, is_here, opened, read, words_of
from antichain.cli.watching import Watch
from antichain.errors import GraphError
from antichain.loading import UsageError
from antichain.plan import prepare_resume
from antichain.printable import printable
from antichain.run import resume_plan
from antichain.stores.protocol import RunLine

__all__ = ["Resume", "resume"]


@dataclass(frozen=True, slots=True)
class Resume:
    """
    What `antichain resume` was asked for, besides what a run may be asked for.
    """

    run: str
    answers: Sequence[str] = ()
    on_change: str | None = None
    take_over: bool = False


def resume(request: Request, wanted: Resume) -> int:
    """
    Go on with a stored run; return the exit code.

    Raises:
        UsageError: there is no such run, or it cannot be resumed as it is.
    """
    limits = limits_of(request.limits)
    watch = Watch(request.progress, request.trace)
    with opened(request.place) as store:
        line = find(store, wanted.run)
        named = _named_again(request, line)
        _refuse_unused(request, named)
        options = {name: value for name, value in request.options.items() if value is not None}
        options |= {"limits": limits} if limits else {}
        if wanted.answers:
            options["answers"] = answers_of(read(store, line.run_id), wanted.answers)
        if named.inputs:
            options["inputs"] = named.inputs
        if wanted.on_change is not None:
            options["on_change"] = wanted.on_change
        options |= {"store": store, "take_over": wanted.take_over}
        try:
            arguments = prepare_resume(named.graph, line.run_id, watched(options, watch, named))
        except GraphError as error:
            raise UsageError(str(error)) from error
        kept = Kept(request.place, store, line.run_id, _found(request, named))
        plan, run_id, settled = arguments
        outcome = execute(lambda: resume_plan(plan, run_id, {**settled, **kept.options()}), kept)
        return tell(request, plan, named, watch, outcome, kept)


def _found(request: Request, named: Named) -> tuple[str, ...]:
    """
    Return the words that said where the graph is, for whoever goes on once more.
    """
    if not request.target:
        return ()
    return "--file", request.target, *(word for text in named.factory_values for word in ("--value", text))


def _refuse_unused(request: Request, named: Named) -> None:
    """
    Refuse a value that was typed for nothing: a run goes on with the inputs that it began with.
    """
    # Inputs that were redacted are given again: which, is known when the run is opened.
    if named.graph.options.get("redact") is not None:
        return
    unused = [name for name in pairs_of(request.values) if name in named.inputs]
    if unused:
        raise UsageError(
            f"--value {printable(unused[0])}=: no function that makes the graph takes it, and the inputs of a run are"
            " those that it began with. Leave it out, or run anew."
        )


def _named_again(request: Request, line: RunLine) -> Named:
    """
    Find the graph of a stored run.
    """
    if request.target:
        return open_named(request.target, request.values)
    words = words_of(line.target)
    if not words:
        raise UsageError(
            f"run {line.run_id!r} was not started by this command, so it does not say which file it ran: "
            "add --file FILE:GRAPH."
        )
    if not is_here(words[0]):
        raise UsageError(
            f"run {line.run_id!r} says that it runs {words[0]!r}, which is not in this folder. What a store says is run"
            f" from elsewhere only if you say so too: add --file {printable(words[0])}"
        )
    return open_named(words[0], [*words[1:], *request.values])
