from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imgret.errors import IndexFileError, StoreError
from imgret.indexes import kinds, planner
from imgret.indexes.build import build
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.kinds import INDEX_KINDS, Choice
from imgret.indexes.search import search
from imgret.indexes.tuning import Truth
from imgret.store.lock import WriterLock
from imgret.store.store import Store
from tests.indexes.conftest import RECIPE, add_shard, clustered, names, save, self_queries, write_store

KINDS = [*INDEX_KINDS]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".lock")}


def found(index: Index, vectors: np.ndarray) -> list[str]:
    """The id that stands first for each vector."""
    ranking = search(index, vectors, [""] * len(vectors), 1)
    return [index.ids[row] if row >= 0 else "" for row in ranking.rows[:, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_follows_its_stores(tmp_path, store, kind):
    output = tmp_path / "index"
    first = build([store], output, kind=kind)
    assert (first.changed, first.added, first.removed, first.kept, first.count) == (True, 1200, 0, 0, 1200)
    old = Index.open(output)
    before = found(old, self_queries(store)[0][:50])

    more = clustered(100, 16, seed=9)
    add_shard(store, names(100, "new"), more)
    store.shards[0].dropped = [0, 3, 5]
    save(store)
    gone = self_queries(Store.open(output.parent / "store"))[0]
    second = build([store], output, kind=kind)
    assert (second.added, second.removed, second.kept, second.count) == (100, 3, 1197, 1297)
    assert second.rebuilt_because is None
    assert second.dead == 3

    index = Index.open(output)
    assert index.about["generation"] == 2
    assert index.deleted.tolist() == [0, 3, 5]
    assert found(index, more) == names(100, "new")
    assert found(index, gone) == self_queries(store)[1]
    removed = {f"image-{row:05d}.jpg" for row in (0, 3, 5)}
    everything = search(index, clustered(1200)[:6], [""] * 6, 2000)
    assert removed.isdisjoint(index.ids[row] for row in everything.rows.ravel() if row >= 0)
    assert index.verify() == []

    # The files of the first generation are gone, and a reader of it notices nothing.
    assert not list(output.glob("*-1.*"))
    assert found(old, clustered(1200)[:50]) == before == names(50)

    third = build([store], output, kind=kind)
    assert not third.changed


def test_nothing_new_touches_nothing(tmp_path, store):
    output = tmp_path / "index"
    build([store], output, kind="ivf")
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}
    report = build([store], output, kind="ivf")
    assert not report.changed
    assert report.count == report.kept == 1200
    assert before == {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}


def test_a_replaced_image_is_found_by_its_new_descriptor_only(tmp_path, store):
    output = tmp_path / "index"
    build([store], output)
    store.shards[0].dropped = [4]
    new = clustered(1, 16, seed=77)
    add_shard(store, names(5)[4:], new)
    save(store)
    for add_only in (True, False):
        report = build([store], output, add_only=add_only)
        index = Index.open(output)
        assert index.count == 1200
        assert found(index, new) == ["image-00004.jpg"]
        assert found(index, clustered(1200)[4:5]) != ["image-00004.jpg"]
    assert not report.changed


def test_add_never_removes(tmp_path):
    a = write_store(tmp_path / "a", [(names(50, "a"), clustered(50))], root=tmp_path / "images-a")
    b = write_store(tmp_path / "b", [(names(60, "b"), clustered(60, seed=1))], root=tmp_path / "images-b")
    output = tmp_path / "index"
    build([a], output)
    report = build([b], output, add_only=True)
    assert (report.added, report.removed, report.kept, report.count) == (60, 0, 50, 110)
    index = Index.open(output)
    assert found(index, clustered(50)) == names(50, "a")
    (tmp_path / "images-a").mkdir()
    (tmp_path / "images-a" / "a-00003.jpg").touch()
    assert index.path_of(3) == str(tmp_path / "images-a" / "a-00003.jpg")
    assert not build([b], output, add_only=True).changed
    with pytest.raises(IndexFileError, match=r"50 of its rows are in no store given.*--add"):
        build([b], output, kind="hnsw", add_only=True)
    # Without --add the stores are the whole truth, and most rows are dead by then.
    report = build([b], output)
    assert report.count == 60
    assert report.rebuilt_because is not None
    assert "no longer count" in report.rebuilt_because
    assert Index.open(output).deleted.size == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "ivf"}, "the kind was flat and is now ivf"),
        ({"seed": 5}, "the seed was 0 and is now 5"),
        ({"factory": "SQ8"}, "the kind was flat and is now custom"),
    ],
)
def test_other_wishes_rebuild_and_say_so(tmp_path, store, change, reason):
    build([store], tmp_path / "index", kind="flat")
    how = {"kind": "flat"} | change
    if "factory" in how:
        how["kind"] = "auto"
    assert build([store], tmp_path / "index", **how).rebuilt_because == reason
    assert not build([store], tmp_path / "index", **how).changed


