"""
How values become bytes that can be kept, and bytes that may be anybody's become values, or a refusal.

What is kept is data: JSON text behind one byte that says how to read it, with a closed table of tags for what JSON
cannot say. Nothing in it names code that would be imported or called: classes are found by the annotation of whoever
reads, or by `register_codec`, never by their name in a store. Whether the bytes are those that were written is not
known here: a store keeps a checksum beside them.

Reading order: `limits` (how large a value may be), `form` (the bytes), `plain` (what JSON has), `tags` (single values
that JSON cannot say), `registry` (types of users), `described` (classes with fields), `writing`, `annotations` (what a
reader expects), `reading`, `failures` (exceptions), `redacting` (secrets), `encoding` (what a run has chosen of all
this).
"""

from typing import TYPE_CHECKING, Any

from antichain.stores.codec.encoding import Encoding, encoding_of
from antichain.stores.codec.limits import DEFAULT_LIMITS, BeyondLimits, ValueLimits
from antichain.stores.codec.plain import encode

if TYPE_CHECKING:
    from antichain.stores.codec.annotations import annotation_of as annotation_of
    from antichain.stores.codec.failures import StoredError as StoredError
    from antichain.stores.codec.failures import decode_error as decode_error
    from antichain.stores.codec.failures import encode_error as encode_error
    from antichain.stores.codec.reading import check_annotation as check_annotation
    from antichain.stores.codec.reading import decode as decode
    from antichain.stores.codec.redacting import redact_values as redact_values
    from antichain.stores.codec.registry import register_codec as register_codec
    from antichain.stores.codec.writing import digest as digest

__all__ = [
    "DEFAULT_LIMITS",
    "BeyondLimits",
    "Encoding",
    "StoredError",
    "ValueLimits",
    "annotation_of",
    "check_annotation",
    "decode",
    "decode_error",
    "digest",
    "encode",
    "encode_error",
    "encoding_of",
    "redact_values",
    "register_codec",
]


def __getattr__(name: str) -> Any:  # Any: the protocol of modules
    # Most runs do without these: they are loaded when somebody asks for one.
    found: Any
    match name:
        case "annotation_of":
            from antichain.stores.codec.annotations import annotation_of as found
        case "StoredError":
            from antichain.stores.codec.failures import StoredError as found  # noqa: N813  # any of them
        case "decode_error":
            from antichain.stores.codec.failures import decode_error as found
        case "encode_error":
            from antichain.stores.codec.failures import encode_error as found
        case "check_annotation":
            from antichain.stores.codec.reading import check_annotation as found
        case "decode":
            from antichain.stores.codec.reading import decode as found
        case "redact_values":
            from antichain.stores.codec.redacting import redact_values as found
        case "register_codec":
            from antichain.stores.codec.registry import register_codec as found
        case "digest":
            from antichain.stores.codec.writing import digest as found
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
