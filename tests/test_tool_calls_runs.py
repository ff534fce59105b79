"""
Tool calls as a run: limits, what is left behind, cancellation over real HTTP, inside another run, and with a person.
"""

import asyncio
import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import openai
import pytest

from antichain import (
    Context,
    Graph,
    GraphError,
    Limit,
    NobodyAnswers,
    Question,
    RunFailed,
    Tool,
    ToolCall,
    ToolMessages,
    Tools,
    run_tool_calls,
    run_tool_calls_sync,
)
from antichain.testing import FakeProvider, Reply, virtual_time
from tests.support.leftovers import nothing_left, run_in_steps, wait_until
from tests.test_tool_calls import add, call, codes, is_valid, run, slow, told


class Meter:
    """Counts how many calls it is in, and how many that ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.made = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.made += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.now -= 1


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("by", ["max_concurrent", "limit of the tool"])
def test_a_thousand_calls_keep_a_limit_of_eight(by: str) -> None:
    """A third of them in threads, every tenth fails; the tools themselves measure."""
    meter = Meter()

    async def ask(number: int) -> int:
        with meter:
            await asyncio.sleep(0.01 * (number % 5))
            if number % 10 == 0:
                raise OSError(f"no {number}")
            return number

    def ask_in_thread(number: int) -> int:
        with meter:
            return number

    is_named = by != "max_concurrent"
    policies: Any = {"uses": "api"} if is_named else {}
    options: Any = {"limits": {"api": 8}, "max_concurrent": 100} if is_named else {"max_concurrent": 8}
    tools = Tools(Tool(ask, **policies), Tool(ask_in_thread, **policies))
    calls = [
        call("ask" if number % 3 else "ask_in_thread", {"number": number}, f"c{number}") for number in range(1_000)
    ]
    with nothing_left():
        messages = run(calls, tools, **options)
    assert is_valid(calls, messages)
    assert meter.made == 1_000
    assert meter.most == 8
    for number, (message, result) in enumerate(zip(messages, messages.results, strict=True)):
        if number % 10 == 0 and number % 3:
            assert told(message)["message"].endswith(f"no {number}")
        else:
            assert (result.code, message["content"]) == ("ok", str(number))


def test_the_fan_out_has_a_cap_of_its_own() -> None:
    meter = Meter()

    async def ask(number: int) -> None:
        with meter:
            await asyncio.sleep(1)

    run([call("ask", {"number": number}, f"c{number}") for number in range(792)], Tools(ask))
    assert meter.most == 16


def test_nothing_is_kept_once_the_answers_are_dropped() -> None:
    """No reference from the library to what tools returned, to their errors, or to the calls."""

    class Kept:
        pass

    alive: list[weakref.ref[Any]] = []

    async def give(number: int) -> Any:
        value = Kept()
        alive.append(weakref.ref(value))
        if number % 2:
            error = OSError("gone")
            error.value = value  # type: ignore[attr-defined]
            raise error
        return value

    async def main() -> None:
        tasks = asyncio.all_tasks()
        messages = await run_tool_calls([call("give", {"number": n}, f"c{n}") for n in range(100)], Tools(give))
        assert asyncio.all_tasks() == tasks
        assert {each.code for each in messages.results} == {"unserialisable_result", "crashed"}

    with virtual_time() as clock:
        clock.run(main())
        gc.collect()
        assert len(alive) == 100
        assert [each for each in alive if each() is not None] == []


def test_a_limit_that_no_call_of_this_message_uses() -> None:
    assert codes(run([call("add", {"a": 1, "b": 2})], Tools(add, Tool(slow, uses="api")), limits={"api": 3})) == ["ok"]
    assert codes(run([], Tools(add), limits={"api": 3})) == []


def test_a_limit_is_shared_between_messages() -> None:
    meter = Meter()

    async def ask(number: int) -> None:
        with meter:
            await asyncio.sleep(1)

    tools, api = Tools(Tool(ask, uses="api")), Limit(3)
    calls = [call("ask", {"number": number}, f"c{number}") for number in range(10)]

    async def main() -> None:
        await asyncio.gather(*(run_tool_calls(calls, tools, limits={"api": api}) for _ in range(4)))

    with virtual_time() as clock:
        clock.run(main())
    assert (meter.made, meter.most) == (40, 3)


# ---------------------------------------------------------------------- deadlines and cancellation


def test_the_deadline_ends_all_calls() -> None:
    calls = [call("slow", {"seconds": seconds}, f"c{seconds}") for seconds in (1, 3, 60, 61)]
    messages = run(calls, Tools(slow), deadline=5, max_concurrent=3)
    assert is_valid(calls, messages)
    assert codes(messages) == ["ok", "ok", "timeout", "timeout"]
    assert told(messages[2])["message"] == "The time for all calls, 5 s, was over before it finished."
    tight = run(calls, Tools(slow), deadline=5, max_concurrent=1)
    assert codes(tight) == ["ok", "ok", "timeout", "timeout"]
    assert told(tight[3])["message"] == "The time for all calls, 5 s, was over before it was called."


class Swallowers:
    """Tools that do not want to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cleaned: list[str] = []
        self.shielded: list[asyncio.Task[Any]] = []

    async def polite(self) -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            await asyncio.sleep(1)
            self.cleaned.append("polite")

    async def once(self) -> str:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "went on"

    async def always(self) -> None:
        while True:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                self.cleaned.append("always")

    async def shield(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(6))
        self.shielded.append(task)
        await asyncio.shield(task)

    async def raises(self) -> None:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            raise OSError("while it was cancelled") from None

    def in_thread(self, context: Context) -> None:
        self.begun.set()
        wait_until(lambda: context.cancelled, 60)
        self.cleaned.append("in_thread")


