"""One writer at a time: a lock that the system drops by itself when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from imgret.errors import StoreBusyError, StoreError

LOCK_FILE = "store.lock"
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_GUARDED = 1 << 20  # Windows locks bytes for readers too, so the locked byte lies past the holder's name


class WriterLock:
    """Hold `store.lock`, or another file, while writing; StoreBusyError names the holder when it is taken.

    `stalled` is 0: when this lock is free, whoever held it is no more.

    StoreError where the file system gives no locks: without them two writers would undo each other's work unseen.
    """

    stalled = 0

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self._path = folder / name
        self._file: BinaryIO | None = None

    def __enter__(self) -> WriterLock:
        file = open(self._path, "a+b")
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read(4096)
            file.close()
            if error.errno not in _TAKEN:
                raise StoreError(
                    f"{self._path.parent} is on a file system that gives no locks ({error.strerror}); mount it with "
                    "them (Lustre: -o flock), or write to a disk of this machine and copy the folder when it is done"
                ) from error
            raise StoreBusyError(
                f"{self._path.parent} is being written by {describe(holder)}; "
                "wait for it, or give each process its own store with --part I/N"
            ) from None
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        with contextlib.suppress(OSError):  # a courtesy to others; on a full disk the lock holds without it
            file.truncate(0)
            file.write(json.dumps(about).encode())
            file.flush()
        self._file = file
        return self

    def check(self) -> None:
        """Nothing: this lock cannot be lost."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()  # closing drops the lock; the empty file stays, removing it would race
            self._file = None


def describe(holder: bytes) -> str:
    """The holder of a lock in words, from what is in it."""
    try:
        about = json.loads(holder)
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_GUARDED)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