def test_another_recipe_rebuilds(tmp_path):
    a = write_store(tmp_path / "a", [(names(20), clustered(20))])
    b = write_store(tmp_path / "b", [(names(20), clustered(20, 24))], RECIPE | {"image_size": 512})
    build([a], tmp_path / "index")
    assert "another recipe" in str(build([b], tmp_path / "index").rebuilt_because)
    assert Index.open(tmp_path / "index").dim == 24


def test_lists_trained_on_few_vectors_are_made_anew_when_many_came(tmp_path):
    store = write_store(tmp_path / "s", [(names(100), clustered(100))])
    assert build([store], tmp_path / "index", kind="ivf").factory == "IVF2,Flat"
    add_shard(store, names(900, "new"), clustered(900, seed=2))
    save(store)
    report = build([store], tmp_path / "index", kind="ivf")
    assert report.rebuilt_because == "it was trained on 100 vectors and now holds 1,000"
    assert report.factory == "IVF16,Flat"


def test_another_target_is_tuned_and_measured_again(tmp_path, store):
    first = build([store], tmp_path / "index", kind="ivf", target_recall=0.5)
    second = build([store], tmp_path / "index", kind="ivf", target_recall=1.0)
    assert second.changed
    assert second.rebuilt_because is None
    assert second.recall["recall@10"] == 1.0 > first.recall["recall@10"] >= 0.5
    assert second.parameters["nprobe"] > first.parameters["nprobe"]


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivfpq"])
def test_the_same_seed_gives_the_same_index(tmp_path, store, kind):
    for name in ("one", "two"):
        build([store], tmp_path / name, kind=kind, seed=3)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_faiss_prints_nothing(tmp_path, capfd):
    store = write_store(tmp_path / "s", [(names(300), clustered(300))])
    for number, factory in enumerate(["IVF64,PQ8np", "OPQ8,IVF4,PQ8np", "PCA8,IVF16,Flat", "PQ4np", "HNSW8,PQ8np"]):
        build([store], tmp_path / str(number), factory=factory)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Flat,Junk", "FAISS cannot make a 'Flat,Junk' index of dimension 16"),
        ("IVF4,PQ7", "FAISS cannot make|cannot be trained"),
        ("PQ8", "cannot be trained on 100 vectors"),
        ("IVF256,Flat", "cannot be trained on 100 vectors"),
        ("IDMap,Flat", "leave the IDMap out"),
    ],
)
def test_a_factory_that_cannot_work_is_refused_in_one_line(tmp_path, factory, message):
    store = write_store(tmp_path / "s", [(names(100), clustered(100))])
    with pytest.raises(IndexFileError, match=message) as refusal:
        build([store], tmp_path / "index", factory=factory)
    assert "\n" not in str(refusal.value)
    assert not Index.exists(tmp_path / "index")
    if (tmp_path / "index").exists():
        assert not list((tmp_path / "index").glob("*-1.*"))


