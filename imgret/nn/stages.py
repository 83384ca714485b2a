"""The blocks inside a convolutional trunk, to be replaced by blocks that attend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

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


def input_channels(trunk: Pyramid, blocks: Iterable[nn.Module]) -> list[int]:
    """Channels of the map that each of these blocks of a trunk is given, read off a run on a small image.

    WeightsError unless each is called with one map [B, C, h, w] and nothing else.
    """
    found: dict[nn.Module, int] = {}

    def look(block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if len(inputs) == 1 and not named and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            found[block] = inputs[0].shape[1]

    blocks = list(blocks)
    handles = [block.register_forward_pre_hook(look, with_kwargs=True) for block in blocks]
    mode, side = trunk.training, 4 * trunk.stride
    try:
        with torch.no_grad():
            trunk.eval()(next(trunk.parameters()).new_zeros(1, 3, side, side))
    finally:
        trunk.train(mode)
        for handle in handles:
            handle.remove()
    if len(found) < len(blocks) or trunk.channels_last:
        raise WeightsError("the blocks of this backbone do not take one map each; take one such as resnet50")
    return [found[block] for block in blocks]


def spatial_convolution(block: nn.Module) -> tuple[nn.Module, str, nn.Conv2d] | None:
    """(parent, attribute, convolution) of the last convolution in a block that sees more than one cell."""
    found = None
    for path, part in block.named_modules():
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
            parent, _, attribute = path.rpartition(".")
            found = (block.get_submodule(parent), attribute, part)
    return found
