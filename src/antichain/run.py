"""
Run a plan: wire it to a driver, an event loop, signals and listeners, and turn what became of it into a result or an
exception.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from antichain.core.facts import Event, Listener
from antichain.driver import Driver, Progress, Settings
from antichain.errors import BudgetSpent, Fault, GraphError, RunFailed, RunTimeout, note
from antichain.graph import Graph
from antichain.limit import Limit
from antichain.plan import Plan
from antichain.record import RunResult
from antichain.tasks import in_thread, undisturbed

if TYPE_CHECKING:
    from antichain.keeping import Keeping
    from antichain.policies import Allowance
    from antichain.telemetry.otel import Tracing

# Who wants to see what the library says sets up a handler of their own.
logging.getLogger("antichain").addHandler(logging.NullHandler())

# How long a loop that we opened waits, at its end, for tasks that nodes have left behind.
LEFTOVER_SECONDS: Final = 1.0
# How many nodes that were stopped an error tells of.
TOLD_NODES: Final = 10
# Said to whoever calls `run` where `arun` is meant, once something has failed.
LOOP_HINT: Final = (
    "run() was called inside a running event loop, so the graph ran on a loop of its own in another thread. "
    "Objects bound to the caller's loop (clients, locks, queues) do not work there: use `await graph.arun(…)`."
)


# ---------------------------------------------------------------------- options


def settle(
    plan: Plan,
    options: Mapping[str, Any],
    *,
    keeps_instances: bool = True,
    keeping: "Keeping | None" = None,
) -> Settings:
    """
    Settle the options of a run: what the call says, else the graph, else what holds without a word.
    """
    chosen = _chosen(plan, options)
    if keeping is None and chosen.get("store") is not None:
        text = "store=: only runs of a graph or a plan can be kept. Make this one a graph: run, arun, astream, batch."
        raise GraphError(Fault("bad-policy", text), plan.name)
    tracing, progress = _tracing(chosen.get("tracer")), _progress(chosen.get("progress"))
    # A trace comes first: nobody else is to see an attempt that has no span yet.
    watching = [each for each in (tracing, progress, *_watchers()) if each is not None]
    return Settings(
        run_id=chosen.get("run_id") or _new_run_id(),
        max_concurrent=chosen.get("max_concurrent"),
        limits={"thread": default_threads(), **plan.limits_with(chosen.get("limits") or {})},
        deadline=chosen.get("deadline"),
        on_error=chosen.get("on_error", "cancel"),
        retry_budgets=_budgets(chosen.get("retry_budget"), keeping),
        grace=chosen.get("grace", 5.0),
        outputs=chosen.get("outputs"),
        seed=chosen.get("seed"),
        listeners=(*watching, *(chosen.get("listeners") or ())),
        isolation=chosen.get("isolation", "context"),
        ask=chosen.get("ask"),
        budget=chosen.get("budget"),
        progress=progress,
        surroundings=tracing,
        keeping=keeping,
        keeps_instances=keeps_instances,
        # Slow: for those who change the engine, or suspect it.
        debug=os.environ.get("ANTICHAIN_DEBUG", "0") not in ("", "0"),
    )


def _chosen(plan: Plan, options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {**plan.options, **{name: value for name, value in options.items() if value is not None}}
    budgets = chosen.get("retry_budget")
    if isinstance(budgets, Mapping) and (faults := plan.check_budgets(budgets, chosen.get("limits") or ())):
        raise GraphError(faults, plan.name)
    return chosen


def _new_run_id() -> str:
    return os.urandom(8).hex()


# What is off is not even imported.


def _watchers() -> Iterator[Listener]:
    """
    Make the listeners that the program as a whole has switched on.
    """
    if logging.getLogger("antichain").isEnabledFor(logging.INFO):
        from antichain.telemetry.logs import LogListener

        yield LogListener()
    if _is_configured("metrics", "get_meter_provider"):
        from antichain.telemetry.otel import Metrics

        yield Metrics()


def _budgets(given: Any, keeping: "Keeping | None") -> "Mapping[str, Allowance] | None":
    if given is None:
        return None
    from antichain.retry_budget import open_budgets

    if keeping is None:
        return open_budgets(given)
    tries, keeping.journal.tries = keeping.journal.tries, ()
    return open_budgets(given, run_id=keeping.journal.run_id, tries=tries)


def _progress(is_wanted: bool | None) -> Progress | None:
    if not is_wanted:
        return None
    from antichain.views.progress import open_progress

    return open_progress()


def _tracing(tracer: Any) -> "Tracing | None":
    if tracer is False or (tracer is None and not _is_configured("trace", "get_tracer_provider")):
        return None
    from antichain.telemetry.otel import Tracing

    return Tracing(tracer)


def _is_configured(api: str, getter: str) -> bool:
    """
    Tell whether this program has set up telemetry: OpenTelemetry's API alone stands in with providers of its own, that
    do nothing. Who has not even imported it has not set it up.
    """
    module = sys.modules.get(f"opentelemetry.{api}")
    return module is not None and not type(getattr(module, getter)()).__module__.startswith(module.__name__)


def default_threads() -> int:
    """
    Return how many threads a run has unless `limits={"thread": n}` says otherwise: as many as `concurrent.futures`
    would take.
    """
    return min(32, (os.cpu_count() or 1) + 4)


# ---------------------------------------------------------------------- running


async def arun_plan(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> RunResult:
    """
    Run *plan* in the running loop.
    """
    if _store_of(plan, options) is None:
        return await drive(Driver(plan, settle(plan, options), inputs))
    return await drive(await _aopen(lambda: _kept_driver(plan, inputs, options)))


async def aresume_plan(plan: Plan, run_id: str, options: Mapping[str, Any]) -> RunResult:
    """
    Go on with the run *run_id*, which a store keeps, in the running loop.
    """
    return await drive(await _aopen(lambda: _resumed_driver(plan, run_id, options)))


def resume_plan(plan: Plan, run_id: str, options: Mapping[str, Any]) -> RunResult:
    """
    Go on with the run *run_id*, which a store keeps, from ordinary code.
    """
    return run_driver(_resumed_driver(plan, run_id, options))


def _store_of(plan: Plan, options: Mapping[str, Any]) -> Any:
    """
    Return where the run is to be kept; None if nowhere.
    """
    return options.get("store") or plan.options.get("store")


def _new_driver(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> Driver:
    if _store_of(plan, options) is None:
        return Driver(plan, settle(plan, options), inputs)
    return _kept_driver(plan, inputs, options)


def _kept_driver(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> Driver:
    """
    Begin the journal of a run, and make its driver.
    """
    from antichain.opening import open_run

    chosen = _chosen(plan, options)
    run_id = chosen["run_id"] = chosen.get("run_id") or _new_run_id()
    plan, keeping = open_run(plan, run_id, inputs, chosen)
    return _with_keeping(plan, inputs, chosen, keeping)


def _resumed_driver(plan: Plan, run_id: str, options: Mapping[str, Any]) -> Driver:
    """
    Go on with the journal of a run, and make its driver.
    """
    from antichain.opening import reopen_run

    chosen = {**_chosen(plan, options), "run_id": run_id}
    plan, keeping, inputs, chosen["outputs"] = reopen_run(plan, run_id, chosen)
    return _with_keeping(plan, inputs, chosen, keeping)


def _with_keeping(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any], keeping: "Keeping") -> Driver:
    try:
        return Driver(plan, settle(plan, options, keeping=keeping), inputs)
    except BaseException:
        keeping.journal.release()
        raise


async def _aopen(make: Callable[[], Driver]) -> Driver:
    """
    Make the driver of a run that is kept, which waits for a disk: not in the loop's thread.
    """
    cancelled: list[None] = []
    loop = asyncio.get_running_loop()
    context = copy_context()
    driver = await undisturbed(lambda: in_thread(loop, lambda: context.run(make)), lambda: cancelled.append(None))
    if cancelled:
        assert driver.keeping is not None
        await undisturbed(lambda: in_thread(loop, driver.keeping.journal.release), lambda: None)  # type: ignore[union-attr]
        raise asyncio.CancelledError
    return driver


async def drive(driver: Driver) -> RunResult:
    """
    Let *driver* execute its run, and return its result or raise what it came to.

    Raises:
        RunFailed: a node failed. RunTimeout: the run's deadline passed. BudgetSpent: its budget is used up. All keep
        everything that completed in ``.result``. CancelledError: the caller was cancelled; it carries ``.result`` too.
        StoreError: what happened could not be kept any more; what ``.result`` has of it was.
    """
    await driver.run()
    result = driver.result()
    if driver.settings.progress is not None:
        driver.settings.progress.conclude(result)
    if driver.store_error is not None:
        raise _with_result(driver.store_error, result)
    if driver.was_cancelled:
        raise _with_result(asyncio.CancelledError(), result)
    return conclude(driver, result)


def conclude(driver: Driver, result: RunResult) -> RunResult:
    """
    Return the result of a run that went well, or at least in part; raise otherwise.
    """
    # Bodies that the deadline interrupted may all have completed in their grace: then nothing is missing.
    if driver.timed_out and result.status != "succeeded":
        unfinished = [name for name, node in result.nodes.items() if node.state == "cancelled"]
        keeps_items = driver.settings.keeps_instances
        late = RunTimeout(driver.settings.deadline or 0.0, result, unfinished, keeps_items)
        _tell_failures(late, result)
        raise late
    if driver.ran_out and result.status == "paused":
        raise _spent(driver, result)
    if result.status == "failed" or driver.resource_errors:
        errors = [*_own_errors(result), *driver.resource_errors]
        count = len(errors)
        raise RunFailed(f"{count} failure{'s' * (count != 1)} in graph {driver.plan.name!r}", errors, result)
    return result


def _spent(driver: Driver, result: RunResult) -> BudgetSpent:
    budget = driver.settings.budget
    assert budget is not None
    spent = budget.spent
    assert spent is not None  # it never shrinks
    unfinished = [name for name, node in result.nodes.items() if node.reason == "budget" and not node.group]
    failed = [name for name, node in result.nodes.items() if node.state == "failed" and not node.group]
    is_kept, keeps_items = driver.keeping is not None, driver.settings.keeps_instances
    error = BudgetSpent(spent.unit, spent.used, spent.limit, result, unfinished, is_kept, failed, keeps_items)
    for each in _own_errors(result):
        note(error, f"besides, {type(each).__name__} was raised: {each}")
    _tell_failures(error, result)
    return error


def _tell_failures(error: BaseException, result: RunResult) -> None:
    """
    Say of the nodes that were stopped in between what their attempts had raised until then.
    """
    tried = [node for node in result.nodes.values() if node.state == "cancelled" and node.retried]
    for node in tried[:TOLD_NODES]:
        note(error, f"node {node.id!r} had failed before: {node.retried[-1]}")
    if len(tried) > TOLD_NODES:
        note(error, f"and {len(tried) - TOLD_NODES} more nodes, see result.nodes[…].failures")


def _own_errors(result: RunResult) -> list[Exception]:
    """
    List each failure once: a container fails with the error of what failed inside it.
    """
    seen: dict[int, Exception] = {}
    for error in result.errors.values():
        for each in error.exceptions if isinstance(error, RunFailed) else (error,):
            if isinstance(each, Exception):
                seen.setdefault(id(each), each)
    return list(seen.values())


def _with_result(error: Any, result: RunResult | None) -> BaseException:
    error.result = result
    return error  # type: ignore[no-any-return]


def run_plan(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> RunResult:
    """
    Run *plan* to its end from ordinary code; inside a running loop it runs on a loop of its own, in a helper thread.
    """
    return run_driver(_new_driver(plan, inputs, options))


def run_driver(driver: Driver) -> RunResult:
    """
    Execute a run on a fresh event loop.
    """
    run = _Run(driver)
    driver.owns_loop = True
    try:
        # Not by get_running_loop, whose RuntimeError would be the context of everything that the run raises.
        return run.here() if asyncio._get_running_loop() is None else run.in_thread()
    finally:
        if driver.keeping is not None and not run.is_left_behind:
            # Of a run that never began.
            driver.keeping.journal.release()


class _Run:
    """
    Own the loop of one synchronous run, and pass Ctrl-C and SIGTERM on to it.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signal: int | None = None
        # A body keeps the loop of the helper thread busy for ever, and two Ctrl-C have come: nobody waits for it.
        self.is_left_behind = False

    def here(self) -> RunResult:
        with _Signals(self._on_signal):
            result, error = self._execute()
        return self._conclude(result, error)

    def in_thread(self) -> RunResult:
        outcome: list[tuple[RunResult | None, BaseException | None]] = []
        # Not `Thread.join`: on 3.11 one that a signal interrupts takes the thread for ended.
        done = threading.Event()

        def execute() -> None:
            outcome.append(self._execute())
            done.set()

        thread = threading.Thread(target=copy_context().run, args=(execute,), name="antichain-run", daemon=True)
        with _Signals(self._on_signal):
            thread.start()
            self._wait_for(done)
        if not outcome:
            self.is_left_behind = True
            return self._conclude(None, None)
        thread.join()
        result, error = outcome[0]
        if error is not None:
            note(error, LOOP_HINT)
        return self._conclude(result, error)

    def _wait_for(self, done: threading.Event) -> None:
        """
        Wait until the helper thread has ended; after the second Ctrl-C, for a moment only.
        """
        try:
            try:
                done.wait()
            except KeyboardInterrupt:
                if self._signal is not None:
                    raise
                # A handler of somebody else's has raised it.
                self._on_signal(signal.SIGINT, None)
                done.wait()
        except KeyboardInterrupt:
            self._driver.interrupt = "twice"
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has just been closed
                    self._loop.call_soon_threadsafe(self._driver.hurry)
            with contextlib.suppress(KeyboardInterrupt):  # the third one
                # It gives what is left in its loop a moment too.
                done.wait(2 * LEFTOVER_SECONDS)

    def _execute(self) -> tuple[RunResult | None, BaseException | None]:
        self._loop = asyncio.new_event_loop()
        main: asyncio.Task[RunResult] | None = None
        try:
            if self._signal is not None:
                return None, None
            main = self._loop.create_task(drive(self._driver))
            with _woken_by_signals(self._loop):
                while True:
                    try:
                        return self._loop.run_until_complete(main), None
                    except RuntimeError:
                        # A node has stopped the loop, which is not its own: the run goes on.
                        if main.done():
                            raise
        except KeyboardInterrupt as error:
            return None, self._hurry(main, error)
        except BaseException as error:
            return None, error
        finally:
            close_loop(self._loop)

    def _hurry(self, main: "asyncio.Task[RunResult] | None", stop: KeyboardInterrupt) -> BaseException:
        """
        After the second signal: nobody is waited for any more. What completed is kept all the same.
        """
        assert self._loop is not None
        if main is None or main.done():
            return stop
        with contextlib.suppress(Exception):  # the signal may have hit us in the middle of a decision
            self._driver.hurry()
        with contextlib.suppress(KeyboardInterrupt):  # another one, or that of the body that this one hit
            self._loop.run_until_complete(asyncio.wait({main}, timeout=LEFTOVER_SECONDS))
        if not main.done():
            return stop
        try:
            main.result()
        except BaseException as error:
            return error
        return stop

    def _conclude(self, result: RunResult | None, error: BaseException | None) -> RunResult:
        if self._signal == signal.SIGINT:
            raise _with_result(KeyboardInterrupt(), getattr(error, "result", result)) from error
        if self._signal is not None:
            # The nodes have cleaned up: now what the signal does anyway.
            try:
                signal.raise_signal(self._signal)
            except BaseException as stop:
                raise _with_result(stop, getattr(error, "result", result)) from error
        if error is not None:
            raise error
        assert result is not None
        return result

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            # The second one ends at once, wherever we are.
            self._driver.interrupt = "twice"
            raise KeyboardInterrupt
        self._signal = number
        self._driver.interrupt = "once"
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed: the run is over anyway
                self._loop.call_soon_threadsafe(self._driver.cancel_from_outside)


