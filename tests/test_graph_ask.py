"""
Nodes that only ask: what their text may say, what they wait for, and that they are nodes like any other.
"""

import asyncio
import inspect
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import pytest

from antichain import Context, Graph, GraphError, NobodyAnswers, NodeTimeout, Policies, Question
from antichain.asking import TEXT_AT_MOST
from antichain.questions import VALUE_AT_MOST
from tests.test_driver import virtual


class Colour(Enum):
    RED = "#f00"
    GREEN = "#0f0"


class Person:
    """Answers every question by the node's id, or in the same way, and keeps what was asked."""

    def __init__(self, answers: Any = "yes") -> None:
        self.answers = answers
        self.asked: list[Question] = []

    async def __call__(self, question: Question) -> Any:
        self.asked.append(question)
        return self.answers[question.node] if isinstance(self.answers, dict) else self.answers

    @property
    def texts(self) -> list[str]:
        return [question.text for question in self.asked]


async def branches() -> list[str]:
    return ["old", "tmp"]


def faults_of(graph: Graph) -> list[str]:
    with pytest.raises(GraphError) as caught:
        graph.plan()
    assert {fault.code for fault in caught.value.faults} == {"bad-question"}
    return [fault.message for fault in caught.value.faults]


# -- what a text may say


def test_names_in_the_text_are_filled_by_nodes_and_inputs_and_awaited() -> None:
    """
    branches ── ok ── delete        (the input `who` is in the text too)
    """
    graph = Graph()
    graph.node(branches)
    ok = graph.ask("ok", "{who}: delete {branches}, all {{2}} of {branches}?", type=bool)
    graph.add("delete", lambda branches, ok: len(branches) if ok else 0)
    assert graph.plan().shape.upstream == [(), (0,), (0, 1)]
    assert ok.id == "ok"
    person = Person()
    result, _ = virtual(graph, who="Ann", ask=person, run_id="r7")
    assert person.asked == [
        Question("r7", "ok", "Ann: delete ['old', 'tmp'], all {2} of ['old', 'tmp']?", bool, 1),
    ]
    assert result["ok"] is True
    assert result["delete"] == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{a.__class__}", "'a.__class__'"),
        ("{a[0]}", "'a[0]'"),
        ("{a[{b}]}", "'a[{b}]'"),
        ("{a!r}", "'a!r'"),
        ("{a:>9}", "'a:>9'"),
        ("{a:{b}}", "'a:{b}'"),
        ("{}", "''"),
        ("{0}", "'0'"),
        ("{a b}", "'a b'"),
        ("{ a }", "' a '"),
        ("{class}", "'class'"),
        ("{a", "braces do not fit"),
        ("a}", "braces do not fit"),
        ("{a!}", "braces do not fit"),
    ],
)
def test_nothing_but_a_name_may_stand_in_braces(text: str, where: str) -> None:
    graph = Graph()
    graph.ask("ok", text, inputs={"a": 1, "b": 2})
    (message,) = faults_of(graph)
    assert message.startswith(f"node 'ok' asks '{text}', ")
    assert where in message
    assert "{{ and }}" in message


@pytest.mark.parametrize("text", [3, None, b"Well?", "x" * (TEXT_AT_MOST + 1)])
def test_a_text_that_nobody_can_read_is_refused_before_the_run(text: Any) -> None:
    graph = Graph()
    graph.ask("ok", text)
    assert "use a text of at most 100,000 characters" in faults_of(graph)[0]


@pytest.mark.parametrize("kind", [dict, [], "yes", None, list[str]])
def test_what_cannot_be_asked_for_is_refused_before_the_run(kind: Any) -> None:
    """All that is wrong with the question at once."""
    graph = Graph()
    graph.ask("ok", "{a.b}", type=kind)
    first, second = faults_of(graph)
    assert f"type={kind!r}: " in first
    assert "'a.b' in braces" in second


