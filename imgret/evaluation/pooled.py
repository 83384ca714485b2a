"""Measures of the pairs of all queries in one ranking: micro-AP of copy detection, GAP of recognition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imgret.evaluation import metrics
from imgret.evaluation.database import Line
from imgret.evaluation.variants import Places

MOST_PAIRS = 500_000
"""Pairs that count, the best of all queries together: what the challenge of 2021 accepted."""


class Pairs(NamedTuple):
    """The (query, image) pairs of one query that may count; its own image and junk are no pairs.

    scores, correct  [K] of the pairs
    ranks            of the true pairs among the pairs of the query, equal scores against them
    first            score of its best pair and whether it is right; None where nothing was found
    n_true           pairs in the ground truth
    """

    scores: np.ndarray
    correct: np.ndarray
    ranks: np.ndarray
    first: tuple[float, bool] | None
    n_true: int


class PairFilter:
    """Keeps of each line the pairs that can be among the best `limit` of all, so that memory stays bounded."""

    def __init__(self, limit: int = MOST_PAIRS) -> None:
        self._limit = limit
        self._floor = -np.inf
        self._seen: list[np.ndarray] = []
        self._held = 0

    def take(self, line: Line, places: Places, n_positives: int) -> Pairs:
        """The pairs of one line."""
        correct = np.zeros(len(line.rows), bool)
        correct[places.positives] = True
        counts = np.ones(len(line.rows), bool)
        counts[places.junk] = False
        if places.own >= 0:
            counts[places.own] = False
        scores, correct = line.scores[counts], correct[counts]
        ranks = np.searchsorted(-scores, -scores[correct], "right") - 1
        first = (float(scores[0]), bool(correct[0])) if len(scores) else None
        kept = scores >= self._floor
        scores, correct = scores[kept], correct[kept]
        self._raise_floor(scores)
        return Pairs(scores, correct, ranks, first, n_positives)

    def _raise_floor(self, scores: np.ndarray) -> None:
        self._seen.append(scores)
        self._held += len(scores)
        if self._held > 2 * self._limit:
            best = np.sort(np.concatenate(self._seen))[-self._limit :]
            self._seen, self._held, self._floor = [best], len(best), float(best[0])


def copy_detection(pairs: Sequence[Pairs], limit: int = MOST_PAIRS) -> dict[str, float | int | None]:
    """micro_ap and recall@p90 of the best `limit` pairs, recall@rank1 and recall@rank10 of the true ones."""
    n_true = sum(each.n_true for each in pairs)
    names = ("micro_ap", "recall@p90", "recall@rank1", "recall@rank10")
    if not n_true:
        return {**dict.fromkeys(names), "pairs": 0}
    scores = np.concatenate([each.scores for each in pairs])
    correct = np.concatenate([each.correct for each in pairs])
    if len(scores) > limit:  # wrong pairs stay where scores at the limit are equal
        kept = np.lexsort((correct, -scores))[:limit]
        scores, correct = scores[kept], correct[kept]
    ranks = np.concatenate([each.ranks for each in pairs])
    return {
        "micro_ap": metrics.micro_average_precision(scores, correct, n_true),
        "recall@p90": metrics.recall_at_precision(scores, correct, n_true),
        "recall@rank1": int((ranks < 1).sum()) / n_true,
        "recall@rank10": int((ranks < 10).sum()) / n_true,
        "pairs": len(scores),
    }


def recognition(queries: Sequence[str], pairs: Sequence[Pairs]) -> dict[str, float | int | None]:
    """gap of the first answer of every query, and how many queries were answered."""
    answered = [(name, *each.first) for name, each in zip(queries, pairs, strict=True) if each.first is not None]
    n_true = sum(each.n_true > 0 for each in pairs)
    if not n_true:
        return {"gap": None, "predictions": len(answered)}
    names, scores, correct = zip(*answered, strict=True) if answered else ((), (), ())
    gap = metrics.global_average_precision(np.array(scores), np.array(correct, bool), names, n_true)
    return {"gap": gap, "predictions": len(answered)}
