from __future__ import annotations

import numpy as np
import pytest

from imgret.store.rows import StoreRows
from tests.indexes.conftest import add_shard, clustered, save, write_store


def test_rows_by_number_are_those_of_the_blocks_in_any_order_without_the_dropped(tmp_path):
    rows = clustered(30, 16)
    store = write_store(tmp_path / "store", [([f"{n}" for n in range(10)], rows[:10])])
    add_shard(store, [f"{n}" for n in range(10, 30)], rows[10:])
    store.shards[0].dropped = [0, 4]
    store.shards[1].dropped = [19]
    save(store)
    in_order = np.concatenate([block.descriptors for block in store.blocks()])
    asked = np.array([26, 0, 7, 8, 8, 3])
    assert np.array_equal(StoreRows(store).vectors(asked), in_order[asked])
    assert StoreRows(store).vectors(np.zeros(0, np.int64)).shape == (0, 16)
    for wrong in (-1, 27):
        with pytest.raises(IndexError, match="from 0 to 26"):
            StoreRows(store).vectors(np.array([wrong]))
