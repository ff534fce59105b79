"""
What a reader expects: annotations taken apart until they are classes. A stored instance finds its class among these and
what is derived from them, by its label.

Nothing is checked against an annotation that says by itself what it is: a number is read as that number.
"""

from __future__ import annotations

import collections
import collections.abc
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from antichain.stores.codec.described import is_model
from antichain.stores.codec.registry import label_of

__all__ = ["OPEN", "Classes", "Options", "annotation_of", "fields_for", "inside", "is_open", "keys_for", "options_of"]

# In this file, Any is an annotation, or a class.

# What a value may be, one of these: classes, and classes with their arguments. Any, and none at all, say nothing.
Options = tuple[Any, ...]
OPEN: Final[Options] = ()

SEQUENCES: Final = frozenset(
    (
        list,
        tuple,
        collections.abc.Sequence,
        collections.abc.MutableSequence,
        collections.abc.Iterable,
        collections.abc.Collection,
        collections.abc.Reversible,
    )
)
SETS: Final = frozenset(
    [
        set,
        frozenset,
        collections.abc.Set,
        collections.abc.MutableSet,
        collections.abc.Iterable,
        collections.abc.Collection,
    ]
)
MAPPINGS: Final = frozenset([dict, collections.abc.Mapping, collections.abc.MutableMapping])
# What a generator function says that it returns, and what it is as an output: the list of what it yields.
STREAMS: Final = frozenset(
    (
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
        collections.abc.AsyncIterable,
        collections.abc.Iterator,
        collections.abc.Generator,
        collections.abc.Iterable,
    )
)
# Around what matters here.
WRAPPERS: Final[tuple[Any, ...]] = (
    typing.Annotated,
    typing.Required,
    typing.NotRequired,
    typing.Final,
    typing.ClassVar,
)
MAX_DEPTH: Final = 100
MAX_FOUND: Final = 1000


def _origin(option: Any) -> Any:
    return get_origin(option) or option


def options_of(annotation: Any) -> Options:
    """
    Take an annotation apart into what a value may be.
    """
    found: list[Any] = []
    _collect(annotation, found, 0)
    return OPEN if Any in found else tuple(found)


def _collect(annotation: Any, found: list[Any], depth: int) -> None:
    origin = get_origin(annotation)
    supertype = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if depth > MAX_DEPTH or annotation is object or isinstance(annotation, str | typing.ForwardRef):
        found.append(Any)
    elif origin is typing.Union or origin is types.UnionType:
        for part in get_args(annotation):
            _collect(part, found, depth + 1)
    elif origin in WRAPPERS or (not isinstance(origin, type) and getattr(origin, "_name", "") == "ReadOnly"):
        _collect(get_args(annotation)[0], found, depth + 1)
    elif origin is Literal:
        found.extend(type(each) for each in get_args(annotation))
    elif isinstance(annotation, TypeVar):
        parts = annotation.__constraints__ or ((annotation.__bound__,) if annotation.__bound__ is not None else (Any,))
        for part in parts:
            _collect(part, found, depth + 1)
    elif supertype is not None and not isinstance(annotation, type):  # NewType, and `type X = …`
        _collect(supertype, found, depth + 1)
    else:
        found.append(annotation)


def is_open(options: Options) -> bool:
    """
    Say whether nothing is known of what a value may be.
    """
    return not options


# -- in containers


def inside(options: Options, kind: type) -> Options | Sequence[Options]:
    """
    Return what the items of a list, tuple or set may be; of a tuple of so many items, what each of them may be.
    """
    origins = SETS if kind in (set, frozenset) else SEQUENCES
    found: list[Any] = []
    places: list[Options] | None = None
    for option in options:
        origin, arguments = _origin(option), get_args(option)
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):
            places = [options_of(each) for each in arguments] if arguments and kind is tuple else places
        elif origin in origins:
            found += options_of(arguments[0]) or [Any] if arguments else [Any]
    if places is not None and not found:
        return places
    return OPEN if Any in found else tuple(found)


