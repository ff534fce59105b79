"""
What a careful person writes by hand instead: no graph object, no record, only what the case needs.

`task` is the reference: a task per node, which counts its downstream nodes down and starts those that are ready. The
others add what the variant of the same name asks of antichain, in the way the asyncio documentation suggests.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.bodies import Gauge, bodies, bodies_sync
from bench.workloads import INPUTS, Workload, define, sink_values, sources

ATTEMPTS = 3
TIMEOUT = 60.0


class ByHand:
    """
    One hand-written run of a workload; *variant*: task, semaphore, policies, full or thread.
    """

    def __init__(self, work: Workload, variant: str) -> None:
        self.work, self.variant = work, variant
        self.gauge = Gauge()
        self.events: list[tuple[str, int, float]] = []
        if work.values:
            self.functions = define(sources(work), len(work))
            self.expected = sink_values(work)
        else:
            self.functions = (bodies_sync(work) if variant == "thread" else bodies(work, self.gauge))[:]
            self.expected = {}

    def build(self) -> None:
        """
        Nothing to build: that is the point of writing it by hand.
        """

    def run(self) -> None:
        self.events.clear()
        if self.variant == "thread":
            outputs = self.thread()
        else:
            outputs = asyncio.run(self.coroutine()())
        assert all(outputs[node] == value for node, value in self.expected.items()), "a sink has a wrong value"

    def coroutine(self) -> Callable[[], Any]:
        if self.variant == "task" and self.work.values:
            return self.task_values
        return {"task": self.task, "semaphore": self.semaphore, "policies": self.policies, "full": self.full}[
            self.variant
        ]

    async def task(self) -> list[Any]:
        functions, downstream = self.functions, self.work.downstream
        left = [len(deps) for deps in self.work.deps]
        outputs: list[Any] = [None] * len(functions)
        todo = len(functions)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        create = loop.create_task

        async def node(i: int) -> None:
            nonlocal todo
            try:
                outputs[i] = await functions[i]()
            except BaseException as error:
                if not done.done():
                    done.set_exception(error)
                return
            todo -= 1
            if not todo:
                done.set_result(None)
            for other in downstream[i]:
                left[other] -= 1
                if not left[other]:
                    create(node(other))

        for i in [i for i, count in enumerate(left) if not count]:
            create(node(i))
        await done
        return outputs

    async def task_values(self) -> list[Any]:
        """
        As task; each node is called with the outputs of its upstream nodes.
        """
        functions, downstream, deps = self.functions, self.work.downstream, self.work.deps
        left = [len(upstream) for upstream in deps]
        outputs: list[Any] = [None] * len(functions)
        todo = len(functions)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        create = loop.create_task
        given = tuple(INPUTS.values())

        async def node(i: int) -> None:
            nonlocal todo
            try:
                outputs[i] = await functions[i](*[outputs[dep] for dep in deps[i]] or given)
            except BaseException as error:
                if not done.done():
                    done.set_exception(error)
                return
            todo -= 1
            if not todo:
                done.set_result(None)
            for other in downstream[i]:
                left[other] -= 1
                if not left[other]:
                    create(node(other))

        for i in [i for i, count in enumerate(left) if not count]:
            create(node(i))
        await done
        return outputs

    async def semaphore(self) -> list[Any]:
        """
        As task, with a semaphore around the body.
        """
        return await self.guarded(self.bounded)

    async def policies(self) -> list[Any]:
        """
        As task, with a semaphore and a timeout around the body.
        """
        return await self.guarded(self.limited)

    async def full(self) -> list[Any]:
        """
        As policies, with attempts and a listener that is told of each start and each end.
        """
        return await self.guarded(self.retried)

    async def guarded(self, attempt: Callable[..., Any]) -> list[Any]:
        functions, downstream, deps = self.functions, self.work.downstream, self.work.deps
        left = [len(upstream) for upstream in deps]
        outputs: list[Any] = [None] * len(functions)
        todo = len(functions)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        create = loop.create_task
        slots = asyncio.Semaphore(self.work.slots or len(functions))
        given = tuple(INPUTS.values()) if self.work.values else ()
        takes_values = self.work.values

        async def node(i: int) -> None:
            nonlocal todo
            try:
                values = ([outputs[dep] for dep in deps[i]] or given) if takes_values else ()
                outputs[i] = await attempt(slots, i, functions[i], values)
            except BaseException as error:
                if not done.done():
                    done.set_exception(error)
                return
            todo -= 1
            if not todo:
                done.set_result(None)
            for other in downstream[i]:
                left[other] -= 1
                if not left[other]:
                    create(node(other))

        for i in [i for i, count in enumerate(left) if not count]:
            create(node(i))
        await done
        return outputs

    async def bounded(self, slots: asyncio.Semaphore, _i: int, function: Callable[..., Any], values: Any) -> Any:
        async with slots:
            return await function(*values)

    async def limited(self, slots: asyncio.Semaphore, _i: int, function: Callable[..., Any], values: Any) -> Any:
        async with slots, asyncio.timeout(TIMEOUT):
            return await function(*values)

    async def retried(self, slots: asyncio.Semaphore, i: int, function: Callable[..., Any], values: Any) -> Any:
        listener, now = self.events.append, time.monotonic
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with slots, asyncio.timeout(TIMEOUT):
                    listener(("started", i, now()))
                    output = await function(*values)
                listener(("succeeded", i, now()))
                return output
            except Exception as error:
                listener(("failed", i, now()))
                if attempt == ATTEMPTS or isinstance(error, TypeError | NameError | AttributeError):
                    raise
            await asyncio.sleep(random.uniform(0, 0.5 * 2 ** (attempt - 1)))
        raise AssertionError

    def thread(self) -> list[Any]:
        """
        A thread pool; the thread that ends a node submits what became ready.
        """
        functions, downstream = self.functions, self.work.downstream
        left = [len(deps) for deps in self.work.deps]
        outputs: list[Any] = [None] * len(functions)
        todo = len(functions)
        lock, done = threading.Lock(), threading.Event()
        errors: list[BaseException] = []
        with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4)) as pool:

            def node(i: int) -> None:
                nonlocal todo
                try:
                    outputs[i] = functions[i]()
                except BaseException as error:
                    errors.append(error)
                    done.set()
                    return
                with lock:
                    todo -= 1
                    if not todo:
                        done.set()
                    ready = []
                    for other in downstream[i]:
                        left[other] -= 1
                        if not left[other]:
                            ready.append(other)
                for other in ready:
                    pool.submit(node, other)

            for i in [i for i, count in enumerate(left) if not count]:
                pool.submit(node, i)
            done.wait()
        if errors:
            raise errors[0]
        return outputs
