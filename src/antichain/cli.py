"""
The command line: parse, call run, print a view, exit code. Nothing here decides what runs; only here is typer known.

`antichain --help` needs no engine: that is imported once there is a file to run.
"""

import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

if TYPE_CHECKING:
    import typer

    from antichain.graph import Graph
    from antichain.plan import Plan
    from antichain.record import RunResult

__all__ = ["main"]

SUCCEEDED: Final = 0
NODE_FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
CTRL_C: Final = 130
TERMINATED: Final = 143


@dataclass(frozen=True, slots=True)
class Request:
    """
    What `antichain run` was asked for.
    """

    target: str
    # Values by name, as typed; a name may be given several times.
    given: Mapping[str, list[str]]
    options: Mapping[str, Any] = field(default_factory=dict)  # Any: values of run options
    as_json: bool = False
    debug: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit code.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # It was closed before we began (`>&-`).
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open until the end
        elif isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets an escape, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _application()(arguments, prog_name="antichain")
    except SystemExit as stop:
        code = stop.code
    except Terminated:
        return TERMINATED
    return code if isinstance(code, int) else SUCCEEDED if code is None else NODE_FAILED


def _application() -> "typer.Typer":
    import typer

    application = typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )

    def show_version(value: bool) -> None:
        if value:
            from antichain import __version__

            print(f"antichain {__version__}")
            raise typer.Exit

    @application.callback()
    def antichain(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
        ] = False,
    ) -> None:
        """
        Run graphs of Python functions as parallel as their dependencies allow.
        """

    @application.command()
    def run(
        file: Annotated[
            str, typer.Argument(metavar="FILE[:GRAPH]", help="A Python file, and a graph or factory in it.")
        ],
        values: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Inputs.")] = None,
        max_concurrent: Annotated[int | None, typer.Option(help="Most nodes at once.", metavar="N")] = None,
        limit: Annotated[list[str] | None, typer.Option(help="Size of a named limit.", metavar="NAME=N")] = None,
        on_error: Annotated[str | None, typer.Option(help="On a failure: cancel, drain or continue.")] = None,
        deadline: Annotated[float | None, typer.Option(help="Seconds that the whole run may take.")] = None,
        run_id: Annotated[str | None, typer.Option(help="A name for this run.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as one JSON document.")] = False,
        debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
    ) -> None:
        """
        Run a graph: progress goes to standard error, the result to standard output.

        GRAPH is the name of a Graph, or of a function that returns one, whose parameters are filled from NAME=VALUE
        by their annotations. It may be left out if the file makes it clear. All other values are inputs of the run:
        JSON where they read as JSON, else text.

        Exit codes: 0 succeeded, 1 a node failed, 2 wrong usage or graph, 3 partial, 130 Ctrl-C, 143 terminated.
        """
        options: dict[str, Any] = {
            "max_concurrent": max_concurrent,
            "on_error": on_error,
            "deadline": deadline,
            "run_id": run_id,
        }

        def request() -> Request:
            options["limits"] = _limits(limit or ())
            return Request(file, _pairs(values or ()), _chosen(options), as_json, debug)

        raise typer.Exit(_guarded(request, debug))

    return application


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:  # Any: values of run options
    return {name: value for name, value in options.items() if value is not None and value != {}}


def _pairs(texts: Sequence[str]) -> dict[str, list[str]]:
    from antichain.loading import UsageError

    pairs: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{text!r} is not NAME=VALUE. Write for example path=/tmp or 'question=why is the sky blue?'."
            )
        pairs.setdefault(name, []).append(value)
    return pairs


def _limits(texts: Sequence[str]) -> dict[str, int]:
    from antichain.loading import UsageError

    limits = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not size.isdecimal():
            raise UsageError(f"--limit {text!r} is not NAME=N. Write for example --limit llm=4.")
        limits[name] = int(size)
    return limits


# -- running


def _guarded(request: Callable[[], Request], debug: bool) -> int:
    """
    Do what was asked for and turn everything that can go wrong into one paragraph and an exit code.
    """
    from antichain.loading import UsageError

    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(request())
    except UsageError as error:
        return _complain(str(error), error.__cause__, USAGE, debug)
    except KeyboardInterrupt as error:
        _complain("interrupted.", error, CTRL_C, debug)
        return _leave(CTRL_C)
    except Terminated as error:
        _complain("terminated.", error, TERMINATED, debug)
        return _leave(TERMINATED)
    except BrokenPipeError as error:
        # Whoever read the output has gone. What is left in the buffer must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain("the output was closed before all of it was written.", error, NODE_FAILED, debug)
    except Exception as error:  # noqa: BLE001  # the last door: said in a sentence, with --debug in full
        said = f"{type(error).__name__}: {error}"
        return _complain(f"something broke that is not the graph's fault: {said} (--debug shows it)", error, 1, debug)


class Terminated(BaseException):
    """
    Say that SIGTERM came, and that the nodes have cleaned up.
    """


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


