"""
What is told of a stored run: facts folded into a record, also facts that nobody of good will has written.
"""

import math
import random
from collections.abc import Collection

import pytest

from antichain import Graph
from antichain import journal as kept
from antichain.resuming.changes import describe_wiring
from antichain.stores import record, summing
from antichain.stores.codec import StoredError, encode
from antichain.stores.paths import is_within
from antichain.stores.protocol import Fact, FactKind
from antichain.stores.record import record_of, stored_run
from antichain.views.stored import ago, question_text, size_text, stored_text, why_text
from tests.support.journals import NOON, asked, ended, failed, journal, retrying, succeeded


def states(*facts: Fact) -> dict[str, tuple[str, str]]:
    return {name: (node.state, node.reason) for name, node in record_of(journal(*facts)).nodes.items()}


def test_ends_of_nodes_are_their_states() -> None:
    record = record_of(
        journal(
            succeeded("a", 1, attempt=2, seconds=1.5),
            succeeded("b", reason="fallback"),
            Fact(FactKind.SKIPPED, "c", reason="condition", at=NOON),
            failed("d", ValueError("no"), attempt=3),
            ended("failed"),
        )
    )
    a = record.nodes["a"]
    assert (a.state, a.attempts, a.started_at, a.ended_at) == ("succeeded", 2, NOON - 1.5, NOON)
    assert record.nodes["b"].reason == "fallback"
    assert record.nodes["c"].state == "skipped"
    assert record.nodes["d"].attempts == 3
    assert isinstance(record.nodes["d"].error, StoredError)
    assert (record.run_id, record.name, record.status, record.ended_at) == ("nightly-7", "report", "failed", NOON + 1)
    assert record.started_at == NOON - 10


def test_what_the_error_was_is_known_and_nothing_of_it_runs() -> None:
    error = record_of(journal(failed("d", ValueError("no")))).nodes["d"].error
    assert error is not None
    assert "ValueError" in error.type_name  # type: ignore[attr-defined]
    assert error.message == "no"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"unit": "tokens"},
        {"unit": 1, "used": 1, "limit": 1},
        {"unit": "tokens", "used": "2", "limit": 1},
        {"unit": "tokens", "used": 10**400, "limit": 1.5},
    ],
)
def test_what_has_stopped_a_run_is_known_if_it_can_be_read(told: object) -> None:
    def stopped_by(payload: bytes | None) -> tuple[str, float, float] | None:
        return stored_run(journal(Fact(FactKind.ENDED, reason="paused", at=NOON, payload=payload))).spent

    assert stopped_by(encode(told)) is None
    assert stopped_by(None) is None
    assert stopped_by(b"damaged") is None
    assert stopped_by(encode({"unit": "tokens", "used": 300, "limit": 250.0})) == ("tokens", 300, 250.0)


def test_a_retry_waits_until_its_time() -> None:
    run = stored_run(journal(retrying("a", OSError("gone"), until=NOON + 30)))
    assert run.record.nodes["a"].state == "backing off"
    assert run.until == {"a": NOON + 30}
    assert "again at" in stored_text(run, NOON, 100)
    assert "not before" in why_text(run, run.record.nodes["a"], NOON)
    run = stored_run(journal(retrying("a", OSError("gone"), until=NOON + 30), succeeded("a", attempt=2)))
    assert run.until == {}
    assert run.record.nodes["a"].error is None


def test_what_failed_before_a_resume_is_pending_again() -> None:
    run = stored_run(
        journal(succeeded("a"), failed("b", ValueError("no")), ended("failed"), Fact(FactKind.RESUMED, at=NOON + 9))
    )
    assert {name: node.state for name, node in run.record.nodes.items()} == {"a": "succeeded", "b": "pending"}
    assert (run.status, run.record.status, run.updated_at) == ("interrupted", None, NOON + 9)
    assert "failed before the run was resumed: ValueError: no" in why_text(run, run.record.nodes["b"], NOON)


def test_what_is_forgotten_takes_what_it_brought_along() -> None:
    facts = [succeeded(name) for name in ("a", "a/x", "a[3]", "ab", "b/a")]
    assert set(states(*facts, Fact(FactKind.FORGOTTEN, "a"))) == {"ab", "b/a"}
    assert set(states(*facts, Fact(FactKind.FORGOTTEN, "a"), succeeded("a"))) == {"ab", "b/a", "a"}


