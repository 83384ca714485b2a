"""Rows gathered from all ranks, and a softmax whose classes are spread over them, with their gradients.

Every rank must make the same calls in the same order, forward and backward, as always with collectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Shards:
    """Which of how many processes this is."""

    rank: int
    ranks: int

    @classmethod
    def of_default_group(cls) -> Shards:
        """As torch.distributed says, or the only one where it was not started."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)


def shard_of(classes: int, shards: Shards) -> tuple[int, int]:
    """The classes [first, last) of a rank; shares differ by one at most. ValueError for fewer classes than ranks."""
    if classes < shards.ranks:
        raise ValueError(f"classes must be at least as many as ranks, got {classes} and {shards.ranks}")
    return classes * shards.rank // shards.ranks, classes * (shards.rank + 1) // shards.ranks


def gather_rows(descriptors: Tensor, labels: Tensor, dim: int, shards: Shards) -> tuple[Tensor, Tensor]:
    """Descriptors [B, dim] and labels int64 [B] of all ranks, in the order of ranks.

    B may differ between ranks: short batches are filled with zero rows labelled -1. Backward, a rank gets the
    sum over ranks of its own rows' gradients, times the number of ranks. ValueError for other shapes.
    """
    if descriptors.ndim != 2 or descriptors.shape[1] != dim or labels.shape != descriptors.shape[:1]:
        raise ValueError(
            f"descriptors and labels must be [B, {dim}] and [B], got {list(descriptors.shape)} and {list(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {labels.dtype}")
    # Raised before it travels: ranks must agree on the type, and a sum of half-precision gradients would round.
    descriptors = descriptors.to(torch.promote_types(descriptors.dtype, torch.float32))
    if shards.ranks == 1:
        return descriptors, labels
    most = torch.tensor(len(labels), device=labels.device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    missing = int(most) - len(labels)
    labels = F.pad(labels, (0, missing), value=-1)
    every = [torch.empty_like(labels) for _ in range(shards.ranks)]
    dist.all_gather(every, labels)
    return _GatherRows.apply(F.pad(descriptors, (0, 0, 0, missing)), shards), torch.cat(every)


class _GatherRows(torch.autograd.Function):
    """Rows [B, D] of every rank -> [ranks * B, D]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, shards: Shards) -> Tensor:
        ctx.shards = shards
        every = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(shards.ranks)]
        dist.all_gather(every, rows.contiguous())
        return torch.cat(every)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each rank has the part that came through its own classes; the loss depends on all of them.
        whole = gradient.contiguous().clone()
        dist.all_reduce(whole)
        return whole.chunk(ctx.shards.ranks)[ctx.shards.rank] * ctx.shards.ranks, None


def rows_of_all(rows: Tensor, counts: Sequence[int], shards: Shards) -> Tensor:
    """The rows of every rank in the order of ranks, on the CPU of rank 0; another rank gets its own back.

    `counts` has the number of rows of each rank. One rank's rows travel at a time, so a GPU holds no more
    than one share beside its own. A single rank gets its rows as they are, not a copy.
    """
    if shards.ranks == 1:
        return rows
    if shards.rank:
        dist.send(rows.contiguous(), 0)
        return rows
    whole = torch.empty((sum(counts), *rows.shape[1:]), dtype=rows.dtype)
    for rank, place in enumerate(whole.split(list(counts))):
        theirs = rows
        if rank:
            theirs = torch.empty(place.shape, dtype=rows.dtype, device=rows.device)
            dist.recv(theirs, rank)
        place.copy_(theirs)
    return whole


def sharded_cross_entropy(logits: Tensor, target: Tensor, shards: Shards) -> Tensor:
    """Softmax cross-entropy of each row over the logits of all ranks: [B, classes here] -> [B], equal on all ranks.

    `target` [B] is the column of the right class, -1 where another rank holds it; exactly one rank must.
    """
    return _ShardedCrossEntropy.apply(logits, target, shards)


class _ShardedCrossEntropy(torch.autograd.Function):
    """log sum exp z_j - z_y, the maximum and the sum over all ranks; gradient softmax(z) - onehot(y)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, shards: Shards) -> Tensor:
        # Less the largest of all ranks, so that no exp overflows; the result does not depend on it.
        shifted = logits - _over_ranks(logits.amax(1), dist.ReduceOp.MAX, shards).unsqueeze(1)
        column, here = target.clamp(min=0).unsqueeze(1), (target >= 0).unsqueeze(1)
        wanted = shifted.gather(1, column).where(here, 0).squeeze(1)
        exponentials = shifted.exp_()
        sums = exponentials.sum(1)
        both = _over_ranks(torch.stack([sums, wanted]), dist.ReduceOp.SUM, shards)
        ctx.save_for_backward(exponentials.div_(both[0].unsqueeze(1)), column, here)
        return both[0].log() - both[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        softmax, column, here = ctx.saved_tensors
        return softmax.scatter_add(1, column, -here.to(softmax.dtype)) * gradient.unsqueeze(1), None, None


def _over_ranks(values: Tensor, how: dist.ReduceOp.RedOpType, shards: Shards) -> Tensor:
    if shards.ranks > 1:
        dist.all_reduce(values, how)
    return values
