"""Trunks from timm: an image in, its last feature map out, whatever the architecture and the size.

The only module that knows timm; `hub` knows where its weights come from.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from imgret.errors import UnknownNameError, WeightsError
from imgret.nn import hub
from imgret.tables import did_you_mean

TINY_HYBRID = "vit_tiny_r_s16_p8_224"
# Ways in which timm's transformers are told to take any size; convolutional trunks know neither word.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class Pyramid(nn.Module):
    """A timm network cut after its last feature maps: normalised images [B, 3, H, W] -> maps [B, C_i, h_i, w_i].

    The maps come shallow first, with `widths` C_i and `strides` in pixels. Convolutional maps end as timm leaves
    them (after the last ReLU for a ResNet); a transformer's are a block's tokens, before the final norm,
    and take both signs. `on_grid`: the network sees the image at the next multiple of its stride.
    """

    def __init__(self, net: nn.Module, on_grid: bool, name: str = "this backbone") -> None:
        super().__init__()
        self.net = net
        self.name = name
        info: Any = net.feature_info
        self.widths: list[int] = info.channels()
        self.strides: list[int] = info.reduction()
        self.on_grid = on_grid
        self.channels_last: bool = getattr(net, "output_fmt", None) == "NHWC"

    @property
    def channels(self) -> int:
        """Channels of the last map."""
        return self.widths[-1]

    @property
    def stride(self) -> int:
        """Pixels of the image for one cell of the last map."""
        return self.strides[-1]

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps, channels first. Networks that cut patches see the image at the next whole patch."""
        if self.on_grid:
            images = to_whole_patches(images, self.stride)
        maps = self.net(images)
        return [features.permute(0, 3, 1, 2) for features in maps] if self.channels_last else maps

    def forward(self, images: Tensor) -> Any:
        """Every map, shallow first."""
        return self.maps(images)


class Trunk(Pyramid):
    """A pyramid of one map, the last: normalised images [B, 3, H, W] -> [B, C, h, w]."""

    def forward(self, images: Tensor) -> Tensor:
        """The last map, channels first."""
        return self.maps(images)[-1]


class PooledTrunk(nn.Module):
    """A timm network up to the vector its own head is given: normalised images [B, 3, H, W] -> [B, C].

    For trunks whose last map is not the end: a layer norm and a pooling of their own follow, which timm's maps leave
    out. That is the class token, the attention pooling or the mean the weights were trained with. An average
    with no norm behind it, beside a class token, is timm's stopgap (DINOv3): then the class token is taken.
    """

    def __init__(self, net: nn.Module, on_grid: bool, name: str = "this backbone") -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.on_grid = on_grid
        of: Any = net
        self.channels: int = of.head_hidden_size
        self.stride: int = of.feature_info[-1]["reduction"]
        untrained_mean = getattr(of, "global_pool", None) == "avg" and isinstance(of.norm, nn.LayerNorm)
        if untrained_mean and getattr(of, "cls_token", None) is not None:
            of.global_pool = "token"

    def forward(self, images: Tensor) -> Tensor:
        """The vector, before any classifier."""
        if self.on_grid:
            images = to_whole_patches(images, self.stride)
        net: Any = self.net
        return net.forward_head(net.forward_features(images), pre_logits=True)