def test_questions_wait_until_they_are_answered() -> None:
    first, second = asked("ok", "Delete?"), asked("ok", "Really?", number=2)
    run = stored_run(journal(first, second, asked("size", "Which?", "choice", ["small", "large"]), ended("paused")))
    assert [(each.node, each.number) for each in run.questions] == [("ok", 1), ("ok", 2), ("size", 1)]
    assert run.record.nodes["ok"].state == "asking"
    assert run.record.nodes["ok"].asks == ((1, "Delete?"), (2, "Really?"))
    assert question_text(run.questions[2]) == "Which? (small or large)"
    answered = Fact(FactKind.ANSWERED, "ok", 1, at=NOON, payload=encode(True))
    run = stored_run(journal(first, second, answered))
    assert [each.number for each in run.questions] == [2]
    assert [each.number for each in run.answered] == [1]
    assert run.record.nodes["ok"].state == "asking"
    run = stored_run(journal(first, answered))
    assert run.record.nodes["ok"].state == "pending"
    assert "has the answer" in why_text(run, run.record.nodes["ok"], NOON)
    run = stored_run(journal(first, answered, succeeded("ok", True)))
    assert run.questions == run.answered == ()


def test_an_attempt_that_began_is_in_doubt_until_it_ends() -> None:
    began = Fact(FactKind.STARTED, "pay", 1, at=NOON)
    run = stored_run(journal(began))
    assert run.in_doubt == ("pay",)
    assert "How it ended is not known" in why_text(run, run.record.nodes["pay"], NOON)
    assert stored_run(journal(began, succeeded("pay"))).in_doubt == ()


# -- facts of ill will


@pytest.mark.parametrize("at", [math.nan, math.inf, -1.0, 1e300, 0.0])
def test_times_that_no_clock_shows_are_none(at: float) -> None:
    run = stored_run(journal(Fact(FactKind.SUCCEEDED, "a", 1, at=at, seconds=at), ended("succeeded", at)))
    node = run.record.nodes["a"]
    assert node.ended_at is None
    assert node.started_at is None
    text = stored_text(run, NOON, 80) + why_text(run, node, NOON)
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize(
    "payload",
    [None, b"", b"\x80\x04N.", b"\xff" * 40, encode(3), encode({"text": 1}), encode({"text": "a", "kind": "choice"})],
)
def test_payloads_that_cannot_be_read_hide_nothing_else(payload: bytes | None) -> None:
    facts = [
        Fact(FactKind.FAILED, "a", 1, at=NOON, payload=payload),
        Fact(FactKind.ASKED, "b", 1, at=NOON, payload=payload),
        succeeded("c"),
    ]
    run = stored_run(journal(*facts, wiring=payload or b""))
    assert run.record.nodes["c"].state == "succeeded"
    assert run.record.nodes["a"].error is not None
    assert run.questions[0].kind == ""
    assert "cannot be read" in stored_text(run, NOON, 80)


def test_foreign_text_never_drives_the_terminal() -> None:
    evil = "\x1b[2J\u202e\r\n\x9b\x07"
    run = stored_run(
        journal(
            failed(f"a{evil}", ValueError(evil)),
            succeeded("b", reason=evil),
            asked(f"c{evil}", evil, "choice", [evil]),
            retrying(f"d{evil}", ValueError(evil), NOON),
            Fact(FactKind.SKIPPED, "e", reason=evil, at=NOON),
            ended(evil),
            target=evil,
        )
    )
    shown = stored_text(run, NOON, 80) + "".join(why_text(run, each, NOON) for each in run.record.nodes.values())
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_random_facts_fold_and_show() -> None:
    """Whatever order they come in: nothing is raised, and every node has one state that is known."""
    chance = random.Random(5)
    kinds = list(FactKind)
    known = {"succeeded", "failed", "skipped", "pending", "running", "backing off", "asking"}
    for _ in range(200):
        facts = [
            Fact(
                chance.choice(kinds),
                chance.choice(["", "a", "a/b", "a[0]", "c"]),
                chance.randrange(4),
                chance.choice(["", "output", "paused"]),
                at=chance.choice([NOON, math.nan, -1.0]),
                seconds=chance.choice([0.0, math.inf]),
                until=chance.choice([0.0, math.nan, NOON]),
                payload=chance.choice([None, b"", encode(1), encode({"text": "t", "kind": "str", "choices": []})]),
            )
            for _ in range(chance.randrange(12))
        ]
        run = stored_run(journal(*facts))
        assert {node.state for node in run.record.nodes.values()} <= known
        stored_text(run, NOON, 80)
        for node in run.record.nodes.values():
            assert why_text(run, node, NOON)
        asking = {each.node for each in run.questions}
        assert all(run.record.nodes[name].state == "asking" for name in asking)


