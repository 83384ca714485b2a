"""Models that turn an image into a descriptor: the table of names, and what loads them.

Listing and checking names costs nothing; `load_model` brings torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgret.errors import WeightsError
from imgret.tables import look_up

WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What there is to know about a model before torch loads.

    `dim` 0 means "as many as the backbone has channels"; `backbone` is a timm name ("none": the model
    has no trunk); `image_size` is the longer side in pixels the paper works at. `weights` is "trunk" when
    a public pretrained backbone alone makes a useful model, "none" when it must be trained or given.
    `parameters` and `gmacs` (10^9 multiply-adds for one 512 x 512 image) are with the default backbone.
    """

    target: str
    dim: int
    summary: str
    paper: str
    backbone: str
    image_size: int
    weights: str = "none"
    parameters: int = 0
    gmacs: float = 0.0


MODELS: dict[str, ModelCard] = {
    "gem": ModelCard(
        "imgret.models.gem:GeMModel",
        dim=0,
        summary="pretrained trunk and generalised-mean pooling: the baseline, no training needed",
        paper="arXiv:1711.02512",
        backbone="resnet50",
        image_size=1024,
        weights="trunk",
        parameters=23_508_033,
        gmacs=21.35,
    ),
    "glam": ModelCard(
        "imgret.models.glam:GLAM",
        dim=512,
        summary="global-local, spatial-channel attention",
        paper="arXiv:2107.08000",
        backbone="resnet101",
        image_size=1024,
        parameters=47_946_065,
        gmacs=42.98,
    ),
    "dalg": ModelCard(
        "imgret.models.dalg:DALG",
        dim=512,
        summary="transformer trunk, windowed local branch, cross-attention fusion, one scale",
        paper="arXiv:2207.00287",
        backbone="swin_small_patch4_window7_224",
        image_size=512,
    ),
    "dtop": ModelCard(
        "imgret.models.dtop:DToP",
        dim=1536,
        summary="hybrid CNN and ViT: class and patch tokens of several layers, enhanced locality",
        paper="arXiv:2210.11909",
        backbone="vit_base_r50_s16_384",
        image_size=512,
    ),
    "gala": ModelCard(
        "imgret.models.gala:GALA",
        dim=512,
        summary="global-and-local gates inside a ResNet, open to supervision by click maps",
        paper="arXiv:1805.08819",
        backbone="resnet50",
        image_size=1024,
    ),
    "gsa": ModelCard(
        "imgret.models.gsa:GSANet",
        dim=512,
        summary="content and axial positional global self-attention inside a ResNet",
        paper="arXiv:2010.03019",
        backbone="resnet50",
        image_size=1024,
    ),
}

_HOMES = {
    "DescriptorModel": "imgret.models.base",
    "LoadedModel": "imgret.models.weights",
    "load_model": "imgret.models.weights",
    "save_weights": "imgret.models.weights",
    "read_card": "imgret.models.weights_card",
}

__all__ = [
    "MODELS",
    "DescriptorModel",
    "LoadedModel",
    "ModelCard",
    "check_name",
    "is_weights_file",
    "load_model",
    "read_card",
    "save_weights",
]


def is_weights_file(name: str | Path) -> bool:
    """Whether `name` means a file (`*.safetensors`) rather than a row of MODELS."""
    return str(name) not in MODELS and str(name).endswith(WEIGHTS_SUFFIX)


def check_name(name: str | Path) -> None:
    """Check a model name before anything heavy loads.

    UnknownNameError ("did you mean") unless it is a row of MODELS or a `*.safetensors` path;
    WeightsError when that path holds no file.
    """
    if not is_weights_file(name):
        look_up(MODELS, "model", str(name))
    elif not Path(name).is_file():
        raise WeightsError(f"{name}: no such weights file")


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
