from __future__ import annotations

import numpy as np
import pytest

from imgret.whitening.moments import Moments, PairMoments
from tests.whitening import slow
from tests.whitening.test_fit import moments_of, unit_rows


def test_moments_are_the_loop_over_numbers():
    rows = unit_rows(11, 3)
    made = moments_of(rows, 4)
    np.testing.assert_allclose(made.mean, slow.mean_of(rows.tolist()), rtol=1e-14)
    np.testing.assert_allclose(made.scatter, slow.scatter_about(rows.tolist(), slow.mean_of(rows.tolist())), rtol=1e-12)
    point = [0.3, -0.2, 0.9]
    np.testing.assert_allclose(
        made.scatter_about(np.array(point)), slow.scatter_about(rows.tolist(), point), rtol=1e-12
    )


@pytest.mark.parametrize("step", [1, 7, 64])
def test_blocks_are_one_block(step):
    rows = unit_rows(200, 16)
    whole, parts = moments_of(rows), moments_of(rows, step)
    assert parts.count == whole.count == 200
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=1e-10, atol=1e-12)


def test_a_small_spread_far_from_zero_is_not_lost():
    # sum of squares minus square of sums would leave 1e-16 * 1e6^2 = 1e-4 of noise, more than the variance
    rng = np.random.default_rng(0)
    near = 1e-3 * rng.standard_normal((5000, 2))
    made = moments_of(near + 1e6, 500)
    np.testing.assert_allclose(made.scatter / 5000, np.cov(near.T, bias=True), rtol=1e-5, atol=1e-11)


def test_half_precision_is_added_up_in_float64():
    rows = np.full((70_000, 1), 1.0, np.float16)
    rows[::2] = 0.5  # a float16 sum would stop growing at 2048
    made = moments_of(rows)
    assert made.mean[0] == 0.75
    assert made.scatter[0, 0] == 70_000 * 0.0625


def test_pair_moments_by_hand():
    made = PairMoments(2)
    made.add(np.array([[1.0, 0], [0, 1]]), np.array([[0.0, 0], [0, 3]]))
    made.add(np.array([[2.0, 2]]), np.array([[0.0, 1]]))
    # differences (1, 0), (0, -2), (2, 1): squares 1 + 0 + 4, products 0 + 0 + 2, squares 0 + 4 + 1, over 3
    np.testing.assert_allclose(made.differences, np.array([[5, 2], [2, 5]]) / 3)
    np.testing.assert_allclose(made.query_mean, [1, 1])  # (1 + 0 + 2) / 3 and (0 + 1 + 2) / 3


def test_nan_and_other_shapes_are_refused():
    for bad in (np.array([[1, np.nan]]), np.array([[np.inf, 0]])):
        with pytest.raises(ValueError, match="NaN"):
            Moments(2).add(bad)
        with pytest.raises(ValueError, match="NaN"):
            PairMoments(2).add(bad, np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"must be \[n, 2\]"):
        Moments(2).add(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"must be \[n, 2\]"):
        PairMoments(2).add(np.zeros((1, 2)), np.zeros((2, 2)))
    empty = Moments(2)
    empty.add(np.zeros((0, 2)))
    assert empty.count == 0