# `run` calls it once the nodes have cleaned up.
_terminate.after_run = True  # type: ignore[attr-defined]


def _run(request: Request) -> int:
    from antichain.errors import AntichainError, GraphError, RunFailed, RunTimeout
    from antichain.loading import UsageError, load, open_graph
    from antichain.plan import prepare
    from antichain.run import run_plan

    file, module, name = load(request.target)
    graph, inputs = open_graph(file, module, name, request.given)
    try:
        given = {**request.options, "listeners": _listeners(graph), "progress": False}
        plan, inputs, options = prepare(graph, inputs, given)
    except GraphError as error:
        # Where a message shows how to give an input in Python, show how to give it here.
        raise UsageError(re.sub(r"\brun\((\w+)=…\)", r"\1=VALUE", str(error))) from error
    show = _Show(request, plan, str(file))
    try:
        result = run_plan(plan, inputs, options)
    except RunTimeout as error:
        return show.stopped(f"the run did not end within its deadline of {error.deadline:g} s.", error, NODE_FAILED)
    except RunFailed as error:
        return show.failed(error.result, error)
    except (KeyboardInterrupt, Terminated) as error:
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        code = show.stopped("interrupted." if is_ctrl_c else "terminated.", error, CTRL_C if is_ctrl_c else TERMINATED)
        return _leave(code)
    except AntichainError as error:
        return _complain(str(error), error, NODE_FAILED, request.debug)
    show.result(result)
    return SUCCEEDED if result.status == "succeeded" else show.failed(result, None)


def _listeners(graph: "Graph") -> list[Callable[[Any], object]]:  # Any: an event
    from antichain.views.progress import PlainProgress

    progress = PlainProgress()

    def listen(event: Any) -> None:  # Any: an event
        try:
            progress(event)
        except (OSError, ValueError):
            # Standard error was closed: nobody looks any more, and the run goes on.
            return

    return [listen, *(graph.options.get("listeners") or ())]


@dataclass(frozen=True, slots=True)
class _Show:
    """
    Print what became of a run.
    """

    request: Request
    plan: "Plan"
    file: str

    def result(self, result: "RunResult") -> None:
        """
        Print the outputs that no other node has used, or with ``--json`` everything.
        """
        from antichain.views.text import outputs_text

        if self.request.as_json:
            print(json.dumps(result.to_dict(), indent=2))
        else:
            plan = self.plan
            downstream = plan.shape.downstream
            sinks = plan.targets or [name for name in plan.ids if not downstream[plan.index[name]]]
            text = outputs_text({name: result[name] for name in sinks if name in result})
            if text:
                print(text)
        sys.stdout.flush()

    def failed(self, result: "RunResult", error: BaseException | None) -> int:
        """
        Say which nodes failed; *error* is None if the result was printed already.
        """
        from antichain.views.text import error_text, failures_text

        if error is not None:
            self.result(result)
        failures = failures_text(result, self.file)
        if not failures and isinstance(error, BaseExceptionGroup):
            # No node failed: a resource did when it was closed.
            failures = "\n".join(f"  {error_text(each)}" for each in error.exceptions)
        is_partial = result.status == "partial"
        head = f"the run of graph {result.name!r} {'is partial' if is_partial else 'failed'}:"
        cause = error or (BaseExceptionGroup("", list(result.errors.values())) if result.errors else None)
        return _complain(
            f"{head}\n{failures}\n{self._completed(result)}",
            cause,
            PARTIAL if is_partial else NODE_FAILED,
            self.request.debug,
        )

    def stopped(self, why: str, error: BaseException, code: int) -> int:
        """
        Say why the run ended before its nodes did, and print what completed.
        """
        result = getattr(error, "result", None)
        if result is None:
            return _complain(why, error, code, self.request.debug)
        self.result(result)
        return _complain(f"{why} {self._completed(result)}", error, code, self.request.debug)

    def _completed(self, result: "RunResult") -> str:
        from antichain.views.text import names_text

        text = f"Completed: {len(result)} of {len(self.plan)} nodes"
        if result:
            text += f" ({names_text(list(result))})"
        if result.abandoned:
            text += f"; abandoned, because they did not end when asked to: {names_text(result.abandoned)}"
        if not self.request.as_json:
            text += "; --json prints their outputs"
        return text + ("." if self.request.debug else "; --debug shows tracebacks.")


def _complain(text: str, error: BaseException | None, code: int, debug: bool) -> int:
    from antichain.views.text import foreign

    try:
        sys.stdout.flush()
        if debug and error is not None:
            print(foreign("".join(traceback.format_exception(error))), file=sys.stderr)
        print(f"antichain: {foreign(text)}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        return code
    return code


def _leave(code: int) -> int:
    """
    End after a signal even if a node has left a thread that Python would wait for.
    """
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if not left:
        return code
    names = ", ".join(thread.name for thread in left)
    _complain(f"left behind: {names}; a thread cannot be ended, only the process can.", None, code, False)
    sys.stdout.flush()
    os._exit(code)
