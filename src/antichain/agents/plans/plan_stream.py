"""
A plan that runs while a model writes it: its steps are checked as they arrive, and enter a run once all that they need
is known. Reading and checking are here; what runs, and when, is the run's affair.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Unpack

from antichain.agents.plans.caps import Caps
from antichain.agents.plans.formats import FORMATS, FormatFault, PlanFormat, ReadingBounds, read_steps
from antichain.agents.plans.ordering import Ordering
from antichain.agents.plans.refusal import PlanRefused, Told
from antichain.agents.plans.steps import Kept
from antichain.agents.tools.tool import Tools, tools_of
from antichain.errors import Fault, GraphError, RunFailed, shown
from antichain.executors import ExecutorOptions, ParallelStepExecutor, PreparedStep, Step, add_step
from antichain.feed import Feed, FeedInside, Refusable
from antichain.graph import Graph
from antichain.growth import Growing
from antichain.tasks import disown

if TYPE_CHECKING:
    from antichain.driver import Driver
    from antichain.growth import Inside
    from antichain.record import RunResult

__all__ = ["PlanOptions", "PlanStream", "Reading"]

NAME: Final = "plan"


class PlanOptions(ExecutorOptions, total=False):
    """
    What a PlanStream takes by name: options of every execution, which a call may override.
    """

    max_concurrent: int | None


# Any, here: step objects, text deltas or chunks of a stream, in whatever form they come.
Source = Iterable[Any] | AsyncIterable[Any]


class PlanStream(Refusable, Growing):
    """
    Run the steps of a plan while a model writes it: each starts the moment the outputs that it refers to exist.

    A step is `{"id": "s2", "tool": "summarise", "args": {"text": "$s1.body"}, "depends_on": []}`. An argument that is
    `$s1`, `$s1.key[0]` or `${s1.key}` stands for that output; `${s1.key}` in a longer text is put into it; `$$` is a
    dollar. Steps may come in any order.

    Nothing that the model wrote is trusted: tools are those of *tools*, arguments are checked, references go through
    keys, positions and declared fields only, and the caps bound everything. A plan with a fault is refused, as a
    whole where it is there as a whole; what ran before the fault was there to see is kept.

    It is an async iterable of steps too: `ParallelStepExecutor(PlanStream(…))`, and `await ctx.run(PlanStream(…))`
    runs it as part of a run.

    Args:
        source: steps as dicts, or what a model streams: text deltas, or chunks of OpenAI's or Anthropic's stream; an
            iterable or an async iterable of them, or one text. An ordinary iterator that waits for a model holds up the
            loop, and with it the tools: take the async client of your provider.
        tools: what the plan may use.
        format: how steps are written; found out from what comes first if it is "auto".
        max_steps: most steps of a plan.
        max_depth: most steps of which each waits for the one before.
        max_bytes: most characters of the plan as it is written, and of the texts of one step into which outputs are
            put.
        max_nesting: most lists and objects inside each other in arguments; most parts of a reference.
        options: run options (`max_concurrent`, `limits`, `deadline`, …); `on_error` is "drain" unless it is given.

    Example:
        >>> def search(query: str) -> dict[str, str]:
        ...     return {"title": query.upper()}
        >>> def shout(text: str) -> str:
        ...     return f"{text}!"
        >>> steps = [
        ...     {"id": 1, "tool": "search", "args": {"query": "antichains"}},
        ...     {"id": 2, "tool": "shout", "args": {"text": "$1.title"}},
        ... ]
        >>> PlanStream(steps, Tools(search, shout)).execute_sync()
        {'1': {'title': 'ANTICHAINS'}, '2': 'ANTICHAINS!'}

    Raises:
        GraphError: a cap or an option has an impossible value, or *source* cannot be read.
    """

    def __init__(
        self,
        source: Source,
        tools: Tools | Iterable[Any],
        *,
        format: PlanFormat = "auto",  # noqa: A002  # the word of the public contract
        max_steps: int = 100,
        max_depth: int = 25,
        max_bytes: int = 1_000_000,
        max_nesting: int = 32,
        **options: Unpack[PlanOptions],
    ) -> None:
        given: object = source
        if not isinstance(given, Iterable | AsyncIterable) or isinstance(given, Mapping):
            what = f"PlanStream was given {shown(source)}"
            raise GraphError(Fault("not-a-step", f"{what}: use steps, texts or chunks, as an (async) iterable."), NAME)
        if format not in FORMATS:
            text = f"format={shown(format)} is no form of a plan: take one of {', '.join(FORMATS)}."
            raise GraphError(Fault("bad-policy", text), NAME)
        self.tools = tools_of(tools)
        self.caps = Caps(max_steps, max_depth, max_bytes, max_nesting)
        self.format: PlanFormat = format
        self._source = source
        self.options = options
        self._was_read = False
        # Wrong options are said now.
        Reading(self, {}).executor()

    # -- running it

    async def execute(self, inputs: Mapping[str, Any] | None = None, /, **given: Unpack[PlanOptions]) -> dict[str, Any]:
        """
        Run the plan as it comes, and return the results of its steps by id, in the order of the steps.

        Args:
            inputs: values that the plan may refer to by name, as if they were outputs: `$question`.
            given: run options.

        Raises:
            PlanRefused: the plan has faults; `.result` keeps what had run, `.for_model()` says it all to the model.
            RunFailed: tools failed, or the source did; `.result` keeps what completed.
            RunTimeout: the deadline passed; likewise.
        """
        return await self.read(inputs).execute(given)

    def execute_sync(self, inputs: Mapping[str, Any] | None = None, /, **given: Unpack[PlanOptions]) -> dict[str, Any]:
        """
        Do the same outside async code.
        """
        return self.read(inputs).execute_sync(given)

    # -- reading it

    def __aiter__(self) -> AsyncIterator[Step]:
        return aiter(self.read())

    def watched(self, on_refusal: Callable[[], object]) -> AsyncIterable[Step]:
        """
        Begin to read the plan for a run, which is told of the first fault.
        """
        return self.read().watched(on_refusal)

    def read(self, inputs: Mapping[str, Any] | None = None, *, kept: Mapping[str, Kept] | None = None) -> Reading:
        """
        Begin to read the plan, which may refer to *inputs* and to what earlier plans have *kept*.

        Raises:
            GraphError: the source is an iterator, and has been read already.
        """
        if self._was_read:
            text = "the source of the plan has been read already, and can be read only once: make a new PlanStream."
            raise GraphError(Fault("used-stream", text), NAME)
        self._was_read = isinstance(self._source, Iterator | AsyncIterator)
        given = {name: Kept(value) for name, value in (inputs or {}).items()}
        return Reading(self, {**given, **(kept or {})})

    def written(self) -> AsyncGenerator[dict[str, Any] | FormatFault, None]:
        """
        Read the steps of the source one by one, as they were written.
        """
        caps = self.caps
        bounds = ReadingBounds(
            plan_characters=caps.max_bytes, step_characters=caps.max_bytes, depth=caps.max_nesting + 2
        )
        return read_steps(self._source, self.format, bounds=bounds)

    # -- inside a run

    def call_inside(self, driver: Driver, node: int, inputs: Mapping[str, Any]) -> Inside:
        """
        Prepare to run as a part of a run: see `Context.run`. What comes of it is a RunResult by the steps' ids.

        Raises:
            GraphError: the plan has run options other than limits, which the run around it has.
        """
        return self.read(inputs).call_inside(driver, node, {})


class Reading(Refusable, Growing):
    """
    One reading of a plan, and one run of it: the steps that may enter the run, and what became of the others.
    """

    def __init__(self, plan: PlanStream, kept: Mapping[str, Kept]) -> None:
        self._plan = plan
        self._kept = kept
        self.ordering = Ordering(plan.tools, plan.caps, kept)
        # Steps that may enter the run and have not been given on.
        self._ready: deque[PreparedStep] = deque()
        self._news = asyncio.Event()
        # Called at the first fault.
        self._on_refusal: Callable[[], object] | None = None
        # What the source itself raised.
        self._error: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[Step]:
        return self._steps()

    def watched(self, on_refusal: Callable[[], object]) -> AsyncIterable[Step]:
        """
        Return the steps; *on_refusal* is called when the first fault is found.
        """
        self._on_refusal = on_refusal
        return self

    async def _steps(self) -> AsyncIterator[Step]:
        """
        Give the steps on while the plan is read. What the source has without waiting is read before the first step
        is given: so a plan that is there as a whole is checked as a whole before anything of it runs.
        """
        reading = asyncio.ensure_future(self._read())
        reading.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                while self._ready:
                    yield self._ready.popleft()
                if reading.done():
                    break
                self._news.clear()
                await self._news.wait()
        finally:
            if not reading.done():
                reading.cancel()
                try:
                    await asyncio.wait({reading})
                except BaseException:
                    # Given up, for the source goes on whatever it is told. Nobody waits for it any more.
                    disown(reading)
                    message = "the source of a plan did not end when it was cancelled; it was left as it is"
                    asyncio.get_running_loop().call_exception_handler({"message": message, "task": reading})
                    raise
        if self.ordering.refuses:
            # Also where the source could not be closed once it was clear that its plan is refused.
            raise PlanRefused(self.ordering.faults, NAME, self.told(None)) from self._error
        if self._error is not None:
            raise self._error

    async def _read(self) -> None:
        try:
            async with aclosing(self._plan.written()) as source:
                async for found in source:
                    self._take(found)
                    if self.ordering.is_cut:
                        break
            self.ordering.finish()
            self._tell()
        except BaseException as error:  # noqa: BLE001  # raised again where the steps are taken
            # A task would let some of them stop the loop. Our own cancellation is nobody's business any more.
            self._error = error

    def _take(self, found: dict[str, Any] | FormatFault) -> None:
        if isinstance(found, FormatFault):
            self.ordering.refuse_unread(found.position, found.step_id, str(found))
        else:
            self._ready.extend(self.ordering.arrive(found))
        self._tell()

    def _tell(self) -> None:
        if self.ordering.refuses:
            self._ready.clear()
            if self._on_refusal is not None:
                self._on_refusal()
                self._on_refusal = None
        elif self._ready:
            self._news.set()

    # -- running it

    async def execute(self, given: PlanOptions) -> dict[str, Any]:
        """
        Run the plan: see PlanStream.execute.
        """
        try:
            return self._in_order(await self.executor().execute(**_chosen(given)))
        except (GraphError, RunFailed) as error:
            raise self.conclude(error) from self._error

    def execute_sync(self, given: PlanOptions) -> dict[str, Any]:
        """
        Do the same outside async code.
        """
        try:
            return self._in_order(self.executor().execute_sync(**_chosen(given)))
        except (GraphError, RunFailed) as error:
            raise self.conclude(error) from self._error

    def executor(self) -> ParallelStepExecutor:
        """
        Make what runs the steps, with the plan's own options.
        """
        options: dict[str, Any] = {"on_error": "drain", **self._plan.options}
        return ParallelStepExecutor(self, options.pop("max_concurrent", None), **options)

    def call_inside(self, driver: Driver, node: int, inputs: Mapping[str, Any]) -> Inside:
        """
        Prepare to run as a part of a run: see PlanStream.call_inside.
        """
        options = self._plan.options
        faults = [
            Fault("nested-options", f"the plan sets {name}=, but it runs inside a run, whose options hold.")
            for name, value in options.items()
            if name != "limits" and value is not None
        ]
        if faults:
            raise GraphError(faults, NAME)
        driver.add_limits(options.get("limits") or {})
        graph = Graph(NAME)
        feed = Feed(self, lambda item: add_step(graph, item), {}, is_inside=True)
        return FeedInside(driver, node, NAME, feed, self.conclude)

    # -- what came of it

    def told(self, result: RunResult | None) -> Told:
        """
        Say what there is to say about the plan, of which *result* came.
        """
        kept = {name: kept.value for name, kept in self._kept.items()}
        return Told(tuple(self.ordering.ids), tuple(self._plan.tools), kept, result)

    @property
    def source_error(self) -> BaseException | None:
        """
        What the source raised, if it did.
        """
        return self._error

    def conclude(self, error: GraphError | RunFailed) -> Exception:
        """
        Say what a run of the plan came to: a plan with faults was refused, whatever else failed; its faults are those
        that were found while it was read, and those that only the outputs of its steps could show.
        """
        errors: Iterable[Exception] = error.exceptions if isinstance(error, RunFailed) else (error,)
        found = [each for each in errors if isinstance(each, PlanRefused)]
        if not found:
            return error
        faults = dict.fromkeys(fault for each in found for fault in each.faults)
        return PlanRefused(faults, NAME, self.told(getattr(error, "result", None)))

    def _in_order(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """
        Sort results by the order in which their steps were written.
        """
        results = {**results, **{name: self._kept[name].value for name in self.ordering.reused}}
        return {name: results[name] for name in self.ordering.ids if name in results}


def _chosen(given: PlanOptions) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
