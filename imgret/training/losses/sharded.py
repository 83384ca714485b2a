"""ArcFace for many classes: each process holds a share of them, and may sample the rest (partial FC)."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from imgret.tables import look_up
from imgret.training.losses.collectives import Shards, gather_rows, shard_of, sharded_cross_entropy
from imgret.training.losses.cosines import cosines, labelled_rows, positive_scale, xavier_centres
from imgret.training.losses.margins import PSI, add_margin, margin_tensor


class ShardedArcFace(nn.Module):
    """`ArcFace` whose classes are spread over the ranks of the default process group.

    A rank holds classes [first, last), equal shares but for one class; without a process group it holds all. Every
    rank scores the batch of all ranks against its own classes; the softmax runs over all classes by an all-reduce
    of each row's maximum and sum, so no rank ever holds [B, classes]. The loss is that of the global batch, the
    same number on every rank. The gradient of `weight` is the whole one: keep this module out of
    DistributedDataParallel, which would mix the ranks' classes. The gradient of the descriptors is multiplied by
    the number of ranks, because DistributedDataParallel divides it by that number afterwards.

    With `sample` r < 1, in training mode, a rank takes part with the classes of the global batch and as
    many others, drawn at random, as make up the share r of its classes (partial FC). The others' rows of `weight`
    get a gradient of exactly 0. `imgret train` does not decay them (`rates`); but momentum carries a row on
    for some steps after it was drawn, with 0.9 up to ten times as far as its first step. The draw depends on
    `seed`, the shard and the buffer `steps` alone, so a resumed run draws what an uninterrupted one would.

    `weight` [(last - first) * K, dim] is, given the same torch seed on each rank, the rank's rows of what `ArcFace`
    starts from (which is drawn whole, and dropped). Other arguments and errors as in `ArcFace`; ValueError also
    for a sample outside (0, 1] and for fewer classes than ranks.

    An et al., "Killing two birds with one stone: partial FC" (arXiv:2203.15565).
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: float | Tensor = 0.5,
        scale: float = 30.0,
        psi: str = "hard",
        centres: int = 1,
        sample: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < sample <= 1:
            raise ValueError(f"sample must be in (0, 1], got {sample}")
        self.dim, self.classes, self.centres, self.sample, self.seed = dim, classes, centres, sample, seed
        self.shards = Shards.of_default_group()
        self.first, self.last = shard_of(classes, self.shards)
        whole = xavier_centres(dim, classes, centres)
        self.weight = nn.Parameter(whole[self.first * centres : self.last * centres].clone())
        self.scale = positive_scale(scale)
        self.psi = look_up(PSI, "margin function", psi)
        self.margin: Tensor
        self.register_buffer("margin", margin_tensor(margin, classes))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """The rank's descriptors [B, dim] and labels int64 [B] -> the mean over all ranks' labelled rows.

        Every rank must call it, with as many rows as it likes. Rows labelled -1 contribute nothing; without any
        labelled row the loss is 0 and so are its gradients. ValueError, on every rank, for labels
        outside [-1, classes) on any of them.
        """
        with torch.autocast(descriptors.device.type, enabled=False):
            rows, labels = gather_rows(descriptors, labels, self.dim, self.shards)
            rows, labels = labelled_rows(rows, labels, self.dim, self.classes)
            chosen = self._sampled(labels)
            weight = self.weight if chosen is None else self._rows_of(chosen)
            cosine = cosines(rows, weight, self.centres)  # [B of all ranks, classes here]
            target = self._column_of(labels, chosen)
            margin = (self.margin if self.margin.ndim == 0 else self.margin[labels]).to(cosine.dtype)
            logits = self.scale * add_margin(cosine, target, margin, self.psi)
            return sharded_cross_entropy(logits, target, self.shards).sum() / max(1, len(labels))

    def _sampled(self, labels: Tensor) -> Tensor | None:
        """The classes of this shard that take part, ascending, counted from its first; None for all."""
        if self.sample == 1 or not self.training:
            return None
        self.steps += 1
        held = self.last - self.first
        here = labels[(labels >= self.first) & (labels < self.last)] - self.first
        order = torch.randperm(held, generator=self._generator()).to(labels.device)
        # The batch's classes go first, then the others as drawn.
        rank = torch.empty_like(order).scatter(0, order, torch.arange(held, device=order.device))
        rank[here] = -1
        wanted = max(round(self.sample * held), int((rank < 0).sum()), 1)
        return rank.argsort()[:wanted].sort().values

    def _generator(self) -> torch.Generator:
        key = f"{self.seed} {self.first} {int(self.steps)}".encode()
        # 63 bits: torch takes no larger seed.
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1)

    def _rows_of(self, chosen: Tensor) -> Tensor:
        """The centres of the classes that take part: [chosen * K, dim]."""
        return self.weight.unflatten(0, (-1, self.centres))[chosen].flatten(0, 1)

    def _column_of(self, labels: Tensor, chosen: Tensor | None) -> Tensor:
        """The column of each label among the logits of this shard, -1 for labels of other shards."""
        here = (labels >= self.first) & (labels < self.last)
        column = labels - self.first
        if chosen is not None:
            column = torch.searchsorted(chosen, column.clamp(min=0))
        return column.where(here, -1)

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return (
            f"dim={self.dim}, classes={self.first} to {self.last - 1} of {self.classes}, centres={self.centres}, "
            f"scale={self.scale:g}, sample={self.sample:g}"
        )
