"""Merge: one store from several of the same recipe, a shard at a time. The stores merged are only read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgret.errors import RecipeError, StoreError
from imgret.ids import escape, from_bytes, to_bytes
from imgret.remote_path import Place
from imgret.store import failures as register
from imgret.store.known import hashes_of
from imgret.store.shard import Shard
from imgret.store.store import FAILURES_FILE, Store
from imgret.store.writer import StoreWriter

Progress = Callable[[int, int], object]
"""Called with (shards looked at, shards in all stores)."""


@dataclass
class MergeReport:
    """What a merge did.

    copied, rewritten   shards taken over as files, or written anew
    added, replaced     rows that were missing, or older than those of a store merged (`newest`)
    kept                rows that stood in the output already, or were older
    failed, total       failures on record, and live rows in the output now
    """

    store: Place
    stores: int
    copied: int = 0
    rewritten: int = 0
    added: int = 0
    replaced: int = 0
    kept: int = 0
    failed: int = 0
    total: int = 0


def merge(
    stores: Sequence[Store],
    output: Place,
    *,
    newest: bool = False,
    repack: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> MergeReport:
    """Put what `output` lacks of some stores into it, shard by shard; again after a kill, it goes on.

    A shard whose rows are all wanted is copied as a file, its hash checked; otherwise, and always with
    `repack` (rows a shard), the wanted rows are written anew. Dead rows are left behind. `say` is told of waiting.

    StoreError when an id stands in two stores, or in the output from another file, unless `newest` lets the file
    that was changed last win; RecipeError for stores of different recipes.
    """
    _check(stores, output)
    if not newest:
        _refuse_twins(stores)
    report = MergeReport(output, len(stores))
    first = stores[0]
    empty = replace(first, path=output, roots=[], shards=[])
    with StoreWriter(Store.open(output) if Store.exists(output) else empty, say) as writer:
        total = sum(len(store.shards) for store in stores)
        done = 0
        packed = _Packed(writer, report, repack or 0)
        for store in stores:
            for number in range(len(store.shards)):
                _merge_shard(store, number, writer, report, packed, newest)
                done += 1
                if progress is not None:
                    progress(done, total)
            if newest:
                packed.close()  # what waits is not found: the next store may have the same ids
        packed.close()
        for store in stores:
            _merge_failures(store, writer)
        writer.save()
        report.failed, report.total = len(writer.failures), writer.store.count
    return report


def _check(stores: Sequence[Store], output: Place) -> None:
    if not stores:
        raise ValueError("at least one store is needed")
    places = [store.path.resolve() for store in stores]
    for number, store in enumerate(stores):
        if places[number] in places[:number]:
            raise StoreError(f"{store.path} is given twice; name it once")
        if places[number] == output.resolve():
            raise StoreError(f"{output} is one of the stores to merge; they are not changed, name another with -o")
    there = [Store.open(output)] if Store.exists(output) else []
    for other in (*stores[1:], *there):
        if other.fingerprint != stores[0].fingerprint:
            raise RecipeError(_difference(stores[0], other))
    Store.check_free(output)


def _difference(one: Store, other: Store) -> str:
    keys = [*one.recipe, *(key for key in other.recipe if key not in one.recipe)]
    key = next(key for key in keys if one.recipe.get(key) != other.recipe.get(key))
    return (
        f"{one.path} and {other.path} were made by different recipes: {key} is {one.recipe.get(key)!r} in the first "
        f"and {other.recipe.get(key)!r} in the second. Extract one anew"
    )


def _refuse_twins(stores: Sequence[Store]) -> None:
    """StoreError for an id that stands in two of the stores, found by hashes and confirmed by the ids themselves."""
    hashes, places = [], []
    for part, store in enumerate(stores):
        for number, entry in enumerate(store.shards):
            rows, ids = entry.live_rows(), store.shard_ids(number)
            hashes.append(hashes_of(ids.iter_raw(), len(ids))[rows])
            places.append(np.stack([np.full(len(rows), part), np.full(len(rows), number), rows], 1).astype(np.int32))
    if not hashes:
        return
    every, where = np.concatenate(hashes), np.concatenate(places)
    order = np.argsort(every, kind="stable")
    every = every[order]
    for at in np.flatnonzero(every[1:] == every[:-1]).tolist():
        (one, shard, row), (other, other_shard, other_row) = where[order[at : at + 2]].tolist()
        image_id = stores[one].shard_ids(shard).raw(row)
        if image_id == stores[other].shard_ids(other_shard).raw(other_row):
            raise _twice(image_id, stores[one].path, stores[other].path)


def _twice(image_id: bytes, one: Place, other: Place) -> StoreError:
    return StoreError(
        f"the id {escape(from_bytes(image_id))} stands in {one} and in {other}; ids must be unique. "
        "Keep the file that was changed last with --newest, or extract one of the folders with another --root"
    )


def _merge_shard(
    store: Store, number: int, writer: StoreWriter, report: MergeReport, packed: _Packed, newest: bool
) -> None:
    entry = store.shards[number]
    if any(one.sha256 == entry.sha256 and not one.dropped for one in writer.store.shards):
        report.kept += entry.live_count  # copied before, whole
        return
    live = entry.live_rows()
    if not len(live):
        return
    store.verify(number)
    shard = store.read_shard(number)
    roots = np.zeros(len(store.roots), np.uint16)
    for old in np.unique(shard.root[live]).tolist():
        roots[old] = writer.root_number(store.roots[old].locate(store.path))
    wanted = live[_wanted(shard, live, store, writer, newest)]
    report.kept += len(live) - len(wanted)
    if not len(wanted):
        return
    same_roots = np.array_equal(roots[shard.root], shard.root)
    if packed.size or len(wanted) < len(shard) or not same_roots:
        packed.add(replace(shard, root=roots[shard.root]), wanted)
    else:
        report.replaced += (replaced := writer.copy(store.path / entry.file, entry))
        report.added += len(shard) - replaced
        report.copied += 1


def _wanted(shard: Shard, live: np.ndarray, store: Store, writer: StoreWriter, newest: bool) -> np.ndarray:
    """[n] bool, which live rows of a shard the output lacks, or has from an older file."""
    ids = [shard.ids[row] for row in live.tolist()]
    places = writer.known.find(ids)
    wanted = places < 0
    for at in np.argsort(places, kind="stable")[int(wanted.sum()) :].tolist():
        place, row = int(places[at]), int(live[at])
        ours, theirs = writer.known[place], shard.sha256[row].tobytes()
        box = None if shard.box is None or shard.box[row, 0] < 0 else tuple(shard.box[row].tolist())
        if newest:  # of files of one time the greater hash wins, so that the order of merging does not matter
            known = ours.mtime_ns, writer.known.sha256_of(place), ours.box or ()
            wanted[at] = (int(shard.mtime_ns[row]), theirs, box or ()) > known
        elif (ours.box, ours.bytes, writer.known.sha256_of(place)) != (box, int(shard.bytes[row]), theirs):
            raise _twice(ids[at], writer.store.path, store.path)  # else the same picture: merged before
    return wanted


class _Packed:
    """Rows on their way into new shards of `size` rows; with size 0 each addition is a shard of its own."""

    def __init__(self, writer: StoreWriter, report: MergeReport, size: int) -> None:
        self.size = size
        self._writer = writer
        self._report = report
        self._waiting: list[Shard] = []

    def add(self, shard: Shard, rows: np.ndarray) -> None:
        """Take some rows of a shard, whose root numbers are the output's."""
        while len(rows):
            room = self.size - sum(map(len, self._waiting)) if self.size else len(rows)
            self._waiting.append(_rows_of(shard, rows[:room]))
            if len(rows) >= room:
                self.close()
            rows = rows[room:]

    def close(self) -> None:
        """Write what waits."""
        if self._waiting:
            shard = _joined(self._waiting)
            self._waiting = []
            replaced = self._writer.add(shard)
            self._report.rewritten += 1
            self._report.replaced += replaced
            self._report.added += len(shard) - replaced


