"""
The fake provider as a server: it starts and stops, limits, fails by script, and its log is what really happened.
"""

import ast
import asyncio
import email.utils
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import antichain.testing.provider
from antichain.testing import Failure, FakeProvider, LogEntry, Quota, Reply, Request, RetryAfter, ToolCall
from tests.support.calls import Got, chat, post, say, send
from tests.support.leftovers import nothing_left, our_threads, wait_until

SOURCE = Path(antichain.testing.provider.__file__).parent


def entries(provider: FakeProvider) -> list[LogEntry]:
    provider.wait_idle(30)
    return provider.log


# -- what it may know


def foreign_imports(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    mine = ("antichain.testing.provider", "antichain.errors")
    return [name for name in found if name.split(".")[0] == "antichain" and not name.startswith(mine)]


def test_it_shares_nothing_with_the_limits_it_tests() -> None:
    """Of the package it may import its errors, and itself."""
    assert {path.name: foreign_imports(path.read_text()) for path in SOURCE.glob("*.py")} == {
        path.name: [] for path in SOURCE.glob("*.py")
    }


@pytest.mark.parametrize(
    "line", ["from antichain.policies.limits import SharedLimit", "import antichain.core", "from antichain import run"]
)
def test_a_forbidden_import_would_be_seen(line: str) -> None:
    assert len(foreign_imports(f"def f():\n    {line}")) == 1


def test_aiohttp_is_loaded_on_first_use_and_named_when_it_is_missing() -> None:
    code = (
        "import sys; import antichain.testing as t; p = t.FakeProvider(); assert 'aiohttp' not in sys.modules\n"
        "sys.modules['aiohttp'] = None\n"
        "try:\n    p.start()\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'antichain[demo]'" in done.stdout


# -- life


def test_it_leaves_nothing() -> None:
    with nothing_left():
        with FakeProvider() as provider:
            port = provider.port
            assert provider.url == f"http://127.0.0.1:{port}/v1"
            assert say(provider).status == 200
            assert [thread.name for thread in our_threads()] == ["antichain-provider"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
    assert len(provider.log) == 1


def test_async_with_leaves_nothing_and_does_not_block_the_loop() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async with FakeProvider() as provider, aiohttp.ClientSession() as session:
            assert ticks > 0
            async with session.post(f"{provider.url}/chat/completions", json=chat()) as response:
                assert response.status == 200
            before = ticks
        assert ticks > before
        ticking.cancel()
        await asyncio.wait([ticking])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with nothing_left():
        asyncio.run(main())


OPEN_FOR_LONG: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"latency": 600}, {}),
    ({"failures": Failure("hang")}, {}),
    ({"failures": Failure("stall")}, {}),
    ({"failures": Failure("stall")}, {"stream": True}),
    ({"failures": Failure("slow", seconds=600)}, {}),
    ({"pace": 600}, {"stream": True}),
    ({"allowed": 0, "queue": True}, {}),
]


@pytest.mark.parametrize(("settings", "fields"), OPEN_FOR_LONG)
def test_it_stops_with_calls_in_flight(settings: dict[str, Any], fields: dict[str, Any]) -> None:
    with nothing_left():
        with FakeProvider(**settings) as provider, ThreadPoolExecutor(5) as threads:
            calls = [threads.submit(say, provider, f"Call {number}.", **fields) for number in range(5)]
            assert wait_until(lambda: len(provider.log) == 5 and all(e.body for e in provider.log), 30)
            begun = time.monotonic()
            provider.stop()
            took = time.monotonic() - begun
            for call in calls:
                with pytest.raises((http.client.HTTPException, ConnectionError)):
                    call.result(30)
        assert {entry.outcome for entry in provider.log} == {"stopped"}
        assert took < 5  # 10 ms on a machine at rest; 6 s if the calls were not cancelled


def test_starting_twice_is_refused_and_a_stopped_one_comes_back_where_it_was() -> None:
    with FakeProvider() as provider:
        with pytest.raises(RuntimeError, match="already running at http://127"):
            provider.start()
        port = provider.port
        say(provider)
    with provider:
        assert provider.port == port
        say(provider)
    assert [entry.outcome for entry in provider.log] == ["answered", "answered"]