def test_a_cancel_ends_calls_that_do_not_want_to() -> None:
    tools = Swallowers()
    names = ["polite", "once", "always", "shield", "raises"]
    calls = [call("fast", {"seconds": 1}), *[call(name, {}) for name in names], call("fast", {"seconds": 9}, "late")]
    ended: list[float] = []

    async def main() -> asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        asked = Tools(Tool(slow, name="fast"), *[getattr(tools, name) for name in names])
        task = asyncio.ensure_future(run_tool_calls(calls, asked, grace=5, max_concurrent=6))
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as stop:
            await task
        ended.append(loop.time() - 3)
        await asyncio.gather(*tools.shielded)
        return stop.value

    with virtual_time() as clock:
        stop: Any = clock.run(main())
    assert ended[0] <= 5 + 1  # its grace, and what ends those that used it up
    assert "polite" in tools.cleaned
    messages = stop.messages
    assert is_valid(calls, messages)
    # What ended well in its grace is kept.
    assert codes(messages) == ["ok", "cancelled", "ok", "cancelled", "cancelled", "crashed", "cancelled"]


def test_a_cancel_reaches_a_tool_in_a_thread() -> None:
    tools = Swallowers()

    async def main() -> None:
        task = asyncio.ensure_future(run_tool_calls([call("in_thread", {})], Tools(tools.in_thread), grace=30))
        while not tools.begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with nothing_left():
        asyncio.run(main())
        assert tools.cleaned == ["in_thread"]


def test_a_tool_in_a_thread_that_never_looks_is_left_behind() -> None:
    """The caller is not kept longer than the grace; what waits for the thread in vain is answered too."""
    begun, release = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(60)

    def waits() -> str:
        return "done"

    async def main() -> Any:
        task = asyncio.ensure_future(run_tool_calls([call("stuck", {})], Tools(stuck), grace=0.01))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as stop:
            await task
        return stop.value

    with nothing_left():
        stop = asyncio.run(main())
        assert codes(stop.messages) == ["cancelled"]
        calls, tools = [call("stuck", {}), call("waits", {}), call("add", {"a": 1, "b": 2})], Tools(stuck, waits, add)
        # Enough for a thread to begin, on a machine that is busy.
        messages = run_tool_calls_sync(calls, tools, grace=0.01, timeout=1.0, limits={"thread": 1})
        assert codes(messages) == ["timeout", "crashed", "crashed"]
        assert "stuck[1]" in told(messages[1])["message"]
        release.set()


@pytest.mark.parametrize("turn", range(1, 40, 3))
def test_a_cancel_at_any_step_leaves_nothing(turn: int) -> None:
    """Also where it comes before the first call, or after the last."""
    made: list[int] = []

    async def ask(number: int) -> int:
        made.append(number)
        await asyncio.sleep(1)
        made.remove(number)
        return number

    calls = [call("ask", {"number": number}, f"c{number}") for number in range(6)]

    async def main() -> Any:
        try:
            return await run_tool_calls(calls, Tools(ask), max_concurrent=2)
        finally:
            assert made == [] or all(number in range(6) for number in made)

    value, error, _, took = run_in_steps(main, cancel_at=(turn,))
    assert took <= 5
    if error is None:
        assert codes(value) == ["ok"] * 6
    else:
        assert isinstance(error, asyncio.CancelledError)