# -- how it looks


def test_many_nodes_are_cut_and_what_matters_stays() -> None:
    facts = [succeeded(f"pages[{number}]") for number in range(500)]
    facts.insert(400, failed("broken", ValueError("no")))
    text = stored_text(stored_run(journal(*facts)), NOON, 80)
    assert len(text.splitlines()) < 50
    assert "broken" in text
    assert "… and 461 more: 461 succeeded" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    facts = [failed("n" * 300, ValueError("x" * 300)), asked("m" * 60, "y" * 500), succeeded("深" * 60)]
    text = stored_text(stored_run(journal(*facts, target="/very/long" * 30)), NOON, width)
    assert max(len(line) for line in text.splitlines()) <= width


def test_words() -> None:
    assert [ago(NOON - each, NOON) for each in (-5, 3, 65, 3_600, 200_000)] == [
        "just now", "just now", "1 minute ago", "1 hour ago", "2 days ago",
    ]  # fmt: skip
    assert [size_text(each) for each in (0, 999, 1_500, 15_000, 2_500_000, 10**13)] == [
        "0 B", "999 B", "1.5 kB", "15 kB", "2.5 MB", "10.0 TB",
    ]  # fmt: skip


# -- what the header of a run adds


def wired(graph: Graph) -> bytes:
    return encode(describe_wiring(graph.plan()))


def test_the_question_that_a_node_waits_for_is_found_however_deep() -> None:
    """
    inner/ok ── inner ── b ── c        a, d wait for nobody
    """
    inner = Graph("inner")
    inner.ask("ok", "Go?", type=bool)
    graph = Graph("outer")
    graph.add("a", lambda: 1)
    graph.add("inner", inner, depends_on="a")
    graph.add("b", lambda inner: inner)
    graph.add("c", lambda a, b: b)
    graph.add("d", lambda a: a)
    facts = [succeeded("a", 1), asked("inner/ok", "Go?")]
    run = stored_run(journal(*facts, wiring=wired(graph)))
    found = {name: run.question_before(node) for name, node in run.record.nodes.items()}
    assert {name: question.node for name, question in found.items() if question is not None} == dict.fromkeys(
        ("inner", "inner/ok", "b", "c"), "inner/ok"
    )
    assert stored_run(journal(facts[0], wiring=wired(graph))).question_before(run.record.nodes["c"]) is None


def test_nodes_without_a_fact_are_known_from_the_header() -> None:
    """
    a ── inner/x ── inner/y ── b ── c (only if)
    """
    inner = Graph("inner")
    inner.add("x", lambda a: a)
    inner.add("y", lambda x: x)
    graph = Graph("outer")
    graph.add("a", lambda: 1)
    graph.add("inner", inner, inputs={"a": graph["a"]})
    graph.add("b", lambda inner: inner)
    graph.add("c", lambda b: b, when=lambda b: b)
    graph.add("d", lambda c: c)
    graph.map("pages", lambda item: item, over=[1, 2])
    wiring = wired(graph)

    run = stored_run(journal(succeeded("a", 1), wiring=wiring))
    assert {name: node.state for name, node in run.record.nodes.items()} == {
        "a": "succeeded",
        **dict.fromkeys(("inner", "inner/x", "inner/y", "b", "c", "d", "pages"), "pending"),
    }
    assert run.waits_for(run.record.nodes["b"]) == ["inner"]
    assert run.waits_for(run.record.nodes["inner/y"]) == ["inner/x"]
    assert run.containers == {"inner", "pages"}
    text = why_text(run, run.record.nodes["b"], NOON)
    assert text == "Node 'b' has not run: it waits for 'inner' (inside: 2 not yet)."

    facts = [succeeded("a", 1), succeeded("inner/x", 1), succeeded("inner/y", 1), succeeded("b", 1)]
    skip = Fact(FactKind.SKIPPED, "c", reason="condition", at=NOON)
    run = stored_run(journal(*facts, skip, succeeded("pages[0]", 1), wiring=wiring))
    told = {name: (node.state, node.reason) for name, node in run.record.nodes.items()}
    assert told["inner"] == ("succeeded", "output")
    assert told["d"] == ("skipped", "upstream")
    assert told["pages"] == ("pending", "")
    assert "inside: 1 succeeded" in stored_text(run, NOON, 80)
    run = stored_run(journal(*facts, skip, ended("succeeded"), wiring=wiring))
    assert run.counts() == {"succeeded": 6, "skipped": 2}


