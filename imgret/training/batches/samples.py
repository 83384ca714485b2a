"""One batch of pixels, made whole in one process: decoded, stood in for where damaged, augmented."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.training.batches.augment import Augmentation, augmentation_called
from imgret.training.batches.plans import Batch

_SLACK = 1.5  # an augmentation warps anyway: to resize what is nearly small enough costs a third of a sample
_PHOTOGRAPH = 4 / 3  # the aspect up to which an image in a square keeps its shorter side, too


@dataclass(frozen=True, slots=True)
class Work:
    """All that a process needs to make batch `number`: the batch, and the images and labels of its `whole`.

    `plain` asks for what is seen before light and backdrop, too.
    """

    number: int
    batch: Batch
    images: list[ImageFile]
    labels: np.ndarray
    plain: bool = False


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """Images of one size, ready for a model. With two views of each image B counts both: first views first.

    number    place among the batches that were asked for, from 0
    pixels    uint8 [B, 3, h, w], RGB
    labels    int64 [B], -1 for none
    rows      int64 [B], rows of the training set; not the plan's where another image stands in
    maps      float32 [B, 1, h, w], 0 to 1, zeros where there is none; None when no heat maps were asked for
    has_map   bool [B]
    failed    (row, reason) of the images of this batch that could not be decoded
    windows   int64 [B], which of its image's fixed windows each is; None when every window is a new one
    placed    bool [B], False for what lies on a backdrop
    plain     uint8 [B, 3, h, w], pixels before light and backdrop; None when they were not asked for
    """

    number: int
    pixels: Tensor
    labels: Tensor
    rows: Tensor
    maps: Tensor | None
    has_map: Tensor
    failed: list[tuple[int, str]]
    windows: Tensor | None
    placed: Tensor
    plain: Tensor | None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The pixels by shape: there is one."""
        return (self.pixels,)

    @property
    def target(self) -> Tensor:
        """What a loss is called with beside the descriptors: the labels."""
        return self.labels


@dataclass(frozen=True, slots=True)
class Skipped:
    """A batch without a single image that can be decoded."""

    number: int
    failed: list[tuple[int, str]]


