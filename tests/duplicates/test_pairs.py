"""Pairs of images that are among each other's nearest."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.duplicates.pairs import mutual


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By a loop: the k nearest others of every row, equal ones in order of the rows."""
    near = np.full((len(vectors), k), -1)
    cosines = np.zeros((len(vectors), k), np.float32)
    for row, vector in enumerate(vectors):
        scores = vectors @ vector
        others = sorted((one for one in range(len(vectors)) if one != row), key=lambda one: (-scores[one], one))[:k]
        near[row, : len(others)], cosines[row, : len(others)] = others, scores[others]
    return near, cosines


def circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_a_pair_counts_once_with_the_most_alike_first():
    found = mutual(*nearest(circle(0, 10, 40, 45), 2), threshold=0.9)  # cos 5 = 0.996, cos 10 = 0.985, cos 30 = 0.866
    assert found.rows.tolist() == [[2, 3], [0, 1]]
    np.testing.assert_allclose(found.cosines, np.cos(np.deg2rad([5, 10])), rtol=1e-6)


def test_a_picture_that_has_nearer_ones_is_no_pair_with_one_that_has_none():
    # 20 degrees from its nearest, which has another at 5 and keeps one
    assert mutual(*nearest(circle(0, 20, 25), 1), threshold=0.9).rows.tolist() == [[1, 2]]
    assert mutual(*nearest(circle(0, 20, 25), 2), threshold=0.9).rows.tolist() == [[1, 2], [0, 1], [0, 2]]


def test_of_many_copies_each_is_a_pair_with_another():
    vectors = np.repeat(circle(0), 50, axis=0)
    rows = mutual(*nearest(vectors, 3), threshold=0.9).rows  # every row keeps 0, 1 and 2 but for itself
    assert set(rows.ravel().tolist()) == set(range(50))


@pytest.mark.parametrize("vectors", [circle(), circle(5)])
def test_fewer_than_two_pictures_are_no_pair(vectors):
    assert not len(mutual(*nearest(vectors, 2), threshold=-1).rows)


def test_where_there_are_few_all_are_among_the_nearest():
    assert len(mutual(*nearest(circle(0, 60, 80), 9), threshold=-1).rows) == 3
