"""
Foreign text through every command and every place: it never drives the terminal, and forges no line.
"""

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.support.command import Here, Write, write_file

ESC, BEL, CSI, ST = "\x1b", "\x07", "\x9b", "\x9c"
FORGED = "antichain: FORGED"

HOSTILE = [
    *("".join(map(chr, range(start, start + 8))) for start in range(0, 0x20, 8)),
    "\x7f",
    *("".join(map(chr, range(start, start + 8))) for start in range(0x80, 0xA0, 8)),
    f"{ESC}[31mred{ESC}[0m",
    f"{ESC}[2J{ESC}[H",
    f"{ESC}[1A{ESC}[2K",
    f"{ESC}[?1049h",
    f"{ESC}[?25l",
    f"{ESC}[6n",
    f"{ESC}[8mhidden",
    f"{ESC}c",
    f"{ESC}(0lqk",
    f"{ESC}]0;title{BEL}",
    f"{ESC}]2;title{ESC}\\",
    f"{ESC}]8;;http://evil/{ESC}\\link{ESC}]8;;{ESC}\\",
    f"{ESC}]52;c;ZXZpbA=={BEL}",
    f"{ESC}P$q q{ESC}\\",
    f"{ESC}_application{ESC}\\",
    f"{CSI}31mred",
    f"\x9d0;title{ST}",
    "a\rb",
    "a\b\b\bb",
    f"a\r\n{FORGED}",
    f"a\n{FORGED}",
    f"a\v{FORGED}",
    f"a\f{FORGED}",
    f"a\x85{FORGED}",
    f"a\u2028{FORGED}",
    f"a\u2029{FORGED}",
    "\u202eevil\u202c",
    "\u202a\u202b\u202d",
    "\u2066a\u2067b\u2068c\u2069",
    "\u200e\u200f\u061c",
    "a\u200bb\u200cc\u200d\ufeff",
    "\udfff\ud800",
    "\U000e0041\U000e007f",
    "\ufff9a\ufffab\ufffb",
    "\xad",
    "x" * 5000 + f"{ESC}[5m",
]
assert len(HOSTILE) >= 40
# What can be typed: an argument has no zero in it, and a surrogate stands for a byte that is no text.
TYPED = [text.replace("\0", "").replace("\udfff\ud800", "\udc80\udcff") for text in HOSTILE]
# What can be a file's name.
NAMES = [text.replace("/", "") for text in TYPED if len(text) < 100]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written under such names is written where it goes away."""
    monkeypatch.chdir(tmp_path)


def assert_harmless(*texts: str, may_have_lines: bool = False) -> None:
    for text in texts:
        found = {
            character
            for character in text
            if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        }
        assert not found, sorted(map(ascii, found))
        if not may_have_lines:
            assert not re.search(rf"^\s*{FORGED}", text, re.MULTILINE), text


def test_this_test_sees_what_is_harmful() -> None:
    for text in HOSTILE:
        with pytest.raises(AssertionError):
            assert_harmless(text)


EVERYTHING = """
    import sys
    from antichain import Limit

    HOSTILE = {hostile!a}
    graph = Graph("graph " + HOSTILE[10], on_error="continue", limits={{text: 2 for text in HOSTILE}})

    class Odd:
        def __init__(self, text):
            self.text = text

        def __repr__(self):
            return self.text

    def failing(text):
        kind = type(text.replace("\\0", "").replace("\\udfff\\ud800", "?"), (Exception,), {{}})
        def body():
            raise kind(text)
        return body

    def grouped(text):
        def body():
            raise ExceptionGroup(text, [ValueError(text), OSError(5, text, text)])
        return body

    def needing(text):
        # A parameter of any name: from **inputs.
        return lambda **inputs: inputs

    for text in HOSTILE:
        graph.add("node " + text, lambda text=text: text, uses=text)
        graph.add("list " + text, lambda text=text: [text, Odd(text)])
        graph.add("dict " + text, lambda text=text: {{text: text}})
        graph.add("odd " + text, lambda text=text: Odd(text))
        graph.add("bad " + text, failing(text))
        graph.add("group " + text, grouped(text), retry=2)
        graph.map("map " + text, lambda item: 1 // item, over=[text, 0], key=lambda item: f"{{item}}" + text)

    inner = Graph("inner " + HOSTILE[11])
    for text in HOSTILE:
        inner.add(text, failing(text))
    graph.add("inner", inner)
"""


@pytest.fixture
def everything(write: Write) -> Path:
    return write(EVERYTHING.format(hostile=HOSTILE))


def test_run_shows_ids_outputs_and_errors(everything: Path, here: Here) -> None:
    code, out, err = here("run", everything)
    assert code == 3
    assert "bad " in err
    assert_harmless(out, may_have_lines=True)
    assert_harmless(err)


def test_run_as_json_is_ascii(everything: Path, here: Here) -> None:
    code, out, err = here("run", everything, "--json", "--no-progress")
    assert code == 3
    assert re.fullmatch(r"[\x20-\x7e\n]+", out)
    outputs = json.loads(out)["outputs"]
    assert [outputs["node " + text] for text in HOSTILE] == HOSTILE
    assert_harmless(err)


def test_run_that_fails_with_tracebacks(everything: Path, here: Here) -> None:
    code, out, err = here("run", everything, "--debug", "--on-error", "drain", "--max-concurrent", "1")
    assert code == 1
    assert "Traceback" in err
    assert_harmless(out, err, may_have_lines=True)


def test_run_that_passes_its_deadline(write: Write, here: Here) -> None:
    file = write(
        f"""
        graph = Graph({HOSTILE[12]!a})
        for text in {HOSTILE!a}:
            graph.add("kept " + text, lambda text=text: text)
            graph.add("slow " + text, lambda: asyncio.sleep(30))
        """
    )
    code, out, err = here("run", file, "--deadline", "0.3")
    assert code == 1
    assert_harmless(out, may_have_lines=True)
    assert_harmless(err)


def test_plan_shows_ids_limits_and_inputs(everything: Path, here: Here) -> None:
    code, out, err = here("plan", everything)
    assert code == 0, err
    assert_harmless(out, err)
    code, out, err = here("plan", everything, "--json", "--slots", "1")
    assert code == 0
    assert re.fullmatch(r"[\x20-\x7e\n]+", out)
    assert len(json.loads(out)["limits"]) > len(HOSTILE)


def test_graphs_that_are_wrong(write: Write, here: Here) -> None:
    file = write(
        f"""
        graph = Graph({HOSTILE[12]!a})
        for text in {HOSTILE!a}:
            graph.add(text, lambda **rest: 1, depends_on=["no " + text], uses="no " + text)
        """
    )
    for name in ("run", "plan"):
        code, out, err = here(name, file, "--debug")
        assert (code, out) == (2, "")
        assert_harmless(err, may_have_lines=True)
        code, out, err = here(name, file)
        assert_harmless(err)


PLACES = [
    ("run", "{text}"),
    ("run", "{text}.py"),
    ("run", "{file}:{text}"),
    ("run", "{file}:make", "{text}=1"),
    ("run", "{file}:make", "{text}=1", "{text}=2"),
    ("run", "{file}:make", "count={text}"),
    ("run", "{file}:make", "colour={text}"),
    ("run", "{file}:make", "point={text}"),
    ("run", "{file}:make", 'point={{"{text}": 1}}'),
    ("run", "{file}:make", "day={text}"),
    ("run", "{file}:make", "text={text}"),
    ("run", "{file}:make", "{text}"),
    ("run", "{file}:make", "--limit", "{text}=1"),
    ("run", "{file}:make", "--limit", "llm={text}"),
    ("run", "{file}:make", "--on-error", "{text}"),
    ("run", "{file}:make", "--run-id", "{text}"),
    ("run", "{file}:make", "--deadline", "{text}"),
    ("run", "{file}:make", "--max-concurrent", "{text}"),
    ("run", "{file}:make", "--trace", "{text}/x/y"),
    ("run", "{file}:make", "--trace", "{text}/"),
    ("run", "{file}:make", "--{text}"),
    ("plan", "{text}"),
    ("plan", "{file}:{text}"),
    ("plan", "{file}:make", "{text}=1"),
    ("plan", "{file}:make", "--slots", "{text}"),
    ("plan", "{file}:make", "--limit", "{text}=1"),
    ("plan", "{file}:make", "--{text}"),
    ("demo", "--model", "{text}"),
    ("demo", "--seed", "{text}"),
    ("demo", "--trace", "{text}/x/y"),
    ("demo", "--{text}"),
    ("{text}",),
    ("--{text}",),
]

MAKE = """
    import datetime
    from dataclasses import dataclass
    from enum import Enum

    class Colour(Enum):
        RED = "\\x1b[31m"

    @dataclass
    class Point:
        x: int = 0

    def make(
        count: int = 1,
        colour: Colour = Colour.RED,
        point: Point = Point(),
        day: datetime.date = datetime.date.min,
        text: str = "",
    ) -> Graph:
        graph = Graph("made", limits={"llm": 1})
        graph.add("shown", lambda: text, uses="llm")
        return graph
"""


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_what_is_typed(write: Write, here: Here, place: tuple[str, ...]) -> None:
    file = write(MAKE)
    for text in TYPED:
        arguments = [part.format(text=text, file=file) for part in place]
        _, out, err = here(*arguments)
        assert out or err
        assert_harmless(out, err, may_have_lines="text={text}" in place)


def test_names_of_files(tmp_path: Path, here: Here) -> None:
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = write_file(folder, "graph = Graph()\ngraph.add('bad', lambda: {}['x'])", f"{name}.py")
        for arguments in (["run", file], ["run", f"{file}:nothing"], ["plan", file]):
            _, out, err = here(*arguments)
            assert_harmless(out, err)
        _, out, err = here("run", file, "--debug")
        assert_harmless(out, err, may_have_lines=True)
        file.write_text("def f(:", encoding="utf-8")
        _, _, err = here("run", file)
        assert "SyntaxError" in err
        assert_harmless(err)
        # The nearest name is suggested.
        _, _, err = here("run", file.with_suffix(".p"))
        assert_harmless(err)
        _, _, err = here("run", folder)
        assert_harmless(err)


@pytest.mark.parametrize(
    "text",
    [
        "raise ValueError({text!a})",
        "raise type({kind!a}, (Exception,), {{}})({text!a})",
        "raise SystemExit({text!a})",
        "class Odd(BaseException): pass\nraise Odd({text!a})",
        "raise SyntaxError({text!a})",
        "exec({text!a})",
        "import importlib; importlib.import_module({kind!a} or 'x')",
        "globals()[{text!a}] = Graph()\nother = Graph()",
        "graph = type({kind!a}, (), {{}})()",
        "def graph():\n    raise ValueError({text!a})",
        "def graph():\n    raise SystemExit({text!a})",
        "class Odd:\n    def __repr__(self):\n        return {text!a}\ndef graph():\n    return Odd()",
        "graph = Graph({text!a})\ngraph.add('x', lambda needed: 1)",
        (
            "graph = Graph()\n@graph.resource\ndef pool():\n    yield 1\n    raise ValueError({text!a})\n"
            "@graph.node\ndef use(pool):\n    return 1"
        ),
        "graph = Graph()\ngraph.add('x', lambda: 1, when=lambda: 1 / 0, id={text!a})",
    ],
)
def test_what_a_file_does(write: Write, here: Here, text: str) -> None:
    for number, hostile in enumerate(HOSTILE):
        kind = hostile.replace("\0", "").replace("\udfff\ud800", "?")
        file = write(text.format(text=hostile, kind=kind))
        _, out, err = here(("run", "plan")[number % 2], file)
        assert_harmless(out, err)
        if number % 5 == 0:
            _, out, err = here("run", file, "--debug")
            assert_harmless(out, err, may_have_lines=True)


def test_source_lines_in_tracebacks(write: Write, here: Here) -> None:
    """A traceback shows the line itself, which may hold anything."""
    for hostile in HOSTILE:
        line = re.sub(r"[\0-\x1f\ud800-\udfff]", "", hostile)
        file = write(f"raise ValueError('{line}' + {hostile!a})  # {line}".replace("\\'", "'"))
        _, out, err = here("run", file, "--debug")
        assert "Traceback" in err
        assert_harmless(out, err, may_have_lines=True)


def test_completion(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell is told, and zsh evaluates."""
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = write_file(folder, MAKE, f"{name}.py")
        for shell, words in (("bash", f"antichain\nrun\n{file}\n:"), ("zsh", f"antichain run {file}:")):
            monkeypatch.setenv("_ANTICHAIN_COMPLETE", f"complete_{shell}")
            monkeypatch.setenv("COMP_WORDS", words)
            monkeypatch.setenv("COMP_CWORD", "3")
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
            code, out, err = here()
            assert code == 0, err
            assert_harmless(out, err)


def test_bytes_that_reach_a_pipe(everything: Path) -> None:
    """The same as they leave the process."""
    done = subprocess.run([sys.executable, "-m", "antichain", "run", everything], capture_output=True, timeout=60)
    assert done.returncode == 3
    assert_harmless(done.stdout.decode(), may_have_lines=True)
    assert_harmless(done.stderr.decode())
