"""The measures, each under the name of its definition: pure functions of the ranks of one query.

`ranks` are the 0-based places of the positives that were found, ascending, junk already taken out.
`n_positives` counts all positives of the ground truth, so those never found count as misses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Ranks = Sequence[int] | np.ndarray


def ranks_without_junk(positive_positions: Ranks, junk_positions: Ranks) -> np.ndarray:
    """Places of the positives in the ranking with its junk taken out: int64, ascending.

    Both inputs are 0-based places in the ranking as it was, in any order. Each positive moves up by the
    number of junk images strictly before it.
    """
    positives = np.sort(np.asarray(positive_positions, np.int64))
    junk = np.sort(np.asarray(junk_positions, np.int64))
    return positives - np.searchsorted(junk, positives)


def average_precision_trapezoid(ranks: Ranks, n_positives: int) -> float:
    """Average precision with trapezoids under the precision-recall curve, in [0, 1].

    AP = 1/P sum_j (before_j + (j+1)/(r_j+1)) / 2, where before_j = j/r_j is the precision just before the
    positive, and 1 at rank 0. The definition of Oxford, Paris, their revisited versions and Holidays.
    ValueError for fewer than one positive.

    Philbin et al., "Object retrieval with large vocabularies and fast spatial matching" (CVPR 2007).
    """
    r, j = _checked(ranks, n_positives)
    before = np.where(r == 0, 1.0, j / np.maximum(r, 1))
    return float(((before + (j + 1) / (r + 1)) / 2).sum() / n_positives)


def average_precision_finite(ranks: Ranks, n_positives: int) -> float:
    """Average precision as a finite sum, AP = 1/P sum_j (j+1)/(r_j+1), in [0, 1].

    The definition of Google Landmarks and of metric learning; never below the trapezoids, and equal only
    when all positives found come first. ValueError for fewer than one positive.
    """
    r, j = _checked(ranks, n_positives)
    return float(((j + 1) / (r + 1)).sum() / n_positives)


def precision_at_k(ranks: Ranks, k: int) -> float:
    """Share of positives among the first k places, in [0, 1]. Places beyond a short ranking are misses."""
    return _within(ranks, k) / k


def precision_at_k_revisitop(ranks: Ranks, k: int) -> float:
    """Share of positives among the first min(k, place of the last positive found), in [0, 1].

    So a query with two positives, both first, has precision 1 at 10. 0 when no positive was found, where
    the official code fails. Radenović et al., "Revisiting Oxford and Paris" (arXiv:1803.11285).
    """
    if not len(ranks):
        return precision_at_k(ranks, k)
    return precision_at_k(ranks, min(int(max(ranks)) + 1, k))


def recall_at_k(ranks: Ranks, k: int) -> float:
    """1.0 when a positive stands in the first k places, else 0.0.

    Its mean over queries is the R@k of metric learning: the share of queries with a hit. It is not the
    share of positives found.
    """
    return float(_within(ranks, k) > 0)


def _within(ranks: Ranks, k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return int(np.count_nonzero(np.asarray(ranks) < k))


def _checked(ranks: Ranks, n_positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks r_j and their numbers j = 0, 1, ..."""
    if n_positives < 1 or len(ranks) > n_positives:
        raise ValueError(f"{len(ranks)} ranks of {n_positives} positives; at least one positive is needed")
    return np.asarray(ranks, np.int64), np.arange(len(ranks))
