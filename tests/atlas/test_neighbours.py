"""The nearest among rows in memory."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.atlas.neighbours import nearest_among, nearest_others
from tests.atlas.data import clustered


def test_they_are_those_of_all_products():
    rows, _ = clustered(3000)
    near, cosines = nearest_others(rows, 5)
    products = rows.astype(np.float64) @ rows.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(cosines, -np.sort(-products, axis=1)[:, :5], atol=1e-6)
    np.testing.assert_allclose(cosines, np.take_along_axis(products, near, 1), atol=1e-6)


def test_copies_are_nearest_in_order_of_their_numbers():
    rows = np.repeat(clustered(1)[0], 6, axis=0)
    near, cosines = nearest_others(rows, 2)
    assert near.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


@pytest.mark.parametrize(("count", "columns"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_where_there_are_few_all_others_are_found(count, columns):
    rows, _ = clustered(count)
    near, cosines = nearest_others(rows, 15)
    assert near.shape == cosines.shape == (count, columns)
    assert (near >= 0).all()


def test_what_is_asked_beside_a_row_makes_no_difference():
    rows, _ = clustered(500)
    near, cosines = nearest_among(rows, rows, 4)
    for row in (0, 17, 499):
        alone = nearest_among(rows[row : row + 1], rows, 4)
        assert (alone[0] == near[row]).all()
        assert (alone[1] == cosines[row]).all()


def test_fewer_than_one_neighbour_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        nearest_among(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), 0)