_FACTS = ("width", "height", "bytes", "mtime_ns", "root", "sha256")


def _rows_of(shard: Shard, rows: np.ndarray) -> Shard:
    """Some rows of a shard, in memory."""
    facts: dict[str, Any] = {name: getattr(shard, name)[rows] for name in _FACTS}
    box = None if shard.box is None else shard.box[rows]
    return Shard([shard.ids[row] for row in rows.tolist()], np.array(shard.descriptors[rows]), box=box, **facts)


def _joined(parts: Sequence[Shard]) -> Shard:
    facts: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _FACTS}
    boxes = [np.full((len(part), 4), -1, np.int32) if part.box is None else part.box for part in parts]
    box = np.concatenate(boxes)
    ids = [image_id for part in parts for image_id in part.ids]
    descriptors = np.concatenate([part.descriptors for part in parts])
    return Shard(ids, descriptors, box=box if (box[:, 0] >= 0).any() else None, **facts)


def _merge_failures(store: Store, writer: StoreWriter) -> None:
    """A failure of one store is none where another has a row of the image."""
    failed = list(register.read(store.path / FAILURES_FILE))
    places = writer.known.find([to_bytes(one.id) for one in failed])
    for one, place in zip(failed, places.tolist(), strict=True):
        other = writer.failures.get(one.id)
        if place < 0 and (other is None or (one.mtime_ns, one.reason) > (other.mtime_ns, other.reason)):
            writer.failures.add(one)
