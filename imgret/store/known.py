"""What a store remembers of each image: enough to tell whether a file is new, changed or failed before."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret.errors import StoreError
from imgret.ids import escape, from_bytes
from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import Store

_COLUMNS = ("bytes", "mtime_ns", "root", "box")
_KEPT = 65536  # ids that are kept of shards read, so that neighbours are looked up without opening a file each


class Known(NamedTuple):
    """One live image: its file as it was when it was described. `root` is a number in the store's roots."""

    bytes: int
    mtime_ns: int
    root: int
    box: tuple[int, ...] | None


@dataclass(frozen=True)
class Facts:
    """What is kept of one shard's N images, dead rows too; `live` [N] bool says which count."""

    bytes: np.ndarray
    mtime_ns: np.ndarray
    root: np.ndarray
    box: np.ndarray | None
    live: np.ndarray


@dataclass(frozen=True)
class _Run:
    """Hashes of ids, rising, and the place of each."""

    hashes: np.ndarray
    places: np.ndarray


class KnownImages:
    """The live images of a store by id, ten million of them in 35 bytes each: no id is held.

    An image has a place, `shard << 32 | row`. Ids are found by a hash (Python's own, of this process) in a few
    sorted runs; the id of a candidate is read back from its shard and compared.
    """

    def __init__(self, store: Store) -> None:
        self.shards: list[Facts] = []
        self._store = store
        self._runs: list[_Run] = []
        self._read: dict[int, Sequence[builtins.bytes]] = {}
        self._hashed: tuple[int, np.ndarray] | None = None
        hashes, places = [], []
        for number, entry in enumerate(store.shards):
            rows = entry.live_rows()
            columns = shards.read_columns(store.shard_path(number), ("ids", *_COLUMNS), store.fingerprint)
            self._remember(entry.count, rows, columns)
            hashes.append(hashes_of(columns["ids"].iter_raw(), entry.count)[rows])
            places.append(number << 32 | rows)
        if hashes:
            self._add_run(np.concatenate(hashes), np.concatenate(places))

    def __len__(self) -> int:
        return sum(int(facts.live.sum()) for facts in self.shards)

    def __getitem__(self, place: int) -> Known:
        facts, row = self.shards[place >> 32], place & 0xFFFFFFFF
        box = None if facts.box is None or facts.box[row, 0] < 0 else tuple(facts.box[row].tolist())
        return Known(int(facts.bytes[row]), int(facts.mtime_ns[row]), int(facts.root[row]), box)

    def find(self, ids: Sequence[builtins.bytes]) -> np.ndarray:
        """[n] int64 places of some ids, -1 for one that is not known. Many at once cost the fewest reads."""
        hashes = hashes_of(ids, len(ids))
        found = np.full(len(ids), -1, np.int64)
        for run in self._runs:
            at = np.searchsorted(run.hashes, hashes)
            while True:
                same = run.hashes[np.minimum(at, len(run.hashes) - 1)] == hashes
                asked = np.flatnonzero(same & (at < len(run.hashes)) & (found < 0))
                if not len(asked):
                    break
                candidates = run.places[at[asked]]
                confirmed = self._are(candidates, [ids[one] for one in asked.tolist()])
                found[asked[confirmed]] = candidates[confirmed]
                at[asked] += 1  # ids of one hash stand side by side
        return found

    def id_of(self, place: int) -> builtins.bytes:
        """The id of a place, read from its shard."""
        return self._ids(place >> 32)[place & 0xFFFFFFFF]

    def sha256_of(self, place: int) -> builtins.bytes:
        """The hash of the image file as it was described, read from its shard."""
        number = place >> 32
        if self._hashed is None or self._hashed[0] != number:
            path = self._store.shard_path(number)
            self._hashed = number, shards.read_columns(path, ("sha256",), self._store.fingerprint)["sha256"]
        return bytes(self._hashed[1][place & 0xFFFFFFFF])

    def places(self, number: int) -> np.ndarray:
        """[n] int64 places of the live rows of a shard, in order."""
        return number << 32 | np.flatnonzero(self.shards[number].live)

    def add(self, shard: Shard) -> None:
        """Take in the shard that was appended to the store; StoreError when an id of it stands there already."""
        number, rows = len(self.shards), np.arange(len(shard))
        columns = {name: np.array(getattr(shard, name)) for name in _COLUMNS if getattr(shard, name) is not None}
        self._remember(len(shard), rows, columns)
        self._keep(number, shard.ids)
        self._add_run(hashes_of(shard.ids, len(shard)), number << 32 | rows)

    def forget(self, places: np.ndarray) -> None:
        """The images of some places count no more."""
        for number, rows in by_shard(places):
            self.shards[number].live[rows] = False

    def _remember(self, count: int, rows: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        live = np.zeros(count, bool)
        live[rows] = True
        facts = Facts(columns["bytes"], columns["mtime_ns"], columns["root"], columns.get("box"), live)
        self.shards.append(facts)

    def _add_run(self, hashes: np.ndarray, places: np.ndarray) -> None:
        if not len(hashes):
            return
        order = np.argsort(hashes, kind="stable")
        run = _Run(hashes[order], places[order])
        for at in np.flatnonzero(run.hashes[1:] == run.hashes[:-1]).tolist():
            self._refuse_twice(int(run.places[at]), int(run.places[at + 1]))
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2].hashes) <= 2 * len(self._runs[-1].hashes):
            one, other = self._runs[-2:]
            hashes = np.concatenate([one.hashes, other.hashes])
            order = np.argsort(hashes, kind="stable")
            self._runs[-2:] = [_Run(hashes[order], np.concatenate([one.places, other.places])[order])]

    def _refuse_twice(self, place: int, other: int) -> None:
        image_id = self.id_of(place)
        if image_id == self.id_of(other):
            raise StoreError(
                f"{self._store.path}: the id {escape(from_bytes(image_id))} stands in it twice; "
                "the store is damaged, extract again into a new one"
            )

    def _are(self, places: np.ndarray, ids: list[builtins.bytes]) -> np.ndarray:
        """[n] bool, whether the places are live and hold these ids."""
        order = np.argsort(places, kind="stable")  # each shard is opened once
        in_order = places[order]
        confirmed: list[bool] = []
        for number, rows in by_shard(in_order):
            live, there = self.shards[number].live[rows].tolist(), self._ids(number)
            asked = order[len(confirmed) : len(confirmed) + len(rows)].tolist()
            confirmed += [ok and there[row] == ids[at] for ok, row, at in zip(live, rows.tolist(), asked, strict=True)]
        found = np.empty(len(places), bool)
        found[order] = confirmed
        return found

    def _ids(self, number: int) -> Sequence[builtins.bytes]:
        if number not in self._read:
            self._keep(number, list(self._store.shard_ids(number).iter_raw()))
        return self._read[number]

    def _keep(self, number: int, ids: Sequence[builtins.bytes]) -> None:
        self._read[number] = ids
        while len(self._read) > 1 and sum(map(len, self._read.values())) > _KEPT:
            del self._read[next(iter(self._read))]


def by_shard(places: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of a shard, its rows, rising) for all shards that some places are in."""
    places = np.sort(np.asarray(places, np.int64))
    for together in np.split(places, np.flatnonzero(np.diff(places >> 32)) + 1):
        if len(together):
            yield int(together[0]) >> 32, together & 0xFFFFFFFF


def hashes_of(ids: Iterable[builtins.bytes], count: int) -> np.ndarray:
    """[n] int64 hashes of some ids, the same within a process only."""
    return np.fromiter(map(hash, ids), np.int64, count)