class _Signals:
    """
    Handle Ctrl-C and SIGTERM while a run goes on, where nobody else has asked to.

    A handler with a true attribute ``after_run`` has asked to be called once the nodes have cleaned up.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            current = signal.getsignal(number)
            if current is default or getattr(current, "after_run", False) or _is_of_asyncio(current):
                self._before[number] = signal.signal(number, self._handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _is_of_asyncio(handler: object) -> bool:
    """
    Tell whether a handler is that of `asyncio.run`: it cancels the main task, which cannot hear of it while it waits
    for a run.
    """
    return isinstance(getattr(getattr(handler, "func", None), "__self__", None), asyncio.Runner)


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """
    Have a signal wake the loop itself: one that came just before it fell asleep would wait until something else does.

    As `loop.add_signal_handler` does it; but our handler runs at once, and not when a body lets the loop have its turn.
    """
    waker = getattr(loop, "_csock", None)
    if waker is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """
    Close a loop of ours without waiting for ever: what nodes left in it is cancelled and gets a moment to end.
    """
    try:
        leftover = asyncio.all_tasks(loop)
        for task in leftover:
            task.cancel()
        if leftover:
            loop.run_until_complete(asyncio.wait(leftover, timeout=LEFTOVER_SECONDS))
        closing = loop.create_task(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.wait({closing}, timeout=LEFTOVER_SECONDS))
        if not closing.done():
            closing.cancel()
            loop.run_until_complete(asyncio.wait({closing}, timeout=LEFTOVER_SECONDS))
        # `asyncio.to_thread` inside nodes: its threads end by themselves, and we do not wait for them.
        executor = getattr(loop, "_default_executor", None)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
    finally:
        loop.close()


# ---------------------------------------------------------------------- streaming


async def astream_plan(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> AsyncIterator[Event]:
    """
    Run *plan* and yield its events as they come. Leaving the loop cancels and awaits everything.

    Raises what `arun_plan` raises, after the last event.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    listeners = [*(options.get("listeners") or ()), events.put_nowait]
    run = asyncio.ensure_future(arun_plan(plan, inputs, {**options, "listeners": listeners}))
    run.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await run
    finally:
        was_cancelled = False
        if not run.done():
            run.cancel()
        while not run.done():
            try:
                await asyncio.wait({run})
            except asyncio.CancelledError:
                # Asked again while everything is being awaited already.
                was_cancelled = True
        if not run.cancelled():
            run.exception()
        if was_cancelled:
            raise asyncio.CancelledError


