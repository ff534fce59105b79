"""
Secrets in a run that is kept: none of them is in its store, in any form, and what a resume makes of that.
"""

import base64
import json
import random
import string
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pydantic
import pytest

from antichain import (
    Context,
    Graph,
    GraphError,
    MemoryStore,
    Retry,
    RunFailed,
    SqliteStore,
    register_codec,
    value,
)
from antichain.errors import NotStorable, StoreDamaged, StoreError
from antichain.journal import RunJournal
from antichain.policies import Backoff
from antichain.stores import FactKind, Header, Store, ValueLimits, redact_values
from antichain.stores.codec import Encoding, encode
from antichain.stores.codec.form import unpack
from antichain.stores.codec.limits import DEFAULT_LIMITS
from tests.support.command import Here, Write

TOLD = "[redacted]"


# Where each secret is put.
PLACES = [
    "key",
    "value",
    "member",
    "path",
    "header",
    "array",
    "binary",
    "basic",
    "url",
    "json",
    "login",
    "pair",
    "message",
    "noted",
    "cause",
    "again",
    "fallback",
    "asked",
    "answer",
    "opened",
    "default",
    "literal",
    "child",
    "item",
    "chunk",
    "token",
    "nested",
    "given",
    "custom",
    "outer",
    "frame",
]


def canaries(seed: int = 7) -> dict[str, str]:
    """Texts that are escaped in all kinds of ways, and no two alike; by where they are put."""
    rng = random.Random(seed)
    letters = string.ascii_letters + string.digits
    middles = ['/+é"', "\\ü&", "🔑=:", "-_.~", " '\n", "?>>"]
    return {
        place: "".join([*rng.choices(letters, k=6), middles[number % len(middles)], *rng.choices(letters, k=7)])
        for number, place in enumerate(PLACES)
    }


def forms(secret: str) -> Iterator[bytes]:
    """Ways to write a secret, made without what is tested."""
    data = secret.encode()
    yield data
    yield data.hex().encode()
    for text in (
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(data)[2:-1],
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(secret, safe="").replace("%2F", "%2f"),
    ):
        yield text.encode()
    for encode64 in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # What is the same whatever stands before and behind; as many bytes as need no filling.
            after = 3 + -(before + len(data)) % 3
            some, other = (encode64(each * before + data + each * after) for each in (b"\0", b"\xff"))
            same = [one == two for one, two in zip(some, other, strict=True)]
            first, last = same.index(True), len(same) - same[::-1].index(True)
            yield some[first:last].rstrip(b"=")


def found_in(data: bytes, secrets: dict[str, str]) -> set[str]:
    return {place for place, secret in secrets.items() if any(form in data for form in forms(secret))}


def kept_parts(store: Store, run_id: str) -> bytes:
    """All that a store gives back of a run."""
    journal = store.read(run_id)
    header = journal.header
    parts = [header.graph.encode(), header.target.encode(), header.inputs, header.wiring]
    for fact in journal.facts:
        parts += [fact.node.encode(), fact.reason.encode(), fact.fingerprint.encode(), fact.payload or b""]
    return b"\n".join(parts)


def kept_bytes(store: Store, run_id: str) -> bytes:
    """All that a store gives back of a run, and what is inside of what was compressed."""
    journal = store.read(run_id)
    payloads = [journal.header.inputs, journal.header.wiring, *(fact.payload for fact in journal.facts)]
    bare = [unpack(payload, DEFAULT_LIMITS)[1].encode() for payload in payloads if payload]
    return b"\n".join([kept_parts(store, run_id), *bare])


@dataclass
class Login:
    user: str
    password: str


class Pair(NamedTuple):
    name: str
    token: str


class Custom:
    def __init__(self, text: str) -> None:
        self.text = text


