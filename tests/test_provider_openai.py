"""
The fake provider as the official client sees it: what OpenAI's own library sends, parses, retries and raises.
"""

import asyncio
import email.utils
import json
import math
import struct
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field

from antichain.testing import Failure, FakeProvider, Quota, Reply, RetryAfter, ToolCall
from tests.support.leftovers import nothing_left

TEXT = """Summarise what is said about tides.

The moon pulls at the sea. Cows are mostly black. Tides are said to follow the moon. Nobody knows why cows are calm."""

SEARCH: Any = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["query", "limit"],
        },
    },
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]},
    },
}


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.url, api_key="any", max_retries=0) as client:
        yield client


def test_a_summary_is_made_of_sentences_of_the_text(client: openai.OpenAI, provider: FakeProvider) -> None:
    answer = client.chat.completions.create(model="m", messages=user(TEXT))
    choice = answer.choices[0]
    assert choice.message.content == "The moon pulls at the sea. Tides are said to follow the moon."
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    (entry,) = provider.log
    assert (entry.tokens.prompt, entry.tokens.completion) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert answer._request_id == "req_1"


def test_several_choices_say_different_things(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=user(TEXT), n=2)
    assert len({choice.message.content for choice in answer.choices}) == 2
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_stop_and_max_tokens_cut(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.reply = "One two, three four."
    stopped = client.chat.completions.create(model="m", messages=user("Hi."), stop=[" four", ","])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("One two", "stop")
    cut = client.chat.completions.create(model="m", messages=user("Hi."), max_tokens=4)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("One two, three", "length")
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 4
    newer = client.chat.completions.create(model="m", messages=user("Hi."), max_tokens=4, max_completion_tokens=1)
    assert newer.choices[0].message.content == "One"
    exact = client.chat.completions.create(model="m", messages=user("Hi."), max_tokens=6)
    assert exact.choices[0].finish_reason == "stop"


def test_a_stream_says_what_the_plain_answer_says(client: openai.OpenAI, provider: FakeProvider) -> None:
    for fields in ({}, {"n": 2}, {"tools": [SEARCH, WEATHER]}, {"response_format": {"type": "json_object"}}):
        arguments: Any = {"model": "m", "messages": user(f"{TEXT} Use search and weather, in JSON."), **fields}
        plain = client.chat.completions.create(**arguments)
        stream = client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True})
        chunks: list[ChatCompletionChunk] = list(stream)
        assert {chunk.id for chunk in chunks} == {plain.id}
        assert chunks[-1].choices == []
        assert chunks[-1].usage == plain.usage
        assert {chunk.usage for chunk in chunks[:-1]} == {None}
        for choice in plain.choices:
            deltas = [part.delta for chunk in chunks for part in chunk.choices if part.index == choice.index]
            assert deltas[0].role == "assistant"
            assert ("".join(delta.content or "" for delta in deltas) or None) == choice.message.content
            called: dict[int, list[str]] = {}
            for delta in deltas:
                for call in delta.tool_calls or ():
                    assert call.function is not None
                    known = called.setdefault(call.index, ["", "", ""])
                    for place, text in enumerate([call.id, call.function.name, call.function.arguments]):
                        known[place] += text or ""
            assert list(called.values()) == [
                [call.id, call.function.name, call.function.arguments]
                for call in choice.message.tool_calls or ()
                if call.type == "function"
            ]
            reasons = [part.finish_reason for chunk in chunks for part in chunk.choices if part.index == choice.index]
            assert [reason for reason in reasons if reason] == [choice.finish_reason]
        first, second = provider.log[-2:]
        assert first.tokens == second.tokens
        assert second.chunks == len(chunks) + 1


def test_a_stream_without_usage_has_none(client: openai.OpenAI, provider: FakeProvider) -> None:
    chunks = list(client.chat.completions.create(model="m", messages=user("Hi."), stream=True))
    assert {chunk.usage for chunk in chunks} == {None}
    assert all(chunk.choices for chunk in chunks)
    assert provider.log[0].tokens.completion > 0


def test_tools_that_are_named_are_called_and_their_results_are_read(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    messages = user("Ask weather, then search for it.")
    tools: Any = [SEARCH, WEATHER]
    first = client.chat.completions.create(model="m", messages=messages, tools=tools)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    calls = [call for call in message.tool_calls or () if call.type == "function"]
    assert [call.function.name for call in calls] == ["weather", "search"]
    assert json.loads(calls[0].function.arguments)["unit"] in {"C", "F"}
    arguments = json.loads(calls[1].function.arguments)
    assert arguments["query"] == "Ask weather, then search for it."
    assert 1 <= arguments["limit"] <= 5
    assert len({call.id for call in calls}) == 2
    messages.append(message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "It rains. Take a coat."} for call in calls]
    second = client.chat.completions.create(model="m", messages=messages, tools=tools)
    assert second.choices[0].message.content == "It rains. Take a coat."
    messages.pop()
    with pytest.raises(openai.BadRequestError, match=calls[1].id):
        client.chat.completions.create(model="m", messages=messages, tools=tools)


