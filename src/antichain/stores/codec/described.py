"""
Classes with fields: what of an instance is stored, and how one is made of it again. Values are handed through as they
are; nothing here knows how they are written.

An instance is made as a copy is made, without calling what the class runs when somebody makes one: it is what was
stored, no more and no less. Pydantic's models, known by their shape, are the exception: they check what is read.
"""

from __future__ import annotations

import dataclasses
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import Any, Final, NamedTuple

__all__ = [
    "Misfit",
    "Model",
    "fields_of",
    "is_enum",
    "is_model",
    "is_named",
    "is_record",
    "make_model",
    "make_named",
    "make_record",
    "model_of",
    "named_of",
]

# In this file, Any is an instance of a user's class, or what is in one.

# Of the flags of a type: it was made by a class statement, so its instances hold nothing that Python code cannot see.
HEAP_TYPE: Final = 1 << 9


class Misfit(ValueError):  # noqa: N818  # it is caught where it is told
    """
    Say, in the words after "it", why a value cannot be stored, or cannot be made again.
    """


# -- what a class is


def is_enum(kind: type) -> bool:
    """
    Say whether instances are members of an Enum.
    """
    return issubclass(kind, Enum)


def is_record(kind: type) -> bool:
    """
    Say whether it is a dataclass.
    """
    return dataclasses.is_dataclass(kind)


def is_named(kind: type) -> bool:
    """
    Say whether it is a NamedTuple.
    """
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def is_model(kind: type) -> bool:
    """
    Say whether it is a model of pydantic (2 or later).
    """
    return all(hasattr(kind, name) for name in ("__pydantic_core_schema__", "model_validate", "model_fields"))


# -- dataclasses


def fields_of(value: Any, *, for_digest: bool = False) -> Iterator[tuple[str, Any]]:
    """
    Yield the fields of a dataclass's instance that are set, also those that it was not made with; for a digest, not
    those whose metadata says ``{"antichain.digest": False}``.

    Raises:
        Misfit: it is more than its fields.
    """
    kind = type(value)
    layout = _LAYOUTS.get(kind)
    if layout is None:
        layout = _LAYOUTS[kind] = _layout_of(kind)
    for name in layout.slots:
        if hasattr(value, name):
            raise Misfit(NO_FIELD.format(name))
    if layout.has_dict:
        for name in value.__dict__:
            # What is only kept to spare time is computed again.
            if name not in layout.names and not _is_cache(kind, name):
                raise Misfit(NO_FIELD.format(name))
    for name in layout.digested if for_digest else layout.names:
        try:
            yield name, getattr(value, name)
        except AttributeError:  # init=False, and nobody has set it
            continue


class Layout(NamedTuple):
    """
    Where the instances of a dataclass keep what they hold.
    """

    # Of its fields, in their order.
    names: dict[str, None]
    # Those that are no fields.
    slots: tuple[str, ...]
    has_dict: bool
    # The fields that tell whether it is the same value.
    digested: tuple[str, ...]


_LAYOUTS: weakref.WeakKeyDictionary[type, Layout] = weakref.WeakKeyDictionary()
NO_FIELD: Final = "has an attribute {!r} that is no field: declare it, as field(init=False)"


def _layout_of(kind: Any) -> Layout:
    base = next((each for each in kind.__mro__[:-1] if not each.__flags__ & HEAP_TYPE), None)
    if base is not None:
        raise Misfit(f"is a dataclass and a {base.__qualname__} at once")
    fields = dataclasses.fields(kind)
    names = dict.fromkeys(field.name for field in fields)
    digested = tuple(field.name for field in fields if field.metadata.get("antichain.digest", True))
    slots = [each for base in kind.__mro__ for each in _slots_in(base) if each not in names]
    return Layout(names, tuple(slots), kind.__dictoffset__ != 0, digested)