def leaky(secret: dict[str, str], look: Callable[[], object], *, is_mended: bool = False) -> Graph:
    """A graph that puts a secret wherever one can be put."""
    graph = Graph("leaky", on_error="continue")

    def output() -> dict[str, Any]:
        return {
            secret["key"]: [secret["value"], {secret["member"]}, PurePosixPath(f"/{secret['path']}/x")],
            "bytes": (secret["header"].encode(), bytearray(secret["array"].encode())),
            "binary": b"\xff\xfe" + secret["binary"].encode() + b"\xc3",
            "basic": base64.b64encode(f"user:{secret['basic']}!".encode()).decode(),
            "url": f"https://host/?q={urllib.parse.quote(secret['url'], safe='')}",
            "json": json.dumps({"text": secret["json"]}),
            "frozen": frozenset([secret["outer"]]),
            "custom": Custom(secret["custom"]),
        }

    def typed() -> tuple[Login, Pair]:
        return Login("ada", secret["login"]), Pair("api", secret["pair"])

    attempts = []

    def fails() -> str:
        frame = secret["frame"]
        attempts.append(frame)
        if is_mended:
            return "mended"
        if len(attempts) == 1:
            raise OSError(f"refused: {secret['again']}")
        try:
            raise KeyError(secret["cause"])
        except KeyError as error:
            wrong = ValueError(f"no {secret['message']} {frame!r}")
            wrong.add_note(f"with {secret['noted']}")
            raise wrong from error

    def falls() -> str:
        raise RuntimeError

    async def asks(ctx: Context) -> str:
        given = await ctx.ask(f"Use {secret['asked']}?", str)
        return f"{given} was used"

    def with_default(literal: str, token: str = secret["default"]) -> int:
        return len(token + literal)

    async def inside(ctx: Context) -> Any:
        return await ctx.run(shout, text=secret["child"])

    async def chunks() -> AsyncIterator[str]:
        yield secret["chunk"]

    graph.add("output", output)
    graph.add("typed", typed)
    graph.add("fails", fails, retry=Retry(attempts=2, backoff=Backoff(initial=0.001, jitter=False)))
    graph.add("falls", falls, fallback=f"used {secret['fallback']}")
    graph.add("asks", asks)
    graph.ask("open", f"Delete {secret['opened']}?", type=bool)
    graph.add("defaults", with_default, inputs={"literal": value(secret["literal"])})
    graph.add("inside", inside)
    graph.add("items", lambda: [secret["item"], "b"])
    graph.map("each", lambda items: f"<{items}>", over="items")
    graph.add("chunks", chunks)
    graph.add("given", lambda: "never")
    graph.add("uses", lambda token, nested, given: len(token) + len(nested["a"][0]) + len(given))
    graph.add(
        "look", look, depends_on=["output", "typed", "falls", "asks", "inside", "each", "chunks", "uses"], inputs={}
    )
    return graph


def shout(text: str) -> str:
    return f"{text}!"


def inputs_of(secret: dict[str, str]) -> dict[str, Any]:
    return {"token": secret["token"], "nested": {"a": [secret["nested"]]}}


