"""Images in, descriptors out, in order: decode ahead, batch by size, describe."""

from __future__ import annotations

import builtins
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from imgret.errors import ImgretError
from imgret.extraction.threads import ThreadSplit, cores
from imgret.ids import escape
from imgret.images.batches import SizeBatches
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.files import ImageFile
from imgret.images.stream import decode_stream

if TYPE_CHECKING:
    import torch

_ENOUGH = 40  # batches that a run must have to try how many threads are best


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
    """Where the time went, in seconds.

    starting    waiting for the first decoded image, and so for the workers
    decoding    waiting for the others
    describing  the model
    writing     shards
    decode_cpu  processor time spent on decoding `decoded` images, by all workers together
    """

    starting: float = 0.0
    decoding: float = 0.0
    describing: float = 0.0
    writing: float = 0.0
    decode_cpu: float = 0.0
    decoded: int = 0


class Begins(Protocol):
    """Describes batches as `Finish` gives them, up to `ahead` of them begun before the first is waited for."""

    ahead: int

    @property
    def device(self) -> torch.device: ...

    @property
    def settled(self) -> bool:
        """Whether it tries nothing out any more: what a batch takes then says something of the threads."""
        ...

    def begin(self, pixels: Any) -> Callable[[], np.ndarray]:
        """What waits for the rows [B, D] float32 and gives them."""
        ...


Finish = Callable[[Sequence[tuple[ImageFile, Decoded]]], tuple[Any, dict[int, Undecodable]]]
"""Images of one size -> the pixels of a batch, and why some are not in it, by their place.

[B, H, W, 3] uint8; a tensor on the device under a rule with `device`; what another engine's `Begins` takes.
"""

Decodes = Callable[
    [Iterable[ImageFile], Callable[[float], object]], Iterator[tuple[ImageFile, "Decoded | Undecodable"]]
]
"""Decodes images, results in order, and tells the processor time of each: what stands in for `decode_stream`."""


def default_workers() -> int:
    """One decode process per core this process may use."""
    return cores()


def describe_stream(
    images: Iterable[ImageFile],
    rule: DecodeRule,
    describe: Begins,
    *,
    workers: int,
    batch_size: int,
    clock: Clock | None = None,
    expected: int = 0,
    decode: Decodes | None = None,
    finish: Finish | None = None,
) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
    """(image, descriptor or why not) for every image, in the order given.

    Memory is bounded: at most a few batches of pixels wait, whatever the number of images. Where many are
    `expected`, the first batches show how to share the cores between decoding and the model. Another engine brings
    its own `decode` and `finish`; the batches are the same, and so are the descriptors.
    """
    clock = clock or Clock()
    here, finish = finish is None, finish or _stacked
    deep = 4  # batches that wait, decoded or being decoded
    if rule.device:
        from imgret.extraction import on_device

        rule = replace(rule, encoded=on_device.decoder() is not None)
        finish = on_device.OnDevice(describe.device, rule)
        deep = 2  # for images are several times as large before they are resized
    batches = SizeBatches(batch_size, limit=deep * batch_size)
    following = 0
    with ExitStack() as held:
        shared = here and workers > 0 and expected >= _ENOUGH * batch_size and describe.device.type == "cpu"
        split = held.enter_context(ThreadSplit(shared))
        desk = _Desk(describe, clock, split, finish)

        def spent(seconds: float) -> None:
            clock.decode_cpu += seconds
            clock.decoded += 1

        window = max(deep * batch_size, deep * workers)
        if decode is None:
            decoded = decode_stream(images, rule, workers=workers, window=window, spent=spent)
        else:
            decoded = decode(images, spent)
        held.callback(decoded.close)  # type: ignore[attr-defined]  # a generator: ends the decode workers now
        started = time.perf_counter()
        for number, (image, result) in enumerate(decoded):
            if number:
                clock.decoding += time.perf_counter() - started
            else:
                clock.starting = time.perf_counter() - started
            if isinstance(result, Undecodable):
                desk.done[number] = image, result
            else:
                desk.waiting[number] = image, result
                for keys, group in batches.add(number, result):
                    desk.send(keys, group)
            while following in desk.done:
                yield desk.done.pop(following)
                following += 1
            started = time.perf_counter()
        for keys, group in batches.flush():
            desk.send(keys, group)
        desk.receive(0)
    for number in sorted(desk.done):
        yield desk.done[number]


def _stacked(images: Sequence[tuple[ImageFile, Decoded]]) -> tuple[np.ndarray, dict[int, Undecodable]]:
    return np.stack([one.pixels for _, one in images]), {}


@dataclass
class _Desk:
    """Batches on their way through the model: `waiting` for it, begun, `done`; images by their number."""

    describe: Begins
    clock: Clock
    split: ThreadSplit
    finish: Finish
    waiting: dict[int, tuple[ImageFile, Decoded]] = field(default_factory=dict)
    done: dict[int, tuple[ImageFile, Described | Undecodable]] = field(default_factory=dict)
    _begun: deque[tuple[list[int], Callable[[], np.ndarray]]] = field(default_factory=deque)

    def send(self, keys: list[int], images: list[Decoded]) -> None:
        """Begin to describe a batch, and take in what need not be under way any more."""
        started = time.perf_counter()
        alone = self.describe.settled  # of two things tried out at once neither could be told apart
        pixels, failed = self.finish([(self.waiting[key][0], one) for key, one in zip(keys, images, strict=True)])
        for place, why in failed.items():
            self.done[keys[place]] = self.waiting.pop(keys[place])[0], why
        keys = [key for place, key in enumerate(keys) if place not in failed]
        if not keys:
            return
        self._begun.append((keys, self.describe.begin(pixels)))
        self.clock.describing += time.perf_counter() - started
        self.receive(self.describe.ahead)
        if alone and not self.split.settled:
            self.split.described(time.perf_counter() - started, len(keys), self.clock.decode_cpu / self.clock.decoded)

    def receive(self, left: int) -> None:
        """Wait for batches until only `left` are under way."""
        while len(self._begun) > left:
            keys, wait = self._begun.popleft()
            started = time.perf_counter()
            rows = wait()
            self.clock.describing += time.perf_counter() - started
            for key, row in zip(keys, rows, strict=True):
                image, decoded = self.waiting.pop(key)
                if not np.isfinite(row).all():
                    raise ImgretError(
                        f"the descriptor of {escape(image.id)} is not finite; "
                        "extract into a new store with --precision fp32"
                    )
                described = Described(row, decoded.width, decoded.height, decoded.bytes, decoded.sha256)
                self.done[key] = image, described