@pytest.mark.parametrize(
    "data",
    [
        {"graphs": 1},
        {"graphs": []},
        {"graphs": [[["a"], [], "n", "", []]]},
        {"graphs": [[["a"], [[7, -1, True, "x"]], "n", "", [[0, 1, 2, 3, 0], [[], 1, 2, 3, 4], 5]]]},
        {"graphs": [[[1, "b"], [[], []], "nn", "", []]]},
        {"graphs": [[["a", "b"], [[], [0]], "gg", "", [[0, "all", False, "", 0], [1, "all", False, "", 99]]]]},
        [1],
        "text",
    ],
)
def test_headers_of_ill_will_tell_little_and_end(data: object) -> None:
    run = stored_run(journal(succeeded("a"), wiring=encode(data)))
    assert run.record.nodes["a"].state == "succeeded"
    stored_text(run, NOON, 80)


def test_graphs_nested_in_each_other_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty graphs, each of which has the next one in it twice: a million nodes of a few bytes."""
    monkeypatch.setattr(record, "MOST_NODES", 2_000)
    depth = 20
    graphs = [
        [["a", "b"], [[], [0]], "gg", "", [[0, "all", False, "", each + 1], [1, "all", False, "", each + 1]]]
        for each in range(depth)
    ]
    run = stored_run(journal(wiring=encode({"graphs": graphs})))
    assert 1_000 < len(run.record.nodes) <= 2_002


def test_how_long_a_mended_node_took_does_not_count_the_night_between() -> None:
    resumed = Fact(FactKind.RESUMED, reason="running", at=NOON + 30_000)
    late = Fact(FactKind.SUCCEEDED, "a", 1, at=NOON + 30_002, seconds=1.5, reason="output", payload=encode(1))
    node = record_of(journal(failed("a", ValueError("no")), ended("failed"), resumed, late)).nodes["a"]
    assert (node.started_at, node.ended_at) == (NOON + 30_000.5, NOON + 30_002)


def forgotten(node: str) -> Fact:
    return Fact(FactKind.FORGOTTEN, node, at=NOON)


def test_what_was_forgotten_together_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit at the beginning of a long graph makes all of it run again: each fact alone would look at every node."""
    looked: list[str] = []

    def counted(path: str, nodes: Collection[str]) -> bool:
        looked.append(path)
        return is_within(path, nodes)

    for module in (record, summing, kept):
        monkeypatch.setattr(module, "is_within", counted)
    names = [f"n{number}" for number in range(50)]
    facts = [*map(succeeded, names), *map(forgotten, names[1:]), *map(succeeded, names[:2]), forgotten("n1")]
    assert [name for name, node in record_of(journal(*facts)).nodes.items() if node.state == "succeeded"] == ["n0"]
    assert summing.sum_up(facts).succeeded == 1
    assert list(kept.read_known(facts)[0]) == ["n0"]
    assert len(looked) == 3 * (50 + 2)


def test_what_lies_within_nodes() -> None:
    """As if each beginning were compared, also with ids that look like paths."""
    rng = random.Random(5)
    made = ["".join(rng.choices("ab/[]", k=rng.randint(1, 6))) for _ in range(300)]
    for path in made:
        nodes = set(rng.sample(made, 5))
        begins = tuple(node + sign for node in nodes for sign in "/[")
        assert is_within(path, nodes) == (path in nodes or path.startswith(begins))
