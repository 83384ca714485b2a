"""Remote: what runs in the workers of a cluster. Plain functions and one class, which know nothing of Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import imgret
from imgret.allocator import keep_freed_memory
from imgret.errors import EngineError
from imgret.extraction.job import ExtractJob
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile

if TYPE_CHECKING:
    from imgret.indexes.parts.merging import Found
    from imgret.indexes.parts.part import PartDone, PartJob

NOTHING = np.zeros((0, 0, 3), np.uint8)
_NICE = 19


class Answer(NamedTuple):
    """What became of an image: the result without its pixels, their shape, and the processor time in seconds.

    machine  the host name of the one that did it
    """

    result: Decoded | Undecodable
    shape: tuple[int, ...]
    seconds: float
    machine: str


def check_version(version: str) -> None:
    """EngineError unless this machine has the version of imgret that asks."""
    if imgret.__version__ != version:
        raise EngineError(
            f"{os.uname().nodename} has imgret {imgret.__version__}, this command is {version}; install the same "
            "version on every machine of the cluster"
        )


def decode_some(images: Sequence[ImageFile], rule: DecodeRule, version: str) -> list[Any]:
    """Decode some images: a list of answers, then the pixels of each, so that each can go its own way."""
    check_version(version)
    keep_freed_memory()
    if (behind := _NICE - os.nice(0)) > 0:
        os.nice(behind)  # the model goes before decoding ahead
    answers, pixels = [], []
    for image in images:
        started = time.process_time()
        result = decode(image, rule)
        seconds = time.process_time() - started
        pixels.append(result.pixels if isinstance(result, Decoded) else NOTHING)
        bare = replace(result, pixels=NOTHING) if isinstance(result, Decoded) else result
        answers.append(Answer(bare, pixels[-1].shape, seconds, os.uname().nodename))
    return [answers, *pixels]


@dataclass(frozen=True)
class Facts:
    """A LoadedDescriber without its model, and what was said while it was loaded."""

    identity: dict[str, Any]
    origin: dict[str, Any]
    dim: int
    image_size: int
    precision: str
    trained: bool
    device: str
    said: list[str]


class Model:
    """A model on a worker: for a new store's job, or by the recipe of a store.

    threads  of torch, on a processor
    """

    def __init__(
        self,
        job: ExtractJob,
        recipe: Mapping[str, Any] | None,
        origin: Mapping[str, Any],
        weights: str | None,
        threads: int,
        version: str,
    ) -> None:
        check_version(version)
        import torch

        from imgret.extraction.engine import Local

        torch.set_num_threads(max(threads, 1))
        said: list[str] = []
        local = Local()
        if recipe is None:
            loaded = local.load_for_job(job, said.append)
        else:
            loaded = local.load_for_recipe(job, recipe, origin, weights, said.append)
        self._describer = loaded.describer
        self._facts = Facts(
            loaded.identity,
            loaded.origin,
            loaded.dim,
            loaded.image_size,
            loaded.precision,
            loaded.trained,
            loaded.describer.device.type,
            said,
        )

    def facts(self) -> Facts:
        """What the store's recipe is made of."""
        return self._facts

    def describe(self, *pixels: np.ndarray) -> np.ndarray:
        """Images of one size, [H, W, 3] uint8 each -> [B, D] float32 unit rows."""
        return self._describer(np.stack(pixels))


def make_part(job: PartJob, version: str) -> PartDone:
    """Make one part of an index; a second try finds the first one's, or throws its own away."""
    check_version(version)
    from imgret.indexes.parts.part import build_part

    return build_part(job)


class HeldPart:
    """A part of an index, open on a worker."""

    def __init__(self, folder: str, version: str) -> None:
        check_version(version)
        from imgret.indexes.parts.searcher import PartSearcher

        self._part = PartSearcher(folder)

    def search(self, queries: np.ndarray, k: int, exactly: bool, parameters: dict[str, int]) -> Found:
        """The k best rows of this part."""
        return self._part.search(queries, k, exactly=exactly, parameters=parameters)
