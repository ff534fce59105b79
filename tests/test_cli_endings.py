"""
How a command ends when the world is against it: files that cannot be read, streams that are gone, signals at any time.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from antichain.cli import main
from tests.support.command import READY, Here, Write, command, interrupted, started, write_file

ONE = "graph = Graph('one')\ngraph.add('word', lambda: 'word')"


# -- files


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no graph"),
        (b"# nothing\n", "has no graph"),
        (b"caf\xe9 = 1\n", "cannot be imported: SyntaxError: (unicode error) 'utf-8' codec can't decode byte"),
        (b"x = 1\n\0\n", "cannot be imported: "),
        (b"\x7fELF\x02\x01\x01", "cannot be imported: SyntaxError"),
        (b"x = " + b"(" * 5000, "cannot be imported: "),
        (b"def f():\n\treturn 1\n        return 2\n", "cannot be imported: TabError"),
        (b"class Odd(BaseException): pass\nraise Odd('x')\n", "Odd: x"),
        (b"import asyncio\nraise asyncio.CancelledError\n", "CancelledError"),
        (b"import sys\nsys.exit()\n", "called sys.exit(None) while it was imported."),
        (b"import sys\nsys.exit('no')\n", "called sys.exit('no') while it was imported."),
        (b"def graph(): raise SystemExit(3)\n", "graph() in '{file}' called sys.exit(3)."),
        (b"a = b = 1\nraise ExceptionGroup('many', [ValueError(1)])\n", "ExceptionGroup: many (1 sub-exception)"),
    ],
)
@pytest.mark.parametrize("name", ["run", "plan"])
def test_files_that_are_no_graph(tmp_path: Path, here: Here, name: str, content: bytes, said: str) -> None:
    file = tmp_path / "flow.py"
    file.write_bytes(content)
    code, out, err = here(name, file)
    assert (code, out) == (1 if "BaseException" in str(content) or "Cancelled" in said else 2, "")
    assert said.format(file=file) in err
    assert err.startswith("antichain: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{folder}/" + "x" * 300 + ".py", "is not a file that can be read: File name too long."),
        ("a\0b.py", "there is no such file"),
        ("{folder}/loop.py", "there is no such file"),
        ("", "there is no such file"),
        (":", "there is no such file"),
        ("{folder}", "is a folder. Name a Python file in it."),
        ("{folder}:graph", "is a folder. Name a Python file in it."),
        ("{folder}/flow.py/graph", "there is no such file"),
        ("{folder}/flow.txt", "its name must end in .py."),
    ],
)
def test_places_that_are_no_file(tmp_path: Path, here: Here, target: str, said: str) -> None:
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    (tmp_path / "flow.txt").touch()
    write_file(tmp_path, ONE)
    code, out, err = here("run", target.format(folder=tmp_path))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(write: Write, here: Here) -> None:
    file = write(ONE)
    file.chmod(0)
    code, _, err = here("run", file)
    assert code == 2
    assert "PermissionError" in err


def test_file_with_a_colon_in_its_name(write: Write, here: Here) -> None:
    file = write(ONE, "a:graph.py")
    assert here("run", file)[:2] == (0, "word\n")
    assert here("run", f"{file}:graph")[:2] == (0, "word\n")


# -- streams

# As a user's shell has it: what is written fails late.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("arguments", ["run {file}", "run {file} --json", "plan {file}"])
def test_full_disk_is_said_once(write: Write, arguments: str) -> None:
    file = write(ONE)
    line = f"{sys.executable} -m antichain {arguments.format(file=file)} > /dev/full"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, env=BUFFERED)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("antichain: the output could not be written: ")
    assert "No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&1 >/dev/null | true"])
def test_lost_standard_error_changes_nothing(write: Write, where: str) -> None:
    file = write(f"{ONE}\ngraph.add('file', lambda: open('ran', 'w').close())")
    line = f"{sys.executable} -m antichain run {file} {where}"
    pipe = ["bash", "-c", f"set -o pipefail; {line}"]
    done = subprocess.run(pipe, capture_output=True, text=True, timeout=60, cwd=file.parent, env=BUFFERED)
    assert done.returncode == 0
    assert (file.parent / "ran").exists()


@pytest.mark.parametrize("arguments", ["run nowhere.py", "plan nowhere.py", "run --what"])
def test_complaint_that_nobody_can_read_keeps_its_code(arguments: str) -> None:
    line = f"{sys.executable} -m antichain {arguments} 2>/dev/full"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, env=BUFFERED)
    assert (done.returncode, done.stdout) == (2, "")


def test_what_a_file_prints_may_be_lost_too(write: Write) -> None:
    """Left in the buffer by the file, it would be a traceback and code 120 when Python ends."""
    file = write("print('x' * 100)\ngraph = Graph()\ngraph.add('nothing', lambda: None)")
    process = subprocess.Popen(
        [sys.executable, "-m", "antichain", "run", file, "--no-progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=BUFFERED,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], []])
def test_help_to_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    line = f"{sys.executable} -m antichain {' '.join(arguments)} 2>&1 | true"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, env=BUFFERED)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_progress_is_silent(write: Write, here: Here) -> None:
    assert here("run", write(ONE), "--no-progress") == (0, "word\n", "")


def on_a_terminal(*arguments: object, **environment: str) -> bytes:
    """Run the command on a terminal of its own and return all that it wrote there."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update({"TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment})
        os.environ.pop("CI", None)
        os.execv(sys.executable, [sys.executable, "-m", "antichain", *map(str, arguments)])
    written = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # its last writer has gone
            break
        if not part:
            break
        written += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, written
    return written


