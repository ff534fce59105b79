"""
Which store a command means, and what may be the id of a run. Nothing here opens a store.
"""

import os
import re
from dataclasses import dataclass
from typing import Final, Literal

from antichain.loading import UsageError

__all__ = ["DEFAULT", "NONE", "NOWHERE", "VARIABLE", "Place", "checked_id", "place_of"]

DEFAULT: Final = ".antichain/runs.db"
VARIABLE: Final = "ANTICHAIN_STORE"
# What the variable says where nothing is to be stored.
NONE: Final = "none"
ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Place:
    """
    A store, and who says that it is this one.
    """

    # A path or an address; empty for none.
    spec: str
    said_by: Literal["option", "variable", "nobody"]

    @property
    def words(self) -> tuple[str, ...]:
        """
        What a command that means the same store has to say.
        """
        return ("--store", self.spec) if self.said_by == "option" else ()

    @property
    def is_file(self) -> bool:
        """
        The store is a file here, not an address.
        """
        return "://" not in self.spec

    def __str__(self) -> str:
        return repr(self.spec)


# Where a run is not to be stored.
NOWHERE: Final = Place("", "option")


def place_of(option: str | None, stores: bool = True) -> Place:
    """
    Decide which store is meant: the option's, else the variable's, else the usual one.
    """
    if option is not None and not stores:
        raise UsageError("--store and --no-store are both given: give one of them.")
    if option is not None:
        if not option:
            raise UsageError("--store is empty. Name a file, for example --store runs.db.")
        return Place(option, "option")
    said = os.environ.get(VARIABLE, "")
    if not stores or said == NONE:
        return NOWHERE
    return Place(said, "variable") if said else Place(DEFAULT, "nobody")


def checked_id(text: str) -> str:
    """
    Return the id of a run, as it may be given to one.
    """
    if not ID.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is no id of a run: use 1 to 64 letters, digits, dots, underscores and hyphens, as in "
            "nightly-7."
        )
    return text