def test_a_user_cancels_in_the_middle_of_fifty_calls_over_http() -> None:
    """The first ten are answered, eight are on their way, thirty-two never leave: the provider's own log says so."""
    begun: list[int] = []

    def latency(request: Any) -> float:
        return 0.0 if int(request.messages[-1]["content"]) < 10 else 600.0

    async def main(provider: FakeProvider) -> tuple[int, float, Any]:
        async with openai.AsyncOpenAI(base_url=provider.url, api_key="none", max_retries=0) as client:

            async def ask(number: int) -> str:
                begun.append(number)
                message: Any = {"role": "user", "content": str(number)}
                answer = await client.chat.completions.create(model="any", messages=[message])
                return answer.choices[0].message.content or ""

            calls = [call("ask", {"number": number}, f"c{number}") for number in range(50)]
            task = asyncio.ensure_future(run_tool_calls(calls, Tools(ask), max_concurrent=8, grace=30))
            while len(provider.log) < 18 or provider.count(outcome="answered") < 10:
                await asyncio.sleep(0.005)
            before, at = len(begun), time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as stop:
                await task
            took = time.monotonic() - at
            return before, took, stop.value

    with nothing_left(), FakeProvider(reply="yes", latency=latency) as provider:
        before, took, stop = asyncio.run(main(provider))
        provider.wait_idle(30)
        log = provider.log
    assert before == len(begun) == len(log) == 18
    assert took < 30
    assert [entry.outcome for entry in log].count("answered") == 10
    assert [entry.outcome for entry in log].count("client left") == 8
    messages = stop.messages
    assert [each.id for each in messages.results] == [f"c{number}" for number in range(50)]
    assert codes(messages) == ["ok"] * 10 + ["cancelled"] * 40
    assert {each["content"] for each in messages[:10]} == {"yes"}
    assert "before it finished" in told(messages[17])["message"]
    assert "before it was called" in told(messages[18])["message"]


def test_a_model_that_asks_for_calls_over_http() -> None:
    """The whole turn with the real client: what it returns goes in, and what comes out goes back to the provider."""
    from antichain.testing import ToolCall as Asked

    asks = Reply(tool_calls=[Asked("add", {"a": 20, "b": 22}), Asked("multiply", {"a": 1})])

    async def main(provider: FakeProvider) -> None:
        tools = Tools(add)
        async with openai.AsyncOpenAI(base_url=provider.url, api_key="none") as client:
            messages: list[Any] = [{"role": "user", "content": "20 + 22?"}]
            schemas: Any = tools.openai()
            reply = await client.chat.completions.create(model="any", messages=messages, tools=schemas)
            message = reply.choices[0].message
            messages += [message.model_dump(exclude_none=True), *await run_tool_calls(message, tools)]
            assert [each["role"] for each in messages] == ["user", "assistant", "tool", "tool"]
            assert messages[2]["content"] == "42"
            assert told(messages[3])["code"] == "unknown_tool"
            final = await client.chat.completions.create(model="any", messages=messages, tools=schemas)
            assert final.choices[0].message.content == "It is 42."

    with FakeProvider(reply=[asks, "It is 42."]) as provider:
        asyncio.run(main(provider))
        assert provider.count(200) == 2


def test_ctrl_c_keeps_the_answers_so_far() -> None:
    async def interrupts() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    calls = [call("add", {"a": 1, "b": 2}), call("interrupts", {}), call("slow", {"seconds": 60})]
    tools = Tools(Tool(add, runner="loop"), interrupts, slow)
    # Where the tests are a shell's job in the background, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with nothing_left(), pytest.raises(KeyboardInterrupt) as stop:
            run_tool_calls_sync(calls, tools, max_concurrent=1)
    finally:
        signal.signal(signal.SIGINT, before)
    messages = stop.value.messages  # type: ignore[attr-defined]
    assert codes(messages) == ["ok", "cancelled", "cancelled"]


# ---------------------------------------------------------------------- inside another run


def in_a_node(body: Callable[[Context], Any], limits: Any = None, **options: Any) -> Any:
    """Run *body* as a node, and return the result of the run."""
    graph = Graph("agent", limits=limits)

    @graph.node
    async def agent(context: Context) -> Any:
        return await body(context)

    with virtual_time() as clock:
        return clock.run(graph.arun(**options))


