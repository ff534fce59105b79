"""
`antichain plan`: what is known of a run before it begins.
"""

import json
from pathlib import Path

import pytest

from antichain import Graph
from tests.support.command import Here, Write

#   web (2 s, search) ──┐
#                       ├── answer (3 s, llm)
#   memory ─────────────┘
BRIEFING = """
    def boom():
        raise AssertionError("a plan runs nothing")

    graph = Graph("briefing", limits={"llm": 2, "search": 1})

    @graph.node(uses="search", cost=2)
    async def web(question: str): boom()

    @graph.node
    async def memory(question: str, k: int = 3): boom()

    @graph.node(uses="llm", cost=3)
    async def answer(web, memory): boom()
"""


def test_page(write: Write, here: Here) -> None:
    code, out, err = here("plan", write(BRIEFING))
    assert (code, err) == (0, "")
    assert out == (
        "briefing: 3 nodes, 2 edges\n"
        "  width         2 could run at once\n"
        "  depth         2 one after another\n"
        "  needs         question=VALUE, for web, memory\n"
        "  may be given  k\n"
        "  limits        llm     2  used by 1 node\n"
        "                search  1  used by 1 node\n"
        "  longest path  5 s: web → answer\n"
        "\n"
        "  slots  makespan  bound  bound set by\n"
        "      1       6 s    6 s  slots\n"
        "    any       5 s    5 s  the longest path\n"
        "\n"
        "Seconds are those of cost=; a node without one counts as 1 s.\n"
    )


def test_json_is_one_document_with_the_nodes(write: Write, here: Here) -> None:
    code, out, _ = here("plan", write(BRIEFING), "--json", "--slots", "2, 1")
    assert code == 0
    document = json.loads(out)
    assert document["version"] == 1
    assert (document["node_count"], document["width"], document["depth"]) == (3, 2, 2)
    assert document["critical_path"] == ["web", "answer"]
    assert document["inputs"] == {"question": ["web", "memory"]}
    assert document["limits"]["llm"] == {"size": 2, "nodes": 1}
    assert document["estimates"] == [
        {"slots": 2, "makespan": 5.0, "bound": 5.0, "bound_by": None},
        {"slots": 1, "makespan": 6.0, "bound": 6.0, "bound_by": "max_concurrent"},
    ]
    assert document["nodes"][2] == {"id": "answer", "upstream": ["web", "memory"], "uses": {"llm": 1}, "cost": 3.0}


def test_estimates_are_those_of_the_library(write: Write, here: Here) -> None:
    graph = Graph("fan", limits={"llm": 3})
    file = write("""
        graph = Graph("fan")
        async def work(): ...
        for number in range(20):
            graph.add(f"n{number}", work, cost=number + 1, uses="llm" if number % 2 else None)
    """)
    code, out, _ = here("plan", file, "--json", "--slots", "1,2,3,5,8", "--limit", "llm=2")
    assert code == 0

    async def work() -> None: ...

    for number in range(20):
        graph.add(f"n{number}", work, cost=number + 1, uses="llm" if number % 2 else None)
    for found in json.loads(out)["estimates"]:
        expected = graph.plan().estimate(max_concurrent=found["slots"], limits={"llm": 2})
        assert (found["makespan"], found["bound"]) == (expected.makespan, expected.bound)
        assert found["bound_by"] == expected.bound_by == ("max_concurrent" if found["slots"] < 4 else "llm")


PAIR = """
    graph = Graph("pair")
    async def work(): ...
    for name, seconds in {"a": 3, "b": 3, "c": 2, "d": 2, "e": 2}.items():
        graph.add(name, work, cost=seconds)
"""


def test_a_better_order_is_looked_for_if_asked(write: Write, here: Here) -> None:
    file = write(PAIR)
    code, out, err = here("plan", file, "--slots", "1,2", "--improve")
    assert (code, err) == (0, "")
    assert out.endswith(
        "  slots  makespan  improved  bound  bound set by\n"
        "      1      12 s      12 s   12 s  slots\n"
        "      2       7 s       6 s    6 s  slots\n"
        "\n"
        "Seconds are those of cost=; a node without one counts as 1 s.\n"
        "Improved is a better order of starts: --json has it, and priority= gives it to the nodes.\n"
    )
    one, two = json.loads(here("plan", file, "--slots", "1,2", "--improve", "--json")[1])["estimates"]
    assert (one["makespan"], one["improved"]) == (12, 12)
    assert (two["makespan"], two["improved"], two["bound"]) == (7, 6, 6)
    ends = {name: at + (3 if name in "ab" else 2) for name, at in two["improved_starts"].items()}
    assert (set(ends), max(ends.values())) == (set("abcde"), 6)
    assert here("plan", file, "--slots", "1", "--improve")[1].endswith("\nNo better order of starts was found.\n")
    assert "mproved" not in here("plan", file)[1] + here("plan", file, "--json")[1]


