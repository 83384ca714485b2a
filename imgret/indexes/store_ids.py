"""StoreIds: ids of a store by row number, read from the shards when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from imgret.ids import from_bytes
from imgret.store.shard import read_columns
from imgret.store.store import Store

_KEPT = 1_000_000  # ids, unless more are asked for at once


class StoreIds(Sequence[str]):
    """Ids of the live rows, numbered in the order of the store's blocks; a million of those once read are kept.

    Ten million rows of which a hundred are asked for cost a hundred ids. Ask for many at once with `raw`: each
    shard they are in is then read once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ends = np.cumsum([entry.live_count for entry in store.shards], dtype=np.int64)
        self._known: dict[int, tuple[bytes, int]] = {}

    def raw(self, rows: np.ndarray) -> list[bytes]:
        """The ids of the given rows as bytes. IndexError for a row that is not there."""
        self._read(np.asarray(rows, np.int64))
        return [self._known[row][0] for row in rows.tolist()]

    def root(self, row: int) -> int:
        """Which of the store's roots the id of a row is relative to."""
        self._read(np.array([row]))
        return self._known[row][1]

    def _read(self, rows: np.ndarray) -> None:
        wanted = set(rows.tolist())
        if len(self._known) + len(wanted) > _KEPT:
            self._known.clear()
        rows = np.array(sorted(wanted - self._known.keys()), np.int64)
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self):
            raise IndexError(f"rows must be from 0 to {len(self) - 1}")
        where = np.searchsorted(self._ends, rows, "right")
        for number in np.unique(where).tolist():
            ids, live = self._store.shard_ids(number), self._store.shards[number].live_rows()
            root = read_columns(self._store.shard_path(number), ("root",), self._store.fingerprint)["root"]
            here = rows[where == number]
            inside = live[here - (self._ends[number] - len(live))]
            for row, place, folder in zip(here.tolist(), inside.tolist(), root[inside].tolist(), strict=True):
                self._known[row] = ids.raw(place), folder

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [from_bytes(raw) for raw in self.raw(np.arange(len(self))[row])]
        return from_bytes(self.raw(np.array([row + len(self) if row < 0 else row]))[0])

    def __iter__(self) -> Iterator[str]:
        return map(from_bytes, self._store.ids())
