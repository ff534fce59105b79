"""
A breaker stops calling what keeps failing: closed, open, half-open, for runs and threads at once.
"""

import asyncio
import copy
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antichain import (
    Backoff,
    Breaker,
    BreakerOpen,
    Context,
    Graph,
    GraphError,
    GraphNode,
    Node,
    ParallelGraphExecutor,
    ParallelStepExecutor,
    Retry,
    RunFailed,
    Step,
)
from antichain.runnable import describe
from antichain.testing import virtual_time


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Service:
    """What is called: it does what the script says, and counts."""

    def __init__(self, *script: BaseException | str) -> None:
        self.script = list(script)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        step = self.script.pop(0) if self.script else "up"
        if isinstance(step, BaseException):
            raise step
        return step


def down(number: int) -> list[BaseException]:
    return [ConnectionError(f"failure {n}") for n in range(1, number + 1)]


def fail(breaker: Breaker, times: int = 1, kind: type[BaseException] = ConnectionError) -> None:
    for _ in range(times):
        with pytest.raises(kind):
            breaker()


# -- states


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    service, clock = Service(*down(2), "up", *down(3)), Clock()
    breaker = Breaker(service, failures=3, recover_after=30.0, clock=clock)
    fail(breaker, 2)
    assert breaker() == "up"
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    assert service.calls == 6


def test_while_open_it_refuses_without_calling_and_says_why_and_how_long() -> None:
    error, clock = ConnectionError("no route"), Clock()
    service = Service(error)
    breaker = Breaker(service, failures=1, recover_after=30.0, clock=clock)
    fail(breaker)
    clock.now += 12
    with pytest.raises(BreakerOpen, match=r"'Service' was not called.*no route.*18 s") as caught:
        breaker()
    refusal = caught.value
    assert (refusal.name, refusal.seconds_left, refusal.retry_after) == ("Service", 18.0, 18.0)
    assert refusal.last_error is refusal.__cause__ is error is breaker.last_error
    assert breaker.seconds_left == 18.0
    assert service.calls == 1


def test_half_open_success_closes_it_and_the_count_starts_again() -> None:
    service, clock = Service(*down(2), "up", *down(1), "up"), Clock()
    breaker = Breaker(service, failures=2, recover_after=30.0, clock=clock)
    fail(breaker, 2)
    clock.now += 30
    assert breaker.state == "half_open"
    assert breaker() == "up"
    assert (breaker.state, breaker.last_error, breaker.seconds_left) == ("closed", None, 0.0)
    fail(breaker)
    assert breaker.state == "closed"


def test_half_open_failure_opens_it_for_the_whole_time_again() -> None:
    service, clock = Service(*down(3)), Clock()
    breaker = Breaker(service, failures=2, recover_after=30.0, clock=clock)
    fail(breaker, 2)
    clock.now += 31
    fail(breaker)
    assert (breaker.state, breaker.seconds_left) == ("open", 30.0)
    assert str(breaker.last_error) == "failure 3"


def test_errors_that_do_not_count() -> None:
    """Programming and validation errors say nothing about the service; on= says it otherwise."""

    class ParameterValidationError(ValueError):
        pass

    service = Service(TypeError("ours"), ParameterValidationError(), *down(1), TypeError("ours"))
    breaker = Breaker(service, failures=1, clock=Clock())
    fail(breaker, kind=TypeError)
    fail(breaker, kind=ParameterValidationError)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    for on, opens in ((KeyError, False), ((OSError, KeyError), True), (lambda error: "1" in str(error), True)):
        breaker = Breaker(Service(*down(1)), failures=1, on=on, clock=Clock())
        fail(breaker)
        assert breaker.state == ("open" if opens else "closed")


def test_a_try_that_tells_nothing_gives_its_place_back() -> None:
    clock = Clock()
    breaker = Breaker(Service(*down(1), TypeError("ours"), SystemExit(), "up"), 1, 30.0, clock=clock)
    fail(breaker)
    clock.now += 30
    fail(breaker, kind=TypeError)
    assert breaker.state == "half_open"
    fail(breaker, kind=SystemExit)
    assert breaker() == "up"


def test_a_condition_that_raises_gives_the_place_back_too() -> None:
    clock, answers = Clock(), [True, ZeroDivisionError(), True]

    def on(error: BaseException) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    breaker = Breaker(Service(*down(2), "up"), 1, 30.0, on=on, clock=clock)
    fail(breaker)
    clock.now += 30
    with pytest.raises(ZeroDivisionError) as caught:
        breaker()
    assert isinstance(caught.value.__context__, ConnectionError)
    assert breaker() == "up"


