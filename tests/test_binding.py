"""The binding rule: where each argument comes from; see antichain.binding."""

import functools
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antichain.binding import Binding, LiteralSource, bind_step
from antichain.errors import Fault, GraphError
from antichain.graph import Graph, Node, value
from antichain.plan import Plan, check_inputs
from antichain.policies import UNSET
from antichain.runnable import CallKind


class Context:
    """Known by its mark, as the real one."""

    __antichain_context__ = True


def arguments(plan: Plan, node: str, **given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make the arguments of *node* as the driver does; *given* are outputs of nodes and run inputs."""
    values = plan.fill({name: value for name, value in given.items() if name not in plan.index})
    for name, output in given.items():
        if name in plan.index:
            values[plan.index[name]] = output
    position = plan.index[node]
    kind, argument = plan.kinds[position], plan.arguments[position]
    if kind == CallKind.GENERAL:
        return argument.arguments(values)
    if kind in (CallKind.COROUTINE0, CallKind.INLINE0):
        return (), {}
    if kind in (CallKind.COROUTINE1, CallKind.INLINE1):
        return (values[argument],), {}
    return argument(values), {}


def faults(graph: Graph) -> list[Fault]:
    with pytest.raises(GraphError) as caught:
        graph.plan()
    return list(caught.value.faults)


def codes(graph: Graph) -> list[str]:
    return [fault.code for fault in faults(graph)]


def upstream(plan: Plan, node: str) -> list[str]:
    return [plan.ids[before] for before in plan.shape.upstream[plan.index[node]]]


def source() -> int:
    return 1


def graph_of(*ids: str) -> Graph:
    graph = Graph("g")
    for id_ in ids:
        graph.add(id_, source)
    return graph


# -- by name


def test_parameter_named_after_a_node_makes_it_an_upstream() -> None:
    """Without depends_on, names alone wire the graph, whatever the order of definition."""
    graph = Graph()
    graph.add("total", lambda left, right: left + right)
    graph.add("right", source)
    graph.add("left", source)
    plan = graph.plan()
    assert upstream(plan, "total") == ["left", "right"]
    assert arguments(plan, "total", left=1, right=2) == ((1, 2), {})


def test_parameter_that_names_nothing_is_a_required_input() -> None:
    """What is neither a node nor has a default must be given to the run."""
    graph = Graph()
    graph.add("a", lambda question: question)
    graph.add("b", lambda question, k: question)
    plan = graph.plan()
    assert plan.inputs == {"question": ("a", "b"), "k": ("b",)}
    assert arguments(plan, "b", question="q", k=3) == (("q", 3), {})


def test_required_inputs_of_one_name_share_a_slot() -> None:
    """A run fills one slot, however many nodes read it."""
    graph = Graph()
    for i in range(5):
        graph.add(f"n{i}", lambda question: question)
    assert len(graph.plan().input_slots) == 1


def test_parameter_with_a_default_is_an_optional_input() -> None:
    """A run may give it; else the default holds, per node."""
    graph = Graph()
    graph.add("a", lambda k=1: k)
    graph.add("b", lambda k=2: k)
    plan = graph.plan()
    assert plan.inputs == {}
    assert plan.optional_inputs == {"k"}
    assert arguments(plan, "a") == ((1,), {})
    assert arguments(plan, "b") == ((2,), {})
    assert arguments(plan, "b", k=3) == ((3,), {})


def test_defaults_that_only_look_equal_stay_apart() -> None:
    """1 == True == 1.0, but each node gets its own default."""
    graph = Graph()
    for name, default in (("a", 1), ("b", True), ("c", 1.0)):
        graph.add(name, eval(f"lambda k={default!r}: k"))
    plan = graph.plan()
    assert [type(arguments(plan, name)[0][0]) for name in "abc"] == [int, bool, float]


def test_parameter_with_a_default_is_not_wired_by_its_name() -> None:
    """`def f(web=None)` does not wait for node web unless depends_on says so."""
    graph = graph_of("web")
    graph.add("a", lambda web="none", x=2: web)
    plan = graph.plan()
    assert upstream(plan, "a") == []
    assert arguments(plan, "a", web="output") == (("none", 2), {})
    assert plan.optional_inputs == {"x"}


def test_depends_on_wires_a_parameter_with_a_default() -> None:
    """Named explicitly, the node is waited for and its output passed."""
    graph = graph_of("web")
    graph.add("a", lambda web=None: web, depends_on=["web"])
    assert arguments(graph.plan(), "a", web="output") == (("output",), {})


def test_with_depends_on_only_the_named_nodes_are_wired() -> None:
    """A parameter named after another node is a fault that says what to add."""
    graph = graph_of("web", "memory")
    graph.add("a", lambda web, memory: web, depends_on=["web"])
    (fault,) = faults(graph)
    assert fault.code == "unbound-parameter"
    assert fault.nodes == ("a", "memory")
    assert "add it to depends_on" in fault.message


def test_depends_on_without_a_parameter_only_orders() -> None:
    """A node may wait for another without taking its output."""
    graph = graph_of("a", "b")
    graph.add("c", source, depends_on=["a", graph["b"]])
    plan = graph.plan()
    assert upstream(plan, "c") == ["a", "b"]
    assert arguments(plan, "c", a=1, b=2) == ((), {})


def test_empty_depends_on_wires_nothing() -> None:
    """depends_on=[] is explicit, too."""
    graph = graph_of("a")
    graph.add("b", lambda a: a, depends_on=[])
    assert codes(graph) == ["unbound-parameter"]


@pytest.mark.parametrize("depends_on", ["a", ["a", "a"], ("a",), {"a": 1}])
def test_depends_on_takes_one_name_or_any_iterable_and_counts_each_node_once(depends_on: Any) -> None:
    """A node named twice is one upstream; a text is one name, not its letters."""
    graph = graph_of("a")
    graph.add("b", lambda a: a, depends_on=depends_on)
    plan = graph.plan()
    assert upstream(plan, "b") == ["a"]
    assert plan.shape.waiting == [0, 1]


def test_depends_on_takes_a_node_by_itself() -> None:
    """depends_on=web is depends_on=[web]."""
    graph = graph_of("a")
    graph.add("b", lambda a: a, depends_on=graph["a"])
    assert upstream(graph.plan(), "b") == ["a"]


def test_kwargs_receive_the_other_outputs() -> None:
    """**kwargs takes what depends_on names and no parameter takes, by id."""
    graph = graph_of("a", "b", "c d")
    graph.add("all", lambda a, **rest: rest, depends_on=["a", "b", "c d"])
    assert arguments(graph.plan(), "all", a=1, b=2, **{"c d": 3}) == ((1,), {"b": 2, "c d": 3})


def test_kwargs_do_not_receive_what_depends_on_does_not_name() -> None:
    """Without depends_on, **kwargs stays empty."""
    graph = graph_of("a", "b")
    graph.add("all", lambda a, **rest: rest)
    assert arguments(graph.plan(), "all", a=1, b=2) == ((1,), {})


def test_star_args_stay_empty() -> None:
    """*args has no names to be filled by."""
    graph = graph_of("a")
    graph.add("b", lambda a, *rest: rest)
    assert arguments(graph.plan(), "b", a=1) == ((1,), {})


def test_positional_only_and_keyword_only_parameters_are_passed_as_they_must_be() -> None:
    """The signature decides the form of each argument."""

    def body(a: int, /, b: int, *, c: int, d: int = 4) -> None: ...

    graph = graph_of("a", "c")
    graph.add("x", body, runner="loop")
    plan = graph.plan()
    assert arguments(plan, "x", a=1, b=2, c=3) == ((1, 2), {"c": 3, "d": 4})
    assert arguments(plan, "x", a=1, b=2, c=3, d=5) == ((1, 2), {"c": 3, "d": 5})


# -- by inputs=


def test_inputs_take_nodes_paths_collections_and_literals() -> None:
    """The example of the contract."""

    def answer(hits: Any, first: Any, k: int, both: Any, named: Any, rest: str = "r") -> None: ...

    graph = graph_of("web", "memory")
    web, memory = graph["web"], graph["memory"]
    graph.add(
        "answer",
        answer,
        inputs={
            "hits": web,
            "first": web.path(0),
            "k": 3,
            "both": [web, memory],
            "named": {"w": web, "m": [memory, 1]},
        },
    )
    plan = graph.plan()
    assert upstream(plan, "answer") == ["web", "memory"]
    args, kwargs = arguments(plan, "answer", web=[7, 8], memory="m")
    assert args == ([7, 8], 7, 3, [[7, 8], "m"], {"w": [7, 8], "m": ["m", 1]}, "r")
    assert kwargs == {}


def test_inputs_go_before_names() -> None:
    """What inputs= gives is not looked up by name."""
    graph = graph_of("a", "b")
    graph.add("c", lambda a, b: a, inputs={"a": graph["b"]})
    plan = graph.plan()
    assert upstream(plan, "c") == ["b"]
    assert arguments(plan, "c", a=1, b=2) == ((2, 2), {})


def test_inputs_may_name_a_node_that_depends_on_does_not() -> None:
    """A source is an upstream, whatever else is."""
    graph = graph_of("a", "b")
    graph.add("c", lambda x: x, inputs={"x": graph["a"]}, depends_on=["b"])
    assert upstream(graph.plan(), "c") == ["b", "a"]


@pytest.mark.parametrize("written", [3, None, ["x", "y"], {"k": "v"}, ("x",), "text", b"web", 2.5, {1, 2}])
def test_literals_arrive_as_they_are(written: Any) -> None:
    """A literal is the very object that was written."""
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs={"x": written})
    ((found,), _) = arguments(graph.plan(), "a")
    assert found is written


def test_tuple_of_nodes_arrives_as_a_tuple() -> None:
    """The form of a collection is kept."""
    graph = graph_of("a", "b")
    graph.add("c", lambda x: x, inputs={"x": (graph["a"], graph["b"])})
    assert arguments(graph.plan(), "c", a=1, b=2) == (((1, 2),), {})


@pytest.mark.parametrize("written", ["web", ["web"], {"k": "web"}, ("x", "web")])
def test_literal_text_that_equals_a_node_id_is_refused(written: Any) -> None:
    """It is too easily meant as the node; the message shows both ways to write what is meant."""
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs={"x": written})
    (fault,) = faults(graph)
    assert fault.code == "literal-is-node"
    assert fault.nodes == ("a", "web")
    assert "graph['web']" in fault.message
    assert "value('web')" in fault.message


def test_value_passes_a_text_that_equals_a_node_id() -> None:
    """value() says that the text is meant, alone or among nodes."""
    graph = graph_of("web")
    graph.add("a", lambda x, y: x, inputs={"x": value("web"), "y": [value("web"), graph["web"]]})
    assert arguments(graph.plan(), "a", web=1) == (("web", ["web", 1]), {})


def test_literal_may_equal_a_node_id_that_is_added_later() -> None:
    """The whole graph counts, not the order of definition."""
    graph = Graph()
    graph.add("a", lambda x: x, inputs={"x": "web"})
    graph.add("web", source)
    assert codes(graph) == ["literal-is-node"]


def test_one_source_is_the_only_argument() -> None:
    """inputs=web passes the value itself, whatever the parameter is called."""
    graph = graph_of("web")
    web = graph["web"]
    graph.add("a", lambda anything: anything, inputs=web)
    graph.add("b", lambda anything, other=2: anything, inputs=web.path("k"))
    graph.add("c", lambda *args: args, inputs=[web, web])
    graph.add("d", len, inputs=web)
    graph.add("e", int, inputs=value("7"))
    plan = graph.plan()
    output = {"k": 5}
    assert arguments(plan, "a", web=output) == ((output,), {})
    assert arguments(plan, "b", web=output)[0][0] == 5
    assert arguments(plan, "c", web=output) == (([output, output],), {})
    assert arguments(plan, "d", web=output) == ((output,), {})
    assert arguments(plan, "e") == (("7",), {})
    assert plan.inputs == {}


def test_one_source_does_not_fill_a_second_parameter() -> None:
    """It is the only argument: what else is required must be said in a dict."""
    graph = graph_of("web")
    graph.add("a", lambda x, y: x, inputs=graph["web"])
    graph.add("b", lambda *, x: x, inputs=graph["web"])
    graph.add("c", source, inputs=graph["web"])
    assert codes(graph) == ["unbound-parameter", "unbound-parameter", "unused-input", "unused-input"]


def test_inputs_for_an_unknown_parameter_are_answered_with_the_nearest() -> None:
    """A misspelt parameter is found before the run."""
    graph = Graph()
    graph.add("a", lambda hits: hits, inputs={"hitz": 3})
    (fault,) = faults(graph)
    assert fault.code == "unused-input"
    assert "Did you mean 'hits'" in fault.message


def test_inputs_beyond_the_parameters_go_to_kwargs() -> None:
    """**kwargs takes any name."""
    graph = Graph()
    graph.add("a", lambda x, **rest: rest, inputs={"x": 1, "y": 2})
    assert arguments(graph.plan(), "a") == ((1,), {"y": 2})


def test_node_of_another_graph_is_refused() -> None:
    """A node is found by what it is, not by an id that happens to be the same."""
    other = graph_of("web")["web"]
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs={"x": other})
    graph.add("b", source, depends_on=[other])
    found = faults(graph)
    assert [fault.code for fault in found] == ["unknown-upstream", "unknown-upstream"]
    assert all("another graph" in fault.message for fault in found)


def test_unknown_upstream_is_answered_with_the_nearest() -> None:
    """depends_on with a misspelt id names node, id and the id that was meant."""
    graph = graph_of("features")
    graph.add("train", source, depends_on=["feature"])
    (fault,) = faults(graph)
    assert fault.code == "unknown-upstream"
    assert fault.node == "train"
    assert "'feature'" in fault.message
    assert "Did you mean 'features'" in fault.message


@pytest.mark.parametrize(
    "add",
    [
        lambda graph: graph.add("a", source, depends_on=["a"]),
        lambda graph: graph.add("a", lambda a: a),
        lambda graph: graph.add("a", lambda a: a, depends_on=["a"]),
        lambda graph: graph.map("a", lambda x: x, over="a"),
    ],
)
def test_node_that_waits_for_itself_is_refused(add: Callable[[Graph], Any]) -> None:
    """By depends_on or by the name of a parameter."""
    graph = Graph()
    add(graph)
    assert codes(graph)[0] == "self-dependency"


# -- paths


def test_path_goes_into_mappings_sequences_and_attributes() -> None:
    """Keys first, attributes where a value has no keys."""
    graph = graph_of("web")
    web = graph["web"]
    graph.add("a", lambda x, y: x, inputs={"x": web.path(0, "title"), "y": web.path(1).path("title", 0)})
    output = [{"title": "t", "items": 3}, SimpleNamespace(title="uv")]
    assert arguments(graph.plan(), "a", web=output) == (("t", "u"), {})


def test_key_of_a_mapping_goes_before_its_methods() -> None:
    """path('items') of a dict is its entry, not dict.items."""
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs=graph["web"].path("items"))
    assert arguments(graph.plan(), "a", web={"items": 3}) == ((3,), {})


def test_path_that_leads_nowhere_raises_when_it_is_followed() -> None:
    """It is the output that is not as expected: the node fails with the usual error."""
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs=graph["web"].path(3))
    with pytest.raises(IndexError):
        arguments(graph.plan(), "a", web=[])


# -- Context and resources


def test_context_is_found_by_annotation() -> None:
    """As a class, as text, or as one of a union; the driver fills it by name."""

    def by_class(ctx: Context, a: int) -> None: ...
    def by_text(a: int, c: "antichain.Context") -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def by_union(a: int, *, c: Context | None = None) -> None: ...
    async def by_optional(a: int, c: "Context | None" = None) -> None: ...
    def otherwise(a: int, context: "ContextManager" = 3) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    graph = graph_of("a")
    for function in (by_class, by_text, by_union, by_optional, otherwise):
        graph.add(function.__name__, function)
    plan = graph.plan()
    contexts = [plan.arguments[plan.index[name]].context for name in ("by_class", "by_text", "by_union", "by_optional")]
    assert contexts == ["ctx", "c", "c", "c"]
    assert plan.arguments[plan.index["otherwise"]].context is None
    # Behind a parameter that is filled by hand, arguments go by name.
    assert arguments(plan, "by_class", a=1) == ((), {"a": 1})
    assert arguments(plan, "by_text", a=1) == ((1,), {})
    assert plan.optional_inputs == {"context"}


def test_parameter_filled_by_hand_must_be_passable_by_name() -> None:
    """A positional-only Context or resource cannot be injected."""

    def body(ctx: Context, /) -> None: ...
    def other(client: Any, /) -> None: ...

    graph = Graph()
    graph.resource(client)
    graph.add("a", body)
    graph.add("b", other)
    assert codes(graph) == ["unbound-parameter", "unbound-parameter"]


def client() -> Iterator[int]:
    yield 1


def test_resource_is_injected_by_name_unless_the_run_gives_an_input() -> None:
    """A resource goes before the default, a run input before the resource."""
    graph = graph_of("a")
    graph.resource(client)
    graph.add("x", lambda a, client=None, k=2: a)
    plan = graph.plan()
    binding = plan.arguments[plan.index["x"]]
    assert binding.resources == ("client",)
    assert arguments(plan, "x", a=1) == ((1,), {"k": 2})
    assert arguments(plan, "x", a=1, client="mine") == ((1,), {"client": "mine", "k": 2})
    assert plan.inputs == {}


def test_node_goes_before_the_resource_of_its_name() -> None:
    """The rule's order: node, run input, resource, default."""
    graph = graph_of("client")
    graph.resource(client)
    graph.add("x", lambda client: client)
    plan = graph.plan()
    assert plan.arguments[plan.index["x"]].resources == ()
    assert upstream(plan, "x") == ["client"]


# -- runnables


async def coroutine(a: int) -> int:
    return a


def generator(a: int) -> Iterator[int]:
    yield a


async def async_generator(a: int) -> Any:
    yield a


class Callable_:
    def __call__(self, a: int) -> int:
        return a


class AsyncCallable:
    async def __call__(self, a: int) -> int:
        return a


class Made:
    def __init__(self, a: int) -> None:
        self.a = a

    def method(self, a: int) -> int:
        return a


class Invoked:
    def invoke(self, given: Any) -> Any:
        return given


class AsyncInvoked(Invoked):
    async def ainvoke(self, given: Any) -> Any:
        return given

    def __call__(self, a: int) -> int:
        raise AssertionError("it is invoked, not called")


@pytest.mark.parametrize(
    ("runnable", "runner", "style"),
    [
        (coroutine, None, "coroutine"),
        (coroutine, "loop", "coroutine"),
        (functools.partial(coroutine), None, "coroutine"),
        (AsyncCallable(), None, "coroutine"),
        (lambda a: a, None, "thread"),
        (lambda a: a, "loop", "inline"),
        (Made, None, "thread"),
        (Made(1).method, None, "thread"),
        (Callable_(), None, "thread"),
        (functools.partial(lambda b, a: a, 1), None, "thread"),
        (generator, None, "thread_generator"),
        (async_generator, None, "async_generator"),
        (Invoked(), None, "invoke_thread"),
        (Invoked(), "loop", "inline"),
        (AsyncInvoked(), None, "invoke"),
        (AsyncInvoked(), "thread", "invoke_thread"),
    ],
)
def test_anything_callable_or_invocable_is_a_node(runnable: Any, runner: Any, style: str) -> None:
    """Coroutines and async generators run on the loop, everything plain in threads, unless runner= says otherwise."""
    graph = graph_of("a")
    policies = {} if runner is None else {"runner": runner}
    graph.add("b", runnable, depends_on=["a"], **policies)
    plan = graph.plan()
    kind, binding = plan.kinds[1], plan.arguments[1]
    found = binding.style if kind == CallKind.GENERAL else ("coroutine" if kind < CallKind.INLINE0 else "inline")
    assert found == style
    is_threaded = style in ("thread", "thread_generator", "invoke_thread")
    assert bool(plan.shape.flags[1] & 4) == is_threaded
    assert plan.shape.demands[plan.shape.demand[1]] == ((("thread", 1),) if is_threaded else ())
    args, kwargs = arguments(plan, "b", a=7)
    assert list(args) + list(kwargs.values()) == ([7] if not hasattr(runnable, "invoke") else [{"a": 7}])


@pytest.mark.parametrize(
    ("runnable", "runner"), [(coroutine, "thread"), (async_generator, "thread"), (generator, "loop")]
)
def test_runner_that_cannot_run_the_function_is_refused(runnable: Any, runner: Any) -> None:
    """A coroutine function cannot run in a thread, a generator not on the loop."""
    graph = graph_of("a")
    graph.add("b", runnable, runner=runner)
    assert codes(graph) == ["bad-policy"]


@pytest.mark.parametrize("runnable", [3, None, "f", object(), [print]])
def test_what_can_neither_be_called_nor_invoked_is_refused(runnable: Any) -> None:
    """The message shows the value."""
    graph = Graph()
    graph.add("a", runnable)
    (fault,) = faults(graph)
    assert fault.code == "not-runnable"


def test_coroutine_instead_of_its_function_is_refused() -> None:
    """The frequent slip gets its own advice."""
    graph = Graph()
    called = coroutine(1)
    graph.add("a", called)
    (fault,) = faults(graph)
    called.close()
    assert "without calling it" in fault.message


def test_wrapper_of_star_args_is_bound_by_what_it_wraps() -> None:
    """functools.wraps tells the parameters."""

    @functools.wraps(coroutine)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return coroutine(*args, **kwargs)

    graph = graph_of("a")
    graph.add("b", wrapper)
    assert arguments(graph.plan(), "b", a=1) == ((1,), {})


def test_invoked_object_receives_its_source_else_outputs_else_run_inputs() -> None:
    """One argument: the single source; a dict of inputs=; the dict of upstream outputs; the dict of run inputs."""
    graph = graph_of("web", "memory")
    graph.add("one", Invoked(), inputs=graph["web"])
    graph.add("some", Invoked(), inputs={"q": graph["web"], "k": 3})
    graph.add("up", Invoked(), depends_on=["web", "memory"])
    graph.add("run", Invoked())
    plan = graph.plan()
    given = {"web": 1, "memory": 2, "question": "q"}
    assert arguments(plan, "one", **given) == ((1,), {})
    assert arguments(plan, "some", **given) == (({"q": 1, "k": 3},), {})
    assert arguments(plan, "up", **given) == (({"web": 1, "memory": 2},), {})
    assert arguments(plan, "run", **given) == (({"question": "q"},), {})
    assert check_inputs(plan, {"anything": 1}) == []


# -- what may be missing


def test_parameter_of_an_upstream_that_may_be_missing_needs_a_default() -> None:
    """With join any or all_done, an output may not be there."""
    for join in ("any", "all_done"):
        graph = graph_of("a", "b")
        graph.add("c", lambda a, b: a, join=join)
        found = faults(graph)
        assert [fault.code for fault in found] == ["may-be-missing", "may-be-missing"]
        assert found[0].nodes == ("c", "a")
        assert "default" in found[0].message


def test_missing_upstream_leaves_the_default_and_shortens_collections() -> None:
    """A parameter takes its default; lists and dicts hold only what is there; **kwargs too."""

    def body(
        a: Any = "da", /, b: Any = "db", both: Any = None, named: Any = None, *, key: Any = "dk", **rest: Any
    ) -> None: ...

    graph = graph_of("a", "b", "c")
    a, b = graph["a"], graph["b"]
    graph.add(
        "x",
        body,
        join="all_done",
        depends_on=["a", "b", "c"],
        inputs={"both": [a, b], "named": {"a": a, "b": b}, "key": a.path(0)},
    )
    plan = graph.plan()
    assert arguments(plan, "x", b=2) == (("da", 2, [2], {"b": 2}), {})
    assert arguments(plan, "x", a=[1], c=3) == (([1], "db", [[1]], {"a": [1]}), {"key": 1, "c": 3})


def test_any_join_with_one_upstream_has_nothing_missing() -> None:
    """It starts only if that one succeeds."""
    graph = graph_of("a")
    graph.add("b", lambda a: a, join="any")
    assert upstream(graph.plan(), "b") == ["a"]


def test_all_done_join_with_one_upstream_may_miss_it() -> None:
    """It starts even if that one failed."""
    graph = graph_of("a")
    graph.add("b", lambda a: a, join="all_done")
    assert codes(graph) == ["may-be-missing"]


def test_invoked_object_takes_what_is_there() -> None:
    """The dict of upstream outputs holds only those that succeeded; a single source may not be missing."""
    graph = graph_of("a", "b")
    graph.add("x", Invoked(), depends_on=["a", "b"], join="all_done")
    assert arguments(graph.plan(), "x", b=2) == (({"b": 2},), {})
    graph.add("y", Invoked(), inputs=graph["a"], join="all_done")
    assert codes(graph) == ["may-be-missing"]


# -- when


def test_condition_is_bound_like_the_node() -> None:
    """By the names of its own parameters: inputs, nodes, run inputs, defaults."""
    graph = graph_of("web", "memory")
    graph.add(
        "a",
        lambda hits: hits,
        inputs={"hits": graph["web"]},
        when=lambda hits, memory, question, k=3: bool(hits),
    )
    plan = graph.plan()
    assert upstream(plan, "a") == ["web", "memory"]
    values = plan.fill({"question": "q"})
    values[plan.index["web"]], values[plan.index["memory"]] = [1], "m"
    assert plan.condition(plan.index["a"]).arguments(values) == (([1], "m", "q", 3), {})
    assert plan.inputs == {"question": ("a",)}
    assert plan.shape.flags[plan.index["a"]] & 1


def test_condition_may_take_nothing_or_the_single_source() -> None:
    """A condition takes no more than it wants."""
    graph = graph_of("web")
    graph.add("a", lambda x: x, inputs=graph["web"], when=lambda: True)
    graph.add("b", lambda x: x, inputs=graph["web"], when=lambda hits: hits)
    graph.add("c", lambda x: x, inputs={"x": 3}, when=lambda: True)
    plan = graph.plan()
    values = plan.fill({})
    values[0] = "w"
    assert [plan.condition(node).arguments(values) for node in (1, 2, 3)] == [((), {}), (("w",), {}), ((), {})]


async def async_condition() -> bool:
    return True


class AsyncCondition:
    async def __call__(self) -> bool:
        return True


def resourceful(client: Any) -> bool:
    return bool(client)


def contextual(ctx: Context) -> bool:
    return bool(ctx)


@pytest.mark.parametrize("when", [async_condition, AsyncCondition(), async_generator, resourceful, contextual])
def test_condition_that_would_have_to_wait_is_refused(when: Any) -> None:
    """Nothing may happen between a condition and the start: make it a node."""
    graph = graph_of("a")
    graph.resource(client)
    graph.add("b", lambda a: a, when=when)
    assert codes(graph) == ["bad-when"]


def test_missing_upstream_of_a_condition_needs_a_default_too() -> None:
    """`when` is called with what is there."""
    graph = graph_of("a", "b")
    graph.add("c", lambda a=1, b=2: a, depends_on=["a", "b"], join="all_done", when=lambda a: a)
    assert codes(graph) == ["may-be-missing"]


# -- fallback


def test_fallback_is_found_by_the_node() -> None:
    """Any value is a fallback, None too; without one there is none."""
    graph = graph_of("a")
    graph.add("b", coroutine, fallback=None)
    graph.add("c", coroutine)
    plan = graph.plan()
    assert [plan.fallback(node) for node in range(3)] == [UNSET, None, UNSET]
    assert [bool(flags & 8) for flags in plan.shape.flags] == [False, True, False]


# -- steps that arrive while the run goes on


def test_step_is_bound_to_slots_given_by_name() -> None:
    """The same rule against names that grow, without run inputs."""
    slots = {"a": 10, "b": 20}
    graph = Graph()
    node = graph.add("x", lambda a, b, k=3: a, depends_on=["a", "b"], inputs={"k": "text"})
    bound = bind_step(node, slots.get)
    assert bound.upstream == (10, 20)
    assert bound.binding.arguments({10: 1, 20: 2}) == ((1, 2, "text"), {})  # type: ignore[arg-type]


def test_step_that_cannot_be_bound_says_everything() -> None:
    """Unknown upstream nodes and unbound parameters, at once."""
    node = Graph().add("x", lambda q: q, depends_on=["gone"])
    with pytest.raises(GraphError) as caught:
        bind_step(node, {}.get)
    assert [fault.code for fault in caught.value.faults] == ["unknown-upstream", "unbound-parameter"]


# -- the quick way and the whole rule


@given(seed=st.integers(0, 10**9))
@settings(max_examples=300)
def test_quick_binding_comes_to_what_the_whole_rule_does(seed: int) -> None:
    """Large graphs are bound by a short cut: it must not differ from the rule, faults included."""
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(rng.randint(1, 6))]

    def build(is_quick: bool) -> Graph:
        choice = random.Random(seed + 1)
        graph = Graph()
        if choice.random() < 0.2:
            graph.resource(name="res")(client)
        for name in names:
            pool = [*names, "x", "y", "res"]
            parameters = choice.sample(pool, choice.randint(0, 4))
            keyword = "async def" if choice.random() < 0.7 else "def"
            star = "" if is_quick else (", *, _=0" if parameters else "*, _=0")
            space: dict[str, Any] = {}
            exec(f"{keyword} f({', '.join(parameters)}{star}): ...", space)
            depends_on = (
                choice.choices([*names, *names, "gone"], k=choice.randint(0, 3)) if choice.random() < 0.6 else None
            )
            runner = {} if keyword == "async def" else {"runner": "loop"}
            graph.add(name, space["f"], depends_on=depends_on, **runner)
        return graph

    def outcome(graph: Graph) -> Any:
        try:
            plan = graph.plan()
        except GraphError as error:
            return [str(fault) for fault in error.faults]
        outputs = {name: f"out {name}" for name in plan.ids}
        calls = []
        for name in plan.ids:
            args, kwargs = arguments(plan, name, **outputs, x="in x", y="in y")
            kwargs.pop("_", None)
            calls.append((args, kwargs))
        return calls, plan.shape.upstream, plan.shape.key, plan.inputs

    assert outcome(build(True)) == outcome(build(False))


def test_literal_source_needs_no_values() -> None:
    """The source of a step's literal is the literal."""
    assert LiteralSource(3).get(()) == 3


def test_large_graphs_do_not_pay_for_bindings() -> None:
    """Functions of plain values need no Binding of their own."""
    graph = graph_of("a", "b")

    @graph.node
    async def c(a: int, b: int, question: str, k: int = 3) -> None: ...

    plan = graph.plan()
    assert plan.kinds[2] == CallKind.COROUTINEN
    assert not isinstance(plan.arguments[2], Binding)
    assert arguments(plan, "c", a=1, b=2, question="q") == ((1, 2, "q", 3), {})
    assert isinstance(graph["c"], Node)
