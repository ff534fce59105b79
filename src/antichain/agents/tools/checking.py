"""
The form of what checks arguments: one for each kind of schema. Nothing here checks anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

from antichain.runnable import EMPTY

__all__ = ["Checked", "Checker", "Found"]


class Found(NamedTuple):
    """
    A fault as a checker finds it: its path as keys, what is wrong, and what was there; or nothing was.
    """

    keys: tuple[object, ...]
    problem: str
    given: object = EMPTY
    is_missing: bool = False


class Checked(NamedTuple):
    """
    The values by the name of the parameter, and every fault.
    """

    values: dict[str, Any]  # Any: what the parameters' types made of them
    faults: list[Found]


class Checker(Protocol):
    """
    Check the arguments of one tool against its schema.
    """

    # JSON schema of an object: what a model is shown.
    schema: dict[str, Any]  # Any: JSON
    # Names that the schema does not have may be given, too.
    takes_more: bool

    def check(self, arguments: Mapping[str, Any], foreign: Collection[str]) -> Checked:
        """
        Check *arguments*, whose names the schema has; the values of those in *foreign* are not what JSON can hold.
        """
        ...
