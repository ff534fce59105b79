"""What has changed between a stored run and a graph, in words; see antichain.resuming.changes."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest

from antichain.errors import StoreDamaged
from antichain.graph import Graph
from antichain.plan import Plan
from antichain.resuming import newcomers
from antichain.resuming.changes import Changes, compare, describe_wiring
from antichain.resuming.fingerprints import fingerprints, inside_fingerprint, instance_fingerprint
from antichain.resuming.wired import is_mapped, subplan_of
from antichain.resuming.words import likely_name
from antichain.stores.codec import decode, encode


def one() -> int:
    return 1


async def take(x: Any) -> Any:
    return x


def join_up(**given: Any) -> Any:
    return given


# fetch ── clean ── train ── report
#            └───── check ────┘
EDGES = {"fetch": "", "clean": "fetch", "train": "clean", "check": "clean", "report": "train check"}


def graph_of(edges: dict[str, str], name: str = "etl", **policies: dict[str, Any]) -> Graph:
    graph = Graph(name)
    for node, before in edges.items():
        graph.add(node, join_up, depends_on=before.split(), **policies.get(node, {}))
    return graph


def walk(plan: Plan, items: Any = (), prefix: str = "", within: str = "") -> Iterator[tuple[str, str]]:
    """The path and fingerprint of every node that would be kept in a run: of nodes that are no containers."""
    for node, (name, text) in enumerate(zip(plan.ids, fingerprints(plan, within), strict=True)):
        inside = subplan_of(plan, node)
        if is_mapped(plan, node):
            for key in items:
                instance = instance_fingerprint(text, key)
                if inside is None:
                    yield f"{prefix}{name}[{key}]", instance
                else:
                    yield from walk(inside, items, f"{prefix}{name}[{key}]/", instance)
        elif inside is not None:
            yield from walk(inside, items, f"{prefix}{name}/", text)
        else:
            yield f"{prefix}{name}", text


def changes(
    then: Graph,
    now: Graph,
    completed: str | Iterable[str],
    *,
    items: Any = (),
    targets: list[str] | None = None,
    replaced: Any = (),
    is_described: bool = True,
) -> Changes:
    """Compare a run of *then*, in which *completed* completed, with *now*."""
    plan = then.plan()
    kept = dict(walk(plan, items))
    paths = completed.split() if isinstance(completed, str) else completed
    wiring = decode(encode(describe_wiring(plan))) if is_described else {}
    return compare(now.plan(targets), wiring, {path: kept[path] for path in paths}, replaced)


def told(found: Changes) -> list[str]:
    """The faults, without the ways out, which are the same for all."""
    messages = [fault.message for fault in found.faults()]
    assert {fault.code for fault in found.faults()} <= {"changed-node"}
    assert all(fault.node is not None and repr(fault.node) in fault.message for fault in found.faults())
    assert all('on_change="rerun"' in message for message in messages)
    return [message[: message.index(". ") + 1] for message in messages]


def again(found: Changes, now: Graph) -> str:
    """What runs again, in order."""
    return " ".join(now.plan().ids[node] for node in sorted(found.rerun()))


# -- twelve edits of a graph


def test_failed_node_may_be_fixed() -> None:
    """Its body, its version, its wiring: it had not completed."""
    now = graph_of({**EDGES, "train": "fetch clean"}, train={"version": "2", "retry": 3})
    found = changes(graph_of(EDGES), now, "fetch clean check")
    assert told(found) == []
    assert found.rerun() == set()
    assert found.forgotten() == ()
    assert found.summary() == (
        "3 completed nodes, 3 unchanged\n"
        "  'train' had not completed, and runs as it is now: its upstream was 'clean' and is now 'fetch', 'clean',"
        " and it had no version and has '2' now"
    )


def test_body_of_completed_node_does_not_count() -> None:
    """Nor do its retries, limits and the like: what completed is used again."""
    now = graph_of(EDGES, fetch={"retry": 3, "timeout": 1, "priority": 7, "fallback": 0, "cost": 3})
    now["fetch"].runnable = one
    found = changes(graph_of(EDGES), now, "fetch clean")
    assert (told(found), found.rerun()) == ([], set())
    assert found.summary() == "2 completed nodes, 2 unchanged"


def test_version_of_completed_node() -> None:
    """Whoever changes it says that the node is another one."""
    now = graph_of(EDGES, clean={"version": "2"})
    found = changes(graph_of(EDGES, clean={"version": "1"}), now, "fetch clean check")
    assert [fault.message for fault in found.faults()] == [
        (
            "node 'clean' completed in this run, and is another one now: its version was '1' and is now '2'. Put it"
            ' back as it was, or resume with on_change="rerun" to run it and what follows it again.'
        )
    ]
    assert again(found, now) == "clean train check report"
    assert found.forgotten() == ("clean", "check")
    assert told(changes(graph_of(EDGES), now, "fetch clean")) == [
        "node 'clean' completed in this run, and is another one now: it had no version and has '2' now."
    ]
    assert told(changes(now, graph_of(EDGES), "fetch clean")) == [
        "node 'clean' completed in this run, and is another one now: its version was '2' and it has none now."
    ]


def test_wiring_of_completed_node() -> None:
    """Its upstream, its arguments, its join, its condition, its kind."""

    def graph(**how: Any) -> Graph:
        graph = Graph("etl")
        graph.add("a", one)
        graph.add("b", one)
        if over := how.pop("over", None):
            graph.map("n", take, over, **how)
        else:
            how = {"inputs": {"x": graph["a"]}, **how}
            graph.add("n", how.pop("runnable", take), **how)
        return graph

    inner = Graph("inner")
    inner.add("take", take)
    edits: list[tuple[dict[str, Any], str]] = [
        ({"depends_on": ["a", "b"]}, "its upstream was 'a' and is now 'a', 'b'"),
        ({"inputs": {"x": 1}}, "its upstream was 'a' and it has none now"),
        ({"join": "any"}, "its join was 'all' and is now 'any'"),
        ({"when": lambda: True}, "it had no condition and has one now"),
        ({"over": "a"}, "it was a plain node and is now a map"),
        ({"runnable": inner}, "it was a plain node and is now a graph"),
    ]
    for how, words in edits:
        (message,) = told(changes(graph(), graph(**how), "a n"))
        assert message == f"node 'n' completed in this run, and is another one now: {words}."
    back: list[tuple[dict[str, Any], str]] = [
        ({"inputs": {"x": 1}}, "it had no upstream and now has 'a'"),
        ({"when": lambda: True}, "it had a condition and has none now"),
    ]
    for how, words in back:
        (message,) = told(changes(graph(**how), graph(), "a n"))
        assert message == f"node 'n' completed in this run, and is another one now: {words}."
    other = graph(inputs={"x": 1})
    (message,) = told(changes(graph(inputs={"x": 2}), other, "a n"))
    assert message == "node 'n' completed in this run, and is another one now: its arguments are wired otherwise."


def test_node_may_be_added() -> None:
    """A new node, and one behind it, disturb nothing that completed."""
    now = graph_of({**EDGES, "extra": "clean", "report": "train check extra"})
    found = changes(graph_of(EDGES), now, "fetch clean train")
    assert (told(found), found.rerun()) == ([], set())
    assert found.summary() == (
        "3 completed nodes, 3 unchanged\n"
        "  'report' had not completed, and runs as it is now: its upstream was 'train', 'check' and is now 'train',"
        " 'check', 'extra'\n"
        "  'extra' is new"
    )


def test_upstream_may_not_be_added_to_what_completed() -> None:
    """A node in between changes what the next one is made of."""
    now = graph_of({"fetch": "", "extra": "fetch", "clean": "fetch extra"} | {n: EDGES[n] for n in [*EDGES][2:]})
    found = changes(graph_of(EDGES), now, "fetch clean train")
    assert told(found) == [
        (
            "node 'clean' completed in this run, and is another one now: its upstream was 'fetch' and is now 'fetch',"
            " 'extra'."
        )
    ]
    assert again(found, now) == "clean train check report"
    assert found.forgotten() == ("clean", "train")


def test_completed_leaf_may_be_removed() -> None:
    """Nobody needs its output any more, and nothing runs again."""
    then = graph_of({**EDGES, "log": "fetch"})
    found = changes(then, graph_of(EDGES), "fetch clean log")
    assert told(found) == []
    assert found.rerun() == set()
    assert found.summary() == "3 completed nodes, 2 unchanged\n  'log' is not there any more"
    assert found.forgotten() == ()
    # What it was made of runs again: should it come back later, it is of no use.
    now = graph_of(EDGES, fetch={"version": "2"})
    assert changes(then, now, "fetch clean log").forgotten() == ("fetch", "clean", "log")


def test_completed_node_inside_may_be_removed_where_what_follows_did_not_complete() -> None:
    """Else what follows has another upstream."""
    now = graph_of({"fetch": "", "train": "fetch", "check": "fetch", "report": "train check"})
    assert told(changes(graph_of(EDGES), now, "fetch clean")) == []
    found = changes(graph_of(EDGES), now, "fetch clean check")
    assert told(found) == [
        "node 'check' completed in this run, and is another one now: its upstream was 'clean' and is now 'fetch'."
    ]
    assert again(found, now) == "check report"
    assert found.forgotten() == ("clean", "check")


def test_renamed_node_would_run_again() -> None:
    """What completed never does so silently: a new node that stands in its place is taken for a new name."""
    now = graph_of(
        {"fetch": "", "clean_up": "fetch", "train": "clean_up", "check": "clean_up", "report": "train check"}
    )
    found = changes(graph_of(EDGES), now, "fetch clean")
    assert [fault.message for fault in found.faults()] == [
        (
            "node 'clean' completed in this run, and is not in graph 'etl' any more, but 'clean_up' is new and wired as"
            " 'clean' was: under a new name it would run again. Give it its old name, or resume with"
            " on_change=\"rerun\" to let 'clean_up' run."
        )
    ]
    assert (again(found, now), found.forgotten()) == ("", ())
    assert "  'clean' is not there any more, and seems to have got a new name: clean_up" in found.summary()
    # A name that is not near: it is followed by the same nodes.
    now = graph_of({"load": "", "clean": "load"} | {node: EDGES[node] for node in [*EDGES][2:]})
    assert "but 'load' is new and wired as 'fetch' was" in told(changes(graph_of(EDGES), now, "fetch"))[0]
    then = graph_of({"a": "", "fetch": "a", "end": "fetch a"})
    now = graph_of({"a": "", "load": "a", "end": "load a"})
    (message,) = told(changes(then, now, "a fetch"))
    assert "but 'load' is new and wired as 'fetch' was" in message


def test_node_that_was_not_renamed() -> None:
    """Wired otherwise, a node with a name that is near is another one: the old one is just gone."""
    now = graph_of({**{n: EDGES[n] for n in EDGES if n != "report"}, "reports": "train"})
    found = changes(graph_of(EDGES), now, EDGES)
    assert told(found) == []
    assert "'report' is not there any more: 'reports' is new, but wired otherwise" in found.summary()


def test_rewired_node_that_had_not_completed() -> None:
    """It runs as it is now, and what is behind it had not completed either."""
    now = graph_of({**EDGES, "train": "fetch", "report": "train"})
    found = changes(graph_of(EDGES), now, "fetch clean check")
    assert (told(found), found.rerun()) == ([], set())
    assert "'train' had not completed, and runs as it is now: its upstream was 'clean' and is now 'fetch'" in (
        found.summary()
    )


def mapped(over: Any, **how: Any) -> Graph:
    graph = Graph("etl")
    graph.add("pages", lambda: ["x", "y"])
    graph.add("style", one)
    graph.map("texts", lambda page, style=None: page, over, **how)
    graph.add("end", take, inputs={"x": graph["texts"]})
    return graph


def test_order_of_a_map() -> None:
    """With key=, instances are their items, wherever these stand. Without, a place with another item is another one."""
    keyed = mapped(["x", "y"], key=str), mapped(["y", "x"], key=str)
    found = changes(*keyed, "pages texts[x] texts[y]", items="xy")
    assert told(found) == []
    assert "'texts' had not completed, and runs as it is now: its arguments are wired otherwise" in found.summary()
    bases = [fingerprints(graph.plan())[2] for graph in keyed]
    assert instance_fingerprint(bases[0], "x") == instance_fingerprint(bases[1], "x")
    bases = [fingerprints(mapped(order).plan())[2] for order in (["x", "y"], ["y", "x"])]
    assert instance_fingerprint(bases[0], "x") != instance_fingerprint(bases[1], "y")
    # What has the list of all outputs has another list.
    found = changes(*keyed, "pages texts[x] texts[y] end", items="xy")
    assert told(found) == [
        "node 'end' completed in this run, and is another one now: 'texts', which it follows, has changed."
    ]
    assert again(found, keyed[1]) == "end"
    assert found.forgotten() == ("end",)


def test_names_of_instances() -> None:
    """With key= or without, instances have other names: those that completed would not be found."""
    then, now = mapped("pages"), mapped("pages", key=str)
    found = changes(then, now, "pages texts[0] texts[1]", items=(0, 1))
    assert told(found) == [
        (
            "'texts[0]', 'texts[1]' completed in this run, but 'texts', which brought them into the run, is another one"
            " now: its instances were named by their position and are now named by key=."
        )
    ]
    assert again(found, now) == "texts end"
    assert found.forgotten() == ("texts",)


def test_what_instances_are_called_with() -> None:
    """What the map runs over is no matter of an instance, but its other arguments are, and its version."""
    then = mapped("pages", inputs={"style": 1})
    found = changes(then, mapped("pages", inputs={"style": 2}), "pages texts[0]", items=(0,))
    assert told(found) == [
        (
            "'texts[0]' completed in this run, but 'texts', which brought it into the run, is another one now: its"
            " arguments are wired otherwise."
        )
    ]
    found = changes(then, mapped("pages", inputs={"style": 1}, version="2"), "pages texts[0]", items=(0,))
    assert told(found)[0].endswith("is another one now: it had no version and has '2' now.")
    found = changes(then, mapped("style", inputs={"style": 1}), "pages texts[0]", items=(0,))
    assert told(found) == []


def test_other_graph_altogether() -> None:
    """One fault, not one for each node; also where it is to run again."""
    found = changes(graph_of(EDGES), graph_of({"a": "", "b": "a"}, name="other"), "fetch clean")
    assert [str(fault) for fault in found.faults()] == [
        (
            "[other-graph] this is a run of graph 'etl', and none of the 2 nodes that completed in it is in graph"
            " 'other'. Resume it with the graph that it is of, or start a run with another id."
        )
    ]
    assert found.is_other_graph
    assert found.summary() == found.faults()[0].message
    assert changes(graph_of(EDGES), graph_of({"a": ""}), "fetch", is_described=False).is_other_graph
    assert not changes(graph_of(EDGES), graph_of({"a": ""}), "").is_other_graph
    (one,) = changes(graph_of(EDGES), graph_of({"a": ""}), "fetch").faults()
    assert "and the only node that completed in it is not in graph 'etl'." in one.message
    # Something of it is there: it is the graph, with much removed.
    assert not changes(graph_of(EDGES), graph_of({"train": ""}), "fetch").is_other_graph


def test_other_graph_of_a_run_in_which_nothing_completed() -> None:
    """Its name counts too then: every node of a graph may have been mended."""
    (fault,) = changes(graph_of(EDGES), graph_of({"a": ""}, name="other"), "").faults()
    assert "this is a run of graph 'etl', and nothing of it is in graph 'other'." in fault.message
    assert not changes(graph_of(EDGES), graph_of({"fetch": ""}, name="other"), "").is_other_graph
    assert not changes(graph_of(EDGES), graph_of({"a": ""}, name="other"), "", is_described=False).is_other_graph


def test_other_name_of_a_graph_is_told_where_nodes_have_changed() -> None:
    """Before the nodes: nobody has to read twenty of them to see that it is the wrong graph."""
    found = changes(graph_of(EDGES), graph_of({**EDGES, "clean": ""}, name="other"), "fetch clean")
    assert [fault.code for fault in found.faults()] == ["other-graph", "changed-node"]
    assert str(found.faults()[0]) == "[other-graph] this is a run of graph 'etl', not 'other'."
    assert changes(graph_of(EDGES), graph_of(EDGES, name="other"), "fetch clean").faults() == []


def inner_of(inside: dict[str, str], policies: dict[str, dict[str, Any]]) -> Graph:
    inner = Graph("inner")
    for name, before in inside.items():
        if before:
            inner.add(name, join_up, depends_on=before.split(), **policies.get(name, {}))
        else:
            inner.add(name, take, **policies.get(name, {}))
    return inner


def test_new_names_are_looked_for_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    a0 ── b0
     …     …      all of it renamed: no minutes of comparing each name with each; what stands in its place is found
    a9 ── b9
    """
    then = graph_of({f"a{n}": "" for n in range(10)} | {f"b{n}": f"a{n}" for n in range(10)} | {"kept": ""})
    now = graph_of({f"source_{n}": "" for n in range(10)} | {f"b{n}": f"source_{n}" for n in range(10)} | {"kept": ""})
    compared: list[str] = []

    def counted(name: str, candidates: Collection[str]) -> str | None:
        compared.extend(candidates)
        return likely_name(name, candidates)

    monkeypatch.setattr(newcomers, "likely_name", counted)
    monkeypatch.setattr(newcomers, "COMPARED", 25)
    gone = " ".join(f"a{n}" for n in range(10))
    found = changes(then, now, f"kept {gone}")
    assert [(each.path, each.how) for each in found.changes if each.kind == "renamed"] == [
        (f"a{n}", f"source_{n}") for n in range(10)
    ]
    assert len(compared) == 30
    # Those that are only mentioned have a limit of their own.
    monkeypatch.setattr(newcomers, "MENTIONED", 2)
    compared.clear()
    others = graph_of({"kept": ""} | {f"a{n}x": "kept" for n in range(10)})
    hints = [each.how for each in changes(then, others, f"kept {gone}").changes if each.kind == "gone"]
    assert hints == ["'a0x' is new, but wired otherwise", "'a1x' is new, but wired otherwise", *[""] * 8]
    assert len(compared) == 20


