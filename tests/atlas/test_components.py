"""Principal components from blocks."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.atlas.components import first_two
from tests.atlas.data import clustered


def blocks_of(rows: np.ndarray, at_once: int):
    return lambda: (rows[start : start + at_once] for start in range(0, len(rows), at_once))


def test_they_are_those_of_a_singular_value_decomposition():
    rows, _ = clustered(300)
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = left[:, :2] * values[:2]
    found = first_two(blocks_of(rows, 300), 64)
    found *= np.sign((found * wanted).sum(0))  # either way along a direction is right
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_blocks_make_no_difference():
    rows, _ = clustered(300)
    assert (first_two(blocks_of(rows, 7), 64) == first_two(blocks_of(rows, 300), 64)).all()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_equal_rows_are_in_one_place(count):
    rows = np.repeat(clustered(1)[0], count, axis=0)
    assert (first_two(blocks_of(rows, 2), 64) == np.zeros((count, 2))).all()


def test_one_dimension_gives_one_direction():
    assert first_two(blocks_of(np.array([[1], [-1]], np.float32), 2), 1).tolist() == [[1, 0], [-1, 0]]
