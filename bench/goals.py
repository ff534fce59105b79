"""
Everything that this project promises about time and memory, each with the command that measures it.

A suite is a function of (size, rounds, say) that returns lines; `bench.__main__` prints them.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.capacity import capacity_lines, http_lines
from bench.imports import import_lines
from bench.order import order_lines
from bench.queueing import queueing_lines
from bench.report import Line
from bench.rounds import Case, Samples, interleave, run_python, value_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """
    How much is measured: rounds, nodes of the small graphs, nodes of the big ones.
    """

    rounds: int = 5
    nodes: int = 10_000
    million: int = 1_000_000


# Run CPU per node against the hand-written task per node: workload, target, aim.
DEFAULTS = [("W1", 0.5, 0.35), ("W2", None, None), ("W3", 1.0, 0.65), ("W4", 0.5, 0.35)]
POLICIES = [("W1", 0.7), ("W3", 1.0), ("W4", 0.7)]
SUSPENDING = ["W1y", "W3y", "W4y"]


def cpu_line(
    samples: Samples, what: str, mine: Case, theirs: Case, most: float | None, aim: float | None = None
) -> Line:
    ratios = samples.ratios(mine, theirs, "run_cpu_s")
    note = f"{samples.versus(mine, theirs, 'run_cpu_s')}; rounds {min(ratios):.2f} to {max(ratios):.2f}"
    return Line(what, statistics.median(ratios), "x", most, aim, note)


def nodes_suite(size: Size, say: Say) -> list[Line]:
    """
    CPU per node: all defaults, with policies, suspending bodies, values; all beside the hand-written task per node.
    """
    count = size.nodes
    pairs: list[tuple[str, Case, Case, float | None, float | None]] = []
    for workload, most, aim in DEFAULTS:
        mine, theirs = Case("antichain", "default", workload, count), Case("hand", "task", workload, count)
        pairs.append((f"{workload}, defaults, CPU / by hand", mine, theirs, most, aim))
    for workload, most in POLICIES:
        mine, theirs = Case("antichain", "policies", workload, count), Case("hand", "task", workload, count)
        pairs.append((f"{workload}, limit and timeout on every node, CPU / by hand without", mine, theirs, most, None))
    for workload in SUSPENDING:
        mine, theirs = Case("antichain", "default", workload, count), Case("hand", "task", workload, count)
        pairs.append((f"{workload}, each body suspends once, CPU / by hand", mine, theirs, 1.1, None))
    w3p, by_hand = Case("antichain", "default", "W3p", count), Case("hand", "task", "W3p", count)
    pairs.append(("W3p, values through distinct functions, CPU / by hand", w3p, by_hand, None, None))
    samples = interleave([case for _, mine, theirs, _, _ in pairs for case in (mine, theirs)], size.rounds, say)
    return [cpu_line(samples, what, mine, theirs, most, aim) for what, mine, theirs, most, aim in pairs]


def full_suite(size: Size, say: Say) -> list[Line]:
    """
    A limit, a timeout, a retry policy and a listener on every node, beside the hand-written code that does the same.
    """
    cases = [
        (
            workload,
            variant,
            Case("antichain", variant, workload, size.nodes),
            Case("hand", variant, workload, size.nodes),
        )
        for workload, variant in [("W3p", "full"), ("W1", "full"), ("W3", "full"), ("W4", "full"), ("W3", "policies")]
    ]
    samples = interleave([case for _, _, mine, theirs in cases for case in (mine, theirs)], size.rounds, say)
    words = {"full": "limit, timeout, retry and listener", "policies": "limit and timeout"}
    return [
        cpu_line(
            samples, f"{workload}, {words[variant]} on every node, CPU / by hand with the same", mine, theirs, None
        )
        for workload, variant, mine, theirs in cases
    ]


def thread_suite(size: Size, say: Say) -> list[Line]:
    """
    Plain functions in threads, beside a ThreadPoolExecutor; wall time.
    """
    lines = []
    cases = {
        w: (Case("antichain", "thread", w, size.nodes), Case("hand", "thread", w, size.nodes))
        for w in ("W1", "W3", "W4")
    }
    samples = interleave([case for pair in cases.values() for case in pair], size.rounds, say)
    for workload, (mine, theirs) in cases.items():
        note = (
            f"{samples.micros_per_node(mine, 'run_s'):.1f} / {samples.micros_per_node(theirs, 'run_s'):.1f} us a node"
        )
        ratio = samples.ratio(mine, theirs, "run_s")
        lines.append(Line(f"{workload}, plain functions in threads, wall / ThreadPoolExecutor", ratio, "x", note=note))
    return lines


def makespan_suite(size: Size, say: Say) -> list[Line]:
    """
    Real sleeps: the longest path, and a limit beside a semaphore.
    """
    w5, w5_hand = Case("antichain", "default", "W5", 200), Case("hand", "task", "W5", 200)
    w6, w6_hand = Case("antichain", "limited", "W6", 2000), Case("hand", "semaphore", "W6", 2000)
    samples = interleave([w5, w5_hand, w6, w6_hand], size.rounds, say)

    def over_ideal(case: Case) -> float:
        return statistics.median(
            s / i for s, i in zip(samples.per_round(case, "run_s"), samples.per_round(case, "ideal_s"), strict=True)
        )

    most = max(samples.all_runs(w6, "most_in_flight"))
    slots = samples.rounds[w6][0]["slots"]
    return [
        Line("W5, makespan / longest path", over_ideal(w5), "x", 1.03, note=f"by hand {over_ideal(w5_hand):.3f} x"),
        Line("W6, 50 at once, makespan / semaphore by hand", samples.ratio(w6, w6_hand, "run_s"), "x", 1.05),
        Line(f"W6, most in flight (limit {slots})", most, "nodes", slots),
    ]


def million_suite(size: Size, say: Say) -> list[Line]:
    """
    A million nodes: run CPU per node beside that at ten thousand, build CPU, memory; names included.
    """
    lines = []
    for workload, shape in [("W1", "chain"), ("W3", "layered"), ("W4", "wide")]:
        big = Case("antichain", "default", workload, size.million, runs=1)
        small = Case("antichain", "default", workload, size.nodes)
        say(f"{shape} of {size.million:,}")
        samples = interleave([small, big], min(size.rounds, 3), say)
        per_node = samples.micros_per_node(big, "run_cpu_s") / samples.micros_per_node(small, "run_cpu_s")
        note = samples.versus(big, small, "run_cpu_s")
        lines += [
            Line(
                f"{shape}, {size.million:,} nodes, run CPU per node / at {size.nodes:,}", per_node, "x", 2.0, note=note
            ),
            Line(f"{shape}, build, one function", samples.micros_per_node(big, "build_cpu_s"), "us a node", 10.0),
            Line(f"{shape}, memory, graph, plan, run and names", bytes_per_node(samples, big), "B a node", 1500.0),
        ]
    for workload, variant, what in [
        ("W3", "distinct", "distinct functions"),
        ("W3p", "default", "distinct functions of three parameters"),
    ]:
        case = Case("antichain", variant, workload, size.million, runs=1)
        say(what)
        samples = interleave([case], 1, say)
        run, memory = samples.micros_per_node(case, "run_cpu_s"), bytes_per_node(samples, case)
        note = f"run {run:.2f} us a node, {memory:.0f} B a node"
        lines.append(
            Line(f"layered, build, {what}", samples.micros_per_node(case, "build_cpu_s"), "us a node", 25.0, note=note)
        )
    return lines


def bytes_per_node(samples: Samples, case: Case) -> float:
    return samples.median(case, "peak_bytes") / float(samples.rounds[case][0]["nodes"])


def recipes_suite(size: Size, say: Say) -> list[Line]:
    """
    The cases that waves are bad at, through the faces of the two recipes: chains of unequal steps, a shifted slow step.
    """
    lines = []
    for face in ("nodes", "steps"):
        say(face)
        samples = [run_python(["-m", "bench.recipes", face]) for _ in range(size.rounds)]
        for name, what, most in [
            ("chains", "100+300 ms beside 300+100 ms", 0.45),
            ("lattice", "8 chains of 8, the slow one elsewhere in each", 0.18),
        ]:
            waves = statistics.median(sample[f"{name}_waves_s"] for sample in samples)
            figure = statistics.median(value_of(sample[f"{name}_s"]) for sample in samples)
            lines.append(Line(f"{face}: {what}", figure, "s", most, note=f"in waves {waves:.2f} s"))
    return lines


def map_suite(size: Size, say: Say) -> list[Line]:
    """
    `map` over a million instant items: CPU over the plain node's, and whether memory stays flat.
    """
    node = Case("antichain", "default", "W4", size.nodes)
    big, few = size.million, size.million // 10
    rounds = min(size.rounds, 3)
    plain, items, small = [], [], []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        plain.append(value_of(run_python(node.command())["run_cpu_s"]) / size.nodes * 1e6)
        items.append(run_python(["-m", "bench.items", str(big)]))
        small.append(run_python(["-m", "bench.items", str(few)]))
    over = statistics.median(item["cpu_s"] / big * 1e6 - cost for item, cost in zip(items, plain, strict=True))
    cost = statistics.median(item["cpu_s"] / big * 1e6 for item in items)
    growth = statistics.median(
        (b["peak_bytes"] - s["peak_bytes"]) / (big - few) for b, s in zip(items, small, strict=True)
    )
    return [
        Line(
            f"map over {big:,} instant items, CPU over the plain node",
            over,
            "us an item",
            5.0,
            note=f"{cost:.2f} us an item",
        ),
        # A list of outputs needs 8 bytes an item; the rest is what growing a list needs while it is copied.
        Line(f"map, memory growth from {few:,} to {big:,} items", growth, "B an item", 32.0),
        Line("map, most items read ahead of the slowest", max(item["read_ahead"] for item in items), "items"),
    ]


def import_suite(size: Size, say: Say) -> list[Line]:
    """
    CPU time of `import antichain` in a fresh process beside the standard library's modules that any such library needs,
    and of `antichain --help` beside a bare interpreter.
    """
    return import_lines(max(11, size.rounds), say)


def tracing_suite(size: Size, say: Say) -> list[Line]:
    """
    A trace by the OpenTelemetry SDK, beside spans made by hand in the bodies of a run: bare ones, and step by step up
    to the same.
    """
    lines = []
    for workload, processors in (("W4", 0), ("W4", 1), ("W3", 0), ("W3", 1)):
        rounds = []
        # Each is five runs of each kind.
        most = min(size.rounds, 3)
        for number in range(1, most + 1):
            say(f"{workload}, {processors} processors, round {number} of {most}")
            rounds.append(run_python(["-m", "bench.tracing", workload, str(size.nodes), str(processors)]))
        what = f"{workload}, trace{' with a processor' * processors}"
        lines += tracing_lines(what, [{name: value_of(each[name]) for name in each} for each in rounds])
    return lines


def tracing_lines(what: str, rounds: list[dict[str, float]]) -> list[Line]:
    def median(figure: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(figure(each) for each in rounds)

    def over(other: str) -> list[float]:
        return [each["on"] - each[other] for each in rounds]

    parts = {name: median(lambda each, name=name: each[name]) for name in rounds[0] if name != "nodes"}  # type: ignore[misc]
    steps = [("parent", "bare"), ("attributes", "parent"), ("links", "attributes"), ("same", "links"), ("on", "same")]
    added = {step: median(lambda each, a=step, b=before: each[a] - each[b]) for step, before in steps}  # type: ignore[misc]
    return [
        Line(
            f"{what}, CPU over the same spans by hand",
            statistics.median(over("same")),
            "us a node",
            aim=2.0,
            note=f"rounds {min(over('same')):.1f} to {max(over('same')):.1f}",
        ),
        Line(
            f"{what}, CPU over the same by start_as_current_span",
            statistics.median(over("manager")),
            "us a node",
            2.0,
            note=f"rounds {min(over('manager')):.1f} to {max(over('manager')):.1f}",
        ),
        Line(
            f"{what}, CPU over bare spans by hand, which say nothing",
            statistics.median(over("bare")),
            "us a node",
            aim=2.0,
            note="of which parent {parent:.1f}, attributes {attributes:.1f}, links {links:.1f}, current and wait "
            "{same:.1f}, ours {on:.1f}".format(**added),
        ),
        Line(
            f"{what}, CPU over run without plus spans with links in a loop",
            median(lambda each: each["on"] - each["off"] - each["loop"]),
            "us a node",
            aim=2.0,
            note=", ".join(f"{name} {value:.1f}" for name, value in parts.items()),
        ),
    ]


def durable_suite(size: Size, say: Say) -> list[Line]:
    """
    Runs that are kept in a SQLite file: a chain of 1,000 steps and 10,000 steps with 50 in flight, beside a commit
    a step by hand, both with `synchronous=FULL`; and how the file grows.
    """
    parts: dict[str, list[dict[str, Any]]] = {"chain": [], "abreast": []}
    for number in range(1, size.rounds + 1):
        for what, count in (("chain", 1_000), ("abreast", 10_000)):
            say(f"{what}, round {number} of {size.rounds}")
            parts[what].append(run_python(["-m", "bench.durable", what, str(count)]))
    say("growth of the file")
    few, many = (run_python(["-m", "bench.durable", "size", str(count)]) for count in (1_000, 10_000))
    return [*chain_lines(parts["chain"]), abreast_line(parts["abreast"]), *growth_lines(few, many)]


def typical(samples: list[dict[str, Any]], side: str) -> float:
    """
    Microseconds a step, the median of all runs.
    """
    of_all = [float(seconds) / sample["steps"] for sample in samples for seconds in sample[f"{side}_s"]]
    return float(statistics.median(of_all)) * 1e6


def chain_lines(samples: list[dict[str, Any]]) -> list[Line]:
    ours, hand = typical(samples, "ours"), typical(samples, "hand")
    sync = statistics.median(sample["sync_s"] for sample in samples) * 1e6
    note = f"{ours:.0f} / {hand:.0f} us a step; one sync takes {sync:.0f} us"
    # No gates: on a disk that others use, a sync varies by more than what is measured.
    return [
        Line("chain, FULL, time over a commit a step by hand", ours - hand, "us a step", note=f"{note}; aim: 120"),
        Line(
            "chain, FULL, time / a commit a step by hand", ours / hand, "x", note="aim: 1.6, where a sync takes 150 us"
        ),
    ]


def abreast_line(samples: list[dict[str, Any]]) -> Line:
    ours, hand = typical(samples, "ours"), typical(samples, "hand")
    note = f"{ours:.0f} / {hand:.0f} us a step; aim: 0.1, where a sync takes 150 us"
    return Line("50 in flight, FULL, time / a commit a step by hand", ours / hand, "x", note=note)


def growth_lines(few: dict[str, float], many: dict[str, float]) -> list[Line]:
    def a_step(sample: dict[str, float]) -> float:
        return (sample["bytes"] - sample["payload_bytes"]) / sample["steps"]

    return [
        Line(f"chain of {many['steps']:,}, the file, less its outputs", a_step(many), "B a step", 200.0),
        Line(
            f"the same / at {few['steps']:,}", a_step(many) / a_step(few), "x", 1.1, note=f"{a_step(few):.0f} B there"
        ),
    ]


def capacity_suite(size: Size, say: Say) -> list[Line]:
    """
    400 calls to providers that allow 3, 8 and 50 in flight and do not say so, with and without a Retry-After, 20 seeds
    each, in virtual time: `Adaptive` beside a semaphore of the size that is allowed, and what people write by hand;
    what `latency=True` changes where providers let calls wait; then the first over HTTP.
    """
    say("in virtual time")
    lines = capacity_lines()
    say("providers that let calls wait")
    lines += queueing_lines()
    say("over HTTP")
    return [*lines, *http_lines()]


def order_suite(size: Size, say: Say) -> list[Line]:
    """
    The order of ready nodes on published graphs, in virtual time: makespan over the proved optimum (rgpos) or a bound
    (wfcommons); and the real clock over the virtual one.
    """
    return order_lines(size.rounds, say)


SUITES: dict[str, Callable[[Size, Say], list[Line]]] = {
    "nodes": nodes_suite,
    "full": full_suite,
    "thread": thread_suite,
    "makespan": makespan_suite,
    "recipes": recipes_suite,
    "map": map_suite,
    "import": import_suite,
    "1m": million_suite,
    "tracing": tracing_suite,
    "durable": durable_suite,
    "capacity": capacity_suite,
    "order": order_suite,
}
