"""What a trained model is given last, without a gradient: batch norms counted anew, a whitening in its last layer.

Both look at plain photographs, as those that will be described, where training saw crops, light and clutter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from imgret.errors import ImgretError
from imgret.models.base import DescriptorModel
from imgret.nn.projection import Projection
from imgret.nn.recording import recorded


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image [H, W, 3] uint8 as a square of `side` pixels, for batches of one shape."""
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (side, side), Image.Resampling.BICUBIC))


def renew_norms(model: DescriptorModel, batches: Iterable[np.ndarray]) -> None:
    """All batch norms' statistics, in place: the mean over batches [B, H, W, 3] uint8, each counting the same.

    Training leaves a moving average that is mostly of its last steps and of changed pixels. A model whose trunk has
    many blocks is sensitive to what is off a little in each (Wu, Johnson, "Rethinking 'Batch' in BatchNorm",
    arXiv:2105.07576, section 3). ImgretError without batch norms, or without batches.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise ImgretError(f"{type(model).__name__} has no batch norms to count anew")
    momenta = [norm.momentum for norm in norms]
    before = copy.deepcopy([norm.state_dict() for norm in norms])
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the mean over all batches
        norm.train()
    count = 0
    with torch.no_grad():
        for pixels in batches:
            model(_images(pixels))
            count += 1
    for norm, momentum, state in zip(norms, momenta, before, strict=True):
        norm.momentum = momentum
        norm.eval()
        if not count:
            norm.load_state_dict(state)
    if not count:
        raise ImgretError("there are too few images for one batch")


def rows_before(model: DescriptorModel) -> Callable[[np.ndarray], np.ndarray]:
    """Pixels [B, H, W, 3] uint8 -> descriptors [B, dim] float64 as they are before they are made unit length."""
    quick = copy.deepcopy(model).eval().requires_grad_(False).folded()
    last = last_layer(quick)

    def rows(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), recorded([last]) as seen:
            quick(_images(pixels))
        return seen[0].double().numpy()

    return rows


def whiten(model: DescriptorModel, mean: np.ndarray, projection: np.ndarray) -> None:
    """Put y = P (x - m) into the last layer, in place: m [dim] and P [k, dim] float64."""
    last_layer(model).whiten(torch.from_numpy(mean), torch.from_numpy(projection))


def last_layer(model: DescriptorModel) -> Projection:
    """The layer that gives the descriptor; ImgretError for a model that ends otherwise."""
    last = getattr(model, "projection", None)
    if not isinstance(last, Projection):
        raise ImgretError(
            f"{type(model).__name__} does not end with a projection that could take a whitening in; "
            "fit one beside it: imgret whiten STORE -o white.safetensors"
        )
    return last


def _images(pixels: np.ndarray) -> Tensor:
    """[B, H, W, 3] uint8 -> [B, 3, H, W] float32 in 0..1."""
    return torch.tensor(pixels).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
