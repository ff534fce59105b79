"""
A few characters that stand for a value or for how something is wired: the same in every process and every Python.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from antichain.errors import NotStorable
from antichain.stores import codec
from antichain.stores.codec.form import json_writer

__all__ = ["DIGEST_CHARACTERS", "hashed", "value_digest"]

DIGEST_CHARACTERS = 12

as_ascii_json = json_writer(ensure_ascii=True)


def hashed(parts: Any) -> str:  # Any: texts, numbers and lists of them
    """
    Return the digest of lists of texts and numbers: 12 hexadecimal characters.
    """
    return blake2b(as_ascii_json(parts).encode(), digest_size=DIGEST_CHARACTERS // 2).hexdigest()


def value_digest(value: object) -> str:
    """
    Return the digest of a user's value; what no store takes counts by the name of its type, and by nothing else.
    """
    try:
        return codec.digest(value)
    except NotStorable:
        kind = type(value)
        return f"{kind.__module__}.{kind.__qualname__}"
