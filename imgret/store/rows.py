"""Descriptors of a store by row number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from imgret.remote_path import RemotePath
from imgret.store.store import Store, unit

_KEPT = 4  # shards in memory


@dataclass(frozen=True)
class StoreRows:
    """Live rows of a store, numbered in the order of its blocks; a shard is mapped once and stays open.

    At a URL shards are read into memory instead, and the last few are kept.
    """

    store: Store
    _shards: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows, in any order. IndexError for a row that is not there."""
        rows = np.asarray(rows, np.int64)
        ends = np.cumsum([entry.live_count for entry in self.store.shards])
        found = np.empty((len(rows), self.store.dim), np.float32)
        if not len(rows):
            return found
        if int(rows.min()) < 0 or int(rows.max()) >= self.store.count:
            raise IndexError(f"rows must be from 0 to {self.store.count - 1}")
        where = np.searchsorted(ends, rows, "right")
        for number in np.unique(where).tolist():
            descriptors, live = self._shard(number)
            here = where == number
            begin = ends[number] - len(live)
            inside = live[rows[here] - begin]
            order = np.argsort(inside, kind="stable")  # a mapped file is read forwards
            block = np.empty((len(inside), self.store.dim), np.float32)
            block[order] = descriptors[inside[order]]
            found[here] = block
        return unit(found)

    def _shard(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._shards:
            if isinstance(self.store.path, RemotePath) and len(self._shards) >= _KEPT:
                del self._shards[next(iter(self._shards))]
            self._shards[number] = self.store.descriptors(number), self.store.shards[number].live_rows()
        return self._shards[number]