# outer ── end, with first ── second inside outer
def nested(inside: dict[str, str], source: str = "a", outer: Any = None, **policies: dict[str, Any]) -> Graph:
    graph = Graph("etl")
    graph.add("a", one)
    graph.add("b", one)
    graph.add("outer", inner_of(inside, policies), inputs={"x": graph[source]}, **(outer or {}))
    graph.add("end", take, inputs={"x": graph["outer"]})
    return graph


INSIDE = {"first": "", "second": "first"}


def test_graph_inside_was_edited() -> None:
    """What completed in it is used again; who has taken its output has another one."""
    then, now = nested(INSIDE), nested({**INSIDE, "third": "second"})
    assert told(changes(then, now, "a outer/first outer/second")) == []
    found = changes(then, now, "a outer/first outer/second end")
    assert told(found) == [
        "node 'end' completed in this run, and is another one now: 'outer', which it follows, has changed."
    ]
    assert "'outer' had not completed, and runs as it is now: inside it, 'third' is new" in found.summary()
    assert (again(found, now), found.forgotten()) == ("end", ("end",))


def test_node_inside_has_changed() -> None:
    """It and what follows run again, inside and outside; what is beside does not."""
    then = nested({**INSIDE, "beside": ""})
    now = nested({**INSIDE, "beside": ""}, first={"version": "2"})
    found = changes(then, now, "a b outer/first outer/second outer/beside")
    assert [fault.message for fault in found.faults()] == [
        (
            "node 'outer/first' completed in this run, and is another one now: it had no version and has '2' now. Put"
            ' it back as it was, or resume with on_change="rerun" to run it and what follows it again.'
        )
    ]
    assert again(found, now) == "outer end"
    assert found.forgotten() == ("outer/first", "outer/second")
    now = nested({"second": "", "beside": ""})
    found = changes(then, now, "a outer/first outer/second")
    assert told(found) == [
        (
            "node 'outer/second' completed in this run, and is another one now: its upstream was 'first' and it has"
            " none now."
        )
    ]
    assert found.forgotten() == ("outer/first", "outer/second")
    # Somebody has its output, and it was renamed.
    now = nested({"second": "", "beside": ""})
    found = changes(nested({"second_": "", "beside": ""}), now, "a outer/second_")
    assert "'outer/second' is new and wired as 'outer/second_' was" in told(found)[0]


