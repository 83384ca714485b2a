"""Images in, descriptors out, in order: decode ahead, batch by size, describe."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from imgret.errors import ImgretError
from imgret.ids import escape
from imgret.images.batches import SizeBatches
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.files import ImageFile
from imgret.images.stream import decode_stream


@dataclass(frozen=True, slots=True)
class Described:
    """One image's unit descriptor [D] float32, with the facts a shard keeps."""

    descriptor: np.ndarray
    width: int
    height: int
    bytes: int
    sha256: builtins.bytes


@dataclass
class Clock:
    """Where the time went, in seconds."""

    decoding: float = 0.0
    describing: float = 0.0
    writing: float = 0.0


def default_workers() -> int:
    """One decode process per core this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def describe_stream(
    images: Iterable[ImageFile],
    rule: DecodeRule,
    describe: Callable[[np.ndarray], np.ndarray],
    *,
    workers: int,
    batch_size: int,
    clock: Clock | None = None,
) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
    """(image, descriptor or why not) for every image, in the order given.

    Memory is bounded: at most a few batches of pixels wait, whatever the number of images.
    """
    clock = clock or Clock()
    batches = SizeBatches(batch_size, limit=4 * batch_size)
    waiting: dict[int, tuple[ImageFile, Decoded]] = {}
    done: dict[int, tuple[ImageFile, Described | Undecodable]] = {}
    following = 0
    decoded = decode_stream(images, rule, workers=workers, window=max(4 * batch_size, 4 * workers))
    started = time.perf_counter()
    for number, (image, result) in enumerate(decoded):
        clock.decoding += time.perf_counter() - started
        if isinstance(result, Undecodable):
            done[number] = image, result
        else:
            waiting[number] = image, result
            for keys, pixels in batches.add(number, result):
                _describe(describe, keys, pixels, waiting, done, clock)
        while following in done:
            yield done.pop(following)
            following += 1
        started = time.perf_counter()
    for keys, pixels in batches.flush():
        _describe(describe, keys, pixels, waiting, done, clock)
    for number in sorted(done):
        yield done[number]


def _describe(
    describe: Callable[[np.ndarray], np.ndarray],
    keys: list[int],
    pixels: np.ndarray,
    waiting: dict[int, tuple[ImageFile, Decoded]],
    done: dict[int, tuple[ImageFile, Described | Undecodable]],
    clock: Clock,
) -> None:
    started = time.perf_counter()
    rows = describe(pixels)
    clock.describing += time.perf_counter() - started
    for key, row in zip(keys, rows, strict=True):
        image, decoded = waiting.pop(key)
        if not np.isfinite(row).all():
            raise ImgretError(
                f"the descriptor of {escape(image.id)} is not finite; extract into a new store with --precision fp32"
            )
        done[key] = image, Described(row, decoded.width, decoded.height, decoded.bytes, decoded.sha256)