def test_tools_may_be_required_chosen_or_forbidden(client: openai.OpenAI) -> None:
    def called(text: str, **fields: Any) -> list[str]:
        answer = client.chat.completions.create(model="m", messages=user(text), tools=[SEARCH, WEATHER], **fields)
        return [call.function.name for call in answer.choices[0].message.tool_calls or () if call.type == "function"]

    assert called("Good morning.") == []
    assert called("Good morning.", tool_choice="required") == ["search"]
    assert called("Weather?", tool_choice={"type": "function", "function": {"name": "weather"}}) == ["weather"]
    assert called("search weather", tool_choice="none") == []
    assert called("search weather", parallel_tool_calls=False) == ["search"]
    assert called("researching weathering") == []


class Author(BaseModel):
    name: str
    born: int = Field(ge=1400, le=2000)
    friends: "list[Author]" = []


class Book(BaseModel):
    title: str = Field(min_length=3, max_length=20)
    kind: Literal["novel", "poem"]
    pages: int | None
    price: float = Field(gt=0, lt=100)
    authors: list[Author] = Field(min_length=1, max_length=3)
    is_open: bool


def test_structured_output_is_valid(client: openai.OpenAI, provider: FakeProvider) -> None:
    parsed = client.chat.completions.parse(model="m", messages=user(TEXT), response_format=Book)
    book = parsed.choices[0].message.parsed
    assert book is not None
    assert book.title == "Summarise what is sa"
    again = client.chat.completions.parse(model="m", messages=user(TEXT), response_format=Book)
    assert again.choices[0].message.parsed == book
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="m", messages=user(TEXT), response_format=Book, max_tokens=5)
    provider.reply = Reply(refusal="I must not.")
    refused = client.chat.completions.parse(model="m", messages=user(TEXT), response_format=Book)
    assert (refused.choices[0].message.parsed, refused.choices[0].message.refusal) == (None, "I must not.")


def test_json_mode_is_valid_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="m", messages=user('Say "hello" in JSON.'), response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content or "") == {"answer": 'Say "hello" in JSON.'}


