from __future__ import annotations

import numpy as np
import pytest

from imgret.errors import StoreError
from imgret.store import known
from imgret.store.known import KnownImages
from imgret.store.store import Store
from imgret.store.writer import StoreWriter
from tests.indexes.conftest import add_shard, clustered, save, write_store
from tests.store.test_shard import small


@pytest.fixture
def store(tmp_path):
    """Ids 0 to 29 in shards of 10, 0 and 15 dropped."""
    made = write_store(tmp_path / "store", [([str(n) for n in range(10)], clustered(10, 8))])
    for first in (10, 20):
        add_shard(made, [str(n) for n in range(first, first + 10)], clustered(10, 8))
    made.shards[0].dropped, made.shards[1].dropped = [0], [5]
    save(made)
    return Store.open(made.path)


def test_an_id_is_found_at_its_shard_and_row_and_a_dropped_one_is_not(store):
    found = KnownImages(store)
    assert len(found) == 28
    assert found.find([b"9", b"25", b"0", b"15", b"x", b"10"]).tolist() == [9, 2 << 32 | 5, -1, -1, -1, 1 << 32]
    assert found.id_of(2 << 32 | 5) == b"25"
    assert found.places(1).tolist() == [1 << 32 | row for row in (0, 1, 2, 3, 4, 6, 7, 8, 9)]


def test_ids_of_one_hash_are_told_apart_by_the_ids_themselves(store, monkeypatch):
    monkeypatch.setattr(known, "hashes_of", lambda ids, count: np.array([len(one) for one in ids], np.int64))
    found = KnownImages(store)
    ids = [str(n).encode() for n in range(30)]
    expected = [-1 if n in (0, 15) else (n // 10) << 32 | n % 10 for n in range(30)]
    assert found.find(ids).tolist() == expected
    assert found.find([b"77", b"x"]).tolist() == [-1, -1]


def test_what_is_added_and_forgotten_in_a_run_is_found_and_not_found(store):
    with StoreWriter(store) as writer:
        for number in range(9):  # enough to join runs
            ids = [b"new-%d-%d" % (number, row) for row in range(4)]
            writer.add(small_with(ids))
        assert writer.known.find([b"new-0-0", b"new-8-3", b"3"]).tolist() == [3 << 32, 11 << 32 | 3, 3]
        writer.drop(writer.known.find([b"new-8-3", b"3"]))
        assert writer.known.find([b"new-8-3", b"3", b"new-8-2"]).tolist() == [-1, -1, 11 << 32 | 2]
        assert writer.add(small_with([b"3", b"4", b"new-8-3", b"y"])) == 1  # of these only 4 is live
        assert writer.known.find([b"3", b"4"]).tolist() == [12 << 32, 12 << 32 | 1]
        writer.save()
        assert writer.store.count == 28 + 36 - 2 + 4 - 1
    again = Store.open(store.path)
    assert again.shards[0].dropped == [0, 3, 4]
    assert set(again.ids()) == {raw for raw in again.ids() if KnownImages(again).find([raw])[0] >= 0}


def small_with(ids):
    shard = small()
    return type(shard)(ids, *(getattr(shard, name) for name in list(shard.__dataclass_fields__)[1:8]))


def test_an_id_that_stands_twice_is_refused_by_name(store):
    add_shard(store, ["x", "7"], clustered(2, 8))
    with pytest.raises(StoreError, match="the id 7 stands in it twice"):
        KnownImages(store)


def test_the_facts_of_a_file_come_back_with_its_box(tmp_path):
    store = write_store(tmp_path / "store", [(["a"], clustered(1, 8))])
    with StoreWriter(store) as writer:
        shard = small_with([b"p", b"q", b"r", b"s"])
        object.__setattr__(shard, "box", np.array([[-1] * 4, [1, 2, 3, 4], [-1] * 4, [0, 0, 1, 1]], np.int32))
        writer.add(shard)
    found = KnownImages(Store.open(store.path))
    assert found[1 << 32 | 1] == (10, 100, 1, (1, 2, 3, 4))
    assert found[1 << 32].box is None
    assert found.sha256_of(1 << 32 | 2) == bytes(range(64, 96))


def test_a_store_whose_rows_are_all_dead_knows_nothing_and_takes_more(store):
    for entry in store.shards:
        entry.dropped = list(range(entry.count))
    save(store)
    with StoreWriter(Store.open(store.path)) as writer:
        assert writer.known.find([b"1", b"25"]).tolist() == [-1, -1]
        shard = small()
        writer.add(shard)
        assert writer.known.find(shard.ids[:1]).tolist() == [3 << 32]
