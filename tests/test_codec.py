"""Values become bytes and values again; see antichain.stores.codec."""

from __future__ import annotations

import collections
import datetime as dt
import math
import pathlib
import struct
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, NewType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antichain import Outcome
from antichain.errors import NotStorable, StoreDamaged
from antichain.stores.codec import ValueLimits, annotation_of, check_annotation, decode, digest, encode, register_codec
from antichain.stores.codec.registry import BY_NAME, BY_TYPE
from tests.conftest import FULL
from tests.support.stored_types import (
    Box,
    Circle,
    Color,
    Growing,
    Key,
    Made,
    Meters,
    Options,
    Part,
    Parts,
    Point,
    Rights,
    Row,
    RowBox,
    Shape,
    Size,
    Square,
    Strict,
    Tree,
    Whole,
    Word,
)

EXAMPLES = 600 if FULL else 60
RowId = NewType("RowId", Key)


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type, all the way down; a NaN is equal to one with the same bits."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack(">d", left) == struct.pack(">d", right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(map(repr, left)) == list(map(repr, right)) and all(map(same, left.values(), right.values()))
    if isinstance(left, dt.datetime | dt.time):
        return left.isoformat() == right.isoformat() and left.fold == right.fold and left.tzname() == right.tzname()
    if isinstance(left, Decimal):
        return repr(left) == repr(right)
    if isinstance(left, set | frozenset):
        return sorted(map(repr, left)) == sorted(map(repr, right))
    return bool(left == right)


# -- all types

ZONES = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))),
    st.builds(dt.timezone, st.just(dt.timedelta(hours=1)), st.text(max_size=5)),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
)
TEXT = st.text(st.characters(), max_size=8)  # lone surrogates too
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**700), 10**700),
    st.floats(),
    TEXT,
    st.binary(max_size=8),
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.times(timezones=ZONES),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    TEXT.map(pathlib.PurePosixPath),
    TEXT.map(pathlib.PureWindowsPath),
    TEXT.map(pathlib.Path),
)
KEYS = HASHABLE.filter(lambda key: not (isinstance(key, Decimal) and key.is_snan()))
VALUES = st.recursive(
    HASHABLE | st.binary(max_size=8).map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(TEXT | st.sampled_from(["$set", "$dict", "$"]), inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=EXAMPLES)
@given(VALUES, st.booleans())
def test_every_type_comes_back_as_it_was(value: Any, compress: bool) -> None:
    """Equal, of the same types, in the same order: whatever is nested in what."""
    data = encode(value, compress=compress)
    assert same(decode(data), value)
    assert same(decode(data, list[Row]), value)  # an annotation changes nothing that says by itself what it is
    assert encode(decode(data), compress=compress) == data


ROWS = st.builds(Row, TEXT, st.none() | st.floats(allow_nan=False), st.sampled_from(Color), st.sets(TEXT, max_size=2))
KEYED = st.builds(Key, st.integers(), st.sampled_from(Size))
POINTS = st.builds(Point, st.floats(allow_nan=False), st.just(0.0), st.none() | ROWS)
PARTS = st.builds(Part, name=st.text(max_size=5), when=st.none() | st.datetimes(), color=st.sampled_from(Color))
TREES = st.recursive(
    st.builds(Tree, ROWS),
    lambda inner: st.builds(Tree, ROWS, st.lists(inner, max_size=2), st.dictionaries(KEYED, ROWS, max_size=2)),
    max_leaves=4,
)
WHOLES = st.builds(
    Whole, parts=st.lists(PARTS, max_size=2), byAlias=st.integers(), either=st.none() | ROWS | PARTS, more=TEXT
)
# Each value with annotations that fit it.
ANNOTATED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Row, ROWS),
    (Row | None, st.none() | ROWS),
    (list[Row], st.lists(ROWS, max_size=3)),
    (Sequence[Annotated[Row, "a note"]], st.lists(ROWS, max_size=2)),
    (dict[str, Row | list[Point]], st.dictionaries(TEXT, ROWS | st.lists(POINTS, max_size=2), max_size=2)),
    (Mapping[Key, Point], st.dictionaries(KEYED, POINTS, max_size=3)),
    (set[RowId], st.sets(KEYED, max_size=3)),
    (frozenset[Key | Color], st.frozensets(KEYED | st.sampled_from(Color), max_size=4)),
    (tuple[Row, Point, int], st.tuples(ROWS, POINTS, st.integers())),
    (tuple[Row | Key, ...], st.lists(ROWS | KEYED, max_size=3).map(tuple)),
    (list[Row] | dict[str, Key], st.lists(ROWS, max_size=2) | st.dictionaries(TEXT, KEYED, max_size=2)),
    (Tree, TREES),
    (Shape, st.builds(Circle, TEXT, st.just(1.0)) | st.builds(Square, TEXT, st.just(2.0)) | st.builds(Shape, TEXT)),
    (Circle | Square, st.builds(Circle, TEXT, st.just(1.0)) | st.builds(Square, TEXT, st.just(2.0))),
    (Box[Row], st.builds(Box, ROWS, st.lists(ROWS, max_size=2))),
    (RowBox, st.builds(RowBox, ROWS)),
    (Options, st.fixed_dictionaries({"row": ROWS}, optional={"points": st.lists(POINTS, max_size=2)})),
    (Literal[Color.RED, "x"], st.sampled_from([Color.RED, "x"])),
    (Rights, st.sampled_from([Rights.READ, Rights.READ | Rights.WRITE, Rights(0)])),
    (list[Word | Size], st.lists(st.sampled_from([*Word, *Size]), max_size=3)),
    (Part, PARTS),
    (list[Part | Row], st.lists(PARTS | ROWS, max_size=2)),
    (Whole, WHOLES),
    (Parts, st.lists(PARTS, max_size=2).map(Parts)),
    (Strict, st.builds(Strict, pair=st.tuples(st.integers(), st.binary(max_size=3)), size=st.sampled_from(Size))),
]


