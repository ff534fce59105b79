"""
From a value that JSON has not to bytes, or to a refusal that names the place in the value: it is first turned into
JSON, piece by piece. What JSON has is written by `plain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from antichain.errors import NotStorable, shown
from antichain.stores.codec.described import (
    Misfit,
    fields_of,
    is_enum,
    is_model,
    is_named,
    is_record,
    model_of,
    named_of,
)
from antichain.stores.codec.form import LABELLED, TAGGED, as_json, as_sorted_json, pack, too_much
from antichain.stores.codec.limits import DEFAULT_LIMITS, ValueLimits, crowd
from antichain.stores.codec.plain import MAX_PLAIN, SCALARS, plainly
from antichain.stores.codec.registry import BY_TYPE, Codec, label_of, with_article
from antichain.stores.codec.tags import MAX_PATH_CHARACTERS, PATHS, WRITERS, as_base64, whole_tag

__all__ = ["digest", "encode_slowly", "tree_of"]

# In this file, Any is the user's value, or JSON.

# How many bits a decimal digit takes, at least.
BITS_OF_A_DIGIT: Final = 3.3219
WAYS_OUT: Final = (
    "say how with antichain.register_codec(type, encode, decode), or keep no output of this node: persist=False"
)


def encode_slowly(
    value: Any, limits: ValueLimits, redact: Callable[[str], str] | None, name: str, *, compress: bool
) -> bytes:
    """
    Do what `encode` does, whatever the value is.
    """
    text, flags = _slowly(value, limits, None, name) if redact is None else _redacted(value, limits, redact, name)
    return pack(text, flags, compress=compress)


def digest(value: Any, *, limits: ValueLimits = DEFAULT_LIMITS, name: str = "output") -> str:
    """
    Return 16 hexadecimal characters that are the same for values that are stored alike, in whatever order their dicts
    and sets are.

    Like a store, it tells 1 from 1.0 and from True; and it does not look at the module of a class, only at its name.

    Raises:
        NotStorable: what cannot be stored has no digest.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = plainly(value, limits, as_sorted_json)
    if text is None:
        text, flags = _slowly(value, limits, None, name, is_canonical=True)
        text = bytes([flags & TAGGED]) + text
    else:
        text = b"\0" + text
    return sha256(text).hexdigest()[:16]


# -- everything else


