"""
README does what it says: its Python runs from top to bottom, its commands are the ones that CI runs.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LANGUAGES = {"python", "sh"}


def load_commands() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_commands", ROOT / ".ci" / "readme_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_python_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """All Python blocks as one script in a fresh process: nothing is needed but what the reader has seen."""
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "scattering" in done.stdout


def test_every_block_is_of_a_kind_that_is_run() -> None:
    fences = re.findall(r"^```(\S*)$", README, re.MULTILINE)
    assert {fence for fence in fences if fence} <= LANGUAGES
    assert len(fences) == 2 * (len(blocks("python")) + len(blocks("sh")))


def test_quick_start_is_two_commands_that_ci_runs() -> None:
    """`.ci/run` takes both from README itself and runs each in a fresh clone."""
    commands = load_commands().commands(README)
    assert commands == [block.strip() for block in blocks("sh")]
    assert len(commands) == 2
    assert all(command.startswith("python3 -m venv .venv && ") for command in commands)
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "readme_commands.py" in run


def test_commands_in_a_line_run(tmp_path: Path) -> None:
    """What is named in passing is pasted too; it runs from the clone."""
    named = re.findall(r"`\.venv/bin/antichain (.+?)`", README)
    assert named
    for command in named:
        arguments = [*shlex.split(command), f"out={tmp_path / 'digest.md'}"]
        done = subprocess.run(
            [sys.executable, "-m", "antichain", *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert "antichain." in done.stdout


def test_pictures_are_there_and_are_pictures() -> None:
    """The one of the demo was recorded from a run that lost nothing; docs/images says how."""
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    drawing = ET.parse(ROOT / picture).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    text = " ".join(drawing.itertext())
    assert "$ antichain demo" in text
    assert "429 and retried, none lost; most in flight: 8" in text


def test_files_that_readme_names_exist() -> None:
    named = set(re.findall(r"`((?:examples|bench|tests|docs)/[\w./]*|[A-Z]+\.md)`", README))
    named |= set(re.findall(r"\b(examples/\w+\.py)\b", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
