"""
Runs as diagrams: every node and edge is in the picture or counted in a box of it, whatever ids look like.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from itertools import count, pairwise
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain.core.facts import Event
from antichain.printable import printable
from antichain.record import NodeRecord, RunRecord, fold
from antichain.testing import virtual_time
from antichain.views.diagram import MERMAID_CHARACTERS, MERMAID_EDGES, to_dot, to_mermaid
from antichain.views.figures import critical_path, members, snapshot
from antichain.views.folding import Box, cut, draw
from tests.support import viewed
from tests.support.viewed import HOSTILE, Drawn, read_dot, read_mermaid
from tests.test_real_runs import run_one

GOLDEN = Path(__file__).parent / "golden" / "views"
LANGUAGES = {"mermaid": (to_mermaid, read_mermaid), "dot": (to_dot, read_dot)}
BIG: dict[str, Callable[[], RunRecord]] = {
    "fan": lambda: viewed.fan(20_000),
    "chain": lambda: viewed.chain(20_000),
    "scattered": lambda: viewed.scattered(20_000),
    "stages": lambda: viewed.stages(10_000),
    "deep groups": lambda: viewed.nested(20, 1_000),
    "many groups": lambda: viewed.nested(2_000, 9),
}


def agreed(name: str, found: str) -> None:
    file = GOLDEN / name
    if os.environ.get("ANTICHAIN_GOLDEN") == "write":
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


# -- one of everything


def test_mermaid_is_as_agreed() -> None:
    agreed("sample.mmd", to_mermaid(viewed.sample()[0]))


def test_dot_is_as_agreed() -> None:
    agreed("sample.dot", to_dot(viewed.sample()[0]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_is_drawn_with_all_that_is_known_of_it(language: str) -> None:
    write, read = LANGUAGES[language]
    result, events = viewed.sample()
    assert write(fold(events)) == write(result)
    drawn = read(write(result))
    names = {text[0].split(" · ")[0]: name for name, text in (drawn.boxes | drawn.groups).items()}
    assert set(names) == set(result.nodes)
    assert drawn.title == "digest · partial in 3.62 s · 26 nodes"
    # Groups are around what they brought, and every edge is there.
    around = {result.nodes[name].group for name in result.nodes} - {""}
    assert {names[name] for name in around} == drawn.groups.keys()
    for name, node in result.nodes.items():
        assert drawn.around.get(names[name], "") == (names[node.group] if node.group else "")
    edges = {(names[before], names[node.id]) for node in result.nodes.values() for before in node.upstream}
    assert drawn.edges == dict.fromkeys(edges, 1)
    # What the run waited for is marked: also the item that the fed stage waited for.
    assert (names["documents[4]"], names["stored[4]"]) in drawn.thick
    path = [names[name] for name in result.critical_path]
    assert set(pairwise(path)) <= drawn.thick
    assert (names["broken"], names["never"]) not in drawn.thick
    text = drawn.boxes | drawn.groups
    assert text[names["flaky"]] == ["flaky", "succeeded · 2.7 s · 3 attempts"]
    assert text[names["broken"]][1:] == ["failed · 200 ms", "ValueError: no such page: <b>x</b> [1] {2}; end"]
    assert text[names["never"]] == ["never", "skipped (upstream)"]
    assert not drawn.folded


def test_a_run_of_nothing_and_a_run_that_goes_on_are_drawn() -> None:
    for write, read in LANGUAGES.values():
        assert read(write(RunRecord())).boxes == {}
        _, events = viewed.sample()
        for end in range(0, len(events), 7):
            record = fold(events[:end])
            drawn = read(write(record))
            assert len(drawn.boxes) + len(drawn.groups) == len(record.nodes)
            assert end == 0 or " · running · " in drawn.title


# -- foreign text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_ids_and_errors_are_nothing_but_text(language: str, text: str) -> None:
    write, read = LANGUAGES[language]
    check_hostile(read(write(viewed.hostile(text))), text)


@given(text=st.text(min_size=1, max_size=40) | st.text(alphabet='"#;&<>\\n$:fa-ﬂ°¶ß%{}[]()|`\u2060', min_size=1))
def test_any_text_is_nothing_but_text(text: str) -> None:
    for write, read in LANGUAGES.values():
        check_hostile(read(write(viewed.hostile(text))), text)


def check_hostile(drawn: Drawn, text: str) -> None:
    shown = [printable(cut(each, 60), None) for each in (text, f"{text}G", f"{text}G[0]")]
    assert list(drawn.boxes) == ["n0", "n2"]
    assert [drawn.boxes["n0"][0], drawn.boxes["n2"][0]] == [bare(shown[0]), bare(shown[2])]
    assert drawn.groups["n1"][0].startswith(bare(shown[1]))
    assert drawn.edges == {("n0", "n1"): 1}
    # A title of Mermaid has no tags: they would be taken for such.
    titles = [bare(each) for each in (shown[0], shown[0].replace("<", "\u2039").replace(">", "\u203a"))]
    assert bare(drawn.title).startswith(tuple(titles))


def bare(text: str) -> str:
    # What keeps parts of a text from each other is not seen, and taken out when a label is read again.
    return text.replace("\u2060", "")


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_reads_the_same_texts() -> None:
    space = "{http://www.w3.org/2000/svg}"
    for text in HOSTILE:
        done = subprocess.run(["dot", "-Tsvg"], input=to_dot(viewed.hostile(text)).encode(), capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), text
        groups = list(ET.fromstring(done.stdout).iter(f"{space}g"))
        kinds = [group.get("class") for group in groups]
        assert (kinds.count("node"), kinds.count("edge"), kinds.count("cluster")) == (2, 1, 1)
        first = groups[kinds.index("node")].find(f".//{space}text")
        shown = printable(cut(text, 60), None)
        if shown.strip():
            assert first is not None
            assert words(first.text or "") == words(shown)


def words(text: str) -> list[str]:
    return text.replace("\u00a0", " ").split()


# -- folding


def check_folding(run: RunRecord, max_nodes: int, max_edges: int) -> None:
    picture = draw(run, max_nodes, max_edges)
    boxes = list(picture.everything())
    assert len(boxes) == picture.box_count <= max(max_nodes, 1)
    assert len(picture.edges) <= max_edges or len(boxes) == 1
    # Every node is in one box.
    told = [each.id for box in boxes for each in (*box.nodes, *box.hidden)]
    assert sorted(told) == sorted(run.nodes)
    # Every edge is drawn, or counted on one that is, or in a box.
    edges = sum(name in run.nodes for each in run.nodes.values() for name in each.upstream)
    assert edges == sum(picture.edges.values()) + sum(box.hidden_edges for box in boxes)
    # What is around a box brought all that is in it; what is drawn by itself is no one's edge.
    for box in boxes:
        for each in box.nodes:
            group = each.group if each.group in run.nodes else ""
            assert ("" if box.parent is None else box.parent.nodes[0].id) == group
    for source, box in picture.edges:
        assert box not in [source, *outer(source)]
        assert source not in outer(box)
    assert has_order(picture.edges, boxes)
    critical = {box for box in boxes if box.is_critical}
    for name in critical_path(run):
        assert any(name in [each.id for each in (*box.nodes, *box.hidden)] for box in critical)


def outer(box: Box) -> list[Box]:
    found = []
    while box.parent is not None:
        box = box.parent
        found.append(box)
    return found


def has_order(edges: Iterable[tuple[Box, Box]], boxes: list[Box]) -> bool:
    """Whether boxes next to each other can be put in an order in which all edges go forward."""
    after: dict[Box, list[Box]] = {box: [] for box in boxes}
    missing = dict.fromkeys(boxes, 0)
    for source, box in edges:
        if source.parent is box.parent:
            after[source].append(box)
            missing[box] += 1
    todo = [box for box in boxes if not missing[box]]
    for box in todo:
        for each in after[box]:
            missing[each] -= 1
            if not missing[each]:
                todo.append(each)
    return len(todo) == len(boxes)


@pytest.mark.parametrize("block", range(5))
def test_random_runs_are_drawn_the_same_from_result_and_events(block: int) -> None:
    """Real runs of random graphs, with groups, failures and cancellation; at any size nothing is lost."""
    for seed in range(block * 12, block * 12 + 12):
        events: list[Event] = []
        with virtual_time() as clock:
            _, result = clock.run(run_one(seed, events))
        # Whether closing what the run had opened belongs to it is not what this is about.
        record, run = fold(events), snapshot(result)
        for write, read in LANGUAGES.values():
            assert write(record) == write(result), seed
            drawn = read(write(result, max_nodes=1_000))
            assert drawn.edges.keys() >= drawn.thick
        assert critical_path(result) == result.critical_path, seed
        for max_nodes, max_edges in ((1_000, 10_000), (30, 10_000), (12, 15), (5, 3), (1, 0)):
            check_folding(run, max_nodes, max_edges)


@given(number=st.integers(0, 24), seed=st.integers(0, 2**32), room=st.integers(1, 12), most=st.integers(0, 12))
def test_whatever_is_folded_is_counted(number: int, seed: int, room: int, most: int) -> None:
    """Any nodes in any groups, with edges between any of them."""
    rng, nodes = Random(seed), list[NodeRecord]()
    for i in range(number):
        group = rng.choice(["", "", *(each.id for each in nodes[-6:])])
        peers = [each.id for each in nodes if each.group == group or rng.random() < 0.5]
        upstream = rng.sample(peers, min(rng.randint(0, 4), len(peers)))
        name = f"{group}[{i}]" if group and rng.random() < 0.5 else f"n{i}"
        nodes.append(viewed.node(name, *upstream, at=float(i), group=group))
    check_folding_counts(viewed.record(nodes), room, most)


def check_folding_counts(run: RunRecord, max_nodes: int, max_edges: int) -> None:
    picture = draw(run, max_nodes, max_edges)
    boxes = list(picture.everything())
    assert sorted(each.id for box in boxes for each in (*box.nodes, *box.hidden)) == sorted(run.nodes)
    edges = sum(len(each.upstream) for each in run.nodes.values())
    assert edges == sum(picture.edges.values()) + sum(box.hidden_edges for box in boxes)
    assert len(boxes) <= max_nodes
    for write, read in LANGUAGES.values():
        drawn = read(write(run, max_nodes=max_nodes))
        assert sum(drawn.edges.values()) <= edges


@pytest.mark.parametrize("kind", BIG)
@pytest.mark.parametrize("language", LANGUAGES)
def test_twenty_thousand_nodes_stay_a_picture(language: str, kind: str) -> None:
    write, read = LANGUAGES[language]
    run = BIG[kind]()
    began = time.process_time()
    text = write(run)
    assert time.process_time() - began < 2
    drawn = read(text)
    assert "20,0" in drawn.title
    boxes = len(drawn.boxes) + len(drawn.groups)
    assert drawn.title.endswith(f"folded into {boxes:,} boxes")
    assert boxes <= {"mermaid": 120, "dot": 400}[language]
    if language == "mermaid":
        assert len(text) <= MERMAID_CHARACTERS
        assert len(drawn.edges) <= MERMAID_EDGES
    # The boxes say how many nodes they stand for.
    texts = [line for text in (drawn.boxes | drawn.groups).values() for line in text]
    several = [int(line.split()[0].replace(",", "")) for line in texts if re.match(r"[\d,]+ (nodes|inside) · ", line)]
    single = boxes - sum(bool(re.match(r"[\d,]+ nodes · ", line)) for line in texts)
    assert sum(several) + single == len(run.nodes)


def test_what_is_alike_is_one_box_that_says_what_failed() -> None:
    drawn = read_mermaid(to_mermaid(viewed.fan(20_000)))
    assert drawn.edges == {("n0", "n1"): 1, ("n0", "n2"): 19_997, ("n1", "n3"): 1, ("n2", "n3"): 19_997}
    assert drawn.folded == {"n2"}
    assert drawn.boxes["n2"] == [
        "w1 … w19997",
        "19,997 nodes · 19,977 succeeded, 20 failed",
        "failed: w7, w1007, w2007, and 17 more",
        "longest 1 s",
    ]
    # What the run waited for stays apart.
    assert drawn.boxes["n1"][0] == "w0"
    assert "n2" in drawn.classes["failed"]


def test_a_long_stage_stays_closed_and_a_short_one_opens() -> None:
    closed = read_mermaid(to_mermaid(viewed.stages(13)))
    assert closed.boxes["n1"][2] == "13 inside · 12 succeeded, 1 failed"
    # Thirteen items and the stages themselves.
    assert closed.edges["n1", "n2"] == 14
    opened = read_mermaid(to_mermaid(viewed.stages(12)))
    assert len(opened.groups) == 2
    assert sum(edge[0] in opened.around for edge in opened.edges) == 12


def test_mermaid_is_kept_to_what_its_viewers_take() -> None:
    dense = [viewed.node(f"n{i}", *(f"n{j}" for j in range(i)), at=float(i)) for i in range(60)]
    drawn = read_mermaid(to_mermaid(viewed.record(dense)))
    assert 1 < len(drawn.edges) <= MERMAID_EDGES
    numbers = count()
    coded = [viewed.node(f"{next(numbers)}" + "{}" * 40, state="failed") for _ in range(110)]
    text = to_mermaid(viewed.record(coded))
    assert len(text) <= MERMAID_CHARACTERS
    assert "folded into" in read_mermaid(text).title


def test_items_of_a_stage_are_in_their_order() -> None:
    """Whatever the order in which they came: the second stage takes items as the first one is done with them."""
    outer = [viewed.node("s")]
    run = viewed.record([*outer, *(viewed.node(f"s[{i}]", group="s") for i in (10, 2, 0, 9))])
    assert [each.id for each in members(run)["s"]] == ["s[0]", "s[2]", "s[9]", "s[10]"]
    keyed = viewed.record([*outer, *(viewed.node(f"s[{key}]", group="s") for key in ("b", "7", "a"))])
    assert [each.id for each in members(keyed)["s"]] == ["s[7]", "s[a]", "s[b]"]
