"""
How values become bytes that can be kept, and bytes that may be anybody's become values, or a refusal.

What is kept is data: JSON text behind one byte that says how to read it, with a closed table of tags for what JSON
cannot say. Nothing in it names code that would be imported or called: classes are found by the annotation of whoever
reads, or by `register_codec`, never by their name in a store. Whether the bytes are those that were written is not
known here: a store keeps a checksum beside them.

Reading order: `limits` (how large a value may be), `form` (the bytes), `tags` (single values that JSON cannot say),
`registry` (types of users), `described` (classes with fields), `writing`, `annotations` (what a reader expects),
`reading`, `failures` (exceptions), `redacting` (secrets), `encoding` (what a run has chosen of all this).
"""

from antichain.stores.codec.annotations import annotation_of
from antichain.stores.codec.encoding import Encoding, encoding_of
from antichain.stores.codec.failures import StoredError, decode_error, encode_error
from antichain.stores.codec.limits import DEFAULT_LIMITS, BeyondLimits, ValueLimits
from antichain.stores.codec.reading import check_annotation, decode
from antichain.stores.codec.redacting import redact_values
from antichain.stores.codec.registry import register_codec
from antichain.stores.codec.writing import digest, encode

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
