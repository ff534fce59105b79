"""
The commands, their options and their help. Only here is typer known; what a command does is imported when it is called.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from antichain.cli.endings import CTRL_C, USAGE, complain, guarded

__all__ = ["call"]


def call(arguments: Sequence[str] | None) -> int:
    """
    Parse the command line, do what it says and return the exit code.
    """
    if os.environ.get("_ANTICHAIN_COMPLETE"):
        from antichain.cli.completion import answer

        return answer(lambda: _called(()))
    return _called(arguments)


def _called(arguments: Sequence[str] | None) -> int:
    try:
        code = _application()(arguments, prog_name="antichain", standalone_mode=False)
    except SystemExit as stop:
        code = stop.code
    except typer.Abort:
        code = CTRL_C
    except Exception as error:
        # What is wrong with the command line. Typer brings click's exceptions, in some releases under names of its own.
        from antichain.printable import printable

        message = getattr(error, "format_message", None)
        if message is None:
            raise
        path = getattr(getattr(error, "ctx", None), "command_path", "antichain")
        text = printable(message().strip(), None)
        end = "" if text.endswith((".", "?")) else "."
        return complain(f"{text}{end} `{path} --help` shows what there is.", None, USAGE, False)
    return code if isinstance(code, int) else 0


def _application() -> typer.Typer:
    # No rich: help is read in logs and on paper too, and its import would take longer than everything else.
    application = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    application.callback(invoke_without_command=True)(_antichain)
    application.command("run", short_help="Run a graph.")(_run)
    application.command("resume", short_help="Go on with a stored run.")(_resume)
    application.command("answer", short_help="Answer what a stored run asks.")(_answer)
    application.command("runs", short_help="List stored runs.")(_runs)
    application.command("show", short_help="Show a stored run and what to do next.")(_show)
    application.command("why", short_help="Say how a node of a stored run stands, and why.")(_why)
    application.command("gc", short_help="Remove old runs from the store.")(_gc)
    application.command("plan", short_help="Check a graph and estimate its run, without running it.")(_plan)
    application.command("demo", short_help="Show what it is for, on this Python's own documentation.")(_demo)
    return application


def _show_version(value: bool) -> None:
    if value:
        from antichain import __version__

        print(f"antichain {__version__}")
        raise typer.Exit


def _antichain(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """
    Run graphs of Python functions as parallel as their dependencies allow.

    Start with `antichain demo`. Exit codes of all commands: 0 succeeded, 1 a node failed, 2 wrong usage or graph,
    3 partial, 4 waits for an answer, 75 a budget is used up, 130 Ctrl-C, 143 terminated. Runs are stored in
    .antichain/runs.db, or where ANTICHAIN_STORE says (`none` for nowhere).
    """
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


def _files(context: typer.Context, incomplete: str) -> list[str]:
    from antichain.cli.completion import targets

    return targets(incomplete)


def _inputs(context: typer.Context, incomplete: str) -> list[str]:
    from antichain.cli.completion import inputs

    return inputs(context.params.get("file") or "")


def _on_errors(incomplete: str) -> list[tuple[str, str]]:
    return [
        ("cancel", "stop what runs"),
        ("drain", "let what runs end, start nothing"),
        ("continue", "run all that does not depend on the failure"),
    ]


def _run_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from antichain.cli.completion import runs

    return runs(context.params.get("store"), incomplete)


def _nodes(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from antichain.cli.completion import nodes

    return nodes(context.params.get("store"), context.params.get("run") or "", incomplete)


def _asking(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from antichain.cli.completion import asking

    return asking(context.params.get("store"), context.params.get("run") or "", incomplete)


def _on_changes(incomplete: str) -> list[tuple[str, str]]:
    return [("refuse", "say what has changed"), ("rerun", "run it again, and what follows")]


# What several commands take; each names it by its parameter.
FILE = typer.Argument(
    metavar="FILE[:GRAPH]",
    help="A Python file, and a Graph in it or a function that returns one.",
    autocompletion=_files,
)
VALUES = typer.Argument(
    metavar="NAME=VALUE", help="Inputs: of the function first, then of the run.", autocompletion=_inputs
)
STORE = typer.Option(
    "--store", metavar="PATH", help="Where runs are stored; else ANTICHAIN_STORE, else .antichain/runs.db."
)
RUN = typer.Argument(metavar="RUN", help="The id of a run, or the beginning of it.", autocompletion=_run_ids)
MAX_CONCURRENT = typer.Option(help="Most nodes at once.", metavar="N")
LIMIT = typer.Option(help="Size of a named limit; may be repeated.", metavar="NAME=N")
ON_ERROR = typer.Option(
    metavar="WHAT", help="After a failure: cancel what runs, drain it, or continue.", autocompletion=_on_errors
)
DEADLINE = typer.Option(help="Time that the whole run may take.", metavar="SECONDS")
BUDGET_TOKENS = typer.Option(help="Tokens that the run may use in all; then it stops, and can be resumed.", metavar="N")
BUDGET_USD = typer.Option(help="The same in dollars, as its nodes tell them.", metavar="USD")
TRACE = typer.Option(help="Write a trace of the run, whatever becomes of it, for ui.perfetto.dev.", metavar="FILE")
PROGRESS = typer.Option(help="Show progress and a summary on standard error.")
RESULT_AS_JSON = typer.Option("--json", help="Print the whole result as one JSON document.")
JSON = typer.Option("--json", help="Print one JSON document.")
DEBUG = typer.Option("--debug", help="Show tracebacks.")


def _run(
    file: Annotated[str, FILE],
    values: Annotated[list[str] | None, VALUES] = None,
    max_concurrent: Annotated[int | None, MAX_CONCURRENT] = None,
    limit: Annotated[list[str] | None, LIMIT] = None,
    on_error: Annotated[str | None, ON_ERROR] = None,
    deadline: Annotated[float | None, DEADLINE] = None,
    budget_tokens: Annotated[float | None, BUDGET_TOKENS] = None,
    budget_usd: Annotated[float | None, BUDGET_USD] = None,
    run_id: Annotated[str | None, typer.Option(help="A name for this run.", metavar="TEXT")] = None,
    store: Annotated[str | None, STORE] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Store nothing of this run.")] = False,
    trace: Annotated[str | None, TRACE] = None,
    progress: Annotated[bool, PROGRESS] = True,
    as_json: Annotated[bool, RESULT_AS_JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Run a graph: progress goes to standard error, the result to standard output.

    GRAPH may be left out if the file makes it clear. A function that returns a Graph is called with the values that
    its parameters name, read as its annotations say (int, Path, list, Literal, Enum, dataclass, ...). All other values
    are inputs of the run: read as the nodes that take them are annotated, else JSON where they read as JSON, else text.

    \b
      antichain run flow.py question='why is the sky blue?'
      antichain run flow.py:make folder=/tmp --limit llm=4 --trace run.json

    The run is stored while it goes on: whatever ends it early, `antichain resume` goes on with it.

    Exit codes: 0 succeeded, 1 a node failed, 2 wrong usage or graph, 3 partial, 4 waits for an answer, 75 its budget
    is used up, 130 Ctrl-C, 143 terminated.
    """  # noqa: D301  # the backspace tells Typer to leave the lines of the example alone

    def work() -> int:
        from antichain.cli.given import budget_of
        from antichain.cli.places import place_of
        from antichain.cli.running import Request, run

        options = {"max_concurrent": max_concurrent, "on_error": on_error, "deadline": deadline, "run_id": run_id}
        options["budget"] = budget_of(budget_tokens, budget_usd)
        place = place_of(store, not no_store)
        return run(Request(file, values or (), limit or (), options, trace, progress, as_json, debug, place))

    raise typer.Exit(guarded(work, debug))


