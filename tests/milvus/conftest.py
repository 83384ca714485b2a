"""A local Milvus, the real engine of these tests, and stores to push into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import ShardEntry, Store
from tests.indexes.conftest import clustered, names, save, write_store

STRANGE = [
    "a\nb.jpg",
    "\udcff\udcfe.jpg",
    "back\\slash.jpg",
    "quo\"te'.jpg",
    "日本/é.jpg",
    "a\\x0ab.jpg",
    "], id in [.jpg",
]


@pytest.fixture(autouse=True)
def _pymilvus() -> None:
    pytest.importorskip("pymilvus", reason="Milvus comes with: pip install 'imgret[milvus]'")
    pytest.importorskip("milvus_lite", reason="its local form comes with: pip install 'imgret[milvus]'")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """120 vectors of dimension 16 in two shards, the second with boxes; some ids are hard to print."""
    vectors, ids = clustered(120), [*STRANGE, *names(113)]
    made = write_store(tmp_path / "store", [(ids[:70], vectors[:70])])
    add_facts(made, ids[70:], vectors[70:])
    return made


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A local database that does not exist yet."""
    return str(tmp_path / "photos.db")


def add_facts(
    store: Store, ids: Sequence[str], descriptors: np.ndarray, mtime_ns: int = 1_700_000_000_123_456_789
) -> None:
    """Append a shard whose rows have facts that differ from row to row; every other one has a box."""
    n = np.arange(len(ids))
    box = np.stack([n, n, n + 10, n + 20], 1)
    box[::2] = -1
    sha256 = np.repeat(n[:, None], 32, 1).astype(np.uint8)
    raw = [name.encode("utf-8", "surrogateescape") for name in ids]
    shard = Shard(raw, descriptors, n + 640, n + 480, n + 5_000_000_000, n + mtime_ns, n * 0, sha256, box)
    name = f"shard-{len(store.shards):05d}.h5"
    size, whole = shards.write(store.path / name, shard, store.fingerprint)
    store.shards.append(ShardEntry(name, len(ids), size, whole))
    save(store)


def drop(store: Store, shard: int, rows: Sequence[int]) -> None:
    """Take rows out of a store."""
    store.shards[shard].dropped = sorted({*store.shards[shard].dropped, *rows})
    save(store)
