"""Describer: batches of pixels to unit descriptors, on a device, at a precision, over scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from imgret.errors import ImgretError
from imgret.extraction import multiscale
from imgret.extraction.scale_pooling import AUTO, parse_scale_pooling
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
    """Calls a model on batches of pixels, at one scale or at several that are pooled (see SCALE_POOLINGS).

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
        scale_pooling: str = AUTO,
    ) -> None:
        self._device = device
        self._dtype = PRECISIONS[precision]
        self._scales = tuple(scales)
        self._pool, raw = _pooling(model, scale_pooling)
        if device.type == "cpu":
            keep_freed_memory()
        model = model.eval().requires_grad_(False).folded().to(device).to(memory_format=torch.channels_last)
        self._rows = model.rows if raw else model
        if compile:
            self._rows = torch.compile(self._rows, dynamic=True)

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
            return multiscale.multiscale(self._describe, images, self._scales, self._pool).cpu().numpy()

    def _describe(self, images: Tensor) -> Tensor:
        with self._autocast():
            return self._rows(images).float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def _pooling(model: DescriptorModel, text: str) -> tuple[Callable[[Tensor], Tensor], bool]:
    """What pools the scales of a model, and whether it wants descriptors before they are made unit length."""
    name, p = parse_scale_pooling(text)
    power = model.scale_power
    if name == "auto":
        name = "mean" if power == 1.0 else "gem"
    if p is not None:
        return partial(multiscale.shifted_gem, p=p), True
    if name == "gem":
        if power == 1.0:
            raise ImgretError(
                f"--scale-pooling gem is for models that end in GeM, which {type(model).__name__} does not: "
                "its descriptors take both signs; use mean, signed, max or gem:p=10"
            )
        return partial(multiscale.gem, p=power), False
    pools = {"mean": multiscale.mean, "raw": multiscale.mean, "signed": multiscale.signed, "max": multiscale.largest}
    return pools[name], name == "raw"


def library_versions() -> dict[str, str]:
    """Recorded in a store, never compared."""
    from importlib.metadata import version

    import imgret

    names = ("torch", "torchvision", "timm", "pillow", "numpy", "h5py")
    return {"imgret": imgret.__version__, **{name: version(name) for name in names}}
