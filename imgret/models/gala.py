"""GALA: global-and-local gates inside a trunk's last stage but one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_trunk
from imgret.nn.checks import at_least_1
from imgret.nn.gala import GALAGate, GlobalLocalAttention
from imgret.nn.pooling import GeM
from imgret.nn.projection import Projection
from imgret.nn.recording import recorded
from imgret.nn.stages import input_shapes, stage_blocks

# What each form changes in GlobalLocalAttention; only "identity" starts as the plain trunk.
FORMS: dict[str, dict[str, Any]] = {
    "identity": {},
    "paper": {},
    "release": {"local_kernel": 5, "squash": "sigmoid", "global_relu": True},
}


class GALA(DescriptorModel):
    """GALA (Linsley, Shiebler, Eberhardt, Serre, "Learning what and where to attend", arXiv:1805.08819).

    A gate Y is put before each of the last `gates` blocks of stage 4 (all, if there are fewer), ahead of the
    shortcut, so it multiplies both paths: in a ResNet-50 before all six. `form` is

        "identity"  Y = X (1 + S), S = tanh(a (g + l) + m g l), a = m = 0: starts as the plain trunk
        "paper"     Y = X S with the same S, a and m random: for training from scratch
        "release"   Y = X S as in the authors' code: sigmoid, a 5 x 5 layer in l, a ReLU after g

    `pretrained` starts the trunk from timm's weights. To supervise the attentions with click maps:

        with recorded(model.attentions) as maps:
            rows = model(images)
        loss = ... + weight * map_supervision(maps, clicks, has_map)

    Advice for training: gates at ten times the trunk's learning rate, no weight decay on a and m.

    Differs from the paper, or chosen where it is silent: the paper classifies; here GeM, dropout, FC and
    batch norm follow the trunk. The form "identity" is ours. "paper" is the module as Papers with Code
    prints it, with two 1 x 1 layers in l. From the released code come `reduction` 4, the place ahead of the
    shortcut (there in pre-activation ResNets) and, for stages of more than six blocks, the last six (there
    in its ResNet-152 only).
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        dim: int = 512,
        gates: int = 6,
        form: str = "identity",
        reduction: int = 4,
        dropout: float = 0.1,
        pretrained: bool = False,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        at_least_1(dim=dim, gates=gates, reduction=reduction)
        trunk, channels, mean, std = build_trunk(backbone, pretrained)
        super().__init__(mean, std)
        self.dim = dim
        stage = stage_blocks(trunk, -2)
        blocks = dict(list(stage.named_children())[-gates:])
        for (name, block), shape in zip(blocks.items(), input_shapes(trunk, blocks.values()), strict=True):
            attention = GlobalLocalAttention(shape[1], reduction, **FORMS[form])
            gate = GALAGate(attention, identity=form == "identity")
            # A plain Sequential: folding looks inside torch's containers, but takes our modules whole.
            setattr(stage, name, nn.Sequential(OrderedDict(gate=gate, block=block)))
        self.trunk = trunk
        self.pool = GeM()
        self.projection = Projection(channels, dim, dropout)

    @property
    def attentions(self) -> list[GlobalLocalAttention]:
        """The attentions of the gates, shallow first; each returns S [B, C, h, w] of its gate's input."""
        return [part for part in self.trunk.modules() if isinstance(part, GlobalLocalAttention)]

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, dim]."""
        return self.projection(self.pool(self.trunk(images)))

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the head makes of each cell of the trunk's map; the rest is its biases and the shift of its norm."""
        return self.projection.parts(self.pool.parts(self.trunk(images)))

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """local: sigmoid(l), what the local paths say; gate: mean over channels of S^2, what is supervised; pooled.

        The first two are means over the gates, at the size of the last one's map. The global path has no
        locations and cannot be drawn.
        """
        attentions = self.attentions
        with recorded(attentions) as maps, recorded(each.local_path for each in attentions) as paths:
            features = self.trunk(images)
        return {
            "local": _mean_map([each.float().sigmoid() for each in paths]),
            "gate": _mean_map([each.float().square().mean(1, keepdim=True) for each in maps]),
            "pooled": self.pool.share(features),
        }

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        acts = any(each.additive.any() or each.multiplicative.any() for each in self.attentions)
        local = "what the local paths respond to, before the gate weighs it"
        return {
            "local": local if acts else f"{local}; does not act on the descriptor yet (its scale is 0)",
            "gate": "how strongly the gates act on each place",
            "pooled": "each place's share of the pooled vector",
        }


def _mean_map(maps: list[Tensor]) -> Tensor:
    """Maps [B, 1, h_i, w_i] -> their mean [B, h, w] at the size of the last."""
    size = maps[-1].shape[2:]
    return torch.stack([F.interpolate(each, size, mode="bilinear") for each in maps]).mean(0).squeeze(1)
