"""StoreWriter: the only way a STORE changes. Shards are added, never edited; the manifest decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from imgret import atomic
from imgret.errors import StoreError
from imgret.ids import from_bytes
from imgret.store import failures as register
from imgret.store import shard as shards
from imgret.store.failures import Failure
from imgret.store.known import Known, recall, remember
from imgret.store.lock import WriterLock
from imgret.store.shard import Shard
from imgret.store.store import FAILURES_FILE, MANIFEST_FILE, STORE_FILE, Root, ShardEntry, Store

_SHARD_NAME = re.compile(r"shard-(\d{5,})\.h5")


class StoreWriter:
    """Exclusive access to a store, new or old; use as a context manager.

    known      live images by id (bytes)
    failures   remembered failures by id (text)
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: dict[bytes, Known] = {}
        self.failures: dict[str, Failure] = {}
        self._held = ExitStack()

    def __enter__(self) -> StoreWriter:
        folder = self.store.path
        folder.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(WriterLock(folder))
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
        for pattern in ("shard-*.h5", STORE_FILE, MANIFEST_FILE, FAILURES_FILE):
            for left in folder.glob(pattern + atomic.PARTIAL):
                left.unlink()
        self.known, self.failures = recall(self.store)
        self._adopt()

    def _adopt(self) -> None:
        """Take in shards that were finished when a process died before it wrote the manifest."""
        folder = self.store.path
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

    def root_number(self, folder: Path) -> int:
        """The number of a root, added to store.json when it is new."""
        root = Root.of(folder, self.store.path)
        for number, known in enumerate(self.store.roots):
            if known.absolute == root.absolute:
                return number
        self.store.roots.append(root)
        atomic.write_json(self.store.path / STORE_FILE, self.store.about())
        return len(self.store.roots) - 1

    def move_root(self, number: int, folder: Path) -> None:
        """Note that the folder of a root is somewhere else now."""
        self.store.roots[number] = Root.of(folder, self.store.path)
        atomic.write_json(self.store.path / STORE_FILE, self.store.about())

    def add(self, shard: Shard) -> None:
        """Write a shard for good. Older rows with the same ids are dropped in the same step."""
        number = 1 + max((int(_SHARD_NAME.fullmatch(e.file)[1]) for e in self.store.shards), default=-1)  # type: ignore[index]
        path = self.store.path / f"shard-{number:05d}.h5"
        size, digest = shards.write(path, shard, self.store.fingerprint)
        self._link(ShardEntry(path.name, len(shard), size, digest), shard)
        self.save()

    def drop(self, ids: Iterable[bytes]) -> None:
        """Forget images; `save` makes it last. Their rows stay in the shards and count no more."""
        by_shard: dict[int, list[int]] = {}
        for image_id in ids:
            known = self.known.pop(image_id)
            by_shard.setdefault(known.shard, []).append(known.row)
        for number, rows in by_shard.items():
            entry = self.store.shards[number]
            entry.dropped = sorted({*entry.dropped, *rows})

    def save(self) -> None:
        """Write the failures register and the manifest. The manifest is last: it decides."""
        path = self.store.path / FAILURES_FILE
        if self.failures or path.exists():
            register.save(path, list(self.failures.values()))
        self._write_manifest()

    def _write_manifest(self) -> None:
        atomic.write_json(self.store.path / MANIFEST_FILE, self.store.manifest())

    def _link(self, entry: ShardEntry, shard: Shard) -> None:
        for image_id in shard.ids:
            self.failures.pop(from_bytes(image_id), None)
        self.drop([image_id for image_id in shard.ids if image_id in self.known])
        self.store.shards.append(entry)
        remember(self.known, self.store, len(self.store.shards) - 1, shard, np.arange(len(shard)))
