"""Tuning: recall@10 against exact search, and the search parameters that reach a target.

FAISS's own defaults (nprobe 1, no candidates to spare) lose half of the neighbours without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from imgret.indexes.exact import exact
from imgret.indexes.files import Index
from imgret.indexes.neighbours import others_of
from imgret.indexes.search import CANDIDATES, search
from imgret.indexes.structure import Structure
from imgret.ranking import Ranking

DEPTH = 10
QUERIES = 256
SAME = 1e-6  # a row that scores as high as the tenth neighbour is as good as it
_MOST_CANDIDATES = 64 * CANDIDATES


class Tuned(Protocol):
    """An index, undivided or in parts: see `Index` for what these are."""

    count: int

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def live_rows(self) -> np.ndarray: ...

    @property
    def structure(self) -> Structure: ...

    def vectors(self, rows: np.ndarray) -> np.ndarray: ...

    def with_parameters(self, parameters: dict[str, int]) -> Tuned: ...


def ranked(index: Index, queries: np.ndarray, query_ids: Sequence[str], k: int, *, exactly: bool = False) -> Ranking:
    """The k best rows of an undivided index for a few queries."""
    if not exactly:
        return search(index, queries, query_ids, k)
    found = list(exact(index, queries, query_ids, depth=k))
    rows, scores = (np.concatenate(parts) for parts in zip(*((one.rows, one.scores) for one in found), strict=True))
    return Ranking(query_ids, rows, scores, index.ids)


def measure_rows(index: Tuned, trained_on: np.ndarray, trained_count: int, seed: int) -> tuple[np.ndarray, bool]:
    """Live rows to query with, and whether none of them was trained on (where enough others are there).

    `trained_on` are the rows of the training sample, `trained_count` how many rows it was drawn from.
    """
    live = index.live_rows
    fresh = np.setdiff1d(live, trained_on)
    # Rows that training left out by chance speak for the collection. Rows that came later do not: they may
    # be of another kind altogether, so an updated index is measured on all of its rows.
    sampled = len(trained_on) < trained_count and len(index.ids) == trained_count
    held_out = len(trained_on) == 0 or (sampled and len(fresh) >= min(QUERIES, len(live)) / 2)
    pool = fresh if held_out else live
    rng = np.random.default_rng([seed, 1])
    return np.sort(rng.choice(pool, min(QUERIES, len(pool)), replace=False)), held_out


class Truth:
    """The exact neighbours of some rows of an index, themselves left out; `depth` is how many of each, at most 10.

    ranks  what searches: called as `ranked` is
    """

    def __init__(self, index: Tuned, rows: np.ndarray, ranks: Callable[..., Ranking] = ranked) -> None:
        self._rows = rows
        self._ranks = ranks
        self._queries = np.ascontiguousarray(index.vectors(rows))
        self._names = [""] * len(rows)
        self.depth = min(DEPTH, index.count - 1)
        scores = np.zeros(len(rows), np.float32)
        if self.depth:
            best = ranks(index, self._queries, self._names, self.depth + 1, exactly=True)
            scores = best.scores[others_of(rows, best.rows)].reshape(len(rows), -1)[:, -1]
        self._worst = scores

    def recall(self, index: Tuned) -> float | None:
        """Mean share of the 10 nearest others that the index finds; None where there are no others."""
        if not self.depth:
            return None
        found = self._ranks(index, self._queries, self._names, self.depth + 1)
        scores = found.scores[others_of(self._rows, found.rows)].reshape(len(self._rows), -1)
        return float((scores >= self._worst[:, None] - SAME).mean())


def tune(index: Tuned, truth: Truth, target: float) -> tuple[dict[str, int], float | None]:
    """The parameters of an index that reach the target, and the recall measured with them.

    "nprobe" is the number of lists visited, "candidates" of rows scored from half precision; the list of
    candidates that a graph is walked with (efSearch) is as long.
    """
    least, most = {}, {}
    if index.structure.lists:
        least["nprobe"], most["nprobe"] = 1, index.structure.lists
    if not (index.structure.flat or index.structure.listed):
        least["candidates"], most["candidates"] = candidate_range(index.count)
    if not truth.depth:
        return least, None
    return climb(least, most, lambda parameters: truth.recall(index.with_parameters(parameters)) or 0.0, target)


def candidate_range(count: int) -> tuple[int, int]:
    """The fewest and the most rows that are scored from half precision."""
    return CANDIDATES, min(max(CANDIDATES, 1 << (count - 1).bit_length()), _MOST_CANDIDATES)


def climb(
    least: dict[str, int], most: dict[str, int], measure: Callable[[dict[str, int]], float], target: float
) -> tuple[dict[str, int], float]:
    """Double the parameters, the more helpful one first, until the target is reached or nothing is left.

    Gives the parameters and what was measured with them.
    """
    best, recall = dict(least), measure(least)
    while recall < target:
        open_ones = [name for name in most if best[name] < most[name]]
        tries = [best | {name: min(2 * best[name], most[name])} for name in open_ones]
        if not tries:
            break
        measured = [measure(one) for one in tries]
        if max(measured) > recall:
            winner = int(np.argmax(measured))
            best, recall = tries[winner], measured[winner]
        elif len(tries) == 1:
            best, recall = tries[0], measured[0]
        else:  # neither helps alone
            best = {name: min(2 * best[name], most[name]) for name in most}
            recall = measure(best)
    return best, recall


def certificate(recall: float | None, queries: int, target: float, held_out: bool) -> dict[str, Any]:
    """What index.json says of the recall."""
    kind = "rows held out from training" if held_out else "rows, some of them trained on"
    return {
        "recall@10": recall,
        "queries": queries if recall is not None else 0,
        "target": target,
        "reached": recall is None or recall >= target,
        "how": f"{queries} sampled {kind}, each searched without itself, against exact search over all rows",
    }
