"""
`antichain run --trace`: a picture of the run is written, whatever becomes of it.
"""

import json
import signal
from pathlib import Path

import pytest

from tests.support.command import READY, Here, Write, interrupted

ONE = "graph = Graph('one')\ngraph.add('word', lambda: 'word')"
BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def events(path: Path) -> list[dict[str, object]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return list(document["traceEvents"] if isinstance(document, dict) else document)


def test_trace_is_written(write: Write, here: Here, tmp_path: Path) -> None:
    trace = tmp_path / "run.json"
    code, out, _ = here("run", write(ONE), "--trace", trace)
    assert (code, out) == (0, "word\n")
    assert "word" in {event.get("name") for event in events(trace)}


FAILS = """
    graph = Graph("fails")
    graph.add("first", lambda: 1)
    graph.add("bad", lambda first: 1 // 0)
"""


def test_trace_of_a_run_that_fails(write: Write, here: Here, tmp_path: Path) -> None:
    trace = tmp_path / "run.json"
    assert here("run", write(FAILS), "--trace", trace)[0] == 1
    assert {"first", "bad"} <= {event.get("name") for event in events(trace)}


def test_trace_of_a_run_that_passes_its_deadline(write: Write, here: Here, tmp_path: Path) -> None:
    trace = tmp_path / "run.json"
    file = write("graph = Graph()\ngraph.add('slow', lambda: asyncio.sleep(30))")
    assert here("run", file, "--trace", trace, "--deadline", "0.2")[0] == 1
    assert "slow" in {event.get("name") for event in events(trace)}


@BOTH
def test_trace_of_a_run_that_is_stopped(write: Write, tmp_path: Path, number: int, code: int) -> None:
    trace = tmp_path / "run.json"
    file = write(f"""
        async def slow():
            {READY}
            await asyncio.sleep(60)

        graph = Graph()
        graph.add("slow", slow)
    """)
    done = interrupted(file, number, arguments=("--trace", str(trace)))
    assert done.returncode == code
    assert "slow" in {event.get("name") for event in events(trace)}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{folder}", "is a folder: name a file in it"),
        ("{folder}/nowhere/run.json", "there is no folder '{folder}/nowhere'."),
        ("{folder}/" + "x" * 300, "is not a place for a file: "),
    ],
)
def test_trace_without_a_place_is_said_before_anything_runs(
    write: Write, here: Here, tmp_path: Path, place: str, said: str
) -> None:
    file = write(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{ONE}")
    code, out, err = here("run", file, "--trace", place.format(folder=tmp_path))
    assert (code, out) == (2, "")
    assert said.format(folder=tmp_path) in err
    assert not (tmp_path / "ran").exists()


def test_trace_that_cannot_be_written_is_a_failure(write: Write, here: Here, tmp_path: Path) -> None:
    """Its folder goes away while the run goes on; the result is shown all the same."""
    folder = tmp_path / "traces"
    folder.mkdir()
    file = write(f"graph = Graph()\ngraph.add('word', lambda: __import__('os').rmdir({str(folder)!r}) or 'word')")
    code, out, err = here("run", file, "--trace", folder / "run.json")
    assert (code, out) == (1, "word\n")
    assert f"antichain: --trace '{folder}/run.json' could not be written: No such file or directory." in err