def test_calls_inside_a_node_belong_to_its_run() -> None:
    seen: list[Any] = []

    async def who(context: Context) -> str:
        return f"{context.run_id} {context.node_id}"

    async def body(context: Context) -> ToolMessages:
        await run_tool_calls([call("who", {})], Tools(who), context=context)
        return await run_tool_calls([call("who", {}), call("whom", {})], Tools(who), context=context)

    result = in_a_node(body, run_id="outer", listeners=[seen.append])
    messages = result["agent"]
    assert codes(messages) == ["ok", "unknown_tool"]
    assert messages[0]["content"] == "outer agent/tool_calls#2/who[1]"
    assert messages.result.nodes["who[1]"].state == "succeeded"
    assert {event.run_id for event in seen} == {"outer"}


def test_limits_of_the_run_around_hold_and_so_does_the_cap() -> None:
    meters = {name: Meter() for name in ("api", "free", "four")}

    async def ask(number: int, meter: str = "api") -> int:
        with meters[meter]:
            await asyncio.sleep(1)
        return number

    tools = Tools(Tool(ask, name="api", uses="api"), Tool(ask, name="free"))
    by_api = [call("api", {"number": number}, f"c{number}") for number in range(20)]
    by_cap = [call("free", {"number": number, "meter": "free"}, f"c{number}") for number in range(40)]
    by_four = [call("free", {"number": number, "meter": "four"}, f"c{number}") for number in range(40)]

    async def body(context: Context) -> list[ToolMessages]:
        return [
            await run_tool_calls(by_api, tools, context=context),
            await run_tool_calls(by_cap, tools, context=context),
            await run_tool_calls(by_four, tools, context=context, max_concurrent=4),
        ]

    answers = in_a_node(body, limits={"api": 2})["agent"]
    assert [set(codes(each)) for each in answers] == [{"ok"}] * 3
    assert [meter.most for meter in meters.values()] == [2, 16, 4]


def test_a_failing_tool_does_not_end_the_run_around() -> None:
    """Although the run ends with its first failure."""

    async def fails() -> None:
        raise SystemExit(1)

    def worse(error: BaseException) -> None:
        raise SystemExit(2)

    async def worst(error: BaseException) -> None:
        raise SystemExit(3)

    tools = Tools(
        fails,
        Tool(fails, name="worse", fallback=worse),
        Tool(fails, name="worst", fallback=worst),
        Tool(slow, timeout=5),
    )

    async def body(context: Context) -> ToolMessages:
        calls = [call(name, {}) for name in ("fails", "worse", "worst")]
        calls += [call("slow", {"seconds": 60}), call("slow", {"seconds": 1}, "good")]
        return await run_tool_calls(calls, tools, context=context)

    result = in_a_node(body, on_error="cancel")
    assert result.status == "succeeded"
    assert codes(result["agent"]) == ["crashed", "crashed", "crashed", "timeout", "ok"]
    assert [told(each)["message"][-1] for each in result["agent"][:3]] == ["1", "2", "3"]


def test_a_thread_that_never_comes_back_does_not_end_the_run_around() -> None:
    release = threading.Event()

    def stuck() -> None:
        release.wait(60)

    def waits() -> str:
        return "done"

    graph = Graph("agent")

    @graph.node
    async def agent(context: Context) -> ToolMessages:
        calls = [call("stuck", {}), call("waits", {})]
        return await run_tool_calls(calls, Tools(stuck, waits), context=context, timeout=1.0)

    with nothing_left():
        result = graph.run(limits={"thread": 1}, grace=0.01)
        assert result.status == "succeeded"
        assert codes(result["agent"]) == ["timeout", "crashed"]
        release.set()


def test_tools_that_are_agents_themselves_do_not_wait_for_their_own_slot() -> None:
    async def agent(depth: int, context: Context) -> str:
        if depth == 0:
            return "bottom"
        (answer,) = await run_tool_calls(
            [call("agent", {"depth": depth - 1})], Tools(agent), context=context, max_concurrent=1
        )
        return f"{depth} {answer['content']}"

    async def body(context: Context) -> ToolMessages:
        calls = [call("agent", {"depth": 4}, "a"), call("agent", {"depth": 2}, "b")]
        return await run_tool_calls(calls, Tools(agent), context=context, max_concurrent=1)

    messages = in_a_node(body, max_concurrent=1)["agent"]
    assert [each["content"] for each in messages] == ["4 3 2 1 bottom", "2 1 bottom"]