def test_graph_inside_is_fed_otherwise() -> None:
    """Then all in it is another one, however deep it lies."""
    then, now = nested(INSIDE), nested(INSIDE, source="b")
    found = changes(then, now, "a b outer/first")
    assert told(found) == [
        (
            "node 'outer/first' completed in this run, and is another one now: 'outer', which contains it, has"
            " changed (its upstream was 'a' and is now 'b')."
        )
    ]
    found = changes(then, nested(INSIDE, outer={"version": "3"}), "a b outer/first")
    assert told(found)[0].endswith("'outer', which contains it, has changed (it had no version and has '3' now).")
    found = changes(then, nested(INSIDE, outer={"when": lambda: True, "depends_on": ["a", "b"]}), "a b outer/first")
    assert told(found) == []


def test_graph_was_removed_or_renamed() -> None:
    """With all that completed in it."""
    then = nested(INSIDE)
    now = graph_of({"a": "", "b": "", "end": ""})
    found = changes(then, now, "a outer/first outer/second")
    assert told(found) == []
    assert "'outer' is not there any more" in found.summary()
    assert found.forgotten() == ()
    inner = Graph("inner")
    inner.add("first", take)
    inner.add("second", join_up, depends_on="first")
    now = graph_of({"a": "", "b": ""})
    now.add("outer_graph", inner, inputs={"x": now["a"]})
    (message,) = told(changes(then, now, "a outer/first outer/second"))
    assert message.startswith(
        "node 'outer' completed in this run, and is not in graph 'etl' any more, but 'outer_graph'"
    )


