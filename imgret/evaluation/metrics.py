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
    if not len(junk_positions):
        return positives
    return positives - np.searchsorted(np.sort(np.asarray(junk_positions, np.int64)), positives)


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


def average_precision_at_k(ranks: Ranks, n_positives: int, k: int) -> float:
    """Finite-sum average precision of the first k places, over the positives that fit into them, in [0, 1].

    AP@k = 1/min(P, k) sum over r_j < k of (j+1)/(r_j+1): the mAP@100 of Google Landmarks (its k is 100). Where all P
    are divided by, it is `average_precision_finite` of the ranks below k. ValueError for fewer than one positive.

    Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2" (arXiv:2004.01804), section 5.
    """
    r, j = _checked(ranks, n_positives)
    within = r < k
    return float(((j + 1) / (r + 1))[within].sum() / min(n_positives, k)) if _within(ranks, k) else 0.0


def r_precision(ranks: Ranks, n_positives: int) -> float:
    """Share of positives among the first R places, R the number of all positives, in [0, 1]. ValueError for R < 1."""
    _checked(ranks, n_positives)
    return precision_at_k(ranks, n_positives)


def map_at_r(ranks: Ranks, n_positives: int) -> float:
    """MAP@R of one query: 1/R sum over r_j < R of (j+1)/(r_j+1), R the number of all positives, in [0, 1].

    Musgrave, Belongie, Lim, "A metric learning reality check" (arXiv:2003.08505), eq. 3.
    """
    return average_precision_at_k(ranks, n_positives, n_positives)


def n_s_score(ranks: Ranks, with_self: bool = True) -> float:
    """Images of the query's group among the first four, 0 to 4; the query itself is in the database and counts.

    Where a search left it out, `with_self` False, it is one of those among the first three, and itself.

    Nister, Stewenius, "Scalable recognition with a vocabulary tree" (CVPR 2006): its mean over UKBench is their score.
    """
    return float(_within(ranks, 4) if with_self else _within(ranks, 3) + 1)


def first_place(ranks: Ranks, k: int) -> int:
    """1-based place of the first positive among the first k, k + 1 where there is none: Google Landmarks' position."""
    return int(min(min(ranks, default=k), k)) + 1


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


def precision_recall(ranks: Ranks, n_positives: int, levels: np.ndarray) -> np.ndarray:
    """Interpolated precision at rising levels of recall: the best precision at that recall or a higher one, [L].

    0 at levels that the positives found do not reach. ValueError for fewer than one positive.
    """
    r, j = _checked(ranks, n_positives)
    best = np.maximum.accumulate(((j + 1) / (r + 1))[::-1])[::-1]  # highest precision from this positive on
    needed = np.maximum(np.ceil(levels * n_positives - 1e-9).astype(np.int64), 1)
    return np.append(best, 0.0)[np.minimum(needed - 1, len(best))]


def global_average_precision(scores: np.ndarray, correct: np.ndarray, ids: Sequence[str], n_true: int) -> float:
    """GAP, or micro-AP, of one prediction an image over all images together, in [0, 1].

    GAP = 1/M sum_i precision(i) correct(i), predictions in order of falling score, equal ones in order of image id;
    M = `n_true`, the images that have an answer. A prediction for an image without one lowers precision. ValueError
    for M < 1. The recognition measure of Google Landmarks (arXiv:2004.01804, section 5).
    """
    order = np.lexsort((np.asarray(ids, object).astype(str), -np.asarray(scores, np.float64)))
    return average_precision_finite(np.flatnonzero(np.asarray(correct, bool)[order]), n_true)


def micro_average_precision(scores: np.ndarray, correct: np.ndarray, n_true: int) -> float:
    """Average precision of the (query, image) pairs of all queries in one ranking by score, in [0, 1].

    Of equal scores the wrong pairs stand first, so ties never help. `n_true` counts the pairs of the ground truth,
    found or not. Douze et al., "The 2021 image similarity dataset and challenge" (arXiv:2106.09672), section 4.
    """
    return average_precision_finite(np.flatnonzero(_pessimistic(scores, correct)), n_true)


def recall_at_precision(scores: np.ndarray, correct: np.ndarray, n_true: int, precision: float = 0.9) -> float | None:
    """The largest recall of pooled pairs at which precision is still that high; None if it never is.

    Order as in `micro_average_precision` (arXiv:2106.09672, section 4: recall at precision 90).
    """
    hits = np.cumsum(_pessimistic(scores, correct))
    reached = hits[hits / np.arange(1, len(hits) + 1) >= precision] if len(hits) else hits
    return float(reached.max() / n_true) if len(reached) else None


def _pessimistic(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """`correct` in order of falling score, wrong pairs first among equals."""
    correct = np.asarray(correct, bool)
    return correct[np.lexsort((correct, -np.asarray(scores, np.float64)))]


def _within(ranks: Ranks, k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return int(np.count_nonzero(np.asarray(ranks) < k)) if len(ranks) else 0


def _checked(ranks: Ranks, n_positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks r_j and their numbers j = 0, 1, ..."""
    if n_positives < 1 or len(ranks) > n_positives:
        raise ValueError(f"{len(ranks)} ranks of {n_positives} positives; at least one positive is needed")
    return np.asarray(ranks, np.int64), np.arange(len(ranks))
