"""Reading and decoding on one core, each way in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

import numpy as np

from imgret.bench.report import Decoding, Reading
from imgret.bench.timing import in_turns, seconds_of
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.images.reading import RefusedError, read_bytes
from imgret.images.stream import decode_stream, prepare_worker

WAYS = tuple((how, reader) for reader in ("pillow", "simplejpeg") for how in ("scaled", "exact"))
_FEWEST = 3


@dataclass(frozen=True)
class Picture:
    """One image as both ways of decoding give it, [H, W, 3] uint8, and what the file says of its size."""

    image: ImageFile
    pixels: dict[str, np.ndarray]
    megapixels: float


def read(images: Sequence[ImageFile]) -> tuple[list[ImageFile], Reading, list[Undecodable]]:
    """The images whose bytes can be had, what it took to get them for the first time, and why not the others."""
    there: list[ImageFile] = []
    refused: list[Undecodable] = []
    seconds = size = 0.0
    for image in images:
        started = time.perf_counter()
        try:
            size += len(read_bytes(image))
        except RefusedError as error:
            refused.append(error.why)
            continue
        seconds += time.perf_counter() - started
        there.append(image)
    count = max(len(there), 1)
    return there, Reading(seconds / count, size / count), refused


def look(
    images: Sequence[ImageFile], rule: DecodeRule, *, workers: int, seconds: float
) -> tuple[list[Picture], list[Undecodable]]:
    """Decode image after image, exactly and scaled, until the time is up; and why some have no pixels."""
    ends = 0.0
    exact: list[tuple[ImageFile, Decoded]] = []
    refused: list[Undecodable] = []
    for image, found in decode_stream(images, replace(rule, scaled=False), workers=workers, window=2 * workers):
        ends = ends or time.perf_counter() + seconds / 2  # the workers take their time to start
        if isinstance(found, Undecodable):
            refused.append(found)
        else:
            exact.append((image, found))
        if time.perf_counter() > ends and len(exact) >= _FEWEST:
            break
    again = decode_stream([image for image, _ in exact], replace(rule, scaled=True), workers=workers)
    pictures = [
        Picture(image, {"exact": one.pixels, "scaled": other.pixels}, one.width * one.height / 1e6)
        for (image, one), (_, other) in zip(exact, again, strict=True)
        if isinstance(other, Decoded)
    ]
    return pictures, refused


def affordable(images: Sequence[ImageFile], rule: DecodeRule, seconds: float, rounds: int) -> list[ImageFile]:
    """As many images as can be timed in every way, judged by the first; a few at least."""
    once = sum(seconds_of(partial(decode, rule=replace(rule, scaled=scaled)), images[0]) for scaled in (True, False))
    return list(images[: max(_FEWEST, int(seconds / (2 * once * (rounds + 1))))])


def measure(images: Sequence[ImageFile], rule: DecodeRule, *, rounds: int) -> list[Decoding]:
    """Seconds an image for every way in WAYS, in a process like the workers of `imgret extract`.

    The ways of simplejpeg say why not where it is not installed.
    """
    ways = [way for way in WAYS if way[1] == "pillow" or find_spec("simplejpeg") is not None]
    tasks = [
        partial(decode, rule=replace(rule, scaled=how == "scaled", fast=reader == "simplejpeg")) for how, reader in ways
    ]
    with ProcessPoolExecutor(1, get_context("spawn"), prepare_worker) as worker:
        taken = worker.submit(in_turns, tasks, images, rounds=rounds + 1).result()  # one more: nothing is warm yet
    found = {way: sum(times) / len(times) for way, times in zip(ways, taken, strict=True)}
    lacking = "not installed: pip install 'imgret[fast]'"
    return [Decoding(*way, seconds=found[way]) if way in found else Decoding(*way, why_not=lacking) for way in WAYS]
