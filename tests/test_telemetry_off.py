"""
What is not asked for costs nothing: no span, no listener, not a line of telemetry or views, not even an import.
"""

import pytest

from tests.support.looked_at import run_python, telling_parts

LINES = telling_parts(["antichain/telemetry/", "antichain/views/"])

NOTHING = "OPTIONS = {}"
API_ONLY = """
from opentelemetry import metrics, trace
import logging
logging.basicConfig(level=logging.WARNING)
OPTIONS = {}
"""
SWITCHED_OFF = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
OPTIONS = {"tracer": False}
"""
IMPORTED = """
import antichain.telemetry.logs, antichain.telemetry.otel
from opentelemetry import metrics, trace
OPTIONS = {}
"""


@pytest.mark.parametrize("setting", [NOTHING, API_ONLY, SWITCHED_OFF, IMPORTED])
def test_no_line_of_telemetry_or_views_runs(setting: str) -> None:
    assert run_python(setting + LINES) == "12"


def test_what_is_on_would_be_seen() -> None:
    """The test above can fail."""
    told = run_python('OPTIONS = {"tracer": __import__("opentelemetry.trace").trace.NoOpTracerProvider()}' + LINES)
    assert told == "12 antichain/telemetry/"


def test_nothing_is_imported_either() -> None:
    code = """
    graph.run()
    loaded = [name for name in sys.modules if name.startswith(("antichain.telemetry", "antichain.views", "opentelem"))]
    print(loaded)
    """
    assert run_python(code) == "[]"


def test_without_a_configured_tracer_no_span_is_asked_for() -> None:
    """Not of the API's own stand-ins either: whoever asks one is counted."""
    code = """
    from opentelemetry import context, trace
    calls = []
    for kind in (trace.ProxyTracerProvider, trace.NoOpTracerProvider):
        kind.get_tracer = lambda *args, **more: calls.append("get_tracer")
    for kind in (trace.ProxyTracer, trace.NoOpTracer):
        kind.start_span = lambda *args, **more: calls.append("start_span")
    trace.get_tracer = lambda *args, **more: calls.append("get_tracer")
    context.attach = lambda *args, **more: calls.append("attach")
    assert graph.run().status == "partial"
    trace.get_tracer_provider().get_tracer("counted")
    print(*calls)
    """
    # The last line of the program itself: what is counted is.
    assert run_python(code) == "get_tracer"


def test_what_the_program_has_configured_is_used() -> None:
    code = """
    import logging
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s")
    graph.run()
    spans = exporter.get_finished_spans()
    print(len(spans), {span.instrumentation_scope.name for span in spans})
    found = reader.get_metrics_data().resource_metrics[0].scope_metrics
    print([each.scope.name for each in found], len(found[0].metrics))
    """
    *logged, spans, found = run_python(code).split("\n")
    assert set(logged) == {"antichain.run", "antichain.node"}
    assert spans == "14 {'antichain'}"
    assert found == "['antichain'] 5"
