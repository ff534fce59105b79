"""
The bytes of a value: one byte that says how to read the rest, then JSON text. Nothing here knows types of values.
"""

from __future__ import annotations

import json
import json.encoder
import zlib
from collections.abc import Callable
from enum import IntFlag
from typing import Any, Final

from antichain.errors import StoreDamaged
from antichain.stores.codec.limits import BeyondLimits, ValueLimits, depth_of, items_of

__all__ = [
    "ERROR",
    "LABELLED",
    "PLAIN",
    "SQUEEZED",
    "TAGGED",
    "as_json",
    "as_sorted_json",
    "json_writer",
    "pack",
    "too_much",
    "unpack",
]

# In this file, Any is JSON as Python has it.


class Flags(IntFlag):
    """
    The lower half of the first byte; the upper half is the version. In files of users: they never change their meaning.
    """

    # Objects with one key that begins with "$" stand for something else.
    TAGGED = 1
    # The text is compressed (zlib).
    SQUEEZED = 2
    # Some of what is tagged is an instance of a class, whose name is a label.
    LABELLED = 4
    # Not a value, but an exception.
    ERROR = 8


# As plain numbers: flags are looked at for every value.
TAGGED, SQUEEZED, LABELLED, ERROR = (int(flag) for flag in Flags)
VERSION: Final = 0x10
PLAIN: Final = bytes([VERSION])
# Levels of JSON that one level of a value takes at most: {"$object": [label, {…}]}.
LEVELS_OF_A_TAG: Final = 3


def json_writer(*, sort_keys: bool = False, ensure_ascii: bool = False) -> Callable[[Any], str]:
    """
    Return what writes JSON without spaces.

    `json.JSONEncoder` makes a new encoder in C for each text, which takes longer than a short text itself: here is one
    for all, where this Python has it.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"), check_circular=False, sort_keys=sort_keys
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    text_of = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
    if make is None:
        return encoder.encode
    chunks = make(None, encoder.default, text_of, None, ":", ",", sort_keys, False, False)
    return lambda value: "".join(chunks(value, 0))


as_json = json_writer()
as_sorted_json = json_writer(sort_keys=True)


def pack(text: bytes, flags: int, *, compress: bool) -> bytes:
    """
    Put the first byte before a JSON text, compressed if that is asked for and makes it smaller.
    """
    if compress:
        squeezed = zlib.compress(text)
        if len(squeezed) < len(text):
            return bytes([VERSION | flags | SQUEEZED]) + squeezed
    return bytes([VERSION | flags]) + text


def unpack(data: bytes, limits: ValueLimits) -> tuple[int, str]:
    """
    Take the flags and the JSON text out of *data*, which may be anything.

    Raises:
        StoreDamaged: it is nothing that was packed here, or more than *limits* allow.
    """
    if type(data) is not bytes or not data:
        raise StoreDamaged(f"a stored value is {'empty' if data == b'' else f'a {type(data).__name__}, not bytes'}")
    first, text = data[0], data[1:]
    if first & 0xF0 != VERSION:
        what = f"a stored value begins with byte {first:#04x}"
        raise StoreDamaged(f"{what}: it was not written by this version of antichain, and is not read in any other way")
    flags = first & 0x0F
    if flags & SQUEEZED:
        text = _unsqueezed(text, limits)
    # What is shorter than anything may be, is not.
    if len(text) > limits.depth or len(text) >= limits.items or len(text) > limits.size_bytes:
        problem = too_much(text, flags, limits)
        if problem:
            raise BeyondLimits(f"a stored value {problem}, beyond the ValueLimits that it is read with")
    try:
        return flags, text.decode()
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"a stored value is not text: {error}") from None


def too_much(text: bytes, flags: int, limits: ValueLimits) -> str:
    """
    Say in words which of the limits *text* is beyond, or nothing.
    """
    if len(text) > limits.size_bytes:
        return f"has more than {limits.size_bytes:,} bytes"
    if items_of(text, limits.items) > limits.items:
        return f"has more than {limits.items:,} items"
    depth = limits.depth if not flags & TAGGED else LEVELS_OF_A_TAG * (limits.depth + 1)
    if depth_of(text, depth) > depth:
        return f"is nested more than {limits.depth:,} deep"
    return ""


def _unsqueezed(data: bytes, limits: ValueLimits) -> bytes:
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, limits.size_bytes + 1)
    except zlib.error as error:
        raise StoreDamaged(f"a stored value cannot be decompressed: {error}") from None
    if len(text) <= limits.size_bytes and (not reader.eof or reader.unused_data):
        raise StoreDamaged("a stored value cannot be decompressed: it is cut off, or has something behind it")
    return text
