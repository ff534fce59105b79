"""
Metrics of runs, read from the real SDK.
"""

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from antichain import Backoff, Graph, Retry, RunFailed
from antichain.core.facts import Event, NodeStarted, RunEnded, RunStarted
from antichain.telemetry.otel import Metrics
from antichain.testing import virtual_time


class Meter:
    """The real SDK, and what it has measured."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.metrics = Metrics(provider.get_meter("test"))

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """What a metric has for each set of attributes."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = [m for m in data.resource_metrics[0].scope_metrics[0].metrics if m.name == f"antichain.node.{name}"]
        found = {}
        for point in metric.data.data_points:
            assert point.attributes is not None
            assert point.attributes["antichain.graph.name"] == "graph"
            found[tuple(value for key, value in point.attributes.items() if key != "antichain.graph.name")] = point
        return found

    def values(self, name: str) -> dict[tuple[Any, ...], Any]:
        return {key: point.value for key, point in self.points(name).items()}


def run(graph: Graph, meter: Meter) -> None:
    with virtual_time() as clock:
        try:
            clock.run(graph.arun(listeners=[meter.metrics]))
        except RunFailed:
            return


def test_what_nodes_did_is_counted_and_timed() -> None:
    """Three that wait for one slot, one that fails at first, one that fails for good, and who waits for that."""
    graph, meter, tries = Graph(limits={"one": 1}, on_error="continue"), Meter(), []

    async def again() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("again")

    async def fails() -> None:
        raise ValueError("no")

    for name in ("a", "b", "c"):
        graph.add(name, lambda: asyncio.sleep(2), uses="one")
    graph.add("again", again, retry=Retry(2, Backoff(0.0)))
    graph.add("fails", fails)
    graph.add("skipped", lambda: 1, depends_on=["fails"])
    run(graph, meter)
    assert meter.values("executions") == {("succeeded",): 4, ("failed",): 1, ("skipped",): 1}
    assert meter.values("errors") == {("KeyError",): 1, ("ValueError",): 1}
    assert meter.values("in_flight") == {(): 0}
    durations = meter.points("duration")
    assert (durations[("succeeded",)].count, durations[("succeeded",)].sum) == (4, pytest.approx(6.0))
    assert durations[("failed",)].count == 2
    (waits,) = meter.points("queue_wait").values()
    assert (waits.count, waits.sum, waits.max) == (6, pytest.approx(6.0), pytest.approx(4.0))


def test_series_do_not_grow_with_the_graph() -> None:
    graph, meter = Graph(), Meter()
    graph.map("items", lambda x: x, over=range(500))
    run(graph, meter)
    assert meter.values("executions") == {("succeeded",): 501}
    assert len(meter.points("duration")) == len(meter.points("queue_wait")) == 1


def test_what_is_in_flight_is_so_while_it_is() -> None:
    graph, meter, most = Graph(), Meter(), []
    for name in ("a", "b", "c"):
        graph.add(name, lambda: asyncio.sleep(1))
    graph.add("look", lambda: most.append(meter.values("in_flight")[()]), runner="loop")
    run(graph, meter)
    assert most == [4]


def test_what_a_fault_leaves_running_is_not_in_flight_for_ever() -> None:
    meter = Meter()
    events: list[Event] = [
        RunStarted(1, 0.0, "r", "graph", 1),
        NodeStarted(2, 0.0, "r", "a", 1),
        RunEnded(3, 1.0, "r", "failed"),
    ]
    for event in events:
        meter.metrics(event)
    assert meter.values("in_flight") == {(): 0}
