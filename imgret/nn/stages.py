"""The blocks inside a convolutional trunk, to be replaced by blocks that attend."""

from __future__ import annotations

from typing import Any

from torch import nn

from imgret.errors import WeightsError
from imgret.nn.backbones import Pyramid


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
        raise WeightsError("this backbone has no stages of convolutional blocks; take one such as resnet50")
    return blocks


def spatial_convolution(block: nn.Module) -> tuple[nn.Module, str, nn.Conv2d] | None:
    """(parent, attribute, convolution) of the last convolution in a block that sees more than one cell."""
    found = None
    for path, part in block.named_modules():
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
            parent, _, attribute = path.rpartition(".")
            found = (block.get_submodule(parent), attribute, part)
    return found
