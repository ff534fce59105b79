"""
What Tab shows, asked as the shells ask; a file is read for it and never run.
"""

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antichain.cli.completion import inputs
from tests.support.command import Here, Write

FILE = """
    open("was-run", "w").close()

    def make(folder: str, depth: int = 3) -> Graph:
        graph = Graph()

        @graph.node
        def inside(query): ...

        return graph

    def other() -> "antichain.Graph": ...
    def neither() -> int: ...

    graph = Graph("main")
    second: Graph = make("x")
    text = "Graph"

    @graph.node
    def left(number, other=1): ...

    @graph.node(retry=2)
    async def right(left, question, context: Context, *, tone, length=3): ...

    @second.node
    def apart(apart_from_all): ...
"""


@pytest.fixture
def tab(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """Answer what bash shows for a line whose words it has already broken, or the others for the line itself."""
    monkeypatch.chdir(tmp_path)

    def bash(*words: str) -> list[str]:
        monkeypatch.setenv("_ANTICHAIN_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(("antichain", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        code, out, err = here()
        assert (code, err) == (0, "")
        return out.split()

    yield bash
    assert not Path("was-run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ru"], ["run", "runs"]),
        (["run", "flow.p"], []),  # files are the shell's own business
        (["run", "flow.py", ":"], ["make", "other", "graph", "second"]),
        (["run", "flow.py", ":", "gr"], ["graph"]),
        (["run", "flow.py", ":", "x"], []),
        (["run", "nowhere.py", ":", ""], []),
        (["run", "flow.py", ":", "graph", ""], ["number=", "question=", "tone="]),
        (["run", "flow.py", ":", "graph", "number", "=", "3", "q"], ["question="]),
        (["run", "flow.py", ""], ["number=", "question=", "tone="]),
        (["run", "flow.py", ":", "make", ""], ["folder=", "depth=", "query="]),
        (["run", "flow.py", ":", "second", ""], ["apart_from_all="]),
        (["plan", "flow.py", ":", "nothing", ""], []),
        (["plan", "flow.py", ":", "s"], ["second"]),
        (["run", "flow.py", "--on-error", "d"], ["drain"]),
        (["plan", "--sl"], ["--slots"]),
    ],
)
def test_bash(write: Write, tab: object, words: list[str], expected: list[str]) -> None:
    write(FILE)
    assert callable(tab)
    assert tab(*words) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_do_not_break_words(
    write: Write, here: Here, monkeypatch: pytest.MonkeyPatch, shell: str, tmp_path: Path
) -> None:
    write(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_ANTICHAIN_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "antichain run flow.py:gr")
    code, out, _ = here()
    assert code == 0
    assert out.replace("\\", "").strip() in ("flow.py:graph", "_arguments '*: :((\"flow.py:graph\"))'")


@pytest.mark.parametrize("text", ["def f(:", "\0", "x = " + "(" * 500, "caf\xe9 = Graph()"])
def test_files_that_cannot_be_read_complete_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.py"
    file.write_bytes(text.encode("latin-1"))
    assert inputs(f"{file}:graph") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_script_of_bash(write: Write, tmp_path: Path) -> None:
    """The real shell takes the script and fills COMPREPLY."""
    write(FILE)
    program = tmp_path / "antichain"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m antichain "$@"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    line = (
        'eval "$(_ANTICHAIN_COMPLETE=source_bash ./antichain)"; COMP_WORDS=(antichain run flow.py : gr); '
        'COMP_CWORD=4; _antichain_completion ./antichain; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("graph\n", "")
