"""What a store remembers of each image: enough to tell whether a file is new, changed or failed before."""

from __future__ import annotations

import builtins
from dataclasses import dataclass

import numpy as np

from imgret.errors import StoreError
from imgret.ids import escape, from_bytes
from imgret.store import failures as register
from imgret.store.failures import Failure
from imgret.store.shard import Shard
from imgret.store.store import FAILURES_FILE, Store


@dataclass(frozen=True, slots=True)
class Known:
    """One live image: where its row is, and its file as it was then."""

    shard: int
    row: int
    bytes: int
    mtime_ns: int
    root: int
    sha256: builtins.bytes
    box: tuple[int, ...] | None


def recall(store: Store) -> tuple[dict[bytes, Known], dict[str, Failure]]:
    """The live images of a store by id, and its remembered failures by id."""
    known: dict[bytes, Known] = {}
    for number, entry in enumerate(store.shards):
        remember(known, store, number, store.read_shard(number), entry.live_rows())
    return known, {one.id: one for one in register.load(store.path / FAILURES_FILE)}


def remember(known: dict[bytes, Known], store: Store, number: int, shard: Shard, rows: np.ndarray) -> None:
    """Add some rows of a shard to `known`; StoreError when an id is there already."""
    sizes, times, roots = shard.bytes.tolist(), shard.mtime_ns.tolist(), shard.root.tolist()
    boxes = shard.box.tolist() if shard.box is not None else None
    for row in rows.tolist():
        image_id = shard.ids[row]
        if image_id in known:
            raise StoreError(
                f"{store.path}: the id {escape(from_bytes(image_id))} stands in it twice; "
                "the store is damaged, extract again into a new one"
            )
        box = tuple(boxes[row]) if boxes is not None and boxes[row][0] >= 0 else None
        known[image_id] = Known(number, row, sizes[row], times[row], roots[row], shard.sha256[row].tobytes(), box)
