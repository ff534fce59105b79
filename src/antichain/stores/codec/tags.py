"""
Single values that JSON cannot say, each by a tag of a closed table: how it is written, and how it is read again.

A reader is handed anything: it returns a value that would be written like that, or raises a ValueError (or what the
types themselves raise, all of READING_ERRORS).
"""

from __future__ import annotations

import math
import os
import re
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, TypeVar
from uuid import UUID
from zoneinfo import TZPATH, ZoneInfo, available_timezones

__all__ = ["MAX_PATH_CHARACTERS", "PATHS", "READERS", "READING_ERRORS", "WRITERS", "as_base64", "whole_tag"]

# In this file, Any is JSON that may be anything.
T = TypeVar("T")

READING_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError, OSError)
# Of what this machine knows, nothing else is looked for: a name without dots names no package.
ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}")
MAX_ZONE_CHARACTERS: Final = 64
DAY = timedelta(days=1)


# -- numbers


def whole_tag(value: int) -> str:
    """
    Write a large whole number in base 16, which takes time in proportion to its length.
    """
    return f"{value:x}"


def _read_whole(payload: Any) -> int:
    value = int(_text(payload), 16)
    return _same(value, whole_tag(value), payload)


def _write_float(value: float) -> str:
    # Only what is not finite; a NaN bit by bit.
    return str(value) if math.isinf(value) else struct.pack(">d", value).hex()


def _read_float(payload: Any) -> float:
    text = _text(payload)
    value: float = float(text) if text in ("inf", "-inf") else struct.unpack(">d", bytes.fromhex(text))[0]
    if math.isfinite(value):
        raise ValueError("a number for which there is no need of a tag")
    return _same(value, _write_float(value), payload)


def _read_decimal(payload: Any) -> Decimal:
    value = Decimal(_text(payload))
    return _same(value, str(value), payload)


# -- bytes and text


def as_base64(data: bytes | bytearray) -> str:
    """
    Write bytes as text.
    """
    return b2a_base64(data, newline=False).decode("ascii")


def _read_bytes(payload: Any) -> bytes:
    value = a2b_base64(_text(payload), strict_mode=True)
    return _same(value, as_base64(value), payload)


def _read_text(payload: Any) -> str:
    value = _read_bytes(payload).decode("utf-8", "surrogatepass")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value
    raise ValueError("a text for which there is no need of a tag")


# -- dates and times


def _write_moment(value: datetime | time) -> Any:
    """
    Write a date or a time of day as ISO 8601 has it; with more beside it if that does not say all.
    """
    zone = value.tzinfo
    if not value.fold and (zone is None or (type(zone) is timezone and _is_plain(zone))):
        return value.isoformat()
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _write_zone(zone)]


def _is_plain(zone: timezone) -> bool:
    # datetime reads an offset of less than a second as none (3.11 to 3.13), and nobody's clock has one of seconds.
    return not _has_name(zone) and not zone.utcoffset(None) % timedelta(minutes=1)


def _has_name(zone: timezone) -> bool:
    arguments: tuple[Any, ...] = zone.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks
    return len(arguments) > 1


