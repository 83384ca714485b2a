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


class Pixels(NamedTuple):
    """Of an image [H, W, 3] uint8, with the SHA-256 of its file."""

    pixels: np.ndarray
    sha256: bytes


class Wanted(NamedTuple):
    """An image of some chunks: the number of its chunk, its place in it, and its SHA-256."""

    chunk: int
    place: int
    sha256: bytes


def decode_some(images: Sequence[ImageFile], rule: DecodeRule, version: str) -> list[Any]:
    """Decode some images: a list of answers, and a list of Pixels, which stays where it is until they are described."""
    check_version(version)
    keep_freed_memory()
    if (behind := _NICE - os.nice(0)) > 0:
        os.nice(behind)  # the model goes before decoding ahead
    answers, pixels = [], []
    for image in images:
        started = time.process_time()
        result = decode(image, rule)
        seconds = time.process_time() - started
        if isinstance(result, Decoded):
            pixels.append(Pixels(result.pixels, result.sha256))
            result = replace(result, pixels=NOTHING)
        else:
            pixels.append(Pixels(NOTHING, b""))
        answers.append(Answer(result, pixels[-1].pixels.shape, seconds, os.uname().nodename))
    return [answers, pixels]


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

    def other_than(self, first: Facts) -> str | None:
        """In what this model is not the first one, of those things that make other descriptors."""
        for name in ("identity", "dim", "image_size", "precision", "device"):
            mine, other = getattr(self, name), getattr(first, name)
            if mine != other:
                return f"its {name} is {mine}, that of the first one {other}"
        return None


class Model:
    """A model on a worker: for a new store's job, or by the recipe of a store. `load` makes it ready.

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
        self._asked = job, recipe, origin, weights, threads, version

    def machine(self) -> str:
        """The host name; an answer says that the worker runs."""
        return os.uname().nodename

    def load(self) -> Facts:
        """What the store's recipe is made of."""
        job, recipe, origin, weights, threads, version = self._asked
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
        return Facts(
            loaded.identity,
            loaded.origin,
            loaded.dim,
            loaded.image_size,
            loaded.precision,
            loaded.trained,
            loaded.describer.device.type,
            said,
        )

    def describe(self, wanted: Sequence[Wanted], *chunks: Sequence[Pixels]) -> np.ndarray:
        """Images of one size, that lie in `chunks` -> [B, D] float32 unit rows.

        EngineError when one is not what was decoded at first: its machine went away, and the file had changed when it
        was decoded again.
        """
        images = [chunks[one.chunk][one.place] for one in wanted]
        if any(image.sha256 != one.sha256 for image, one in zip(images, wanted, strict=True)):
            raise EngineError("an image changed while it was described; run the same again")
        return self._describer(np.stack([image.pixels for image in images]))


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
