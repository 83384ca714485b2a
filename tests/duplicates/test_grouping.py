"""Groups in which every two are alike."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from imgret.duplicates.grouping import group
from imgret.duplicates.pairs import Pairs, mutual
from tests.duplicates.test_pairs import circle, nearest


def grouped(vectors: np.ndarray, threshold: float, k: int = 20, apart=()) -> list[list[int]]:
    return group(mutual(*nearest(vectors, k), threshold), lambda rows: vectors[rows], threshold, apart)


def test_a_chain_is_cut_where_its_ends_are_unlike():
    # neighbours are at most 11 degrees apart, 0.982; ends of three 20 and 21, 0.934; of all 30, 0.866
    assert grouped(circle(0, 9, 20, 30), 0.98) == [[0, 1], [2, 3]]
    assert grouped(circle(0, 9, 20, 30), 0.93) == [[0, 1], [2, 3]]
    assert grouped(circle(0, 9, 20, 30), 0.86) == [[0, 1, 2, 3]]


def test_a_picture_between_two_joins_the_one_it_is_more_alike_to():
    assert grouped(circle(0, 9, 20), 0.98) == [[0, 1]]
    assert grouped(circle(0, 11, 20), 0.98) == [[1, 2]]


def test_what_the_user_keeps_apart_stays_apart_however_alike():
    vectors = circle(0, 1, 2)
    assert grouped(vectors, 0.9) == [[0, 1, 2]]
    assert grouped(vectors, 0.9, apart=[(1, 0)]) == [[1, 2]]  # of equal pairs the first is (0, 1)
    assert grouped(vectors, 0.9, apart=[(0, 1), (1, 2)]) == [[0, 2]]
    assert grouped(vectors, 0.9, apart=list(combinations(range(3), 2))) == []


def test_what_is_kept_apart_stays_so_when_its_group_has_another_name():
    # (2, 3), then (0, 1) join; 0 is kept from 3, so the two groups never become one
    vectors = circle(0, 0.5, 1.2, 1.4)
    assert grouped(vectors, 0.9, apart=[(0, 3)]) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_every_two_of_a_group_are_alike_and_no_two_groups_could_be_one(seed):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, 8))
    vectors = (centres[rng.integers(0, 12, 120)] + 0.3 * rng.standard_normal((120, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, threshold = vectors @ vectors.T, 0.93
    pairs = mutual(*nearest(vectors, 119), threshold)
    groups = group(pairs, lambda rows: vectors[rows], threshold)
    assert len(groups) > 5
    assert len(sum(groups, [])) == len(set(sum(groups, [])))
    for rows in groups:
        assert cosines[np.ix_(rows, rows)].min() > threshold - 1e-5
    for one, other in combinations(groups, 2):
        assert cosines[np.ix_(one, other)].min() < threshold + 1e-5


def test_thousands_of_copies_are_one_group():
    pairs = np.stack([np.zeros(4999, np.int64), np.arange(1, 5000)], 1)
    vectors = np.ones((1, 1), np.float32)
    asked = []

    def read(rows):
        asked.extend(rows.tolist())
        return vectors[np.zeros_like(rows)]

    copies = group(Pairs(pairs, np.ones(4999, np.float32)), read, 0.99)
    assert copies == [list(range(5000))]
    assert sorted(asked) == list(range(5000))  # each once, however large the group
