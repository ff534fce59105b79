"""
How the arguments of one call are read: names, what JSON can hold, the schema; and nulls that stand for nothing.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from antichain.agents.tools.checking import Checked, Checker, Found
from antichain.agents.tools.declared import is_declared
from antichain.agents.tools.faults import MAX_FAULTS, ArgumentFault, as_path, as_shown
from antichain.agents.tools.plain import is_broken, look
from antichain.errors import named
from antichain.printable import printable
from antichain.runnable import EMPTY

__all__ = ["Names", "examined", "is_about", "nearest_name", "told"]

# In this file, Any is a value of the arguments.

# A model's name is compared with the names there are up to here.
COMPARED_CHARACTERS = 100
PROBLEM_CHARACTERS = 500
LISTED_NAMES = 20


class Names(NamedTuple):
    """
    What is known of a tool's names besides its schema.
    """

    # All that there are; None if the schema says it.
    known: frozenset[str] | None = None
    # Taken, but never from a model.
    reserved: frozenset[str] = frozenset()
    # Needed, whatever the schema says.
    needed: tuple[str, ...] = ()


def examined(checker: Checker, names: Names, arguments: object) -> Checked:
    """
    Check the arguments of one call.
    """
    if not isinstance(arguments, Mapping):
        return Checked({}, [Found((), "should be an object with the tool's parameters", arguments)])
    properties = checker.schema.get("properties", {})
    known: dict[str, Any] = {}
    unknown: list[object] = []
    faults: list[Found] = []
    foreign: list[str] = []
    for name, value in arguments.items():
        if type(name) is not str or not _is_taken(name, checker, names):
            unknown.append(name)
            continue
        seen = look(value, (name,))
        faults += seen.faults
        if not seen.is_plain:
            foreign.append(name)
        if not seen.faults:
            known[name] = value
    refused = {*arguments} - {*known}
    faults += _unknown(unknown, properties)
    checked = _checked(checker, known, foreign)
    absent = {fault.keys[0] for fault in checked.faults if fault.is_missing}.union(arguments)
    faults += [Found((name,), "is missing", is_missing=True) for name in names.needed if name not in absent]
    # What was given, but wrong in itself, is not missing as well.
    faults += [fault for fault in checked.faults if not (fault.is_missing and fault.keys[0] in refused)]
    return Checked({} if faults else checked.values, faults)


def told(fault: Found) -> ArgumentFault:
    """
    Write a fault for a model to read.
    """
    given = None if fault.given is EMPTY else as_shown(fault.given)
    return ArgumentFault(as_path(fault.keys), printable(fault.problem, PROBLEM_CHARACTERS), given)


def is_about(keys: tuple[object, ...], path: tuple[object, ...]) -> bool:
    """
    Say whether a fault at *keys* has to do with the value at *path*: it is in it, or around it.
    """
    shorter = min(len(keys), len(path))
    return keys[:shorter] == path[:shorter]


# -- names


def _is_taken(name: str, checker: Checker, names: Names) -> bool:
    if is_broken(name) or name in names.reserved or (names.known is not None and name not in names.known):
        return False
    return checker.takes_more or name in checker.schema.get("properties", ())


def _unknown(names: list[object], known: Mapping[str, Any]) -> list[Found]:
    takes = f" Parameters are: {named(list(known), LISTED_NAMES)}." if known else " There are none."
    found = []
    for name in names[:LISTED_NAMES]:
        near = nearest_name(name, known)
        found.append(Found((name,), "is not a parameter." + (f" Did you mean {near!r}?" if near else takes)))
    if len(names) > LISTED_NAMES:
        found.append(Found((), f"has {len(names)} names that are no parameters: only the first are named"))
    return found


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """
    Return which of *known* is most like what a model wrote, whatever that is; None if none is.
    """
    if not isinstance(name, str):
        return None
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(_folded(each), each)
    near = difflib.get_close_matches(_folded(name[:COMPARED_CHARACTERS]), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _folded(name: str) -> str:
    # Models write "functions.search", "Search" and "web-search" for what is called search and web_search.
    return name.rpartition(".")[2].casefold().replace("-", "_")


# -- the schema


def _checked(checker: Checker, given: dict[str, Any], foreign: Collection[str]) -> Checked:
    """
    Check, and take null for left out where it is not allowed, but leaving out is: for fields, not for free names.
    """
    first = checker.check(given, foreign)
    found = {fault.keys: None for fault in first.faults if _is_null(given, fault.keys)}
    nulls = [keys for keys in found if is_declared(checker.schema, keys)]
    if not nulls or len(first.faults) >= MAX_FAULTS:
        return first
    second = checker.check(_without(given, nulls), foreign)
    needed = {fault.keys for fault in second.faults if fault.is_missing}
    spared = [keys for keys in nulls if keys not in needed]
    if len(spared) == len(nulls):
        return second
    return checker.check(_without(given, spared), foreign) if spared else first


def _is_null(given: Any, keys: tuple[object, ...]) -> bool:
    """
    Say whether there is a field of an object at *keys*, and it is null.
    """
    if not keys:
        return False
    at = given
    for key in keys[:-1]:
        at = at[key]
    return isinstance(at, Mapping) and keys[-1] in at and at[keys[-1]] is None


def _without(given: dict[str, Any], paths: Iterable[tuple[object, ...]]) -> dict[str, Any]:
    """
    Copy as much of *given* as it takes to leave out the fields at *paths*.
    """
    made: Any = dict(given)
    for *above, last in paths:
        at = made
        for key in above:
            at[key] = list(at[key]) if isinstance(at[key], tuple) else copy.copy(at[key])
            at = at[key]
        del at[last]
    return made  # type: ignore[no-any-return]
