"""Rows: images of a store as a collection holds them, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret.errors import InputError
from imgret.ids import escape, from_bytes
from imgret.store.shard import Shard
from imgret.store.store import Store, unit

LONGEST = 65_535  # bytes of a VARCHAR
_REQUEST = 32_000_000  # bytes of a batch, half of what a server takes
_FACTS = 150  # bytes of the facts of a row, more or less
NUMBERS = ("width", "height", "bytes", "mtime_ns")


@dataclass(frozen=True)
class Rows:
    """N images.

    ids          as `imgret.ids.escape` prints them: valid UTF-8 whatever their bytes
    facts        of each: width, height, bytes, mtime_ns, sha256 (hexadecimal), root (escaped), and box, four numbers
                 or none where the whole image was used
    descriptors  [N, D] unit float32
    """

    ids: list[str]
    facts: list[dict[str, Any]]
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, places: Sequence[int]) -> Rows:
        """Those at the given places."""
        return Rows([self.ids[i] for i in places], [self.facts[i] for i in places], self.descriptors[list(places)])


def check_lengths(store: Store) -> None:
    """InputError for an id that no collection can hold."""
    for raw in store.ids():
        if 4 * len(raw) > LONGEST and len(escape(from_bytes(raw)).encode()) > LONGEST:
            raise InputError(
                f"{store.path}: the id {escape(from_bytes(raw))[:60]}... has more than {LONGEST:,} bytes as printed, "
                "which is the most that Milvus keeps; extract that image under a shorter name"
            )


def batches(store: Store, most: int) -> Iterator[Rows]:
    """All live rows in order, at most `most` at a time and never more than one request carries."""
    for number, entry in enumerate(store.shards):
        shard, live = store.read_shard(number), entry.live_rows()
        # an id may grow fourfold when it is escaped
        sizes = np.array([4 * (store.dim + len(shard.ids[row])) + _FACTS for row in live.tolist()], np.int64)
        start = 0
        while start < len(live):
            fits = int(np.searchsorted(np.cumsum(sizes[start : start + most]), _REQUEST, "right"))
            end = start + max(1, fits)
            yield _rows(store, shard, live[start:end])
            start = end


def sample(store: Store, count: int, seed: int = 0) -> Iterator[Rows]:
    """Some live rows drawn at random, shard by shard."""
    drawn = np.random.default_rng(seed).choice(store.count, min(count, store.count), replace=False)
    ends = np.cumsum([entry.live_count for entry in store.shards])
    shards = np.searchsorted(ends, drawn, "right")
    for number in np.unique(shards).tolist():
        live = store.shards[number].live_rows()
        inside = np.sort(drawn[shards == number]) - (ends[number] - len(live))
        yield _rows(store, store.read_shard(number), live[inside])


def _rows(store: Store, shard: Shard, rows: np.ndarray) -> Rows:
    roots = [escape(root.absolute) for root in store.roots]
    facts = [
        {
            **{name: int(getattr(shard, name)[row]) for name in NUMBERS},
            "sha256": shard.sha256[row].tobytes().hex(),
            "root": roots[shard.root[row]],
            "box": [] if shard.box is None or shard.box[row][0] < 0 else shard.box[row].tolist(),
        }
        for row in rows.tolist()
    ]
    ids = [escape(from_bytes(shard.ids[row])) for row in rows.tolist()]
    return Rows(ids, facts, unit(shard.descriptors[rows]))