def test_a_taken_port_is_an_error_and_leaves_nothing() -> None:
    with nothing_left(), FakeProvider() as provider:
        other = FakeProvider(port=provider.port)
        with pytest.raises(OSError, match="in use"):
            other.start()

        async def enter() -> None:
            async with other:
                pytest.fail("two servers on one port")

        with pytest.raises(OSError, match="in use"):
            asyncio.run(enter())
        assert len(our_threads()) == 1


def test_it_has_no_url_before_it_starts() -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = FakeProvider().url


BAD_SETTINGS: list[tuple[str, Any]] = [
    ("latency", -1),
    ("latency", (2, 1)),
    ("latency", "fast"),
    ("latency", None),
    ("pace", float("inf")),
    ("allowed", -1),
    ("allowed", 2.5),
    ("allowed", True),
    ("retry_after", "soon"),
    ("quota", 5),
    ("failures", ["500"]),
    ("models", "gpt"),
    ("dimensions", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_a_wrong_setting_is_refused_at_once(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        FakeProvider(**{name: value})
    provider = FakeProvider()
    before = getattr(provider, name)
    with pytest.raises(ValueError, match=name):
        setattr(provider, name, value)
    assert getattr(provider, name) == before


def test_a_setting_that_does_not_exist_is_refused() -> None:
    provider: Any = FakeProvider()
    with pytest.raises(AttributeError, match=r"no setting 'alowed'.*allowed"):
        provider.alowed = 3


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Failure(200), "status from 400 to 599"),
        (lambda: Failure("explode"), "'hang', 'drop'"),
        (lambda: Failure(500, share=2), "probability"),
        (lambda: Quota(), "limits nothing"),
        (lambda: Quota(requests=0), "whole number from 1"),
        (lambda: Quota(requests=1, per=0), "above 0"),
        (lambda: RetryAfter(1, sent_as="minutes"), "retry-after-ms, date"),
    ],
)
def test_a_wrong_script_is_refused_at_once(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_it_runs_alone() -> None:
    """`python -m` prints the URL, serves, and says at the end what happened."""
    command = [
        sys.executable,
        "-m",
        "antichain.testing.provider",
        "--allowed",
        "8",
        "--latency",
        "0,0.01",
        "--fail",
        "503",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        alone = FakeProvider(port=int(url.removesuffix("/v1").rsplit(":")[-1]))
        assert say(alone).status == 503
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "1 calls, at most 1 at once: 1 failed\n"
    assert process.returncode == 0


# -- limits, and the log as the truth


async def many(provider: FakeProvider, bodies: list[dict[str, Any]], at_once: int | None = None) -> list[Got]:
    """Make all calls, all at once or as many as a client allows itself; return them in order."""
    own = asyncio.Semaphore(at_once or len(bodies))

    async def one(session: aiohttp.ClientSession, body: dict[str, Any]) -> Got:
        async with own, session.post(f"{provider.url}/chat/completions", json=body) as response:
            return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(session, body) for body in bodies))


def most_at_once(log: list[LogEntry]) -> int:
    """Work it out from the times of the entries."""
    changes = [(entry.started_at, 1) for entry in log if entry.started_at is not None]
    changes += [(entry.ended_at, -1) for entry in log if entry.started_at is not None and entry.ended_at is not None]
    return max(itertools.accumulate(change for _, change in sorted(changes)))


def test_the_log_is_what_200_callers_at_once_saw() -> None:
    with FakeProvider(allowed=8, latency=(0.01, 0.05), retry_after=3) as provider:
        got = asyncio.run(many(provider, [chat(f"Question {number}.") for number in range(200)]))
        log = entries(provider)
    assert len(log) == 200
    seen = Counter(each.status for each in got)
    assert seen == Counter(entry.status for entry in log)
    assert seen[200] + seen[429] == 200
    assert seen[200] >= 8
    assert provider.count(429) == seen[429] == provider.count(outcome="refused") > 0
    assert provider.peak == 8
    assert most_at_once(log) == 8
    by_number = {f"req_{entry.number}": entry for entry in log}
    for each, number in zip(got, range(200), strict=True):
        entry = by_number[each.headers["x-request-id"]]
        assert entry.body == chat(f"Question {number}.")
        assert entry.status == each.status
        if each.status == 200:
            assert entry.tokens.total == each.json["usage"]["total_tokens"]
            assert entry.in_flight < 8
        else:
            assert entry.in_flight == 8
            assert entry.tokens.total == 0
            assert (entry.started_at, entry.turn, entry.retry_after) == (None, None, 3)
            assert each.headers["retry-after"] == "3"
            assert each.error["code"] == "rate_limit_exceeded"
    assert sorted(entry.turn for entry in log if entry.turn) == list(range(1, seen[200] + 1))


