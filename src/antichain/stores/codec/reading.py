"""
From bytes that may be anybody's to a value, or to a refusal: nothing else happens, and it takes a bounded time.

JSON is read with everything that says by itself what it is. Instances of classes, and what holds them, are made in a
second pass, which knows what the reader expects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, get_origin

from antichain.errors import NotStorable, StoreDamaged, shown
from antichain.printable import printable
from antichain.stores.codec import described
from antichain.stores.codec.annotations import (
    OPEN,
    Classes,
    Options,
    fields_for,
    inside,
    is_open,
    keys_for,
    options_of,
)
from antichain.stores.codec.described import Misfit, Model
from antichain.stores.codec.form import ERROR, LABELLED, PLAIN, TAGGED, unpack
from antichain.stores.codec.limits import DEFAULT_LIMITS, ValueLimits, crowd
from antichain.stores.codec.plain import encode
from antichain.stores.codec.registry import BY_NAME, with_article
from antichain.stores.codec.tags import READERS, READING_ERRORS
from antichain.stores.codec.writing import tree_of

__all__ = ["check_annotation", "decode", "loads"]

# In this file, Any is a value, or JSON that may be anything.

SIMPLE: Final[dict[bytes, Any]] = {PLAIN + b"null": None, PLAIN + b"true": True, PLAIN + b"false": False}
MAX_SIMPLE: Final = max(map(len, SIMPLE))
# Of a whole number in JSON; larger ones have a tag. Any Python reads so many, whatever its limit is.
MAX_PLAIN_CHARACTERS: Final = 601

# Where in a value something is: the place of what is around it, and the last step from there, told when it is needed.
Place = tuple[Any, ...]
AT: Final = "[{}]"
FIELD: Final = ".{}"
AMONG: Final = "{{{}}}"
HERE: Final[Place] = ()


def decode(data: bytes, annotation: Any = None, *, limits: ValueLimits = DEFAULT_LIMITS) -> Any:
    """
    Turn what `encode` made back into a value; whatever *data* is, nothing is imported and nothing but the values' own
    types is run.

    Instances of classes are made only of those that *annotation* expects, as in ``list[Row]`` or ``Row | None``, and
    of what is derived from them; without it they are plain data: a dataclass and a model a dict, a NamedTuple a tuple,
    an Enum its value. An annotation changes nothing else.

    Raises:
        StoreDamaged: this cannot be trusted, is larger than *limits*, or does not fit the class that is expected.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Row:
        ...     name: str
        >>> decode(encode([Row("a")]), list[Row])
        [Row(name='a')]
        >>> decode(encode([Row("a")]))
        [{'name': 'a'}]
    """
    if type(data) is bytes and len(data) <= MAX_SIMPLE and data in SIMPLE:
        return SIMPLE[data]
    flags, found = loads(data, limits)
    if flags & ERROR:
        raise StoreDamaged("a stored value is an exception, where the output of a node was expected")
    if not flags & LABELLED:
        return found
    return Maker(limits).value(found, OPEN if annotation is None else options_of(annotation), HERE)


def check_annotation(
    data: bytes, annotation: Any, *, limits: ValueLimits = DEFAULT_LIMITS, name: str = "output"
) -> None:
    """
    Check that what was just encoded will come back as it is, read with that annotation: not as plain data, because the
    annotation does not say which class it is of.

    Raises:
        NotStorable: it would not; where in the value, and what to annotate.
    """
    if not data[0] & (TAGGED | LABELLED):
        return
    maker = Maker(limits)
    try:
        _, found = loads(data, limits)
        made = maker.value(found, OPEN if annotation is None else options_of(annotation), HERE)
    except StoreDamaged as error:
        raise NotStorable(name, f"it could not be read again: {error}") from error
    more = "or say how with antichain.register_codec, or return plain data, or use persist=False"
    if maker.lost is not None:
        label, place = maker.lost
        back = "it would come back as plain data"
        what = f"it is {with_article(label)}, and nothing says so where it is read again: {back}"
        way = "Annotate what the node returns with that class (-> Row, list[Row], dict[str, Row] | None, …)"
        raise NotStorable(name + _path(place), f"{what}. {way}, {more}")
    # What is lost in a model may be made again by its validation, or not.
    if maker.has_models and _text_of(encode(made, limits=limits), limits) != _text_of(data, limits):
        what = "it holds a model with something in it of which its fields do not say what it is"
        raise NotStorable(name, f"{what}: it would come back as plain data. Annotate the field with its class, {more}")


def _text_of(data: bytes, limits: ValueLimits) -> str:
    return unpack(data, limits)[1]


# -- the first pass


def loads(data: bytes, limits: ValueLimits) -> tuple[int, Any]:
    """
    Read the flags and the JSON of *data*, with all that says by itself what it is.
    """
    flags, text = unpack(data, limits)
    try:
        read = _decoder(flags & (TAGGED | LABELLED), limits) if flags & (TAGGED | LABELLED) else READ_PLAIN
        found, end = read(text)
    except RecursionError:
        raise StoreDamaged("a stored value is nested too deep to be read") from None
    except ValueError as error:
        raise StoreDamaged(f"a stored value is not what was written: {error}") from None
    if end != len(text):
        raise StoreDamaged("a stored value is not what was written: there is something behind it")
    return flags, found


@lru_cache(maxsize=64)
def _decoder(flags: int, limits: ValueLimits) -> Callable[[str], tuple[Any, int]]:
    if not flags & TAGGED:
        raise StoreDamaged("a stored value has flags that are never written")
    return _json_reader(_tag_reader(limits, _LATER if flags & LABELLED else _MAKERS))


def _json_reader(read: Callable[[list[tuple[str, Any]]], Any]) -> Callable[[str], tuple[Any, int]]:
    return json.JSONDecoder(
        object_pairs_hook=read, parse_float=_read_real, parse_int=_read_whole, parse_constant=_read_constant
    ).raw_decode


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _read_real(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise ValueError(f"{printable(text, 40)} is too large for a float")
    return value


def _read_whole(text: str) -> int:
    if len(text) > MAX_PLAIN_CHARACTERS:
        raise ValueError(f"a whole number has {len(text)} characters")
    return int(text)


def _read_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


READ_PLAIN = _json_reader(_read_object)


def _tag_reader(
    limits: ValueLimits, makers: Mapping[str, Callable[[Any], Any]]
) -> Callable[[list[tuple[str, Any]]], Any]:
    def read(pairs: list[tuple[str, Any]]) -> Any:
        if len(pairs) != 1 or not pairs[0][0].startswith("$"):
            return _read_object(pairs)
        tag, payload = pairs[0]
        maker = READERS.get(tag) or makers.get(tag)
        if maker is None:
            raise ValueError(f"{printable(tag, 40)} is no tag of antichain")
        if tag in _OF_DIGITS and type(payload) is str and len(payload) > limits.digits:
            raise ValueError(f"a number has {len(payload):,} digits")
        try:
            return maker(payload)
        except Exception as error:  # of the types themselves, or foreign code
            raise ValueError(f"{tag} of {shown(payload)}: {str(error) or type(error).__name__}") from error

    return read


_OF_DIGITS = frozenset(["$int", "$decimal"])


class Pending:
    """
    What is made in the second pass: an instance, or something that may hold one.
    """

    __slots__ = ("payload", "tag")

    def __init__(self, tag: str, payload: Any) -> None:
        self.tag = tag
        self.payload = payload

    def __repr__(self) -> str:
        return f"<{self.tag}>"


def _later(tag: str, parts: int) -> Callable[[Any], Pending]:
    """
    Make what keeps the payload of a tag; of an instance, a label and so many *parts* in all.
    """

    def keep(payload: Any) -> Pending:
        items = _list(payload)
        if parts and (len(items) != parts or type(items[0]) is not str):
            raise ValueError("a label is needed, and what it is a label of")
        return Pending(tag, items)

    return keep


# -- containers


def _list(payload: Any) -> list[Any]:
    if type(payload) is not list:
        raise ValueError(f"a list is needed, not a {type(payload).__name__}")
    return payload


def _pairs(payload: Any) -> list[tuple[Any, Any]]:
    pairs = [tuple(_list(each)) for each in _list(payload)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a pair of key and value has two parts")
    return pairs


def _as_set(members: Iterable[Any]) -> set[Any]:
    found = list(members)
    _check_crowd(found)
    made = set(found)
    if len(made) != len(found):
        raise ValueError("something is there twice")
    return made


def _as_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    _check_crowd([key for key, _ in pairs])
    return _read_object(pairs)


def _check_crowd(keys: list[Any]) -> None:
    most = crowd(keys)
    if most:
        raise ValueError(f"{most} keys have the same hash")


def _as_custom(name: Any, payload: Any) -> Any:
    codec = BY_NAME.get(name) if type(name) is str else None
    if codec is None:
        known = f"{shown(name)} is not registered here"
        raise ValueError(f"{known}: call antichain.register_codec(…) before the store is read")
    try:
        return codec.decode(payload)
    except Exception as error:
        raise ValueError(f"what register_codec was given for {codec.name} raised {shown(error)}") from error


def _read_custom(payload: Any) -> Any:
    name, data = _list(payload)
    return _as_custom(name, data)


_MAKERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$tuple": lambda payload: tuple(_list(payload)),
    "$set": lambda payload: _as_set(_list(payload)),
    "$frozenset": lambda payload: frozenset(_as_set(_list(payload))),
    "$dict": lambda payload: _as_dict(_pairs(payload)),
    "$custom": _read_custom,
}
_LATER: Final[dict[str, Callable[[Any], Any]]] = {
    **{tag: _later(tag, 0) for tag in ("$tuple", "$set", "$frozenset", "$dict")},
    **{tag: _later(tag, 2) for tag in ("$custom", "$enum", "$object", "$named")},
    "$model": _later("$model", len(("label", *Model._fields))),
}


# -- the second pass


class Maker:
    """
    Make instances, and what holds them, of what the first pass has read.
    """

    def __init__(self, limits: ValueLimits) -> None:
        self._limits = limits
        self._classes = Classes()
        # How many instances have become plain data, because nothing said of which class they are; the first of them.
        self._losses = 0
        self.lost: tuple[str, Place] | None = None
        self.has_models = False
        # In a model, which finds by itself what its fields are.
        self._is_inside_model = False

    def value(self, found: Any, options: Options, place: Place) -> Any:
        """
        Make the value of *found*, which was read at *place* where one of *options* is expected.
        """
        kind = type(found)
        if kind is list:
            return self._items(found, list, options, place)
        if kind is dict:
            _, at = keys_for(options) if options else (OPEN, _nothing)
            return {key: self.value(each, at(key), (place, AT, key)) for key, each in found.items()}
        if kind is not Pending:
            return found
        try:
            return self._pending(found.tag, found.payload, options, place)
        except StoreDamaged:
            raise
        except Exception as error:  # of the types themselves, or foreign code
            raise StoreDamaged(f"{_named(place)} {str(error) or type(error).__name__}") from error

    def _pending(self, tag: str, payload: list[Any], options: Options, place: Place) -> Any:
        match tag:
            case "$tuple":
                return tuple(self._items(payload, tuple, options, place))
            case "$set" | "$frozenset":
                return self._members(payload, set if tag == "$set" else frozenset, options, place)
            case "$dict":
                return self._pairs(payload, options, place)
            case "$custom":
                name, data = payload
                return _as_custom(name, self.value(data, OPEN, place))
            case _:
                return self._instance(tag, payload, options, place)

    # -- containers

    def _items(self, found: list[Any], kind: type, options: Options, place: Place) -> list[Any]:
        known = inside(options, kind) if options else OPEN
        if isinstance(known, list):  # each place of a tuple is something else
            if len(known) != len(found):
                known = OPEN
            else:
                return [self.value(each, known[i], (place, AT, i)) for i, each in enumerate(found)]
        return [self.value(each, tuple(known), (place, AT, i)) for i, each in enumerate(found)]

    def _members(self, found: list[Any], kind: Any, options: Options, place: Place) -> Any:
        known = tuple(inside(options, kind)) if options else OPEN
        losses = self._losses
        members = [self.value(each, known, (place, AMONG, "…")) for each in found]
        try:
            return kind(_as_set(members))
        except READING_ERRORS:
            if self._losses == losses:
                raise
            return members  # dicts that were instances can be in no set

    def _pairs(self, found: list[Any], options: Options, place: Place) -> Any:
        keys, at = keys_for(options) if options else (OPEN, _nothing)
        losses = self._losses
        pairs = []
        for key, each in _pairs(found):
            made = self.value(key, keys, (place, FIELD, "keys()"))
            pairs.append((made, self.value(each, at(made) if _is_name(made) else at(None), (place, AT, made))))
        try:
            return _as_dict(pairs)
        except READING_ERRORS:
            if self._losses == losses:
                raise
            return pairs

    # -- instances

    def _instance(self, tag: str, payload: list[Any], options: Options, place: Place) -> Any:
        label = payload[0]
        option = None if is_open(options) else self._classes.find(label, options, _IS[tag])
        if option is None:
            if not is_open(options) and not self._is_inside_model:
                raise Misfit(f"is a {printable(label)}, where {_expected(options)} is expected")
            self._losses += 1
            if self.lost is None:
                self.lost = (printable(label), place)
            return self._as_data(tag, payload, place)
        kind = get_origin(option) or option
        match tag:
            case "$enum":
                return _member(kind, self.value(payload[1], OPEN, place))
            case "$object":
                return described.make_record(kind, self._fields(payload[1], fields_for(option), place))
            case "$named":
                return described.make_named(kind, self._fields(payload[1], fields_for(option), place))
            case _:
                return self._model(kind, payload, fields_for(option), place)

    def _as_data(self, tag: str, payload: list[Any], place: Place) -> Any:
        if tag == "$enum":
            return self.value(payload[1], OPEN, place)
        if tag == "$named":
            return tuple(self._fields(payload[1], {}, place).values())
        if tag == "$object":
            return self._fields(payload[1], {}, place)
        model = self._parts(payload, {}, place)
        return {**model.fields, **(model.extra or {})}

    def _fields(self, found: Any, options: Mapping[str, Options], place: Place) -> dict[str, Any]:
        if type(found) is not dict:
            raise Misfit(f"has {shown(found)} for fields")
        return {name: self.value(each, options.get(name, OPEN), (place, FIELD, name)) for name, each in found.items()}

    # -- models

    def _model(self, kind: Any, payload: list[Any], options: Mapping[str, Options], place: Place) -> Any:
        self.has_models = True
        was_inside, lost = self._is_inside_model, self.lost
        self._is_inside_model = True
        try:
            model = self._parts(payload, options, place)
        finally:
            self._is_inside_model = was_inside
        # What is lost in it so far, its validation makes.
        self.lost = lost
        try:
            made = described.make_model(kind, model)
        except Exception as error:
            what = " ".join(str(error).split())[:300]
            raise Misfit(f"is refused by {kind.__qualname__}: {type(error).__name__}: {what}") from error
        if not was_inside and not _has_all(made, model.fields):
            self._check_same(made, kind, payload, place)
        return made

    def _parts(self, payload: list[Any], options: Mapping[str, Options], place: Place) -> Model:
        _, fields, given, extra, private = payload
        names = None if given is None else [name for name in _list(given) if type(name) is str]
        return Model(
            self._fields(fields, options, place),
            names,
            None if extra is None else self.value(extra, OPEN, place),
            None if private is None else self._fields(private, {}, place),
        )

    def _check_same(self, made: Any, kind: type, payload: list[Any], place: Place) -> None:
        """
        Check that the validators of a model have changed nothing: they have had the value once already.
        """
        before = Maker(self._limits)._as_data("$model", payload, place)
        after = decode(encode(made, limits=self._limits), limits=self._limits)
        if not _holds(after, before, self._limits):
            what = f"is changed by the validators of {kind.__qualname__} when it is read"
            raise Misfit(f"{what}: say how it is stored with antichain.register_codec")


_IS: Final[dict[str, Callable[[type], bool]]] = {
    "$enum": described.is_enum,
    "$object": described.is_record,
    "$named": described.is_named,
    "$model": described.is_model,
}


def _member(kind: Any, value: Any) -> Any:
    member = kind(value)
    if type(member.value) is not type(value) or member.value != value:
        raise Misfit(f"has {shown(value)}, which is no member of {kind.__qualname__}")
    return member


def _has_all(made: Any, fields: Mapping[str, Any]) -> bool:
    state: dict[str, Any] = made.__dict__
    return all(
        name in state and type(state[name]) is type(each) and state[name] == each for name, each in fields.items()
    )


def _holds(after: Any, before: Any, limits: ValueLimits) -> bool:
    """
    Say whether *after* has all that *before* had; a field that was added to a class since is no difference.
    """
    if type(after) is not type(before):
        return False
    if type(before) is dict:
        return all(name in after and _holds(after[name], each, limits) for name, each in before.items())
    if type(before) is list or type(before) is tuple:
        return len(after) == len(before) and all(map(_holds, after, before, repeat(limits)))
    return bool(after == before) or tree_of(after, limits) == tree_of(before, limits)


def _nothing(key: object) -> Options:
    return OPEN


def _is_name(key: Any) -> bool:
    return type(key) is str


# -- in words


def _named(place: Place) -> str:
    return f"a stored value, at {_path(place)[:500]}," if place else "a stored value"


def _path(place: Place) -> str:
    steps: list[str] = []
    while place:
        place, way, step = place
        steps.append(way.format(printable(step, 80) if way is not AT else shown(step)))
    return "".join(reversed(steps))


def _expected(options: Options) -> str:
    names = [getattr(option, "__qualname__", None) or str(option) for option in options]
    return " or ".join(names[:5])