def per_item(inside: dict[str, str], **policies: Any) -> Graph:
    graph = Graph("etl")
    graph.add("pages", lambda: [1])
    graph.map("each", inner_of(inside, policies), "pages", key=str)
    graph.add("end", take, inputs={"x": graph["each"]})
    return graph


def test_graph_of_each_item() -> None:
    """A node in it has changed: with what follows it, for each item; keys may look like anything."""
    items = ("p", "q]/first", "r/[")
    done = [f"each[{key}]/{name}" for key in items for name in INSIDE]
    assert told(changes(per_item(INSIDE), per_item({**INSIDE, "third": "first"}), done, items=items)) == []
    now = per_item(INSIDE, second={"version": "2"})
    found = changes(per_item(INSIDE), now, done, items=items)
    assert told(found)[0] == (
        "node 'each[p]/second' completed in this run, and is another one now: it had no version and has '2' now."
    )
    assert len(found.faults()) == 3
    assert again(found, now) == "each end"
    assert found.forgotten() == tuple(f"each[{key}]/second" for key in items)


def test_what_a_body_ran_goes_with_it() -> None:
    """Unless the node is wired otherwise, what its body ran is looked at when it asks for it again."""
    then = graph_of({"a": "", "agent": "a"})
    ran = inside_fingerprint(fingerprints(then.plan())[1], {"q": 1}, one_node().plan())
    completed = dict(walk(one_node().plan(), (), "agent/search/", ran))
    wiring = describe_wiring(then.plan())
    assert compare(then.plan(), wiring, completed).faults() == []
    now = graph_of({"a": "", "b": "", "agent": "a b"})
    found = compare(now.plan(), wiring, completed)
    assert told(found) == [
        (
            "'agent/search/n' completed in this run, but 'agent', which brought it into the run, is another one now:"
            " its upstream was 'a' and is now 'a', 'b'."
        )
    ]
    assert found.forgotten() == ("agent",)
    assert found.rerun() == {2}