@settings(max_examples=EXAMPLES // 6)
@pytest.mark.parametrize(("annotation", "values"), ANNOTATED, ids=[str(each) for each, _ in ANNOTATED])
@given(data=st.data())
def test_classes_come_back_by_their_annotation(annotation: Any, values: Any, data: st.DataObject) -> None:
    value = data.draw(values)
    stored = encode(value)
    check_annotation(stored, annotation)
    read = decode(stored, annotation)
    assert read == value
    assert same(encode(read), stored)
    decode(stored)  # and plain data, whatever they were


def test_without_an_annotation_instances_are_plain_data() -> None:
    value = [Row("a"), Point(1.0), Color.BLUE, Part(name="b"), {Key(1): Size.LARGE}, {Key(1), Key(2)}]
    assert decode(encode(value)) == [
        {"name": "a", "score": None, "color": "red", "tags": set()},
        (1.0, 0.0, None),
        ("blue", 2),
        {"name": "b", "when": None, "color": "red"},
        [({"x": 1, "size": 1}, 2)],
        [{"x": 1, "size": 1}, {"x": 2, "size": 1}],
    ]


def test_what_would_come_back_as_plain_data_is_named() -> None:
    """Before the value is acknowledged, not when it is needed."""
    stored = encode({"rows": [1, Row("a")]})
    check_annotation(stored, dict[str, list[Row | int]])
    for annotation in (None, dict, Any, dict[str, list[Any]], "dict[str, list[Row]]"):
        with pytest.raises(NotStorable) as caught:
            check_annotation(stored, annotation)
        assert caught.value.path == "output['rows'][1]"
        assert "Row, and nothing says so where it is read again" in caught.value.problem
    with pytest.raises(NotStorable, match=r"is a .*Row, where Key is expected"):
        check_annotation(stored, dict[str, list[Key]])


def test_a_copy_is_exact_and_runs_nothing() -> None:
    """What a class does when it is made is not done again; what nobody has set stays so, and no cache is kept."""
    made = Made(1)
    assert made.text == "2"
    read = decode(encode(made), Made)
    assert (read.number, read.doubled, read.__dict__) == (2, 4, {"number": 2, "doubled": 4})


def test_fields_that_a_model_was_not_given_stay_so() -> None:
    """An API is sent what was set, not the defaults."""
    read = decode(encode(Whole(byAlias=3, more=1)), Whole)
    assert read.model_dump(exclude_unset=True) == {"by_alias": 3, "more": 1}
    private = Whole()
    private._seen = 5
    assert decode(encode(private), Whole)._seen == 5


def test_a_model_whose_validators_change_it_is_refused() -> None:
    """They have had the value once already; and the node that made it is told."""
    stored = encode(Growing(price=1))
    with pytest.raises(StoreDamaged, match="is changed by the validators of Growing"):
        decode(stored, Growing)
    with pytest.raises(NotStorable, match="register_codec"):
        check_annotation(stored, Growing)


def test_a_class_may_grow_but_not_shrink() -> None:
    """A new field has its default; one that is gone, or new without a default, is refused by name."""
    label = f"{Row.__module__}.Row"

    def stored(fields: str) -> bytes:
        return f'\x15{{"$object":["{label}",{fields}]}}'.encode()

    assert decode(stored('{"name":"a"}'), Row) == Row("a")
    with pytest.raises(StoreDamaged, match="has a field 'height', which Row has not"):
        decode(stored('{"name":"a","height":1}'), Row)
    with pytest.raises(StoreDamaged, match="has no field 'name', which Row has without a default"):
        decode(stored("{}"), Row)


def test_a_class_that_moved_is_known_by_its_name() -> None:
    stored = b'\x15{"$object":["old.place.Row",{"name":"a"}]}'
    assert decode(stored, Row) == Row("a")
    with pytest.raises(StoreDamaged, match=r"is a old\.place\.Row, where Key is expected"):
        decode(stored, Key)


def test_of_two_classes_with_one_name_neither_is_guessed() -> None:
    twins = [make_dataclass("Twin", [], bases=(Shape,)) for _ in range(2)]
    twins[0].__module__, twins[1].__module__ = "one", "other"
    assert type(decode(b'\x15{"$object":["one.Twin",{"name":"a"}]}', Shape)) is twins[0]
    assert type(decode(b'\x15{"$object":["other.Twin",{"name":"a"}]}', Shape)) is twins[1]
    with pytest.raises(StoreDamaged, match=r"is a old\.Twin, where Shape is expected"):
        decode(b'\x15{"$object":["old.Twin",{"name":"a"}]}', Shape)


def test_an_enum_that_lost_a_member_is_refused() -> None:
    label = f"{Color.__module__}.Color"
    with pytest.raises(StoreDamaged, match="'green' is not a valid Color"):
        decode(f'\x15{{"$enum":["{label}","green"]}}'.encode(), Color)


# -- refusals


@dataclass
class WithMore:
    a: int

    def __post_init__(self) -> None:
        self.hidden = 1


@dataclass
class Texts(list[str]):
    a: int


def cycle() -> Any:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append({"b": value})
    return value


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED: list[tuple[Any, str, str]] = [
    ({"rows": [1, 2, 3, Row(object())]}, "output['rows'][3].name", "it is an object, which is none of the types"),  # type: ignore[arg-type]
    ((1, {2: open}), "output[1][2]", "it is a builtin_function_or_method"),
    ({(1, 3j): 2}, "output.keys()[(1, 3j)][1]", "it is a complex"),
    ({1, 3j}, "output{3j}", "register_codec(type, encode, decode), or keep no output of this node: persist=False"),
    (collections.OrderedDict(a=1), "output", "only dict itself is stored: a dict would come back"),
    ([type("Name", (str,), {})("x")], "output[0]", "only str itself is stored"),
    (type("Number", (int,), {})(1), "output", "only int itself is stored"),
    (Point(1.0, 2.0, row=3j), "output.row", "complex"),  # type: ignore[arg-type]
    (Part.model_construct(name=3j), "output.name", "complex"),
    (WithMore(1), "output", "has an attribute 'hidden' that is no field: declare it, as field(init=False)"),
    (Texts(1), "output", "is a dataclass and a list at once"),
    (cycle(), "output['a'][1]['b']", "it contains itself"),
    (deep(101), "output" + 100 * "[0]", "it is nested more than 100 deep, beyond ValueLimits(depth=…)"),
    (10**100_001, "output", "a number of more than 100,000 digits, beyond ValueLimits(digits=…)"),
    ([b"x" * 10_000_000], "output[0]", "more than 10,000,000 bytes, beyond ValueLimits(size_bytes=…)"),
    ("x" * 10_000_001, "output", "more than 10,000,000 bytes"),
    (
        dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {"utcoffset": lambda *_: None})()),
        "output",
        "time zone",
    ),
    ({k * sys.hash_info.modulus for k in range(1, 40)}, "output", "39 of its keys have the same hash"),
    (iter([1]), "output", "it is a list_iterator"),
    ([pathlib.PurePosixPath("a/" * 40_000)], "output[0]", "a path of more than 65,536 characters"),
]