@pytest.mark.parametrize(
    ("limits", "says"),
    [("llm=1", "limit llm"), ("llm=10", "the longest path")],
)
def test_the_limit_that_binds_is_named(write: Write, here: Here, limits: str, says: str) -> None:
    file = write("""
        graph = Graph("fan", limits={"llm": 2})
        async def work(): ...
        for number in range(10):
            graph.add(f"n{number}", work, uses="llm")
    """)
    _, out, _ = here("plan", file, "--slots", "16", "--limit", limits)
    row = next(line for line in out.splitlines() if line.startswith("     16"))
    assert row.endswith(says)


def test_rates_are_limits_too(write: Write, here: Here) -> None:
    """With what they let pass; and one may be what binds."""
    file = write("""
        from antichain import Adaptive, Rate

        api, llm = Rate(requests=2, tokens=90_000, per=10), Adaptive(initial=3, maximum=9)
        graph = Graph("calls", limits={"api": api, "llm": llm})
        async def work(): ...
        for number in range(6):
            graph.add(f"n{number}", work, uses={"api": 1, "llm": 1})
    """)
    code, out, err = here("plan", file, "--slots", "8")
    assert (code, err) == (0, "")
    passing = "2 requests, 90,000 tokens in 10 s"
    assert f"  limits        llm  {'adapts, from 3, up to 9':>{len(passing)}}  used by 6 nodes\n" in out
    assert f"                api  {passing}  used by 6 nodes\n" in out
    assert out.splitlines()[-3].split() == ["8", "21", "s", "21", "s", "limit", "api"]
    document = json.loads(here("plan", file, "--json")[1])
    assert document["limits"]["llm"] == {"size": 3, "nodes": 6, "maximum": 9}
    assert document["limits"]["api"] == {"units": {"requests": 2, "tokens": 90_000}, "per": 10, "nodes": 6}