def one_node() -> Graph:
    return graph_of({"n": ""}, "search")


# -- outputs= and targets=


def test_replaced_node_may_have_changed() -> None:
    """Its output is given: it is not asked for its own. But what completed with its own does not go with it."""
    now = graph_of({**EDGES, "clean": ""})
    assert told(changes(graph_of(EDGES), now, "fetch clean", replaced=["clean"])) == []
    found = changes(graph_of(EDGES), now, "fetch clean train", replaced=["clean"])
    assert [fault.message for fault in found.faults()] == [
        (
            "node 'train' completed in this run, but with an output of 'clean' that outputs= replaces now. Leave that"
            " out, replace 'train' as well, or resume with on_change=\"rerun\" to run what follows again."
        )
    ]
    assert again(found, now) == "train check report"
    assert found.forgotten() == ("train",)
    found = changes(graph_of(EDGES), now, "fetch clean train report", replaced=["clean", "train"])
    assert [fault.node for fault in found.faults()] == ["report"]


def test_outputs_are_proposed_where_they_help() -> None:
    """Not where what follows has completed, which would be refused next."""
    now = graph_of(EDGES, clean={"version": "2"})
    assert (
        "or give its output by outputs={'clean': …}."
        in changes(graph_of(EDGES), now, "fetch clean").faults()[0].message
    )
    assert "outputs=" not in changes(graph_of(EDGES), now, "fetch clean train").faults()[0].message


