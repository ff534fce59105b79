"""Whatever is in a store, reading it gives a value or StoreDamaged: soon, in little memory, and runs nothing."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import pickle
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from random import Random
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antichain.errors import NotStorable, StoreDamaged
from antichain.stores.codec import StoredError, decode, decode_error, encode, encode_error
from antichain.stores.codec.tags import READERS
from tests.conftest import FULL
from tests.support.stored_types import Box, Color, Key, Options, Part, Parts, Point, Row, Shape, Size, Tree, Whole

EXAMPLES = 3_000 if FULL else 300
# Of CPU, on a machine that does nothing else; on one whose cores are shared the same work is counted as up to thrice.
SECONDS = 1.0 * 3
MAX_BYTES = 100_000_000
ANYTHING: Any = Row | Key | Tree | Shape | Box[Row] | Point | Options | Part | Whole | Parts | Color | Size | None
CLASSES = f"{Row.__module__}."
PRIME = sys.hash_info.modulus

PLAIN, TAGGED, SQUEEZED, LABELLED = b"\x10", b"\x11", b"\x12", b"\x15"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import antichain_was_broken_into",)


def hostile() -> Iterator[tuple[str, bytes]]:
    """Name and bytes; none of them is anything that was written here."""
    # Of other formats, some of which run code when they are read by their own libraries.
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Bomb(), protocol)
        for name, first in (("bare", b""), ("plain", PLAIN), ("tagged", TAGGED), ("labelled", LABELLED)):
            yield f"pickle {protocol}, {name}", first + data
    yield "squeezed pickle", SQUEEZED + zlib.compress(pickle.dumps(Bomb()))
    for name, text in {
        "yaml constructor": "!!python/object/apply:os.system ['true']",
        "yaml": "a: &a [*a, *a]",
        "python": "__import__('os').system('true')",
        "xml": '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        "bare word": "nul",
        "comment": "[1] // no",
        "single quotes": "{'a': 1}",
        "trailing comma": "[1,]",
        "NaN": "NaN",
        "Infinity": "[Infinity]",
        "-Infinity": "-Infinity",
        "too large for a float": "1e400",
        "long number": "1" * 602,
        "very long number": "1" * 100_000,
        "twice the same key": '{"a":1,"a":2}',
        "twice, inside": '[{"a":{"b":1,"b":1}}]',
        "two values": "1 2",
        "empty": "",
        "only space": "  ",
        "control character": '"a\nb"',
        "half a string": '"abc',
        "half an escape": '"\\u12"',
        "lone bracket": "]",
        "deep": "[" * 100_000 + "]" * 100_000,
        "deep and open": "[" * 400_000,
        "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
        "a little too deep": "[" * 101 + "]" * 101,
        "many items": "[" + "1," * 600_000 + "1]",
        "many empty lists": "[" + "[]," * 400_000 + "1]",
        "large": '"' + "x" * 10_000_001 + '"',
    }.items():
        yield name, PLAIN + text.encode()
    # Tags of other formats, and ours with what is not theirs.
    tagged = {
        "unknown tag": {"$object2": 1},
        "import": {"$import": "antichain_was_broken_into"},
        "pickle tag": {"$pickle": "gASVAAAA"},
        "empty tag": {"$": 1},
        "dict with a list for a key": {"$dict": [[[1], 2]]},
        "dict with a dict for a key": {"$dict": [[{"a": 1}, 2]]},
        "dict with equal keys": {"$dict": [[1, 2], [1, 3]]},
        "dict with true and 1": {"$dict": [[1, 2], [True, 3]]},
        "dict of triples": {"$dict": [[1, 2, 3]]},
        "dict of texts": {"$dict": ["ab"]},
        "dict of nothing": {"$dict": None},
        "set with equals": {"$set": [1, 1.0]},
        "set of lists": {"$set": [[1]]},
        "set of a set": {"$set": [{"$set": [1]}]},
        "set of a text": {"$set": "abc"},
        "set of a dict": {"$frozenset": {"a": 1}},
        "tuple of a number": {"$tuple": 3},
        "not registered": {"$custom": ["os.system", "true"]},
        "custom without data": {"$custom": ["x"]},
        "custom with a list for a name": {"$custom": [[], 1]},
        "colliding numbers": {"$set": [k * PRIME for k in range(1, 3000)]},
        "colliding keys": {"$dict": [[k * PRIME, 0] for k in range(1, 3000)]},
    }
    singles = {
        "$int": ["", "x", "0x1", "1_0", " 1", "ffff_", "f" * 100_001, 5, None, ["1"], "F", "-0"],
        "$float": [
            "1.5",
            "NAN",
            "infinity",
            "7ff8",
            "0000000000000000",
            "zz",
            1,
            None,
            "7FF8000000000000",
            "7ff0000000000000",
        ],
        "$decimal": ["", "1,5", "abc", "1_0", " 1", "1" * 100_001, 1, 1.5, "\u0661", "infinity", "+1"],
        "$text": ["", "a", "====", "/////w==", 1, "7aCA\n", "é"],
        "$bytes": ["a", "ab=", "a===", "YQ=", "YQ==YQ==", "Y Q==", "YQ==\n", 5, None, [1], "YR=="],
        "$bytearray": ["*", {}, "a"],
        "$datetime": [
            "",
            "now",
            "2026-13-01T00:00:00",
            "2026-02-30T00:00:00",
            "20260101T000000",
            "2026-01-01",
            5,
            [],
            ["x"],
        ],
        "$date": ["2026-1-1", "20260101", "10000-01-01", "2026-W01-1", 5, None],
        "$time": [
            "25:00:00",
            "1:00",
            "T01:00:00",
            "01:00:00Z",
            ["01:00:00", 2, None],
            ["01:00:00", 0, 7],
            ["01:00:00", True, None],
        ],
        "$timedelta": [
            [1],
            [1, 2, 3, 4],
            [0, 90_000, 0],
            [0, -1, 0],
            [10**12, 0, 0],
            ["1", 0, 0],
            [1.5, 0, 0],
            5,
            [True, 0, 0],
        ],
        "$uuid": [
            "",
            "x",
            "0" * 32,
            "{00000000-0000-0000-0000-000000000007}",
            "urn:uuid:00000000-0000-0000-0000-000000000007",
            7,
        ],
        "$path": [
            ["posix"],
            ["os", "/a"],
            ["posix", 1],
            ["posix", "a//b"],
            ["posix", "./a"],
            "a",
            ["pure-windows", "a/b"],
            [[], ""],
        ],
    }
    for tag, payloads in singles.items():
        for payload in payloads:
            tagged[f"{tag} of {json.dumps(payload)[:30]}"] = {tag: payload}
    for zone in [
        "../../etc/passwd",
        "/etc/passwd",
        "os.path",
        "Europe",
        "Nowhere/Land",
        "a" * 100,
        "Europe/Berlin\0",
        "",
        [0],
        [10**15],
        [0, 1],
    ]:
        tagged[f"zone {json.dumps(zone)[:30]}"] = {"$datetime": ["2026-01-01T00:00:00", 0, zone]}
    for name, value in tagged.items():
        yield f"tagged {name}", TAGGED + json.dumps(value).encode()
        yield f"tagged {name}, inside", TAGGED + json.dumps([{"a": {"$tuple": [value]}}]).encode()
        yield f"labelled {name}", LABELLED + json.dumps([value]).encode()
    # Instances: of what nobody expects, of classes with other fields, and of nothing at all.
    for name, value in {
        "another class": {"$object": ["subprocess.Popen", {"args": "true"}]},
        "a builtin": {"$object": ["builtins.eval", {"source": "1"}]},
        "an exception": {"$object": ["antichain.errors.StoreError", {}]},
        "no label": {"$object": [{}]},
        "label of a list": {"$object": [[], {}]},
        "no fields": {"$object": [CLASSES + "Row"]},
        "fields of a list": {"$object": [CLASSES + "Row", [1]]},
        "unknown field": {"$object": [CLASSES + "Row", {"name": "a", "__class__": "os"}]},
        "missing field": {"$object": [CLASSES + "Row", {}]},
        "three parts": {"$object": [CLASSES + "Row", {"name": "a"}, {}]},
        "enum for a class": {"$enum": [CLASSES + "Row", 1]},
        "class for an enum": {"$object": [CLASSES + "Color", {"value": 1}]},
        "no member": {"$enum": [CLASSES + "Color", "green"]},
        "member by another type": {"$enum": [CLASSES + "Size", True]},
        "member by a dict": {"$enum": [CLASSES + "Color", {"a": 1}]},
        "named without": {"$named": [CLASSES + "Point", {}]},
        "named with more": {"$named": [CLASSES + "Point", {"x": 1, "z": 2}]},
        "named for a class": {"$named": [CLASSES + "Row", {"name": "a"}]},
        "model that refuses": {"$model": [CLASSES + "Part", {"name": 5}, None, None, None]},
        "model without": {"$model": [CLASSES + "Part", {}, None, None, None]},
        "short model": {"$model": [CLASSES + "Part", {"name": "a"}]},
        "model with odd names": {"$model": [CLASSES + "Part", {"name": "a"}, 5, None, None]},
        "model with odd more": {"$model": [CLASSES + "Whole", {}, None, [1], None]},
        "model with odd private": {"$model": [CLASSES + "Whole", {}, None, None, 7]},
        "converted by the model": {"$model": [CLASSES + "Part", {"name": "a", "when": "2026-01-01"}, None, None, None]},
    }.items():
        yield f"instance, {name}", LABELLED + json.dumps(value).encode()
        yield f"instance, {name}, not labelled", TAGGED + json.dumps(value).encode()
    # First bytes.
    for first in [*range(16), *range(0x20, 0x100, 7), 0x14, 0x16, 0x1F]:
        yield f"first byte {first:#04x}", bytes([first]) + b'{"a":1}'
    yield "nothing", b""
    yield "long path", TAGGED + b'{"$path":["posix","' + b"a/" * 40_000 + b'b"]}'
    yield "not UTF-8", PLAIN + b'"\xff\xfe"'
    yield "a surrogate in UTF-8", PLAIN + b'"\xed\xa0\x80"'
    yield "UTF-16", PLAIN + '{"a":1}'.encode("utf-16")
    yield "byte order mark", PLAIN + b"\xef\xbb\xbf1"
    # Compression.
    squeezed = zlib.compress(b'{"a":1}')
    for name, data in {
        "bomb": zlib.compress(b'"' + b"x" * 100_000_000 + b'"', 9),
        "bomb of lists": zlib.compress(b"[" + b"[]," * 3_000_000 + b"1]", 9),
        "bomb in a bomb": zlib.compress(zlib.compress(b"x" * 100_000_000, 9), 9),
        "cut": squeezed[:-3],
        "cut early": squeezed[:2],
        "more behind it": squeezed + b"x",
        "twice": squeezed + squeezed,
        "wrong sum": squeezed[:-1] + bytes([squeezed[-1] ^ 1]),
        "not compressed": b'{"a":1}',
        "nothing": b"",
    }.items():
        yield f"squeezed {name}", SQUEEZED + data


BLOBS = list(hostile())


def read(data: bytes, annotation: Any) -> Any:
    """Decode, and look at how long it took."""
    started = time.process_time()
    try:
        return decode(data, annotation)
    finally:
        took = time.process_time() - started
        assert took < SECONDS, f"took {took} s"


def test_hostile_blobs_are_refused() -> None:
    """Each as damaged, read with an annotation and without; what they name is not imported."""
    available_timezones()  # imports the one package that it looks into
    before = set(sys.modules)
    wrong = {}
    for name, data in BLOBS:
        try:
            wrong[name] = read(data, ANYTHING)
        except StoreDamaged as error:
            assert len(str(error)) < 1500, name  # a message is no place for a bomb
            assert "\x1b" not in str(error)
    assert len(BLOBS) > 400
    assert wrong == {}
    assert set(sys.modules) - before == set()
    for _, data in BLOBS:
        try:
            read(data, None)
        except StoreDamaged:
            continue


def test_what_other_formats_take_for_a_constructor_is_data() -> None:
    """It looks like that in a user's dict, and comes back as one."""
    for value in (
        {"py/object": "os.system"},
        {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}},
        {"__reduce__": ["os.system", ["true"]]},
        {"$object": ["os.system", {}]},
        {"$custom": ["x", 1]},
        {"$set": [1, 1]},
    ):
        assert decode(encode(value), ANYTHING) == value
        assert decode(encode([value, (1,), Color.RED]), ANYTHING)[0] == value


