"""Neighbours: the nearest of some rows among others that are held in memory, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imgret.atlas.project import Progress
from imgret.indexes.best import Best
from imgret.indexes.neighbours import others_of

_AT_ONCE = 2048  # rows whose nearest are looked for at once
_FIRST, _MOST = 1024, 8192  # rows that they are compared with at once


def nearest_among(queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(numbers int32, cosines float32), [Q, min(k, N)] each, best first, equal ones in order of their numbers.

    queries  [Q, D] unit float32
    rows     [N, D] unit float32

    The same to the last bit whatever is asked beside it and by however many threads. ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, len(rows))
    near, cosines = np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32)
    for start in range(0, len(queries) if k else 0, _AT_ONCE):
        asked = queries[start : start + _AT_ONCE]
        best = Best(asked[:, None], k, _names)
        for begin, end in _spans(len(rows)):
            best.add(np.arange(begin, end), rows[begin:end])
        near[start : start + len(asked)], cosines[start : start + len(asked)] = best.ranked()
    return near, cosines


def nearest_others(rows: np.ndarray, k: int, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest others of every row of [N, D], as `nearest_among`: [N, min(k, N - 1)] each.

    Every row is compared with every other: time grows with N^2 D, and is up to twice that of the bare products.
    """
    count = len(rows)
    k = min(k, max(0, count - 1))
    near, cosines = np.full((count, k), -1, np.int32), np.zeros((count, k), np.float32)
    for start in range(0, count if k else 0, _AT_ONCE):
        end = min(start + _AT_ONCE, count)
        found, scores = nearest_among(rows[start:end], rows, k + 1)
        others = others_of(np.arange(start, end), found)
        near[start:end] = found[others].reshape(end - start, k)
        cosines[start:end] = scores[others].reshape(end - start, k)
        if progress is not None:
            progress("finding neighbours", end, count)
    return near, cosines


def _spans(count: int) -> Iterator[tuple[int, int]]:
    """Where blocks begin and end. They grow with what was seen, so that the best so far rule out nearly all of one."""
    begin, size = 0, _FIRST
    while begin < count:
        end = min(begin + size, count)
        yield begin, end
        begin, size = end, min(_MOST, max(_FIRST, end // 2))


def _names(rows: np.ndarray) -> list[bytes]:
    """What orders rows that are equally near: their numbers."""
    return [number.to_bytes(8, "big") for number in rows.tolist()]
