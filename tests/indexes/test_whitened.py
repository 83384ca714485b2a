"""An index with a whitening: what it holds, how it is updated, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imgret.errors import IndexFileError, WhiteningError
from imgret.indexes.build import build
from imgret.indexes.exact import exact
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.search import search
from imgret.whitening.stores import WhitenedStore
from imgret.whitening.transform import Whitening
from imgret.workflows import whiten
from tests.indexes.conftest import RECIPE, add_shard, clustered, names, save, self_queries, write_store

KINDS = ["flat", "hnsw", "ivf", "ivfpq"]


@pytest.fixture
def whitening(tmp_path) -> Whitening:
    """8 of 16 dimensions, fitted on other vectors than the store's."""
    other = write_store(tmp_path / "other", [(names(400, "other"), clustered(400, seed=5))])
    return whiten(other.path, tmp_path / "w.safetensors", dim=8).whitening


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_holds_whitened_vectors_and_scores_them(tmp_path, store, whitening, kind):
    report = build([store], tmp_path / "index", kind=kind, whitening=whitening)
    assert report.whitening["sha256"] == whitening.sha256
    index = Index.open(tmp_path / "index")
    assert index.dim == index.faiss.d == 8
    half = index.kept.dtype == np.float16
    assert half == (kind in ("ivf", "ivfpq"))
    raw, ids = self_queries(store)
    white = whitening.apply(raw)
    np.testing.assert_allclose(index.vectors(np.arange(1200)), white, atol=5e-4 if half else 2e-6)
    ranking = search(index, white[:40], ids[:40], 5)
    assert [index.ids[row] for row in ranking.rows[:, 0]] == ids[:40]
    for line, (rows, scores) in enumerate(zip(ranking.rows, ranking.scores, strict=True)):
        cosines = white[rows] @ white[line]
        np.testing.assert_allclose(scores, cosines, atol=1e-3 if half else 1e-5)


def test_a_whitened_store_is_ranked_as_the_index_over_it(tmp_path, store, whitening):
    build([store], tmp_path / "index", kind="flat", whitening=whitening)
    index = Index.open(tmp_path / "index")
    raw, ids = self_queries(store)
    white = whitening.apply(raw[:20])
    (one,) = exact(index, white, ids[:20])
    (other,) = exact(WhitenedStore(store, whitening), white, ids[:20])
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_an_update_whitens_what_is_new_and_keeps_the_whitening(tmp_path, store, whitening, kind):
    build([store], tmp_path / "index", kind=kind, whitening=whitening)
    (tmp_path / "w.safetensors").unlink()  # the index has its own copy
    more = clustered(100, seed=9)
    add_shard(store, names(100, "new"), more)
    store.shards[0].dropped = [0, 3]
    save(store)
    report = build([store], tmp_path / "index", kind=kind)
    assert (report.added, report.removed, report.kept, report.rebuilt_because) == (100, 2, 1198, None)
    index = Index.open(tmp_path / "index")
    np.testing.assert_allclose(index.vectors(np.arange(1200, 1300)), whitening.apply(more), atol=5e-4)
    assert index.whitening.sha256 == whitening.sha256
    assert sorted(path.name for path in (tmp_path / "index").glob("whitening-*")) == ["whitening-2.safetensors"]
    assert index.verify() == []
    assert not build([store], tmp_path / "index", kind=kind, whitening=whitening).changed


def test_another_whitening_rebuilds_and_says_so(tmp_path, store, whitening):
    output = tmp_path / "index"
    build([store], output)
    here = whitening.sha256[:12]
    reason = build([store], output, whitening=whitening).rebuilt_because
    assert reason == f"the whitening was none and is now pca {here}..."
    other = whiten(tmp_path / "other", tmp_path / "w2.safetensors", dim=8, power=0.5).whitening
    reason = build([store], output, whitening=other).rebuilt_because
    assert reason == f"the whitening was pca {here}... and is now pca {other.sha256[:12]}..."
    assert not build([store], output).changed
    reason = build([store], output, whitening="none").rebuilt_because
    assert reason == f"the whitening was pca {other.sha256[:12]}... and is now none"
    assert Index.open(output).dim == 16
    assert Index.open(output).whitening is None
    assert not list(output.glob("whitening-*"))
    assert not build([store], output, whitening="none").changed


def test_the_same_whitening_fitted_again_is_the_same(tmp_path, store, whitening):
    build([store], tmp_path / "index", whitening=whitening)
    again = whiten(tmp_path / "other", tmp_path / "again.safetensors", dim=8).whitening
    assert not build([store], tmp_path / "index", whitening=again).changed


def test_a_whitening_of_another_recipe_is_refused_before_anything_is_made(tmp_path, whitening):
    store = write_store(tmp_path / "s", [(names(20), clustered(20))], RECIPE | {"image_size": 512})
    with pytest.raises(WhiteningError, match=r"another recipe than .*s: image_size is 1024 there and 512 here"):
        build([store], tmp_path / "index", whitening=whitening)
    assert not (tmp_path / "index").exists()


def test_stores_of_another_recipe_need_another_whitening(tmp_path, store, whitening):
    build([store], tmp_path / "index", whitening=whitening)
    other = write_store(tmp_path / "b", [(names(20), clustered(20, 24))], RECIPE | {"image_size": 512})
    with pytest.raises(IndexFileError, match=r"whitened descriptors of another recipe.*--whitening none"):
        build([other], tmp_path / "index")
    report = build([other], tmp_path / "index", whitening="none")
    assert report.rebuilt_because == "the stores were made by another recipe"
    assert Index.open(tmp_path / "index").dim == 24


def test_index_json_says_which_whitening(tmp_path, store, whitening):
    build([store], tmp_path / "index", whitening=whitening)
    about = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    assert about["dim"] == 8
    assert about["whitening"] == whitening.card()
    assert {"kind", "power", "dim_in", "dim", "sha256", "count", "store_sha256"} <= set(about["whitening"])
    assert "whitening-1.safetensors" in about["files"]
    assert Whitening.load(tmp_path / "index" / "whitening-1.safetensors").sha256 == whitening.sha256


def test_a_whitening_that_was_exchanged_or_damaged_in_the_index_is_noticed(tmp_path, store, whitening):
    build([store], tmp_path / "index", whitening=whitening)
    file = tmp_path / "index" / "whitening-1.safetensors"
    sound = file.read_bytes()
    twice = Whitening(whitening.mean, whitening.projection * 2, whitening.ids, whitening.about)
    assert len(twice.to_bytes()) == len(sound)
    file.write_bytes(twice.to_bytes())
    with pytest.raises(IndexFileError, match="is not the whitening that index.json names"):
        Index.open(tmp_path / "index")
    file.write_bytes(sound[:-8] + bytes(8))
    with pytest.raises(IndexFileError, match="damaged"):
        Index.open(tmp_path / "index")
    file.write_bytes(sound[:-8])
    with pytest.raises(IndexFileError, match="bytes"):
        Index.open(tmp_path / "index")
    file.unlink()
    with pytest.raises(IndexFileError, match="missing"):
        Index.open(tmp_path / "index")


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_the_same_seed_and_whitening_give_the_same_index(tmp_path, store, whitening, kind):
    for name in ("one", "two"):
        build([store], tmp_path / name, kind=kind, seed=3, whitening=whitening)
    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.suffix != ".lock"} for name in ("one", "two")
    )
    assert one == two