def test_the_graph_s_own_slots_are_a_row(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph("fan", max_concurrent=3)
        async def work(): ...
        for number in range(10):
            graph.add(f"n{number}", work)
    """)
    _, out, _ = here("plan", file, "--json")
    assert [each["slots"] for each in json.loads(out)["estimates"]] == [1, 2, 3, 4, 8]


def test_inner_graphs_and_maps_are_counted(write: Write, here: Here) -> None:
    file = write("""
        inner = Graph("inner", limits={"disk": 1})
        inner.add("a", lambda page: page, uses="disk")
        inner.add("b", lambda a: a)
        graph = Graph("outer")
        graph.add("part", inner)
        graph.map("pages", lambda page: page, over=graph["part"], max_concurrent=2)
        graph.map("boxes", inner, over=graph["pages"])
    """)
    code, out, err = here("plan", f"{file}:graph")
    assert code == 0, err
    assert out.startswith("outer: 3 nodes and 4 inside them, 2 edges\n")
    assert "disk                  1  used by 2 nodes" in out
    assert "pages.max_concurrent  2  used by 1 node" in out
    assert "2 maps (pages, boxes): counted as one item each." in out


def test_factory_is_called_with_its_inputs(write: Write, here: Here) -> None:
    file = write("""
        def make(count: int) -> Graph:
            graph = Graph("made")
            for number in range(count):
                graph.add(f"n{number}", lambda word: word)
            return graph
    """)
    code, out, _ = here("plan", file, "count=4")
    assert code == 0
    assert out.startswith("made: 4 nodes, 0 edges\n")
    assert "needs         word=VALUE, for n0, n1, n2 and 1 more\n" in out
    code, _, err = here("plan", file)
    assert (code, err) == (2, "antichain: make() needs count: add count=VALUE to the command.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["k=3", "x=1"], "input 'x' is taken by no node"),
        (["web=1"], "input 'web' has the name of a node"),
        (["--slots", "0"], "--slots '0' is not a list of numbers above zero."),
        (["--slots", "1,,2"], "is not a list of numbers"),
        (["--slots", "٣"], "is not a list of numbers"),
        (["--limit", "lmm=1"], "Did you mean 'llm'?"),
        (["--limit", "llm=0"], "limit 'llm' is 0"),
    ],
)
def test_wrong_usage_is_one_paragraph_and_code_2(write: Write, here: Here, arguments: list[str], said: str) -> None:
    code, out, err = here("plan", write(BRIEFING), *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_all_faults_of_a_graph_at_once(write: Write, here: Here) -> None:
    file = write("""
        graph = Graph("wrong")
        graph.add("a", lambda b: b)
        graph.add("b", lambda a: a)
        graph.add("c", lambda: 1, uses="gpu")
    """)
    code, out, err = here("plan", file)
    assert (code, out) == (2, "")
    assert "[cycle]" in err
    assert "[unknown-limit]" in err


MANY = """
    def graph(count: int) -> Graph:
        graph = Graph("big", limits={"llm": 8})

        def work(**inputs): ...

        for number in range(count):
            layer = number // 200
            above = [f"n{(layer - 1) * 200 + (number * 7 + way) % 200}" for way in range(3)] if layer else []
            graph.add(f"n{number}", work, depends_on=above, cost=number % 7 + 1, uses="llm" if number % 9 < 1 else None)
        return graph
"""


@pytest.mark.slow
def test_twenty_thousand_nodes_fit_a_page(write: Write, here: Here) -> None:
    code, out, _ = here("plan", write(MANY), "count=20000")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "big: 20,000 nodes, 59,400 edges"
    assert lines[1] == "  width         at least 200 could run at once"
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80


def test_empty_graph(write: Write, here: Here) -> None:
    code, out, _ = here("plan", write("graph = Graph('empty')"))
    assert code == 0
    assert out.startswith("empty: 0 nodes, 0 edges\n")


def test_seconds_of_earlier_runs_are_those_of_the_plan(
    write: Write, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a store, named or usual; of what is new, nine in ten of the known take less, unless its author says more."""
    file = write("""
        import asyncio
        graph = Graph("slow")
        inner = Graph("inner")
        inner.add("step", lambda: None)

        @graph.node(cost=50)
        async def first(): await asyncio.sleep(0.05)

        graph.add("rest", inner, depends_on=[first])
    """)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTICHAIN_STORE")
    code, out, err = here("plan", file)
    assert (code, err) == (0, "")
    assert out.endswith("Seconds are those of cost=; a node without one counts as 1 s.\n")
    assert not (tmp_path / ".antichain").exists()
    for number in range(2):
        assert here("run", file, "--run-id", f"r{number}")[0] == 0
    code, out, err = here("plan", file, "--slots", "1,2", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["measured"], document["unmeasured"], document["measured_in"]) == (2, 0, "'.antichain/runs.db'")
    assert 0.05 <= document["nodes"][0]["cost"] < 5
    assert 0.05 <= document["estimates"][0]["makespan"] < 5
    code, out, err = here("plan", file, "--store", str(tmp_path / ".antichain" / "runs.db"))
    assert out.endswith(f"Seconds are those of 2 nodes in earlier runs, in '{tmp_path}/.antichain/runs.db'.\n")
    assert "51 s" in here("plan", file, "--no-store")[1]
    Path(file).write_text(Path(file).read_text() + "graph.add('new', lambda: None)\n")
    code, out, err = here("plan", file)
    assert out.endswith("\nOf 1 more, they are those of cost=, else what nine in ten of the others take.\n")


def test_a_store_that_is_named_must_be_there(
    write: Write, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody has named may be anything: a plan does not need it."""
    file = write(BRIEFING)
    code, _, err = here("plan", file, "--store", str(tmp_path / "gone.db"))
    assert code == 2
    assert "there is no store at" in err
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database" * 500)
    code, _, err = here("plan", file, "--store", str(damaged))
    assert (code, err != "") == (1, True)
    monkeypatch.setenv("ANTICHAIN_STORE", str(damaged))
    code, out, err = here("plan", file)
    assert (code, err) == (0, "")
    assert out.endswith("Seconds are those of cost=; a node without one counts as 1 s.\n")