def test_mixed_recipes_are_refused_naming_both_stores_and_what_differs(tmp_path):
    a = write_store(tmp_path / "a", [(names(5), clustered(5))])
    b = write_store(tmp_path / "b", [(names(5, "b"), clustered(5))], RECIPE | {"image_size": 512})
    with pytest.raises(IndexFileError, match=r"a and .*b were made by .*image_size is 1024 .*and 512"):
        build([a, b], tmp_path / "index")


def test_a_repeated_id_is_refused_naming_it_and_both_stores(tmp_path):
    a = write_store(tmp_path / "a", [(["x\n.jpg", "y.jpg"], clustered(2))])
    b = write_store(tmp_path / "b", [(["z.jpg", "x\n.jpg"], clustered(2))])
    with pytest.raises(IndexFileError, match=r"the id x\\x0a.jpg stands in .*a and in .*b;"):
        build([a, b], tmp_path / "index")


def test_no_descriptors_are_nothing_to_index(tmp_path):
    store = write_store(tmp_path / "empty", [])
    with pytest.raises(IndexFileError, match=r"empty: nothing to index.*imgret extract"):
        build([store], tmp_path / "index")


def test_a_flipped_byte_in_a_shard_is_refused_by_name(tmp_path, store):
    shard = store.path / "shard-00001.h5"
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(StoreError, match=r"shard-00001\.h5 is damaged"):
        build([store], tmp_path / "index")
    assert not Index.exists(tmp_path / "index")


def test_a_descriptor_that_is_no_number_is_refused(tmp_path):
    vectors = clustered(10)
    vectors[3, 2] = np.nan
    store = write_store(tmp_path / "s", [(names(10), vectors)])
    with pytest.raises(StoreError, match=r"shard-00000\.h5 holds NaN"):
        build([store], tmp_path / "index")


def test_a_failed_update_leaves_the_old_index(tmp_path, store, monkeypatch):
    output = tmp_path / "index"
    build([store], output, kind="ivfpq")
    before = content(output)
    add_shard(store, names(50, "new"), clustered(50, seed=4))
    save(store)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imgret.indexes.writing.write_faiss", full)
    with pytest.raises(OSError, match="space"):
        build([store], output, kind="ivfpq")
    assert content(output) == before


def test_one_writer_at_a_time(tmp_path, store):
    (tmp_path / "index").mkdir()
    with WriterLock(tmp_path / "index"), pytest.raises(IndexFileError, match=r"is being written by process"):
        build([store], tmp_path / "index")


def test_an_index_is_not_put_into_a_store(store):
    with pytest.raises(IndexFileError, match="is a store"):
        build([store], store.path)


def test_progress_is_told(tmp_path, store):
    told = []
    build([store], tmp_path / "index", kind="ivf", progress=lambda what, done, total: told.append(what))
    assert list(dict.fromkeys(told)) == ["reading ids", "training", "adding vectors", "measuring recall"]


def test_index_json_says_what_was_promised(tmp_path, store):
    report = build([store], tmp_path / "index", kind="ivf")
    about = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    assert about["schema"] == "imgret.index/1"
    assert about["recipe"] == RECIPE
    assert about["fingerprint"] == store.fingerprint
    assert about["count"] == report.count == 1200
    assert about["shards"] == [entry.sha256 for entry in store.shards]
    assert about["recall"]["queries"] == 256
    assert set(about["files"]) == {path.name for path in (tmp_path / "index").glob("*-1.*")}
    assert about["stores"][0]["relative"] == "../store"
    assert about["whitening"] is None