@pytest.mark.parametrize(
    ("value", "path", "problem"), REFUSED, ids=[f"{i} {each[1][:30]}" for i, each in enumerate(REFUSED)]
)
def test_what_cannot_be_stored_is_named_where_it_is(value: Any, path: str, problem: str) -> None:
    with pytest.raises(NotStorable) as caught:
        encode(value)
    assert caught.value.path == path
    assert problem in caught.value.problem
    with pytest.raises(NotStorable):
        digest(value)


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ([1, 2, 3], ValueLimits(items=3)),
        ({"a": {"b": 1}}, ValueLimits(items=4)),
        ((1, 2, 3), ValueLimits(items=5)),
        ([[1]], ValueLimits(depth=1)),
        ([[]], ValueLimits(depth=1)),
        (10**9, ValueLimits(size_bytes=5)),
        ("äöü", ValueLimits(size_bytes=7)),
        ([dt.date(2026, 1, 1)] * 3, ValueLimits(items=6)),
    ],
)
def test_what_is_too_large_to_be_written_is_too_large_to_be_read(value: Any, limits: ValueLimits) -> None:
    """The same limits, at the same place."""
    with pytest.raises(NotStorable, match="beyond"):
        encode(value, limits=limits)
    with pytest.raises(StoreDamaged, match="more than"):
        decode(encode(value), limits=limits)