def test_a_value_is_shown_as_str_shows_it_and_nothing_in_it_is_read_again() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd {secret}\n\x1b[2K{secret.__class__}"

        def __format__(self, form: str) -> str:
            raise AssertionError

    graph = Graph()
    graph.ask("ok", "{value} {{secret}}")
    person = Person()
    virtual(graph, value=Odd(), ask=person)
    assert person.texts == ["odd {secret}\n\\x1b[2K{secret.__class__} {secret}"]


def test_a_long_value_is_cut_and_says_so() -> None:
    graph = Graph()
    graph.ask("ok", "Send {mail}?")
    person = Person()
    virtual(graph, mail="x" * VALUE_AT_MOST, ask=person)
    virtual(graph, mail="x" * (VALUE_AT_MOST + 1234), ask=person)
    whole = "x" * VALUE_AT_MOST
    assert person.texts == [f"Send {whole}?", f"Send {whole}… (1,234 more characters)?"]


def test_a_text_that_has_become_too_long_fails_the_node() -> None:
    graph = Graph()
    graph.ask("ok", "{mail}" * 51)
    result, _ = virtual(graph, mail="x" * VALUE_AT_MOST, ask=Person())
    assert isinstance(result.nodes["ok"].error, GraphError)


# -- a node like any other


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (bool, "no", False),
        (int, "3", 3),
        (Colour, "red", Colour.RED),
        (Literal["a", "b"], "B", "b"),
        (["small", 7], "7", 7),
        (str, "yes", "yes"),
    ],
)
def test_the_output_has_the_type_that_was_asked_for(kind: Any, given: str, value: Any) -> None:
    graph = Graph()
    node = graph.ask("ok", "Well?", type=kind)
    result, _ = virtual(graph, ask=Person(given))
    assert result["ok"] == value
    assert type(result["ok"]) is type(value)
    # Whoever keeps the output reads it back by this.
    said = inspect.signature(node.runnable).return_annotation
    assert said == typing.get_type_hints(node.runnable)["return"]
    assert said == (Literal["small", 7] if isinstance(kind, list) else kind)


def test_choices_are_those_of_the_definition() -> None:
    choices = ["a", "b"]
    graph = Graph()
    graph.ask("ok", "Well?", type=choices)
    choices.clear()
    assert virtual(graph, ask=Person("b"))[0]["ok"] == "b"


def test_inputs_and_depends_on_are_those_of_every_node() -> None:
    """
    web ──┬── one        (the only argument)
          ├── part       (by name; waits for log too)
          └── log
    """
    graph = Graph()
    web = graph.add("web", lambda: ["first", "second"])
    log = graph.add("log", lambda web: None)
    graph.ask("one", "Is {it} right?", inputs=web)
    graph.ask("part", "{title} and {k}?", inputs={"title": web.path(1), "k": 3}, depends_on=[log])
    person = Person()
    plan = graph.plan()
    assert plan.shape.upstream == [(), (0,), (0,), (1, 0)]
    virtual(graph, ask=person)
    assert sorted(person.texts) == ["Is ['first', 'second'] right?", "second and 3?"]


def test_a_name_that_nothing_fills_is_the_graphs_fault() -> None:
    graph = Graph()
    graph.node(branches)
    graph.ask("ok", "Delete {branchs}?")
    with pytest.raises(GraphError, match=r"node 'ok' needs 'branchs'.*Did you mean 'branches'"):
        graph.run(ask=Person())
    wrong = Graph()
    wrong.ask("ok", "Well?", inputs={"x": 1})
    with pytest.raises(GraphError, match="unused-input"):
        wrong.plan()


def test_a_value_may_have_the_name_that_a_context_has() -> None:
    graph = Graph()
    graph.ask("ok", "{ctx} {client} {ctx_} {self} {values} {named}?")

    @graph.resource
    def client() -> Iterator[str]:
        yield "open"

    person = Person()
    graph.run({"self": 3}, ctx=1, ctx_=2, values=4, named=5, ask=person)
    assert person.texts == ["1 open 2 3 4 5?"]


def test_a_question_not_taken_is_skipped_with_what_depends_on_it() -> None:
    graph = Graph()
    graph.node(branches)
    graph.ask("ok", "Delete {branches}?", type=bool, when=lambda branches: len(branches) > 2)
    graph.add("delete", lambda ok: ok)
    person = Person()
    result, _ = virtual(graph, ask=person)
    assert [result.nodes[name].state for name in ("ok", "delete")] == ["skipped", "skipped"]
    assert person.asked == []