def test_a_client_that_keeps_within_the_limit_is_never_refused() -> None:
    """The place is free before the answer is out, so there is no gap in which it could be refused."""
    with FakeProvider(allowed=8, latency=(0, 0.002)) as provider:
        bodies = [chat(f"Question {number}.", stream=number % 2 == 0) for number in range(600)]
        assert {each.status for each in asyncio.run(many(provider, bodies, at_once=8))} == {200}
        with ThreadPoolExecutor(8) as threads:
            got = list(threads.map(lambda number: say(provider, f"Sync {number}."), range(200)))
        assert {each.status for each in got} == {200}
        assert len(provider.log) == 800
        assert provider.count(outcome="answered") == 800
        assert provider.peak == 8
        assert provider.in_flight == 0


def test_a_queue_lets_in_one_after_the_other_in_order_of_arrival() -> None:
    with FakeProvider(allowed=3, queue=True, latency=0.03) as provider:
        got = asyncio.run(many(provider, [chat(f"Question {number}.") for number in range(30)]))
        log = entries(provider)
    assert {each.status for each in got} == {200}
    assert provider.peak == most_at_once(log) == 3
    assert [entry.turn for entry in log] == list(range(1, 31))
    assert sum(1 for entry in log if (entry.waited or 0) > 0.004) >= 20


def test_a_waiter_that_leaves_the_queue_takes_no_place() -> None:
    async def main(provider: FakeProvider) -> None:
        async with aiohttp.ClientSession() as session:

            async def one(prompt: str) -> int:
                async with session.post(f"{provider.url}/chat/completions", json=chat(prompt)) as response:
                    return response.status

            first = asyncio.create_task(one("First."))
            while provider.in_flight < 1:
                await asyncio.sleep(0.001)
            second = asyncio.create_task(one("Second."))
            while len(provider.log) < 2:
                await asyncio.sleep(0.001)
            third = asyncio.create_task(one("Third."))
            while len(provider.log) < 3:
                await asyncio.sleep(0.001)
            second.cancel()
            while provider.count(outcome="client left") < 1:
                await asyncio.sleep(0.001)
            first.cancel()
            provider.failures = ()
            assert await third == 200

    with FakeProvider(allowed=1, queue=True, failures=Failure("hang", when="First")) as provider:
        asyncio.run(main(provider))
        assert [entry.outcome for entry in entries(provider)] == ["client left", "client left", "answered"]
        assert [entry.turn for entry in provider.log] == [1, None, 2]
        assert provider.in_flight == 0


def test_more_may_be_allowed_while_it_runs() -> None:
    with FakeProvider(allowed=0, queue=True, latency=0.5) as provider, ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(say, provider, f"Call {number}.") for number in range(6)]
        assert wait_until(lambda: len(provider.log) == 6, 30)
        assert provider.in_flight == 0
        provider.allowed = 2
        assert wait_until(lambda: provider.in_flight == 2, 30)
        provider.allowed = None
        assert [call.result(30).status for call in calls] == [200] * 6
        assert provider.peak > 2


def test_fewer_may_be_allowed_while_it_runs() -> None:
    with FakeProvider(latency=600) as provider, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(say, provider, f"Call {number}.") for number in range(4)]
        assert wait_until(lambda: provider.in_flight == 4, 30)
        provider.allowed = 2
        assert say(provider).status == 429
        assert provider.in_flight == 4  # nobody is thrown out
        assert provider.log[-1].in_flight == 4
        provider.stop()
        for call in calls:
            assert isinstance(call.exception(30), http.client.HTTPException | ConnectionError)


def test_retry_after_has_three_forms() -> None:
    with FakeProvider(allowed=0) as provider:
        got = say(provider)
        assert got.status == 429
        assert {"retry-after", "retry-after-ms"} & set(got.headers) == set()
        provider.retry_after = 2.5
        assert say(provider).headers["retry-after"] == "2.5"
        provider.retry_after = RetryAfter(0.25, sent_as="retry-after-ms")
        got = say(provider)
        assert got.headers["retry-after-ms"] == "250"
        assert "retry-after" not in got.headers
        provider.retry_after = RetryAfter(30, sent_as="date")
        date = email.utils.parsedate_to_datetime(say(provider).headers["retry-after"])
        assert 0 < date.timestamp() - time.time() <= 31
        provider.retry_after = RetryAfter()
        assert say(provider).headers["retry-after"] == "1"
        assert [entry.retry_after for entry in provider.log] == [None, 2.5, 0.25, 30, 1]