def _write_zone(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is ZoneInfo:
        key: Any = zone.key
        if type(key) is str and _is_zone_name(key):  # of one that was made from a file, None
            return key
    else:
        offset = zone.utcoffset(None)
        # One without a date is the same all the year: that of timezone, and of the UTC of other packages.
        if offset is not None:
            microseconds = offset // timedelta(microseconds=1)
            name = zone.tzname(None) if type(zone) is not timezone or _has_name(zone) else None
            return [microseconds, name] if type(name) is str else [microseconds]
    what = f"{type(zone).__module__}.{type(zone).__qualname__}"
    raise ValueError(f"its time zone is a {what}: use zoneinfo.ZoneInfo(name), or .astimezone(datetime.UTC)")


def _read_datetime(payload: Any) -> datetime:
    value: datetime = _read_moment(datetime, payload)
    return value


def _read_time(payload: Any) -> time:
    value: time = _read_moment(time, payload)
    return value


def _read_moment(kind: Any, payload: Any) -> Any:
    if type(payload) is str:
        value = kind.fromisoformat(payload)
    else:
        text, fold, zone = _list(payload)
        value = kind.fromisoformat(_text(text)).replace(fold=_number(fold), tzinfo=_read_zone(zone))
    return _same(value, _write_moment(value), payload)


def _read_zone(payload: Any) -> tzinfo | None:
    if payload is None:
        return None
    if type(payload) is str:
        return _zone_called(payload)
    microseconds, *name = _list(payload)
    return timezone(timedelta(microseconds=_number(microseconds)), *map(_text, name))


@lru_cache(maxsize=64)
def _zone_called(name: str) -> ZoneInfo:
    # Looked for before it is asked for: where the system has no such file, zoneinfo imports a package of that name.
    if _is_zone_name(name) and (_is_file_of_zones(name) or name in available_timezones()):
        return ZoneInfo(name)
    raise ValueError(f"{name!r} is no time zone that is known here")


def _is_file_of_zones(name: str) -> bool:
    return any(os.path.isfile(os.path.join(place, name)) for place in TZPATH)


def _is_zone_name(name: str) -> bool:
    return len(name) <= MAX_ZONE_CHARACTERS and ZONE_NAME.fullmatch(name) is not None


def _read_date(payload: Any) -> date:
    value = date.fromisoformat(_text(payload))
    return _same(value, value.isoformat(), payload)


def _write_span(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_span(payload: Any) -> timedelta:
    days, seconds, microseconds = (_number(each) for each in _list(payload))
    value = timedelta(days, seconds, microseconds)
    return _same(value, _write_span(value), payload)


# -- names


def _read_uuid(payload: Any) -> UUID:
    value = UUID(_text(payload))
    return _same(value, str(value), payload)


# How a path is written is up to the writer, whose text it is. One of the other system is read as far as it goes.
PATHS: Final[dict[type, str]] = {
    PosixPath: "posix",
    PurePosixPath: "pure-posix",
    WindowsPath: "windows",
    PureWindowsPath: "pure-windows",
}
# Far more than any system takes; each part of a path takes memory of its own.
MAX_PATH_CHARACTERS: Final = 65_536
_PATH_KINDS: Final[dict[str, type[PurePath]]] = {
    "posix": PosixPath if issubclass(type(PurePath()), PurePosixPath) else PurePosixPath,
    "pure-posix": PurePosixPath,
    "windows": WindowsPath if issubclass(type(PurePath()), PureWindowsPath) else PureWindowsPath,
    "pure-windows": PureWindowsPath,
}


def _read_path(payload: Any) -> PurePath:
    kind, text = _list(payload)
    if len(_text(text)) > MAX_PATH_CHARACTERS:
        raise ValueError("that is no path")
    value = _PATH_KINDS[_text(kind)](text)
    return _same(value, str(value), text)


# -- the table

# Those that are written without knowing anything else; the types themselves, not what is derived from them.
WRITERS: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    datetime: ("$datetime", _write_moment),
    time: ("$time", _write_moment),
    date: ("$date", date.isoformat),
    timedelta: ("$timedelta", _write_span),
    UUID: ("$uuid", str),
    float: ("$float", _write_float),
}
READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$int": _read_whole,
    "$float": _read_float,
    "$decimal": _read_decimal,
    "$text": _read_text,
    "$bytes": _read_bytes,
    "$bytearray": lambda payload: bytearray(_read_bytes(payload)),
    "$datetime": _read_datetime,
    "$date": _read_date,
    "$time": _read_time,
    "$timedelta": _read_span,
    "$uuid": _read_uuid,
    "$path": _read_path,
}


# -- of any payload


def _text(payload: Any) -> str:
    if type(payload) is not str:
        raise TypeError(f"a text is needed, not a {type(payload).__name__}")
    return payload


def _number(payload: Any) -> int:
    if type(payload) is not int:
        raise TypeError(f"a whole number is needed, not a {type(payload).__name__}")
    return payload


def _list(payload: Any) -> list[Any]:
    if type(payload) is not list:
        raise TypeError(f"a list is needed, not a {type(payload).__name__}")
    return payload


def _same(value: T, written: Any, payload: Any) -> T:
    if written != payload:
        raise ValueError("nothing is written like that")
    return value
