from __future__ import annotations

import numpy as np
import pytest

from imgret.ids import IdTable
from imgret.indexes import exact as module
from imgret.indexes.best import Best
from imgret.indexes.build import build
from imgret.indexes.exact import exact
from imgret.indexes.files import Index
from imgret.indexes.id_order import id_places
from imgret.indexes.scores import cosines
from imgret.indexes.search import search
from imgret.indexes.store_ids import StoreIds
from imgret.store.store import Store
from tests.indexes.conftest import clustered, names, save, self_queries, write_store


@pytest.fixture(scope="module")
def flat(big, tmp_path_factory):
    return Index.open(build([big()], tmp_path_factory.mktemp("index"), kind="flat").path)


def test_exact_ranks_the_whole_database_the_same_from_index_and_store(big, flat):
    queries = clustered(7, 32, 5)
    by_store = list(exact(big(), queries, names(7)))
    by_index = list(exact(flat, queries, names(7)))
    ranking = by_index[0].check()
    assert ranking.rows.shape == (7, 3000)
    assert ranking.rows.dtype == np.int32
    np.testing.assert_array_equal(ranking.rows, by_store[0].rows)
    np.testing.assert_allclose(ranking.scores[0], np.sort(self_queries(big())[0] @ queries[0])[::-1], atol=1e-5)


def test_complete_rankings_order_copies_by_id_and_a_depth_cuts_them_without_changing_the_order(tmp_path):
    vectors = np.repeat(clustered(37, 16), 20, 0)
    ids = [f"{number * 7919 % 1000:03d}" for number in range(len(vectors))]
    store = write_store(tmp_path / "s", [(ids, vectors)])
    whole = next(exact(store, vectors[:3], ["a", "b", "c"]))
    cut = next(exact(store, vectors[:3], ["a", "b", "c"], depth=50))
    np.testing.assert_array_equal(whole.rows[:, :50], cut.rows)
    first = [ids[row] for row in whole.rows[0, :20]]
    assert first == sorted(ids[:20])


def test_rows_of_few_values_are_not_taken_for_copies_of_each_other(tmp_path, monkeypatch):
    # 300,000 of 2^64 patterns: two alike are less likely than a prize in a lottery, and 31 bits of hash are too few
    signs = np.random.default_rng(0).choice(np.float32([-0.125, 0.125]), (300_000, 64))
    assert len(np.unique(module._hashes(signs))) == 300_000
    # and if hashes do collide, the score of a row stays its own
    monkeypatch.setattr(module, "_hashes", lambda rows: np.zeros(len(rows), np.uint64))
    store = write_store(tmp_path / "store", [(names(5), np.eye(5, 16, dtype=np.float32))])
    (ranking,) = exact(store, np.eye(5, 16, dtype=np.float32)[3:4], ["q"])
    assert ranking.rows[0, 0] == 3
    assert ranking.scores[0].tolist() == [1, 0, 0, 0, 0]


def test_complete_rankings_are_made_for_as_many_queries_as_memory_holds(big, monkeypatch):
    queries = clustered(10, 32, 5)
    whole = next(exact(big(), queries, names(10)))
    # 3,000 rows take 12 bytes each for a query: of 8 x 36,000 x 4 bytes an eighth holds four queries
    monkeypatch.setattr(module, "physical_memory", lambda: 8 * 3000 * 12 * 4)
    parts = list(exact(big(), queries, names(10)))
    assert [len(part.rows) for part in parts] == [4, 4, 2]
    assert [name for part in parts for name in part.queries] == names(10)
    # the last bits of a matrix product depend on the number of queries
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, atol=1e-6)


def test_the_database_is_read_once_for_all_queries_whose_places_fit_into_memory(big, monkeypatch):
    read = []
    blocks = module._blocks
    monkeypatch.setattr(module, "_blocks", lambda database: read.append(1) or blocks(database))
    monkeypatch.setattr(module, "_SCORES", 3000 * 4)
    queries = clustered(10, 32, 5)
    (whole,) = exact(big(), queries, names(10), 30)
    assert len(read) == 1
    # 128 bytes for each of 30 places of a query: an eighth of the memory holds six queries
    monkeypatch.setattr(module, "physical_memory", lambda: 8 * 30 * 128 * 6)
    parts = list(exact(big(), queries, names(10), 30))
    assert len(read) == 3
    assert [len(part.rows) for part in parts] == [6, 4]
    np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
    np.testing.assert_array_equal(np.concatenate([part.scores for part in parts]), whole.scores)


