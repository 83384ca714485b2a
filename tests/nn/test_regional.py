"""Regional-GeM against its formula, cell by cell in float64 (arXiv:2308.06954)."""

import numpy as np
import pytest
import torch

from imgret.nn.pooling import gem
from imgret.nn.regional import RegionalGeM, regional_gem


def positive(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def place(index, length, reflect):
    """Where a cell outside 0..length - 1 is read from."""
    if not reflect:
        return min(max(index, 0), length - 1)
    index = abs(index)
    return index if index < length else 2 * (length - 1) - index


def slow(x, p=2.5, side=5):
    """(R + x) / 2 by loops over cells and their neighbourhoods."""
    x = x.numpy()
    found, half = np.zeros_like(x), side // 2
    _, _, height, width = x.shape
    for b, c, i, j in np.ndindex(*x.shape):
        total = 0.0
        for di in range(-half, half + 1):
            for dj in range(-half, half + 1):
                row = place(i + di, height, height > half)
                column = place(j + dj, width, width > half)
                total += max(x[b, c, row, column], 1e-6) ** p
        found[b, c, i, j] = 0.5 * (total / side**2) ** (1 / p) + 0.5 * x[b, c, i, j]
    return found


@pytest.mark.parametrize(("p", "side"), [(2.5, 5), (1.0, 3), (7.0, 5)])
def test_every_cell_takes_in_its_neighbourhood(p, side):
    x = positive(2, 3, 6, 9)
    assert regional_gem(x, p, side).numpy() == pytest.approx(slow(x, p, side), rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 7), (7, 2), (2, 3), (3, 3)])
def test_an_axis_too_short_to_be_reflected_repeats_its_border_cells(size):
    """side 5 reflects 2 cells, which an axis of 1 or 2 has not."""
    x = positive(1, 2, *size)
    assert regional_gem(x).numpy() == pytest.approx(slow(x), rel=1e-9)


def test_an_even_map_stays_as_it_is():
    # every mean of equal cells is that cell
    x = torch.full((1, 2, 4, 5), 0.7, dtype=torch.float64)
    assert regional_gem(x).numpy() == pytest.approx(0.7)


def test_negative_cells_count_as_off():
    x = positive(1, 1, 4, 4)
    x[0, 0, 1, 1] = -5.0
    off = x.clone()
    off[0, 0, 1, 1] = 1e-6
    assert torch.equal(regional_gem(x), regional_gem(off))


def test_half_precision_is_raised_and_large_values_do_not_overflow():
    # 60000^20 is beyond float32; an even map of it is itself
    x = torch.full((1, 1, 4, 4), 60000.0, dtype=torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        found = regional_gem(x, 20.0)
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(60000.0, rel=1e-5)


def test_the_pool_is_gem_of_that_map():
    x = positive(2, 3, 6, 9).float()
    found = RegionalGeM(4.6, 1e-8, 2.5, 5)(x).detach()
    assert found.numpy() == pytest.approx((slow(x.double()) ** 4.6).mean((2, 3)) ** (1 / 4.6), rel=1e-5)
    assert not torch.allclose(found, gem(x, 4.6))


def test_where_the_pooled_vector_comes_from_sums_to_one():
    share = RegionalGeM(3.0, 1e-6, 2.5, 5).share(positive(2, 3, 6, 9).float()).detach()
    assert share.shape == (2, 6, 9)
    assert share.sum((1, 2)).numpy() == pytest.approx(1, abs=1e-5)


def test_the_parts_of_the_pooled_vector_sum_to_it():
    pool, x = RegionalGeM(3.0, 1e-6, 2.5, 5), positive(2, 3, 6, 9)
    torch.testing.assert_close(pool.parts(x).sum((2, 3)), pool(x))


@pytest.mark.parametrize("wrong", [{"side": 4}, {"side": -1}])
def test_a_side_without_a_middle_is_a_callers_bug(wrong):
    with pytest.raises(ValueError, match="side odd"):
        regional_gem(positive(1, 1, 6, 6), **wrong)
    with pytest.raises(ValueError, match=r"must be \[B, C, H, W\]"):
        regional_gem(positive(1, 6, 6))
