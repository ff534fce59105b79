"""
Find the values of secrets in texts, in the forms in which programs write them down, and replace them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final

__all__ = ["RedactedValues", "redact_values"]

# What is shorter would be found in texts that have nothing to do with it.
MIN_CHARACTERS: Final = 5
# Bits of one character of base64, and of a byte.
SEXTET, BYTE = 6, 8
SHORT_ESCAPES: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
SLASHES: Final = r"\\+"


class RedactedValues:
    """
    Replace some values in any text. Made by `redact_values`.
    """

    __slots__ = ("_count", "_pattern", "_replacement")

    def __init__(self, pattern: re.Pattern[str], count: int, replacement: str) -> None:
        self._pattern = pattern
        self._count = count
        self._replacement = replacement

    def __call__(self, text: str) -> str:
        """
        Return *text* with something else in place of each value.
        """
        return self._pattern.sub(lambda _: self._replacement, text)

    def holds(self, text: str) -> bool:
        """
        Tell whether one of the values is in *text*.
        """
        return self._pattern.search(text) is not None

    def __repr__(self) -> str:
        return f"<redact_values of {self._count} secret{'s' * (self._count != 1)}>"


def redact_values(*secrets: str | bytes, replacement: str = "[redacted]") -> RedactedValues:
    """
    Make a function for ``redact=`` that replaces these values wherever they are in a text: as they are, as in a URL, in
    JSON, in the repr of a text, in hexadecimal, and in base64, also in the middle of what was encoded (as in
    ``Authorization: Basic …``).

    A node fails whose output holds one of them where no text is, as a number or in a UUID.

    Raises:
        ValueError: a secret has fewer than 5 characters, as one that is not set has, or is in *replacement*.

    Example:
        >>> redact = redact_values("s3cret/key")
        >>> redact("GET /v1?key=s3cret%2Fkey with s3cret/key")
        'GET /v1?key=[redacted] with [redacted]'
    """
    found = list(dict.fromkeys(_bytes_of(each, number) for number, each in enumerate(secrets, 1)))
    if not found:
        raise ValueError("redact_values() has nothing to replace: give it the values of secrets")
    forms = {form for secret in found for form in _forms(secret)}
    # The longest first: one secret may begin with another.
    pattern = re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form))))
    if type(replacement) is not str or pattern.search(replacement) is not None:
        raise ValueError("replacement= is a text that holds no secret")
    return RedactedValues(pattern, len(found), replacement)


def _bytes_of(secret: str | bytes, number: int) -> bytes:
    # No message shows the value.
    if not isinstance(secret, (str, bytes)):
        raise ValueError(f"secret {number} of redact_values() is a {type(secret).__name__}, not a text: is it set?")
    # Whoever reads a file often reads a line end with it.
    value = secret.strip()
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if len(data) < MIN_CHARACTERS:
        least = f"fewer than {MIN_CHARACTERS}, and would be found where it is not meant"
        raise ValueError(f"secret {number} of redact_values() has {len(data)} characters, {least}: is it set?")
    return data


def _forms(secret: bytes) -> list[str]:
    text = secret.decode("utf-8", "surrogateescape")
    return ["".join(map(_character, text)), f"(?i:{secret.hex()})", *_base64(secret)]


def _character(each: str) -> str:
    """
    Return the pattern of a character, however it is escaped; letters and digits never are.
    """
    if each.isascii() and each.isalnum():
        return each
    data = each.encode("utf-8", "surrogateescape")
    forms = ["".join(f"%{_hex(f'{byte:02x}')}" for byte in data), "".join(rf"{SLASHES}x{byte:02x}" for byte in data)]
    # In JSON inside JSON, what escapes is escaped itself.
    if each in SHORT_ESCAPES:
        forms.append(SLASHES + SHORT_ESCAPES[each])
    if ord(each) < 256:
        forms.append(rf"{SLASHES}x{ord(each):02x}")
    units = each.encode("utf-16-be", "surrogatepass").hex()
    forms.append("".join(rf"{SLASHES}u{_hex(units[at : at + 4])}" for at in range(0, len(units), 4)))
    forms.append(rf"{SLASHES}U{ord(each):08x}")
    if each == " ":
        forms.append(r"\+")
    plain = SLASHES if each == "\\" else rf"\\*{re.escape(each)}" if each in "\"'/" else re.escape(each)
    return f"(?:{'|'.join([plain, *dict.fromkeys(forms)])})"


def _hex(digits: str) -> str:
    return "".join(f"[{each}{each.upper()}]" if each.isalpha() else each for each in digits)


def _base64(secret: bytes) -> list[str]:
    """
    Return patterns of what is the same in base64 whatever stands around the secret, for each way it may be aligned.
    """
    forms = []
    for before in range(3):
        whole = b64encode(bytes(before) + secret).decode()
        first = -(-before * BYTE // SEXTET)
        last = (before + len(secret)) * BYTE // SEXTET
        forms.append("".join(map(_of_base64, whole[first:last])))
    return forms


def _of_base64(each: str) -> str:
    # Two alphabets, and both may be in a URL or in JSON.
    if each == "+":
        return r"(?:\+|-|%2[bB])"
    return r"(?:\\*/|_|%2[fF])" if each == "/" else each
