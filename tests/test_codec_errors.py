"""Exceptions in a store are text: what a person needs to see of them; see antichain.stores.codec.failures."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from antichain.errors import AntichainError
from antichain.stores.codec import decode_error, encode_error


def raised(error: BaseException) -> BaseException:
    """With a traceback, as a node raises it."""
    try:
        raise error
    except BaseException as caught:
        return caught


class Unshowable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise RuntimeError


class Nameless(Exception):
    """Its message is none, and it has notes that are no texts."""

    __notes__ = (1, None, "three")  # type: ignore[assignment]

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


def test_an_error_says_what_it_was() -> None:
    original = raised(ValueError("no rows"))
    original.add_note("in sheet 3")
    error = decode_error(encode_error(original))
    assert isinstance(error, AntichainError)
    assert (error.type_name, error.message, error.notes) == ("ValueError", "no rows", ("in sheet 3",))
    assert str(error) == "ValueError: no rows"
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert "in raised\n    raise error\nValueError: no rows\nin sheet 3" in error.traceback
    shown = "".join(traceback.format_exception(raised(error)))
    assert "StoredError: ValueError: no rows\nin sheet 3\nThis was raised before the run was resumed, by:" in shown


def test_causes_and_groups_are_in_the_traceback() -> None:
    group = ExceptionGroup("two", [raised(KeyError("a")), raised(OSError("b"))])
    group.__cause__ = raised(LookupError("c"))
    error = decode_error(encode_error(group))
    assert error.type_name == "ExceptionGroup"
    for each in ("KeyError: 'a'", "OSError: b", "LookupError: c"):
        assert each in error.traceback


def test_a_stored_error_is_stored_as_what_it_stands_for() -> None:
    """However often a run is resumed."""
    first = encode_error(raised(ValueError("x")))
    error = decode_error(first)
    assert encode_error(error) == first
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.traceback, again.__notes__) == (str(error), error.traceback, error.__notes__)


@pytest.mark.parametrize(
    "error",
    [
        Unshowable(),
        Nameless(),
        type("Odd\x1b[31m\n", (Exception,), {})("x"),
        SystemExit(3),
        KeyboardInterrupt(),
        BaseExceptionGroup("g", [Unshowable(), Nameless()]),
        ValueError("\ud800 and \x1b]52;c;aGk=\x07 and \u202e"),
        ValueError(*range(10_000)),
        RecursionError("x" * 5_000_000),
    ],
    ids=lambda error: type(error).__qualname__.encode("ascii", "ignore").decode()[:10],
)
def test_any_exception_can_be_stored(error: BaseException) -> None:
    """Whatever it does when it is looked at; a terminal can show it, and it is not long."""
    for each in (error, raised(error)):
        data = encode_error(each)
        assert len(data) < 200_000
        read = decode_error(data)
        assert "\n" not in read.type_name
        text = "\n".join([read.type_name, read.message, read.traceback, *read.notes, str(read)])
        assert text.replace("\n", "").isprintable()


def test_a_chain_without_end_is_cut() -> None:
    error: BaseException = ValueError("first")
    for number in range(300):
        following = raised(ValueError(f"number {number} {'x' * 500}"))
        following.__cause__, error = error, following
    read = decode_error(encode_error(error))
    assert len(read.traceback) <= 50_010
    assert "number 299" in read.traceback


def test_many_notes_are_cut() -> None:
    error = ValueError("x")
    error.__notes__ = ["note " * 200] * 1000
    data = encode_error(error)
    assert len(data) < 200_000
    assert len(decode_error(data).notes) == 20


def test_deep_recursion_is_told_in_few_lines() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    read = decode_error(encode_error(caught.value))
    assert read.type_name == "RecursionError"
    assert len(read.traceback.splitlines()) < 100


def test_errors_are_redacted() -> None:
    """The message, the notes, and the traceback, which repeats them."""
    original = raised(ValueError("key s3cret"))
    original.add_note("s3cret too")
    data = encode_error(original, redact=lambda text: text.replace("s3cret", "***"))
    assert b"s3cret" not in data
    assert decode_error(data).message == "key ***"


def test_a_redaction_that_fails_gives_nothing_away() -> None:
    def redact(text: str) -> str:
        raise RuntimeError(text)

    data = encode_error(raised(ValueError("s3cret")), redact=redact)
    assert b"s3cret" not in data
    assert decode_error(data).message == "<it raises RuntimeError when it is shown>"
