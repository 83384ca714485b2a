"""The smallest trunk each model can stand on: timm's own test networks, 0.3 to 0.4 million parameters."""

from __future__ import annotations

# A model that needs another kind of trunk than a ResNet says so here.
OTHER_TRUNKS = {"dtop": "test_vit"}


def tiny_backbone(name: str) -> str:
    """The trunk for tests of the model called `name`."""
    return OTHER_TRUNKS.get(name, "test_resnet")
