"""
Who is alive: bytes of a file beside the store that the system locks for a process, and frees when it is gone, however.

What is protected by them is told by `writing`; the file itself is empty and may be deleted when nobody runs.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from functools import lru_cache

__all__ = ["WRITING", "LockFile", "place_of"]

# The byte that whoever writes or makes a checkpoint has locked.
WRITING = 0


def place_of(run: int, epoch: int) -> int:
    """
    Return the byte that the owner number *epoch* of a run has locked: another than any owner before.
    """
    return (run << 31) + epoch


class LockFile:
    """
    Lock single bytes of the file at *path*, which is made; of this process's own locks it knows nothing.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._can_lock = True
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as denied:
            # Enough to ask.
            self._can_lock = False
            try:
                self._file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise denied from None

    def take(self, place: int) -> bool:
        """
        Lock one byte, without waiting; False if somebody else has it.

        Raises:
            PermissionError: the file may only be read.
        """
        if not self._can_lock:
            raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} to write to {self.path!r}")
        return lock(self._file, place)

    def free(self, place: int) -> None:
        """
        Unlock one byte.
        """
        unlock(self._file, place)

    def is_taken(self, place: int) -> bool:
        """
        Say whether somebody else has locked a byte.
        """
        return is_locked(self._file, place)

    def close(self) -> None:
        """
        Unlock everything; in a forked child the locks of its parent stay.
        """
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


if sys.platform == "win32":
    import msvcrt

    def lock(file: int, place: int) -> bool:
        os.lseek(file, place, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def is_locked(file: int, place: int) -> bool:
        taken = lock(file, place)
        if taken:
            unlock(file, place)
        return not taken

elif sys.platform == "linux" and struct.calcsize("P") == 8:
    import fcntl

    # struct flock: type, whence, start, length, process. These locks belong to the open file, not to the process:
    # closing another descriptor of the file does not lose them, and two stores in one process exclude each other.
    FLOCK = struct.Struct("@hhqqi4x")

    @lru_cache(maxsize=64)
    def flock(kind: int, place: int) -> bytes:
        # Each commit takes and frees one place.
        return FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)

    def lock(file: int, place: int) -> bool:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, flock(fcntl.F_WRLCK, place))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(file: int, place: int) -> None:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, flock(fcntl.F_UNLCK, place))

    def is_locked(file: int, place: int) -> bool:
        kind: int = FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, flock(fcntl.F_WRLCK, place)))[0]
        return kind != fcntl.F_UNLCK

else:
    import fcntl

    # Locks of the process: they are lost when any descriptor of the file is closed, so `writing` has one per file.

    def lock(file: int, place: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    def is_locked(file: int, place: int) -> bool:
        taken = lock(file, place)
        if taken:
            unlock(file, place)
        return not taken
