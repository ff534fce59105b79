"""
How the values of one run become bytes: what its store says of their size and form, and what the run says of secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from antichain.errors import NotStorable, StoreError, shown
from antichain.stores.codec.form import SQUEEZED, unpack
from antichain.stores.codec.limits import DEFAULT_LIMITS, ValueLimits
from antichain.stores.codec.plain import encode

__all__ = ["Encoding", "encoding_of"]

# In this file, Any is the user's value, or an annotation.


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """
    Encode what a run keeps, and decode it: users' values within the limits of the store; questions, answers, errors
    and whatever else is the engine's own within the default ones.
    """

    limits: ValueLimits = DEFAULT_LIMITS
    compress: bool = False
    redact: Callable[[str], str] | None = None

    @property
    def is_plain(self) -> bool:
        """
        Whether nothing is other than by default.
        """
        return self.redact is None and not self.compress and self.limits == DEFAULT_LIMITS

    def value(self, value: Any, name: str = "output") -> bytes:
        """
        Encode a value of the user's.

        Raises:
            NotStorable: it cannot be stored.
        """
        return encode(value, limits=self.limits, compress=self.compress, redact=self.redact, name=name)

    def own(self, data: Any, name: str = "a question") -> bytes:
        """
        Encode what the engine has to say, with texts of the user's in it.

        Raises:
            NotStorable: it holds what is to be redacted, where no text is.
        """
        return encode(data, redact=self.redact, name=name)

    def error(self, error: BaseException) -> bytes:
        """
        Encode an exception.
        """
        from antichain.stores.codec.failures import encode_error

        return encode_error(error, redact=self.redact, compress=self.compress)

    def read(self, data: bytes, annotation: Any = None) -> Any:
        """
        Decode a value of the user's.

        Raises:
            StoreDamaged: it cannot be read, or is larger than the limits.
        """
        from antichain.stores.codec.reading import decode

        return decode(data, annotation, limits=self.limits)

    def check(self, data: bytes, annotation: Any) -> None:
        """
        Make sure that what was just encoded will be read as what it is.

        Raises:
            NotStorable: it will not; where in the value, and what to do.
        """
        from antichain.stores.codec.reading import check_annotation

        check_annotation(data, annotation, limits=self.limits)

    def as_kept(self, value: Any) -> Any:
        """
        Return what is left of a value where it is redacted, as plain data; the value itself where it is not.
        """
        try:
            kept = encode(value, limits=self.limits, redact=self.redact)
            if kept == encode(value, limits=self.limits, redact=_as_it_is):
                return value
        except NotStorable:
            return value
        return self.read(kept)

    def changes(self, text: str) -> bool:
        """
        Tell whether a text would be redacted, or cannot be.
        """
        if self.redact is None:
            return False
        try:
            return self.redact(text) != text
        except Exception:  # noqa: BLE001  # foreign code: what it cannot look at is not stored
            return True

    def redacted(self, text: str) -> str:
        """
        Return a text as it may be told.
        """
        if not self.changes(text):
            return text
        try:
            told = self.redact(text) if self.redact is not None else text
        except Exception:  # noqa: BLE001  # foreign code
            return "[redacted]"
        return told if type(told) is str else "[redacted]"

    def is_same(self, first: bytes, second: bytes) -> bool:
        """
        Tell whether two encoded values are equal, compressed or not.
        """
        return first == second or _bare(first, self.limits) == _bare(second, self.limits)


def _as_it_is(text: str) -> str:
    return text


def _bare(data: bytes, limits: ValueLimits) -> tuple[int, str]:
    flags, text = unpack(data, limits)
    return flags & ~SQUEEZED, text


def encoding_of(store: object, redact: Callable[[str], str] | None = None) -> Encoding:
    """
    Return how values are encoded for *store*, by its attributes ``limits`` and ``compress`` if it has them.

    Raises:
        StoreError: one of them is something else.
    """
    limits, compress = getattr(store, "limits", DEFAULT_LIMITS), getattr(store, "compress", False)
    if not isinstance(limits, ValueLimits):
        raise StoreError(f"the limits of {shown(store)} are {shown(limits)}: use ValueLimits(items=…)")
    if not isinstance(compress, bool):
        raise StoreError(f"compress of {shown(store)} is {shown(compress)}: use True or False")
    return Encoding(limits=limits, compress=compress, redact=redact)
