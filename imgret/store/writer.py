"""StoreWriter: the only way a STORE changes. Shards are added, never edited; the manifest decides."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from imgret import atomic
from imgret.errors import StoreError
from imgret.ids import from_bytes
from imgret.remote_path import Place, RemotePath
from imgret.store import shard as shards
from imgret.store.failures import Failures
from imgret.store.known import KnownImages, by_shard
from imgret.store.lock import WriterLock
from imgret.store.remote_lock import RemoteLock
from imgret.store.shard import Shard
from imgret.store.store import FAILURES_FILE, MANIFEST_FILE, STORE_FILE, Root, ShardEntry, Store

_SHARD_NAME = re.compile(r"shard-(\d{5,})\.h5")


class StoreWriter:
    """Exclusive access to a store, new or old; use as a context manager.

    known      its live images
    failures   remembered failures by id (text)

    `say` is told when it takes a while to know whether another writer is alive.
    """

    known: KnownImages
    failures: Failures

    def __init__(self, store: Store, say: Callable[[str], object] | None = None) -> None:
        self.store = store
        self._say = say
        self._held = ExitStack()

    def __enter__(self) -> StoreWriter:
        folder = self.store.path
        folder.mkdir(parents=True, exist_ok=True)
        self._lock: WriterLock | RemoteLock
        self._lock = RemoteLock(folder, self._say) if isinstance(folder, RemotePath) else WriterLock(folder)
        self._held.enter_context(self._lock)
        try:
            self._open()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _open(self) -> None:
        """Read again what another writer may have changed before the lock was ours."""
        folder = self.store.path
        if Store.exists(folder):
            current = Store.open(folder)
            if current.fingerprint != self.store.fingerprint:
                raise StoreError(f"{folder} was begun by another process with another recipe; run again")
            self.store = current
        else:
            atomic.write_json(folder / STORE_FILE, self.store.about())
        self.known, self.failures = KnownImages(self.store), Failures(folder / FAILURES_FILE)
        self._taken = [entry.file for entry in self.store.shards]
        if isinstance(folder, RemotePath):
            self._leave_alone(folder)
            return
        for pattern in ("shard-*.h5", STORE_FILE, MANIFEST_FILE, FAILURES_FILE):
            for left in folder.glob(pattern + atomic.PARTIAL):
                left.unlink()
        self._adopt(folder)

    def _leave_alone(self, folder: RemotePath) -> None:
        """Give no name again that may be another's: a shard that no manifest lists may be torn, or on its way."""
        self._taken += [path.name for path in folder.glob("shard-*.h5")]
        for _ in range(self._lock.stalled):
            self._taken.append(self._next_name())

    def _adopt(self, folder: Path) -> None:
        """Take in shards that were finished when a process died before it wrote the manifest."""
        listed = {entry.file for entry in self.store.shards}
        for path in sorted(folder.glob("shard-*.h5")):
            if path.name in listed or not _SHARD_NAME.fullmatch(path.name):
                continue
            try:
                shard = shards.read(path, self.store.fingerprint)
            except StoreError:  # no shard of ours: out of the way, not away
                path.rename(path.with_name(path.name + ".damaged"))
                continue
            entry = ShardEntry(path.name, len(shard), path.stat().st_size, shards.sha256_of(path))
            self._link(entry, shard)
            self._write_manifest()

    def root_number(self, folder: Place | str) -> int:
        """The number of a root, added to store.json when it is new."""
        root = Root.of(folder, self.store.path)
        for number, known in enumerate(self.store.roots):
            if known.absolute == root.absolute:
                return number
        self._lock.check()
        self.store.roots.append(root)
        atomic.write_json(self.store.path / STORE_FILE, self.store.about())
        return len(self.store.roots) - 1

    def move_root(self, number: int, folder: Place | str) -> None:
        """Note that the folder of a root is somewhere else now."""
        self._lock.check()
        self.store.roots[number] = Root.of(folder, self.store.path)
        atomic.write_json(self.store.path / STORE_FILE, self.store.about())

    def add(self, shard: Shard) -> int:
        """Write a shard for good. Older rows with the same ids are dropped in the same step; how many is returned."""
        path = self._next_path()
        size, digest = shards.write(path, shard, self.store.fingerprint)
        return self._list(ShardEntry(path.name, len(shard), size, digest), shard)

    def copy(self, source: Place, entry: ShardEntry) -> int:
        """Take in another store's shard file, whole, as `add` does; all its rows count, and its root numbers are ours.

        StoreError when its SHA-256 is not that of the entry.
        """
        path = self._next_path()
        atomic.write_with(path, lambda file: shards.copy(source, file, entry.sha256))
        mine = ShardEntry(path.name, entry.count, entry.bytes, entry.sha256)
        return self._list(mine, shards.read(source, self.store.fingerprint))

    def _next_path(self) -> Place:
        self._lock.check()
        return self.store.path / self._next_name()

    def _next_name(self) -> str:
        numbers = (int(match[1]) for name in self._taken if (match := _SHARD_NAME.fullmatch(name)))
        return f"shard-{1 + max(numbers, default=-1):05d}.h5"

    def _list(self, entry: ShardEntry, shard: Shard) -> int:
        self._lock.check()
        replaced = self._link(entry, shard)
        self.failures.save(every_change=False)
        self._write_manifest()
        return replaced

    def drop(self, places: np.ndarray) -> None:
        """Forget the live images of some places; `save` makes it last. Their rows stay and count no more."""
        self.known.forget(places)
        for number, rows in by_shard(places):
            for row in rows.tolist():
                insort(self.store.shards[number].dropped, row)

    def save(self) -> None:
        """Write the failures register and the manifest. The manifest is last: it decides."""
        self._lock.check()
        self.failures.save()
        self._write_manifest()

    def _write_manifest(self) -> None:
        self._lock.check()
        atomic.write_json(self.store.path / MANIFEST_FILE, self.store.manifest())

    def _link(self, entry: ShardEntry, shard: Shard) -> int:
        if self.failures:
            for image_id in shard.ids:
                self.failures.forget(from_bytes(image_id))
        places = self.known.find(shard.ids)
        older = places[places >= 0]
        self.drop(older)
        self.store.shards.append(entry)
        self._taken.append(entry.file)
        self.known.add(shard)
        return len(older)
