"""Which shards go to which part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.errors import IndexFileError
from imgret.indexes.parts.dealing import assigned, deal
from tests.indexes.conftest import clustered, names, write_store

NEW = [None] * 6


def test_neighbouring_shards_stay_together_in_parts_of_as_many_images():
    assert assigned([10, 10, 10, 10, 10, 10], 3, NEW) == [0, 0, 1, 1, 2, 2]
    assert assigned([40, 5, 5, 10, 10, 20], 2, NEW) == [0, 0, 1, 1, 1, 1]  # 45 and 45


def test_no_part_is_empty_however_large_one_shard_is():
    assert assigned([100, 1, 1, 1, 1, 1], 3, NEW) == [0, 1, 2, 2, 2, 2]
    assert assigned([1, 1, 1, 1, 1, 100], 3, NEW) == [0, 0, 0, 0, 1, 2]


def test_known_shards_stay_and_new_ones_go_to_the_smallest_part():
    # parts of 20 and 30: the first new one makes the first 35, so the second goes to the other
    assert assigned([20, 30, 15, 5], 2, [0, 1, None, None]) == [0, 1, 0, 1]


def test_all_is_dealt_anew_when_a_part_has_lost_all_its_shards():
    assert assigned([10, 10, 10, 10], 2, [1, 1, 1, None]) == [0, 0, 1, 1]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.data())
def test_every_part_gets_a_shard_and_none_is_much_fuller_than_it_must_be(counts, data):
    parts = data.draw(st.integers(1, len(counts)))
    where = assigned(counts, parts, [None] * len(counts))
    loads = [sum(c for c, part in zip(counts, where, strict=True) if part == number) for number in range(parts)]
    assert where == sorted(where)
    assert set(where) == set(range(parts))
    assert max(loads) <= sum(counts) / parts + 2 * max(counts)


def test_fewer_shards_than_parts_is_told(tmp_path):
    store = write_store(tmp_path / "store", [(names(10), clustered(10)), (names(10, "b"), clustered(10))])
    with pytest.raises(IndexFileError, match="3 parts cannot be made of 2 shards.* say --parts 2 or fewer"):
        deal([store], 3, {})


def test_shards_without_live_rows_are_in_no_part(tmp_path):
    store = write_store(tmp_path / "store", [(names(4, p), clustered(4)) for p in "abc"])
    store.shards[1].dropped = [0, 1, 2, 3]
    assert [[len(part.shards) for part in stores] for stores in deal([store], 2, {})] == [[1], [1]]
