"""
What runs that go on wait for, in files beside the store: one of each owner that has said something, which goes when the
run is given up.

They are not in the store's file because they are no facts: one must not wait for whoever writes facts, nor for a disk,
and a power cut may take them. Each is written over in place, and says by a proof whether all of it is there.
"""

from __future__ import annotations

import contextlib
import os
import struct
from time import sleep
from typing import TYPE_CHECKING, Final

from antichain.stores.sqlite.rows import proof_of

if TYPE_CHECKING:
    from antichain.stores.sqlite.writing import Holder

__all__ = ["drop_standing", "forget_standing", "put_standing", "read_standing"]

# Bytes that follow, and their proof.
HEAD: Final = struct.Struct("<qq")
# More than any run says of itself.
MOST_BYTES: Final = 4_000_000
# A reader may come while one is written: so often, and seconds between.
TRIES: Final = 3
PAUSE: Final = 0.005
# No link is followed that somebody has put there, and nobody waits at a pipe, where the system can say so.
PLAINLY: Final = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))


def path_of(store: str, run: int, epoch: int) -> str:
    """
    Return where the owner number *epoch* of a run says what it waits for.
    """
    return f"{store}.now-{run}-{epoch}"


def put_standing(holder: Holder, standing: bytes) -> None:
    """
    Write down what an owner says, over what it said before.

    Raises:
        OSError: it cannot be written.
    """
    path = path_of(holder.writer.path, holder.run, holder.epoch)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | PLAINLY, 0o600)
    holder.has_standing = True
    try:
        os.write(file, HEAD.pack(len(standing), proof_of(standing)) + standing)
    finally:
        os.close(file)


def read_standing(store: str, run: int, epoch: int) -> bytes | None:
    """
    Return what the owner number *epoch* of a run has said, None if that is nothing, or nothing whole.
    """
    for _ in range(TRIES):
        try:
            file = os.open(path_of(store, run, epoch), os.O_RDONLY | PLAINLY)
        except OSError:
            return None
        with os.fdopen(file, "rb") as opened, contextlib.suppress(OSError):
            data = opened.read(MOST_BYTES)
            if len(data) >= HEAD.size:
                size, proof = HEAD.unpack_from(data)
                standing = data[HEAD.size : HEAD.size + size]
                if size == len(standing) and proof_of(standing) == proof:
                    return standing
        sleep(PAUSE)
    return None


def forget_standing(holder: Holder) -> None:
    """
    Take back what an owner has said, when it gives its run up.
    """
    if holder.has_standing:
        drop_standing(holder.writer.path, holder.run, holder.epoch)


def drop_standing(store: str, run: int, epoch: int) -> None:
    """
    Remove what the owner number *epoch* of a run has said, if it is there.
    """
    # On Windows somebody may be reading it. Nobody believes what a run without an owner says, so it may stay.
    with contextlib.suppress(OSError):
        os.remove(path_of(store, run, epoch))
