import numpy as np
import pytest
import torch

from imgret.training.batches.scenes import homography, laid_on


def test_a_homography_takes_four_points_to_four():
    points = np.array([(0, 0), (4, 0), (4, 2), (0, 2)], float)
    to = np.array([(1, 1), (3, 0), (5, 4), (0, 3)], float)
    a, b, c, d, e, f, g, h = homography(points, to)
    for (x, y), (u, v) in zip(points, to, strict=True):
        below = g * x + h * y + 1
        assert ((a * x + b * y + c) / below, (d * x + e * y + f) / below) == pytest.approx((u, v))


def test_a_view_lies_whole_and_smaller_on_its_backdrop():
    white, black = torch.full((3, 96, 96), 255, dtype=torch.uint8), torch.zeros(3, 96, 96, dtype=torch.uint8)
    shares = []
    for seed in range(30):
        laid = laid_on(white, black, np.random.default_rng(seed))
        assert laid.shape == white.shape
        assert laid.dtype == torch.uint8
        shares.append(float(laid.float().mean() / 255))
    # 0.5 to 0.9 of either side are 0.25 to 0.81 of the area, corners move it a little
    assert 0.15 < min(shares) < 0.4 < max(shares) < 0.95


def test_what_is_laid_down_depends_on_its_generator_alone():
    picture = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    first, again, other = (laid_on(picture, picture // 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
