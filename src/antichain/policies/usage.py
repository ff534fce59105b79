"""What a response says that it has used: read by its shape, so that no client's library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from antichain.policies.limits import is_amount

__all__ = ["usage_of"]

# Names of the total, and of its two parts where there is none: as OpenAI, Anthropic, Google and those like them have
# them.
_TOTAL: Final = ("total_tokens", "total_token_count", "totalTokenCount")
_PARTS: Final = (
    ("input_tokens", "output_tokens"),
    ("prompt_tokens", "completion_tokens"),
    ("prompt_token_count", "candidates_token_count"),
)
# Where a response carries its usage.
_HOLDERS: Final = ("usage", "usage_metadata")


def usage_of(response: object) -> dict[str, float] | None:
    """
    Read from a *response* how many tokens it has used: from ``.usage`` or ``["usage"]``, the total, else the sum of
    input and output; None if it does not say so.
    """
    for holder in _HOLDERS:
        usage = _part(response, holder)
        if usage is None:
            continue
        for name in _TOTAL:
            if is_amount(total := _part(usage, name)):
                return {"tokens": total}
        for names in _PARTS:
            parts = [part for part in (_part(usage, name) for name in names) if is_amount(part)]
            if parts and is_amount(total := sum(parts)):
                return {"tokens": total}
    return None


def _part(thing: object, name: str) -> object:
    if isinstance(thing, Mapping):
        return thing.get(name)
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # a property of somebody else's: what it raises says that there is nothing
        return None