class Refused(Exception):  # noqa: N818  # never leaves this file
    """
    Carry what is wrong out of a value; on its way it collects the place, from the inside.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.place: list[str] = []


def _slowly(
    value: Any, limits: ValueLimits, redact: Callable[[str], str] | None, name: str, *, is_canonical: bool = False
) -> tuple[bytes, int]:
    writer = Writer(limits, redact, is_canonical=is_canonical)
    try:
        tree = writer.tree(value)
        text = (as_sorted_json if is_canonical else as_json)(tree).encode()
        problem = too_much(text, writer.flags, limits)
        if problem:
            raise Refused(f"it {problem}, {_beyond('')}")
    except Refused as refused:
        raise NotStorable(name + "".join(reversed(refused.place)), refused.problem) from refused.__cause__
    except RecursionError:
        raise NotStorable(name, "it is nested too deep for what is left of the stack of calls") from None
    return text, writer.flags


def _redacted(value: Any, limits: ValueLimits, redact: Callable[[str], str], name: str) -> tuple[bytes, int]:
    text, flags = _slowly(value, limits, redact, name)
    # Only what knows whole values can look at a whole text: a pattern may match more in it than in its parts.
    holds = getattr(redact, "holds", None)
    if holds is not None and holds(text.decode()):
        raise NotStorable(
            name,
            "it holds something that redact= replaces, where no text is that could be replaced: as a number, in a "
            f"UUID, a date, a member of an Enum, a name of a class. Return it as a text; or {WAYS_OUT}",
        )
    return text, flags


def tree_of(value: Any, limits: ValueLimits) -> Any:
    """
    Return the JSON of a value, as Python has it: equal for values that are stored alike.
    """
    return Writer(limits, None, is_canonical=True).tree(value)


class Writer:
    """
    Turn one value into JSON.
    """

    def __init__(self, limits: ValueLimits, redact: Callable[[str], str] | None, *, is_canonical: bool) -> None:
        self.flags = 0
        self._limits = limits
        self._redact = redact
        self._is_canonical = is_canonical
        # Containers and objects around what is being written, by identity.
        self._around: set[int] = set()
        # How much there is at least, to stop in time: the text is measured when it is complete.
        self._items = 0
        self._size = 0

    def tree(self, value: Any) -> Any:
        """
        Return the JSON of *value*.
        """
        kind = type(value)
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self._whole(value)
        if kind is float and value - value == 0.0:
            return value
        if kind is Decimal:
            return self._decimal(value)
        if kind in WRITERS:
            return self._single(value, kind)
        if kind is bytes or kind is bytearray:
            return self._bytes(value, kind)
        if kind in PATHS:
            return self._path(str(value), kind)
        return self._nested(value, kind)

    # -- single values

    def _tagged(self, tag: str, payload: Any) -> Any:
        self.flags |= TAGGED
        return {tag: payload}

    def _text(self, text: str) -> Any:
        if self._redact is not None:
            text = self._redacted(text)
        self._count_size(len(text))
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return self._tagged("$text", as_base64(text.encode("utf-8", "surrogatepass")))
        return text

    def _redacted(self, text: str) -> str:
        assert self._redact is not None
        try:
            redacted = self._redact(text)
        except Exception as error:  # noqa: BLE001  # foreign code, whose message may tell what it was given
            name = type(error).__name__
            raise Refused(f"what redact= was given raised a {name}, and nothing is stored unredacted") from None
        if type(redacted) is not str:
            raise Refused(f"what redact= was given returned a {type(redacted).__name__}, not a text")
        return redacted

    def _shown(self, key: Any) -> str:
        """
        Return how a message shows a key, which becomes part of an error that is stored.
        """
        if self._redact is not None and type(key) is str:
            with suppress(Refused):
                key = self._redacted(key)
        return shown(key)

    def _whole(self, value: int) -> Any:
        if -MAX_PLAIN < value < MAX_PLAIN:
            return value
        self._count_digits(int(value.bit_length() / BITS_OF_A_DIGIT))
        return self._tagged("$int", whole_tag(value))

    def _decimal(self, value: Decimal) -> Any:
        text = str(value)
        self._count_digits(len(text))
        return self._tagged("$decimal", text)

    def _single(self, value: Any, kind: type) -> Any:
        tag, write = WRITERS[kind]
        try:
            return self._tagged(tag, write(value))
        except ValueError as error:
            raise Refused(f"{error}; or {WAYS_OUT}") from None

    def _path(self, path: str, kind: type) -> Any:
        if len(path) > MAX_PATH_CHARACTERS:
            raise Refused(f"it is a path of more than {MAX_PATH_CHARACTERS:,} characters; or {WAYS_OUT}")
        return self._tagged("$path", [PATHS[kind], self._text(path)])

    def _bytes(self, value: bytes | bytearray, kind: type) -> Any:
        self._count_size(len(value) * 4 // 3)
        data = bytes(value)
        if self._redact is not None:
            # Whatever is no text comes back as it was.
            text = data.decode("utf-8", "surrogateescape")
            redacted = self._redacted(text)
            if redacted != text:
                try:
                    data = redacted.encode("utf-8", "surrogateescape")
                except UnicodeEncodeError:
                    data = redacted.encode("utf-8", "surrogatepass")
        return self._tagged("$bytes" if kind is bytes else "$bytearray", as_base64(data))

    # -- containers

    def _nested(self, value: Any, kind: type) -> Any:
        identity = id(value)
        if identity in self._around:
            raise Refused("it contains itself, and what is stored has an end: store what it refers to by a name or id")
        if len(self._around) >= self._limits.depth:
            raise Refused(f"it is nested more than {self._limits.depth:,} deep, {_beyond('depth')}")
        self._around.add(identity)
        try:
            if kind is list:
                return self._items_of(value)
            if kind is tuple:
                return self._tagged("$tuple", self._items_of(value))
            if kind is set or kind is frozenset:
                return self._tagged("$set" if kind is set else "$frozenset", self._members_of(value))
            if kind is dict:
                return self._dict(value)
            return self._instance(value, kind)
        finally:
            self._around.discard(identity)

    def _items_of(self, items: Iterable[Any]) -> list[Any]:
        found = list(items)
        self._count_items(len(found))
        out = []
        for index, each in enumerate(found):
            try:
                out.append(self.tree(each))
            except Refused as refused:
                refused.place.append(f"[{index}]")
                raise
        return out

    def _members_of(self, members: Iterable[Any]) -> list[Any]:
        found = list(members)
        self._count_items(len(found))
        self._check_crowd(found)
        trees = {}
        for each in found:
            try:
                tree = self.tree(each)
            except Refused as refused:
                refused.place.append(f"{{{self._shown(each)}}}")
                raise
            trees[as_sorted_json(tree)] = tree  # two may be one, once they are redacted
        return [trees[text] for text in sorted(trees)]

    def _dict(self, value: dict[Any, Any]) -> Any:
        items = list(value.items())
        self._count_items(2 * len(items))
        pairs: list[tuple[Any, Any]] = []
        keys_are_names = True
        for key, each in items:
            written = self._key(key)
            keys_are_names = keys_are_names and type(key) is str and type(written) is str
            try:
                pairs.append((written, self.tree(each)))
            except Refused as refused:
                refused.place.append(f"[{self._shown(key)}]")
                raise
        if self._redact is not None:
            pairs = _told_apart(pairs)
        if keys_are_names and not (len(pairs) == 1 and pairs[0][0].startswith("$")):
            return dict(pairs)
        self._check_crowd(value)
        if self._is_canonical:
            pairs.sort(key=lambda pair: as_sorted_json(pair[0]))
        return self._tagged("$dict", [list(pair) for pair in pairs])

    def _key(self, key: Any) -> Any:
        try:
            return self.tree(key)
        except Refused as refused:
            refused.place.append(f".keys()[{self._shown(key)}]")
            raise

    # -- instances

    def _instance(self, value: Any, kind: type) -> Any:
        codec = BY_TYPE.get(kind)
        if codec is not None:
            return self._tagged("$custom", [codec.name, self.tree(_encoded(codec, value))])
        try:
            if is_enum(kind):
                return self._labelled("$enum", kind, self._fixed(value.value))
            if is_record(kind):
                return self._labelled("$object", kind, self._fields(fields_of(value, for_digest=self._is_canonical)))
            if is_named(kind):
                return self._labelled("$named", kind, self._fields(named_of(value)))
            if is_model(kind):
                return self._model(value, kind)
        except Misfit as misfit:
            raise Refused(f"it {misfit}; or {WAYS_OUT}") from None
        raise Refused(_unknown(kind))

    def _labelled(self, tag: str, kind: type, *payload: Any) -> Any:
        self.flags |= LABELLED
        return self._tagged(tag, [kind.__qualname__ if self._is_canonical else label_of(kind), *payload])

    def _fields(self, fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        out = {}
        for name, each in fields:
            self._count_items(2)
            try:
                out[name] = self.tree(each)
            except Refused as refused:
                refused.place.append(f".{name}")
                raise
        return out

    def _fixed(self, value: Any) -> Any:
        """
        Write what is part of a class, not of the data: it is not redacted.
        """
        redact, self._redact = self._redact, None
        try:
            return self.tree(value)
        except Refused as refused:
            refused.place.append(".value")
            raise
        finally:
            self._redact = redact

    def _model(self, value: Any, kind: type) -> Any:
        model = model_of(value)
        given: Any = None if self._is_canonical else model.given
        extra = None if model.extra is None else self._dict(dict(model.extra))
        private = None if model.private is None else self._fields(model.private.items())
        return self._labelled("$model", kind, self._fields(model.fields.items()), given, extra, private)

    # -- limits

    def _count_items(self, count: int) -> None:
        self._items += count
        if self._items > self._limits.items:
            raise Refused(f"it has more than {self._limits.items:,} items, {_beyond('items')}")

    def _count_size(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.size_bytes:
            raise Refused(f"it has more than {self._limits.size_bytes:,} bytes, {_beyond('size_bytes')}")

    def _count_digits(self, digits: int) -> None:
        if digits > self._limits.digits:
            raise Refused(f"it is a number of more than {self._limits.digits:,} digits, {_beyond('digits')}")
        self._count_size(digits)

    def _check_crowd(self, keys: Any) -> None:
        most = crowd(keys)
        if most:
            raise Refused(f"{most} of its keys have the same hash, which would take too long to read: store a list")


def _encoded(codec: Codec, value: Any) -> Any:
    try:
        return codec.encode(value)
    except Exception as error:  # foreign code
        raise Refused(f"what register_codec was given for {codec.name} raised {shown(error)}") from error


def _told_apart(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """
    Number the keys that have become alike by being redacted: nothing of the dict is lost.
    """
    seen: dict[str, int] = {}
    out = []
    for key, each in pairs:
        text = as_sorted_json(key)
        while text in seen and type(key) is str:
            seen[text] += 1
            key = f"{key} ({seen[text]})"
            text = as_sorted_json(key)
        seen[text] = 1
        out.append((key, each))
    return out


def _beyond(limit: str) -> str:
    which = f"beyond ValueLimits({limit}=…)" if limit else "beyond the ValueLimits of its store"
    return f"{which}. Keep it elsewhere and return where it is, or keep no output of this node: persist=False"


def _unknown(kind: type) -> str:
    base = next((each for each in kind.__mro__[1:-1] if each in _COPIED), None)
    what = f"it is {with_article(label_of(kind).removeprefix('builtins.'))}"
    if base is not None:
        back = f"a {base.__name__} would come back. Make it a plain {base.__name__}"
        return f"{what}, and only {base.__name__} itself is stored: {back}; or {WAYS_OUT}"
    return f"{what}, which is none of the types that are. Return plain data or a dataclass; or {WAYS_OUT}"


_COPIED: Final = frozenset(
    [*SCALARS, int, float, Decimal, bytes, bytearray, list, tuple, set, frozenset, dict, *WRITERS]
)
