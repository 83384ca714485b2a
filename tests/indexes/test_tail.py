"""Updates that keep the base of an index: a tail of new rows, tombstones, and folding both into a new base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imgret.errors import IndexFileError
from imgret.indexes import files, plan, writing
from imgret.indexes.build import IndexReport, build
from imgret.indexes.exact import exact
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.search import search
from imgret.store.store import Store
from tests.indexes.conftest import add_shard, clustered, names, save, write_store

KINDS = ["flat", "fp16", "hnsw", "ivf", "ivfpq"]


@pytest.fixture(autouse=True)
def _tails_of_small_indexes(monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 1000)
    monkeypatch.setattr(plan, "MOST_TAIL", 0.1)  # 120 of the 1,200 rows


def near(count: int, seed: int) -> np.ndarray:
    """Unit rows [count, 16] among the clusters of the store."""
    rng = np.random.default_rng(seed)
    rows = clustered(1200)[rng.integers(0, 1200, count)] + 0.1 * rng.standard_normal((count, 16), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def grow(store: Store, count: int = 60, seed: int = 9, dropped: tuple[int, ...] = ()) -> np.ndarray:
    """Add a shard of new rows to a store and drop some of its first."""
    vectors = near(count, seed)
    add_shard(store, names(count, f"new-{seed}"), vectors)
    store.shards[0].dropped = sorted({*store.shards[0].dropped, *dropped})
    save(store)
    return vectors


def update(store: Store, output: Path, **how) -> IndexReport:
    return build([Store.open(store.path)], output, **how)


def ranked(index: Index, queries: np.ndarray, k: int) -> list[list[str]]:
    found = search(index, queries, [""] * len(queries), k)
    return [[index.ids[row] for row in line if row >= 0] for line in found.rows.tolist()]


def base_files(folder: Path) -> dict[str, tuple[int, bytes]]:
    kept = [folder / name for role, name in files.file_names(1).items() if role != "deleted"]
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in kept if file.exists()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_new_rows_are_found_and_leave_the_files_of_the_base_as_they_are(tmp_path, store, kind):
    output = tmp_path / "index"
    first = build([store], output, kind=kind)
    old, before = Index.open(output), base_files(output)
    gone = clustered(1200)[[0, 3]]
    new = grow(store, dropped=(0, 3))
    report = update(store, output)
    assert (report.added, report.removed, report.kept, report.count) == (60, 2, 1198, 1258)
    assert (report.tail, report.dead, report.rebuilt_because) == (60, 2, None)
    # the certificate is that of the base, and says how many rows it has not seen
    assert report.recall == first.recall | {"later": 60}
    assert base_files(output) == before
    index = Index.open(output)
    assert (index.count, index.base_rows, len(index.ids)) == (1258, 1200, 1260)
    assert index.verify() == []
    assert [line[0] for line in ranked(index, new, 1)] == names(60, "new-9")
    assert all(line[0] not in names(4) for line in ranked(index, gone, 1))
    assert set(index.about["files"]) == {
        file.name for file in output.iterdir() if file.suffix not in (".json", ".lock")
    }
    # a reader of the first generation notices nothing
    assert ranked(old, gone, 1) == [["image-00000.jpg"], ["image-00003.jpg"]]
    assert not update(store, output).changed


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf"])
def test_base_and_tail_rank_like_one_index(tmp_path, store, kind):
    # every list is visited, so both must find the true order
    build([store], tmp_path / "index", kind=kind, target_recall=1.0)
    grow(store, dropped=(7,))
    update(store, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    index = index.with_parameters(dict.fromkeys(index.parameters, 1200))
    queries = near(40, seed=3)
    truth = next(exact(index, queries, [""] * 40, depth=30))
    found = search(index, queries, [""] * 40, 30)
    np.testing.assert_array_equal(found.rows, truth.rows)
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-6)
    assert (found.rows >= index.base_rows).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_ranking_begins_with_the_shorter_one(tmp_path, store, kind):
    build([store], tmp_path / "index", kind=kind)
    grow(store, dropped=(7,))
    update(store, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    queries = near(10, seed=3)
    whole = search(index, queries, [""] * 10, 1259)
    assert ((whole.rows >= index.base_rows).sum(1) == 60).all()
    for k in (1, 5, 61, 300):
        short = search(index, queries, [""] * 10, k)
        np.testing.assert_array_equal(short.rows, whole.rows[:, :k])
        np.testing.assert_array_equal(short.scores, whole.scores[:, :k])


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivfpq"])
def test_copies_in_base_and_tail_stand_in_order_of_their_ids(tmp_path, kind):
    vectors = clustered(1200)
    store = write_store(tmp_path / "s", [([f"m-{number:04d}" for number in range(1200)], vectors)])
    build([store], tmp_path / "index", kind=kind)
    # before and after m-0005 in the order of ids, and all three alike
    add_shard(store, ["z", "a"], vectors[[5, 5]])
    save(store)
    update(store, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    found = search(index, vectors[5:6], [""], 3)
    assert [index.ids[row] for row in found.rows[0]] == ["a", "m-0005", "z"]
    assert len(set(found.scores[0].tolist())) == 1
    assert ranked(index, vectors[5:6], 1) == [["a"]]


def test_of_many_copies_in_base_and_tail_the_first_by_id_are_found(tmp_path):
    vectors = clustered(1200)
    vectors[100:200] = vectors[5]
    store = write_store(tmp_path / "s", [([f"m-{number:04d}" for number in range(1200)], vectors)])
    build([store], tmp_path / "index")
    add_shard(store, [f"{'az'[number % 2]}-{number:02d}" for number in range(60)], np.repeat(vectors[5:6], 60, 0))
    save(store)
    update(store, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    before = [f"a-{number:02d}" for number in range(0, 60, 2)]
    found = search(index, vectors[5:6], [""], 40).rows[0]
    assert [index.ids[row] for row in found] == [*before, "m-0005", *(f"m-{number:04d}" for number in range(100, 109))]


def test_rows_of_the_tail_go_too(tmp_path, store):
    output = tmp_path / "index"
    build([store], output)
    new = grow(store)
    update(store, output)
    store.shards[2].dropped = [0, 59]
    save(store)
    report = update(store, output)
    assert (report.removed, report.tail, report.dead, report.count) == (2, 60, 2, 1258)
    index = Index.open(output)
    assert {"new-9-00000.jpg", "new-9-00059.jpg"}.isdisjoint(sum(ranked(index, new[[0, 59]], 1258), []))
    assert index.deleted.tolist() == [1200, 1259]
    store.shards[2].dropped = list(range(60))
    save(store)
    assert update(store, output).count == 1200
    assert ranked(Index.open(output), clustered(1200)[:5], 1) == [[name] for name in names(5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tail_that_grows_too_long_becomes_part_of_the_base(tmp_path, store, kind):
    output = tmp_path / "index"
    build([store], output, kind=kind)
    first = grow(store, dropped=(1,))
    update(store, output)
    kept = Index.open(output).stored(np.arange(1260))
    second = grow(store, 61, seed=4)  # 121 rows are more than 120
    report = update(store, output)
    assert (report.tail, report.added, report.dead, report.rebuilt_because) == (0, 61, 1, None)
    assert "later" not in report.recall
    index = Index.open(output)
    assert (index.base_rows, index.about["base"], index.about["generation"]) == (1321, 3, 3)
    np.testing.assert_array_equal(index.stored(np.arange(1260)), kept)
    assert ranked(index, first, 1) == [[name] for name in names(60, "new-9")]
    assert ranked(index, second, 1) == [[name] for name in names(61, "new-4")]
    assert {int(file.stem.rpartition("-")[2]) for file in output.glob("*-*.*") if file.suffix != ".lock"} == {3}


@pytest.mark.parametrize("kind", KINDS)
def test_compacting_drops_what_no_longer_counts_for_good(tmp_path, store, kind):
    output = tmp_path / "index"
    build([store], output, kind=kind)
    assert not update(store, output, compact=True).changed
    grow(store, dropped=(0, 1, 2))
    update(store, output)
    before = Index.open(output)
    queries, live = near(20, seed=5), before.live_rows
    report = update(store, output, compact=True)
    assert (report.changed, report.tail, report.dead, report.count, report.added) == (True, 0, 0, 1257, 0)
    assert report.rebuilt_because is None
    index = Index.open(output)
    assert (len(index.ids), len(index.deleted)) == (1257, 0)
    np.testing.assert_array_equal(index.stored(np.arange(1257)), before.stored(live))
    assert list(index.ids) == [before.ids[row] for row in live]
    np.testing.assert_array_equal(index.origin, before.origin[live])
    if kind != "hnsw":
        full = [one.with_parameters(dict.fromkeys(one.parameters, 1257)) for one in (before, index)]
        assert ranked(full[0], queries, 20) == ranked(full[1], queries, 20)
    assert index.verify() == []
    assert not update(store, output).changed


def test_compacting_forgets_shards_that_no_row_is_in(tmp_path):
    parts = [(names(1000, "a"), clustered(1000)), (names(50, "b"), clustered(50, seed=1))]
    store = write_store(tmp_path / "s", parts)
    build([store], tmp_path / "index")
    gone = store.shards.pop()
    save(store)
    update(store, tmp_path / "index")
    assert gone.sha256 in Index.open(tmp_path / "index").about["shards"]
    update(store, tmp_path / "index", compact=True)
    assert Index.open(tmp_path / "index").about["shards"] == [store.shards[0].sha256]


def test_rows_that_only_the_index_holds_outlive_compacting(tmp_path, store):
    build([store], tmp_path / "index")
    other = write_store(tmp_path / "b", [(names(20, "b"), clustered(20, seed=1))])
    report = build([other], tmp_path / "index", add_only=True)
    assert (report.tail, report.count) == (20, 1220)
    report = build([other], tmp_path / "index", add_only=True, compact=True)
    assert (report.tail, report.count) == (0, 1220)
    assert ranked(Index.open(tmp_path / "index"), clustered(1200)[:3], 1) == [[name] for name in names(3)]


def test_another_target_measures_anew_without_writing_the_base(tmp_path, store):
    build([store], tmp_path / "index", kind="ivf", target_recall=0.5)
    grow(store)
    update(store, tmp_path / "index")
    before = base_files(tmp_path / "index")
    report = update(store, tmp_path / "index", target_recall=1.0)
    assert report.recall["recall@10"] == 1.0
    assert "later" not in report.recall
    assert base_files(tmp_path / "index") == before


def test_shards_that_the_index_knows_are_not_hashed_again(tmp_path, store, monkeypatch):
    build([store], tmp_path / "index")
    grow(store)
    hashed = []
    monkeypatch.setattr(Store, "verify", lambda self, number: hashed.append(number))
    update(store, tmp_path / "index")
    assert hashed == [2]


def test_images_of_base_and_tail_are_found_where_they_are_now(tmp_path, store):
    images = tmp_path / "store"
    build([store], tmp_path / "index")
    grow(store)
    update(store, tmp_path / "index")
    for name in ("image-00000.jpg", "new-9-00000.jpg"):
        (images / name).touch()
    index = Index.open(tmp_path / "index")
    assert index.path_of(0) == str(images / "image-00000.jpg")
    assert index.path_of(1200) == str(images / "new-9-00000.jpg")
    assert index.path_of(1201) is None


def test_a_store_that_has_moved_takes_its_rows_along(tmp_path, store):
    build([store], tmp_path / "index")
    grow(store)
    update(store, tmp_path / "index")
    before = base_files(tmp_path / "index")
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "moved" / "image-00000.jpg").touch()
    report = build([Store.open(tmp_path / "moved")], tmp_path / "index")
    assert (report.changed, report.added, report.kept) == (True, 0, 1260)
    assert base_files(tmp_path / "index") == before
    assert Index.open(tmp_path / "index").path_of(0) == str(tmp_path / "moved" / "image-00000.jpg")
    assert not build([Store.open(tmp_path / "moved")], tmp_path / "index").changed


@pytest.mark.parametrize("step", ["write_vectors", "write_rows", "write_deleted", "facts", "publish"])
def test_a_failed_update_leaves_base_and_tail(tmp_path, store, monkeypatch, step):
    output = tmp_path / "index"
    build([store], output, kind="ivfpq")
    grow(store)
    update(store, output)
    before = {file.name: file.read_bytes() for file in output.iterdir() if file.suffix != ".lock"}
    grow(store, 10, seed=5)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, step, full)
        with pytest.raises(OSError, match="space"):
            update(store, output)
    assert {file.name: file.read_bytes() for file in output.iterdir() if file.suffix != ".lock"} == before
    assert update(store, output).tail == 70


def test_a_reader_that_meets_a_new_tail_reads_that(tmp_path, store, monkeypatch):
    build([store], tmp_path / "index")
    grow(store)
    update(store, tmp_path / "index")
    stale = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    grow(store, 10, seed=5)
    update(store, tmp_path / "index")
    read, told = files._read_about, [stale]
    monkeypatch.setattr(files, "_read_about", lambda path: told.pop() if told else read(path))
    assert Index.open(tmp_path / "index").count == 1270


def test_an_index_made_before_there_were_tails_is_read_and_updated(tmp_path, store):
    build([store], tmp_path / "index", kind="ivf")
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    for key in ("base", "tail", "trials"):
        del about[key]
    file.write_text(json.dumps(about))
    assert Index.open(tmp_path / "index").count == 1200
    before = base_files(tmp_path / "index")
    grow(store)
    assert update(store, tmp_path / "index").tail == 60
    assert base_files(tmp_path / "index") == before
    assert Index.open(tmp_path / "index").about["base"] == 1


@pytest.mark.parametrize("role", ["tail", "tail_ids", "tail_offsets", "tail_origin"])
def test_a_missing_or_truncated_tail_is_named(tmp_path, store, role):
    build([store], tmp_path / "index")
    grow(store)
    update(store, tmp_path / "index")
    file = tmp_path / "index" / files.file_names(2, 1)[role]
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    with pytest.raises(IndexFileError, match=f"{file.name} has {len(raw) - 1} bytes.*{len(raw)}"):
        Index.open(tmp_path / "index")
    file.unlink()
    with pytest.raises(IndexFileError, match=f"{file.name} is missing"):
        Index.open(tmp_path / "index")


@pytest.mark.parametrize("what", ["graph", "dba"])
def test_an_index_with_a_graph_or_augmented_rows_has_no_tail(tmp_path, store, what):
    from imgret.indexes.dba import Dba

    build([store], tmp_path / "index", graph=3 if what == "graph" else None, dba=Dba(3) if what == "dba" else None)
    grow(store)
    report = update(store, tmp_path / "index")
    assert (report.tail, report.count) == (0, 1260)
    assert (report.rebuilt_because is None) == (what == "graph")