@settings(max_examples=EXAMPLES)
@given(VALUES, st.integers(1, 40), st.integers(1, 5), st.integers(5, 200))
def test_what_is_written_within_limits_is_read_within_them(value: Any, items: int, depth: int, size: int) -> None:
    limits = ValueLimits(items=items, depth=depth, size_bytes=size)
    try:
        data = encode(value, limits=limits)
    except NotStorable:
        return
    assert same(decode(data, limits=limits), value)


def test_text_full_of_commas_and_quotes_is_one_item() -> None:
    """What looks like items in a text is counted as text."""
    limits = ValueLimits(items=10, depth=2)
    for text in ('{"a":[1,2]},' * 20, '\\"' * 40, "\\" * 41 + '"[[['):
        assert decode(encode([text], limits=limits), limits=limits) == [text]
        assert decode(encode((text,), limits=limits), limits=limits) == (text,)


def test_shared_parts_are_no_cycles() -> None:
    part = [1]
    assert decode(encode({"a": part, "b": [part, (part,)]})) == {"a": [1], "b": [[1], ([1],)]}
    for _ in range(60):
        part = [part, part]  # type: ignore[list-item]
    with pytest.raises(NotStorable, match="more than 1,000 items"):
        encode(part, limits=ValueLimits(items=1000))


# -- registered types


@pytest.fixture
def registered() -> Iterator[None]:
    register_codec(Meters, lambda meters: {"m": meters.length}, lambda data: Meters(data["m"]), name="meters")
    yield
    codec = BY_TYPE.pop(Meters)
    del BY_NAME[codec.name]