def test_hostile_blobs_take_little_memory() -> None:
    """Those that could take much: larger than they seem."""
    big = [(name, data) for name, data in BLOBS if "bomb" in name or len(data) > 1_000_000]
    assert len(big) > 5
    tracemalloc.start()
    try:
        for name, data in big:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(StoreDamaged):
                decode(data)
            assert tracemalloc.get_traced_memory()[1] - before < MAX_BYTES, name
    finally:
        tracemalloc.stop()


ITEMS = 499_990
MODEL = LABELLED + b'{"$model":["' + CLASSES.encode() + b'Whole",{%b},null,null,null]}'
EXTREMES = {
    "objects": lambda: PLAIN + b"[" + b",".join(b'{"%06d":"%06d"}' % (i, i) for i in range(ITEMS // 3)) + b"]",
    "one object": lambda: PLAIN + b"{" + b",".join(b'"%07d":"%07d"' % (i, i) for i in range(ITEMS // 2)) + b"}",
    "wide text": lambda: PLAIN + ('"' + "x" * 9_999_980 + '\U0001f600"').encode(),
    "wide text among texts": lambda: (
        PLAIN
        + b"["
        + b",".join(b'"%09d"' % i for i in range(ITEMS))
        + (',"' + "x" * 3_999_000 + '\U0001f600"]').encode()
    ),
    "crowds": lambda: (
        TAGGED
        + b'{"$set":['
        + b",".join(b"%d" % (k * PRIME + g) for g in range(1, 14_000) for k in range(1, 33))
        + b"]}"
    ),
    "near hashes": lambda: TAGGED + b'{"$set":[' + b",".join(b"%d" % (k << 40) for k in range(1, 450_000)) + b"]}",
    "bytes": lambda: TAGGED + b'{"$bytes":"' + b"QUFB" * 2_490_000 + b'"}',
    "long paths": lambda: TAGGED + b"[" + b",".join([b'{"$path":["posix","' + b"a/" * 32_000 + b'b"]}'] * 155) + b"]",
    "paths": lambda: TAGGED + b"[" + b",".join(b'{"$path":["posix","a%d/b"]}' % i for i in range(ITEMS // 6)) + b"]",
    "numbers": lambda: TAGGED + b"[" + b",".join([b'{"$decimal":"1.%s"}' % (b"1" * 90_000)] * 100) + b"]",
    "escapes": lambda: PLAIN + b'"' + b'\\"' * 4_990_000 + b'"',
    "instances": lambda: LABELLED + b"[" + b",".join([b'{"$object":["a.B",{"x":1}]}'] * (ITEMS // 8)) + b"]",
    "labels": lambda: LABELLED + b"[" + b",".join(b'{"$enum":["a.B%d",1]}' % i for i in range(ITEMS // 5)) + b"]",
    "a model": lambda: MODEL % (b'"numbers":[' + b"1," * (ITEMS - 20) + b"1]"),
    "a model that is looked at closely": lambda: (
        MODEL % (b'"other":{"$float":"7ff8000000000000"},"numbers":[' + b"1," * (ITEMS - 30) + b"1]")
    ),
    "many models": lambda: (
        LABELLED
        + b"["
        + b",".join([b'{"$model":["%sPart",{"name":"a"},null,null,null]}' % CLASSES.encode()] * (ITEMS // 12))
        + b"]"
    ),
    "hashed again and again": lambda: (
        TAGGED + b'{"$frozenset":[{"$tuple":[' * 49 + b",".join(b"%d" % i for i in range(400_000)) + b"]}]}" * 49
    ),
}


@pytest.mark.skipif(not FULL, reason="the largest values that may be read take their time to make")
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.slow
def test_the_largest_values_take_a_bounded_time_and_memory(name: str) -> None:
    """1 s and 100 MB, for whatever is within the limits."""
    data = EXTREMES[name]()
    expected = None if name in ("instances", "labels") else list[ANYTHING] | ANYTHING  # else refused at the first
    read(data, expected)
    tracemalloc.start()
    try:
        decode(data, expected)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


def test_labels_that_nobody_has_are_looked_for_once() -> None:
    """Among everything that is derived from what is expected, which may be thousands of classes."""
    many = ",".join(f'{{"$enum":["a.B{i}",1]}}' for i in range(50_000))
    data = LABELLED + f'{{"$model":["{CLASSES}Whole",{{"numbers":[{many}]}},null,null,null]}}'.encode()
    assert read(data, Whole).numbers == [1] * 50_000  # what a model makes of them is up to it


def test_little_of_the_stack_is_enough_or_refused() -> None:
    """Values that are nested deep, read and written by whoever is called deep: never a RecursionError."""
    value: Any = 1
    for _ in range(90):
        value = (value,)
    data = encode(value)

    def deeper(levels: int) -> list[str]:
        if levels:
            return deeper(levels - 1)
        outcomes = []
        for attempt in (lambda: decode(data), lambda: encode(value)):
            try:
                attempt()
                outcomes.append("done")
            except (StoreDamaged, NotStorable) as error:
                outcomes.append(type(error).__name__)
        return outcomes

    depth = len(inspect.stack())
    seen = {tuple(deeper(sys.getrecursionlimit() - depth - left)) for left in (50, 100, 150, 200, 400)}
    assert ("done", "done") in seen
    assert any("NotStorable" in each for each in seen)


WRITTEN: list[tuple[Any, Any]] = [
    ({"rows": [1, 2.5, None, True, "é\n"], "$x": {}}, None),
    ([(1, 2), {3, 4}, {5: b"x"}, 10**700, float("inf"), "\ud800"], None),
    ([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.timedelta(1), Decimal("1.5"), PurePosixPath("a/b")], None),
    ([Row("a", 1.0, tags={"x"}), Key(3), Tree(Row("b"), [Tree(Row("c"))], {Key(1): Row("d")})], list[ANYTHING]),
    ([Part(name="a"), Whole(parts=[Part(name="b")], more=[1]), Point(1.0), Color.BLUE], list[ANYTHING]),
]


def test_cut_and_flipped_bytes_give_a_value_or_a_refusal() -> None:
    """
    Nothing else: no other error, and nothing that could not be written again.

    That a flipped bit may give another value is for the store to notice, which keeps a checksum beside each payload.
    """
    chance = Random(5)
    read_again = refused = 0
    for value, annotation in WRITTEN:
        for data in (encode(value), encode(value, compress=True)):
            variants = [data[:length] for length in range(len(data))]
            bits = range(8 * len(data)) if FULL else chance.sample(range(8 * len(data)), 150)
            for bit in bits:
                flipped = bytearray(data)
                flipped[bit // 8] ^= 1 << bit % 8
                variants.append(bytes(flipped))
            for variant in variants:
                try:
                    found = read(variant, annotation)
                except StoreDamaged:
                    refused += 1
                else:
                    read_again += 1
                    encode(found)
    assert read_again > 100
    assert refused > 1000


# -- anything at all

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["1", "ff", "YQ==", "nan"]),
)
TAGS = st.sampled_from(
    ["$other", "$tuple", "$set", "$frozenset", "$dict", "$custom", "$enum", "$object", "$named", *READERS]
)
LABELS = st.sampled_from(
    [CLASSES + name for name in ("Row", "Key", "Tree", "Point", "Part", "Whole", "Color", "Size", "No")]
)
NAMES = st.sampled_from(["name", "x", "row", "parts", "children", "value", "color"]) | st.text(max_size=2)
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=3),
        st.tuples(TAGS, inner | st.lists(inner, max_size=3)).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(TAGS, LABELS, st.dictionaries(NAMES, inner, max_size=3) | inner).map(
            lambda each: {each[0]: [*each[1:]]}
        ),
        st.tuples(LABELS, st.dictionaries(NAMES, inner, max_size=3), inner, inner, inner).map(
            lambda each: {"$model": [*each]}
        ),
    ),
    max_leaves=12,
)
HEADS = st.sampled_from([PLAIN, TAGGED, LABELLED, SQUEEZED, b"\x13", b"\x17", b"\x18"])
TEXTS = TREES.map(lambda tree: json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass"))
ANY_BYTES = st.one_of(
    st.binary(max_size=40),
    st.tuples(HEADS, st.binary(max_size=40)).map(b"".join),
    st.tuples(st.sampled_from([PLAIN, TAGGED, LABELLED]), TEXTS).map(b"".join),
    TEXTS.map(lambda text: b"\x17" + zlib.compress(text)),
)


@settings(max_examples=EXAMPLES)
@given(ANY_BYTES, st.sampled_from([None, ANYTHING, list[ANYTHING], dict[str, ANYTHING], Row, list[Part], set[Key]]))
@example(b"", None)
@example(LABELLED + b'{"$dict":[[{"$set":[]},1]]}', None)
@example(LABELLED + b'{"$set":[{"$enum":["x",[]]}]}', Row)
def test_any_bytes_give_a_value_or_a_refusal(data: bytes, annotation: Any) -> None:
    """And a value that was read can be written, read again, and is the same."""
    try:
        value = read(data, annotation)
    except StoreDamaged:
        return
    again = encode(value)
    assert encode(decode(again, annotation)) == again


@settings(max_examples=EXAMPLES // 4)
@given(ANY_BYTES | st.tuples(st.just(b"\x18"), TEXTS).map(b"".join))
def test_any_bytes_give_an_error_or_a_refusal(data: bytes) -> None:
    try:
        error = decode_error(data)
    except StoreDamaged:
        return
    assert type(error) is StoredError


@pytest.mark.parametrize("data", [None, "text", bytearray(b"\x101"), memoryview(b"\x101"), 5, [b"\x101"]])
def test_what_is_not_bytes_is_damaged(data: Any) -> None:
    """A column of a database can hold anything."""
    with pytest.raises(StoreDamaged, match="not bytes"):
        decode(data)


def test_values_and_errors_are_not_mixed_up() -> None:
    with pytest.raises(StoreDamaged, match="is an exception"):
        decode(encode_error(ValueError("x")))
    with pytest.raises(StoreDamaged, match="something else"):
        decode_error(encode({"type": "a", "message": "", "traceback": "", "notes": []}))
    for body in (
        b"{}",
        b"[]",
        b'{"type":1,"message":"","traceback":"","notes":[]}',
        b'{"type":"","message":"","traceback":"","notes":[1]}',
    ):
        with pytest.raises(StoreDamaged, match="a stored exception is"):
            decode_error(b"\x18" + body)