def test_a_scripted_tool_call_is_parsed(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.reply = Reply("Let me look.", tool_calls=[ToolCall("search", {"query": "tides", "limit": 2})])
    stream = client.chat.completions.create(model="m", messages=user("Hi."), stream=True)
    with stream:
        parts = [chunk.choices[0].delta for chunk in stream]
    assert "".join(part.content or "" for part in parts) == "Let me look."
    assert sum(1 for part in parts if part.tool_calls) > 3


def test_embeddings_are_the_same_in_both_encodings(client: openai.OpenAI, provider: FakeProvider) -> None:
    texts = ["the moon and the sea", "the sea and the moon", "tax returns of 1994"]
    packed = client.embeddings.create(model="e", input=texts)  # the client asks for base64 and unpacks it
    assert provider.log[0].body is not None
    assert provider.log[0].body["encoding_format"] == "base64"
    plain = client.embeddings.create(model="e", input=texts, encoding_format="float")
    assert [each.embedding for each in packed.data] == [each.embedding for each in plain.data]
    vectors = [each.embedding for each in plain.data]
    assert [len(vector) for vector in vectors] == [64, 64, 64]
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-5) for vector in vectors)

    def near(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert near(vectors[0], vectors[1]) == pytest.approx(1, abs=1e-5)
    assert near(vectors[0], vectors[2]) < 0.6
    assert plain.usage.total_tokens == plain.usage.prompt_tokens == provider.log[1].tokens.total == 15
    short = client.embeddings.create(model="e", input="one text", dimensions=8)
    assert len(short.data[0].embedding) == 8
    assert struct.pack("<8f", *short.data[0].embedding)
    tokens = client.embeddings.create(model="e", input=[[1, 2, 3], [4, 5]])
    assert (len(tokens.data), tokens.usage.prompt_tokens) == (2, 5)


def test_models_are_listed(client: openai.OpenAI, provider: FakeProvider) -> None:
    assert [model.id for model in client.models.list()] == ["fake-chat", "fake-embedding"]
    provider.models = ["only"]
    assert client.models.retrieve("only").id == "only"
    with pytest.raises(openai.NotFoundError, match="`m` does not exist"):
        client.chat.completions.create(model="m", messages=user("Hi."))


def test_errors_are_of_the_clients_classes(client: openai.OpenAI, provider: FakeProvider) -> None:
    expected: list[tuple[Any, type[openai.OpenAIError]]] = [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
        ("drop", openai.APIConnectionError),
        ("cut", openai.APIConnectionError),
    ]
    for kind, error in expected:
        provider.failures = Failure(kind, message="Scripted.")
        with pytest.raises(error) as raised:
            client.chat.completions.create(model="m", messages=user("Hi."))
        if isinstance(kind, int):
            assert isinstance(raised.value, openai.APIStatusError)
            assert raised.value.status_code == kind
            assert "Scripted." in raised.value.message
            assert raised.value.request_id == f"req_{len(provider.log)}"
    provider.failures, provider.api_key = (), "right"
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        client.chat.completions.create(model="m", messages=user("Hi."))
    provider.api_key = "any"
    assert client.chat.completions.create(model="m", messages=user("Hi.")).choices


def test_a_hang_is_a_timeout(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.failures = Failure("hang")
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model="m", messages=user("Hi."))
    provider.wait_idle()
    assert [(entry.outcome, entry.fault) for entry in provider.log] == [("client left", "hang")]


def test_a_stream_that_breaks_off_raises(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.reply = "One two three four five six."
    provider.failures = Failure("cut")
    read: list[ChatCompletionChunk] = []
    with (
        client.chat.completions.create(model="m", messages=user("Hi."), stream=True) as stream,
        pytest.raises(openai.APIConnectionError),
    ):
        read.extend(stream)
    assert len(read) == provider.log[0].chunks > 1
    provider.failures = Failure("stall")
    read.clear()
    with (
        client.with_options(timeout=0.5).chat.completions.create(
            model="m", messages=user("Hi."), stream=True
        ) as stream,
        pytest.raises(openai.APITimeoutError),
    ):
        read.extend(stream)
    provider.wait_idle()
    assert len(read) == provider.log[-1].chunks > 1
    assert [entry.outcome for entry in provider.log] == ["failed", "client left"]


@pytest.mark.parametrize(
    ("told", "low", "high"),
    [
        (7.5, 7.5, 7.5),
        (RetryAfter(6.25, sent_as="retry-after-ms"), 6.25, 6.25),
        (RetryAfter(9, sent_as="date"), 3, 10),  # a loaded machine reads the date late
        (None, 0, 1),  # the client's own back-off
    ],
)
def test_the_client_heeds_retry_after(
    client: openai.OpenAI, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, told: Any, low: float, high: float
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", slept.append)
    provider.failures = [Failure(429, attempts=1, retry_after=told), Failure(503, attempts=2, retry_after=told)]
    answer = client.with_options(max_retries=2).chat.completions.create(model="m", messages=user("Hi."))
    assert answer.choices
    assert [entry.status for entry in provider.log] == [429, 503, 200]
    assert len(slept) == 2
    assert all(low <= seconds <= high for seconds in slept), slept


def test_a_quota_tells_the_client_when_it_has_room(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.quota, provider.retry_after = Quota(requests=1, per=0.2), RetryAfter()
    patient = client.with_options(max_retries=20)
    begun = time.monotonic()
    for number in range(3):
        patient.chat.completions.create(model="m", messages=user(f"Hi {number}."))
    assert time.monotonic() - begun >= 0.39
    assert provider.count(200) == 3
    raw = client.with_options(max_retries=20).chat.completions.with_raw_response.create(model="m", messages=user("Hi."))
    assert raw.headers["x-ratelimit-limit-requests"] == "1"
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")


def test_the_date_form_is_an_http_date(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.failures = Failure(503, retry_after=RetryAfter(0.5, sent_as="date"))
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="m", messages=user("Hi."))
    header = raised.value.response.headers["retry-after"]
    assert header.endswith(" GMT")
    assert email.utils.parsedate_to_datetime(header).timestamp() >= time.time() - 30


def test_an_async_client_against_100_calls_at_once() -> None:
    """The client's view and the log agree, retries and all."""

    async def main(provider: FakeProvider) -> list[int | None]:
        async with openai.AsyncOpenAI(base_url=provider.url, api_key="any", max_retries=2) as client:

            async def ask(number: int) -> int | None:
                try:
                    answer = await client.chat.completions.create(model="m", messages=user(f"Question {number}."))
                except openai.RateLimitError:
                    return None
                assert answer.choices[0].message.content == f"Question {number}."
                assert answer.usage is not None
                return answer.usage.total_tokens

            return await asyncio.gather(*(ask(number) for number in range(100)))

    with FakeProvider(allowed=8, latency=0.01, retry_after=RetryAfter(0.02, sent_as="retry-after-ms")) as provider:
        got = asyncio.run(main(provider))
        provider.wait_idle()
        answered = [each for each in got if each is not None]
        assert len(answered) == provider.count(200) >= 8
        assert sum(answered) == sum(entry.tokens.total for entry in provider.log)
        assert len(provider.log) == len(answered) + provider.count(429)
        # A call that was lost was tried three times.
        assert provider.count(429) >= 3 * (100 - len(answered))
        assert provider.peak == 8


def test_an_async_client_that_is_cancelled_is_seen() -> None:
    async def main(provider: FakeProvider) -> None:
        async with openai.AsyncOpenAI(base_url=provider.url, api_key="any", max_retries=0) as client:
            task = asyncio.create_task(client.chat.completions.create(model="m", messages=user("Hi.")))  # type: ignore[arg-type]
            while provider.in_flight < 1:
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.to_thread(provider.wait_idle)
            assert provider.log[0].outcome == "client left"
            async with await client.chat.completions.create(model="m", messages=user("Hi."), stream=True) as stream:
                async for _ in stream:
                    break
            await asyncio.to_thread(provider.wait_idle)
            assert (provider.log[1].outcome, provider.log[1].chunks) == ("client left", 1)

    with nothing_left(), FakeProvider(latency=600, first_chunk=0, pace=600) as provider:
        asyncio.run(main(provider))
