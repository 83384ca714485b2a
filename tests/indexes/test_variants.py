"""Several variants of a query (turned, mirrored): the highest score of an image counts."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.indexes.build import build
from imgret.indexes.exact import exact
from imgret.indexes.files import Index
from imgret.indexes.search import search
from tests.indexes.conftest import clustered, write_store

IDS = [f"{number:04d}.jpg" for number in range(600)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = clustered(600, 16)
    rows[7] = rows[300]  # exact copies tie in every variant
    return write_store(tmp_path_factory.mktemp("store"), [(IDS[:250], rows[:250]), (IDS[250:], rows[250:])])


@pytest.fixture(scope="module")
def variants():
    rows = clustered(15, 16, seed=5).reshape(5, 3, 16)
    return rows


def by_hand(store, variants):
    """[Q, N] highest cosines, float64."""
    rows = np.concatenate([block.descriptors for block in store.blocks()]).astype(np.float64)
    return np.einsum("qvd,nd->qvn", variants.astype(np.float64), rows).max(1)


def test_an_exact_ranking_has_the_highest_score_of_each_image(store, variants):
    expected = by_hand(store, variants)
    (ranking,) = list(exact(store, variants, ["q"] * 5))
    assert ranking.check().rows.shape == (5, 600)
    best = np.take_along_axis(expected, ranking.rows.astype(np.int64), 1)
    assert ranking.scores == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_search_of_any_kind_has_the_highest_score_of_each_image_it_finds(store, variants, tmp_path, kind):
    build([store], tmp_path / "index", kind=kind)
    index = Index.open(tmp_path / "index")
    expected = by_hand(store, variants)
    ranking = search(index, variants, ["q"] * 5, 20).check()
    best = np.take_along_axis(expected, ranking.rows.astype(np.int64), 1)
    assert ranking.scores == pytest.approx(best, abs=1e-5 if kind == "flat" else 3e-4)  # ivf holds half precision
    if kind == "flat":
        assert ranking.scores == pytest.approx(-np.sort(-expected, 1)[:, :20], abs=1e-5)
    shorter = search(index, variants, ["q"] * 5, 6)
    assert (shorter.rows == ranking.rows[:, :6]).all()


def test_one_variant_is_the_query_itself(store, tmp_path, variants):
    build([store], tmp_path / "index", kind="flat")
    index = Index.open(tmp_path / "index")
    plain = search(index, variants[:, 0], ["q"] * 5, 10)
    alone = search(index, variants[:, :1], ["q"] * 5, 10)
    assert (plain.rows == alone.rows).all()
    assert (plain.scores == alone.scores).all()


def test_variants_of_another_shape_are_a_callers_bug(store):
    for wrong in (np.zeros((5, 0, 16), np.float32), np.zeros((5, 2, 15), np.float32), np.zeros((5, 1, 1, 16))):
        with pytest.raises(ValueError, match="queries must be"):
            exact(store, wrong, ["q"] * 5)