@pytest.mark.usefixtures("registered")
def test_registered_types_go_where_others_go() -> None:
    value = [Meters(1), {Meters(2): (Meters(3.5),)}, {Meters(4)}, Row(Meters(5))]  # type: ignore[arg-type]
    stored = encode(value)
    assert decode(stored, list[Any])[:3] == value[:3]
    assert decode(stored, list[Row])[3] == value[3]
    with pytest.raises(NotStorable, match="complex"):
        encode(Meters(3j))


@pytest.mark.usefixtures("registered")
def test_a_codec_that_fails_is_named() -> None:
    register_codec(Meters, lambda meters: meters.nothing, lambda data: data["nothing"], name="meters")
    with pytest.raises(NotStorable, match=r"for meters raised AttributeError"):
        encode(Meters(1))
    with pytest.raises(StoreDamaged, match=r"for meters raised KeyError"):
        decode(b'\x11{"$custom":["meters",{"m":1}]}')


def test_what_is_not_registered_says_so() -> None:
    with pytest.raises(StoreDamaged, match=r"'meters' is not registered here: call antichain\.register_codec"):
        decode(b'\x11{"$custom":["meters",{"m":1}]}')


@pytest.mark.usefixtures("registered")
def test_names_of_codecs_are_taken_once() -> None:
    with pytest.raises(ValueError, match="the name 'meters' is that of"):
        register_codec(complex, str, complex, name="meters")
    with pytest.raises(ValueError, match="dict can be stored as it is"):
        register_codec(dict, list, dict)
    with pytest.raises(TypeError, match="takes a class and two functions"):
        register_codec(Meters, str, None)  # type: ignore[arg-type]


# -- digests


