"""
What a trace costs: a workload of instant nodes in this process, with a trace, without, and the same spans made by hand;
prints JSON.

The spans are the OpenTelemetry SDK's, without a processor or with one that does nothing. By hand they are made in three
ways: in a loop that does nothing else; in the bodies of a run without a trace, where a user would make them; and there
such that each is the current span while its body runs, as it is in a run with a trace.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext

from antichain import Graph
from antichain.telemetry import names
from bench.bodies import nothing
from bench.workloads import Workload, make

RUNS = 5


class ByHand:
    """
    Spans like those of a run: the same names, attributes, parent and links.
    """

    def __init__(self, work: Workload, tracer: trace.Tracer) -> None:
        self.ids, self.deps = work.ids(), work.deps
        self.start, self.start_current = tracer.start_span, tracer.start_as_current_span
        self.contexts: list[SpanContext] = []

    def begin(self) -> None:
        self.run = self.start(names.RUN_SPAN)
        self.context = trace.set_span_in_context(self.run)
        self.contexts = [trace.INVALID_SPAN_CONTEXT] * len(self.ids)

    def make(self, node: int) -> None:
        name, contexts = self.ids[node], self.contexts
        span = self.start(
            name,
            context=self.context,
            attributes={names.NODE_ID: name, names.NODE_ATTEMPT: 1, names.NODE_QUEUE_WAIT: 0.25},
            links=[Link(contexts[dep]) for dep in self.deps[node]],
        )
        contexts[node] = span.get_span_context()
        span.end()

    def make_current(self, node: int) -> None:
        name, contexts = self.ids[node], self.contexts
        with self.start_current(
            name,
            context=self.context,
            attributes={names.NODE_ID: name, names.NODE_ATTEMPT: 1, names.NODE_QUEUE_WAIT: 0.25},
            links=[Link(contexts[dep]) for dep in self.deps[node]],
        ) as span:
            contexts[node] = span.get_span_context()

    def end(self) -> None:
        self.run.end()

    def body(self, node: int) -> Callable[..., Any]:
        async def body() -> None:
            self.make(node)

        return body

    def body_with_current(self, node: int) -> Callable[..., Any]:
        async def body() -> None:
            self.make_current(node)

        return body

    def loop(self) -> None:
        self.begin()
        for node in range(len(self.ids)):
            self.make(node)
        self.end()


def graph_of(work: Workload, function_of: Callable[[int], Callable[..., Any]]) -> Any:
    graph, ids = Graph("bench"), work.ids()
    for node, name in enumerate(ids):
        graph.add(name, function_of(node), depends_on=[ids[dep] for dep in work.deps[node]])
    return graph.plan()


def timed(work: Workload, call: Callable[[], object]) -> float:
    """
    CPU of this process for each node, in microseconds.
    """
    gc.collect()
    start = time.process_time()
    call()
    return (time.process_time() - start) / len(work) * 1e6


def measure(workload: str, count: int, processors: int) -> dict[str, Any]:
    work = make(workload, count)
    provider = TracerProvider(shutdown_on_exit=False)
    for _ in range(processors):
        provider.add_span_processor(SpanProcessor())
    by_hand = ByHand(work, provider.get_tracer("bench"))
    plain, in_bodies = graph_of(work, lambda _: nothing), graph_of(work, by_hand.body)
    current = graph_of(work, by_hand.body_with_current)

    def run_by_hand(graph: Any) -> None:
        by_hand.begin()
        graph.run(tracer=False)
        by_hand.end()

    cases: dict[str, Callable[[], object]] = {
        "off": lambda: plain.run(tracer=False),
        "events": lambda: plain.run(tracer=False, listeners=[lambda event: None]),
        "on": lambda: plain.run(tracer=provider),
        "loop": by_hand.loop,
        "bodies": lambda: run_by_hand(in_bodies),
        "current": lambda: run_by_hand(current),
    }
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, call in cases.items():
            samples[name].append(timed(work, call))
    return {"nodes": len(work), **samples}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