class Places:
    """Stores of both kinds, each as a later process would see it, and the bytes that are in it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.memory: dict[bool, MemoryStore] = {}

    def store(self, *, compress: bool = False) -> Store:
        if self.path is not None:
            return SqliteStore(self.path, compress=compress)
        # The same runs, otherwise encoded from now on.
        store = MemoryStore(compress=compress)
        store._runs = self.memory.setdefault(True, store)._runs
        return store

    def bytes(self) -> bytes:
        store = self.store()
        found = [kept_bytes(store, line.run_id) for line in store.runs()]
        if self.path is not None:
            found += [each.read_bytes() for each in sorted(self.path.parent.glob(f"{self.path.name}*"))]
        return b"\n".join(found)


@pytest.fixture(params=["memory", "file"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(None if request.param == "memory" else tmp_path / "runs.db")


@pytest.fixture(autouse=True, scope="module")
def stored_custom() -> None:
    register_codec(Custom, lambda custom: custom.text, Custom)


@pytest.mark.parametrize("compress", [False, True])
def test_no_secret_is_in_a_store_in_any_form(places: Places, compress: bool) -> None:
    """Outputs, keys, bytes, errors, inputs, questions, answers, wiring; while the run goes on and after it."""
    secret, seen = canaries(), []
    assert len(secret) >= 30
    redact = redact_values(*secret.values())

    def options() -> dict[str, Any]:
        return {"store": places.store(compress=compress), "redact": redact}

    def look() -> None:
        seen.append(found_in(places.bytes(), secret))

    result = leaky(secret, look).run(
        inputs_of(secret),
        run_id="r",
        outputs={"given": secret["given"]},
        ask=lambda question: secret["answer"] if question.type is str else True,
        **options(),
    )
    assert sorted(result.errors) == ["fails"]
    assert result["output"][secret["key"]][0] == secret["value"], "who runs now has the real values"
    mended = leaky(secret, look, is_mended=True)
    again = mended.resume("r", inputs=inputs_of(secret), **options())
    assert again.status == "succeeded"
    assert again.nodes["output"].reason == "checkpoint"
    assert again["output"][TOLD][0] == TOLD
    assert [*seen, found_in(places.bytes(), secret)] == [set(), set()]


@pytest.mark.parametrize("compress", [False, True])
def test_without_redact_what_looks_for_secrets_finds_them(places: Places, compress: bool) -> None:
    """The control: literals and defaults are no part of a store, of all others something is found."""
    secret = canaries()
    leaky(secret, lambda: None).run(
        inputs_of(secret),
        run_id="r",
        outputs={"given": secret["given"]},
        ask=lambda question: secret["answer"] if question.type is str else True,
        store=places.store(compress=compress),
    )
    assert secret.keys() - found_in(places.bytes(), secret) == {"default", "literal"}


KEY = "sk-live-77/é=="
HIDE = redact_values(KEY)


def keyed(store: Store, **options: Any) -> tuple[Graph, list[Any]]:
    """``use`` fails until ``mended`` says so, and notes what it was given."""
    seen: list[Any] = []
    graph = Graph("keyed", store=store, **options)

    def use(token: str, day: str, mended: bool = False) -> str:
        seen.append((token, day))
        if len(seen) < 2:
            raise OSError("down")
        return "used"

    graph.add("use", use)
    return graph, seen


def codes(graph: Graph, **options: Any) -> list[str]:
    with pytest.raises(GraphError) as caught:
        graph.resume("r", **options)
    assert KEY not in str(caught.value)
    return [fault.code for fault in caught.value.faults]


def test_an_input_that_was_redacted_is_given_again() -> None:
    """Nothing runs with what stands in place of a secret: it is asked for by name, and has to be the same otherwise."""
    graph, seen = keyed(MemoryStore(), redact=HIDE)
    with pytest.raises(RunFailed):
        graph.run(token=f"Bearer {KEY}", day="monday", run_id="r")
    assert codes(graph) == ["missing-input"]
    assert codes(graph, inputs={"token": f"Basic {KEY}"}) == ["bad-policy"]
    assert codes(graph, inputs={"token": f"Bearer {KEY}", "day": "monday"}) == ["unused-input"]
    assert seen == [(f"Bearer {KEY}", "monday")]
    result = graph.resume("r", inputs={"token": f"Bearer {KEY}"})
    assert (result["use"], seen[1:]) == ("used", [(f"Bearer {KEY}", "monday")])
    # Nothing is left to do: nothing has to be given.
    assert graph.resume("r")["use"] == "used"
    assert len(seen) == 2


def test_a_secret_that_is_another_one_by_now_is_taken() -> None:
    store = MemoryStore()
    graph, _ = keyed(store, redact=HIDE)
    with pytest.raises(RunFailed):
        graph.run(token=KEY, day="monday", run_id="r")
    graph, seen = keyed(store, redact=redact_values(KEY, "sk-rotated"))
    seen.append("once")
    assert graph.resume("r", inputs={"token": "sk-rotated"})["use"] == "used"
    assert seen == ["once", ("sk-rotated", "monday")]


def test_what_began_with_redact_does_not_go_on_without() -> None:
    store = MemoryStore()
    graph, seen = keyed(store, redact=HIDE)
    with pytest.raises(RunFailed):
        graph.run(token="t", day="monday", run_id="r")
    plain, seen = keyed(store)
    seen.append("once")
    assert codes(plain) == ["bad-policy"]
    assert plain.resume("r", redact=str)["use"] == "used"
    assert plain.resume("r")["use"] == "used", "a finished run stores nothing"


def test_a_run_that_began_without_redact_goes_on_with_it() -> None:
    store = MemoryStore()
    graph, _ = keyed(store)
    with pytest.raises(RunFailed):
        graph.run(token=KEY, day="monday", run_id="r")
    graph, seen = keyed(store, redact=HIDE)
    seen.append("once")
    assert graph.resume("r")["use"] == "used"
    assert seen[1:] == [(KEY, "monday")]


def test_what_was_completed_gives_the_redacted_text_after_a_resume(places: Places) -> None:
    """Also to a map over it, whose instances are found again; an output that is not kept is made again."""
    seen: list[Any] = []
    graph = Graph("later", redact=HIDE)
    graph.add("login", lambda: {"token": KEY, "user": "ada"})
    graph.add("fresh", lambda: KEY, persist=False)
    graph.add("items", lambda: [KEY, "b"])
    graph.map("each", lambda items: items.upper(), over="items")

    def use(login: dict[str, str], fresh: str, each: list[str]) -> str:
        seen.append((login["token"], fresh, each))
        if len(seen) < 2:
            raise OSError("down")
        return "used"

    graph.add("use", use)
    with pytest.raises(RunFailed):
        graph.run(run_id="r", store=places.store())
    result = graph.resume("r", store=places.store())
    assert seen == [(KEY, KEY, [KEY.upper(), "B"]), (TOLD, KEY, [KEY.upper(), "B"])]
    assert [result.nodes[name].attempts for name in ("each[0]", "each[1]")] == [0, 0]


def test_an_answer_is_used_as_it_was_given_and_kept_redacted() -> None:
    store = MemoryStore()
    graph = Graph("asks", store=store, redact=HIDE)
    graph.ask("token", f"The token, as {KEY}?", type=str)
    graph.add("use", lambda token: token == KEY)
    assert graph.run(run_id="r").status == "paused"
    assert graph.resume("r").status == "paused", "the same question is not asked twice"
    assert sum(fact.kind == FactKind.ASKED for fact in store.read("r").facts) == 1
    assert graph.resume("r", answers={"token": KEY})["use"] is True
    assert KEY.encode() not in kept_bytes(store, "r")


def test_choices_that_would_be_redacted_are_refused() -> None:
    graph = Graph("choices", store=MemoryStore(), redact=HIDE)
    graph.ask("which", "Which key?", type=[KEY, "none"])
    with pytest.raises(RunFailed) as caught:
        graph.run(run_id="r")
    assert "one of its choices holds what redact= replaces" in str(caught.value.result.errors["which"])


class Takes:
    def invoke(self, inputs: Any) -> Any:
        return 1


@pytest.mark.parametrize("place", ["node", "inner", "graph", "version", "run", "input"])
def test_names_are_not_redacted_but_refused(place: str) -> None:
    """What has completed is found by them."""
    store = MemoryStore()
    inner = Graph("inner")
    inner.add(KEY if place == "inner" else "x", lambda **rest: 1)
    graph = Graph(KEY if place == "graph" else "names", store=store, redact=HIDE)
    graph.add(KEY if place == "node" else "a", inner, version=KEY if place == "version" else "1")
    graph.add("any", Takes())
    inputs = {KEY: 1} if place == "input" else {}
    with pytest.raises(GraphError) as caught:
        graph.run(inputs, run_id="sk-live-77" if place == "run" else "r", redact=redact_values(KEY, "sk-live-77"))
    assert {fault.code for fault in caught.value.faults} == {"secret-name"}
    assert KEY not in str(caught.value)
    assert store.runs() == []


def test_a_key_of_a_map_that_is_a_secret_fails_the_map() -> None:
    store = MemoryStore()
    graph = Graph("keys", store=store, redact=HIDE, on_error="continue")
    graph.add("items", lambda: ["a", KEY])
    graph.map("each", lambda items: items, over="items", key=str)
    result = graph.run(run_id="r")
    assert "for the items of a map a key= without it" in str(result.errors["each"])
    assert result["items"] == ["a", KEY]
    assert not found_in(kept_bytes(store, "r"), {"key": KEY})


class Level(Enum):
    SECRET = "1234567890"


@pytest.mark.parametrize("output", [1234567890, [1234567890.0], uuid.UUID(int=0x1234567890), Decimal(1234567890)])
def test_a_secret_that_is_no_text_fails_its_node(output: Any) -> None:
    """It cannot be replaced by a text and be read back; a function of somebody's own is only shown texts."""
    graph = Graph("numbers", store=MemoryStore(), redact=redact_values("1234567890"))
    graph.add("pin", lambda: output)
    with pytest.raises(RunFailed) as caught:
        graph.run(run_id="r")
    assert "where no text is" in str(caught.value.result.errors["pin"])
    graph.run(run_id="r2", redact=lambda text: text.replace("1234567890", "…"), targets=["pin"])


