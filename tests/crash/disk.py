"""
A disk that loses power: what strace has seen of one folder, played up to an instant, as a disk might then hold it.

What was written before a sync began that has returned is there. Of everything else any part may be: nothing, some
writes, some sectors of a write. A file's name is there once its folder was synced after it was made; until then the
folder is at any earlier state. Only the store's files count, and no "-shm": it is made anew.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

# The store, also under the name under which it is made, and what SQLite has beside it.
NAME = re.compile(r"runs\.db(\.\d+\.new)?(-wal|-journal)?")
LOG = "witness.log"
SECTOR = 512
NEVER = float("inf")

# How the writes that were not synced are treated, each as likely as the others.
LOSSES = ("dropped", "kept at random", "torn")

LINE = re.compile(r"^(\d+) +(.*)$")
RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
UNFINISHED = " <unfinished ...>"
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)", re.DOTALL)
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FILE = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that has done something, and the lines at which it began and returned."""

    name: str
    arguments: str
    result: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Change:
    """A write, or with no data a cut to the length *offset*."""

    offset: int
    data: bytes | None
    began: float
    ended: float


@dataclass(eq=False)
class Inode:
    """What was done to one file, whatever its name."""

    changes: list[Change] = field(default_factory=list)
    # When a sync that has worked began and returned.
    syncs: list[tuple[float, float]] = field(default_factory=list)

    def at(self, instant: float, loss: str, rng: Random) -> bytes:
        """The file's bytes if the power goes at an instant."""
        synced = synced_at(self.syncs, instant)
        data = bytearray()
        for change in self.changes:
            if change.began > instant:
                break
            parts = [change] if change.ended <= synced else survivors(change, loss, rng)
            for part in parts:
                apply(data, part)
        return bytes(data)


def synced_at(syncs: list[tuple[float, float]], instant: float) -> float:
    """All that had returned by this line is on disk at an instant."""
    return max((began for began, ended in syncs if ended <= instant), default=-1)


def survivors(change: Change, loss: str, rng: Random) -> Iterator[Change]:
    """The parts of an unsynced change that are on disk all the same."""
    if loss == "dropped":
        return
    if loss == "kept at random" or change.data is None:
        if rng.random() < 0.5:
            yield change
        return
    start = 0
    while start < len(change.data):
        end = start + SECTOR - (change.offset + start) % SECTOR
        if rng.random() < 0.5:
            yield Change(change.offset + start, change.data[start:end], change.began, change.ended)
        start = end


def apply(data: bytearray, change: Change) -> None:
    missing = change.offset - len(data)
    if missing > 0:
        data.extend(bytes(missing))
    if change.data is None:
        del data[change.offset :]
    else:
        data[change.offset : change.offset + len(change.data)] = change.data


class Disk:
    """A folder as system calls have changed it."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.lines = 0
        # Files by name now; what became of names, in order; syncs of the folder.
        self._now: dict[str, Inode] = {}
        self._names: list[tuple[float, float, str, Inode | None]] = []
        self._syncs: list[tuple[float, float]] = []
        # The log: at which line each of its lines was begun.
        self._said_at: list[float] = []
        self._said: list[str] = []
        self.unread: list[str] = []

    def play(self, log: Path) -> None:
        """Go on with what a trace tells."""
        text = log.read_text().splitlines()
        for call in calls_of(text, self.lines):
            self._play(call)
        self.lines += len(text)

    def _play(self, call: Call) -> None:
        if call.result.startswith("-"):
            return
        if call.name in ("openat", "unlink", "unlinkat", "link", "linkat", "rename", "renameat", "renameat2"):
            names = [self._inside(path) for path in paths_of(call)]
            if all(map(NAME.fullmatch, names)):
                self._name(call, names)
            return
        path = file_of(call)
        if path == self.folder:
            self._syncs.append((call.began, call.ended))
            return
        name = self._inside(path)
        if name == LOG:
            self._said_at.append(call.began)
            self._said.append(text_of(call))
        elif NAME.fullmatch(name):
            self._change(call, self._now[name])

    def _inside(self, path: str) -> str:
        return path.removeprefix(self.folder + "/")

    def _name(self, call: Call, names: list[str]) -> None:
        assert "O_TRUNC" not in call.arguments, call
        if call.name == "openat" and names[0] in self._now:
            return
        made = Inode() if call.name == "openat" else self._now[names[0]]
        if len(names) == 2 or call.name == "openat":
            self._now[names[-1]] = made
            self._names.append((call.began, call.ended, names[-1], made))
        if call.name.startswith(("unlink", "rename")):
            del self._now[names[0]]
            self._names.append((call.began, call.ended, names[0], None))

    def _change(self, call: Call, inode: Inode) -> None:
        if call.name in ("fdatasync", "fsync"):
            if call.result == "0":
                inode.syncs.append((call.began, call.ended))
            return
        numbers = call.arguments.rpartition('"')[2].split(",")
        if call.name == "ftruncate":
            inode.changes.append(Change(int(call.arguments.rpartition(",")[2]), None, call.began, call.ended))
        elif call.name == "pwrite64":
            data = decoded(TEXT.findall(call.arguments)[0])
            assert len(data) == int(numbers[1]), "strace has cut a write short"
            inode.changes.append(Change(int(numbers[2]), data, call.began, call.ended))
        else:
            self.unread.append(call.name)

    def at(self, instant: float, rng: Random) -> dict[str, bytes]:
        """What the folder may hold if the power goes at a line: bytes by name."""
        loss = rng.choice(LOSSES)
        synced = synced_at(self._syncs, instant)
        sure = sum(ended <= synced for _, ended, _, _ in self._names)
        begun = sum(began <= instant for began, _, _, _ in self._names)
        names: dict[str, Inode] = {}
        for _, _, name, inode in self._names[: sure if loss == "dropped" else rng.randint(sure, begun)]:
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        return {name: inode.at(instant, loss, rng) for name, inode in names.items()}

    def said(self, instant: float) -> str:
        """The log up to a line."""
        return "".join(self._said[: bisect_right(self._said_at, instant)])


def calls_of(lines: list[str], first: int) -> Iterator[Call]:
    """The calls of a trace in the order in which they returned; those that never did come last."""
    open_calls: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, first):
        found = LINE.match(line)
        assert found is not None, line
        thread, text = found[1], found[2]
        if text.endswith(UNFINISHED):
            open_calls[thread] = (text.removesuffix(UNFINISHED), number)
            continue
        resumed = RESUMED.match(text)
        before, began = open_calls.pop(thread) if resumed else ("", number)
        call = CALL.match(before + resumed[1] if resumed else text)
        if call is not None:
            never = call[3] == "?"
            yield Call(call[1], call[2], call[3], began, NEVER if never else number)
    for text, began in open_calls.values():
        name, _, arguments = text.partition("(")
        if name.startswith(("pwrite", "write", "ftruncate")):
            yield Call(name, arguments, "?", began, NEVER)


def file_of(call: Call) -> str:
    """The path of the file that a call is about, by its descriptor."""
    found = FILE.match(call.arguments)
    assert found is not None, call
    return decoded(found[1]).decode()


def text_of(call: Call) -> str:
    """What a call writes."""
    return decoded(TEXT.findall(call.arguments)[0]).decode()


def paths_of(call: Call) -> list[str]:
    """The paths that a call is given."""
    return [decoded(text).decode() for text in TEXT.findall(call.arguments)]


def decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
