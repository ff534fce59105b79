"""
Exceptions in a store: what a person needs to see of one, as text. The exception itself is never stored.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final

from antichain.errors import AntichainError, StoreDamaged
from antichain.printable import printable
from antichain.stores.codec.form import ERROR, SQUEEZED, as_json, pack
from antichain.stores.codec.limits import DEFAULT_LIMITS
from antichain.stores.codec.reading import loads

__all__ = ["StoredError", "decode_error", "encode_error"]

# Of characters, whatever an exception says.
MAX_MESSAGE: Final = 10_000
MAX_TRACEBACK: Final = 50_000
MAX_NOTES: Final = 20
LONGEST: Final = {"type": MAX_MESSAGE, "message": MAX_MESSAGE, "traceback": MAX_TRACEBACK}
# Of a group, and of each stack.
MAX_GROUP: Final = 10
MAX_FRAMES: Final = 50


class StoredError(AntichainError):
    """
    Stand for an exception that a node raised in another process, with all that is known of it: `type_name`, `message`,
    `notes` and `traceback`, all text.

    Example:
        >>> print(decode_error(encode_error(ValueError("no rows"))))
        ValueError: no rows
    """

    def __init__(self, type_name: str, message: str, traceback: str = "", notes: tuple[str, ...] = ()) -> None:
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.notes = notes
        super().__init__(f"{type_name}: {message}" if message else type_name)
        for each in notes:
            self.add_note(each)
        if traceback:
            self.add_note(f"This was raised before the run was resumed, by:\n{traceback.rstrip()}")

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the protocol of pickle
        return type(self), (self.type_name, self.message, self.traceback, self.notes)


def encode_error(error: BaseException, *, redact: Callable[[str], str] | None = None, compress: bool = False) -> bytes:
    """
    Turn an exception into bytes: its type's name, message, notes and traceback, as text that a terminal can show.

    What is longer than some 10,000 characters of message or 50,000 of traceback is cut. Raises nothing, whatever the
    exception does when it is looked at.
    """
    if isinstance(error, StoredError):
        parts = {"type": error.type_name, "message": error.message, "traceback": error.traceback}
        notes = list(error.notes)
    else:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        parts = {"type": name, "message": _safely(str, error), "traceback": _safely(_traceback, error)}
        notes = _notes(error)
    told = {name: _shown(part, LONGEST[name], redact) for name, part in parts.items()}
    body = {**told, "notes": [_shown(each, MAX_MESSAGE, redact) for each in notes[:MAX_NOTES]]}
    return pack(as_json(body).encode(), ERROR, compress=compress)


def decode_error(data: bytes) -> StoredError:
    """
    Turn what `encode_error` made into an exception to raise or to show.

    Raises:
        StoreDamaged: it is nothing that was made there.
    """
    flags, found = loads(data, DEFAULT_LIMITS)
    if (
        flags | SQUEEZED != ERROR | SQUEEZED
        or type(found) is not dict
        or set(found) != {"type", "message", "traceback", "notes"}
    ):
        raise StoreDamaged("a stored exception is something else")
    notes = found.pop("notes")
    if type(notes) is not list or any(type(each) is not str for each in (*found.values(), *notes)):
        raise StoreDamaged("a stored exception is not made of texts")
    # Another writer would have taken what it liked: escapes of a terminal, or a text without an end.
    parts = {name: _shown(text, LONGEST[name], None) for name, text in found.items()}
    notes = tuple(_shown(each, MAX_MESSAGE, None) for each in notes[:MAX_NOTES])
    return StoredError(printable(parts["type"]), parts["message"], parts["traceback"], notes)


def _traceback(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(
        error, limit=-MAX_FRAMES, compact=True, max_group_width=MAX_GROUP, max_group_depth=MAX_GROUP
    )
    return "".join(told.format())


def _notes(error: BaseException) -> list[str]:
    try:
        return [_safely(str, each) for each in getattr(error, "__notes__", None) or ()]
    except Exception:  # noqa: BLE001  # an attribute of foreign code
        return []


def _safely(tell: Callable[[Any], str], error: Any) -> str:  # Any: what is foreign
    try:
        return tell(error)
    except KeyboardInterrupt:
        raise
    except BaseException as second:  # noqa: BLE001  # whatever foreign code raises when it is asked what it is
        return f"<it raises {type(second).__name__} when it is shown>"


def _shown(text: str, limit: int, redact: Callable[[str], str] | None) -> str:
    """
    Make a text that a terminal can show, line by line; of one that is too long, its begin and its end.
    """
    if redact is not None:
        text = _safely(redact, text)
        if type(text) is not str:
            text = f"<redact= returned a {type(text).__name__}>"
    lines = text[: 4 * limit].split("\n") if len(text) <= 4 * limit else [text[:limit], "…", text[-limit:]]
    text = "\n".join(printable(line.replace("\t", "    "), None) for line in "\n".join(lines).split("\n"))
    return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"
