"""How sure a mean over queries is: other queries of the same kind would have given another mean."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

RESAMPLED_UP_TO = 2000  # queries; 10,000 resamples of them take a fifth of a second
_DRAWS = 1_000_000  # at a time: 16 MB


def interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """Bootstrap interval of the mean of Q values, one a query: (low, high), never outside their range.

    Queries are drawn again with replacement, `resamples` times, and the interval is what the middle `level` of the
    means span (percentile bootstrap). Above 2,000 queries the percentiles of those means are computed instead of
    drawn, from standard error and skewness: the same to a few percent of the interval's width, at once for any Q.
    The result depends on the values, their order and the seed alone. None for fewer than two values; for ten or
    fewer the interval is too narrow. ValueError for NaN or infinity, a level outside (0, 1) or no resamples.

    Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. The expansion: Cornish, Fisher (1938).
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"values must be [Q] finite numbers, got {list(values.shape)}")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level must be in (0, 1) and resamples at least 1, got {level} and {resamples}")
    if len(values) < 2:
        return None
    tails = ((1 - level) / 2, (1 + level) / 2)
    if len(values) > RESAMPLED_UP_TO:
        ends = [_percentile(values, tail) for tail in tails]
    else:
        ends = np.quantile(_resampled_means(values, resamples, seed), tails).tolist()
    # the sum of equal numbers may round to beyond them, and the expansion knows no bounds
    low, high = np.clip(ends, values.min(), values.max()).tolist()
    return low, high


def _resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means [resamples] of the values [Q] drawn with replacement."""
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(_DRAWS // len(values), 1)
    for start in range(0, resamples, step):
        part = means[start : start + step]
        part[:] = values[random.integers(0, len(values), (len(part), len(values)))].mean(axis=1)
    return means


def _percentile(values: np.ndarray, tail: float) -> float:
    """Percentile of the means of infinitely many resamples, to the second order in 1/sqrt(Q).

    mean + s/sqrt(Q) (z + (z^2 - 1) g / (6 sqrt(Q))), with s and g the standard deviation and skewness of the values.
    """
    mean, deviation = float(values.mean()), float(values.std())
    if not deviation:
        return mean
    skewness = float((((values - mean) / deviation) ** 3).mean())
    root = len(values) ** 0.5
    z = NormalDist().inv_cdf(tail)
    return mean + deviation / root * (z + (z * z - 1) * skewness / (6 * root))