class TokenTrunk(nn.Module):
    """A timm vision transformer, its last `layers` blocks read: normalised images [B, 3, H, W] -> tokens.

    Returns (class tokens [B, k, D], patch tokens [B, k, D, h, w]), shallow first, each after the final
    LayerNorm. The pretrained position embedding is interpolated to every grid (bicubic).
    """

    def __init__(self, net: nn.Module, layers: int) -> None:
        super().__init__()
        self.net = net
        self.layers = layers
        of: Any = net
        self.channels: int = of.embed_dim
        self.stride: int = of.patch_embed.feat_ratio()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The image is seen at the next whole patch, so any size will do."""
        images = to_whole_patches(images, self.stride)
        grid = [side // self.stride for side in images.shape[2:]]
        net: Any = self.net
        found = net.forward_intermediates(
            images, self.layers, return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True
        )
        first = torch.stack([prefix[:, 0] for _, prefix in found], 1)  # registers, if any, come after the class
        patches = torch.stack([tokens for tokens, _ in found], 1)  # [B, k, hw, D]
        return first, patches.transpose(2, 3).unflatten(3, grid)


def to_whole_patches(images: Tensor, stride: int) -> Tensor:
    """Images [B, C, H, W] with both sides stretched (bilinear) to the next multiple of `stride`."""
    size = tuple(math.ceil(side / stride) * stride for side in images.shape[2:])
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def build_trunk(
    name: str, pretrained: bool = False
) -> tuple[Trunk, int, tuple[float, float, float], tuple[float, float, float]]:
    """(trunk, channels, mean, std) for a timm name; mean and std are the pixels' the trunk was made for.

    `pretrained` takes timm's weights from the local cache, else downloads them (see
    `fetch_pretrained`). UnknownNameError for a name timm does not have; WeightsError for weights that
    cannot be had and for networks that have no feature map or work at one image size only.
    """
    trunk, mean, std = _build(name, pretrained, Trunk, features_only=True, out_indices=(-1,))
    return trunk, trunk.channels, mean, std


def build_pyramid(
    name: str, maps: int, pretrained: bool = False
) -> tuple[Pyramid, tuple[float, float, float], tuple[float, float, float]]:
    """(pyramid of the last `maps` maps, mean, std) for a timm name; raises as `build_trunk` does."""
    return _build(name, pretrained, Pyramid, features_only=True, out_indices=tuple(range(-maps, 0)))


def build_pooled_trunk(
    name: str, pretrained: bool = False
) -> tuple[PooledTrunk, int, tuple[float, float, float], tuple[float, float, float]]:
    """(trunk, channels, mean, std) for a timm name that `pools_itself`; raises as `build_trunk` does."""
    trunk, mean, std = _build(name, pretrained, PooledTrunk, num_classes=0)
    return trunk, trunk.channels, mean, std


def pools_itself(name: str) -> bool:
    """Whether a timm network ends in a layer norm and its own pooling: transformers, ConvNeXt.

    Their maps take both signs. UnknownNameError for a name timm does not have.
    """
    check_backbone(name)
    with torch.device("meta"):  # shapes without memory
        net = timm.create_model(name)
    head = getattr(net, "head", None)
    return any(
        isinstance(getattr(part, norm, None), nn.LayerNorm)
        for part, norm in ((net, "norm"), (net, "fc_norm"), (head, "norm"))
    )


def build_token_trunk(
    name: str, layers: int, pretrained: bool = False
) -> tuple[TokenTrunk, tuple[float, float, float], tuple[float, float, float]]:
    """(trunk of the tokens of the last `layers` blocks, mean, std) for a vision transformer of timm.

    Raises as `build_trunk` does, and WeightsError for a network without a class token or with fewer blocks.
    """

    def tokens(net: Any, _on_grid: bool, _name: str) -> TokenTrunk:
        parts = ("cls_token", "blocks", "forward_intermediates", "patch_embed")
        plain = all(getattr(net, part, None) is not None for part in parts) and hasattr(net.patch_embed, "feat_ratio")
        if not plain or isinstance(net.norm, nn.Identity):
            raise WeightsError(
                f"backbone {name} is no vision transformer that ends in a class token; take one such as {TINY_HYBRID}"
            )
        if not 1 <= layers <= len(net.blocks):
            raise WeightsError(f"backbone {name} has {len(net.blocks)} layers, {layers} were asked for")
        return TokenTrunk(net, layers)

    return _build(name, pretrained, tokens, num_classes=0)


def check_backbone(name: str) -> None:
    """UnknownNameError, with the nearest name, unless timm has this architecture (and weight tag)."""
    known = timm.list_models(pretrained=True) if "." in name else timm.list_models()
    if name not in known:
        raise UnknownNameError(
            f"unknown backbone {name!r}{did_you_mean(name, known)}; timm.list_models() lists all {len(known)}"
        )


def pretrained_source(name: str) -> tuple[str, float]:
    """(address, megabytes) of the weights timm has for `name`, without asking the network.

    The size is counted from the layers in float32. WeightsError when timm has no weights.
    """
    check_backbone(name)
    repository, revision = _repository(name)
    with torch.device("meta"):  # shapes without memory
        network = timm.create_model(name)
    values = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    return hub.address(repository, revision), values / 1e6


def cached_pretrained(name: str) -> Path | None:
    """The weights of `name` in the local cache (under HF_HOME), or None."""
    return hub.cached(*_repository(name))


def say_on_stderr(line: str) -> None:
    """The default `say`: talk goes to stderr."""
    print(line, file=sys.stderr)


def fetch_pretrained(name: str, offline: bool = False, say: Callable[[str], object] = say_on_stderr) -> Path:
    """The local safetensors file of timm's weights for `name`: from the cache, else downloaded.

    Address and size are said before a download. `offline`, or HF_HUB_OFFLINE in the environment,
    forbids one. WeightsError, with the ways to go on, when the file cannot be had.
    """
    check_backbone(name)
    cached = cached_pretrained(name)
    if cached is not None:
        return cached
    where, megabytes = pretrained_source(name)
    what = f"the pretrained weights of {name} ({where}, about {megabytes:.0f} MB)"
    if offline or hub.is_off():
        raise WeightsError(
            f"{what} are not in the local cache and downloading is off (--offline or HF_HUB_OFFLINE). {hub.ways_on()}"
        )
    say(f"downloading {what}")
    return hub.download(*_repository(name), what)


def _repository(name: str) -> tuple[str, str | None]:
    """(repository, revision or None) on the hub; WeightsError when timm keeps no weights there."""
    hub_id = get_pretrained_cfg(name).hf_hub_id
    if not hub_id:
        raise WeightsError(
            f"timm has no pretrained weights for {name}; choose another backbone, "
            "or give --weights FILE, or --weights none for random ones"
        )
    repository, _, revision = hub_id.partition("@")
    return repository, revision or None


def _build(
    name: str, pretrained: bool, wrap: Callable[[nn.Module, bool, str], Any], **options: Any
) -> tuple[Any, tuple[float, float, float], tuple[float, float, float]]:
    """(wrap(network, on grid, name), mean, std), checked to take any size."""
    check_backbone(name)
    cfg = get_pretrained_cfg(name)
    options["pretrained"] = pretrained
    if pretrained:
        # custom_load would read the file as the authors' .npz, not as the safetensors it is
        options["pretrained_cfg_overlay"] = {"file": str(fetch_pretrained(name)), "custom_load": False}
    fixed = bool(cfg.fixed_input_size)
    wrapped = wrap(_create(name, options, ANY_SIZE if fixed else ({},)), fixed, name)
    _take_any_size(name, wrapped)
    return wrapped, tuple(cfg.mean), tuple(cfg.std)


def _create(name: str, options: dict[str, Any], ways: tuple[dict[str, Any], ...]) -> nn.Module:
    """The network, told in the first of `ways` that its constructor accepts."""
    for way in ways:
        try:
            return timm.create_model(name, **options, **way)
        except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
            if isinstance(error, TypeError) and way != ways[-1]:
                continue  # an unexpected keyword: this architecture has another way, or none
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise WeightsError(f"backbone {name} cannot give a feature map: {reason}") from error
    raise AssertionError("ways is never empty")


def _take_any_size(name: str, trunk: Any) -> None:
    """Put a trunk on its grid if it fails at odd sizes; WeightsError if it fails at multiples of its stride too."""
    on_grid = getattr(trunk, "on_grid", True)  # tokens always are
    if not on_grid and not runs(trunk, 67, 131):
        trunk.on_grid = on_grid = True
    if on_grid and not runs(trunk, 3 * trunk.stride, 5 * trunk.stride):
        raise WeightsError(f"backbone {name} does not work at every image size; choose another")


def runs(trunk: nn.Module, height: int, width: int) -> bool:
    """Whether a trunk takes an image of this size, tried on a black one."""
    mode = trunk.training
    try:
        with torch.no_grad():
            trunk.eval()(torch.zeros(1, 3, height, width))
    except Exception:  # assertions, shape errors, index errors: each architecture has its own
        return False
    finally:
        trunk.train(mode)
    return True