def test_no_calls_inside_a_node() -> None:
    async def body(context: Context) -> ToolMessages:
        return await run_tool_calls([], Tools(slow), context=context)

    assert in_a_node(body)["agent"] == []


def test_a_cancel_of_the_run_around_ends_the_calls() -> None:
    ended: list[str] = []

    async def ask() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append("ask")

    async def body(context: Context) -> ToolMessages:
        return await run_tool_calls([call("ask", {}), call("ask", {}, "two")], Tools(ask), context=context)

    graph = Graph("agent")

    @graph.node
    async def agent(context: Context) -> Any:
        return await body(context)

    async def main() -> None:
        task = asyncio.ensure_future(graph.arun())
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with virtual_time() as clock:
        clock.run(main())
        assert clock.now <= 6
    assert ended == ["ask", "ask"]


def test_options_of_a_run_are_refused_inside_another() -> None:
    async def body(context: Context) -> Any:
        return await run_tool_calls([call("slow", {"seconds": 1})], Tools(slow), context=context, deadline=5)

    with pytest.raises(RunFailed) as failed:
        in_a_node(body)
    (error,) = failed.value.exceptions
    assert isinstance(error, GraphError)
    assert "deadline=" in str(error)


def test_a_context_needs_async_code() -> None:
    async def body(context: Context) -> Any:
        return run_tool_calls_sync([], Tools(slow), context=context)

    with pytest.raises(RunFailed) as failed:
        in_a_node(body)
    assert "only `await run_tool_calls" in str(failed.value.exceptions[0])


# ---------------------------------------------------------------------- approval


class Branches:
    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, name: str) -> str:
        """Delete a branch."""
        self.deleted.append(name)
        return f"deleted {name}"


def test_a_person_approves_before_the_call() -> None:
    branches = Branches()
    asked: list[Question] = []

    def person(question: Question) -> bool:
        asked.append(question)
        return "main" not in question.text

    calls = [
        call("delete", {"name": "old"}, "a"),
        call("delete", {"name": "main"}, "b"),
        call("slow", {"seconds": 1}, "c"),
    ]
    messages = run(calls, Tools(branches.delete, slow), approve=["delete"], ask=person)
    assert is_valid(calls, messages)
    assert codes(messages) == ["ok", "denied", "ok"]
    assert branches.deleted == ["old"]
    assert told(messages[1])["message"] == "The tool 'delete' was not called: a person was asked, and said no."
    # Each question is put in a thread of its own: their numbers say in which order they were asked.
    asked.sort(key=lambda question: question.number)
    assert [question.text for question in asked] == [
        'Run the tool \'delete\' with {"name": "old"}?',
        'Run the tool \'delete\' with {"name": "main"}?',
    ]
    assert {question.type for question in asked} == {bool}


def test_the_timeout_of_a_tool_does_not_include_the_person() -> None:
    branches = Branches()

    async def person(question: Question) -> bool:
        await asyncio.sleep(3600)
        return True

    meter = Meter()

    async def other(number: int) -> None:
        with meter:
            await asyncio.sleep(1)

    calls = [call("delete", {"name": "old"}, "a"), *[call("other", {"number": n}, f"c{n}") for n in range(5)]]
    tools = Tools(Tool(branches.delete, timeout=1), other)
    messages = run(calls, tools, approve="delete", ask=person, max_concurrent=1, timeout=10)
    assert codes(messages) == ["ok"] * 6
    assert messages.result is not None
    # While the person thinks, the one slot is free for the others.
    assert messages.result.nodes["other[6]"].ended_at - messages.result.nodes["other[6]"].started_at == 1  # type: ignore[operator]
    assert messages.result.makespan == 3600


def test_what_is_approved_is_said_by_a_predicate_of_the_checked_call() -> None:
    branches = Branches()
    seen: list[Any] = []

    def is_dangerous(made: ToolCall) -> bool:
        seen.append(made.arguments)
        return made.arguments["name"] == "main"

    messages = run(
        [call("delete", '{"name": "old"}', "a"), call("delete", '{"name": "main"}', "b")],
        Tools(branches.delete), approve=is_dangerous, ask=lambda question: False,
    )  # fmt: skip
    assert codes(messages) == ["ok", "denied"]
    assert seen == [{"name": "old"}, {"name": "main"}]


