"""Relative positions: one learned embedding for each signed distance along an axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.nn.checks import at_least_1


class RelativeOffsets(nn.Module):
    """Embeddings [side, side, width] of (target i, source t) from a table [2 reach - 1, width] of offsets t - i.

    Row `delta + reach - 1` is offset delta, from -(reach - 1) to reach - 1. On an axis longer than `reach`
    the farther offsets are zero. `interpolated` stretches the table over the axis instead: offset delta is
    looked up at delta * reach / side, linear between rows, never past the ends. On an axis of exactly
    `reach` cells both are the same. The table starts normal with deviation `std`.

    ValueError unless `reach` is at least 1.
    """

    def __init__(self, reach: int, width: int, std: float = 1.0, interpolated: bool = False) -> None:
        super().__init__()
        at_least_1(reach=reach)
        self.reach = reach
        self.interpolated = interpolated
        self.table = nn.Parameter(torch.empty(2 * reach - 1, width).normal_(std=std))

    def forward(self, side: int) -> Tensor:
        """An axis of `side` cells -> [side targets, side sources, width]."""
        at = torch.arange(side, device=self.table.device)
        return F.embedding(at - at[:, None] + side - 1, self.rows(side))

    def rows(self, side: int) -> Tensor:
        """The offsets that occur on the axis, -(side - 1) to side - 1: [2 side - 1, width]."""
        offsets = torch.arange(1 - side, side, device=self.table.device)
        if not self.interpolated:
            # A row of zeros at either end, which every farther offset reads.
            return F.pad(self.table, (0, 0, 1, 1))[offsets.clamp(-self.reach, self.reach) + self.reach]
        last = self.reach - 1
        # In units of 1 / side of a row, so that whole rows are hit exactly.
        place = (offsets * self.reach).clamp(-last * side, last * side)
        below = place.div(side, rounding_mode="floor")
        share = ((place - below * side).to(self.table.dtype) / side).unsqueeze(1)
        return torch.lerp(self.table[below + last], self.table[(below + 1).clamp(max=last) + last], share)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"reach={self.reach}, width={self.table.shape[1]}, interpolated={self.interpolated}"