def test_a_quota_of_requests() -> None:
    with FakeProvider(quota=Quota(requests=3, per=3600), retry_after=RetryAfter()) as provider:
        got = [say(provider) for _ in range(5)]
        assert [each.status for each in got] == [200, 200, 200, 429, 429]
        assert [each.headers["x-ratelimit-remaining-requests"] for each in got] == ["2", "1", "0", "0", "0"]
        assert got[0].headers["x-ratelimit-limit-requests"] == "3"
        assert got[3].error["type"] == "requests"
        assert 3000 < float(got[3].headers["retry-after"]) <= 3600
        provider.quota = ()
        assert say(provider).status == 200
        provider.quota = Quota(requests=1, per=3600)
        assert [say(provider).status for _ in range(2)] == [200, 429]
        provider.reset()
        assert say(provider).status == 200


def test_a_quota_of_tokens_is_charged_what_was_used() -> None:
    with FakeProvider(reply="One two.", quota=Quota(tokens=100, per=3600)) as provider:
        first = say(provider, max_tokens=80)
        used = first.json["usage"]["total_tokens"]
        assert used < 30
        assert int(first.headers["x-ratelimit-remaining-tokens"]) < 20  # what it may use is kept free for it …
        second = say(provider, max_tokens=100 - used - 10)  # … until it is known what it did use
        assert second.status == 200
        third = say(provider, max_tokens=90)
        assert third.status == 429
        assert third.error["type"] == "tokens"
        assert sum(entry.tokens.total for entry in provider.log) <= 100


def test_a_request_above_the_quota_is_told_so_and_not_when_to_come_again() -> None:
    with FakeProvider(quota=Quota(tokens=50), retry_after=RetryAfter()) as provider:
        got = say(provider, max_tokens=51)
        assert got.status == 429
        assert "too large" in got.error["message"]
        assert "retry-after" not in got.headers


def test_a_quota_frees_itself() -> None:
    with FakeProvider(quota=Quota(requests=2, per=0.1), retry_after=RetryAfter()) as provider:
        begun = time.monotonic()
        while provider.count(200) < 6:
            got = say(provider)
            if got.status == 429:
                time.sleep(float(got.headers["retry-after"]))
        assert time.monotonic() - begun >= 0.2
        let_in = [entry.started_at for entry in provider.log if entry.started_at]
        for earlier, later in zip(let_in, let_in[2:], strict=False):
            assert later - earlier >= 0.05


def test_reset_begins_again() -> None:
    with FakeProvider(reply=["one", "two"], failures=Failure(500, attempts=2)) as provider:
        assert say(provider).text == "one"
        assert say(provider).status == 500
        provider.reset()
        assert (provider.log, provider.peak, provider.count()) == ([], 0, 0)
        assert say(provider).text == "one"
        assert [(entry.number, entry.turn, entry.attempt) for entry in provider.log] == [(1, 1, 1)]


def test_a_call_over_a_reset_is_in_no_log_and_keeps_its_place() -> None:
    with FakeProvider(allowed=1, latency=600) as provider, ThreadPoolExecutor(1) as threads:
        call = threads.submit(say, provider)
        assert wait_until(lambda: provider.in_flight == 1, 30)
        provider.reset()
        assert (provider.log, provider.in_flight, provider.peak) == ([], 1, 1)
        assert say(provider).status == 429
        provider.stop()
        assert isinstance(call.exception(30), http.client.HTTPException | ConnectionError)
        assert [entry.status for entry in provider.log] == [429]
        assert provider.in_flight == 0


def test_waiting_until_it_is_idle_names_what_is_open() -> None:
    with FakeProvider(failures=Failure("hang")) as provider, ThreadPoolExecutor(1) as threads:
        call = threads.submit(say, provider)
        assert wait_until(lambda: provider.in_flight == 1, 30)
        with pytest.raises(TimeoutError, match=r"1 calls are open after 0\.01 s: 1 /v1/chat/completions"):
            provider.wait_idle(0.01)
        assert provider.log[0].outcome == "open"
        assert (provider.log[0].status, provider.log[0].ended_at, provider.log[0].took) == (None, None, None)
        provider.stop()
        assert call.exception(30) is not None


