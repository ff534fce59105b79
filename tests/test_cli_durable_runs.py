"""
Real runs in real stores, as the commands begin, end, show and resume them.
"""

import json
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from antichain import Graph, SqliteStore
from antichain.cli.places import DEFAULT, place_of
from antichain.cli.storing import Labelled, target_of, words_of
from antichain.loading import UsageError
from antichain.stores.protocol import FactKind
from antichain.views.board import Board
from antichain.views.frame import frame, plain
from tests.support.command import READY, Here, Write, started


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own, in which nobody has said anything about stores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


SUM = """
    import os

    graph = Graph("sum")

    @graph.node
    def left(n: int) -> int:
        return n + 1

    @graph.node
    def total(left: int) -> str:
        if os.path.exists("broken"):
            raise OSError("it is broken")
        return f"total {left}"
"""


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


# -- where runs are stored


def test_a_run_is_stored_by_default_and_says_nothing_of_it(write: Write, here: Here, folder: Path) -> None:
    write(SUM)
    assert here("run", "flow.py", "n=1", "--no-progress") == (0, "total 2\n", "")
    (line,) = SqliteStore(DEFAULT).runs()
    assert (line.graph, line.status, line.succeeded) == ("sum", "succeeded", 2)
    assert words_of(line.target) == [str(folder / "flow.py")]
    assert (folder / ".antichain" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_nothing_is_stored_if_that_is_said(
    write: Write, here: Here, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    write(SUM)
    if how == "variable":
        monkeypatch.setenv("ANTICHAIN_STORE", "none")
    assert here("run", "flow.py", "n=1", *(["--no-store"] if how == "option" else []))[:2] == (0, "total 2\n")
    assert not (folder / ".antichain").exists()


def test_the_option_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (place_of(None).spec, place_of(None).words) == (DEFAULT, ())
    monkeypatch.setenv("ANTICHAIN_STORE", "there.db")
    assert (place_of(None).spec, place_of(None).words) == ("there.db", ())
    assert (place_of("here.db").spec, place_of("here.db").words) == ("here.db", ("--store", "here.db"))
    assert place_of(None, stores=False).spec == ""
    monkeypatch.setenv("ANTICHAIN_STORE", "")
    assert place_of(None).spec == DEFAULT
    for arguments in (("x.db", False), ("", True)):
        with pytest.raises(UsageError):
            place_of(*arguments)


def test_where_there_is_no_room_a_run_goes_on_unstored(write: Write, here: Here, folder: Path) -> None:
    write(SUM)
    (folder / ".antichain").write_text("a file is in the way")
    code, out, err = here("run", "flow.py", "n=1", "--no-progress")
    assert (code, out) == (0, "total 2\n")
    assert err.startswith("antichain: this run is not stored: '.antichain' cannot be used: ")
    assert len(err.splitlines()) == 1


def test_a_folder_that_a_full_disk_has_left_unfinished_is_finished(write: Write, here: Here, folder: Path) -> None:
    """Its mark for version control was made and not filled."""
    write(SUM)
    (folder / ".antichain").mkdir()
    (folder / ".antichain/.gitignore").touch()
    assert here("run", "flow.py", "n=1", "--no-progress")[0] == 0
    assert (folder / ".antichain/.gitignore").read_text() == "*\n"


def test_a_store_that_was_asked_for_has_to_work(write: Write, here: Here) -> None:
    write(SUM)
    code, out, err = here("run", "flow.py", "n=1", "--no-progress", "--store", "nowhere/runs.db")
    assert code != 0
    assert out == ""
    assert "nowhere" in err
    assert "Traceback" not in err
    # Two sentences, not one.
    assert err.endswith("choose another path. --no-store runs without storing anything.\n")


@pytest.mark.parametrize("command", ["runs", "show x", "resume x", "gc"])
def test_a_folder_is_no_store(here: Here, command: str) -> None:
    code, out, err = here(*command.split(), "--store", ".")
    assert (code, out) == (2, "")
    assert err == "antichain: '.' is a folder. Name the store in it, for example --store runs.db.\n"


def test_a_question_that_nobody_can_answer_another_day(write: Write, here: Here) -> None:
    write("""
        graph = Graph("asks")
        graph.ask("ok", "Go on?", type=bool)
    """)
    code, _, err = here("run", "flow.py", "--no-store", "--no-progress")
    assert code == 1
    assert last_line(err) == "Only a run that is stored waits for an answer: --store PATH names where."


# -- what cannot be stored

ODD = """
    import threading

    graph = Graph("odd")

    @graph.node
    def client() -> object:
        return threading.Lock()

    @graph.node
    def answer(client: object) -> str:
        return "yes"
"""


def test_who_asked_for_no_store_is_told_what_is_not_kept(write: Write, here: Here) -> None:
    write(ODD)
    code, out, err = here("run", "flow.py", "--no-progress", "--run-id", "odd")
    assert (code, out) == (0, "yes\n")
    assert "node 'client': output cannot be stored: it is a _thread.lock" in err
    assert "It runs again if this run is resumed." in err
    assert len(err.splitlines()) == 1
    assert "What it gave is not stored" in here("why", "odd", "client")[1]
    assert here("resume", "odd", "--no-progress")[:2] == (0, "yes\n")


def test_who_asked_for_a_store_is_told_the_ways_out(write: Write, here: Here) -> None:
    write(ODD)
    code, out, err = here("run", "flow.py", "--no-progress", "--store", "runs.db")
    assert (code, out) == (1, "")
    assert "client: NotStorable: output cannot be stored: it is a _thread.lock" in err
    assert "may have persist=False" in err
    assert "--no-store runs without storing anything." in err
    assert re.fullmatch(r"antichain resume \w+ --store runs.db", last_line(err))


# -- resume


def test_a_failed_run_is_mended_and_resumed_by_its_last_line(write: Write, here: Here, folder: Path) -> None:
    write(SUM)
    (folder / "broken").touch()
    code, out, err = here("run", "flow.py", "n=1", "--no-progress", "--run-id", "r1")
    assert (code, out) == (1, "")
    assert last_line(err) == "antichain resume r1"
    (folder / "broken").unlink()
    code, out, _ = here("resume", "r1", "--json", "--no-progress")
    document = json.loads(out)
    assert (code, document["outputs"]["total"]) == (0, "total 2")
    assert document["nodes"]["left"]["reason"] == "checkpoint"
    before = SqliteStore(DEFAULT).read("r1").facts
    assert here("resume", "r1", "--no-progress") == (0, "total 2\n", "")
    assert SqliteStore(DEFAULT).read("r1").facts == before


def test_a_run_that_is_there_is_not_run_again(write: Write, here: Here) -> None:
    write(SUM)
    assert here("run", "flow.py", "n=1", "--run-id", "r1")[0] == 0
    code, out, err = here("run", "flow.py", "n=1", "--run-id", "r1", "--no-progress")
    assert (code, out) == (2, "")
    assert "has a run 'r1' already" in err
    assert last_line(err) == "antichain resume r1"


def test_values_of_a_factory_are_known_to_a_resume(write: Write, here: Here) -> None:
    write("""
        def make(word: str, times: int = 1) -> Graph:
            graph = Graph("make")
            graph.add("said", lambda mark: word * times + mark)
            graph.ask("ok", "Good?", type=bool)
            return graph
    """)
    code, _, err = here("run", "flow.py:make", "word=it's so", "times=2", "mark=!", "--no-progress", "--run-id", "m")
    assert code == 4
    assert last_line(err) == "antichain resume m"
    code, out, _ = here("resume", "m", "--json", "--no-progress")
    (question,) = json.loads(out)["questions"]
    assert (code, question["node"], question["fitting"]) == (4, "ok", "yes or no")
    code, out, err = here("resume", "m", "--answer", "ok=yes", "--no-progress")
    assert (code, err) == (0, "")
    assert out == "said: it's soit's so!\nok:\n  True\n"
    assert here("resume", "m", "--answer", "ok=yes")[0] == 2


def test_a_run_that_has_failed_names_its_questions_as_well(write: Write, here: Here) -> None:
    write("""
        graph = Graph("asks", on_error="drain")
        graph.ask("ok", "Go on?", type=bool)
        graph.add("broken", lambda: 1 / 0)
    """)
    code, _, err = here("run", "flow.py", "--no-progress", "--run-id", "q")
    assert code == 1
    assert err.splitlines()[-4:] == [
        "It also waits for an answer:",
        "  ok: Go on? (yes or no)",
        "    antichain answer q ok yes",
        "antichain resume q",
    ]
    code, _, err = here("resume", "q", "--answer", "ok=yes", "--no-progress")
    assert code == 1
    assert "waits for an answer" not in err


def test_a_graph_that_has_moved_is_found_by_the_next_line_too(write: Write, here: Here, folder: Path) -> None:
    write("""
        def make(word: str) -> Graph:
            graph = Graph("make")
            graph.add("said", lambda: word)
            graph.ask("ok", "Good?", type=bool)
            return graph
    """)
    assert here("run", "flow.py:make", "word=a b", "--no-progress", "--run-id", "m")[0] == 4
    (folder / "flow.py").rename(folder / "moved.py")
    code, _, err = here("resume", "m", "--file", "moved.py:make", "--value", "word=a b", "--no-progress")
    assert code == 4
    assert last_line(err) == "antichain resume m --file moved.py:make --value 'word=a b'"
    assert here(*shlex.split(last_line(err))[1:], "--answer", "ok=yes", "--no-progress")[0] == 0


def test_a_value_that_nobody_takes_is_not_passed_over(write: Write, here: Here) -> None:
    """An input of the run: it goes on with those that it began with."""
    write("""
        def make(word: str) -> Graph:
            graph = Graph("make")
            graph.add("said", lambda mark: word + mark)
            graph.ask("ok", "Good?", type=bool)
            return graph
    """)
    assert here("run", "flow.py:make", "word=a", "mark=!", "--no-progress", "--run-id", "m")[0] == 4
    code, out, err = here("resume", "m", "--value", "mark=?", "--no-progress")
    assert (code, out) == (2, "")
    assert err.startswith(
        "antichain: --value mark=: no function that makes the graph takes it, and the inputs of a run"
    )
    again = ["resume", "m", "--file", "flow.py:make", "--value", "word=a", "--no-progress"]
    assert here(*again)[0] == 4
    assert here(*again, "--answer", "ok=yes")[:2] == (0, "said: a!\nok:\n  True\n")


def test_a_changed_node_is_refused_in_words_of_the_command(write: Write, here: Here) -> None:
    write(SUM)
    assert here("run", "flow.py", "n=1", "--run-id", "r1")[0] == 0
    write(SUM.replace("@graph.node\n    def left", '@graph.node(version="2")\n    def left'))
    code, out, err = here("resume", "r1", "--no-progress")
    assert (code, out) == (2, "")
    assert "node 'left' completed in this run, and is another one now" in err
    assert "--on-change rerun" in err
    assert "outputs=" not in err
    code, out, err = here("resume", "r1", "--on-change", "rerun", "--no-progress")
    assert (code, out, err) == (0, "total 2\n", "")
    assert here("resume", "r1", "--on-change", "whatever")[0] == 2


def test_a_run_from_python_needs_its_file(write: Write, here: Here) -> None:
    write(SUM)
    sys.path.insert(0, ".")
    import flow  # type: ignore[import-not-found]

    flow.graph.run(n=1, run_id="p", store="runs.db")
    code, out, err = here("resume", "p", "--store", "runs.db", "--no-progress")
    assert (code, out) == (2, "")
    assert "was not started by this command" in err
    assert here("resume", "p", "--store", "runs.db", "--file", "flow.py", "--no-progress") == (0, "total 2\n", "")


def test_a_run_that_somebody_holds_is_refused_with_a_way(write: Write, here: Here) -> None:
    write(SUM)
    (Path.cwd() / "broken").touch()
    assert here("run", "flow.py", "n=1", "--run-id", "r1")[0] == 1
    (Path.cwd() / "broken").unlink()
    store = SqliteStore(DEFAULT)
    mine = store.open("r1")
    try:
        code, out, err = here("resume", "r1", "--no-progress")
        assert (code, out) == (2, "")
        assert last_line(err) == "antichain resume r1 --take-over"
        assert "take_over=True" not in err
        assert here("resume", "r1", "--take-over", "--no-progress") == (0, "total 2\n", "")
    finally:
        store.release(mine)


def test_a_label_changes_nothing_but_the_target() -> None:
    store = SqliteStore("runs.db")
    labelled = Labelled(store, target_of(Path("/a b/flow.py"), "make", ["word=it's"]))
    assert words_of(labelled._target) == ["/a b/flow.py:make", "word=it's"]
    assert labelled.append_now.__self__ is store
    assert labelled.runs() == []


# -- what ends a run early

CLEANUP = f"""
    import os

    graph = Graph("cleanup")

    @graph.node
    def quick() -> str:
        return "kept"

    @graph.node
    async def slow(quick: str) -> str:
        {READY}
        if os.path.exists("go"):
            return "done"
        await asyncio.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_whatever_ends_it_leaves_a_run_that_goes_on(
    write: Write, here: Here, folder: Path, full: bool, number: signal.Signals, code: int
) -> None:
    if number == signal.SIGTERM and not full:
        pytest.skip("at full size: as Ctrl-C")
    write(CLEANUP)
    with started("run", "flow.py", "--run-id", "r1", "--no-progress") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert last_line(err).endswith(" resume r1")
    (line,) = json.loads(here("runs", "--json")[1])["runs"]
    assert (line["status"], line["succeeded"]) == ("interrupted", 1)
    assert re.search(r"  next  .* resume r1$", here("show", "r1")[1].rstrip())
    (folder / "go").touch()
    assert here("resume", "r1", "--no-progress")[1] == "ready\ndone\n"
    ends = [fact.node for fact in SqliteStore(DEFAULT).read("r1").facts if fact.kind is FactKind.SUCCEEDED]
    assert sorted(ends) == ["quick", "slow"]


def test_what_has_paused_is_shown_so_while_it_is_watched() -> None:
    graph = Graph("ask")
    graph.ask("ok", "Go?", type=bool)
    graph.add("after", lambda ok: ok)
    board = Board()
    result = graph.run(store="runs.db", listeners=[board])
    shown = "\n".join(plain(line) for line in frame(board.look(result.ended_at), 79, 20))
    assert re.search(r"^ \? ok .*paused  Go\?$", shown, re.MULTILINE)
    assert re.search(r"^ \? after .*paused$", shown, re.MULTILINE)
    assert "cancelled" not in shown


def test_whatever_a_command_says_is_what_it_takes(write: Write, here: Here) -> None:
    """The lines that are shown are typed as they stand, until there is nothing more to do."""
    write("""
        graph = Graph("ask")
        graph.ask("first one", "It's {name}?", type=bool)
        graph.ask("second", "Which?", type=["small size", "large"])

        @graph.node(inputs={"first": graph["first one"]})
        def both(first: bool, second: str) -> str:
            return f"{first} {second}"
    """)
    code, _, err = here("run", "flow.py", "name=it's", "--run-id", "a")
    assert code == 4
    assert "paused: 0/3 ended, 3 paused" in err
    assert "nodes  3 paused in" in err
    typed = 0
    while code == 4 or typed == 0:
        lines = [line.strip() for line in err.splitlines() if line.strip().startswith("antichain ")]
        assert lines
        for line in lines:
            code, out, err = here(*shlex.split(line)[1:])
            typed += 1
            assert code == 0, (line, err)
    assert typed == 3
    assert out == "True small size\n"
