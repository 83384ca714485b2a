"""Small stores written by hand, and vectors that have neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import Root, ShardEntry, Store, fingerprint_of

RECIPE = {"model": "gem", "image_size": 1024}


def clustered(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Unit rows [count, dim] around a few centres, so that neighbours mean something."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 50), dim))
    rows = centres[rng.integers(0, len(centres), count)] + 0.5 * rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_store(
    path: Path,
    parts: Sequence[tuple[Sequence[str], np.ndarray]],
    recipe: dict | None = None,
    root: Path | None = None,
) -> Store:
    """A store of one shard per (ids, descriptors)."""
    path.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE if recipe is None else recipe
    dim = parts[0][1].shape[1] if parts else 16
    roots = [Root.of(root or path, path)]
    store = Store(path, recipe, fingerprint_of(recipe), dim, roots, [])
    for ids, descriptors in parts:
        add_shard(store, ids, descriptors)
    save(store)
    return store


def add_shard(store: Store, ids: Sequence[str], descriptors: np.ndarray) -> None:
    """Append a shard to a store; `save` makes it known."""
    n = len(ids)
    zeros = np.zeros(n, np.int64)
    names = [name.encode("utf-8", "surrogateescape") for name in ids]
    shard = Shard(names, descriptors, zeros, zeros, zeros, zeros, zeros, np.zeros((n, 32), np.uint8))
    name = f"shard-{len(store.shards):05d}.h5"
    size, sha256 = shards.write(store.path / name, shard, store.fingerprint)
    store.shards.append(ShardEntry(name, n, size, sha256))


def save(store: Store) -> None:
    """Write store.json and manifest.json."""
    (store.path / "store.json").write_text(json.dumps(store.about()))
    (store.path / "manifest.json").write_text(json.dumps(store.manifest()))


def names(count: int, prefix: str = "image") -> list[str]:
    return [f"{prefix}-{number:05d}.jpg" for number in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """1,200 vectors of dimension 16 in two shards."""
    vectors, ids = clustered(1200), names(1200)
    return write_store(tmp_path / "store", [(ids[:700], vectors[:700]), (ids[700:], vectors[700:])])


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    """3,000 vectors of dimension 32, written once; never changed by a test."""
    path = tmp_path_factory.mktemp("big") / "store"
    write_store(path, [(names(3000), clustered(3000, 32))])
    return lambda: Store.open(path)


def self_queries(store: Store) -> tuple[np.ndarray, list[str]]:
    """All vectors of a store as queries, and their ids."""
    blocks = list(store.blocks())
    ids = [raw.decode("utf-8", "surrogateescape") for block in blocks for raw in block.ids]
    return np.concatenate([block.descriptors for block in blocks]), ids
