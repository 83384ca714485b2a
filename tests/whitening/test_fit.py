from __future__ import annotations

import numpy as np
import pytest

from imgret.errors import WhiteningError
from imgret.whitening.fit import FIRST_ALPHA, learned, noise_floor, pca
from imgret.whitening.moments import Moments, PairMoments
from tests.whitening import slow

HALF = np.dtype(np.float16)


def unit_rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """[count, dim] float64 unit rows, longer in some directions than in others and not around zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, dim)) * np.linspace(1, 0.2, dim) @ rng.standard_normal((dim, dim)) + 0.5
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def moments_of(rows: np.ndarray, step: int | None = None) -> Moments:
    made = Moments(rows.shape[1])
    for start in range(0, len(rows), step or len(rows)):
        made.add(rows[start : start + (step or len(rows))])
    return made


def pair_moments(queries: np.ndarray, positives: np.ndarray) -> PairMoments:
    made = PairMoments(queries.shape[1])
    made.add(queries, positives)
    return made


def same_rows(found: np.ndarray, expected: np.ndarray, rel: float = 1e-9) -> None:
    """Equal but for the sign of each row, which an eigenvector does not have."""
    signs = np.sign((found * expected).sum(1))
    np.testing.assert_allclose(found, signs[:, None] * expected, rtol=rel, atol=rel * np.abs(expected).max())


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0, 0.3])
def test_pca_is_the_loop_over_numbers(power):
    rows = unit_rows(30, 4)
    mean, projection = slow.pca(rows.tolist(), power)
    fit = pca(moments_of(rows), power=power)
    np.testing.assert_allclose(fit.mean, mean, rtol=1e-13)
    same_rows(fit.projection, np.array(projection))


def test_learned_whitening_is_the_loop_over_numbers():
    rows = unit_rows(30, 4)
    pairs = [(q, p) for q in range(0, 20, 2) for p in (q + 1, q + 3)]
    mean, projection = slow.learned(rows.tolist(), pairs)
    queries, positives = np.array(pairs).T
    fit = learned(moments_of(rows), pair_moments(rows[queries], rows[positives]))
    np.testing.assert_allclose(fit.mean, mean, rtol=1e-13)
    same_rows(fit.projection, np.array(projection))
    assert (fit.alpha, fit.rank) == (0.0, 4)


def test_pca_of_four_points_by_hand():
    # (+-3, 0) and (0, +-1) around (5, 5): variances (9 + 9) / 4 = 4.5 and (1 + 1) / 4 = 0.5 along the axes
    rows = np.array([[8.0, 5], [2, 5], [5, 6], [5, 4]])
    fit = pca(moments_of(rows))
    np.testing.assert_allclose(fit.mean, [5, 5])
    np.testing.assert_allclose(fit.projection, [[1 / np.sqrt(4.5), 0], [0, 1 / np.sqrt(0.5)]], atol=1e-12)
    assert pca(moments_of(rows), dim=1).variance == pytest.approx(0.9)  # 4.5 / (4.5 + 0.5)
    # the fourth root: 4.5^(-1/4)
    assert pca(moments_of(rows), power=0.5).projection[0, 0] == pytest.approx(4.5**-0.25)


def test_whitened_descriptors_have_covariance_one():
    rows = unit_rows(500, 16)
    fit = pca(moments_of(rows))
    y = (rows - fit.mean) @ fit.projection.T
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(16), atol=1e-9)


def test_a_rotation_changes_no_distance():
    rows = unit_rows(60, 8)
    fit = pca(moments_of(rows), power=0)
    y = (rows - fit.mean) @ fit.projection.T
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(y[:, None] - y[None], axis=-1), apart, atol=1e-12)


def test_differences_of_pairs_have_covariance_one_and_descriptors_are_uncorrelated():
    rows = unit_rows(400, 12)
    queries, positives = rows[:200], rows[200:]
    fit = learned(moments_of(rows), pair_moments(queries, positives))
    apart = (queries - positives) @ fit.projection.T
    np.testing.assert_allclose(apart.T @ apart / 200, np.eye(12), atol=1e-8)
    y = (rows - fit.mean) @ fit.projection.T
    scatter = y.T @ y
    np.testing.assert_allclose(scatter - np.diag(np.diag(scatter)), 0, atol=1e-7 * scatter.max())
    assert (np.diff(np.diag(scatter)) <= 0).all()


def test_fewer_dimensions_are_the_first_of_all():
    rows = unit_rows(300, 10)
    pairs = pair_moments(rows[:150], rows[150:])
    assert np.array_equal(pca(moments_of(rows), dim=4).projection, pca(moments_of(rows)).projection[:4])
    every = learned(moments_of(rows), pairs)
    few = learned(moments_of(rows), pairs, dim=4)
    assert np.array_equal(few.projection, every.projection[:4])
    assert 0.4 < few.variance < every.variance == pytest.approx(1)


def test_the_largest_entry_of_a_row_is_positive():
    rows = unit_rows(200, 8)
    for fit in (pca(moments_of(rows)), learned(moments_of(rows), pair_moments(rows[:100], rows[100:]))):
        largest = np.abs(fit.projection).argmax(1)
        assert (fit.projection[np.arange(8), largest] > 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_fewer_descriptors_than_dimensions_span_one_direction_less_than_there_are(dtype):
    rows = unit_rows(9, 64).astype(dtype)
    fit = pca(moments_of(rows), dtype=np.dtype(dtype))
    assert fit.rank == 8
    assert fit.projection.shape == (8, 64)
    y = (rows - fit.mean) @ fit.projection.T
    np.testing.assert_allclose(y.T @ y / 9, np.eye(8), atol=1e-6)
    # a rotation divides by nothing, so it need not drop anything
    assert pca(moments_of(rows), power=0, dtype=np.dtype(dtype)).projection.shape == (64, 64)


def test_a_direction_that_only_rounding_varies_in_does_not_count():
    # the last number is a sum of others; in half precision it is one but for rounding
    rows = unit_rows(400, 15)
    rows = np.concatenate([rows, rows[:, :3].sum(1, keepdims=True)], 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert pca(moments_of(rows)).rank == 15
    stored = rows.astype(np.float16)
    assert pca(moments_of(stored), dtype=HALF).rank == 15
    # without knowing of half precision, noise would be whitened as if it were signal
    assert pca(moments_of(stored), dtype=np.dtype(np.float32)).rank == 16


def test_the_floor_is_what_rounding_leaves():
    assert noise_floor(0.1, 512, HALF) == 2**-22 / 512
    assert noise_floor(0.1, 512, np.dtype(np.float32)) == pytest.approx(0.1 * 512 * 2**-52)


def test_alpha_is_the_first_power_of_ten_that_lets_s_be_factorised():
    rows = unit_rows(40, 16)
    few = pair_moments(rows[:6], rows[6:12])  # six differences in sixteen dimensions
    fit = learned(moments_of(rows), few)
    assert (fit.alpha, fit.rank) == (FIRST_ALPHA, 6)
    apart = (rows[:6] - rows[6:12]) @ fit.projection.T
    # P (S + alpha I) P^T = I, so the six directions that S has are whitened as well as without alpha
    values = np.linalg.eigvalsh(apart.T @ apart / 6)
    np.testing.assert_allclose(values[-6:], 1, atol=1e-6)
    np.testing.assert_allclose(values[:-6], 0, atol=1e-6)
    # of a matrix a million times as large, float64 cannot tell 1e-10 nor 1e-9 from nothing:
    # 16 * 2^-52 of the largest pivot is some 1e-9
    large = learned(moments_of(1000 * rows), pair_moments(1000 * rows[:6], 1000 * rows[6:12]))
    assert large.alpha in (1e-9, 1e-8)


@pytest.mark.parametrize("count", [0, 1])
def test_one_descriptor_is_too_few(count):
    with pytest.raises(WhiteningError, match=f"two descriptors or more, there are {count}"):
        pca(moments_of(unit_rows(2, 4)[:count]) if count else Moments(4))


def test_equal_descriptors_are_nothing_to_whiten():
    same = np.repeat(unit_rows(1, 8), 20, 0).astype(np.float16)
    for power in (0, 1):
        with pytest.raises(WhiteningError, match="all 20 descriptors are equal"):
            pca(moments_of(same), power=power, dtype=HALF)
    rows = unit_rows(20, 8)
    with pytest.raises(WhiteningError, match="of each of the 20 pairs are equal"):
        learned(moments_of(rows), pair_moments(rows, rows))
    with pytest.raises(WhiteningError, match="no matching pair"):
        learned(moments_of(rows), PairMoments(8))


def test_more_dimensions_than_there_are_cannot_be_asked_for():
    rows = unit_rows(6, 8)
    with pytest.raises(WhiteningError, match=r"--dim 6 is more than the 5 directions .* ask for 5 at most"):
        pca(moments_of(rows), dim=6)
    assert pca(moments_of(rows), dim=6, power=0).projection.shape == (6, 8)
    for fit in (pca, lambda moments, dim: learned(moments, pair_moments(rows[:3], rows[3:]), dim=dim)):
        with pytest.raises(WhiteningError, match="--dim 9 is more than the 8 dimensions"):
            fit(moments_of(rows), dim=9)
        with pytest.raises(ValueError, match="at least 1"):
            fit(moments_of(rows), dim=0)


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan")])
def test_a_power_outside_0_and_1_is_a_callers_mistake(power):
    with pytest.raises(ValueError, match="between 0 and 1"):
        pca(moments_of(unit_rows(9, 4)), power=power)
