"""Parameter groups: which part of a model learns how fast, and what decays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from imgret.models.glam import GLAM
from imgret.models.gsa import AttentionInParallel
from imgret.nn.backbones import Pyramid, TokenTrunk, Trunk
from imgret.nn.gala import GlobalLocalAttention
from imgret.nn.gsa import GlobalSelfAttention
from imgret.nn.offsets import RelativeOffsets
from imgret.nn.pooling import GeM
from imgret.nn.windows import WindowAttention
from imgret.training.losses.sharded import ShardedArcFace
from imgret.training.recipe import Optimiser

# A module of this type and all below it, until another type is met. What is in no trunk is "head".
_PARTS: dict[type[nn.Module], str] = {
    Pyramid: "trunk",
    Trunk: "trunk",
    TokenTrunk: "trunk",
    GlobalSelfAttention: "head",  # stands inside a trunk, but no pretrained weights know it
    GlobalLocalAttention: "gates",
    GeM: "gem_p",
}
# Scales that start at zero, or at equal shares, and open a branch.
_GATES = {(AttentionInParallel, "gamma"), (GLAM, "fusion")}
# Tables of positions: to decay them is to forget places that are rare in training. a and m of GALA
# are one number a channel, which the shape tells.
_POSITIONS = {(RelativeOffsets, "table"), (WindowAttention, "position")}
# The same in timm's transformers. Their own lists (`no_weight_decay`) are lost where timm cuts a network.
_TIMM_POSITIONS = {"pos_embed", "cls_token", "dist_token", "reg_token", "relative_position_bias_table"}


def parameter_groups(model: nn.Module, optimiser: Optimiser, loss: nn.Module | None = None) -> list[dict[str, Any]]:
    """Groups for an optimiser of torch, every parameter of the model and the loss in exactly one.

    A group has `params`, `lr` = optimiser.lr x the factor of its part, `weight_decay` (0 for what does not
    decay), and for people and for freezing `part`: "trunk" (what a pretrained network brings), "gem_p", "gates"
    (GALA's attentions, GSA's gamma, GLAM's fusion weights) or "head" (all else, and the loss's own).

    Not decayed: GeM's p, tables of positions, class tokens, whatever has one number a channel or less (biases,
    norms, scales), and the centres of a sampled classifier: those that were not drawn would shrink without having been
    judged. (No cosine depends on the length of a centre, but long ones turn slowly.) The order of groups and
    parameters is that of the model's definition, so an optimiser's state fits the next process.
    """
    found: dict[tuple[str, bool], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    modules = [model] if loss is None else [model, loss]
    for parameter, part, decays in (item for module in modules for item in _walk(module, "head")):
        if parameter not in seen:  # shared weights are met twice
            seen.add(parameter)
            found.setdefault((part, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "part": part,
            "lr": optimiser.lr * getattr(optimiser.rates, part),
            "weight_decay": optimiser.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in found.items()
    ]


def _walk(module: nn.Module, part: str) -> Iterator[tuple[nn.Parameter, str, bool]]:
    """(parameter, part, whether it decays) of a module and all below it; `part` is that of its parent."""
    kind = type(module)
    part = _PARTS.get(kind, part)
    for name, parameter in module.named_parameters(recurse=False):
        if (kind, name) in _GATES:
            yield parameter, "gates", False
        else:
            small = parameter.ndim < 2 or parameter.numel() == len(parameter)
            sampled = isinstance(module, ShardedArcFace) and module.sample < 1
            yield parameter, part, not (small or sampled or (kind, name) in _POSITIONS or name in _TIMM_POSITIONS)
    for child in module.children():
        yield from _walk(child, part)
