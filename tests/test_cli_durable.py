"""
The commands about stored runs, as their users meet them. Journals are made by hand and kept in memory, so that a test
is about one thing; test_cli_durable_runs.py has real runs and real files.
"""

import json
import os
import re

import pytest

from antichain import Graph
from antichain.cli import storing
from antichain.cli.answering import answers_of, read_answer
from antichain.cli.places import Place
from antichain.cli.tidying import Request, chosen, seconds_of
from antichain.errors import StoreError
from antichain.loading import UsageError
from antichain.resuming.wiring import describe_wiring
from antichain.stores import MemoryStore
from antichain.stores.codec import decode, encode
from antichain.stores.protocol import Fact, FactKind, RunLine
from antichain.stores.record import StoredQuestion, stored_run
from tests.support.command import Here
from tests.support.journals import NOON, asked, ended, failed, journal, put, retrying, succeeded


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The store that every command means."""
    made = MemoryStore()
    monkeypatch.setattr(storing, "open_store", lambda spec: made)
    monkeypatch.setattr(storing, "_exists", lambda path: True)
    monkeypatch.setenv("ANTICHAIN_STORE", "runs.db")
    monkeypatch.setenv("COLUMNS", "80")
    return made


def ask_three(store: MemoryStore) -> None:
    put(
        store,
        succeeded("branches", ["old"]),
        asked("ok", "Delete 1 branch?"),
        asked("size", "Which size?", "choice", ["Small", "large"]),
        asked("count", "How many?", "int"),
        ended("paused"),
        target="flow.py:graph",
    )


# -- runs


def test_runs_are_a_table(store: MemoryStore, here: Here) -> None:
    put(store, succeeded("a"), run_id="first")
    put(store, succeeded("a"), succeeded("b"), ended("succeeded"), run_id="second")
    put(store, run_id="third", holds=True)
    code, out, err = here("runs")
    assert (code, err) == (0, "")
    head, *rows = (re.split(r"  +", line) for line in out.splitlines())
    assert head == ["run", "graph", "status", "nodes", "changed", "size"]
    assert sorted(row[:4] for row in rows) == [
        ["first", "report", "interrupted", "1"],
        ["second", "report", "succeeded", "2"],
        ["third", "report", "running", "0"],
    ]
    assert max(map(len, out.splitlines())) <= 80


def test_runs_as_json_and_of_one_graph(store: MemoryStore, here: Here) -> None:
    put(store, succeeded("a"), target="flow.py:graph")
    document = json.loads(here("runs", "--json")[1])
    assert (document["version"], document["store"]) == (1, "runs.db")
    (run,) = document["runs"]
    assert (run["run_id"], run["status"], run["target"], run["succeeded"]) == (
        "nightly-7", "interrupted", "flow.py:graph", 1,
    )  # fmt: skip
    assert json.loads(here("runs", "--json", "--graph", "other")[1])["runs"] == []


def test_no_runs_are_said(store: MemoryStore, here: Here) -> None:
    assert here("runs") == (0, "", "antichain: no run is in 'runs.db'.\n")
    assert here("runs", "--json")[0] == 0


@pytest.mark.parametrize("command", ["runs", "show x", "why x y", "answer x y z", "resume x", "gc"])
def test_no_store_is_one_paragraph_and_none_is_made(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE", raising=False)
    code, out, err = here(*command.split())
    assert (code, out) == (2, "")
    assert "there is no store at '.antichain/runs.db'" in err
    assert "--store PATH or ANTICHAIN_STORE" in err
    assert os.listdir(tmp_path) == []
    monkeypatch.setenv("ANTICHAIN_STORE", "none")
    assert "ANTICHAIN_STORE=none says that there is no store" in here(*command.split())[2]


# -- show


def test_show_says_what_to_do_next(store: MemoryStore, here: Here) -> None:
    ask_three(store)
    code, out, err = here("show", "nightly-7")
    assert (code, err) == (0, "")
    assert out.startswith("nightly-7: report, paused\n")
    assert "  nodes    1 succeeded, 3 asking\n" in out
    assert re.search(r"^  ok +asking +Delete 1 branch\? \(yes or no\)$", out, re.MULTILINE)
    assert out.rstrip().endswith("antichain resume nightly-7 --file flow.py:graph") or out.rstrip().endswith(
        "antichain resume nightly-7"
    )
    assert "  next  antichain answer nightly-7 ok yes\n" in out
    assert "antichain answer nightly-7 size Small\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_show_of_a_finished_run_has_nothing_to_go_on_with(store: MemoryStore, here: Here) -> None:
    put(store, succeeded("a", 3), ended("succeeded"))
    assert "resume" not in here("show", "nightly-7")[1]


def test_show_as_json_has_everything(store: MemoryStore, here: Here) -> None:
    put(
        store, succeeded("a"), failed("b", ValueError("no")), asked("c", "?"),
        retrying("d", OSError("x"), NOON + 9), Fact(FactKind.STARTED, "e", 1, at=NOON),
    )  # fmt: skip
    document = json.loads(here("show", "nightly-7", "--json")[1])
    assert document["status"] == "interrupted"
    assert document["nodes"]["b"]["error"] == {"type": "ValueError", "message": "no"}
    assert document["nodes"]["d"]["until"] == NOON + 9
    assert document["nodes"]["e"]["in_doubt"] is True
    assert document["questions"][0]["fitting"] == "yes or no"


def test_runs_are_found_by_the_beginning_of_their_id(store: MemoryStore, here: Here) -> None:
    for name in ("ab1", "ab2", "b", "b2"):
        put(store, succeeded("a"), run_id=name)
    assert here("show", "ab1")[1].startswith("ab1: ")
    assert here("show", "b")[1].startswith("b: ")
    assert here("show", "b2")[1].startswith("b2: ")
    assert "'ab' is the beginning of 2 runs: " in here("show", "ab")[2]
    code, out, err = here("show", "abc")
    assert (code, out) == (2, "")
    assert "there is no run 'abc'. Did you mean 'ab" in err


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "é", "a/b", "\x1b[1m"])
@pytest.mark.parametrize("command", ["show", "resume", "run --run-id"])
def test_ids_of_another_form_are_refused(
    store: MemoryStore, here: Here, write: object, command: str, name: str
) -> None:
    assert callable(write)
    words = command.split()
    file = [str(write("graph = Graph()\ngraph.add('a', lambda: 1)"))] if len(words) > 1 else []
    code, out, err = here(words[0], *file, *words[1:], name)
    assert (code, out) == (2, "")
    assert "is no id of a run: use 1 to 64 letters, digits, dots, underscores and hyphens" in err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


# -- why


def test_why_in_sentences(store: MemoryStore, here: Here) -> None:
    put(
        store, succeeded("a", attempt=2), failed("b", ValueError("no"), attempt=3), asked("c", "Go?"),
        Fact(FactKind.SKIPPED, "d", reason="condition", at=NOON), ended("failed"), target="flow.py",
    )  # fmt: skip
    assert re.fullmatch(
        r"Node 'a' succeeded in attempt 2 at [-\d: ]+ after 500 ms\. What it gave is stored: a resume reuses it, .+\n",
        here("why", "nightly-7", "a")[1],
    )
    out = here("why", "nightly-7", "b")[1]
    assert re.match(r"Node 'b' failed in attempt 3 at [-\d: ]+ after 250 ms: ValueError: no\. A resume runs it", out)
    assert out.splitlines()[-1].startswith("antichain resume nightly-7")
    out = here("why", "nightly-7", "c")[1]
    assert "waits for an answer" in out
    assert out.splitlines()[-1] == "antichain answer nightly-7 c yes"
    assert "its condition said no" in here("why", "nightly-7", "d")[1]
    code, _, err = here("why", "nightly-7", "bb")
    assert code == 2
    assert "has no node 'bb'. Did you mean 'b'?" in err
    document = json.loads(here("why", "nightly-7", "b", "--json")[1])
    assert (document["node"]["state"], document["waits_for"]) == ("failed", [])
    assert document["text"].startswith("Node 'b' failed")


def test_what_waits_for_an_answer_goes_on_with_that(store: MemoryStore, here: Here) -> None:
    """
    ok ── delete ── report        a resume alone would do nothing
    """
    graph = Graph("report")
    graph.ask("ok", "Go?", type=bool)
    graph.add("delete", lambda ok: ok)
    graph.add("report", lambda delete: delete)
    wiring = encode(describe_wiring(graph.plan()))
    put(store, asked("ok", "Go?"), ended("paused"), target="flow.py", wiring=wiring)
    for node in ("ok", "delete", "report"):
        assert here("why", "nightly-7", node)[1].splitlines()[-1] == "antichain answer nightly-7 ok yes"
    assert here("answer", "nightly-7", "ok", "yes")[0] == 0
    assert here("why", "nightly-7", "report")[1].splitlines()[-1].startswith("antichain resume nightly-7")


# -- answer


def test_answers_are_stored_in_any_order(store: MemoryStore, here: Here) -> None:
    ask_three(store)
    code, out, err = here("answer", "nightly-7", "size", "LARGE")
    assert (code, err) == (0, "")
    assert out.startswith("stored: size = large\n2 more questions of this run have no answer yet:\n")
    assert "antichain answer nightly-7 ok yes" in out
    assert here("answer", "nightly-7", "ok", "n")[0] == 0
    out = here("answer", "nightly-7", "count", "3")[1]
    assert out.splitlines()[0] == "stored: count = 3"
    assert out.splitlines()[1].startswith("antichain resume nightly-7")
    facts = [fact for fact in store.read("nightly-7").facts if fact.kind is FactKind.ANSWERED]
    assert [(fact.node, fact.attempt, decode(fact.payload or b"")) for fact in facts] == [
        ("size", 1, "large"), ("ok", 1, False), ("count", 1, 3),
    ]  # fmt: skip
    assert store.runs()[0].status == "paused"
    code, _, err = here("answer", "nightly-7", "ok", "yes")
    assert code == 2
    assert "has its answer already" in err


@pytest.mark.parametrize(
    ("node", "value", "said"),
    [
        ("ok", "perhaps", "'perhaps' is not yes or no. Node 'ok' asks: Delete 1 branch?"),
        ("size", "huge", "'huge' is not one of 'Small', 'large'. Node 'size' asks: Which size?"),
        ("count", "3.5", "'3.5' is not a whole number"),
        ("okk", "yes", "asks nothing. Did you mean 'ok'? Who asks: ok, size, count."),
        ("branches", "yes", "asks nothing."),
    ],
)
def test_answers_that_do_not_fit_change_nothing(
    store: MemoryStore, here: Here, node: str, value: str, said: str
) -> None:
    ask_three(store)
    before = store.read("nightly-7").facts
    code, out, err = here("answer", "nightly-7", node, value)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert store.read("nightly-7").facts == before


def test_an_answer_to_a_run_that_goes_on_is_refused(store: MemoryStore, here: Here) -> None:
    put(store, asked("ok", "Go?"), holds=True)
    code, out, err = here("answer", "nightly-7", "ok", "yes")
    assert (code, out) == (1, "")
    assert "nightly-7" in err
    assert len(err.splitlines()) == 1


def test_a_node_that_asks_several_things_needs_the_number(store: MemoryStore, here: Here) -> None:
    put(store, asked("n", "First?"), asked("n", "Second?", "int", number=2), ended("paused"))
    code, _, err = here("answer", "nightly-7", "n", "yes")
    assert code == 2
    assert "asks 2 things: say which. --question 1: First? (yes or no), --question 2: Second?" in err
    assert here("answer", "nightly-7", "n", "4", "--question", "2")[0] == 0
    assert store.read("nightly-7").facts[-1].attempt == 2


def test_an_answer_that_is_not_safe_is_not_said_to_be(
    store: MemoryStore, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, asked("ok", "Go?"), ended("paused"))
    monkeypatch.setattr(store, "append", lambda mine, facts, done: done(StoreError("the disk is full")))
    assert here("answer", "nightly-7", "ok", "yes") == (1, "", "antichain: the disk is full\n")
    monkeypatch.undo()
    store.release(store.open("nightly-7"))  # nobody holds it any more


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", " YES ", True),
        ("bool", "n", False),
        ("int", "-3", -3),
        ("float", "1e3", 1000.0),
        ("str", "", ""),
        ("str", "a\udc80", "a\\udc80"),
        ("float", "nan", None),
        ("float", "1e999", None),
        ("int", "", None),
        ("int", "9" * 5_000, None),
        ("", "x", None),
    ],
)
def test_answers_are_read_as_the_question_asks(kind: str, text: str, value: object) -> None:
    question = StoredQuestion("n", 1, "?", kind)
    if value is None:
        with pytest.raises(UsageError):
            read_answer(question, text)
    else:
        assert read_answer(question, text) == value
        assert type(read_answer(question, text)) is type(value)


def test_answers_given_to_a_resume_find_their_node() -> None:
    run = stored_run(journal(asked("a", "?", "str"), asked("a=b", "?", "str")))
    assert answers_of(run, ["a=b=c"]) == {"a=b": "c"}
    assert answers_of(run, ["a=x", "a=b=y"]) == {"a": "x", "a=b": "y"}
    for texts in (["a"], ["=x"], ["a=1", "a=2"], ["z=1"]):
        with pytest.raises(UsageError):
            answers_of(run, texts)


# -- gc


def line(name: str, age: float, status: str = "succeeded") -> RunLine:
    return RunLine(name, "g", "", status, NOON - age, NOON - age)


DAY = 86_400.0
LINES = [
    line("new", 1 * DAY),
    line("old", 40 * DAY),
    line("older", 50 * DAY, "failed"),
    line("interrupted", 60 * DAY, "interrupted"),
    line("paused", 60 * DAY, "paused"),
    line("cancelled", 60 * DAY, "cancelled"),
    line("running", 70 * DAY, "running"),
    line("strange", 70 * DAY, "\x1b[1m"),
]


@pytest.mark.parametrize(
    ("keep", "older_than", "unfinished", "gone"),
    [
        (None, None, False, ["old", "older"]),
        (None, "45d", False, ["older"]),
        (None, "0s", False, ["new", "old", "older"]),
        (1, None, False, ["old", "older"]),
        (0, None, False, ["new", "old", "older"]),
        (2, "30d", False, ["older"]),
        (None, None, True, ["old", "older", "paused", "interrupted", "cancelled"]),
        (4, None, True, ["interrupted", "cancelled"]),
    ],
)
def test_gc_removes_what_is_over_and_neither_kept(
    keep: int | None, older_than: str | None, unfinished: bool, gone: list[str]
) -> None:
    request = Request(Place("x", "option"), keep, older_than, unfinished)
    found = [each.run_id for each in chosen(request, LINES, NOON)]
    assert sorted(found) == sorted(gone)


def test_gc_says_what_it_removes(store: MemoryStore, here: Here) -> None:
    put(store, ended("succeeded"), run_id="over")
    put(store, succeeded("a"), run_id="begun")
    code, out, _ = here("gc", "--dry-run")
    assert code == 0
    assert "over" in out
    assert "1 run would be removed" in out
    assert len(store.runs()) == 2
    assert re.fullmatch(r"1 run removed \(\d+ B\), 1 run left\.\n", here("gc")[1])
    assert [each.run_id for each in store.runs()] == ["begun"]
    assert json.loads(here("gc", "--unfinished", "--json")[1])["removed"] == ["begun"]


@pytest.mark.parametrize("arguments", [["--keep", "-1"], ["--older-than", "x"], ["--older-than", "3 days"]])
def test_gc_that_is_not_clear_removes_nothing(store: MemoryStore, here: Here, arguments: list[str]) -> None:
    put(store, ended("succeeded"))
    code, out, _ = here("gc", *arguments)
    assert (code, out) == (2, "")
    assert len(store.runs()) == 1


def test_ages() -> None:
    assert [seconds_of(text) for text in ("5s", "2m", "1h", "30d", "2w")] == [5, 120, 3_600, 30 * DAY, 14 * DAY]


# -- Tab


def test_tab_knows_runs_nodes_and_who_asks(store: MemoryStore) -> None:
    from antichain.cli.completion import asking, nodes, runs

    ask_three(store)
    put(store, succeeded("$(rm -rf /)"), succeeded("fine"), run_id="other")
    assert [name for name, _ in runs(None, "n")] == ["nightly-7"]
    assert [name for name, _ in nodes(None, "other", "")] == ["fine"]
    assert [name for name, _ in asking(None, "nightly-7", "")] == ["ok", "size", "count"]
    assert nodes(None, "not there", "") == []


def test_tab_without_a_store_is_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    from antichain.cli.completion import runs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE", raising=False)
    assert runs(None, "") == []
    assert os.listdir(tmp_path) == []


# -- hostile stores


def test_what_a_store_names_elsewhere_is_not_run_unasked(
    store: MemoryStore, here: Here, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"  # type: ignore[operator]
    folder.mkdir()
    (tmp_path / "evil.py").write_text("open('ran', 'w')\n")  # type: ignore[operator]
    monkeypatch.chdir(folder)
    for target in (f"{tmp_path}/evil.py", "../evil.py:graph", f"{folder}/../evil.py", "'", "--file x"):
        put(store, succeeded("a"), run_id="x", target=target)
        code, out, err = here("resume", "x")
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert list(folder.iterdir()) == []
        if "evil" in target:
            assert "is run from elsewhere only if you say so too: add --file" in " ".join(err.split())
        store.remove("x")


def test_hostile_fields_never_drive_the_terminal(store: MemoryStore, here: Here) -> None:
    evil = "\x1b[2J\u202e\r\n\x9b\x07"
    put(
        store, succeeded(f"a{evil}"), failed("b", ValueError(evil)), asked(f"c{evil}", evil, "choice", [evil]),
        ended("paused"), target=f"flow{evil}.py",
        graph=evil,
    )  # fmt: skip
    for words in (["runs"], ["show", "nightly-7"], ["why", "nightly-7", f"c{evil}"], ["why", "nightly-7", evil],
                  ["answer", "nightly-7", f"c{evil}", evil], ["answer", "nightly-7", evil, evil]):  # fmt: skip
        _, out, err = here(*words)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err), words
