"""ReLUP: the ReLUs of a ResNet with a floor above zero, so that a cell which is off still says something."""

from __future__ import annotations

import re

from torch import Tensor, nn

from imgret.errors import WeightsError
from imgret.nn.backbones import Trunk

_ACTIVATION = re.compile(r"act\d$")  # how timm names those of a residual block, in the order of their use


class FlooredReLU(nn.Module):
    """max(x, floor), any shape; floor 0 is the ReLU."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, features: Tensor) -> Tensor:
        """The same shape."""
        return features.clamp(min=self.floor)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"floor={self.floor:g}"


def floor_relus(trunk: Trunk, floor: float) -> None:
    """Put ReLUP into a ResNet, in place.

    At the outputs of the blocks of every stage but the last, and inside the blocks of the first stage; the stem keeps
    its ReLU. WeightsError for a trunk whose four stages are not built of residual blocks with ReLUs.

    Shao et al. (arXiv:2308.06954). Their code puts it inside the first stage even where it is switched off.
    """
    stages = [getattr(trunk.net, f"layer{number}", nn.Module()) for number in range(1, 5)]
    found = [[_activations(block) for block in stage.children()] for stage in stages]
    if not all(stage and all(relus for _, relus in stage) for stage in found):
        raise WeightsError(
            f"relup is for ResNets: {trunk.name} has no four stages of residual blocks with ReLUs; "
            "leave relup out of --refine, or take --backbone resnet50"
        )
    for number, stage in enumerate(found[:-1]):
        for block, relus in stage:
            for name in relus if number == 0 else relus[-1:]:
                setattr(block, name, FlooredReLU(floor))


def _activations(block: nn.Module) -> tuple[nn.Module, list[str]]:
    """The module that holds a block's own activations, and the names of its ReLUs; none unless the last is a ReLU."""
    for part in block.modules():  # the outermost first: a gate may have been put before the block
        names = sorted(name for name, _ in part.named_children() if _ACTIVATION.match(name))
        if names:
            relus = [name for name in names if isinstance(getattr(part, name), nn.ReLU)]
            return part, relus if relus[-1:] == names[-1:] else []
    return block, []
