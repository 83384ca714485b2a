"""Training: what an empty FAISS index learns from a seeded sample of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from imgret.errors import IndexFileError
from imgret.indexes.kinds import PQ_ROWS, ROWS_PER_LIST
from imgret.indexes.rows import Progress, Rows
from imgret.indexes.structure import Structure, quiet_transforms

SAMPLE = 200_000  # rows to train on, at most
SAMPLE_PER_LIST = 256  # more than this does not move a centroid


def train(
    index: Any, factory: str, rows: Rows, seed: int, max_memory: int | None, progress: Progress | None = None
) -> int:
    """Train an empty index, which a `factory` string made, on a seeded sample; its size, 0 where none is needed.

    The sample takes an eighth of `max_memory` bytes at most, unless the kind needs more. IndexFileError where there are
    too few rows to learn from.
    """
    if index.is_trained:
        return 0
    count, dim, lists = len(rows), rows.dim, Structure(index).lists
    needed = max(ROWS_PER_LIST * lists, ROWS_PER_LIST * PQ_ROWS)
    size = max(needed, min(SAMPLE, SAMPLE_PER_LIST * max(lists, PQ_ROWS)))
    if max_memory is not None:
        size = max(needed, min(size, max_memory // (8 * dim)))
    size = min(size, count)
    if progress is not None:
        progress("training", 0, size)
    sample, end = np.empty((size, dim), np.float32), 0
    for block in rows.read(training_rows(count, size, seed)):
        sample[end : end + len(block)] = block
        end += len(block)
    try:
        with quiet_transforms(index):
            index.train(sample)
    except RuntimeError as error:
        raise IndexFileError(
            f"{factory} cannot be trained on {size:,} vectors ({reason(error)}); with --kind flat any number will do"
        ) from None
    return size


def training_rows(count: int, size: int, seed: int) -> np.ndarray:
    """[size] rows of `count`, rising: the sample that a seed trains on."""
    return np.sort(np.random.default_rng([seed, 0]).choice(count, size, replace=False))


def reason(error: RuntimeError) -> str:
    """The last part of a FAISS message, without the C++ signature before it."""
    return str(error).rpartition("failed: ")[2].rpartition("Error: ")[2].strip()
