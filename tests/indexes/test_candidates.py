"""Candidates of lossy kinds and graphs: few are scored again, and the ranking is that of scoring all of them."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from imgret.indexes.build import build
from imgret.indexes.candidates import best_of
from imgret.indexes.files import Index
from imgret.indexes.rows import ROUNDING
from imgret.indexes.search import search
from imgret.store.store import Store, unit
from tests.indexes.conftest import clustered, names, save, write_store

FACTORIES = [
    "SQfp16",
    "SQ8",
    "HNSW16,Flat",
    "HNSW16,SQ8",
    "IVF8,PQ8x4fs",
    "OPQ8,IVF4,PQ8np",
    "PCA8,IVF16,Flat",
    "RaBitQ",
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_scoring_few_candidates_ranks_like_scoring_all(tmp_path, factory, monkeypatch):
    vectors = np.repeat(clustered(600), 2, 0)  # every row twice, so that ids decide
    store = write_store(tmp_path / "s", [(names(1200), vectors)])
    build([store], tmp_path / "index", factory=factory)
    for dropped in ([], [3, 4, 5, 700]):
        store.shards[0].dropped = dropped
        save(store)
        build([Store.open(store.path)], tmp_path / "index", factory=factory)
        index = Index.open(tmp_path / "index")
        few = search(index, vectors[:40], [""] * 40, 20)
        assert index.candidates.slack is not None
        monkeypatch.setattr(index.candidates, "slack", None)
        every = search(index, vectors[:40], [""] * 40, 20)
        np.testing.assert_array_equal(few.rows, every.rows)
        np.testing.assert_array_equal(few.scores, every.scores)


def test_a_row_that_half_precision_made_shorter_is_not_passed_over():
    # unit rows at the angles 0.100 and 0.1003; the rough scores have them the other way round, within the slack
    rows = unit(np.array([[np.cos(0.1003), np.sin(0.1003)], [np.cos(0.1), np.sin(0.1)], [0, 1]], np.float32))

    class Rows:
        def vectors(self, numbers: np.ndarray) -> np.ndarray:
            return rows[numbers]

    near = np.array([[0.9951, 0.9950, 0.0]], np.float32)
    query = np.array([[1, 0]], np.float32)
    found, scores = best_of(Rows(), query, near, np.array([[0, 1, 2]]), 1, 2 * ROUNDING, ["a", "b", "c"])
    assert found.tolist() == [[1]]
    assert scores[0, 0] == pytest.approx(np.cos(0.1), abs=1e-6)  # 0.995004
    found, scores = best_of(Rows(), query, near, np.array([[0, 1, -1]]), 3, 2 * ROUNDING, ["a", "b", "c"])
    assert found.tolist() == [[1, 0, -1]]
    assert scores[0, 2] == -np.inf


@pytest.mark.parametrize("factory", ["SQ8", "IVF8,PQ8x4fs"])
def test_vectors_that_faiss_looks_at_are_not_copied(tmp_path, factory):
    store = write_store(tmp_path / "s", [(names(1200), clustered(1200))])
    build([store], tmp_path / "index", factory=factory)
    index = Index.open(tmp_path / "index")
    assert index.candidates._refine is not None
    assert not faiss.downcast_index(index.candidates._refine.refine_index).codes.is_owned