def _slots_in(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _is_cache(kind: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(kind, name, None), cached_property)


def make_record(kind: type, given: Mapping[str, Any]) -> Any:
    """
    Make an instance of a dataclass with the fields *given*; those that were added to it since have their defaults.

    Raises:
        Misfit: the class has not the fields that are given, or has others.
    """
    made: Any = object.__new__(kind)
    left = dict(given)
    for field in dataclasses.fields(kind):
        if field.name in left:
            value = left.pop(field.name)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif not field.init:
            continue
        else:
            raise Misfit(f"has no field {field.name!r}, which {kind.__qualname__} has without a default")
        object.__setattr__(made, field.name, value)
    if left:
        raise Misfit(f"has a field {next(iter(left))!r}, which {kind.__qualname__} has not")
    return made


# -- named tuples


def named_of(value: Any) -> Iterator[tuple[str, Any]]:
    """
    Yield the fields of a NamedTuple.

    Raises:
        Misfit: it is more than its fields.
    """
    if getattr(value, "__dict__", None) or len(value) != len(value._fields):
        raise Misfit("is more than the fields of its NamedTuple")
    yield from zip(value._fields, tuple.__iter__(value), strict=True)


def make_named(kind: Any, given: Mapping[str, Any]) -> Any:
    """
    Make a NamedTuple of the fields *given*; those that were added to it since have their defaults.

    Raises:
        Misfit: the class has not the fields that are given, or has others.
    """
    for name in given:
        if name not in kind._fields:
            raise Misfit(f"has a field {name!r}, which {kind.__qualname__} has not")
    values = {**getattr(kind, "_field_defaults", {}), **given}
    for name in kind._fields:
        if name not in values:
            raise Misfit(f"has no field {name!r}, which {kind.__qualname__} has without a default")
    return tuple.__new__(kind, [values[name] for name in kind._fields])


# -- models


class Model(NamedTuple):
    """
    All that makes up an instance of a model.
    """

    fields: Mapping[str, Any]
    # Of the fields, those that were given and not filled in.
    given: list[str] | None
    # What was given and is no field, of a model that takes more; its private attributes.
    extra: Mapping[str, Any] | None
    private: Mapping[str, Any] | None


def model_of(value: Any) -> Model:
    """
    Take a model apart, one level deep.
    """
    kind = type(value)
    fields = {name: value.__dict__[name] for name in kind.model_fields if name in value.__dict__}
    for name in value.__dict__:
        if name not in fields and not _is_cache(kind, name):
            raise Misfit(f"has an attribute {name!r} that is no field")
    given = [name for name in fields if name in value.model_fields_set]
    private = getattr(value, "__pydantic_private__", None)
    return Model(
        fields, None if len(given) == len(fields) else given, value.__pydantic_extra__ or None, private or None
    )


def make_model(kind: Any, model: Model) -> Any:
    """
    Make a model again, which checks its fields.

    Raises:
        Exception: whatever its validators raise.
    """
    values: Any = {**(model.extra or {}), **model.fields}
    if getattr(kind, "__pydantic_root_model__", False):
        made = kind.model_validate(model.fields["root"], strict=False)
    else:
        validate = _VALIDATORS.get(kind)
        if validate is None:
            validate = _VALIDATORS[kind] = _validator_of(kind)
        made = validate(values)
    if model.given is not None:
        object.__setattr__(made, "__pydantic_fields_set__", {*model.given, *(model.extra or ())})
    if model.private is not None:
        object.__setattr__(made, "__pydantic_private__", dict(model.private))
    return made


_VALIDATORS: weakref.WeakKeyDictionary[type, Callable[[Any], Any]] = weakref.WeakKeyDictionary()


def _validator_of(kind: Any) -> Callable[[Any], Any]:
    # Not strictly: a strict model with use_enum_values takes no value that it has itself.
    if "by_name" in inspect.signature(kind.model_validate).parameters:  # since pydantic 2.11
        return lambda values: kind.model_validate(values, strict=False, by_alias=False, by_name=True)
    aliases = {name: field.validation_alias for name, field in kind.model_fields.items()}
    names = {name: alias for name, alias in aliases.items() if isinstance(alias, str)}
    return lambda values: kind.model_validate(
        {names.get(name, name): each for name, each in values.items()}, strict=False
    )
