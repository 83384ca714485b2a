"""Hard negatives for tuples, mined over a pool of images as for retrieval-SfM-120k."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SCORES_AT_ONCE = 2**26  # 256 MiB of float32


@torch.no_grad()
def hard_negatives(queries: Tensor, query_clusters: Tensor, pool: Tensor, pool_clusters: Tensor, k: int = 5) -> Tensor:
    """For each query the k nearest images of the pool, each of another cluster: rows of the pool, int64 [Q, k].

    `queries` [Q, D] and `pool` [N, D] are descriptors, made unit rows inside; `query_clusters` [Q] and
    `pool_clusters` [N] are int64: the 3D model, or class, that an image belongs to, -1 where that is not known. The
    query's own cluster is never taken and any other at most once, so the negatives differ. An image of unknown
    cluster might match: it is never a negative, and as a query it gets none. Nearest first, the lower row among
    equals; -1 where the pool has too few clusters. Queries are taken in chunks: at most 2^26 scores are held at a
    time, or N where that is more. ValueError for other shapes, k below 1, and descriptors that are not finite.

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512).
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or pool.ndim != 2 or queries.shape[1] != pool.shape[1]:
        raise ValueError(f"queries and pool must be [Q, D] and [N, D], got {list(queries.shape)}, {list(pool.shape)}")
    if query_clusters.shape != queries.shape[:1] or pool_clusters.shape != pool.shape[:1]:
        raise ValueError(
            f"clusters must be [{len(queries)}] and [{len(pool)}], "
            f"got {list(query_clusters.shape)} and {list(pool_clusters.shape)}"
        )
    # A NaN would beat every score, and a query without negatives trains without a word.
    if not (bool(queries.isfinite().all()) and bool(pool.isfinite().all())):
        raise ValueError("descriptors must be finite: the model that made them has diverged")
    wide = torch.promote_types(pool.dtype, torch.float32)
    pool = F.normalize(pool.to(wide))
    found = [torch.empty(0, k, dtype=torch.int64, device=pool.device)]
    chunk = max(1, _SCORES_AT_ONCE // max(1, len(pool)))
    for some, own in zip(queries.split(chunk), query_clusters.split(chunk), strict=True):
        with torch.autocast(pool.device.type, enabled=False):
            scores = F.normalize(some.to(wide)) @ pool.T  # [chunk, N]
        found.append(_one_per_cluster(scores, own, pool_clusters, k))
    return torch.cat(found)


def _one_per_cluster(scores: Tensor, own: Tensor, clusters: Tensor, k: int) -> Tensor:
    """The best row of each of the k best clusters but one's own: [Q, N] -> [Q, k]. Overwrites the scores."""
    rows = torch.full((len(scores), k), -1, device=scores.device)
    if scores.shape[1] == 0:
        return rows
    scores.masked_fill_((clusters < 0) | (own < 0).unsqueeze(1), -math.inf)
    taken = own
    for place in range(k):
        scores.masked_fill_(clusters == taken.unsqueeze(1), -math.inf)
        best, row = scores.max(1)
        rows[:, place] = row.where(best > -math.inf, -1)
        taken = clusters[row]
    return rows