@pytest.mark.parametrize("depth", [1, 10, 700, 3000, 9000])
def test_a_depth_gives_what_a_flat_index_gives_to_the_last_bit(big, flat, depth):
    queries = clustered(20, 32, 5)
    found = search(flat, queries, names(20), depth)
    for database in (big(), flat):
        (ranking,) = exact(database, queries, names(20), depth)
        np.testing.assert_array_equal(ranking.check().rows, found.rows)
        np.testing.assert_array_equal(ranking.scores, found.scores)
        assert [ranking.database[row] for row in ranking.rows[3, :5]] == [flat.ids[row] for row in found.rows[3, :5]]


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("depth", [1, 3, 40])
def test_the_best_do_not_depend_on_the_blocks_nor_on_how_many_rows_are_alike(block, depth):
    # 20 vectors stand there 50 times each, and of the variants of a query the better one counts.
    rng = np.random.default_rng(depth)
    vectors = np.repeat(clustered(20, 16), 50, 0)[rng.permutation(1000)]
    ids = [f"{number}" for number in rng.permutation(1000)]
    queries = clustered(12, 16, 7).reshape(6, 2, 16)
    best = Best(queries, depth, lambda rows: [ids[row].encode() for row in rows.tolist()])
    for start in range(0, 1000, block):
        rows = np.arange(start, min(start + block, 1000))
        best.add(rows, vectors[rows])
        assert len(best.rows) <= 2 * 6 * depth  # never more than that, however many tie
    rows, scores = best.ranked()

    class All:
        def vectors(self, rows):
            return vectors[rows]

    everyone = np.tile(np.arange(1000), (6, 1))
    truth = np.maximum(*(cosines(All(), np.ascontiguousarray(queries[:, variant]), everyone) for variant in (0, 1)))
    for query in range(6):
        wanted = sorted(range(1000), key=lambda row: (-truth[query, row], ids[row]))[:depth]
        assert rows[query].tolist() == wanted
        np.testing.assert_array_equal(scores[query], truth[query, wanted])


def test_rows_that_come_ever_nearer_are_all_seen():
    angles = np.linspace(np.pi / 2, 0, 500)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    best = Best(np.array([[[1, 0]]], np.float32), 3, lambda rows: [b""] * len(rows))
    for start in range(0, 500, 10):
        best.add(np.arange(start, start + 10), vectors[start : start + 10])
    assert best.ranked()[0].tolist() == [[499, 498, 497]]


def test_rows_removed_from_a_store_are_in_no_ranking(store):
    queries, ids = self_queries(store)
    store.shards[0].dropped = [0, 5]
    save(store)
    for depth in (None, 1200):
        (ranking,) = exact(Store.open(store.path), queries[:6], ids[:6], depth)
        assert ranking.rows.shape == (6, 1198)
        first = [ranking.database[row] for row in ranking.rows[:, 0]]
        assert first[1:5] == ids[1:5]
        assert not {ids[0], ids[5]} & {ranking.database[row] for row in ranking.rows.ravel().tolist()}


def test_an_empty_store_gives_rankings_of_no_places(tmp_path):
    store = write_store(tmp_path / "s", [])
    for depth in (None, 3):
        (ranking,) = exact(store, clustered(2, 16), ["a", "b"], depth)
        assert ranking.rows.shape == (2, 0)


def test_no_queries_give_no_places(big):
    for depth in (None, 3):
        assert [line for part in exact(big(), np.zeros((0, 32), np.float32), [], depth) for line in part.rows] == []


def test_ids_of_a_store_are_read_for_the_rows_asked_for_alone(store, monkeypatch):
    store.shards[0].dropped = [0, 699]
    read = []
    shard_ids = Store.shard_ids
    monkeypatch.setattr(Store, "shard_ids", lambda self, number: read.append(number) or shard_ids(self, number))
    ids = StoreIds(store)
    assert len(ids) == 1198
    assert read == []
    # the first shard lacks its first and last image, so row 0 is image 1, and row 698 the first of the second shard
    assert ids.raw(np.array([0, 697, 0])) == [b"image-00001.jpg", b"image-00698.jpg", b"image-00001.jpg"]
    assert ids[-500] == "image-00700.jpg"
    assert read == [0, 1]
    assert ids[697:699] == ["image-00698.jpg", "image-00700.jpg"]
    assert read == [0, 1]
    assert list(ids)[-1] == "image-01199.jpg"
    with pytest.raises(IndexError, match="from 0 to 1197"):
        ids[1198]


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["one"],
        ["b/2", "b/10", "b/1", "b/é", "b/\udcff", "b/"],
        [f"a/very/long/folder/that/all/ids/have/{number * 7919 % 1000}" for number in range(1000)],
        [f"{kind}/another/long/folder/of/them/{number * 31 % 100}.jpg" for number in range(100) for kind in "ba"],
        ["a\0", "a", "a\0\0", "b", ""],
    ],
)
def test_places_of_ids_are_those_of_their_bytes_in_order(ids):
    table = IdTable.of(ids)
    raw = list(table.iter_raw())
    places = id_places(table)
    assert [raw[row] for row in np.argsort(places)] == sorted(raw)
    assert sorted(places.tolist()) == list(range(len(ids)))
