from __future__ import annotations

import h5py
import numpy as np
import pytest

from imgret.errors import StoreError
from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import Store
from tests.indexes.conftest import add_shard, clustered, save, write_store

IDS = [b"a/1.jpg", b"", b"caf\xe9.png", "日本.jpg".encode()]


def small() -> Shard:
    n, numbers = len(IDS), np.arange(len(IDS))
    sha256 = np.arange(32 * n, dtype=np.uint8).reshape(n, 32)
    return Shard(IDS, clustered(n, 8), numbers, numbers, numbers + 9, numbers + 99, numbers, sha256)


def as_the_first_schema(path):
    """The same shard as imgret wrote it before: ids as variable-length bytes."""
    with h5py.File(path, "r+") as file:
        del file["id_bytes"], file["id_offsets"]
        file.create_dataset("ids", data=IDS, dtype=h5py.special_dtype(vlen=bytes))
        file.attrs["schema"] = "imgret.shard/1"


@pytest.mark.parametrize("old", [False, True])
def test_a_shard_is_read_as_it_was_written_whatever_its_schema(tmp_path, old):
    path, shard = tmp_path / "shard-00000.h5", small()
    shards.write(path, shard, "f")
    if old:
        as_the_first_schema(path)
    found = shards.read(path, "f")
    assert found.ids == IDS
    for name in ("descriptors", "width", "height", "bytes", "mtime_ns", "root", "sha256"):
        assert np.array_equal(getattr(found, name), getattr(shard, name))
    assert list(shards.read_ids(path).iter_raw()) == IDS
    assert np.array_equal(shards.read_descriptors(path, "f"), shard.descriptors)
    assert list(shards.read_columns(path, ("bytes", "box"))) == ["bytes"]
    with pytest.raises(StoreError, match="another recipe"):
        shards.read_ids(path, "g")


def test_a_store_may_hold_shards_of_both_schemas(tmp_path):
    rows = clustered(20, 8)
    store = write_store(tmp_path / "store", [(["x0", "x1", "x2", "x3"], rows[:4])])
    path = tmp_path / "store/shard-00000.h5"
    with h5py.File(path, "r+") as file:
        del file["id_bytes"], file["id_offsets"]
        file.create_dataset("ids", data=[b"a", b"b", b"c", b"d"], dtype=h5py.special_dtype(vlen=bytes))
        file.attrs["schema"] = "imgret.shard/1"
    store.shards[0].bytes = path.stat().st_size
    store.shards[0].sha256 = shards.sha256_of(path)
    add_shard(store, ["e", "f"], rows[4:6])
    store.shards[0].dropped = [1]
    save(store)
    assert list(Store.open(tmp_path / "store").ids()) == [b"a", b"c", b"d", b"e", b"f"]
    assert [block.ids for block in store.blocks()] == [[b"a", b"c", b"d"], [b"e", b"f"]]
    assert np.array_equal(store.descriptors(1), rows[4:6])


def test_a_shard_of_another_size_than_the_manifest_says_is_refused_by_every_reader(tmp_path):
    store = write_store(tmp_path / "store", [(["a", "b"], clustered(2, 8))])
    store.shards[0].count = 3
    for reader in (store.read_shard, store.descriptors, store.shard_ids):
        with pytest.raises(StoreError, match="the manifest says"):
            reader(0)
