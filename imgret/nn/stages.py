"""The blocks inside a convolutional trunk, to be replaced by blocks that attend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from imgret.errors import WeightsError
from imgret.nn.backbones import Pyramid

OTHER = "take another backbone, such as resnet50"


def stage_blocks(trunk: Pyramid, stage: int) -> nn.Module:
    """The container of the blocks of a stage, called in their order; -1 is the last stage, -2 the one before.

    Setting a child of it (`setattr(container, name, block)`) changes the trunk. WeightsError for networks
    that are not built of stages of blocks.
    """
    net: Any = trunk.net
    stages = net.feature_info.info
    path = stages[stage]["module"] if -len(stages) <= stage < len(stages) else ""
    flat = path.replace(".", "_")  # how timm keeps what it calls "stages.3"; some networks keep the dots
    try:
        found = getattr(net, flat) if hasattr(net, flat) else net.get_submodule(path)
    except AttributeError:
        found = None
    blocks = getattr(found, "blocks", found)
    if not path or not isinstance(blocks, nn.Module) or spatial_convolution(blocks) is None:
        raise WeightsError(f"{trunk.name} has no stage {stage} of blocks with a spatial convolution; {OTHER}")
    return blocks


def input_shapes(trunk: Pyramid, parts: Iterable[nn.Module], side: int = 128) -> list[torch.Size]:
    """Shapes [2, C, h, w] of the maps these parts of a trunk are given, for square images of `side` pixels.

    Read off runs without any arithmetic. WeightsError unless each is called with one map and nothing else, channels
    first.
    """
    parts = list(parts)
    square, wide = _shapes(trunk, parts, (side, side)), _shapes(trunk, parts, (side, 2 * side))
    # A map with its channels last would have the width of the image where its channels are looked for.
    alike = [part in square and part in wide and square[part][:3] == wide[part][:3] for part in parts]
    if not all(alike) or trunk.channels_last:
        raise WeightsError(f"the blocks of {trunk.name} do not take one map each; {OTHER}")
    return [square[part] for part in parts]


def _shapes(trunk: Pyramid, parts: list[nn.Module], size: tuple[int, int]) -> dict[nn.Module, torch.Size]:
    found: dict[nn.Module, torch.Size] = {}

    def look(part: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if len(inputs) == 1 and not named and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            found[part] = inputs[0].shape

    handles = [part.register_forward_pre_hook(look, with_kwargs=True) for part in parts]
    shapes = {name: value.to("meta") for name, value in [*trunk.named_parameters(), *trunk.named_buffers()]}
    # Two images, because batch norm in training refuses one value per channel.
    images = torch.empty(2, 3, *size, device="meta", dtype=next(trunk.parameters()).dtype)
    try:
        torch.func.functional_call(trunk, shapes, (images,))
    except Exception as error:  # assertions, shape errors: each architecture has its own
        raise WeightsError(f"{trunk.name} cannot be looked into: it fails on {size[0]} x {size[1]}; {OTHER}") from error
    finally:
        for handle in handles:
            handle.remove()
    return found


def spatial_convolution(block: nn.Module) -> tuple[nn.Module, str, nn.Conv2d] | None:
    """(parent, attribute, convolution) of the last convolution in a block that sees more than one cell."""
    found = None
    for path, part in block.named_modules():
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
            parent, _, attribute = path.rpartition(".")
            found = (block.get_submodule(parent), attribute, part)
    return found