def test_reset_closes_and_forgets_what_is_under_way() -> None:
    clock, inner = Clock(), Service(*down(2))
    breaker: Breaker

    def service() -> str:
        if inner.calls == 1:
            breaker.reset()  # while this call, the try, is under way
        return inner()

    breaker = Breaker(service, 1, 30.0, clock=clock)
    fail(breaker)
    clock.now += 30
    fail(breaker)
    assert (breaker.state, breaker.last_error) == ("closed", None)


def test_a_clock_that_went_back_does_not_keep_it_open() -> None:
    """A breaker opened on one loop's virtual clock and used on the next, which starts at 0."""
    breaker = Breaker(Service(*down(1)), 1, 30.0)

    async def call_at(seconds: float) -> str:
        await asyncio.sleep(seconds)
        try:
            return str(breaker())
        except (ConnectionError, BreakerOpen) as error:
            return type(error).__name__

    with virtual_time() as clock:
        assert clock.run(call_at(1000)) == "ConnectionError"
    with virtual_time() as clock:
        assert [clock.run(call_at(seconds)) for seconds in (1, 28, 2)] == ["BreakerOpen", "BreakerOpen", "up"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Breaker(print, failures=0), "Breaker(failures=0): must be a whole number"),
        (lambda: Breaker(print, failures=True), "Breaker(failures=True)"),
        (lambda: Breaker(print, recover_after=-1), "must not be negative"),
        (lambda: Breaker(print, on="OSError"), "Breaker(on='OSError'): must be an exception type"),  # type: ignore[arg-type]
        (lambda: Breaker(7), "Breaker was given 7, which no node can run"),
        (lambda: Breaker(Graph("inner")), "Breaker was given graph 'inner'"),
    ],
)
def test_impossible_arguments_are_refused(make: Callable[[], Breaker], text: str) -> None:
    with pytest.raises(GraphError) as caught:
        make()
    assert text in str(caught.value)


def test_refusal_survives_pickle() -> None:
    refusal = BreakerOpen("ask", 3.0, ConnectionError("gone"))
    again = pickle.loads(pickle.dumps(refusal))
    assert (str(again), again.seconds_left, str(again.last_error)) == (str(refusal), 3.0, "gone")
    assert "one call is being tried" in str(BreakerOpen("ask", 0.0))


# -- one try, however many want to


def test_of_many_callers_at_once_one_is_let_through() -> None:
    calls = []

    async def ask(number: int) -> str:
        calls.append(number)
        await asyncio.sleep(5)
        if number < 1:
            raise ConnectionError
        return "up"

    async def main() -> None:
        breaker = Breaker(ask, 1, 30.0)
        await asyncio.gather(breaker(0), return_exceptions=True)
        await asyncio.sleep(30)
        answers = await asyncio.gather(*(breaker(number) for number in range(1, 51)), return_exceptions=True)
        assert calls == [0, 1]
        assert answers[0] == "up"
        assert all(isinstance(answer, BreakerOpen) and answer.seconds_left == 0.0 for answer in answers[1:])
        assert breaker.state == "closed"

    with virtual_time() as clock:
        clock.run(main())


def test_of_many_threads_at_once_one_is_let_through() -> None:
    clock, answers = Clock(), []
    go, others_were_refused = threading.Barrier(32), threading.Event()

    def ask(is_up: bool) -> str:
        if not is_up:
            raise ConnectionError
        assert others_were_refused.wait(10)
        return "up"

    breaker = Breaker(ask, 1, 30.0, clock=clock)

    def work() -> None:
        go.wait(10)
        try:
            answers.append(breaker(True))
        except BreakerOpen:
            answers.append("refused")
            if answers.count("refused") == 31:
                others_were_refused.set()

    for _ in range(5):
        with pytest.raises(ConnectionError):
            breaker(False)
        clock.now += 30
        answers.clear()
        others_were_refused.clear()
        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(answers) == ["refused"] * 31 + ["up"]
        assert breaker.state == "closed"


def test_a_cancelled_try_gives_its_place_to_the_next() -> None:
    async def ask(seconds: float) -> str:
        await asyncio.sleep(seconds)
        if seconds == 1:
            raise ConnectionError
        return "up"

    async def main() -> None:
        breaker = Breaker(ask, 1, 30.0)
        await asyncio.gather(breaker(1), return_exceptions=True)
        await asyncio.sleep(30)
        trying = asyncio.ensure_future(breaker(100))
        await asyncio.sleep(10)
        with pytest.raises(BreakerOpen):
            await breaker(2)
        trying.cancel()
        await asyncio.wait({trying})
        assert trying.cancelled()
        assert breaker.state == "half_open"
        assert await breaker(2) == "up"
        assert breaker.state == "closed"

    with virtual_time() as clock:
        clock.run(main())


