"""Query expansion: a query joined by what it found, to search again with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imgret.rerank.chain import Searched

_BOX = re.compile(r"#[-\d.]+(,[-\d.]+){3}$")


def expanded(query: np.ndarray, neighbours: np.ndarray, alpha: float) -> np.ndarray:
    """q' = L2(q + sum_j max(q.x_j, 0)^alpha x_j): [D] and its nearest [K, D] -> [D], unit length.

    alpha = 0 weighs every neighbour 1, those of negative similarity too: average query expansion. No
    neighbours give the query itself, and so does a sum of zero length.

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512);
    average: Chum et al., "Total recall" (ICCV 2007).
    """
    if not len(neighbours):
        return query
    weights = np.maximum(neighbours @ query, 0) ** alpha  # 0^0 = 1
    total = query + weights @ neighbours
    length = np.linalg.norm(total)
    return (total / length).astype(query.dtype) if length > 1e-12 else query


def is_own(query_id: str, found_id: str) -> bool:
    """Whether a database image is the query's: the same id, or the same but for the query's box."""
    return found_id in (query_id, _BOX.sub("", query_id))


class QueryExpansion:
    """The stage `aqe`. Unlike the others it gives no order but a query, and the chain searches anew."""

    def __init__(self, parameters: Mapping[str, float], searched: Searched) -> None:
        self._k = int(parameters["k"])
        self._alpha = parameters["alpha"]
        self._searched = searched
        # The query's own image is no neighbour, and it may be there twice: whole, and as the same crop.
        self.depth = self._k + 2 if self._k else 0

    def expand(self, query: np.ndarray, query_id: str, rows: np.ndarray, database: Sequence[str]) -> np.ndarray:
        """The new query [D] from the rows of the old one's line, best first, without padding."""
        others = [row for row in rows[: self.depth].tolist() if not is_own(query_id, database[row])]
        if not others[: self._k]:
            return query
        return expanded(query, self._searched.vectors(np.array(others[: self._k])), self._alpha)