@settings(max_examples=EXAMPLES // 4)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_dicts_does_not_count(value: dict[Any, Any], chance: Any) -> None:
    items = list(value.items())
    chance.shuffle(items)
    assert digest(dict(items)) == digest(value)
    assert digest({"a": [dict(items)], "b": 1}) == digest({"b": 1, "a": [value]})


@settings(max_examples=EXAMPLES // 4)
@given(VALUES, VALUES)
def test_digests_differ_where_values_do(left: Any, right: Any) -> None:
    assert (digest(left) == digest(right)) == (digest([left]) == digest([right]))
    if same(left, right):
        assert digest(left) == digest(right)
    elif digest(left) == digest(right):
        assert left == right  # but for the order of a dict


def test_a_field_that_says_so_is_stored_and_does_not_count_in_the_digest() -> None:
    """That of an outcome is the one that it had before it said why."""
    why = Outcome("0", "succeeded", 0, reason="checkpoint")
    assert digest(why) == digest(Outcome("0", "succeeded", 0)) == "dba23c726d318184"
    assert decode(encode(why))["reason"] == "checkpoint"


def test_digests_are_known() -> None:
    """They are in files of users."""
    assert digest({"b": [1, 2.5, None], "a": "é"}) == "579e45efa948412a"
    assert digest({"b": (1, {2, 3}), "a": dt.date(2026, 11, 22)}) == "66da3912a2934242"
    assert digest({1, 2, 3}) == digest({3, 2, 1})
    assert len({digest(each) for each in (1, 1.0, True, "1", [1], (1,), {"$tuple": [1]}, {1}, b"1")}) == 9


# -- redaction


def test_every_text_is_redacted() -> None:
    """Keys too, bytes that are text too; what belongs to a class and not to its data is not."""
    asked: list[str] = []

    def redact(text: str) -> str:
        asked.append(text)
        return text.replace("s3cret", "***")

    value = {
        "s3cret": ["my s3cret", b"s3cret", b"\xff", Row("s3cret", tags={"s3cret"}), pathlib.PurePosixPath("s3cret/a")]
    }
    stored = encode(value, redact=redact)
    assert b"s3cret" not in stored
    assert (
        decode(stored, dict[str, list[Row | Any]])
        == {"***": ["my ***", b"***", b"\xff", Row("***", tags={"***"}), pathlib.PurePosixPath("***/a")]}
        or decode(stored)["***"][0] == "my ***"
    )
    assert "red" not in asked
    assert "name" not in asked


def test_keys_that_become_alike_stay_apart() -> None:
    stored = encode({"a1": 1, "a2": 2, "a3": {"b1", "b2"}}, redact=lambda text: text[0])
    assert decode(stored) == {"a": 1, "a (2)": 2, "a (3)": {"b"}}


# -- annotations of functions


def rows() -> list[Row]: ...


async def fetched() -> Row | None: ...


async def streamed() -> AsyncIterator[Row]:
    yield Row("a")


def counted() -> Iterator[Row]:
    yield Row("a")


def nothing() -> None: ...


def unsaid(): ...  # type: ignore[no-untyped-def]


def unresolved() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


class Caller:
    def __call__(self) -> Row: ...

    def method(self) -> Row: ...


def test_annotations_of_functions_are_resolved() -> None:
    @dataclass
    class Local:
        a: int

    def local() -> list[Local]:
        return [Local(1)]

    found = {
        rows: list[Row],
        fetched: Row | None,
        streamed: list[Row],
        counted: list[Row],
        nothing: type(None),
        unsaid: None,
        unresolved: None,
        Caller(): Row,
        Caller().method: Row,
        partial(partial(rows)): list[Row],
        Row: Row,
        local: list[Local],
        len: None,
        print: None,
    }
    for function, annotation in found.items():
        assert annotation_of(function) == annotation, function
    assert decode(encode(local()), annotation_of(local)) == local()
    assert annotation_of(3) is None


# -- bytes


def test_bytes_on_disk_are_known() -> None:
    """They are in files of users: what an earlier release wrote is read for ever."""
    known = {
        b"\x10null": None,
        b"\x107": 7,
        b'\x10{"a":[1,2.5,"\xc3\xa9"]}': {"a": [1, 2.5, "é"]},
        b'\x11{"$tuple":[1,{"$set":[2]}]}': (1, {2}),
        b'\x10{"$x":1}': {"$x": 1},
        b'\x11[{"$dict":[["$x",1]]},{"$tuple":[]}]': [{"$x": 1}, ()],
        b'\x11{"$dict":[[1,{"$bytes":"eA=="}]]}': {1: b"x"},
        b'\x11[{"$float":"inf"},{"$float":"-inf"}]': [math.inf, -math.inf],
        b'\x11{"$text":"7aCA"}': "\ud800",
        b'\x11{"$datetime":["2026-11-22T14:00:00",1,"Europe/Berlin"]}': dt.datetime(
            2026, 11, 22, 14, fold=1, tzinfo=ZoneInfo("Europe/Berlin")
        ),
        b'\x11{"$datetime":"2026-11-22T14:00:00+00:00"}': dt.datetime(2026, 11, 22, 14, tzinfo=dt.UTC),
        b'\x11{"$time":["01:00:00",0,[1]]}': dt.time(1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
        b'\x11[{"$timedelta":[-1,3,0]},{"$decimal":"1.50"}]': [dt.timedelta(-1, 3), Decimal("1.50")],
        b'\x11{"$uuid":"00000000-0000-0000-0000-000000000007"}': uuid.UUID(int=7),
        b'\x11{"$path":["pure-posix","/a"]}': pathlib.PurePosixPath("/a"),
    }
    for data, value in known.items():
        assert encode(value) == data
        assert same(decode(data), value)


def test_compression_is_for_what_it_makes_smaller() -> None:
    assert len(encode("x" * 1000, compress=True)) < 40
    assert encode("x", compress=True) == encode("x")


def test_any_setting_of_the_interpreter_reads_the_same() -> None:
    """Python refuses to read numbers with many digits, by default those of more than 4,300."""
    before = sys.get_int_max_str_digits()
    values = [10**599, 10**600, 10**5000, -(10**5000)]
    stored = encode(values)
    try:
        for limit in (640, 0):
            sys.set_int_max_str_digits(limit)
            assert decode(stored) == values
            assert encode(values) == stored
    finally:
        sys.set_int_max_str_digits(before)