def test_cancellations_are_not_counted() -> None:
    async def main() -> None:
        breaker = Breaker(asyncio.sleep, 1, 30.0, on=BaseException)
        for _ in range(5):
            task = asyncio.ensure_future(breaker(60))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait({task})
        assert breaker.state == "closed"

    with virtual_time() as clock:
        clock.run(main())


# -- against a model


class Model:
    """
    What a breaker should do, told call by call: a list of those whose endings matter, instead of eras.
    """

    def __init__(self, failures: int, recover_after: float) -> None:
        self.failures = failures
        self.recover_after = recover_after
        self.heard: list[int] = []
        self.row = 0
        self.open_until: float | None = None
        self.trying: int | None = None

    def begins(self, call: int, now: float) -> bool:
        if self.open_until is not None:
            if now < self.open_until or self.trying is not None:
                return False
            self.trying = call
        self.heard.append(call)
        return True

    def ends(self, call: int, how: str, now: float) -> None:
        if call not in self.heard:
            return
        self.heard.remove(call)
        was_trying, self.trying = self.trying == call, None if self.trying == call else self.trying
        if how == "up":
            self.row, self.open_until = 0, None
        elif how == "down":
            self.row += 1
            if was_trying or self.row == self.failures:
                self.row, self.open_until, self.heard = 0, now + self.recover_after, []

    @property
    def state_at(self) -> Callable[[float], str]:
        def state(now: float) -> str:
            if self.open_until is None:
                return "closed"
            return "half_open" if self.trying is not None or now >= self.open_until else "open"

        return state


# Begins at even instants, ends at odd ones, each its own; the breaker's own instants are at half ones.
CALLS = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda n: 2.0 * n),
        st.integers(0, 15).map(lambda n: 2.0 * n + 1),
        st.sampled_from(["up", "down", "down", "down", "cancelled", "no matter"]),
    ),
    max_size=30,
    unique_by=(lambda call: call[0], lambda call: call[0] + call[1]),
)


@given(CALLS, st.integers(1, 3), st.sampled_from([3.5, 10.5, 20.5]))
def test_any_schedule_goes_as_the_model_says(
    calls: list[tuple[float, float, str]], failures: int, recover_after: float
) -> None:
    told: list[tuple[float, int, str, str]] = []

    async def ask(how: str, seconds: float) -> None:
        await asyncio.sleep(1000 if how == "cancelled" else seconds)
        if how != "up":
            raise ConnectionError if how == "down" else TypeError

    async def main() -> None:
        breaker = Breaker(ask, failures, recover_after)
        loop = asyncio.get_running_loop()

        async def one(number: int, begin: float, seconds: float, how: str) -> None:
            await asyncio.sleep(begin)
            call = asyncio.ensure_future(breaker(how, seconds))
            if how == "cancelled":
                loop.call_later(seconds, call.cancel)
            try:
                await asyncio.wait({call}, timeout=0)
                if call.done() and isinstance(call.exception(), BreakerOpen):
                    told.append((loop.time(), number, "refused", breaker.state))
                    return
                told.append((loop.time(), number, "begins", breaker.state))
                await asyncio.wait({call})
                told.append((loop.time(), number, "ends", breaker.state))
            finally:
                if call.done() and not call.cancelled():
                    call.exception()

        await asyncio.gather(*(one(number, *call) for number, call in enumerate(calls)))

    with virtual_time() as clock:
        clock.run(main())

    model = Model(failures, recover_after)
    expected: list[tuple[float, int, str, str]] = []
    instants = [(begin, number, "begins") for number, (begin, _, _) in enumerate(calls)]
    instants += [(begin + seconds, number, "ends") for number, (begin, seconds, _) in enumerate(calls)]
    refused = set()
    for now, number, what in sorted(instants):
        if what == "begins":
            if not model.begins(number, now):
                refused.add(number)
            verdict = "refused" if number in refused else "begins"
            expected.append((now, number, verdict, model.state_at(now)))
        elif number not in refused:
            model.ends(number, calls[number][2], now)
            expected.append((now, number, "ends", model.state_at(now)))
    assert told == expected


# -- what it may be around, and where it may be used


async def coroutine(q: str, ctx: Context, k: int = 3) -> str:
    return f"{q}{k}{ctx.node_id}"