def test_what_targets_do_not_need_is_left_alone() -> None:
    """It may have changed: it is not used. But it must not be used later either, if what it is made of runs again."""
    now = graph_of(EDGES, check={"version": "2"})
    found = changes(graph_of(EDGES), now, "fetch clean check", targets=["train"])
    assert (told(found), found.rerun()) == ([], set())
    assert found.summary() == "3 completed nodes, 3 unchanged"
    now = graph_of(EDGES, clean={"version": "2"})
    found = changes(graph_of(EDGES), now, "fetch clean check", targets=["train"])
    assert len(found.faults()) == 1
    assert [now.plan(["train"]).ids[node] for node in sorted(found.rerun())] == ["clean", "train"]
    assert found.forgotten() == ("clean", "check")


# -- what is known, and what can be believed


def test_without_the_old_wiring_changes_are_found_all_the_same() -> None:
    """Only the words are fewer."""
    now = graph_of({**EDGES, "clean": "", "train": "clean fetch"}, fetch={"version": "2"})
    found = changes(graph_of(EDGES), now, "fetch clean", is_described=False)
    assert told(found) == [
        "node 'fetch' completed in this run, and is another one now: it had no version and has '2' now.",
        "node 'clean' completed in this run, and is another one now: it is wired otherwise than when it completed.",
    ]
    assert (
        len(changes(mapped("pages"), mapped("pages", key=str), "texts[0]", items=[0], is_described=False).faults()) == 1
    )