def keys_for(options: Options) -> tuple[Options, Callable[[object], Options]]:
    """
    Return what the keys of a dict may be, and what the value at a key may be.
    """
    keys: list[Any] = []
    values: list[Any] = []
    named: list[Mapping[str, Options]] = []
    for option in options:
        origin, arguments = _origin(option), get_args(option)
        if typing.is_typeddict(origin):
            named.append(fields_for(option))
        elif origin in (collections.Counter,) and arguments:
            keys += options_of(arguments[0]) or [Any]
        elif (origin in MAPPINGS or _is_mapping(origin)) and len(arguments) == 2:
            keys += options_of(arguments[0]) or [Any]
            values += options_of(arguments[1]) or [Any]
    common = OPEN if Any in values else tuple(values)

    def at(key: object) -> Options:
        return tuple(each for fields in named for each in fields.get(key, OPEN)) + common if named else common  # type: ignore[call-overload]

    return (OPEN if Any in keys else tuple(keys)), at


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, collections.abc.Mapping)


# -- classes


class Classes:
    """
    Find classes by their labels, among those that are expected and what is derived from them; for one reading.
    """

    def __init__(self) -> None:
        # By what is expected: everything derived from it, by label and by name. Looked through once, for there may be
        # thousands, and as many labels that are none of them.
        self._derived: dict[tuple[object, ...], tuple[dict[str, Any], dict[str, Any]]] = {}
        # What was found last, by label and by the identity of what was expected, which is kept for that.
        self._found: dict[tuple[str, int, object], tuple[Options, Any]] = {}

    def find(self, label: str, options: Options, fits: Callable[[type], bool]) -> Any:
        """
        Return which of *options*, or of the classes derived from them, has that label; None if there is none.

        A class that has moved to another module is known by its name, if only one has that name.
        """
        key = (label, id(options), fits)
        known = self._found.get(key)
        if known is not None:
            return known[1]
        option = self._look(label, options, fits)
        if option is not None:
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            self._found[key] = options, option
        return option

    def _look(self, label: str, options: Options, fits: Callable[[type], bool]) -> Any:
        name, near = _name_in(label), []
        for option in options:
            kind = _origin(option)
            if isinstance(kind, type) and fits(kind):
                if label_of(kind) == label:
                    return option
                if _name_in(kind.__qualname__) == name:
                    near.append(option)
        by_label, by_name = self._derived_from(options, fits)
        found = by_label.get(label)
        if found is not None:
            return found
        if name in by_name:
            near.append(by_name[name])
        return near[0] if len({id(each) for each in near}) == 1 else None

    def _derived_from(self, options: Options, fits: Callable[[type], bool]) -> tuple[dict[str, Any], dict[str, Any]]:
        kinds = [_origin(option) for option in options]
        key = (fits, *map(id, kinds))
        known = self._derived.get(key)
        if known is None:
            by_label: dict[str, Any] = {}
            by_name: dict[str, Any] = {}
            for kind in filter(fits, _derived(kinds)):
                name = _name_in(kind.__qualname__)
                by_label[label_of(kind)] = kind  # the last one: a notebook defines a class again and again
                by_name[name] = None if name in by_name else kind
            known = self._derived[key] = by_label, by_name
        return known


def _name_in(label: str) -> str:
    # Not of "Box[pkg.Row]" the part behind the last dot.
    bare, bracket, rest = label.partition("[")
    return bare.rpartition(".")[2] + bracket + rest


def _derived(kinds: Iterable[Any]) -> Iterable[type]:
    seen: set[type] = set()
    ahead = [kind for kind in kinds if isinstance(kind, type) and kind is not object]
    for kind in ahead:  # which grows
        below: list[type] = type.__subclasses__(kind)
        for each in below:
            if each not in seen:
                seen.add(each)
                ahead.append(each)
                yield each


_ANNOTATIONS: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()
_OPTIONS: weakref.WeakKeyDictionary[type, dict[str, Options]] = weakref.WeakKeyDictionary()