def test_if_nobody_answers_the_fallback_does() -> None:
    graph = Graph()
    graph.ask("ok", "Well?", type=bool, fallback=False)
    graph.ask("why", "Why?", fallback=lambda error: type(error).__name__)
    result, _ = virtual(graph)
    assert dict(result) == {"ok": False, "why": "NobodyAnswers"}
    assert result.nodes["ok"].reason == "fallback"
    plain = Graph()
    plain.ask("ok", "Well?")
    result, _ = virtual(plain)
    assert isinstance(result.nodes["ok"].error, NobodyAnswers)


def test_only_questions_that_the_targets_need_are_put() -> None:
    graph = Graph()
    graph.ask("a", "A?")
    graph.ask("b", "B?")
    graph.add("c", lambda a: a)
    person = Person()
    result, _ = virtual(graph, targets=["c"], ask=person)
    assert (dict(result), person.texts) == ({"c": "yes"}, ["A?"])
    assert virtual(graph, outputs={"a": "given", "b": "given"})[0]["c"] == "given"


def test_inside_other_graphs_a_question_shows_the_whole_id() -> None:
    inner = Graph("inner")
    inner.ask("ok", "Publish {page}?", type=bool)
    inner.ask("sure", "Sure?", type=bool)
    outer = Graph("outer")
    outer.add("nested", inner, inputs={"page": "front"})
    outer.map("pages", inner, over=["one", "two"], key=str)
    outer.map("each", graph_question(), over=["x"], key=str)

    @outer.node
    async def body(ctx: Context) -> Any:
        return (await ctx.run(inner, page="late"))["ok"]

    person = Person()
    result, _ = virtual(outer, ask=person)
    assert {question.node: question.text for question in person.asked if not question.node.endswith("sure")} == {
        "nested/ok": "Publish front?",
        "pages[one]/ok": "Publish one?",
        "pages[two]/ok": "Publish two?",
        "each[x]": "Is x right?",
        "body/inner/ok": "Publish late?",
    }
    assert result["pages"] == [{"ok": True, "sure": True}] * 2
    assert result["each"] == ["yes"]


def graph_question() -> Any:
    """A node that asks, to be mapped."""
    return Graph().ask("question", "Is {item} right?")


# -- what is not for people


def test_what_every_node_takes_by_default_is_not_taken_by_a_question() -> None:
    """No timeout, no slot of a limit, no thread; given to the question itself, they hold."""
    graph = Graph(defaults=Policies(timeout=1, uses="llm", fallback="late"), limits={"llm": 1})
    graph.ask("slow", "Well?")
    graph.ask("timed", "Well?", timeout=2, uses="llm")
    graph.ask("strict", "Well?", timeout=2, fallback=lambda error: type(error).__name__)

    async def answer(question: Question) -> str:
        await asyncio.sleep(3)
        return "yes"

    result, _ = virtual(graph, ask=answer)
    assert dict(result) == {"slow": "yes", "timed": "late", "strict": NodeTimeout.__name__}
    assert {name: node.uses for name, node in result.nodes.items()} == {
        "slow": (),
        "timed": (("llm", 1),),
        "strict": (),
    }
    threads = Graph(defaults=Policies(runner="thread"))
    threads.ask("ok", "Well?")
    assert virtual(threads, ask=Person())[0]["ok"] == "yes"


def test_while_somebody_thinks_their_place_is_free() -> None:
    """One place in all: the others run while two questions are open."""
    graph = Graph()
    graph.ask("a", "A?", priority=2)
    graph.ask("b", "B?", priority=2)
    done: list[str] = []
    graph.add("work", lambda: done.append("work"))
    graph.add("more", lambda work: done.append("more"))

    async def answer(question: Question) -> str:
        while len(done) < 2:
            await asyncio.sleep(0.1)
        return "yes"

    result, _ = virtual(graph, ask=answer, max_concurrent=1)
    assert result.status == "succeeded"


def test_a_question_is_a_node_that_can_be_named_and_shown() -> None:
    graph = Graph()
    ok = graph.ask("ok", "Delete {branches}?", type=bool)
    graph.add("delete", lambda x: x, inputs=ok)
    assert virtual(graph, branches=1, ask=Person())[0]["delete"] is True
    assert repr(ok.runnable) == "<question 'Delete {branches}?'>"
    graph.ask("ok", "Twice?")
    graph.ask("", "Nameless?")
    with pytest.raises(GraphError) as caught:
        graph.plan()
    assert [fault.code for fault in caught.value.faults] == ["duplicate-id", "bad-policy"]
