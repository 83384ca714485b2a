"""Batches of tuples read ahead: the pixels of every shape, and the tuples as rows among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imgret.errors import ImgretError
from imgret.ids import escape
from imgret.images.files import ImageFile
from imgret.training.batches.loading import load
from imgret.training.batches.samples import TrainBatch
from imgret.training.batches.tuples import TupleBatch


@dataclass(frozen=True, slots=True)
class TrainTuples:
    """The images of some tuples, ready for a model.

    number  place among the batches that were asked for, from 0
    parts   uint8 [B_i, 3, h_i, w_i], RGB: one a shape
    target  int64 [T, 2 + k]: rows of the parts' images, one part after the other; -1 where a negative is missing
    rows    int64 [B], rows of the training set
    failed  (row, reason) of the images that could not be decoded
    """

    number: int
    parts: tuple[Tensor, ...]
    target: Tensor
    rows: Tensor
    failed: list[tuple[int, str]]


def load_tuples(
    images: Sequence[ImageFile], labels: np.ndarray, batches: Sequence[TupleBatch], augment: str, **options: Any
) -> Iterator[TrainTuples]:
    """The pixels of every batch, in order; `options` as for `load`.

    An image that cannot be decoded is missing from its tuples: nothing else would be the right positive or
    negative. Without its query or its positive a tuple is left out. ImgretError when nothing of a batch can be decoded:
    several processes could not pass over it together.
    """
    parts = [part for batch in batches for _, part in batch.parts]
    owners = [(number, place) for number, batch in enumerate(batches) for place in range(len(batch.parts))]
    loaded: Any = load(images, labels, parts, augment, **options)
    due = 0
    with closing(loaded):
        for number, group in groupby(loaded, key=lambda part: owners[part.number][0]):
            if number != due:
                break
            yield _together(number, batches[number], {owners[part.number][1]: part for part in group})
            due += 1
    if due != len(batches):
        row = int(batches[due].parts[0][1].rows[0])
        raise ImgretError(
            f"none of the images of a batch can be decoded, the first is {escape(images[row].path)}; "
            "see whether the disk is there, then run the same command again"
        )


def _together(number: int, batch: TupleBatch, loaded: dict[int, TrainBatch]) -> TrainTuples:
    target = np.full(batch.tuples.shape, -1, np.int64)
    offset = 0
    for which, part in loaded.items():
        places, planned = batch.parts[which]
        own = part.rows.numpy() == planned.rows  # elsewhere another image stands in
        target.ravel()[places[own]] = offset + np.flatnonzero(own)
        offset += len(planned.rows)
    return TrainTuples(
        number=number,
        parts=tuple(part.pixels for part in loaded.values()),
        target=torch.from_numpy(target[(target[:, :2] >= 0).all(1)]),
        rows=torch.cat([part.rows for part in loaded.values()]),
        failed=[failure for part in loaded.values() for failure in part.failed],
    )