@dataclass(frozen=True)
class SampleMaker:
    """How every batch of a run is made. Small, and sent to each worker process once.

    With `windows`, an image has so many fixed windows, and `turn`, the epoch, says which one is next.
    """

    augmentation: str
    seed: int
    views: int
    heat_maps: str | None
    windows: int = 0
    turn: int = 0

    def make(self, work: Work) -> TrainBatch | Skipped:
        """Decode and augment a batch, on one thread."""
        with _one_thread():
            return self._make(work)

    def _make(self, work: Work) -> TrainBatch | Skipped:
        batch, augmentation = work.batch, augmentation_called(self.augmentation)
        pictures = _Pictures(work.images, _rule(batch.size, augmentation.detail))
        places = range(batch.first, batch.first + len(batch.rows))
        shown = [pictures.good_from(place) for place in places]
        failed = [
            (int(row), why)
            for row, place in zip(batch.rows, places, strict=True)
            if (why := pictures.failure(place)) is not None
        ]
        if None in shown:
            return Skipped(work.number, list(dict.fromkeys(failed)))
        sources = [place for place in shown if place is not None]
        width, height = batch.size
        count = len(sources)
        pixels = torch.empty((self.views * count, 3, height, width), dtype=torch.uint8)
        maps = torch.zeros((self.views * count, 1, height, width)) if self.heat_maps is not None else None
        has_map = torch.zeros(self.views * count, dtype=torch.bool)
        plain = torch.empty_like(pixels) if work.plain else None
        placed = torch.ones(self.views * count, dtype=torch.bool)
        rows = (batch.rows if batch.whole is None else batch.whole)[sources]
        windows = window_numbers(self.turn, count, self.views, self.windows) if self.windows else None
        for index, (place, source) in enumerate(zip(places, sources, strict=True)):
            heat_map, why = self._heat_map(work.images[source], batch.size, augmentation)
            if why is not None:
                failed.append((int(batch.rows[index]), why))
            for view in range(self.views):
                # By place, not by row: an image that occurs twice looks different each time.
                random = np.random.default_rng([self.seed, batch.seed, place, view])
                at = view * count + index
                window = None
                if windows is not None:  # by row: the same window whenever its turn comes
                    window = np.random.default_rng([self.seed, int(rows[index]), int(windows[at])])
                backdrop = None
                if augmentation.scenes:
                    backdrop = pictures.pixels(sources[int(random.integers(count))])
                picture = pictures.pixels(source)
                sample = augmentation(picture, batch.size, random, heat_map, window=window, backdrop=backdrop)
                pixels[at], placed[at] = sample.pixels, sample.placed
                if plain is not None:
                    plain[at] = sample.plain
                if maps is not None and sample.heat_map is not None:
                    maps[at], has_map[at] = sample.heat_map, True
        return TrainBatch(
            number=work.number,
            pixels=pixels,
            labels=torch.from_numpy(np.tile(work.labels[sources], self.views)),
            rows=torch.from_numpy(np.tile(rows, self.views)),
            maps=maps,
            has_map=has_map,
            failed=list(dict.fromkeys(failed)),  # an image may occur twice
            windows=None if windows is None else torch.from_numpy(windows),
            placed=placed,
            plain=plain,
        )

    def _heat_map(
        self, image: ImageFile, size: tuple[int, int], augmentation: Augmentation
    ) -> tuple[np.ndarray | None, str | None]:
        """Grey levels [H, W] uint8, or None where there is no file; and why, if there is one that is damaged."""
        if self.heat_maps is None:
            return None, None
        name = image.id + ".png"
        path = os.path.join(self.heat_maps, name)
        # The map is as large as it is: `bytes` is only asked whether it exceeds a limit.
        found = decode(ImageFile(name, path, self.heat_maps, 0, 0), _rule(size, augmentation.detail))
        if isinstance(found, Decoded):
            return np.ascontiguousarray(found.pixels[:, :, 0]), None
        return None, None if found.reason == "missing" else f"{found.reason}: its heat map {name}: {found.message}"


def window_numbers(turn: int, images: int, views: int, windows: int) -> np.ndarray:
    """Which of its fixed windows each image of a batch has in the epoch `turn`: int64 [views * images]."""
    return np.repeat((turn * views + np.arange(views)) % windows, images)


def _rule(size: tuple[int, int], detail: float) -> DecodeRule:
    return DecodeRule(round(detail * max(*size, _PHOTOGRAPH * min(size))), slack=_SLACK)


class _Pictures:
    """The images of a whole batch, each decoded when it is first asked for and then kept."""

    def __init__(self, images: list[ImageFile], rule: DecodeRule) -> None:
        self._images = images
        self._rule = rule
        self._found: dict[int, Decoded | Undecodable] = {}

    def good_from(self, place: int) -> int | None:
        """The first place at or after `place`, the end joined to the beginning, that can be decoded.

        Ranks look through the same whole batch, so they agree on every stand-in, and on skipping.
        """
        for step in range(len(self._images)):
            candidate = (place + step) % len(self._images)
            if isinstance(self._decoded(candidate), Decoded):
                return candidate
        return None

    def pixels(self, place: int) -> np.ndarray:
        found = self._decoded(place)
        assert isinstance(found, Decoded)
        return found.pixels

    def failure(self, place: int) -> str | None:
        found = self._decoded(place)
        return f"{found.reason}: {found.message}" if isinstance(found, Undecodable) else None

    def _decoded(self, place: int) -> Decoded | Undecodable:
        if place not in self._found:
            self._found[place] = decode(self._images[place], self._rule)
        return self._found[place]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over a picture then have one order, so that a sample is the same bit for bit in every process."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
