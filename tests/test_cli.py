"""
The command line as its users meet it: in processes of its own, with real files, pipes and signals.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest

from antichain import Graph, __version__
from antichain.loading import UsageError, convert
from tests.support.command import Here, Write, command, started

# -- what a run prints

SUM = """
    graph = Graph("sum")

    @graph.node
    async def left(n: int) -> int:
        return n + 1

    @graph.node
    def right(n: int) -> int:
        return n * 2

    @graph.node
    async def total(left: int, right: int) -> str:
        return f"{left} and {right}"
"""


def test_result_goes_to_stdout_and_progress_to_stderr(write: Write) -> None:
    done = command("run", write(SUM), "n=20")
    assert (done.returncode, done.stdout) == (0, "21 and 40\n")
    assert re.search(r"\] sum: run \w+, 3 nodes\n", done.stderr)
    assert re.search(r"\] succeeded: 3", done.stderr)
    assert "3 succeeded in" in done.stderr  # the closing summary


def test_json_is_one_document_with_everything(write: Write) -> None:
    done = command("run", write(SUM), "n=20", "--json", "--run-id", "nightly-7")
    document = json.loads(done.stdout)
    assert document["outputs"] == {"left": 21, "right": 40, "total": "21 and 40"}
    assert (document["run_id"], document["status"], document["version"]) == ("nightly-7", "succeeded", 1)
    assert document["nodes"]["right"]["state"] == "succeeded"


def test_json_shows_what_it_cannot_hold(write: Write, here: Here) -> None:
    code, out, _ = here(
        "run", write("graph = Graph()\ngraph.add('odd', lambda: {'when': time, 'half': '\\ud800'})"), "--json"
    )
    assert code == 0
    value = json.loads(out)["outputs"]["odd"]
    assert value["when"]["repr"].startswith("<module 'time'")
    assert value["half"] == "\ud800"


def test_several_sinks_stand_under_their_names(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph()
        graph.add("words", lambda: "one line")
        graph.add("numbers", lambda: [1, 2])
        graph.add("table", lambda: {"a": 1, "b": None})
        graph.add("nothing", lambda: None)
    """)
    code, out, _ = here("run", file)
    assert code == 0
    assert out == "words: one line\nnumbers:\n  1\n  2\ntable:\n  a: 1\n  b: None\nnothing:\n"


def test_long_output_is_cut_and_says_so(write: Write, here: Here) -> None:
    _, out, _ = here("run", write("graph = Graph()\ngraph.add('many', lambda: list(range(1000)))"))
    assert len(out.splitlines()) == 101
    assert out.endswith("99\n… and 900 more\n")