COLOR = re.compile(rb"\x1b\[[0-9;]*m")


def test_no_color_on_a_terminal(write: Write) -> None:
    file = write(ONE)
    assert not COLOR.search(on_a_terminal("run", file, NO_COLOR="1"))
    assert b"word\r\n" in on_a_terminal("run", file, NO_COLOR="1")


def test_no_escape_where_there_is_no_terminal(write: Write) -> None:
    done = command("run", write(ONE))
    assert "\x1b" not in done.stdout + done.stderr


def test_force_color_never_reaches_the_result(write: Write) -> None:
    done = command("run", write(ONE), env={**os.environ, "FORCE_COLOR": "1"})
    assert (done.returncode, done.stdout) == (0, "word\n")


# -- signals

BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@BOTH
def test_signal_during_the_factory(write: Write, number: int, code: int) -> None:
    done = interrupted(write(f"def graph() -> Graph:\n    {READY}\n    time.sleep(60)"), number)
    assert done.returncode == code
    assert done.stderr == f"antichain: {'interrupted' if code == 130 else 'terminated'}.\n"


@BOTH
def test_second_signal_during_import(write: Write, number: int, code: int) -> None:
    """The first one does not stop what cleans up; the second one does."""
    file = write(f"""
        try:
            {READY}
            time.sleep(60)
        finally:
            {READY}
            time.sleep(60)
    """)
    done = interrupted(file, number, number)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@BOTH
def test_signal_while_the_output_is_written(write: Write, number: int, code: int) -> None:
    """Nobody reads the pipe, so that the command is stuck in the middle of its output."""
    file = write(f"""
        def long():
            {READY}
            return "x" * 10_000_000

        graph = Graph()
        graph.add("long", long)
    """)
    with started("run", file) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.read(10) == "x" * 10
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert "Traceback" not in err


def test_foreign_thread_does_not_keep_the_process(write: Write) -> None:
    file = write(f"""
        import threading

        threading.Thread(target=time.sleep, args=(60,), name="sleeper\\x1b[31m").start()
        {READY}
        time.sleep(60)
    """)
    done = interrupted(file, signal.SIGINT)
    assert done.returncode == 130
    assert "left behind: sleeper\\x1b[31m; a thread cannot be ended" in done.stderr


# -- the demo


def test_demo_without_its_package_says_what_to_install(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    # Whoever ran the demo before has it imported.
    monkeypatch.delitem(sys.modules, "antichain.demo.chat", raising=False)
    code, out, err = here("demo")
    assert (code, out) == (2, "")
    assert "pip install 'antichain[demo]'" in err
    assert len(err.splitlines()) == 1


# -- the command itself


def test_without_a_command_help_is_shown_and_the_code_is_2(here: Here) -> None:
    code, out, err = here()
    assert (code, out) == (2, "")
    assert "Usage: antichain" in err


@pytest.mark.parametrize("name", ["", "run", "resume", "answer", "runs", "show", "why", "gc", "plan", "demo"])
def test_help_fits_eighty_columns(here: Here, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = here(*([name] if name else []), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert name != "run" or "\n    antichain run flow.py question='why is the sky blue?'\n" in out
    # What Typer has cut short.
    assert not re.search(r"\w\.\.\.$", out, re.MULTILINE)


def test_main_may_be_called_in_a_thread(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    file = write(ONE)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main, ["run", str(file), "--no-progress"]).result() == 0
    assert capfd.readouterr().out == "word\n"


def test_signal_that_comes_just_before_the_loop_falls_asleep(write: Write) -> None:
    """Python's own flag is up, and nothing has interrupted the call in which the loop waits: so does interrupt_main."""
    file = write("""
        import _thread

        def interrupt():
            time.sleep(0.2)  # the loop is waiting by now
            _thread.interrupt_main()
            time.sleep(60)

        graph = Graph(grace=0.1)
        graph.add("interrupt", interrupt)
    """)
    done = command("run", file)
    assert done.returncode == 130
    assert "interrupted. Completed: 0 of 1 nodes; abandoned" in done.stderr
    assert "--json" not in done.stderr
