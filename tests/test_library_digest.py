"""
The main job on real input: the standard library of the Python that runs the tests, and folders with everything wrong.
"""

import sqlite3
import sys
from pathlib import Path

import pytest

import antichain
from antichain.demo import corpus
from examples import library_digest
from examples.library_digest import graph


def answers(result: antichain.RunResult, question: str) -> list[str]:
    """The names that were found for a question."""
    return [document.name for document in result["answers"][library_digest.QUESTIONS.index(question)]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[antichain.RunResult, str]:
    out = tmp_path_factory.mktemp("digest") / "digest.md"
    result = graph(out=out).run()
    return result, out.read_text(encoding="utf-8")


def test_the_whole_library_is_read(whole: tuple[antichain.RunResult, str]) -> None:
    result, _ = whole
    assert result.status == "succeeded"
    # A bare Debian has no idlelib and fewer parts than a Python built from source.
    assert sum(result["stored"]) > 4_000
    assert len(result["files"]) > 300
    names = {document.name for outcome in result["documents"] if outcome.ok for document in outcome.value}
    assert {"json", "json.dumps", "collections.OrderedDict", "asyncio.tasks.gather", "tempfile.mkdtemp"} <= names
    assert not any({"site-packages", "test"} & set(file.parts[-3:-1]) for file in result["files"])


def test_answers_name_the_right_places(whole: tuple[antichain.RunResult, str]) -> None:
    result, _ = whole
    question = library_digest.QUESTIONS
    assert any(name.startswith("tempfile.") for name in answers(result, question[0]))
    assert "difflib.get_close_matches" in answers(result, question[1])
    assert "asyncio.tasks.gather" in answers(result, question[2])
    threads = ("concurrent.futures", "threading", "asyncio.threads", "multiprocessing.pool")
    assert any(name.startswith(threads) for name in answers(result, question[3]))
    assert "statistics.median" in answers(result, question[7])


def test_a_question_of_ones_own_finds_threads(tmp_path: Path) -> None:
    source = corpus.LIBRARY
    for package in ("concurrent/futures", "asyncio"):
        (tmp_path / package).mkdir(parents=True)
        for file in (source / package).glob("*.py"):
            (tmp_path / package / file.name).write_bytes(file.read_bytes())
    (tmp_path / "threading.py").write_bytes((source / "threading.py").read_bytes())
    result = graph(path=tmp_path, questions=["Which executor uses a pool of threads?"], out=tmp_path / "d.md").run()
    threads = ("concurrent.futures", "threading", "asyncio.threads")
    assert any(found.name.startswith(threads) for found in result["answers"][0])


def test_digest_says_where_everything_stands(whole: tuple[antichain.RunResult, str]) -> None:
    result, text = whole
    assert text.startswith(f"# {sum(result['stored']):,} docstrings in {len(result['files']):,} Python files of ")
    assert all(f"## {question}\n" in text for question in library_digest.QUESTIONS)
    found = result["answers"][0][0]
    assert f"**{found.name}** ({found.place})" in text
    file, _, line = found.place.rpartition(":")
    assert found.name.rpartition(".")[2] in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_summary_is_for_people(whole: tuple[antichain.RunResult, str]) -> None:
    summary = whole[0]["digest"]
    assert "12 questions" in summary
    assert "s of processor time" in summary
    assert summary.splitlines()[-1].startswith("All answers: /")
    assert sum(question in summary for question in library_digest.QUESTIONS) == 3


def test_documents_are_indexed_while_others_are_still_read(whole: tuple[antichain.RunResult, str]) -> None:
    """files ── documents[…] ── stored[…]: no barrier between the two stages."""
    nodes = whole[0].nodes
    first_stored = min(node.ended_at or 0.0 for name, node in nodes.items() if name.startswith("stored["))
    last_read = max(node.started_at or 0.0 for name, node in nodes.items() if name.startswith("documents["))
    assert first_stored < last_read


def test_what_cannot_be_read_is_reported_and_harms_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "encoded.py").write_bytes(b'"""\xff\xfe"""')
    (tmp_path / "nested.py").write_text("(" * 5_000)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "latin.py").write_bytes(b'# coding: latin-1\n"""Ein Caf\xe9."""\n')
    (tmp_path / "half.py").write_text('"""Half a character: \\ud800, and an odd escape: \\q."""\n')
    (tmp_path / "good.py").write_text('class Good:\n    def do(self):\n        """Brew coffee."""\n')
    questions = ["Where is coffee brewed?", "Which café?", "half a character", "what is it?"]
    result = graph(path=tmp_path, questions=questions, out=tmp_path / "deep" / "d.md").run()
    assert result.status == "succeeded"
    assert [[found.name for found in each] for each in result["answers"]] == [["good.Good.do"], ["latin"], ["half"], []]
    assert result["stored"].count(0) == 3
    text = (tmp_path / "deep" / "d.md").read_text(encoding="utf-8")
    assert text.startswith(f"# 3 docstrings in 3 Python files of {tmp_path}")
    assert "## 3 files could not be read" in text
    for name in ("broken.py: SyntaxError", "encoded.py: SyntaxError", "nested.py"):
        assert name in text
    assert "Could not be read: " in result["digest"]


def test_a_path_that_is_no_folder_is_one_clear_failure(tmp_path: Path) -> None:
    with pytest.raises(antichain.RunFailed) as failed:
        graph(path=tmp_path / "nowhere").run()
    (error,) = failed.value.exceptions
    assert "is not a folder" in str(error)


def test_without_full_text_search_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "TABLE", "CREATE VIRTUAL TABLE documents USING fts_missing(text)")
    (tmp_path / "good.py").write_text('"""Good."""')
    with pytest.raises(antichain.RunFailed) as failed:
        graph(path=tmp_path, out=tmp_path / "d.md").run()
    assert "no full-text search" in str(failed.value.exceptions[0])


def test_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "explosive.py").write_text('"""Boom."""\nraise RuntimeError("imported")\n')
    result = graph(path=tmp_path, questions=["boom"], out=tmp_path / "d.md").run()
    assert [found.name for found in result["answers"][0]] == ["explosive"]
    assert "explosive" not in sys.modules


def test_the_index_is_gone_after_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file: opened.append(file) or connect(file))
    (tmp_path / "good.py").write_text('"""Good."""')
    graph(path=tmp_path, out=tmp_path / "d.md").run()
    assert opened
    assert not any(Path(file).exists() for file in opened)
