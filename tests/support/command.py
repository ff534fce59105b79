"""
The command `antichain` for tests: in a process of its own, or in this one; and files for it.
"""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from antichain.cli import main

Write = Callable[..., Path]
# Exit code, standard output, standard error.
Here = Callable[..., tuple[int, str, str]]

ROOT = str(Path(__file__).resolve().parents[2])
HEAD = "import asyncio, time\nfrom antichain import Graph\n"


def write_file(folder: Path, text: str, name: str = "flow.py") -> Path:
    """Write a file of Python for the command."""
    file = folder / name
    file.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
    return file


def command(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "antichain", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        **{"cwd": options.pop("cwd", None), **options},
    )


@contextmanager
def in_process(capfd: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Run it here, which is much faster; what it leaves in this process is put back."""
    before, path, modules = signal.getsignal(signal.SIGTERM), sys.path.copy(), set(sys.modules)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        for name in set(sys.modules) - modules:
            if is_of_the_user(name):
                del sys.modules[name]
        return code, out, err

    yield run
    signal.signal(signal.SIGTERM, before)
    sys.path[:] = path


def is_of_the_user(name: str) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return isinstance(file, str) and not file.startswith((sys.prefix, sys.base_prefix, ROOT))


# A line of a file that says to `interrupted` that the time has come.
READY = "print('ready', flush=True)"


def started(*arguments: object) -> "subprocess.Popen[str]":
    """Start a command that is to get signals."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell has these tests in the background: the command would ignore Ctrl-C as they do.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "antichain", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(file: Path, *signals: int, arguments: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Send signals to a command, each once it has said that it is ready for it."""
    with started("run", file, *arguments) as process:
        try:
            assert process.stdout is not None
            for number in signals:
                assert process.stdout.readline() == "ready\n"
                process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
