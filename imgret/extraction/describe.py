"""Describer: batches of pixels to unit descriptors, on a device, at a precision, over scales."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from imgret.allocator import keep_freed_memory
from imgret.errors import ImgretError
from imgret.extraction import multiscale
from imgret.extraction.compiling import Compiling
from imgret.extraction.contest import Contest
from imgret.extraction.job import Say, quiet
from imgret.extraction.lane import Lane
from imgret.extraction.scale_pooling import AUTO, parse_scale_pooling
from imgret.extraction.seeing import Places, as_batch, places_of, views_of
from imgret.models.base import DescriptorModel
from imgret.models.sight import Geometry, view_geometry

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ENOUGH = 40  # batches that a run must have for a contest to be worth its while
# Pixels of a side below which a processor describes in float32: on those with AMX, a strided bf16 convolution whose map
# comes out one column wide reads memory that is not its own (oneDNN in torch 2.14; tests/benchmarks/bench_slivers.py).
_SLIVER = 64
_LAYOUTS = (torch.channels_last, torch.contiguous_format)


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


def batch_size_on(device: str, side: int) -> int:
    """A sensible number of images a call on a kind of device, for images whose longer side is `side` pixels."""
    if device != "cpu":
        return 64
    # a processor is quickest with what its caches hold: 4 photos of 512 px, 10 of 320 (docs/benchmarks.md)
    return min(max(4, 4 * 512**2 // side**2), 64)


@dataclass(frozen=True)
class Decomposed:
    """A descriptor as a sum over the places of its image, before it is made unit length.

    parts   [h, w, D] float32, what each cell of the model's last map brings
    rest    [D] float32, what belongs to no place: see `DescriptorModel.parts`
    places  (first centre, step) of the rows of cells and of the columns, as parts of the image's sides
    """

    parts: np.ndarray
    rest: np.ndarray
    places: Places


class Describer:
    """Calls a model on batches of pixels, at one scale or at several that are pooled (see SCALE_POOLINGS).

    The softmaxes, powers and norms of our own modules stay in float32 under autocast; `precision` is
    that of the matrix products. `compile` None leaves it to the number of images expected (`expect`).

    device
    ahead   batches that may be begun before the first is waited for
    """

    def __init__(
        self,
        model: DescriptorModel,
        device: torch.device,
        precision: str = "fp32",
        scales: Sequence[float] = (1.0,),
        compile: bool | None = False,
        scale_pooling: str = AUTO,
        say: Say = quiet,
    ) -> None:
        self.device = device
        self._dtype = PRECISIONS[precision]
        self._scales = tuple(scales)
        self._pool, raw = _pooling(model, scale_pooling)
        if device.type == "cpu":
            keep_freed_memory()
        self._model = model.eval().requires_grad_(False).folded().to(device).to(memory_format=torch.channels_last)
        self._rows = self._model.rows if raw else self._model
        self._compiling = Compiling(self._rows, device, self._dtype, compile, say)
        self._layout: torch.memory_format = torch.channels_last
        self._layouts: Contest[torch.memory_format] = Contest([torch.channels_last])
        self._lane = Lane(device)
        self.ahead = self._lane.ahead

    def expect(self, images: int, side: int) -> None:
        """Tell that so many images will come, of which the longer side has `side` pixels.

        Where they are many, the first batches are used to find out what is quickest on this machine: whether to compile
        the model, and how a processor wants float32 laid out in memory. The settings differ in the last bits.
        """
        batches = images // self.batch_size(side)
        self._compiling.expect(images)
        if self.device.type == "cpu" and self._dtype is torch.float32 and batches >= _ENOUGH:
            self._layouts = Contest(_LAYOUTS)

    @property
    def settled(self) -> bool:
        """Whether nothing is being tried out any more."""
        return self._layouts.winner is not None and self._compiling.settled

    def batch_size(self, side: int) -> int:
        """A sensible number of images a call, for images whose longer side is `side` pixels."""
        return batch_size_on(self.device.type, side)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """[B, H, W, 3] uint8 RGB -> [B, D] float32 unit rows."""
        return self.begin(pixels)()

    def begin(self, pixels: np.ndarray | Tensor) -> Callable[[], np.ndarray]:
        """Begin to describe a batch, a tensor where it is on the device already; what is given back waits for it.

        A GPU goes on meanwhile (see `ahead`).
        """
        started = time.perf_counter()
        if self._layouts.winner is None or self._layouts.winner is not self._layout:
            self._use(self._layouts.current)
        with torch.no_grad():  # not inference_mode, which the constants of a compiled model do not go with
            batch = pixels if isinstance(pixels, Tensor) else self._lane.to_device(pixels)
            images = batch.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=self._layout)
            rows = multiscale.multiscale(self._describe, images, self._scales, self._pool)
        waiting = self._lane.from_device(rows)
        if not self.settled:
            waiting = partial(self._noted, waiting, pixels.nbytes, started)
        return waiting

    def decompose(self, pixels: np.ndarray) -> Decomposed | str:
        """The descriptor of one image [H, W, 3] uint8 RGB as a sum over its places; or, in words, why it is none.

        In float32, whatever the precision of this describer.
        """
        if self._scales != (1.0,):
            scales = ", ".join(f"{scale:g}" for scale in self._scales)
            return f"the descriptors were made at scales {scales}, and a place has an exact part at scale 1 alone"
        with torch.autocast(self.device.type, enabled=False):
            found = self._model.decompose(as_batch(pixels, self.device, self._layout))
        if found is None:
            return f"the descriptor of this model ({type(self._model).__name__}) is no sum over the places of an image"
        parts, rest = (each[0].cpu().numpy() for each in found)
        return Decomposed(parts, rest, places_of(self._shape, pixels.shape[:2], parts.shape[:2]))

    def look(self, pixels: np.ndarray) -> dict[str, tuple[np.ndarray, Places]]:
        """Where the model looks in one image [H, W, 3] uint8 RGB: the name of each view, its map [h, w] and places.

        In float32; empty for a model that cannot show it. The maps are those of `DescriptorModel.look`.
        """
        views = views_of(self._model, as_batch(pixels, self.device, self._layout))
        return {name: (view, places_of(self._shape, pixels.shape[:2], view.shape)) for name, view in views.items()}

    def view_words(self) -> dict[str, str]:
        """What the views mean, in the model's own words where it has any."""
        return self._model.view_words()

    @cached_property
    def _shape(self) -> Geometry:
        """Measured once, when it is first asked for: it takes about as long as an image."""
        return view_geometry(self._model)

    def _noted(self, waiting: Callable[[], np.ndarray], pixels: int, started: float) -> np.ndarray:
        rows = waiting()
        seconds = time.perf_counter() - started
        if self._layouts.winner is None:
            self._layouts.note(seconds / pixels)
        else:
            self._compiling.note(seconds, len(rows))
        return rows

    def _use(self, layout: torch.memory_format) -> None:
        if layout is not self._layout:
            self._layout = layout
            self._model.to(memory_format=layout)

    def _describe(self, images: Tensor) -> Tensor:
        if self.device.type == "cpu" and min(images.shape[2:]) < _SLIVER:
            return self._rows(images).float()
        with self._autocast():
            return self._compiling(images).float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


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
