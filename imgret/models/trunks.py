"""Public trunks worth having for `--model gem --backbone NAME`: a table that costs nothing to list.

None of the weights are ours or in the package; each is downloaded once from the hub, when it is first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# One image on one core takes less than so many milliseconds; the last class has no end.
SPEEDS = (("fast", 100), ("medium", 300), ("slow", 1000))
SLOWEST = "slowest"


@dataclass(frozen=True)
class TrunkCard:
    """What there is to know about a trunk before anything is downloaded; the name is timm's, with its weights' tag.

    `dim` is the descriptor's, `parameters` those that describe, `megabytes` (10^6 bytes) the file's. `milliseconds`
    is one image of `image_size` pixels a side, the size the weights were made for, on one core of an AMD EPYC
    (see tests/benchmarks/bench_trunks.py). `licence` is what timm states. `pooling` is "GeM", or which of
    its own the trunk ends in.
    """

    dim: int
    parameters: int
    megabytes: int
    milliseconds: int
    image_size: int
    licence: str
    trained_on: str
    pooling: str = "GeM"

    @property
    def speed(self) -> str:
        """fast, medium, slow or slowest: one image on one core in under 0.1, 0.3, 1 second, or more."""
        return next((word for word, limit in SPEEDS if self.milliseconds < limit), SLOWEST)


APACHE = "Apache-2.0"
DINOV3 = "DINOv3"  # Meta's own, with conditions
ONE_K, MANY_K = "ImageNet-1k", "ImageNet-22k"
LVD2 = "LVD-142M, DINOv2"  # without labels, as the next
LVD3 = "LVD-1689M, DINOv3"
WEBLI = "WebLI, SigLIP 2"  # images and their texts
NORMED_MEAN, CLASS, ATTENTION = "its own mean and layer norm", "its own class token", "its own attention"

TRUNKS: dict[str, TrunkCard] = {
    "mobilenetv4_conv_small.e2400_r224_in1k": TrunkCard(960, 1_261_664, 15, 15, 224, APACHE, ONE_K),
    "resnet18.a1_in1k": TrunkCard(512, 11_176_512, 47, 61, 224, APACHE, ONE_K),
    "resnet50.a1_in1k": TrunkCard(2048, 23_508_032, 102, 130, 224, APACHE, ONE_K),
    "resnet101.a1h_in1k": TrunkCard(2048, 42_500_160, 179, 273, 224, APACHE, ONE_K),
    "convnext_tiny.fb_in22k": TrunkCard(768, 27_820_128, 178, 142, 224, APACHE, MANY_K, NORMED_MEAN),
    "convnext_base.fb_in22k": TrunkCard(1024, 87_566_464, 440, 480, 224, APACHE, MANY_K, NORMED_MEAN),
    "convnext_tiny.dinov3_lvd1689m": TrunkCard(768, 27_820_128, 111, 141, 224, DINOV3, LVD3, NORMED_MEAN),
    "vit_small_patch16_dinov3.lvd1689m": TrunkCard(384, 21_586_944, 86, 200, 256, DINOV3, LVD3, CLASS),
    "vit_base_patch16_dinov3.lvd1689m": TrunkCard(768, 85_641_216, 343, 670, 256, DINOV3, LVD3, CLASS),
    "vit_small_patch14_reg4_dinov2.lvd142m": TrunkCard(384, 22_057_344, 88, 1287, 518, APACHE, LVD2, CLASS),
    "vit_base_patch14_reg4_dinov2.lvd142m": TrunkCard(768, 86_582_016, 346, 3737, 518, APACHE, LVD2, CLASS),
    "vit_large_patch14_reg4_dinov2.lvd142m": TrunkCard(1024, 304_370_688, 1217, 13106, 518, APACHE, LVD2, CLASS),
    "vit_base_patch16_siglip_256.v2_webli": TrunkCard(768, 92_930_304, 372, 605, 256, APACHE, WEBLI, ATTENTION),
    "vit_base_patch16_siglip_512.v2_webli": TrunkCard(768, 93_520_128, 374, 3067, 512, APACHE, WEBLI, ATTENTION),
}


def repository(name: str) -> str:
    """Where a row's weights are on the hub."""
    return f"timm/{name}"


def address(name: str) -> str:
    """The page of a row's weights, with their licence."""
    from imgret.nn import hub

    return hub.address(repository(name))


def cache(name: str) -> tuple[Path, bool]:
    """(folder that downloads go to, whether the weights of a row are in it); the network is not asked."""
    from imgret.nn import hub

    return hub.cache_folder(), hub.cached(repository(name)) is not None


def command(name: str) -> str:
    """What to type to extract with a row; a trunk that pools itself is given the size it was made for."""
    card = TRUNKS[name]
    size = "" if card.pooling == "GeM" else f" --image-size {card.image_size}"
    return f"imgret extract photos/ -o store --model gem --backbone {name}{size}"
