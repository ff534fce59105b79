"""
What a trace costs: a workload of instant nodes in this process, with a trace, without, and spans made by hand; prints
JSON.

The spans are the OpenTelemetry SDK's, without a processor or with one that does nothing. By hand they are made in the
bodies of a run without a trace, where a user would make them, step by step up to all that a span of a trace has: one
that is only started and ended; with the run's span as its parent; with attributes; with links to the spans of all
upstream nodes; and such that it is the current one while the body runs, and tells how long the node waited. So what
antichain adds can be told from what a span that says so much takes anyhow, which is far more than a bare start and end.

Beside those: the same by the API's own context manager, `start_as_current_span`, and the spans with links in a loop
that does nothing else, which keeps the caches warm as no run can.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.context import attach, detach
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
        self.ended_at: list[float] = []

    def begin(self) -> None:
        self.run = self.start(names.RUN_SPAN)
        self.context = trace.set_span_in_context(self.run)
        self.contexts = [trace.INVALID_SPAN_CONTEXT] * len(self.ids)
        self.ended_at = [0.0] * len(self.ids)
        self.started_at = time.monotonic()

    def bare(self, node: int) -> None:
        self.start(self.ids[node]).end()

    def with_parent(self, node: int) -> None:
        self.start(self.ids[node], context=self.context).end()

    def with_attributes(self, node: int) -> None:
        name = self.ids[node]
        self.start(
            name,
            context=self.context,
            attributes={names.NODE_ID: name, names.NODE_ATTEMPT: 1, names.NODE_QUEUE_WAIT: 0.25},
        ).end()

    def with_links(self, node: int) -> None:
        name, contexts = self.ids[node], self.contexts
        span = self.start(
            name,
            context=self.context,
            attributes={names.NODE_ID: name, names.NODE_ATTEMPT: 1, names.NODE_QUEUE_WAIT: 0.25},
            links=[Link(contexts[dep]) for dep in self.deps[node]],
        )
        contexts[node] = span.get_span_context()
        span.end()

    def same(self, node: int) -> None:
        """
        All that a span of a trace has, around a body that does nothing.
        """
        name, contexts, deps = self.ids[node], self.contexts, self.deps[node]
        ready_at = max([self.ended_at[dep] for dep in deps]) if deps else self.started_at
        span = self.start(
            name,
            context=self.context,
            attributes={
                names.NODE_ID: name,
                names.NODE_ATTEMPT: 1,
                names.NODE_QUEUE_WAIT: time.monotonic() - ready_at,
            },
            links=[Link(contexts[dep]) for dep in deps],
        )
        token = attach(trace.set_span_in_context(span))
        try:
            pass  # The body's own work.
        finally:
            detach(token)
            contexts[node] = span.get_span_context()
            span.end()
            self.ended_at[node] = time.monotonic()

    def by_context_manager(self, node: int) -> None:
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

    def loop(self) -> None:
        self.begin()
        for node in range(len(self.ids)):
            self.with_links(node)
        self.end()


def body_of(make_span: Callable[[int], None], node: int) -> Callable[..., Any]:
    async def body() -> None:
        make_span(node)

    return body


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
    plain = graph_of(work, lambda _: nothing)

    def in_bodies(make_span: Callable[[int], None]) -> Callable[[], object]:
        graph = graph_of(work, lambda node: body_of(make_span, node))

        def run() -> None:
            by_hand.begin()
            graph.run(tracer=False)
            by_hand.end()

        return run

    cases: dict[str, Callable[[], object]] = {
        "off": lambda: plain.run(tracer=False),
        "bare": in_bodies(by_hand.bare),
        "parent": in_bodies(by_hand.with_parent),
        "attributes": in_bodies(by_hand.with_attributes),
        "links": in_bodies(by_hand.with_links),
        "same": in_bodies(by_hand.same),
        "on": lambda: plain.run(tracer=provider),
        "manager": in_bodies(by_hand.by_context_manager),
        "loop": by_hand.loop,
    }
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, call in cases.items():
            samples[name].append(timed(work, call))
    return {"nodes": len(work), **samples}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
