"""
TypedDicts of `typing`, made into those of typing_extensions, the only ones that pydantic takes before Python 3.12.
"""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, NotRequired, Required, get_args, get_origin

from typing_extensions import TypedDict

__all__ = ["with_known_typed_dicts"]

# In this file, Any is an annotation.


def with_known_typed_dicts(annotation: Any) -> Any:
    """
    Replace the TypedDicts in an annotation, and in each other, by equal ones that pydantic takes.
    """
    return annotation if sys.version_info >= (3, 12) else _replaced(annotation, {})


def _replaced(annotation: Any, made: dict[int, Any]) -> Any:
    if typing.is_typeddict(annotation):
        # One that contains itself is left as it is inside: pydantic says what to do.
        if id(annotation) not in made:
            made[id(annotation)] = annotation
            made[id(annotation)] = _copied(annotation, made)
        return made[id(annotation)]
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) is typing.Literal:
        return annotation
    if get_origin(annotation) is typing.Annotated:
        return typing.Annotated[(_replaced(arguments[0], made), *annotation.__metadata__)]
    replaced = [_replaced(part, made) for part in arguments]
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return annotation
    if isinstance(annotation, types.UnionType):
        return typing.Union[tuple(replaced)]  # noqa: UP007  # of a tuple
    return (
        annotation.copy_with(tuple(replaced)) if hasattr(annotation, "copy_with") else _subscribed(annotation, replaced)
    )


def _subscribed(annotation: Any, arguments: list[Any]) -> Any:
    return get_origin(annotation)[tuple(arguments)]


def _copied(found: Any, made: dict[int, Any]) -> Any:
    fields = {}
    for name, hint in typing.get_type_hints(found, include_extras=True).items():
        if get_origin(hint) in (NotRequired, Required):
            fields[name] = get_origin(hint)[_replaced(get_args(hint)[0], made)]
        elif name in found.__required_keys__:
            fields[name] = Required[_replaced(hint, made)]
        else:
            fields[name] = NotRequired[_replaced(hint, made)]
    make: Any = TypedDict  # its fields are known at run time only
    copy = make(found.__name__, fields)
    copy.__doc__, copy.__module__ = found.__doc__, found.__module__
    if hasattr(found, "__pydantic_config__"):
        copy.__pydantic_config__ = found.__pydantic_config__
    return copy