def test_a_secret_that_is_part_of_a_class_is_refused() -> None:
    with pytest.raises(NotStorable, match="where no text is"):
        encode({1: Level.SECRET}, redact=redact_values("1234567890"))


def test_a_type_that_a_redacted_text_is_none_of_fails_its_node() -> None:
    class Mail(pydantic.BaseModel):
        address: str = pydantic.Field(pattern=".+@.+")

    def mail() -> Mail:
        return Mail(address="ada@example.org")

    graph = Graph("mails", store=MemoryStore(), redact=redact_values("ada@example.org"))
    graph.add("mail", mail)
    with pytest.raises(RunFailed) as caught:
        graph.run(run_id="r")
    assert isinstance(caught.value.result.errors["mail"], NotStorable)


@pytest.mark.parametrize("wrong", [lambda text: 1 / 0, lambda text: None, lambda text: text.encode()])
def test_what_cannot_be_redacted_is_not_stored(wrong: Any) -> None:
    """Neither an output nor an error, nor what the function has raised."""
    store = MemoryStore()

    def raises(text: str) -> str:
        if KEY in text:
            return wrong(text)
        return text

    graph = Graph("wrong", store=store, redact=raises, on_error="continue")
    graph.add("output", lambda: {"a": [KEY]})

    def error() -> str:
        raise ValueError(KEY)

    graph.add("error", error)
    result = graph.run(run_id="r")
    assert str(result.errors["output"]).startswith("output['a'][0] cannot be stored: what redact= was given r")
    assert not found_in(kept_bytes(store, "r"), {"key": KEY})


