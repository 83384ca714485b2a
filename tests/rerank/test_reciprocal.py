"""k-reciprocal re-ranking beside sets and loops."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.rerank.reciprocal import reciprocal_distances, reciprocal_sets
from tests.rerank import loops
from tests.rerank.toy import groups, unit


@pytest.mark.parametrize(("k1", "k2", "weight"), [(6, 3, 0.3), (7, 1, 0.0), (20, 6, 0.3), (1, 1, 0.5), (4, 40, 1.0)])
@pytest.mark.parametrize("spread", [0.6, 3])
def test_it_is_the_formula(k1, k2, weight, spread):
    x = groups(0, 33, 6, spread).astype(np.float64)
    made = reciprocal_distances(x[0], x[1:], k1, k2, weight)
    assert made == pytest.approx(loops.reciprocal(x[0], x[1:], k1, k2, weight), abs=1e-12)


def test_lambda_1_is_the_original_distance_over_its_largest():
    # 2 - 2 cos = 0.4, 2, 4 -> 0.1, 0.5, 1
    x = np.array([[0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    assert reciprocal_distances(np.array([1.0, 0.0]), x, weight=1) == pytest.approx([0.1, 0.5, 1])


def test_a_set_takes_in_the_half_sets_that_lie_in_it_by_two_thirds():
    # k1 = 4: R(0, 4) = {0, 1, 2}, for 3 and 4 do not name 0. R(2, 2) = {1, 2, 3} lies in it by two of three,
    # so 3 joins. 4 does not: it stands in R(3, 2), and 3 is not in R(0, 4).
    near = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [2, 1, 3, 0, 4], [3, 2, 4, 1, 5], [4, 3, 5, 2, 1], [5, 4, 3, 2, 1]]
    assert np.flatnonzero(reciprocal_sets(np.array(near), 4)[0]).tolist() == [0, 1, 2, 3]


def test_k1_may_be_larger_than_the_candidates():
    x = groups(1, 6, 4).astype(np.float64)
    assert reciprocal_distances(x[0], x[1:], 20, 6) == pytest.approx(loops.reciprocal(x[0], x[1:], 20, 6, 0.3))
    assert reciprocal_distances(x[0], x[1:2], 20, 6).shape == (1,)


def test_an_image_that_does_not_name_the_query_falls_behind_those_that_do():
    # The stranger is nearest by cosine, 0.930 against 0.91, but has nearer ones of its own.
    query = np.array([1.0, 0.0, 0.0])
    place = unit(np.array([[1, 0, 0.45], [1, 0.02, 0.47], [1, -0.02, 0.44], [1, 0.03, 0.46]]))
    stranger = unit(np.array([[0.93, 0.367, 0]]))
    its_place = unit(np.array([[0.9, 0.43 + 0.01 * i, -0.1] for i in range(6)]))
    x = np.concatenate([place, stranger, its_place])
    assert (x @ query).argmax() == 4
    distances = reciprocal_distances(query, x, k1=4, k2=1)
    assert distances[:4].max() < distances[4]
    assert distances[4] >= 0.7  # no neighbour is shared: Jaccard 1, weighed 1 - lambda


def test_copies_of_the_query_come_first_and_nothing_divides_by_zero():
    x = groups(2, 10, 5).astype(np.float64)
    x[3] = x[7] = x[0]
    distances = reciprocal_distances(x[0], x[1:], 3, 2)
    assert set(np.argsort(distances, kind="stable")[:2].tolist()) == {2, 6}
    everything_the_same = reciprocal_distances(x[0], np.tile(x[0], (4, 1)))
    assert everything_the_same == pytest.approx(0, abs=1e-12)