def function(q: str, *, k: int = 3) -> str:
    return f"{q}{k}"


def generator(q: str) -> Iterator[str]:
    yield from q


async def async_generator(q: str) -> AsyncIterator[str]:
    for letter in q:
        yield letter


class Invoked:
    name, description, args_schema = "search", "Searches.", {"type": "object"}

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def invoke(self, given: Any) -> str:
        if self.error is not None:
            raise self.error
        return f"invoked {given}"


class Awaited(Invoked):
    async def ainvoke(self, given: Any) -> str:
        return self.invoke(given)


@pytest.mark.parametrize(
    "runnable", [coroutine, function, generator, async_generator, Invoked(), Awaited(), Invoked().invoke, dict, int]
)
def test_it_is_bound_as_what_it_wraps(runnable: Any) -> None:
    breaker = Breaker(runnable)
    assert describe(breaker) == describe(runnable)
    assert describe(breaker.wrap(runnable)) == describe(runnable)
    for name in ("__name__", "__doc__", "name", "description", "args_schema", "__annotations__"):
        assert getattr(breaker, name, None) == getattr(runnable, name, None)


def test_every_form_works_as_a_node_and_opens() -> None:
    graph = Graph("forms")
    for wrapped in (coroutine, function, generator, async_generator):
        graph.add(wrapped.__name__, Breaker(wrapped))
    graph.add("invoked", Breaker(Invoked()), inputs=graph["function"])
    graph.add("awaited", Breaker(Awaited()), inputs=graph["function"])
    graph.add("lambda", Breaker(lambda q: asyncio.sleep(0, q + "!")))
    result = graph.run(q="tea")
    assert dict(result) == {
        "coroutine": "tea3coroutine",
        "function": "tea3",
        "generator": ["t", "e", "a"],
        "async_generator": ["t", "e", "a"],
        "invoked": "invoked tea3",
        "awaited": "invoked tea3",
        "lambda": "tea!",
    }


def broken_forms() -> list[Any]:
    async def coroutine() -> None:
        raise ConnectionError

    def function() -> None:
        raise ConnectionError

    def generator() -> Iterator[int]:
        yield 1
        raise ConnectionError

    async def async_generator() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError

    return [coroutine, function, generator, async_generator, lambda: coroutine()]


@pytest.mark.parametrize("form", range(5))
def test_a_failure_of_any_form_counts(form: int) -> None:
    breaker = Breaker(broken_forms()[form], failures=2, clock=Clock())
    graph = Graph("broken")
    graph.add("node", breaker)
    for expected in (ConnectionError, ConnectionError, BreakerOpen):
        with pytest.raises(RunFailed) as caught:
            graph.run()
        assert type(caught.value.exceptions[0]) is expected
    assert breaker.state == "open"


@pytest.mark.parametrize("invoked", [Invoked, Awaited])
def test_a_failure_of_an_invoked_object_counts(invoked: type[Invoked]) -> None:
    breaker: Any = Breaker(invoked(ConnectionError()), failures=1, clock=Clock())
    with pytest.raises(ConnectionError):
        breaker.invoke(1)
    with pytest.raises(BreakerOpen):
        asyncio.run(breaker.ainvoke(1)) if invoked is Awaited else breaker.invoke(1)
    assert hasattr(breaker, "ainvoke") == (invoked is Awaited)


def test_a_coroutine_that_is_never_awaited_takes_no_place() -> None:
    clock, calls = Clock(), []

    async def ask() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        return "up"

    breaker = Breaker(lambda: ask(), 1, 30.0, clock=clock)
    with pytest.raises(ConnectionError):
        asyncio.run(breaker())
    clock.now += 30
    ours, theirs = breaker(), breaker()  # neither has begun, so both may still be the one
    theirs.close()
    assert breaker.state == "half_open"
    assert asyncio.run(ours) == "up"
    assert breaker.state == "closed"


def test_a_generator_that_is_left_gives_its_place_back() -> None:
    clock, is_up = Clock(), []

    def chunks() -> Iterator[int]:
        yield 1
        if not is_up:
            raise ConnectionError
        yield 2

    breaker = Breaker(chunks, 1, 30.0, clock=clock)
    with pytest.raises(ConnectionError):
        list(breaker())
    clock.now += 30
    is_up.append(True)
    left = breaker()
    assert next(left) == 1
    with pytest.raises(BreakerOpen):
        list(breaker())
    left.close()
    assert breaker.state == "half_open"
    assert list(breaker()) == [1, 2]


