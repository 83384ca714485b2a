"""One writer at a time where the system gives no locks: an object that its holder rewrites while it lives."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from imgret.errors import ImgretError, StoreBusyError, StoreError
from imgret.remote_path import RemotePath
from imgret.store.lock import LOCK_FILE, describe

BEAT = 10.0  # seconds between two signs of life
PATIENCE = 25.0  # seconds without one, after which a holder is dead
SETTLE = 2.0  # seconds after which, of two who took a free lock at once, both see who was last


class RemoteLock:
    """Hold `store.lock` at a URL while writing; StoreBusyError names the holder when it is taken.

    The holder's sign of life is a number that grows, so no two clocks are compared. One that is put to sleep for longer
    than others wait loses the lock: `check` tells, and is asked before each write that counts.

    say      is told when a holder must be watched for a while to know whether it lives
    stalled  writers before this one that may live after all, and be putting a shard that they began while they held it
    """

    stalled: int

    def __init__(self, folder: RemotePath, say: Callable[[str], object] | None = None) -> None:
        self._path, self._say = folder / LOCK_FILE, say
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()  # where a file is not put whole, a beat must not be read half written
        self._lost = False
        self._about: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "processes": _processes(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "token": secrets.token_hex(8),
            "beat": 0,
        }

    def __enter__(self) -> RemoteLock:
        self._about["stalled"] = self.stalled = self._wait()
        started = time.monotonic()
        self._write()
        if time.monotonic() - started > SETTLE:  # another may have taken it before this arrived
            self.stalled += 1
        time.sleep(SETTLE)
        found = self._read()
        if found.get("token") != self._about["token"]:
            raise self._busy(found)
        self._thread = threading.Thread(target=self._live, name="store.lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(ImgretError, FileNotFoundError):  # it stands still from now on, which says the same
            if self._read().get("token") == self._about["token"]:
                self._path.unlink()

    def check(self) -> None:
        """StoreError when the lock is no more ours, or may not have been for a moment."""
        with self._one_at_a_time:
            ours = self._read().get("token") == self._about["token"]
        if self._lost or not ours:
            other = describe(b"" if ours else self._raw)
            raise StoreError(
                f"{self._path.parent} was taken over by {other} while this process stood still; nothing "
                "more is written. Wait for the other, then run the same command again"
            )

    def _wait(self) -> int:
        """Return when nobody holds the lock; StoreBusyError once its holder gives a sign of life.

        How many writers were taken for dead since somebody was known to be the only one.
        """
        first = self._read()
        started = time.monotonic()
        if self._say is not None and first and not _is_dead(first):
            self._say(
                f"{self._path.parent} was left by {describe(self._raw)}, or is being written; watching it for "
                f"{PATIENCE:.0f} s"
            )
        while first and not _is_dead(first) and time.monotonic() - started < PATIENCE:
            time.sleep(min(BEAT, PATIENCE) / 4)
            if not (now := self._read()):
                return 0
            if now != first:
                raise self._busy(now)
        return int(first.get("stalled", 0)) + (not _is_dead(first)) if first else 0

    def _live(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(BEAT):
            with contextlib.suppress(ImgretError), self._one_at_a_time:  # the network may come back; `check` tells
                last = self._beat(last)

    def _beat(self, last: float) -> float:
        """Give a sign of life; when it was begun. `last` is when the one before was begun.

        One that hung on its way may have been put over the lock of another who waited long enough meanwhile.
        """
        if self._read().get("token") != self._about["token"]:
            self._lost = True
        if self._lost:
            return last
        begun = time.monotonic()
        self._about["beat"] += 1
        try:
            self._write()
        finally:
            now = time.monotonic()
            self._lost = now - begun > SETTLE and now - last > PATIENCE
        return begun

    def _write(self) -> None:
        self._path.write_bytes(json.dumps(self._about).encode())

    def _read(self) -> dict[str, Any]:
        """What is in the lock; empty when it is not there. One that cannot be read is held: it is being written."""
        try:
            self._raw = self._path.read_bytes()
        except FileNotFoundError:
            self._raw = b""
            return {}
        with contextlib.suppress(ValueError):
            found = json.loads(self._raw)
            if isinstance(found, dict) and found:
                return found
        return {"unreadable": self._raw.decode(errors="replace")}

    def _busy(self, holder: dict[str, Any]) -> StoreBusyError:
        return StoreBusyError(
            f"{self._path.parent} is being written by {describe(json.dumps(holder).encode())}; "
            "wait for it, or give each process its own store with --part I/N"
        )


def _processes() -> str:
    """Whose process numbers ours is one of: of this boot and, in a container, of that; '' if it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether a holder was a process of this machine and is no more. False when that cannot be told."""
    if not holder.get("processes") or holder["processes"] != _processes():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return False
