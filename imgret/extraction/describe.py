"""Describer: batches of pixels to unit descriptors, on a device, at a precision, over scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imgret.errors import ImgretError
from imgret.models.allocator import keep_freed_memory
from imgret.models.base import DescriptorModel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """'auto' is the first GPU where there is one, else the processor."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ImgretError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ImgretError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ImgretError(f"device {name} is not there (torch sees {torch.cuda.device_count()} GPUs); use --device cpu")
    return device


def resolve_precision(name: str | None, device: torch.device) -> str:
    """'auto' is bf16 where the hardware multiplies it, else fp32."""
    if name in PRECISIONS:
        return str(name)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


class Describer:
    """Calls a model on batches of pixels.

    The softmaxes, powers and norms of our own modules stay in float32 under autocast; `precision` is
    that of the matrix products.
    """

    def __init__(
        self,
        model: DescriptorModel,
        device: torch.device,
        precision: str = "fp32",
        scales: Sequence[float] = (1.0,),
        compile: bool = False,
    ) -> None:
        self._device = device
        self._dtype = PRECISIONS[precision]
        self._scales = tuple(scales)
        self._power = model.scale_power
        if device.type == "cpu":
            keep_freed_memory()
        model = model.eval().requires_grad_(False).folded().to(device).to(memory_format=torch.channels_last)
        self._model = torch.compile(model, dynamic=True) if compile else model

    def batch_size(self, side: int) -> int:
        """A sensible number of images a call, for images whose longer side is `side` pixels."""
        if self._device.type != "cpu":
            return 64
        # a processor is quickest with what its caches hold: 4 photos of 512 px, 10 of 320 (docs/benchmarks.md)
        return min(max(4, 4 * 512**2 // side**2), 64)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """[B, H, W, 3] uint8 RGB -> [B, D] float32 unit rows."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self._device, non_blocking=True)
            images = batch.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
            return multiscale(self._describe, images, self._scales, self._power).cpu().numpy()

    def _describe(self, images: Tensor) -> Tensor:
        with self._autocast():
            return self._model(images).float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def multiscale(describe: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float], power: float) -> Tensor:
    """Unit descriptors of `images` [B, 3, H, W] over scales: [B, D], unit rows.

    v = (mean_s f_s^power)^(1/power), then v / |v|, f_s the unit descriptor of the images resized by s
    (bilinear, as in Radenović's evaluation). power is 1 for every model with a layer after pooling.
    """
    if tuple(scales) == (1.0,):
        return describe(images)
    total = None
    for scale in scales:
        sized = (
            images
            if scale == 1.0
            else F.interpolate(
                images,
                size=[max(1, int(side * scale)) for side in images.shape[2:]],
                mode="bilinear",
                align_corners=False,
            )
        )
        found = describe(sized)
        found = found if power == 1.0 else found.clamp(min=0).pow(power)
        total = found if total is None else total + found
    assert total is not None
    mean = total / len(scales)
    return F.normalize(mean if power == 1.0 else mean.pow(1 / power))


def library_versions() -> dict[str, str]:
    """Recorded in a store, never compared."""
    from importlib.metadata import version

    import imgret

    names = ("torch", "torchvision", "timm", "pillow", "numpy", "h5py")
    return {"imgret": imgret.__version__, **{name: version(name) for name in names}}
