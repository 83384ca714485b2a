"""Fuzzy: how strongly every image belongs with its nearest, the weighted graph that a map is laid out from."""

from __future__ import annotations

import numpy as np
from scipy import sparse

SAME = 1e-6
"""Distance below which two descriptors are equal: what float32 leaves of 1 - cosine for copies."""
_NARROWEST = 1e-3  # bandwidth, as a share of the mean distance; as in the authors' code
_STEPS = 64  # of the bisection, enough for the last bit


def memberships(cosines: np.ndarray, there: np.ndarray) -> np.ndarray:
    """[N, k] float64 in [0, 1]: exp(-(d - rho) / sigma) of the distances d = 1 - cosine, 1 for the nearest.

    cosines  [N, k] of every row's nearest others, in any order
    there    [N, k] bool, False where there is no neighbour; its membership is 0

    rho is the distance of a row's nearest that is no copy of it (`SAME`), so copies have membership 1, and sigma is
    found by bisection so that a row's memberships sum to log2(n + 1), with n its neighbours. Where so many are copies
    that no sigma does, and for distances that are nearly equal, sigma is a thousandth of the mean distance.

    McInnes, Healy, Melville, "UMAP" (arXiv:1802.03426), algorithm 3; like the authors' code a row counts itself, hence
    n + 1.
    """
    distances = np.where(there, 1 - cosines.astype(np.float64), np.inf)
    distances[distances <= SAME] = 0
    rho = np.where(distances > 0, distances, np.inf).min(1, initial=np.inf)
    beyond = np.maximum(distances - np.where(np.isfinite(rho), rho, 0)[:, None], 0)
    number = there.sum(1)
    narrowest = _NARROWEST * np.where(there, distances, 0).sum(1) / np.maximum(1, number)
    sigma = np.maximum(_bandwidths(beyond, np.log2(number + 1)), narrowest)
    return np.where(there, _within(beyond, sigma), 0)


def fuzzy_graph(neighbours: np.ndarray, cosines: np.ndarray) -> sparse.csr_array:
    """W [N, N] float64, symmetric, in [0, 1]: P + P^T - P o P^T, with P the memberships.

    neighbours  [N, k] integers, each at most once in a row; -1 for none, and a row's own number counts as none
    cosines     [N, k] float32, those of the neighbours

    The probability that at least one of two edges exists is their probabilistic union. An image without neighbours
    that nobody has among its own has an empty row.

    McInnes, Healy, Melville, "UMAP" (arXiv:1802.03426), section 3.1.
    """
    count = len(neighbours)
    there = (neighbours >= 0) & (neighbours != np.arange(count)[:, None])
    weights = memberships(cosines, there)
    rows = np.nonzero(there)[0]
    directed = sparse.csr_array((weights[there], (rows, neighbours[there])), shape=(count, count))
    turned = sparse.csr_array(directed.T)
    return sparse.csr_array(directed + turned - directed * turned)


def _within(beyond: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    # sigma may be as small as there are numbers, and the quotient infinite: exp(-inf) = 0 is what is meant
    with np.errstate(over="ignore", under="ignore"):
        return np.where(beyond > 0, np.exp(-beyond / np.maximum(sigma, np.finfo(np.float64).tiny)[:, None]), 1.0)


def _bandwidths(beyond: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[N] sigma for which each row of exp(-beyond / sigma) sums to its target; near 0 where none does."""
    low, high, sigma = np.zeros(len(beyond)), np.full(len(beyond), np.inf), np.ones(len(beyond))
    for _ in range(_STEPS):
        over = _within(beyond, sigma).sum(1) > target
        high, low = np.where(over, sigma, high), np.where(over, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    return sigma
