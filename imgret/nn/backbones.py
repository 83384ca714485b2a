"""Trunks from timm: an image in, its last feature map out, whatever the architecture and the size.

The only module that knows timm and the hub its weights come from.
"""

from __future__ import annotations

import logging
import math
import os
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
from imgret.tables import did_you_mean

WEIGHTS_FILE = "model.safetensors"  # what timm's repositories call it; pickled files are never taken
OFFLINE_WAYS = (
    "Offline: --weights FILE, or fill the cache on another machine, copy it here and set HF_HOME to it, "
    "or --weights none --seed 0 for a test"
)
# Ways in which timm's transformers are told to take any size; convolutional trunks know neither word.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class Trunk(nn.Module):
    """A timm network cut after its last feature map: normalised images [B, 3, H, W] -> [B, C, h, w].

    Convolutional maps end as timm leaves them (after the last ReLU for a ResNet); a transformer's are
    its last block's tokens, before the final norm, and take both signs.
    """

    def __init__(self, net: nn.Module, on_grid: bool) -> None:
        super().__init__()
        self.net = net
        info: Any = net.feature_info
        self.channels: int = info.channels()[-1]
        self.stride: int = info.reduction()[-1]
        self.on_grid = on_grid
        self.channels_last: bool = getattr(net, "output_fmt", None) == "NHWC"

    def forward(self, images: Tensor) -> Tensor:
        """The last map, channels first. Trunks that cut patches see the image at the next whole patch."""
        if self.on_grid:
            size = tuple(math.ceil(side / self.stride) * self.stride for side in images.shape[2:])
            if size != tuple(images.shape[2:]):
                images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        features = self.net(images)[-1]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def build_trunk(
    name: str, pretrained: bool = False
) -> tuple[Trunk, int, tuple[float, float, float], tuple[float, float, float]]:
    """(trunk, channels, mean, std) for a timm name; mean and std are the pixels' the trunk was made for.

    `pretrained` takes timm's weights from the local cache, else downloads them (see
    `fetch_pretrained`). UnknownNameError for a name timm does not have; WeightsError for weights that
    cannot be had and for networks that have no feature map or work at one image size only.
    """
    check_backbone(name)
    cfg = get_pretrained_cfg(name)
    options: dict[str, Any] = {"features_only": True, "out_indices": (-1,), "pretrained": pretrained}
    if pretrained:
        options["pretrained_cfg_overlay"] = {"file": str(fetch_pretrained(name))}
    fixed = bool(cfg.fixed_input_size)
    net, ways = _create(name, options, ANY_SIZE if fixed else ({},))
    trunk = Trunk(net, on_grid=fixed)
    if fixed and not ways:
        _check_any_size(name, trunk)
    return trunk, trunk.channels, tuple(cfg.mean), tuple(cfg.std)


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
    where = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repository}"
    with torch.device("meta"):  # shapes without memory
        network = timm.create_model(name)
    values = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    return where + (f"/tree/{revision}" if revision else ""), values / 1e6


def cached_pretrained(name: str) -> Path | None:
    """The weights of `name` in the local cache (under HF_HOME), or None."""
    from huggingface_hub import try_to_load_from_cache

    repository, revision = _repository(name)
    found = try_to_load_from_cache(repository, WEIGHTS_FILE, revision=revision)
    return Path(found) if isinstance(found, str) else None


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
    if offline or _hub_is_off():
        raise WeightsError(f"{what} are not in the local cache and downloading is off. {OFFLINE_WAYS}")
    say(f"downloading {what}")
    repository, revision = _repository(name)
    from huggingface_hub import hf_hub_download

    client_log = logging.getLogger("huggingface_hub")
    level = client_log.level
    client_log.setLevel(logging.ERROR)  # five retries are five warnings; our one line says it all
    try:
        return Path(hf_hub_download(repository, WEIGHTS_FILE, revision=revision))
    except Exception as error:  # the hub's own errors, its transport's and the disk's share no base class
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), "").strip(" .") or type(cause).__name__
        raise WeightsError(f"{what} could not be downloaded: {reason}. {OFFLINE_WAYS}") from error
    finally:
        client_log.setLevel(level)


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


def _hub_is_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _create(name: str, options: dict[str, Any], ways: tuple[dict[str, Any], ...]) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and the first of `ways` its constructor accepts."""
    for way in ways:
        try:
            return timm.create_model(name, **options, **way), way
        except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
            if isinstance(error, TypeError) and way != ways[-1]:
                continue  # an unexpected keyword: this architecture has another way, or none
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise WeightsError(f"backbone {name} cannot give a feature map: {reason}") from error
    raise AssertionError("ways is never empty")


def _check_any_size(name: str, trunk: Trunk) -> None:
    """WeightsError unless a network that names one input size takes another as well."""
    probe = torch.zeros(1, 3, 8 * trunk.stride, 9 * trunk.stride)
    mode = trunk.training
    try:
        with torch.no_grad():
            trunk.eval()(probe)
    except Exception as error:  # assertions, shape errors, index errors: each architecture has its own
        raise WeightsError(f"backbone {name} works at one image size only; choose another") from error
    finally:
        trunk.train(mode)
