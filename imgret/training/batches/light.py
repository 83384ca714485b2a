"""What light, lens and file do to the pixels. They never move anything, so heat maps stay as they are."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms.v2 import functional as F


def as_it_is(pixels: Tensor, random: np.random.Generator) -> Tensor:  # noqa: ARG001
    """Pixels [3, h, w] uint8, unchanged."""
    return pixels


def soft_light(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Brightness times 0.9 to 1.1, of pixels [3, h, w] uint8. Yokoo et al. (arXiv:2003.11211), in their code."""
    return F.adjust_brightness(pixels, random.uniform(0.9, 1.1))


def phone_light(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Exposure, colour cast, saturation, blur, noise, JPEG and cut-outs, each of them often but not always.

    Pixels [3, h, w] uint8 -> the same. Kinds, ranges and chances are ours.
    """
    pixels = _exposed(pixels, random)
    if random.random() < 0.5:
        pixels = F.adjust_saturation(pixels, random.uniform(0.4, 1.6))
    if random.random() < 0.3:
        # At most a hundredth of the longer side: what a trembling hand or a missed focus takes.
        pixels = _blurred(pixels, random.uniform(0.2, 1.0) * max(pixels.shape[1:]) / 100)
    if random.random() < 0.3:
        pixels = _noisy(pixels, random.uniform(2, 15), random)
    if random.random() < 0.4:
        pixels = _as_jpeg(pixels, int(random.integers(30, 91)))
    if random.random() < 0.3:
        pixels = _cut_out(pixels, random)
    return pixels


def scene_light(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Light that falls from one side, and a reflection, each often but not always; then all of `phone_light`."""
    if random.random() < 0.5:
        pixels = _shaded(pixels, random)
    if random.random() < 0.3:
        pixels = _glaring(pixels, random)
    return phone_light(pixels, random)


def _shaded(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """From full light on one side to 0.3 to 0.9 of it on the other, any direction."""
    across, down = _places(pixels)
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * across + np.sin(angle) * down  # about -0.7 to 0.7
    levels = 1 - random.uniform(0.1, 0.7) * (0.5 + along / 1.42)
    return _clipped(pixels.numpy() * levels.astype(np.float32))


def _glaring(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """A soft white spot anywhere, up to a fifth of the longer side in radius."""
    across, down = _places(pixels)
    x, y = random.uniform(-0.5, 0.5, 2)
    spread = random.uniform(0.05, 0.2)
    spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * spread**2))
    return _clipped(pixels.numpy() + (random.uniform(80, 255) * spot).astype(np.float32))


def _places(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel is, from -0.5 to 0.5 of the longer side: [1, w] and [h, 1]."""
    height, width = pixels.shape[1:]
    longer = max(height, width)
    return (np.arange(width)[None] + 0.5 - width / 2) / longer, (np.arange(height)[:, None] + 0.5 - height / 2) / longer


def _clipped(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.uint8))


def _exposed(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Brightness, contrast about the picture's mean, gamma and a cast of colour, as one table of levels a channel."""
    gain = random.uniform(0.6, 1.4) * random.uniform(0.88, 1.12, (3, 1))  # [3, 1]
    contrast, gamma = random.uniform(0.6, 1.4), np.exp(random.uniform(-0.4, 0.4))
    mean = pixels.float().mean().item() / 255
    levels = np.arange(256)[None] / 255
    levels = np.clip((levels - mean) * contrast + mean, 0, 1) ** gamma * gain
    table = np.clip(levels * 255, 0, 255).round().astype(np.uint8)  # [3, 256]
    values = pixels.numpy()
    return torch.from_numpy(np.stack([table[channel][values[channel]] for channel in range(3)]))


def _blurred(pixels: Tensor, sigma: float) -> Tensor:
    return _tensor(_picture(pixels).filter(ImageFilter.GaussianBlur(sigma)))  # several times as fast as torchvision's


def _as_jpeg(pixels: Tensor, quality: int) -> Tensor:
    stored = io.BytesIO()
    _picture(pixels).save(stored, "JPEG", quality=quality)
    with Image.open(stored) as picture:
        return _tensor(picture)


def _picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _noisy(pixels: Tensor, deviation: float, random: np.random.Generator) -> Tensor:
    """Gaussian noise of a standard deviation given in levels of 255."""
    noise = random.standard_normal(tuple(pixels.shape), np.float32) * np.float32(deviation)
    return torch.from_numpy(np.clip(pixels.numpy() + noise, 0, 255).astype(np.uint8))


def _cut_out(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """One to three rectangles of one colour each, up to a third of either side: what stands in the way."""
    height, width = pixels.shape[1:]
    for _ in range(random.integers(1, 4)):
        h, w = (max(1, round(side * random.uniform(0.1, 1 / 3))) for side in (height, width))
        top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        colour = torch.from_numpy(random.integers(0, 256, (3, 1, 1)).astype(np.uint8))
        pixels = F.erase(pixels, int(top), int(left), h, w, colour)
    return pixels
