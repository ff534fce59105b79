"""
Chance that is the same every time: each draw is a function of the seed and of what it is drawn for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

__all__ = ["content_key", "draw"]

# How an answer is sent is not what it says.
DELIVERY = ("stream", "stream_options")


def content_key(path: str, body: Mapping[str, Any]) -> str:  # Any: JSON
    """
    Name the content of a request: whatever the order of its fields, and streamed or not.
    """
    content = {name: value for name, value in body.items() if name not in DELIVERY}
    text = json.dumps([path, content], sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=12).hexdigest()


def draw(*parts: object) -> float:
    """
    Draw a number from 0 up to 1 for *parts*, the first of which is the seed.
    """
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=7).digest()) / 2**56
