"""How far a student is from its teacher: against a bank of images, and place by place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher says of a batch of B views, and of the M images of a bank.

    rows    float32 [B, T], its descriptor of each view
    maps    float32 [B, C, g, g], its map of each view
    known   bool [B]; what is not known costs nothing
    placed  bool [B], whether the student sees the view where the teacher saw it, so that maps can be compared
    bank    float32 [M, T], its mean descriptor of each image of the bank
    own     int64 [B], the place of each image in the bank
    same    bool [B, M], which of the bank are of the image's class
    """

    rows: Tensor
    maps: Tensor
    known: Tensor
    placed: Tensor
    bank: Tensor
    own: Tensor
    same: Tensor


class Lesson(nn.Module):
    """Two losses, with the layers that bring student and teacher together; no layer here is part of the model.

    Against the bank: a descriptor x is compared with keys k_j, the teacher's rows through a learned linear map, and
    should tell which of them it belongs to,

        -sum_j q_j log softmax_j(scale x . k_j),

    where q shares 1 between the own image (`own`), the images of its class (`label`) and, for the rest, all of the
    bank as the teacher sees them, softmax_j(t . t_j / temperature) with its row t for this very view. Rows have the
    mean of the bank removed, for what all images have in common tells nothing. After SEED (Fang et al.,
    arXiv:2101.04731), where student and teacher have a queue each; that the keys are the teacher's, and the shares
    of the own image and of its class, are ours.

    Place by place: the part of the variance of the teacher's map that a 1x1 convolution of the student's does not
    explain, 1 for the best constant (after FitNets, arXiv:1412.6550); `map_weight` times that is added.
    """

    def __init__(
        self,
        dim: int,
        channels: int,
        teacher_dim: int,
        map_channels: int,
        own: float = 0.3,
        label: float = 0.0,
        temperature: float = 0.1,
        scale: float = 20.0,
        map_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not (own >= 0 and label >= 0 and own + label <= 1):
            raise ValueError(f"own and label are shares of 1, got {own} and {label}")
        self.own, self.label = own, label
        self.temperature, self.scale, self.map_weight = temperature, scale, map_weight
        self.key = nn.Linear(teacher_dim, dim, bias=False)
        nn.init.orthogonal_(self.key.weight)
        if map_weight:
            self.place = nn.Conv2d(channels, map_channels, 1)
            self.standard = nn.BatchNorm2d(map_channels, affine=False)

    def forward(self, rows: Tensor, features: Tensor | None, taught: Taught) -> Tensor:
        """Descriptors [B, dim] and, for a map weight, maps [B, channels, h, w] of the student -> a scalar."""
        with torch.autocast(rows.device.type, enabled=False):
            wide = torch.promote_types(rows.dtype, torch.float32)
            value = self.against_bank(rows.to(wide), taught)
            if features is None:
                return value
            return value + self.map_weight * self.place_by_place(features.to(wide), taught)

    def against_bank(self, rows: Tensor, taught: Taught) -> Tensor:
        """The first loss, a mean over the known."""
        middle = taught.bank.mean(0)
        bank = F.normalize(taught.bank - middle)
        logits = self.scale * F.normalize(rows) @ F.normalize(self.key(bank)).T  # [B, M]
        shares = self.shares(F.normalize(taught.rows - middle), bank, taught.own, taught.same)
        each = -(shares * logits.log_softmax(1)).sum(1)
        return (each * taught.known).sum() / taught.known.sum().clamp(min=1)

    def shares(self, rows: Tensor, bank: Tensor, own: Tensor, same: Tensor) -> Tensor:
        """q [B, M] for the teacher's unit rows [B, T] and bank [M, T]: what is to be thought of it; rows sum to 1."""
        seen = (rows @ bank.T / self.temperature).softmax(1)
        mine = F.one_hot(own, len(bank)).to(seen.dtype)
        alike = torch.maximum(same.to(seen.dtype), mine)
        alike = alike / alike.sum(1, keepdim=True)
        return self.own * mine + self.label * alike + (1 - self.own - self.label) * seen

    def place_by_place(self, features: Tensor, taught: Taught) -> Tensor:
        """The second loss, over the views that are known and in place; 0 for fewer than two of them."""
        counted = taught.known & taught.placed
        height, width = taught.maps.shape[2:]
        found = self.place(F.adaptive_avg_pool2d(features[counted], (height, width)))
        if len(found) < 2:
            return found.sum() * 0
        return F.mse_loss(found, self.standard(taught.maps[counted]))
