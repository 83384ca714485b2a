"""Fit a whitening: PCA with shrinkage from moments, learned whitening from matching pairs.

Rows are descriptors here and columns in the papers. `eigh` and not `eig`: a covariance is symmetric, and the
general solver may give complex or unsorted values for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imgret.errors import WhiteningError
from imgret.whitening.moments import Moments, PairMoments

FIRST_ALPHA = 1e-10
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Fit:
    """A fitted projection y = P (x - mean), and what there is to say of it.

    mean        [D] float64
    projection  [d, D] float64, the P above; the first row has the largest eigenvalue
    rank        directions, of D, that what was fitted varies in: the descriptors (PCA), or the differences of
                pairs (learned); of the others the variance is at most `floor`
    floor       variance that counts as none, see `noise_floor`
    alpha       added to the diagonal of S so that it could be factorised; 0.0 where it could without
    variance    share of the variance that the d directions keep: of the descriptors (PCA), or of the descriptors
                once the differences of pairs are whitened (learned)
    """

    mean: np.ndarray
    projection: np.ndarray
    rank: int
    floor: float
    alpha: float
    variance: float


def noise_floor(largest: float, dim: int, dtype: np.dtype) -> float:
    """Variance that a direction must exceed to count, for unit rows [N, dim] that are stored as `dtype`.

    The larger of what rounding alone may give a direction, eps^2 / dim with eps the relative step of `dtype`
    (2^-11 for float16, 2^-24 for float32), and of what float64 leaves of the largest eigenvalue, dim * 2^-52 of it.
    Dividing by the root of less would blow up noise to the size of the signal.
    """
    eps = float(np.finfo(dtype).eps) / 2
    return max(eps**2 / dim, dim * _EPS * largest)


def pca(moments: Moments, *, power: float = 1.0, dim: int | None = None, dtype: np.dtype | None = None) -> Fit:
    """PCA with shrinkage: mean, Cov = scatter / N = E Lambda E^T, P = Lambda^(-power/2) E^T, first `dim` rows.

    power 1 is full whitening, 0 a rotation; 0.5 divides by the fourth root, the default of Revaud et al.'s code.
    Directions that do not vary (see `noise_floor`; `dtype` is that of the stored rows, float32) are dropped where
    they would be divided by, that is unless power is 0. Each row of P has its largest entry positive.

    WhiteningError for fewer than two rows, rows that are all equal, or a `dim` that is not to be had.

    Jégou, Chum, "Negative evidences and co-occurrences in image retrieval" (ECCV 2012); shrinkage as in the code of
    Tolias, Jenicek, Chum, "Learning and aggregating deep local descriptors" (arXiv:2007.13172).
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power must lie between 0 and 1, got {power}")
    if moments.count < 2:
        raise WhiteningError(f"whitening needs two descriptors or more, there are {moments.count}")
    wide = len(moments.mean)
    values, vectors = _sorted_eigh(moments.scatter / moments.count)
    floor = noise_floor(values[0], wide, dtype or np.dtype(np.float32))
    rank = int((values > floor).sum())
    if not rank:
        raise WhiteningError(f"all {moments.count:,} descriptors are equal, so there is nothing to whiten")
    kept = _kept(dim, wide if power == 0 else rank, wide)
    weights = np.ones(kept) if power == 0 else values[:kept] ** (-power / 2)
    positive = values.clip(min=0)
    return Fit(
        mean=moments.mean.copy(),
        projection=weights[:, None] * vectors[:, :kept].T,
        rank=rank,
        floor=floor,
        alpha=0.0,
        variance=float(positive[:kept].sum() / positive.sum()),
    )


def learned(moments: Moments, pairs: PairMoments, *, dim: int | None = None, dtype: np.dtype | None = None) -> Fit:
    """Learned whitening: in the space where the differences of matching pairs are white, PCA of all descriptors.

        mu = mean of the query side;  S = (1/n) sum (q - p)(q - p)^T = L L^T;  P1 = L^-1
        Dm = P1 [sum (x - mu)(x - mu)^T] P1^T over all rows = E Lambda E^T, largest first;  P = E^T P1

    and the first `dim` rows of P. S must be positive definite, which takes at least D pairs; where it is not,
    alpha I is added, alpha = 1e-10 and then ten times more until it is. A pivot of L that is mere rounding
    (D 2^-52 of the largest) counts as a failure too. Each row of P has its largest entry positive.

    WhiteningError without pairs, for pairs that do not differ, or a `dim` above D.

    Mikolajczyk, Matas, "Improving descriptors for fast tree matching by optimal linear projection" (ICCV 2007), as in
    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512).
    """
    if not pairs.count:
        raise WhiteningError("there is no matching pair to learn from")
    wide = len(moments.mean)
    kept = _kept(dim, wide, wide)
    differences = pairs.differences
    spread = np.linalg.eigvalsh(differences)
    floor = noise_floor(spread[-1], wide, dtype or np.dtype(np.float32))
    rank = int((spread > floor).sum())
    if not rank:
        raise WhiteningError(
            f"the two descriptors of each of the {pairs.count:,} pairs are equal: nothing to learn from"
        )
    lower, alpha = _cholesky(differences)
    first = np.linalg.solve(lower, np.eye(wide))  # P1
    values, vectors = _sorted_eigh(first @ moments.scatter_about(pairs.query_mean) @ first.T)
    positive = values.clip(min=0)
    return Fit(
        mean=pairs.query_mean,
        projection=_turned((vectors.T @ first)[:kept]),
        rank=rank,
        floor=floor,
        alpha=alpha,
        variance=float(positive[:kept].sum() / positive.sum()),
    )


def _sorted_eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [D], largest first, and the eigenvectors in the columns of [D, D], of a symmetric matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return values[::-1], _turned(vectors[:, ::-1].T).T


def _turned(rows: np.ndarray) -> np.ndarray:
    """Rows with the sign that makes their largest entry positive: an eigenvector has none of its own."""
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    return np.where(largest < 0, -rows, rows)


def _cholesky(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The lower factor of matrix + alpha I, and the alpha that it took."""
    wide = len(matrix)
    alpha = 0.0
    while True:
        try:
            lower = np.linalg.cholesky(matrix + alpha * np.eye(wide))
            pivots = np.diagonal(lower) ** 2
            if pivots.min() > wide * _EPS * pivots.max():
                return lower, alpha
        except np.linalg.LinAlgError:
            pass
        alpha = 10 * alpha or FIRST_ALPHA


def _kept(asked: int | None, most: int, wide: int) -> int:
    """Directions to keep; WhiteningError when more are asked for than there are."""
    if asked is None:
        return most
    if asked < 1:
        raise ValueError(f"dim must be at least 1, got {asked}")
    if asked > wide:
        raise WhiteningError(f"--dim {asked} is more than the {wide} dimensions of the descriptors")
    if asked > most:
        raise WhiteningError(
            f"--dim {asked} is more than the {most} directions that the descriptors vary in; "
            f"ask for {most} at most, or fit on more images"
        )
    return asked
