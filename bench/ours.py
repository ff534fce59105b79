"""
The same workloads through antichain's public face: `Graph.add`, `plan`, `run`.
"""

from typing import Any

from antichain import Graph, Retry
from bench.bodies import Gauge, bodies, bodies_sync
from bench.by_hand import ATTEMPTS, TIMEOUT
from bench.workloads import INPUTS, Workload, define, sink_values, sources


class Ours:
    """
    One workload; *variant* says what every node uses.

    default    nothing
    limited    W6: `max_concurrent`
    policies   a limit, as large as the graph, and a timeout
    full       as policies, with a retry policy, and the run has a listener
    thread     plain functions, in threads
    distinct   as default, each node a function of its own (without parameters)
    """

    def __init__(self, work: Workload, variant: str) -> None:
        self.work, self.variant = work, variant
        self.gauge = Gauge()
        self.events: list[Any] = []
        self.policies: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.limits: dict[str, int] = {}
        if variant in ("policies", "full"):
            self.limits = {"all": len(work)}
            self.policies = {"uses": "all", "timeout": TIMEOUT}
        if variant == "full":
            self.policies["retry"] = Retry(attempts=ATTEMPTS)
            self.options["listeners"] = [self.events.append]
        if work.slots:
            self.options["max_concurrent"] = work.slots
        self.inputs = INPUTS if work.values else {}
        self.expected = sink_values(work) if work.values else {}
        self.functions = self.define()

    def define(self) -> list[Any]:
        count = len(self.work)
        if self.work.values:
            return define(sources(self.work), count)
        if self.variant == "distinct":
            return define((f"async def n{node}():\n    return None\n" for node in range(count)), count)
        return bodies_sync(self.work) if self.variant == "thread" else bodies(self.work, self.gauge)

    def build(self) -> None:
        """
        What a user's program does, names included.
        """
        graph = Graph("bench", limits=self.limits)
        add, policies, ids = graph.add, self.policies, self.work.ids()
        for name, function, deps in zip(ids, self.functions, self.work.deps, strict=True):
            add(name, function, depends_on=[ids[dep] for dep in deps], **policies)
        self.plan = graph.plan()

    def run(self) -> None:
        self.events.clear()
        result = self.plan.run(**self.options, **self.inputs)
        assert len(result.nodes) == len(self.work), f"{len(result.nodes)} of {len(self.work)} nodes in the result"
        assert all(result[f"n{node}"] == value for node, value in self.expected.items()), "a sink has a wrong value"
        if self.variant == "full":
            assert len(self.events) >= 2 * len(self.work), f"{len(self.events)} events"
