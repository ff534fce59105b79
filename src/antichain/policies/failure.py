"""What the ending of one node means for the others."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from antichain.errors import Fault, GraphError, shown, suggestion

__all__ = ["ON_ERROR", "Join", "OnError", "as_join", "as_on_error"]

OnError = Literal["cancel", "drain", "continue"]
ON_ERROR: tuple[OnError, ...] = ("cancel", "drain", "continue")


class Join(IntEnum):
    """
    Say which endings of its upstream nodes let a node start.
    """

    # Every upstream succeeded; one that did not makes the node skipped or cancelled.
    ALL = 0
    # The first upstream that succeeds is enough.
    ANY = 1
    # Every upstream has ended, however it ended.
    ALL_DONE = 2


_JOINS = {"all": Join.ALL, "any": Join.ANY, "all_done": Join.ALL_DONE}


def as_join(value: object) -> Join:
    """
    Read a join rule from its name.

    Raises:
        GraphError: *value* is not the name of a join rule.
    """
    if isinstance(value, Join):
        return value
    if isinstance(value, str) and value in _JOINS:
        return _JOINS[value]
    hint = suggestion(value, _JOINS) if isinstance(value, str) else ""
    raise GraphError(
        Fault("bad-policy", f"join={shown(value)} is not a join rule: use 'all', 'any' or 'all_done'.{hint}")
    )


def as_on_error(value: object) -> OnError:
    """
    Read what a run does on the first failure.

    Raises:
        GraphError: *value* is none of the three.
    """
    for known in ON_ERROR:
        if value == known:
            return known
    hint = suggestion(value, ON_ERROR) if isinstance(value, str) else ""
    message = f"on_error={shown(value)} is not known: use 'cancel', 'drain' or 'continue'.{hint}"
    raise GraphError(Fault("bad-policy", message))