def test_a_predicate_that_raises_lets_nothing_pass() -> None:
    branches = Branches()
    messages = run(
        [call("delete", {"name": "old"})], Tools(branches.delete), approve=lambda made: 1 / 0, ask=lambda question: True
    )
    assert codes(messages) == ["denied"]
    assert isinstance(messages.results[0].error, ZeroDivisionError)
    assert branches.deleted == []


def test_all_calls_may_need_approval() -> None:
    branches = Branches()
    messages = run([call("delete", {"name": "x"})], Tools(branches.delete), approve=True, ask=lambda question: "yes")
    assert codes(messages) == ["ok"]
    assert codes(run([call("delete", {"name": "x"})], Tools(branches.delete), approve=False)) == ["ok"]


@pytest.mark.parametrize("says", ["raises", "nonsense"])
def test_where_nobody_answers_nothing_is_called(says: str) -> None:
    branches = Branches()

    def person(question: Question) -> Any:
        if says == "raises":
            raise OSError("went home")
        return "perhaps"

    calls = [call("delete", {"name": "old"}), call("slow", {"seconds": 1})]
    messages = run(calls, Tools(branches.delete, slow), approve=["delete"], ask=person)
    assert codes(messages) == ["denied", "ok"]
    assert isinstance(messages.results[0].error, OSError if says == "raises" else NobodyAnswers)
    assert branches.deleted == []


def test_the_run_around_has_the_person() -> None:
    branches = Branches()
    asked: list[str] = []

    def person(question: Question) -> bool:
        asked.append(question.text)
        return True

    async def body(context: Context) -> ToolMessages:
        calls = [call("delete", {"name": "old"}), call("slow", {"seconds": 1})]
        return await run_tool_calls(calls, Tools(branches.delete, slow), context=context, approve=["delete"])

    assert codes(in_a_node(body, ask=person)["agent"]) == ["ok", "ok"]
    assert len(asked) == 1
    messages = in_a_node(body)["agent"]
    assert codes(messages) == ["denied", "ok"]
    assert isinstance(messages.results[0].error, NobodyAnswers)
    assert branches.deleted == ["old"]


def test_equal_calls_are_approved_once() -> None:
    branches = Branches()
    asked: list[str] = []

    def person(question: Question) -> bool:
        asked.append(question.text)
        return True

    calls = [call("delete", {"name": "old"}, "a"), call("delete", {"name": "old"}, "b")]
    messages = run(calls, Tools(branches.delete), approve=True, ask=person, single_flight=True)
    assert codes(messages) == ["ok", "ok"]
    assert (len(asked), branches.deleted) == (1, ["old"])


def test_a_cancel_reaches_the_person() -> None:
    branches = Branches()
    ended: list[str] = []

    async def person(question: Question) -> bool:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("person")
        return True

    async def main() -> Any:
        task = asyncio.ensure_future(
            run_tool_calls([call("delete", {"name": "old"})], Tools(branches.delete), approve=True, ask=person)
        )
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as stop:
            await task
        return stop.value

    with virtual_time() as clock:
        stop = clock.run(main())
        assert clock.now < 11
    assert ended == ["person"]
    assert codes(stop.messages) == ["cancelled"]
    assert branches.deleted == []


def test_a_tool_that_takes_any_keyword_gets_only_its_own() -> None:
    got: list[dict[str, Any]] = []

    async def note(**fields: Any) -> str:
        got.append(fields)
        return "noted"

    def note_in_thread(**fields: Any) -> str:
        got.append(fields)
        return "noted"

    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    tools = Tools(Tool(note, parameters=schema), Tool(note_in_thread, parameters=schema))
    calls = [call("note", {"x": 1}), call("note_in_thread", {"x": 2})]
    messages = run(calls, tools, approve=True, ask=lambda question: True)
    assert [each["content"] for each in messages] == ["noted", "noted"]
    assert sorted(each["x"] for each in got) == [1, 2]
    assert all(len(each) == 1 for each in got)


def test_a_tool_with_a_condition_of_its_own() -> None:
    async def search(query: str) -> str:
        return query

    tools = Tools(Tool(search, when=lambda query: query != "secret"))
    messages = run([call("search", {"query": "x"}, "a"), call("search", {"query": "secret"}, "b")], tools)
    assert codes(messages) == ["ok", "denied"]
    assert "own condition" in told(messages[1])["message"]
    with pytest.raises(GraphError, match="cannot be approved too"):
        run([call("search", {"query": "x"})], tools, approve=True, ask=lambda question: True)