def stream_plan(plan: Plan, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> Iterable[Event]:
    """
    Run *plan* in a helper thread and yield its events; leaving the loop cancels and awaits everything.
    """
    import queue

    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    listeners = [*(options.get("listeners") or ()), events.put]
    driver = _new_driver(plan, inputs, {**options, "listeners": listeners})
    outcome: list[BaseException] = []
    loop = asyncio.new_event_loop()

    def execute() -> None:
        try:
            loop.run_until_complete(drive(driver))
        except BaseException as error:
            outcome.append(error)
        finally:
            close_loop(loop)
            events.put(None)

    thread = threading.Thread(target=copy_context().run, args=(execute,), name="antichain-run", daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            yield event
    finally:
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just closed its loop
                loop.call_soon_threadsafe(driver.cancel_from_outside)
        thread.join()
    if outcome:
        raise outcome[0]


# ---------------------------------------------------------------------- many runs


async def abatch_plan(plan: Plan, rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[RunResult]:
    """
    Run *plan* once for each mapping of inputs, several at once, and return the results in order.

    The named limits, threads among them, are shared by all of these runs; `max_concurrent` holds in each.

    Raises:
        RunFailed: what the first run that failed raised; the others were cancelled and awaited.
    """
    driver = _batch(plan, rows, options)
    try:
        return (await drive(driver))["runs"]  # type: ignore[no-any-return]
    except RunFailed as group:
        # The whole failure of that run; the group has its single errors.
        failure = (driver.stages[0].errors or group.exceptions)[0]
    # Not where it was caught: it comes with its own cause and context.
    raise failure


def batch_plan(plan: Plan, rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[RunResult]:
    """
    The same from ordinary code.
    """
    driver = _batch(plan, rows, options)
    try:
        return run_driver(driver)["runs"]  # type: ignore[no-any-return]
    except RunFailed as group:
        failure = (driver.stages[0].errors or group.exceptions)[0]
    raise failure


def _batch(plan: Plan, rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Driver:
    limits = {"thread": default_threads(), **plan.limits_with(options.get("limits") or {})}
    shared = {name: Limit(size) if isinstance(size, int) else size for name, size in limits.items()}

    async def run_one(row: Mapping[str, Any]) -> RunResult:
        return await arun_plan(plan, row, {**options, "limits": shared})

    graph = Graph(plan.name)
    graph.map("runs", run_one, over=list(rows))
    batch = graph.plan()
    return Driver(batch, settle(batch, {"tracer": options.get("tracer")}, keeps_instances=False), {})


# ---------------------------------------------------------------------- estimates


def estimate_plan(plan: Plan, *args: Any, **kwargs: Any) -> Any:
    """
    Play *plan* in virtual time; see `Plan.estimate`.
    """
    from antichain.simulation import estimate

    return estimate(plan, *args, **kwargs)
