"""
A trace without a collector: run a graph, keep its spans in memory, print them as a tree. Needs `opentelemetry-sdk`.

    python examples/trace_without_collector.py
"""

import asyncio

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from antichain import Backoff, Graph, Retry

graph = Graph("answer", limits={"llm": 2})
failures = [TimeoutError("no answer")]


@graph.node
def question() -> str:
    return "what is an antichain?"


@graph.node(retry=Retry(2, Backoff(0.01)))
async def search(question: str) -> list[str]:
    if failures:
        raise failures.pop()
    return [f"{question} page {number}" for number in range(3)]


async def summarize(page: str) -> str:
    await asyncio.sleep(0.01)
    return page.upper()


graph.map("summaries", summarize, over="search", uses="llm")


@graph.node
async def answer(question: str, summaries: list[str]) -> str:
    return f"{question} {len(summaries)} pages say so"


def tree(spans: list[ReadableSpan], parent: ReadableSpan | None = None, indent: str = "") -> None:
    around = parent.context.span_id if parent and parent.context else None
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if (span.parent.span_id if span.parent else None) == around:
            told, milliseconds = span.attributes or {}, ((span.end_time or 0) - (span.start_time or 0)) / 1e6
            waited = f", waited for {len(span.links)}" if span.links else ""
            failed = f", {told['error.type']}" if "error.type" in told else ""
            print(f"{indent}{told.get('antichain.node.id', span.name)}: {milliseconds:.1f} ms{waited}{failed}")
            tree(spans, span, indent + "  ")


exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
print(graph.run(tracer=provider)["answer"])
tree(list(exporter.get_finished_spans()))