def test_latency_is_kept() -> None:
    with FakeProvider(latency=lambda request: 0.05 if "slow" in request.prompt else 0) as provider:
        say(provider, "slow")
        say(provider, "quick")
        slow, quick = (entry.took for entry in provider.log)
        assert slow is not None
        assert quick is not None
        assert slow >= 0.05
        assert quick < slow
        provider.latency = 0.0
        provider.first_chunk, provider.pace = 0.02, 0.01
        got = say(provider, "One two three four.", stream=True)
        entry = provider.log[-1]
        assert entry.took is not None
        assert entry.took >= 0.02 + 0.01 * 6
        assert len(got.events) + 1 == entry.chunks


# -- what goes wrong


def test_a_scripted_status() -> None:
    failures = [
        Failure(529, when="crowd", retry_after=4, message="Too many people."),
        Failure(503, when=lambda request: request.body.get("temperature") == 1),
        Failure(500, calls=range(3, 5)),
    ]
    with FakeProvider(failures=failures) as provider:
        crowd = say(provider, "a crowd")
        assert (crowd.status, crowd.error["message"], crowd.headers["retry-after"]) == (529, "Too many people.", "4")
        assert say(provider, temperature=1).status == 503
        assert [say(provider).status for _ in range(3)] == [500, 500, 200]
        assert [entry.fault for entry in provider.log] == ["529", "503", "500", "500", None]
        assert [entry.outcome for entry in provider.log] == ["failed"] * 4 + ["answered"]


def test_a_failed_call_uses_no_reply() -> None:
    failures = [Failure(503, calls=1), Failure("malformed", calls=[4, 5]), Failure("slow", seconds=0, calls=6)]
    with FakeProvider(reply=["one", Failure(500), "two", "three"], failures=failures) as provider:
        assert say(provider).status == 503
        assert say(provider).text == "one"
        assert say(provider).status == 500
        assert [b"two" in say(provider, stream=True).raw for _ in range(2)] == [True, True]  # begun, and not arrived
        assert [say(provider).text for _ in range(2)] == ["two", "three"]


def test_a_drop_is_seen_as_one() -> None:
    with FakeProvider(failures=Failure("drop")) as provider:
        with pytest.raises(http.client.RemoteDisconnected):
            say(provider)
        (entry,) = entries(provider)
        assert (entry.outcome, entry.status, entry.fault, entry.tokens.total) == ("failed", None, "drop", 0)


def test_a_cut_is_seen_as_one() -> None:
    with FakeProvider(failures=Failure("cut"), reply="One two three four five six.") as provider:
        with pytest.raises(http.client.IncompleteRead) as plain:
            say(provider)
        assert plain.value.partial.startswith(b'{"id":"chatcmpl-')
        with pytest.raises(http.client.IncompleteRead) as stream:
            say(provider, stream=True)
        events = stream.value.partial.decode().split("\n\n")
        first, second = entries(provider)
        assert (first.outcome, first.status, second.outcome, second.status) == ("failed", 200, "failed", 200)
        assert second.chunks == len(events) - 1 == 4
        assert second.tokens.completion == second.chunks - 1
        assert second.tokens.completion < first.tokens.completion


@pytest.mark.parametrize("kind", ["hang", "stall"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_silence_ends_when_the_client_leaves(kind: str, is_stream: bool) -> None:
    with FakeProvider(failures=Failure(kind)) as provider:  # type: ignore[arg-type]
        connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(chat(stream=is_stream)))
        if kind == "stall":
            response = connection.getresponse()
            assert response.status == 200
            assert response.read(5)
            response.close()
        else:
            assert wait_until(lambda: provider.in_flight == 1, 30)
        assert provider.log[0].outcome == "open"
        connection.close()
        (entry,) = entries(provider)
        assert (entry.outcome, entry.fault, provider.in_flight) == ("client left", kind, 0)
        assert entry.status == (None if kind == "hang" else 200)


def test_a_client_that_leaves_a_stream_is_charged_what_was_sent() -> None:
    with FakeProvider(pace=600, first_chunk=0, reply="One two three.") as provider:
        connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(chat(stream=True)))
        response = connection.getresponse()
        assert response.readline().startswith(b"data: ")
        response.close()
        connection.close()
        (entry,) = entries(provider)
        assert (entry.outcome, entry.chunks, entry.tokens.completion) == ("client left", 1, 0)