def test_words_do_not_contradict_the_fingerprint() -> None:
    """A node may have completed after an edit, with a wiring that the header does not know: that is what counts."""
    then, now = graph_of(EDGES), graph_of({**EDGES, "check": "fetch"})
    completed = dict(walk(now.plan()))
    assert compare(now.plan(), describe_wiring(then.plan()), completed).faults() == []
    (message,) = told(compare(then.plan(), describe_wiring(then.plan()), {"check": completed["check"]}))
    assert message.endswith("is another one now: it is wired otherwise than when it completed.")


def test_facts_without_fingerprint_are_not_doubted() -> None:
    """There is nothing to compare."""
    assert compare(graph_of(EDGES).plan(), {}, {"fetch": "", "clean": ""}).faults() == []


DAMAGED: list[Any] = [
    7,
    [],
    "text",
    {"name": 3},
    {"name": "g", "graphs": []},
    {"name": "g", "graphs": 3},
    {"name": "g", "graphs": [1]},
    {"graphs": [[["a"], [[5]], "n", "x", []]]},
    {"graphs": [[["a"], [[-1]], "n", "x", []]]},
    {"graphs": [[["a"], [[]], "z", "x", []]]},
    {"graphs": [[["a", "a"], [[], []], "nn", "x y", []]]},
    {"graphs": [[["a"], [[]], "n", "x y", []]]},
    {"graphs": [[["a"], [[]], "nn", "x", []]]},
    {"graphs": [[[3], [[]], "n", "x", []]]},
    {"graphs": [[["a"], [[]], "g", "x", [[0, "all", False, "", 7]]]]},
    {"graphs": [[["a"], [[]], "g", "x", [[0, "some", False, "", -1]]]]},
    {"graphs": [[["a"], [[]], "g", "x", [[0, "all", False, [], -1]]]]},
    {"graphs": [[["a"], [[]], "g", "x", [[0, "all", False]]]]},
    {"graphs": [[["a"], [[]], "g", "x", [[[], "all", False, "", -1]]]]},
    {"graphs": [[["a"], None, "g", None, None]]},
]