def fields_for(option: Any) -> dict[str, Options]:
    """
    Return what each field of a class may be; with arguments, as in Box[int], of that class.
    """
    kind = _origin(option)
    known = _OPTIONS.get(kind) if kind is option else None
    if known is not None:
        return known
    annotations = _ANNOTATIONS.get(kind)
    if annotations is None:
        annotations = _ANNOTATIONS[kind] = _annotations_in(kind)
    bound = _bound_in(option)
    options = {name: options_of(_with(each, bound)) for name, each in annotations.items()}
    if kind is option:
        _OPTIONS[kind] = options
    return options


def _annotations_in(kind: Any) -> dict[str, Any]:
    if is_model(kind):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    known = {kind.__name__: kind, **{each.__name__: each for each in getattr(kind, "__type_params__", ())}}
    try:
        return typing.get_type_hints(kind, localns=known, include_extras=True)
    except Exception:  # noqa: BLE001  # a text that names nothing here; the others may still be read
        return _one_by_one(kind, known)


def _one_by_one(kind: type, known: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        around = vars(sys.modules.get(base.__module__, types))
        for name, annotation in inspect.get_annotations(base).items():
            found[name] = _resolved(annotation, around, known)
    return {name: Any if each is None else each for name, each in found.items()}


def _bound_in(option: Any) -> dict[Any, Any]:
    """
    Find what the type variables of a generic class stand for.
    """
    kind = get_origin(option)
    bound = dict(zip(getattr(kind, "__parameters__", ()), get_args(option), strict=False)) if kind else {}
    for base in getattr(kind or option, "__orig_bases__", ()):
        above = _bound_in(base) if get_origin(base) not in (None, typing.Generic, typing.Protocol) else {}
        bound = {**{each: _with(given, bound) for each, given in above.items()}, **bound}
    return bound


def _with(annotation: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or isinstance(annotation, type):
        return annotation
    return annotation[tuple(bound.get(each, Any) for each in parameters)]


# -- of functions


def annotation_of(function: Any) -> Any:
    """
    Return what *function* says that it returns, with texts resolved where it was written; None if it does not say.

    A generator function gives the list of what it yields, and a class gives itself. What cannot be resolved (a name
    that is imported for type checkers only) is not said.

    Example:
        >>> def rows() -> "list[int]": ...
        >>> annotation_of(rows)
        list[int]
    """
    if isinstance(function, type):
        return function
    target = _function_in(function)
    annotation = getattr(target, "__annotations__", {}).get("return") if target is not None else None
    if annotation is None:
        return type(None) if target is not None and "return" in getattr(target, "__annotations__", {}) else None
    around = getattr(target, "__globals__", {})
    known = {each.__name__: each for each in getattr(target, "__type_params__", ())}
    resolved = _resolved(annotation, around, {**known, **_closure_of(target)})
    return resolved if resolved is None else _as_output(target, resolved)


def _function_in(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.ismethod(function):
        function = function.__func__
    if not inspect.isroutine(function):
        if "__annotations__" in getattr(function, "__dict__", ()):
            # It says what it gives for itself, not for its class.
            return function
        call = inspect.getattr_static(type(function), "__call__", None)
        function = call if inspect.isfunction(call) else None
    return None if function is None else inspect.unwrap(function)


def _as_output(function: Any, annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return list[arguments[0]] if origin in STREAMS and arguments else list  # type: ignore[valid-type]
    if origin is collections.abc.Awaitable and arguments:
        return arguments[0]
    if origin is collections.abc.Coroutine and len(arguments) == 3:
        return arguments[2]
    return annotation


def _resolved(annotation: Any, around: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """
    Turn the texts in an annotation into what they name; None if that cannot be done.
    """
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, dict(around), dict(known), include_extras=True)["it"]
    except Exception:  # noqa: BLE001  # evaluating a user's text may raise anything
        return None


def _closure_of(function: Any) -> dict[str, Any]:
    found = {}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found