def test_malformed_answers_are_complete_and_broken() -> None:
    with FakeProvider(failures=Failure("malformed")) as provider:
        got = say(provider)
        assert got.status == 200
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            _ = got.json
        streamed = say(provider, "One two three four.", stream=True)
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            _ = streamed.events
        assert streamed.raw.endswith(b"data: [DONE]\n\n")
        assert [entry.outcome for entry in provider.log] == ["failed", "failed"]


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_slow_body_comes_in_the_end(is_stream: bool) -> None:
    with FakeProvider(failures=Failure("slow", seconds=0.1)) as provider:
        got = say(provider, stream=is_stream)
        assert got.events if is_stream else got.text == "Hello."
        (entry,) = provider.log
        assert entry.outcome == "answered"
        assert entry.took is not None
        assert entry.took >= 0.1


def test_cancelled_clients_are_in_the_log() -> None:
    """50 calls in flight, all cancelled: every one ends as left, none comes after."""

    async def main(provider: FakeProvider) -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            url = f"{provider.url}/chat/completions"
            calls = [
                asyncio.create_task(session.post(url, json=chat(f"{number}")).__aenter__()) for number in range(50)
            ]
            while provider.in_flight < 50:
                await asyncio.sleep(0.001)
            cancelled_at = time.monotonic()
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        return cancelled_at

    with FakeProvider(latency=600) as provider:
        cancelled_at = asyncio.run(main(provider))
        log = entries(provider)
        assert {entry.outcome for entry in log} == {"client left"}
        assert max(entry.arrived_at for entry in log) < cancelled_at
        assert min(entry.ended_at or 0 for entry in log) > cancelled_at
        assert provider.in_flight == 0


# -- what is refused