SHOP = f"""
    import os
    from antichain.stores import redact_values

    def make(region: str) -> Graph:
        graph = Graph("shop", redact=redact_values({KEY!r}))

        @graph.node
        def buy(token: str) -> str:
            if os.path.exists("broken"):
                raise OSError("down")
            return f"{{len(token)}} characters in {{region}}"

        return graph
"""


def test_the_command_is_given_a_secret_again_and_stores_none(
    write: Write, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTICHAIN_STORE", "runs.db")
    write(SHOP)
    Path("broken").touch()
    code, _, err = here("run", "flow.py:make", f"token={KEY}", f"region={KEY}", "--no-progress")
    assert (code, "let that function read it from the environment" in " ".join(err.split())) == (2, True)
    begin = ("run", "flow.py:make", f"token={KEY}", "region=eu", "--run-id", "r", "--no-progress")
    assert here(*begin)[0] == 1
    Path("broken").unlink()
    code, _, err = here("resume", "r", "--no-progress")
    assert (code, "--value token=" in err) == (2, True)
    assert here("resume", "r", "--value", f"token={KEY}", "--no-progress")[:2] == (0, f"{len(KEY)} characters in eu\n")
    data = b"".join(each.read_bytes() for each in tmp_path.glob("runs.db*"))
    assert found_in(data, {"key": KEY}) == set()
    assert b"flow.py:make" in data


def test_no_part_of_a_secret_is_left_where_a_message_is_cut() -> None:
    store = MemoryStore()
    graph = Graph("cut", store=store, redact=HIDE, on_error="continue")
    graph.add("cut", lambda: {"x" * 70 + KEY: object()})
    assert "cannot be stored" in str(graph.run(run_id="r").errors["cut"])
    assert KEY[:5].encode() not in kept_bytes(store, "r")


# -- redact_values


def test_every_form_of_a_secret_is_found_wherever_it_stands() -> None:
    for seed in range(5):
        for secret in canaries(seed).values():
            redact = redact_values(secret)
            for form in forms(secret):
                text = f"<{form.decode()}>"
                assert TOLD in redact(text), text
                assert redact(text).endswith(f"{TOLD}>") or "=" in text or redact(text) != text
            assert redact("nothing of that kind, 1234") == "nothing of that kind, 1234"


def test_the_longer_of_two_secrets_is_replaced_whole() -> None:
    assert redact_values("abcde", "abcdefgh")("xabcdefghx abcdef") == f"x{TOLD}x {TOLD}f"


@pytest.mark.parametrize("wrong", [[], [""], ["abcd"], [None], [12345], ["abcde\n", " a "]])
def test_what_cannot_be_a_secret_is_refused(wrong: list[Any]) -> None:
    """Most often it is a variable that is not set: nothing would be replaced, or everything."""
    with pytest.raises(ValueError, match="redact_values"):
        redact_values(*wrong)


def test_redact_values_shows_no_secret() -> None:
    assert KEY not in repr(HIDE)
    with pytest.raises(ValueError, match="holds no secret"):
        redact_values(KEY, replacement=f"<{KEY}>")
    assert redact_values(b"\xff\xfe12345\n")("x") == "x"
    assert redact_values(f"{KEY}\n", replacement="***")(f"a{KEY}b") == "a***b"


# -- compression


def test_compression_may_change_between_lives(places: Places) -> None:
    """Nobody has to know how a value was written; what was given again is no other value."""
    calls: list[str] = []
    text = "much the same, " * 1000

    def graph(mended: bool) -> Graph:
        made = Graph("lives")
        made.add("text", lambda: calls.append("text") or text)
        made.add("given", lambda: "never")
        made.add("after", lambda given: len(given))

        def use(text: str, after: int, word: str) -> int:
            if not mended:
                raise OSError(text)
            return len(text + word) + after

        made.add("use", use)
        return made

    sizes = []
    for number, first in enumerate([True, False]):
        run_id = f"r{number}"
        with pytest.raises(RunFailed):
            graph(False).run(word=text, run_id=run_id, outputs={"given": text}, store=places.store(compress=first))
        with pytest.raises(RunFailed):
            graph(False).resume(run_id, outputs={"given": text}, store=places.store(compress=not first))
        result = graph(True).resume(run_id, store=places.store(compress=not first))
        assert (result["use"], result["text"], result.nodes["given"].reason) == (3 * len(text), text, "checkpoint")
        journal = places.store().read(run_id)
        outputs = [len(fact.payload or b"") for fact in journal.facts if fact.node in ("text", "given")]
        sizes.append((len(journal.header.inputs), *outputs[:2]))
    assert calls == ["text", "text"]
    assert max(sizes[0]) < len(text) // 50 < len(text) < min(sizes[1])


# -- limits


def stores_with(places: Places, limits: ValueLimits) -> Store:
    if places.path is not None:
        return SqliteStore(places.path, limits=limits)
    store = MemoryStore(limits=limits)
    store._runs = places.memory.setdefault(True, store)._runs
    return store


def test_limits_of_a_store_hold_when_a_value_is_written_and_when_it_is_read(places: Places) -> None:
    graph = Graph("limits", on_error="continue")
    graph.add("rows", lambda: {"rows": [list(range(10)), [list(range(30))]]})
    graph.add("deep", lambda rows: {"a": [[[[[1]]]]]})
    small, large = ValueLimits(items=30), ValueLimits(items=100, depth=4)
    result = graph.run(run_id="small", store=stores_with(places, small))
    error = result.errors["rows"]
    assert isinstance(error, NotStorable)
    assert error.path == "output['rows'][1][0]"
    assert "more than 30 items, beyond ValueLimits(items=…)" in str(error)
    result = graph.run(run_id="large", store=stores_with(places, large))
    assert "output['a'][0][0][0]" in str(result.errors["deep"])
    with pytest.raises(
        StoreDamaged, match=r"output of node 'rows' cannot be read: .* more than 30 items.*limits=Value"
    ):
        graph.resume("large", store=stores_with(places, small))
    assert len(graph.resume("large", store=stores_with(places, large))["rows"]["rows"]) == 2


def test_limits_hold_for_inputs_and_given_outputs() -> None:
    store = MemoryStore(limits=ValueLimits(size_bytes=100))
    graph = Graph("given", store=store)
    graph.add("a", lambda word: word)
    with pytest.raises(GraphError, match="input 'word' cannot be stored: it has more than 100 bytes"):
        graph.run(word="x" * 101, run_id="r")
    with pytest.raises(GraphError, match=r"outputs\['a'\] cannot be stored: it has more than 100 bytes"):
        graph.run(outputs={"a": "x" * 101}, run_id="r")
    assert store.runs() == []


def test_more_than_by_default_may_be_allowed(tmp_path: Path) -> None:
    """And is read again, compressed too."""
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    graph = Graph("deep")
    graph.add("deep", lambda: deep)
    with pytest.raises(RunFailed):
        graph.run(run_id="r", store=tmp_path / "runs.db")
    store = SqliteStore(tmp_path / "runs.db", limits=ValueLimits(depth=200), compress=True)
    assert graph.resume("r", store=store)["deep"] == deep
    assert graph.resume("r", store=store).nodes["deep"].reason == "checkpoint"


@pytest.mark.parametrize("make", [MemoryStore, lambda **options: SqliteStore("runs.db", **options)])
def test_wrong_options_of_a_store_are_refused(make: Any) -> None:
    with pytest.raises(StoreError, match="use ValueLimits"):
        make(limits=1000)
    with pytest.raises(StoreError, match="use True or False"):
        make(compress="zlib")
    with pytest.raises(ValueError, match=r"ValueLimits\(items=0\)"):
        ValueLimits(items=0)


def test_where_nothing_is_chosen_nothing_is_looked_up() -> None:
    """The journal encodes by the codec itself."""
    store = MemoryStore()
    ownership = store.open("r", Header("r", "g"))
    assert RunJournal(store, ownership)._encode is encode
    assert RunJournal(store, ownership, encoding=Encoding(compress=True))._encode is not encode


def test_what_would_come_back_as_something_else_names_its_place() -> None:
    graph = Graph("place", store=MemoryStore())
    graph.add("logins", lambda: {"all": [1, Login("ada", "x")]})
    with pytest.raises(RunFailed) as caught:
        graph.run(run_id="r")
    error = caught.value.result.errors["logins"]
    assert isinstance(error, NotStorable)
    assert error.path == "output['all'][1]"
    assert "Annotate what the node returns" in str(error)


class Loose(pydantic.BaseModel):
    content: Any


def test_what_a_model_cannot_make_again_is_refused() -> None:
    """A field of any type: its model would have plain data in it, and nobody would notice."""

    def loose() -> Loose:
        return Loose(content=Login("ada", "x"))

    graph = Graph("loose", store=MemoryStore())
    graph.add("loose", loose)
    with pytest.raises(RunFailed) as caught:
        graph.run(run_id="r")
    assert "Annotate the field with its class" in str(caught.value.result.errors["loose"])