def test_foreign_text_never_drives_the_terminal(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph("evil \\x1b[2J", on_error="continue")
        graph.add("text", lambda: "a\\x1b[31mb\\n\\tc\\u202e\\r\\x9bd")
        graph.add("list", lambda: ["\\x1b]0;title\\x07"])

        class Odd:
            def __repr__(self):
                return "\\x1b[5m"

        graph.add("object", Odd)

        @graph.node(id="\\x1b[1mbad")
        def bad():
            raise ValueError("\\x1b[31mred\\x1b[0m\\nline")
    """)
    code, out, err = here("run", file)
    assert code == 3
    assert "a\\x1b[31mb\n  \tc\\u202e\\r\\x9bd\n" in out
    for text in (out, err):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "\\x1b[1mbad: ValueError: \\x1b[31mred\\x1b[0m\\nline" in err
    _, _, err = here("run", file, "\x1b[31m=1")
    assert "\x1b" not in err
    _, _, err = here("run", file, "--debug")
    assert "\x1b" not in err


def test_what_a_terminal_cannot_show_is_escaped(write: Write) -> None:
    done = command(
        "run",
        write("graph = Graph()\ngraph.add('text', lambda: 'café')"),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout) == (0, "caf\\xe9\n")


# -- exit codes and failures

REPORT = """
    graph = Graph("report", limits={"disk": 2})

    @graph.node
    async def prices():
        return [3, 4]

    @graph.node(retry=2, uses="disk")
    def weather():
        raise OSError("the station is silent")

    @graph.node
    async def report(prices, weather):
        return "never"

    @graph.node
    async def apart(prices):
        return "kept"
"""


def test_failed_node_is_one_paragraph_and_code_1(write: Write, here: Here) -> None:
    code, out, err = here("run", write(REPORT), "--on-error", "drain")
    assert code == 1
    assert out == "kept\n"
    failure = err[err.index("antichain: ") :]
    assert failure == (
        "antichain: the run of graph 'report' failed:\n"
        "  weather: OSError: the station is silent (2 attempts, line 12)\n"
        "Completed: 2 of 4 nodes (prices, apart); --json prints their outputs; --debug shows tracebacks.\n"
    )
    assert "Traceback" not in err


def test_debug_shows_the_traceback(write: Write, here: Here) -> None:
    for mode in ("cancel", "continue"):
        _, _, err = here("run", write(REPORT), "--debug", "--on-error", mode)
        assert "Traceback (most recent call last)" in err
        assert 'raise OSError("the station is silent")' in err


def test_partial_run_is_code_3(write: Write, here: Here) -> None:
    code, out, err = here("run", write(REPORT), "--on-error", "continue")
    assert (code, out) == (3, "kept\n")
    assert "is partial:\n  weather: OSError" in err


def test_failed_run_keeps_what_completed_in_its_json(write: Write, here: Here) -> None:
    code, out, _ = here("run", write(REPORT), "--on-error", "drain", "--json")
    assert code == 1
    document = json.loads(out)
    assert document["status"] == "failed"
    assert document["outputs"] == {"prices": [3, 4], "apart": "kept"}
    assert document["nodes"]["weather"]["error"] == {"type": "OSError", "message": "the station is silent"}


def test_failure_inside_a_container_is_told_once(write: Write, here: Here) -> None:
    file = write("""
        inner = Graph("inner")
        inner.add("deep", lambda: 1 // 0)
        outer = Graph("outer")
        outer.add("part", inner)
        outer.map("items", lambda x: 1 // x, over=[1, 0])
    """)
    code, _, err = here("run", f"{file}:outer", "--on-error", "continue")
    assert code == 3
    told = err[err.index("antichain: ") :].splitlines()[1:-1]
    assert [line.partition(":")[0] for line in told] == ["  part/deep", "  items[1]"]


def test_deadline_is_code_1_and_keeps_what_completed(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph()
        graph.add("quick", lambda: "kept")
        graph.add("slow", lambda: asyncio.sleep(30))
    """)
    code, out, err = here("run", file, "--deadline", "0.3")
    assert (code, out) == (1, "kept\n")
    assert "antichain: the run did not end within its deadline of 0.3 s. Completed: 1 of 2 nodes (quick)" in err


def test_options_reach_the_run(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph(limits={"disk": 3})
        running = most = 0

        async def work():
            global running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        for number in range(6):
            graph.add(f"n{number}", work, uses="disk")
        graph.add("most", lambda: most, depends_on=[f"n{number}" for number in range(6)])
    """)
    assert here("run", file)[1] == "3\n"
    assert here("run", file, "--limit", "disk=2")[1] == "2\n"
    assert here("run", file, "--max-concurrent", "1")[1] == "1\n"


# -- usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{folder}/flaw.py"], "there is no such file. Did you mean '{folder}/flow.py'?"),
        (["{folder}/nowhere/flow.py"], "Neither is there a folder"),
        (["{file}:grap"], "has no 'grap'. Did you mean 'graph'? It has: graph."),
        (["{file}:"], "names nothing after the colon"),
        (["{file}:left"], "'left' in '{file}' is a Node, neither a Graph nor a function"),
        (["{folder}"], "is a folder. Name a Python file in it. Did you mean '{file}'?"),
        (["{file}"], "[missing-input] node 'left' and 1 more need 'n'"),
        (["{file}"], "Give it: n=VALUE."),
        (["{file}", "n=1", "m=2"], "'m'"),
        (["{file}", "n=1", "n=2"], "n= is given 2 times; give it once."),
        (["{file}", "n"], "'n' is not NAME=VALUE"),
        (["{file}", "=1"], "'=1' is not NAME=VALUE"),
        (["{file}", "n=1", "--limit", "llm"], "--limit 'llm' is not NAME=N"),
        (["{file}", "n=1", "--limit", "llm=x"], "--limit 'llm=x' is not NAME=N"),
        (["{file}", "n=1", "--limit", "llm=4"], "[unknown-limit]"),
        (["{file}", "n=1", "--on-error", "explode"], "use 'cancel', 'drain' or 'continue'"),
        (["{file}", "n=1", "--max-concurrent", "0"], "limit 'max_concurrent' is 0"),
        (["{file}", "n=1", "--deadline", "-1"], "deadline=-1.0: must be above zero"),
        (["{file}", "n=1", "--what"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_paragraph_and_code_2(write: Write, here: Here, arguments: list[str], said: str) -> None:
    file = write(SUM)
    names = {"file": str(file), "folder": str(file.parent)}
    code, out, err = here("run", *(argument.format(**names) for argument in arguments))
    assert (code, out) == (2, "")
    assert said.format(**names) in err
    assert "Traceback" not in err
    assert "?." not in err
    assert len(err.splitlines()) <= 4


def test_a_command_that_is_mistyped_is_guessed(here: Here) -> None:
    """In words of typer's, which end in a question."""
    code, _, err = here("rnu")
    assert (code, "'rnu'" in err, "?." in err) == (2, True, False)
    assert err.endswith("`antichain --help` shows what there is.\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "cannot be imported: SyntaxError: invalid syntax in line 3."),
        ("x = 1\nboom = {}['key']", "cannot be imported: KeyError: 'key' (line 4)."),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all' (line 3)"),
        ("raise SystemExit(5)", "called sys.exit(5) while it was imported."),
        ("x = 1", "has no graph: no Graph, no function called `graph`"),
        ("a = Graph()\nb = Graph()", "has several graphs: name one, as in flow.py:a. It has: a, b."),
        ("def graph():\n    return 5", "graph() in '{file}' returned 5, not a Graph."),
        ("async def graph():\n    return Graph()", "is async, but a graph is made before there is a loop"),
        ("def graph():\n    return {}['key']", "graph() in '{file}' failed: KeyError: 'key' (line 4)."),
        ("def graph(a, b=1):\n    return Graph()", "graph() needs a: add a=VALUE to the command."),
        ("def graph(n: float):\n    return Graph()", "n='1x' is not a valid float."),
        ("graph = Graph()\ngraph.add('a', lambda b: b)\ngraph.add('b', lambda a: a)", "[cycle]"),
    ],
)
def test_wrong_file_is_one_paragraph_and_code_2(write: Write, here: Here, text: str, said: str) -> None:
    file = write(text)
    code, out, err = here("run", file, *(["n=1x"] if "float" in text else []))
    assert (code, out) == (2, "")
    assert said.format(file=file) in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_debug_shows_why_a_file_cannot_be_imported(write: Write, here: Here) -> None:
    _, _, err = here("run", write("boom = {}['key']"), "--debug")
    assert "Traceback (most recent call last)" in err
    assert "KeyError: 'key'" in err


# -- which graph is meant


@pytest.mark.parametrize(
    "text",
    [
        "anything = Graph()\nanything.add('x', lambda: 'this')",
        "def graph():\n    g = Graph()\n    g.add('x', lambda: 'this')\n    return g\nother = Graph()",
        "def make() -> Graph:\n    g = Graph()\n    g.add('x', lambda: 'this')\n    return g\ndef help(): ...",
        "def make() -> 'Graph':\n    g = Graph()\n    g.add('x', lambda: 'this')\n    return g",
        "inner = Graph()\ninner.add('x', lambda: 'this')\ngraph = Graph()\ngraph.add('inner', inner)",
    ],
)
def test_the_graph_that_is_meant_is_found(write: Write, here: Here, text: str) -> None:
    assert here("run", write(text))[:2] == (0, "this\n")


def test_factory_gets_its_parameters_and_the_run_the_rest(write: Write, here: Here) -> None:
    file = write("""
        from pathlib import Path

        def other(count: int, folder: Path, /, tags: list[str] = (), *, fast: bool = False, **more) -> Graph:
            graph = Graph()
            graph.add("seen", lambda n, text: [count, str(folder), tags, fast, n, text])
            return graph
    """)
    given = ["count=3", "folder=/tmp", "tags=a,b", "tags=c", "fast=yes", "n=[1, {}]", "text=NaN"]
    code, out, _ = here("run", f"{file}:other", *given)
    assert code == 0
    assert out.splitlines() == ["3", "/tmp", "['a,b', 'c']", "True", "[1, {}]", "NaN"]


@pytest.mark.parametrize(
    ("signatures", "expected"),
    [
        (["year: str"], "'2024'"),
        (["year: 'str'"], "'2024'"),
        (["year: str", "year"], "'2024'"),
        (["year: str", "year: int"], "2024"),  # they do not agree: JSON
        (["year"], "2024"),
        (["year: float"], "2024.0"),
        (["year: list[int]"], "[2024]"),
        (["year: 'NotThere'"], "2024"),
        (["year: str = ''"], "'2024'"),
    ],
)
def test_inputs_are_read_as_the_nodes_that_take_them_say(
    write: Write, here: Here, signatures: list[str], expected: str
) -> None:
    nodes = "".join(f"@graph.node\ndef n{i}({each}): return repr(year)\n" for i, each in enumerate(signatures))
    code, out, err = here("run", write(f"graph = Graph()\n{nodes}"), "year=2024")
    assert code == 0, err
    assert set(re.findall(r"(?:n\d+: |^)(.+)", out, re.MULTILINE)) == {expected}


def test_factory_may_be_anything_that_is_called_as_one(write: Write, here: Here) -> None:
    file = write("""
        import functools

        def make(word: str, times: int) -> Graph:
            graph = Graph()
            graph.add("words", lambda: word * times)
            return graph

        twice = functools.partial(make, times=2)
        kept = functools.cache(make)
    """)
    assert here("run", f"{file}:twice", "word=a")[:2] == (0, "aa\n")
    assert here("run", f"{file}:kept", "word=a", "times=3")[:2] == (0, "aaa\n")


def test_file_is_imported_like_a_script(write: Write) -> None:
    """Its neighbours can be imported, its module is known, and a name of the library does no harm."""
    write("word = 'neighbour'", "neighbour.py")
    file = write(
        """
        import json, sys
        from dataclasses import dataclass
        from neighbour import word

        @dataclass
        class Answer:
            word: "str"

        assert sys.modules[Answer.__module__].Answer is Answer
        assert __name__ != "__main__"
        graph = Graph()
        graph.add("x", lambda: json.dumps(Answer(word).word))
        """,
        "statistics.py",
    )
    done = command("run", file.name, cwd=file.parent)
    assert (done.returncode, done.stdout) == (0, '"neighbour"\n'), done.stderr


# -- values


class Colour(Enum):
    RED = "r"


@dataclass(frozen=True)
class Point:
    x: float
    names: list[str] = field(default_factory=list)
    colour: Colour = Colour.RED


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError("too small")


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("texts", "annotation", "expected"),
    [
        (["3"], int, 3),
        (["3"], float, 3.0),
        (["3"], str, "3"),
        (["3"], Any, 3),
        (["three"], Any, "three"),
        (['{"a": [1]}'], Any, {"a": [1]}),
        (["NaN"], Any, "NaN"),
        (["[" * 100_000], Any, "[" * 100_000),
        (["on"], bool, True),
        (["False"], bool, False),
        (["~"], Path, Path.home()),
        (["null"], int | None, None),
        (["7"], int | None, 7),
        (["7"], str | int, 7),
        (["seven"], str | int, "seven"),
        (["a"], list[str], ["a"]),
        (["a", "b, c"], list[str], ["a", "b, c"]),
        (['["a", "b"]'], list[str], ["a", "b"]),
        (["[1, 2]"], list[int], [1, 2]),
        (["1", "2"], tuple[int, ...], (1, 2)),
        (["1", "1"], set[int], {1}),
        (["r"], Colour, Colour.RED),
        (["RED"], Colour, Colour.RED),
        (["fast"], Literal["fast", "slow"], "fast"),
        (['{"a": 1}'], dict[str, int], {"a": 1}),
        (["3"], Annotated[int, "a note"], 3),
        (["3"], Optional[int], 3),  # noqa: UP045  # as users still write it
        (["None"], Optional[int], None),  # noqa: UP045
        (["3"], UserId, 3),
        (["2"], Literal[1, 2], 2),
        (["a", "b"], Sequence[str], ["a", "b"]),
        (["a", "b"], Iterable[str], ["a", "b"]),
        (["1"], list, [1]),
        (["[]"], list[int], []),
        (["3", "x"], tuple[int, str], (3, "x")),
        (['[3, "x"]'], tuple[int, str], (3, "x")),
        (["[[1, 2], [3]]"], list[list[int]], [[1, 2], [3]]),
        (['[{"x": 1}]'], list[Point], [Point(1.0)]),
        (['{"x": 1, "names": ["a"], "colour": "RED"}'], Point, Point(1.0, ["a"], Colour.RED)),
        (["3"], bytes, b"3"),
        (["2024-02-29"], date, date(2024, 2, 29)),
        (["2024-02-29T12:00:00+00:00"], datetime, datetime(2024, 2, 29, 12, tzinfo=UTC)),
        (["0.1"], Decimal, Decimal("0.1")),
        (["5" * 32], UUID, UUID("5" * 32)),
        (["inf"], float, math.inf),
    ],
)
def test_values_are_read_as_annotated(texts: list[str], annotation: Any, expected: Any) -> None:
    found = convert("x", texts, annotation)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("texts", "annotation", "said"),
    [
        (["x"], int, "x='x' is not a valid int."),
        (["maybe"], bool, "(write true or false)"),
        (["blue"], Colour, "(use r, RED)"),
        (["x"], int | None, "not a valid int"),
        (["1", "x"], list[int], "not a valid int"),
        (["1", "2"], int, "given 2 times"),
        (["1", "2", "3"], tuple[int, str], "x= takes 2 values, and 3 are given."),
        (["a"], dict[str, int], "x='a' is not a valid dict (write a JSON object"),
        (["a"], Point, 'is not a JSON object: write x=\'{"x": …, "names": …, "colour": …}\'.'),
        (['{"y": 1}'], Point, "x= has no field 'y'."),
        (['{"x": "a"}'], Point, "x.x='a' is not a valid float."),
        (["{}"], Point, "makes no Point: TypeError"),
        (['{"number": 0}'], Positive, "makes no Positive: ValueError: too small."),
        (["2024-02-30"], date, "x='2024-02-30' is not a valid date (day is out of range for month)"),
        (["x"], Decimal, "x='x' is not a valid Decimal."),
        (["x"], UUID, "x='x' is not a valid UUID"),
        (["3"], Literal[1, 2], "(use 1, 2)"),
    ],
)
def test_values_that_cannot_be_read(texts: list[str], annotation: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        convert("x", texts, annotation)


# -- the command itself


def test_version_and_help(here: Here) -> None:
    assert here("--version") == (0, f"antichain {__version__}\n", "")
    code, out, _ = here("--help")
    assert code == 0
    assert "Usage: antichain" in out
    code, out, _ = here("run", "--help")
    assert code == 0
    for word in ("FILE[:GRAPH]", "NAME=VALUE", "--max-concurrent", "--limit", "--on-error", "--deadline", "--run-id"):
        assert word in out


def test_help_imports_no_engine() -> None:
    code = (
        "import sys; from antichain.cli import main; main(['--help']); "
        "print(*sorted(name for name in sys.modules if name.startswith('antichain')), 'asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (
        done.stdout.splitlines()[-1] == "antichain antichain.cli antichain.cli.application antichain.cli.endings False"
    )


def test_closed_pipe_is_no_traceback(write: Write) -> None:
    file = write("graph = Graph()\ngraph.add('long', lambda: 'x' * 1_000_000)")
    process = subprocess.Popen(
        [sys.executable, "-m", "antichain", "run", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams_do_no_harm(write: Write, closed: str) -> None:
    file = write("graph = Graph()\ngraph.add('word', lambda: open('ran', 'w').close() or 'word')")
    line = f"{sys.executable} -m antichain run {file} {closed}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, cwd=file.parent)
    assert done.returncode == 0
    assert (file.parent / "ran").exists()
    assert "Traceback" not in done.stderr


# -- signals

SLOW = """
    from pathlib import Path

    def say(word):
        print(word, flush=True)

    def polite() -> Graph:
        graph = Graph("polite", grace=10.0)

        @graph.resource
        async def pool():
            yield "pool"
            say("pool closed")

        @graph.node
        async def first():
            return "kept"

        @graph.node
        async def waits(first, pool):
            say("ready")
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                say("cleaned up")

        return graph

    def swallows() -> Graph:
        graph = Graph("swallows", grace=0.5)

        @graph.node
        async def hopeless():
            say("ready")
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    say("no")

        return graph

    def spins() -> Graph:
        graph = Graph("spins", grace=0.5)

        @graph.node
        def busy():
            say("ready")
            while True:
                pass

        return graph

    def hangs() -> Graph:
        graph = Graph("hangs", grace=0.5)

        @graph.node
        async def foreign_thread():
            say("ready")
            await asyncio.to_thread(time.sleep, 60)

        return graph

    def patient() -> Graph:
        graph = spins()
        graph.options["grace"] = 60.0
        return graph
"""


class Interrupted:
    """A command that gets signals once it has said that it is ready."""

    def __init__(self, file: Path, graph: str, *signals: int, arguments: tuple[str, ...] = ()) -> None:
        process = started("run", f"{file}:{graph}", *arguments)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            began = time.monotonic()
            process.send_signal(signals[0])
            for number in signals[1:]:
                # Two signals that come before the process has had its turn are one. But while the interpreter ends,
                # one more would end it by itself.
                while process.poll() is None and time.monotonic() < began + 30:
                    process.send_signal(number)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(1.5)
            self.out, self.err = process.communicate(timeout=30)
        finally:
            process.kill()
        self.code = process.returncode
        self.seconds = time.monotonic() - began


BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@BOTH
def test_signal_cleans_up_and_keeps_what_completed(write: Write, number: int, code: int) -> None:
    run = Interrupted(write(SLOW), "polite", number)
    assert run.code == code
    assert run.out == "cleaned up\npool closed\n"
    assert "Completed: 1 of 2 nodes (first)" in run.err
    assert ("interrupted." if code == 130 else "terminated.") in run.err
    assert "Traceback" not in run.err


@BOTH
def test_signal_prints_what_completed_as_json(write: Write, number: int, code: int) -> None:
    run = Interrupted(write(SLOW), "polite", number, arguments=("--json",))
    assert run.code == code
    document = json.loads(run.out.partition("pool closed\n")[2])
    assert document["outputs"] == {"first": "kept"}
    assert document["nodes"]["waits"]["state"] == "cancelled"


@BOTH
@pytest.mark.parametrize("graph", ["swallows", "spins", "hangs"])
def test_signal_ends_what_does_not_want_to_end(write: Write, graph: str, number: int, code: int) -> None:
    """Within grace and a second; what could not be ended is named."""
    run = Interrupted(write(SLOW), graph, number)
    assert run.code == code
    assert run.seconds < 5  # grace 0.5 and 1 s, on a busy machine
    assert "Traceback" not in run.err
    name = {"swallows": "hopeless", "spins": "busy", "hangs": "asyncio_0"}[graph]
    assert re.search(rf"(abandoned|left behind)[^\n]*{name}", run.err)


def test_second_ctrl_c_ends_at_once(write: Write) -> None:
    run = Interrupted(write(SLOW), "patient", signal.SIGINT, signal.SIGINT)
    assert run.code == 130
    assert run.seconds < 5  # not the grace of a minute
    assert "Traceback" not in run.err


@BOTH
def test_signal_while_the_file_is_imported(write: Write, number: int, code: int) -> None:
    file = write("print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    run = Interrupted(file, "graph", number)
    assert run.code == code
    assert "Traceback" not in run.err


def test_graph_runs_here_and_there_alike(write: Write) -> None:
    """The command adds nothing: the same graph gives the same through the library."""
    graph = Graph("sum")
    graph.add("left", lambda n: n + 1)
    assert graph.run(n=20)["left"] == json.loads(command("run", write(SUM), "n=20", "--json").stdout)["outputs"]["left"]