def test_one_breaker_for_several_functions() -> None:
    clock = Clock()
    search = Breaker(Service(*down(1)), failures=2, recover_after=30.0, clock=clock)
    fetch = search.wrap(Service(*down(1), "up"))
    fail(search)
    fail(fetch)
    assert search.state == fetch.state == "open"
    with pytest.raises(BreakerOpen):
        search()
    clock.now += 30
    assert fetch() == "up"
    assert search.state == "closed"


def test_in_a_class_it_is_a_method_and_one_for_all_instances() -> None:
    """Where a function would be bound; a static method is not."""

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        @partial(Breaker, failures=2, recover_after=60)
        async def ask(self, question: str) -> str:
            """Ask."""
            if question == "why?":
                raise ConnectionError(self.name)
            return f"{self.name}: {question}"

        @Breaker
        def tokens(self) -> Iterator[str]:
            yield self.name

        @Breaker
        @staticmethod
        def shout(text: str) -> str:
            return text.upper()

    first, second = Client("first"), Client("second")
    assert list(first.tokens()) == ["first"]
    assert first.shout("hey") == Client.shout("hey") == "HEY"
    found = describe(first.ask)
    assert found is not None
    assert (found.form, [each.name for each in found.parameters]) == ("coroutine", ["question"])
    graph = Graph("clients", on_error="continue")
    graph.add("answer", first.ask)
    assert graph.run(question="how?")["answer"] == "first: how?"
    for client in (first, second):
        with pytest.raises(ConnectionError, match=client.name):
            asyncio.run(client.ask("why?"))
    assert Client.ask.state == first.ask.state == "open"
    with pytest.raises(BreakerOpen, match="'ask' was not called"):
        asyncio.run(second.ask("how?"))


def test_a_copy_of_a_graph_has_the_same_breaker() -> None:
    guarded = Breaker(Service(*down(1)), failures=1)
    graph = Graph("copied", on_error="continue")
    graph.add("ask", guarded)
    assert "ask" not in copy.deepcopy(graph).run()
    assert guarded.state == "open"
    assert copy.copy(guarded) is guarded


def test_nothing_derives_from_it() -> None:
    with pytest.raises(TypeError, match="class Own cannot derive from Breaker"):
        type("Own", (Breaker,), {"__module__": __name__})


def test_a_node_may_be_wrapped_and_still_is_a_node_elsewhere() -> None:
    graph = Graph("one")

    @graph.node
    async def ask(q: str) -> str:
        return q

    assert isinstance(ask, Node)
    assert describe(Breaker(ask)) == describe(ask.runnable)


def test_executors_and_shared_state_between_runs() -> None:
    service = Service(*down(2))
    breaker = Breaker(service, failures=2)
    executor = ParallelGraphExecutor()
    executor.add_node(GraphNode("a", breaker))
    for _ in range(2):
        with pytest.raises(RunFailed):
            executor.execute_sync()
    with pytest.raises(RunFailed) as caught:
        ParallelStepExecutor([Step("b", breaker)]).execute_sync()
    assert isinstance(caught.value.exceptions[0], BreakerOpen)
    assert service.calls == 2


def test_a_retry_waits_until_a_call_is_let_through() -> None:
    """A refusal carries how long: the node's next attempt is the one that tries, and no attempt is wasted."""
    instants = []

    async def ask() -> str:
        instants.append(asyncio.get_running_loop().time())
        if len(instants) < 3:
            raise ConnectionError
        return "up"

    graph = Graph("patient")
    breaker = Breaker(ask, failures=2, recover_after=30.0)
    graph.add("ask", breaker, retry=Retry(attempts=4, backoff=Backoff(initial=1.0, factor=1.0, jitter=False)))
    with virtual_time() as clock:
        result = clock.run(graph.arun())
    assert result["ask"] == "up"
    assert result.nodes["ask"].attempts == 4
    # The third attempt, at 2 s, is refused: 29 s are left of the 30 since the failure at 1 s.
    assert instants == [0.0, 1.0, 31.0]


def test_many_nodes_fail_fast_while_it_is_open() -> None:
    """Of a hundred nodes under a limit of two, only as many ask a dead service as it takes to notice."""
    asked = []

    async def ask(item: int) -> int:
        asked.append(item)
        await asyncio.sleep(1)
        raise ConnectionError("down")

    graph = Graph("wide")
    graph.map("asks", Breaker(ask, failures=4), over=list(range(100)), max_concurrent=2, fallback=-1)
    with virtual_time() as clock:
        result = clock.run(graph.arun())
        assert clock.now == 2.0
    assert result["asks"] == [-1] * 100
    assert asked == [0, 1, 2, 3]
