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

    say  is told when a holder must be watched for a while to know whether it lives
    """

    def __init__(self, folder: RemotePath, say: Callable[[str], object] | None = None) -> None:
        self._path, self._say = folder / LOCK_FILE, say
        self._ended = threading.Event()
        self._about: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "processes": _processes(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "token": secrets.token_hex(8),
            "beat": 0,
        }

    def __enter__(self) -> RemoteLock:
        self._wait()
        self._write()
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
        """StoreError when the lock is no more ours."""
        if self._read().get("token") != self._about["token"]:
            raise StoreError(
                f"{self._path.parent} was taken over by {describe(self._raw)} while this process stood still; nothing "
                "more is written. Wait for the other, then run the same command again"
            )

    def _wait(self) -> None:
        """Return when nobody holds the lock; StoreBusyError once its holder gives a sign of life."""
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
                return
            if now != first:
                raise self._busy(now)

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(ImgretError):  # the network may come back; `check` tells whether in time
                if self._read().get("token") != self._about["token"]:
                    return
                self._about["beat"] += 1
                self._write()

    def _write(self) -> None:
        self._path.write_bytes(json.dumps(self._about).encode())

    def _read(self) -> dict[str, Any]:
        """What is in the lock; empty when it is not there, or not a lock."""
        try:
            self._raw = self._path.read_bytes()
            found = json.loads(self._raw)
        except FileNotFoundError:
            self._raw, found = b"", {}
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

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