@pytest.mark.parametrize("number", range(len(DAMAGED)))
def test_damaged_wiring_is_refused(number: int) -> None:
    """It comes out of a store."""
    with pytest.raises(StoreDamaged, match="how the graph of this run was wired cannot be read"):
        compare(graph_of(EDGES).plan(), DAMAGED[number], {"fetch": "x:"})


def test_wiring_in_circles_ends() -> None:
    """A graph that contains itself cannot have been written, but it can be read."""
    wiring = {"graphs": [[["outer"], [[]], "g", "x-y", [[0, "all", False, "", 0]]]]}
    found = compare(nested(INSIDE).plan(), wiring, {"outer/first": "x:", "outer/outer/first": "y:"})
    assert [fault.code for fault in found.faults()] == ["changed-node"]


def test_strange_paths_lead_nowhere() -> None:
    """They come out of a store, too."""
    strange = [
        "",
        "/",
        "[",
        "]",
        "[]",
        "fetch/",
        "fetch[",
        "fetch[0]",
        "fetch]/",
        "/fetch",
        "\0",
        "x" * 9000,
        "/[" * 500,
    ]
    found = compare(graph_of(EDGES).plan(), {}, dict.fromkeys(strange, "x:"))
    # What seems to have been run by the body of a node that has another scope.
    assert [fault.node for fault in found.faults()] == ["fetch"]


def test_wiring_is_small_and_of_large_graphs_left_out() -> None:
    """About 30 bytes a node and its id; a graph with a million edges says only its name."""
    chain = {f"step {at}": f"step {at - 1}" if at else "" for at in range(1000)}
    graph = Graph("chain")
    for name, before in chain.items():
        graph.add(name, one, depends_on=[before] if before else ())
    data = encode(describe_wiring(graph.plan()))
    assert (len(data) - sum(len(name) + 3 for name in chain)) / 1000 < 30
    wide = Graph("wide")
    for layer in range(3):
        for at in range(320):
            wide.add(f"{layer} {at}", one, depends_on=[f"{layer - 1} {each}" for each in range(320)] if layer else ())
    plan = wide.plan()
    assert describe_wiring(plan) == {"name": "wide"}
    wired_otherwise = dict.fromkeys(plan.ids[:3], f"{'0' * 12}:")
    assert len(compare(plan, describe_wiring(plan), wired_otherwise).faults()) == 3
