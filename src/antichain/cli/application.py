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
        text = printable(message().strip().removesuffix("."), None)
        return complain(f"{text}. `{path} --help` shows what there is.", None, USAGE, False)
    return code if isinstance(code, int) else 0


def _application() -> typer.Typer:
    # No rich: help is read in logs and on paper too, and its import would take longer than everything else.
    application = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    application.callback(invoke_without_command=True)(_antichain)
    application.command("run", short_help="Run a graph.")(_run)
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
    3 partial, 130 Ctrl-C, 143 terminated.
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


FILE = typer.Argument(
    metavar="FILE[:GRAPH]",
    help="A Python file, and a Graph in it or a function that returns one.",
    autocompletion=_files,
)
VALUES = typer.Argument(
    metavar="NAME=VALUE", help="Inputs: of the function first, then of the run.", autocompletion=_inputs
)


def _run(
    file: Annotated[str, FILE],
    values: Annotated[list[str] | None, VALUES] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Most nodes at once.", metavar="N")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Size of a named limit; may be repeated.", metavar="NAME=N")
    ] = None,
    on_error: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="After a failure: cancel what runs, drain it, or continue.",
            autocompletion=_on_errors,
        ),
    ] = None,
    deadline: Annotated[float | None, typer.Option(help="Time that the whole run may take.", metavar="SECONDS")] = None,
    run_id: Annotated[str | None, typer.Option(help="A name for this run.", metavar="TEXT")] = None,
    trace: Annotated[
        str | None,
        typer.Option(help="Write a trace of the run, whatever becomes of it, for ui.perfetto.dev.", metavar="FILE"),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress and a summary on standard error.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as one JSON document.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """
    Run a graph: progress goes to standard error, the result to standard output.

    GRAPH may be left out if the file makes it clear. A function that returns a Graph is called with the values that
    its parameters name, read as its annotations say (int, Path, list, Literal, Enum, dataclass, ...). All other values
    are inputs of the run: read as the nodes that take them are annotated, else JSON where they read as JSON, else text.

    \b
      antichain run flow.py question='why is the sky blue?'
      antichain run flow.py:make folder=/tmp --limit llm=4 --trace run.json

    Exit codes: 0 succeeded, 1 a node failed, 2 wrong usage or graph, 3 partial, 130 Ctrl-C, 143 terminated.
    """  # noqa: D301  # the backspace tells Typer to leave the lines of the example alone

    def work() -> int:
        from antichain.cli.running import Request, run

        options = {"max_concurrent": max_concurrent, "on_error": on_error, "deadline": deadline, "run_id": run_id}
        return run(Request(file, values or (), limit or (), options, trace, progress, as_json, debug))

    raise typer.Exit(guarded(work, debug))


def _plan(
    file: Annotated[str, FILE],
    values: Annotated[list[str] | None, VALUES] = None,
    slots: Annotated[
        str | None, typer.Option(help="Numbers of slots to estimate the run for, such as 1,2,4,8.", metavar="N,N,...")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Size of a named limit; may be repeated.", metavar="NAME=N")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as one JSON document.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """
    Check a graph without running it, and estimate how long a run would take.

    Shows how many nodes it has and how many could ever run at once, its longest path, the inputs and limits that a run
    needs, and how long a run would take with so many slots: the real scheduler in virtual time, with each node's cost=
    in seconds (1 where there is none). Inputs that only the run needs may be left out.

    Exit codes: 0 the graph is right, 2 it is not.
    """

    def work() -> int:
        from antichain.cli.planning import Request, plan

        return plan(Request(file, values or (), slots, limit or (), as_json, debug))

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
    trace: Annotated[
        str | None,
        typer.Option(help="Write a trace of the run, whatever becomes of it, for ui.perfetto.dev.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as one JSON document.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """
    Show what it is for: questions about this Python's own documentation, answered in parallel.

    Searches, summaries over HTTP and a synthesis, with rate limits, retries and a flaky tool; offline, in seconds.
    """

    def work() -> int:
        from antichain.demo.command import demo

        return demo(model, questions, seed, as_json, Path(trace) if trace is not None else None)

    raise typer.Exit(guarded(work, debug))