def test_the_recall_of_an_updated_index_speaks_for_all_its_rows(tmp_path):
    # 3,000 rows that need many lists, then 150 copies of one direction that any list answers
    old = clustered(3000, 32)
    store = write_store(tmp_path / "s", [(names(3000), old)])
    build([store], tmp_path / "i", kind="ivf")
    same = np.repeat(old[:1], 150, 0) + 0.001 * np.random.default_rng(1).standard_normal((150, 32)).astype(np.float32)
    add_shard(store, names(150, "new"), same / np.linalg.norm(same, axis=1, keepdims=True))
    save(store)
    report = build([Store.open(store.path)], tmp_path / "i", kind="ivf")
    assert report.rebuilt_because is None
    index = Index.open(tmp_path / "i")
    rows = np.arange(0, 3150, 5)
    everywhere = Truth(index, rows).recall(index)
    assert report.recall["recall@10"] == pytest.approx(everywhere, abs=0.06)
    assert everywhere > 0.9


@pytest.mark.parametrize("planned", ["flat", "fp16", "ivf"])
def test_an_update_keeps_the_kind_that_was_planned_and_plans_nothing(tmp_path, store, monkeypatch, planned):
    seen = []

    def plan(sample, count, budget, target, seed, progress, graphs):
        assert graphs
        seen.append((sample.shape, count, budget, target, seed))
        choice = Choice(planned, INDEX_KINDS[planned].factory(count, 16), "it was the quickest")
        return planner.Planned(choice, (planner.Trial(planned, choice.factory, 1),))

    monkeypatch.setattr(kinds, "QUICK", 1000)  # so that exact search counts as slow
    monkeypatch.setattr(planner, "plan", plan)
    first = build([store], tmp_path / "index", max_memory=10_000_000, seed=3)
    assert seen == [((1200, 16), 1200, 10_000_000, 0.95, 3)]
    assert (first.kind, first.why, [trial["kind"] for trial in first.trials]) == (
        planned,
        "it was the quickest",
        [planned],
    )
    add_shard(store, names(30, "new"), clustered(30, seed=1))
    save(store)
    report = build([store], tmp_path / "index", max_memory=10_000_000)
    assert (report.rebuilt_because, report.kind, report.count, report.trials) == (None, planned, 1230, [])
    assert len(seen) == 1


def test_a_flat_index_that_exact_search_has_become_slow_for_is_planned_anew(tmp_path, store, monkeypatch):
    assert build([store], tmp_path / "index").kind == "flat"
    monkeypatch.setattr(kinds, "QUICK", 1000)
    choice = Choice("sq8", "SQ8", "it was the quickest")
    monkeypatch.setattr(planner, "plan", lambda *_, graphs: planner.Planned(choice, ()))
    report = build([store], tmp_path / "index")
    assert (report.kind, report.rebuilt_because) == ("sq8", "the kind was flat and is now sq8")


@pytest.mark.parametrize("kind", ["fp16", "ivf"])
def test_rows_in_half_precision_are_kept_bit_for_bit_unless_they_are_no_unit_rows(tmp_path, kind):
    half = clustered(300).astype(np.float16)
    long = (2 * clustered(100, seed=1)).astype(np.float16)
    store = write_store(tmp_path / "s", [(names(300), half), (names(100, "long"), long)])
    build([store], tmp_path / "index", kind=kind)
    kept = Index.open(tmp_path / "index").stored(np.arange(400))
    np.testing.assert_array_equal(kept[:300], half)
    np.testing.assert_allclose(np.linalg.norm(kept[300:].astype(np.float32), axis=1), 1, atol=1 / 2048)


def test_a_memory_limit_is_kept_by_later_updates(tmp_path, store):
    kind = build([store], tmp_path / "limited", max_memory=60_000).kind  # 1200 x 16 x 4 bytes are 76,800
    assert kind != "flat"
    store.shards[0].dropped = [3]
    save(store)
    report = build([store], tmp_path / "limited")
    assert (report.kind, report.rebuilt_because) == (kind, None)
    assert Index.open(tmp_path / "limited").about["max_memory"] == 60_000


def test_an_impossible_budget_is_refused_before_a_shard_is_hashed(tmp_path, store, monkeypatch):
    monkeypatch.setattr(type(store), "verify", lambda *_: pytest.fail("hashed"))
    with pytest.raises(IndexFileError, match="nearest budget"):
        build([store], tmp_path / "refused", max_memory=1000)
