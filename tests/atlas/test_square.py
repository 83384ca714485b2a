"""Positions in the unit square."""

from __future__ import annotations

import numpy as np

from imgret.atlas.square import unit_square


def test_both_axes_have_one_scale_and_the_middle_is_the_middle():
    found = unit_square(np.array([[0, 0], [4, 1], [2, 2]]))
    np.testing.assert_allclose(found, [[0, 0.25], [1, 0.5], [0.5, 0.75]])  # 4 wide, 2 high, drawn from 0.25 to 0.75
    assert found.dtype == np.float32


def test_a_few_far_out_do_not_squeeze_the_rest():
    positions = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    positions[:3] = [[1e6, 0], [0, -1e6], [1e6, 1e6]]
    found = unit_square(positions)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.ptp(found[3:], axis=0).min() > 0.6
    assert found[0, 0] == found[2, 0] == 1


def test_equal_positions_are_in_the_middle():
    assert unit_square(np.full((5, 2), 7.0)).tolist() == [[0.5, 0.5]] * 5
    assert unit_square(np.zeros((0, 2))).shape == (0, 2)


def test_where_nearly_all_are_equal_the_others_are_at_the_rim():
    positions = np.zeros((1000, 2))
    positions[0] = [3, -1e-9]
    assert unit_square(positions)[:2].tolist() == [[1, 0], [0.5, 0.5]]