def refusals() -> Iterator[tuple[str, Any, int, str | None]]:
    user = {"role": "user", "content": "Hi."}
    called = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asks = {"role": "assistant", "content": None, "tool_calls": [called]}
    answers = {"role": "tool", "tool_call_id": "c1", "content": "1"}
    tool = {"type": "function", "function": {"name": "f"}}
    chats: list[tuple[dict[str, Any], str | None]] = [
        ({"messages": []}, "messages"),
        ({"messages": "Hi."}, "messages"),
        ({"messages": ["Hi."]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [user, asks]}, "messages.[2].role"),
        ({"messages": [user, asks, user]}, "messages.[2].role"),
        ({"messages": [user, answers]}, "messages.[1].role"),
        ({"messages": [user, asks, answers, answers]}, "messages.[3].role"),
        ({"messages": [user, {**asks, "tool_calls": [{"id": "c1"}]}]}, "messages[1].tool_calls"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id"),
        ({"temperature": 3}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools[0].function.name"),
        ({"tools": [tool, tool]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [tool], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}}, "messages"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ]
    for fields, param in chats:
        yield "/v1/chat/completions", {**chat(), **fields}, 400, param
    yield "/v1/chat/completions", {"messages": [user]}, 400, "model"
    yield "/v1/chat/completions", ["Hi."], 400, None
    yield "/v1/chat/completions", {**chat(), "model": "other"}, 404, "model"
    for value in ("", [], [""], ["a", 5], 7, [[]], ["a"] * 2049):
        yield "/v1/embeddings", {"model": "fake-embedding", "input": value}, 400, "input"
    yield "/v1/embeddings", {"model": "fake-embedding", "input": "a", "encoding_format": "hex"}, 400, "encoding_format"
    yield "/v1/embeddings", {"model": "fake-embedding", "input": "a", "dimensions": 0}, 400, "dimensions"
    yield "/v1/completions", chat(), 404, None


def test_what_openai_refuses_is_refused() -> None:
    """Each with the error object that clients read; nothing of it is let in."""
    cases = list(refusals())
    with FakeProvider(models=["fake-chat", "fake-embedding"]) as provider:
        for path, body, status, param in cases:
            got = post(provider, body, path)
            assert (got.status, got.error["param"]) == (status, param), (body, got.json)
            assert set(got.error) == {"message", "type", "param", "code"}
            assert len(got.error["message"]) > 10
        assert {entry.outcome for entry in provider.log} == {"refused"}
        assert {entry.started_at for entry in provider.log} == {None}


def test_odd_requests_get_an_error_object() -> None:
    with FakeProvider(api_key="secret") as provider:
        key = {"Authorization": "Bearer secret"}
        path = "/v1/chat/completions"
        assert send(provider, "POST", path, b"{}").error["code"] == "invalid_api_key"
        wrong = send(provider, "POST", path, b"{}", {"Authorization": "Bearer wrong"})
        assert (wrong.status, wrong.error["code"]) == (401, "invalid_api_key")
        assert send(provider, "POST", path, b"{", key).error["code"] == "invalid_json"
        assert send(provider, "POST", path, b"[" * 100_000, key).error["code"] == "invalid_json"
        assert send(provider, "POST", path, b"\xff\xfe", key).error["code"] == "invalid_json"
        assert send(provider, "POST", path, None, key).error["code"] == "invalid_json"
        squeezed = {**key, "Content-Encoding": "gzip"}
        assert send(provider, "POST", path, b"{}", squeezed).error["code"] == "invalid_json"
        assert send(provider, "GET", path, None, key).status == 405
        assert send(provider, "GET", "/", None, key).status == 404
        assert send(provider, "GET", "/v1/models/fake-chat", None, key).json["id"] == "fake-chat"
        assert send(provider, "GET", "/v1/models/other", None, key).status == 404
        assert [model["id"] for model in send(provider, "GET", "/v1/models", None, key).json["data"]] == [
            "fake-chat",
            "fake-embedding",
        ]
        assert "secret" not in str(provider.log)
        assert provider.count() == 12


def test_a_fault_of_ours_is_in_the_log_and_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeProvider(allowed=1) as provider:
        monkeypatch.setattr(provider._served()._play, "request", lambda *arguments: 1 / 0)
        assert send(provider, "POST", "/v1/chat/completions", json.dumps(chat()).encode()).status == 500
        (entry,) = entries(provider)
        assert (entry.outcome, entry.fault, provider.in_flight) == ("failed", "internal", 0)


def test_half_a_character_comes_back_as_it_came() -> None:
    with FakeProvider() as provider:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800 x."}]}'
        got = send(provider, "POST", "/v1/chat/completions", body)
        assert got.text == "\ud800 x."


def test_a_large_prompt_is_read() -> None:
    with FakeProvider() as provider:
        got = say(provider, "Summarise.\n\n" + "A word and another. " * 200_000)
        assert got.text == "A word and another. A word and another."


# -- scripts


def test_a_script_may_be_a_function_of_the_request() -> None:
    def reply(request: Request) -> Any:
        return {
            "text": f"{request.turn}/{request.attempt} {request.model} {len(request.messages)}",
            "json": {"a": [1, 2]},
            "list": [1, 2],
            "call": Reply(tool_calls=[ToolCall("f", {"x": 1}), ToolCall("g", "{broken")]),
            "refuse": Reply(refusal="I must not."),
            "fail": Failure(418),
            "default": None,
        }[request.prompt]

    with FakeProvider(reply=reply) as provider:
        assert [say(provider, "text").text for _ in range(2)] == ["1/1 fake-chat 1", "2/2 fake-chat 1"]
        assert json.loads(say(provider, "json").text) == {"a": [1, 2]}
        assert json.loads(say(provider, "list").text) == [1, 2]
        choice = say(provider, "call").json["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        calls = choice["message"]["tool_calls"]
        assert [call["function"] for call in calls] == [
            {"name": "f", "arguments": '{"x": 1}'},
            {"name": "g", "arguments": "{broken"},
        ]
        assert len({call["id"] for call in calls}) == 2
        refused = say(provider, "refuse").json["choices"][0]["message"]
        assert (refused["content"], refused["refusal"]) == (None, "I must not.")
        assert say(provider, "fail").status == 418
        assert say(provider, "default").text == "default"


def test_a_fault_in_the_script_is_told_and_not_to_be_retried() -> None:
    with FakeProvider(reply=lambda request: {}["nothing"]) as provider:
        got = say(provider)
        assert (got.status, got.headers["x-should-retry"]) == (500, "false")
        assert "reply= raised KeyError: 'nothing'" in got.error["message"]
        provider.reply, provider.latency = None, lambda request: -1
        assert "latency= returned -1" in say(provider).error["message"]
        provider.latency, provider.failures = 0, Failure(500, when=lambda request: 1 / 0)
        assert "Failure(when=…) raised ZeroDivisionError" in say(provider).error["message"]
        provider.failures, provider.reply = (), ["only one"]
        assert say(provider).text == "only one"
        assert "list of replies has ended before call 5" in say(provider).error["message"]
        provider.reply = ["another"]
        assert say(provider).text == "another"
        assert [entry.outcome for entry in provider.log] == ["failed"] * 3 + ["answered", "failed", "answered"]
        assert provider.in_flight == 0


def test_a_script_may_be_endless() -> None:
    with FakeProvider(reply=itertools.cycle(["yes", "no"])) as provider:
        assert [say(provider).text for _ in range(4)] == ["yes", "no", "yes", "no"]


# -- the same every time


def play(seed: int, order: Callable[[list[int]], list[int]]) -> dict[str, list[bytes | int]]:
    """What each content gets, each time it comes: three times, in some order, 20 at once."""
    failures = [Failure(500, share=0.3), Failure(503, attempts=2, share=0.5), Failure("malformed", share=0.1)]
    prompts = order([number % 40 for number in range(120)])
    with FakeProvider(seed=seed, latency=(0, 0.004), failures=failures) as provider:
        bodies = [chat(f"Question {number}. It has two sentences.", n=2) for number in prompts]
        got = asyncio.run(many(provider, bodies, at_once=20))
        log = entries(provider)
    answers: dict[str, list[Any]] = {}
    by_id = {f"req_{entry.number}": entry for entry in log}
    for each in got:
        entry = by_id[each.headers["x-request-id"]]
        assert entry.body is not None
        content = entry.body["messages"][0]["content"]
        answers.setdefault(content, [None] * 3)[(entry.attempt or 0) - 1] = each.raw
    return answers


def test_the_same_seed_gives_the_same_answers_and_failures_in_any_order() -> None:
    first = play(1, lambda numbers: numbers)
    assert first == play(1, lambda numbers: numbers[::-1])
    assert any(answers[0] != answers[2] for answers in first.values())  # a retry may have better luck
    other = play(2, lambda numbers: numbers)
    assert other != first
    failed = sum(b'"error"' in raw for answers in first.values() for raw in answers if isinstance(raw, bytes))
    assert 20 < failed < 100  # 30 % of 120, and half of the 40 second attempts


def test_delays_are_drawn_from_the_content_and_the_seed() -> None:
    def delays(seed: int, prompts: list[str]) -> dict[str, float]:
        drawn: dict[str, float] = {}
        with FakeProvider(seed=seed, latency=(0.0, 0.2)) as provider:
            service = provider._served()
            for prompt in prompts:
                body = chat(prompt)
                wanted = antichain.testing.provider.checks.read_chat(body)
                drawn[prompt] = service._play.seconds(
                    "latency", service._play.request("/v1/chat/completions", body, wanted)
                )
        return drawn

    prompts = [f"Question {number}." for number in range(50)]
    drawn = delays(1, prompts)
    assert drawn == delays(1, prompts[::-1])
    assert drawn != delays(2, prompts)
    assert 0 <= min(drawn.values()) < 0.05 < 0.15 < max(drawn.values()) < 0.2


def test_hash_randomisation_changes_nothing() -> None:
    code = (
        "import json, sys, urllib.request\n"
        "from antichain.testing import FakeProvider\n"
        "schema = {'type': 'object', 'properties': {'a': {'enum': [1, 2, 3]}, 'b': {'type': 'string'}}}\n"
        "form = {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}}\n"
        "body = {'model': 'm', 'messages': [{'role': 'user', 'content': 'Hi.'}], 'response_format': form}\n"
        "with FakeProvider(seed=3) as p:\n"
        "    for path, b in [('chat/completions', body), ('embeddings', {'model': 'm', 'input': 'some words'})]:\n"
        "        print(urllib.request.urlopen(f'{p.url}/{path}', json.dumps(b).encode()).read())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert len(runs[0].stdout) > 500
    assert runs[0].stdout == runs[1].stdout


def test_threads_of_sync_clients_can_all_be_served() -> None:
    """The provider has its own thread: blocking callers do not stand in its way."""
    with FakeProvider(latency=0.05) as provider:
        barrier = threading.Barrier(20)

        def call(number: int) -> int:
            barrier.wait(30)
            return say(provider, f"Call {number}.").status

        with ThreadPoolExecutor(20) as threads:
            assert list(threads.map(call, range(20))) == [200] * 20
        assert provider.peak > 1
