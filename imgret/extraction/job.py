"""ExtractJob: everything `imgret extract` can be told, and the defaults' one home. Light: no numpy, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret.remote_path import Place

Say = Callable[[str], object]


def quiet(text: str) -> None:
    """A listener who does not want to hear."""


SCALES = (1.0,)
EXIF = "apply"
DECODE = "scaled"
STORE_DTYPE = "float16"


@dataclass(frozen=True)
class ExtractJob:
    """One extraction. None means: as the store was begun, or else the default named in brackets.

    images            folders, files, globs, `.tar` and `.zip` files, URLs, '-' for a list on stdin
    output            folder or URL of the store
    model             a name from `imgret models`, or a weights file
    backbone          a timm name [the model's own]
    weights           'auto', 'none' (random, from `seed`) or a weights file ['auto']
    seed              of random weights [0]
    image_size        longer side in pixels, never enlarged [the model's own]
    scales            factors of that size whose descriptors are pooled [1]
    scale_pooling     how: a row of SCALE_POOLINGS, or 'gem:p=10' ['auto']
    refine            changes to the trained model (`parse_refinements`), or 'none' ['none']
    precision         'fp32', 'bf16', 'fp16' or 'auto' ['auto': bf16 where the processor has it]
    exif              'apply' or 'ignore' the orientation noted in a file ['apply']
    decode            'scaled' lets JPEG decode at 1/2, 1/4, 1/8; 'exact' decodes every pixel; 'device' leaves the work
                      to the device ['scaled']
    store_dtype       'float16' or 'float32' ['float16']
    workers           decode processes; None: one per core; 0: decode in this process
    batch_size        images of equal size described at once; None: as `Describer` says
    compile           the model first; None: where the images are so many that it pays
    shard_size        images a shard; a shard also closes after `shard_seconds` of work
    part              (I, N): only the images with sha256(id) mod N == I - 1
    engine            a row of ENGINES; with 'ray', `ray_address` is where (see `connected`), `workers` are
                      decode tasks at once, and `gpus_per_worker` is the share of a GPU that each model takes
    """

    images: Sequence[str]
    output: Place
    model: str | None = None
    backbone: str | None = None
    weights: str | None = None
    seed: int | None = None
    offline: bool = False
    image_size: int | None = None
    scales: tuple[float, ...] | None = None
    scale_pooling: str | None = None
    refine: str | None = None
    precision: str | None = None
    exif: str | None = None
    decode: str | None = None
    store_dtype: str | None = None
    list_file: Path | None = None
    root: Path | None = None
    part: tuple[int, int] | None = None
    workers: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    compile: bool | None = None
    shard_size: int = 8192
    shard_seconds: float = 60.0
    max_megapixels: float = 250.0
    verify_content: bool = False
    prune: bool = False
    strict: bool = False
    dry_run: bool = False
    engine: str = "local"
    ray_address: str | None = None
    gpus_per_worker: float = 1.0