def _resume(
    run: Annotated[str, RUN],
    answer: Annotated[
        list[str] | None,
        typer.Option(help="An answer to what a node asks; may be repeated.", metavar="NODE=VALUE"),
    ] = None,
    on_change: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="If a completed node has changed: refuse, or rerun it and what follows.",
            autocompletion=_on_changes,
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the run from a process that holds it and does not go on.")
    ] = False,
    store: Annotated[str | None, STORE] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:GRAPH]",
            help="Where the graph is now, if it is not what the run says.",
            autocompletion=_files,
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            help="For the function that makes the graph, with --file; or a secret input that is given again.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    max_concurrent: Annotated[int | None, MAX_CONCURRENT] = None,
    limit: Annotated[list[str] | None, LIMIT] = None,
    on_error: Annotated[str | None, ON_ERROR] = None,
    deadline: Annotated[float | None, DEADLINE] = None,
    budget_tokens: Annotated[float | None, BUDGET_TOKENS] = None,
    budget_usd: Annotated[float | None, BUDGET_USD] = None,
    trace: Annotated[str | None, TRACE] = None,
    progress: Annotated[bool, PROGRESS] = True,
    as_json: Annotated[bool, RESULT_AS_JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Go on with a stored run: what has completed does not run again, all else does.

    The graph is read anew, so what failed may be mended before. A completed node that has changed is refused by name,
    or run again with --on-change rerun. A run that has succeeded gives its result again.

    \b
      antichain resume nightly-7
      antichain resume nightly-7 --answer approved=yes

    Exit codes: those of `antichain run`.
    """  # noqa: D301  # as above

    def work() -> int:
        from antichain.cli.given import budget_of
        from antichain.cli.places import place_of
        from antichain.cli.resuming import Resume, resume
        from antichain.cli.running import Request

        options = {"max_concurrent": max_concurrent, "on_error": on_error, "deadline": deadline}
        options["budget"] = budget_of(budget_tokens, budget_usd)
        request = Request(
            file or "", value or (), limit or (), options, trace, progress, as_json, debug, place_of(store)
        )
        return resume(request, Resume(run, answer or (), on_change, take_over))

    raise typer.Exit(guarded(work, debug))


def _answer(
    run: Annotated[str, RUN],
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node that asks.", autocompletion=_asking)],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The answer, such as yes, 3 or a text.")],
    question: Annotated[
        int | None, typer.Option(metavar="N", help="Its number, if the node asks several things.")
    ] = None,
    store: Annotated[str | None, STORE] = None,
    as_json: Annotated[bool, JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Store the answer to what a node of a stored run asks, and say which command goes on.

    The answer is checked as the question asks. Several questions may be answered in any order, from anywhere that
    reaches the store; nothing runs before `antichain resume`.

    Exit codes: 0 stored, 2 nobody asks that, or the answer does not fit.
    """

    def work() -> int:
        from antichain.cli.answering import Request, answer
        from antichain.cli.places import place_of

        return answer(Request(place_of(store), run, node, value, question, as_json))

    raise typer.Exit(guarded(work, debug))


def _runs(
    graph: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of the graph of this name.")] = None,
    store: Annotated[str | None, STORE] = None,
    as_json: Annotated[bool, JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    List stored runs, the newest first: how each stands, how many nodes have an output, and what it takes to store.

    A run is interrupted if nobody holds it and it has not ended: `antichain resume` goes on with it.
    """

    def work() -> int:
        from antichain.cli.looking import Request, runs
        from antichain.cli.places import place_of

        return runs(Request(place_of(store), graph=graph, as_json=as_json))

    raise typer.Exit(guarded(work, debug))


def _show(
    run: Annotated[str, RUN],
    store: Annotated[str | None, STORE] = None,
    as_json: Annotated[bool, JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Show a stored run: states, durations, errors and questions of its nodes, and the commands that go on with it.
    """

    def work() -> int:
        from antichain.cli.looking import Request, show
        from antichain.cli.places import place_of

        return show(Request(place_of(store), run, as_json=as_json))

    raise typer.Exit(guarded(work, debug))


def _why(
    run: Annotated[str, RUN],
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of it.", autocompletion=_nodes)],
    store: Annotated[str | None, STORE] = None,
    as_json: Annotated[bool, JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Say in sentences how a node of a stored run stands: why it failed, what it waits for, what a resume does with it.
    """

    def work() -> int:
        from antichain.cli.looking import Request, why
        from antichain.cli.places import place_of

        return why(Request(place_of(store), run, node, as_json=as_json))

    raise typer.Exit(guarded(work, debug))


def _gc(
    keep: Annotated[int | None, typer.Option(metavar="N", help="Keep the newest N.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what has not changed for so long: 30d, 12h, 2w.")
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also runs that are interrupted, cancelled or wait for an answer.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    store: Annotated[str | None, STORE] = None,
    as_json: Annotated[bool, JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Remove runs that have ended from the store: those older than 30 days, if nothing else is said.

    A run that goes on is never removed; one that is interrupted or waits for an answer only with --unfinished.
    With both --keep and --older-than, a run is removed only if neither keeps it.
    """

    def work() -> int:
        from antichain.cli.places import place_of
        from antichain.cli.tidying import Request, gc

        return gc(Request(place_of(store), keep, older_than, unfinished, dry_run, as_json))

    raise typer.Exit(guarded(work, debug))


def _plan(
    file: Annotated[str, FILE],
    values: Annotated[list[str] | None, VALUES] = None,
    slots: Annotated[
        str | None, typer.Option(help="Numbers of slots to estimate the run for, such as 1,2,4,8.", metavar="N,N,...")
    ] = None,
    improve: Annotated[
        bool, typer.Option("--improve", help="Say too what a better order of starts would come to.")
    ] = False,
    limit: Annotated[list[str] | None, LIMIT] = None,
    store: Annotated[str | None, STORE] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Count with cost=, whatever earlier runs took.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as one JSON document.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Check a graph without running it, and estimate how long a run would take.

    Shows how many nodes it has and how many could ever run at once, its longest path, the inputs and limits that a run
    needs, and how long a run would take with so many slots: the real scheduler in virtual time, with the seconds that
    each node took in earlier runs, else its cost=, else 1. With --improve, it looks for a better order of starts, and
    plays the run a dozen times more for each number of slots. Inputs that only the run needs may be left out.

    Exit codes: 0 the graph is right, 2 it is not.
    """

    def work() -> int:
        from antichain.cli.places import place_of
        from antichain.cli.planning import Request, plan

        place = place_of(store, not no_store)
        return plan(Request(file, values or (), slots, limit or (), as_json, debug, place, improve))

    raise typer.Exit(guarded(work, debug))


def _demo(
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="What to ask; some questions if left out.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible server to ask instead of the one that comes along.", metavar="URL"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which failures the flaky parts have.", metavar="N")] = 0,
    trace: Annotated[str | None, TRACE] = None,
    kill: Annotated[
        bool, typer.Option("--kill", help="Run it in a process that is killed half-way, and resume it.")
    ] = False,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Show calls to a provider whose limit nobody knows, made in five ways.")
    ] = False,
    as_json: Annotated[bool, RESULT_AS_JSON] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """
    Show what it is for: questions about this Python's own documentation, answered in parallel.

    Searches, summaries over HTTP and a synthesis, with rate limits, retries and a flaky tool; offline, in seconds.
    """

    def work() -> int:
        from antichain.demo.command import demo

        return demo(model, questions, seed, as_json, Path(trace) if trace is not None else None, kill, capacity)

    raise typer.Exit(guarded(work, debug))
